"""Scores of queries with documents that are not theirs, and their figures with intervals over both sides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from uncollapse.measures import MINIMUM, unit
from uncollapse.records import FloatArray, IntArray
from uncollapse.resampling import Estimate, Keys, document_keys, poisson_weights
from uncollapse.reservoir import Kept

REACH = 4
"""How many times the share a threshold is asked for the ranked top must hold, so that resamples find theirs in it."""

_ROUNDING = 1e-12

Draws = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Side:
    """The queries of a set of pairs, or its documents.

    Args:
        vectors: float32 [texts, dim], of length 1.
        keys: uint64 [texts], of the document each text is, or is a query for.
        n_tokens: int64 [texts].
        draws: int32 [replicates, texts], how often each text's document is drawn.
    """

    vectors: npt.NDArray[np.float32]
    keys: Keys
    n_tokens: npt.NDArray[np.int64]
    draws: Draws

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, places: IntArray) -> "Side":
        """Some of the texts."""
        return Side(self.vectors[places], self.keys[places], self.n_tokens[places], self.draws[:, places])


def make_side(texts: Sequence[Kept], *, replicates: int, seed: int) -> Side:
    """Texts with their draws; every text must have a vector."""
    keys = document_keys([text.id for text in texts])
    draws = poisson_weights(keys, replicates, seed=seed).T.astype(np.int32)
    vectors = unit(np.stack([text.vector for text in texts if text.vector is not None]))
    return Side(vectors, keys, np.array([text.n_tokens for text in texts], np.int64), np.ascontiguousarray(draws))


@dataclass(frozen=True, eq=False)
class Pairs:
    """Every query with every document but its own.

    Args:
        queries, documents: both sides, of equally many replicates; at most 30 million pairs, or counts would overflow.
        scores: float32 [queries, documents], cosines.
        own: bool [queries, documents], whether the query is the document's own; such a pair is none.
    """

    queries: Side
    documents: Side
    scores: npt.NDArray[np.float32]
    own: npt.NDArray[np.bool_]

    def take(self, queries: IntArray, documents: IntArray) -> "Pairs":
        """The pairs of some queries with some documents."""
        grid = np.ix_(queries, documents)
        return Pairs(self.queries.take(queries), self.documents.take(documents), self.scores[grid], self.own[grid])

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return self.own.size - int(self.own.sum())

    @property
    def n(self) -> int:
        """How many documents the pairs rest on: those of the side that has fewer."""
        return min(len(np.unique(self.queries.keys)), len(np.unique(self.documents.keys)))

    def drawn(self) -> npt.NDArray[np.int64]:
        """How many pairs each replicate holds: int64 [replicates]."""
        queries, documents = (side.draws.astype(np.int64) for side in (self.queries, self.documents))
        rows, columns = np.nonzero(self.own)
        own = np.einsum("ij,ij->i", queries[:, rows], documents[:, columns])
        return np.asarray(queries.sum(axis=1) * documents.sum(axis=1) - own)


def make_pairs(queries: Side, documents: Side) -> Pairs:
    """All scores of two sides."""
    scores = np.clip(queries.vectors @ documents.vectors.T, -1, 1)
    return Pairs(queries, documents, scores, queries.keys[:, None] == documents.keys[None, :])


def mean_and_spread(pairs: Pairs) -> tuple[Estimate, Estimate]:
    """Mean and standard deviation of the scores.

    The weight of a pair in a replicate is how often its query is drawn times how often its document is: the product
    bootstrap for data with two sides. Its intervals are never too narrow for means, and up to 1.7 times too wide
    where no text has scores of its own, as with isotropic vectors.

    Reference:
        Owen and Eckles (2012), Bootstrapping data arrays of arbitrary order, Annals of Applied Statistics 6.
    """
    scores = np.where(pairs.own, 0.0, pairs.scores.astype(np.float64))
    powers = (scores, scores**2)
    first, second = (_mean(pairs, power) for power in powers)
    spread = np.sqrt(np.maximum(second[1] - first[1] ** 2, 0))
    middle = first[0], float(np.sqrt(max(second[0] - first[0] ** 2, 0)))
    return estimate(middle[0], first[1], n=pairs.n), estimate(middle[1], spread, n=pairs.n)


def _mean(pairs: Pairs, values: Floats) -> tuple[float, Floats]:
    queries, documents = (side.draws.astype(np.float64) for side in (pairs.queries, pairs.documents))
    sums = np.einsum("ij,ij->i", queries @ values, documents)
    return float(values.sum() / pairs.count), _quotients(sums, pairs.drawn())


def estimate(value: float, replicates: FloatArray, *, n: int) -> Estimate:
    """A number with the interval of its replicates, none where it rests on too few documents."""
    found = Estimate.of(value, replicates, n=n)
    if n >= MINIMUM:
        return found
    return replace(found, low=None, high=None).noted(f"no interval: only {n} documents, fewer than {MINIMUM}")


def thresholds(pairs: Pairs, rates: Sequence[float]) -> tuple[Estimate, ...]:
    """The score that only so many of the pairs exceed, for each rate.

    The least s such that the share of pairs with a score above s is at most the rate: the upper quantile by the
    inverted distribution function.

    Args:
        pairs: at least one.
        rates: between 0 and 1.

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
        >>> side = make_side([Kept(str(i), "", 9, row) for i, row in enumerate(rows)], replicates=64, seed=0)
        >>> pairs = make_pairs(side, side)
        >>> (tenth,) = thresholds(pairs, [0.1])
        >>> round(float((pairs.scores[~pairs.own] > tenth.value).mean()), 3)
        0.1
    """
    top, drawn = Ranking.of(pairs, min(1.0, REACH * max(rates))), pairs.drawn()
    found = _read_all(top, drawn, rates)
    if not np.isfinite(found[:, drawn > 0]).all():  # a resample whose weight lies below the top
        found = _read_all(Ranking.of(pairs, 1.0), drawn, rates)
    values = top.exceeded_by(rates, np.arange(1, len(top.scores) + 1), pairs.count)
    return tuple(estimate(value, replicates, n=pairs.n) for value, replicates in zip(values, found, strict=True))


def _read_all(ranking: "Ranking", drawn: npt.NDArray[np.int64], rates: Sequence[float]) -> Floats:
    read = zip(ranking.replicates(), drawn, strict=True)
    return np.array([ranking.exceeded_by(rates, weights, total) for weights, total in read]).T


@dataclass(frozen=True, eq=False)
class Reading:
    """What one walk over all pairs of a cell finds.

    Args:
        quantiles: the score that a given share of pairs exceeds, for each share asked for.
        above: for each threshold, how many pairs exceed it, and how many do in each replicate: int64 [replicates].
        count: pairs.
        drawn: pairs of each replicate, int64 [replicates].
    """

    quantiles: tuple[Estimate, ...]
    above: tuple[tuple[int, npt.NDArray[np.int64]], ...]
    count: int
    drawn: npt.NDArray[np.int64]


def read(pairs: Pairs, shares: Sequence[float], cutoffs: Sequence[Estimate]) -> Reading:
    """Quantiles of a cell's scores, and how many of them exceed each threshold.

    A replicate counts against the threshold of the same replicate, so the counts know how unsure the threshold is.

    Args:
        pairs: at least one.
        shares: of the quantiles, counted from the highest score.
        cutoffs: with replicates of the same draws.
    """
    ranking, drawn = Ranking.of(pairs, 1.0), pairs.drawn()
    marks = np.array([cutoff.replicates for cutoff in cutoffs]).reshape(len(cutoffs), len(drawn)).T
    quantiles = np.empty((len(drawn), len(shares)))
    above = np.empty((len(drawn), len(cutoffs)), np.int64)
    for i, weights in enumerate(ranking.replicates()):
        quantiles[i] = ranking.exceeded_by(shares, weights, int(drawn[i]))
        above[i] = ranking.weight_above(marks[i], weights)
    ones = np.arange(1, pairs.count + 1)
    values = ranking.exceeded_by(shares, ones, pairs.count)
    counts = ranking.weight_above(np.array([cutoff.value for cutoff in cutoffs]), ones)
    return Reading(
        tuple(estimate(value, column, n=pairs.n) for value, column in zip(values, quantiles.T, strict=True)),
        tuple((int(count), column) for count, column in zip(counts, above.T, strict=True)),
        pairs.count,
        drawn,
    )


@dataclass(frozen=True, eq=False)
class Ranking:
    """Pairs from the highest score down.

    Args:
        pairs: all of them.
        scores: float32 [ranked], falling.
        places: query and document of each, intp [ranked] both.
    """

    pairs: Pairs
    scores: npt.NDArray[np.float32]
    places: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]

    @classmethod
    def of(cls, pairs: Pairs, share: float) -> "Ranking":
        """The given share of the pairs, those of the highest scores."""
        flat = np.flatnonzero(~pairs.own)
        scores = pairs.scores.ravel()[flat]
        kept = min(len(flat), int(np.ceil(share * len(flat))) + 1)
        if kept < len(flat):
            top = np.argpartition(scores, len(flat) - kept)[-kept:]
            flat, scores = flat[top], scores[top]
        order = np.argsort(-scores, kind="stable")
        rows, columns = np.unravel_index(flat[order], pairs.own.shape)
        return cls(pairs, scores[order], (rows, columns))

    def replicates(self) -> Iterator[npt.NDArray[np.int32]]:
        """For each replicate, how many pairs are drawn down to each place: int32 [ranked]."""
        rows, columns = self.places
        for queries, documents in zip(self.pairs.queries.draws, self.pairs.documents.draws, strict=True):
            yield np.cumsum(queries[rows] * documents[columns], dtype=np.int32)

    def exceeded_by(self, shares: Sequence[float], down_to: IntArray, total: int) -> Floats:
        """The score that each share of `total` exceeds; NaN where it is not among the ranked."""
        allowed = np.asarray(shares) * total * (1 + _ROUNDING)
        places = np.searchsorted(down_to, allowed, side="right")
        inside = places < len(down_to)
        return np.where(inside, self.scores[np.minimum(places, len(down_to) - 1)], np.nan)

    def weight_above(self, cutoffs: Floats, down_to: IntArray) -> IntArray:
        """How much weight lies strictly above each threshold."""
        places = np.searchsorted(-self.scores, -cutoffs.astype(np.float32), side="left")
        return np.where(places > 0, down_to[np.maximum(places, 1) - 1], 0)


def share_above(readings: Sequence[Reading], cutoff: int, *, n: int) -> Estimate:
    """The share of pairs, of one cell or of several together, that exceed a threshold.

    Where no pair does, or every one, all resamples say the same and a bootstrap would claim certainty. The interval
    is then Wilson's for n pairs without a document in common.

    Args:
        readings: of the cells.
        cutoff: which of the thresholds they were read with, counted from 0.
        n: documents that the pairs rest on.
    """
    counts, columns = zip(*(reading.above[cutoff] for reading in readings), strict=True)
    count, total = sum(counts), sum(reading.count for reading in readings)
    drawn = np.sum([reading.drawn for reading in readings], axis=0)
    found = estimate(count / total, _quotients(np.sum(columns, axis=0), drawn), n=n)
    if 0 < count < total or found.low is None:
        return found
    possible = Estimate.of_share(n if count else 0, n)
    return replace(found, low=possible.low, high=possible.high).noted(
        f"{'every' if count else 'no'} pair exceeds the threshold; the interval allows for what {n} pairs without a "
        "document in common could not show"
    )


def _quotients(top: FloatArray | IntArray, bottom: IntArray) -> Floats:
    return np.asarray(np.divide(top, bottom, out=np.full(len(bottom), np.nan), where=bottom > 0))
