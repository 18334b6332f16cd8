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
# **Claim of this notebook.** Telling praise from blame is the easiest of the paper's tasks and so the one
# in which an activation has the least to add. Before one asks by how much, two things have to be right:
# the model must see the review and not its padding, and the reviews it is scored on must be new to it.
# This notebook shows how the published pipeline loses both, trains a sound encoder in front of you on a
# task that no single word can solve, reads the stored runs on IMDB, and ends with the way an engineer
# would adopt SG-Blend: inside a model that is already trained.
#
# *Needs* nothing but the package: what is trained live reads bundled sentences. *Takes* one to two
# minutes on two cores. Numbers under "Real data" come from stored records; nothing trained live here is
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

from sgblend_utils.configs import PRESETS, RunConfig
from sgblend_utils.datasets.reviews import (
    Reviews,
    encode_reviews,
    mini_reviews,
    plain_text,
    published_text,
)
from sgblend_utils.style import INK, LABELS, MUTED, activation_style, set_style

set_style()

# %% [markdown]
# ## 1 · A task that no single word can solve
#
# The bundled reviews consist of one verdict and one sentence that has nothing to do with it, in either
# order. The verdict praises or blames, and may be turned round by *not*. Both words are equally often in
# positive and in negative reviews, and the other sentence has a *not* of its own now and then: what
# counts is the pair, and where it stands.

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
chance = 0.5 + 4 * (0.25 / len(splits["test"])) ** 0.5  # four standard deviations above a coin
assert by_counts < chance
print("word counts beat a coin:", bool(by_counts >= chance))

# %% [markdown]
# ## 2 · What the published pipeline does to a review
#
# The paper's small Transformer reads 200 words, its "BERT" 256, after a mark `[CLS]` whose place is read
# in the end. Keras's tokenizer and `pad_sequences`, with their defaults, turn that into something else.
# Here is a review of our own, cut to twelve tokens in place of 256:

# %%
from sgblend_utils.datasets.text import BOS as CLS
from sgblend_utils.datasets.words import Words

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
# the review. The switches of our version have names, so that each can be mended alone
# (`sgblend run imdb --protocol published --set flaws=…`):

# %%
from sgblend_utils.models.sentiment import FLAWS

rows = "\n".join(f"| `{name}` | {what} |" for name, what in FLAWS.items())
display(Markdown(f"| switch | what the published protocol does |\n|---|---|\n{rows}"))

# %% [markdown]
# ## 3 · Padding that votes
#
# Reviews of a batch are filled up to one length. If attention looks at the filling, and the average is
# taken over it, then the same review gets another score in another batch. The check: add padding to a
# review and watch the logit. Each line below mends one flaw more.

# %%
from sgblend_utils.models.sentiment import PublishedSentiment, SentimentEncoder

sizes = {"length": 80, "d_model": 32, "num_heads": 2, "ff_dim": 32, "num_layers": 2, "dropout": 0.0}
cures = {
    "as published": (),
    "average without padding": ("padding_averaged",),
    "and attention without it": ("padding_averaged", "no_padding_mask"),
}
ids = np.random.default_rng(0).integers(4, 200, (1, 20)).astype("int32")
padded = range(0, 61, 4)
moved = {}
for label, mended in cures.items():
    left = [flaw for flaw in FLAWS if flaw not in mended]
    model = PublishedSentiment(200, flaws=left, activation="sgblend", seed=1, **sizes)
    model.build()
    logits = [float(ops.squeeze(model(np.pad(ids, ((0, 0), (0, n)))))) for n in padded]
    moved[label] = np.array(logits) - logits[0]
model = SentimentEncoder(200, activation="sgblend", seed=1, **sizes)
model.build()
logits = [float(ops.squeeze(model(np.pad(ids, ((0, 0), (0, n)))))) for n in padded]
moved["sound encoder"] = np.array(logits) - logits[0]

# %%
figure, axes = plt.subplots(figsize=(8.2, 3.6))
looks = (("#D55E00", "-"), ("#E69F00", "--"), ("#0072B2", "-"), ("#009E73", ":"))
for (label, values), (color, dash) in zip(moved.items(), looks, strict=True):
    axes.plot(padded, values, color=color, ls=dash, lw=2.4, label=label)
axes.set(title="The same review, another score", xlabel="padding after 20 words")
axes.set_ylabel("change of the logit")
axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
plt.show()
for label, values in moved.items():
    print(f"{label:26}", "depends on padding" if np.abs(values).max() > 1e-4 else "does not")
assert np.abs(moved["as published"]).max() > 1e-2
assert np.abs(moved["and attention without it"]).max() < 1e-4
assert np.abs(moved["sound encoder"]).max() < 1e-4

