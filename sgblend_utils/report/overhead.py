"""What SG-Blend costs in a whole training step, from the record of `sgblend bench step`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sgblend_utils import bench, stats
from sgblend_utils.report.experiments import WORDS, hardware
from sgblend_utils.report.figures import finish
from sgblend_utils.style import MUTED, PALETTE, set_style

PAPER = 142 / 138  # seconds of an epoch with SG-Blend and with GELU, in the paper's table
NOTE = "A training step of the cpu preset, over GELU's; mean over repeats, 95 % t interval"


def measured() -> dict[tuple[str, str], list[float]]:
    """Task, activation -> time of a step over that of GELU's, a median per repeat."""
    if not bench.bench_path("step").is_file():
        return {}
    table = bench.summary(bench.load("step")).set_index(["process", "contestant"])
    return table["repeats"].dropna().to_dict()


def step_ratios(task: str, activation: str = "sgblend") -> list[float]:
    """One entry of `measured`; empty without a record."""
    return measured().get((task, activation), [])


def step_table() -> pd.DataFrame:
    """A row per task: `ratio`, the mean over repeats, with its 95 % t interval `low` to `high`."""
    found, rows = measured(), {}
    for task in WORDS:
        if ratios := found.get((task, "sgblend")):
            row = (len(ratios), np.mean(ratios), *stats.mean_interval(ratios))
            rows[task] = dict(zip(("repeats", "ratio", "low", "high"), row, strict=True))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def figure_overhead() -> Figure:
    """The table as a figure, beside the paper's own epochs."""
    table, found = step_table(), measured()
    set_style()
    figure, axes = plt.subplots(figsize=(7.4, 1.5 + 0.5 * len(table)))
    places = np.arange(len(table))
    for place, task in zip(places, table.index, strict=True):
        excess = 100 * (np.array(found[task, "sgblend"]) - 1)
        axes.scatter(excess, np.full(len(excess), place), 28, PALETTE["sgblend"], alpha=0.55)
    ends = 100 * (table[["low", "high"]] - 1)
    axes.hlines(places + 0.22, ends["low"], ends["high"], PALETTE["sgblend"], linewidth=2.4)
    axes.scatter(100 * (table["ratio"] - 1), places + 0.22, 90, PALETTE["sgblend"], marker="|")
    axes.axvline(0, color=MUTED, linewidth=1.0)
    axes.axvline(100 * (PAPER - 1), color=MUTED, linewidth=1.2, linestyle="--")
    axes.text(100 * (PAPER - 1), -0.62, " the paper's epochs: 142 s against 138 s", va="bottom")
    axes.set_yticks(places, [WORDS[task] for task in table.index])
    axes.set(
        ylim=(len(table) - 0.4, -0.9),
        xlabel="a training step with SG-Blend takes longer than GELU's by (%)",
    )
    axes.grid(False, axis="y")
    sure = table.loc[table["low"] > 1, "ratio"]
    said = ", ".join(f"{100 * (r - 1):.0f} % on {WORDS[t]}" for t, r in sure.items())
    machine = hardware(bench.load("step")["processes"].values())
    note = f"{machine}; dots: repeats in new processes; bars: 95 % interval of their mean"
    return finish(figure, f"A step is longer by {said}" if said else "No difference shown", note)
