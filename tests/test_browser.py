"""The report in a real browser: it draws, it stays on the machine, it fits, and hostile text stays text."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import reporting_examples as examples
from uncollapse.records import Result
from uncollapse.reporting import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 240_000
"""So long a page may take to open: a busy machine is not a broken report."""
RESULTS = {
    "demo": examples.demo_result(),
    "diagnose": examples.diagnose_result(),
    "hostile": examples.hostile_result(),
    "empty": Result(),
}
SIZES = {"wide": (1280, 900), "narrow": (400, 800)}


@dataclass
class View:
    """An open report, and everything it said or asked for since it was opened."""

    page: object
    address: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser on this machine: looked for {', '.join(BROWSERS)}")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    for name, result in RESULTS.items():
        write_report(folder / f"{name}.html", result)
    return {name: folder / f"{name}.html" for name in RESULTS}


@pytest.fixture(scope="module")
def opened(chromium, files) -> object:  # type: ignore[no-untyped-def]
    """Opens a report; a plotly page takes seconds on a small machine, so that the same one is opened once."""
    views: dict[tuple[str, str], View] = {}

    def open_report(name: str, size: str = "wide", *, fresh: bool = False) -> View:
        if fresh or (name, size) not in views:
            width, height = SIZES[size]
            page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme="light")
            page.set_default_timeout(PATIENCE_MS)
            view = View(page, files[name].as_uri())
            page.on("request", lambda request: view.requests.append(request.url))
            page.on("console", lambda message: view.complaints.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: view.complaints.append(f"error: {error}"))
            page.goto(view.address)
            wait_until(page, "document.querySelectorAll('.chart:not(.js-plotly-plot)').length === 0")
            if fresh:
                return view
            views[name, size] = view
        return views[name, size]

    return open_report


def wait_until(page, condition: str, *, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    """Playwright's own wait_for_function needs eval, which the page's policy forbids."""
    for _ in range(int(seconds * 20)):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {condition}")


OPENED = [
    ("demo", "wide"),
    ("demo", "narrow"),
    ("diagnose", "narrow"),
    ("hostile", "wide"),
    ("hostile", "narrow"),
    ("empty", "narrow"),
]


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_report_opens_without_a_word_and_without_the_network(opened, name: str, size: str) -> None:  # type: ignore[no-untyped-def]
    view = opened(name, size)
    view.page.mouse.wheel(0, 20_000)
    view.page.wait_for_timeout(100)
    assert view.complaints == []
    assert view.requests == [view.address]
    assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_every_chart_is_drawn_inside_the_page(opened, name: str, size: str) -> None:  # type: ignore[no-untyped-def]
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
def test_hover_shows_the_text_its_id_and_its_tokens(opened, name: str) -> None:  # type: ignore[no-untyped-def]
    view = opened(name, "narrow")
    chart = view.page.locator("#chart-points-0")
    chart.scroll_into_view_if_needed()
    x, y = view.page.evaluate(
        """() => {
            const dots = [...document.querySelectorAll('#chart-points-0 path.point')];
            const box = dots.at(-1).getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }"""
    )
    view.page.mouse.move(x, y)
    label = chart.locator(".hovertext")
    label.wait_for()
    said = "".join("".join(label.all_text_contents()).split())
    points = [point for point in RESULTS[name].points if point.fix == "none"]
    assert any(_spoken(f"{point.n_tokens}tokens{point.id}{point.snippet}") == _spoken(said) for point in points)
    box = label.locator("path").first.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 400
    assert chart.locator("a, b, script, img").count() == 0
    assert view.complaints == []
    assert view.requests == [view.address]


def _spoken(text: str) -> str:
    """The text without white space and without letters that a browser may replace."""
    return "".join(letter for letter in text if letter.isprintable() and not letter.isspace())


@pytest.mark.parametrize("size", SIZES)
def test_hostile_text_never_runs(opened, size: str) -> None:  # type: ignore[no-untyped-def]
    view = opened("hostile", size)
    view.page.locator("summary").first.click()
    view.page.locator("#chart-rise").hover()
    assert view.page.evaluate("typeof window.pwned") == "undefined"
    assert view.page.evaluate("document.querySelectorAll('img, a, iframe, main b').length") == 0
    assert view.page.locator("h1").inner_text() == examples.HOSTILE[0]
    assert view.page.locator("pre").inner_text() == examples.HOSTILE[0]


def test_policy_stops_script_that_got_in(opened) -> None:  # type: ignore[no-untyped-def]
    view = opened("empty", fresh=True)
    view.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x: onerror=\"window.pwned=1\">')")
    view.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.pwned=1'}))"
    )
    view.page.wait_for_timeout(200)
    assert view.page.evaluate("typeof window.pwned") == "undefined"
    assert any("Content Security Policy" in complaint for complaint in view.complaints)


def test_charts_follow_the_readers_colours_and_window(opened) -> None:  # type: ignore[no-untyped-def]
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


def test_tables_open_and_scroll_within_themselves(opened) -> None:  # type: ignore[no-untyped-def]
    view = opened("demo", "narrow")
    for summary in view.page.locator("summary").all():
        summary.click()
    assert view.page.locator("tbody").first.locator("tr").count() == len(RESULTS["demo"].rows)
    assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert view.page.evaluate("(box => box.scrollWidth > box.clientWidth)(document.querySelector('.scroll'))")
