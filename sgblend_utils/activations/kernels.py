"""The blended gate as a pure function with a hand-written gradient.

With a gate G(x) = a s(b x) + (1 - a) P(x), where s is the logistic function and P(x) x is GELU,
f(x) = x G(x) - a c is SG-Blend with a, b, c for alpha, beta, gamma, and SSwish and Swish at a = 1.

Autodiff would keep half a dozen arrays of the size of ``x`` for the backward pass.  Here only ``x``
and the parameters are kept, and the gate is computed again.  The sums of df/dc = -a and of the
c-part of df/da = x (s - P) - c are one plain sum of the upstream gradient.  Half-precision inputs
are evaluated in float32 and rounded once.
"""

import contextlib
import functools
import importlib
import math

import keras
import numpy as np
from keras import ops
from keras.backend import standardize_dtype

if keras.backend.backend() == "torch":
    import torch

    from sgblend_utils.activations import eager

_BACKEND = keras.backend.backend()
_SQRT_HALF, _INV_SQRT_2PI = math.sqrt(0.5), 1.0 / math.sqrt(2.0 * math.pi)
_TANH_SCALE, _TANH_CUBIC, _SIGMOID_SCALE = math.sqrt(2.0 / math.pi), 0.044715, 1.702
# P(-t) exp(t^2 / 2) for t >= 0 as a polynomial without constant term in 1 / (1 + 0.3 t), highest
# power first; the largest relative error, 1.5e-7, is that of float32.
_TAIL = (0.0356747591, -0.157203019, 0.206353395, -0.0536835401)
_TAIL += (0.128561571, 0.0999135092, 0.120753953, 0.119629299)


def _find_erfc():
    """1 - erf without its cancellation; `keras.ops` has it from Keras 3.15 only."""
    modules = {"tensorflow": "tensorflow", "jax": "jax.scipy.special", "torch": "torch"}
    backend = importlib.import_module(modules[_BACKEND])
    if _BACKEND != "tensorflow":
        return backend.erfc
    with contextlib.suppress(ImportError):
        # Keras's export to ONNX has no erfc: let it write 1 - erf, also for Keras's own GELU.
        from tf2onnx.handler import tf_op

        @tf_op("Erfc")
        class Erfc:
            @classmethod
            def version_9(cls, graph, node, **kwargs):
                like = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
                one = graph.make_const(f"{node.name}_one", np.ones((), "float32"))
                erf = graph.make_node("Erf", [node.input[0]], **like)
                graph.remove_node(node.name)
                graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, **like)

    return backend.math.erfc


_erfc = _find_erfc()


def gelu_gate(x, form):
    """P(x) with GELU(x) = x P(x), in one of the forms of `zoo.GELU_FORMS`."""
    if form == "erf":
        return 0.5 * _erfc(x * -_SQRT_HALF)  # to the bit what Keras's GELU multiplies x by
    if form == "tanh":
        # (1 + tanh z) / 2 = s(2 z); XLA's tanh is good for float32 only, even in float64.
        return ops.sigmoid(2.0 * _TANH_SCALE * (x + _TANH_CUBIC * x * x * x))
    return ops.sigmoid(_SIGMOID_SCALE * x)


def _gelu_gate_and_slope(x, form):
    """P(x) and x P'(x); the second never overflows where the first has saturated."""
    if form == "erf":
        bell = ops.exp(-0.5 * x * x)
        gate = _gate_of_bell(x, bell) if _fuses(x) else gelu_gate(x, "erf")
        return gate, x * (_INV_SQRT_2PI * bell)
    # Both approximations are logistic functions of an odd argument: P' = (dz/dx) P (1 - P).
    gate = gelu_gate(x, form)
    slope = x * (gate * (1.0 - gate))
    if form == "tanh":
        return gate, 2.0 * _TANH_SCALE * (slope + 3.0 * _TANH_CUBIC * x * (x * slope))
    return gate, _SIGMOID_SCALE * slope


def _fuses(x):
    """Whether a compiler makes one pass of many operations: then `_gate_of_bell` is for float32."""
    compiled = _BACKEND == "jax" or (_BACKEND == "torch" and torch.compiler.is_compiling())
    return compiled and standardize_dtype(x.dtype) != "float64"


def _gate_of_bell(x, bell):
    """P(x) given exp(-x^2 / 2): erfc makes JAX's gradient on a CPU five times as slow."""
    negative = x < 0
    u = 1.0 / (1.0 + 0.3 * ops.abs(x))
    tail = _TAIL[0] * u
    for coefficient in _TAIL[1:]:
        tail = (tail + coefficient) * u
    tail = tail * bell
    return ops.where(negative, tail, 1.0 - tail)


