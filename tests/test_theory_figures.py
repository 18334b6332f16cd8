"""The teaser figure, the shared style and the notebooks' first line."""

import os
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sgblend_utils import style
from sgblend_utils.report.teaser import figure_teaser, teaser_curves
from sgblend_utils.zoo import ZOO


def test_the_published_gelu_is_a_swish_and_the_exact_one_is_not():
    published, exact = teaser_curves(True)["gelu"][1], teaser_curves(False)["gelu"][1]
    assert published.max() == pytest.approx(1.09984, abs=1e-4)
    assert exact.max() == pytest.approx(1.12890, abs=1e-4)


@pytest.mark.parametrize("published", [True, False])
def test_the_teaser_shows_three_symmetric_slopes_on_the_papers_range(published):
    figure = figure_teaser(published)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 100]
    assert [line.get_label() for line in lines] == ["SG-Blend", "Swish (β = 1)", "GELU"]
    for line in lines:
        assert (line.get_xdata()[0], line.get_xdata()[-1]) == (-5.0, 5.0)
        np.testing.assert_allclose(line.get_ydata() + line.get_ydata()[::-1], 1, atol=1e-12)
    plt.close(figure)


def test_every_activation_has_its_own_look():
    styles = [style.activation_style(name) for name in ZOO]
    assert list(style.PALETTE) == list(ZOO)
    assert len({s["color"] for s in styles}) == len({s["label"] for s in styles}) == len(styles)
    core = [
        style.activation_style(n) for n in ("sgblend", "sswish", "silu", "gelu", "relu", "mish")
    ]
    assert len({str(s["linestyle"]) for s in core}) == len(core)
    assert len({s["marker"] for s in core}) == len(core)
    assert style.activation_style("other")["label"] == "other"
    spec = style.activation_style("sgblend(gelu=tanh)")
    assert (spec["color"], spec["label"]) == (style.PALETTE["sgblend"], "SG-Blend (gelu=tanh)")


def test_setup_is_silent_and_leaves_stderr_open():
    code = (
        "from sgblend_utils.notebook import setup; setup(); import os; os.write(2, b'still here')"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "still here")


def test_theory_needs_no_keras():
    code = "import sys, sgblend_utils.theory; assert 'keras' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
