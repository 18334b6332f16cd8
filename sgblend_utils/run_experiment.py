r"""The paper's command line: its seven options with its defaults, and its table at the end.

    python -m sgblend_utils.run_experiment --max_samples 50000 --epochs 10 --batch_size 64 \
        --d_model 128 --ff_dim 256

An option may be written with hyphens as well.  What the paper's script cannot say has options of
its own: the protocol, the activations, the seeds, the preset and where records go.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sgblend_utils.cli import BACKENDS, choose_backend, exit_code, names, seeds
from sgblend_utils.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from sgblend_utils.configs import RunConfig

TASK = "wmt14"
PAPER_OPTIONS = {
    "max_samples": 50_000,
    "epochs": 10,
    "batch_size": 64,
    "d_model": 64,
    "ff_dim": 128,
    "num_heads": 2,
    "num_layers": 2,
}
HELP = {
    "max_samples": "training pairs",
    "epochs": "times through them",
    "batch_size": "sentences a batch; in the sound protocol that many of the longest, see below",
    "d_model": "width of the Transformer",
    "ff_dim": "width of its feed-forward layers, where the activation is",
    "num_heads": "attention heads",
    "num_layers": "layers on each side",
}
EPILOG = (
    "The sound protocol counts a batch in padded positions, the same for short and long sentences: "
    "--batch_size is multiplied by the longest length a sentence may have."
)


class Column(NamedTuple):
    """A column of the paper's table: the record's value, the heading, factor and digits."""

    metric: str
    label: str
    scale: float
    digits: int


TIME = Column("epoch_seconds_median", "time/epoch (s)", 1, 1)
COLUMNS = {
    "sound": (
        Column("test_accuracy", "accuracy", 1, 4),
        Column("bleu", "BLEU (0–100)", 1, 2),
        Column("dead_share", "dead neurons (%)", 100, 2),
        TIME,
    ),
    "published": (
        Column("reported_accuracy", "accuracy", 1, 4),
        Column("reported_bleu", "BLEU (0–1)", 1, 4),
        Column("reported_dead_share", "dead neurons (%)", 100, 2),
        TIME,
    ),
}
MEANING = {
    "sound": "On the test set: accuracy of the next subword given the gold ones before it; "
    "sacreBLEU of free translations; units that never exceed 0.001 on the validation set.",
    "published": "As the paper's code reports them, on the tail of the training text: accuracy and "
    "BLEU with the gold words visible to the decoder. They are no measure of translation.",
}


def make_parser() -> argparse.ArgumentParser:
    """The paper's options, then ours."""
    parser = argparse.ArgumentParser(
        "run_experiment", description="The paper's WMT14 experiment.", epilog=EPILOG
    )
    for name, default in PAPER_OPTIONS.items():
        spellings = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        text = f"{HELP[name]} (default {default})"
        parser.add_argument(*spellings, type=int, default=default, help=text)
    parser.add_argument("--activations", default="sgblend,sswish,silu,gelu,relu")
    parser.add_argument("--protocol", default="sound", help="sound (default) or published")
    parser.add_argument("--preset", default="paper", help="paper (default), cpu or mini")
    parser.add_argument("--seeds", default="0-2", help="such as 0-2 (default) or 0,1,5")
    parser.add_argument("--output", type=Path, help="folder for the records")
    parser.add_argument("--backend", help=", ".join(BACKENDS))
    return parser


def config_of(arguments: argparse.Namespace, activation: str, seed: int) -> RunConfig:
    """The run that the options describe: the preset with the paper's seven options laid over it."""
    from sgblend_utils.configs import RunConfig, check_setting

    overrides = {name: getattr(arguments, name) for name in PAPER_OPTIONS}
    chosen = (TASK, activation, arguments.protocol, arguments.preset, seed)
    settings = RunConfig(*chosen).preset_settings
    if "batch_size" not in settings:
        batch_size = overrides.pop("batch_size")
        check_setting(TASK, "batch_size", batch_size)
        overrides["tokens"] = batch_size * settings["widths"][-1]
    return RunConfig(*chosen, overrides)


def perform(configs: Sequence[RunConfig], backend: str, root: Path | None) -> None:
    """Perform the runs that are not stored; the first alone, for what stops it stops them all."""
    from sgblend_utils.runs import sweep

    for part in (configs[:1], configs[1:]):
        failures = sweep(part, backend=backend, root=root)
        if failures:
            raise UserError(
                f"{len(failures)} of {len(part)} runs failed, the others are stored; "
                + failures[0].replace(": sgblend: ", ": ")
            )


def collect(configs: Sequence[RunConfig], root: Path | None) -> pd.DataFrame:
    """The stored runs, a row each: `activation`, `seed` and the columns of the paper's table."""
    import pandas as pd

    from sgblend_utils.runs import read_record, record_path, run_key

    rows: list[dict[str, Any]] = []
    for config in configs:
        record = read_record(record_path(config, run_key(config), root))
        values = record["metrics"] | record["timing"]
        row: dict[str, Any] = {"activation": config.activation, "seed": config.seed}
        for column in COLUMNS[config.protocol]:
            row[column.metric] = column.scale * values[column.metric]
        rows.append(row)
    return pd.DataFrame(rows)


def paper_table(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """The paper's table as text, a row per activation: mean ± half of the 95 % t interval."""
    import math

    import pandas as pd

    from sgblend_utils.report.tables import number
    from sgblend_utils.stats import summarise
    from sgblend_utils.style import LABELS

    order = list(dict.fromkeys(frame["activation"]))
    table = pd.DataFrame({"activation": [LABELS.get(name, name) for name in order]})
    for column in COLUMNS[protocol]:
        summary = summarise(frame, column.metric).loc[order]
        halves = summary["high"] - summary["mean"]
        table[column.label] = [
            number(mean, column.digits)
            + (f" ± {number(half, column.digits)}" if math.isfinite(half) else "")
            for mean, half in zip(summary["mean"], halves, strict=True)
        ]
    return table


def experiment(arguments: argparse.Namespace) -> None:
    """Run every activation with every seed and print the paper's table."""
    backend = choose_backend(arguments.backend)
    configs = [
        config_of(arguments, activation, seed)
        for seed in dict.fromkeys(seeds(arguments.seeds))
        for activation in dict.fromkeys(names(arguments.activations))
    ]
    if not configs:
        raise UserError("There is nothing to run: name an activation and a seed.")
    root = None if arguments.output is None else arguments.output.expanduser()
    perform(configs, backend, root)
    from sgblend_utils.report.tables import to_markdown
    from sgblend_utils.runs import results_root

    count = len({config.seed for config in configs})
    spread = f"{count} seeds, mean ± half of the 95 % interval" if count > 1 else "one seed"
    print(f"WMT14, {arguments.protocol} protocol, preset {arguments.preset}; {spread}.\n")
    print(to_markdown(paper_table(collect(configs, root), arguments.protocol)))
    print(f"\n{MEANING[arguments.protocol]}")
    print(f"Records: {os.path.relpath((root or results_root()) / TASK)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment."""
    arguments = make_parser().parse_args(argv)
    return exit_code(
        "run_experiment", lambda: experiment(arguments), "give the same command to go on"
    )


if __name__ == "__main__":
    sys.exit(main())
