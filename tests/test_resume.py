"""A run that was stopped and taken up again is the run that was never stopped, bit for bit."""

import json

import numpy as np
import pytest

from sgblend_utils import runs
from sgblend_utils.configs import RunConfig
from sgblend_utils.errors import UserError
from sgblend_utils.training import train, translation
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


class Stop(Exception):
    """The power cut."""


@pytest.fixture(autouse=True)
def without_decoding(monkeypatch):
    """Translating the test set is not what is tested here, and takes longest."""
    monkeypatch.setattr(translation, "evaluate_translation", lambda *_: {"bleu": 0.0})


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


def history(trained):
    """The rows without the clocks."""
    rows = trained.record["history"]
    return [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows]


@pytest.fixture(scope="module")
def uninterrupted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translation, "evaluate_translation", lambda *_: {"bleu": 0.0})
        return train(CONFIG)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A folder with the state of a run stopped in its second epoch."""
    with monkeypatch.context() as patch:
        stop_in(patch, epoch=1, update=2)
        with pytest.raises(Stop):
            train(CONFIG, keep=tmp_path / "resume")
    return tmp_path / "resume"


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


def test_a_run_stopped_after_training_is_only_evaluated(uninterrupted, tmp_path, monkeypatch):
    def fail(*_):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(translation, "evaluate_translation", fail)
        with pytest.raises(Stop):
            train(CONFIG, keep=tmp_path)
    monkeypatch.setattr(translation.TranslationObjective, "fit", fail)
    resumed = train(CONFIG, keep=tmp_path)
    assert history(resumed) == history(uninterrupted)
    assert resumed.record["metrics"] == uninterrupted.record["metrics"]
    rows = resumed.record["history"]
    assert resumed.record["timing"]["total_seconds"] >= sum(row["seconds"] for row in rows) - 0.1


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


def test_only_whole_states_are_kept(stopped, monkeypatch):
    whole = (stopped / FILE).read_bytes()

    def broken(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="disk full"):
        train(CONFIG, keep=stopped)
    assert (stopped / FILE).read_bytes() == whole
    assert [path.name for path in stopped.iterdir()] == [FILE]


def test_a_stored_run_goes_on_by_itself_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path))
    folder = runs.models_root() / runs.run_key(CONFIG)
    with monkeypatch.context() as patch:
        stop_in(patch, epoch=1, update=1)
        with pytest.raises(Stop):
            runs.run(CONFIG)
    assert (folder / "resume" / FILE).is_file()
    assert runs.load_records(tmp_path).empty
    begun = []
    original = Resume.restore

    def restore(self, model):
        begun.append(original(self, model))
        return begun[-1]

    monkeypatch.setattr(Resume, "restore", restore)
    record = runs.read_record(runs.run(CONFIG))
    assert begun == [1] and len(record["history"]) == 3
    assert sorted(path.name for path in folder.iterdir()) == ["model.keras", "subwords.model"]
