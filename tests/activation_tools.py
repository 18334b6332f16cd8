"""References for the activation tests: formulas in plain NumPy, gradients on any Keras backend."""

import contextlib
import functools

import keras
import numpy as np
from scipy import special

from sgblend_utils.zoo import ZOO

NAMES = ("cos", "exp", "log", "pi", "sin", "sqrt", "tanh", "where")
FUNCTIONS = {name: getattr(np, name) for name in NAMES}
FUNCTIONS |= {"sigmoid": special.expit, "Phi": special.ndtr, "erf": special.erf}
FUNCTIONS |= {"softplus": functools.partial(np.logaddexp, 0.0)}
FUNCTIONS["normed"] = lambda z: z / np.sqrt(np.mean(z**2, axis=-1, keepdims=True) + 1e-6)


def formula(name, x, **values):
    """A row of the zoo in NumPy and float64; parameters and options broadcast against x."""
    return ZOO[name].evaluate(FUNCTIONS, x=np.asarray(x, dtype=float), **values)


def sigmoid(x):
    return special.expit(x)


def gelu_gate(x, form="erf"):
    if form == "erf":
        return special.ndtr(x)
    if form == "tanh":
        return special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return special.expit(1.702 * x)


def sgblend(x, alpha, beta, gamma, form="erf"):
    return alpha * (x * sigmoid(beta * x) - gamma) + (1 - alpha) * x * gelu_gate(x, form)


@contextlib.contextmanager
def double_precision():
    """Let JAX compute in float64; the other backends do by themselves."""
    if keras.backend.backend() != "jax":
        yield
        return
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def vector_jacobian(function, arguments, upstream=None, dtype=None):
    """Value of `function(*arguments)` and the gradient of sum(value * upstream) per argument.

    `function` takes and gives backend tensors; arguments and results are NumPy arrays.
    """
    backend = keras.backend.backend()
    tensors = [keras.ops.convert_to_tensor(a, dtype=dtype) for a in arguments]

    def weigh(value):
        return keras.ops.ones_like(value) if upstream is None else cast(upstream, value.dtype)

    def cast(array, dtype):
        return keras.ops.cast(keras.ops.convert_to_tensor(array), dtype)

    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        gradients = tape.gradient(value, tensors, output_gradients=weigh(value))
    elif backend == "jax":
        import jax

        value, pull_back = jax.vjp(function, *tensors)
        gradients = pull_back(weigh(value))
    else:
        import torch

        tensors = [t.detach().clone().requires_grad_() for t in tensors]
        with torch.enable_grad():
            value = function(*tensors)
            gradients = torch.autograd.grad(value, tensors, grad_outputs=weigh(value))
    return to_numpy(value), [to_numpy(g) for g in gradients]


def to_numpy(tensor):
    return keras.ops.convert_to_numpy(
        keras.ops.cast(tensor, "float32")
        if keras.backend.standardize_dtype(tensor.dtype) == "bfloat16"
        else tensor
    )


def parameter_gradients(layer, x, upstream=None):
    """Gradients of sum(layer(x) * upstream): with respect to x, then each trainable variable."""
    variables = layer.trainable_variables
    values = [np.asarray(to_numpy(v)) for v in variables]
    fixed = [v.value for v in layer.non_trainable_variables]

    def function(x, *values):
        return layer.stateless_call(list(values), fixed, x)[0]

    _, gradients = vector_jacobian(function, [x, *values], upstream)
    return gradients[0], dict(zip([v.name for v in variables], gradients[1:], strict=True))
