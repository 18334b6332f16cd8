"""A run that was stopped and taken up again is the run that was never stopped, bit for bit."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from sgblend_utils import runs
from sgblend_utils.configs import RunConfig
from sgblend_utils.errors import UserError
from sgblend_utils.training import published_translation, train, translation
from sgblend_utils.training.common import EpochLog, Patience
from sgblend_utils.training.resume import FILE, Resume

TINY = {
    "max_samples": 150,
    "vocabulary": 300,
    "d_model": 16,
    "num_heads": 2,
    "ff_dim": 32,
    "num_layers": 1,
    "tokens": 512,
    "widths": [24],
    "epochs": 3,
    "average": 12,  # more checkpoints than an epoch has updates: their sum outlives the stop
}
CONFIG = RunConfig("multi30k", "sgblend", overrides=TINY)
CLOCKS = {"seconds", "cpu_seconds"}
SMALL = {"max_samples": 96, "length": 16, "d_model": 8, "ff_dim": 12, "num_layers": 1, "epochs": 2}
ROWS, TOKENS = {**SMALL, "batch_size": 16}, {**SMALL, "tokens": 256}
OTHERS = {  # the other rooms with a Transformer
    "published translation": RunConfig("wmt14", "sgblend", "published", overrides=ROWS),
    "sentiment": RunConfig("imdb", "sgblend", overrides=TOKENS),
}


class Stop(Exception):
    """The power cut."""


@pytest.fixture(autouse=True)
def without_decoding(monkeypatch):
    """Translating the test set is not what is tested here, and takes longest."""
    monkeypatch.setattr(translation, "evaluate_translation", lambda *_: {"bleu": 0.0})
    monkeypatch.setattr(published_translation, "read_everything", lambda *_: {"bleu": 0.0})


def stop_in(monkeypatch, epoch, update):
    """Raise in the given epoch (from 0 on) after so many of its updates."""
    original = translation.CheckpointAverage.on_train_batch_end
    epochs = []

    def begin(self, number, logs=None):
        epochs.append(number)

    def end(self, batch, logs=None):
        original(self, batch, logs)
        if epochs[-1] == epoch and batch + 1 == update:
            raise Stop

    monkeypatch.setattr(translation.CheckpointAverage, "on_epoch_begin", begin)
    monkeypatch.setattr(translation.CheckpointAverage, "on_train_batch_end", end)


def cut_in_second_epoch(log, batch, logs=None):
    """After the first update."""
    if len(log.rows) == 1:
        raise Stop


def history(trained):
    """The rows without the clocks."""
    rows = trained.record["history"]
    return [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows]


@pytest.fixture(scope="module")
def uninterrupted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translation, "evaluate_translation", lambda *_: {"bleu": 0.0})
        return train(CONFIG)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    """A folder with the state of a run stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        stop_in(patch, epoch=1, update=2)
        with pytest.raises(Stop):
            train(CONFIG, keep=folder)
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A copy of that folder."""
    return Path(shutil.copytree(stopped_once, tmp_path / "resume"))


@pytest.mark.backend
def test_resumed_equals_uninterrupted(uninterrupted, stopped, monkeypatch):
    updates = []
    original = translation.CheckpointAverage.on_train_batch_end

    def count(self, batch, logs=None):
        updates.append(batch)
        original(self, batch, logs)

    monkeypatch.setattr(translation.CheckpointAverage, "on_train_batch_end", count)
    resumed = train(CONFIG, keep=stopped)
    assert len(updates) == 2 * (updates[-1] + 1)  # the first epoch is not repeated
    assert history(resumed) == history(uninterrupted)
    for name in ("activation_parameters", "metrics", "data", "parameters"):
        assert resumed.record[name] == uninterrupted.record[name]
    assert {"last_val_nll", "averaged_val_nll"} <= set(resumed.record["metrics"])
    pairs = zip(resumed.model.get_weights(), uninterrupted.model.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert [part["after_epoch"] for part in resumed.record["resumed"]] == [1]
    assert "resumed" not in uninterrupted.record

    # All epochs are done: what is left is the evaluation.
    monkeypatch.setattr(translation.TranslationObjective, "fit", lambda *_, **__: pytest.fail())
    evaluated = train(CONFIG, keep=stopped)
    assert evaluated.record["history"] == resumed.record["history"]
    assert evaluated.record["metrics"] == resumed.record["metrics"]
    seconds = sum(row["seconds"] for row in resumed.record["history"])
    assert evaluated.record["timing"]["total_seconds"] >= seconds - 0.1


@pytest.mark.slow
@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
def test_every_room_goes_on_where_it_stopped(config, tmp_path):
    whole = train(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpochLog, "on_train_batch_end", cut_in_second_epoch)
        with pytest.raises(Stop):
            train(config, keep=tmp_path)
    resumed = train(config, keep=tmp_path)
    assert [part["after_epoch"] for part in resumed.record["resumed"]] == [1]
    assert history(resumed) == history(whole) and len(history(whole)) == 2
    for name in ("activation_parameters", "metrics", "data", "parameters"):
        assert resumed.record[name] == whole.record[name]
    pairs = zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


class Ordered(keras.utils.PyDataset):
    """One batch, which counts how often it is read."""

    read = 0

    def set_epoch(self, epoch):
        pass

    def __len__(self):
        return 1

    def __getitem__(self, index):
        self.read += 1
        return np.ones((4, 2), "float32"), np.ones((4, 1), "float32")


def test_a_run_that_lost_patience_is_over(tmp_path):
    def fit():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
        model.compile(optimizer=keras.optimizers.SGD(-1.0), loss="mse")  # uphill
        log, data = EpochLog(), Ordered()
        callbacks = [log, Patience(log.rows, 2)]
        resume = Resume(tmp_path, rows={"history": log.rows})
        resume.fit(model, data, Ordered(), epochs=9, callbacks=callbacks)
        return log.rows, data.read

    rows, read = fit()
    losses = [row["val_loss"] for row in rows]
    assert losses == sorted(losses) and len(losses) == 3 and read >= 3
    assert fit() == (rows, 0)


def change_note(folder, **changes):
    with np.load(folder / FILE) as file:
        arrays = dict(file)
    note = json.loads(str(arrays["note"])) | changes
    np.savez(folder / FILE, **{**arrays, "note": np.array(json.dumps(note))})


def test_what_does_not_fit_is_named_with_the_remedy(stopped, monkeypatch):
    whole = (stopped / FILE).read_bytes()
    monkeypatch.setattr(translation.TranslationObjective, "fit", lambda *_, **__: pytest.fail())
    for damaged in (whole[: len(whole) // 2], b"", b"no archive at all"):
        (stopped / FILE).write_bytes(damaged)
        with pytest.raises(UserError, match=r"damaged; remove the folder .*resume"):
            train(CONFIG, keep=stopped)
    (stopped / FILE).write_bytes(whole)
    change_note(stopped, backend="abacus")
    with pytest.raises(UserError, match="--backend abacus"):
        train(CONFIG, keep=stopped)
    (stopped / FILE).write_bytes(whole)
    change_note(stopped, shapes=[[2, 2]])
    with pytest.raises(UserError, match="of another model"):
        train(CONFIG, keep=stopped)


def test_only_whole_states_are_kept(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    resume = Resume(tmp_path, rows={"seen": [0.1]})
    resume.set_model(model)
    resume.on_epoch_end(0)
    whole = (tmp_path / FILE).read_bytes()

    def broken(file, **_):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="disk full"):
        resume.on_epoch_end(1)
    assert (tmp_path / FILE).read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    rows = []
    assert Resume(tmp_path, rows={"seen": rows}).restore(model) == 1
    assert rows == [0.1]


def test_a_stored_run_goes_on_by_itself_and_leaves_nothing_behind(
    stopped_once, tmp_path, monkeypatch
):
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path))
    folder = runs.models_root() / runs.run_key(CONFIG)
    shutil.copytree(stopped_once, folder / "resume")
    kept = []
    original = Resume.on_epoch_end

    def keep(self, epoch, logs=None):
        original(self, epoch, logs)
        kept.append((epoch, self.path.relative_to(folder).as_posix()))

    monkeypatch.setattr(Resume, "on_epoch_end", keep)
    record = runs.read_record(runs.run(CONFIG))
    assert kept == [(1, f"resume/{FILE}"), (2, f"resume/{FILE}")]
    assert len(record["history"]) == 3
    assert sorted(path.name for path in folder.iterdir()) == ["model.keras", "subwords.model"]
