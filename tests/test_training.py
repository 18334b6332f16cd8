"""The whole path learns what can be learned, and cannot learn what is not there."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from sgblend_utils.configs import PRESETS, RunConfig
from sgblend_utils.datasets.text import BOS, EOS
from sgblend_utils.errors import UserError
from sgblend_utils.models import transformer as module
from sgblend_utils.models.transformer import Transformer, TranslationObjective
from sgblend_utils.training.common import compile_seconds
from sgblend_utils.training.translation import (
    CheckpointAverage,
    load_translation,
    make_optimizer,
)

GIB = 2**30


@pytest.fixture(scope="module")
def mini_run(tmp_path_factory):
    """`sgblend run multi30k` as a user gives it, on the bundled corpus: record, path, output."""
    folder = tmp_path_factory.mktemp("results")
    environ = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    environ["SGBLEND_RESULTS"] = str(folder)

    def command(*words):
        words = [sys.executable, "-m", "sgblend_utils.cli", *words]
        return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout

    said = command("run", "multi30k", "--activation", "sgblend", "--seed", "0")
    (path,) = folder.glob("multi30k/*.json")
    return json.loads(path.read_text()), path, said, command


@pytest.mark.slow
def test_a_small_transformer_learns_the_mini_language(mini_run):
    record, _, said, _ = mini_run
    assert record["metrics"]["bleu"] >= 60
    assert f"BLEU {record['metrics']['bleu']:.2f}" in said
    assert record["metrics"]["bleu_signature"] in said
    losses = [row["val_nll"] for row in record["history"]]
    assert losses[-1] < losses[0] / 3


@pytest.mark.slow
def test_the_record_holds_what_a_reader_needs_to_trust_it(mini_run):
    record, path, _, _ = mini_run
    settings = PRESETS["multi30k", "sound", "mini"]
    assert record["config"]["settings"] == settings
    assert path.stem.endswith(record["key"])
    assert len(record["history"]) == settings["epochs"]
    assert record["data"]["train_pairs"] == 3000
    assert 0 < record["peak_rss_bytes"] <= 4 * GIB
    assert {"python", "keras", record["backend"]} <= set(record["versions"])
    assert {"processor", "cores"} <= set(record["hardware"])
    assert str(path.parent) not in path.read_text()


@pytest.mark.slow
def test_every_site_learns_parameters_of_its_own(mini_run):
    trajectory = mini_run[0]["activation_parameters"]
    assert len(trajectory) == PRESETS["multi30k", "sound", "mini"]["epochs"] + 1
    first, last = trajectory[0], trajectory[-1]
    assert set(first) == {"encoder_0", "encoder_1", "decoder_0", "decoder_1"}
    assert all(site == {"alpha": 0.5, "beta": 1.0, "gamma": 0.0} for site in first.values())
    for name in ("alpha", "beta", "gamma"):
        assert len({site[name] for site in last.values()}) == 4


@pytest.mark.slow
def test_a_stored_run_is_not_repeated_and_its_model_translates(mini_run):
    record, path, said, command = mini_run
    written = path.stat().st_mtime_ns
    assert (
        command("run", "multi30k", "--activation", "sgblend", "--seed", "0").splitlines()[-2:]
        == said.splitlines()[-2:]
    )
    assert path.stat().st_mtime_ns == written
    sentence = record["metrics"]["examples"][0]
    output = command("translate", "--run", record["key"], sentence["source"])
    assert output.strip() == sentence["output"]


@pytest.mark.slow
def test_rescoring_with_the_runs_own_search_gives_its_own_score(mini_run, tmp_path):
    record, _, _, command = mini_run
    out = tmp_path / "scores.json"
    options = ["--split", "test", "--beam", "1", "4", "--length-penalty", "1.0"]
    command("rescore", "--run", record["key"], *options, "--output", str(out))
    greedy, beam = json.loads(out.read_text())
    assert (beam["beam"], beam["length_penalty"], beam["split"]) == (4, 1.0, "test")
    scores = ("bleu", "bleu_interval", "chrf", "brevity_penalty")
    assert [beam[name] for name in scores] == [record["metrics"][name] for name in scores]
    assert greedy["bleu"] != beam["bleu"]


# Targets that do not depend on the source: there is nothing to learn but their marginal
# distribution


SYMBOLS, LENGTH = 12, 8
CHANCE = (LENGTH / SYMBOLS + 1) / (LENGTH + 1)  # the end of sentence is always in the same place


def noise_accuracy():
    """Held-out token accuracy after training on random targets."""
    rng = np.random.default_rng(0)

    def draw(rows):
        source, words = (
            rng.integers(4, 4 + SYMBOLS, (rows, LENGTH)).astype("int32") for _ in range(2)
        )
        target = np.pad(words, ((0, 0), (1, 0)), constant_values=BOS)
        labels = np.pad(words, ((0, 0), (0, 1)), constant_values=EOS)
        return {"source": source, "target": target}, labels

    sizes = {"d_model": 32, "num_heads": 2, "ff_dim": 64, "num_layers": 2, "dropout": 0.0}
    model = TranslationObjective(Transformer(4 + SYMBOLS, **sizes), label_smoothing=0.0)
    model.build()
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    model.fit(*draw(6400), batch_size=64, epochs=3, verbose=0)
    return model.evaluate(*draw(640), verbose=0, return_dict=True)["accuracy"]


@pytest.mark.slow
def test_noise_targets_score_chance():
    error = (CHANCE * (1 - CHANCE) / (640 * (LENGTH + 1))) ** 0.5
    assert noise_accuracy() < CHANCE + 4 * error


@pytest.mark.slow
def test_noise_targets_score_far_above_chance_where_the_answer_is_visible(monkeypatch):
    """The published decoder: without a causal mask it copies the token it should predict."""
    from keras import ops

    monkeypatch.setattr(module, "causal_bias", lambda length: ops.zeros((1, 1, length, length)))
    assert noise_accuracy() > CHANCE + 0.3


# Parts


def test_the_subset_is_shuffled_before_it_is_cut():
    whole = load_translation(RunConfig("multi30k", "gelu")).pairs["train"]
    part = load_translation(RunConfig("multi30k", "relu", overrides={"max_samples": 50}))
    assert part.pairs["train"] == whole[:50]
    from sgblend_utils.datasets.grammar import mini_corpus

    assert whole != mini_corpus()["train"] and sorted(whole) == sorted(mini_corpus()["train"])


def test_more_samples_than_there_are_is_the_users_to_mend():
    with pytest.raises(UserError, match="at most 3000"):
        load_translation(RunConfig("multi30k", "gelu", overrides={"max_samples": 3001}))


def test_the_learning_rate_warms_up_and_decays_to_zero():
    settings = {**PRESETS["multi30k", "sound", "cpu"], "warmup": 0.25, "learning_rate": 0.5}
    schedule = make_optimizer(settings, 100, keras.Sequential())._learning_rate
    rates = [float(schedule(step)) for step in range(101)]
    assert rates[0] == 0 and rates[100] == pytest.approx(0, abs=1e-7)
    assert max(rates) == pytest.approx(0.5) == rates[25]
    assert np.all(np.diff(rates[:26]) > 0) and np.all(np.diff(rates[26:]) < 0)


def test_the_inverse_square_root_schedule_is_vaswanis():
    settings = {
        **PRESETS["multi30k", "sound", "cpu"],
        "schedule": "inverse_sqrt",
        "warmup": 0.04,
        "learning_rate": 512**-0.5 * 4000**-0.5,
    }
    schedule = make_optimizer(settings, 100_000, keras.Sequential())._learning_rate
    for step in (1, 500, 4000, 4001, 20_000, 100_000):
        expected = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)  # eq. 3, d_model 512
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5)
    copy = type(schedule).from_config(schedule.get_config())
    assert float(copy(777)) == float(schedule(777))


class Line(keras.utils.PyDataset):
    """Ten batches of points on y = slope · x."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def __len__(self):
        return 10

    def __getitem__(self, index):
        x = np.full((4, 1), 1.0 + index, "float32")
        return x, self.slope * x


