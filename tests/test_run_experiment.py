"""The paper's command line: its options and defaults, its table, our records."""

import os
import re

import numpy as np
import pytest
from run_tools import starts, store, use_stub
from scipy import stats

from sgblend_utils import cli, runs
from sgblend_utils.config import RunConfig
from sgblend_utils.run_experiment import config_of, make_parser

OPTIONS = ["max_samples", "epochs", "batch_size", "d_model", "ff_dim", "num_heads", "num_layers"]
PAPER_LINE = "--max_samples 50000 --epochs 10 --batch_size 64 --d_model 128 --ff_dim 256"


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "tensorflow"))


def main(words):
    return cli.main(words, make_parser())


def config(*words, activation="gelu", seed=0):
    return config_of(make_parser().parse_args(words), activation, seed)


def test_the_defaults_are_the_papers():
    paper = config("--protocol", "published")
    assert paper.settings.bucket_boundaries == (50,)
    assert paper.overrides == {
        "max_samples": 50_000,
        "epochs": 10,
        "tokens_per_batch": 64 * 50,
        "d_model": 64,
        "ff_dim": 128,
        "num_heads": 2,
        "num_layers": 2,
    }


def test_hyphens_and_underscores_mean_the_same():
    words = [w for name in OPTIONS for w in (f"--{name}", "4")]
    hyphens = [word.replace("_", "-") for word in words]
    assert words != hyphens
    assert make_parser().parse_args(words) == make_parser().parse_args(hyphens)


@pytest.mark.parametrize("protocol", ["sound", "published"])
def test_the_papers_example_is_the_paper_preset(protocol):
    settings = config(*PAPER_LINE.split(), "--protocol", protocol).settings
    paper = RunConfig("wmt14", "gelu", protocol, "paper").settings
    sizes = {} if protocol == "sound" else {"d_model": 128, "ff_dim": 256}  # else the defaults
    assert settings == paper.override(sizes)
    assert settings.max_samples == 50_000 and settings.epochs == 10
    assert (settings.d_model, settings.ff_dim) == (128, 256)
    assert (settings.num_heads, settings.num_layers) == (2, 2)


def test_every_option_reaches_the_settings():
    words = [w for i, name in enumerate(OPTIONS) for w in (f"--{name}", str(20 + i))]
    settings = config(*words, "--backend", "torch").settings
    for i, name in enumerate(OPTIONS):
        if name != "batch_size":
            assert getattr(settings, name) == 20 + i
    # 22 sentences of the longest bucket, and so at least 22 of any.
    assert settings.tokens_per_batch == 22 * settings.bucket_boundaries[-1]
    assert config("--backend", "torch").backend == "torch"
    assert config("--set", "clip=0.5").settings.clip == 0.5


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--activations", "gelu,glu"], ["'glu'", "sgblend"]),
        (["--activations", ""], ["''", "gelu"]),
        (["--seeds", ""], ["''", "0-2"]),
        (["--protocol", "loose"], ["'loose'", "sound"]),
        (["--preset", "huge"], ["huge", "paper"]),
        (["--seeds", "x"], ["'x'"]),
        (["--batch_size", "0"], ["batch_size is 0", "positive"]),
        (["--epochs", "-1"], ["epochs is -1", "positive"]),
        (["--backend", "caffe"], ["'caffe'"]),
        ([], ["sgblend data fetch wmt14", "SGBLEND_DATA"]),
    ],
)
def test_mistakes_are_named(capsys, words, expected):
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("run_experiment: ")
    for part in expected:
        assert part in said.err


BLEU = {("gelu", 0): 10.0, ("gelu", 1): 11.0, ("gelu", 2): 12.5, ("sgblend", 0): 9.0}


def stand_in(configs, *, root):
    """Stores a record for each run, as a sweep does."""
    for each in configs:
        scores = {}
        if each.protocol == "published":
            scores = {"reported_accuracy": 0.9, "reported_bleu": 0.4, "reported_dead_share": 0.5}
        store(each, root, bleu=BLEU.get((each.activation, each.seed), 8.0), **scores)
    return []


