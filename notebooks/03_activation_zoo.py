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
# # 03 · The activation zoo
#
# **Where we are.** [Notebook 01](01_activation_derivation.ipynb) took SG-Blend's formula apart,
# [notebook 02](02_gradient_analysis.ipynb) followed its gradients through deep networks and predicted that
# training can hardly tell $\alpha$ from $\beta$. Both looked at a handful of functions, on paper or nearly so.
# This one asks: **where does SG-Blend stand among all the activations one might use, and is the prediction right
# in a network that learns?** A place in a network where an activation acts is called a **site**; a hidden layer
# has one.
#
# **Claim of this notebook.** Twenty-seven activations, one factory: `make_activation(name)` gives a fresh Keras
# layer that can be dropped into any model, saved, run in half precision, shared per channel or over the
# whole layer. Put side by side, SG-Blend is an ordinary member of its family: its minimum and critical
# gain lie between GELU's and SiLU's, its largest slope a little below both, at three parameters a site. On digits, three of the four starts learn similar functions at different $\alpha$ and $\beta$, at most 0.41 of the distance from SiLU to
# GELU apart; the start at GELU ends four times that distance away.
#
# *You will learn* how 27 functions differ in minimum, steepness and critical gain, how to use any of 28 activations as a layer,
# and what SG-Blend's parameters do in a network that learns.
#
# *Needs* scikit-learn's digits. *Takes* half a minute.

# %%
from sgblend_utils.notebook import setup, side_by_side

setup()

import functools

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from sgblend_utils import theory
from sgblend_utils.activations import ACTIVATIONS, SGBlend, make_activation
from sgblend_utils.style import LABELS, PALETTE

# %% [markdown]
# ## 1 · Gallery
#
# Each panel shows $f$ (solid), $f'$ (dashed) and $f''$ (dotted), at the values of the parameters that a fresh
# layer has. Where a curve breaks, the derivative jumps. Layer and formula agree, in every panel. One activation has none:
# PolyNorm (Zhuo et al. 2024, arXiv 2411.03884) divides each power of x by its root mean square over a layer's units, so that it
# depends on the pattern of its inputs and not on their size.

# %%
grid = np.linspace(-4, 4, 801)


def panel(axes, name):
    for order, dash in enumerate(["-", (0, (5, 1.5)), (0, (1, 1))]):
        values = theory.closed_form(name, order)(grid).copy()
        for kink in theory.KINKS.get(name, ()) if order else ():
            values[np.argmin(np.abs(grid - kink))] = np.nan  # do not join the two sides of a jump
        axes.plot(
            grid, values, color=PALETTE[name], linestyle=dash, linewidth=[2.2, 1.6, 1.4][order]
        )
    axes.axhline(0, color="#6b6b6b", linewidth=0.6)
    axes.set(title=LABELS[name], xlim=(-4, 4), ylim=(-1.6, 2.6), xticks=[-4, -2, 0, 2, 4])


# %%
figure, panels = plt.subplots(7, 4, figsize=(11, 15), sharex=True, sharey=True)
panels.flat[-1].set_axis_off()
functions = [name for name, row in ACTIVATIONS.items() if row.elementwise]
for axes, name in zip(panels.flat[: len(functions)], functions, strict=True):
    panel(axes, name)
    own = keras.ops.convert_to_numpy(make_activation(name)(grid[None].astype("float32")))[0]
    assert np.abs(own - theory.closed_form(name)(grid)).max() < 1e-5
for axes in panels[-1]:
    axes.set_xlabel("$x$")
handles = [plt.Line2D([], [], color="#222222", linestyle=d) for d in ("-", "--", ":")]
figure.legend(handles, ["$f$", "$f'$", "$f''$"], loc="outside lower center", ncols=3)
plt.show()

# %%
units = np.random.default_rng(0).normal(size=(1, 64)).astype("float32")
changes = {}
for name in ("polynorm", "silu"):
    layer = make_activation(name)
    changes[name] = keras.ops.convert_to_numpy(layer(10 * units) - layer(units))
    print(f"{LABELS[name]}, inputs ten times as large: up to {abs(changes[name]).max():.2f} apart")

