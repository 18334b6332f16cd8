"""The audit ladder: from the published protocol to a sound one, one fix at a time.

A rung mends something in training (then a model of its own is trained) or something in how the
scores are read off a model (then the model of the rung before is read again).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sgblend_utils.configs import PRESETS, RunConfig
from sgblend_utils.errors import UserError
from sgblend_utils.models.published import FLAWS
from sgblend_utils.runs import load_records

TASK = "wmt14"


@dataclass(frozen=True)
class Rung:
    """One step of the ladder.

    Attributes:
        label: what is mended, in a few words.
        why: one sentence for the table.
        fixed: flaws of training that this rung removes; the rungs after it stay without them.
        accuracy, bleu: the path of the reading in a record's metrics.
        scale: from that BLEU to the range 0-1.
    """

    label: str
    why: str
    fixed: tuple[str, ...] = ()
    accuracy: tuple[str, ...] = ("readings", "validation", "accuracy_all")
    bleu: tuple[str, ...] = ("readings", "validation", "forced_bleu")
    scale: float = 1.0


REAL = ("readings", "validation", "accuracy_real")
FREE = ("readings", "validation", "free_bleu")
TEST = {"accuracy": ("test_accuracy",), "bleu": ("readings", "test", "free_bleu")}
SOUND = {"accuracy": ("test_accuracy",), "bleu": ("bleu",), "scale": 0.01}

LADDER = (
    Rung(
        "as published",
        "Every flaw in force; 100 sentences of the training file's tail, gold words given.",
    ),
    Rung(
        "English to German",
        "The direction that the labels name: German has more word forms to choose from.",
        ("reversed_direction",),
    ),
    Rung(
        "causal mask",
        "The decoder no longer sees the word that it is asked for.",
        ("no_causal_mask",),
    ),
    Rung(
        "accuracy of words alone",
        "The same model; padding is no longer counted as a word that was predicted.",
        accuracy=REAL,
    ),
    Rung(
        "padding out of training",
        "Neither the loss nor attention sees padding.",
        ("padding_in_loss", "no_padding_masks"),
        accuracy=REAL,
    ),
    Rung(
        "no gold words in BLEU",
        "The same model translates by itself, from the source alone.",
        accuracy=REAL,
        bleu=FREE,
    ),
    Rung(
        "newstest2014",
        "The same model on text of another origin, not on the tail of the training file.",
        **TEST,
    ),
    Rung(
        "sacreBLEU",
        "The same translations, scored as the field does: cased, punctuation apart, no end mark.",
        **SOUND,
    ),
    Rung(
        "cased subwords",
        "No word is unknown, capitals count; pairs that are too long are left out, not cut.",
        ("word_tokens", "front_truncation"),
        **SOUND,
    ),
    Rung(
        "held-out selection",
        "All of the text trains, drawn from the whole file; newstest2013 validates; no early stop.",
        ("head_of_file", "tail_validation", "early_stopping_on_reported_split"),
        **SOUND,
    ),
    Rung(
        "a plain Transformer",
        "A fresh activation at each site in its plain form, pre-norm, heads of the usual width.",
        (
            *("shared_activation", "published_activation"),
            *("post_norm", "wide_key_dim", "extra_head"),
        ),
        **SOUND,
    ),
)
"""From published to sound; each rung has all the fixes of those before it."""


def flaws_at(place: int) -> list[str]:
    """The flaws of training that are still in force on a rung."""
    fixed = {name for rung in LADDER[: place + 1] for name in rung.fixed}
    return [name for name in FLAWS if name not in fixed]


def rung_configs(preset: str, activation: str, seed: int) -> list[RunConfig]:
    """The run that each rung reads; rungs that differ in their reading share one."""
    if (TASK, "published", preset) not in PRESETS:
        have = ", ".join(p for t, q, p in PRESETS if (t, q) == (TASK, "published"))
        raise UserError(f"There is no {preset} preset of the published protocol: choose {have}.")
    everything = PRESETS[TASK, "published", preset]["flaws"]
    configs = []
    for place in range(len(LADDER)):
        flaws = flaws_at(place)
        overrides = {} if flaws == everything else {"flaws": flaws}
        configs.append(RunConfig(TASK, activation, "published", preset, seed, overrides))
    return configs


def needed_runs(preset: str, activation: str, seeds: Sequence[int]) -> list[RunConfig]:
    """Every run of the ladder once, seed by seed."""
    out: list[RunConfig] = []
    for seed in seeds:
        for config in rung_configs(preset, activation, seed):
            if config not in out:
                out.append(config)
    return out


def command(preset: str, activation: str, seeds: Sequence[int]) -> str:
    """The command line that fills the ladder."""
    numbers = ",".join(map(str, seeds))
    return f"sgblend audit {TASK} --preset {preset} --activation {activation} --seeds {numbers}"


def stored_seeds(preset: str, activation: str, root: Path | None = None) -> list[int]:
    """Seeds whose ladder is complete in the store."""
    frame = load_records(root)
    if frame.empty:
        return []
    stored = records_by_config(frame)
    seeds = sorted({int(seed) for seed in frame.loc[frame["protocol"] == "published", "seed"]})
    return [
        seed
        for seed in seeds
        if all(
            identity(config.describe()) in stored
            for config in rung_configs(preset, activation, seed)
        )
    ]


def identity(config: dict[str, Any]) -> str:
    """What makes two runs the same, apart from their data: everything but how it was written."""
    return json.dumps({k: v for k, v in config.items() if k != "overrides"}, sort_keys=True)


def records_by_config(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Stored records by the configuration that they are of."""
    return {identity(record["config"]): record for record in frame["record"]}


