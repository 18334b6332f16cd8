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
# # 06 · Sentiment
#
# **Claim of this notebook.** Sentiment classification is an easy task: a linear model of words gets 90.5 % on
# IMDB. Before one measures what an activation adds to it, two things have to be right:
# the model must see the review and not its padding, and the reviews it is tested on must be new to it.
# This notebook shows how the published pipeline fails at both, trains a sound encoder on a task that no
# single word can solve, reports the stored runs on IMDB, and ends with a practical use of SG-Blend:
# inside a model that is already trained.
#
# Two words are used throughout. A **site** is a place in a network where an activation acts, such as
# the middle of a feed-forward block. A **record** is the stored JSON file of one run: its settings,
# history and test scores.
#
# *You will learn* how padding and a lost mark can change a classifier's score, how precisely IMDB can compare activations, and how to
# replace the activation of a trained model without changing what it computes.
#
# *Needs* nothing but the package: what is trained live reads bundled sentences. *Takes* less than a
# minute on two cores. Numbers under "Real data" come from stored records; nothing trained live here is
# reported as a result.

# %%
from sgblend_utils.cli import choose_backend
from sgblend_utils.notebook import setup

choose_backend(None)  # JAX where it is installed: about twice as fast for these models on a CPU
setup()

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from keras import ops

from sgblend_utils.config import RunConfig, switch_meanings
from sgblend_utils.data.reviews import Reviews, encode_reviews, mini_reviews
from sgblend_utils.style import INK, LABELS, MUTED, activation_style

plt.rcParams["figure.dpi"] = 80

# %% [markdown]
# ## 1 · A task that no single word can solve
#
# The bundled reviews consist of one opinion and one sentence that has nothing to do with it, in either
# order. The opinion is positive or negative, and *not* may invert it. Each adjective is equally often in
# positive and in negative reviews, and the other sentence has a *not* of its own now and then: what
# counts is the pair of *not* and adjective, and where *not* stands.

# %%
splits = mini_reviews()
for text, label in list(zip(splits["train"].texts, splits["train"].labels, strict=True))[:6]:
    print("+" if label else "−", text)
print({name: len(rows) for name, rows in splits.items()})
print("share of positive test reviews:", round(float(splits["test"].labels.mean()), 2))

# %% [markdown]
# A model of word counts alone must therefore fail, and does. (On real reviews such a model does well,
# which is why IMDB is an easy task.)

# %%
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

counts = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=1000))
counts.fit(splits["train"].texts, splits["train"].labels)
by_counts = counts.score(splits["test"].texts, splits["test"].labels)
chance = 0.5 + 4 * (0.25 / len(splits["test"])) ** 0.5  # four standard deviations above chance
assert by_counts < chance
print("word counts do better than chance:", bool(by_counts >= chance))

# %% [markdown]
# ## 2 · What the published pipeline does to a review
#
# The paper's small Transformer reads 200 words and averages over them. Its "BERT" reads 256, after a mark
# `[CLS]`, and classifies by the output at the position of that mark. Keras's tokenizer and
# `pad_sequences`, with their defaults, turn that into something else. Here is a review of our own, cut to
# twelve tokens in place of 256:

# %%
from sgblend_utils.data.reviews import CLS, plain_text, published_text
from sgblend_utils.data.text import Words

review = (
    "A slow start, I admit.<br /><br />But then! The second half is as good as anything this "
    "director has made, and the last scene alone is worth the ticket."
)
seen = published_text(review, "[CLS]")
words = Words.fit([seen])
kept = encode_reviews(Reviews([seen], np.ones(1)), words, 12, front=True)
sound = encode_reviews(Reviews([plain_text(review)], np.ones(1)), words, 12, cls=True)
print("text as published:", seen[:52], "…")
print("ids as published: ", words.decode(kept.rows)[0])
print("sound protocol:   ", "[CLS]", " ".join(plain_text(review).split()[:11]))
assert kept.cut == sound.cut == 1
assert "cls" not in words.decode(kept.rows)[0].split() and sound.rows[0][0] == CLS

# %% [markdown]
# `[CLS]` has become the word *cls*, the line breaks have become the word *br*, and what is too long loses
# its *beginning*: the encoder that reads the first position then reads an arbitrary word in the middle of
# the review. In this project each difference between the published and the sound protocol is a
# **protocol switch**, a setting of its own, so that its effect can be measured alone
# (`sgblend run imdb --protocol published --set front_truncation=false`):

