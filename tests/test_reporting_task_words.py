"""The words of an evaluation's page agree with its verdict, with what is counted, and with what is compared."""

import dataclasses
import re
from dataclasses import replace

import pytest
from rich.console import Console

import task_examples as examples
from task_examples import charts_of, drawn, ladder, table_of
from test_reporting import without_library
from uncollapse.cli.printing import _scores
from uncollapse.evaluation.statistics.linked import noted_linked
from uncollapse.evaluation.verdicts import judge
from uncollapse.records import Finding, Result, Row
from uncollapse.reporting import render_report, sections, words
from uncollapse.reporting.tasks.rows import outcome

HOLLOW = "rgba(0,0,0,0)"


# --- better, worse, or neither


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "expected"),
    [
        (0.01, 0.03, 0.049, "better"),
        (-0.03, -0.01, 0.049, "worse"),
        (0.01, 0.03, 0.05, "cannot tell"),
        (-0.03, -0.01, 1.0, "cannot tell"),
        (-0.03, 0.001, 0.027, "cannot tell"),
        (-0.03, 0.0, 0.001, "cannot tell"),
        (0.001, 0.004, 0.001, "no difference that matters"),
        (-0.004, 0.004, 1.0, "no difference that matters"),
        (0.001, 0.005, 0.001, "better"),
        (0.0, 0.0, 1.0, "changes nothing"),
        (0.01, 0.03, None, "not tested"),
        (None, None, 0.001, "not tested"),
    ],
)
def test_outcome_in_a_word(low: float | None, high: float | None, p_holm: float | None, expected: str) -> None:
    value = 0.02 if low is None or high is None else (low + high) / 2
    assert outcome(Row("ndcg@10_gain", value, low, high, 9, p=0.0001, p_holm=p_holm)) == expected


def gain_of(low: float, high: float, p_holm: float) -> Result:
    """The single task whose gains over all queries and in every bin have this interval and this p-value."""
    full = examples.single_result()
    ends = {"value": (low + high) / 2, "low": low, "high": high, "p": p_holm, "p_holm": p_holm}
    rows = tuple(replace(row, **ends) if row.measure == "ndcg@10_gain" and row.p else row for row in full.rows)
    return replace(full, rows=rows)


@pytest.mark.parametrize("p_holm", [0.001, 0.04, 0.2])
@pytest.mark.parametrize(
    ("low", "high"), [(0.01, 0.02), (-0.02, -0.01), (-0.02, 0.001), (-0.001, 0.004), (0.001, 0.004), (-0.02, 0.02)]
)
def test_table_tile_figures_and_grid_say_what_the_verdict_says(low: float, high: float, p_holm: float) -> None:
    result = gain_of(low, high, p_holm)
    found = judge(result.rows, result.about["tasks"], ("none", "temperature(0.8)"), "minilm")[0]
    said = {
        "temperature(0.8) helps on": "better",
        "temperature(0.8) hurts on": "worse",
        "temperature(0.8) makes no difference that matters on": "no difference that matters",
        "No sure difference by temperature(0.8) on": "cannot tell",
    }[found.title.removesuffix(" scifact/test")]
    sure = said in ("better", "worse")
    cell = table_of(result, "tasks").lines[0][3]
    tone = {"better": "good", "worse": "bad"}.get(said, "neutral")
    assert (cell.word, cell.tone) == (said, tone)
    assert f"gain: {said}, " in sections.make_tiles(result)[2].label
    beside = {text.split("<br>p")[0].replace("<br>", " ") for text in ladder(drawn(result, "task-1-gain")).values()}
    assert beside == {f"<b>{said}</b>" if sure else said}
    fills = drawn(result, "task-1-gain")["data"][-1]["marker"]["color"]
    assert {fill != HOLLOW for fill in fills} == {sure}
    (joint,) = [trace for trace in drawn(result, "task-1-change")["data"][:3] if trace["x"]]
    assert joint["line"]["width"] == (5 if sure else 2)
    texts = [text for text in drawn(result, "task-1-grid")["data"][2]["text"] if text and not text.startswith("n =")]
    assert {text.startswith("<b>") for text in texts} == {sure}


