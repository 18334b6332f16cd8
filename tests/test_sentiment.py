"""Reviews: splits that share nothing, masks that hold, flaws that do what their names say."""

import math

import keras
import numpy as np
import pytest
from keras import ops
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score

from sgblend_utils.activations import learnable_activations
from sgblend_utils.configs import CHECKS, PRESETS, RunConfig
from sgblend_utils.datasets import hub
from sgblend_utils.datasets import reviews as data_room
from sgblend_utils.datasets.reviews import (
    CLS,
    Encoded,
    ReviewBatches,
    Reviews,
    encode_reviews,
    hold_out,
    mini_reviews,
    plain_text,
    published_text,
    without_repeats,
)
from sgblend_utils.datasets.text import PAD, UNK, Subwords
from sgblend_utils.datasets.words import Words
from sgblend_utils.errors import UserError
from sgblend_utils.metrics import binary_scores
from sgblend_utils.models.sentiment import FLAWS, PublishedSentiment, SentimentEncoder
from sgblend_utils.training import sentiment as training_room
from sgblend_utils.training import train
from sgblend_utils.training.sentiment import BestEpoch, Patience, load_sentiment, watched_split

VOCABULARY, WIDTH = 30, 9
SMALL = {"length": 16, "d_model": 8, "num_heads": 2, "ff_dim": 12, "num_layers": 2}
TOLERANCE = 1e-5
needs_imdb = pytest.mark.skipif(
    not hub.table_path("imdb", "train").exists(), reason="the IMDB files are not here"
)


def reviews(*texts, labels=None):
    labels = [i % 2 for i in range(len(texts))] if labels is None else labels
    return Reviews(list(texts), np.array(labels, "int32"))


# Splits -------------------------------------------------------------------------------------------


def test_texts_lose_their_breaks_and_published_ones_their_marks():
    assert plain_text("Good.<br /><br />Bad?  So-so<br>") == "Good. Bad? So-so"
    assert published_text("It's GOOD.<br />Bad!") == "it's good br bad"
    assert published_text("Good.", "[CLS]") == "cls good"


def test_training_keeps_no_review_of_the_test_set_and_none_twice():
    train = reviews("a b", "c", "c<br />", "d", "e<br />f")
    rest, left_out = without_repeats(train, reviews("e f", "a  b"))
    assert rest.texts == ["c", "d"]
    assert rest.labels.tolist() == [1, 1]
    assert left_out == {"train_repeated_in_test": 2, "train_repeated": 1}


def test_held_out_reviews_are_of_both_classes_even_from_a_file_sorted_by_label():
    texts = [f"text {i:03d}" for i in range(200)]
    whole = reviews(*texts, labels=[0] * 100 + [1] * 100)
    train, held = hold_out(whole, 0.1)
    assert np.bincount(held.labels).tolist() == [10, 10]
    assert sorted(train.texts + held.texts) == texts
    label_of = dict(zip(whole.texts, whole.labels, strict=True))
    assert [label_of[text] for text in held.texts] == held.labels.tolist()
    assert 30 < train.labels[:100].sum() < 70  # no longer sorted
    order = np.random.default_rng(1).permutation(200)
    again, held_again = hold_out(whole.where(order), 0.1)
    assert (again.texts, held_again.texts) == (train.texts, held.texts)


@needs_imdb
@pytest.mark.slow
def test_the_splits_of_imdb_are_disjoint_and_the_test_set_is_whole():
    splits, left_out = data_room.imdb_splits()
    texts = {name: {plain_text(text) for text in rows.texts} for name, rows in splits.items()}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    assert len(splits["test"]) == 25_000
    assert left_out["train_repeated_in_test"] >= 123
    assert len(splits["train"]) + len(splits["validation"]) == 25_000 - sum(left_out.values())
    assert abs(splits["validation"].labels.mean() - 0.5) < 0.01


