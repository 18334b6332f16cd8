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
# **Claim of this notebook.** SG-Blend is the identity cut in half plus an even function:
# $f(x) = \tfrac{x}{2} + e(x)$ with $e(-x) = e(x)$. That one line contains its "first-order
# symmetry", which it shares with ReLU, GELU, SiLU and Softplus; it shows that $\gamma$ moves nothing
# that the next layer's bias could not move; and it leaves two parameters, $\alpha$ and $\beta$, that
# choose how deep and how wide the dip left of zero is and how fast the left tail dies.
#
# *Needs* nothing but the package: no data, no training. *Takes* about half a minute. Every statement
# in the text is asserted, symbolically where SymPy can and numerically elsewhere, by the cell that
# follows it.

# %%
from sgblend_utils.notebook import is_live, setup

setup()

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import sympy as sp

from sgblend_utils import theory
from sgblend_utils.activations import SGBlend, SSwish, fold_sgblend, make_activation
from sgblend_utils.figures_theory import figure_teaser, teaser_curves
from sgblend_utils.style import activation_style, set_style

set_style()
grid = np.linspace(-6, 6, 1201)

# %% [markdown]
# ## 1 · Three definitions
#
# Write $\sigma(z) = 1/(1+e^{-z})$ for the logistic function and $\Phi$ for the distribution function
# of the standard normal.
#
# * **Swish** ([Ramachandran et al. 2017](https://arxiv.org/abs/1710.05941)) lets a logistic gate
#   decide how much of $x$ passes: $x\,\sigma(\beta x)$. With $\beta = 1$ it is called SiLU.
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
    own = keras.ops.convert_to_numpy(make_activation(name)(grid[None, :].astype("float32")))[0]
    assert np.abs(own - theory.closed_form(name)(grid)).max() < 1e-5
print("layers and formulas agree")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9))
for name in ["relu", "gelu", "silu", "sgblend"]:
    style = {**activation_style(name), "marker": ""}
    left.plot(grid, theory.closed_form(name)(grid), **style)
    right.plot(grid, theory.closed_form(name, 1)(grid), **style)
left.set(title="f", xlabel="x", xlim=(-5, 2.2), ylim=(-0.5, 2.2))
right.set(title="f′", xlabel="x", xlim=(-5, 5), ylim=(-0.2, 1.2))
left.legend(loc="upper left")
plt.show()

# %% [markdown]
# SG-Blend is drawn as a fresh layer computes it: $\alpha = \tfrac12$, $\beta = 1$, $\gamma = 0$. It
# runs halfway between SiLU and GELU, as it must. The interesting question is what the three
# parameters can reach from there, and for that the definition is not the best form.

# %% [markdown]
# ## 2 · One gate: the distribution function of a mixture
#
# Collect what multiplies $x$:
#
# $$f(x) = x\,G(x) - \alpha\gamma, \qquad G(x) = \alpha\,\sigma(\beta x) + (1-\alpha)\,\Phi(x).$$
#
# $\sigma(\beta x)$ is the distribution function of a logistic variable with scale $1/\beta$, $\Phi$
# that of a standard normal. For $0 \le \alpha \le 1$ and $\beta > 0$, $G$ is therefore the
# distribution function of a **mixture**: draw a noise $Z$ that is logistic with probability $\alpha$
# and normal otherwise, let $x$ pass when $Z \le x$ and block it otherwise; on average $x\,G(x)$ gets
# through. GELU was introduced in just this way, with normal noise alone. SG-Blend learns the noise.

# %%
from sgblend_utils.theory.expressions import alpha, beta, gamma, logistic, normal_cdf, sgblend, x

gate = alpha * logistic(beta * x) + (1 - alpha) * normal_cdf(x)
assert sp.expand(sgblend() - (x * gate - alpha * gamma)) == 0
density = sp.diff(gate, x)
mixture = alpha * beta * logistic(beta * x) * (1 - logistic(beta * x))
mixture += (1 - alpha) * sp.exp(-(x**2) / 2) / sp.sqrt(2 * sp.pi)
assert sp.simplify(density - mixture) == 0

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
for value, shade in zip([0.0, 0.5, 1.0], ["#0072B2", "#D55E00", "#009E73"], strict=True):
    label = {0.0: "α = 0: normal", 0.5: "α = ½: mixture", 1.0: "α = 1: logistic"}[value]
    left.plot(grid, gate_at(grid, value, 1.0), color=shade, label=label)
    right.plot(grid, density_at(grid, value, 1.0), color=shade, label=label)
