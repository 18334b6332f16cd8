"""A sweep performs what is missing, once, wherever it runs, and stops when it is told to."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest
import run_tools
from run_tools import alive, starts, store, use_stub

from sgblend_utils import cli, runs
from sgblend_utils.config import RunConfig
from sgblend_utils.errors import UserError

PIN = hasattr(os, "sched_getaffinity")


def several(*activations, **fields):
    return [RunConfig("multi30k", name, **fields) for name in activations]


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path / "store"))


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def stored():
    return sorted(runs.load_records().get("activation", []))


def notes():
    paths = (runs.results_root() / "failed").glob("*/*.json")
    return {note["config"]["activation"]: note for note in map(runs.read_record, paths)}


def until(condition, seconds=20):
    """Wait for it; what it became."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_it_runs_what_is_missing_and_says_what_failed(monkeypatch, log):
    store(RunConfig("multi30k", "gelu"))
    configs = several("gelu", "relu", "mish", "relu")
    use_stub(monkeypatch, log=str(log), fail=["mish"])
    assert runs.sweep(configs) == ["multi30k mish seed 0: ValueError: no luck"]
    assert [start[0] for start in starts(log)] == ["relu", "mish"]
    assert stored() == ["gelu", "relu"]
    note = notes()["mish"]
    assert note["config"] == configs[2].describe() and note["reason"] == "ValueError: no luck"
    assert note["git_commit"] == "c0ffee" and note["time"]
    use_stub(monkeypatch, log=str(log))
    assert runs.sweep(configs) == [] and notes() == {}
    assert [start[0] for start in starts(log)] == ["relu", "mish", "mish"]


@pytest.mark.skipif(not PIN, reason="cores cannot be chosen here")
def test_several_workers_have_a_core_each(monkeypatch, log):
    use_stub(monkeypatch, log=str(log), seconds=0.3)
    there = os.sched_getaffinity(0)
    runs.sweep(several("gelu", "relu"), workers=2)
    assert os.sched_getaffinity(0) == there  # this process was not pinned
    runs.sweep(several("mish"))
    first, second, alone = (set(map(int, cores.split(","))) for *_, cores in starts(log))
    assert len(first) == len(second) == 1 and alone == there
    assert len(first | second) == min(2, len(there))


def test_a_killed_run_is_tried_again_and_then_noted(monkeypatch, log):
    monkeypatch.setattr(runs, "TRIES", 2)
    use_stub(monkeypatch, log=str(log), once=["relu"], always=["mish"])
    said = runs.sweep(several("relu", "mish"))
    assert said == ["multi30k mish seed 0: killed by signal 9"]
    assert [start[0] for start in starts(log)] == ["relu"] * 2 + ["mish"] * 2
    assert stored() == ["relu"] and notes()["mish"]["reason"] == "killed"


def test_two_sweeps_at_once_share_the_runs(monkeypatch, log):
    configs = several("gelu", "relu")
    use_stub(monkeypatch, log=str(log), seconds=0.3)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(runs.sweep, [configs, configs])) == [[], []]
    assert until(lambda: len(stored()) == 2)
    assert sorted(start[0] for start in starts(log)) == ["gelu", "relu"]


def test_a_run_that_another_process_performs_is_left_to_it(log, monkeypatch):
    (config,) = several("gelu")
    use_stub(monkeypatch, log=str(log))
    with runs.Place(config).claim():
        assert runs.sweep([config]) == [] and stored() == [] and starts(log) == []
        with pytest.raises(UserError, match="Another process"):
            runs.run(config)


def begin_sweep(log):
    """`sgblend sweep` in a process of its own, with runs of a minute; when its first has begun."""
    stub = [run_tools.__file__, json.dumps({"log": str(log), "seconds": 60})]
    words = ["sweep", "multi30k", "--activations", "gelu,relu,mish", "--workers", "2"]
    sweep = subprocess.Popen(
        [sys.executable, *stub, *words],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: len(starts(log)) == 2)
    return sweep, [int(start[2]) for start in starts(log)]


@pytest.mark.slow
def test_ctrl_c_ends_a_sweep_and_its_runs_at_once(log):
    sweep, children = begin_sweep(log)
    assert len(children) == 2 and all(map(alive, children))
    sweep.send_signal(signal.SIGINT)
    said = sweep.communicate(timeout=5)[1].splitlines()[-1]
    assert (sweep.returncode, said) == (
        130,
        "sgblend: stopped; the same command goes on from there.",
    )
    assert not any(map(alive, children))
    time.sleep(1.5)
    assert len(starts(log)) == 2 and stored() == [] and notes() == {}


def test_no_run_outlives_its_sweep(log):
    sweep, children = begin_sweep(log)
    sweep.kill()
    assert until(lambda: not any(map(alive, children)), 5)
    assert {note["reason"] for note in notes().values()} == {"killed"}