# %%
from sgblend_utils.tasks.sentiment import SentimentSettings

meanings = switch_meanings(SentimentSettings)
rows = "\n".join(f"| `{name}` | {what} |" for name, what in meanings.items())
display(Markdown(f"| switch | what the published protocol does |\n|---|---|\n{rows}"))

# %% [markdown]
# ## 3 · Padding that changes the score
#
# Reviews of a batch are padded to one length. If attention looks at the padding, and the average is
# taken over it, then the same review gets another score in another batch. The check: add sixty positions
# of padding to a review of twenty words and compare the logit. Going down, more switches are off.

# %%
from sgblend_utils.models.classifier import Classifier

sizes = {"length": 80, "d_model": 16, "num_heads": 2, "ff_dim": 16, "num_layers": 1}
off = {
    "as published": (),
    "average over words alone": ("padding_averaged",),
    "and a padding mask": ("padding_averaged", "no_padding_masks"),
    "sound encoder": tuple(meanings),
}
ids = np.random.default_rng(0).integers(4, 200, (1, 20)).astype("int32")
moved = {}
for label, names in off.items():
    on = [name for name in meanings if name not in names]
    model = Classifier(200, switches=on, activation="sgblend", seed=1, **sizes)
    model.build()
    alone, padded = (
        float(ops.squeeze(model(np.pad(ids, ((0, 0), (0, more)))))) for more in (0, 60)
    )
    moved[label] = abs(padded - alone)

# %%
figure, axes = plt.subplots(figsize=(7, 2.4))
colors = ("#D55E00", "#E69F00", "#0072B2", "#009E73")
axes.barh(list(moved), list(moved.values()), color=colors)
axes.set(title="Padding changes the published score", xlabel="change of the logit")
axes.invert_yaxis()
axes.grid(False, axis="y")
plt.show()
for label, change in moved.items():
    print(f"{label:26}", "depends on padding" if change > 1e-4 else "does not")
assert moved["as published"] > 1e-3
assert max(moved["and a padding mask"], moved["sound encoder"]) < 1e-4

# %% [markdown]
# (The last two bars have no length. The weights are those of an untrained model: the figure is about
# what the computation looks at, not about what was learned.)
#
# ## 4 · Training, live
#
# The model, with its activation sites marked ●: `block_0`, and `head` behind the average. The BERT-style model reads its answer
# from the first position instead, without a head, and so has the first site alone.
#
# ```text
#  subwords
#     │ embedding + position
#  ┌──┴─ encoder block ───────────┐
#  │  x + attention(norm(x))      │
#  │  x + W₂ ● (W₁ norm(x))       │
#  └──┬───────────────────────────┘
#     │ norm, mean over the words (padding left out)
#     │ dense, ●
#     │ dense: logit of a positive review
# ```
#
# The sound encoder: subwords learned on training reviews alone, pre-norm blocks, padding masks
# everywhere, an average over real positions, an activation layer of its own at every site. The weights
# are those of the epoch with the lowest *validation* cross-entropy; the test reviews are evaluated once,
# with these weights. Here one block learns for six epochs, with GELU; section 6 goes on from there with
# SG-Blend.

# %%
from sgblend_utils.tasks.train import train

EPOCHS = 6
backend = keras.backend.backend()
smaller = {"epochs": EPOCHS, "num_layers": 1}
config = RunConfig("imdb", "gelu", preset="mini", overrides=smaller, backend=backend)
run = train(config)
accuracy = run.record["metrics"]["test_accuracy"]
assert accuracy > 0.9 > by_counts
print("test accuracy above 90 %:", accuracy > 0.9)

# %%
figure, axes = plt.subplots(figsize=(7.5, 3.5))
history = pd.DataFrame(run.record["history"])
style = {**activation_style("gelu"), "marker": "", "linestyle": "-"}
axes.plot(history["epoch"], history["val_nll"], **{**style, "label": "validation"})
axes.plot(history["epoch"], history["nll"], **{**style, "lw": 1, "label": "training"})
axes.axhline(np.log(2), color=MUTED, ls=":", lw=1)
axes.text(EPOCHS, np.log(2) + 0.01, "chance", ha="right", color=MUTED, fontsize=9)
axes.set(title="Chance level at first, then the rule", xlabel="epoch", ylim=(0, None))
axes.set_ylabel("cross-entropy (nats)")
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# Has it learned the rule, or sentences? Here are opinions made for this test, each with and without
# *not*, followed by a sentence that is always the same.

