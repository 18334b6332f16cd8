"""Data, training and evaluation of each task; what every protocol switch does to the data."""

import json
import math

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from keras import ops
from nltk.translate.bleu_score import corpus_bleu

from sgblend_utils.config import RunConfig, switch_meanings
from sgblend_utils.data import images, reviews
from sgblend_utils.data.images import Images
from sgblend_utils.data.reviews import CLS, Encoded, Reviews
from sgblend_utils.data.text import BOS, EOS, PAD, UNK, Subwords, Words, mini_pairs
from sgblend_utils.errors import UserError
from sgblend_utils.metrics import classification_scores, published_bleu
from sgblend_utils.models.resnet import ResNet
from sgblend_utils.tasks import evaluation, registry, translation
from sgblend_utils.tasks.callbacks import make_optimizer
from sgblend_utils.tasks.sentiment import SentimentSettings
from sgblend_utils.tasks.train import train
from sgblend_utils.tasks.translation import TranslationSettings
from sgblend_utils.tasks.vision import probabilities

BACKEND = {"backend": keras.backend.backend()}


def run(task, protocol="sound", activation="sgblend", **overrides):
    return RunConfig(task, activation, protocol, overrides=overrides, **BACKEND)


def load(task, protocol="sound", off=(), **overrides):
    """The data of a run with some protocol switches turned off."""
    config = run(task, protocol, **dict.fromkeys(off, False), **overrides)
    return config.task_object.load(config)


# Translation --------------------------------------------------------------------------------------


def test_the_subset_is_shuffled_before_it_is_cut():
    whole = load("multi30k").splits["train"].pairs
    assert load("multi30k", max_samples=50).splits["train"].pairs == whole[:50]
    assert whole != mini_pairs()["train"] and sorted(whole) == sorted(mini_pairs()["train"])
    with pytest.raises(UserError, match="at most 3000"):
        load("multi30k", max_samples=3001)


def test_direction():
    pairs = mini_pairs()["test"]
    assert load("wmt14", "published").splits["test"].pairs == [(de, en) for en, de in pairs]
    assert load("wmt14", "published", ["reversed_direction"]).splits["test"].pairs == pairs


def test_the_tail_validates_and_the_file_is_not_shuffled():
    whole = [(de, en) for en, de in mini_pairs()["train"]]
    splits = load("wmt14", "published", max_samples=200).splits
    assert splits["train"].pairs == whole[:180] and splits["validation"].pairs == whole[180:200]
    splits = load("wmt14", "published", ["tail_validation"], max_samples=200).splits
    assert splits["train"].pairs == whole[:200]
    assert splits["validation"].pairs == [(de, en) for en, de in mini_pairs()["validation"]]
    shuffled = load("wmt14", "published", ["head_of_file"], max_samples=200).splits["train"].pairs
    assert shuffled != whole[:180] and set(shuffled) <= set(whole)


def test_words_of_the_validation_tail_are_counted_and_subwords_learned_from_training_alone():
    data = load("wmt14", "published", max_samples=40, vocabulary=None)
    tail = data.splits["validation"]
    assert not any(UNK in row for row in [*tail.source, *tail.target])
    assert len(set(map(len, data.vocabulary))) == 2  # a vocabulary a side
    assert isinstance(load("wmt14", "published", ["word_tokens"]).vocabulary[0], Subwords)
    tied = load("wmt14", "published", ["untied_embeddings"]).vocabulary
    assert isinstance(tied[0], Words) and tied[0] is tied[1]
    for task in ("wmt14", "imdb_bert"):
        with pytest.raises(UserError, match="set vocabulary"):
            load(task, "published", ["word_tokens"], vocabulary=None)


def test_front_truncation_loses_the_start_and_without_it_long_pairs_are_left_out():
    short = {"bucket_boundaries": [10], "max_samples": 200}
    data = load("wmt14", "published", **short)
    cut = data.splits["train"]
    assert cut.fits.all() and data.described["train_pairs_too_long"] == 0
    assert sum(row[0] == BOS for row in cut.target) < 180
    assert {row[-1] for row in cut.target} == {EOS}
    data = load("wmt14", "published", ["front_truncation"], **short)
    rows = data.splits["train"]
    long = [
        len(whole.split()) > 8
        for whole in (max(p, key=lambda t: len(t.split())) for p in cut.pairs)
    ]
    assert data.described["train_pairs_too_long"] == (~rows.fits).sum() == sum(long) > 0
    assert len(rows.fitting().pairs) == 180 - sum(long)
    assert all(row[0] == BOS for row in rows.target)
    assert len(data.splits["test"].pairs) == 200  # every test sentence is translated