left.set(title="gate G(x)", xlabel="x", ylabel="share of x that passes")
right.set(title="its density: the noise that is learned (β = 1)", xlabel="x")
left.legend(loc="upper left")
plt.show()

# %% [markdown]
# ## 3 · Half the identity plus an even function
#
# Both noises are symmetric about zero, so $G(-x) = 1 - G(x)$, whatever $\alpha$ and $\beta$. Then
#
# $$f(x) - f(-x) = x\,G(x) + x\,G(-x) = x\,\bigl[G(x) + 1 - G(x)\bigr] = x .$$
#
# The odd part of $f$ is $x/2$, always. Everything else is even: $f(x) = x/2 + e(x)$. Differentiate
# once more and $f'(x) + f'(-x) = 1$: the graph of $f'$ turned by half a circle about the point
# $(0, \tfrac12)$ is itself. This point symmetry is what "first-order symmetric" can mean, and it does
# not single out SSwish: $\gamma$ is not even in $f'$.

# %%
f, f_prime = sgblend(), sp.diff(sgblend(), x)
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
# symmetric, and for everything in the ELU and leaky family.

# %%
names = [n for n in theory.EXPRESSIONS if "_" not in n or n in ("leaky_relu", "hard_silu")]
defect = {n: theory.symmetry_defect(theory.closed_form(n), reach=6.0) for n in names}
shares = pd.DataFrame({"max |f(x) − f(−x) − x|": defect}).round(3) + 0.0
shares["first-order symmetric"] = ["yes" if d < 1e-9 else "no" for d in defect.values()]
symmetric = {n for n, d in defect.items() if d < 1e-9}
assert symmetric == {"relu", "softplus", "gelu", "silu", "swish", "hard_silu", "squareplus"} | {
    "sswish",
    "sgblend",
}
assert 0.20 < defect["mish"] < 0.21
softplus = theory.EXPRESSIONS["softplus"]
even = sp.log(2 * sp.cosh(x / 2))
assert sp.simplify((softplus - x / 2 - even).rewrite(sp.exp).subs(x, sp.Rational(7, 3)).n()) < 1e-15
shares.sort_values("max |f(x) − f(−x) − x|", kind="stable")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9))
for name in ["relu", "gelu", "silu", "sgblend", "mish"]:
    style = {**activation_style(name), "marker": ""}
    value = theory.closed_form(name)(grid)
    left.plot(grid, value - grid / 2, **style)
    if name != "relu":  # whose slope at 0 itself is a convention
        both = theory.closed_form(name, 1)(grid) + theory.closed_form(name, 1)(-grid)
        right.plot(grid, both - 1, **style)
left.set(title="f(x) − x/2", xlabel="x", xlim=(-3, 3), ylim=(-0.2, 1.6))
right.set(title="f′(x) + f′(−x) − 1", xlabel="x", ylim=(-0.3, 0.3))
left.legend(ncols=2, loc="upper center")
plt.show()

# %% [markdown]
# Left: with half the identity taken off, every member of the family is symmetric about zero, and
# Mish visibly leans. Right: the same statement for slopes. **All that SG-Blend can learn is the shape
# of one even curve**, the orange one on the left: how flat its bottom is ($\alpha$ and $\beta$) and
# how high it hangs ($\gamma$).

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
# In a network, $\gamma$ can therefore change the *path* of training, since gradients reach the
# constant through another parameter, but no function becomes reachable that was not before. Zero
# padding is the exception: padded zeros stay zero while their neighbours move.

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
# For Dense and convolutions the package does the algebra: `fold_sgblend` returns a copy of a model in
# which every $\gamma$ that can go is gone, its effect moved into the next bias.

