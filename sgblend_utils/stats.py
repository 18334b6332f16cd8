"""What a handful of seeds can and cannot tell about activations.

Runs with the same seed share initial weights and data order, so seeds are blocks: a metric is
explained by an effect of each activation and one of each seed.  What is left, over all activations
of an experiment, is the noise that each comparison is held against.
"""

import bisect
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas import DataFrame
from scipy import optimize, stats
from statsmodels.formula.api import ols
from statsmodels.stats.multitest import multipletests

LEVEL, POWER = 0.95, 0.8


class Estimate(NamedTuple):
    """A mean difference over paired seeds, its standard error and that error's degrees of freedom.

    Of one seed the error is nan, and so are intervals and p values.
    """

    difference: float
    error: float
    freedom: float
    seeds: int

    @property
    def deviation(self) -> float:
        """Of the difference between two runs with the same seed."""
        return self.error * math.sqrt(self.seeds)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        half = float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.error
        return self.difference - half, self.difference + half

    def statistic(self, value: float) -> float:
        """`value` in standard errors; infinite without noise, 0 where there is no value either."""
        with np.errstate(divide="ignore"):
            return 0.0 if value == self.error == 0 else float(np.divide(value, self.error))

    def p(self) -> float:
        """Two-sided, of no difference."""
        return float(2 * stats.t.sf(abs(self.statistic(self.difference)), self.freedom))

    def p_equivalent(self, margin: float) -> float:
        """Of a difference of at least `margin`: the larger p of two one-sided tests (TOST)."""
        return float(stats.t.sf(self.statistic(margin - abs(self.difference)), self.freedom))


def estimate(differences: ArrayLike) -> Estimate:
    """Of differences that have no other runs to share their deviation with."""
    values = np.asarray(differences, float)
    error = float(stats.sem(values)) if len(values) > 1 else math.nan
    return Estimate(float(values.mean()), error, len(values) - 1, len(values))


def estimates(
    frame: DataFrame, metric: str, baseline: str = "gelu"
) -> tuple[dict[str, Estimate], np.ndarray]:
    """activation − baseline by activation, with one deviation for all; and their correlations.

    Here and below `frame` has a row per run, with columns `activation`, `seed` and the metric.
    Seeds that the baseline lacks are left out.
    """
    data = frame[["activation", "seed", metric]].rename(columns={metric: "value"}).dropna()
    data = data[data["seed"].isin(data.loc[data["activation"] == baseline, "seed"])]
    others = [name for name in data["activation"].unique() if name != baseline]
    if not others:
        return {}, np.empty((0, 0))
    names = pd.Categorical(data["activation"], [baseline, *others])
    fit = ols("value ~ activation + seed", data.assign(activation=names, seed=data.seed.map(str)))
    fit = fit.fit()
    terms = [f"activation[T.{name}]" for name in others]
    spread = fit.normalized_cov_params.loc[terms, terms].to_numpy()
    scale, tiny = np.sqrt(np.diag(spread)), 1e-9 * data["value"].abs().max()
    noise = math.sqrt(fit.mse_resid) if fit.df_resid else math.nan
    noise, seeds = (0.0 if noise <= tiny else noise), data["activation"].value_counts()
    # The last bits differ between processors; a tie, or an order of equal numbers, would show it.
    digits = 0 if not tiny else -math.floor(math.log10(tiny))
    effects = fit.params[terms].to_numpy().round(digits) + 0.0
    rows = zip(others, effects, noise * scale, strict=True)
    found = {n: Estimate(float(d), float(e), fit.df_resid, int(seeds[n])) for n, d, e in rows}
    return found, (spread / np.outer(scale, scale)).round(10)


def within(limit: float, correlations: np.ndarray, freedom: float) -> float:
    """Probability that no t statistic of several comparisons is beyond ± `limit` (Dunnett 1955)."""
    if (count := len(correlations)) == 1:
        return float(1 - 2 * stats.t.sf(limit, freedom))
    corner = np.full(count, limit)
    options = {"lower_limit": -corner, "random_state": 0}
    return float(stats.multivariate_t.cdf(corner, None, correlations, freedom, **options))


def dunnett_limit(correlations: np.ndarray, freedom: float, level: float = LEVEL) -> float:
    """The t statistic that holds for all comparisons with one baseline together."""
    if not freedom:
        return math.nan
    low, high = stats.t.isf((1 - level) / 2 / np.array([1, len(correlations)]), freedom)
    if len(correlations) == 1:
        return float(low)
    return optimize.brentq(
        lambda t: within(t, correlations, freedom) - level, low - 0.1, high + 0.1, xtol=1e-4
    )


