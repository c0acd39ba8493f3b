"""Choose on some queries, score on the others: what a dial is worth that had to be chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.evaluation.statistics.significance import numbered_groups
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.tuning.halving import error_of, surely_below

Floats = npt.NDArray[np.float64]

_APART = 1_000_003
"""Between the seeds of two splits."""

ROUNDING = 1e-12

PROOF = 2.0
"""Standard errors by which a member must be better than the one that is taken otherwise."""


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
        parts = split_groups(groups, folds, seed=seed_of(seed, repeat))
        picked = _best_elsewhere(table, parts)
        total += table[picked[parts], np.arange(table.shape[1])]
        counts += np.bincount(picked, minlength=len(names))
    shares = counts / counts.sum()
    return Crossfit(total / repeats, dict(zip(names, shares.tolist(), strict=True)))


def seed_of(seed: int, repeat: int) -> int:
    """The seed of one split."""
    return seed + _APART * (repeat + 1)


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


def pick_proven(scores: Mapping[str, Floats], start: str) -> str:
    """The start, unless others are surely better: then the best of those.

    A member is surely better by two standard errors of the paired difference. Queries made out of documents rank
    strong dials too high, so on collections with judgements the frozen pipeline of `fix --auto` loses less than what
    such queries like best.

    Args:
        scores: by member, float64 [queries].
        start: one of them.

    >>> noise = np.random.default_rng(0).normal(size=100)
    >>> pick_proven({"start": noise, "lucky": noise[::-1] + 0.2}, "start")
    'start'
    >>> pick_proven({"start": noise, "better": noise + 0.1 + noise[::-1] / 10}, "start")
    'better'
    """
    proven = {name: one for name, one in scores.items() if surely_below(scores[start], one, errors=PROOF)}
    return pick_best(proven) if proven else start


def pick_mildest(scores: Mapping[str, Floats]) -> str:
    """The first member that is not worse than the best by more than one standard error of their difference.

    Queries made out of documents like strong dials better than people's questions do; so the mildest dial is taken
    that they cannot tell from the best.

    >>> noise = np.random.default_rng(0).normal(size=100)
    >>> pick_mildest({"mild": noise - 1, "strong": noise, "stronger": noise[::-1] + 0.01})
    'strong'

    Reference:
        Breiman et al. (1984), Classification and regression trees, section 3.4.3: the rule of one standard error.
    """
    best = scores[pick_best(scores)]
    return next(name for name, one in scores.items() if (best - one).mean() <= error_of(best - one) + 1e-12)
