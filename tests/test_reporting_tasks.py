"""The figures of an evaluation: the rows and nothing else, and of each kind of task what it can have."""

import re
from dataclasses import replace
from typing import get_args

import pytest

import reporting_examples
import task_examples as examples
from task_examples import charts_of, drawn, ladder, table_of, without
from test_reporting import without_library
from uncollapse.evaluation import tasks as evaluation_tasks
from uncollapse.reporting import render_report, sections, words
from uncollapse.reporting.drawing import COLOURS
from uncollapse.reporting.tasks.rows import KINDS, read_tasks

RETRIEVAL = ("long", "short", "change", "gain", "grid", "items", "shares", "bias")
PAIRS = ("long", "short", "change", "gain", "grid", "items")
TEXTS = ("long", "change", "gain", "items")
HOLLOW = "rgba(0,0,0,0)"
MARK = re.compile(r"<[^>]*>?")


# --- which charts there are


def test_every_kind_of_task_has_the_charts_that_it_can_have() -> None:
    charts = charts_of(examples.task_result())
    expected = {"tasks", "gains"} | {
        f"task-{number}-{key}" for number, keys in ((1, RETRIEVAL), (2, PAIRS), (3, TEXTS)) for key in keys
    }
    assert set(charts) == expected
    missing = {key for key, chart in charts.items() if chart.missing}
    assert missing == {"task-2-grid"}
    assert all(bool(chart.figure or chart.table) != bool(chart.missing) for chart in charts.values())


def test_without_a_fix_there_is_no_before_and_after() -> None:
    charts = charts_of(examples.stock_result())
    assert not [key for key in charts if key.endswith(("-change", "-gain", "gains"))]
    assert charts["task-1-items"].title == "Every query"
    assert table_of(examples.stock_result(), "tasks").columns == ("task", "score, model as it is", "truncated")
    page = without_library(render_report(examples.stock_result()))
    assert "Does it help" not in page
    assert not re.search(r"\bgain\b", page.split('<section id="numbers"')[0].split("<main>")[1])


def test_a_diagnosis_has_no_task_and_an_evaluation_none_of_its_sections() -> None:
    assert not {section.look for section in sections.make_sections(reporting_examples.demo_result())} - {""}
    keys = [section.key for section in sections.make_sections(examples.task_result())]
    assert keys == ["tasks", "task-1", "task-2", "task-3"]
    both = replace(examples.task_result(), points=reporting_examples.demo_result().points)
    assert [section.key for section in sections.make_sections(both)] == [*keys, "points"]


def test_every_kind_of_task_has_words() -> None:
    assert set(KINDS) == {task.kind for task in get_args(evaluation_tasks.Task)}
    kinds = [{**entry, "kind": "new kind"} for entry in examples.task_result().about["tasks"]]
    result = replace(examples.task_result(), about={**examples.task_result().about, "tasks": kinds})
    assert "task-1-shares" not in charts_of(result)
    assert charts_of(result)["task-1-long"].figure


def test_rankings_without_a_model_are_called_by_their_names() -> None:
    full = examples.single_result()
    about = {key: value for key, value in full.about.items() if key != "model"}
    rows = tuple(replace(row, fix="bm25" if row.fix != "none" else "none") for row in full.rows)
    result = replace(full, rows=rows, items=(), about={**about, "fixes": ["none", "bm25"], "chosen_fix": "bm25"})
    section = sections.make_sections(result)[1]
    assert section.colours == (("before", "first run"), ("after", "bm25"))
    assert table_of(result, "tasks").columns[3] == "gain, bm25"
    page = without_library(render_report(result))
    assert "model as it is" not in page
    assert "with bm25" not in page


def test_tasks_come_in_the_order_of_about_and_then_of_the_rows() -> None:
    full = examples.task_result()
    turned = replace(full, about={**full.about, "tasks": full.about["tasks"][:0:-1]})
    assert [task.name for task in read_tasks(turned)] == ["agnews/test", "stsb/test", "scifact/test"]
    assert [task.main for task in read_tasks(turned)] == ["accuracy", "spearman", "ndcg@10"]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [("temperature(0.9)", 0.9), ("temperature(0.8)", 0.8), ("none", 0.9), (None, 0.9), (7, 0.9)],
)
def test_the_chosen_fix_is_blue_else_the_first(chosen: object, expected: float) -> None:
    full = examples.task_result()
    task = read_tasks(replace(full, about={**full.about, "chosen_fix": chosen}))[0]
    assert task.chosen == f"temperature({expected})"
    assert [task.role(fix) for fix in ("none", task.chosen)] == ["before", "after"]
    assert sorted(map(task.role, task.settings)) == ["after", "before", "faint"]


