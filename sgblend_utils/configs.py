"""Every run's settings in one place: task, protocol and preset name them, overrides change them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sgblend_utils.activations import ACTIVATIONS
from sgblend_utils.errors import UserError
from sgblend_utils.presets import (
    Checks,
    Presets,
    published_translation,
    sentiment,
    translation,
    translation_gpu,
    vision,
)

KINDS = (translation, translation_gpu, published_translation, sentiment, vision)
PRESETS: Presets = {key: settings for kind in KINDS for key, settings in kind.PRESETS.items()}
# By task: a setting's name may mean one thing for one kind of task and another for the next.
CHECKS: dict[str, Checks] = {}
for kind in KINDS:
    for task in dict.fromkeys(task for task, _, _ in kind.PRESETS):
        CHECKS.setdefault(task, {}).update(kind.CHECKS)

TASKS = tuple(dict.fromkeys(task for task, _, _ in PRESETS))
PROTOCOLS = tuple(dict.fromkeys(protocol for _, protocol, _ in PRESETS))
PRESET_NAMES = tuple(dict.fromkeys(preset for _, _, preset in PRESETS))


def choose(kind: str, value: str, valid: tuple[str, ...]) -> str:
    """`value` if it is among `valid`; otherwise a UserError that lists them."""
    if value not in valid:
        raise UserError(f"Unknown {kind} {value!r}: choose one of {', '.join(valid)}.")
    return value


def check_setting(task: str, name: str, value: Any) -> None:
    """Raise a UserError that names a value out of its range."""
    valid, wanted = CHECKS[task][name]
    if not valid(value):
        raise UserError(f"{name} is {value}; give {wanted}.")


@dataclass(frozen=True)
class RunConfig:
    """One run: what is trained, how, on what, and with which seed.

    Attributes:
        task, protocol, preset: a key of `PRESETS`.
        activation: a name of `ACTIVATIONS`.
        seed: of the initial weights, the data order and dropout; the same for every activation.
        overrides: settings that differ from the preset's.
    """

    task: str
    activation: str
    protocol: str = "sound"
    preset: str = "mini"
    seed: int = 0
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        choose("task", self.task, TASKS)
        choose("activation", self.activation, tuple(ACTIVATIONS))
        choose("protocol", self.protocol, PROTOCOLS)
        choose("preset", self.preset, PRESET_NAMES)
        if (self.task, self.protocol, self.preset) not in PRESETS:
            have = ", ".join(p for t, q, p in PRESETS if (t, q) == (self.task, self.protocol))
            raise UserError(
                f"There is no {self.preset} preset of {self.task} in the {self.protocol} protocol; "
                f"choose one of: {have or 'none, choose another protocol'}."
            )
        for name, value in self.overrides.items():
            if name not in self.preset_settings:
                valid = ", ".join(self.preset_settings)
                raise UserError(f"Unknown setting {name!r}: choose one of {valid}.")
            check_setting(self.task, name, value)
        if self.seed < 0:
            raise UserError(f"The seed is {self.seed}; give a whole number from 0 on.")

    @property
    def preset_settings(self) -> dict[str, Any]:
        """The settings before overrides."""
        return PRESETS[self.task, self.protocol, self.preset]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings the run uses."""
        return {**self.preset_settings, **self.overrides}

    def describe(self) -> dict[str, Any]:
        """The form in which a record stores this."""
        return {
            "task": self.task,
            "protocol": self.protocol,
            "preset": self.preset,
            "activation": self.activation,
            "seed": self.seed,
            "overrides": dict(self.overrides),
            "settings": self.settings,
        }

    def key(self, data_digest: str) -> str:
        """Sixteen hex digits that name the run: a hash of its resolved settings and of its data.

        Resolved settings rather than overrides, so that a changed preset is a different run.
        """
        described = self.describe()
        del described["overrides"]
        text = json.dumps([described, data_digest], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
