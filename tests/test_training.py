"""The whole path learns what can be learned, and the record says how."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from sgblend_utils import runs
from sgblend_utils.config import RunConfig
from sgblend_utils.errors import UserError
from sgblend_utils.models.transformer import Transformer
from sgblend_utils.probes import activation_parameters
from sgblend_utils.tasks.callbacks import BestEpoch, CheckpointAverage, EpochLog, make_optimizer
from sgblend_utils.tasks.train import Batches, train

GIB = 2**30
CPU = RunConfig("multi30k", preset="cpu").settings
PUBLISHED = "sgblend(parameterization=published)"
# As notebook 05 trains: the programs that JAX compiles for one are there for the other.
QUICK = {"bucket_boundaries": [24], "epochs": 8, "num_layers": 1, "average": 1, "beam": 1}
QUICK |= {"tokens_per_batch": 768, "dropout": 0.0}


@pytest.fixture(scope="module")
def mini_run(tmp_path_factory):
    """`sgblend run wmt14` as a user gives it, on the bundled corpus: record, path, output."""
    folder = tmp_path_factory.mktemp("results")
    environ = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    environ["SGBLEND_RESULTS"] = str(folder)

    options = [f"--set={name}={json.dumps(value)}" for name, value in QUICK.items()]
    run = ["run", "wmt14", "--activation", "sgblend", "--seed", "0", *options]

    def command(*words):
        words = [sys.executable, "-m", "sgblend_utils.cli", *words]
        return subprocess.run(words, env=environ, capture_output=True, text=True, check=True).stdout

    said = command(*run)
    (path,) = folder.glob("wmt14/*.json")
    return json.loads(path.read_text()), path, said, command, run


@pytest.mark.slow
def test_a_small_transformer_learns_the_mini_language(mini_run):
    record, _, said, *_ = mini_run
    assert record["metrics"]["bleu"] >= 60
    assert f"BLEU {record['metrics']['bleu']:.2f}" in said
    assert record["metrics"]["bleu_signature"] in said
    losses = [row["val_nll"] for row in record["history"]]
    assert losses[-1] < losses[0] / 3


@pytest.mark.slow
def test_the_record_holds_what_a_reader_needs_to_trust_it(mini_run):
    record, path, *_ = mini_run
    backend = record["config"]["backend"]
    config = RunConfig("wmt14", "sgblend", overrides=QUICK, backend=backend)
    assert record["config"] == config.describe()
    assert record["key"] == config.key() and path.stem.endswith(record["key"])
    assert len(record["history"]) == config.settings.epochs
    assert record["data"]["train_pairs"] == 3000
    assert 0 < record["peak_rss_bytes"] <= 4 * GIB
    assert {"python", "keras", config.backend} <= set(record["versions"])
    assert {"processor", "cores"} <= set(record["hardware"])
    assert str(path.parent) not in path.read_text()


@pytest.mark.slow
def test_every_site_learns_parameters_of_its_own(mini_run):
    trajectory = mini_run[0]["activation_parameters"]
    assert len(trajectory) == len(mini_run[0]["history"]) + 1
    first, last = trajectory[0], trajectory[-1]
    assert set(first) == {"encoder_0", "decoder_0"}
    assert all(site == {"alpha": 0.5, "beta": 1.0, "gamma": 0.0} for site in first.values())
    for name in ("alpha", "beta", "gamma"):
        assert len({site[name] for site in last.values()}) == 2


@pytest.mark.slow
def test_a_stored_run_is_not_repeated_and_its_model_translates(mini_run):
    record, path, said, command, run = mini_run
    written = path.stat().st_mtime_ns
    again = command(*run)
    assert again.splitlines()[-2:] == said.splitlines()[-2:]
    assert path.stat().st_mtime_ns == written
    example = record["metrics"]["examples"][0]
    assert (
        command("translate", "--run", record["key"], example["source"]).strip()
        == (example["output"])
    )


@pytest.mark.slow
def test_dropout_is_the_same_from_the_command_line_and_in_a_notebook():
    """Nothing that only one of the two sets may decide on random bits."""
    code = (
        "import sys\n"
        "if sys.argv[1] == 'cli':\n"
        "    from sgblend_utils.cli import choose_backend; choose_backend('jax', 'cifar10')\n"
        "else:\n"
        "    from sgblend_utils.notebook import setup; setup()\n"
        "from sgblend_utils.models import prepare_backend\n"
        "import keras\n"
        "prepare_backend()  # as a run does\n"
        "x = keras.ops.ones((4, 64))\n"
        "print(keras.layers.Dropout(0.5, seed=1)(x, training=True).tolist())\n"
    )
    environ = {**os.environ, "KERAS_BACKEND": "jax"}
    options = {"env": environ, "capture_output": True, "text": True, "check": True}
    masks = [
        subprocess.run([sys.executable, "-c", code, entry], **options).stdout
        for entry in ("cli", "notebook")
    ]
    assert masks[0] == masks[1] and masks[0].count("2.0") > 64 < masks[0].count("0.0")


# Optimizer, schedules, kept weights


def rates(settings, steps, at):
    schedule = make_optimizer(settings, steps, keras.Sequential())._learning_rate
    return [float(schedule(step)) for step in at]


def test_the_learning_rate_warms_up_and_decays_to_zero():
    found = rates(CPU.override({"warmup": 0.25, "learning_rate": 0.5}), 100, range(101))
    assert found[0] == 0 and found[100] == pytest.approx(0, abs=1e-7)
    assert max(found) == pytest.approx(0.5) == found[25]
    assert np.all(np.diff(found[:26]) > 0) and np.all(np.diff(found[26:]) < 0)


def test_the_inverse_square_root_schedule_is_vaswanis():
    peak = 512**-0.5 * 4000**-0.5
    vaswani = {"schedule": "inverse_sqrt", "warmup": 0.04, "learning_rate": peak}
    steps = (1, 500, 4000, 4001, 20_000, 100_000)
    found = rates(CPU.override(vaswani), 100_000, steps)
    expected = [512**-0.5 * min(step**-0.5, step * 4000**-1.5) for step in steps]  # eq. 3
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_constant_rate_is_plain_adam():
    """The published optimizer: ours with its defaults takes the same steps as Keras's."""
    settings = RunConfig("wmt14", protocol="published", preset="paper").settings
    results = []
    for make in (lambda m: make_optimizer(settings, 9, m), lambda _: keras.optimizers.Adam(1e-4)):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.set_weights([np.ones((2, 1)), np.zeros(1)])
        model.compile(optimizer=make(model), loss="mse")
        model.fit(np.ones((8, 2)), np.zeros((8, 1)), epochs=3, verbose=0)
        results.append(model.get_weights()[0])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)


