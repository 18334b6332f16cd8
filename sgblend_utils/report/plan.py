"""What was fixed before the runs: margins, floors, seeds, experiments and the list of claims."""

import functools
import hashlib
import io
import math
import tomllib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sgblend_utils.data import project_root
from sgblend_utils.errors import UserError

NAMES = ("task", "protocol", "preset", "backend")  # of an experiment


@functools.cache
def plan(name: str = "plan.toml") -> dict[str, Any]:
    """`data/plan.toml`: margins, floors, experiments with their activations and seeds."""
    return tomllib.loads(committed(name).decode())


def committed(name: str) -> bytes:
    """A file of `data` that no run writes."""
    if not (path := project_root() / "data" / name).is_file():
        raise UserError(f"There is no data/{name} here: run this in a checkout.")
    return path.read_bytes()


def committed_table(name: str = "claims.csv") -> pd.DataFrame:
    """`claims.csv`, what the paper claims and where it is tested; or `published/<table>.csv`."""
    content = io.BytesIO(committed(name))
    return pd.read_csv(content, comment="#", keep_default_na=False, na_values=[""])


def digest() -> str:
    """Names the plan: twelve hex digits of the two files."""
    text = committed("plan.toml") + committed("claims.csv")
    return hashlib.sha256(text).hexdigest()[:12]


def at_floor(metric: str, values: pd.Series) -> bool:
    """Whether nothing can differ, or nothing is measured, where a metric has only such values."""
    return bool(values.max() <= plan()["floors"].get(metric, -math.inf))


def entry_of(task: str, protocol: str) -> dict[str, Any]:
    """The plan's entry for an experiment; empty if it has none."""
    keys = {"task": task, "protocol": protocol}
    return next((one for one in plan()["experiments"] if keys.items() <= one.items()), {})


def second_round(config: Mapping[str, Any]) -> bool:
    """Whether a run, by its record's `config`, belongs to the second round."""
    again = (one for one in plan()["again"] if config["seed"] in one["seeds"])
    return any(all(config[name] == one[name] for name in NAMES) for one in again)


def rounds_of(claim: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The plan's entries for a row of `claims.csv`: of its experiment, and of the second round."""
    again = (one for one in plan()["again"] if claim["claim"] in one["claims"])
    return [entry_of(claim["task"], claim["protocol"]), *again]
