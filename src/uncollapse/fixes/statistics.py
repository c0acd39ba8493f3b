"""What fixes are fitted on: sums over unlabelled vectors by role and length, which stream and merge."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from uncollapse.errors import FixError
from uncollapse.fixes.maps import Curve, VectorMap

Floats = npt.NDArray[np.float64]

FEWEST = 20
"""Vectors that a mean needs at least."""

_ROWS = 8192
"""Vectors that are summed at once, in float64: a copy of all would take twice their memory again."""


class Group(StrEnum):
    """Which vectors a sum is over."""

    DOCUMENTS = "documents"
    QUERIES = "queries"
    WINDOWS = "windows"


_MORE = {
    Group.DOCUMENTS: "more documents",
    Group.QUERIES: "queries, or more documents with sentences of 5 to 40 words or of 32 words in all",
    Group.WINDOWS: "more documents, or longer ones",
}


@dataclass(eq=False)
class Bin:
    """Texts of about one length.

    Attributes:
        total: sum of their vectors, float64 [dim].
        count: texts.
        log_tokens: sum of the logarithms of their token counts.
    """

    total: Floats
    count: int = 0
    log_tokens: float = 0.0

    @property
    def mean(self) -> Floats:
        """Mean vector: float64 [dim]."""
        return self.total / self.count

    @property
    def tokens(self) -> float:
        """Geometric mean of the token counts."""
        return float(np.exp(self.log_tokens / self.count))


@dataclass(eq=False)
class Sums:
    """Sums over one group of vectors: second moments, and means by length.

    Bins are half octaves of the token count, so that sums of any split of a stream add up to those of the whole.

    Args:
        dim: length of the vectors.

    >>> sums = Sums(2)
    >>> sums.update(np.eye(2), np.array([4, 100]))
    >>> sums.count, sums.mean.tolist(), len(sums.bins)
    (2, [0.5, 0.5], 2)
    """

    dim: int
    outer: Floats = field(init=False)
    bins: dict[int, Bin] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.outer = np.zeros((self.dim, self.dim))

    @property
    def count(self) -> int:
        """Vectors so far."""
        return sum(one.count for one in self.bins.values())

    @property
    def mean(self) -> Floats:
        """Mean vector: float64 [dim]."""
        total: Floats = np.sum([one.total for one in self.bins.values()], axis=0)
        return total / self.count

    @property
    def second_moment(self) -> Floats:
        """Mean of the outer products, around zero: float64 [dim, dim]."""
        return self.outer / self.count

    @property
    def covariance(self) -> Floats:
        """Around the mean of all: float64 [dim, dim]."""
        return self.second_moment - np.outer(self.mean, self.mean)

    @property
    def covariance_at_length(self) -> Floats:
        """Around the mean of each text's length bin, so that a drift of the mean with length is no part of it.

        Divided by all texts less one a bin, so that few texts a bin do not make it too small.
        """
        drift = np.stack([one.total / np.sqrt(one.count) for one in self.bins.values()])
        around: Floats = self.outer - drift.T @ drift
        return around / max(1, self.count - len(self.bins))

    def update(self, vectors: npt.NDArray[np.floating], n_tokens: npt.NDArray[np.int64]) -> None:
        """Add vectors.

        Args:
            vectors: [texts, dim], finite.
            n_tokens: int64 [texts], at least 1.

        Raises:
            FixError: another dimension, or a value that is not finite.
        """
        _check(vectors, n_tokens, self.dim)
        for start in range(0, len(vectors), _ROWS):
            rows = slice(start, start + _ROWS)
            self._add(vectors[rows].astype(np.float64), n_tokens[rows])

    def _add(self, exact: Floats, n_tokens: npt.NDArray[np.int64]) -> None:
        self.outer += exact.T @ exact
        numbers, place = np.unique(length_bins(n_tokens), return_inverse=True)
        member = np.zeros((len(numbers), len(exact)))  # a product of matrices sums every bin in one pass
        member[place, np.arange(len(exact))] = 1
        totals, logs = member @ exact, member @ np.log(np.maximum(n_tokens, 1))
        counts = np.bincount(place, minlength=len(numbers))
        for row, number in enumerate(numbers.tolist()):
            one = self.bins.setdefault(number, Bin(np.zeros(self.dim)))
            one.count += int(counts[row])
            one.total += totals[row]
            one.log_tokens += float(logs[row])

    def merge(self, other: "Sums") -> "Sums":
        """The sums of both parts together; neither is changed."""
        merged = Sums(self.dim)
        for part in (self, other):
            if part.dim != self.dim:
                raise FixError(f"Expected vectors of {self.dim} dimensions, got {part.dim}. They are of two models.")
            merged.outer += part.outer
            for number, one in part.bins.items():
                into = merged.bins.setdefault(number, Bin(np.zeros(self.dim)))
                into.count += one.count
                into.total += one.total
                into.log_tokens += one.log_tokens
        return merged

    def mapped(self, matrix: Floats, curve: Curve) -> "Sums":
        """The sums of matrix (x - curve at the length of x), the length taken as that of the bin.

        Args:
            matrix: float64 [dim out, dim].
            curve: what is subtracted.
        """
        made, outer = Sums(len(matrix)), self.outer.copy()
        for number, one in self.bins.items():
            mean = curve.at(np.array([one.tokens]))[0]
            cross = np.outer(one.total, mean)
            outer += one.count * np.outer(mean, mean) - cross - cross.T
            made.bins[number] = Bin(matrix @ (one.total - one.count * mean), one.count, one.log_tokens)
        made.outer = matrix @ outer @ matrix.T
        return made


def length_bins(n_tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Half octaves of token counts.

    >>> length_bins(np.array([1, 8, 11, 16])).tolist()
    [0, 6, 7, 8]
    """
    halves: npt.NDArray[np.float64] = np.rint(2 * np.log2(np.maximum(n_tokens, 1)))
    return halves.astype(np.int64)


