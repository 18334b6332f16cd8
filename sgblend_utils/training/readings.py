"""What can be read off one trained translation model: as the paper reports it, and soundly.

Most flaws of the published evaluation need no training to be mended.  So every run of the published
protocol stores all readings of the same model, and their differences are the readings' alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu

from sgblend_utils.datasets.text import BOS, EOS, PAD, UNK, Subwords
from sgblend_utils.datasets.words import END, Framed, FramedBatches, Words, filled, split
from sgblend_utils.decoding import until_eos
from sgblend_utils.metrics import translation_scores
from sgblend_utils.models.published import PublishedTransformer
from sgblend_utils.probes import PUBLISHED_THRESHOLD, dead_units, recorded_inputs

PUBLISHED_SENTENCES = 100  # that the published BLEU is computed of
PUBLISHED_ROWS = 100  # training rows that the published probe of dead units looks at
PROBED_ROWS = 1000  # validation rows that ours looks at
FORCED_BATCH = 32  # whole rows of logits at once


class TeacherForced(keras.Model):
    """(source, target, labels) -> most probable words (B, T) and −log p of the labels (B, T)."""

    def __init__(self, transformer: PublishedTransformer, **kwargs: Any):
        super().__init__(**kwargs)
        self.transformer = transformer

    def build(self, input_shape: Any = None) -> None:
        """Nothing of its own to create."""
        self.built = True

    def call(self, inputs: dict[str, Any]) -> tuple[Any, Any]:
        """Every target word is predicted with the gold words before it (or all of them) given."""
        logits = self.transformer({name: inputs[name] for name in ("source", "target")})
        log_p = ops.take_along_axis(logits, inputs["labels"][..., None], axis=-1)[..., 0]
        nll = ops.logsumexp(logits, axis=-1) - log_p
        return ops.cast(ops.argmax(logits, axis=-1), "int32"), nll


class PrefixSearch(keras.Model):
    """Source ids (B, S) -> greedy words (B, length − 1), one by one from `<start>`, no gold words.

    The whole decoder runs again for each word, on the prefix alone: without a causal mask nothing
    can be kept.  A prediction of padding ends the sentence as `<end>` does.
    """

    def __init__(self, transformer: PublishedTransformer, **kwargs: Any):
        super().__init__(**kwargs)
        self.transformer = transformer

    def build(self, input_shape: Any = None) -> None:
        """Nothing of its own to create."""
        self.built = True

    def call(self, source: Any) -> Any:
        """Words after `<start>`; padding after `<end>`."""
        model = self.transformer
        batch, steps = ops.shape(source)[0], model.settings["length"] - 1
        memory, mask = model.encode(source)

        def unfinished(position: Any, tokens: Any, done: Any) -> Any:
            return ops.logical_and(position < steps, ops.logical_not(ops.all(done)))

        def advance(position: Any, tokens: Any, done: Any) -> tuple[Any, ...]:
            states = model.decode(tokens[:, :-1], memory, mask, visible=position + 1)
            width = states.shape[-1]
            last = ops.slice(states, (0, position, 0), (batch, 1, width))[:, 0]
            chosen = ops.cast(ops.argmax(model.output_layer(last), axis=-1), "int32")
            chosen = ops.where(done, PAD, chosen)
            tokens = ops.slice_update(tokens, (0, position + 1), chosen[:, None])
            ends = ops.logical_or(chosen == EOS, chosen == PAD)
            return position + 1, tokens, ops.logical_or(done, ends)

        first = [ops.full((batch, 1), BOS, "int32"), ops.full((batch, steps), PAD, "int32")]
        done = ops.all(ops.equal(source, PAD), axis=1)  # rows that only fill a batch
        state = (ops.convert_to_tensor(0, "int32"), ops.concatenate(first, axis=1), done)
        return ops.while_loop(unfinished, advance, state)[1][:, 1:]


def teacher_forced(model: PublishedTransformer, rows: Framed) -> tuple[np.ndarray, np.ndarray]:
    """Arg-max words (rows, T) and −log p of the labels (rows, T), gold words given."""
    forced = TeacherForced(model)
    parts = []
    for start in range(0, len(rows), FORCED_BATCH):
        part = rows.where(slice(start, start + FORCED_BATCH))
        inputs = {**part.inputs(), "labels": part.labels()}
        spare = FORCED_BATCH - len(part)
        batch = {name: filled(ids, spare) for name, ids in inputs.items()}
        parts.append([np.asarray(x)[: len(part)] for x in forced.predict_on_batch(batch)])
    predicted, nll = zip(*parts, strict=True)
    return np.concatenate(predicted), np.concatenate(nll)


def translate_free(model: PublishedTransformer, source: np.ndarray) -> np.ndarray:
    """Source ids (rows, S) -> greedy words (rows, T) with `<end>`, in the given order.

    Rows of like length are decoded together, since a batch is done when its last row is.
    """
    search = PrefixSearch(model)
    order = np.argsort((source != PAD).sum(axis=1), kind="stable")
    out = np.zeros((len(source), model.settings["length"] - 1), "int32")
    for start in range(0, len(order), FORCED_BATCH):
        part = order[start : start + FORCED_BATCH]
        batch = filled(source[part], FORCED_BATCH - len(part))
        out[part] = np.asarray(search.predict_on_batch(batch))[: len(part)]
    return out


def spoken(vocabulary: Words | Subwords, rows: np.ndarray) -> list[list[str]]:
    """Ids -> lower-cased words of each row; `<end>` stays where it stands, padding vanishes."""
    out = []
    for row in rows:
        words: list[str] = []
        piece: list[int] = []
        for token in row[row != PAD]:
            if token == EOS:
                words += [*split(vocabulary.decode([piece])[0]), END]
                piece = []
            else:
                piece.append(int(token))
        out.append(words + split(vocabulary.decode([piece])[0]))
    return out


def published_bleu(outputs: Sequence[Sequence[str]], references: Sequence[str]) -> float:
    """NLTK's corpus BLEU (0-1) as published: lower case, white-space words, `<end>` a word too."""
    gold = [[[*split(text), END]] for text in references]
    smooth = SmoothingFunction().method1
    return round(float(corpus_bleu(gold, list(outputs), smoothing_function=smooth)), 5)


