"""The swap changes nothing at first, and everything can be learned, saved and loaded after it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import sgblend_utils
from sgblend_utils.activations import learnable_activations, swap_activation
from sgblend_utils.errors import UserError

TOLERANCE = 1e-6
backend = pytest.mark.backend


def numpy_of(model, x):
    return keras.tree.map_structure(ops.convert_to_numpy, model(x, training=False))


def difference(one, other):
    """The largest difference of any output, in units of that output's largest value."""
    pairs = zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True)
    return max(np.abs(a - b).max() / max(1.0, np.abs(a).max()) for a, b in pairs)


def randomised(model):
    """Biases and norms are not what they started as: weights that get lost would show."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        value = rng.normal(0, 0.3, weight.shape)
        weight.assign(1.0 + np.abs(value) if "variance" in weight.name else value)
    return model


def tanh_gelu(x):
    return keras.activations.gelu(x, approximate=True)


def sequential():
    return keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            layers.Conv2D(4, 3, activation="gelu"),
            layers.BatchNormalization(),
            layers.Activation("gelu"),
            layers.Flatten(),
            layers.Dense(5, activation="relu"),
            layers.Dense(2),
        ]
    )


def functional():
    inputs = keras.Input((6, 4))
    inner_input = keras.Input((6, 4))
    inner = keras.Model(inner_input, layers.Dense(4, activation="gelu")(inner_input), name="inner")
    x = layers.EinsumDense("btd,de->bte", (6, 4), activation=keras.activations.gelu)(inputs)
    shared = layers.Dense(4, activation="gelu", name="shared")
    x = shared(shared(x)) + inner(x)
    x = layers.TimeDistributed(layers.Dense(3, activation="gelu"))(x)
    return keras.Model(inputs, layers.Dense(2, activation="tanh")(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(4, activation="gelu")
        self.out = layers.Dense(1)

    def call(self, x):
        return self.out(self.hidden(x))


each_model = pytest.mark.parametrize(
    ("make", "shape", "sites"),
    [
        pytest.param(sequential, (5, 5, 2), 2, id="sequential"),
        pytest.param(functional, (6, 4), 4, id="functional", marks=backend),
    ],
)


def inputs_of(shape, rows=3):
    return np.random.default_rng(1).normal(size=(rows, *shape)).astype("float32")


@each_model
def test_a_swap_changes_nothing_and_leaves_the_model_alone(make, shape, sites):
    model, x = randomised(make()), inputs_of(shape)
    before, weights = numpy_of(model, x), model.get_weights()
    swapped = swap_activation(model)
    assert difference(numpy_of(swapped, x), before) < TOLERANCE
    assert len(learnable_activations(swapped)) == sites
    assert not learnable_activations(model)
    assert all(map(np.array_equal, model.get_weights(), weights))
    assert len(swapped.trainable_variables) == len(model.trainable_variables) + 3 * sites
    learned = {id(v) for v in swapped.trainable_variables}
    for layer in learnable_activations(swapped).values():
        assert [v.name for v in layer.weights] == ["alpha", "beta", "gamma"]
        assert {id(v) for v in layer.weights} <= learned


@each_model
def test_every_site_learns_and_is_saved_and_loaded(tmp_path, make, shape, sites):
    model, x = randomised(make()), inputs_of(shape)
    swapped, before = swap_activation(model), numpy_of(model, x)
    swapped.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    swapped.train_on_batch(x, before + 1.0)
    alphas = [v for v in swapped.trainable_variables if v.name == "alpha"]
    values = [float(ops.convert_to_numpy(v)) for v in alphas]
    assert all(value != 0 for value in values)
    assert len(set(values)) == sites
    after = numpy_of(swapped, x)
    assert difference(after, before) > 1e-4
    swapped.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert difference(numpy_of(again, x), after) < TOLERANCE


@pytest.mark.parametrize(
    "activation, form",
    [("gelu", "erf"), (keras.activations.gelu, "erf"), (tanh_gelu, "tanh")],
    ids=["name", "function", "approximate"],
)
def test_either_form_of_gelu_is_recognised_by_its_values(activation, form):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation=activation)])
    (layer,) = learnable_activations(swap_activation(randomised(model))).values()
    assert layer.gelu == form
    x = inputs_of((4,), 50)
    assert difference(numpy_of(swap_activation(model), x), numpy_of(model, x)) < TOLERANCE


@backend
@pytest.mark.parametrize("form", ["erf", "tanh"])
def test_the_start_is_exact_to_the_last_bit_where_kerass_gelu_is(form):
    """On PyTorch Keras's exact GELU itself cancels in the left tail, by up to 2.6e-7."""
    x = np.linspace(-8, 8, 16001, dtype="float32")[:, None]
    gelu = keras.activations.gelu if form == "erf" else tanh_gelu
    model = keras.Sequential([keras.Input((1,)), layers.Activation(gelu)])
    off = np.abs(numpy_of(swap_activation(model), x) - numpy_of(model, x)).max()
    exact = form == "erf" and keras.backend.backend() != "torch"
    assert off < (1e-8 if exact else 1e-6)


