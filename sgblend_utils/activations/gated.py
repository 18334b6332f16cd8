"""Gated feed-forward blocks (GEGLU, SwiGLU and relatives) at the parameter count of a plain one."""

import keras
from keras import ops

from sgblend_utils.activations.layers import PACKAGE
from sgblend_utils.activations.registry import make_activation
from sgblend_utils.errors import UserError

GATED = {"reglu": "relu", "geglu": "gelu", "swiglu": "silu", "sgblend_glu": "sgblend"}
"""Name of the gated variant -> activation of its gate."""


def matched_width(d_model: int, d_ff: int) -> int:
    """Hidden width at which a gated block has the parameters of a plain one of width `d_ff`.

    A plain block has 2 d w + w + d parameters, a gated one 3 d w + 2 w + d (Shazeer 2020 takes 2/3
    of `d_ff`, which is the same up to the biases).  At least 1.
    """
    if d_model < 1 or d_ff < 1:
        raise UserError(f"d_model and d_ff must be positive, not {d_model} and {d_ff}.")
    return max(1, round(d_ff * (2 * d_model + 1) / (3 * d_model + 2)))


@keras.saving.register_keras_serializable(package=PACKAGE)
class GatedFeedForward(keras.layers.Layer):
    """(act(x U) * x V) W: Shazeer, "GLU Variants Improve Transformer" (arXiv 2002.05202).

    Args:
        d_ff: hidden width of the *plain* block to match; the own width is `matched_width`.
        variant: key of `GATED`.
        **kwargs: passed to `keras.layers.Layer`.

    Input and output shape: (..., d_model).  Masks pass through.
    """

    def __init__(self, d_ff, variant="geglu", **kwargs):
        super().__init__(**kwargs)
        if variant not in GATED:
            raise UserError(f"Unknown gated variant {variant!r}: choose one of {', '.join(GATED)}.")
        self.d_ff, self.variant = d_ff, variant
        self.activation = make_activation(GATED[variant], dtype=self.dtype_policy)
        self.supports_masking = True

    def build(self, input_shape):
        d_model = input_shape[-1]
        width = matched_width(d_model, self.d_ff)
        # One matrix product for the gate and the value: (d_model, 2 width).
        self.expand = keras.layers.Dense(2 * width, name="expand", dtype=self.dtype_policy)
        self.contract = keras.layers.Dense(d_model, name="contract", dtype=self.dtype_policy)
        hidden = (*input_shape[:-1], width)
        self.expand.build(input_shape)
        self.activation.build(hidden)
        self.contract.build(hidden)

    def call(self, inputs):
        gate, value = ops.split(self.expand(inputs), 2, axis=-1)
        return self.contract(self.activation(gate) * value)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "d_ff": self.d_ff, "variant": self.variant}
