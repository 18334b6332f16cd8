"""Attention, feed-forward and the residual block of both Transformers; where protocol switches act.

Masks are explicit: `+` and many layers drop Keras's own in silence, and a lost mask is a leak.
Every random draw has its own seed, so that two models which differ only in their activation start
from the same weights and see the same dropout.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.initializers import GlorotUniform, RandomNormal, RandomUniform

from sgblend_utils.data.text import PAD
from sgblend_utils.errors import UserError
from sgblend_utils.zoo import make_activation, split_spec

layer_norm = partial(keras.layers.LayerNormalization, epsilon=1e-6)
MASKED = -1e9  # finite: a row with every key masked must give numbers, not NaN
PACKAGE = "sgblend"
PUBLISHED_FORMS = {  # activation -> its options under the switch `published_activation`
    "sgblend": {"parameterization": "published", "gelu": "sigmoid"},
    "sswish": {"parameterization": "published"},
}


def seed_stream(*seed: int) -> Iterator[int]:
    """An endless stream of independent integer seeds, the same for the same `seed`."""
    rng = np.random.default_rng(seed if len(seed) > 1 else seed[0])
    while True:
        yield int(rng.integers(2**31))


def dense(units: int, seeds: Iterator[int], name: str, limit: float | None = None) -> Any:
    """A Dense layer with its own seed: Glorot's uniform distribution or U(-limit, limit)."""
    seed = next(seeds)
    draw = GlorotUniform(seed=seed) if limit is None else RandomUniform(-limit, limit, seed=seed)
    return keras.layers.Dense(units, kernel_initializer=draw, name=name)


def embedding(rows: int, width: int, seeds: Iterator[int], name: str, small: bool = False) -> Any:
    """An Embedding drawn from N(0, 1 / width), or if `small` as Keras does: U(-0.05, 0.05)."""
    seed = next(seeds)
    draw = RandomUniform(seed=seed) if small else RandomNormal(stddev=width**-0.5, seed=seed)
    return keras.layers.Embedding(rows, width, embeddings_initializer=draw, name=name)


def build_all(shape: tuple[int | None, ...], *layers: keras.layers.Layer | None) -> None:
    """Build layers for inputs of one shape; None stands for one that is not there."""
    for layer in filter(None, layers):
        layer.build(shape)


def padding_bias(tokens: Any) -> Any:
    """(B, S) ids -> (B, 1, 1, S): 0 at tokens, a large negative number at padding."""
    return MASKED * ops.cast(ops.equal(tokens, PAD), "float32")[:, None, None, :]


def causal_bias(length: Any) -> Any:
    """(1, 1, T, T): 0 where key ≤ query, a large negative number in the future."""
    steps = ops.arange(length)
    return MASKED * ops.cast(steps[None, :] > steps[:, None], "float32")[None, None]


@keras.saving.register_keras_serializable(PACKAGE)
class Site(keras.layers.Wrapper):
    """A place where a shared activation acts: probes read the input of a place, not of a layer."""

    def call(self, x: Any) -> Any:
        return self.layer(x)

    @property
    def effective_parameters(self) -> Callable[[], dict[str, Any]]:
        """That of the activation; not an attribute of sites without parameters."""
        return self.layer.effective_parameters


class Activations:
    """Makes the activation of one site after the other: fresh layers, or `Site`s of one layer.

    The published parameterization starts β at random; these draws have seeds of their own, so that
    no other weight depends on them.
    """

    def __init__(self, spec: str, seed: int, switches: Collection[str] = ()):
        name, options = split_spec(spec)
        forms = PUBLISHED_FORMS.get(name, {}) if "published_activation" in switches else {}
        self.spec, self.options = spec, {k: v for k, v in forms.items() if k not in options}
        published = (forms | options).get("parameterization") == "published"
        self.random_beta, self.seeds = published and "beta" not in options, seed_stream(seed, 1)
        self.shares, self.shared = "shared_activation" in switches, None

    def make(self, name: str, **kwargs: Any) -> keras.layers.Layer:
        if self.shared is None:
            if self.random_beta:
                kwargs["beta_initializer"] = GlorotUniform(seed=next(self.seeds))
            layer = make_activation(self.spec, name=name, **self.options, **kwargs)
            if not self.shares:
                return layer
            self.shared = layer
        return Site(self.shared, name=name)


