"""The front page: what the verdicts say in words, the forest plot, and a row per task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from statsmodels.stats.meta_analysis import combine_effects

from sgblend_utils import bench, zoo
from sgblend_utils.report import audit, claims
from sgblend_utils.report.claims import NOT_RUN, VERDICTS
from sgblend_utils.report.experiments import BASELINE, BY_NAME, WORDS, Experiment, metric_of, ranges
from sgblend_utils.report.figures import OURS, finish, margin_axes, mark_not_run
from sgblend_utils.report.plan import entry_of, plan
from sgblend_utils.report.tables import interval, number, to_markdown

TITLE = "SG-Blend against GELU"
LOOKS = {OURS: ("o", "#D55E00"), "published": ("s", "#0072B2"), "bounds": ("D", "#CC79A7")}


def look_of(spec: str) -> tuple[str, str]:  # marker and colour of a form of SG-Blend
    return [look for word, look in LOOKS.items() if word in spec][-1]


def place(row: Any) -> str:
    protocol = "" if row.protocol == "sound" else f", {row.protocol}"
    return f"{WORDS.get(row.task, row.task)}{protocol}"


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """The ledger's rows that compare SG-Blend with GELU on an experiment's primary metric."""
    primary = [entry_of(r.task, r.protocol).get("primary") == r.metric for r in table.itertuples()]
    ours = table["activation"].str.split("(").str[0] == OURS
    return table[pd.Series(primary) & ours & (table["baseline"] == BASELINE)]


def effects(ledger: pd.DataFrame) -> pd.DataFrame:
    """`verdicts` with differences and bounds in margins of the plan, positive where it gains."""
    table, names = verdicts(ledger).copy(), [*claims.SHOWN[:3], *claims.OTHER[:3]]
    margins = table["metric"].map(lambda name: plan()["margins"][name]["value"])
    table[names] = table[names].astype(float).mul(table["side"] / margins, axis=0)
    return table.assign(variance=(table["error"] / margins) ** 2)


def pooled(table: pd.DataFrame) -> str:
    """The mean effect over sound tasks with its 95 % interval (random effects), and their I²."""
    own = table.query("activation == @OURS and protocol == 'sound'").dropna(subset="variance")
    if len(own) < 2:
        return ""
    with np.errstate(invalid="ignore"):  # it does not hold the spread between tasks above zero
        found = combine_effects(*own[["difference", "variance"]].to_numpy().T, method_re="dl")
        kind = "random effect" if found.tau2 > 0 else "fixed effect"
        mean, _, low, high, *_ = found.summary_frame().loc[kind]
    ends = f"{number(mean, 1, sign=True)} {interval(low, high, 1)}"
    return f"; mean of {len(own)} tasks {ends}, I² {100 * max(0.0, found.i2):.0f} %"


def figure_forest(ledger: pd.DataFrame) -> Figure:
    """`effects` as a forest plot: one scale for all tasks, and the margin as a band."""
    table = effects(ledger)
    places, arms = list(dict.fromkeys(map(place, table.itertuples()))), {}
    figure, axes = margin_axes(1, 8.4, 1.9 + 0.62 * len(places))
    reach = min(12.0, 1.15 * np.nanmax(abs(table[["low", "high"]].to_numpy()), initial=2.0))
    for name, own in table.groupby(table.apply(place, axis=1), sort=False):
        known = own.dropna(subset="difference")
        if known.empty:
            text = f"{own['seeds'].max():.0f} of {own['planned'].max():.0f} seeds"
            mark_not_run(axes, places.index(name), text)
        for at, row in enumerate(known.itertuples()):
            y = places.index(name) + 0.22 * (at - (len(known) - 1) / 2)
            marker, colour = arms[row.activation] = look_of(row.activation)
            drawn = (y, claims.SHOWN, colour), (y + 0.22, claims.OTHER, "white")
            for at_y, names, inside in drawn:  # hollow: they decide nothing
                middle, *span = np.clip([getattr(row, n) for n in names[:3]], -reach, reach)
                axes.hlines(at_y, *span, colour, linewidth=2.4)
                axes.plot(middle, at_y, marker, markersize=8, mec=colour, mfc=inside)
    for arm, (marker, colour) in arms.items():
        axes.plot([], [], marker, color=colour, label=zoo.label(arm))
    axes.set_yticks(range(len(places)), places, fontweight="bold")
    axes.set(ylim=(len(places) - 0.4, -0.6), xlim=(-reach, reach))
    axes.set_xlabel("← GELU better     difference in margins of the plan     SG-Blend better →")
    if arms:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)
    note = "primary metric of each task; bars: 95 % interval; grey: smaller than what matters"
    if table["other_range"].notna().any():
        note += "; hollow: other seeds, which decide nothing"
    return finish(figure, f"{TITLE}: {claims.tally(table)}", note + pooled(table))


def task_table(ledger: pd.DataFrame) -> pd.DataFrame:
    """A row per primary comparison with GELU: difference, interval, seeds, verdict."""
    rows = []
    for row in verdicts(ledger).itertuples():
        digits, text = BY_NAME[row.metric].digits, row.range
        text = text if row.verdict != NOT_RUN else f"{row.seeds:.0f} of {row.planned:.0f}"
        cells = [place(row), zoo.label(row.activation), metric_of(row.task, row.metric).label]
        cells += [number(row.difference, digits, sign=True), interval(row.low, row.high, digits)]
        said = f"**{row.verdict}**; {claims.other_seeds(row, digits)}".removesuffix("; ")
        rows.append([*cells, number(row.margin, digits), text, said])
    names = ["task", "variant", "metric", "difference from GELU", "95 % interval", "margin"]
    return pd.DataFrame(rows, columns=[*names, "seeds", "verdict"])


def section(ledger: pd.DataFrame, found: Sequence[Experiment], root: Path | None = None) -> str:
    """The front page's results, in Markdown; the words follow from the verdicts."""
    if not found:
        return "No results yet: the store holds no record of a `cpu` or `paper` run.\n"
    table, runs = verdicts(ledger), sum(len(one.frame) for one in found)
    presets = ", ".join(dict.fromkeys(one["preset"] for one in plan()["experiments"]))
    guide = "[RESULTS.md](figures/tables/RESULTS.md) has every table; how to read them is in "
    guide += "[notebook 10](notebooks/10_tables_and_figures.ipynb)."
    out = [
        f"Written by `sgblend report` from {runs} records of real runs. {guide}",
        points(ledger, found, root),
        f"![{TITLE}: {claims.tally(table)}](figures/forest.png)",
        to_markdown(task_table(ledger)),
        f"Protocol sound where it does not say published; preset {presets}. Seeds above 10 are a "
        "second round, which alone judges a row that the first left undecided, and no other row.",
    ]
    out += [f"![{audit.HEADLINE}](figures/{one.name}.png)" for one in audit.complete(root)[:1]]
    return "\n\n".join([*out, advice(table)]) + "\n"


