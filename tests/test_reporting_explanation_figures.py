"""The figures of an explanation: the rows and nothing else, at the right places, in colours that can be told apart."""

import math
from dataclasses import replace

import pytest

from explanation_examples import (
    BANDS,
    LAWS,
    LENGTHS,
    STAGES,
    TEMPERATURES,
    chart_of,
    figure_of,
    full_result,
    with_about,
    without,
)
from reporting_examples import charts_of
from test_reporting import _contrast, _luminance
from uncollapse.records import Finding, Row
from uncollapse.reporting import words
from uncollapse.reporting.drawing import COLOURS
from uncollapse.reporting.explanation import heatmaps, plots
from uncollapse.reporting.sections import make_sections


def numbers(rows: list[Row]) -> list[float | None]:
    return [plots.shortened(row.value) for row in rows]


# --- maps of heads


def test_maps_of_heads_are_the_rows_on_one_scale_that_is_clear_at_one() -> None:
    result = full_result()
    short, long = (figure_of(f"heads-{which}")["data"][0] for which in ("shortest", "longest"))
    assert (short["zmin"], short["zmax"]) == (long["zmin"], long["zmax"])
    assert short["zmin"] == pytest.approx(-short["zmax"])
    for row in result.select(measure="filter_rate", view="heads", bin="512", fix="none"):
        assert long["z"][row.layer][row.head] == plots.shortened(math.log10(row.value))
        told = long["hovertext"][row.layer][row.head]
        for part in (f"layer {row.layer}, head {row.head}", words.number(row.value), words.interval(row), "n = 48"):
            assert part in told
    below = [colour for place, colour in long["colorscale"] if place < 0.5]
    assert below == [COLOURS["after"]]
    assert [colour[-5:] for place, colour in long["colorscale"] if place == 0.5] == ["0.05)"] * 2


def test_the_number_of_heads_that_smooth_is_said() -> None:
    rows = full_result().select(measure="filter_rate", view="heads", bin="16", fix="none")
    below = sum(row.value < 1 for row in rows)
    assert 0 < below < 72
    assert chart_of("heads-shortest").remarks == (f"{below} of 72 heads are below 1.",)


def test_colours_do_not_exaggerate_and_do_not_run_away() -> None:
    near = {(0, 0): Row("filter_rate", 0.98, None, None, 9), (1, 0): Row("filter_rate", 1.01, None, None, 9)}
    assert heatmaps.around_one([near], "").high == 2
    far = {(0, 0): Row("filter_rate", 1e-9, None, None, 9), (1, 0): Row("filter_rate", 0.0, None, None, 9)}
    scale = heatmaps.around_one([far], "")
    assert (scale.low, scale.high) == (1 / 8, 8)
    assert scale.place(0.0) == scale.place(1e-9) == math.log10(1 / 8)


def test_heads_that_could_not_be_reached_are_crossed_and_no_others() -> None:
    rows = full_result().select(measure="solved_tau", view="keeps filter_rate", bin="512")
    reached = {(row.head, row.layer) for row in rows}
    heat, crosses = figure_of("temperature-keeps-filter-rate")["data"]
    crossed = set(zip(crosses["x"], crosses["y"], strict=True))
    assert 2 < len(crossed) < 20
    assert crossed == {(head, layer) for head in range(12) for layer in range(6)} - reached
    assert {(x, y) for y, line in enumerate(heat["z"]) for x, value in enumerate(line) if value is not None} == reached
    told = dict(zip(zip(crosses["x"], crosses["y"], strict=True), crosses["hovertext"], strict=True))
    assert told[1, 0].replace("<br>", " ") == "layer 0, head 1 could not be reached"
    assert (
        f"For {len(crossed)} of 72 heads it could not be reached." in chart_of("temperature-keeps-filter-rate").remarks
    )
    assert len(figure_of("temperature-keeps-entropy")["data"]) == 1


