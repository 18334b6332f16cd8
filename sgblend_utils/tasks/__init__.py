"""The tasks: every module here with a list `TASKS`.  None imports Keras before a run needs it."""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sgblend_utils.config import RunConfig, Settings, choose
from sgblend_utils.data.source import Source, rows_digest


@dataclass(frozen=True)
class Loaded:
    """The data of a run."""

    train: Any  # batches for `fit`, see `data.batches`
    validation: Any
    splits: Mapping[str, Any]  # whatever `evaluate` needs of each
    described: dict[str, Any]  # counts for the record
    vocabulary: Any = None  # tokenizers, or what else the model's sizes depend on
    files: dict[str, bytes] = field(default_factory=dict)  # that a trained model needs, by name


@dataclass(frozen=True)
class Task:
    """Base of all tasks.

    Each has `load(config)` -> `Loaded`, `build(config, data)` -> model, `compile(config, model,
    steps)`, which gives it loss and optimizer, and `evaluate(config, model, data, log, keeper)` ->
    a record's metrics, with the weights that the callback `keeper` chose.
    """

    name: str  # as on the command line
    source: Source  # of the real data
    presets: Mapping[tuple[str, str], Settings]  # by protocol and preset
    mini_digest: Callable[[], str]  # of the bundled rows
    version: int = 1  # raised by hand when training numerics change on purpose
    labels: tuple[str, ...] = ()  # names of the classes, in order
    default_backend: str = "jax"  # what is fastest for this work on a CPU

    def rows_digest(self, preset: str) -> str:
        """Digest of the rows of a preset: the bundled ones of `mini`, else the real data's."""
        return self.mini_digest() if preset == "mini" else rows_digest(self.source)

    def callbacks(self, config: RunConfig, model: Any, data: Loaded, log: Any) -> list[Any]:
        """Callbacks beside the log and the parameters' trajectory."""
        return []

    def deployed(self, model: Any) -> Any:
        """The part of the trained model that is saved, as it is evaluated."""
        return model


@functools.cache
def registry() -> dict[str, Task]:
    """Every task by name."""
    names = {found.name for found in pkgutil.iter_modules(__path__)}
    names -= {"train", "callbacks", "evaluation"}  # which import Keras
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    tasks = [task for module in modules for task in getattr(module, "TASKS", ())]
    return {task.name: task for task in sorted(tasks, key=lambda task: task.name)}


def task_named(name: str) -> Task:
    """A task; a UserError lists the names there are."""
    return registry()[choose("task", name, registry())]
