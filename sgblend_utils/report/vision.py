"""Figures of an image condition: confusion, robustness, gradients, and the shapes learned.

Each is a function of a condition alone and gives None where its records hold nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from sgblend_utils.datasets.images import CIFAR10_CLASSES
from sgblend_utils.report.conditions import BASELINE, BY_NAME, Condition
from sgblend_utils.report.figures import TITLE, finish, panels
from sgblend_utils.report.tables import message, number
from sgblend_utils.style import LABELS, PALETTE, activation_style, set_style
from sgblend_utils.theory import closed_form, minimum

OURS = "sgblend"
STRENGTHS = {
    "noise": "standard deviation of the noise, pixels from 0 to 1",
    "blur": "standard deviation of the blur (pixels)",
}
BAND = "line: mean over seeds, band: lowest to highest"


# What the records hold ----------------------------------------------------------------------------


def confusion(condition: Condition, activation: str) -> pd.DataFrame | None:
    """Per cent of each true class (row) that is taken for each class, mean over the runs.

    None for another task, or if the activation has no run.
    """
    chosen = condition.frame.loc[condition.frame["activation"] == activation, "record"]
    if condition.task != "cifar10" or chosen.empty:
        return None
    counts = np.mean([record["metrics"]["confusion"] for record in chosen], axis=0)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    return pd.DataFrame(shares, index=CIFAR10_CLASSES, columns=CIFAR10_CLASSES)


def robustness(condition: Condition) -> pd.DataFrame:
    """A row per run, kind and strength of corruption (0: the test set as it is): `accuracy`, %."""
    rows = [
        (activation, seed, kind, strength, 100 * value)
        for activation, seed, record in condition.frame[["activation", "seed", "record"]].values
        for kind, found in record["metrics"].get("robustness", {}).items()
        for strength, value in [
            (0.0, record["metrics"]["test_accuracy"]),
            *((float(s), accuracy) for s, accuracy in found.items()),
        ]
    ]
    return pd.DataFrame(rows, columns=["activation", "seed", "kind", "strength", "accuracy"])


def gradients(condition: Condition) -> pd.DataFrame:
    """A row per run, epoch and layer: `norm`; the layer `""` has the network's `noise_scale`."""
    rows = [
        (activation, seed, row["epoch"], layer, norm, scale)
        for activation, seed, record in condition.frame[["activation", "seed", "record"]].values
        for row in record.get("gradients", [])
        for layer, norm, scale in [
            ("", row["norm"], row["noise_scale"]),
            *((layer, norm, None) for layer, norm in row["norm_by_layer"].items()),
        ]
    ]
    columns = ["activation", "seed", "epoch", "layer", "norm", "noise_scale"]
    return pd.DataFrame(rows, columns=columns).astype({"norm": float, "noise_scale": float})


def learned(condition: Condition) -> pd.DataFrame:
    """SG-Blend's α and β at the end: a row per run and site, with `stage`.

    γ only moves the function by the constant −αγ, and is left out.
    """
    values = condition.parameters()
    values = values[values["activation"] == OURS]
    last = values[values["epoch"] == values.groupby("seed")["epoch"].transform("max")]
    table = last.pivot_table(
        index=["seed", "site"], columns="parameter", values="value", sort=False
    ).reset_index()
    if table.empty:
        return pd.DataFrame(columns=["seed", "site", "stage", "alpha", "beta"])
    stage = table["site"].map(lambda site: " ".join(site.split("_")[:2]))
    return table.assign(stage=stage)[["seed", "site", "stage", "alpha", "beta"]]


# Figures ------------------------------------------------------------------------------------------


def figure_confusion(condition: Condition) -> Figure | None:
    """Which classes are taken for which: GELU, SG-Blend, and the difference of the two."""
    tables = {name: confusion(condition, name) for name in (BASELINE, OURS)}
    tables = {name: table for name, table in tables.items() if table is not None}
    if not tables:
        return None
    set_style()
    figure, axes = panels(*((3, 5.0) if len(tables) == 2 else (1, 9.0)), height=4.7)
    for place, (name, table) in zip(axes, tables.items(), strict=False):
        errors = table.where(~np.eye(len(table), dtype=bool), 0.0)
        true, said = errors.stack().idxmax()
        draw_confusion(place, table, cmap="Blues", vmin=0, vmax=30)
        text = f"{number(errors.loc[true, said], 1)} % of {true}s called {said}"
        place.set_title(f"{LABELS[name]}: {text}", **TITLE)
    if len(tables) == 2:
        change = tables[OURS] - tables[BASELINE]
        largest = change.abs().to_numpy().max()
        draw_confusion(axes[2], change, cmap="PuOr_r", vmin=-max(5, largest), vmax=max(5, largest))
        axes[2].set_title(f"SG-Blend − GELU: up to {number(largest, 1)} points", **TITLE)
    note = (
        f"{condition.provenance}; per cent of the true class, mean over seeds; blank: 0.5 or less"
    )
    return finish(figure, "Which classes are taken for which", note)


