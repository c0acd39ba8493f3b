"""Length bias and single items of an evaluation in the report: the rows and nothing else, for eyes, mouse and keys."""

import re
from dataclasses import replace

import pytest

import task_examples as examples
from task_examples import charts_of, drawn, table_of
from uncollapse.evaluation.bias.table import BIAS
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.records import Item, Row
from uncollapse.reporting import glossary
from uncollapse.reporting.drawing import COLOURS, plain

MARK = re.compile(r"<[^>]*>?")


def test_lengths_of_what_is_found_stand_beside_what_is_there_and_what_is_right() -> None:
    result = examples.task_result()
    chart = charts_of(result)["task-1-shares"]
    bars = {trace["name"]: trace["y"] for trace in drawn(result, "task-1-shares")["data"]}
    assert bars == {
        "corpus": [0.2] * 5,
        "relevant": [0.17, 0.19, 0.21, 0.21, 0.22],
        "first ten, model as it is": [0.26, 0.22, 0.20, 0.18, 0.14],
        "first ten, with temperature(0.8)": [0.23, 0.21, 0.2, 0.19, 0.17],
    }
    assert [name for _, name in chart.colours] == list(bars)
    assert "Corpus: 20 % at 41\N{EN DASH}186 tokens" in chart.alt


def test_bias_figures_have_their_interval_their_neutral_value_and_a_sentence() -> None:
    table = table_of(examples.task_result(), "task-1-bias")
    assert table.columns == ("figure", "without bias", "model as it is", "with temperature(0.8)", "change")
    assert [line[0].text for line in table.lines] == [
        glossary.title(name) for name in ("length_ratio@R", "short_wins", "length_slope", "length_slope_sd")
    ]
    wins = table.lines[1]
    assert wins[0].under == BIAS["short_wins"].reading
    assert [cell.text for cell in wins[1:]] == ["0.500", "0.570", "0.530", "\N{MINUS SIGN}0.040"]
    assert wins[2].under.replace("\N{NO-BREAK SPACE}", " ") == "0.550 to 0.590"
    assert [line[0].text for line in table.rest][:2] == [
        "Length of the top 10 over length of relevant documents", "Surplus of short documents in the top 10",
    ]  # fmt: skip
    assert table.fold == "Show 5 more figures"
    assert charts_of(examples.task_result())["task-1-bias"].remarks == (
        "Intervals are for other queries on these very documents; those of the slope and of what length explains are "
        "for other documents, too. They are not corrected for being many.",
        "Long wins wrongly has no number here. No query has two documents that were judged differently.",
    )
    bare = tuple(row for row in examples.task_result().rows if not row.measure.endswith("_change"))
    assert "change" not in table_of(replace(examples.task_result(), rows=bare), "task-1-bias").columns


def test_every_score_and_bias_figure_is_explained() -> None:
    for name in (*METRICS, *BIAS):
        term = glossary.find_term(name)
        assert term
        assert term.reading
        assert glossary.is_bias(name) == (name in BIAS)
    ten = glossary.find_term("length_ratio@10")
    assert ten
    assert "top 10" in ten.reading + ten.title
    assert "top k" not in ten.reading + ten.title + ten.formula
    assert glossary.title("beauty") == "beauty"
    for suffix in ("gain", "detectable", "change"):
        assert glossary.title(f"short_wins_{suffix}") == "Short wins"


def test_one_dot_an_item_at_its_length_and_its_change() -> None:
    result = examples.task_result()
    figure = drawn(result, "task-1-items")
    items = [item for item in result.items if item.dataset == "scifact/test"]
    shown = {
        (x, y, trace["marker"]["color"])
        for trace in figure["data"]
        for x, y in zip(trace["x"], trace["y"], strict=True)
    }
    side = {1: "after", -1: "before", 0: "faint"}
    expected = set()
    for item in items:
        change = round(item.values["temperature(0.8)"] - item.values["none"], 5)
        expected.add((item.n_tokens, change, COLOURS[side[(change > 0) - (change < 0)]]))
    assert shown == expected
    assert sum(len(trace["x"]) for trace in figure["data"]) == len(items) == 300
    assert charts_of(result)["task-1-items"].remarks == ("300 queries are drawn.",)


def test_without_a_fix_a_dot_is_the_score_itself() -> None:
    (trace,) = drawn(examples.stock_result(), "task-1-items")["data"]
    items = [item for item in examples.stock_result().items if item.dataset == "scifact/test"]
    assert trace["y"] == [item.values["none"] for item in items]


