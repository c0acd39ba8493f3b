"""Reports in a real browser: one Chromium a process, and pages that remember what they said and asked for."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from uncollapse.records import Result
from uncollapse.reporting import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 240_000
"""So long a page may take to open: a busy machine is not a broken report."""
SIZES = {"wide": (1280, 900), "narrow": (400, 800)}


@dataclass
class View:
    """An open report, and everything it said or asked for since it was opened.

    Args:
        page: of playwright.
        address: of the file.
        requests: addresses, its own among them.
        complaints: of the console, and errors.
    """

    page: Any
    address: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def beyond(self) -> list[str]:
        """What was asked for and is not in the file: pictures of grids are in it, as data addresses."""
        return [request for request in self.requests if not request.startswith("data:") and request != self.address]


Opened = Callable[..., View]


@contextmanager
def launch_chromium() -> Iterator[Any]:
    """A headless Chromium; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser on this machine: looked for {', '.join(BROWSERS)}")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


def opener(browser: Any, folder: Path, results: dict[str, Callable[[], Result]], *, scheme: str = "light") -> Opened:
    """What opens a report; a page of many figures takes seconds on a small machine, so the same one is opened once.

    Args:
        browser: from `launch_chromium`.
        folder: where reports are written.
        results: by name, what makes them.
        scheme: colours that the reader has set.
    """
    views: dict[tuple[str, str], View] = {}

    def open_report(name: str, size: str = "wide", *, fresh: bool = False) -> View:
        path = folder / f"{name}.html"
        if not path.exists():
            write_report(path, results[name]())
        if fresh:
            return _open(browser, path, size, scheme)
        if (name, size) not in views:
            views[name, size] = _open(browser, path, size, scheme)
        return views[name, size]

    return open_report


def _open(browser: Any, path: Path, size: str, scheme: str) -> View:
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(PATIENCE_MS)
    view = View(page, path.as_uri())
    page.on("request", lambda request: view.requests.append(request.url))
    page.on("console", lambda message: view.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: view.complaints.append(f"error: {error}"))
    page.goto(view.address)
    wait_until(page, "document.querySelectorAll('.chart:not(.js-plotly-plot)').length === 0")
    return view


def wait_until(page: Any, condition: str, *, seconds: float = 60) -> None:
    """Playwright's own wait_for_function needs eval, which the page's policy forbids."""
    for _ in range(int(seconds * 20)):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {condition}")


def hovered(view: View, chart: str, mark: str, place: int = -1) -> Any:
    """The label that is shown over a mark of a chart.

    Args:
        view: from an opener.
        chart: its id.
        mark: what to point at, as CSS inside the chart.
        place: which of the marks.
    """
    found = view.page.locator(f"#{chart}")
    found.scroll_into_view_if_needed()
    x, y = view.page.evaluate(
        f"""() => {{
            const box = [...document.querySelectorAll('#{chart} {mark}')].at({place}).getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }}"""
    )
    view.page.mouse.move(x, y)
    label = found.locator(".hovertext")
    label.wait_for()
    return label


def check_quiet(view: View) -> None:
    """With all tables open the page fits its window; it ran none of its text, and neither complained nor fetched."""
    for summary in view.page.locator("figure summary").all():
        if summary.locator("xpath=..").get_attribute("open") is None:
            summary.click()
    assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert view.page.evaluate("typeof window.pwned") == "undefined"
    assert view.complaints == []
    assert view.beyond == []


def check_charts(view: View, size: str, *, within: str = "body") -> list[str]:
    """Every chart has marks and is drawn inside the page at its height, with what is written at its axes.

    Args:
        view: from an opener.
        size: of the window.
        within: the part of the page, as CSS.

    Returns:
        The ids of the charts.
    """
    charts = view.page.evaluate(
        f"""[...document.querySelectorAll('{within} .chart')].map((chart) => {{
            const box = chart.querySelector('svg.main-svg').getBoundingClientRect();
            const marks = chart.querySelectorAll(
                '.trace path, .point path, path.point, .textpoint, .heatmaplayer image');
            const said = [...chart.querySelectorAll('.ytick text, .xtick text, .colorbar text, .annotation-text')]
                .map((text) => text.getBoundingClientRect());
            return [chart.id, box.left, box.right, box.height, chart.clientHeight, marks.length,
                    Math.min(...said.map((text) => text.left)), Math.max(...said.map((text) => text.right))];
        }})"""
    )
    for key, left, right, height, room, marks, first, last in charts:
        assert 0 <= left < right <= SIZES[size][0], key
        assert right - left > 250, key
        assert height == pytest.approx(room, abs=1), key
        assert marks > 0, key
        assert first >= 0, key
        assert last <= SIZES[size][0], key
    return [key for key, *_ in charts]
