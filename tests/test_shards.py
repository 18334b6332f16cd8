"""A corpus on disk gives the batches of one in memory: nothing lost, doubled or out of order."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sgblend_utils.configs import RunConfig
from sgblend_utils.datasets import shards as module
from sgblend_utils.datasets.grammar import mini_corpus
from sgblend_utils.datasets.shards import ShardBatches, chosen_pairs, open_shards, write_shards
from sgblend_utils.datasets.text import PAD, Subwords, TranslationBatches
from sgblend_utils.errors import UserError
from sgblend_utils.training import sharded, train, translation
from sgblend_utils.training.shard_bench import shard_costs

PAIRS = [*mini_corpus()["train"][:310], ("", ""), ("The dog.", "")]
SHAPE = {"tokens": 128, "widths": (8, 16, 24)}
SIZE = 40  # pairs a shard: seven whole ones and a short one


@pytest.fixture(scope="module")
def subwords():
    return Subwords.train((side for pair in PAIRS for side in pair), 300)


@pytest.fixture
def write(tmp_path, subwords):
    def perform(pairs=PAIRS, **options):
        options = {"source": "mini", "shard_pairs": SIZE, **options}
        return write_shards(pairs, subwords, tmp_path / "shards", **options)

    return perform


@pytest.fixture
def in_memory(subwords):
    ids = [subwords.encode([pair[side] for pair in PAIRS]) for side in (0, 1)]
    return TranslationBatches(*ids, seed=3, **SHAPE)


def rows_of(batches):
    """Every (source, target, labels) row of one epoch, unpadded, in order."""
    rows = []
    for inputs, labels in (batches[i] for i in range(len(batches))):
        for source, target, label in zip(inputs["source"], inputs["target"], labels, strict=True):
            if source[0] != PAD:
                rows.append(tuple(tuple(x[x != PAD].tolist()) for x in (source, target, label)))
            else:
                assert not target.any() and not label.any()
    return rows


@pytest.mark.parametrize("window", [1, 3, 100])
def test_an_epoch_holds_what_it_holds_in_memory(write, in_memory, window):
    batches = ShardBatches(write(), seed=3, window=window, **SHAPE)
    assert batches.dropped == in_memory.dropped > 0
    for _ in range(2):
        assert sorted(rows_of(batches)) == sorted(rows_of(in_memory))
        shapes = [Counter(b[i][1].shape for i in range(len(b))) for b in (batches, in_memory)]
        assert shapes[0] == shapes[1] and len(shapes[0]) == 3
        batches.on_epoch_end()
        in_memory.on_epoch_end()


def test_the_order_depends_on_seed_and_epoch_alone(write):
    corpus = write()
    first, second = (ShardBatches(corpus, seed=1, window=3, **SHAPE) for _ in range(2))
    start = rows_of(first)
    assert rows_of(second) == start != rows_of(ShardBatches(corpus, seed=2, window=3, **SHAPE))
    first.on_epoch_end()
    first.on_epoch_end()
    second.set_epoch(2)
    assert rows_of(first) == rows_of(second) != start
    second.set_epoch(0)
    assert rows_of(second) == start


def test_batches_can_be_asked_for_in_any_order(write):
    batches = ShardBatches(write(), seed=1, window=2, **SHAPE)
    expected = [batches[i] for i in range(len(batches))]
    for i in np.random.default_rng(0).permutation(len(batches)):
        assert np.array_equal(batches[i][1], expected[i][1])
        assert np.array_equal(batches[i][0]["source"], expected[i][0]["source"])


def test_neighbours_of_the_file_are_parted(write, subwords):
    """A shuffle that kept the file's order within a shard would leave most neighbours together."""
    batches = ShardBatches(write(), seed=1, window=3, **SHAPE)
    place = {row[0]: i for i, row in enumerate(rows_of(batches))}
    known = [place[k] for s in subwords.encode([p[0] for p in PAIRS]) if (k := (*s, 3)) in place]
    assert np.mean(np.abs(np.diff(known)) == 1) < 0.1


