"""Pairs of sentences, tokenizers, and corpora of any size in memory-mapped Arrow files."""

import functools
import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import sentencepiece

from sgblend_utils.data import data_root, project_root, taken, write_atomically
from sgblend_utils.data.source import BATCH_ROWS, Source, digest_of, read_table, rows_digest
from sgblend_utils.errors import UserError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
Pairs = list[tuple[str, str]]
Rows = Sequence[Sequence[int]]


def load_pairs(source: Source, split: str) -> Pairs:
    """The (English, German) pairs of a split, in file order, which is in blocks by origin."""
    table = read_table(source, split)
    return list(zip(table["en"].to_pylist(), table["de"].to_pylist(), strict=True))


@functools.cache
def mini_rows(name: str) -> dict[str, Pairs]:
    """Split -> the other two columns of `data/mini/<name>.tsv`."""
    path = project_root() / "data" / "mini" / f"{name}.tsv"
    if not path.is_file():
        raise UserError(f"The mini data {path.name} are part of a checkout: run this in one.")
    splits: dict[str, Pairs] = {}
    for line in path.read_text("utf-8").splitlines():
        split, first, second = line.split("\t")
        splits.setdefault(split, []).append((first, second))
    return splits


# The bundled corpus: 3,000 training, 200 validation and 200 test pairs, none in common.
mini_pairs = functools.partial(mini_rows, "translation")


def mini_digest() -> str:
    return digest_of(mini_pairs())


@dataclass(frozen=True)
class Subwords:
    """Subwords of sentencepiece (Kudo and Richardson 2018)."""

    model: bytes = field(repr=False)  # a protocol buffer

    @classmethod
    def train(
        cls, sentences: Iterable[str], vocabulary: int | None, longest: int | None = None
    ) -> Self:
        """Learn byte-pair encoding from sentences of at most `longest` bytes."""
        if vocabulary is None:
            raise UserError("Subwords need a number: set vocabulary, for example to 8000.")
        options: dict[str, Any] = {"pad_id": PAD, "unk_id": UNK, "bos_id": BOS, "eos_id": EOS}
        # Unlike the unigram model, BPE does not depend on the number of threads.
        options |= {"model_type": "bpe", "character_coverage": 1.0, "minloglevel": 2}
        if longest != 4192:  # sentencepiece's default: giving it would change the model's bytes
            options["max_sentence_length"] = longest or 2**30
        options |= {"sentence_iterator": iter(sentences), "vocab_size": vocabulary}
        buffer = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(model_writer=buffer, **options)
        except RuntimeError as error:
            raise UserError(
                f"A vocabulary of {vocabulary} is too much for this text: lower it, or add text."
            ) from error
        return cls(buffer.getvalue())

    @functools.cached_property
    def processor(self) -> sentencepiece.SentencePieceProcessor:
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    def __len__(self) -> int:
        return self.processor.get_piece_size()

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Sentences -> ids, without BOS and EOS."""
        return self.processor.encode(list(sentences))

    def decode(self, ids: Rows) -> list[str]:
        """Ids -> text; PAD, BOS and EOS vanish."""
        return self.processor.decode([[int(i) for i in row] for row in ids])


@dataclass(frozen=True)
class Words:
    """The published vocabulary: words in lower case, split at white space."""

    words: tuple[str, ...] = field(repr=False)  # by frequency; their ids are from 4 on

    @classmethod
    def fit(cls, texts: Iterable[str], vocabulary: int | None = None) -> Self:
        """Keep so many ids in all, or every word; ties are in the order of first occurrence."""
        counts = Counter(word for text in texts for word in words_of(text))
        room = None if vocabulary is None else max(0, vocabulary - 4)
        return cls(tuple(word for word, _ in counts.most_common(room)))

    @functools.cached_property
    def index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words, start=4)}

    def __len__(self) -> int:
        return 4 + len(self.words)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        return [[self.index.get(word, UNK) for word in words_of(text)] for text in sentences]

    def decode(self, ids: Rows) -> list[str]:
        names = ["", "<unk>", "", "", *self.words]
        return [" ".join(names[i] for i in row if i not in (PAD, BOS, EOS)) for row in ids]


def words_of(text: str) -> list[str]:
    return text.lower().split()


def pad(rows: Rows, width: int, height: int | None = None) -> np.ndarray:
    """Ragged ids -> int32 (height or len(rows), width), PAD after the end and in the spare rows."""
    out = np.full((height or len(rows), width), PAD, "int32")
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def frame(rows: Rows, length: int, front: bool = False) -> tuple[list[list[int]], np.ndarray]:
    """[BOS, ids…, EOS] of at most `length`, and which (N,) were not cut; `front` cuts as Keras."""
    fits = np.array([len(row) + 2 <= length for row in rows], bool)
    if front:
        return [[BOS, *row, EOS][-length:] for row in rows], fits
    return [[BOS, *row[: length - 2], EOS] for row in rows], fits


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
        wanted = taken(max_samples, len(pairs), "pairs")
        order = np.random.default_rng(seed).permutation(len(pairs))[:wanted]
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
