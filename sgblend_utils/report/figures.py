"""Figures of one condition.  Titles say what the numbers say and are computed from them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sgblend_utils.report.conditions import BASELINE, BY_NAME, Condition, Metric
from sgblend_utils.report.tables import message, number, published_differences
from sgblend_utils.stats import compare, paired_differences, summarise
from sgblend_utils.style import INK, LABELS, MUTED, activation_style, set_style

TITLE = {"fontsize": 11}
LETTERS_PER_INCH = 14  # of the note below a figure
BEYOND = 1.5  # how far an axis goes beyond its points, in units of their range
CLEAR = 0.02  # of the axis
ROOM_FOR_INSET = 4  # epochs: curves of so few fill the panel
SCORES = ("bleu", "test_nll", "test_accuracy", "f1", "noise_accuracy")
PARAMETERS = {"alpha": "α", "beta": "β", "gamma": "γ"}


def finish(figure: Figure, title: str, note: str) -> Figure:
    """Give a figure its title and, below it, where its numbers come from."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    note = textwrap.fill(note, int(LETTERS_PER_INCH * figure.get_figwidth()))
    figure.supxlabel(note, x=0.01, ha="left", fontsize=9, color=MUTED)
    return figure


def panels(count: int, width: float = 4.3, height: float = 3.5) -> tuple[Figure, list[Axes]]:
    """So many axes, at most three a row."""
    columns = min(3, count)
    rows = math.ceil(count / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows + 0.6), squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.09, h_pad=0.07)
    for spare in axes.flat[count:]:
        spare.set_axis_off()
    return figure, list(axes.flat[:count])


def rows_of(axes: Axes, activations: list[str]) -> dict[str, int]:
    """Make the y axis a list of activations, the first on top."""
    places = {name: place for place, name in enumerate(activations)}
    axes.set_yticks(list(places.values()), [LABELS.get(name, name) for name in places])
    axes.tick_params(axis="y", length=0)
    for label, name in zip(axes.get_yticklabels(), places, strict=True):
        label.set(color=activation_style(name)["color"], fontweight="bold")
    axes.grid(False, axis="y")
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return places


def widen(axes: Axes, metric: Metric, points: Sequence[float]) -> None:
    """Let the x axis show all points, at least the metric's span, and intervals within reason.

    Two seeds give an interval thirteen times as wide as their distance: on an axis that held it
    whole, all points would be one.  What goes on beyond the axis ends in an arrowhead.
    """
    low, high = axes.dataLim.intervalx
    margin = max(0.05 * (high - low), (metric.span - (high - low)) / 2)
    reach = BEYOND * max(max(points) - min(points), metric.span)
    left, right = max(low - margin, min(points) - reach), min(high + margin, max(points) + reach)
    if min(points) >= 0:  # no room for values that cannot be
        left = max(left, -0.05 * right)
    bars = [line for line in axes.lines if len(line.get_xdata()) == 2]
    bars = [bar for bar in bars if len(set(bar.get_ydata())) == 1]
    ends = np.array([bar.get_xdata() for bar in bars], float).ravel()
    edge = CLEAR * (right - left)  # an end that is shown stays clear of the axis's own ends
    left = min([left, *(ends[ends >= left] - edge)])
    right = max([right, *(ends[ends <= right] + edge)])
    axes.set_xlim(left, right)
    for bar in bars:
        style = {"color": bar.get_color(), "markersize": 6, "clip_on": False}
        ends = np.asarray(bar.get_xdata(), float)
        if ends.min() < left:
            axes.plot(left, bar.get_ydata()[0], "<", **style)
        if ends.max() > right:
            axes.plot(right, bar.get_ydata()[0], ">", **style)


def draw_points(axes: Axes, name: str, values: pd.Series, place: float, **style: Any) -> None:
    """An activation's values in a row, in its colour and with its marker."""
    look = activation_style(name)
    style = {"color": look["color"], "mec": "white", "mew": 0.5, "markersize": 7} | style
    axes.plot(values, [place] * len(values), look["marker"], **style)


def draw_runs(
    axes: Axes,
    condition: Condition,
    metric: Metric,
    hollow: bool = False,
    beside: Sequence[float] = (),
) -> None:
    """One dot a run, and the mean with its 95 % interval beside them.

    `beside` holds points of another metric that the same axes must show.
    """
    places = rows_of(axes, condition.activations)
    means = summarise(condition.frame, metric.name)
    for name, place in places.items():
        colour = activation_style(name)["color"]
        values = condition.frame.loc[condition.frame["activation"] == name, metric.name]
        look = {"mfc": "none", "mec": colour, "mew": 1.2, "markersize": 8}
        draw_points(axes, name, values, place + 0.16, **(look if hollow else {}))
        if not hollow:
            row = means.loc[name]
            axes.plot([row.low, row.high], [place - 0.12] * 2, color=colour, linewidth=2.2)
            axes.plot(row["mean"], place - 0.12, "|", color=colour, markersize=12, mew=2.4)
    axes.set_title(message(condition, metric), **TITLE)
    axes.set_xlabel(metric.label)
    widen(axes, metric, [*condition.frame[metric.name].dropna(), *beside])


