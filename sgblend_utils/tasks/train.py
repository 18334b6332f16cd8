"""The one training loop: seed, data, model, `fit` with checkpoints, evaluation, record."""

import importlib
import math
import os
import platform
import re
import resource
import statistics
import subprocess
import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from sgblend_utils.config import RunConfig
from sgblend_utils.errors import UserError
from sgblend_utils.models import prepare_backend
from sgblend_utils.probes import ParameterTrajectory
from sgblend_utils.tasks.callbacks import Checkpoint, EpochLog, WeightKeeper


class Trained(NamedTuple):
    """A trained model that can be saved, its record without schema and key, and files it needs."""

    model: keras.Model
    record: dict[str, Any]
    files: dict[str, bytes]


class Batches(keras.utils.PyDataset):
    """The batches of `data.batches` as Keras reads them.

    On TensorFlow the first two differ in shape where any do: Keras takes a dimension in which they
    agree as fixed.  For several `devices` rows of zeros, which weigh nothing, are added.
    """

    def __init__(self, batches: Any, devices: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.batches, self.devices = batches, devices
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.batches.set_epoch(epoch)
        self.order = list(range(len(self.batches)))
        if keras.backend.backend() == "tensorflow" and self.order:
            first = self.batches.shape(0)
            other = next((i for i in self.order if self.batches.shape(i) != first), None)
            if other is not None:
                self.order[1], self.order[other] = self.order[other], self.order[1]

    def on_epoch_end(self) -> None:
        self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        def fill(array: np.ndarray) -> np.ndarray:
            missing = -len(array) % self.devices
            return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))

        batch = self.batches[self.order[index]]
        return batch if self.devices == 1 else keras.tree.map_structure(fill, batch)


def train(
    config: RunConfig,
    *,
    verbose: bool = False,
    checkpoint: Path | None = None,
    devices: int = 1,
    fixed: Mapping[str, Mapping[str, Any]] | None = None,
) -> Trained:
    """Perform the run that `config` describes; its backend must be the one Keras runs on.

    A stopped run goes on from the state after its last epoch, in the directory `checkpoint`.  Each
    batch is divided among `devices` accelerators.  `fixed` has the parameters of sites, by name,
    that are not learned.  A UserError says which data are missing, that the loss is not a number,
    or that the checkpoint cannot be used.
    """
    prepare_backend()
    began, commit = time.perf_counter(), git_commit()
    task: Any = config.task_object
    settings = config.settings
    if config.backend != keras.backend.backend():
        raise UserError(
            f"The run is for {config.backend} but Keras runs on {keras.backend.backend()}: set "
            f"KERAS_BACKEND={config.backend} before Keras is imported, or RunConfig's backend."
        )
    keras.utils.set_random_seed(config.seed)
    data = task.load(config)
    steps = settings.epochs * len(data.train)
    batches = Batches(data.train, devices)

    def build() -> keras.Model:
        model = task.build(config, data)
        for name, values in (fixed or {}).items():
            layer = model.activation_sites()[name][0]
            getattr(layer, "layer", layer).fix(values)  # of a shared layer's `Site`, that
        return model

    with data_parallel(devices):
        model = build()
        task.compile(config, model, steps)
        log = EpochLog(settings)
        trajectory = ParameterTrajectory(model.activation_sites())
        extra = task.callbacks(config, model, data, log)
        rows = {"history": log.rows, "trajectory": trajectory.values}
        if gradients := [c.values for c in extra if hasattr(c, "values")]:
            rows["gradients"] = gradients[0]
        keeper = next((c for c in extra if isinstance(c, WeightKeeper)), WeightKeeper())
        saver = Checkpoint(checkpoint, rows, keeper, began, commit)
        done = saver.restore(model)
        batches.set_epoch(done)
        if done < settings.epochs and not log.over:
            model.fit(
                batches,
                validation_data=Batches(data.validation, devices),
                initial_epoch=done,
                epochs=settings.epochs,
                callbacks=[log, trajectory, *extra, saver],
                shuffle=False,  # the batches shuffle themselves
                verbose=2 if verbose else 0,
            )
    if devices > 1:  # evaluation is one device's work
        weights, model = model.get_weights(), build()
        model.set_weights(weights)
        task.compile(config, model, steps)
    metrics = task.evaluate(config, model, data, log, keeper)
    seconds, deployed = [row["seconds"] for row in log.rows], task.deployed(model)
    optional = {"gradients": rows.get("gradients"), "resumed": saver.parts}
    optional["devices"] = devices if devices > 1 else None
    record = {
        "config": config.describe(),
        "data": {"digest": task.rows_digest(config.preset), **data.described},
        "history": log.rows,
        "metrics": metrics,
        "activation_parameters": trajectory.values,
        "timing": {
            "epoch_seconds_median": round(statistics.median(seconds[1:] or seconds), 2),
            "total_seconds": round(time.perf_counter() - saver.began, 1),
        },
        "parameters": sum(math.prod(v.shape) for v in deployed.trainable_variables),
        **environment(),
        "git_commit": commit,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: value for name, value in optional.items() if value},
    }
    return Trained(deployed, record, data.files)


def data_parallel(devices: int) -> Any:
    """Within it, models are replicated on so many devices and batches divided, which JAX can."""
    if devices < 1:
        raise UserError(f"--devices is {devices}; give a positive whole number.")
    if devices == 1:
        return nullcontext()
    backend = keras.backend.backend()
    there = keras.distribution.list_devices() if backend == "jax" else []
    if len(there) < devices:
        raise UserError(
            f"--devices is {devices} but {backend} can divide a run among {len(there)}; ask for at "
            "most as many as JAX sees, and add `--backend jax`."
        )
    return keras.distribution.DataParallel(devices=there[:devices]).scope()


def environment() -> dict[str, Any]:
    """Peak memory in bytes, versions and hardware; no names, no paths."""
    backend = keras.backend.backend()
    # Asked of the module: the distribution may be called tensorflow-cpu.
    versions = {"python": platform.python_version(), "keras": keras.__version__}
    versions[backend] = importlib.import_module(backend).__version__
    versions |= {name: version(name) for name in ("numpy", "sentencepiece", "sacrebleu")}
    info = Path("/proc/cpuinfo")
    names = re.findall("model name\\s*: (.*)", info.read_text() if info.is_file() else "")
    processor = next(iter(names), platform.processor() or platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if backend == "torch":  # Keras lists no devices for PyTorch
        devices = [f"cuda:{i}" for i in range(importlib.import_module(backend).cuda.device_count())]
    else:
        devices = [name for name in keras.distribution.list_devices() if "cpu" not in name.lower()]
    # The kernel's own account of this program: `ru_maxrss` begins with that of its parent.
    status = Path("/proc/self/status")
    peak = re.search(r"VmHWM:\s*(\d+) kB", status.read_text() if status.is_file() else "")
    used = 1024 * int(peak[1]) if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "peak_rss_bytes": used,
        "versions": versions,
        "hardware": {"processor": processor, "cores": cores, "accelerators": devices},
    }


def git_commit() -> str | None:
    """The commit of the code, with `+` if tracked files differ from it; None outside a checkout."""

    def git(*words: str) -> str:
        here = Path(__file__).resolve().parents[2]
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