# %%
assert abs(changes["polynorm"]).max() < 1e-4 < 1 < abs(changes["silu"]).max()

# %% [markdown]
# ## 2 · The table
#
# One row per activation, from the closed forms: the **minimum** and where it is; the **largest slope**
# (Lipschitz constant) and the **largest curvature**; the **critical gain** at unit variance, at which
# gradients neither grow nor shrink, that is $\chi_1 = 1$ (notebook 02; a dash where no bias variance can hold
# the variance); whether $f(x) - f(-x) = x$ (notebook 01); and the number of **parameters** at a site of 512
# units. SG-Blend's minimum and critical gain lie between those of its parents, GELU and SiLU. Its largest
# slope lies below both, because the parents are steepest in different places.


# %%
def row(name):
    """What the closed forms say about one activation, as text."""
    low, point = theory.minimum(name), theory.criticality(name)
    curve = theory.closed_form(name)(grid)
    symmetric = np.allclose(curve - curve[::-1], grid, rtol=0, atol=1e-9)
    bend, layer = theory.curvature_bound(name), make_activation(name)
    layer.build((None, 512))
    return {
        "minimum": "none" if low is None else f"{low[1]:.4f}",
        "at x =": "" if low is None else f"{low[0]:.4f}",
        "largest |f′|": f"{theory.lipschitz(name)[1]:.4f}".replace("inf", "∞"),
        "largest |f″|": "∞" if np.isinf(bend) else f"{bend:.3f}",
        "critical gain": f"{point.gain:.4f}" if point.bias_variance > -1e-6 else "–",
        "f(x) − f(−x) = x": "yes" if symmetric else "no",
        "parameters": layer.count_params(),
    }


# %%
table = pd.DataFrame({LABELS[name]: row(name) for name in functions}).T
assert table.loc["SG-Blend", "parameters"] == 3 and table.loc["PReLU", "parameters"] == 512
assert (
    table.loc["ReLU", "critical gain"] == "1.4142" and table.loc["GELU", "largest |f′|"] == "1.1289"
)
for column in ("minimum", "critical gain", "largest |f′|"):
    own, *parents = table.loc[["SG-Blend", "GELU", "SiLU"], column].astype(float)
    between = min(parents) < own < max(parents)
    assert own < min(parents) if column == "largest |f′|" else between
table

# %% [markdown]
# What each of them costs, on three backends, is measured in [notebook 09](09_overhead.ipynb).

# %% [markdown]
# ## 3 · Drop it into a model
#
# From here on the layers are put to use, on small images of handwritten digits.

# %%
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

digits = load_digits()
train_x, test_x, train_y, test_y = train_test_split(
    (digits.data / 16).astype("float32"), digits.target, test_size=0.25, random_state=0
)

# %% [markdown]
# A model with SG-Blend in it takes five lines, from definition to accuracy:

