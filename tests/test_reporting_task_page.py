"""The page of an evaluation: a word for every outcome, a reason for what is missing, and text that stays text."""

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

import reporting_examples
import task_examples as examples
import uncollapse.reporting.html as html_module
from task_examples import charts_of, drawn, ladder, table_of, without
from test_reporting import Page, without_library
from uncollapse.records import Finding, Result, Row
from uncollapse.reporting import glossary, render_report, sections, words
from uncollapse.reporting.charts import Chart
from uncollapse.reporting.drawing import COLOURS
from uncollapse.reporting.tasks.plots import TINT

RETRIEVAL = ("long", "short", "change", "gain", "grid", "items", "shares", "bias")
PAIRS = ("long", "short", "change", "gain", "grid", "items")
TEXTS = ("long", "change", "gain", "items")
HOLLOW = "rgba(0,0,0,0)"
MARK = re.compile(r"<[^>]*>?")


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(examples.task_result())


@pytest.fixture(scope="module")
def hostile() -> str:
    return render_report(examples.hostile_task_result())


# --- the overview


def overview(result: Result) -> dict[str, dict[str, tuple[str, str, str]]]:
    """Word, number and small print of every cell, by task and column."""
    table = table_of(result, "tasks")
    return {
        line[0].text: {
            column: (cell.word, cell.text, cell.under.replace("\N{NO-BREAK SPACE}", " "))
            for column, cell in zip(table.columns, line, strict=True)
        }
        for line in table.lines
    }


def test_the_overview_says_in_a_word_what_the_test_says() -> None:
    cells = overview(examples.task_result())
    assert list(cells) == ["scifact/test", "stsb/test", "agnews/test"]
    gain = "gain, with temperature(0.8)"
    assert cells["scifact/test"][gain] == ("cannot tell", "+0.005", "\N{MINUS SIGN}0.001 to +0.011; p = 0.451")
    assert cells["agnews/test"][gain] == (
        "worse", "\N{MINUS SIGN}0.009", "\N{MINUS SIGN}0.011 to \N{MINUS SIGN}0.006; p < 0.001",
    )  # fmt: skip
    assert cells["scifact/test"]["score, model as it is"] == ("", "0.645", "0.599 to 0.691; n = 300")
    assert cells["scifact/test"]["truncated"][1:] == ("41 %", "of documents; 0 % of queries; limit 256 tokens")
    assert list(cells["stsb/test"])[3:] == [gain, "gain, with temperature(0.9)"]


def test_the_overview_says_at_which_lengths_the_chosen_fix_is_proven() -> None:
    first, _, third = table_of(examples.task_result(), "tasks").lines
    assert first[3].marks == (
        ("good", "better: documents of 385\N{EN DASH}1,512 tokens; queries of 27\N{EN DASH}52 tokens"),
        ("bad", "worse: documents of 41\N{EN DASH}186 tokens"),
        ("neutral", "less than 0.009 is easily missed"),
    )
    assert [tone for tone, _ in third[3].marks] == ["good", "bad"]
    assert first[4].marks == (("neutral", "less than 0.009 is easily missed"),)


def test_a_score_that_is_not_defined_says_why() -> None:
    full = examples.single_result()
    rows = tuple(
        replace(row, value=float("nan"), low=None, high=None, note="all cosines are equal", p_holm=None)
        if row.view == "overall" and row.measure.startswith("ndcg@10")
        else row
        for row in full.rows
    )
    cells = overview(replace(full, rows=rows))["scifact/test"]
    assert cells["score, model as it is"] == ("", words.UNKNOWN, "all cosines are equal")
    assert cells["gain, with temperature(0.8)"] == ("", words.UNKNOWN, "all cosines are equal")
    assert ladder(drawn(replace(full, rows=rows), "task-1-change"))
    assert sections.make_tiles(replace(full, rows=rows)) == []


