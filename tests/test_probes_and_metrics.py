"""Dead units where it is known which are dead; scores against the libraries that define them."""

import keras
import numpy as np
import pytest
import sacrebleu
from keras import ops

from sgblend_utils.activations import SGBlend, make_activation
from sgblend_utils.metrics import translation_scores
from sgblend_utils.probes import activation_parameters, dead_units, recorded_inputs, slope

UNITS = 10


def network(name, shift):
    """One site after a Dense layer that moves unit i by shift[i]."""
    dense = keras.layers.Dense(UNITS, use_bias=True)
    activation = make_activation(name)
    model = keras.Sequential([keras.Input((None, UNITS)), dense, activation])
    dense.kernel.assign(np.eye(UNITS))
    dense.bias.assign(np.asarray(shift, "float32"))
    return model, {"site": (activation, "source")}


def batches(spike=None):
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.uniform(-1, 1, (4, 6, UNITS)).astype("float32")
        real = np.ones((4, 6), bool)
        real[:, 4:] = False
        if spike is not None:
            x[:, 4:] = spike
        yield x, {"source": real}


@pytest.mark.backend
@pytest.mark.parametrize("spike", [None, 1000.0])
def test_dead_units_are_those_pushed_far_left_and_padding_cannot_wake_them(spike):
    shift = np.zeros(UNITS)
    shift[:3] = -100
    model, sites = network("relu", shift)
    found = dead_units(model, batches(spike), sites)
    assert found["dead_share"] == found["near_dead_share"] == pytest.approx(0.3)
    assert found["dead_by_site"] == {"site": pytest.approx(0.3)}


@pytest.mark.backend
def test_a_smooth_function_can_pass_the_published_rule_and_still_be_dead():
    """With γ = -1 the output of an unresponsive unit is 0.5, not 0: its slope tells the truth."""
    model, sites = network("sgblend", [-100.0] * 5 + [0.0] * 5)
    sites["site"][0].trainable_variables[2].assign(-1.0)
    found = dead_units(model, batches(), sites)
    assert found["dead_share"] == 0.0
    assert found["near_dead_share"] == 0.5


@pytest.mark.backend
@pytest.mark.parametrize("name", ["gelu", "sgblend", "mish", "relu"])
def test_the_slope_is_the_derivative(name):
    from sgblend_utils import theory

    x = np.linspace(-4, 4, 41).astype("float32")[None, :] + 0.013
    exact = theory.closed_form(name, 1)(x.astype("float64"))
    assert np.abs(slope(make_activation(name), x) - exact).max() < 2e-3


@pytest.mark.backend
def test_taps_read_the_pre_activation_and_are_taken_off_again():
    model, sites = network("gelu", np.arange(UNITS))
    before = sites["site"][0].call
    x = np.ones((1, 2, UNITS), "float32")
    with recorded_inputs(sites) as taps:
        output = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(taps["site"][0, 0], 1 + np.arange(UNITS), rtol=1e-6)
    assert sites["site"][0].call == before
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), output, rtol=1e-6)


def test_parameters_are_the_effective_ones():
    sites = {
        "a": (SGBlend(alpha=0.25, beta=2.0, gamma=-1.0), "source"),
        "b": (make_activation("relu"), "source"),
    }
    sites["a"][0].build((None, 3))
    values = activation_parameters(sites)
    assert values == {"a": {"alpha": 0.25, "beta": 2.0, "gamma": -1.0}}


REFERENCES = [
    "Der Hund läuft durch den Park.",
    "Zwei Kinder spielen im Schnee.",
    "Er sieht sie heute im Garten.",
]


def test_a_perfect_translation_scores_100():
    scores = translation_scores(REFERENCES, REFERENCES)
    assert scores["bleu"] == pytest.approx(100) and scores["chrf"] == pytest.approx(100)
    assert scores["nltk_bleu"] == pytest.approx(1)
    assert "tok:13a" in scores["bleu_signature"] and "case:mixed" in scores["bleu_signature"]


def test_bleu_is_sacrebleu_and_knows_case_and_order():
    hypotheses = [
        "Der Hund läuft im Park.",
        "Zwei Kinder spielen Schnee im.",
        "er sieht sie heute im Garten.",
    ]
    scores = translation_scores(hypotheses, REFERENCES)
    assert scores["bleu"] == pytest.approx(
        sacrebleu.corpus_bleu(hypotheses, [REFERENCES]).score, abs=1e-3
    )
    assert scores["bleu"] < translation_scores(hypotheses[:2] + REFERENCES[2:], REFERENCES)["bleu"]
    assert scores["bleu_interval"] > 0


def test_empty_output_scores_nothing_and_breaks_nothing():
    assert translation_scores(["", "", ""], REFERENCES)["bleu"] == 0
