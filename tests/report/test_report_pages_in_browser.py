"""Map and documents in Chromium: hover, box, filter, keyboard, links, names for who does not see them.

From a file and over HTTP, with texts that would run if anything let them.
"""

import os
import re
import shutil

import pytest
from made_pools import made_pool, pool_texts
from test_report_seen import HOSTILE, pages
from test_report_server import free_port

from tamis.report.server import served_pages
from tamis.store.home import Home

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SCREENSHOTS = os.environ.get("TAMIS_SCREENSHOTS")
CONTRAST = """() => {
  // WCAG 2.1 AA: text at 4.5 to 1 at least.
  const part = (x) => x / 255 <= .03928 ? x / 255 / 12.92 : ((x / 255 + .055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(part);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/rgba/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const words = (node) => node.nodeType === 3 && node.data.trim();
  const worded = (one) => one.offsetParent && [...one.childNodes].some(words);
  return [...document.querySelectorAll("body *")].filter(worded).filter((one) => {
    const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
    return (Math.max(a, b) + .05) / (Math.min(a, b) + .05) < 4.5;
  }).map((one) => one.tagName + " " + one.textContent.slice(0, 40));
}"""
UNNAMED = """() => [...document.querySelectorAll("input, select, button, canvas, a, img, svg")].filter(
  (one) => one.ariaHidden !== "true"
    && !(one.labels?.length || one.ariaLabel || one.alt || one.textContent.trim())
).map((one) => one.outerHTML.slice(0, 90))"""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; on Debian or Ubuntu: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    home = Home(tmp_path_factory.mktemp("pages") / "home")
    home.reports.mkdir(parents=True)
    _seen, made = pages(home.store, made_pool(home.store, [HOSTILE, *pool_texts(40)], source="a'b\"<i>"))
    for name, content in made.items():
        (home.reports / f"{name}_best.html").write_text(content)
    (home.reports / "selection_best.html").write_text("<!DOCTYPE html><title>the selection</title>")
    return home


@pytest.fixture
def opened(browser, home):
    """Open a page of the home; anything that is said, refused or run by a text fails the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))

    def open_page(name: str, base: str = ""):
        page.goto(f"{base or home.reports.as_uri()}/{name}_best.html")
        if name == "map":
            page.wait_for_selector("body[data-ready]", state="attached")
        if SCREENSHOTS:
            page.screenshot(path=f"{SCREENSHOTS}/{name}.png", full_page=True)
        return page

    yield open_page
    assert said == []
    assert page.title() != "run"
    page.close()


def count(page, selector):
    return int(re.match(r"[\d,]+", page.text_content(selector))[0].replace(",", ""))


def test_a_point_is_read_by_the_mouse_and_by_the_keyboard(opened):
    page = opened("map")
    canvas = page.locator("#map")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    first = page.text_content("#about")
    assert "tamis explain" in first
    assert "Beginning of the text" in first
    shown = {first}
    for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
        shown.add(page.text_content("#about"))
    assert len(shown) > 2
    page.keyboard.press("Escape")
    assert "none: move over" in page.text_content("#about")
    box = canvas.bounding_box()
    found = set()
    for step in range(40):
        page.mouse.move(box["x"] + box["width"] * (0.25 + step / 80), box["y"] + box["height"] * 0.5)
        found.add(page.text_content("#about"))
    assert any("verdict" in text and "reason" in text for text in found)


def test_a_box_counts_by_reason_and_source_however_it_is_drawn(opened):
    page = opened("map")
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=4)
    page.mouse.up()
    assert count(page, "#inside") == 127
    rows = page.locator("#counts tr").all_text_contents()
    points = page.locator("#counts tr:has(td:text-is('reason')) td:nth-child(3)").all_text_contents()
    by_reason = sum(map(int, points))
    assert by_reason == 121
    assert any(row.startswith("source") and "a'b\"<i>" in row for row in rows)
    assert any("hardly any documents" in row for row in rows)
    page.locator("#map").focus()
    page.keyboard.press("Escape")
    for key in ("ArrowRight", "b", "ArrowRight", "ArrowDown", "ArrowRight", "b"):
        page.keyboard.press(key)
    assert 1 < count(page, "#inside") < 127


def test_legend_and_words_hide_points_and_colours_change(opened):
    page = opened("map")
    assert count(page, "#found") == 127
    page.get_by_role("button", name="dropped").click()
    chosen = count(page, "#found")
    assert 0 < chosen < 60
    page.get_by_role("button", name="dropped").click()
    page.get_by_label("Only texts with").fill("matrix")
    assert 0 < count(page, "#found") < 127
    page.get_by_label("Only texts with").fill("")
    before = page.locator("#map").screenshot()
    for mode in ("reason", "rank", "source", "topic", "language"):
        page.get_by_label("Colour by").select_option(mode)
        assert page.locator("#legend button").count() >= 2
        assert count(page, "#found") == 127
    page.get_by_label("Colour by").select_option("topic")
    assert page.locator("#map").screenshot() != before


def test_documents_are_filtered_by_reason_source_score_and_words(opened):
    page = opened("browse")
    rows = page.locator("#rows tr:visible")
    whole = rows.count()
    asked = {"#reason": "near duplicate", "#source": "a'b\"<i> 1", "#words": "onion", "#low": "0.5"}
    for control, value in asked.items():
        if control in ("#words", "#low"):
            page.fill(control, value)
        else:
            page.select_option(control, value)
        assert 0 < rows.count() < whole
        assert count(page, "#found") == rows.count()
        page.get_by_role("button", name="Show all").click()
        while rows.count() < whole:
            page.wait_for_timeout(5)


@pytest.mark.parametrize("name", ["map", "browse", "mix"])
def test_every_page_is_read_without_sight_and_leads_to_the_others(opened, name):
    page = opened(name)
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for link in page.locator("a").all():
        kind = link.get_attribute("href").split("_")[0]
        assert kind in ("index.html", "selection", "map", "browse", "mix")
    page.get_by_role("link", name=re.compile("the selection")).click()
    assert page.title() == "the selection"


@pytest.mark.parametrize("name", ["map", "browse"])
def test_over_http_the_script_runs_and_no_other(opened, home, name):
    with served_pages(home, free_port()) as address:
        page = opened(name, address.url.rstrip("/"))
        assert count(page, "#found") > 20
