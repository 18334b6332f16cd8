"""What every notebook needs first: a quiet Keras, one style, and the mode it runs in."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from sgblend_utils.errors import UserError

if TYPE_CHECKING:  # Keras itself is imported by `setup`, not before
    import keras

MODES = ("quick", "full")


def mode() -> str:
    """``quick`` (default: trains only on the bundled mini data) or ``full``, from SGBLEND_MODE."""
    value = os.environ.get("SGBLEND_MODE", "quick")
    if value not in MODES:
        raise UserError(f"SGBLEND_MODE is {value!r}: set it to one of {', '.join(MODES)}.")
    return value


def is_live() -> bool:
    """Whether somebody sits in front of this notebook (False when executed by a command).

    Jupyter's server names the session in the kernel's environment; command-line runs do not.
    """
    return "JPY_SESSION_NAME" in os.environ


def setup(seed: int | None = 0) -> None:
    """Import Keras without the backend's start-up chatter, seed it, and set the figure style.

    Call it in a notebook's first cell, before anything else imports Keras.  What a library writes
    to stderr while starting differs between machines and would be kept in the outputs.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with _stderr_closed():
        import keras

        keras.ops.convert_to_numpy(keras.ops.ones(1))  # the first operation wakes the backend
        if seed is not None:
            keras.utils.set_random_seed(seed)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # which its import sets to INFO
    from sgblend_utils.style import set_style

    set_style()


@contextlib.contextmanager
def _stderr_closed() -> Iterator[None]:
    """Send file descriptor 2 nowhere: C++ libraries write past `sys.stderr`."""
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def side_by_side(
    branches: Mapping[str, Callable[[], keras.layers.Layer]],
    inputs: int,
    units: tuple[int, ...],
    classes: int,
    seed: int = 0,
) -> keras.Model:
    """One classifier per activation, in one model, from the same initial weights.

    The branches share nothing but their input, and the loss is the sum of theirs: with an optimizer
    that treats each weight by itself, training them together is training each alone, with a single
    compilation and the same data order for all.

    Args:
        branches: label -> factory of the activation layer of one site.
        inputs: number of features.
        units: widths of the hidden layers, named ``<label>_dense_0``, ``<label>_site_0``, ...
        classes: number of classes; the branches' outputs are logits, by label.
        seed: of the initial weights.
    """
    import keras

    start = keras.Input((inputs,))
    outputs = {}
    for label, factory in branches.items():
        hidden = start
        for i, width in enumerate((*units, classes)):
            last = i == len(units)
            initial = keras.initializers.GlorotUniform(seed=seed + i)
            name = f"{label}_{'logits' if last else f'dense_{i}'}"
            hidden = keras.layers.Dense(width, kernel_initializer=initial, name=name)(hidden)
            if not last:
                site = factory()
                site.name = f"{label}_site_{i}"
                hidden = site(hidden)
        outputs[label] = hidden
    return keras.Model(start, outputs)
