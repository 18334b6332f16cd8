"""A run on two devices is the run on one: the same loss curve, the same trained model."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from sgblend_utils import cli
from sgblend_utils.datasets.text import TranslationBatches
from sgblend_utils.errors import UserError
from sgblend_utils.models.transformer import Transformer, TranslationObjective
from sgblend_utils.training.parallel import EvenRows, data_parallel

CURVES = """
import json, sys
import keras
from sgblend_utils.configs import RunConfig
from sgblend_utils.errors import UserError
from sgblend_utils.training import train
from sgblend_utils.training.parallel import data_parallel

sizes = {"max_samples": 150, "vocabulary": 300, "d_model": 16, "num_heads": 2, "ff_dim": 32,
         "num_layers": 1, "epochs": 2, "average": 3, "beam": 1}
shape = {"tokens": 480, "widths": [24]}  # twenty rows
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


@pytest.fixture(scope="module")
def curves():
    environ = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    words = [sys.executable, "-c", CURVES]
    done = subprocess.run(words, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_two_devices_follow_the_loss_curve_of_one(curves):
    one, two = curves["1"], curves["2"]
    for name in ("loss", "nll", "val_loss", "val_nll"):
        values = [[row[name] for row in curve["history"]] for curve in (one, two)]
        assert values[1] == pytest.approx(values[0], rel=1e-4)
        assert values[0][1] < values[0][0]
    assert two["norm"] == pytest.approx(one["norm"], rel=1e-3)


@pytest.mark.slow
def test_evaluation_is_one_devices_work(curves):
    one, two = curves["1"], curves["2"]
    assert one["devices"] is None and two["devices"] == 2
    assert curves["inside"] == [0, 1]  # within, a variable is on both
    assert len(two["placed"]) == 1
    assert two["metrics"].keys() == one["metrics"].keys()
    assert two["metrics"]["test_nll"] == pytest.approx(one["metrics"]["test_nll"], rel=1e-4)


@pytest.mark.slow
def test_more_devices_than_there_are_is_the_users_to_mend(curves):
    assert "--devices is 3 but JAX sees 2" in curves["too_many"]


def test_one_device_is_the_default_and_none_is_refused(capsys):
    with data_parallel(1):
        assert keras.distribution.distribution() is None
    assert cli.main(["run", "multi30k", "--devices", "0", "--backend", "tensorflow"]) == 2
    assert "--devices is 0" in capsys.readouterr().err


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX can do it")
def test_a_backend_that_cannot_says_which_can():
    with pytest.raises(UserError, match="--backend jax"):
        data_parallel(2)


def rows(count, seed):
    rng = np.random.default_rng(seed)
    return [rng.integers(4, 20, rng.integers(2, 7)).tolist() for _ in range(count)]


def test_rows_are_made_even_and_weigh_nothing():
    batches = TranslationBatches(rows(9, 0), rows(9, 1), tokens=56, widths=[8], seed=0)
    even = EvenRows(batches, 4)
    assert len(even) == len(batches) == 2
    inputs, labels = even[0]
    assert labels.shape == (8, 8) and batches[0][1].shape == (7, 8)
    assert np.array_equal(inputs["source"][:7], batches[0][0]["source"])
    assert not inputs["target"][7:].any() and not labels[7:].any()
    model = TranslationObjective(Transformer(20, 8, 2, 16, 1))
    model.build()
    model.compile()
    scores = [model.evaluate(d, verbose=0, return_dict=True) for d in (batches, even)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-5)
    before = batches.epoch
    even.on_epoch_end()
    assert batches.epoch == before + 1
