"""SG-Blend, SSwish and the baselines as Keras layers, by name through `make_activation`."""

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
    "ChannelPReLU",
    "Clip",
    "LearnableActivation",
    "SGBlend",
    "SSwish",
    "Swish",
    "learnable_activations",
    "make_activation",
    "serf",
]
