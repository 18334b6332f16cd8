"""Values, gradients, numerics: what every activation computes, on every backend."""

import itertools
import shutil
import sys

import activation_tools as tools
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from scipy import stats

from sgblend_utils.activations import SGBlend, SSwish, Swish, make_activation
from sgblend_utils.activations.kernels import blended_gate
from sgblend_utils.errors import UserError
from sgblend_utils.theory import closed_form
from sgblend_utils.zoo import GELU_FORMS

pytestmark = pytest.mark.backend

FORMS = [*GELU_FORMS, None]
reals = st.floats(-30, 30, allow_nan=False, width=32)
alphas = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(-1, 2, width=32))
betas = st.floats(-5, 5, width=32)
gammas = st.floats(-3, 3, width=32)


def formula(form):
    """The blended gate in NumPy; form None means SSwish, which has no alpha."""
    if form is None:
        return lambda x, a, b, c: x * tools.sigmoid(b * x) - c
    return lambda x, a, b, c: tools.sgblend(x, a, b, c, form)


@pytest.mark.parametrize("form", FORMS)
@given(x=reals, alpha=alphas, beta=betas, gamma=gammas)
@settings(max_examples=25, deadline=None)
def test_values_agree_with_the_formula(form, x, alpha, beta, gamma):
    x = np.asarray([[x, -x, x / 7]], "float32")
    y = blended_gate(form)(
        ops.convert_to_tensor(x), *map(ops.convert_to_tensor, scalars(alpha, beta, gamma))
    )
    expected = formula(form)(x.astype("float64"), alpha, beta, gamma)
    np.testing.assert_allclose(tools.to_numpy(y), expected, rtol=1e-5, atol=2e-5)


def scalars(*values):
    return [np.asarray(v, "float32") for v in values]


@pytest.mark.parametrize("form", FORMS)
def test_gradients_agree_with_central_differences_in_float64(form):
    """Four-point central differences of the NumPy formula, 1e-6 relative, for all four inputs."""
    rng = np.random.default_rng(0)
    reference = formula(form)
    x = np.concatenate([rng.normal(0, 3, 60), [-20, -6, -1e-3, 0, 1e-3, 6, 20]])
    settings = itertools.product([0.0, 0.3, 1.0], [-1.3, 0.2, 1.0, 1.702, 4.0], [0.0, 0.7])
    with tools.double_precision():
        for a, b, c in settings:
            args = [x, *(np.full_like(x, v) for v in (a, b, c))]
            value, gradients = tools.vector_jacobian(blended_gate(form), args, dtype="float64")
            assert value.dtype == np.float64
            np.testing.assert_allclose(value, reference(*args), rtol=1e-12, atol=1e-15)
            for position, gradient in enumerate(gradients):
                if form is None and position == 1:
                    continue  # SSwish has no alpha
                numeric = central_difference(reference, args, position)
                np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-9)


def central_difference(function, args, position, step=1e-3):
    """Fourth-order central difference with respect to one argument (error about step^4)."""

    def at(offset):
        moved = list(args)
        moved[position] = moved[position] + offset
        return function(*moved)

    return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)


@pytest.mark.parametrize("form", FORMS)
def test_the_hand_written_gradient_is_that_of_autodiff(form):
    def plain(x, a, b, c):
        gate = ops.sigmoid(b * x)
        if form is None:
            return x * gate - c
        if form == "erf":
            other = ops.gelu(x, approximate=False)
        elif form == "tanh":
            other = ops.gelu(x, approximate=True)
        else:
            other = x * ops.sigmoid(1.702 * x)
        return a * (x * gate - c) + (1 - a) * other

    rng = np.random.default_rng(1)
    x = rng.normal(0, 2, (7, 5, 6)).astype("float32")
    upstream = rng.normal(size=x.shape).astype("float32")
    args = [x, *scalars(0.3, 1.4, 0.6)]
    if form is None:
        args[1] = np.asarray(1.0, "float32")
    value, gradients = tools.vector_jacobian(blended_gate(form), args, upstream)
    arguments = args if form else [args[0], args[2], args[3]]
    function = plain if form else lambda x, b, c: plain(x, 1.0, b, c)
    plain_value, plain_gradients = tools.vector_jacobian(function, arguments, upstream)
    if form is None:
        del gradients[1]
    np.testing.assert_allclose(value, plain_value, rtol=1e-5, atol=1e-6)
    for own, other in zip(gradients, plain_gradients, strict=True):
        np.testing.assert_allclose(own, other, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 6)])
