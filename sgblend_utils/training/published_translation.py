"""Translation as published, with any subset of its flaws."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sgblend_utils.configs import RunConfig
from sgblend_utils.datasets import grammar, hub
from sgblend_utils.datasets.text import Subwords
from sgblend_utils.datasets.words import Framed, FramedBatches, Words, frame
from sgblend_utils.errors import UserError
from sgblend_utils.models.published import PublishedObjective, PublishedTransformer
from sgblend_utils.probes import ParameterTrajectory
from sgblend_utils.training.common import SPLITS, EpochLog, Patience, Trained, make_record
from sgblend_utils.training.readings import read_everything
from sgblend_utils.training.resume import Resume
from sgblend_utils.training.translation import load_translation

TAIL = 0.1  # share of the pairs, at their end, that the published code validates on
MODEL_SETTINGS = ("length", "d_model", "num_heads", "ff_dim", "num_layers", "dropout", "flaws")


@dataclass(frozen=True)
class PublishedData:
    """The splits `train`, `validation`, `test`, source and target vocabulary, the files' digest."""

    splits: dict[str, Framed]
    vocabularies: tuple[Words | Subwords, Words | Subwords]
    digest: str


def load_published(config: RunConfig) -> PublishedData:
    """The data of a run as its flaws would have them."""
    settings, flaws = config.settings, set(config.settings["flaws"])
    loaded = load_translation(config)
    pairs = dict(loaded.pairs)
    if "head_of_file" in flaws:
        mini = config.preset == "mini"
        whole = grammar.mini_corpus()["train"] if mini else hub.load_pairs(config.task, "train")
        pairs["train"] = list(whole[: len(pairs["train"])])
    if "reversed_direction" in flaws:
        pairs = {name: [(de, en) for en, de in rows] for name, rows in pairs.items()}
    taken = pairs["train"]
    if "tail_validation" in flaws:
        cut = len(taken) - round(TAIL * len(taken))
        pairs |= {"train": taken[:cut], "validation": taken[cut:]}
    cap = settings["vocabulary_cap"]
    if "word_tokens" in flaws:  # as published, the words of a validation tail are counted too
        source, target = (Words.fit((pair[side] for pair in taken), cap) for side in (0, 1))
    elif cap is None:
        raise UserError("Subwords need a number: set vocabulary_cap, for example to 8000.")
    else:
        source = target = Subwords.train((text for pair in pairs["train"] for text in pair), cap)
    front = "front_truncation" in flaws
    splits = {}
    for name, rows in pairs.items():
        sides = [
            frame(vocabulary.encode([pair[side] for pair in rows]), settings["length"], front)
            for side, vocabulary in enumerate((source, target))
        ]
        (source_ids, one), (target_ids, other) = sides
        splits[name] = Framed(rows, source_ids, target_ids, one & other)
        if not front and name != "test":  # a sound protocol learns from no half sentence
            splits[name] = splits[name].where(splits[name].fits)
    return PublishedData(splits, (source, target), loaded.digest)


def train_published(
    config: RunConfig, verbose: bool = False, keep: Path | None = None, devices: int = 1
) -> Trained:
    """Train one translation model with the flaws that `config` keeps; take every reading of it.

    The arguments are those of `training.train`.
    """
    if devices > 1:
        raise UserError("The published protocol trains on one device: leave --devices out.")
    started = time.perf_counter()
    settings = config.settings
    keras.utils.set_random_seed(config.seed)
    data = load_published(config)
    transformer = PublishedTransformer(
        *map(len, data.vocabularies),
        **{name: settings[name] for name in MODEL_SETTINGS},
        activation=config.activation,
        seed=config.seed,
    )
    model = PublishedObjective(transformer)
    model.build()
    model.compile(
        optimizer=keras.optimizers.Adam(settings["learning_rate"]),
        jit_compile=keras.backend.backend() != "torch",
    )
    log, trajectory = EpochLog(), ParameterTrajectory(transformer.activation_sites())
    callbacks: list[keras.callbacks.Callback] = [log, trajectory]
    if "early_stopping_on_reported_split" in settings["flaws"]:
        callbacks.append(Patience(log.rows, settings["patience"]))
    rows = {"history": log.rows, "trajectory": trajectory.values}
    resume = Resume(keep, rows=rows, started=started)
    resume.fit(
        model,
        FramedBatches(data.splits["train"], settings["batch_size"], config.seed),
        FramedBatches(data.splits["validation"], settings["batch_size"]),
        epochs=settings["epochs"],
        callbacks=callbacks,
        verbose=verbose,
    )
    metrics = read_everything(transformer, data.splits, data.vocabularies[1], settings)
    counts: dict[str, Any] = {"digest": data.digest}
    for name in SPLITS:
        counts[f"{name}_pairs"] = len(data.splits[name])
        counts[f"{name}_pairs_too_long"] = int(np.sum(~data.splits[name].fits))
    record = make_record(
        config,
        started=resume.began,
        data=counts | {"vocabularies": [len(v) for v in data.vocabularies]},
        log=log,
        metrics=metrics,
        activation_parameters=trajectory.values,
        parameters=transformer.count_params(),
        resumed=resume.parts,
    )
    return Trained(transformer, record)
