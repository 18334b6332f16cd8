"""The activation layers as parts of Keras models: sharing, saving, export."""

import importlib.util
import json
import os
import subprocess
import sys

import activation_tools as tools
import keras
import numpy as np
import pytest
from keras import ops

from sgblend_utils.activations import (
    SGBlend,
    SSwish,
    Swish,
    learnable_activations,
    make_activation,
)
from sgblend_utils.theory import closed_form, parameter_gradient
from sgblend_utils.zoo import ZOO

BACKEND = keras.backend.backend()
layers = keras.layers


def predict(model, x):
    return tools.to_numpy(model(x, training=False))


def scramble(model, seed=0):
    """Give every weight a distinct value, running variances and activations sensible ones."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        value = rng.normal(0, 0.6, weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.name else value)
    return model


# Parameters -----------------------------------------------------------------------------------


@pytest.mark.backend
@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (SGBlend(), {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}),
        (SGBlend(0.0, 2.5, -0.3), {"alpha": 0.0, "beta": 2.5, "gamma": -0.3}),
        (SGBlend(1.0), {"alpha": 1.0, "beta": 1.0, "gamma": 0.0}),
        (
            SGBlend(0.6, 2.0, 0.1, parameterization="published"),
            {"alpha": 0.6, "beta": 2.0, "gamma": 0.1},
        ),
        (SSwish(1.5, 0.2), {"beta": 1.5, "gamma": 0.2}),
        (Swish(0.7), {"beta": 0.7}),
    ],
)
def test_initial_values_are_the_effective_ones(layer, expected):
    values = layer.effective_parameters()
    assert all(isinstance(value, np.ndarray) for value in values.values())
    assert {k: float(v) for k, v in values.items()} == pytest.approx(expected, abs=1e-6)


def test_only_the_named_parameters_are_trained():
    layer = SGBlend(trainable_parameters=("beta",))
    layer.build((None, 4))
    assert [v.name for v in layer.trainable_variables] == ["beta"]
    assert [v.name for v in layer.non_trainable_variables] == ["alpha", "gamma"]
    assert SGBlend(trainable_parameters="gamma").trainable_parameters == ("gamma",)


@pytest.mark.backend
def test_published_parameterization_reproduces_the_published_start():
    """alpha = 0.5, gamma = 0, and beta uniform on +-sqrt(3): inverted in about half of all runs."""
    keras.utils.set_random_seed(0)
    draws = [SGBlend(parameterization="published").effective_parameters() for _ in range(40)]
    beta = np.asarray([d["beta"] for d in draws])
    assert {float(d["alpha"]) for d in draws} == {0.5}
    assert {float(d["gamma"]) for d in draws} == {0.0}
    assert np.abs(beta).max() <= np.sqrt(3)
    assert beta.min() < -1.2 and beta.max() > 1.2
    assert 0.3 < np.mean(beta < 0) < 0.7


@pytest.mark.backend
def test_published_constraints_act_after_the_first_update():
    layer = SGBlend(beta=-1.5, parameterization="published", gelu="sigmoid")
    x = np.linspace(-3, 3, 30, dtype="float32").reshape(-1, 1)
    inverted = x * tools.sigmoid(-1.5 * x)
    np.testing.assert_allclose(
        tools.to_numpy(layer(x)), 0.5 * inverted + 0.5 * x * tools.sigmoid(1.702 * x), atol=1e-6
    )
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(10.0), "mse")
    model.train_on_batch(x, 5 * x)
    values = layer.effective_parameters()
    assert 0.1 <= values["beta"] <= 10
    assert 0.2689 <= values["alpha"] <= 0.7312
    for sign in (1, -1):  # however far the optimizer pushes alpha's weight
        weight = layer.trainable_variables[0]
        weight.assign(weight.constraint(ops.convert_to_tensor([9.0 * sign])))
        edge = 1 / (1 + np.exp(-sign))
        assert layer.effective_parameters()["alpha"] == pytest.approx(edge, abs=1e-5)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((None, 5), None, ()),
        ((None, 5), [], (5,)),
        ((None, 7, 5), [1], (1, 5)),
        ((None, 7, 5), 2, (7, 1)),
        ((None, 7, 5), [-1, -2], (1, 1)),
        ((None, 3, 4, 5), [1, 2], (1, 1, 5)),
    ],
)
def test_shared_axes_follow_prelu(shape, axes, expected):
    layer = SGBlend(shared_axes=axes)
    layer.build(shape)
    assert {v.shape for v in layer.effective_parameters().values()} == {expected}
    x = np.ones([2 if s is None else s for s in shape], "float32")
    assert layer(x).shape == x.shape
    if axes is not None and all(a > 0 for a in np.atleast_1d(axes)):
        prelu = layers.PReLU(shared_axes=axes)
        prelu.build(shape)
        assert tuple(prelu.alpha.shape) == expected


@pytest.mark.backend
def test_per_channel_parameters_act_on_their_channel():
    layer = SGBlend(shared_axes=[1])
    x = np.random.default_rng(0).normal(size=(2, 7, 3)).astype("float32")
    layer(x)
    a, b, c = np.random.default_rng(1).uniform(0.2, 2, (3, 1, 3)).astype("float32")
    for variable, value in zip(layer.trainable_variables, (a, b, c), strict=True):
        variable.assign(value)
    np.testing.assert_allclose(
        tools.to_numpy(layer(x)), tools.sgblend(x, a, b, c), rtol=1e-5, atol=1e-6
    )


@pytest.mark.backend
def test_parameters_stay_in_single_precision_under_mixed_precision():
    layer = SGBlend(dtype="mixed_bfloat16")
    y = layer(np.ones((2, 3), "float32"))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert {str(v.dtype) for v in layer.trainable_variables} == {"float32"}


@pytest.mark.backend
def test_regularizers_and_constraints_act_on_their_parameter():
    layer = SGBlend(
        alpha_regularizer=keras.regularizers.L2(0.5),
        beta_constraint=keras.constraints.NonNeg(),
        gamma_initializer=keras.initializers.Constant(0.25),
    )
    layer(np.ones((1, 2), "float32"))
    assert float(layer.losses[0]) == pytest.approx(0.5 * 0.25)
    assert layer.effective_parameters()["gamma"] == pytest.approx(0.25)
    beta = layer.trainable_variables[1]
    assert float(beta.constraint(ops.convert_to_tensor(-1.0))) == 0.0


@pytest.mark.backend
def test_bounds_hold_after_every_update():
    layer = SGBlend(alpha_bounds=(0, 1), beta_bounds=[0.5, 1.5])
    layer.build((None, 1))
    optimizer = keras.optimizers.SGD(10.0)
    for sign, edges in ((1.0, (0.0, 0.5, -10.0)), (-1.0, (1.0, 1.5, 0.0))):
        gradients = [ops.convert_to_tensor(sign)] * 3
        optimizer.apply(gradients, layer.trainable_variables)
        assert tuple(map(float, layer.effective_parameters().values())) == edges


# In models ------------------------------------------------------------------------------------


@pytest.mark.backend
def test_the_readme_model_trains():
    """Dense(128), SGBlend(), Dense(10) through the front door of the backend's users."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        sequential, dense = tf.keras.Sequential, tf.keras.layers.Dense
    else:
        sequential, dense = keras.Sequential, layers.Dense
    keras.utils.set_random_seed(1)
    activation = SGBlend()
    model = sequential([dense(128), activation, dense(10)])
    model.compile(
        keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 8)).astype("float32")
    y = (x[:, 0] > 0).astype("int32") + 2 * (x[:, 1] > 0)
    history = model.fit(x, y, epochs=6, batch_size=50, verbose=0).history["loss"]
    assert history[-1] < 0.6 * history[0]
    moved = activation.effective_parameters()
    assert all(abs(moved[k] - v) > 1e-4 for k, v in {"alpha": 0.5, "beta": 1.0, "gamma": 0}.items())