def test_shared_parameters_collect_the_gradients_of_their_elements(shape):
    """A parameter of any broadcastable shape gets the sum over exactly the elements it acts on."""
    rng = np.random.default_rng(2)
    x, upstream = rng.normal(size=(2, *shape)).astype("float32")
    for target in {(), (1,), shape[-1:], (*(1,) * (len(shape) - 1), shape[-1]), shape}:
        parameters = [rng.uniform(0.2, 1.5, target).astype("float32") for _ in range(3)]
        whole = [np.broadcast_to(p, shape).copy() for p in parameters]
        _, shared = tools.vector_jacobian(blended_gate("erf"), [x, *parameters], upstream)
        _, single = tools.vector_jacobian(blended_gate("erf"), [x, *whole], upstream)
        np.testing.assert_allclose(shared[0], single[0], rtol=1e-6, atol=1e-6)
        for own, elements in zip(shared[1:], single[1:], strict=True):
            assert own.shape == target
            padded = (1,) * (len(shape) - len(target)) + target
            axes = tuple(i for i, size in enumerate(padded) if size == 1)
            expected = elements.sum(axis=axes, keepdims=True).reshape(target)
            np.testing.assert_allclose(own, expected, rtol=2e-5, atol=2e-5)


def test_parameters_that_are_not_learned_get_zeros_and_do_not_disturb_the_rest():
    x = np.random.default_rng(3).normal(size=(6, 4)).astype("float32")
    args = [x, *scalars(0.3, 1.4, 0.6)]
    _, full = tools.vector_jacobian(blended_gate("erf"), args)
    for learned in [(), ("alpha",), ("beta",), ("gamma",), ("alpha", "gamma")]:
        _, some = tools.vector_jacobian(blended_gate("erf", learned), args)
        expected = [full[0]] + [
            g if name in learned else np.zeros_like(g)
            for name, g in zip(("alpha", "beta", "gamma"), full[1:], strict=True)
        ]
        for own, other in zip(some, expected, strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-6)


def test_the_left_tail_of_gelu_is_kept_in_value_and_gradient():
    """0.5 + 0.5 erf cancels: at x = -5.06, where GELU is -1.0e-6, it was off by 3e-7."""
    x = np.linspace(-8, -2, 601, dtype="float32")
    arguments = [x, *scalars(0.0, 1.0, 0.0)]
    value, gradients = tools.vector_jacobian(blended_gate("erf"), arguments)
    wide = x.astype("float64")
    gelu = wide * stats.norm.cdf(wide), stats.norm.cdf(wide) + wide * stats.norm.pdf(wide)
    for order, own in enumerate((value, gradients[0])):
        np.testing.assert_allclose(own, gelu[order], rtol=2e-5)


@given(x=reals, alpha=alphas, beta=betas, gamma=gammas)
@settings(max_examples=25, deadline=None)
def test_odd_part_is_half_the_identity(x, alpha, beta, gamma):
    """Any gate with G(-x) = 1 - G(x) gives f(x) - f(-x) = x and f'(x) + f'(-x) = 1."""
    pair = np.asarray([[x, -x]], "float32")
    arguments = [pair, *scalars(alpha, beta, gamma)]
    (y,), (gradient, *_) = tools.vector_jacobian(blended_gate("erf"), arguments)
    y = y.astype("float64")
    scale = 1e-5 * (1 + abs(x)) * (1 + abs(alpha)) + 1e-5 * abs(alpha * gamma)
    assert y[0] - y[1] == pytest.approx(float(pair[0, 0]), abs=scale)
    assert gradient.sum() == pytest.approx(1.0, abs=1e-4)


def test_mish_does_not_share_the_identity():
    x = np.linspace(0, 5, 501, dtype="float32")
    assert np.max(np.abs(tools.formula("mish", x) - tools.formula("mish", -x) - x)) > 0.1


