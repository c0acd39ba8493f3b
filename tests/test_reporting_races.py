"""The page of a race: what it says, what it draws, and what it draws not."""

from dataclasses import replace

import pytest

from race_examples import FAMILIES, RULES, Planted, judged, race_result, run
from uncollapse.evaluation.statistics.linked import noted_linked
from uncollapse.records import Result, Row
from uncollapse.reporting import glossary
from uncollapse.reporting.html import render_report
from uncollapse.reporting.races import make_race_sections, make_race_tiles
from uncollapse.reporting.races import sections as races
from uncollapse.reporting.races.plots import Priced, cost_chart
from uncollapse.tuning import rows


def charts(result: Result):  # type: ignore[no-untyped-def]
    (section,) = make_race_sections(result)
    return {chart.key.removeprefix("race-1-"): chart for chart in section.charts}


def test_the_names_of_views_are_those_of_the_rows() -> None:
    assert (races.RACE, races.BY_LENGTH, races.DIALS, races.COSTS, races.BLIND, races.WHOLE) == (
        rows.RACE, rows.BY_LENGTH, rows.DIALS, rows.COSTS, rows.BLIND, rows.WHOLE,
    )  # fmt: skip


def test_every_family_has_a_line_with_gain_place_and_cost() -> None:
    table = charts(race_result())["families"].table
    first, second, last = table.lines
    assert [line[0].text for line in table.lines] == ["whitening", "temperature", "centering(role)"]
    assert first[1].word == "better"
    assert second[2].marks[-1][0] == "bad"
    assert "820" in second[2].marks[-1][1]
    assert last[1].word == "cannot tell"
    assert first[3].text.startswith("behind by 0.03")
    assert first[3].under.startswith("whitening(0.5)")
    assert first[4].text == "1.00, 1.00"
    assert first[4].under == "costs one Dense layer; learned from 200 documents"


def test_lengths_are_a_map_with_a_number_in_every_field() -> None:
    figure = charts(race_result())["lengths"].figure
    (heat, words) = figure["data"]
    assert len(heat["z"]) == 3
    assert len(words["text"]) == 15
    assert heat["zmax"] == -heat["zmin"]
    bold = [text for text in words["text"] if "<b>" in text]
    assert any("\N{MINUS SIGN}0.0" in text for text in bold), "the loss of the temperature is proven"


def test_a_number_fits_its_field_on_a_narrow_page() -> None:
    tiny = [replace(row, value=-0.0003) if row.view == rows.BY_LENGTH else row for row in race_result().rows]
    texts = charts(replace(race_result(), rows=tuple(tiny)))["lengths"].figure["data"][1]["text"]
    assert {text.replace("<b>", "").replace("</b>", "") for text in texts} == {"0.000"}


def test_what_n_counts_is_said_where_it_is_not_queries() -> None:
    (plain,) = make_race_sections(race_result())
    assert "judged queries. Every gain" in plain.lead
    entry = {**race_result().about["races"][0], "n_groups": 40}
    (grouped,) = make_race_sections(replace(race_result(), about={"races": [entry]}))
    assert "judged queries in 40 independent groups, which n counts" in grouped.lead


def test_items_that_are_not_independent_are_spoken_of_once_a_data_set() -> None:
    plain = race_result()
    linked = replace(plain, rows=tuple(noted_linked(row, "queries") for row in plain.rows))
    told = "Here n counts items that share what is relevant and are not independent"
    assert [render_report(result).count(told) for result in (plain, linked)] == [0, 1]


def test_too_few_queries_for_bins_are_said() -> None:
    few, _ = judged(run(Planted({}), n=30))
    assert charts(few)["lengths"].missing == "There are too few queries to look at single lengths."
    assert charts(few)["families"].table.lines[0][2].under == "too few queries to look at single lengths"


def test_cost_is_drawn_where_it_differs() -> None:
    assert "cost" not in charts(race_result())
    dear = [
        replace(row, value=1.7) if (row.measure, row.fix) == ("encode_cost", "temperature") else row
        for row in race_result().rows
    ]
    found = charts(replace(race_result(), rows=tuple(dear)))
    assert found["ladder"].figure["layout"]["annotations"]
    assert "temperature 1.70 times" in found["cost"].alt


def test_families_of_one_cost_stand_side_by_side() -> None:
    gain = Row("ndcg@10_gain", 0.01, 0.0, 0.02, 90, p_holm=0.2)
    figure = cost_chart([Priced(name, gain, 1.0, 1.0) for name in "abc"], title="nDCG@10")
    across = [x for trace in figure["data"] for x in trace["x"]]
    assert len(set(across)) == 3
    assert sum(across) == pytest.approx(3)


def test_every_dial_is_listed_and_what_the_probe_gives_it() -> None:
    table = charts(race_result())["dials"].table
    listed = [line[0].text for line in (*table.lines, *table.rest)]
    assert sorted(listed) == sorted(name for family in FAMILIES for name in family.grid)


def test_tiles_hold_the_score_the_winner_and_the_race() -> None:
    labels = [tile.label for tile in make_race_tiles(race_result())]
    assert labels == ["nDCG@10, model as it is", "gain by whitening", "gain by whatever the race chooses"]
    nothing, _ = judged(run(Planted({})))
    assert len(make_race_tiles(nothing)) == 2


def test_the_page_holds_the_verdict_and_shows_hostile_names_as_they_are() -> None:
    heat = run(Planted({"whitening(0.25)": 0.05}), name="<b>bold</b>", rules=RULES)
    page = render_report(judged(heat)[0])
    assert "Which fix pays on &lt;b&gt;bold&lt;/b&gt;/test?" in page
    assert "<b>bold</b>" not in page
    assert "Use whitening(0.25)" in page


def test_every_measure_of_a_race_is_explained() -> None:
    for measure in {row.measure for row in race_result().rows}:
        assert glossary.find_term(measure) is not None, measure


def test_other_results_have_no_section() -> None:
    assert make_race_sections(Result()) == []
    assert make_race_tiles(Result()) == []
