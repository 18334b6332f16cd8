"""The engine of the benchmarks, on made-up ones that take known times."""

import json

import numpy as np
import pytest

from benchmarks import engine
from sgblend_utils import bench, cli
from sgblend_utils.errors import UserError
from sgblend_utils.report import claims
from sgblend_utils.runs import write_record

TOY = """
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from sgblend_utils.errors import UserError

PROCESSES = {"one": {"SPEED": "1"}, "two": {"SPEED": "2"}, "three": {}}
ROUNDS, REPEATS = 4, 2
LOG = Path(__file__).with_name("log")

def work(name, seconds):
    print("chatter that is no answer")
    with LOG.open("a") as file:
        file.write(name)
    time.sleep(seconds)
    return {"slowest": seconds}

def contestants(process):
    import os
    # Or each process would import Keras, only to name the hardware.
    about = {"hardware": {"cores": 1}, "peak_rss_bytes": 7}
    stub = SimpleNamespace(environment=lambda: about, git_commit=lambda: "c0ffee")
    sys.modules["sgblend_utils.tasks.train"] = stub
    if process == "three":
        raise UserError("it has no data")
    scale = 1 / int(os.environ["SPEED"])
    names = {"one": "ab", "two": "cd"}[process]
    return {name: partial(work, name, s * scale) for name, s in zip(names, (0.02, 0.06))}, {"n": 3}

def reference(process, contestant):
    return f"{process}: {'ac'[process == 'two']}"

def finish(record):
    record["seen"] = sorted(record["processes"])
"""


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "toy_bench.py").write_text(TOY)
    return tmp_path


@pytest.mark.slow
def test_contestants_of_several_processes_take_turns(toy, monkeypatch):
    said = []
    monkeypatch.setattr(engine, "PAUSE", 0.01)  # these leave no threads spinning
    record = json.loads(engine.run("toy_bench", said.append, toy).read_text())
    # Each is called once before the clock matters, then forwards and backwards.
    assert (toy / "benchmarks" / "log").read_text() == 2 * ("abcd" + 2 * "abcddcba")
    assert "three: left out (it has no data)" in said and record["seen"] == ["one", "two"]
    assert {label: [len(part) for part in v] for label, v in record["seconds"].items()} == {
        label: [4, 4] for label in ("one: a", "one: b", "two: c", "two: d")
    }
    one = record["processes"]["one"]
    assert one["facts"] == {"n": 3} and one["hardware"] == {"cores": 1}
    assert one["git_commit"] == "c0ffee" and len(one["starts"]) == 2
    assert record["details"]["one: a"] == [{"slowest": 0.02}] * 8
    monkeypatch.setattr(bench, "project_root", lambda: toy)
    table = bench.summary(bench.load("toy_bench")).set_index("contestant")
    assert table.loc["b", "ratio"] == pytest.approx(3, rel=0.2)
    assert (
        table.loc["d", "ratio"] == pytest.approx(3, rel=0.2) and len(table.loc["d", "repeats"]) == 2
    )
    assert np.isnan(table.loc["a", "ratio"])
    assert table.loc["a", "seconds"] == pytest.approx(2 * table.loc["c", "seconds"], rel=0.2)


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_with_its_message(toy):
    text = TOY.replace("    time.sleep(seconds)", "    raise RuntimeError('out of luck')")
    (toy / "benchmarks" / "toy_bench.py").write_text(text)
    with pytest.raises(UserError, match="out of luck"):
        engine.run("toy_bench", folder=toy)
    assert not bench.bench_path("toy_bench", toy).exists()


def test_without_a_checkout_or_a_record_it_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "project_root", lambda: tmp_path)
    assert cli.main(["bench", "step"]) == 2 and "in a checkout" in capsys.readouterr().err
    with pytest.raises(UserError, match="run `sgblend bench step`"):
        bench.load("step")
    assert bench.step_ratios() == {} and bench.step_table().empty


def made_up(ratios, task="multi30k"):
    """A record of `step` with these ratios, a repeat each, of three noisy rounds."""
    rng, seconds = np.random.default_rng(0), {f"{task}: gelu": [], f"{task}: sgblend": []}
    for ratio in ratios:
        own = rng.uniform(1.0, 1.4, 3)  # the machine's moods, shared by both
        seconds[f"{task}: gelu"].append(own.tolist())
        seconds[f"{task}: sgblend"].append((own * ratio).tolist())
    return {"seconds": seconds, "references": dict.fromkeys(seconds, f"{task}: gelu")}


@pytest.mark.parametrize(
    ("ratios", "verdict", "size"),
    [
        ((1.010, 1.012, 1.008, 1.011), "no relevant difference", "reached"),  # at most 1.029
        ((1.048, 1.052, 1.050, 1.049), "loss", "excluded"),
        ((1.000, 1.060, 1.010, 1.050), "undecided", "possible"),
    ],
)
def test_the_claim_about_overhead_is_judged_by_the_repeats(
    tmp_path, monkeypatch, ratios, verdict, size
):
    monkeypatch.setattr(bench, "project_root", lambda: tmp_path)
    path = bench.bench_path("step")
    path.parent.mkdir(parents=True)
    write_record(made_up(ratios), path)
    assert bench.step_ratios()["multi30k", "sgblend"] == pytest.approx(ratios)
    ledger = claims.ledger([]).set_index("claim")
    row = ledger.loc["general-overhead"]
    assert (row["verdict"], row["size_found"], row["seeds"]) == (verdict, size, 4)
    assert row["difference"] == pytest.approx(np.mean(ratios) - 1)
    assert ledger.loc["overhead", "verdict"] == claims.NOT_RUN


@pytest.mark.parametrize("repeats", [11, 12])
def test_a_second_round_of_repeats_decides_where_all_of_them_are_there(
    tmp_path, monkeypatch, repeats
):
    monkeypatch.setattr(bench, "project_root", lambda: tmp_path)
    first = made_up((1.000, 1.060, 1.010, 1.050), "wmt14")
    bench.bench_path("step").parent.mkdir(parents=True)
    write_record(first, bench.bench_path("step"))
    again = made_up(np.linspace(1.048, 1.052, repeats), "wmt14")
    write_record(again, bench.bench_path("step_again"))
    row = claims.ledger([]).set_index("claim").loc["overhead"]
    assert row["verdict"] == ("loss" if repeats == 12 else "undecided")
    assert row["seeds"] == (12 if repeats == 12 else 4)
    assert row["experiment"].endswith("second round") == (repeats == 12)