# %%
model = keras.Sequential([keras.layers.Dense(128), SGBlend(), keras.layers.Dense(10)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(0.005), loss, metrics=["accuracy"])
model.fit(train_x, train_y, epochs=6, batch_size=64, verbose=0)
accuracy = model.evaluate(test_x, test_y, verbose=0)[1]

assert accuracy > 0.93
print("more than 93 % of the held-out digits are right:", accuracy > 0.93)

# %% [markdown]
# The class is a Keras layer like any other, and `make_activation("sgblend", alpha=0.2)` makes the same by
# name. Always make a **fresh** layer per site: an instance used twice shares its $\alpha$, $\beta$ and $\gamma$
# between both places (which is what the published models do, without saying so).

# %%
assert make_activation("sgblend", alpha=0.2).get_config()["alpha"] == 0.2


def functional(first, second):
    """A functional model with two sites of an activation."""
    start = keras.Input((4,))
    return keras.Model(start, second(keras.layers.Dense(4)(first(start))))


shared, learned = SGBlend(), {}
for kind, model_of in [("one instance twice", (shared, shared)), ("fresh", (SGBlend(), SGBlend()))]:
    names = [w.name for w in functional(*model_of).trainable_weights]
    learned[kind] = sum(name in ("alpha", "beta", "gamma") for name in names)
assert learned == {"one instance twice": 3, "fresh": 6}
print("learned by two sites:", learned)

# %% [markdown]
# ## 4 · Save it, load it
#
# The published class could not be loaded again. Here every argument is part of the configuration, and the
# class is registered, so `load_model` needs no custom objects:

# %%
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    model.save(Path(folder) / "digits.keras")
    loaded = keras.models.load_model(Path(folder) / "digits.keras")
before, after = (keras.ops.convert_to_numpy(m(test_x)) for m in (model, loaded))
assert np.array_equal(before, after)
configuration = loaded.layers[1].get_config()
interesting = ["alpha", "parameterization", "gelu", "shared_axes", "trainable_parameters"]
print({key: configuration[key] for key in interesting})

# %% [markdown]
# The tests of the package do the same for SavedModel and ONNX exports.
#
# ## 5 · One scalar, one per channel, or fixed
#
# `shared_axes` works as in Keras's `PReLU`: it names the axes along which parameters are shared. None, the
# default, means one scalar each. `trainable_parameters` names those that learn.

# %%
rows = []
for text, layer, shape in [
    ("one scalar each", SGBlend(), (None, 20, 64)),
    ("one per channel, shared over time", SGBlend(shared_axes=[1]), (None, 20, 64)),
    ("one per channel of an image", SGBlend(shared_axes=[1, 2]), (None, 8, 8, 32)),
    ("α alone learns", SGBlend(trainable_parameters=("alpha",)), (None, 64)),
    ("exactly GELU, nothing learns", SGBlend(alpha=0.0, trainable_parameters=()), (None, 64)),
]:
    layer.build(shape)
    learned = sum(int(np.prod(w.shape)) for w in layer.trainable_weights)
    rows.append(
        {
            "": text,
            "input": shape,
            "shape of α": layer.effective_parameters()["alpha"].shape,
            "learned numbers": learned,
        }
    )
assert [r["learned numbers"] for r in rows] == [3, 3 * 64, 3 * 32, 1, 0]
pd.DataFrame(rows).set_index("")

# %% [markdown]
# ## 6 · Half precision
#
# Under a `mixed_float16` or `mixed_bfloat16` policy the layer takes and gives half-precision numbers,
# computes in float32 in between, and keeps $\alpha$, $\beta$, $\gamma$ in float32. The
# result is the float64 result rounded once: its error is at most half a unit in the last place, for $|x|$ from
# $10^{-2}$ to $10^4$.

# %%
magnitudes = np.geomspace(1e-2, 1e4, 500)
worst = {}
for dtype, bits in (("float16", 11), ("bfloat16", 8)):
    layer = SGBlend(dtype=f"mixed_{dtype}")
    x = keras.ops.cast(np.concatenate([-magnitudes[::-1], magnitudes])[None], dtype)
    y = keras.ops.convert_to_numpy(keras.ops.cast(layer(x), "float32")).astype("float64")[0]
    x = keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")).astype("float64")[0]
    assert {str(v.dtype) for v in layer.trainable_variables} == {"float32"}
    exact = theory.closed_form("sgblend")(x)
    normal = np.abs(exact) > 1e-4  # below, float16 has fewer bits
    unit = 2.0 ** (np.floor(np.log2(np.abs(exact[normal]))) - bits + 1)
    worst[dtype] = (np.abs(y - exact)[normal] / unit).max()
assert max(worst.values()) < 0.51
print("largest error in units of the last place:", {k: float(v.round(2)) for k, v in worst.items()})

# %% [markdown]
# ## 7 · Gated relatives
#
# Where an activation stands between two dense layers, as in every Transformer block, it can be replaced by
# a product of two linear maps of which one passes through it: GEGLU, SwiGLU
# ([Shazeer 2020](https://arxiv.org/abs/2002.05202)). A third matrix comes in, so the width must shrink to
# about two thirds for a fair comparison: a plain block of width $f$ has $2df + f + d$ parameters, a gated one of
# width $w$ has $3dw + 2w + d$. In Keras it is a handful of layers, with any activation of the zoo:


# %%
def gated_block(d_model, d_ff, activation):
    """Dense → half of it through the activation, times the other half → Dense; and its width."""
    width = round(d_ff * (2 * d_model + 1) / (3 * d_model + 2))
    start = keras.Input((None, d_model))
    gate, value = keras.ops.split(keras.layers.Dense(2 * width)(start), 2, axis=-1)
    end = keras.layers.Dense(d_model)(make_activation(activation)(gate) * value)
    return keras.Model(start, end), width


rows = {}
for d_model, d_ff in [(128, 512), (256, 1024), (512, 2048)]:
    plain = 2 * d_model * d_ff + d_ff + d_model
    block, width = gated_block(d_model, d_ff, "silu")  # SwiGLU
    rows[f"{d_model} → {d_ff}"] = {
        "plain parameters": f"{plain:,}",
        "gated width": width,
        "gated parameters": f"{block.count_params():,}",
    }
    assert abs(block.count_params() - plain) <= 3 * d_model and abs(width - 2 * d_ff / 3) < 1
pd.DataFrame(rows).T

# %% [markdown]
# The translation model of the later notebooks has the same block, at the same width, with `gated=True`:

# %%
from sgblend_utils.models.layers import Activations, Block, seed_stream

sizes = {
    "d_model": 128,
    "num_heads": 4,
    "ff_dim": 512,
    "gated": True,
    "dropout": 0.0,
    "switches": (),
}
block = Block(sizes, cross=False, seeds=seed_stream(0), activations=Activations("silu", 0))
block.build((None, None, 128))
feed_forward = block.expand.count_params() + block.contract.count_params()
assert block.width == 341 and f"{feed_forward:,}" == rows["128 → 512"]["gated parameters"]
print("parameters of a gated feed-forward block of the translator:", f"{feed_forward:,}")

# %% [markdown]
# ## 8 · What α, β and γ learn
#
# Notebook 02 found that many pairs of $\alpha$ and $\beta$ give nearly the same function. If so, networks that start
# at different pairs should end at different pairs, and yet with nearly equal functions. Six networks of two hidden
# layers learn the digits side by side, from the same weights and in the same order. They differ in where SG-Blend starts, one also in its parameterization: in the middle, at GELU, at Swish, at a narrow gate, as published with an inverted $\beta$; and one
# network has GELU for comparison.

# %%
STARTS = {
    "middle": functools.partial(SGBlend),
    "at_gelu": functools.partial(SGBlend, alpha=0.0),
    "at_swish": functools.partial(SGBlend, alpha=1.0),
    "narrow": functools.partial(SGBlend, beta=3.0),
    "published": functools.partial(
        SGBlend, beta=-1.0, parameterization="published", gelu="sigmoid"
    ),
    "gelu": functools.partial(make_activation, "gelu"),
}
LEARNERS = [start for start in STARTS if start != "gelu"]
model = side_by_side(STARTS, 64, (48, 48), 10)
trace = {(start, i): [] for start in LEARNERS for i in (0, 1)}


def note(*_):
    """Append the parameters of every site."""
    for start, i in trace:
        values = model.get_layer(f"{start}_site_{i}").effective_parameters()
        trace[start, i].append([float(values[k]) for k in ("alpha", "beta", "gamma")])


# %%
note()
model.compile(keras.optimizers.Adam(0.005), {s: loss for s in STARTS})
model.optimizer.build(model.trainable_variables)  # now, or TensorFlow traces every step twice
model.fit(
    train_x,
    {s: train_y for s in STARTS},
    epochs=12,
    batch_size=64,
    verbose=0,
    callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=note)],
)
logits = {s: keras.ops.convert_to_numpy(v) for s, v in model(test_x).items()}
right = {s: np.mean(v.argmax(axis=1) == test_y) for s, v in logits.items()}
paths = {key: np.array(values) for key, values in trace.items()}