def test_alpha_of_zero_and_one_are_gelu_and_sswish():
    x = np.linspace(-6, 6, 61, dtype="float32").reshape(1, -1)
    gelu, sswish = make_activation("gelu"), SSwish(1.3, 0.2)
    np.testing.assert_allclose(
        *map(tools.to_numpy, (SGBlend(0.0, 1.3, 0.2)(x), gelu(x))), rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(
        *map(tools.to_numpy, (SGBlend(1.0, 1.3, 0.2)(x), sswish(x))), rtol=1e-6, atol=1e-7
    )


def test_sigmoid_gelu_at_its_own_slope_leaves_alpha_without_effect():
    """With gelu="sigmoid" and beta = 1.702 both branches are the same function of x."""
    layer = SGBlend(0.3, 1.702, gelu="sigmoid")
    x = np.linspace(-5, 5, 41, dtype="float32").reshape(1, -1)
    layer.build(x.shape)
    _, gradients = tools.parameter_gradients(layer, x)
    assert abs(gradients["alpha"]) < 1e-5
    assert abs(gradients["beta"]) > 1e-2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["sswish", "sgblend"])
def test_half_precision_stays_within_its_rounding(name, dtype):
    layer = make_activation(name, dtype=f"mixed_{dtype}")
    magnitudes = np.concatenate([np.geomspace(1e-3, 1e4, 141)])
    x = ops.cast(np.concatenate([-magnitudes, [0.0], magnitudes])[None, :], dtype)
    exact = tools.to_numpy(ops.cast(x, "float32")).astype("float64")  # x as rounded
    layer.build(x.shape)
    assert keras.backend.standardize_dtype(layer(x).dtype) == dtype
    y = tools.to_numpy(layer(x)).astype("float64")
    unit, tiny = (2.0**-11, 2.0**-25) if dtype == "float16" else (2.0**-8, 2.0**-134)
    expected = tools.formula(name, exact)
    # float32 arithmetic inside adds 1 + erf(x) near -1: 1e-7 of |x| at most.
    np.testing.assert_allclose(y, expected, rtol=1.01 * unit, atol=tiny + 2e-7)
    scale = ops.cast(np.full(x.shape, 2.0**-4), dtype)
    gradient, parameters = tools.parameter_gradients(layer, x, tools.to_numpy(scale))
    slope = closed_form(name, 1)(exact) / 16
    np.testing.assert_allclose(gradient, slope, rtol=1.01 * unit, atol=tiny + 2e-7)
    s, share = tools.sigmoid(exact), 0.5 if name == "sgblend" else 1.0
    expected = {
        "alpha": exact * (s - tools.gelu_gate(exact)),
        "beta": share * exact**2 * s * (1 - s),
        "gamma": np.full_like(exact, -share),
    }
    for key, value in parameters.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected[key].sum() / 16, rtol=1e-4, atol=1e-4)


