"""Benchmarks: contestants timed in turns, each in a process of its backend, and their records.

Each module beside this one that can be run has `PROCESSES`, names with the environment variables of
each; `contestants(process)`, functions by name and facts about them; and `ROUNDS`, how often each
is timed, `REPEATS`, how often the processes begin anew.  All processes of a repeat live side by
side and work one at a time, so that a slow minute of the machine falls on every contestant.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sgblend_utils.bench import bench_path
from sgblend_utils.data import project_root
from sgblend_utils.errors import UserError
from sgblend_utils.runs import write_record

PAUSE = 0.2  # seconds: threads that another process has left spinning come to rest
ABSENT = "absent"  # instead of facts, with the reason
ROOT = str(Path(__file__).parents[1])


def module_named(name: str, folder: str | Path) -> Any:
    path = Path(folder, "benchmarks", f"{name}.py")
    spec: Any = importlib.util.spec_from_file_location(f"benchmarks.{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(name: str, folder: str, process: str) -> None:
    """Time what standard input names, a line each; the first line out are the facts, the rest JSON.

    Answers go where standard output was; whatever else is printed goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers)

    began = time.perf_counter()
    try:
        functions, facts = module_named(name, folder).contestants(process)
    except (ImportError, UserError) as error:
        return answer(**{ABSENT: str(error)})
    first = {}
    for contestant, function in functions.items():
        started = time.perf_counter()
        function()
        first[contestant] = round(time.perf_counter() - started, 3)
    ready = round(time.perf_counter() - began - sum(first.values()), 3)
    from sgblend_utils.tasks.train import environment, git_commit  # with Keras, if it is installed

    about = {**environment(), "git_commit": git_commit(), "facts": facts}
    answer(contestants=[*functions], ready=ready, first=first, **about)
    for line in sys.stdin:
        started = time.perf_counter()
        details = functions[line.strip()]()
        seconds = round(time.perf_counter() - started, 6)
        answer(seconds=seconds, **(details if isinstance(details, dict) else {}))
    return None


class Process:
    """A process that serves contestants; None in place of its answer if it cannot."""

    def __init__(self, words: list[str], variables: dict[str, str]):
        code = "import sys; sys.path.insert(0, sys.argv[1])\n"
        if "KERAS_BACKEND" in variables:  # begins as `sgblend run` does
            code += "from sgblend_utils.memory import keep_memory; keep_memory()\n"
        code += "from benchmarks import engine; engine.serve(*sys.argv[2:])"
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
        self.said: Any = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read if it fails
        self.process: Any = subprocess.Popen(
            [sys.executable, "-c", code, ROOT, *words],
            env=os.environ | quiet | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
        )
        self.about = self.read()

    def read(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            self.said.seek(0)
            raise UserError(f"A process of the benchmark has ended.\n{self.said.read()[-2000:]}")
        return json.loads(line)

    def time(self, contestant: str) -> dict[str, Any]:
        self.process.stdin.write(f"{contestant}\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def take_turns(alive: dict[str, Process], rounds: int, where: str, say: Any) -> Iterator[Any]:
    """Label and answer of each turn: all contestants forwards, then backwards."""
    order = [(p, c) for p, one in alive.items() for c in one.about["contestants"]]
    for i in range(rounds):
        last = None
        for process, contestant in order if i % 2 == 0 else order[::-1]:
            time.sleep(PAUSE if process != last else 0)
            last = process
            yield f"{process}: {contestant}", alive[process].time(contestant)
        say(f"{where}, round {i + 1} of {rounds}")


def run(name: str, say: Any = lambda text: None, folder: Path | None = None) -> Path:
    """Perform a benchmark and write its record; a UserError if none of its processes can work."""
    folder = folder or project_root()
    module, began = module_named(name, folder), os.getloadavg()
    seconds: dict[str, list[list[float]]] = {}
    details: dict[str, list[Any]] = {}
    processes: dict[str, Any] = {}
    for repeat in range(module.REPEATS):
        alive = {}
        try:
            for process, variables in module.PROCESSES.items():
                alive[process] = one = Process([name, str(folder), process], variables)
                if ABSENT in one.about:
                    say(f"{process}: left out ({one.about[ABSENT]})")
                    alive.pop(process).close()
                    continue
                starts = {key: one.about.pop(key) for key in ("ready", "first", "peak_rss_bytes")}
                kept = processes.setdefault(process, {**one.about, "starts": []})
                kept["starts"].append(starts)
                say(f"repeat {repeat + 1}, {process}: ready")
            if not alive:
                raise UserError(f"Nothing of the benchmark {name} can be run here.")
            turns: dict[str, list[float]] = {}
            for label, found in take_turns(alive, module.ROUNDS, f"repeat {repeat + 1}", say):
                turns.setdefault(label, []).append(found.pop("seconds"))
                if found:
                    details.setdefault(label, []).append(found)
            for label, values in turns.items():
                seconds.setdefault(label, []).append(values)
        finally:
            for one in alive.values():
                one.close()
    record: dict[str, Any] = {"bench": name}
    record |= {"created": datetime.now(UTC).isoformat(timespec="seconds")}
    record["load_average"] = [round(load, 2) for load in (*began[:1], *os.getloadavg()[:1])]
    record |= {"processes": processes, "seconds": seconds, "details": details}
    getattr(module, "finish", lambda record: None)(record)
    pairs = [(label, *label.split(": ")) for label in seconds]
    record["references"] = {label: module.reference(*parts) for label, *parts in pairs}
    write_record(record, path := bench_path(name, folder))
    return path
