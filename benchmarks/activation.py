"""What an activation costs by itself: values alone, and values with every gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

PROCESSES = {
    "JAX": {"KERAS_BACKEND": "jax"},
    "TensorFlow": {"KERAS_BACKEND": "tensorflow"},
    "TensorFlow, XLA": {"KERAS_BACKEND": "tensorflow"},
    "PyTorch": {"KERAS_BACKEND": "torch"},
    "PyTorch, compiled": {"KERAS_BACKEND": "torch"},
}
ROUNDS, REPEATS = 9, 2
# Pre-activations of a batch of 64 sentences, and of one of the `cpu` preset's 768 tokens.
SHAPES = {"large": (64, 50, 1024), "small": (768, 256)}
CALLS = {"large": 1, "small": 10}  # in one timing
PROGRAMS = 64  # that PyTorch keeps of one function: layers share their code
ONE_PASS = "one pass over memory"
FORMULA = "SG-Blend's formula, by autodiff"
FROZEN = "sgblend, frozen"
SOME = ("gelu", "silu", "sgblend", FORMULA, FROZEN, ONE_PASS)  # what each size and backend has


def layers() -> dict[str, Callable[[], Any]]:
    """Makers of what is timed: every activation, and what SG-Blend is compared with."""
    import keras
    from keras import ops

    from sgblend_utils.activations import ACTIVATIONS, SGBlend, make_activation

    class Formula(SGBlend):
        def call(self, x: Any) -> Any:
            a, b, c = (ops.reshape(v, ()) for v in self.trainable_variables)
            return a * (x * ops.sigmoid(b * x) - c) + (1 - a) * keras.activations.gelu(x)

    every = {name: partial(make_activation, name) for name in ACTIVATIONS}
    every[FORMULA] = Formula
    every[FROZEN] = partial(SGBlend, trainable_parameters=())
    every[ONE_PASS] = partial(keras.layers.Activation, lambda x: x + 1)
    return every


def contestants(process: str) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    from sgblend_utils.models import prepare_backend

    prepare_backend()
    functions, kept = {}, {}
    rng = np.random.default_rng(0)
    for size, shape in SHAPES.items():
        x, upstream = (rng.normal(size=shape).astype("float32") for _ in range(2))
        for name, make in layers().items():
            if name not in SOME and (size == "small" or "compiled" in process):
                continue
            layer = make()
            layer.build(shape)
            value, both, bytes_kept = passes(process, layer, x, upstream)
            functions[f"{size}, forward, {name}"] = partial(several, value, CALLS[size])
            if name not in (ONE_PASS, FROZEN):
                functions[f"{size}, forward and backward, {name}"] = partial(
                    several, both, CALLS[size]
                )
            if size == "large" and bytes_kept is not None:
                kept[name] = bytes_kept
    return functions, {"shapes": SHAPES, "calls": CALLS, "kept_bytes": kept}


def several(function: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        function()


def passes(process: str, layer: Any, x: np.ndarray, upstream: np.ndarray) -> Any:
    """Value; value and gradients in input and parameters; bytes kept between the two passes."""
    if process == "JAX":
        return jax_passes(layer, x, upstream)
    if process.startswith("TensorFlow"):
        return tensorflow_passes(layer, x, upstream, "XLA" in process)
    return torch_passes(layer, x, upstream, "compiled" in process)


def jax_passes(layer: Any, x: np.ndarray, upstream: np.ndarray) -> Any:
    import jax

    values = [v.value for v in layer.trainable_variables]
    fixed = [v.value for v in layer.non_trainable_variables]
    x, upstream = map(jax.numpy.asarray, (x, upstream))

    def function(values: Any, x: Any) -> Any:
        return layer.stateless_call(values, fixed, x)[0]

    @jax.jit
    def both(values: Any, x: Any, upstream: Any) -> Any:
        y, pull_back = jax.vjp(function, values, x)
        return y, pull_back(upstream)

    value = jax.jit(function)
    kept = jax.tree.leaves(jax.vjp(function, values, x)[1])
    return (
        lambda: jax.block_until_ready(value(values, x)),
        lambda: jax.block_until_ready(both(values, x, upstream)),
        sum(array.nbytes for array in kept),
    )


def tensorflow_passes(layer: Any, x: np.ndarray, upstream: np.ndarray, xla: bool) -> Any:
    import tensorflow as tf

    x, upstream = map(tf.constant, (x, upstream))
    options = {"jit_compile": xla, "autograph": False}
    takes_training = "training" in layer._call_signature.parameters
    training = {"training": True} if takes_training else {}

    def both() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, **training)
        return y, tape.gradient(y, [x, *layer.trainable_variables], output_gradients=upstream)

    value, both = tf.function(lambda: layer(x), **options), tf.function(both, **options)
    return value, both, None


def torch_passes(layer: Any, x: np.ndarray, upstream: np.ndarray, compiled: bool) -> Any:
    import torch

    data, weight = torch.tensor(x, requires_grad=True), torch.tensor(upstream)
    wanted = [data, *(v.value for v in layer.trainable_variables)]
    torch._dynamo.config.recompile_limit = PROGRAMS
    function = torch.compile(layer, dynamic=False) if compiled else layer

    def value() -> Any:
        with torch.no_grad():
            return function(data)

    def both() -> Any:
        y = function(data)
        return y, torch.autograd.grad(y, wanted, weight)

    kept: dict[int, int] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (kept.setdefault(t.data_ptr(), t.nbytes), t)[1], lambda t: t
    ):
        layer(data)
    return value, both, None if compiled else sum(kept.values())


def reference(process: str, contestant: str) -> str:
    """GELU in the same process, passes and size."""
    return f"{process}: {', '.join([*contestant.split(', ')[:2], 'gelu'])}"
