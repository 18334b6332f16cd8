"""Translation under the sound protocol: data, model, `fit`, free-running evaluation."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from sgblend_utils.configs import RunConfig
from sgblend_utils.datasets import grammar, hub
from sgblend_utils.datasets.text import PAD, Subwords, TranslationBatches
from sgblend_utils.decoding import translate_ids
from sgblend_utils.errors import UserError
from sgblend_utils.metrics import translation_scores
from sgblend_utils.models.transformer import PACKAGE, Transformer, TranslationObjective
from sgblend_utils.probes import ParameterTrajectory, dead_units
from sgblend_utils.training.common import (
    SPLITS,
    EpochLog,
    Trained,
    data_digest,
    decay_kernels_alone,
    make_record,
)
from sgblend_utils.training.parallel import EvenRows, data_parallel
from sgblend_utils.training.resume import Resume
from sgblend_utils.training.sharded import SUBWORDS_FILE, sharded_training

DECODING_TOKENS = 2048  # padded positions at once; has no influence on the translations
AVERAGE_SPACING = 0.02  # of all updates, between the checkpoints that are averaged
SUBSET_SEED = 0  # of the shuffle before a training subset is cut: the same pairs for every run
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class TranslationData:
    """Pairs (English, German) by split, with the digest that goes into the run's key."""

    pairs: dict[str, Pairs]
    digest: str


def load_translation(config: RunConfig) -> TranslationData:
    """The pairs of a run: bundled grammar for `mini`, else the fetched files.

    Training pairs are shuffled with a fixed seed before `max_samples` of them are taken, because
    the files come in blocks by origin.  With `sharded` they are left out: they need not fit in
    memory.
    """
    digest = data_digest(config.task, config.preset)
    if config.preset == "mini":
        pairs = {split: list(rows) for split, rows in grammar.mini_corpus().items()}
    else:
        splits = SPLITS[1:] if config.settings.get("sharded") else SPLITS
        pairs = {split: hub.load_pairs(config.task, split) for split in splits}
    if "train" not in pairs:
        return TranslationData(pairs, digest)
    train = pairs["train"]
    wanted = config.settings["max_samples"] or len(train)
    if wanted > len(train):
        raise UserError(
            f"max_samples is {wanted} but {config.task} has {len(train)} training pairs here; "
            f"ask for at most {len(train)}."
        )
    order = np.random.default_rng(SUBSET_SEED).permutation(len(train))[:wanted]
    return TranslationData({**pairs, "train": [train[i] for i in order]}, digest)


@keras.saving.register_keras_serializable(PACKAGE)
class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then peak · √(warmup / step) (Vaswani et al. 2017, eq. 3)."""

    def __init__(self, peak: float, warmup: int):
        super().__init__()
        self.peak, self.warmup = peak, warmup

    def __call__(self, step: Any) -> Any:
        """The rate of update number `step`, from 0 on."""
        step = ops.cast(step, "float32")
        late = ops.sqrt(self.warmup / ops.maximum(step, 1.0))
        return self.peak * ops.minimum(step / self.warmup, late)

    def get_config(self) -> dict[str, Any]:
        """Peak and warm-up."""
        return {"peak": self.peak, "warmup": self.warmup}


class CheckpointAverage(keras.callbacks.Callback):
    """Keeps the mean of the weights at `count` evenly spaced updates up to the last one.

    Args:
        count: checkpoints in the mean (Vaswani et al. 2017, section 6.1); 1 is the last alone.
        steps: updates of the whole run.
    """

    def __init__(self, count: int, steps: int):
        super().__init__()
        apart = max(1, round(AVERAGE_SPACING * steps))
        self.wanted = {steps - i * apart for i in range(count)}
        self.sums: list[np.ndarray] | None = None
        self.taken = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Add the weights if this update is one of the wanted."""
        if int(self.model.optimizer.iterations) in self.wanted:
            values = [ops.convert_to_numpy(v) for v in self.model.trainable_variables]
            self.sums = values if self.sums is None else list(map(np.add, self.sums, values))
            self.taken += 1

    def adopt_if_better(self, validation: Any) -> dict[str, float]:
        """Give the model the mean, if its validation loss is lower than that of the last weights.

        Returns:
            `last_val_nll` and, if there was something to average, `averaged_val_nll`.
        """
        scores = {"last_val_nll": self.validate(validation)}
        if self.taken > 1:
            last = [ops.convert_to_numpy(v) for v in self.model.trainable_variables]
            self.assign([total / self.taken for total in self.sums])
            scores["averaged_val_nll"] = self.validate(validation)
            if scores["averaged_val_nll"] > scores["last_val_nll"]:
                self.assign(last)
        return {name: round(value, 5) for name, value in scores.items()}

    def validate(self, validation: Any) -> float:
        """Cross-entropy on the validation batches."""
        return float(self.model.evaluate(validation, verbose=0, return_dict=True)["nll"])

    def assign(self, values: list[np.ndarray]) -> None:
        """Set the model's trainable weights."""
        for variable, value in zip(self.model.trainable_variables, values, strict=True):
            variable.assign(value)


