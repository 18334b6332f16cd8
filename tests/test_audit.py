"""The ladder from the published protocol to a sound one; its records here are made up."""

from itertools import pairwise

import matplotlib.pyplot as plt
import pytest
from report_tools import made_up

from sgblend_utils import audit, cli
from sgblend_utils.audit import LADDER, flaws_at, ladder_table, needed_runs, rung_configs
from sgblend_utils.errors import UserError
from sgblend_utils.models.published import FLAWS
from sgblend_utils.report import conditions, ladder, write_report
from sgblend_utils.runs import record_path, write_record


def fill(root, seeds=(0,), preset="cpu", leave_out=0):
    """Synthetic records: the fewer flaws a run has, the lower every score."""
    runs = needed_runs(preset, "sgblend", seeds)
    for config in runs[: len(runs) - leave_out]:
        share = len(config.settings["flaws"]) / len(FLAWS)
        record = made_up(config, config.key("made up"), bleu=2 * share + config.seed)
        one = {"accuracy_all": 0.9 * share, "accuracy_real": 0.8 * share}
        one |= {"forced_bleu": 0.5 * share, "free_bleu": 0.05 * share}
        record["metrics"] |= {
            "readings": {"validation": one, "test": {k: v / 2 for k, v in one.items()}},
            "test_accuracy": 0.4 * share,
            "decoded_sentences": 300,
        }
        write_record(record, record_path(config, record["key"], root))
    return runs


def test_the_ladder_begins_with_every_flaw_and_ends_with_none():
    assert flaws_at(0) == list(FLAWS) and flaws_at(len(LADDER) - 1) == []
    fixed = [name for rung in LADDER for name in rung.fixed]
    assert sorted(fixed) == sorted(FLAWS)  # each once
    assert len({rung.label for rung in LADDER}) == len(LADDER)


def test_each_rung_changes_the_model_or_the_reading():
    for before, after in pairwise(LADDER):
        read = [(rung.accuracy, rung.bleu) for rung in (before, after)]
        assert bool(after.fixed) or read[0] != read[1]


def test_rungs_that_only_read_share_a_run():
    configs = rung_configs("cpu", "sgblend", 0)
    assert configs[0].overrides == {} and len(configs) == len(LADDER)
    for rung, before, after in zip(LADDER[1:], configs, configs[1:], strict=False):
        assert (before == after) == (not rung.fixed)
    assert len(needed_runs("cpu", "sgblend", (0, 1))) == 2 * 7


def test_the_table_by_hand(tmp_path):
    fill(tmp_path, seeds=(0, 1))
    table = ladder_table("cpu", "sgblend", (0, 1), tmp_path).set_index("rung")
    assert list(table.index) == [rung.label for rung in LADDER]
    flaws = len(FLAWS)
    first, words = table.loc["as published"], table.loc["accuracy of words alone"]
    assert first["accuracy"] == pytest.approx(0.9) and first["bleu"] == pytest.approx(0.5)
    share = (flaws - 2) / flaws  # direction and causal mask are mended there
    assert words["accuracy"] == pytest.approx(0.8 * share)
    assert words["accuracy_change"] == pytest.approx((0.8 - 0.9) * share)
    assert words["bleu_change"] == 0 and not words["trained"]
    sound = table.loc["a plain Transformer"]
    assert sound["accuracy"] == 0 and sound["sacrebleu"] == pytest.approx(0.5)  # seeds 0 and 1
    assert sound["bleu"] == pytest.approx(0.005)  # the same on the scale 0 to 1
    text = audit.ladder_text(table.reset_index())
    assert text["accuracy (%)"][0] == "90.0" and text["change of BLEU"][0] == ""


def test_what_is_missing_is_named(tmp_path):
    fill(tmp_path, leave_out=1)
    with pytest.raises(UserError, match=r"plain Transformer.*seed 0.*sgblend audit wmt14"):
        ladder_table("cpu", "sgblend", (0,), tmp_path)
    assert audit.stored_seeds("cpu", "sgblend", tmp_path) == []
    with pytest.raises(UserError, match="mini"):
        rung_configs("full", "sgblend", 0)


def test_rungs_are_no_ordinary_results(tmp_path):
    fill(tmp_path)
    (condition,) = conditions(tmp_path)
    assert condition.slug == "wmt14_published_cpu" and len(condition.frame) == 1


def test_the_report_draws_a_complete_ladder_and_never_a_mini_one(tmp_path):
    store, output = tmp_path / "store", tmp_path / "figures"
    fill(store, preset="mini")
    assert not [p for p in write_report(store, output) if "audit" in p.name]
    fill(store, seeds=(0, 1))
    names = {path.name for path in write_report(store, output) if "audit" in path.name}
    assert names == {f"audit_wmt14_cpu.{end}" for end in ("png", "csv", "md")}
    said = (output / "tables" / "audit_wmt14_cpu.md").read_text("utf-8")
    assert all(rung.label in said and rung.why in said for rung in LADDER)
    assert "seeds 0-1" in said


def test_the_waterfall_shows_the_tables_numbers(tmp_path):
    fill(tmp_path)
    figure = ladder.figure_ladder("cpu", [0], tmp_path)
    table = ladder_table("cpu", "sgblend", [0], tmp_path)
    left, right = figure.axes
    for axes, name, scale in ((left, "accuracy", 100), (right, "bleu", 1)):
        widths = [bar.get_width() for bar in axes.containers[0]]
        assert widths == pytest.approx(list(scale * table[name]))
    figure.canvas.draw()
    boxes = [t.get_window_extent() for axes in figure.axes for t in axes.texts]
    assert not [1 for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
    plt.close(figure)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["multi30k"], ["wmt14"]),
        (["wmt14", "--preset", "huge"], ["mini", "cpu", "paper"]),
        (["wmt14", "--workers", "0"], ["--workers is 0"]),
        (["wmt14", "--activation", "gleu"], ["'gleu'"]),
    ],
)
def test_mistakes_of_the_command_are_named(capsys, monkeypatch, tmp_path, words, expected):
    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert cli.main(["audit", *words]) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in expected)


def test_the_command_prints_a_stored_ladder(capsys, monkeypatch, tmp_path):
    """Nothing is trained: every run has a record under the key of the bundled data."""
    from sgblend_utils.runs import run_key

    monkeypatch.setenv("SGBLEND_RESULTS", str(tmp_path))
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    for config in fill(tmp_path, preset="mini"):
        made = record_path(config, config.key("made up"), tmp_path)
        made.rename(record_path(config, run_key(config), tmp_path))
    assert cli.main(["audit", "wmt14"]) == 0
    said = capsys.readouterr().out
    assert "as published" in said and "90.0" in said