# %%
from sgblend_utils.tasks.sentiment import positive_probability

GOOD = ("good", "great", "funny", "witty", "moving", "lovely")  # of data/mini/generate.py
BAD = ("bad", "awful", "boring", "stupid", "dull", "ugly")
task, settings = config.task_object, config.settings
data = task.load(config)
opinions = [
    f"The music was {inverted}{word}. The old dog sees the cat."
    for inverted in ("", "not ")
    for word in (*GOOD, *BAD)
]
asked = Reviews(opinions, np.zeros(len(opinions)))
asked = encode_reviews(asked, data.vocabulary, settings.length)
found = positive_probability(run.model, task.batches(settings, asked)).reshape(2, -1)
positive = np.arange(12) < 6
right = (found[0] > 0.5) == positive, (found[1] > 0.5) != positive
assert np.mean(right) > 0.8
print("more than 80 % of the opinions are classified correctly:", bool(np.mean(right) > 0.8))

# %%
figure, axes = plt.subplots(figsize=(8.5, 3.4))
places = np.arange(12)
for row, (label, color, hatch) in enumerate((("", "#0072B2", ""), ("not", "#E69F00", "///"))):
    axes.bar(
        places + 0.4 * row - 0.2,
        found[row] - 0.5,
        0.38,
        bottom=0.5,
        color=color,
        hatch=hatch,
        edgecolor="white",
        label=f"The music was {label} …".replace("  ", " "),
    )
axes.axhline(0.5, color=INK, lw=1)
axes.set_xticks(places, [*GOOD, *BAD], rotation=30)
axes.set(title="“Not” inverts the opinion", ylabel="probability of positive", ylim=(0, 1))
axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=2)
plt.show()

# %% [markdown]
# ## 5 · Real data
#
# IMDB (Maas et al. 2011): 25,000 reviews to train on and as many to test on. Some reviews are in the
# release twice, also once in each half; the sound protocol leaves those out of training. Each number
# below comes from a committed record.
#
# ```
# sgblend sweep imdb --preset cpu --seeds 3-7 \
#   --activations "sgblend,sgblend(gelu=sigmoid, parameterization=published),silu,gelu,relu"
# sgblend sweep imdb_bert --preset cpu --seeds 3-7 --activations sgblend,gelu
# ```

# %%
from sgblend_utils.report import claims, experiments, note
from sgblend_utils.report.figures import (
    figure_differences,
    figure_parameters,
    figure_performance,
)
from sgblend_utils.report.tables import comparison_text, message, results_text, to_markdown

everything = experiments()
found = [one for one in everything if (one.task, one.preset) == ("imdb", "cpu")]
stored = {one.protocol: one for one in found if not (one.overrides or one.again)}
sound = stored["sound"]
facts = sound.frame["record"].iloc[0]["data"]
for split in ("train", "validation", "test"):
    cut = facts[f"{split}_reviews_cut"] / facts[f"{split}_reviews"]
    print(
        f"{split:11} {facts[f'{split}_reviews']:6,} reviews, {cut:.0%} longer than the model reads"
    )
print(f"{facts['train_repeated_in_test']} training reviews are in the test set too,", end=" ")
print(f"{facts['train_repeated']} twice in the training set: left out")
assert not sound.overrides

# %% [markdown]
# The settings are the same for all activations: one block of 32 units, the first 800 subwords of a lower-case
# review, three words in ten left out in training. They were chosen by validation scores of GELU alone (the runs are in
# `data/tuning`): to read whole reviews helped most, since many say what they think at the end. What suits GELU best may
# not suit another activation best, so that the comparison favours GELU if anything.

# %%
for experiment in stored.values():
    table = to_markdown(results_text(experiment))
    display(Markdown(f"**{experiment.name}**\n\n{table}\n\n{note(experiment)}."))
earlier = [one for one in found if one.protocol == "sound" and one.overrides]
print("pilot with other settings, in notebook 10:", ", ".join(one.seeds for one in earlier))
best = sound.frame.groupby("activation")["test_accuracy"].mean()
assert best.min() > 85
print(f"mean test accuracy: lowest {best.min():.2f} %, highest {best.max():.2f} %")

