"""Put SG-Blend in the place of a trained model's activations without changing what it computes."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.errors import UserError
from sgblend_utils.zoo import make_activation

_PROBES = np.linspace(-6.0, 6.0, 49, dtype="float32")[None, :]
_KEY = "activation"  # the attribute that Keras's layers have, and its entry in a configuration

# Source -> for each form of it: the function, and where SG-Blend must start to be the same.
_EXACT_STARTS = {
    "gelu": [
        (partial(keras.activations.gelu, approximate=form == "tanh"), {"alpha": 0.0, "gelu": form})
        for form in ("erf", "tanh")
    ],
    "silu": [(keras.activations.silu, {"alpha": 1.0, "beta": 1.0, "gamma": 0.0})],
}


def swap_activation(model, source: str = "gelu", target: str = "sgblend", **kwargs) -> keras.Model:
    """A model in which every site that applied `source` has a fresh `target` layer of its own.

    From `gelu` (exact or tanh form) or `silu` to `sgblend` the function is at first the same: at
    α = 0 SG-Blend is GELU, at α = 1 and β = 1 SiLU.  Training can then move α, β and γ.

    Functional and Sequential models, nested ones too, are copied with their weights, as a plain
    Functional model where the given one had a class of its own; the copy can be saved and loaded.
    Subclassed models, and layers whose configuration does not name their activation, are changed in
    place: such a model must be compiled again, and saved by its weights alone (`save_weights`).

    A site is recognised by the values of its function: `keras.activations.gelu`, a lambda and
    keras-hub's own count.  `kwargs` are for the target's layers and go before the exact start.
    """
    forms: Any = _EXACT_STARTS.get(source) or [(make_activation(source), {})]
    exact = target.partition("(")[0] == "sgblend" and source in _EXACT_STARTS
    name = "swapped"  # of the new layers, the same at each site, and of no layer before
    while any(layer.name == name for layer in _sub_layers(model)):
        name += "_again"

    def fresh(function, dtype):
        """A new layer for a site that applies `function`; None if that is not `source`."""
        for form, start in forms:
            if _same_function(function, form):
                own = {"name": name, "dtype": dtype, **(start if exact else {}), **kwargs}
                return make_activation(target, **own)
        return None

    make_activation(target, **kwargs)  # complain of arguments now, also where nothing is found
    sites = _sites(model)
    if not any(fresh(layer.activation, "float32") for layer in sites):
        functions = [layer.activation for layer in sites]
        names = sorted({getattr(f, "__name__", type(f).__name__) for f in functions}) or ["none"]
        found = f"its activations are: {', '.join(names)}"
        raise UserError(f"Nothing in {model.name} applies {source}; {found}.")
    # Of models, Functional ones alone are graphs of operations; their class has no public name.
    if isinstance(model, keras.Sequential) or hasattr(model, "operations"):
        model = _copied(model, fresh, name)
    for layer in _sites(model):
        if replacement := fresh(layer.activation, layer.dtype_policy):
            layer._tracker.unlock()  # which a built layer closes to new parts
            layer.activation = replacement
            layer._tracker.lock()
            _build_activation(layer)
    return model


def _sub_layers(layer):
    return layer._flatten_layers(include_self=False)


def _sites(model):
    """Layers with a function as `activation` that they do not hand to a layer within them."""
    return [
        layer
        for layer in _sub_layers(model)
        if callable(function := getattr(layer, _KEY, None))
        and not isinstance(function, keras.layers.Layer)
        and not any(getattr(inner, _KEY, None) is function for inner in _sub_layers(layer))
    ]


def _same_function(function, reference):
    """Whether a function of one tensor, or its configuration, has another's values in [−6, 6]."""
    try:
        function = keras.activations.get(function)
        values = ops.convert_to_numpy(function(ops.convert_to_tensor(_PROBES)))
    except Exception:  # it may want something else altogether: then it is another function
        return False
    wanted = ops.convert_to_numpy(reference(ops.convert_to_tensor(_PROBES)))
    # The two forms of GELU differ by 5e-4.
    return values.shape == wanted.shape and bool(np.abs(values - wanted).max() < 1e-5)


def _copied(model, fresh, name):
    """A copy with the same weights; its configuration has the new layers, called `name`, in it."""

    def swapped(config, dtype, function=None):
        """A configuration with new activations, also in those within it."""
        if isinstance(config, (list, tuple)):
            return type(config)(swapped(item, dtype) for item in config)
        if not isinstance(config, dict):
            return config
        out = {}
        for key, item in config.items():
            new = fresh(function or item, dtype) if key == _KEY else None
            serialized = new and keras.saving.serialize_keras_object(new)
            out[key] = serialized or swapped(item, dtype)
        return out

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, keras.layers.Layer):  # and not a mere operation, such as a sum
            config = swapped(config, layer.dtype_policy, getattr(layer, _KEY, None))
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    for layer in _sub_layers(copy):
        if getattr(getattr(layer, _KEY, None), "name", None) == name:
            _build_activation(layer)
    new = {id(w) for layer in _sub_layers(copy) if layer.name == name for w in layer.weights}
    kept = [weight for weight in copy.weights if id(weight) not in new]
    for weight, value in zip(kept, model.weights, strict=True):
        weight.assign(ops.copy(value))  # JAX's `fit` and `predict` delete the arrays that they get
    return copy


def _build_activation(layer):
    """Create the parameters of a new activation now: the first call may be traced, and too late."""
    new = layer.activation
    shape = getattr(getattr(layer, "output", None), "shape", ())  # of use to one set per channel
    with ExitStack() as scopes:
        for part in (layer.path or layer.name).split("/"):
            scopes.enter_context(keras.name_scope(part))
        if not new.built and hasattr(new, "effective_parameters"):
            new.build(shape)
