"""A corpus on disk gives the batches of one in memory, is made once, and needs little memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sgblend_utils.data import text
from sgblend_utils.data.batches import PairBatches
from sgblend_utils.data.source import Source
from sgblend_utils.data.text import BOS, EOS, Subwords, mini_pairs, tokenised_corpus
from sgblend_utils.errors import UserError

TEXT = {name: ((name,), "string") for name in ("en", "de")}
SOURCE = Source("pairs", "some/pairs", None, "main", TEXT, ("train",))
PAIRS = [*mini_pairs()["train"][:310], ("", ""), ("The dog.", "")]
SETTINGS = {"vocabulary": 300, "subword_pairs": 200, "max_samples": None, "seed": 0}


def write(root, pairs=PAIRS):
    english, german = zip(*pairs, strict=True)
    (root / "pairs").mkdir(exist_ok=True)
    pq.write_table(pa.table({"de": german, "en": english}), root / "pairs" / "train.parquet")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SGBLEND_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    write(tmp_path / "data")
    return tmp_path


def make(**settings):
    return tokenised_corpus(SOURCE, **{**SETTINGS, **settings})


def everything(rows):
    return [side.take(np.arange(len(rows))) for side in (rows.source, rows.target)]


@pytest.mark.parametrize("wanted", [None, 120])
def test_the_pairs_are_those_of_a_run_in_memory_in_its_order(root, wanted):
    subwords, rows = make(max_samples=wanted)
    order = np.random.default_rng(0).permutation(len(PAIRS))[:wanted]
    source, target = (subwords.encode([PAIRS[i][side] for i in order]) for side in (0, 1))
    expected = [[*row, EOS] for row in source], [[BOS, *row, EOS] for row in target]
    assert everything(rows) == [*expected] and len(rows) == len(order)
    assert rows.source.take(np.array([0, 0])) == [expected[0][0]] * 2
    for side, there in zip((rows.source, rows.target), expected, strict=True):
        assert side.lengths.tolist() == [len(row) for row in there]
    shape = {"tokens_per_batch": 128, "bucket_boundaries": (8, 16, 24), "seed": 3}
    stored, there = PairBatches(rows.source, rows.target, **shape), PairBatches(*expected, **shape)
    assert len(stored) == len(there) and stored.dropped == there.dropped
    for epoch in (0, 1):
        for batches in (stored, there):
            batches.set_epoch(epoch)
        for i in range(len(stored)):
            (inputs, labels), (inputs_there, labels_there) = stored[i], there[i]
            assert np.array_equal(labels, labels_there)
            assert all(np.array_equal(inputs[name], inputs_there[name]) for name in inputs)


def test_subwords_are_learned_from_random_pairs_that_are_trained_on(root):
    subwords, _ = make(subword_pairs=150)
    order = np.random.default_rng(0).permutation(len(PAIRS))

    def learned(count):
        texts = [side for i in np.sort(order[:count]) for side in PAIRS[i]]
        return Subwords.train(texts, 300).model

    assert subwords.model == learned(150)
    assert make(subword_pairs=None)[0].model == learned(None)
    assert make(subword_pairs=10_000, max_samples=150)[0].model == learned(150)


def test_a_second_run_reads_what_is_there(root, monkeypatch):
    subwords, rows = make()
    before = everything(rows)
    files = {p: p.stat().st_mtime_ns for p in (root / "cache").rglob("*.*") if "lock" not in p.name}
    monkeypatch.setattr(Subwords, "encode", lambda *_: pytest.fail("tokenised again"))
    monkeypatch.setattr(Subwords, "train", lambda *_: pytest.fail("learned again"))
    again, rows = make()
    assert everything(rows) == before and again == subwords
    assert all(path.stat().st_mtime_ns == time for path, time in files.items())


def test_an_interrupted_run_leaves_nothing_half_done(root, monkeypatch):
    with monkeypatch.context() as patch:
        calls, encode = [], Subwords.encode

        def stop(self, texts):
            calls.append(len(texts))
            if len(calls) > 5:
                raise KeyboardInterrupt
            return encode(self, texts)

        patch.setattr(text, "BATCH_ROWS", 50)
        patch.setattr(Subwords, "encode", stop)
        with pytest.raises(KeyboardInterrupt):
            make()
    resumed = everything(make()[1])
    monkeypatch.setenv("SGBLEND_CACHE", str(root / "other"))
    assert resumed == everything(make()[1])


def test_other_rows_or_settings_are_tokenised_anew(root):
    first = everything(make()[1])
    assert everything(make(vocabulary=200)[1]) != first
    write(root / "data", PAIRS[:200])
    assert len(make()[1]) == 200


def test_what_a_user_can_get_wrong(root, monkeypatch):
    with pytest.raises(UserError, match="at most 312"):
        make(max_samples=313)
    (root / "file").write_text("")
    monkeypatch.setenv("SGBLEND_CACHE", str(root / "file"))
    with pytest.raises(UserError, match="set SGBLEND_CACHE to another folder"):
        make()
    monkeypatch.delenv("SGBLEND_CACHE")
    make()
    assert (root / "data" / "pairs" / "tokenised").is_dir()


MEASURE = """
import json, re, threading, time
import datasets, numpy as np
from sgblend_utils.data.batches import PairBatches
from sgblend_utils.data.text import tokenised_corpus
from sgblend_utils.data.source import Source
fields = {name: ((name,), "string") for name in ("en", "de")}
source = Source("pairs", "some/pairs", None, "main", fields, ("train",))
sizes = []
def watch():  # what is mapped from files can be dropped at any time and is not counted
    while True:
        with open("/proc/self/status") as file:
            sizes.append(1024 * int(re.search(r"RssAnon:\\s+(\\d+)", file.read())[1]))
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
datasets.disable_progress_bars()
settings = {"vocabulary": 400, "subword_pairs": 500, "seed": 0}
tokenised_corpus(source, **settings, max_samples=20_000)
before = max(sizes)
_, rows = tokenised_corpus(source, **settings, max_samples=None)
shape = {"tokens_per_batch": 30_720, "bucket_boundaries": [32, 64, 128], "seed": 1}
batches = PairBatches(rows.source, rows.target, **shape)
seen = sum(int((batches[i][1][:, 0] != 0).sum()) for i in range(0, len(batches), 10))
lists = sum(int((56 + 8 * side.lengths).sum()) for side in (rows.source, rows.target))
print(json.dumps({"seen": seen, "grown": max(sizes) - before, "lists": lists}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is not told here")
def test_memory_does_not_grow_with_the_corpus(root):
    """150,000 pairs: far less than their ids would take in lists, which share the small numbers."""
    texts = [side for pair in PAIRS[:300] for side in pair]
    chosen = np.random.default_rng(0).integers(0, len(texts), (150_000, 2))
    write(root / "data", [(texts[i], texts[j]) for i, j in chosen])
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    words = [sys.executable, "-c", MEASURE]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["seen"] > 10_000 and found["lists"] > 4.5e7
    assert found["grown"] < 0.3 * found["lists"], found
