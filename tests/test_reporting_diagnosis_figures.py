"""The figures and tables of a diagnosis with causes: the rows and nothing else."""

from dataclasses import replace

import pytest

import diagnosis_examples as examples
import task_examples
from diagnosis_examples import chart_of, full_result, only, section_keys, without
from reporting_examples import charts_of
from test_reporting import _contrast
from uncollapse.records import Result, Row
from uncollapse.reporting import words
from uncollapse.reporting.diagnosis import plots
from uncollapse.reporting.drawing import COLOURS
from uncollapse.reporting.sections import make_sections


def figure_of(result: Result, key: str) -> dict:  # type: ignore[type-arg]
    figure = chart_of(result, key).figure
    assert figure is not None, key
    return figure


def rows_by_bin(view: str, measure: str) -> dict[str, Row]:
    return {row.bin: row for row in full_result().select(view=view, measure=measure)}


def test_bars_are_the_rows_with_their_intervals() -> None:
    figure = figure_of(full_result(), "costs-length")
    for trace, measure in zip(figure["data"], ("cloze_recall@10", "cloze_recall@1"), strict=True):
        rows = list(rows_by_bin("cost_by_length", measure).values())
        assert trace["y"] == [row.value for row in rows]
        assert trace["error_y"]["array"] == [row.high - row.value for row in rows if row.high is not None]
    assert figure["layout"]["xaxis"]["ticktext"][0] == "32\N{EN DASH}<br>63"


def test_one_group_of_bars_is_told_and_not_drawn() -> None:
    full = full_result()
    one = next(iter(rows_by_bin("cost_by_length", "cloze_recall@10")))
    rows = tuple(row for row in full.rows if row.view != "cost_by_length" or row.bin == one)
    chart = chart_of(replace(full, rows=rows), "costs-length")
    assert chart.figure is None
    assert chart.missing.startswith("There is one group only, so nothing to compare. Among the first ten: ")
    row = rows_by_bin("cost_by_length", "cloze_recall@10")[one]
    assert f"at 32\N{EN DASH}63 (95 % interval {words.interval(row)}; n = {row.n})." in chart.missing


def test_places_in_the_text_come_in_reading_order_with_what_is_cut_off_last() -> None:
    turned = replace(only("costs"), rows=tuple(reversed(only("costs").rows)))
    figure = figure_of(turned, "costs-quotes")
    assert figure["layout"]["xaxis"]["ticktext"] == ["beginning", "middle", "end", "cut off"]
    rows = rows_by_bin("cost_by_position", "quote_recall@1")
    assert figure["data"][0]["y"] == [rows[place].value for place in ("beginning", "middle", "end", "cut off")]


def test_lengths_come_shortest_first_whatever_the_order_of_the_rows() -> None:
    full = full_result()
    turned = replace(full, rows=tuple(reversed(full.rows)))
    for key in (
        "audit-lengths",
        "costs-length",
        "costs-window",
        "costs-needles",
        "hubness-lengths",
        "scores-threshold",
    ):
        assert figure_of(turned, key)["layout"] == figure_of(full, key)["layout"], key


def test_each_bar_of_the_waterfall_begins_where_the_one_above_ends() -> None:
    first, *causes, last = figure_of(full_result(), "causes")["data"]
    steps, found = rows_by_bin("causes", "mean_cosine"), rows_by_bin("causes", "cause")
    assert (first["x"], last["x"]) == ([steps["start"].value], [steps["whole"].value])
    assert [trace["x"] for trace in causes] == [[found[name].value] for name in examples.CAUSES]
    end = first["x"][0]
    for place, trace in enumerate(causes, start=1):
        assert trace["base"] == [pytest.approx(end)]
        assert trace["y"] == [place]
        end += trace["x"][0]
    assert end == pytest.approx(last["x"][0])


