"""Every protocol switch of the Transformer does what its name says, in terms of Keras's layers."""

import keras
import numpy as np
import pytest
from keras import ops
from model_tools import forward

from sgblend_utils.activations import SGBlend
from sgblend_utils.data.text import BOS, EOS, PAD
from sgblend_utils.models.layers import Activations, Block, causal_bias, padding_bias, seed_stream
from sgblend_utils.models.transformer import Transformer, TranslationObjective

VOCABULARY, LENGTH = 30, 9
SIZES = {"d_model": 16, "num_heads": 2, "ff_dim": 24, "num_layers": 1, "dropout": 0.0}
SWITCHES = (
    *("no_causal_mask", "padding_in_loss", "no_padding_masks", "shared_activation"),
    *("published_activation", "post_norm", "wide_key_dim", "extra_head", "untied_embeddings"),
    "learned_positions",
)
backend = pytest.mark.backend


def make(*switches, activation="sgblend", **kwargs):
    options = {**SIZES, "max_length": LENGTH, **kwargs}
    model = Transformer(VOCABULARY, activation=activation, switches=switches, **options)
    model.build()
    return model


def without(*names, **kwargs):
    """The published model with some switches off."""
    return make(*(name for name in SWITCHES if name not in names), **kwargs)


@pytest.fixture(scope="module")
def published():
    return without()


@pytest.fixture(scope="module")
def sound():
    return make()


def sentences(rows=3, words=5, seed=0):
    """Source and target (rows, LENGTH), with marks at both ends and padding."""
    rng = np.random.default_rng(seed)
    ids = np.full((2, rows, LENGTH), PAD, "int32")
    ids[:, :, 0], ids[:, :, words + 1] = BOS, EOS
    ids[:, :, 1 : words + 1] = rng.integers(4, VOCABULARY, (2, rows, words))
    return ids


def logits(model, source, target):
    return forward(model, {"source": source, "target": target})


# Keras's own layers -------------------------------------------------------------------------------


def keras_attention(ours, memory):
    """Keras's MultiHeadAttention with the weights of `ours`, as a function of x and a mask."""
    heads, width, d = ours.num_heads, ours.head_dim, ours.d_model
    layer = keras.layers.MultiHeadAttention(heads, width)
    layer.build((None, None, d), (None, None, d))
    weights = []
    for dense, parts in ((ours.to_query, 1), (ours.to_key_value, 2)):
        kernels = np.split(ops.convert_to_numpy(dense.kernel), parts, axis=1)
        biases = np.split(ops.convert_to_numpy(dense.bias), parts)
        for kernel, bias in zip(kernels, biases, strict=True):
            weights += [kernel.reshape(d, heads, width), bias.reshape(heads, width)]
    kernel = ops.convert_to_numpy(ours.to_output.kernel).reshape(heads, width, d)
    layer.set_weights([*weights, kernel, ops.convert_to_numpy(ours.to_output.bias)])
    return lambda x, mask: layer(x, memory if memory is not None else x, attention_mask=mask)


@pytest.mark.parametrize(
    ("switches", "masked"),
    [
        ((), False),
        (("wide_key_dim",), True),
        pytest.param(("post_norm", "wide_key_dim"), True, marks=backend),
    ],
)
def test_a_block_is_one_of_keras_layers(switches, masked):
    rng = np.random.default_rng(0)
    settings = {**SIZES, "switches": switches}
    block = Block(settings, True, seed_stream(0), Activations("gelu", 0))
    block.build((None, None, 16))
    for variable in block.trainable_variables:  # biases and norms that are not zero and one
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    x, memory = (ops.convert_to_tensor(rng.normal(size=(3, n, 16)), "float32") for n in (6, 5))
    source, target = rng.integers(4, 9, (3, 5)), rng.integers(4, 9, (3, 6))
    source[0, 3:], target[1, 4:] = PAD, PAD
    biases = masks = (None, None)
    if masked:
        biases = causal_bias(6) + padding_bias(target), padding_bias(source)
        seen = np.tril(np.ones((6, 6), bool))[None] & (target != PAD)[:, None, :]
        masks = seen, np.broadcast_to((source != PAD)[:, None, :], (3, 6, 5))
    own = block(x, biases[0], block.cross_attention.keys_values(memory), biases[1])
    attend = keras_attention(block.self_attention, None)
    look = keras_attention(block.cross_attention, memory)
    branches = (
        lambda y: attend(y, masks[0]),
        lambda y: look(y, masks[1]),
        lambda y: block.contract(keras.activations.gelu(block.expand(y), approximate=False)),
    )
    for norm, branch in zip(block.norms, branches, strict=True):
        x = norm(x + branch(x)) if "post_norm" in switches else x + branch(norm(x))
    np.testing.assert_allclose(*map(ops.convert_to_numpy, (own, x)), rtol=1e-4, atol=2e-5)


