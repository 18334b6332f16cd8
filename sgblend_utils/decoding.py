"""From a trained Transformer to translations: greedy search with cached keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.datasets.text import BOS, EOS, PAD, Subwords, bucket_of, pad
from sgblend_utils.models.transformer import Transformer


class GreedySearch(keras.Model):
    """Source ids (B, S) -> the most probable next token, over and over, until EOS: ids (B, length).

    A Keras model only so that `predict_on_batch` compiles the whole loop on every backend.
    """

    def __init__(self, transformer: Transformer, length: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.transformer, self.length = transformer, length

    def build(self, input_shape: Any = None) -> None:
        """Nothing of its own to create."""
        self.built = True

    def call(self, source: Any) -> Any:
        """(B, S) -> (B, length): tokens after BOS; PAD after EOS."""
        batch = ops.shape(source)[0]
        memory, memory_bias = self.transformer.encode(source)

        def unfinished(position: Any, tokens: Any, done: Any, *cache: Any) -> Any:
            return ops.logical_and(position < self.length, ops.logical_not(ops.all(done)))

        def advance(position: Any, tokens: Any, done: Any, *cache: Any) -> tuple[Any, ...]:
            last = ops.squeeze(ops.slice(tokens, (0, position), (batch, 1)), axis=1)
            logits, cache = self.transformer.step(last, position, cache, memory, memory_bias)
            chosen = ops.cast(ops.argmax(logits, axis=-1), "int32")
            chosen = ops.where(done, PAD, chosen)
            tokens = ops.slice_update(tokens, (0, position + 1), chosen[:, None])
            return (position + 1, tokens, ops.logical_or(done, chosen == EOS), *cache)

        tokens = ops.concatenate(
            [ops.full((batch, 1), BOS, "int32"), ops.full((batch, self.length), PAD, "int32")],
            axis=1,
        )
        # Empty rows only fill a batch up; they count as finished from the start.
        done = ops.all(ops.equal(source[:, :1], PAD), axis=1)
        cache = self.transformer.empty_cache(batch, self.length)
        state = (ops.convert_to_tensor(0, "int32"), tokens, done, *cache)
        return ops.while_loop(unfinished, advance, state)[1][:, 1:]


def until_eos(row: Sequence[int]) -> list[int]:
    """The tokens before the first EOS (or PAD)."""
    out: list[int] = []
    for token in row:
        if token in (EOS, PAD):
            break
        out.append(int(token))
    return out


def greedy_ids(
    transformer: Transformer,
    source: Sequence[Sequence[int]],
    *,
    tokens: int,
    widths: Sequence[int],
    expansion: float = 1.5,
) -> list[list[int]]:
    """Translate subword ids greedily, in buckets of like length; the order is kept.

    Args:
        transformer: the model.
        source: subword ids without EOS; longer than the widest bucket are cut to fit it.
        tokens: padded source positions a batch.
        widths: bucket widths.
        expansion: a translation may be this many times the bucket's width, plus five tokens.
    """
    room = widths[-1] - 1
    closed = [[*row[:room], EOS] for row in source]
    bucket = bucket_of(np.asarray([len(row) for row in closed], int), widths)
    out: list[list[int]] = [[] for _ in source]
    for index, width in enumerate(widths):
        members = np.flatnonzero(bucket == index)
        rows = max(1, tokens // width)
        limit = transformer.settings["max_length"]
        search = GreedySearch(transformer, min(int(expansion * width) + 5, limit))
        for start in range(0, len(members), rows):
            part = members[start : start + rows]
            ids = search.predict_on_batch(pad([closed[i] for i in part], width, rows))
            for i, row in zip(part, np.asarray(ids), strict=False):
                out[i] = until_eos(row)
    return out


def translate(
    transformer: Transformer,
    subwords: Subwords,
    sentences: Sequence[str],
    *,
    tokens: int = 4096,
    widths: Sequence[int] = (16, 32, 64),
) -> list[str]:
    """Plain sentences -> plain greedy translations."""
    ids = greedy_ids(transformer, subwords.encode(sentences), tokens=tokens, widths=widths)
    return subwords.decode(ids)
