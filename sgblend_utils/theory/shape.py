"""The shape of an activation: symmetry, minimum, slope, curvature; the approximations of GELU."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import optimize
from scipy.special import lambertw

from sgblend_utils.theory.expressions import KINKS, closed_form

SWISH_DEPTH = float(lambertw(np.exp(-1)).real)
"""W(1/e) = 0.27846...: Swish's minimum is -W(1/e)/beta, at x = -(1 + W(1/e))/beta."""


def symmetry_defect(function: Callable, reach: float = 12.0) -> float:
    """max |f(x) - f(-x) - x|: zero exactly when f(x) = x/2 + e(x) with an even function e."""
    points = np.linspace(0.0, reach, 4801)
    return float(np.max(np.abs(function(points) - function(-points) - points)))


def maximum(function: Callable, low: float = -12.0, high: float = 12.0) -> tuple[float, float]:
    """Place and value of the largest value of a smooth function on [low, high].

    A fine grid finds the right hill, a bounded search its top; a function still rising at an end
    of the interval gives that end.
    """
    grid = np.linspace(low, high, 9601)
    values = function(grid)
    best = int(np.argmax(values))
    if 0 < best < len(grid) - 1:
        found = optimize.minimize_scalar(
            lambda point: -float(function(point)),
            bounds=(grid[best - 1], grid[best + 1]),
            method="bounded",
            options={"xatol": 1e-10},
        )
        if -found.fun >= values[best]:  # otherwise there is a kink at the grid point itself
            return float(found.x), float(-found.fun)
    return float(grid[best]), float(values[best])


def minimum(name: str, **parameters) -> tuple[float, float] | None:
    """Place and value of an activation's interior minimum on [-12, 0]; None for monotone ones."""
    function = closed_form(name, **parameters)
    point, value = maximum(lambda points: -function(points), -12.0, 0.0)
    lower_than_ends = -value < min(function(-12.0), function(0.0)) - 1e-9
    return (point, -value) if lower_than_ends else None


def lipschitz(name: str, **parameters) -> tuple[float, float]:
    """Place and value of sup |f'|, the Lipschitz constant; the place may be infinite (Softplus)."""
    slope = closed_form(name, 1, **parameters)
    place, value = maximum(lambda points: np.abs(slope(points)))
    far = {sign * np.inf: float(np.abs(slope(sign * 500.0))) for sign in (-1, 1)}
    limit = max(far, key=far.get)
    return (limit, far[limit]) if far[limit] > value + 1e-9 else (place, value)


def curvature_bound(name: str, **parameters) -> float:
    """max |f''|, infinite where f' jumps (ReLU and its relatives)."""
    slope, bend = (closed_form(name, order, **parameters) for order in (1, 2))
    if any(
        abs(slope(k + 1e-9) - slope(k - 1e-9)) > 1e-6 for k in KINKS.get(name.partition("(")[0], ())
    ):
        return float("inf")
    return maximum(lambda points: np.abs(bend(points)))[1]


def sgblend_curvature_at_zero(alpha: float, beta: float) -> float:
    """f''(0) = alpha beta/2 + (1 - alpha) sqrt(2/pi): the largest curvature for 0 <= alpha <= 1."""
    return alpha * beta / 2 + (1 - alpha) * np.sqrt(2 / np.pi)


def sgblend_map(quantity: str, alphas: Sequence[float], betas: Sequence[float]) -> np.ndarray:
    """A shape quantity of SG-Blend (gamma = 0) over a grid: array (len(betas), len(alphas)).

    Args:
        quantity: ``depth`` (value of the minimum), ``place`` (where it is) or ``lipschitz``.
    """
    parts: Any = {"place": (minimum, 0), "depth": (minimum, 1), "lipschitz": (lipschitz, 1)}
    measure, part = parts[quantity]
    return np.array([[measure("sgblend", alpha=a, beta=b)[part] for a in alphas] for b in betas])


def gelu_error(form: str, order: int = 0) -> tuple[float, float]:
    """Place (x > 0) and size of the largest error of ``gelu_tanh`` or ``gelu_sigmoid``."""
    approximate, exact = closed_form(f"gelu_{form}", order), closed_form("gelu", order)
    return maximum(lambda points: np.abs(approximate(points) - exact(points)), 0.0, 12.0)


def even_part(name: str, **parameters) -> Callable:
    """e(x) = (f(x) + f(-x)) / 2; for every activation of the family f(x) = x/2 + e(x)."""
    function = closed_form(name, **parameters)
    return lambda points: (function(points) + function(-np.asarray(points))) / 2