def test_wide_heads_and_small_embeddings_are_drawn_as_keras_drew_them():
    """Keras's initializer is given the shapes of MultiHeadAttention's kernels alone.

    So it was when the paper's code ran; since pull request 22789 of 2026 it gets the axes too.
    """
    d, heads = 48, 4
    model = make("wide_key_dim", "untied_embeddings", d_model=d, num_heads=heads)
    attention, half = model.encoder[0].self_attention, heads * d
    into, out = (
        keras.initializers.GlorotUniform(seed=7)(s) for s in [(d, heads, d), (heads, d, d)]
    )
    embedded = keras.initializers.get("uniform")((VOCABULARY, d))
    for own, other in (
        (attention.to_query.kernel, into),
        (attention.to_key_value.kernel[:, :half], into),
        (attention.to_key_value.kernel[:, half:], into),
        (attention.to_output.kernel, out),
        (model.embedding.embeddings, embedded),
        (model.target_embedding.embeddings, embedded),
    ):
        own, other = (ops.convert_to_numpy(w).ravel() for w in (own, other))
        assert own.size == other.size and abs(own.mean()) < 0.1 * own.std()
        assert np.abs(own).max() == pytest.approx(np.abs(other).max(), rel=0.01)
        assert own.std() == pytest.approx(other.std(), rel=0.05)


# One switch after the other -----------------------------------------------------------------------


@backend
def test_without_a_causal_mask_every_output_sees_the_future(published):
    def moved(model):
        """Which outputs move when the target's word at 5 is another one."""
        source, target = sentences()[:, :, :-1]
        other = target.copy()
        other[:, 5] = 4 + (other[:, 5] - 3) % (VOCABULARY - 4)
        difference = logits(model, source, other) - logits(model, source, target)
        return (np.abs(difference).max(axis=(0, 2)) > 1e-6).tolist()

    assert all(moved(published))
    assert moved(without("no_causal_mask")) == [False] * 5 + [True] * 3


def test_padding_is_seen_only_with_the_switch(published):
    """More padding on either side moves the outputs at real words, or does not."""
    longer, short = sentences(words=3), sentences(words=3)[:, :, :6]
    for model, expected in (
        (published, True),
        (without("no_padding_masks"), False),
        (make("no_causal_mask", activation="gelu"), False),
        (make("no_padding_masks", "no_causal_mask", activation="gelu"), True),
        (make("padding_in_loss", activation="gelu"), False),
    ):
        base = logits(model, *short)[:, :5]
        for pair in ((longer[0], short[1]), (short[0], longer[1])):
            assert (np.abs(logits(model, *pair)[:, :5] - base).max() > 1e-5) == expected


def test_activation_instances():
    sites = ["encoder_0", "decoder_0", "head"]

    def layers(*names):
        found = without(*names).activation_sites()
        return list(found), [getattr(layer, "layer", layer) for layer, _ in found.values()]

    names, shared = layers()
    assert names == sites and len({id(layer) for layer in shared}) == 1
    assert isinstance(shared[0], SGBlend)
    assert (shared[0].parameterization, shared[0].gelu) == ("published", "sigmoid")
    names, fresh = layers("shared_activation")
    assert names == sites and len({id(layer) for layer in fresh}) == 3
    names, plain = layers("published_activation")
    assert (plain[0].parameterization, plain[0].gelu) == ("free", "erf")
    names, headless = layers("extra_head", "shared_activation")
    assert names == sites[:2] and len({id(layer) for layer in headless}) == 2
    chosen = make("published_activation", activation="sgblend(gelu=tanh)").encoder[0].activation
    assert (chosen.parameterization, chosen.gelu) == ("published", "tanh")


