"""Figures that need no experiment: the paper's teaser figure, as published and exact."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from sgblend_utils.style import activation_style, set_style
from sgblend_utils.theory import closed_form, lipschitz

TEASER = {True: ("sgblend_sigmoid", "silu", "gelu_sigmoid"), False: ("sgblend", "silu", "gelu")}
"""published? -> names in `theory.EXPRESSIONS` for SG-Blend, Swish and GELU."""


def teaser_curves(published: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """First derivatives of SG-Blend (fresh: 1/2, 1, 0), Swish and GELU on [-5, 5].

    Args:
        published: take x s(1.702 x) for GELU, as the published code does inside SG-Blend and as the
            published figure's GELU curve shows (it peaks near 1.10); otherwise GELU itself.
    """
    points = np.linspace(-5.0, 5.0, 1001)
    return {
        plain: (points, closed_form(name, 1)(points))
        for plain, name in zip(("sgblend", "silu", "gelu"), TEASER[published], strict=True)
    }


def figure_teaser(published: bool = False) -> Figure:
    """The paper's figure 1: first derivatives of SG-Blend, Swish and GELU (see `teaser_curves`)."""
    set_style()
    figure, axes = plt.subplots(figsize=(6.4, 4.0))
    for name, (points, slope) in teaser_curves(published).items():
        style = {**activation_style(name), "marker": ""}
        style["label"] = "Swish (β = 1)" if name == "silu" else style["label"]
        axes.plot(points, slope, **style)
    peak = lipschitz("gelu_sigmoid" if published else "gelu")[1]
    axes.axhline(peak, color="#6b6b6b", linewidth=0.8, linestyle=":")
    axes.text(-4.9, peak + 0.02, f"largest slope of this GELU: {peak:.3f}", fontsize=10)
    form = "x σ(1.702 x), as published" if published else "x Φ(x), exact"
    axes.set(title=f"First derivatives, GELU = {form}", xlabel="x", ylabel="f′(x)")
    axes.set(xlim=(-5, 5), ylim=(-0.2, 1.25))
    axes.legend(loc="lower right")
    return figure
