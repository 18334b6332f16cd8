"""Closed forms against references that share no code with them: mpmath, SciPy, sampling, NumPy."""

import itertools

import mpmath as mp
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from sgblend_utils import theory
from sgblend_utils.errors import UserError
from sgblend_utils.theory import EXPRESSIONS, x
from sgblend_utils.zoo import ZOO

SMOOTH = [name for name in EXPRESSIONS if name not in theory.KINKS]
SYMMETRIC = {"relu", "gelu", "silu", "swish", "sswish", "sgblend", "softplus", "squareplus"}
SYMMETRIC |= {"hard_silu", "sgblend_sigmoid", "gelu_tanh", "gelu_sigmoid"}
SYMMETRIC |= {"xgelu", "xsilu"}  # at their start, where they are GELU and SiLU
shares = st.floats(0, 1)
slopes = st.floats(0.2, 5)


# Functions and derivatives --------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPRESSIONS)
@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_agree_with_differences_away_from_kinks(name, order):
    points = np.linspace(-7.03, 7.01, 53)
    step = 1e-4
    lower = theory.closed_form(name, order - 1)
    numeric = (lower(points + step) - lower(points - step)) / (2 * step)
    np.testing.assert_allclose(theory.closed_form(name, order)(points), numeric, atol=1e-7)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_values_stay_finite_far_out(name):
    points = np.array([-500.0, -40.0, 40.0, 500.0])
    with np.errstate(all="raise", under="ignore"):
        for order in (0, 1, 2):
            assert np.isfinite(theory.closed_form(name, order)(points)).all()


def test_parameters_broadcast():
    alphas = np.array([[0.0], [0.5], [1.0]])
    points = np.linspace(-3, 3, 7)
    together = theory.closed_form("sgblend", alpha=alphas)(points)
    single = [theory.closed_form("sgblend", alpha=float(a))(points) for a in alphas[:, 0]]
    np.testing.assert_allclose(together, single, rtol=1e-14)


def test_unknown_names_and_parameters_are_refused():
    with pytest.raises(UserError, match="sgblend"):
        theory.closed_form("nope")
    with pytest.raises(UserError, match="no parameter beta"):
        theory.closed_form("gelu", beta=2.0)


# Symmetry -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_which_activations_are_half_the_identity_plus_an_even_function(name):
    points, f = np.linspace(0.0, 12.0, 4801), theory.closed_form(name)
    defect = np.abs(f(points) - f(-points) - points).max()
    assert (defect < 1e-12) == (name in SYMMETRIC)
    assert name != "mish" or defect == pytest.approx(0.2034, abs=1e-4)


@given(alpha=shares, beta=slopes, gamma=st.floats(-2, 2), point=st.floats(-8, 8))
def test_sgblend_is_symmetric_to_first_order_for_all_parameters(alpha, beta, gamma, point):
    parameters = {"alpha": alpha, "beta": beta, "gamma": gamma}
    f, slope = (theory.closed_form("sgblend", order, **parameters) for order in (0, 1))
    assert f(point) - f(-point) == pytest.approx(point, abs=1e-12)
    assert slope(point) + slope(-point) == pytest.approx(1.0, abs=1e-12)


def test_the_gate_is_the_distribution_function_of_a_mixture():
    points = np.linspace(-6, 6, 25)
    a, b = 0.35, 2.2
    gate = a * stats.logistic(scale=1 / b).cdf(points) + (1 - a) * stats.norm.cdf(points)
    f = theory.closed_form("sgblend", alpha=a, beta=b, gamma=0.4)
    np.testing.assert_allclose(f(points), points * gate - a * 0.4, atol=1e-14)


# Shape ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "place", "depth"),
    [
        ("gelu", -0.75179, -0.16997),
        ("silu", -1.27846, -0.27846),
        ("mish", -1.19243, -0.30884),
        ("hard_silu", -1.5, -0.375),
    ],
)
def test_minima(name, place, depth):
    assert theory.minimum(name) == pytest.approx((place, depth), abs=5e-6)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "selu", "softplus", "tanh"])
