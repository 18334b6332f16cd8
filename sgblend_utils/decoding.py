"""From a trained Transformer to translations: greedy and beam search, with cached keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.datasets.text import BOS, EOS, PAD, UNK, Subwords, bucket_of, pad
from sgblend_utils.errors import UserError
from sgblend_utils.models.transformer import Transformer

NEVER = -1e9  # a log-probability that no hypothesis reaches


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


def length_norm(length: Any, penalty: float) -> Any:
    """What a hypothesis's log-probability is divided by (Wu et al. 2016, eq. 14)."""
    return ((5.0 + ops.cast(length, "float32")) / 6.0) ** penalty


class BeamSearch(keras.Model):
    """Source ids (B, S) -> the best of `beam` hypotheses kept side by side: ids (B, length).

    At every position the `beam` most probable open hypotheses are kept and, apart from them, the
    `beam` best closed ones by log-probability over `length_norm`.  A sentence is done when no open
    hypothesis can overtake its worst closed one.  If none closed, the best open one is returned.
    """

    def __init__(
        self,
        transformer: Transformer,
        length: int,
        beam: int = 4,
        length_penalty: float = 1.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if beam < 1:
            raise UserError(f"The beam is {beam}; give a whole number from 1 on.")
        self.transformer, self.length = transformer, length
        self.beam, self.length_penalty = beam, length_penalty

    def build(self, input_shape: Any = None) -> None:
        """Nothing of its own to create."""
        self.built = True

    def search(self, source: Any) -> tuple[Any, Any]:
        """(B, S) -> closed hypotheses (B, beam, length), best first, and their scores (B, beam)."""
        batch, beam, length = ops.shape(source)[0], self.beam, self.length
        vocabulary = self.transformer.settings["vocabulary"]
        memory, memory_bias = self.transformer.encode(source)
        memory = [tuple(ops.repeat(part, beam, axis=0) for part in pair) for pair in memory]
        memory_bias = ops.repeat(memory_bias, beam, axis=0)
        empty = ops.all(ops.equal(source[:, :1], PAD), axis=1)
        most = length_norm(length, self.length_penalty)

        def pick(values: Any, index: Any) -> Any:
            """values (B, N, ...), index (B, K) -> (B, K, ...)."""
            extra = len(values.shape) - 2
            index = ops.reshape(index, (*index.shape[:2], *[1] * extra)) if extra else index
            return ops.take_along_axis(values, index, axis=1)

        def unfinished(position: Any, tokens: Any, score: Any, _: Any, best: Any, *__: Any) -> Any:
            hopeless = score[:, 0] / most <= best[:, -1]
            settled = ops.all(ops.logical_or(hopeless, empty))
            return ops.logical_and(position < length, ops.logical_not(settled))

        def advance(
            position: Any, tokens: Any, score: Any, closed: Any, best: Any, *cache: Any
        ) -> tuple[Any, ...]:
            last = ops.slice(tokens, (0, 0, position), (batch, beam, 1))
            last = ops.reshape(last, (batch * beam,))
            logits, cache = self.transformer.step(last, position, cache, memory, memory_bias)
            log_p = ops.reshape(ops.log_softmax(logits, axis=-1), (batch, beam, vocabulary))
            candidates = ops.reshape(score[:, :, None] + log_p, (batch, beam * vocabulary))
            # Twice the beam: at most `beam` of these end, so at least `beam` stay open.
            top, flat = ops.top_k(candidates, 2 * beam)
            flat = ops.cast(flat, "int32")
            parent, token = flat // vocabulary, flat % vocabulary
            grown = ops.slice_update(
                pick(tokens, parent), (0, 0, position + 1), ops.cast(token, "int32")[:, :, None]
            )
            possible = top > NEVER / 2
            ends = ops.logical_and(possible, ops.equal(token, EOS))
            final = ops.where(ends, top / length_norm(position + 1, self.length_penalty), NEVER)
            best, index = ops.top_k(ops.concatenate([best, final], axis=1), beam)
            closed = pick(ops.concatenate([closed, grown], axis=1), ops.cast(index, "int32"))
            stays = ops.logical_and(possible, ops.logical_not(ends))
            score, index = ops.top_k(ops.where(stays, top, NEVER), beam)
            index = ops.cast(index, "int32")
            rows = ops.arange(batch, dtype="int32")[:, None] * beam + pick(parent, index)
            rows = ops.reshape(rows, (batch * beam,))
            cache = tuple(ops.take(part, rows, axis=1) for part in cache)
            return (position + 1, pick(grown, index), score, closed, best, *cache)

        tokens = ops.concatenate(
            [
                ops.full((batch, beam, 1), BOS, "int32"),
                ops.full((batch, beam, length), PAD, "int32"),
            ],
            axis=2,
        )
        # All beams start alike: only the first counts, or the same hypothesis would fill them.
        score = ops.where(ops.arange(beam)[None, :] == 0, 0.0, NEVER) + ops.zeros((batch, beam))
        best = ops.full((batch, beam), 10 * NEVER)
        cache = self.transformer.empty_cache(batch * beam, length)
        state = (ops.convert_to_tensor(0, "int32"), tokens, score, tokens, best, *cache)
        _, tokens, score, closed, best, *_ = ops.while_loop(unfinished, advance, state)
        # Where nothing closed within the length, the open hypotheses stand in.
        none = best[:, :1] <= NEVER
        closed = ops.where(none[:, :, None], tokens, closed)
        return closed[:, :, 1:], ops.where(none, score / most, best)

    def call(self, source: Any) -> Any:
        """(B, S) -> (B, length): tokens after BOS; PAD after EOS."""
        return self.search(source)[0][:, 0]


def until_eos(row: Sequence[int]) -> list[int]:
    """The tokens before the first EOS (or PAD)."""
    out: list[int] = []
    for token in row:
        if token in (EOS, PAD):
            break
        out.append(int(token))
    return out


def translate_ids(
    transformer: Transformer,
    source: Sequence[Sequence[int]],
    *,
    tokens: int,
    widths: Sequence[int],
    beam: int = 1,
    length_penalty: float = 1.0,
    expansion: float = 1.5,
) -> list[list[int]]:
    """Translate subword ids, in buckets of like length; the order is kept.

    Args:
        transformer: the model.
        source: subword ids without EOS; longer than the widest bucket are cut to fit it.
        tokens: padded source positions a batch, over all hypotheses.
        widths: bucket widths.
        beam: hypotheses kept; 1 searches greedily.
        length_penalty: see `length_norm`; of no effect on greedy search.
        expansion: a translation may be this many times the bucket's width, plus five tokens.
    """
    room = widths[-1] - 1
    closed = [[*row[:room], EOS] for row in source]
    bucket = bucket_of(np.asarray([len(row) for row in closed], int), widths)
    out: list[list[int]] = [[] for _ in source]
    for index, width in enumerate(widths):
        members = np.flatnonzero(bucket == index)
        rows = max(1, tokens // (width * beam))
        length = min(int(expansion * width) + 5, transformer.settings["max_length"])
        search = (
            GreedySearch(transformer, length)
            if beam == 1
            else BeamSearch(transformer, length, beam, length_penalty)
        )
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
    widths: Sequence[int] = (16, 32, 64, 128),
    beam: int = 4,
    length_penalty: float = 1.0,
) -> list[str]:
    """Plain sentences -> plain translations; an empty sentence stays empty.

    Raises:
        UserError: a sentence has more subwords than the widest bucket, or none that is known.
    """
    ids = subwords.encode(sentences)
    space = subwords.processor.piece_to_id("▁")  # stands before a word of unknown characters
    for sentence, row in zip(sentences, ids, strict=True):
        if row and not set(row) - {UNK, space}:
            raise UserError(
                f"Nothing in {sentence[:40]!r} occurred in the training text of this model: "
                "give it a sentence in English."
            )
        if len(row) >= widths[-1]:
            raise UserError(
                f"The sentence that begins {sentence[:40]!r} has {len(row)} subwords, and at most "
                f"{widths[-1] - 1} can be translated at once: split it into sentences."
            )
    spoken = [i for i, row in enumerate(ids) if row]
    out = translate_ids(
        transformer,
        [ids[i] for i in spoken],
        tokens=tokens,
        widths=widths,
        beam=beam,
        length_penalty=length_penalty,
    )
    texts = [""] * len(ids)
    for i, text in zip(spoken, subwords.decode(out), strict=True):
        texts[i] = text
    return texts
