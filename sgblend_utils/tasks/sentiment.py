"""Sentiment of film reviews: `imdb`, the small encoder, and `imdb_bert`, the other one."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sgblend_utils import config as c
from sgblend_utils.config import RunConfig, stored_presets
from sgblend_utils.data import reviews, taken
from sgblend_utils.data.batches import ReviewBatches
from sgblend_utils.data.source import Source
from sgblend_utils.data.text import Subwords, Words
from sgblend_utils.tasks import Loaded
from sgblend_utils.tasks.text import TextSettings, TextTask, subword_files

PROBED_ROWS = 1000  # held-out reviews that the probe of dead units looks at
PUBLISHED_ROWS = 100  # training rows that the published probe looks at
VALIDATION_SHARE = 0.1
SIZES = ("length", "d_model", "num_heads", "ff_dim", "num_layers", "dropout", "word_dropout")


@dataclass(frozen=True)
class SentimentSettings(TextSettings):
    model: str = c.one_of("small", "bert")
    subword_reviews: int = c.count(6000)  # training reviews that subwords are learned from
    # Longer reviews, in bytes, are left out of these; sentencepiece's own limit, null for none.
    subword_bytes: int | None = c.optional_count(4192)
    length: int = c.at_least(8, 200)  # tokens of a review that are read
    word_dropout: float = c.share(0.0)  # of the tokens of a training review
    lower_case: bool = c.flag(False)  # of reviews, as the published words are anyway
    buckets: int = c.count(1)  # boundaries that reviews are padded to: equal steps up to length

    repeated_reviews: bool = c.switch("Reviews of the test set, and repeated ones, are trained on.")
    tokenizer_fitted_on_test: bool = c.switch("Words are counted on the test reviews too.")
    cls_is_a_word: bool = c.switch("The tokenizer turns `[CLS]` into the common word cls (bert).")
    padding_averaged: bool = c.switch("The average is over padding too (small).")
    unscaled_embeddings: bool = c.switch("Embeddings start small and are not scaled.")
    validation_reported: bool = c.switch("Validation accuracy is what is reported (bert).")

    @property
    def reported_split(self) -> str:
        return "validation" if self.validation_reported and self.model == "bert" else "test"

    @property
    def watched_split(self) -> str:
        """The split that training looks at after each epoch."""
        return self.reported_split if self.early_stopping_on_reported_split else "validation"


class Sentiment(TextTask):
    """An encoder with one logit: is a review positive?

    The best epoch's weights are evaluated, by validation cross-entropy; the last ones only with
    `early_stopping_on_reported_split`, as Keras's early stopping leaves them.
    """

    def texts(self, config: RunConfig) -> tuple[dict[str, Any], dict[str, int]]:
        """The reviews of each split, and how many were left out of training for which reason."""
        settings, left_out = config.settings, {}
        if config.preset == "mini":
            splits = dict(reviews.mini_reviews())
        else:
            train, test = (reviews.read_reviews(self.source, name) for name in ("train", "test"))
            if not settings.repeated_reviews:
                train, left_out = reviews.without_repeats(train, test)
            train, validation = reviews.hold_out(train, VALIDATION_SHARE)
            splits = {"train": train, "validation": validation, "test": test}
        if settings.watched_split == "test":  # then none are held out for validation
            train, held_out = splits["train"], splits.pop("validation")
            labels = np.concatenate([train.labels, held_out.labels])
            splits["train"] = reviews.Reviews(train.texts + held_out.texts, labels)
        wanted = range(taken(settings.max_samples, len(splits["train"]), "reviews"))
        return splits | {"train": splits["train"].where(wanted)}, left_out

    def load(self, config: RunConfig) -> Loaded:
        settings = config.settings
        splits, left_out = self.texts(config)
        bert, words = settings.model == "bert", settings.word_tokens
        mark = "[CLS] " if bert and settings.cls_is_a_word else ""
        plain = reviews.published_text if words else reviews.plain_text
        case = str.lower if settings.lower_case else str
        splits = {
            name: reviews.Reviews([case(plain(mark + text)) for text in rows.texts], rows.labels)
            for name, rows in splits.items()
        }
        # The published tokenizer has counted the words of the split that is reported.
        counted = splits if settings.tokenizer_fitted_on_test else ["train"]
        texts = [text for name in counted for text in splits[name].texts]
        if settings.word_tokens:
            vocabulary = Words.fit(texts, settings.vocabulary)
        else:
            sample = np.random.default_rng(0).permutation(len(texts))[: settings.subword_reviews]
            chosen, longest = (texts[i] for i in sample), settings.subword_bytes
            vocabulary = Subwords.train(chosen, settings.vocabulary, longest)
        cut = {"cls": bert and not mark, "front": settings.front_truncation}
        encoded, described = {}, left_out | {"vocabulary": len(vocabulary)}
        for name, split in splits.items():
            rows = reviews.encode_reviews(split, vocabulary, settings.length, **cut)
            described |= {f"{name}_reviews": len(rows), f"{name}_reviews_cut": rows.cut}
            encoded[name] = rows
        train = self.batches(settings, encoded["train"], config.seed)
        watched = self.batches(settings, encoded[settings.watched_split])
        files = subword_files(vocabulary)
        return Loaded(train, watched, encoded, described, vocabulary, files)

    def batches(self, settings: SentimentSettings, rows: Any, seed: int | None = None) -> Any:
        count, length = settings.buckets, settings.length
        boundaries = [length * i // count for i in range(1, count + 1)]
        shape = {"bucket_boundaries": boundaries, "tokens_per_batch": settings.tokens_per_batch}
        return ReviewBatches(rows, seed=seed, **shape)

    def build(self, config: RunConfig, data: Loaded) -> Any:
        from sgblend_utils.models.classifier import Classifier

        settings = config.settings
        sizes = {name: getattr(settings, name) for name in (*SIZES, "switches")}
        sizes |= {"activation": config.activation, "seed": config.seed, "kind": settings.model}
        model = Classifier(len(data.vocabulary), **sizes)
        model.build()
        return model

    def compile(self, config: RunConfig, model: Any, steps: int, **options: Any) -> None:
        import keras

        of = {"label_smoothing": config.settings.label_smoothing, "from_logits": True}
        loss = keras.losses.BinaryCrossentropy(**of, reduction="mean_with_sample_weight")
        metrics = [
            keras.metrics.BinaryCrossentropy(name="nll", from_logits=True),
            keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0),
        ]
        super().compile(config, model, steps, loss=loss, weighted_metrics=metrics)

    def callbacks(self, config: RunConfig, model: Any, data: Loaded, log: Any) -> list[Any]:
        from sgblend_utils.tasks.callbacks import BestEpoch

        return [] if config.settings.early_stopping_on_reported_split else [BestEpoch(log)]

    def evaluate(
        self, config: RunConfig, model: Any, data: Loaded, log: Any, keeper: Any
    ) -> dict[str, Any]:
        """Scores on the test set; dead units on validation reviews, or where there are none on it.

        The published protocol adds `reported_…`: what its code would report.
        """
        from sgblend_utils.metrics import binary_scores
        from sgblend_utils.probes import dead_units, published_dead_share

        settings, splits = config.settings, data.splits
        if keeper.taken:
            keeper.assign(model, keeper.weights)

        def scores(split: str) -> dict[str, Any]:
            batches = self.batches(settings, splits[split])
            return binary_scores(splits[split].labels, positive_probability(model, batches))

        def inputs(split: str, count: int) -> list[np.ndarray]:
            batches = self.batches(settings, splits[split].first(count))
            return [batches[i][0] for i in range(len(batches))]

        held_out = "validation" if "validation" in splits else "test"
        probed = ((ids, reviews.real_positions(ids)) for ids in inputs(held_out, PROBED_ROWS))
        metrics = {"best_epoch": keeper.taken or len(log.rows), **scores("test")}
        metrics |= dead_units(model, probed, model.activation_sites())
        if config.protocol == "published":
            split = settings.reported_split
            reported = metrics if split == "test" else scores(split)
            metrics |= {
                "reported_split": split,
                "reported_accuracy": reported["test_accuracy"],
                "reported_f1": reported["f1"],
                "reported_dead_share": published_dead_share(model, inputs("train", PUBLISHED_ROWS)),
            }
        return metrics


def positive_probability(model: Any, batches: Any) -> np.ndarray:
    """(N,) probabilities of a positive review, in the order of the data."""
    from scipy.special import expit

    logits = np.zeros(len(batches.reviews))
    for index, (_, members) in enumerate(batches.batches):
        predicted = np.asarray(model.predict_on_batch(batches[index][0]))
        logits[members] = predicted[: len(members), 0]
    return expit(logits)


SOURCE = Source(
    *("imdb", "stanfordnlp/imdb", "plain_text", "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"),
    fields={"text": (("text",), "string"), "label": (("label",), "int8")},
    splits=("train", "test"),
)
TASKS = [
    Sentiment(
        *(name, SOURCE, stored_presets(name, SentimentSettings), reviews.mini_digest),
        labels=("negative", "positive"),
    )
    for name in ("imdb", "imdb_bert")
]
