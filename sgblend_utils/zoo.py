"""Every activation in one row, from which layers, derivatives, labels and colours come.

Runs name an activation by a spec, a name with options in brackets if wished:
``sgblend(parameterization=published, trainable_parameters=[alpha,beta])``.
"""

import ast
import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from sgblend_utils.errors import UserError

# Form of GELU -> its gate, GELU(x) / x: exact, and the two approximations of arXiv 1606.08415.
GELU_FORMS = {
    "erf": lambda f, x: f.Phi(x),
    "tanh": lambda f, x: f.sigmoid(2 * f.sqrt(2 / f.pi) * (x + 0.044715 * x**3)),
    "sigmoid": lambda f, x: f.sigmoid(1.702 * x),
}
CHOICES = {"parameterization": ("free", "published"), "gelu": tuple(GELU_FORMS)}


def choose(kind: str, value: str, valid: Any) -> str:
    """`value` if it is among `valid`; otherwise a UserError that lists them."""
    if value not in valid:
        names = ", ".join(valid) or "none"
        raise UserError(f"Unknown {kind} {value!r}: choose one of {names}.")
    return value


@dataclass(frozen=True)
class Activation:
    name: str
    label: str
    colour: str
    expression: Callable[..., Any]  # of f and x, see `evaluate`
    reference: str
    factory: str = ""  # `module:attribute` of a Keras layer class or of a function; "": its formula
    parameters: Mapping[str, float] = field(default_factory=dict)  # learned -> their start
    options: Mapping[str, Any] = field(default_factory=dict)  # what a spec may set -> default
    kinks: tuple[float, ...] = ()  # where the first or second derivative jumps
    elementwise: bool = True  # a function of one number, with closed forms

    def evaluate(self, functions: Mapping[str, Any], **values: Any) -> Any:
        """The expression, where f has `functions` (NumPy's, SymPy's), and `values` x and others.

        Its further arguments are parameters, options and `gate` (see `GELU_FORMS`).
        """
        options = {name: value for name, value in self.options.items() if value is not None}
        known, f = {**self.parameters, **options, **values}, SimpleNamespace(**functions)
        if "gelu" in known:
            known["gate"] = GELU_FORMS[known["gelu"]](f, known["x"])
        wanted = self.expression.__code__.co_varnames[1:]
        return self.expression(f, **{name: known[name] for name in wanted})


def _learnable(*names: str, **more: Any) -> dict[str, Any]:
    start = {name: {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}[name] for name in names}
    more |= start | {"beta": None, "parameterization": "free", "trainable_parameters": names}
    more |= {f"{name}_bounds": None for name in names if name != "gamma"}
    return {"parameters": start, "options": more}


