"""Statistics over seeds: against SciPy, simulation and tables, and by what must hold."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.weightstats import ttost_paired

from sgblend_utils import stats

finite = st.floats(-100, 100).map(lambda x: round(x, 3))
several = st.lists(finite, min_size=2, max_size=7)


def frame(**values: list[float]) -> pd.DataFrame:
    """One row per run, seeds from 0 on, columns as in the store."""
    return pd.DataFrame(
        [
            {"activation": name, "seed": seed, "bleu": value}
            for name, runs in values.items()
            for seed, value in enumerate(runs)
        ]
    )


# Estimates ----------------------------------------------------------------------------------------


def one(runs: pd.DataFrame, name: str = "sgblend", **options: str) -> stats.Estimate:
    return stats.estimates(runs, "bleu", **options)[0][name]


def test_two_activations_are_compared_by_the_paired_t_test():
    ours, theirs = [30.1, 31.0, 30.4, 30.9], [29.9, 30.2, 30.5, 30.1]
    expected = scipy_stats.ttest_rel(ours, theirs)
    found = one(frame(gelu=theirs, sgblend=ours))
    assert found.interval() == pytest.approx(expected.confidence_interval(0.95))
    assert found.p() == pytest.approx(expected.pvalue)
    margin = 1.2
    p, *_ = ttost_paired(np.array(ours), np.array(theirs), -margin, margin)
    assert found.p_equivalent(margin) == pytest.approx(p)
    assert found == pytest.approx(stats.estimate(np.subtract(ours, theirs)))
    assert found.deviation == pytest.approx(np.subtract(ours, theirs).std(ddof=1))


def test_the_deviation_is_that_of_all_activations():
    """The residual mean square of a two-way analysis of variance without interaction."""
    values = np.random.default_rng(0).normal(30, 1, (4, 5)) + np.arange(5)
    runs = frame(**dict(zip(("gelu", "relu", "silu", "sgblend"), values.tolist(), strict=True)))
    rest = values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()
    square = (rest**2).sum() / (3 * 4)
    for baseline in ("gelu", "silu"):
        found = one(runs, baseline=baseline)
        assert found.freedom == 12 and found.seeds == 5
        assert found.error == pytest.approx(math.sqrt(2 * square / 5))
        other = values[["gelu", "relu", "silu"].index(baseline)]
        assert found.difference == pytest.approx(values[3].mean() - other.mean())
    _, correlations = stats.estimates(runs, "bleu")
    np.testing.assert_allclose(correlations, np.full((3, 3), 0.5) + 0.5 * np.eye(3), atol=1e-9)


def test_one_seed_has_no_interval_and_decides_nothing():
    row = stats.compare(frame(gelu=[30.0], sgblend=[31.0]), "bleu").loc["sgblend"]
    assert row.seeds == 1 and row.difference == pytest.approx(1.0)
    assert np.isnan([row.low, row.high, row.low_corrected, row.p, row.detectable]).all()
    found = one(frame(gelu=[30.0], sgblend=[31.0]))
    p, equivalent = stats.holm([found.p()])[0], stats.holm([found.p_equivalent(9.0)])[0]
    assert stats.verdict(found.difference, p, equivalent) == "undecided"
    summary = stats.summarise(frame(gelu=[30.0]), "bleu").loc["gelu"]
    assert summary["mean"] == 30.0 and math.isnan(summary.low)


def test_differences_and_correlations_are_the_same_on_every_processor():
    # The last bits of a sum of floats depend on its order: on them the rounding of a tie, and how
    # SciPy orders equal correlations, which moves its quasi-random probabilities by 1e-4.
    rng = np.random.default_rng(0)
    for _ in range(50):
        base = rng.integers(4000, 8000, 8) / 100
        moves = rng.integers(-40, 40, 8)
        found = one(frame(gelu=list(base), sgblend=list(base + moves / 100)))
        assert found.difference == int(moves.sum()) / 800
    _, correlations = stats.estimates(frame(gelu=[1.0, 2.0], a=[2.0, 1.5], b=[3.0]), "bleu")
    assert (correlations == correlations.round(10)).all() and 0 < correlations[0, 1] < 1


def test_differences_without_noise():
    same, apart = (one(frame(gelu=[1.0, 2.0], sgblend=[1.0 + d, 2.0 + d])) for d in (0.0, 0.5))
    assert same.interval() == (0.0, 0.0) and (same.p(), same.p_equivalent(0.1)) == (1.0, 0.0)
    assert apart.interval() == pytest.approx((0.5, 0.5))
    assert (apart.p(), apart.p_equivalent(0.1)) == (0.0, 1.0)
    assert math.isnan(stats.detectable_difference(same))
    row = stats.compare(frame(gelu=[1.0, 2.0], sgblend=[1.5, 2.5], relu=[1.0, 2.0]), "bleu").p
    assert row.to_dict() == {"sgblend": 0.0, "relu": 1.0}


def test_only_seeds_of_the_baseline_count():
    runs = frame(gelu=[30.0, 31.0, 32.0], sgblend=[30.5, 31.5])
    assert stats.compare(runs, "bleu").loc["sgblend", "seeds"] == 2
    assert stats.compare(frame(relu=[1.0, 2.0]), "bleu").empty
    stranger = pd.DataFrame([{"activation": "relu", "seed": 9, "bleu": 1.0}])
    assert list(stats.compare(pd.concat([runs, stranger]), "bleu").index) == ["sgblend"]


@settings(max_examples=15, deadline=None)
@given(several)
def test_adding_what_a_seed_contributes_to_all_changes_no_comparison(noise):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, len(noise)))
    names = ("gelu", "sgblend", "relu")
    plain, shifted = (
        stats.compare(frame(**dict(zip(names, v.tolist(), strict=True))), "bleu")
        for v in (values, values + noise)
    )
    columns = ["difference", "low", "high", "low_corrected", "p"]
    np.testing.assert_allclose(plain[columns], shifted[columns], atol=1e-7)


# Corrections --------------------------------------------------------------------------------------


def test_dunnetts_limits_are_those_of_his_tables():
    """Dunnett (1964), two-sided, 5 %: by degrees of freedom, for one to four comparisons."""
    tables = {
        5: (2.57, 3.03, 3.29, 3.48),
        10: (2.23, 2.57, 2.76, 2.89),
        20: (2.09, 2.38, 2.54, 2.65),
    }
    for freedom, limits in tables.items():
        for count, limit in enumerate(limits, 1):
            correlations = np.full((count, count), 0.5) + 0.5 * np.eye(count)
            found = stats.dunnett_limit(correlations, freedom)
            assert found == pytest.approx(limit, abs=0.011)
            assert stats.within(found, correlations, freedom) == pytest.approx(0.95, abs=1e-3)


def test_correction_widens_intervals_and_never_lowers_p():
    rng = np.random.default_rng(1)
    runs = frame(**{name: list(rng.normal(30, 1, 5)) for name in ("gelu", "relu", "silu", "mish")})
    table = stats.compare(runs, "bleu")
    assert len(table) == 3
    assert (table.low_corrected < table.low).all() and (table.high < table.high_corrected).all()
    assert (table.p_corrected > table.p).all() and (table.p_corrected < 3 * table.p + 1e-3).all()
    alone = stats.compare(runs[runs.activation.isin(["gelu", "relu"])], "bleu").loc["relu"]
    assert alone.low_corrected == pytest.approx(alone.low)
    assert alone.p_corrected == pytest.approx(alone.p)


def test_holm_counts_what_was_not_tested():
    assert stats.holm([0.01, math.nan, 0.04, 0.03]) == pytest.approx([0.04, 1.0, 0.09, 0.09])


@pytest.mark.parametrize(
    ("difference", "p", "equivalent", "expected"),
    [
        (0.5, 0.01, 0.9, "gain"),
        (-0.5, 0.01, 0.9, "loss"),
        (0.1, 0.01, 0.01, "no relevant difference"),  # a gain, but too small to matter
        (0.1, 0.30, 0.01, "no relevant difference"),
        (0.5, 0.06, 0.9, "undecided"),
        (math.nan, math.nan, math.nan, "undecided"),
    ],
)
def test_verdicts(difference, p, equivalent, expected):
    assert stats.verdict(difference, p, equivalent) == expected


def draws(rng: np.random.Generator, difference: float, runs: int, activations=5, seeds=6):
    """Estimates of the last activation minus the first in made-up experiments of deviation 1."""
    values = rng.normal(size=(runs, activations, seeds)) + rng.normal(size=(runs, 1, seeds))
    values[:, -1] += difference
    mean = values.mean(axis=(1, 2), keepdims=True)
    rest = values - values.mean(1, keepdims=True) - values.mean(2, keepdims=True) + mean
    freedom = (activations - 1) * (seeds - 1)
    errors = np.sqrt(2 * (rest**2).sum((1, 2)) / freedom / seeds)
    means = values[:, -1].mean(1) - values[:, 0].mean(1)
    return [stats.Estimate(d, e, freedom, seeds) for d, e in zip(means, errors, strict=True)]


def ledgers(difference: float, margin: float, claims=12, count=250) -> np.ndarray:
    """Verdicts (ledger, claim) of made-up ledgers in which every true difference is the same."""
    found = draws(np.random.default_rng(2), difference, claims * count)
    p = np.reshape([[one.p(), one.p_equivalent(margin)] for one in found], (count, claims, 2))
    p = np.array([[stats.holm(column) for column in table.T] for table in p])
    means = np.reshape([one.difference for one in found], (count, claims))
    return np.vectorize(stats.verdict)(means, p[:, 0], p[:, 1])


@pytest.mark.slow
def test_in_one_ledger_of_twenty_at_most_something_is_claimed_wrongly(monkeypatch):
    monkeypatch.setattr("gc.collect", int)  # which statsmodels calls each time
    null = ledgers(0.0, margin=0.5)
    assert np.isin(null, ["gain", "loss"]).any(axis=1).mean() <= 0.09
    edge = ledgers(1.5, margin=1.5)
    assert (edge == "no relevant difference").any(axis=1).mean() <= 0.09
    far = ledgers(4.0, margin=0.5)
    assert (far == "gain").mean() > 0.95 and not (far == "loss").any()
    wide = ledgers(0.0, margin=4.0)
    assert (wide == "no relevant difference").mean() > 0.95


def test_intervals_cover_the_truth_as_often_as_they_say():
    found = draws(np.random.default_rng(3), 0.7, 2500)
    hits = [low <= 0.7 <= high for low, high in (one.interval() for one in found)]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.015)


# Improvement and power ----------------------------------------------------------------------------


@given(several, several)
def test_probability_of_improvement_counts_pairs(ours, theirs):
    wins = np.sign(np.subtract.outer(ours, theirs))
    expected = (wins.mean() + 1) / 2
    assert stats.probability_of_improvement(ours, theirs) == pytest.approx(expected)
    assert stats.probability_of_improvement(ours, theirs, better=-1) == pytest.approx(1 - expected)


def test_power_agrees_with_simulation():
    rng = np.random.default_rng(0)
    for effect, seeds in ((0.0, 3), (2.0, 3), (0.8, 10)):
        draws = rng.normal(effect, 1, size=(40_000, seeds))
        found = (scipy_stats.ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05).mean()
        assert stats.power_of(effect, seeds) == pytest.approx(found, abs=0.01)
    for margin, seeds in ((2.0, 5), (1.0, 11)):
        draws = rng.normal(0.0, 1, size=(20_000, seeds))
        reach = margin - abs(draws.mean(1))
        t = reach / scipy_stats.sem(draws, axis=1)
        found = (scipy_stats.t.sf(t, seeds - 1) < 0.05).mean()
        assert stats.equivalence_power(margin, seeds) == pytest.approx(found, abs=0.02)


def test_the_power_of_a_pooled_deviation_is_that_of_more_degrees_of_freedom():
    found = draws(np.random.default_rng(5), 2.0, 2500)
    share = np.mean([one.p() < 0.05 for one in found])
    assert stats.power_of(2.0 / math.sqrt(2), 6, 20) == pytest.approx(share, abs=0.02)
    one = stats.Estimate(0.0, 1.7 / math.sqrt(6), 20, 6)
    detectable = stats.detectable_difference(one)
    assert stats.power_of(detectable / 1.7, 6, 20) == pytest.approx(0.8, abs=1e-4)


def test_seeds_needed_find_and_exclude_the_margin():
    # Cohen (1988), table 2.4.1: a paired t test, two-sided 0.05, power 0.80, needs 199, 34 and 15;
    # two one-sided tests need a few more (Julious 2004: 8.56 instead of 7.85 σ²/δ²)
    assert [stats.seeds_needed(d, 1.0) for d in (0.2, 0.5, 0.8)] == [216, 36, 15]
    assert stats.seeds_needed(0.0, 1.0) is None and stats.seeds_needed(1e-6, 1.0) is None
    assert stats.seeds_needed(1.0, 0.0) == 2
    for margin in (0.4, 1.0):
        n = stats.seeds_needed(margin, 1.0)
        power = [
            min(stats.power_of(margin, k), stats.equivalence_power(margin, k)) for k in (n - 1, n)
        ]
        assert power[0] < 0.8 <= power[1]
