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
# commit that made it. And each comes with what it cannot say: how large a difference would have gone
# unnoticed with so many seeds.
#
# *Needs* nothing but the records that are committed with the project; nothing is trained. *Takes* half
# a minute. Sentences about results are computed, here and in the titles of the figures, so that they
# change when the records do.

# %%
from sgblend_utils.notebook import setup

setup()

import itertools
import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib_inline.backend_inline import set_matplotlib_formats

from sgblend_utils import stats
from sgblend_utils.figures_theory import figure_teaser, teaser_curves
from sgblend_utils.report import claims, conditions, digest, figures, note, tables
from sgblend_utils.report.conditions import BY_NAME
from sgblend_utils.runs import project_root
from sgblend_utils.style import LABELS, MUTED, activation_style

found = conditions()
set_matplotlib_formats(
    "png", dpi=75, bbox_inches="tight"
)  # many figures; `figures/` has them sharp


# %%
def show(table: pd.DataFrame, below: str = "") -> None:
    """A table as Markdown, with a line below."""
    display(Markdown(tables.to_markdown(table) + (f"\n\n{below}" if below else "")))


# %% [markdown]
# ## 1 · What is in the store
#
# A **condition** is a set of runs that differ in activation and seed alone: same task, protocol,
# preset, settings, data and backend. Runs on the bundled mini data are records too, but never
# reported.

# %%
store = [
    {
        "condition": c.name,
        "backend": c.backend,
        "runs": str(len(c.frame)),
        "activations": ", ".join(LABELS[a] for a in c.activations),
        "seeds": c.seeds.removeprefix("seeds ").removeprefix("seed "),
        "data": " ".join(sorted({r["data"]["digest"] for r in c.frame["record"]})),
        "commits": " ".join(sorted({str(r["git_commit"])[:7] for r in c.frame["record"]})),
    }
    for c in found
]
show(pd.DataFrame(store) if store else pd.DataFrame({"condition": ["none yet"]}))

# %% [markdown]
# Each condition is one command away. What has a record is not run again, so the command also
# completes a sweep that was interrupted:

# %%
for condition in found:
    print(condition.command)

# %% [markdown]
# ## 2 · What was measured
#
# Means over seeds ± half of the 95 % Student interval; a single number where there is one seed.
# Cross-entropy, in nats per subword of the held-out test set, is the finer measure of a translator:
# it scores every token, while BLEU counts exact matches in whole translations. Per character of the
# reference it can be compared across vocabularies. BLEU is sacreBLEU's, of free-running translations
# found by beam search. A unit is *dead* if its output never exceeds 0.001 (the paper's rule, read at the activation itself, padding left out), and *near-dead* if
# its slope never exceeds 0.05, which is what death means for a smooth function: no gradient passes.

# %%
for condition in found:
    display(Markdown(f"### {condition.name}"))
    show(tables.results_text(condition), note(condition))

# %% [markdown]
# The figure below is the paper's performance figure, with its panels: accuracy by epoch, scores on the
# test set, time, dead units. (Images have further figures: confusion, robustness, gradients and learned
# shapes stand in [notebook 07](07_vision_training.ipynb).) A title that says "no difference shown" means that no corrected interval
# of a paired difference from GELU excludes zero.
#
# Of the panels, time is the weakest. The clock of a shared machine measures whatever else ran there, so
# its seconds are shown and not compared. Where a record noted the processor time of its epochs, that is
# set against GELU's with the same seed on the same kind of machine, compilation left out. Neither
# compares with the seconds of the paper's table, from another machine and with compilation in them.

# %%
for condition in found:
    figures.figure_performance(condition)
    plt.show()
    print(condition.slug, digest(tables.results(condition)))

# %% [markdown]
# ## 3 · Seed by seed
#
# A seed fixes initial weights and data order, the same for every activation. What a seed adds to all of
# them drops out of the difference from GELU's run with that seed, which is why runs are compared in
# pairs. The thick bar is the 95 % interval of the mean difference; the thin one holds for all
# comparisons on that metric together. The hollow diamond marks the difference that the paper printed for
# WMT14 under its own protocol: another task or another measure of it, so it shows the size of the claim,
# not a prediction.

# %%
for condition in found:
    if figures.figure_differences(condition):
        plt.show()
        print(condition.slug, digest(figures.differences(condition)))

# %% [markdown]
# The same in numbers. *p (exact)* flips signs of the seeds' differences in all ways and assumes nothing
# about their distribution; in brackets is the smallest value it can reach with so many seeds. Three seeds
# that all agree give 0.25: with three seeds, "significant" always rests on the t test's assumption of
# normal differences. *q* is the t test's p after Benjamini and Hochberg. *P(better)* is the share of pairs
# of runs, whatever their seeds, in which the activation beats GELU. *Detectable* is the true
# difference that would have been found with 80 % power at the corrected level.

# %%
for condition in found:
    if len(text := tables.comparison_text(condition)):
        display(Markdown(f"### {condition.name}"))
        show(text)

# %% [markdown]
# ## 4 · How many seeds would it take?
#
# A difference that was not found is no news unless it would have been found had it been there. The noise
# that matters is the standard deviation, over seeds, of the difference between paired runs. From it
# follows how many seeds find a given difference with 80 % power. The deviation itself is estimated from
# few seeds, so these counts are rough.

