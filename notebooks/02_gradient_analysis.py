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
# # 02 · What the shape does to gradients
#
# **Where we are.** [Notebook 01](01_activation_derivation.ipynb) found that SG-Blend is
# $f(x) = x/2 + e(x)$ with an even function $e$, that $\gamma$ is a constant which the next layer absorbs,
# and that $\alpha$ and $\beta$ change the one even curve. A small change of slope is raised to a high power
# by a deep network, so two questions remain: **do gradients travel better through SG-Blend than through
# GELU or Swish, and can training tell $\alpha$ from $\beta$?**
#
# **Claim of this notebook.** In a deep network at initialisation, one number per activation decides
# whether gradients survive: $E[f'^2]$, the mean squared slope over Gaussian inputs. For the smooth
# functions of the family it goes from ¼ for small inputs to ½ for large ones, SG-Blend's lies between
# those of its parents, and the weight scale that keeps gradients alive follows from it without any experiment, as long as the variance stays
# where it is, which section 2 tests. During training a matrix matters as well: how differently $\alpha$, $\beta$ and $\gamma$ move
# the function. Once a bias has taken over the part of $\gamma$, the effects of $\alpha$ and $\beta$ have a
# correlation of −0.99: they can hardly be told apart, and with the published code's form of GELU the
# matrix is exactly singular at $\beta = 1.702$. Finally, "dead" is defined in a way that means something
# for smooth functions.
#
# *You will learn* how the mean squared slope decides whether gradients survive in a deep network, when two parameters
# cannot be told apart by data, and what a dead unit is where a function is smooth.
#
# *Needs* scikit-learn's digits, which come with it. *Takes* half a minute. Predictions are closed
# forms or one-dimensional integrals; every one is checked against a measurement.

# %%
from sgblend_utils.notebook import setup, side_by_side

setup()

import functools

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import optimize
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from sgblend_utils import theory
from sgblend_utils.activations import make_activation
from sgblend_utils.probes import PUBLISHED_THRESHOLD, SLOPE_THRESHOLD
from sgblend_utils.style import LABELS, activation_style

# %%
threadpool_limits(1)  # the matrices are small: NumPy's threads would wait for each other
CORE = ["relu", "gelu", "sgblend", "silu", "tanh"]


def curve(axes, name, x, y, **changes):
    axes.plot(x, y, **{**activation_style(name), "marker": "", **changes})


# %% [markdown]
# ## 1 · Two recursions
#
# Take a wide network with independent random weights of variance $\sigma_w^2/n$ ($n$ inputs per unit)
# and biases of variance $\sigma_b^2$. Call what goes *into* $f$ at a unit its preactivation. By the central
# limit theorem the preactivations of a layer are Gaussian, and all that travels through the network is their variance $q$:
#
# $$q_{\ell+1} = \sigma_w^2\,E\bigl[f(\sqrt{q_\ell}\,z)^2\bigr] + \sigma_b^2, \qquad z \sim N(0, 1).$$
#
# On the way back, the squared norm of the gradient is multiplied in each layer by
#
# $$\chi_1(q_\ell) = \sigma_w^2\,E\bigl[f'(\sqrt{q_\ell}\,z)^2\bigr].$$
#
# (The letter $\chi_1$, chi-one, is the usual name of this factor.) If $\chi_1 < 1$, gradients vanish exponentially
# with depth; if $\chi_1 > 1$, they explode. **Critical** is the weight scale ("gain") $\sigma_w = E[f'^2]^{-1/2}$ with $\chi_1 = 1$, together with the bias
# variance that holds $q$ where it is, $\sigma_b^2 = q - E[f^2]/E[f'^2]$. (This is the mean-field theory
# of [Poole et al. 2016](https://arxiv.org/abs/1606.05340) and
# [Schoenholz et al. 2017](https://arxiv.org/abs/1611.01232).) Everything rests on one-dimensional
# integrals, done here by Gauss–Legendre panels that are split at the kinks.
#
# At $q = 1$, SG-Blend wants a gain of 1.553, between GELU's 1.481 and SiLU's 1.623 and above He's
# $\sqrt2$, which is right for ReLU alone. Softplus has no critical point: its mean is so large that
# $E[f^2]$ alone exceeds what criticality allows, and no bias has negative variance.

# %%
rows = {}
for name in ["relu", "gelu", "sgblend", "silu", "mish", "elu", "tanh", "softplus"]:
    m, c = theory.moments(name), theory.criticality(name)
    rows[LABELS[name]] = {
        "E[f]": m["mean"],
        "E[f²]": m["second"],
        "E[f′²]": m["slope"],
        "critical gain": c.gain,
        "σ_b² that holds q = 1": c.bias_variance,
        "gain that holds q without bias": c.preserving_gain,
        "χ₁ there": c.chi,
    }
table = pd.DataFrame(rows).T
assert np.isclose(table.loc["ReLU", "critical gain"], np.sqrt(2))
assert np.isclose(table.loc["GELU", "E[f]"], 1 / (2 * np.sqrt(np.pi)))
gains = table["critical gain"]
assert np.allclose(gains[["GELU", "SG-Blend", "SiLU"]], [1.481, 1.553, 1.623], atol=5e-4)
assert table.loc["Softplus", "σ_b² that holds q = 1"] < 0
table.round(3) + 0.0

# %% [markdown]
# The family's common form fixes the limits. Near zero each smooth member has slope ½, so $E[f'^2] \to
# \tfrac14$ and the gain tends to 2; for large inputs each is a ReLU, $E[f'^2] \to \tfrac12$ and the gain
# tends to $\sqrt2$. The parameters only decide how fast the one turns into the other.

