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
# # 00 · Start here
#
# **Claim of these notebooks.** A paper's claims about an activation function become testable when three
# things are kept apart: what follows from the formula, what a measurement that leaks no answers shows, and
# how much a handful of seeds can tell. Small, careful runs then show what the published numbers consist of,
# and, where enough seeds have run, whether a difference that matters is there.
# The notebooks do this for
# *SG-Blend: Learning an Interpolation Between Improved Swish and GELU for Robust Neural
# Representations* (Sarkar, Gala, Tripathi; NeurIPS 2025;
# [arXiv 2505.23942](https://arxiv.org/abs/2505.23942)). They are independent of its authors.
#
# This one says what the function is, how to use it in a model of your own, what the records say so
# far, how to read a number, and where to go on.
#
# *You will learn* what SG-Blend computes, how to put it into a Keras, PyTorch or JAX model, what the stored runs say about
# it so far, and how to read a result of these notebooks.
#
# *Needs* nothing but the package. *Takes* half a minute. The numbers come from the *records* that are
# committed with the project: a record is one small JSON file with the settings, the data's digest, the
# history and the scores of one training run. Apart from three steps of a toy model nothing is trained here.

# %%
from sgblend_utils.notebook import setup

setup()

import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from matplotlib_inline.backend_inline import set_matplotlib_formats

from sgblend_utils import theory
from sgblend_utils.report import claims, digest, experiments, front
from sgblend_utils.report.tables import to_markdown
from sgblend_utils.style import activation_style

set_matplotlib_formats("png", dpi=80, bbox_inches="tight")  # `figures/` has them larger

# %% [markdown]
# ## 1 · The function
#
# Swish lets a logistic gate decide how much of its input passes, GELU a normal one. SG-Blend takes a
# weighted mean of the two and learns the weight $\alpha$, the steepness $\beta$ of the logistic gate
# and a shift $\gamma$:
#
# $$f(x) = \alpha\,\bigl[x\,\sigma(\beta x) - \gamma\bigr] + (1-\alpha)\,x\,\Phi(x)$$
#
# Fresh, with $\alpha = \tfrac12$, $\beta = 1$, $\gamma = 0$, it lies halfway between SiLU and GELU. To move the three
# numbers by hand, open [figures/explore.html](../figures/explore.html) in a browser.

# %%
x = np.linspace(-5, 3, 801)
figure, panels = plt.subplots(1, 2, figsize=(10, 3.6))
for order, (axes, name) in enumerate(zip(panels, ("f(x)", "f′(x)"), strict=True)):
    for activation in ("relu", "gelu", "silu", "sgblend"):
        values = theory.closed_form(activation, order)(x)
        axes.plot(x, values, **{**activation_style(activation), "marker": ""})
    axes.set(title=name, xlabel="x")
panels[0].set_ylim(-0.5, 2)
panels[0].legend()
plt.show()

between = (theory.closed_form("gelu")(x) + theory.closed_form("silu")(x)) / 2
assert np.allclose(theory.closed_form("sgblend")(x), between)

# %% [markdown]
# ## 2 · In a model of your own
#
# `SGBlend` is an ordinary Keras 3 layer, for TensorFlow, JAX and PyTorch. Give each place in a network where
# an activation acts (each *site*) its own instance: each learns its own three numbers. Without Keras there are
# `sgblend_utils.torch.SGBlend` and `sgblend_utils.jax.sgblend`, the same function.

# %%
from sgblend_utils.activations import SGBlend

model = keras.Sequential([keras.layers.Dense(128), SGBlend(), keras.layers.Dense(10)])
rows = np.random.default_rng(0).normal(size=(4, 20)).astype("float32")
outputs = keras.ops.convert_to_numpy(model(rows))
assert outputs.shape == (4, 10)

# %% [markdown]
# It trains, and it can be saved and loaded like any layer. $\gamma$ does not move the loss in any way
# that the next layer's bias could not: [notebook 01](01_activation_derivation.ipynb) proves it.

# %%
model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse")
model.fit(rows, np.zeros((4, 10), "float32"), epochs=3, verbose=0)
learned = model.layers[1].effective_parameters()
assert set(learned) == {"alpha", "beta", "gamma"} and float(learned["alpha"]) != 0.5

with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "model.keras")
    again = keras.saving.load_model(Path(folder) / "model.keras")
both = [keras.ops.convert_to_numpy(m(rows)) for m in (model, again)]
assert np.allclose(*both, atol=1e-6)
print("trained, saved, loaded: the same outputs")

# %% [markdown]
# ## 3 · The answer so far
#
# Everything in this section is computed from the records at the moment the notebook runs. What counts as an answer was fixed
# before the runs: for each task a primary metric, the smallest difference that matters (the *margin*), and which seeds are
# judged. One figure and one table; [notebook 10](10_tables_and_figures.ipynb) has everything else.

# %%
found = experiments()
ledger = claims.ledger(found)
front.figure_forest(ledger, found)
plt.show()
print(digest(front.effects(ledger, found)))

# %%
display(Markdown(to_markdown(front.task_table(ledger))))
print(front.planned())