def test_a_waterfall_far_from_zero_has_dots_at_its_ends_and_an_axis_of_its_own() -> None:
    near, far = only("causes"), only("causes")
    far = replace(
        far,
        rows=tuple(
            replace(row, value=row.value + 3, low=(row.low or 0) + 3, high=(row.high or 0) + 3)
            if row.measure == "mean_cosine"
            else row
            for row in far.rows
        ),
    )
    first, last = (figure_of(far, "causes")["data"][place] for place in (0, -1))
    assert (first["type"], last["type"]) == ("scatter", "scatter")
    assert figure_of(near, "causes")["data"][0]["type"] == "bar"
    (near_low, near_high), (far_low, far_high) = (
        figure_of(x, "causes")["layout"]["xaxis"]["range"] for x in (near, far)
    )
    assert near_low < 0 < near_high
    assert 3 < far_low < first["x"][0] < last["x"][0] < far_high


def test_a_waterfall_of_next_to_nothing_is_not_blown_up() -> None:
    rows = (
        Row("mean_cosine", 0.5, None, None, 90, "causes", "start"),
        Row("cause", 0.001, None, None, 90, "causes", "attention"),
    )
    low, high = figure_of(Result(rows=rows), "causes")["layout"]["xaxis"]["range"]
    assert high - low == pytest.approx(plots.CONTRAST / 2)


def test_causes_that_can_be_nothing_are_pale_and_directions_have_signs() -> None:
    figure = figure_of(full_result(), "causes")
    fills = {name: trace["marker"] for name, trace in zip(examples.CAUSES, figure["data"][1:-1], strict=True)}
    orange, blue = COLOURS["before"], COLOURS["after"]
    assert {name for name, mark in fills.items() if mark["color"].endswith(",0.18)")} == {"truncation", "position"}
    assert {name for name, mark in fills.items() if mark["line"]["color"] == blue} == {"truncation"}
    assert {mark["line"]["color"] for mark in fills.values()} == {orange, blue}
    beside = [note["text"] for note in figure["layout"]["annotations"]]
    assert beside[1] == "<b>+0.012</b>"
    assert beside[4] == "<b>\N{MINUS SIGN}0.011</b>"


def test_causes_come_in_the_order_of_their_steps_and_an_unknown_one_is_kept() -> None:
    full = only("causes")
    new = Row("cause", 0.02, 0.01, 0.03, 400, "causes", "new_cause")
    result = replace(full, rows=(new, *reversed(full.rows)))
    labels = figure_of(result, "causes")["layout"]["yaxis"]["ticktext"]
    assert [label.replace("<br>", " ") for label in labels[1:-1]] == [
        *(examples.TITLES[name] for name in examples.CAUSES),
        "new cause",
    ]


def test_position_and_attention_may_be_one_number() -> None:
    full = without(without(only("causes"), bin="position"), bin="attention")
    one = Row("cause", 0.101, 0.09, 0.112, 400, "causes", "inseparable", note="the inside cannot be reached")
    result = replace(full, rows=(*full.rows, one))
    assert figure_of(result, "causes")["layout"]["yaxis"]["ticktext"][-2] == "Reading the whole<br>text at once"
    table = chart_of(result, "causes-meanings").table
    assert table
    assert table.lines[-1][1].marks == (("neutral", "the inside cannot be reached"),)
    assert table.lines[-1][2].under == examples.TABLE["inseparable"]["meaning"]


def test_the_table_of_causes_says_what_each_means_and_what_to_try() -> None:
    table = chart_of(full_result(), "causes-meanings").table
    assert table
    lines = {line[0].text: line for line in table.lines}
    more = lines["Longer texts say more"]
    assert more[1].text == "+0.142"
    assert more[1].under.replace("\xa0", " ") == "of +0.315; +0.131 to +0.153; n = 400"
    assert more[2].under == examples.TABLE["content_averaging"]["meaning"]
    assert more[3].under == examples.TABLE["content_averaging"]["remedy"]
    assert lines["Late positions"][2].under == "Its interval holds zero: it can be nothing."
    assert lines["Late positions"][3].text == words.UNKNOWN