def reading(record: dict[str, Any], path: Sequence[str]) -> float:
    """The number at a path in a record's metrics."""
    value: Any = record["metrics"]
    for name in path:
        value = value[name]
    return float(value)


def ladder_records(
    preset: str, activation: str, seeds: Sequence[int], root: Path | None = None
) -> list[list[dict[str, Any]]]:
    """The record of each rung (outer) and seed (inner).

    Raises:
        UserError: some run has no record; names the command that makes it.
    """
    frame = load_records(root)
    stored = {} if frame.empty else records_by_config(frame)
    out: list[list[dict[str, Any]]] = [[] for _ in LADDER]
    for seed in seeds:
        for place, config in enumerate(rung_configs(preset, activation, seed)):
            key = identity(config.describe())
            if key not in stored:
                raise UserError(
                    f"The ladder's rung {LADDER[place].label!r} has no record for seed {seed}; "
                    f"`{command(preset, activation, seeds)}` trains what is missing."
                )
            out[place].append(stored[key])
    return out


def ladder_table(
    preset: str, activation: str, seeds: Sequence[int] = (0,), root: Path | None = None
) -> pd.DataFrame:
    """A row per rung, means over seeds.

    Columns: `rung`, `why`, `trained` (whether the rung has a model of its own), `accuracy` and
    `bleu` (both 0-1) as read on that rung, `accuracy_change`, `bleu_change` from the rung before,
    `sacrebleu` (0-100, free-running on the test set) of the rung's model, and its `run` (key).
    """
    rows = []
    for rung, records in zip(LADDER, ladder_records(preset, activation, seeds, root), strict=True):
        values = pd.DataFrame(
            {
                "accuracy": [reading(record, rung.accuracy) for record in records],
                "bleu": [rung.scale * reading(record, rung.bleu) for record in records],
                "sacrebleu": [reading(record, ("bleu",)) for record in records],
            }
        ).mean()
        keys = " ".join(record["key"] for record in records)
        rows.append({"rung": rung.label, "why": rung.why, **values, "run": keys})
    table = pd.DataFrame(rows)
    table.insert(2, "trained", table["run"].ne(table["run"].shift()))
    for place, name in ((4, "accuracy"), (6, "bleu")):
        table.insert(place, f"{name}_change", table[name].diff())
    return table


def ladder_text(table: pd.DataFrame) -> pd.DataFrame:
    """The same to read: percentages and signed changes; an asterisk where a model was trained."""
    out = pd.DataFrame({"rung": table["rung"] + table["trained"].map({True: " *", False: ""})})
    for name, label in (("accuracy", "accuracy (%)"), ("bleu", "BLEU (0–1)")):
        scale, digits = (100, 1) if name == "accuracy" else (1, 3)
        out[label] = [f"{scale * value:.{digits}f}" for value in table[name]]
        changes = (scale * table[f"{name}_change"]).fillna(0).round(digits)
        texts = [f"{value:+.{digits}f}".replace("-", "−") if value else "same" for value in changes]
        out["change of accuracy" if name == "accuracy" else "change of BLEU"] = ["", *texts[1:]]
    out["sacreBLEU of its model (0–100)"] = [f"{value:.2f}" for value in table["sacrebleu"]]
    return out