def test_a_head_with_a_note_has_its_square_and_the_note_is_told() -> None:
    (noted,) = (row for row in full_result().select(measure="solved_tau", view="keeps entropy", bin="512") if row.note)
    heat = figure_of("temperature-keeps-entropy")["data"][0]
    assert heat["z"][noted.layer][noted.head] == pytest.approx(math.log10(noted.value), abs=1e-4)
    assert "Some of these numbers: 5 of 16 documents have no value." in chart_of("temperature-keeps-entropy").remarks


def test_no_temperature_for_any_head_is_a_sentence() -> None:
    none = without(full_result(), measure="solved_tau")
    asked = charts_of(with_about(none, solved=16))
    for key, kept in (("temperature-keeps-filter-rate", "filter rate"), ("temperature-keeps-entropy", "entropy")):
        assert asked[key].figure is None
        assert asked[key].missing == (
            f"No temperature was found that keeps the {kept} of any head at 512 tokens in most of 16 documents."
        )
    for result in (none, with_about(none, solved=0), with_about(none, solved="16")):
        assert not [key for key in charts_of(result) if key.startswith("temperature-keeps")]
    half = charts_of(with_about(without(full_result(), measure="solved_tau", view="keeps entropy"), solved=16))
    assert half["temperature-keeps-filter-rate"].figure
    assert half["temperature-keeps-entropy"].missing.startswith("No temperature was found that keeps the entropy")
    at_n0 = without(without(none, view="heads", bin="512"), view="heads", bin="256")
    only = replace(at_n0, rows=tuple(row for row in at_n0.rows if row.view != "heads" or row.bin == "16"))
    assert not [key for key in charts_of(with_about(only, solved=16, n0=16)) if key.startswith("temperature-keeps")]


def test_a_length_at_which_no_head_was_reached_is_not_replaced_by_a_shorter_one() -> None:
    result = without(full_result(), measure="solved_tau", bin="512")
    assert "any head at 512 tokens" in chart_of("temperature-keeps-entropy", result).missing
    at_n0 = with_about(result, n0=512)
    assert chart_of("temperature-keeps-entropy", at_n0).title == (
        "Temperature that keeps the entropy of 512 tokens, at 256 tokens"
    )


# --- the way through the layers


def test_the_way_is_the_rows_in_the_order_of_the_stages() -> None:
    result = full_result()
    traces = figure_of("stages-share")["data"]
    steps = [stage for stage in STAGES if stage not in ("attention", "mlp")]
    for stream, branches, n in ((*traces[:2], "16"), (*traces[2:], "512")):
        values = {(row.layer, row.view): row for row in result.select(measure="hc_share", bin=n)}
        on_the_line = [(layer, stage) for layer in range(6) for stage in steps if layer == 0 or stage != "input"]
        assert stream["y"] == numbers([values[key] for key in on_the_line])
        assert stream["x"] == sorted(stream["x"])
        assert branches["mode"] == "markers"
        assert branches["y"] == numbers([values[layer, stage] for layer in range(6) for stage in ("attention", "mlp")])
        assert branches["marker"]["symbol"][:2] == ["diamond-open", "square-open"]
        assert "layer 0, after attention" in stream["hovertext"][1]
        assert "layer 0, what the MLP adds" in branches["hovertext"][1]


def test_steps_of_attention_are_shaded_and_no_others() -> None:
    figure = figure_of("stages-share")
    shades = [shape for shape in figure["layout"]["shapes"] if shape["type"] == "rect"]
    stream = figure["data"][0]
    after = [x for x, told in zip(stream["x"], stream["hovertext"], strict=True) if "after attention" in told]
    assert [shade["x1"] for shade in shades] == after
    assert [shade["x0"] for shade in shades] == [stream["x"][stream["x"].index(x) - 1] for x in after]
    roles = [role for role, _ in chart_of("stages-share").colours]
    assert roles == ["after", "before", "shade", "diamond", "square"]


