"""The store keeps what was run, whole; a sweep runs what is missing and nothing else."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from sgblend_utils import runs
from sgblend_utils.configs import RunConfig
from sgblend_utils.errors import UserError

CONFIG = RunConfig("multi30k", "gelu", overrides={"epochs": 2})


def record(config=CONFIG, key="0" * 16, **metrics):
    return {
        "schema": 1,
        "key": key,
        "config": config.describe(),
        "backend": "jax",
        "parameters": 7,
        "peak_rss_bytes": 9,
        "metrics": {"bleu": 12.5, "dead_by_site": {"encoder_0": 0.0}, **metrics},
        "timing": {"epoch_seconds_median": 1.5},
    }


def test_the_key_follows_settings_and_data_and_nothing_else():
    def key(data="d", **changes):
        fields = {"task": "multi30k", "activation": "gelu", "seed": 0, "overrides": {"epochs": 2}}
        return RunConfig(**{**fields, **changes}).key(data)

    assert key() == key()
    preset = RunConfig("multi30k", "gelu").preset_settings
    assert key(overrides={}) == key(overrides={"epochs": preset["epochs"]})
    different = [
        key(),
        key(data="e"),
        key(seed=1),
        key(activation="relu"),
        key(task="wmt14"),
        key(overrides={"epochs": 3}),
    ]
    assert len(set(different)) == len(different)


def test_what_is_written_is_what_is_read(tmp_path):
    for seed, bleu in [(0, 10.0), (1, 11.0)]:
        config = RunConfig("multi30k", "gelu", seed=seed)
        path = runs.record_path(config, "k" * 16, tmp_path)
        runs.write_record(record(config, bleu=bleu), path)
    table = runs.load_records(tmp_path)
    assert isinstance(table, pd.DataFrame)
    assert table["seed"].tolist() == [0, 1]
    assert table["bleu"].tolist() == [10.0, 11.0]
    assert table["record"][0]["metrics"]["dead_by_site"] == {"encoder_0": 0.0}
    assert "dead_by_site" not in table.columns
    assert runs.load_records(tmp_path / "none").empty


def test_a_failed_write_leaves_the_old_record_and_no_debris(tmp_path, monkeypatch):
    path = tmp_path / "multi30k" / "r.json"
    runs.write_record(record(), path)
    before = path.read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        runs.write_record(record(bleu=99.0), path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["r.json"]


def test_a_number_that_is_none_is_not_stored(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        runs.write_record(record(bleu=float("nan")), tmp_path / "r.json")
    assert not (tmp_path / "r.json").exists()


def test_a_damaged_record_is_named(tmp_path):
    path = tmp_path / "multi30k" / "half.json"
    path.parent.mkdir()
    path.write_text('{"schema": 1, "key"')
    with pytest.raises(UserError, match=r"half\.json"):
        runs.load_records(tmp_path)


def test_a_sweep_runs_what_is_missing_and_reports_what_fails(tmp_path, monkeypatch):
    stored, missing, failing = (RunConfig("multi30k", name) for name in ("gelu", "relu", "mish"))
    runs.write_record(record(stored), runs.record_path(stored, runs.run_key(stored), tmp_path))
    performed = []

    def stand_in(config, **options):
        performed.append((config.activation, options["core"]))
        code = "import sys; sys.exit('no luck')" if config is failing else "pass"
        return [sys.executable, "-c", code]

    monkeypatch.setattr(runs, "command", stand_in)
    failures = runs.sweep([stored, missing, failing], workers=1, root=tmp_path)
    assert performed == [("relu", None), ("mish", None)]
    assert failures == ["multi30k mish seed 0: no luck"]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores cannot be chosen here")
def test_workers_get_a_core_each(tmp_path, monkeypatch):
    seen = []

    def stand_in(config, **options):
        seen.append(options["core"])
        return [sys.executable, "-c", "import time; time.sleep(0.5)"]

    monkeypatch.setattr(runs, "command", stand_in)
    names = ("gelu", "relu", "mish", "silu")
    runs.sweep([RunConfig("multi30k", name) for name in names], workers=2, root=tmp_path)
    available = sorted(os.sched_getaffinity(0))
    assert set(seen) == {available[0], available[1 % len(available)]}


def test_an_interrupted_run_leaves_no_record(tmp_path):
    """Kill a real run in the middle of training: it can go on, but there is no record of it."""
    words = [sys.executable, "-m", "sgblend_utils.cli", "run", "multi30k", "--epochs", "500"]
    environ = {**os.environ, "SGBLEND_RESULTS": str(tmp_path)}
    process = subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("Epoch 2"):
            break
    process.kill()
    process.wait()
    assert runs.load_records(tmp_path).empty
    whole = [p for p in tmp_path.rglob("*") if p.is_file() and not p.name.startswith(".")]
    assert [p.relative_to(tmp_path).parts[::2] for p in whole] == [("models", "resume")]


def test_a_folder_that_cannot_be_written_stops_the_run_before_training(tmp_path, monkeypatch):
    from sgblend_utils import training

    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trained"))
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(UserError, match="SGBLEND_RESULTS"):
        runs.run(CONFIG, root=blocked)
    assert blocked.read_text() == "not a folder"


def test_the_command_line_of_a_run_gives_back_the_same_run():
    from sgblend_utils.cli import config_of, make_parser

    config = RunConfig("multi30k", "sgblend", seed=3, overrides={"epochs": 2, "widths": [16, 24]})
    words = runs.command(config, backend="jax", core=1, devices=2)[3:]
    arguments = make_parser().parse_args(words)
    assert config_of(arguments, arguments.activation, arguments.seed) == config
    assert (arguments.backend, arguments.core, arguments.devices) == ("jax", 1, 2)


def test_a_record_is_plain_json_under_a_name_that_says_what_it_is(tmp_path):
    path = runs.record_path(CONFIG, "a" * 16, tmp_path)
    runs.write_record(record(), path)
    assert json.loads(path.read_text())["metrics"]["bleu"] == 12.5
    assert path.name == f"mini-sound-gelu-s0-{'a' * 16}.json"