_PAPER = "Sarkar, Gala, Tripathi (2025), SG-Blend, arXiv 2505.23942"
_OWN, _LAYERS, _F = "sgblend_utils.activations.layers", "keras.layers", "keras.activations"
_ROWS = (
    Activation("sgblend", "SG-Blend", "#D55E00",
        lambda f, x, alpha, beta, gamma, gate:
            alpha * (x * f.sigmoid(beta * x) - gamma) + (1 - alpha) * x * gate, _PAPER,
        f"{_OWN}:SGBlend", **_learnable("alpha", "beta", "gamma", gelu="erf")),
    Activation("sswish", "SSwish", "#E69F00",
        lambda f, x, beta, gamma: x * f.sigmoid(beta * x) - gamma, _PAPER,
        f"{_OWN}:SSwish", **_learnable("beta", "gamma")),
    Activation("silu", "SiLU", "#009E73", lambda f, x: x * f.sigmoid(x),
        "Elfwing, Uchibe, Doya (2017), arXiv 1702.03118", f"{_F}:silu"),
    Activation("swish", "Swish (β learned)", "#56B4E9", lambda f, x, beta: x * f.sigmoid(beta * x),
        "Ramachandran, Zoph, Le (2017), arXiv 1710.05941", f"{_OWN}:Swish", **_learnable("beta")),
    Activation("gelu", "GELU", "#0072B2", lambda f, x: x * f.Phi(x),
        "Hendrycks, Gimpel (2016), arXiv 1606.08415", f"{_F}:gelu"),
    Activation("mish", "Mish", "#CC79A7", lambda f, x: x * f.tanh(f.softplus(x)),
        "Misra (2019), arXiv 1908.08681", f"{_F}:mish"),
    Activation("relu", "ReLU", "#222222", lambda f, x: f.where(x > 0, x, 0),
        "Nair, Hinton (2010), Proc. ICML", f"{_LAYERS}:ReLU", kinks=(0.0,)),
    Activation("leaky_relu", "Leaky ReLU", "#777777",
        lambda f, x, negative_slope: f.where(x > 0, x, negative_slope * x),
        "Maas, Hannun, Ng (2013), ICML workshop", f"{_LAYERS}:LeakyReLU",
        options={"negative_slope": 0.01}, kinks=(0.0,)),
    Activation("prelu", "PReLU", "#999999", lambda f, x, slope: f.where(x > 0, x, slope * x),
        "He et al. (2015), arXiv 1502.01852", f"{_OWN}:ChannelPReLU",
        parameters={"slope": 0.25}, kinks=(0.0,)),
    Activation("elu", "ELU", "#8C6D31",
        lambda f, x, alpha: f.where(x > 0, x, alpha * (f.exp(x) - 1)),
        "Clevert et al. (2015), arXiv 1511.07289", f"{_LAYERS}:ELU",
        options={"alpha": 1.0}, kinks=(0.0,)),
    Activation("selu", "SELU", "#B59A57",
        lambda f, x: 1.0507009873554805 * f.where(x > 0, x, 1.6732632423543772 * (f.exp(x) - 1)),
        "Klambauer et al. (2017), arXiv 1706.02515", f"{_F}:selu", kinks=(0.0,)),
    Activation("softplus", "Softplus", "#7B4173", lambda f, x: f.softplus(x),
        "Dugas et al. (2000), NIPS 13", f"{_F}:softplus"),
    Activation("hard_silu", "Hard SiLU", "#5CBFA0",
        lambda f, x: f.where(x <= -3, 0, f.where(x >= 3, x, x * (x + 3) / 6)),
        "Howard et al. (2019), arXiv 1905.02244", f"{_F}:hard_silu", kinks=(-3.0, 3.0)),
    Activation("serf", "Serf", "#A55194", lambda f, x: x * f.erf(f.softplus(x)),
        "Nag et al. (2021), arXiv 2108.09598"),
    Activation("tanh", "tanh", "#637939", lambda f, x: f.tanh(x),
        "LeCun, Bottou, Orr, Müller (1998), Efficient BackProp", f"{_F}:tanh"),
    Activation("squareplus", "Squareplus", "#8CA252", lambda f, x: (x + f.sqrt(x**2 + 4)) / 2,
        "Barron (2021), arXiv 2112.11687", f"{_F}:squareplus"),
    Activation("gelu_tanh", "GELU (tanh)", "#6BAED6", lambda f, x: x * GELU_FORMS["tanh"](f, x),
        "Hendrycks, Gimpel (2016), arXiv 1606.08415"),
    Activation("xgelu", "xGELU", "#3182BD",
        lambda f, x, expansion: x * (f.Phi(x) * (1 + 2 * expansion) - expansion),
        "Huang (2024), arXiv 2405.20768", parameters={"expansion": 0.0}),
    Activation("xsilu", "xSiLU", "#31A354",
        lambda f, x, expansion: x * (f.sigmoid(x) * (1 + 2 * expansion) - expansion),
        "Huang (2024), arXiv 2405.20768", parameters={"expansion": 0.0}),
    # Its two factors, softplus(positive) and 1/2 + softplus(negative), start at 0.8.
    Activation("xielu", "xIELU", "#E6550D",
        lambda f, x, positive, negative: x / 2 + f.where(x > 0, f.softplus(positive) * x**2,
            (0.5 + f.softplus(negative)) * (f.exp(f.where(x > 0, 0, x)) - 1 - x)),
        "Huang, Schlag (2024), arXiv 2411.13010",
        parameters={"positive": 0.2033, "negative": -1.0502}, kinks=(0.0,)),
    Activation("golu", "GoLU", "#756BB1", lambda f, x: x * f.exp(-f.exp(f.where(x > -30, -x, 30))),
        "Das et al. (2025), arXiv 2502.03654"),
    Activation("telu", "TeLU (TanhExp)", "#636363", lambda f, x: x * f.tanh(f.exp(x)),
        "Liu, Di (2020), arXiv 2003.09855; Fernandez, Mali (2024), arXiv 2412.20269"),
    Activation("smish", "Smish", "#843C39", lambda f, x: x * f.tanh(f.log(1 + f.sigmoid(x))),
        "Wang, Ren, Wang (2022), Electronics 11(4) 540"),
    Activation("logish", "Logish", "#BD9E39", lambda f, x: x * f.log(1 + f.sigmoid(x)),
        "Zhu et al. (2021), Neurocomputing 458"),
    Activation("relu_squared", "ReLU²", "#393B79", lambda f, x: f.where(x > 0, x, 0) ** 2,
        "So et al. (2021), Primer, arXiv 2109.08668", kinks=(0.0,)),
    Activation("leaky_relu_squared", "Leaky ReLU(½)²", "#5254A3",
        lambda f, x: f.where(x > 0, x, x / 2) ** 2,
        "after So et al. (2021), Primer, arXiv 2109.08668", kinks=(0.0,)),
    Activation("star_relu", "StarReLU", "#CE6DBD",
        lambda f, x, scale, bias: scale * f.where(x > 0, x, 0) ** 2 + bias,
        "Yu et al. (2022), arXiv 2210.13452",
        parameters={"scale": 0.8944, "bias": -0.4472}, kinks=(0.0,)),
    Activation("polynorm", "PolyNorm", "#B8A9C9",
        lambda f, x, cubic, square, linear, bias:
            cubic * f.normed(x**3) + square * f.normed(x**2) + linear * f.normed(x) + bias,
        "Zhuo et al. (2024), arXiv 2411.03884", elementwise=False,
        parameters=dict.fromkeys(("cubic", "square", "linear"), 1 / 3) | {"bias": 0.0}),
)  # fmt: skip
ZOO = {row.name: row for row in _ROWS}  # in the order of tables and palettes
VARIANTS = {  # spec -> label
    "sgblend(gelu=sigmoid, parameterization=published)": "SG-Blend, as published",
    "sgblend(alpha_bounds=[0,1], beta_bounds=[0.1,10])": "SG-Blend, 0 ≤ α ≤ 1",
    "sgblend(trainable_parameters=[])": "SG-Blend, fixed at the start",
    "sgblend(trainable_parameters=[alpha,beta])": "SG-Blend, γ fixed",
}


