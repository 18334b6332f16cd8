"""The translation model of the published code, with each of its flaws behind a named switch.

Written from the description of that code: a small post-norm encoder-decoder of Keras's own
attention layers.  With every flaw removed it is a plain pre-norm Transformer of the same size.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import keras
from keras import ops

from sgblend_utils.activations import make_activation
from sgblend_utils.datasets.text import PAD
from sgblend_utils.models.losses import TokenObjective, fused_cross_entropy
from sgblend_utils.models.transformer import PACKAGE, seed_stream

FLAWS: dict[str, str] = {
    "reversed_direction": "German is translated into English, under the label English-German.",
    "no_causal_mask": "The decoder sees the words that it is asked to predict.",
    "padding_in_loss": "Padding counts as a word to predict, in the loss and in the accuracy.",
    "no_padding_masks": "Attention looks at padding.",
    "head_of_file": "The first pairs of the file are taken: one session of one parliament.",
    "tail_validation": "The last tenth of these pairs validates, and no set is a test.",
    "early_stopping_on_reported_split": "Training stops where the reported split is best.",
    "word_tokens": "Lower-cased words, cut at white space, counted on the validation text too.",
    "front_truncation": "What is too long loses its beginning, `<start>` included.",
    "shared_activation": "One activation layer serves all sites.",
    "published_activation": "α is bounded twice, β may start negative, GELU is approximated.",
    "post_norm": "Normalisation after the residual sum and not before the branch.",
    "wide_key_dim": "Each head is as wide as the model.",
    "extra_head": "One more layer and activation before the softmax.",
}
"""Name of a switch -> what the published protocol does, in one sentence."""

PUBLISHED_FORMS = {
    "sgblend": {"parameterization": "published", "gelu": "sigmoid"},
    "sswish": {"parameterization": "published"},
}


@keras.saving.register_keras_serializable(PACKAGE)
class Site(keras.layers.Layer):
    """One place where an activation acts; the activation may be shared with other places.

    Keeps places apart for probes, which read the input of a site and not of a shared layer.
    """

    def __init__(self, activation: keras.layers.Layer, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = activation

    def build(self, input_shape: Any) -> None:
        """Build the activation unless another site has done so."""
        if not self.activation.built:
            self.activation.build(input_shape)
        self.built = True

    def call(self, x: Any) -> Any:
        """The activation of x."""
        return self.activation(x)

    @property
    def effective_parameters(self) -> Callable[[], dict[str, Any]]:
        """That of the activation; not an attribute of sites without parameters."""
        return self.activation.effective_parameters


def activations_in_turn(
    name: str, flaws: Collection[str], seed: int
) -> Iterator[keras.layers.Layer]:
    """The layers for the sites in turn: the same one for all, or a fresh one for each.

    With `published_activation`, a random start of β has a seed of its own.
    """
    options = PUBLISHED_FORMS.get(name, {}) if "published_activation" in flaws else {}
    layer = None
    while True:
        if layer is None or "shared_activation" not in flaws:
            start = {"beta_initializer": keras.initializers.GlorotUniform(seed=seed)}
            layer = make_activation(name, name="activation", **(options and options | start))
        yield layer
        seed += 1


def draw_defaults(variables: Sequence[keras.Variable], seeds: Iterator[int]) -> None:
    """Draw kernels and embeddings from Keras's default distributions, each with its own seed.

    Keras would give the kernels of one attention layer the same integer seed: equal queries, keys
    and values.
    """
    for variable in variables:
        if variable.name == "kernel":
            draw = keras.initializers.GlorotUniform(seed=next(seeds))
        elif variable.name == "embeddings":
            draw = keras.initializers.RandomUniform(seed=next(seeds))
        else:
            continue
        variable.assign(draw(variable.shape))


class PublishedBlock(keras.layers.Layer):
    """Self-attention, attention over the source if `cross`, feed-forward."""

    def __init__(
        self,
        sizes: dict[str, Any],
        flaws: Sequence[str],
        site: Site,
        cross: bool,
        seeds: Iterator[int],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        d_model, heads = sizes["d_model"], sizes["num_heads"]
        self.post_norm = "post_norm" in flaws
        key_dim = d_model if "wide_key_dim" in flaws else max(1, d_model // heads)
        self.attentions = [
            keras.layers.MultiHeadAttention(heads, key_dim, name=f"attention_{i}")
            for i in range(1 + cross)
        ]
        self.expand = keras.layers.Dense(sizes["ff_dim"], name="expand")
        self.site = site
        self.contract = keras.layers.Dense(d_model, name="contract")
        self.norms = [
            keras.layers.LayerNormalization(epsilon=1e-6, name=f"norm_{i}")
            for i in range(2 + cross)
        ]
        self.drop = keras.layers.Dropout(sizes["dropout"], seed=next(seeds))

    def build(self, input_shape: Any) -> None:
        """Build every part for inputs (B, T, d_model)."""
        for attention in self.attentions:
            attention.build(input_shape, input_shape)
        for layer in (self.expand, *self.norms):
            layer.build(input_shape)
        hidden = (*input_shape[:-1], self.expand.units)
        self.site.build(hidden)
        self.contract.build(hidden)
        self.built = True

    def branch(self, i: int, x: Any, function: Callable[[Any], Any], training: bool) -> Any:
        """x + function(x), normalised before the function or after the sum."""
        norm = self.norms[i]
        if self.post_norm:
            return norm(x + self.drop(function(x), training=training))
        return x + self.drop(function(norm(x)), training=training)

    def call(
        self, x: Any, seen: Any, memory: Any = None, memory_seen: Any = None, training: bool = False
    ) -> Any:
        """(B, T, d) -> (B, T, d); `seen` is True where attention may look; None: everywhere."""
        own = self.attentions[0]
        x = self.branch(0, x, lambda y: own(y, y, attention_mask=seen), training)
        if memory is not None:
            other = self.attentions[1]
            x = self.branch(1, x, lambda y: other(y, memory, attention_mask=memory_seen), training)
        return self.branch(-1, x, lambda y: self.contract(self.site(self.expand(y))), training)


@keras.saving.register_keras_serializable(PACKAGE)
class PublishedTransformer(keras.Model):
    """Encoder-decoder as published, less the flaws that are not in `flaws`.

    Inputs are a dict of integer arrays `source` (B, S) and `target` (B, T), both `<start> … <end>`
    and padded at the end; S, T ≤ `length`.  Output: logits (B, T, vocabulary) of the next word.

    Args:
        source_vocabulary, target_vocabulary: numbers of ids; nothing is shared between the sides.
        length: positions that have an embedding.
        d_model, num_heads, ff_dim, num_layers, dropout: the usual sizes.
        activation: a name from `sgblend_utils.activations.ACTIVATIONS`.
        flaws: names from `FLAWS`; those about data or training have no effect here.
        seed: of the initial weights and of dropout, the same for every activation.
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        length: int = 50,
        d_model: int = 64,
        num_heads: int = 2,
        ff_dim: int = 128,
        num_layers: int = 2,
        dropout: float = 0.1,
        activation: str = "sgblend",
        flaws: Sequence[str] = tuple(FLAWS),
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        sizes = {"d_model": d_model, "num_heads": num_heads, "ff_dim": ff_dim, "dropout": dropout}
        self.settings = {
            **sizes,
            "source_vocabulary": source_vocabulary,
            "target_vocabulary": target_vocabulary,
            "length": length,
            "num_layers": num_layers,
            "activation": activation,
            "flaws": list(flaws),
            "seed": seed,
        }
        self.flaws = frozenset(flaws)
        seeds = self.seeds = seed_stream(seed)
        self.sources = keras.layers.Embedding(source_vocabulary, d_model, name="sources")
        self.targets = keras.layers.Embedding(target_vocabulary, d_model, name="targets")
        self.source_places = keras.layers.Embedding(length, d_model, name="source_places")
        self.target_places = keras.layers.Embedding(length, d_model, name="target_places")
        self.drop = keras.layers.Dropout(dropout, seed=next(seeds))
        activations = activations_in_turn(activation, flaws, next(seeds))
        stacks: list[list[PublishedBlock]] = []
        for side, cross in (("encoder", False), ("decoder", True)):
            names = [f"{side}_{i}" for i in range(num_layers)]
            sites = [Site(next(activations), name="site") for _ in names]
            stacks.append(
                [
                    PublishedBlock(sizes, flaws, site, cross, seeds, name=name)
                    for name, site in zip(names, sites, strict=True)
                ]
            )
        self.encoder, self.decoder = stacks
        self.final_norms = (
            []
            if "post_norm" in flaws
            else [
                keras.layers.LayerNormalization(epsilon=1e-6, name=f"{side}_norm")
                for side in ("encoder", "decoder")
            ]
        )
        self.output_layer = keras.layers.Dense(target_vocabulary, name="output_layer")
        self.head = self.head_site = None
        if "extra_head" in flaws:
            self.head = keras.layers.Dense(ff_dim, name="head")
            self.head_site = Site(next(activations), name="head_site")

    def build(self, input_shape: Any = None) -> None:
        """Create every variable and draw the initial weights, each from a seed of its own."""
        width = (None, None, self.settings["d_model"])
        for layer in (self.sources, self.targets, self.source_places, self.target_places):
            layer.build()
        for layer in (*self.encoder, *self.decoder, *self.final_norms):
            layer.build(width)
        if self.head is not None:
            self.head.build(width)
            width = (None, None, self.head.units)
            self.head_site.build(width)
        self.output_layer.build(width)
        draw_defaults(self.trainable_variables, self.seeds)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        """Everything needed to build the same model again."""
        return {**super().get_config(), **self.settings}

    def embed(self, ids: Any, words: Any, places: Any, training: bool) -> Any:
        """(B, T) ids -> (B, T, d): word plus learned position."""
        length = ids.shape[1] or ops.shape(ids)[1]
        x = words(ids) + places(ops.arange(length, dtype="int32"))
        return self.drop(x, training=training)

    def padding_mask(self, ids: Any) -> Any:
        """(B, 1, T), True at words; None where the flaw is in force."""
        return None if "no_padding_masks" in self.flaws else ops.not_equal(ids, PAD)[:, None, :]

    def encode(self, source: Any, training: bool = False) -> tuple[Any, Any]:
        """Source ids (B, S) -> states (B, S, d) and their mask."""
        mask = self.padding_mask(source)
        x = self.embed(source, self.sources, self.source_places, training)
        for block in self.encoder:
            x = block(x, mask, training=training)
        return (self.final_norms[0](x) if self.final_norms else x), mask

    def decode(
        self,
        target: Any,
        memory: Any,
        memory_mask: Any,
        visible: Any = None,
        training: bool = False,
    ) -> Any:
        """Target ids (B, T) -> states (B, T, width) before the softmax layer.

        With `visible`, attention is confined to so many first positions: those hold what a decoder
        would compute that was given this prefix alone.
        """
        length = target.shape[1] or ops.shape(target)[1]
        places = ops.arange(length)
        masks = [self.padding_mask(target)]
        if "no_causal_mask" not in self.flaws:
            masks.append((places[None, :] <= places[:, None])[None])
        if visible is not None:
            masks.append((places < visible)[None, None, :])
        mask = None
        for part in masks:
            if part is not None:
                mask = part if mask is None else ops.logical_and(mask, part)
        x = self.embed(target, self.targets, self.target_places, training)
        for block in self.decoder:
            x = block(x, mask, memory, memory_mask, training=training)
        x = self.final_norms[1](x) if self.final_norms else x
        return x if self.head is None else self.head_site(self.head(x))

    def states(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """States before the softmax layer (B, T, width), the target given."""
        memory, mask = self.encode(inputs["source"], training=training)
        return self.decode(inputs["target"], memory, mask, training=training)

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Logits (B, T, target_vocabulary)."""
        return self.output_layer(self.states(inputs, training=training))

    def activation_sites(self) -> dict[str, tuple[keras.layers.Layer, str]]:
        """Every activation site by name, with the input (`source`/`target`) it follows."""
        sites: dict[str, tuple[keras.layers.Layer, str]] = {
            block.name: (block.site, stream)
            for stream, blocks in (("source", self.encoder), ("target", self.decoder))
            for block in blocks
        }
        return sites | ({} if self.head is None else {"head": (self.head_site, "target")})


class PublishedObjective(TokenObjective):
    """Cross-entropy per position, padding included or not.

    Labels are the next words (B, T); a `sample_weight` (B,) of 0 marks rows that only fill a batch.
    """

    def sums(self, states: Any, labels: Any, row_weights: Any) -> tuple[Any, Any]:
        """Of states (B, T, width), ids (B, T) and the rows' weights (B,) or None."""
        output = self.transformer.output_layer
        weights = ops.ones(ops.shape(labels), "float32")
        if "padding_in_loss" not in self.transformer.flaws:
            weights = ops.cast(ops.not_equal(labels, PAD), "float32")
        if row_weights is not None:
            weights = weights * ops.cast(row_weights, "float32")[:, None]
        hidden = ops.reshape(states, (-1, output.kernel.shape[0]))
        # The bias is one more column of the kernel, and one more feature that is always one.
        kernel, bias = (ops.convert_to_tensor(v) for v in (output.kernel, output.bias))
        sums = fused_cross_entropy(
            ops.concatenate([hidden, ops.ones_like(hidden[:, :1])], axis=1),
            ops.concatenate([ops.transpose(kernel), bias[:, None]], axis=1),
            ops.reshape(labels, (-1,)),
            ops.reshape(weights, (-1,)),
        )
        return sums, ops.sum(weights)
