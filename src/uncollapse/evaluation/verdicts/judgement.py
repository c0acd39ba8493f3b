"""All findings of a trial, most important first."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.evaluation.verdicts.bias import judge_bias, judge_cut
from uncollapse.evaluation.verdicts.gains import judge_bins, judge_gain, sum_up
from uncollapse.evaluation.verdicts.numbers import counted, sentence, value
from uncollapse.evaluation.verdicts.settings import Task
from uncollapse.records import Finding, Row


def judge(
    rows: Sequence[Row],
    tasks: Sequence[Mapping[str, Any]],
    fixes: Sequence[str],
    name: str,
    rivals: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Findings, most important first: does a fix help, where, is the ranking biased, is something cut off.

    The setting that surely gains most comes first, then those that surely lose, then the others, as they were given.

    Args:
        rows: of all tasks.
        tasks: entries of `Result.about["tasks"]`.
        fixes: the settings; the first is the stock model.
        name: of the model, or of the first run.
        rivals: settings that are no fixes of it, but models or runs of their own.
    """
    stock, *others = fixes
    read = [Task(rows, task, stock, name, rivals) for task in tasks]
    alone = [stock, *(fix for fix in others if fix in rivals)]
    return (
        *_best_first(read, others),
        *(found for task in read for found in _describe(task, alone)),
    )


def _best_first(tasks: Sequence[Task], fixes: Sequence[str]) -> Iterator[Finding]:
    """What is said of every setting: the one that surely gains most, other gains, losses, the rest as given."""
    said = {fix: tuple(_compare(tasks, fix)) for fix in fixes}
    kinds = {fix: found[0].kind if found else "unknown" for fix, found in said.items()}
    places = {"good": 0, "bad": 1}

    def place(fix: str) -> tuple[int, float]:
        return places.get(kinds[fix], 2), -_mean_gain(tasks, fix) if kinds[fix] == "good" else 0.0

    for fix in sorted(said, key=place):
        yield from said[fix]


def _mean_gain(tasks: Sequence[Task], fix: str) -> float:
    gains = [row.value for task in tasks if (row := task.overall(f"{task.main}_gain", fix))]
    return sum(gains) / max(len(gains), 1)


def _compare(tasks: Sequence[Task], fix: str) -> Iterator[Finding]:
    """A setting against the first; of several tasks what is not sure is counted, and stands in the table."""
    gains = [found for task in tasks if (found := judge_gain(task, fix))]
    by_bin = [found for task in tasks if (found := judge_bins(task, fix))]
    if len(tasks) == 1:
        yield from (*gains, *by_bin)
        return
    yield sum_up(fix, gains)
    yield from (found for found in gains if found.kind in ("good", "bad"))
    yield from (found for found in by_bin if found.kind != "unknown")


def _describe(task: Task, alone: Sequence[str]) -> Iterator[Finding]:
    """What the first scores, and what is to be said of every model or run by itself."""
    yield _judge_score(task)
    for fix in alone:
        yield from (*judge_bias(task, fix), *judge_cut(task, fix))


def _judge_score(task: Task) -> Finding:
    metric, found = METRICS[task.main], task.overall(task.main, task.stock)
    if found is None:
        reason = sentence(f"the reason: {metric.undefined or 'nothing could be scored'}")
        return Finding(f"{metric.title} is not defined on {task.dataset}", reason, "unknown")
    title = f"{task.name} scores {found.value:.3f} {metric.title} on {task.dataset}"
    return Finding(title, f"{_interval(found)}{_ends(task)}")


def _interval(row: Row) -> str:
    if row.low is None or row.high is None:
        return f"{sentence(row.note) or 'No interval.'} {counted(row)}."
    return f"95 % interval {row.low:.3f} to {row.high:.3f}, {counted(row)}."


def _ends(task: Task) -> str:
    """The score at both ends of a row of lengths."""
    bins = task.select(task.main, view="by_document_length", fix=task.stock)
    if len(bins) < 2:
        return ""
    parts = zip((bins[0], bins[-1]), task.kind.ends, strict=True)
    said = ", ".join(f"{value(row)} for {whose} ({task.long(row.bin)})" for row, whose in parts)
    return f" It is {said}. These are different {task.kind.items}: more than length may set them apart."
