"""Settings of the published protocol of translation, as the paper's repository describes them."""

from __future__ import annotations

from typing import Any

from sgblend_utils.models.published import FLAWS
from sgblend_utils.presets import COUNT, COUNT_OR_ALL, NUMBER, SHARE, Checks, Presets

PUBLISHED: dict[str, Any] = {
    "flaws": list(FLAWS),  # in force; leave names out to mend them one by one
    "max_samples": 50_000,  # pairs, validation included
    "vocabulary_cap": None,  # ids a side (in all, for subwords); None keeps every word
    "length": 50,  # positions a side, `<start>` and `<end>` included
    "d_model": 64,
    "num_heads": 2,
    "ff_dim": 128,
    "num_layers": 2,
    "dropout": 0.1,
    "epochs": 10,
    "batch_size": 64,
    "learning_rate": 1e-4,  # of Adam, constant
    "patience": 2,  # epochs without a better validation loss before training stops
    "decoded_sentences": None,  # of the test set, translated without gold words; None takes all
}

PRESETS: Presets = {
    ("wmt14", "published", "mini"): {
        **PUBLISHED,
        "max_samples": 3000,
        "vocabulary_cap": 700,
        "length": 20,
        "epochs": 6,
        "learning_rate": 3e-3,
        "decoded_sentences": 100,
    },
    # Less text, fewer words and a higher rate than published, so that one core needs two minutes.
    ("wmt14", "published", "cpu"): {
        **PUBLISHED,
        "max_samples": 6000,
        "vocabulary_cap": 2000,
        "epochs": 3,
        "batch_size": 32,
        "learning_rate": 2e-3,
        "decoded_sentences": 300,
    },
    ("wmt14", "published", "paper"): PUBLISHED,
}

CHECKS: Checks = {
    "flaws": (
        lambda x: isinstance(x, list) and x == [name for name in FLAWS if name in x],
        f"a list of names in this order: {', '.join(FLAWS)}",
    ),
    "vocabulary_cap": COUNT_OR_ALL,
    "length": (lambda x: isinstance(x, int) and x > 4, "a whole number above 4"),
    "dropout": SHARE,
    "batch_size": COUNT,
    "learning_rate": NUMBER,
    "patience": COUNT,
    "decoded_sentences": COUNT_OR_ALL,
}
