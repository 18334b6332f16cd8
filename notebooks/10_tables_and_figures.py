# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Tables and figures
#
# **Claim of this notebook.** Every number that this project reports can be traced: from the sentence
# to the table, from the table to the records, from each record to the command, the data and the
# commit that made it. Each comparison comes with the smallest difference that its seeds could have detected.
#
# *You will learn* how a claim becomes a test (margin, seeds, correction), how many seeds an answer takes, and how to trace
# any number of this project to its runs.
#
# *Needs* nothing but the records that are committed with the project (a *record* is the stored JSON of one
# run); nothing is trained. *Takes* half a minute. Sentences about results are computed, here and in the titles of
# the figures, so that they change when the records do.

# %%
import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image, Markdown, display
from PIL import Image as Picture

from sgblend_utils import stats
from sgblend_utils.data import project_root
from sgblend_utils.report import claims, digest, drawn, experiments, figures, front, note, tables
from sgblend_utils.report.experiments import BY_NAME, ranges
from sgblend_utils.report.plan import committed_table, plan
from sgblend_utils.style import LABELS, MUTED, activation_style, set_style
from sgblend_utils.zoo import label

set_style()
found = experiments()


# %%
def show(table: pd.DataFrame, below: str = "") -> None:
    """A table as Markdown, with a line below."""
    display(Markdown(tables.to_markdown(table) + (f"\n\n{below}" if below else "")))


