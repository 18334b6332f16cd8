"""What a user can get wrong gives one sentence with the remedy and exit code 2."""

import json
from importlib import metadata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sgblend_utils import cli
from sgblend_utils.errors import UserError


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No test reads the reader's data or writes among the real results."""
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")


def fails(capsys, *words):
    """Run a command that must fail; return its one sentence."""
    assert cli.main(list(words)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("sgblend: ") and said.err.count("\n") == 1
    assert "Traceback" not in said.err
    return said.err


def write_pairs(folder: Path, rows=20):
    folder.mkdir(parents=True)
    table = pa.table({"en": [f"A dog {i}." for i in range(rows)], "de": ["Ein Hund."] * rows})
    for split in ("train", "validation", "test"):
        pq.write_table(table, folder / f"{split}.parquet")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "multi40k"], ["'multi40k'", "multi30k", "wmt14"]),
        (["run", "multi30k", "--activation", "gleu"], ["'gleu'", "gelu", "sgblend", "mish"]),
        (["run", "multi30k", "--preset", "huge"], ["'huge'", "mini", "cpu"]),
        (["run", "multi30k", "--protocol", "loose"], ["'loose'", "sound"]),
        (["run", "multi30k", "--backend", "caffe"], ["'caffe'", "jax"]),
        (["run", "multi30k", "--seed", "-1"], ["seed is -1"]),
        (["run", "multi30k", "--epochs", "0"], ["epochs is 0", "positive"]),
        (["run", "multi30k", "--d-model", "-8"], ["d_model is -8", "positive"]),
        (["run", "multi30k", "--max_samples", "999999"], ["999999", "3000"]),
        (["run", "multi30k", "--d-model", "66"], ["66", "multiple of num_heads"]),
        (["run", "multi30k", "--set", "colour=1"], ["'colour'", "d_model"]),
        (["run", "multi30k", "--set", "epochs"], ["--set name=value"]),
        (["run", "multi30k", "--set", 'learning_rate="fast"'], ["learning_rate", "fast"]),
        (["run", "multi30k", "--set", "dropout=1.5"], ["dropout", "1.5"]),
        (["run", "multi30k", "--set", "widths=[]"], ["widths"]),
        (["sweep", "multi30k", "--seeds", "a-b"], ["'a-b'"]),
        (["sweep", "multi30k", "--workers", "0"], ["--workers is 0"]),
        (["sweep", "multi30k", "--activations", "gelu,glu"], ["'glu'"]),
        (["translate", "--run", "abc", "Hello."], ["'abc'"]),
        (["data", "fetch", "wmt15"], ["wmt15", "wmt14"]),
    ],
)
def test_mistakes_are_named(capsys, words, expected):
    said = fails(capsys, *words)
    for part in expected:
        assert part in said


def test_missing_data_say_how_to_get_them(capsys):
    said = fails(capsys, "run", "multi30k", "--preset", "cpu")
    assert "sgblend data fetch multi30k" in said and "SGBLEND_DATA" in said


@pytest.mark.parametrize("damage", ["truncated", "digest"])
def test_damaged_data_are_named_and_kept(capsys, tmp_path, damage):
    folder = tmp_path / "data" / "multi30k"
    write_pairs(folder)
    victim = folder / "train.parquet"
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:-40])
    else:
        files = {f"{s}.parquet": {"sha256": "0" * 64} for s in ("train", "validation", "test")}
        (folder / "manifest.json").write_text(json.dumps({"files": files}))
    before = victim.read_bytes()
    said = fails(capsys, "run", "multi30k", "--preset", "cpu")
    assert "train.parquet is damaged" in said
    assert victim.read_bytes() == before


def test_an_unwritable_results_folder_is_named(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path / "file"))
    assert "SGBLEND_RESULTS" in fails(capsys, "run", "multi30k", "--epochs", "1")


def test_seeds_are_read_as_written():
    assert cli.seeds("0-2,5") == [0, 1, 2, 5]
    assert cli.seeds("7") == [7]
    with pytest.raises(UserError):
        cli.seeds("1..3")


@pytest.mark.parametrize(
    ("installed", "task", "chosen"),
    [
        ({"jax", "tensorflow"}, None, "jax"),
        ({"tensorflow"}, "imdb", "tensorflow"),
        ({"jax", "tensorflow"}, "imdb", "jax"),
        ({"jax", "tensorflow"}, "cifar10", "tensorflow"),
        ({"jax"}, "cifar10", "jax"),
    ],
)
def test_without_a_wish_the_faster_of_what_is_installed(monkeypatch, installed, task, chosen):
    monkeypatch.delenv("KERAS_BACKEND")
    there = {name: object() for name in installed}
    monkeypatch.setattr(cli.importlib.util, "find_spec", there.get)
    assert cli.choose_backend(None, task) == chosen


def test_the_command_is_installed():
    (entry,) = metadata.entry_points(group="console_scripts", name="sgblend")
    assert entry.load() is cli.main
