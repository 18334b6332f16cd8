"""Real data as files: reading, checking and naming them."""

import hashlib
import json
import os
import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sgblend_utils.data import atomic_write, data_root, source, write_atomically
from sgblend_utils.data.source import Source, describe, read_table, rows_digest, verify
from sgblend_utils.data.text import load_pairs
from sgblend_utils.errors import UserError
from sgblend_utils.tasks import registry

TEXT = {name: ((name,), "string") for name in ("en", "de")}
PAIRS = Source("pairs", "some/pairs", None, "main", TEXT, ("train", "test"))
SCANS = Source(
    "scans", "some/scans", None, "main", {"img": (("img",), "binary"), "label": (("n",), "int8")},
    ("train",),
)  # fmt: skip
ROWS = {"en": ["A dog.", "A cat.", "", "None"], "de": ["Ein Hund.", "Eine Katze.", "ä", "b"]}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path))
    return tmp_path


def write(root, columns, split="test", name="pairs", **options):
    path = root / name / f"{split}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path, **options)
    return path


def write_manifest(path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest = {"task": "?", "files": {path.name: {"sha256": digest, "more": [1]}}}
    path.with_name("manifest.json").write_text(json.dumps(manifest), "utf-8")


def test_data_root_is_the_variable_or_the_cache_folder(root, monkeypatch):
    assert data_root() == root
    monkeypatch.delenv("SGBLEND_DATA")
    assert data_root().parts[-2:] == ("data", "cache")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file"
    write_atomically(path, b"first")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"half of the sec")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"first" and list(path.parent.iterdir()) == [path]
    with atomic_write(path) as file:
        file.write(b"second")
        assert path.read_bytes() == b"first"
    assert path.read_bytes() == b"second" and list(path.parent.iterdir()) == [path]
    (other := tmp_path / "other").write_bytes(b"")
    assert path.stat().st_mode == other.stat().st_mode


def test_a_table_is_read_with_or_without_a_manifest(root):
    path = write(root, ROWS | {"source": ["x"] * 4})
    assert read_table(PAIRS, "test").to_pydict() == ROWS
    write_manifest(path)
    assert read_table(PAIRS, "test").to_pydict() == ROWS
    assert load_pairs(PAIRS, "test") == list(zip(*ROWS.values(), strict=True))


def test_bad_requests_say_what_to_do(root):
    with pytest.raises(UserError, match="choose one of train, test"):
        read_table(PAIRS, "validation")
    with pytest.raises(UserError, match="sgblend data fetch pairs"):
        read_table(PAIRS, "train")
    assert not list(root.iterdir())
    write(root, {"en": ["A dog."], "fr": ["Un chien."]})
    with pytest.raises(UserError, match="no column 'de'; it has en, fr"):
        read_table(PAIRS, "test")
    write(root, {"en": pa.array([], "string"), "de": pa.array([], "string")})
    with pytest.raises(UserError, match="no rows"):
        read_table(PAIRS, "test")


def flip(path):
    content = bytearray(path.read_bytes())
    content[10] ^= 0xFF
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("damage", [flip, truncate])
def test_a_damaged_file_is_named_and_kept(root, damage, known):
    if damage is flip and not known:
        return  # without a digest only what cannot be read can be noticed
    path, _ = write(root, ROWS), write(root, ROWS, "train")
    if known:
        write_manifest(path)
    verify(PAIRS, PAIRS.splits)
    assert describe([PAIRS]).count("4 rows") == 2
    damage(path)
    before = path.read_bytes()
    for reader in (lambda: read_table(PAIRS, "test"), lambda: verify(PAIRS, ["test"])):
        with pytest.raises(UserError, match="damaged") as caught:
            reader()
        assert str(path) in str(caught.value) and "sgblend data fetch pairs" in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("text", ['{"files": {"test', "[]", '{"files": {"test.parquet": {}}}'])
def test_a_damaged_manifest_is_named(root, text):
    path = write(root, ROWS)
    path.with_name("manifest.json").write_text(text, "utf-8")
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        read_table(PAIRS, "test")


