"""What a user can get wrong gives one sentence with the remedy and exit code 2."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from run_tools import store

from sgblend_utils import cli
from sgblend_utils.errors import UserError
from sgblend_utils.report.audit import Audit


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No test reads the reader's data or writes among the real results."""
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")


def fails(capsys, *words):
    """Run a command that must fail; return its one sentence."""
    assert cli.main(list(words)) == 2
    out, said = capsys.readouterr()
    assert out == "" and said.startswith("sgblend: ") and said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "multi40k"], ["'multi40k'", "multi30k", "wmt14"]),
        (["run", "multi30k", "--activation", "gleu"], ["'gleu'", "gelu", "sgblend", "mish"]),
        (["run", "multi30k", "--activation", "sgblend(colour=1)"], ["'colour'", "gelu"]),
        (["run", "multi30k", "--preset", "huge"], ["huge", "mini", "cpu"]),
        (["run", "multi30k", "--protocol", "loose"], ["'loose'", "sound"]),
        (["run", "multi30k", "--backend", "caffe"], ["'caffe'", "jax"]),
        (["run", "multi30k", "--seed", "-1"], ["seed is -1"]),
        (["run", "multi30k", "--epochs", "0"], ["epochs is 0", "positive"]),
        (["run", "multi30k", "--d-model", "-8"], ["d_model is -8", "positive"]),
        (["run", "multi30k", "--set", "colour=1"], ["'colour'", "d_model"]),
        (["run", "multi30k", "--set", "epochs"], ["--set name=value"]),
        (["run", "multi30k", "--set", 'learning_rate="fast"'], ["learning_rate", "fast"]),
        (["run", "multi30k", "--set", "dropout=1.5"], ["dropout", "1.5"]),
        (["run", "multi30k", "--set", "learning_rate=1e999"], ["learning_rate", "Infinity"]),
        (["run", "multi30k", "--set", "bucket_boundaries=[24,16]"], ["bucket_boundaries"]),
        (["sweep", "multi30k", "--seeds", "a-b"], ["'a-b'"]),
        (["sweep", "multi30k", "--seeds", "3-1"], ["'3-1'", "0-2"]),
        (["sweep", "multi30k", "--activations", ""], ["''", "gelu"]),
        (["sweep", "multi30k", "--workers", "0"], ["--workers is 0"]),
        (["sweep", "multi30k", "--activations", "gelu,glu"], ["'glu'"]),
        (["sweep", "multi30k", "--activations", "gelu,("], ["'gelu,('"]),
        (["sweep", "multi30k", "--executor", "localhost"], ["localhost", "dask://host:port"]),
        (["sweep", "multi30k", "--executor", "slurm://here:1"], ["dask://host:port"]),
        (
            ["sweep", "multi30k", "--executor", "dask://localhost:1"],
            ["dask scheduler", "localhost:1"],
        ),
        (["audit", "imdb"], ["'imdb'", "wmt14, multi30k"]),
        (["audit", "wmt14", "--preset", "huge"], ["mini", "cpu", "paper"]),
        (["audit", "wmt14", "--workers", "0"], ["--workers is 0"]),
        (["audit", "wmt14", "--activation", "gleu"], ["'gleu'"]),
        (["translate", "--run", "abc", "Hello."], ["'abc'"]),
        (["data", "fetch", "wmt15"], ["wmt15", "wmt14"]),
        (["data", "verify", "imdb"], ["sgblend data fetch imdb"]),
        (["data", "fetch"], ["Say what to fetch", "imdb, multi30k, wmt14"]),
    ],
)
def test_mistakes_are_named(capsys, monkeypatch, words, expected):
    monkeypatch.setattr(cli, "CONNECT", 0.5)
    said = fails(capsys, *words)
    for part in expected:
        assert part in said


def test_missing_data_say_how_to_get_them(capsys):
    said = fails(capsys, "run", "multi30k", "--preset", "cpu")
    assert "sgblend data fetch multi30k" in said and "SGBLEND_DATA" in said


