"""The encoder-decoder Transformer of the translation tasks (Vaswani et al. 2017), and its loss."""

from collections.abc import Collection
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.data.text import PAD
from sgblend_utils.errors import UserError
from sgblend_utils.models import layers

CHUNK = 512  # positions a chunk: 512 x 4,000 float32 logits are 8 MB, about one core's share of L3


def sinusoids(length: int, d_model: int) -> np.ndarray:
    """Position encodings, shape (length, d_model) (Vaswani et al. 2017, section 3.5)."""
    angle = np.arange(length)[:, None] / 10_000 ** (np.arange(0, d_model, 2)[None, :] / d_model)
    table = np.zeros((length, d_model), "float32")
    table[:, 0::2] = np.sin(angle)
    table[:, 1::2] = np.cos(angle[:, : d_model // 2])
    return table


@keras.saving.register_keras_serializable(layers.PACKAGE)
class Transformer(keras.Model):
    """Pre-norm encoder-decoder with one embedding; with every switch, that of the published code.

    Inputs are a dict of integer arrays: `source` (B, S), closed by EOS, and `target` (B, T), opened
    by BOS; PAD = 0 elsewhere.  Output: logits (B, T, vocabulary) of the *next* target token.

    Args:
        vocabulary, target_vocabulary: number of tokens; two only with `untied_embeddings`.
        num_layers: on each side.
        dropout: on embeddings and on every residual branch.
        gated: a gated feed-forward of the same parameter count, see `layers.Block`.
        max_length: longest sequence that has positions.
        switches: protocol switches that are on; those about data or training do nothing here.  With
            `untied_embeddings` source, target and softmax have matrices of their own, and
            embeddings start small and are not scaled; `extra_head` is a layer and an activation
            before the softmax.
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
        target_vocabulary: int | None = None,
        switches: Collection[str] = (),
        **kwargs: Any,
    ):
        settings = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        untied, switches = "untied_embeddings" in switches, frozenset(switches)
        targets = target_vocabulary or vocabulary
        for size in ("vocabulary", "d_model", "num_heads", "ff_dim", "num_layers", "max_length"):
            if settings[size] < 1:
                raise UserError(f"{size} is {settings[size]}; give a positive whole number.")
        if targets != vocabulary and not untied:
            raise UserError("Two vocabularies need two embeddings: switch untied_embeddings on.")
        super().__init__(**kwargs)
        self.settings, self.switches = settings | {"switches": sorted(switches)}, switches
        seeds, own = layers.seed_stream(seed), layers.seed_stream(seed, 2)  # own: what switches add
        activations = layers.Activations(activation, seed, switches)

        table = partial(layers.embedding, width=d_model, seeds=own, small=True)
        block = partial(layers.Block, self.settings, seeds=seeds, activations=activations)
        self.embedding = layers.embedding(vocabulary, d_model, seeds, "embedding", small=untied)
        self.target_embedding = table(targets, name="target_embedding") if untied else None
        self.source_positions = self.target_positions = None
        if "learned_positions" in switches:
            self.source_positions = table(max_length, name="source_positions")
            self.target_positions = table(max_length, name="target_positions")
        self.scale = 1.0 if untied else d_model**0.5
        self.positions = sinusoids(max_length, d_model)
        self.drop = keras.layers.Dropout(dropout, seed=next(seeds))
        self.encoder = [block(False, name=f"encoder_{i}") for i in range(num_layers)]
        self.decoder = [block(True, name=f"decoder_{i}") for i in range(num_layers)]
        self.encoder_norm = self.decoder_norm = self.head = None
        if "post_norm" not in switches:
            self.encoder_norm = layers.layer_norm(name="encoder_norm")
            self.decoder_norm = layers.layer_norm(name="decoder_norm")
        if "extra_head" in switches:
            # What the tied embedding multiplies must have its width.
            self.head = layers.dense(ff_dim if untied else d_model, own, "head")
            self.head_activation = activations.make("head_activation")
        self.output_layer = layers.dense(targets, own, "output_layer") if untied else None

    def build(self, input_shape: Any = None) -> None:
        """Create every variable, in an order that does not depend on the activation."""
        shape = (None, None, self.settings["d_model"])
        layers.build_all((), self.embedding, self.target_embedding)
        layers.build_all((), self.source_positions, self.target_positions)
        norms = (self.encoder_norm, self.decoder_norm)
        layers.build_all(shape, *self.encoder, *self.decoder, *norms, self.head)
        if self.head is not None:
            shape = (None, None, self.head.units)
            self.head_activation.build(shape)
        layers.build_all(shape, self.output_layer)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}

    def embed(self, tokens: Any, side: str, start: Any = 0, training: bool = False) -> Any:
        """(B, T) ids -> (B, T, d): embeddings plus positions from `start` on."""
        words, learned = self.embedding, self.source_positions
        if side == "target":
            words, learned = self.target_embedding or words, self.target_positions
        table = ops.convert_to_tensor(self.positions if learned is None else learned.embeddings)
        shape = (tokens.shape[1] or ops.shape(tokens)[1], self.settings["d_model"])
        x = words(tokens) * self.scale
        positions = ops.cast(ops.slice(table, (start, 0), shape), x.dtype)
        return self.drop(x + positions, training=training)

    def encode(self, source: Any, training: bool = False) -> tuple[list[tuple[Any, Any]], Any]:
        """Source ids (B, S) -> keys and values for each decoder block, and their padding bias."""
        bias = None if "no_padding_masks" in self.switches else layers.padding_bias(source)
        x = self.embed(source, "source", training=training)
        for block in self.encoder:
            x = block(x, bias, training=training)
        x = x if self.encoder_norm is None else self.encoder_norm(x)
        return [block.cross_attention.keys_values(x) for block in self.decoder], bias

    def target_bias(self, target: Any, visible: Any = None) -> Any:
        """What is added to the scores among targets (B, T); with `visible` so many can be seen."""
        length, parts = target.shape[1] or ops.shape(target)[1], []
        if "no_causal_mask" not in self.switches:
            parts.append(layers.causal_bias(length))
        # Target padding comes after every real token, so causality hides it from all that counts.
        seen = self.switches & {"no_causal_mask", "padding_in_loss"}
        if seen and "no_padding_masks" not in self.switches:
            parts.append(layers.padding_bias(target))
        if visible is not None:
            parts.append(layers.MASKED * ops.cast(ops.arange(length) >= visible, "float32"))
        return sum(parts) if parts else None

    def decode(self, target, memory, memory_bias, visible=None, training=False):
        """Target ids (B, T) and what `encode` returns -> final hidden states (B, T, width).

        With `visible`, so many first ones are those of a decoder that was given this prefix alone.
        """
        bias = self.target_bias(target, visible)
        x = self.embed(target, "target", training=training)
        for block, keys_values in zip(self.decoder, memory, strict=True):
            x = block(x, bias, keys_values, memory_bias, training=training)
        return self.finish(x)

    def finish(self, x: Any) -> Any:
        x = x if self.decoder_norm is None else self.decoder_norm(x)
        return x if self.head is None else self.head_activation(self.head(x))

    def hidden_states(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Final hidden states (B, T, width), the target given."""
        memory, memory_bias = self.encode(inputs["source"], training=training)
        return self.decode(inputs["target"], memory, memory_bias, training=training)

    def output_matrix(self) -> tuple[Any, Any]:
        """The softmax layer: kernel (vocabulary, width) and bias (vocabulary,), None if tied."""
        if self.output_layer is None:
            return ops.convert_to_tensor(self.embedding.embeddings), None
        kernel, bias = self.output_layer.kernel, self.output_layer.bias
        return ops.transpose(ops.convert_to_tensor(kernel)), ops.convert_to_tensor(bias)

    def project(self, hidden: Any, columns: Any = None) -> Any:
        """Hidden states (..., width) -> float32 logits (..., vocabulary)."""
        kernel, bias = self.output_matrix()
        if columns is None:
            columns = ops.transpose(ops.cast(kernel, hidden.dtype))
        logits = ops.cast(ops.matmul(hidden, columns), "float32")
        return logits if bias is None else logits + bias

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        return self.project(self.hidden_states(inputs, training=training))

    def empty_cache(self, batch: Any, length: int) -> list[Any]:
        """Zeros for `length` target positions: of each layer keys and values, (B, H, length, K).

        Arrays of their own are updated in place within a loop; parts of one would be copied.
        """
        attention = self.decoder[0].self_attention
        shape = (batch, attention.num_heads, length, attention.head_dim)
        return [ops.zeros(shape, self.compute_dtype) for _ in range(2 * len(self.decoder))]

    def step(self, token, position, cache, memory, memory_bias, columns=None):
        """Under a causal mask: ids (B,) at `position` -> next logits (B, V) and the new cache.

        `columns` is the transposed softmax kernel, if the caller has it.
        """
        x = self.embed(token[:, None], "target", start=position)
        bias = layers.MASKED * ops.cast(ops.arange(cache[0].shape[2]) > position, "float32")
        kept = []
        for i, block in enumerate(self.decoder):
            past = (*cache[2 * i : 2 * i + 2], position)
            x, *keys_values = block(x, bias, memory[i], memory_bias, past)
            kept += keys_values
        return self.project(self.finish(x)[:, 0], columns), kept

    def activation_sites(self) -> dict[str, tuple[keras.layers.Layer, str]]:
        """Every activation layer by site name, with the input (`source`/`target`) it follows."""
        sites = {block.name: (block.activation, "source") for block in self.encoder}
        sites |= {block.name: (block.activation, "target") for block in self.decoder}
        return sites | ({} if self.head is None else {"head": (self.head_activation, "target")})


def fused_cross_entropy(hidden, kernel, labels, weights, label_smoothing: float = 0.0) -> Any:
    """Weighted sums over positions: smoothed loss, negative log-likelihood (nats), arg-max hits.

    With p = softmax(hidden kernelᵀ) and q = (1 − ε) onehot(label) + ε / V (Szegedy et al. 2016),
    the loss of a position is −Σ q log p.  Its sum alone is differentiable, in `hidden`, `kernel`.
    Both gradients are formed while a chunk of the logits, a model's largest tensor, is in cache.

    `hidden` (N, d), `kernel` (V, d), `labels` (N,) in [0, V), float `weights` (N,), 0 where a
    position does not count; `label_smoothing` is ε.
    """
    positions, vocabulary = hidden.shape[0], kernel.shape[0]
    weights = ops.cast(weights, "float32")
    chunks = [slice(None)]  # a dynamic batch cannot be unrolled
    if positions is not None:
        chunks = [slice(i, i + CHUNK) for i in range(0, positions, CHUNK)]

    def one_chunk(h: Any, w: Any, label: Any, weight: Any) -> tuple[Any, Any, Any]:
        logits = ops.cast(ops.matmul(h, ops.transpose(w)), "float32")
        log_z = ops.logsumexp(logits, axis=-1)
        picked = ops.squeeze(ops.take_along_axis(logits, label[:, None], axis=-1), -1)
        nll = log_z - picked
        uniform = log_z - ops.mean(logits, axis=-1)
        loss = (1.0 - label_smoothing) * nll + label_smoothing * uniform
        # Equality with the maximum rather than arg-max: a reduction vectorises, an index does not.
        hit = ops.cast(picked >= ops.max(logits, axis=-1), "float32")
        sums = ops.stack([ops.sum(weight * loss), ops.sum(weight * nll), ops.sum(weight * hit)])
        one_hot = ops.one_hot(label, vocabulary)
        target = (1.0 - label_smoothing) * one_hot + label_smoothing / vocabulary
        d_logits = (ops.exp(logits - log_z[:, None]) - target) * weight[:, None]
        d_logits = ops.cast(d_logits, h.dtype)
        return sums, ops.matmul(d_logits, w), ops.matmul(ops.transpose(d_logits), h)

    @ops.custom_gradient
    def fused(h: Any, w: Any) -> tuple[Any, Any]:
        parts = [one_chunk(h[part], w, labels[part], weights[part]) for part in chunks]
        sums, d_hidden, d_kernel = zip(*parts, strict=True)
        sums, d_hidden, d_kernel = sum(sums), ops.concatenate(d_hidden, axis=0), sum(d_kernel)

        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
            scale = ops.cast((args[0] if upstream is None else upstream)[0], d_hidden.dtype)
            return scale * d_hidden, scale * d_kernel

        return sums, gradient

    return fused(hidden, ops.cast(ops.convert_to_tensor(kernel), hidden.dtype))


class TranslationObjective(keras.Model):
    """Wraps a Transformer for `fit`: label-smoothed cross-entropy per target token.

    Its output is the decoder's hidden states, so that the logits need never exist as a whole.
    Every number is a mean over real target tokens, or with the switch `padding_in_loss` over
    padding too; a `sample_weight` (B,) of 0 leaves a row out.
    """

    def __init__(self, transformer: Transformer, label_smoothing: float = 0.1, **kwargs: Any):
        super().__init__(**kwargs)
        self.transformer, self.label_smoothing = transformer, label_smoothing
        self.activation_sites = transformer.activation_sites
        self.trackers = [keras.metrics.Mean(name=name) for name in ("loss", "nll", "accuracy")]

    def build(self, input_shape: Any = None) -> None:
        if not self.transformer.built:
            self.transformer.build()

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        return self.transformer.hidden_states(inputs, training=training)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Token-weighted means, reset by Keras at every epoch."""
        return self.trackers

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean loss per token of the batch, from hidden states `y_pred` and labels `y` (B, T)."""
        everywhere = "padding_in_loss" in self.transformer.switches
        weights = ops.cast(ops.ones_like(y) if everywhere else ops.not_equal(y, PAD), "float32")
        if sample_weight is not None:
            weights = weights * ops.cast(sample_weight, "float32")[:, None]
        kernel, bias = self.transformer.output_matrix()
        hidden = ops.reshape(y_pred, (-1, kernel.shape[1]))
        if bias is not None:  # one more column of the kernel, for a feature that is always one
            hidden = ops.concatenate([hidden, ops.ones_like(hidden[:, :1])], axis=1)
            kernel = ops.concatenate([kernel, bias[:, None]], axis=1)
        labels, weights = ops.reshape(y, (-1,)), ops.reshape(weights, (-1,))
        sums = fused_cross_entropy(hidden, kernel, labels, weights, self.label_smoothing)
        count = ops.sum(weights)
        means = sums / ops.maximum(count, 1.0)
        for i, tracker in enumerate(self.trackers):
            tracker.update_state(means[i], sample_weight=count)
        return means[0]
