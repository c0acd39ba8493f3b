"""Fixes that act on vectors: fitted in closed form to an unlabelled corpus, linear in the vector."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from uncollapse.errors import FixError
from uncollapse.fixes.drift import fit_drift
from uncollapse.fixes.kinds import Kind
from uncollapse.fixes.maps import Curve, Floats, VectorMap
from uncollapse.fixes.notations import check_choice, check_number, write
from uncollapse.fixes.statistics import Group, Statistics, Sums

FEWEST = 20
"""Vectors that a mean needs at least."""

By = Literal["all", "role", "length"]
Around = Literal["mean", "length", "zero"]


@dataclass(frozen=True)
class Centering:
    """Subtract a mean vector, so that what all texts share no longer counts.

    x -> x - mu. Which mean matters more than that one is subtracted: queries are short and documents long, so they lie
    around different means, and one mean for all can push them apart.

    Args:
        by: "all": the mean of the documents, from every text; "role": of documents from documents, of queries from
            queries; "length": mu(n) of windows of n tokens, smooth in log n, at each text's own length, which needs no
            queries.

    Raises:
        NotationError: another `by`.

    >>> str(Centering("role"))
    'centering(role)'

    Source: R1 of arXiv 2511.11041 ("all"); by role and by length: this package.
    """

    kind: ClassVar[Kind] = Kind.VECTOR
    by: By = "role"

    def __post_init__(self) -> None:
        check_choice(self, "by", get_args(By))

    def __str__(self) -> str:
        return write("centering", self.by)

    @property
    def is_identity(self) -> bool:
        """Never."""
        return False

    @property
    def needs(self) -> tuple[Group, ...]:
        """Documents, and queries or windows where those have means of their own."""
        more = {"role": (Group.QUERIES,), "length": (Group.WINDOWS,)}
        return Group.DOCUMENTS, *more.get(self.by, ())

    def fit(self, seen: Statistics) -> VectorMap:
        """See `VectorFix`; "role" needs queries and "length" windows."""
        same = np.eye(seen.dim)
        if self.by == "length":
            seen.require(str(self), [(Group.WINDOWS, 4 * FEWEST)])
            drift = fit_drift(seen.windows)
            return VectorMap(str(self), same, drift, drift)
        seen.require(str(self), [(Group.DOCUMENTS, FEWEST)])
        documents = Curve.constant(seen.documents.mean)
        if self.by == "all":
            return VectorMap(str(self), same, documents, documents)
        seen.require(str(self), [(Group.QUERIES, FEWEST)])
        return VectorMap(str(self), same, documents, Curve.constant(seen.queries.mean))


@dataclass(frozen=True)
class MeanProjection:
    """Remove the direction of the mean vector of the documents from every vector.

    x -> x - (x . m) m with m the mean's direction. Unlike subtraction it cannot push queries and documents apart.

    >>> str(MeanProjection())
    'mean_projection()'

    Source: R2 of arXiv 2511.11041.
    """

    kind: ClassVar[Kind] = Kind.VECTOR

    def __str__(self) -> str:
        return write("mean_projection")

    @property
    def is_identity(self) -> bool:
        """Never."""
        return False

    @property
    def needs(self) -> tuple[Group, ...]:
        """Documents."""
        return (Group.DOCUMENTS,)

    def fit(self, seen: Statistics) -> VectorMap:
        """See `VectorFix`."""
        seen.require(str(self), [(Group.DOCUMENTS, FEWEST)])
        return _linear(str(self), _without(seen.documents.mean[None]))


@dataclass(frozen=True)
class AllButTheTop:
    """Remove the k directions in which the documents vary most, after their mean.

    Args:
        k: directions, 0 or more; 0 subtracts the mean alone.

    Raises:
        NotationError: a k that is no whole number of at least 0.

    >>> str(AllButTheTop(2))
    'all_but_the_top(2)'

    Source: Mu & Viswanath, All-but-the-top, ICLR 2018 (arXiv 1702.01417).
    """

    kind: ClassVar[Kind] = Kind.VECTOR
    k: int = 1

    def __post_init__(self) -> None:
        check_number(self, "k", low=0, whole=True)

    def __str__(self) -> str:
        return write("all_but_the_top", self.k)

    @property
    def is_identity(self) -> bool:
        """Never: the mean is subtracted."""
        return False

    @property
    def needs(self) -> tuple[Group, ...]:
        """Documents."""
        return (Group.DOCUMENTS,)

    def fit(self, seen: Statistics) -> VectorMap:
        """See `VectorFix`."""
        seen.require(str(self), [(Group.DOCUMENTS, max(FEWEST, 2 * self.k))])
        _, directions = _eigen(seen.documents.covariance)
        mean = Curve.constant(seen.documents.mean)
        return VectorMap(str(self), _without(directions[:, ::-1][:, : self.k].T), mean, mean)


@dataclass(frozen=True)
class LengthSubspace:
    """Remove the k directions along which the mean moves as texts grow.

    x -> (I - U U') x, U the leading directions of mu(n) around its mean over the lengths. A Dense module can do it,
    where subtracting mu(n) at each text's own length needs code.

    Args:
        k: directions; 0 changes nothing.

    Raises:
        NotationError: a k that is no whole number of at least 0.

    >>> str(LengthSubspace(1))
    'length_subspace(1)'

    Source: this package.
    """

    kind: ClassVar[Kind] = Kind.VECTOR
    k: int = 1

    def __post_init__(self) -> None:
        check_number(self, "k", low=0, whole=True)

    def __str__(self) -> str:
        return write("length_subspace", self.k)

    @property
    def is_identity(self) -> bool:
        """Whether no direction is removed."""
        return self.k == 0

    @property
    def needs(self) -> tuple[Group, ...]:
        """Windows, unless no direction is removed."""
        return (Group.WINDOWS,) if self.k else ()

    def fit(self, seen: Statistics) -> VectorMap:
        """See `VectorFix`; needs windows of at least k + 1 lengths."""
        seen.require(str(self), [(Group.WINDOWS, 4 * FEWEST)] if self.k else [])
        drift = fit_drift(seen.windows).values if self.k else np.zeros((1, seen.dim))
        if self.k and len(drift) <= self.k:
            raise FixError(f"`{self}` needs windows of at least {self.k + 1} lengths, got {len(drift)}.")
        moved = np.linalg.svd(drift - drift.mean(axis=0), full_matrices=False)[2]
        return _linear(str(self), _without(moved[: self.k]))


@dataclass(frozen=True)
class Whitening:
    """Shrink the directions in which documents vary most, by a chosen strength.

    x -> (S / s)^(-g / 2) x, with S the covariance of the documents, shrunk towards the identity, and s its mean
    eigenvalue. g = 0 changes nothing, g = 1 makes the covariance the identity. Small strengths (0.25 to 0.5) are what
    helps trained models; full whitening hurts them.

    Args:
        g: strength, from 0 to 1.
        around: what the covariance is taken around: "mean" of the documents; "length": the mean of each length, so
            that a drift with length is no part of it; "zero": raw second moments.
        shrinkage: weight of the identity, from 0 to 1; "oas" for the one that is best for Gaussian vectors.

    Raises:
        NotationError: numbers out of range, or another `around`.

    >>> str(Whitening(0.25)), str(Whitening(0.5, "zero", 0.1))
    ('whitening(0.25)', 'whitening(0.5, zero, 0.1)')

    Source: Su et al. 2021 (arXiv 2103.15316) for g = 1; Spectral Tempering (arXiv 2603.19339) for partial strength;
    Chen et al. 2010 (IEEE TSP 58) for "oas".
    """

    kind: ClassVar[Kind] = Kind.VECTOR
    g: float = 0.25
    around: Around = "mean"
    shrinkage: float | Literal["oas"] = "oas"

    def __post_init__(self) -> None:
        check_number(self, "g", low=0, high=1)
        check_choice(self, "around", get_args(Around))
        if self.shrinkage != "oas":
            check_number(self, "shrinkage", low=0, high=1)

    def __str__(self) -> str:
        defaults = ("mean", "oas")
        given: list[object] = [self.around, self.shrinkage]
        while given and given[-1] == defaults[len(given) - 1]:
            given.pop()
        return write("whitening", self.g, *given)

    @property
    def is_identity(self) -> bool:
        """Whether the strength is 0."""
        return self.g == 0

    @property
    def needs(self) -> tuple[Group, ...]:
        """Documents, unless it changes nothing."""
        return () if self.is_identity else (Group.DOCUMENTS,)

    def fit(self, seen: Statistics) -> VectorMap:
        """See `VectorFix`."""
        if self.is_identity:
            return _linear(str(self), np.eye(seen.dim))
        seen.require(str(self), [(Group.DOCUMENTS, FEWEST)])
        spread, directions = _eigen(
            shrink(_covariance(seen.documents, self.around), seen.documents.count, self.shrinkage)
        )
        scale = spread.mean()
        if not scale > 0:
            raise FixError(f"`{self}` needs documents that differ, got {seen.documents.count} with the same vector.")
        kept = np.maximum(spread / scale, FLOOR)
        return _linear(str(self), (directions * kept ** (-self.g / 2)) @ directions.T)


FLOOR = 1e-3
"""The smallest variance that whitening divides by, as a share of the mean one: directions in which a model never
varies would blow up."""


def shrink(covariance: Floats, count: int, weight: float | Literal["oas"]) -> Floats:
    """(1 - w) S + w tr(S)/d I.

    Args:
        covariance: float64 [dim, dim].
        count: vectors that it rests on.
        weight: w, or "oas".

    >>> shrink(np.diag([2.0, 0.0]), 10, 0.5).tolist()
    [[1.5, 0.0], [0.0, 0.5]]
    """
    dim, trace = len(covariance), float(np.trace(covariance))
    share = _oas(covariance, count) if weight == "oas" else weight
    shrunk: Floats = (1 - share) * covariance + share * trace / dim * np.eye(dim)
    return shrunk


def _oas(covariance: Floats, count: int) -> float:
    dim, trace, square = len(covariance), float(np.trace(covariance)), float(np.square(covariance).sum())
    top = (1 - 2 / dim) * square + trace**2
    bottom = (count + 1 - 2 / dim) * (square - trace**2 / dim)
    return min(1.0, top / bottom) if bottom > 0 else 1.0


def _covariance(sums: Sums, around: Around) -> Floats:
    match around:
        case "mean":
            return sums.covariance
        case "length":
            return sums.covariance_at_length
        case "zero":
            return sums.second_moment


def _eigen(symmetric: Floats) -> tuple[Floats, Floats]:
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    return np.maximum(values, 0), vectors


def _without(directions: Floats) -> Floats:
    """The projection that removes some directions, given as rows."""
    dim = directions.shape[1]
    if not len(directions):
        return np.eye(dim)
    basis = np.linalg.qr(directions.T)[0]
    left: Floats = np.eye(dim) - basis @ basis.T
    return left


def _linear(fix: str, matrix: Floats) -> VectorMap:
    nothing = Curve.constant(np.zeros(matrix.shape[1]))
    return VectorMap(fix, matrix, nothing, nothing)


VECTOR_FIXES = {
    "centering": Centering,
    "mean_projection": MeanProjection,
    "all_but_the_top": AllButTheTop,
    "length_subspace": LengthSubspace,
    "whitening": Whitening,
}
"""Name to class."""
