"""Every activation as a formula: f, f' and f''; shape, signal propagation, identifiability.

Formulas come from the rows of `zoo.ZOO` by SymPy, written so that what SymPy differentiates can be
evaluated anywhere: the logistic function is (1 + tanh(z/2))/2, whose derivatives neither overflow
nor divide by zero.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy import optimize

from sgblend_utils.errors import UserError
from sgblend_utils.zoo import ZOO, checked, split_spec

x, alpha, beta, gamma = symbols = sp.symbols("x alpha beta gamma", real=True)
FUNCTIONS = {
    "sigmoid": lambda z: (1 + sp.tanh(z / 2)) / 2,
    "Phi": lambda z: (1 + sp.erf(z / sp.sqrt(2))) / 2,
    "softplus": lambda z: sp.log(1 + sp.exp(z)),
    "where": lambda condition, a, b: sp.Piecewise((a, condition), (b, True)),
    **{n: getattr(sp, n) for n in ("cos", "erf", "exp", "log", "pi", "sin", "sqrt", "tanh")},
}


def expression(spec: str) -> sp.Expr:
    """An activation with its options in the symbol x, and alpha, beta and gamma if it has them."""
    row, options = checked(spec)
    if not row.elementwise:
        raise UserError(f"{row.label} is no function of one number: it has no closed form.")
    learned = {s.name: s for s in symbols if s.name in row.parameters}
    return row.evaluate(FUNCTIONS, x=x, **{**options, **learned})


# Name -> expression in x (and alpha, beta, gamma where the function learns them).
EXPRESSIONS: dict[str, sp.Expr] = {
    **{name: expression(name) for name, row in ZOO.items() if row.elementwise},
    "sgblend_sigmoid": expression("sgblend(gelu=sigmoid)"),
    "gelu_sigmoid": expression("sgblend(gelu=sigmoid)").subs(alpha, 0),
}
# Name -> points where the first or second derivative jumps; the others are smooth.
KINKS = {name: row.kinks for name, row in ZOO.items() if row.kinks}


@functools.cache
def _compiled(spec: str, order: int, by: sp.Symbol):
    formula = EXPRESSIONS[spec] if spec in EXPRESSIONS else expression(spec)
    derivative = sp.lambdify(symbols, formula.diff(by, order), ["scipy", "numpy"], cse=True)
    return derivative, {s.name for s in formula.free_symbols - {x}}


def closed_form(spec: str, order: int = 0, *, by: sp.Symbol = x, **parameters) -> Callable:
    """The `order`-th derivative by a symbol as a NumPy function of x; at a kink, its left value.

    `spec` is a key of `EXPRESSIONS`, or a spec of the zoo with options; `parameters` are alpha,
    beta and gamma as numbers or arrays that broadcast against x, or else where the spec starts.
    A UserError names a parameter that the activation has not got.
    """
    function, names = _compiled(spec, order, by)
    if extra := sorted(set(parameters) - names):
        raise UserError(f"Activation {spec!r} has no parameter {', '.join(extra)}.")
    values = {**ZOO["sgblend"].parameters, **split_spec(spec)[1], **parameters}

    def evaluate(points):
        points = np.asarray(points, dtype=float)
        result = function(points, *(values[symbol.name] for symbol in symbols[1:]))
        shape = np.broadcast_shapes(points.shape, *(np.shape(v) for v in parameters.values()))
        return np.broadcast_to(np.asarray(result, dtype=float), shape)

    return evaluate


# Shape --------------------------------------------------------------------------------------------


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
    """Place and value of sup |f'|; the place may be infinite (Softplus), the value too (ReLU²)."""
    slope = closed_form(name, 1, **parameters)
    place, value = maximum(lambda points: np.abs(slope(points)))
    far = {sign * np.inf: float(np.abs(slope(sign * 500.0))) for sign in (-1, 1)}
    limit = max(far, key=far.get)
    if far[limit] > 100.0:  # of a square, whose slope has no bound
        return limit, np.inf
    return (limit, far[limit]) if far[limit] > value + 1e-9 else (place, value)


def curvature_bound(name: str, **parameters) -> float:
    """max |f''|, infinite where f' jumps (ReLU and its relatives)."""
    slope, bend = (closed_form(name, order, **parameters) for order in (1, 2))
    kinks = np.array(KINKS.get(name.partition("(")[0], ()))
    if np.any(np.abs(slope(kinks + 1e-9) - slope(kinks - 1e-9)) > 1e-6):
        return np.inf
    return maximum(lambda points: np.abs(bend(points)))[1]


# Signal propagation at initialisation -------------------------------------------------------------
# Preactivations of a wide random network are Gaussian.  With weights of variance sigma_w^2 / fan_in
# and biases of variance sigma_b^2, their variance q follows
#
#     q' = sigma_w^2 E[f(sqrt(q) z)^2] + sigma_b^2,
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
    kinks = KINKS.get(name.partition("(")[0], ())
    mean = functools.partial(gaussian_mean, q=q, kinks=kinks)
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


def alpha_signal(b: float, sigma: float = 1.0, gelu: str = "erf") -> float:
    """Standard deviation of df/dalpha that no constant can imitate: what alpha really moves."""
    return float(np.sqrt(max(profiled(fisher_matrix(0.5, b, 0.0, sigma, gelu))[0, 0], 0.0)))
