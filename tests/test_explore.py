"""The page on which a reader moves SG-Blend's numbers: what it holds, and that it computes them."""

import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from activation_tools import formula
from report_tools import SITES, fill_store
from scipy import optimize

from sgblend_utils.report import explore
from sgblend_utils.report.experiments import experiments
from sgblend_utils.style import PALETTE
from sgblend_utils.theory import closed_form

ROOT = Path(__file__).parents[1]
NAMES = ("alpha", "beta", "gamma")


def held(text: str) -> dict:
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', text)[1]
    )


def values(record: dict, site: str, epoch: int = -1) -> list[float]:
    return [record["activation_parameters"][epoch][site][name] for name in NAMES]


# What it holds ------------------------------------------------------------------------------------


def test_the_page_is_that_of_the_stored_records_each_time():
    found = experiments()
    text = explore.page(found)
    assert text == explore.page(experiments())
    assert text == (ROOT / "figures" / "explore.html").read_text("utf-8"), "run `sgblend report`"
    assert len(text.encode()) < 400_000
    tasks, kept = held(text)["experiments"], explore.chosen(found)
    assert len(tasks) == len(kept) == len({one.task for one in kept}) >= 3
    for task, one in zip(tasks, kept, strict=True):
        rows = one.frame[one.frame["activation"] == "sgblend"]
        assert list(task["runs"]) == [str(seed) for seed in rows["seed"]]
        for seed, record in zip(rows["seed"], rows["record"], strict=True):
            sites, epochs = task["runs"][str(seed)], record["activation_parameters"]
            assert sites.keys() == epochs[0].keys() and sites
            for site, trail in sites.items():
                expected = [values(record, site, epoch) for epoch in range(len(epochs))]
                np.testing.assert_allclose(trail, expected, atol=5.1e-5)


def test_each_task_shows_its_largest_sound_experiment(tmp_path):
    fill_store(tmp_path, ("gelu", "sgblend"), (0, 1))
    fill_store(tmp_path, ("gelu", "sgblend"), (0, 1), overrides={"epochs": 2})
    fill_store(tmp_path, ("gelu", "sgblend"), range(5), protocol="published")  # another GELU
    fill_store(tmp_path, ("gelu", "sgblend"), range(5), preset="mini")
    fill_store(tmp_path, ("gelu", "relu"), task="wmt14")
    assert [one.slug for one in explore.chosen(experiments(tmp_path))] == ["multi30k_sound_cpu"]
    fill_store(tmp_path, ("sgblend",), (2,), overrides={"epochs": 2})
    (one,) = explore.chosen(experiments(tmp_path))
    assert one.overrides == {"epochs": 2}


def test_the_page_loads_nothing_and_no_record_can_end_its_data(tmp_path):
    text = explore.page([])
    assert not re.search(r"\bsrc=|@import|url\(|<link|fetch\(", text)
    assert held(text)["colours"] == {name: PALETTE[name] for name in ("sgblend", "gelu", "silu")}
    (path,) = fill_store(tmp_path, ("sgblend",), (0,)).glob("*/*.json")
    path.write_text(path.read_text().replace("encoder_0", "</script>"))
    assert "</script>" in held(explore.page(experiments(tmp_path)))["experiments"][0]["runs"]["0"]


# In a browser -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return fill_store(tmp_path_factory.mktemp("results"), ("gelu", "sgblend"), (0, 1))