class Slopes(keras.callbacks.Callback):
    """The model's only weight after each update."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(self.model.get_weights()[0].item()))


@pytest.fixture
def averaged():
    """Ten updates away from 0 with the last three averaged: the model, the average, all slopes."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.zeros((1, 1))])
    nll = keras.metrics.MeanSquaredError(name="nll")
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss="mse", metrics=[nll])
    average, slopes = CheckpointAverage(3, 10), Slopes()
    model.fit(Line(5.0), callbacks=[average, slopes], shuffle=False, verbose=0)
    assert len(set(slopes.seen)) == 10
    return model, average, slopes.seen


def test_the_mean_of_the_last_checkpoints_is_adopted_where_it_is_better(averaged):
    model, average, slopes = averaged
    mean = np.mean(slopes[-3:])
    scores = average.adopt_if_better(Line(mean))
    assert model.get_weights()[0].item() == pytest.approx(mean, rel=1e-6)
    assert scores["averaged_val_nll"] < scores["last_val_nll"]


def test_the_mean_is_not_adopted_where_it_is_worse(averaged):
    model, average, slopes = averaged
    scores = average.adopt_if_better(Line(slopes[-1]))
    assert model.get_weights()[0].item() == slopes[-1]
    assert scores["averaged_val_nll"] > scores["last_val_nll"] == pytest.approx(0, abs=1e-5)


def test_one_checkpoint_is_no_average():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=[keras.metrics.MeanSquaredError(name="nll")])
    average = CheckpointAverage(1, 10)
    model.fit(Line(1.0), callbacks=[average], shuffle=False, verbose=0)
    assert set(average.adopt_if_better(Line(1.0))) == {"last_val_nll"}


def test_weight_decay_spares_all_but_kernels():
    model = Transformer(20, 8, 2, 16, 1, activation="sgblend")
    model.build()
    settings = {**PRESETS["multi30k", "sound", "cpu"], "weight_decay": 0.1}
    optimizer = make_optimizer(settings, 10, model)
    optimizer.build(model.trainable_variables)
    decayed = {v.path for v in model.trainable_variables if optimizer._use_weight_decay(v)}
    assert decayed and all(path.endswith("/kernel") for path in decayed)
    assert sum(v.name == "kernel" for v in model.trainable_variables) == len(decayed)


def test_compilation_is_what_the_first_epoch_took_longer():
    rows = [{"seconds": s} for s in (30.0, 10.0, 12.0, 11.0)]
    assert compile_seconds(rows) == (19.0, 11.0)
    assert compile_seconds(rows[:1]) == (0.0, 30.0)