# %% [markdown]
# Circles are starts, squares are ends; the darker the background, the worse $\alpha$ and $\beta$ can be told
# apart. The paths do not meet. The start at Swish stays to the right of the start in the middle, the narrow
# gate stays narrow, and the constraint moves the $\beta$ of the network that began with an inverted Swish to +0.1
# at once. The paths from the middle and from Swish lead *across* the valley of notebook 02: along it $\alpha$ and
# $\beta$ change in the same direction, here one rises while the other falls. What the data determine is this
# stiffer direction; along the valley the networks stay apart, as their starts were. (At the narrow gate the valley
# runs the other way, and hidden layer 2 ends a little further along it.) The start at
# GELU goes another way: at $\alpha = 0$ no gradient reaches
# $\beta$, $\alpha$ turns **negative**, and what is learned is no mixture but an extrapolation beyond
# GELU. (The definition allows it; `alpha_bounds=[0, 1]` holds $\alpha$ in a mixture's range.)

# %%
alphas, betas = np.linspace(-1.1, 1.3, 41), np.linspace(-1.3, 3.4, 63)
matrices = [[theory.fisher_matrix(a, b) for a in alphas] for b in betas]
conditions = np.minimum(np.log10(np.linalg.cond(matrices)), 8)
shades = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#222222"]
colours = dict(zip(LEARNERS, shades, strict=True))