def draw_time(axes: Axes, condition: Condition) -> None:
    """An epoch's processor time beside GELU's; where that was not noted, the clock's seconds.

    The clock's are shown and not compared: they measure what else the machine was doing.
    """
    if BY_NAME["time_ratio"] in condition.metrics:
        draw_runs(axes, condition, BY_NAME["time_ratio"])
        axes.axvline(1.0, color=MUTED, linewidth=0.9, linestyle=":")
        ratio = summarise(condition.frame, "time_ratio")["mean"].dropna()
        name = "sgblend" if "sgblend" in ratio else ratio.idxmax()
        seeds = condition.frame.loc[condition.frame["activation"] == name, "time_ratio"].count()
        said = f"Time: {LABELS.get(name, name)} {number(ratio[name], 2)}× GELU"
        said += " (one seed)" if seeds == 1 else ""
        axes.set_title(said, **TITLE)
        axes.set_xlabel(f"{axes.get_xlabel()}\nsame machine, no compilation")
    else:
        draw_runs(axes, condition, BY_NAME["epoch_seconds_median"])
        axes.set_title("Time by the clock: not compared", **TITLE)
        axes.set_xlabel(f"{axes.get_xlabel()}\nother work shared the machine")


def draw_dead(axes: Axes, condition: Condition) -> None:
    """Dead units (full) and near-dead ones (hollow)."""
    draw_runs(axes, condition, BY_NAME["dead_share"])
    dead, near = BY_NAME["dead_share"], BY_NAME["near_dead_share"]
    largest = {"dead": condition.frame[dead.name].max()}
    if near in condition.metrics:
        drawn = condition.frame[dead.name].dropna()
        draw_runs(axes, condition, near, hollow=True, beside=drawn)
        largest["near-dead"] = condition.frame[near.name].max()
    said = [f"≤ {number(v, 2)} % {k}" if v > 0 else f"none {k}" for k, v in largest.items()]
    axes.set_title(", ".join(said).capitalize(), **TITLE)
    axes.set_xlabel("share (%); full: output never above 0.001\nhollow: slope never above 0.05")
    right = max(dead.span, axes.get_xlim()[1])
    axes.set_xlim(-0.06 * right, right)


def draw_accuracy(axes: Axes, condition: Condition) -> None:
    """Validation accuracy by epoch and, inset, its distance from GELU's.

    Lines are means over seeds, bands go from the lowest seed to the highest.
    """
    curves = condition.history("val_accuracy").set_index(["activation", "seed", "epoch"])
    accuracy = 100 * curves["val_accuracy"].unstack("epoch")
    drawn = [(axes, accuracy)]
    several = BASELINE in condition.activations and len(condition.activations) > 1
    if several and accuracy.shape[1] > ROOM_FOR_INSET:
        base = accuracy.loc[BASELINE]
        inset = axes.inset_axes((0.47, 0.11, 0.5, 0.44))
        inset.set_title("minus GELU's", fontsize=9, fontweight="normal", pad=3)
        inset.tick_params(labelsize=8)
        drawn.append((inset, (accuracy - base.reindex(accuracy.index, level="seed")).dropna()))
    for target, values in drawn:
        for name, rows in values.groupby("activation", sort=False):
            style = activation_style(name) | {"linewidth": 1.4, "markersize": 4}
            target.plot(rows.columns, rows.mean(), **style)
            band = {"color": style["color"], "alpha": 0.13, "lw": 0}
            target.fill_between(rows.columns, rows.min(), rows.max(), **band)
        target.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    last = accuracy.iloc[:, -1].groupby("activation").mean().dropna()
    title = "Accuracy by epoch"
    if len(last) > 1:
        title += f": ends within {number(last.max() - last.min(), 2)} points"
    axes.set_title(title, **TITLE)
    axes.set(xlabel="epoch", ylabel="validation accuracy (%)")


def figure_performance(condition: Condition) -> Figure:
    """The paper's performance figure: accuracy by epoch, test scores, time, dead units."""
    set_style()
    scores = [m for m in condition.metrics if m.name in SCORES]
    draws = [draw_accuracy] if not condition.history("val_accuracy").empty else []
    draws += [lambda axes, c, m=metric: draw_runs(axes, c, m) for metric in scores]
    draws += [draw_time]
    draws += [draw_dead] if BY_NAME["dead_share"] in condition.metrics else []
    figure, axes = panels(len(draws))
    for place, draw in zip(axes, draws, strict=True):
        draw(place, condition)
    note = (
        f"{condition.provenance}; a marker is a run, "
        "a bar the 95 % interval of the mean over seeds (arrowhead: it goes on)"
    )
    return finish(figure, f"Performance: {condition.name}", note)


def differences(condition: Condition) -> pd.DataFrame:
    """What `figure_differences` plots: activation − GELU by metric, activation and seed."""
    rows = [
        (metric.name, name, seed, value)
        for metric in difference_metrics(condition)
        for name in condition.activations
        if name != BASELINE
        for seed, value in paired_differences(condition.frame, metric.name, name).items()
    ]
    return pd.DataFrame(rows, columns=["metric", "activation", "seed", "difference"])


