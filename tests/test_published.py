"""The published protocol: every flaw does what its name says, and no reading is taken on trust."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from nltk.translate.bleu_score import corpus_bleu

from sgblend_utils.activations import SGBlend
from sgblend_utils.configs import PRESETS, RunConfig
from sgblend_utils.datasets.grammar import mini_corpus
from sgblend_utils.datasets.text import BOS, EOS, PAD, UNK, Subwords
from sgblend_utils.datasets.words import END, Framed, FramedBatches, Words, frame
from sgblend_utils.errors import UserError
from sgblend_utils.models.published import FLAWS, PublishedObjective, PublishedTransformer
from sgblend_utils.models.transformer import Transformer, TranslationObjective
from sgblend_utils.training import readings
from sgblend_utils.training.published_translation import load_published

LENGTH, VOCABULARY = 9, 30
SIZES = {"d_model": 16, "num_heads": 2, "ff_dim": 24, "num_layers": 2}


def without(*names):
    return [name for name in FLAWS if name not in names]


def small(*mended, activation="sgblend", seed=0):
    """A built model with every flaw but those."""
    model = PublishedTransformer(
        VOCABULARY,
        VOCABULARY,
        LENGTH,
        **SIZES,
        activation=activation,
        flaws=without(*mended),
        seed=seed,
    )
    model.build()
    return model


def sentences(rows=3, words=5, seed=0):
    rng = np.random.default_rng(seed)
    sides = [rng.integers(4, VOCABULARY, (rows, words)).tolist() for _ in range(2)]
    return [frame(side, LENGTH)[0] for side in sides]


def states(model, source, target):
    return ops.convert_to_numpy(model({"source": source, "target": target}))


def changed_outputs(model, source, target, place):
    """Which outputs move when the target's word at `place` is another one."""
    other = target.copy()
    other[:, place] = 4 + (other[:, place] - 3) % (VOCABULARY - 4)
    difference = states(model, source, other) - states(model, source, target)
    return np.abs(difference).max(axis=(0, 2)) > 1e-6


# Words


def test_words_are_split_and_counted_as_published():
    words = Words.fit(["A dog , a  cat.", "the DOG\truns"])
    assert words.words[:2] == ("a", "dog")  # twice each; then in the order they came in
    assert set(words.words) == {"a", "dog", ",", "cat.", "the", "runs"}
    assert words.encode(["Dog a bird"]) == [[5, 4, UNK]]
    assert words.decode([[BOS, 5, UNK, 4, EOS, PAD]]) == ["dog <unk> a"]
    capped = Words.fit(["A dog , a  cat.", "the DOG\truns"], 6)
    assert len(capped) == 6 and capped.words == ("a", "dog")


def test_too_long_a_row_loses_its_front_as_in_keras():
    rows = [[4, 5], [4, 5, 6, 7, 8]]
    front, fits = frame(rows, 5, front=True)
    marked = [[BOS, *row, EOS] for row in rows]
    expected = keras.utils.pad_sequences(marked, 5, padding="post", truncating="pre")
    np.testing.assert_array_equal(front, expected)
    assert BOS not in front[1] and fits.tolist() == [True, False]
    behind, _ = frame(rows, 5)
    assert behind.tolist() == [[BOS, 4, 5, EOS, PAD], [BOS, 4, 5, 6, EOS]]


def test_batches_have_one_shape_and_hold_every_row_once():
    ids, fits = frame([[4 + i] for i in range(7)], 4)
    rows = Framed([("a", "b")] * 7, ids, ids, fits)
    batches = FramedBatches(rows, 3, seed=1)
    seen = []
    for inputs, labels, weights in (batches[i] for i in range(len(batches))):
        assert inputs["source"].shape == (3, 4) and labels.shape == (3, 3)
        np.testing.assert_array_equal(inputs["target"][:, 1], labels[:, 0])
        np.testing.assert_array_equal(weights == 0, inputs["source"][:, 0] == PAD)
        seen += inputs["source"][weights > 0, 1].tolist()
    assert sorted(seen) == [4 + i for i in range(7)]
    first = batches.order.copy()
    batches.on_epoch_end()
    assert (batches.order != first).any()
    assert (FramedBatches(rows, 3, seed=1).order == first).all()


