"""What a handful of seeds can and cannot tell about two activations.

Runs with the same seed share initial weights and data order, so activations are compared seed by
seed.  Every statistic is SciPy's; what is here decides which one answers which question.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import optimize, stats

LEVEL = 0.95
POWER = 0.8
EXACT_SEEDS = 16  # up to here all 2ⁿ sign patterns are tried, beyond it as many random ones
MOST_SEEDS = 1_000_000  # where `seeds_needed` stops looking

Interval = tuple[float, float]
UNDEFINED: Interval = (math.nan, math.nan)


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's t interval of a mean; (nan, nan) with fewer than two values."""
    values = np.asarray(values, float)
    if values.size < 2:
        return UNDEFINED
    half = stats.t.ppf((1 + level) / 2, values.size - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def t_test(differences: Sequence[float]) -> float:
    """Two-sided p value of a paired t test; nan with fewer than two differences."""
    differences = np.asarray(differences, float)
    if differences.size < 2:
        return math.nan
    if np.ptp(differences) <= 1e-9 * np.abs(differences).max():  # no noise: t is 0/0 or infinite
        return float(not differences.any())
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def sign_flip_test(differences: Sequence[float]) -> float:
    """Two-sided p value of the sign-flip permutation test.

    It assumes only that a difference's sign is a fair coin where activations do not matter.  It is
    exact, and therefore never below `smallest_p`: with 3 seeds nothing can come out below 0.25.
    """
    differences = np.asarray(differences, float)
    if differences.size < 2:
        return smallest_p(differences.size)
    test = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=2**EXACT_SEEDS,
        random_state=0,  # read only beyond EXACT_SEEDS
    )
    return float(min(1.0, test.pvalue))


def smallest_p(seeds: int) -> float:
    """The smallest two-sided p value that the sign-flip test can reach with so many seeds."""
    return min(1.0, 2.0 ** (1 - min(seeds, EXACT_SEEDS))) if seeds else math.nan


def probability_of_improvement(
    ours: Sequence[float], theirs: Sequence[float], better: int = 1
) -> float:
    """P(a run of ours beats a run of theirs), ties counting half (Agarwal et al. 2021, rliable).

    Runs need not be paired; `better` is -1 where smaller values are better.
    """
    statistic = stats.mannwhitneyu(better * np.asarray(ours), better * np.asarray(theirs)).statistic
    return float(statistic / (len(ours) * len(theirs)))


def power_of(effect: float, seeds: int, level: float = LEVEL) -> float:
    """Power of the two-sided paired t test; `effect` is in deviations of a paired difference."""
    if not effect:
        return 1 - level  # where SciPy's noncentral F is not to be trusted
    # t² is F with (1, n - 1) degrees of freedom, noncentral by nδ²: both tails at once
    critical = stats.f.ppf(level, 1, seeds - 1)
    return float(stats.ncf.sf(critical, 1, seeds - 1, seeds * effect**2))


def detectable_difference(
    deviation: float, seeds: int, power: float = POWER, level: float = LEVEL
) -> float:
    """The true difference that so many seeds would find with the given power; nan without noise.

    It has the unit of `deviation`, the standard deviation of the difference between paired runs.
    """
    if seeds < 2 or not deviation > 1e-12:
        return math.nan
    top = 1.0
    while power_of(top, seeds, level) < power:
        top *= 2
    found = optimize.brentq(lambda effect: power_of(effect, seeds, level) - power, 0.0, top)
    return deviation * found


def seeds_needed(
    effect: float, deviation: float, power: float = POWER, level: float = LEVEL
) -> int | None:
    """Seeds with which a true difference `effect` would be found; None if more than a million."""
    if not effect:
        return None
    if not deviation:
        return 2
    counts = range(2, MOST_SEEDS)
    ratio = abs(effect) / deviation
    place = bisect.bisect_left(counts, power, key=lambda n: power_of(ratio, n, level))
    return counts[place] if place < len(counts) else None


def summarise(frame: pd.DataFrame, metric: str, level: float = LEVEL) -> pd.DataFrame:
    """Mean of a metric over seeds with its t interval, a row per activation.

    Here and below `frame` has a row per run, with columns `activation`, `seed` and the metric.
    """
    rows = {}
    for name, values in frame.groupby("activation", sort=False)[metric]:
        values = values.dropna()
        interval = dict(zip(("low", "high"), mean_interval(values, level), strict=True))
        rows[name] = {"seeds": len(values), "mean": values.mean(), **interval}
    return pd.DataFrame.from_dict(rows, orient="index")


def paired_differences(
    frame: pd.DataFrame, metric: str, activation: str, baseline: str = "gelu"
) -> pd.Series:
    """activation − baseline of a metric, by seed, over the seeds that both have."""
    table = frame.pivot_table(index="seed", columns="activation", values=metric)
    if not {activation, baseline} <= set(table.columns):
        return pd.Series(dtype=float)
    return (table[activation] - table[baseline]).dropna()


def compare(
    frame: pd.DataFrame,
    metric: str,
    baseline: str = "gelu",
    *,
    better: int = 1,
    level: float = LEVEL,
) -> pd.DataFrame:
    """Every activation against a baseline on one metric, a row per activation.

    Columns: `seeds` in common, `difference` (mean), `low`, `high` (t interval), `low_corrected`,
    `high_corrected` (the same at a level that holds for all rows together, Bonferroni), `p` (of the
    t test), `q` (`p` after Benjamini and Hochberg), `p_exact` (sign flips), `p_smallest`,
    `improvement` (probability of), `detectable` (with 80 % power, at the corrected level).
    """
    others = [name for name in frame["activation"].unique() if name != baseline]
    by_name = {name: frame.loc[frame["activation"] == name, metric].dropna() for name in others}
    theirs = frame.loc[frame["activation"] == baseline, metric].dropna()
    joint = 1 - (1 - level) / max(1, len(others))
    rows = {}
    for name, ours in by_name.items():
        differences = paired_differences(frame, metric, name, baseline)
        n = len(differences)
        if not n:
            continue
        low, high = mean_interval(differences, level)
        low_corrected, high_corrected = mean_interval(differences, joint)
        rows[name] = {
            "seeds": n,
            "difference": differences.mean(),
            "low": low,
            "high": high,
            "low_corrected": low_corrected,
            "high_corrected": high_corrected,
            "p": t_test(differences),
            "q": math.nan,
            "p_exact": sign_flip_test(differences),
            "p_smallest": smallest_p(n),
            "improvement": probability_of_improvement(ours, theirs, better),
            "detectable": detectable_difference(differences.std(), n, level=joint),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    if rows and (tested := table["p"].notna()).any():
        table.loc[tested, "q"] = stats.false_discovery_control(table.loc[tested, "p"])
    return table


def verdict(interval: Interval, side: int, size: float = 0.0) -> str:
    """What an interval says about the claim "the difference is on this side, and so large".

    - "not reproduced": the interval leaves no room for the claim.  It lies wholly at zero or on the
      other side, or all of it is smaller than the claimed size.
    - "reproduced": otherwise, if it excludes zero.
    - "undecided": otherwise, and always without an interval (one seed).

    `interval` is already corrected for the number of claims tested, `side` is +1 or -1, and `size`
    is the claimed difference without sign, 0 if none was stated.
    """
    low, high = sorted(side * np.asarray(interval, float))
    if math.isnan(low) or math.isnan(high):
        return "undecided"
    if high <= 0 or high < size:
        return "not reproduced"
    return "reproduced" if low > 0 else "undecided"
