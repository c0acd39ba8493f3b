"""Fixes that act on scores, and travel in an index as one more dimension of its vectors.

Each makes s' = gain(d) q.d + shift(d) of the score q.d of a query and a document. That is the inner product of [q, 1]
with [gain(d) d, shift(d)], so any index that searches by inner product serves it unchanged. What is the same for every
document of a query cannot change its ranking and is left out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from uncollapse.errors import FixError
from uncollapse.fixes.drift import fit_drift
from uncollapse.fixes.kinds import Cohort, Kind, Vectors
from uncollapse.fixes.maps import Curve, Floats, Role
from uncollapse.fixes.notations import check_choice, check_number, given, write
from uncollapse.fixes.statistics import FEWEST, Sums

Arrays = Mapping[str, Floats]
Terms = tuple[Floats, Floats]
"""Gain and shift of each document: float64 [texts]."""

LEAST_SPREAD = 0.1
"""The smallest spread that a score is divided by, as a share of the typical one: a document that no query is near to
would blow up."""

_ROWS = 2048

By = Literal["document", "length"]
Scale = Literal["spread", "none"]


@dataclass(frozen=True, eq=False)
class Correction:
    """A fitted fix on scores.

    Args:
        fix: its notation.
        arrays: what was fitted; `dim` among them, the length of the vectors.
        terms: gain and shift of documents, from their vectors, float64 [texts, dim], and tokens, int64 [texts].
    """

    fix: str
    arrays: Arrays
    terms: Callable[[Floats, npt.NDArray[np.int64]], Terms]

    def extend(self, vectors: Vectors, n_tokens: npt.NDArray[np.int64], role: Role) -> Vectors:
        """[q, 1] of queries, [gain d, shift] of documents, [x, 0] of texts that are compared as equals.

        Args:
            vectors: float32 [texts, dim], as they are compared.
            n_tokens: int64 [texts].
            role: of the texts.

        Raises:
            FixError: vectors of another dimension.
        """
        dim = int(self.arrays["dim"][0])
        if vectors.shape[1] != dim:
            raise FixError(
                f"`{self.fix}` was fitted to vectors of {dim} dimensions, got {vectors.shape[1]}. Use it with the "
                "model that it was fitted with, or fit it anew."
            )
        longer = np.zeros((len(vectors), dim + 1), np.float32)
        longer[:, :dim] = vectors
        if role == "query":
            longer[:, dim] = 1
        elif role == "document":
            gain, shift = self.terms(vectors.astype(np.float64), n_tokens)
            longer[:, :dim] *= gain[:, None].astype(np.float32)
            longer[:, dim] = shift
        return longer


@dataclass(frozen=True)
class CohortNormalisation:
    """Judge a score by what unrelated queries score with the same document, or with documents of its length.

    s' = (q.d - t mu) / (sd / typical sd)^t, with mu and sd the mean and the standard deviation of the scores of a
    background of queries, and t the strength. By document mu = m.d and sd^2 = d' C d, with m and C the mean and the
    covariance of those queries: a document that is near to every query loses. Almost no query of the background has
    anything to do with the document, so nothing is known of relevance.

    Args:
        by: "document", or "length": mu and sd of pairs of a query and a document of n tokens, smooth in log n.
        strength: from 0, which changes nothing, to 1, the z-score.
        scale: "spread" divides by sd; "none" subtracts mu alone.

    Raises:
        NotationError: a strength out of range, or another word.

    >>> str(CohortNormalisation()), str(CohortNormalisation("length", 0.5))
    ('cohort(document)', 'cohort(length, 0.5)')

    Source: z-norm of speaker verification (with T-norm in one frame: Mariethoz & Bengio 2005, IEEE SPL 12); as one
    more dimension: this package.
    """

    kind: ClassVar[Kind] = Kind.SCORE
    by: By = "document"
    strength: float = 1.0
    scale: Scale = "spread"

    def __post_init__(self) -> None:
        check_choice(self, "by", get_args(By))
        check_number(self, "strength", low=0, high=1)
        check_choice(self, "scale", get_args(Scale))

    def __str__(self) -> str:
        return write("cohort", self.by, *given((self.strength, self.scale), (1.0, "spread")))

    @property
    def is_identity(self) -> bool:
        """Whether the strength is 0."""
        return self.strength == 0

    def fit(self, seen: Cohort) -> Correction:
        """See `ScoreFix`; queries must differ."""
        seen.require(str(self), documents=FEWEST, queries=FEWEST)
        mean, covariance = seen.queries.mean(axis=0), np.cov(seen.queries.T, bias=True)
        scores, variances = seen.documents @ mean, _quadratic(seen.documents, covariance)
        if not variances.mean() > 1e-12 * _quadratic(seen.documents, np.outer(mean, mean)).mean():
            raise FixError(f"`{self}` needs queries that differ, got {len(seen.queries)} with the same scores.")
        dim = np.array([float(seen.documents.shape[1])])
        if self.by == "document":
            typical = np.array([np.sqrt(variances.mean())])
            return self.from_arrays({"dim": dim, "mean": mean, "covariance": covariance, "typical": typical})
        level = _smooth(scores, seen.document_tokens)
        around = variances + np.square(scores - level.at(seen.document_tokens)[:, 0])
        spread = _smooth(around, seen.document_tokens)
        return self.from_arrays(
            {
                "dim": dim,
                "log_tokens": level.log_tokens,
                "mean": level.values[:, 0],
                "variance": spread.values[:, 0],
                "typical": np.sqrt([around.mean()]),
            }
        )

    def from_arrays(self, arrays: Arrays) -> Correction:
        """See `ScoreFix`."""
        terms = self._by_document if self.by == "document" else self._by_length
        return Correction(str(self), arrays, partial(terms, arrays))

    def _by_document(self, arrays: Arrays, vectors: Floats, _: npt.NDArray[np.int64]) -> Terms:
        return self._normalised(arrays, vectors @ arrays["mean"], _quadratic(vectors, arrays["covariance"]))

    def _by_length(self, arrays: Arrays, _: Floats, n_tokens: npt.NDArray[np.int64]) -> Terms:
        curve = Curve(arrays["log_tokens"], np.stack([arrays["mean"], arrays["variance"]], axis=1))
        level, variance = curve.at(n_tokens).T
        return self._normalised(arrays, level, variance)

    def _normalised(self, arrays: Arrays, level: Floats, variance: Floats) -> Terms:
        spread = np.sqrt(np.maximum(variance, 0)) / arrays["typical"]
        divisor = np.maximum(spread, LEAST_SPREAD) if self.scale == "spread" else np.ones(len(level))
        gain = divisor**-self.strength
        return gain, -gain * self.strength * level


@dataclass(frozen=True)
class LocalScaling:
    """Take from every document how near it is to the queries nearest to it, so that hubs no longer win everywhere.

    s' = q.d - t r(d) / 2, with r(d) the mean score of d with its k nearest queries of a background, t the strength.
    At strength 1 it ranks as the published 2 q.d - r(q) - r(d): r(q) is the same for all documents.

    Args:
        k: nearest queries.
        strength: from 0, which changes nothing, to 1, the published form.

    Raises:
        NotationError: a k that is no whole number above 0, or a strength out of range.

    >>> str(LocalScaling()), str(LocalScaling(5, 0.5))
    ('csls(10)', 'csls(5, 0.5)')

    Source: CSLS, Conneau et al. 2018 (arXiv 1710.04087). With a background of queries it is the score of NNN,
    Chowdhury et al. 2024 (arXiv 2410.24114), whose weight is t / 2.
    """

    kind: ClassVar[Kind] = Kind.SCORE
    k: int = 10
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "k", low=1, whole=True)
        check_number(self, "strength", low=0, high=1)

    def __str__(self) -> str:
        return write("csls", self.k, *given((self.strength,), (1.0,)))

    @property
    def is_identity(self) -> bool:
        """Whether the strength is 0."""
        return self.strength == 0

    def fit(self, seen: Cohort) -> Correction:
        """See `ScoreFix`; needs twice as many queries as are nearest."""
        seen.require(str(self), queries=max(FEWEST, 2 * self.k))
        return self.from_arrays({"dim": np.array([float(seen.queries.shape[1])]), "queries": seen.queries})

    def from_arrays(self, arrays: Arrays) -> Correction:
        """See `ScoreFix`."""
        return Correction(str(self), arrays, partial(self._terms, arrays))

    def _terms(self, arrays: Arrays, vectors: Floats, _: npt.NDArray[np.int64]) -> Terms:
        near = np.empty(len(vectors))
        for start in range(0, len(vectors), _ROWS):
            scores = vectors[start : start + _ROWS] @ arrays["queries"].T
            near[start : start + _ROWS] = np.partition(scores, -self.k, axis=1)[:, -self.k :].mean(axis=1)
        return np.ones(len(vectors)), -self.strength * near / 2


@dataclass(frozen=True)
class LengthRegression:
    """Take from every score the part that the length of the document explains where nothing is relevant.

    s' = q.d - t b (log n - mean of log n), with b the slope, by least squares, of the mean score of unrelated queries
    on the logarithm of the document's tokens, and t the strength. Where long documents score higher with everything,
    b > 0 and they lose.

    Args:
        strength: from 0, which changes nothing, to 1, which leaves no slope.

    Raises:
        NotationError: a strength out of range.

    >>> str(LengthRegression(0.5))
    'length_regression(0.5)'

    Source: this package; kin of pivoted length normalisation, Singhal, Buckley & Mitra 1996 (SIGIR).
    """

    kind: ClassVar[Kind] = Kind.SCORE
    strength: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "strength", low=0, high=1)

    def __str__(self) -> str:
        return write("length_regression", self.strength)

    @property
    def is_identity(self) -> bool:
        """Whether the strength is 0."""
        return self.strength == 0

    def fit(self, seen: Cohort) -> Correction:
        """See `ScoreFix`; documents must differ in length."""
        seen.require(str(self), documents=FEWEST, queries=FEWEST)
        logs = np.log(np.maximum(seen.document_tokens, 1))
        apart = logs - logs.mean()
        if not np.ptp(logs) > 0:
            raise FixError(
                f"`{self}` needs documents of several lengths, got {len(logs)} of {seen.document_tokens[0]} tokens."
            )
        slope = apart @ (seen.documents @ seen.queries.mean(axis=0)) / (apart @ apart)
        dim = float(seen.documents.shape[1])
        return self.from_arrays(
            {"dim": np.array([dim]), "slope": np.array([slope]), "centre": np.array([logs.mean()])}
        )

    def from_arrays(self, arrays: Arrays) -> Correction:
        """See `ScoreFix`."""
        return Correction(str(self), arrays, partial(self._terms, arrays))

    def _terms(self, arrays: Arrays, vectors: Floats, n_tokens: npt.NDArray[np.int64]) -> Terms:
        apart = np.log(np.maximum(n_tokens, 1)) - arrays["centre"]
        return np.ones(len(vectors)), -self.strength * arrays["slope"] * apart


def _quadratic(vectors: Floats, matrix: Floats) -> Floats:
    """x' M x of each vector: float64 [texts]."""
    found: Floats = np.einsum("ij,ij->i", vectors @ matrix, vectors)
    return found


def _smooth(values: Floats, n_tokens: npt.NDArray[np.int64]) -> Curve:
    """The mean of a number by length, smooth in log n."""
    sums = Sums(1)
    sums.update(values[:, None], n_tokens)
    return fit_drift(sums)


SCORE_FIXES = {
    "cohort": CohortNormalisation,
    "csls": LocalScaling,
    "length_regression": LengthRegression,
}
"""Name to class."""
