"""Subwords and batches for the translation tasks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
import numpy as np
import sentencepiece

from sgblend_utils.errors import UserError

PAD, UNK, BOS, EOS = 0, 1, 2, 3


@dataclass(frozen=True)
class Subwords:
    """A sentencepiece model (Kudo and Richardson 2018), held as its serialized protocol buffer."""

    model: bytes = field(repr=False)

    @classmethod
    def train(cls, sentences: Iterable[str], vocabulary: int) -> Subwords:
        """Learn byte-pair encoding from training text alone.

        BPE rather than the unigram model: its merges are counted, not estimated, so the result does
        not depend on the number of threads.

        Raises:
            UserError: the text is too small for that many subwords.
        """
        buffer = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=buffer,
                vocab_size=vocabulary,
                model_type="bpe",
                character_coverage=1.0,
                pad_id=PAD,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise UserError(
                f"A vocabulary of {vocabulary} subwords does not fit this text; "
                "choose another vocabulary size or more training pairs."
            ) from error
        return cls(buffer.getvalue())

    @cached_property
    def processor(self) -> sentencepiece.SentencePieceProcessor:
        """The loaded model."""
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    def __len__(self) -> int:
        return self.processor.get_piece_size()

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Sentences -> subword ids, without BOS and EOS."""
        return self.processor.encode(list(sentences))

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Subword ids -> plain text; control symbols vanish."""
        return self.processor.decode([[int(i) for i in row] for row in ids])


def pad(rows: Sequence[Sequence[int]], width: int, height: int | None = None) -> np.ndarray:
    """Ragged ids -> int32 (height or len(rows), width), PAD after the end and in the spare rows."""
    out = np.full((height or len(rows), width), PAD, "int32")
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def bucket_of(lengths: np.ndarray, widths: Sequence[int]) -> np.ndarray:
    """Index of the narrowest bucket that holds each length; len(widths) where none does."""
    return np.searchsorted(np.asarray(widths), lengths)


def two_widths_first(batches: list[tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray]]:
    """Under TensorFlow, let the first two batches differ in width; elsewhere nothing is moved.

    Keras tells TensorFlow the shapes of all batches from the first two: a dimension in which these
    agree is taken as fixed.
    """
    others = (i for i, (width, _) in enumerate(batches) if width != batches[0][0])
    if keras.backend.backend() == "tensorflow" and (other := next(others, None)):
        batches[1], batches[other] = batches[other], batches[1]
    return batches


class BucketedBatches(keras.utils.PyDataset):
    """The layout of batches whose rows are padded to one of a few `widths`.

    Each bucket has a fixed number of rows (`tokens` // width; a last short batch is filled with
    empty rows, which weigh nothing), so that XLA compiles one program per bucket and not one per
    batch.  The order of epoch e depends on (`seed`, e) and the backend alone: equal for every
    activation, and the same after a resume.

    Args:
        lengths: (N,), of the rows; rows longer than the widest bucket are in no batch.
        tokens: padded positions a batch.
        widths: increasing bucket widths.
        seed: of the order; None keeps the order of the data within a bucket (for evaluation).
        row, limit: what a message calls a row, and the setting that bounds its length.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        tokens: int,
        widths: Sequence[int],
        seed: int | None,
        row: str,
        limit: str,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.tokens, self.widths, self.seed = tokens, tuple(widths), seed
        if tokens < self.widths[-1]:
            raise UserError(
                f"A batch of {tokens} tokens cannot hold one {row} of {self.widths[-1]}; "
                f"raise tokens or lower {limit}."
            )
        self.bucket = bucket_of(np.asarray(lengths, int), self.widths)
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Lay out the batches of `epoch`, as a resumed run must."""
        self.epoch = epoch
        rng = None if self.seed is None else np.random.default_rng([self.seed, epoch])
        batches: list[tuple[int, np.ndarray]] = []
        for index, width in enumerate(self.widths):
            members = np.flatnonzero(self.bucket == index)
            if rng is not None:
                members = rng.permutation(members)
            rows = self.tokens // width
            batches += [(width, members[i : i + rows]) for i in range(0, len(members), rows)]
        order = range(len(batches)) if rng is None else rng.permutation(len(batches))
        self.batches = two_widths_first([batches[i] for i in order])

    def on_epoch_end(self) -> None:
        """Called by Keras after each epoch of training."""
        if self.seed is not None:
            self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        return len(self.batches)


class TranslationBatches(BucketedBatches):
    """Bucketed batches of (source, shifted target) and next-token labels.

    Args:
        source, target: subword ids without BOS/EOS; pairs longer than the widest bucket are left
            out and counted in `dropped`.
        tokens: padded positions a batch, on each side.
        widths, seed: as of `BucketedBatches`.
    """

    def __init__(
        self,
        source: Sequence[Sequence[int]],
        target: Sequence[Sequence[int]],
        *,
        tokens: int,
        widths: Sequence[int],
        seed: int | None = None,
        **kwargs: Any,
    ):
        longest = [max(len(s), len(t)) + 1 for s, t in zip(source, target, strict=True)]
        layout = {"tokens": tokens, "widths": widths, "seed": seed}
        super().__init__(longest, **layout, row="sentence", limit="max_length", **kwargs)
        self.source, self.target = source, target
        self.dropped = int((self.bucket == len(self.widths)).sum())

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        width, members = self.batches[index]
        rows = self.tokens // width
        target = [self.target[i] for i in members]
        inputs = {
            "source": pad([[*self.source[i], EOS] for i in members], width, rows),
            "target": pad([[BOS, *t] for t in target], width, rows),
        }
        return inputs, pad([[*t, EOS] for t in target], width, rows)
