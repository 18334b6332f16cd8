"""Cross-entropy over a large vocabulary without keeping the logits.

The output projection and the softmax cost as much as the rest of a small Transformer, and the
(positions, vocabulary) matrix of logits is its largest tensor.  Here both gradients are formed
while a chunk of logits is still in cache, so nothing of that size is ever stored.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

CHUNK = 512  # positions a chunk: 512 x 4,000 float32 logits are 8 MB, about one core's share of L3


def fused_cross_entropy(
    hidden: Any, kernel: Any, labels: Any, weights: Any, label_smoothing: float = 0.0
) -> Any:
    """Weighted sums of smoothed loss, negative log-likelihood and correct predictions.

    With p = softmax(hidden kernelᵀ) and q = (1 − ε) onehot(label) + ε / V (Szegedy et al. 2016),
    the loss of a position is −Σ q log p.

    Args:
        hidden: (N, d) final states.
        kernel: (V, d) output embedding.
        labels: (N,) integers in [0, V).
        weights: (N,) float, 0 where a position does not count.
        label_smoothing: ε in [0, 1).

    Returns:
        A float32 vector of three sums over positions: loss (nats), negative log-likelihood (nats),
        number of arg-max hits.  Only the first is differentiable, in `hidden` and `kernel`.
    """
    positions = hidden.shape[0]
    vocabulary = kernel.shape[0]
    chunk = positions if positions is None else min(CHUNK, positions)
    weights = ops.cast(weights, "float32")

    def one_chunk(h: Any, w: Any, label: Any, weight: Any) -> tuple[Any, Any, Any]:
        logits = ops.cast(ops.matmul(h, ops.transpose(w)), "float32")
        log_z = ops.logsumexp(logits, axis=-1)
        picked = ops.squeeze(ops.take_along_axis(logits, label[:, None], axis=-1), -1)
        nll = log_z - picked
        uniform = log_z - ops.mean(logits, axis=-1)
        loss = (1.0 - label_smoothing) * nll + label_smoothing * uniform
        # Equality with the maximum rather than arg-max: a reduction vectorises, an index does not.
        hit = ops.cast(picked >= ops.max(logits, axis=-1), "float32")
        sums = ops.stack([ops.sum(weight * loss), ops.sum(weight * nll), ops.sum(weight * hit)])
        target = (1.0 - label_smoothing) * ops.one_hot(label, vocabulary) + (
            label_smoothing / vocabulary
        )
        d_logits = (ops.exp(logits - log_z[:, None]) - target) * weight[:, None]
        d_logits = ops.cast(d_logits, h.dtype)
        return sums, ops.matmul(d_logits, w), ops.matmul(ops.transpose(d_logits), h)

    def value_and_gradients(h: Any, w: Any) -> tuple[Any, Any, Any]:
        if positions is None:  # a dynamic batch cannot be unrolled
            return one_chunk(h, w, labels, weights)
        parts = [
            one_chunk(h[i : i + chunk], w, labels[i : i + chunk], weights[i : i + chunk])
            for i in range(0, positions, chunk)
        ]
        sums, d_hidden, d_kernel = zip(*parts, strict=True)
        return sum(sums), ops.concatenate(d_hidden, axis=0), sum(d_kernel)

    @ops.custom_gradient
    def fused(h: Any, w: Any) -> tuple[Any, Any]:
        sums, d_hidden, d_kernel = value_and_gradients(h, w)

        def gradient(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
            scale = ops.cast((args[0] if upstream is None else upstream)[0], d_hidden.dtype)
            return scale * d_hidden, scale * d_kernel

        return sums, gradient

    return fused(hidden, ops.cast(ops.convert_to_tensor(kernel), hidden.dtype))


class TokenObjective(keras.Model):
    """Wraps a sequence model for `fit`: a mean loss per token, from `fused_cross_entropy`.

    Its output is the decoder's states, so that the logits need never exist as a whole.  A subclass
    says in `sums` what counts.
    """

    def __init__(self, transformer: keras.Model, **kwargs: Any):
        super().__init__(**kwargs)
        self.transformer = transformer
        self.trackers = [keras.metrics.Mean(name=name) for name in ("loss", "nll", "accuracy")]

    def build(self, input_shape: Any = None) -> None:
        """Build the wrapped model."""
        if not self.transformer.built:
            self.transformer.build()
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Decoder states (B, T, width)."""
        return self.transformer.states(inputs, training=training)

    def sums(self, states: Any, labels: Any, row_weights: Any) -> tuple[Any, Any]:
        """What `fused_cross_entropy` returns for a batch, and the number of tokens that count."""
        raise NotImplementedError

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Token-weighted means, reset by Keras at every epoch."""
        return self.trackers

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Mean loss per token of the batch."""
        sums, count = self.sums(y_pred, y, sample_weight)
        means = sums / ops.maximum(count, 1.0)
        for i, tracker in enumerate(self.trackers):
            tracker.update_state(means[i], sample_weight=count)
        return means[0]