def test_the_published_start_of_beta_is_that_of_the_seed():
    def betas(*switches, seed=0):
        sites = make(*switches, seed=seed).activation_sites().values()
        return [float(layer.effective_parameters()["beta"][()]) for layer, _ in sites]

    shared, single = (
        betas("published_activation", "shared_activation"),
        betas("published_activation"),
    )
    assert len(set(shared)) == 1 and shared[0] == single[0]
    assert len(set(single)) == 2 and single != betas("published_activation", seed=1)
    assert set(betas()) == {1.0}


def test_shape_of_the_model(published, sound):
    assert [m.encoder[0].self_attention.head_dim for m in (published, sound)] == [16, 8]
    assert published.head.units == 24 and sound.head is None
    assert make("extra_head").head.units == 16  # the width of the tied embedding
    assert published.output_layer.kernel.shape == (24, VOCABULARY) and sound.output_layer is None
    assert published.encoder_norm is None and sound.decoder_norm is not None
    assert published.target_embedding is not None and sound.target_embedding is None
    two = make("untied_embeddings", target_vocabulary=11, activation="gelu", num_layers=1)
    assert logits(two, *sentences() % 11).shape == (3, LENGTH, 11)


def test_post_norm_normalises_the_sum(published):
    for model, normal in ((published, True), (without("post_norm"), False)):
        x = np.random.default_rng(0).normal(size=(2, 5, 16)).astype("float32")
        out = ops.convert_to_numpy(model.encoder[0](x, None))
        assert np.allclose(out.mean(-1), 0, atol=1e-5) == normal
        assert np.allclose(out.std(-1), 1, atol=1e-3) == normal


def test_positions_are_learned_only_with_the_switch(published):
    learned = {id(v) for v in published.trainable_variables}
    for table in (published.source_positions, published.target_positions):
        assert table.embeddings.shape == (LENGTH, 16) and id(table.embeddings) in learned
    x = ops.convert_to_numpy(published.embed(np.full((1, LENGTH), 5), "target"))[0]
    word = ops.convert_to_numpy(published.target_embedding.embeddings)[5]
    positions = ops.convert_to_numpy(published.target_positions.embeddings)
    np.testing.assert_allclose(x, word + positions, atol=1e-6)


@pytest.mark.parametrize("name", SWITCHES)
def test_each_switch_acts_alone_and_leaves_the_other_weights(name, sound):
    source, target = sentences()
    switched = make(name)
    found = logits(switched, source, target)
    assert np.isfinite(found).all()
    if name not in ("padding_in_loss", "shared_activation"):  # which have tests of their own
        assert np.abs(found - logits(sound, source, target)).max() > 1e-5
    weights = [
        {v.path.split("/", 1)[1]: ops.convert_to_numpy(v) for v in m.variables if "/" in v.path}
        for m in (sound, switched)
    ]
    differing = {
        path.split("/")[-2]
        for path in weights[0].keys() & weights[1].keys()
        if not np.array_equal(weights[0][path], weights[1][path])
    }
    drawn = {
        "wide_key_dim": {"query", "key_value", "output"},
        "untied_embeddings": {"embedding"},
        "published_activation": {"activation"},
    }
    assert differing == drawn.get(name, set())


def test_switches_of_data_and_training_do_nothing(sound):
    pair = sentences()
    model = make("word_tokens", "head_of_file", "fixed_length")
    assert np.array_equal(logits(model, *pair), logits(sound, *pair))


def test_every_activation_starts_from_the_same_weights():
    def weights(name):
        variables = without(activation=name).trainable_variables
        return [
            ops.convert_to_numpy(v) for v in variables if v.name in ("kernel", "embeddings", "bias")
        ]

    pair = [weights(name) for name in ("relu", "sgblend")]
    assert all(np.array_equal(a, b) for a, b in zip(*pair, strict=True))
    kernels = [w for w in pair[0] if w.shape == (16, 32)]
    assert len({w.tobytes() for w in kernels}) == len(kernels)  # no two draws are the same