def planned() -> str:
    """Preset and seeds of every planned experiment."""
    rows = pd.DataFrame(plan()["experiments"])
    groups = rows.apply(place, axis=1).groupby([rows["preset"], rows["seeds"].map(ranges)])
    return "; ".join(f"preset {a}, seeds {b}: {' · '.join(own)}" for (a, b), own in groups)


def points(ledger: pd.DataFrame, found: Sequence[Experiment], root: Path | None = None) -> str:
    """The findings, a list in Markdown."""
    said = [*audited(root), *published_rules(ledger), sound(verdicts(ledger)), *distances(found)]
    return "\n".join(f"- {point}" for point in [*said, *costs()])


def audited(root: Path | None) -> list[str]:
    lines = []
    for one in audit.complete(root):
        steps = audit.audit_text(one.table(root)).iloc[[0, -1]]
        accuracy, bleu = (steps[plain] for plain, *_ in audit.SCORES.values())
        seeds = one.span + "; ± is a 95 % interval" * (len(one.seeds) > 1)
        said = f"{' % accuracy becomes '.join(accuracy)} %, a BLEU of {' becomes '.join(bleu)}"
        said += f"; translating by itself, the first model gets a sacreBLEU of {steps.iloc[0, -1]}"
        lines.append(f"{WORDS[one.task]} ({seeds}): {said} out of 100")
    return lines and [
        "**The published scores measure copying.** The decoder of the published code sees the "
        "words that it is asked to predict, and padding counts as words. Without these flaws, "
        f"removed one by one, on {'. On '.join(lines)} "
        "([notebook 04](notebooks/04_wmt14_data_and_protocol.ipynb))."
    ]


