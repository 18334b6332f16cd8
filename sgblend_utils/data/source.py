"""The real data, `<root>/<source>/<split>.parquet`: read, verified, fetched from the hub."""

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from sgblend_utils.data import atomic_write, data_root, write_atomically
from sgblend_utils.errors import UserError
from sgblend_utils.zoo import choose

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
        return data_root() / self.name / f"{choose('split', split, self.splits)}.parquet"

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
            fetch = f"run `sgblend data fetch {self.name}`"
            raise UserError(f"{path} is missing: {fetch}, or set SGBLEND_DATA.")
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


def verify(source: Source, splits: Iterable[str]) -> None:
    """A UserError if a file is missing, has another digest, or a row that cannot be read."""
    for split in splits:
        for _ in read_batches(source, split):
            pass


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


def fetch(source: Source, max_rows: int | None = None, revision: str | None = None) -> None:
    """Fetch the files that are missing, of training the first `max_rows`; check the others."""
    if max_rows is not None and max_rows < 0:
        raise UserError(f"The number of rows must be positive, or 0 for all, not {max_rows}.")
    missing = [split for split in source.splits if not source.path(split).exists()]
    verify(source, [split for split in source.splits if split not in missing])
    train, wanted = source.path("train"), revision or source.revision
    have = source.manifest().get(train.name, {}).get("max_rows", max_rows)
    if "train" not in missing and max_rows not in (None, have):
        raise UserError(f"{train} is there: move it away to fetch another number of rows.")
    if not missing:
        return
    limit = source.train_rows if max_rows is None else max_rows
    with hub_errors(source, wanted):
        from huggingface_hub import dataset_info  # slow to import, like datasets

        commit = dataset_info(source.repo, revision=wanted, timeout=30).sha or wanted
    try:
        train.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(train.with_name(".lock"), timeout=0):
            for split in missing:
                write_split(source, split, commit, limit if split == "train" else 0)
    except OSError as error:  # of the lock too
        raise UserError(
            f"The folder {train.parent} cannot be written ({error.strerror or error}): if another "
            "fetch is running, wait until it ends; or set SGBLEND_DATA to another, or make room."
        ) from error


@contextmanager
def hub_errors(source: Source, revision: str) -> Iterator[None]:
    """Within it, whatever is raised means that the hub did not deliver this revision."""
    try:
        yield
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(
            f"{source.repo} cannot be had from the hub at revision {revision!r} ({said[:150]}): "
            "connect to the network and run the same command again, give another --revision, set "
            "HF_ENDPOINT to a mirror, or set SGBLEND_DATA to a folder that has the data."
        ) from error


def hub_tables(source: Source, split: str, commit: str, limit: int) -> Iterator[pa.Table]:
    """The split in the source's columns: streamed if cut, else through the hub's cache."""
    with hub_errors(source, commit):
        import datasets

        place = {"name": source.config, "split": split, "revision": commit}
        rows = datasets.load_dataset(source.repo, **place, streaming=limit > 0)
        for table in (rows.take(limit) if limit else rows).with_format("arrow").iter(BATCH_ROWS):
            flat, fields = table.flatten(), source.fields.items()
            yield pa.table({name: flat[".".join(path)].cast(kind) for name, (path, kind) in fields})


def write_split(source: Source, split: str, commit: str, limit: int) -> None:
    """Bring one file into place, after its line in the manifest."""
    path, schema = source.path(split), pa.schema([(n, t) for n, (_, t) in source.fields.items()])
    entry = {"source": source.repo, "config": source.config, "commit": commit, "max_rows": limit}
    with atomic_write(path) as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in hub_tables(source, split, commit, limit):
                writer.write_table(table)
        entry["rows"] = pq.read_metadata(file).num_rows
        file.seek(0)
        entry["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        # Digest before file: what breaks off between the two is put right by the next fetch.
        text = json.dumps({"files": source.manifest() | {path.name: entry}}, indent=2) + "\n"
        write_atomically(path.with_name("manifest.json"), text.encode())