# %%
model = keras.Sequential(
    [
        keras.Input((4,)),
        layers.Dense(8),
        SGBlend(alpha=0.7, gamma=1.5),
        layers.Dense(6, use_bias=False),
        SSwish(beta=2.0, gamma=-0.4),
        layers.Dense(3),
    ]
)
folded = fold_sgblend(model)
difference = keras.ops.convert_to_numpy(model(data) - folded(data))
left_over = [float(m.effective_parameters()["gamma"]) for m in folded.layers if hasattr(m, "gelu")]
assert np.abs(difference).max() < 1e-5 and left_over == [0.0]
print("folded: same outputs, remaining γ:", left_over)

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
# These five lines are what the layer's hand-written gradient computes from $x$ alone. Note that all
# three parameter derivatives are even in $x$, as section 3 demands.

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
# The curvature at zero, $f''(0) = \tfrac{\alpha\beta}{2} + (1-\alpha)\sqrt{2/\pi}$, is also the largest
# there is for $0\le\alpha\le1$, because each of the two parts bends most at zero. The two pure cases
# have exact extrema:
#
# * **Swish** scales: $x\,\sigma(\beta x) = \tfrac1\beta\,(\beta x)\,\sigma(\beta x)$. Its minimum is
#   $-W(1/e)/\beta = -0.27846/\beta$ at $x = -(1+W(1/e))/\beta$, with Lambert's $W$, and its largest
#   slope 1.09984 does not depend on $\beta$.
# * **GELU** bends by $\varphi(x)(2-x^2)$, so its largest slope is $\Phi(\sqrt2) + \sqrt2\varphi(\sqrt2)
#   = 1.12890$ at $x = \sqrt2$.
#
# Below, the search of `theory.shape` in floating point is checked against mpmath at 30 digits.

# %%
import mpmath as mp

mp.mp.dps = 30
W = mp.lambertw(mp.e**-1).real


def gelu_slope(t):
    return mp.ncdf(t) + t * mp.npdf(t)


def swish_slope(t):
    return mp.diff(lambda u: u / (1 + mp.exp(-u)), t)


# %%
place = mp.findroot(gelu_slope, -0.75)
assert abs(theory.SWISH_DEPTH - W) < 1e-15
assert abs(theory.minimum("gelu")[1] - place * mp.ncdf(place)) < 1e-12
assert abs(theory.lipschitz("gelu")[1] - gelu_slope(mp.sqrt(2))) < 1e-12
steepest = mp.findroot(lambda t: mp.diff(swish_slope, t), 2.4)
for value in (0.5, 1.0, 3.0):
    point, depth = theory.minimum("swish", beta=value)
    assert abs(depth + W / value) < 1e-12 and abs(point + (1 + W) / value) < 1e-6
    assert abs(theory.lipschitz("swish", beta=value)[1] - swish_slope(steepest)) < 1e-9
print(
    "Swish minimum",
    mp.nstr(-W, 6),
    "at",
    mp.nstr(-1 - W, 6),
    "· slope",
    mp.nstr(swish_slope(steepest), 6),
)
print("GELU  minimum", mp.nstr(place * mp.ncdf(place), 6), "at", mp.nstr(place, 6), end=" · ")
print("slope", mp.nstr(gelu_slope(mp.sqrt(2)), 6))

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
assert abs(theory.curvature_bound("sgblend") - theory.sgblend_curvature_at_zero(0.5, 1)) < 1e-9
pd.DataFrame(rows).T

# %% [markdown]
# The maps show how far $\alpha$ and $\beta$ can pull SG-Blend's own numbers. The **depth** of the dip
# ranges from 0.07 to 0.93, mostly through small $\beta$ (a wide logistic noise lets large negative
# values leak), while the **largest slope** stays between 1.02 and 1.13. For $0 \le \alpha \le 1$ it
# can never exceed $1.09984\,\alpha + 1.12890\,(1-\alpha)$, with equality where both parents are
# steepest at the same place, $\beta = 2.39936/\sqrt2 = 1.6966$; and it is never below 1, the slope at
# $+\infty$. Whatever is learned, the blend can neither tame nor amplify the largest gradient by
# more than some ten percent.

