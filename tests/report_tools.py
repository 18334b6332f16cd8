"""Records that look like those of training but are made up, for tests of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sgblend_utils.config import RunConfig
from sgblend_utils.runs import Place, write_record

ROWS = "made up"  # in place of a digest
THREE = ("relu", "gelu", "sgblend")
FIVE = (*THREE, "silu", "sswish")
SITES = ("encoder_0", "encoder_1", "decoder_0", "decoder_1")
LEARNED = {
    "sgblend": {"alpha": 0.5, "beta": 1.0, "gamma": 0.0},
    "sswish": {"beta": 1.0, "gamma": 0.0},
}


def made_up(config: RunConfig, bleu: float) -> dict[str, Any]:
    """One record with the given BLEU; everything else follows from the configuration."""
    rng = np.random.default_rng([config.seed, *config.activation.encode()])
    start = LEARNED.get(config.activation, {})
    steps = [
        {site: {k: v + 0.05 * epoch * rng.normal() for k, v in start.items()} for site in SITES}
        for epoch in range(6)
    ]
    accuracy = 0.6 + 0.002 * (bleu - 30)
    seconds = 100.0 + 3 * (config.activation == "sgblend")
    return {
        "schema": 2,
        "key": config.key(ROWS),
        "config": config.describe(),
        "data": {"digest": ROWS, "train_pairs": 29000},
        "history": [
            {
                "epoch": epoch,
                "loss": 5.0 / epoch,
                "val_nll": 4.0 / epoch,
                "val_accuracy": round(accuracy * (1 - 0.5 / epoch**2), 5),
                "seconds": 100.0 + epoch,
                "cpu_seconds": seconds,
            }
            for epoch in range(1, 6)
        ],
        "metrics": {
            "bleu": round(bleu, 4),
            "bleu_signature": "nrefs:1|case:mixed",
            "test_nll": round(2.0 - 0.01 * (bleu - 30), 5),
            "test_accuracy": round(accuracy, 5),
            "dead_share": 0.01 if config.activation == "relu" else 0.0,
            "near_dead_share": 0.02 if config.activation == "relu" else 0.001,
            "dead_by_site": dict.fromkeys(SITES, 0.0),
        },
        "activation_parameters": steps if start else [{} for _ in steps],
        "timing": {"epoch_seconds_median": seconds, "total_seconds": 600.0},
        "parameters": 1000,
        "peak_rss_bytes": 10**9,
        "versions": {"python": "3.12"},
        "hardware": {"processor": "Some CPU", "cores": 1, "accelerators": []},
        "git_commit": None,
        "created": "2026-01-01T00:00:00+00:00",
    }


def store(record: dict[str, Any], config: RunConfig, root: Path) -> Path:
    path = Place(config, root, record["key"]).record
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(record, path)
    return path


def fill_store(
    root: Path,
    activations: Sequence[str] = FIVE,
    seeds: Sequence[int] = (0, 1, 2),
    *,
    task: str = "multi30k",
    protocol: str = "sound",
    preset: str = "cpu",
    effects: dict[str, float] | None = None,
    noise: float = 0.2,
    overrides: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
) -> Path:
    """Made-up records for activations × seeds.

    Args:
        effects: activation -> true BLEU minus GELU's.
        noise: standard deviation of what a run adds by itself; seeds add more, shared by all.
        metrics: of every record, beside the usual ones.
    """
    for activation in activations:
        for seed in seeds:
            config = RunConfig(task, activation, protocol, preset, seed, overrides or {})
            rng = np.random.default_rng([seed, 7, *activation.encode()])
            shared = np.random.default_rng(seed).normal(0, 1)
            bleu = 30 + shared + (effects or {}).get(activation, 0) + noise * rng.normal()
            record = made_up(config, bleu)
            record["metrics"] |= metrics or {}
            store(record, config, root)
    return root