def test_a_gain_that_nobody_took_is_not_measured() -> None:
    result = without(examples.single_result(), measure="ndcg@10_gain")
    assert overview(result)["scifact/test"]["gain, with temperature(0.8)"][2] == "not measured"
    chart = charts_of(result)["task-1-gain"]
    assert chart.missing == "This result holds no gains: the two were not compared item by item."
    assert charts_of(result)["task-1-change"].figure


def test_the_gains_of_all_tasks_are_in_one_figure_where_there_are_several() -> None:
    figure = drawn(examples.task_result(), "gains")
    assert [label for label, _ in ladder(figure)] == ["temperature(0.9)", "temperature(0.8)"] * 3
    headings = [note["text"] for note in figure["layout"]["annotations"] if note["x"] == 0]
    assert headings == ["<b>scifact/test</b>", "<b>stsb/test</b>", "<b>agnews/test</b>"]
    assert "gains" not in charts_of(examples.single_result())
    full = examples.task_result()
    rows = tuple(row for row in full.rows if row.fix != "temperature(0.9)")
    assert [label for label, _ in ladder(drawn(replace(full, rows=rows), "gains"))] == list(overview(full))


def test_the_chosen_fix_is_blue_in_the_overview_and_the_others_faint() -> None:
    faint, others, chosen = drawn(examples.task_result(), "gains")["data"]
    assert faint["x"] == []
    for trace, fix, role in ((others, "temperature(0.9)", "faint"), (chosen, "temperature(0.8)", "after")):
        rows = [row for row in examples.task_result().rows if row.view == "overall" and row.fix == fix]
        main = ("ndcg@10_gain", "spearman_gain", "accuracy_gain")
        assert trace["x"] == [row.value for row in rows if row.measure in main]
        assert trace["marker"]["line"]["color"] == COLOURS[role]


def test_tiles_of_a_single_task() -> None:
    tiles = sections.make_tiles(examples.single_result())
    assert [(tile.value, tile.label, tile.role) for tile in tiles] == [
        ("0.645", "nDCG@10, model as it is", "before"),
        ("0.650", "nDCG@10, with temperature(0.8)", "after"),
        ("+0.005", "gain: cannot tell, p = 0.451", "after"),
    ]
    assert sections.make_tiles(examples.task_result()) == []


# --- what is missing


@pytest.mark.parametrize(
    ("keys", "chart", "said"),
    [
        (
            {"view": "by_document_length", "measure": "ndcg@10"},
            "long",
            "no nDCG@10 by length of the document: that tak",
        ),
        ({"view": "by_query_length", "measure": "ndcg@10"}, "short", "no nDCG@10 by length of the query: that takes"),
        ({"view": "grid"}, "grid", "holds no scores by both lengths: that takes enough queries"),
        ({"measure": "share_of_top10"}, "shares", "holds no lengths of what was found"),
        (
            {"measure": "ndcg@10", "fix": "none"},
            "change",
            "no nDCG@10 of both the model as it is and temp",
        ),
    ],
)
def test_what_is_missing_says_so(keys: dict[str, str], chart: str, said: str) -> None:
    found = charts_of(without(examples.single_result(), **keys))[f"task-1-{chart}"]
    assert found.figure is None
    assert said in found.missing


def test_no_items_and_no_bias_figures_say_so() -> None:
    full = examples.single_result()
    kept = tuple(row for row in full.rows if not glossary.is_bias(row.measure) or row.view != "overall")
    charts = charts_of(replace(full, rows=kept, items=()))
    assert "exists only for all of them together" in charts["task-1-items"].missing
    assert charts["task-1-bias"].missing == "This result holds no figures of length bias."


def test_a_single_length_group_is_no_comparison() -> None:
    full = examples.single_result()
    rows = tuple(row for row in full.rows if row.view != "by_document_length" or row.bin == "41-186")
    assert "enough queries for two groups" in charts_of(replace(full, rows=rows))["task-1-long"].missing