# %%
effects = {
    "bleu": (1.3, 0.5, 0.2),
    "test_nll": (0.02, 0.01, 0.005),
    "test_accuracy": (1.0, 0.5, 0.15),
}
rows = []
for condition in found:
    for metric in (m for m in condition.metrics if m.name in effects):
        deviation = tables.paired_deviation(condition, metric)
        if math.isnan(deviation):
            continue
        row = {"condition": condition.name, "metric": metric.label}
        row["deviation"] = tables.number(deviation, metric.digits)
        for column, effect in zip(("large", "medium", "small"), effects[metric.name], strict=True):
            needed = stats.seeds_needed(effect, deviation) or "over a million"
            row[f"{column} difference"] = f"{effect:g}: {needed} seeds"
        rows.append(row)
show(pd.DataFrame(rows) if rows else pd.DataFrame({"deviation": ["needs two seeds in common"]}))

# %%
seeds = np.arange(2, 41)
drawn = {}
figure, axes = plt.subplots(figsize=(8, 3.8))
translators = [condition for condition in found if condition.translates]
for condition, dash in zip(translators, itertools.cycle(("-", "--", "-.", ":")), strict=False):
    deviation = tables.paired_deviation(condition, BY_NAME["bleu"])
    if not math.isnan(deviation):
        drawn[condition.name] = [stats.detectable_difference(deviation, n) for n in seeds]
        axes.plot(seeds, drawn[condition.name], dash, color="#222222", label=condition.name)
claimed = tables.published_differences("bleu")
for name in ("sgblend", "sswish", "silu"):
    axes.axhline(claimed[name], color=activation_style(name)["color"], linewidth=1, linestyle=":")
    text = f"{LABELS[name]} − GELU as published"
    axes.text(40, claimed[name] + 0.03, text, ha="right", fontsize=9, color=MUTED)
axes.set(title="What so many seeds would find", xlabel="seeds", ylabel="BLEU (80 % power)")
axes.set(ylim=(0, 3), xlim=(2, 40))
axes.legend(*axes.get_legend_handles_labels(), loc="upper right")
plt.show()
print(digest(pd.DataFrame(drawn)))

# %% [markdown]
# ## 5 · What the activations learned
#
# $\alpha$, $\beta$ and $\gamma$ of every site, before training and after each epoch. Of these $\gamma$ tells
# nothing by itself: the next layer's bias can undo any of it
# ([notebook 01](01_activation_derivation.ipynb)). And quite different pairs of $\alpha$ and $\beta$ give
# nearly the same function ([notebook 03](03_activation_zoo.ipynb)), so that a learned $\alpha$ is not a
# preference for Swish or GELU by itself. What does mean something is that bands are narrow where seeds
# agree, and apart where sites differ.

# %%
for condition in found:
    if figures.figure_parameters(condition):
        plt.show()
        print(condition.slug, digest(condition.parameters()))

# %% [markdown]
# ## 6 · The ledger of claims
#
# The claims are those of the paper's README and abstract
# (`data/published/claims.csv`, with the source of each). Where the paper printed two numbers, their difference is the claimed size. Its BLEU is not ours (arg-max
# with the gold prefix, 0–1, 100 sentences), nor is its accuracy; sizes are carried over in points because
# nothing better is stated. Claims about gains "across all tasks" have no size: there the sign decides.

# %%
display(Markdown(claims.RULES))

# %%
ledger = claims.ledger(found)
show(claims.ledger_text(ledger), claims.summary(ledger))

# %% [markdown]
# The same in words, with the level of the interval and the power, for the claims that have been tested:

# %%
tested = ledger[ledger["condition"].notna()]
lines = [f"* {claims.sentence(row)}" for row in tested.to_dict("records")]
display(Markdown("\n".join(lines) or "No claim has been tested yet."))

# %% [markdown]
# Each verdict names its records. For example, the first claim that has any:

# %%
for row in tested.head(1).to_dict("records"):
    print(row["statement"], "\nrests on the runs", row["records"])
everything = {key for c in found for key in c.frame["key"]}
assert {key for keys in tested["records"] for key in keys.split()} <= everything
assert set(ledger["verdict"]) <= set(claims.VERDICTS)

# %% [markdown]
# ## 7 · The paper's teaser figure
#
# Three first derivatives. The published figure draws GELU in its logistic approximation
# $x\,\sigma(1.702x)$, whose slope peaks lower than that of GELU itself; with that form SG-Blend is a mixture
# of two Swishes.

# %%
for published in (True, False):
    figure_teaser(published=published)
    plt.show()
    slopes = {name: slope for name, (_, slope) in teaser_curves(published).items()}
    print("published" if published else "exact", digest(pd.DataFrame(slopes)))

# %% [markdown]
# ## 8 · Which command makes what
#
# `sgblend report` rewrites every file named here, in `figures/`, from the records alone; a second call
# changes no byte, and a test compares the committed tables with the committed records. The tables are
# there as CSV with all digits and as Markdown. This is the list that the report itself writes:

# %%
index = pd.read_csv(project_root() / "figures" / "tables" / "index.csv", comment="#")
listed = set(index.iloc[:, 0])
for condition in found:
    assert f"performance_{condition.slug}.png" in listed
    assert f"tables/table_{condition.slug}" in listed
show(index)

# %% [markdown]
# ## What was found
#
# As far as the records go:

# %%
messages = [
    f"* {condition.name}: " + "; ".join(tables.message(condition, m) for m in condition.metrics[:3])
    for condition in found
]
display(Markdown("\n".join([*messages, f"* {claims.summary(ledger)}"])))

# %% [markdown]
# "No difference shown" is not "no difference": section 4 says how large one could be. To narrow it, add
# seeds: repeat a command of section 1 with more of them, then `sgblend report`, then execute this notebook
# again (`make notebooks NB=notebooks/10_tables_and_figures.py`).
#
# ---
# Previous: [07 · Training an image classifier](07_vision_training.ipynb) · Back to
# [00 · Start here](00_start_here.ipynb)