@pytest.mark.backend
@pytest.mark.parametrize("arguments", [{}, {"shared_axes": []}, {"parameterization": "published"}])
def test_a_training_step_uses_the_values_from_before_the_step(arguments):
    """Plain gradient descent moves every parameter by its gradient, in every of many steps.

    Without a copy of the parameters, TensorFlow's graphs updated one before the gradient of the
    next was computed, in about half of all steps.
    """
    start = {"alpha": 0.3, "beta": 1.7, "gamma": 0.25}
    published = "parameterization" in arguments
    site = SGBlend(**start if not published else start | {"alpha": 0.4}, **arguments)
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, kernel_initializer="ones"), site])
    model.compile(keras.optimizers.SGD(1.0), lambda target, output: ops.mean(output))
    x = np.linspace(-4, 4, 201, dtype="float32").reshape(-1, 1)
    before = [w.copy() for w in model.get_weights()]
    a, b, c = (float(np.squeeze(v)) for v in site.effective_parameters().values())
    d_alpha, d_beta, d_gamma = parameter_gradient(x[:, 0], a, b, c).mean(axis=1)
    d_alpha *= a * (1 - a) if published else 1.0  # through the logistic function
    for _ in range(12):
        model.set_weights(before)
        model.train_on_batch(x, x)
        kernel, bias, *moved = (v - w for v, w in zip(model.get_weights(), before, strict=True))
        moved = np.ravel(moved)
        np.testing.assert_allclose(moved, [-d_alpha, -d_beta, -d_gamma], atol=1e-4)
        slope = closed_form("sgblend", 1, alpha=a, beta=b)(x)
        np.testing.assert_allclose(bias, [-slope.mean()], atol=1e-4)
        np.testing.assert_allclose(kernel, [[-(x * slope).mean()]], atol=1e-4)


