"""The audit: from the published protocol to the sound one, step by step.

A step turns switches off, and trains a model of its own, or evaluates the last one differently.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sgblend_utils import zoo
from sgblend_utils.config import RunConfig, record_key, switch_meanings
from sgblend_utils.errors import UserError
from sgblend_utils.report.experiments import TRANSLATION, UNREPORTED, WORDS, hardware, ranges
from sgblend_utils.report.figures import HOLLOW, TITLE, finish, grid
from sgblend_utils.report.plan import committed_table
from sgblend_utils.report.tables import number, plus_minus
from sgblend_utils.runs import load_records
from sgblend_utils.stats import summarise
from sgblend_utils.style import INK, MUTED
from sgblend_utils.tasks import task_named

HEADLINE = "What the published numbers are made of"
VALUE = "#0072B2"  # with the next two, of Okabe and Ito
LOSS, GAIN = {"edgecolor": "#D55E00", "hatch": "////"}, {"edgecolor": "#009E73", "hatch": "...."}
SCORES = {  # column -> its name, the axis's label, scale and digits
    "accuracy": ("accuracy (%)", "token accuracy (%), reference words given", 100, 1),
    "bleu": ("BLEU (0–1)", "BLEU (0–1), each step by its own definition", 1, 3),
}


class Step(NamedTuple):
    label: str  # what changes, in a few words; the steps before it stay
    off: tuple[str, ...] = ()  # switches that are turned off
    scores: Mapping[str, str] = {}  # column -> where a record's metrics have it from here on
    published: str = ""  # what the published protocol does there, if no switch says so


ALL, REAL = "evaluations.validation.accuracy_all", "evaluations.validation.accuracy_real"
FORCED, FREE = "evaluations.validation.forced_bleu", "evaluations.validation.free_bleu"
STEPS = (
    Step("as published", (), {"accuracy": ALL, "bleu": FORCED}, "All of the following."),
    Step("English to German", ("reversed_direction",)),
    Step("causal mask", ("no_causal_mask",)),
    Step("accuracy of words alone", (), {"accuracy": REAL}, "Padding counts in the accuracy."),
    Step("padding out of training", ("padding_in_loss", "no_padding_masks")),
    Step("free-running BLEU", (), {"bleu": FREE}, "The reference's words are given in decoding."),
    Step("test set", (), {"accuracy": "test_accuracy", "bleu": "evaluations.test.free_bleu"},
         "The sentences scored are the tail of the training file."),
    Step("sacreBLEU", (), {"bleu": "bleu"},
         "BLEU is of lower-cased words cut at white space, the end mark among them."),
    Step("cased subwords", ("word_tokens", "front_truncation")),
    Step("held-out selection",
         ("head_of_file", "tail_validation", "early_stopping_on_reported_split")),
    Step("a plain Transformer",
         ("shared_activation", "published_activation", "post_norm", "wide_key_dim", "extra_head")),
    Step("shared embeddings, sinusoidal positions",
         ("untied_embeddings", "learned_positions", "fixed_length")),
    Step("the sound run", (), {}, "Few pairs, a constant learning rate, greedy search."),
)  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """The steps of one task, preset, activation and some seeds; `root` below is a store."""

    task: str = "wmt14"
    preset: str = "cpu"
    activation: str = "sgblend"
    seeds: tuple[int, ...] = (0,)

    def configs(self, seed: int) -> list[RunConfig]:
        """The run that each step evaluates; steps that only evaluate differently share one."""
        configs, off = [], {}
        names = (self.task, self.activation)
        for step in STEPS[:-1]:
            off |= dict.fromkeys(step.off, False)
            configs.append(RunConfig(*names, "published", self.preset, seed, dict(off)))
        return [*configs, RunConfig(*names, "sound", self.preset, seed)]

    def runs(self) -> list[RunConfig]:
        configs = [config for seed in self.seeds for config in self.configs(seed)]
        return list({config.key(""): config for config in configs}.values())

    @property
    def command(self) -> str:
        words = f"sgblend audit {self.task} --preset {self.preset}"
        return f"{words} --activation {self.activation} --seeds {ranges(self.seeds)}"

    @property
    def span(self) -> str:
        return f"seed{'s' * (len(self.seeds) > 1)} {ranges(self.seeds)}"

    @property
    def name(self) -> str:
        return f"audit_{self.task}_{self.preset}"

    def records(self, root: Path | None = None) -> list[list[dict[str, Any]]]:
        """The record of each step (outer), seed (inner); a UserError if one is missing."""
        known, out = stored(root), []
        by_seed = [self.configs(seed) for seed in self.seeds]
        for step, configs in zip(STEPS, zip(*by_seed, strict=True), strict=True):
            for config in configs:
                if config.key("") not in known:
                    text = f"The audit's step {step.label!r} has no record for seed {config.seed}; "
                    raise UserError(f"{text}`{self.command}` trains it.")
            out.append([known[config.key("")] for config in configs])
        return out

    def scores(self, root: Path | None = None) -> pd.DataFrame:
        """A row per step and seed: scores 0-1 as the step evaluates them, sacreBLEU 0-100."""
        parts, paths = [], {"sacrebleu": "bleu"}
        for step, records in zip(STEPS, self.records(root), strict=True):
            paths |= step.scores
            metrics = pd.json_normalize([record["metrics"] for record in records])
            part = pd.DataFrame({name: metrics[path] for name, path in paths.items()})
            part["bleu"] *= 0.01 if paths["bleu"] == "bleu" else 1  # sacreBLEU's range is 0-100
            run = [record["key"] for record in records]
            parts.append(part.assign(step=step.label, seed=self.seeds, run=run))
        return pd.concat(parts, ignore_index=True)

    def table(self, root: Path | None = None) -> pd.DataFrame:
        """A row per step: means of `scores`, what a step changes, half of the 95 % interval."""
        meanings = switch_meanings(type(task_named(self.task).presets["published", self.preset]))
        each = self.scores(root)
        table = each.groupby("step", sort=False).agg({"sacrebleu": "mean", "run": " ".join})
        table["trained"] = table["run"].ne(table["run"].shift())
        for name in SCORES:
            found = summarise(each, name, "step")
            table[name], table[f"{name}_half"] = found["mean"], found["high"] - found["mean"]
            table[f"{name}_change"] = table[name].diff()
        said = (step.published or " ".join(meanings[name] for name in step.off) for step in STEPS)
        names = "step published trained accuracy accuracy_half accuracy_change bleu bleu_half "
        names += "bleu_change sacrebleu run"
        return table.reset_index().assign(published=list(said))[names.split()]

    def provenance(self, root: Path | None = None) -> str:
        records = {r["key"]: r for step in self.records(root) for r in step}.values()
        sizes = [record["data"]["train_pairs"] for record in records]
        decoded = max(record["metrics"].get("decoded_sentences", 0) for record in records)
        names = [self.task, f"preset {self.preset}", zoo.label(self.activation), self.span]
        names += [f"{len(records)} models, {min(sizes):,} to {max(sizes):,} training pairs"]
        names += [f"{decoded:,} test sentences decoded, all of them by the sound run"]
        names += [" and ".join(sorted({record["config"]["backend"] for record in records}))]
        names += [hardware(records), *["±: 95 % t interval over seeds"] * (len(self.seeds) > 1)]
        return " · ".join(names)


def stored(root: Path | None) -> dict[str, dict[str, Any]]:
    """Records by the key that their runs would have whatever the data."""
    return {record_key(r["config"], ""): r for r in load_records(root).get("record", ())}


def complete(root: Path | None = None) -> list[Audit]:
    """Of each task and reported preset, with the seeds that have a record for every step."""
    known, found = stored(root), []
    seeds = sorted({record["config"]["seed"] for record in known.values()})
    for task in TRANSLATION:
        presets = [name for protocol, name in task_named(task).presets if protocol == "published"]
        for one in (Audit(task, name) for name in presets if name not in UNREPORTED):
            if have := [s for s in seeds if all(c.key("") in known for c in one.configs(s))]:
                found.append(replace(one, seeds=tuple(have)))
    return found


def audit_text(table: pd.DataFrame) -> pd.DataFrame:
    """The table to read: percentages, signed changes, an asterisk where a model was trained."""
    names = table["step"] + table["trained"].map({True: " *", False: ""})
    out = {"step": names, "what the published protocol does": table["published"]}
    for name, (plain, _, scale, digits) in SCORES.items():
        steps = scale * table[f"{name}_change"][1:]
        said = [number(v, digits, sign=True) if round(v, digits) else "same" for v in steps]
        pairs = zip(scale * table[name], scale * table[f"{name}_half"], strict=True)
        out[plain] = [plus_minus(*pair, digits) for pair in pairs]
        out[f"change of {plain.split(' (')[0]}"] = ["", *said]
    out["sacreBLEU of its model (0–100)"] = [number(value, 2) for value in table["sacrebleu"]]
    return pd.DataFrame(out)


def figure_audit(one: Audit, root: Path | None = None) -> Figure:
    """The waterfall: accuracy and BLEU from the published protocol down to the sound one."""
    table = one.table(root)
    paper = committed_table("published/wmt14_table.csv").set_index("activation").loc[one.activation]
    text, places = audit_text(table), np.arange(len(table))
    figure, (panels,) = grid(2, 6.6, 0.5 * len(table) + 1.2, sharey=True)
    for axes, name, printed in zip(panels, SCORES, ("val_accuracy", "bleu"), strict=True):
        plain, label, scale, _ = SCORES[name]
        values, steps = scale * table[name], scale * table[f"{name}_change"].fillna(0.0)
        before, edges = values - steps, {"color": MUTED, "linewidth": 0.8 * (steps != 0)}
        reach = scale * table[f"{name}_half"].fillna(0.0)
        bars = {"xerr": reach, "ecolor": INK, "color": VALUE, "alpha": 0.9, "label": "score"}
        axes.barh(places, values, 0.62, **bars)
        axes.vlines(before, places - 0.69, places + 0.31, **edges)
        for word, own, look in (("lost", steps < 0, LOSS), ("gained", steps > 0, GAIN)):
            look = look | {"facecolor": "white", "label": f"{word} at this step"}
            axes.barh(places[own], -steps[own], 0.62, values[own], **look)
        if one.task == "wmt14":
            axes.plot(scale * paper[printed], 0, **HOLLOW, label="printed in the paper")
        word, room = plain.split(" (")[0], 1.45 * values.max()
        for place, cells in enumerate(zip(text[plain], text[f"change of {word}"], strict=True)):
            right = max(values[place] + reach[place], before[place]) + 0.012 * room
            said = "  (".join(filter(None, cells)) + ")" * (place > 0)
            axes.text(right, place, said, va="center", fontsize=9.5, color=INK)
        first, last = (text[plain].iloc[end] + " %" * (scale == 100) for end in (0, -1))
        axes.set_title(f"{word[0].upper()}{word[1:]}: {first} becomes {last}", **TITLE)
        axes.set(xlim=(0, room), ylim=(len(table) - 0.45, -0.6), xlabel=label)
        axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 1.05 * values.max()])
        axes.set_yticks(places, text["step"])
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0, labelcolor=INK)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=9)
    note = "* a model of its own; the other steps evaluate the model above them differently"
    return finish(figure, f"{HEADLINE}: {WORDS[one.task]}", f"{one.provenance(root)}; {note}")
