"""`make site`: the notebooks and pages of this repository as a static site in build/site.

The site has the repository's layout, so that relative links stay what they are; only the ending of
a page changes.  Links to what a site has no page for become plain text.  At the end every link is
followed: a dead one ends the program with exit code 1.
"""

import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote

import mistune
from nbconvert import HTMLExporter

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "build" / "site"
RESULTS, EXPLORE = Path("figures/tables/RESULTS.md"), Path("figures/explore.html")
PAGES = [Path(f"{name}.md") for name in ("README", "CONTRIBUTING", "data/README")]
PAGES += [Path("data/models/README.md"), RESULTS]
NOTEBOOKS = sorted(path.relative_to(ROOT) for path in ROOT.glob("notebooks/[0-9]*.ipynb"))
LINK = re.compile(r'(<a\b[^>]*?\bhref=")([^"#]*)(#[^"]*)?("[^>]*>)(.*?)</a>', re.DOTALL)
SOURCE = re.compile(r'<(?:img|script|link)\b[^>]*?\b(?:src|href)="([^"]+)"')
MATH = "https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"
STYLE = """
nav.site { display: flex; flex-wrap: wrap; gap: 0 14px; padding: 6px 16px; background: #f2f2f2;
  font: 15px/1.8 system-ui, sans-serif; }
nav.site a { white-space: nowrap; color: #005a9c; text-decoration: none; }
nav.site a[aria-current] { font-weight: bold; color: #222; }
main.page { font: 16px/1.55 system-ui, sans-serif; max-width: 900px; margin: 24px auto;
  padding: 0 16px; color: #222; }
main.page table { border-collapse: collapse; display: block; overflow-x: auto; }
main.page td, main.page th { border: 1px solid #ccc; padding: 4px 8px; text-align: left; }
main.page img { max-width: 100%; }
main.page pre { background: #f6f6f6; padding: 10px; overflow: auto; }
"""


def place_of(source: Path) -> Path:
    """Where the page of a notebook or a Markdown file lies in the site, relative to it."""
    if source == Path("README.md"):
        return Path("index.html")
    return source.with_suffix(".html")


def navigation(page: Path) -> str:
    """Links from a page to all others."""
    up = "../" * (len(page.parts) - 1)
    names = {Path("index.html"): "SG-Blend", EXPLORE: "Explore"}
    names |= {place_of(path): path.stem.replace("_", " ") for path in NOTEBOOKS}
    names |= {place_of(RESULTS): "All results"}
    links = (
        f'<a href="{up}{path.as_posix()}"{" aria-current=page" * (path == page)}>{name}</a>'
        for path, name in names.items()
    )
    return f'<nav class="site" aria-label="Site">{"".join(links)}</nav>'


def page_of(source: Path) -> str:
    """The whole HTML of a notebook or a Markdown file, without navigation."""
    if source.suffix == ".ipynb":
        return HTMLExporter(template_name="lab").from_filename(str(ROOT / source))[0]
    plugins = ["table", "math", "strikethrough"]
    body = mistune.create_markdown(escape=False, plugins=plugins)(
        (ROOT / source).read_text("utf-8")
    )
    title = re.sub("<.*?>", "", body.split("</h1>")[0]).strip()
    head = f'<meta charset="utf-8"><title>{title}</title><script async src="{MATH}"></script>'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">'
    main = f'<main class="page">{body}</main>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{main}</body></html>'


def relinked(html: str, source: Path) -> str:
    """Links to notebooks and pages lead to their HTML, those to what is not here are text."""

    def change(found: re.Match) -> str:
        before, link, anchor, after, text = found.groups()
        if not link or re.match(r"[a-z]+:", link):
            return found[0]
        target = (ROOT / source.parent / unquote(link)).resolve()
        if target.is_dir() or not target.is_relative_to(ROOT):
            return text
        inner = target.relative_to(ROOT)
        if inner in NOTEBOOKS or inner in PAGES:
            name = place_of(inner).name
            link = f"{link.rpartition('/')[0]}/{name}".lstrip("/") if "/" in link else name
        elif target.is_file():  # a table or a configuration: as it is
            (SITE / inner).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(target, SITE / inner)
        return f"{before}{link}{anchor or ''}{after}{text}</a>"

    return LINK.sub(change, html)


def dead_links() -> list[str]:
    """Local links of the site's pages to files that it has not got."""
    dead = []
    for page in sorted(SITE.rglob("*.html")):
        html = page.read_text("utf-8")
        links = [found[2] for found in LINK.finditer(html)] + SOURCE.findall(html)
        local = {unquote(link) for link in links if link and not re.match(r"([a-z]+:|//)", link)}
        dead += [
            f"{page.relative_to(SITE)}: {link}"
            for link in sorted(local)
            if not (page.parent / link).exists()
        ]
    return dead


def build() -> None:
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(ROOT / "figures", SITE / "figures", ignore=shutil.ignore_patterns("*.md"))
    for source in PAGES + NOTEBOOKS:
        page = place_of(source)
        html = relinked(page_of(source), source)
        before, body, after = re.split(r"(<body[^>]*>)", html, maxsplit=1)
        top = f"<style>{STYLE}</style>{navigation(page)}"
        (SITE / page).parent.mkdir(parents=True, exist_ok=True)
        (SITE / page).write_text(before + body + top + after, "utf-8")
    # Last, since a link to a file copies it.
    html = relinked((ROOT / EXPLORE).read_text("utf-8"), EXPLORE)
    (SITE / EXPLORE).write_text(html, "utf-8")


if __name__ == "__main__":
    build()
    for line in (dead := dead_links()):
        print(line, file=sys.stderr)
    print(f"{SITE.relative_to(ROOT)}/index.html: {len(list(SITE.rglob('*.html')))} pages")
    sys.exit(bool(dead))