# Switches of the model


@pytest.mark.backend
def test_without_a_causal_mask_every_output_sees_the_future():
    source, target = sentences()
    leaking = changed_outputs(small(), source, target[:, :-1], 5)
    assert leaking.all()
    sound = changed_outputs(small("no_causal_mask"), source, target[:, :-1], 5)
    assert sound.tolist() == [False] * 5 + [True] * 3


@pytest.mark.parametrize("side", ["source", "target"])
def test_padding_is_seen_only_where_the_flaw_is(side):
    """More padding moves the outputs at real words, or does not."""
    source, target = sentences(words=3)
    short = {"source": source[:, :6], "target": target[:, :6]}
    longer = short | {side: {"source": source, "target": target}[side]}
    moved = {}
    for name, model in (("flawed", small()), ("mended", small("no_padding_masks"))):
        one, other = (ops.convert_to_numpy(model(x))[:, :5] for x in (short, longer))
        moved[name] = np.abs(one - other).max()
    assert moved["flawed"] > 1e-4 and moved["mended"] < 1e-5


def test_activation_instances():
    sites = ["encoder_0", "encoder_1", "decoder_0", "decoder_1", "head"]

    def layers(*mended):
        found = small(*mended).activation_sites()
        return list(found), [layer.activation for layer, _ in found.values()]

    names, shared = layers()
    assert names == sites and len({id(layer) for layer in shared}) == 1
    assert isinstance(shared[0], SGBlend)
    assert (shared[0].parameterization, shared[0].gelu) == ("published", "sigmoid")
    names, fresh = layers("shared_activation")
    assert names == sites and len({id(layer) for layer in fresh}) == 5
    names, plain = layers("published_activation")
    assert (plain[0].parameterization, plain[0].gelu) == ("free", "erf")
    names, headless = layers("extra_head", "shared_activation")
    assert names == sites[:4] and len({id(layer) for layer in headless}) == 4


def test_the_published_start_of_beta_is_that_of_the_seed():
    def betas(*mended, seed):
        sites = small(*mended, seed=seed).activation_sites().values()
        return [float(layer.effective_parameters()["beta"][()]) for layer, _ in sites]

    assert len(set(betas(seed=0))) == 1 and betas(seed=0) == betas(seed=0)
    assert betas(seed=0) != betas(seed=1)
    assert len(set(betas("shared_activation", seed=0))) == 5
    assert set(betas("published_activation", seed=0)) == {1.0}


def test_shape_of_the_model():
    def kernels(model):
        return {v.path.split("/", 1)[1]: tuple(v.shape) for v in model.trainable_variables}

    flawed, mended = (small(), small("wide_key_dim", "extra_head", "post_norm"))
    shapes = [
        [s for path, s in kernels(m).items() if "query/kernel" in path] for m in (flawed, mended)
    ]
    assert set(shapes[0]) == {(16, 2, 16)} and set(shapes[1]) == {(16, 2, 8)}
    assert flawed.head.units == 24 and mended.head is None
    assert flawed.output_layer.kernel.shape[0] == 24
    assert mended.output_layer.kernel.shape[0] == 16
    assert flawed.final_norms == [] and len(mended.final_norms) == 2


def test_post_norm_normalises_the_sum():
    flawed, mended = small(), small("post_norm")
    for model, normal in ((flawed, True), (mended, False)):
        block = model.encoder[0]
        x = np.random.default_rng(0).normal(size=(2, 5, 16)).astype("float32")
        out = ops.convert_to_numpy(block(x, None))
        assert np.allclose(out.mean(-1), 0, atol=1e-5) == normal
        assert np.allclose(out.std(-1), 1, atol=1e-3) == normal


@pytest.mark.backend
def test_every_activation_starts_from_the_same_weights():
    def weights(name):
        variables = small(activation=name).trainable_variables
        return [
            ops.convert_to_numpy(v) for v in variables if v.name in ("kernel", "embeddings", "bias")
        ]

    pair = [weights(name) for name in ("relu", "sgblend")]
    assert all(np.array_equal(a, b) for a, b in zip(*pair, strict=True))
    kernels = [w for w in pair[0] if w.shape == (16, 2, 16)]
    assert len({w.tobytes() for w in kernels}) == len(kernels)  # no two draws are the same