@backend
def test_silu_is_sgblend_too_and_other_targets_are_what_they_are():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="silu")])
    x = inputs_of((4,), 50)
    assert difference(numpy_of(swap_activation(model, "silu"), x), numpy_of(model, x)) < TOLERANCE
    rectified = swap_activation(model, "silu", "relu")
    assert difference(numpy_of(rectified, x), numpy_of(model, x)) > 1e-2
    assert numpy_of(rectified, x).min() == 0.0
    (layer,) = learnable_activations(swap_activation(model, "silu", alpha=0.3)).values()
    assert np.isclose(layer.effective_parameters()["alpha"], 0.3)


@backend
def test_either_model_can_be_used_after_the_other():
    """The copy has arrays of its own: JAX deletes those that `predict` and `fit` are given."""
    model = sequential()
    copy, x = swap_activation(model), np.ones((3, 5, 5, 2), "float32")
    for one in (model, copy):
        one.compile("sgd", "mse")
        one.fit(x, np.ones((3, 2)), verbose=0)
    assert all(np.isfinite(one.predict(x, verbose=0)).all() for one in (model, copy))


def test_a_second_swap_leaves_the_first_in_place():
    model = randomised(
        keras.Sequential(
            [keras.Input((4,)), layers.Dense(3, "gelu"), layers.Dense(3, "silu"), layers.Dense(1)]
        )
    )
    x = inputs_of((4,))
    once = swap_activation(model)
    twice = swap_activation(once, "silu")
    assert difference(numpy_of(twice, x), numpy_of(model, x)) < TOLERANCE
    assert len(learnable_activations(twice)) == 2


@backend
def test_a_subclassed_model_is_changed_in_place():
    model, x = Subclassed(), inputs_of((4,))
    before = numpy_of(model, x)
    assert swap_activation(model) is model
    assert difference(numpy_of(model, x), before) < TOLERANCE
    assert len(learnable_activations(model)) == 1
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    model.train_on_batch(x, before + 1.0)
    (alpha,) = [v for v in model.trainable_variables if v.name == "alpha"]
    assert float(ops.convert_to_numpy(alpha)) != 0


def test_where_nothing_is_found_the_message_says_what_there_is():
    with pytest.raises(UserError, match=r"applies mish; its activations are: gelu, linear, relu"):
        swap_activation(sequential(), "mish")
    with pytest.raises(UserError, match="Unknown activation 'gulu'"):
        swap_activation(sequential(), "gulu")
    with pytest.raises(UserError, match="Unknown activation 'blend'"):
        swap_activation(sequential(), "gelu", "blend")


def test_it_is_at_hand_in_the_package():
    assert sgblend_utils.swap_activation is swap_activation
    with pytest.raises(AttributeError, match="swop"):
        sgblend_utils.swop  # noqa: B018


# A pretrained encoder -----------------------------------------------------------------------------


@pytest.fixture
def preset(tmp_path):
    """A folder as keras-hub saves it, of a tiny encoder with random weights."""
    hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    backbone = hub.models.BertBackbone(
        vocabulary_size=20,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=12,
        max_sequence_length=6,
    )
    randomised(backbone).save_to_preset(tmp_path / "preset")
    return str(tmp_path / "preset")


def test_a_pretrained_encoder_keeps_its_function_and_then_moves(preset, tmp_path):
    hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed")
    encoder = hub.models.Backbone.from_preset(preset)
    tokens = np.random.default_rng(0).integers(0, 20, (2, 6)).astype("int32")
    x = {
        "token_ids": tokens,
        "segment_ids": np.zeros_like(tokens),
        "padding_mask": np.ones_like(tokens),
    }
    before = numpy_of(encoder, x)
    swapped = swap_activation(encoder)
    assert len(learnable_activations(swapped)) == 2  # one a block; the pooler's tanh stays
    assert difference(numpy_of(swapped, x), before) < TOLERANCE
    model = keras.Model(swapped.input, layers.Dense(1)(swapped.output["pooled_output"]))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    model.train_on_batch(x, np.ones((2, 1), "float32"))
    alphas = [v for v in model.trainable_variables if v.name == "alpha"]
    assert len(alphas) == 2
    assert all(float(ops.convert_to_numpy(v)) != 0 for v in alphas)
    after = numpy_of(swapped, x)
    assert difference(after, before) > 1e-6
    swapped.save(tmp_path / "swapped.keras")
    again = keras.saving.load_model(tmp_path / "swapped.keras")
    assert difference(numpy_of(again, x), after) < TOLERANCE
