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
# # 01 · Where SG-Blend comes from, and what it is
#
# **Where we are.** A network is made of units. Each forms a weighted sum $x$ of its inputs plus a
# constant, its *bias*, and hands on $f(x)$; $f$ is its *activation*. [Notebook 00](00_start_here.ipynb)
# said what the paper proposes for $f$: a blend of two known activations with three learned numbers,
# $\alpha$, $\beta$ and $\gamma$, called "first-order symmetric". Before anything is trained, two questions
# can be answered from the formula: **what can these three numbers change, and what is new about the
# symmetry?**
#
# **Claim of this notebook.** SG-Blend is half the identity plus an even function:
# $f(x) = \tfrac{x}{2} + e(x)$ with $e(-x) = e(x)$. That one line contains the first-order
# symmetry, which ReLU, GELU, SiLU and Softplus have as well; it shows that $\gamma$ moves nothing
# that the next layer's bias could not move; and it leaves two parameters, $\alpha$ and $\beta$, that
# choose how deep and how wide the dip left of zero is and how fast the left tail dies.
#
# *You will learn* why SG-Blend is $x/2$ plus an even function, which of its three numbers matter, and how to let a computer
# algebra system and a numerical check hold every step of a derivation.
#
# *Needs* nothing but the package: no data, no training. *Takes* half a minute. Every mathematical statement in the text is asserted, symbolically where SymPy can and numerically elsewhere, by the cell that
# follows it.

# %%
from sgblend_utils.notebook import setup

setup()

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sympy as sp

from sgblend_utils import theory
from sgblend_utils.activations import SGBlend, SSwish, make_activation
from sgblend_utils.report.figures import figure_teaser, teaser_curves
from sgblend_utils.style import activation_style, set_style

set_style()
grid = np.linspace(-6, 6, 1201)

# %% [markdown]
# ## 1 · Three definitions
#
# Write $\sigma(z) = 1/(1+e^{-z})$ for the logistic function and $\Phi$ for the distribution function
# of the standard normal.
#
# * **Swish** ([Ramachandran et al. 2017](https://arxiv.org/abs/1710.05941)) multiplies $x$ by a
#   *gate*, a number between 0 and 1 that decides how much of $x$ passes: $x\,\sigma(\beta x)$. With
#   $\beta = 1$ it is called SiLU.
# * **GELU** ([Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415)) uses a normal gate:
#   $x\,\Phi(x)$.
# * **SSwish** shifts Swish down by a learned constant, and **SG-Blend**
#   ([Sarkar, Gala, Tripathi 2025](https://arxiv.org/abs/2505.23942)) mixes the two:
#
# $$\mathrm{SSwish}(x) = x\,\sigma(\beta x) - \gamma, \qquad
# f(x) = \alpha\,\bigl[x\,\sigma(\beta x) - \gamma\bigr] + (1-\alpha)\,x\,\Phi(x).$$
#
# The layers in `sgblend_utils.activations` and the formulas in `sgblend_utils.theory` are written
# independently of each other: the first in Keras with a gradient written by hand, the second in
# SymPy. They must agree.

# %%
a, b, c = 0.3, 1.7, 0.25
layer = SGBlend(alpha=a, beta=b, gamma=c, dtype="float64")
by_layer = keras.ops.convert_to_numpy(layer(grid[None, :]))[0]
by_formula = theory.closed_form("sgblend", alpha=a, beta=b, gamma=c)(grid)
assert np.abs(by_layer - by_formula).max() < 1e-6

for name in ["relu", "gelu", "silu", "mish", "softplus", "sswish", "sgblend"]:
    layer = make_activation(name)
    by_layer = keras.ops.convert_to_numpy(layer(grid[None, :].astype("float32")))[0]
    assert np.abs(by_layer - theory.closed_form(name)(grid)).max() < 1e-5
print("layers and formulas agree")

# %% [markdown]
# A fresh layer has $\alpha = \tfrac12$, $\beta = 1$, $\gamma = 0$: it runs halfway between SiLU and GELU.

# %%
halfway = (theory.closed_form("silu")(grid) + theory.closed_form("gelu")(grid)) / 2
assert np.allclose(theory.closed_form("sgblend")(grid), halfway)
assert SGBlend().effective_parameters() == {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}

figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9))
for name in ["relu", "gelu", "silu", "sgblend"]:
    style = {**activation_style(name), "marker": ""}
    left.plot(grid, theory.closed_form(name)(grid), **style)
    right.plot(grid, theory.closed_form(name, 1)(grid), **style)
left.set(title="$f(x)$", xlabel="$x$", xlim=(-5, 2.2), ylim=(-0.5, 2.2))
right.set(title="$f'(x)$", xlabel="$x$", xlim=(-5, 5), ylim=(-0.2, 1.2))
left.legend(loc="upper left")
plt.show()

# %% [markdown]
# ## 2 · One gate: the distribution function of a mixture
#
# Which functions can the three parameters reach? This is easier to see after collecting what multiplies $x$:
#
# $$f(x) = x\,G(x) - \alpha\gamma, \qquad G(x) = \alpha\,\sigma(\beta x) + (1-\alpha)\,\Phi(x).$$
#
# $\sigma(\beta x)$ is the distribution function of a logistic variable with scale $1/\beta$, $\Phi$
# that of a standard normal. For $0 \le \alpha \le 1$ and $\beta > 0$, $G$ is therefore the
# distribution function of a **mixture**: draw a noise $Z$ that is logistic with probability $\alpha$
# and normal otherwise, let $x$ pass when $Z \le x$ and block it otherwise; on average $x\,G(x)$ gets
# through. GELU was introduced in just this way, with normal noise alone. SG-Blend learns the noise.

