"""Film reviews with the label 1 for positive and 0 for negative: reading, splitting, encoding.

The IMDB release has reviews that are in it twice, 123 of them in both training and test data, and
its files may be sorted by label.  The split made here depends on neither, nor on the files' order.
"""

import functools
import re
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np

from sgblend_utils.data.source import Source, digest_of, read_table
from sgblend_utils.data.text import BOS, PAD, Subwords, Words, mini_rows

CLS = BOS  # opens a review for an encoder that reads the first position
BREAK = re.compile(r"<br\s*/?>")
# What Keras's tokenizer takes out by default: all marks but the apostrophe.
FILTERED = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))
SPLIT_SEED = 0  # of the held-out reviews: the same for every run


@dataclass(frozen=True)
class Reviews:
    """Texts and their labels (N,), 1 for positive."""

    texts: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, rows: Any) -> Self:
        """The reviews of these numbers, in this order."""
        return type(self)([self.texts[row] for row in rows], self.labels[list(rows)])


def plain_text(text: str) -> str:
    """The text without HTML line breaks and with single spaces."""
    return " ".join(BREAK.sub(" ", text).split())


def published_text(text: str, mark: str = "") -> str:
    """The text, after `mark`, as Keras's tokenizer sees it: lower case, no punctuation.

    `<br />` becomes the word br, and the mark `[CLS]` the word cls.
    """
    return " ".join(f"{mark} {text}".lower().translate(FILTERED).split())


def read_reviews(source: Source, split: str) -> Reviews:
    """One file as it stands."""
    table = read_table(source, split)
    return Reviews(table["text"].to_pylist(), table["label"].to_numpy().astype("int32"))


def hold_out(reviews: Reviews, share: float) -> tuple[Reviews, Reviews]:
    """Training and held-out reviews: `share` of each class, drawn at random.

    Both come in a random order that does not depend on the order they are given in.
    """
    ordered = np.argsort(np.asarray(reviews.texts, dtype=object), kind="stable")
    order = ordered[np.random.default_rng(SPLIT_SEED).permutation(len(reviews))]
    held = np.zeros(len(order), bool)
    for label in np.unique(reviews.labels):
        members = np.flatnonzero(reviews.labels[order] == label)
        held[members[: round(share * len(members))]] = True
    return reviews.where(order[~held]), reviews.where(order[held])


def without_repeats(train: Reviews, test: Reviews) -> tuple[Reviews, dict[str, int]]:
    """Training reviews whose text is neither in the test set nor twice in themselves.

    Also how many were left out for which reason.
    """
    seen, first = set(map(plain_text, test.texts)), dict[str, int]()
    texts = [plain_text(text) for text in train.texts]
    for row, text in enumerate(texts):
        first.setdefault(text, row)
    rows = [row for text, row in first.items() if text not in seen]
    in_test = sum(text in seen for text in texts)
    twice = len(texts) - in_test - len(rows)
    return train.where(rows), {"train_repeated_in_test": in_test, "train_repeated": twice}


@functools.cache
def mini_reviews() -> dict[str, Reviews]:
    """The bundled task: is the opinion in a review positive, once `not` is taken into account?

    It ("the music was not bad") stands before or after a sentence of the bundled corpus, which has
    a `not` of its own now and then.  No word alone says anything about the label.
    """
    return {
        split: Reviews([text for _, text in rows], np.array([int(y) for y, _ in rows], "int32"))
        for split, rows in mini_rows("reviews").items()
    }


def mini_digest() -> str:
    return digest_of([(s, rows.texts, rows.labels.tolist()) for s, rows in mini_reviews().items()])


@dataclass(frozen=True)
class Encoded:
    """Reviews as ids without padding, their labels, and how many were too long and cut."""

    rows: list[list[int]]
    labels: np.ndarray
    cut: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> Self:
        """The first reviews; splits are in random order."""
        return type(self)(self.rows[:count], self.labels[:count])


def encode_reviews(
    reviews: Reviews,
    vocabulary: Subwords | Words,
    length: int,
    cls: bool = False,
    front: bool = False,
) -> Encoded:
    """Texts -> at most `length` ids each, opened by `CLS` with `cls`.

    A long review loses its end, or with `front` `CLS` and its beginning, as by default in Keras's
    `pad_sequences`.
    """
    # Word by word, each only once: sentencepiece takes minutes for whole reviews, and no subword
    # goes across a space.
    words = list(dict.fromkeys(word for text in reviews.texts for word in text.split()))
    pieces = dict(zip(words, vocabulary.encode(words), strict=True))
    marks = [CLS] if cls else []
    rows = [[*marks, *chain(*(pieces[w] for w in text.split()))] for text in reviews.texts]
    cut = sum(len(row) > length for row in rows)
    return Encoded([row[-length:] if front else row[:length] for row in rows], reviews.labels, cut)


def real_positions(ids: np.ndarray) -> dict[str, np.ndarray]:
    """By stream: which positions of a batch (rows, width), and which rows, are not padding."""
    real = np.asarray(ids) != PAD
    return {"tokens": real, "reviews": real.any(axis=1)}