def test_rows_are_padded_to_one_length_or_to_buckets():
    data = load("wmt14", "published", max_samples=200)
    inputs, labels, weights = data.train[0]
    assert inputs["source"].shape == (64, 20) and inputs["target"].shape == (64, 19)
    assert labels.shape == (64, 19) and weights.shape == (64,)
    assert (inputs["source"][:, 0] == BOS).sum() >= 60  # long ones lose it
    batches = load("multi30k").train
    widths = {batches[i][0]["source"].shape[1] for i in range(len(batches))}
    assert widths == {16, 24}


@pytest.mark.parametrize("name", switch_meanings(TranslationSettings))
def test_each_translation_switch_alone_can_be_turned_off(name):
    config = run("wmt14", "published", max_samples=100, d_model=8, ff_dim=8, **{name: False})
    data = config.task_object.load(config)
    model = config.task_object.build(config, data)
    inputs = data.train[0][0]
    assert np.isfinite(ops.convert_to_numpy(model(inputs))).all()
    assert name not in config.settings.switches


def test_a_memory_mapped_run_never_loads_the_training_pairs(tmp_path, monkeypatch):
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path))
    for split, rows in mini_pairs().items():
        english, german = zip(*rows[:200], strict=True)
        (tmp_path / "wmt14").mkdir(exist_ok=True)
        table = pa.table({"en": list(english), "de": list(german)})
        pq.write_table(table, tmp_path / "wmt14" / f"{split}.parquet")
    loaded, original = [], translation.load_pairs
    monkeypatch.setattr(
        translation,
        "load_pairs",
        lambda source, split: loaded.append(split) or original(source, split),
    )
    sizes = {"vocabulary": 300, "subword_pairs": 150, "max_samples": 150}
    config = RunConfig("wmt14", preset="full", overrides=sizes, **BACKEND)
    data = config.task_object.load(config)
    assert loaded == ["validation", "test"]
    assert data.described["train_pairs"] == 150 and data.described["test_pairs"] == 200
    # The pairs and their order are those of a run in memory.
    in_memory = RunConfig(
        "wmt14", preset="full", overrides={**sizes, "memory_mapped": False}, **BACKEND
    )
    taken = in_memory.task_object.pairs(in_memory)["train"]
    ids = data.vocabulary[0].encode([english for english, _ in taken])
    assert data.train.source.take(np.arange(150)) == [[*row, EOS] for row in ids]


def test_token_scores_by_hand():
    target = np.array([[BOS, 5, 6, EOS, PAD, PAD], [BOS, 5, 6, 7, 8, EOS]])
    predicted = np.array([[5, 9, EOS, PAD, 9], [9, 6, 7, 8, 9]])
    nll = np.arange(10.0).reshape(2, 5)
    found = evaluation.token_scores(predicted, nll, target)
    assert found["padding_share"] == 0.2
    assert found["accuracy_all"] == 0.6 and found["accuracy_real"] == 0.625
    assert found["nll_all"] == 4.5 and found["nll_real"] == (45 - 3 - 4) / 8
    # Copying the visible next word fails once: at the last position of the full row.
    assert found["copy_accuracy_all"] == 0.9 and found["copy_accuracy_real"] == 0.875
    assert found["unknown_share"] == 0


def test_saying_unknown_is_never_right():
    target = np.array([[BOS, 5, UNK, EOS, PAD]])
    found = evaluation.token_scores(target[:, 1:], np.zeros((1, 4)), target)
    assert found["unknown_share"] == pytest.approx(1 / 3, abs=1e-5)
    assert found["accuracy_all"] == 0.75 == found["copy_accuracy_all"]
    assert found["accuracy_real"] == pytest.approx(2 / 3, abs=1e-5)


