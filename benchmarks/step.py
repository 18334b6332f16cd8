"""What SG-Blend costs in a whole training step, as a multiple of the same step with GELU."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

PROCESSES = {
    "multi30k": {"KERAS_BACKEND": "jax"},
    "wmt14": {"KERAS_BACKEND": "jax"},
    "cifar10": {"KERAS_BACKEND": "tensorflow"},
}
ROUNDS, REPEATS = 10, 6
ACTIVATIONS = ("gelu", "sgblend")
BATCHES = 24  # one after the other in one timing
SOME = {"cifar10": {"max_samples": 6400}, "wmt14": {}, "multi30k": {}}  # images take time to decode


def prepared(
    task: str, activation: str, preset: str = "cpu", **overrides: Any
) -> tuple[Any, list[Any]]:
    """A compiled model of a preset and its first batches."""
    import keras

    from sgblend_utils.config import RunConfig
    from sgblend_utils.models import prepare_backend

    prepare_backend()
    backend = keras.backend.backend()
    config = RunConfig(task, activation, preset=preset, overrides=overrides, backend=backend)
    keras.utils.set_random_seed(0)
    data = config.task_object.load(config)
    model = config.task_object.build(config, data)
    config.task_object.compile(config, model, 10_000)
    return model, [data.train[i] for i in range(BATCHES)]


def steps(model: Any, batches: list[Any]) -> dict[str, float]:
    slowest = 0.0
    for batch in batches:
        began = time.perf_counter()
        model.train_on_batch(*batch)
        slowest = max(slowest, time.perf_counter() - began)
    return {"slowest": round(slowest, 4)}


def count(batches: list[Any]) -> dict[str, int]:
    """Real target tokens, or images, of one timing."""
    if isinstance(batches[0][0], dict):
        return {"tokens": sum(int(np.count_nonzero(batch[1])) for batch in batches)}
    return {"images": sum(len(batch[1]) for batch in batches)}


def timed(
    activations: tuple[str, ...] = ACTIVATIONS, **what: Any
) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    """The steps of each activation, of what `prepared` takes beside it."""
    functions = {}
    for activation in activations:
        model, batches = prepared(activation=activation, **what)
        functions[activation] = partial(steps, model, batches)
    return functions, {"batches": BATCHES, **count(batches)}


def contestants(process: str) -> tuple[dict[str, Callable[[], Any]], dict[str, Any]]:
    return timed(task=process, **SOME[process])


def reference(process: str, contestant: str) -> str:
    return f"{process}: gelu"
