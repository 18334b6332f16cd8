"""A corpus of any size: tokenised once into memory-mapped files, read in bounded memory.

A folder of shards holds, for every `SHARD_PAIRS` pairs, their subword ids one after the other
(`00000.ids.npy`: source, target, source, …) and their lengths (`00000.lengths.npy`, a row per
pair), and a `manifest.json` with the digest of each file.  A file is written whole or not at all,
and the manifest after it, so that an interrupted tokenisation goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sgblend_utils.datasets.files import whole_file
from sgblend_utils.datasets.text import BOS, EOS, PAD, Subwords, bucket_of, two_widths_first
from sgblend_utils.errors import UserError

SHARD_PAIRS = 65_536
WINDOW = 8  # shards in memory at once: half a million pairs, of about 150 MB
PIECE = 8_192  # pairs encoded at once
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Shards:
    """A complete folder of shards, whose files are those that were written."""

    folder: Path
    files: tuple[dict[str, Any], ...]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def pairs(self) -> int:
        """Pairs in all shards."""
        return sum(entry["pairs"] for entry in self.files)

    def ids(self, shard: int) -> np.ndarray:
        """The memory-mapped subword ids of one shard, (tokens,)."""
        return np.load(shard_path(self.folder, shard, "ids"), mmap_mode="r")

    def lengths(self, shard: int) -> np.ndarray:
        """The memory-mapped lengths of one shard, (pairs, 2): source and target."""
        return np.load(shard_path(self.folder, shard, "lengths"), mmap_mode="r")


def shard_path(folder: Path, shard: int, part: str) -> Path:
    """Where the `ids` or `lengths` of a shard lie."""
    return folder / f"{shard:05d}.{part}.npy"


def encode(pairs: Sequence[tuple[str, str]], subwords: Subwords) -> tuple[np.ndarray, np.ndarray]:
    """Pairs -> their ids one after the other, (tokens,), and their lengths, (pairs, 2)."""
    ids, lengths = [], []
    for start in range(0, len(pairs), PIECE):
        rows = subwords.encode(list(chain.from_iterable(pairs[start : start + PIECE])))
        lengths.append(np.array([len(row) for row in rows], "int32").reshape(-1, 2))
        count = int(lengths[-1].sum())
        ids.append(np.fromiter(chain.from_iterable(rows), dtype_of(subwords), count))
    return np.concatenate(ids), np.concatenate(lengths)


def dtype_of(subwords: Subwords) -> str:
    """The narrowest type that holds every id."""
    return "uint16" if len(subwords) <= 2**16 else "int32"


def write_shards(
    pairs: Iterable[tuple[str, str]],
    subwords: Subwords,
    folder: Path,
    *,
    source: str,
    shard_pairs: int = SHARD_PAIRS,
) -> Shards:
    """Tokenise `pairs` into `folder`; what an earlier, interrupted call has done is not repeated.

    Args:
        pairs: a stream, the same at every call.
        subwords: the tokeniser.
        folder: of these shards alone.
        source: names the stream, such as the digest of the file that it comes from.
        shard_pairs: pairs a shard.

    Raises:
        UserError: the folder holds shards of something else, or damaged ones.
    """
    vocabulary = hashlib.sha256(subwords.model).hexdigest()
    job = {"source": source, "subwords": vocabulary, "shard_pairs": shard_pairs}
    manifest = job | {"complete": False, "shards": []}
    if (folder / MANIFEST).exists():
        manifest = read_manifest(folder)
        if job != {name: manifest.get(name) for name in job}:
            raise UserError(f"{folder} holds the shards of another corpus: move it away.")
        if manifest["complete"]:
            return open_shards(folder)
    done: list[dict[str, Any]] = manifest["shards"]
    rest = islice(iter(pairs), len(done) * shard_pairs, None)
    while chunk := list(islice(rest, shard_pairs)):
        number, entry = len(done), {"pairs": len(chunk)}
        for part, array in zip(("ids", "lengths"), encode(chunk, subwords), strict=True):
            path = shard_path(folder, number, part)
            with whole_file(path) as file:
                np.save(file, array)
            entry[part] = digest_of(path)
        done.append(entry)
        write_manifest(folder, manifest)
    if not done:
        raise UserError("There are no pairs to tokenise: choose other data.")
    write_manifest(folder, manifest | {"complete": True})
    return open_shards(folder)


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Store what the folder holds so far."""
    with whole_file(folder / MANIFEST) as file:
        file.write(json.dumps(manifest, indent=1).encode())


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the folder holds; a UserError if that cannot be read."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text("utf-8"))
        for entry in manifest["shards"]:
            _ = entry["pairs"], entry["ids"], entry["lengths"]
        _ = manifest["complete"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise damaged(path) from error
    return manifest


def damaged(path: Path) -> UserError:
    """The error that names a file which is not as it was written."""
    return UserError(
        f"{path} is damaged: remove the folder {path.parent}, and the next run tokenises again."
    )


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file, read in pieces."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise damaged(path) from error


def open_shards(folder: Path) -> Shards:
    """Shards that are complete and as they were written.

    Raises:
        UserError: a shard is missing, damaged or not yet written; its file is named.
    """
    manifest = read_manifest(folder)
    if not manifest["complete"]:
        raise UserError(f"The shards in {folder} are not complete: run the same command again.")
    for number, entry in enumerate(manifest["shards"]):
        for part in ("ids", "lengths"):
            path = shard_path(folder, number, part)
            if digest_of(path) != entry[part]:
                raise damaged(path)
    return Shards(folder, tuple(manifest["shards"]))


class ShardBatches(keras.utils.PyDataset):
    """Bucketed batches as `TranslationBatches` makes them, of a corpus that is not in memory.

    An epoch takes the shards in random order, `window` of them at a time; the pairs of a window
    are shuffled, put into buckets and cut into batches, and what does not fill a batch waits for
    the next window.  So an epoch has as many batches of each width as in memory, and each pair
    once.  The order depends on (`seed`, epoch) alone.  Memory depends on the window and not on the
    corpus, save for a few numbers a shard.

    Args:
        shards: the corpus.
        tokens, widths: as for `TranslationBatches`.
        seed: of the order.
        window: shards in memory at once.
    """

    def __init__(
        self,
        shards: Shards,
        *,
        tokens: int,
        widths: Sequence[int],
        seed: int,
        window: int = WINDOW,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        self.shards, self.widths, self.seed, self.window = shards, tuple(widths), seed, window
        if tokens < self.widths[-1]:
            raise UserError(
                f"A batch of {tokens} tokens cannot hold one sentence of {self.widths[-1]}; "
                "raise tokens or leave out the widest of widths."
            )
        self.rows = np.array([tokens // width for width in self.widths])
        self.counts = np.array(
            [
                np.bincount(self.buckets(shards.lengths(i)), minlength=len(self.widths) + 1)
                for i in range(len(shards))
            ]
        )  # (shards, buckets + 1)
        self.dropped = int(self.counts[:, -1].sum())
        self.set_epoch(0)

    def buckets(self, lengths: np.ndarray) -> np.ndarray:
        """The bucket of each pair from its lengths (pairs, 2); len(widths) where it fits none."""
        return bucket_of(lengths.max(axis=1) + 1, self.widths)

    def set_epoch(self, epoch: int) -> None:
        """Lay out `epoch`: which shards are in which window, and how many batches end in each."""
        self.epoch = epoch
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.shards))
        self.plan = [order[i : i + self.window] for i in range(0, len(order), self.window)]
        seen = np.cumsum([self.counts[part, :-1].sum(axis=0) for part in self.plan], axis=0)
        whole = seen // self.rows
        whole[-1] = -(-seen[-1] // self.rows)  # the last window closes the short batches
        self.ends = whole.sum(axis=1)  # batches up to the end of each window
        self.rewind()

    def rewind(self) -> None:
        """Stand before the first window, with nothing left over."""
        self.current, self.batches = -1, []
        self.ids, self.lengths = np.zeros(0, "int32"), np.zeros((0, 2), "int32")
        self.left = np.zeros(0, int)

    def advance(self) -> None:
        """Read the next window and lay out the batches that end in it."""
        carried = [self.ids[self.span(i)] for i in self.left]
        ids, lengths = carried, [self.lengths[self.left]]
        first_new = len(self.left)
        self.batches, self.ids = [], np.zeros(0, "int32")
        self.current += 1
        for shard in self.plan[self.current]:
            ids.append(self.shards.ids(shard))
            lengths.append(self.shards.lengths(shard))
        self.ids, self.lengths = np.concatenate(ids), np.concatenate(lengths)
        sizes = self.lengths.sum(axis=1, dtype="int64")
        self.starts = np.cumsum(sizes) - sizes
        rng = np.random.default_rng([self.seed, self.epoch, self.current])
        last, left = self.current == len(self.plan) - 1, []
        bucket = self.buckets(self.lengths)
        for index, rows in enumerate(self.rows):
            members = np.flatnonzero(bucket == index)
            waiting, fresh = np.split(members, [np.searchsorted(members, first_new)])
            members = np.concatenate([waiting, rng.permutation(fresh)])
            full = len(members) if last else len(members) // rows * rows
            self.batches += [(index, members[i : i + rows]) for i in range(0, full, rows)]
            left.append(members[full:])
        self.left = np.concatenate(left)
        order = rng.permutation(len(self.batches))
        self.batches = two_widths_first([self.batches[i] for i in order])

    def span(self, pair: int) -> slice:
        """Where a pair's ids lie in the window."""
        return slice(self.starts[pair], self.starts[pair] + self.lengths[pair].sum())

    def on_epoch_end(self) -> None:
        """Called by Keras after each epoch of training."""
        self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        window = int(np.searchsorted(self.ends, index, side="right"))
        if window < self.current:
            self.rewind()
        while self.current < window:
            self.advance()
        bucket, members = self.batches[index - (self.ends[window - 1] if window else 0)]
        starts, (source, target) = self.starts[members], self.lengths[members].T
        shape = (self.rows[bucket], self.widths[bucket])
        inputs = {
            "source": self.padded(starts, source, shape),
            "target": self.padded(starts + source, target, shape, opened=True),
        }
        return inputs, self.padded(starts + source, target, shape)

    def padded(
        self, starts: np.ndarray, lengths: np.ndarray, shape: tuple[int, int], opened: bool = False
    ) -> np.ndarray:
        """Stretches of the window's ids -> int32 `shape`, opened by BOS or else closed by EOS."""
        columns = np.arange(shape[1])[None, :] - opened
        place = np.minimum(starts[:, None] + np.maximum(columns, 0), len(self.ids) - 1)
        out = np.full(shape, PAD, "int32")
        real = (columns >= 0) & (columns < lengths[:, None])
        out[: len(starts)] = np.where(real, self.ids[place], PAD)
        if opened:
            out[: len(starts), 0] = BOS
        else:
            out[np.arange(len(starts)), lengths] = EOS
        return out


def chosen_pairs(pairs: Iterable[tuple[str, str]], chosen: np.ndarray) -> Iterator[tuple[str, str]]:
    """The pairs at the `chosen` places of a stream, in its order."""
    places = iter(np.sort(chosen))
    wanted = next(places, None)
    for place, pair in enumerate(pairs):
        if wanted is None:
            return
        if place == wanted:
            yield pair
            wanted = next(places, None)