def make_optimizer(settings: dict[str, Any], steps: int, model: keras.Model) -> keras.Optimizer:
    """Adam (β₂ = 0.98) with linear warm-up, then cosine decay to zero or inverse square root.

    Weight decay, if any, is of kernels alone.
    """
    warmup = max(1, int(settings["warmup"] * steps))
    schedule: keras.optimizers.schedules.LearningRateSchedule
    if settings["schedule"] == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0,
            max(1, steps - warmup),
            warmup_target=settings["learning_rate"],
            warmup_steps=warmup,
        )
    else:
        schedule = InverseSquareRoot(settings["learning_rate"], warmup)
    optimizer = keras.optimizers.AdamW(
        schedule,
        weight_decay=settings["weight_decay"],
        beta_2=0.98,
        global_clipnorm=settings["clip"],
    )
    decay_kernels_alone(optimizer, model)
    return optimizer


def make_objective(config: RunConfig, vocabulary: int) -> TranslationObjective:
    """The built model of a run with its loss, not yet compiled."""
    settings = config.settings
    sizes = ("d_model", "num_heads", "ff_dim", "num_layers", "gated", "dropout")
    transformer = Transformer(
        vocabulary=vocabulary,
        **{name: settings[name] for name in sizes},
        activation=config.activation,
        seed=config.seed,
    )
    model = TranslationObjective(transformer, settings["label_smoothing"])
    model.build()
    return model


def train_translation(
    config: RunConfig, verbose: bool = False, keep: Path | None = None, devices: int = 1
) -> Trained:
    """Train and evaluate one translation model under the sound protocol (see `training.train`)."""
    started = time.perf_counter()
    settings = config.settings
    keras.utils.set_random_seed(config.seed)
    data = load_translation(config)
    sizes = {split: len(rows) for split, rows in data.pairs.items()}
    if settings.get("sharded"):
        subwords, train, sizes["train"] = sharded_training(config, SUBSET_SEED)
    else:
        subwords = Subwords.train(
            (side for pair in data.pairs["train"] for side in pair), settings["vocabulary"]
        )
    ids = {
        split: [subwords.encode([pair[side] for pair in rows]) for side in (0, 1)]
        for split, rows in data.pairs.items()
    }
    shape = {"tokens": settings["tokens"], "widths": settings["widths"]}
    if not settings.get("sharded"):
        train = TranslationBatches(*ids["train"], seed=config.seed, **shape)
    held_out = {split: TranslationBatches(*ids[split], **shape) for split in SPLITS[1:]}

    compilation = {"jit_compile": keras.backend.backend() != "torch"}
    steps = settings["epochs"] * len(train)
    with data_parallel(devices):
        model = make_objective(config, len(subwords))
        model.compile(optimizer=make_optimizer(settings, steps, model), **compilation)
        log = EpochLog()
        trajectory = ParameterTrajectory(model.transformer.activation_sites())
        average = CheckpointAverage(settings["average"], steps)
        rows = {"history": log.rows, "trajectory": trajectory.values}
        resume = Resume(keep, rows=rows, average=average, started=started)
        resume.fit(
            model,
            EvenRows(train, devices),
            EvenRows(held_out["validation"], devices),
            epochs=settings["epochs"],
            callbacks=[log, trajectory, average],
            verbose=verbose,
        )
    average.set_model(model)
    if devices > 1:  # evaluation is one device's work
        weights = model.get_weights()
        model = make_objective(config, len(subwords))
        model.set_weights(weights)
        model.compile(**compilation)
        average.set_model(model)
    selection = average.adopt_if_better(held_out["validation"])
    metrics = selection | evaluate_translation(model, subwords, data, ids, held_out, settings)
    record = make_record(
        config,
        started=resume.began,
        data={
            "digest": data.digest,
            **{f"{split}_pairs": sizes[split] for split in SPLITS},
            "train_pairs_too_long": train.dropped,
        },
        log=log,
        metrics=metrics,
        activation_parameters=trajectory.values,
        parameters=model.transformer.count_params(),
        resumed=resume.parts,
    )
    record |= {"devices": devices} if devices > 1 else {}
    return Trained(model.transformer, record, {SUBWORDS_FILE: subwords.model})


def evaluate_translation(
    model: TranslationObjective,
    subwords: Subwords,
    data: TranslationData,
    ids: dict[str, list[list[list[int]]]],
    held_out: dict[str, TranslationBatches],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Test cross-entropy and accuracy, free-running BLEU and chrF, dead units on validation."""
    scores = model.evaluate(held_out["test"], verbose=0, return_dict=True)
    references = [target for _, target in data.pairs["test"]]
    translations = subwords.decode(
        translate_ids(
            model.transformer,
            ids["test"][0],
            tokens=DECODING_TOKENS,
            **{name: settings[name] for name in ("widths", "beam", "length_penalty")},
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
