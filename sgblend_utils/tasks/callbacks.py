"""Optimizers, schedules, the log of epochs, weights that are kept, checkpoints."""

import dataclasses
import json
import math
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.data import atomic_write
from sgblend_utils.errors import UserError

AVERAGE_SPACING = 0.02  # of all updates, between the checkpoints that are averaged


class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then peak · √(warmup / step) (Vaswani et al. 2017, eq. 3)."""

    def __init__(self, peak: float, warmup: int):
        super().__init__()
        self.peak, self.warmup = peak, warmup

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        late = ops.sqrt(self.warmup / ops.maximum(step, 1.0))
        return self.peak * ops.minimum(step / self.warmup, late)

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warmup": self.warmup}


def learning_rate(settings: Any, steps: int) -> Any:
    """Constant, or a linear warm-up followed by half a cosine to zero or an inverse root."""
    if settings.schedule == "constant":
        return settings.learning_rate
    warmup = max(1, int(settings.warmup * steps))
    if settings.schedule == "inverse_sqrt":
        return InverseSquareRoot(settings.learning_rate, warmup)
    peak = {"warmup_target": settings.learning_rate, "warmup_steps": warmup}
    return keras.optimizers.schedules.CosineDecay(0.0, max(1, steps - warmup), **peak)


def make_optimizer(settings: Any, steps: int, model: keras.Model) -> keras.Optimizer:
    """AdamW, or SGD with Nesterov momentum; only kernels are decayed.

    To decay α, β, γ towards zero would be a statement about the function.  `weight_decay` of SGD
    means the usual one, which adds wd · w to the gradient and so works through the momentum.
    Keras's takes lr · wd · w away directly: wd / (1 − momentum) makes it the same to first order.
    """
    values = dataclasses.asdict(settings)
    ema = values.get("ema", 0.0)
    decay = settings.weight_decay or None  # Keras would take 0 · w away, variable by variable
    options = {"weight_decay": decay, "use_ema": ema > 0, "ema_momentum": ema}
    rate = learning_rate(settings, steps)
    if values.get("optimizer") == "sgd":
        options["weight_decay"] = decay and decay / (1 - settings.momentum)
        options |= {"momentum": settings.momentum, "nesterov": settings.momentum > 0}
        optimizer = keras.optimizers.SGD(rate, **options)
    else:  # Keras's AdamW is its Adam, and insists on a decay
        options |= {"beta_2": values.get("beta_2", 0.999)}
        options["global_clipnorm"] = values.get("clip") or None
        optimizer = keras.optimizers.Adam(rate, **options)
    others = [v for v in model.trainable_variables if v.name != "kernel"]
    optimizer.exclude_from_weight_decay(var_list=others)
    return optimizer


class EpochLog(keras.callbacks.Callback):
    """One row per epoch: losses, validation scores, seconds by the clock and of processor time.

    With the switch for early stopping it ends training, resumed or not, after `patience` epochs
    without a lower `val_loss`.
    """

    def __init__(self, settings: Any = None):
        super().__init__()
        self.rows: list[dict[str, float]] = []
        stops = getattr(settings, "early_stopping_on_reported_split", False)
        self.patience = settings.patience if stops else math.inf

    @property
    def over(self) -> bool:
        losses = [row["val_loss"] for row in self.rows]
        return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= self.patience

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        ended = time.perf_counter(), time.process_time()
        seconds, cpu_seconds = (round(b - a, 2) for a, b in zip(self.started, ended, strict=True))
        row = {name: round(float(value), 5) for name, value in (logs or {}).items()}
        if not all(map(math.isfinite, row.values())):
            raise UserError(f"The loss is no number after epoch {epoch + 1}: lower learning_rate.")
        times = {"seconds": seconds, "cpu_seconds": cpu_seconds}
        self.rows.append({"epoch": epoch + 1, **row, **times})
        if self.over:
            self.model.stop_training = True


class WeightKeeper(keras.callbacks.Callback):
    """Keeps weights: a list of arrays, and how many updates are in them."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[np.ndarray] = []
        self.taken = 0

    def current(self) -> list[np.ndarray]:
        return [np.array(ops.convert_to_numpy(v)) for v in self.model.trainable_variables]

    def assign(self, model: keras.Model, values: Iterable[np.ndarray]) -> None:
        for variable, value in zip(model.trainable_variables, values, strict=True):
            variable.assign(value)