def test_the_texts_name_both_conditions_of_better_and_worse() -> None:
    charts = charts_of(examples.single_result())
    for key in ("tasks", "task-1-gain"):
        assert "is below 0.05 and the whole 95 % interval lies on one side of 0" in charts[key].reading
        assert "no difference that matters where the whole interval lies within 0.005" in charts[key].reading


# --- small numbers


@pytest.mark.parametrize("size", [0.3, 0.012, 0.0049, 0.0004, 0.00006])
@pytest.mark.parametrize("measure", ["ndcg@10_gain", "length_slope_sd", "beaten_by_shorter", "short_wins_change"])
def test_an_interval_that_excludes_0_does_not_print_as_if_it_ended_there(measure: str, size: float) -> None:
    for low, high in ((size, 2 * size), (-2 * size, -size)):
        ends = words.interval(Row(measure, 1.5 * size, low, high, 90)).replace(words.MINUS, "-").split(" to ")
        assert [float(end) > 0 for end in ends] == [low > 0, high > 0]
        assert all(float(end) for end in ends)
        assert max(len(end.partition(".")[2]) for end in ends) <= 4
    assert words.interval(Row(measure, 0.0, 0.0, 0.0, 90)) == "0.000 to 0.000"
    assert words.number(1e-9, measure) == "0.000"


def test_small_ends_are_whole_in_table_and_figure() -> None:
    result = gain_of(-0.012, -0.0003, 0.01)
    cell = table_of(result, "tasks").lines[0][3]
    end = "\N{MINUS SIGN}0.012 to \N{MINUS SIGN}0.0003"
    assert (cell.word, cell.tone) == ("worse", "bad")
    assert cell.under.replace("\N{NO-BREAK SPACE}", " ").startswith(end)
    assert all(end in said for said in ladder(drawn(result, "task-1-change")).values())


# --- what is counted


def test_groups_of_bars_hold_what_they_are_grouped_by() -> None:
    charts = charts_of(examples.task_result())
    for key, said in (
        ("task-1-long", "queries whose relevant documents are of about the same length"),
        ("task-1-short", "queries of about the same length"),
        ("task-2-long", "pairs whose longer texts are of about the same length"),
        ("task-2-short", "pairs whose shorter texts are of about the same length"),
        ("task-3-long", "texts of about the same length"),
    ):
        assert charts[key].reading.startswith(f"Each group of bars holds {said}, shortest left"), key


def test_a_reason_for_no_interval_is_said_once() -> None:
    note = "no interval: no interval: too few; no interval: no variation; no interval: too few"
    full = examples.single_result()
    result = replace(full, rows=tuple(replace(row, low=None, high=None, note=note) for row in full.rows), verdict=())
    assert charts_of(result)["task-1-long"].remarks == ("These numbers have no interval: too few; no variation",)
    page = render_report(result)
    assert "no interval: too few; no variation" in page
    assert "no interval: no interval" not in page
    assert "; no interval" not in page
    bare = replace(full, rows=tuple(replace(row, low=None, high=None, note="no interval") for row in full.rows))
    assert charts_of(bare)["task-1-long"].remarks == ("These numbers have no interval.",)


def test_the_page_counts_judgements_and_groups_and_names_no_fix_that_was_not_put_on() -> None:
    page = render_report(examples.task_result())
    assert "339 judgements" in page
    assert "judged documents" not in without_library(page).split("What the measures are")[0]
    assert "the number of independent groups (or items) it rests on" in page
    full = examples.single_result()
    for patched, there in (("none", False), ("temperature(0.5)", True)):
        about = {**full.about, "model": {**full.about["model"], "patched_fix": patched}}
        assert ("Fix put on for this run" in render_report(replace(full, about=about))) == there
    alone = Result(about={"model": {"name": "minilm", "patched_fix": "none"}})
    assert "Fix put on for this run" in render_report(alone)


# --- runs


def runs_result() -> Result:
    """Three runs instead of one model with two fixes."""
    full = examples.task_result()
    names = {"none": "none", "temperature(0.8)": "tfidf_sub", "temperature(0.9)": "bm25"}
    rows = tuple(replace(row, fix=names[row.fix]) for row in full.rows if row.dataset == "scifact/test")
    items = tuple(
        replace(item, values={names[fix]: value for fix, value in item.values.items()})
        for item in full.items
        if item.dataset == "scifact/test"
    )
    about = {key: value for key, value in full.about.items() if key not in ("model", "title", "command")}
    about |= {"tasks": full.about["tasks"][:1], "runs": ["tfidf", "tfidf_sub", "bm25"]}
    about |= {"fixes": ["none", "tfidf_sub", "bm25"], "chosen_fix": "tfidf_sub"}
    return replace(full, rows=rows, items=items, about=about, verdict=())


