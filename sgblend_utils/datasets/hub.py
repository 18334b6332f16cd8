"""Reading the real data: `<root>/<task>/{train,validation,test}.parquet`, checked against digests.

Files in this layout are used as they are, whoever wrote them.  Nothing here needs a network or
changes a file; `sgblend_utils.datasets.fetch` does both.
"""

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sgblend_utils.datasets import data_root
from sgblend_utils.errors import UserError


@dataclass(frozen=True)
class Layout:
    """What a task's files hold: its splits and the columns that every one of its files has."""

    splits: tuple[str, ...]
    columns: tuple[str, ...]


TASKS: dict[str, Layout] = {
    "wmt14": Layout(("train", "validation", "test"), ("en", "de")),
    "multi30k": Layout(("train", "validation", "test"), ("en", "de")),
    "imdb": Layout(("train", "test"), ("text", "label")),
    "cifar10": Layout(("train", "test"), ("img", "label")),
}


def layout(task: str) -> Layout:
    """The splits and columns of `task`; UserError naming the valid tasks when there is none."""
    if task not in TASKS:
        raise UserError(f"There is no data set {task!r}: choose one of {', '.join(TASKS)}.")
    return TASKS[task]


def table_path(task: str, split: str, root: Path | None = None) -> Path:
    """Path of one file, which need not exist; UserError for an unknown task or split."""
    splits = layout(task).splits
    if split not in splits:
        raise UserError(f"{task} has no split {split!r}: choose one of {', '.join(splits)}.")
    return Path(root or data_root()) / task / f"{split}.parquet"


def file_digest(task: str, split: str, root: Path | None = None) -> str:
    """SHA-256 (hex) of the file's bytes; UserError when the file is missing."""
    path = table_path(task, split, root)
    try:
        state = path.stat()
    except OSError:
        raise UserError(
            f"The {task} data are not there ({path} is missing): run `sgblend data fetch {task}`, "
            "or set SGBLEND_DATA to a folder that has them."
        ) from None
    return _sha256(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    # Size and time are in the key so that one process hashes a file once, and again if it changes.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(path: Path) -> dict[str, dict]:
    """What a `manifest.json` says of each file, by name; UserError when it cannot be read."""
    try:
        files = json.loads(path.read_text("utf-8"))["files"]
        return {name: {**entry, "sha256": str(entry["sha256"])} for name, entry in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{path} is damaged: move the folder {path.parent} away and run "
            f"`sgblend data fetch {path.parent.name}`."
        ) from None


def expected_digest(task: str, split: str, root: Path | None = None) -> str | None:
    """The digest that the file should have, or None when none is written down.

    `<task>/manifest.json` counts first; else a Markdown table in `<root>/README.md` whose rows
    name a file in the first cell and its SHA-256 in the last.
    """
    path = table_path(task, split, root)
    manifest = path.with_name("manifest.json")
    if manifest.is_file() and path.name in (files := read_manifest(manifest)):
        return files[path.name]["sha256"]
    readme = path.parents[1] / "README.md"
    if readme.is_file():
        row = re.compile(
            rf"^\|\s*`{task}/{split}\.parquet`\s*\|.*`([0-9a-f]{{64}})`\s*\|\s*$", re.MULTILINE
        )
        if found := row.search(readme.read_text("utf-8")):
            return found[1]
    return None


def _damaged(task: str, path: Path, how: str) -> UserError:
    return UserError(
        f"{path} is damaged ({how}): move it away and run `sgblend data fetch {task}`, "
        "or set SGBLEND_DATA to a folder with a sound copy."
    )


def load_table(
    task: str, split: str, columns: list[str] | None = None, root: Path | None = None
) -> pa.Table:
    """One file as a table, its bytes checked against the written digest when there is one.

    Args:
        task: one of `TASKS`.
        split: one of the task's splits.
        columns: columns to read; None reads all, extra ones such as WMT14's `source` included.
        root: folder of the task folders (default `data_root()`).

    Raises:
        UserError: unknown task or split, missing file, digest mismatch, unreadable or foreign file.
    """
    path = _checked_path(task, split, root)
    try:
        present = pq.read_schema(path).names
        wanted = columns if columns is not None else layout(task).columns
        if missing := [name for name in wanted if name not in present]:
            raise UserError(f"{path} has no column {missing[0]!r}; it has {', '.join(present)}.")
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError):
        raise _damaged(task, path, "it cannot be read as Parquet") from None


