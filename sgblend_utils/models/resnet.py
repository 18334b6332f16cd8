"""Residual networks for small images, with an activation layer of its own at every site.

Post-activation blocks (He et al. 2016, "Deep Residual Learning for Image Recognition") and the stem
for small images: one 3 x 3 convolution, no pooling.  Every kernel has its own seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops
from keras.initializers import GlorotUniform, HeNormal

from sgblend_utils.models.layers import PACKAGE, Activations, seed_stream
from sgblend_utils.zoo import choose


@dataclass(frozen=True)
class Architecture:
    """Channels of the first stage, of which each later one has twice as many; blocks of each stage.

    A block is two 3x3, or with `bottleneck` 1x1, 3x3, 1x1 that put out four times their width.
    Where shapes change, the shortcut is the subsampled input with zeros for the new channels (He et
    al.'s option A, no parameters), or with `projection` a 1x1 convolution (option B).  `stride` is
    that of the stem.
    """

    width: int
    depths: tuple[int, ...]
    bottleneck: bool = False
    projection: bool = False
    stride: int = 1


ARCHITECTURES: dict[str, Architecture] = {
    "digits": Architecture(16, (1, 1)),
    "resnet8": Architecture(16, (1, 1, 1)),  # 6n + 2 layers, n = 1 (He et al., section 4.2)
    # The same number of multiplications at half the resolution: twice the channels, and half as
    # many activations.
    "resnet8_wide": Architecture(32, (1, 1, 1), stride=2),
    "resnet20": Architecture(16, (3, 3, 3)),
    "resnet18": Architecture(64, (2, 2, 2, 2), projection=True),
    "resnet50": Architecture(64, (3, 4, 6, 3), bottleneck=True, projection=True),
}


class Builder:
    """Adds layers with names, seeds and a dtype policy; `sites` are the activations it made."""

    def __init__(self, activation: str, seed: int, dtype: str):
        self.activations, self.seeds = Activations(activation, seed), seed_stream(seed)
        self.dtype, self.sites = dtype, {}

    def convolve(self, x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
        """Convolution without bias and batch normalisation: (B, H, W, c) -> (B, H', W', C)."""
        if kernel > 1:  # as in the literature, where stride 2 pads the first row, not the last
            x = keras.layers.ZeroPadding2D(kernel // 2, dtype=self.dtype, name=f"{name}_pad")(x)
        drawn = {"use_bias": False, "kernel_initializer": HeNormal(seed=next(self.seeds))}
        options = {"dtype": self.dtype, "name": f"{name}_conv"}
        x = keras.layers.Conv2D(channels, kernel, stride, **drawn, **options)(x)
        norm = {"momentum": 0.9, "epsilon": 1e-5, "dtype": self.dtype, "name": f"{name}_norm"}
        return keras.layers.BatchNormalization(**norm)(x)

    def activate(self, x: Any, name: str) -> Any:
        self.sites[name] = self.activations.make(f"{name}_activation", dtype=self.dtype)
        return self.sites[name](x)

    def block(self, x: Any, width: int, stride: int, spec: Architecture, name: str) -> Any:
        shortcut, out = x, width * (4 if spec.bottleneck else 1)
        # (channels, kernel, stride); the stride of a bottleneck is at its 3x3, as is usual now.
        plan = [(width, 3, stride), (width, 3, 1)]
        if spec.bottleneck:
            plan = [(width, 1, 1), (width, 3, stride), (out, 1, 1)]
        for i, step in enumerate(plan):
            x = self.convolve(x, *step, f"{name}_{i}")
            if i < len(plan) - 1:
                x = self.activate(x, f"{name}_{i}")
        if stride > 1 or shortcut.shape[-1] != out:
            if spec.projection:
                shortcut = self.convolve(shortcut, out, 1, stride, f"{name}_shortcut")
            else:
                new = out - shortcut.shape[-1]
                channels = ((0, 0), (0, 0), (0, 0), (new // 2, new - new // 2))
                shortcut = ops.pad(shortcut[:, ::stride, ::stride], channels)
        return self.activate(keras.layers.Add(dtype=self.dtype)([shortcut, x]), f"{name}_out")


@keras.saving.register_keras_serializable(PACKAGE)
class ResNet(keras.Model):
    """Pixels from 0 to 255 (B, H, W, C), which it normalises itself -> float32 logits (B, classes).

    Args:
        width: channels of the first stage; None takes the architecture's own.
        mean, variance: of each channel, in pixel units; None leaves pixels / 255.
        precision: dtype policy of the layers ("float32", "mixed_bfloat16", "mixed_float16").
    """

    def __init__(
        self,
        architecture: str,
        image_shape: Sequence[int] = (32, 32, 3),
        classes: int = 10,
        activation: str = "relu",
        width: int | None = None,
        mean: Sequence[float] | None = None,
        variance: Sequence[float] | None = None,
        seed: int = 0,
        precision: str = "float32",
        **kwargs: Any,
    ):
        settings = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        spec = ARCHITECTURES[choose("network", architecture, ARCHITECTURES)]
        width, channels = width or spec.width, image_shape[-1]
        mean = [0.0] * channels if mean is None else [float(m) for m in mean]
        variance = [255.0**2] * channels if variance is None else [float(v) for v in variance]
        settings |= {"width": width, "mean": mean, "variance": variance}
        build = Builder(activation, seed, precision)
        inputs = keras.Input(tuple(image_shape), name="pixels", dtype="float32")
        x = keras.layers.Normalization(mean=mean, variance=variance, dtype="float32")(inputs)
        x = build.activate(build.convolve(x, width, 3, spec.stride, "stem"), "stem")
        for stage, depth in enumerate(spec.depths):
            for i in range(depth):
                shape = (width * 2**stage, 2 if stage > 0 and i == 0 else 1)
                x = build.block(x, *shape, spec, f"stage_{stage + 1}_{i}")
        x = keras.layers.GlobalAveragePooling2D(dtype=precision, name="pool")(x)
        glorot = GlorotUniform(seed=next(build.seeds))
        head = keras.layers.Dense(classes, kernel_initializer=glorot, dtype="float32", name="head")
        super().__init__(inputs=inputs, outputs=head(x), **kwargs)
        self.sites, self.settings = build.sites, settings

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self.settings}

    def activation_sites(self) -> dict[str, tuple[keras.layers.Layer, str]]:
        """Every activation layer by site name, with the name of the input that it follows."""
        return {name: (layer, "pixels") for name, layer in self.sites.items()}

    def with_precision(self, precision: str) -> "ResNet":
        """A network with the same weights that computes in another dtype policy."""
        twin = ResNet(**{**self.settings, "precision": precision})
        twin.set_weights(self.get_weights())
        return twin
