"""Which records belong together, and what is read from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from sgblend_utils.configs import PRESETS
from sgblend_utils.runs import load_records
from sgblend_utils.style import LABELS, PALETTE

BASELINE = "gelu"
UNREPORTED = ("mini",)  # presets whose numbers are never a result


@dataclass(frozen=True)
class Metric:
    """A column of the tables.

    Attributes:
        name: of the value in a record, or of the column made from it here.
        label: with its unit, as tables and axes write it.
        better: +1 if more is better, -1 if less is.
        digits: after the decimal point.
        span: an axis shows at least so much, lest a hair's breadth fill it.
        scale: from the record's unit to the label's.
    """

    name: str
    label: str
    better: int
    digits: int
    span: float
    scale: float = 1.0

    @property
    def plain(self) -> str:
        """The label without its unit, to begin a title."""
        name = self.label.split(" (")[0].removeprefix("test ")
        return name[0].upper() + name[1:]


METRICS = (
    Metric("reported_accuracy", "accuracy as published (%)", +1, 2, 1.0, 100),
    Metric("reported_bleu", "BLEU as published (0–1)", +1, 3, 0.02),
    Metric("bleu", "BLEU", +1, 2, 2.0),
    Metric("test_nll", "test cross-entropy (nats/token)", -1, 4, 0.04),
    Metric("test_nll_per_character", "cross-entropy (nats/character)", -1, 4, 0.01),
    Metric("test_accuracy", "test accuracy (%)", +1, 2, 1.0, 100),
    Metric("noise_accuracy", "accuracy, noisy (%)", +1, 2, 1.0, 100),
    Metric("blur_accuracy", "accuracy, blurred (%)", +1, 2, 1.0, 100),
    Metric("f1", "F1 (%)", +1, 2, 1.0, 100),
    Metric("roc_auc", "area under the ROC curve (%)", +1, 2, 1.0, 100),
    Metric("ece", "calibration error (%)", -1, 2, 1.0, 100),
    Metric("dead_share", "dead units (%)", -1, 2, 0.5, 100),
    Metric("near_dead_share", "near-dead units (%)", -1, 2, 0.5, 100),
    Metric("epoch_seconds_median", "epoch by the clock (s)", -1, 1, 10.0),
    Metric("time_ratio", "epoch's processor time (GELU's = 1)", -1, 3, 0.1),
)
BY_NAME = {metric.name: metric for metric in METRICS}
# Scores under teacher forcing: of a decoder that sees the answer they measure copying.
FORCED = ("test_nll", "test_nll_per_character", "test_accuracy")
COMPARED = (
    *("bleu", "test_nll", "test_accuracy", "f1", "noise_accuracy", "blur_accuracy"),
    *("dead_share", "time_ratio"),
)


@dataclass(frozen=True)
class Condition:
    """Runs that differ in activation and seed alone.

    Attributes:
        task, protocol, preset, backend, overrides: what they share.
        earlier: how their settings differ from what the preset says today; empty if they do not.
        slug: names the condition's files.
        frame: a row per run, ordered by activation and seed: `activation`, `seed`, `key`, every
            metric of `METRICS` that there is, in the unit of its label, and `record`.
    """

    task: str
    protocol: str
    preset: str
    backend: str
    overrides: str
    earlier: str
    slug: str
    frame: pd.DataFrame

    @property
    def activations(self) -> list[str]:
        """In the order of the project's palette."""
        return list(self.frame["activation"].unique())

    @property
    def translates(self) -> bool:
        """Whether these are runs of a translator."""
        return "bleu" in self.frame

    @property
    def metrics(self) -> list[Metric]:
        """Those that some run has, without scores of a translator that was given the answer."""
        known = [m for m in METRICS if m.name in self.frame and self.frame[m.name].notna().any()]
        if not self.translates:  # there, a loss is one of a review or an image
            per_example = {"label": "test cross-entropy (nats)"}
            known = [replace(m, **per_example) if m.name == "test_nll" else m for m in known]
        given = FORCED if "reported_bleu" in self.frame else ()
        return [m for m in known if m.name not in given]

    @property
    def name(self) -> str:
        """Task, protocol, preset and whatever was overridden."""
        apart = [self.overrides, "earlier settings" if self.earlier else ""]
        apart_text = "; ".join(text for text in apart if text)
        return f"{self.task}, {self.protocol}, {self.preset}" + (
            f" ({apart_text})" if apart_text else ""
        )

    @property
    def provenance(self) -> str:
        """What every table and figure says below itself."""
        machines = {hardware_name(record) for record in self.frame["record"]}
        return " · ".join(
            [
                self.task,
                f"protocol {self.protocol}",
                f"preset {self.preset}",
                *([self.overrides] if self.overrides else []),
                *([f"earlier settings: {self.earlier}"] if self.earlier else []),
                self.seeds,
                self.backend,
                " and ".join(sorted(machines)),
            ]
        )

    @property
    def seeds(self) -> str:
        """`seeds 0-2`, with the activations named where they have different ones."""
        by_seeds: dict[str, list[str]] = {}
        for name, group in self.frame.groupby("activation", sort=False):
            by_seeds.setdefault(ranges(group["seed"]), []).append(LABELS.get(name, name))
        if len(by_seeds) == 1:
            (text,) = by_seeds
            return ("seeds " if set(text) & set("-,") else "seed ") + text
        return "seeds " + "; ".join(f"{text} ({', '.join(n)})" for text, n in by_seeds.items())

    @property
    def command(self) -> str:
        """The command that makes the runs; what has a record is not run again."""
        config = self.frame["record"].iloc[0]["config"]
        words = ["sgblend sweep", self.task, "--protocol", self.protocol, "--preset", self.preset]
        words += ["--activations", ",".join(self.activations)]
        words += ["--seeds", ranges(self.frame["seed"]), "--backend", self.backend]
        for name, value in config["overrides"].items():
            words += ["--set", f"{name}={json.dumps(value)}"]
        if self.earlier:  # today's presets would make other runs
            commits = sorted({str(record["git_commit"])[:7] for record in self.frame["record"]})
            words += ["  # at commit", " or ".join(commits)]
        return " ".join(words)

    def history(self, column: str) -> pd.DataFrame:
        """One row per run and epoch: `activation`, `seed`, `epoch`, and `column` of the history."""
        return pd.DataFrame(
            [
                {"activation": a, "seed": s, "epoch": row["epoch"], column: row[column]}
                for a, s, record in self.frame[["activation", "seed", "record"]].values
                for row in record["history"]
                if column in row
            ]
        )

    def parameters(self) -> pd.DataFrame:
        """One row per run, epoch (0: before training), site and parameter: `value`.

        A parameter that has a value per channel is represented by their mean.
        """
        return pd.DataFrame(
            [
                (activation, seed, epoch, site, name, float(np.mean(value)))
                for activation, seed, record in self.frame[["activation", "seed", "record"]].values
                for epoch, sites in enumerate(record["activation_parameters"])
                for site, values in sites.items()
                for name, value in values.items()
            ],
            columns=["activation", "seed", "epoch", "site", "parameter", "value"],
        )


