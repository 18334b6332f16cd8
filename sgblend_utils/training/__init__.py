"""One run, from configuration to record: data, model, `fit`, evaluation."""

from __future__ import annotations

from sgblend_utils.configs import RunConfig
from sgblend_utils.training.common import Trained


def train(config: RunConfig, verbose: bool = False) -> Trained:
    """Perform the run that `config` describes; nothing is stored here."""
    from sgblend_utils.training.translation import train_translation

    return train_translation(config, verbose=verbose)
