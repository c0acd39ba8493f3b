"""What the verdict says follows from the rows, and claims no more than they show."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uncollapse.evaluation.statistics.linked import noted_linked
from uncollapse.evaluation.verdicts import judge, signed
from uncollapse.evaluation.verdicts.gains import OF_FIXES, OF_RIVALS, items_for
from uncollapse.records import Row

TASK = {"dataset": "set/test", "kind": "retrieval", "main": "ndcg@10", "limit_tokens": 256}
FIX = "temperature(0.9)"
SCORE = Row("ndcg@10", 0.5, 0.45, 0.55, 300, view="overall", dataset="set/test")


def gain(value, low, high, p, **keys) -> Row:
    row = Row("ndcg@10_gain", value, low, high, 300, view="overall", dataset="set/test", fix=FIX, p=p, p_holm=p)
    return replace(row, **keys)


def said(*rows, tasks=(TASK,), **keys):
    return judge([SCORE, *rows], tasks, ["none", FIX], "minilm", **keys)


def of_bias(*rows, **keys):
    return [finding for finding in said(*rows, **keys) if "push" in finding.title]


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


def test_the_setting_that_surely_gains_most_heads_the_page():
    worth = {"a": (0.01, 0.2), "b": (-0.02, 0.001), "c": (0.02, 0.001), "d": (0.04, 0.001), "e": (0.3, 0.9)}
    sure = {fix: (value - 0.01, value + 0.01) if p < 0.05 else (-1, 1) for fix, (value, p) in worth.items()}
    rows = [gain(value, *sure[fix], p, fix=fix) for fix, (value, p) in worth.items()]
    found = judge([SCORE, *rows], [TASK], ["none", *worth], "minilm")
    titles = [finding.title for finding in found if finding.title.endswith("set/test")][:5]
    assert [re.findall(r"\b[a-e]\b", title)[0] for title in titles] == ["d", "c", "b", "a", "e"]


def test_a_gain_is_told_from_whatever_came_first():
    first = replace(SCORE, value=0.3, fix="bm25")
    (found, *_) = judge([first, SCORE, gain(0.02, 0.01, 0.03, 0.001)], [TASK], ["bm25", FIX], "bm25")
    assert found.sentence.startswith("nDCG@10 goes from 0.300 to 0.320")


def test_a_raw_p_value_never_decides():
    row = replace(gain(0.02, 0.001, 0.04, 0.04), p_holm=0.3)
    assert said(row)[0].kind == "unknown"


POWER = Row("ndcg@10_detectable", 0.03, None, None, 300, view="overall", dataset="set/test", fix=FIX)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.02, "With this many queries a true difference of 0.030 would be found in four of five such trials; to find "
               "one of 0.020 as often takes about 680 independent queries."),
        (-0.02, "to find one of 0.020 as often takes about 680 independent queries."),
        (0.0001, "to find one of 0.005 as often takes about 11,000 independent queries."),
        (0.04, "a true difference of 0.030 would be found in four of five such trials; more queries would decide."),
    ],
)  # fmt: skip
def test_where_nothing_is_sure_it_says_what_would_have_been_seen_and_what_it_takes(value, told):
    assert said(gain(value, -0.06, 0.06, 0.2), POWER)[0].sentence.endswith(told)


def test_where_nothing_is_sure_and_the_power_is_not_known_it_still_says_what_to_do():
    assert "Four times as many queries" in said(gain(0.02, -0.01, 0.05, 0.2))[0].sentence


@given(st.floats(1e-3, 0.5), st.floats(1, 1000), st.integers(10, 10**6))
def test_with_as_many_items_as_it_takes_the_difference_can_be_seen(wanted, times, n):
    seen = times * wanted
    found = items_for(wanted, replace(POWER, value=seen, n=n))
    exact = n * (seen / wanted) ** 2
    assert exact * (1 - 1e-6) <= found <= max(1.11 * exact, exact + 1)
    assert seen * (n / found) ** 0.5 <= wanted * (1 + 1e-6)


@given(st.floats(-1, 1), st.sampled_from([2, 3]))
def test_a_sign_is_printed_only_before_a_number_that_has_one(value, places):
    text = signed(value, places)
    assert abs(float(text) - value) <= 0.5000001 * 10.0**-places
    assert (text[0] in "+-") == (float(text) != 0)
    assert float(text) * value >= 0
    assert float(text) or abs(value) <= 0.5000001e-6, "a number that can be told from 0 is"


def test_no_finding_has_a_signed_nought():
    rows = (
        gain(0.00001, -0.00002, 0.0121, 0.2),
        bias("beaten_by_shorter", 0.000004, -0.03, 0.04),
        bias("length_slope_sd", 0.001, -0.004, 0.006),
    )
    text = " ".join(finding.sentence for finding in said(*rows))
    assert not re.search(r"[+-]0\.0+(?!\d)", text)
    assert "+0.00001 (95 % interval -0.00002 to +0.012, n = 300)" in text
    assert "by +0.001 standard deviations (95 % interval -0.004 to +0.01)" in text


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
        (-0.02, 0.1, 0.2, "Not sure whether short or long documents push answers down on set/test"),
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
    title = "Not sure whether short or long documents push answers down on set/test"
    assert (found.title, found.kind) == (title, "unknown")
    assert found.sentence.endswith(
        "2 of 3 other figures of length bias have an interval that leaves out the value without bias: length of the "
        "top 10 over length of relevant documents 0.8 [0.75, 0.86] (without bias 1, n = 200); surplus of long "
        "documents in the top R -0.1 [-0.15, -0.05] (without bias 0, n = 200). These are 95 % intervals, not "
        "corrected for being 3: one in twenty leaves that value out by chance where there is no bias. Four "
        "times as many judged queries would make the interval half as wide."
    )


def test_of_many_figures_three_are_given_and_the_rest_counted_and_none_is_told_twice():
    names = ("short_surplus@10", "short_surplus@R", "long_surplus@10", "long_surplus@R")
    rows = [bias(name, 0.1, 0.05, 0.15) for name in (*names, "length_slope", "length_explained")]
    (found,) = of_bias(UNSURE, *rows)
    assert "6 of 6 other figures of length bias have an interval" in found.sentence
    assert "(without bias 0, n = 200); 3 more in the report." in found.sentence
    (found,) = of_bias(UNSURE, *rows, bias("length_slope_sd", 0.1, 0.05, 0.15))
    assert "4 of 4 other figures of length bias have an interval" in found.sentence
    assert "; 1 more in the report." in found.sentence
    (found,) = of_bias(UNSURE, rows[0])
    assert "1 of 1 other figures of length bias has an interval" in found.sentence
    assert "corrected" not in found.sentence


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
    assert "other figures" not in found.sentence


def test_a_slope_that_is_not_defined_is_not_told():
    (found,) = [finding for finding in said(UNSURE) if "push" in finding.title]
    assert "twice the length" not in found.sentence
    (found,) = [finding for finding in said(UNSURE, bias("length_slope_sd", 0, -1, 1)) if "push" in finding.title]
    assert "twice the length" in found.sentence


@pytest.mark.parametrize(
    ("low", "high", "title"),
    [
        (0.05, 0.15, "Scores rise with length; not sure whether that pushes answers down on set/test"),
        (-0.15, -0.05, "Scores fall with length; not sure whether that pushes answers down on set/test"),
        (-0.05, 0.15, "Not sure whether short or long documents push answers down on set/test"),
        (0.0, 0.15, "Not sure whether short or long documents push answers down on set/test"),
        (None, None, "Not sure whether short or long documents push answers down on set/test"),
    ],
)
def test_scores_that_surely_follow_length_are_not_called_unsure(low, high, title):
    (found,) = [
        finding for finding in said(UNSURE, bias("length_slope_sd", 0.1, low, high)) if "push" in finding.title
    ]
    assert (found.title, found.kind) == (title, "unknown")


@pytest.mark.parametrize("value", [0.1, -0.1])
def test_the_sentence_on_length_bias_gives_the_difference_with_its_sign(value):
    (found,) = of_bias(bias("beaten_by_shorter", value, value - 0.01, value + 0.01))
    told = f"the share that is shorter than it differs from what chance would give by {value:+.3f} (95 %"
    assert told in found.sentence


TOO_FEW = "no interval: 7 independent items are too few to tell, 10 are needed; over 9 relevant documents"


@pytest.mark.parametrize(
    ("rows", "undefined", "told"),
    [
        ([Row("beaten_by_shorter", 0.1, None, None, 7, view="overall", dataset="set/test", note=TOO_FEW)], {},
         "by +0.100 (n = 7). No interval: 7 independent items are too few to tell, 10 are needed; over 9 relevant"),
        ([], {"beaten_by_shorter": "All 9 documents have the same length (5)."}, "All 9 documents have the same len"),
    ],
)  # fmt: skip
def test_a_length_bias_that_cannot_be_told_says_why(rows, undefined, told):
    (found,) = of_bias(*rows, tasks=({**TASK, "undefined": undefined},))
    title = "It cannot be told whether short or long documents push answers down on set/test"
    assert (found.title, found.kind) == (title, "unknown")
    assert told in found.sentence
    assert found.sentence.endswith(".")
    assert ".." not in found.sentence


def test_a_length_bias_that_cannot_be_told_has_what_else_is_known():
    slope, surplus = bias("length_slope_sd", 0.1, 0.05, 0.15), bias("short_surplus@10", 0.1, 0.05, 0.15)
    (found,) = of_bias(slope, surplus, tasks=({**TASK, "undefined": {"beaten_by_shorter": "Nothing stands above."}},))
    assert found.sentence.startswith(
        "Nothing stands above. At equal relevance, twice the length moves a score by +0.10"
    )
    assert "1 of 1 other figures" in found.sentence


def test_where_nothing_is_ranked_nothing_is_said_of_length_bias():
    assert not of_bias(tasks=({**TASK, "undefined": {}},))
    assert not of_bias(tasks=({**TASK, "kind": "clustering", "main": "v_measure"},))


# --- other models and runs


RIVALS = ("none", "b", FIX)


def of_rivals(*rows, tasks=(TASK,)):
    return judge([SCORE, *rows], tasks, RIVALS, "a", rivals=["b"])


@pytest.mark.parametrize(
    ("row", "title"),
    [
        (gain(0.02, 0.01, 0.03, 0.001), "b is better than a on set/test"),
        (gain(-0.02, -0.03, -0.01, 0.001), "b is worse than a on set/test"),
        (gain(0.02, -0.01, 0.05, 0.2), "No sure difference between a and b on set/test"),
        (gain(0.001, -0.002, 0.004, 0.5), "No difference that matters between a and b on set/test"),
        (gain(0.0, 0.0, 0.0, 1.0), "b and a score the same on set/test"),
        (gain(0.02, None, None, None, n=7), "Too little data to tell which of a and b is better on set/test"),
    ],
)
def test_another_model_or_run_is_no_fix_that_helps(row, title):
    found = of_rivals(replace(row, fix="b"), row)
    assert found[0].title == title
    assert found[0].kind == said(row)[0].kind
    assert found[1].title == said(row)[0].title, "a fix beside it is called what it is called alone"


def test_both_scores_of_two_models_are_given_with_their_names():
    found = of_rivals(gain(0.02, 0.01, 0.03, 0.001, fix="b"))[0]
    assert found.sentence.startswith("nDCG@10 is 0.500 for a and 0.520 for b, +0.020 (95 % interval")


def test_every_title_of_a_fix_has_one_of_a_rival_with_both_names():
    assert OF_FIXES.keys() == OF_RIVALS.keys()
    assert all({"{fix}", "{name}", "{dataset}"} <= set(re.findall("{.*?}", title)) for title in OF_RIVALS.values())


def test_where_another_model_is_better_and_worse():
    keys = {"view": "by_document_length", "fix": "b"}
    up, down = gain(0.05, 0.02, 0.08, 0.01, bin="1-9", **keys), gain(-0.05, -0.08, -0.02, 0.01, bin="10-90", **keys)
    titles = ["Where b is better than a", "Where b is worse than a", "Where b is better and where it is worse than a"]
    for rows, title in zip(((up,), (down,), (up, down)), titles, strict=True):
        assert f"{title} on set/test" in [found.title for found in of_rivals(*rows)]


def test_every_model_and_run_is_judged_for_length_bias_and_truncation_and_a_fix_is_not():
    keys = {"view": "overall", "dataset": "set/test"}
    rows = [bias("beaten_by_shorter", value, value - 0.01, value + 0.01, fix=fix) for fix, value in
            (("none", 0.1), ("b", -0.1), (FIX, 0.2))]  # fmt: skip
    rows += [Row("share_truncated", share, 0.0, 1.0, 1000, bin="documents", fix=fix, **keys) for fix, share in
             (("none", 0.9), ("b", 0.2))]  # fmt: skip
    found = of_rivals(*rows, tasks=({**TASK, "limits_tokens": {"none": 256, "b": 512, FIX: 256}},))
    assert [finding.title for finding in found if "push" in finding.title] == [
        "Short documents push longer answers down on set/test, ranked by a",
        "Long documents push shorter answers down on set/test, ranked by b",
    ]
    cut = {finding.title: finding.sentence for finding in found if "cut off" in finding.title}
    assert list(cut) == [f"{share} of the documents of set/test are cut off by {name}" for share, name in
                         (("90%", "a"), ("20%", "b"))]  # fmt: skip
    assert [re.findall(r"the (\d+) tokens", sentence)[0] for sentence in cut.values()] == ["256", "512"]
    seen = [("cannot have seen" in finding.sentence) for finding in found if "push" in finding.title]
    assert seen == [True, False]


@pytest.mark.parametrize(
    ("unit", "told"),
    [("words", "documents of 1-9 words:"), ("tokens", "1-9 tokens:"), ("", "documents of length 1-9:")],
)
def test_lengths_are_called_what_they_were_counted_in(unit, told):
    row = gain(0.05, 0.02, 0.08, 0.01, view="by_document_length", bin="1-9")
    scores = [replace(SCORE, view="by_document_length", bin=label) for label in ("1-9", "10-90")]
    found = said(row, *scores, tasks=({**TASK, "unit": unit},))
    text = " ".join(finding.sentence for finding in found)
    assert told in text
    assert told.rpartition("of ")[2].rstrip(":") in found[-1].sentence
    assert ("tokens" in text) == (unit == "tokens")


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


def test_an_n_of_items_that_are_not_independent_is_called_that():
    row = Row("beaten_by_shorter", 0.1, 0.05, 0.15, 90, view="overall", dataset="set/test")
    (plain,), (linked,) = of_bias(row), of_bias(noted_linked(row, "queries"))
    assert "n = 90); the interval is for other queries on these very documents." in plain.sentence
    assert "n = 90, not independent)" in linked.sentence
