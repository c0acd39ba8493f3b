"""Choose on some queries, score on the others: what a dial is worth that had to be chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.evaluation.statistics.significance import numbered_groups
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.tuning.halving import error_of

Floats = npt.NDArray[np.float64]

_APART = 1_000_003
"""Between the seeds of two splits."""

HELD = 1 << 21
"""Signs held at once: 16 MB."""

ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Crossfit:
    """What a family scores on queries that had no say in the choice of its dial.

    Args:
        scores: float64 [queries], the mean over all splits of the score of whatever was chosen on the other parts.
        chosen: how often each member was chosen, as a share of all choices.
    """

    scores: Floats
    chosen: Mapping[str, float]


def crossfit(scores: Mapping[str, Floats], groups: Sequence[str], *, folds: int, repeats: int, seed: int) -> Crossfit:
    """Split the queries into parts; score each part under the member that is best on all others; split anew.

    Groups stay whole. Naming the best of many members by its own mean flatters it, since some of the luck of these
    queries is in that mean; a score of this kind has none of it.

    Args:
        scores: by member, the mildest first, float64 [queries]; of equal means the first wins.
        groups: name of each query's group.
        folds: parts; as many as there are groups where those are fewer.
        repeats: splits.
        seed: of the splits.

    >>> bad, good = np.zeros(20), np.ones(20)
    >>> found = crossfit({"bad": bad, "good": good}, [str(i) for i in range(20)], folds=5, repeats=2, seed=0)
    >>> float(found.scores.mean()), found.chosen
    (1.0, {'bad': 0.0, 'good': 1.0})

    Reference:
        Varma & Simon (2006), Bias in error estimation when using cross-validation for model selection, BMC
        Bioinformatics 7, for the nesting.
    """
    names, table = list(scores), np.stack(list(scores.values()))
    total, counts = np.zeros(table.shape[1]), np.zeros(len(names))
    for repeat in range(repeats):
        parts = split_groups(groups, folds, seed=seed + _APART * (repeat + 1))
        picked = _best_elsewhere(table, parts)
        total += table[picked[parts], np.arange(table.shape[1])]
        counts += np.bincount(picked, minlength=len(names))
    shares = counts / counts.sum()
    return Crossfit(total / repeats, dict(zip(names, shares.tolist(), strict=True)))


@dataclass(frozen=True)
class Worth:
    """What chance makes of a cross-fitted gain.

    Args:
        p: of a randomisation test of the whole procedure, the choice of dials included; two-sided.
        error: standard error of the mean gain where no dial differs from any other, the choice included.
    """

    p: float
    error: float


def judge_gains(
    gains: Mapping[str, Floats],
    groups: Sequence[str],
    strata: Sequence[npt.NDArray[np.bool_]],
    *,
    splits: tuple[int, int],
    resamples: int,
    seed: int,
) -> tuple[Worth, ...]:
    """Whether chance alone, the sign of each group's gains being a coin's, gives so large a cross-fitted gain.

    A cross-fitted gain is unbiased, but its queries are not independent: each had a say in the dials of the others.
    Where the same lucky dial wins in all parts, its luck is scored after all. So every relabelling, which flips the
    gains of a group under all dials at once, is cross-fitted anew, and p = (1 + #{|T*| >= |T|}) / (1 + resamples).

    Args:
        gains: by member, against the model as it is, float64 [queries].
        groups: name of each query's group.
        strata: bool [queries] each; the gain of each is tested, with dials chosen over all queries.
        splits: folds and repeats, as in `crossfit`.
        resamples: relabellings.
        seed: of splits and relabellings.

    >>> noise = np.random.default_rng(0).normal(size=50)
    >>> names, every = [str(i) for i in range(50)], [np.ones(50, bool)]
    >>> (found,) = judge_gains({"a": noise + 3}, names, every, splits=(5, 2), resamples=199, seed=0)
    >>> found.p
    0.005

    Reference:
        Nichols & Holmes (2002), Human Brain Mapping 15, for relabelling through a choice; Bengio & Grandvalet (2004),
        JMLR 5, for why cross-validated differences are not independent.
    """
    table = np.stack(list(gains.values()))
    names, group = numbered_groups(groups)
    folds, repeats = splits
    parts = [split_groups(groups, folds, seed=seed + _APART * (repeat + 1)) for repeat in range(repeats)]
    generator = np.random.default_rng(seed & 0xFFFFFFFFFFFFFFFF)
    observed = _means(table, np.ones((1, len(group))), parts, strata)[:, 0]
    centred: Floats = table - table.mean(axis=1, keepdims=True)
    counts, spread = np.zeros(len(strata)), []
    step = max(1, HELD // max(1, table.shape[1]))
    for first in range(0, resamples, step):
        flips = generator.integers(0, 2, (min(step, resamples - first), len(names)))
        signs = (1 - 2 * flips).astype(np.float64)[:, group]
        moved = _means(table, signs, parts, strata)
        counts += (abs(moved) >= abs(observed)[:, None] - ROUNDING).sum(axis=1)
        spread.append(_means(centred, signs, parts, strata))
    errors = np.concatenate(spread, axis=1).std(axis=1)
    return tuple(
        Worth(float((1 + n) / (1 + resamples)), float(error)) for n, error in zip(counts, errors, strict=True)
    )


def _means(
    table: Floats, signs: Floats, parts: Sequence[npt.NDArray[np.intp]], strata: Sequence[npt.NDArray[np.bool_]]
) -> Floats:
    """The cross-fitted mean of each stratum under each relabelling: float64 [strata, relabellings]."""
    made = np.zeros((len(strata), len(signs)))
    for part in parts:
        places = [part == number for number in range(part.max() + 1)]
        sums = np.stack([signs[:, here] @ table[:, here].T for here in places])
        sizes = np.array([len(part) - here.sum() for here in places])
        picked = first_best((sums.sum(axis=0)[None] - sums) / np.maximum(sizes, 1)[:, None, None])
        for row, stratum in enumerate(strata):
            for number, here in enumerate(places):
                both = here & stratum
                scored = signs[:, both] @ table[:, both].T
                made[row] += np.take_along_axis(scored, picked[number][:, None], axis=1)[:, 0]
    sizes_of = np.array([max(1, int(stratum.sum())) for stratum in strata])
    means: Floats = made / (len(parts) * sizes_of)[:, None]
    return means


def _best_elsewhere(table: Floats, parts: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """For each part the member with the best mean over all other parts."""
    inside = np.stack([table[:, parts == part].sum(axis=1) for part in range(parts.max() + 1)])
    sizes = len(parts) - np.bincount(parts)
    means = (table.sum(axis=1)[None] - inside) / np.maximum(sizes, 1)[:, None]
    return first_best(means)


def first_best(means: Floats) -> npt.NDArray[np.intp]:
    """The first of the largest along the last axis, what differs by rounding alone taken for equal."""
    return np.asarray((means >= means.max(axis=-1, keepdims=True) - ROUNDING).argmax(axis=-1))


def split_groups(groups: Sequence[str], folds: int, *, seed: int) -> npt.NDArray[np.intp]:
    """The number of each query's part; parts hold about equally many groups.

    >>> sorted(np.bincount(split_groups([str(i) for i in range(10)], 3, seed=0)).tolist())
    [3, 3, 4]
    """
    names, group = numbered_groups(groups)
    place = np.argsort(np.argsort(sampling_order(document_keys(names), seed=seed), kind="stable"), kind="stable")
    return (place % min(folds, len(names)))[group]


def pick_best(scores: Mapping[str, Floats]) -> str:
    """The member with the best mean, of equal ones the first."""
    names, means = list(scores), np.array([[one.mean() for one in scores.values()]])
    return names[int(first_best(means)[0])]


def pick_mildest(scores: Mapping[str, Floats]) -> str:
    """The first member that is not worse than the best by more than one standard error of their difference.

    Queries without labels are sentences of the documents, and like strong dials better than people's questions do; so
    the mildest dial is taken that they cannot tell from the best.

    >>> noise = np.random.default_rng(0).normal(size=100)
    >>> pick_mildest({"mild": noise - 1, "strong": noise, "stronger": noise[::-1] + 0.01})
    'strong'

    Reference:
        Breiman et al. (1984), Classification and regression trees, section 3.4.3: the rule of one standard error.
    """
    best = scores[pick_best(scores)]
    return next(name for name, one in scores.items() if (best - one).mean() <= error_of(best - one) + 1e-12)
