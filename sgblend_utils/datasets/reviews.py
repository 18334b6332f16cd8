"""Film reviews with the label 1 for positive and 0 for negative: reading, splitting, batching.

The original IMDB release has reviews that are in it twice, 123 of them in both training and test
data, and its files may be sorted by label.  The split made here depends on neither, nor on the
order of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgblend_utils.datasets import grammar, hub
from sgblend_utils.datasets.text import BOS, PAD, BucketedBatches, Subwords, pad
from sgblend_utils.datasets.words import Words

CLS = BOS  # opens a review for an encoder that reads the first position
BREAK = re.compile(r"<br\s*/?>")
# What Keras's tokenizer takes out by default: all marks but the apostrophe.
FILTERED = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))
VALIDATION_SHARE = 0.1
SPLIT_SEED = 0  # of the held-out reviews: the same for every run

MINI_SIZES = {"train": 3000, "validation": 300, "test": 600}
GOOD = ("good", "great", "funny", "witty", "moving", "lovely")
BAD = ("bad", "awful", "boring", "stupid", "dull", "ugly")
TOPICS = ("film", "story", "music", "ending", "acting", "camera")


@dataclass(frozen=True)
class Reviews:
    """Texts and their labels (N,), 1 for positive."""

    texts: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, rows: Iterable[int]) -> Reviews:
        """The reviews of these numbers, in this order."""
        rows = [int(row) for row in rows]
        return Reviews([self.texts[row] for row in rows], self.labels[rows])


def plain_text(text: str) -> str:
    """The text without HTML line breaks and with single spaces."""
    return " ".join(BREAK.sub(" ", text).split())


def published_text(text: str, mark: str = "") -> str:
    """The text as Keras's tokenizer sees it: lower case, marks gone, so `<br />` is the word br.

    `mark` goes before it and is treated alike: `[CLS]` becomes the word cls.
    """
    return " ".join(f"{mark} {text}".lower().translate(FILTERED).split())


def read_imdb(split: str) -> Reviews:
    """One file of the release, `train` or `test`, as it stands."""
    table = hub.load_table("imdb", split)
    return Reviews(table["text"].to_pylist(), np.asarray(table["label"].to_numpy(), "int32"))


def hold_out(reviews: Reviews, share: float, seed: int = SPLIT_SEED) -> tuple[Reviews, Reviews]:
    """Training and held-out reviews: `share` of each class, drawn at random.

    Both come in a random order that does not depend on the order they are given in.
    """
    ordered = np.argsort(np.asarray(reviews.texts, dtype=object), kind="stable")
    order = ordered[np.random.default_rng(seed).permutation(len(reviews))]
    held = np.zeros(len(order), bool)
    for label in np.unique(reviews.labels):
        members = np.flatnonzero(reviews.labels[order] == label)
        held[members[: round(share * len(members))]] = True
    return reviews.where(order[~held]), reviews.where(order[held])


def without_repeats(train: Reviews, test: Reviews) -> tuple[Reviews, dict[str, int]]:
    """Training reviews that are neither in the test set nor twice in themselves, by their text.

    Returns:
        The rest, and how many were left out for which reason.
    """
    seen = {plain_text(text) for text in test.texts}
    rows, in_test, twice = [], 0, 0
    own: set[str] = set()
    for row, text in enumerate(map(plain_text, train.texts)):
        in_test += text in seen
        twice += text not in seen and text in own
        if text not in seen and text not in own:
            rows.append(row)
        own.add(text)
    return train.where(rows), {"train_repeated_in_test": in_test, "train_repeated": twice}


def imdb_splits() -> tuple[dict[str, Reviews], dict[str, int]]:
    """`train`, `validation` and `test` with no text in common, and what was left out of training.

    The test set is the official one, whole.
    """
    test = read_imdb("test")
    train, left_out = without_repeats(read_imdb("train"), test)
    train, validation = hold_out(train, VALIDATION_SHARE)
    return {"train": train, "validation": validation, "test": test}, left_out


def mini_reviews(seed: int = 0) -> dict[str, Reviews]:
    """The bundled task: is the one verdict in a review praise, once `not` is taken into account?

    The verdict ("the music was not bad") stands before or after a sentence of the bundled grammar,
    which has a `not` of its own now and then.  Praise and blame are equally often turned round: no
    word alone says anything about the label.
    """
    rng = np.random.default_rng(seed)
    total = sum(MINI_SIZES.values())
    others = [english for english, _ in grammar.generate_pairs(total, seed + 1)]
    texts, labels = [], np.zeros(total, "int32")
    for i in range(total):
        praise, negated = rng.random(2) < 0.5
        words = GOOD if praise else BAD
        topic, word = (options[int(rng.random() * len(options))] for options in (TOPICS, words))
        parts = [f"The {topic} was {'not ' if negated else ''}{word}.", others[i]]
        texts.append(" ".join(parts if rng.random() < 0.5 else parts[::-1]))
        labels[i] = praise != negated
    splits, start = {}, 0
    for split, size in MINI_SIZES.items():
        splits[split] = Reviews(texts, labels).where(range(start, start + size))
        start += size
    return splits


# ---------------------------------------------------------------- ids


@dataclass(frozen=True)
class Encoded:
    """Reviews as ids without padding, their labels, and how many were too long and cut."""

    rows: list[list[int]]
    labels: np.ndarray
    cut: int = field(default=0)

    def __len__(self) -> int:
        return len(self.rows)


def encode_reviews(
    reviews: Reviews,
    vocabulary: Subwords | Words,
    length: int,
    *,
    cls: bool = False,
    front: bool = False,
) -> Encoded:
    """Texts -> at most `length` ids each.

    Args:
        reviews: with texts as the vocabulary wants them.
        vocabulary: words are encoded one by one and each only once, since no subword goes across a
            space: whole reviews would take sentencepiece minutes.
        length: of what is kept, `CLS` included.
        cls: put `CLS` before the review.
        front: cut the beginning off, as Keras's `pad_sequences` does by default, `CLS` included;
            otherwise what is beyond `length` goes and the head stays.
    """
    words = list(dict.fromkeys(word for text in reviews.texts for word in text.split()))
    pieces = dict(zip(words, vocabulary.encode(words), strict=True))
    rows, cut = [], 0
    for text in reviews.texts:
        row = [CLS] if cls else []
        for word in text.split():
            row += pieces[word]
        cut += len(row) > length
        rows.append(row[-length:] if front else row[:length])
    return Encoded(rows, reviews.labels, cut)


class ReviewBatches(BucketedBatches):
    """Bucketed batches: ids (rows, width), labels (rows, 1), weights (rows,).

    Args:
        reviews: ids and labels.
        tokens: padded positions a batch.
        widths: increasing; the last holds every review.
        seed: as of `BucketedBatches`.
    """

    def __init__(
        self,
        reviews: Encoded,
        *,
        tokens: int,
        widths: Sequence[int],
        seed: int | None = None,
        **kwargs: Any,
    ):
        layout = {"tokens": tokens, "widths": widths, "seed": seed}
        lengths = [len(row) for row in reviews.rows]
        super().__init__(lengths, **layout, row="review", limit="length", **kwargs)
        self.reviews = reviews

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        width, members = self.batches[index]
        height = self.tokens // width
        spare = height - len(members)
        ids = pad([self.reviews.rows[i] for i in members], width, height)
        labels = np.pad(self.reviews.labels[members].astype("float32"), (0, spare))
        weights = np.pad(np.ones(len(members), "float32"), (0, spare))
        return ids, labels[:, None], weights


def real_positions(ids: np.ndarray) -> dict[str, np.ndarray]:
    """By stream: which positions of a batch (rows, width), and which rows, are not padding."""
    real = np.asarray(ids) != PAD
    return {"tokens": real, "reviews": real.any(axis=1)}