def cells(said):
    lines = [line for line in said.splitlines() if line.startswith("|")]
    header, _, *rows = ([c.strip() for c in line.strip("|").split("|")] for line in lines)
    return header, rows


def test_the_table_has_the_papers_columns_with_intervals(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "sweep", stand_in)
    words = ["--preset", "mini", "--activations", "sgblend,gelu", "--output", str(tmp_path / "o")]
    store(RunConfig("wmt14", "gelu", preset="mini", seed=9), tmp_path / "o", bleu=99.0)  # another
    assert main([*words, "--seeds", "0-2"]) == 0
    said = capsys.readouterr().out
    header, (first, second) = cells(said)
    assert [re.sub(r" \(.*", "", name) for name in header] == [
        "activation",
        "seeds",
        "test accuracy",
        "BLEU",
        "dead units",
        "epoch by the clock",
    ]
    assert (first[0], second[0]) == ("SG-Blend", "GELU")
    values = np.array([10.0, 11.0, 12.5])
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
    assert second[1] == "3" and second[3] == f"{values.mean():.2f} ± {half:.2f}"
    assert second[2] == "25.00 ± 0.00" and second[4] == "1.25 ± 0.00" and second[5] == "1.5 ± 0.0"
    assert "protocol sound" in said and "seeds 0-2" in said and "95 % t interval" in said
    assert len(list((tmp_path / "o" / "wmt14").glob("*.json"))) == 7
    assert not (tmp_path / "results").exists()


def test_the_published_protocol_reports_as_the_paper_does(capsys, monkeypatch):
    monkeypatch.setattr(runs, "sweep", stand_in)
    words = ["--preset", "mini", "--activations", "gelu", "--seeds", "0"]
    assert main([*words, "--protocol", "published"]) == 0
    said = capsys.readouterr().out
    assert cells(said)[1] == [["GELU", "1", "90.00", "0.400", "50.00", "1.5"]]
    assert "the decoder is given the answer" in said


def test_what_stops_the_first_run_is_said_once(capsys, monkeypatch):
    asked = []

    def fail(configs, **_):
        asked.extend(configs)
        return [f"wmt14 {c.activation} seed {c.seed}: no luck today" for c in configs]

    monkeypatch.setattr(runs, "sweep", fail)
    assert main(["--preset", "mini", "--activations", "gelu,relu"]) == 2
    assert len(asked) == 1
    error = capsys.readouterr().err
    assert "wmt14 gelu seed 0: no luck today" in error and error.count("\n") == 1


def test_runs_that_another_process_performs_are_waited_for_by_the_reader(capsys, monkeypatch):
    monkeypatch.setattr(runs, "sweep", lambda configs, *, root: stand_in(configs[:1], root=root))
    for seed in ("0", "0-2"):
        assert main(["--preset", "mini", "--activations", "gelu", "--seeds", seed]) == 2 * (
            seed == "0-2"
        )
    assert "Another process" in capsys.readouterr().err


def test_it_runs_as_a_user_gives_it(tmp_path, monkeypatch, capsys):
    """Every part but the training itself; what is stored is not run again."""
    use_stub(monkeypatch, log=str(tmp_path / "log"))
    words = "--max-samples 400 --epochs 1 --batch_size 8 --preset mini --activations relu,gelu"
    for _ in range(2):
        assert main([*words.split(), "--seeds", "0", "--output", str(tmp_path / "records")]) == 0
        assert [row[:3] for row in cells(capsys.readouterr().out)[1]] == [
            ["GELU", "1", "25.00"],
            ["ReLU", "1", "25.00"],
        ]
    assert [start[0] for start in starts(tmp_path / "log")] == ["relu", "gelu"]
    for path in (tmp_path / "records" / "wmt14").glob("*.json"):
        settings = runs.read_record(path)["config"]["settings"]
        assert settings["tokens_per_batch"] == 8 * 24 and settings["max_samples"] == 400