@pytest.mark.backend
@pytest.mark.parametrize("mended", [(), ("padding_in_loss",)])
def test_padding_counts_in_the_loss_only_where_the_flaw_is(mended):
    source, target = sentences(words=3)
    model = PublishedObjective(small(*mended))
    model.build()
    inputs, labels = {"source": source, "target": target[:, :-1]}, target[:, 1:]
    logits = ops.convert_to_numpy(model.transformer(inputs))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    nll = -np.take_along_axis(log_p, labels[..., None], -1)[..., 0]
    counted = nll if not mended else nll[labels != PAD]
    hits = logits.argmax(-1) == labels
    hits = hits if not mended else hits[labels != PAD]
    model.compile(optimizer="adam")
    filler = np.zeros((1, LENGTH), "int32")  # a row that only fills the batch
    grown = {"source": np.vstack([source, filler]), "target": np.vstack([target, filler])[:, :-1]}
    scores = model.evaluate(
        grown,
        np.vstack([labels, filler[:, 1:]]),
        sample_weight=np.array([1, 1, 1, 0], "float32"),
        verbose=0,
        return_dict=True,
    )
    assert scores["nll"] == pytest.approx(counted.mean(), rel=1e-4)
    assert scores["accuracy"] == pytest.approx(hits.mean(), rel=1e-4)


@pytest.mark.parametrize("name", FLAWS)
def test_each_flaw_alone_can_be_mended(name):
    source, target = sentences()
    assert np.isfinite(states(small(name), source, target[:, :-1])).all()
    config = RunConfig("wmt14", "sgblend", "published", overrides={"flaws": without(name)})
    assert load_published(config).splits["train"].source.shape[1] == config.settings["length"]


def test_a_model_is_saved_and_loaded(tmp_path):
    model = small()
    source, target = sentences()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        states(again, source, target[:, :-1]), states(model, source, target[:, :-1]), atol=1e-6
    )


def test_a_published_model_is_not_asked_to_translate(tmp_path, monkeypatch):
    from sgblend_utils.runs import load_model

    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path))
    (tmp_path / "models" / "abcd").mkdir(parents=True)
    small().save(tmp_path / "models" / "abcd" / "model.keras")
    with pytest.raises(UserError, match="sound protocol"):
        load_model("abcd")


# Switches of the data


def published_data(*mended, **overrides):
    overrides = {"flaws": without(*mended), **overrides}
    return load_published(RunConfig("wmt14", "sgblend", "published", overrides=overrides))


def test_direction():
    assert published_data().splits["test"].pairs == [(de, en) for en, de in mini_corpus()["test"]]
    assert published_data("reversed_direction").splits["test"].pairs == mini_corpus()["test"]


def test_the_tail_validates_and_the_file_is_not_shuffled():
    whole = [(de, en) for en, de in mini_corpus()["train"]]
    splits = published_data(max_samples=200).splits
    assert splits["train"].pairs == whole[:180] and splits["validation"].pairs == whole[180:200]
    splits = published_data("tail_validation", max_samples=200).splits
    assert splits["train"].pairs == whole[:200]
    assert splits["validation"].pairs == [(de, en) for en, de in mini_corpus()["validation"]]
    shuffled = published_data("head_of_file", max_samples=200).splits["train"].pairs
    assert shuffled != whole[:180] and set(shuffled) <= set(whole)


def test_the_vocabulary_counts_the_validation_tail_unless_mended():
    data = published_data(max_samples=40, vocabulary_cap=None)
    tail = data.splits["validation"]
    assert UNK not in tail.source and UNK not in tail.target
    assert isinstance(published_data("word_tokens").vocabularies[0], Subwords)
    with pytest.raises(UserError, match="vocabulary_cap"):
        published_data("word_tokens", vocabulary_cap=None)


