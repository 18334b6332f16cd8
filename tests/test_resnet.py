"""Residual networks: the sizes of the literature, paired starts, equal outputs on every backend."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from model_tools import forward

from sgblend_utils.errors import UserError
from sgblend_utils.models.resnet import ResNet
from sgblend_utils.probes import dead_units, recorded_inputs
from sgblend_utils.zoo import ZOO

SHAPE = (8, 8, 3)


def make(activation="sgblend", architecture="resnet8", **kwargs):
    return ResNet(architecture, SHAPE, activation=activation, **{"width": 4, **kwargs})


def pixels(rows=3, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, *shape)).astype("uint8")


def logits(model, images, training=False):
    if training:
        return ops.convert_to_numpy(model(images, training=True))
    return forward(model, images)


def count(model):
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


@pytest.mark.parametrize(
    ("architecture", "parameters", "sites"),
    [
        # He et al.'s Table 6 says 0.27 M; by its formula, with shortcuts that have no parameters:
        ("resnet20", 269_722, 19),
        ("resnet8", 75_290, 7),
        # The stem for small images, 10 classes, as widely reimplemented.
        ("resnet18", 11_173_962, 17),
        ("resnet50", 23_520_842, 49),
    ],
)
def test_sizes_are_those_of_the_literature(architecture, parameters, sites):
    model = ResNet(architecture, activation="relu")
    assert count(model) == parameters
    layers = [layer for layer, _ in model.activation_sites().values()]
    assert len({id(layer) for layer in layers}) == len(layers) == sites


def test_learned_activations_add_three_numbers_a_site():
    assert count(make("sgblend")) - count(make("relu")) == 3 * 7


def initial_weights(activation, **kwargs):
    """Path -> value, without the activations' own parameters."""
    return {
        v.path: ops.convert_to_numpy(v)
        for v in make(activation, **kwargs).variables
        if "activation" not in v.path
    }


def test_every_activation_starts_from_the_same_weights():
    reference = initial_weights("relu")
    for name in [*ZOO, "sgblend(parameterization=published)"]:
        own = initial_weights(name)
        assert own.keys() == reference.keys()
        assert all(np.array_equal(own[path], reference[path]) for path in own), name
    other = initial_weights("relu", seed=1)
    kernels = [path for path in reference if path.endswith("kernel")]
    assert not [path for path in kernels if np.array_equal(other[path], reference[path])]
    # No two kernels of one shape are copies of each other either.
    assert not np.array_equal(reference[kernels[0]][..., :1], reference[kernels[1]][..., :3, :1])


@pytest.mark.parametrize("architecture", ["resnet8", "resnet50"])  # both shortcuts, both blocks
def test_stages_halve_the_image_and_double_the_channels(architecture):
    model = make("relu", architecture)
    with recorded_inputs(model.activation_sites()) as taps:
        assert logits(model, pixels()).shape == (3, 10)
    shapes = {name: value.shape[1:] for name, value in taps.items()}
    out = 4 if architecture == "resnet50" else 1
    assert shapes["stem"] == (8, 8, 4)
    assert shapes["stage_1_0_out"] == (8, 8, 4 * out)
    assert shapes["stage_2_0_out"] == (4, 4, 8 * out)
    assert shapes["stage_3_0_out"] == (2, 2, 16 * out)


def test_a_block_whose_branch_is_nothing_passes_its_input_on():
    """With both branch norms at zero, the first block is the activation of its own input."""
    model = make("relu")
    norm = model.get_layer("stage_1_0_1_norm")
    norm.gamma.assign(np.zeros(norm.gamma.shape))
    with recorded_inputs(model.activation_sites()) as taps:
        model(pixels())
    stem = np.maximum(taps["stem"], 0)
    np.testing.assert_allclose(taps["stage_1_0_out"], stem, atol=1e-6)
    # Option A: every other pixel, the new channels zero on both sides of the old.
    norm = model.get_layer("stage_2_0_1_norm")
    norm.gamma.assign(np.zeros(norm.gamma.shape))
    with recorded_inputs(model.activation_sites()) as taps:
        model(pixels())
    np.testing.assert_allclose(taps["stage_2_0_out"][..., 2:6], stem[:, ::2, ::2], atol=1e-6)
    assert not taps["stage_2_0_out"][..., [0, 1, 6, 7]].any()


def test_it_normalises_pixels_itself():
    plain = make("gelu")
    shifted = make("gelu", mean=[20.0, 0.0, 7.0], variance=[4 * 255.0**2, 255.0**2, 255.0**2])
    images = pixels().astype("float32")
    moved = images * [2, 1, 1] + [20, 0, 7]
    np.testing.assert_allclose(
        logits(shifted, moved.astype("float32")), logits(plain, images), atol=1e-4
    )
    assert np.array_equal(logits(plain, pixels()), logits(plain, images))


def test_each_image_is_classified_by_itself_outside_training():
    model, images = make(), pixels(4)
    model(images, training=True)  # statistics that are not the initial ones
    together = logits(model, images)
    alone = np.concatenate([logits(model, images[i : i + 1]) for i in range(4)])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together - logits(model, images, training=True)).max() > 1e-3


@pytest.mark.parametrize(
    "activation", ["relu", "prelu", pytest.param("sgblend", marks=pytest.mark.backend)]
)
def test_saved_and_loaded_it_computes_the_same(activation, tmp_path):
    model, images = make(activation, "digits", mean=[1, 2, 3], variance=[9, 9, 9]), pixels()
    model.get_layer("stem_norm").moving_mean.assign([1.0, 2.0, 3.0, 4.0])  # not the initial one
    model.trainable_variables[-3].assign(model.trainable_variables[-3] + 0.25)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(logits(loaded, images), logits(model, images))
    assert loaded.activation_sites().keys() == model.activation_sites().keys()


