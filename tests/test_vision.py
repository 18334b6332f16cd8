"""Images, scores, gradients and training: what is learned is there, what is not is not found."""

import io
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from keras import ops
from PIL import Image
from sklearn.metrics import accuracy_score, log_loss

from sgblend_utils.configs import PRESETS, RunConfig
from sgblend_utils.datasets.images import (
    CORRUPTIONS,
    HELD_OUT,
    ImageBatches,
    Images,
    corrupt,
    crop,
    decode,
    flip,
    held_out,
    load_images,
    pixel_statistics,
    subset,
)
from sgblend_utils.errors import UserError
from sgblend_utils.metrics import calibration_error, classification_scores
from sgblend_utils.models.resnet import ResNet
from sgblend_utils.training import train
from sgblend_utils.training import vision as room
from sgblend_utils.training.common import data_digest
from sgblend_utils.training.gradients import GradientProbe, noise_scale
from sgblend_utils.training.resume import Resume
from sgblend_utils.training.vision import (
    accuracy,
    compile_network,
    layer_of,
    make_optimizer,
    probabilities,
)

MINI = PRESETS["cifar10", "sound", "mini"]


def pixels(rows=6, shape=(8, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, *shape)).astype("uint8")


def images(rows, classes=10, **kwargs):
    return Images(pixels(rows, **kwargs), np.arange(rows) % classes)


# Data ---------------------------------------------------------------------------------------------


