"""The results store, and sweeps over activations and seeds that fill it.

A record is one JSON file,
`data/results/<task>/<preset>-<protocol>-<activation>-s<seed>-<key>.json`, written whole or not at
all.  Whatever is reported is read from here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pandas as pd
from tqdm import tqdm

from sgblend_utils.configs import RunConfig
from sgblend_utils.datasets.files import whole_file
from sgblend_utils.errors import UserError


def project_root() -> Path:
    """The checkout this package is installed from, or the current folder if it is not from one."""
    checkout = Path(__file__).resolve().parents[1]
    return checkout if (checkout / "pyproject.toml").is_file() else Path.cwd()


def results_root() -> Path:
    """Folder of the records: `SGBLEND_RESULTS`, or `data/results` of the checkout."""
    chosen = os.environ.get("SGBLEND_RESULTS")
    return Path(chosen).expanduser() if chosen else project_root() / "data" / "results"


def models_root() -> Path:
    """Folder of trained models, which are not kept under version control.

    `data/cache/models` of the checkout, or `models` beside the records where `SGBLEND_RESULTS`
    says.
    """
    chosen = os.environ.get("SGBLEND_RESULTS")
    home = results_root() if chosen else project_root() / "data" / "cache"
    return home / "models"


def record_path(config: RunConfig, key: str, root: Path | None = None) -> Path:
    """Where the record of a run lies or would lie."""
    name = f"{config.preset}-{config.protocol}-{config.activation}-s{config.seed}-{key}.json"
    return (root or results_root()) / config.task / name


def run_key(config: RunConfig) -> str:
    """The run's key, from its settings and the digest of its data (which must be there)."""
    from sgblend_utils.training.common import data_digest

    return config.key(data_digest(config.task, config.preset))


def check_writable(folder: Path) -> None:
    """Raise a UserError now rather than after an hour of training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"Results cannot be written to {folder} ({error.strerror}); make it writable or set "
            "SGBLEND_RESULTS to another folder."
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or the file before it."""
    with whole_file(path) as file:
        file.write(content)


def write_record(record: dict[str, Any], path: Path) -> None:
    """Store one record."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode())


def read_record(path: Path) -> dict[str, Any]:
    """Load one record; a UserError names a damaged one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path.name} is not a readable record; restore it from version control or remove it."
        ) from error


def load_records(root: Path | None = None) -> pd.DataFrame:
    """Every stored record, one row each, in the order of file names.

    Columns: `key`, the configuration's fields, each scalar metric and timing by its own name,
    `backend`, `parameters`, `peak_rss_bytes`, and `record`, the whole of it.
    """
    rows = []
    for path in sorted((root or results_root()).glob("*/*.json")):
        record = read_record(path)
        scalars = {
            name: value
            for part in ("metrics", "timing")
            for name, value in record[part].items()
            if not isinstance(value, (dict, list))
        }
        config = {k: v for k, v in record["config"].items() if not isinstance(v, dict)}
        kept = {name: record[name] for name in ("key", "backend", "parameters", "peak_rss_bytes")}
        rows.append({**config, **kept, **scalars, "record": record})
    return pd.DataFrame(rows)


def run(
    config: RunConfig, *, root: Path | None = None, verbose: bool = False, devices: int = 1
) -> Path:
    """Train and evaluate one run and store its record; a run that is stored is not repeated.

    The trained model and what it needs to be used go to `models_root()`, under the run's key.
    Beside them lies the state after the last whole epoch until the record is written: a run that
    was stopped goes on from there.  `devices` accelerators share each batch.
    """
    key = run_key(config)
    path = record_path(config, key, root)
    if path.exists():
        return path
    check_writable(path.parent)
    from sgblend_utils.training import train

    folder = models_root() / key
    check_writable(folder)
    trained = train(config, verbose=verbose, keep=folder / "resume", devices=devices)
    trained.model.save(folder / "model.keras")
    for name, content in trained.files.items():
        write_whole(folder / name, content)
    record = dict(trained.record)
    write_record({"schema": record.pop("schema"), "key": key, **record}, path)
    shutil.rmtree(folder / "resume", ignore_errors=True)
    return path


def load_model(key: str) -> tuple[Any, Any]:
    """The trained model and the subwords of a run made on this machine.

    Args:
        key: the run's key, or enough of its beginning.

    Raises:
        UserError: no such model here (records travel with the repository, models do not).
    """
    import keras

    from sgblend_utils.datasets.text import Subwords
    from sgblend_utils.models.transformer import Transformer

    found = sorted(models_root().glob(f"{key}*/model.keras"))
    if len(found) != 1:
        raise UserError(
            f"{'No model' if not found else 'More than one model'} of a run {key!r} is on this "
            "machine; `sgblend run` trains one and prints its key."
        )
    subwords = found[0].with_name("subwords.model")
    if not subwords.is_file():
        raise UserError(
            f"The run {key!r} has no subwords: choose a translation run of the sound protocol."
        )
    model = keras.saving.load_model(found[0], custom_objects={"Transformer": Transformer})
    return model, Subwords(subwords.read_bytes())


def command(
    config: RunConfig, *, backend: str | None = None, core: int | None = None, devices: int = 1
) -> list[str]:
    """The command line that performs `config`; with `core`, on that core alone."""
    words = [sys.executable, "-m", "sgblend_utils.cli", "run", config.task]
    for name in ("activation", "protocol", "preset", "seed"):
        words += [f"--{name}", str(getattr(config, name))]
    for name, value in config.overrides.items():
        words += ["--set", f"{name}={json.dumps(value)}"]
    words += [] if backend is None else ["--backend", backend]
    words += [] if devices == 1 else ["--devices", str(devices)]
    return words + ([] if core is None else ["--core", str(core)])


def sweep(
    configs: Iterable[RunConfig],
    *,
    workers: int = 1,
    backend: str | None = None,
    devices: int = 1,
    root: Path | None = None,
) -> list[str]:
    """Perform the runs that have no record yet, each in a process of its own.

    With several workers each gets one core: on a small machine two one-core runs side by side do
    more than one run on two cores.  `devices` is as in `run`.  Interrupted runs go on after their
    last whole epoch when the sweep is given again.

    Returns:
        One sentence for each run that failed; the others' records are stored.
    """
    pending = [c for c in configs if not record_path(c, run_key(c), root).exists()]
    check_writable(root or results_root())
    cores: SimpleQueue[int | None] = SimpleQueue()
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [None]
    for worker in range(workers):
        cores.put(available[worker % len(available)] if workers > 1 else None)
    environ = dict(os.environ) | ({} if root is None else {"SGBLEND_RESULTS": str(root)})

    def perform(config: RunConfig) -> str | None:
        core = cores.get()
        try:
            done = subprocess.run(
                command(config, backend=backend, core=core, devices=devices),
                env=environ,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        finally:
            cores.put(core)
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            return f"{config.task} {config.activation} seed {config.seed}: {said[-1]}"
        return None

    failures: Sequence[str | None]
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(perform, config) for config in pending]
        done = tqdm(as_completed(jobs), total=len(jobs), desc="runs", disable=None)
        failures = [job.result() for job in done]
    return [failure for failure in failures if failure]
