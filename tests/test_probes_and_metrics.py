"""Dead units, gradients and scores where the answer is known by hand or from a library."""

import math

import keras
import numpy as np
import pytest
import sacrebleu
from keras import ops
from nltk.translate.bleu_score import corpus_bleu
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from sgblend_utils import metrics
from sgblend_utils.activations import SGBlend, make_activation
from sgblend_utils.metrics import calibration_error, classification_scores, translation_scores
from sgblend_utils.models.classifier import Classifier
from sgblend_utils.models.resnet import ResNet
from sgblend_utils.models.transformer import Transformer
from sgblend_utils.probes import (
    GradientProbe,
    activation_parameters,
    dead_units,
    noise_scale,
    published_dead_share,
    recorded_inputs,
    slope,
)

UNITS = 10
backend = pytest.mark.backend


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


# Units --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spike", [None, pytest.param(1000.0, marks=backend)])
def test_dead_units_are_those_pushed_far_left_and_padding_cannot_wake_them(spike):
    shift = np.zeros(UNITS)
    shift[:3] = -100
    model, sites = network("relu", shift)
    found = dead_units(model, batches(spike), sites)
    assert found["dead_share"] == found["near_dead_share"] == pytest.approx(0.3)
    assert found["dead_by_site"] == {"site": pytest.approx(0.3)}


@backend
def test_a_smooth_function_can_pass_the_published_rule_and_still_be_dead():
    """With γ = -1 the output of an unresponsive unit is 0.5, not 0: its slope tells the truth."""
    model, sites = network("sgblend", [-100.0] * 5 + [0.0] * 5)
    sites["site"][0].trainable_variables[2].assign(-1.0)
    found = dead_units(model, batches(), sites)
    assert found["dead_share"] == 0.0
    assert found["near_dead_share"] == 0.5


@backend
def test_the_distance_from_gelu_is_that_over_real_inputs_without_the_constant():
    from sgblend_utils.theory import closed_form

    model, sites = network("silu", np.linspace(-2, 2, UNITS))
    x = np.concatenate([x[:, :4].reshape(-1, UNITS) for x, _ in batches()]).astype("float64")
    x = x + np.linspace(-2, 2, UNITS)
    expected = (closed_form("silu")(x) - closed_form("gelu")(x)).std()
    for spike in (None, 1000.0):
        found = dead_units(model, batches(spike), sites)["gelu_distance_by_site"]
        assert found == {"site": pytest.approx(expected, abs=2e-6)}
    model, sites = network("sgblend", np.zeros(UNITS))
    for alpha, gamma in ((0.0, 3.0), (1.0, 3.0)):
        for variable, value in zip(sites["site"][0].variables, (alpha, 1.0, gamma), strict=True):
            variable.assign(value)
        found = dead_units(model, batches(), sites)["gelu_distance_by_site"]["site"]
        x0 = np.concatenate([x[:, :4].reshape(-1, UNITS) for x, _ in batches()]).astype("float64")
        silu = (closed_form("silu")(x0) - closed_form("gelu")(x0)).std()
        assert found == pytest.approx(alpha * silu, abs=2e-6)


@pytest.mark.parametrize("name", ["gelu", "sgblend", "mish", "relu"])
def test_the_slope_is_the_derivative(name):
    from sgblend_utils import theory

    x = np.linspace(-4, 4, 41).astype("float32")[None, :] + 0.013
    exact = theory.closed_form(name, 1)(x.astype("float64"))
    assert np.abs(slope(make_activation(name), x) - exact).max() < 2e-3


@backend
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
    shared = Transformer(9, 8, 2, 8, switches=["shared_activation"], activation="sgblend")
    shared.build()
    of_sites = activation_parameters(shared.activation_sites())
    assert list(of_sites) == ["encoder_0", "encoder_1", "decoder_0", "decoder_1"]
    assert of_sites["encoder_0"] == {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}


@backend
def test_the_published_probe_reads_the_feed_forward_output_of_real_rows():
    model = Transformer(20, d_model=16, num_heads=2, ff_dim=24, switches=["post_norm"])
    model.build()
    contract = model.decoder[-1].contract
    contract.kernel.assign(0.0 * contract.kernel)
    contract.bias.assign([-1.0] * 4 + [1.0] * 12)  # four of sixteen features are never positive
    ids = np.random.default_rng(0).integers(4, 20, (3, 6))
    inputs = {"source": ids, "target": ids}
    assert published_dead_share(model, [inputs, inputs]) == 0.25