def test_the_mini_task_is_a_rule_that_no_word_alone_can_tell():
    splits = mini_reviews()
    texts = [set(rows.texts) for rows in splits.values()]
    assert sum(map(len, texts)) == len(set.union(*texts)) == sum(data_room.MINI_SIZES.values())
    for rows in splits.values():
        for text, label in zip(rows.texts, rows.labels, strict=True):
            words = text.replace(".", " ").replace("?", " ").split()
            (place,) = [i for i, w in enumerate(words) if w in data_room.GOOD + data_room.BAD]
            praise = words[place] in data_room.GOOD
            assert label == (praise != (words[place - 1] == "not"))
    counts = CountVectorizer(token_pattern=r"\w+")
    model = LogisticRegression().fit(
        counts.fit_transform(splits["train"].texts), splits["train"].labels
    )
    test = splits["test"]
    assert model.score(counts.transform(test.texts), test.labels) < 0.6


# Ids and batches ----------------------------------------------------------------------------------


def test_encoding_word_by_word_is_encoding_the_text():
    texts = mini_reviews()["validation"].texts[:50]
    subwords = Subwords.train(texts, 120)
    encoded = encode_reviews(reviews(*texts), subwords, 10_000)
    assert encoded.rows == subwords.encode(texts)
    assert encoded.cut == 0


def test_the_head_is_kept_and_front_truncation_loses_cls():
    words = Words(("one", "two", "three", "four"))
    three = reviews("one two three four", "two")
    head = encode_reviews(three, words, 3, cls=True)
    front = encode_reviews(three, words, 3, cls=True, front=True)
    assert head.rows == [[CLS, 4, 5], [CLS, 5]]
    assert front.rows == [[5, 6, 7], [CLS, 5]]
    assert (head.cut, front.cut) == (1, 1)


def test_a_batch_holds_every_review_once_and_spare_rows_weigh_nothing():
    rng = np.random.default_rng(0)
    rows = [[10 + i] * int(rng.integers(1, 9)) for i in range(23)]
    encoded = Encoded(rows, np.arange(23) % 2)
    batches = ReviewBatches(encoded, tokens=32, widths=[4, 8], seed=3)
    seen = []
    for i in range(len(batches)):
        ids, labels, weights = batches[i]
        assert ids.shape in {(8, 4), (4, 8)}
        assert labels.shape == (len(ids), 1)
        assert ((ids != PAD).any(axis=1) == (weights == 1)).all()
        for row, label in zip(ids[weights == 1], labels[weights == 1], strict=True):
            number = int(row[0]) - 10
            assert row[row != PAD].tolist() == rows[number]
            assert label == number % 2
            seen.append(number)
    assert sorted(seen) == list(range(23))
    first = [members.tolist() for _, members in batches.batches]
    batches.on_epoch_end()
    second = [members.tolist() for _, members in batches.batches]
    assert second != first
    resumed = ReviewBatches(encoded, tokens=32, widths=[4, 8], seed=3)
    resumed.set_epoch(1)
    assert [members.tolist() for _, members in resumed.batches] == second
    with pytest.raises(UserError, match="cannot hold one review"):
        ReviewBatches(encoded, tokens=7, widths=[8])


@pytest.fixture
def tiny_splits(monkeypatch):
    """Sets that differ in one word each, which the vocabulary may or may not have counted."""
    base = mini_reviews()["validation"].texts
    sets = {
        name: reviews(*(f"{mark} {text}" for text in base[:60]))
        for name, mark in (("train", "qqq"), ("validation", "www"), ("test", "žžž"))
    }
    monkeypatch.setattr(data_room, "mini_reviews", lambda: sets)
    return sets


def config(task="imdb", protocol="sound", activation="gelu", **overrides):
    return RunConfig(task, activation, protocol, "mini", 0, overrides)


def without(*names, task="imdb"):
    flaws = PRESETS[task, "published", "mini"]["flaws"]
    return [name for name in flaws if name not in names]


def test_the_sound_tokenizer_never_sees_a_test_review(tiny_splits):
    data = load_sentiment(config(vocabulary=90))
    assert [row[:8].count(UNK) > 0 for row in data.splits["test"].rows] == [True] * 60
    assert not any(UNK in row for row in data.splits["train"].rows)


