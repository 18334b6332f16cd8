"""Reviews: splits that share nothing, and ids that are those of the text."""

import numpy as np
import pytest

from sgblend_utils.data.reviews import (
    CLS,
    Reviews,
    encode_reviews,
    hold_out,
    mini_reviews,
    plain_text,
    published_text,
    read_reviews,
    real_positions,
    without_repeats,
)
from sgblend_utils.data.text import PAD, Subwords, Words
from sgblend_utils.tasks import registry

IMDB = registry()["imdb"].source


def reviews(*texts, labels=None):
    labels = [i % 2 for i in range(len(texts))] if labels is None else labels
    return Reviews(list(texts), np.array(labels, "int32"))


def test_texts_lose_their_breaks_and_published_ones_their_marks():
    assert plain_text("Good.<br /><br />Bad?  So-so<br>") == "Good. Bad? So-so"
    assert published_text("It's GOOD.<br />Bad!") == "it's good br bad"
    assert published_text("Good.", "[CLS]") == "cls good"


def test_training_keeps_no_review_of_the_test_set_and_none_twice():
    train = reviews("a b", "c", "c<br />", "d", "e<br />f", "e f")
    rest, left_out = without_repeats(train, reviews("e f", "a  b"))
    assert rest.texts == ["c", "d"] and rest.labels.tolist() == [1, 1]
    assert left_out == {"train_repeated_in_test": 3, "train_repeated": 1}


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


@pytest.mark.slow
@pytest.mark.skipif(not IMDB.path("train").exists(), reason="the IMDB files are not here")
def test_the_splits_of_imdb_are_disjoint():
    test = read_reviews(IMDB, "test")
    train, left_out = without_repeats(read_reviews(IMDB, "train"), test)
    splits = {"test": test, **dict(zip(("train", "validation"), hold_out(train, 0.1), strict=True))}
    texts = {name: {plain_text(text) for text in rows.texts} for name, rows in splits.items()}
    assert not texts["train"] & texts["test"]
    assert not texts["train"] & texts["validation"]
    assert not texts["validation"] & texts["test"]
    assert len(test) == 25_000 and left_out["train_repeated_in_test"] >= 123
    assert len(train) == 25_000 - sum(left_out.values())
    assert abs(splits["validation"].labels.mean() - 0.5) < 0.01


def test_encoding_word_by_word_is_encoding_the_text():
    texts = mini_reviews()["validation"].texts[:50]
    subwords = Subwords.train(texts, 120)
    encoded = encode_reviews(reviews(*texts), subwords, 10_000)
    assert encoded.rows == subwords.encode(texts) and encoded.cut == 0
    first = encoded.first(7)
    assert first.rows == encoded.rows[:7] and len(first) == len(first.labels) == 7


def test_the_head_is_kept_and_front_truncation_loses_cls():
    words, three = Words(("one", "two", "three", "four")), reviews("one two three four", "two", "")
    head = encode_reviews(three, words, 3, cls=True)
    front = encode_reviews(three, words, 3, cls=True, front=True)
    assert head.rows == [[CLS, 4, 5], [CLS, 5], [CLS]]
    assert front.rows == [[5, 6, 7], [CLS, 5], [CLS]]
    assert (head.cut, front.cut) == (1, 1)


def test_what_is_padding():
    found = real_positions(np.array([[CLS, 5, PAD], [PAD, PAD, PAD]]))
    assert found["tokens"].tolist() == [[True, True, False], [False] * 3]
    assert found["reviews"].tolist() == [True, False]
