"""One run, from configuration to record: data, model, `fit`, evaluation."""

from __future__ import annotations

from pathlib import Path

from sgblend_utils.configs import RunConfig
from sgblend_utils.training.common import Trained


def train(
    config: RunConfig, verbose: bool = False, keep: Path | None = None, devices: int = 1
) -> Trained:
    """Perform the run that `config` describes; its record is not stored here.

    Args:
        config: what to do.
        verbose: print a line per epoch.
        keep: folder for the state after each epoch; a run that was stopped goes on from it.
        devices: accelerators to divide each batch among.
    """
    if config.task in ("imdb", "imdb_bert"):
        from sgblend_utils.training.sentiment import train_sentiment

        return train_sentiment(config, verbose=verbose, keep=keep, devices=devices)
    if config.task == "cifar10":
        from sgblend_utils.training.vision import train_vision

        return train_vision(config, verbose=verbose, keep=keep, devices=devices)
    if config.protocol == "published":
        from sgblend_utils.training.published_translation import train_published

        return train_published(config, verbose=verbose, keep=keep, devices=devices)
    from sgblend_utils.training.translation import train_translation

    return train_translation(config, verbose=verbose, keep=keep, devices=devices)
