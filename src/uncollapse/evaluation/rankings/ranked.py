"""One ranking of a task as plain arrays: what was retrieved, what was judged, and how long every document is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.errors import UncollapseError
from uncollapse.records import FloatArray

CELLS = 1 << 20
"""Entries of the largest array that is held at once."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Judged:
    """What people said about which document for which query, and what became of it; one entry a judgement, any order.

    Args:
        query: int64 [judgements], number of the query.
        document: int64 [judgements], number of the document; no document is judged twice for one query.
        grade: int64 [judgements]; a document is relevant when its grade is above 0.
        rank: int64 [judgements], place in the whole ranking, 1 is best; 0 if it was not retrieved.
        score: float64 [judgements], what the ranking sorts by, larger is better; NaN if unknown.
    """

    query: Ints
    document: Ints
    grade: Ints
    rank: Ints
    score: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.query)


@dataclass(frozen=True, eq=False)
class Background:
    """Documents drawn at random for each query, whatever their rank, and their scores.

    Args:
        documents: int64 [queries, m], numbers of documents, best drawn by `draw_background`: anew for every query,
            because one sample for all would leave every interval blind to which documents were drawn.
        scores: floats [queries, m], comparable with those of the judged documents; NaN if unknown.
    """

    documents: Ints
    scores: FloatArray