def test_monotone_functions_have_no_minimum(name):
    assert theory.minimum(name) is None


@given(beta=slopes)
def test_swish_scales(beta):
    """Minimum -W(1/e)/beta at -(1 + W(1/e))/beta; the largest slope does not depend on beta."""
    w = float(mp.lambertw(mp.e**-1).real)
    place, depth = theory.minimum("swish", beta=beta)
    if (1 + w) / beta < 11:
        assert depth == pytest.approx(-w / beta, rel=1e-9)
        assert place == pytest.approx(-(1 + w) / beta, rel=1e-5)
    if 2.4 / beta < 11:
        assert theory.lipschitz("swish", beta=beta)[1] == pytest.approx(1.0998394, abs=1e-7)


def test_the_largest_slope_of_gelu():
    exact = mp.ncdf(mp.sqrt(2)) + mp.sqrt(2) * mp.npdf(mp.sqrt(2))
    place, slope = theory.lipschitz("gelu")
    assert (place, slope) == pytest.approx((float(mp.sqrt(2)), float(exact)), abs=1e-6)
    assert slope == pytest.approx(1.12890, abs=5e-6)


def test_a_slope_that_is_only_approached_has_its_place_at_infinity():
    assert theory.lipschitz("softplus") == (np.inf, pytest.approx(1.0, abs=1e-9))
    for name in ("relu_squared", "xielu"):
        assert theory.lipschitz(name) == (np.inf, np.inf)


@given(alpha=shares, beta=slopes)
def test_sgblend_is_never_steeper_than_the_mean_of_its_parents(alpha, beta):
    _, slope = theory.lipschitz("sgblend", alpha=alpha, beta=beta)
    assert 1 - 1e-9 <= slope <= alpha * 1.0998394 + (1 - alpha) * 1.1289043 + 1e-6


@given(alpha=shares, beta=slopes)
def test_the_largest_curvature_of_sgblend_is_at_zero(alpha, beta):
    bound = theory.curvature_bound("sgblend", alpha=alpha, beta=beta)
    assert bound == pytest.approx(alpha * beta / 2 + (1 - alpha) * np.sqrt(2 / np.pi), abs=1e-9)


def test_functions_whose_slope_jumps_have_unbounded_curvature():
    assert {n for n in EXPRESSIONS if np.isinf(theory.curvature_bound(n))} == {
        "relu",
        "leaky_relu",
        "prelu",
        "selu",
        "hard_silu",
    }


def gelu_error(form, order=0):
    approximate, exact = (theory.closed_form(name, order) for name in (f"gelu_{form}", "gelu"))
    return theory.maximum(lambda points: np.abs(approximate(points) - exact(points)), 0.0, 12.0)


@pytest.mark.parametrize("order", [0, 1])
def test_errors_of_the_gelu_approximations_against_mpmath(order):
    def sigmoid_form(t):
        return t / (1 + mp.exp(-mp.mpf("1.702") * t))

    def tanh_form(t):
        return t * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (t + mp.mpf("0.044715") * t**3))) / 2

    for form, function in (("sigmoid", sigmoid_form), ("tanh", tanh_form)):
        place, size = gelu_error(form, order)

        def error(t, function=function):
            return mp.diff(lambda u: function(u) - u * mp.ncdf(u), t, order)

        assert size == pytest.approx(abs(float(error(place))), rel=1e-6)
        assert all(abs(error(place + d)) <= abs(error(place)) for d in (-0.05, 0.05))


def test_errors_of_the_gelu_approximations():
    assert gelu_error("sigmoid") == pytest.approx((2.27, 0.0203), abs=5e-3)
    assert gelu_error("tanh")[1] == pytest.approx(4.73e-4, abs=1e-6)