def token_readings(predicted: np.ndarray, nll: np.ndarray, rows: Framed) -> dict[str, float]:
    """Teacher-forced accuracy and cross-entropy, over all positions and over real words alone.

    Saying "unknown" of an unknown word is never right: with a capped vocabulary it would be the
    easiest guess of all.  `copy_accuracy_…` is what a model gets that repeats the next word of its
    own input, which is the answer; at the last position, where there is none, it says padding.
    """
    labels = rows.labels()
    real, known = labels != PAD, labels != UNK
    copied = np.pad(rows.inputs()["target"][:, 1:], ((0, 0), (0, 1)), constant_values=PAD)
    out = {"padding_share": np.mean(~real), "unknown_share": np.mean(~known[real])}
    for name, where in (("all", np.ones_like(real)), ("real", real)):
        out[f"accuracy_{name}"] = np.mean((known & (predicted == labels))[where])
        out[f"copy_accuracy_{name}"] = np.mean((known & (copied == labels))[where])
        out[f"nll_{name}"] = np.mean(nll[where], dtype="float64")
    return {name: round(float(value), 5) for name, value in out.items()}


def per_character(nll: np.ndarray, rows: Framed, vocabulary: Words | Subwords) -> float:
    """Cross-entropy in nats per character of the target text, its end counted as one.

    Of a sentence that was cut, as many characters count as its share of scored words.
    """
    real = rows.labels() != PAD
    texts = [target for _, target in rows.pairs]
    whole = np.array([len(ids) + 1 for ids in vocabulary.encode(texts)])
    share = np.minimum(1.0, real.sum(axis=1) / whole)
    characters = share @ np.array([len(text) + 1 for text in texts])
    return round(float(np.sum(nll[real], dtype="float64") / characters), 5)


def published_dead_share(model: PublishedTransformer, train: Framed) -> float:
    """Share of "dead" units by the published rule, at a place the published probe reads.

    That is the dropout after a feed-forward block (here the decoder's last), not an activation:
    over 100 training rows, padding included, the unit's largest value stays below 0.001.
    """
    place = {"dropout": (model.decoder[-1].drop, "target")}
    with recorded_inputs(place) as taps:  # in inference a dropout's input is its output
        model.states(train.where(slice(PUBLISHED_ROWS)).inputs())
    largest = taps["dropout"].max(axis=(0, 1))
    return round(float(np.mean(largest < PUBLISHED_THRESHOLD)), 6)


def read_everything(
    model: PublishedTransformer,
    splits: dict[str, Framed],
    vocabulary: Words | Subwords,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """A record's metrics.

    `reported_…` are the numbers that the paper's code would print.  `bleu`, `test_…` and
    `dead_…` mean what they mean in the sound protocol: translations without gold words, on the test
    set, words alone.  `readings` holds the steps between, for `validation` and `test`.
    """
    flaws = settings["flaws"]
    readings: dict[str, dict[str, Any]] = {}
    sizes = {"validation": PUBLISHED_SENTENCES, "test": settings["decoded_sentences"]}
    for name, sentences in sizes.items():
        rows, first = splits[name], slice(sentences)
        scored = rows if "front_truncation" in flaws else rows.where(rows.fits)
        predicted, nll = teacher_forced(model, scored)
        free = translate_free(model, rows.source[first])
        forced_words, free_words = spoken(vocabulary, predicted[first]), spoken(vocabulary, free)
        readings[name] = {
            **token_readings(predicted, nll, scored),
            "sentences": len(free),
            "forced_bleu": published_bleu(forced_words, [t for _, t in scored.pairs[first]]),
            "free_bleu": published_bleu(free_words, [t for _, t in rows.pairs[first]]),
        }
    # The names of the loop's last round: the test set.
    texts = vocabulary.decode([until_eos(row) for row in free])
    pairs = rows.pairs[first]
    batches = FramedBatches(splits["validation"].where(slice(PROBED_ROWS)), settings["batch_size"])
    real = (
        (inputs, {stream: ids != PAD for stream, ids in inputs.items()})
        for inputs, _, _ in (batches[i] for i in range(len(batches)))
    )
    counted = "all" if "padding_in_loss" in flaws else "real"
    return {
        "reported_accuracy": readings["validation"][f"accuracy_{counted}"],
        "reported_bleu": readings["validation"]["forced_bleu"],
        "reported_dead_share": published_dead_share(model, splits["train"]),
        **translation_scores(texts, [target for _, target in pairs]),
        "decoded_sentences": len(texts),
        "test_nll": readings["test"]["nll_real"],
        "test_nll_per_character": per_character(nll, scored, vocabulary),
        "test_accuracy": readings["test"]["accuracy_real"],
        **dead_units(model.states, real, model.activation_sites()),
        "readings": readings,
        "examples": [
            {"source": source, "reference": target, "output": text}
            for (source, target), text in zip(pairs[:5], texts, strict=False)
        ],
    }
