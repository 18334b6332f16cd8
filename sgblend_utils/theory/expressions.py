"""Every activation as a SymPy expression, and from it f, f' and f'' as NumPy functions.

The expressions are written so that what SymPy differentiates can be evaluated anywhere: the
logistic function is (1 + tanh(z/2))/2, whose derivatives neither overflow nor divide by zero.
"""

import functools
from collections.abc import Callable

import numpy as np
import sympy as sp

from sgblend_utils.errors import UserError

x, alpha, beta, gamma = sp.symbols("x alpha beta gamma", real=True)

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def logistic(z: sp.Expr) -> sp.Expr:
    """s(z) = 1 / (1 + exp(-z))."""
    return (1 + sp.tanh(z / 2)) / 2


def normal_cdf(z: sp.Expr) -> sp.Expr:
    """The distribution function of the standard normal."""
    return (1 + sp.erf(z / sp.sqrt(2))) / 2


def gelu_gate(form: str = "erf") -> sp.Expr:
    """P(x) with GELU(x) = x P(x): ``erf`` (exact), ``tanh`` or ``sigmoid`` (approximations)."""
    gates = {
        "erf": normal_cdf(x),
        "tanh": logistic(2 * sp.sqrt(2 / sp.pi) * (x + sp.Float("0.044715") * x**3)),
        "sigmoid": logistic(sp.Float("1.702") * x),
    }
    if form not in gates:
        raise UserError(f"Unknown GELU form {form!r}: choose one of {', '.join(gates)}.")
    return gates[form]


def sgblend(form: str = "erf") -> sp.Expr:
    """SG-Blend in the symbols alpha, beta, gamma: its definition, term by term."""
    return alpha * (x * logistic(beta * x) - gamma) + (1 - alpha) * x * gelu_gate(form)


def _softplus():
    return sp.log(1 + sp.exp(x))


def _piecewise(negative):
    return sp.Piecewise((x, x > 0), (negative, True))


EXPRESSIONS: dict[str, sp.Expr] = {
    "relu": _piecewise(0),
    "leaky_relu": _piecewise(x / 100),
    "prelu": _piecewise(x / 4),
    "elu": _piecewise(sp.exp(x) - 1),
    "selu": SELU_SCALE * _piecewise(SELU_ALPHA * (sp.exp(x) - 1)),
    "softplus": _softplus(),
    "gelu": x * normal_cdf(x),
    "silu": x * logistic(x),
    "swish": x * logistic(beta * x),
    "mish": x * sp.tanh(_softplus()),
    "hard_silu": sp.Piecewise((0, x <= -3), (x, x >= 3), (x * (x + 3) / 6, True)),
    "serf": x * sp.erf(_softplus()),
    "tanh": sp.tanh(x),
    "squareplus": (x + sp.sqrt(x**2 + 4)) / 2,
    "sswish": x * logistic(beta * x) - gamma,
    "sgblend": sgblend(),
    "sgblend_sigmoid": sgblend("sigmoid"),
    "gelu_tanh": x * gelu_gate("tanh"),
    "gelu_sigmoid": x * gelu_gate("sigmoid"),
}
"""Name -> expression in x (and alpha, beta, gamma where the function learns them)."""

KINKS: dict[str, tuple[float, ...]] = {
    "relu": (0.0,),
    "leaky_relu": (0.0,),
    "prelu": (0.0,),
    "elu": (0.0,),
    "selu": (0.0,),
    "hard_silu": (-3.0, 3.0),
}
"""Points where the first or second derivative jumps; every other activation is smooth."""

DEFAULTS = {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}
PARAMETERS = {
    name: tuple(s.name for s in (alpha, beta, gamma) if s in expression.free_symbols)
    for name, expression in EXPRESSIONS.items()
}
"""Name -> the parameters its expression has."""


@functools.cache
def _compiled(name: str, order: int):
    if name not in EXPRESSIONS:
        raise UserError(f"Unknown activation {name!r}: choose one of {', '.join(EXPRESSIONS)}.")
    expression = EXPRESSIONS[name].diff(x, order) if order else EXPRESSIONS[name]
    return sp.lambdify((x, alpha, beta, gamma), expression, modules=["scipy", "numpy"], cse=True)


def closed_form(name: str, order: int = 0, **parameters) -> Callable[[np.ndarray], np.ndarray]:
    """The `order`-th derivative of an activation as a NumPy function of x.

    Args:
        name: key of `EXPRESSIONS`.
        order: 0, 1, 2, ...; at a kink the value is that of the left side.
        **parameters: alpha, beta, gamma as numbers or arrays that broadcast against x; `DEFAULTS`
            otherwise.

    Raises:
        UserError: unknown name, or a parameter that the activation has not got.
    """
    function = _compiled(name, order)
    extra = sorted(set(parameters) - set(PARAMETERS[name]))
    if extra:
        raise UserError(f"Activation {name!r} has no parameter {', '.join(extra)}.")
    values = {**DEFAULTS, **parameters}

    def evaluate(points):
        points = np.asarray(points, dtype=float)
        result = function(points, values["alpha"], values["beta"], values["gamma"])
        shape = np.broadcast_shapes(points.shape, *(np.shape(v) for v in parameters.values()))
        return np.broadcast_to(np.asarray(result, dtype=float), shape)

    return evaluate
