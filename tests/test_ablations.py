"""Contrasts of two arms: from planned runs alone, and only when all of a task are there."""

import pytest
from report_tools import ROWS, made_up

from sgblend_utils.config import RunConfig
from sgblend_utils.report import ablations, experiments
from sgblend_utils.report.plan import entry_of, plan
from sgblend_utils.runs import Place, write_record

TASKS = list(dict.fromkeys(row["task"] for row in plan("ablations.toml")["contrasts"]))
SEEDS = {task: entry_of(task, "sound")["seeds"] for task in TASKS}


def stored(root, task, effects, seeds):
    """Records whose cross-entropy is that of the seed and of the arm, and a little noise."""
    for place, (arm, effect) in enumerate(effects.items()):
        activation, twin, _ = arm.partition(ablations.TWIN)
        overrides = {"frozen_twin": True} if twin else {}
        for seed in seeds:
            names = {"preset": "cpu", "seed": seed, "overrides": overrides}
            config = RunConfig(task, activation, **names)
            record = made_up(config, 30.0)
            noise = 0.001 * ((7 * seed + 3 * place) % 5 - 2)
            record["metrics"]["test_nll"] = 1.0 + 0.1 * seed + effect + noise
            write_record(record, Place(config, root, config.key(ROWS)).record)


def arms_of(task):
    rows = [row for row in plan("ablations.toml")["contrasts"] if row["task"] == task]
    return {name: 0.0 for row in rows for name in (row["arm"], row["baseline"])}


def test_the_contrasts_name_arms_that_can_be_run_with_seeds_that_judge():
    wanted = plan("ablations.toml")
    for row in wanted["contrasts"]:
        assert row["arm"] != row["baseline"] and row["task"] in SEEDS
        for name in (row["arm"], row["baseline"]):
            activation, twin, _ = name.partition(ablations.TWIN)
            overrides = {"frozen_twin": True} if twin else {}
            config = RunConfig(row["task"], activation, preset="cpu", overrides=overrides)
            assert config.activation == activation  # as records spell it
    for seeds in SEEDS.values():
        assert min(seeds) >= plan()["first_seed"] and len(set(seeds)) == len(seeds) > 1
    assert wanted["metric"] in plan()["margins"]


@pytest.mark.parametrize("task", TASKS)
def test_an_effect_is_found_where_it_was_put_and_nowhere_else(tmp_path, task):
    effects, seeds = arms_of(task), SEEDS[task]
    first = next(r for r in plan("ablations.toml")["contrasts"] if r["task"] == task)
    effects[first["arm"]] += 0.05
    stored(tmp_path, task, effects, seeds)
    table = ablations.contrasts(experiments(tmp_path))
    own = table[table["task"] == task]
    for row in own.itertuples():
        expected = effects[row.arm] - effects[row.baseline]
        assert row.difference == pytest.approx(expected, abs=0.003)
        assert row.low < expected < row.high
        assert row.verdict == ("no relevant difference", "loss", "gain")[round(20 * expected)]
    assert (table.loc[table["task"] != task, "verdict"] == "not run").all()
    assert table.loc[table["task"] != task, "difference"].isna().all()


def test_other_seeds_and_settings_do_not_count_and_nothing_is_said_too_early(tmp_path):
    task, (*seeds, last) = "imdb", SEEDS["imdb"]
    effects = arms_of(task)
    stored(tmp_path, task, effects, seeds)
    before = ablations.contrasts(experiments(tmp_path))
    assert set(before["verdict"]) == {"not run"} and before["difference"].isna().all()
    assert set(before.loc[before["task"] == task, "runs"]) == {len(effects) * len(seeds)}
    stored(tmp_path, task, effects, [last])
    whole = ablations.contrasts(experiments(tmp_path))
    assert "not run" not in set(whole.loc[whole["task"] == task, "verdict"])
    stored(tmp_path, task, dict.fromkeys(effects, 5.0), [0, 1, 99])
    stored(tmp_path, task, {"relu": 9.0, "sgblend, frozen twin": 7.0}, seeds)
    assert ablations.contrasts(experiments(tmp_path)).equals(whole)


def test_a_frozen_twin_is_an_arm_of_its_own(tmp_path):
    effects, seeds = arms_of("wmt14"), SEEDS["wmt14"]
    effects["sgblend" + ablations.TWIN] = 0.04
    stored(tmp_path, "wmt14", effects, seeds)
    table = ablations.contrasts(experiments(tmp_path)).set_index("baseline")
    row = table.loc["sgblend" + ablations.TWIN]
    assert row["difference"] == pytest.approx(-0.04, abs=0.003) and row["verdict"] == "gain"
    text = ablations.contrasts_text(table.reset_index())
    assert "SG-Blend, frozen twin" in set(text["minus"])


def test_the_figure_shows_what_was_run_and_says_what_was_not(tmp_path):
    stored(tmp_path, "imdb", arms_of("imdb"), SEEDS["imdb"])
    table = ablations.contrasts(experiments(tmp_path))
    (axes,) = ablations.figure_ablations(table).axes
    known = table[table["verdict"] != "not run"]
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in lines] == known["difference"].tolist()
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["not run (0 of 40 runs)", "not run (0 of 32 runs)"]
