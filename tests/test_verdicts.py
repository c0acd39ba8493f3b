"""What the verdict says follows from the rows, and claims no more than they show."""

from dataclasses import replace

import pytest

from uncollapse.evaluation.verdicts import judge
from uncollapse.records import Row

TASK = {"dataset": "set/test", "kind": "retrieval", "main": "ndcg@10", "limit_tokens": 256}
FIX = "temperature(0.9)"
SCORE = Row("ndcg@10", 0.5, 0.45, 0.55, 300, view="overall", dataset="set/test")


def gain(value, low, high, p, **keys) -> Row:
    row = Row("ndcg@10_gain", value, low, high, 300, view="overall", dataset="set/test", fix=FIX, p=p, p_holm=p)
    return replace(row, **keys)


def said(*rows, tasks=(TASK,)):
    return judge([SCORE, *rows], tasks, ["none", FIX], "minilm")


@pytest.mark.parametrize(
    ("row", "kind", "title"),
    [
        (gain(0.02, 0.01, 0.03, 0.001), "good", f"{FIX} helps on set/test"),
        (gain(-0.02, -0.03, -0.01, 0.001), "bad", f"{FIX} hurts on set/test"),
        (gain(0.02, -0.01, 0.05, 0.2), "unknown", f"No sure difference by {FIX} on set/test"),
        (gain(0.02, 0.001, 0.04, 0.06), "unknown", f"No sure difference by {FIX} on set/test"),
        (gain(0.02, -0.001, 0.04, 0.04), "unknown", f"No sure difference by {FIX} on set/test"),
        (gain(0.001, -0.002, 0.004, 0.5), "neutral", f"{FIX} makes no difference that matters on set/test"),
        (gain(0.0005, 0.0002, 0.0008, 0.001), "neutral", f"{FIX} makes no difference that matters on set/test"),
        (gain(0.0, 0.0, 0.0, 1.0), "neutral", f"{FIX} changes nothing on set/test"),
        (gain(0.02, None, None, None, n=7), "unknown", f"Too little data to tell whether {FIX} helps on set/test"),
    ],
)
def test_helps_and_hurts_need_both_the_test_and_the_interval(row, kind, title):
    first = said(row)[0]
    assert (first.kind, first.title) == (kind, title)


def test_a_gain_is_told_from_whatever_came_first():
    first = replace(SCORE, value=0.3, fix="bm25")
    (found, *_) = judge([first, SCORE, gain(0.02, 0.01, 0.03, 0.001)], [TASK], ["bm25", FIX], "bm25")
    assert found.sentence.startswith("nDCG@10 goes from 0.300 to 0.320")


def test_a_raw_p_value_never_decides():
    row = replace(gain(0.02, 0.001, 0.04, 0.04), p_holm=0.3)
    assert said(row)[0].kind == "unknown"


def test_where_nothing_is_sure_it_says_what_would_have_been_seen():
    power = Row("ndcg@10_detectable", 0.03, None, None, 300, view="overall", dataset="set/test", fix=FIX)
    assert (
        "A true difference of 0.030 would be seen four times in five"
        in said(gain(0.02, -0.01, 0.05, 0.2), power)[0].sentence
    )


def test_bins_are_named_only_where_they_survive_correction():
    helped = gain(0.05, 0.02, 0.08, 0.01, view="by_document_length", bin="100-200")
    other = gain(0.05, 0.02, 0.08, 0.2, view="by_document_length", bin="300-400")
    (found,) = [finding for finding in said(gain(0.0, -0.1, 0.1, 1.0), helped, other) if "Where" in finding.title]
    assert "100-200" in found.sentence
    assert "300-400" not in found.sentence
    assert found.kind == "good"


def test_several_tasks_are_counted_first_and_unsure_ones_only_counted():
    second = {**TASK, "dataset": "other/test"}
    rows = (
        gain(0.02, 0.01, 0.03, 0.001),
        replace(SCORE, dataset="other/test"),
        gain(0.02, -0.01, 0.05, 0.2, dataset="other/test"),
    )
    findings = said(*rows, tasks=(TASK, second))
    assert findings[0].title == f"{FIX}: better on 1, worse on 0 of 2 tasks"
    assert not any("No sure difference" in finding.title for finding in findings)


@pytest.mark.parametrize(
    ("low", "value", "high", "title"),
    [
        (0.02, 0.1, 0.2, "Short documents push longer answers down on set/test"),
        (-0.2, -0.1, -0.02, "Long documents push shorter answers down on set/test"),
        (-0.02, 0.1, 0.2, "Short documents do not surely push answers down on set/test"),
    ],
)
def test_length_bias_is_claimed_only_where_the_interval_leaves_zero(low, value, high, title):
    row = Row("beaten_by_shorter", value, low, high, 200, view="overall", dataset="set/test")
    assert title in [finding.title for finding in said(row)]