def test_only_a_window_is_in_memory(write):
    batches = ShardBatches(write(), seed=1, window=1, **SHAPE)
    waiting = sum(batches.rows)  # at most one unfinished batch a bucket
    for i in range(len(batches)):
        batches[i]
        assert len(batches.lengths) <= SIZE + waiting


def test_an_interrupted_tokenisation_goes_on(write, subwords, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def cut(stop_at):
        for i, pair in enumerate(PAIRS):
            if i == stop_at:
                raise Stop
            yield pair

    with pytest.raises(Stop):
        write(cut(3 * SIZE + 5))
    folder = tmp_path / "shards"
    with pytest.raises(UserError, match="not complete"):
        open_shards(folder)
    early = {p.name: p.stat().st_mtime_ns for p in folder.glob("0*")}
    assert len(early) == 6
    encoded = []
    original = module.encode
    monkeypatch.setattr(module, "encode", lambda p, s: encoded.extend(p) or original(p, s))
    resumed = write()
    assert encoded == PAIRS[3 * SIZE :]
    assert {name: (folder / name).stat().st_mtime_ns for name in early} == early
    at_once = write_shards(PAIRS, subwords, tmp_path / "b", source="mini", shard_pairs=SIZE)
    assert at_once.files == resumed.files
    encoded.clear()
    write()
    assert encoded == []  # complete: nothing is done again


def test_a_damaged_shard_is_named(write, tmp_path):
    write()
    folder = tmp_path / "shards"
    victim = folder / "00002.ids.npy"
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"00002\.ids\.npy is damaged: remove the folder"):
        write()
    victim.unlink()
    with pytest.raises(UserError, match=r"00002\.ids\.npy"):
        open_shards(folder)
    (folder / "manifest.json").write_text('{"shards": [')
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        open_shards(folder)


def test_another_corpus_does_not_pass_for_this_one(write):
    write()
    with pytest.raises(UserError, match="another corpus"):
        write(source="other")


def test_nothing_in_a_shard_is_executed(write, tmp_path):
    """Object arrays are pickles; NumPy must refuse them."""
    corpus = write()
    path = tmp_path / "shards" / "00000.ids.npy"
    np.save(path, np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"pickle|object"):
        corpus.ids(0)
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    assert manifest["complete"] and len(manifest["shards"]) == len(corpus) == 8
    assert corpus.pairs == len(PAIRS)


def test_large_vocabularies_do_not_wrap_around(tmp_path):
    class Wide:
        model = b"wide"

        def __len__(self):
            return 70_000

        def encode(self, sentences):
            return [[69_999, 4] for _ in sentences]

    corpus = write_shards([("a", "b")], Wide(), tmp_path, source="x")
    assert corpus.ids(0).tolist() == [69_999, 4, 69_999, 4]


def test_chosen_pairs_are_those_at_their_places():
    pairs = [(str(i), "") for i in range(10)]
    chosen = np.array([7, 2, 9])
    assert list(chosen_pairs(iter(pairs), chosen)) == [pairs[2], pairs[7], pairs[9]]


def test_a_batch_must_hold_the_longest_sentence(write):
    with pytest.raises(UserError, match="raise tokens"):
        ShardBatches(write(), seed=0, tokens=16, widths=(8, 24))


# The run on shards: the `full` preset, in small