def plane(axes, i):
    """Paths of α and β of hidden layer i over the map of notebook 02."""
    axes.contourf(
        alphas, betas, conditions, np.arange(2, 8.1, 0.5), cmap="Greys", extend="both", alpha=0.6
    )
    for start in LEARNERS:
        path = paths[start, i]
        axes.plot(path[:, 0], path[:, 1], color=colours[start])
        axes.plot(*path[0, :2], "o", color=colours[start], markersize=5)
        axes.plot(*path[-1, :2], "s", color=colours[start], markersize=8, markeredgecolor="white")
    axes.set(title=f"α and β, hidden layer {i + 1}", xlabel="α")
    axes.grid(False)


# %%
figure, panels = plt.subplots(1, 3, figsize=(12, 4.3))
plane(panels[0], 0)
plane(panels[1], 1)
panels[0].set_ylabel("β")
for start in LEARNERS:
    panels[2].plot(paths[start, 1][:, 2], color=colours[start], label=start.replace("_", " "))
panels[2].set(title="γ, hidden layer 2", xlabel="epoch")
handles, labels = panels[2].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=5)
plt.show()

# %%
end = {start: paths[start, 1][-1] for start in LEARNERS}  # hidden layer 2
assert end["at_swish"][0] - end["middle"][0] > 0.3 and end["narrow"][1] - end["middle"][1] > 0.8
assert end["at_gelu"][0] < 0
for start in ("middle", "at_swish"):  # across the valley, at a wide angle to the soft direction
    matrix = theory.profiled(theory.fisher_matrix(*paths[start, 1][0, :2]))
    soft, way = np.linalg.eigh(matrix)[1][:, 0], end[start][:2] - paths[start, 1][0, :2]
    assert way[0] < -0.05 and way[1] > 0.05 and abs(way @ soft) < 0.5 * np.linalg.norm(way)
assert theory.parameter_gradient(grid, 0.0, 1.0, 0.0)[1].max() == 0  # no gradient at α = 0
published = paths["published", 1]
assert np.all((published[:, 0] > 0.268) & (published[:, 0] < 0.732))
assert published[0, 1] < 0 and published[1:, 1].min() >= 0.1 - 1e-6
print("at_gelu: α < 0 · published: α within [0.269, 0.731], β from below zero to above 0.1")

# %%
# NBVAL_IGNORE_OUTPUT
ends = {s: dict(zip("αβγ", paths[s, 1][-1], strict=True)) for s in LEARNERS} | {"gelu": {}}
for start in STARTS:
    ends[start]["held-out accuracy"] = right[start]
pd.DataFrame(ends).T.round(3)

# %% [markdown]
# Are these different solutions? Compare the learned *functions*, with the constant removed that the next bias
# takes away, in the root mean square over $N(0, 1)$. For scale: SiLU and GELU are 0.065 apart. Three starts end at
# three settings of $\alpha$ and $\beta$ that a table would report as three findings; their functions are a quarter to
# a half of that distance apart. The fourth start's function differs by several times that distance,
# and yet its network classifies the digits as well as the rest, and as well as GELU. (The values
# above and below differ from machine to machine; what is asserted here does not.)

