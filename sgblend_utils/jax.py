"""SG-Blend as a pure JAX function; neither Keras nor TensorFlow is imported.

In Flax (nnx), with parameters of its own, fresh at each place:

    class SGBlend(nnx.Module):
        def __init__(self):
            self.alpha = nnx.Param(jnp.array(0.5))
            self.beta = nnx.Param(jnp.array(1.0))
            self.gamma = nnx.Param(jnp.array(0.0))

        def __call__(self, x):
            return sgblend(x, self.alpha[...], self.beta[...], self.gamma[...])
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from sgblend_utils import gate
from sgblend_utils.zoo import CHOICES, choose


class _JAX:
    """The functions that `gate` asks for."""

    abs, exp, reshape, where, zeros_like = jnp.abs, jnp.exp, jnp.reshape, jnp.where, jnp.zeros_like
    erfc, sigmoid = jax.scipy.special.erfc, jax.nn.sigmoid
    cast, dtype = jnp.astype, lambda x: x.dtype.name
    fuses = lambda learned=(): not learned  # noqa: E731
    sum, sums_at_once = functools.partial(jnp.sum, keepdims=True), False


blended_gate = gate.with_gradient(_JAX, jax.custom_gradient)


def sgblend(
    x: Any, alpha: Any = 0.5, beta: Any = 1.0, gamma: Any = 0.0, *, gelu: str = "erf"
) -> Any:
    """SG-Blend: f(x) = alpha (x s(beta x) - gamma) + (1 - alpha) GELU(x), s the logistic function.

    Sarkar, Gala, Tripathi, "SG-Blend", NeurIPS 2025 (arXiv 2505.23942).  `x` has any shape and a
    floating dtype, which the result has too; the parameters broadcast against it.  Reverse mode
    only: the gradient is written by hand and keeps only `x`.

    Args:
        gelu: "erf" (exact), "tanh", or "sigmoid" (x s(1.702 x), as published).
    """
    choose("GELU form", gelu, CHOICES["gelu"])
    wide = jnp.promote_types(jnp.result_type(x), jnp.float32)
    parameters = (
        jnp.asarray(p, None if hasattr(p, "dtype") else wide) for p in (alpha, beta, gamma)
    )
    return blended_gate(gelu)(jnp.asarray(x), *parameters)