@pytest.mark.backend
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="blocks are PyTorch's")
@pytest.mark.parametrize("name", ["swish", "sswish", "sgblend"])
def test_blocks_change_nothing(monkeypatch, name):
    layer, x = make_activation(name), np.random.default_rng(0).normal(size=(3, 41))
    x, upstream = x.astype("float32"), np.cos(np.arange(123.0)).reshape(3, 41)
    layer.build(x.shape)
    found = []
    for block in (2**18, 16):  # one block, and eight of which the last is shorter
        monkeypatch.setattr("sgblend_utils.torch.BLOCK", block)
        gradient, parameters = tools.parameter_gradients(layer, x, upstream)
        found.append([tools.to_numpy(layer(x)), gradient, *parameters.values()])
    for whole, blocks in zip(*found, strict=True):
        np.testing.assert_allclose(blocks, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gelu", ["erf", "tanh", None])
def test_every_way_to_compute_it_has_the_same_values(gelu):
    """With and without parameters to learn, it is the same function."""
    x = np.linspace(-9, 9, 3001, dtype="float32")[None]
    a, b, c = 0.7, 1.3, 0.4
    wide = x.astype("float64")
    expected = formula(gelu)(wide, a, b, c)
    tensors = [ops.convert_to_tensor(v) for v in (x, *scalars(a, b, c))]
    for learned in ((), ("beta",)):
        value = tools.to_numpy(blended_gate(gelu, learned)(*tensors))
        np.testing.assert_allclose(value, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() != "torch" or not shutil.which("g++") or " " in sys.prefix,
    reason="PyTorch's compiler, which needs g++ and a path without spaces",
)
def test_torch_compile_makes_one_graph_of_it_with_the_same_gradients():
    import torch

    layer, rng = SGBlend(0.3, 1.4, 0.6), np.random.default_rng(0)
    layer.build((64, 33))
    x, upstream = (torch.tensor(rng.normal(size=(64, 33)).astype("float32")) for _ in range(2))
    wanted = [x.requires_grad_(), *(v.value for v in layer.trainable_variables)]
    found = []
    for function in (layer, torch.compile(layer, fullgraph=True)):
        y = function(x)
        found.append([y, *torch.autograd.grad(y, wanted, upstream)])
    for eager, compiled in zip(*found, strict=True):
        np.testing.assert_allclose(
            compiled.detach().numpy(), eager.detach().numpy(), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_non_finite_inputs_behave_as_in_keras(value):
    """SG-Blend at +-inf and NaN gives what Keras's own GELU and SiLU give there."""
    x = np.asarray([[value, 1.0]], "float32")
    gelu, silu = (tools.to_numpy(make_activation(name)(x)) for name in ("gelu", "silu"))
    for layer in (SGBlend(), SGBlend(0.0), SGBlend(1.0)):
        y = tools.to_numpy(layer(x))
        np.testing.assert_allclose(
            y[0, 1],
            float(tools.sgblend(1.0, *map(float, layer.effective_parameters().values()))),
            rtol=1e-6,
        )
        assert str(y[0, 0]) in {str(gelu[0, 0]), str(silu[0, 0]), str((gelu + silu)[0, 0])}
    for layer in (SSwish(), Swish()):
        np.testing.assert_array_equal(tools.to_numpy(layer(x))[0, 0], silu[0, 0])


@pytest.mark.parametrize("name", ["swish", "sswish", "sgblend"])
@pytest.mark.parametrize("scale", [1e4, 1e18, 1e37])
def test_gradients_stay_finite_for_huge_inputs(name, scale):
    layer = make_activation(name)
    x = np.asarray([[scale, -scale]], "float32")
    layer.build(x.shape)
    gradient, parameters = tools.parameter_gradients(layer, x)
    np.testing.assert_allclose(gradient, [[1.0, 0.0]], atol=1e-6)
    assert all(np.isfinite(v) for v in parameters.values())


@pytest.mark.parametrize("name", ["sswish", "sgblend"])
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (2, 0), (2, 3, 1)])
def test_scalars_and_empty_inputs(name, shape):
    layer = make_activation(name)
    x = np.full(shape, 0.7, "float32")
    layer.build(shape)
    y = layer(x)
    assert tuple(y.shape) == shape
    gradient, parameters = tools.parameter_gradients(layer, x)
    assert gradient.shape == shape
    for value in parameters.values():
        assert np.shape(value) == ()
        assert np.isfinite(value).all()
        if x.size == 0:
            assert value == 0


def test_integers_are_taken_in_the_layers_dtype():
    y = SGBlend()(np.asarray([[-1, 0, 2]], "int32"))
    expected = tools.formula("sgblend", [[-1.0, 0.0, 2.0]])
    np.testing.assert_allclose(tools.to_numpy(y), expected, rtol=1e-5, atol=1e-7)


def test_only_the_input_is_kept_for_the_backward_pass():
    """Beside x nothing of x's size is stored."""
    layer = SGBlend()
    x = np.random.default_rng(4).normal(size=(64, 32)).astype("float32")
    layer.build(x.shape)
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        values = [v.value for v in layer.trainable_variables]
        _, pull_back = jax.vjp(lambda x, v: layer.stateless_call(v, [], x)[0], x, values)
        sizes = [leaf.size for leaf in jax.tree.leaves(pull_back)]
    elif backend == "torch":
        import torch

        kept = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t
        ):
            layer(torch.tensor(x, requires_grad=True))
        sizes = [t.numel() for t in kept.values()]
    else:
        kept = {id(x): x}
        for array in kept_by_tensorflow(layer, x):
            if array.size < x.size or not np.array_equal(array, x):  # x twice is one buffer
                kept[id(array)] = array
        sizes = [array.size for array in kept.values()]
        plain = kept_by_tensorflow(lambda v: v * ops.sigmoid(1.3 * v) + ops.gelu(v, False), x)
        assert sum(array.size == x.size for array in plain) > 2  # it would be seen here
    assert sum(size == x.size for size in sizes) == 1
    assert sum(sizes) <= x.size + 16


def kept_by_tensorflow(function, x):
    """What a compiled forward pass hands to its backward pass."""
    import tensorflow as tf

    concrete = tf.function(lambda v: function(v)).get_concrete_function(tf.TensorSpec(x.shape))
    if not hasattr(concrete, "_delayed_rewrite_functions"):
        pytest.skip("this TensorFlow does not show what it keeps")
    forward, _ = concrete._delayed_rewrite_functions.forward_backward()
    _, *kept = forward.call_flat(tf.constant(x), *concrete.captured_inputs)
    return [tensor.numpy() for tensor in kept]


