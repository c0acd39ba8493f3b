"""What the rows of a trial say, in plain sentences that claim no more than was measured."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from uncollapse.evaluation.bias.table import BIAS, Bias
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.records import Finding, Row

LEVEL = 0.05
"""A corrected p-value below it counts as evidence."""

SMALL = 0.005
"""A difference within it, interval included, is called none that matters. Judgement, stated."""

OFTEN_CUT = 0.05
"""Share of documents beyond the model's limit from which the reader is warned."""

MOSTLY_CUT = 0.5
"""Share of documents beyond the limit from which a bias by length is not the model's own doing."""

Rows = Sequence[Row]


def judge(rows: Rows, tasks: Sequence[Mapping[str, Any]], fixes: Sequence[str], name: str) -> tuple[Finding, ...]:
    """Findings, most important first: does a fix help, where, is the ranking biased, is something cut off.

    Args:
        rows: of all tasks.
        tasks: entries of `Result.about["tasks"]`.
        fixes: the first is the stock model.
        name: of the model.
    """
    findings = []
    stock, *others = fixes
    for fix in others:
        gains = [found for task in tasks if (found := _gain(rows, task, fix, stock))]
        by_bin = [found for task in tasks if (found := _by_bin(rows, task, fix))]
        if len(tasks) > 1:  # what is not sure is counted, and stands in the table
            sure = [found for found in gains if found.kind in ("good", "bad")]
            findings += [_summary(fix, gains), *sure, *(found for found in by_bin if found.kind != "unknown")]
        else:
            findings += [*gains, *by_bin]
    for task in tasks:
        findings += _of_stock(rows, task, stock, name)
    return tuple(findings)


def _select(rows: Rows, task: Mapping[str, Any], measure: str, **keys: str) -> list[Row]:
    wanted = {"dataset": task["dataset"], "measure": measure, **keys}
    return [row for row in rows if all(getattr(row, key) == value for key, value in wanted.items())]


def _gain(rows: Rows, task: Mapping[str, Any], fix: str, stock: str) -> Finding | None:
    """Whether a fix changes the score that counts."""
    found = _select(rows, task, f"{task['main']}_gain", view="overall", fix=fix)
    if not found:
        return None
    row, metric, dataset = found[0], METRICS[task["main"]].title, task["dataset"]
    before = _select(rows, task, task["main"], view="overall", fix=stock)[0]
    moved = f"{metric} goes from {before.value:.3f} to {before.value + row.value:.3f}, {_signed(row)}{_test(row)}."
    if row.low == row.high == 0:
        return Finding(f"{fix} changes nothing on {dataset}", f"Every score is as before (n = {row.n}).")
    if row.low is None or row.high is None or row.p_holm is None:
        title = f"Too little data to tell whether {fix} helps on {dataset}"
        return Finding(title, f"{moved} {row.note[:1].upper()}{row.note[1:]}.", "unknown")
    if row.low > -SMALL and row.high < SMALL:
        most = max(-row.low, row.high)
        return Finding(
            f"{fix} makes no difference that matters on {dataset}",
            f"{moved} The true difference is most likely within {most:.3f} either way.",
        )
    if row.p_holm < LEVEL and row.low > 0:
        return Finding(f"{fix} helps on {dataset}", moved, "good")
    if row.p_holm < LEVEL and row.high < 0:
        return Finding(f"{fix} hurts on {dataset}", moved, "bad")
    for power in _select(rows, task, f"{task['main']}_detectable", fix=fix):
        moved += f" A true difference of {power.value:.3f} would be seen four times in five."
    return Finding(f"No sure difference by {fix} on {dataset}", moved, "unknown")


def _signed(row: Row) -> str:
    if row.low is None or row.high is None:
        return f"{row.value:+z.3f} (no interval)"
    interval = f"95 % interval {row.low:+z.3f} to {row.high:+z.3f}"
    return f"{row.value:+z.3f} ({interval}, n = {row.n})"


