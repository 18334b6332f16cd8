"""Activations as Keras layers: those with learnable parameters, and two that Keras has not got."""

import itertools

import keras
import numpy as np
from keras import constraints, initializers, ops, regularizers

from sgblend_utils.activations.kernels import blended_gate
from sgblend_utils.errors import UserError
from sgblend_utils.zoo import CHOICES, ZOO, choose

_registered = keras.saving.register_keras_serializable(package="sgblend_utils")
_KINDS = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}
_STARTS = ZOO["sgblend"].parameters
_LOWEST = -3e38  # close to float32's lowest number: no parameter is below


@_registered
class Clip(constraints.Constraint):
    """Clip every weight into [minimum, maximum] after each update."""

    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def __call__(self, w):
        return ops.clip(w, self.minimum, self.maximum)

    def get_config(self):
        return {"minimum": self.minimum, "maximum": self.maximum}


class LearnableActivation(keras.layers.Layer):
    """x G(x) - alpha gamma with the gate of `kernels`.  Masks pass through.

    Args:
        values: initial effective value per parameter; None means the parameterization's default.
        parameterization: ``"free"`` stores each parameter itself.  ``"published"`` reproduces the
            published code: alpha is the logistic function of a weight that starts at 0 and is held
            in [-1, 1] (so alpha stays within [0.2689, 0.7311]); beta starts from Glorot's uniform
            distribution, U(-1.732, 1.732), and is clipped to [0.1, 10] after each update.
        shared_axes: None for one scalar each; otherwise the axes (batch is 0) along which
            parameters are shared, as in `keras.layers.PReLU`: ``[1]`` for one set per channel of a
            (batch, time, channels) input, ``[]`` of a (batch, channels) input.
        trainable_parameters: names of the parameters that are learned; the rest stay fixed.
        **kwargs: ``alpha_bounds`` and ``beta_bounds``, pairs within which the free parameterization
            clips after each update; ``<parameter>_initializer``, ``_regularizer`` and
            ``_constraint``, which act on the stored weight and go before the defaults.
    """

    parameters, gelu = (), None

    def __init__(
        self, values, parameterization="free", shared_axes=None, trainable_parameters=None, **kwargs
    ):
        names, custom = self.parameters, {}
        bounds = {name: kwargs.pop(f"{name}_bounds", None) for name in names if name != "gamma"}
        for name, kind in itertools.product(names, _KINDS):
            custom[f"{name}_{kind}"] = _KINDS[kind].get(kwargs.pop(f"{name}_{kind}", None))
        super().__init__(**kwargs)
        learned = names if trainable_parameters is None else trainable_parameters
        learned = (learned,) if isinstance(learned, str) else learned
        choose("parameterization", parameterization, CHOICES["parameterization"])
        for name in learned:
            choose("trainable parameter", name, names)
        self.published = parameterization == "published"
        if self.published and shared_axes is not None:
            raise UserError('shared_axes needs parameterization="free": published has one scalar.')
        self.supports_masking = True
        self.custom, self.parameterization = custom, parameterization
        self.shared_axes = None if shared_axes is None else np.ravel(shared_axes).tolist()
        self.trainable_parameters = tuple(name for name in names if name in learned)
        for name, value in values.items():
            number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
            if value is not None and not (number and np.isfinite(value)):
                raise UserError(f"{name} must be a finite number, not {value!r}.")
        self.values = {name: None if v is None else float(v) for name, v in values.items()}
        self.starts = {name: _STARTS[name] if v is None else v for name, v in self.values.items()}
        self.bounds = {name: self._check_bounds(name, pair) for name, pair in bounds.items()}
        if self.published and "alpha" in names:
            self._defaults("alpha")  # refuse an unreachable alpha now, not at the first call

    def _check_bounds(self, name, pair):
        if pair is None:
            return None
        if self.published:
            raise UserError(f'{name}_bounds needs parameterization="free": published has its own.')
        start = self.starts[name]
        if np.shape(pair) != (2,) or not pair[0] <= start <= pair[1]:
            wanted = f"a pair with {name}'s start, {start:g}, inside"
            raise UserError(f"{name}_bounds is {pair!r}; give {wanted}.")
        return [float(bound) for bound in pair]

    def build(self, input_shape):
        shape = self._parameter_shape(input_shape)
        for name in self.parameters:
            options = dict(zip(("initializer", "constraint"), self._defaults(name), strict=True))
            options |= {kind: own for kind in _KINDS if (own := self.custom[f"{name}_{kind}"])}
            learned = name in self.trainable_parameters
            weight = self.add_weight(shape, name=name, trainable=learned, autocast=False, **options)
            setattr(self, f"_{name}", weight)

    def _parameter_shape(self, input_shape):
        if self.shared_axes is None:
            # The published constraint takes a norm along axis 0, which a 0-d weight has not got.
            return (1,) if self.published else ()
        rank = len(input_shape)
        shared = {axis % rank for axis in self.shared_axes if -rank <= axis < rank}
        shape = tuple(1 if axis in shared else input_shape[axis] for axis in range(1, rank))
        if len(shared) != len(self.shared_axes) or 0 in shared or None in shape:
            misfit = f"{self.shared_axes} does not fit {tuple(input_shape)}, the input's shape"
            rule = f"name every axis of unknown size, and only axes 1 to {rank - 1}"
            raise UserError(f"shared_axes={misfit}: {rule}.")
        return shape

    def _defaults(self, name):
        """Initializer and constraint of the stored weight when the caller gave none."""
        start = self.starts[name]
        if self.published and name == "alpha":
            logit = np.log(start / (1.0 - start)) if 0.0 < start < 1.0 else np.inf
            if abs(logit) > 1.0:
                free = 'needs parameterization="free"'
                raise UserError(f"alpha={start:g} {free}: published starts in [0.2689, 0.7311].")
            return initializers.Constant(float(logit)), constraints.MinMaxNorm(0.0, 1.0)
        published = self.published and name == "beta"
        drawn = published and self.values[name] is None
        bounds = (0.1, 10.0) if published else self.bounds.get(name)
        initial = initializers.GlorotUniform() if drawn else initializers.Constant(start)
        return initial, Clip(*bounds) if bounds else None

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
            if name == "alpha" and self.published:
                tensor = ops.sigmoid(tensor)
            tensors[name] = tensor
        return tensors

    def effective_parameters(self) -> dict[str, np.ndarray]:
        """The parameters as they enter the formula: name -> NumPy array (0-d for one scalar)."""
        if not self.built:
            if self.shared_axes is not None:
                raise UserError("Call the layer once: its parameters get their shape from x.")
            self.build(())
        return {name: ops.convert_to_numpy(t) for name, t in self._tensors().items()}

    def fix(self, values):
        """Hold the parameters at these effective `values`; before the model is compiled."""
        if self.published:
            raise UserError('Parameters can be fixed with parameterization="free" only.')
        for name, value in values.items():
            getattr(self, f"_{name}").assign(value)
            getattr(self, f"_{name}").trainable = False
        self.trainable_parameters = ()

    def call(self, inputs):
        x = ops.convert_to_tensor(inputs)
        if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype)):
            x = ops.cast(x, self.compute_dtype)  # integers have no logistic function
        known = self._tensors()
        values = [known[n] if n in known else ops.zeros_like(known["beta"]) for n in _STARTS]
        return blended_gate(self.gelu, self.trainable_parameters)(x, *values)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        custom = {k: keras.saving.serialize_keras_object(own) for k, own in self.custom.items()}
        custom |= {f"{name}_bounds": pair for name, pair in self.bounds.items()}
        custom |= {key: getattr(self, key) for key in ("parameterization", "shared_axes")}
        custom |= {"gelu": self.gelu} if self.gelu else {}
        custom["trainable_parameters"] = list(self.trainable_parameters)
        return {**super().get_config(), **self.values, **custom}


