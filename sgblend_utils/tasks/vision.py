"""Image classification: CIFAR-10, whose `mini` preset reads the bundled digits instead."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgblend_utils import config as c
from sgblend_utils.config import RunConfig, Settings, stored_presets
from sgblend_utils.data import images
from sgblend_utils.data.batches import ImageBatches
from sgblend_utils.data.source import Source
from sgblend_utils.errors import UserError
from sgblend_utils.tasks import Loaded, Task

ARCHITECTURES = ("resnet8", "resnet8_wide", "resnet18", "resnet20", "resnet50", "digits")
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
    frozen_twin: bool = c.flag(False)  # α, β, γ are fixed where the same run without this ended


class Vision(Task):
    """A residual network (He et al. 2016); the last weights are evaluated once on the test set."""

    def load(self, config: RunConfig) -> Loaded:
        settings = config.settings
        mini = config.preset == "mini"
        splits = dict(images.load_digits() if mini else images.load_images(self.source))
        if settings.pad >= (size := splits["train"].pixels.shape[1]):
            raise UserError(f"pad is {settings.pad}; the images have {size} pixels: give less.")
        splits["train"] = images.subset(splits["train"], settings.max_samples)
        classes = int(splits["train"].labels.max()) + 1
        drawn = {"seed": config.seed, "pad": settings.pad, "mirror": settings.mirror}
        train = ImageBatches(splits["train"], settings.batch_size, classes, **drawn)
        validation = ImageBatches(splits["validation"], EVALUATED, classes)
        described = {f"{split}_images": len(rows) for split, rows in splits.items()}
        return Loaded(train, validation, splits, described, classes)

    def build(self, config: RunConfig, data: Loaded) -> Any:
        from sgblend_utils.models.resnet import ResNet

        settings, pixels = config.settings, data.splits["train"].pixels
        sizes = {"width": settings.width, "precision": settings.precision, "seed": config.seed}
        sizes |= dict(zip(("mean", "variance"), images.pixel_statistics(pixels), strict=True))
        sizes |= {"image_shape": pixels.shape[1:], "classes": data.vocabulary}
        return ResNet(settings.model, activation=config.activation, **sizes)

    def compile(self, config: RunConfig, model: Any, steps: int) -> None:
        import keras

        from sgblend_utils.tasks.callbacks import make_optimizer

        optimizer = make_optimizer(config.settings, steps, model)
        if config.settings.precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        of = {"label_smoothing": config.settings.label_smoothing, "from_logits": True}
        model.compile(
            optimizer=optimizer,
            loss=keras.losses.CategoricalCrossentropy(**of),
            metrics=[
                keras.metrics.CategoricalCrossentropy(name="nll", from_logits=True),
                keras.metrics.CategoricalAccuracy(name="accuracy"),
            ],
            # "auto" is right here: XLA's convolutions are many times slower on a CPU than oneDNN's.
            jit_compile="auto" if config.backend != "torch" else False,
            auto_scale_loss=False,
        )

    def callbacks(self, config: RunConfig, model: Any, data: Loaded, log: Any) -> list[Any]:
        from sgblend_utils.probes import GradientProbe

        probed = ImageBatches(data.splits["train"], PROBE_BATCH, data.vocabulary)
        whole = min(PROBE_BATCHES, len(data.splits["train"]) // PROBE_BATCH)
        batches = [probed[i] for i in range(whole)]
        return [GradientProbe(model, model.loss, batches)] if whole > 1 else []

    def deployed(self, model: Any) -> Any:
        same = model.settings["precision"] == "float32"
        return model if same else model.with_precision("float32")

    def evaluate(
        self, config: RunConfig, model: Any, data: Loaded, log: Any, keeper: Any
    ) -> dict[str, Any]:
        """Scores, and accuracy by kind and strength of `images.CORRUPTIONS`, on the test set."""
        from sgblend_utils.metrics import classification_scores
        from sgblend_utils.probes import dead_units

        model, test = self.deployed(model), data.splits["test"]
        metrics = classification_scores(test.labels, probabilities(model, test.pixels))
        metrics["robustness"] = {}
        for kind, strengths in images.CORRUPTIONS.items():
            found = {}
            for strength in strengths:
                corrupted = images.corrupt(test.pixels, kind, strength)
                hits = probabilities(model, corrupted).argmax(axis=1) == test.labels
                found[str(strength)] = round(float(hits.mean()), 5)
            metrics["robustness"][kind] = found
            metrics[f"{kind}_accuracy"] = round(float(np.mean(list(found.values()))), 5)
        pixels = data.splits["validation"].pixels[:PROBED_IMAGES]
        parts = np.array_split(pixels, math.ceil(len(pixels) / 100))
        batches = ((part, {"pixels": np.ones(len(part), bool)}) for part in parts)
        return metrics | dead_units(model, batches, model.activation_sites())


def probabilities(model: Any, pixels: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, classes), rows summing to one."""
    from scipy.special import softmax

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
        images.mini_digest,
        labels=(
            *("airplane", "automobile", "bird", "cat", "deer"),
            *("dog", "frog", "horse", "ship", "truck"),
        ),
        default_backend="tensorflow",
    )
]
