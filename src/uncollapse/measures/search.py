"""Exact search: the best documents of each query by inner product, block by block, ties broken the same way always."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.errors import UncollapseError
from uncollapse.resampling import sampling_order

BLOCK = 16_384
"""Documents scored at once."""

QUERIES = 1_024
"""Queries scored at once; with BLOCK it bounds the scores held, 64 MB."""

_CANDIDATES = 1 << 21  # scores looked through at once for candidates: about 100 MB if all of them are
_HELD = 1 << 22  # numbers of the vectors scored again at once: 32 MB

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Hits:
    """The best documents of each query.

    Args:
        documents: int64 [queries, k], numbers of the documents, best first; -1 where there are fewer than k.
        scores: float64 [queries, k], their inner products; NaN there.
    """

    documents: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]


def search(
    queries: Vectors,
    documents: Vectors,
    k: int,
    *,
    order: npt.NDArray[np.int64] | None = None,
    excluded: npt.NDArray[np.int64] | None = None,
    shuffle: npt.NDArray[np.uint64] | None = None,
    owners: npt.NDArray[np.int64] | None = None,
    block: int = BLOCK,
    advance: Callable[[float], None] = lambda _: None,
) -> Hits:
    """The k documents with the largest inner product with each query, exactly.

    A document may have several vectors; then the largest of its inner products is its score.

    Blocks of documents are scored in float32; what could be among the best, the rounding error of float32 allowed
    for, is scored again in float64, one pair at a time. So the ranking is that of the float64 scores and depends on no
    block size, thread or machine, and equal vectors have equal scores. Memory: two blocks of scores and
    some 200 MB at most, whatever the number of documents, which may be a memory map.

    Args:
        queries: float32 [queries, dim], finite; give unit vectors for cosine.
        documents: float32 [documents, dim], finite; [vectors, dim] where documents have several.
        k: how many of each query, at least 1.
        order: int [documents], a place for each document; of equal scores the one with the smaller place comes first.
            Its number, if not given.
        excluded: int [queries], a document that is no answer to the query, such as the query itself; -1 for none.
        shuffle: uint64 [queries], any number for each query, from which it draws an order of its own for documents of
            equal scores, so that over many queries none is favoured; then `order` only tells documents apart.
        owners: int64 [vectors], the number of the document of each vector, rising, with none left out; one vector a
            document, if not given.
        block: vectors scored at once; those of one document stay together.
        advance: called with the number of vectors of every block that is done, over all portions of queries.

    Raises:
        UncollapseError: k below 1, sizes that do not fit, or a score that is not finite.

    >>> hits = search(np.eye(2, dtype=np.float32), np.array([[0, 1], [1, 0], [0, 1]], np.float32), 2)
    >>> hits.documents.tolist()
    [[1, 0], [0, 2]]
    """
    _check(queries, documents, k)
    vectors = _Vectors(documents, None if owners is None else first_vectors(owners, len(documents)))
    places = np.arange(len(vectors)) if order is None else np.asarray(order)
    own = np.full(len(queries), -1) if excluded is None else np.asarray(excluded)
    portions = [slice(start, start + QUERIES) for start in range(0, len(queries), QUERIES)]
    found = [
        _search_portion(queries[some], vectors, k, _Line(places, shuffle, some), own[some], block, advance)
        for some in portions
    ]
    return Hits(np.concatenate([hits.documents for hits in found]), np.concatenate([hits.scores for hits in found]))


def _check(queries: Vectors, documents: Vectors, k: int) -> None:
    if k < 1:
        raise UncollapseError(f"A search returns at least one document a query, got k={k}.")
    if queries.ndim != 2 or documents.ndim != 2 or queries.shape[1] != documents.shape[1]:
        raise UncollapseError(
            f"Queries and documents need vectors of one length, got shapes {queries.shape} and {documents.shape}. "
            "Encode both with the same model."
        )
    if not len(queries) or not len(documents):
        raise UncollapseError(
            f"A search needs at least one query and one document, got {len(queries)} and {len(documents)}."
        )


def first_vectors(owners: npt.NDArray[np.int64], vectors: int) -> npt.NDArray[np.int64]:
    """Where the vectors of each document begin, and where they all end: int64 [documents + 1].

    Args:
        owners: int64 [vectors], rising, with no document left out.
        vectors: how many there are.

    Raises:
        UncollapseError: owners of another number, that fall, or leave a document out.

    >>> first_vectors(np.array([0, 0, 1]), 3).tolist()
    [0, 2, 3]
    """
    steps = np.diff(owners, prepend=-1)
    if len(owners) != vectors or not np.isin(steps, (0, 1)).all() or (vectors and steps[0] != 1):
        raise UncollapseError(
            f"Every one of {vectors} vectors needs the number of its document, from 0 on, rising and with none left "
            f"out; got {len(owners)} that begin with {owners[:5].tolist()}."
        )
    return np.append(np.flatnonzero(steps), vectors)


def best_of(scores: npt.NDArray[Any], firsts: npt.NDArray[np.int64], *, axis: int = 0) -> npt.NDArray[Any]:
    """The largest score of each document, along an axis of vectors.

    >>> best_of(np.array([1.0, 3.0, 2.0]), np.array([0, 2, 3])).tolist()
    [3.0, 2.0]
    """
    best: npt.NDArray[Any] = np.maximum.reduceat(scores, firsts[:-1], axis=axis)
    return best


@dataclass(frozen=True, eq=False)
class _Block:
    """Some documents.

    Args:
        vectors: theirs, float32 [vectors, dim].
        start: number of the first document.
        firsts: where the vectors of each begin, and the end; None for one each.
    """

    vectors: Vectors
    start: int
    firsts: npt.NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.vectors) if self.firsts is None else len(self.firsts) - 1

    def score(self, queries: Vectors) -> npt.NDArray[np.float32]:
        """Of each document with each query, in float32: [queries, documents]."""
        scores: npt.NDArray[np.float32] = queries @ self.vectors.T
        return scores if self.firsts is None else best_of(scores, self.firsts, axis=1)

    def score_exactly(
        self, queries: Vectors, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float64]:
        """Of some pairs of a query and a document of the block, in float64."""
        return score_pairs(queries, self.vectors, rows, columns, firsts=self.firsts)


@dataclass(frozen=True, eq=False)
class _Vectors:
    """The vectors of documents, and where those of each begin if there are several."""

    vectors: Vectors
    firsts: npt.NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.vectors) if self.firsts is None else len(self.firsts) - 1

    def blocks(self, size: int) -> Iterator[_Block]:
        """Of about `size` vectors, those of a document together."""
        start = 0
        while start < len(self):
            if self.firsts is None:
                stop = min(start + size, len(self))
                yield _Block(np.asarray(self.vectors[start:stop], np.float32), start, None)
            else:
                fits = int(np.searchsorted(self.firsts, self.firsts[start] + size, side="right")) - 1
                stop = max(start + 1, fits)
                firsts = self.firsts[start : stop + 1]
                portion = np.asarray(self.vectors[firsts[0] : firsts[-1]], np.float32)
                yield _Block(portion, start, firsts - firsts[0])
            start = stop


@dataclass(frozen=True, eq=False)
class _Line:
    """Which of equal scores comes first, for some of the queries."""

    order: npt.NDArray[np.int64]
    shuffle: npt.NDArray[np.uint64] | None
    queries: slice

    def places(
        self, rows: npt.NDArray[np.int64], documents: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64] | npt.NDArray[np.uint64]:
        """The place of each document for the query of its row."""
        if self.shuffle is None:
            return self.order[documents]
        return sampling_order(self.order[documents].astype(np.uint64) ^ self.shuffle[self.queries][rows])


def _search_portion(
    queries: Vectors,
    documents: _Vectors,
    k: int,
    line: _Line,
    excluded: npt.NDArray[np.int64],
    block: int,
    advance: Callable[[float], None],
) -> Hits:
    best = _Best(len(queries), min(k, len(documents)))
    norms = np.linalg.norm(queries.astype(np.float64), axis=1)
    for some in documents.blocks(block):
        scores = some.score(queries)
        longest = float(np.sqrt(np.einsum("ij,ij->i", some.vectors, some.vectors, dtype=np.float64).max()))
        _check_finite(scores, norms * longest, some.start)
        slack = queries.shape[1] * np.finfo(np.float32).eps * norms * longest
        _leave_out(scores, excluded - some.start)
        few = max(1, _CANDIDATES // len(some))  # where all documents are alike, all are candidates of every query
        for first in range(0, len(queries), few):
            rows, columns = best.could_enter(scores[first : first + few], slack[first : first + few], first)
            best.enter(rows, columns + some.start, some.score_exactly(queries, rows, columns), line)
        advance(len(some.vectors))
    return best.hits(k)


def score_pairs(
    queries: Vectors,
    documents: Vectors,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    *,
    firsts: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.float64]:
    """Scores of some pairs in float64, a bounded number at a time: float64 [pairs].

    Args:
        queries: float32 [queries, dim].
        documents: float32 [documents, dim], or [vectors, dim].
        rows, columns: number of the query and of the document of each pair, int64 [pairs].
        firsts: where documents have several vectors, from `first_vectors`: the score is the largest inner product.
    """
    if firsts is not None:
        counts = np.diff(firsts)[columns]
        ends = np.cumsum(counts)
        within = np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)
        each = score_pairs(queries, documents, np.repeat(rows, counts), np.repeat(firsts[columns], counts) + within)
        return best_of(each, np.concatenate([[0], ends])) if len(rows) else each
    scores, step = np.empty(len(rows)), max(1, _HELD // queries.shape[1])
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        scores[some] = np.einsum("ij,ij->i", queries[rows[some]], documents[columns[some]], dtype=np.float64)
    return scores


def _check_finite(scores: npt.NDArray[np.float32], largest: npt.NDArray[np.float64], start: int) -> None:
    """The largest score of a row is NaN where any is, and no score can overflow below a product of norms that fits."""
    if np.isfinite(scores.max(axis=1)).all() and largest.max() < np.finfo(np.float32).max:
        return
    bad = np.argwhere(~np.isfinite(scores))
    where = f"query {bad[0][0]} and document {start + bad[0][1]}" if len(bad) else f"documents from {start} on"
    raise UncollapseError(
        f"Scores must be finite numbers, got others for {where}. Check the vectors for NaN and infinity, and that "
        "inner products of them fit float32."
    )


def _leave_out(scores: npt.NDArray[np.float32], columns: npt.NDArray[np.int64]) -> None:
    rows = np.flatnonzero((columns >= 0) & (columns < scores.shape[1]))
    scores[rows, columns[rows]] = -np.inf


class _Best:
    """The best documents so far of each query, in order."""

    def __init__(self, queries: int, k: int) -> None:
        self.documents = np.full((queries, k), -1, dtype=np.int64)
        self.scores = np.full((queries, k), -np.inf)

    def could_enter(
        self, scores: npt.NDArray[np.float32], slack: npt.NDArray[np.float64], first: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Rows and columns of scores that may be among the best k, judged by float32 scores and their error bound.

        `scores` and `slack` are those of consecutive rows, `first` the number of the first.
        """
        floor = self.scores[first : first + len(scores), -1]
        k = self.scores.shape[1]
        if scores.shape[1] > k and not np.isfinite(floor).all():
            own = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k]
            floor = np.maximum(floor, own - slack)
        lowest = np.nextafter((floor - slack).astype(np.float32), np.float32(-np.inf))
        lowest = np.maximum(lowest, np.finfo(np.float32).min)  # what is left out has a score of minus infinity
        places = np.flatnonzero(scores >= lowest[:, None])
        return first + places // scores.shape[1], places % scores.shape[1]

    def enter(
        self,
        rows: npt.NDArray[np.int64],
        documents: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float64],
        line: _Line,
    ) -> None:
        """Merge candidates, and keep the best k of every row: largest score first, then smallest place."""
        if not len(rows):
            return
        touched = np.unique(rows)
        kept = self.documents[touched]
        known = kept >= 0
        all_rows = np.concatenate([np.repeat(touched, known.sum(axis=1)), rows])
        all_documents = np.concatenate([kept[known], documents])
        all_scores = np.concatenate([self.scores[touched][known], scores])
        sorting = np.lexsort((line.places(all_rows, all_documents), -all_scores, all_rows))
        all_rows, all_documents, all_scores = all_rows[sorting], all_documents[sorting], all_scores[sorting]
        rank = np.arange(len(all_rows)) - np.searchsorted(all_rows, all_rows)
        best = rank < self.scores.shape[1]
        self.documents[all_rows[best], rank[best]] = all_documents[best]
        self.scores[all_rows[best], rank[best]] = all_scores[best]

    def hits(self, k: int) -> Hits:
        missing = k - self.scores.shape[1]
        documents = np.pad(self.documents, ((0, 0), (0, missing)), constant_values=-1)
        scores = np.pad(self.scores, ((0, 0), (0, missing)), constant_values=-np.inf)
        return Hits(documents, np.where(documents >= 0, scores, np.nan))
