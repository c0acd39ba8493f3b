"""What a sheet scores under a metric, alone or against another sheet of the same items."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from uncollapse.errors import UncollapseError, nearest
from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.statistics.intervals import estimate, estimate_mean, interval
from uncollapse.evaluation.statistics.linked import alikeness, p_linked, widened
from uncollapse.evaluation.statistics.metrics import Metric, find_metric
from uncollapse.evaluation.statistics.significance import (
    MIN_GROUPS,
    REPLICATES,
    RESAMPLES,
    bootstrap_p,
    detectable,
    effect_size,
    randomisation_test,
    standard_error,
    swap_test,
)
from uncollapse.evaluation.statistics.weighted import ROUNDING, Floats, as_table
from uncollapse.resampling import Estimate


@dataclass(frozen=True, eq=False)
class Gain:
    """How much better one sheet scores than another, and what that is worth.

    Args:
        estimate: the difference, paired item by item.
        p: of the paired test; None where too few items are independent, or there is no difference to test.
        effect: mean difference over the differences' standard deviation (Cohen's d_z); None where the score is no mean
            or the differences do not differ.
        detectable: the smallest true difference that would most likely have been seen; None as for p.
        wider: how many times as wide the interval is, and the standard error behind p and `detectable` as large, as
            for independent items; 1 where groups are independent, or the score is no mean.
    """

    estimate: Estimate
    p: float | None
    effect: float | None
    detectable: float | None
    wider: float = 1.0


def score(sheet: Sheet, metric: Metric | str, *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """What a sheet scores, with a bootstrap interval over its groups.

    Intervals of means: `estimate_mean`; of all others: `intervals.estimate`, centred.

    Args:
        sheet: with the metric's columns.
        metric: a row of METRICS or its name.
        replicates, seed: of the bootstrap; the same for whatever is to be compared.

    Returns:
        value is NaN where the metric is not defined, and the note says why; n counts independent groups.
    """
    metric = find_metric(metric) if isinstance(metric, str) else metric
    [sheet], note = _defined([sheet], metric)
    if not len(sheet):
        return Estimate(np.nan, np.empty(0), None, None, 0, f"undefined: no {sheet.items}").noted(note)
    if metric.test == "sign":
        found = estimate_mean(
            sheet.columns[metric.columns[0]], sheet.groups, bounds=metric.bounds, replicates=replicates, seed=seed
        )
        found, _ = _allowing(found, sheet, as_table(sheet.columns[metric.columns[0]]).mean(axis=1), metric.bounds)
    else:
        found = _estimate_other(metric, sheet, replicates=replicates, seed=seed)
    if np.isnan(found.value):
        found = replace(found, low=None, high=None, note=f"undefined: {metric.undefined}")
    return found.noted(note)


def gain(
    before: Sheet,
    after: Sheet,
    metric: Metric | str,
    *,
    scores: tuple[Estimate, Estimate] | None = None,
    comparisons: int = 1,
    replicates: int = REPLICATES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Gain:
    """How much better `after` scores than `before` on the same items, with interval, paired test and effect size.

    Every replicate draws the same items of both sheets, so what both share cancels. The test is the metric's: flips of
    differences, swaps of ranks, or else the bootstrap's own p-value.

    How to read it: an interval on one side of 0 and a small p (after Holm's correction over all that was tried) mean a
    difference; if not, effects below `detectable` are still possible.

    Args:
        before, after: sheets of the same items in the same order.
        metric: a row of METRICS or its name.
        scores: what `score` gave for the two with the same replicates and seed, if it is known already.
        comparisons: how many are made side by side; what is detectable allows for their correction (Bonferroni).
        replicates: of the bootstrap.
        resamples: of the randomisation test.
        seed: of both.

    Returns:
        With fewer than 10 independent groups only the value, and a note that nothing can be told.
    """
    metric = find_metric(metric) if isinstance(metric, str) else metric
    _check_paired(before, after)
    (before, after), note = _defined([before, after], metric)
    if note or scores is None:
        scores = (
            score(before, metric, replicates=replicates, seed=seed),
            score(after, metric, replicates=replicates, seed=seed),
        )
    level = 1 - 0.05 / comparisons
    found = _gap(*scores).noted(note)
    if found.n < MIN_GROUPS or np.isnan(found.value):
        return Gain(found, None, None, None)
    if metric.test != "sign":
        finite = found.replicates[np.isfinite(found.replicates)]
        error = float(finite.std()) if len(finite) else 0.0
        p_value = _p(before, after, metric, found, resamples, seed)
        return Gain(found, p_value, None, detectable(error, n=found.n, level=level))
    name = metric.columns[0]
    per_item = as_table(after.columns[name] - before.columns[name]).mean(axis=1)
    found, wider = _allowing(found, before, per_item, (-np.inf, np.inf))
    if found.n < MIN_GROUPS * wider**2:
        return Gain(found, None, None, None, wider)
    error = standard_error(per_item, before.groups)
    p, *_ = randomisation_test(per_item, before.groups, resamples=resamples, seed=seed)
    p = p_linked(float(p), found, error, wider)
    least = detectable(wider * error, n=found.n, level=level)
    return Gain(found, p, effect_size(per_item, before.groups), least, wider)


def _estimate_other(metric: Metric, sheet: Sheet, *, replicates: int, seed: int) -> Estimate:
    columns = [sheet.columns[name] for name in metric.columns]
    found = estimate(metric.value, columns, groups=sheet.groups, replicates=replicates, seed=seed, centred=True)
    if metric.rests_on:
        carrying = np.flatnonzero(metric.rests_on(*columns))
        n = len({sheet.groups[line] for line in carrying})
        found = interval(found.value, found.replicates, n=min(n, found.n))
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(found.low, metric.bounds[0]), high=min(found.high, metric.bounds[1]))


def _allowing(found: Estimate, sheet: Sheet, values: Floats, bounds: tuple[float, float]) -> tuple[Estimate, float]:
    """A mean whose interval allows for what its items share, and how many times as wide that makes it."""
    if sheet.shared is None or found.low == found.high:
        return found, 1.0
    _, first, group = np.unique(sheet.groups, return_index=True, return_inverse=True)
    sums = np.bincount(group, values - values.mean()).astype(np.float64)
    wider = alikeness(sums, sheet.shared[first]).wider
    what = sheet.items if len(first) == len(sheet) else "groups"
    return widened(found, wider, what=what, bounds=bounds), wider


def _gap(before: Estimate, after: Estimate) -> Estimate:
    value, n = after.value - before.value, before.n
    if np.isnan(value):
        return Estimate(value, np.empty(0), None, None, n, (after if np.isnan(after.value) else before).note)
    found = interval(value, after.replicates - before.replicates, n=n)
    drawn = found.replicates[np.isfinite(found.replicates)]
    if len(drawn) and abs(value) <= ROUNDING and abs(drawn).max() <= ROUNDING:
        return replace(found, value=0.0, low=0.0, high=0.0, note="nothing changed")
    return found


def _p(before: Sheet, after: Sheet, metric: Metric, found: Estimate, resamples: int, seed: int) -> float | None:
    if metric.test == "bootstrap":
        return bootstrap_p(found)
    scores, gold = metric.columns
    return swap_test(
        before.columns[scores],
        after.columns[scores],
        gold=before.columns[gold],
        groups=before.groups,
        resamples=resamples,
        seed=seed,
    )


def _check_paired(before: Sheet, after: Sheet) -> None:
    if (before.ids, before.groups) == (after.ids, after.groups):
        return
    lines = (zip(sheet.ids, sheet.groups, strict=True) for sheet in (before, after))
    pairs = enumerate(zip_longest(*lines))
    line, (one, other) = next((line, pair) for line, pair in pairs if pair[0] != pair[1])
    raise UncollapseError(
        f"A gain is paired: both sheets need the same {before.items} and groups in the same order, got {len(before)} "
        f"and {len(after)}; the first that differ are {one} and {other} in line {line} (counted from 0). Score both "
        "on one task and in the same bins."
    )


def _defined(sheets: Sequence[Sheet], metric: Metric) -> tuple[list[Sheet], str]:
    """The sheets without the lines on which a mean is not defined in one of them, and a note on how many they were."""
    missing = np.zeros(len(sheets[0]), bool)
    for sheet in sheets:
        for name in metric.columns:
            missing |= _undefined(sheet, name, metric)
    if not missing.any():
        return list(sheets), ""
    note = f"{missing.sum()} of {len(missing)} {sheets[0].items} left out: {metric.undefined}"
    return [sheet.take(~missing) for sheet in sheets], note


def _undefined(sheet: Sheet, name: str, metric: Metric) -> npt.NDArray[np.bool_]:
    if name not in sheet.columns:
        raise UncollapseError(
            f"{metric.title} needs the column {name!r}, but this sheet of {sheet.items} has none. "
            f"{nearest(name, sheet.columns, 'Columns')}"
        )
    column = as_table(sheet.columns[name])
    allowed = np.isnan(column).any(axis=1) & bool(metric.test == "sign" and metric.undefined)
    bad = np.flatnonzero(~np.isfinite(column).all(axis=1) & ~allowed)
    if len(bad):
        raise UncollapseError(
            f"{metric.title} needs finite numbers, but column {name!r} is NaN or infinite for {len(bad)} of "
            f"{len(sheet)} {sheet.items}; the first is {sheet.ids[bad[0]]!r}. Check the vectors it was computed from."
        )
    return np.asarray(allowed)
