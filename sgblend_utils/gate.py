"""The blended gate and its gradient, written once for every library that computes them.

With a gate G(x) = a s(b x) + (1 - a) P(x), where s is the logistic function and P(x) x is GELU,
f(x) = x G(x) - a c is SG-Blend with a, b, c for alpha, beta, gamma, and SSwish and Swish at a = 1.

Autodiff would keep half a dozen arrays of the size of ``x`` for the backward pass.  Here only ``x``
and the parameters are kept, and the gate is computed again.  The sums of df/dc = -a and of the
c-part of df/da = x (s - P) - c are one plain sum of the upstream gradient.  Half-precision inputs
are evaluated in float32 and rounded once.

``f`` is a library's functions: abs, cast, dtype (a name), erfc, exp, reshape, sigmoid, sum (over
axes, which it keeps), where, zeros_like; `sums_at_once`, or better the last axis apart; and fuses:
whether to take `_gate_of_bell`, in the gradient or, given the names of what is learned, the value.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

SQRT_HALF, INV_SQRT_2PI = math.sqrt(0.5), 1.0 / math.sqrt(2.0 * math.pi)
_TANH_SCALE, _TANH_CUBIC, _SIGMOID_SCALE = math.sqrt(2.0 / math.pi), 0.044715, 1.702
# P(-t) exp(t^2 / 2) for t >= 0 as a polynomial without constant term in 1 / (1 + 0.3 t), highest
# power first; the largest relative error, 1.5e-7, is that of float32.
_TAIL = (0.0356747591, -0.157203019, 0.206353395, -0.0536835401)
_TAIL += (0.128561571, 0.0999135092, 0.120753953, 0.119629299)


def gelu_gate(f: Any, x: Any, form: str) -> Any:
    """P(x) with GELU(x) = x P(x), in one of the forms of `zoo.GELU_FORMS`."""
    if form == "erf":
        return 0.5 * f.erfc(x * -SQRT_HALF)  # to the bit what Keras's GELU multiplies x by
    if form == "tanh":
        # (1 + tanh z) / 2 = s(2 z); XLA's tanh is good for float32 only, even in float64.
        return f.sigmoid(2.0 * _TANH_SCALE * (x + _TANH_CUBIC * x * x * x))
    return f.sigmoid(_SIGMOID_SCALE * x)


def _gelu_gate_and_slope(f: Any, x: Any, form: str) -> tuple[Any, Any]:
    """P(x) and x P'(x); the second never overflows where the first has saturated."""
    if form == "erf":
        bell = f.exp(-0.5 * x * x)
        fused = f.fuses() and f.dtype(x) != "float64"
        gate = _gate_of_bell(f, x, bell) if fused else gelu_gate(f, x, "erf")
        return gate, x * (INV_SQRT_2PI * bell)
    # Both approximations are logistic functions of an odd argument: P' = (dz/dx) P (1 - P).
    gate = gelu_gate(f, x, form)
    slope = x * (gate * (1.0 - gate))
    if form == "tanh":
        return gate, 2.0 * _TANH_SCALE * (slope + 3.0 * _TANH_CUBIC * x * (x * slope))
    return gate, _SIGMOID_SCALE * slope


def _gate_of_bell(f: Any, x: Any, bell: Any) -> Any:
    """P(x), float32, given exp(-x^2 / 2), for a compiler that makes one pass of many operations."""
    # erfc makes JAX's gradient on a CPU five times as slow.
    negative = x < 0
    u = 1.0 / (1.0 + 0.3 * f.abs(x))
    tail = _TAIL[0] * u
    for coefficient in _TAIL[1:]:
        tail = (tail + coefficient) * u
    tail = tail * bell
    return f.where(negative, tail, 1.0 - tail)


