"""Every run's settings in one place: task, protocol and preset name them, overrides change them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sgblend_utils.activations import ACTIVATIONS
from sgblend_utils.errors import UserError

# Shared by the presets of the sound translation protocol (English to German, as the paper labels).
TRANSLATION: dict[str, Any] = {
    "max_samples": None,  # training pairs; None takes all
    "vocabulary": 4000,  # joint subwords
    "d_model": 128,
    "num_heads": 4,
    "ff_dim": 256,
    "num_layers": 2,
    "gated": False,  # feed-forward: GEGLU with gelu, SwiGLU with silu, at equal parameter count
    "dropout": 0.1,
    "label_smoothing": 0.1,
    "epochs": 8,
    "tokens": 768,  # padded target positions a batch
    "widths": [12, 15, 18, 22, 28, 44],
    "learning_rate": 2e-3,  # at the end of the warm-up
    "schedule": "cosine",  # from there to zero; or "inverse_sqrt" (Vaswani et al. 2017)
    "warmup": 0.1,  # share of all steps
    "average": 5,  # checkpoints, a fiftieth of the steps apart, whose mean is tried at the end
    "beam": 4,  # hypotheses kept in the search; 1 is greedy
    "length_penalty": 1.0,  # exponent of Wu et al. 2016, eq. 14; 0 ranks by probability alone
    "weight_decay": 0.0,
    "clip": 1.0,  # global gradient norm
}
MINI = {
    "vocabulary": 600,
    "d_model": 64,
    "ff_dim": 128,
    "epochs": 12,
    "tokens": 1024,
    "widths": [16, 24],
    "learning_rate": 3e-3,
}

PRESETS: dict[tuple[str, str, str], dict[str, Any]] = {
    ("multi30k", "sound", "mini"): {**TRANSLATION, **MINI},
    ("wmt14", "sound", "mini"): {**TRANSLATION, **MINI},
    ("multi30k", "sound", "cpu"): {**TRANSLATION},
    ("wmt14", "sound", "cpu"): {
        **TRANSLATION,
        "epochs": 5,
        "widths": [16, 24, 32, 40, 48],
    },
}

TASKS = tuple(dict.fromkeys(task for task, _, _ in PRESETS))
PROTOCOLS = tuple(dict.fromkeys(protocol for _, protocol, _ in PRESETS))
PRESET_NAMES = tuple(dict.fromkeys(preset for _, _, preset in PRESETS))
SCHEDULES = ("cosine", "inverse_sqrt")
COUNTS = (
    "vocabulary",
    "d_model",
    "num_heads",
    "ff_dim",
    "num_layers",
    "epochs",
    "tokens",
    "average",
    "beam",
)
SHARES = ("dropout", "label_smoothing", "warmup")


def choose(kind: str, value: str, valid: tuple[str, ...]) -> str:
    """`value` if it is among `valid`; otherwise a UserError that lists them."""
    if value not in valid:
        raise UserError(f"Unknown {kind} {value!r}: choose one of {', '.join(valid)}.")
    return value


def check_setting(name: str, value: Any) -> None:
    """Raise a UserError that names a value out of its range."""

    def is_count(x: Any) -> bool:
        return isinstance(x, int) and not isinstance(x, bool) and x > 0

    def is_number(x: Any) -> bool:
        return isinstance(x, (int, float)) and not isinstance(x, bool) and x >= 0

    if name == "max_samples":
        valid, wanted = value is None or is_count(value), "a positive whole number"
    elif name in COUNTS:
        valid, wanted = is_count(value), "a positive whole number"
    elif name in SHARES:
        valid, wanted = is_number(value) and value < 1, "a number from 0 to below 1"
    elif name == "gated":
        valid, wanted = isinstance(value, bool), "true or false"
    elif name == "schedule":
        valid, wanted = value in SCHEDULES, " or ".join(SCHEDULES)
    elif name == "widths":
        rising = isinstance(value, list) and all(is_count(x) for x in value)
        valid = rising and value == sorted(set(value)) and bool(value)
        wanted = "a list of increasing positive whole numbers"
    else:
        valid, wanted = is_number(value), "a number from 0 on"
    if not valid:
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
            check_setting(name, value)
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