def test_the_parts_are_told_with_the_rise_they_add_up_to_and_with_the_verdicts_beside_it() -> None:
    result = only("causes")
    rows = [replace(row, n_tokens=31.6 if row.bin == "start" else 505.1) for row in result.rows]
    alone = chart_of(replace(result, rows=tuple(rows)), "causes-meanings").reading.replace("\xa0", " ")
    rise = next(row for row in rows if row.measure == "rise")
    parts = sum(row.value for row in rows if row.measure == "cause")
    assert parts == pytest.approx(rise.value, abs=1e-6)
    assert "are the rise from first pieces (32 tokens) to whole texts (505), +0.315" in alone
    assert "another rise" not in alone
    windows = [Row("mean_cosine", 0.2, 0.1, 0.3, 90, "windows", label, float(label)) for label in ("8", "512")]
    both = replace(result, rows=(*rows, *windows, Row("mean_cosine_rise", 0.21, 0.1, 0.3, 90, "windows")))
    (section,) = (section for section in make_sections(both) if section.key == "causes")
    assert section.notes[-1] == (
        "The verdict speaks of another rise, from windows of 8 tokens to windows of 512: +0.210, n = 90."
    )


def test_a_cause_below_zero_has_the_other_meaning_and_no_advice() -> None:
    result = only("causes")
    rows = [
        replace(row, value=-0.2, low=-0.3, high=-0.1) if (row.measure, row.bin) == ("cause", "truncation") else row
        for row in result.rows
    ]
    table = chart_of(replace(result, rows=tuple(rows)), "causes-meanings").table
    assert table
    (line,) = (line for line in table.lines if line[0].text == examples.TITLES["truncation"])
    assert line[2].under == examples.TABLE["truncation"]["against"]
    assert line[3].text == words.UNKNOWN


def test_an_older_result_says_no_more_of_its_causes_than_it_knows() -> None:
    rows = only("causes").rows
    older = Result(rows=rows, about={"causes": {"documents": 200, "table": "lost"}})
    labels = figure_of(older, "causes")["layout"]["yaxis"]["ticktext"]
    assert [label.replace("<br>", " ") for label in labels[1:-1]] == [
        name.replace("_", " ") for name in examples.CAUSES
    ]
    table = chart_of(older, "causes-meanings").table
    assert table
    assert [line[0].text for line in table.lines] == [name.replace("_", " ") for name in examples.CAUSES]
    assert [cell.text for cell in table.lines[0][2:]] == [words.UNKNOWN, words.UNKNOWN]


def test_controls_stand_under_what_they_are_held_against() -> None:
    figure = figure_of(full_result(), "controls")
    (dots,) = figure["data"]
    rows = rows_by_bin("controls", "control_effect")
    labels = figure["layout"]["yaxis"]["ticktext"]
    headings = [note["text"] for note in figure["layout"]["annotations"] if note["text"].startswith("<b>against")]
    assert headings[:2] == ["<b>against: the first piece</b>", "<b>against: all that is read</b>"]
    assert len(labels) == len(rows) + len(headings)
    titles = {examples.CONTROLS[name][0]: row for name, row in rows.items()}
    drawn = {labels[place].replace("<br>", " "): x for place, x in zip(dots["y"], dots["x"], strict=True)}
    assert drawn == {title: row.value for title, row in titles.items()}


def test_a_control_is_filled_only_where_its_interval_excludes_zero() -> None:
    (dots,) = figure_of(full_result(), "controls")["data"]
    rows = full_result().select(measure="control_effect")
    sure = {row.value: bool((row.low or 0) > 0 or (row.high or 0) < 0) for row in rows}
    assert len(set(sure.values())) == 2
    for x, fill in zip(dots["x"], dots["marker"]["color"], strict=True):
        assert (fill != plots.HOLLOW) == sure[x]


def test_a_control_without_words_is_called_by_its_name() -> None:
    result = replace(only("controls"), about={})
    labels = figure_of(result, "controls")["layout"]["yaxis"]["ticktext"]
    assert "mixed topic" in labels
    assert chart_of(result, "controls").table