@pytest.mark.parametrize("key", ["tasks", "fixes", "chosen_fix"])
@pytest.mark.parametrize("value", [None, "bare", 7, [7], [{}], [None]])
def test_any_entry_of_about_may_be_missing_or_odd(key: str, value: object) -> None:
    full = replace(examples.single_result(), items=())
    result = replace(full, about={**full.about, key: value})
    charts = charts_of(result)
    assert charts["task-1-long"].figure
    assert "None" not in without_library(render_report(result))


# --- the figures show the rows


def test_bars_show_the_rows_and_nothing_else() -> None:
    result = examples.task_result()
    for key, view, labels in (("long", "by_document_length", examples.DOCUMENT_BINS),
                              ("short", "by_query_length", examples.QUERY_BINS)):  # fmt: skip
        figure = drawn(result, f"task-1-{key}")
        assert [trace["name"] for trace in figure["data"]] == [words.setting(fix) for fix in examples.FIXES]
        for fix, trace in zip(examples.FIXES, figure["data"], strict=True):
            rows = result.select(measure="ndcg@10", view=view, fix=fix, dataset="scifact/test")
            assert trace["x"] == list(range(5))
            assert trace["y"] == [row.value for row in rows]
            if fix != "temperature(0.9)":
                assert trace["error_y"]["array"] == [row.high - row.value for row in rows]
                assert trace["error_y"]["arrayminus"] == [row.value - row.low for row in rows]
            else:
                assert "error_y" not in trace
        assert [text.replace("<br>", "") for text in figure["layout"]["xaxis"]["ticktext"]] == [
            words.span(label) for label in labels
        ]
    ranges = [drawn(result, f"task-1-{key}")["layout"]["yaxis"]["range"] for key in ("long", "short")]
    assert ranges[0] == ranges[1]
    assert ranges[0][0] == 0


def test_bins_are_ordered_by_length_whatever_the_order_of_the_rows() -> None:
    result = examples.task_result()
    turned = replace(result, rows=result.rows[::-1])
    for key in ("task-1-long", "task-1-change", "task-1-grid", "task-1-shares"):
        assert drawn(turned, key)["layout"] == drawn(result, key)["layout"]


def test_long_labels_of_bins_are_on_two_lines() -> None:
    figure = drawn(examples.task_result(), "task-1-long")
    assert figure["layout"]["xaxis"]["ticktext"][-1] == "385\N{EN DASH}<br>1,512"
    figure = drawn(examples.task_result(), "task-1-short")
    assert figure["layout"]["xaxis"]["ticktext"][-1] == "27\N{EN DASH}52"


def test_a_bin_without_a_score_leaves_a_gap_in_its_bars() -> None:
    bare = without(examples.task_result(), view="by_document_length", bin="187-241", fix="none", measure="ndcg@10")
    before, faint, after = drawn(bare, "task-1-long")["data"]
    assert before["x"] == [0, 2, 3, 4]
    assert after["x"] == faint["x"] == [0, 1, 2, 3, 4]


def test_before_and_after_are_the_rows_and_the_gain_stands_beside_them() -> None:
    result = examples.task_result()
    figure = drawn(result, "task-1-change")
    lines = ladder(figure)
    assert [label for label, _ in lines] == [
        "all queries", *map(words.span, [*examples.DOCUMENT_BINS, *examples.QUERY_BINS]),
    ]  # fmt: skip
    points = {
        (height, trace["marker"]["color"]): value
        for trace in figure["data"][3:]
        for value, height in zip(trace["x"], trace["y"], strict=True)
    }
    for (label, height), said in lines.items():
        bin_ = label.replace("\N{EN DASH}", "-").replace(",", "") if "all" not in label else ""
        keys = {"dataset": "scifact/test", "bin": bin_}
        views = ("overall", "by_document_length", "by_query_length")
        for fix, role in (("none", "before"), ("temperature(0.8)", "after")):
            (row,) = (row for row in result.select(measure="ndcg@10", fix=fix, **keys) if row.view in views)
            assert points[height, COLOURS[role]] == row.value
        (gain,) = (
            row for row in result.select(measure="ndcg@10_gain", fix="temperature(0.8)", **keys) if row.view in views
        )
        assert words.number(gain.value, gain.measure) in said
        assert words.interval(gain) in said