def hardware_name(record: dict) -> str:
    """`AMD EPYC, 1 core`, with the accelerators if there are any."""
    hardware = record["hardware"]
    cores = f"{hardware['cores']} core" + ("s" if hardware["cores"] != 1 else "")
    return ", ".join([hardware["processor"], cores, *hardware.get("accelerators", [])])


def ranges(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> "0-2,5"."""
    out: list[list[int]] = []
    for number in sorted({int(n) for n in numbers}):
        if out and number == out[-1][-1] + 1:
            out[-1].append(number)
        else:
            out.append([number])
    return ",".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in out)


def digest(frame: pd.DataFrame) -> str:
    """Twelve hex digits that name plotted numbers, at six significant digits."""
    return hashlib.sha256(frame.to_csv(float_format="%.6g").encode()).hexdigest()[:12]


def conditions(root: Path | None = None) -> list[Condition]:
    """The store's reported records, grouped, in the order of their slugs.

    A record belongs with another if task, protocol, preset, all settings, the data's digest and the
    backend agree.  The slug is task, protocol and preset; a hash is added where overrides are in
    force or the settings are earlier ones, or where that would name two conditions.
    """
    records = load_records(root)
    if records.empty:
        return []
    records = records[~records["preset"].isin(UNREPORTED)]
    # With some flaws mended, a run is a rung of the audit ladder, which has its own figure.
    rung = [("flaws" in record["config"]["overrides"]) for record in records["record"]]
    records = records[~np.array(rung, bool)]
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, record in records["record"].items():
        config = record["config"]
        identity = (
            *(config[name] for name in ("task", "protocol", "preset")),
            record["backend"],
            json.dumps(config["overrides"], sort_keys=True),
            json.dumps([config["settings"], record["data"]["digest"]], sort_keys=True),
        )
        groups.setdefault(identity, []).append(row)
    changes = {
        identity: earlier_settings(records["record"][rows[0]]["config"])
        for identity, rows in groups.items()
    }
    plain = [i[:3] for i in groups if i[4] == "{}" and not changes[i]]
    out = []
    for identity, rows in groups.items():
        slug = "_".join(identity[:3])
        if identity[4] != "{}" or changes[identity] or plain.count(identity[:3]) > 1:
            slug += "_" + hashlib.sha256(repr(identity).encode()).hexdigest()[:6]
        overrides = ", ".join(f"{k}={v}" for k, v in json.loads(identity[4]).items())
        frame = in_units(records.loc[rows])
        out.append(Condition(*identity[:4], overrides, changes[identity], slug, frame))
    return sorted(out, key=lambda condition: condition.slug)


def earlier_settings(config: dict) -> str:
    """How a record's settings differ from today's preset with its overrides: `epochs=5; no beam`.

    What a record does not mention did not exist when it was made.
    """
    today = PRESETS.get((config["task"], config["protocol"], config["preset"]), {})
    today = {**today, **config["overrides"]}
    was = config["settings"]
    changed = [f"{k}={json.dumps(v)}" for k, v in was.items() if k in today and today[k] != v]
    missing = [k for k in today if k not in was]
    parts = [", ".join(changed), f"no {', '.join(missing)}" if missing else ""]
    return "; ".join(part for part in parts if part)


def processor_seconds(record: dict) -> float:
    """Median processor time of an epoch after the first, which compiles.

    nan if it was not noted, and with an accelerator, about which the processor's time says nothing.
    """
    if record["hardware"].get("accelerators"):
        return np.nan
    spent = [row.get("cpu_seconds", np.nan) for row in record["history"]]
    return float(np.median(spent[1:] or spent))


def in_units(records: pd.DataFrame) -> pd.DataFrame:
    """Order records by activation and seed, add `time_ratio`, bring metrics to their labels' units.

    `time_ratio` is the processor time of a run's epoch over that of the baseline's run with the
    same seed, where both ran on the same hardware; elsewhere it is missing.  By the clock, it would
    measure what else the machine was doing.
    """
    order = {name: place for place, name in enumerate(PALETTE)}
    place = records["activation"].map(lambda name: order.get(name, len(order)))
    frame = records.assign(_place=place).sort_values(["_place", "activation", "seed"])
    frame = frame.reset_index(drop=True)
    machine = frame["record"].map(lambda record: json.dumps(record["hardware"], sort_keys=True))
    identity = list(zip(frame["seed"], machine, strict=True))
    epoch, base = frame["record"].map(processor_seconds), frame["activation"] == BASELINE
    seconds = {i: s for i, s, b in zip(identity, epoch, base, strict=True) if b}
    frame["time_ratio"] = epoch / [seconds.get(i, np.nan) for i in identity]
    frame = frame.dropna(axis="columns", how="all")
    for metric in METRICS:
        if metric.name in frame:
            frame[metric.name] = frame[metric.name].astype(float) * metric.scale
    kept = ["activation", "seed", "key", *(m.name for m in METRICS if m.name in frame), "record"]
    return frame[kept]