def published_rules(ledger: pd.DataFrame) -> list[str]:
    """What SG-Blend does by the paper's own rules, beside what the paper prints."""
    rows = ledger[(ledger["protocol"] == "published") & (ledger["activation"] == OURS)]
    if (rows["verdict"] == NOT_RUN).any():
        return []
    said = []
    for row in rows[rows["baseline"] == BASELINE].itertuples():
        metric = BY_NAME[row.metric]
        if row.verdict == claims.NOT_TESTABLE:
            said.append(f"not testable in {metric.label}: no run has any")
            continue
        here = number(row.difference, metric.digits, sign=True)
        printed = number(row.side * row.size, metric.digits, sign=True)
        text = f"{here} {interval(row.low, row.high, metric.digits)} in {metric.label}"
        size = {"possible": "not excluded"}.get(row.size_found, row.size_found)
        more = "; ".join(filter(None, [size, claims.other_seeds(row, metric.digits)]))
        said.append(f"{text}, where the paper prints {printed} ({more})")
    least, most = rows["planned"].agg(["min", "max"])
    won = rows[rows["verdict"] == "gain"]
    gains = [f"{BY_NAME[r.metric].label} against {zoo.label(r.baseline)}" for r in won.itertuples()]
    return [
        f"**By the paper's own rules** (WMT14, {least:.0f} to {most:.0f} seeds), SG-Blend minus "
        f"GELU is {'; '.join(said)}. Its gains after correction: {', '.join(gains) or 'none'}."
    ]


def stated(row: Any) -> str:
    """The task; of a difference that was found also whether seeds that decide nothing show it."""
    if row.verdict not in ("gain", "loss") or not isinstance(row.other_range, str):
        return place(row)
    least = min(row.other_low / row.difference, row.other_high / row.difference)
    text = claims.other_seeds(row, BY_NAME[row.metric].digits)
    return f"{place(row)} ({'' if least > 0 else 'not '}seen again in {text})"


def named(table: pd.DataFrame, *wanted: str) -> str:
    """Tasks and variants of the sound rows with these verdicts, variant by variant."""
    own = table[table["verdict"].isin(wanted) & (table["protocol"] == "sound")]
    tasks: dict[str, list[str]] = {}
    for row in own.itertuples():
        tasks.setdefault(zoo.label(row.activation), []).append(stated(row))
    return "; ".join(f"{' · '.join(names)} with {label}" for label, names in tasks.items())


def sound(table: pd.DataFrame) -> str:
    """The verdicts under a sound protocol, task by task."""
    parts = [f"{v.capitalize()}: {names}." for v in VERDICTS if (names := named(table, v))]
    more = "What a difference is made of: [notebook 08](notebooks/08_ablations.ipynb)."
    return f"**By sound rules, against GELU, in cross-entropy.** {' '.join(parts)} {more}"


def distances(found: Sequence[Experiment]) -> list[str]:
    """How far SG-Blend's sites end from GELU, beside SiLU's distance where it was run."""
    said = []
    for entry in plan()["experiments"]:
        spans = {}
        for name, runs in claims.judged(found, entry).groupby("activation"):
            sites = [r["metrics"].get("gelu_distance_by_site", {}) for r in runs["record"]]
            if values := [value for by_site in sites for value in by_site.values()]:
                spans[name] = f"{min(values):.3f} to {max(values):.3f}"
        if OURS in spans:
            beside = f" (SiLU {spans['silu']})" if "silu" in spans else ""
            said.append(f"{WORDS[entry['task']]} {spans[OURS]}{beside}")
    return said and [
        "**Learned functions**: the root mean square of SG-Blend minus GELU over a site's own "
        f"inputs, a constant left out, ends at {'; '.join(said)}."
    ]


def costs() -> list[str]:
    said = [
        f"{WORDS[task]} {number(100 * (row.ratio - 1), 0, sign=True)} % "
        f"{interval(100 * (row.low - 1), 100 * (row.high - 1), 0)}"
        for task, row in bench.step_table().iterrows()
    ]
    return said and [
        f"**A training step costs more**, on a CPU, than with GELU: {', '.join(said)} "
        f"(measured at commit {bench.step_commit()}, with its presets: "
        "[notebook 09](notebooks/09_overhead.ipynb)); the paper says 2.9 %."
    ]


def advice(table: pd.DataFrame) -> str:
    """Where it gained and where it did not; nothing is said of what is open."""
    use, skip = named(table, "gain"), named(table, "loss", "no relevant difference")
    return (
        f"**Use it when** your task is like one where it gained: {use or 'none so far'}. **Skip it "
        f"when** it is like one where it did not: {skip or 'none so far'}. The others are open."
    )