# %%
display(figure_performance(sound))
plt.close("all")
shown = [m for m in sound.metrics if m.name in ("test_accuracy", "f1", "test_nll", "ece")]
for metric in shown:
    print(message(sound, metric))

# %% [markdown]
# Dead units: ReLU has half a per cent of them, all others have none in any run, GELU included. Where the
# baseline has none, another activation cannot have fewer.
#
# One run's accuracy is itself uncertain: it is a share of 25,000 reviews. Its interval, and the range
# of the activations' means:

# %%
metrics = [record["metrics"] for record in sound.frame["record"]]
widths = [100 * (m["test_accuracy_high"] - m["test_accuracy_low"]) / 2 for m in metrics]
print(f"95 % interval of one run's accuracy over reviews: ± {np.mean(widths):.2f} points")
print(f"highest minus lowest mean of the activations: {best.max() - best.min():.2f} points")

# %% [markdown]
# Runs of one seed share weights, order of data and test reviews, so their *difference* is known more
# precisely than either of them.

# %%
if figure := figure_differences(sound):
    display(figure)
plt.close("all")
display(Markdown(to_markdown(comparison_text(sound))))

# %% [markdown]
# Five seeds left four rows undecided: SG-Blend against GELU, in cross-entropy and accuracy, in this encoder and in the BERT-style one. A second
# round with new seeds was planned for them (`data/plan.toml`) before any of its runs, to judge them alone once it was whole:
#
# ```
# sgblend sweep imdb --preset cpu --seeds 11-24 --activations sgblend,gelu
# sgblend sweep imdb_bert --preset cpu --seeds 11-22 --activations sgblend,gelu
# ```

# %%
ledger = claims.ledger(everything)
rows = ledger[ledger["task"].isin(["imdb", "imdb_bert"])]
display(Markdown(to_markdown(claims.ledger_text(rows.reset_index(drop=True)))))
for one in everything:
    if one.again and one.task in ("imdb", "imdb_bert"):
        display(Markdown(f"**{one.name}**\n\n{to_markdown(comparison_text(one))}\n\n{note(one)}."))

# %% [markdown]
# Why is the BERT-style encoder's second interval ten times narrower than its first? Each run keeps the weights of the epoch with the lowest
# validation cross-entropy. Where SG-Blend and GELU keep the same epoch of a seed they hardly differ:

# %%
bert = [one for one in everything if one.task == "imdb_bert" and not one.overrides]
runs = pd.concat([one.frame for one in bert])
runs["kept"] = [record["metrics"]["best_epoch"] for record in runs["record"]]
pairs = runs.pivot(index="seed", columns="activation", values=["test_nll", "kept"]).astype(float)
same = pairs["kept", "gelu"] == pairs["kept", "sgblend"]
apart = (pairs["test_nll", "sgblend"] - pairs["test_nll", "gelu"]).abs()
counts = f"the same epoch in {same.sum()} of {len(same)} seeds, at most"
print(*(one.provenance for one in bert), sep="\n")
print(f"{counts} {apart[same].max():.4f} nats apart")
print(f"another one in seed {apart[~same].index[0]}, {apart[~same].max():.4f} nats apart")
assert same.sum() == len(same) - 1 and apart[same].max() < 0.0015 and apart[~same].min() > 0.009

# %% [markdown]
# And what the sites have learned. The block's activation acts on every position of a review, the head's
# on one vector per review.

# %%
if figure := figure_parameters(sound):
    display(figure)
plt.close("all")
last = sound.parameters()
last = last[last["epoch"] == last["epoch"].max()]
keys = ["activation", "site", "parameter"]
learned = last.groupby(keys)["value"].agg(["min", "max"]).round(2).unstack()
print(learned.astype(object).fillna("–"))

# %% [markdown]
# ### What the published protocol would have reported
#
# For the small encoder the published accuracy is that of the test set, so that "as published" and "test"
# agree. The flaws are elsewhere: training is stopped by the loss of the test set, and the training reviews
# contain some of it. A "dead" unit as published is a unit of the *average* over a review, which is not
# the output of any activation.

