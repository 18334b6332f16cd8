"""The published text pipeline: words, marks around them, and one fixed length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
import numpy as np

from sgblend_utils.datasets.text import BOS, EOS, PAD, UNK, pad

START, END = "<start>", "<end>"


@dataclass(frozen=True)
class Words:
    """A vocabulary of lower-cased words: no filters, split at white space.

    Ids 0 to 3 are padding, the unknown word, `<start>` and `<end>`; words follow by frequency.
    """

    words: tuple[str, ...] = field(repr=False)

    @classmethod
    def fit(cls, texts: Iterable[str], vocabulary: int | None = None) -> Words:
        """Count the words of `texts`; keep so many ids in all, or every word with None."""
        counts = Counter(word for text in texts for word in split(text))
        room = None if vocabulary is None else max(0, vocabulary - 4)
        # Ties in the order of first occurrence, as `most_common` has them.
        return cls(tuple(word for word, _ in counts.most_common(room)))

    @cached_property
    def index(self) -> dict[str, int]:
        """Word -> id."""
        return {word: i for i, word in enumerate(self.words, start=4)}

    def __len__(self) -> int:
        return 4 + len(self.words)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Sentences -> word ids, without the marks; words that are not known become UNK."""
        return [[self.index.get(word, UNK) for word in split(text)] for text in sentences]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Word ids -> text; padding and marks vanish, the unknown word is written `<unk>`."""
        names = {UNK: "<unk>"}
        return [
            " ".join(names.get(i) or self.words[i - 4] for i in row if i not in (PAD, BOS, EOS))
            for row in np.asarray(ids, dtype=object).tolist()
        ]


def split(text: str) -> list[str]:
    """The words of a text as published: lower case, at white space, punctuation left on."""
    return text.lower().split()


def frame(
    rows: Sequence[Sequence[int]], length: int, front: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Ids -> int32 (rows, length), `<start> … <end>` padded at the end, and which rows fit.

    A row that is too long is cut.  With `front` its beginning goes, as in Keras's `pad_sequences`
    by default: `<start>` is lost, and so are the first words.  Otherwise its last words go, and
    both marks stay.
    """
    marked = [[BOS, *row, EOS] for row in rows]
    fits = np.array([len(row) <= length for row in marked], bool)
    if front:
        cut = [row[-length:] for row in marked]
    else:
        cut = [row if len(row) <= length else [*row[: length - 1], EOS] for row in marked]
    return pad(cut, length), fits


@dataclass(frozen=True)
class Framed:
    """The pairs of one split as arrays.

    Attributes:
        pairs: (source text, target text), in the direction of translation.
        source, target: (rows, length) ids with both marks, padded at the end.
        fits: (rows,) which pairs were not cut.
    """

    pairs: list[tuple[str, str]]
    source: np.ndarray
    target: np.ndarray
    fits: np.ndarray

    def __len__(self) -> int:
        return len(self.pairs)

    def where(self, chosen: np.ndarray | slice) -> Framed:
        """The rows that a mask, numbers or a slice select."""
        rows = np.arange(len(self))[chosen]
        pairs = [self.pairs[i] for i in rows]
        return Framed(pairs, self.source[rows], self.target[rows], self.fits[rows])

    def inputs(self) -> dict[str, np.ndarray]:
        """What a model is given: the source, and the target without its last position."""
        return {"source": self.source, "target": self.target[:, :-1]}

    def labels(self) -> np.ndarray:
        """What it is asked for: the target from its second position on."""
        return self.target[:, 1:]


class FramedBatches(keras.utils.PyDataset):
    """Batches of one shape: (inputs, labels, weight of each row).

    The last batch is filled with rows of padding that weigh nothing.  The order of epoch e depends
    on (`seed`, e) alone; None keeps the order.
    """

    def __init__(self, rows: Framed, size: int, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.rows, self.size, self.seed, self.epoch = rows, size, seed, 0
        self.order = self.draw()

    def draw(self) -> np.ndarray:
        """The order of the current epoch."""
        if self.seed is None:
            return np.arange(len(self.rows))
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))

    def set_epoch(self, epoch: int) -> None:
        """Lay out the given epoch, counted from 0."""
        self.epoch = epoch
        self.order = self.draw()

    def on_epoch_end(self) -> None:
        """Called by Keras after each epoch of training."""
        self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        return -(-len(self.rows) // self.size)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        chosen = self.order[index * self.size : (index + 1) * self.size]
        part, spare = self.rows.where(chosen), self.size - len(chosen)
        weights = np.pad(np.ones(len(chosen), "float32"), (0, spare))
        inputs = {name: filled(ids, spare) for name, ids in part.inputs().items()}
        return inputs, filled(part.labels(), spare), weights


def filled(ids: np.ndarray, spare: int) -> np.ndarray:
    """(rows, T) ids -> (rows + spare, T), the new rows all padding."""
    return np.pad(ids, ((0, spare), (0, 0)), constant_values=PAD)
