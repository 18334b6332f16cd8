"""Every figure, every table, the ledger of claims and the README's results, from the store alone.

`write_report` is all that `sgblend report` does.  A second call changes no byte: nothing here
depends on the time, on the order of files in a folder, or on a random number.
"""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from sgblend_utils import audit
from sgblend_utils.errors import UserError
from sgblend_utils.figures_theory import figure_teaser
from sgblend_utils.report import claims, figures, ladder, tables, vision
from sgblend_utils.report.conditions import METRICS, Condition, conditions, digest
from sgblend_utils.runs import check_writable, project_root, write_whole

__all__ = ["Condition", "conditions", "digest", "results_section", "update_readme", "write_report"]

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
IN_README = (
    "reported_accuracy",
    "reported_bleu",
    "bleu",
    "test_nll",
    "test_accuracy",
    "f1",
    "noise_accuracy",
    "blur_accuracy",
    "near_dead_share",
    "time_ratio",
)
BY_CONDITION = {
    "performance": figures.figure_performance,
    "differences": figures.figure_differences,
    "parameters": figures.figure_parameters,
    **vision.BY_CONDITION,
}
"""Beginning of a figure's file name -> what draws it; the condition's slug follows."""


def write_report(results_root: Path | None = None, output: Path | None = None) -> list[Path]:
    """Write figures, tables and ledger, and renew the README's results.

    Args:
        results_root: the store; by default that of `runs.results_root`.
        output: folder of the figures, with the tables in `tables/` below it.  By default `figures`
            of the checkout; only then is the README renewed too.

    Returns:
        What was written.  Files of an earlier report whose records are gone are removed.
    """
    found = conditions(results_root)
    folder = output or project_root() / "figures"
    check_writable(folder / "tables")
    written = [write_figure(folder / "teaser_exact.png", figure_teaser(published=False))]
    written += [write_figure(folder / "teaser_published.png", figure_teaser(published=True))]
    sources = [(path.name, "no records") for path in written]
    for condition in found:
        for name, draw in BY_CONDITION.items():
            if figure := draw(condition):
                written.append(write_figure(folder / f"{name}_{condition.slug}.png", figure))
                sources.append((written[-1].name, condition.command))
        pairs = {"table": (tables.results, tables.results_text)}
        pairs["comparison"] = (tables.comparison, tables.comparison_text)
        for name, (values, text) in pairs.items():
            if not (table := values(condition)).empty:
                path = folder / "tables" / f"{name}_{condition.slug}"
                written += tables.save(path, table, text(condition), note(condition))
                sources.append((f"tables/{path.name}", condition.command))
    for preset, seeds in ladder.ladders(results_root).items():
        written.append(folder / f"audit_{audit.TASK}_{preset}.png")
        write_figure(written[-1], ladder.figure_ladder(preset, seeds, results_root))
        values = audit.ladder_table(preset, ladder.ACTIVATION, seeds, results_root)
        about = ladder.provenance(preset, seeds, results_root)
        path = folder / "tables" / written[-1].stem
        made_by = audit.command(preset, ladder.ACTIVATION, seeds)
        sources += [(name, made_by) for name in (written[-1].name, f"tables/{path.name}")]
        written += tables.save(path, values, ladder.ladder_markdown(values), about)
    ledger = claims.ledger(found)
    texts = claims.ledger_text(ledger), claims.RULES.replace("\n", " ")
    written += tables.save(folder / "tables" / "claims", ledger, *texts)
    sources.append(("tables/claims", "all of the above"))
    index = pd.DataFrame(sources, columns=["made by `sgblend report`", "from the runs of"])
    written += tables.save(folder / "tables" / "index", index, index, "Figures and tables.")
    remove_stale(folder, written)
    if output is None:
        readme = project_root() / "README.md"
        if readme.is_file():
            section = results_section(found, ledger)
            write_whole(readme, update_readme(readme.read_text("utf-8"), section).encode())
            written.append(readme)
    return written


def write_figure(path: Path, figure: Figure) -> Path:
    """Save as PNG without anything that differs between two calls."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    write_whole(path, buffer.getvalue())
    return path


def remove_stale(folder: Path, written: list[Path]) -> None:
    """Remove figures and tables by condition that this report did not write."""
    patterns = [f"{name}_*.png" for name in (*BY_CONDITION, "audit")]
    patterns += [f"tables/{name}_*.*" for name in ("table", "comparison", "audit")]
    for pattern in patterns:
        for path in set(folder.glob(pattern)) - set(written):
            path.unlink()


def note(condition: Condition) -> str:
    """The line below a condition's tables: provenance, what ± is, which BLEU."""
    metrics = [record["metrics"] for record in condition.frame["record"]]
    signatures = sorted({m["bleu_signature"] for m in metrics if "bleu_signature" in m})
    parts = [condition.provenance, "± and [ ]: 95 % t interval over seeds"]
    parts += [f"BLEU {signature}" for signature in signatures]
    if "reported_bleu" in condition.frame:
        parts.append("as published: the decoder is given the answer, see notebook 04")
    elif "reported_accuracy" in condition.frame:
        parts.append("as published: what the protocol would report, see notebook 06")
    elif signatures and not tables.comparable(condition, "bleu"):
        parts.append("a BLEU this low is no translation: only cross-entropy and accuracy compare")
    return "; ".join(parts)


def results_section(found: list[Condition], ledger: pd.DataFrame | None = None) -> str:
    """The README's results, in Markdown: a table and a figure per condition, and the ledger."""
    if not found:
        return "No results yet: the store holds no record of a `cpu` or `paper` run.\n"
    ledger = claims.ledger(found) if ledger is None else ledger
    runs = sum(len(condition.frame) for condition in found)
    out = [
        f"Written by `sgblend report` from {runs} records. {claims.summary(ledger)} "
        "How to read them: [notebook 10](notebooks/10_tables_and_figures.ipynb)."
    ]
    for condition in found:
        metrics = [m for m in METRICS if m.name in IN_README and m in condition.metrics]
        title = f"Performance figure: {condition.name}"
        out += [
            f"### {condition.name}",
            tables.to_markdown(tables.results_text(condition, metrics)),
            f"{note(condition)}.",
        ]
        if len(condition.activations) > 1:
            out.append(f"![{title}](figures/performance_{condition.slug}.png)")
        if (condition.task, condition.protocol) == (audit.TASK, "published"):
            out += [
                f"![{ladder.HEADLINE}](figures/audit_{audit.TASK}_{preset}.png)"
                for preset in ladder.ladders()
                if preset == condition.preset
            ]
    tested = ledger[ledger["condition"].notna()]
    if not tested.empty:
        out += ["### The paper's claims", tables.to_markdown(claims.ledger_text(tested))]
        out += [claims.RULES]
    out += ["All claims: [figures/tables/claims.md](figures/tables/claims.md)."]
    return "\n\n".join(out) + "\n"


def update_readme(text: str, section: str) -> str:
    """The README with `section` between its two markers; a UserError if they are not there once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UserError(f"README.md needs one line {BEGIN} and, after it, one line {END}.")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{section}{END}{rest.split(END)[1]}"