# %%
from sgblend_utils.theory import EXPRESSIONS, FUNCTIONS, alpha, beta, gamma, x

logistic, normal_cdf = FUNCTIONS["sigmoid"], FUNCTIONS["Phi"]
gate = alpha * logistic(beta * x) + (1 - alpha) * normal_cdf(x)
assert sp.expand(EXPRESSIONS["sgblend"] - (x * gate - alpha * gamma)) == 0
density = sp.diff(gate, x)
mixture = alpha * beta * logistic(beta * x) * (1 - logistic(beta * x))
mixture += (1 - alpha) * sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
assert sp.simplify(density - mixture) == 0  # both summands are densities, so G rises from 0 to 1

rng = np.random.default_rng(0)
is_logistic = rng.random(400_000) < a
noise = np.where(is_logistic, rng.logistic(0, 1 / b, 400_000), rng.normal(0, 1, 400_000))
sampled = np.array([point * np.mean(noise <= point) for point in (-2.0, -0.5, 0.7, 2.0)])
exact = theory.closed_form("sgblend", alpha=a, beta=b)(np.array([-2.0, -0.5, 0.7, 2.0]))
assert np.abs(sampled - exact).max() < 4 * 2 * 0.5 / np.sqrt(400_000)  # four standard errors
print("exact   ", exact.round(2), "\nsampled ", sampled.round(2))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.7))
gate_at = sp.lambdify((x, alpha, beta), gate, ["scipy", "numpy"])
density_at = sp.lambdify((x, alpha, beta), density, ["scipy", "numpy"])
for value, text, like in [
    (0, "normal", "gelu"),
    (0.5, "mixture", "sgblend"),
    (1, "logistic", "silu"),
]:
    line = {**activation_style(like), "marker": "", "label": f"α = {value:g}: {text}"}
    left.plot(grid, gate_at(grid, value, 1.0), **line)
    right.plot(grid, density_at(grid, value, 1.0), **line)
left.set(title="gate $G(x)$", xlabel="$x$", ylabel="share of $x$ that passes")
right.set(title="its density: the noise that is learned (β = 1)", xlabel="$x$")
left.legend(loc="upper left")
plt.show()

# %% [markdown]
# ## 3 · Half the identity plus an even function
#
# Both noises are symmetric about zero, so $G(-x) = 1 - G(x)$, whatever $\alpha$ and $\beta$. Then
#
# $$f(x) - f(-x) = x\,G(x) + x\,G(-x) = x\,\bigl[G(x) + 1 - G(x)\bigr] = x .$$
#
# The odd part of $f$ is $x/2$, always. Everything else is even: $f(x) = x/2 + e(x)$. Differentiate,
# and $f'(x) + f'(-x) = 1$: the graph of $f'$ turned by half a circle about the point
# $(0, \tfrac12)$ is itself. This point symmetry is what "first-order symmetric" can mean. It does
# not single out SSwish: $\gamma$ does not occur in $f'$ at all, so SSwish has exactly the symmetry of Swish.

# %%
f = EXPRESSIONS["sgblend"]
f_prime = sp.diff(f, x)
assert sp.simplify(gate + gate.subs(x, -x) - 1) == 0
assert sp.simplify(f - f.subs(x, -x) - x) == 0
assert sp.simplify(f_prime + f_prime.subs(x, -x) - 1) == 0
assert not f_prime.has(gamma)

G = sp.Function("G")  # and for every gate with G(-x) = 1 - G(x), not only this one
any_gate = x * G(x) - gamma
assert sp.simplify((any_gate - any_gate.subs(x, -x)).subs(G(-x), 1 - G(x)) - x) == 0
print("f(x) - f(-x) = x  and  f'(x) + f'(-x) = 1, for all α, β, γ")

# %% [markdown]
# Which other activations share it? The table measures
# $\max_x |f(x) - f(-x) - x|$. The identity holds for ReLU, for every Swish, for GELU and its
# approximations, and even for Softplus, which is no gate at all: it is $x/2$ plus the even function
# $\log(2\cosh\tfrac{x}{2})$. It fails for Mish, whose gate $\tanh(\mathrm{softplus}(x))$ is not
# symmetric, for its relatives (TeLU, Smish, Logish, GoLU), for squares, and for everything in the ELU and leaky
# family.

# %%
names = [n for n in EXPRESSIONS if n not in ("sgblend_sigmoid", "xgelu", "xsilu")]  # twins
curves = {n: theory.closed_form(n)(grid) for n in names}
defect = {n: np.abs(curve - curve[::-1] - grid).max() for n, curve in curves.items()}
shares = pd.DataFrame({"max |f(x) − f(−x) − x|": defect}).round(3) + 0.0
shares["first-order symmetric"] = ["yes" if d < 1e-9 else "no" for d in defect.values()]
symmetric = {n for n, d in defect.items() if d < 1e-9}
assert set(names) - symmetric == (
    {"leaky_relu", "prelu", "elu", "selu", "tanh", "mish", "serf", "telu", "smish", "logish"}
    | {"golu", "xielu", "relu_squared", "leaky_relu_squared", "star_relu"}
)
assert 0.20 < defect["mish"] < 0.21
softplus = EXPRESSIONS["softplus"]
assert sp.simplify(sp.exp(softplus - x / 2) - 2 * sp.cosh(x / 2).rewrite(sp.exp)) == 0
shares.sort_values("max |f(x) − f(−x) − x|", kind="stable")