def encoded(pixel, form):
    buffer = io.BytesIO()
    Image.fromarray(pixel).save(buffer, form, lossless=True)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_decoding_gives_back_every_pixel(form):
    original = pixels(5)
    assert np.array_equal(decode([encoded(one, form) for one in original]), original)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Small files in the layout of CIFAR-10; every image differs."""
    monkeypatch.setenv("SGBLEND_DATA", str(tmp_path))
    held = HELD_OUT | {"cifar10": {"validation": 40}}
    monkeypatch.setattr("sgblend_utils.datasets.images.HELD_OUT", held)
    (tmp_path / "cifar10").mkdir()
    for split, rows in {"train": 200, "test": 50}.items():
        img = [encoded(one, "PNG") for one in pixels(rows, seed=rows)]
        table = pa.table({"img": img, "label": pa.array(np.arange(rows) % 10, pa.int8())})
        pq.write_table(table, tmp_path / "cifar10" / f"{split}.parquet")
    return tmp_path / "cifar10"


def test_no_image_is_in_two_splits_and_none_is_lost(cifar):
    splits = load_images("cifar10")
    assert {name: len(rows) for name, rows in splits.items()} == {
        "train": 160,
        "validation": 40,
        "test": 50,
    }
    seen = [one.tobytes() for rows in splits.values() for one in rows.pixels]
    assert len(set(seen)) == len(seen) == 250
    assert np.array_equal(splits["test"].pixels, pixels(50, seed=50))  # the test file as it is
    assert np.bincount(splits["validation"].labels).tolist() == [4] * 10
    again = load_images("cifar10")["validation"]
    assert np.array_equal(again.pixels, splits["validation"].pixels)


def test_labels_stay_with_their_images(cifar):
    label = {one.tobytes(): i % 10 for i, one in enumerate(pixels(200, seed=200))}
    for split in ("train", "validation"):
        rows = load_images("cifar10")[split]
        assert [label[one.tobytes()] for one in rows.pixels] == rows.labels.tolist()


def test_a_damaged_image_is_the_users_to_mend(cifar):
    table = pa.table({"img": [b"no image"] * 200, "label": pa.array([0] * 200, pa.int8())})
    pq.write_table(table, cifar / "train.parquet")
    with pytest.raises(UserError, match="cannot be decoded"):
        load_images("cifar10")


def test_the_digest_names_the_data(cifar):
    bundled, files = data_digest("cifar10", "mini"), data_digest("cifar10", "cpu")
    assert bundled == data_digest("cifar10", "mini") != files == data_digest("cifar10", "paper")
    pq.write_table(pq.read_table(cifar / "test.parquet")[:40], cifar / "test.parquet")
    assert data_digest("cifar10", "cpu") != files


def test_each_tasks_bundled_data_has_a_digest_of_its_own():
    assert len({data_digest(task, "mini") for task in ("cifar10", "imdb", "multi30k")}) == 3


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


# Augmentation -------------------------------------------------------------------------------------


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


def all_of(batches):
    got, targets = zip(*(batches[i] for i in range(len(batches))), strict=True)
    return np.concatenate(got), np.concatenate(targets)


def test_order_and_augmentation_depend_on_seed_and_epoch_alone():
    def batches(seed=3, epoch=0):
        made = ImageBatches(images(64), 16, 10, seed=seed, pad=2)
        made.set_epoch(epoch)
        return made

    first, second = all_of(batches()), all_of(batches(epoch=1))
    assert not np.array_equal(first[0], second[0]) and not np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0], all_of(batches(seed=4))[0])
    walked = batches()
    assert np.array_equal(all_of(walked)[0], first[0])
    assert np.array_equal(walked[2][0], first[0][32:48])  # a batch does not depend on those before
    walked.on_epoch_end()
    for own, other in zip(all_of(walked), second, strict=True):
        assert np.array_equal(own, other)


def test_an_epoch_shows_every_image_once_in_one_of_its_forms():
    rows = Images(pixels(32), np.arange(32))
    got, targets = all_of(ImageBatches(rows, 8, 32, seed=0, pad=0))
    shown = targets.argmax(1)
    assert sorted(shown) == list(range(32))
    mirrored = np.array(
        [not np.array_equal(g, rows.pixels[i]) for g, i in zip(got, shown, strict=True)]
    )
    assert 4 < mirrored.sum() < 28
    assert np.array_equal(flip(got, mirrored), rows.pixels[shown])
    plain, _ = all_of(ImageBatches(rows, 8, 32, seed=0, pad=0, mirror=False))
    assert np.array_equal(plain, rows.pixels[shown])


def test_evaluation_takes_all_images_as_they_are_training_only_whole_batches():
    rows = images(37)
    got, targets = all_of(ImageBatches(rows, 16, 10))
    assert np.array_equal(got, rows.pixels) and np.array_equal(targets.argmax(1), rows.labels)
    assert got.dtype == np.uint8
    training = ImageBatches(rows, 16, 10, seed=0)
    assert [len(training[i][0]) for i in range(len(training))] == [16, 16]
    with pytest.raises(UserError, match="lower batch_size"):
        ImageBatches(rows, 38, 10, seed=0)


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


# Scores -------------------------------------------------------------------------------------------


def test_calibration_error_by_hand():
    """Two bins hold something: (0.8, 0.8667] with 3 of 4 right, [0.6, 0.6667) with 0 of 1."""
    labels = np.array([0, 0, 0, 1, 1])
    p = np.array([0.81, 0.82, 0.83, 0.84, 0.62])
    expected = abs(3 - (0.81 + 0.82 + 0.83 + 0.84)) / 5 + 0.62 / 5
    assert calibration_error(labels, np.stack([p, 1 - p], 1)) == pytest.approx(expected)
    certain = np.eye(2)[labels]
    assert calibration_error(labels, certain) == 0
    assert calibration_error(1 - labels, certain) == 1


def test_a_calibrated_classifier_has_no_calibration_error_to_speak_of():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 20_000)
    labels = (rng.random(20_000)[:, None] > p.cumsum(1)).sum(1)
    assert calibration_error(labels, p) < 0.01
    sharper = p**3 / (p**3).sum(1, keepdims=True)
    assert calibration_error(labels, sharper) > 0.1


def test_scores_are_those_of_the_libraries():
    rng = np.random.default_rng(1)
    p, labels = rng.dirichlet(np.ones(5), 300), rng.integers(0, 5, 300)
    scores = classification_scores(labels, p)
    assert scores["test_accuracy"] == round(accuracy_score(labels, p.argmax(1)), 5)
    assert scores["test_nll"] == pytest.approx(log_loss(labels, p), abs=1e-5)
    table = np.array(scores["confusion"])
    assert table.sum() == 300 and table.trace() / 300 == pytest.approx(scores["test_accuracy"])
    assert table.sum(1).tolist() == np.bincount(labels).tolist()  # rows are true classes


def test_the_interval_is_wilsons():
    p = np.tile([0.9, 0.1], (50, 1))
    scores = classification_scores(np.repeat([0, 1], [40, 10]), p)
    z, share, n = 1.959964, 0.8, 50
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    assert scores["test_accuracy_low"] == pytest.approx(centre - half, abs=1e-5)
    assert scores["test_accuracy_high"] == pytest.approx(centre + half, abs=1e-5)
    assert classification_scores(np.zeros(20, int), p[:20])["test_accuracy_high"] == 1


# Gradients ----------------------------------------------------------------------------------------


def linear(weight):
    """One weight per input and no bias: logits x · w for each of two classes."""
    inputs = keras.Input((3,))
    layer = keras.layers.Dense(2, use_bias=False, name="head")
    model = keras.Model(inputs, layer(inputs))
    layer.kernel.assign(weight)
    return model


@pytest.mark.backend
def test_the_probe_finds_the_gradient_of_cross_entropy():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, 2))
    x, y = rng.normal(size=(4, 5, 3)).astype("float32"), np.eye(2)[rng.integers(0, 2, (4, 5))]
    scores = np.exp(x @ weight)
    error = scores / scores.sum(-1, keepdims=True) - y
    exact = np.einsum("nbi,nbc->nic", x, error) / 5
    model = linear(weight)
    probe = GradientProbe(
        model,
        keras.losses.CategoricalCrossentropy(from_logits=True),
        list(zip(x, y.astype("float32"), strict=True)),
        layer_of,
    )
    found = probe.measure()
    mean = (exact.mean(0) ** 2).sum()
    assert found["norm"] == pytest.approx(mean**0.5, rel=1e-4)
    assert found["norm_by_layer"] == {"head": found["norm"]}
    expected = noise_scale(float((exact**2).sum((1, 2)).mean()), float(mean), 5, 4)
    assert found["noise_scale"] == (expected and pytest.approx(expected, abs=0.01))
    np.testing.assert_allclose(ops.convert_to_numpy(model.weights[0]), weight, rtol=1e-6)


@pytest.mark.backend
def test_the_probe_leaves_the_network_as_it_was():
    model = ResNet("digits", (8, 8, 1), activation="sgblend", width=4)
    batches = [(pixels(8, (8, 8, 1), i), np.eye(10, dtype="float32")[:8]) for i in range(2)]
    before = [np.array(ops.convert_to_numpy(v)) for v in model.variables]
    probe = GradientProbe(model, keras.losses.CategoricalCrossentropy(True), batches, layer_of)
    first, second = probe.measure(), probe.measure()
    assert first == second and first["norm"] > 0
    after = [ops.convert_to_numpy(v) for v in model.variables]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    sites = {name.removesuffix("_out") for name in model.activation_sites()}
    assert {"stem", "stage_1_0_0", "stage_2_0_1", "head"} <= first["norm_by_layer"].keys()
    assert {name for name in sites if "_0_0" in name} <= first["norm_by_layer"].keys()


def test_the_noise_scale_is_recovered_from_known_noise():
    """Gradients drawn with mean G and covariance Σ / batch: the scale is tr Σ / |G|²."""
    rng = np.random.default_rng(0)
    mean, sigma, batch, count = rng.normal(size=200), 5.0, 16, 8
    drawn = mean + sigma / batch**0.5 * rng.normal(size=(500, count, 200))
    small = (drawn**2).sum(-1).mean()
    large = (drawn.mean(1) ** 2).sum(-1).mean()
    exact = 200 * sigma**2 / (mean**2).sum()
    assert noise_scale(small, large, batch, count) == pytest.approx(exact, rel=0.02)
    assert noise_scale(1.0, 1.0, batch, count) == 0
    assert noise_scale(1.0, 1.0 / count, batch, count) is None


# Training -----------------------------------------------------------------------------------------


def test_decay_works_as_coupled_decay_does():
    """Without a gradient of the loss, 800 steps of the usual rule and of ours shrink it alike."""
    rate, decay, momentum, steps = 0.02, 0.01, 0.9, 800
    weight, velocity = 1.0, 0.0
    for _ in range(steps):
        gradient = decay * weight
        velocity = momentum * velocity + gradient
        weight -= rate * (gradient + momentum * velocity)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    settings = {**MINI, "learning_rate": rate, "weight_decay": decay, "momentum": momentum}
    optimizer = make_optimizer(settings, 10, model)
    optimizer._learning_rate = keras.Variable(rate)  # a constant in the place of the cycle
    kernel, bias = model.trainable_variables
    kernel.assign([[1.0]])
    bias.assign([1.0])
    for _ in range(steps):
        zeros = [ops.zeros((1, 1)), ops.zeros((1,))]
        optimizer.apply(zeros, [kernel, bias])
    assert 0.01 < weight < 0.6
    assert float(ops.convert_to_numpy(kernel).item()) == pytest.approx(weight, rel=0.05)
    assert float(ops.convert_to_numpy(bias).item()) == 1.0


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_one_cycle_and_decay_of_kernels_alone(name):
    model = ResNet("digits", (8, 8, 1), activation="sgblend", width=4)
    settings = {**MINI, "optimizer": name, "learning_rate": 0.5, "warmup": 0.25}
    optimizer = make_optimizer(settings, 100, model)
    rates = [float(optimizer._learning_rate(step)) for step in range(101)]
    assert rates[0] == 0 and rates[100] == pytest.approx(0, abs=1e-7)
    assert max(rates) == pytest.approx(0.5) == rates[25]
    optimizer.build(model.trainable_variables)
    decayed = {v.path for v in model.trainable_variables if optimizer._use_weight_decay(v)}
    kernels = {v.path for v in model.trainable_variables if v.name == "kernel"}
    assert decayed == kernels and len(kernels) == 6


def test_the_running_mean_is_what_is_left_in_the_end():
    settings = {**MINI, "ema": 0.5, "learning_rate": 0.1, "weight_decay": 0.0, "warmup": 0.5}
    model = ResNet("digits", (8, 8, 1), activation="relu", width=4)
    compile_network(model, settings, 8)
    batch = pixels(16, (8, 8, 1)), np.eye(10, dtype="float32")[np.arange(16) % 10]
    trail = [ops.convert_to_numpy(model.trainable_variables[0]).copy()]

    class Trail(keras.callbacks.Callback):
        def on_train_batch_end(self, step, logs=None):
            trail.append(ops.convert_to_numpy(self.model.trainable_variables[0]).copy())

    model.fit(*batch, batch_size=4, epochs=2, shuffle=False, callbacks=[Trail()], verbose=0)
    mean = trail[1]
    for weight in trail[2:]:
        mean = 0.5 * mean + 0.5 * weight
    np.testing.assert_allclose(ops.convert_to_numpy(model.trainable_variables[0]), mean, atol=1e-5)
    assert np.abs(trail[-1] - mean).max() > 1e-4


@pytest.fixture
def tiny(monkeypatch):
    """Random images of 4 x 4 pixels, 320 of them for training; labels as asked for."""
    rng = np.random.default_rng(0)
    bright = rng.integers(0, 256, (600, 4, 4, 1)).astype("uint8")

    def install(labels):
        rows = Images(bright, labels)
        splits = {"train": rows[:320], "validation": rows[320:400], "test": rows[400:]}
        monkeypatch.setattr(room, "load_images", lambda *_, **__: dict(splits))
        return splits

    return install


SMALL = {"width": 8, "batch_size": 32, "pad": 0, "weight_decay": 0.0, "learning_rate": 0.05}


def test_thirty_two_images_are_learned_by_heart_and_random_labels_teach_nothing(tiny):
    """On the training images everything is right; on others, with labels at random, chance."""
    splits = tiny(np.random.default_rng(1).integers(0, 10, 600))
    overrides = {**SMALL, "max_samples": 32, "epochs": 60, "batch_size": 32}
    trained = train(RunConfig("cifar10", "sgblend", overrides=overrides))
    chosen = subset(splits["train"], 32)
    hits = probabilities(trained.model, chosen.pixels).argmax(1) == chosen.labels
    assert hits.mean() == 1.0
    chance = 0.1 + 4 * (0.1 * 0.9 / 200) ** 0.5
    assert trained.record["metrics"]["test_accuracy"] < chance
    assert trained.record["metrics"]["ece"] > 0.2  # it is sure of itself and wrong
    assert trained.record["gradients"] == []  # less than two batches to measure on


@pytest.fixture
def short_run(tiny):
    """Three epochs on labels that say which half is brighter; the configuration too."""
    splits = tiny(np.zeros(600, int))
    whole = np.concatenate([splits[name].pixels for name in ("train", "validation", "test")])
    tops, bottoms = (whole[:, half].sum((1, 2, 3), dtype=int) for half in (np.s_[:2], np.s_[2:]))
    splits = tiny((tops > bottoms).astype("int64"))
    return splits, RunConfig("cifar10", "sgblend", overrides={**SMALL, "epochs": 3})


@pytest.mark.backend
def test_the_record_of_a_run_and_its_model_agree(short_run, tmp_path):
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
    for kind, strengths in CORRUPTIONS.items():
        assert accuracy(model, test, kind, 0.0) == metrics["test_accuracy"]
        assert list(metrics["robustness"][kind]) == [str(s) for s in strengths]
        assert (
            accuracy(model, test, kind, strengths[2])
            == list(metrics["robustness"][kind].values())[2]
        )
        mean = np.mean(list(metrics["robustness"][kind].values()))
        assert metrics[f"{kind}_accuracy"] == pytest.approx(mean, abs=1e-5)
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    assert {"val_nll", "val_accuracy", "seconds", "cpu_seconds"} <= record["history"][0].keys()
    assert [row["epoch"] for row in record["gradients"]] == [1, 2, 3]
    start, end = record["activation_parameters"][0], record["activation_parameters"][-1]
    assert len(record["activation_parameters"]) == 4
    assert start.keys() == end.keys() == model.activation_sites().keys()
    assert start["stem"] == {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}
    assert len({site["beta"] for site in end.values()}) == 5
    assert record["parameters"] == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert record["data"]["train_images"] == 320
    assert {"dead_share", "near_dead_share"} <= metrics.keys()


class Stopped(Exception):
    """In the middle of a run."""


def test_a_stopped_run_ends_where_it_would_have(short_run, tmp_path, monkeypatch):
    _, config = short_run
    whole = train(config)

    on_epoch_end = Resume.on_epoch_end

    def stop(self, epoch, logs=None):
        on_epoch_end(self, epoch, logs)
        if epoch == 1:
            raise Stopped

    monkeypatch.setattr(Resume, "on_epoch_end", stop)
    with pytest.raises(Stopped):
        train(config, keep=tmp_path)
    monkeypatch.setattr(Resume, "on_epoch_end", on_epoch_end)
    resumed = train(config, keep=tmp_path)
    assert resumed.record["resumed"][0]["after_epoch"] == 2
    for own, other in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)
    assert [row["epoch"] for row in resumed.record["gradients"]] == [1, 2, 3]
    assert resumed.record["metrics"]["confusion"] == whole.record["metrics"]["confusion"]


def test_mixed_precision_trains_and_leaves_a_model_in_float32(short_run):
    _, config = short_run
    for precision in ("mixed_bfloat16", "mixed_float16"):
        overrides = {**config.overrides, "precision": precision}
        trained = train(RunConfig("cifar10", "sgblend", overrides=overrides))
        assert trained.record["metrics"]["test_accuracy"] > 0.75
        assert trained.model.get_layer("stem_conv").compute_dtype == "float32"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"pad": 8}, "pad is 8"),
        ({"batch_size": 5000}, "lower batch_size"),
        ({"max_samples": 5000}, "at most 1197"),
        ({"model": "resnet9"}, "resnet8 or"),
        ({"precision": "float8"}, "float32 or"),
    ],
)
def test_bad_settings_are_named(overrides, message):
    with pytest.raises(UserError, match=message):
        train(RunConfig("cifar10", "relu", overrides=overrides))


def test_one_device_alone():
    with pytest.raises(UserError, match="one device"):
        train(RunConfig("cifar10", "relu"), devices=2)


@pytest.mark.slow
def test_digits_are_learned_by_the_command_a_user_gives(tmp_path):
    environ = {**os.environ, "SGBLEND_RESULTS": str(tmp_path)}
    words = [sys.executable, "-m", "sgblend_utils.cli", "run", "cifar10", "--quiet"]
    done = subprocess.run(words, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("cifar10/*.json")
    metrics = json.loads(path.read_text())["metrics"]
    assert metrics["test_accuracy"] >= 0.95
    assert f"test accuracy {100 * metrics['test_accuracy']:.2f} %" in done.stdout
    assert metrics["robustness"]["noise"]["0.15"] < metrics["test_accuracy"]
