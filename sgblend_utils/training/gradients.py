"""How large and how noisy the gradient is in the course of training, on a few fixed batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


class GradientKeeper(keras.optimizers.Optimizer):
    """An optimizer that changes no weight and keeps the gradients, on any Keras backend."""

    def __init__(self, **kwargs: Any):
        super().__init__(learning_rate=0.0, **kwargs)

    def build(self, variables: Sequence[Any]) -> None:
        """A place for the gradient of each variable."""
        if self.built:
            return
        super().build(variables)
        self.kept = [self.add_variable_from_reference(v, name="gradient") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Keep one gradient."""
        self.assign(self.kept[self._get_variable_index(variable)], gradient)


class GradientProbe(keras.callbacks.Callback):
    """Notes norms of the gradient and its noise scale after each epoch.

    Only kernels count, which every activation's network has in the same shapes.  The batches are
    equal-sized, fixed, not augmented, and see batch statistics as in training; the network is left
    as it was.

    Args:
        model: functional; its layers are shared with a twin that is trained with `GradientKeeper`.
        loss: as in training.
        batches: at least two pairs of inputs and targets.
        group: kernel's path -> the name under which its norm is noted.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: keras.losses.Loss,
        batches: Sequence[tuple[np.ndarray, np.ndarray]],
        group: Callable[[str], str],
    ):
        super().__init__()
        self.batches, self.group = list(batches), group
        self.values: list[dict[str, Any]] = []
        self.twin = keras.Model(model.inputs, model.outputs)
        self.twin.compile(
            optimizer=GradientKeeper(), loss=loss, jit_compile=False, auto_scale_loss=False
        )

    def gradients(self, inputs: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
        """The gradient of the mean loss of one batch by kernel's path."""
        # Copies: on some backends an array shares its memory with the variable.
        state = [(v, copied(v)) for v in self.twin.non_trainable_variables]
        self.twin.train_on_batch(inputs, targets)
        for variable, value in state:  # moving averages, which the twin shares
            variable.assign(value)
        kept = zip(self.twin.trainable_variables, self.twin.optimizer.kept, strict=True)
        return {v.path: copied(g) for v, g in kept if v.name == "kernel"}

    def measure(self) -> dict[str, Any]:
        """`norm` (of the mean gradient), `norm_by_layer` and `noise_scale` (examples, or None)."""
        each = [self.gradients(*batch) for batch in self.batches]
        squares = [squared_norms(one, self.group) for one in each]
        mean = {path: np.mean([one[path] for one in each], axis=0) for path in each[0]}
        by_layer = squared_norms(mean, self.group)
        total = sum(by_layer.values())
        scale = noise_scale(
            float(np.mean([sum(one.values()) for one in squares])),
            total,
            len(self.batches[0][0]),
            len(self.batches),
        )
        return {
            "norm": round(total**0.5, 6),
            "norm_by_layer": {name: round(value**0.5, 6) for name, value in by_layer.items()},
            "noise_scale": None if scale is None else round(scale, 2),
        }

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Measure; comes after the log in the list, so that its time is not the epoch's."""
        self.values.append({"epoch": epoch + 1, **self.measure()})


def copied(variable: Any) -> np.ndarray:
    """The value of a variable now."""
    return np.array(ops.convert_to_numpy(variable))


def squared_norms(
    gradients: dict[str, np.ndarray], group: Callable[[str], str]
) -> dict[str, float]:
    """Squared Euclidean norm of each group of gradients."""
    out: dict[str, float] = {}
    for path, gradient in gradients.items():
        name = group(path)
        out[name] = out.get(name, 0.0) + float(np.square(gradient, dtype="float64").sum())
    return out


def noise_scale(small: float, large: float, batch: int, count: int) -> float | None:
    """The simple gradient noise scale tr(Σ) / |G|² (McCandlish et al. 2018, appendix A.1).

    About the batch size, in examples, at which noise and gradient are of one size.

    Args:
        small: mean of |g|² over `count` batches of `batch` examples.
        large: |g|² of their mean gradient.
        batch, count: sizes; `count` at least 2.

    Returns:
        None where the estimate of |G|² is not positive: there is too much noise to tell.
    """
    signal = (count * large - small) / (count - 1)
    noise = (small - large) * batch * count / (count - 1)
    return noise / signal if signal > 0 else None
