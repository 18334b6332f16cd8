"""Fetching real data from the Hugging Face hub into the layout that `data.source` reads."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from sgblend_utils.data import atomic_write, write_atomically
from sgblend_utils.data.source import BATCH_ROWS, Source, verify
from sgblend_utils.errors import UserError


def fetch(source: Source, max_rows: int | None = None, revision: str | None = None) -> None:
    """Fetch what is missing of a source's files; those already there are checked and kept.

    `max_rows` are the first training rows in the hub's order; 0 is all.
    """
    if max_rows is not None and max_rows < 0:
        raise UserError(f"The number of rows must be positive, or 0 for all, not {max_rows}.")
    missing = [split for split in source.splits if not source.path(split).exists()]
    verify(source, missing)
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
