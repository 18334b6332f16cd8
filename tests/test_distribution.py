"""A run on two devices is the run on one: the same loss curve, the same trained model."""

import json
import os
import subprocess
import sys

import keras
import pytest

from sgblend_utils import cli
from sgblend_utils.errors import UserError
from sgblend_utils.tasks.train import data_parallel

CURVES = """
import json, sys
import keras
from sgblend_utils.config import RunConfig
from sgblend_utils.errors import UserError
from sgblend_utils.tasks.train import data_parallel, train

sizes = {"max_samples": 150, "vocabulary": 300, "d_model": 16, "num_heads": 2, "ff_dim": 32,
         "num_layers": 1, "epochs": 2, "average": 3, "beam": 1}
shape = {"tokens_per_batch": 480, "bucket_boundaries": [24]}  # twenty rows
out = {}
for devices in (1, 2):
    trained = train(RunConfig("multi30k", "sgblend", overrides=sizes | shape), devices=devices)
    weights = trained.model.get_weights()
    placed = {d.id for v in trained.model.variables for d in v.value.devices()}
    out[devices] = {
        "history": trained.record["history"],
        "metrics": trained.record["metrics"],
        "devices": trained.record.get("devices"),
        "norm": [float((w.astype("float64") ** 2).sum()) for w in weights],
        "placed": sorted(placed),
    }
    assert keras.distribution.distribution() is None
with data_parallel(2):
    out["inside"] = sorted(d.id for d in keras.Variable([1.0]).value.devices())
try:
    data_parallel(3)
except UserError as error:
    out["too_many"] = str(error)
json.dump(out, sys.stdout)
"""


@pytest.mark.slow
def test_two_devices_follow_the_loss_curve_of_one():
    environ = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    words = [sys.executable, "-c", CURVES]
    done = subprocess.run(words, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    curves = json.loads(done.stdout)
    one, two = curves["1"], curves["2"]
    for name in ("loss", "nll", "val_loss", "val_nll"):
        values = [[row[name] for row in curve["history"]] for curve in (one, two)]
        assert values[1] == pytest.approx(values[0], rel=1e-4)
        assert values[0][1] < values[0][0]
    assert two["norm"] == pytest.approx(one["norm"], rel=1e-3)
    # Evaluation is one device's work.
    assert one["devices"] is None and two["devices"] == 2
    assert curves["inside"] == [0, 1]  # within, a variable is on both
    assert len(two["placed"]) == 1
    assert two["metrics"]["test_nll"] == pytest.approx(one["metrics"]["test_nll"], rel=1e-4)
    assert "--devices is 3 but jax can divide a run among 2" in curves["too_many"]


def test_one_device_is_the_default_and_none_is_refused(capsys):
    with data_parallel(1):
        assert keras.distribution.distribution() is None
    assert cli.main(["run", "multi30k", "--devices", "0", "--backend", "tensorflow"]) == 2
    assert "--devices is 0" in capsys.readouterr().err


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX can do it")
def test_a_backend_that_cannot_says_which_can():
    with pytest.raises(UserError, match="--backend jax"):
        data_parallel(2)