# %% [markdown]
# The picture behind the table. Left: with half the identity taken off, every member of the family is
# symmetric about zero, and Mish visibly leans. Right: the same statement for slopes. **All that SG-Blend
# can learn is the shape of one even curve**, the orange one on the left: how flat its bottom is ($\alpha$
# and $\beta$) and how high it hangs ($\gamma$).

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9))
for name in ["relu", "gelu", "silu", "sgblend", "mish"]:
    style = {**activation_style(name), "marker": ""}
    value = theory.closed_form(name)(grid)
    left.plot(grid, value - grid / 2, **style)
    if name != "relu":  # whose slope at 0 itself is a convention
        both = theory.closed_form(name, 1)(grid) + theory.closed_form(name, 1)(-grid)
        right.plot(grid, both - 1, **style)
left.set(title="$f(x) - x/2$", xlabel="$x$", xlim=(-3, 3), ylim=(-0.2, 1.6))
right.set(title="$f'(x) + f'(-x) - 1$", xlabel="$x$", ylim=(-0.3, 0.3))
left.legend(ncols=2, loc="upper center")
plt.show()
for parameters in ({}, {"alpha": 0.9, "beta": 3.0, "gamma": -1.0}):
    rest = theory.closed_form("sgblend", **parameters)(grid) - grid / 2
    assert np.allclose(rest, rest[::-1])
assert np.abs(value - grid / 2 - (value - grid / 2)[::-1]).max() > 0.2  # the last drawn: Mish

# %% [markdown]
# ## 4 · γ is a choice of origin
#
# $f$ contains $\gamma$ only as the constant $-\alpha\gamma$. Behind an activation stands, nearly
# always, something that undoes a constant:
#
# | what follows | why the constant disappears |
# |---|---|
# | Dense, convolution without padding | $W(h - \alpha\gamma) + b = W h + (b - \alpha\gamma\,W\mathbf 1)$: another bias |
# | LayerNorm over the channels | subtracts the mean of the channels, which moves along |
# | BatchNorm | subtracts the mean over the batch, which moves along |
#
# Physicists call such a parameter a *gauge*: it can be set at will without changing what can be measured.
# The two normalisation layers first:

# %%
layers = keras.layers
normed = keras.Sequential([layers.Dense(5), SGBlend(name="f"), layers.LayerNormalization()])
batched = keras.Sequential([layers.Dense(5), SGBlend(name="f"), layers.BatchNormalization()])
data = np.random.default_rng(1).normal(size=(64, 4)).astype("float32")
for model, training in [(normed, False), (batched, True)]:
    model(data)
    outputs = []
    for value in (0.0, 3.0):
        gamma_weight = model.get_layer("f").trainable_variables[2]
        gamma_weight.assign(value)
        outputs.append(keras.ops.convert_to_numpy(model(data, training=training)))
    assert np.abs(outputs[0] - outputs[1]).max() < 1e-4
print("LayerNorm and BatchNorm: γ = 0 and γ = 3 give the same outputs")

# %% [markdown]
# Before a Dense layer the algebra of the table's first row takes a few lines. The constant $\alpha\gamma$ of a
# model's SG-Blend is *folded* into the bias behind it: $\gamma$ becomes zero, and the outputs stay the same.

# %%
model = keras.Sequential([layers.Dense(6), SGBlend(0.7, 1.3, 1.5), layers.Dense(3)])
outputs = keras.ops.convert_to_numpy(model(data))
_, blend, after = model.layers
learned = {name: float(value) for name, value in blend.effective_parameters().items()}
kernel, bias = after.get_weights()
bias -= learned["alpha"] * learned["gamma"] * kernel.sum(axis=0)
after.set_weights([kernel, bias])
unfolded = keras.ops.convert_to_numpy(model(data))
assert np.abs(unfolded - outputs).max() > 0.1  # the bias alone changes the outputs ...
blend.trainable_variables[2].assign(0.0)
folded = keras.ops.convert_to_numpy(model(data))
assert np.abs(folded - outputs).max() < 1e-5  # ... and γ = 0 changes them back
print(
    "γ from", learned["gamma"], "to", float(blend.effective_parameters()["gamma"]), "· same outputs"
)

# %% [markdown]
# A convolution without padding moves by one constant per output channel, so its bias can do the same. With
# zero padding it cannot: padded zeros stay zero while their neighbours move, and the outputs at the border
# move by another amount than those inside. The $\gamma$ before a padded convolution has to stay.

# %%
images = np.random.default_rng(2).normal(size=(8, 6, 6, 2)).astype("float32")
for padding in ("valid", "same"):
    convolution = layers.Conv2D(4, 3, padding=padding)
    moved = convolution(SGBlend(gamma=1.5)(images)) - convolution(SGBlend(gamma=0.0)(images))
    moved = keras.ops.convert_to_numpy(moved)
    constant = np.ptp(moved, axis=(0, 1, 2)).max() < 1e-5  # in every channel
    assert constant == (padding == "valid") and np.abs(moved).max() > 0.1
    print(f"padding {padding:5s} · moved by one constant per channel: {constant}")