def test_left_tails():
    """Gaussian for GELU, exponential for every alpha > 0; constant -alpha gamma at the far left."""
    f = theory.closed_form("sgblend", 1, alpha=0.4, beta=1.5)
    far = np.array([-10.0, -15.0])
    np.testing.assert_allclose(f(far), 0.4 * (1 + 1.5 * far) * np.exp(1.5 * far), rtol=1e-3)
    assert theory.closed_form("sgblend", alpha=0.4, gamma=2.0)(-200.0) == pytest.approx(-0.8)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_the_right_tail_is_the_identity_minus_a_constant(alpha):
    f = theory.closed_form("sgblend", alpha=alpha, beta=1.5, gamma=2.0)
    assert f(30.0) == pytest.approx(30.0 - 2 * alpha, abs=1e-12)
    assert theory.closed_form("sgblend", 1, alpha=alpha, beta=1.5)(30.0) == pytest.approx(1.0)


def test_the_left_tail_of_gelu_is_gaussian():
    far = np.array([-5.0, -7.0])
    own = theory.closed_form("gelu", 1)(far)
    np.testing.assert_allclose(own, far * stats.norm.pdf(far), rtol=0.05)


# Mean field -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "mish", "hard_silu", "selu", "tanh"])
@pytest.mark.parametrize("q", [0.3, 1.0, 6.0])
def test_moments_agree_with_adaptive_quadrature(name, q):
    f, slope = theory.closed_form(name), theory.closed_form(name, 1)
    edges = sorted({-30.0, *theory.KINKS.get(name, ()), 30.0})

    def expect(function):
        return sum(
            integrate.quad(
                lambda u: float(function(u)) * stats.norm.pdf(u, scale=q**0.5),
                low,
                high,
                points=[p for p in (-3.0, 1e-9, 3.0) if low < p < high],
                limit=200,
            )[0]
            for low, high in itertools.pairwise(edges)
        )

    own = theory.moments(name, q)
    assert own["mean"] == pytest.approx(expect(f), abs=1e-8)
    assert own["second"] == pytest.approx(expect(lambda u: f(u) ** 2), abs=1e-8)
    assert own["slope"] == pytest.approx(expect(lambda u: slope(u) ** 2), abs=1e-8)


def test_exact_moments():
    assert theory.moments("gelu")["mean"] == pytest.approx(1 / (2 * np.sqrt(np.pi)), abs=1e-12)
    assert theory.moments("relu", 4.0)["second"] == pytest.approx(2.0, abs=1e-12)
    slope = theory.criticality("tanh", 1e-6)  # linear: gain one
    assert slope.gain == pytest.approx(1.0, abs=1e-5)


def test_relu_is_critical_at_the_gain_of_he():
    for q in (0.1, 1.0, 30.0):
        own = theory.criticality("relu", q)
        assert own.gain == pytest.approx(np.sqrt(2), abs=1e-12)
        assert own.preserving_gain == pytest.approx(np.sqrt(2), abs=1e-12)
        assert own.chi == pytest.approx(1.0, abs=1e-12)
        assert own.bias_variance == pytest.approx(0.0, abs=1e-12)


def test_selu_preserves_unit_variance():
    assert theory.criticality("selu").preserving_gain == pytest.approx(1.0, abs=1e-6)
    assert theory.moments("selu")["mean"] == pytest.approx(0.0, abs=1e-9)


def test_stability_is_the_slope_of_the_variance_map():
    for name in ("gelu", "tanh", "hard_silu"):
        own = theory.criticality(name, 1.3)
        ends = [own.gain**2 * theory.moments(name, 1.3 + d)["second"] for d in (-1e-4, 1e-4)]
        assert own.stability == pytest.approx((ends[1] - ends[0]) / 2e-4, rel=1e-6)


