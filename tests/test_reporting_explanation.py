"""The report of an explanation: which sections there are, the words around the figures, its sizes, and the page."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import diagnosis_examples
import reporting_examples
import task_examples
import uncollapse.reporting.html as html_module
from explanation_examples import (
    HEAD_MEASURES,
    LENGTHS,
    STAGES,
    TEMPERATURES,
    chart_of,
    full_result,
    make_result,
    without,
    without_temperatures,
)
from reporting_examples import HOSTILE, charts_of
from test_reporting import Page
from uncollapse.records import Result
from uncollapse.reporting import explanation, glossary, render_report, words
from uncollapse.reporting.explanation.terms import EXPLAINED
from uncollapse.reporting.sections import make_sections, make_tiles

SECTIONS = {
    "heads": ["heads-shortest", "heads-longest", "heads-rate", "heads-entropy", "heads-shares", "heads-output"],
    "stages": ["stages-share", "stages-cosine"],
    "frequencies": ["frequencies-power", "frequencies-low"],
    "temperature": [
        "temperature-rate", "temperature-entropy", "temperature-output", "temperature-keeps-filter-rate",
        "temperature-keeps-entropy",
    ],
    "embedding": ["embedding-layers", "embedding-changes"],
    "theory": ["theory", "theory-spread"],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _small_library() -> Iterator[None]:
    """Pages without the five megabytes of plotly.js, which take long to write and to read again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html_module.plots, "plotly_source", lambda: "/* plotly.js */")
        yield


@pytest.fixture(scope="module")
def page(_small_library: None) -> Page:
    return Page(render_report(full_result()))


def drawn(result: Result) -> dict[str, list[str]]:
    return {section.key: [chart.key for chart in section.charts] for section in make_sections(result)}


# --- which sections there are


def test_sections_follow_the_text_from_the_heads_to_the_embedding() -> None:
    assert drawn(full_result()) == SECTIONS
    assert all(chart.figure and not chart.missing for chart in charts_of(full_result()).values())


def test_a_run_without_temperatures_has_no_words_about_them() -> None:
    expected = {key: charts for key, charts in SECTIONS.items() if key != "temperature"} | {
        "embedding": ["embedding-layers"]
    }
    assert drawn(without_temperatures()) == expected


def test_other_results_have_no_explanation_and_an_explanation_no_empty_diagnosis() -> None:
    for result in (Result(), diagnosis_examples.full_result(), task_examples.task_result()):
        assert not set(drawn(result)) & (set(SECTIONS) - {"theory"})
        assert not [tile for tile in make_tiles(result) if "filter rate" in tile.label]
    assert "cosine" not in drawn(full_result())
    both = replace(full_result(), rows=(*full_result().rows, *reporting_examples.demo_result().rows))
    assert list(drawn(both))[: len(SECTIONS)] == list(SECTIONS)
    assert {"cosine", "shape"} <= set(drawn(both))


@pytest.mark.parametrize(
    ("keys", "chart", "said"),
    [
        ({"view": "heads", "measure": "filter_rate"}, "heads-longest", "no filter rates of single heads"),
        ({"view": "all heads", "measure": "entropy"}, "heads-entropy", "no entropy over all heads"),
        ({"measure": "token_cosine"}, "stages-cosine", "no cosines of tokens"),
        ({"measure": "power"}, "frequencies-power", "no power by frequency"),
        ({"measure": "low_share"}, "frequencies-low", "no share of low frequencies"),
        ({"measure": "score_spread", "view": "all heads"}, "theory-spread", "no spread of scores"),
    ],
)
def test_rows_that_are_missing_leave_a_sentence(keys: dict[str, str], chart: str, said: str) -> None:
    result = without(full_result(), **keys)
    assert len(result.rows) < len(full_result().rows)
    found = charts_of(result)[chart]
    assert (found.figure, found.alt) == (None, "")
    assert said in found.missing


@pytest.mark.parametrize("about", [{}, "bare", ["bare"], 7, dict.fromkeys(("n0", "bands", "stages", "cut"), "bare")])
def test_what_the_result_says_of_itself_may_be_missing_or_bare(about: object) -> None:
    assert drawn(replace(full_result(), about={"explanation": about})) == SECTIONS


def test_an_explanation_without_any_number_says_so() -> None:
    charts = charts_of(Result(about={"explanation": {"documents": 48}}))
    assert set(charts) == set(SECTIONS["heads"]) - {"heads-shortest"}
    assert all(chart.missing.startswith("This result holds no ") for chart in charts.values())


def test_the_order_of_the_rows_does_not_matter() -> None:
    turned = replace(full_result(), rows=tuple(reversed(full_result().rows)))
    assert charts_of(turned) == charts_of(full_result())