def test_scores_without_intervals_say_why() -> None:
    full = examples.single_result()
    rows = tuple(replace(row, low=None, high=None, note="fewer than 10 queries") for row in full.rows)
    charts = charts_of(replace(full, rows=rows))
    assert charts["task-1-long"].remarks == ("These numbers have no interval: fewer than 10 queries",)
    assert "interval" not in charts["task-1-long"].reading
    assert charts["tasks"].remarks == ("These numbers have no interval: fewer than 10 queries",)


@pytest.mark.parametrize("part", ["rows", "items", "verdict", "about"])
def test_any_part_may_be_missing(part: str) -> None:
    result = replace(examples.task_result(), **{part: {} if part == "about" else ()})
    page = without_library(render_report(result))
    assert "undefined" not in page.lower()
    for chart in charts_of(result).values():
        assert bool(chart.figure or chart.table) != bool(chart.missing)


@pytest.mark.parametrize("make", [examples.task_result, examples.stock_result, examples.hostile_task_result])
def test_every_chart_has_a_title_one_sentence_to_read_it_and_words_for_who_cannot_see_it(make) -> None:  # type: ignore[no-untyped-def]
    for key, chart in charts_of(make()).items():
        assert chart.title, key
        assert chart.reading.endswith("."), key
        assert len(re.findall(r"[.!?](?:\s|$)", chart.reading)) == 1, key
        assert chart.lead or key in ("tasks", "gains"), key
        assert not chart.figure or re.search(r"\d", chart.alt), key


# --- the page


def test_same_result_gives_same_bytes(page: str) -> None:
    assert render_report(examples.task_result()) == page
    assert render_report(Result.from_json(examples.task_result().to_json())) == page


def test_notes_of_a_task_stand_in_its_section(page: str) -> None:
    assert Page(page).texts("p", **{"class": "note"}) == ["BEIR folder: 5,183 documents"]


def test_many_findings_are_folded_after_the_first(page: str) -> None:
    many = tuple(Finding(f"finding {number}", "It is.", "bad") for number in range(10))
    found = render_report(Result(verdict=many))
    assert all(found.count(f"<h3>finding {number}</h3>") == 1 for number in range(10))
    folded = found.split("<summary>Show 3 more</summary>")[1]
    assert "finding 7" in folded
    assert "finding 6" not in folded
    assert "<summary>Show" not in page.split("<nav")[0]


def test_contents_lead_to_every_part_when_there_are_several_tasks(page: str) -> None:
    found = Page(page)
    links = [attrs["href"] for tag, attrs, _ in found.elements if tag == "a"]
    ids = {f"#{attrs['id']}" for _, attrs, _ in found.elements if attrs.get("id")}
    assert links[:5] == ["#tasks", "#task-1", "#task-2", "#task-3", "#numbers"]
    assert set(links) <= ids
    assert len(ids) == len([attrs for _, attrs, _ in found.elements if attrs.get("id")])
    assert [tag for tag, _, _ in found.elements if tag == "nav"] == ["nav"]
    assert "nav" not in [tag for tag, _, _ in Page(render_report(examples.single_result())).elements]