@pytest.mark.parametrize("name", ["gelu", "silu", "sgblend", "mish", "tanh", "elu"])
def test_the_critical_initialisation_holds_variance_and_gradient(name):
    own, m = theory.criticality(name), theory.moments(name)
    assert own.gain**2 * m["second"] + own.bias_variance == pytest.approx(1.0, abs=1e-12)
    assert own.gain**2 * m["slope"] == pytest.approx(1.0, abs=1e-12)


def test_wide_random_networks_follow_the_maps():
    rng = np.random.default_rng(0)
    own = theory.criticality("sgblend")
    width, batch, q = 1500, 40, 1.6
    h = rng.normal(0, np.sqrt(q), (width, batch))
    for _ in range(3):
        q = own.gain**2 * theory.moments("sgblend", q)["second"] + own.bias_variance
        w = rng.normal(0, own.gain / np.sqrt(width), (width, width))
        b = rng.normal(0, np.sqrt(own.bias_variance), (width, 1))
        h = w @ theory.closed_form("sgblend")(h) + b
        assert h.var() == pytest.approx(q, rel=0.1)


@pytest.mark.parametrize("q", [0.0, -1.0])
def test_variances_must_be_positive(q):
    with pytest.raises(UserError, match="positive"):
        theory.moments("gelu", q)


# Identifiability ------------------------------------------------------------------------------


def test_the_parameter_gradient_is_the_written_one():
    points, a, b, c = np.linspace(-4, 4, 17), 0.3, 1.4, 0.6
    s, gate = stats.logistic.cdf(b * points), stats.norm.cdf(points)
    expected = [points * (s - gate) - c, a * points**2 * s * (1 - s), np.full_like(points, -a)]
    own = theory.parameter_gradient(points, a, b, c)
    np.testing.assert_allclose(own, expected, atol=1e-13)
    np.testing.assert_allclose(own, own[:, ::-1], atol=1e-13)  # all three are even


def test_the_fisher_matrix_is_the_mean_outer_product():
    rng = np.random.default_rng(0)
    sample = theory.parameter_gradient(rng.normal(0, 1.5, 400_000), 0.4, 0.8, 0.3)
    own = theory.fisher_matrix(0.4, 0.8, 0.3, sigma=1.5)
    np.testing.assert_allclose(own, sample @ sample.T / sample.shape[1], atol=2e-3)
    assert np.linalg.eigvalsh(own)[0] > 0


def test_alpha_cannot_be_identified_where_both_branches_are_one_swish():
    matrix = theory.fisher_matrix(0.5, 1.702, 0.3, gelu="sigmoid")
    assert np.linalg.cond(matrix) > 1e13
    assert theory.profiled(matrix)[0, 0] == pytest.approx(0.0, abs=1e-15)
    assert theory.alpha_signal(1.702, gelu="sigmoid") == pytest.approx(0.0, abs=1e-8)
    assert 0 < theory.alpha_signal(1.702) < 0.01  # nearly so for the exact GELU


def test_beta_cannot_be_identified_without_the_swish_branch():
    assert np.linalg.cond(theory.fisher_matrix(0.0, 1.0)) > 1e13


def test_profiling_gamma_is_projecting_out_the_constant():
    z, w = theory.gaussian_rule()
    gradient = theory.parameter_gradient(z, 0.4, 0.8, 0.3)[:2]
    centred = gradient - (gradient @ w)[:, None]
    expected = (centred * w) @ centred.T
    own = theory.profiled(theory.fisher_matrix(0.4, 0.8, 0.3))
    np.testing.assert_allclose(own, expected, atol=1e-12)


def test_expressions_are_written_in_one_variable():
    for name, expression in EXPRESSIONS.items():
        extra = {s.name for s in expression.free_symbols - {x}}
        assert isinstance(expression, sp.Basic) and extra <= {"alpha", "beta", "gamma"}
        if name in ZOO:
            assert extra == set(ZOO[name].parameters) & {"alpha", "beta", "gamma"}
