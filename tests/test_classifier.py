"""The review encoder: masks that hold, switches that do what their names say."""

import keras
import numpy as np
import pytest
from keras import ops
from model_tools import forward

from sgblend_utils.activations import learnable_activations
from sgblend_utils.data.text import PAD
from sgblend_utils.errors import UserError
from sgblend_utils.models.classifier import Classifier

VOCABULARY, WIDTH = 30, 9
SMALL = {"length": 16, "d_model": 8, "num_heads": 2, "ff_dim": 12, "num_layers": 1}
SWITCHES = (
    *("no_padding_masks", "padding_averaged", "shared_activation", "published_activation"),
    *("post_norm", "wide_key_dim", "unscaled_embeddings"),
)
TOLERANCE = 1e-5
backend = pytest.mark.backend
each_kind = pytest.mark.parametrize("kind", ["small", "bert"])


def ids(rows=3, width=WIDTH, seed=0):
    return np.random.default_rng(seed).integers(4, VOCABULARY, (rows, width)).astype("int32")


def make(kind="small", activation="sgblend", switches=(), **kwargs):
    options = {**SMALL, "dropout": 0.0, "switches": switches, **kwargs}
    model = Classifier(VOCABULARY, kind=kind, activation=activation, **options)
    model.build()
    return model


def logits(model, tokens):
    return forward(model, tokens)


def padded_difference(model):
    padded = np.pad(ids(), ((0, 0), (0, 5)), constant_values=PAD)
    return np.abs(logits(model, padded) - logits(model, ids())).max()


@each_kind
def test_padding_changes_nothing_but_for_the_published_switches(kind):
    assert padded_difference(make(kind)) < TOLERANCE
    assert padded_difference(make(kind, switches=["no_padding_masks"])) > 1e-3
    averaged = padded_difference(make(kind, switches=["padding_averaged"]))
    assert averaged > 1e-3 if kind == "small" else averaged < TOLERANCE


@each_kind
def test_every_word_counts_and_so_does_its_place(kind):
    model, tokens = make(kind), ids(1)
    before = logits(model, tokens)
    for place in range(WIDTH):
        changed = tokens.copy()
        changed[0, place] = 4 + (changed[0, place] - 3) % (VOCABULARY - 4)
        assert np.abs(logits(model, changed) - before).max() > 1e-6
    assert np.abs(logits(model, tokens[:, ::-1].copy()) - before).max() > 1e-4


@each_kind
@pytest.mark.parametrize("switches", [(), SWITCHES])
def test_every_activation_starts_from_the_same_weights(kind, switches):
    first, second = (make(kind, name, switches) for name in ("gelu", "sgblend"))

    def drawn(model):
        own = {id(w) for layer in learnable_activations(model).values() for w in layer.weights}
        return [ops.convert_to_numpy(w) for w in model.weights if id(w) not in own]

    for one, other in zip(drawn(first), drawn(second), strict=True):
        assert np.array_equal(one, other)
    kernels = [w for w in first.weights if w.name in ("kernel", "embeddings")]
    values = {ops.convert_to_numpy(w).tobytes() for w in kernels}
    assert len(values) == len(kernels)  # no two drawn with the same seed
    other_seed = make(kind, "gelu", switches, seed=1)
    assert not np.array_equal(
        *(ops.convert_to_numpy(m.embedding.embeddings) for m in (first, other_seed))
    )


@backend
def test_word_dropout_leaves_out_whole_tokens_in_training_alone():
    plain, dropping = make(), make(word_dropout=0.5)
    for one, other in zip(plain.get_weights(), dropping.get_weights(), strict=False):
        assert np.array_equal(one, other)  # no other draw depends on it
    assert np.array_equal(logits(plain, ids()), logits(dropping, ids()))
    ones = np.ones((40, WIDTH, 8), "float32")
    seen = ops.convert_to_numpy(dropping.drop_words(ones, training=True))
    kept = seen[..., 0] != 0
    assert np.array_equal(seen, 2.0 * np.repeat(kept[..., None], 8, axis=2))
    assert abs(kept.mean() - 0.5) < 0.15  # of 360 draws: five and a half deviations
    tokens = ids()
    first, second = (
        ops.convert_to_numpy(dropping.hidden_states(tokens, training=True)) for _ in range(2)
    )
    assert np.abs(first - second).max() > 1e-3


def test_sites_have_layers_of_their_own_unless_shared():
    def layers(model):
        found = [layer for layer, _ in model.activation_sites().values()]
        return {id(getattr(layer, "layer", layer)) for layer in found}

    assert list(make().activation_sites()) == ["block_0", "head"]
    assert list(make("bert").activation_sites()) == ["block_0"]
    assert len(layers(make())) == 2
    shared = make(switches=["shared_activation"])
    assert len(layers(shared)) == 1
    assert sum(w.name == "alpha" for w in shared.trainable_variables) == 1


@pytest.mark.parametrize("name", SWITCHES)
def test_each_switch_acts_and_others_do_nothing(name):
    padded = np.pad(ids(), ((0, 0), (0, 4)), constant_values=PAD)
    plain, switched = make(activation="sgblend"), make(switches=[name])
    if name == "shared_activation":
        layers = [layer for layer, _ in switched.activation_sites().values()]
        layers[0].layer.trainable_variables[0].assign(0.9)  # which reaches the other sites
        plain.blocks[0].activation.trainable_variables[0].assign(0.9)
    assert np.abs(logits(plain, padded) - logits(switched, padded)).max() > 1e-6
    same = make(switches=["word_tokens", "repeated_reviews"])
    assert np.array_equal(logits(make(), padded), logits(same, padded))


@pytest.mark.parametrize("switches", [(), pytest.param(SWITCHES, marks=backend)])
def test_a_model_is_saved_and_loaded(tmp_path, switches):
    model = make(switches=switches)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again) is Classifier
    assert again.settings == model.settings
    assert np.array_equal(logits(again, ids()), logits(model, ids()))


def test_wrong_sizes_are_refused():
    with pytest.raises(UserError, match="choose one of small, bert"):
        make("large")
    with pytest.raises(UserError, match="multiple of num_heads"):
        make(num_heads=3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="other backends draw others")
def test_weights_and_losses_are_those_of_every_version_before():
    """What stored runs trained; a change here needs a new task version."""
    rng = np.random.default_rng(0)
    model = Classifier(24, length=9, d_model=16, num_heads=2, ff_dim=32, num_layers=2, seed=3)
    model.build()
    weights = [np.abs(ops.convert_to_numpy(v)).sum() for v in model.trainable_variables]
    assert sum(map(float, weights)) == pytest.approx(1024.213, abs=2e-3)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss=loss, run_eagerly=True)
    losses = []
    for _ in range(3):
        tokens = rng.integers(4, 24, (8, 9)).astype("int32")
        labels = rng.integers(0, 2, (8, 1)).astype("float32")
        model.reset_metrics()
        losses.append(model.train_on_batch(tokens, labels, return_dict=True)["loss"])
    assert losses == pytest.approx([0.6975, 0.60813, 0.70122], rel=1e-4)
