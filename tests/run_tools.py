"""Runs that train nothing, for tests of the store and of sweeps.

As a script it is the command line with such runs: `run_tools.py BEHAVIOUR sweep multi30k …`, where
BEHAVIOUR is JSON: `log`, a file that gets a line when a run starts; `seconds` that it takes; and
the activations that `fail`, or kill themselves `always`, or `once`, or once kill their `worker`.
"""

import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from sgblend_utils import runs

FIXED = {
    "history": [{"epoch": 1, "cpu_seconds": 1.0}],
    "activation_parameters": [],
    "parameters": 7,
    "peak_rss_bytes": 9,
}
HARDWARE = {"processor": "some", "cores": 1, "accelerators": []}
real_command = runs.command


@contextmanager
def without_xla():
    """On TensorFlow, models compile in half the time; JAX, where XLA is always on, has its pass."""
    import keras

    plain = keras.Model.compile

    def compile_model(model, *args, **kwargs):
        plain(model, *args, **kwargs | {"jit_compile": False})

    with pytest.MonkeyPatch.context() as patch:
        if keras.backend.backend() == "tensorflow":
            patch.setattr(keras.Model, "compile", compile_model)
        yield


def record(config, key="0" * 16, seconds=60.0, **metrics):
    scores = {"bleu": 12.5, "bleu_interval": 1.0, "bleu_signature": "some"}
    scores |= {"test_accuracy": 0.25, "dead_share": 0.0125}
    return {
        "schema": 2,
        "key": key,
        "config": config.describe(),
        "data": {"digest": "d"},
        "metrics": {**scores, "dead_by_site": {"encoder_0": 0.0}, **metrics},
        "timing": {"epoch_seconds_median": 1.5, "total_seconds": seconds},
        "hardware": HARDWARE,
        **FIXED,
    }


def store(config, root=None, **values):
    """Write a made-up record of a run under its own key."""
    place = runs.Place(config, root)
    runs.write_record(record(config, place.key, **values), place.record)
    return place.record


def use_stub(monkeypatch, **behaviour):
    """Let sweeps start this script instead of the command line."""
    words = [__file__, json.dumps(behaviour)]
    monkeypatch.setattr(runs, "command", lambda *a: words + real_command(*a)[2:])


def starts(log):
    """Activation, seed, process and cores of each run that was begun."""
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def train(behaviour, config, **_):
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    with open(behaviour["log"], "a", encoding="utf-8") as file:
        file.write(f"{config.activation} {config.seed} {os.getpid()} {','.join(map(str, cores))}\n")
    time.sleep(behaviour.get("seconds", 0))
    once = Path(behaviour["log"] + ".once")
    for name, victim in (("always", os.getpid()), ("once", os.getpid()), ("worker", os.getppid())):
        if config.activation in behaviour.get(name, ()) and (name == "always" or not once.exists()):
            once.touch()
            os.kill(victim, signal.SIGKILL)
            time.sleep(9)
    if config.activation in behaviour.get("fail", ()):
        raise ValueError("no luck")
    made = {k: v for k, v in record(config).items() if k not in ("schema", "key")}
    model = SimpleNamespace(save=lambda path: Path(path).write_bytes(b"weights"))
    return SimpleNamespace(model=model, record=made, files={"subwords.model": b"subwords"})


def main(behaviour, *words):
    from sgblend_utils import cli

    stub = ModuleType("sgblend_utils.tasks.train")
    stub.train = lambda config, **options: train(json.loads(behaviour), config, **options)
    stub.git_commit = lambda: "c0ffee"
    sys.modules[stub.__name__] = stub
    runs.command = lambda *a: [__file__, behaviour, *real_command(*a)[2:]]
    return cli.main(words)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
