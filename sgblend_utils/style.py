"""One look for every figure: seaborn's ticks, and one colour, dash and marker per activation.

The colours are those of Okabe and Ito, told apart by readers with any colour vision; dash and
marker carry the same information for print in grey.
"""

import matplotlib as mpl
import seaborn as sns

INK, MUTED, GRID = "#222222", "#6b6b6b", "#e3e3e3"

_COLOURS = {
    "sgblend": "#D55E00",
    "sswish": "#E69F00",
    "silu": "#009E73",
    "swish": "#56B4E9",
    "gelu": "#0072B2",
    "mish": "#CC79A7",
    "relu": "#222222",
    "leaky_relu": "#777777",
    "prelu": "#999999",
    "elu": "#8C6D31",
    "selu": "#B59A57",
    "softplus": "#7B4173",
    "hard_silu": "#5CBFA0",
    "serf": "#A55194",
    "tanh": "#637939",
    "squareplus": "#8CA252",
}
PALETTE: dict[str, str] = dict(_COLOURS)
"""Activation name -> colour, the same in every figure."""

LABELS: dict[str, str] = {
    "sgblend": "SG-Blend",
    "sswish": "SSwish",
    "silu": "SiLU",
    "swish": "Swish (β learned)",
    "gelu": "GELU",
    "mish": "Mish",
    "relu": "ReLU",
    "leaky_relu": "Leaky ReLU",
    "prelu": "PReLU",
    "elu": "ELU",
    "selu": "SELU",
    "softplus": "Softplus",
    "hard_silu": "Hard SiLU",
    "serf": "Serf",
    "tanh": "tanh",
    "squareplus": "Squareplus",
}
"""Activation name -> how a figure or table writes it."""

_DASHES = (
    "-",  # sgblend
    (0, (5, 1.2, 1.2, 1.2, 1.2, 1.2)),  # sswish
    (0, (1.5, 1.2)),  # silu
    (0, (5, 1.2, 1.2, 1.2)),  # swish
    (0, (5, 1.8)),  # gelu
    (0, (9, 2)),  # mish
    (0, (3, 1)),  # relu
    (0, (1, 1)),
    (0, (4, 1, 1, 1)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d", "8", "H", "1")


def activation_style(name: str) -> dict:
    """Keyword arguments of `Axes.plot` for one activation: color, linestyle, marker, label.

    Names that are not in `PALETTE` get grey.  Markers belong to curves with few points; drop the
    key with ``marker=""`` for dense ones.
    """
    place = list(PALETTE).index(name) if name in PALETTE else 0
    return {
        "color": PALETTE.get(name, MUTED),
        "linestyle": _DASHES[place % len(_DASHES)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "label": LABELS.get(name, name),
    }


def set_style() -> None:
    """Make the shared style the default for every figure made from here on."""
    sns.set_theme(context="notebook", style="ticks", palette=list(PALETTE.values())[:8])
    mpl.rcParams.update(
        {
            "figure.dpi": 100,
            "savefig.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 11,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GRID,
            "grid.linewidth": 0.8,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "legend.fontsize": 10,
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "lines.markersize": 5,
            "svg.hashsalt": "sgblend",
        }
    )
