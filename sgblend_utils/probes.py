"""What an activation does in a network: parameters, units that never respond, gradients."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import ndtr

from sgblend_utils.data.text import PAD

PUBLISHED_THRESHOLD = 1e-3  # a unit is "dead" in the published code if its output stays below this
SLOPE_THRESHOLD = 0.05  # near-dead: the slope, at most 1.13 for these functions, stays below this
STEP = 1e-2  # of the central difference; its error is f''' STEP² / 6, far below SLOPE_THRESHOLD

Sites = Mapping[str, tuple[keras.layers.Layer, str]]


def activation_parameters(sites: Sites) -> dict[str, dict[str, Any]]:
    """Effective α, β, γ of every site whose activation has any; scalars or lists."""
    found = {}
    for name, (layer, _) in sites.items():
        if hasattr(layer, "effective_parameters"):
            values = layer.effective_parameters().items()
            found[name] = {k: np.round(np.asarray(v, "float64"), 6).tolist() for k, v in values}
    return found


class ParameterTrajectory(keras.callbacks.Callback):
    """`values`: α, β, γ of every site before training and after each epoch."""

    def __init__(self, sites: Sites):
        super().__init__()
        self.sites, self.values = sites, []

    def on_train_begin(self, logs: Any = None) -> None:
        if not self.values:
            self.values.append(activation_parameters(self.sites))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.values.append(activation_parameters(self.sites))


@contextmanager
def recorded_inputs(sites: Sites) -> Iterator[dict[str, np.ndarray]]:
    """While open, each eager forward pass leaves every layer's own input in the dict, by site."""
    taps, originals = {}, {name: layer.call for name, (layer, _) in sites.items()}

    def tapped(name: str, x: Any, *args: Any, **kwargs: Any) -> Any:
        taps[name] = ops.convert_to_numpy(x)
        return originals[name](x, *args, **kwargs)

    for name, (layer, _) in sites.items():
        object.__setattr__(layer, "call", partial(tapped, name))
    try:
        yield taps
    finally:
        for name, (layer, _) in sites.items():
            object.__setattr__(layer, "call", originals[name])


def slope(layer: keras.layers.Layer, x: np.ndarray) -> np.ndarray:
    """f′(x) of an element-wise layer by central difference."""
    up, down = (ops.convert_to_numpy(layer(x + sign * STEP)) for sign in (1, -1))
    return (up - down) / (2 * STEP)


def dead_units(forward: Callable, batches: Iterable[Any], sites: Sites) -> dict[str, Any]:
    """Shares of units (features, or channels of images) that never respond over a whole data set.

    `dead_share`: output below 1e-3 everywhere (the published rule, but read at the activation and
    without padding).  `near_dead_share`: |f′| below 0.05, so that no gradient passes, which is what
    death means for a smooth function too.  `dead_by_site`, `near_dead_by_site`: for each site.
    `gelu_distance_by_site`: standard deviation of f(x) - GELU(x) over a site's own inputs, which is
    their root mean square distance up to the constant that the next bias can absorb.

    `forward` runs the model eagerly on a batch's inputs.  `batches` are pairs of inputs and, by the
    name of a site's stream, what of them is real: positions (B, T), or examples (B,), as of images.
    """
    largest, steepest, moments = {}, {}, {}
    with recorded_inputs(sites) as taps:
        for inputs, real in batches:
            forward(inputs)
            seen = dict(taps)
            for name, (layer, stream) in sites.items():
                x, chosen = seen[name], np.asarray(real[stream], bool)
                # Chosen after the layer, which may know of axes, and not before.
                output = ops.convert_to_numpy(layer(x))
                for most, values in ((largest, output), (steepest, np.abs(slope(layer, x)))):
                    top = values[chosen].reshape(-1, values.shape[-1]).max(axis=0)
                    most[name] = np.maximum(most.get(name, top), top)
                apart = np.asarray(output - x * ndtr(x), "float64")[chosen]
                found = np.array([apart.size, apart.sum(), np.square(apart).sum()])
                moments[name] = moments.get(name, 0.0) + found
    units, out = [value.size for value in largest.values()], {}
    kinds = {"dead": (largest, PUBLISHED_THRESHOLD), "near_dead": (steepest, SLOPE_THRESHOLD)}
    for kind, (most, threshold) in kinds.items():
        by_site = {name: float((value < threshold).mean()) for name, value in most.items()}
        share = float(np.average(list(by_site.values()), weights=units))
        out[f"{kind}_share"] = round(share, 6)
        out[f"{kind}_by_site"] = {name: round(value, 6) for name, value in by_site.items()}
    variances = {k: square / n - (total / n) ** 2 for k, (n, total, square) in moments.items()}
    out["gelu_distance_by_site"] = {k: round(max(0.0, v) ** 0.5, 6) for k, v in variances.items()}
    return out


