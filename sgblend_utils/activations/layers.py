"""Activations with learnable parameters as Keras layers: SG-Blend, SSwish and Swish."""

import keras
import numpy as np
from keras import constraints, initializers, ops, regularizers

from sgblend_utils.activations.kernels import GELU_FORMS, blended_gate
from sgblend_utils.errors import UserError

PACKAGE = "sgblend_utils"
PARAMETERIZATIONS = ("free", "published")
_LOWEST = -3e38  # close to float32's lowest number: no parameter is below


@keras.saving.register_keras_serializable(package=PACKAGE)
class Clip(constraints.Constraint):
    """Clip every weight into [minimum, maximum] after each update."""

    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def __call__(self, w):
        return ops.clip(w, self.minimum, self.maximum)

    def get_config(self):
        return {"minimum": self.minimum, "maximum": self.maximum}


class LearnableActivation(keras.layers.Layer):
    """Common part of the learnable activations: parameters, sharing, masking and configuration.

    Args:
        values: initial effective value per parameter; None means the parameterization's default.
        parameterization: ``"free"`` stores each parameter itself.  ``"published"`` reproduces the
            published code: alpha is the logistic function of a weight that starts at 0 and is held
            in [-1, 1] (so alpha stays within [0.2689, 0.7311]); beta starts from Glorot's uniform
            distribution, U(-1.732, 1.732), and is clipped to [0.1, 10] after each update.
        shared_axes: None for one scalar each; otherwise as in `keras.layers.PReLU` the axes (batch
            is 0) along which parameters are shared.  For one set per channel of a (batch, time,
            channels) input say ``[1]``, of a (batch, channels) input ``[]``.
        trainable_parameters: names of the parameters that are learned; the rest stay fixed.
        **kwargs: ``<parameter>_initializer``, ``<parameter>_regularizer`` and
            ``<parameter>_constraint`` act on the stored weight and go before the defaults; the rest
            (``name``, ``dtype``, ...) goes to `keras.layers.Layer`.

    The weights keep the variable dtype under mixed precision.  Masks pass through.
    """

    parameters = ()
    free_values = {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}

    def __init__(self, values, parameterization, shared_axes, trainable_parameters, **kwargs):
        custom = {
            f"{name}_{kind}": module.get(kwargs.pop(f"{name}_{kind}", None))
            for name in self.parameters
            for kind, module in _KINDS.items()
        }
        super().__init__(**kwargs)
        if trainable_parameters is None:
            trainable_parameters = self.parameters
        elif isinstance(trainable_parameters, str):
            trainable_parameters = (trainable_parameters,)
        _check_choice("parameterization", parameterization, PARAMETERIZATIONS)
        for name in trainable_parameters:
            _check_choice("trainable parameter", name, self.parameters)
        if parameterization == "published" and shared_axes is not None:
            raise UserError(
                "The published parameterization has one scalar per layer: "
                'leave shared_axes at None or use parameterization="free".'
            )
        if isinstance(shared_axes, int):
            shared_axes = [shared_axes]
        self.values = {name: _check_value(name, values[name]) for name in self.parameters}
        self.parameterization = parameterization
        self.shared_axes = None if shared_axes is None else [int(axis) for axis in shared_axes]
        self.trainable_parameters = tuple(n for n in self.parameters if n in trainable_parameters)
        self.custom = custom
        self.supports_masking = True
        if parameterization == "published" and "alpha" in self.parameters:
            self._published_logit()  # refuse an unreachable alpha now, not at the first call

    def build(self, input_shape):
        shape = self._parameter_shape(input_shape)
        for name in self.parameters:
            initializer, constraint = self._defaults(name)
            weight = self.add_weight(
                shape=shape,
                name=name,
                initializer=self.custom[f"{name}_initializer"] or initializer,
                regularizer=self.custom[f"{name}_regularizer"],
                constraint=self.custom[f"{name}_constraint"] or constraint,
                trainable=name in self.trainable_parameters,
                autocast=False,
            )
            setattr(self, f"_{name}", weight)

    def _parameter_shape(self, input_shape):
        if self.shared_axes is None:
            # The published constraint takes a norm along axis 0, which a 0-d weight has not got.
            return (1,) if self.parameterization == "published" else ()
        rank = len(input_shape)
        shared = {axis % rank for axis in self.shared_axes if -rank <= axis < rank}
        shape = tuple(1 if axis in shared else input_shape[axis] for axis in range(1, rank))
        if len(shared) != len(self.shared_axes) or 0 in shared or None in shape:
            raise UserError(
                f"shared_axes={self.shared_axes} does not fit an input of shape "
                f"{tuple(input_shape)}: name every axis of unknown size, and only axes 1 to "
                f"{rank - 1}."
            )
        return shape

    def _defaults(self, name):
        """Initializer and constraint of the stored weight when the caller gave none."""
        value, constraint = self.values[name], None
        if self.parameterization == "published":
            if name == "alpha":
                value, constraint = self._published_logit(), constraints.MinMaxNorm(0.0, 1.0)
            elif name == "beta":
                constraint = Clip(0.1, 10.0)
                if value is None:
                    return initializers.GlorotUniform(), constraint
        if value is None:
            value = self.free_values[name]
        return initializers.Constant(value), constraint

    def _published_logit(self):
        alpha = self.free_values["alpha"] if self.values["alpha"] is None else self.values["alpha"]
        logit = np.log(alpha / (1.0 - alpha)) if 0.0 < alpha < 1.0 else np.inf
        if abs(logit) > 1.0:
            raise UserError(
                f"The published parameterization holds alpha within [0.2689, 0.7311], so it cannot "
                f'start at {alpha:g}: choose a value inside or use parameterization="free".'
            )
        return float(logit)

    def _tensors(self):
        """Effective parameters as tensors that broadcast against the input."""
        tensors = {}
        for name in self.parameters:
            weight = getattr(self, f"_{name}")
            # The reshape also reads the variable: TensorFlow's custom_gradient takes no variables.
            tensor = ops.reshape(weight, () if self.shared_axes is None else weight.shape)
            if keras.backend.backend() == "tensorflow":
                # A copy that the graph optimizer does not see through.  Without it the value shares
                # the variable's memory, and without XLA the update of one parameter can overtake
                # the gradient of another, which then uses the new value (seen in TensorFlow 2.21).
                tensor = ops.maximum(tensor, _LOWEST)
            if name == "alpha" and self.parameterization == "published":
                tensor = ops.sigmoid(tensor)
            tensors[name] = tensor
        return tensors

    def effective_parameters(self) -> dict[str, np.ndarray]:
        """The parameters as they enter the formula: name -> NumPy array (0-d for one scalar)."""
        if not self.built:
            if self.shared_axes is not None:
                raise UserError(
                    "Call or build the layer once: its parameters take their shape from the input."
                )
            self.build(())
        return {name: ops.convert_to_numpy(t) for name, t in self._tensors().items()}

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {
            **super().get_config(),
            **self.values,
            "parameterization": self.parameterization,
            "shared_axes": self.shared_axes,
            "trainable_parameters": list(self.trainable_parameters),
        }
        for key, item in self.custom.items():
            config[key] = None if item is None else _KINDS[key.split("_")[1]].serialize(item)
        return config