def test_describe_tells_what_is_there(root):
    path = write(root, ROWS)
    text = describe([PAIRS, SCANS])
    assert re.search(r"pairs/test +4 rows .*no digest", text)
    assert re.search(r"scans/train +missing: run `sgblend data fetch scans`", text)
    write_manifest(path)
    assert "no digest" not in describe([PAIRS])
    truncate(path)
    assert re.search(r"pairs/test +damaged", describe([PAIRS]))


def test_the_same_rows_have_one_digest_whatever_wrote_them(root):
    source = replace(PAIRS, splits=("test",))
    write(root, ROWS)
    digest = rows_digest(source)
    assert re.fullmatch("[0-9a-f]{16}", digest)
    write(root, ROWS, row_group_size=1, compression="zstd", use_dictionary=False)
    assert rows_digest(source) == digest
    large = {name: pa.array(column, "large_string") for name, column in ROWS.items()}
    write(root, {"source": ["x"] * 4, "de": large["de"], "en": large["en"]})
    assert rows_digest(source) == digest
    for column, row, value in (("en", 3, "none"), ("de", 0, "Ein Hund"), ("de", 2, "")):
        changed = {name: list(texts) for name, texts in ROWS.items()}
        changed[column][row] = value
        write(root, changed)
        assert rows_digest(source) != digest
    write(root, {name: texts[:3] for name, texts in ROWS.items()})
    assert rows_digest(source) != digest
    write(root, {"en": ["ab", "c"], "de": ["", ""]})
    one = rows_digest(source)
    write(root, {"en": ["a", "bc"], "de": ["", ""]})
    assert rows_digest(source) != one  # where a text ends counts


def test_labels_of_any_width_and_images_with_their_path_are_the_same_rows(root):
    images = [bytes([n, 255, 0]) for n in range(7)]
    digests = set()
    for kind in ("int8", "int64", "uint16"):
        for column in (images, [{"bytes": image, "path": "x.png"} for image in images]):
            labels = pa.array(range(7), kind)
            write(root, {"img": column, "label": labels}, "train", "scans", row_group_size=3)
            digests.add(rows_digest(SCANS))
    assert len(digests) == 1


def test_a_digest_is_read_once_and_again_when_the_file_changes(root, monkeypatch):
    one = replace(PAIRS, splits=("test",))
    write(root, ROWS)
    digest, read = rows_digest(one), []
    original = source.read_batches
    monkeypatch.setattr(source, "read_batches", lambda *a: read.append(a) or original(*a))
    assert rows_digest(one) == digest and not read
    path = write(root, {name: texts[::-1] for name, texts in ROWS.items()})
    os.utime(path, ns=(1, 1))
    assert rows_digest(one) != digest and read
    write(root, ROWS, "train")
    assert rows_digest(PAIRS) != digest


# Records are stored under these: change them knowingly.
DIGESTS = {"wmt14": "1bf7e7c30d138d7b", "multi30k": "aa67c501fb5dd784"}
DIGESTS |= {"imdb": "5b55df0cabbef92d", "cifar10": "752e7b96d0eb6dda"}


@pytest.mark.parametrize("task", DIGESTS)
def test_the_digest_of_real_data(task):
    source = registry()[task].source
    if "commit" in source.manifest().get("train.parquet", {"commit": ""}):
        pytest.skip("the data are not here, or fetched from the hub, which may give other rows")
    assert rows_digest(source) == DIGESTS[task]


def test_every_value_counts_in_a_large_file(root):
    """Several batches are read; the order of rows and columns matters."""
    rng = np.random.default_rng(0)
    texts = [str(n) for n in rng.integers(0, 10**9, 25_000)]
    one = replace(PAIRS, splits=("test",))
    write(root, {"en": texts, "de": texts[::-1]}, row_group_size=7000)
    digest = rows_digest(one)
    write(root, {"en": texts[::-1], "de": texts})
    assert rows_digest(one) != digest
