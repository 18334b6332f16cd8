"""The project itself: what lies where, who may import whom, and what an installation brings."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rattler import MatchSpec

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sgblend_utils"
MODULES = sorted(PACKAGE.rglob("*.py"))

# In the order data flows: a module imports from its own subpackage and from earlier ones.
ORDER = [
    "errors",
    "memory",
    "zoo",
    "gate",
    "jax",
    "torch",
    "activations",
    "theory",
    "style",
    "notebook",
    "data",
    "models",
    "decoding",
    "metrics",
    "probes",
    "config",
    "tasks",
    "runs",
    "stats",
    "bench",
    "report",
    "cli",
    "run_experiment",
]
# What a report, `--help` or a settings file needs must come without Keras.
WITHOUT_KERAS = (
    "memory",
    "zoo",
    "gate",
    "theory",
    "style",
    "data",
    "metrics",
    "config",
    "runs",
    "bench",
    "stats",
    "report",
    "cli",
)

each_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix()
)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def part(dotted: str) -> str | None:
    """`sgblend_utils.data.source` -> `data`; None for the package root and other packages."""
    parts = dotted.split(".")
    return parts[1] if parts[0] == PACKAGE.name and len(parts) > 1 else None


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> Iterator[str]:
    """The dotted name of everything a module imports, also inside functions."""
    package = name_of(path).split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


# Layout -------------------------------------------------------------------------------------------


def test_layout():
    files = "README.md environment.yml pyproject.toml Makefile LICENSE CITATION.cff .ci/run"
    folders = "notebooks sgblend_utils data figures tests"
    assert not [name for name in files.split() if not (ROOT / name).is_file()]
    assert not [name for name in folders.split() if not (ROOT / name).is_dir()]


def test_ci_runs_exactly_the_test_command_of_the_readme():
    lines = (ROOT / ".ci/run").read_text("utf-8").splitlines()
    assert [line for line in lines if line.strip()][-1] == "make test"
    assert os.access(ROOT / ".ci/run", os.X_OK)
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert {"make walkthrough", "make test"} <= {line.split("#")[0].strip() for line in readme}


def test_every_link_in_the_readme_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / "README.md").read_text("utf-8"))
    local = [link for link in links if "://" not in link]
    assert local
    assert not [link for link in local if not (ROOT / link).exists()]


@pytest.mark.parametrize("column", ["Keras 3, on any backend", "PyTorch alone", "JAX alone"])
def test_the_python_in_the_readme_runs(column):
    lines = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    head = next(i for i, row in enumerate(rows) if column in row)
    first, second = (rows[head + k][rows[head].index(column)].split("`")[1] for k in (2, 3))
    known = {name: np.float32(0.5) for name in ("alpha", "beta", "gamma")}
    known["x"] = np.ones((2, 64), "float32")
    if column == "PyTorch alone":
        torch = pytest.importorskip("torch")
        known |= {"nn": torch.nn, "x": torch.ones(2, 64)}
    elif column == "JAX alone":
        pytest.importorskip("jax")
    else:
        known |= {"Sequential": keras.Sequential, "Dense": keras.layers.Dense}
    exec(first, known)
    made = eval(second, known)
    assert (made(known["x"]) if callable(made) else made).shape in ((2, 128), (2, 64))


def test_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert f'__version__ = "{citation["version"]}"' in (PACKAGE / "__init__.py").read_text("utf-8")
    (paper,) = citation["references"]
    assert "arXiv:2505.23942" in [item["value"] for item in paper["identifiers"]]


# Environment --------------------------------------------------------------------------------------


def environment() -> tuple[dict, list[str], list[str]]:
    """environment.yml as a whole, its conda half and its pip half."""
    whole = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    (pip_half,) = [entry["pip"] for entry in whole["dependencies"] if isinstance(entry, dict)]
    return whole, [entry for entry in whole["dependencies"] if isinstance(entry, str)], pip_half


def test_conda_half_is_python_and_pip_from_one_channel():
    whole, conda_half, _ = environment()
    assert whole["channels"] == ["conda-forge"]
    specs = {spec.name.normalized: spec for spec in map(MatchSpec, conda_half)}
    assert specs.keys() == {"python", "pip"}
    requires = Requirement(f"python{project()['requires-python']}").specifier
    assert str(specs["python"].version).removeprefix("==").rstrip(".*") + ".0" in requires


def test_pip_half_is_what_pyproject_installs():
    _, conda_half, pip_half = environment()
    meta = project()
    extras = meta["optional-dependencies"]
    wanted = ("experiments", "notebooks", "tensorflow", "jax", "dev")  # as make installs
    asked = meta["dependencies"] + [spec for name in wanted for spec in extras[name]]
    assert pip_half[-1] == "-e ."
    assert {str(Requirement(s)) for s in pip_half[:-1]} == {str(Requirement(s)) for s in asked}
    names = [canonicalize_name(Requirement(s).name) for s in pip_half[:-1]]
    assert len(names) == len(set(names))
    assert not {MatchSpec(s).name.normalized for s in conda_half} & set(names)
    tools = {"jupyterlab", "jupytext", "tensorflow", "nltk", "seaborn", "nbval", "tqdm"}
    assert tools <= set(names)


# Package ------------------------------------------------------------------------------------------


@each_module
def test_imports_follow_the_flow_of_data(path):
    own = part(name_of(path))
    if own is None:
        assert not [name for name in imported(path) if part(name)]
        return
    assert own in ORDER, f"give {own!r} its place in ORDER"
    later = ORDER[ORDER.index(own) + 1 :]
    assert not {name for name in imported(path) if part(name) in later}


def test_reports_and_help_need_no_keras():
    names = [name_of(path) for path in MODULES if part(name_of(path)) in WITHOUT_KERAS]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "importlib.import_module('sgblend_utils.tasks').registry()\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


WITHOUT_TENSORFLOW = """
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for name in sys.argv[1:]:
    importlib.import_module(name)

import keras, numpy as np
from sgblend_utils.activations import make_activation
layer = make_activation("sgblend")
assert layer(np.zeros((2, 3), "float32")).shape == (2, 3)
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
"""


@pytest.mark.slow
def test_works_on_jax_without_tensorflow():
    left_out = {"sgblend_utils.run_experiment", "sgblend_utils.torch"}
    names = [name_of(path) for path in MODULES if name_of(path) not in left_out]
    environ = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, *names]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_stays_thin():
    lines = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    assert not {name: n for name, n in lines.items() if n > 400}
    assert sum(lines.values()) <= 7719


@each_module
def test_nothing_read_from_a_file_is_executed(path):
    module = tree(path)
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    named = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    assert not named & {"eval", "exec", "compile"}
    assert not [k for call in calls for k in call.keywords if k.arg == "allow_pickle"]
