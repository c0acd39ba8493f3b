"""The report of an explanation in a real browser: it draws, fits and is silent, wide and narrow, light and dark."""

from itertools import pairwise
from typing import Any

import pytest

import explanation_examples as examples
from browser_pages import SIZES, Opened, View, check_charts, check_quiet, opener

pytestmark = pytest.mark.browser

SCHEMES = {"wide": "light", "narrow": "dark"}


@pytest.fixture(scope="module")
def opened(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    folder = tmp_path_factory.mktemp("reports")
    by_scheme = {one: opener(chromium, folder, {"full": examples.full_result}, scheme=one) for one in SCHEMES.values()}

    def open_report(size: str) -> View:
        return by_scheme[SCHEMES[size]]("full", size)

    return open_report


@pytest.mark.parametrize("size", SIZES)
def test_report_opens_without_a_word_and_fits(opened: Opened, size: str) -> None:
    view = opened(size)
    view.page.locator("#numbers summary").first.click()
    check_quiet(view)


@pytest.mark.parametrize("size", SIZES)
def test_every_chart_is_drawn_inside_the_page_at_its_height(opened: Opened, size: str) -> None:
    charts = check_charts(opened(size), size, within=".explanation")
    assert len(charts) == len([chart for chart in examples.charts_of(examples.full_result()).values() if chart.figure])


def test_labels_do_not_overlap_on_a_narrow_page(opened: Opened) -> None:
    page = opened("narrow").page
    for axis, start, end in (("xtick", "left", "right"), ("ytick", "top", "bottom")):
        for key in ("heads-longest", "stages-share", "frequencies-power", "embedding-changes", "theory"):
            boxes = page.evaluate(
                f"""[...document.querySelectorAll('#chart-{key} .{axis} text')].map((tick) => {{
                    const box = tick.getBoundingClientRect(); return [box.{start}, box.{end}];
                }})"""
            )
            assert len(boxes) > 1
            assert all(one[1] <= other[0] + 1 for one, other in pairwise(sorted(boxes))), (key, axis)


@pytest.mark.parametrize(
    ("key", "place", "said"),
    [
        ("heads-longest", (0.5 / 12, 0.5 / 6), ("layer 0, head 0", "Filter rate", "95 % interval", "n = 48")),
        ("temperature-keeps-filter-rate", (1.5 / 12, 0.5 / 6), ("layer 0, head 1", "could not be reached")),
        ("frequencies-power", (0.5 / 16, 5.5 / 6), ("layer 5", "cycles a token", "Share of power", "n = 48")),
    ],
)
def test_hover_says_the_number_its_interval_and_n(opened: Opened, key, place, said) -> None:
    view = opened("wide")
    chart = view.page.locator(f"#chart-{key}")
    chart.scroll_into_view_if_needed()
    box = chart.locator(".heatmaplayer image").bounding_box()
    assert box is not None
    view.page.mouse.move(box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"])
    label = chart.locator(".hovertext")
    label.wait_for()
    found = " ".join(label.all_text_contents())
    assert [words for words in said if words not in found] == []
    assert view.complaints == []


def test_legends_show_more_than_colours(opened: Opened) -> None:
    marks = opened("wide").page.evaluate(
        """[...document.querySelectorAll('.explanation .legend')].map((legend) => [...legend.children].map((entry) => {
            const mark = getComputedStyle(entry, '::before');
            return [mark.borderTopStyle, mark.borderTopWidth, mark.width, mark.transform, mark.backgroundColor].join();
        }))"""
    )
    assert max(map(len, marks)) == 5
    assert all(len(set(entries)) == len(entries) for entries in marks)
