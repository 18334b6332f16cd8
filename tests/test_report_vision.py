"""Figures of an image condition show the records' numbers, and nothing where there are none."""

import io
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from report_tools import fill_store

from sgblend_utils.datasets.images import CIFAR10_CLASSES, CORRUPTIONS
from sgblend_utils.report import vision
from sgblend_utils.report.conditions import BY_NAME, conditions
from sgblend_utils.report.tables import message
from sgblend_utils.style import LABELS
from sgblend_utils.theory import closed_form

THREE = ("relu", "gelu", "sgblend")
SITES = ("stem", "stage_1_0_0", "stage_1_0_out", "stage_2_0_0", "stage_2_0_out")
LAYERS = ("stem", "stage_1_0_0", "stage_1_0_1", "head")


def add_vision(path: Path) -> None:
    """Give a made-up record what only image runs have, drawn from its activation and seed."""
    record = json.loads(path.read_text("utf-8"))
    config, metrics = record["config"], record["metrics"]
    rng = np.random.default_rng([config["seed"], *config["activation"].encode()])
    confusion = rng.integers(0, 20, (10, 10)) + 60 * np.eye(10, dtype=int)
    del metrics["bleu"], metrics["bleu_signature"]
    metrics["confusion"] = confusion.tolist()
    metrics["test_accuracy"] = round(float(confusion.trace() / confusion.sum()), 5)
    metrics["robustness"] = {
        kind: {str(s): round(0.6 - s / 4 + 0.02 * rng.random(), 5) for s in strengths}
        for kind, strengths in CORRUPTIONS.items()
    }
    for kind, found in metrics["robustness"].items():
        metrics[f"{kind}_accuracy"] = round(float(np.mean(list(found.values()))), 5)
    record["gradients"] = []
    for epoch in range(1, 6):
        norms = {layer: round(0.1 + rng.random(), 5) for layer in LAYERS}
        scale = None if epoch == 2 else round(200 * epoch + rng.random(), 2)
        norm = sum(value**2 for value in norms.values()) ** 0.5
        row = {"epoch": epoch, "norm": norm, "norm_by_layer": norms, "noise_scale": scale}
        record["gradients"].append(row)
    if config["activation"] == "sgblend":
        record["activation_parameters"] = [
            {s: {"alpha": rng.random(), "beta": 1 + rng.random(), "gamma": 5.0} for s in SITES}
            for _ in range(6)
        ]
    path.write_text(json.dumps(record), "utf-8")


def made(root: Path, activations=THREE, seeds=(0, 1)):
    fill_store(root, activations, seeds, task="cifar10")
    for path in root.rglob("*.json"):
        add_vision(path)
    (condition,) = conditions(root)
    return condition


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return made(tmp_path_factory.mktemp("vision"))


@pytest.fixture(scope="module")
def translation(tmp_path_factory):
    return conditions(fill_store(tmp_path_factory.mktemp("text"), THREE, (0,)))[0]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def records(condition, activation):
    frame = condition.frame
    return list(frame.loc[frame["activation"] == activation, "record"])


def line(axes, name):
    """y values of an activation's line."""
    (found,) = [one for one in axes.get_lines() if one.get_label() == LABELS[name]]
    return np.asarray(found.get_ydata(), float)


def test_confusion_is_the_mean_over_runs_in_per_cent_of_the_true_class(images):
    counts = [np.array(r["metrics"]["confusion"]) for r in records(images, "gelu")]
    share = vision.confusion(images, "gelu")
    mean = (counts[0] + counts[1]) / 2
    expected = 100 * mean[3, 5] / mean[3].sum()
    assert share.loc["cat", "dog"] == pytest.approx(expected)
    assert np.allclose(share.sum(axis=1), 100)
    axes = vision.figure_confusion(images).axes
    drawn = [np.asarray(one.collections[0].get_array()).reshape(10, 10) for one in axes[:3]]
    np.testing.assert_allclose(drawn[0], share)
    np.testing.assert_allclose(drawn[2], drawn[1] - drawn[0])
    assert [t.get_text() for t in axes[0].get_xticklabels()] == list(CIFAR10_CLASSES)
    off = share.where(~np.eye(10, dtype=bool), 0.0)
    true, said = off.stack().idxmax()
    assert f"{off.to_numpy().max():.1f} % of {true}s called {said}" in axes[0].get_title("left")


