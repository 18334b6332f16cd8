"""Batches whose order depends on the seed and the epoch alone, so not on the activation."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from sgblend_utils.data.images import Images, crop, flip
from sgblend_utils.data.reviews import Encoded
from sgblend_utils.data.text import PAD, pad
from sgblend_utils.errors import UserError


class Batches:
    batches: list[tuple[int, Any]]  # what the shape of each depends on, and which rows it has

    def shape(self, index: int) -> int:
        return self.batches[index][0]

    def __len__(self) -> int:
        return len(self.batches)


@dataclass(eq=False)
class BucketedBatches(Batches):
    """Batches of rows of ids, padded to one of a few increasing bucket boundaries.

    A bucket's batches have equally many rows (`tokens_per_batch` // boundary; the last is filled
    with empty rows of weight 0): XLA compiles one program per bucket.  Rows are lists, or have
    `lengths` and `take(row numbers)`.  Without a `seed` their order is kept within a bucket.
    """

    sides: ClassVar[Any]  # method: rows of ids, and how many a row has more than the width
    _: KW_ONLY
    tokens_per_batch: int  # padded positions
    bucket_boundaries: Sequence[int]  # rows longer than the last are in no batch, but in `dropped`
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.tokens_per_batch < (longest := self.bucket_boundaries[-1]):
            raise UserError(
                f"A batch of {self.tokens_per_batch} tokens cannot hold one text of {longest}; "
                "raise tokens_per_batch, or lower bucket_boundaries or length."
            )
        lengths = [
            np.subtract(rows.lengths if hasattr(rows, "lengths") else [*map(len, rows)], extra)
            for rows, extra in self.sides()
        ]
        # The narrowest bucket that holds each row, or the number of buckets where none does.
        self.bucket = np.searchsorted(self.bucket_boundaries, np.max(lengths, axis=0))
        self.dropped = int((self.bucket == len(self.bucket_boundaries)).sum())
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        seeds = None if self.seed is None else [self.seed, epoch]
        draw = np.asarray if seeds is None else np.random.default_rng(seeds).permutation
        batches: list[tuple[int, np.ndarray]] = []
        for index, boundary in enumerate(self.bucket_boundaries):
            members = draw(np.flatnonzero(self.bucket == index))
            rows = self.tokens_per_batch // boundary
            batches += [(boundary, members[i : i + rows]) for i in range(0, len(members), rows)]
        self.batches = [batches[i] for i in draw(np.arange(len(batches)))]

    def arrays(self, index: int) -> list[np.ndarray]:
        """Weights (rows,) of a batch, then the ids of each side."""
        width, members = self.batches[index]
        count = self.tokens_per_batch // width
        arrays = [(np.arange(count) < len(members)).astype("float32")]
        for rows, extra in self.sides():
            chosen = rows.take(members) if hasattr(rows, "take") else [rows[i] for i in members]
            arrays.append(pad(chosen, width + extra, count))
        return arrays


@dataclass(eq=False)
class PairBatches(BucketedBatches):
    """({"source": (rows, width), "target": all but a row's last id}, labels: all but its first)."""

    source: Any
    target: Any
    _: KW_ONLY
    rows_weighted: bool = False  # the weights of rows too
    target_shorter: bool = False  # with the first or last id, targets have the width of sources

    def sides(self) -> list[tuple[Any, int]]:
        return [(self.source, 0), (self.target, 0 if self.target_shorter else 1)]

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        weights, source, target = self.arrays(index)
        target, labels = target[:, :-1], target[:, 1:]
        if not self.target_shorter:  # the last id is no input
            target = np.where(labels == PAD, PAD, target)
        batch = {"source": source, "target": target}, labels
        return (*batch, weights) if self.rows_weighted else batch


@dataclass(eq=False)
class ReviewBatches(BucketedBatches):
    """Ids (rows, width), labels (rows, 1), weights (rows,)."""

    reviews: Encoded

    def sides(self) -> list[tuple[Any, int]]:
        return [(self.reviews.rows, 0)]

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        weights, ids = self.arrays(index)
        labels = np.zeros((len(ids), 1), "float32")
        labels[weights == 1, 0] = self.reviews.labels[self.batches[index][1]]
        return ids, labels, weights


@dataclass(eq=False)
class ImageBatches(Batches):
    """Pixels, as bytes, and one-hot labels, float32.

    With a `seed`, for training, order and augmentation are drawn for each epoch, and the few images
    that would make a smaller batch are left out, so that one program serves.
    """

    images: Images
    batch_size: int
    classes: int
    _: KW_ONLY
    seed: int | None = None
    pad: int = 4  # largest move in pixels when training
    mirror: bool = True  # flip half of the images when training

    def __post_init__(self) -> None:
        if self.seed is not None and self.batch_size > (rows := len(self.images)):
            raise UserError(f"Only {rows} images: lower batch_size or raise max_samples.")
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        rows, size = len(self.images), self.batch_size
        self.order = np.arange(rows)
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, epoch])
            self.order = rng.permutation(self.order)
            self.offsets = rng.integers(0, 2 * self.pad + 1, (rows, 2))
            self.mirrored = rng.random(rows) < (0.5 if self.mirror else 0.0)
            rows -= rows % size
        self.batches = [(min(size, rows - i), slice(i, i + size)) for i in range(0, rows, size)]

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        place = self.batches[index][1]
        batch = self.images[self.order[place]]
        pixels = batch.pixels
        if self.seed is not None:
            pixels = flip(crop(pixels, self.offsets[place], self.pad), self.mirrored[place])
        return pixels, np.eye(self.classes, dtype="float32")[batch.labels]
