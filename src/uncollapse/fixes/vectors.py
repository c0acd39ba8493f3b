"""Fixes that act on vectors: fitted in closed form to an unlabelled corpus, linear in the vector."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np

from uncollapse.errors import FixError
from uncollapse.fixes.drift import fit_drift
from uncollapse.fixes.kinds import Kind
from uncollapse.fixes.maps import Curve, Floats, VectorMap
from uncollapse.fixes.notations import check_choice, check_number, given, write
from uncollapse.fixes.statistics import FEWEST, Group, Statistics, Sums

ROUNDING = 1e-10
"""What is smaller than this share of the vectors' size is taken for zero; sums in float64 are exact to about 1e-15."""

By = Literal["all", "role", "length"]
Around = Literal["mean", "length", "role", "zero"]


@dataclass(frozen=True)
class Centering:
    """Subtract a mean vector, so that what all texts share no longer counts.

    x -> x - mu. Which mean matters more than that one is subtracted: queries are short and documents long, so they lie
    around different means, and one mean for all can push them apart.

    Args:
        by: "all": the mean of the documents, from every text; "role": of documents from documents, of queries from
            queries, and nothing from texts that are neither but compared as equals; "length": mu(n) of windows of n
            tokens, smooth in log n, at each text's own length, which needs no queries.

    Raises:
        NotationError: another `by`.

    >>> str(Centering("role"))
    'centering(role)'

    Source: R1 of Ren, Sun & Liang 2025 (arXiv 2511.11041) for "all". A mean for each group is older: by language,
    Libovicky et al. 2020 (arXiv 2004.05160); queries and documents as groups, and by length: this package.
    """

    kind: ClassVar[Kind] = Kind.VECTOR
    is_identity: ClassVar[bool] = False
    by: By = "role"

    def __post_init__(self) -> None:
        check_choice(self, "by", get_args(By))

    def __str__(self) -> str:
        return write("centering", self.by)

    @property
    def needs(self) -> tuple[Group, ...]:
        """What the means are of."""
        groups = {"role": (Group.DOCUMENTS, Group.QUERIES), "length": (Group.WINDOWS,)}
        return groups.get(self.by, (Group.DOCUMENTS,))

    def fit(self, seen: Statistics) -> VectorMap:
        """See `VectorFix`."""
        seen.require(str(self), self.needs)
        match self.by:
            case "length":
                documents = queries = fit_drift(seen.windows)
            case "all":
                documents = queries = Curve.constant(seen.documents.mean)
            case "role":
                documents, queries = Curve.constant(seen.documents.mean), Curve.constant(seen.queries.mean)
        return VectorMap(str(self), np.eye(seen.dim), documents, queries, searches_only=self.by == "role")


@dataclass(frozen=True)
class MeanProjection:
    """Remove the direction of the mean vector of the documents from every vector.

    x -> x - (x . m) m with m the mean's direction. Unlike subtraction it cannot push queries and documents apart.

    >>> str(MeanProjection())
    'mean_projection()'

    Source: R2 of Ren, Sun & Liang 2025 (arXiv 2511.11041).
    """

    kind: ClassVar[Kind] = Kind.VECTOR
    is_identity: ClassVar[bool] = False
    needs: ClassVar[tuple[Group, ...]] = (Group.DOCUMENTS,)

    def __str__(self) -> str:
        return write("mean_projection")

    def fit(self, seen: Statistics) -> VectorMap:
        """See `VectorFix`; a mean of zero has no direction."""
        seen.require(str(self), self.needs)
        mean, typical = seen.documents.mean, np.sqrt(np.trace(seen.documents.second_moment))
        if not np.linalg.norm(mean) > ROUNDING * typical:
            raise FixError(
                f"`{self}` needs documents with a mean of their own, but theirs is zero. If another fix subtracts it "
                "already, leave one of the two out."
            )
        return _linear(str(self), _without(mean[None]))


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
    is_identity: ClassVar[bool] = False
    needs: ClassVar[tuple[Group, ...]] = (Group.DOCUMENTS,)
    k: int = 1

    def __post_init__(self) -> None:
        check_number(self, "k", low=0, whole=True)

    def __str__(self) -> str:
        return write("all_but_the_top", self.k)

    def fit(self, seen: Statistics) -> VectorMap:
        """See `VectorFix`; documents must vary along more than k directions."""
        seen.require(str(self), self.needs, fewest=max(FEWEST, 2 * self.k))
        spread, directions = _eigen(seen.documents.covariance)
        varying = _count_varying(spread, seen.documents)
        if varying <= self.k:
            raise FixError(
                f"`{self}` needs documents that vary along more than {self.k} directions, got {varying}: nothing "
                "would be left. Remove fewer, or give documents that differ."
            )
        mean = Curve.constant(seen.documents.mean)
        return VectorMap(str(self), _without(directions[:, ::-1][:, : self.k].T), mean, mean)


