"""The sections of a diagnosis with causes: which there are, and the words around what they show."""

import re
from dataclasses import replace

import pytest

import diagnosis_examples as examples
import reporting_examples
import task_examples
from diagnosis_examples import DRAWN, ORDER, chart_of, full_result, only, section_keys, without
from reporting_examples import charts_of
from uncollapse.diagnosis.causes import attribution
from uncollapse.diagnosis.costs import cloze
from uncollapse.measures import MEASURES
from uncollapse.records import Result
from uncollapse.reporting import glossary, words
from uncollapse.reporting.diagnosis import costs
from uncollapse.reporting.diagnosis.terms import TERMS
from uncollapse.reporting.sections import make_sections

VIEWS = {row.view for room in examples.ROOMS for row in only(room).rows}


# --- which sections there are


def test_sections_come_in_the_order_of_the_questions() -> None:
    assert section_keys(full_result()) == ORDER


@pytest.mark.parametrize("room", examples.ROOMS)
def test_a_room_alone_has_its_section_with_everything_drawn(room: str) -> None:
    result = only(room)
    assert set(section_keys(result)) & set(examples.ROOMS) == {room}
    (section,) = (section for section in make_sections(result) if section.key == room)
    assert {chart.key for chart in section.charts} == DRAWN[room]
    assert all((chart.figure or chart.table) and not chart.missing for chart in section.charts)
    assert section.title.endswith("?")
    assert section.lead.endswith(".")


def test_what_nobody_asked_for_is_left_out_altogether() -> None:
    for result in (Result(), reporting_examples.demo_result(), task_examples.task_result()):
        assert not set(section_keys(result)) & set(examples.ROOMS)
    assert not set(section_keys(replace(full_result(), rows=(), about={}))) & set(examples.ROOMS)


@pytest.mark.parametrize("room", sorted(set(examples.ROOMS) - {"hubness"}))
def test_what_was_asked_for_without_any_number_says_so(room: str) -> None:
    result = Result(about={room: {"documents": 7}})
    (section,) = (section for section in make_sections(result) if section.key == room)
    assert section.charts
    for chart in section.charts:
        assert chart.figure is None
        assert chart.table is None
        assert re.match(r"This result holds no .*\.$", chart.missing), chart.key


@pytest.mark.parametrize(
    ("keys", "chart", "said"),
    [
        ({"view": "overall"}, "audit-limits", "no count of what is cut off"),
        ({"view": "audit_by_length"}, "audit-lengths", "no tokens lost by length"),
        ({"measure": "cause"}, "causes", "holds no causes"),
        ({"view": "causes", "bin": "start"}, "causes", "holds no causes"),
        ({"measure": "control_effect"}, "controls", "holds no controls"),
        ({"view": "cost_overall"}, "costs", "holds no searches"),
        ({"view": "cost_by_length"}, "costs-length", "no search by sentences, by length"),
        ({"view": "cost_by_length"}, "costs-dilution", "no evidence dilution by length"),
        ({"view": "cost_by_position"}, "costs-position", "no search by sentences, by their place"),
        ({"measure": "quote_recall@1"}, "costs-quotes", "no search by quotes"),
        ({"view": "cost_by_window"}, "costs-window", "no search over texts cut to several windows"),
        ({"view": "cost_grid"}, "costs-needles", "no planted sentences"),
        ({"measure": "occurrence"}, "hubness-lengths", "no such counts by length"),
        ({"measure": "threshold@0.01"}, "scores-threshold", "no thresholds"),
        ({"measure": "false_positive_rate@0.01"}, "scores-false-positive-rate", "no share of unrelated pairs"),
    ],
)
def test_rows_that_are_missing_leave_a_sentence(keys: dict[str, str], chart: str, said: str) -> None:
    room = only(next(room for room in examples.ROOMS if chart in DRAWN[room]))
    result = without(room, **keys)
    assert len(result.rows) < len(room.rows)
    found = chart_of(result, chart)
    assert (found.figure, found.table, found.alt) == (None, None, "")
    assert said in found.missing


def test_sources_texts_and_servers_are_left_out_where_the_audit_has_none() -> None:
    result = without(replace(only("audit"), about={}), view="audit_by_source")
    assert [chart.key for chart in make_sections(result)[0].charts] == ["audit-limits", "audit-lengths"]


def test_searches_that_found_nothing_to_search_say_so_once() -> None:
    (section,) = (one for one in make_sections(Result(about={"costs": {"documents": 9}})) if one.key == "costs")
    assert [chart.key for chart in section.charts] == ["costs"]


# --- words around every chart


def test_every_chart_has_one_reading_sentence_and_words_for_who_cannot_see_it() -> None:
    charts = list(charts_of(full_result()).values())
    assert set().union(*DRAWN.values()) <= {chart.key for chart in charts}
    for chart in charts:
        assert chart.reading.endswith("."), chart.key
        assert len(re.findall(r"[.!?](?:\s|$)", chart.reading)) == 1, chart.key
        assert not chart.figure or re.search(r"\d", chart.alt), chart.key


def test_alt_texts_hold_the_numbers() -> None:
    alts = {key: chart_of(full_result(), key).alt for room in examples.ROOMS for key in DRAWN[room]}
    assert "First pieces alone: 0.147; How texts begin: +0.012;" in alts["causes"]
    assert alts["causes"].endswith("Attention over the whole text: +0.097; Whole texts: 0.462.")
    assert "Sentences in random order, against: all that is read: \N{MINUS SIGN}0.003" in alts["controls"]
    assert "Limit of 256 tokens: 0 % at 1\N{EN DASH}7" in alts["audit-lengths"]
    assert "0.490 for queries of 15-61 and documents of 304-512 tokens" in alts["scores-threshold"]


def test_every_number_of_the_sections_is_explained() -> None:
    measures = {row.measure for room in examples.ROOMS for row in only(room).rows}
    assert {name for name in measures if glossary.find_term(name) is None} == set()
    for name, entry in TERMS.items():
        assert entry.name == name
        assert entry.reading.endswith(".")
        found = glossary.find_term(name.replace("@k", "@10"))
        assert found is not None
        assert not name.endswith("@k") or not re.search(r"\bk\b", found.title + found.reading), name


def test_the_rooms_that_quick_leaves_out_give_the_numbers_that_it_is_said_to_leave_out() -> None:
    def given(*rooms: str) -> set[str]:
        measures = {row.measure for room in rooms for row in only(room).rows} - set(MEASURES)
        return {re.sub(r"@[\d.]+", "@k", measure) for measure in measures}

    names = glossary.numbers_of_diagnosis(quick=True)
    assert {names[name] for name in given("audit")} == {""}
    assert {names[name] for name in given(*examples.ROOMS[1:])} == {"--quick leaves it out"}


def test_every_view_has_words_for_the_table_of_all_numbers() -> None:
    assert VIEWS - set(words.VIEWS) == set()


def test_names_are_those_of_the_rooms_that_measure() -> None:
    assert {name: cause.title for name, cause in attribution.CAUSES.items()} == examples.TITLES
    assert costs.PLACES == cloze.THIRDS
    assert {"start", "whole"} <= set(attribution.STEPS)