def test_factories_hand_on_what_the_activation_itself_takes():
    layer = make_activation("sgblend", alpha=0.2, gamma=0.1, gelu="tanh")
    assert layer.effective_parameters()["alpha"] == pytest.approx(0.2)
    assert layer.effective_parameters()["gamma"] == pytest.approx(0.1)
    assert layer.gelu == "tanh"
    x = np.asarray([[-2.0]], "float32")
    leaky, elu = make_activation("leaky_relu", negative_slope=0.3), make_activation("elu", alpha=2)
    np.testing.assert_allclose(tools.to_numpy(leaky(x)), [[-0.6]], rtol=1e-6)
    np.testing.assert_allclose(tools.to_numpy(elu(x)), [[2 * np.expm1(-2)]], rtol=1e-6)


def test_fresh_layers_share_nothing():
    first, second = make_activation("sgblend"), make_activation("sgblend")
    first.build((1, 2)), second.build((1, 2))
    first.trainable_variables[0].assign(0.9)
    assert second.effective_parameters()["alpha"] == pytest.approx(0.5)
    assert len({id(v) for v in first.variables + second.variables}) == 6


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(UserError, match=r"sgblend, sswish.*relu, leaky_relu"):
        make_activation("swich")
    with pytest.raises(UserError, match=r"sgblend.*delta"):
        make_activation("sgblend", delta=1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gelu": "quick"}, "erf, tanh, sigmoid"),
        ({"parameterization": "mine"}, "free, published"),
        ({"trainable_parameters": ("delta",)}, "alpha, beta, gamma"),
        ({"alpha": float("nan")}, "finite"),
        ({"beta": "1"}, "number"),
        ({"alpha": 0.0, "parameterization": "published"}, "0.2689"),
        ({"shared_axes": [], "parameterization": "published"}, "one scalar"),
        ({"alpha_bounds": (0.0, 0.4)}, "start, 0.5, inside"),
        ({"beta_bounds": (2.0, 3.0)}, "start, 1, inside"),
        ({"beta_bounds": 2.0}, "pair"),
        ({"alpha_bounds": (0.3, 0.7), "parameterization": "published"}, "free"),
    ],
)
def test_bad_arguments_say_what_would_be_right(arguments, message):
    with pytest.raises(UserError, match=message):
        SGBlend(**arguments)


@pytest.mark.parametrize("axes", [[0], [3], [1, 1], [-4]])
def test_shared_axes_that_do_not_fit_are_refused(axes):
    with pytest.raises(UserError, match="shared_axes"):
        SGBlend(shared_axes=axes).build((None, 5, 4))


def test_axes_of_unknown_size_must_be_shared():
    with pytest.raises(UserError, match="unknown size"):
        SGBlend(shared_axes=[]).build((None, None, 4))
    layer = SGBlend(shared_axes=[1])
    layer.build((None, None, 4))
    assert layer.effective_parameters()["beta"].shape == (1, 4)


def test_gradients_can_be_differentiated_again():
    """Reverse over reverse, as gradient penalties and Hessian products need it."""
    function, rest = blended_gate("erf"), [ops.convert_to_tensor(v) for v in scalars(0.3, 1.4, 0.6)]
    x = np.linspace(-3, 3, 13, dtype="float32")
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        point = tf.constant(x)
        with tf.GradientTape() as outer:
            outer.watch(point)
            with tf.GradientTape() as inner:
                inner.watch(point)
                y = function(point, *rest)
            slope = inner.gradient(y, point)
        second = outer.gradient(slope, point)
    elif backend == "jax":
        import jax

        slope = jax.grad(lambda v: function(v, *rest).sum())
        second = jax.grad(lambda v: slope(v).sum())(ops.convert_to_tensor(x))
    else:
        import torch

        point = torch.tensor(x, requires_grad=True)
        with torch.enable_grad():
            y = function(point, *rest).sum()
            (slope,) = torch.autograd.grad(y, point, create_graph=True)
            (second,) = torch.autograd.grad(slope.sum(), point)
    wide = x.astype("float64")
    numeric = central_difference(
        lambda v: central_difference(formula("erf"), [v, 0.3, 1.4, 0.6], 0), [wide], 0
    )
    np.testing.assert_allclose(tools.to_numpy(second), numeric, atol=2e-5)
