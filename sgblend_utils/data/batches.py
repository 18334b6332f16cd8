"""Batches in an order that depends on the seed and the epoch alone.

It is equal for every activation and the same after a resume.  `tasks.train` wraps them for Keras.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from sgblend_utils.data.images import Images, crop, flip
from sgblend_utils.data.reviews import Encoded
from sgblend_utils.data.text import pad
from sgblend_utils.errors import UserError


@dataclass(eq=False)
class BucketedBatches:
    """The layout of batches whose rows are padded to one of a few increasing bucket boundaries.

    Each bucket has a fixed number of rows (`tokens_per_batch` // boundary; a last short batch is
    filled with empty rows, which weigh nothing), so that XLA compiles one program per bucket.
    Without a `seed` the order of the data is kept within a bucket (for evaluation).
    """

    _: KW_ONLY
    tokens_per_batch: int  # padded positions
    bucket_boundaries: Sequence[int]  # rows longer than the last are in no batch, but in `dropped`
    seed: int | None = None

    def lengths(self) -> np.ndarray:
        """(N,), of the rows."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        longest = self.bucket_boundaries[-1]
        if self.tokens_per_batch < longest:
            raise UserError(
                f"A batch of {self.tokens_per_batch} tokens cannot hold one text of {longest}; "
                "raise tokens_per_batch, or lower bucket_boundaries or length."
            )
        # The narrowest bucket that holds each row, or the number of buckets where none does.
        self.bucket = np.searchsorted(self.bucket_boundaries, self.lengths())
        self.dropped = int((self.bucket == len(self.bucket_boundaries)).sum())
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Lay out the batches of `epoch`: (boundary, row numbers) each."""
        rng = None if self.seed is None else np.random.default_rng([self.seed, epoch])
        batches: list[tuple[int, np.ndarray]] = []
        for index, boundary in enumerate(self.bucket_boundaries):
            members = np.flatnonzero(self.bucket == index)
            members = members if rng is None else rng.permutation(members)
            rows = self.tokens_per_batch // boundary
            batches += [(boundary, members[i : i + rows]) for i in range(0, len(members), rows)]
        order = range(len(batches)) if rng is None else rng.permutation(len(batches))
        self.batches = [batches[i] for i in order]

    def layout(self, index: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Width, row numbers, and weights (rows,): 0 for rows that only fill the batch."""
        width, members = self.batches[index]
        rows = np.arange(self.tokens_per_batch // width)
        return width, members, (rows < len(members)).astype("float32")

    def shape(self, index: int) -> int:
        """Equal for batches of equal shapes."""
        return self.batches[index][0]

    def __len__(self) -> int:
        return len(self.batches)


@dataclass(eq=False)
class PairBatches(BucketedBatches):
    """Bucketed batches of source, target and next-token labels.

    A batch is ({"source": (rows, width), "target": …}, labels), where the target of a row is all
    but its last id and the labels are all but its first.  Rows of ids have whatever marks the
    protocol has.  They are lists, or have `lengths` and a method `take`, which gets row numbers.
    """

    source: Any
    target: Any
    _: KW_ONLY
    rows_weighted: bool = False  # the weights of rows too
    target_shorter: bool = False  # targets are padded to the width of sources, and then shifted

    def lengths(self) -> np.ndarray:
        return np.maximum(lengths_of(self.source), lengths_of(self.target) - 1)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        width, members, weights = self.layout(index)
        source, target = (rows_of(rows, members) for rows in (self.source, self.target))
        if self.target_shorter:
            padded = pad(target, width, len(weights))
            shifted, labels = padded[:, :-1], padded[:, 1:]
        else:
            shifted = pad([row[:-1] for row in target], width, len(weights))
            labels = pad([row[1:] for row in target], width, len(weights))
        inputs = {"source": pad(source, width, len(weights)), "target": shifted}
        return (inputs, labels, weights) if self.rows_weighted else (inputs, labels)


def lengths_of(rows: Any) -> np.ndarray:
    return rows.lengths if hasattr(rows, "lengths") else np.array([len(row) for row in rows], int)


def rows_of(rows: Any, members: np.ndarray) -> list[Sequence[int]]:
    return rows.take(members) if hasattr(rows, "take") else [rows[i] for i in members]


@dataclass(eq=False)
class ReviewBatches(BucketedBatches):
    """Bucketed batches: ids (rows, width), labels (rows, 1), weights (rows,)."""

    reviews: Encoded

    def lengths(self) -> np.ndarray:
        return lengths_of(self.reviews.rows)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        width, members, weights = self.layout(index)
        labels = np.zeros((len(weights), 1), "float32")
        labels[: len(members), 0] = self.reviews.labels[members]
        return pad(rows_of(self.reviews.rows, members), width, len(weights)), labels, weights


@dataclass(eq=False)
class ImageBatches:
    """Batches of (pixels, one-hot labels), as bytes and float32.

    For training (with a `seed`) order and augmentation are drawn for each epoch.  Batches are then
    all of one size, so that one program serves; the few images left over are left out.
    """

    images: Images
    batch_size: int
    classes: int
    _: KW_ONLY
    seed: int | None = None
    pad: int = 4  # largest move in pixels when training
    mirror: bool = True  # flip half of the images when training

    def __post_init__(self) -> None:
        if self.seed is not None and self.batch_size > len(self.images):
            raise UserError(
                f"A batch of {self.batch_size} is more than the {len(self.images)} training "
                "images; lower batch_size or raise max_samples."
            )
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.order = np.arange(len(self.images))
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, epoch])
            self.order = rng.permutation(self.order)
            self.offsets = rng.integers(0, 2 * self.pad + 1, (len(self.order), 2))
            self.mirrored = rng.random(len(self.order)) < (0.5 if self.mirror else 0.0)

    def shape(self, index: int) -> int:
        return min(self.batch_size, len(self.images) - index * self.batch_size)

    def __len__(self) -> int:
        whole, left = divmod(len(self.images), self.batch_size)
        return whole + (self.seed is None and left > 0)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        place = slice(index * self.batch_size, (index + 1) * self.batch_size)
        batch = self.images[self.order[place]]
        pixels = batch.pixels
        if self.seed is not None:
            pixels = flip(crop(pixels, self.offsets[place], self.pad), self.mirrored[place])
        return pixels, np.eye(self.classes, dtype="float32")[batch.labels]
