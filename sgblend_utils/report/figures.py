"""Figures of one experiment, with titles computed from its numbers; and the paper's figure 1."""

import math
import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.animation import FuncAnimation
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sgblend_utils.report.experiments import BASELINE, Experiment, Metric
from sgblend_utils.report.plan import committed_table
from sgblend_utils.report.tables import comparable, compared, message, number
from sgblend_utils.stats import summarise
from sgblend_utils.style import BAND, INK, MUTED, PALETTE, activation_style, set_style
from sgblend_utils.theory import closed_form, lipschitz
from sgblend_utils.zoo import label

OURS = "sgblend"
TITLE = {"fontsize": 11}
HOLLOW = {"marker": "D", "linestyle": "", "mfc": "white", "mec": INK, "markersize": 6}
PARAMETERS = {"alpha": "α", "beta": "β", "gamma": "γ"}
PRINTED = {"val_accuracy": "reported_accuracy", "bleu": "reported_bleu"}  # in the paper's table


def grid(count: int, width: float = 3.3, height: float = 3.1, columns: int = 3, **options: Any):
    """A figure and its axes (rows, columns), of which `count` are used, each so many inches."""
    set_style()
    rows, columns = math.ceil(count / columns), min(columns, count)
    size = width * columns, height * rows + 0.7
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **options)
    for spare in axes.flat[count:]:
        spare.set_axis_off()
    return figure, axes


def finish(figure: Figure, title: str, note: str) -> Figure:
    title = textwrap.fill(title, int(8.5 * figure.get_figwidth()))
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    note = textwrap.fill(note, int(14 * figure.get_figwidth()))
    figure.supxlabel(note, x=0.01, ha="left", fontsize=9, color=MUTED)
    return figure


