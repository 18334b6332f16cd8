"""Fetching the real data from the Hugging Face hub into the layout that `hub` reads.

Rows are streamed, so that 50,000 of WMT14's 4.5 million pairs cost no more than themselves.  They
arrive as shards under `<task>/.partial`, each complete on its own, beside a note of how far the
stream has come; an interrupted fetch reads the note and goes on from there.  The last step turns
the shards into the file, writes its digest into `manifest.json` and moves it into place at once.

`HF_ENDPOINT`, `HF_HOME` and `HF_TOKEN` act as everywhere with the hub's own libraries, which are
imported only when something is fetched: they are slow to load.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from tqdm import tqdm

from sgblend_utils.datasets import data_root, hub
from sgblend_utils.datasets.hub import TASKS, describe, verify
from sgblend_utils.errors import UserError

__all__ = ["TASKS", "describe", "fetch", "verify"]

SHARD_ROWS = 10_000
DEFAULT_TRAIN_ROWS = {"wmt14": 50_000}  # of 4.5 million; other tasks are fetched whole


@dataclass(frozen=True)
class Source:
    """Where a task's data come from, and for each of its columns the field and the type."""

    repo: str
    config: str | None
    revision: str
    fields: dict[str, tuple[tuple[str, ...], pa.DataType]]


SOURCES: dict[str, Source] = {
    "wmt14": Source(
        "wmt/wmt14",
        "de-en",
        "b199e406369ec1b7634206d3ded5ba45de2fe696",
        {"en": (("translation", "en"), pa.string()), "de": (("translation", "de"), pa.string())},
    ),
    # A branch, not a commit: the commit it stands for is asked for once at the start of a fetch,
    # holds until the fetch is complete, and is written into the manifest.
    "multi30k": Source(
        "bentrevett/multi30k",
        None,
        "main",
        {"en": (("en",), pa.string()), "de": (("de",), pa.string())},
    ),
    "imdb": Source(
        "stanfordnlp/imdb",
        "plain_text",
        "e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
        {"text": (("text",), pa.string()), "label": (("label",), pa.int8())},
    ),
    "cifar10": Source(
        "uoft-cs/cifar10",
        "plain_text",
        "0b2714987fa478483af9968de7c934580d0bb9a2",
        {"img": (("img", "bytes"), pa.binary()), "label": (("label",), pa.int8())},
    ),
}


@dataclass
class _Progress:
    """The note in `.partial/<split>/progress.json`: what is fetched, how far it has come."""

    repo: str
    config: str | None
    commit: str
    limit: int
    shard_rows: int
    shards: int = 0
    rows: int = 0
    complete: bool = False
    stream: dict | None = None

    def same_job(self, other: "_Progress") -> bool:
        keys = ("repo", "config", "commit", "limit", "shard_rows")
        return all(getattr(self, key) == getattr(other, key) for key in keys)


def fetch(
    task: str,
    root: Path | None = None,
    max_rows: int | None = None,
    revision: str | None = None,
    shard_rows: int = SHARD_ROWS,
) -> list[hub.FileState]:
    """Fetch what is missing of a task's files; those already there are checked and kept.

    Args:
        task: one of `hub.TASKS`.
        root: folder of the task folders (default `data_root()`).
        max_rows: training rows to fetch, the first of the hub's order; 0 is all of them, None is
            50,000 for wmt14 and all for the others.
        revision: commit, branch or tag of the hub's repository, instead of the pinned one.
        shard_rows: rows between two points from which an interrupted fetch can go on.

    Raises:
        UserError: unknown task, a file there that is damaged or has another number of rows than
            asked for, no network, a connection that breaks, an unwritable folder.
    """
    splits = hub.layout(task).splits
    if max_rows is not None and max_rows < 0:
        raise UserError(f"The number of rows must be positive, or 0 for all, not {max_rows}.")
    folder = Path(root or data_root()) / task
    missing = [split for split in splits if not (folder / f"{split}.parquet").exists()]
    for split in splits:
        if split not in missing:
            _keep(task, split, root, max_rows if split == "train" else None)
    if missing:
        limit = DEFAULT_TRAIN_ROWS.get(task, 0) if max_rows is None else max_rows
        commit = _commit(folder, SOURCES[task].repo, revision or SOURCES[task].revision)
        try:
            (folder / ".partial").mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".partial" / "lock", timeout=0):
                _write_json(folder / ".partial" / "commit.json", commit)
                for split in missing:
                    rows = limit if split == "train" else 0
                    _fetch_split(task, split, folder, commit["commit"], rows, shard_rows)
            shutil.rmtree(folder / ".partial")
        except Timeout:
            raise UserError(f"Another fetch of {task} is running: wait until it ends.") from None
        except OSError as error:
            raise UserError(
                f"The folder {folder} cannot be written ({error.strerror or error}): set "
                "SGBLEND_DATA to one that can, or make room."
            ) from error
    return [hub.file_state(task, split, root) for split in splits]


def _keep(task: str, split: str, root: Path | None, max_rows: int | None) -> None:
    """Check a file that is already there; UserError when it is not what was asked for."""
    state = hub.verify_file(task, split, root)
    manifest = state.path.with_name("manifest.json")
    entry = hub.read_manifest(manifest).get(state.path.name, {}) if manifest.is_file() else {}
    if max_rows is not None and entry.get("max_rows", max_rows) != max_rows:
        raise UserError(
            f"{state.path} is there with {state.rows:,} rows and is not fetched again: "
            "move it away to fetch another number of rows."
        )