# %% [markdown]
# So $\gamma$ makes no function reachable that was not before. It can still change the *path* of training,
# because the gradient now reaches the constant through two parameters. Below, two models compute the
# same function; in one of them $\gamma$ learns. One step of gradient descent later they differ.

# %%
after_a_step = {}
for learns in ((), ("gamma",)):
    keras.utils.set_random_seed(5)
    pair = keras.Sequential(
        [layers.Dense(5), SGBlend(trainable_parameters=learns), layers.Dense(1)]
    )
    pair.compile(keras.optimizers.SGD(0.3), "mse")
    before = keras.ops.convert_to_numpy(pair(data))
    pair.train_on_batch(data, data[:, :1] + 1)
    after_a_step[learns] = before, keras.ops.convert_to_numpy(pair(data))
(start, fixed), (same_start, learned) = after_a_step.values()
assert np.array_equal(start, same_start) and np.abs(fixed - learned).max() > 0.01
print("the same before the step:", np.array_equal(start, same_start))
print("the same after it:       ", np.allclose(fixed, learned, atol=0.01))

# %% [markdown]
# ## 5 · Slopes and bends in closed form
#
# With $s = \sigma(\beta x)$ and $\varphi$ the normal density,
#
# $$\begin{aligned}
# f'(x) &= \alpha\,s\,[1 + \beta x(1-s)] + (1-\alpha)\,[\Phi(x) + x\varphi(x)],\\
# f''(x) &= \alpha\beta\,s(1-s)\,[2 + \beta x(1-2s)] + (1-\alpha)\,\varphi(x)\,(2 - x^2),\\
# \partial f/\partial\alpha &= x\,(s - \Phi(x)) - \gamma, \qquad
# \partial f/\partial\beta = \alpha\,x^2\,s(1-s), \qquad
# \partial f/\partial\gamma = -\alpha .
# \end{aligned}$$
#
# The three parameter derivatives are even in $x$, as section 3 demands.

# %%
s, Phi = logistic(beta * x), normal_cdf(x)
phi = sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
written = {
    x: alpha * s * (1 + beta * x * (1 - s)) + (1 - alpha) * (Phi + x * phi),
    alpha: x * (s - Phi) - gamma,
    beta: alpha * x**2 * s * (1 - s),
    gamma: -alpha,
}
for symbol, expression in written.items():
    assert sp.simplify(sp.diff(f, symbol) - expression) == 0
    if symbol is not x:
        assert sp.simplify(expression - expression.subs(x, -x)) == 0
bend = alpha * beta * s * (1 - s) * (2 + beta * x * (1 - 2 * s)) + (1 - alpha) * phi * (2 - x**2)
assert sp.simplify(sp.diff(f, x, 2) - bend) == 0
print("f″(0) =", sp.simplify(bend.subs(x, 0)))

# %% [markdown]
# The layer computes $f'$ and the parameter derivatives by these formulas, from $x$ and the parameters
# alone. Automatic differentiation would store four to eight arrays of the size of $x$ on the way forward;
# here they are computed again on the way back. Does the layer's gradient say the same as the formulas? A
# step of plain gradient descent with rate 1 on the mean output moves each parameter by exactly its
# derivative, averaged over the inputs; a bias in front of the layer moves by the average of $f'$.

# %%
points = np.linspace(-4, 4, 201)
site = SGBlend(a, b, c)
model = keras.Sequential([keras.Input((1,)), layers.Dense(1, kernel_initializer="ones"), site])
model.compile(keras.optimizers.SGD(1.0), lambda target, output: keras.ops.mean(output))
model.train_on_batch(points[:, None], points[:, None])
moved = [float(v) for v in site.effective_parameters().values()]
expected = np.array([a, b, c]) - theory.parameter_gradient(points, a, b, c).mean(axis=1)
assert np.allclose(moved, expected, atol=1e-5)
bias = float(model.layers[0].get_weights()[1][0])
slope = theory.closed_form("sgblend", 1, alpha=a, beta=b)(points)
assert np.isclose(bias, -slope.mean(), atol=1e-5)
print("one step moved α, β, γ by", np.round(np.subtract(moved, [a, b, c]), 3))

# %% [markdown]
# How steep and how bent can $f$ be? The largest $|f'|$ is the *Lipschitz constant*: inputs that differ by
# $d$ give outputs that differ by at most that many times $d$, and gradients grow by at most that factor on
# the way back through $f$. The curvature at zero, $f''(0) = \tfrac{\alpha\beta}{2} +
# (1-\alpha)\sqrt{2/\pi}$, is the largest there is for $0\le\alpha\le1$ and $\beta > 0$, because each of the
# two parts bends most at zero. The two pure cases have exact extrema:
#
# * **Swish** scales: $x\,\sigma(\beta x) = \tfrac1\beta\,(\beta x)\,\sigma(\beta x)$. Its minimum is
#   $-W(1/e)/\beta = -0.27846/\beta$ at $x = -(1+W(1/e))/\beta$, with Lambert's $W$, and its largest
#   slope 1.09984 does not depend on $\beta$.
# * **GELU** bends by $\varphi(x)(2-x^2)$, so its largest slope is $\Phi(\sqrt2) + \sqrt2\varphi(\sqrt2)
#   = 1.12890$ at $x = \sqrt2$.
#
# Below, the search of `theory` in floating point is checked against mpmath at 30 digits.

# %%
import mpmath as mp

