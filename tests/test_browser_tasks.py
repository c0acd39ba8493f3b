"""The report of an evaluation in a real browser: it draws, it fits, keys lead through it, hostile text stays text."""

from itertools import pairwise
from typing import Any

import pytest

import reporting_examples
import task_examples as examples
from browser_pages import Opened, check_charts, check_quiet, hovered, opener, wait_until

pytestmark = pytest.mark.browser

RESULTS = {
    "tasks": examples.task_result,
    "single": examples.single_result,
    "stock": examples.stock_result,
    "hostile": examples.hostile_task_result,
}
OPENED = [("tasks", "wide"), ("tasks", "narrow"), ("stock", "narrow"), ("hostile", "narrow")]


@pytest.fixture(scope="module")
def opened(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return opener(chromium, tmp_path_factory.mktemp("reports"), RESULTS, scheme="dark")


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_report_opens_without_a_word_and_fits(opened: Opened, name: str, size: str) -> None:
    check_quiet(opened(name, size))


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_every_chart_is_drawn_inside_the_page_at_its_height(opened: Opened, name: str, size: str) -> None:
    charts = check_charts(opened(name, size), size)
    assert len(charts) == {"tasks": 17, "stock": 10, "hostile": 17}[name]


def test_labels_of_bins_do_not_overlap_on_a_narrow_page(opened: Opened) -> None:
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
def test_hover_shows_an_item_with_its_scores_inside_the_page(opened: Opened, name: str) -> None:
    view = opened(name, "narrow")
    label = hovered(view, "chart-task-1-items", "path.point")
    said = "".join(label.all_text_contents())
    assert "nDCG@10 model as it is: " in said
    assert " tokens, query " in said
    box = label.locator("path").first.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400
    assert view.complaints == []


def test_hostile_text_never_runs(opened: Opened) -> None:
    view = opened("hostile", "narrow")
    view.page.locator("#chart-task-1-change").hover()
    assert view.page.evaluate("typeof window.pwned") == "undefined"
    assert view.page.evaluate("document.querySelectorAll('img, iframe, main b, a:not([href^=\"#\"])').length") == 0
    assert view.page.locator("#task-1-title").inner_text() == reporting_examples.HOSTILE[0]


def test_keys_lead_to_every_part(opened: Opened) -> None:
    page = opened("tasks", "wide").page
    page.locator("nav a").first.focus()
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#tasks"
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    wait_until(page, "Math.abs(document.querySelector('#task-3').getBoundingClientRect().top) < innerHeight / 2")


def test_words_in_the_grid_have_the_colour_of_the_page(opened: Opened) -> None:
    page = opened("tasks", "wide").page
    ink = page.evaluate("getComputedStyle(document.querySelector('#chart-task-1-grid .textpoint text')).fill")
    assert ink == page.evaluate("getComputedStyle(document.querySelector('h1')).color")


def test_the_overview_is_a_table_when_wide_and_cards_when_narrow(opened: Opened) -> None:
    shown = "getComputedStyle(document.querySelector('#tasks tbody td')).display"
    assert opened("tasks", "wide").page.evaluate(shown) == "table-cell"
    narrow = opened("tasks", "narrow").page
    assert narrow.evaluate(shown) == "grid"
    assert narrow.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('#tasks .scroll'))")