@pytest.mark.parametrize(
    "precision", [pytest.param("mixed_bfloat16", marks=pytest.mark.backend), "mixed_float16"]
)
def test_half_precision_is_close_and_can_be_taken_back(precision):
    half, images = make("sgblend", precision=precision), pixels()
    full = half.with_precision("float32")
    assert half.get_layer("stem_conv").compute_dtype != "float32"
    assert half.get_layer("stem_activation").compute_dtype != "float32"
    assert {keras.backend.standardize_dtype(v.dtype) for v in half.weights} == {"float32"}
    expected, found = logits(full, images), logits(half, images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(expected, logits(make("sgblend"), images), atol=1e-6)
    np.testing.assert_allclose(found, expected, atol=0.1)


@pytest.mark.parametrize("activation", ["relu", pytest.param("prelu", marks=pytest.mark.backend)])
def test_a_unit_is_a_channel_and_dead_if_it_is_so_everywhere(activation):
    """A channel that its norm pushes far down is dead; one that answers in one pixel is not."""
    model, images = make(activation, "digits"), pixels(6)
    norm = model.get_layer("stem_norm")
    norm.beta.assign([-100.0, 0.0, 0.0, 0.0])
    if activation == "prelu":
        model.get_layer("stem_activation").alpha.assign(np.full((1, 1, 4), 1e-3))
    found = dead_units(
        model,
        [(part, {"pixels": np.ones(len(part), bool)}) for part in np.split(images, 2)],
        model.activation_sites(),
    )
    assert found["dead_by_site"]["stem"] == found["near_dead_by_site"]["stem"] == 0.25
    units = dict(zip(model.activation_sites(), (4, 4, 4, 8, 8), strict=True))
    dead = sum(units[site] * share for site, share in found["dead_by_site"].items())
    assert dead >= 1 and found["dead_share"] == pytest.approx(dead / 28, abs=1e-5)
    spike = np.zeros_like(images)
    spike[0, 4, 4] = 255
    norm.beta.assign([-0.5, -100.0, -100.0, -100.0])
    norm.moving_variance.assign(np.full(4, 1e-4))
    kernel = np.zeros(model.get_layer("stem_conv").kernel.shape, "float32")
    kernel[1, 1, :, 0] = 1
    model.get_layer("stem_conv").kernel.assign(kernel)
    found = dead_units(model, [(spike, {"pixels": np.ones(6, bool)})], model.activation_sites())
    assert found["dead_by_site"]["stem"] == 0.75


def test_bad_names_are_the_users_to_mend():
    with pytest.raises(UserError, match="resnet18"):
        ResNet("resnet19")
    with pytest.raises(UserError, match="gelu"):
        ResNet("resnet8", activation="glue")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends draw others")
def test_weights_and_losses_are_those_of_every_version_before():
    """What stored runs trained; a change here needs a new task version."""
    rng, model = np.random.default_rng(0), make(seed=3)
    weights = [np.abs(ops.convert_to_numpy(v)).sum() for v in model.trainable_variables]
    assert sum(map(float, weights)) == pytest.approx(698.904, abs=2e-3)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, run_eagerly=True)
    losses = []
    for _ in range(3):
        images = rng.integers(0, 256, (8, *SHAPE)).astype("uint8")
        labels = np.eye(10, dtype="float32")[rng.integers(0, 10, 8)]
        model.reset_metrics()
        losses.append(model.train_on_batch(images, labels, return_dict=True)["loss"])
    assert losses == pytest.approx([2.41724, 2.37027, 2.11599], rel=1e-4)


# The same numbers on every backend ----------------------------------------------------------------

STEPS = """
import json, sys
import keras, numpy as np
from keras import ops
from sgblend_utils.models.resnet import ResNet

rng = np.random.default_rng(0)
x = rng.integers(0, 256, (8, 8, 8, 3)).astype("uint8")
y = np.eye(10, dtype="float32")[rng.integers(0, 10, 8)]
model = ResNet("digits", (8, 8, 3), activation="sgblend", width=4)
for variable in model.variables:  # backends draw different numbers from one seed
    if variable.name == "kernel":
        variable.assign(0.3 * rng.normal(size=variable.shape).astype("float32"))
before = ops.convert_to_numpy(model(x))
model.compile(
    optimizer=keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=0.01),
    loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
)
losses = [float(model.train_on_batch(x, y)) for _ in range(3)]
after = ops.convert_to_numpy(model(x))
own = [float(ops.convert_to_numpy(v)) for v in model.trainable_variables if v.shape == ()]
print("RESULT" + json.dumps([before.tolist(), losses, after.tolist(), own]))
"""


def three_steps(backend):
    environ = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", STEPS], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [np.array(part) for part in json.loads(done.stdout.split("RESULT")[1])]


@pytest.mark.slow
def test_equal_weights_give_equal_outputs_and_equal_training_on_every_backend():
    pytest.importorskip("jax")
    reference = three_steps("jax")
    assert np.abs(reference[2] - reference[0]).max() > 1e-2  # training did something
    assert np.abs(reference[3] - 0.5).max() > 0.4 and len(reference[3]) == 15
    for backend in ("tensorflow", "torch"):
        pytest.importorskip(backend)
        for own, expected in zip(three_steps(backend), reference, strict=True):
            np.testing.assert_allclose(own, expected, rtol=2e-3, atol=2e-4)
