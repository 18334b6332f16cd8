"""A run that was stopped goes on after its last whole epoch, as if it had never stopped.

Everything that the next epoch depends on is kept: weights, the optimizer's moments and step count,
the dropout generators' states, the order of the data (through the epoch's number), and what the
callbacks have gathered.  One file holds it, written whole or not at all.
"""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.datasets.files import whole_file
from sgblend_utils.errors import UserError
from sgblend_utils.training.common import git_commit

FILE = "epoch.npz"


class Resume(keras.callbacks.Callback):
    """Trains a run, keeping its state after each epoch in `folder`.

    Args:
        folder: of this run alone; None keeps nothing.
        rows: lists that the other callbacks append to, by name; refilled in place by `restore`.
        average: a `CheckpointAverage`, or anything else with `sums` and `taken`.
        started: `time.perf_counter()` at the start of the process's part of the run.

    Attributes:
        done: epochs that are finished.
        began: `started`, moved back by the time that earlier parts of the run took.
        parts: for each time the run was taken up again: after which epoch, and the earlier part's
            git commit.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        rows: Mapping[str, list[Any]],
        average: Any = None,
        started: float | None = None,
    ):
        super().__init__()
        self.path = None if folder is None else Path(folder) / FILE
        self.rows, self.average = rows, average
        self.began = time.perf_counter() if started is None else started
        self.done = 0
        self.parts: list[dict[str, Any]] = []

    def fit(
        self,
        model: keras.Model,
        train: keras.utils.PyDataset,
        validation: keras.utils.PyDataset,
        *,
        epochs: int,
        callbacks: Sequence[keras.callbacks.Callback],
        verbose: bool = False,
    ) -> None:
        """`model.fit` for the epochs that are left; none if one of `callbacks` is `over`.

        Args:
            model: built and compiled.
            train: has `set_epoch(number)`, and shuffles itself.
            validation: read after each epoch.
            epochs: of the whole run.
            callbacks: in the order in which Keras shall call them; this one comes last.
            verbose: print a line per epoch.

        Raises:
            UserError: see `restore`.
        """
        done = self.restore(model)
        train.set_epoch(done)
        if done >= epochs or any(getattr(callback, "over", False) for callback in callbacks):
            return
        model.fit(
            train,
            validation_data=validation,
            initial_epoch=done,
            epochs=epochs,
            callbacks=[*callbacks, self],
            shuffle=False,  # the batches shuffle themselves
            verbose=2 if verbose else 0,
        )

    def restore(self, model: keras.Model) -> int:
        """Bring a built and compiled model and the callbacks to where the run stopped.

        Returns:
            The number of finished epochs: `fit`'s `initial_epoch`, 0 if nothing was kept.

        Raises:
            UserError: what was kept is damaged, or is from another backend or model.
        """
        if self.path is None or not self.path.exists():
            return 0
        again = f"remove the folder {self.path.parent} to begin the run again"
        try:
            with np.load(self.path) as file:
                arrays = dict(file)
            note = json.loads(str(arrays.pop("note")))
            backend, shapes = note["backend"], note["shapes"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"The stopped run's state {self.path} is damaged; {again}.") from error
        if backend != keras.backend.backend():
            raise UserError(
                f"This run was begun on the backend {backend}; "
                f"go on with `--backend {backend}`, or {again}."
            )
        variables = state_variables(model)
        if shapes != [list(v.shape) for v in variables]:
            raise UserError(f"The stopped run's state {self.path} is of another model; {again}.")
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"variable_{i}"])
        for name, rows in self.rows.items():
            rows[:] = note["rows"][name]
        if self.average is not None:
            self.average.taken = note["taken"]
            sums = [arrays[name] for name in sum_names(arrays)]
            self.average.sums = sums or None
        self.done = note["done"]
        self.began -= note["seconds"]
        self.parts = [*note["parts"], {"after_epoch": self.done, "git_commit": note["git_commit"]}]
        return self.done

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the state after `epoch`."""
        self.done = epoch + 1
        if self.path is None:
            return
        variables = state_variables(self.model)
        sums = [] if self.average is None else self.average.sums or []
        note = {
            "done": self.done,
            "backend": keras.backend.backend(),
            "shapes": [list(v.shape) for v in variables],
            "rows": {name: list(rows) for name, rows in self.rows.items()},
            "taken": 0 if self.average is None else self.average.taken,
            "seconds": time.perf_counter() - self.began,
            "parts": self.parts,
            "git_commit": git_commit(),
        }
        with whole_file(self.path) as file:
            np.savez(
                file,
                note=np.array(json.dumps(note)),
                **{f"variable_{i}": ops.convert_to_numpy(v) for i, v in enumerate(variables)},
                **{f"sum_{i:05d}": value for i, value in enumerate(sums)},
            )


def state_variables(model: keras.Model) -> list[Any]:
    """Weights, states of random generators and the optimizer's variables, in a fixed order.

    Metrics are not among them: they begin anew with every epoch.
    """
    model.optimizer.build(model.trainable_variables)
    of_metrics = {id(v) for v in model.metrics_variables}
    own = [v for v in model.variables if id(v) not in of_metrics]
    return [*own, *model.optimizer.variables]


def sum_names(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """The names of the sums of checkpoints, in order."""
    return sorted(name for name in arrays if name.startswith("sum_"))