def draw_confusion(axes: Axes, table: pd.DataFrame, **scale: object) -> None:
    """A confusion table (or a difference of two) in per cent, each cell with its number."""
    texts = table.map(lambda value: number(value, 0) if abs(value) > 0.5 else "")
    style = {"fmt": "", "annot_kws": {"fontsize": 8}, "cbar": False, "square": True}
    sns.heatmap(table, annot=texts, linewidths=0.4, linecolor="white", ax=axes, **style, **scale)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.tick_params(length=0, labelsize=9)
    axes.tick_params(axis="x", rotation=45)
    plt.setp(axes.get_xticklabels(), ha="right", rotation_mode="anchor")


def figure_robustness(condition: Condition) -> Figure | None:
    """Test accuracy against the strength of noise and blur, and its distance from GELU's."""
    rows = robustness(condition)
    if rows.empty:
        return None
    set_style()
    kinds = list(rows["kind"].unique())
    paired = BASELINE in condition.activations and len(condition.activations) > 1
    size = {"figsize": (5.6 * len(kinds), 3.4 * (1 + paired) + 0.9), "sharex": "col"}
    figure, grid = plt.subplots(1 + paired, len(kinds), squeeze=False, sharey="row", **size)
    figure.get_layout_engine().set(w_pad=0.09, h_pad=0.07)
    for kind, column in zip(kinds, grid.T, strict=True):
        own = rows[rows["kind"] == kind].set_index(["activation", "seed", "strength"])
        accuracy = own["accuracy"].unstack("strength")
        draw_lines(column[0], accuracy)
        first, last = (number(accuracy.iloc[:, place].mean(), 0) for place in (0, -1))
        column[0].set_title(f"{kind.capitalize()}: from {first} % to {last} % on average", **TITLE)
        column[-1].set_xlabel(STRENGTHS[kind])
        if paired:
            base = accuracy.loc[BASELINE].reindex(accuracy.index, level="seed")
            draw_lines(column[1], (accuracy - base).dropna())
            column[1].set_title(message(condition, BY_NAME[f"{kind}_accuracy"]), **TITLE)
    grid[0][0].set_ylabel("test accuracy (%)")
    if paired:
        grid[1][0].set_ylabel("minus GELU's, same seed\n(points)")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    note = f"{condition.provenance}; {BAND}"
    return finish(figure, "Accuracy on test images that were spoilt", note)


def draw_lines(axes: Axes, values: pd.DataFrame) -> None:
    """A row per (activation, seed): the mean over seeds as a line, their range as a band."""
    known = values.index.get_level_values("activation").unique()
    for name in sorted(known, key=[*PALETTE, *known].index):
        own, style = values.loc[name], activation_style(name) | {"linewidth": 1.6}
        axes.plot(own.columns, own.mean(), **style)
        band = {"color": style["color"], "alpha": 0.13, "lw": 0}
        axes.fill_between(own.columns, own.min(), own.max(), **band)


