"""The figures of the report and the words around them: the rows and nothing else, and a reason where there is none."""

import json
import math
import re
from dataclasses import replace

import pytest

import reporting_examples as examples
from reporting_examples import charts_of
from uncollapse.records import LengthCount, Point, Result, Row
from uncollapse.reporting import plots, sections, words

DRAWN = {"windows", "as-is", "rise", "retrieval", "points-0", "points-1", "rank", "uniformity", "lengths"}


def test_every_chart_of_the_demo_is_drawn() -> None:
    charts = charts_of(examples.demo_result())
    assert set(charts) == DRAWN
    assert all(chart.figure and not chart.missing for chart in charts.values())


def test_figures_show_the_rows_and_nothing_else() -> None:
    result = examples.demo_result()
    figure = charts_of(result)["windows"].figure
    assert figure
    lines = {trace["name"]: trace for trace in figure["data"] if "markers" in trace["mode"] or trace.get("name")}
    for fix in examples.COSINES:
        rows = result.select(measure="mean_cosine", view="windows", fix=fix)
        assert lines[words.setting(fix)]["y"] == [row.value for row in rows]
        assert lines[words.setting(fix)]["x"] == [row.n_tokens for row in rows]
    bands = [trace for trace in figure["data"] if trace.get("fill") == "toself"]
    rows = result.select(measure="mean_cosine", view="windows", fix="none")
    assert [row.high for row in rows] + [row.low for row in reversed(rows)] in [band["y"] for band in bands]
    assert len(bands) == 2


@pytest.mark.parametrize("limit", [8, 24, 256])
def test_a_limit_is_inside_the_picture_wherever_the_texts_are(limit: int) -> None:
    figure = plots.histogram([LengthCount(16, 32, 5, 5), LengthCount(32, 64, 5, 0)], limits=[(limit, "limit")])
    low, high = figure["layout"]["xaxis"]["range"]
    assert low < math.log10(limit) < high


def test_histogram_bars_stand_on_their_edges() -> None:
    figure = plots.histogram([LengthCount(16, 32, 5, 2)], limits=[(24, "limit")])
    whole, cut = figure["data"]
    assert (whole["y"], cut["y"]) == ([3], [2])
    assert whole["x"] == [24]
    assert whole["width"][0] == pytest.approx(16, rel=0.05)
    assert figure["layout"]["shapes"][0]["x0"] == 24


def test_words_for_who_cannot_see_hold_the_main_numbers() -> None:
    charts = charts_of(examples.demo_result())
    assert "Model as it is: 0.147 at 8 tokens, 0.462 at 512 tokens." in charts["windows"].alt
    assert "With temperature(0.8): 0.153 at 8 tokens, 0.415 at 512 tokens." in charts["windows"].alt
    assert "with temperature(0.8) +0.007" in charts["retrieval"].alt
    assert "63 of 800 texts were truncated" in charts["lengths"].alt


def test_hostile_text_is_no_markup_for_plotly() -> None:
    for key, chart in charts_of(examples.hostile_result()).items():
        assert chart.figure, key
        for text in _strings(chart.figure):
            assert set(re.findall(r"<[^>]*>?", text)) <= {"<br>", "<b>", "</b>"}
            assert not re.search(r"<b>(?!\S* ?(?:[\w.,+\N{MINUS SIGN}%]+ ?)+</b>)", text), text
        assert "hovertemplate" not in json.dumps(chart.figure)
        assert "texttemplate" not in json.dumps(chart.figure)


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def test_long_and_wide_snippets_are_wrapped() -> None:
    point = Point("i" * 300, 0.0, 0.0, 9, "w" * 3000)
    (text,) = plots.cloud([point], around=[point])["data"][0]["hovertext"]
    assert max(map(len, text.split("<br>"))) <= 38
    assert len(text) < 400
    assert plots.plain("\N{CJK UNIFIED IDEOGRAPH-4E00}" * 40, width=38).count("<br>") == 2


@pytest.mark.parametrize(("low", "high"), [(1, 2), (8, 8), (9, 10), (8, 512), (3, 131_072)])
def test_token_axes_have_a_few_powers_of_two_inside_their_range(low: int, high: int) -> None:
    rows = [Row("mean_cosine", 0.1, 0.0, 0.2, 9, n_tokens=n) for n in (low, high)]
    points = [Point(str(n), float(n), 0.0, n, "text") for n in (low, high)]
    axis = plots.curve([plots.Line(rows, "line", "before")], y_title="")["layout"]["xaxis"]
    bar = plots.cloud(points, around=points)["data"][0]["marker"]
    assert 1 <= len(axis["tickvals"]) <= 10
    assert all(10 ** axis["range"][0] <= tick <= 10 ** axis["range"][1] for tick in axis["tickvals"])
    assert all(bar["cmin"] <= tick <= bar["cmax"] for tick in bar["colorbar"]["tickvals"])
    assert bar["cmin"] < bar["cmax"]


def test_no_windows_no_points_no_lengths_say_why() -> None:
    result = examples.demo_result()
    rows = tuple(row for row in result.rows if row.view != "windows")
    charts = charts_of(replace(result, rows=rows, points=(), lengths=()))
    assert "no texts cut to several lengths" in charts["windows"].missing
    assert charts["as-is"].figure
    assert charts["rank"].title == "Effective rank, texts at their own length"
    assert "dashed" not in charts["rank"].reading
    assert charts["points-0"].missing == "This result holds no projected texts."
    assert charts["lengths"].missing == "This result holds no counts of lengths."


