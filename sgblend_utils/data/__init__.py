"""Where files lie, and how they are written; the data themselves are in the modules beside."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sgblend_utils.errors import UserError


def project_root() -> Path:
    """The checkout this package is installed from, or the current folder if it is not from one."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def data_root() -> Path:
    """Folder of the real data: `$SGBLEND_DATA`, else `data/cache`.  It need not exist yet."""
    return Path(os.environ.get("SGBLEND_DATA") or project_root() / "data" / "cache").expanduser()


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path`, whole, when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        with open(unfinished := Path(folder, "file"), "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)


def taken(max_samples: int | None, there: int, what: str) -> int:
    """How many of so many training examples are used; a UserError if there are fewer."""
    if (max_samples or 0) > there:
        raise UserError(f"max_samples is {max_samples}; ask for at most {there} {what}.")
    return max_samples or there


def write_atomically(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)