def test_the_published_tokenizer_has_seen_them(tiny_splits):
    seen = load_sentiment(config(protocol="published")).vocabulary
    assert {"qqq", "www", "žžž"} <= set(seen.words)
    mended = config(protocol="published", flaws=without("tokenizer_fitted_on_test"))
    unseen = set(load_sentiment(mended).vocabulary.words)
    # The small encoder's training watches the test set, and so trains on the held-out reviews too.
    assert {"qqq", "www"} <= unseen
    assert "žžž" not in unseen
    flaws = without("tokenizer_fitted_on_test", "early_stopping_on_reported_split")
    both = load_sentiment(config(protocol="published", flaws=flaws)).vocabulary
    assert not {"www", "žžž"} & set(both.words)


def test_published_bert_loses_its_first_token_where_a_review_is_long(tiny_splits):
    data = load_sentiment(config("imdb_bert", "published", length=8))
    cls = data.vocabulary.index["cls"]
    long = data.splits["test"]
    assert long.cut > 30
    assert sum(cls in row for row in long.rows) == 60 - long.cut
    flaws = without("front_truncation", task="imdb_bert")
    head = load_sentiment(config("imdb_bert", "published", length=8, flaws=flaws)).splits["test"]
    assert all(row[0] == cls for row in head.rows)
    flaws = without("front_truncation", "cls_is_a_word", task="imdb_bert")
    own = load_sentiment(config("imdb_bert", "published", length=8, flaws=flaws)).splits["test"]
    assert all(row[0] == CLS for row in own.rows)


# Models -------------------------------------------------------------------------------------------


def ids(rows=3, width=WIDTH, seed=0):
    return np.random.default_rng(seed).integers(4, VOCABULARY, (rows, width)).astype("int32")


def make(cls=SentimentEncoder, kind="small", activation="sgblend", **kwargs):
    model = cls(VOCABULARY, kind=kind, activation=activation, **{**SMALL, "dropout": 0.0, **kwargs})
    model.build()
    return model


def logits(model, tokens):
    return ops.convert_to_numpy(model(tokens, training=False))


def padded_difference(model):
    tokens = ids()
    padded = np.pad(tokens, ((0, 0), (0, 5)), constant_values=PAD)
    return np.abs(logits(model, padded) - logits(model, tokens)).max()


each_kind = pytest.mark.parametrize("kind", ["small", "bert"])


@pytest.mark.backend
@each_kind
def test_padding_changes_nothing_but_for_the_published_flaws(kind):
    assert padded_difference(make(kind=kind)) < TOLERANCE
    assert padded_difference(make(PublishedSentiment, kind, flaws=[])) < TOLERANCE
    assert padded_difference(make(PublishedSentiment, kind, flaws=["no_padding_mask"])) > 1e-3
    averaged = padded_difference(make(PublishedSentiment, kind, flaws=["padding_averaged"]))
    assert averaged > 1e-3 if kind == "small" else averaged < TOLERANCE


@pytest.mark.backend
@each_kind
def test_every_word_counts_and_so_does_its_place(kind):
    model, tokens = make(kind=kind), ids(1)
    before = logits(model, tokens)
    for place in range(WIDTH):
        changed = tokens.copy()
        changed[0, place] = 4 + (changed[0, place] - 3) % (VOCABULARY - 4)
        assert np.abs(logits(model, changed) - before).max() > 1e-6
    assert np.abs(logits(model, tokens[:, ::-1].copy()) - before).max() > 1e-4


@each_kind
@pytest.mark.parametrize("cls", [SentimentEncoder, PublishedSentiment])
def test_every_activation_starts_from_the_same_weights(cls, kind):
    first, second = (make(cls, kind, activation) for activation in ("gelu", "sgblend"))

    def drawn(model):
        own = {id(w) for layer in learnable_activations(model).values() for w in layer.weights}
        return [w for w in model.weights if id(w) not in own]

    assert len(drawn(second)) == len(first.weights)
    for one, other in zip(first.weights, drawn(second), strict=True):
        assert np.array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))
    kernels = [w for w in first.weights if w.name in ("kernel", "embeddings")]
    values = {ops.convert_to_numpy(w).tobytes() for w in kernels}
    assert len(values) == len(kernels)  # no two drawn with the same seed
    other_seed = make(cls, kind, "gelu", seed=1)
    assert not np.array_equal(
        *(ops.convert_to_numpy(m.words.embeddings) for m in (first, other_seed))
    )


