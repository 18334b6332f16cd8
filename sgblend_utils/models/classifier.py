"""The encoder that tells whether a review is positive, in the sound form and as published."""

from collections.abc import Collection
from functools import partial
from typing import Any

import keras
from keras import ops

from sgblend_utils.data.text import PAD
from sgblend_utils.models import layers
from sgblend_utils.zoo import choose

KINDS = ("small", "bert")
HEAD = 20  # units between the average and the logit, in `small`


@keras.saving.register_keras_serializable(layers.PACKAGE)
class Classifier(keras.Model):
    """Ids (B, T), padded at the end with PAD, T ≤ `length` -> logits (B, 1) of a positive review.

    `small` averages over positions; `bert` reads the first, where a mark `[CLS]` stands.

    Args:
        kind: `small` (average, Dense(20), activation, logit) or `bert` (first position, logit).
        dropout: on embeddings, on every residual branch and before the logit.
        word_dropout: share of tokens that training leaves out, while their positions stay.
        switches: protocol switches that are on; those about data or training do nothing here.  With
            `unscaled_embeddings` they start small, as Keras draws them, and stay so; with
            `padding_averaged` the average is over padding too.
    """

    def __init__(
        self,
        vocabulary: int,
        kind: str = "small",
        length: int = 256,
        d_model: int = 64,
        num_heads: int = 2,
        ff_dim: int = 128,
        num_layers: int = 1,
        dropout: float = 0.1,
        word_dropout: float = 0.0,
        activation: str = "sgblend",
        seed: int = 0,
        switches: Collection[str] = (),
        **kwargs: Any,
    ):
        settings = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        choose("encoder", kind, KINDS)
        super().__init__(**kwargs)
        self.switches = frozenset(switches)
        self.settings = settings | {"switches": sorted(self.switches)}
        seeds, small = layers.seed_stream(seed), "unscaled_embeddings" in switches
        activations = layers.Activations(activation, seed, switches)
        table = partial(layers.embedding, width=d_model, seeds=seeds, small=small)
        self.embedding = table(vocabulary, name="embedding")
        self.position_embedding = table(length, name="position_embedding")
        self.scale = 1.0 if small else d_model**0.5
        self.drop = keras.layers.Dropout(dropout, seed=next(seeds))
        drawn = {"noise_shape": (None, None, 1), "seed": next(layers.seed_stream(seed, 3))}
        self.drop_words = keras.layers.Dropout(word_dropout, **drawn)
        self.head = layers.dense(HEAD, seeds, "head") if kind == "small" else None
        self.logit = layers.dense(1, seeds, "logit")
        block = partial(layers.Block, self.settings, False, seeds, activations)
        self.blocks = [block(name=f"block_{i}") for i in range(num_layers)]
        self.final_norm = None if "post_norm" in switches else layers.layer_norm(name="final_norm")
        if self.head is not None:
            self.head_activation = activations.make("head_activation")

    def build(self, input_shape: Any = None) -> None:
        """Create every variable, in an order that does not depend on the activation."""
        width = self.settings["d_model"]
        layers.build_all((), self.embedding, self.position_embedding)
        layers.build_all((None, None, width), *self.blocks, self.final_norm)
        if self.head is not None:
            self.head.build((None, width))
            self.head_activation.build((None, width := HEAD))
        self.logit.build((None, width))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **self.settings}

    def hidden_states(self, ids: Any, training: bool = False) -> Any:
        """(B, T) ids -> (B, T, d)."""
        steps = ops.arange(ids.shape[1] or ops.shape(ids)[1], dtype="int32")
        x = self.drop_words(self.embedding(ids) * self.scale, training=training)
        x = x + self.position_embedding(steps)
        x = self.drop(x, training=training)
        bias = None if "no_padding_masks" in self.switches else layers.padding_bias(ids)
        for block in self.blocks:
            x = block(x, bias, training=training)
        return x if self.final_norm is None else self.final_norm(x)

    def pooled(self, ids: Any, training: bool = False) -> Any:
        """(B, T) ids -> (B, d): the average, or the first position."""
        hidden = self.hidden_states(ids, training)
        if self.head is None:
            return hidden[:, 0]
        mask = ops.cast(ops.not_equal(ids, PAD), self.compute_dtype)[..., None]
        mask = ops.ones_like(mask) if "padding_averaged" in self.switches else mask
        return ops.sum(hidden * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)

    def call(self, ids: Any, training: bool = False) -> Any:
        x = self.drop(self.pooled(ids, training), training=training)
        if self.head is not None:
            x = self.drop(self.head_activation(self.head(x)), training=training)
        return ops.cast(self.logit(x), "float32")

    def activation_sites(self) -> dict[str, tuple[keras.layers.Layer, str]]:
        """Every activation by site name, and whether it acts on `tokens` or whole `reviews`."""
        sites = {block.name: (block.activation, "tokens") for block in self.blocks}
        return sites | ({} if self.head is None else {"head": (self.head_activation, "reviews")})
