"""The sound Transformer sees what it may see and nothing else, and its loss is the textbook's."""

import gc
import weakref

import keras
import numpy as np
import pytest
from activation_tools import vector_jacobian
from keras import ops
from model_tools import forward

from sgblend_utils.data.batches import PairBatches
from sgblend_utils.data.text import PAD
from sgblend_utils.decoding import GreedySearch, search_model
from sgblend_utils.errors import UserError
from sgblend_utils.models.transformer import (
    Transformer,
    TranslationObjective,
    fused_cross_entropy,
)
from sgblend_utils.probes import recorded_inputs
from sgblend_utils.tasks.train import Batches
from sgblend_utils.zoo import ZOO

VOCABULARY = 24
SMALL = {"d_model": 16, "num_heads": 2, "ff_dim": 32, "num_layers": 2}
TOLERANCE = 1e-5
backend = pytest.mark.backend


def make(activation="sgblend", **kwargs):
    model = Transformer(VOCABULARY, **{**SMALL, "activation": activation, "dropout": 0.0, **kwargs})
    model.build()
    return model


@pytest.fixture(scope="module")
def model():
    return make()


def tokens(rows, width, seed=0):
    return np.random.default_rng(seed).integers(4, VOCABULARY, (rows, width)).astype("int32")


def other(ids, place):
    """The rows with another word at one place."""
    changed = ids.copy()
    changed[:, place] = 4 + (changed[:, place] - 3) % (VOCABULARY - 4)
    return changed


def logits(model, source, target):
    return forward(model, {"source": source, "target": target})


@pytest.mark.parametrize("gated", [pytest.param(False, marks=backend), True])
def test_a_target_token_changes_nothing_before_it(model, gated):
    model = make("gelu", gated=True) if gated else model
    source, target = tokens(3, 6), tokens(3, 8, seed=1)
    before = logits(model, source, target)
    for place in range(target.shape[1]):
        after = logits(model, source, other(target, place))
        assert np.array_equal(after[:, :place], before[:, :place])
        assert np.abs(after[:, place] - before[:, place]).max() > 1e-3


@backend
def test_source_padding_changes_nothing(model):
    source, target = tokens(3, 6), tokens(3, 8, seed=1)
    padded = np.pad(source, ((0, 0), (0, 7)), constant_values=PAD)
    assert np.abs(logits(model, padded, target) - logits(model, source, target)).max() < TOLERANCE


@backend
def test_every_source_token_matters(model):
    source, target = tokens(3, 6), tokens(3, 8, seed=1)
    before = logits(model, source, target)
    for place in range(6):
        assert np.abs(logits(model, other(source, place), target) - before).max() > 1e-3


@backend
def test_target_padding_and_empty_rows_change_nothing(model):
    source, target = tokens(3, 6), tokens(3, 8, seed=1)
    wide = np.pad(target, ((0, 1), (0, 4)), constant_values=PAD)
    more = np.pad(source, ((0, 1), (0, 0)), constant_values=PAD)
    after = logits(model, more, wide)
    assert np.isfinite(after).all()
    assert np.abs(after[:3, :8] - logits(model, source, target)).max() < TOLERANCE


def test_attention_to_the_source_is_a_distribution_over_its_words(model):
    source = np.pad(tokens(3, 6), ((0, 0), (0, 2)), constant_values=PAD)
    inputs = {"source": source, "target": tokens(3, 8, seed=1)}
    sites = {block.name: (block.cross_attention.softmax, "target") for block in model.decoder}
    with recorded_inputs(sites) as taps:
        model.hidden_states(inputs)
    maps = ops.convert_to_numpy(ops.softmax(np.stack([taps[name] for name in sites])))
    assert maps.shape == (2, 3, 2, 8, 8)  # layers, rows, heads, target, source
    assert np.allclose(maps[..., :6].sum(-1), 1, atol=1e-5) and not maps[..., 6:].any()
    # The second layer attends from what its first norm and self-attention made of the target.
    block = model.decoder[1]
    with recorded_inputs({"q": (block.cross_attention.to_query, "target")}) as taps:
        model.hidden_states(inputs)
    query = block.cross_attention.split(block.cross_attention.to_query(taps["q"])) / 8**0.5
    keys = model.encode(source)[0][1][0]
    scores = ops.convert_to_numpy(ops.einsum("bhtk,bhsk->bhts", query, keys))
    expected = np.exp(scores) * (source != PAD)[:, None, None, :]
    np.testing.assert_allclose(maps[1], expected / expected.sum(-1, keepdims=True), atol=1e-5)


def initial_weights(name, **kwargs):
    """Path inside the model -> value, without the activations' own parameters."""
    return {
        variable.path.split("/", 1)[1]: ops.convert_to_numpy(variable)
        for variable in make(name, num_layers=1, **kwargs).trainable_variables
        if "/activation/" not in variable.path
    }


def test_every_activation_starts_from_the_same_weights():
    reference = initial_weights("gelu")
    for name in [*ZOO, "sgblend(parameterization=published)"]:
        own = initial_weights(name)
        assert own.keys() == reference.keys()
        assert all(np.array_equal(own[path], reference[path]) for path in own), name
    other = initial_weights("gelu", seed=1)
    assert not np.array_equal(other["embedding/embeddings"], reference["embedding/embeddings"])


def test_each_site_has_an_activation_of_its_own(model):
    layers = [layer for layer, _ in model.activation_sites().values()]
    assert len({id(layer) for layer in layers}) == len(layers) == 4
    assert len({id(v) for layer in layers for v in layer.trainable_variables}) == 12


