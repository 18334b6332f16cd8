"""Every row of the zoo: one function in NumPy, SymPy and Keras; specs and how they are written."""

import json
import re
import subprocess
import sys

import activation_tools as tools
import keras
import numpy as np
import pytest
import sympy as sp
from keras import layers
from scipy import integrate, special, stats

from sgblend_utils import theory, zoo
from sgblend_utils.activations import layers as layer_module
from sgblend_utils.data import project_root
from sgblend_utils.errors import UserError

X = np.linspace(-8, 8, 96, dtype="float32").reshape(2, 12, 4)
each_row = pytest.mark.parametrize("row", zoo.ZOO.values(), ids=zoo.ZOO)


def test_formulas_have_the_same_functions_in_numpy_sympy_and_keras():
    guide = (project_root() / "CONTRIBUTING.md").read_text("utf-8")
    named = re.search(r"Keras share.*?: (.*?);", guide, re.DOTALL)[1]
    named = {word.strip("`").removeprefix("f.") for word in re.findall(r"`[^`]*`", named)}
    own = layer_module._FUNCTIONS.keys()
    assert (
        named == theory.FUNCTIONS.keys() == own - {"normed"} == tools.FUNCTIONS.keys() - {"normed"}
    )
    x = np.array([0.3, 2.0])
    for name in named - {"pi", "where"}:
        exact = [float(theory.FUNCTIONS[name](sp.Rational(*v))) for v in ((3, 10), (2, 1))]
        found = keras.ops.convert_to_numpy(
            layer_module._FUNCTIONS[name](keras.ops.convert_to_tensor(x))
        )
        np.testing.assert_allclose(found, exact, rtol=1e-5)
        np.testing.assert_allclose(tools.FUNCTIONS[name](x), exact, rtol=1e-12)


@each_row
def test_a_row_is_complete_and_its_formula_is_the_closed_form(row):
    assert len({r.label for r in zoo.ZOO.values()}) == len(zoo.ZOO)
    assert len({r.colour for r in zoo.ZOO.values()}) == len(zoo.ZOO)
    assert any(year in row.reference for year in map(str, range(1998, 2030)))
    assert set(row.parameters) & set(row.options) in (set(), set(row.parameters))
    points = np.linspace(-9, 9, 181)
    if not row.elementwise:
        with pytest.raises(UserError, match="no closed form"):
            theory.closed_form(row.name)
        return
    closed = theory.closed_form(row.name)(points)
    np.testing.assert_allclose(tools.formula(row.name, points), closed, rtol=1e-12, atol=1e-13)