mp.mp.dps = 30
W = mp.lambertw(mp.e**-1).real
gelu = {0: lambda t: t * mp.ncdf(t), 1: lambda t: mp.ncdf(t) + t * mp.npdf(t)}
swish_slope = lambda t: mp.diff(lambda u: u / (1 + mp.exp(-u)), t)  # noqa: E731
place = mp.findroot(gelu[1], -0.75)
steepest = mp.findroot(lambda t: mp.diff(swish_slope, t), 2.4)

assert abs(theory.minimum("gelu")[1] - gelu[0](place)) < 1e-12
assert abs(theory.lipschitz("gelu")[1] - gelu[1](mp.sqrt(2))) < 1e-12
for value in (0.5, 1.0, 3.0):
    point, depth = theory.minimum("swish", beta=value)
    assert abs(depth + W / value) < 1e-12 and abs(point + (1 + W) / value) < 1e-6
    assert abs(theory.lipschitz("swish", beta=value)[1] - swish_slope(steepest)) < 1e-9
    for share in (0.0, 0.3, 1.0):
        largest = theory.curvature_bound("sgblend", alpha=share, beta=value)
        at_zero = share * value / 2 + (1 - share) * np.sqrt(2 / np.pi)
        assert abs(largest - at_zero) < 1e-9
print("Swish minimum", mp.nstr(-W, 6), "at", mp.nstr(-1 - W, 6), end=" · ")
print("slope", mp.nstr(swish_slope(steepest), 6), "at", mp.nstr(steepest, 6))
print("GELU  minimum", mp.nstr(gelu[0](place), 6), "at", mp.nstr(place, 6), end=" · ")
print("slope", mp.nstr(gelu[1](mp.sqrt(2)), 6), "at", mp.nstr(mp.sqrt(2), 6))

# %% [markdown]
# The same numbers for some relatives. SG-Blend's dip lies between those of its parents, its largest slope
# below both: the parents are steepest in different places, $\sqrt2$ and 2.4.

# %%
rows = {}
for name in ["relu", "gelu", "silu", "sgblend", "mish", "serf", "hard_silu", "softplus"]:
    low, (at, steep) = theory.minimum(name), theory.lipschitz(name)
    bound = theory.curvature_bound(name)
    rows[name] = {
        "minimum": "none" if low is None else f"{low[1]:.5f}",
        "at x =": "" if low is None else f"{low[0]:.5f}",
        "largest |f′|": f"{steep:.4f}",
        "largest |f″|": "∞" if np.isinf(bound) else f"{bound:.4f}",
    }
assert rows["mish"]["minimum"] == "-0.30884" and rows["mish"]["at x ="] == "-1.19243"
assert theory.minimum("silu")[1] < theory.minimum("sgblend")[1] < theory.minimum("gelu")[1]
slopes = {name: theory.lipschitz(name)[1] for name in ("sgblend", "silu", "gelu")}
assert slopes["sgblend"] < slopes["silu"] < slopes["gelu"]
pd.DataFrame(rows).T

# %% [markdown]
# The maps show how far $\alpha$ and $\beta$ can pull these numbers. (The dot marks a fresh layer;
# $\alpha = 0$ is left out, there $\beta$ has no effect.) The **depth** of the dip ranges from 0.07 to 0.93,
# mostly through small $\beta$: a wide logistic noise lets large negative values leak. The **largest slope**
# stays between 1.02 and 1.13. It can never exceed $1.09984\,\alpha + 1.12890\,(1-\alpha)$, with equality
# where both parents are steepest at the same place, $\beta = 2.39936/\sqrt2 = 1.6966$; and it is never
# below 1, the slope at $+\infty$. As long as $0\le\alpha\le1$ and $\beta > 0$, learning can change the
# largest gradient of the activation by some ten percent, not more.

# %%
alphas, betas = np.linspace(0.02, 1, 29), np.linspace(0.3, 4, 33)
pairs = [[{"alpha": share, "beta": b} for share in alphas] for b in betas]
depth = np.array([[-theory.minimum("sgblend", **one)[1] for one in row] for row in pairs])
slope = np.array([[theory.lipschitz("sgblend", **one)[1] for one in row] for row in pairs])
upper = 1.0998394 * alphas + 1.1289043 * (1 - alphas)
assert np.all(slope <= upper + 1e-6) and 1.02 < slope.min() < slope.max() < 1.13
assert 0.92 < depth.max() < 0.93 and 0.065 < depth.min() < 0.075
assert depth[betas > 1].max() < 0.3  # all that is deeper has small β
meeting = theory.lipschitz("sgblend", alpha=0.4, beta=2.3993573 / np.sqrt(2))[1]
assert abs(meeting - (0.4 * 1.0998394 + 0.6 * 1.1289043)) < 1e-6
print(f"depth  from {depth.min():.3f} to {depth.max():.3f}")
print(f"slope  from {slope.min():.3f} to {slope.max():.3f}")

# %%
figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.1), sharey=True)
maps = [
    (
        depth,
        "depth of the dip",
        [0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.32, 0.4, 0.5, 0.65, 0.95],
    ),
    (slope, "largest slope", np.arange(1.02, 1.131, 0.01)),
]
for axes, (values, title, levels) in zip(panels, maps, strict=True):
    colours = plt.cm.colors.BoundaryNorm(levels, 256)
    image = axes.contourf(alphas, betas, values, levels=levels, norm=colours, cmap="cividis")
    lines = axes.contour(alphas, betas, values, levels=levels[1::2], colors="white", linewidths=0.7)
    axes.clabel(lines, fmt="%.2f", fontsize=9)
    axes.plot(0.5, 1.0, "o", color="#D55E00", markersize=9, markeredgecolor="white")
    axes.set(title=title, xlabel="α", ylabel="β" if axes is panels[0] else "")
    axes.grid(False)
    figure.colorbar(image, ax=axes, ticks=levels[::2], format="%.2f")