def test_sentences_about_runs_call_them_runs() -> None:
    charts = charts_of(runs_result())
    assert charts["tasks"].reading.startswith("A gain is what is added to the score of the run tfidf, on")
    assert "a better score than that of the run tfidf;" in charts["gains"].reading
    assert charts["gains"].title == "Gain of every run on every task"
    assert charts["task-1-change"].title == "tfidf and tfidf_sub"
    assert charts["task-1-change"].lead == "nDCG@10 of the same queries in both runs."
    assert "from the run tfidf (orange) to the run tfidf_sub (blue)" in charts["task-1-change"].reading
    assert "blue where the run tfidf_sub is ahead, orange where the run tfidf," in charts["task-1-grid"].reading
    items = charts["task-1-items"]
    assert items.title == "tfidf_sub against tfidf, query by query"
    assert items.lead == "nDCG@10 in the run tfidf_sub, minus that of the run tfidf."
    assert items.colours[0][1] == "better in the run tfidf_sub"
    assert "above the line its score is better in the run tfidf_sub, below it worse" in items.reading


def test_a_page_of_runs_has_no_words_of_fixes() -> None:
    page = without_library(render_report(runs_result())).split('<section id="numbers"')
    for wrong in ("the tfidf", "with tfidf", "better tfidf", "of bm25", "settings", "setting ", "Does it help"):
        assert wrong not in page[0], wrong
    assert "other runs" in page[0]
    assert "<dt>Settings</dt>" not in page[1]
    assert re.search(r"<dt>Runs</dt>\s*<dd>tfidf, tfidf_sub, bm25</dd>", page[1])
    assert '<th scope="col">run</th>' in page[1]
    assert "<td>tfidf</td>" in page[1]
    assert "<td>none</td>" not in page[1]


def test_an_unnamed_first_run_is_called_so() -> None:
    full = runs_result()
    result = replace(full, about={key: value for key, value in full.about.items() if key != "runs"})
    assert "the score of the first run, on" in charts_of(result)["tasks"].reading
    stock = charts_of(examples.single_result())
    assert "the score of the model as it is, on" in stock["tasks"].reading
    assert stock["task-1-change"].title == "Before and after temperature(0.8)"


# --- models


def models_result(*fixes: str) -> Result:
    """One model held against another, and beside it under other fixes where `fixes` keeps them."""
    full = examples.task_result()
    names = {"none": "none", "temperature(0.8)": "e5-long", **{fix: fix for fix in fixes}}
    rows = tuple(
        replace(row, fix=names[row.fix]) for row in full.rows if row.dataset == "scifact/test" and row.fix in names
    )
    items = tuple(
        replace(item, values={name: item.values[fix] for fix, name in names.items()})
        for item in full.items
        if item.dataset == "scifact/test"
    )
    about = {**full.about, "tasks": full.about["tasks"][:1], "against": [{"name": "e5-long", "dim": 384}]}
    about |= {"title": "", "command": "", "fixes": ["none", "e5-long", *fixes], "chosen_fix": "e5-long"}
    return replace(full, rows=rows, items=items, about=about)


def test_models_are_called_by_their_names() -> None:
    charts = charts_of(result := models_result())
    assert charts["tasks"].reading.startswith("A gain is what is added to the score of minilm, on")
    assert table_of(result, "tasks").columns[1:] == ("score, minilm", "truncated", "gain, e5-long")
    assert charts["task-1-change"].title == "minilm and e5-long"
    assert charts["task-1-change"].lead == "nDCG@10 of the same queries with both models."
    assert "from minilm (orange) to e5-long (blue)" in charts["task-1-change"].reading
    assert "blue where e5-long is ahead, orange where minilm," in charts["task-1-grid"].reading
    items = charts["task-1-items"]
    assert items.title == "e5-long against minilm, query by query"
    assert items.lead == "nDCG@10 with e5-long, minus that of minilm."
    section = sections.make_sections(result)[1]
    assert section.colours == (("before", "minilm"), ("after", "e5-long"))
    assert [tile.label for tile in sections.make_tiles(result)][:2] == ["nDCG@10, minilm", "nDCG@10, e5-long"]
    page = without_library(
        render_report(replace(result, verdict=(Finding("e5-long is better", "By 0.005.", "good"),)))
    )
    for wrong in ("model as it is", "setting", "Before and after", "<td>none</td>", "Does it help"):
        assert wrong not in page.split("What the measures are")[0], wrong
    assert "Which model is better, and where?" in page
    assert '<th scope="col">model or fix</th>' in page
    assert set(re.findall(r"<td>(minilm|e5-long|none)</td>", page)) == {"minilm", "e5-long"}
    assert "<span>minilm</span><span>against e5-long</span>" in page
    assert re.search(r"<dt>Settings</dt>\s*<dd>minilm, e5-long</dd>", page)


