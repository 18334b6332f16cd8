"""The shared style and the notebooks' first line."""

import os
import subprocess
import sys

import pytest

from sgblend_utils import style
from sgblend_utils.zoo import ZOO


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


@pytest.mark.slow
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
