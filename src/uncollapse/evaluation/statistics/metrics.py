"""METRICS, the one table of scores, and what a sheet scores under one of them, alone or against another sheet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from uncollapse.errors import UncollapseError, nearest
from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.statistics.intervals import estimate, estimate_mean, interval
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
from uncollapse.evaluation.statistics.weighted import (
    Floats,
    as_table,
    weighted_average_precision,
    weighted_f1,
    weighted_mean,
    weighted_spearman,
    weighted_v_measure,
)
from uncollapse.resampling import Estimate

_ROUNDING = 1e-12  # of scores, which lie within [-1, 1]


@dataclass(frozen=True)
class Metric:
    """One row of the table: what a score is, and how to get it from a sheet.

    Args:
        name: the key, as in results and on the command line.
        title: for headings.
        formula: plain text.
        reading: one sentence for someone who meets it for the first time.
        reference: where it comes from.
        columns: which columns of a `Sheet` it reads; labels, predictions and clusters as whole numbers.
        value: from those columns and weights [items, replicates] to [replicates].
        test: how two systems are compared: "sign" flips differences of items, "swap" swaps items' ranks, "bootstrap"
            is for what is no mean and no correlation.
        bounds: the least and the greatest value.
        undefined: where it has no value; a line that is NaN for this reason is left out of a mean.
        rests_on: from the columns, which lines carry the number, so that n counts only their groups; None for all.
    """

    name: str
    title: str
    formula: str
    reading: str
    reference: str
    columns: tuple[str, ...]
    value: Callable[..., Floats] = weighted_mean
    test: Literal["sign", "swap", "bootstrap"] = "sign"
    bounds: tuple[float, float] = (0.0, 1.0)
    undefined: str = ""
    rests_on: Callable[..., npt.NDArray[np.bool_]] | None = None
    better: Literal["higher"] = "higher"

    @property
    def range(self) -> str:
        """Least and greatest value as plain text."""
        return f"{self.bounds[0]:g} to {self.bounds[1]:g}"


@dataclass(frozen=True, eq=False)
class Gain:
    """How much better one sheet scores than another, and what that is worth.

    Args:
        estimate: the difference, paired item by item.
        p: of the paired test; None where too few items are independent, or there is no difference to test.
        effect: mean difference over the differences' standard deviation (Cohen's d_z); None where the score is no mean
            or the differences do not differ.
        detectable: the smallest true difference that would most likely have been seen; None as for p.
    """

    estimate: Estimate
    p: float | None
    effect: float | None
    detectable: float | None


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric(
                name="ndcg@10",
                title="nDCG@10",
                formula="sum over ranks r <= 10 of grade_r / log2(r + 1), over the same of the ideal ranking of all "
                "judged documents; linear gain, as in trec_eval",
                reading="How much of the best possible first ten results a query got: 1 is all, in the best order.",
                reference="Järvelin & Kekäläinen 2002",
                columns=("ndcg@10",),
            ),
            Metric(
                name="ndcg@1",
                title="nDCG@1",
                formula="grade of the first document / highest grade of the query; linear gain",
                reading="How good the very first result is, next to the best there is.",
                reference="Järvelin & Kekäläinen 2002",
                columns=("ndcg@1",),
            ),
            Metric(
                name="rr@10",
                title="RR@10",
                formula="1 / rank of the first relevant document, 0 beyond rank 10",
                reading="How early the first useful result comes: 1 first, 0.5 second, 0 not among ten.",
                reference="Voorhees 1999",
                columns=("rr@10",),
            ),
            Metric(
                name="recall@10",
                title="Recall@10",
                formula="relevant documents among the first 10 / relevant documents",
                reading="Which share of a query's relevant documents is among its first ten.",
                reference="trec_eval",
                columns=("recall@10",),
            ),
            Metric(
                name="recall@100",
                title="Recall@100",
                formula="relevant documents among the first 100 / relevant documents",
                reading="Which share of a query's relevant documents a second stage could still put first.",
                reference="trec_eval",
                columns=("recall@100",),
            ),
            Metric(
                name="ap",
                title="AP",
                formula="mean over relevant documents of the precision at their ranks, 0 for those not ranked",
                reading="How far relevant documents stand above the others, over the whole ranking.",
                reference="Buckley & Voorhees 2000",
                columns=("ap",),
            ),
            Metric(
                name="found@10",
                title="Found in the first 10",
                formula="judged relevant documents ranked among the first 10 of their query / all of them",
                reading="Which share of the documents that should be found is found; each document counts once.",
                reference="",
                columns=("found@10",),
            ),
            Metric(
                name="accuracy",
                title="Accuracy",
                formula="texts whose label is predicted right / texts, mean over experiments",
                reading="How often a classifier trained on a few vectors of each label is right.",
                reference="Muennighoff et al. 2023 (MTEB)",
                columns=("correct",),
            ),
            Metric(
                name="f1",
                title="Macro F1",
                formula="mean over labels of 2 hits / (texts with the label + texts predicted to have it), mean over "
                "experiments",
                reading="As accuracy, with rare labels as important as common ones.",
                reference="Muennighoff et al. 2023 (MTEB)",
                columns=("prediction", "label"),
                value=weighted_f1,
                test="bootstrap",
            ),
            Metric(
                name="v_measure",
                title="V-measure",
                formula="2 I(labels, clusters) / (H(labels) + H(clusters)), mean over experiments",
                reading="How well clusters found without labels match the labels: 1 exactly, 0 not at all; few texts "
                "score higher than many, so compare at equal n.",
                reference="Rosenberg & Hirschberg 2007",
                columns=("cluster", "label"),
                value=weighted_v_measure,
                test="bootstrap",
            ),
            Metric(
                name="average_precision",
                title="Average precision",
                formula="sum over falling cosines of precision x gain in recall, equal cosines together",
                reading="How well the cosine tells pairs that belong together from others; their share is the floor.",
                reference="Muennighoff et al. 2023 (MTEB)",
                columns=("cosine", "label"),
                value=weighted_average_precision,
                test="bootstrap",
                undefined="no pair belongs together",
                rests_on=lambda _, label: label == (label.mean() <= 0.5),
            ),
            Metric(
                name="spearman",
                title="Spearman",
                formula="Pearson's correlation of the ranks of cosine and human score, mid-ranks for ties",
                reading="Whether pairs that people find more alike have the higher cosine: 1 always, 0 by chance.",
                reference="Reimers et al. 2016",
                columns=("cosine", "gold"),
                value=weighted_spearman,
                test="swap",
                bounds=(-1.0, 1.0),
                undefined="all cosines or all human scores are equal",
            ),
            Metric(
                name="summary_spearman",
                title="Spearman within articles",
                formula="mean over articles of Spearman's correlation of a summary's rating with its highest cosine "
                "to a reference",
                reading="Whether better summaries lie nearer to those that people wrote: 1 always, 0 by chance.",
                reference="Fabbri et al. 2021 (SummEval)",
                columns=("summary_spearman",),
                bounds=(-1.0, 1.0),
                undefined="all their ratings or all their cosines are equal",
            ),
        )
    }
)
"""Every metric by name. A new one is a row, and a function where it is no mean."""


def find_metric(name: str) -> Metric:
    """The row of METRICS of that name.

    >>> find_metric("rr@10").title
    'RR@10'
    """
    if name not in METRICS:
        raise UncollapseError(f"No metric is called {name!r}. {nearest(name, METRICS, 'Metrics')}")
    return METRICS[name]


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
    p = float(randomisation_test(per_item, before.groups, resamples=resamples, seed=seed)[0])
    error = standard_error(per_item, before.groups)
    return Gain(found, p, effect_size(per_item, before.groups), detectable(error, n=found.n, level=level))


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


def _gap(before: Estimate, after: Estimate) -> Estimate:
    value, n = after.value - before.value, before.n
    if np.isnan(value):
        return Estimate(value, np.empty(0), None, None, n, (after if np.isnan(after.value) else before).note)
    found = interval(value, after.replicates - before.replicates, n=n)
    drawn = found.replicates[np.isfinite(found.replicates)]
    if len(drawn) and abs(value) <= _ROUNDING and abs(drawn).max() <= _ROUNDING:
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