def test_weight_decay_spares_all_but_kernels():
    model = Transformer(20, d_model=8, num_heads=2, ff_dim=16, num_layers=1, activation="sgblend")
    model.build()
    optimizer = make_optimizer(CPU.override({"weight_decay": 0.1}), 10, model)
    optimizer.build(model.trainable_variables)
    decayed = {v.path for v in model.trainable_variables if optimizer._use_weight_decay(v)}
    assert decayed and all(path.endswith("/kernel") for path in decayed)
    assert sum(v.name == "kernel" for v in model.trainable_variables) == len(decayed)


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
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(self.model.get_weights()[0].item()))


def fitted(count):
    """Ten updates away from 0 with the last `count` averaged: model, average, all slopes."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.zeros((1, 1))])
    nll = keras.metrics.MeanSquaredError(name="nll")
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss="mse", metrics=[nll])
    average, slopes = CheckpointAverage(count, 10, 1), Slopes()
    model.fit(Line(5.0), callbacks=[average, slopes], shuffle=False, verbose=0)
    return model, average, slopes.seen


def test_the_mean_of_the_last_checkpoints_is_adopted_where_it_is_better():
    model, average, slopes = fitted(3)
    mean = np.mean(slopes[-3:])
    scores = average.adopt_if_better(model, Line(mean))
    assert model.get_weights()[0].item() == pytest.approx(mean, rel=1e-6)
    assert scores["averaged_val_nll"] < scores["last_val_nll"]


def test_the_mean_is_not_adopted_where_it_is_worse():
    model, average, slopes = fitted(3)
    scores = average.adopt_if_better(model, Line(slopes[-1]))
    assert model.get_weights()[0].item() == slopes[-1]
    assert scores["averaged_val_nll"] > scores["last_val_nll"] == pytest.approx(0, abs=1e-5)


def test_one_checkpoint_is_no_average():
    model, average, _ = fitted(1)
    assert set(average.adopt_if_better(model, Line(1.0))) == {"last_val_nll"}


def test_checkpoints_are_counted_without_asking_the_model():
    """On JAX each look at `self.model` waits for the device: once a checkpoint, not once a step."""

    class Watched(CheckpointAverage):
        looks = 0

        @property
        def model(self):
            Watched.looks += 1
            return self._model

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    average = Watched(2, 100, 10)
    average.set_model(model)
    for epoch in range(10):
        average.on_epoch_begin(epoch)
        for batch in range(10):
            average.on_train_batch_end(batch)
    assert average.taken == 2 and Watched.looks == 2


def test_the_best_epoch_is_the_one_with_the_lowest_validation_loss():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    log = EpochLog()
    best = BestEpoch(log)
    best.set_model(model)
    bias = model.layers[0].bias
    for epoch, nll in enumerate([0.5, 0.3, 0.4]):
        bias.assign([float(epoch)])
        log.rows.append({"val_nll": nll})
        best.on_epoch_end(epoch)
    best.assign(model, best.weights)
    assert best.taken == 2
    assert keras.ops.convert_to_numpy(bias).tolist() == [1.0]


# Batches as Keras reads them


class Widths:
    """Batches whose width is their number, some of them alike."""

    widths = (3, 3, 3, 5)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.widths)

    def shape(self, index):
        return self.widths[index]

    def __getitem__(self, index):
        rows = np.full((7, self.widths[index]), 1, "int32")
        return {"source": rows}, rows


def test_tensorflow_sees_two_shapes_first():
    batches = Batches(Widths())
    found = [batches[i][1].shape[1] for i in range(len(batches))]
    first = [3, 5, 3, 3] if keras.backend.backend() == "tensorflow" else [3, 3, 3, 5]
    assert found == first
    batches.on_epoch_end()
    assert batches.batches.epoch == 1


def test_rows_are_made_even_with_padding():
    inputs, labels = Batches(Widths(), devices=4)[0]
    assert labels.shape == inputs["source"].shape == (8, 3)
    assert labels[:7].all() and not labels[7:].any() and not inputs["source"][7:].any()


def test_the_backend_of_a_run_must_be_the_one_at_hand():
    from sgblend_utils.errors import UserError

    other = "jax" if keras.backend.backend() != "jax" else "torch"
    with pytest.raises(UserError, match=f"KERAS_BACKEND={other}"):
        train(RunConfig("imdb", "relu", backend=other))


@pytest.mark.usefixtures("without_xla")
def test_a_frozen_twin_keeps_what_the_other_run_learned(tmp_path):
    """Of a run that learned nothing it is a repetition, number by number."""
    small = {"max_samples": 96, "d_model": 8, "ff_dim": 12, "num_layers": 1, "length": 16}
    twin, overrides = {"frozen_twin": True}, {**small, "epochs": 2}

    def configured(activation, more):
        config = {"overrides": overrides | more, "backend": keras.backend.backend()}
        return RunConfig("imdb", activation, **config)

    def stored(activation, more):
        return json.loads(runs.run(configured(activation, more), root=tmp_path).read_text())

    with pytest.raises(UserError, match="perform that run first"):
        stored("sgblend", twin)
    learned, fixed = stored("sgblend", {}), stored("sgblend", twin)
    end = learned["activation_parameters"][-1]
    assert fixed["activation_parameters"] == [end] * 3
    assert end != learned["activation_parameters"][0]
    assert fixed["frozen_twin_of"] == learned["key"] != fixed["key"]
    assert fixed["parameters"] == learned["parameters"] - 3 * len(end)
    model = keras.saving.load_model(tmp_path / "models" / fixed["key"] / "model.keras")
    assert activation_parameters(model.activation_sites()) == end

    still, again = (stored("sgblend(trainable_parameters=[])", more) for more in ({}, twin))
    assert again["metrics"] == still["metrics"]
    for activation, said in (("gelu", "it needs"), (PUBLISHED, "free")):
        runs.write_record(learned, runs.Place(configured(activation, {}), tmp_path).record)
        with pytest.raises(UserError, match=said):
            stored(activation, twin)
