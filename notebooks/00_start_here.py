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
# SG-Blend (Sarkar, Gala, Tripathi; NeurIPS 2025; [arXiv 2505.23942](https://arxiv.org/abs/2505.23942)) is a learned mean of
# two activation functions, Swish and GELU. Is it worth using? These notebooks derive what follows from its formula,
# repeat the paper's experiments at small scale, without the flaws of the published protocol, and judge each claim by
# margins and seeds that were fixed before the runs. They are independent of its authors.
#
# *You will learn* what SG-Blend computes, how to put it into a Keras, PyTorch or JAX model, what the stored runs say about
# it so far, and how to read a result of these notebooks.
#
# *Needs* nothing but the package. *Takes* half a minute. The numbers come from the *records* that are
# committed with the project: a record is one small JSON file with the settings, the data's digest, the
# history and the scores of one training run.

# %%
from sgblend_utils.notebook import setup

setup()

import keras
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from matplotlib_inline.backend_inline import set_matplotlib_formats

from sgblend_utils.activations import SGBlend
from sgblend_utils.report import claims, digest, experiments, front
from sgblend_utils.report.plan import plan
from sgblend_utils.report.tables import to_markdown

set_matplotlib_formats("png", dpi=80, bbox_inches="tight")  # `figures/` has them larger

# %% [markdown]
# ## 1 · The function, in a model of your own
#
# $$f(x) = \alpha\,\bigl[x\,\sigma(\beta x) - \gamma\bigr] + (1-\alpha)\,x\,\Phi(x)$$
#
# A weighted mean of Swish, which lets a logistic gate $\sigma$ decide how much of its input passes, and GELU, which takes the
# normal distribution function $\Phi$. The weight $\alpha$, the steepness $\beta$ and the shift $\gamma$ are learned. Fresh, with
# $\alpha = \tfrac12$, $\beta = 1$, $\gamma = 0$, it lies halfway between SiLU and GELU; to move the three by hand, open
# [explore.html](../figures/explore.html) in a browser.
#
# `SGBlend` is an ordinary Keras 3 layer, for TensorFlow, JAX and PyTorch. Give each place in a network where
# an activation acts (each *site*) its own instance. Without Keras there are
# `sgblend_utils.torch.SGBlend` and `sgblend_utils.jax.sgblend`, the same function.

# %%
model = keras.Sequential([keras.layers.Dense(128), SGBlend(), keras.layers.Dense(10)])
rows = np.random.default_rng(0).normal(size=(4, 20)).astype("float32")
model.compile(optimizer=keras.optimizers.Adam(0.1), loss="mse")
model.fit(rows, np.zeros((4, 10), "float32"), epochs=3, verbose=0)
print("learned:", ", ".join(model.layers[1].effective_parameters()))

# %%
assert float(model.layers[1].effective_parameters()["alpha"]) != 0.5
fresh, silu, gelu = (f(rows) for f in (SGBlend(), keras.activations.silu, keras.activations.gelu))
assert np.allclose(keras.ops.convert_to_numpy(fresh), (silu + gelu) / 2, atol=1e-6)

# %% [markdown]
# ## 2 · The answer so far
#
# Computed from the records while the notebook runs. For each task the plan names a primary metric, the smallest
# difference that matters (the *margin*), and the seeds that are judged.
# [Notebook 10](10_tables_and_figures.ipynb) has everything else.

# %%
found = experiments()
ledger = claims.ledger(found)
front.figure_forest(ledger)
plt.show()
print(digest(front.effects(ledger)))

# %%
display(Markdown(to_markdown(front.task_table(ledger))))
presets = {entry["preset"] for entry in plan()["experiments"]}
print("protocol sound where it does not say published; preset", *presets)

# %% [markdown]
# ## 3 · How to read a number
#
# * **Protocol.** `sound`: causal and padding masks, subwords learned on training text, a held-out
#   test set that nothing is selected on, free-running decoding scored by sacreBLEU. `published`:
#   follows the paper's code, in which the decoder sees the answer and padding is scored. Scores of the two are never compared.
# * **Preset.** `cpu`: real data, at most a quarter of an hour on two cores. `paper`, `full`: the
#   paper's sizes and all of WMT14, for a GPU; no records yet. `mini`: small bundled data,
#   on which the notebooks train live; never a result. All settings were chosen with GELU alone.
# * **Seeds.** A seed fixes the initial weights and the order of the data, the same for every
#   activation, so that runs are compared in pairs. ± and brackets are 95 % intervals of the mean over seeds. Seeds 3 to 10
#   gave the first verdicts; a row that they left undecided is judged anew, by seeds from 11 on alone, once all of those have run.
# * **The activation.** Plain `SG-Blend` has free $\alpha$, $\beta$, $\gamma$. *As published*, $\alpha$ stays between 0.269 and
#   0.731, $\beta$ between 0.1 and 10, and GELU is $x\,\sigma(1.702\,x)$ ([notebook 01](01_activation_derivation.ipynb)).
# * **Verdicts.** *Gain* or *loss*: the difference from GELU is not zero. *No relevant difference*: it is smaller than the
#   margin. *Undecided*: the planned seeds show neither. *Not testable*: there is nothing to differ in, such as dead units
#   where GELU has none. *Not run*: planned runs are missing. All are corrected for the number of claims.
# * **Cross-entropy** on held-out data is the finer measure, BLEU or accuracy the one that is usually reported.
#
# ## 4 · The notebooks
#
# * [01 · Derivation](01_activation_derivation.ipynb): where SG-Blend comes from, its symmetry, what $\gamma$ cannot do
# * [02 · Gradient analysis](02_gradient_analysis.ipynb): what its shape does to signals and gradients in deep networks
# * [03 · Activation zoo](03_activation_zoo.ipynb): twenty-seven activations side by side, in theory and use
# * [04 · WMT14 and the published protocol](04_wmt14_data_and_protocol.ipynb): what the paper's code measures
# * [05 · Training a translator](05_wmt14_training.ipynb): the sound protocol piece by piece, the runs on WMT14 and Multi30k
# * [06 · Sentiment](06_sentiment.ipynb): IMDB, what padding does, and SG-Blend inside a trained model
# * [07 · Training an image classifier](07_vision_training.ipynb): CIFAR-10, calibration and robustness
# * [08 · What the effect is made of](08_ablations.ipynb): where sites end, one thing changed at a time
# * [09 · What SG-Blend costs](09_overhead.ipynb): an activation, a training step, memory
# * [10 · Tables and figures](10_tables_and_figures.ipynb): every result, the ledger of claims, and the command behind each
#
# The README's commands run them all, check them, and repeat the experiments.
#
# ## What was found
#
# A fresh SG-Blend is the mean of SiLU and GELU, and one line in a Keras model. What the verdicts say:

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