def _sum_to(f: Any, values: Any, shape: tuple[int, ...]) -> Any:
    """Sum `values` down to a parameter's `shape`."""
    rank = len(values.shape)
    keep = (1,) * (rank - len(shape)) + tuple(shape)
    axes = tuple(axis for axis in range(rank) if keep[axis] == 1)
    # XLA on a CPU does not vectorise a sum that leaves a single number, but one that leaves a row.
    last = () if f.sums_at_once else tuple(axis for axis in axes if axis == rank - 1)
    for part in (axes[: len(axes) - len(last)], last):
        values = f.sum(values, part) if part else values
    return f.reshape(values, shape)


def _widen(f: Any, *tensors: Any) -> tuple[Any, ...]:
    """Cast to float32 whatever follows a half-precision first tensor; otherwise to its dtype."""
    dtype = f.dtype(tensors[0])
    dtype = "float32" if dtype in ("float16", "bfloat16") else dtype
    return tuple(f.cast(tensor, dtype) for tensor in tensors)


def value(f: Any, gelu: str | None, learned: Any, x: Any, *parameters: Any) -> Any:
    """x G(x) - alpha gamma; the parameters broadcast against ``x``.

    `gelu` is one of `zoo.GELU_FORMS`, or None for SSwish and Swish: alpha then counts for nothing.
    """
    wide, a, b, c = _widen(f, x, *parameters)
    gate = f.sigmoid(b * wide)
    if gelu is None:
        return f.cast(wide * gate - c, f.dtype(x))
    if gelu == "erf" and f.fuses(learned) and f.dtype(wide) != "float64":
        part = _gate_of_bell(f, wide, f.exp(-0.5 * wide * wide))
    else:
        part = gelu_gate(f, wide, gelu)
    return f.cast(wide * (a * gate + (1.0 - a) * part) - a * c, f.dtype(x))


def gradients(f: Any, gelu: str | None, learned: Any, x: Any, upstream: Any, *parameters: Any):
    """Vector-Jacobian products by x and the parameters; zeros for those that are not `learned`."""
    alpha, beta, gamma = parameters
    wide, a, b, c, u = _widen(f, x, *parameters, upstream)
    gate = f.sigmoid(b * wide)
    bump = wide * (gate * (1.0 - gate))  # x s (1 - s): zero, not 0 * inf, where s has saturated
    slope = gate + b * bump
    if blended := gelu is not None:
        gelu_part, gelu_slope = _gelu_gate_and_slope(f, wide, gelu)
        slope = a * slope + (1.0 - a) * (gelu_part + gelu_slope)

    d_alpha, d_beta, d_gamma = f.zeros_like(alpha), f.zeros_like(beta), f.zeros_like(gamma)
    if "alpha" in learned or "gamma" in learned:
        total = _sum_to(f, u, tuple(alpha.shape))
    scaled = u * wide if {"alpha", "beta"} & set(learned) else None
    if blended and "alpha" in learned:
        d_alpha = _sum_to(f, scaled * (gate - gelu_part), tuple(alpha.shape)) - c * total
    if "beta" in learned:
        d_beta = _sum_to(f, scaled * bump, tuple(beta.shape)) * (a if blended else 1.0)
    if "gamma" in learned:
        d_gamma = -(a * total if blended else total)
    found = zip((u * slope, d_alpha, d_beta, d_gamma), (x, *parameters), strict=True)
    return tuple(f.cast(gradient, f.dtype(argument)) for gradient, argument in found)


def with_gradient(f: Any, custom_gradient: Callable[..., Any]) -> Callable[..., Any]:
    """`gate` and its own gradient by a library's functions and its decorator for gradients.

    What it returns maps `gelu` and `learned` to the function (x, alpha, beta, gamma) -> `value`.
    """

    @functools.cache
    def blended_gate(
        gelu: str | None = None, learned: tuple[str, ...] = ("alpha", "beta", "gamma")
    ) -> Callable[..., Any]:
        @custom_gradient
        def function(x: Any, *parameters: Any) -> Any:
            def gradient(upstream: Any) -> Any:
                return gradients(f, gelu, learned, x, upstream, *parameters)

            return value(f, gelu, learned, x, *parameters), gradient

        return function

    return blended_gate
