"""A trained translator, decoded again with other settings of the search."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sgblend_utils.errors import UserError
from sgblend_utils.runs import load_model, read_record, results_root


def rescore(
    key: str, searches: Iterable[tuple[int, float]], split: str = "validation"
) -> list[dict[str, Any]]:
    """Translate a split of a run's data with each (beam, length penalty) and score the outputs.

    The settings of a search belong to what is tuned, hence the default split: the test set has no
    say in them.

    Args:
        key: of a run made on this machine, whose model is still there.
        searches: pairs of beam and length penalty.
        split: `validation` or `test`.

    Returns:
        One row a search: `key`, `split`, `beam`, `length_penalty` and `metrics.translation_scores`.
    """
    from sgblend_utils.configs import RunConfig
    from sgblend_utils.decoding import translate_ids
    from sgblend_utils.metrics import translation_scores
    from sgblend_utils.training.translation import DECODING_TOKENS, load_translation

    found = sorted(results_root().glob(f"*/*-{key}*.json"))
    if len(found) != 1:
        raise UserError(
            f"{len(found)} records have a key that begins with {key!r}; `sgblend run` prints keys."
        )
    record = read_record(found[0])
    stored = record["config"]
    config = RunConfig(
        *(stored[name] for name in ("task", "activation", "protocol", "preset", "seed")),
        stored["overrides"],
    )
    if config.protocol != "sound":
        raise UserError(f"The run {key} is not of the sound protocol; choose one that is.")
    model, subwords = load_model(record["key"])
    pairs = load_translation(config).pairs[split]
    source = subwords.encode([source for source, _ in pairs])
    rows = []
    for beam, penalty in searches:
        ids = translate_ids(
            model,
            source,
            tokens=DECODING_TOKENS,
            widths=stored["settings"]["widths"],
            beam=beam,
            length_penalty=penalty,
        )
        scores = translation_scores(subwords.decode(ids), [target for _, target in pairs])
        search = {"key": record["key"], "split": split, "beam": beam, "length_penalty": penalty}
        rows.append(search | scores)
    return rows
