"""Images and labels: CIFAR-10, the bundled digits, augmentation, batches, corruptions.

Pixels stay unsigned bytes until they reach the model, which normalises them itself: a batch is then
a quarter of the size, and a saved model takes plain images.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from scipy import ndimage

from sgblend_utils.datasets import data_root, hub
from sgblend_utils.errors import UserError

CIFAR10_CLASSES = (  # in the order of the labels
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SPLIT_SEED = 0  # of the held-out validation images: the same for every run
HELD_OUT = {"cifar10": {"validation": 5000}, "digits": {"validation": 200, "test": 400}}
CORRUPTION_SEED = 0  # of the noise on test images: every model sees the same
CORRUPTIONS: dict[str, tuple[float, ...]] = {
    "noise": (0.03, 0.06, 0.1, 0.15),  # standard deviation, of pixels in [0, 1]
    "blur": (0.5, 0.75, 1.0, 1.5),  # standard deviation of the Gaussian, in pixels
}


@dataclass(frozen=True)
class Images:
    """One split.

    Attributes:
        pixels: (N, H, W, C), unsigned bytes.
        labels: (N,), integers in [0, classes).
    """

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: np.ndarray | slice) -> Images:
        return Images(self.pixels[chosen], self.labels[chosen])


def decode(encoded: Sequence[bytes]) -> np.ndarray:
    """Encoded RGB images (PNG, lossless WebP ...) of one size -> (N, H, W, 3) unsigned bytes."""
    return np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in encoded])


def held_out(images: Images, rows: int) -> tuple[Images, Images]:
    """(the rest, `rows` images with each class in its share), always the same ones."""
    rng = np.random.default_rng(SPLIT_SEED)
    # Ranked within its class from 0 to 1, a random tenth of every class lies below 0.1.
    order = rng.permutation(len(images))
    order = order[np.argsort(images.labels[order], kind="stable")]
    counts = np.bincount(images.labels)
    rank = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
    chosen = np.zeros(len(images), bool)
    chosen[order[np.argsort(rank, kind="stable")[:rows]]] = True
    return images[~chosen], images[chosen]


def load_images(task: str, bundled: bool = False) -> dict[str, Images]:
    """Splits `train`, `validation` and `test` of `task`, or with `bundled` the digits.

    Validation images are taken out of the training set with a fixed seed; the test set of CIFAR-10
    is its own file.  The digits are the 1,797 of 8 x 8 pixels that come with scikit-learn.

    Raises:
        UserError: the files are missing or damaged.
    """
    if bundled:
        train, test = held_out(_digits(), HELD_OUT["digits"]["test"])
        name = "digits"
    else:
        root = data_root()
        train, test = (
            _decoded(task, split, hub.file_digest(task, split), root) for split in ("train", "test")
        )
        name = task
    train, validation = held_out(train, HELD_OUT[name]["validation"])
    return {"train": train, "validation": validation, "test": test}


def _digits() -> Images:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype("uint8")
    return Images(pixels[..., None], digits.target.astype("int64"))


@functools.lru_cache(maxsize=2)
def _decoded(task: str, split: str, digest: str, root: Path) -> Images:
    # The digest is in the key so that one process decodes a file once, and again if it changes.
    table = hub.load_table(task, split, list(hub.layout(task).columns), root)
    encoded = table["img"].to_pylist()
    if encoded and isinstance(encoded[0], dict):  # the hub's own image columns
        encoded = [one["bytes"] for one in encoded]
    try:
        pixels = decode(encoded)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{hub.table_path(task, split)} holds an image that cannot be decoded: move it away "
            f"and run `sgblend data fetch {task}`."
        ) from error
    return Images(pixels, table["label"].to_numpy().astype("int64"))


def subset(images: Images, rows: int | None) -> Images:
    """`rows` of the images with each class in its share, or all.

    Raises:
        UserError: there are fewer.
    """
    if rows is None or rows == len(images):
        return images
    if rows > len(images):
        raise UserError(
            f"max_samples is {rows} but there are {len(images)} training images here; "
            f"ask for at most {len(images)}."
        )
    return held_out(images, rows)[1]


def pixel_statistics(pixels: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and variance of each channel, in pixel units (0 to 255)."""
    # Counts of the 256 values are exact, and need no copy of the images in floating point.
    levels = np.arange(256)
    counts = [np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(pixels, -1, 0)]
    means = [float(np.average(levels, weights=count)) for count in counts]
    squares = [float(np.average(levels**2, weights=count)) for count in counts]
    return means, [square - mean**2 for mean, square in zip(means, squares, strict=True)]