def margin_axes(margin: float, width: float, height: float) -> tuple[Figure, Any]:
    """A figure of differences, a row each: those below `margin` in a band around zero."""
    set_style()
    figure, axes = plt.subplots(figsize=(width, height))
    axes.axvspan(-margin, margin, color=BAND, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.grid(False, axis="y")
    return figure, axes


def mark_not_run(axes: Any, y: int, text: str) -> None:
    look = {"ha": "center", "va": "center", "backgroundcolor": BAND, "color": MUTED}
    axes.text(0, y, f"not run ({text})", **look)


def draw(experiment: Experiment, means: dict[Metric, pd.DataFrame], paired: bool = False) -> Figure:
    """A panel per metric, a row per activation; `means` is of `summarise` or, paired, `compare`."""
    height = max(3.1, 0.9 + 0.55 * max(map(len, means.values())))
    figure, axes_grid = grid(len(means), height=height, columns=2 if len(means) == 4 else 3)
    note = f"{experiment.provenance}; dots: runs; bars: 95 % interval of the mean, cut at edges"
    note += "; thin: corrected for all rows" * paired
    gaps = pd.DataFrame()
    if paired and experiment.task == "wmt14":
        gaps = committed_table("published/wmt14_table.csv").set_index("activation")
        gaps = (gaps - gaps.loc[BASELINE]).rename(columns=PRINTED)
    note += "; diamonds: printed in the paper" * any(m.name in gaps for m in means)
    for axes, (metric, table) in zip(axes_grid.flat, means.items(), strict=False):
        runs = experiment.frame.pivot(index="activation", columns="seed", values=metric.name)
        runs = (runs - runs.loc[BASELINE] if paired else runs).loc[table.index]
        low, high = runs.min(axis=None), runs.max(axis=None)
        low, high = (min(low, 0), max(high, 0)) if paired else (low, high)
        reach = 0.7 * max(high - low, metric.span)
        axes.set_xlim(low - reach if paired else max(low - reach, -0.1 * reach), high + reach)
        places = np.arange(len(runs))
        colours = [activation_style(name)["color"] for name in runs.index]
        for height, seed in zip(np.linspace(0.02, 0.34, runs.shape[1]), runs, strict=True):
            axes.scatter(runs[seed], places + height, 44, colours, edgecolors="white", zorder=3)
        for end, width in (("", 3.2), ("_corrected", 1.2))[: 1 + paired]:
            sides = table[f"low{end}"], table[f"high{end}"]
            axes.hlines(places - 0.18, *sides, colours, linewidth=width)
        axes.scatter(table.iloc[:, 1], places - 0.18, 130, colours, marker="|", linewidth=2.4)
        names = [textwrap.fill(label(name), 14) for name in runs.index]
        axes.set_yticks(places, names, fontweight="bold")
        for text, colour in zip(axes.get_yticklabels(), colours, strict=True):
            text.set_color(colour)
        axes.tick_params(axis="y", length=0, labelleft=axes.get_subplotspec().is_first_col())
        axes.grid(False, axis="y")
        axes.set(ylim=(len(runs) - 0.4, -0.6), xlabel=metric.label)
        if paired:
            axes.axvline(0.0, color=MUTED, linewidth=1.0)
            axes.set_xlabel(f"Δ {metric.label}  {'better →' if metric.better > 0 else '← better'}")
        if metric.name in gaps:
            axes.plot(metric.scale * gaps[metric.name].reindex(runs.index), places - 0.18, **HOLLOW)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_title(textwrap.fill(message(experiment, metric), 26), **TITLE)
    title = f"Minus GELU of the same seed: {experiment.title}" if paired else experiment.title
    return finish(figure, title, note)


def figure_performance(experiment: Experiment) -> Figure:
    """The paper's performance figure: test scores and dead units; its time is notebook 09's."""
    metrics = [m for m in experiment.metrics if "scores" in m.uses or m.name == "dead_share"]
    metrics = [m for m in metrics if comparable(experiment, m.name)]
    return draw(experiment, {m: summarise(experiment.frame, m.name) for m in metrics})


def figure_differences(experiment: Experiment) -> Figure | None:
    """Each run minus GELU's run with the same seed; None where nothing can be paired."""
    metrics = [m for m in experiment.used("scores") if comparable(experiment, m.name)]
    tables = {m: t for m in metrics if len(t := compared(experiment, m))}
    return draw(experiment, tables, paired=True) if tables else None


def figure_parameters(experiment: Experiment) -> Figure | None:
    """α, β, γ by epoch where learned, a line per site and seed; None where nothing is."""
    values = experiment.parameters().query("parameter in @PARAMETERS")
    values["line"] = values["site"] + values["seed"].astype(str)
    moved = values.groupby(["activation", "parameter", "line"])["value"].transform("nunique") > 1
    if (values := values[moved]).empty:
        return None
    keys, several = ["activation", "seed", "epoch", "parameter"], values["site"].nunique() > 1
    if several and (values.groupby(keys)["value"].nunique() == 1).all():  # all sites agree
        values = values.drop_duplicates(keys).assign(part="one layer at all sites")
    values["panel"] = values["activation"].map(label) + ": " + values["parameter"].map(PARAMETERS)
    set_style()
    with plt.rc_context({"figure.constrained_layout.use": False}):  # seaborn lays out by itself
        alpha = 0.75 if values["line"].nunique() < 100 else 0.12
        look = {"units": "line", "estimator": None, "alpha": alpha, "height": 2.7, "aspect": 1.2}
        look |= {"hue": "part", "style": "part", "facet_kws": {"sharey": False}, "col_wrap": 3}
        look["palette"] = "viridis" if values["part"].nunique() > 1 else [PALETTE[OURS]]
        plot = sns.relplot(values, x="epoch", y="value", col="panel", kind="line", **look)
    plot.figure.set_layout_engine("constrained")
    plot.set_titles("{col_name}", **TITLE).set_ylabels("")
    plot.axes.flat[0].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    free = values["panel"].nunique() % 3  # a place without a panel
    sns.move_legend(plot, "lower right" if free else "outside right center", title="")
    note = f"{experiment.provenance}; a line per site and seed"
    return finish(plot.figure, f"What was learned: {experiment.title}", note)


def learned(experiment: Experiment) -> pd.DataFrame:
    """SG-Blend's α and β at the end, by run and site (γ only moves the function by −αγ)."""
    values = experiment.parameters().query("activation == @OURS and parameter != 'gamma'")
    last = values[values["epoch"] == values.groupby("seed")["epoch"].transform("max")]
    last, keys = last.rename(columns={"part": "stage"}), ["seed", "site", "stage"]
    table = last.pivot_table("value", keys, "parameter", sort=False).reset_index()
    return table.reindex(columns=[*keys, "alpha", "beta"])


def beyond(sites: pd.DataFrame) -> pd.Series:
    """Which rows of `learned` are no mean of GELU and a Swish: α outside [0, 1], or β < 0."""
    return ~sites["alpha"].between(0, 1) | (sites["beta"] < 0)


def figure_shapes(experiment: Experiment) -> Figure | None:
    """SG-Blend at every site as it ended, by stage, without its constant −αγ; and minus GELU."""
    sites = learned(experiment)
    if experiment.task != "cifar10" or sites.empty:
        return None
    stages, x = sites.groupby("stage", sort=False), np.linspace(-4, 4, 401)
    figure, axes_grid = grid(2 * len(stages), 3.0, 2.7, len(stages), sharex=True)
    for (stage, own), column in zip(stages, axes_grid.T, strict=True):
        curves = [(OURS, values) for values in own[["alpha", "beta"]].to_dict("records")]
        for name, values in [(BASELINE, {}), ("silu", {}), *curves]:
            style = activation_style(name) | {"marker": "", "linewidth": 2.0 - 0.8 * (name == OURS)}
            y, style["zorder"] = closed_form(name, **values)(x), 2.0 - 0.1 * (name == OURS)
            column[0].plot(x, y, **style)
            column[1].plot(x, y - closed_form(BASELINE)(x), **style)
        ends = own[["alpha", "beta"]].agg(["min", "max"]).map(number, digits=2)
        alpha, beta = (" to ".join(ends[name].unique()) for name in ends)
        column[0].set_title(f"{stage}\nα {alpha}\nβ {beta}", **TITLE)
        column[0].set(ylim=(-0.5, 3.0), xlim=(-4, 4))
        column[1].set_xlabel("x")
    axes_grid[0][0].set_ylabel("f(x) + αγ")
    axes_grid[1][0].set_ylabel("minus GELU (scales differ)")
    names = [label(BASELINE), label("silu"), f"{label(OURS)}, a line per site and seed"]
    figure.legend(axes_grid[0][0].lines[:3], names, loc="outside upper right", ncols=3)
    left = f"{beyond(sites).sum()} of {len(sites)} sites: α outside [0, 1] or β < 0"
    return finish(figure, f"{label(OURS)} left the blend at {left}", experiment.provenance)


def animation_learning(experiment: Experiment) -> FuncAnimation | None:
    """f by epoch at the site of the first seed that moved farthest, with GELU and SiLU."""
    rows = experiment.parameters().query("activation == @OURS and parameter != 'gamma'")
    if experiment.task != "cifar10" or rows.empty:
        return None
    rows, x = rows[rows["seed"] == (seed := rows["seed"].min())], np.linspace(-4, 4, 401)
    values = rows.pivot(index=["site", "epoch"], columns="parameter", values="value")
    curves = pd.DataFrame(
        [closed_form(OURS, **r)(x) for r in values.to_dict("records")], values.index
    )
    moved = curves.groupby("site").agg(lambda column: abs(column.iloc[-1] - column.iloc[0]))
    site = moved.max(axis=1).idxmax()
    values, curves = values.loc[site], curves.loc[site].to_numpy()
    figure, ((axes,),) = grid(1, 5.6, 3.6)
    for name in (BASELINE, "silu"):
        axes.plot(x, closed_form(name)(x), **activation_style(name) | {"marker": ""})
    (line,) = axes.plot(x, curves[0], **activation_style(OURS) | {"marker": "", "linewidth": 3})
    axes.set(xlim=(-4, 4), ylim=(-1, 3), xlabel="x", ylabel="f(x) + αγ")
    axes.legend(loc="lower right")

    def show(epoch: int) -> list[Any]:
        line.set_ydata(curves[epoch])
        alpha, beta = (number(values[name].iloc[epoch], 2) for name in ("alpha", "beta"))
        axes.set_title(f"epoch {epoch}: α = {alpha}, β = {beta}")
        return [line]

    finish(figure, f"What {site} learned, seed {seed}", experiment.provenance)
    last = len(curves) - 1
    return FuncAnimation(figure, show, [*range(last + 1), *[last] * 4])


def teaser_curves(published: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """First derivatives of a fresh SG-Blend, Swish and GELU; `published`: GELU as x s(1.702 x)."""
    points, form = np.linspace(-5.0, 5.0, 1001), "_sigmoid" if published else ""
    names = {"sgblend": f"sgblend{form}", "silu": "silu", "gelu": f"gelu{form}"}
    return {plain: (points, closed_form(name, 1)(points)) for plain, name in names.items()}


def figure_teaser(published: bool = False) -> Figure:
    """The paper's figure 1, which needs no experiment: as published, or with GELU itself."""
    figure, ((axes,),) = grid(1, 6.4, 3.3)
    for name, curve in teaser_curves(published).items():
        axes.plot(*curve, **activation_style(name) | {"marker": ""})
    axes.lines[1].set_label("Swish (β = 1)")
    peak = lipschitz("gelu_sigmoid" if published else "gelu")[1]
    axes.axhline(peak, color=MUTED, linewidth=0.8, linestyle=":")
    axes.text(-4.9, peak + 0.02, f"largest slope of this GELU: {peak:.3f}", fontsize=10)
    form = "x σ(1.702 x), as published" if published else "x Φ(x), exact"
    axes.set(xlabel="x", ylabel="f′(x)", xlim=(-5, 5), ylim=(-0.2, 1.25))
    axes.set_title(f"First derivatives, GELU = {form}")
    axes.legend(loc="lower right")
    return figure