def test_a_gated_block_has_the_parameters_of_a_plain_one():
    plain, gated = (make("gelu", ff_dim=64, gated=gated).count_params() for gated in (False, True))
    assert abs(gated - plain) < 0.02 * plain
    block = make("gelu", gated=True).encoder[0]
    x = np.random.default_rng(0).normal(size=(2, 3, 16)).astype("float32")
    gate, value = np.split(ops.convert_to_numpy(block.expand(x)), 2, axis=-1)
    expected = block.contract(keras.activations.gelu(gate, approximate=False) * value)
    np.testing.assert_allclose(*map(ops.convert_to_numpy, (block.feed_forward(x), expected)), 1e-5)


@backend
def test_saved_and_loaded_it_computes_the_same(tmp_path):
    model, source, target = make(num_layers=1), tokens(3, 6), tokens(3, 8, seed=1)
    model.activation_sites()["decoder_0"][0].trainable_variables[0].assign(0.9)
    search_model(model, GreedySearch, 5)  # which is not saved with it
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert np.array_equal(logits(loaded, source, target), logits(model, source, target))


def test_searches_are_made_once_and_freed_with_their_model():
    model = make("relu", num_layers=1)
    search = search_model(model, GreedySearch, 5)
    assert search_model(model, GreedySearch, 5) is search
    assert search_model(model, GreedySearch, 6) is not search
    assert len(model.variables) == len(make("relu", num_layers=1).variables)
    gone = weakref.ref(model)
    del model, search
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"d_model": 30, "num_heads": 4}, "multiple of num_heads"),
        ({"num_layers": 0}, "num_layers is 0"),
        ({"ff_dim": -1}, "ff_dim is -1"),
        ({"target_vocabulary": 7}, "switch untied_embeddings on"),
        ({"activation": "glue"}, "choose one of"),
    ],
)
def test_bad_sizes_are_named(sizes, message):
    with pytest.raises(UserError, match=message):
        make(**sizes)


# The loss -----------------------------------------------------------------------------------------


def reference_loss(hidden, kernel, labels, weights, smoothing):
    """Label-smoothed cross-entropy by Keras, from the whole matrix of logits."""
    scores = ops.matmul(hidden, ops.transpose(kernel))
    target = ops.one_hot(labels, kernel.shape[0])
    losses = keras.losses.categorical_crossentropy(
        target, scores, from_logits=True, label_smoothing=smoothing
    )
    return ops.sum(losses * ops.convert_to_tensor(weights))


@pytest.mark.parametrize(  # one chunk, and three of unequal length
    ("positions", "smoothing"), [(5, 0.0), pytest.param(1100, 0.1, marks=backend)]
)
def test_the_fused_loss_is_cross_entropy_in_value_and_gradient(positions, smoothing):
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
    for own, reference in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(own, reference, rtol=2e-4, atol=2e-4)


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


def test_the_objective_counts_no_padding(model):
    """Twice the padding, the same loss and metrics."""
    objective = TranslationObjective(model, label_smoothing=0.1)
    objective.build()
    objective.compile(optimizer="sgd", run_eagerly=True)
    source, target, labels = tokens(3, 6), tokens(3, 8, seed=1), tokens(3, 8, seed=2)
    labels[0, 5:] = PAD
    target[0, 6:] = PAD
    narrow = objective.evaluate({"source": source, "target": target}, labels, verbose=0)
    source, target, labels = (
        np.pad(a, ((0, 2), (0, 8)), constant_values=PAD) for a in (source, target, labels)
    )
    wide = objective.evaluate({"source": source, "target": target}, labels, verbose=0)
    np.testing.assert_allclose(narrow, wide, rtol=1e-5)


@pytest.mark.slow
def test_batches_of_several_widths_are_all_read():
    """Many narrow batches and few wide ones: training runs, and the mean is over every token."""
    lengths = [4] * 40 + [10] * 4
    rows = [row[:n].tolist() for row, n in zip(tokens(44, 10), lengths, strict=True)]
    shape = {"tokens_per_batch": 20, "bucket_boundaries": (4, 10)}
    batches = PairBatches(rows, [[2, *row] for row in rows], **shape)
    objective = TranslationObjective(make("gelu", num_layers=1), label_smoothing=0.0)
    objective.build()
    objective.compile(optimizer=keras.optimizers.SGD(0.0))
    objective.fit(Batches(batches), epochs=1, verbose=0, shuffle=False)
    mean = objective.evaluate(Batches(batches), verbose=0, return_dict=True)["nll"]
    sums, count = 0.0, 0
    for inputs, labels in (batches[i][:2] for i in range(len(batches))):
        known = int((labels != PAD).sum())
        objective.reset_metrics()
        sums += known * float(objective.test_on_batch(inputs, labels, return_dict=True)["nll"])
        count += known
    assert count == sum(lengths)
    assert mean == pytest.approx(sums / count, rel=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends draw others")
def test_weights_and_losses_are_those_of_every_version_before():
    """What stored runs trained; a change here needs a new task version."""
    rng = np.random.default_rng(0)
    transformer = make(dropout=0.1, seed=3)
    weights = [np.abs(ops.convert_to_numpy(v)).sum() for v in transformer.trainable_variables]
    assert sum(map(float, weights)) == pytest.approx(2202.908, abs=2e-3)
    objective = TranslationObjective(transformer, 0.1)
    objective.build()
    objective.compile(optimizer=keras.optimizers.Adam(1e-2), run_eagerly=True)
    losses = []
    for _ in range(3):
        source, target, labels = (
            rng.integers(4, VOCABULARY, (4, n)).astype("int32") for n in (6, 7, 7)
        )
        source[0, 4:] = labels[1, 5:] = PAD
        objective.reset_metrics()
        inputs = {"source": source, "target": target}
        losses.append(objective.train_on_batch(inputs, labels, return_dict=True)["loss"])
    assert losses == pytest.approx([3.81608, 3.46035, 3.35494], rel=1e-4)
