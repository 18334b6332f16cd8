"""Images: reading without loss, splits that share nothing, augmentation, corruptions."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sgblend_utils.data import images as module
from sgblend_utils.data.images import (
    CORRUPTIONS,
    Images,
    corrupt,
    crop,
    flip,
    held_out,
    load_digits,
    load_images,
    pixel_statistics,
    subset,
)
from sgblend_utils.errors import UserError
from sgblend_utils.tasks import registry

CIFAR10 = registry()["cifar10"].source


def pixels(rows=6, shape=(8, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, *shape)).astype("uint8")


def encoded(pixel, form):
    buffer = io.BytesIO()
    Image.fromarray(pixel).save(buffer, form, lossless=True)
    return buffer.getvalue()


# Reading ------------------------------------------------------------------------------------------


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Small files in the layout of CIFAR-10; every image differs."""
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path))
    monkeypatch.setattr(module, "VALIDATION", 40)
    (tmp_path / "cifar10").mkdir()
    for split, rows in {"train": 200, "test": 50}.items():
        img = [encoded(one, "WEBP") for one in pixels(rows, seed=rows)]
        if split == "test":  # as the hub has them
            img = [encoded(one, "PNG") for one in pixels(rows, seed=rows)]
            img = [{"bytes": one, "path": "x.png"} for one in img]
        table = pa.table({"img": img, "label": pa.array(np.arange(rows) % 10, pa.int8())})
        pq.write_table(table, tmp_path / "cifar10" / f"{split}.parquet")
    return tmp_path / "cifar10"


def test_no_image_is_in_two_splits_and_none_is_lost(cifar):
    splits = load_images(CIFAR10)
    sizes = {name: len(rows) for name, rows in splits.items()}
    assert sizes == {"train": 160, "validation": 40, "test": 50}
    seen = [one.tobytes() for rows in splits.values() for one in rows.pixels]
    assert len(set(seen)) == len(seen) == 250
    assert np.array_equal(splits["test"].pixels, pixels(50, seed=50))  # the test file as it is
    assert np.bincount(splits["validation"].labels).tolist() == [4] * 10
    again = load_images(CIFAR10)["validation"]
    assert np.array_equal(again.pixels, splits["validation"].pixels)
    label = {one.tobytes(): i % 10 for i, one in enumerate(pixels(200, seed=200))}
    for split in ("train", "validation"):
        rows = splits[split]
        assert [label[one.tobytes()] for one in rows.pixels] == rows.labels.tolist()


def test_a_file_is_decoded_once_and_again_when_it_changes(cifar, monkeypatch):
    load_images(CIFAR10)
    read = []
    original = module.read_table
    monkeypatch.setattr(module, "read_table", lambda *a: read.append(a[1]) or original(*a))
    load_images(CIFAR10)
    assert not read
    pq.write_table(pq.read_table(cifar / "test.parquet")[:40], cifar / "test.parquet")
    assert len(load_images(CIFAR10)["test"]) == 40 and read == ["test"]


def test_a_damaged_image_is_the_users_to_mend(cifar):
    table = pa.table({"img": [b"no image"] * 200, "label": pa.array([0] * 200, pa.int8())})
    pq.write_table(table, cifar / "train.parquet")
    with pytest.raises(UserError, match="cannot be decoded"):
        load_images(CIFAR10)


def test_the_digits():
    splits = load_digits()
    sizes = {name: rows.pixels.shape for name, rows in splits.items()}
    assert [size[0] for size in sizes.values()] == [1197, 200, 400]
    assert {size[1:] for size in sizes.values()} == {(8, 8, 1)}
    for rows in splits.values():
        assert rows.pixels.dtype == "uint8" and rows.pixels.max() == 255
        assert np.ptp(np.bincount(rows.labels)) <= 0.1 * len(rows) / 10 + 1


def test_held_out_and_subset_keep_the_share_of_each_class():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    rows = Images(np.arange(100, dtype="uint8")[:, None, None, None], labels)
    rest, chosen = held_out(rows, 20)
    assert np.bincount(chosen.labels).tolist() == [12, 6, 2]
    both = np.concatenate([rest.pixels, chosen.pixels]).ravel()
    assert sorted(both) == list(range(100))
    assert np.array_equal(labels[chosen.pixels.ravel()], chosen.labels)
    assert len(subset(rows, 50)) == 50 and subset(rows, None) is rows
    with pytest.raises(UserError, match="at most 100"):
        subset(rows, 101)


def test_statistics_are_those_of_the_pixels():
    given = pixels(7)
    mean, variance = pixel_statistics(given)
    np.testing.assert_allclose(mean, given.reshape(-1, 3).mean(0))
    np.testing.assert_allclose(variance, given.reshape(-1, 3).astype("float64").var(0))


# Augmentation and corruptions ---------------------------------------------------------------------


def test_flipping_twice_changes_nothing_and_once_only_the_chosen():
    given, chosen = pixels(), np.array([True, False, True, False, False, True])
    once = flip(given, chosen)
    assert np.array_equal(flip(once, chosen), given)
    assert np.array_equal(once[~chosen], given[~chosen])
    assert np.array_equal(once[0, :, 0], given[0, :, -1])


def test_a_crop_moves_the_image_and_mirrors_what_comes_in():
    given = pixels()
    same = np.full((6, 2), 2)
    assert np.array_equal(crop(given, same, 2), given)
    moved = crop(given, np.tile([0, 3], (6, 1)), 2)  # two down, one to the left
    assert np.array_equal(moved[:, 2:, :-1], given[:, :-2, 1:])
    assert np.array_equal(moved[:, 1, :-1], given[:, 1, 1:])  # row -1 mirrors row 1
    assert np.array_equal(moved[:, 2:, -1], given[:, :-2, -2])
    constant = np.full((6, 8, 8, 3), 77, "uint8")
    offsets = np.random.default_rng(0).integers(0, 9, (6, 2))
    assert np.array_equal(crop(constant, offsets, 4), constant)
    apart = [crop(given[i : i + 1], offsets[i : i + 1], 4)[0] for i in range(6)]
    assert np.array_equal(crop(given, offsets, 4), apart)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_corruption_of_strength_zero_is_none_and_it_grows_with_strength(kind):
    given = pixels(40)
    assert np.array_equal(corrupt(given, kind, 0.0), given)
    changed = [corrupt(given, kind, strength) for strength in CORRUPTIONS[kind]]
    distance = [np.abs(one.astype(float) - given).mean() for one in changed]
    assert np.all(np.diff([0.0, *distance]) > 0)
    assert np.array_equal(changed[1], corrupt(given, kind, CORRUPTIONS[kind][1]))


def test_noise_has_its_standard_deviation_and_blur_keeps_what_is_constant():
    grey = np.full((50, 8, 8, 3), 128, "uint8")
    noise = corrupt(grey, "noise", 0.1).astype(float) - 128
    assert noise.std() == pytest.approx(25.5, rel=0.02) and abs(noise.mean()) < 0.5
    assert len(np.unique(noise[:, 0, 0, 0])) > 10  # every image has its own
    assert np.array_equal(corrupt(grey, "blur", 1.0), grey)
    colours = np.zeros((1, 8, 8, 3), "uint8")
    colours[..., 1] = 200
    assert np.array_equal(corrupt(colours, "blur", 2.0), colours)  # channels do not mix