def test_a_fix_beside_another_model_is_still_one_of_the_first() -> None:
    result = models_result("temperature(0.9)")
    assert table_of(result, "tasks").columns[1:] == (
        "score, minilm", "truncated", "gain, e5-long", "gain, with temperature(0.9)",
    )  # fmt: skip
    assert charts_of(result)["gains"].title == "Gain of every setting on every task"
    turned = replace(result, about={**result.about, "chosen_fix": "temperature(0.9)"})
    assert charts_of(turned)["task-1-change"].title == "Before and after temperature(0.9)"
    assert charts_of(turned)["task-1-items"].lead == "nDCG@10 with temperature(0.9), minus that of minilm."


# --- what lengths are counted in


def counted(unit: str) -> Result:
    full = runs_result()
    return replace(full, about={**full.about, "tasks": [{**full.about["tasks"][0], "unit": unit}]})


@pytest.mark.parametrize(
    ("unit", "axis", "bin_of", "heading"),
    [
        ("tokens", "document tokens", "document of 41\N{EN DASH}186 tokens", "by length of the document, in tokens"),
        ("words", "document words", "document of 41\N{EN DASH}186 words", "by length of the document, in words"),
        ("", "document length", "document of length 41\N{EN DASH}186", "by length of the document"),
    ],
)
def test_lengths_are_told_in_what_they_were_counted_in(unit: str, axis: str, bin_of: str, heading: str) -> None:
    result = counted(unit)
    bars = drawn(result, "task-1-long")
    assert bars["layout"]["xaxis"]["title"]["text"] == axis
    assert bin_of in bars["data"][0]["hovertext"][0]
    notes = [note["text"].replace("<br>", " ") for note in drawn(result, "task-1-change")["layout"]["annotations"]]
    assert f"<b>{heading}</b>" in notes
    assert drawn(result, "task-1-items")["layout"]["xaxis"]["title"]["text"] == axis
    assert drawn(result, "task-1-grid")["layout"]["yaxis"]["title"]["text"] == axis
    assert table_of(result, "task-1-items").columns[1] == axis
    said = str(charts_of(result))
    assert ("token" in said) == (unit == "tokens")
    assert (" words" in said) == (unit == "words")


def test_a_task_that_does_not_say_what_its_lengths_are_counted_in_counts_tokens() -> None:
    assert drawn(runs_result(), "task-1-long")["layout"]["xaxis"]["title"]["text"] == "document tokens"


def test_where_n_counts_items_that_are_not_independent_the_page_and_the_screen_say_so() -> None:
    plain = examples.task_result()
    name = plain.rows[0].dataset
    linked = tuple(noted_linked(row, "queries") if row.dataset == name else row for row in plain.rows)
    told = "counts items that share what is relevant and are not independent"
    for rows, there in ((plain.rows, False), (linked, True)):
        result = dataclasses.replace(plain, rows=rows)
        assert without_library(render_report(result)).count(told) == 2 * there  # in the overview and beside the task
        console = Console(width=400)
        with console.capture() as shown:
            console.print(_scores(result))
        assert (f"on {name} it {told}" in " ".join(shown.get().split())) is there


def test_on_the_page_of_a_single_task_it_is_said_once() -> None:
    plain = examples.single_result()
    page = render_report(dataclasses.replace(plain, rows=tuple(noted_linked(row, "queries") for row in plain.rows)))
    assert without_library(page).count("Here n counts items that share what is relevant and are not independent") == 1