class CheckpointAverage(WeightKeeper):
    """Sum of the weights at `count` evenly spaced updates (Vaswani et al. 2017, section 6.1)."""

    def __init__(self, count: int, steps: int, epochs: int):
        super().__init__()
        apart = max(1, round(AVERAGE_SPACING * steps))
        self.wanted = {steps - i * apart for i in range(count)}
        self.per_epoch = steps // epochs

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        # Counted here: to read the optimizer's counter would make JAX wait for every step.
        self.step = epoch * self.per_epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.step += 1
        if self.step in self.wanted:
            now = self.current()
            self.weights = list(map(np.add, self.weights, now)) if self.weights else now
            self.taken += 1

    def adopt_if_better(self, model: keras.Model, validation: Any) -> dict[str, float]:
        """Give the model the mean if that lowers its validation loss; both losses."""
        self.set_model(model)
        weights = {"last_val_nll": self.current()}
        if self.taken > 1:
            weights["averaged_val_nll"] = [total / self.taken for total in self.weights]
        scores = {}
        for name, values in weights.items():
            self.assign(model, values)
            scores[name] = float(model.evaluate(validation, verbose=0, return_dict=True)["nll"])
        self.assign(model, weights[min(scores, key=scores.__getitem__)])
        return {name: round(value, 5) for name, value in scores.items()}


class BestEpoch(WeightKeeper):
    """Keeps the weights of the epoch with the lowest validation cross-entropy."""

    def __init__(self, log: EpochLog):
        super().__init__()
        self.log = log

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        *before, now = [row["val_nll"] for row in self.log.rows]
        if now < min(before, default=math.inf):
            self.weights, self.taken = self.current(), epoch + 1


class Checkpoint(keras.callbacks.Callback):
    """Keeps a run's whole state after each epoch in one file of `folder`; None keeps nothing.

    A stopped run ends bit for bit where it would have: the file has weights, optimizer moments,
    dropout generators and `rows`, lists that other callbacks append to.  `began` is the start's
    `time.perf_counter()`, moved back by what earlier parts took; `parts` says after which epochs
    the run was resumed, and with which commit it had begun.
    """

    def __init__(self, folder: Any, rows: Any, keeper: WeightKeeper, began: float, commit: Any):
        super().__init__()
        self.path = None if folder is None else Path(folder) / "epoch.npz"
        self.rows, self.keeper, self.began, self.commit = rows, keeper, began, commit
        self.parts: list[dict[str, Any]] = []

    def restore(self, model: keras.Model) -> int:
        """Load the state if there is one; the number of finished epochs."""
        if self.path is None or not self.path.exists():
            return 0
        variables = state_variables(model)
        again = f"move the folder {self.path.parent} to begin the run again"
        try:
            with np.load(self.path) as file:
                arrays = dict(file)
            note = json.loads(str(arrays.pop("note")))
            same = note["shapes"] == [list(v.shape) for v in variables]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"The checkpoint {self.path} is damaged; {again}.") from error
        if not same:
            raise UserError(f"The checkpoint {self.path} is of another model; {again}.")
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"variable_{i}"])
        for name, rows in self.rows.items():
            rows[:] = note["rows"][name]
        kept = sorted(name for name in arrays if name.startswith("kept_"))
        self.keeper.weights, self.keeper.taken = [arrays[n] for n in kept], note["taken"]
        self.began -= note["seconds"]
        self.parts = [*note["parts"], {name: note[name] for name in ("after_epoch", "git_commit")}]
        return note["after_epoch"]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.path is None:
            return
        variables = state_variables(self.model)
        note = {"after_epoch": epoch + 1, "git_commit": self.commit, "parts": self.parts}
        note |= {"rows": dict(self.rows), "taken": self.keeper.taken}
        note |= {"shapes": [list(v.shape) for v in variables]}
        note |= {"seconds": time.perf_counter() - self.began}
        arrays = {f"variable_{i}": ops.convert_to_numpy(v) for i, v in enumerate(variables)}
        arrays |= {f"kept_{i:05d}": value for i, value in enumerate(self.keeper.weights)}
        with atomic_write(self.path) as file:
            np.savez(file, note=np.array(json.dumps(note)), **arrays)


def state_variables(model: keras.Model) -> list[Any]:
    """Weights, random generators' states and the optimizer's variables, without metrics."""
    model.optimizer.build(model.trainable_variables)
    of_metrics = {id(v) for v in model.metrics_variables}
    return [v for v in model.variables if id(v) not in of_metrics] + model.optimizer.variables
