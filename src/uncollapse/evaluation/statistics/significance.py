"""What a difference is worth: which items are independent, whether chance could have made it, how large it is."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from uncollapse.errors import UncollapseError
from uncollapse.evaluation.statistics.weighted import (
    HELD,
    ROUNDING,
    Floats,
    as_table,
    sums_by_code,
    weighted_ranks,
)
from uncollapse.resampling import Estimate

MIN_GROUPS = 10
"""Fewest independent groups of items from which anything is concluded."""

REPLICATES = 1000
"""How many bootstrap replicates an interval rests on unless told otherwise."""

RESAMPLES = 10_000
"""How many relabellings a randomisation test draws unless told otherwise."""


def grouped(
    links: Sequence[Sequence[str]], ids: Sequence[str], *, items: str = "queries", shared: str = "documents"
) -> tuple[tuple[str, ...], str]:
    """Which items must be resampled together: those linked, directly or through others, by something they share.

    The connected components of the graph of items and things; a component is named by its smallest item. Where one
    component holds more than half of the items, there would be next to nothing to resample: then every item stands
    alone, and the note says so.

    Args:
        links: what each item is linked to, such as the documents that are relevant for a query.
        ids: one an item.
        items, shared: what they are, in the plural, for the note.

    Returns:
        The name of each item's group, and a note or "".

    >>> grouped([["d1"], ["d1", "d2"], ["d3"], ["d4"]], ["q1", "q2", "q3", "q4"])
    (('q1', 'q1', 'q3', 'q4'), '')
    """
    things: dict[str, int] = {}
    pairs = [
        (item, things.setdefault(thing, len(ids) + len(things)))
        for item, linked in zip(range(len(ids)), links, strict=True)
        for thing in linked
    ]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    size = len(ids) + len(things)
    graph = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][: len(ids)]
    largest = int(np.bincount(component).max(initial=0))
    if largest > 1 and 2 * largest > len(ids):
        return tuple(ids), (
            f"{largest} of {len(ids)} {items} are linked through shared {shared}, so they cannot be grouped: "
            f"n counts {items}, which are not independent"
        )
    names: dict[int, str] = {}
    for name, number in zip(ids, component.tolist(), strict=True):
        names[number] = min(name, names.get(number, name))
    return tuple(names[number] for number in component.tolist()), ""


def randomisation_test(
    differences: Floats, groups: Sequence[str], *, resamples: int = RESAMPLES, seed: int = 0
) -> Floats:
    """How often chance alone, the sign of each group's differences being a coin's, gives so large a mean difference.

    p = (1 + #{|T*| >= |T|}) / (1 + resamples), T the sum of all differences and T* the same with the signs of whole
    groups flipped at random; all 2^groups flips are taken instead where they are fewer than `resamples`, and then p =
    #{|T*| >= |T|} / 2^groups. Two-sided. p is never 0: the labelling that was observed is one of the possible.

    How to read it: small p means that the difference is hardly luck of the draw of the signs; it says nothing about
    its size.

    Args:
        differences: [items] or [items, comparisons], all flipped alike; finite.
        groups: name of each item's group.
        resamples: how many random flips.
        seed: of the flips.

    Returns:
        [comparisons], 1 for one.

    Example:
        >>> randomisation_test(np.ones(12), [str(i) for i in range(12)]) * 2**11
        array([1.])

    Reference:
        Smucker, Allan & Carterette (2007), A comparison of statistical significance tests for information retrieval
        evaluation, CIKM; Phipson & Smyth (2010), Permutation p-values should never be zero, Statistical Applications
        in Genetics and Molecular Biology 9.
    """
    _check_finite(differences, "Differences")
    columns = as_table(differences)
    sums = _group_sums(columns, groups)
    observed = sums.sum(axis=0)
    flips = _relabellings(len(sums), resamples, seed=seed)
    tolerance = ROUNDING * abs(columns).sum(axis=0)
    return _p_values(
        observed,
        (observed - 2 * (flip @ sums) for flip in flips),
        tolerance=tolerance,
        n_groups=len(sums),
        resamples=resamples,
    )


def swap_test(
    a: Floats, b: Floats, *, gold: Floats, groups: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> float:
    """How often chance alone gives two systems' rank correlations with the truth so large a difference.

    T = corr(r_a, r_gold) - corr(r_b, r_gold) over mid-ranks r. Under the null hypothesis which system gave which rank
    of an item does not matter, so T* swaps the two ranks of whole groups at random. Ranks are swapped, not scores,
    because two systems' scores have scales of their own. p as in `randomisation_test`.

    Args:
        a, b: [items], the two systems' scores.
        gold: [items], the truth; neither it nor a nor b may be constant.
        groups: name of each item's group.
        resamples, seed: as in `randomisation_test`.

    Example:
        >>> gold = np.arange(12.0)
        >>> swap_test(gold, gold**3, gold=gold, groups=[str(i) for i in range(12)])
        1.0

    Reference:
        Smucker, Allan & Carterette (2007), CIKM, whose test this carries over to a statistic that is no mean.
    """
    for name, column in (("the first scores", a), ("the second scores", b), ("the gold scores", gold)):
        _check_finite(column, f"Values of {name}")
        if not len(column) or np.ptp(column) == 0:
            raise UncollapseError(f"A rank correlation needs values that differ, but {name} are all equal. Drop it.")
    ranks_a, ranks_b, truth = (weighted_ranks(column, np.ones((len(column), 1)))[:, 0] for column in (a, b, gold))
    own = np.stack([_moments(ranks_a, truth), _moments(ranks_b, truth)])
    change = _group_sums((own[1] - own[0]).T, groups)
    total, shape = own.sum(axis=2), (len(a), float(truth @ truth))
    moved = (flip @ change for flip in _relabellings(len(change), resamples, seed=seed))
    gaps = (
        _correlation(total[0] + part, *shape) - _correlation(total[1] - part, *shape)
        for part in itertools.chain([np.zeros((1, 3))], moved)
    )
    return float(
        _p_values(
            next(gaps),
            (gap[:, None] for gap in gaps),
            tolerance=np.array([1e-10]),  # a quotient of sums of squared ranks is rounded more coarsely than a sum
            n_groups=len(change),
            resamples=resamples,
        )[0]
    )


def bootstrap_p(difference: Estimate) -> float | None:
    """The level at which the difference's bootstrap interval would just touch zero, for numbers no swap is made for.

    q = the smaller share of replicates on one side of zero, (1 + #) / (1 + replicates); p = 2 q, or at small n
    2 P(t_{n-1} > sqrt((n - 1) / n) z_{1 - q}), the same expansion as that of the interval. Where all replicates lie on
    one side, q is the normal tail beyond difference / standard error, if that is smaller: else no difference could
    survive a correction for many comparisons. At most 1, never 0.

    Returns:
        None where the difference has no interval.

    >>> round(bootstrap_p(Estimate.of(1.0, np.linspace(-0.5, 10, 999), n=10**9)), 6)
    0.098

    Reference:
        Hesterberg (2015); Phipson & Smyth (2010) for adding one.
    """
    if difference.low is None:
        return None
    drawn = difference.replicates[np.isfinite(difference.replicates)]
    share = (1 + min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))) / (1 + len(drawn))
    n = difference.n
    if share * (1 + len(drawn)) == 1 and drawn.std() > 0:
        share = max(min(share, float(ndtr(-abs(difference.value) / drawn.std()))), np.finfo(np.float64).tiny)
    return min(1.0, 2 * float(stdtr(n - 1, math.sqrt((n - 1) / n) * ndtri(min(share, 0.5)))))


def holm(p_values: npt.ArrayLike) -> Floats:
    """P-values corrected for their number: rejecting those below alpha makes a false claim at all with chance alpha.

    The k-th smallest of m is multiplied by m - k + 1, and none is smaller than one before it; at most 1.

    Args:
        p_values: [comparisons] of one family, each in [0, 1].

    Returns:
        float64 [comparisons], in the order given.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]

    Reference:
        Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6.
    """
    raw = np.asarray(p_values, np.float64)
    if not ((raw >= 0) & (raw <= 1)).all():
        raise UncollapseError(f"P-values must lie in [0, 1], got {raw.tolist()}. Leave out what was not tested.")
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty(len(raw))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)))
    return adjusted


def standard_error(differences: Floats, groups: Sequence[str]) -> float:
    """The standard error of the mean over items that come in independent groups; 0 where nothing varies.

    sqrt(sum_g r_g^2 / (n (n - 1))) / (mean size of a group), r_g the sum over group g of differences less their mean;
    for groups of one item the standard deviation over sqrt(n).

    Args:
        differences: [items].
        groups: name of each item's group.

    >>> standard_error(np.array([1.0, 3.0]), ["a", "b"])
    1.0
    """
    residuals = _group_sums(np.stack([differences - differences.mean(), np.ones(len(differences))], axis=1), groups)
    n, rounding = len(residuals), ROUNDING * float(abs(differences).max())
    if n < 2:
        return 0.0
    spread = math.sqrt(float((residuals[:, 0] ** 2).sum()) / (n - 1)) / float(residuals[:, 1].mean())
    return spread / math.sqrt(n) if spread > rounding else 0.0


def effect_size(differences: Floats, groups: Sequence[str]) -> float | None:
    """The mean difference in standard deviations of the differences (Cohen's d_z), over groups.

    mean / (sqrt(n) standard error). How to read it: 0.2 is small, 0.8 is large; unlike p it does not grow with n.

    Returns:
        None where the differences do not differ, or there are fewer than two groups.

    >>> effect_size(np.array([1.0, 3.0]), ["a", "b"])
    1.414...

    Reference:
        Cohen (1988), Statistical power analysis for the behavioral sciences, section 2.3.5.
    """
    error = standard_error(differences, groups)
    return float(differences.mean() / (math.sqrt(len(set(groups))) * error)) if error else None


def detectable(standard_error: float, *, n: int, level: float = 0.95, power: float = 0.8) -> float | None:
    """The smallest true difference that a test would most likely show.

    (t_{level} + t_{power}) standard errors, t of n - 1 degrees of freedom: 2.8 standard errors at large n. How to read
    it: where a difference was not significant, effects smaller than this are still possible.

    Args:
        standard_error: of the difference.
        n: how many independent groups it rests on.
        level: one minus the chance of a false alarm, two-sided.
        power: the chance of seeing it.

    Returns:
        None where nothing varies, or there are fewer than two groups.

    >>> detectable(0.01, n=10_000)
    0.0280...
    """
    if n < 2 or not standard_error > 0:
        return None
    return float(stdtrit(n - 1, np.array([(1 + level) / 2, power])).sum()) * standard_error


def numbered_groups(groups: Sequence[str]) -> tuple[list[str], npt.NDArray[np.intp]]:
    """The names of groups in order, so that the order of items changes no draw, and the number of each item's.

    >>> numbered_groups(["b", "a", "b"])
    (['a', 'b'], array([1, 0, 1]))
    """
    names = sorted(set(groups))
    place = {name: number for number, name in enumerate(names)}
    return names, np.array([place[name] for name in groups], np.intp)


def _group_sums(columns: Floats, groups: Sequence[str]) -> Floats:
    names, group = numbered_groups(groups)
    return sums_by_code(group, columns, n_codes=len(names))


def _relabellings(n_groups: int, resamples: int, *, seed: int) -> Iterator[Floats]:
    """Which groups change sides: all 2^n_groups ways where they are at most `resamples`, else that many random ones.

    Returns:
        Blocks [relabellings, groups] of 1 where a group changes sides and 0 where it stays.
    """
    block = max(1, HELD // max(n_groups, 1))
    if _are_all(n_groups, resamples):
        numbers = np.arange(2**n_groups)[:, None]
        for first in range(0, len(numbers), block):
            yield (numbers[first : first + block] >> np.arange(n_groups) & 1).astype(np.float64)
        return
    generator = np.random.default_rng(seed & 0xFFFFFFFFFFFFFFFF)
    for first in range(0, resamples, block):
        rows = min(block, resamples - first)
        packed = generator.integers(0, 256, (rows, -(-n_groups // 8)), np.uint8)
        yield np.unpackbits(packed, axis=1, count=n_groups).astype(np.float64)


def _p_values(
    observed: Floats, relabelled: Iterable[Floats], *, tolerance: Floats, n_groups: int, resamples: int
) -> Floats:
    """The share of statistics at least as far from zero as the observed one, which is never 0.

    # / 2^n_groups where all relabellings were taken, the observed among them; else (1 + #) / (1 + resamples).

    Args:
        observed: [comparisons].
        relabelled: blocks [relabellings, comparisons] from all of `_relabellings(n_groups, resamples)`.
        tolerance: [comparisons], what rounding may make of equal statistics.
        n_groups, resamples: as given to `_relabellings`.
    """
    if resamples < 1:
        raise UncollapseError(f"A randomisation test needs at least one resample, got {resamples}. 10,000 serve most.")
    counts = np.zeros(len(observed))
    for values in relabelled:
        counts += (abs(values) >= abs(observed) - tolerance).sum(axis=0)
    return counts / 2**n_groups if _are_all(n_groups, resamples) else (1 + counts) / (1 + resamples)


def _are_all(n_groups: int, resamples: int) -> bool:
    return n_groups < 64 and 2**n_groups <= resamples


def _moments(ranks: Floats, truth: Floats) -> Floats:
    return np.stack([ranks, ranks**2, ranks * truth])


def _correlation(sums: Floats, n: int, truth_square: float) -> Floats:
    """Pearson's, from the sums of x, x^2 and x y of each row, y with mean zero; 0 where x does not vary."""
    variance = sums[..., 1] - sums[..., 0] ** 2 / n
    scale = np.sqrt(np.maximum(variance, 0) * truth_square)
    return np.divide(sums[..., 2], scale, out=np.zeros_like(scale), where=scale > ROUNDING * truth_square)


def _check_finite(values: Floats, what: str) -> None:
    bad = np.flatnonzero(~np.isfinite(as_table(values)).all(axis=1))
    if len(bad):
        raise UncollapseError(
            f"{what} must be finite, but {len(bad)} of {len(values)} are NaN or infinite; the first is item "
            f"{bad[0]} (counted from 0). Score those items, or leave them out on both sides."
        )
