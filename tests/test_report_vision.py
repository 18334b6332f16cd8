"""The figures of what the activations learned show the records' numbers."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from report_tools import THREE, fill_store

from sgblend_utils import report
from sgblend_utils.report import figures
from sgblend_utils.report.experiments import experiments
from sgblend_utils.theory import closed_form

SITES = ("stem", "stage_1_0_0", "stage_1_0_out", "stage_2_0_0", "stage_2_0_out")


def made(root, activations=THREE, seeds=(0, 1), last=None):
    """Runs on images, whose SG-Blend learned made-up values; `last`: site -> (α, β) at the end."""
    for path in fill_store(root, activations, seeds, task="cifar10").rglob("*.json"):
        record = json.loads(path.read_text("utf-8"))
        config = record["config"]
        rng = np.random.default_rng([config["seed"], *config["activation"].encode()])
        if config["activation"] == "sgblend":
            steps = [
                {s: {"alpha": rng.random(), "beta": 1 + rng.random(), "gamma": 5.0} for s in SITES}
                for _ in range(6)
            ]
            for site, (alpha, beta) in (last or {}).items():
                steps[-1][site] |= {"alpha": alpha, "beta": beta}
            path.write_text(json.dumps(record | {"activation_parameters": steps}), "utf-8")
    (experiment,) = experiments(root)
    return experiment


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return made(tmp_path_factory.mktemp("vision"))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def learned_last(experiment):
    frame = experiment.frame
    chosen = frame.loc[frame["activation"] == "sgblend", "record"]
    return [record["activation_parameters"][-1] for record in chosen]


def learned_steps(experiment):
    """Of the first seed."""
    frame = experiment.frame.query("activation == 'sgblend'")
    return frame.loc[frame["seed"].idxmin(), "record"]["activation_parameters"]


def test_shapes_are_the_last_epochs_without_the_constant(images):
    figure = figures.figure_shapes(images)
    assert len(figure.axes) == 2 * 3  # stem, stage 1, stage 2
    values = learned_last(images)[0]["stem"]
    drawn = figure.axes[0].get_lines()[2]
    points = np.asarray(drawn.get_xdata())
    whole = closed_form("sgblend", **values)(points)
    np.testing.assert_allclose(drawn.get_ydata(), whole + values["alpha"] * values["gamma"])
    assert len(figure.axes[0].get_lines()) == 2 + 2  # GELU, SiLU, one site of two seeds
    assert len(figure.axes[1].get_lines()) == 2 + 4
    # Minus GELU it vanishes at 0, whatever was learned.
    below = figure.axes[3].get_lines()[2]
    assert np.interp(0, below.get_xdata(), below.get_ydata()) == pytest.approx(0, abs=1e-12)


def test_the_title_counts_sites_that_left_the_blend(tmp_path):
    values = zip((-0.1, 0.5, 1.2, 0.0, 1.0), (1.0, -0.5, 1.0, 1.0, 1.0), strict=True)
    experiment = made(tmp_path, ("sgblend",), (0,), dict(zip(SITES, values, strict=True)))
    assert "at 3 of 5 sites" in figures.figure_shapes(experiment).get_suptitle()
    assert figures.beyond(figures.learned(experiment)).tolist() == [True] * 3 + [False] * 2


def test_parameters_have_a_line_for_each_site_and_seed(images):
    figure = figures.figure_parameters(images)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["SG-Blend: α", "SG-Blend: β"]  # γ stays at 5
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata())]
    ends = [last[site]["alpha"] for last in learned_last(images) for site in SITES]
    assert sorted(line.get_ydata()[-1] for line in lines) == pytest.approx(sorted(ends))
    assert images.provenance in " ".join(figure.get_supxlabel().split())


def test_one_layer_at_all_sites_is_one_line_a_seed(tmp_path):
    images = made(tmp_path)
    for record in images.frame["record"]:
        for sites in record["activation_parameters"]:
            sites |= dict.fromkeys(sites, next(iter(sites.values()), None))
    figure = figures.figure_parameters(images)
    assert [len(line.get_xdata()) for line in figure.axes[0].get_lines()][:2] == [6, 6]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["one layer at all sites"]
    for record in images.frame["record"]:
        steps = record["activation_parameters"]
        steps[:] = [{"stem": sites["stem"]} if sites else sites for sites in steps]
    figure = figures.figure_parameters(images)  # of a single site that is not said
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["stem"]


def test_a_parameter_that_nothing_learns_has_no_panel(tmp_path):
    images = made(tmp_path)
    for record in images.frame["record"]:
        for sites in record["activation_parameters"]:
            for at, values in enumerate(sites.values()):
                values["gamma"] = 0.1 * at  # fixed, at each site where it will
    titles = [axes.get_title("left") for axes in figures.figure_parameters(images).axes]
    assert titles == ["SG-Blend: α", "SG-Blend: β"]


def test_the_animation_shows_each_epoch_of_the_site_that_moved_farthest(tmp_path):
    ends = dict.fromkeys(SITES, (0.5, 1.0)) | {"stage_2_0_0": (-1.0, -0.5)}
    images = made(tmp_path, last=ends)
    animations = [figures.animation_learning(images) for _ in range(2)]
    paths = [tmp_path / f"{i}.gif" for i in range(2)]
    drawn = [report.write_product(*one).read_bytes() for one in zip(paths, animations, strict=True)]
    assert drawn[0] == drawn[1] and len(drawn[0]) < 2**20
    assert Image.open(paths[0]).n_frames == 6
    animation = animations[0]
    (axes,) = animation._fig.axes
    steps = [step["stage_2_0_0"] for step in learned_steps(images)]
    for epoch in (0, 3, 5):
        (line,) = animation._func(epoch)
        values = {name: steps[epoch][name] for name in ("alpha", "beta")}
        wanted = closed_form("sgblend", **values)(np.asarray(line.get_xdata()))
        np.testing.assert_allclose(line.get_ydata(), wanted)
        assert f"epoch {epoch}:" in axes.get_title("left")
    assert "stage_2_0_0" in animation._fig.get_suptitle()
    assert figures.animation_learning(made(tmp_path / "other", ("gelu", "relu"))) is None


def test_where_there_is_nothing_there_is_no_figure(tmp_path):
    text = experiments(fill_store(tmp_path / "text", THREE, (0,)))[0]
    assert figures.figure_shapes(text) is None
    plain = made(tmp_path / "images", ("relu", "gelu"), (0,))
    assert figures.figure_shapes(plain) is figures.figure_parameters(plain) is None
    assert figures.figure_differences(made(tmp_path / "one", ("relu",), (0,))) is None