@backend
def test_the_published_probe_reads_the_average_of_real_reviews():
    model = Classifier(20, length=6, d_model=8, ff_dim=8, switches=["padding_averaged"])
    model.build()
    norm = model.final_norm
    norm.gamma.assign(0.0 * norm.gamma)
    norm.beta.assign([-1.0] * 2 + [1.0] * 6)
    ids = np.random.default_rng(0).integers(4, 20, (3, 6))
    ids[1:] = 0  # rows that only fill the batch
    assert published_dead_share(model, [ids]) == 0.25
    model.pooled = lambda x: np.where(np.asarray(x)[:, :1] == 0, 1.0, -1.0) * np.ones((1, 8))
    assert published_dead_share(model, [ids]) == 1.0


# Gradients ----------------------------------------------------------------------------------------


@backend
def test_the_probe_finds_the_gradient_of_cross_entropy():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 2))
    x, y = rng.normal(size=(4, 5, 3)).astype("float32"), np.eye(2)[rng.integers(0, 2, (4, 5))]
    scores = np.exp(x @ weight)
    error = scores / scores.sum(-1, keepdims=True) - y
    exact = np.einsum("nbi,nbc->nic", x, error) / 5
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False, name="head")(inputs))
    model.set_weights([weight])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    pairs = list(zip(x, y.astype("float32"), strict=True))
    found = GradientProbe(model, loss, pairs).measure()
    mean = (exact.mean(0) ** 2).sum()
    assert found["norm"] == pytest.approx(mean**0.5, rel=1e-4)
    assert found["norm_by_layer"] == {"head": found["norm"]}
    expected = noise_scale(float((exact**2).sum((1, 2)).mean()), float(mean), 5, 4)
    assert found["noise_scale"] == (expected and pytest.approx(expected, abs=0.01))
    np.testing.assert_allclose(ops.convert_to_numpy(model.weights[0]), weight, rtol=1e-6)


@backend
def test_the_probe_leaves_the_network_as_it_was():
    model = ResNet("digits", (8, 8, 1), activation="sgblend", width=4)
    rng = np.random.default_rng(0)
    labels = np.eye(10, dtype="float32")[:8]
    pairs = [(rng.integers(0, 256, (8, 8, 8, 1)).astype("uint8"), labels) for _ in range(2)]
    before = [np.array(ops.convert_to_numpy(v)) for v in model.variables]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    probe = GradientProbe(model, loss, pairs)
    probe.on_epoch_end(0)
    probe.on_epoch_end(1)
    first, second = probe.values
    assert first == second | {"epoch": 1} and first["norm"] > 0
    after = [ops.convert_to_numpy(v) for v in model.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    expected = {"stem", "stage_1_0_0", "stage_1_0_1", "stage_2_0_0", "stage_2_0_1", "head"}
    assert first["norm_by_layer"].keys() == expected


def test_the_noise_scale_is_recovered_from_known_noise():
    """Gradients drawn with mean G and covariance Σ / batch: the scale is tr Σ / |G|²."""
    rng = np.random.default_rng(0)
    mean, sigma, batch, count = rng.normal(size=200), 5.0, 16, 8
    drawn = mean + sigma / batch**0.5 * rng.normal(size=(500, count, 200))
    small = (drawn**2).sum(-1).mean()
    large = (drawn.mean(1) ** 2).sum(-1).mean()
    exact = 200 * sigma**2 / (mean**2).sum()
    assert noise_scale(small, large, batch, count) == pytest.approx(exact, rel=0.02)
    assert noise_scale(1.0, 1.0, batch, count) == 0
    assert noise_scale(1.0, 1.0 / count, batch, count) is None


# Scores of translations ---------------------------------------------------------------------------

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
    expected = sacrebleu.corpus_bleu(hypotheses, [REFERENCES]).score
    assert scores["bleu"] == pytest.approx(expected, abs=1e-3)
    assert scores["bleu"] < translation_scores(hypotheses[:2] + REFERENCES[2:], REFERENCES)["bleu"]
    assert scores["bleu_interval"] > 0


def test_empty_output_scores_nothing_and_breaks_nothing():
    assert translation_scores(["", "", ""], REFERENCES)["bleu"] == 0


def test_published_bleu_by_hand():
    found = [["a", "big", "dog", "runs", "<end>"], ["a", "dog", "<end>", "runs", "here"]]
    gold = [["a", "big", "dog", "runs", "<end>"], ["a", "dog", "runs", "here", "<end>"]]
    expected = corpus_bleu([[row] for row in gold], found)
    assert metrics.published_bleu(found, gold) == pytest.approx(expected, abs=1e-5)
    assert metrics.published_bleu(found[:1], gold[:1]) == 1.0


# Scores of classes --------------------------------------------------------------------------------


def test_calibration_error_by_hand():
    """Two bins hold something: (0.8, 0.8667] with 3 of 4 right, [0.6, 0.6667) with 0 of 1."""
    labels = np.array([0, 0, 0, 1, 1])
    p = np.array([0.81, 0.82, 0.83, 0.84, 0.62])
    expected = abs(3 - (0.81 + 0.82 + 0.83 + 0.84)) / 5 + 0.62 / 5
    assert calibration_error(labels, np.stack([p, 1 - p], 1)) == pytest.approx(expected)
    certain = np.eye(2)[labels]
    assert calibration_error(labels, certain) == 0
    assert calibration_error(1 - labels, certain) == 1


def test_a_calibrated_classifier_has_no_calibration_error_to_speak_of():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 20_000)
    labels = (rng.random(20_000)[:, None] > p.cumsum(1)).sum(1)
    assert calibration_error(labels, p) < 0.01
    sharper = p**3 / (p**3).sum(1, keepdims=True)
    assert calibration_error(labels, sharper) > 0.1