# %%
variances = np.geomspace(0.01, 100, 41)
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.0))
for name in CORE:
    points = [theory.criticality(name, q) for q in variances]
    curve(left, name, variances, [p.gain for p in points])
    curve(
        right,
        name,
        variances,
        [p.bias_variance / q for p, q in zip(points, variances, strict=True)],
    )
for name in ("gelu", "sgblend", "silu", "softplus", "squareplus"):
    assert abs(theory.criticality(name, 1e-4).gain - 2) < 0.01
    assert abs(theory.criticality(name, 1e3).gain - np.sqrt(2)) < 0.03
left.set(title=r"critical gain $\sigma_w$", ylim=(0.9, 2.6))
right.set(title=r"bias variance that holds $q$, $\sigma_b^2 / q$")
for axes in (left, right):
    axes.set(xlabel="preactivation variance $q$", xscale="log")
left.legend(ncols=2, loc="upper left")
plt.show()

# %% [markdown]
# ### What γ does here
#
# $\gamma$ is not in $f'$, so the critical gain does not know it. But it is in $E[f^2]$: with $h = x\,G(x)$,
#
# $$E[(h - \alpha\gamma)^2] = E[h^2] - 2\alpha\gamma\,E[h] + \alpha^2\gamma^2,$$
#
# which is smallest when $\alpha\gamma$ equals the mean of $h$. Notebook 01 showed that $\gamma$ adds no
# function; here it changes where training *starts*.

# %%
shifts = np.linspace(-1, 2, 61)
second = [theory.moments("sgblend", gamma=g)["second"] for g in shifts]
mean = theory.moments("sgblend")["mean"]
best = optimize.minimize_scalar(lambda g: theory.moments("sgblend", gamma=g)["second"]).x
assert abs(best - mean / 0.5) < 1e-6
parabola = theory.moments("sgblend")["second"] - 2 * 0.5 * shifts * mean + (0.5 * shifts) ** 2
assert np.allclose(second, parabola)
assert len({round(theory.criticality("sgblend", gamma=g).gain, 12) for g in shifts}) == 1
print(f"mean of x·G(x): {mean:.4f}    γ with the smallest E[f²]: {best:.4f} = mean / α")
print(f"E[f²] there {min(second):.3f}, at γ = 0 {theory.moments('sgblend')['second']:.3f}")

# %% [markdown]
# ## 2 · Critical is not the same as stable
#
# A critical initialisation holds gradients only as long as $q$ stays at the value it was made for. Does
# it? A variance that starts a little off is multiplied, layer by layer, by the slope of the variance map,
#
# $$\sigma_w^2\,\frac{d}{dq}E[f^2] = \sigma_w^2\,\bigl(E[f'^2] + E[f f'']\bigr)
# = 1 + \sigma_w^2\,E[f f''] .$$
#
# The sign of $E[f f'']$ decides. For tanh it is negative: deviations shrink. For ReLU it is zero. For GELU,
# SG-Blend and SiLU it is positive at $q = 1$, since around zero they bend upward: deviations
# **grow**, and a critical initialisation at $q = 1$ is unstable. At large $q$ the sign turns. In
# between lies one $q^\ast$ where both the gradient and the variance are marginal, the *half-stable* point
# of [Roberts, Yaida and Hanin (2022)](https://arxiv.org/abs/2106.10165), who give it for GELU and Swish;
# the numbers below agree with theirs. SG-Blend has one too. At its half-stable point every function of the
# table wants a gain within half a percent of ReLU's $\sqrt2$, but with biases. Here a fresh SG-Blend does *not*
# lie between its parents: its gain there, 1.411, is a little above both.


# %%
def half_stable_point(name, **parameters):
    """q* and its initialisation; None without one in [0.01, 300], or where every q is one."""

    def excess(q):
        return theory.criticality(name, q, **parameters).stability - 1.0

    if not excess(0.01) > 1e-9 > -1e-9 > excess(300.0):
        return None
    q = optimize.brentq(excess, 0.01, 300.0, xtol=1e-10)
    return q, theory.criticality(name, q, **parameters)


# %%
rows = {}
for name in ["gelu", "sgblend", "silu", "mish"]:
    q, point = half_stable_point(name)
    rows[LABELS[name]] = {
        "growth of deviations at q = 1": theory.criticality(name).stability,
        "half-stable q*": q,
        "gain σ_w there": point.gain,
        "σ_b² there": point.bias_variance,
    }
pd.DataFrame(rows).T.round(3)

# %%
literature = {
    "gelu": (3.5615528, 0.17292239, 1.98305826),
    "silu": (14.3201736, 0.55514317, 1.98800468),
}
for name, (*expected, weight_variance) in literature.items():
    q, point = half_stable_point(name)
    assert np.allclose((q, point.bias_variance), expected, rtol=1e-6, atol=0)
    assert np.isclose(point.gain**2, weight_variance, rtol=1e-8, atol=0)
    assert abs(point.stability - 1) < 1e-9
between = [half_stable_point("sgblend", alpha=a)[0] for a in (0.0, 0.3, 0.7, 1.0)]
assert between == sorted(between)
ends = [rows[name]["half-stable q*"] for name in ("GELU", "SiLU")]
assert np.allclose([between[0], between[-1]], ends, rtol=1e-6)
assert ends[0] < rows["SG-Blend"]["half-stable q*"] < ends[1]
without = ("relu", "leaky_relu", "tanh", "elu", "softplus")
assert not any(half_stable_point(name) for name in without)

