r"""The paper's command line: its seven options with its defaults, and its table at the end.

    python -m sgblend_utils.run_experiment --max_samples 50000 --epochs 10 --batch_size 64 \
        --d_model 128 --ff_dim 256

A batch has `batch_size` sentences of the longest length, and more where they are shorter.
"""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from sgblend_utils import cli
from sgblend_utils.config import RunConfig
from sgblend_utils.errors import UserError

PAPER = "max_samples=50000 epochs=10 d_model=64 ff_dim=128 num_heads=2 num_layers=2"
SCORES = {"sound": ("test_accuracy", "bleu"), "published": ("reported_accuracy", "reported_bleu")}


def make_parser() -> argparse.ArgumentParser:
    about = f"The paper's WMT14 experiment: {PAPER} unless others are given."
    parser = argparse.ArgumentParser("run_experiment", description=about)
    cli.add_options(parser, "--activations --protocol --preset --seeds --backend --set")
    parser.add_argument("--batch-size", "--batch_size", type=int, default=64, help="default 64")
    parser.add_argument("--output", type=Path, help="folder for the records")
    parser.set_defaults(activations="sgblend,sswish,silu,gelu,relu", preset="paper")
    parser.set_defaults(task="wmt14", set=PAPER.split(), perform=experiment)
    return parser


def config_of(arguments: argparse.Namespace, activation: str, seed: int) -> RunConfig:
    """The run that the options describe: the preset with the paper's seven options over it."""
    if (rows := arguments.batch_size) < 1:
        raise UserError(f"batch_size is {rows}; give a positive whole number.")
    config = cli.config_of(arguments, activation, seed)
    tokens = {"tokens_per_batch": rows * config.settings.bucket_boundaries[-1]}
    return replace(config, overrides=tokens | config.overrides)


def experiment(arguments: argparse.Namespace) -> None:
    """Run every activation with every seed, the first run alone: what stops it stops them all."""
    from sgblend_utils import runs, zoo
    from sgblend_utils.report import note
    from sgblend_utils.report.experiments import BY_NAME, Experiment, in_units
    from sgblend_utils.report.tables import results_text, to_markdown

    names, root = zoo.split_list(arguments.activations), arguments.output
    configs = [config_of(arguments, name, seed) for seed in arguments.seeds for name in names]
    if failures := runs.sweep(configs[:1], root=root) or runs.sweep(configs[1:], root=root):
        raise UserError(f"{failures[0]}; {len(failures)} failed, the others are stored.")
    keys, records = {config.key() for config in configs}, runs.load_records(root)
    if records.empty or len(frame := records[records["key"].isin(keys)]) < len(keys):
        raise UserError("Another process performs some of these runs: try again when it is done.")
    frame = frame.assign(dead_share=frame.get("reported_dead_share", frame["dead_share"]))
    chosen = (arguments.task, arguments.protocol, arguments.preset, arguments.backend)
    table = Experiment(*chosen, {}, "", in_units(frame))
    metrics = [*SCORES[arguments.protocol], "dead_share", "epoch_seconds_median"]
    text = to_markdown(results_text(table, [BY_NAME[name] for name in metrics]))
    print(f"{text}\n\n{note(table)}\nRecords: {os.path.relpath(root or runs.results_root())}")


if __name__ == "__main__":
    sys.exit(cli.main(parser=make_parser()))