def show_figure(figure: plt.Figure, colours: int = 64) -> None:
    """A figure in few colours, which takes a third of the space; `figures/` has them in full."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=80)
    plt.close(figure)
    Picture.open(drawn).convert("RGB").quantize(colours).save(small, "png", optimize=True)
    display(Image(small.getvalue()))


# %% [markdown]
# ## 1 · What is in the store
#
# An **experiment** is a set of runs that differ in activation and seed alone: same task, protocol,
# preset, settings, data and backend. Runs on the bundled mini data are records too, but never
# reported; nor are the runs of the audit with some protocol switches off, which
# [notebook 04](04_wmt14_data_and_protocol.ipynb) shows. `SG-Blend` without anything in brackets is the variant whose
# $\alpha$, $\beta$ and $\gamma$ are free numbers, with the exact GELU inside; the published code bounds $\alpha$ and has
# another form of GELU: that function is what the runs of the `published` protocol use, and the variant *as published*.

# %%
store = [
    {
        "experiment": c.name,
        "backend": c.backend,
        "runs": str(len(c.frame)),
        "activations": ", ".join(map(label, c.activations)),
        "seeds": c.seeds.removeprefix("seeds ").removeprefix("seed "),
        "data": " ".join(sorted({r["data"]["digest"] for r in c.frame["record"]})),
        "commits": " ".join(sorted({str(r["git_commit"])[:7] for r in c.frame["record"]})),
    }
    for c in found
]
show(pd.DataFrame(store) if store else pd.DataFrame({"experiment": ["none yet"]}))

# %% [markdown]
# A record holds the settings that differ from the defaults of the package, which never change. The defaults mean
# "as if the setting did not exist", so a setting that is added later changes no record. These are the settings of
# each experiment, the same for all its runs:

# %%
for experiment in found:
    each = [sorted(r["config"]["settings"].items()) for r in experiment.frame["record"]]
    assert all(settings == each[0] for settings in each)
    print(experiment.name, ", ".join(f"{name}={value}" for name, value in each[0]), sep="\n  ")

# %% [markdown]
# The learning rates, numbers of epochs and search settings were chosen with GELU alone (`data/tuning`) and are used
# for every activation; [notebook 08](08_ablations.ipynb) tries other rates on two tasks. Each experiment is one command; what has a record is not run again, so the command also
# completes a sweep that was interrupted:

# %%
for experiment in found:
    print(experiment.command)

# %% [markdown]
# ## 2 · What was measured
#
# Means over seeds ± half of the 95 % Student interval; a single number where there is one seed.
# Cross-entropy, in nats per subword of the held-out test set, is the finer measure of a translator:
# it scores every token, while BLEU counts exact matches in whole translations. Per character of the
# reference it can be compared across vocabularies. BLEU is sacreBLEU's, of free-running translations
# found by beam search. A unit is *dead* if its output never exceeds 0.001 (the paper's rule, applied to the
# activation itself, padding left out), and *near-dead* if its slope never exceeds 0.05, which is what death means
# for a smooth function: no gradient passes. (Where one seed of three has dead units, ± is wider than the mean: the
# t interval does not know that a share cannot be negative.)

# %%
for experiment in found:
    display(Markdown(f"### {experiment.name}"))
    show(tables.results_text(experiment), note(experiment))

# %% [markdown]
# The figures below have panels of the paper's performance figure: scores on the test set and dead units; the time is
# measured apart, in [notebook 09](09_overhead.ipynb), since the clock of a sweep measures whatever else ran at the
# time. They are drawn for experiments of at least three runs of more than one activation; for others, the table is enough, and those of the
# second round are in `figures/`. (Images have further
# figures, of confusion, robustness and learned shapes, in [notebook 07](07_vision_training.ipynb).) A title that
# says "no difference shown" means that no corrected interval of a paired difference from GELU excludes zero.

# %%
several = [experiment for experiment in found if drawn(experiment)]
for experiment in (one for one in several if not one.again):
    show_figure(figures.figure_performance(experiment))
    print(experiment.slug, digest(tables.results(experiment)))

# %% [markdown]
# ## 3 · Seed by seed
#
# A seed fixes initial weights and data order, the same for every activation. What a seed adds to all of
# them drops out of the difference from GELU's run with that seed, which is why runs are compared in
# pairs. The thick bar is the 95 % interval of the mean difference; the thin one holds for all
# comparisons with GELU on that metric together. Below BLEU 5, output has little to do with the source: not compared.
# These figures and tables use all stored seeds of a round, in the first the pilot's included; the ledger of section 6 uses the
# planned seeds alone, so its numbers differ slightly.

# %%
current = [one for one in several if not one.overrides]  # the pilots are in `figures/`
for experiment in current:
    if figure := figures.figure_differences(experiment):
        show_figure(figure)
        print(experiment.slug, digest(tables.comparison(experiment)))

# %% [markdown]
# The same in numbers. The standard deviation behind an interval comes from all activations of an experiment: what is left
# of a metric once an effect of each activation and one of each seed are taken out (a blocked analysis of variance). With
# three seeds, a deviation from one pair of activations alone is often several times too small or too large. *Dunnett*'s
# intervals and p values hold for all comparisons with GELU on a metric together. *P(better)* is the share of pairs of runs,
# whatever their seeds, in which the activation beats GELU. *Smallest detectable* is the true difference that would have
# been found with 80 % power, before any correction. *± by test examples* is half of the 95 % interval that the choice of test
# examples leaves to a difference in accuracy, whatever the seeds: records of classifiers keep which ones were right. Metrics at
# a floor, such as dead units where there are none, are left out.

# %%
for experiment in found:
    if len(text := tables.comparison_text(experiment)):
        display(Markdown(f"### {experiment.name}"))
        show(text)

# %% [markdown]
# ## 4 · How many seeds would it take?
#
# That a difference was not found matters only if the test had the power to find it. From the pooled deviation of a paired
# difference follows how many seeds would, with 80 % power, both find a difference as large as the plan's margin (the
# smallest that matters) and exclude one if there is none.

# %%
fixed, rows = plan(), []
for experiment in found:
    for metric in (m for m in experiment.metrics if m.name in fixed["margins"]):
        known, _ = stats.estimates(experiment.frame, metric.name)
        one = next(iter(known.values()), None)
        if one is None or not one.deviation > 0 or not tables.comparable(experiment, metric.name):
            continue
        margin = fixed["margins"][metric.name]["value"]
        row = {"experiment": experiment.name, "metric": metric.label}
        row["deviation of a difference"] = tables.number(one.deviation, metric.digits)
        row["margin"] = tables.number(margin, metric.digits)
        needed = stats.seeds_needed(margin, one.deviation)
        rows.append(row | {"seeds needed": str(needed or "over a million")})
show(pd.DataFrame(rows) if rows else pd.DataFrame({"deviation": ["needs two seeds in common"]}))

# %%
seeds = np.arange(2, 41)
drawn = {}
figure, axes = plt.subplots(figsize=(8, 3.8))
translators = [e for e in found if "bleu" in e.frame and tables.comparable(e, "bleu")]
for experiment, dash in zip(translators, itertools.cycle(("-", "--", "-.", ":")), strict=False):
    known, _ = stats.estimates(experiment.frame, "bleu")
    for one in list(known.values())[:1]:
        errors = [stats.Estimate(0.0, one.deviation / n**0.5, n - 1, n) for n in seeds]
        drawn[experiment.name] = [stats.detectable_difference(error) for error in errors]
        axes.plot(seeds, drawn[experiment.name], dash, color="#222222", label=experiment.name)
paper = committed_table("published/wmt14_table.csv").set_index("activation")
paper = 100 * paper[["bleu", "val_accuracy"]]
claimed = (paper - paper.loc["gelu"]).rename(columns={"val_accuracy": "test_accuracy"})
for name in ("sgblend", "sswish", "silu"):
    height = claimed.loc[name, "bleu"]
    axes.axhline(height, color=activation_style(name)["color"], linewidth=1, linestyle=":")
    text = f"{LABELS[name]} − GELU as published"
    axes.text(40, height + 0.03, text, ha="right", fontsize=9, color=MUTED)
axes.set(title="Smallest detectable difference", xlabel="seeds", ylabel="BLEU, with 80 % power")
axes.set(ylim=(0, 3), xlim=(2, 40))
axes.legend(*axes.get_legend_handles_labels(), loc="upper right")
show_figure(figure)
print(digest(pd.DataFrame(drawn)))

# %% [markdown]
# ## 5 · What the activations learned
#
# $\alpha$, $\beta$ and $\gamma$ of the *sites* (places in a network where an activation acts), before training and after
# each epoch: a line is the mean over the sites of a part of the model and over seeds, a band goes from the lowest value
# to the highest. Of these $\gamma$ says nothing by itself: the next layer's bias can undo any of it
# ([notebook 01](01_activation_derivation.ipynb)). Quite different pairs of $\alpha$ and $\beta$ give
# nearly the same function ([notebook 03](03_activation_zoo.ipynb)), so that a learned $\alpha$ is not a
# preference for Swish or GELU by itself. A narrow band means that seeds and sites agree.

# %%
for experiment in (one for one in current if not one.again):
    if figure := figures.figure_parameters(experiment):
        show_figure(figure, 32)
        print(experiment.slug, digest(experiment.parameters()))

# %% [markdown]
# Nothing keeps a free $\alpha$ between 0 and 1 or a free $\beta$ above 0. Outside, the function is no blend of Swish and
# GELU but an extrapolation. How often does that happen?

# %%
for experiment in (e for e in found if "sgblend" in e.activations):
    values = experiment.parameters().query("activation == 'sgblend'")
    values = values.pivot(index=["seed", "site", "epoch"], columns="parameter", values="value")
    last = values.sort_index().groupby(["seed", "site"]).last()
    outside = (last["alpha"] < 0) | (last["alpha"] > 1) | (last["beta"] <= 0)
    print(f"{experiment.name}: {outside.sum()} of {len(last)} sites end outside the blend")

# %% [markdown]
# ## 6 · The plan, and the ledger of claims
#
# What counts as an answer was committed before the runs that give it (`data/plan.toml`): for each metric the smallest
# difference that matters, with its reason; which activations and seeds each experiment has; and the list of claims
# (`data/claims.csv`), so that the family of tests does not depend on which records happen to exist. Seeds 0 to 2 were a
# pilot; they are in the tables above and in no verdict. The second round, with seeds of its own, was planned when the first was
# known; it judges rows that were undecided, alone, and only when all of its runs are there.

# %%
labels = {name: metric.label.replace("/token", "") for name, metric in BY_NAME.items()}
margins = [
    {"metric": labels.get(name, name), "margin": f"{m['value']:g}", "reason": m["reason"]}
    for name, m in fixed["margins"].items()
]
show(pd.DataFrame(margins))

# %% [markdown]
# *Hours* are those that the runs took, each on one CPU core, or all on one GPU where the last column says how many did. Two of the
# second rounds share runs.

# %%
planned = []
for entry in [*fixed["experiments"], *fixed["again"]]:
    runs = claims.judged(found, entry)
    row = {"experiment": f"{entry['task']}, {entry['protocol']}, {entry['preset']}"}
    row |= {"round": "second" if "claims" in entry else "first"}
    row |= {"primary metric": labels[entry["primary"]]}
    row |= {"activations": ", ".join(map(label, entry["activations"]))}
    count = len(entry["activations"]) * len(entry["seeds"])
    row |= {"seeds": ranges(entry["seeds"]), "runs": f"{len(runs)} of {count}"}
    records = list(runs.get("record", ()))
    row["hours"] = f"{sum(r['timing']['total_seconds'] for r in records) / 3600:.1f}"
    row["on a GPU"] = str(sum(bool(r["hardware"]["accelerators"]) for r in records))
    planned.append(row)
show(pd.DataFrame(planned))

# %% [markdown]
# The claims are those of the paper's README and abstract, with their sources. Where the paper printed two numbers, their
# difference is the claimed size; under the `published` protocol it is judged by the paper's own scores.

# %%
display(Markdown(claims.rules()))

# %%
ledger = claims.ledger(found)
show(claims.ledger_text(ledger), claims.summary(ledger))

# %% [markdown]
# Each verdict names its records, all of them with seeds and activations of the plan:

# %%
known = {r["key"]: r["config"] for c in found for r in c.frame["record"]}
for row in ledger.dropna(subset="records").query("kind != 'overhead'").itertuples():
    entry = claims.deciding(row._asdict(), found)
    for used in map(known.get, row.records.split()):
        assert used["seed"] in entry["seeds"] and used["activation"] in entry["activations"]
assert set(ledger["verdict"]) <= set(claims.VERDICTS)
print(ledger["records"].notna().sum(), "of", len(ledger), "claims have records")

# %% [markdown]
# SG-Blend's variants against GELU on every task, on one scale: differences in units of the plan's margin.

# %%
show_figure(front.figure_forest(ledger))
print(digest(front.effects(ledger)))

# %% [markdown]
# ## 7 · Which command makes what
#
# `sgblend report` rewrites every file named here, in `figures/`, from the records alone; a second call
# changes no byte, and a test compares the committed tables with the committed records. The tables are
# there as CSV with all digits and as Markdown. The paper's first figure needs no records: it is `teaser_*.png` there, and
# [notebook 01](01_activation_derivation.ipynb) draws and checks it. This is the list that the report itself writes:

# %%
index = pd.read_csv(project_root() / "figures" / "tables" / "index.csv", comment="#")
listed = set(index.iloc[:, 0])
assert {f"tables/table_{experiment.slug}" for experiment in found} <= listed
assert {f"performance_{experiment.slug}.png" for experiment in several} <= listed
show(index)

# %% [markdown]
# ## What was found
#
# The sentences are made from the verdicts, by the rules above; the README shows the same.

# %%
display(Markdown(front.points(ledger, found).replace("](notebooks/", "](")))

# %% [markdown]
# "Undecided" is not "no difference": section 4 says how many seeds an answer would take. All of it holds for the small
# networks of the `cpu` presets. To add runs, repeat a command of section 1 with the plan's seeds, then `sgblend report`, then
# execute this notebook again (`make notebooks NB=notebooks/10_tables_and_figures.py`).

# %% [markdown]
# ## Exercises
#
# 1. Three claims have p values of 0.01, 0.02 and 0.04. Which of them hold at 5 % together?
#
# <details><summary>Solution 1</summary>
#
# All three: Holm multiplies by 3, 2 and 1, and keeps the order.
#
# ```python
# import numpy as np
#
# from sgblend_utils.stats import holm
#
# assert np.allclose(holm([0.01, 0.02, 0.04]), [0.03, 0.04, 0.04])
# ```
#
# </details>
#
# 2. What is the power of five paired seeds if the true difference is one standard deviation of a pair's
#    difference?
#
# <details><summary>Solution 2</summary>
#
# 40 %: such a difference is missed more often than found.
#
# ```python
# from sgblend_utils.stats import power_of
#
# assert 0.39 < power_of(1.0, 5) < 0.41
# ```
#
# </details>
#
# ---
# Previous: [09 · What SG-Blend costs](09_overhead.ipynb) · Back to
# [00 · Start here](00_start_here.ipynb)
