"""The results store, and sweeps over activations and seeds that fill it.

A record is one JSON file, `<task>/<preset>-<protocol>-<activation>-s<seed>-<key>.json`, found by
its key.  Of a run that failed, `failed/<task>` has a note with the reason.
"""

import itertools
import json
import math
import os
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from threading import Event
from typing import Any
from zipfile import ZipFile

from filelock import FileLock, Timeout
from tqdm import tqdm

from sgblend_utils import zoo
from sgblend_utils.config import SCHEMA, RunConfig
from sgblend_utils.data import project_root, write_atomically
from sgblend_utils.errors import UserError, quiet

STORE = "SGBLEND_RESULTS"  # environment variable
TRIES = 3  # of a run whose process was killed
AT_ONCE = 64  # runs that an executor has at a time
POLL = 0.3  # seconds


class Busy(UserError):
    exit_code = 75  # of a process that found another one performing the run


def results_root(default: str = "results") -> Path:
    """Directory of the records: `SGBLEND_RESULTS`, or `data/results` of the checkout."""
    return Path(os.environ.get(STORE) or project_root() / "data" / default).expanduser()


def models_root(root: Path | None = None) -> Path:
    """Directory of trained models: beside the records, but `data/cache/models` of the checkout."""
    return (root or results_root("cache")) / "models"


def check_writable(folder: Path) -> None:
    """Raise a UserError now rather than after an hour of training."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"Results cannot be written to {folder} ({error.strerror}); make it writable or set "
            f"{STORE} to another folder."
        ) from error


def write_record(record: dict[str, Any], path: Path) -> None:
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def read_record(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path.name} is not a readable record; restore it from version control or remove it."
        ) from error


def load_records(root: Path | None = None) -> Any:
    """Every stored record as a row: its scalars by their own names, and `record`, the whole."""
    import pandas as pd  # which runs and sweeps do not need

    rows = []
    for path in sorted((root or results_root()).glob("*/*.json")):
        record = read_record(path)
        row = {name: record[name] for name in ("key", "parameters", "peak_rss_bytes")}
        for part in ("config", "metrics", "timing"):
            row |= {k: v for k, v in record[part].items() if not isinstance(v, (dict, list))}
        rows.append(row | {"record": record})
    return pd.DataFrame(rows)


class Place:
    """Where the files of one run lie: its record, a note if it failed, and its model's folder."""

    def __init__(self, config: RunConfig, root: Path | None = None, key: str = "") -> None:
        self.config, self.key = config, key or config.key()
        self.name = f"{config.task} {config.activation} seed {config.seed}"
        activation = re.sub(r"[^\w.]+", "_", config.activation).strip("_")[:80]
        file = f"{config.preset}-{config.protocol}-{activation}-s{config.seed}-{self.key}.json"
        store, self.folder = root or results_root(), models_root(root) / self.key
        self.record, self.note = (at / config.task / file for at in (store, store / "failed"))

    def found(self) -> Path | None:
        """The record with this key; its preset may have had another name."""
        return next(self.record.parent.glob(f"*-{self.key}.json"), None)

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the run's lock; Busy where another process holds it."""
        check_writable(self.folder)
        try:
            with FileLock(self.folder / "run.lock", blocking=False):
                yield
        except Timeout:
            raise Busy("Another process is performing this run.") from None

    def fail(self, reason: str, commit: str | None = None) -> None:
        """Say why there is no record, and which code that was."""
        time = datetime.now(UTC).isoformat(timespec="seconds")
        note = {"config": self.config.describe(), "reason": reason, "time": time}
        write_record({**note, "git_commit": commit}, self.note)