@_registered
class SGBlend(LearnableActivation):
    """SG-Blend: f(x) = alpha (x s(beta x) - gamma) + (1 - alpha) GELU(x), s the logistic function.

    Sarkar, Gala, Tripathi, "SG-Blend", NeurIPS 2025 (arXiv 2505.23942).  The gradient is written by
    hand and keeps only x.  Other arguments: see `LearnableActivation`.  It can be saved as `.keras`
    and exported as SavedModel and ONNX; LiteRT has no erfc, and so takes the two other forms only.

    Args:
        alpha, beta, gamma: initial effective values.  None means 0.5, 1 and 0, except that the
            published parameterization then draws beta at random.  alpha may be exactly 0 or 1.
        gelu: ``"erf"`` (exact), ``"tanh"``, or ``"sigmoid"`` (x s(1.702 x), as published).
    """

    parameters = ("alpha", "beta", "gamma")

    def __init__(self, alpha=0.5, beta=None, gamma=0.0, *, gelu="erf", **kwargs):
        choose("GELU form", gelu, CHOICES["gelu"])
        super().__init__({"alpha": alpha, "beta": beta, "gamma": gamma}, **kwargs)
        self.gelu = gelu


@_registered
class SSwish(LearnableActivation):
    """SSwish: f(x) = x s(beta x) - gamma, with beta and gamma learned (start: 1 and 0)."""

    parameters = ("beta", "gamma")

    def __init__(self, beta=None, gamma=0.0, **kwargs):
        super().__init__({"beta": beta, "gamma": gamma}, **kwargs)


