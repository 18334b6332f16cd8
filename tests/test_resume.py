"""A run that was stopped and resumed is the run that was never stopped, bit for bit."""

import json
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import run_tools

from sgblend_utils.config import RunConfig
from sgblend_utils.errors import UserError
from sgblend_utils.tasks import callbacks, evaluation
from sgblend_utils.tasks import train as training
from sgblend_utils.tasks.callbacks import Checkpoint, EpochLog, WeightKeeper
from sgblend_utils.tasks.train import train

FILE = "epoch.npz"
BACKEND = {"backend": keras.backend.backend()}
TINY = {
    "max_samples": 150,
    "vocabulary": 300,
    "d_model": 16,
    "num_heads": 2,
    "ff_dim": 32,
    "num_layers": 1,
    "tokens_per_batch": 512,
    "bucket_boundaries": [24],
    "epochs": 3,
    "average": 12,  # more checkpoints than an epoch has updates: their sum outlives the stop
}
CONFIG = RunConfig("multi30k", "sgblend", overrides=TINY, **BACKEND)
SMALL = {"max_samples": 96, "d_model": 8, "ff_dim": 12, "num_layers": 1, "epochs": 2}
SHORT = {**SMALL, "bucket_boundaries": [16], "tokens_per_batch": 256}
REVIEWS = {**SMALL, "length": 16, "tokens_per_batch": 256}
IMAGES = {"max_samples": 256, "width": 4, "epochs": 2}
OTHERS = {
    "published translation": RunConfig("wmt14", "sgblend", "published", overrides=SHORT, **BACKEND),
    "sentiment": RunConfig("imdb", "sgblend", overrides=REVIEWS, **BACKEND),
    "images": RunConfig("cifar10", "sgblend", overrides=IMAGES, **BACKEND),
}
CLOCKS = {"seconds", "cpu_seconds"}


class Stop(Exception):
    """The power cut."""


@pytest.fixture(autouse=True, scope="module")
def without_decoding():
    """Translating the test set is not what is tested here, and takes longest."""
    with pytest.MonkeyPatch.context() as patch, run_tools.without_xla():
        for name in ("sound", "published"):
            patch.setattr(evaluation, name, lambda *_: {"bleu": 0.0})
        yield


def cut_in_second_epoch(log, batch, logs=None):
    if len(log.rows) == 1 and batch == 1:
        raise Stop


def history(trained):
    rows = trained.record["history"]
    return [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows]


def stop(config, folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpochLog, "on_train_batch_end", cut_in_second_epoch)
        with pytest.raises(Stop):
            train(config, checkpoint=folder)