def crop(pixels: np.ndarray, offsets: np.ndarray, pad: int) -> np.ndarray:
    """Move each image by -pad to pad pixels; what comes in is its own mirror image.

    Args:
        pixels: (N, H, W, C).
        offsets: (N, 2), rows and columns, integers in [0, 2 pad]; `pad` leaves an image as it is.
        pad: pixels added on each side before the crop; less than H and W.
    """
    size = pixels.shape[1:3]
    padded = np.pad(pixels, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(1, 2))
    moved = windows[np.arange(len(pixels)), offsets[:, 0], offsets[:, 1]]  # (N, C, H, W)
    return np.ascontiguousarray(np.moveaxis(moved, 1, -1))


def flip(pixels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mirror the images where `chosen` (N,) is true, left for right."""
    return np.where(chosen[:, None, None, None], pixels[:, :, ::-1], pixels)


def corrupt(pixels: np.ndarray, kind: str, strength: float) -> np.ndarray:
    """The images with `noise` or `blur` of a strength as in `CORRUPTIONS`; 0 changes nothing.

    Noise is normal, independent per pixel and channel, and clipped with the pixels to bytes.
    """
    if kind == "noise":
        rng = np.random.default_rng(CORRUPTION_SEED)
        noise = rng.standard_normal(pixels.shape, dtype="float32")
        out = pixels + np.float32(255 * strength) * noise
    else:
        sigma = (0, strength, strength, 0)
        out = ndimage.gaussian_filter(pixels.astype("float32"), sigma, mode="reflect")
    return np.clip(np.round(out), 0, 255).astype("uint8")


class ImageBatches(keras.utils.PyDataset):
    """Batches of (pixels, one-hot labels), as bytes and float32.

    For training (`seed` given) the order and the augmentation of epoch e depend on (`seed`, e)
    alone: equal for every activation, and the same after a resume.  Batches are all of one size, so
    that one program serves; the few images left over are left out, others in every epoch.

    Args:
        images: the split.
        batch_size: images a batch.
        classes: number of classes.
        seed: of order and augmentation; None keeps images and order (for evaluation).
        pad: largest move in pixels when training.
        mirror: flip half of the images when training.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        classes: int,
        *,
        seed: int | None = None,
        pad: int = 4,
        mirror: bool = True,
        **kwargs: object,
    ):
        super().__init__(**kwargs)
        if seed is not None and batch_size > len(images):
            raise UserError(
                f"A batch of {batch_size} is more than the {len(images)} training images; "
                "lower batch_size or raise max_samples."
            )
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.pad, self.mirror = pad, mirror
        self.targets = np.eye(classes, dtype="float32")
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw what `epoch` needs, as a resumed run must."""
        self.epoch = epoch
        self.order = np.arange(len(self.images))
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, epoch])
            self.order = rng.permutation(self.order)
            self.offsets = rng.integers(0, 2 * self.pad + 1, (len(self.order), 2))
            self.mirrored = rng.random(len(self.order)) < (0.5 if self.mirror else 0.0)

    def on_epoch_end(self) -> None:
        """Called by Keras after each epoch of training."""
        if self.seed is not None:
            self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        whole, left = divmod(len(self.images), self.batch_size)
        return whole + (self.seed is None and left > 0)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        place = slice(index * self.batch_size, (index + 1) * self.batch_size)
        batch = self.images[self.order[place]]
        pixels = batch.pixels
        if self.seed is not None:
            pixels = crop(pixels, self.offsets[place], self.pad)
            pixels = flip(pixels, self.mirrored[place])
        return pixels, self.targets[batch.labels]
