"""Settings of the vision task: `cifar10`, whose `mini` preset reads the bundled digits instead."""

from __future__ import annotations

from typing import Any

from sgblend_utils.models.resnet import ARCHITECTURES
from sgblend_utils.presets import (
    COUNT,
    COUNT_OR_ALL,
    FLAG,
    NUMBER,
    SHARE,
    Checks,
    Presets,
    is_number,
    one_of,
)

VISION: dict[str, Any] = {
    "model": "resnet8",  # a name of `models.resnet.ARCHITECTURES`
    "width": None,  # channels of the first stage; None takes the network's own
    "max_samples": None,  # training images, those held out not included; None takes all
    "pad": 4,  # pixels that a training image is moved by, at most
    "mirror": True,  # flip half of the training images
    "label_smoothing": 0.1,
    "epochs": 8,
    "batch_size": 128,
    "optimizer": "sgd",  # with Nesterov momentum; or "adamw"
    "learning_rate": 0.2,  # at the top of the cycle
    "warmup": 0.2,  # share of all steps; then half a cosine down to zero
    "momentum": 0.9,  # of sgd
    "weight_decay": 5e-4,  # of kernels, for sgd in the coupled form of the literature
    "ema": 0.0,  # momentum of a running mean of the weights that is used in the end; 0: none
    "precision": "float32",  # or "mixed_bfloat16", "mixed_float16" on a GPU
}

PRESETS: Presets = {
    ("cifar10", "sound", "mini"): {
        **VISION,
        "model": "digits",
        "pad": 1,
        "mirror": False,  # a mirrored digit is none
        "label_smoothing": 0.0,
        "epochs": 12,
        "batch_size": 64,
        "learning_rate": 0.1,
    },
    # He et al.'s smallest: 12 million multiply-adds an image. On TensorFlow one core of an EPYC
    # needs 1.6 ms an image forward and backward, and 2.0 ms with SG-Blend: 10 to 14 minutes a run.
    ("cifar10", "sound", "cpu"): VISION,
    # The usual recipe of ResNet-18: about 95 % in 200 epochs.  The paper's other network:
    # `--set model=resnet50`.
    ("cifar10", "sound", "paper"): {
        **VISION,
        "model": "resnet18",
        "epochs": 200,
        "learning_rate": 0.1,
        "warmup": 0.025,
        "precision": "mixed_bfloat16",
    },
}

CHECKS: Checks = {
    "model": one_of(*ARCHITECTURES),
    "width": COUNT_OR_ALL,
    "max_samples": COUNT_OR_ALL,
    "pad": (lambda x: is_number(x) and isinstance(x, int), "a whole number from 0 on"),
    "mirror": FLAG,
    "label_smoothing": SHARE,
    "epochs": COUNT,
    "batch_size": COUNT,
    "optimizer": one_of("sgd", "adamw"),
    "learning_rate": NUMBER,
    "warmup": SHARE,
    "momentum": SHARE,
    "weight_decay": NUMBER,
    "ema": SHARE,
    "precision": one_of("float32", "mixed_bfloat16", "mixed_float16"),
}