def bias(measure, value, low, high, **keys) -> Row:
    row = Row(measure, value, low, high, 200, view="overall", dataset="set/test")
    return replace(row, **keys)


UNSURE = bias("beaten_by_shorter", 0.01, -0.02, 0.04)


def test_where_answers_are_not_surely_pushed_down_other_figures_that_show_a_bias_are_named():
    rows = (
        bias("length_ratio@10", 0.8, 0.75, 0.86),
        bias("short_wins", 0.52, 0.49, 0.55),
        bias("long_surplus@R", -0.1, -0.15, -0.05),
        bias("short_wins_wrongly", 0.9, 0.8, 1.0),  # has no value without bias
        bias("length_explained", 0.2, None, None),
    )
    (found,) = [finding for finding in said(UNSURE, *rows) if "push" in finding.title]
    assert (found.title, found.kind) == ("Short documents do not surely push answers down on set/test", "unknown")
    assert found.sentence.endswith(
        "Other figures of length bias exclude their value without bias (2 of 3): Length of the top 10 over length of "
        "relevant documents 0.8 [0.75, 0.86] (without bias 1, n = 200); Surplus of long documents in the top R -0.1 "
        "[-0.15, -0.05] (without bias 0, n = 200)."
    )


@pytest.mark.parametrize(
    "other",
    [
        bias("short_wins", 0.52, 0.49, 0.55),
        bias("short_wins", 0.5, 0.5, 0.6),
        bias("short_wins", 0.7, 0.6, 0.8, dataset="other/test"),
        bias("short_wins", 0.7, 0.6, 0.8, fix=FIX),
        bias("short_wins_change", 0.7, 0.6, 0.8),
        bias("share_of_top10", 0.7, 0.6, 0.8, view="by_document_length"),
    ],
)
def test_figures_that_show_no_bias_here_are_not_named(other):
    (found,) = [finding for finding in said(UNSURE, other) if "push" in finding.title]
    assert "Other figures" not in found.sentence


def test_a_slope_that_is_not_defined_is_not_told():
    (found,) = [finding for finding in said(UNSURE) if "push" in finding.title]
    assert "twice as long" not in found.sentence
    (found,) = [finding for finding in said(UNSURE, bias("length_slope_sd", 0, -1, 1)) if "push" in finding.title]
    assert "twice as long" in found.sentence


@pytest.mark.parametrize(("value", "word"), [(0.1, "more are shorter"), (-0.1, "fewer are shorter")])
def test_the_sentence_on_length_bias_follows_its_sign(value, word):
    row = Row("beaten_by_shorter", value, value - 0.01, value + 0.01, 200, view="overall", dataset="set/test")
    (found,) = [finding for finding in said(row) if "push" in finding.title]
    assert f"{word} than it than of the corpus, by {value:+.3f}" in found.sentence


@pytest.mark.parametrize(("share", "told"), [(0.9, True), (0.2, False)])
def test_a_length_the_model_never_saw_is_not_held_against_it(share, told):
    keys = {"view": "overall", "dataset": "set/test"}
    row = Row("beaten_by_shorter", 0.1, 0.05, 0.15, 200, **keys)
    cut = Row("share_truncated", share, 0.0, 1.0, 1000, bin="documents", **keys)
    (found,) = [finding for finding in said(row, cut) if "push" in finding.title]
    assert ("cannot have seen" in found.sentence) == told


@pytest.mark.parametrize(("kind", "said_of"), [("similarity", "pairs with a shorter text"), ("retrieval", "queries")])
def test_bins_are_named_after_what_is_in_them(kind, said_of):
    helped = gain(0.05, 0.02, 0.08, 0.01, view="by_query_length", bin="10-20")
    found = said(gain(0.0, -0.1, 0.1, 1.0), helped, tasks=({**TASK, "kind": kind},))
    assert any(f"{said_of} of 10-20 tokens" in finding.sentence for finding in found)


def test_a_wrong_length_of_the_results_alone_is_no_bias():
    """Where answers are long, every ranking shows shorter texts than they are."""
    row = Row("length_ratio@10", 0.3, 0.2, 0.4, 200, view="overall", dataset="set/test")
    assert not any("documents push" in finding.title for finding in said(row))


@pytest.mark.parametrize(("share", "told"), [(0.5, True), (0.051, True), (0.04, False), (0.0, False)])
def test_truncation_is_told_where_it_is_common(share, told):
    row = Row("share_truncated", share, 0.0, 1.0, 1000, view="overall", bin="documents", dataset="set/test")
    assert any("are cut off" in finding.title for finding in said(row)) == told


def test_a_score_that_is_not_defined_is_told():
    (found,) = judge([], [{**TASK, "main": "spearman"}], ["none"], "minilm")
    assert found.kind == "unknown"
    assert "all cosines or all human scores are equal" in found.sentence
