"""The Transformer sees what it may see and nothing else, and its loss is the textbook's."""

import keras
import numpy as np
import pytest
from activation_tools import vector_jacobian
from keras import ops

from sgblend_utils.activations import ACTIVATIONS
from sgblend_utils.datasets.text import PAD, TranslationBatches
from sgblend_utils.errors import UserError
from sgblend_utils.models import transformer as module
from sgblend_utils.models.losses import fused_cross_entropy
from sgblend_utils.models.transformer import Transformer, TranslationObjective

VOCABULARY = 24
SMALL = {"d_model": 16, "num_heads": 2, "ff_dim": 32, "num_layers": 2}
TOLERANCE = 1e-5
pytestmark = pytest.mark.backend


def make(activation="sgblend", **kwargs):
    model = Transformer(VOCABULARY, **{**SMALL, "activation": activation, "dropout": 0.0, **kwargs})
    model.build()
    return model


def tokens(rows, width, seed=0):
    return np.random.default_rng(seed).integers(4, VOCABULARY, (rows, width)).astype("int32")


def logits(model, source, target):
    return ops.convert_to_numpy(model({"source": source, "target": target}, training=False))


@pytest.mark.parametrize("activation", ["gelu", "sgblend"])
def test_a_target_token_changes_nothing_before_it(activation):
    model, source, target = make(activation), tokens(2, 6), tokens(2, 9, seed=1)
    before = logits(model, source, target)
    for place in range(target.shape[1]):
        changed = target.copy()
        changed[:, place] = 4 + (changed[:, place] - 3) % (VOCABULARY - 4)
        after = logits(model, source, changed)
        assert np.array_equal(after[:, :place], before[:, :place])
        assert np.abs(after[:, place] - before[:, place]).max() > 1e-3


def test_without_the_causal_mask_the_answer_leaks(monkeypatch):
    """The perturbation test can fail: it does for the published decoder's missing mask."""
    monkeypatch.setattr(module, "causal_bias", lambda length: ops.zeros((1, 1, length, length)))
    model, source, target = make(), tokens(2, 6), tokens(2, 9, seed=1)
    changed = target.copy()
    changed[:, 5] = 4 + (changed[:, 5] - 3) % (VOCABULARY - 4)
    difference = logits(model, source, changed) - logits(model, source, target)
    assert np.abs(difference[:, :5]).max() > 1e-3


@pytest.mark.parametrize("spare", [1, 7])
def test_source_padding_changes_nothing(spare):
    model, source, target = make(), tokens(3, 6), tokens(3, 8, seed=1)
    padded = np.pad(source, ((0, 0), (0, spare)), constant_values=PAD)
    assert np.abs(logits(model, padded, target) - logits(model, source, target)).max() < TOLERANCE


def test_every_source_token_matters():
    model, source, target = make(), tokens(1, 6), tokens(1, 8, seed=1)
    before = logits(model, source, target)
    for place in range(6):
        changed = source.copy()
        changed[:, place] = 4 + (changed[:, place] - 3) % (VOCABULARY - 4)
        assert np.abs(logits(model, changed, target) - before).max() > 1e-3


def test_target_padding_and_empty_rows_change_nothing():
    model, source, target = make(), tokens(3, 6), tokens(3, 8, seed=1)
    wide = np.pad(target, ((0, 1), (0, 4)), constant_values=PAD)
    more = np.pad(source, ((0, 1), (0, 0)), constant_values=PAD)
    after = logits(model, more, wide)
    assert np.isfinite(after).all()
    assert np.abs(after[:3, :8] - logits(model, source, target)).max() < TOLERANCE


def test_attention_to_the_source_is_what_the_decoder_uses(monkeypatch):
    model, target = make(), tokens(3, 8, seed=1)
    source = np.pad(tokens(3, 6), ((0, 0), (0, 2)), constant_values=PAD)
    inputs = {"source": source, "target": target}
    maps = ops.convert_to_numpy(model.source_attention(inputs))
    assert maps.shape == (2, 3, 2, 8, 8)  # layers, rows, heads, target, source
    assert np.allclose(maps[..., :6].sum(-1), 1, atol=1e-5) and not maps[..., 6:].any()
    used, weights_of = [], module.Attention.weights_of

    def recorded(layer, *arguments):
        weights = weights_of(layer, *arguments)
        if layer.name == "cross_attention":
            used.append(ops.convert_to_numpy(weights))
        return weights

    monkeypatch.setattr(module.Attention, "weights_of", recorded)
    model.states(inputs)
    np.testing.assert_allclose(maps, np.stack(used), atol=1e-6)


def initial_weights(name, **kwargs):
    """Path inside the model -> value, without the activations' own parameters."""
    return {
        variable.path.split("/", 1)[1]: ops.convert_to_numpy(variable)
        for variable in make(name, **kwargs).trainable_variables
        if "/activation/" not in variable.path
    }


