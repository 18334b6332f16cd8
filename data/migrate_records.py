"""Move records of schema 1 to schema 2: names of settings, keys, file names; no measured number.

    python data/migrate_records.py --old data/results --new data/results [--data FOLDER]

The digest of the rows is read from the data that the records are of (`--data`, or
`SGBLEND_DATA`).  Left behind are the Multi30k runs of a preset that is no more (5 epochs, no
averaging, no beam), and scores of published IMDB runs on held-out reviews that had been trained on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from sgblend_utils.config import SCHEMA, RunConfig
from sgblend_utils.runs import Place, read_record, write_record
from sgblend_utils.tasks import registry

RENAMED = {
    "widths": "bucket_boundaries",
    "tokens": "tokens_per_batch",
    "vocabulary_cap": "vocabulary",
    "no_padding_mask": "no_padding_masks",
}
# What schema 1 did not write down, because nothing else was possible.
ALWAYS = {
    ("translation", "sound"): {"beta_2": 0.98},
    ("sentiment", "sound"): {"beta_2": 0.98},
    ("vision", "sound"): {"schedule": "cosine"},
    ("translation", "published"): dict.fromkeys(
        ("fixed_length", "untied_embeddings", "learned_positions"), True
    ),
    ("sentiment", "published"): {"unscaled_embeddings": True},
}
KINDS = {"wmt14": "translation", "multi30k": "translation", "cifar10": "vision"}
TRAINED_ON = ("validation", "dead_share", "near_dead_share", "dead_by_site", "near_dead_by_site")


def outdated(record: dict[str, Any]) -> bool:
    """Whether a record is of the Multi30k preset that came before averaging and beam search."""
    config = record["config"]
    return config["task"] == "multi30k" and "beam" not in config["settings"]


def new_settings(config: dict[str, Any]) -> dict[str, Any]:
    """Every setting of a record by its new name."""
    kind = KINDS.get(config["task"], "sentiment")
    old = dict(config["settings"])
    settings = dict(ALWAYS[kind, config["protocol"]])
    settings |= dict.fromkeys((RENAMED.get(n, n) for n in old.pop("flaws", ())), True)
    if kind != "vision" and (batch := old.pop("batch_size", None)):
        settings["tokens_per_batch"] = batch * old["length"]
    if kind == "translation" and (length := old.pop("length", None)):
        settings["bucket_boundaries"] = [length]
    return settings | {RENAMED.get(name, name): value for name, value in old.items()}


def new_config(record: dict[str, Any]) -> RunConfig:
    """The run that a record is of, as an experiment of today."""
    config = record["config"]
    names = {n: config[n] for n in ("task", "activation", "protocol", "preset", "seed")}
    today = registry()[config["task"]].presets[config["protocol"], config["preset"]]
    settings = type(today)().override(new_settings(config))
    overrides = settings.differing(today)
    return RunConfig(**names, overrides=overrides, backend=record["backend"])


def new_record(record: dict[str, Any], config: RunConfig, rows: str) -> dict[str, Any]:
    """The same measurements in schema 2."""
    new = {**record, "schema": SCHEMA, "key": config.key(rows), "config": config.describe()}
    del new["backend"]
    new["data"] = {**record["data"], "digest": rows}
    new["timing"] = {k: v for k, v in record["timing"].items() if k != "compile_seconds"}
    metrics = {("evaluations" if k == "readings" else k): v for k, v in record["metrics"].items()}
    if (config.task, config.protocol) == ("imdb", "published"):
        metrics = {name: value for name, value in metrics.items() if name not in TRAINED_ON}
    return {**new, "metrics": metrics}


def migrate(old: Path, new: Path, digests: dict[str, str] | None = None) -> dict[Path, Path | None]:
    """Write the new files and then remove the old ones that lie in the same folder.

    Args:
        old, new: the two stores, which may be the same.
        digests: task -> digest of its rows; by default read from the data.

    Returns:
        Old file -> new file, or None for a record that was left behind.
    """
    moved: dict[Path, Path | None] = {}
    for path in sorted(old.glob("*/*.json")):
        record = read_record(path)
        if record["schema"] != 1:
            continue
        if outdated(record):
            moved[path] = None
            continue
        config = new_config(record)
        task = registry()[config.task]
        rows = task.rows_digest(config.preset) if digests is None else digests[config.task]
        made = new_record(record, config, rows)
        moved[path] = Place(config, new, made["key"]).record
        moved[path].parent.mkdir(parents=True, exist_ok=True)
        write_record(made, moved[path])
    if old.resolve() == new.resolve():
        for path in moved:
            path.unlink()
    return moved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--new", type=Path, required=True)
    parser.add_argument("--data", help="folder of the real data, instead of SGBLEND_DATA")
    arguments = parser.parse_args()
    if arguments.data:
        os.environ["SGBLEND_DATA"] = arguments.data
    moved = migrate(arguments.old, arguments.new)
    left = sum(path is None for path in moved.values())
    print(f"{len(moved) - left} records moved, {left} left behind.")


if __name__ == "__main__":
    main()
