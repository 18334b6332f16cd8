"""Encoders that tell whether a review is positive: sound ones, and those of the published code.

Each comes as `small`, which averages over positions and has a small layer before its logit, and as
`bert`, which reads the first position, where a mark `[CLS]` stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from sgblend_utils.activations import make_activation
from sgblend_utils.datasets.text import PAD
from sgblend_utils.errors import UserError
from sgblend_utils.models.published import (
    PublishedBlock,
    Site,
    activations_in_turn,
    draw_defaults,
)
from sgblend_utils.models.transformer import (
    PACKAGE,
    Block,
    check_heads,
    dense,
    padding_bias,
    seed_stream,
)

KINDS = ("small", "bert")
HEAD = 20  # units between the average and the logit, in `small`

FLAWS: dict[str, str] = {
    "repeated_reviews": "Reviews of the test set, and reviews given twice, stay in training.",
    "tokenizer_fitted_on_test": "Words are counted on the test reviews too.",
    "word_tokens": "Lower-cased words without marks, the line break `br` among them.",
    "cls_is_a_word": "The tokenizer turns `[CLS]` into the common word cls (bert).",
    "front_truncation": "What is too long loses its beginning, `[CLS]` included.",
    "no_padding_mask": "Attention looks at padding.",
    "padding_averaged": "The average is over all positions, padding included (small).",
    "shared_activation": "One activation layer serves all sites.",
    "published_activation": "α is bounded twice, β may start negative, GELU is approximated.",
    "post_norm": "Normalisation after the residual sum and not before the branch.",
    "wide_key_dim": "Each head is as wide as the model.",
    "early_stopping_on_reported_split": "Training stops by the loss of the split that is reported.",
    "validation_reported": "What is reported is the validation accuracy; nothing is a test (bert).",
}
"""Name of a switch -> what the published protocol does, in one sentence."""


@keras.saving.register_keras_serializable(PACKAGE)
class SentimentEncoder(keras.Model):
    """Ids (B, T), padded at the end with PAD, T ≤ `length` -> logits (B, 1) of a positive review.

    Pre-norm blocks with padding masks and an activation layer for each site.  Two models of equal
    arguments that differ in their activation alone start from the same weights.

    Args:
        vocabulary: number of ids.
        kind: `small` (masked average, Dense(20), activation, logit) or `bert` (first position,
            logit).
        length: positions that have an embedding.
        d_model, num_heads, ff_dim, num_layers: the usual sizes.
        dropout: on embeddings, on every residual branch and before the logit.
        activation: a name from `sgblend_utils.activations.ACTIVATIONS`.
        seed: of the initial weights and of dropout.
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
        activation: str = "sgblend",
        seed: int = 0,
        **kwargs: Any,
    ):
        if kind not in KINDS:
            raise UserError(f"Unknown encoder {kind!r}: choose one of {', '.join(KINDS)}.")
        check_heads(d_model, num_heads)
        super().__init__(**kwargs)
        self.settings: dict[str, Any] = {
            "vocabulary": vocabulary,
            "kind": kind,
            "length": length,
            "d_model": d_model,
            "num_heads": num_heads,
            "ff_dim": ff_dim,
            "num_layers": num_layers,
            "dropout": dropout,
            "activation": activation,
            "seed": seed,
        }
        seeds = self.seeds = seed_stream(seed)
        self.words, self.places = (
            keras.layers.Embedding(
                size,
                d_model,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=d_model**-0.5, seed=next(seeds)
                ),
                name=name,
            )
            for name, size in (("words", vocabulary), ("places", length))
        )
        self.drop = keras.layers.Dropout(dropout, seed=next(seeds))
        self.head = dense(HEAD, seeds, "head") if kind == "small" else None
        self.logit = dense(1, seeds, "logit")
        self.final_norm: keras.layers.Layer | None = None
        self.make_blocks(seeds)

    def make_blocks(self, seeds: Iterator[int]) -> None:
        """The layers that differ from the published models: blocks, norm, activations."""
        names = ("d_model", "num_heads", "ff_dim", "dropout", "activation")
        sizes = [self.settings[name] for name in names]
        layers = range(self.settings["num_layers"])
        self.blocks = [Block(*sizes, False, False, seeds, name=f"block_{i}") for i in layers]
        self.final_norm = keras.layers.LayerNormalization(epsilon=1e-6, name="final_norm")
        self.head_site = None
        if self.head is not None:
            self.head_site = make_activation(self.settings["activation"], name="head_activation")

    def build(self, input_shape: Any = None) -> None:
        """Create every variable, in an order that does not depend on the activation."""
        width = (None, None, self.settings["d_model"])
        self.words.build()
        self.places.build()
        for block in self.blocks:
            block.build(width)
        if self.final_norm is not None:
            self.final_norm.build(width)
        pooled = (None, self.settings["d_model"])
        if self.head is not None:
            self.head.build(pooled)
            pooled = (None, HEAD)
            self.head_site.build(pooled)
        self.logit.build(pooled)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Everything needed to build the same model again."""
        return {**super().get_config(), **self.settings}

    def embed(self, ids: Any, training: bool = False) -> Any:
        """(B, T) ids -> (B, T, d): word of unit size plus learned position."""
        places = self.places(ops.arange(ids.shape[1] or ops.shape(ids)[1], dtype="int32"))
        x = self.words(ids) * self.settings["d_model"] ** 0.5 + places
        return self.drop(x, training=training)

    def states(self, ids: Any, training: bool = False) -> Any:
        """(B, T) ids -> (B, T, d)."""
        x, bias = self.embed(ids, training), padding_bias(ids)
        for block in self.blocks:
            x = block(x, bias, training=training)
        return self.final_norm(x)

    def counted(self, ids: Any) -> Any:
        """(B, T, 1): one at the positions that the average is over."""
        return ops.cast(ops.not_equal(ids, PAD), self.compute_dtype)[..., None]

    def pooled(self, ids: Any, training: bool = False) -> Any:
        """(B, T) ids -> (B, d): the average, or the first position."""
        states = self.states(ids, training)
        if self.head is None:
            return states[:, 0]
        counted = self.counted(ids)
        return ops.sum(states * counted, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1.0)

    def call(self, ids: Any, training: bool = False) -> Any:
        """Logits (B, 1)."""
        x = self.drop(self.pooled(ids, training), training=training)
        if self.head is not None:
            x = self.drop(self.head_site(self.head(x)), training=training)
        return ops.cast(self.logit(x), "float32")

    def activation_sites(self) -> dict[str, tuple[keras.layers.Layer, str]]:
        """Every activation by site name, with the stream it follows.

        `tokens` has an entry for each position, `reviews` one for each review.
        """
        sites = {block.name: (block.feed_forward.activation, "tokens") for block in self.blocks}
        return sites | ({} if self.head is None else {"head": (self.head_site, "reviews")})


@keras.saving.register_keras_serializable(PACKAGE)
class PublishedSentiment(SentimentEncoder):
    """The encoders as published, less the flaws that are not in `flaws`.

    Args:
        vocabulary: number of ids.
        flaws: names from `FLAWS`; those about data or training have no effect here.
        **settings: as of `SentimentEncoder`.
    """

    def __init__(self, vocabulary: int, flaws: Sequence[str] = tuple(FLAWS), **settings: Any):
        self.flaws = frozenset(flaws)
        super().__init__(vocabulary, **settings)
        self.settings["flaws"] = list(flaws)

    def make_blocks(self, seeds: Iterator[int]) -> None:
        """Blocks of Keras's own attention, and an activation that may be the same for all."""
        layers = activations_in_turn(self.settings["activation"], self.flaws, next(seeds))
        sites = (Site(layer, name="site") for layer in layers)
        self.blocks = [
            PublishedBlock(self.settings, self.flaws, next(sites), False, seeds, name=f"block_{i}")
            for i in range(self.settings["num_layers"])
        ]
        if "post_norm" not in self.flaws:
            self.final_norm = keras.layers.LayerNormalization(epsilon=1e-6, name="final_norm")
        self.head_site = None if self.head is None else next(sites)

    def build(self, input_shape: Any = None) -> None:
        """Create every variable, and draw the weights of Keras's layers."""
        if self.built:
            return
        super().build(input_shape)
        draw_defaults(self.trainable_variables, self.seeds)

    def embed(self, ids: Any, training: bool = False) -> Any:
        """(B, T) ids -> (B, T, d): word plus learned position."""
        places = self.places(ops.arange(ids.shape[1] or ops.shape(ids)[1], dtype="int32"))
        return self.drop(self.words(ids) + places, training=training)

    def states(self, ids: Any, training: bool = False) -> Any:
        """(B, T) ids -> (B, T, d)."""
        x, seen = self.embed(ids, training), None
        if "no_padding_mask" not in self.flaws:
            seen = ops.not_equal(ids, PAD)[:, None, :]
        for block in self.blocks:
            x = block(x, seen, training=training)
        return x if self.final_norm is None else self.final_norm(x)

    def counted(self, ids: Any) -> Any:
        """(B, T, 1): one at the positions that the average is over."""
        counted = super().counted(ids)
        return ops.ones_like(counted) if "padding_averaged" in self.flaws else counted

    def activation_sites(self) -> dict[str, tuple[keras.layers.Layer, str]]:
        """Every activation by site name, with the stream it follows."""
        sites = {block.name: (block.site, "tokens") for block in self.blocks}
        return sites | ({} if self.head is None else {"head": (self.head_site, "reviews")})
