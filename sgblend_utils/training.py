"""One run, from configuration to record: data, model, `fit`, evaluation."""

from __future__ import annotations

import hashlib
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sgblend_utils.configs import RunConfig
from sgblend_utils.datasets import grammar, hub
from sgblend_utils.datasets.text import PAD, Subwords, TranslationBatches
from sgblend_utils.decoding import greedy_ids
from sgblend_utils.errors import UserError
from sgblend_utils.metrics import translation_scores
from sgblend_utils.models.transformer import Transformer, TranslationObjective
from sgblend_utils.probes import ParameterTrajectory, dead_units

SCHEMA = 1
SPLITS = ("train", "validation", "test")
SUBSET_SEED = 0  # of the shuffle before a training subset is cut: the same pairs for every run
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class TranslationData:
    """Pairs (English, German) by split, with the digest that goes into the run's key."""

    pairs: dict[str, Pairs]
    digest: str


def data_digest(task: str, preset: str) -> str:
    """Names the data of a run: the files' digests, or the bundled corpus's own."""
    digest = hashlib.sha256()
    if preset == "mini":
        for split, pairs in grammar.mini_corpus().items():
            digest.update(repr((split, pairs)).encode())
    else:
        for split in SPLITS:
            digest.update(hub.file_digest(task, split).encode())
    return digest.hexdigest()[:16]


def load_translation(config: RunConfig) -> TranslationData:
    """The pairs of a run: bundled grammar for `mini`, else the fetched files.

    Training pairs are shuffled with a fixed seed before `max_samples` of them are taken, because
    the files come in blocks by origin.
    """
    digest = data_digest(config.task, config.preset)
    if config.preset == "mini":
        pairs = {split: list(rows) for split, rows in grammar.mini_corpus().items()}
    else:
        pairs = {split: hub.load_pairs(config.task, split) for split in SPLITS}
    train = pairs["train"]
    wanted = config.settings["max_samples"] or len(train)
    if wanted > len(train):
        raise UserError(
            f"max_samples is {wanted} but {config.task} has {len(train)} training pairs here; "
            f"ask for at most {len(train)}."
        )
    order = np.random.default_rng(SUBSET_SEED).permutation(len(train))[:wanted]
    return TranslationData({**pairs, "train": [train[i] for i in order]}, digest)


