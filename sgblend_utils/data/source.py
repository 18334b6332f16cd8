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
    name: str  # of its folder
    repo: str  # on the Hugging Face hub, as the next two
    config: str | None
    revision: str
    fields: Mapping[str, tuple[tuple[str, ...], str]]  # column -> (path in a hub's row, Arrow type)
    splits: tuple[str, ...]  # a file each
    train_rows: int = 0  # fetched by default; 0 is all

    def path(self, split: str) -> Path:
        """The file of a split, which need not exist."""
        if split not in self.splits:
            splits = ", ".join(self.splits)
            raise UserError(f"{self.name} has no split {split!r}: choose one of {splits}.")
        return data_root() / self.name / f"{split}.parquet"

    def manifest(self) -> dict[str, dict[str, Any]]:
        """What `manifest.json` says of each file, by name; nothing where there is none."""
        path = data_root() / self.name / "manifest.json"
        try:
            files = json.loads(path.read_bytes())["files"] if path.exists() else {}
            return {name: entry | {"sha256": str(entry["sha256"])} for name, entry in files.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise self.damaged(path, "it cannot be read") from None

    def damaged(self, path: Path, how: str) -> UserError:
        return UserError(
            f"{path} is damaged ({how}): move it away and run `sgblend data fetch {self.name}`, "
            "or set SGBLEND_DATA to a folder with a sound copy."
        )

    def stamp(self, split: str) -> Stamp:
        """The file's stamp, once its bytes are known to be those that the manifest names."""
        path = self.path(split)
        if not path.is_file():
            raise UserError(
                f"{path} is missing: run `sgblend data fetch {self.name}`, or set SGBLEND_DATA."
            )
        stamp = (path, path.stat().st_size, path.stat().st_mtime_ns)
        if self.manifest().get(path.name, {}).get("sha256") not in (None, bytes_digest(stamp)):
            raise self.damaged(path, "its SHA-256 is not the one written down for it")
        return stamp


@functools.lru_cache(maxsize=64)
def bytes_digest(stamp: Stamp) -> str:
    with stamp[0].open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_table(source: Source, split: str) -> pa.Table:
    """The source's columns of one file; a UserError where it is missing, damaged or foreign."""
    return pa.Table.from_batches(read_batches(source, split))


def read_batches(source: Source, split: str) -> Iterator[pa.RecordBatch]:
    """`read_table`, some rows at a time; of the hub's structs of an image and a path the image."""
    path, wanted = source.stamp(split)[0], list(source.fields)
    try:
        with pq.ParquetFile(path) as file:
            for name in wanted:
                if name not in (there := file.schema_arrow.names):
                    raise source.damaged(path, f"no column {name!r}; it has {', '.join(there)}")
            if not file.metadata.num_rows:
                raise source.damaged(path, "it has no rows")
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
                columns = (batch[name] for name in wanted)
                whole = [c.field("bytes") if pa.types.is_struct(c.type) else c for c in columns]
                yield pa.record_batch(whole, wanted)
    except (pa.ArrowException, OSError):
        raise source.damaged(path, "it cannot be read as Parquet") from None


def rows_digest(source: Source) -> str:
    """Sixteen hex digits: a hash of the values in the source's columns, however they are stored."""
    splits = (f"{one}: {split_digest(source, one, source.stamp(one))}\n" for one in source.splits)
    return hashlib.sha256("".join(splits).encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=16)
def split_digest(source: Source, split: str, stamp: Stamp) -> str:
    columns = {column: hashlib.sha256() for column in sorted(source.fields)}
    for batch in read_batches(source, split):
        for column, digest in columns.items():
            values = batch[column].to_pylist()
            texts = [x if isinstance(x, bytes) else str(x).encode() for x in values]
            # A value's length before it: no two lists of values run into one another.
            digest.update(b"".join(len(text).to_bytes(8, "little") + text for text in texts))
    return ", ".join(f"{column}={digest.hexdigest()}" for column, digest in columns.items())


def digest_of(rows: Any) -> str:
    """The same for rows that are bundled, from their `repr`."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def verify(source: Source, missing: Iterable[str] = ()) -> str:
    """`describe` the source, after a check of digests, and that every row can be read."""
    for split in source.splits:
        for _ in read_batches(source, split) if split not in missing else ():
            pass
    return describe([source])


def describe(sources: Iterable[Source]) -> str:
    """A line for every file of every source, whether it is there or not."""
    lines = [f"Data in {data_root()}"]
    for source, split in [(one, split) for one in sources for split in one.splits]:
        path = source.path(split)
        try:
            rows, size = pq.read_metadata(path).num_rows, path.stat().st_size / 1e6
            known = "" if path.name in source.manifest() else "  (no digest)"
            what = f"{rows:>9,} rows {size:>8.1f} MB{known}"
        except FileNotFoundError:
            what = f"missing: run `sgblend data fetch {source.name}`"
        except (pa.ArrowException, OSError):
            what = "damaged: move it away and fetch it again"
        lines.append(f"  {source.name + '/' + split:<20} {what}")
    return "\n".join(lines)
