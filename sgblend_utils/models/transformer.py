"""The encoder-decoder Transformer of the translation tasks (Vaswani et al. 2017), pre-norm.

Masks are explicit arguments, never the implicit Keras mask: `+` and many layers drop that one in
silence, and a lost mask is a leak.  Every random draw has its own seed, so that two models which
differ only in their activation start from the same weights and see the same dropout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.activations import make_activation, matched_width
from sgblend_utils.datasets.text import PAD
from sgblend_utils.errors import UserError
from sgblend_utils.models.losses import TokenObjective, fused_cross_entropy

MASKED = -1e9  # finite: a row with every key masked must give numbers, not NaN
PACKAGE = "sgblend"


def check_heads(d_model: int, num_heads: int) -> None:
    """Raise a UserError if the width cannot be divided among the heads."""
    if d_model % num_heads:
        raise UserError(
            f"d_model {d_model} is not divisible by num_heads {num_heads}; "
            "choose a d_model that is a multiple of num_heads."
        )


def seed_stream(seed: int) -> Iterator[int]:
    """An endless stream of independent integer seeds, the same for the same `seed`."""
    rng = np.random.default_rng(seed)
    while True:
        yield int(rng.integers(2**31))


def dense(units: int, seeds: Iterator[int], name: str, use_bias: bool = True) -> keras.layers.Dense:
    """A Dense layer with its own Glorot seed."""
    initializer = keras.initializers.GlorotUniform(seed=next(seeds))
    return keras.layers.Dense(units, use_bias=use_bias, kernel_initializer=initializer, name=name)


def sinusoids(length: int, d_model: int) -> np.ndarray:
    """Position encodings, shape (length, d_model) (Vaswani et al. 2017, section 3.5)."""
    angle = np.arange(length)[:, None] / 10_000 ** (np.arange(0, d_model, 2)[None, :] / d_model)
    table = np.zeros((length, d_model), "float32")
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle[:, : d_model // 2])
    return table


class Attention(keras.layers.Layer):
    """Multi-head scaled dot-product attention; keys and values are computed apart from queries.

    `keys_values` is separate so that decoding can keep them: for the source once per sentence, for
    the target one position at a time.
    """

    def __init__(self, d_model: int, num_heads: int, seeds: Iterator[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.num_heads, self.head_dim = num_heads, d_model // num_heads
        self.to_query = dense(d_model, seeds, "query")
        self.to_key_value = dense(2 * d_model, seeds, "key_value")
        self.to_output = dense(d_model, seeds, "output")

    def build(self, input_shape: Any = None) -> None:
        """All sub-layers see d_model features."""
        width = (None, None, self.num_heads * self.head_dim)
        for layer in (self.to_query, self.to_key_value, self.to_output):
            layer.build(width)
        self.built = True

    def split(self, x: Any) -> Any:
        """(B, T, H·K) -> (B, H, T, K)."""
        shape = (ops.shape(x)[0], ops.shape(x)[1], self.num_heads, self.head_dim)
        return ops.transpose(ops.reshape(x, shape), (0, 2, 1, 3))

    def keys_values(self, memory: Any) -> tuple[Any, Any]:
        """(B, S, d) -> keys and values, each (B, H, S, K)."""
        keys, values = ops.split(self.to_key_value(memory), 2, axis=-1)
        return self.split(keys), self.split(values)

    def call(self, x: Any, keys: Any, values: Any, bias: Any) -> Any:
        """Attend from `x` (B, T, d); `bias` (broadcast to B, H, T, S) is added to the scores."""
        heads = ops.matmul(self.weights_of(x, keys, bias), values)
        return self.to_output(ops.reshape(ops.transpose(heads, (0, 2, 1, 3)), ops.shape(x)))

    def weights_of(self, x: Any, keys: Any, bias: Any) -> Any:
        """The attention of `x` to the keys: (B, H, T, S), each row summing to one."""
        query = self.split(self.to_query(x)) * self.head_dim**-0.5
        scores = ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2)))
        return ops.softmax(scores + ops.cast(bias, scores.dtype), axis=-1)


class FeedForward(keras.layers.Layer):
    """Dense(ff_dim) -> activation -> Dense(d_model), with an activation layer of its own.

    Gated (Shazeer 2020), half of the first Dense multiplies the activated other half, at a width
    that keeps the parameter count: GEGLU with gelu, SwiGLU with silu.
    """

    def __init__(
        self,
        d_model: int,
        ff_dim: int,
        activation: str,
        gated: bool,
        seeds: Iterator[int],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.gated = gated
        self.width = matched_width(d_model, ff_dim) if gated else ff_dim
        self.expand = dense(self.width * (1 + gated), seeds, "expand")
        self.activation = make_activation(activation, name="activation")
        self.contract = dense(d_model, seeds, "contract")

    def build(self, input_shape: Any) -> None:
        """Build the three sub-layers for inputs (..., d_model)."""
        self.expand.build(input_shape)
        hidden = (*input_shape[:-1], self.width)
        self.activation.build(hidden)
        self.contract.build(hidden)
        self.built = True

    def call(self, x: Any) -> Any:
        """(B, T, d_model) -> (B, T, d_model)."""
        hidden = self.expand(x)
        if self.gated:
            gate, value = ops.split(hidden, 2, axis=-1)
            return self.contract(self.activation(gate) * value)
        return self.contract(self.activation(hidden))


class Block(keras.layers.Layer):
    """One pre-norm layer: self-attention, attention over the source if `cross`, feed-forward."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        ff_dim: int,
        dropout: float,
        activation: str,
        gated: bool,
        cross: bool,
        seeds: Iterator[int],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.cross = cross
        self.norms = [
            keras.layers.LayerNormalization(epsilon=1e-6, name=f"norm_{i}")
            for i in range(2 + cross)
        ]
        self.self_attention = Attention(d_model, num_heads, seeds, name="self_attention")
        if cross:
            self.cross_attention = Attention(d_model, num_heads, seeds, name="cross_attention")
        self.feed_forward = FeedForward(
            d_model, ff_dim, activation, gated, seeds, name="feed_forward"
        )
        self.drop = keras.layers.Dropout(dropout, seed=next(seeds))

    def build(self, input_shape: Any) -> None:
        """Build every sub-layer for inputs (B, T, d_model)."""
        for norm in self.norms:
            norm.build(input_shape)
        self.self_attention.build()
        if self.cross:
            self.cross_attention.build()
        self.feed_forward.build(input_shape)
        self.built = True

    def call(
        self,
        x: Any,
        bias: Any,
        memory: tuple[Any, Any] | None = None,
        memory_bias: Any = None,
        past: tuple[Any, Any, Any] | None = None,
        training: bool = False,
    ) -> Any:
        """(B, T, d) -> (B, T, d); with `past` also the updated keys and values.

        Args:
            x: states of the positions to compute.
            bias: added to self-attention scores (padding, causality).
            memory: keys and values of the source, for a decoder block.
            memory_bias: added to source attention scores.
            past: cached keys, cached values and the position of `x` in them, when decoding.
        """
        x, keys, values = self.attend_to_itself(x, bias, past, training)
        if self.cross:
            attended = self.cross_attention(self.norms[1](x), *memory, memory_bias)
            x = x + self.drop(attended, training=training)
        x = x + self.drop(self.feed_forward(self.norms[-1](x)), training=training)
        return x if past is None else (x, keys, values)

    def attend_to_itself(
        self, x: Any, bias: Any, past: tuple[Any, Any, Any] | None = None, training: bool = False
    ) -> tuple[Any, Any, Any]:
        """The first residual branch; returns its keys and values too."""
        normed = self.norms[0](x)
        keys, values = self.self_attention.keys_values(normed)
        if past is not None:
            start = (0, 0, past[2], 0)
            keys = ops.slice_update(past[0], start, keys)
            values = ops.slice_update(past[1], start, values)
        attended = self.self_attention(normed, keys, values, bias)
        return x + self.drop(attended, training=training), keys, values