def test_every_activation_starts_from_the_same_weights():
    reference = initial_weights("gelu")
    for name in ACTIVATIONS:
        own = initial_weights(name)
        assert own.keys() == reference.keys()
        assert all(np.array_equal(own[path], reference[path]) for path in own), name
    other = initial_weights("gelu", seed=1)
    assert not np.array_equal(other["embedding/embeddings"], reference["embedding/embeddings"])


def test_each_site_has_an_activation_of_its_own():
    layers = [layer for layer, _ in make().activation_sites().values()]
    assert len({id(layer) for layer in layers}) == len(layers) == 4
    assert len({id(v) for layer in layers for v in layer.trainable_variables}) == 12


def test_saved_and_loaded_it_computes_the_same(tmp_path):
    model, source, target = make(), tokens(2, 6), tokens(2, 7, seed=1)
    model.activation_sites()["decoder_1"][0].trainable_variables[0].assign(0.9)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(logits(loaded, source, target), logits(model, source, target))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"d_model": 30, "num_heads": 4}, "multiple of num_heads"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"ff_dim": -1}, "ff_dim is -1"),
    ],
)
def test_bad_sizes_are_named(sizes, message):
    with pytest.raises(UserError, match=message):
        make(**sizes)


# The loss


def reference_loss(hidden, kernel, labels, weights, smoothing):
    """Label-smoothed cross-entropy by Keras, from the whole matrix of logits."""
    scores = ops.matmul(hidden, ops.transpose(kernel))
    target = ops.one_hot(labels, kernel.shape[0])
    losses = keras.losses.categorical_crossentropy(
        target, scores, from_logits=True, label_smoothing=smoothing
    )
    return ops.sum(losses * ops.convert_to_tensor(weights))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("positions", [5, 1100])  # one chunk, and three of unequal length
def test_the_fused_loss_is_cross_entropy_in_value_and_gradient(smoothing, positions):
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(positions, 8)).astype("float32")
    kernel = rng.normal(size=(VOCABULARY, 8)).astype("float32")
    labels = rng.integers(0, VOCABULARY, positions).astype("int32")
    weights = (rng.random(positions) < 0.7).astype("float32")

    def fused(h, w):
        return 3.0 * fused_cross_entropy(h, w, labels, weights, smoothing)[0]

    def plain(h, w):
        return 3.0 * reference_loss(h, w, labels, weights, smoothing)

    value, gradients = vector_jacobian(fused, [hidden, kernel])
    expected, expected_gradients = vector_jacobian(plain, [hidden, kernel])
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    for own, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(own, other, rtol=2e-4, atol=2e-4)


def test_its_other_sums_are_likelihood_and_hits():
    rng = np.random.default_rng(1)
    hidden, kernel = rng.normal(size=(40, 8)), rng.normal(size=(VOCABULARY, 8))
    labels = rng.integers(0, VOCABULARY, 40)
    weights = (rng.random(40) < 0.5).astype("float32")
    scores = hidden @ kernel.T
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    _, nll, hits = ops.convert_to_numpy(
        fused_cross_entropy(*(a.astype("float32") for a in (hidden, kernel)), labels, weights, 0.1)
    )
    np.testing.assert_allclose(nll, -(weights * log_p[np.arange(40), labels]).sum(), rtol=1e-5)
    assert hits == (weights * (scores.argmax(1) == labels)).sum()


def test_the_objective_counts_no_padding():
    """Twice the padding, the same loss and metrics."""
    model = TranslationObjective(make("gelu"), label_smoothing=0.1)
    model.build()
    model.compile(optimizer="sgd")
    source, target, labels = tokens(3, 6), tokens(3, 8, seed=1), tokens(3, 8, seed=2)
    labels[0, 5:] = PAD
    target[0, 6:] = PAD
    narrow = model.evaluate({"source": source, "target": target}, labels, verbose=0)
    source, target, labels = (
        np.pad(a, ((0, 2), (0, 8)), constant_values=PAD) for a in (source, target, labels)
    )
    wide = model.evaluate({"source": source, "target": target}, labels, verbose=0)
    np.testing.assert_allclose(narrow, wide, rtol=1e-5)


@pytest.mark.parametrize("seed", [None, 0])
def test_batches_of_several_widths_are_all_read(seed):
    """Many narrow batches and few wide ones: training runs, and the mean is over every token."""
    lengths = [3] * 40 + [9] * 4
    rows = [row[:n].tolist() for row, n in zip(tokens(44, 9), lengths, strict=True)]
    batches = TranslationBatches(rows, rows, tokens=20, widths=(4, 10), seed=seed)
    model = TranslationObjective(make("gelu", num_layers=1), label_smoothing=0.0)
    model.build()
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    model.fit(batches, epochs=2, verbose=0, shuffle=False)
    mean = model.evaluate(batches, verbose=0, return_dict=True)["nll"]
    sums, count = 0.0, 0
    for inputs, labels in (batches[i] for i in range(len(batches))):
        known = int((labels != PAD).sum())
        sums += known * model.evaluate(inputs, labels, verbose=0, return_dict=True)["nll"]
        count += known
    assert count == sum(n + 1 for n in lengths)
    assert mean == pytest.approx(sums / count, rel=1e-5)
