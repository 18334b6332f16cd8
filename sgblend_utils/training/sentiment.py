"""Sentiment in both protocols: data, model, `fit`, one evaluation on the test set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.configs import RunConfig
from sgblend_utils.datasets import reviews as data_room
from sgblend_utils.datasets.reviews import (
    Encoded,
    ReviewBatches,
    Reviews,
    encode_reviews,
    plain_text,
    published_text,
    real_positions,
)
from sgblend_utils.datasets.text import Subwords
from sgblend_utils.datasets.words import Words
from sgblend_utils.errors import UserError
from sgblend_utils.metrics import binary_scores
from sgblend_utils.models.sentiment import PublishedSentiment, SentimentEncoder
from sgblend_utils.probes import PUBLISHED_THRESHOLD, ParameterTrajectory, dead_units
from sgblend_utils.training.common import (
    SPLITS,
    EpochLog,
    Patience,
    Trained,
    data_digest,
    make_record,
)
from sgblend_utils.training.resume import Resume
from sgblend_utils.training.sharded import SUBWORDS_FILE
from sgblend_utils.training.translation import make_optimizer

PROBED_ROWS = 1000  # validation reviews that the probe of dead units looks at
PUBLISHED_ROWS = 100  # training rows that the published probe looks at
SIZES = ("length", "d_model", "num_heads", "ff_dim", "num_layers", "dropout")


@dataclass(frozen=True)
class SentimentData:
    """The splits as ids, the vocabulary, and what a record says about them."""

    splits: dict[str, Encoded]
    vocabulary: Subwords | Words
    described: dict[str, Any]


def load_splits(config: RunConfig) -> tuple[dict[str, Reviews], dict[str, int]]:
    """The texts of a run by split, and what was left out of training.

    With `repeated_reviews` nothing is left out.  With `early_stopping_on_reported_split` the small
    encoder's training watches the test set, so no reviews are held out for validation.
    """
    settings, flaws = config.settings, config.settings.get("flaws", ())
    left_out: dict[str, int] = {}
    if config.preset == "mini":
        splits = data_room.mini_reviews()
    elif "repeated_reviews" in flaws:
        train, validation = data_room.hold_out(
            data_room.read_imdb("train"), data_room.VALIDATION_SHARE
        )
        splits = {"train": train, "validation": validation, "test": data_room.read_imdb("test")}
    else:
        splits, left_out = data_room.imdb_splits()
    train = splits["train"]
    if watched_split(settings) == "test":
        held = splits["validation"]
        labels = np.concatenate([train.labels, held.labels])
        train = Reviews(train.texts + held.texts, labels)
    wanted = settings["max_samples"] or len(train)
    if wanted > len(train):
        raise UserError(
            f"max_samples is {wanted} but there are {len(train)} training reviews; "
            f"ask for at most {len(train)}."
        )
    return {**splits, "train": train.where(range(wanted))}, left_out


def watched_split(settings: dict[str, Any]) -> str:
    """The split that training looks at after each epoch: `validation` but for a flaw."""
    stops = "early_stopping_on_reported_split" in settings.get("flaws", ())
    return "test" if stops and reported_split(settings) == "test" else "validation"


def reported_split(settings: dict[str, Any]) -> str:
    """The split whose accuracy the protocol reports."""
    flawed = "validation_reported" in settings.get("flaws", ()) and settings["model"] == "bert"
    return "validation" if flawed else "test"


def load_sentiment(config: RunConfig) -> SentimentData:
    """Splits and vocabulary of a run as its flaws, if any, would have them."""
    settings, flaws = config.settings, config.settings.get("flaws", ())
    splits, left_out = load_splits(config)
    bert = settings["model"] == "bert"
    words = "word_tokens" in flaws
    mark = "[CLS]" if bert and "cls_is_a_word" in flaws else ""

    def readable(text: str) -> str:
        return published_text(text, mark) if words else f"{mark} {plain_text(text)}".strip()

    splits = {
        name: Reviews([readable(text) for text in rows.texts], rows.labels)
        for name, rows in splits.items()
    }
    # The published tokenizer has counted the words of the split that is reported.
    counted = ["train", *(SPLITS[1:] if "tokenizer_fitted_on_test" in flaws else [])]
    texts = [text for name in counted for text in splits[name].texts]
    vocabulary: Subwords | Words
    if words:
        vocabulary = Words.fit(texts, settings["vocabulary"])
    elif settings["vocabulary"] is None:
        raise UserError("Subwords need a number: set vocabulary, for example to 8000.")
    else:
        sample = np.random.default_rng(0).permutation(len(texts))[: settings["subword_reviews"]]
        vocabulary = Subwords.train((texts[i] for i in sample), settings["vocabulary"])
    cut = {"cls": bert and not mark, "front": "front_truncation" in flaws}
    encoded = {
        name: encode_reviews(rows, vocabulary, settings["length"], **cut)
        for name, rows in splits.items()
    }
    described = {"digest": data_digest(config.task, config.preset), "vocabulary": len(vocabulary)}
    for name, rows in encoded.items():
        described |= {f"{name}_reviews": len(rows), f"{name}_reviews_cut": rows.cut}
    return SentimentData(encoded, vocabulary, described | left_out)


def make_encoder(config: RunConfig, vocabulary: int) -> SentimentEncoder:
    """The built model of a run."""
    settings = config.settings
    options = {name: settings[name] for name in SIZES}
    options |= {"kind": settings["model"], "activation": config.activation, "seed": config.seed}
    if config.protocol == "published":
        model = PublishedSentiment(vocabulary, flaws=settings["flaws"], **options)
    else:
        model = SentimentEncoder(vocabulary, **options)
    model.build()
    return model


def make_batches(rows: Encoded, settings: dict[str, Any], seed: int | None = None) -> ReviewBatches:
    """Bucketed batches, or batches of one shape and a number of reviews as published."""
    length = settings["length"]
    if "batch_size" in settings:
        shape = {"tokens": settings["batch_size"] * length, "widths": [length]}
    else:
        count = settings["buckets"]
        widths = [length * i // count for i in range(1, count + 1)]
        shape = {"tokens": settings["tokens"], "widths": widths}
    return ReviewBatches(rows, seed=seed, **shape)


def compile_encoder(model: SentimentEncoder, settings: dict[str, Any], steps: int) -> None:
    """Loss per review, nothing of it from rows that only fill a batch."""
    smoothing = settings.get("label_smoothing", 0.0)
    optimizer = (
        keras.optimizers.Adam(settings["learning_rate"])
        if "patience" in settings
        else make_optimizer(settings, steps, model)
    )
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.BinaryCrossentropy(
            from_logits=True, label_smoothing=smoothing, reduction="mean_with_sample_weight"
        ),
        weighted_metrics=[
            keras.metrics.BinaryCrossentropy(name="nll", from_logits=True),
            keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
        ],
        jit_compile=keras.backend.backend() != "torch",
    )


class BestEpoch(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the lowest validation cross-entropy.

    `sums` and `taken`, the weights and their epoch, have names under which `Resume` keeps them.
    """

    def __init__(self, rows: list[dict[str, Any]]):
        super().__init__()
        self.rows = rows
        self.sums: list[np.ndarray] | None = None
        self.taken = 0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Take the weights if no epoch before was as good; comes after the log in the list."""
        if self.rows[-1]["val_nll"] < min([row["val_nll"] for row in self.rows[:-1]] or [np.inf]):
            self.sums = [ops.convert_to_numpy(v) for v in self.model.trainable_variables]
            self.taken = epoch + 1

    def adopt(self, model: keras.Model) -> None:
        """Give a model the kept weights."""
        for variable, value in zip(model.trainable_variables, self.sums or [], strict=True):
            variable.assign(value)


def train_sentiment(
    config: RunConfig, verbose: bool = False, keep: Path | None = None, devices: int = 1
) -> Trained:
    """Train one encoder and evaluate it once (see `training.train`).

    The weights are those of the epoch with the lowest validation cross-entropy.  Only with
    `early_stopping_on_reported_split` they are the last, as Keras's early stopping leaves them.
    """
    if devices > 1:
        raise UserError("The sentiment tasks train on one device: leave --devices out.")
    started = time.perf_counter()
    settings, flaws = config.settings, config.settings.get("flaws", ())
    keras.utils.set_random_seed(config.seed)
    data = load_sentiment(config)
    train = make_batches(data.splits["train"], settings, config.seed)
    watched = make_batches(data.splits[watched_split(settings)], settings)
    model = make_encoder(config, len(data.vocabulary))
    compile_encoder(model, settings, settings["epochs"] * len(train))

    log, trajectory = EpochLog(), ParameterTrajectory(model.activation_sites())
    best = BestEpoch(log.rows)
    callbacks: list[keras.callbacks.Callback] = [log, trajectory, best]
    rows = {"history": log.rows, "trajectory": trajectory.values}
    resume = Resume(keep, rows=rows, average=best, started=started)
    stops = "early_stopping_on_reported_split" in flaws
    callbacks += [Patience(log.rows, settings["patience"])] if stops else []
    epochs = settings["epochs"]
    resume.fit(model, train, watched, epochs=epochs, callbacks=callbacks, verbose=verbose)
    if not stops:
        best.adopt(model)
    record = make_record(
        config,
        started=resume.began,
        data=data.described,
        log=log,
        metrics={"best_epoch": len(log.rows) if stops else best.taken}
        | evaluate_sentiment(model, data, settings),
        activation_parameters=trajectory.values,
        parameters=model.count_params(),
        resumed=resume.parts,
    )
    files = {}
    if isinstance(data.vocabulary, Subwords):
        files = {SUBWORDS_FILE: data.vocabulary.model}
    return Trained(model, record, files)


def positive_probability(model: SentimentEncoder, batches: ReviewBatches) -> np.ndarray:
    """(N,) probabilities of a positive review, in the order of the data."""
    logits = np.zeros(len(batches.reviews), "float64")
    for index, (_, members) in enumerate(batches.batches):
        predicted = np.asarray(model.predict_on_batch(batches[index][0]))
        logits[members] = predicted[: len(members), 0]
    return 1.0 / (1.0 + np.exp(-logits))


def first_rows(rows: Encoded, count: int) -> Encoded:
    """The first reviews of a split; splits are in random order."""
    return Encoded(rows.rows[:count], rows.labels[:count])


def evaluate_sentiment(
    model: SentimentEncoder, data: SentimentData, settings: dict[str, Any]
) -> dict[str, Any]:
    """A record's metrics: scores on the test set, dead units on validation reviews.

    Where flaws are a setting, also what the protocol would report: `reported_split`,
    `reported_accuracy`, `reported_f1` and `reported_dead_share`, and `validation`, the scores of
    that split.  The sound readings beside them are of the same model.
    """
    test = data.splits["test"]
    scores = binary_scores(test.labels, positive_probability(model, make_batches(test, settings)))
    probed = make_batches(first_rows(data.splits["validation"], PROBED_ROWS), settings)
    batches = (probed[i][0] for i in range(len(probed)))
    dead = dead_units(
        model, ((ids, real_positions(ids)) for ids in batches), model.activation_sites()
    )
    metrics = {**scores, **dead}
    if "flaws" not in settings:
        return metrics
    held = data.splits["validation"]
    positive = positive_probability(model, make_batches(held, settings))
    by_split = {"test": scores, "validation": binary_scores(held.labels, positive)}
    split = reported_split(settings)
    return metrics | {
        "reported_split": split,
        "reported_accuracy": by_split[split]["test_accuracy"],
        "reported_f1": by_split[split]["f1"],
        "reported_dead_share": published_dead_share(model, data.splits["train"], settings),
        "validation": {
            name.removeprefix("test_"): value for name, value in by_split["validation"].items()
        },
    }


def published_dead_share(
    model: SentimentEncoder, train: Encoded, settings: dict[str, Any]
) -> float:
    """Share of "dead" units by the published rule, at a place the published probe reads.

    That is the pooled state, not an activation: over 100 training rows the unit's largest value
    stays below 0.001.
    """
    batches = make_batches(first_rows(train, PUBLISHED_ROWS), settings)
    largest: Sequence[np.ndarray] = [
        ops.convert_to_numpy(model.pooled(batches[i][0]))[: len(batches.batches[i][1])].max(axis=0)
        for i in range(len(batches))
    ]
    return round(float(np.mean(np.max(largest, axis=0) < PUBLISHED_THRESHOLD)), 6)
