"""The command line: `sgblend run · sweep · audit · report · data · translate · bench`.

What takes long is imported by the commands that need it, and Keras after its backend was chosen.
"""

import argparse
import importlib.util
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

from sgblend_utils.errors import UserError
from sgblend_utils.memory import keep_memory


def seeds(text: str) -> list[int]:
    """`0-2,5` -> [0, 1, 2, 5]."""
    spans = [re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part) for part in text.split(",")]
    ranges = [range(int(s[1]), int(s[2] or s[1]) + 1) if s else () for s in spans]
    if not all(ranges):
        raise UserError(f"Seeds {text!r} are not understood: write 0-2 or 0,1,5.")
    return [seed for span in ranges for seed in span]


CONNECT = 5  # seconds that a cluster has to answer
SHORTCUTS = ("max_samples", "epochs", "d_model", "ff_dim", "num_heads", "num_layers")
OPTIONS: dict[str, dict[str, Any]] = {
    "task": {"help": "multi30k, wmt14, imdb, imdb_bert, cifar10 …"},
    "benchmark": {"choices": ("activation", "step", "step_again", "step_gpu", "train", "decode")},
    "action": {"choices": ("fetch", "verify", "list")},
    "name": {"nargs": "*", "help": "multi30k, wmt14, imdb or cifar10"},
    "sentences": {"nargs": "+"},
    "--activation": {"default": "sgblend", "help": "as gelu or 'sgblend(alpha_bounds=[0,1])'"},
    "--activations": {"default": "relu,gelu,silu,sswish,sgblend", "help": "with commas between"},
    "--backend": {"help": "of Keras: tensorflow, jax or torch"},
    "--compare": {"action": "store_true", "help": "with GELU's translation beside it"},
    "--devices": {"type": int, "default": 1, "help": "accelerators that share each batch"},
    "--executor": {"metavar": "dask://HOST:PORT", "help": "where to run instead of here"},
    "--max-rows": {"type": int, "help": "training rows to fetch; 0 for all"},
    "--preset": {"default": "mini", "help": "mini (default, bundled data), cpu, paper or full"},
    "--protocol": {"default": "sound", "help": "sound (default) or published"},
    "--quiet": {"action": "store_true", "help": "no progress by epoch"},
    "--revision": {"help": "another revision of the data set than the pinned one"},
    "--run": {"default": "multi30k_sgblend", "help": "key of a run, or a name in data/models"},
    "--seed": {"type": int, "default": 0},
    "--seeds": {"type": seeds, "default": "0-2", "help": "such as 0-2 or 0,1,5"},
    "--set": {"action": "append", "default": [], "metavar": "NAME=VALUE", "help": "a setting"},
    "--status": {"action": "store_true", "help": "say how far it is and how long it will take"},
    "--workers": {"type": int, "default": 1, "help": "runs side by side, a core each"},
}
TRAINED = "task --protocol --preset --backend --set --devices"
SPREAD = "--seeds --workers --executor --status"
HEADLINES = {
    "bleu": "BLEU {bleu:.2f} ± {bleu_interval:.2f} ({bleu_signature})",
    "test_nll": "accuracy {test_accuracy:.2%}, cross-entropy {test_nll:.3f} nats",
    "reported_bleu": "as published: BLEU {reported_bleu:.3f}, accuracy {reported_accuracy:.3f}",
}
COMMANDS = {
    "run": ("train and evaluate one run", f"{TRAINED} --activation --seed --quiet"),
    "sweep": ("activations × seeds; stored runs are skipped", f"{TRAINED} --activations {SPREAD}"),
    "audit": ("from the published protocol to a sound one, step by step",
              f"task --preset --activation --devices {SPREAD}"),
    "report": ("figures and tables from the records alone", ""),
    "data": ("fetch, verify or list the data", "action name --max-rows --revision"),
    "translate": ("English to German, with a stored model", "sentences --run --compare --backend"),
    "bench": ("time activations, steps, training or decoding", "benchmark"),
}  # fmt: skip


def add_options(parser: argparse.ArgumentParser, options: str) -> None:
    for option in options.split():
        parser.add_argument(option, **OPTIONS[option])
    for short in SHORTCUTS if "--set" in options else ():
        write = f"{short}={{}}".format  # as --set has it
        names = sorted({f"--{short}", f"--{short.replace('_', '-')}"})  # which mean the same
        parser.add_argument(*names, dest="set", action="append", type=write, metavar="N")


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("sgblend", description="The SG-Blend companion.")
    parser.set_defaults(perform=command)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    for name, (about, options) in COMMANDS.items():
        add_options(commands.add_parser(name, help=about), options)
    commands.choices["audit"].set_defaults(seeds=[0])
    return parser


def choose_backend(asked: str | None, task: str | None = None) -> str:
    """Set `KERAS_BACKEND` before Keras is first imported.

    Without a wish: what the environment says, else the task's own, else what is installed.
    """
    from sgblend_utils.config import BACKENDS, choose
    from sgblend_utils.tasks import task_named

    order = (task_named(task).default_backend, *BACKENDS) if task else BACKENDS
    installed = (name for name in order if importlib.util.find_spec(name))
    backend = asked or os.environ.get("KERAS_BACKEND") or next(installed, order[0])
    if importlib.util.find_spec(choose("backend", backend, BACKENDS)) is None:
        raise UserError(f"The backend {backend} is not installed: `pip install {backend}`.")
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    return backend


