"""The report: a pure function of the store, the same bytes each time, nothing claimed beyond it."""

import base64
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from report_tools import THREE, fill_store

from sgblend_utils import bench, report
from sgblend_utils.errors import UserError
from sgblend_utils.report import claims, figures, front, plan, tables
from sgblend_utils.report.experiments import BY_NAME, digest, experiments, ranges
from sgblend_utils.stats import LEVEL, POWER, estimate
from sgblend_utils.zoo import canonical, label

ROOT = Path(__file__).parents[1]


def section(found, root=None):
    return front.section(claims.ledger(found), found, root)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """One experiment on real data, and mini runs."""
    root = fill_store(tmp_path_factory.mktemp("small"), ("gelu", "sgblend"), (0, 1), task="wmt14")
    return fill_store(root, ("gelu", "sgblend"), preset="mini", effects={"sgblend": 50})


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Two experiments; in the first, ReLU alone is far from GELU."""
    root = fill_store(tmp_path_factory.mktemp("results"), THREE, effects={"relu": -9.0})
    return fill_store(root, ("gelu", "sgblend"), (0,), task="wmt14")


@pytest.fixture(scope="module")
def written(small, tmp_path_factory) -> Path:
    """A whole report, made in a process that has no use for Keras."""
    folder = tmp_path_factory.mktemp("figures")
    code = (
        "import sys, pathlib, sgblend_utils.report as report\n"
        "report.write_report(*map(pathlib.Path, sys.argv[1:]))\n"
        "assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(small), str(folder)], check=True)
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """Build every figure, but spare the seconds of drawing it."""

    def write_product(path, product):
        plt.close("all")
        path.write_bytes(b"figure")
        return path

    monkeypatch.setattr(report, "write_product", write_product)


@pytest.fixture
def multi30k(store):
    return experiments(store)[0]


# The whole ----------------------------------------------------------------------------------------


def test_every_file_is_there_and_readable(written):
    names = set(contents(written))
    kinds, slug = ("performance", "differences", "parameters"), "wmt14_sound_cpu"
    assert {f"{kind}_{slug}.png" for kind in kinds} <= names
    for kind in ("table", "comparison"):
        table = pd.read_csv(written / "tables" / f"{kind}_{slug}.csv", comment="#")
        assert "activation" in table and len(table)
        assert f"tables/{kind}_{slug}.md" in names
    drawn = {"teaser_exact.png", "teaser_published.png", "explore.html"}
    assert {*drawn, "tables/claims.md"} <= names
    assert all(plt.imread(written / name).ndim == 3 for name in names if name.endswith(".png"))
    listed = set(pd.read_csv(written / "tables" / "index.csv", comment="#").iloc[:, 0])
    tabled = {name.removesuffix(".csv") for name in names if name.endswith(".csv")}
    assert {name for name in names if name.endswith((".png", ".gif", ".html"))} <= listed
    assert tabled - listed == {"tables/index"}


def test_mini_runs_are_never_reported(small, written):
    assert [experiment.preset for experiment in experiments(small)] == ["cpu"]
    assert not [name for name in contents(written) if "mini" in name]


def test_a_second_report_changes_no_byte_and_renews_the_readme(
    small, written, tmp_path, monkeypatch
):
    monkeypatch.setattr(report, "project_root", lambda: tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.setenv("SGBLEND_RESULTS", str(small))
    (readme := tmp_path / "README.md").write_text(f"a\n{report.BEGIN}\nold\n{report.END}\nz\n")
    assert readme in report.write_report()
    text = readme.read_text("utf-8")
    assert text.startswith("a\n") and text.endswith("\nz\n") and "old" not in text
    links = re.findall(r"\]\(figures/([^)]+)\)", text)
    assert links and set(links) <= set(contents(written))
    assert report.update_readme(text, section(experiments(small))) == text
    assert contents(tmp_path / "figures") == contents(written)


def test_an_empty_store_still_gives_the_theory_and_says_so(tmp_path, undrawn, monkeypatch):
    monkeypatch.setattr(bench, "project_root", lambda: tmp_path)  # where no benchmark is stored
    empty, folder = tmp_path / "results", tmp_path / "figures"
    report.write_report(empty, folder)
    assert {p.name for p in folder.glob("*.png")} == {"teaser_exact.png", "teaser_published.png"}
    ledger = pd.read_csv(folder / "tables" / "claims.csv", comment="#")
    assert set(ledger["verdict"]) == {claims.NOT_RUN, claims.BY_CODE}
    assert section([]).startswith("No results yet")
    fill_store(empty, ("gelu", "sgblend"), preset="mini")
    assert section(experiments(empty)).startswith("No results yet")


@pytest.mark.parametrize(
    ("activations", "seeds"),
    [(("sgblend",), (0,)), (("sgblend",), (0, 1, 2)), (("relu", "gelu"), (3, 5))],
)
def test_any_set_of_runs_can_be_reported_and_what_has_lost_its_records_goes(
    activations, seeds, tmp_path, undrawn
):
    root, folder = tmp_path / "results", tmp_path / "figures"
    found = experiments(fill_store(root, activations, seeds))
    paths = report.write_report(root, folder)
    assert len(found) == 1 and folder / "tables" / "table_multi30k_sound_cpu.csv" in paths
    drawn = folder / "performance_multi30k_sound_cpu.png" in paths
    assert drawn == (len(activations) > 1 and len(activations) * len(seeds) >= report.FEWEST)
    front_page = section(found, root)
    results = report.all_results(claims.ledger(found), found, root)
    assert found[0].seeds in results and "nan" not in front_page + results
    assert ("performance_" in results) == drawn
    assert (folder / "tables" / "RESULTS.md").read_text("utf-8") == results
    (folder / "mine.png").write_bytes(b"kept")
    report.write_report(tmp_path / "nothing", folder)
    names = set(contents(folder))
    assert "mine.png" in names and not [name for name in names if "multi30k" in name]


def test_a_readme_without_its_markers_is_left_alone():
    for text in ("no markers", f"{report.END} {report.BEGIN}", f"{report.BEGIN} {report.BEGIN}"):
        with pytest.raises(UserError, match=r"README\.md needs"):
            report.update_readme(text, "results")


def test_the_committed_tables_and_readme_are_those_of_the_committed_records(monkeypatch):
    monkeypatch.delenv("SGBLEND_RESULTS", raising=False)
    found = experiments()
    readme = (ROOT / "README.md").read_text("utf-8")
    assert report.update_readme(readme, section(found)) == readme, "run `sgblend report`"
    results = (ROOT / "figures" / "tables" / "RESULTS.md").read_text("utf-8")
    assert report.all_results(claims.ledger(found), found) == results, "run `sgblend report`"
    for experiment in found:
        path = ROOT / "figures" / "tables" / f"table_{experiment.slug}.md"
        expected = tables.to_markdown(tables.results_text(experiment))
        assert path.read_text("utf-8").startswith(expected)
        drawn = (ROOT / "figures" / f"performance_{experiment.slug}.png").is_file()
        enough = len(experiment.frame) >= report.FEWEST and len(experiment.activations) > 1
        assert drawn == enough


# Experiments --------------------------------------------------------------------------------------


def test_runs_that_differ_in_more_than_activation_and_seed_are_kept_apart(tmp_path):
    fill_store(tmp_path, ("gelu", "sgblend"), (0, 1))
    fill_store(tmp_path, ("gelu", "sgblend"), (0, 1), overrides={"epochs": 2})
    plain, changed = experiments(tmp_path)
    assert plain.slug == "multi30k_sound_cpu" and changed.slug.startswith(f"{plain.slug}_")
    assert "epochs=2" in changed.name and "epochs=2" in changed.provenance
    assert "--set epochs=2" in changed.command and "--set" not in plain.command
    assert len(plain.frame) == len(changed.frame) == 4


@pytest.mark.parametrize(
    ("part", "name", "value"), [("config", "version", 7), ("data", "digest", "other rows")]
)
def test_another_version_of_the_task_or_other_rows_are_another_experiment(
    part, name, value, tmp_path
):
    fill_store(tmp_path, ("gelu", "sgblend"), (0, 1))
    for path in tmp_path.glob("*/*s1*.json"):
        record = json.loads(path.read_text())
        record[part][name] = value
        path.write_text(json.dumps(record))
    one, other = experiments(tmp_path)
    assert one.slug != other.slug and "multi30k_sound_cpu" not in (one.slug, other.slug)
    assert sorted([*one.frame["seed"], *other.frame["seed"]]) == [0, 0, 1, 1]


def test_an_activation_with_options_is_a_row_of_its_own(tmp_path):
    fill_store(tmp_path, ("gelu", "sgblend", "sgblend(gelu=tanh)"), (0, 1))
    (experiment,) = experiments(tmp_path)
    assert experiment.activations == ["sgblend", "sgblend(gelu=tanh)", "gelu"]
    assert "SG-Blend (gelu=tanh)" in set(tables.results_text(experiment)["activation"])
    plt.close(figures.figure_differences(experiment))


def test_provenance_names_protocol_preset_seeds_and_backend(multi30k):
    for word in ("multi30k", "protocol sound", "preset cpu", "seeds 0-2", "jax", "Some CPU"):
        assert word in multi30k.provenance
    assert multi30k.provenance in report.note(multi30k)
    figure = figures.figure_differences(multi30k)
    assert multi30k.provenance in figure.get_supxlabel()
    plt.close(figure)


def test_seeds_are_named_where_activations_have_different_ones(tmp_path):
    fill_store(tmp_path, ("gelu",), (0, 1, 2))
    fill_store(tmp_path, ("relu",), (0, 2))
    assert experiments(tmp_path)[0].seeds == "seeds 0-2 (GELU); 0,2 (ReLU)"
    assert ranges([5, 0, 1, 2, 8, 7]) == "0-2,5,7-8"


def test_digests_follow_the_numbers():
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    assert digest(frame) == digest(frame + 1e-12) != digest(frame + 1e-3)


# Tables and titles --------------------------------------------------------------------------------


def test_the_table_holds_what_the_records_hold(multi30k):
    own = [
        100 * record["metrics"]["test_accuracy"]
        for record in multi30k.frame["record"]
        if record["config"]["activation"] == "relu"
    ]
    row, interval = tables.results(multi30k).loc["relu"], estimate(own).interval()
    assert row["seeds"] == len(own) == 3
    assert row["test_accuracy_mean"] == pytest.approx(np.mean(own))
    assert (row["test_accuracy_low"], row["test_accuracy_high"]) == pytest.approx(interval)
    text = tables.results_text(multi30k).set_index("activation").loc["ReLU", "test accuracy (%)"]
    assert text == f"{np.mean(own):.2f} ± {interval[1] - np.mean(own):.2f}"


def test_titles_say_what_the_numbers_say(store, multi30k):
    assert tables.message(multi30k, BY_NAME["bleu"]) == "BLEU: ReLU worse"
    assert tables.message(multi30k, BY_NAME["test_nll"]) == "Cross-entropy: ReLU worse"
    names = pd.Index(["relu", "gelu", "silu", "mish"])
    assert tables.listed(names[:3], 9) == "ReLU, GELU, SiLU" and tables.listed(names, 9) == "4 of 9"
    one_seed = experiments(store)[1]
    assert tables.message(one_seed, BY_NAME["bleu"]) == "BLEU: one seed, no test"


def test_a_loss_is_one_of_a_token_only_where_there_are_tokens(multi30k):
    frame = multi30k.frame.drop(columns="bleu")
    images = dataclasses.replace(multi30k, task="cifar10", frame=frame)
    for experiment, unit in ((multi30k, "(nats/token)"), (images, "(nats)")):
        (loss,) = [m for m in experiment.metrics if m.name == "test_nll"]
        assert loss.label.endswith(unit) and loss.better == -1
        assert loss.label in set(tables.comparison_text(experiment)["metric"])
        assert loss.label in tables.results_text(experiment).columns


def test_a_bleu_near_zero_is_not_compared(tmp_path):
    fill_store(tmp_path, ("gelu", "sgblend"), range(6), task="wmt14", noise=0.05)
    (experiment,) = experiments(tmp_path)
    assert "not compared" not in tables.message(experiment, BY_NAME["bleu"])
    experiment.frame["bleu"] -= 29
    assert (
        tables.message(experiment, BY_NAME["bleu"]) == "BLEU: at most 5 in every run, not compared"
    )
    assert "only cross-entropy and accuracy compare" in report.note(experiment)


def test_scores_with_the_answer_given_are_not_compared(tmp_path):
    forced = {"reported_bleu": 0.9, "reported_accuracy": 0.99}
    shared = {"task": "wmt14", "protocol": "published", "metrics": forced}
    fill_store(tmp_path, ("gelu", "sgblend"), range(6), effects={"sgblend": 5}, **shared)
    (experiment,) = experiments(tmp_path)
    given = {"test_nll", "test_accuracy"}
    assert not given & {metric.name for metric in experiment.metrics}
    assert not given & set(experiment.frame) and given <= set(
        experiment.frame["record"][0]["metrics"]
    )
    assert not given & set(tables.comparison(experiment)["metric"])


def test_the_published_numbers_say_where_they_come_from():
    for path in (ROOT / "data" / "published").glob("*.csv"):
        assert "github.com/Gaurav7888/SGBlend" in path.read_text("utf-8").splitlines()[0]


def test_numbers_are_written_with_a_true_minus_sign():
    assert tables.number(-0.004, 2, sign=True) == "0.00" and tables.number(-1, 1) == "−1.0"
    assert tables.number(float("nan"), 2) == tables.interval(np.nan, np.nan, 2) == "–"
    assert tables.to_markdown(pd.DataFrame({"a": ["x|y"]})) == "| a |\n| --- |\n| x\\|y |"


# Figures ------------------------------------------------------------------------------------------


def dots(axes) -> np.ndarray:
    """x of the runs drawn, activation × seed."""
    return np.array(
        [one.get_offsets()[:, 0] for one in axes.collections if one.get_zorder() == 3]
    ).T


def test_the_difference_figure_shows_each_pair_and_the_intervals_of_the_table(multi30k):
    axes = figures.figure_differences(multi30k).axes[0]
    values = multi30k.frame.pivot(index="activation", columns="seed", values="bleu")
    names = [label(name) for name in ("sgblend", "relu")]
    assert [text.get_text() for text in axes.get_yticklabels()] == names
    expected = (values - values.loc["gelu"]).loc[["sgblend", "relu"]]
    np.testing.assert_allclose(dots(axes), expected)
    bars = [one for one in axes.collections if isinstance(one, LineCollection)]
    table = tables.comparison(multi30k).query("metric == 'bleu'").set_index("activation")
    for bar, end in zip(bars, ("", "_corrected"), strict=True):
        ends = table.loc[["sgblend", "relu"], [f"low{end}", f"high{end}"]]
        np.testing.assert_allclose(np.array(bar.get_segments())[:, :, 0], ends)
    left, right = axes.get_xlim()
    assert left < expected.min(axis=None) and right > 0
    assert not [line for line in axes.lines if line.get_marker() == figures.HOLLOW["marker"]]
    plt.close("all")


def test_differences_by_the_papers_rules_show_what_the_paper_prints():
    (published,) = [one for one in experiments() if one.slug == "wmt14_published_cpu"]
    for axes, wanted in zip(figures.figure_differences(published).axes, (1.3, 0.013), strict=True):
        (printed,) = [line for line in axes.lines if line.get_marker() == figures.HOLLOW["marker"]]
        assert printed.get_xdata()[0] == pytest.approx(wanted)
    plt.close("all")


def test_an_axis_is_made_for_the_runs_and_no_run_hides_another(tmp_path):
    fill_store(tmp_path, ("gelu", "relu"), (0, 1), noise=2.0)  # two seeds: intervals are huge
    figure = figures.figure_performance(experiments(tmp_path)[0])
    for axes, metric in zip(figure.axes, ("bleu", "test_nll", "test_accuracy"), strict=False):
        (left, right), shown = axes.get_xlim(), dots(axes)
        assert left < shown.min() and right > shown.max()
        assert right - left <= 2.5 * max(np.ptp(shown), BY_NAME[metric].span)
        runs = [one for one in axes.collections if one.get_zorder() == 3]
        heights = np.concatenate([one.get_offsets()[:, 1] for one in runs])
        assert len(set(heights)) == len(heights) == 4
    plt.close("all")


def test_dead_units_are_on_an_axis_that_begins_at_none(multi30k):
    experiment = dataclasses.replace(multi30k, frame=multi30k.frame.assign(dead_share=1.2))
    axes = figures.figure_performance(experiment).axes[3]
    left, right = axes.get_xlim()
    assert axes.get_xlabel() == "dead units (%)" and -0.1 < left < 1.2 < right
    plt.close("all")


def test_the_teaser_shows_three_symmetric_slopes_on_the_papers_range():
    for published, peak in ((True, 1.09984), (False, 1.12890)):  # the published GELU is a Swish
        figure = figures.figure_teaser(published)
        lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 100]
        assert [line.get_label() for line in lines] == ["SG-Blend", "Swish (β = 1)", "GELU"]
        for line in lines:
            assert (line.get_xdata()[0], line.get_xdata()[-1]) == (-5.0, 5.0)
            np.testing.assert_allclose(line.get_ydata() + line.get_ydata()[::-1], 1, atol=1e-12)
        assert lines[2].get_ydata().max() == pytest.approx(peak, abs=1e-4)
        plt.close(figure)


# The ledger ---------------------------------------------------------------------------------------

WMT14 = next(e for e in plan.plan()["experiments"] if e["protocol"] == "published")


def planned(root: Path, gains: dict[str, float], listed=None, **more) -> pd.DataFrame:
    """The ledger of made-up runs of the published protocol, by the plan, with BLEU from 0 to 1."""
    noise = 0.0005
    cells = {"activations": WMT14["activations"], "seeds": WMT14["seeds"], **more}
    rng = np.random.default_rng(0)
    for seed in cells["seeds"]:
        shared = rng.normal(0.4, 0.05)
        for name in cells["activations"]:
            bleu = shared + gains.get(name, 0.0) + noise * rng.normal()
            metrics = {"reported_bleu": bleu, "reported_accuracy": 0.7 + 10 * noise * rng.normal()}
            metrics["reported_dead_share"] = 0.0
            shape = {"task": "wmt14", "protocol": "published", "metrics": metrics}
            fill_store(root, (name,), (seed,), **shape)
    return claims.ledger(experiments(root), listed).set_index("claim")


def test_the_ledger_has_every_claim_once_with_a_verdict_and_counts_them(store):
    ledger, listed = claims.ledger(experiments(store)), plan.committed_table()
    assert list(ledger["claim"]) == list(listed["claim"]) and listed["claim"].is_unique
    assert set(ledger["verdict"]) <= set(claims.VERDICTS)
    assert set(listed.query("kind != 'overhead'")["metric"].dropna()) <= set(BY_NAME)
    text = claims.ledger_text(ledger)
    assert len(text) == len(ledger) and not text.map(lambda cell: "nan" in cell).any(axis=None)
    counts = [int(n) for n in re.findall(r"(\d+) (?!claims)", claims.summary(ledger))]
    assert sum(counts) == len(ledger)


def test_the_plan_covers_every_claim_and_no_pilot_seed():
    fixed = plan.plan()
    assert (1 - fixed["level"], fixed["power"]) == (LEVEL, POWER)  # which the statistics use
    for claim in plan.committed_table().query("kind != 'software'").to_dict("records"):
        assert fixed["margins"][claim["metric"]]["value"] > 0
        if claim["kind"] == "difference":
            rounds, pair = plan.rounds_of(claim), {claim["activation"], claim["baseline"]}
            assert all(pair <= set(entry["activations"]) for entry in rounds)
            seeds = [seed for entry in rounds for seed in entry["seeds"]]
            assert len(seeds) == len(set(seeds))  # a second round has seeds of its own
    listed = plan.committed_table().set_index("claim")[["task", "protocol"]]
    for entry in fixed["again"]:
        assert (listed.loc[entry["claims"]] == [entry["task"], entry["protocol"]]).all(axis=None)
        first = plan.entry_of(entry["task"], entry["protocol"])
        assert all(entry[name] == first[name] for name in ("preset", "backend", "primary"))
    for entry in [*fixed["experiments"], *fixed["again"]]:
        assert min(entry["seeds"]) >= fixed["first_seed"] and "gelu" in entry["activations"]
        assert [canonical(name) for name in entry["activations"]] == entry["activations"]
        assert entry["primary"] in fixed["margins"]
    assert all(margin["reason"] for margin in fixed["margins"].values())


def test_verdicts_follow_what_was_put_into_the_records(tmp_path):
    gains = {"sgblend": 0.015, "sswish": 0.015, "relu": 0.03}
    ledger = planned(tmp_path, gains)
    verdicts = ledger["verdict"]
    assert verdicts["bleu-gelu"] == verdicts["bleu-silu"] == "gain"
    assert verdicts["bleu-sswish"] == "no relevant difference" and verdicts["bleu-relu"] == "loss"
    assert verdicts["accuracy-gelu"] == "undecided" and ledger.loc["accuracy-gelu", "needed"] > 8
    assert verdicts["dead-gelu"] == "not testable"  # no unit is dead, with or without SG-Blend
    assert verdicts["general-nll-gelu"] == "not run" == verdicts["best-of-13"]
    sizes = ledger["size_found"]
    assert (sizes["bleu-gelu"], sizes["bleu-relu"]) == ("reached", "excluded")
    frame = experiments(tmp_path)[0].frame
    expected = frame[frame["activation"].isin(["sgblend", "gelu"])]["key"]
    assert sorted(ledger.loc["bleu-gelu", "records"].split()) == sorted(expected)


def test_only_seeds_and_activations_of_the_plan_count(tmp_path):
    gains = {"sgblend": 0.015}
    plain = planned(tmp_path, gains)
    shape = {"task": "wmt14", "protocol": "published"}
    metrics = {"reported_bleu": 0.9, "reported_accuracy": 0.1, "reported_dead_share": 0.5}
    fill_store(tmp_path, ("gelu", "sgblend"), (0, 1, 99), metrics=metrics, **shape)  # the pilot's
    fill_store(tmp_path, ("mish",), WMT14["seeds"], metrics=metrics, **shape)
    more = {"overrides": {"learning_rate": 1.0}, "metrics": metrics, **shape}
    fill_store(tmp_path, ("gelu", "sgblend"), WMT14["seeds"], **more)
    again = claims.ledger(experiments(tmp_path)).set_index("claim")
    pd.testing.assert_frame_equal(plain, again)


def test_a_second_round_decides_by_its_own_runs_and_only_when_it_is_whole(tmp_path):
    claim = plan.committed_table().set_index("claim", drop=False).loc["accuracy-relu"]
    again = plan.rounds_of(claim)[1]
    first = planned(tmp_path, {})
    part = planned(tmp_path, {}, **again | {"seeds": again["seeds"][:-1]})
    pd.testing.assert_frame_equal(first, part)
    whole = planned(tmp_path, {}, **again)
    row = whole.loc["accuracy-relu"]
    assert row["seeds"] == len(again["seeds"]) and row["experiment"].endswith("second round")
    one, two = experiments(tmp_path)  # two experiments, each with tables and figures of its own
    assert (one.again, two.again) == (False, True) and two.slug == f"{one.slug}_second"
    assert one.name in two.name and "second round" in two.name and "second round" in two.title
    assert set(one.frame["seed"]) == set(WMT14["seeds"])
    frame = two.frame.set_index("key")
    assert set(frame.loc[row["records"].split(), "seed"]) == set(again["seeds"])
    assert row["range"] == "11-40"
    assert row["difference"] != first.loc["accuracy-relu", "difference"]
    others = [name for name in first.index if name not in again["claims"]]
    pd.testing.assert_series_equal(whole.loc[others, "low"], first.loc[others, "low"])
    # Rows without a round of their own show what these seeds say, beside their verdict.
    assert first["other_range"].isna().all()
    shown = whole.dropna(subset="other_range")
    assert set(shown.index) == {"bleu-gelu", "bleu-relu"} and set(shown["other_range"]) == {"11-40"}
    bleu = two.frame.pivot(index="seed", columns="activation", values="reported_bleu")
    paired = (bleu["sgblend"] - bleu["relu"]).mean()
    low, middle, high = shown.loc["bleu-relu", ["other_low", "other_difference", "other_high"]]
    assert low < middle < high and middle == pytest.approx(paired)


def test_a_difference_that_other_seeds_do_not_show_is_called_so():
    row = {"task": "wmt14", "protocol": "sound", "metric": "test_nll", "verdict": "loss"}
    row |= {"other_range": "11-24", "other_difference": 0.0005, "other_high": 0.004}
    row["difference"] = 0.007

    def said(**more):
        return front.stated(SimpleNamespace(**row | more))

    assert said(other_low=-0.003) == (
        "WMT14 (not seen again in seeds 11-24: +0.0005 [−0.0030, 0.0040])"
    )
    assert said(other_low=0.0001).startswith("WMT14 (seen again in seeds 11-24: ")
    assert said(other_low=0.0001, difference=-0.007).startswith("WMT14 (not seen again in")
    assert said(other_low=0.0001, verdict="undecided") == "WMT14" == said(other_range=np.nan)


def test_there_is_no_verdict_before_all_planned_runs_are_there(tmp_path):
    most = planned(tmp_path, {"sgblend": 0.015}, seeds=WMT14["seeds"][:-1])
    row = most.loc["bleu-gelu"]
    assert row["verdict"] == "not run" and np.isnan(row["difference"]) and row["seeds"] == 7
    text = claims.ledger_text(most.reset_index())
    assert text["seeds"][list(most.index).index("bleu-gelu")] == "7 of 8"
    planned(tmp_path, {"sgblend": 0.015}, activations=WMT14["activations"][:-1])
    verdicts = claims.ledger(experiments(tmp_path)).set_index("claim")["verdict"]
    assert verdicts["bleu-gelu"] == "not run"  # ReLU's last run would change the deviation
    whole = planned(tmp_path, {"sgblend": 0.015})
    assert whole.loc["bleu-gelu", "verdict"] == "gain"


def test_best_of_all_is_better_than_the_closest_rival(tmp_path, monkeypatch):
    names = ["gelu", "silu", "relu", "sgblend"]
    entry = WMT14 | {"activations": names}
    fixed = plan.plan() | {"experiments": [entry]}
    for module in (plan, claims):
        monkeypatch.setattr(module, "plan", lambda: fixed)
    claim = {"claim": "best", "kind": "best", "statement": "", "source": "", "task": "wmt14"}
    claim |= {"protocol": "published", "metric": "reported_bleu", "activation": "sgblend"}
    listed = pd.DataFrame(
        [claim | {"baseline": np.nan, "side": 1, "size": size} for size in (3, 4)]
    )
    for rival, expected in ((0.0, "gain"), (0.0145, "undecided"), (0.03, "loss")):
        gains, root = {"sgblend": 0.015, "silu": rival}, tmp_path / str(rival)
        verdicts = planned(root, gains, listed, activations=names)["verdict"]
        assert list(verdicts) == [expected, "not run"]  # the second wants four rivals


def test_a_claim_about_what_the_plan_does_not_run_is_refused(tmp_path):
    listed = plan.committed_table().head(1)
    for column, value in (("activation", "mish"), ("baseline", "mish"), ("task", "cifar100")):
        with pytest.raises(
            UserError, match=f"no .* on .*: {listed['claim'].item()} needs it"
        ) as told:
            claims.ledger([], listed.assign(**{column: value}))
        assert value in str(told.value)


def test_the_front_page_says_in_words_what_the_verdicts_say(tmp_path):
    planned(tmp_path, {"sgblend": 0.015, "relu": 0.03})
    found = experiments(tmp_path)
    text = section(found)
    assert "By the paper's own rules" in text and "1 undecided, 9 not run" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| WMT14, published")]
    assert "| 3-10 | **undecided** |" in row
    losses = [line for line in text.splitlines() if "cross-entropy (nats" in line]
    assert len(losses) == 9
    assert all(("30k" in line or "WMT" in line) == ("nats/token" in line) for line in losses)
    assert "where it gained: none so far" in text
    assert "Learned functions" not in text
    sites = {"gelu_distance_by_site": {"a": 0.0123, "b": 0.2}}
    shape = {"task": "wmt14", "metrics": sites}
    fill_store(tmp_path, ("gelu", "sgblend", "relu"), range(3, 8), noise=0.001, **shape)
    found = experiments(tmp_path)
    text = section(found)
    assert "WMT14 0.012 to 0.200" in text
    verdict = claims.ledger(found).set_index("claim").loc["sound-nll-gelu", "verdict"]
    assert f"| 3-7 | **{verdict}** |" in text and verdict != claims.NOT_RUN
    ledger = claims.ledger(found)
    effects = front.effects(ledger).set_index(["task", "protocol"])
    claim = ledger.set_index("claim").loc["sound-nll-gelu"]
    assert effects.loc[("wmt14", "sound"), "difference"] == pytest.approx(
        -claim["difference"] / plan.plan()["margins"]["test_nll"]["value"]
    )
    assert front.pooled(front.effects(ledger)) == ""  # one sound task


def test_what_the_test_examples_leave_open_is_that_of_a_paired_difference():
    rng, count, records = np.random.default_rng(0), 4000, []
    for name, share in (("gelu", 0.8), ("gelu", 0.8), ("sgblend", 0.82), ("sgblend", 0.82)):
        right = rng.random(count) < share
        wrong = int((~right).sum())
        bits = base64.b64encode(np.packbits(right)).decode()
        metrics = {"test_correct": bits, "confusion": [[count - wrong, wrong], [0, 0]]}
        records.append((name, {"metrics": metrics}, right))
    frame = pd.DataFrame(records, columns=["activation", "record", "right"])
    one = figures.Experiment("imdb", "sound", "cpu", "jax", {}, "", frame)
    found = tables.sampling(one, "sgblend")
    # Of independent runs, two each: the variance of a mean of two Bernoulli variables, twice.
    expected = 196 * np.sqrt((0.8 * 0.2 + 0.82 * 0.18) / 2 / count)
    assert found == pytest.approx(expected, rel=0.05)
    again = rng.integers(0, count, (2000, count))  # and by resampling the examples
    right = {name: np.mean([*own], axis=0) for name, own in frame.groupby("activation")["right"]}
    draws = 100 * (right["sgblend"] - right["gelu"])[again].mean(axis=1)
    assert found == pytest.approx(1.96 * draws.std(), rel=0.1)
    assert tables.sampling(one, "gelu") == 0.0
    records[0][1]["metrics"].pop("test_correct")
    assert np.isnan(tables.sampling(one, "sgblend"))


def test_the_mean_over_tasks_is_that_of_dersimonian_and_laird():
    rows = {"activation": "sgblend", "protocol": "sound"}
    table = pd.DataFrame({"difference": [-0.1, -0.7, 2.0], "variance": [1.0, 0.02, 0.2], **rows})
    weights = 1 / table["variance"]
    mean = np.average(table["difference"], weights=weights)
    q = (weights * (table["difference"] - mean) ** 2).sum()
    tau = (q - 2) / (weights.sum() - (weights**2).sum() / weights.sum())
    own = 1 / (table["variance"] + tau)
    mean, error = np.average(table["difference"], weights=own), own.sum() ** -0.5
    ends = f"[{tables.number(mean - 1.96 * error, 1)}, {tables.number(mean + 1.96 * error, 1)}]"
    assert front.pooled(table) == (
        f"; mean of 3 tasks {tables.number(mean, 1, True)} {ends}, I² {100 * (q - 2) / q:.0f} %"
    )
    alike = front.pooled(table.assign(difference=[-0.5, -0.7, -0.6]))
    mean = np.average([-0.5, -0.7, -0.6], weights=weights)
    assert f"{tables.number(mean, 1, True)} [" in alike and alike.endswith("I² 0 %")
