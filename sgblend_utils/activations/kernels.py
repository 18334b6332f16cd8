"""The gate of `sgblend_utils.gate`, with its own gradient, on the backend that Keras runs on."""

import contextlib
import functools
import importlib
from types import SimpleNamespace

import keras
import numpy as np
from keras import ops
from keras.backend import standardize_dtype

from sgblend_utils import gate


def _tensorflow():
    import tensorflow

    with contextlib.suppress(ImportError):
        # Keras's export to ONNX has no erfc: let it write 1 - erf, also for Keras's own GELU.
        from tf2onnx.handler import tf_op

        @tf_op("Erfc")
        class Erfc:
            @classmethod
            def version_9(cls, graph, node, **kwargs):
                like = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
                one = graph.make_const(f"{node.name}_one", np.ones((), "float32"))
                erf = graph.make_node("Erf", [node.input[0]], **like)
                graph.remove_node(node.name)
                graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, **like)

    names = ("abs", "cast", "exp", "reshape", "sigmoid", "where", "zeros_like")
    functions = SimpleNamespace(**{name: getattr(ops, name) for name in names})
    functions.dtype = lambda x: standardize_dtype(x.dtype)
    functions.erfc, functions.sums_at_once = tensorflow.math.erfc, False
    functions.fuses = lambda learned=(): False
    functions.sum = functools.partial(ops.sum, keepdims=True)
    return gate.with_gradient(functions, ops.custom_gradient)


if keras.backend.backend() == "tensorflow":
    blended_gate = _tensorflow()
else:  # jax or torch
    native = importlib.import_module(f"sgblend_utils.{keras.backend.backend()}")
    blended_gate = native.blended_gate