@keras.saving.register_keras_serializable(PACKAGE)
class Transformer(keras.Model):
    """Encoder-decoder Transformer with one embedding for source, target and output.

    Inputs are a dict of integer arrays: `source` (B, S), closed by EOS, and `target` (B, T), opened
    by BOS; PAD = 0 elsewhere.  Output: logits (B, T, vocabulary) of the *next* target token.

    Args:
        vocabulary: number of subwords, shared by both languages.
        d_model, num_heads, ff_dim, num_layers: the usual sizes; layers on each side.
        dropout: on embeddings and on every residual branch.
        activation: a name from `sgblend_utils.activations.ACTIVATIONS`.
        gated: a gated feed-forward of the same parameter count (see `FeedForward`).
        seed: of the initial weights and of dropout.
        max_length: longest sequence there are position encodings for.
    """

    def __init__(
        self,
        vocabulary: int,
        d_model: int = 128,
        num_heads: int = 4,
        ff_dim: int = 512,
        num_layers: int = 2,
        dropout: float = 0.1,
        activation: str = "gelu",
        gated: bool = False,
        seed: int = 0,
        max_length: int = 512,
        **kwargs: Any,
    ):
        sizes = {
            "vocabulary": vocabulary,
            "d_model": d_model,
            "num_heads": num_heads,
            "ff_dim": ff_dim,
            "num_layers": num_layers,
            "max_length": max_length,
        }
        for size, value in sizes.items():
            if value < 1:
                raise UserError(f"{size} is {value}; give a positive whole number.")
        check_heads(d_model, num_heads)
        super().__init__(**kwargs)
        self.settings = {
            **sizes,
            "dropout": dropout,
            "activation": activation,
            "gated": gated,
            "seed": seed,
        }
        seeds = seed_stream(seed)
        self.embedding = keras.layers.Embedding(
            vocabulary,
            d_model,
            embeddings_initializer=keras.initializers.RandomNormal(
                stddev=d_model**-0.5, seed=next(seeds)
            ),
            name="embedding",
        )
        self.positions = sinusoids(max_length, d_model)
        self.drop = keras.layers.Dropout(dropout, seed=next(seeds))
        sizes = (d_model, num_heads, ff_dim, dropout, activation, gated)
        self.encoder = [Block(*sizes, False, seeds, name=f"encoder_{i}") for i in range(num_layers)]
        self.decoder = [Block(*sizes, True, seeds, name=f"decoder_{i}") for i in range(num_layers)]
        self.encoder_norm = keras.layers.LayerNormalization(epsilon=1e-6, name="encoder_norm")
        self.decoder_norm = keras.layers.LayerNormalization(epsilon=1e-6, name="decoder_norm")

    def build(self, input_shape: Any = None) -> None:
        """Create every variable, in an order that does not depend on the activation."""
        width = (None, None, self.settings["d_model"])
        self.embedding.build()
        for layer in (*self.encoder, *self.decoder, self.encoder_norm, self.decoder_norm):
            layer.build(width)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Everything needed to build the same model again."""
        return {**super().get_config(), **self.settings}

    def embed(self, tokens: Any, start: Any = 0, training: bool = False) -> Any:
        """(B, T) ids -> (B, T, d) scaled embeddings plus position encodings from `start` on."""
        d_model = self.settings["d_model"]
        table = ops.convert_to_tensor(self.positions)
        positions = ops.slice(table, (start, 0), (tokens.shape[1] or ops.shape(tokens)[1], d_model))
        x = self.embedding(tokens) * d_model**0.5
        return self.drop(x + ops.cast(positions, x.dtype), training=training)

    def encode(self, source: Any, training: bool = False) -> tuple[list[tuple[Any, Any]], Any]:
        """Source ids (B, S) -> keys and values for each decoder block, and their padding bias."""
        bias = padding_bias(source)
        x = self.embed(source, training=training)
        for block in self.encoder:
            x = block(x, bias, training=training)
        x = self.encoder_norm(x)
        return [block.cross_attention.keys_values(x) for block in self.decoder], bias

    def states(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Final decoder states (B, T, d) under the causal and padding masks."""
        memory, memory_bias = self.encode(inputs["source"], training=training)
        target = inputs["target"]
        x = self.embed(target, training=training)
        # Target padding comes after every real token, so causality already hides it.
        bias = causal_bias(target.shape[1] or ops.shape(target)[1])
        for block, keys_values in zip(self.decoder, memory, strict=True):
            x = block(x, bias, keys_values, memory_bias, training=training)
        return self.decoder_norm(x)

    def source_attention(self, inputs: dict[str, Any]) -> Any:
        """Where each decoder layer looks in the source: (layers, B, H, T, S)."""
        memory, memory_bias = self.encode(inputs["source"])
        x, bias, maps = self.embed(inputs["target"]), causal_bias(inputs["target"].shape[1]), []
        for block, (keys, values) in zip(self.decoder, memory, strict=True):
            query = block.norms[1](block.attend_to_itself(x, bias)[0])
            maps.append(block.cross_attention.weights_of(query, keys, memory_bias))
            x = block(x, bias, (keys, values), memory_bias)
        return ops.stack(maps)

    def project(self, states: Any) -> Any:
        """States (..., d) -> float32 logits (..., vocabulary) by the transposed embedding."""
        kernel = ops.cast(ops.convert_to_tensor(self.embedding.embeddings), states.dtype)
        return ops.cast(ops.matmul(states, ops.transpose(kernel)), "float32")

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Logits (B, T, vocabulary)."""
        return self.project(self.states(inputs, training=training))

    def empty_cache(self, batch: Any, length: int) -> tuple[Any, Any]:
        """Zero keys and values for `length` target positions, each (layers, B, H, length, K)."""
        heads = self.settings["num_heads"]
        width = self.settings["d_model"] // heads
        shape = (len(self.decoder), batch, heads, length, width)
        return ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.compute_dtype)

    def step(
        self, token: Any, position: Any, cache: tuple[Any, Any], memory: Any, memory_bias: Any
    ) -> tuple[Any, tuple[Any, Any]]:
        """One decoding step: ids (B,) at `position` -> next logits (B, V) and the new cache."""
        x = self.embed(token[:, None], start=position)
        ahead = ops.arange(cache[0].shape[3]) > position
        bias = MASKED * ops.cast(ahead, "float32")[None, None, None, :]
        keys, values = [], []
        for i, block in enumerate(self.decoder):
            past = (cache[0][i], cache[1][i], position)
            x, key, value = block(x, bias, memory[i], memory_bias, past)
            keys.append(key)
            values.append(value)
        logits = self.project(self.decoder_norm(x)[:, 0])
        return logits, (ops.stack(keys), ops.stack(values))

    def activation_sites(self) -> dict[str, tuple[keras.layers.Layer, str]]:
        """Every activation layer by site name, with the input (`source`/`target`) it follows."""
        return {
            f"{side}_{i}": (block.feed_forward.activation, stream)
            for side, stream, blocks in (
                ("encoder", "source", self.encoder),
                ("decoder", "target", self.decoder),
            )
            for i, block in enumerate(blocks)
        }


def padding_bias(tokens: Any) -> Any:
    """(B, S) ids -> (B, 1, 1, S): 0 at tokens, a large negative number at padding."""
    return MASKED * ops.cast(ops.equal(tokens, PAD), "float32")[:, None, None, :]


def causal_bias(length: Any) -> Any:
    """(1, 1, T, T): 0 where key ≤ query, a large negative number in the future."""
    steps = ops.arange(length)
    return MASKED * ops.cast(steps[None, :] > steps[:, None], "float32")[None, None]


class TranslationObjective(TokenObjective):
    """Label-smoothed cross-entropy per target token.

    Padding counts nowhere: every reported number is a mean over real target tokens.
    """

    def __init__(self, transformer: Transformer, label_smoothing: float = 0.1, **kwargs: Any):
        super().__init__(transformer, **kwargs)
        self.label_smoothing = label_smoothing

    def sums(self, states: Any, labels: Any, row_weights: Any) -> tuple[Any, Any]:
        """Of states (B, T, d_model) and ids (B, T); rows weigh alike."""
        labels = ops.reshape(labels, (-1,))
        weights = ops.cast(ops.not_equal(labels, PAD), "float32")
        sums = fused_cross_entropy(
            ops.reshape(states, (-1, self.transformer.settings["d_model"])),
            self.transformer.embedding.embeddings,
            labels,
            weights,
            self.label_smoothing,
        )
        return sums, ops.sum(weights)
