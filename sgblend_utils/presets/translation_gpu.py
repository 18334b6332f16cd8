"""Settings of the translation tasks that want a GPU: the paper's sizes, and all of WMT14."""

from __future__ import annotations

from sgblend_utils.presets import COUNT, FLAG, Checks, Presets
from sgblend_utils.presets.translation import PRESETS as SMALLER
from sgblend_utils.presets.translation import TRANSLATION

# The paper's example run: 50,000 pairs, 10 epochs, d_model 128, ff_dim 256, 2 heads, 2 layers, and
# batches of 64 sentences, which is 64 times the widest bucket in padded positions.
PAPER = {
    **TRANSLATION,
    "epochs": 10,
    "d_model": 128,
    "num_heads": 2,
    "ff_dim": 256,
    "num_layers": 2,
}

PRESETS: Presets = {
    ("multi30k", "sound", "paper"): {**PAPER, "tokens": 64 * 44},
    ("wmt14", "sound", "paper"): {
        **PAPER,
        "max_samples": 50_000,
        "vocabulary": 8000,
        "tokens": 64 * 48,
        "widths": SMALLER["wmt14", "sound", "cpu"]["widths"],
    },
    # Transformer base (Vaswani et al. 2017, sections 3 and 5): about 5,300 updates an epoch, so
    # 19 epochs are their 100,000, and a 0.04th of these is their warm-up of 4,000.
    ("wmt14", "sound", "full"): {
        **TRANSLATION,
        "sharded": True,  # the training pairs are on disk and not in memory
        "subword_pairs": 500_000,  # drawn at random, from which the subwords are learned
        "vocabulary": 37_000,
        "d_model": 512,
        "num_heads": 8,
        "ff_dim": 2048,
        "num_layers": 6,
        "epochs": 19,
        # About 25,000 real target tokens; the rows of every bucket divide by 2, 4 and 8 devices.
        "tokens": 30_720,
        "widths": [16, 24, 32, 48, 64, 96, 128],
        "learning_rate": 7e-4,  # 512^−0.5 · 4000^−0.5
        "schedule": "inverse_sqrt",
        "warmup": 0.04,
        "length_penalty": 0.6,
    },
}

CHECKS: Checks = {"sharded": FLAG, "subword_pairs": COUNT}