@dataclass(frozen=True)
class LengthSubspace:
    """Remove the k directions along which the mean moves as texts grow.

    x -> (I - U U') x, U the leading directions of mu(n) around its mean over the lengths. A Dense module can do it,
    where subtracting mu(n) at each text's own length needs code. Where mu(n) moves along fewer directions than k, as
    one that is a straight line in log n, those are all that is removed.

    Args:
        k: directions; 0 changes nothing.

    Raises:
        NotationError: a k that is no whole number of at least 0.

    >>> str(LengthSubspace(1))
    'length_subspace(1)'

    Source: this package.
    """

    kind: ClassVar[Kind] = Kind.VECTOR
    needs: ClassVar[tuple[Group, ...]] = (Group.WINDOWS,)
    k: int = 1

    def __post_init__(self) -> None:
        check_number(self, "k", low=0, whole=True)

    def __str__(self) -> str:
        return write("length_subspace", self.k)

    @property
    def is_identity(self) -> bool:
        """Whether no direction is removed."""
        return self.k == 0

    def fit(self, seen: Statistics) -> VectorMap:
        """See `VectorFix`; needs windows of at least k + 1 lengths, and k below the dimension."""
        if self.is_identity:
            return _linear(str(self), np.eye(seen.dim))
        seen.require(str(self), self.needs)
        drift = fit_drift(seen.windows).values
        if min(len(drift), seen.dim) <= self.k:
            raise FixError(
                f"`{self}` needs windows of at least {self.k + 1} lengths and vectors of as many dimensions, got "
                f"{len(drift)} lengths and {seen.dim} dimensions. Remove fewer directions, or give longer texts."
            )
        _, moved, directions = np.linalg.svd(drift - drift.mean(axis=0), full_matrices=False)
        real = moved > ROUNDING * np.linalg.norm(drift)
        if not real.any():
            raise FixError(f"`{self}` needs a mean that moves with length, but that of the windows does not move.")
        return _linear(str(self), _without(directions[real][: self.k]))


@dataclass(frozen=True)
class Whitening:
    """Shrink the directions in which documents vary most, by a chosen strength.

    x -> (S / s)^(-g / 2) x, with S the covariance of the documents, shrunk towards the identity, and s its mean
    eigenvalue. g = 0 changes nothing, g = 1 makes all variances equal (without shrinkage). Small strengths (0.25 to
    0.5) are what helps trained models; full whitening hurts them.

    Args:
        g: strength, from 0 to 1.
        around: what the covariance is taken around: "mean" of the documents; "length": the mean of each length, so
            that a drift with length is no part of it; "role": documents and queries each around their own mean, the
            two covariances averaged, so that what queries differ in counts too, and texts that are neither stay as
            they are; "zero": raw second moments.
        shrinkage: weight of the identity, from 0 to 1; "oas" for the one that is best for Gaussian vectors.

    Raises:
        NotationError: numbers out of range, or another `around`.

    >>> str(Whitening(0.25)), str(Whitening(0.5, "zero", 0.1))
    ('whitening(0.25)', 'whitening(0.5, zero, 0.1)')

    Source: Su et al. 2021 (arXiv 2103.15316) for g = 1; Chen et al. 2010 (IEEE TSP 58) for "oas". Strengths between
    are older than Spectral Tempering (Li et al. 2026, arXiv 2603.19339), which picks one from the spectrum without
    labels; that rule is not in this package.
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
        return write("whitening", self.g, *given((self.around, self.shrinkage), ("mean", "oas")))

    @property
    def needs(self) -> tuple[Group, ...]:
        """Documents, and queries where those have a part in the covariance."""
        return (Group.DOCUMENTS, Group.QUERIES) if self.around == "role" else (Group.DOCUMENTS,)

    @property
    def is_identity(self) -> bool:
        """Whether the strength is 0."""
        return self.g == 0

    def fit(self, seen: Statistics) -> VectorMap:
        """See `VectorFix`."""
        if self.is_identity:
            return _linear(str(self), np.eye(seen.dim))
        seen.require(str(self), self.needs)
        documents = seen.documents
        spread, directions = _eigen(shrink(_covariance(seen, self.around), documents.count, self.shrinkage))
        if not _count_varying(spread, documents):
            raise FixError(f"`{self}` needs documents that differ, got {documents.count} with the same vector.")
        kept = np.maximum(spread / spread.mean(), FLOOR)
        matrix = (directions * kept ** (-self.g / 2)) @ directions.T
        return replace(_linear(str(self), matrix), searches_only=self.around == "role")


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


def _covariance(seen: Statistics, around: Around) -> Floats:
    match around:
        case "mean":
            return seen.documents.covariance
        case "length":
            return seen.documents.covariance_at_length
        case "role":
            return (seen.documents.covariance + seen.queries.covariance) / 2
        case "zero":
            return seen.documents.second_moment


def _eigen(symmetric: Floats) -> tuple[Floats, Floats]:
    values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
    return np.maximum(values, 0), vectors


def _count_varying(spread: Floats, sums: Sums) -> int:
    """Directions whose variance is more than rounding."""
    return int((spread > ROUNDING * np.trace(sums.second_moment)).sum())


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