def make_optimizer(settings: dict[str, Any], steps: int, model: keras.Model) -> keras.Optimizer:
    """Adam (β₂ = 0.98) with linear warm-up and cosine decay to zero over `steps` updates.

    Weight decay, if any, leaves out embeddings, norms, biases and the activations' own parameters:
    decay would pull α, β, γ towards zero, which is a statement about the function.
    """
    warmup = max(1, int(settings["warmup"] * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        warmup_target=settings["learning_rate"],
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(
        schedule,
        weight_decay=settings["weight_decay"],
        beta_2=0.98,
        global_clipnorm=settings["clip"],
    )
    if settings["weight_decay"]:
        kernels = [v for v in model.trainable_variables if v.name == "kernel"]
        keep = {id(v) for v in kernels}
        optimizer.exclude_from_weight_decay(
            var_list=[v for v in model.trainable_variables if id(v) not in keep]
        )
    return optimizer


class EpochLog(keras.callbacks.Callback):
    """One row per epoch: losses, validation scores, seconds by the clock and of processor time.

    Processor time is what a run needs even if other work shares the machine.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Start the clocks."""
        self.started = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the row."""
        seconds = time.perf_counter() - self.started[0]
        cpu_seconds = time.process_time() - self.started[1]
        row = {"epoch": epoch + 1}
        row |= {name: round(float(value), 5) for name, value in (logs or {}).items()}
        row |= {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}
        self.rows.append(row)


def compile_seconds(rows: Sequence[dict[str, float]]) -> tuple[float, float]:
    """(compilation, one epoch) in seconds: every program is compiled within the first epoch."""
    seconds = [row["seconds"] for row in rows]
    steady = statistics.median(seconds[1:] or seconds)
    return round(max(0.0, seconds[0] - steady), 2), round(steady, 2)


def train_translation(
    config: RunConfig, verbose: bool = False
) -> tuple[Transformer, Subwords, dict[str, Any]]:
    """Train and evaluate one translation model.

    Returns:
        The trained model, its subwords, and the record (see `data/README.md` for its fields)
        without the key.
    """
    started = time.perf_counter()
    settings = config.settings
    keras.utils.set_random_seed(config.seed)
    data = load_translation(config)
    subwords = Subwords.train(
        (side for pair in data.pairs["train"] for side in pair), settings["vocabulary"]
    )
    ids = {
        split: [subwords.encode([pair[side] for pair in rows]) for side in (0, 1)]
        for split, rows in data.pairs.items()
    }
    shape = {"tokens": settings["tokens"], "widths": settings["widths"]}
    train = TranslationBatches(*ids["train"], seed=config.seed, **shape)
    held_out = {split: TranslationBatches(*ids[split], **shape) for split in SPLITS[1:]}

    transformer = Transformer(
        vocabulary=len(subwords),
        **{
            name: settings[name]
            for name in ("d_model", "num_heads", "ff_dim", "num_layers", "dropout")
        },
        activation=config.activation,
        seed=config.seed,
    )
    model = TranslationObjective(transformer, settings["label_smoothing"])
    model.build()
    optimizer = make_optimizer(settings, settings["epochs"] * len(train), model)
    model.compile(optimizer=optimizer, jit_compile=keras.backend.backend() != "torch")
    sites = transformer.activation_sites()
    log, trajectory = EpochLog(), ParameterTrajectory(sites)
    model.fit(
        train,
        validation_data=held_out["validation"],
        epochs=settings["epochs"],
        callbacks=[log, trajectory],
        shuffle=False,  # the batches shuffle themselves
        verbose=2 if verbose else 0,
    )
    metrics = evaluate_translation(model, subwords, data, ids, held_out, settings)
    first, steady = compile_seconds(log.rows)
    record = {
        "schema": SCHEMA,
        "config": config.describe(),
        "data": {
            "digest": data.digest,
            **{f"{split}_pairs": len(rows) for split, rows in data.pairs.items()},
            "train_pairs_too_long": train.dropped,
        },
        "history": log.rows,
        "metrics": metrics,
        "activation_parameters": trajectory.values,
        "timing": {
            "compile_seconds": first,
            "epoch_seconds_median": steady,
            "total_seconds": round(time.perf_counter() - started, 1),
        },
        "parameters": transformer.count_params(),
        "peak_rss_bytes": peak_rss(),
        **environment(),
    }
    return transformer, subwords, record


def evaluate_translation(
    model: TranslationObjective,
    subwords: Subwords,
    data: TranslationData,
    ids: dict[str, list[list[list[int]]]],
    held_out: dict[str, TranslationBatches],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Test cross-entropy and accuracy, greedy BLEU and chrF, dead units on validation."""
    scores = model.evaluate(held_out["test"], verbose=0, return_dict=True)
    references = [target for _, target in data.pairs["test"]]
    translations = subwords.decode(
        greedy_ids(
            model.transformer,
            ids["test"][0],
            tokens=settings["tokens"],
            widths=settings["widths"],
        )
    )
    # Of the pairs that the cross-entropy was taken over: too long ones are not in the batches.
    scored = np.flatnonzero(held_out["test"].bucket < len(settings["widths"]))
    tokens = sum(len(ids["test"][1][i]) + 1 for i in scored)
    characters = sum(len(references[i]) + 1 for i in scored)
    validation = held_out["validation"]
    real = (
        (inputs, {stream: value != PAD for stream, value in inputs.items()})
        for inputs, _ in (validation[i] for i in range(len(validation)))
    )
    return {
        **translation_scores(translations, references),
        "test_nll": round(scores["nll"], 5),
        "test_nll_per_character": round(scores["nll"] * tokens / characters, 5),
        "test_accuracy": round(scores["accuracy"], 5),
        "test_pairs_too_long": held_out["test"].dropped,
        **dead_units(model.transformer.states, real, model.transformer.activation_sites()),
        "examples": [
            {"source": source, "reference": target, "output": output}
            for (source, target), output in zip(data.pairs["test"][:5], translations, strict=False)
        ],
    }


def peak_rss() -> int:
    """Largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def environment() -> dict[str, Any]:
    """What the run ran on: versions, backend, hardware, commit and time; no names, no paths."""
    backend = keras.backend.backend()
    packages = ("keras", backend, "numpy", "sentencepiece", "sacrebleu")
    return {
        "backend": backend,
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in packages},
        "hardware": hardware(),
        "git_commit": git_commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def hardware() -> dict[str, Any]:
    """Processor, the number of cores this process may use, and the accelerators Keras sees."""
    import os

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    devices = [
        device for device in keras.distribution.list_devices() if "cpu" not in device.lower()
    ]
    return {"processor": model, "cores": cores, "accelerators": devices}


def git_commit() -> str | None:
    """The commit of the code, with `+` if tracked files differ from it; None outside a checkout."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
