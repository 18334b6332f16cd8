"""SG-Blend, SSwish and the baselines as Keras layers; `swap_activation` for trained models."""

# ruff: noqa: F401, I001 - names are exported from here, a few to a line
from sgblend_utils.activations.layers import (
    LearnableActivation, SGBlend, SSwish, Swish, learnable_activations
)  # fmt: skip
from sgblend_utils.activations.swap import swap_activation
from sgblend_utils.zoo import ZOO as ACTIVATIONS
from sgblend_utils.zoo import make_activation