def test_front_truncation_loses_the_start_and_mended_leaves_long_pairs_out():
    flawed = published_data(length=10, max_samples=200).splits["train"]
    long = ~flawed.fits
    assert long.any() and len(flawed) == 180
    assert (flawed.target[:, 0] == BOS).sum() < 180
    mended = published_data("front_truncation", length=10, max_samples=200).splits
    assert len(mended["train"]) == 180 - long.sum() and (mended["train"].target[:, 0] == BOS).all()
    assert len(mended["test"]) == 200  # every test sentence is translated


def test_settings_of_the_protocol_are_checked():
    for name, value in (("flaws", ["no_mask"]), ("flaws", ["post_norm", "word_tokens"])):
        with pytest.raises(UserError, match="in this order"):
            RunConfig("wmt14", "gelu", "published", overrides={name: value})
    paper = PRESETS["wmt14", "published", "paper"]
    assert paper["flaws"] == list(FLAWS)
    facts = {"max_samples": 50_000, "epochs": 10, "batch_size": 64, "d_model": 64, "ff_dim": 128}
    facts |= {"num_heads": 2, "num_layers": 2, "learning_rate": 1e-4, "length": 50, "patience": 2}
    assert facts.items() <= paper.items()


# Readings


def test_token_readings_by_hand():
    target = np.array([[BOS, 5, 6, EOS, PAD, PAD], [BOS, 5, 6, 7, 8, EOS]])
    rows = Framed([("", ""), ("", "")], target, target, np.array([True, True]))
    predicted = np.array([[5, 9, EOS, PAD, 9], [9, 6, 7, 8, 9]])
    nll = np.arange(10.0).reshape(2, 5)
    found = readings.token_readings(predicted, nll, rows)
    assert found["padding_share"] == 0.2
    assert found["accuracy_all"] == 0.6 and found["accuracy_real"] == 0.625
    assert found["nll_all"] == 4.5 and found["nll_real"] == (45 - 3 - 4) / 8
    # Copying the visible next word fails once: at the last position of the full row.
    assert found["copy_accuracy_all"] == 0.9 and found["copy_accuracy_real"] == 0.875
    assert found["unknown_share"] == 0


def test_saying_unknown_is_never_right():
    target = np.array([[BOS, 5, UNK, EOS, PAD]])
    rows = Framed([("", "")], target, target, np.array([True]))
    found = readings.token_readings(target[:, 1:], np.zeros((1, 4)), rows)
    assert found["unknown_share"] == pytest.approx(1 / 3, abs=1e-5)
    assert found["accuracy_all"] == 0.75 and found["accuracy_real"] == pytest.approx(
        2 / 3, abs=1e-5
    )
    assert found["copy_accuracy_all"] == 0.75


def test_published_bleu_by_hand():
    words = Words(("a", "big", "dog", "runs", "here"))
    rows = np.array([[4, 5, 6, 7, EOS, PAD], [4, 6, EOS, 7, 8, PAD]])
    said = readings.spoken(words, rows)
    assert said == [["a", "big", "dog", "runs", END], ["a", "dog", END, "runs", "here"]]
    texts = ["A big dog runs", "a dog runs here"]
    gold = [[[*text.lower().split(), END]] for text in texts]
    assert readings.published_bleu(said, texts) == pytest.approx(corpus_bleu(gold, said), abs=1e-5)
    assert readings.published_bleu(said[:1], texts[:1]) == 1.0


def test_spoken_subwords_are_words_again():
    text = ["A dog runs.", "The dog sees a cat."] * 5
    subwords = Subwords.train(text, 40)
    ids = [[*row, EOS] for row in subwords.encode(text[:1])]
    assert readings.spoken(subwords, np.array(ids)) == [["a", "dog", "runs.", END]]


@pytest.mark.backend
@pytest.mark.parametrize("mended", [(), ("no_causal_mask", "no_padding_masks")])
def test_free_translation_is_that_of_the_prefix_alone(mended):
    """Against one call of the model for each prefix, cut and not masked."""
    model = small(*mended)
    source, _ = sentences(rows=4)
    found = readings.translate_free(model, source)
    for row in range(2):
        prefix = [BOS]
        for _ in range(LENGTH - 1):
            pair = {"source": source[row : row + 1], "target": np.array([prefix])}
            prefix.append(int(ops.convert_to_numpy(model(pair))[0, -1].argmax()))
            if prefix[-1] in (EOS, PAD):
                break
        expected = prefix[1:] + [PAD] * (LENGTH - len(prefix))
        assert found[row].tolist() == expected


