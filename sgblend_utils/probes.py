"""What an activation does in a trained network: its parameters, and units that never respond."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

PUBLISHED_THRESHOLD = 1e-3  # a unit is "dead" in the published code if its output stays below this
SLOPE_THRESHOLD = 0.05  # near-dead: the slope, at most 1.13 for these functions, stays below this
STEP = 1e-2  # of the central difference; its error is f''' STEP² / 6, far below SLOPE_THRESHOLD

Sites = Mapping[str, tuple[keras.layers.Layer, str]]


def activation_parameters(sites: Sites) -> dict[str, dict[str, Any]]:
    """Effective α, β, γ of every site whose activation has any; scalars or lists."""
    values = {}
    for name, (layer, _) in sites.items():
        if hasattr(layer, "effective_parameters"):
            values[name] = {
                key: np.round(np.asarray(value, "float64"), 6).tolist()
                for key, value in layer.effective_parameters().items()
            }
    return values


class ParameterTrajectory(keras.callbacks.Callback):
    """Notes α, β, γ of every site before training and after each epoch."""

    def __init__(self, sites: Sites):
        super().__init__()
        self.sites = sites
        self.values: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """The initial values."""
        if not self.values:
            self.values.append(activation_parameters(self.sites))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """The values after `epoch`."""
        self.values.append(activation_parameters(self.sites))


@contextmanager
def recorded_inputs(sites: Sites) -> Iterator[dict[str, np.ndarray]]:
    """While open, each eager forward pass leaves every site's pre-activations in the dict.

    The activation layers themselves are tapped, so that what is read is their true input and not
    some dropout or pooling output after them.
    """
    taps: dict[str, np.ndarray] = {}
    originals: dict[str, Callable[..., Any]] = {}

    def tap(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def tapped(x: Any, *args: Any, **kwargs: Any) -> Any:
            taps[name] = ops.convert_to_numpy(x)
            return call(x, *args, **kwargs)

        return tapped

    for name, (layer, _) in sites.items():
        originals[name] = layer.call
        object.__setattr__(layer, "call", tap(name, layer.call))
    try:
        yield taps
    finally:
        for name, (layer, _) in sites.items():
            object.__setattr__(layer, "call", originals[name])


def slope(layer: keras.layers.Layer, x: np.ndarray) -> np.ndarray:
    """f′(x) of an element-wise layer by central difference."""
    up, down = (ops.convert_to_numpy(layer(x + sign * STEP)) for sign in (1, -1))
    return (up - down) / (2 * STEP)


def by_unit(values: np.ndarray) -> np.ndarray:
    """(..., units) -> (n, units): a unit is a feature, or in an image network a channel."""
    return values.reshape(-1, values.shape[-1])


def dead_units(
    forward: Callable[[Any], Any],
    batches: Iterable[tuple[Any, Mapping[str, np.ndarray]]],
    sites: Sites,
) -> dict[str, Any]:
    """Shares of units that never respond over a whole data set, over all sites and for each.

    Args:
        forward: runs the model eagerly on one batch's inputs, in inference mode.
        batches: pairs of inputs and, by stream name, what of them is real: positions (B, T), or
            whole examples (B,), as for images.
        sites: activation layers by name, with the stream whose positions they follow.

    Returns:
        `dead_share`: units whose output stays below 1e-3 everywhere (the published rule, but read
        at the activation and without padding).  `near_dead_share`: units whose |f′| stays below
        0.05
        everywhere: no gradient passes, which is what death means for a smooth function too.
        `dead_by_site`, `near_dead_by_site`: the same for each site.
    """
    largest: dict[str, np.ndarray] = {}
    steepest: dict[str, np.ndarray] = {}
    with recorded_inputs(sites) as taps:
        for inputs, real in batches:
            forward(inputs)
            seen = dict(taps)
            for name, (layer, stream) in sites.items():
                x, chosen = seen[name], np.asarray(real[stream], bool)
                # Chosen after the layer, which may know of axes, and not before.
                output = by_unit(ops.convert_to_numpy(layer(x))[chosen]).max(axis=0)
                steep = by_unit(np.abs(slope(layer, x))[chosen]).max(axis=0)
                largest[name] = np.maximum(largest.get(name, output), output)
                steepest[name] = np.maximum(steepest.get(name, steep), steep)
    dead = {name: float((value < PUBLISHED_THRESHOLD).mean()) for name, value in largest.items()}
    near = {name: float((value < SLOPE_THRESHOLD).mean()) for name, value in steepest.items()}
    units = np.array([value.size for value in largest.values()])
    return {
        "dead_share": round(float(np.average(list(dead.values()), weights=units)), 6),
        "near_dead_share": round(float(np.average(list(near.values()), weights=units)), 6),
        "dead_by_site": {name: round(value, 6) for name, value in dead.items()},
        "near_dead_by_site": {name: round(value, 6) for name, value in near.items()},
    }