@pytest.fixture(scope="module")
def driver():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    browser, server = next(filter(None, map(shutil.which, names)), None), "chromedriver"
    if not browser or not shutil.which(server):
        pytest.skip("Chromium or its chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which(server)))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, store, tmp_path):
    """The driver, with the page of made-up records open, which reports no error."""
    path = tmp_path / "explore.html"
    path.write_text(explore.page(experiments(store)), "utf-8")
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    driver.get(path.as_uri())
    yield driver
    assert not driver.get_log("browser")


def element(page, name):
    return page.find_element("id", name)


def text(page, name: str) -> str:
    return element(page, name).text.replace("−", "-")


def shown(page) -> list[float]:
    """α, β and γ of the sliders, which the number fields repeat."""
    fields = [float(element(page, f"{name}-number").get_property("value")) for name in NAMES]
    assert fields == [float(element(page, name).get_property("value")) for name in NAMES]
    return fields


def choose(page, **chosen: str) -> None:
    from selenium.webdriver.support.ui import Select

    for name, value in chosen.items():
        Select(element(page, name)).select_by_visible_text(value)


def lowest(alpha: float, beta: float, gamma: float) -> tuple[float, float]:
    def function(x):
        return formula("sgblend", x, alpha=alpha, beta=beta, gamma=gamma)

    grid = np.linspace(-5, 5, 2001)
    best = grid[np.argmin(function(grid))]
    bounds = max(best - 0.01, -5), min(best + 0.01, 5)
    place = optimize.minimize_scalar(function, bounds=bounds, options={"xatol": 1e-10}).x
    return float(place), float(function(place))


def expect_printed(page, *parameters: float) -> None:
    """The printed numbers are those of the closed form, to the four digits that are shown."""
    named = dict(zip(NAMES, parameters, strict=True))
    place, value = lowest(*parameters)
    printed = [float(text(page, name)) for name in ("minimum-x", "minimum-y")]
    assert printed == pytest.approx([place, value], abs=6e-5)
    assert float(text(page, "value-0")) == pytest.approx(formula("sgblend", 0, **named), abs=6e-5)
    assert float(text(page, "slope-0")) == 0.5 == closed_form("sgblend", 1, **named)(0.0)


def test_function_and_slope_are_the_closed_form(page):
    x = (-40, -7.2, -7, -5, -1.3, -0.2, 0, 0.3, 1, 2.5, 5, 7.2, 40)
    axes = [x, (-3, -0.5, 0, 0.3, 1, 2), (-2, -0.5, 0, 1, 10), (-2, 0, 1.5)]
    points = np.array(list(itertools.product(*axes)))
    x, *parameters = points.T
    named = dict(zip(NAMES, parameters, strict=True))
    call = "return arguments[0].map(q => window.sgblend[arguments[1]](...q))"
    values = page.execute_script(call, points.tolist(), "f")
    np.testing.assert_allclose(values, formula("sgblend", x, **named), atol=1e-9)
    slopes = page.execute_script(call, points.tolist(), "slope")
    np.testing.assert_allclose(slopes, closed_form("sgblend", 1, **named)(x), atol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "edge"),
    [
        ((0.5, 1, 0), False),
        ((1, 10, 2), False),
        ((-3, 5, -1), False),
        ((-2.5, -2, 1), False),
        ((2, -2, 0.5), True),  # falls without end on the left
        ((1, 0.1, 0), True),  # lowest at -12.8
    ],
)
def test_the_minimum_is_the_lowest_point_of_the_plot(page, parameters, edge):
    found = page.execute_script("return window.sgblend.minimum(...arguments)", *parameters)
    place, value = lowest(*parameters)
    assert (found["x"], found["y"]) == pytest.approx((place, value), abs=1e-5)
    assert found["edge"] == edge == (place < -4.99)


def test_moving_a_slider_changes_the_curve_and_the_printed_numbers(page):
    from selenium.webdriver.common.keys import Keys

    assert shown(page) == [0.5, 1, 0]
    expect_printed(page, 0.5, 1, 0)
    drawn = element(page, "f").get_attribute("innerHTML")
    element(page, "alpha").send_keys(Keys.ARROW_RIGHT, Keys.PAGE_UP)
    assert shown(page) == [0.61, 1, 0]
    expect_printed(page, 0.61, 1, 0)
    assert element(page, "f").get_attribute("innerHTML") != drawn
    page.execute_script(
        "const beta = document.getElementById('beta'); beta.value = 3.25;"
        "beta.dispatchEvent(new Event('input'))"
    )
    field = element(page, "gamma-number")
    field.send_keys(Keys.CONTROL, "a", Keys.NULL, "-0.75", Keys.TAB)
    assert shown(page) == [0.61, 3.25, -0.75]
    expect_printed(page, 0.61, 3.25, -0.75)
    field.send_keys(Keys.CONTROL, "a", Keys.NULL, "99", Keys.TAB)
    assert shown(page)[2] == 2