def test_the_published_probe_reads_the_feed_forward_output():
    model = small()
    source, target = sentences()
    rows = Framed([("", "")] * 3, source, target, np.ones(3, bool))
    assert readings.published_dead_share(model, rows) < 1
    contract = model.decoder[-1].contract
    bias = ops.convert_to_numpy(contract.bias).copy()
    bias[:4] = -1e3  # four of sixteen features are never positive
    contract.bias.assign(bias)
    assert 0.25 <= readings.published_dead_share(model, rows) < 0.5


# Targets that do not depend on the source


SYMBOLS, WORDS = 12, 7
CHANCE = (WORDS / SYMBOLS + 1) / (WORDS + 1)  # the end of a sentence is always in the same place


def noise_accuracy(model):
    """Held-out teacher-forced accuracy of `model` after training on targets drawn at random.

    `model` is an objective for `fit` with outputs for (source, target) of SYMBOLS + 4 words.
    """
    rng = np.random.default_rng(0)

    def draw(rows):
        source, words = (rng.integers(4, 4 + SYMBOLS, (rows, WORDS)) for _ in range(2))
        marked = np.pad(words, ((0, 0), (1, 1)), constant_values=((0, 0), (BOS, EOS)))
        marked = marked.astype("int32")
        source = np.pad(source, ((0, 0), (1, 1)), constant_values=((0, 0), (BOS, EOS)))
        return {"source": source.astype("int32"), "target": marked[:, :-1]}, marked[:, 1:]

    model.build()
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    model.fit(*draw(6400), batch_size=64, epochs=3, verbose=0)
    return model.evaluate(*draw(640), batch_size=64, verbose=0, return_dict=True)["accuracy"]


def published_objective(*mended):
    sizes = {"d_model": 32, "num_heads": 2, "ff_dim": 64, "num_layers": 2, "dropout": 0.0}
    names = (4 + SYMBOLS, 4 + SYMBOLS, WORDS + 2)
    return PublishedObjective(PublishedTransformer(*names, **sizes, flaws=without(*mended)))


def sound_objective():
    sizes = {"d_model": 32, "num_heads": 2, "ff_dim": 64, "num_layers": 2, "dropout": 0.0}
    return TranslationObjective(Transformer(4 + SYMBOLS, **sizes), label_smoothing=0.0)


@pytest.mark.slow
def test_noise_targets_are_copied_where_the_next_word_is_visible():
    assert noise_accuracy(published_objective()) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective", [lambda: published_objective("no_causal_mask"), sound_objective]
)
def test_noise_targets_score_chance_behind_a_causal_mask(objective):
    error = (CHANCE * (1 - CHANCE) / (640 * (WORDS + 1))) ** 0.5
    assert noise_accuracy(objective()) < CHANCE + 4 * error


# The whole path


@pytest.mark.slow
def test_a_mini_run_reports_the_leak_and_records_what_it_is_worth(tmp_path, monkeypatch):
    from sgblend_utils.runs import read_record, run

    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path))
    overrides = {"epochs": 5, "decoded_sentences": 40}
    path = run(RunConfig("wmt14", "sgblend", "published", overrides=overrides))
    record = read_record(path)
    metrics = record["metrics"]
    assert metrics["reported_accuracy"] > 0.8 and metrics["reported_bleu"] > 0.3
    validation = metrics["readings"]["validation"]
    assert validation["free_bleu"] < 0.05 and metrics["bleu"] < 5
    assert validation["copy_accuracy_all"] > 0.99
    assert metrics["reported_bleu"] == validation["forced_bleu"]
    names = ["bleu_interval", "bleu_signature", "test_nll", "test_nll_per_character"]
    names += ["test_accuracy", "reported_dead_share", "dead_share", "near_dead_share", "chrf"]
    assert set(names) <= set(metrics)
    assert len(record["activation_parameters"]) == len(record["history"]) + 1
    assert json.dumps(record, allow_nan=False)
