"""Closed forms behind the activations: shape, signal propagation, identifiability."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from sgblend_utils.errors import UserError
from sgblend_utils.theory.expressions import EXPRESSIONS, KINKS, closed_form, symbols  # noqa: F401


def _kinks(spec: str) -> tuple[float, ...]:
    return KINKS.get(spec.partition("(")[0], ())


# Shape --------------------------------------------------------------------------------------------


def symmetry_defect(function: Callable, reach: float = 12.0) -> float:
    """max |f(x) - f(-x) - x|: zero exactly when f(x) = x/2 + e(x) with an even function e."""
    points = np.linspace(0.0, reach, 4801)
    return float(np.max(np.abs(function(points) - function(-points) - points)))


def maximum(function: Callable, low: float = -12.0, high: float = 12.0) -> tuple[float, float]:
    """Place and value of the largest value on [low, high], ends included."""
    grid = np.linspace(low, high, 9601)  # finds the right hill; a bounded search finds its top
    values = function(grid)
    best = int(np.argmax(values))
    if 0 < best < len(grid) - 1:
        hill = {"bounds": grid[[best - 1, best + 1]], "options": {"xatol": 1e-10}}
        found = optimize.minimize_scalar(lambda point: -float(function(point)), **hill)
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
    kinks = np.array(_kinks(name))
    if np.any(np.abs(slope(kinks + 1e-9) - slope(kinks - 1e-9)) > 1e-6):
        return np.inf
    return maximum(lambda points: np.abs(bend(points)))[1]


def sgblend_curvature_at_zero(alpha: float, beta: float) -> float:
    """f''(0) = alpha beta/2 + (1 - alpha) sqrt(2/pi): the largest curvature for 0 <= alpha <= 1."""
    return alpha * beta / 2 + (1 - alpha) * np.sqrt(2 / np.pi)


def sgblend_map(quantity: str, alphas: ArrayLike, betas: ArrayLike) -> np.ndarray:
    """`depth` or `place` of the minimum, or `lipschitz`: array (len(betas), len(alphas))."""
    parts: dict = {"place": (minimum, 0), "depth": (minimum, 1), "lipschitz": (lipschitz, 1)}
    measure, part = parts[quantity]
    return np.array([[measure("sgblend", alpha=a, beta=b)[part] for a in alphas] for b in betas])


def gelu_error(form: str, order: int = 0) -> tuple[float, float]:
    """Place (x > 0) and size of the largest error of ``gelu_tanh`` or ``gelu_sigmoid``."""
    approximate, exact = closed_form(f"gelu_{form}", order), closed_form("gelu", order)
    return maximum(lambda points: np.abs(approximate(points) - exact(points)), 0.0, 12.0)


# Signal propagation at initialisation -------------------------------------------------------------
# Preactivations of a wide random network are Gaussian.  With weights of variance sigma_w^2 / fan_in
# and biases of variance sigma_b^2, their variance q and the correlation c of two inputs follow
#
#     q' = sigma_w^2 E[f(sqrt(q) z)^2] + sigma_b^2,
#     c' = (sigma_w^2 E[f(u) f(v)] + sigma_b^2) / q'     (u, v Gaussian, variance q, correlation c),
#
# and the squared gradient norm grows by chi_1 = sigma_w^2 E[f'(sqrt(q) z)^2] from layer to layer
# (Poole et al. 2016; Schoenholz et al. 2017).  `gain` is sigma_w, `bias_variance` sigma_b^2.


@functools.lru_cache(maxsize=512)
def gaussian_rule(breaks: tuple[float, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights with sum(w f(z)) = E[f(z)], z standard normal.

    Gauss-Legendre panels of half a standard deviation, split at `breaks`, so that functions with
    kinks there are integrated as exactly as smooth ones.
    """
    reach = 9.0  # standard deviations; the normal has 2e-19 of its mass outside
    inside = [b for b in breaks if abs(b) < reach]
    edges = np.unique(np.concatenate([np.linspace(-reach, reach, 37), inside]))
    nodes, weights = np.polynomial.legendre.leggauss(12)
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half + half * nodes).ravel()
    return z, (half * weights).ravel() * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def gaussian_mean(function: Callable, q: float = 1.0, kinks: tuple[float, ...] = ()) -> float:
    """E[function(sqrt(q) z)] for a standard normal z; `kinks` are points of the argument."""
    if q <= 0:
        raise UserError(f"The variance q is {q:g}; give a positive number.")
    z, w = gaussian_rule(tuple(k / np.sqrt(q) for k in kinks))
    return float(w @ function(np.sqrt(q) * z))


def moments(name: str, q: float = 1.0, **parameters) -> dict[str, float]:
    """Under u ~ N(0, q): `mean` E[f], `second` E[f^2], `slope` E[f'^2], `growth` d E[f^2] / dq.

    The last is E[u f f'] / q and, for smooth f, E[f'^2] + E[f f''].
    """
    value, slope = (closed_form(name, order, **parameters) for order in (0, 1))
    mean = functools.partial(gaussian_mean, q=q, kinks=_kinks(name))
    return {
        "mean": mean(value),
        "second": mean(lambda u: value(u) ** 2),
        "slope": mean(lambda u: slope(u) ** 2),
        "growth": mean(lambda u: u * value(u) * slope(u)) / q,
    }