# %%
published = stored.get("published")
rows = []
for record in [] if published is None else published.frame["record"]:
    m = record["metrics"]
    rows.append(
        {
            "activation": LABELS[record["config"]["activation"]],
            "epochs": str(len(record["history"])),
            "accuracy as published": f"{100 * m['reported_accuracy']:.2f} %",
            "test accuracy": f"{100 * m['test_accuracy']:.2f} %",
            "dead as published": f"{100 * m['reported_dead_share']:.1f} %",
        }
    )
display(Markdown(to_markdown(pd.DataFrame(rows)) if rows else "No published runs are stored."))

# %% [markdown]
# The flaws hardly change the accuracy on IMDB: 86.0 % as published (GELU, one seed), and 86.2 % for GELU in the pilot's sound encoder, which read
# about as much of a review (320 subwords where the published one reads 200 words). That the sound encoder above gets 88 % is mostly because it reads whole reviews; width, vocabulary and dropout changed too. The published runs are worse calibrated, see the calibration error above. This is unlike
# translation, where the published decoder sees the answer ([notebook 04](04_wmt14_data_and_protocol.ipynb)).
#
# ## 6 · SG-Blend inside a model that is already trained
#
# Few people train encoders from scratch. `swap_activation` replaces GELU by SG-Blend, with
# $\alpha = 0$, where SG-Blend *is* GELU: at first the model computes what it did before, and
# training can then move $\alpha$. Here with the GELU model trained above:

# %%
from sgblend_utils import swap_activation

test = task.batches(settings, data.splits["test"])
labels = data.splits["test"].labels
before = positive_probability(run.model, test)
swapped = swap_activation(run.model, "gelu", "sgblend")
tuning = RunConfig("imdb", "gelu", overrides={"learning_rate": 2e-3}, backend=backend)
task.compile(tuning, swapped, len(data.train))
after = positive_probability(swapped, test)
assert np.abs(before - after).max() < 1e-5
alphas = [v for v in swapped.trainable_variables if v.name == "alpha"]
assert len(alphas) == 2 and all(float(ops.convert_to_numpy(v)) == 0 for v in alphas)
print(len(alphas), "sites swapped; the largest change of a probability is below 1e-5")

# %%
from sgblend_utils.tasks.train import Batches

swapped.fit(Batches(data.train), epochs=1, shuffle=False, verbose=0)
tuned = positive_probability(swapped, test)
accuracy = [float(((p > 0.5) == labels).mean()) for p in (before, tuned)]
assert min(accuracy) > 0.9
assert all(float(ops.convert_to_numpy(v)) != 0 for v in alphas)
print("after one more epoch: still above 90 %, and every α has left zero")

# %% [markdown]
# A model of keras-hub works in the same way; it comes from a local directory, as
# `save_to_preset` writes it, or from the hub:
#
# ```python
# import keras_hub
# from sgblend_utils import swap_activation
#
# encoder = keras_hub.models.Backbone.from_preset("path/to/preset")
# encoder = swap_activation(encoder, "gelu", "sgblend")   # the same function, ready to be fine-tuned
# ```
#
# (The test suite does so with a small BERT, through saving and loading.) Whether fine-tuning gains
# anything by it is a question for paired runs like those above; none are stored yet.
#
# ## What was found
#
# * The published pipeline loses the mark that it reads and lets padding change the score; both are
#   shown above by experiments that could have failed, and each has a switch.
# * On a task that word counts cannot solve, a small sound encoder learns the rule.
# * On IMDB five seeds fixed beforehand (3 to 7) left SG-Blend minus GELU open: −0.17 points of accuracy, 95 % interval −0.36 to
#   0.02, and +0.0023 nats of cross-entropy, −0.0030 to 0.0075. Fourteen new ones (11 to 24) decide it: −0.17 points, −0.24 to −0.09,
#   and +0.0038 nats, 0.0003 to 0.0073. SG-Blend is a little behind, by less than the margins of 0.3 points and 0.01 nats: no
#   relevant difference, that is, shown to be below the margin at the 5 % level, after correction for all claims.
# * The layer as published (five seeds) is at −0.0011 nats, −0.0064 to 0.0041: no relevant difference either.
# * The means of the five activations lie within 0.2 points of each other, ReLU's included.
# * In the BERT-style encoder, which reads a mark at the beginning, five seeds (3 to 7) left it open: +0.0017 nats, −0.0034 to 0.0068. Twelve
#   new ones (11 to 22) decide it: −0.0002 nats, −0.0006 to 0.0002, and −0.01 points of accuracy, −0.04 to 0.03: no relevant difference. What the
#   first round could not settle was one seed, in which the two runs kept the weights of different epochs.
# * A linear model of words and pairs of words (tf-idf, logistic regression, `benchmarks/imdb_linear.py`) gets 90.5 %,
#   two points more than this small encoder. So its scores are no measure of how well IMDB can be classified. Settings that bring it to 89 % were looked for and not found.
# * Seeds are not the whole uncertainty. The 25,000 reviews of the test set alone leave ± 0.40 points open for a single
#   model, and ± 0.10 for a difference between two activations, averaged over seeds.
# * SG-Blend does move from its start: α ends near 0.7 in the block and 0.6 in the head, without a relevant effect on the scores.
# * The flaws of the published protocol hardly change the accuracy of this task.
#
# The next cell holds these statements against the records.