def _test(row: Row) -> str:
    return "" if row.p_holm is None else f", corrected p = {row.p_holm:.2g}"


def _summary(fix: str, gains: Sequence[Finding]) -> Finding:
    kinds = [finding.kind for finding in gains]
    good, bad = kinds.count("good"), kinds.count("bad")
    rest = len(kinds) - good - bad
    kind = "unknown" if good == bad == 0 else "neutral" if good and bad else "good" if good else "bad"
    return Finding(
        f"{fix}: better on {good}, worse on {bad} of {len(kinds)} tasks",
        f"On {rest} of {len(kinds)} tasks no difference is sure, or none that matters. Each task is tested on its "
        "own, corrected for the number of fixes; the table of all tasks gives every one with its interval.",
        kind,
    )


def _by_bin(rows: Rows, task: Mapping[str, Any], fix: str) -> Finding | None:
    """In which length bins a fix surely changes the score."""
    gains = [
        row
        for view in ("by_document_length", "by_query_length")
        for row in _select(rows, task, f"{task['main']}_gain", view=view, fix=fix)
        if row.p_holm is not None
    ]
    if not gains:
        return None
    sure = [row for row in gains if _is_sure(row)]
    title = f"Where {fix} matters on {task['dataset']}"
    if not sure:
        return Finding(
            title,
            f"In none of {len(gains)} length bins does a difference survive correction (each axis on its own).",
            "unknown",
        )
    kind = "good" if all(row.value > 0 for row in sure) else "bad" if all(row.value < 0 for row in sure) else "neutral"
    axes = _AXES[task["kind"]]
    said = "; ".join(f"{axes[row.view]} of {row.bin} tokens: {_signed(row)}" for row in sure)
    return Finding(
        title,
        f"In {len(sure)} of {len(gains)} length bins a difference survives correction (each axis on its own): {said}.",
        kind,
    )


def _is_sure(row: Row) -> bool:
    """Whether test and interval both say that a difference is not chance, and it is not too small to matter."""
    if row.p_holm is None or row.p_holm >= LEVEL or row.low is None or row.high is None:
        return False
    return (row.low > 0 and row.high >= SMALL) or (row.high < 0 and row.low <= -SMALL)


_PAIRS = {"by_document_length": "pairs with a longer text", "by_query_length": "pairs with a shorter text"}
_AXES = {
    "retrieval": {"by_document_length": "documents", "by_query_length": "queries"},
    "similarity": _PAIRS,
    "pair classification": _PAIRS,
    "classification": {"by_document_length": "texts"},
    "clustering": {"by_document_length": "texts"},
    "summary evaluation": {"by_document_length": "summaries"},
}
"""What the bins of each kind of task are of."""


def _of_stock(rows: Rows, task: Mapping[str, Any], stock: str, name: str) -> Iterator[Finding]:
    metric, dataset = METRICS[task["main"]], task["dataset"]
    overall = _select(rows, task, task["main"], view="overall", fix=stock)
    if not overall:
        yield Finding(
            f"{metric.title} is not defined on {dataset}",
            f"Reason: {metric.undefined or 'nothing could be scored'}.",
            "unknown",
        )
        return
    yield Finding(
        f"{name} scores {overall[0].value:.3f} {metric.title} on {dataset}", _score_sentence(rows, task, stock)
    )
    yield from _bias(rows, task, stock)
    yield from _cut(rows, task, stock)


def _score_sentence(rows: Rows, task: Mapping[str, Any], stock: str) -> str:
    row = _select(rows, task, task["main"], view="overall", fix=stock)[0]
    said = f"{_value(row)}, n = {row.n}."
    bins = _select(rows, task, task["main"], view="by_document_length", fix=stock)
    if len(bins) > 1:
        first, last = bins[0], bins[-1]
        said += (
            f" Among the shortest ({first.bin} tokens) it is {_value(first)}, among the longest ({last.bin}) "
            f"{_value(last)}; items of other length are other items, so length alone need not be the cause."
        )
    return said