def _sum_to(values, shape):
    """Sum `values` down to a parameter's `shape`, the last axis at the end.

    XLA on a CPU does not vectorise a sum that leaves a single number, but one that leaves a row.
    """
    rank = len(values.shape)
    keep = (1,) * (rank - len(shape)) + tuple(shape)
    axes = tuple(axis for axis in range(rank) if keep[axis] == 1)
    last = tuple(axis for axis in axes if axis == rank - 1)
    for part in (axes,) if _BACKEND == "torch" else (axes[: len(axes) - len(last)], last):
        if part:
            values = ops.sum(values, axis=part, keepdims=True)
    return ops.reshape(values, shape)


@functools.cache
def blended_gate(gelu=None, learned=("alpha", "beta", "gamma")):
    """The function (x, alpha, beta, gamma) -> x G(x) - alpha gamma.

    The parameters must broadcast against ``x``; each gets a gradient of its own shape and dtype, or
    zeros if not among `learned`.  `gelu` is one of `zoo.GELU_FORMS`, or None for SSwish and Swish:
    alpha then counts for nothing.
    """
    if _BACKEND == "torch":
        return functools.partial(_Blend.apply, gelu, learned)

    @ops.custom_gradient
    def function(x, *parameters):
        def grad(upstream):
            return _gradients(x, upstream, *parameters, gelu=gelu, learned=learned)

        return _value(x, *parameters, gelu=gelu, learned=learned), grad

    return function


def _value(x, alpha, beta, gamma, gelu, learned):
    wide, a, b, c = _widen(x, alpha, beta, gamma)
    gate = ops.sigmoid(b * wide)
    if gelu is None:
        return ops.cast(wide * gate - c, x.dtype)
    if gelu == "erf" and _fuses(wide) and (not learned or _BACKEND == "torch"):
        part = _gate_of_bell(wide, ops.exp(-0.5 * wide * wide))
    else:
        part = gelu_gate(wide, gelu)
    return ops.cast(wide * (a * gate + (1.0 - a) * part) - a * c, x.dtype)


def _widen(*tensors):
    """Cast to float32 whatever follows a half-precision first tensor; otherwise to its dtype."""
    dtype = standardize_dtype(tensors[0].dtype)
    dtype = "float32" if dtype in ("float16", "bfloat16") else dtype
    return tuple(ops.cast(tensor, dtype) for tensor in tensors)


def _gradients(x, upstream, alpha, beta, gamma, gelu, learned):
    """Vector-Jacobian products of `blended_gate` with respect to its four arguments."""
    wide, a, b, c, u = _widen(x, alpha, beta, gamma, upstream)
    gate = ops.sigmoid(b * wide)
    bump = wide * (gate * (1.0 - gate))  # x s (1 - s): zero, not 0 * inf, where s has saturated
    slope = gate + b * bump
    if blended := gelu is not None:
        gelu_part, gelu_slope = _gelu_gate_and_slope(wide, gelu)
        slope = a * slope + (1.0 - a) * (gelu_part + gelu_slope)

    d_alpha, d_beta, d_gamma = ops.zeros_like(alpha), ops.zeros_like(beta), ops.zeros_like(gamma)
    if "alpha" in learned or "gamma" in learned:
        total = _sum_to(u, tuple(alpha.shape))
    scaled = u * wide if {"alpha", "beta"} & set(learned) else None
    if blended and "alpha" in learned:
        d_alpha = _sum_to(scaled * (gate - gelu_part), tuple(alpha.shape)) - c * total
    if "beta" in learned:
        d_beta = _sum_to(scaled * bump, tuple(beta.shape)) * (a if blended else 1.0)
    if "gamma" in learned:
        d_gamma = -(a * total if blended else total)
    gradients = zip((u * slope, d_alpha, d_beta, d_gamma), (x, alpha, beta, gamma), strict=True)
    return tuple(ops.cast(gradient, argument.dtype) for gradient, argument in gradients)


if _BACKEND == "torch":

    class _Blend(torch.autograd.Function):
        """Of a kind that `torch.compile` sees through; without a compiler in blocks."""

        @staticmethod
        def forward(context, gelu, learned, x, *parameters):
            context.save_for_backward(x, *parameters)
            context.kind = gelu, learned
            if eager.fits(gelu, x, *parameters):
                return eager.value(gelu, x, *parameters)
            return _value(x, *parameters, gelu=gelu, learned=learned)

        @staticmethod
        def backward(context, upstream):
            x, *parameters = context.saved_tensors
            gelu, learned = context.kind
            if eager.fits(gelu, x, *parameters):
                return None, None, *eager.gradients(gelu, learned, x, upstream, *parameters)
            gradients = functools.partial(_gradients, gelu=gelu, learned=learned)
            return None, None, *gradients(x, upstream, *parameters)