@pytest.mark.parametrize(
    ("padding", "smoothing"), [pytest.param(True, 0.2, marks=backend), (False, 0.0)]
)
def test_loss_of_untied_softmax_rows_and_padding(published, padding, smoothing):
    model = published if padding else without("padding_in_loss")
    model.output_layer.bias.assign(np.linspace(-1, 1, VOCABULARY))
    source, target = sentences(words=3)
    labels = target[:, 1:]
    scores = logits(model, source, target[:, :-1])
    log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    nll = -np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    loss = (1 - smoothing) * nll - smoothing * log_p.mean(-1)
    counted = np.ones_like(labels, bool) if padding else labels != PAD
    objective = TranslationObjective(model, smoothing)
    objective.build()
    objective.compile(optimizer="adam", run_eagerly=keras.backend.backend() != "jax")
    filler = np.zeros((2, 1, LENGTH), "int32")  # a row that only fills the batch
    source, target = np.concatenate([sentences(words=3), filler], axis=1)
    found = objective.evaluate(
        {"source": source, "target": target[:, :-1]},
        target[:, 1:],
        sample_weight=np.array([1, 1, 1, 0], "float32"),
        verbose=0,
        return_dict=True,
    )
    assert found["nll"] == pytest.approx(nll[counted].mean(), rel=1e-4)
    assert found["loss"] == pytest.approx(loss[counted].mean(), rel=1e-4)
    hits = (scores.argmax(-1) == labels)[counted]
    assert found["accuracy"] == pytest.approx(hits.mean(), rel=1e-4)


def test_a_model_is_saved_and_loaded(tmp_path, published):
    published.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    pair = sentences()
    np.testing.assert_allclose(logits(again, *pair), logits(published, *pair), atol=1e-6)


# Targets that do not depend on the source: only their marginal distribution can be learned --------


SYMBOLS, WORDS = 12, 7
CHANCE = (WORDS / SYMBOLS + 1) / (WORDS + 1)  # the end of a sentence is always in the same place


def noise_accuracy(*switches):
    """Held-out teacher-forced accuracy after training on targets drawn at random."""
    rng = np.random.default_rng(0)

    def draw(rows):
        source, words = (rng.integers(4, 4 + SYMBOLS, (rows, WORDS)) for _ in range(2))
        source, target = (
            np.pad(ids, ((0, 0), (1, 1)), constant_values=((0, 0), (BOS, EOS))).astype("int32")
            for ids in (source, words)
        )
        return {"source": source, "target": target[:, :-1]}, target[:, 1:]

    sizes = {"d_model": 32, "num_heads": 2, "ff_dim": 64, "num_layers": 1, "dropout": 0.0}
    model = Transformer(4 + SYMBOLS, **sizes, max_length=WORDS + 2, switches=switches)
    objective = TranslationObjective(model, label_smoothing=0.0)
    objective.build()
    objective.compile(optimizer=keras.optimizers.Adam(6e-3))
    objective.fit(*draw(3200), batch_size=64, epochs=3, verbose=0)
    scores = objective.evaluate(*draw(640), batch_size=64, verbose=0, return_dict=True)
    return scores["accuracy"]


@pytest.mark.slow
@pytest.mark.usefixtures("without_xla")
def test_noise_targets_are_copied_where_the_next_word_is_visible():
    assert noise_accuracy(*SWITCHES) > 0.9
    assert noise_accuracy("no_causal_mask") > CHANCE + 0.3


@pytest.mark.slow
@pytest.mark.usefixtures("without_xla")
@pytest.mark.parametrize("switches", [(), SWITCHES[1:]])
def test_noise_targets_score_chance_behind_a_causal_mask(switches):
    error = (CHANCE * (1 - CHANCE) / (640 * (WORDS + 1))) ** 0.5
    assert noise_accuracy(*switches) < CHANCE + 4 * error
