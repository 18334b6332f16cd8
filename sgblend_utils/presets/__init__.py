"""Settings of each kind of task: one module a kind, each with `PRESETS` and `CHECKS`.

`PRESETS` maps (task, protocol, preset) to settings.  `CHECKS` maps a setting's name to a pair: a
function that says whether a value is valid, and what is wanted, in words, for the error message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Presets = dict[tuple[str, str, str], dict[str, Any]]
Check = tuple[Callable[[Any], bool], str]
Checks = dict[str, Check]


def is_count(value: Any) -> bool:
    """A positive whole number."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def is_number(value: Any) -> bool:
    """A number from 0 on."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


COUNT: Check = (is_count, "a positive whole number")
COUNT_OR_ALL: Check = (lambda x: x is None or is_count(x), "a positive whole number")
NUMBER: Check = (is_number, "a number from 0 on")
SHARE: Check = (lambda x: is_number(x) and x < 1, "a number from 0 to below 1")
FLAG: Check = (lambda x: isinstance(x, bool), "true or false")


def one_of(*names: str) -> Check:
    """One of a few words."""
    return (lambda x: x in names, " or ".join(names))


RISING: Check = (
    lambda x: isinstance(x, list) and all(map(is_count, x)) and bool(x) and x == sorted(set(x)),
    "a list of increasing positive whole numbers",
)