def figure_gradients(condition: Condition) -> Figure | None:
    """Norm of the gradient by layer for GELU and SG-Blend; noise scale for all activations."""
    rows = gradients(condition)
    if rows.empty:
        return None
    set_style()
    names = [name for name in (BASELINE, OURS) if name in set(rows["activation"])]
    figure, axes = panels(len(names) + 1, width=4.8, height=3.8)
    layers = [layer for layer in rows["layer"].unique() if layer]
    colours = dict(zip(layers, sns.color_palette("viridis", len(layers)), strict=True))
    for place, name in zip(axes, names, strict=False):
        own = rows[(rows["activation"] == name) & (rows["layer"] != "")]
        norms = own.pivot_table(index="epoch", columns="layer", values="norm")[layers]
        for i, layer in enumerate(layers):
            style = {"color": colours[layer], "linestyle": ("-", "--", "-.", ":")[i % 4]}
            label = layer.removeprefix("stage_").replace("_", ".")
            place.plot(norms.index, norms[layer], **style, label=label)
        factor = number((norms.max(axis=1) / norms.min(axis=1)).max(), 1)
        place.set_title(f"{LABELS[name]}: layers within a factor of {factor}", **TITLE)
        place.set_ylabel("norm of the gradient, mean over seeds")
    scale = rows[rows["layer"] == ""].set_index(["activation", "seed", "epoch"])["noise_scale"]
    scale = scale.unstack("epoch")
    draw_lines(axes[-1], scale)
    axes[-1].set_ylabel("gradient noise scale (images)")
    typical = [f"{float(f'{x:.2g}'):,.0f}" for x in scale.median().dropna()] or ["–"]
    axes[-1].set_title(f"Noise scale: from {typical[0]} to {typical[-1]} images", **TITLE)
    for place in axes:
        place.set(yscale="log", xlabel="epoch")
        place.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        place.yaxis.set_major_formatter("{x:,g}")
        place.yaxis.set_minor_formatter(NullFormatter())
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
    limits = [limit for place in axes[: len(names)] for limit in place.get_ylim()]
    for place in axes[: len(names)]:  # one scale, and room for the legend
        place.set_ylim(0.5 * min(limits), max(limits))
    if names:
        title = "layer (stage.block.convolution)"
        axes[0].legend(fontsize=8, ncols=3, loc="lower left", title=title, title_fontsize=8)
    axes[-1].legend(fontsize=8, ncols=2, loc="upper left")
    note = f"{condition.provenance}; after each epoch on 8 fixed batches of 64 training images"
    return finish(figure, "How large and how noisy the gradient is", note)


def figure_shapes(condition: Condition) -> Figure | None:
    """SG-Blend at every site as it ended, by stage, without its constant −αγ; and minus GELU."""
    sites = learned(condition)
    if condition.task != "cifar10" or sites.empty:
        return None
    set_style()
    stages = list(sites["stage"].unique())
    size = {"figsize": (3.5 * len(stages) + 0.6, 6.2), "sharex": True}
    figure, grid = plt.subplots(2, len(stages), squeeze=False, **size)
    points = np.linspace(-4, 4, 401)
    known = {name: closed_form(name)(points) for name in (BASELINE, "silu")}
    for stage, column in zip(stages, grid.T, strict=True):
        own = sites[sites["stage"] == stage]
        for name, values in known.items():
            style = activation_style(name) | {"marker": "", "linewidth": 1.6, "zorder": 3}
            column[0].plot(points, values, **style)
            column[1].plot(points, values - known[BASELINE], **style)
        for place, row in enumerate(own.itertuples()):
            values = closed_form(OURS, alpha=row.alpha, beta=row.beta, gamma=0.0)(points)
            label = LABELS[OURS] + ", a line per site and seed" if place == 0 else None
            style = {"color": activation_style(OURS)["color"], "linewidth": 1.2, "label": label}
            column[0].plot(points, values, **style)
            column[1].plot(points, values - known[BASELINE], **style)
        ends = [[number(own[p].agg(end), 2) for end in ("min", "max")] for p in ("alpha", "beta")]
        alpha, beta = (" to ".join(dict.fromkeys(pair)) for pair in ends)
        column[0].set_title(f"{stage}\nα {alpha}, β {beta}", **TITLE)
        column[0].set(ylim=(-0.5, 3.0), xlim=(points[0], points[-1]))
        column[1].set_xlabel("x")
    grid[0][0].set_ylabel("f(x) + αγ")
    grid[1][0].set_ylabel("minus GELU (scales differ)")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=3)
    left = beyond(sites)
    title = (
        f"SG-Blend left the blend at {left.sum()} of {len(left)} sites: α outside [0, 1] or β < 0"
    )
    if not left.any():
        dips = [minimum(OURS, alpha=a, beta=b)[1] for a, b in sites[["alpha", "beta"]].values]
        fixed = ", ".join(f"{LABELS[name]}'s {number(minimum(name)[1], 2)}" for name in known)
        title = f"SG-Blend's minima: {number(min(dips), 2)} to {number(max(dips), 2)} ({fixed})"
    return finish(figure, title, condition.provenance)


def beyond(sites: pd.DataFrame) -> pd.Series:
    """Which rows of `learned` are no mean of GELU and a Swish: α outside [0, 1], or β < 0."""
    return ~sites["alpha"].between(0, 1) | (sites["beta"] < 0)


BY_CONDITION: dict[str, Callable[[Condition], Figure | None]] = {
    "confusion": figure_confusion,
    "robustness": figure_robustness,
    "gradients": figure_gradients,
    "shapes": figure_shapes,
}
"""Beginning of a figure's file name -> what draws it; the condition's slug follows."""