def test_a_model_with_other_stages_has_only_their_marks() -> None:
    result = full_result()
    for stage in ("after attention", "attention norm", "mlp", "mlp norm"):
        result = without(result, view=stage)
    chart = charts_of(result)["stages-share"]
    assert [role for role, _ in chart.colours] == ["after", "before", "diamond"]
    notes = next(section for section in make_sections(result) if section.key == "stages").notes
    assert notes == ("The steps of a layer, in their order: input, attention (what it adds), after mlp.",)


# --- frequencies


def test_the_spectrogram_is_the_longest_texts_on_a_log_scale() -> None:
    heat = figure_of("frequencies-power")["data"][0]
    rows = full_result().select(measure="power", bin="512")
    for row in rows:
        band = round(2 * BANDS * (row.frequency or 0) - 0.5)
        assert heat["z"][row.layer][band] == plots.shortened(math.log10(row.value))
    assert heat["zmin"] == pytest.approx(math.log10(min(row.value for row in rows)), abs=1e-3)
    assert "0 to 0.0312 cycles a token, one in 32 tokens or more" in heat["hovertext"][0][0].replace("<br>", " ")
    axis = figure_of("frequencies-power")["layout"]["xaxis"]
    assert (axis["ticktext"], axis["tickvals"]) == (
        ["0", "0.125", "0.25", "0.375", "0.5"],
        [-0.5, 3.5, 7.5, 11.5, 15.5],
    )


def test_a_band_without_a_number_is_crossed_and_not_filled_from_other_lengths() -> None:
    gone = full_result().select(measure="power", bin="512", layer=2)[3]
    result = replace(full_result(), rows=tuple(row for row in full_result().rows if row is not gone))
    heat, crosses = figure_of("frequencies-power", result)["data"]
    assert heat["z"][2][3] is None
    assert (crosses["x"], crosses["y"]) == ([3], [2])
    assert crosses["hovertext"][0].endswith("nothing here")


@pytest.mark.parametrize("edges", [[], [0, 0.5], ["a", "b"], [edge / 17 for edge in range(BANDS + 1)]])
def test_edges_that_do_not_fit_the_bands_are_not_drawn(edges: list[object]) -> None:
    figure = figure_of("frequencies-power", with_about(full_result(), bands=edges))
    assert figure["layout"]["xaxis"]["tickvals"][0] == 0
    assert figure["layout"]["xaxis"]["ticktext"][0] == "0.0156"
    assert "about 0.0156 cycles a token" in figure["data"][0]["hovertext"][0][0]


def test_no_power_is_the_palest_colour() -> None:
    rows = tuple(
        replace(row, value=0.0) if row.frequency == 0.5 - 0.5 / (2 * BANDS) else row for row in full_result().rows
    )
    heat = figure_of("frequencies-power", replace(full_result(), rows=rows))["data"][0]
    assert {line[-1] for line in heat["z"]} == {plots.shortened(heat["zmin"])}


def test_a_line_a_layer_from_light_to_dark() -> None:
    for key, measure in (("frequencies-low", "low_share"), ("embedding-layers", "pooled_mean_cosine")):
        traces = figure_of(key)["data"][:6]
        view = "spectrum" if measure == "low_share" else "layers"
        for layer, trace in enumerate(traces):
            rows = list(full_result().select(measure=measure, view=view, layer=layer))
            assert (trace["y"], trace["x"]) == (numbers(rows), list(map(float, LENGTHS)))
        lights = [_luminance(trace["line"]["color"]) for trace in traces]
        assert lights == sorted(lights, reverse=True)
        assert len(set(lights)) == 6
    first = figure_of("embedding-layers")["data"][6]
    assert first["y"] == numbers(list(full_result().select(view="what enters the first layer")))


@pytest.mark.parametrize("ground", ["#ffffff", "#15171b"], ids=["light", "dark"])
def test_lines_have_contrast(ground: str) -> None:
    for colour in plots.DEPTH_SCALE:
        assert _contrast(colour, ground) >= 3, colour
    for role in set(plots.STYLES):
        assert _contrast(COLOURS[role], ground) >= 3, role