def config_of(arguments: argparse.Namespace, activation: str, seed: int) -> Any:
    """The `RunConfig` that the command line describes, with this activation and seed."""
    from sgblend_utils.config import RunConfig

    overrides: dict[str, Any] = {}
    for name, found, value in (item.partition("=") for item in arguments.set):
        if not found:
            raise UserError(f"--set {name!r} is not understood: write --set name=value.")
        overrides[name] = value
        with suppress(ValueError):  # what is not JSON is a word
            overrides[name] = json.loads(value)
    named = (arguments.task, activation, arguments.protocol, arguments.preset, seed)
    return RunConfig(*named, overrides, arguments.backend)


def end_with(parent: int) -> None:
    """End this process when the one that `runs.work` is in is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def cluster(address: str) -> Any:
    """The client of the Dask cluster at `dask://host:port`."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        from distributed import Client

        return Client(re.sub("^dask:", "tcp:", address), timeout=CONNECT)
    except (ImportError, OSError, ValueError) as error:
        raise UserError(
            f"There is no cluster at {address!r} ({error}): `pip install distributed`, start "
            "`dask scheduler`, and give its address as --executor dask://host:port."
        ) from None


def sweep(arguments: argparse.Namespace, configs: Sequence[Any]) -> None:
    """Run what is missing, unless it was asked only how far that is, and say how far it is."""
    from sgblend_utils import runs

    if (workers := arguments.workers) < 1:
        raise UserError(f"--workers is {workers}; give a positive whole number.")
    if not arguments.status:
        with cluster(arguments.executor) if arguments.executor else nullcontext() as client:
            options = {"executor": client and client.get_executor(pure=False), "workers": workers}
            failed = runs.sweep(configs, devices=arguments.devices, **options)
        if failed:
            raise UserError("Some runs failed; the others are stored. " + " | ".join(failed))
    print(runs.status(configs, workers=workers))


def command(arguments: argparse.Namespace) -> None:
    from sgblend_utils import config, runs, tasks, zoo

    match arguments.command:
        case "run":
            if parent := os.environ.pop("SGBLEND_PARENT", ""):
                threading.Thread(target=end_with, args=[int(parent)], daemon=True).start()
            one = config_of(arguments, arguments.activation, arguments.seed)
            path = runs.run(one, verbose=not arguments.quiet, devices=arguments.devices)
            scores = (record := runs.read_record(path))["metrics"]
            said = [text.format(**scores) for name, text in HEADLINES.items() if name in scores]
            print(f"{'; '.join(said)}\nrecord: {os.path.relpath(path)}, run {record['key']}")
        case "sweep":
            # Seed by seed: an interrupted sweep leaves activations with equal numbers of seeds.
            names = zoo.split_list(arguments.activations)
            sweep(arguments, [config_of(arguments, n, s) for s in arguments.seeds for n in names])
        case "audit":
            from sgblend_utils.report import audit

            zoo.choose("task with an audit", arguments.task, audit.TRANSLATION)
            seeds = tuple(arguments.seeds)
            one = audit.Audit(arguments.task, arguments.preset, arguments.activation, seeds)
            sweep(arguments, one.runs())
            if not arguments.status:
                print(audit.audit_text(one.table()).to_string(index=False))
        case "report":
            from sgblend_utils.report import write_report

            print(*map(os.path.relpath, write_report()), sep="\n")
        case "data":
            from sgblend_utils.data import source

            sources = {task.source.name: task.source for task in tasks.registry().values()}
            if arguments.action == "fetch" and not arguments.name:
                raise UserError(f"Say what to fetch: {', '.join(sources)}.")
            names = [config.choose("data set", name, sources) for name in arguments.name]
            for each in (chosen := [sources[name] for name in names or sources]):
                if arguments.action == "fetch":
                    source.fetch(each, max_rows=arguments.max_rows, revision=arguments.revision)
                elif arguments.action == "verify":
                    source.verify(each, each.splits)
            print(source.describe(chosen))
        case "translate":
            names = [arguments.run, *["multi30k_gelu"] * arguments.compare]
            models = [runs.load_model(name) for name in names]
            from sgblend_utils.decoding import translate

            columns = [translate(*model, arguments.sentences) for model in models]
            for lines in zip(*columns, strict=True):
                for name, line in zip(names, lines, strict=True):
                    print(f"{name:<17} {line}" if arguments.compare else line)
        case "bench":
            from sgblend_utils import bench

            path = bench.engine().run(arguments.benchmark, say=partial(print, file=sys.stderr))
            table = bench.summary(bench.load(arguments.benchmark)).drop(columns="repeats")
            print(table.round(4).to_string(index=False, na_rep=""))
            print(f"record: {os.path.relpath(path)}")


def main(argv: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Exit code of a command: 0, 2 and a sentence on stderr for a UserError, 130 when stopped."""
    keep_memory()
    parser = parser or make_parser()
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        arguments = parser.parse_args(argv)
        if "backend" in arguments:
            arguments.backend = choose_backend(arguments.backend, getattr(arguments, "task", None))
        arguments.perform(arguments)
    except UserError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except ModuleNotFoundError as error:  # of a light install
        said = f"{error.name} is not installed: run `pip install '.[experiments]'` in the checkout."
        print(f"{parser.prog}: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
