"""The records of benchmarks; `benchmarks/` of the checkout has what is timed and what times it."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sgblend_utils.data import project_root
from sgblend_utils.errors import UserError
from sgblend_utils.runs import read_record
from sgblend_utils.stats import summarise


def bench_path(name: str, folder: Path | None = None) -> Path:
    return (folder or project_root()) / "data" / "bench" / f"{name}.json"


def engine() -> Any:
    """The module `benchmarks.engine` of the checkout."""
    if not (project_root() / "benchmarks" / "engine.py").is_file():
        raise UserError("There is no folder benchmarks here: run this in a checkout.")
    sys.path.insert(0, str(project_root()))
    return importlib.import_module("benchmarks.engine")


def load(name: str) -> dict[str, Any]:
    """A stored benchmark; a UserError says how to make it."""
    if not (path := bench_path(name)).is_file():
        raise UserError(f"There is no data/bench/{name}.json: run `sgblend bench {name}`.")
    return read_record(path)


def summary(record: dict[str, Any]) -> pd.DataFrame:
    """A row per contestant: median `seconds` and, against its reference, round by round, `ratio`.

    `low` and `high` are the quartiles of the ratios of all rounds; `repeats` the medians of each
    repeat, the independent unit.
    """
    rows = []
    for label, values in record["seconds"].items():
        process, contestant = label.split(": ")
        row = {"process": process, "contestant": contestant}
        row |= {"seconds": np.median(np.concatenate(values))}
        other = record["references"][label]
        if other != label and other in record["seconds"]:
            pairs = zip(values, record["seconds"][other], strict=True)
            ratios = [np.divide(*pair) for pair in pairs]
            row["ratio"] = np.median(together := np.concatenate(ratios))
            row["low"], row["high"] = np.quantile(together, [0.25, 0.75])
            row["repeats"] = [float(np.median(part)) for part in ratios]
        rows.append(row)
    return pd.DataFrame(rows)


def step_ratios(name: str = "step") -> dict[tuple[str, str], list[float]]:
    """Task, activation -> time of a training step over that of GELU's, a median per repeat."""
    if not bench_path(name).is_file():
        return {}
    table = summary(load(name)).set_index(["process", "contestant"])
    return table["repeats"].dropna().to_dict()


def step_commit() -> str:
    return next(iter(load("step")["processes"].values()))["git_commit"][:7]


def step_table(name: str = "step") -> pd.DataFrame:
    """A row per task: `ratio`, the mean over repeats, with its 95 % t interval `low` to `high`."""
    items = step_ratios(name).items()
    found = [(task, ratio) for (task, who), own in items if who == "sgblend" for ratio in own]
    table = summarise(pd.DataFrame(found, columns=["task", "ratio"]), "ratio", "task")
    return table.set_axis(["repeats", "ratio", "low", "high"], axis=1).rename_axis("task")