def difference_metrics(condition: Condition) -> list[Metric]:
    """Scores that are compared seed by seed in a figure."""
    return [m for m in condition.metrics if m.name in SCORES]


def figure_differences(condition: Condition) -> Figure | None:
    """Each run minus GELU's run with the same seed; None where nothing can be paired."""
    points = differences(condition)
    if points.empty:
        return None
    set_style()
    metrics = difference_metrics(condition)
    figure, all_axes = panels(len(metrics))
    translation = BY_NAME["bleu"] in metrics
    shown = False
    for axes, metric in zip(all_axes, metrics, strict=True):
        own = points[points["metric"] == metric.name]
        places = rows_of(axes, list(own["activation"].unique()))
        table = compare(condition.frame, metric.name, better=metric.better)
        printed = published_differences(metric.name) if translation else {}
        axes.axvline(0.0, color=MUTED, linewidth=1.0)
        for name, place in places.items():
            colour, row = activation_style(name)["color"], table.loc[name]
            values = own.loc[own["activation"] == name, "difference"]
            draw_points(axes, name, values, place + 0.18)
            low_high = [row.low_corrected, row.high_corrected]
            axes.plot(low_high, [place - 0.1] * 2, color=colour, linewidth=1.1)
            axes.plot([row.low, row.high], [place - 0.1] * 2, color=colour, linewidth=3.2)
            axes.plot(row.difference, place - 0.1, "|", color=colour, markersize=12, mew=2.4)
            if name in printed:
                shown = True
                axes.plot(printed[name], place - 0.1, "D", mfc="white", mec=INK, markersize=6)
        arrow = "better →" if metric.better > 0 else "← better"
        axes.set_title(message(condition, metric), **TITLE)
        axes.set_xlabel(f"Δ {metric.label}    {arrow}")
        shown_names = [name for name in places if name in printed]
        widen(axes, metric, [0.0, *own["difference"], *(printed[name] for name in shown_names)])
    handles = [
        Line2D([], [], marker="o", linestyle="", color=MUTED, label="one seed"),
        Line2D([], [], color=MUTED, linewidth=3.2, label="95 % interval"),
        Line2D([], [], color=MUTED, linewidth=1.1, label="corrected for all rows"),
    ]
    if shown:
        printed_style = {"marker": "D", "linestyle": "", "mfc": "white", "mec": INK}
        handles.append(Line2D([], [], label="the paper's (WMT14, its protocol)", **printed_style))
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=9)
    return finish(figure, "Each run minus GELU's of the same seed", condition.provenance)


def figure_parameters(condition: Condition) -> Figure | None:
    """α, β, γ by epoch and site, mean and range over seeds; None where nothing is learned."""
    values = condition.parameters()
    if values.empty:
        return None
    set_style()
    activations = [name for name in condition.activations if name in set(values["activation"])]
    names = [name for name in PARAMETERS if name in set(values["parameter"])]
    sites = list(dict.fromkeys(values["site"]))
    colours = dict(zip(sites, sns.color_palette("viridis", len(sites)), strict=True))
    figure, grid = plt.subplots(
        len(activations),
        len(names),
        figsize=(4.2 * len(names), 3.1 * len(activations) + 0.9),
        squeeze=False,
        sharex=True,
        sharey="col",
    )
    figure.get_layout_engine().set(w_pad=0.09, h_pad=0.07)
    for activation, line in zip(activations, grid, strict=True):
        for name, axes in zip(names, line, strict=True):
            own = values[(values["activation"] == activation) & (values["parameter"] == name)]
            if own.empty:
                axes.set_axis_off()
                continue
            for place, (site, rows) in enumerate(own.groupby("site", sort=False)):
                by_epoch = rows.groupby("epoch")["value"].agg(["mean", "min", "max"])
                style = {"color": colours[site], "linestyle": ("-", "--", "-.", ":")[place % 4]}
                axes.plot(by_epoch["mean"], **style, label=site.replace("_", " "))
                axes.fill_between(
                    by_epoch.index,
                    by_epoch["min"],
                    by_epoch["max"],
                    color=colours[site],
                    alpha=0.15,
                    lw=0,
                )
            last = own[own["epoch"] == own["epoch"].max()]["value"]
            start = own.loc[own["epoch"] == 0, "value"].mean()
            axes.set_title(
                f"{LABELS[activation]}: {PARAMETERS[name]} from {number(start, 2)} "
                f"to {number(last.min(), 2)} … {number(last.max(), 2)}",
                **TITLE,
            )
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for column in grid.T:
        lowest = [axes for axes in column if axes.axison][-1]
        lowest.set_xlabel("epoch")
        lowest.tick_params(labelbottom=True)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=min(6, len(sites)), fontsize=9)
    note = f"{condition.provenance}; line: mean over seeds, band: lowest to highest"
    return finish(figure, "What the activations learned", note)