# %%
alphas, betas = np.linspace(0.02, 1, 29), np.linspace(0.3, 4, 33)
depth = theory.sgblend_map("depth", alphas, betas)
slope = theory.sgblend_map("lipschitz", alphas, betas)
upper = 1.0998394 * alphas + 1.1289043 * (1 - alphas)
assert np.all(slope <= upper + 1e-6) and 1.02 < slope.min() < slope.max() < 1.13
assert -0.93 < depth.min() < -0.92 and -0.075 < depth.max() < -0.065
meeting = theory.lipschitz("sgblend", alpha=0.4, beta=2.3993573 / np.sqrt(2))[1]
assert abs(meeting - (0.4 * 1.0998394 + 0.6 * 1.1289043)) < 1e-6
print(f"depth  from {depth.min():.3f} to {depth.max():.3f}")
print(f"slope  from {slope.min():.3f} to {slope.max():.3f}")
figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.1), sharey=True)
for axes, values, title in zip(
    panels, (depth, slope), ("minimum of f", "largest slope"), strict=True
):
    image = axes.contourf(alphas, betas, values, levels=14, cmap="cividis")
    lines = axes.contour(
        alphas, betas, values, levels=image.levels[::3], colors="white", linewidths=0.7
    )
    axes.plot(0.5, 1.0, "o", color="#D55E00", markersize=9, markeredgecolor="white")
    axes.set(title=title, xlabel="α", ylabel="β" if axes is panels[0] else "")
    axes.grid(False)
    figure.colorbar(image, ax=axes, format="%.2f" if values is depth else "%.3f")
plt.show()

# %% [markdown]
# The dot marks a fresh layer. ($\alpha = 0$ is left out: there $\beta$ has no effect.)

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
# At $x=-6$ GELU's slope is below $10^{-7}$, SG-Blend's about $-0.006$. A unit whose inputs have drifted
# to the left can still be called back by the gradient. That is the one property of the blend that
# GELU has not got; SiLU has it too.

# %%
far = -np.linspace(12, 30, 19)
ratio = theory.closed_form("sgblend", 1)(far) / (0.5 * (1 + far) * np.exp(far))
assert np.abs(ratio - 1).max() < 2e-2  # tanh in float64 limits the tail, not the formula
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
axes.set(title="|f′| left of zero", xlabel="x", ylim=(1e-10, 2), ylabel="|f′(x)|, logarithmic")
axes.legend(loc="lower right")
plt.show()
tail

# %% [markdown]
# The spikes that point down mark the minimum of each function, where the slope changes sign.

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
rows = {}
for form in ("tanh", "sigmoid"):
    for order, what in ((0, "f"), (1, "f′")):
        place, size = theory.gelu_error(form, order)
        rows[f"{form} form, error of {what}"] = {"largest": f"{size:.5f}", "at |x|": f"{place:.2f}"}
assert abs(theory.gelu_error("sigmoid")[1] - 0.0203) < 5e-5
assert abs(theory.gelu_error("sigmoid")[0] - 2.27) < 5e-3
alpha_effect = theory.parameter_gradient(grid, 0.5, 1.702, 0.0, "sigmoid")[0]
assert np.abs(alpha_effect).max() < 1e-12

figure, panels = plt.subplots(1, 2, figsize=(10.5, 3.5))
for axes, form in zip(panels, ("tanh", "sigmoid"), strict=True):
    error = theory.closed_form(f"gelu_{form}")(grid) - theory.closed_form("gelu")(grid)
    axes.plot(grid, error, color="#0072B2")
    axes.axhline(0, color="#6b6b6b", linewidth=0.8)
    axes.set(title=f"{form} form − GELU", xlabel="x", xlim=(-6, 6))
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
# Near $\beta = -1.702$ the two halves cancel exactly and the "activation" is the straight line $x/2$:
# $x\,\sigma(-kx) + x\,\sigma(kx) = x$, section 3 in its plainest form.

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
straight = theory.closed_form("sgblend_sigmoid", beta=-1.702)(grid)
assert np.abs(straight - grid / 2).max() < 1e-12

# %%
figure, axes = plt.subplots(figsize=(7.2, 3.8))
for value in np.linspace(-1.7, 1.7, 18):
    curve = theory.closed_form("sgblend_sigmoid", beta=value)(grid)
    axes.plot(grid, curve, color="#CC79A7" if value < 0 else "#009E73", linewidth=1.2)
axes.plot([], [], color="#CC79A7", label="β drawn below 0")
axes.plot([], [], color="#009E73", label="β drawn above 0")
axes.set(title="Functions the published layer may start with", xlabel="x", xlim=(-5, 5))
axes.legend(loc="upper left")
plt.show()

