"""Training data that need not fit in memory: streamed from Parquet, through shards, to batches."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sgblend_utils.configs import RunConfig
from sgblend_utils.datasets import data_root, hub
from sgblend_utils.datasets.files import whole_file
from sgblend_utils.datasets.shards import ShardBatches, chosen_pairs, write_shards
from sgblend_utils.datasets.text import Subwords
from sgblend_utils.errors import UserError

ROWS = 10_000  # of Parquet, read at once
SUBWORDS_FILE = "subwords.model"


def shards_root(task: str) -> Path:
    """Folder of a task's shards: under `$SGBLEND_SHARDS`, else beside the task's data."""
    chosen = os.environ.get("SGBLEND_SHARDS")
    return Path(chosen).expanduser() / task if chosen else data_root() / task / "shards"


def stream_pairs(task: str) -> Iterator[tuple[str, str]]:
    """What `hub.load_pairs(task, "train")` holds, a few thousand pairs at a time."""
    with pq.ParquetFile(hub.table_path(task, "train")) as file:
        for batch in file.iter_batches(ROWS):
            table = pa.Table.from_batches([batch])
            if task == "wmt14":
                table = hub.wmt14_training_rows(table)
            yield from zip(table["en"].to_pylist(), table["de"].to_pylist(), strict=True)


def training_pairs(task: str, wanted: int | None, seed: int) -> Iterator[tuple[str, str]]:
    """`wanted` of the training pairs, or all, in file order; `seed` says which.

    Raises:
        UserError: there are fewer.
    """
    if wanted is None:
        yield from stream_pairs(task)
        return
    total = sum(1 for _ in stream_pairs(task))
    if wanted > total:
        raise UserError(
            f"max_samples is {wanted} but {task} has {total} training pairs here; "
            f"ask for at most {total}."
        )
    chosen = np.random.default_rng(seed).permutation(total)[:wanted]
    yield from chosen_pairs(stream_pairs(task), chosen)


def learn_subwords(settings: dict[str, Any], task: str, seed: int) -> Subwords:
    """Subwords of a random sample of the training pairs, of `subword_pairs` at most."""
    wanted = settings["max_samples"] or sum(1 for _ in stream_pairs(task))
    sample = training_pairs(task, min(wanted, settings["subword_pairs"]), seed)
    return Subwords.train(chain.from_iterable(sample), settings["vocabulary"])


def sharded_training(config: RunConfig, seed: int) -> tuple[Subwords, ShardBatches, int]:
    """Subwords, batches and number of the training pairs of a run, tokenised once for all runs.

    Args:
        config: of a preset with `sharded`; with `max_samples` the same pairs are trained on as
            without shards.
        seed: of the choice of pairs, not of their order.

    Raises:
        UserError: data or shards are missing or damaged, or the folder cannot be written.
    """
    settings, task = config.settings, config.task
    wanted = ("vocabulary", "subword_pairs", "max_samples")
    job = {name: settings[name] for name in wanted} | {"data": hub.file_digest(task, "train")}
    source = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:16]
    folder = shards_root(task) / source
    path = folder / SUBWORDS_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            hub.verify_file(task, "train")
            model = learn_subwords(settings, task, seed).model
            with whole_file(path) as file:
                file.write(model)
        subwords = Subwords(path.read_bytes())
        pairs = training_pairs(task, settings["max_samples"], seed)
        shards = write_shards(pairs, subwords, folder, source=source)
    except OSError as error:
        raise UserError(
            f"Shards cannot be written to {folder} ({error.strerror}); make it writable or set "
            "SGBLEND_SHARDS to another folder."
        ) from error
    shape = {"tokens": settings["tokens"], "widths": settings["widths"]}
    return subwords, ShardBatches(shards, seed=config.seed, **shape), shards.pairs
