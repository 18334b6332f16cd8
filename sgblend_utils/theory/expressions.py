"""f, f' and f'' of every activation as NumPy functions, from its row of `zoo.ZOO` by SymPy.

The expressions are written so that what SymPy differentiates can be evaluated anywhere: the
logistic function is (1 + tanh(z/2))/2, whose derivatives neither overflow nor divide by zero.
"""

import functools
from collections.abc import Callable

import numpy as np
import sympy as sp

from sgblend_utils.errors import UserError
from sgblend_utils.zoo import ZOO, checked, split_spec

x, alpha, beta, gamma = symbols = sp.symbols("x alpha beta gamma", real=True)


def logistic(z: sp.Expr) -> sp.Expr:
    """s(z) = 1 / (1 + exp(-z))."""
    return (1 + sp.tanh(z / 2)) / 2


def normal_cdf(z: sp.Expr) -> sp.Expr:
    return (1 + sp.erf(z / sp.sqrt(2))) / 2


_FUNCTIONS = {
    "sigmoid": logistic,
    "Phi": normal_cdf,
    "softplus": lambda z: sp.log(1 + sp.exp(z)),
    "where": lambda condition, a, b: sp.Piecewise((a, condition), (b, True)),
    **{name: getattr(sp, name) for name in ("erf", "exp", "tanh", "sqrt", "pi")},
}


def expression(spec: str) -> sp.Expr:
    """An activation with its options in the symbol x, and alpha, beta and gamma if it has them."""
    row, options = checked(spec)
    learned = {s.name: s for s in symbols if s.name in row.parameters}
    return row.evaluate(_FUNCTIONS, x=x, **{**options, **learned})


def sgblend(form: str = "erf") -> sp.Expr:
    """SG-Blend with a form of GELU."""
    return expression(f"sgblend(gelu={form})")


# Name -> expression in x (and alpha, beta, gamma where the function learns them).
EXPRESSIONS: dict[str, sp.Expr] = {
    **{name: expression(name) for name in ZOO},
    "sgblend_sigmoid": sgblend("sigmoid"),
    "gelu_tanh": sgblend("tanh").subs(alpha, 0),
    "gelu_sigmoid": sgblend("sigmoid").subs(alpha, 0),
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
