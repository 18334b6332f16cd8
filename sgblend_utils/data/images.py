"""Images and labels: reading, the bundled digits, augmentation, corruptions.

Pixels stay unsigned bytes until they reach the model, which normalises them itself: a batch is then
a quarter of the size, and a saved model takes plain images.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from sgblend_utils.data.source import Source, Stamp, digest_of, read_table, values
from sgblend_utils.errors import UserError

SPLIT_SEED = 0  # of the held-out validation images: the same for every run
VALIDATION, DIGITS = 5000, {"validation": 200, "test": 400}
CORRUPTION_SEED = 0  # of the noise on test images: every model sees the same
CORRUPTIONS: dict[str, tuple[float, ...]] = {
    "noise": (0.03, 0.06, 0.1, 0.15),  # standard deviation, of pixels in [0, 1]
    "blur": (0.5, 0.75, 1.0, 1.5),  # standard deviation of the Gaussian, in pixels
}


@dataclass(frozen=True)
class Images:
    """One split: pixels (N, H, W, C), unsigned bytes, and labels (N,), from 0 on."""

    pixels: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: np.ndarray | slice) -> Images:
        return Images(self.pixels[chosen], self.labels[chosen])


def decode(encoded: Iterable[bytes]) -> np.ndarray:
    """Encoded RGB images (PNG, lossless WebP ...) of one size -> (N, H, W, 3) unsigned bytes."""
    return np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in encoded])


def held_out(images: Images, rows: int) -> tuple[Images, Images]:
    """(the rest, `rows` images with each class in its share), always the same ones."""
    # Ranked within its class from 0 to 1, a random tenth of every class lies below 0.1.
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    order = order[np.argsort(images.labels[order], kind="stable")]
    rank = np.concatenate([(np.arange(n) + 0.5) / n for n in np.bincount(images.labels)])
    chosen = np.zeros(len(images), bool)
    chosen[order[np.argsort(rank, kind="stable")[:rows]]] = True
    return images[~chosen], images[chosen]


def load_images(source: Source) -> dict[str, Images]:
    """Splits `train`, `validation` (held out of the training file) and `test`.

    Raises:
        UserError: the files are missing or damaged.
    """
    train, test = (_decoded(source, split, source.stamp(split)) for split in ("train", "test"))
    train, validation = held_out(train, VALIDATION)
    return {"train": train, "validation": validation, "test": test}


@functools.lru_cache(maxsize=2)  # a process decodes a file once, and again if it changes
def _decoded(source: Source, split: str, stamp: Stamp) -> Images:
    table = read_table(source, split, stamp[0].parents[1])
    try:
        pixels = decode(one for chunk in table["img"].chunks for one in values(chunk))
    except (OSError, ValueError):
        raise source.damaged(stamp[0], "it holds an image that cannot be decoded") from None
    return Images(pixels, table["label"].to_numpy().astype("int64"))


@functools.cache
def load_digits() -> dict[str, Images]:
    """The 1,797 digits of 8 x 8 pixels that come with scikit-learn, in the same splits."""
    from sklearn import datasets

    digits = datasets.load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype("uint8")
    rows = Images(pixels[..., None], digits.target.astype("int64"))
    train, test = held_out(rows, DIGITS["test"])
    train, validation = held_out(train, DIGITS["validation"])
    return {"train": train, "validation": validation, "test": test}


def mini_digest() -> str:
    splits = load_digits().items()
    return digest_of([(s, rows.pixels.tobytes(), rows.labels.tolist()) for s, rows in splits])


def subset(images: Images, rows: int | None) -> Images:
    """`rows` of the images with each class in its share, or all; a UserError if there are fewer."""
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
    channels, levels = np.moveaxis(pixels, -1, 0), np.arange(256)
    counts = [np.bincount(channel.ravel(), minlength=256) for channel in channels]
    means, squares = (
        [float(np.average(levels**power, weights=count)) for count in counts] for power in (1, 2)
    )
    return means, [square - mean**2 for mean, square in zip(means, squares, strict=True)]


def crop(pixels: np.ndarray, offsets: np.ndarray, pad: int) -> np.ndarray:
    """Move images (N, H, W, C) by -pad to pad pixels; what comes in is the image's own mirror.

    `offsets` (N, 2) are rows and columns in [0, 2 pad]; `pad` leaves an image as it is.
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
        noise = np.random.default_rng(CORRUPTION_SEED).standard_normal(pixels.shape, "float32")
        out = pixels + np.float32(255 * strength) * noise
    else:
        sigma = (0, strength, strength, 0)
        out = ndimage.gaussian_filter(pixels.astype("float32"), sigma, mode="reflect")
    return np.clip(np.round(out), 0, 255).astype("uint8")
