"""The paper's command line: its options and defaults, its table, our records."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from sgblend_utils import run_experiment as module
from sgblend_utils import runs
from sgblend_utils.configs import PRESETS
from sgblend_utils.run_experiment import config_of, main, make_parser

PAPER_LINE = "--max_samples 50000 --epochs 10 --batch_size 64 --d_model 128 --ff_dim 256"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path / "results"))


def config(*words, activation="gelu", seed=0):
    return config_of(make_parser().parse_args(words), activation, seed)


def test_the_defaults_are_the_papers():
    assert {name: getattr(make_parser().parse_args([]), name) for name in module.PAPER_OPTIONS} == {
        "max_samples": 50_000,
        "epochs": 10,
        "batch_size": 64,
        "d_model": 64,
        "ff_dim": 128,
        "num_heads": 2,
        "num_layers": 2,
    }


def test_hyphens_and_underscores_mean_the_same():
    words = [w for name in module.PAPER_OPTIONS for w in (f"--{name}", "4")]
    hyphens = [word.replace("_", "-") for word in words]
    assert words != hyphens
    assert make_parser().parse_args(words) == make_parser().parse_args(hyphens)


def test_the_papers_example_is_the_paper_preset():
    settings = config(*PAPER_LINE.split()).settings
    assert settings == PRESETS["wmt14", "sound", "paper"]
    assert settings["max_samples"] == 50_000 and settings["epochs"] == 10
    assert (settings["d_model"], settings["ff_dim"]) == (128, 256)
    assert (settings["num_heads"], settings["num_layers"]) == (2, 2)


def test_every_option_reaches_the_settings():
    words = [w for i, name in enumerate(module.PAPER_OPTIONS) for w in (f"--{name}", str(20 + i))]
    settings = config(*words).settings
    for i, name in enumerate(module.PAPER_OPTIONS):
        if name != "batch_size":
            assert settings[name] == 20 + i
    # 22 sentences of the widest bucket, and so at least 22 of any.
    widths = settings["widths"]
    assert [settings["tokens"] // width >= 22 for width in widths] == [True] * len(widths)
    assert settings["tokens"] // widths[-1] == 22


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--activations", "gelu,glu"], ["'glu'", "sgblend"]),
        (["--activations", ","], ["nothing to run"]),
        (["--protocol", "loose"], ["'loose'", "sound"]),
        (["--preset", "huge"], ["'huge'", "paper"]),
        (["--seeds", "x"], ["'x'"]),
        (["--batch_size", "0"], ["batch_size is 0", "positive"]),
        (["--epochs", "-1"], ["epochs is -1", "positive"]),
        (["--backend", "caffe"], ["'caffe'"]),
        ([], ["sgblend data fetch wmt14", "SGBLEND_DATA"]),
    ],
)
def test_mistakes_are_named(capsys, monkeypatch, words, expected):
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "tensorflow"))
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("run_experiment: ")
    for part in expected:
        assert part in said.err


BLEU = {("gelu", 0): 10.0, ("gelu", 1): 11.0, ("gelu", 2): 12.5, ("sgblend", 0): 9.0}


def stand_in(configs, *, backend, root):
    """Stores a record for each run, as a sweep does."""
    for each in configs:
        metrics = {
            "bleu": BLEU.get((each.activation, each.seed), 8.0),
            "test_accuracy": 0.25,
            "dead_share": 0.0125,
        }
        record = {"metrics": metrics, "timing": {"epoch_seconds_median": 142.0}}
        runs.write_record(record, runs.record_path(each, runs.run_key(each), root))
    return []


def test_the_table_has_the_papers_columns_with_intervals(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "sweep", stand_in)
    words = ["--preset", "mini", "--activations", "sgblend,gelu", "--output", str(tmp_path / "o")]
    assert main([*words, "--seeds", "0-2"]) == 0
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("|")]
    header, _, first, second = ([c.strip() for c in line.strip("|").split("|")] for line in lines)
    assert [name.split(" (")[0] for name in header] == [
        "activation",
        "accuracy",
        "BLEU",
        "dead neurons",
        "time/epoch",
    ]
    assert (first[0], second[0]) == ("SG-Blend", "GELU")
    values = np.array([10.0, 11.0, 12.5])
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert second[2] == f"{values.mean():.2f} ± {half:.2f}"
    assert second[1] == "0.2500 ± 0.0000" and second[3] == "1.25 ± 0.00"
    assert second[4] == "142.0 ± 0.0"
    assert "sound protocol" in said and "3 seeds" in said
    assert len(list((tmp_path / "o" / "wmt14").glob("*.json"))) == 6
    assert not (tmp_path / "results").exists()


def test_with_one_seed_there_is_no_interval(capsys, monkeypatch):
    monkeypatch.setattr(runs, "sweep", stand_in)
    assert main(["--preset", "mini", "--activations", "gelu", "--seeds", "0"]) == 0
    said = capsys.readouterr().out
    assert "±" not in said and "10.00" in said and "one seed" in said


def test_what_stops_the_first_run_is_said_once(capsys, monkeypatch):
    asked = []

    def fail(configs, **_):
        asked.extend(configs)
        return [f"wmt14 {c.activation} seed {c.seed}: sgblend: no luck today." for c in configs]

    monkeypatch.setattr(runs, "sweep", fail)
    assert main(["--preset", "mini", "--activations", "gelu,relu"]) == 2
    assert len(asked) == 1
    error = capsys.readouterr().err
    assert error.endswith("wmt14 gelu seed 0: no luck today.\n") and error.count("\n") == 1


@pytest.mark.slow
def test_it_runs_as_a_user_gives_it(tmp_path):
    words = "--max-samples 400 --epochs 1 --batch_size 8 --d_model 16 --ff-dim 32 --num_layers 1"
    command = [sys.executable, "-m", "sgblend_utils.run_experiment", *words.split()]
    command += ["--preset", "mini", "--activations", "relu", "--seeds", "0"]
    command += ["--output", str(tmp_path / "records")]
    environ = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "records" / "wmt14").glob("*.json")
    record = json.loads(path.read_text())
    assert record["config"]["settings"]["tokens"] == 8 * 24
    assert record["data"]["train_pairs"] == 400
    assert f"| ReLU | {record['metrics']['test_accuracy']:.4f} |" in done.stdout