# %%
z, w = theory.gaussian_rule()


def learned(start):
    f = theory.closed_form("sgblend", alpha=end[start][0], beta=end[start][1])(z)
    return f - w @ f


def distance(first, second):
    return np.sqrt(w @ (learned(first) - learned(second)) ** 2)


accuracies = np.array(list(right.values()))
assert accuracies.min() > 0.93 and np.ptp(accuracies) < 0.045  # 450 digits: ± 1 % is noise
far = distance("at_gelu", "middle")
assert far > 0.2 and max(distance(s, "middle") for s in ("at_swish", "narrow")) < 0.065 < far / 3

# %%
# NBVAL_IGNORE_OUTPUT
scale = theory.alpha_signal(1.0)  # the distance of SiLU and GELU
apart = {f"{s} and middle": distance(s, "middle") for s in ("at_swish", "narrow", "at_gelu")}
pd.DataFrame({"distance": apart, "of SiLU − GELU": {k: v / scale for k, v in apart.items()}}).round(
    3
)

# %%
figure, axes = plt.subplots(figsize=(7.6, 3.9))
near = np.abs(z) < 4
for start, dash in zip(
    ("middle", "at_swish", "narrow", "at_gelu"), ("-", "--", ":", "-."), strict=True
):
    line = {"color": colours[start], "linestyle": dash, "label": start.replace("_", " ")}
    axes.plot(z[near], learned(start)[near], **line)
axes.set(title="learned $f$, constant removed, hidden layer 2", xlabel="$x$")
axes.legend()
plt.show()

# %% [markdown]
# ## What was found
#
# * Twenty-seven activations behind one factory, each with value, slope and curvature in closed form and a layer
#   that agrees with it.
# * SG-Blend's minimum and critical gain lie between GELU's and SiLU's; its largest slope lies below both.
#   It has three parameters a site; what it costs is [notebook 09](09_overhead.ipynb)'s subject.
# * It saves and loads, runs in half precision to half a unit in the last place, and shares its parameters over
#   any axes.
# * On digits no start and no parameterization is visibly better than another or than GELU. Three starts end with
#   $\alpha$ more than 0.3 or $\beta$ more than 0.8 apart, at functions that differ by a quarter to a half of the
#   distance from SiLU to GELU. So a learned $\alpha$ alone says little; and without a constraint $\alpha$ may leave
#   $[0, 1]$.
#
# So far the formula, the layers and one small task: SG-Blend works, and no advantage over its parents was seen.
# Digits are too easy to show more. The paper's claim is about translation, so the next question is
# what its translation experiment measures.

# %% [markdown]
# ## Exercises
#
# 1. Which activation of the zoo is the least steep, and why is that no merit by itself?
#
# <details><summary>Solution 1</summary>
#
# Smish, with 0.64. Its critical gain is the largest: the weights make up for it.
#
# ```python
# from sgblend_utils import theory
#
# steepest = {name: theory.lipschitz(name)[1] for name in theory.EXPRESSIONS}
# assert min(steepest, key=steepest.get) == "smish"
# ```
#
# </details>
#
# 2. xGELU learns one number, which starts at zero. What does it change?
#
# <details><summary>Solution 2</summary>
#
# The range of the gate: from (0, 1) to (−a, 1 + a).
#
# ```python
# import numpy as np
# from scipy.special import ndtr
#
# from sgblend_utils import zoo
#
# x = np.linspace(-9, 9, 1801)
# x = x[x != 0]
# gate = zoo.ZOO["xgelu"].evaluate({"Phi": ndtr}, x=x, expansion=0.3) / x
# assert gate.min() > -0.3 - 1e-9 and gate.max() < 1.3 + 1e-9 and gate.max() - gate.min() > 1.59
# ```
#
# </details>
#
# ---
# Previous: [02 · Gradient analysis](02_gradient_analysis.ipynb) · Next:
# [04 · WMT14: data and protocol](04_wmt14_data_and_protocol.ipynb)
