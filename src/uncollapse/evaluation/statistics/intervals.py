"""How sure a number of a sheet is: bootstrap intervals over independent groups, or why there is none."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

from uncollapse.evaluation.statistics.significance import MIN_GROUPS, REPLICATES, numbered_groups
from uncollapse.evaluation.statistics.weighted import HELD, ROUNDING, Floats, as_table, weighted_mean
from uncollapse.records import FloatArray
from uncollapse.resampling import Estimate, document_keys, poisson_weights

Statistic = Callable[..., Floats]
"""A number under weights: from columns [items, ...] and weights [items, replicates] to [replicates]."""


def estimate(
    statistic: Statistic,
    columns: Sequence[FloatArray],
    *,
    groups: Sequence[str],
    replicates: int = REPLICATES,
    seed: int = 0,
    centred: bool = False,
) -> Estimate:
    """A number of a sheet with a 95 % bootstrap interval over its independent groups.

    Every group is drawn Poisson(1) times a replicate, fixed by its name, so that numbers of one seed are paired
    whatever bin, metric or fix they belong to. The interval is the expanded percentile interval: its tails are
    Phi(-sqrt(n / (n - 1)) t_{n-1}) instead of 2.5 %, which makes up for the bootstrap's too small spread at small n.

    Some numbers depend on n: a V-measure of few texts is too high, and those of resamples, which repeat texts, are
    higher still. For them `centred` shifts the replicates so that their mean is the value; the interval is then one
    for what such a number is at this n. Without it the interval would miss, and often not even hold the value.

    How to read it: with fewer than 10 groups there is no interval, and the note says so; nor is there one where all
    replicates are equal, because a width of zero would claim a certainty that the data cannot give.

    Args:
        statistic: the number under weights; unit weights give its value.
        columns: what the statistic reads, [items] or [items, experiments] each.
        groups: name of each item's group.
        replicates: how many, a multiple of 4.
        seed: of the bootstrap.
        centred: shift the replicates.

    Returns:
        n is the number of groups.

    Example:
        >>> from uncollapse.evaluation.statistics.weighted import weighted_mean
        >>> estimate(weighted_mean, [np.arange(20.0)], groups=[str(i) for i in range(20)])
        Estimate(9.5 [6.636, 12.34], n=20)

    Reference:
        Hesterberg (2015), What teachers should know about the bootstrap, The American Statistician 69.
    """
    value = float(statistic(*columns, np.ones((len(groups), 1)))[0])
    drawn = resampled(statistic, columns, groups=groups, replicates=replicates, seed=seed)
    finite = drawn[np.isfinite(drawn)]
    if centred and len(finite):
        drawn = drawn + (value - finite.mean())
    return interval(value, drawn, n=len(set(groups)))


def resampled(
    statistic: Statistic,
    columns: Sequence[FloatArray],
    *,
    groups: Sequence[str],
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Floats:
    """The number on each resampled sheet, a few replicates at a time.

    Where columns hold several experiments, such as starts of k-means, each replicate also draws experiments, the same
    for all sheets of one seed: one fewer than there are, so that the spread of their mean is not too small. Else a
    gain by luckier starts would look as sure as one by better vectors.

    Args:
        statistic, columns, groups, replicates, seed: as in `estimate`.

    Returns:
        float64 [replicates]; empty with fewer than `MIN_GROUPS` groups.
    """
    if len(set(groups)) < MIN_GROUPS:
        return np.empty(0)
    counts, group = _drawn(tuple(groups), replicates, seed)
    block = max(1, HELD // len(group))
    drawn = _drawn_experiments(max(as_table(column).shape[1] for column in columns), replicates, seed)
    found = []
    for first in range(0, replicates, block):
        weights = counts[:, first : first + block].astype(np.float64)[group]
        single = [statistic(*_of_experiment(columns, number), weights) for number in range(len(drawn))]
        found.append((np.stack(single) * drawn[:, first : first + block]).sum(axis=0))
    return np.concatenate(found)


def _drawn_experiments(experiments: int, replicates: int, seed: int) -> Floats:
    """Weights of the experiments in every replicate, [experiments, replicates]; a single one always weighs 1."""
    if experiments == 1:
        return np.ones((1, replicates))
    draws = np.random.default_rng([seed % 2**63, experiments])
    counts = draws.multinomial(experiments - 1, np.full(experiments, 1 / experiments), size=replicates)
    return np.asarray(counts.T / (experiments - 1))


def _of_experiment(columns: Sequence[FloatArray], number: int) -> list[FloatArray]:
    """One experiment of the columns that have several, and the others as they are."""
    return [column[:, number] if column.ndim == 2 and column.shape[1] > 1 else column for column in columns]


def interval(value: float, replicates: Floats, *, n: int, level: float = 0.95) -> Estimate:
    """A number with the expanded percentile interval of its replicates, or a note that says why there is none.

    >>> interval(2.0, np.arange(5.0), n=9)
    Estimate(2 [no interval], n=9, note='no interval: 9 independent items are too few to tell, 10 are needed')
    >>> interval(2.0, np.full(8, 2.0), n=30).note
    'no interval: every resample gives 2, so the data show no variation to judge by'
    """
    if n < MIN_GROUPS:
        note = f"no interval: {n} independent items are too few to tell, {MIN_GROUPS} are needed"
        return Estimate(value, np.empty(0), None, None, n, note)
    tail = ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2))
    found = Estimate.of(value, replicates, n=n, level=float(1 - 2 * tail))
    finite = replicates[np.isfinite(replicates)]
    if found.low is None or np.ptp(finite) > ROUNDING * max(1, abs(finite).max()):
        return found
    note = f"no interval: every resample gives {value:.4g}, so the data show no variation to judge by"
    return replace(found, low=None, high=None, note=note)


def estimate_mean(
    values: Floats,
    groups: Sequence[str],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Estimate:
    """The mean of a bounded score with a 95 % interval that stays honest where all items score alike.

    Ones and zeros of independent items are a share and get Wilson's interval. Where all items have one value v, the
    share of others that the data may have missed is at most p = z^2 / (n + z^2) by the same interval, so the mean lies
    in [v - p (v - least), v + p (greatest - v)]. All other scores: as in `estimate`.

    Args:
        values: [items] or [items, experiments].
        groups: name of each item's group.
        bounds: the least and the greatest possible score.
        replicates, seed: of the bootstrap.

    Example:
        >>> estimate_mean(np.ones(50), [str(i) for i in range(50)])
        Estimate(1 [0.9287, 1], n=50, note='all items score 1; the interval allows for what 50 could not show')

    Reference:
        Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    found = estimate(weighted_mean, [values], groups=groups, replicates=replicates, seed=seed)
    if found.n < MIN_GROUPS:
        return found
    if np.ptp(values) <= ROUNDING:
        missed = Estimate.of_share(0, found.n).high or 0.0
        low, high = (found.value + missed * (bound - found.value) for bound in bounds)
        note = f"all items score {found.value:.4g}; the interval allows for what {found.n} could not show"
        return replace(found, low=low, high=high, note=note)
    if found.n == values.size and np.isin(values, (0.0, 1.0)).all():
        share = Estimate.of_share(int(values.sum()), found.n)
        return replace(found, low=share.low, high=share.high)
    return found


@lru_cache(maxsize=2)
def _drawn(groups: tuple[str, ...], replicates: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]:
    """How often each group is drawn, [groups, replicates], and the number of each item's group.

    Remembered because one sheet is asked for many numbers; a byte a count, because there may be 10,000 x 10,000.
    """
    names, group = numbered_groups(groups)
    keys = document_keys(names)
    block = max(1, HELD // max(replicates, 1))
    counts = np.empty((len(names), replicates), np.uint8)
    for first in range(0, len(names), block):
        counts[first : first + block] = poisson_weights(keys[first : first + block], replicates, seed=seed)
    counts.setflags(write=False)
    return counts, group