def test_hover_shows_the_text_both_scores_and_both_lengths() -> None:
    item = Item("q1", "Is <b>5 > 4</b>?", 1200, 7, "ndcg@10", {"none": 0.5, "temperature(0.8)": 0.25}, "scifact/test")
    result = replace(examples.single_result(), items=(item,))
    (label,) = [text for trace in drawn(result, "task-1-items")["data"] for text in trace.get("hovertext", [])]
    assert label.split("<br>") == [
        "Is &lt;b&gt;5 &gt; 4&lt;/b&gt;?",
        "nDCG@10 model as it is: 0.500",
        "with temperature(0.8): 0.250 (\N{MINUS SIGN}0.250)",
        "document 1,200 tokens, query 7 tokens",
    ]


def test_hover_of_nasty_texts_is_short_and_in_lines() -> None:
    labels = [
        text for trace in drawn(examples.task_result(), "task-1-items")["data"] for text in trace.get("hovertext", [])
    ]
    assert len(labels) == 300
    for label in labels:
        assert set(MARK.findall(label)) <= {"<br>"}
        lines = [re.sub(r"&\w+;", "x", line) for line in label.split("<br>")]
        assert max(map(len, lines)) <= 48
        assert len(lines) <= 12


def test_control_letters_that_turn_the_text_around_are_not_drawn() -> None:
    assert plain("a \u202eabc\u202c \u2066x\u2069") == "a abc x"
    assert plain("👩\u200d🔬") == "👩\u200d🔬"


def test_scores_that_are_no_metric_are_higher_or_lower_not_better_or_worse() -> None:
    charts = charts_of(examples.task_result())
    assert [name for _, name in charts["task-1-items"].colours] == [
        "better with temperature(0.8)",
        "worse",
        "the same",
    ]
    assert [name for _, name in charts["task-2-items"].colours] == [
        "higher with temperature(0.8)",
        "lower",
        "the same",
    ]
    assert "cosine with temperature(0.8), minus that of the model as it is" in charts["task-2-items"].lead
    items = tuple(replace(item, measure="correct") for item in examples.task_result().items)
    named = charts_of(replace(examples.task_result(), items=items))["task-3-items"]
    assert named.lead.startswith("Accuracy with temperature(0.8)")
    assert named.colours[1][1] == "worse"


def test_only_items_of_one_score_with_every_number_are_drawn() -> None:
    both = {"none": 0.5, "temperature(0.8)": 0.75}
    items = (
        Item("a", "kept", 100, 7, "ndcg@10", both, "scifact/test"),
        Item("b", "of another score", 100, 7, "rr@10", both, "scifact/test"),
        Item("c", "under one setting", 100, 7, "ndcg@10", {"none": 0.5}, "scifact/test"),
        Item("d", "not defined", 100, 7, "ndcg@10", {**both, "none": float("nan")}, "scifact/test"),
        Item("e", "of another task", 100, 7, "ndcg@10", both, "stsb/test"),
    )
    figure = drawn(replace(examples.single_result(), items=items), "task-1-items")
    assert [text.split("<br>")[0] for trace in figure["data"] for text in trace.get("hovertext", [])] == ["kept"]


def test_items_that_moved_furthest_can_be_read_without_a_mouse() -> None:
    result = examples.task_result()
    table = table_of(result, "task-1-items")
    changes = [float(line[-1].text.replace("\N{MINUS SIGN}", "-")) for line in table.rest]
    items = [item for item in result.items if item.dataset == "scifact/test"]
    moved = sorted(item.values["temperature(0.8)"] - item.values["none"] for item in items)
    assert changes == pytest.approx([*moved[:5], *moved[-5:]], abs=0.0006)
    assert table.columns == ("query", "document tokens", "model as it is", "with temperature(0.8)", "change")


def test_counts_of_what_went_up_and_down_come_from_the_rows() -> None:
    keys = {"view": "overall", "fix": "temperature(0.8)", "dataset": "scifact/test"}
    rows = [Row(name, value, None, None, 300, **keys) for name, value in (("share_up", 0.31), ("share_down", 0.22))]  # type: ignore[arg-type]
    result = replace(examples.single_result(), rows=(*examples.single_result().rows, *rows))
    remarks = charts_of(result)["task-1-items"].remarks
    assert remarks[0] == "Of all queries, 31 % score better with it, 22 % worse."
