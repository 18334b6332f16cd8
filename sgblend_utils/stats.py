"""What a handful of seeds can and cannot tell about two activations.

Runs with the same seed share initial weights and data order, so activations are compared seed by
seed.  Every statistic is SciPy's; what is here decides which one answers which question.
"""

import bisect
import math

import numpy as np
from numpy.typing import ArrayLike
from pandas import DataFrame, Series
from scipy import optimize, stats

LEVEL, POWER = 0.95, 0.8
EXACT_SEEDS = 16  # up to here all 2ⁿ sign patterns are tried, beyond it as many random ones


def mean_interval(values: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """Student's t interval of a mean; (nan, nan) with fewer than two values."""
    values = np.asarray(values, float)
    if values.size < 2:
        return math.nan, math.nan
    half = stats.t.ppf((1 + level) / 2, values.size - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def t_test(differences: ArrayLike) -> float:
    """Two-sided p value of a paired t test; nan with fewer than two differences."""
    differences = np.asarray(differences, float)
    if differences.size < 2:
        return math.nan
    if np.ptp(differences) <= 1e-9 * np.abs(differences).max():  # no noise: t is 0/0 or infinite
        return float(not differences.any())
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def sign_flip_test(differences: ArrayLike) -> float:
    """Two-sided p value of the sign-flip test; exact, and so never below `smallest_p`."""
    values = np.asarray(differences, float)
    if values.size < 2:
        return smallest_p(values.size)
    options = {"permutation_type": "samples", "n_resamples": 2**EXACT_SEEDS, "random_state": 0}
    return float(min(1.0, stats.permutation_test((values,), np.mean, **options).pvalue))


def smallest_p(seeds: int) -> float:
    """The smallest two-sided p value that the sign-flip test can reach with so many seeds."""
    return min(1.0, 2.0 ** (1 - min(seeds, EXACT_SEEDS))) if seeds else math.nan


def probability_of_improvement(ours: ArrayLike, theirs: ArrayLike, better: int = 1) -> float:
    """P(a run of ours beats a run of theirs), ties counting half (Agarwal et al. 2021, rliable).

    Runs need not be paired; `better` is -1 where smaller values are better.
    """
    wins = stats.mannwhitneyu(better * np.asarray(ours), better * np.asarray(theirs)).statistic
    return float(wins / (len(ours) * len(theirs)))


def power_of(effect: float, seeds: int, level: float = LEVEL) -> float:
    """Power of the two-sided paired t test; `effect` is in deviations of a paired difference."""
    if not effect:
        return 1 - level  # where SciPy's noncentral F is not to be trusted
    # t² is F with (1, n - 1) degrees of freedom, noncentral by nδ²: both tails at once
    critical = stats.f.ppf(level, 1, seeds - 1)
    return float(stats.ncf.sf(critical, 1, seeds - 1, seeds * effect**2))


def detectable_difference(deviation: float, seeds: int, level: float = LEVEL) -> float:
    """The true difference that so many seeds find with 80 % power; nan without noise.

    `deviation`, of the same unit, is the standard deviation of the difference of paired runs.
    """
    if seeds < 2 or not deviation > 1e-12:
        return math.nan
    top = 1.0
    while power_of(top, seeds, level) < POWER:
        top *= 2
    return deviation * optimize.brentq(lambda x: power_of(x, seeds, level) - POWER, 0.0, top)


def seeds_needed(effect: float, deviation: float) -> int | None:
    """Seeds that find a true difference with 80 % power; None if more than a million."""
    if not effect or not deviation:
        return 2 if effect else None
    counts, ratio = range(2, 1_000_000), abs(effect) / deviation
    place = bisect.bisect_left(counts, POWER, key=lambda n: power_of(ratio, n))
    return counts[place] if place < len(counts) else None


def summarise(frame: DataFrame, metric: str) -> DataFrame:
    """Mean of a metric over seeds with its t interval, a row per activation.

    Here and below `frame` has a row per run, with columns `activation`, `seed` and the metric.
    """
    rows = {}
    for name, values in frame.dropna(subset=metric).groupby("activation", sort=False)[metric]:
        rows[name] = len(values), values.mean(), *mean_interval(values)
    return DataFrame.from_dict(rows, orient="index", columns=["seeds", "mean", "low", "high"])


def paired_differences(
    frame: DataFrame, metric: str, activation: str, baseline: str = "gelu"
) -> Series:
    """activation − baseline of a metric, by seed, over the seeds that both have."""
    table = frame.pivot_table(index="seed", columns="activation", values=metric)
    table = table.reindex(columns=[activation, baseline])
    return (table[activation] - table[baseline]).dropna()


def compare(frame: DataFrame, metric: str, baseline: str = "gelu", better: int = 1) -> DataFrame:
    """Every activation against a baseline on one metric, a row per activation.

    Columns: `seeds` in common, `difference` (mean), `low`, `high` (t interval), `low_corrected`,
    `high_corrected` (the same at a level that holds for all rows together, Bonferroni), `p` (of the
    t test), `q` (`p` after Benjamini and Hochberg), `p_exact` (sign flips), `p_smallest`,
    `improvement` (probability of), `detectable` (with 80 % power, at the corrected level).
    """
    runs = dict(list(frame.groupby("activation", sort=False)[metric]))
    theirs = runs.pop(baseline, Series(dtype=float)).dropna()
    joint = 1 - (1 - LEVEL) / max(1, len(runs))
    rows = {}
    for name, ours in runs.items():
        found = paired_differences(frame, metric, name, baseline)
        if n := len(found):
            row = {"seeds": n, "difference": found.mean()}
            row["low"], row["high"] = mean_interval(found)
            row["low_corrected"], row["high_corrected"] = mean_interval(found, joint)
            row |= {"p": t_test(found), "q": math.nan}
            row |= {"p_exact": sign_flip_test(found), "p_smallest": smallest_p(n)}
            row["improvement"] = probability_of_improvement(ours.dropna(), theirs, better)
            row["detectable"] = detectable_difference(found.std(), n, joint)
            rows[name] = row
    table = DataFrame.from_dict(rows, orient="index")
    if rows and (tested := table["p"].notna()).any():
        table.loc[tested, "q"] = stats.false_discovery_control(table.loc[tested, "p"])
    return table


def outcome(interval: tuple[float, float], side: int, size: float = 0.0) -> str:
    """What an interval, already corrected, says of the claim "on this side, and as large as size".

    "not reproduced": no part of it is on that side, or none is so large; "reproduced": otherwise,
    if it excludes zero; else "undecided", as always without an interval (one seed).
    """
    low, high = sorted(side * np.asarray(interval, float))
    if math.isnan(low) or math.isnan(high):
        return "undecided"
    if high <= 0 or high < size:
        return "not reproduced"
    return "reproduced" if low > 0 else "undecided"