@dataclass(frozen=True, eq=False)
class Ranked:
    """One task as one model, or one search engine, ranked it. Documents and queries are numbered from 0.

    Args:
        query_ids: one a query.
        groups: one a query; queries of one group are not independent and are resampled together.
        lengths: int64 [documents], tokens or words of every document of the corpus, before truncation.
        top: int64 [queries, width], document numbers, best first, filled up with -1; give the whole list that was
            retrieved, not only what a figure at 10 needs.
        judged: the judgements.
        background: random documents with scores; None where only what was retrieved has a score, as in a run file.
        top_scores: floats [queries, width], the scores of `top`, read only where there is no background.
        document_ids: one a document, by which they are resampled; None for their numbers.

    Raises:
        UncollapseError: arrays that contradict each other.
    """

    query_ids: tuple[str, ...]
    groups: tuple[str, ...]
    lengths: Ints
    top: Ints
    judged: Judged
    background: Background | None = None
    top_scores: FloatArray | None = None
    document_ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_numbers()
        self._check_top()
        self._check_judged()

    def __len__(self) -> int:
        return len(self.query_ids)

    @property
    def document_names(self) -> Sequence[str]:
        """What documents are resampled by."""
        return self.document_ids or [str(number) for number in range(len(self.lengths))]

    def _check_shapes(self) -> None:
        n, pairs, whole = len(self), len(self.judged), self.background
        drawn = whole.documents.shape if whole else (n, 0)
        wanted = {
            "groups": ((len(self.groups),), (n,)),
            "lengths": (self.lengths.shape, (self.lengths.size,)),
            "document_ids": ((len(self.document_names),), (self.lengths.size,)),
            "top": (self.top.shape, (n, *self.top.shape[1:2])),
            "top_scores": (self.top.shape if self.top_scores is None else self.top_scores.shape, self.top.shape),
            "background.documents": (drawn, (n, *drawn[1:2])),
            "background.scores": (whole.scores.shape if whole else drawn, drawn),
            **{
                f"judged.{name}": (getattr(self.judged, name).shape, (pairs,))
                for name in ("document", "grade", "rank", "score")
            },
        }
        wrong = {name: got for name, (got, right) in wanted.items() if got != right}
        if wrong or not n or not len(self.lengths) or self.top.ndim != 2:
            raise UncollapseError(
                "A ranking needs at least one query and one document, one group and one row of `top` a query, and one "
                f"rank, grade and score a judgement, got {n} queries, {len(self.lengths)} documents, {pairs} "
                f"judgements, `top` of shape {self.top.shape}, and shapes that do not fit: {wrong or 'none'}."
            )

    def _check_numbers(self) -> None:
        n, documents = len(self), len(self.lengths)
        drawn = self.background.documents if self.background else np.zeros(0, np.int64)
        bounds = {
            "lengths": (self.lengths, 0, None),
            "top": (self.top, -1, documents - 1),
            "judged.query": (self.judged.query, 0, n - 1),
            "judged.document": (self.judged.document, 0, documents - 1),
            "judged.rank": (self.judged.rank, 0, documents),
            "background.documents": (drawn, 0, documents - 1),
        }
        for name, (values, low, high) in bounds.items():
            if values.size and (values.min() < low or (high is not None and values.max() > high)):
                raise UncollapseError(
                    f"`{name}` must lie in [{low}, {'' if high is None else high}], got {values.min()} to "
                    f"{values.max()} ({n} queries, {documents} documents; numbers begin at 0)."
                )
        for name, scores in (
            ("judged.score", self.judged.score),
            ("background.scores", self.background.scores if self.background else None),
            ("top_scores", self.top_scores),
        ):
            if scores is not None and np.isinf(scores).any():
                raise UncollapseError(f"`{name}` holds infinity; a score is finite, or NaN where it is unknown.")

    def _check_top(self) -> None:
        gaps = (self.top[:, :-1] < 0) & (self.top[:, 1:] >= 0)
        self._refuse(
            np.any(gaps, axis=1), "has -1 before the end of its row of `top`", "Fill rows up at their end only."
        )
        twice = np.zeros(len(self), np.bool_)
        for rows in portions(len(self), self.top.shape[1]):
            inside = np.sort(self.top[rows], axis=1)
            twice[rows] = ((inside[:, 1:] == inside[:, :-1]) & (inside[:, 1:] >= 0)).any(axis=1)
        self._refuse(twice, "has one document twice in `top`", "Keep its best place only.")

    def _check_judged(self) -> None:
        judged = self.judged
        pairs = np.sort(judged.query * len(self.lengths) + judged.document)
        twice = np.zeros(len(self), np.bool_)
        twice[pairs[1:][pairs[1:] == pairs[:-1]] // len(self.lengths)] = True
        self._refuse(twice, "has two judgements of one document", "Keep one.")
        seen = np.where(judged.rank <= self.top.shape[1], judged.rank, 0)
        wrong = np.zeros(len(self), np.bool_)
        wrong[judged.query[find_ranks(self.top, judged.query, judged.document) != seen]] = True
        self._refuse(
            wrong, "has a judged document whose rank is not its place in `top`", "Take ranks from `find_ranks`."
        )

    def _refuse(self, wrong: npt.NDArray[np.bool_], what: str, cure: str) -> None:
        if wrong.any():
            first = self.query_ids[int(np.argmax(wrong))]
            raise UncollapseError(f"{int(wrong.sum())} of {len(self)} queries: query {first!r} {what}. {cure}")


def find_ranks(top: Ints, query: Ints, document: Ints) -> Ints:
    """The place of each judged document in the list of its query, 1 is best; 0 where it is not in the list.

    Args:
        top: [queries, width], as in `Ranked`.
        query, document: [judgements].

    >>> find_ranks(np.array([[4, 2, -1]]), np.array([0, 0]), np.array([2, 3])).tolist()
    [2, 0]
    """
    ranks = np.zeros(len(query), np.int64)
    for rows in portions(len(query), top.shape[1]):
        if top.shape[1]:
            hits = top[query[rows]] == document[rows, None]
            ranks[rows] = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)
    return ranks


def draw_background(queries: int, documents: int, *, size: int = 200, seed: int = 0) -> Ints:
    """Numbers of random documents for every query, the same whenever and for whichever model it is called.

    Each query takes `size` neighbours from one shuffled ring of all documents, starting at a random place: no document
    comes twice for a query, and all queries together cover the corpus evenly.

    Returns:
        int64 [queries, min(size, documents)].

    >>> draw_background(2, 5, size=9).shape
    (2, 5)
    """
    generator = np.random.default_rng(seed)
    ring = generator.permutation(documents)
    starts = generator.integers(documents, size=queries)
    return np.take(ring, starts[:, None] + np.arange(min(size, documents)), mode="wrap")


def portions(rows: int, width: int) -> Iterator[slice]:
    """Slices of all rows, each of at most CELLS entries where a row has `width` of them."""
    step = max(1, CELLS // max(1, width))
    return (slice(start, start + step) for start in range(0, rows, step))