@pytest.mark.parametrize("damage", ["truncated", "digest"])
def test_damaged_data_are_named_and_kept(capsys, tmp_path, damage):
    folder, splits = tmp_path / "data" / "multi30k", ("train", "validation", "test")
    folder.mkdir(parents=True)
    table = pa.table({"en": [f"A dog {i}." for i in range(20)], "de": ["Ein Hund."] * 20})
    for split in splits:
        pq.write_table(table, folder / f"{split}.parquet")
    victim = folder / "train.parquet"
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:-40])
    else:
        files = {f"{split}.parquet": {"sha256": "0" * 64} for split in splits}
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
    assert cli.seeds("0-2, 5") == [0, 1, 2, 5] and cli.seeds("7") == [7]
    for text in ("1..3", "", "1,", "2-1", "-1"):
        with pytest.raises(UserError):
            cli.seeds(text)


@pytest.mark.parametrize(
    ("installed", "task", "chosen"),
    [
        ({"jax", "tensorflow"}, None, "jax"),
        ({"tensorflow"}, "imdb", "tensorflow"),
        ({"torch"}, "imdb", "torch"),
        ({"jax", "tensorflow"}, "imdb", "jax"),
        ({"jax", "tensorflow"}, "cifar10", "tensorflow"),
        ({"jax"}, "cifar10", "jax"),
    ],
)
def test_without_a_wish_the_tasks_backend_or_what_is_installed(
    monkeypatch, installed, task, chosen
):
    monkeypatch.delenv("KERAS_BACKEND")
    there = {name: object() for name in installed}
    monkeypatch.setattr(cli.importlib.util, "find_spec", there.get)
    assert cli.choose_backend(None, task) == chosen


def test_the_backend_is_part_of_the_run(monkeypatch):
    words = ["run", "multi30k", "--backend", "torch", "--set", "clip=0.5", "--num_layers", "1"]
    config = cli.config_of(cli.make_parser().parse_args(words), "gelu", 2)
    assert config.backend == "torch" and config.seed == 2
    assert config.overrides == {"clip": 0.5, "num_layers": 1}


def test_the_audit_prints_a_table_of_stored_runs(capsys, monkeypatch):
    """Nothing is trained: every run has a record."""
    monkeypatch.delenv("KERAS_BACKEND")
    scores = {"accuracy_all": 0.9, "accuracy_real": 0.8, "forced_bleu": 0.5, "free_bleu": 0.05}
    for config in Audit(preset="mini").runs():
        store(config, evaluations={"validation": scores, "test": scores})
    assert cli.main(["audit", "wmt14"]) == 0
    said = capsys.readouterr().out
    assert "0 left" in said and "as published" in said and "90.0" in said


def test_data_sets_are_listed_once(capsys):
    assert cli.main(["data", "list"]) == 0
    said = capsys.readouterr().out
    assert all(said.count(name) >= 1 for name in ("wmt14", "multi30k", "imdb", "cifar10"))
    assert "imdb_bert" not in said
    assert cli.main(["data", "list", "imdb"]) == 0
    assert "wmt14" not in capsys.readouterr().out


def test_the_command_is_installed():
    (entry,) = metadata.entry_points(group="console_scripts", name="sgblend")
    assert entry.load() is cli.main


def imported(*words):
    """The packages that a command brings in, of those that take long."""
    code = f"import sgblend_utils.cli as c\ntry: c.main({words})\nexcept SystemExit: pass"
    slow = "{'keras', 'tensorflow', 'jax', 'torch', 'pandas', 'matplotlib', 'scipy', 'numpy'}"
    code = f"import sys\n{code}\nprint(*sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def test_help_is_quick_and_the_status_needs_no_keras():
    assert imported("sweep", "--help") == []
    found = imported("sweep", "multi30k", "--status", "--backend", "jax")
    assert not {"keras", "tensorflow", "jax", "torch", "matplotlib", "pandas"} & set(found)


@pytest.mark.slow
def test_a_mistake_found_after_keras_was_imported_is_all_that_is_said(tmp_path):
    words = ["run", "cifar10", "--set", "pad=99", "--backend", "tensorflow"]
    environ = {**os.environ, "SGBLEND_RESULTS": str(tmp_path)}
    environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
    command = [sys.executable, "-m", "sgblend_utils.cli", *words]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "sgblend: pad is 99; the images have 8 pixels: give less.\n"
