"""Batches: every row once, nothing leaked, the order a function of seed and epoch alone."""

import hashlib

import numpy as np
import pytest

from sgblend_utils.data.batches import ImageBatches, PairBatches, ReviewBatches
from sgblend_utils.data.images import Images, flip, load_digits
from sgblend_utils.data.reviews import Encoded
from sgblend_utils.data.text import BOS, EOS, PAD, Words, frame, mini_pairs
from sgblend_utils.errors import UserError

SHAPE = {"tokens_per_batch": 128, "bucket_boundaries": (6, 10, 16)}
PAIRS = mini_pairs()["train"][:300]


def ids():
    """Source and target ids of the pairs, without marks."""
    words = Words.fit(side for pair in PAIRS for side in pair)
    return [words.encode([pair[side] for pair in PAIRS]) for side in (0, 1)]


def sound(**options):
    source, target = ids()
    rows = [[*row, EOS] for row in source], [[BOS, *row, EOS] for row in target]
    return PairBatches(*rows, **{**SHAPE, **options})


def items(batches, epoch=0):
    batches.set_epoch(epoch)
    return [batches[i] for i in range(len(batches))]


def digest(*epochs):
    """Of the shapes, types and values of all arrays, in order."""
    found = hashlib.sha256()

    def add(value):
        if isinstance(value, np.ndarray):
            found.update(f"{value.shape}{value.dtype}".encode() + value.tobytes())
        else:
            for one in value.values() if isinstance(value, dict) else value:
                add(one)

    add(epochs)
    return found.hexdigest()[:16]


# Pairs --------------------------------------------------------------------------------------------


def sentences_of(batches, epoch=0):
    """Every (source, target, labels) row of one epoch, unpadded, empty rows left out."""
    rows = []
    for inputs, labels, *_ in items(batches, epoch):
        for source, target, label in zip(inputs["source"], inputs["target"], labels, strict=True):
            if source[0] != PAD:
                rows.append(tuple(tuple(x[x != PAD].tolist()) for x in (source, target, label)))
    return rows


def test_an_epoch_holds_every_pair_once():
    expected = [
        ((*s, EOS), (BOS, *t), (*t, EOS))
        for s, t in zip(*ids(), strict=True)
        if max(len(s), len(t)) < 9
    ]
    batches = sound(seed=3, bucket_boundaries=(6, 9))
    assert batches.dropped == len(PAIRS) - len(expected) > 0
    assert sorted(sentences_of(batches)) == sorted(expected)


def test_shapes_are_one_per_bucket():
    batches = sound(seed=0)
    shapes = [labels.shape for _, labels in items(batches)]
    assert set(shapes) == {(128 // width, width) for width in SHAPE["bucket_boundaries"]}
    assert [shape[1] for shape in shapes] == [batches.shape(i) for i in range(len(batches))]


def test_the_order_depends_on_seed_and_epoch_alone():
    first, second, other = sound(seed=1), sound(seed=1), sound(seed=2)
    start = sentences_of(first)
    assert sentences_of(second) == start != sentences_of(other)
    for epoch in (1, 2):
        sentences_of(first, epoch)
    assert sentences_of(first, 2) == sentences_of(second, 2) != start
    assert sorted(sentences_of(first, 2)) == sorted(start)


def test_evaluation_keeps_the_order_of_the_data():
    batches = sound()
    before = sentences_of(batches)
    assert sentences_of(batches, 1) == before
    longest = [max(len(s), len(t)) for s, t, _ in before]
    assert (np.diff(np.searchsorted(SHAPE["bucket_boundaries"], longest)) >= 0).all()


def test_a_batch_must_hold_the_longest_sentence():
    with pytest.raises(UserError, match="one text of 24; raise tokens_per_batch"):
        sound(tokens_per_batch=16, bucket_boundaries=(8, 24))


def test_rows_of_one_length_are_shifted_and_rows_that_fill_a_batch_weigh_nothing():
    rows = frame([[4 + i] * (1 + i % 3) for i in range(7)], 4)[0]
    shape = {"tokens_per_batch": 12, "bucket_boundaries": [4], "seed": 1}
    batches = PairBatches(rows, rows, **shape, rows_weighted=True, target_shorter=True)
    seen = []
    for inputs, labels, weights in items(batches):
        source, target = inputs["source"], inputs["target"]
        assert source.shape == (3, 4) and target.shape == labels.shape == (3, 3)
        assert np.array_equal(target, source[:, :-1]) and np.array_equal(labels, source[:, 1:])
        assert np.array_equal(weights == 0, source[:, 0] == PAD) and weights.dtype == "float32"
        seen += source[weights > 0, 1].tolist()
    assert sorted(seen) == [4 + i for i in range(7)]


class Stored:
    """Rows that are fetched a batch at a time."""

    def __init__(self, rows):
        self.rows, self.calls = rows, 0
        self.lengths = np.array([len(row) for row in rows])

    def __len__(self):
        return len(self.rows)

    def take(self, members):
        self.calls += 1
        return [self.rows[i] for i in members]


def test_rows_on_disk_are_fetched_a_batch_at_a_time():
    there = sound(seed=3)
    stored = Stored(there.source), Stored(there.target)
    batches = PairBatches(*stored, **SHAPE, seed=3)
    assert digest(items(batches)) == digest(items(there))
    assert [rows.calls for rows in stored] == [len(batches)] * 2


# Reviews ------------------------------------------------------------------------------------------


def review_batches(**options):
    rng = np.random.default_rng(0)
    rows = [[10 + i] * int(rng.integers(1, 9)) for i in range(23)]
    shape = {"tokens_per_batch": 32, "bucket_boundaries": [4, 8], **options}
    return ReviewBatches(Encoded(rows, np.arange(23) % 2), **shape)


def test_a_batch_holds_every_review_once_and_spare_rows_weigh_nothing():
    batches, seen = review_batches(seed=3), []
    for ids, labels, weights in items(batches):
        assert ids.shape in {(8, 4), (4, 8)} and labels.shape == (len(ids), 1)
        assert ((ids != PAD).any(axis=1) == (weights == 1)).all()
        for row, label in zip(ids[weights == 1], labels[weights == 1], strict=True):
            number = int(row[0]) - 10
            assert row[row != PAD].tolist() == batches.reviews.rows[number]
            assert label == number % 2
            seen.append(number)
    assert sorted(seen) == list(range(23))
    with pytest.raises(UserError, match="cannot hold one text"):
        review_batches(tokens_per_batch=7)


# Images -------------------------------------------------------------------------------------------


def images(rows, classes=10):
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 8, 8, 3)).astype("uint8")
    return Images(pixels, np.arange(rows) % classes)