def test_published_bleu_by_hand():
    words, end = Words(("a", "big", "dog", "runs", "here")), evaluation.END
    rows = np.array([[4, 5, 6, 7, EOS, PAD], [4, 6, EOS, 7, 8, PAD]])
    said = evaluation.lower_words(words, rows)
    assert said == [["a", "big", "dog", "runs", end], ["a", "dog", end, "runs", "here"]]
    gold = [["a", "big", "dog", "runs", end], ["a", "dog", "runs", "here", end]]
    expected = corpus_bleu([[one] for one in gold], said)
    assert published_bleu(said, gold) == pytest.approx(expected, abs=1e-5)
    assert published_bleu(said[:1], gold[:1]) == 1.0


def test_subwords_are_words_again():
    text = ["A dog runs.", "The dog sees a cat."] * 5
    subwords = Subwords.train(text, 40)
    ids = [[*row, EOS] for row in subwords.encode(text[:1])]
    assert evaluation.lower_words(subwords, ids) == [["a", "dog", "runs.", evaluation.END]]


@pytest.mark.slow
@pytest.mark.usefixtures("without_xla")
def test_a_published_run_reports_the_leak_and_records_what_it_is_worth():
    small = {"num_layers": 1, "max_samples": 2000, "epochs": 6, "learning_rate": 6e-3}
    small |= {"tokens_per_batch": 640, "dropout": 0.0, "decoded_sentences": 40}
    record = train(run("wmt14", "published", **small)).record
    metrics = record["metrics"]
    assert metrics["reported_accuracy"] > 0.8 and metrics["reported_bleu"] > 0.3
    validation = metrics["evaluations"]["validation"]
    assert validation["free_bleu"] < 0.05 and metrics["bleu"] < 5
    assert validation["copy_accuracy_all"] > 0.99
    assert metrics["reported_bleu"] == validation["forced_bleu"]
    names = ["bleu_interval", "bleu_signature", "test_nll", "test_nll_per_character"]
    names += ["test_accuracy", "reported_dead_share", "dead_share", "near_dead_share", "chrf"]
    assert set(names) <= set(metrics)
    assert len(record["activation_parameters"]) == len(record["history"]) + 1
    assert json.dumps(record, allow_nan=False)


# Sentiment ----------------------------------------------------------------------------------------


@pytest.fixture
def tiny_reviews(monkeypatch):
    """Sixty reviews a split of the mini task in the place of the release, a repeat among them."""
    mini = reviews.mini_reviews()
    test = mini["test"].where(range(60))
    texts = [*mini["train"].texts[:58], test.texts[0], mini["train"].texts[0]]
    labels = np.concatenate([mini["train"].labels[:58], test.labels[:1], mini["train"].labels[:1]])
    found = {"train": Reviews(texts, labels), "test": test}
    monkeypatch.setattr(reviews, "read_reviews", lambda source, split: found[split])
    return found


def real(task, protocol="sound", off=(), **overrides):
    """Data of the `cpu` preset, which reads the release."""
    values = {**dict.fromkeys(off, False), **overrides}
    config = RunConfig(task, "relu", protocol, "cpu", overrides=values, **BACKEND)
    return config.task_object.load(config), config


def test_no_review_is_in_two_splits_unless_published(tiny_reviews):
    small = {"vocabulary": 90, "buckets": 1, "length": 32}
    data, _ = real("imdb", **small)
    assert data.described["train_repeated_in_test"] == data.described["train_repeated"] == 1
    assert data.described["train_reviews"] + data.described["validation_reviews"] == 58
    data, _ = real("imdb_bert", "published", vocabulary=None)
    assert data.described["train_reviews"] + data.described["validation_reviews"] == 60
    assert "train_repeated" not in data.described


def test_where_training_watches_the_test_set_nothing_is_held_out(tiny_reviews):
    """Held-out reviews that train must not be scored as if they had been held out."""
    data, config = real("imdb", "published")
    assert config.settings.watched_split == "test" and "validation" not in data.splits
    assert data.described["train_reviews"] == 60
    assert len(data.validation.reviews) == 60 and data.validation.reviews is data.splits["test"]
    data, config = real("imdb", "published", ["early_stopping_on_reported_split"])
    assert len(data.splits["validation"]) == 6 and data.described["train_reviews"] == 54


def test_published_words_are_counted_on_held_out_text(tiny_reviews):
    tiny_reviews["test"].texts[3] += " zzyzx"
    both, _ = real("imdb", "published", vocabulary=None)
    assert "zzyzx" in both.vocabulary.words
    own, _ = real("imdb", "published", ["tokenizer_fitted_on_test"], vocabulary=None)
    assert "zzyzx" not in own.vocabulary.words