def test_what_a_control_could_not_measure_is_said() -> None:
    about = {"controls": {"left_out": {"shifted": "the model has no table of positions"}}}
    (section,) = (one for one in make_sections(replace(only("controls"), about=about)) if one.key == "controls")
    assert section.notes == ("Left out, shifted: the model has no table of positions.",)


def test_fields_hold_the_numbers_of_their_place_and_a_dash_where_there_is_none() -> None:
    figure = figure_of(full_result(), "scores-threshold")
    rows = rows_by_bin("scores", "threshold@0.01")
    heat, said = figure["data"]
    for y, document in enumerate(examples.DOCUMENTS):
        for x, query in enumerate(examples.QUERIES):
            row, text = rows.get(f"{query} x {document}"), said["text"][y * len(examples.QUERIES) + x]
            assert heat["z"][y][x] == (row.value if row else None)
            assert text == (words.number(row.value, row.measure) if row else words.UNKNOWN)
    assert said["text"].count(words.UNKNOWN) == 1


def test_needles_lie_as_deep_as_in_the_text() -> None:
    figure = figure_of(full_result(), "costs-needles")
    axis = figure["layout"]["yaxis"]
    assert axis["ticktext"] == list(examples.DEPTHS)
    assert axis["range"][0] > axis["range"][1]
    row = rows_by_bin("cost_grid", "needle_recall@1")["25 x 512"]
    assert figure["data"][0]["z"][1][3] == row.value


def test_occurrences_are_held_against_how_many_nearest_texts_were_looked_at() -> None:
    figure = figure_of(full_result(), "hubness-lengths")
    assert figure["data"][0]["x"] == [row.value for row in rows_by_bin("hubness", "occurrence").values()]
    few = replace(full_result(), rows=tuple(row for row in only("hubness").rows if row.bin not in examples.BINS[5:]))
    standing = chart_of(few, "hubness-lengths")
    assert standing.figure
    assert standing.figure["layout"]["shapes"][0]["y0"] == 10
    assert ("reference", "10: no length preferred") in standing.colours
    assert "among the 10 nearest of others" in standing.title
    three = chart_of(replace(few, about={"costs": {"neighbours": 3}}), "hubness-lengths")
    assert three.figure
    assert three.figure["layout"]["shapes"][0]["y0"] == 3
    assert "among the 3 nearest of others" in three.title


@pytest.mark.parametrize("about", [{}, {"costs": {"documents": 9}}, {"costs": {"neighbours": "10"}}])
def test_occurrences_of_an_older_result_are_held_against_nothing(about: dict[str, object]) -> None:
    older = chart_of(Result(rows=only("hubness").rows, about=about), "hubness-lengths")
    assert older.figure
    assert older.title == "How often a text is among the nearest of others, by length"
    assert "shapes" not in older.figure["layout"]
    assert "line they" not in older.reading


def test_many_groups_of_bars_lie_down_and_keep_the_level_they_are_held_against() -> None:
    standing = replace(full_result(), rows=full_result().select(measure="occurrence")[:7])
    assert figure_of(standing, "hubness-lengths")["data"][0]["orientation"] == "v"
    lying = figure_of(full_result(), "hubness-lengths")
    assert lying["data"][0]["orientation"] == "h"
    assert lying["layout"]["shapes"][0]["x0"] == 10


def test_small_differences_of_scores_have_colours_that_are_close() -> None:
    rows = tuple(
        Row(measure, value, 0.0, 1.0, 90, "scores", f"8 x {place}")
        for measure, values in (("threshold@0.01", (0.971, 0.972)), ("false_positive_rate@0.01", (0.009, 0.011)))
        for place, value in enumerate(values, start=1)
    )
    heat = figure_of(Result(rows=rows), "scores-threshold")["data"][0]
    assert heat["zmin"] == 0.971
    assert heat["zmax"] == pytest.approx(0.971 + plots.CONTRAST)
    heat = figure_of(Result(rows=rows), "scores-false-positive-rate")["data"][0]
    assert (heat["zmin"], heat["zmax"]) == (0.0, 0.011)
    heat = figure_of(full_result(), "costs-needles")["data"][0]
    assert (heat["zmin"], heat["zmax"]) == (0.0, 1.0)


