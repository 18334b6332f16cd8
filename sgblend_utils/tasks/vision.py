"""Image classification: CIFAR-10, whose `mini` preset reads the bundled digits instead."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from sgblend_utils import config as c
from sgblend_utils.config import RunConfig, Settings, stored_presets
from sgblend_utils.data import images
from sgblend_utils.data.batches import ImageBatches
from sgblend_utils.data.source import Source
from sgblend_utils.errors import UserError
from sgblend_utils.tasks import Loaded, Task

ARCHITECTURES = ("resnet8", "resnet18", "resnet20", "resnet50", "digits")
EVALUATED = 500  # images at once; has no influence on the predictions
PROBED_IMAGES = 1000  # validation images that the probe of dead units looks at
PROBE_BATCH, PROBE_BATCHES = 64, 8  # training images whose gradients are measured


@dataclass(frozen=True)
class VisionSettings(Settings):
    """Settings of an image run; no vision code was published, so there are no switches."""

    model: str = c.one_of(*ARCHITECTURES)
    width: int | None = c.optional_count()  # channels of the first stage; None: the network's own
    max_samples: int | None = c.optional_count()  # training images beside those held out
    pad: int = c.at_least(0, 0)  # pixels that a training image is moved by, at most
    mirror: bool = c.flag(False)  # flip half of the training images
    label_smoothing: float = c.share(0.0)
    epochs: int = c.count(10)
    batch_size: int = c.count(128)
    optimizer: str = c.one_of("sgd", "adamw")  # with Nesterov momentum
    learning_rate: float = c.number(0.1)  # at the top of the cycle
    schedule: str = c.one_of("constant", "cosine", "inverse_sqrt")
    warmup: float = c.share(0.0)  # share of all steps
    momentum: float = c.share(0.9)  # of sgd
    weight_decay: float = c.number(0.0)  # of kernels; for sgd in the literature's coupled form
    ema: float = c.share(0.0)  # momentum of a running mean of the weights; 0: none
    precision: str = c.one_of("float32", "mixed_bfloat16", "mixed_float16")


class Vision(Task):
    """A residual network (He et al. 2016); the last weights are evaluated once on the test set."""

    def mini_digest(self) -> str:
        return images.mini_digest()

    def load(self, config: RunConfig) -> Loaded:
        settings = config.settings
        splits = dict(
            images.load_digits() if config.preset == "mini" else images.load_images(self.source)
        )
        size = splits["train"].pixels.shape[1]
        if settings.pad >= size:
            raise UserError(
                f"pad is {settings.pad}; the images have {size} pixels a side, so give less."
            )
        splits["train"] = images.subset(splits["train"], settings.max_samples)
        classes = int(splits["train"].labels.max()) + 1
        train = ImageBatches(
            splits["train"],
            settings.batch_size,
            classes,
            seed=config.seed,
            pad=settings.pad,
            mirror=settings.mirror,
        )
        validation = ImageBatches(splits["validation"], EVALUATED, classes)
        described = {f"{split}_images": len(rows) for split, rows in splits.items()}
        return Loaded(train, validation, splits, described, classes)

    def build(self, config: RunConfig, data: Loaded) -> Any:
        from sgblend_utils.models.resnet import ResNet

        settings, pixels = config.settings, data.splits["train"].pixels
        mean, variance = images.pixel_statistics(pixels)
        return ResNet(
            settings.model,
            image_shape=pixels.shape[1:],
            classes=data.vocabulary,
            activation=config.activation,
            width=settings.width,
            mean=mean,
            variance=variance,
            seed=config.seed,
            precision=settings.precision,
        )

    def optimizer(self, settings: VisionSettings, steps: int, model: Any) -> Any:
        """SGD with Nesterov momentum, or AdamW, with one cycle: up in a line, down in a cosine.

        `weight_decay` of SGD means the usual one, which adds wd · w to the gradient and so works
        through the momentum.  Keras's takes lr · wd · w away directly: wd / (1 − momentum) makes
        it the same to first order in the rate.
        """
        import keras

        from sgblend_utils.tasks.callbacks import decay_kernels_alone, learning_rate

        rate, decay = learning_rate(settings, steps), settings.weight_decay
        average = {"use_ema": True, "ema_momentum": settings.ema} if settings.ema else {}
        if settings.optimizer == "sgd":
            momentum = {"momentum": settings.momentum, "nesterov": settings.momentum > 0}
            coupled = decay / (1 - settings.momentum) or None
            optimizer = keras.optimizers.SGD(rate, weight_decay=coupled, **momentum, **average)
        else:
            optimizer = keras.optimizers.AdamW(rate, weight_decay=decay, **average)
        decay_kernels_alone(optimizer, model)
        if settings.precision == "mixed_float16":
            return keras.optimizers.LossScaleOptimizer(optimizer)
        return optimizer

    def compile(self, config: RunConfig, model: Any, steps: int) -> None:
        import keras

        settings = config.settings
        model.compile(
            optimizer=self.optimizer(settings, steps, model),
            loss=keras.losses.CategoricalCrossentropy(
                from_logits=True, label_smoothing=settings.label_smoothing
            ),
            metrics=[
                keras.metrics.CategoricalCrossentropy(name="nll", from_logits=True),
                keras.metrics.CategoricalAccuracy(name="accuracy"),
            ],
            # "auto" is right here: XLA's convolutions are many times slower on a CPU than oneDNN's.
            jit_compile="auto" if config.backend != "torch" else False,
            auto_scale_loss=False,
        )

    def callbacks(self, config: RunConfig, model: Any, data: Loaded, log: Any) -> list[Any]:
        """The gradient's norms and noise after each epoch, on as many images for every run."""
        from sgblend_utils.probes import GradientProbe

        probed = ImageBatches(data.splits["train"], PROBE_BATCH, data.vocabulary)
        whole = min(PROBE_BATCHES, len(data.splits["train"]) // PROBE_BATCH)
        if whole < 2:
            return []
        batches = [probed[i] for i in range(whole)]
        return [GradientProbe(model, model.loss, batches, layer_of)]

    def deployed(self, model: Any) -> Any:
        """What is kept and evaluated computes in float32, as on any machine."""
        return (
            model if model.settings["precision"] == "float32" else model.with_precision("float32")
        )

    def evaluate(
        self, config: RunConfig, model: Any, data: Loaded, log: Any, keeper: Any
    ) -> dict[str, Any]:
        """Scores and robustness on the test set, dead units on validation images.

        `robustness` has the test accuracy by kind and strength of `images.CORRUPTIONS`;
        `noise_accuracy` and `blur_accuracy` are its means over the strengths.
        """
        from sgblend_utils.metrics import classification_scores
        from sgblend_utils.probes import dead_units

        model, test = self.deployed(model), data.splits["test"]
        robustness: dict[str, dict[str, float]] = {}
        for kind, strengths in images.CORRUPTIONS.items():
            robustness[kind] = {}
            for strength in strengths:
                corrupted = images.corrupt(test.pixels, kind, strength)
                hits = probabilities(model, corrupted).argmax(axis=1) == test.labels
                robustness[kind][str(strength)] = round(float(hits.mean()), 5)
        pixels = data.splits["validation"].pixels[:PROBED_IMAGES]
        batches = (
            (part, {"pixels": np.ones(len(part), bool)})
            for part in np.array_split(pixels, math.ceil(len(pixels) / 100))
        )
        return {
            **classification_scores(test.labels, probabilities(model, test.pixels)),
            **{
                f"{kind}_accuracy": round(float(np.mean(list(found.values()))), 5)
                for kind, found in robustness.items()
            },
            "robustness": robustness,
            **dead_units(model, batches, model.activation_sites()),
        }


def layer_of(path: str) -> str:
    """`stage_1_0_1_conv/kernel` -> `stage_1_0_1`: which site it belongs to."""
    return path.split("/")[-2].removesuffix("_conv")


def probabilities(model: Any, pixels: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, classes), rows summing to one."""
    logits = model.predict(pixels, batch_size=EVALUATED, verbose=0)
    return softmax(np.asarray(logits, "float64"), axis=1)


TASKS = [
    Vision(
        "cifar10",
        Source(
            *("cifar10", "uoft-cs/cifar10", "plain_text"),
            "0b2714987fa478483af9968de7c934580d0bb9a2",
            fields={"img": (("img", "bytes"), "binary"), "label": (("label",), "int8")},
            splits=("train", "test"),
        ),
        stored_presets("cifar10", VisionSettings),
        labels=(
            *("airplane", "automobile", "bird", "cat", "deer"),
            *("dog", "frog", "horse", "ship", "truck"),
        ),
        default_backend="tensorflow",
    )
]
