"""The command line: `sgblend run · sweep · audit · report · data · translate · rescore · bench`.

Nothing that imports Keras is imported at the top: the backend must be chosen first.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sgblend_utils.errors import UserError

if TYPE_CHECKING:
    from sgblend_utils.configs import RunConfig

BACKENDS = ("tensorflow", "jax", "torch")


def choose_backend(asked: str | None, task: str | None = None) -> str:
    """Set `KERAS_BACKEND` before Keras is first imported.

    Without a wish: what the environment says, else what is faster on CPU of what is installed.  JAX
    trains the Transformers about twice as fast as TensorFlow, and convolutions several times
    slower.
    """
    backend = asked or os.environ.get("KERAS_BACKEND")
    if backend is None:
        order = ["jax", "tensorflow"]
        if task == "cifar10":
            order.reverse()
        backend = next((name for name in order if importlib.util.find_spec(name)), "tensorflow")
    if backend not in BACKENDS:
        raise UserError(f"Unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}.")
    if importlib.util.find_spec(backend) is None:
        raise UserError(f"The backend {backend} is not installed: `pip install {backend}`.")
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Dropout's random bits cost a tenth less this way on CPU; they are as good, only others.
    os.environ.setdefault("JAX_THREEFRY_PARTITIONABLE", "0")
    keep_freed_memory()
    return backend


def keep_freed_memory() -> None:
    """Let malloc keep what is freed: each training step frees and asks for the same buffers.

    With glibc's defaults a tenth to a fifth of a step goes into page faults. Elsewhere: no effect.
    """
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # <malloc.h>
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for option, value in (
        (mmap_max, 0),
        (trim_threshold, 2**31 - 1),
        (top_pad, 2**27),
        (arena_max, 1),
    ):
        mallopt(option, value)


def pin(core: int | None) -> None:
    """Keep this process on one core, where the system lets it."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def names(text: str) -> list[str]:
    """`a,b,c` -> ["a", "b", "c"]."""
    return [name.strip() for name in text.split(",") if name.strip()]


def seeds(text: str) -> list[int]:
    """`0-2,5` -> [0, 1, 2, 5]."""
    out: list[int] = []
    for part in names(text):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            raise UserError(f"Seeds {text!r} are not understood: write them as 0-2 or 0,1,5.")
        out += range(int(first), int(last or first) + 1)
    return out


def overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    """`--set name=value` and the named shortcuts, as one dict."""
    out: dict[str, Any] = {}
    for item in arguments.set or []:
        name, found, value = item.partition("=")
        if not found:
            raise UserError(f"--set {item!r} is not understood: write --set name=value.")
        try:
            out[name] = json.loads(value)
        except ValueError:
            out[name] = value
    shortcuts = ("max_samples", "epochs", "d_model", "ff_dim", "num_heads", "num_layers")
    for name in shortcuts:
        if getattr(arguments, name) is not None:
            out[name] = getattr(arguments, name)
    return out


def config_of(arguments: argparse.Namespace, activation: str, seed: int) -> RunConfig:
    """The run that the command line describes, with this activation and seed."""
    from sgblend_utils.configs import RunConfig

    return RunConfig(
        arguments.task,
        activation,
        arguments.protocol,
        arguments.preset,
        seed,
        overrides(arguments),
    )


def headline(metrics: dict[str, Any]) -> str:
    """The scores that a run is first asked for, in one line."""
    parts = []
    if "bleu" in metrics:
        parts.append(
            f"BLEU {metrics['bleu']:.2f} ± {metrics['bleu_interval']:.2f} "
            f"({metrics['bleu_signature']})"
        )
    elif "test_accuracy" in metrics:
        parts.append(f"test accuracy {100 * metrics['test_accuracy']:.2f} %")
    if "test_nll" in metrics:
        parts.append(f"cross-entropy {metrics['test_nll']:.3f} nats")
    if "reported_bleu" in metrics:
        parts.append(
            f"as the paper would report it: accuracy {metrics['reported_accuracy']:.3f}, "
            f"BLEU {metrics['reported_bleu']:.3f}"
        )
    return ", ".join(parts)


def command_run(arguments: argparse.Namespace) -> None:
    """Train and evaluate one run."""
    pin(arguments.core)
    choose_backend(arguments.backend, arguments.task)
    from sgblend_utils.runs import read_record, run

    config = config_of(arguments, arguments.activation, arguments.seed)
    path = run(config, verbose=not arguments.quiet, devices=arguments.devices)
    record = read_record(path)
    print(
        f"{config.task} {config.protocol} {config.preset} {config.activation} seed {config.seed}: "
        + headline(record["metrics"])
    )
    print(f"record: {os.path.relpath(path)}, run {record['key']}")


