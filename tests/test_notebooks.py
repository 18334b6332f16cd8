"""The committed notebooks: both halves say the same, everything was run, nothing is left over.

What the cells compute is compared by `pytest --nbval`. Here is what nbval does not see: a cell
without an execution count is not compared at all, and the two halves of a pair can drift apart.
"""

import re
from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MACHINE_PATH = re.compile(r"(?<![\w.:/])/(?:home|root|Users|tmp|work|var|mnt|opt)/\w|\b[A-Z]:\\\w")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [c for c in read(path).cells if c.cell_type == "code" and c.source.strip()]


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """All that a cell's outputs say in words; images and their encodings are left out."""
    found = []
    for output in cell.outputs:
        found.append(output.get("text", ""))
        data = output.get("data", {})
        found += [v for k, v in data.items() if k.startswith("text/") and isinstance(v, str)]
    return found


def test_every_source_has_its_notebook_and_every_notebook_its_source():
    sources = {path.stem for path in FOLDER.glob("*.py")}
    assert sources == {path.stem for path in NOTEBOOKS}
    assert all(re.fullmatch(r"\d\d_[a-z0-9_]+", stem) for stem in sources)


@each_notebook
def test_both_halves_say_the_same(path):
    halves = [jupytext.read(path.with_suffix(".py")), read(path)]
    source, executed = (
        [(c.cell_type, c.source.strip(), c.metadata.get("tags", [])) for c in half.cells]
        for half in halves
    )
    assert source == executed, f"run `make notebooks NB=notebooks/{path.stem}.py`"


@each_notebook
def test_executed_once_from_top_to_bottom_without_error(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]


@each_notebook
def test_runs_in_whatever_python_is_at_hand(path):
    assert read(path).metadata.kernelspec.name == "python3"


@each_notebook
def test_no_path_of_the_machine_it_was_run_on(path):
    said = [cell.source for cell in read(path).cells]
    said += [text for cell in code_cells(path) for text in texts(cell)]
    assert not [text for text in said if MACHINE_PATH.search(text)]


@each_notebook
def test_can_be_read_in_one_sitting(path):
    long = [c.source for c in code_cells(path) if len(c.source.strip().splitlines()) > 25]
    assert not long
    assert path.stat().st_size < 1_000_000  # so that code hosts render it


@each_notebook
def test_has_a_title_and_leads_to_its_neighbours(path):
    prose = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    assert prose[0].startswith("# ")
    place = NOTEBOOKS.index(path)
    for neighbour in NOTEBOOKS[max(place - 1, 0) : place] + NOTEBOOKS[place + 1 : place + 2]:
        assert f"({neighbour.name})" in "\n".join(prose), f"no link to {neighbour.name}"


@each_notebook
def test_every_notebook_it_points_to_exists(path):
    prose = "\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")
    targets = re.findall(r"\(([\w.-]+\.ipynb)\)", prose)
    assert not [target for target in targets if not (FOLDER / target).is_file()]


@each_notebook
def test_the_solutions_of_the_exercises_hold(path):
    exercises = path.with_suffix(".py").read_text("utf-8").split("# ## Exercises")[1]
    text = re.sub(r"^# ?", "", exercises, flags=re.MULTILINE)
    assert text.count("<details>") == text.count("</details>") == 2
    solutions = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(solutions) == 2
    for solution in solutions:
        assert "assert " in solution
        exec(solution, {})
