"""The report of an evaluation in a real browser: it draws, it fits, keys lead through it, hostile text stays text."""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import reporting_examples
import task_examples as examples
from uncollapse.reporting import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from test_browser import BROWSERS, PATIENCE_MS, SIZES, View, wait_until  # noqa: E402

pytestmark = pytest.mark.browser

RESULTS = {
    "tasks": examples.task_result,
    "single": examples.single_result,
    "stock": examples.stock_result,
    "hostile": examples.hostile_task_result,
}
OPENED = [("tasks", "wide"), ("tasks", "narrow"), ("stock", "narrow"), ("hostile", "narrow")]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Opens a report; a page of many figures takes seconds on a small machine, so that the same one is opened once."""
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser on this machine: looked for {', '.join(BROWSERS)}")
    folder, views = tmp_path_factory.mktemp("reports"), {}
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)

        def open_report(name: str, size: str) -> View:
            if (name, size) not in views:
                views[name, size] = _open(browser, folder / f"{name}.html", name, size)
            return views[name, size]

        yield open_report
        browser.close()


def _open(browser, path: Path, name: str, size: str) -> View:  # type: ignore[no-untyped-def]
    write_report(path, RESULTS[name]())
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="dark")
    page.set_default_timeout(PATIENCE_MS)
    view = View(page, path.as_uri())
    page.on("request", lambda request: view.requests.append(request.url))
    page.on("console", lambda message: view.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: view.complaints.append(f"error: {error}"))
    page.goto(view.address)
    wait_until(page, "document.querySelectorAll('.chart:not(.js-plotly-plot)').length === 0", seconds=40)
    return view


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_report_opens_without_a_word_and_fits(opened, name: str, size: str) -> None:  # type: ignore[no-untyped-def]
    view = opened(name, size)
    for summary in view.page.locator("figure summary").all():
        summary.click()
    assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert view.complaints == []
    # the picture of a grid is inside the page too, as a data address
    assert [request for request in view.requests if not request.startswith("data:")] == [view.address]


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_every_chart_is_drawn_inside_the_page_at_its_height(opened, name: str, size: str) -> None:  # type: ignore[no-untyped-def]
    view = opened(name, size)
    boxes = view.page.evaluate(
        """[...document.querySelectorAll('.chart')].map((chart) => {
            const box = chart.querySelector('svg.main-svg').getBoundingClientRect();
            const marks = chart.querySelectorAll('.trace path, .point path, path.point, .textpoint');
            const ticks = [...chart.querySelectorAll('.ytick text')].map((tick) => tick.getBoundingClientRect());
            return [box.left, box.right, box.height, chart.clientHeight, marks.length,
                    Math.min(...ticks.map((tick) => tick.left))];
        })"""
    )
    assert len(boxes) == {"tasks": 17, "stock": 10, "hostile": 17}[name]
    for left, right, height, room, marks, label in boxes:
        assert 0 <= left < right <= SIZES[size][0]
        assert right - left > 250
        assert height == pytest.approx(room, abs=1)
        assert marks > 0
        assert label >= 0


def test_labels_of_bins_do_not_overlap_on_a_narrow_page(opened) -> None:  # type: ignore[no-untyped-def]
    page = opened("tasks", "narrow").page
    for key in ("long", "short", "grid", "shares"):
        boxes = page.evaluate(
            f"""[...document.querySelectorAll('#chart-task-1-{key} .xtick text')].map((tick) => {{
                const box = tick.getBoundingClientRect(); return [box.left, box.right];
            }})"""
        )
        assert len(boxes) == 5
        assert all(left[1] < right[0] for left, right in pairwise(boxes)), key


@pytest.mark.parametrize("name", ["tasks", "hostile"])
def test_hover_shows_an_item_with_its_scores_inside_the_page(opened, name: str) -> None:  # type: ignore[no-untyped-def]
    view = opened(name, "narrow")
    chart = view.page.locator("#chart-task-1-items")
    chart.scroll_into_view_if_needed()
    x, y = view.page.evaluate(
        """() => {
            const dots = [...document.querySelectorAll('#chart-task-1-items path.point')];
            const box = dots.at(-1).getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }"""
    )
    view.page.mouse.move(x, y)
    label = chart.locator(".hovertext")
    label.wait_for()
    said = "".join(label.all_text_contents())
    assert "nDCG@10 model as it is: " in said
    assert " tokens, query " in said
    box = label.locator("path").first.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400
    assert view.complaints == []


def test_hostile_text_never_runs(opened) -> None:  # type: ignore[no-untyped-def]
    view = opened("hostile", "narrow")
    view.page.locator("#chart-task-1-change").hover()
    assert view.page.evaluate("typeof window.pwned") == "undefined"
    assert view.page.evaluate("document.querySelectorAll('img, iframe, main b, a:not([href^=\"#\"])').length") == 0
    assert view.page.locator("#task-1-title").inner_text() == reporting_examples.HOSTILE[0]


def test_keys_lead_to_every_part(opened) -> None:  # type: ignore[no-untyped-def]
    page = opened("tasks", "wide").page
    page.locator("nav a").first.focus()
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#tasks"
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    wait_until(page, "Math.abs(document.querySelector('#task-3').getBoundingClientRect().top) < innerHeight / 2")


def test_words_in_the_grid_have_the_colour_of_the_page(opened) -> None:  # type: ignore[no-untyped-def]
    page = opened("tasks", "wide").page
    ink = page.evaluate("getComputedStyle(document.querySelector('#chart-task-1-grid .textpoint text')).fill")
    assert ink == page.evaluate("getComputedStyle(document.querySelector('h1')).color")


def test_the_overview_is_a_table_when_wide_and_cards_when_narrow(opened) -> None:  # type: ignore[no-untyped-def]
    shown = "getComputedStyle(document.querySelector('#tasks tbody td')).display"
    assert opened("tasks", "wide").page.evaluate(shown) == "table-cell"
    narrow = opened("tasks", "narrow").page
    assert narrow.evaluate(shown) == "grid"
    assert narrow.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('#tasks .scroll'))")