# %% [markdown]
# (The two lines at zero lie on top of each other. The weights are those of a fresh model: this is
# about what the computation looks at, not about what was learned.)
#
# ## 4 · Training, live
#
# The sound encoder: subwords learned on training reviews alone, pre-norm blocks, padding masked
# everywhere, an average over real positions, an activation layer of its own at every site. Among its
# epochs the one with the lowest *validation* cross-entropy is taken; the test reviews are read once.

# %%
from sgblend_utils.training import train

runs = {name: train(RunConfig("imdb", name, preset="mini")) for name in ("gelu", "sgblend")}
for name, run in runs.items():
    metrics = run.record["metrics"]
    assert metrics["test_accuracy"] > 0.9 > by_counts
    print(f"{LABELS[name]}: more than nine in ten:", metrics["test_accuracy"] > 0.9)
assert set(runs["sgblend"].record["activation_parameters"][0]) == {"block_0", "block_1", "head"}

# %%
figure, axes = plt.subplots(figsize=(7.5, 3.5))
for name, run in runs.items():
    history = pd.DataFrame(run.record["history"])
    style = {**activation_style(name), "marker": ""}
    axes.plot(history["epoch"], history["val_nll"], **style)
    style = {**style, "lw": 1, "alpha": 0.6, "label": None}
    axes.plot(history["epoch"], history["nll"], **style)
axes.axhline(np.log(2), color=MUTED, ls=":", lw=1)
axes.text(10, np.log(2) + 0.01, "a coin", ha="right", color=MUTED, fontsize=9)
axes.set(title="First nothing, then the rule", xlabel="epoch", ylim=(0, None))
axes.set_ylabel("cross-entropy (nats)\nthick: validation, thin: training")
axes.legend(loc="upper right", bbox_to_anchor=(1, 0.9))
plt.show()

# %% [markdown]
# Has it learned the rule, or sentences? Ask it about verdicts built to order, each with and without
# *not*, followed by a sentence that is always the same.

# %%
from sgblend_utils.datasets.reviews import BAD, GOOD
from sgblend_utils.datasets.text import Subwords
from sgblend_utils.training.sentiment import make_batches, positive_probability

settings = PRESETS["imdb", "sound", "mini"]
subwords = Subwords(runs["sgblend"].files["subwords.model"])
verdicts = [
    f"The music was {turn}{word}. The old dog sees the cat."
    for turn in ("", "not ")
    for word in (*GOOD, *BAD)
]
asked = encode_reviews(Reviews(verdicts, np.zeros(len(verdicts))), subwords, settings["length"])
found = positive_probability(runs["sgblend"].model, make_batches(asked, settings)).reshape(2, -1)
praise = np.arange(12) < 6
right = (found[0] > 0.5) == praise, (found[1] > 0.5) != praise
assert np.mean(right) > 0.8
print("at least eight verdicts in ten are understood:", bool(np.mean(right) > 0.8))

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
axes.set(title="“Not” turns the verdict round", ylabel="probability of praise", ylim=(0, 1))
axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.08), ncols=2)
plt.show()

# %% [markdown]
# ## 5 · Real data
#
# IMDB (Maas et al. 2011): 25,000 reviews to train on and as many to be tested on. Some reviews are in the
# release twice, also once in each half; the sound protocol takes those out of training. Each number
# below is read from a committed record.
#
# ```
# sgblend sweep imdb --activations relu,gelu,silu,mish,sswish,sgblend --seeds 0-2 --preset cpu
# sgblend sweep imdb --activations gelu,sgblend --seeds 0 --preset cpu --protocol published
# ```

# %%
from sgblend_utils.report import conditions, note
from sgblend_utils.report.figures import (
    figure_differences,
    figure_parameters,
    figure_performance,
)
from sgblend_utils.report.tables import comparison_text, message, results_text, to_markdown

stored = {c.protocol: c for c in conditions() if (c.task, c.preset) == ("imdb", "cpu")}
sound = stored["sound"]
data = sound.frame["record"].iloc[0]["data"]
for split in ("train", "validation", "test"):
    cut = data[f"{split}_reviews_cut"] / data[f"{split}_reviews"]
    print(f"{split:11} {data[f'{split}_reviews']:6,} reviews, {cut:.0%} longer than is read")
print(f"{data['train_repeated_in_test']} training reviews are in the test set too,", end=" ")
print(f"{data['train_repeated']} twice in the training set: left out")
settings = [record["config"]["settings"] for record in sound.frame["record"]]
assert all(own == PRESETS["imdb", "sound", "cpu"] for own in settings)

# %% [markdown]
# The settings are one set for all activations: one block of 64 units, the first 320 subwords of a review,
# sizes that let a run take one core about five minutes. With GELU, four epochs were tried and then three,
# since validation cross-entropy was lowest after the third; nothing else was searched.

# %%
for condition in stored.values():
    table = to_markdown(results_text(condition))
    display(Markdown(f"**{condition.name}**\n\n{table}\n\n{note(condition)}."))
