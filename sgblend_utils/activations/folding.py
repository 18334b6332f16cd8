"""Remove gamma for inference: what the following layers' biases can take, they take exactly.

SG-Blend's output is h - c with c = alpha gamma (SSwish: c = gamma), a constant.  Behind it

* a Dense or unpadded convolution turns c into a constant that its bias absorbs,
* BatchNormalization subtracts a running mean, which absorbs c,
* LayerNormalization cancels a c that all channels share,

possibly after layers that hand a constant on unchanged (dropout, pooling, reshaping, sums).  Zero
padding does not: a padded zero stays a zero while its neighbours lose c.
"""

import keras
import numpy as np

from sgblend_utils.activations.layers import SGBlend, SSwish
from sgblend_utils.errors import UserError

_layers = keras.layers
# Constants pass these unchanged, one constant per channel included ...
_TRANSPARENT = (
    _layers.Dropout,
    _layers.SpatialDropout1D,
    _layers.SpatialDropout2D,
    _layers.GaussianNoise,
    _layers.GlobalMaxPooling1D,
    _layers.GlobalMaxPooling2D,
    _layers.GlobalAveragePooling1D,
    _layers.GlobalAveragePooling2D,
    _layers.Add,
)
# ... and these only when every element loses the same constant.
_REARRANGING = (_layers.Flatten, _layers.Reshape, _layers.Permute)
_POOLING = (
    _layers.MaxPooling1D,
    _layers.MaxPooling2D,
    _layers.AveragePooling1D,
    _layers.AveragePooling2D,
)
_CONVOLUTIONS = (_layers.Conv1D, _layers.Conv2D, _layers.Conv3D)


def fold_sgblend(model: keras.Model) -> keras.Model:
    """Return a copy of `model` in which gamma of every SGBlend and SSwish is gone where it can be.

    The copy computes the same function (up to rounding) in inference.  Where the constant cannot be
    absorbed exactly, as before a padded convolution or at the model's output, gamma stays.

    Args:
        model: a built functional or Sequential model; it is left as it is.

    Raises:
        UserError: the model is neither, or not built.
    """
    if isinstance(model, keras.Sequential) and not model.built:
        raise UserError("fold_sgblend needs a built model: call it once on some input.")
    graph = model._functional if isinstance(model, keras.Sequential) else model
    if not hasattr(graph, "_nodes_by_depth"):  # Keras exports no name for functional models
        raise UserError("fold_sgblend needs a functional or Sequential model.")
    plans = {}
    for layer in graph.layers:
        if isinstance(layer, (SGBlend, SSwish)) and "gamma" in layer.parameters:
            shared = int(np.prod(layer._gamma.shape)) == 1
            absorbers = _absorbers(layer, graph, shared)
            if absorbers is not None:
                plans[layer.name] = absorbers
    with_bias = {name for absorbers in plans.values() for name in absorbers}

    def copy_layer(layer):
        config = layer.get_config()
        if layer.name in with_bias and "use_bias" in config:
            config["use_bias"] = True
        if layer.name in plans:
            kept = [name for name in config["trainable_parameters"] if name != "gamma"]
            config["trainable_parameters"] = kept
        return type(layer).from_config(config)

    folded = keras.models.clone_model(graph, clone_function=copy_layer)
    for layer in graph.layers:
        for weight in layer.weights:
            _twin(folded, layer, weight).assign(weight)
    for name, absorbers in plans.items():
        layer = folded.get_layer(name)
        values = layer.effective_parameters()
        constant = np.squeeze(values.get("alpha", 1.0) * values["gamma"])
        layer._gamma.assign(np.zeros(layer._gamma.shape))
        for absorber in absorbers:
            _absorb(folded.get_layer(absorber), constant)
    return folded


def _absorbers(layer, graph, shared):
    """Names of the layers that absorb the constant behind `layer`; None when some path has none.

    `shared` says that all elements lose the same constant, not one per channel.  A layer that two
    paths reach, as behind h + dropout(h), receives the constant twice and is named twice.
    """
    if not shared and isinstance(layer, (SGBlend, SSwish)) and np.prod(layer._gamma.shape[:-1]) > 1:
        return None  # one constant per position
    if len(_nodes(layer, graph)) != 1 or any(
        tensor is output for tensor in layer._inbound_nodes[0].outputs for output in graph.outputs
    ):
        return None
    names = []
    followers = [
        node.operation
        for node in layer._outbound_nodes
        if any(node is own for own in _nodes(node.operation, graph))
    ]
    for follower in followers:
        if len(_nodes(follower, graph)) != 1:
            return None
        if _takes_constant(follower, shared):
            names.append(follower.name)
        elif isinstance(follower, _layers.LayerNormalization) and shared:
            continue
        elif _passes_constant(follower, shared):
            further = _absorbers(follower, graph, shared)
            if further is None:
                return None
            names += further
        else:
            return None
    return names


def _nodes(layer, graph):
    """The calls of `layer` that belong to `graph`."""
    return [
        node
        for node in layer._inbound_nodes
        if any(node is own for nodes in graph._nodes_by_depth.values() for own in nodes)
    ]


def _takes_constant(layer, shared):
    if isinstance(layer, _layers.Dense):
        return True
    if isinstance(layer, _CONVOLUTIONS):
        return layer.padding == "valid" and (shared or layer.groups == 1)
    if isinstance(layer, _layers.BatchNormalization):
        return shared or layer.axis in (-1, len(layer.input.shape) - 1)
    return False


def _passes_constant(layer, shared):
    if isinstance(layer, _POOLING):
        return layer.padding == "valid"
    return isinstance(layer, _TRANSPARENT) or (shared and isinstance(layer, _REARRANGING))


def _twin(folded, layer, weight):
    """The variable of the folded model that holds `weight` of the original `layer`."""
    own = folded.get_layer(layer.name).weights
    matches = [w for w in own if w.name == weight.name and w.shape == weight.shape]
    if len(matches) == 1:
        return matches[0]
    return own[[w is weight for w in layer.weights].index(True)]  # nested: same order


def _absorb(layer, constant):
    """Make `layer` act on h as it did on h - constant."""
    if isinstance(layer, _layers.BatchNormalization):
        layer.moving_mean.assign(layer.moving_mean + constant)
        return
    kernel = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
    # Kernel axes: window ..., input channel, output channel; the constant runs along the inputs.
    shift = (np.broadcast_to(constant, kernel.shape[-2:-1])[:, None] * kernel).sum(
        axis=tuple(range(kernel.ndim - 1))
    )
    layer.bias.assign(keras.ops.convert_to_numpy(layer.bias) - shift)