# --- curves, temperatures, bars, theory


def test_curves_are_the_rows_with_their_bands() -> None:
    for key, measure in (
        ("heads-rate", "filter_rate"),
        ("heads-entropy", "entropy"),
        ("heads-output", "output_hc_share"),
    ):
        rows = list(full_result().select(measure=measure, view="all heads", fix="none"))
        *_, band, line = figure_of(key)["data"]
        assert line["y"] == numbers(rows)
        ends = [row.high for row in rows] + [row.low for row in reversed(rows)]
        assert band["y"] == [plots.shortened(end) for end in ends]
    assert next(trace["y"] for trace in figure_of("heads-rate")["data"] if trace["mode"] == "lines") == [1.0, 1.0]


def test_a_line_a_temperature_in_the_order_of_the_result() -> None:
    named = with_about(full_result(), temperatures=[*reversed(TEMPERATURES), "temperature(9)"])
    for result, order in ((full_result(), TEMPERATURES), (named, TEMPERATURES[::-1])):
        lines = [trace for trace in figure_of("temperature-rate", result)["data"] if trace["mode"] == "lines+markers"]
        for line, fix in zip(lines, ("none", *order), strict=True):
            assert line["y"] == numbers(list(result.select(measure="filter_rate", view="all heads", fix=fix)))
        assert len({(line["line"]["dash"], line["marker"]["symbol"]) for line in lines}) == 3


def test_temperatures_that_cannot_be_told_apart_are_named() -> None:
    stock = full_result().select(measure="entropy", view="all heads", fix="none")
    more = [replace(row, fix=f"temperature(0.{tenth})") for tenth in (5, 4, 3) for row in stock]
    chart = charts_of(replace(full_result(), rows=(*full_result().rows, *more)))["temperature-entropy"]
    assert chart.figure
    assert len(chart.colours) == 4
    assert "Not drawn, but in the table of all numbers: temperature(0.4), temperature(0.3)." in chart.remarks


def test_bars_are_the_layers_then_all_of_them_and_pale_where_they_can_be_nothing() -> None:
    (trace,) = figure_of("embedding-changes")["data"]
    rows = list(full_result().select(measure="rise_change"))
    assert trace["y"] == numbers(rows)
    assert trace["x"] == [0, 1, 2, 3, 4, 5, 7]
    pale = [fill.endswith(",0.18)") for fill in trace["marker"]["color"]]
    assert pale == [row.high is not None and row.high > 0 for row in rows]
    assert sum(pale) == 1
    layout = figure_of("embedding-changes")["layout"]["xaxis"]
    assert layout["ticktext"] == ["0", "1", "2", "3", "4", "5", "all"]
    assert "by temperature(0.8) in one layer" in chart_of("embedding-changes").lead


def test_theory_stands_beside_measurement_on_a_log_axis() -> None:
    figure = figure_of("theory")
    lines = {trace["name"]: trace for trace in figure["data"] if trace.get("name")}
    measured, *laws = lines.values()
    assert measured["y"] == numbers(list(full_result().select(measure="filter_rate", view="all heads", fix="none")))
    for line, view in zip(laws, LAWS, strict=True):
        assert line["y"] == numbers(list(full_result().select(view=view)))
    assert "as quoted second-hand" in laws[1]["name"]
    low, high = figure["layout"]["yaxis"]["range"]
    assert all(low < math.log10(y) < high for trace in figure["data"] for y in trace["y"])
    assert figure["layout"]["yaxis"]["type"] == "log"


def test_what_theory_gets_wrong_is_said_by_the_verdict() -> None:
    section = next(section for section in make_sections(full_result()) if section.key == "theory")
    assert len(section.notes) == 2
    assert section.notes[0].startswith("The law for Gaussian scores does not hold here. It puts the filter rate at")
    miscounted = replace(full_result(), verdict=(*full_result().verdict, Finding("One", "More.")))
    assert next(one for one in make_sections(miscounted) if one.key == "theory").notes == ()
