"""The ledger: each published claim, what the planned runs say about it, and the verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from sgblend_utils import bench, stats
from sgblend_utils.errors import UserError
from sgblend_utils.report.experiments import BY_NAME, Experiment, ranges
from sgblend_utils.report.plan import NAMES, at_floor, committed_table, digest, plan, rounds_of
from sgblend_utils.report.tables import interval, number
from sgblend_utils.stats import Estimate

NOT_RUN, BY_CODE, NOT_TESTABLE = "not run", "asserted in code", "not testable"
VERDICTS = ("gain", "loss", "no relevant difference", "undecided", NOT_TESTABLE, NOT_RUN, BY_CODE)
COLUMNS = ["experiment", "seeds", "planned", "difference", "error", "low", "high", "margin", "p"]
COLUMNS += ["p_equivalent", "size_found", "detectable", "needed", "verdict", "range", "records"]
SHOWN = ["difference", "low", "high", "range"]  # of other seeds
OTHER = [f"other_{name}" for name in SHOWN]
RULES = """\
Margins, claims and seeds were fixed before the runs (`data/plan.toml`, digest {digest}). A
difference is a mean over paired seeds; its 95 % interval and tests take their deviation from all
activations of the experiment. *Gain* and *loss* (for the activation named first): the difference is
not zero. *No relevant difference*: it is smaller than the margin, by two one-sided tests; this goes
before a gain. Both kinds of p value are corrected for all rows (Holm), so that in at most 5 % of
ledgers one gain or loss is wrong, and in at most 5 % one "no relevant difference". *Undecided*:
neither; in brackets how many seeds would find, or exclude, a difference as large as the margin with
80 % power before that correction, which asks for more. *Not testable*: both activations are at a
floor (no dead units, BLEU below 5). *Not run*: seeds of the plan are missing; there is no verdict
before all are there. Whether the size that the paper prints lies in the 95 % interval is said
apart. Overhead is measured by `sgblend bench step` (notebook 09): a seed there is a repeat in new
processes. *Second round*: the row was undecided after its planned seeds and is judged by new ones
alone, planned then; with both rounds the two 5 % above are at most 10 %. *Other seeds*: what a
second round that was planned for other rows (the longest) shows of this one. It decides nothing."""


def rules() -> str:
    return RULES.format(digest=digest())


def judged(found: Sequence[Experiment], entry: dict[str, Any]) -> pd.DataFrame:
    """The runs that a verdict may use: of the planned preset, activations and seeds."""
    for one in found:
        same = all(getattr(one, name) == entry.get(name) for name in NAMES)
        if same and not one.overrides and one.again == ("claims" in entry):
            planned = one.frame["activation"].isin(entry["activations"])
            return one.frame[planned & one.frame["seed"].isin(entry["seeds"])]
    return pd.DataFrame(columns=["activation", "seed", "key"])


def deciding(claim: Mapping[str, Any], found: Sequence[Experiment]) -> dict[str, Any]:
    """The plan's entry that decides: the second round where all of its runs are there."""
    first, *more = rounds_of(claim)
    return [first, *(entry for entry in more if whole(found, entry))][-1]


def whole(found: Sequence[Experiment], entry: dict[str, Any]) -> bool:
    return len(judged(found, entry)) == len(entry["activations"]) * len(entry["seeds"])


def ledger(found: Sequence[Experiment], claims: pd.DataFrame | None = None) -> pd.DataFrame:
    """A row per claim, whatever the store holds; its family are all of them."""
    claims = committed_table() if claims is None else claims
    rows = [claim | examine(claim, found) for claim in claims.to_dict("records")]
    return decided(pd.DataFrame(rows).reindex(columns=[*claims.columns, *COLUMNS, *OTHER]))


def decided(table: pd.DataFrame) -> pd.DataFrame:
    """P values corrected for all rows, and a verdict for each that has none yet."""
    for column in ("p", "p_equivalent"):
        table[column] = stats.holm(table[column]) + 0 * table[column]  # nan stays nan
    for at, row in table[table["verdict"].isna()].iterrows():
        gain = row["side"] * row["difference"]
        table.loc[at, "verdict"] = stats.verdict(gain, row["p"], row["p_equivalent"])
    return table


