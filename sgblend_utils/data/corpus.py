"""A corpus of any size: tokenised once into memory-mapped Arrow files, read in bounded memory."""

import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sgblend_utils.data import data_root, write_atomically
from sgblend_utils.data.source import BATCH_ROWS, Source, digest_of, rows_digest
from sgblend_utils.data.text import BOS, EOS, Subwords
from sgblend_utils.errors import UserError


class MappedRows:
    """One side of tokenised pairs on disk, in an order (N,): rows [marks…, ids…, EOS]."""

    def __init__(self, ids: Any, order: np.ndarray, side: str, marks: list[int]):
        self.ids, self.order = ids.select_columns([side]), order
        self.side, self.marks = side, marks
        stored = [chunk.value_lengths() for chunk in ids.data.column(side).chunks]
        self.lengths = np.concatenate(stored)[order] + len(marks) + 1

    def take(self, members: np.ndarray) -> list[list[int]]:
        rows = self.ids[self.order[members]][self.side]
        return [[*self.marks, *row, EOS] for row in rows]


@dataclass(frozen=True)
class MappedPairs:
    source: MappedRows
    target: MappedRows

    def __len__(self) -> int:
        return len(self.source.order)


def tokenised_corpus(
    source: Source, vocabulary: int, subword_pairs: int | None, max_samples: int | None, seed: int
) -> tuple[Subwords, MappedPairs]:
    """Subwords and ids of the training pairs, kept in `$SGBLEND_CACHE` or else beside the data.

    The pairs are those of a run in memory, in its random order: all, or `max_samples`.  Subwords
    are learned from `subword_pairs` of them.
    """
    import datasets

    root = Path(os.environ.get("SGBLEND_CACHE") or data_root()).expanduser() / source.name
    settings = digest_of((vocabulary, subword_pairs, max_samples, seed))
    folder = root / "tokenised" / rows_digest(source) / settings
    model, file, kept = folder / "subwords.model", str(source.path("train")), str(folder.parent)
    options = {"batched": True, "batch_size": BATCH_ROWS, "new_fingerprint": settings}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pairs = datasets.Dataset.from_parquet(file, columns=["en", "de"], cache_dir=kept)
        if max_samples and max_samples > len(pairs):
            raise UserError(f"max_samples is {max_samples}; ask for at most {len(pairs)} pairs.")
        order = np.random.default_rng(seed).permutation(len(pairs))[:max_samples]
        if not model.exists():
            sample = pairs.select(np.sort(order[:subword_pairs])).iter(BATCH_ROWS)
            texts = chain.from_iterable(chain(*zip(b["en"], b["de"], strict=True)) for b in sample)
            write_atomically(model, Subwords.train(texts, vocabulary).model)
        subwords, kind = Subwords(model.read_bytes()), datasets.List(datasets.Value("int32"))
        ids = pairs.select(np.sort(order)).map(
            lambda batch: {side: subwords.encode(batch[side]) for side in ("en", "de")},
            features=datasets.Features(en=kind, de=kind),
            cache_file_name=str(folder / "ids.arrow"),
            **options,
        )
    except (OSError, datasets.exceptions.DatasetGenerationError) as error:
        raise UserError(
            f"The tokenised corpus cannot be written to {folder} ({error}); make room there, or "
            "set SGBLEND_CACHE to another folder."
        ) from error
    order = np.searchsorted(np.sort(order), order)
    sides = MappedRows(ids, order, "en", []), MappedRows(ids, order, "de", [BOS])
    return subwords, MappedPairs(*sides)
