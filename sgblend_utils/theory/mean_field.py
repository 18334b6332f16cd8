"""Signal propagation at initialisation: variance, correlation and gradient maps of wide networks.

Preactivations of a wide random network are Gaussian.  With weights of variance sigma_w^2 / fan_in
and biases of variance sigma_b^2, their variance q and the correlation c of two inputs follow

    q' = sigma_w^2 E[f(sqrt(q) z)^2] + sigma_b^2,
    c' = (sigma_w^2 E[f(u) f(v)] + sigma_b^2) / q'      (u, v Gaussian, variance q, correlation c),

and the squared gradient norm grows by chi_1 = sigma_w^2 E[f'(sqrt(q) z)^2] from layer to layer
(Poole et al. 2016; Schoenholz et al. 2017).  `gain` is sigma_w, `bias_variance` sigma_b^2.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from sgblend_utils.errors import UserError
from sgblend_utils.theory.expressions import KINKS, closed_form

_REACH = 9.0  # standard deviations; the normal has 2e-19 of its mass outside


@functools.lru_cache(maxsize=512)
def gaussian_rule(breaks: tuple[float, ...] = ()) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights with sum(w f(z)) = E[f(z)], z standard normal.

    Gauss-Legendre panels of half a standard deviation, split at `breaks`, so that functions with
    kinks there are integrated as exactly as smooth ones.
    """
    inside = [b for b in breaks if abs(b) < _REACH]
    edges = np.unique(np.concatenate([np.linspace(-_REACH, _REACH, 37), inside]))
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
    """Gaussian moments under u ~ N(0, q).

    Returns:
        ``mean`` E[f], ``second`` E[f^2], ``slope`` E[f'^2], and ``growth`` d E[f^2] / dq, which is
        E[u f f'] / q and, for smooth f, E[f'^2] + E[f f''].
    """
    value, slope = (closed_form(name, order, **parameters) for order in (0, 1))
    mean = functools.partial(gaussian_mean, q=q, kinks=KINKS.get(name.partition("(")[0], ()))
    return {
        "mean": mean(value),
        "second": mean(lambda u: value(u) ** 2),
        "slope": mean(lambda u: slope(u) ** 2),
        "growth": mean(lambda u: u * value(u) * slope(u)) / q,
    }


@dataclass(frozen=True)
class Criticality:
    """The initialisation at which gradients neither grow nor shrink at preactivation variance q.

    Attributes:
        gain: sigma_w with chi_1 = 1.
        bias_variance: sigma_b^2 that then holds the variance at q.  Negative means that no bias
            does: the activation's own second moment is already too large.
        preserving_gain: sigma_w that holds q without bias; chi_1 differs from one there.
        chi: that chi_1.
        stability: derivative of the variance map at q under the critical initialisation.  Above
            one, a variance that starts a little off q runs away from it.
    """

    gain: float
    bias_variance: float
    preserving_gain: float
    chi: float
    stability: float


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


def variance_map(
    name: str, q: float, gain: float, bias_variance: float = 0.0, **parameters
) -> float:
    """Preactivation variance of the next layer."""
    return gain**2 * moments(name, q, **parameters)["second"] + bias_variance


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
    variance = variance_map(name, q, gain, bias_variance, **parameters)
    return (gain**2 * joint + bias_variance) / variance