# --- words


def test_every_measure_is_explained_in_full() -> None:
    measures = {row.measure for row in full_result().rows}
    assert {measure for measure in measures if measure in EXPLAINED} == set(EXPLAINED)
    assert {measure for measure in measures if glossary.find_term(measure) is None} == set()
    for name, entry in EXPLAINED.items():
        found = glossary.find_term(name)
        assert found is not None
        assert (entry.name, found.title, found.reading) == (name, entry.title, entry.reading)
        assert entry.formula, name
        assert entry.range, name
        assert entry.reading.endswith("."), name


def test_a_change_that_a_table_knows_is_not_taken_for_what_it_changes() -> None:
    assert glossary.title("rise_change") == "Change of the rise"
    assert glossary.title("rise") == "Rise from the first piece"
    assert glossary.title("ndcg@10_change") == "nDCG@10"


def test_every_chart_has_one_reading_sentence_and_words_for_who_cannot_see_it() -> None:
    for key, chart in charts_of(full_result()).items():
        assert len(re.findall(r"[.!?](?:\s|$)", chart.reading)) == 1, key
        assert chart.reading.endswith("."), key
        assert re.search(r"\d", chart.alt), key
        assert chart.lead or key.startswith("heads-"), key


def test_alt_texts_hold_the_numbers() -> None:
    charts = charts_of(full_result())
    rates = full_result().select(measure="filter_rate", view="all heads", fix="none")
    assert (
        f"{words.number(rates[0].value)} at 16 tokens, {words.number(rates[-1].value)} at 512"
        in charts["heads-rate"].alt
    )
    assert "begins at 86 % (layer 0, input)" in charts["stages-share"].alt
    heads = full_result().select(measure="filter_rate", view="heads", bin="512", fix="none")
    most = max(heads, key=lambda row: row.value)
    assert (
        f"highest {words.number(most.value)} at layer {most.layer}, head {most.head}." in charts["heads-longest"].alt
    )
    assert "layer 3: \N{MINUS SIGN}0.039" in charts["embedding-changes"].alt


def test_small_shares_of_power_are_told_apart() -> None:
    assert [words.number(value, "power") for value in (0.62, 0.05, 0.0003, 0.0)] == ["62 %", "5.0 %", "0.030 %", "0 %"]


def test_tiles_are_the_longest_texts() -> None:
    tiles = make_tiles(full_result())
    rate = full_result().select(measure="filter_rate", view="all heads", bin="512", fix="none")[0]
    left = full_result().select(measure="hc_share", view="mlp norm", layer=5, bin="512")[0]
    assert [tile.value for tile in tiles[1:]] == [words.number(rate.value), words.number(left.value, "hc_share")]
    assert tiles[1].interval == words.interval(rate)


# --- sizes


def test_one_layer_and_two_lengths() -> None:
    result = make_result(1, 12, (16, 512))
    charts = charts_of(result)
    assert {key: list(found) for key, found in drawn(result).items()} == SECTIONS
    assert all(chart.figure for chart in charts.values())
    assert charts["heads-longest"].height < chart_of("heads-longest").height


def test_one_length_has_one_map_one_way_and_numbers_in_words() -> None:
    charts = charts_of(make_result(6, 12, (512,)))
    assert "heads-shortest" not in charts
    assert charts["heads-longest"].wide
    assert [role for role, _ in charts["stages-share"].colours][:2] == ["before", "shade"]
    assert re.fullmatch(
        r"Only one length was measured, and a curve needs two: Median over heads: 0\.\d{3} at 512 tokens\.",
        charts["heads-rate"].missing,
    )
    assert "Layer 5: 85 % at 512 tokens." in charts["frequencies-low"].missing
    many = charts_of(make_result(20, 4, (512,)))["frequencies-low"].missing
    assert "The numbers of 18 more are in result.json." in many
    assert "Layer 1:" not in many


def test_a_large_model_has_high_maps_few_labels_and_no_heavy_page() -> None:
    result = make_result(48, 32, (16, 512))
    charts = charts_of(result)
    assert 600 < charts["heads-longest"].height < 900
    layout = charts["heads-longest"].figure["layout"]  # type: ignore[index]
    assert len(layout["yaxis"]["ticktext"]) <= 12
    assert len(layout["xaxis"]["ticktext"]) <= 12
    page = render_report(result)
    assert len(page) < 2_500_000


def test_a_temperature_in_one_layer_is_said_in_words_in_the_table_of_numbers() -> None:
    page = render_report(full_result())
    assert "<td>temperature(0.8) in layer 5 alone</td>" in page
    assert "<td>temperature(0.8)</td>" in page
    assert "temperature([" not in page
    assert page.count("<td>none</td>") == sum(
        row.fix == "none" and row.head is row.frequency is None for row in full_result().rows
    )