def test_published_bert_loses_its_first_token_where_a_review_is_long(tiny_reviews):
    data, _ = real("imdb_bert", "published", length=8)
    cls = data.vocabulary.index["cls"]
    long = data.splits["test"]
    assert long.cut > 30
    assert sum(cls in row for row in long.rows) == 60 - long.cut
    head, _ = real("imdb_bert", "published", ["front_truncation"], length=8)
    assert all(row[0] == cls for row in head.splits["test"].rows)
    own, _ = real("imdb_bert", "published", ["front_truncation", "cls_is_a_word"], length=8)
    assert all(row[0] == CLS for row in own.splits["test"].rows)


def test_lower_case_reviews_are_what_they_would_be_if_written_so(tiny_reviews):
    small = {"vocabulary": 90, "buckets": 1, "length": 32}
    cased, _ = real("imdb", **small, lower_case=False)
    lowered, _ = real("imdb", **small, lower_case=True)
    assert cased.splits["test"].rows != lowered.splits["test"].rows
    for rows in tiny_reviews.values():
        rows.texts[:] = map(str.lower, rows.texts)
    written_so, _ = real("imdb", **small, lower_case=False)
    assert written_so.splits["test"].rows == lowered.splits["test"].rows


@pytest.mark.parametrize("name", switch_meanings(SentimentSettings))
def test_each_sentiment_switch_alone_can_be_turned_off(name):
    task = "imdb_bert" if name in ("cls_is_a_word", "validation_reported") else "imdb"
    overrides = {"max_samples": 100, "d_model": 8, "ff_dim": 8, "vocabulary": 200, name: False}
    config = run(task, "published", **overrides)
    data = config.task_object.load(config)
    logits = config.task_object.build(config, data)(data.train[0][0])
    assert np.isfinite(ops.convert_to_numpy(logits)).all()


@pytest.mark.backend
@pytest.mark.slow
def test_loss_and_scores_are_means_over_reviews_and_not_over_spare_rows():
    config = run("imdb", label_smoothing=0.2, d_model=8, ff_dim=8, num_layers=1)
    task, data = config.task_object, config.task_object.load(config)
    model = task.build(config, data)
    task.compile(config, model, 10)
    rows = np.random.default_rng(0).integers(4, 90, (5, 12))
    encoded = Encoded([list(row) for row in rows], np.array([0, 1, 1, 0, 1]))
    batches = task.batches(config.settings.override({"tokens_per_batch": 256}), encoded)
    ids, y, weights = batches[0]
    assert len(ids) == 8
    scores = model.evaluate(ids, y, sample_weight=weights, verbose=0, return_dict=True)
    p = 1 / (1 + np.exp(-ops.convert_to_numpy(model(ids[:5], training=False))[:, 0]))
    assert math.isclose(scores["accuracy"], np.mean((p > 0.5) == encoded.labels), rel_tol=1e-5)
    for name, target in (("nll", encoded.labels), ("loss", 0.8 * encoded.labels + 0.1)):
        wanted = -np.mean(target * np.log(p) + (1 - target) * np.log(1 - p))
        assert math.isclose(scores[name], wanted, rel_tol=1e-4)


FIELDS = {"test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_nll", "ece", "f1"}
FIELDS |= {"roc_auc", "dead_share", "near_dead_share", "dead_by_site", "best_epoch"}


@pytest.mark.backend
@pytest.mark.slow
@pytest.mark.usefixtures("without_xla")
def test_the_mini_reviews_are_learned_and_the_record_says_how():
    eager = keras.backend.backend() == "torch"  # ten epochs would take minutes
    config = run("imdb", **({"epochs": 2} if eager else {}))
    trained = train(config)
    record, metrics = trained.record, trained.record["metrics"]
    assert eager or (metrics["test_accuracy"] >= 0.95 and metrics["roc_auc"] > 0.98)
    assert metrics["test_accuracy_low"] <= metrics["test_accuracy"]
    assert record["history"][-1]["loss"] < record["history"][0]["loss"]
    assert metrics.keys() >= FIELDS
    assert {"loss", "val_nll", "val_accuracy", "seconds"} <= record["history"][0].keys()
    assert len(record["activation_parameters"]) == config.settings.epochs + 1
    assert set(record["activation_parameters"][0]) == {"block_0", "block_1", "head"}
    last = record["activation_parameters"][-1]
    assert len({site["alpha"] for site in last.values()}) == 3
    losses = [row["val_nll"] for row in record["history"]]
    assert metrics["best_epoch"] == 1 + int(np.argmin(losses))
    assert record["data"]["train_reviews"] == 3000
    assert trained.files["subwords.model"]


