"""The store keeps what was run, whole; a run leaves a record or the reason why there is none."""

import json
import os
import zipfile
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from run_tools import record, store

from sgblend_utils import runs
from sgblend_utils.cli import config_of, make_parser
from sgblend_utils.config import RunConfig
from sgblend_utils.errors import UserError

CONFIG = RunConfig("multi30k", "gelu", overrides={"epochs": 2})
KEY = "a" * 16


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path / "store"))
    return tmp_path / "store"


# Records ------------------------------------------------------------------------------------------


def test_what_is_written_is_what_is_read(root):
    for seed, bleu in [(0, 10.0), (1, 11.0)]:
        store(RunConfig("multi30k", "gelu", seed=seed), bleu=bleu)
    runs.Place(RunConfig("multi30k", "relu")).fail("no luck")
    table = runs.load_records()
    assert isinstance(table, pd.DataFrame)
    assert table["seed"].tolist() == [0, 1] and table["bleu"].tolist() == [10.0, 11.0]
    assert {"key", "task", "version", "protocol", "preset", "activation", "backend"} <= set(table)
    assert {"parameters", "peak_rss_bytes", "total_seconds", "record"} <= set(table)
    assert not {"settings", "dead_by_site", "data"} & set(table)
    assert table["record"][0]["metrics"]["dead_by_site"] == {"encoder_0": 0.0}
    assert runs.load_records(root / "none").empty


def test_a_record_is_plain_json_under_a_name_that_says_what_it_is():
    path = store(CONFIG)
    assert json.loads(path.read_text())["metrics"]["bleu"] == 12.5
    assert path.name == f"mini-sound-gelu-s0-{CONFIG.key()}.json"
    spec = "sgblend(parameterization=published, alpha_bounds=[0,1], trainable_parameters=[alpha])"
    name = runs.Place(RunConfig("multi30k", spec), key=KEY).record.name
    assert name.startswith("mini-sound-sgblend_alpha_bounds_0_1_parameterization_published_")
    assert not set(name) & set("()[], =/'") and len(name) < 150


def test_a_record_is_found_by_its_key_alone():
    path = store(CONFIG)
    renamed = path.rename(path.with_name(path.name.replace("mini", "tiny")))
    assert runs.Place(CONFIG).found() == renamed
    others = (RunConfig("multi30k", "gelu"), RunConfig("imdb", "gelu"))
    assert not any(runs.Place(other).found() for other in others)


def test_a_failed_write_leaves_the_old_record_and_no_debris(tmp_path, monkeypatch):
    path = tmp_path / "multi30k" / "r.json"
    runs.write_record(record(CONFIG), path)
    before = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        runs.write_record(record(CONFIG, bleu=99.0), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["r.json"]


def test_a_number_that_is_none_is_not_stored(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        runs.write_record(record(CONFIG, bleu=float("nan")), tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()


def test_a_damaged_record_is_named(root):
    path = root / "multi30k" / "half.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 2, "key"')
    with pytest.raises(UserError, match=r"half\.json"):
        runs.load_records()


# Runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def training(monkeypatch):
    """Replaces training by `does(config, checkpoint)`, which may raise."""

    def train(config, *, checkpoint, **_):
        stub.does(config, checkpoint)
        model = SimpleNamespace(save=lambda path: path.write_bytes(b"weights"))
        made = {k: v for k, v in record(config).items() if k != "key"}
        return SimpleNamespace(model=model, record=made, files={"subwords.model": b"subwords"})

    stub = ModuleType("sgblend_utils.tasks.train")
    stub.train, stub.git_commit = train, lambda: "c0ffee"
    monkeypatch.setitem(__import__("sys").modules, stub.__name__, stub)
    return stub


def test_a_run_is_stored_once_and_leaves_only_what_is_needed(training):
    seen = []

    def does(config, checkpoint):
        checkpoint.mkdir(parents=True)
        (checkpoint / "epoch.npz").touch()
        seen.append(checkpoint.relative_to(runs.results_root()).as_posix())
        assert runs.Place(config).note.exists()  # in case it is killed

    training.does = does
    path = runs.run(CONFIG)
    written = runs.read_record(path)
    assert list(written)[:3] == ["schema", "key", "config"] and written["key"] == CONFIG.key()
    assert runs.run(CONFIG) == path and seen == [f"models/{CONFIG.key()}/checkpoint"]
    folder = runs.models_root() / CONFIG.key()
    kept = {p.name for p in folder.iterdir()} - {"run.lock"}
    assert kept == {"model.keras", "subwords.model"}
    assert not runs.Place(CONFIG).note.exists()


@pytest.mark.parametrize("error", [UserError("The loss is not a number."), ValueError("no luck")])
def test_a_failure_is_noted_until_the_run_succeeds(training, error):
    def fails(config, checkpoint):
        checkpoint.mkdir(parents=True)
        raise error

    training.does, note = fails, runs.Place(CONFIG).note
    with pytest.raises(type(error)):
        runs.run(CONFIG)
    said = runs.read_record(note)
    assert said["reason"] == f"{type(error).__name__}: {error}" and said["git_commit"] == "c0ffee"
    assert said["config"] == CONFIG.describe() and said["time"]
    assert runs.load_records().empty
    assert (runs.models_root() / CONFIG.key() / "checkpoint").exists()
    training.does = lambda *_: None
    runs.run(CONFIG)
    assert not note.exists()


def test_what_the_reader_stops_has_not_failed(training):
    def stopped(*_):
        raise KeyboardInterrupt

    training.does = stopped
    with pytest.raises(KeyboardInterrupt):
        runs.run(CONFIG)
    assert not list(runs.results_root().rglob("*.json"))


def test_a_folder_that_cannot_be_written_stops_the_run_before_training(tmp_path, training):
    training.does = lambda *_: pytest.fail("trained")
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(UserError, match="SGBLEND_RESULTS"):
        runs.run(CONFIG, root=blocked)
    assert blocked.read_text() == "not a folder"


def test_the_command_line_of_a_run_gives_back_the_same_run():
    spec = "sgblend(alpha_bounds=[0,1], parameterization=published)"
    changes = {"epochs": 2, "bucket_boundaries": [16, 24], "schedule": "constant"}
    config = RunConfig("multi30k", spec, seed=3, overrides=changes, backend="tensorflow")
    words = runs.command(config, 2)
    assert words[:2] == ["-m", "sgblend_utils.cli"]
    arguments = make_parser().parse_args(words[2:])
    assert config_of(arguments, arguments.activation, arguments.seed) == config
    assert arguments.devices == 2


# Models -------------------------------------------------------------------------------------------


def saved(key, kind, subwords=True):
    folder = runs.models_root() / key
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "model.keras", "w") as file:
        file.writestr("config.json", json.dumps({"class_name": kind}))
    if subwords:
        (folder / "subwords.model").write_bytes(b"")


def test_only_a_translator_is_asked_to_translate():
    saved("aa11", "Classifier")  # imdb: it has subwords, too
    saved("aa22", "Transformer", subwords=False)
    saved("cc33", "Transformer")
    saved("cc44", "Transformer")
    for key in ("aa11", "aa22", "aa", "bb", "cc"):
        with pytest.raises(UserError, match=f"'{key}' is not the key of a translation run"):
            runs.load_model(key)
