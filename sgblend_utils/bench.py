"""What an activation costs, as a ratio to GELU measured in turns with it in the same process."""

from collections.abc import Callable, Sequence
from timeit import timeit
from typing import Any

import keras
import numpy as np
import pandas as pd

from sgblend_utils.zoo import make_activation

SHAPE = (3072, 512)  # a batch of feed-forward pre-activations: 3,072 positions, 512 units
REFERENCE = "gelu"


def forward_backward(layer: keras.layers.Layer, x: np.ndarray) -> Callable[[], Any]:
    """A compiled call of `layer` and its gradients in input and parameters, awaited."""
    layer.build(x.shape)
    upstream = np.cos(np.arange(x.size, dtype="float32")).reshape(x.shape)
    if keras.backend.backend() == "jax":
        import jax

        def loss(values: Any, data: Any) -> Any:
            return (layer.stateless_call(values, [], data)[0] * upstream).sum()

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
        values, data = [v.value for v in layer.trainable_variables], jax.numpy.asarray(x)
        return lambda: jax.block_until_ready(gradient(values, data))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        data, weight = tf.constant(x), tf.constant(upstream)

        @tf.function(jit_compile=True)
        def step() -> Any:
            with tf.GradientTape() as tape:
                tape.watch(data)
                loss = tf.reduce_sum(layer(data) * weight)
            return tape.gradient(loss, [data, *layer.trainable_variables])

        return lambda: [gradient.numpy() for gradient in step()]
    import torch

    data, weight = torch.tensor(x, requires_grad=True), torch.tensor(upstream)
    wanted = [data, *(v.value for v in layer.trainable_variables)]
    return lambda: torch.autograd.grad((layer(data) * weight).sum(), wanted)


def activation_costs(names: Sequence[str], shape=SHAPE, rounds: int = 15) -> pd.DataFrame:
    """Forward and backward time, a row each: median `milliseconds`, and `ratio` to GELU's time.

    Every round times each activation once, in turn, so that a slow moment of the machine falls on
    all of them.  The ratio is one round's: its median, and its quartiles `ratio_low`, `ratio_high`.
    """
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    steps = {name: forward_backward(make_activation(name), x) for name in [REFERENCE, *names]}
    for step in steps.values():
        step()  # compiles
    seconds = pd.DataFrame(
        {name: timeit(step, number=1) for name, step in steps.items()} for _ in range(rounds)
    )
    ratios = seconds.div(seconds[REFERENCE], axis=0)
    table = {"milliseconds": 1e3 * seconds.median(), "ratio": ratios.median()}
    table |= {"ratio_low": ratios.quantile(0.25), "ratio_high": ratios.quantile(0.75)}
    return pd.DataFrame(table).loc[list(names)].rename_axis("activation").reset_index().round(3)
