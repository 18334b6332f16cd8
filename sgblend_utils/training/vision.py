"""Image classification: data, network, `fit`, the last weights evaluated once on the test set."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import softmax

from sgblend_utils.configs import RunConfig
from sgblend_utils.datasets.images import (
    CORRUPTIONS,
    ImageBatches,
    Images,
    corrupt,
    load_images,
    pixel_statistics,
    subset,
)
from sgblend_utils.errors import UserError
from sgblend_utils.metrics import classification_scores
from sgblend_utils.models.resnet import ResNet
from sgblend_utils.probes import ParameterTrajectory, dead_units
from sgblend_utils.training.common import (
    EpochLog,
    Trained,
    data_digest,
    decay_kernels_alone,
    make_record,
)
from sgblend_utils.training.gradients import GradientProbe
from sgblend_utils.training.resume import Resume

EVALUATED = 500  # images at once; has no influence on the predictions
PROBED_IMAGES = 1000  # validation images that the probe of dead units looks at
PROBE_BATCH, PROBE_BATCHES = 64, 8  # training images whose gradients are measured


@dataclass(frozen=True)
class VisionData:
    """The splits of a run, and the digest that goes into its key."""

    splits: dict[str, Images]
    digest: str

    @property
    def classes(self) -> int:
        """How many there are."""
        return int(self.splits["train"].labels.max()) + 1


def load_vision(config: RunConfig) -> VisionData:
    """The images of a run: the bundled digits for `mini`, else the fetched files."""
    splits = load_images(config.task, bundled=config.preset == "mini")
    size, pad = splits["train"].pixels.shape[1], config.settings["pad"]
    if pad >= size:
        raise UserError(f"pad is {pad}; the images have {size} pixels a side, so give less.")
    splits["train"] = subset(splits["train"], config.settings["max_samples"])
    return VisionData(splits, data_digest(config.task, config.preset))


def make_network(config: RunConfig, data: VisionData) -> ResNet:
    """The built network of a run; it normalises by the mean and variance of the training pixels."""
    settings = config.settings
    mean, variance = pixel_statistics(data.splits["train"].pixels)
    return ResNet(
        settings["model"],
        image_shape=data.splits["train"].pixels.shape[1:],
        classes=data.classes,
        activation=config.activation,
        width=settings["width"],
        mean=mean,
        variance=variance,
        seed=config.seed,
        precision=settings["precision"],
    )


def make_optimizer(settings: dict[str, Any], steps: int, model: keras.Model) -> keras.Optimizer:
    """SGD with Nesterov momentum, or AdamW, with one cycle: up in a line, down in half a cosine.

    `weight_decay` of SGD means the usual one, which adds wd · w to the gradient and so works
    through the momentum.  Keras's takes lr · wd · w away directly: wd / (1 − momentum) makes it
    the same to first order in the rate.  Biases, norms and the activations' own parameters do not
    decay.

    With `ema` the weights end as their running mean; batch statistics, which follow them with a
    momentum of 0.9, stay those of the last weights, so choose it so short that the two agree.
    """
    warmup = max(1, int(settings["warmup"] * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=settings["learning_rate"], warmup_steps=warmup
    )
    average = {"use_ema": True, "ema_momentum": settings["ema"]} if settings["ema"] else {}
    decay = settings["weight_decay"]
    optimizer: keras.Optimizer
    if settings["optimizer"] == "sgd":
        optimizer = keras.optimizers.SGD(
            schedule,
            momentum=settings["momentum"],
            nesterov=settings["momentum"] > 0,
            weight_decay=decay / (1 - settings["momentum"]) or None,
            **average,
        )
    else:
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=decay, **average)
    decay_kernels_alone(optimizer, model)
    if settings["precision"] == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def compile_network(model: ResNet, settings: dict[str, Any], steps: int) -> keras.losses.Loss:
    """Loss and metrics per image; returns the loss."""
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=settings["label_smoothing"]
    )
    model.compile(
        optimizer=make_optimizer(settings, steps, model),
        loss=loss,
        metrics=[
            keras.metrics.CategoricalCrossentropy(name="nll", from_logits=True),
            keras.metrics.CategoricalAccuracy(name="accuracy"),
        ],
        # "auto" is right here: XLA's convolutions are many times slower on a CPU than oneDNN's.
        jit_compile="auto" if keras.backend.backend() != "torch" else False,
        auto_scale_loss=False,
    )
    return loss


def layer_of(path: str) -> str:
    """`stage_1_0_1_conv/kernel` -> `stage_1_0_1`: which site it belongs to."""
    return path.split("/")[-2].removesuffix("_conv")


def train_vision(
    config: RunConfig, verbose: bool = False, keep: Path | None = None, devices: int = 1
) -> Trained:
    """Train one network and evaluate its last weights once (see `training.train`).

    The record has, beside what every record has, `gradients`: a row an epoch from `GradientProbe`.
    """
    if devices > 1:
        raise UserError("The vision task trains on one device: leave --devices out.")
    started = time.perf_counter()
    settings = config.settings
    keras.utils.set_random_seed(config.seed)
    data = load_vision(config)
    train = ImageBatches(
        data.splits["train"],
        settings["batch_size"],
        data.classes,
        seed=config.seed,
        pad=settings["pad"],
        mirror=settings["mirror"],
    )
    validation = ImageBatches(data.splits["validation"], EVALUATED, data.classes)
    model = make_network(config, data)
    loss = compile_network(model, settings, settings["epochs"] * len(train))

    log, trajectory = EpochLog(), ParameterTrajectory(model.activation_sites())
    # As many images for every run: their own order and no augmentation.
    probed = ImageBatches(data.splits["train"], PROBE_BATCH, data.classes)
    whole = len(data.splits["train"]) // PROBE_BATCH
    callbacks: list[keras.callbacks.Callback] = [log, trajectory]
    rows: dict[str, list[Any]] = {"history": log.rows, "trajectory": trajectory.values}
    if whole > 1:
        batches = [probed[i] for i in range(min(PROBE_BATCHES, whole))]
        gradients = GradientProbe(model, loss, batches, layer_of)
        callbacks.append(gradients)
        rows["gradients"] = gradients.values
    resume = Resume(keep, rows=rows, started=started)
    epochs = settings["epochs"]
    resume.fit(model, train, validation, epochs=epochs, callbacks=callbacks, verbose=verbose)
    if settings["precision"] != "float32":  # what is kept and evaluated computes as on any machine
        model = model.with_precision("float32")
    record = make_record(
        config,
        started=resume.began,
        data={"digest": data.digest}
        | {f"{split}_images": len(images) for split, images in data.splits.items()},
        log=log,
        metrics=evaluate_vision(model, data.splits),
        activation_parameters=trajectory.values,
        parameters=sum(math.prod(v.shape) for v in model.trainable_variables),
        resumed=resume.parts,
    )
    record["gradients"] = rows.get("gradients", [])
    return Trained(model, record)


def probabilities(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, classes), rows summing to one."""
    logits = model.predict(pixels, batch_size=EVALUATED, verbose=0)
    return softmax(np.asarray(logits, "float64"), axis=1)