# %%
assert theory.criticality("tanh").stability < 1
assert abs(theory.criticality("relu").stability - 1) < 1e-12
gain_there = {label: row["gain σ_w there"] for label, row in rows.items()}
assert all(abs(gain / np.sqrt(2) - 1) < 0.005 for gain in gain_there.values())
assert max(gain_there["GELU"], gain_there["SiLU"]) < gain_there["SG-Blend"]
for name in ("gelu", "sgblend", "silu"):
    m, f, bend = theory.moments(name), theory.closed_form(name), theory.closed_form(name, 2)
    assert np.isclose(m["growth"], m["slope"] + theory.gaussian_mean(lambda u: f(u) * bend(u)))  # noqa: B023
    assert theory.criticality(name).stability > 1 > theory.criticality(name, 30.0).stability
print("GELU, SG-Blend, SiLU: deviations grow at q = 1 and shrink at q = 30")

# %% [markdown]
# ### Measured through 1–64 layers
#
# Random networks of width 500: inputs of the right variance go forward, a random vector comes back from the
# top, and all activations use the same random weights. Three initialisations:
#
# 1. **critical at** $q = 1$: gain and bias variance from the first table;
# 2. **half-stable**: those from the second table (ReLU: $\sqrt2$; tanh: as in 1);
# 3. **He**: $\sigma_w = \sqrt2$ and no bias for everyone, the usual default for "ReLU-like" functions.

# %%
DEPTH, WIDTH, BATCH = 64, 500, 16
rng = np.random.default_rng(0)
weights = rng.normal(0, WIDTH**-0.5, (DEPTH, WIDTH, WIDTH)).astype("float32")
biases = rng.normal(0, 1, (DEPTH, WIDTH, 1)).astype("float32")
inputs, top = rng.normal(0, 1, (2, WIDTH, BATCH)).astype("float32")
inputs /= np.sqrt(np.mean(inputs**2, axis=0))


def measured(name, q, gain, bias_variance):
    """Squared gradient norms after 1 ... DEPTH layers back, relative to the top, and variances."""
    f, slope = theory.closed_form(name), theory.closed_form(name, 1)
    h, slopes, variances, norms = np.sqrt(q) * inputs, [], [], []
    for w, b in zip(weights, biases, strict=True):
        slopes.append(slope(h).astype("float32"))
        variances.append(float(np.mean(h.astype("float64") ** 2)))
        h = gain * (w @ f(h).astype("float32")) + np.sqrt(bias_variance) * b
    delta = top
    for w, s in zip(weights[::-1], slopes[::-1], strict=True):
        delta = s * (gain * (w.T @ delta))
        norms.append(float(np.sum(delta.astype("float64") ** 2)))
    return np.array(norms) / np.sum(top.astype("float64") ** 2), np.array(variances)


# %%
def growths(name, q, gain, bias_variance):
    """χ₁ in every layer, as the two maps predict it."""
    layers = []
    for _ in range(DEPTH):
        m = theory.moments(name, q)
        layers.append(gain**2 * m["slope"])
        q = gain**2 * m["second"] + bias_variance
    return np.array(layers)


def initialisation(kind, name):
    """q, σ_w and σ_b² to start from."""
    if kind == "He":
        return 1.0, np.sqrt(2), 0.0
    found = half_stable_point(name) if kind == "half-stable" else None
    q, point = found or (1.0, theory.criticality(name))
    return q, point.gain, max(point.bias_variance, 0.0)


# %%
KINDS = ["critical at q = 1", "half-stable", "He"]
results = {}
for kind in KINDS:
    for name in CORE:
        q, gain, bias = initialisation(kind, name)
        seen, variances = measured(name, q, gain, bias)
        growth = growths(name, q, gain, bias)
        along = [gain**2 * theory.moments(name, v)["slope"] for v in variances]
        results[kind, name] = {"seen": seen, "predicted": np.cumprod(growth[::-1])}
        results[kind, name] |= {"along": np.cumprod(along[::-1]), "variances": variances}

# %% [markdown]
# Lines are predictions, marks are measurements. **Left:** predicted, the gradient arrives at the size at
# which it left. Measured, it does so for ReLU and tanh only; for GELU, SG-Blend and SiLU it explodes, to between
# ten and two thousand times its size. A network of finite width leaves $q = 1$ by a few percent in its first layers, here upward, and the
# deviation grows with every layer. **Middle:** at the half-stable points all five hold. **Right:** with
# He's gain and no bias the variance of the smooth functions sinks, which drives them into their linear
# part $x/2$, where the gain would have to be 2; every further layer costs up to a factor $\sqrt2/2$.
# Normalisation layers hide all this in practice by resetting $q$, which is why the choice is rarely
# noticed there.

# %%
depths = np.arange(1, DEPTH + 1)
figure, panels = plt.subplots(1, 3, figsize=(12, 4.4))
for axes, kind in zip(panels, KINDS, strict=True):
    for name in CORE:
        result = results[kind, name]
        curve(axes, name, depths, np.sqrt(result["predicted"]))
        marks = {**activation_style(name), "linestyle": ""}
        axes.plot(depths[3::12], np.sqrt(result["seen"])[3::12], **marks)
    axes.set(title=kind, xlabel="layers on the way back", yscale="log", xticks=[1, 16, 32, 48, 64])
panels[0].set(ylim=(1e-2, 1e4), ylabel="gradient norm, relative to the top")
panels[1].set(ylim=(1e-2, 1e4))
handles = [plt.Line2D([], [], **activation_style(name)) for name in CORE]
figure.legend(handles=handles, loc="outside lower center", ncols=len(CORE))
plt.show()
for name in ("gelu", "sgblend", "silu"):
    strayed = np.abs(results["critical at q = 1", name]["variances"] - 1)
    assert strayed[0] < 1e-3 and 0.01 < strayed[1:4].max() < 0.15 and strayed[-1] > 0.5
    step = np.exp(np.diff(np.log(results["He", name]["seen"])) / 2)
    assert results["He", name]["variances"][-1] < 0.1 and abs(step[10] - np.sqrt(0.5)) < 0.03

