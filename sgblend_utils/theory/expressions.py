"""f, f' and f'' of every activation as NumPy functions, from its row of `zoo.ZOO` by SymPy.

The expressions are written so that what SymPy differentiates can be evaluated anywhere: the
logistic function is (1 + tanh(z/2))/2, whose derivatives neither overflow nor divide by zero.
"""

import functools
from collections.abc import Callable

import numpy as np
import sympy as sp

from sgblend_utils.errors import UserError
from sgblend_utils.zoo import GELU_FORMS, ZOO, choose, split_spec

x, alpha, beta, gamma = symbols = sp.symbols("x alpha beta gamma", real=True)


def logistic(z: sp.Expr) -> sp.Expr:
    """s(z) = 1 / (1 + exp(-z))."""
    return (1 + sp.tanh(z / 2)) / 2


def normal_cdf(z: sp.Expr) -> sp.Expr:
    """The distribution function of the standard normal."""
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
    name, options = split_spec(spec)
    row = ZOO[choose("activation", name, ZOO)]
    learned = {s.name: s for s in symbols if s.name in row.parameters}
    return row.evaluate(_FUNCTIONS, x=x, **{**options, **learned})


def sgblend(form: str = "erf") -> sp.Expr:
    """SG-Blend with a form of GELU."""
    return expression(f"sgblend(gelu={choose('GELU form', form, GELU_FORMS)})")


EXPRESSIONS: dict[str, sp.Expr] = {
    **{name: expression(name) for name in ZOO},
    "sgblend_sigmoid": sgblend("sigmoid"),
    "gelu_tanh": sgblend("tanh").subs(alpha, 0),
    "gelu_sigmoid": sgblend("sigmoid").subs(alpha, 0),
}
"""Name -> expression in x (and alpha, beta, gamma where the function learns them)."""

KINKS = {name: row.kinks for name, row in ZOO.items() if row.kinks}
"""Name -> points where the first or second derivative jumps; the others are smooth."""

PARAMETERS = {
    name: tuple(s.name for s in symbols[1:] if s in formula.free_symbols)
    for name, formula in EXPRESSIONS.items()
}
"""Name -> the parameters its expression has."""


@functools.cache
def _compiled(spec: str, order: int):
    formula = EXPRESSIONS[spec] if spec in EXPRESSIONS else expression(spec)
    names = {s.name for s in formula.free_symbols - {x}}
    derivative = formula.diff(x, order) if order else formula
    return sp.lambdify(symbols, derivative, modules=["scipy", "numpy"], cse=True), names


def closed_form(spec: str, order: int = 0, **parameters) -> Callable[[np.ndarray], np.ndarray]:
    """The `order`-th derivative of an activation as a NumPy function of x.

    Args:
        spec: key of `EXPRESSIONS`, or a spec of the zoo with options.
        order: 0, 1, 2, ...; at a kink the value is that of the left side.
        **parameters: alpha, beta, gamma as numbers or arrays that broadcast against x; the spec's
            starts otherwise.

    Raises:
        UserError: unknown name, or a parameter that the activation has not got.
    """
    function, names = _compiled(spec, order)
    if extra := sorted(set(parameters) - names):
        raise UserError(f"Activation {spec!r} has no parameter {', '.join(extra)}.")
    values = {**ZOO["sgblend"].parameters, **split_spec(spec)[1], **parameters}

    def evaluate(points):
        points = np.asarray(points, dtype=float)
        result = function(points, values["alpha"], values["beta"], values["gamma"])
        shape = np.broadcast_shapes(points.shape, *(np.shape(v) for v in parameters.values()))
        return np.broadcast_to(np.asarray(result, dtype=float), shape)

    return evaluate
