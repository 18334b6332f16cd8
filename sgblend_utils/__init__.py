"""Helpers for the SG-Blend companion notebooks.

In the order data flows: memory, zoo, gate, jax, torch, activations, theory, data, models, decoding,
metrics, probes, config, tasks, runs, stats, report, cli.  A module imports only from those before
its own.

`swap_activation` is at hand here as well; Keras is imported when it is first asked for.
"""

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "swap_activation":
        return importlib.import_module(f"{__name__}.activations.swap").swap_activation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