# %% [markdown]
# That the disagreement on the left is the variance's doing and not the gradient formula's can be checked:
# put the *measured* variances into $\chi_1$, and the prediction is right again, everywhere. The table gives
# the gradient norm after 64 layers.


# %%
def factor(first, second):
    """Largest ratio of two gradient norms over all depths, either way round."""
    return float(np.sqrt(np.exp(np.abs(np.log(first / second)).max())))


table = {}
for (kind, name), found in results.items():
    assert factor(found["seen"], found["along"]) < 1.6  # χ₁ at the measured variances
    for what in ("predicted", "seen"):
        text = f"{np.sqrt(found[what][-1]):.0e}"
        table.setdefault((kind, what.replace("seen", "measured")), {})[LABELS[name]] = text
for name in CORE:
    critical, half, he = (results[kind, name] for kind in KINDS)
    assert factor(half["seen"], half["predicted"]) < 2
    assert factor(he["seen"], he["predicted"]) < 2.5
    fallen = factor(critical["seen"], critical["predicted"])
    assert fallen > 5 if name in ("gelu", "sgblend", "silu") else fallen < 2
    assert name in ("relu", "tanh") or np.sqrt(he["predicted"][-1]) < 1e-5
pd.DataFrame(table)

# %% [markdown]
# ### Two inputs
#
# The same recursion for the correlation $c$ of two inputs, whose preactivations are $u$ and $v$,
#
# $$c' = \bigl(\sigma_w^2\,E[f(u)\,f(v)] + \sigma_b^2\bigr)/q, \qquad
# u, v \sim N(0, q) \text{ with correlation } c,$$
#
# tells whether a deep network keeps them apart (the variance stays at $q$).
# At criticality the map $c \mapsto c'$ touches the diagonal at $c = 1$ with slope $\chi_1 = 1$: inputs
# still grow alike, but as a power of depth instead of exponentially, and slower the less the map bends.
# ReLU brings inputs together fastest. The smooth functions keep them apart several times longer; SG-Blend
# lies between GELU and SiLU, as it does in the first table.


# %%
def correlation_map(name, c, gain, bias_variance):
    """Correlations `c` of two inputs after one more layer, at variance 1."""
    function, (z, w) = theory.closed_form(name), theory.gaussian_rule()
    means = [function(one * z[:, None] + np.sqrt(1 - one**2) * z) @ w for one in c]
    variance = gain**2 * theory.moments(name)["second"] + bias_variance
    return (gain**2 * (np.array(means) @ (w * function(z))) + bias_variance) / variance


correlations = 1 - np.linspace(1, 0, 41) ** 2  # closer together near one

# %% [markdown]
# For ReLU the map is known in closed form, the arc-cosine kernel (Cho and Saul 2009).

# %%
angle = np.arccos(correlations)
kernel = (np.sin(angle) + (np.pi - angle) * correlations) / np.pi
assert np.allclose(correlation_map("relu", correlations, np.sqrt(2), 0.0), kernel, atol=2e-4)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.9))
apart = {}
for name in CORE:
    point = theory.criticality(name)
    after = correlation_map(name, correlations, point.gain, max(point.bias_variance, 0.0))
    curve(left, name, correlations, after - correlations)
    assert np.all(after >= correlations - 1e-3)  # inputs only grow alike
    assert abs(after[-1] - 1) < 1e-10  # equal inputs stay equal
    assert abs((after[-1] - after[-2]) / (correlations[-1] - correlations[-2]) - 1) < 0.02
    c, distance = 0.0, []
    for _ in range(64):
        c = float(np.interp(c, correlations, after))
        distance.append(1 - c)
    curve(right, name, depths, distance)
    apart[name] = distance[-1]
    power = np.log2(distance[63] / distance[31])  # 1 − c falls like depth to this power
    assert abs(power + 1) < 0.15 or (name == "relu" and -2.1 < power < -1.5)
left.set(title="growth of correlation in one layer", xlabel="$c$", ylabel="$c' - c$")
right.set(
    title="two unrelated inputs", xlabel="layers", ylabel="$1 - c$", xscale="log", yscale="log"
)
left.legend()
assert 3 * apart["relu"] < apart["gelu"] < apart["sgblend"] < apart["silu"] < 0.1
plt.show()

