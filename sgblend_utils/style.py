"""One look for every figure: seaborn's ticks, and a colour, dash and marker per activation.

The colours are those of Okabe and Ito, told apart with any colour vision; dashes are for print.
"""

import seaborn as sns

from sgblend_utils.zoo import ZOO, label

INK, MUTED, GRID, BAND = "#222222", "#6b6b6b", "#e3e3e3", "#efefef"
PALETTE = {name: row.colour for name, row in ZOO.items()}
LABELS = {name: row.label for name, row in ZOO.items()}
_DASHES = ("-", (0, (5, 1.2, 1.2, 1.2, 1.2, 1.2)), (0, (1.5, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
_DASHES += ((0, (5, 1.8)), (0, (9, 2)), (0, (3, 1)), (0, (1, 1)), (0, (4, 1, 1, 1)))  # as the zoo
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d", "8", "H", "1")
_LOOK = {"figure.dpi": 100, "savefig.dpi": 110, "figure.constrained_layout.use": True}
_LOOK |= {"font.size": 11, "axes.titlesize": 12, "axes.labelsize": 11, "legend.fontsize": 10}
_LOOK |= {"axes.titleweight": "bold", "axes.titlelocation": "left", "legend.frameon": False}
_LOOK |= {"axes.edgecolor": MUTED, "axes.labelcolor": INK, "xtick.color": MUTED}
_LOOK |= {"ytick.color": MUTED, "xtick.labelsize": 10, "ytick.labelsize": 10}
_LOOK |= {"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True}
_LOOK |= {"axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.8}
_LOOK |= {"lines.linewidth": 2.0, "lines.markersize": 5, "svg.hashsalt": "sgblend"}


def activation_style(spec: str) -> dict:
    """Keyword arguments of `Axes.plot` for one activation: color, linestyle, marker, label.

    Options of a spec show in the label alone.  Names that are not in the zoo get grey.
    """
    name = spec.partition("(")[0]
    place = list(PALETTE).index(name) if name in PALETTE else 0
    return {
        "color": PALETTE.get(name, MUTED),
        "linestyle": _DASHES[place % len(_DASHES)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "label": label(spec),
    }


def set_style() -> None:
    """Make the shared style the default for every figure made from here on."""
    sns.set_theme(style="ticks", palette=list(PALETTE.values())[:8], rc=_LOOK)
