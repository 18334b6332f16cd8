"""The audit from the published protocol to the sound one; its records here are made up."""

from itertools import pairwise

import matplotlib.pyplot as plt
import pytest
from report_tools import made_up, store

from sgblend_utils.config import switch_meanings
from sgblend_utils.errors import UserError
from sgblend_utils.report import experiments, write_report
from sgblend_utils.report.audit import STEPS, Audit, audit_text, complete, figure_audit
from sgblend_utils.tasks import task_named

SWITCHES = switch_meanings(type(task_named("wmt14").presets["published", "cpu"]))


def fill(root, seeds=(0,), preset="cpu", leave_out=()):
    """Synthetic records: the fewer switches are on, the lower every score."""
    for i, config in enumerate(Audit(preset=preset, seeds=tuple(seeds)).runs()):
        share = len(config.settings.switches) / len(SWITCHES)
        record = made_up(config, bleu=2 * share + config.seed)
        one = {"accuracy_all": 0.9 * share, "accuracy_real": 0.8 * share}
        one |= {"forced_bleu": 0.5 * share, "free_bleu": 0.05 * share}
        record["metrics"]["test_accuracy"] = 0.4 * share
        if config.protocol == "published":
            record["metrics"] |= {
                "evaluations": {"validation": one, "test": {k: v / 2 for k, v in one.items()}},
                "reported_bleu": one["forced_bleu"],
                "decoded_sentences": 300,
            }
        if i not in leave_out:
            store(record, config, root)
    return root


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("results"), seeds=(0, 1))


def test_the_audit_turns_every_switch_off_once_and_ends_with_the_sound_run():
    off = [name for step in STEPS for name in step.off]
    assert sorted(off) == sorted(SWITCHES)
    assert len({step.label for step in STEPS}) == len(STEPS)
    first, *_, before, last = Audit().configs(0)
    assert first.settings.switches == tuple(SWITCHES) and first.overrides == {}
    assert before.settings.switches == () and before.protocol == "published"
    assert (last.protocol, last.preset, last.overrides) == ("sound", "cpu", {})


def test_steps_that_only_evaluate_share_a_run():
    configs = Audit().configs(0)
    for step, before, after in zip(STEPS[1:-1], configs, configs[1:], strict=False):
        assert (before == after) == (not step.off) and (step.off or step.scores)
    for before, after in pairwise(configs[:-1]):
        assert len(after.settings.switches) <= len(before.settings.switches)
    assert len(Audit(seeds=(0, 1)).runs()) == 2 * 9


def test_the_table_by_hand(filled):
    rows = Audit(seeds=(0, 1)).table(filled)
    table = rows.set_index("step")
    assert list(table.index) == [step.label for step in STEPS]
    first, words = table.loc["as published"], table.loc["accuracy of words alone"]
    assert first["accuracy"] == pytest.approx(0.9) and first["bleu"] == pytest.approx(0.5)
    share = (len(SWITCHES) - 2) / len(SWITCHES)  # direction and causal mask are off there
    assert words["accuracy"] == pytest.approx(0.8 * share)
    assert words["accuracy_change"] == pytest.approx((0.8 - 0.9) * share)
    assert words["bleu_change"] == 0 and not words["trained"]
    sound = table.loc["the sound run"]
    assert sound["accuracy"] == 0 and sound["sacrebleu"] == pytest.approx(0.5)  # seeds 0 and 1
    assert sound["bleu"] == pytest.approx(0.005)  # the same on the scale 0 to 1
    assert sound["trained"] and len(set(table["run"])) == 9
    assert sound["bleu_half"] == pytest.approx(0.005 * 12.7062, rel=1e-5)  # t, 1 degree of freedom
    text, single = audit_text(rows), audit_text(Audit().table(filled))
    assert text["accuracy (%)"][0] == "90.0 ± 0.0" and text["change of BLEU"][0] == ""
    assert text["BLEU (0–1)"].iloc[-1] == "0.005 ± 0.064" and single["accuracy (%)"][0] == "90.0"
    assert text["what the published protocol does"][2] == SWITCHES["no_causal_mask"]


def test_what_is_missing_is_named_and_no_half_audit_is_reported(tmp_path):
    fill(tmp_path, leave_out=[7])
    with pytest.raises(UserError, match=r"shared embeddings.*seed 0.*sgblend audit wmt14"):
        Audit().table(tmp_path)
    assert complete(tmp_path) == []
    with pytest.raises(UserError, match="mini"):
        Audit(preset="full").runs()


def test_steps_are_no_ordinary_results(filled):
    slugs = [experiment.slug for experiment in experiments(filled)]
    assert slugs == ["wmt14_published_cpu", "wmt14_sound_cpu"]
    assert [len(experiment.frame) for experiment in experiments(filled)] == [2, 2]


def test_the_report_has_a_complete_audit_and_never_a_mini_one(tmp_path, filled, monkeypatch):
    monkeypatch.setattr("sgblend_utils.report.write_product", lambda path, figure: path)
    fill(tmp_path / "mini", preset="mini")
    assert not [p for p in write_report(tmp_path / "mini", tmp_path / "a") if "audit" in p.name]
    paths = [path for path in write_report(filled, tmp_path / "b") if "audit" in path.name]
    assert {path.name for path in paths} == {
        f"audit_wmt14_cpu.{end}" for end in ("png", "csv", "md")
    }
    said = (tmp_path / "b" / "tables" / "audit_wmt14_cpu.md").read_text("utf-8")
    assert all(step.label in said and step.published in said for step in STEPS)
    assert "seeds 0-1" in said
    plt.close("all")


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_the_waterfall_shows_the_tables_numbers(filled, seeds):
    one = Audit(seeds=seeds)
    figure, table = figure_audit(one, filled), one.table(filled)
    for axes, name, scale in zip(figure.axes, ("accuracy", "bleu"), (100, 1), strict=True):
        scores = next(drawn for drawn in axes.containers if drawn.get_label() == "score")
        widths = [bar.get_width() for bar in scores]
        assert widths == pytest.approx(list(scale * table[name]))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    assert not [1 for i, a in enumerate(boxes) for b in boxes[i + 1 :] if a.overlaps(b)]
    plt.close(figure)