# %% [markdown]
# ## 3 · Can data tell α from β?
#
# A loss is told about $\theta = (\alpha, \beta, \gamma)$ only through $f$. Near a solution, its curvature
# in the direction of these parameters is governed by the matrix
#
# $$F = E\bigl[\nabla_\theta f\,\nabla_\theta f^\top\bigr], \qquad
# \nabla_\theta f = \bigl(x(\sigma(\beta x) - \Phi(x)) - \gamma,\;\; \alpha x^2 s(1-s),\;\; -\alpha\bigr).$$
#
# with $s = \sigma(\beta x)$ and the mean over the preactivations $x \sim N(0, \sigma^2)$. (It is the Fisher
# information matrix of observing $f$ with Gaussian noise, up to the noise's variance.) A direction in which
# $F$ is nearly zero moves the parameters and leaves the function where it is. The **condition number**, the
# largest eigenvalue over the smallest, says how unequal the directions are.
#
# All three components are even functions of $x$, which leaves little room to differ, and the eigenvalues of
# $F$ are far apart. Take a fresh layer, $\theta = (\tfrac12, 1, 0)$, and $\sigma = 1$. The condition number is near
# 5000. That number compares two things: the stiff direction, which is $\gamma$ and does nothing that a bias could
# not do, and the soft one, a joint movement of $\alpha$ and $\beta$: raising $\alpha$ widens the gate's noise,
# raising $\beta$ narrows it again. What concerns $\alpha$ and $\beta$ alone is what is left of $F$ when $\gamma$, or
# the next bias, always adapts to them. (In statistics this is called *profiling* $\gamma$ out; it is the Schur
# complement of $F$.) The condition number of that 2 × 2 matrix is 164, and in it $\partial f/\partial\alpha$ and
# $\partial f/\partial\beta$ have a correlation of −0.988: each does nearly the opposite of the other. Gradient
# descent with one step size moves along the soft direction 164 times slower than along the stiffer one, in which
# $\alpha$ and $\beta$ move against each other. Smaller inputs make it worse: near zero every $f$ of the family is
# $x/2$.

# %%
matrix = theory.fisher_matrix()
values, vectors = np.linalg.eigh(matrix)
vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), range(3)])
table = pd.DataFrame(vectors.T.round(2) + 0.0, columns=["α", "β", "γ"])
table.insert(0, "eigenvalue", [f"{v:.1e}" for v in values])
assert 4.5e3 < np.linalg.cond(matrix) < 5.5e3
assert np.abs(vectors[2, 2]) > 0.9  # the stiff direction is γ
soft = vectors[:, 0]
assert soft[0] * soft[1] > 0.4 and abs(soft[2]) < 0.05  # α and β together, same sign
pair = theory.profiled(matrix)
tied = pair[0, 1] / np.sqrt(pair[0, 0] * pair[1, 1])
assert 160 < np.linalg.cond(pair) < 168 and abs(tied + 0.988) < 1e-3
by_sigma = {s: np.linalg.cond(theory.fisher_matrix(sigma=s)) for s in (0.5, 1.0, 2.0)}
assert by_sigma[0.5] > 20 * by_sigma[1.0] > 100 * by_sigma[2.0]
print("condition number by σ:", {s: round(v) for s, v in by_sigma.items()})
print(f"without γ, at σ = 1: {np.linalg.cond(pair):.0f}, correlation {tied:.3f}")
table

# %% [markdown]
# The maps show the condition number of the whole matrix for every $\alpha$ and $\beta$, for the exact GELU and for the
# sigmoid form of the published code. At $\alpha \to 0$ the Swish branch is switched off and $\beta$ loses its
# effect: the wall on the left. With the sigmoid form (right) a second wall stands at $\beta = 1.702$, dashed:
# there both branches are the same function, $\alpha$ has no effect, and the matrix is singular for every
# $\alpha$. With the exact GELU (left) that wall splits into two ridges, along which
# $\partial f/\partial\alpha$ and $\partial f/\partial\beta$ have nearly the same shape.

# %%
alphas, betas = np.linspace(0.02, 1, 50), np.linspace(0.3, 4, 75)
figure, panels = plt.subplots(1, 2, figsize=(10.5, 4.2), sharey=True)
for axes, form in zip(panels, ("erf", "sigmoid"), strict=True):
    matrices = [[theory.fisher_matrix(a, b, gelu=form) for a in alphas] for b in betas]
    conditions = np.minimum(np.log10(np.linalg.cond(matrices)), 8)
    image = axes.contourf(
        alphas, betas, conditions, levels=np.arange(2, 8.1, 0.5), cmap="cividis", extend="both"
    )
    axes.plot(0.5, 1.0, "o", color="#D55E00", markersize=9, markeredgecolor="white")
    axes.axhline(1.702, color="white", linewidth=1, linestyle="--")
    axes.set(title={"erf": "exact GELU", "sigmoid": "GELU as x σ(1.702 x)"}[form], xlabel="α")
    axes.grid(False)
    ridges = betas[1:-1][(np.diff(np.sign(np.diff(conditions[:, 24]))) < 0)]
    print(f"{form:8s} ridges at α = {alphas[24]:.2f}: β ≈ {ridges.round(1)}")
    assert len(ridges) == (2 if form == "erf" else 1) and conditions.max() > 5
panels[0].set_ylabel("β")
figure.colorbar(image, ax=panels, label="log10 of the condition number")
plt.show()

# %%
for a in (0.1, 0.5, 1.0):
    assert np.linalg.cond(theory.fisher_matrix(a, 1.702, gelu="sigmoid")) > 1e13
assert np.linalg.cond(theory.fisher_matrix(0.0, 1.0)) > 1e13  # the wall on the left
alike = {}
for b in (1.25, 1.7, 2.3):  # on the ridges and between them, with the constant taken out
    left_over = theory.profiled(theory.fisher_matrix(0.5, b))
    alike[b] = left_over[0, 1] / np.sqrt(left_over[0, 0] * left_over[1, 1])
assert abs(alike[1.25]) > 0.99 and abs(alike[2.3]) > 0.99 and abs(alike[1.7]) < 0.5
print("correlation of ∂f/∂α and ∂f/∂β:", {b: round(float(v), 2) for b, v in alike.items()})

# %% [markdown]
# Between the ridges the shapes differ, but there $\partial f/\partial\alpha$ is tiny. Its size is measured by its
# standard deviation over the inputs, which is what $\alpha$ can change once the next bias has taken away the
# constant. Turning
# $\alpha$ all the way from 0 to 1 in a fresh layer changes the output by 0.065 in the root mean square,
# for inputs of variance one, and by 0.007 at $\beta = 1.7$. At β = 1 and 0 ≤ α ≤ 1, α can change the function by no more than that.