def test_only_proven_gains_are_thick_bold_and_filled() -> None:
    result = examples.task_result()
    change, gain = drawn(result, "task-1-change"), drawn(result, "task-1-gain")
    joints = {height: trace["line"] for trace in change["data"][:3] for height in trace["y"] if height is not None}
    dots = dict(zip(gain["data"][2]["y"], gain["data"][2]["marker"]["color"], strict=True))
    beside = {height: text for (_, height), text in ladder(change).items()}
    sure = {height: text for (_, height), text in ladder(gain).items()}
    proven = {label: height for label, height in ladder(change) if joints[height]["width"] == 5}
    assert list(proven) == ["41\N{EN DASH}186", "385\N{EN DASH}1,512", "27\N{EN DASH}52"]
    assert len(joints) == len(dots) == 11
    for height, line in joints.items():
        holds = height in proven.values()
        assert (dots[height] != HOLLOW) == holds
        assert ("<b>" in beside[height]) == ("<b>" in sure[height]) == holds
        assert ("cannot tell" in sure[height]) != holds
        assert (line["color"] != COLOURS["faint"]) == holds
    assert joints[proven["41\N{EN DASH}186"]]["color"] == COLOURS["before"]
    assert joints[proven["385\N{EN DASH}1,512"]]["color"] == COLOURS["after"]
    assert "p = 0.013" in sure[proven["41\N{EN DASH}186"]]
    assert "p &lt; 0.001" in sure[proven["385\N{EN DASH}1,512"]]


def test_lines_without_any_number_are_left_out() -> None:
    full = examples.single_result()
    rows = tuple(row for row in full.rows if row.view != "overall" or not row.measure.startswith("ndcg@10"))
    result = replace(full, rows=rows)
    for key in ("change", "gain"):
        assert next(label for label, _ in ladder(drawn(result, f"task-1-{key}"))) == "41\N{EN DASH}186"


def test_the_bar_between_two_scores_ends_at_both() -> None:
    figure = drawn(examples.task_result(), "task-1-change")
    ends = {
        (x, y) for trace in figure["data"][:3] for x, y in zip(trace["x"], trace["y"], strict=True) if x is not None
    }
    dots = {(x, y) for trace in figure["data"][3:] for x, y in zip(trace["x"], trace["y"], strict=True)}
    assert ends == dots
    assert len(dots) == 22


def test_gains_have_their_interval_and_the_other_settings_beside_them() -> None:
    result = examples.task_result()
    small, _, big = drawn(result, "task-3-gain")["data"]
    keys = {"measure": "accuracy_gain", "dataset": "agnews/test"}
    rows = result.select(fix="temperature(0.8)", **keys)
    assert big["x"] == [row.value for row in rows]
    assert big["error_x"]["array"] == [row.high - row.value for row in rows]
    assert big["error_x"]["arrayminus"] == [row.value - row.low for row in rows]
    assert small["x"] == [row.value for row in result.select(fix="temperature(0.9)", **keys)]
    assert "Holm-corrected p &lt; 0.001" in big["hovertext"][1]
    assert "n = 400" in big["hovertext"][1]


def test_the_grid_has_every_gain_at_its_place_and_hatches_the_rest() -> None:
    result = examples.task_result()
    heat, hatched, fields = drawn(result, "task-1-grid")["data"]
    rows = {
        row.bin: row
        for row in result.select(measure="ndcg@10_gain", view="grid", fix="temperature(0.8)", dataset="scifact/test")
    }
    seen = 0
    for y, long in enumerate(examples.DOCUMENT_BINS):
        for x, short in enumerate(examples.QUERY_BINS):
            row = rows.get(f"{long} x {short}")
            full = row is not None and row.low is not None
            assert heat["z"][y][x] == (row.value if full and row else None)
            assert ((x, y - 0.48) in zip(hatched["x"], hatched["base"], strict=True)) == (not full)
            text = fields["text"][5 * y + x]
            assert text == "" if row is None else f"n = {row.n}" in text
            assert ("<b>" in text) == (full and row is not None and (row.p_holm or 0) < 0.05)
            seen += full
    assert (seen, len(hatched["x"])) == (23, 2)
    assert heat["zmin"] == -heat["zmax"]
    assert "fewer than 5 queries" in fields["hovertext"][20]
    assert "nothing here" in fields["hovertext"][4]


def test_the_grid_without_a_fix_shows_the_scores() -> None:
    heat = drawn(examples.stock_result(), "task-1-grid")["data"][0]
    assert heat["z"][0][0] == 0.66
    assert heat["zmin"] == 0.54
    assert charts_of(examples.stock_result())["task-1-grid"].title == "nDCG@10 by both lengths"