def _check(vectors: npt.NDArray[np.floating], n_tokens: npt.NDArray[np.int64], dim: int) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise FixError(f"Expected vectors of {dim} dimensions, got shape {vectors.shape}. They are of another model.")
    if len(vectors) != len(n_tokens):
        raise FixError(f"Expected one token count a vector, got {len(n_tokens)} for {len(vectors)} vectors.")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise FixError(f"Vectors must be finite, but {len(bad)} of {len(finite)} are not; the first is row {bad[0]}.")


@dataclass(eq=False)
class Statistics:
    """What is known of a corpus without labels: its documents, windows of them cut to several lengths, and queries.

    Args:
        dim: length of the vectors.

    Attributes:
        documents: whole documents, as they are searched.
        windows: stretches of documents, cut to lengths from a few tokens up, embedded as documents.
        queries: what is asked; real queries without their answers, or sentences of the corpus in their stead.
    """

    dim: int
    documents: Sums = field(init=False)
    windows: Sums = field(init=False)
    queries: Sums = field(init=False)

    def __post_init__(self) -> None:
        for group in Group:
            setattr(self, group.value, Sums(self.dim))

    def of(self, group: Group) -> Sums:
        """The sums of one group."""
        found: Sums = getattr(self, group.value)
        return found

    def merge(self, other: "Statistics") -> "Statistics":
        """The statistics of both parts together; neither is changed."""
        merged = Statistics(self.dim)
        for group in Group:
            setattr(merged, group.value, self.of(group).merge(other.of(group)))
        return merged

    def mapped(self, fitted: VectorMap) -> "Statistics":
        """What they would be of vectors that went through a map, not scaled to norm 1 after it."""
        made = Statistics(len(fitted.matrix))
        for group in Group:
            curve = fitted.queries if group is Group.QUERIES else fitted.documents
            setattr(made, group.value, self.of(group).mapped(fitted.matrix, curve))
        return made

    def require(self, fix: str, needs: Iterable[Group], *, fewest: int = FEWEST) -> None:
        """Raise FixError where there are fewer vectors of a group than a fix needs.

        Args:
            fix: its notation.
            needs: the groups it is fitted to.
            fewest: vectors of each; four times as many windows, which are of several lengths.
        """
        for group in needs:
            least = 4 * fewest if group is Group.WINDOWS else fewest
            if (count := self.of(group).count) < least:
                raise FixError(
                    f"`{fix}` needs at least {least} {group} to be fitted, got {count}. Give {_MORE[group]}, or leave "
                    "the fix out."
                )