def test_robustness_lines_are_means_over_seeds_and_begin_at_the_clean_accuracy(images):
    axes = vision.figure_robustness(images).axes
    for name in THREE:
        runs = [r["metrics"] for r in records(images, name)]
        expected = [100 * np.mean([m["test_accuracy"] for m in runs])]
        for strength in CORRUPTIONS["noise"]:
            values = [m["robustness"]["noise"][str(strength)] for m in runs]
            expected.append(100 * np.mean(values))
        np.testing.assert_allclose(line(axes[0], name), expected)
    np.testing.assert_allclose(line(axes[2], "relu"), line(axes[0], "relu") - line(axes[0], "gelu"))
    assert not line(axes[3], "gelu").any()
    assert axes[3].get_title("left") == message(images, BY_NAME["blur_accuracy"])


def test_gradients_are_those_of_the_records_and_an_unknown_noise_scale_is_a_gap(images):
    axes = vision.figure_gradients(images).axes
    runs = [r["gradients"] for r in records(images, "sgblend")]
    (stem,) = [one for one in axes[1].get_lines() if one.get_label() == "stem"]
    expected = [np.mean([run[e]["norm_by_layer"]["stem"] for run in runs]) for e in range(5)]
    np.testing.assert_allclose(stem.get_ydata(), expected)
    scale = line(axes[2], "relu")
    runs = [r["gradients"] for r in records(images, "relu")]
    assert np.isnan(scale[1])
    assert scale[4] == pytest.approx(np.mean([run[4]["noise_scale"] for run in runs]))


def test_shapes_are_the_last_epochs_without_the_constant(images):
    figure = vision.figure_shapes(images)
    assert len(figure.axes) == 2 * 3  # stem, stage 1, stage 2
    values = records(images, "sgblend")[0]["activation_parameters"][-1]["stem"]
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
    def title(alphas, betas):
        values = zip(SITES, alphas, betas, strict=True)
        last = {site: {"alpha": a, "beta": b, "gamma": 0.0} for site, a, b in values}
        (path,) = tmp_path.rglob("*.json")
        record = json.loads(path.read_text("utf-8"))
        record["activation_parameters"][-1] = last
        path.write_text(json.dumps(record), "utf-8")
        return vision.figure_shapes(conditions(tmp_path)[0]).get_suptitle()

    made(tmp_path, ("sgblend",), seeds=(0,))
    outside = title((-0.1, 0.5, 1.2, 0.0, 1.0), (1.0, -0.5, 1.0, 1.0, 1.0))
    assert "at 3 of 5 sites" in outside
    inside = title((0.0, 0.0, 0.5, 1.0, 1.0), (1.0,) * 5)
    assert "−0.28 to −0.17" in inside  # from SiLU to GELU


def test_where_there_is_nothing_there_is_no_figure(translation):
    assert [draw(translation) for draw in vision.BY_CONDITION.values()] == [None] * 4


@pytest.mark.parametrize(
    ("activations", "figures"),
    [
        (("gelu",), {"confusion": 1, "robustness": 2, "gradients": 2}),
        (("sgblend",), {"confusion": 1, "robustness": 2, "gradients": 2, "shapes": 6}),
        (("relu", "gelu"), {"confusion": 1, "robustness": 4, "gradients": 2}),
        (("relu",), {"robustness": 2, "gradients": 1}),
    ],
)
def test_few_runs_give_the_panels_they_can(tmp_path, activations, figures):
    condition = made(tmp_path, activations, seeds=(0,))
    drawn = {name: draw(condition) for name, draw in vision.BY_CONDITION.items()}
    assert {name: len(one.axes) for name, one in drawn.items() if one} == figures


def test_the_same_records_give_the_same_picture(images):
    def picture():
        buffer = io.BytesIO()
        vision.figure_robustness(images).savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()

    assert picture() == picture()