def test_scores_are_those_of_the_libraries():
    rng = np.random.default_rng(1)
    p, labels = rng.dirichlet(np.ones(5), 300), rng.integers(0, 5, 300)
    scores = classification_scores(labels, p)
    assert scores["test_accuracy"] == round(accuracy_score(labels, p.argmax(1)), 5)
    assert scores["test_nll"] == pytest.approx(log_loss(labels, p), abs=1e-5)
    table = np.array(scores["confusion"])
    assert table.sum() == 300 and table.trace() / 300 == pytest.approx(scores["test_accuracy"])
    assert table.sum(1).tolist() == np.bincount(labels).tolist()  # rows are true classes
    assert metrics.correct_of(scores).tolist() == (p.argmax(1) == labels).tolist()


def test_the_interval_is_wilsons():
    p = np.tile([0.9, 0.1], (50, 1))
    scores = classification_scores(np.repeat([0, 1], [40, 10]), p)
    z, share, n = 1.959964, 0.8, 50
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    assert scores["test_accuracy_low"] == pytest.approx(centre - half, abs=1e-5)
    assert scores["test_accuracy_high"] == pytest.approx(centre + half, abs=1e-5)
    assert classification_scores(np.zeros(20, int), p[:20])["test_accuracy_high"] == 1


def test_scores_of_two_classes_are_scikit_learns_and_the_hands():
    labels = np.array([0, 0, 1, 1, 1, 0])
    positive = np.array([0.1, 0.6, 0.8, 0.4, 0.9, 0.2])
    scores = metrics.binary_scores(labels, positive)
    assert math.isclose(scores["test_accuracy"], 4 / 6, abs_tol=1e-5)
    assert math.isclose(scores["f1"], 4 / 6, abs_tol=1e-5)  # two of three, of either kind
    assert math.isclose(scores["roc_auc"], 8 / 9, abs_tol=1e-5)  # one of nine pairs is wrong
    assert math.isclose(scores["f1"], f1_score(labels, positive > 0.5), abs_tol=1e-5)
    assert math.isclose(scores["roc_auc"], roc_auc_score(labels, positive), abs_tol=1e-5)
    chosen = np.where(labels == 1, positive, 1 - positive)
    assert math.isclose(scores["test_nll"], -np.log(chosen).mean(), abs_tol=1e-5)
    # Each confidence (.9 .6 .8 .6 .9 .8) is in a bin with its like, of 15.
    hits = {0.9: 2, 0.6: 0, 0.8: 2}
    gaps = [abs(n - 2 * confidence) for confidence, n in hits.items()]
    assert math.isclose(scores["ece"], sum(gaps) / 6, abs_tol=1e-5)
