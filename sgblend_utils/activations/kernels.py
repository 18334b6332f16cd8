"""The blended gate as a pure function with a hand-written gradient.

With a gate G(x) = a s(b x) + (1 - a) P(x), where s is the logistic function and P(x) x is GELU,

    f(x) = x G(x) - a c          (SG-Blend, with a, b, c for alpha, beta, gamma)

so that one function serves SG-Blend, SSwish (a = 1) and Swish (a = 1, c = 0).

Autodiff would keep half a dozen arrays of the size of ``x`` for the backward pass and then reduce
three of them to a number each.  Here only ``x`` and the parameters are kept, the gate is computed
again, and the three reductions are arranged to be cheap:

* df/dc = -a does not depend on x, so its sum is a plain sum of the upstream gradient, shared with
  the c-part of df/da = x (s - P) - c;
* every sum runs over the leading axes first and over the last axis at the end.  Compilers vectorise
  a sum that leaves a row behind; XLA on a CPU does not vectorise one that leaves a single number.

Half-precision inputs are evaluated in float32 and rounded once: x and the result stay small in
memory, while sums over millions of terms and the products near overflow stay sound.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

from keras import ops
from keras.backend import standardize_dtype

Tensor = Any
"""A tensor of whichever backend Keras runs on."""

GELU_FORMS = ("erf", "tanh", "sigmoid")
"""``erf`` is GELU; ``tanh`` and ``sigmoid`` are its approximations (Hendrycks & Gimpel 2016)."""

_SQRT_HALF = math.sqrt(0.5)
_INV_SQRT_2PI = 1.0 / math.sqrt(2.0 * math.pi)
_TANH_SCALE = math.sqrt(2.0 / math.pi)
_TANH_CUBIC = 0.044715
SIGMOID_SCALE = 1.702


def gelu_gate(x: Tensor, form: str) -> Tensor:
    """P(x) with GELU(x) = x P(x), in one of `GELU_FORMS`."""
    if form == "erf":
        return 0.5 + 0.5 * ops.erf(x * _SQRT_HALF)
    if form == "tanh":
        # (1 + tanh z) / 2 = s(2 z); XLA's tanh is good for float32 only, even in float64.
        return ops.sigmoid(2.0 * _TANH_SCALE * (x + _TANH_CUBIC * x * x * x))
    return ops.sigmoid(SIGMOID_SCALE * x)


def _gelu_gate_and_slope(x, form):
    """P(x) and x P'(x); the second never overflows where the first has saturated."""
    gate = gelu_gate(x, form)
    if form == "erf":
        return gate, x * (_INV_SQRT_2PI * ops.exp(-0.5 * x * x))
    # Both approximations are logistic functions of an odd argument: P' = (dz/dx) P (1 - P).
    slope = x * (gate * (1.0 - gate))
    if form == "tanh":
        return gate, 2.0 * _TANH_SCALE * (slope + 3.0 * _TANH_CUBIC * x * (x * slope))
    return gate, SIGMOID_SCALE * slope


def _sum_to(values, shape):
    """Sum `values` down to a parameter's `shape`, leading axes first (see the module's text)."""
    rank = len(values.shape)
    keep = (1,) * (rank - len(shape)) + tuple(shape)
    axes = tuple(axis for axis in range(rank) if keep[axis] == 1)
    leading = tuple(axis for axis in axes if axis < rank - 1)
    if leading:
        values = ops.sum(values, axis=leading, keepdims=True)
    if rank - 1 in axes:
        values = ops.sum(values, axis=-1, keepdims=True)
    return ops.reshape(values, shape)


@functools.cache
def blended_gate(
    gelu: str | None = None, learned: tuple[str, ...] = ("alpha", "beta", "gamma")
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Return the function (x, alpha, beta, gamma) -> x G(x) - alpha gamma.

    Args:
        gelu: one of `GELU_FORMS`, or None for a function without a GELU part (SSwish and Swish),
            which takes no notice of alpha.
        learned: names of the parameters that need a gradient; the others get zeros, which saves
            their reductions.

    The parameters must broadcast against ``x``; each gets a gradient of its own shape and dtype.
    """

    @ops.custom_gradient
    def function(x, alpha, beta, gamma):
        wide, a, b, c = _widen(x, alpha, beta, gamma)
        gate = ops.sigmoid(b * wide)
        if gelu is None:
            result = wide * gate - c
        else:
            result = wide * (a * gate + (1.0 - a) * gelu_gate(wide, gelu)) - a * c

        def grad(*args, upstream=None):
            if upstream is None:  # TensorFlow and JAX pass it alone, PyTorch by name.
                (upstream,) = args
            return _gradients(x, alpha, beta, gamma, upstream, gelu, learned)

        return ops.cast(result, x.dtype), grad

    return function


def _widen(*tensors):
    """Cast to float32 whatever follows a half-precision first tensor; otherwise to its dtype."""
    dtype = standardize_dtype(tensors[0].dtype)
    dtype = "float32" if dtype in ("float16", "bfloat16") else dtype
    return tuple(ops.cast(tensor, dtype) for tensor in tensors)


def _gradients(x, alpha, beta, gamma, upstream, gelu, learned):
    """Vector-Jacobian products of `blended_gate` with respect to its four arguments."""
    wide, a, b, c, u = _widen(x, alpha, beta, gamma, upstream)
    gate = ops.sigmoid(b * wide)
    bump = wide * (gate * (1.0 - gate))  # x s (1 - s): zero, not 0 * inf, where s has saturated
    slope = gate + b * bump
    blended = gelu is not None
    if blended:
        gelu_part, gelu_slope = _gelu_gate_and_slope(wide, gelu)
        slope = a * slope + (1.0 - a) * (gelu_part + gelu_slope)

    d_alpha, d_beta, d_gamma = ops.zeros_like(alpha), ops.zeros_like(beta), ops.zeros_like(gamma)
    if "alpha" in learned or "gamma" in learned:
        total = _sum_to(u, tuple(alpha.shape))
    if blended and "alpha" in learned:
        d_alpha = _sum_to(u * wide * (gate - gelu_part), tuple(alpha.shape)) - c * total
    if "beta" in learned:
        d_beta = _sum_to(u * wide * bump, tuple(beta.shape)) * (a if blended else 1.0)
    if "gamma" in learned:
        d_gamma = -(a * total if blended else total)
    return (
        ops.cast(u * slope, x.dtype),
        ops.cast(d_alpha, alpha.dtype),
        ops.cast(d_beta, beta.dtype),
        ops.cast(d_gamma, gamma.dtype),
    )
