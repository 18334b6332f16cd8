"""Settings of the translation tasks."""

from __future__ import annotations

from typing import Any

from sgblend_utils.presets import (
    COUNT,
    COUNT_OR_ALL,
    FLAG,
    NUMBER,
    RISING,
    SHARE,
    Checks,
    Presets,
    one_of,
)

# Shared by the presets of the sound translation protocol (English to German, as the paper labels).
TRANSLATION: dict[str, Any] = {
    "max_samples": None,  # training pairs; None takes all
    "vocabulary": 4000,  # joint subwords
    "d_model": 128,
    "num_heads": 4,
    "ff_dim": 256,
    "num_layers": 2,
    "gated": False,  # feed-forward: GEGLU with gelu, SwiGLU with silu, at equal parameter count
    "dropout": 0.1,
    "label_smoothing": 0.1,
    "epochs": 8,
    "tokens": 768,  # padded target positions a batch
    "widths": [12, 15, 18, 22, 28, 44],
    "learning_rate": 2e-3,  # at the end of the warm-up
    "schedule": "cosine",  # from there to zero; or "inverse_sqrt" (Vaswani et al. 2017)
    "warmup": 0.1,  # share of all steps
    "average": 5,  # checkpoints, a fiftieth of the steps apart, whose mean is tried at the end
    "beam": 4,  # hypotheses kept in the search; 1 is greedy
    "length_penalty": 1.0,  # exponent of Wu et al. 2016, eq. 14; 0 ranks by probability alone
    "weight_decay": 0.0,
    "clip": 1.0,  # global gradient norm
}
MINI = {
    "vocabulary": 600,
    "d_model": 64,
    "ff_dim": 128,
    "epochs": 12,
    "tokens": 1024,
    "widths": [16, 24],
    "learning_rate": 3e-3,
}

PRESETS: Presets = {
    ("multi30k", "sound", "mini"): {**TRANSLATION, **MINI},
    ("wmt14", "sound", "mini"): {**TRANSLATION, **MINI},
    ("multi30k", "sound", "cpu"): {**TRANSLATION},
    ("wmt14", "sound", "cpu"): {
        **TRANSLATION,
        "epochs": 5,
        "widths": [16, 24, 32, 40, 48],
    },
}

CHECKS: Checks = {
    "max_samples": COUNT_OR_ALL,
    "vocabulary": COUNT,
    "d_model": COUNT,
    "num_heads": COUNT,
    "ff_dim": COUNT,
    "num_layers": COUNT,
    "gated": FLAG,
    "dropout": SHARE,
    "label_smoothing": SHARE,
    "epochs": COUNT,
    "tokens": COUNT,
    "widths": RISING,
    "learning_rate": NUMBER,
    "schedule": one_of("cosine", "inverse_sqrt"),
    "warmup": SHARE,
    "average": COUNT,
    "beam": COUNT,
    "length_penalty": NUMBER,
    "weight_decay": NUMBER,
    "clip": NUMBER,
}
