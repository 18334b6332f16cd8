"""Data parallelism over several devices, by Keras's own distribution API."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np

from sgblend_utils.errors import UserError


def data_parallel(devices: int) -> AbstractContextManager[Any]:
    """Within it, models are replicated on the first `devices` devices and batches divided.

    Raises:
        UserError: fewer devices are there, or the backend cannot do this.
    """
    if devices < 1:
        raise UserError(f"--devices is {devices}; give a positive whole number.")
    if devices == 1:
        return nullcontext()
    backend = keras.backend.backend()
    if backend != "jax":
        raise UserError(
            f"Keras spreads a run over several devices on JAX, not on {backend}; "
            "add `--backend jax` or leave out --devices."
        )
    there = keras.distribution.list_devices()
    if len(there) < devices:
        raise UserError(
            f"--devices is {devices} but JAX sees {len(there)} ({', '.join(there)}); "
            f"ask for at most {len(there)}."
        )
    return keras.distribution.DataParallel(devices=there[:devices]).scope()


class EvenRows(keras.utils.PyDataset):
    """The batches of another dataset with empty rows added, so that `devices` divides their number.

    Empty rows are all padding and weigh nothing in the loss.  Where the number of rows divides
    already, batches are as they were, and so are dropout's masks.
    """

    def __init__(self, dataset: keras.utils.PyDataset, devices: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.dataset, self.devices = dataset, devices

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return keras.tree.map_structure(self.fill, self.dataset[index])

    def fill(self, array: np.ndarray) -> np.ndarray:
        """(rows, ...) -> (rows rounded up, ...); zeros, which are PAD, in the rows added."""
        missing = -len(array) % self.devices
        return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1)) if missing else array

    def set_epoch(self, epoch: int) -> None:
        """Passed on, as is the end of an epoch: the dataset lays out its epochs itself."""
        self.dataset.set_epoch(epoch)

    def on_epoch_end(self) -> None:
        """Passed on."""
        self.dataset.on_epoch_end()