def test_a_sentence_says_which_function_it_is(page):
    for parameters, words in {
        (0, 3, 1): "exactly GELU",
        (1, 1, 0): "This is SiLU.",
        (1, 1, 1): "SiLU, moved down",
        (0.5, 1, -1): "a blend: a weighted mean of GELU and a Swish, moved up",
        (1, 2, 0): "a Swish",
        (0.5, -0.1, 0): "outside the blend, because β is negative",
        (-0.1, 1, 0): "outside the blend, because α is not between 0 and 1",
        (1.1, -1, 0): "because α is not between 0 and 1 and β is negative",
    }.items():
        said = page.execute_script("return window.sgblend.describe(...arguments)", *parameters)
        assert words in said, parameters
    for button in page.find_elements("css selector", "[data-preset]"):
        button.click()
        word, expected = {
            "GELU": ("exactly GELU", [0, 1, 0]),
            "SiLU": ("SiLU.", [1, 1, 0]),
            "Start of training": ("blend", [0.5, 1, 0]),
        }[button.text]
        assert word in text(page, "description") and shown(page) == expected
        expect_printed(page, *expected)


def test_alpha_can_be_kept_where_the_published_layer_keeps_it(page):
    from selenium.webdriver.common.keys import Keys

    element(page, "published").click()
    reached = []
    for key in (Keys.HOME, Keys.END):
        element(page, "alpha").send_keys(key)
        reached.append(shown(page)[0])
    assert reached == [0.269, 0.731]
    page.find_element("css selector", "[data-preset]").click()  # GELU, out of that range
    assert shown(page)[0] == 0 and not element(page, "published").is_selected()


def test_a_learned_site_is_shown_and_played_epoch_by_epoch(page, store):
    from selenium.webdriver.support.ui import WebDriverWait

    (one,) = experiments(store)
    record = one.frame.query("activation == 'sgblend' and seed == 1")["record"].iloc[0]
    choose(page, task="Multi30k", seed="1", site=SITES[2])
    assert text(page, "counter") == "Epoch 5 of 5"
    assert shown(page) == pytest.approx(values(record, SITES[2]), abs=6e-5)
    expect_printed(page, *shown(page))
    element(page, "play").click()
    assert text(page, "counter") == "Epoch 0 of 5 (before training)"
    wait = WebDriverWait(page, 10, 0.05)
    wait.until(lambda page: text(page, "counter") == "Epoch 1 of 5")
    wait.until(lambda page: text(page, "counter") == "Epoch 2 of 5")
    element(page, "play").click()
    assert text(page, "play") == "Play"
    paused = int(text(page, "counter").split()[1])
    assert shown(page) == pytest.approx(values(record, SITES[2], paused), abs=6e-5)
    page.find_element("css selector", "[data-preset]").click()
    assert text(page, "counter") == "Changed by hand"


def test_with_reduced_motion_each_press_is_one_epoch(page):
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.refresh()
    choose(page, task="Multi30k")
    for epoch in (0, 1, 2):
        assert text(page, "play") == "Next epoch"
        element(page, "play").click()
        assert text(page, "counter").startswith(f"Epoch {epoch} of 5")


def test_every_control_has_a_name_and_fits_a_narrow_screen(page):
    unnamed = (
        "return [...document.querySelectorAll('input, select')]"
        ".filter(one => !one.labels.length && !one.ariaLabel).map(one => one.id)"
    )
    assert page.execute_script(unnamed) == []
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        choose(page, task="Multi30k")
        assert page.execute_script("return document.documentElement.scrollWidth") <= 400
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
