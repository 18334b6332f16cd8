"""The ledger: each published claim, what the store's records say about it, and the verdict."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from sgblend_utils import stats
from sgblend_utils.report.conditions import BY_NAME, Condition
from sgblend_utils.report.tables import comparable, interval, number, published
from sgblend_utils.style import LABELS

NO_RECORDS = "no records yet"
BY_CODE = "asserted in code"
VERDICTS = ("reproduced", "not reproduced", "undecided", NO_RECORDS, BY_CODE)

RULES = """\
A claim is *reproduced* if the interval of the mean paired difference excludes zero on the claimed
side and leaves room for the claimed size; *not reproduced* if the interval excludes the claimed
side or a difference of the claimed size; otherwise *undecided*. With one seed there is no
interval, and below BLEU 5 no BLEU is compared. The interval is Student's t over seeds at 95 %,
corrected (Bonferroni) for all claims on the same metric under the same condition. *Detectable* is
the true difference that as many seeds would have found with 80 % power."""


def load_claims() -> pd.DataFrame:
    """`data/published/claims.csv`, a row per claim."""
    return published("claims")


def ledger(found: list[Condition], claims: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row per claim and condition that has records for it; a row without numbers where none has.

    Columns: those of the claims, then `condition`, `seeds`, `difference` (mean, activation −
    baseline), `low`, `high` at `level`, `p_exact` and `p_smallest` (sign flips), `detectable` (with
    80 % power at that level), `verdict`, `records` (the keys used).
    """
    claims = load_claims() if claims is None else claims
    rows = []
    for claim in claims.to_dict("records"):
        tested = [judged for c in found if (judged := judge(claim, c, claims))]
        nothing = {"verdict": BY_CODE if claim["kind"] == "software" else NO_RECORDS}
        rows += [{**claim, **judged} for judged in tested or [nothing]]
    columns = [*claims.columns, "condition", "seeds", "difference", "low", "high", "level"]
    columns += ["p_exact", "p_smallest", "detectable", "verdict", "records"]
    return pd.DataFrame(rows).reindex(columns=columns)


def judge(claim: dict[str, Any], condition: Condition, claims: pd.DataFrame) -> dict | None:
    """What one condition says about one claim; None if it has no records for it."""
    if claim["task"] != condition.task or claim["metric"] not in condition.frame:
        return None
    judged = judge_best if claim["kind"] == "best" else judge_difference
    found = judged(claim, condition, claims)
    if found and not comparable(condition, claim["metric"]):
        found["verdict"] = "undecided"
    return found


def judge_difference(
    claim: dict[str, Any], condition: Condition, claims: pd.DataFrame
) -> dict | None:
    """A claim about one activation and one baseline."""
    family = claims[(claims["kind"] == claim["kind"]) & (claims["task"] == claim["task"])]
    family = family[family["metric"] == claim["metric"]]
    tested = sum(len(pairs(row, condition)) > 0 for row in family.to_dict("records"))
    differences = pairs(claim, condition)
    if not len(differences):
        return None
    level = 1 - (1 - stats.LEVEL) / tested
    low, high = stats.mean_interval(differences, level)
    shifted = (low - claim["bound"], high - claim["bound"])
    return {
        "condition": condition.name,
        "seeds": len(differences),
        "difference": differences.mean(),
        "low": low,
        "high": high,
        "level": level,
        "p_exact": stats.sign_flip_test(differences - claim["bound"]),
        "p_smallest": stats.smallest_p(len(differences)),
        "detectable": stats.detectable_difference(differences.std(), len(differences), level=level),
        "verdict": stats.verdict(shifted, int(claim["side"]), claim["size"]),
        "records": keys(condition, [claim["activation"], claim["baseline"]], differences.index),
    }


def judge_best(claim: dict[str, Any], condition: Condition, _: pd.DataFrame) -> dict | None:
    """Whether an activation beats every other; as many others as claimed must have been run.

    It is reproduced if it is better than each, not reproduced if another is better than it.
    """
    table = stats.compare(
        condition.frame,
        claim["metric"],
        claim["activation"],
        better=BY_NAME[claim["metric"]].better,
    )
    if table.empty:
        return None
    others = [
        stats.verdict((-row.high_corrected, -row.low_corrected), int(claim["side"]))
        for row in table.itertuples()
    ]
    if "not reproduced" in others:
        outcome = "not reproduced"
    else:
        enough = len(others) >= claim["size"] and set(others) == {"reproduced"}
        outcome = "reproduced" if enough else "undecided"
    return {
        "condition": condition.name,
        "seeds": int(table["seeds"].min()),
        "level": 1 - (1 - stats.LEVEL) / len(table),
        "verdict": outcome,
        "records": keys(condition, [claim["activation"], *table.index]),
    }


def pairs(claim: dict[str, Any], condition: Condition) -> pd.Series:
    """The claim's differences by seed under a condition."""
    return stats.paired_differences(
        condition.frame, claim["metric"], claim["activation"], claim["baseline"]
    )


def keys(condition: Condition, activations: list[str], seeds: Any = None) -> str:
    """Keys of the runs of these activations and seeds."""
    frame = condition.frame[condition.frame["activation"].isin(activations)]
    frame = frame if seeds is None else frame[frame["seed"].isin(seeds)]
    return " ".join(frame["key"])


def ledger_text(table: pd.DataFrame) -> pd.DataFrame:
    """The ledger to read."""
    rows = []
    for row in table.to_dict("records"):
        metric = BY_NAME.get(row["metric"])
        digits = metric.digits if metric else 0
        measured = number(row["difference"], digits, sign=True)
        if not math.isnan(row["low"]):
            measured += f" {interval(row['low'], row['high'], digits)}"
        seeds = row["seeds"]
        known = isinstance(row["condition"], str)
        rows.append(
            {
                "claim": row["statement"],
                "measured under": row["condition"] if known else "–",
                "seeds": str(int(seeds)) if known else "–",
                "difference": measured,
                "detectable": number(row["detectable"], digits),
                "verdict": f"**{row['verdict']}**",
            }
        )
    return pd.DataFrame(rows)


def sentence(row: dict[str, Any]) -> str:
    """One row of the ledger in words."""
    if row["verdict"] in (NO_RECORDS, BY_CODE):
        return f"{row['statement']}: {row['verdict']}."
    if row["kind"] == "best":
        return f"{row['statement']} ({row['condition']}): {row['verdict']}."
    metric = BY_NAME[row["metric"]]
    ours, theirs = (LABELS.get(row[name], row[name]) for name in ("activation", "baseline"))
    text = (
        f"{row['statement']}: {row['verdict']}. {ours} minus {theirs} in {metric.label} is "
        f"{number(row['difference'], metric.digits, sign=True)}"
    )
    if math.isnan(row["low"]):
        return f"{text} with one seed ({row['condition']})."
    between = interval(row["low"], row["high"], metric.digits)
    text += (
        f", {100 * row['level']:.3g} % interval {between} "
        f"({row['condition']}, {int(row['seeds'])} seeds)"
    )
    if math.isnan(row["detectable"]):
        return f"{text}, the same for every seed."
    found = number(row["detectable"], metric.digits)
    return f"{text}; a difference of {found} would have been found with 80 % power."


def summary(table: pd.DataFrame) -> str:
    """How many claims got which verdict, in one sentence."""
    counts = table["verdict"].value_counts()
    parts = [f"{counts[name]} {name}" for name in VERDICTS if name in counts]
    claims = table["claim"].nunique()
    tests = "" if len(table) == claims else f" in {len(table)} tests"
    return f"Of {claims} published claims{tests}: {', '.join(parts)}."