class Attention(keras.layers.Layer):
    """Multi-head scaled dot-product attention; `keys_values` is apart, so that decoding keeps them.

    Each head has d_model / num_heads features.  If `wide`, it has d_model, and kernels are drawn as
    Keras's MultiHeadAttention drew them.
    """

    def __init__(self, d_model: int, num_heads: int, seeds: Any, wide: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        if d_model % num_heads and not wide:
            raise UserError(f"d_model is {d_model}; choose a multiple of num_heads, {num_heads}.")
        self.d_model, self.num_heads = d_model, num_heads
        self.head_dim = d_model if wide else d_model // num_heads
        self.inner = num_heads * self.head_dim
        into = out = None
        if wide:
            # Glorot's limit is √(6 / (fan in + fan out)).  To Keras until 2026 (its pull request
            # 22789) all but the last two axes of a kernel were a receptive field, which multiplies
            # both fans: d H and d K for the kernel (d, H, K) of queries, keys or values; H K and
            # H d for the output's, (H, K, d).
            into = (6 / (d_model * (num_heads + self.head_dim))) ** 0.5
            out = (6 / (num_heads * (self.head_dim + d_model))) ** 0.5
        self.to_query = dense(self.inner, seeds, "query", into)
        self.to_key_value = dense(2 * self.inner, seeds, "key_value", into)
        self.to_output = dense(d_model, seeds, "output", out)
        self.softmax = keras.layers.Softmax(name="softmax")  # a layer, so that probes can tap it

    def build(self, input_shape: Any) -> None:
        build_all(input_shape, self.to_query, self.to_key_value)
        self.to_output.build((None, None, self.inner))

    def split(self, x: Any) -> Any:
        """(B, T, H·K) -> (B, H, T, K)."""
        x = ops.reshape(x, (*ops.shape(x)[:2], self.num_heads, self.head_dim))
        return ops.transpose(x, (0, 2, 1, 3))

    def keys_values(self, memory: Any) -> tuple[Any, Any]:
        """(B, S, d) -> keys and values, each (B, H, S, K)."""
        keys, values = ops.split(self.to_key_value(memory), 2, axis=-1)
        return self.split(keys), self.split(values)

    def call(self, x: Any, keys: Any, values: Any, bias: Any) -> Any:
        """Attend from `x` (B, T, d); `bias` (broadcast to B, H, T, S) is added to the scores."""
        query = self.split(self.to_query(x)) * self.head_dim**-0.5
        scores = ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2)))
        if bias is not None:
            scores = scores + ops.cast(bias, scores.dtype)
        heads = ops.transpose(ops.matmul(self.softmax(scores), values), (0, 2, 1, 3))
        return self.to_output(ops.reshape(heads, (*ops.shape(x)[:2], self.inner)))


class Block(keras.layers.Layer):
    """Self-attention, attention over the source if `cross`, feed-forward, each a residual branch.

    A branch's input is normalised, or with the switch `post_norm` the sum after it.  Feed-forward
    is Dense(f) -> activation -> Dense(d).  If gated (Shazeer 2020), half of the first Dense
    multiplies the activated other half (GEGLU with gelu, SwiGLU with silu), at the width w whose
    3 d w + 2 w parameters are nearest to 2 d f + f.  `settings` are the model's: d_model,
    num_heads, ff_dim, gated, dropout and switches.
    """

    def __init__(self, settings: Any, cross: bool, seeds: Any, activations: Any, **kwargs: Any):
        super().__init__(**kwargs)
        d, width, switches = settings["d_model"], settings["ff_dim"], settings["switches"]
        self.post_norm, self.gated = "post_norm" in switches, settings.get("gated", False)
        if self.gated:
            width = max(1, round(width * (2 * d + 1) / (3 * d + 2)))
        heads = (d, settings["num_heads"], seeds, "wide_key_dim" in switches)
        self.norms = [layer_norm(name=f"norm_{i}") for i in range(2 + cross)]
        self.self_attention = Attention(*heads, name="self_attention")
        self.cross_attention = Attention(*heads, name="cross_attention") if cross else None
        self.expand = dense(width * (1 + self.gated), seeds, "expand")
        self.activation = activations.make("activation")
        self.contract = dense(d, seeds, "contract")
        self.drop = keras.layers.Dropout(settings["dropout"], seed=next(seeds))
        self.width = width

    def build(self, input_shape: Any) -> None:
        attentions = (self.self_attention, self.cross_attention)
        build_all(input_shape, *self.norms, *attentions, self.expand)
        build_all((*input_shape[:-1], self.width), self.activation, self.contract)

    def feed_forward(self, x: Any) -> Any:
        hidden = self.expand(x)
        if self.gated:
            gate, value = ops.split(hidden, 2, axis=-1)
            return self.contract(self.activation(gate) * value)
        return self.contract(self.activation(hidden))

    def branch(self, i: int, x: Any, function: Callable[[Any], Any], training: bool) -> Any:
        """x + function(x), normalised before the function or after the sum."""
        if self.post_norm:
            return self.norms[i](x + self.drop(function(x), training=training))
        return x + self.drop(function(self.norms[i](x)), training=training)

    def call(self, x, bias, memory=None, memory_bias=None, past=None, training=False):
        """(B, T, d) -> (B, T, d); with `past` also the updated keys and values.

        `bias` (or None) is added to self-attention scores; `memory` are the source's keys and
        values, `past` the cached ones of the target and the position of `x` in them.
        """
        cache = []

        def attend(y: Any) -> Any:
            new = self.self_attention.keys_values(y)
            if past is not None:
                pairs = zip(past[:2], new, strict=True)
                new = [ops.slice_update(old, (0, 0, past[2], 0), part) for old, part in pairs]
                cache.extend(new)
            return self.self_attention(y, *new, bias)

        x = self.branch(0, x, attend, training)
        if memory is not None:
            cross = self.cross_attention
            x = self.branch(1, x, lambda y: cross(y, *memory, memory_bias), training)
        x = self.branch(-1, x, self.feed_forward, training)
        return (x, *cache) if cache else x