def test_too_many_layers_for_the_table_are_left_out_of_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_module, "LISTED", 100)
    page = render_report(full_result())
    table = re.search(r"<tbody>(.*?)</tbody>", page, re.S)
    assert table
    rows = full_result().rows
    listed = [row for row in rows if row.layer is None]
    assert table[1].count('<th scope="row">') == len(listed)
    assert f"{len(rows) - len(listed):,} numbers of a single layer, head or band of frequencies" in page


def test_figures_hold_no_more_digits_than_can_be_seen() -> None:
    def floats(value: object) -> Iterator[float]:
        if isinstance(value, float):
            yield value
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from floats(item)

    for key, chart in charts_of(full_result()).items():
        assert chart.figure, key
        for trace in chart.figure["data"]:
            found = [value for part in ("y", "z") for value in floats(trace.get(part, []))]
            assert all(value == float(f"{value:.4g}") for value in found), key


# --- the page


def test_the_table_leaves_heads_and_frequencies_out_and_says_so(page: Page) -> None:
    rows = full_result().rows
    listed = [row for row in rows if row.head is None and row.frequency is None]
    assert 0 < len(listed) < len(rows) / 5
    text = render_report(full_result())
    table = re.search(r"<tbody>(.*?)</tbody>", text, re.S)
    assert table
    assert table[1].count('<th scope="row">') == len(listed)
    said = f"{len(rows) - len(listed):,} numbers of a single head or band of frequencies are not in this table"
    assert [lead for lead in page.texts("p", **{"class": "lead"}) if lead.startswith(said)]
    assert "result.json" in text
    assert f"Show all {len(listed)} rows" in page.texts("summary")
    assert "layer" in page.texts("th", scope="col")
    assert "or in result.json" in "".join(page.texts("p", **{"class": "missing"}))


def test_other_results_list_every_number() -> None:
    text = render_report(reporting_examples.demo_result())
    assert "result.json" not in text
    assert "layer" not in Page(text).texts("th", scope="col")


def test_findings_stand_in_their_groups_and_measures_are_in_the_table(page: Page) -> None:
    assert page.texts("h3", **{"class": "group"}) == [
        "What attention does", "What the layers put back", "What a temperature does", "What reaches the embedding",
        "Theory beside measurement",
    ]  # fmt: skip
    assert set(EXPLAINED) <= set(page.texts("th", scope="row"))
    links = [attrs["href"] for tag, attrs, _ in page.elements if tag == "a"]
    assert links == [*(f"#{key}" for key in SECTIONS), "#numbers"]


def test_same_result_gives_same_bytes() -> None:
    assert render_report(Result.from_json(full_result().to_json())) == render_report(full_result())


def test_user_text_stays_text(page: Page) -> None:
    result = full_result()
    rename = dict(zip(("input", "mlp norm", *TEMPERATURES), HOSTILE, strict=False))
    rows = tuple(
        replace(row, note=HOSTILE[0], view=rename.get(row.view, row.view), fix=rename.get(row.fix, row.fix))
        for row in result.rows
    )
    about = {**result.about["explanation"], "stages": list(HOSTILE), "temperatures": list(HOSTILE), "n0": HOSTILE[0]}
    hostile = replace(result, rows=rows, about={"explanation": about})
    for key, chart in charts_of(hostile).items():
        for text in _strings(chart.figure or {}):
            assert set(re.findall(r"<[^>]*>?", text)) <= {"<br>", "<b>", "</b>"}, key
    shown = Page(render_report(hostile))
    assert {tag for tag, _, _ in shown.elements} <= {tag for tag, _, _ in page.elements}
    assert not [key for _, attrs, _ in shown.elements for key in attrs if key.startswith("on")]
    for block in shown.texts("script", type="application/json"):
        assert not set(block) & set("<>&'\u2028\u2029")
        json.loads(block)


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def test_the_sections_import_nothing_that_computes() -> None:
    for path in Path(explanation.__file__).parent.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        assert not [name for name in names if name.split(".")[0] in ("numpy", "scipy", "torch", "sklearn")], path.name
        assert not [name for name in names if name.startswith(("uncollapse.explanation", "uncollapse.spectra"))]


def test_the_example_has_everything_an_explanation_can_hold() -> None:
    rows = full_result().rows
    assert {row.measure for row in rows if row.view == "heads"} == set(HEAD_MEASURES)
    assert {row.view for row in rows if row.measure == "hc_share"} == set(STAGES)
    assert {row.bin for row in rows if row.head is not None} == set(map(str, LENGTHS))
