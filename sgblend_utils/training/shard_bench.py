"""What a large corpus costs in memory and time: tokenised into shards, then an epoch of batches."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from sgblend_utils.datasets.shards import ShardBatches, write_shards
from sgblend_utils.datasets.text import Subwords
from sgblend_utils.training.common import peak_rss

WORDS = 20_000  # of the invented language
SYLLABLES = [a + b for a in "bdfghjklmnprstvwz" for b in ("a", "e", "i", "o", "u", "ei", "au")]
SAMPLE = 50_000  # pairs from which the subwords are learned
SHAPE = {"tokens": 30_720, "widths": [16, 24, 32, 48, 64, 96, 128]}  # of the `full` preset


def synthetic_pairs(count: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """Pairs of invented words, with Zipf's law of words and sentence lengths like WMT14's."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(SYLLABLES, rng.integers(1, 5))) for _ in range(WORDS)]
    share = 1.0 / (np.arange(WORDS) + 5)
    edges = np.cumsum(share / share.sum())
    for start in range(0, count, 10_000):
        rows = min(10_000, count - start)
        length = rng.gamma(2.0, 12.0, rows)
        lengths = 1 + np.stack([length, length * rng.uniform(0.8, 1.2, rows)], 1).astype(int)
        drawn = iter(np.searchsorted(edges, rng.random(lengths.sum())).clip(max=WORDS - 1).tolist())
        for source, target in lengths:
            yield tuple(
                " ".join([words[i] for i in islice(drawn, int(size))]) for size in (source, target)
            )


def shard_costs(pairs: int, vocabulary: int = 8000) -> dict[str, Any]:
    """Tokenise so many synthetic pairs into a temporary folder, and go through one epoch.

    Returns:
        `pairs`; `text_bytes` and `shard_bytes`; `tokenise_pairs_per_second` and
        `epoch_pairs_per_second`; `batches`; `padding_share` of their positions; `peak_rss_bytes`
        of this process, everything imported included.
    """
    sample = synthetic_pairs(min(pairs, SAMPLE))
    subwords = Subwords.train(chain.from_iterable(sample), vocabulary)
    text_bytes = 0

    def counted() -> Iterator[tuple[str, str]]:
        nonlocal text_bytes
        for pair in synthetic_pairs(pairs):
            text_bytes += len(pair[0]) + len(pair[1])
            yield pair

    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        shards = write_shards(counted(), subwords, Path(folder), source="synthetic")
        written = time.perf_counter()
        batches = ShardBatches(shards, seed=0, **SHAPE)
        seen = positions = real = 0
        for i in range(len(batches)):
            inputs, labels = batches[i]
            seen += int((inputs["source"][:, 0] != 0).sum())
            positions += labels.size
            real += int((labels != 0).sum())
        read = time.perf_counter()
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    assert seen + batches.dropped == pairs
    return {
        "pairs": pairs,
        "text_bytes": text_bytes,
        "shard_bytes": size,
        "tokenise_pairs_per_second": round(pairs / (written - started)),
        "epoch_pairs_per_second": round(seen / (read - written)),
        "batches": len(batches),
        "padding_share": round(1 - real / positions, 3),
        "peak_rss_bytes": peak_rss(),
    }
