"""Fetching real data from the Hugging Face hub into the layout that `data.source` reads."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from sgblend_utils.data import atomic_write, data_root, write_atomically
from sgblend_utils.data.source import BATCH_ROWS, Source, verify
from sgblend_utils.errors import UserError


def fetch(
    source: Source,
    root: Path | None = None,
    max_rows: int | None = None,
    revision: str | None = None,
) -> None:
    """Fetch what is missing of a source's files; those already there are checked and kept.

    `max_rows` are the first training rows of the hub's order, 0 for all; `revision` is a commit,
    branch or tag instead of the pinned one.  A UserError says what is in the way.
    """
    if max_rows is not None and max_rows < 0:
        raise UserError(f"The number of rows must be positive, or 0 for all, not {max_rows}.")
    folder = Path(root or data_root()) / source.name
    missing = [split for split in source.splits if not source.path(split, root).exists()]
    verify(source, root, missing)
    have = source.manifest(root).get("train.parquet", {}).get("max_rows", max_rows)
    if "train" not in missing and max_rows not in (None, have):
        raise UserError(
            f"{folder / 'train.parquet'} is there and is not fetched again: move it away to fetch "
            "another number of rows."
        )
    if not missing:
        return
    limit, wanted = source.train_rows if max_rows is None else max_rows, revision or source.revision
    with hub_errors(source, wanted):
        from huggingface_hub import HfApi  # slow to import, like datasets

        commit = HfApi().dataset_info(source.repo, revision=wanted, timeout=30).sha or wanted
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock", timeout=0):
            for split in missing:
                write_split(source, split, folder, commit, limit if split == "train" else 0)
    except Timeout:
        raise UserError(f"Another fetch of {source.name} is running: wait until it ends.") from None
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be written ({error.strerror or error}): set "
            "SGBLEND_DATA to one that can, or make room."
        ) from error


@contextmanager
def hub_errors(source: Source, revision: str) -> Iterator[None]:
    """Within it, whatever is raised means that the hub did not deliver this revision."""
    try:
        yield
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if said.startswith(("RepositoryNotFoundError", "RevisionNotFoundError")):
            raise UserError(
                f"The hub has no revision {revision!r} of {source.repo}: give another --revision."
            ) from None
        raise UserError(
            f"{source.repo} cannot be had from the hub ({said[:150]}): connect to the network and "
            "run the same command again, set HF_ENDPOINT to a mirror, or set SGBLEND_DATA to a "
            "folder that has the data."
        ) from error


def hub_tables(source: Source, split: str, commit: str, limit: int) -> Iterator[pa.Table]:
    """The split in the source's columns: streamed if cut, else through the hub's cache."""
    with hub_errors(source, commit):
        import datasets

        place = {"name": source.config, "split": split, "revision": commit}
        rows = datasets.load_dataset(source.repo, **place, streaming=limit > 0)
        for table in (rows.take(limit) if limit else rows).with_format("arrow").iter(BATCH_ROWS):
            columns = {}
            for name, ((column, *inner), kind) in source.fields.items():
                values = pc.struct_field(table[column], inner) if inner else table[column]
                columns[name] = values.cast(kind)
            yield pa.table(columns)


def write_split(source: Source, split: str, folder: Path, commit: str, limit: int) -> None:
    """Bring one file into place, after its line in the manifest."""
    path = folder / f"{split}.parquet"
    schema = pa.schema({n: pa.type_for_alias(kind) for n, (_, kind) in source.fields.items()})
    entry = {"source": source.repo, "config": source.config, "commit": commit, "max_rows": limit}
    with atomic_write(path) as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in hub_tables(source, split, commit, limit):
                writer.write_table(table)
        rows, _ = pq.read_metadata(file).num_rows, file.seek(0)
        entry |= {"rows": rows, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        files = source.manifest(folder.parent) | {path.name: entry}
        # Digest before file: what breaks off between the two is put right by the next fetch.
        text = json.dumps({"files": files}, indent=2) + "\n"
        write_atomically(folder / "manifest.json", text.encode())
