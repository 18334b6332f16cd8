"""The tasks, one file each: what is loaded, built, trained with which settings, and evaluated.

Every module of this folder that has a `TASKS` is a part of the registry.  None of them imports
Keras at its top, so that reports and `--help` need none; `train` and `callbacks` do.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sgblend_utils.config import RunConfig, Settings, choose
from sgblend_utils.data.source import Source, rows_digest


@dataclass(frozen=True)
class Loaded:
    """The data of a run.

    Attributes:
        train, validation: batches for `fit` (see `data.batches`).
        splits: whatever `evaluate` needs of each split.
        described: counts for the record.
        vocabulary: tokenizers, or what else the model's sizes depend on.
        files: what a trained model needs to be used again, by file name.
    """

    train: Any
    validation: Any
    splits: Mapping[str, Any]
    described: dict[str, Any]
    vocabulary: Any = None
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """Base of all tasks.

    Each has five methods of its own: `mini_digest()` names the bundled rows, `load(config)` gives
    `Loaded`, `build(config, data)` the built model, `compile(config, model, steps)` gives it loss
    and optimizer, and `evaluate(config, model, data, log, keeper)` returns a record's metrics, once
    the model has the weights that the callback `keeper` chose.

    Attributes:
        name: as on the command line.
        source: of the real data.
        presets: (protocol, preset) -> settings.
        version: raised by hand when training numerics change on purpose; part of the record key.
        labels: names of the classes, in order; empty where there are none.
        default_backend: what is fastest for this work on a CPU.
    """

    name: str
    source: Source
    presets: Mapping[tuple[str, str], Settings]
    version: int = 1
    labels: tuple[str, ...] = ()
    default_backend: str = "jax"

    def rows_digest(self, preset: str) -> str:
        """Digest of the rows of a preset: the bundled ones of `mini`, else the real data's."""
        return self.mini_digest() if preset == "mini" else rows_digest(self.source)  # type: ignore[attr-defined]

    def callbacks(self, config: RunConfig, model: Any, data: Loaded, log: Any) -> list[Any]:
        """Callbacks beside the log and the parameters' trajectory."""
        return []

    def deployed(self, model: Any) -> Any:
        """The part of the trained model that is saved, as it is evaluated."""
        return model

    def sites(self, model: Any) -> dict[str, Any]:
        """Activation sites of the model that is trained: name -> (layer, stream)."""
        return model.activation_sites()


@functools.cache
def registry() -> dict[str, Task]:
    """Every task by name."""
    modules = [
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
        if found.name not in ("train", "callbacks", "evaluation", "text")
    ]
    tasks = [task for module in modules for task in getattr(module, "TASKS", ())]
    return {task.name: task for task in sorted(tasks, key=lambda task: task.name)}


def task_named(name: str) -> Task:
    """A task; a UserError lists the names there are."""
    return registry()[choose("task", name, registry())]
