"""Every activation of this project by name, each as a factory of fresh Keras layers."""

import functools
from collections.abc import Callable

import keras
from keras import ops

from sgblend_utils.activations.kernels import Tensor
from sgblend_utils.activations.layers import PACKAGE, SGBlend, SSwish, Swish
from sgblend_utils.errors import UserError


@keras.saving.register_keras_serializable(package=PACKAGE)
def serf(x: Tensor) -> Tensor:
    """Serf: x erf(softplus(x)) (Nag, Bhattacharyya et al. 2023)."""
    return x * ops.erf(ops.softplus(x))


@keras.saving.register_keras_serializable(package=PACKAGE)
class ChannelPReLU(keras.layers.PReLU):
    """PReLU with one slope per channel by default, as He et al. (2015) use it.

    Keras's own default is one slope per input element, which a sequence of unknown length has not
    got a number of.
    """

    def build(self, input_shape):
        if self.shared_axes is None:
            self.shared_axes = list(range(1, len(input_shape) - 1))
        super().build(input_shape)


def _plain(function) -> Callable[..., keras.layers.Layer]:
    return functools.partial(keras.layers.Activation, function)


ACTIVATIONS: dict[str, Callable[..., keras.layers.Layer]] = {
    "relu": keras.layers.ReLU,
    "leaky_relu": functools.partial(keras.layers.LeakyReLU, negative_slope=0.01),
    "prelu": functools.partial(ChannelPReLU, alpha_initializer=keras.initializers.Constant(0.25)),
    "elu": keras.layers.ELU,
    "selu": _plain("selu"),
    "softplus": _plain("softplus"),
    "gelu": _plain("gelu"),  # keras.activations.gelu is the exact erf form by default
    "silu": _plain("silu"),
    "swish": Swish,
    "mish": _plain("mish"),
    "hard_silu": _plain("hard_silu"),
    "serf": _plain(serf),
    "tanh": _plain("tanh"),
    "squareplus": _plain("squareplus"),
    "sswish": SSwish,
    "sgblend": SGBlend,
}
"""Name -> factory.  Keyword arguments of a factory are those of the layer class it makes."""


def make_activation(name: str, /, **kwargs) -> keras.layers.Layer:
    """Return a fresh activation layer, so that no two sites of a network share parameters.

    Args:
        name: a key of `ACTIVATIONS`.
        **kwargs: passed to the layer (``name``, ``dtype``, and for example ``gamma=0.1``).

    Raises:
        UserError: unknown name, or an argument the layer does not take.
    """
    if name not in ACTIVATIONS:
        raise UserError(f"Unknown activation {name!r}: choose one of {', '.join(ACTIVATIONS)}.")
    try:
        return ACTIVATIONS[name](**kwargs)
    except (TypeError, ValueError) as error:
        given = ", ".join(sorted(kwargs))
        raise UserError(
            f"Activation {name!r} does not take these arguments ({given}): {error}"
        ) from error


def learnable_activations(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers of `model`, at any depth, that have `effective_parameters`, by their path."""
    layers = model._flatten_layers(include_self=False)
    return {layer.path: layer for layer in layers if hasattr(layer, "effective_parameters")}
