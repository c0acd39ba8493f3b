"""The report of a diagnosis with causes in a real browser: it draws, fits and is silent, and user text stays text."""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import diagnosis_examples as examples
from uncollapse.reporting import write_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from test_browser import BROWSERS, PATIENCE_MS, SIZES, View, wait_until  # noqa: E402

pytestmark = pytest.mark.browser

RESULTS = {"full": examples.full_result, "hostile": examples.hostile_diagnosis}
OPENED = [("full", "wide"), ("full", "narrow"), ("hostile", "narrow")]


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
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    page.set_default_timeout(PATIENCE_MS)
    view = View(page, path.as_uri())
    page.on("request", lambda request: view.requests.append(request.url))
    page.on("console", lambda message: view.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: view.complaints.append(f"error: {error}"))
    page.goto(view.address)
    wait_until(page, "document.querySelectorAll('.chart:not(.js-plotly-plot)').length === 0", seconds=60)
    return view


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_report_opens_without_a_word_and_fits(opened, name: str, size: str) -> None:  # type: ignore[no-untyped-def]
    view = opened(name, size)
    for summary in view.page.locator("figure summary").all():
        if summary.locator("xpath=..").get_attribute("open") is None:
            summary.click()
    assert view.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert view.page.evaluate("typeof window.pwned") == "undefined"
    assert view.complaints == []
    # the picture of a grid is inside the page too, as a data address
    assert [request for request in view.requests if not request.startswith("data:")] == [view.address]


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_every_chart_is_drawn_inside_the_page_at_its_height(opened, name: str, size: str) -> None:  # type: ignore[no-untyped-def]
    boxes = opened(name, size).page.evaluate(
        """[...document.querySelectorAll('.diagnosis .chart')].map((chart) => {
            const box = chart.querySelector('svg.main-svg').getBoundingClientRect();
            const marks = chart.querySelectorAll('.trace path, .point path, path.point, .textpoint');
            const said = [...chart.querySelectorAll('.ytick text, .xtick text, .annotation-text')]
                .map((text) => text.getBoundingClientRect());
            return [chart.id, box.left, box.right, box.height, chart.clientHeight, marks.length,
                    Math.min(...said.map((text) => text.left)), Math.max(...said.map((text) => text.right))];
        })"""
    )
    assert len(boxes) == 13
    for key, left, right, height, room, marks, first, last in boxes:
        assert 0 <= left < right <= SIZES[size][0], key
        assert right - left > 250, key
        assert height == pytest.approx(room, abs=1), key
        assert marks > 0, key
        assert first >= 0, key
        assert last <= SIZES[size][0], key


def test_labels_do_not_overlap_on_a_narrow_page(opened) -> None:  # type: ignore[no-untyped-def]
    page = opened("full", "narrow").page
    for axis, start, end in (("xtick", "left", "right"), ("ytick", "top", "bottom")):
        for key in ("causes", "controls", "audit-lengths", "hubness-lengths", "costs-length", "costs-needles"):
            boxes = page.evaluate(
                f"""[...document.querySelectorAll('#chart-{key} .{axis} text')].map((tick) => {{
                    const box = tick.getBoundingClientRect(); return [box.{start}, box.{end}];
                }})"""
            )
            assert len(boxes) > 1
            boxes = sorted(box for box in boxes if box[0] < box[1])
            assert all(one[1] <= other[0] + 1 for one, other in pairwise(boxes)), (key, axis)


def test_legends_show_more_than_colours(opened) -> None:  # type: ignore[no-untyped-def]
    page = opened("full", "wide").page
    marks = page.evaluate(
        """[...document.querySelectorAll('#audit .legend')].map((legend) => [...legend.children].map((entry) => {
            const mark = getComputedStyle(entry, '::before');
            return [entry.className, mark.backgroundImage.split('(')[0], mark.width];
        }))"""
    )
    assert len(marks) == 2
    for entries in marks:
        assert [role for role, _, _ in entries] == ["limit-1", "limit-2", "limit-3"]
        assert len({image for _, image, _ in entries}) == 3
        assert {width for _, _, width in entries} == {"14px"}


def test_hover_says_the_number_its_interval_and_n(opened) -> None:  # type: ignore[no-untyped-def]
    view = opened("full", "wide")
    chart = view.page.locator("#chart-causes")
    chart.scroll_into_view_if_needed()
    x, y = view.page.evaluate(
        """() => {
            const bars = [...document.querySelectorAll('#chart-causes .point path')];
            const box = bars[2].getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }"""
    )
    view.page.mouse.move(x, y)
    label = chart.locator(".hovertext")
    label.wait_for()
    said = " ".join(label.all_text_contents())
    for words in ("Longer texts say more", "+0.142", "+0.131 to +0.153", "n = 400"):
        assert words in said
    assert view.complaints == []
