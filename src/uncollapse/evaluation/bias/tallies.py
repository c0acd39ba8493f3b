"""What each query contributes to the figures of length bias: sums that add up over queries, so that a bootstrap of
queries is a weighted sum."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.evaluation.rankings.ranked import Ints, Ranked, portions
from uncollapse.records import FloatArray, LengthBins
from uncollapse.resampling import sampling_order

MOST_PAIRS = 30_000_000
"""Pairs of judged documents looked at; of more, a random part."""

Floats = npt.NDArray[np.float64]


def over(top: npt.NDArray[Any], bottom: npt.NDArray[Any]) -> Floats:
    """top / bottom, NaN where bottom is 0."""
    quotients: Floats = np.full(np.shape(top), np.nan)
    np.divide(top, bottom, out=quotients, where=bottom != 0)
    return quotients


def mean(totals: Floats) -> Floats:
    """First column over last."""
    return over(totals[..., 0], totals[..., -1])


@dataclass(frozen=True, eq=False)
class Tally:
    """One figure as sums over queries.

    Args:
        columns: float64 [queries, c]; the last one is above 0 where the query contributes.
        otherwise: the sentence to print where no query contributes, or the figure is undefined.
        finish: totals [..., c] to figure [...].
        note: what a reader must know.
        squared: whether `finish` gives a root, whose square is the figure.
        drawn: float64 [replicates, c], resampled totals where not only queries are resampled; None where they are.
        most: how many items it rests on at most, where those are not only queries.
    """

    columns: Floats
    otherwise: str
    finish: Callable[[Floats], Floats] = mean
    note: str = ""
    squared: bool = False
    drawn: Floats | None = None
    most: int | None = None


def average(values: FloatArray, otherwise: str, *, note: str = "") -> Tally:
    """The mean over the queries that have a value; NaN means that a query has none."""
    known = np.isfinite(values)
    return Tally(np.stack([np.where(known, values, 0.0), known.astype(float)], axis=1), otherwise, note=note)


# --- lengths of what is at the top and of what is relevant


@dataclass(frozen=True, eq=False)
class Profile:
    """Mean over documents, for each query, of what is known about their lengths.

    Columns: log2 length, in the shortest quarter, in the longest quarter, then in each length bin. NaN where a query
    has no document of that kind.

    Args:
        at_k: float64 [queries, columns], of the first k documents.
        at_r: of as many of the first documents as are relevant.
        relevant: of the relevant documents.
        cut_short: queries with fewer than k documents.
    """

    at_k: Floats
    at_r: Floats
    relevant: Floats
    cut_short: int


def profile(ranked: Ranked, bins: LengthBins, k: int) -> Profile:
    """Count what lengths the top and the relevant documents of each query have."""
    member = np.eye(len(bins))[bins.assign(ranked.lengths)]
    quarters = [tail(ranked.lengths), tail(-ranked.lengths)]
    values = np.column_stack([log2(ranked.lengths), *quarters, member])
    judged, n = ranked.judged, len(ranked)
    chosen = judged.grade > 0
    query, document = judged.query[chosen], judged.document[chosen]
    counts = np.bincount(query, minlength=n)
    sums = np.column_stack([np.bincount(query, column[document], minlength=n) for column in values.T])
    found = (ranked.top[:, :k] >= 0).sum(axis=1)
    return Profile(
        at_k=_top_means(ranked.top, np.full(n, k), values),
        at_r=_top_means(ranked.top, counts, values),
        relevant=over(sums, np.broadcast_to(counts[:, None], sums.shape)),
        cut_short=int((found < min(k, len(ranked.lengths))).sum()),
    )


def _top_means(top: Ints, cuts: Ints, values: Floats) -> Floats:
    width = min(top.shape[1], int(cuts.max()))
    means = np.empty((len(top), values.shape[1]))
    for rows in portions(len(top), width * values.shape[1]):
        part = top[rows, :width]
        inside = ((part >= 0) & (np.arange(width) < cuts[rows, None])).astype(float)
        sums = np.einsum("qk,qkc->qc", inside, values[part])
        means[rows] = over(sums, np.broadcast_to(inside.sum(axis=1)[:, None], sums.shape))
    return means


def tail(values: Ints, share: float = 0.25) -> Floats:
    """How much of each document belongs to the smallest `share` of all.

    1 below the border, 0 above it; documents that tie at the border share what is left, so that all add up to
    share * n.

    >>> tail(np.array([1, 2, 2, 3, 3, 3, 3, 3])).tolist()
    [1.0, 0.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    return np.clip((share * len(values) - below) / counts, 0.0, 1.0)[place]


def log2(lengths: Ints) -> Floats:
    """log2 of the length; an empty document counts as one token."""
    return np.log2(np.maximum(lengths, 1))


# --- pairs of judged documents


@dataclass(frozen=True, eq=False)
class Pairs:
    """How often which of two judged documents is ranked above the other.

    Kinds: 0 same grade; 1 the worse one is shorter; 2 the worse one is longer. For kind 0 and 1 a win is that of the
    shorter, for kind 2 that of the longer: a win of kind 1 or 2 is an error.

    Args:
        wins, counts: float64 [queries, 3].
        unknown: [3], pairs left out because neither was retrieved.
        share: of all pairs that were looked at.
    """

    wins: Floats
    counts: Floats
    unknown: Ints
    share: float


def count_pairs(ranked: Ranked, *, most: int = MOST_PAIRS) -> Pairs:
    """Compare judged documents of one query whose lengths differ by at least a tenth.

    Each is compared with the one after it, the second after it, and so on, in a random order, all queries at once:
    memory is that of the judgements, and stopping early leaves a random part of the pairs.
    """
    judged, n = ranked.judged, len(ranked)
    order = np.lexsort((sampling_order(judged.document.astype(np.uint64)), judged.query))
    query = judged.query[order]
    last = np.searchsorted(query, query, side="right") - 1
    fields = _Fields(
        query, judged.grade[order], np.maximum(ranked.lengths[judged.document[order]], 1), *_standings(ranked, order)
    )
    wins, counts, unknown = np.zeros(3 * n), np.zeros(3 * n), np.zeros(3, np.int64)
    size = np.bincount(query, minlength=n)
    every, seen, step = int((size * (size - 1) // 2).sum()), 0, 0
    first = np.arange(len(query))
    while len(first := first[first + (step := step + 1) <= last[first]]) and (seen == 0 or seen + len(first) <= most):
        seen += len(first)
        for rows in portions(len(first), 1):
            cell, won, lost_sight = _compare(fields, first[rows], first[rows] + step)
            wins += np.bincount(cell, won, minlength=3 * n)
            counts += np.bincount(cell, minlength=3 * n)
            unknown += lost_sight
    return Pairs(wins.reshape(n, 3), counts.reshape(n, 3), unknown, seen / every if every else 1.0)


@dataclass(frozen=True, eq=False)
class _Fields:
    query: Ints
    grade: Ints
    length: Ints
    standing: Ints
    retrieved: npt.NDArray[np.bool_]
    scored: npt.NDArray[np.bool_]


def _standings(ranked: Ranked, order: Ints) -> tuple[Ints, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """A number that is larger for what is ranked higher and equal for equal scores: retrieved first, then score."""
    rank, score = ranked.judged.rank[order], ranked.judged.score[order]
    retrieved, scored = rank > 0, ~np.isnan(score)
    if not scored[retrieved].all():
        score = np.where(retrieved, -rank, score)
    score = np.where(np.isnan(score), -np.inf, score)
    up = np.lexsort((score, retrieved))
    rises = (score[up][1:] != score[up][:-1]) | (retrieved[up][1:] != retrieved[up][:-1])
    standing = np.zeros(len(order), np.int64)
    standing[up[1:]] = np.cumsum(rises)
    return standing, retrieved, scored


def _compare(f: _Fields, a: Ints, b: Ints) -> tuple[Ints, Floats, Ints]:
    apart = 10 * np.abs(f.length[a] - f.length[b]) >= np.minimum(f.length[a], f.length[b])
    a, b = a[apart], b[apart]
    a_shorter, gap = f.length[a] < f.length[b], np.sign(f.grade[a] - f.grade[b])
    shorter_worse = (gap < 0) == a_shorter
    kind = np.where(gap == 0, 0, np.where(shorter_worse, 1, 2))
    above = (np.sign(f.standing[a] - f.standing[b]) + 1) / 2
    won = np.where(a_shorter == (kind < 2), above, 1 - above)
    known = f.retrieved[a] | f.retrieved[b] | (f.scored[a] & f.scored[b])
    lost_sight = np.bincount(kind[~known], minlength=3)
    return 3 * f.query[a[known]] + kind[known], won[known], lost_sight


# --- what stands above a relevant document


def shorter_above(ranked: Ranked, k: int) -> tuple[Floats, Floats]:
    """For each relevant document: among the non-relevant ones above it in the top k, the share shorter than it, less
    the share of all non-relevant documents that is shorter; equal lengths count half.

    Returns:
        Sums over the relevant documents of each query that have such documents above them, and their numbers,
        float64 [queries] each.
    """
    judged, n = ranked.judged, len(ranked)
    relevant = np.flatnonzero(judged.grade > 0)
    query, rank = judged.query[relevant], judged.rank[relevant]
    top = ranked.top[:, :k]
    other = top >= 0
    high = (rank > 0) & (rank <= top.shape[1])
    other[query[high], rank[high] - 1] = False
    expected = _share_shorter(ranked, relevant)
    sums, counts = np.zeros(n), np.zeros(n)
    for rows in portions(len(relevant), top.shape[1]):
        q, place = query[rows], rank[rows]
        above = other[q] & (np.arange(top.shape[1]) < np.where(place > 0, place - 1, k)[:, None])
        own = ranked.lengths[judged.document[relevant[rows]], None]
        lengths = ranked.lengths[top[q]]
        shorter = (((lengths < own) + 0.5 * (lengths == own)) * above).sum(axis=1)
        excess = over(shorter, above.sum(axis=1)) - expected[rows]
        some = np.isfinite(excess)
        sums += np.bincount(q[some], excess[some], minlength=n)
        counts += np.bincount(q[some], minlength=n)
    return sums, counts


def _share_shorter(ranked: Ranked, relevant: Ints) -> Floats:
    """Of the documents not relevant for its query, the share that is shorter than each relevant document."""
    known, code = np.unique(ranked.lengths, return_inverse=True)
    place = code[ranked.judged.document[relevant]]
    query = ranked.judged.query[relevant]
    keys = query * len(known) + place
    in_corpus = _middle(np.sort(code), place)
    among_relevant = _middle(np.sort(keys), keys) - np.searchsorted(np.sort(query), query)
    return over(in_corpus - among_relevant, len(code) - np.bincount(query, minlength=1)[query])


def _middle(ordered: Ints, values: Ints) -> Floats:
    return (np.searchsorted(ordered, values) + np.searchsorted(ordered, values, side="right")) / 2
