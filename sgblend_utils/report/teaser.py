"""The paper's figure 1, which needs no experiment: as published, and with GELU itself."""

import numpy as np
from matplotlib.figure import Figure

from sgblend_utils.report.figures import grid
from sgblend_utils.style import MUTED, activation_style
from sgblend_utils.theory import closed_form, lipschitz


def teaser_curves(published: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """First derivatives of a fresh SG-Blend, Swish and GELU; `published`: GELU as x s(1.702 x)."""
    points, form = np.linspace(-5.0, 5.0, 1001), "_sigmoid" if published else ""
    names = {"sgblend": f"sgblend{form}", "silu": "silu", "gelu": f"gelu{form}"}
    return {plain: (points, closed_form(name, 1)(points)) for plain, name in names.items()}


def figure_teaser(published: bool = False) -> Figure:
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