def examine(claim: dict[str, Any], found: Sequence[Experiment], by: Any = None) -> dict[str, Any]:
    """The ledger's columns about one claim, p values not yet corrected; `by`: by which entry."""
    if claim["kind"] == "software":
        return {"verdict": BY_CODE}
    task, metric, ours = claim["task"], claim["metric"], claim["activation"]
    if claim["kind"] == "overhead":
        found_by = {n: bench.step_ratios(n).get((task, ours), []) for n in ("step", "step_again")}
        again = len(found_by["step_again"]) == plan()["step_again"]["repeats"]
        name = "step_again" if again else "step"
        excess = [ratio - 1 for ratio in found_by[name]]
        row = {"experiment": f"{task}, training step, cpu{', second round' * again}"}
        row["records"] = f"data/bench/{name}.json"
        return row | described(claim, stats.estimate(excess)) if excess else {"verdict": NOT_RUN}
    entry, best = by or deciding(claim, found), claim["kind"] == "best"
    known, where = entry.get("activations", []), f"{task}, {claim['protocol']}"
    others = [n for n in known if n != ours] if best else [claim["baseline"]]
    if missing := ", ".join(name for name in (ours, *others) if name not in known):
        raise UserError(f"data/plan.toml plans no {missing} on {where}: {claim['claim']} needs it.")
    frame, again = judged(found, entry), ", second round" * ("claims" in entry)
    row = {"experiment": f"{where}, {entry['preset']}{again}", "range": ranges(entry["seeds"])}
    row |= {"planned": len(entry["seeds"]), "seeds": int(frame["seed"].nunique())}
    if best and len(others) < claim["size"]:
        return {"verdict": NOT_RUN}
    if not whole(found, entry) or metric not in frame:
        return row | {"verdict": NOT_RUN}
    used = frame[frame["activation"].isin([ours, *others])]
    row["records"] = " ".join(used["key"])
    if at_floor(metric, used[metric]):
        return row | {"verdict": NOT_TESTABLE}
    against = {name: stats.estimates(frame, metric, name)[0][ours] for name in others}
    # To be best is to be better than the closest rival, whichever that is.
    closest = min(against.values(), key=lambda one: claim["side"] * one.statistic(one.difference))
    row |= described(claim, closest) | ({} if best or by else elsewhere(claim, found))
    if best:
        gain = claim["side"] * closest.difference > 0
        row["p"] = closest.p() if gain else min(1.0, len(against) * closest.p())
        row["p_equivalent"] = max(one.p_equivalent(row["margin"]) for one in against.values())
    return row


def elsewhere(claim: dict[str, Any], found: Sequence[Experiment]) -> dict[str, Any]:
    """What the longest second round that is whole shows of a row that has none of its own."""
    first, *own = rounds_of(claim)
    pair, rounds = {claim["activation"], claim["baseline"]}, [] if own else plan()["again"]
    rounds = [one for one in rounds if all(first[name] == one[name] for name in NAMES)]
    rounds = [one for one in rounds if pair <= {*one["activations"]} and whole(found, one)]
    row = examine(claim, found, max(rounds, key=lambda one: len(one["seeds"]))) if rounds else {}
    return {f"other_{name}": row[name] for name in SHOWN if "difference" in row}


def other_seeds(row: Any, digits: int) -> str:
    """`seeds 11-24: +0.0005 [−0.0031, 0.0042]`; empty where there are none."""
    found = f"{number(row.other_difference, digits, sign=True)} "
    found += interval(row.other_low, row.other_high, digits)
    return f"seeds {row.other_range}: {found}" if isinstance(row.other_range, str) else ""


def described(claim: dict[str, Any], one: Estimate) -> dict[str, Any]:
    margin, (low, high) = plan()["margins"][claim["metric"]]["value"], one.interval()
    row = {"difference": one.difference, "error": one.error, "low": low, "high": high}
    row |= {"margin": margin, "seeds": one.seeds, "detectable": stats.detectable_difference(one)}
    row |= {"needed": stats.seeds_needed(margin, one.deviation), "p": one.p()}
    row["p_equivalent"] = one.p_equivalent(margin)
    if claim["kind"] != "best" and pd.notna(size := claim["size"]):
        size *= -1 if claim["kind"] == "overhead" else 1  # at most so much; else at least
        least, most = sorted((claim["side"] * low, claim["side"] * high))
        found = "reached" if least >= size else "possible"
        row["size_found"] = "excluded" if most < size else found
    return row


def ledger_text(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for row in table.astype({"experiment": object}).fillna({"experiment": "–"}).itertuples():
        digits = BY_NAME[row.metric].digits if row.metric in BY_NAME else 3
        difference = number(row.difference, digits, sign=True)
        out = {"claim": row.statement, "measured in": row.experiment, "seeds": number(row.seeds, 0)}
        if row.verdict == NOT_RUN and row.planned > 0:
            out["seeds"] += f" of {row.planned:.0f}"
        out["difference"] = f"{difference} {interval(row.low, row.high, digits)}".removesuffix(" –")
        out["margin"] = number(row.margin, digits)
        more = f" ({row.needed:.0f} seeds)" if row.verdict == "undecided" and row.needed > 0 else ""
        out["verdict"] = f"**{row.verdict}**{more}"
        size = row.size_found if isinstance(row.size_found, str) else "–"
        rows.append(out | {"published size": size, "other seeds": other_seeds(row, digits) or "–"})
    return pd.DataFrame(rows)


def tally(table: pd.DataFrame) -> str:
    counts = table["verdict"].value_counts()
    return ", ".join(f"{counts[name]} {name}" for name in VERDICTS if name in counts)


def summary(table: pd.DataFrame) -> str:
    return f"Of {len(table)} claims: {tally(table)}."
