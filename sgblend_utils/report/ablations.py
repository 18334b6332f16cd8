"""What SG-Blend's effect is made of: the contrasts of `data/ablations.toml`, and their figure."""

import textwrap
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from sgblend_utils import stats, zoo
from sgblend_utils.report import front
from sgblend_utils.report.claims import NOT_RUN, decided, judged, tally
from sgblend_utils.report.experiments import BY_NAME, WORDS, Experiment
from sgblend_utils.report.figures import finish, margin_axes, mark_not_run
from sgblend_utils.report.plan import entry_of, plan
from sgblend_utils.report.tables import interval, number
from sgblend_utils.style import INK

TWIN = ", frozen twin"


def arms(found: Sequence[Experiment], task: str, names: set[str]) -> pd.DataFrame:
    """The runs of some arms with the plan's seeds; a frozen twin's `activation` says so."""
    entry = entry_of(task, "sound") | {"activations": names}
    twins = [one for one in found if one.overrides == {"frozen_twin": True}]
    name = {"activation": lambda frame: frame["activation"] + TWIN}
    twins = [replace(one, overrides={}, frame=one.frame.assign(**name)) for one in twins]
    return pd.concat([judged(found, entry), judged(twins, entry)], ignore_index=True)


def contrasts(found: Sequence[Experiment]) -> pd.DataFrame:
    """A row per contrast, arm - baseline: `difference`, `low`, `high`, corrected p, `verdict`.

    A task without all of its runs has no differences: `runs` of `planned` are there.
    """
    metric, rows = plan("ablations.toml")["metric"], []
    margin, better = plan()["margins"][metric]["value"], BY_NAME[metric].better
    for task, own in pd.DataFrame(plan("ablations.toml")["contrasts"]).groupby("task", sort=False):
        names = {*own["arm"], *own["baseline"]}
        frame, count = arms(found, task, names), len(names) * len(entry_of(task, "sound")["seeds"])
        for row in own.to_dict("records"):
            row |= {"runs": len(frame), "planned": count, "side": better}
            if len(frame) == count:
                one = stats.estimates(frame, metric, row["baseline"])[0][row["arm"]]
                row |= {"difference": one.difference, "p": one.p()}
                row |= dict(zip(("low", "high"), one.interval(), strict=True))
                row["p_equivalent"] = one.p_equivalent(margin)
            rows.append(row)
    columns = ["task", "question", "arm", "baseline", "runs", "planned", "side", "difference"]
    table = pd.DataFrame(rows).reindex(columns=[*columns, "low", "high", "p", "p_equivalent"])
    missing = table["difference"].isna()
    return decided(table.assign(verdict=missing.map({True: NOT_RUN, False: None})))


def arm_label(name: str) -> str:
    spec, twin, _ = name.partition(TWIN)
    return zoo.label(spec) + twin


def contrasts_text(table: pd.DataFrame) -> pd.DataFrame:
    digits, rows = BY_NAME[plan("ablations.toml")["metric"]].digits, []
    for row in table.itertuples():
        cells = [WORDS[row.task], row.question, arm_label(row.arm), arm_label(row.baseline)]
        cells += [number(row.difference, digits, sign=True), interval(row.low, row.high, digits)]
        rows.append([*cells, f"{row.runs} of {row.planned}", f"**{row.verdict}**"])
    names = ["task", "what is compared", "arm", "minus", "difference (nats)", "95 % interval"]
    return pd.DataFrame(rows, columns=[*names, "runs", "verdict"])


def figure_ablations(table: pd.DataFrame) -> Figure:
    """The contrasts as a forest plot in nats, with the plan's margin as a band."""
    title = f"One thing changed at a time: {tally(table)}"
    # Of a task that has not run there is one line.
    table = table[(table["verdict"] != NOT_RUN) | ~table.duplicated(["task", "verdict"])]
    margin = plan()["margins"][plan("ablations.toml")["metric"]]["value"]
    figure, axes = margin_axes(margin, 10, 1.7 + 0.62 * len(table))
    for y, row in enumerate(table.itertuples()):
        if row.verdict == NOT_RUN:
            mark_not_run(axes, y, f"{row.runs} of {row.planned} runs")
            continue
        clear = row.verdict in ("gain", "loss")
        axes.hlines(y, row.low, row.high, INK, linewidth=2.4)
        axes.plot(row.difference, y, "o", markersize=8, mec=INK, mfc=INK if clear else "white")
    shown = table["question"].where(table["verdict"] != NOT_RUN, "all contrasts")
    names = table["task"].map(WORDS) + ": " + shown
    axes.set_yticks(range(len(table)), [textwrap.fill(name, 44) for name in names])
    axes.set_ylim(len(table) - 0.4, -0.6)
    axes.set_xlabel("← arm better       difference in cross-entropy (nats)       baseline better →")
    note = "bars: 95 % interval; filled: differs from zero after correction; grey: below the margin"
    return finish(figure, title, f"protocol sound; {front.planned()}; {note}")