TINY = {
    "max_samples": 200,
    "subword_pairs": 150,
    "vocabulary": 300,
    "d_model": 16,
    "num_heads": 2,
    "ff_dim": 32,
    "num_layers": 1,
    "epochs": 1,
    "tokens": 480,
    "widths": [24],
}
FULL = RunConfig("wmt14", "gelu", preset="full", seed=1, overrides=TINY)


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """A small WMT14 in the layout of the real one, with rows that are not training text."""
    folder = tmp_path / "data" / "wmt14"
    folder.mkdir(parents=True)
    for split, pairs in mini_corpus().items():
        english, german = zip(*pairs[:300], strict=True)
        table = pa.table({"en": english, "de": german, "source": ["europarl"] * len(english)})
        if split == "train":
            foreign = table.slice(0, 7).set_column(2, "source", pa.array(["newstest2010"] * 7))
            table = pa.concat_tables([table.slice(0, 100), foreign, table.slice(100)])
        pq.write_table(table, folder / f"{split}.parquet")
    monkeypatch.setenv("SGBLEND_DATA", str(folder.parent))
    monkeypatch.setenv("SGBLEND_SHARDS", str(tmp_path / "shards"))
    monkeypatch.setattr(sharded, "ROWS", 64)
    return folder


def test_the_same_pairs_are_trained_on_as_without_shards(own_data, monkeypatch):
    config = RunConfig("wmt14", "gelu", preset="full", overrides=TINY | {"widths": [96]})
    subwords, batches, count = sharded.sharded_training(config, translation.SUBSET_SEED)
    in_memory = RunConfig("wmt14", "gelu", preset="cpu", overrides={"max_samples": 200})
    pairs = translation.load_translation(in_memory).pairs["train"]
    expected = sorted(tuple(map(tuple, subwords.encode(pair))) for pair in pairs)
    assert sorted((row[0][:-1], row[2][:-1]) for row in rows_of(batches)) == expected
    assert count == len(pairs) == 200 and len(subwords) == 300
    # A second run reads what is there.
    monkeypatch.setattr(module, "encode", lambda *_: pytest.fail("tokenised again"))
    monkeypatch.setattr(sharded, "learn_subwords", lambda *_: pytest.fail("learned again"))
    _, again, _ = sharded.sharded_training(config, translation.SUBSET_SEED)
    assert rows_of(again) == rows_of(batches)


def test_all_pairs_are_all_training_pairs(own_data):
    everything = RunConfig("wmt14", "gelu", preset="full", overrides=TINY | {"max_samples": None})
    subwords, _, count = sharded.sharded_training(everything, 0)
    assert count == 300
    sample = RunConfig("wmt14", "gelu", preset="full", overrides=TINY | {"max_samples": 150})
    assert sharded.learn_subwords(sample.settings, "wmt14", 0).model == subwords.model


def test_what_a_user_can_get_wrong_with_shards(own_data, tmp_path, monkeypatch):
    too_many = RunConfig("wmt14", "gelu", preset="full", overrides=TINY | {"max_samples": 301})
    with pytest.raises(UserError, match="at most 300"):
        sharded.sharded_training(too_many, 0)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SGBLEND_SHARDS", str(tmp_path / "file"))
    with pytest.raises(UserError, match="SGBLEND_SHARDS"):
        sharded.sharded_training(FULL, 0)
    monkeypatch.delenv("SGBLEND_SHARDS")
    assert sharded.shards_root("wmt14") == Path(own_data) / "shards"


def test_a_run_on_shards_never_loads_the_training_pairs(own_data, monkeypatch):
    monkeypatch.setattr(translation, "evaluate_translation", lambda *_: {"bleu": 0.0})
    loaded = []
    original = translation.hub.load_pairs
    monkeypatch.setattr(
        translation.hub, "load_pairs", lambda t, s: loaded.append(s) or original(t, s)
    )
    record = train(FULL).record
    assert loaded == ["validation", "test"]
    assert record["data"]["train_pairs"] == 200 and record["data"]["test_pairs"] == 200
    assert len(record["history"]) == 1 and record["history"][0]["val_nll"] < np.log(300) + 0.5


def test_the_bench_accounts_for_every_pair():
    costs = shard_costs(1500, vocabulary=400)
    assert costs["pairs"] == 1500 and costs["batches"] > 0
    assert costs["shard_bytes"] < costs["text_bytes"]