# %% [markdown]
# The `"free"` parameterization of this package stores $\alpha$, $\beta$, $\gamma$ themselves, starts
# at ½, 1, 0 and can reach GELU ($\alpha = 0$) and SSwish ($\alpha = 1$) exactly;
# `SGBlend(parameterization="published")` reproduces the behaviour above for the experiments that need
# it.

# %% [markdown]
# ## 10 · Turn the knobs
#
# In JupyterLab the next cell shows three sliders. Elsewhere it shows what they would: one parameter at
# a time, the other two at their start.

# %%
START = {"alpha": 0.5, "beta": 1.0, "gamma": 0.0}


def draw(axes_pair, parameters, **line):
    for order, axes in enumerate(axes_pair):
        known = parameters if order == 0 else {k: v for k, v in parameters.items() if k != "gamma"}
        axes.plot(grid, theory.closed_form("sgblend", order, **known)(grid), **line)
        axes.set(xlim=(-5, 5), ylim=[(-1.5, 3), (-0.4, 1.3)][order], xlabel="x")


def explore(alpha=0.5, beta=1.0, gamma=0.0):
    """Redraw f and f′ for one choice of the three parameters, over GELU and SiLU."""
    _, panels = plt.subplots(1, 2, figsize=(10, 3.6))
    for name in ("gelu", "silu"):
        for order, axes in enumerate(panels):
            style = {**activation_style(name), "marker": "", "linewidth": 1.2}
            axes.plot(grid, theory.closed_form(name, order)(grid), **style)
    draw(panels, {"alpha": alpha, "beta": beta, "gamma": gamma}, color="#D55E00", label="SG-Blend")
    panels[0].set_title("f")
    panels[1].set_title("f′")
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
    """The same with the sliders standing still: one column of panels per parameter."""
    _, panels = plt.subplots(2, 3, figsize=(10.5, 5.6), sharex=True, sharey="row")
    for (name, values), pair in zip(CHOICES.items(), panels.T, strict=True):
        for value, shade in zip(values, SHADES, strict=True):
            draw(pair, {**START, name: value}, color=shade, label=f"{value:g}", linewidth=1.5)
        pair[0].set(title={"alpha": "α", "beta": "β", "gamma": "γ"}[name], xlabel="")
        pair[0].legend(fontsize=9, loc="upper left")
    panels[0, 0].set_ylabel("f(x)")
    panels[1, 0].set_ylabel("f′(x)")
    plt.show()


# %%
import ipywidgets
from IPython.display import display

ranges = {"alpha": (0.0, 1.0, 0.05), "beta": (-2.0, 6.0, 0.1), "gamma": (-1.0, 1.0, 0.05)}
if is_live():
    sliders = {
        name: ipywidgets.FloatSlider(START[name], min=low, max=high, step=step)
        for name, (low, high, step) in ranges.items()
    }
    display(ipywidgets.interactive(explore, **sliders))
else:
    one_at_a_time()

# %% [markdown]
# Look at the lower right panel: five values of $\gamma$, one curve.

# %% [markdown]
# ## What was found
#
# * SG-Blend is $x$ times the distribution function of a logistic–normal mixture, minus a constant; it
#   is also half the identity plus an even function, and only that even function is learned.
# * $f'(x) + f'(-x) = 1$ holds for SG-Blend and SSwish, and equally for ReLU, GELU, every Swish,
#   Hard SiLU, Softplus and Squareplus. SSwish adds no symmetry to Swish: its derivative *is* Swish's.
# * $\gamma$ is absorbed exactly by the next bias, LayerNorm or BatchNorm; `fold_sgblend` does it.
# * The Lipschitz constant stays between 1.02 and 1.13 over $0\le\alpha\le1$, $0.3\le\beta\le4$, where the dip's
#   depth varies thirteenfold; the left tail is exponential for every $\alpha > 0$ where GELU's is Gaussian.
# * With the sigmoid form of GELU, SG-Blend is a blend of two Swishes. The published parameterization
#   keeps $\alpha$ within [0.269, 0.731] and starts every other run with an inverted Swish.
#
# How these shapes act on gradients in deep networks, and whether data can tell $\alpha$ from $\beta$,
# is the subject of the next notebook.
#
# ---
# Previous: [00 · Start here](00_start_here.ipynb) · Next:
# [02 · Gradient analysis](02_gradient_analysis.ipynb)
