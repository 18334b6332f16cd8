"""Tables: of the runs, of the comparisons with GELU, and of what the paper printed."""

import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm, sem

from sgblend_utils import zoo
from sgblend_utils.bench import bench_path, load
from sgblend_utils.data import write_atomically
from sgblend_utils.report.experiments import BASELINE, Experiment, Metric
from sgblend_utils.report.plan import at_floor, plan
from sgblend_utils.stats import compare, summarise

PER_EXAMPLE = ("test_accuracy",)  # of classifiers, whose records say which examples were right
LINEAR = dict.fromkeys(("imdb", "imdb_bert"), "imdb_linear")  # task -> the benchmark's record


def number(value: float | None, digits: int, sign: bool = False) -> str:
    """A number with a true minus sign; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return (text.lstrip("+-") if float(text) == 0 else text).replace("-", "−")


def interval(low: float, high: float, digits: int) -> str:
    """`[−0.31, 1.20]`; a dash where it is undefined."""
    return "–" if math.isnan(low) else f"[{number(low, digits)}, {number(high, digits)}]"


def plus_minus(mean: float, half: float, digits: int) -> str:
    """`88.1 ± 0.2`; the mean alone where one run leaves no interval."""
    return f"{number(mean, digits)} ± {number(half, digits)}".removesuffix(" ± –")


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table, without the index; numbers should be text already."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in r) + " |" for r in rows)


def results(experiment: Experiment) -> pd.DataFrame:
    """A row per activation: seeds, and mean, low and high (95 % t interval) of every metric."""
    table = {"seeds": experiment.frame.groupby("activation")["seed"].nunique()}
    for metric in experiment.metrics:
        part = summarise(experiment.frame, metric.name)
        table |= {f"{metric.name}_{column}": part[column] for column in ("mean", "low", "high")}
    return pd.DataFrame(table).loc[experiment.activations].rename_axis("activation")


def results_text(experiment: Experiment, metrics: Iterable[Metric] | None = None) -> pd.DataFrame:
    """The same to read: mean ± half of the interval; and a linear model's scores, if stored."""
    table = results(experiment)
    metrics = list(metrics or experiment.metrics)
    out = {"activation": table.index.map(zoo.label), "seeds": table["seeds"].astype(str).tolist()}
    for metric in metrics:
        means = table[f"{metric.name}_mean"]
        pairs = zip(means, table[f"{metric.name}_high"] - means, strict=True)
        out[metric.label] = [plus_minus(*pair, metric.digits) for pair in pairs]
    text = pd.DataFrame(out)
    if experiment.task in LINEAR and bench_path(name := LINEAR[experiment.task]).is_file():
        scores = load(name)["metrics"]
        row = [number(m.scale * scores.get(m.name, math.nan), m.digits) for m in metrics]
        text.loc[len(text)] = ["tf-idf, logistic regression", "–", *row]
    return text


@cache
def compared(experiment: Experiment, metric: Metric) -> pd.DataFrame:
    """`stats.compare` with GELU, computed once for figure, title and table: not to be changed."""
    return compare(experiment.frame, metric.name, BASELINE, metric.better)


def comparison(experiment: Experiment) -> pd.DataFrame:
    """Every activation against GELU, a row per metric and activation (see `stats.compare`)."""
    metrics = [m for m in experiment.used("compared") if comparable(experiment, m.name)]
    tables = {m.name: compared(experiment, m) for m in metrics}
    tables = {name: table for name, table in tables.items() if len(table)}
    keys = ["metric", "activation"]
    return pd.concat(tables, names=keys).reset_index() if tables else pd.DataFrame()


def sampling(experiment: Experiment, activation: str) -> float:
    """Half of the 95 % interval, in points, that test examples leave to the accuracy's difference.

    From GELU's; seeds are averaged first, example by example.
    """
    from sgblend_utils.metrics import correct_of  # slow to import

    shares = []
    for name in (activation, BASELINE):
        frame = experiment.frame
        found = [r["metrics"] for r in frame.loc[frame["activation"] == name, "record"]]
        if not all("test_correct" in metrics for metrics in found):
            return math.nan  # records from before they were kept
        shares.append(np.mean([correct_of(metrics) for metrics in found], axis=0))
    return 100 * float(norm.ppf(0.975) * sem(shares[0] - shares[1]))


def comparison_text(experiment: Experiment) -> pd.DataFrame:
    rows, metrics = [], {metric.name: metric for metric in experiment.metrics}
    for row in comparison(experiment).itertuples():
        digits = metrics[row.metric].digits
        cells = [metrics[row.metric].label, zoo.label(row.activation), str(row.seeds)]
        cells += [number(row.difference, digits, sign=True), interval(row.low, row.high, digits)]
        cells += [interval(row.low_corrected, row.high_corrected, digits)]
        cells += [number(row.p, 3), number(row.p_corrected, 3), number(row.improvement, 2)]
        examples = sampling(experiment, row.activation) if row.metric in PER_EXAMPLE else math.nan
        rows.append([*cells, number(row.detectable, digits), number(examples, digits)])
    names = ["metric", "activation", "seeds", "difference from GELU", "95 % interval"]
    names += ["for all rows (Dunnett)", "p", "p (Dunnett)", "P(better)", "smallest detectable"]
    names += ["± by test examples"]
    return pd.DataFrame(rows, columns=names)


def comparable(experiment: Experiment, metric: str) -> bool:
    """False at a floor: no unit is dead, or the models do not translate yet."""
    return not at_floor(metric, experiment.frame[metric])


def message(experiment: Experiment, metric: Metric) -> str:
    """A title: which activations have a corrected interval on one side of GELU."""
    if not comparable(experiment, metric.name):
        least = plan()["floors"][metric.name]
        return f"{metric.label}: at most {least:g} in every run, not compared"
    plain = metric.label.split(" (")[0].removeprefix("test ")
    plain = plain[0].upper() + plain[1:]
    table = compared(experiment, metric)
    if table.empty or table["low"].isna().all():
        return f"{plain}: one seed, no test"
    sides = (table["low_corrected"] > 0, table["high_corrected"] < 0)[:: metric.better]
    named = zip(("better", "worse"), (table.index[side] for side in sides), strict=True)
    said = [f"{listed(names, len(table))} {word}" for word, names in named if len(names)]
    return f"{plain}: " + ("; ".join(said) or "no difference shown")


def listed(names: pd.Index, count: int) -> str:
    return ", ".join(map(zoo.label, names)) if len(names) < 4 else f"{len(names)} of {count}"


def save(path: Path, values: pd.DataFrame, text: pd.DataFrame, note: str) -> list[Path]:
    """Write `<path>.csv` with the values and `<path>.md` to read, each with where it comes from."""
    values = values.reset_index() if values.index.name else values
    body = values.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_atomically(csv := path.with_suffix(".csv"), f"# {note}\n{body}".encode())
    write_atomically(md := path.with_suffix(".md"), f"{to_markdown(text)}\n\n{note}\n".encode())
    return [csv, md]
