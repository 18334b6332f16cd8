"""Which records belong together, and what is read from them."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sgblend_utils import zoo
from sgblend_utils.config import switch_meanings
from sgblend_utils.report.plan import NAMES, second_round
from sgblend_utils.runs import load_records
from sgblend_utils.tasks import task_named

BASELINE = "gelu"
UNREPORTED = ("mini",)  # presets whose numbers are never a result
TRANSLATION = ("wmt14", "multi30k")
WORDS = {"cifar10": "CIFAR-10", "imdb": "IMDB", "multi30k": "Multi30k", "wmt14": "WMT14"}
WORDS |= {"imdb_bert": "IMDB, BERT-style"}


class Metric(NamedTuple):
    name: str  # of the value in a record, or of the column made from it here
    label: str  # with its unit
    better: int  # +1 if more is better, -1 if less is
    digits: int
    span: float  # an axis shows at least so much, lest a hair's breadth fill it
    scale: float  # from the record's unit to the label's
    # "readme": in its tables; "scores": in figures; "compared": with GELU; "forced": of a decoder
    # that is given the words before, and copies where it sees the answer
    uses: str = ""


ALL = "readme scores compared"
METRICS = (
    Metric("reported_accuracy", "accuracy as published (%)", +1, 2, 1.0, 100, ALL),
    Metric("reported_bleu", "BLEU as published (0–1)", +1, 3, 0.02, 1, ALL),
    Metric("reported_dead_share", "dead units as published (%)", -1, 2, 0.5, 100, ALL),
    Metric("bleu", "BLEU", +1, 2, 2.0, 1, ALL),
    Metric("test_nll", "test cross-entropy (nats/token)", -1, 4, 0.04, 1, f"{ALL} forced"),
    Metric("test_nll_per_character", "cross-entropy (nats/character)", -1, 4, 0.01, 1, "forced"),
    Metric("test_accuracy", "test accuracy (%)", +1, 2, 1.0, 100, f"{ALL} forced"),
    Metric("noise_accuracy", "accuracy, noisy (%)", +1, 2, 1.0, 100, ALL),
    Metric("blur_accuracy", "accuracy, blurred (%)", +1, 2, 1.0, 100, "readme compared"),
    Metric("f1", "F1 (%)", +1, 2, 1.0, 100, ALL),
    Metric("roc_auc", "area under the ROC curve (%)", +1, 2, 1.0, 100),
    Metric("ece", "calibration error (%)", -1, 2, 1.0, 100),
    Metric("dead_share", "dead units (%)", -1, 2, 0.5, 100, "compared"),
    Metric("near_dead_share", "near-dead units (%)", -1, 2, 0.5, 100, "readme"),
    Metric("epoch_seconds_median", "epoch by the clock (s)", -1, 1, 10.0, 1),
)
BY_NAME = {metric.name: metric for metric in METRICS}


def metric_of(task: str, name: str) -> Metric:
    """A metric with its label for a task: a loss of tokens, or of reviews or images."""
    per = "" if task in TRANSLATION else "/token"
    return BY_NAME[name]._replace(label=BY_NAME[name].label.replace(per, ""))


@dataclass(frozen=True, eq=False)
class Experiment:
    """Runs that differ in activation and seed alone, of one round of the plan."""

    task: str
    protocol: str
    preset: str
    backend: str
    overrides: Mapping[str, Any]  # settings that differ from today's preset
    slug: str  # names the experiment's files
    frame: pd.DataFrame  # a row per run: activation, seed, key, metrics in their units, record
    again: bool = False  # the second round, of rows that the first left undecided

    @property
    def activations(self) -> list[str]:
        return list(self.frame["activation"].unique())

    @property
    def metrics(self) -> list[Metric]:
        """Those that some run has, as `metric_of` gives them."""
        known = [m for m in METRICS if m.name in self.frame and self.frame[m.name].notna().any()]
        return [metric_of(self.task, m.name) for m in known]

    def used(self, use: str) -> list[Metric]:
        return [metric for metric in self.metrics if use in metric.uses.split()]

    @property
    def changes(self) -> list[str]:
        return [f"{name}={json.dumps(value)}" for name, value in self.overrides.items()]

    @property
    def name(self) -> str:
        changes = f" ({', '.join(self.changes)})" if self.changes else ""
        again = ", second round" * self.again
        return f"{self.task}, {self.protocol}, {self.preset}{changes}{again}"

    @property
    def title(self) -> str:
        other = ", with other settings" if self.overrides else ", second round" * self.again
        task = WORDS.get(self.task, self.task)
        return f"{task}, {self.protocol} protocol, preset {self.preset}{other}"

    @property
    def seeds(self) -> str:
        """`seeds 0-2`, with the activations named where they have different ones."""
        own = self.frame.groupby("activation", sort=False)["seed"].agg(ranges).rename(zoo.label)
        named = [f"{span} ({', '.join(g.index)})" for span, g in own.groupby(own, sort=False)]
        text = "; ".join(named) if len(named) > 1 else own.iloc[0]
        return f"seed{'s' * (self.frame['seed'].nunique() > 1)} {text}"

    @property
    def provenance(self) -> str:
        names = [self.task, f"protocol {self.protocol}", f"preset {self.preset}", *self.changes]
        return " · ".join([*names, self.seeds, self.backend, hardware(self.frame["record"])])

    @property
    def command(self) -> str:
        words = f"sgblend sweep {self.task} --protocol {self.protocol} --preset {self.preset}"
        words += f" --activations {','.join(self.activations)}"
        words += f" --seeds {ranges(self.frame['seed'])} --backend {self.backend}"
        return " ".join([words, *(f"--set {change}" for change in self.changes)])

    def parameters(self) -> pd.DataFrame:
        """A row per run, epoch (0: untrained), site (of a `part`), parameter: channels' mean."""
        rows = [
            (*run, epoch, site, " ".join(site.split("_")[:2]), name, float(np.mean(value)))
            for *run, record in self.frame[["activation", "seed", "record"]].to_numpy()
            for epoch, sites in enumerate(record["activation_parameters"])
            for site, values in sites.items()
            for name, value in values.items()
        ]
        names = ["activation", "seed", "epoch", "site", "part", "parameter", "value"]
        return pd.DataFrame(rows, columns=names)