def _value(row: Row) -> str:
    return f"{row.value:.3f}" + ("" if row.low is None else f" [{row.low:.3f}, {row.high:.3f}]")


def _bias(rows: Rows, task: Mapping[str, Any], stock: str) -> Iterator[Finding]:
    """Whether short or long texts stand above better answers. A difference from what people want is not enough: where
    the answers are long, any ranking shows shorter texts than they are."""
    found = {name: _overall(rows, task, name, stock) for name in ("beaten_by_shorter", "length_slope_sd")}
    beaten, slope = found["beaten_by_shorter"], found["length_slope_sd"]
    if beaten is None or beaten.low is None or beaten.high is None:
        return
    said = (
        f"Of the documents that push an answer down within the first ten, {_share(beaten)} shorter than it than of "
        f"the corpus, by {_signed(beaten)}."
    )
    if slope is not None and slope.low is not None and slope.high is not None:
        said += (
            f" At equal relevance a document twice as long scores {slope.value:+z.2f} standard deviations "
            f"[{slope.low:+z.2f}, {slope.high:+z.2f}]."
        )
    dataset, unseen = task["dataset"], _cut_share(rows, task, stock)
    if unseen > MOSTLY_CUT:
        said += (
            f" {unseen:.0%} of the documents are cut off, so the model itself cannot have seen most of this length."
        )
    if beaten.low <= 0 <= beaten.high:
        title = f"Short documents do not surely push answers down on {dataset}"
        yield Finding(title, said + _other_figures(rows, task, stock), "unknown")
        return
    side, other = ("Short", "longer") if beaten.value > 0 else ("Long", "shorter")
    yield Finding(f"{side} documents push {other} answers down on {dataset}", said, "bad")


def _other_figures(rows: Rows, task: Mapping[str, Any], stock: str) -> str:
    """Which figures of length bias exclude the value that they would have without bias, but the one just told."""
    tested, excluded = 0, []
    for row in rows:
        figure = BIAS.get(re.sub(r"@\d+$", "@k", row.measure))
        if figure is None or figure.neutral is None or figure.name == "beaten_by_shorter":
            continue
        if (row.dataset, row.fix, row.view) != (task["dataset"], stock, "overall") or None in (row.low, row.high):
            continue
        tested += 1
        if _excludes(row, figure.neutral):
            excluded.append(_told(row, figure))
    if not excluded:
        return ""
    count = f"{len(excluded)} of {tested}"
    return f" Other figures of length bias exclude their value without bias ({count}): {'; '.join(excluded)}."


def _excludes(row: Row, value: float) -> bool:
    return row.low is not None and row.high is not None and not row.low <= value <= row.high


def _told(row: Row, figure: Bias) -> str:
    title = figure.title.replace("top k", f"top {row.measure.partition('@')[2]}")
    interval = f"[{row.low:.3g}, {row.high:.3g}]"
    return f"{title} {row.value:.3g} {interval} (without bias {figure.neutral:g}, n = {row.n})"


def _cut_share(rows: Rows, task: Mapping[str, Any], fix: str) -> float:
    return max((row.value for row in _select(rows, task, "share_truncated", fix=fix, bin="documents")), default=0.0)


def _share(beaten: Row) -> str:
    return "more are" if beaten.value > 0 else "fewer are"


def _overall(rows: Rows, task: Mapping[str, Any], measure: str, fix: str) -> Row | None:
    return next(iter(_select(rows, task, measure, view="overall", fix=fix)), None)


def _cut(rows: Rows, task: Mapping[str, Any], stock: str) -> Iterator[Finding]:
    limit = task.get("limit_tokens")
    for row in _select(rows, task, "share_truncated", fix=stock):
        if row.value >= OFTEN_CUT:
            yield Finding(
                f"{row.value:.0%} of the {row.bin} of {task['dataset']} are cut off",
                f"{round(row.value * row.n):,} of {row.n:,} are longer than the {limit} tokens the model reads; what "
                "comes after is never seen, and no temperature brings it back. --max-tokens sets another limit.",
                "bad",
            )
