"""`make site`: every notebook and page, one navigation, and no link that leads nowhere."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("site_builder", ROOT / ".ci" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.SITE = tmp_path_factory.mktemp("site") / "pages"
    module.build()
    return module


def test_every_page_is_there_and_no_link_is_dead(site):
    pages = {path.relative_to(site.SITE).as_posix() for path in site.SITE.rglob("*.html")}
    assert {"index.html", "figures/tables/RESULTS.html", "data/README.html"} <= pages
    assert {f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("*.ipynb")} <= pages
    assert site.dead_links() == []
    for page in pages:
        html = (site.SITE / page).read_text("utf-8")
        navigations = 0 if page == "figures/explore.html" else 1
        assert html.count('<nav class="site"') == navigations
        assert '.ipynb"' not in html and 'README.md"' not in html


def test_a_link_to_nowhere_is_found(site):
    page = site.SITE / "index.html"
    before = page.read_text("utf-8")
    page.write_text(before.replace("</body>", '<a href="notebooks/99.html">x</a></body>'), "utf-8")
    assert site.dead_links() == ["index.html: notebooks/99.html"]
    page.write_text(before, "utf-8")
