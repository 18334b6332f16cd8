"""Subwords and batches: nothing lost, nothing leaked, the order a function of seed and epoch."""

import numpy as np
import pytest

from sgblend_utils.datasets.grammar import mini_corpus
from sgblend_utils.datasets.text import BOS, EOS, PAD, Subwords, TranslationBatches
from sgblend_utils.errors import UserError

PAIRS = mini_corpus()["train"][:300]
SHAPE = {"tokens": 128, "widths": (8, 16, 24)}


@pytest.fixture(scope="module")
def subwords():
    return Subwords.train((side for pair in PAIRS for side in pair), 300)


@pytest.fixture(scope="module")
def ids(subwords):
    return [subwords.encode([pair[side] for pair in PAIRS]) for side in (0, 1)]


def sentences_of(batches):
    """Every (source, target, labels) row of one epoch, unpadded, empty rows left out."""
    rows = []
    for inputs, labels in (batches[i] for i in range(len(batches))):
        for source, target, label in zip(inputs["source"], inputs["target"], labels, strict=True):
            if source[0] != PAD:
                rows.append(tuple(tuple(x[x != PAD].tolist()) for x in (source, target, label)))
    return rows


def test_decoding_undoes_encoding(subwords):
    text = [side for pair in PAIRS for side in pair]
    assert subwords.decode(subwords.encode(text)) == text


def test_training_twice_gives_the_same_subwords(subwords):
    again = Subwords.train((side for pair in PAIRS for side in pair), 300)
    assert again.encode(["The dogs see him."]) == subwords.encode(["The dogs see him."])


def test_too_large_a_vocabulary_is_the_users_to_mend():
    with pytest.raises(UserError, match="vocabulary of 9000"):
        Subwords.train(["The dog.", "Der Hund."], 9000)


def test_an_epoch_holds_every_pair_once(ids):
    batches = TranslationBatches(*ids, seed=3, **SHAPE)
    expected = [
        ((*s, EOS), (BOS, *t), (*t, EOS))
        for s, t in zip(*ids, strict=True)
        if max(len(s), len(t)) < SHAPE["widths"][-1]
    ]
    assert batches.dropped == len(PAIRS) - len(expected)
    assert sorted(sentences_of(batches)) == sorted(expected)


def test_shapes_are_one_per_bucket(ids):
    batches = TranslationBatches(*ids, seed=0, **SHAPE)
    shapes = {batches[i][1].shape for i in range(len(batches))}
    assert shapes <= {(SHAPE["tokens"] // width, width) for width in SHAPE["widths"]}
    assert len(shapes) > 1


def test_the_order_depends_on_seed_and_epoch_alone(ids):
    first, second = (TranslationBatches(*ids, seed=1, **SHAPE) for _ in range(2))
    other = TranslationBatches(*ids, seed=2, **SHAPE)
    assert sentences_of(first) == sentences_of(second) != sentences_of(other)
    start = sentences_of(first)
    first.on_epoch_end()
    first.on_epoch_end()
    second.set_epoch(2)
    assert sentences_of(first) == sentences_of(second) != start
    assert sorted(sentences_of(first)) == sorted(start)


def test_evaluation_keeps_the_order_of_the_data(ids):
    batches = TranslationBatches(*ids, **SHAPE)
    before = sentences_of(batches)
    batches.on_epoch_end()
    assert sentences_of(batches) == before
    longest = [max(len(s), len(t)) for s, t, _ in before]
    buckets = np.searchsorted(SHAPE["widths"], longest)
    assert (np.diff(buckets) >= 0).all()


def test_a_batch_must_hold_the_longest_sentence(ids):
    with pytest.raises(UserError, match="raise tokens"):
        TranslationBatches(*ids, tokens=16, widths=(8, 24))