# %%
from sgblend_utils.report.experiments import BY_NAME
from sgblend_utils.stats import compare

accuracy, nll = (
    compare(sound.frame, name, "gelu", BY_NAME[name].better)
    for name in ("test_accuracy", "test_nll")
)
assert (accuracy["low_corrected"] < 0).all() and (accuracy["high_corrected"] > 0).all()
assert (nll["low_corrected"] < 0).all() and (nll["high_corrected"] > 0).all()
published_layer = "sgblend(gelu=sigmoid, parameterization=published)"
assert nll.loc[published_layer, ["low", "high"]].abs().max() < 0.01
assert accuracy.loc["sgblend", "difference"] < 0 < nll.loc["sgblend", "difference"]
verdicts = ledger.set_index("claim")["verdict"]
names = ["imdb-nll-gelu", "imdb-gelu", "imdb-bert-nll-gelu", "imdb-bert-gelu"]
assert (verdicts[names] == "no relevant difference").all()
assert best.min() > 87.8 and best.max() < 88.3 and 0.39 < np.mean(widths) < 0.41
if published is not None and earlier:
    pilot = earlier[0].frame.groupby("activation")["test_accuracy"].mean()["gelu"]
    assert abs(published.frame["test_accuracy"].mean() - pilot) < 0.5
for metric in shown:
    print(message(sound, metric))

# %% [markdown]
# **References.** Maas et al. (2011), *Learning Word Vectors for Sentiment Analysis*, ACL (the IMDB data).
# Sarkar, Gala and Tripathi (2025), [arXiv 2505.23942](https://arxiv.org/abs/2505.23942) (SG-Blend).
# Devlin et al. (2019), [arXiv 1810.04805](https://arxiv.org/abs/1810.04805) (BERT and its mark `[CLS]`).
# Xiong et al. (2020), [arXiv 2002.04745](https://arxiv.org/abs/2002.04745) (pre-norm blocks).
# Sennrich, Haddow and Birch (2016), [arXiv 1508.07909](https://arxiv.org/abs/1508.07909) (subwords).

# %% [markdown]
# ## Exercises
#
# 1. How many points of accuracy does a test set of 25,000 reviews leave open for one model that gets 88 % right?
#
# <details><summary>Solution 1</summary>
#
# ± 0.4 points.
#
# ```python
# from scipy.stats import binomtest
#
# found = binomtest(22_000, 25_000).proportion_ci(method="wilson")
# assert 0.39 < 100 * (found.high - found.low) / 2 < 0.41
# ```
#
# </details>
#
# 2. Put SG-Blend into a model whose activation is SiLU. Where does it start?
#
# <details><summary>Solution 2</summary>
#
# At α = 1 and β = 1, where it is SiLU.
#
# ```python
# import keras
# import numpy as np
#
# from sgblend_utils import swap_activation
# from sgblend_utils.activations import learnable_activations
#
# model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="silu")])
# swapped, x = swap_activation(model, "silu"), np.ones((2, 4), "float32")
# values = [keras.ops.convert_to_numpy(one(x)) for one in (model, swapped)]
# assert abs(values[0] - values[1]).max() < 1e-6
# (layer,) = learnable_activations(swapped).values()
# assert layer.effective_parameters()["alpha"] == 1.0
# ```
#
# </details>
#
# ---
# Previous: [05 · Training a translator](05_wmt14_training.ipynb) · Next:
# [07 · Training an image classifier](07_vision_training.ipynb)