@pytest.mark.slow
@pytest.mark.usefixtures("without_xla")
def test_labels_that_mean_nothing_score_chance(monkeypatch):
    rng = np.random.default_rng(0)
    noisy = {
        name: Reviews(rows.texts, rng.integers(0, 2, len(rows)).astype("int32"))
        for name, rows in reviews.mini_reviews().items()
    }
    monkeypatch.setattr(reviews, "mini_reviews", lambda: noisy)
    metrics = train(run("imdb", epochs=3, num_layers=1)).record["metrics"]
    assert abs(metrics["test_accuracy"] - 0.5) < 4 * 0.5 / math.sqrt(len(noisy["test"]))


@pytest.mark.slow
@pytest.mark.usefixtures("without_xla")
@pytest.mark.parametrize("task", ["imdb", "imdb_bert"])
def test_a_published_run_reports_its_number_beside_the_sound_ones(task):
    metrics = train(run(task, "published", epochs=2, num_layers=1)).record["metrics"]
    assert metrics.keys() >= FIELDS and "validation" not in metrics
    assert metrics["reported_split"] == ("test" if task == "imdb" else "validation")
    if task == "imdb":
        assert metrics["reported_accuracy"] == metrics["test_accuracy"]
    assert 0 <= metrics["reported_dead_share"] <= 1


# Images -------------------------------------------------------------------------------------------


def optimizer(steps, model, **overrides):
    return make_optimizer(run("cifar10", **overrides).settings, steps, model)


def test_decay_works_as_coupled_decay_does():
    """Without a gradient of the loss, 800 steps of the usual rule and of ours shrink it alike."""
    rate, decay, momentum, steps = 0.02, 0.01, 0.9, 800
    weight, velocity = 1.0, 0.0
    for _ in range(steps):
        gradient = decay * weight
        velocity = momentum * velocity + gradient
        weight -= rate * (gradient + momentum * velocity)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    sgd = optimizer(
        10, model, learning_rate=rate, weight_decay=decay, momentum=momentum, schedule="constant"
    )
    kernel, bias = model.trainable_variables
    kernel.assign([[1.0]])
    bias.assign([1.0])
    for _ in range(steps):
        sgd.apply([ops.zeros((1, 1)), ops.zeros((1,))], [kernel, bias])
    assert 0.01 < weight < 0.6
    assert float(ops.convert_to_numpy(kernel).item()) == pytest.approx(weight, rel=0.05)
    assert float(ops.convert_to_numpy(bias).item()) == 1.0


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_one_cycle_and_decay_of_kernels_alone(name):
    model = ResNet("digits", (8, 8, 1), activation="sgblend", width=4)
    found = optimizer(100, model, optimizer=name, learning_rate=0.5, warmup=0.25)
    rates = [float(found._learning_rate(step)) for step in range(101)]
    assert rates[0] == 0 and rates[100] == pytest.approx(0, abs=1e-7)
    assert max(rates) == pytest.approx(0.5) == rates[25]
    found.build(model.trainable_variables)
    decayed = {v.path for v in model.trainable_variables if found._use_weight_decay(v)}
    kernels = {v.path for v in model.trainable_variables if v.name == "kernel"}
    assert decayed == kernels and len(kernels) == 6


@pytest.fixture
def tiny_images(monkeypatch):
    """Random images of 4 x 4 pixels, 320 of them for training; labels as asked for."""
    bright = np.random.default_rng(0).integers(0, 256, (600, 4, 4, 1)).astype("uint8")

    def install(labels):
        rows = Images(bright, labels)
        splits = {"train": rows[:320], "validation": rows[320:400], "test": rows[400:]}
        monkeypatch.setattr(images, "load_digits", lambda: dict(splits))
        return splits

    return install


SMALL = {"width": 8, "batch_size": 32, "pad": 0, "weight_decay": 0.0, "learning_rate": 0.05}


