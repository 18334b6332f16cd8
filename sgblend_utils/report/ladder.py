"""The audit ladder as a waterfall and as a table, from the store alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from sgblend_utils import audit
from sgblend_utils.configs import PRESET_NAMES
from sgblend_utils.report.conditions import UNREPORTED, hardware_name, ranges
from sgblend_utils.report.figures import TITLE, finish
from sgblend_utils.report.tables import number, published
from sgblend_utils.style import INK, LABELS, MUTED, set_style

ACTIVATION = "sgblend"
HEADLINE = "What the published numbers are made of"
# Of Okabe and Ito: the value, what a fix takes away, what it adds.
VALUE, LOSS, GAIN = "#0072B2", "#D55E00", "#009E73"
READS = {
    "accuracy": ("token accuracy (%), gold words given", 100, 1),
    "bleu": ("BLEU (0–1), each rung by its own definition", 1, 3),
}


def ladders(root: Path | None = None) -> dict[str, list[int]]:
    """Reported presets whose ladder is complete in the store -> its seeds."""
    presets = [p for p in PRESET_NAMES if p not in UNREPORTED]
    presets = [p for p in presets if (audit.TASK, "published", p) in audit.PRESETS]
    found = {preset: audit.stored_seeds(preset, ACTIVATION, root) for preset in presets}
    return {preset: seeds for preset, seeds in found.items() if seeds}


def provenance(preset: str, seeds: Sequence[int], root: Path | None = None) -> str:
    """What figure and table say below themselves."""
    rungs = audit.ladder_records(preset, ACTIVATION, seeds, root)
    records = {record["key"]: record for rung in rungs for record in rung}.values()
    sizes = sorted({record["data"]["train_pairs"] for record in records})
    sentences = sorted({record["metrics"]["decoded_sentences"] for record in records})
    parts = [
        audit.TASK,
        f"preset {preset}",
        LABELS[ACTIVATION],
        ("seeds " if len(seeds) > 1 else "seed ") + ranges(seeds),
        f"{len(records)} models",
        " to ".join(f"{n:,}" for n in dict.fromkeys((sizes[0], sizes[-1]))) + " training pairs",
        f"{sentences[-1]:,} test sentences decoded",
        " and ".join(sorted({record["backend"] for record in records})),
        " and ".join(sorted({hardware_name(record) for record in records})),
    ]
    return " · ".join(parts)


def draw_waterfall(axes: Axes, table: pd.DataFrame, name: str) -> None:
    """Each rung's value, and beside it what its fix took away or added."""
    label, scale, digits = READS[name]
    values = scale * table[name].to_numpy()
    places = np.arange(len(values))
    axes.barh(places, values, 0.62, color=VALUE, alpha=0.9)
    for place in places[1:]:
        before, now = values[place - 1], values[place]
        if before == now:
            continue
        style = {"color": "white", "edgecolor": LOSS if now < before else GAIN}
        hatch = "////" if now < before else "...."
        axes.barh(place, abs(before - now), 0.62, min(before, now), hatch=hatch, **style)
        axes.plot([before] * 2, [place - 0.69, place + 0.31], color=MUTED, linewidth=0.8)
    room = 1.34 * values.max()
    for place, value in zip(places, values, strict=True):
        text = number(value, digits)
        right = value
        if place:
            change = value - values[place - 1]
            right = max(value, values[place - 1])
            same = round(change, digits) == 0
            text += "  (same)" if same else f"  ({number(change, digits, sign=True)})"
        axes.text(right + 0.012 * room, place, text, va="center", fontsize=9.5, color=INK)
    axes.set(xlim=(0, room), ylim=(len(values) - 0.45, -0.6), xlabel=label)
    ceiling = scale if name == "accuracy" else values.max()
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= 1.05 * ceiling])
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def figure_ladder(preset: str, seeds: Sequence[int] = (0,), root: Path | None = None) -> Figure:
    """The waterfall: accuracy and BLEU from the published protocol down to the sound one."""
    set_style()
    table = audit.ladder_table(preset, ACTIVATION, seeds, root)
    figure, (left, right) = plt.subplots(1, 2, figsize=(13.2, 0.5 * len(table) + 1.9), sharey=True)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.07)
    paper = published("wmt14_table").set_index("activation").loc[ACTIVATION]
    for axes, name, printed in (
        (left, "accuracy", 100 * paper["val_accuracy"]),
        (right, "bleu", paper["bleu"]),
    ):
        draw_waterfall(axes, table, name)
        axes.plot(printed, 0, "D", mfc="white", mec=INK, markersize=7, zorder=3)
        first, last = (READS[name][1] * table[name].iloc[i] for i in (0, -1))
        digits = READS[name][2]
        word = "Accuracy" if name == "accuracy" else "BLEU"
        unit = " %" if name == "accuracy" else ""
        said = f"{number(first, digits)}{unit} becomes {number(last, digits)}{unit}"
        axes.set_title(f"{word}: {said}", **TITLE)
    marks = table["trained"].map({True: " *", False: ""})
    left.set_yticks(range(len(table)), table["rung"] + marks)
    handles = [
        Patch(color=VALUE, alpha=0.9, label="what is left"),
        Patch(facecolor="white", edgecolor=LOSS, hatch="////", label="taken away by this fix"),
        Patch(facecolor="white", edgecolor=GAIN, hatch="....", label="added by this fix"),
        Line2D(
            [], [], marker="D", linestyle="", mfc="white", mec=INK, label="printed in the paper"
        ),
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=9)
    note = "* a model of its own; the other rungs read the model above them again"
    note = f"{provenance(preset, seeds, root)}\n{note}"
    return finish(figure, HEADLINE, note)


def ladder_markdown(table: pd.DataFrame) -> pd.DataFrame:
    """The table to read: `audit.ladder_text` with the reason of each rung."""
    text = audit.ladder_text(table)
    text.insert(1, "what it mends", table["why"])
    return text