def test_a_single_bin_is_no_curve() -> None:
    row = Row("mean_cosine", 0.2, 0.1, 0.3, 40, "windows", "8", 8.0)
    chart = charts_of(Result(rows=(row,)))["windows"]
    assert chart.figure is None
    assert chart.missing == "Only one length bin holds enough texts (0.200 at 8 tokens), and a curve needs two."


def test_rows_without_intervals_have_no_band_and_say_why() -> None:
    rows = tuple(
        Row("mean_cosine", 0.2, None, None, 9, "windows", str(n), n, note="fewer than 30 texts") for n in (8, 16)
    )
    chart = charts_of(Result(rows=rows))["windows"]
    assert chart.figure
    assert [trace["mode"] for trace in chart.figure["data"]] == ["lines+markers"]
    assert chart.remarks == ("These numbers have no interval: fewer than 30 texts",)
    assert "interval" not in chart.reading
    some = (replace(rows[0], low=0.1, high=0.3), rows[1])
    assert charts_of(Result(rows=some))["windows"].remarks[0].startswith("Some of these numbers have no interval")


def test_points_without_finite_place_are_left_out() -> None:
    chart = charts_of(Result(points=(Point("a", float("nan"), 0.0, 9, "text"),)))["points-0"]
    assert chart.missing == "No projected text has finite coordinates."


@pytest.mark.parametrize(
    ("fixes", "named", "expected"),
    [
        (["none", "a", "b"], "b", "b"),
        (["none", "a"], None, "a"),
        (["none", "a", "b"], None, None),
        (["none", "a"], "none", None),
        (["none"], "a", None),
        ([], None, None),
    ],
)
def test_the_fix_shown_as_after(fixes: list[str], named: str | None, expected: str | None) -> None:
    rows = tuple(Row("mean_cosine", 0.1, None, None, 1, fix=fix) for fix in fixes)
    assert sections.chosen_fix(Result(rows=rows, about={} if named is None else {"chosen_fix": named})) == expected


def test_other_settings_are_faint_lines_and_dots() -> None:
    charts = charts_of(examples.demo_result())
    assert charts["windows"].figure
    assert charts["as-is"].figure
    assert charts["rise"].figure
    assert len(charts["windows"].figure["data"]) == 7
    assert len(charts["as-is"].figure["data"]) == 4
    colours = [trace["marker"]["color"] for trace in charts["rise"].figure["data"]]
    roles = ["before", "faint", "after", "faint", "faint"]
    assert colours == [plots.COLOURS[role] for role in roles]


def test_before_and_after_share_axes_and_colours() -> None:
    charts = charts_of(examples.demo_result())
    before, after = charts["points-0"].figure, charts["points-1"].figure
    assert before
    assert after
    assert (before["data"][0]["hovertext"][0], before["layout"]) == (after["data"][0]["hovertext"][0], after["layout"])
    assert charts["windows"].figure["layout"]["yaxis"]["range"] == charts["as-is"].figure["layout"]["yaxis"]["range"]  # type: ignore[index]


def test_projection_axes_and_colours_hold_every_point() -> None:
    for key in ("points-0", "points-1"):
        figure = charts_of(examples.demo_result())[key].figure
        assert figure
        trace, layout = figure["data"][0], figure["layout"]
        for axis in "xy":
            low, high = layout[f"{axis}axis"]["range"]
            assert low < min(trace[axis]) < max(trace[axis]) < high
            assert high - low < 1.5 * (max(trace[axis]) - min(trace[axis]))
        assert trace["marker"]["cmin"] <= min(trace["marker"]["color"]) < 3.5
        assert trace["marker"]["cmax"] >= max(trace["marker"]["color"]) > 8.5


def test_the_share_taken_back_stands_beside_both_its_ends() -> None:
    result = examples.demo_result()
    (tile,) = (tile for tile in sections.make_tiles(result) if "taken back" in tile.label)
    curves = [
        {row.bin: words.number(row.value) for row in result.select(measure="mean_cosine", view="windows", fix=fix)}
        for fix in ("none", result.about["chosen_fix"])
    ]
    short, *_, long = curves[0]
    ends = [f"{curves[0][label]} -> {curves[1][label]} at {label} tokens" for label in (long, short)]
    assert tile.label.endswith(f": {ends[0]}, {ends[1]}")
    rows = tuple(row for row in result.rows if not (row.measure == "mean_cosine_change" and row.bin == short))
    (tile,) = (tile for tile in sections.make_tiles(replace(result, rows=rows)) if "taken back" in tile.label)
    assert tile.label == "of that rise taken back by temperature(0.8)"


def test_tiles_repeat_the_rows() -> None:
    tiles = sections.make_tiles(examples.demo_result())
    assert [(tile.value, tile.interval) for tile in tiles] == [
        ("+0.315", "+0.291 to +0.339"),
        ("17 %", "13 % to 20 %"),
        ("+0.007", "\N{MINUS SIGN}0.001 to +0.015"),
    ]
    assert [tile.value for tile in sections.make_tiles(examples.diagnose_result())] == ["+0.315", "+0.052"]
