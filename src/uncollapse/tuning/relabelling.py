"""What chance makes of a cross-fitted gain: relabellings that go through the choice of dials."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.evaluation.statistics.significance import numbered_groups, standard_error
from uncollapse.tuning.crossfit import Floats, first_best, seed_of, split_groups
from uncollapse.tuning.halving import SURELY

HELD = 1 << 20
"""Signs held at once: 8 MB."""

FOR_ERRORS = 2000
"""Relabellings that a standard error rests on at most."""

ROUNDING = 1e-12

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Worth:
    """What chance makes of a cross-fitted gain.

    Args:
        p: of a randomisation test of the whole procedure, the choice of dials included; two-sided.
        error: standard error of the mean gain, the choice among all dials that may be the best included.
    """

    p: float
    error: float


def judge_gains(
    gains: Mapping[str, Floats],
    groups: Sequence[str],
    strata: Sequence[Mask],
    *,
    splits: tuple[int, int],
    resamples: int,
    seed: int,
) -> tuple[Worth, ...]:
    """Whether chance alone, the sign of each group's gains being a coin's, gives so large a cross-fitted gain.

    A cross-fitted gain is unbiased, but its queries are not independent: each had a say in the dials of the others.
    Where the same lucky dial wins in all parts, its luck is scored after all. So every relabelling, which flips the
    gains of a group under all dials at once, is cross-fitted anew, and p = (1 + #{|T*| >= |T|}) / (1 + resamples).

    For the standard error only what a query differs by from the mean of a dial is flipped, and dials that are surely
    worse than the best stay so, the others being taken for equal.

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
    short = _shortfalls(table, groups)
    centred: Floats = table - table.mean(axis=1, keepdims=True)
    raw = _Procedure.of(table, np.zeros(len(table)), groups, strata, splits=splits, seed=seed)
    noise = _Procedure.of(centred, -short, groups, strata, splits=splits, seed=seed)
    observed = raw.means(np.ones((1, raw.n_groups)))[:, 0]
    counts = np.zeros(len(strata))
    for signs in _relabellings(raw.n_groups, resamples, seed=seed):
        counts += (abs(raw.means(signs)) >= abs(observed)[:, None] - ROUNDING).sum(axis=1)
    drawn = [noise.means(signs) for signs in _relabellings(raw.n_groups, min(resamples, FOR_ERRORS), seed=seed)]
    errors = np.concatenate(drawn, axis=1).std(axis=1)
    p_values = (1 + counts) / (1 + resamples)
    return tuple(Worth(float(p), float(error)) for p, error in zip(p_values, errors, strict=True))


def _relabellings(n_groups: int, resamples: int, *, seed: int) -> Iterator[Floats]:
    """Blocks of signs, 1 and -1: float64 [relabellings, groups]."""
    generator, step = np.random.default_rng(seed & 0xFFFFFFFFFFFFFFFF), max(1, HELD // n_groups)
    for first in range(0, resamples, step):
        flips = generator.integers(0, 2, (min(step, resamples - first), n_groups))
        yield (1 - 2 * flips).astype(np.float64)


def _shortfalls(table: Floats, groups: Sequence[str]) -> Floats:
    """How far each member is behind the best where that is more than chance explains, else 0: float64 [members]."""
    best = table[int(table.mean(axis=1).argmax())]
    short = [(float((best - one).mean()), standard_error(best - one, groups)) for one in table]
    return np.array([gap if gap > SURELY * error + ROUNDING else 0.0 for gap, error in short])


@dataclass(frozen=True, eq=False)
class _Procedure:
    """Choosing on some parts and scoring on the others, ready for many relabellings at once.

    Args:
        sums: over the queries of a group, of each stratum and at last of all: float64 [strata + 1, members, groups].
        queries: how many those are: float64 [strata + 1, groups].
        added: to the gain of every query under a member, whatever its sign: float64 [members].
        parts: number of the part of each group, one array a split.
    """

    sums: Floats
    queries: Floats
    added: Floats
    parts: tuple[npt.NDArray[np.intp], ...]

    @classmethod
    def of(
        cls,
        table: Floats,
        added: Floats,
        groups: Sequence[str],
        strata: Sequence[Mask],
        *,
        splits: tuple[int, int],
        seed: int,
    ) -> "_Procedure":
        names, group = numbered_groups(groups)
        folds, repeats = splits
        different = repeats if len(table) > 1 else 1  # without a choice every split gives the same
        parts = tuple(split_groups(names, folds, seed=seed_of(seed, repeat)) for repeat in range(different))
        masks = np.stack([*strata, np.ones(len(group), np.bool_)]).astype(np.float64)
        sums = np.stack([[np.bincount(group, one * mask, len(names)) for one in table] for mask in masks])
        queries = np.stack([np.bincount(group, mask, len(names)) for mask in masks])
        return cls(sums.astype(np.float64), queries.astype(np.float64), added, parts)

    @property
    def n_groups(self) -> int:
        return len(self.queries[0])

    def means(self, signs: Floats) -> Floats:
        """The cross-fitted mean of each stratum under each relabelling: float64 [strata, relabellings]."""
        made = np.zeros((len(self.sums) - 1, len(signs)))
        for part in self.parts:
            places = [np.flatnonzero(part == number) for number in range(part.max() + 1)]
            picked = self._picked(signs, places)
            for here, members in zip(places, picked, strict=True):
                few = signs[:, here]
                for row in range(len(made)):
                    scored = few @ self.sums[row][:, here].T + self.added * self.queries[row, here].sum()
                    made[row] += scored[np.arange(len(signs)), members]
        sizes = np.maximum(self.queries[:-1].sum(axis=1), 1)
        means: Floats = made / (len(self.parts) * sizes)[:, None]
        return means

    def _picked(self, signs: Floats, places: Sequence[npt.NDArray[np.intp]]) -> npt.NDArray[np.intp]:
        """What is best on all other parts, for each part: [parts, relabellings]."""
        inside = np.stack([signs[:, here] @ self.sums[-1][:, here].T for here in places])
        sizes = np.array([self.queries[-1].sum() - self.queries[-1, here].sum() for here in places])
        return first_best((inside.sum(axis=0)[None] - inside) / np.maximum(sizes, 1)[:, None, None] + self.added)