def _checked_path(task: str, split: str, root: Path | None) -> Path:
    """The file's path, once its bytes are known to be those written down for it."""
    path = table_path(task, split, root)
    digest, expected = file_digest(task, split, root), expected_digest(task, split, root)
    if expected is not None and digest != expected:
        raise _damaged(task, path, "its SHA-256 is not the one written down for it")
    return path


class FileState(NamedTuple):
    """One file as it lies on the disk; `rows` and `bytes` are None when it is missing or damaged.

    `known` says whether a digest is written down for it, so that damage would be noticed.
    """

    task: str
    split: str
    path: Path
    rows: int | None
    bytes: int | None
    known: bool


def file_state(task: str, split: str, root: Path | None = None) -> FileState:
    """Size and row count from the file's footer, without reading its rows."""
    path = table_path(task, split, root)
    known = expected_digest(task, split, root) is not None
    try:
        return FileState(
            task, split, path, pq.read_metadata(path).num_rows, path.stat().st_size, known
        )
    except (pa.ArrowException, OSError):
        return FileState(task, split, path, None, None, known)


def describe(root: Path | None = None) -> str:
    """A line for every file of every task, whether it is there or not, as text."""
    root = Path(root or data_root())
    lines = [f"Data in {root}"]
    for task in TASKS:
        for split in TASKS[task].splits:
            state = file_state(task, split, root)
            if not state.path.exists():
                what = f"missing: run `sgblend data fetch {task}`"
            elif state.rows is None:
                what = "damaged: move it away and fetch it again"
            else:
                what = f"{state.rows:>9,} rows {state.bytes / 1e6:>8.1f} MB"
                what += "" if state.known else "  (no digest)"
            lines.append(f"  {task + '/' + split:<20} {what}")
    return "\n".join(lines)


def verify_file(task: str, split: str, root: Path | None = None) -> FileState:
    """Check one file: its digest where one is written down, and that every row can be read.

    Raises:
        UserError: the file is missing or damaged.
    """
    path = _checked_path(task, split, root)
    try:
        with pq.ParquetFile(path) as file:
            for _ in file.iter_batches(columns=list(layout(task).columns)):
                pass
    except (pa.ArrowException, OSError):
        raise _damaged(task, path, "it cannot be read as Parquet") from None
    return file_state(task, split, root)


def verify(task: str, root: Path | None = None) -> str:
    """`verify_file` for every split of `task`; what was found, as text."""
    states = [verify_file(task, split, root) for split in layout(task).splits]
    return "\n".join(
        f"{state.path}: {state.rows:,} rows, "
        + ("digest correct" if state.known else "readable; no digest to compare with")
        for state in states
    )


def wmt14_training_rows(table: pa.Table) -> pa.Table:
    """The rows that are WMT14 training text in its original case.

    Where a `source` column says what each row is, rows that are lowercased at the source, that are
    news test sets of other years or that are Multi30k captions are dropped.  Without that column
    (a table from the hub) every row is WMT14 training text and stays.
    """
    if "source" not in table.column_names:
        return table
    source = table["source"]
    foreign = pc.or_(pc.starts_with(source, "newstest"), pc.equal(source, "multi30k"))
    return table.filter(pc.invert(pc.or_(foreign, pc.ends_with(source, "lowercased"))))


def load_pairs(task: str, split: str, root: Path | None = None) -> list[tuple[str, str]]:
    """The (English, German) pairs of a translation split, in file order.

    For WMT14's training split only `wmt14_training_rows` are given.  That file is in blocks by
    origin: shuffle with a fixed seed before cutting a subset.
    """
    if "de" not in layout(task).columns:
        raise UserError(f"{task} is no translation data: choose wmt14 or multi30k.")
    table = load_table(task, split, root=root)
    if (task, split) == ("wmt14", "train"):
        table = wmt14_training_rows(table)
    return list(zip(table["en"].to_pylist(), table["de"].to_pylist(), strict=True))
