"""What one run is: task, protocol, preset, activation, seed, settings, and the key that names it.

Settings are frozen dataclasses.  A field's default means "as if the setting did not exist" and
never changes, so that a record's key, which hashes only what differs from the defaults, outlives
every setting that is added later.  Presets are values over the defaults; they may change, and the
records of the old values stay what they were.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import json
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from typing import Any

from sgblend_utils import zoo
from sgblend_utils.errors import UserError
from sgblend_utils.zoo import choose

SCHEMA = 2
BACKENDS = ("jax", "tensorflow", "torch")


def is_number(value: Any, lowest: float = 0, kind: Any = (int, float)) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and lowest <= value < math.inf


is_count = functools.partial(is_number, lowest=1, kind=int)


def of_kind(wanted: str, valid: Callable[[Any], bool]) -> Callable[..., Any]:
    """Makes fields: a default, its check and, for the error message, what is wanted in words."""

    def make(default: Any = None, **more: str) -> Any:
        return field(default=default, metadata={"valid": valid, "wanted": wanted, **more})

    return make


count = of_kind("a positive whole number", is_count)
optional_count = of_kind("a positive whole number or null", lambda x: x is None or is_count(x))
number = of_kind("a number from 0 on", is_number)
share = of_kind("a number from 0 to below 1", lambda x: is_number(x) and x < 1)
flag = of_kind("true or false", lambda x: isinstance(x, bool))
boundaries = of_kind(
    "a list of increasing positive whole numbers",
    lambda x: isinstance(x, tuple) and all(map(is_count, x)) and list(x) == sorted(set(x)) != [],
)


def at_least(lowest: int, default: int) -> Any:
    return of_kind(f"a whole number from {lowest} on", lambda x: is_number(x, lowest, int))(default)


def one_of(*names: str) -> Any:
    """A word out of a few, the first by default."""
    return of_kind(" or ".join(names), lambda x: x in names)(names[0])


def switch(meaning: str) -> Any:
    """A protocol switch, off by default; `meaning` is what happens where it is on."""
    return flag(False, switch=meaning)


@dataclass(frozen=True)
class Settings:
    """Base of a task's settings; a UserError names a value out of its range."""

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            if not f.metadata["valid"](value := getattr(self, f.name)):
                shown = json.dumps(value, default=str)
                raise UserError(f"{f.name} is {shown}; give {f.metadata['wanted']}.")

    def override(self, values: Mapping[str, Any]) -> Settings:
        """The settings with other values for some; a UserError names one that does not exist."""
        for name in values:
            choose("setting", name, [f.name for f in dataclasses.fields(self)])
        tuples = {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
        return dataclasses.replace(self, **{**values, **tuples})

    def differing(self, other: Settings | None = None) -> dict[str, Any]:
        """The values that differ from `other`, by default from the defaults; lists for tuples."""
        return {
            f.name: list(value) if isinstance(value, tuple) else value
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != getattr(other or type(self)(), f.name)
        }

    @property
    def switches(self) -> tuple[str, ...]:  # that are on
        return tuple(name for name in switch_meanings(type(self)) if getattr(self, name))


def switch_meanings(kind: type[Settings]) -> dict[str, str]:
    """Protocol switch -> what the published protocol does there, in one sentence."""
    return {
        f.name: f.metadata["switch"] for f in dataclasses.fields(kind) if "switch" in f.metadata
    }


def stored_presets(task: str, kind: type[Settings]) -> dict[tuple[str, str], Settings]:
    """(protocol, preset) -> settings of a task, from `presets.toml`."""
    every = tomllib.loads(resources.files("sgblend_utils").joinpath("presets.toml").read_text())

    def values(name: str) -> dict[str, Any]:
        own: dict[str, Any] = functools.reduce(dict.get, name.split("."), every)  # type: ignore[arg-type]
        start = values(own["base"]) if "base" in own else {}
        if own.get("all_switches"):
            start = dict.fromkeys(switch_meanings(kind), True)
        return start | {k: v for k, v in own.items() if k not in ("base", "all_switches")}

    return {
        (protocol, preset): kind().override(values(f"{task}.{protocol}.{preset}"))
        for protocol, tables in every[task].items()
        for preset in tables
    }


@dataclass(frozen=True)
class RunConfig:
    """One run: what is trained, how, on what, and with which seed."""

    task: str
    activation: str = "sgblend"  # with options if wished: `sgblend(parameterization=published)`
    protocol: str = "sound"
    preset: str = "mini"
    seed: int = 0  # of weights, data order and dropout; the same for every activation
    overrides: Mapping[str, Any] = field(default_factory=dict)  # settings other than the preset's
    backend: str | None = None  # of Keras; None is the task's own

    def __post_init__(self) -> None:
        presets = self.task_object.presets
        object.__setattr__(self, "activation", zoo.canonical(self.activation))
        choose("protocol", self.protocol, dict.fromkeys(protocol for protocol, _ in presets))
        there = [preset for protocol, preset in presets if protocol == self.protocol]
        choose(f"{self.protocol} preset of {self.task}", self.preset, there)
        if not is_number(self.seed, 0, int):
            raise UserError(f"The seed is {self.seed}; give a whole number from 0 on.")
        if self.backend is None:
            object.__setattr__(self, "backend", self.task_object.default_backend)
        choose("backend", str(self.backend), BACKENDS)
        self.settings  # noqa: B018 - wrong overrides are complained of now

    @property
    def task_object(self) -> Any:
        # Tasks are found by their files, so that a new one is one file; they import this module.
        return importlib.import_module("sgblend_utils.tasks").task_named(self.task)

    @cached_property
    def settings(self) -> Any:
        return self.task_object.presets[self.protocol, self.preset].override(self.overrides)

    def describe(self) -> dict[str, Any]:
        """The form in which a record stores this; `settings` are those that are not the default."""
        names = ("protocol", "preset", "activation", "seed", "backend")
        described = {"task": self.task, "version": self.task_object.version}
        described |= {name: getattr(self, name) for name in names}
        return {**described, "settings": self.settings.differing()}

    def key(self, rows: str | None = None) -> str:
        """The run's name: sixteen hex digits; `rows` is the digest of its data, read by default."""
        rows = self.task_object.rows_digest(self.preset) if rows is None else rows
        return record_key(self.describe(), rows)


def record_key(described: Mapping[str, Any], rows: str) -> str:
    """Hash of what a run's numbers depend on; a preset's values count, its name does not."""
    identity = {name: value for name, value in described.items() if name != "preset"}
    text = json.dumps([SCHEMA, identity, rows], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