def run(config: RunConfig, *, root: Path | None = None, **options: Any) -> Path:
    """Train and evaluate one run and store its record; a run that is stored is not repeated.

    One that was stopped goes on from its checkpoint.  `options` are those of `train`.
    """
    place = Place(config, root)
    if found := place.found():
        return found
    check_writable(place.record.parent)
    more = {}
    if config.settings.frozen_twin:
        twin = learned(config, root)
        options["fixed"], more["frozen_twin_of"] = twin["activation_parameters"][-1], twin["key"]
    with place.claim():
        if found := place.found():
            return found
        with quiet():  # TensorFlow's start-up messages
            from sgblend_utils.tasks.train import git_commit, train

        commit, checkpoint = git_commit(), place.folder / "checkpoint"
        place.fail("killed", commit)  # which it cannot write when it happens
        try:
            trained = train(config, checkpoint=checkpoint, **options)
            trained.model.save(place.folder / "model.keras")
            for name, content in trained.files.items():
                write_atomically(place.folder / name, content)
            record = {"schema": SCHEMA, "key": place.key, **more, **trained.record}
            write_record(record, place.record)
        except KeyboardInterrupt:
            place.note.unlink()
            raise
        except Exception as error:
            place.fail(f"{type(error).__name__}: {error}", commit)
            raise
        place.note.unlink()
        shutil.rmtree(checkpoint, ignore_errors=True)
    return place.record


def learned(config: RunConfig, root: Path | None = None) -> dict[str, Any]:
    """The record of the run of which `config` is the frozen twin."""
    if "trainable_parameters" not in zoo.checked(config.activation)[0].options:
        raise UserError(f"frozen_twin does not fit {config.activation}: it needs α, β or γ.")
    overrides = {k: v for k, v in config.overrides.items() if k != "frozen_twin"}
    place = Place(replace(config, overrides=overrides), root)
    if found := place.found():
        return read_record(found)
    raise UserError(
        f"A frozen twin needs the record of {place.name} with the same settings, which is not in "
        "the store: perform that run first, without frozen_twin."
    )


def load_model(key: str) -> tuple[Any, Any]:
    """Model and tokenizer of a translation run, by (the beginning of) its key.

    Of this machine, or of `data/models`, where names stand for keys.
    """
    roots = (models_root(), project_root() / "data" / "models")
    found = sorted(path for root in roots for path in root.glob(f"{key}*/model.keras"))
    kinds = [json.loads(ZipFile(path).read("config.json"))["class_name"] for path in found]
    if kinds != ["Transformer"] or not (subwords := found[0].with_name("subwords.model")).is_file():
        raise UserError(
            f"{key!r} is not the key of a translation run of the sound protocol whose model is on "
            "this machine; `sgblend run multi30k` trains one and prints its key."
        )
    import keras

    from sgblend_utils.data.text import Subwords
    from sgblend_utils.models import prepare_backend
    from sgblend_utils.models.transformer import Transformer

    prepare_backend()
    model = keras.saving.load_model(found[0], custom_objects={"Transformer": Transformer})
    return model, Subwords(subwords.read_bytes())


def command(config: RunConfig, devices: int = 1) -> list[str]:
    """Python's arguments to perform `config` in a process of its own."""
    words = ["-m", "sgblend_utils.cli", "run", config.task, f"--devices={devices}"]
    for name in ("activation", "protocol", "preset", "seed", "backend"):
        words.append(f"--{name}={getattr(config, name)}")
    return words + [f"--set={name}={json.dumps(v)}" for name, v in config.overrides.items()]


def not_cancelled() -> bool:
    """Dask cannot stop a task that runs, but notes that it was cancelled."""
    with suppress(KeyError, ValueError):  # another executor
        worker = sys.modules["distributed"].get_worker()
        return worker.state.tasks[worker.get_current_task()].state != "cancelled"
    return True


def work(
    words: list[str], store: str | None = None, wanted: Callable[[], bool] = not_cancelled
) -> tuple[int, str, dict[str, bytes]]:
    """Run Python until it ends or is not `wanted`: the exit code, why it is not 0, and files.

    Without a `store` it has one of its own, whose files are returned by their relative paths.
    """
    with tempfile.TemporaryDirectory() as own:
        more = {STORE: own if store is None else store, "SGBLEND_PARENT": str(os.getpid())}
        settings = {"stdout": DEVNULL, "stderr": PIPE, "text": True, "env": os.environ | more}
        # In a session of its own: Ctrl-C is for the sweep alone, which ends its runs.
        process = Popen([sys.executable, *words], start_new_session=True, **settings)
        lines = None
        while lines is None:
            try:
                lines = process.communicate(timeout=POLL)[1].strip().splitlines()
            except TimeoutExpired:
                if not wanted():
                    process.kill()
        files = {
            path.relative_to(own).as_posix(): path.read_bytes()
            for path in Path(own).rglob("[!.]*")
            if path.is_file() and path.suffix != ".lock" and path.parent.name != "checkpoint"
        }
    if (code := process.returncode) < 0:
        return code, f"killed by signal {-code}", files
    return code, lines[-1].removeprefix("sgblend: ") if lines else f"exit code {code}", files


