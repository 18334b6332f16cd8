"""Tables: of the runs, of the comparisons with GELU, and of what the paper printed."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from sgblend_utils.errors import UserError
from sgblend_utils.report.conditions import BASELINE, COMPARED, Condition, Metric
from sgblend_utils.runs import project_root
from sgblend_utils.stats import compare, paired_differences, summarise
from sgblend_utils.style import LABELS

LOWEST_BLEU = 5.0  # below, output has little to do with the source, and differences are accidents


def number(value: float | None, digits: int, sign: bool = False) -> str:
    """A number with a true minus sign; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(low: float, high: float, digits: int) -> str:
    """`[−0.31, 1.20]`; a dash where it is undefined."""
    if math.isnan(low):
        return "–"
    return f"[{number(low, digits)}, {number(high, digits)}]"


def to_markdown(table: pd.DataFrame) -> str:
    """A Markdown table, without the index; numbers should be text already."""
    rows = [list(table.columns), ["---"] * table.shape[1], *table.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in r) + " |" for r in rows)


def published(name: str) -> pd.DataFrame:
    """A file of `data/published`: the paper's own numbers or claims."""
    path = project_root() / "data" / "published" / f"{name}.csv"
    if not path.is_file():
        raise UserError(
            f"{path.name} is not in data/published: run this in a checkout of the project."
        )
    return pd.read_csv(path, comment="#", keep_default_na=False, na_values=[""])


def published_differences(metric: str, baseline: str = BASELINE) -> dict[str, float]:
    """activation -> activation − baseline in the paper's WMT14 table, in the unit of our label.

    Empty for a metric which that table does not have.  Its accuracy and BLEU come from other
    definitions than ours (teacher forcing, validation data, padding counted).
    """
    table = published("wmt14_table").set_index("activation")
    columns = {
        "bleu": 100 * table["bleu"],
        "test_accuracy": 100 * table["val_accuracy"],
        "dead_share": table["dead_percent"],
        "time_ratio": table["epoch_seconds"] / table.loc[baseline, "epoch_seconds"],
    }
    if metric not in columns:
        return {}
    differences = columns[metric] - columns[metric][baseline]
    return differences.drop(baseline).round(4).to_dict()


def results(condition: Condition) -> pd.DataFrame:
    """A row per activation: seeds, and mean, low and high (95 % t interval) of every metric."""
    parts = {m.name: summarise(condition.frame, m.name) for m in condition.metrics}
    table = pd.concat(
        {
            f"{name}_{column}": part[column]
            for name, part in parts.items()
            for column in ("mean", "low", "high")
        },
        axis=1,
    )
    seeds = condition.frame.groupby("activation", sort=False)["seed"].nunique()
    table.insert(0, "seeds", seeds)
    return table.rename_axis("activation")


def results_text(condition: Condition, metrics: list[Metric] | None = None) -> pd.DataFrame:
    """The same to read: mean ± half of the interval; the mean alone with one seed."""
    table = results(condition)
    out = pd.DataFrame({"activation": [LABELS.get(name, name) for name in table.index]})
    out["seeds"] = [str(n) for n in table["seeds"]]
    for metric in metrics or condition.metrics:
        means = table[f"{metric.name}_mean"]
        halves = table[f"{metric.name}_high"] - means
        out[metric.label] = [
            number(mean, metric.digits)
            + (f" ± {number(half, metric.digits)}" if math.isfinite(half) else "")
            for mean, half in zip(means, halves, strict=True)
        ]
    return out


def comparison(condition: Condition) -> pd.DataFrame:
    """Every activation against GELU, a row per metric and activation (see `stats.compare`)."""
    parts = []
    for metric in condition.metrics:
        if metric.name in COMPARED:
            table = compare(condition.frame, metric.name, BASELINE, better=metric.better)
            parts.append(table.rename_axis("activation").reset_index().assign(metric=metric.name))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if table.empty:
        return table
    return table[["metric", *(column for column in table if column != "metric")]]


def comparison_text(condition: Condition) -> pd.DataFrame:
    """The same to read."""
    rows = []
    metrics = {metric.name: metric for metric in condition.metrics}
    for row in comparison(condition).to_dict("records"):
        metric = metrics[row["metric"]]
        digits = metric.digits
        rows.append(
            {
                "metric": metric.label,
                "activation": LABELS.get(row["activation"], row["activation"]),
                "seeds": str(row["seeds"]),
                "difference from GELU": number(row["difference"], digits, sign=True),
                "95 % interval": interval(row["low"], row["high"], digits),
                "corrected": interval(row["low_corrected"], row["high_corrected"], digits),
                "p (t)": number(row["p"], 3),
                "q (BH)": number(row["q"], 3),
                "p (exact)": f"{number(row['p_exact'], 3)} (≥ {number(row['p_smallest'], 3)})",
                "P(better)": number(row["improvement"], 2),
                "detectable": number(row["detectable"], digits),
            }
        )
    return pd.DataFrame(rows)


def paired_deviation(condition: Condition, metric: Metric) -> float:
    """Standard deviation over seeds of the difference from GELU, pooled over activations.

    nan where no activation has two seeds in common with GELU.
    """
    others = [name for name in condition.activations if name != BASELINE]
    differences = [paired_differences(condition.frame, metric.name, name) for name in others]
    known = [d for d in differences if len(d) > 1]
    if not known:
        return math.nan
    squares = sum((len(d) - 1) * d.var() for d in known)
    return math.sqrt(squares / sum(len(d) - 1 for d in known))


def comparable(condition: Condition, metric: str) -> bool:
    """False for the BLEU of models that do not translate yet."""
    return metric != "bleu" or condition.frame["bleu"].max() >= LOWEST_BLEU


def separated(condition: Condition, metric: Metric) -> tuple[list[str], list[str]] | None:
    """(better, worse): activations whose corrected interval lies on one side of GELU.

    None if no interval is defined: one seed, or no GELU.
    """
    table = compare(condition.frame, metric.name, BASELINE, better=metric.better)
    if table.empty or table["low"].isna().all():
        return None
    above, below = table["low_corrected"] > 0, table["high_corrected"] < 0
    better, worse = (above, below) if metric.better > 0 else (below, above)
    return list(table.index[better]), list(table.index[worse])


def message(condition: Condition, metric: Metric) -> str:
    """What the numbers say about a metric, in a title's length."""
    if not comparable(condition, metric.name):
        return f"BLEU: below {LOWEST_BLEU:g}, not compared"
    found = separated(condition, metric)
    if found is None:
        return f"{metric.plain}: one seed, no verdict"
    names = [", ".join(LABELS.get(name, name) for name in side) for side in found]
    said = [f"{text} {word}" for text, word in zip(names, ("better", "worse"), strict=True) if text]
    return f"{metric.plain}: " + ("; ".join(said) if said else "no difference shown")


def save(path: Path, values: pd.DataFrame, text: pd.DataFrame, note: str) -> list[Path]:
    """Write `<path>.csv` with the values and `<path>.md` to read, each with where it comes from."""
    csv, markdown = path.with_suffix(".csv"), path.with_suffix(".md")
    values = values.reset_index() if values.index.name else values
    body = values.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    csv.write_bytes(f"# {note}\n{body}".encode())
    markdown.write_bytes(f"{to_markdown(text)}\n\n{note}\n".encode())
    return [csv, markdown]