plt.show()

# %% [markdown]
# ## 6 · Tails: what the logistic half adds
#
# Far to the right, $f(x) = x - \alpha\gamma$ up to exponentially small terms; far to the left,
# $f(x) = -\alpha\gamma$. *How* the left tail dies is where the parents differ most. The normal gate
# dies like $e^{-x^2/2}$, the logistic one like $e^{-\beta|x|}$, and a mixture dies like its slower
# part: for any $\alpha > 0$
#
# $$f'(x) \;\sim\; \alpha\,(1 + \beta x)\,e^{\beta x}, \qquad x \to -\infty .$$
#
# At $x=-6$ GELU's slope is below $10^{-7}$ in size, SG-Blend's is about $-0.006$. A unit whose inputs have
# drifted to the left still receives a gradient. This is what the logistic half adds to
# GELU; SiLU has more of it. (In the figure, the spikes that point down mark the minimum of each function,
# where the slope changes sign.)

# %%
far = -np.linspace(12, 30, 19)
ratio = theory.closed_form("sgblend", 1)(far) / (0.5 * (1 + far) * np.exp(far))
assert np.abs(ratio - 1).max() < 2e-2  # tanh in float64 limits the tail, not the formula
normal_tail = far[:3] * np.exp(-(far[:3] ** 2) / 2) / np.sqrt(2 * np.pi)  # x φ(x)
assert all(
    abs((mp.ncdf(t) + t * mp.npdf(t)) / n - 1) < 0.02
    for t, n in zip(far[:3], normal_tail, strict=True)
)
shifted = theory.closed_form("sgblend", gamma=0.8)
assert abs(shifted(40.0) - (40.0 - 0.4)) < 1e-12 and abs(shifted(-200.0) + 0.4) < 1e-12
at_six = {n: float(theory.closed_form(n, 1)(-6)) for n in ("gelu", "sgblend", "silu")}
assert -1e-7 < at_six["gelu"] < 0 and abs(at_six["sgblend"] + 0.006) < 5e-4
assert at_six["silu"] < at_six["sgblend"]

# %%
tail = pd.DataFrame(
    {
        n: [f"{float(theory.closed_form(n, 1)(p)):.1e}" for p in (-2, -4, -6)]
        for n in ("gelu", "sgblend", "silu")
    },
    index=["f′(−2)", "f′(−4)", "f′(−6)"],
)
left_points = -np.linspace(0.01, 10, 600)
figure, axes = plt.subplots(figsize=(7.2, 3.8))
for name in ["gelu", "sgblend", "silu", "mish"]:
    values = np.abs(theory.closed_form(name, 1)(left_points))
    axes.semilogy(left_points, values, **{**activation_style(name), "marker": ""})
axes.set(
    title="$|f'|$ left of zero", xlabel="$x$", ylim=(1e-10, 2), ylabel="$|f'(x)|$, logarithmic"
)
axes.legend(loc="lower right")
plt.show()
tail

# %% [markdown]
# ## 7 · Three functions called GELU
#
# GELU is often replaced by $\tfrac x2\bigl(1+\tanh[\sqrt{2/\pi}(x+0.044715x^3)]\bigr)$ or by
# $x\,\sigma(1.702\,x)$. The first is off by at most 0.0005, the second by 0.0203, forty times more.
# The published code of SG-Blend takes the sigmoid form inside the blend and the exact form for the
# GELU it is compared with. And the sigmoid form *is* a Swish, with $\beta = 1.702$: a blend of Swish
# with it is a blend of two Swishes, and at $\beta = 1.702$ of one Swish with itself, where $\alpha$
# has no effect at all.


# %%
def gelu_error(form, order=0):
    """Place, right of zero, and size of the largest error of f or f′."""
    approximate, exact = (theory.closed_form(name, order) for name in (f"gelu_{form}", "gelu"))
    return theory.maximum(lambda points: np.abs(approximate(points) - exact(points)), 0.0, 12.0)


rows = {}
for form in ("tanh", "sigmoid"):
    for order, what in ((0, "f"), (1, "f′")):
        place, size = gelu_error(form, order)
        rows[f"{form} form, error of {what}"] = {"largest": f"{size:.5f}", "at |x|": f"{place:.2f}"}
assert gelu_error("tanh")[1] < 0.0005
assert 40 < gelu_error("sigmoid")[1] / gelu_error("tanh")[1] < 45
swish = theory.closed_form("swish", beta=1.702)(grid)
assert np.allclose(theory.closed_form("gelu_sigmoid")(grid), swish, atol=1e-12)
assert abs(gelu_error("sigmoid")[1] - 0.0203) < 5e-5
assert abs(gelu_error("sigmoid")[0] - 2.27) < 5e-3
alpha_effect = theory.parameter_gradient(grid, 0.5, 1.702, 0.0, "sigmoid")[0]
assert np.abs(alpha_effect).max() < 1e-12

