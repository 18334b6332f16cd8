"""Reading the real data: `<root>/<source>/<split>.parquet`, checked against `manifest.json`."""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sgblend_utils.data import data_root
from sgblend_utils.errors import UserError

BATCH_ROWS = 10_000  # read at once
Stamp = tuple[Path, int, int]  # path, size and time of a file: another one when the file changes


@dataclass(frozen=True, eq=False)  # hashed by identity, so that caches take it
class Source:
    """Where a data set comes from and what its files hold."""

    name: str  # of its folder
    repo: str  # on the Hugging Face hub, as the next two
    config: str | None
    revision: str
    fields: Mapping[str, tuple[tuple[str, ...], str]]  # column -> (path in a hub's row, Arrow type)
    splits: tuple[str, ...]  # a file each
    train_rows: int = 0  # fetched by default; 0 is all

    def path(self, split: str, root: Path | None = None) -> Path:
        """The file of a split, which need not exist; a UserError for an unknown split."""
        if split not in self.splits:
            splits = ", ".join(self.splits)
            raise UserError(f"{self.name} has no split {split!r}: choose one of {splits}.")
        return Path(root or data_root()) / self.name / f"{split}.parquet"

    def manifest(self, root: Path | None = None) -> dict[str, dict[str, Any]]:
        """What `manifest.json` says of each file, by name; nothing where there is none."""
        path = self.path(self.splits[0], root).with_name("manifest.json")
        try:
            files = json.loads(path.read_text("utf-8"))["files"] if path.exists() else {}
            return {name: entry | {"sha256": str(entry["sha256"])} for name, entry in files.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise self.damaged(path, "it cannot be read") from None

    def damaged(self, path: Path, how: str) -> UserError:
        return UserError(
            f"{path} is damaged ({how}): move it away and run `sgblend data fetch {self.name}`, "
            "or set SGBLEND_DATA to a folder with a sound copy."
        )

    def stamp(self, split: str, root: Path | None = None) -> Stamp:
        """The file's stamp, once its bytes are known to be those that the manifest names."""
        path = self.path(split, root)
        if not path.is_file():
            raise UserError(
                f"The {self.name} data are not there ({path} is missing): run "
                f"`sgblend data fetch {self.name}`, or set SGBLEND_DATA to a folder that has them."
            )
        stamp = (path, path.stat().st_size, path.stat().st_mtime_ns)
        if self.manifest(root).get(path.name, {}).get("sha256") not in (None, bytes_digest(stamp)):
            raise self.damaged(path, "its SHA-256 is not the one written down for it")
        return stamp


@functools.lru_cache(maxsize=64)
def bytes_digest(stamp: Stamp) -> str:
    with stamp[0].open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_table(source: Source, split: str, root: Path | None = None) -> pa.Table:
    """The source's columns of one file; a UserError where it is missing, damaged or foreign."""
    return pa.Table.from_batches(read_batches(source, split, root))


def read_batches(source: Source, split: str, root: Path | None = None) -> Iterator[pa.RecordBatch]:
    """`read_table`, a few thousand rows at a time."""
    path, wanted = source.stamp(split, root)[0], list(source.fields)
    try:
        with pq.ParquetFile(path) as file:
            present = file.schema_arrow.names
            if missing := [name for name in wanted if name not in present]:
                has = ", ".join(present)
                raise UserError(f"{path} has no column {missing[0]!r}; it has {has}.")
            if not file.metadata.num_rows:
                raise source.damaged(path, "it has no rows")
            yield from file.iter_batches(BATCH_ROWS, columns=wanted)
    except (pa.ArrowException, OSError):
        raise source.damaged(path, "it cannot be read as Parquet") from None


def values(column: pa.Array) -> Iterator[bytes]:
    """Each value as bytes that do not depend on the column's exact type."""
    if pa.types.is_struct(column.type):  # the hub's own image columns: an encoded image and a path
        column = column.field("bytes")
    return (x if isinstance(x, bytes) else str(x).encode() for x in column.to_pylist())


def rows_digest(source: Source, root: Path | None = None) -> str:
    """Names the rows of a source: sixteen hex digits, a hash of the values of its own columns.

    The same rows give the same digest whatever wrote them, with whichever row groups, compression,
    types and further columns.
    """
    splits = {
        split: split_digest(source, split, source.stamp(split, root)) for split in source.splits
    }
    text = "".join(f"{split}: {digest}\n" for split, digest in splits.items())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=16)
def split_digest(source: Source, split: str, stamp: Stamp) -> str:
    columns = {column: hashlib.sha256() for column in sorted(source.fields)}
    for batch in read_batches(source, split, stamp[0].parents[1]):
        for column, digest in columns.items():
            # A value's length before it: no two lists of values run into one another.
            texts = values(batch.column(column))
            digest.update(b"".join(len(text).to_bytes(8, "little") + text for text in texts))
    return ", ".join(f"{column}={digest.hexdigest()}" for column, digest in columns.items())


def digest_of(rows: Any) -> str:
    """The same for rows that are bundled, from their `repr`."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def verify(source: Source, root: Path | None = None, missing: Iterable[str] = ()) -> str:
    """`describe` the source, after a check of digests, and that every row can be read."""
    for split in source.splits:
        for _ in read_batches(source, split, root) if split not in missing else ():
            pass
    return describe([source], root)


def describe(sources: Iterable[Source], root: Path | None = None) -> str:
    """A line for every file of every source, whether it is there or not."""
    lines = [f"Data in {root or data_root()}"]
    for source, split in [(one, split) for one in sources for split in one.splits]:
        path = source.path(split, root)
        try:
            what = (
                f"{pq.read_metadata(path).num_rows:>9,} rows {path.stat().st_size / 1e6:>8.1f} MB"
            )
            what += "" if path.name in source.manifest(root) else "  (no digest)"
        except FileNotFoundError:
            what = f"missing: run `sgblend data fetch {source.name}`"
        except (pa.ArrowException, OSError):
            what = "damaged: move it away and fetch it again"
        lines.append(f"  {source.name + '/' + split:<20} {what}")
    return "\n".join(lines)
