"""What every training run shares: the data's digest, the log of epochs, the record's frame."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sgblend_utils.configs import RunConfig
from sgblend_utils.datasets import grammar, hub, images, reviews

SCHEMA = 1
SPLITS = ("train", "validation", "test")
FILES = {"imdb_bert": "imdb"}  # task -> the data set it reads, where that has another name


@dataclass(frozen=True)
class Trained:
    """What a training function returns.

    Attributes:
        model: the trained model, which can be saved as `.keras`.
        record: as stored, without the key (see `data/README.md` for its fields).
        files: what else the model needs to be used again (a vocabulary), by file name.
    """

    model: keras.Model
    record: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


def data_digest(task: str, preset: str) -> str:
    """Names the data of a run: the files' digests, or the bundled corpus's own."""
    files = FILES.get(task, task)
    digest = hashlib.sha256()
    if preset != "mini":
        for split in hub.layout(files).splits:
            digest.update(hub.file_digest(files, split).encode())
    elif files == "imdb":
        for split, rows in reviews.mini_reviews().items():
            digest.update(repr((split, rows.texts, rows.labels.tolist())).encode())
    elif files == "cifar10":
        for split, rows in images.load_images(files, bundled=True).items():
            digest.update(split.encode() + rows.pixels.tobytes() + rows.labels.tobytes())
    else:
        for split, pairs in grammar.mini_corpus().items():
            digest.update(repr((split, pairs)).encode())
    return digest.hexdigest()[:16]


def decay_kernels_alone(optimizer: keras.Optimizer, model: keras.Model) -> None:
    """Spare embeddings, norms, biases and the activations' own parameters from weight decay.

    Decay would pull α, β, γ towards zero, which is a statement about the function.
    """
    if optimizer.weight_decay:
        others = [v for v in model.trainable_variables if v.name != "kernel"]
        optimizer.exclude_from_weight_decay(var_list=others)


class EpochLog(keras.callbacks.Callback):
    """One row per epoch: losses, validation scores, seconds by the clock and of processor time.

    Processor time is what a run needs even if other work shares the machine.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clocks."""
        self.started = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the row."""
        seconds = time.perf_counter() - self.started[0]
        cpu_seconds = time.process_time() - self.started[1]
        row = {"epoch": epoch + 1}
        row |= {name: round(float(value), 5) for name, value in (logs or {}).items()}
        row |= {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}
        self.rows.append(row)


class Patience(keras.callbacks.Callback):
    """Stops after so many epochs without a lower `val_loss`, as Keras's `EarlyStopping` does.

    It reads the log, so that a run that was stopped in between ends where it would have.
    """

    def __init__(self, rows: list[dict[str, Any]], patience: int):
        super().__init__()
        self.rows, self.patience = rows, patience

    @property
    def over(self) -> bool:
        """Whether the epochs of the log are enough."""
        losses = [row["val_loss"] for row in self.rows]
        return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= self.patience

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stop where nothing is gained."""
        self.model.stop_training = self.over


def compile_seconds(rows: Sequence[dict[str, float]]) -> tuple[float, float]:
    """(compilation, one epoch) in seconds: every program is compiled within the first epoch."""
    seconds = [row["seconds"] for row in rows]
    steady = statistics.median(seconds[1:] or seconds)
    return round(max(0.0, seconds[0] - steady), 2), round(steady, 2)


def make_record(
    config: RunConfig,
    *,
    started: float,
    data: dict[str, Any],
    log: EpochLog,
    metrics: dict[str, Any],
    activation_parameters: list[dict[str, Any]],
    parameters: int,
    resumed: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The record of a run that has just ended.

    `started` is its `time.perf_counter()` and `resumed` says where it was taken up again, both as
    in `Resume`.
    """
    first, steady = compile_seconds(log.rows)
    record = {
        "schema": SCHEMA,
        "config": config.describe(),
        "data": data,
        "history": log.rows,
        "metrics": metrics,
        "activation_parameters": activation_parameters,
        "timing": {
            "compile_seconds": first,
            "epoch_seconds_median": steady,
            "total_seconds": round(time.perf_counter() - started, 1),
        },
        "parameters": parameters,
        "peak_rss_bytes": peak_rss(),
        **environment(),
    }
    return record | {"resumed": list(resumed)} if resumed else record


def peak_rss() -> int:
    """Largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def environment() -> dict[str, Any]:
    """What the run ran on: versions, backend, hardware, commit and time; no names, no paths."""
    backend = keras.backend.backend()
    packages = ("keras", backend, "numpy", "sentencepiece", "sacrebleu")
    return {
        "backend": backend,
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in packages},
        "hardware": hardware(),
        "git_commit": git_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def hardware() -> dict[str, Any]:
    """Processor, the number of cores this process may use, and the accelerators Keras sees."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return {"processor": model, "cores": cores, "accelerators": accelerators()}


def accelerators() -> list[str]:
    """Names of the devices other than processors."""
    if keras.backend.backend() == "torch":  # Keras lists none for PyTorch
        import torch

        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [name for name in keras.distribution.list_devices() if "cpu" not in name.lower()]


def git_commit() -> str | None:
    """The commit of the code, with `+` if tracked files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