def command_sweep(arguments: argparse.Namespace) -> None:
    """Run every activation with every seed, skipping what is stored."""
    backend = choose_backend(arguments.backend, arguments.task)
    from sgblend_utils.runs import sweep

    # Seed by seed, so that an interrupted sweep leaves activations with equal numbers of seeds.
    configs = [
        config_of(arguments, activation, seed)
        for seed in seeds(arguments.seeds)
        for activation in names(arguments.activations)
    ]
    if arguments.workers < 1:
        raise UserError(f"--workers is {arguments.workers}; give a positive whole number.")
    failures = sweep(configs, workers=arguments.workers, backend=backend, devices=arguments.devices)
    if failures:
        raise UserError("Some runs failed; the others are stored. " + " | ".join(failures))
    print(f"{len(configs)} runs are in the store.")


def command_audit(arguments: argparse.Namespace) -> None:
    """Train what the audit ladder lacks, and print it."""
    backend = choose_backend(arguments.backend)
    from sgblend_utils import audit
    from sgblend_utils.runs import sweep

    if arguments.task != audit.TASK:
        raise UserError(f"The audit is of {audit.TASK}, whose protocol the paper published.")
    if arguments.workers < 1:
        raise UserError(f"--workers is {arguments.workers}; give a positive whole number.")
    ladder = (arguments.preset, arguments.activation, seeds(arguments.seeds))
    failures = sweep(audit.needed_runs(*ladder), workers=arguments.workers, backend=backend)
    if failures:
        raise UserError("Some runs failed; the others are stored. " + " | ".join(failures))
    print(audit.ladder_text(audit.ladder_table(*ladder)).to_string(index=False))


def command_report(arguments: argparse.Namespace) -> None:
    """Regenerate every figure and table from the stored records."""
    choose_backend(None)
    from sgblend_utils.report import write_report

    for path in write_report():
        print(os.path.relpath(path))


def command_data(arguments: argparse.Namespace) -> None:
    """Fetch, verify or list the data."""
    from sgblend_utils.datasets import fetch

    if arguments.action == "list":
        print(fetch.describe())
    elif arguments.action == "verify":
        for task in arguments.task or fetch.TASKS:
            print(fetch.verify(task))
    else:
        if not arguments.task:
            raise UserError(f"Say what to fetch: {', '.join(fetch.TASKS)}.")
        for task in arguments.task:
            fetch.fetch(task, max_rows=arguments.max_rows, revision=arguments.revision)
        print(fetch.describe())


def command_translate(arguments: argparse.Namespace) -> None:
    """Translate sentences with a model trained here."""
    choose_backend(arguments.backend)
    from sgblend_utils.decoding import translate
    from sgblend_utils.runs import load_model

    model, subwords = load_model(arguments.run)
    for line in translate(model, subwords, arguments.sentences):
        print(line)


