"""Whether a fix, another model or another run scores better than the first, and at which lengths."""

import math
from collections.abc import Sequence

from uncollapse.evaluation.rankings.words import BM25
from uncollapse.evaluation.statistics.linked import is_linked
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.evaluation.verdicts.numbers import change, counted, sentence
from uncollapse.evaluation.verdicts.settings import Task
from uncollapse.records import Finding, Row

LEVEL = 0.05
"""A corrected p-value below it counts as evidence."""

SMALL = 0.005
"""A difference within it, interval included, is called none that matters. Judgement, stated."""

OF_FIXES = {
    "same": "{fix} changes nothing on {dataset}",
    "too few": "Too little data to tell whether {fix} helps on {dataset}",
    "small": "{fix} makes no difference that matters on {dataset}",
    "better": "{fix} helps on {dataset}",
    "worse": "{fix} hurts on {dataset}",
    "unsure": "No sure difference by {fix} on {dataset}",
    "where better": "Where {fix} helps on {dataset}",
    "where worse": "Where {fix} hurts on {dataset}",
    "where both": "Where {fix} helps and where it hurts on {dataset}",
    "where unsure": "At no length does {fix} surely help or hurt on {dataset}",
}
OF_RIVALS = {
    "same": "{fix} and {name} score the same on {dataset}",
    "too few": "Too little data to tell which of {name} and {fix} is better on {dataset}",
    "small": "No difference that matters between {name} and {fix} on {dataset}",
    "better": "{fix} is better than {name} on {dataset}",
    "worse": "{fix} is worse than {name} on {dataset}",
    "unsure": "No sure difference between {name} and {fix} on {dataset}",
    "where better": "Where {fix} is better than {name} on {dataset}",
    "where worse": "Where {fix} is worse than {name} on {dataset}",
    "where both": "Where {fix} is better and where it is worse than {name} on {dataset}",
    "where unsure": "At no length is {fix} or {name} surely better on {dataset}",
}
"""Titles of findings, of a fix of the first model and of another model or run."""


def judge_gain(task: Task, fix: str) -> Finding | None:
    """Whether a setting scores better than the first."""
    row, before = task.overall(f"{task.main}_gain", fix), task.overall(task.main, task.stock)
    if row is None or before is None:
        return None
    moved = f"{_moved(task, fix, before.value, row.value)}, {change(row)}{_test(row)}."
    if row.low == row.high == 0:
        return Finding(_title(task, fix, "same"), f"Every score is the same under both ({counted(row)}).")
    if row.low is None or row.high is None or row.p_holm is None:
        return Finding(_title(task, fix, "too few"), f"{moved} {sentence(row.note)}".rstrip(), "unknown")
    if row.low > -SMALL and row.high < SMALL:
        small = f"within {max(-row.low, row.high):.4f} either way; less than {SMALL} is taken not to matter"
        return Finding(_title(task, fix, "small"), f"{moved} The true difference is most likely {small}.")
    if row.p_holm < LEVEL and row.low > 0:
        return Finding(_title(task, fix, "better"), f"{moved}{_advice(task, fix)}", "good")
    if row.p_holm < LEVEL and row.high < 0:
        return Finding(_title(task, fix, "worse"), moved, "bad")
    return Finding(_title(task, fix, "unsure"), f"{moved} {_what_it_takes(task, fix, row)}", "unknown")


def _title(task: Task, fix: str, which: str) -> str:
    titles = OF_RIVALS if fix in task.rivals else OF_FIXES
    return titles[which].format(fix=fix, name=task.name, dataset=task.dataset)


def _moved(task: Task, fix: str, before: float, difference: float) -> str:
    metric, after = METRICS[task.main].title, before + difference
    if fix in task.rivals:
        return f"{metric} is {before:.3f} for {task.name} and {after:.3f} for {fix}"
    return f"{metric} goes from {before:.3f} to {after:.3f}"


def _advice(task: Task, fix: str) -> str:
    """What to do where words beat the model; a run file of that name may be anything."""
    if fix != BM25 or fix not in task.facts:
        return ""
    return (
        f" Search words too, and fuse both rankings: score each document by the sum of 1 / (60 + its rank) in the "
        f"ranking of {task.name} and in that of the words."
    )


def _test(row: Row) -> str:
    return "" if row.p_holm is None else f", corrected p = {row.p_holm:.2g}"


def _what_it_takes(task: Task, fix: str, row: Row) -> str:
    """What would have been seen, and how many items it takes to see a difference of the size that was found."""
    items, wanted = task.kind.items, max(abs(row.value), SMALL)
    power = task.overall(f"{task.main}_detectable", fix)
    if power is None:
        return f"Four times as many {items} would make the interval half as wide."
    said = f"With this many {items} a true difference of {power.value:.3f} would be found in four of five such trials"
    if power.value <= wanted:
        return f"{said}; more {items} would decide."
    kind = "such" if is_linked(power.note) else "independent"
    needed = f"{items_for(wanted, power):,} {kind} {items}"
    return f"{said}; to find one of {wanted:.3f} as often takes about {needed}."


def items_for(difference: float, power: Row) -> int:
    """How many items it takes to see a difference: what can be seen shrinks with the square root of their number.

    n (detectable / difference)^2, rounded up to two figures.

    >>> items_for(0.01, Row("ndcg@10_detectable", 0.03, None, None, 300))
    2700
    """
    needed = power.n * (power.value / difference) ** 2
    step = 10.0 ** max(math.floor(math.log10(needed)) - 1, 0)
    return int(math.ceil(round(needed / step, 6)) * step)


def sum_up(fix: str, gains: Sequence[Finding]) -> Finding:
    """On how many tasks a setting is better, and on how many worse."""
    kinds = [finding.kind for finding in gains]
    good, bad = kinds.count("good"), kinds.count("bad")
    rest = len(kinds) - good - bad
    kind = "unknown" if good == bad == 0 else "neutral" if good and bad else "good" if good else "bad"
    return Finding(
        f"{fix}: better on {good}, worse on {bad} of {len(kinds)} tasks",
        f"On {rest} of {len(kinds)} tasks no difference is sure, or none that matters. Every task is tested by "
        "itself; the table of all tasks has each with its interval.",
        kind,
    )


def judge_bins(task: Task, fix: str) -> Finding | None:
    """In which length bins a setting surely changes the score."""
    axes = task.kind.axes
    gains = [
        row for view in axes for row in task.select(f"{task.main}_gain", view=view, fix=fix) if row.p_holm is not None
    ]
    if not gains:
        return None
    sure = [row for row in gains if _is_sure(row)]
    if not sure:
        return Finding(
            _title(task, fix, "where unsure"),
            f"None of {len(gains)} length bins has a sure difference, corrected for their number. Fewer bins (--bins) "
            f"hold more {task.kind.items} each, and can show smaller differences.",
            "unknown",
        )
    signs = {row.value > 0 for row in sure}
    which, kind = ("both", "neutral") if len(signs) > 1 else ("better", "good") if True in signs else ("worse", "bad")
    said = "; ".join(f"{axes[row.view]} of {task.long(row.bin)}: {change(row)}" for row in sure)
    return Finding(
        _title(task, fix, f"where {which}"),
        f"Sure in {len(sure)} of {len(gains)} length bins, corrected for their number: {said}.",
        kind,
    )


def _is_sure(row: Row) -> bool:
    """Whether test and interval both say that a difference is not chance, and it is not too small to matter."""
    if row.p_holm is None or row.p_holm >= LEVEL or row.low is None or row.high is None:
        return False
    return (row.low > 0 and row.high >= SMALL) or (row.high < 0 and row.low <= -SMALL)
