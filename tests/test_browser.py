"""The report in a real browser: it draws, it stays on the machine, it fits, and hostile text stays text."""

from collections.abc import Callable
from typing import Any

import pytest

import reporting_examples as examples
from browser_pages import SIZES, Opened, hovered, opener, wait_until
from uncollapse.records import Result

pytestmark = pytest.mark.browser

RESULTS = {
    "demo": examples.demo_result(),
    "diagnose": examples.diagnose_result(),
    "hostile": examples.hostile_result(),
    "empty": Result(),
}


@pytest.fixture(scope="module")
def opened(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    makers: dict[str, Callable[[], Result]] = {name: lambda found=found: found for name, found in RESULTS.items()}
    return opener(chromium, tmp_path_factory.mktemp("reports"), makers)


OPENED = [
    ("demo", "wide"),
    ("demo", "narrow"),
    ("diagnose", "narrow"),
    ("hostile", "wide"),
    ("hostile", "narrow"),
    ("empty", "narrow"),
]


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_report_opens_without_a_word_and_without_the_network(opened: Opened, name: str, size: str) -> None:
    view = opened(name, size)
    view.page.mouse.wheel(0, 20_000)
    view.page.wait_for_timeout(100)
    assert view.complaints == []
    assert view.requests == [view.address]
    assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_every_chart_is_drawn_inside_the_page(opened: Opened, name: str, size: str) -> None:
    view = opened(name, size)
    boxes = view.page.evaluate(
        """[...document.querySelectorAll('.chart')].map((chart) => {
            const box = chart.querySelector('svg.main-svg').getBoundingClientRect();
            const marks = chart.querySelectorAll('.trace path, .point path, path.point');
            return [box.left, box.right, box.height, marks.length];
        })"""
    )
    assert len(boxes) == {"demo": 9, "diagnose": 6, "hostile": 9, "empty": 0}[name]
    width = SIZES[size][0]
    for left, right, height, marks in boxes:
        assert 0 <= left < right <= width
        assert right - left > 250
        assert height > 200
        assert marks > 0


@pytest.mark.parametrize("name", ["demo", "hostile"])
def test_hover_shows_the_text_its_id_and_its_tokens(opened: Opened, name: str) -> None:
    view = opened(name, "narrow")
    label = hovered(view, "chart-points-0", "path.point")
    said = "".join("".join(label.all_text_contents()).split())
    points = [point for point in RESULTS[name].points if point.fix == "none"]
    assert any(_spoken(f"{point.n_tokens}tokens{point.id}{point.snippet}") == _spoken(said) for point in points)
    box = label.locator("path").first.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400
    assert view.page.locator("#chart-points-0").locator("a, b, script, img").count() == 0
    assert view.complaints == []
    assert view.requests == [view.address]


def _spoken(text: str) -> str:
    """The text without white space and without letters that a browser may replace."""
    return "".join(letter for letter in text if letter.isprintable() and not letter.isspace())


@pytest.mark.parametrize("size", SIZES)
def test_hostile_text_never_runs(opened: Opened, size: str) -> None:
    view = opened("hostile", size)
    view.page.locator("summary").first.click()
    view.page.locator("#chart-rise").hover()
    assert view.page.evaluate("typeof window.pwned") == "undefined"
    assert view.page.evaluate("document.querySelectorAll('img, a, iframe, main b').length") == 0
    assert view.page.locator("h1").inner_text() == examples.HOSTILE[0]
    assert view.page.locator("pre").inner_text() == examples.HOSTILE[0]


def test_policy_stops_script_that_got_in(opened: Opened) -> None:
    view = opened("empty", fresh=True)
    view.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x: onerror=\"window.pwned=1\">')")
    view.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.pwned=1'}))"
    )
    view.page.wait_for_timeout(200)
    assert view.page.evaluate("typeof window.pwned") == "undefined"
    assert any("Content Security Policy" in complaint for complaint in view.complaints)


def test_charts_follow_the_readers_colours_and_window(opened: Opened) -> None:
    view = opened("demo", fresh=True)
    ink = "getComputedStyle(document.querySelector('#chart-windows .xtick text')).fill"
    soft = "getComputedStyle(document.querySelector('.subtitle')).color"
    light = view.page.evaluate(ink)
    assert light == view.page.evaluate(soft)
    view.page.emulate_media(color_scheme="dark")
    wait_until(view.page, f"{ink} !== '{light}'")
    assert view.page.evaluate(ink) == view.page.evaluate(soft)
    view.page.set_viewport_size({"width": 400, "height": 800})
    wait_until(
        view.page,
        "[...document.querySelectorAll('.chart .main-svg')].every((svg) => svg.getBoundingClientRect().right <= 400)"
        " && document.documentElement.scrollWidth <= innerWidth",
    )
    assert view.complaints == []


def test_tables_open_and_scroll_within_themselves(opened: Opened) -> None:
    view = opened("demo", "narrow")
    for summary in view.page.locator("summary").all():
        summary.click()
    assert view.page.locator("tbody").first.locator("tr").count() == len(RESULTS["demo"].rows)
    assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert view.page.evaluate("(box => box.scrollWidth > box.clientWidth)(document.querySelector('.scroll'))")
