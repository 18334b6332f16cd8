"""Pairs of sentences, and tokenizers: subwords, and the words of the published code."""

import functools
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import sentencepiece

from sgblend_utils.data import project_root
from sgblend_utils.data.source import Source, digest_of, read_table
from sgblend_utils.errors import UserError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
Pairs = list[tuple[str, str]]
Rows = Sequence[Sequence[int]]


def load_pairs(source: Source, split: str) -> Pairs:
    """The (English, German) pairs of a split, in file order, which is in blocks by origin."""
    table = read_table(source, split)
    return list(zip(table["en"].to_pylist(), table["de"].to_pylist(), strict=True))


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


@functools.cache
def mini_pairs() -> dict[str, Pairs]:
    """The bundled corpus: 3,000 training, 200 validation and 200 test pairs, none in common."""
    return mini_rows("translation")


def mini_digest() -> str:
    return digest_of(mini_pairs())


@dataclass(frozen=True)
class Subwords:
    """A sentencepiece model (Kudo and Richardson 2018), held as its serialized protocol buffer."""

    model: bytes = field(repr=False)

    @classmethod
    def train(cls, sentences: Iterable[str], vocabulary: int, longest: int | None = None) -> Self:
        """Learn byte-pair encoding from training text alone.

        BPE rather than the unigram model: its merges are counted, not estimated, so the result does
        not depend on the number of threads.  Sentences of more than `longest` bytes are left out,
        as sentencepiece by itself does with those above 4,192; with None, none are.

        Raises:
            UserError: the text is too small for that many subwords.
        """
        options: dict[str, Any] = {"pad_id": PAD, "unk_id": UNK, "bos_id": BOS, "eos_id": EOS}
        options |= {"model_type": "bpe", "character_coverage": 1.0, "minloglevel": 2}
        if longest != 4192:  # otherwise models would have other bytes than those of old runs
            options["max_sentence_length"] = longest or 2**30
        options |= {"sentence_iterator": iter(sentences), "vocab_size": vocabulary}
        buffer = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(model_writer=buffer, **options)
        except RuntimeError as error:
            raise UserError(
                f"A vocabulary of {vocabulary} subwords does not fit this text; "
                "choose another vocabulary size or more training pairs."
            ) from error
        return cls(buffer.getvalue())

    @cached_property
    def processor(self) -> sentencepiece.SentencePieceProcessor:
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    def __len__(self) -> int:
        return self.processor.get_piece_size()

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Sentences -> subword ids, without BOS and EOS."""
        return self.processor.encode(list(sentences))

    def decode(self, ids: Rows) -> list[str]:
        """Subword ids -> plain text; control symbols vanish."""
        return self.processor.decode([[int(i) for i in row] for row in ids])


@dataclass(frozen=True)
class Words:
    """The published vocabulary: ids from 4 on are words by frequency, in lower case."""

    words: tuple[str, ...] = field(repr=False)

    @classmethod
    def fit(cls, texts: Iterable[str], vocabulary: int | None = None) -> Self:
        """Count the words of `texts`; keep so many ids in all, or every word with None."""
        counts = Counter(word for text in texts for word in words_of(text))
        room = None if vocabulary is None else max(0, vocabulary - 4)
        # Ties in the order of first occurrence, as `most_common` has them.
        return cls(tuple(word for word, _ in counts.most_common(room)))

    @cached_property
    def index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words, start=4)}

    def __len__(self) -> int:
        return 4 + len(self.words)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Sentences -> word ids, without BOS and EOS; words that are not known become UNK."""
        return [[self.index.get(word, UNK) for word in words_of(text)] for text in sentences]

    def decode(self, ids: Rows) -> list[str]:
        """Word ids -> text; PAD, BOS and EOS vanish."""
        names = ["", "<unk>", "", "", *self.words]
        return [" ".join(names[i] for i in row if i not in (PAD, BOS, EOS)) for row in ids]


def words_of(text: str) -> list[str]:
    """The words of a text as published: split at white space, punctuation left on."""
    return text.lower().split()


def pad(rows: Rows, width: int, height: int | None = None) -> np.ndarray:
    """Ragged ids -> int32 (height or len(rows), width), PAD after the end and in the spare rows."""
    out = np.full((height or len(rows), width), PAD, "int32")
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out


def frame(rows: Rows, length: int, front: bool = False) -> tuple[list[list[int]], np.ndarray]:
    """Ids -> rows [BOS, ids…, EOS] of at most `length`, and which (N,) were not cut.

    A long row loses its last words, or with `front` BOS and its first words, as by default in
    Keras's `pad_sequences`.
    """
    marked = [[BOS, *row, EOS] for row in rows]
    fits = np.array([len(row) <= length for row in marked], bool)
    if front:
        return [row[-length:] for row in marked], fits
    return [row if len(row) <= length else [*row[: length - 1], EOS] for row in marked], fits