def test_the_status_counts_and_estimates(log, monkeypatch, capsys):
    activations = ("gelu", "relu", "mish", "silu", "sgblend")
    gelu, relu, mish, *_ = several(*activations, backend="jax")
    store(gelu, seconds=100)
    store(RunConfig("multi30k", "silu", seed=1, backend="jax"), seconds=300)
    store(RunConfig("multi30k", "silu", overrides={"epochs": 1}, backend="jax"), seconds=9)
    for config, reason in ((relu, "ValueError: no luck"), (mish, "killed")):
        runs.Place(config).fail(reason)
    words = ["sweep", "multi30k", "--backend", "jax", "--seeds", "0", "--status"]
    with runs.Place(mish).claim():
        assert cli.main([*words, "--activations", ",".join(activations), "--workers", "2"]) == 0
    counts, failed = capsys.readouterr().out.splitlines()
    # 300 s as another seed of silu, 200 s for the others as the middle of all: 900 s for two.
    assert counts == "1 done, 1 running, 1 failed, 2 left; about 0:07:30 to go"
    assert failed == "multi30k relu seed 0: ValueError: no luck"
    assert cli.main([*words, "--activations", "gelu"]) == 0
    assert capsys.readouterr().out == "1 done, 0 running, 0 failed, 0 left\n"


def test_any_executor_will_do_and_the_files_come_back(monkeypatch, log):
    use_stub(monkeypatch, log=str(log), fail=["mish"])
    configs = several("gelu", "mish")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        said = runs.sweep(configs, executor=executor)
    assert said == ["multi30k mish seed 0: ValueError: no luck"]
    assert stored() == ["gelu"] and list(notes()) == ["mish"]
    folder = runs.models_root() / configs[0].key()
    assert (folder / "model.keras").read_bytes() == b"weights"
    assert (folder / "subwords.model").read_bytes() == b"subwords"


class Elsewhere(ThreadPoolExecutor):
    """An executor whose work is this function's."""

    def __init__(self, answer):
        super().__init__(1)
        self.answer = answer

    def submit(self, work, words):
        return super().submit(self.answer)


def test_what_comes_from_other_data_or_not_at_all_is_not_stored():
    other = {f"multi30k/mini-sound-gelu-s0-{'9' * 16}.json": b"{}"}
    with Elsewhere(lambda: (0, "", other)) as executor:
        (said,) = runs.sweep(several("gelu"), executor=executor)
    assert "other data" in said and stored() == []
    with Elsewhere(lambda: 1 / 0) as executor:
        (said,) = runs.sweep(several("gelu"), executor=executor)
    assert said == "multi30k gelu seed 0: ZeroDivisionError: division by zero"
    assert notes()["gelu"]["reason"] == "ZeroDivisionError: division by zero"


# Dask ---------------------------------------------------------------------------------------------


def test_without_dask_its_installation_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert cli.main(["sweep", "multi30k", "--executor", "dask://localhost:8786"]) == 2
    assert "pip install distributed" in capsys.readouterr().err


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    with distributed.LocalCluster(
        2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=60
    ) as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


@pytest.mark.slow
def test_a_cluster_does_the_same_and_a_lost_worker_is_made_up_for(
    cluster, monkeypatch, log, capsys
):
    use_stub(monkeypatch, log=str(log), seconds=0.2, worker=["relu"], fail=["mish"])
    words = ["sweep", "multi30k", "--seeds", "0", "--executor", cluster]
    assert cli.main([*words, "--activations", "gelu,relu,mish"]) == 2
    said = capsys.readouterr().err
    assert "multi30k mish seed 0: ValueError: no luck" in said and "relu" not in said
    assert stored() == ["gelu", "relu"]
    assert [start[0] for start in starts(log)].count("relu") == 2


@pytest.mark.slow
def test_what_is_cancelled_ends_on_the_cluster_too(cluster, log, monkeypatch):
    use_stub(monkeypatch, log=str(log), seconds=60)
    with cli.cluster(cluster) as client, client.get_executor(pure=False) as executor:
        future = executor.submit(runs.work, runs.command(*several("gelu")))
        until(lambda: starts(log))
        future.cancel()
        assert until(lambda: not alive(int(starts(log)[0][2])), 5)


@pytest.mark.slow
def test_a_real_run_on_a_cluster(cluster):
    tiny = {"max_samples": 100, "d_model": 8, "num_heads": 1, "ff_dim": 8, "num_layers": 1}
    config = RunConfig("imdb", "gelu", overrides={**tiny, "epochs": 1})
    with cli.cluster(cluster) as client, client.get_executor(pure=False) as executor:
        assert runs.sweep([config], executor=executor) == []
    (record,) = runs.load_records()["record"]
    assert 0 <= record["metrics"]["test_accuracy"] <= 1 and record["config"] == config.describe()
    # It has subwords, and yet it cannot translate.
    assert (runs.models_root() / record["key"] / "subwords.model").exists()
    with pytest.raises(UserError, match="is not the key of a translation run"):
        runs.load_model(record["key"])
