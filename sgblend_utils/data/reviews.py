"""Film reviews: reading, splitting, encoding."""

import re
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np

from sgblend_utils.data.source import Source, digest_of, read_table
from sgblend_utils.data.text import BOS, PAD, mini_rows

CLS = BOS  # opens a review for an encoder that reads the first position
# What Keras's tokenizer takes out by default: all marks but the apostrophe.
FILTERED = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))


@dataclass(frozen=True)
class Reviews:
    texts: list[str]
    labels: np.ndarray  # (N,), 1 for positive

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, rows: Any) -> Self:
        return type(self)([self.texts[row] for row in rows], self.labels[list(rows)])


def plain_text(text: str) -> str:
    """The text without HTML line breaks and with single spaces."""
    return " ".join(re.sub(r"<br\s*/?>", " ", text).split())


def published_text(text: str, mark: str = "") -> str:
    """As Keras's tokenizer sees it: `<br />` is the word br, and the mark `[CLS]` the word cls."""
    return " ".join(f"{mark} {text}".lower().translate(FILTERED).split())


def read_reviews(source: Source, split: str) -> Reviews:
    table = read_table(source, split)
    return Reviews(table["text"].to_pylist(), table["label"].to_numpy().astype("int32"))


def hold_out(reviews: Reviews, share: float) -> tuple[Reviews, Reviews]:
    """Training and held-out reviews, a `share` of each class; both in one random order."""
    # Sorted first: the split does not depend on the order of the file.
    order = np.argsort(np.asarray(reviews.texts, dtype=object), kind="stable")
    order = order[np.random.default_rng(0).permutation(len(reviews))]
    classes = (order[reviews.labels[order] == label] for label in np.unique(reviews.labels))
    held = np.isin(order, np.concatenate([one[: round(share * len(one))] for one in classes]))
    return reviews.where(order[~held]), reviews.where(order[held])


def without_repeats(train: Reviews, test: Reviews) -> tuple[Reviews, dict[str, int]]:
    """Each training text once, without those of the test set (IMDB: 123); what was left out."""
    texts, seen = list(map(plain_text, train.texts)), set(map(plain_text, test.texts))
    first = {text: row for row, text in reversed([*enumerate(texts)]) if text not in seen}
    in_test = sum(text in seen for text in texts)
    left_out = {"train_repeated_in_test": in_test}
    left_out["train_repeated"] = len(texts) - in_test - len(first)
    return train.where(sorted(first.values())), left_out


def mini_reviews() -> dict[str, Reviews]:
    """The bundled task: is the opinion in a review positive, once `not` is taken into account?"""
    return {
        split: Reviews([text for _, text in rows], np.array([int(y) for y, _ in rows], "int32"))
        for split, rows in mini_rows("reviews").items()
    }


def mini_digest() -> str:
    return digest_of([(s, rows.texts, rows.labels.tolist()) for s, rows in mini_reviews().items()])


@dataclass(frozen=True)
class Encoded:
    rows: list[list[int]]  # ids, without padding
    labels: np.ndarray
    cut: int = 0  # how many were too long

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> Self:
        return type(self)(self.rows[:count], self.labels[:count])


def encode_reviews(
    reviews: Reviews, vocabulary: Any, length: int, cls: bool = False, front: bool = False
) -> Encoded:
    """The last `length` ids of each review with `front`, as in Keras, or else the first."""
    # By words, which no subword goes across: sentencepiece takes minutes for whole reviews.
    words = list(dict.fromkeys(word for text in reviews.texts for word in text.split()))
    pieces = dict(zip(words, vocabulary.encode(words), strict=True))
    marks, part = [CLS] if cls else [], slice(-length, None) if front else slice(length)
    rows = [[*marks, *chain(*(pieces[w] for w in text.split()))] for text in reviews.texts]
    cut = sum(len(row) > length for row in rows)
    return Encoded([row[part] for row in rows], reviews.labels, cut)


def real_positions(ids: np.ndarray) -> dict[str, np.ndarray]:
    """By stream: which positions of a batch (rows, width), and which rows, are not padding."""
    real = np.asarray(ids) != PAD
    return {"tokens": real, "reviews": real.any(axis=1)}