def published_dead_share(model: keras.Model, batches: Iterable[Any]) -> float:
    """Share of units that the published probe calls dead: their largest value is below 0.001.

    It reads no activation but a translator's dropout after the decoder's last feed-forward, or a
    classifier's pooled hidden state, padding included; rows of padding alone are left out.
    """
    largest = []
    for inputs in batches:
        if hasattr(model, "pooled"):
            values, ids = ops.convert_to_numpy(model.pooled(inputs)), inputs
        else:
            with recorded_inputs({"drop": (model.decoder[-1].drop, "target")}) as taps:
                model.hidden_states(inputs)  # in inference a dropout's input is its output
            values, ids = taps["drop"], inputs["source"]
        values = values[np.asarray(ids)[:, 0] != PAD]
        largest.append(values.reshape(-1, values.shape[-1]).max(axis=0))
    return round(float(np.mean(np.max(largest, axis=0) < PUBLISHED_THRESHOLD)), 6)


class GradientKeeper(keras.optimizers.Optimizer):
    """An optimizer that changes no weight and keeps the gradients, on any Keras backend."""

    def build(self, variables: Sequence[Any]) -> None:
        if not self.built:
            super().build(variables)
            self.kept = [self.add_variable_from_reference(v, name="gradient") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        self.assign(self.kept[self._get_variable_index(variable)], gradient)


class GradientProbe(keras.callbacks.Callback):
    """`values`: norms of the kernels' gradient and its noise scale after each epoch.

    They are those of a twin of the functional `model`, with the same layers, over at least two
    `batches`: pairs, of equal size, of inputs and targets.
    """

    def __init__(self, model: keras.Model, loss: Any, batches: Sequence[Any]):
        super().__init__()
        self.batches, self.values = list(batches), []
        self.twin = keras.Model(model.inputs, model.outputs)
        jit = keras.backend.backend() == "jax"  # which else compiles each operation by itself
        self.twin.compile(GradientKeeper(0.0), loss, jit_compile=jit, auto_scale_loss=False)

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
        """The gradient of the mean loss of one batch by the layer whose kernel it is."""
        # Copies: on some backends an array shares its memory with the variable.
        state = [(v, np.array(ops.convert_to_numpy(v))) for v in self.twin.non_trainable_variables]
        self.twin.train_on_batch(inputs, targets)
        for variable, value in state:  # moving averages, which the twin shares
            variable.assign(value)
        pairs = zip(self.twin.trainable_variables, self.twin.optimizer.kept, strict=True)
        kept = [(v.path.split("/")[-2], g) for v, g in pairs if v.name == "kernel"]
        return {k.removesuffix("_conv"): np.array(ops.convert_to_numpy(g)) for k, g in kept}

    def squared_norms(self, gradients: Mapping[str, np.ndarray]) -> dict[str, float]:
        return {k: float(np.square(g, dtype="float64").sum()) for k, g in gradients.items()}

    def measure(self) -> dict[str, Any]:
        """`norm` (of the mean gradient), `norm_by_layer` and `noise_scale` (examples, or None)."""
        each = [self.gradients(*batch) for batch in self.batches]
        mean = {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
        by_layer = self.squared_norms(mean)
        total = sum(by_layer.values())
        small = float(np.mean([sum(self.squared_norms(one).values()) for one in each]))
        scale = noise_scale(small, total, len(self.batches[0][0]), len(each))
        scale = None if scale is None else round(scale, 2)
        norms = {name: round(value**0.5, 6) for name, value in by_layer.items()}
        return {"norm": round(total**0.5, 6), "norm_by_layer": norms, "noise_scale": scale}

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Measure; comes after the log in the list, so that its time is not the epoch's."""
        self.values.append({"epoch": epoch + 1, **self.measure()})


def noise_scale(small: float, large: float, batch: int, count: int) -> float | None:
    """The simple gradient noise scale tr(Σ) / |G|², in examples (McCandlish et al. 2018, A.1).

    `small` is the mean of |g|² over `count` batches of `batch` examples, `large` is |g|² of their
    mean gradient.  None where the estimate of |G|² is not positive: there is too much noise.
    """
    signal = (count * large - small) / (count - 1)
    noise = (small - large) * batch * count / (count - 1)
    return noise / signal if signal > 0 else None
