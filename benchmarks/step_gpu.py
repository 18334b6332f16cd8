"""The same as `step` at sizes that a GPU is used for: the paper's, and larger ones."""

from collections.abc import Callable
from typing import Any

from benchmarks import step

ROUNDS, REPEATS = 8, 3
TEXT = {"task": "wmt14", "preset": "paper", "max_samples": 36_168}  # all pairs that we have
BASE = {"d_model": 512, "num_heads": 8, "ff_dim": 2048, "num_layers": 6}  # Vaswani et al. 2017
IMAGES = {"task": "cifar10", "preset": "paper", "max_samples": 20_000}
SIZES: dict[str, dict[str, Any]] = {
    "Transformer of the paper": TEXT,
    "Transformer base": TEXT | BASE | {"tokens_per_batch": 24_576},
    "ResNet-18": IMAGES | {"batch_size": 512},
}
PROCESSES = {name: {"KERAS_BACKEND": "jax"} for name in SIZES}
reference = step.reference


def contestants(process: str) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    return step.timed(**SIZES[process])
