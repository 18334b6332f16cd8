"""The gated Transformer: the plain one's size, the gated layer's function, no look ahead."""

import activation_tools as tools
import keras
import numpy as np
import pytest

from sgblend_utils.activations import GATED, GatedFeedForward, matched_width
from sgblend_utils.models.transformer import FeedForward, Transformer, seed_stream

pytestmark = pytest.mark.backend
VARIANTS = list(GATED.items())


def parameters(gated, activation="gelu", d_model=32, ff_dim=96, layers=2):
    model = Transformer(
        50,
        d_model=d_model,
        num_heads=2,
        ff_dim=ff_dim,
        num_layers=layers,
        activation=activation,
        gated=gated,
    )
    model.build()
    return model.count_params()


@pytest.mark.parametrize(("d_model", "ff_dim"), [(32, 96), (64, 256), (30, 50)])
def test_a_gated_transformer_has_the_plain_ones_size_within_rounding(d_model, ff_dim):
    """Half a unit of 3 d + 2 parameters per block is what rounding the width can cost."""
    plain, gated = (parameters(g, d_model=d_model, ff_dim=ff_dim) for g in (False, True))
    blocks = 4  # two in the encoder, two in the decoder
    assert abs(gated - plain) <= blocks * (3 * d_model + 2) / 2
    assert abs(gated - plain) < 0.01 * plain


@pytest.mark.parametrize(("variant", "activation"), VARIANTS)
def test_the_gated_feed_forward_is_the_gated_layer_given_equal_weights(variant, activation):
    block = FeedForward(8, 21, activation, True, seed_stream(0))
    layer = GatedFeedForward(21, variant)
    x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype("float32")
    block.build(x.shape), layer.build(x.shape)
    own = {w.path.split("/", 1)[1]: w for w in block.weights}
    other = {w.path.split("/", 1)[1]: w for w in layer.weights}
    for name in ("expand/kernel", "expand/bias", "contract/kernel", "contract/bias"):
        value = np.random.default_rng(len(name)).normal(size=own[name].shape)
        own[name].assign(value), other[name].assign(value)
    assert block.count_params() == layer.count_params()
    assert block.width == matched_width(8, 21)
    np.testing.assert_allclose(
        tools.to_numpy(block(x)), tools.to_numpy(layer(x)), rtol=1e-5, atol=1e-5
    )


def test_the_value_half_is_linear_and_the_gate_half_is_not():
    """Scaling the value's weights scales the output; scaling the gate's does not."""
    block = FeedForward(4, 12, "gelu", True, seed_stream(1))
    x = np.random.default_rng(1).normal(size=(1, 5, 4)).astype("float32")
    block.build(x.shape)
    kernel = tools.to_numpy(block.expand.kernel)
    plain = tools.to_numpy(block(x))

    def scaled(half):
        factor = np.ones(2 * block.width, "float32")
        factor[half] = 3.0
        block.expand.kernel.assign(kernel * factor)
        return tools.to_numpy(block(x))

    gate, value = slice(None, block.width), slice(block.width, None)
    np.testing.assert_allclose(scaled(value), 3 * plain, rtol=1e-4, atol=1e-5)
    assert np.abs(scaled(gate) - 3 * plain).max() > 0.05


def test_a_gated_transformer_does_not_look_ahead():
    model = Transformer(30, d_model=16, num_heads=2, ff_dim=24, num_layers=1, gated=True)
    model.build()
    rng = np.random.default_rng(2)
    source, target = rng.integers(3, 30, (2, 2, 6)).astype("int32")
    changed = target.copy()
    changed[:, 4:] = 7
    logits, again = (
        keras.ops.convert_to_numpy(model({"source": source, "target": t}))
        for t in (target, changed)
    )
    np.testing.assert_allclose(logits[:, :4], again[:, :4], atol=1e-5)
    assert np.abs(logits[:, 4:] - again[:, 4:]).max() > 1e-3
