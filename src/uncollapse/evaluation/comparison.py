"""Rows of a task under several fixes: scores by length, paired gains with tests, length bias, truncation."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from uncollapse.evaluation.bias.figures import LengthBias, bias_rows, length_bias
from uncollapse.evaluation.scoring import LearnFrom, Scored
from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.statistics.intervals import interval
from uncollapse.evaluation.statistics.linked import noted_linked
from uncollapse.evaluation.statistics.metrics import METRICS
from uncollapse.evaluation.statistics.scores import gain, score
from uncollapse.evaluation.statistics.significance import REPLICATES, RESAMPLES, holm
from uncollapse.evaluation.strata import Stratum, cut_by_length
from uncollapse.records import Item, Row
from uncollapse.resampling import Estimate, difference, document_keys, sampling_order

STOCK = "none"
"""The notation of the model as it came, against which every fix is held."""


@dataclass(frozen=True)
class Plan:
    """How numbers are made.

    Args:
        bins: length bins along one axis, of about equally many items.
        cells: the same along each axis of the grid.
        replicates: of the bootstrap, a multiple of 4.
        resamples: of the randomisation test.
        k: how many retrieved documents a reader looks at, for the figures of length bias.
        approximate: search with an index instead of exactly, for corpora of many millions.
        learn_from: which queries fixes learn from that need some; see `LearnFrom`.
        seed: of bootstrap, tests and samples.
    """

    bins: int = 5
    cells: int = 3
    replicates: int = REPLICATES
    resamples: int = RESAMPLES
    k: int = 10
    approximate: bool = False
    learn_from: LearnFrom = "task"
    seed: int = 0


@dataclass(frozen=True)
class Comparison:
    """What the numbers of one task are.

    Args:
        rows: every number.
        undefined: by figure of length bias, a sentence that says why it has no number on these data.
    """

    rows: tuple[Row, ...]
    undefined: Mapping[str, str]


def compare(dataset: str, main: str, scored: Mapping[str, Scored], plan: Plan) -> Comparison:
    """Every number of one task.

    The score that counts, and how many relevant documents are found, are given by length; all other scores overall.
    p-values are Holm-corrected over all fixes and bins of one score and view.

    Args:
        dataset: name and split.
        main: name in METRICS of the score that counts.
        scored: by fix; the first is what the others are held against.
        plan: how.
    """
    biases = {
        fix: length_bias(one.ranked, k=plan.k, bins=plan.bins, replicates=plan.replicates, seed=plan.seed)
        for fix, one in scored.items()
        if one.ranked
    }
    numbers = chain(_score_rows(main, scored, plan), _bias_rows(biases))
    rows = (*_counted(numbers, next(iter(scored.values())).sheets[0]), *_cut_rows(scored))
    return Comparison(tuple(replace(row, dataset=dataset) for row in rows), _undefined(biases))


def _undefined(biases: Mapping[str, LengthBias]) -> dict[str, str]:
    """Why a figure of length bias has no number, and in which setting alone where others have one."""
    reasons: dict[str, dict[str, str]] = {}
    for fix, bias in biases.items():
        for name, why in bias.missing.items():
            reasons.setdefault(name, {})[fix] = why
    return {
        name: next(iter(said.values()))
        if len(said) == len(biases)
        else "; ".join(f"{'the first' if fix == STOCK else fix} alone: {why}" for fix, why in said.items())
        for name, said in reasons.items()
    }


def items_of(dataset: str, main: str, scored: Mapping[str, Scored], *, most: int, seed: int = 0) -> tuple[Item, ...]:
    """Scored items for the eye, at most so many; none where the score is no mean over items."""
    sheets = {fix: one.sheets[0] for fix, one in scored.items()}
    first, column = next(iter(sheets.values())), METRICS[main].columns[0]
    if METRICS[main].test != "sign":
        return ()
    values = {fix: _by_item(sheet, column) for fix, sheet in sheets.items()}
    scored_by_all = np.flatnonzero(np.isfinite(np.stack(list(values.values()))).all(axis=0))
    places = sampling_order(document_keys([first.ids[i] for i in scored_by_all.tolist()]), seed=seed)
    chosen = np.sort(scored_by_all[np.argsort(places, kind="stable")[:most]])
    return tuple(
        Item(
            id=first.ids[i],
            snippet=first.snippets[i] if first.snippets else "",
            n_tokens=int(first.n_tokens[i]),
            n_query_tokens=None if first.n_query_tokens is None else int(first.n_query_tokens[i]),
            measure=main,
            values={fix: float(value[i]) for fix, value in values.items()},
            dataset=dataset,
        )
        for i in chosen.tolist()
    )


def _counted(rows: Iterable[Row], first: Sheet) -> Iterator[Row]:
    """The rows of which n counts groups, with a note where every group is a single item although items are linked."""
    for row in rows:
        counts_groups = row.measure != "share_of_corpus"  # that counts documents
        yield noted_linked(row, first.items) if first.shared is not None and counts_groups else row


def _by_item(sheet: Sheet, column: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    values = sheet.columns[column]
    return values if values.ndim == 1 else values.mean(axis=1)


def _score_rows(main: str, scored: Mapping[str, Scored], plan: Plan) -> Iterator[Row]:
    for place in range(len(next(iter(scored.values())).sheets)):
        sheets = {fix: one.sheets[place] for fix, one in scored.items()}
        first = next(iter(sheets.values()))
        if not len(first):
            continue
        metrics = [name for name, metric in METRICS.items() if set(metric.columns) <= set(first.columns)]
        by_length = main if main in metrics else metrics[0]
        metrics.sort(key=lambda name: name != by_length)
        strata = list(cut_by_length(first, bins=plan.bins, cells=plan.cells))
        for metric in metrics:
            cuts = strata if metric == by_length else strata[:1]
            yield from _metric_rows(metric, sheets, [cut for cut in cuts if place == 0 or _one_axis(cut)], plan)


def _one_axis(stratum: Stratum) -> bool:
    """A line a relevant document says nothing about queries that a line a query does not say better."""
    return stratum.view in ("overall", "by_document_length")


def _metric_rows(metric: str, sheets: Mapping[str, Sheet], strata: Sequence[Stratum], plan: Plan) -> Iterator[Row]:
    views = dict.fromkeys(stratum.view for stratum in strata)
    for view in views:
        gains = []
        for stratum in (stratum for stratum in strata if stratum.view == view):
            parts = {fix: sheet.take(stratum.lines) for fix, sheet in sheets.items()}
            scores = {
                fix: score(part, metric, replicates=plan.replicates, seed=plan.seed) for fix, part in parts.items()
            }
            for fix, estimate in scores.items():
                yield from _rows(metric, estimate, stratum, fix)
            gains += list(_gains(metric, parts, scores, stratum, plan))
        yield from _corrected(gains)


def _gains(
    metric: str, parts: Mapping[str, Sheet], scores: Mapping[str, Estimate], stratum: Stratum, plan: Plan
) -> Iterator[Row]:
    (stock, before), *others = parts.items()
    for fix, after in others:
        found = gain(
            before,
            after,
            metric,
            scores=(scores[stock], scores[fix]),
            comparisons=len(others),
            replicates=plan.replicates,
            resamples=plan.resamples,
            seed=plan.seed,
        )
        for row in _rows(f"{metric}_gain", found.estimate, stratum, fix):
            yield replace(row, p=found.p, effect=found.effect)
        if found.detectable is not None and stratum.view == "overall":
            note = "no interval: the gain that so many items would show in 80 of 100 cases"
            yield from _rows(f"{metric}_detectable", _bare(found.detectable, found.estimate.n, note), stratum, fix)


def _bare(value: float, n: int, note: str) -> Estimate:
    return Estimate(value, np.empty(0), None, None, n, note)


def _rows(measure: str, estimate: Estimate, stratum: Stratum, fix: str) -> Iterator[Row]:
    if math.isfinite(estimate.value):
        yield Row(
            measure, estimate.value, estimate.low, estimate.high, estimate.n,
            view=stratum.view, bin=stratum.bin, n_tokens=stratum.n_tokens, fix=fix, note=estimate.note,
        )  # fmt: skip


def _corrected(gains: Sequence[Row]) -> Iterator[Row]:
    tested = [row.p for row in gains if row.p is not None]
    adjusted = iter(holm(tested).tolist() if tested else ())
    for row in gains:
        yield row if row.p is None else replace(row, p_holm=next(adjusted))


def _bias_rows(biases: Mapping[str, LengthBias]) -> Iterator[Row]:
    for fix, bias in biases.items():
        rows = bias_rows(bias, fix=fix)
        yield from (row for row in rows if fix == next(iter(biases)) or row.measure not in _SAME_FOR_ALL)
    for fix, after in list(biases.items())[1:]:
        yield from _bias_changes(next(iter(biases.values())), after, fix)


_SAME_FOR_ALL = ("share_of_corpus", "share_of_relevant")


def _bias_changes(before: LengthBias, after: LengthBias, fix: str) -> Iterator[Row]:
    for (name, label), estimate in after.estimates.items():
        if not label and (name, label) in before.estimates:
            changed = _expanded(difference(estimate, before.estimates[name, label]))
            yield Row(
                f"{name}_change", changed.value, changed.low, changed.high, changed.n,
                view="overall", fix=fix, note=changed.note,
            )  # fmt: skip


def _expanded(changed: Estimate) -> Estimate:
    """A difference with the expanded interval that all numbers of a trial have."""
    if changed.low == changed.high:
        return changed
    wide = interval(changed.value, changed.replicates, n=changed.n)
    return replace(changed, low=wide.low, high=wide.high)


def _cut_rows(scored: Mapping[str, Scored]) -> Iterator[Row]:
    """What is longer than a model reads; of a setting only where it is not as of the first."""
    first = next(iter(scored))
    for fix, one in scored.items():
        for what, (cut, n) in one.cut.items() if fix == first or one.cut != scored[first].cut else ():
            share = Estimate.of_share(cut, n)
            yield Row("share_truncated", share.value, share.low, share.high, n, view="overall", bin=what, fix=fix)
