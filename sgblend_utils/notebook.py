"""What every notebook needs first: a quiet Keras and one style; and models that train as one."""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

from sgblend_utils.errors import quiet
from sgblend_utils.style import set_style


def setup() -> None:
    """Import Keras without the backend's start-up chatter, seed it, and set the figure style.

    For a notebook's first cell, before anything else imports Keras: what a library writes to stderr
    while starting differs between machines and would be kept in the outputs.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with quiet():
        import keras

        keras.ops.convert_to_numpy(keras.ops.ones(1))  # the first operation wakes the backend
        keras.utils.set_random_seed(0)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # which its import sets to INFO
    set_style()


def side_by_side(branches: Mapping[str, Callable], inputs: int, units: tuple, classes: int) -> Any:
    """One Keras model of a classifier per activation, from the same initial weights.

    The branches share nothing but their input, and the loss is the sum of theirs: with an optimizer
    that treats each weight by itself, training them together is training each alone.  `branches`
    are factories of one site's layer, by label; `units` the widths of the hidden layers
    ``<label>_dense_0``, ``<label>_site_0``, ...; the outputs are logits, by label.
    """
    import keras

    start = keras.Input((inputs,))
    outputs = dict.fromkeys(branches, start)
    for label, factory in branches.items():
        for i, width in enumerate((*units, classes)):
            name = f"{label}_dense_{i}" if i < len(units) else f"{label}_logits"
            initial = keras.initializers.GlorotUniform(seed=i)
            dense = keras.layers.Dense(width, kernel_initializer=initial, name=name)
            outputs[label] = dense(outputs[label])
            if i < len(units):
                site = factory()
                site.name = f"{label}_site_{i}"
                outputs[label] = site(outputs[label])
    return keras.Model(start, outputs)
