"""The report of a race in a real browser: it draws, fits and is silent, and what a user named stays text."""

from dataclasses import replace
from typing import Any

import pytest

from browser_pages import Opened, check_charts, check_quiet, hovered, opener
from race_examples import Planted, judged, race_result, run
from reporting_examples import HOSTILE
from uncollapse.records import Result

pytestmark = pytest.mark.browser


def hostile_race() -> Result:
    """A data set whose name, notes and refusals are an attack."""
    heat = run(Planted({}), name=HOSTILE[0])
    return judged(replace(heat, notes=HOSTILE, left_out=dict(zip(HOSTILE, HOSTILE[::-1], strict=True))))[0]


OPENED = [("race", "wide"), ("race", "narrow"), ("hostile", "narrow")]


@pytest.fixture(scope="module")
def opened(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return opener(chromium, tmp_path_factory.mktemp("reports"), {"race": race_result, "hostile": hostile_race})


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_report_opens_without_a_word_and_fits(opened: Opened, name: str, size: str) -> None:
    check_quiet(opened(name, size))


@pytest.mark.parametrize(("name", "size"), OPENED)
def test_every_chart_is_drawn_inside_the_page_at_its_height(opened: Opened, name: str, size: str) -> None:
    charts = check_charts(opened(name, size), size)
    assert {key.rpartition("-")[2] for key in charts} == {"ladder", "lengths"}


def test_hover_says_what_a_family_adds(opened: Opened) -> None:
    view = opened("race", "wide")
    said = " ".join(hovered(view, "chart-race-1-ladder", "path.point").all_text_contents())
    assert "n = " in said
    assert view.complaints == []
