"""The ledger: each published claim, what the store's records say about it, and the outcome."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sgblend_utils import stats
from sgblend_utils.report import overhead
from sgblend_utils.report.experiments import BY_NAME, Experiment
from sgblend_utils.report.tables import comparable, interval, number, published

NO_RECORDS, BY_CODE = "no records yet", "asserted in code"
OUTCOMES = ("reproduced", "not reproduced", "undecided", NO_RECORDS, BY_CODE)
WORST = ("not reproduced", "undecided", "reproduced")
COLUMNS = ["experiment", "seeds", "difference", "low", "high", "level", "p_exact", "p_smallest"]
COLUMNS += ["detectable", "outcome", "records"]
RULES = """\
Each difference is a mean over paired seeds with Student's t interval at 95 %, corrected
(Bonferroni) for all claims on the same metric in the same experiment. A claim is *reproduced* if
the interval excludes zero on the claimed side and does not exclude the claimed size. It is *not
reproduced* if the interval excludes the claimed side, or a difference as large as claimed. All else
is *undecided*: with one seed there is no interval, and below BLEU 5 no BLEU decides anything. The
*smallest detectable* difference is the true one that as many seeds find with 80 % power. Overhead
is measured apart (`sgblend bench step`, notebook 09): a seed there is a repeat in a new process."""


def ledger(found: Sequence[Experiment], claims: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row per claim and experiment with records for it, or one without numbers."""
    claims = published("claims") if claims is None else claims
    rows = []
    for claim in claims.to_dict("records"):
        tests = [examine(claim, one, claims) for one in found if claim["task"] == one.task]
        tests = [examine_overhead(claim)] if claim["kind"] == "overhead" else tests
        nothing = {"outcome": BY_CODE if claim["kind"] == "software" else NO_RECORDS}
        rows += [{**claim, **row} for row in [row for row in tests if row] or [nothing]]
    return pd.DataFrame(rows).reindex(columns=[*claims.columns, *COLUMNS])


def pairs(claim: dict[str, Any], experiment: Experiment) -> dict[str, pd.Series]:
    """Whom the claim is about, beside its activation -> differences by seed."""
    metric, ours, frame = claim["metric"], claim["activation"], experiment.frame
    others = experiment.activations if claim["kind"] == "best" else [claim["baseline"]]
    others = [other for other in others if metric in frame and other != ours]
    rows = {other: stats.paired_differences(frame, metric, ours, other) for other in others}
    return {other: row for other, row in rows.items() if len(row)}


def examine(claim: dict[str, Any], experiment: Experiment, claims: pd.DataFrame) -> dict[str, Any]:
    """The ledger's columns; empty without records.  To be best is to be better than each other."""
    if not (found := pairs(claim, experiment)):
        return {}
    best, frame, side = claim["kind"] == "best", experiment.frame, int(claim["side"])
    alike = claims.merge(pd.DataFrame([claim])[["kind", "task", "metric"]]).to_dict("records")
    level = 1 - (1 - stats.LEVEL) / sum(len(pairs(row, experiment)) for row in alike)
    shifted = [stats.mean_interval(row - claim["bound"], level) for row in found.values()]
    outcomes = [stats.outcome(ends, side, 0 if best else claim["size"]) for ends in shifted]
    outcomes += ["undecided"] * (best and len(found) < claim["size"])
    first, *_ = found.values()
    used = frame["activation"].isin([claim["activation"], *found])
    used &= best | frame["seed"].isin(first.index)
    row = {"experiment": experiment.name, "seeds": min(map(len, found.values())), "level": level}
    decided = comparable(experiment, claim["metric"])
    row["outcome"] = min(outcomes, key=WORST.index) if decided else "undecided"
    row["records"] = " ".join(frame.loc[used, "key"])
    return row | ({} if best else described(first, claim["bound"], level))


def described(values: pd.Series, bound: float, level: float) -> dict[str, Any]:
    """The ledger's numbers about paired differences."""
    low, high = stats.mean_interval(values, level)
    row = {"difference": values.mean(), "low": low, "high": high}
    row["p_exact"] = stats.sign_flip_test(values - bound)
    row["p_smallest"] = stats.smallest_p(len(values))
    row["detectable"] = stats.detectable_difference(values.std(), len(values), level)
    return row


def examine_overhead(claim: dict[str, Any]) -> dict[str, Any]:
    """The ledger's columns from the repeats of `sgblend bench step`; empty without its record."""
    excess = pd.Series(overhead.step_ratios(claim["task"], claim["activation"]), dtype=float) - 1
    if excess.empty:
        return {}
    row = {"experiment": f"{claim['task']}, training step, cpu", "seeds": len(excess)}
    row |= {"level": stats.LEVEL, "records": "data/bench/step.json"}
    ends = stats.mean_interval(excess - claim["bound"])
    row["outcome"] = stats.outcome(ends, int(claim["side"]))
    return row | described(excess, claim["bound"], stats.LEVEL)


def ledger_text(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in table.astype({"experiment": object}).fillna({"experiment": "–"}).itertuples():
        digits = BY_NAME[row.metric].digits if row.metric in BY_NAME else 3
        difference = number(row.difference, digits, sign=True)
        out = {"claim": row.statement, "measured in": row.experiment, "seeds": number(row.seeds, 0)}
        out["difference"] = f"{difference} {interval(row.low, row.high, digits)}".removesuffix(" –")
        out["smallest detectable"] = number(row.detectable, digits)
        rows.append(out | {"outcome": f"**{row.outcome}**"})
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> str:
    counts, claims = table["outcome"].value_counts(), table["claim"].nunique()
    parts = [f"{counts[name]} {name}" for name in OUTCOMES if name in counts]
    tests = "" if len(table) == claims else f" in {len(table)} tests"
    return f"Of {claims} published claims{tests}: {', '.join(parts)}."
