"""Every figure, every table, the ledger of claims and the README's results, from the store alone.

A second `write_report` changes no byte: nothing here depends on time, file order or chance.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.figure import Figure

from sgblend_utils import bench
from sgblend_utils.data import atomic_write, project_root, write_atomically
from sgblend_utils.errors import UserError
from sgblend_utils.report import ablations, audit, claims, explore, figures, front, tables
from sgblend_utils.report.experiments import Experiment, digest, experiments
from sgblend_utils.runs import check_writable

__all__ = ["Experiment", "digest", "drawn", "experiments", "note", "write_report"]

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
FEWEST = 3  # runs of which figures are drawn: of fewer, or one activation, the table says it all
ENDS = {Figure: ".png", FuncAnimation: ".gif", str: ".html"}
FIGURES = ("performance", "differences", "parameters", "shapes")


def drawn(one: Experiment) -> bool:
    return len(one.frame) >= FEWEST and len(one.activations) > 1


def products(
    found: Sequence[Experiment], ledger: pd.DataFrame, root: Path | None
) -> Iterator[tuple[str, str, Any]]:
    """Name, source, and a figure, animation, page, or table: values, text, the line below it."""
    for form in ("exact", "published"):
        yield f"teaser_{form}", "no records", figures.figure_teaser(form == "published")
    yield "explore", "SG-Blend in the sound protocol", explore.page(found)
    for one in found:
        for name in FIGURES if drawn(one) else ():
            yield f"{name}_{one.slug}", one.command, getattr(figures, f"figure_{name}")(one)
        yield f"learning_{one.slug}", one.command, figures.animation_learning(one)
        table, text = tables.results(one), tables.results_text(one)
        yield f"table_{one.slug}", one.command, (table, text, note(one))
        table, text = tables.comparison(one), tables.comparison_text(one)
        yield f"comparison_{one.slug}", one.command, (table, text, note(one))
    for ladder in audit.complete(root):
        yield ladder.name, ladder.command, audit.figure_audit(ladder, root)
        table, below = ladder.table(root), ladder.provenance(root)
        yield ladder.name, ladder.command, (table, audit.audit_text(table), below)
    if len(steps := bench.step_table()):
        line = "A training step over GELU's; mean over repeats, 95 % t interval; measured at "
        line += f"commit {bench.step_commit()}, with its presets"
        text = steps.round(3).reset_index().astype(str)
        yield "overhead", "`sgblend bench step`", (steps, text, line)
    if found:
        yield "forest", "all planned runs", front.figure_forest(ledger)
    table = ablations.contrasts(found)
    if (table["verdict"] != claims.NOT_RUN).any():
        source = "the arms in data/ablations.toml"
        yield "ablations", source, ablations.figure_ablations(table)
        line = f"Protocol sound; {front.planned()}; rules: data/ablations.toml"
        yield "ablations", source, (table, ablations.contrasts_text(table), line)
    rules = claims.rules().replace("\n", " ")
    yield "claims", "all of the above", (ledger, claims.ledger_text(ledger), rules)


def write_report(results_root: Path | None = None, output: Path | None = None) -> list[Path]:
    """Write figures, and tables below them; by default those of the checkout, and its README."""
    folder, found = output or project_root() / "figures", experiments(results_root)
    ledger = claims.ledger(found)
    check_writable(folder / "tables")
    written, made_by, path = [], {}, folder / "tables" / "index.csv"
    columns = ["made by `sgblend report`", "from the runs of"]
    earlier = set(pd.read_csv(path, comment="#")[columns[0]]) if path.is_file() else set()
    for name, source, product in products(found, ledger, results_root):
        if end := next((end for kind, end in ENDS.items() if isinstance(product, kind)), None):
            written.append(write_product(folder / f"{name}{end}", product))
            made_by[f"{name}{end}"] = source
        elif product and len(product[0]):
            written += tables.save(folder / "tables" / name, *product)
            made_by[f"tables/{name}"] = source
    for name in earlier - set(made_by):  # its records are gone
        for end in ("", ".csv", ".md"):
            (folder / f"{name}{end}").unlink(missing_ok=True)
    index = pd.DataFrame(made_by.items(), columns=columns)
    written += tables.save(path, index, index, "Figures and tables.")
    results = folder / "tables" / "RESULTS.md"
    write_atomically(results, all_results(ledger, found, results_root).encode())
    written.append(results)
    if output is None and (readme := project_root() / "README.md").is_file():
        text = update_readme(readme.read_text("utf-8"), front.section(ledger, found, results_root))
        write_atomically(readme, text.encode())
        written.append(readme)
    return written


def write_product(path: Path, product: Figure | FuncAnimation | str) -> Path:
    with atomic_write(path) as file:
        if isinstance(product, str):
            file.write(product.encode())
        elif isinstance(product, Figure):
            product.savefig(file, format="png", metadata={"Software": None})
        else:  # its writer goes by the name's end
            product.save(whole := Path(f"{file.name}.gif"), PillowWriter(fps=3))
            file.write(whole.read_bytes())
    plt.close("all")
    return path


def note(experiment: Experiment) -> str:
    """The line below an experiment's tables: provenance, what ± is, which BLEU."""
    signatures = {r["metrics"].get("bleu_signature") for r in experiment.frame["record"]} - {None}
    parts = [experiment.provenance, "± and [ ]: 95 % t interval over seeds"]
    parts += [f"BLEU {signature}" for signature in sorted(signatures)]
    if "reported_bleu" in experiment.frame:
        parts.append("as published: the decoder is given the answer, see notebook 04")
    elif "reported_accuracy" in experiment.frame:
        parts.append("as published: what the protocol would report, see notebook 06")
    elif signatures and not tables.comparable(experiment, "bleu"):
        parts.append("a BLEU this low is no translation: only cross-entropy and accuracy compare")
    return "; ".join(parts)


def all_results(ledger: pd.DataFrame, found: Sequence[Experiment], root: Path | None = None) -> str:
    """`RESULTS.md`: the ledger, and a table and a figure per experiment."""
    out = ["# All results", f"{claims.summary(ledger)} {claims.rules()}"]
    out += [tables.to_markdown(claims.ledger_text(ledger))]
    for one in found:
        table = tables.to_markdown(tables.results_text(one, one.used("readme")))
        out += [f"## {one.name}", table, f"{note(one)}."]
        if drawn(one):
            out.append(f"![Performance figure: {one.name}](../performance_{one.slug}.png)")
    pictures = (f"![{audit.HEADLINE}](../{one.name}.png)" for one in audit.complete(root))
    return "\n\n".join([*out, "## The audit", *pictures]) + "\n"


def update_readme(text: str, section: str) -> str:
    """The README with `section` between its two markers; a UserError if they are not there once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UserError(f"README.md needs one line {BEGIN} and, after it, one line {END}.")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{section}{END}{rest.split(END)[1]}"