# %% [markdown]
# ## 4 · How to read a number
#
# * **Protocol.** `sound`: causal and padding masks, subwords learned on training text, a held-out
#   test set that nothing is selected on, free-running decoding scored by sacreBLEU. `published`:
#   follows the paper's code, in which the decoder sees the answer and padding is scored, so that its numbers can
#   be understood ([notebook 04](04_wmt14_data_and_protocol.ipynb) takes it apart, [06](06_sentiment.ipynb) that of
#   the sentiment task; no vision code was published). Scores of the two protocols are never compared; the
#   ledger asks whether a difference as large as the printed one also appears under the sound protocol.
# * **Preset.** `cpu`: real data, at most a quarter of an hour on two cores. `paper` and `full`: the
#   paper's sizes and all of WMT14, for a GPU; no records of them yet. `mini`: small bundled data,
#   on which the notebooks train live; its numbers are never results.
# * **Seeds.** A seed fixes the initial weights and the order of the data, the same for every
#   activation, so that runs are compared in pairs. After ± is half of a 95 % Student interval of the
#   mean over seeds; with one seed there is none. It may reach below zero where the quantity itself cannot, as
#   with a share of dead units that is zero for most seeds.
# * **Settings.** Settings such as learning rates were chosen with GELU alone, and then used for every
#   activation.
# * **The activation.** `SG-Blend` without anything in brackets is the variant whose $\alpha$, $\beta$ and $\gamma$ are
#   free numbers. *As published*, $\alpha$ stays between 0.269 and 0.731, $\beta$ between 0.1 and 10, and GELU has another
#   form ([notebook 01](01_activation_derivation.ipynb)).
# * **Verdicts.** *Gain* or *loss*: the difference from GELU is not zero. *No relevant difference*: it is smaller than the
#   margin. *Undecided*: the planned seeds show neither. *Not testable*: there is nothing to differ in, such as dead units
#   where GELU has none. *Not run*: planned runs are missing. All are corrected for the number of claims.
# * **Cross-entropy** on held-out data is the finer measure, BLEU or accuracy the one that is usually
#   reported.
#
# ## 5 · The notebooks
#
# | | |
# |---|---|
# | [01 · Derivation](01_activation_derivation.ipynb) | where SG-Blend comes from, its symmetry, what $\gamma$ cannot do, the paper's teaser figure |
# | [02 · Gradient analysis](02_gradient_analysis.ipynb) | what its shape does to signals and gradients in deep networks |
# | [03 · Activation zoo](03_activation_zoo.ipynb) | twenty-seven activations side by side, in theory and use |
# | [04 · WMT14 and the published protocol](04_wmt14_data_and_protocol.ipynb) | what the paper's code measures, and what each of its protocol switches adds to the number |
# | [05 · Training a translator](05_wmt14_training.ipynb) | the sound protocol piece by piece, a model trained live, the runs on real data |
# | [06 · Sentiment](06_sentiment.ipynb) | what padding and truncation do to a review, a rule learned live, IMDB, and SG-Blend inside a trained model |
# | [07 · Training an image classifier](07_vision_training.ipynb) | residual networks, augmentation, CIFAR-10, calibration and robustness measured |
# | [08 · What the effect is made of](08_ablations.ipynb) | which part of SG-Blend can do what, where sites end, one thing changed at a time |
# | [09 · What SG-Blend costs](09_overhead.ipynb) | an activation, a training step, memory, beside plain PyTorch and CTranslate2 |
# | [10 · Tables and figures](10_tables_and_figures.ipynb) | every result, the ledger of claims, and the command behind each |
#
# ## 6 · Reproduce it
#
# In a terminal, at the root of the project:
#
# ```sh
# make walkthrough    # executes these notebooks, then rebuilds every figure and table
# make test           # checks the package, and every output below against what it gives now
# sgblend data fetch multi30k
# sgblend run multi30k --activation sgblend --protocol sound --preset cpu --seed 0
# sgblend audit wmt14 --preset cpu    # from the published protocol to a sound one, step by step
# sgblend report      # figures, tables and the README's results, from the records alone
# ```
#
# ## What was found
#
# * A fresh SG-Blend is the mean of SiLU and GELU; training moves it from there.
# * It is one line in a Keras model, and the model trains, saves and loads.
# * In the published translation code the decoder sees the words that it has to predict, so its accuracy and BLEU
#   measure copying ([notebook 04](04_wmt14_data_and_protocol.ipynb)).
# * What the verdicts say:

# %%
display(Markdown(front.points(ledger, found).replace("](notebooks/", "](")))

# %% [markdown]
# ## Exercises
#
# 1. At which values of α, β and γ is SG-Blend exactly SiLU, and at which exactly GELU? Check it with the layer.
#
# <details><summary>Solution 1</summary>
#
# α = 1, β = 1, γ = 0 is SiLU. α = 0 is GELU, whatever β and γ are.
#
# ```python
# import keras
# import numpy as np
#
# from sgblend_utils.activations import SGBlend
#
# x = np.linspace(-5, 5, 101, dtype="float32")
# silu, gelu = keras.activations.silu(x), keras.activations.gelu(x, approximate=False)
# for alpha, wanted in ((1.0, silu), (0.0, gelu)):
#     found = SGBlend(alpha=alpha, beta=1.0, gamma=0.0)(x)
#     difference = keras.ops.convert_to_numpy(found) - keras.ops.convert_to_numpy(wanted)
#     assert abs(difference).max() < 1e-6
# ```
#
# </details>
#
# 2. A difference of 0.004 nats is certainly not zero, and certainly smaller than the margin of 0.01. Is it a
#    gain?
#
# <details><summary>Solution 2</summary>
#
# No: what is certainly smaller than what matters is called no relevant difference, even if it is not zero.
#
# ```python
# from sgblend_utils.stats import verdict
#
# assert verdict(0.004, p=0.01, p_equivalent=0.001) == "no relevant difference"
# assert verdict(0.004, p=0.01, p_equivalent=0.2) == "gain"  # where the margin is not excluded
# ```
#
# </details>
#
# ---
# Next: [01 · Derivation](01_activation_derivation.ipynb)