# --- the audit


def test_limits_are_told_apart_by_more_than_colour() -> None:
    traces = figure_of(full_result(), "audit-lengths")["data"]
    marks = [(trace["marker"]["color"], trace["marker"]["pattern"]["shape"]) for trace in traces]
    assert len(traces) == 3
    assert len({colour for colour, _ in marks}) == len({shape for _, shape in marks}) == 3
    roles = [role for role, _ in chart_of(full_result(), "audit-lengths").colours]
    assert roles == ["limit-1", "limit-2", "limit-3"]


@pytest.mark.parametrize("ground", ["#ffffff", "#15171b"], ids=["light", "dark"])
def test_bars_have_contrast(ground: str) -> None:
    for role in ("limit-1", "limit-2", "limit-3", "limit-4"):
        assert _contrast(COLOURS[role], ground) >= 3, role


def test_more_limits_than_can_be_told_apart_are_named() -> None:
    result = only("audit")
    more = [
        replace(row, measure=f"tokens_lost@{limit}")
        for limit in (1024, 2048)
        for row in result.select(view="audit_by_length", measure="tokens_lost@512")
    ]
    chart = chart_of(replace(result, rows=(*result.rows, *more)), "audit-lengths")
    assert chart.figure
    names = [trace["name"] for trace in chart.figure["data"]]
    assert names == [f"limit of {limit} tokens" for limit in ("256", "512", "1,024", "2,048")]
    assert "Not drawn, but in the table of all numbers: limit of 8,192 tokens." in chart.remarks


def test_the_table_of_limits_says_whose_they_are() -> None:
    table = chart_of(full_result(), "audit-limits").table
    assert table
    assert [(line[0].text, line[0].under) for line in table.lines] == [
        ("limit of 256 tokens", "set in the model's folder"),
        ("limit of 512 tokens", "used in this study"),
        ("limit of 8,192 tokens", "asked about"),
    ]
    assert [line[2].text for line in table.lines] == ["47 %", "21 %", "0 %"]


def test_sources_that_lose_most_are_drawn_and_the_others_counted() -> None:
    rows = tuple(
        Row("tokens_lost@512", place / 100, None, None, 9, "audit_by_source", f"source {place:02}")
        for place in range(15)
    )
    chart = chart_of(Result(rows=rows), "audit-sources")
    assert chart.figure
    assert chart.figure["layout"]["yaxis"]["ticktext"] == [f"source {place:02}" for place in range(14, 2, -1)]
    assert "3 more sources are in the table of all numbers." in chart.remarks


def test_a_truncation_audit_is_no_task_and_an_evaluation_keeps_its_own_totals() -> None:
    assert "tasks" not in section_keys(only("audit"))
    assert "tasks" not in section_keys(full_result())
    both = replace(task_examples.task_result(), rows=(*task_examples.task_result().rows, *only("audit").rows))
    assert section_keys(both) == ["tasks", "task-1", "task-2", "task-3", "audit"]


def test_numbers_of_one_setting_are_not_mixed_with_another() -> None:
    full = only("hubness")
    other = tuple(replace(row, fix="temperature(0.8)", value=99.0) for row in full.rows)
    assert charts_of(replace(full, rows=(*other, *full.rows))) == charts_of(full)
    labels = figure_of(replace(full, rows=other), "hubness-lengths")
    assert set(labels["data"][0]["x"]) == {99.0}


def test_rows_without_intervals_say_why() -> None:
    few = "no interval: only 12 documents, fewer than 30"
    rows = tuple(replace(row, low=None, high=None, note=f"search among 12; {few}") for row in only("costs").rows)
    chart = chart_of(Result(rows=rows), "costs-length")
    assert chart.remarks == ("These numbers have no interval: search among 12; only 12 documents, fewer than 30",)
    assert "interval" not in chart.reading
    effect = Row("control_effect", 0.3, None, None, 12, "controls", "whole", note=few)
    assert figure_of(Result(rows=(effect,)), "controls")["data"][0]["marker"]["color"] == [plots.HOLLOW]