# %%
figure, panels = plt.subplots(1, 2, figsize=(10.5, 3.5))
for axes, form in zip(panels, ("tanh", "sigmoid"), strict=True):
    error = theory.closed_form(f"gelu_{form}")(grid) - theory.closed_form("gelu")(grid)
    axes.plot(grid, error, color="#0072B2")
    axes.axhline(0, color="#6b6b6b", linewidth=0.8)
    axes.set(title=f"{form} form − GELU", xlabel="$x$", xlim=(-6, 6))
plt.show()
pd.DataFrame(rows).T

# %% [markdown]
# ## 8 · The paper's first figure, twice
#
# The paper opens with the first derivatives of SG-Blend, Swish and GELU on $[-5, 5]$. The GELU curve
# printed there peaks near 1.10, which is the peak of every Swish and so of the sigmoid form; GELU
# itself peaks at 1.129. Here is the figure as published, and with the exact GELU.

# %%
figure_teaser(published=True)
figure_teaser(published=False)
plt.show()
for published in (True, False):
    curves = teaser_curves(published)
    peaks = {name: float(slope.max().round(3)) for name, (_, slope) in curves.items()}
    print("published:" if published else "exact:    ", peaks)
    assert all(np.allclose(s + s[::-1], 1) for _, s in curves.values())  # section 3 once more

# %% [markdown]
# ## 9 · What the published parameterization can reach
#
# The published code does not store $\alpha$ and $\beta$ as such. It stores $a$ with
# $\alpha = \sigma(a)$, starts at $a = 0$, and *also* clips the size of $a$ to at most 1; so $\alpha$
# starts at ½ and can never leave $[\sigma(-1), \sigma(1)] = [0.269, 0.731]$: neither parent is in reach.
# $\beta$ is drawn from Glorot's uniform distribution, which for one weight means
# $U(-\sqrt3, \sqrt3)$, and clipped to $[0.1, 10]$ only after the first update. Half of all runs
# thus begin with an inverted Swish, which passes the negative inputs and holds back the positive ones.
# At the end of that range, at $\beta = -1.702$, the bends of the two halves cancel and the "activation" is
# the straight line $x/2$, since $x\,\sigma(-kx) + x\,\sigma(kx) = x$: section 3 in its plainest form.

# %%
keras.utils.set_random_seed(4)
starts = [SGBlend(parameterization="published", gelu="sigmoid") for _ in range(200)]
drawn = np.array([float(start.effective_parameters()["beta"]) for start in starts])
assert np.abs(drawn).max() < np.sqrt(3) and 0.4 < np.mean(drawn < 0) < 0.6
weight = starts[0].trainable_variables[0]
reach = []
for push in (-50.0, 50.0):
    weight.assign(weight.constraint(keras.ops.convert_to_tensor([push])))
    reach.append(float(starts[0].effective_parameters()["alpha"]))
assert np.allclose(reach, [0.2689, 0.7311], atol=1e-3)
print("α after a push to either side:", np.round(reach, 3))
beta_weight = starts[0].trainable_variables[1]
clipped = beta_weight.constraint(keras.ops.convert_to_tensor([-1.7]))
assert abs(float(keras.ops.convert_to_numpy(clipped)[0]) - 0.1) < 1e-6  # after the first update
straight = theory.closed_form("sgblend_sigmoid", beta=-1.702)(grid)
assert np.abs(straight - grid / 2).max() < 1e-12

# %%
figure, axes = plt.subplots(figsize=(7.2, 3.8))
for value in np.linspace(-1.7, 1.7, 18):
    curve = theory.closed_form("sgblend_sigmoid", beta=value)(grid)
    line = {"color": "#CC79A7", "linestyle": "--"} if value < 0 else {"color": "#009E73"}
    axes.plot(grid, curve, linewidth=1.2, **line)
axes.plot([], [], color="#CC79A7", linestyle="--", label="β drawn below 0")
axes.plot([], [], color="#009E73", label="β drawn above 0")
axes.set(title="Functions the published layer may start with", xlabel="$x$", ylabel="$f(x)$")
axes.set(xlim=(-5, 5), ylim=(-3, 5.4))
axes.legend(loc="upper left")
plt.show()

# %% [markdown]
# The `"free"` parameterization of this package stores $\alpha$, $\beta$, $\gamma$ themselves, starts
# at ½, 1, 0 and can reach GELU ($\alpha = 0$) and SSwish ($\alpha = 1$) exactly;
# `SGBlend(parameterization="published")` reproduces the behaviour above for the experiments that need
# it.

# %%
row = grid[None].astype("float32")
for share, parent in [(0.0, make_activation("gelu")), (1.0, SSwish(1.3, 0.2))]:
    difference = SGBlend(share, 1.3, 0.2)(row) - parent(row)
    assert np.abs(keras.ops.convert_to_numpy(difference)).max() < 1e-6
print("α = 0 is GELU, α = 1 is SSwish")

# %% [markdown]
# ## 10 · One parameter at a time
#
# In JupyterLab the last cell of this section shows three sliders. Elsewhere it shows five values of each
# parameter, with the other two at their start. In the lower right panel the five values of $\gamma$ give one
# and the same curve.

# %%
START = {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}


def draw(axes_pair, parameters, **line):
    for order, axes in enumerate(axes_pair):
        known = parameters if order == 0 else {k: v for k, v in parameters.items() if k != "gamma"}
        axes.plot(grid, theory.closed_form("sgblend", order, **known)(grid), **line)
        axes.set(xlim=(-5, 5), ylim=[(-1.5, 3), (-0.4, 1.3)][order], xlabel="$x$")