class Criticality(NamedTuple):
    """The initialisation at which gradients neither grow nor shrink at preactivation variance q."""

    gain: float  # sigma_w with chi_1 = 1
    bias_variance: float  # sigma_b^2 that then holds q; negative: E[f^2] is too large, none does
    preserving_gain: float  # sigma_w that holds q without bias
    chi: float  # chi_1 there
    stability: float  # slope of the variance map at q; above one, a variance runs away from it


def criticality(name: str, q: float = 1.0, **parameters) -> Criticality:
    """Solve chi_1 = 1 at variance `q`."""
    m = moments(name, q, **parameters)
    return Criticality(
        gain=m["slope"] ** -0.5,
        bias_variance=q - m["second"] / m["slope"],
        preserving_gain=(q / m["second"]) ** 0.5,
        chi=q * m["slope"] / m["second"],
        stability=m["growth"] / m["slope"],
    )


def half_stable_point(name: str, **parameters) -> tuple[float, Criticality] | None:
    """The variance q at which gradients *and* variance are marginal, and its initialisation.

    For GELU, Swish and their blends E[f f''] changes sign at one q; there the variance map touches
    the diagonal (Roberts, Yaida, Hanin, "The Principles of Deep Learning Theory", section 5.3).
    None where no such q exists between 0.01 and 300 (tanh, ELU: stable everywhere; Softplus:
    nowhere) or where every q will do (ReLU).
    """

    def excess(q: float) -> float:
        return criticality(name, q, **parameters).stability - 1.0

    if not excess(0.01) > 1e-9 > -1e-9 > excess(300.0):
        return None
    q = float(optimize.brentq(excess, 0.01, 300.0, xtol=1e-10))
    return q, criticality(name, q, **parameters)


def propagate(
    name: str, depth: int, gain: float, bias_variance: float = 0.0, q: float = 1.0, **parameters
) -> tuple[np.ndarray, np.ndarray]:
    """Variance q and growth chi_1 per layer: two arrays of length `depth`, starting at `q`."""
    layers = []
    for _ in range(depth):
        m = moments(name, q, **parameters)
        layers.append((q, gain**2 * m["slope"]))
        q = gain**2 * m["second"] + bias_variance
    return tuple(np.transpose(layers))


def correlation_map(
    name: str, c: np.ndarray, gain: float, bias_variance: float = 0.0, q: float = 1.0, **parameters
) -> np.ndarray:
    """Correlation after one layer for correlations `c` (array in [-1, 1]) at fixed variance `q`."""
    c = np.atleast_1d(np.asarray(c, dtype=float))
    if np.any(np.abs(c) > 1):
        raise UserError("Give correlations in [-1, 1].")
    function, (z, w) = closed_form(name, 0, **parameters), gaussian_rule()
    first = w * function(np.sqrt(q) * z)
    seconds = (value * z[:, None] + np.sqrt(1 - value**2) * z for value in c)
    joint = np.array([first @ (function(np.sqrt(q) * second) @ w) for second in seconds])
    variance = gain**2 * moments(name, q, **parameters)["second"] + bias_variance
    return (gain**2 * joint + bias_variance) / variance


# Identifiability ----------------------------------------------------------------------------------
# For a squared loss, or any loss locally, the curvature in theta = (alpha, beta, gamma) is
# E[grad f grad f^T] over the preactivations, here N(0, sigma^2).  A small eigenvalue is a direction
# in which the parameters move without the function moving.


def parameter_gradient(points: ArrayLike, a=0.5, b=1.0, c=0.0, gelu="erf") -> np.ndarray:
    """grad_theta f at `points`: array (3, *points.shape), rows alpha, beta, gamma."""
    spec, theta = f"sgblend(gelu={gelu})", {"alpha": a, "beta": b, "gamma": c}
    return np.stack([closed_form(spec, 1, by=symbol, **theta)(points) for symbol in symbols[1:]])


def fisher_matrix(a=0.5, b=1.0, c=0.0, sigma=1.0, gelu="erf") -> np.ndarray:
    """E[grad f grad f^T] over x ~ N(0, sigma^2): 3 x 3, order alpha, beta, gamma."""
    z, w = gaussian_rule()
    gradient = parameter_gradient(sigma * z, a, b, c, gelu)
    return (gradient * w) @ gradient.T


def profiled(matrix: np.ndarray) -> np.ndarray:
    """What is left for (alpha, beta) when gamma, or the next bias, adapts: the Schur complement."""
    return matrix[:2, :2] - np.outer(matrix[:2, 2], matrix[2, :2]) / matrix[2, 2]


def condition_number(matrix: np.ndarray) -> float:
    """Largest over smallest eigenvalue of a symmetric matrix; infinite when singular."""
    values = np.linalg.eigvalsh(matrix)
    return np.inf if values[0] <= 1e-13 * values[-1] else float(values[-1] / values[0])


def condition_map(alphas: ArrayLike, betas: ArrayLike, gelu: str = "erf") -> np.ndarray:
    """log10 of the condition number of the 3 x 3 matrix: array (len(betas), len(alphas))."""
    matrices = [[fisher_matrix(a, b, gelu=gelu) for a in alphas] for b in betas]
    return np.log10([[condition_number(matrix) for matrix in row] for row in matrices])


def alpha_signal(b: float, sigma: float = 1.0, gelu: str = "erf") -> float:
    """Standard deviation of df/dalpha that no constant can imitate: what alpha really moves."""
    return float(np.sqrt(max(profiled(fisher_matrix(0.5, b, 0.0, sigma, gelu))[0, 0], 0.0)))
