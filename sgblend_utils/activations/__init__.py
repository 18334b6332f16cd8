"""SG-Blend, SSwish and the baselines as Keras layers, by name through `make_activation`."""

from sgblend_utils.activations.folding import fold_sgblend
from sgblend_utils.activations.gated import GATED, GatedFeedForward, matched_width
from sgblend_utils.activations.layers import Clip, LearnableActivation, SGBlend, SSwish, Swish
from sgblend_utils.activations.registry import (
    ACTIVATIONS,
    ChannelPReLU,
    learnable_activations,
    make_activation,
    serf,
)

__all__ = [
    "ACTIVATIONS",
    "GATED",
    "ChannelPReLU",
    "Clip",
    "GatedFeedForward",
    "LearnableActivation",
    "SGBlend",
    "SSwish",
    "Swish",
    "fold_sgblend",
    "learnable_activations",
    "make_activation",
    "matched_width",
    "serf",
]
