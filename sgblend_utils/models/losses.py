"""Cross-entropy over a large vocabulary without keeping the logits, a model's largest tensor.

Both gradients are formed while a chunk of logits is still in cache.
"""

from __future__ import annotations

from typing import Any

from keras import ops

CHUNK = 512  # positions a chunk: 512 x 4,000 float32 logits are 8 MB, about one core's share of L3


def fused_cross_entropy(
    hidden: Any, kernel: Any, labels: Any, weights: Any, label_smoothing: float = 0.0
) -> Any:
    """Weighted sums over positions: smoothed loss, negative log-likelihood (nats), arg-max hits.

    With p = softmax(hidden kernelᵀ) and q = (1 − ε) onehot(label) + ε / V (Szegedy et al. 2016),
    the loss of a position is −Σ q log p.  Its sum alone is differentiable, in `hidden`, `kernel`.

    Args:
        hidden, kernel: (N, d) final hidden states and (V, d) output embedding.
        labels: (N,) integers in [0, V).
        weights: (N,) float, 0 where a position does not count.
        label_smoothing: ε in [0, 1).
    """
    positions, vocabulary = hidden.shape[0], kernel.shape[0]
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
        one_hot = ops.one_hot(label, vocabulary)
        target = (1.0 - label_smoothing) * one_hot + label_smoothing / vocabulary
        d_logits = (ops.exp(logits - log_z[:, None]) - target) * weight[:, None]
        d_logits = ops.cast(d_logits, h.dtype)
        return sums, ops.matmul(d_logits, w), ops.matmul(ops.transpose(d_logits), h)

    def value_and_gradients(h: Any, w: Any) -> tuple[Any, Any, Any]:
        if positions is None:  # a dynamic batch cannot be unrolled
            return one_chunk(h, w, labels, weights)
        chunk = min(CHUNK, positions)
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