def split_spec(spec: str) -> tuple[str, dict[str, Any]]:
    """Name and options of a spec as they are written; bare words are strings, lists tuples."""

    def value(node: Any) -> Any:
        if hasattr(node, "elts"):  # of a list
            return tuple(map(value, node.elts))
        return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)

    try:
        node: Any = ast.parse(spec.strip(), mode="eval").body
        if hasattr(node, "keywords") and not node.args:  # a call
            return node.func.id, {word.arg: value(word.value) for word in node.keywords}
        return node.id, {}
    except (SyntaxError, AttributeError, ValueError):
        right = "gelu or sgblend(alpha=0.2)"
        raise UserError(f"Write an activation as {right}, not {spec!r}.") from None


def checked(spec: str) -> tuple[Activation, dict[str, Any]]:
    """The row, and the options that differ from its defaults, sorted; a UserError for bad ones."""
    name, options = split_spec(spec)
    row, out = ZOO[choose("activation", name, ZOO)], {}
    free = options.get("parameterization") != "published"
    for key, value in sorted(options.items()):
        choose(f"option of {name}", key, row.options)
        right, wanted = isinstance(value, (int, float)), "a number"
        if key in CHOICES:
            right = choose(key, value, CHOICES[key])
        elif key == "trainable_parameters":
            names = value if isinstance(value, tuple) else (value,)
            value = tuple(parameter for parameter in row.parameters if parameter in names)
            right, wanted = len(value) == len(names), f"a list of {', '.join(row.parameters)}"
        elif key.endswith("_bounds"):
            numbers = isinstance(value, tuple) and {type(v) for v in value} <= {int, float}
            right = numbers and len(value) == 2 and value[0] < value[1]
            wanted = "a pair such as [0,1]"
        if not right:
            raise UserError(f"{key} of {name} is {options[key]!r}; give {wanted}.")
        # Left to itself, beta starts at 1, except that the published parameterization draws it.
        if value != row.options[key] and not (key == "beta" and free and value == 1.0):
            out[key] = value
    return row, out


def canonical(spec: str) -> str:
    """The one way to write a spec: options sorted, without those that equal the default."""

    def text(value: Any) -> str:
        if isinstance(value, tuple):
            return f"[{','.join(map(text, value))}]"
        return value if isinstance(value, str) else f"{value:.15g}"

    row, options = checked(spec)
    shown = ", ".join(f"{key}={text(value)}" for key, value in options.items())
    return f"{row.name}({shown})" if shown else row.name


def split_list(specs: str) -> list[str]:
    """The specs of a list with commas between them."""
    try:
        parsed: Any = ast.parse(f"[{specs}]", mode="eval").body
        names = [ast.unparse(node) for node in parsed.elts]
    except SyntaxError:
        names = []
    if not names:
        raise UserError(f"Write activations as gelu,sgblend(alpha=0.2), not {specs!r}.")
    return names


def label(spec: str) -> str:
    """How tables and figures write an activation; a name that is not in `ZOO` stays as it is."""
    if spec in VARIANTS:
        return VARIANTS[spec]
    name, bracket, options = spec.partition("(")
    return (ZOO[name].label if name in ZOO else name) + (bracket and f" ({options}")


def make_activation(spec: str, /, **kwargs: Any) -> Any:
    """A fresh Keras layer; `kwargs` are the layer's own and go before the options of the spec."""
    import keras

    row, options = checked(spec)
    module, attribute = (row.factory or f"{_OWN}:Formula").split(":")
    made = getattr(importlib.import_module(module), attribute)
    if not row.factory:
        made = functools.partial(made, row.name)
    elif not isinstance(made, type):
        made = functools.partial(keras.layers.Activation, made)
    try:
        return made(**{**row.options, **options, **kwargs})
    except (TypeError, ValueError) as error:
        raise UserError(f"Activation {spec!r} does not take {kwargs}: {error}") from error