def sweep(
    configs: Iterable[RunConfig],
    *,
    executor: Executor | None = None,
    workers: int = 1,
    devices: int = 1,
    root: Path | None = None,
) -> list[str]:
    """Perform the runs that have no record, and say in a sentence each which of them failed.

    Each is a process of its own; with several `workers` here each has one core, which does more
    than one run on all cores.  From an `executor` the files come back and are stored here.  A
    killed run is tried again; one that another process is performing is left to it.
    """
    check_writable(root or results_root())
    todo = {p.key: p for p in (Place(config, root) for config in configs) if not p.found()}
    stopped = Event()
    store = str(root or os.environ.get(STORE, ""))
    pinned = workers > 1 and executor is None and hasattr(os, "sched_setaffinity")
    cores = itertools.cycle(os.sched_getaffinity(0) if pinned else ())

    def pin() -> None:  # a thread, and what it starts
        if pinned:
            os.sched_setaffinity(0, {next(cores)})

    def answer(words: list[str]) -> tuple[int, str, dict[str, bytes]]:
        if executor is None:
            return work(words, store, lambda: not stopped.is_set())
        future = executor.submit(work, words)
        while not wait([future], POLL).done:
            if stopped.is_set():
                future.cancel()
                return -1, "", {}
        return future.result()

    def perform(place: Place) -> str | None:
        for _ in range(TRIES):
            try:  # a run that is performed here claims its place itself
                with place.claim() if executor else nullcontext():
                    if stopped.is_set() or place.found():
                        break
                    code, said, files = answer(command(place.config, devices))
                    if executor and code == 0 and not any(place.key + ".json" in f for f in files):
                        raise UserError("the worker has other data or other code than this machine")
                    for name in sorted(files, key=lambda name: name.endswith(".json")):
                        home = models_root(root).parent if name.startswith("models/") else root
                        write_atomically((home or results_root()) / name, files[name])
            except Busy:
                return None
            except Exception as error:
                code, said = 1, f"{type(error).__name__}: {error}".splitlines()[0]
                place.fail(said)
            if code >= 0:
                break
        if stopped.is_set() or place.found():
            place.note.unlink(missing_ok=True)
        elif code != Busy.exit_code:
            return f"{place.name}: {said}"
        return None

    with ThreadPoolExecutor(AT_ONCE if executor else workers, initializer=pin) as pool:
        try:
            jobs = [pool.submit(perform, place) for place in todo.values()]
            ended = tqdm(as_completed(jobs), total=len(jobs), desc="runs", disable=None)
            return [failure for job in ended if (failure := job.result())]
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise


def status(configs: Iterable[RunConfig], *, workers: int = 1, root: Path | None = None) -> str:
    """How many runs are done, running, failed and left; how long it may take; why some failed."""
    counts, notes, seconds = dict.fromkeys(("done", "running", "failed", "left"), 0), [], 0.0
    records = [read_record(path) for path in (root or results_root()).glob("*/*.json")]
    for place in {place.key: place for place in (Place(c, root) for c in configs)}.values():
        if place.found():
            counts["done"] += 1
            continue
        state = "left"
        try:
            with place.claim() if place.folder.exists() else nullcontext():
                if place.note.exists():
                    state = "failed"
                    notes.append(f"{place.name}: {read_record(place.note)['reason']}")
        except Busy:
            state = "running"
        counts[state] += 1
        config = place.config.describe()  # the time is that of others in activation and seed
        same = {name: config[name] for name in ("activation", "seed")}
        like = [record for record in records if record["config"] | same == config]
        own = [r for r in like if r["config"]["activation"] == config["activation"]] or like
        times = [record["timing"]["total_seconds"] for record in own]
        seconds += statistics.median(times) if times else math.nan
    text = ", ".join(f"{number} {state}" for state, number in counts.items())
    if seconds > 0:
        text += f"; about {timedelta(seconds=round(seconds / workers))} to go"
    return "\n".join([text, *notes])
