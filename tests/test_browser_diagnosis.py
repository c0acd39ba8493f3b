"""The report of a diagnosis with causes in a real browser: it draws, fits and is silent, and user text stays text."""

from itertools import pairwise
from typing import Any

import pytest

import diagnosis_examples as examples
from browser_pages import Opened, check_charts, check_quiet, hovered, opener

pytestmark = pytest.mark.browser

RESULTS = {"full": examples.full_result, "hostile": examples.hostile_diagnosis}
OPENED = [("full", "wide"), ("full", "narrow"), ("hostile", "narrow")]


@pytest.fixture(scope="module")
def opened(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return opener(chromium, tmp_path_factory.mktemp("reports"), RESULTS)


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_report_opens_without_a_word_and_fits(opened: Opened, name: str, size: str) -> None:
    check_quiet(opened(name, size))


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_every_chart_is_drawn_inside_the_page_at_its_height(opened: Opened, name: str, size: str) -> None:
    assert len(check_charts(opened(name, size), size, within=".diagnosis")) == 13


def test_labels_do_not_overlap_on_a_narrow_page(opened: Opened) -> None:
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


def test_legends_show_more_than_colours(opened: Opened) -> None:
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


def test_hover_says_the_number_its_interval_and_n(opened: Opened) -> None:
    view = opened("full", "wide")
    label = hovered(view, "chart-causes", ".point path", 2)
    said = " ".join(label.all_text_contents())
    for words in ("Longer texts say more", "+0.142", "+0.131 to +0.153", "n = 400"):
        assert words in said
    assert view.complaints == []