def compare(frame: DataFrame, metric: str, baseline: str = "gelu", better: int = 1) -> DataFrame:
    """Every activation against a baseline on one metric, a row per activation.

    Columns: `seeds` in common, `difference`, `low`, `high` (t interval), `low_corrected`,
    `high_corrected` (simultaneous for all rows, Dunnett), `p`, `p_corrected`, `improvement`
    (probability of), `detectable` (difference, with 80 % power, before correction).
    """
    found, correlations = estimates(frame, metric, baseline)
    runs, rows = dict(list(frame.groupby("activation", sort=False)[metric])), {}
    freedom = next((one.freedom for one in found.values()), 0)  # the same for all
    limit = dunnett_limit(correlations, freedom)
    for name, one in found.items():
        low, high = one.interval()
        row = {"seeds": one.seeds, "difference": one.difference, "low": low, "high": high}
        row["low_corrected"] = one.difference - limit * one.error
        row["high_corrected"] = one.difference + limit * one.error
        row["p"], t = one.p(), abs(one.statistic(one.difference))
        row["p_corrected"] = 1 - within(t, correlations, freedom) if t < 1e3 else row["p"]
        ours, theirs = (runs[key].dropna() for key in (name, baseline))
        row["improvement"] = probability_of_improvement(ours, theirs, better)
        row["detectable"] = detectable_difference(one)
        rows[name] = row
    return DataFrame.from_dict(rows, orient="index")


def holm(p: ArrayLike) -> np.ndarray:
    """P values corrected for their number (Holm 1979); what was not tested, nan, counts as 1."""
    return multipletests(np.nan_to_num(np.asarray(p, float), nan=1.0), method="holm")[1]


def verdict(difference: float, p: float, p_equivalent: float, level: float = LEVEL) -> str:
    """`difference` is positive where it is a gain; both p values are already corrected.

    A difference that is certainly smaller than the margin is not relevant, even if it is not zero.
    """
    if p_equivalent <= 1 - level:
        return "no relevant difference"
    if p <= 1 - level:
        return "gain" if difference > 0 else "loss"
    return "undecided"


def summarise(frame: DataFrame, metric: str, by: str = "activation") -> DataFrame:
    """Mean of a metric over runs with its t interval, a row per value of the column `by`."""
    rows = {}
    for name, values in frame.dropna(subset=metric).groupby(by, sort=False)[metric]:
        rows[name] = len(values), values.mean(), *estimate(values).interval()
    return DataFrame.from_dict(rows, orient="index", columns=["seeds", "mean", "low", "high"])


def probability_of_improvement(ours: ArrayLike, theirs: ArrayLike, better: int = 1) -> float:
    """P(a run of ours beats a run of theirs), ties counting half (Agarwal et al. 2021, rliable).

    Runs need not be paired; `better` is -1 where smaller values are better.
    """
    wins = stats.mannwhitneyu(better * np.asarray(ours), better * np.asarray(theirs)).statistic
    return float(wins / (len(ours) * len(theirs)))


def power_of(effect: float, seeds: int, freedom: float | None = None) -> float:
    """Power of the two-sided test at 5 %; `effect` is in deviations of a paired difference.

    `freedom` are the deviation's degrees of freedom: seeds - 1 if it comes from these pairs alone.
    """
    freedom = seeds - 1 if freedom is None else freedom
    # t² is F with (1, freedom) degrees of freedom, noncentral by nδ²: both tails at once
    critical, effect = stats.f.ppf(LEVEL, 1, freedom), max(abs(effect), 1e-6)  # SciPy fails at 0
    return float(stats.ncf.sf(critical, 1, freedom, seeds * effect**2))


def detectable_difference(found: Estimate) -> float:
    """The true difference that would have been found with 80 % power; nan without noise."""
    if not (found.freedom and found.deviation > 1e-12):
        return math.nan

    def missing(effect: float) -> float:
        return power_of(effect, found.seeds, found.freedom) - POWER

    return found.deviation * optimize.brentq(missing, 1e-6, 100)


def equivalence_power(margin: float, seeds: int) -> float:
    """Power of two one-sided tests where there is no difference; `margin` is in deviations."""
    # The mean over what the deviation may be estimated as, at the middles of 200 equal shares.
    shares = (np.arange(200) + 0.5) / 200
    estimated = np.sqrt(stats.chi2.ppf(shares, seeds - 1) / (seeds - 1))
    reach = margin * math.sqrt(seeds) - stats.t.ppf(LEVEL, seeds - 1) * estimated
    return float(np.maximum(0.0, 2 * stats.norm.cdf(reach) - 1).mean())


def seeds_needed(margin: float, deviation: float) -> int | None:
    """Seeds that with 80 % power find a difference of `margin`, and also exclude one if none is.

    Before correction for other claims; None if more than a million.
    """
    if not margin or not deviation:
        return 2 if margin else None
    ratio, counts = margin / deviation, range(2, 1_000_000)

    def power(seeds: int) -> float:
        return min(power_of(ratio, seeds), equivalence_power(ratio, seeds))

    place = bisect.bisect_left(counts, POWER, key=power)
    return counts[place] if place < len(counts) else None