# %%
slopes = np.linspace(0.3, 4, 186)
figure, axes = plt.subplots(figsize=(7.2, 3.8))
for form, colour, dash in (("erf", "#0072B2", "-"), ("sigmoid", "#CC79A7", (0, (5, 1.5)))):
    signal = [max(theory.alpha_signal(b, gelu=form), 1e-5) for b in slopes]
    axes.semilogy(slopes, signal, color=colour, linestyle=dash, label=f"GELU form: {form}")
axes.axvline(1.0, color="#6b6b6b", linewidth=1, linestyle=":")
axes.text(1.03, 2e-5, "fresh layer", color="#6b6b6b", fontsize=10)
axes.set(title="what α can move", xlabel="β", ylim=(1e-5, 1))
axes.set_ylabel(r"standard deviation of $\partial f/\partial\alpha$")
axes.legend()
plt.show()
print({b: round(theory.alpha_signal(b), 4) for b in (0.5, 1.0, 1.7, 3.0)})
assert theory.alpha_signal(1.702, gelu="sigmoid") < 1e-8
assert min(theory.alpha_signal(b) for b in slopes) > 0.004  # never zero for the exact form
z, w = theory.gaussian_rule()
turned = theory.closed_form("silu")(z) - theory.closed_form("gelu")(z)  # α = 1 less α = 0
assert np.isclose(np.sqrt(w @ (turned - w @ turned) ** 2), theory.alpha_signal(1.0))
assert abs(theory.alpha_signal(1.0) - 0.065) < 5e-4 and abs(theory.alpha_signal(1.7) - 0.007) < 5e-4

# %% [markdown]
# Does the matrix predict what happens? Fit the three parameters by least squares to noisy values of the
# function itself, many times, and compare the scatter of the estimates with the Cramér–Rao bound
# $\tau^2 (nF)^{-1}$, which is the best any unbiased estimate can do at noise $\tau$. The bound says: twenty
# thousand measurements of the function itself, with noise of 0.02, leave $\alpha$ uncertain by 0.014 and tied
# to $\beta$ with a correlation of 0.99, while $\gamma$ is known thirty times better.

# %%
N, NOISE, REPEATS, truth = 20_000, 0.02, 30, np.array([0.5, 1.0, 0.0])
rng = np.random.default_rng(1)


def fit_once():
    x = rng.normal(0, 1, N)
    noise = rng.normal(0, NOISE, N)

    def f(t):
        return theory.closed_form("sgblend", alpha=t[0], beta=t[1], gamma=t[2])(x)

    def residual(t):
        return f(t) - f(truth) - noise

    def jacobian(t):
        return theory.parameter_gradient(x, *t).T

    return optimize.least_squares(residual, truth, jac=jacobian, x_scale="jac").x


# %%
estimates = np.array([fit_once() for _ in range(REPEATS)])
bound = np.sqrt(np.diag(np.linalg.inv(theory.fisher_matrix(*truth))) * NOISE**2 / N)
scatter = estimates.std(axis=0, ddof=1)
correlation = np.corrcoef(estimates.T)[0, 1]
assert np.all(np.abs(np.log(scatter / bound)) < 0.5) and correlation > 0.9
assert abs(bound[0] - 0.014) < 5e-4 and 25 < bound[0] / bound[2] < 35
print("Cramér–Rao bound  α, β, γ:", bound.round(4))
print("scatter of fits   α, β, γ:", scatter.round(4))
print("correlation of α and β over the fits:", correlation.round(2))

# %% [markdown]
# A value of $\alpha$ learned in a network, where the loss depends on thousands of other weights as well, is
# therefore one point of a valley, in which other pairs of $\alpha$ and $\beta$ give nearly the same function. It is
# not a preference for GELU or Swish. [Notebook 03](03_activation_zoo.ipynb) tries it.
#
# ## 4 · Dead units
#
# A unit can also be lost *during* training, when no example moves it any more, and the paper counts such "dead"
# units as evidence. The published code calls a unit dead when its output stays below $10^{-3}$ on all of 100
# training rows. For ReLU that is sound: output zero means slope zero. For the smooth functions it is not. A GELU unit
# that only ever sees inputs in $[-1.5, 0)$ has outputs below zero, counts as dead, and passes gradients all
# the time. Worse, the rule depends on $\gamma$: raise $\gamma$ and let the next bias absorb it, and the
# same network has other "dead" units.

# %%
inside = np.linspace(-1.5, -0.01, 200)
assert theory.closed_form("gelu")(inside).max() < PUBLISHED_THRESHOLD  # dead by the rule ...
assert np.abs(theory.closed_form("gelu", 1)(inside)).mean() > 0.1  # ... and passing gradients
deeper = np.linspace(-1.5, 1.0, 200)  # a unit that responds, until γ is raised
assert theory.closed_form("sgblend")(deeper).max() > PUBLISHED_THRESHOLD
assert theory.closed_form("sgblend", gamma=2.0)(deeper).max() < PUBLISHED_THRESHOLD
print("the published rule calls live units dead")

# %% [markdown]
# The definition used in this project asks what death means: **a unit is near-dead when $|f'|$ stays
# below 0.05 over a whole held-out set**, so that no example moves its incoming weights. It does not
# change with $\gamma$, and for ReLU the two rules agree. To see units die, four small networks with three
# hidden layers are trained on digits with a learning rate about thirty times too large. They sit in one
# model side by side, with the same initial weights and the same batches.

