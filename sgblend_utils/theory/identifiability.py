"""How well data can tell alpha, beta and gamma apart: the Fisher-type matrix of SG-Blend.

For a squared loss, or any loss locally, the curvature with respect to theta = (alpha, beta, gamma)
is E[grad f grad f^T] over the preactivations, here N(0, sigma^2).  A small eigenvalue is a
direction in which the parameters move without the function moving.
"""

import functools
from collections.abc import Sequence

import numpy as np
import sympy as sp

from sgblend_utils.theory.expressions import sgblend, symbols
from sgblend_utils.theory.mean_field import gaussian_rule


@functools.cache
def _gradient(form):
    expressions = [sgblend(form).diff(symbol) for symbol in symbols[1:]]
    return sp.lambdify(symbols, expressions, modules=["scipy", "numpy"], cse=True)


def parameter_gradient(
    points: np.ndarray, a: float = 0.5, b: float = 1.0, c: float = 0.0, gelu: str = "erf"
) -> np.ndarray:
    """grad_theta f at `points`: array (3, *points.shape), rows alpha, beta, gamma."""
    points = np.asarray(points, dtype=float)
    return np.stack([row + 0.0 * points for row in _gradient(gelu)(points, a, b, c)])


def fisher_matrix(
    a: float = 0.5, b: float = 1.0, c: float = 0.0, sigma: float = 1.0, gelu: str = "erf"
) -> np.ndarray:
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
    return float("inf") if values[0] <= 1e-13 * values[-1] else float(values[-1] / values[0])


def condition_map(
    alphas: Sequence[float], betas: Sequence[float], sigma: float = 1.0, gelu: str = "erf", c=0.0
) -> np.ndarray:
    """log10 of the condition number of the 3 x 3 matrix: array (len(betas), len(alphas))."""
    matrices = [[fisher_matrix(a, b, c, sigma, gelu) for a in alphas] for b in betas]
    return np.log10([[condition_number(matrix) for matrix in row] for row in matrices])


def alpha_signal(b: float, sigma: float = 1.0, gelu: str = "erf") -> float:
    """Standard deviation of df/dalpha that no constant can imitate: what alpha really moves."""
    matrix = fisher_matrix(0.5, b, 0.0, sigma, gelu)
    return float(np.sqrt(max(matrix[0, 0] - matrix[0, 2] ** 2 / matrix[2, 2], 0.0)))
