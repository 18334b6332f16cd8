"""Statistics over seeds: against SciPy, simulation and tables, and by what must hold."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

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


# Intervals and tests ------------------------------------------------------------------------------


def test_intervals_and_p_values_are_those_of_the_paired_t_test():
    ours, theirs = [30.1, 31.0, 30.4, 30.9], [29.9, 30.2, 30.5, 30.1]
    expected = scipy_stats.ttest_rel(ours, theirs)
    differences = np.subtract(ours, theirs)
    assert stats.mean_interval(differences) == pytest.approx(expected.confidence_interval(0.95))
    assert stats.t_test(differences) == pytest.approx(expected.pvalue)
    row = stats.compare(frame(gelu=theirs, sgblend=ours), "bleu").loc["sgblend"]
    assert (row.low, row.high) == pytest.approx(expected.confidence_interval(0.95))
    assert row.difference == pytest.approx(np.mean(differences))


def test_one_seed_has_no_interval_and_decides_nothing():
    row = stats.compare(frame(gelu=[30.0], sgblend=[31.0]), "bleu").loc["sgblend"]
    assert row.seeds == 1 and row.difference == 1.0
    assert np.isnan([row.low, row.high, row.p, row.q, row.detectable]).all()
    assert stats.outcome((row.low, row.high), +1, 1.0) == "undecided"
    summary = stats.summarise(frame(gelu=[30.0]), "bleu").loc["gelu"]
    assert summary["mean"] == 30.0 and math.isnan(summary.low)


def test_differences_without_noise():
    assert stats.mean_interval([0.0, 0.0, 0.0]) == (0.0, 0.0)
    assert stats.t_test([0.0, 0.0, 0.0]) == 1.0 and stats.t_test([1.0, 1.0]) == 0.0
    assert stats.sign_flip_test([0.0, 0.0, 0.0]) == 1.0
    assert math.isnan(stats.detectable_difference(0.0, 3))


@settings(max_examples=25)
@given(several)
def test_sign_flips_are_all_tried(differences):
    mean = abs(np.mean(differences))
    flips = itertools.product((-1, 1), repeat=len(differences))
    means = np.array([np.mean(np.multiply(signs, differences)) for signs in flips])
    share = (np.abs(means) >= mean * (1 - 1e-9) - 1e-9).mean()
    p = stats.sign_flip_test(differences)
    assert p == pytest.approx(min(1.0, share), abs=1e-9)
    assert stats.smallest_p(len(differences)) <= p <= 1


def test_the_smallest_p_is_reached_when_all_seeds_agree_and_not_undercut():
    for seeds in range(2, 7):
        p = stats.sign_flip_test(np.arange(1.0, seeds + 1))
        assert p == pytest.approx(stats.smallest_p(seeds)) == pytest.approx(2 / 2**seeds)
    assert stats.smallest_p(3) == 0.25


def test_only_seeds_in_common_are_paired():
    runs = frame(gelu=[30.0, 31.0, 32.0], sgblend=[30.5, 31.5])
    assert stats.paired_differences(runs, "bleu", "sgblend").tolist() == [0.5, 0.5]
    assert stats.paired_differences(runs, "bleu", "relu").empty
    assert stats.compare(runs, "bleu").loc["sgblend", "seeds"] == 2
    assert stats.compare(frame(relu=[1.0, 2.0]), "bleu").empty


@settings(max_examples=15)
@given(several)
def test_adding_what_a_seed_contributes_to_both_changes_no_comparison(noise):
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(2, len(noise)))
    plain = stats.compare(frame(gelu=list(theirs), sgblend=list(ours)), "bleu")
    shifted = stats.compare(frame(gelu=list(theirs + noise), sgblend=list(ours + noise)), "bleu")
    columns = ["difference", "low", "high"]
    np.testing.assert_allclose(plain[columns], shifted[columns], atol=1e-9)


def test_correction_widens_intervals_and_never_lowers_p():
    rng = np.random.default_rng(1)
    runs = frame(**{name: list(rng.normal(30, 1, 5)) for name in ("gelu", "relu", "silu", "mish")})
    table = stats.compare(runs, "bleu")
    assert len(table) == 3
    assert (table.low_corrected < table.low).all() and (table.high < table.high_corrected).all()
    assert (table.q >= table.p).all()
    np.testing.assert_allclose(table.q, scipy_stats.false_discovery_control(table.p))
    alone = stats.compare(runs[runs.activation.isin(["gelu", "relu"])], "bleu").loc["relu"]
    assert alone.low_corrected == pytest.approx(alone.low) == pytest.approx(table.low["relu"])


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


def test_seeds_needed_agrees_with_published_tables():
    # Cohen (1988), table 2.4.1, and G*Power: a paired t test, two-sided 0.05, power 0.80
    assert [stats.seeds_needed(d, 1.0) for d in (0.2, 0.5, 0.8)] == [199, 34, 15]
    # 0.15 points with a deviation of 0.4 a run: about 112 seeds an arm
    assert stats.seeds_needed(0.15, 0.4 * math.sqrt(2)) == pytest.approx(112, abs=3)
    assert stats.seeds_needed(0.0, 1.0) is None and stats.seeds_needed(1e-6, 1.0) is None
    assert stats.seeds_needed(1.0, 0.0) == 2


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
@pytest.mark.parametrize("level", [0.95, 0.9975])
def test_the_detectable_difference_is_found_with_the_stated_power(seeds, level):
    found = stats.detectable_difference(1.7, seeds, level=level)
    assert stats.power_of(found / 1.7, seeds, level) == pytest.approx(0.8, abs=1e-4)
    if level == 0.95:
        assert stats.seeds_needed(found * 1.0001, 1.7) == seeds


# Outcomes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "side", "size", "expected"),
    [
        ((0.2, 1.8), +1, 1.3, "reproduced"),
        ((0.2, 0.9), +1, 1.3, "not reproduced"),  # there is a gain, but none so large
        ((0.2, 0.9), +1, 0.0, "reproduced"),  # no size was claimed
        ((-0.2, 1.8), +1, 1.3, "undecided"),
        ((-0.2, 0.9), +1, 1.3, "not reproduced"),
        ((-0.9, -0.2), +1, 0.0, "not reproduced"),
        ((-0.9, -0.2), -1, 0.5, "reproduced"),
        ((0.0, 0.0), -1, 0.0, "not reproduced"),
        ((math.nan, math.nan), -1, 0.5, "undecided"),
    ],
)
def test_outcomes(interval, side, size, expected):
    assert stats.outcome(interval, side, size) == expected


@given(finite, st.floats(0, 50), st.floats(0, 20))
def test_a_claim_and_its_opposite_are_never_both_reproduced(centre, half, size):
    interval = (centre - half, centre + half)
    outcomes = [stats.outcome(interval, side, size) for side in (+1, -1)]
    assert outcomes.count("reproduced") <= 1
    mirrored = [stats.outcome((-interval[1], -interval[0]), side, size) for side in (-1, +1)]
    assert outcomes == mirrored


@given(finite, st.floats(0, 50), st.floats(0.01, 20), st.floats(0, 20))
def test_a_wider_interval_never_turns_one_outcome_into_the_other(centre, half, more, size):
    narrow = stats.outcome((centre - half, centre + half), 1, size)
    wide = stats.outcome((centre - half - more, centre + half + more), 1, size)
    assert wide in (narrow, "undecided")