def test_sites_have_layers_of_their_own_unless_shared():
    def layers(model):
        found = [layer for layer, _ in model.activation_sites().values()]
        return {id(getattr(layer, "activation", layer)) for layer in found}

    assert list(make().activation_sites()) == ["block_0", "block_1", "head"]
    assert list(make(kind="bert").activation_sites()) == ["block_0", "block_1"]
    assert len(layers(make())) == 3
    assert len(layers(make(PublishedSentiment, flaws=[]))) == 3
    shared = make(PublishedSentiment, flaws=["shared_activation"])
    assert len(layers(shared)) == 1
    assert sum(w.name == "alpha" for w in shared.trainable_variables) == 1


@pytest.mark.backend
@pytest.mark.parametrize("cls", [SentimentEncoder, PublishedSentiment])
def test_a_model_is_saved_and_loaded(tmp_path, cls):
    model = make(cls)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again) is cls
    assert again.settings == model.settings
    assert np.array_equal(logits(again, ids()), logits(model, ids()))


def test_wrong_sizes_are_refused():
    with pytest.raises(UserError, match="choose one of small, bert"):
        make(kind="large")
    with pytest.raises(UserError, match="not divisible"):
        make(num_heads=3)
    with pytest.raises(UserError, match="in this order"):
        config(protocol="published", flaws=["post_norm", "word_tokens"])
    with pytest.raises(UserError, match="Subwords need a number"):
        load_sentiment(config("imdb_bert", "published", flaws=[]))
    with pytest.raises(UserError, match="ask for at most 3000"):
        load_sentiment(config(max_samples=3001))


# Training -----------------------------------------------------------------------------------------


def test_every_setting_has_its_check_and_the_table_of_flaws_its_order():
    for (task, _, _), settings in PRESETS.items():
        for name, value in settings.items():
            valid, wanted = CHECKS[task][name]
            assert valid(value), (task, name, wanted)
    assert PRESETS["imdb", "published", "paper"]["flaws"] == list(FLAWS)


def test_the_paper_preset_is_the_papers():
    small, bert = (PRESETS[task, "published", "paper"] for task in ("imdb", "imdb_bert"))
    table = {
        "vocabulary": (10_000, None),
        "length": (200, 256),
        "d_model": (32, 64),
        "ff_dim": (32, 128),
        "num_heads": (2, 2),
        "num_layers": (2, 2),
        "learning_rate": (1e-4, 1e-4),
        "batch_size": (64, 32),
        "epochs": (15, 25),
        "patience": (3, 2),
    }
    assert {name: (small[name], bert[name]) for name in table} == table
    assert watched_split(small) == "test"  # what is reported is what training watched
    assert watched_split(bert) == "validation"
    assert watched_split(PRESETS["imdb", "sound", "cpu"]) == "validation"


def test_patience_ends_where_keras_would():
    rows = [{"val_loss": loss} for loss in (3.0, 2.0, 2.5, 2.0)]
    ends = [Patience(rows[:n], 2).over for n in range(5)]
    assert ends == [False, False, False, False, True]


def test_the_best_epoch_is_the_one_with_the_lowest_validation_loss():
    model, rows = make(activation="gelu"), []
    best = BestEpoch(rows)
    best.set_model(model)
    bias = model.logit.bias
    for epoch, nll in enumerate([0.5, 0.3, 0.4]):
        bias.assign([float(epoch)])
        rows.append({"val_nll": nll})
        best.on_epoch_end(epoch)
    best.adopt(model)
    assert best.taken == 2
    assert ops.convert_to_numpy(bias).tolist() == [1.0]