def hardware(records: Iterable[dict[str, Any]]) -> str:
    """`AMD EPYC, 1 core`, with the accelerators if there are any, of every machine."""
    names = set()
    for used in (record["hardware"] for record in records):
        cores = f"{used['cores']} core" + "s" * (used["cores"] != 1)
        names.add(", ".join([used["processor"], cores, *used.get("accelerators", [])]))
    return " and ".join(sorted(names))


def ranges(numbers: Iterable[int]) -> str:
    """[0, 1, 2, 5] -> "0-2,5"."""
    runs = groupby(enumerate(sorted({int(n) for n in numbers})), lambda pair: pair[1] - pair[0])
    spans = [[str(number) for _, number in run] for _, run in runs]
    return ",".join("-".join(dict.fromkeys((span[0], span[-1]))) for span in spans)


def digest(frame: pd.DataFrame) -> str:
    """Twelve hex digits that name plotted numbers, at six significant digits."""
    return hashlib.sha256(frame.to_csv(float_format="%.6g").encode()).hexdigest()[:12]


def experiments(root: Path | None = None) -> list[Experiment]:
    """The store's reported records, grouped, in the order of their slugs; no steps of the audit.

    A slug has a hash where settings differ from today's preset or two experiments would share it.
    """
    found, texts, frame = {}, [], load_records(root)
    for record in frame.get("record", ()):
        shared = {k: v for k, v in record["config"].items() if k not in ("activation", "seed")}
        text = json.dumps([shared, record["data"]["digest"]], sort_keys=True)
        texts.append((text, second_round(record["config"])))
    for (text, second), rows in frame.groupby(pd.Series(texts, dtype=object), sort=False):
        names = rows.iloc[0][[*NAMES]].tolist()
        presets = task_named(names[0]).presets
        kind = type(next(iter(presets.values())))
        today = presets.get((names[1], names[2]), kind())
        overrides = kind().override(json.loads(text)[0]["settings"]).differing(today)
        step = names[1] == "published" and set(overrides) & set(switch_meanings(kind))
        if names[2] not in UNREPORTED and not step:
            mark = hashlib.sha256(text.encode()).hexdigest()[:6]
            slug = "_".join([*names[:3], *["second"] * second])
            found[mark, second] = Experiment(*[*names, overrides, slug, in_units(rows), second])
    plain = Counter(one.slug for one in found.values() if not one.overrides)
    for (mark, second), one in found.items():
        if one.overrides or plain[one.slug] > 1:
            found[mark, second] = replace(one, slug=f"{one.slug}_{mark}")
    return sorted(found.values(), key=lambda one: one.slug)


def in_units(records: pd.DataFrame) -> pd.DataFrame:
    """Order records by activation and seed, and bring metrics to their labels' units."""
    place = records["activation"].map(lambda spec: [*zoo.ZOO].index(zoo.split_spec(spec)[0]))
    by = ["place", "activation", "seed"]
    frame = records.assign(place=place).sort_values(by, ignore_index=True)
    frame = frame.dropna(axis="columns", how="all")
    given = "reported_bleu" in frame
    kept = [m for m in METRICS if m.name in frame and not (given and "forced" in m.uses)]
    scaled = {m.name: frame[m.name].astype(float) * m.scale for m in kept}
    return frame.assign(**scaled)[["activation", "seed", "key", *scaled, "record"]]