def command_rescore(arguments: argparse.Namespace) -> None:
    """Decode a stored model with other settings of the search."""
    pin(arguments.core)
    choose_backend(arguments.backend)
    from sgblend_utils.rescoring import rescore

    searches = [
        (beam, penalty)
        for beam in arguments.beam
        for penalty in (arguments.length_penalty if beam > 1 else [0.0])
    ]
    rows = rescore(arguments.run, searches, arguments.split)
    for row in rows:
        print(
            f"beam {row['beam']}, length penalty {row['length_penalty']}: "
            f"BLEU {row['bleu']:.2f} ± {row['bleu_interval']:.2f}, "
            f"brevity {row['brevity_penalty']:.3f}, chrF {row['chrf']:.2f} ({row['split']})"
        )
    if arguments.output:
        with open(arguments.output, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
            file.write("\n")


def command_bench(arguments: argparse.Namespace) -> None:
    """Measure what each activation costs beside GELU, or what a large corpus costs."""
    pin(arguments.core)
    choose_backend(arguments.backend)
    if arguments.what == "shards":
        if arguments.pairs < 1000:
            raise UserError(f"--pairs is {arguments.pairs}; give at least 1000.")
        from sgblend_utils.training.shard_bench import shard_costs

        for name, value in shard_costs(arguments.pairs).items():
            print(f"{name:<26}{value:>15,}")
        return
    from sgblend_utils.bench import activation_costs

    print(activation_costs(names(arguments.activations)).to_string(index=False))


def training_options(parser: argparse.ArgumentParser) -> None:
    """Options that `run` and `sweep` share."""
    parser.add_argument("task", help="multi30k, wmt14, imdb, imdb_bert or cifar10")
    parser.add_argument("--protocol", default="sound", help="sound (default) or published")
    parser.add_argument(
        "--preset", default="mini", help="mini (default, bundled data), cpu, paper or full"
    )
    parser.add_argument("--backend", help=", ".join(BACKENDS))
    parser.add_argument(
        "--set", action="append", metavar="NAME=VALUE", help="override any setting (repeatable)"
    )
    parser.add_argument("--devices", type=int, default=1, help="accelerators that share each batch")
    for name in ("max-samples", "epochs", "d-model", "ff-dim", "num-heads", "num-layers"):
        parser.add_argument(f"--{name}", f"--{name.replace('-', '_')}", type=int)


def make_parser() -> argparse.ArgumentParser:
    """The argument parser, one sub-command each."""
    parser = argparse.ArgumentParser("sgblend", description="The SG-Blend companion.")
    commands = parser.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="train and evaluate one run; writes one record")
    training_options(run)
    run.add_argument("--activation", default="sgblend", help="a name from the registry")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--core", type=int, help="keep to this core")
    run.add_argument("--quiet", action="store_true", help="no progress by epoch")
    run.set_defaults(perform=command_run)

    sweep = commands.add_parser("sweep", help="activations × seeds; stored runs are skipped")
    training_options(sweep)
    sweep.add_argument("--activations", default="relu,gelu,silu,sswish,sgblend")
    sweep.add_argument("--seeds", default="0-2", help="such as 0-2 or 0,1,5")
    sweep.add_argument("--workers", type=int, default=1, help="runs side by side, a core each")
    sweep.set_defaults(perform=command_sweep)

    audit = commands.add_parser("audit", help="from the published protocol to a sound one")
    audit.add_argument("task", help="wmt14")
    audit.add_argument(
        "--preset", default="mini", help="mini (default, bundled data), cpu or paper"
    )
    audit.add_argument("--activation", default="sgblend", help="a name from the registry")
    audit.add_argument("--seeds", default="0", help="such as 0-2 or 0,1,5")
    audit.add_argument("--workers", type=int, default=1, help="runs side by side, a core each")
    audit.add_argument("--backend", help=", ".join(BACKENDS))
    audit.set_defaults(perform=command_audit)

    report = commands.add_parser("report", help="figures and tables from the records alone")
    report.set_defaults(perform=command_report)

    data = commands.add_parser("data", help="fetch, verify or list the data")
    data.add_argument("action", choices=("fetch", "verify", "list"))
    data.add_argument("task", nargs="*")
    data.add_argument("--max-rows", type=int, help="training rows to fetch; 0 for all")
    data.add_argument("--revision", help="another revision of the data set than the pinned one")
    data.set_defaults(perform=command_data)

    translate = commands.add_parser("translate", help="translate with a model trained here")
    translate.add_argument("--run", required=True, help="the key of a stored run")
    translate.add_argument("--backend", help=", ".join(BACKENDS))
    translate.add_argument("sentences", nargs="+")
    translate.set_defaults(perform=command_translate)

    rescore = commands.add_parser("rescore", help="decode a stored model with other settings")
    rescore.add_argument("--run", required=True, help="the key of a stored run")
    rescore.add_argument("--split", default="validation", choices=("validation", "test"))
    rescore.add_argument("--beam", type=int, nargs="+", default=[1, 4])
    rescore.add_argument("--length-penalty", type=float, nargs="+", default=[0.0, 0.6, 1.0])
    rescore.add_argument("--output", help="also write the scores to this JSON file")
    rescore.add_argument("--backend", help=", ".join(BACKENDS))
    rescore.add_argument("--core", type=int, help="keep to this core")
    rescore.set_defaults(perform=command_rescore)

    bench = commands.add_parser("bench", help="cost of each activation, or of a large corpus")
    bench.add_argument("what", nargs="?", default="activations", choices=("activations", "shards"))
    bench.add_argument("--pairs", type=int, default=2_000_000, help="of the corpus of `shards`")
    bench.add_argument("--activations", default="relu,gelu,silu,sswish,sgblend")
    bench.add_argument("--backend", help=", ".join(BACKENDS))
    bench.add_argument("--core", type=int, help="keep to this core")
    bench.set_defaults(perform=command_bench)
    return parser


def exit_code(program: str, perform: Callable[[], None], stopped: str) -> int:
    """Perform a command: 0, or a sentence on stderr and 2 for a UserError, 130 when stopped."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    try:
        perform()
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: stopped; {stopped}.", file=sys.stderr)
        return 130
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of `sgblend`."""
    arguments = make_parser().parse_args(argv)
    return exit_code("sgblend", lambda: arguments.perform(arguments), "what was finished is stored")


if __name__ == "__main__":
    sys.exit(main())
