"""From a trained Transformer to translations: greedy and beam search, with cached keys."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.data.text import BOS, EOS, PAD, UNK, Subwords, pad
from sgblend_utils.errors import UserError
from sgblend_utils.models.transformer import Transformer

NEVER = -1e9  # a log-probability that no hypothesis reaches
GROUP = 40  # numbers of which `largest` takes a maximum
EXPANSION, EXTRA = 1.5, 5  # a translation may be that many times its bucket, and so many more


class Search(keras.Model):
    """Base: a model only so that `predict_on_batch` compiles the whole loop on every backend."""

    def __init__(self, transformer: Transformer, length: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.transformer, self.length = transformer, length
        for layer in self._flatten_layers():
            # The transformer is built.  JAX would compile each operation of a first call by itself.
            layer.built = True


def search_model(transformer: Transformer, kind: type[Search], *arguments: Any) -> Any:
    """`kind(transformer, *arguments)`, made once, since what is made anew compiles anew."""
    # Among the transformer's attributes, to be freed with it; Keras does not save such names.
    made = transformer.__dict__.setdefault("__searches__", {})
    key = (kind, *arguments)
    if key not in made:
        made[key] = kind(transformer, *arguments)
    return made[key]


def columns_of(transformer: Transformer) -> Any:
    """The softmax layer's kernel (width, vocabulary).

    As a variable of the loop it is laid out once; from what is transposed within the loop XLA makes
    a product that takes twice as long on a CPU.
    """
    return ops.transpose(ops.cast(transformer.output_matrix()[0], transformer.compute_dtype))


def most_probable(logits: Any) -> Any:
    """Arg-max (B, V) -> (B,): of a maximum and a minimum, which XLA vectorises on a CPU."""
    vocabulary = logits.shape[-1]
    equal = logits >= ops.max(logits, axis=-1, keepdims=True)
    return ops.min(ops.where(equal, ops.arange(vocabulary, dtype="int32"), vocabulary), axis=-1)


def largest(values: Any, count: int) -> tuple[Any, Any]:
    """`ops.top_k` of (B, N): first among the maxima of groups, since XLA sorts what it is given."""
    if values.shape[-1] % GROUP or values.shape[-1] < 2 * GROUP * count:
        return ops.top_k(values, count)
    groups = ops.reshape(values, (-1, values.shape[-1] // GROUP, GROUP))
    _, group = ops.top_k(ops.max(groups, axis=-1), count)
    members = ops.take_along_axis(groups, group[:, :, None], axis=1)
    best, place = ops.top_k(ops.reshape(members, (-1, count * GROUP)), count)
    return best, ops.take_along_axis(group, place // GROUP, axis=1) * GROUP + place % GROUP


class GreedySearch(Search):
    """Source ids (B, S) -> the most probable next token, over and over, until EOS: ids (B, length).

    Padding ends a sentence as EOS does.  Without a causal mask no key can be kept: the whole
    decoder runs again for each token, on the prefix alone.
    """

    def call(self, source: Any) -> Any:
        model, batch = self.transformer, ops.shape(source)[0]
        causal = "no_causal_mask" not in model.switches
        memory, memory_bias = model.encode(source)

        def unfinished(position, tokens, done, columns, *cache):
            return ops.logical_and(position < self.length, ops.logical_not(ops.all(done)))

        def advance(position, tokens, done, columns, *cache):
            if causal:
                last = ops.squeeze(ops.slice(tokens, (0, position), (batch, 1)), axis=1)
                logits, cache = model.step(last, position, cache, memory, memory_bias, columns)
            else:
                hidden = model.decode(tokens[:, :-1], memory, memory_bias, visible=position + 1)
                shape = (batch, 1, hidden.shape[-1])
                logits = model.project(ops.slice(hidden, (0, position, 0), shape)[:, 0])
            chosen = ops.where(done, PAD, most_probable(logits))
            tokens = ops.slice_update(tokens, (0, position + 1), chosen[:, None])
            ends = ops.logical_or(ops.equal(chosen, EOS), ops.equal(chosen, PAD))
            return (position + 1, tokens, ops.logical_or(done, ends), columns, *cache)

        tokens = ops.pad(ops.full((batch, 1), BOS, "int32"), ((0, 0), (0, self.length)))  # PAD is 0
        # Empty rows only fill a batch up; they count as finished from the start.
        done = ops.all(ops.equal(source[:, :1], PAD), axis=1)
        cache = model.empty_cache(batch, self.length) if causal else ()
        state = (ops.convert_to_tensor(0, "int32"), tokens, done, columns_of(model), *cache)
        return ops.while_loop(unfinished, advance, state)[1][:, 1:]


def length_norm(length: Any, penalty: float) -> Any:
    """What a log-probability is divided by (Wu et al. 2016, eq. 14)."""
    return ((5.0 + ops.cast(length, "float32")) / 6.0) ** penalty


class BeamSearch(Search):
    """Source ids (B, S) -> the best of `beam` hypotheses kept side by side: ids (B, length).

    The `beam` most probable open hypotheses are kept and, apart from them, the `beam` best closed
    ones by log-probability over `length_norm`.  A sentence is done when no open one can overtake
    its worst closed one.  If none closed, the best open one is returned.
    """

    def __init__(self, transformer, length, beam=4, length_penalty=1.0, **kwargs):
        super().__init__(transformer, length, **kwargs)
        if beam < 1:
            raise UserError(f"The beam is {beam}; give a whole number from 1 on.")
        if "no_causal_mask" in transformer.switches:
            raise UserError("Without a causal mask there is only greedy search: set beam to 1.")
        self.beam, self.length_penalty = beam, length_penalty

    def search(self, source: Any) -> tuple[Any, Any]:
        """(B, S) -> closed hypotheses (B, beam, length), best first, and their scores (B, beam)."""
        batch, beam, length = ops.shape(source)[0], self.beam, self.length
        memory, memory_bias = self.transformer.encode(source)
        memory = [tuple(ops.repeat(part, beam, axis=0) for part in pair) for pair in memory]
        if memory_bias is not None:
            memory_bias = ops.repeat(memory_bias, beam, axis=0)
        empty = ops.all(ops.equal(source[:, :1], PAD), axis=1)
        most = length_norm(length, self.length_penalty)

        def pick(values: Any, index: Any) -> Any:
            """values (B, N, ...), index (B, K) -> (B, K, ...)."""
            extra = len(values.shape) - 2
            index = ops.reshape(ops.cast(index, "int32"), (*ops.shape(index)[:2], *[1] * extra))
            return ops.take_along_axis(values, index, axis=1)

        def unfinished(position, tokens, score, closed, best, columns, *cache):
            hopeless = score[:, 0] / most <= best[:, -1]
            settled = ops.all(ops.logical_or(hopeless, empty))
            return ops.logical_and(position < length, ops.logical_not(settled))

        def advance(position, tokens, score, closed, best, columns, *cache):
            last = ops.slice(tokens, (0, 0, position), (batch, beam, 1))
            last = ops.reshape(last, (batch * beam,))
            given = (memory, memory_bias, columns)
            logits, cache = self.transformer.step(last, position, cache, *given)
            vocabulary = logits.shape[-1]
            log_p = ops.reshape(ops.log_softmax(logits, axis=-1), (batch, beam, vocabulary))
            candidates = ops.reshape(score[:, :, None] + log_p, (batch, beam * vocabulary))
            # Twice the beam: at most `beam` of these end, so at least `beam` stay open.
            top, flat = largest(candidates, 2 * beam)
            flat = ops.cast(flat, "int32")
            parent, token = flat // vocabulary, flat % vocabulary
            grown = ops.slice_update(pick(tokens, parent), (0, 0, position + 1), token[:, :, None])
            possible = top > NEVER / 2
            ends = ops.logical_and(possible, ops.equal(token, EOS))
            final = ops.where(ends, top / length_norm(position + 1, self.length_penalty), NEVER)
            best, index = ops.top_k(ops.concatenate([best, final], axis=1), beam)
            closed = pick(ops.concatenate([closed, grown], axis=1), index)
            stays = ops.logical_and(possible, ops.logical_not(ends))
            score, index = ops.top_k(ops.where(stays, top, NEVER), beam)
            rows = ops.arange(batch, dtype="int32")[:, None] * beam + pick(parent, index)
            rows = ops.reshape(rows, (batch * beam,))
            cache = [ops.take(part, rows, axis=0) for part in cache]
            return (position + 1, pick(grown, index), score, closed, best, columns, *cache)

        tokens = ops.pad(ops.full((batch, beam, 1), BOS, "int32"), ((0, 0), (0, 0), (0, length)))
        # All beams start alike: only the first counts, or the same hypothesis would fill them.
        score = ops.where(ops.arange(beam)[None, :] == 0, 0.0, NEVER) + ops.zeros((batch, beam))
        best = ops.full((batch, beam), 10 * NEVER)
        cache = self.transformer.empty_cache(batch * beam, length)
        columns = columns_of(self.transformer)
        state = (ops.convert_to_tensor(0, "int32"), tokens, score, tokens, best, columns, *cache)
        _, tokens, score, closed, best, *_ = ops.while_loop(unfinished, advance, state)
        # Where nothing closed within the length, the open hypotheses stand in.
        none = best[:, :1] <= NEVER
        closed = ops.where(none[:, :, None], tokens, closed)
        return closed[:, :, 1:], ops.where(none, score / most, best)

    def call(self, source: Any) -> Any:
        return self.search(source)[0][:, 0]


def translate_ids(
    transformer: Transformer,
    source: Sequence[Sequence[int]],
    *,
    tokens_per_batch: int,
    bucket_boundaries: Sequence[int],
    beam: int = 1,
    length_penalty: float = 1.0,
) -> list[list[int]]:
    """Translate rows of ids, closed by EOS; the order is kept.

    Rows are padded to the next of the increasing `bucket_boundaries`; too long ones are cut before
    EOS.  `tokens_per_batch` counts padded source positions over all hypotheses.  A beam of 1
    searches greedily, without the length penalty of `length_norm`.
    """
    longest = bucket_boundaries[-1]
    rows = [row if len(row) <= longest else [*row[: longest - 1], row[-1]] for row in source]
    bucket = np.searchsorted(bucket_boundaries, [len(row) for row in rows])
    # Where positions are learned, training has not seen the last one: targets are shifted.
    limit = transformer.settings["max_length"] - ("learned_positions" in transformer.switches)
    out: list[list[int]] = [[] for _ in rows]
    for index, width in enumerate(bucket_boundaries):
        # By length, so that the sentences of a batch end at about the same time.
        members = np.flatnonzero(bucket == index)
        members = members[np.argsort([len(rows[i]) for i in members], kind="stable")]
        height = max(1, tokens_per_batch // (width * beam))
        length = min(int(EXPANSION * width) + EXTRA, limit)
        kind = (GreedySearch, length) if beam == 1 else (BeamSearch, length, beam, length_penalty)
        for start in range(0, len(members), height):
            part = members[start : start + height]
            padded = pad([rows[i] for i in part], width, height)
            ids = search_model(transformer, *kind).predict_on_batch(padded)
            for i, row in zip(part, np.asarray(ids), strict=False):
                out[i] = [int(t) for t in itertools.takewhile(lambda t: t not in (EOS, PAD), row)]
    return out


def translate(
    transformer: Transformer, tokenizer: Subwords, sentences: Sequence[str], **options: Any
) -> list[str]:
    """Plain sentences -> plain translations; an empty sentence stays empty.

    Searches with a beam of 4 and a length penalty of 1; `options` are those of `translate_ids`.  A
    UserError names a sentence that is too long for the last bucket or has no known subword.
    """
    options = {"tokens_per_batch": 4096, "beam": 4, **options}
    boundaries = options.setdefault("bucket_boundaries", (16, 32, 64, 128))
    ids, longest = tokenizer.encode(sentences), boundaries[-1] - 1
    space = tokenizer.processor.piece_to_id("▁")  # stands before a word of unknown characters
    for sentence, row in zip(sentences, ids, strict=True):
        if row and not set(row) - {UNK, space}:
            unknown = f"Nothing in {sentence[:40]!r} occurred in the training text of this model"
            raise UserError(f"{unknown}: give it a sentence in English.")
        if len(row) > longest:
            begins = f"The sentence that begins {sentence[:40]!r} has {len(row)} subwords"
            raise UserError(f"{begins}, and at most {longest} can be translated: split it.")
    filled = [i for i, row in enumerate(ids) if row]
    closed = [[*ids[i], EOS] for i in filled]
    out = translate_ids(transformer, closed, **options)
    texts = dict(zip(filled, tokenizer.decode(out), strict=True))
    return [texts.get(i, "") for i in range(len(ids))]


class TeacherForced(Search):
    """`source`, `target`, `labels` -> most probable tokens (B, T) and −log p of labels (B, T)."""

    def call(self, inputs: dict[str, Any]) -> tuple[Any, Any]:
        logits = self.transformer({name: inputs[name] for name in ("source", "target")})
        log_p = ops.take_along_axis(logits, inputs["labels"][..., None], axis=-1)[..., 0]
        nll = ops.logsumexp(logits, axis=-1) - log_p
        return ops.cast(ops.argmax(logits, axis=-1), "int32"), nll


def teacher_forced(transformer: Transformer, source: Any, target: Any) -> tuple[Any, Any]:
    """Of padded rows (N, S) and (N, T): arg-max tokens and −log p of the labels, (N, T - 1) each.

    Targets are opened by BOS; every token is predicted from the gold ones before it.
    """
    inputs = {"source": source, "target": target[:, :-1], "labels": target[:, 1:]}
    return search_model(transformer, TeacherForced).predict(inputs, verbose=0)