# %%
digits = load_digits()
train_x, test_x, train_y, test_y = train_test_split(
    (digits.data / 16).astype("float32"), digits.target, test_size=0.25, random_state=0
)
TRAINED = ["relu", "gelu", "silu", "sgblend"]
model = side_by_side(
    {n: functools.partial(make_activation, n) for n in TRAINED}, 64, (64, 64, 64), 10
)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.Adam(0.03), {n: loss for n in TRAINED})
model.optimizer.build(model.trainable_variables)  # now, or TensorFlow traces every step twice
model.fit(train_x, {n: train_y for n in TRAINED}, epochs=12, batch_size=64, verbose=0)


def network(name):
    """Weights, effective parameters and preactivations on the held-out digits, layer by layer."""
    a, found = test_x.astype("float64"), []
    for i in range(3):
        w, b = model.get_layer(f"{name}_dense_{i}").get_weights()
        site = model.get_layer(f"{name}_site_{i}")
        theta = site.effective_parameters() if hasattr(site, "effective_parameters") else {}
        theta = {k: float(v) for k, v in theta.items()}
        found.append((w, b, theta, a @ w + b))
        a = theory.closed_form(name, **theta)(found[-1][3])
    return found, a


# %%
# NBVAL_IGNORE_OUTPUT
def shares(name, shift=0.0):
    """Shares of units that each rule calls dead; `shift` is subtracted from every output."""
    below, flat = [], []
    for _, _, theta, u in network(name)[0]:
        below.append(
            (theory.closed_form(name, **theta)(u) - shift).max(axis=0) < PUBLISHED_THRESHOLD
        )
        slope = theory.closed_form(name, 1, **theta)(u)
        flat.append(np.abs(slope).max(axis=0) < SLOPE_THRESHOLD)
    return np.mean(below), np.mean(flat)


found = {
    LABELS[n]: dict(zip(["published rule", "|f′| < 0.05"], shares(n), strict=True)) for n in TRAINED
}
found["SG-Blend, γ + 2 (same function)"] = dict(
    zip(["published rule", "|f′| < 0.05"], shares("sgblend", shift=2.0), strict=True)
)
pd.DataFrame(found).T.map("{:.1%}".format)

# %% [markdown]
# ReLU loses a sizeable part of its units to the oversized steps, and both rules agree on which. Of the
# smooth units that the published rule calls dead, most still pass gradients. And subtracting a constant from
# SG-Blend's output, a change that the next bias undoes exactly, sends the published share up while
# nothing about the network has changed. A table of dead units by that rule cannot compare SG-Blend with
# anything. (The exact shares depend on the machine, this order does not.)

# %%
relu, gelu = shares("relu"), shares("gelu")
assert relu[0] == relu[1] > 0.05  # for ReLU both rules name the same units, and there are some
for name in ("gelu", "silu", "sgblend"):
    by_output, by_slope = shares(name)
    assert by_slope <= by_output + 0.02 and by_slope < relu[1] / 2
assert shares("silu")[1] < 0.02
smooth = np.array([shares(name) for name in ("gelu", "silu", "sgblend")]).sum(axis=0)
assert smooth[1] < smooth[0] / 2  # most of what the rule calls dead still passes gradients
assert shares("sgblend", 2.0)[0] > shares("sgblend")[0] + 0.1  # the rule moved with γ ...
assert shares("sgblend", 2.0)[1] == shares("sgblend")[1]  # ... the network did not
print("ReLU units die; smooth units rarely do; the published rule depends on γ")

# %% [markdown]
# ## 5 · A slice through the loss surface
#
# Smooth activations are often said to make smoother losses. Take one trained network, GELU's of section 4, and
# two random directions per weight matrix, scaled to the norm of the matrix. Put each activation into *the same*
# weights and walk along *the same* directions. Two things limit what can be concluded: the network was trained
# with a learning rate about thirty times too large, and its weights suit GELU.

# %%
layers_gelu, _ = network("gelu")
stack = [(w.astype("float64"), b.astype("float64")) for w, b, _, _ in layers_gelu]
stack.append(tuple(w.astype("float64") for w in model.get_layer("gelu_logits").get_weights()))
rng = np.random.default_rng(3)
directions = []
for w, _ in stack:
    pair = rng.normal(size=(2, *w.shape))
    directions.append([d * np.linalg.norm(w) / np.linalg.norm(d) for d in pair])


def loss_at(name, s, t=0.0):
    """Cross-entropy on 300 held-out digits, s and t relative steps along the two directions."""
    f, a = theory.closed_form(name), test_x[:300]
    for i, ((w, b), (first, second)) in enumerate(zip(stack, directions, strict=True)):
        a = a @ (w + s * first + t * second) + b
        a = f(a) if i < 3 else a
    a = a - a.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(a).sum(axis=1)) - a[np.arange(300), test_y[:300]])


# %% [markdown]
# Over large steps the four surfaces are nearly the same: for these weights, the weights and the data shape them
# more than the activation does. The white cross marks the trained weights, and the table gives the loss there. Which
# of the four is lowest differs from one training run to the next, with so high a learning rate: in the committed
# outputs it is ReLU, although the weights were learned with GELU.

# %%
# NBVAL_IGNORE_OUTPUT
steps = np.linspace(-0.6, 0.6, 11)
figure, panels = plt.subplots(1, 4, figsize=(12, 3.4), sharey=True)
surfaces = {n: np.array([[loss_at(n, s, t) for s in steps] for t in steps]) for n in TRAINED}
everywhere = np.log10(list(surfaces.values()))
levels = np.arange(np.floor(everywhere.min() * 10), np.ceil(everywhere.max() * 10) + 1) / 10
for axes, name in zip(panels, TRAINED, strict=True):
    image = axes.contourf(steps, steps, np.log10(surfaces[name]), levels=levels, cmap="cividis")
    axes.plot(0, 0, "+", color="white", markersize=11)
    axes.set(title=LABELS[name], xlabel="first direction", xticks=[-0.5, 0, 0.5])
    axes.grid(False)
    assert surfaces[name][5, 5] < surfaces[name][[0, 0, -1, -1], [0, -1, 0, -1]].min()
