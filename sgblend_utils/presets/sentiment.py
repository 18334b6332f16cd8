"""Settings of the sentiment tasks: `imdb`, the small encoder, and `imdb_bert`, the other one."""

from __future__ import annotations

from typing import Any

from sgblend_utils.models.sentiment import FLAWS, KINDS
from sgblend_utils.presets import (
    COUNT,
    COUNT_OR_ALL,
    NUMBER,
    SHARE,
    Checks,
    Presets,
    one_of,
)

# Shared by the presets of the sound protocol.
SOUND: dict[str, Any] = {
    "model": "small",  # or "bert"
    "max_samples": None,  # training reviews, those held out not included; None takes all
    "vocabulary": 8000,  # subwords
    "subword_reviews": 6000,  # training reviews that the subwords are learned from
    "length": 320,  # subwords of a review's head that are read
    "buckets": 4,  # widths that reviews are padded to: equal steps up to length
    "d_model": 64,
    "num_heads": 2,
    "ff_dim": 128,
    "num_layers": 1,
    "dropout": 0.3,
    "label_smoothing": 0.1,
    "epochs": 3,
    "tokens": 10_240,  # padded positions a batch
    "learning_rate": 2e-3,  # at the end of the warm-up
    "schedule": "cosine",  # from there to zero; or "inverse_sqrt"
    "warmup": 0.1,  # share of all steps
    "weight_decay": 0.0,
    "clip": 1.0,  # global gradient norm
}
SOUND_MINI = {
    "vocabulary": 400,
    "length": 32,
    "buckets": 1,
    "d_model": 32,
    "ff_dim": 64,
    "num_layers": 2,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "epochs": 10,
    "tokens": 2048,
    "learning_rate": 5e-3,
}
# The published sizes in the sound protocol.
SOUND_PAPER = {
    "length": 200,
    "d_model": 32,
    "ff_dim": 32,
    "num_layers": 2,
    "dropout": 0.1,
    "epochs": 15,
    "tokens": 64 * 200,
    "learning_rate": 1e-3,
}
SOUND_PAPER_BERT = {
    "model": "bert",
    "length": 256,
    "num_layers": 2,
    "dropout": 0.1,
    "epochs": 25,
    "tokens": 32 * 256,
    "learning_rate": 1e-3,
}

PUBLISHED: dict[str, Any] = {
    "model": "small",
    "flaws": list(FLAWS),  # in force; leave names out to mend them one by one
    "max_samples": None,
    "vocabulary": 10_000,  # commonest words; None keeps every word
    "subword_reviews": 6000,  # as above, where subwords take the place of words
    "length": 200,
    "d_model": 32,
    "num_heads": 2,
    "ff_dim": 32,
    "num_layers": 2,
    "dropout": 0.1,
    "epochs": 15,
    "batch_size": 64,
    "learning_rate": 1e-4,  # of Adam, constant
    "patience": 3,  # epochs without a better loss before training stops
}
PUBLISHED_BERT = {
    **PUBLISHED,
    "model": "bert",
    "vocabulary": None,
    "length": 256,
    "d_model": 64,
    "ff_dim": 128,
    "epochs": 25,
    "batch_size": 32,
    "patience": 2,
}
PUBLISHED_MINI = {"length": 24, "epochs": 10, "learning_rate": 5e-3}
# A tenfold rate and fewer epochs than published, so that one core needs minutes.
PUBLISHED_CPU = {"epochs": 4, "learning_rate": 1e-3}

PRESETS: Presets = {
    ("imdb", "sound", "mini"): {**SOUND, **SOUND_MINI},
    ("imdb", "sound", "cpu"): SOUND,
    ("imdb", "sound", "paper"): {**SOUND, **SOUND_PAPER},
    ("imdb", "published", "mini"): {**PUBLISHED, **PUBLISHED_MINI},
    ("imdb", "published", "cpu"): {**PUBLISHED, **PUBLISHED_CPU},
    ("imdb", "published", "paper"): PUBLISHED,
    ("imdb_bert", "sound", "mini"): {**SOUND, **SOUND_MINI, "model": "bert"},
    ("imdb_bert", "sound", "cpu"): {**SOUND, "model": "bert"},
    ("imdb_bert", "sound", "paper"): {**SOUND, **SOUND_PAPER_BERT},
    ("imdb_bert", "published", "mini"): {**PUBLISHED_BERT, **PUBLISHED_MINI},
    ("imdb_bert", "published", "cpu"): {
        **PUBLISHED_BERT,
        **PUBLISHED_CPU,
        "vocabulary": 20_000,  # most of the rest occur once or twice
        "epochs": 3,
    },
    ("imdb_bert", "published", "paper"): PUBLISHED_BERT,
}

CHECKS: Checks = {
    "model": one_of(*KINDS),
    "flaws": (
        lambda x: isinstance(x, list) and x == [name for name in FLAWS if name in x],
        f"a list of names in this order: {', '.join(FLAWS)}",
    ),
    "max_samples": COUNT_OR_ALL,
    "vocabulary": COUNT_OR_ALL,
    "subword_reviews": COUNT,
    "length": (lambda x: isinstance(x, int) and x > 7, "a whole number above 7"),
    "buckets": COUNT,
    "d_model": COUNT,
    "num_heads": COUNT,
    "ff_dim": COUNT,
    "num_layers": COUNT,
    "dropout": SHARE,
    "label_smoothing": SHARE,
    "epochs": COUNT,
    "tokens": COUNT,
    "batch_size": COUNT,
    "learning_rate": NUMBER,
    "patience": COUNT,
    "schedule": one_of("cosine", "inverse_sqrt"),
    "warmup": SHARE,
    "weight_decay": NUMBER,
    "clip": NUMBER,
}