def all_of(batches, epoch=0):
    got, targets = zip(*items(batches, epoch), strict=True)
    return np.concatenate(got), np.concatenate(targets)


def test_order_and_augmentation_depend_on_seed_and_epoch_alone():
    def batches(seed=3):
        return ImageBatches(images(64), 16, 10, seed=seed, pad=2)

    first, second = all_of(batches()), all_of(batches(), 1)
    assert not np.array_equal(first[0], second[0]) and not np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], all_of(batches(seed=4))[0])
    walked = batches()
    assert np.array_equal(walked[2][0], first[0][32:48])  # a batch does not depend on those before
    assert np.array_equal(all_of(walked)[0], first[0])
    for own, other in zip(all_of(walked, 1), second, strict=True):
        assert np.array_equal(own, other)


def test_an_epoch_shows_every_image_once_in_one_of_its_forms():
    rows = images(32, 32)
    got, targets = all_of(ImageBatches(rows, 8, 32, seed=0, pad=0))
    shown = targets.argmax(1)
    assert sorted(shown) == list(range(32))
    mirrored = (got != rows.pixels[shown]).any((1, 2, 3))
    assert 4 < mirrored.sum() < 28
    assert np.array_equal(flip(got, mirrored), rows.pixels[shown])
    plain, _ = all_of(ImageBatches(rows, 8, 32, seed=0, pad=0, mirror=False))
    assert np.array_equal(plain, rows.pixels[shown])


def test_evaluation_takes_all_images_as_they_are_training_only_whole_batches():
    rows = images(37)
    evaluation, training = ImageBatches(rows, 16, 10), ImageBatches(rows, 16, 10, seed=0)
    got, targets = all_of(evaluation)
    assert np.array_equal(got, rows.pixels) and np.array_equal(targets.argmax(1), rows.labels)
    assert got.dtype == np.uint8 and targets.dtype == np.float32
    assert [len(pixels) for pixels, _ in items(training)] == [16, 16]
    assert [evaluation.shape(i) for i in range(3)] == [16, 16, 5]
    with pytest.raises(UserError, match="lower batch_size"):
        ImageBatches(rows, 38, 10, seed=0)


# What is stored was trained on these batches: change them knowingly.
DIGESTS = {"pairs": "d2c8bf33636a5e65", "reviews": "bac46611b4e22ff5", "images": "bc1cebe481efc819"}


@pytest.mark.parametrize("name", DIGESTS)
def test_the_batches_are_those_that_records_were_made_with(name):
    batches = {
        "pairs": lambda: sound(seed=3),
        "reviews": lambda: review_batches(seed=3),
        "images": lambda: ImageBatches(load_digits()["train"], 128, 10, seed=3, pad=1),
    }[name]()
    assert digest(items(batches), items(batches, 1)) == DIGESTS[name]
