"""Conditions are read, written and resolved in one way only; what cannot be decided fails and says so."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uncollapse.errors import NotationError, UncollapseError
from uncollapse.gate import OPERATORS, Condition, Outcome, check, check_names, parse_condition
from uncollapse.records import Result, Row


def row(measure: str, value: float = 0.4, bin: str = "", view: str = "windows", **keys: object) -> Row:  # noqa: A002
    return replace(Row(measure, value, value - 0.1, value + 0.1, 120, view, bin), **keys)


RESULT = Result(
    rows=(
        row("mean_cosine", 0.2, "8"),
        row("mean_cosine", 0.46, "512"),
        row("mean_cosine", 0.5, "512", "as_is"),
        row("mean_cosine", 0.3, "8-15", "as_is"),
        row("mean_cosine_rise", 0.26),
        row("mean_cosine_rise", 0.2, view="as_is"),
        row("share_truncated", 0.3, "512", "as_is"),
        row("share_truncated@256", 0.4, view="overall"),
        row("share_truncated@256", 0.9, "257-512", "audit_by_length"),
        row("share_truncated@512", 0.1, view="overall"),
        row("cloze_recall@10", 0.7, view="cost_overall"),
        row("cloze_recall@10", 0.6, "beginning", "cost_by_position"),
        row("needle_recall@1", 0.8, "0.5 x 512", "cost_grid"),
        row("effective_rank", 57, "512", low=None, high=None, note="too few documents"),
    )
)


def outcome(text: str, result: Result = RESULT) -> Outcome:
    (found,) = check([parse_condition(text)], result)
    return found


# --- reading and writing

CONDITIONS = st.builds(
    Condition,
    subject=st.from_regex(r"[a-z][a-z_]{0,9}(@\d{1,4})?(@[a-z/.-]{1,9}( x \d{1,4}-\d{1,4})?)?", fullmatch=True),
    operator=st.sampled_from(list(OPERATORS)),
    bound=st.floats(allow_nan=False, allow_infinity=False),
    end=st.sampled_from(["value", "low", "high"]),
    view=st.sampled_from(["", "windows", "as_is", "cost_grid"]),
)  # fmt: skip


@given(CONDITIONS)
def test_a_condition_reads_back_as_it_is_written(condition: Condition) -> None:
    assert parse_condition(str(condition)) == condition


@given(st.text(alphabet="ab@ <>=.0123-+e()low in", max_size=20))
def test_whatever_is_read_has_one_normal_form(text: str) -> None:
    try:
        condition = parse_condition(text)
    except NotationError:
        return
    assert parse_condition(str(condition)) == condition
    assert str(parse_condition(str(condition))) == str(condition)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("mean_cosine@512>0.5", "mean_cosine@512 > 0.5"),
        ("  mean_cosine @ 512  >=  .50 ", "mean_cosine@512 >= 0.5"),
        ("low( mean_cosine_rise )<1", "low(mean_cosine_rise) < 1"),
        ("high(mean_cosine@512  in  windows) <= 5e-1", "high(mean_cosine@512 in windows) <= 0.5"),
        ("needle_recall@1@0.5 x 512 in cost_grid < 0.9", "needle_recall@1@0.5 x 512 in cost_grid < 0.9"),
        ("share_truncated@256@a=b>c.md > 1e-20", "share_truncated@256@a=b>c.md > 1e-20"),
        ("length_slope < -0.1", "length_slope < -0.1"),
    ],
)
def test_spaces_and_ways_to_write_a_number_do_not_matter(text: str, normal: str) -> None:
    assert str(parse_condition(text)) == normal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected a condition, got ''"),
        ("mean_cosine", "Expected a condition, got 'mean_cosine'. Write NAME@BIN > NUMBER, such as"),
        ("mean_cosine == 0.5", "Expected a condition"),
        ("mean_cosine => 0.5", "Expected a condition"),
        ("mean_cosine >> 0.5", "Expected a condition"),
        ("> 0.5", "Expected a condition"),
        ("mean_cosine > ", "compares with a number, but 'mean_cosine > ' has ''"),
        ("mean_cosine > half", "has 'half'"),
        ("mean_cosine > nan", "has 'nan'"),
        ("mean_cosine > 1e999", "has '1e999'"),
        ("mean_cosine > 5 %", "has '5 %'"),
        ("mean_cosine > 1_0", "has '1_0'"),
        ("0.5 < mean_cosine", "has 'mean_cosine'"),
        ("@512 > 0.5", "begins with the name of a measure, but '@512 > 0.5' does not"),
        ("low() > 0.5", "begins with the name of a measure"),
        ("max(mean_cosine) > 0.5", r"Only low\(...\) and high\(...\), the ends of an interval, stand around a name"),
        ("low(high(mean_cosine)) > 0.5", r"Only low\(...\) and high"),
    ],
)
def test_what_is_no_condition_is_refused_before_any_work(text: str, message: str) -> None:
    with pytest.raises(NotationError, match=message):
        parse_condition(text)


# --- what no run can have


NAMES = {
    "mean_cosine": "",
    "rise": "",
    "cloze_recall@k": "",
    "quote_recall@k_loss": "",
    "cause": "--quick leaves it out",
}


def look_early(*texts: str) -> None:
    check_names([parse_condition(text) for text in texts], NAMES, by_bin=["mean_cosine"], views=["windows", "as_is"])


@pytest.mark.parametrize(
    "text",
    [
        "mean_cosine@512 > 0.5",
        "low(mean_cosine@8-15 in as_is) > 0.5",
        "rise > 0",
        "cloze_recall@10 < 0.5",
        "cloze_recall@1@beginning < 0.5",
        "cloze_recall@0.5 < 0.5",
        "quote_recall@1_loss > 0.1",
    ],
)
def test_what_a_run_may_have_is_looked_up_in_its_result(text: str) -> None:
    look_early(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mean_cosin@512 > 0.5",
            r"^`mean_cosin@512 > 0.5`: There is no such number. Did you mean 'mean_cosine'\? It has: mean_cosine, "
            r"rise, cloze_recall@k, quote_recall@k_loss. The k in a name stands for a number.$",
        ),
        ("low(cloze_recal@10) < 0.5", "There is no such number. Did you mean 'cloze_recall@k'"),
        ("cloze_recall < 0.5", "There is no such number. Did you mean 'cloze_recall@k'"),
        ("quote_recall@1 < 0.5", "There is no such number. Did you mean 'quote_recall@k_loss'"),
        ("cause@attention > 0.1", "`cause@attention > 0.1`: This run will have no cause: --quick leaves it out.$"),
        ("mean_cosine > 0.5", "mean_cosine is given by bin: name one, such as mean_cosine@512.$"),
        ("rise in window > 0", "There is no such view. Did you mean 'windows'[?] Views: windows, as_is.$"),
    ],
)
def test_what_no_run_can_have_is_refused_before_any_work(text: str, message: str) -> None:
    with pytest.raises(UncollapseError, match=message):
        look_early("rise > 0", text)


def test_all_that_no_run_can_have_is_told_at_once() -> None:
    with pytest.raises(UncollapseError, match="`a > 1`: There is no such number(.|\n)*`b < 2`: There is no such"):
        look_early("a > 1", "rise > 1", "b < 2")


# --- finding the number


@pytest.mark.parametrize(
    ("subject", "view", "value"),
    [
        ("mean_cosine@512", "windows", 0.46),
        ("mean_cosine@512 in windows", "windows", 0.46),
        ("mean_cosine@512 in as_is", "as_is", 0.5),
        ("mean_cosine@8-15", "as_is", 0.3),
        ("mean_cosine_rise", "windows", 0.26),
        ("mean_cosine_rise in as_is", "as_is", 0.2),
        ("share_truncated@256", "overall", 0.4),
        ("share_truncated@256@257-512", "audit_by_length", 0.9),
        ("share_truncated@512 in as_is", "as_is", 0.3),
        ("share_truncated@512 in overall", "overall", 0.1),
        ("cloze_recall@10", "cost_overall", 0.7),
        ("cloze_recall@10@beginning", "cost_by_position", 0.6),
        ("needle_recall@1@0.5 x 512", "cost_grid", 0.8),
    ],
)
def test_a_name_finds_its_number(subject: str, view: str, value: float) -> None:
    found = outcome(f"{subject} > 0")
    assert (found.row.view, found.row.value) == (view, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "share_truncated@512 > 0",
            "`share_truncated@512 > 0` fits 2 numbers: share_truncated@512 in overall; share_truncated@512 in as_is. "
            "Choose one: 'share_truncated@512 in overall' or 'share_truncated@512 in as_is'.",
        ),
        (
            "mean_cosin@512 > 0",
            "`mean_cosin@512 > 0`: This result has no such number. Did you mean 'mean_cosine' or 'mean_cosine_rise'. "
            "It has: mean_cosine, mean_cosine_rise, share_truncated",
        ),
        ("mean_cosine@500 > 0", "mean_cosine has no bin '500' in this result. Did you mean 'mean_cosine@512' or"),
        ("mean_cosine > 0", "mean_cosine is given by bin: name one. "),
        ("share_truncated@300 > 0", "has no bin '300' in this result. Did you mean .*'share_truncated@256'.*@512"),
        ("mean_cosine@8 in as_is > 0", "mean_cosine@8 is not in the view 'as_is', but in: windows."),
    ],
)
def test_a_name_that_finds_none_or_two_is_refused_with_what_there_is(text: str, message: str) -> None:
    with pytest.raises(UncollapseError, match=message):
        outcome(text)


def test_windows_are_not_preferred_to_another_number_of_the_same_name() -> None:
    rows = (row("recall", bin="10", view="windows"), row("recall@10", view="cost"))
    with pytest.raises(UncollapseError, match="fits 2 numbers: recall@10 in cost; recall@10 in windows"):
        outcome("recall@10 > 0", Result(rows=rows))


def test_results_of_several_fixes_or_data_sets_are_refused() -> None:
    rows = (row("mean_cosine_rise"), row("mean_cosine_rise", fix="temperature(0.8)"))
    with pytest.raises(
        UncollapseError, match=r"in windows with temperature\(0.8\). A condition needs a result of one"
    ):
        outcome("mean_cosine_rise > 0", Result(rows=rows))


def test_all_names_that_fail_are_told_at_once() -> None:
    conditions = [parse_condition(text) for text in ("a > 1", "mean_cosine_rise > 1", "b < 2")]
    with pytest.raises(UncollapseError, match="`a > 1`: This result has no such number(.|\n)*`b < 2`: This result"):
        check(conditions, RESULT)


def test_a_long_list_of_names_is_cut() -> None:
    rows = tuple(row("share_truncated@256", bin=f"file{i}.md", view="audit_by_source") for i in range(500))
    with pytest.raises(
        UncollapseError, match="Did you mean 'share_truncated@256@file77.md'.*, and 470 more.$"
    ) as info:
        outcome("share_truncated@256@file77 > 0", Result(rows=rows))
    assert len(str(info.value)) < 2000


def test_an_empty_result_is_said_to_be_empty() -> None:
    with pytest.raises(UncollapseError, match=r"no such number. It has: \(none\)."):
        outcome("mean_cosine@8 > 0", Result())


# --- deciding


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("bound", [0.3, 0.4, 0.5])
def test_the_comparison_is_that_of_numbers(operator: str, bound: float) -> None:
    result = Result(rows=(row("share_truncated@256", 0.4),))
    found = outcome(f"share_truncated@256 {operator} {bound}", result)
    assert found.met is eval(f"0.4 {operator} {bound}")
    assert found.failed is found.met


def test_the_ends_of_the_interval_make_a_condition_stricter_or_laxer() -> None:
    assert outcome("mean_cosine@512 > 0.4").met
    assert not outcome("low(mean_cosine@512) > 0.4").met
    assert outcome("high(mean_cosine@512) > 0.5").met
    assert not outcome("mean_cosine@512 > 0.5").met


def test_what_cannot_be_decided_fails() -> None:
    found = outcome("high(effective_rank@512) < 100")
    assert (found.met, found.failed) == (None, True)
    assert str(found) == (
        "high(effective_rank@512) < 100: 57 (no interval), n = 120, windows: "
        "cannot be decided (too few documents) -> fail"
    )
    assert not outcome("effective_rank@512 < 50").failed
    bare = Result(rows=(row("x", math.nan, low=None, high=None),))
    assert outcome("x > 0", bare).why == "no value"
    assert outcome("low(x) > 0", bare).why == "no interval"


def test_an_outcome_is_one_line_that_says_what_was_found() -> None:
    assert str(outcome("mean_cosine@512 > 0.5")) == ("mean_cosine@512 > 0.5: 0.46 [0.36, 0.56], n = 120, windows: ok")
    assert str(outcome("mean_cosine@512 > 0.3")).endswith("windows: met -> fail")


def test_outcomes_keep_the_order_of_conditions() -> None:
    texts = ["mean_cosine_rise > 1", "mean_cosine@8 > 0.1", "mean_cosine@8 < 0.1"]
    found = check([parse_condition(text) for text in texts], RESULT)
    assert [str(one.condition) for one in found] == texts
    assert [one.met for one in found] == [False, True, False]
    assert check([], RESULT) == ()