@pytest.mark.backend
@pytest.mark.slow
def test_loss_and_scores_are_means_over_reviews_and_not_over_spare_rows():
    model = make(activation="gelu")
    settings = {**PRESETS["imdb", "sound", "mini"], "label_smoothing": 0.2}
    training_room.compile_encoder(model, settings, 10)
    encoded = Encoded([list(row) for row in ids(5)], np.array([0, 1, 1, 0, 1]))
    batches = ReviewBatches(encoded, tokens=8 * 16, widths=[16])
    scores = model.evaluate(batches, verbose=0, return_dict=True)
    p = 1 / (1 + np.exp(-logits(model, ids(5))[:, 0]))
    y = encoded.labels
    smooth = 0.8 * y + 0.1
    assert math.isclose(scores["accuracy"], np.mean((p > 0.5) == y), rel_tol=1e-5)
    for name, target in (("nll", y), ("loss", smooth)):
        wanted = -np.mean(target * np.log(p) + (1 - target) * np.log(1 - p))
        assert math.isclose(scores[name], wanted, rel_tol=1e-4)


def test_scores_of_two_classes_are_scikit_learns_and_the_hands():
    labels = np.array([0, 0, 1, 1, 1, 0])
    positive = np.array([0.1, 0.6, 0.8, 0.4, 0.9, 0.2])
    scores = binary_scores(labels, positive)
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


FIELDS = {
    "test_accuracy",
    "test_accuracy_low",
    "test_accuracy_high",
    "test_nll",
    "ece",
    "f1",
    "roc_auc",
    "dead_share",
    "near_dead_share",
    "dead_by_site",
    "best_epoch",
}


@pytest.mark.backend
@pytest.mark.slow
def test_the_mini_task_is_learned_and_the_record_says_how():
    eager = keras.backend.backend() == "torch"  # ten epochs would take minutes
    epochs = 2 if eager else PRESETS["imdb", "sound", "mini"]["epochs"]
    trained = train(config(activation="sgblend", epochs=epochs))
    record, metrics = trained.record, trained.record["metrics"]
    assert eager or (metrics["test_accuracy"] >= 0.95 and metrics["roc_auc"] > 0.98)
    assert metrics["test_accuracy_low"] <= metrics["test_accuracy"]
    assert record["history"][-1]["loss"] < record["history"][0]["loss"]
    assert metrics.keys() >= FIELDS
    assert len(record["history"]) == epochs
    assert {"loss", "val_nll", "val_accuracy", "seconds"} <= record["history"][0].keys()
    assert len(record["activation_parameters"]) == epochs + 1
    assert set(record["activation_parameters"][0]) == {"block_0", "block_1", "head"}
    last = record["activation_parameters"][-1]
    assert len({site["alpha"] for site in last.values()}) == 3
    losses = [row["val_nll"] for row in record["history"]]
    assert metrics["best_epoch"] == 1 + int(np.argmin(losses))
    sizes = data_room.MINI_SIZES
    assert {f"{name}_reviews": n for name, n in sizes.items()}.items() <= record["data"].items()
    assert trained.files["subwords.model"]


@pytest.mark.slow
def test_labels_that_mean_nothing_score_chance(monkeypatch):
    rng = np.random.default_rng(0)
    noisy = {
        name: Reviews(rows.texts, rng.integers(0, 2, len(rows)).astype("int32"))
        for name, rows in mini_reviews().items()
    }
    monkeypatch.setattr(data_room, "mini_reviews", lambda: noisy)
    metrics = train(config(epochs=3)).record["metrics"]
    assert abs(metrics["test_accuracy"] - 0.5) < 4 * 0.5 / math.sqrt(len(noisy["test"]))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["imdb", "imdb_bert"])
def test_a_published_run_reports_its_number_beside_the_sound_ones(task):
    metrics = train(config(task, "published", "sgblend", epochs=2)).record["metrics"]
    assert metrics.keys() >= FIELDS
    reported = "test" if task == "imdb" else "validation"
    assert metrics["reported_split"] == reported
    scored = metrics["test_accuracy"] if task == "imdb" else metrics["validation"]["accuracy"]
    assert metrics["reported_accuracy"] == scored
    assert 0 <= metrics["reported_dead_share"] <= 1