best = sound.frame.groupby("activation")["test_accuracy"].mean()
assert best.min() > 85
print(f"mean test accuracy: lowest {best.min():.2f} %, highest {best.max():.2f} %")

# %%
display(figure_performance(sound))
plt.close("all")
for metric in sound.metrics:
    if metric.name in ("test_accuracy", "f1", "test_nll", "ece"):
        print(message(sound, metric))

# %% [markdown]
# One run's accuracy is itself uncertain: it is a share of 25,000 reviews. By how much, and how that
# compares with what activations differ by:

# %%
widths = [
    100 * (r["metrics"]["test_accuracy_high"] - r["metrics"]["test_accuracy_low"]) / 2
    for r in sound.frame["record"]
]
print(f"95 % interval of one run's accuracy over reviews: ± {np.mean(widths):.2f} points")
print(f"highest minus lowest mean of the activations: {best.max() - best.min():.2f} points")

# %% [markdown]
# Runs of one seed share weights, order of data and test reviews, so their *difference* is known better
# than either of them.

# %%
if figure := figure_differences(sound):
    display(figure)
plt.close("all")
display(Markdown(to_markdown(comparison_text(sound))))

# %% [markdown]
# And what the sites have learned. The block's activation sees every position of a review, the head's one
# vector a review.

# %%
if figure := figure_parameters(sound):
    display(figure)
plt.close("all")
last = sound.parameters()
last = last[last["epoch"] == last["epoch"].max()]
moved = last.groupby(["activation", "site", "parameter"])["value"].mean().round(2).unstack()
print(moved.astype(object).fillna("–"))

# %% [markdown]
# ### What the published protocol would have reported
#
# The same models, read twice: by the protocol's own rule, and soundly. For the small encoder the two
# accuracies are of the same split, so they agree; what is wrong is that training was stopped by it, and
# that the training reviews contain some of it. "Dead" by the published rule is a unit of the *average*
# over a review, which is no activation at all.

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
            "dead at activations": f"{100 * m['dead_share']:.1f} %",
        }
    )
display(Markdown(to_markdown(pd.DataFrame(rows)) if rows else "No published runs are stored."))

# %% [markdown]
# ## 6 · SG-Blend inside a model that is already trained
#
# Few people train encoders from nothing. `swap_activation` puts SG-Blend in the place of GELU, with
# $\alpha = 0$, where SG-Blend *is* GELU: the model computes at first what it did before, and can then
# learn to leave. Here with the GELU model trained above:

# %%
from sgblend_utils import swap_activation
from sgblend_utils.training.sentiment import compile_encoder, load_sentiment

trained = load_sentiment(RunConfig("imdb", "gelu", preset="mini"))
settings = PRESETS["imdb", "sound", "mini"]
test = make_batches(trained.splits["test"], settings)
labels = trained.splits["test"].labels
model = runs["gelu"].model
before = positive_probability(model, test)
swapped = swap_activation(model, "gelu", "sgblend")
swapped.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy")
after = positive_probability(swapped, test)
assert np.abs(before - after).max() < 1e-5
sites = [v for v in swapped.trainable_variables if v.name == "alpha"]
assert len(sites) == 3 and all(float(ops.convert_to_numpy(v)) == 0 for v in sites)
print(len(sites), "sites swapped; the largest change of a probability is below 1e-5")

# %%
compile_encoder(swapped, {**settings, "learning_rate": 2e-3}, 2 * 60)
swapped.fit(make_batches(trained.splits["train"], settings, seed=1), epochs=2, verbose=0)
tuned = positive_probability(swapped, test)
accuracy = [float(((p > 0.5) == labels).mean()) for p in (before, tuned)]
assert min(accuracy) > 0.9
assert all(float(ops.convert_to_numpy(v)) != 0 for v in sites)
print("two more epochs: still above nine in ten, and every α has left zero")

# %% [markdown]
# A model of keras-hub works in the same way; it comes from a folder on this machine, as
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
# * The published pipeline loses the mark it reads and lets padding vote; both are shown above by
#   experiments that could have failed, and each has a switch.
# * On a task that word counts cannot solve, a small sound encoder learns the rule.
# * On IMDB, as far as the records go:

# %%
shown = [m for m in sound.metrics if m.name in ("test_accuracy", "f1", "test_nll", "ece")]
display(Markdown("\n".join(f"* {message(sound, metric)}." for metric in shown)))

# %% [markdown]
# Such a line speaks of seeds alone. Where three differences happen to agree, the interval of their mean is
# narrow, though an exact test of three signs cannot fall below p = 0.25. And what is smaller than a
# test set of 25,000 reviews leaves open, printed above, other reviews may well turn round: it is no reason to
# choose an activation.

# %% [markdown]
# ---
# Previous: [05 · Training a translator](05_wmt14_training.ipynb) · Next:
# [07 · Training an image classifier](07_vision_training.ipynb)