def test_headings_go_down_step_by_step(page: str) -> None:
    levels = [int(tag[1]) for tag, _, _ in Page(page).elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert max(b - a for a, b in pairwise(levels)) == 1


def test_every_row_is_in_the_table_with_its_test(page: str) -> None:
    tables = re.findall(r"<table>(.*?)</table>", page, re.S)
    heads = Page(tables[0]).texts("th", scope="col")
    assert heads == [
        "task", "measure", "view", "bin", "fix", "value", "95 % interval", "p", "p (Holm)", "effect", "n", "note",
    ]  # fmt: skip
    assert tables[0].count('<th scope="row">') == len(examples.task_result().rows)
    row = examples.task_result().select(measure="ndcg@10_gain", bin="41-186", view="by_document_length")[1]
    line = next(
        line for line in tables[0].split("<tr>") if "41-186<" in line and "0.8" in line and "ndcg@10_gain" in line
    )
    cells = Page(f"<table>{line}").texts("td")
    assert cells[6:9] == [f"{row.p:.4f}", f"{row.p_holm:.4f}", f"{row.effect:.2f}".replace("-", "\N{MINUS SIGN}")]


def test_tests_have_columns_only_where_there_are_tests() -> None:
    for result in (examples.stock_result(), reporting_examples.demo_result()):
        assert "p (Holm)" not in without_library(render_report(result))
    assert '<th scope="col">task</th>' not in render_report(reporting_examples.demo_result())
    effect = Result(rows=(Row("mean_cosine", 0.1, None, None, 9, effect=0.2),))
    assert "p (Holm)" in render_report(effect)


def test_measures_of_an_evaluation_are_explained(page: str) -> None:
    names = Page(re.findall(r"<table>(.*?)</table>", page, re.S)[1]).texts("th", scope="row")
    assert {"ndcg@10", "accuracy", "spearman", "length_ratio@10", "share_truncated", "short_wins"} <= set(names)
    assert not [name for name in names if name.endswith("_gain")]


def test_page_loads_nothing(page: str) -> None:
    own = Page(without_library(page))
    assert not re.search(r"https?:", without_library(page))
    assert {tag for tag, _, _ in own.elements}.isdisjoint({"link", "img", "iframe", "object", "base"})
    assert not [attrs for _, attrs, _ in own.elements if attrs.keys() & {"src", "srcset", "action"}]
    assert all((attrs.get("href") or "#").startswith("#") for _, attrs, _ in own.elements)


def test_hostile_text_stays_text(page: str, hostile: str) -> None:
    found = Page(hostile)
    assert {tag for tag, _, _ in found.elements} <= {tag for tag, _, _ in Page(page).elements}
    scripts = [
        attrs for tag, attrs, _ in found.elements if tag == "script" and attrs.get("type") != "application/json"
    ]
    assert scripts == [{}, {}]
    assert not [key for _, attrs, _ in found.elements for key in attrs if key.startswith("on")]
    assert reporting_examples.HOSTILE[0] in found.texts("h2")
    for block in found.texts("script", type="application/json"):
        assert not set(block) & set("<>&'\u2028\u2029")
        json.loads(block)


def test_hostile_text_is_no_markup_for_plotly() -> None:
    for key, chart in charts_of(examples.hostile_task_result()).items():
        for text in _strings(chart.figure):
            assert set(MARK.findall(text)) <= {"<br>", "<b>", "</b>"}, (key, text)
            assert text.count("<b>") == text.count("</b>"), (key, text)
        assert "template" not in _keys(chart), key


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def _keys(chart: Chart) -> str:
    """The names of what plotly would fill in by itself."""
    return " ".join(re.findall(r'"((?:hover|text)template)"', json.dumps(chart.figure)))


def test_words_in_the_grid_have_contrast_on_its_strongest_colours() -> None:
    css = (Path(html_module.__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
    for block in re.findall(r":root \{(.*?)\}", css, re.S):
        page, ink = (dict(re.findall(r"--(\w+): (#\w{6})", block))[name] for name in ("page", "ink"))
        for role in ("before", "after"):
            field = [
                TINT * top + (1 - TINT) * under for top, under in zip(_rgb(COLOURS[role]), _rgb(page), strict=True)
            ]
            assert _contrast(_rgb(ink), field) >= 4.5, (role, page)
        for role in ("before", "after", "relevant"):
            assert _contrast(_rgb(COLOURS[role]), _rgb(page)) >= 3, role


def _rgb(colour: str) -> list[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def _contrast(one: list[float], other: list[float]) -> float:
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: list[float]) -> float:
    parts = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))