def evaluate_vision(model: ResNet, splits: dict[str, Images]) -> dict[str, Any]:
    """A record's metrics: scores and robustness on the test set, dead units on validation images.

    `robustness` holds the test accuracy by kind and strength of `CORRUPTIONS`; `noise_accuracy` and
    `blur_accuracy` are its means over the strengths.
    """
    test = splits["test"]
    robustness = {
        kind: {str(strength): accuracy(model, test, kind, strength) for strength in strengths}
        for kind, strengths in CORRUPTIONS.items()
    }
    means = {
        f"{kind}_accuracy": round(float(np.mean(list(found.values()))), 5)
        for kind, found in robustness.items()
    }
    pixels = splits["validation"].pixels[:PROBED_IMAGES]
    batches = (
        (part, {"pixels": np.ones(len(part), bool)})
        for part in np.array_split(pixels, math.ceil(len(pixels) / 100))
    )
    return {
        **classification_scores(test.labels, probabilities(model, test.pixels)),
        **means,
        "robustness": robustness,
        **dead_units(model, batches, model.activation_sites()),
    }


def accuracy(model: keras.Model, images: Images, kind: str, strength: float) -> float:
    """Share of corrupted images (see `corrupt`) whose class is found."""
    pixels = corrupt(images.pixels, kind, strength)
    found = probabilities(model, pixels).argmax(axis=1)
    return round(float((found == images.labels).mean()), 5)
