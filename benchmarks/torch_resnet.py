"""The ResNet-8 of CIFAR-10's `cpu` preset in plain PyTorch, in channels-last memory format."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.torch_transformer import copy_weights, make_scheduler, parameter_groups
from sgblend_utils.errors import UserError


class ConvNorm(nn.Sequential):
    def __init__(self, channels_in: int, channels: int, stride: int = 1):
        conv = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        super().__init__(conv, nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1))


class Block(nn.Module):
    """Two convolutions beside the identity (He et al. 2016); post-activation."""

    def __init__(self, channels_in: int, channels: int, stride: int, activation: Any):
        super().__init__()
        self.first = ConvNorm(channels_in, channels, stride)
        self.second = ConvNorm(channels, channels)
        # A module's parameters are each place's own.
        self.activation, self.out = copy.deepcopy(activation), copy.deepcopy(activation)
        self.stride, self.new = stride, channels - channels_in

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.activation(self.first(x)))
        if self.new:  # the shortcut without parameters, He et al.'s option A
            padding = (0, 0, 0, 0, self.new // 2, self.new - self.new // 2)
            x = F.pad(x[:, :, :: self.stride, :: self.stride], padding)
        return self.out(x + y)


class ResNet8(nn.Module):
    """Pixels from 0 to 255 (B, H, W, C), which it normalises itself -> logits (B, classes).

    `mean` and `variance` are the channels', in pixel units; `activation` is a function, or a module
    that is copied.
    """

    def __init__(
        self,
        mean: Sequence[float],
        variance: Sequence[float],
        classes: int = 10,
        activation: Callable[[Tensor], Tensor] = F.gelu,
        width: int = 32,
    ):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(variance).sqrt()[:, None, None])
        self.stem, self.activation = ConvNorm(len(mean), width, stride=2), copy.deepcopy(activation)
        plan = [(width, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)]
        self.blocks = nn.Sequential(*(Block(*sizes, activation) for sizes in plan))
        self.head = nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, pixels: Tensor) -> Tensor:
        # NHWC in memory, seen as NCHW, is PyTorch's channels-last format: nothing is copied.
        x = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.deviation
        x = self.blocks(self.activation(self.stem(x)))
        return self.head(x.mean((2, 3)))


def make_optimizer(settings: Any, steps: int, model: nn.Module) -> tuple[Any, Any]:
    """SGD with Nesterov momentum and its schedule, for `train_step`.

    As usual in PyTorch weight decay is coupled, which our Keras optimizer approximates to first
    order, and the rate multiplies the momentum's sum, while Keras's is inside the sum.
    """
    if settings.optimizer != "sgd" or settings.ema:
        raise UserError("This benchmark trains with SGD and without a running mean of the weights.")
    groups = parameter_groups(model, settings.weight_decay)
    options = {"momentum": settings.momentum, "nesterov": settings.momentum > 0, "fused": True}
    optimizer = torch.optim.SGD(groups, settings.learning_rate, **options)
    return optimizer, make_scheduler(optimizer, settings, steps)


def tensors(batch: Any, device: Any = "cpu") -> list[Tensor]:
    """Pixels (bytes or float32, NHWC) and labels (one-hot or class numbers) of a NumPy batch."""
    return [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in batch]


def image_loss(model: nn.Module, pixels: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    return F.cross_entropy(model(pixels), labels, label_smoothing=label_smoothing)


def train_step(model, optimizer, scheduler, batch, settings, loss=image_loss) -> Tensor:
    """One update from a batch of our `ImageBatches`; the loss before it, not waited for.

    `loss` may be `torch.compile(image_loss)`.
    """
    value = loss(model, *tensors(batch, model.mean.device), settings.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    value.backward()
    optimizer.step()
    scheduler.step()
    return value.detach()


def load_keras_weights(model: ResNet8, keras_model: Any) -> None:
    """Copy the weights of our Keras `ResNet`, without those of its activations."""
    places = {"stem": model.stem}
    for i, block in enumerate(model.blocks, 1):
        places |= {f"stage_{i}_0_0": block.first, f"stage_{i}_0_1": block.second}
    for name, (conv, norm) in places.items():
        copy_weights(conv, keras_model.get_layer(f"{name}_conv"))
        layer = keras_model.get_layer(f"{name}_norm")
        copy_weights(norm, layer)
        norm.running_mean.copy_(torch.from_numpy(layer.get_weights()[2]))
        norm.running_var.copy_(torch.from_numpy(layer.get_weights()[3]))
    copy_weights(model.head, keras_model.get_layer("head"))