_KINDS = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}


def _check_choice(what, value, valid):
    if value not in valid:
        raise UserError(f"Unknown {what} {value!r}: choose one of {', '.join(valid)}.")


def _check_value(name, value):
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise UserError(f"{name} must be a number, not {value!r}.")
    if not np.isfinite(value):
        raise UserError(f"{name} must be finite, not {value!r}.")
    return float(value)


@keras.saving.register_keras_serializable(package=PACKAGE)
class SGBlend(LearnableActivation):
    """SG-Blend: f(x) = alpha (x s(beta x) - gamma) + (1 - alpha) GELU(x), s the logistic function.

    Sarkar, Gala, Tripathi, "SG-Blend", NeurIPS 2025 (arXiv 2505.23942).  The gradient is written by
    hand and keeps only x (see `sgblend_utils.activations.kernels`).

    Args:
        alpha, beta, gamma: initial effective values.  None means 0.5, 1 and 0, except that the
            published parameterization then draws beta at random.  alpha may be exactly 0 or 1.
        gelu: ``"erf"`` (exact), ``"tanh"`` or ``"sigmoid"`` (x s(1.702 x), as in the published
            code).
        parameterization, shared_axes, trainable_parameters, **kwargs: see `LearnableActivation`.

    Input and output: floating point tensors of any equal shape.
    """

    parameters = ("alpha", "beta", "gamma")

    def __init__(
        self,
        alpha=0.5,
        beta=None,
        gamma=0.0,
        *,
        parameterization="free",
        gelu="erf",
        shared_axes=None,
        trainable_parameters=None,
        **kwargs,
    ):
        _check_choice("GELU form", gelu, GELU_FORMS)
        values = {"alpha": alpha, "beta": beta, "gamma": gamma}
        super().__init__(values, parameterization, shared_axes, trainable_parameters, **kwargs)
        self.gelu = gelu

    def call(self, inputs):
        function = blended_gate(self.gelu, self.trainable_parameters)
        t = self._tensors()
        return function(_floating(inputs, self.compute_dtype), t["alpha"], t["beta"], t["gamma"])

    def get_config(self):
        return {**super().get_config(), "gelu": self.gelu}


@keras.saving.register_keras_serializable(package=PACKAGE)
class SSwish(LearnableActivation):
    """SSwish: f(x) = x s(beta x) - gamma, with beta and gamma learned (start: 1 and 0).

    Arguments as in `SGBlend`, without alpha and gelu.
    """

    parameters = ("beta", "gamma")

    def __init__(
        self,
        beta=None,
        gamma=0.0,
        *,
        parameterization="free",
        shared_axes=None,
        trainable_parameters=None,
        **kwargs,
    ):
        values = {"beta": beta, "gamma": gamma}
        super().__init__(values, parameterization, shared_axes, trainable_parameters, **kwargs)

    def call(self, inputs):
        function = blended_gate(None, self.trainable_parameters)
        t = self._tensors()
        absent = ops.zeros_like(t["beta"])
        gamma = t.get("gamma", absent)
        return function(_floating(inputs, self.compute_dtype), absent, t["beta"], gamma)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Swish(SSwish):
    """Swish with learned beta: f(x) = x s(beta x) (Ramachandran, Zoph, Le 2017); beta starts at 1.

    Arguments as in `SSwish`, without gamma.
    """

    parameters = ("beta",)

    def __init__(
        self,
        beta=None,
        *,
        parameterization="free",
        shared_axes=None,
        trainable_parameters=None,
        **kwargs,
    ):
        LearnableActivation.__init__(
            self, {"beta": beta}, parameterization, shared_axes, trainable_parameters, **kwargs
        )


def _floating(inputs, dtype):
    """Integers have no gradient and no logistic function: take them in the layer's dtype."""
    inputs = ops.convert_to_tensor(inputs)
    if keras.backend.is_float_dtype(keras.backend.standardize_dtype(inputs.dtype)):
        return inputs
    return ops.cast(inputs, dtype)