@_registered
class Swish(LearnableActivation):
    """Swish: f(x) = x s(beta x), with beta learned (start: 1)."""

    parameters = ("beta",)

    def __init__(self, beta=None, **kwargs):
        super().__init__({"beta": beta}, **kwargs)


@_registered
class ChannelPReLU(keras.layers.PReLU):
    """PReLU with one slope per channel from 1/4 on, as He et al. (2015) use it.

    Keras's own has one per element of the input, whose number a sequence's length leaves open.
    """

    def __init__(self, alpha_initializer=None, **kwargs):
        super().__init__(alpha_initializer or initializers.Constant(0.25), **kwargs)

    def build(self, input_shape):
        if self.shared_axes is None:
            self.shared_axes = list(range(1, len(input_shape) - 1))
        super().build(input_shape)


_FUNCTIONS = {n: getattr(ops, n) for n in ("cos", "erf", "log", "sigmoid", "sin", "tanh", "where")}
_FUNCTIONS |= {"softplus": ops.softplus, "sqrt": np.sqrt, "pi": np.pi}
_FUNCTIONS["exp"] = lambda z: ops.exp(ops.minimum(z, 80.0))  # finite, so that 0 times it is 0
_FUNCTIONS["Phi"] = lambda z: 0.5 * (1.0 + ops.erf(z * 0.5**0.5))
_FUNCTIONS["normed"] = lambda z: z * ops.rsqrt(ops.mean(z * z, axis=-1, keepdims=True) + 1e-6)


@_registered
class Formula(keras.layers.Layer):
    """A row of the zoo by its expression, in float32; its parameters are learned, one of each."""

    def __init__(self, row, **kwargs):
        super().__init__(**kwargs)
        self.row, self.supports_masking = ZOO[choose("activation", row, ZOO)], True
        self.learned = {}
        if self.row.parameters:  # a layer without any has no such attribute
            self.effective_parameters = self._values

    def _values(self):
        if not self.built:
            self.build(())
        return {name: ops.convert_to_numpy(weight) for name, weight in self.learned.items()}

    def build(self, input_shape):
        for name, start in self.row.parameters.items():
            options = {"initializer": initializers.Constant(start), "autocast": False}
            self.learned[name] = self.add_weight((), name=name, **options)

    def call(self, inputs):
        x = ops.cast(ops.convert_to_tensor(inputs), "float32")
        values = {name: ops.convert_to_tensor(weight) for name, weight in self.learned.items()}
        return ops.cast(self.row.evaluate(_FUNCTIONS, x=x, **values), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "row": self.row.name}


def learnable_activations(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """The layers of `model`, at any depth, that have `effective_parameters`, by their path."""
    layers = model._flatten_layers(include_self=False)
    return {layer.path: layer for layer in layers if hasattr(layer, "effective_parameters")}
