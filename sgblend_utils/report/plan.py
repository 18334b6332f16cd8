"""What was fixed before the runs: margins, floors, seeds, experiments and the list of claims."""

import functools
import hashlib
import math
import tomllib
from typing import Any

import pandas as pd

from sgblend_utils.data import project_root
from sgblend_utils.errors import UserError


@functools.cache
def plan() -> dict[str, Any]:
    """`data/plan.toml`: margins, floors, experiments with their activations and seeds."""
    return tomllib.loads(planned_file("plan.toml").decode())


def planned_file(name: str) -> bytes:
    if not (path := project_root() / "data" / name).is_file():
        raise UserError(f"There is no data/{name} here: run this in a checkout.")
    return path.read_bytes()


def claims_list() -> pd.DataFrame:
    """`data/claims.csv`: what the paper claims, a row per claim and place where it is tested."""
    path, options = project_root() / "data" / "claims.csv", {"na_values": [""]}
    return pd.read_csv(path, comment="#", keep_default_na=False, **options)


def digest() -> str:
    """Names the plan: twelve hex digits of the two files."""
    text = planned_file("plan.toml") + planned_file("claims.csv")
    return hashlib.sha256(text).hexdigest()[:12]


def at_floor(metric: str, values: pd.Series) -> bool:
    """Whether nothing can differ, or nothing is measured, where a metric has only such values."""
    return bool(values.max() <= plan()["floors"].get(metric, -math.inf))


def entry_of(task: str, protocol: str) -> dict[str, Any]:
    """The plan's entry for an experiment; empty if it has none."""
    keys = {"task": task, "protocol": protocol}
    return next((one for one in plan()["experiments"] if keys.items() <= one.items()), {})