panels[0].set_ylabel("second direction")
figure.colorbar(image, ax=panels, label="log10 loss", format="%.1f")
plt.show()
likeness = np.corrcoef([np.log10(surfaces[n]).ravel() for n in TRAINED])
assert likeness.min() > 0.85
pd.DataFrame({"loss at the cross": {LABELS[n]: surfaces[n][5, 5] for n in TRAINED}}).round(3)

# %% [markdown]
# The difference is at small scale: along a line, ReLU's loss is put together from pieces, and its slope jumps
# wherever some unit on some example crosses zero. Each jump is a spike of the curvature; the highest are
# cut off in the figure. The curvature of the smooth losses hardly changes over the same line. SG-Blend's stands
# for the three in the figure, and all are in the table.

# %%
# NBVAL_IGNORE_OUTPUT
fine = np.linspace(-0.005, 0.005, 151)
figure, panels = plt.subplots(1, 2, figsize=(10.5, 3.2), sharey=True)
drawn, roughness = dict(zip(("relu", "sgblend"), panels, strict=True)), {}
for name in TRAINED:
    line = np.array([loss_at(name, s) for s in fine])
    bends = np.diff(line, 2) / (fine[1] - fine[0]) ** 2
    roughness[name] = np.abs(np.diff(bends)).mean() / np.abs(bends).mean()
    if axes := drawn.get(name):
        curve(axes, name, fine[1:-1], bends / np.abs(bends).mean(), linestyle="-", linewidth=1.6)
        axes.set(title=LABELS[name], xlabel="step", ylim=(-8, 8), xticks=[-0.004, 0, 0.004])
panels[0].set_ylabel("curvature of the loss,\nrelative to its mean size")
plt.show()
assert roughness["relu"] > 20 * max(roughness[n] for n in ("gelu", "silu", "sgblend"))
pd.DataFrame({"mean jump of the curvature, relative": roughness}).rename(LABELS).round(4)

# %% [markdown]
# ## What was found
#
# * The critical gain is $E[f'^2]^{-1/2}$: 1.414 for ReLU, 1.481 for GELU, 1.553 for SG-Blend, 1.623 for
#   SiLU at unit variance. For the smooth three this initialisation is unstable; only at their half-stable points
#   ($q^\ast$ = 3.6, 9.9, 14.3) do gradients pass 64 layers almost unchanged. With He's gain they vanish in deep
#   networks without normalisation.
# * In critical gain, half-stable variance and growth of correlation a fresh SG-Blend ($\alpha = \tfrac12$,
#   $\beta = 1$) lies between GELU and SiLU; in the gain at the half-stable point it lies 0.001 above both. Nothing
#   here shows the fresh blend to propagate better than both. Other values of $\alpha$ and $\beta$ were not tried.
# * At a fresh layer, $\alpha$ and $\beta$ act on the function with a correlation of −0.988, and the 2 × 2 matrix of
#   the two has condition number 164; with $\gamma$, which a bias can replace, it is near 5000. With the published
#   code's sigmoid GELU the matrix is singular at $\beta = 1.702$.
# * "Max output below $10^{-3}$" is no sign of death for functions with a negative dip, and it depends on
#   $\gamma$; slope over a held-out set is. Smooth functions keep nearly all units.
# * In one network, trained at too high a rate and with GELU's weights, the loss surfaces differ at the small
#   scale, where ReLU's is jagged, and hardly at the large one. Which loss is lower there is a matter of the run.
#
# Nothing here sets SG-Blend apart from its parents: it is close to them, with two extra numbers that data can
# hardly separate. The next notebook compares it with all the other activations, as a layer that can be used, and
# looks at what the two numbers do in a network that learns.

# %% [markdown]
# ## Exercises
#
# 1. What is the critical gain of a leaky ReLU with slope $s$ on the left?
#
# <details><summary>Solution 1</summary>
#
# $E[f'^2] = (1 + s^2)/2$ whatever the variance, so that $\sqrt{2/(1+s^2)}$ keeps gradients as they are.
#
# ```python
# import numpy as np
#
# from sgblend_utils import theory
#
# found = theory.criticality("leaky_relu(negative_slope=0.3)").gain
# assert abs(found - np.sqrt(2 / (1 + 0.3**2))) < 1e-6
# ```
#
# </details>
#
# 2. How far must the bias of a GELU unit move to the left until, for all but one in a thousand standard normal
#    inputs, its slope is below 0.05?
#
# <details><summary>Solution 2</summary>
#
# Below −2.35 the slope stays under 0.05, and one input in a thousand is above 3.09: by about 5.4.
#
# ```python
# import numpy as np
# from scipy.stats import norm
#
# from sgblend_utils import theory
#
# x = np.linspace(-12, 12, 24001)
# edge = x[np.abs(theory.closed_form("gelu", 1)(x)) > 0.05][0]
# shift = norm.isf(1e-3) - edge
# assert -2.36 < edge < -2.34 and 5.4 < shift < 5.5
# ```
#
# </details>
#
# ---
# Previous: [01 · Derivation](01_activation_derivation.ipynb) · Next:
# [03 · Activation zoo](03_activation_zoo.ipynb)