@pytest.mark.backend
@each_row
def test_a_layer_computes_its_row_keeps_masks_and_survives_a_file(row, tmp_path):
    layer = zoo.make_activation(row.name, name="site", dtype="float32")
    assert layer.name == "site"
    assert zoo.make_activation(row.name) is not zoo.make_activation(row.name)
    expected = tools.formula(row.name, X)
    np.testing.assert_allclose(tools.to_numpy(layer(X)), expected, rtol=1e-6, atol=1e-6)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert type(keras.saving.deserialize_keras_object(config)) is type(layer)

    inputs = keras.Input((None,), dtype="int32")
    hidden = layers.Embedding(9, 4, mask_zero=True)(inputs)
    fresh = zoo.make_activation(row.name)
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(fresh(hidden)))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    ids = np.asarray([[3, 5, 0, 0, 0]])
    y = tools.to_numpy(model(ids))
    np.testing.assert_allclose(tools.to_numpy(model(ids[:, :2])), y, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(tools.to_numpy(loaded(ids)), y, rtol=1e-5)


def integral(slope):
    """The function with this slope that is 0 at 0."""
    return np.vectorize(lambda point: integrate.quad(slope, 0.0, point)[0])


def unit_powers(x):
    # Of length √n are the powers of x, as many units as there are.
    lengths = [np.sqrt(x.size) * x**i / np.linalg.norm(x**i) for i in (1, 2, 3)]
    return 0.8 * lengths[0] - 0.3 * lengths[1] + 0.5 * lengths[2] - 0.2


def squashed(x):
    u = 1 + special.expit(x)
    return x * (u**2 - 1) / (u**2 + 1)  # tanh(log u)


REFERENCES = {  # written in another way than the zoo's formula
    "gelu_tanh": lambda x: tools.to_numpy(keras.activations.gelu(x, approximate=True)),
    "golu": lambda x: x * stats.gumbel_r.cdf(x),
    "telu": lambda x: x * (1 - 2 / (1 + np.exp(2 * np.exp(x)))),
    "smish": squashed,
    "logish": lambda x: x * np.log1p(special.expit(x)),
    "relu_squared": lambda x: x * np.maximum(x, 0),
    "leaky_relu_squared": lambda x: np.maximum(x, x / 2) ** 2,
    "xgelu": lambda x: x * ((1 + 2 * 0.3) * stats.norm.cdf(x) - 0.3),
    "xsilu": lambda x: x * ((1 + 2 * 0.3) * stats.logistic.cdf(x) - 0.3),
    # Huang and Schlag derive xIELU as an integral, with the factors 1.1 and 0.9 here.
    "xielu": integral(lambda t: 2.2 * t + 0.5 if t > 0 else 0.9 * np.expm1(t) + 0.5),
    "star_relu": lambda x: 1.5 * x * np.maximum(x, 0) - 0.2,
    "polynorm": unit_powers,
}
VALUES = {"expansion": 0.3, "scale": 1.5, "bias": -0.2}
VALUES |= {"cubic": 0.5, "square": -0.3, "linear": 0.8}
VALUES |= {"positive": np.log(np.expm1(1.1)), "negative": np.log(np.expm1(0.4))}


@pytest.mark.backend
@pytest.mark.parametrize("name", REFERENCES)
def test_formulas_are_those_of_their_papers_and_what_they_learn_acts(name):
    points = np.linspace(-5, 5, 41, dtype="float32")
    layer = zoo.make_activation(name)
    layer.build(points.shape)
    assert [w.name for w in layer.trainable_variables] == [*zoo.ZOO[name].parameters]
    for weight in layer.trainable_variables:
        weight.assign(VALUES[weight.name])
    if zoo.ZOO[name].parameters:
        assert layer.effective_parameters() == {
            w.name: pytest.approx(VALUES[w.name]) for w in layer.trainable_variables
        }
    assert hasattr(layer, "effective_parameters") == bool(zoo.ZOO[name].parameters)
    expected = REFERENCES[name](points)
    np.testing.assert_allclose(tools.to_numpy(layer(points)), expected, rtol=2e-6, atol=2e-6)
    half = zoo.make_activation(name, dtype="mixed_bfloat16")(points)
    assert keras.backend.standardize_dtype(half.dtype) == "bfloat16"
    far = np.float32([-200, -90, 90, 200])
    slope, learned = tools.parameter_gradients(layer, far)
    assert all(np.isfinite(values).all() for values in (slope, *learned.values()))


def test_star_relu_starts_with_mean_zero_and_variance_one():
    points, weights = special.roots_hermitenorm(200)
    values, weights = tools.formula("star_relu", points), weights / weights.sum()
    mean = values @ weights
    assert abs(mean) < 1e-3 and abs((values - mean) ** 2 @ weights - 1) < 1e-3


@pytest.mark.parametrize(
    "spec",
    [
        "leaky_relu(negative_slope=0.3)",
        "elu(alpha=2)",
        "sgblend(alpha=0.2, gelu=tanh, beta=2)",
        "sswish(gamma=0.3)",
        "swish(beta=0.5)",
    ],
)
def test_the_options_of_a_spec_reach_layer_formula_and_closed_form(spec):
    name, options = zoo.split_spec(spec)
    y = tools.to_numpy(zoo.make_activation(spec)(X))
    np.testing.assert_allclose(y, tools.formula(name, X, **options), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(y, theory.closed_form(spec)(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("gelu", "gelu"),
        ("sgblend()", "sgblend"),
        ("sgblend(gamma=0, alpha=0.5, beta=1, gelu=erf)", "sgblend"),
        ("sgblend(trainable_parameters=[gamma,beta,alpha])", "sgblend"),
        (" sgblend( gelu = 'tanh', alpha=0. )", "sgblend(alpha=0, gelu=tanh)"),
        (
            "sgblend(trainable_parameters=(beta,alpha))",
            "sgblend(trainable_parameters=[alpha,beta])",
        ),
        ("swish(beta=1, parameterization=published)", "swish(beta=1, parameterization=published)"),
        ("sswish(beta_bounds=[0.1, 10])", "sswish(beta_bounds=[0.1,10])"),
    ],
)
def test_a_spec_has_one_canonical_form_that_makes_the_same_layer(spec, canonical):
    assert zoo.canonical(spec) == zoo.canonical(canonical) == canonical
    own, other = (zoo.make_activation(text, name="site").get_config() for text in (spec, canonical))
    start = {"beta": 1.0} if "published" not in spec else {}  # None and 1 are the same start
    assert {**own, **start} == {**other, **start}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gulu", "sgblend, sswish, silu"),
        ("sgblend(delta=1)", "option of sgblend 'delta'.*alpha, beta"),
        ("gelu(alpha=1)", "option of gelu.*none"),
        ("sgblend(alpha=high)", "a number"),
        ("sgblend(gelu=quick)", "erf, tanh, sigmoid"),
        ("sgblend(alpha_bounds=[1,0])", "pair"),
        ("sgblend(alpha_bounds=[0,high])", "pair"),
        ("sgblend(trainable_parameters=2)", "a list of alpha"),
        ("sgblend(trainable_parameters=[delta])", r"'delta'.*alpha, beta, gamma"),
        ("sgblend(0.2)", "Write an activation as"),
        ("leaky-relu", "Write an activation as"),
        ("sgblend(alpha=", "Write an activation as"),
    ],
)
def test_a_wrong_spec_says_what_would_be_right(spec, message):
    for refused in (zoo.canonical, zoo.make_activation):
        with pytest.raises(UserError, match=message):
            refused(spec)


def test_lists_split_at_the_commas_between_specs():
    specs = zoo.split_list("gelu, sgblend(alpha=0.2,gelu=tanh),swish")
    assert specs == ["gelu", "sgblend(alpha=0.2, gelu=tanh)", "swish"]
    with pytest.raises(UserError, match="Write activations as"):
        zoo.split_list("gelu,,swish")


def test_labels_show_the_options():
    assert zoo.label("gelu") == "GELU"
    spec = zoo.canonical("sgblend(parameterization=published)")
    assert zoo.label(spec) == "SG-Blend (parameterization=published)"
    assert zoo.label("other") == "other"


def test_the_zoo_and_its_specs_need_neither_keras_nor_scipy():
    code = "import sys; from sgblend_utils import zoo; zoo.canonical('sgblend(alpha=0.2)')"
    code += "; assert not {'keras', 'scipy', 'sympy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
