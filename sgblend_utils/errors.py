"""The one exception that a user is meant to read, and silence for what is not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something the user can put right; the message is one sentence that says how."""


@contextmanager
def quiet() -> Iterator[None]:
    """Within it nothing is written to stderr, also by C++ libraries, which write past Python."""
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