def assert_equal_runs(one, other):
    assert history(one) == history(other)
    for name in ("activation_parameters", "metrics", "data", "parameters"):
        assert one.record[name] == other.record[name]
    pairs = zip(one.model.get_weights(), other.model.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    """A folder with the state of a run stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    stop(CONFIG, folder)
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    return Path(shutil.copytree(stopped_once, tmp_path / "checkpoint"))


@pytest.mark.backend
@pytest.mark.slow
def test_resumed_equals_uninterrupted(stopped, monkeypatch):
    uninterrupted = train(CONFIG)
    resumed = train(CONFIG, checkpoint=stopped)
    assert_equal_runs(resumed, uninterrupted)
    assert {"last_val_nll", "averaged_val_nll"} <= set(resumed.record["metrics"])
    assert [part["after_epoch"] for part in resumed.record["resumed"]] == [1]
    assert "resumed" not in uninterrupted.record

    # All epochs are done: what is left is the evaluation.
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail())
    evaluated = train(CONFIG, checkpoint=stopped)
    assert evaluated.record["history"] == resumed.record["history"]
    assert evaluated.record["metrics"] == resumed.record["metrics"]
    seconds = sum(row["seconds"] for row in resumed.record["history"])
    assert evaluated.record["timing"]["total_seconds"] >= seconds - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
def test_every_task_goes_on_where_it_stopped(config, tmp_path, monkeypatch):
    """From a copy of the state after the first epoch of a run that itself goes on."""
    save, commit = Checkpoint.on_epoch_end, ["before"]

    def save_and_copy(saver, epoch, logs=None):
        save(saver, epoch, logs)
        if epoch == 0:
            shutil.copytree(tmp_path / "whole", tmp_path / "stopped", dirs_exist_ok=True)
            commit[0] = "meanwhile"

    monkeypatch.setattr(Checkpoint, "on_epoch_end", save_and_copy)
    monkeypatch.setattr(training, "git_commit", lambda: commit[0])
    uninterrupted = train(config, checkpoint=tmp_path / "whole")
    resumed = train(config, checkpoint=tmp_path / "stopped")
    assert resumed.record["resumed"] == [{"after_epoch": 1, "git_commit": "before"}]
    assert len(history(resumed)) == 2
    assert_equal_runs(resumed, uninterrupted)
    # A commit made while a run trains is not credited with it.
    assert uninterrupted.record["git_commit"] == "before"


def test_a_run_that_lost_patience_is_over():
    log = EpochLog(RunConfig("wmt14", protocol="published").settings)  # whose patience is 2
    ends = []
    for loss in (3.0, 2.0, 2.5, 2.0):
        log.rows.append({"val_loss": loss})
        ends.append(log.over)
    assert ends == [False, False, False, True]  # as Keras's EarlyStopping
    assert not EpochLog(CONFIG.settings).over


def test_a_loss_that_is_not_a_number_ends_the_run_with_the_remedy():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(1e30), loss="mse")
    x = np.ones((16, 1), "float32")
    with pytest.raises(UserError, match="after epoch 1: lower learning_rate"):
        model.fit(x, x, batch_size=2, epochs=3, callbacks=[EpochLog()], verbose=0)


def change_note(folder, **changes):
    with np.load(folder / FILE) as file:
        arrays = dict(file)
    note = json.loads(str(arrays["note"])) | changes
    np.savez(folder / FILE, **{**arrays, "note": np.array(json.dumps(note))})


@pytest.mark.slow
def test_what_does_not_fit_is_named_with_the_remedy(stopped, monkeypatch):
    whole = (stopped / FILE).read_bytes()
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail())
    for damaged in (whole[: len(whole) // 2], b"", b"no archive at all"):
        (stopped / FILE).write_bytes(damaged)
        with pytest.raises(UserError, match=r"damaged; move the folder .*checkpoint"):
            train(CONFIG, checkpoint=stopped)
    (stopped / FILE).write_bytes(whole)
    change_note(stopped, shapes=[[2, 2]])
    with pytest.raises(UserError, match="of another model"):
        train(CONFIG, checkpoint=stopped)


def test_only_whole_states_are_kept(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    saver = Checkpoint(tmp_path, {"seen": [0.1]}, WeightKeeper(), 0.0, None)
    saver.set_model(model)
    saver.on_epoch_end(0)
    whole = (tmp_path / FILE).read_bytes()

    def broken(file, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(callbacks.np, "savez", broken)
    with pytest.raises(OSError, match="disk full"):
        saver.on_epoch_end(1)
    assert (tmp_path / FILE).read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    rows = []
    assert Checkpoint(tmp_path, {"seen": rows}, WeightKeeper(), 0.0, None).restore(model) == 1
    assert rows == [0.1]


def test_versions_do_not_depend_on_the_name_of_a_distribution(monkeypatch):
    """`tensorflow-cpu` has no distribution `tensorflow`; the module knows its version."""
    real = training.version

    def without_backends(name):
        assert name not in ("tensorflow", "jax", "torch", "keras")
        return real(name)

    monkeypatch.setattr(training, "version", without_backends)
    found = training.environment()["versions"]
    assert found[keras.backend.backend()] and found["keras"] == keras.__version__


def test_outside_a_checkout_there_is_no_commit(monkeypatch):
    def fails(*_, **__):
        raise subprocess.CalledProcessError(128, "git")

    monkeypatch.setattr(subprocess, "run", fails)
    assert training.git_commit() is None