def test_learnable_activations_are_found_at_any_depth():
    block = keras.Sequential([layers.Dense(4), SGBlend(name="inner")], name="block")
    model = keras.Sequential([block, Swish(name="outer"), make_activation("relu")])
    model(np.ones((1, 3), "float32"))
    found = learnable_activations(model)
    assert [layer.name for layer in found.values()] == ["inner", "outer"]


@pytest.mark.backend
@pytest.mark.parametrize(
    "layer",
    [
        SGBlend(
            0.4,
            1.2,
            0.3,
            parameterization="published",
            gelu="sigmoid",
            trainable_parameters=("beta",),
            beta_regularizer="l2",
            dtype="mixed_float16",
        ),
        SGBlend(
            0.0,
            gelu="tanh",
            shared_axes=[1],
            beta_initializer=keras.initializers.RandomUniform(0.5, 1.5, seed=3),
            gamma_constraint=keras.constraints.NonNeg(),
        ),
        SSwish(2.0, parameterization="published"),
        Swish(shared_axes=[1], beta_regularizer=keras.regularizers.L1(0.1)),
        SSwish(0.5, beta_bounds=(0, 2)),
    ],
)
def test_every_argument_is_serialised(layer, tmp_path):
    again = type(layer).from_config(json.loads(json.dumps(layer.get_config())))
    assert again.get_config() == layer.get_config()
    model = scramble(keras.Sequential([keras.Input((5, 4)), layer]))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].get_config() == layer.get_config()
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    np.testing.assert_allclose(predict(loaded, x), predict(model, x), rtol=1e-5)


# Export ---------------------------------------------------------------------------------------


def exportable():
    return scramble(
        keras.Sequential(
            [
                keras.Input((6,)),
                layers.Dense(8),
                SGBlend(),
                layers.Dense(3),
                SSwish(),
                Swish(),
                SGBlend(gelu="tanh", shared_axes=[]),
                SGBlend(gelu="sigmoid", parameterization="published"),
                make_activation("serf"),
            ]
        )
    )


@pytest.mark.skipif(BACKEND != "tensorflow", reason="SavedModel is TensorFlow's format")
def test_saved_model_export_keeps_outputs(tmp_path):
    import tensorflow as tf

    model = exportable()
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    served = loaded.serve(x)
    np.testing.assert_allclose(served, predict(model, x), atol=1e-5)


def every_activation(*without):
    """All rows of the zoo side by side."""
    inputs, names = keras.Input((6,)), [name for name in ZOO if name not in without]
    outputs = layers.Concatenate()([make_activation(name)(inputs) for name in names])
    return keras.Model(inputs, outputs)


@pytest.mark.backend
@pytest.mark.parametrize("make", [exportable, every_activation])
def test_onnx_export_keeps_outputs(tmp_path, make):
    runtime = pytest.importorskip("onnxruntime")
    for module in {"tensorflow": ["tf2onnx"], "torch": ["onnx", "onnxscript"]}.get(
        BACKEND, ["jax2onnx"]
    ):
        pytest.importorskip(module)
    model = make()
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    expected = predict(model, x)  # Keras exports only models that have been called
    path = str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False)
    session = runtime.InferenceSession(path)
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="LiteRT is converted to from TensorFlow")
def test_litert_export_keeps_outputs(tmp_path):
    import tensorflow as tf

    # LiteRT has neither erf nor erfc, and knows GELU where it stands alone.
    rows = every_activation("sgblend", "xgelu", "serf", "gelu")
    blends = [SGBlend(0.3, 1.7, 0.1, gelu=form)(rows.inputs[0]) for form in ("tanh", "sigmoid")]
    model = keras.Model(rows.inputs[0], layers.Concatenate()([rows.outputs[0], *blends]))
    path = str(tmp_path / "model.tflite")
    x = np.random.default_rng(0).normal(size=(1, 6)).astype("float32")
    model.export(path, format="litert", verbose=False)
    interpreter = tf.lite.Interpreter(path)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(y, predict(model, x), atol=1e-6)


# Import ---------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.slow
def test_import_and_use_without_tensorflow():
    """In a Python that cannot import TensorFlow, the layers work on JAX."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
sys.meta_path.insert(0, Absent())
import sgblend_utils.activations as activations
import numpy as np
y = activations.make_activation("sgblend")(np.zeros((1, 2), "float32"))
assert float(y.sum()) == 0.0 and "tensorflow" not in sys.modules
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