@pytest.mark.slow
def test_thirty_two_images_are_learned_by_heart_and_random_labels_teach_nothing(tiny_images):
    """On the training images everything is right; on others, with labels at random, chance."""
    splits = tiny_images(np.random.default_rng(1).integers(0, 10, 600))
    trained = train(run("cifar10", **{**SMALL, "max_samples": 32, "epochs": 60}))
    chosen = images.subset(splits["train"], 32)
    assert (probabilities(trained.model, chosen.pixels).argmax(1) == chosen.labels).all()
    chance = 0.1 + 4 * (0.1 * 0.9 / 200) ** 0.5
    assert trained.record["metrics"]["test_accuracy"] < chance
    assert trained.record["metrics"]["ece"] > 0.2  # it is sure of itself and wrong
    assert "gradients" not in trained.record  # less than two batches to measure on


@pytest.fixture
def short_run(tiny_images):
    """Three epochs on labels that say which half is brighter; the configuration too."""
    splits = tiny_images(np.zeros(600, int))
    whole = np.concatenate([splits[name].pixels for name in ("train", "validation", "test")])
    tops, bottoms = (whole[:, half].sum((1, 2, 3), dtype=int) for half in (np.s_[:2], np.s_[2:]))
    return tiny_images((tops > bottoms).astype("int64")), run("cifar10", **SMALL, epochs=3)


@pytest.mark.backend
@pytest.mark.slow
def test_the_record_of_an_image_run_and_its_model_agree(short_run, tmp_path):
    splits, config = short_run
    trained = train(config)
    record, metrics = trained.record, trained.record["metrics"]
    json.dumps(record, allow_nan=False)
    assert metrics["test_accuracy"] > 0.75
    trained.model.save(tmp_path / "model.keras")
    model = keras.saving.load_model(tmp_path / "model.keras")
    test = splits["test"]
    again = classification_scores(test.labels, probabilities(model, test.pixels))
    assert {name: metrics[name] for name in again} == again
    for kind, strengths in images.CORRUPTIONS.items():
        values = list(metrics["robustness"][kind].values())
        assert list(metrics["robustness"][kind]) == [str(s) for s in strengths]
        corrupted = images.corrupt(test.pixels, kind, strengths[2])
        hits = probabilities(model, corrupted).argmax(1) == test.labels
        assert values[2] == pytest.approx(hits.mean(), abs=1e-5)
        assert metrics[f"{kind}_accuracy"] == pytest.approx(np.mean(values), abs=1e-5)
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    assert {"val_nll", "val_accuracy", "seconds", "cpu_seconds"} <= record["history"][0].keys()
    assert [row["epoch"] for row in record["gradients"]] == [1, 2, 3]
    start, end = record["activation_parameters"][0], record["activation_parameters"][-1]
    assert start.keys() == end.keys() == model.activation_sites().keys()
    assert start["stem"] == {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}
    assert len({site["beta"] for site in end.values()}) == 5
    assert record["parameters"] == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert record["data"]["train_images"] == 320
    assert {"dead_share", "near_dead_share"} <= metrics.keys()


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_leaves_a_model_in_float32(short_run, precision):
    _, config = short_run
    trained = train(run("cifar10", **{**config.overrides, "precision": precision}))
    assert trained.record["metrics"]["test_accuracy"] > 0.75
    assert trained.model.get_layer("stem_conv").compute_dtype == "float32"
    assert len({s["beta"] for s in trained.record["activation_parameters"][-1].values()}) == 5


def test_bad_image_settings_are_named():
    for overrides, message in (
        ({"pad": 8}, "pad is 8"),
        ({"batch_size": 5000}, "lower batch_size"),
        ({"max_samples": 5000}, "at most 1197"),
        ({"model": "resnet9"}, "resnet8 or"),
        ({"precision": "float8"}, "float32 or"),
    ):
        with pytest.raises(UserError, match=message):
            load("cifar10", **overrides)


# The registry -------------------------------------------------------------------------------------


def test_every_task_offers_what_a_run_needs():
    assert set(registry()) >= {"wmt14", "multi30k", "imdb", "imdb_bert", "cifar10"}
    for task in registry().values():
        assert ("sound", "mini") in task.presets and ("sound", "cpu") in task.presets
        assert task.version >= 1 and task.default_backend in ("jax", "tensorflow")
        assert len(task.rows_digest("mini")) == 16