def explore(alpha=0.5, beta=1.0, gamma=0.0):
    """Redraw f and f′ for one choice of the three parameters, over GELU and SiLU."""
    _, panels = plt.subplots(1, 2, figsize=(10, 3.6))
    for name in ("gelu", "silu"):
        for order, axes in enumerate(panels):
            style = {**activation_style(name), "marker": "", "linewidth": 1.2}
            axes.plot(grid, theory.closed_form(name, order)(grid), **style)
    draw(panels, {"alpha": alpha, "beta": beta, "gamma": gamma}, color="#D55E00", label="SG-Blend")
    panels[0].set_title("$f(x)$")
    panels[1].set_title("$f'(x)$")
    panels[0].legend(loc="upper left")
    plt.show()


# %%
CHOICES = {
    "alpha": (0, 0.25, 0.5, 0.75, 1),
    "beta": (0.3, 0.6, 1, 2, 4),
    "gamma": (-1, -0.5, 0, 0.5, 1),
}
SHADES = plt.cm.viridis(np.linspace(0, 0.85, 5))


def one_at_a_time():
    """Five values of each parameter: one column of panels per parameter."""
    _, panels = plt.subplots(2, 3, figsize=(10.5, 5.6), sharex=True, sharey="row")
    for (name, values), pair in zip(CHOICES.items(), panels.T, strict=True):
        for value, shade in zip(values, SHADES, strict=True):
            draw(pair, {**START, name: value}, color=shade, label=f"{value:g}", linewidth=1.5)
        pair[0].set(title={"alpha": "α", "beta": "β", "gamma": "γ"}[name], xlabel="")
        pair[0].legend(fontsize=9, loc="upper left")
    panels[0, 0].set_ylabel("$f(x)$")
    panels[1, 0].set_ylabel("$f'(x)$")
    plt.show()
    drawn = [line.get_ydata() for line in panels[1, 2].lines]
    assert len(drawn) == 5 and all(np.array_equal(drawn[0], other) for other in drawn)


# %%
import os

import ipywidgets
from IPython.display import display

ranges = {"alpha": (0.0, 1.0, 0.05), "beta": (-2.0, 6.0, 0.1), "gamma": (-1.0, 1.0, 0.05)}
if "JPY_SESSION_NAME" in os.environ:  # set where somebody sits in front of the notebook
    sliders = {
        name: ipywidgets.FloatSlider(START[name], min=low, max=high, step=step)
        for name, (low, high, step) in ranges.items()
    }
    display(ipywidgets.interactive(explore, **sliders))
else:
    one_at_a_time()

# %% [markdown]
# ## What was found
#
# * SG-Blend is $x$ times the distribution function of a logistic–normal mixture, minus a constant; it
#   is also half the identity plus an even function, and only that even function is learned.
# * $f'(x) + f'(-x) = 1$ holds for SG-Blend and SSwish, and equally for ReLU, GELU, every Swish,
#   Hard SiLU, Softplus and Squareplus. SSwish adds no symmetry to Swish: its derivative *is* Swish's.
# * $\gamma$ is a gauge: the next bias, LayerNorm or BatchNorm absorbs it exactly; only before zero padding
#   it cannot be removed. It can change the path of training, not what can be reached.
# * The Lipschitz constant stays between 1.02 and 1.13 over $0\le\alpha\le1$, $0.3\le\beta\le4$, where the
#   depth of the dip varies thirteenfold; the left tail is exponential for every $\alpha > 0$ where GELU's is
#   Gaussian.
# * With the sigmoid form of GELU, SG-Blend is a blend of two Swishes. The published parameterization
#   keeps $\alpha$ within [0.269, 0.731] and starts about half of all runs with an inverted Swish.
#
# So two numbers, $\alpha$ and $\beta$, change one even curve. Two questions follow. What does that
# change do to gradients in a *deep* network? And can data tell $\alpha$ from $\beta$ at all? The next
# notebook answers both.

# %% [markdown]
# ## Exercises
#
# 1. For which β has the Swish $x\,\sigma(\beta x)$ its minimum at $x = -1$?
#
# <details><summary>Solution 1</summary>
#
# With $z = \beta x$ the function is $z\,\sigma(z)/\beta$, so that its minimum lies at $-1.2785/\beta$.
#
# ```python
# from sgblend_utils import theory
#
# beta = -theory.minimum("swish", beta=1.0)[0]  # 1.2785: the place is inversely proportional to beta
# assert abs(theory.minimum("swish", beta=beta)[0] + 1) < 1e-6
# ```
#
# </details>
#
# 2. Derive the curvature of SG-Blend at zero by hand, and compare it with the closed form.
#
# <details><summary>Solution 2</summary>
#
# For a gate $G$, $(xG)'' = 2G' + xG''$, which at zero is $2G'(0)$: $\alpha\beta/2 + (1-\alpha)\sqrt{2/\pi}$.
#
# ```python
# import numpy as np
#
# from sgblend_utils import theory
#
# found = theory.closed_form("sgblend", 2, alpha=0.3, beta=1.4)(0.0)
# assert abs(found - (0.3 * 1.4 / 2 + 0.7 * np.sqrt(2 / np.pi))) < 1e-12
# ```
#
# </details>
#
# ---
# Previous: [00 · Start here](00_start_here.ipynb) · Next:
# [02 · Gradient analysis](02_gradient_analysis.ipynb)
