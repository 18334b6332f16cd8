"""Put SG-Blend in the place of a trained model's activations without changing what it computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.activations import make_activation
from sgblend_utils.errors import UserError

PROBES = np.linspace(-6.0, 6.0, 49, dtype="float32")[None, :]
TOLERANCE = 1e-5  # the two forms of GELU differ by 5e-4
KEY = "activation"  # the name that Keras gives such an attribute, and its entry in a configuration

# Source -> for each form of it: the function, and where SG-Blend must start to be the same.
EXACT_STARTS: dict[str, list[tuple[Callable[[Any], Any], dict[str, Any]]]] = {
    "gelu": [
        (lambda x: keras.activations.gelu(x, approximate=False), {"alpha": 0.0, "gelu": "erf"}),
        (lambda x: keras.activations.gelu(x, approximate=True), {"alpha": 0.0, "gelu": "tanh"}),
    ],
    "silu": [(keras.activations.silu, {"alpha": 1.0, "beta": 1.0, "gamma": 0.0})],
}


def swap_activation(
    model: keras.Model, source: str = "gelu", target: str = "sgblend", **kwargs: Any
) -> keras.Model:
    """A model in which every place that applied `source` has a fresh `target` layer of its own.

    From `gelu` (exact or tanh form) or `silu` to `sgblend` the function is at first the same: at
    α = 0 SG-Blend is GELU, at α = 1 and β = 1 SiLU.  Training can then move α, β and γ.

    Functional and Sequential models, nested ones too, are copied: the given model stays as it is,
    all weights are taken over, and the copy can be saved and loaded.  The copy is a plain
    Functional model where the given one was of a class of its own.  Subclassed models, and layers
    whose configuration does not name their activation, cannot be copied so and are changed in
    place: such a model must be compiled again, and saved by its weights alone (`save_weights`).

    Args:
        model: with its weights, for example `keras_hub.models.Backbone.from_preset(folder)`.
        source: what is replaced, a name of `ACTIVATIONS`.  A place is recognised by the values of
            its function, so that `keras.activations.gelu`, a lambda and keras-hub's own count.
        target: a name of `ACTIVATIONS`.
        **kwargs: for the target's layers; they go before the start that makes the swap exact.

    Raises:
        UserError: unknown names, or `source` is nowhere in the model.
    """
    forms = EXACT_STARTS.get(source, []) if target == "sgblend" else []
    if not forms:
        alike = EXACT_STARTS.get(source) or [(make_activation(source), {})]
        forms = [(function, {}) for function, _ in alike]

    name = "swapped"  # of the new layers, in each place the same, and of no layer before
    while any(layer.name == name for layer in sub_layers(model)):
        name += "_again"

    def fresh(function: Any, dtype: Any) -> keras.layers.Layer | None:
        """A new layer for a place that applies `function`; None if that is not `source`."""
        for form, start in forms:
            if same_function(function, form):
                return make_activation(target, name=name, **{"dtype": dtype, **start, **kwargs})
        return None

    make_activation(target, **kwargs)  # complain of arguments now, also where nothing is found
    found = [place for place in places(model) if fresh(place.activation, "float32")]
    if not found:
        names = sorted({name_of(place.activation) for place in places(model)})
        raise UserError(
            f"Nothing in {model.name} applies {source}; its activations are: "
            f"{', '.join(names) or 'none'}."
        )
    # Of models, Functional ones alone are graphs of operations; their class has no public name.
    if isinstance(model, keras.Sequential) or hasattr(model, "operations"):
        model = copied(model, fresh, name)
    for place in places(model):
        replacement = fresh(place.activation, place.dtype_policy)
        if replacement is not None:
            put_in(place, replacement)
    return model


def sub_layers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Every layer at any depth, once."""
    return layer._flatten_layers(include_self=False)


def places(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Layers that apply a plain function of their own as `activation`.

    Not those that hand theirs to a layer within, as keras-hub's TransformerEncoder does.
    """
    holders = [
        layer
        for layer in sub_layers(model)
        if callable(getattr(layer, KEY, None))
        and not isinstance(layer.activation, keras.layers.Layer)
    ]
    return [
        layer
        for layer in holders
        if not any(getattr(inner, KEY, None) is layer.activation for inner in sub_layers(layer))
    ]


def same_function(function: Any, reference: Callable[[Any], Any]) -> bool:
    """Whether a function of one tensor has the values of another, from −6 to 6."""
    try:
        values = ops.convert_to_numpy(function(ops.convert_to_tensor(PROBES)))
    except Exception:  # it may want something else altogether: then it is another function
        return False
    wanted = ops.convert_to_numpy(reference(ops.convert_to_tensor(PROBES)))
    return values.shape == wanted.shape and bool(np.abs(values - wanted).max() < TOLERANCE)


def name_of(function: Any) -> str:
    """What to call a function in a message."""
    return getattr(function, "__name__", type(function).__name__)


def copied(
    model: keras.Model, fresh: Callable[[Any, Any], keras.layers.Layer | None], name: str
) -> keras.Model:
    """A copy with the same weights; its configuration has the new layers, called `name`, in it."""

    def swapped(config: Any, dtype: Any, function: Any = None) -> Any:
        """A configuration with new activations, also in those within it."""
        if isinstance(config, (list, tuple)):
            return type(config)(swapped(item, dtype) for item in config)
        if not isinstance(config, dict):
            return config
        out = {}
        for key, item in config.items():
            new = fresh(function or readable(item), dtype) if key == KEY else None
            out[key] = swapped(item, dtype) if new is None else serialize(new)
        return out

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.Layer):  # and not a mere operation, such as a sum
            config = swapped(config, layer.dtype_policy, getattr(layer, KEY, None))
        return type(layer).from_config(config)

    serialize = keras.saving.serialize_keras_object
    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    for layer in sub_layers(copy):
        if getattr(getattr(layer, KEY, None), "name", None) == name:
            build_activation(layer)
    new = {id(w) for layer in sub_layers(copy) if layer.name == name for w in layer.weights}
    kept = [weight for weight in copy.weights if id(weight) not in new]
    for weight, value in zip(kept, model.weights, strict=True):
        weight.assign(value)
    return copy


def readable(item: Any) -> Any:
    """The function that an entry of a configuration stands for; None where it cannot be read."""
    try:
        return keras.activations.get(item)
    except (TypeError, ValueError):
        return None


def put_in(layer: keras.layers.Layer, replacement: keras.layers.Layer) -> None:
    """Set the activation of a layer that is built; Keras has closed it to new parts by then."""
    layer._tracker.unlock()
    layer.activation = replacement
    layer._tracker.lock()
    build_activation(layer)


def build_activation(layer: keras.layers.Layer) -> None:
    """Create the parameters of a new activation now: the first call may be traced, and too late."""
    new = layer.activation
    if new.built or not hasattr(new, "effective_parameters"):
        return
    shape = getattr(getattr(layer, "output", None), "shape", ())  # of use to one set per channel
    with ExitStack() as scopes:
        for part in (layer.path or layer.name).split("/"):
            scopes.enter_context(keras.name_scope(part))
        new.build(shape)