def _fetch_split(
    task: str, split: str, folder: Path, commit: str, limit: int, shard_rows: int
) -> None:
    """Bring one file into place."""
    source, area = SOURCES[task], folder / ".partial" / split
    fresh = _Progress(source.repo, source.config, commit, limit, shard_rows)
    progress = _read_progress(area)
    if progress is None or not progress.same_job(fresh):
        shutil.rmtree(area, ignore_errors=True)
        area.mkdir()
        progress = fresh
    if not progress.complete:
        _stream(task, split, area, progress)
    _assemble(task, split, folder, area, progress)


def _stream(task: str, split: str, area: Path, progress: _Progress) -> None:
    """Append shards to `area` until the limit or the end of the stream."""
    total = progress.limit or None
    bar = tqdm(
        total=total, initial=progress.rows, desc=f"{task} {split}", unit=" rows", disable=None
    )
    with bar:
        for table, stream in _batches(SOURCES[task], split, progress):
            room = total - progress.rows if total else table.num_rows
            shard = _columns(task, table.slice(0, room))
            # The shard first, then the note that counts it: a shard without a note is rewritten.
            _write_table(area / f"{progress.shards:05d}.parquet", [shard])
            progress.shards += 1
            progress.rows += shard.num_rows
            progress.stream = stream
            _write_json(area / "progress.json", asdict(progress))
            bar.update(shard.num_rows)
            if progress.rows == total:
                break
    progress.complete = True
    _write_json(area / "progress.json", asdict(progress))


def _batches(source: Source, split: str, progress: _Progress) -> Iterator[tuple[pa.Table, dict]]:
    """Tables of `shard_rows` rows from where the stream stopped, each with its stream state.

    A stream that goes on re-reads the beginning of the one source file in which it stopped.
    """
    # Everything in here is the hub's client: whatever it raises means that the hub did not deliver.
    try:
        import datasets

        stream = datasets.load_dataset(
            source.repo, source.config, split=split, streaming=True, revision=progress.commit
        ).with_format("arrow")
        if progress.stream is not None:
            stream.load_state_dict(progress.stream)
        batches = stream.iter(batch_size=progress.shard_rows)
    except Exception as error:
        raise _unreachable(source.repo, error) from error
    while True:
        try:
            table = next(batches, None)
        except Exception as error:
            raise UserError(
                f"The connection to the hub broke after {progress.rows:,} rows of {split} "
                f"({_brief(error)}): run the same command again to go on from there."
            ) from error
        if table is None:
            return
        yield table, stream.state_dict()


def _columns(task: str, table: pa.Table) -> pa.Table:
    """The task's columns, in the layout's order and types."""
    columns = {}
    for name, ((field, *inner), kind) in SOURCES[task].fields.items():
        column = table[field]
        columns[name] = (pc.struct_field(column, inner) if inner else column).cast(kind)
    return pa.table(columns)


def _assemble(task: str, split: str, folder: Path, area: Path, progress: _Progress) -> None:
    """Join the shards, write the digest down and move the file into place."""
    joined, final = area / "joined.parquet", folder / f"{split}.parquet"
    shards = [area / f"{number:05d}.parquet" for number in range(progress.shards)]
    _write_table(joined, (pq.read_table(shard) for shard in shards))
    with joined.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    path = folder / "manifest.json"
    files = hub.read_manifest(path) if path.is_file() else {}
    files[final.name] = {
        "sha256": digest,
        "bytes": joined.stat().st_size,
        "rows": progress.rows,
        "columns": list(hub.layout(task).columns),
        "source": progress.repo,
        "config": progress.config,
        "commit": progress.commit,
        "max_rows": progress.limit,
    }
    # Digest before file: what breaks off between the two is put right by the next fetch.
    _write_json(path, {"task": task, "files": files})
    os.replace(joined, final)
    shutil.rmtree(area)


def _write_table(path: Path, tables) -> None:
    """Write tables of one schema as one Parquet file, a row group each, whole or not at all."""
    draft = path.with_suffix(".draft")
    writer = None
    for table in tables:
        writer = writer or pq.ParquetWriter(draft, table.schema, compression="zstd")
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
    if writer is None:
        raise UserError(f"The hub gave no rows for {path.parent.name}: try another revision.")
    writer.close()
    os.replace(draft, path)


def _write_json(path: Path, value: dict) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
    os.replace(draft, path)


def _read_progress(area: Path) -> _Progress | None:
    """The note, or None when there is none that can be used."""
    try:
        progress = _Progress(**json.loads((area / "progress.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    shards = (area / f"{number:05d}.parquet" for number in range(progress.shards))
    return progress if all(shard.is_file() for shard in shards) else None


def _commit(folder: Path, repo: str, revision: str) -> dict[str, str]:
    """The commit that `revision` stands for, or stood for when an interrupted fetch began.

    Asks the hub in any case: whether it can be reached is better known before anything is written.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    note = folder / ".partial" / "commit.json"
    try:
        begun = json.loads(note.read_text("utf-8"))
    except (OSError, ValueError):
        begun = {}
    same = begun.get("repo") == repo and begun.get("revision") == revision
    wanted = begun["commit"] if same else revision
    try:
        commit = HfApi().dataset_info(repo, revision=wanted, timeout=30).sha
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise UserError(
            f"The hub has no revision {wanted!r} of {repo}: name another with --revision."
        ) from None
    except Exception as error:
        raise _unreachable(repo, error) from error
    return {"repo": repo, "revision": revision, "commit": commit}


def _unreachable(repo: str, error: Exception) -> UserError:
    return UserError(
        f"{repo} cannot be had from the hub ({_brief(error)}): connect to the network, set "
        "HF_ENDPOINT to a mirror, or set SGBLEND_DATA to a folder that has the data."
    )


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
