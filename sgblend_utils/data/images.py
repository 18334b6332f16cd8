"""Images: reading, augmentation, corruptions.  Pixels are bytes, which the model normalises."""

import functools
import io
from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image

from sgblend_utils.data import taken
from sgblend_utils.data.source import Source, Stamp, digest_of, read_table

VALIDATION = 5000
CORRUPTIONS: dict[str, tuple[float, ...]] = {
    "noise": (0.03, 0.06, 0.1, 0.15),  # standard deviation, of pixels in [0, 1]
    "blur": (0.5, 0.75, 1.0, 1.5),  # standard deviation of the Gaussian, in pixels
}


@dataclass(frozen=True)
class Images:
    pixels: np.ndarray  # (N, H, W, C), unsigned bytes
    labels: np.ndarray  # (N,), from 0 on

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: np.ndarray | slice) -> Self:
        return type(self)(self.pixels[chosen], self.labels[chosen])


def held_out(images: Images, rows: int) -> tuple[Images, Images]:
    """(the rest, `rows` images with each class in its share), always the same ones."""
    # Ranked within its class from 0 to 1, a random tenth of every class lies below 0.1.
    order = np.random.default_rng(0).permutation(len(images))
    order = order[np.argsort(images.labels[order], kind="stable")]
    rank = np.concatenate([(np.arange(n) + 0.5) / n for n in np.bincount(images.labels)])
    chosen = np.isin(np.arange(len(images)), order[np.argsort(rank, kind="stable")[:rows]])
    return images[~chosen], images[chosen]


def load_images(source: Source) -> dict[str, Images]:
    """Splits `train`, `validation` (held out of the training file) and `test`."""
    train, test = (decoded(source, split, source.stamp(split)) for split in ("train", "test"))
    train, validation = held_out(train, VALIDATION)
    return {"train": train, "validation": validation, "test": test}


@functools.lru_cache(maxsize=2)  # a process decodes a file once, and again if it changes
def decoded(source: Source, split: str, stamp: Stamp) -> Images:
    table = read_table(source, split)
    try:
        files = map(io.BytesIO, table["img"].to_pylist())
        pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    except (OSError, ValueError):
        raise source.damaged(stamp[0], "it holds an image that cannot be decoded") from None
    return Images(pixels, table["label"].to_numpy().astype("int64"))


@functools.cache
def load_digits() -> dict[str, Images]:
    """The 1,797 digits of 8 x 8 pixels that come with scikit-learn, in the same splits."""
    from sklearn import datasets

    digits = datasets.load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype("uint8")
    train, test = held_out(Images(pixels[..., None], digits.target.astype("int64")), 400)
    train, validation = held_out(train, 200)
    return {"train": train, "validation": validation, "test": test}


def mini_digest() -> str:
    splits = load_digits().items()
    return digest_of([(s, rows.pixels.tobytes(), rows.labels.tolist()) for s, rows in splits])


def subset(images: Images, rows: int | None) -> Images:
    """`rows` of the images with each class in its share, or all; a UserError if there are fewer."""
    return images if rows is None else held_out(images, taken(rows, len(images), "images"))[1]


def pixel_statistics(pixels: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and variance of each channel, in pixel units (0 to 255)."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    means = flat.mean(axis=0)  # exact, as the next, and without a copy in floating point
    squares = np.einsum("nc,nc->c", flat, flat, dtype="int64") / len(flat)
    return means.tolist(), (squares - means**2).tolist()


def crop(pixels: np.ndarray, offsets: np.ndarray, pad: int) -> np.ndarray:
    """Move images (N, H, W, C) by `offsets` − `pad`, (N, 2) rows and columns; edges mirror."""
    padded = np.pad(pixels, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, pixels.shape[1:3], axis=(1, 2))
    moved = windows[np.arange(len(pixels)), offsets[:, 0], offsets[:, 1]]  # (N, C, H, W)
    return np.ascontiguousarray(np.moveaxis(moved, 1, -1))


def flip(pixels: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mirror the images where `chosen` (N,) is true, left for right."""
    return np.where(chosen[:, None, None, None], pixels[:, :, ::-1], pixels)


def corrupt(pixels: np.ndarray, kind: str, strength: float) -> np.ndarray:
    """Images with normal `noise` per pixel and channel, or `blur`; 0 changes nothing."""
    if kind == "noise":  # the same for every model
        noise = np.random.default_rng(0).standard_normal(pixels.shape, "float32")
        out = pixels + np.float32(255 * strength) * noise
    else:
        from scipy.ndimage import gaussian_filter

        out = gaussian_filter(pixels.astype("float32"), strength, mode="reflect", axes=(1, 2))
    return np.clip(np.round(out), 0, 255).astype("uint8")
