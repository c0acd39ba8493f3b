"""Whether short or long texts stand above better answers, and what a token limit cuts off."""

import re
from collections.abc import Iterator

from uncollapse.evaluation.bias.table import BIAS, Bias
from uncollapse.evaluation.verdicts.numbers import change, counted, sentence, signed
from uncollapse.evaluation.verdicts.settings import Task
from uncollapse.records import Finding, Row

OFTEN_CUT = 0.05
"""Share of documents beyond the model's limit from which the reader is warned."""

MOSTLY_CUT = 0.5
"""Share of documents beyond the limit from which a bias by length is not the model's own doing."""

BEATEN = "beaten_by_shorter"
"""The figure that decides. A difference from what people want is not enough: where the answers are long, any ranking
shows shorter texts than they are."""

SLOPE = "length_slope_sd"
"""The figure that says whether scores follow length at all, whatever that does to the first ten."""

REGRESSION = ("length_slope", SLOPE, "length_explained")
"""Three figures of one line through the same points."""

FIGURES = 3
"""Other figures that a finding gives with their numbers."""


def judge_bias(task: Task, fix: str) -> Iterator[Finding]:
    """Whether short or long texts stand above better answers."""
    beaten, undefined = task.overall(BEATEN, fix), task.facts.get("undefined", {})
    where = f"on {task.dataset}, ranked by {task.call(fix)}" if task.rivals else f"on {task.dataset}"
    if beaten is None and BEATEN not in undefined:
        return  # nothing is ranked
    if beaten is None or beaten.low is None or beaten.high is None:
        said = sentence(undefined[BEATEN]) if beaten is None else f"{_pushed(beaten)} {sentence(beaten.note)}"
        title = f"It cannot be told whether short or long documents push answers down {where}"
        yield Finding(title, said.rstrip() + _slope(task, fix) + _other_figures(task, fix), "unknown")
        return
    said = f"{_pushed(beaten)}{_slope(task, fix)}{_unseen(task, fix)}"
    if beaten.low <= 0 <= beaten.high:
        title = f"Not sure whether short or long documents push answers down {where}"
        if way := _way(task, fix):
            title = f"Scores {way} with length; not sure whether that pushes answers down {where}"
        more = " Four times as many judged queries would make the interval half as wide."
        yield Finding(title, said + _other_figures(task, fix) + more, "unknown")
        return
    side, other = ("Short", "longer") if beaten.value > 0 else ("Long", "shorter")
    yield Finding(f"{side} documents push {other} answers down {where}", said, "bad")


def _pushed(beaten: Row) -> str:
    whose = "" if beaten.low is None else "; the interval is for other queries on these very documents"
    return (
        "Of the irrelevant documents ranked above a relevant one in the first ten, the share that is shorter than it "
        f"differs from what chance would give by {change(beaten)}{whose}."
    )


def _way(task: Task, fix: str) -> str:
    """Where the scores of equally relevant texts surely go as texts grow; "" where that is not sure."""
    slope = task.overall(SLOPE, fix)
    if slope is None or slope.low is None or slope.high is None or slope.low <= 0 <= slope.high:
        return ""
    return "rise" if slope.low > 0 else "fall"


def _slope(task: Task, fix: str) -> str:
    slope = task.overall(SLOPE, fix)
    if slope is None or slope.low is None or slope.high is None:
        return ""
    value, low, high = (signed(number, 2) for number in (slope.value, slope.low, slope.high))
    return (
        f" At equal relevance, twice the length moves a score by {value} standard deviations (95 % interval {low} to "
        f"{high})."
    )


def _unseen(task: Task, fix: str) -> str:
    share = _cut_share(task, fix)
    if share <= MOSTLY_CUT:
        return ""
    return f" {share:.0%} of the documents are cut off, so the model itself cannot have seen how long they are."


def _cut_share(task: Task, fix: str) -> float:
    """The share of documents that is cut off; a setting without a row of its own has that of the first."""
    rows = task.select("share_truncated", fix=fix, bin="documents")
    rows = rows or task.select("share_truncated", fix=task.stock, bin="documents")
    return max((row.value for row in rows), default=0.0)


def _other_figures(task: Task, fix: str) -> str:
    """Which figures of length bias exclude the value that they would have without bias, but those told already."""
    told = {BEATEN, *(REGRESSION if _slope(task, fix) else ())}
    found = [(row, _figure(row)) for row in task.select_overall(fix)]
    figures = [(row, figure) for row, figure in found if figure and figure.name not in told]
    excluded = [_told(row, figure) for row, figure in figures if _excludes(row, figure)]
    if not excluded:
        return ""
    differ = f"{'has' if len(excluded) == 1 else 'have'} an interval that leaves out the value without bias"
    more = f"; {len(excluded) - FIGURES} more in the report" if len(excluded) > FIGURES else ""
    listed = "; ".join(excluded[:FIGURES])
    said = f" {len(excluded)} of {len(figures)} other figures of length bias {differ}: {listed}{more}."
    return said + (_MANY.format(len(figures)) if len(figures) > 1 else "")


_MANY = (
    " These are 95 % intervals, not corrected for being {}: one in twenty leaves that value out by chance where there "
    "is no bias."
)


def _figure(row: Row) -> Bias | None:
    """The figure of length bias that a row is, if it has an interval and a value without bias to hold it against."""
    figure = BIAS.get(re.sub(r"@\d+$", "@k", row.measure))
    return figure if figure and figure.neutral is not None and None not in (row.low, row.high) else None


def _excludes(row: Row, figure: Bias) -> bool:
    if row.low is None or row.high is None or figure.neutral is None:
        return False
    return not row.low <= figure.neutral <= row.high


def _told(row: Row, figure: Bias) -> str:
    title = figure.title.replace("top k", f"top {row.measure.partition('@')[2]}")
    interval = f"[{row.low:.3g}, {row.high:.3g}]"
    return (
        f"{title[:1].lower()}{title[1:]} {row.value:.3g} {interval} (without bias {figure.neutral:g}, {counted(row)})"
    )


def judge_cut(task: Task, fix: str) -> Iterator[Finding]:
    """What is longer than a model reads."""
    limit = task.facts.get("limits_tokens", {}).get(fix, task.facts.get("limit_tokens"))
    by = f" by {task.call(fix)}" if task.rivals else ""
    for row in task.select("share_truncated", fix=fix):
        if row.value >= OFTEN_CUT:
            yield Finding(
                f"{row.value:.0%} of the {row.bin} of {task.dataset} are cut off{by}",
                f"{round(row.value * row.n):,} of {row.n:,} are longer than the {limit} tokens the model reads; what "
                "comes after is never seen, and no temperature brings it back. --max-tokens sets another limit.",
                "bad",
            )
