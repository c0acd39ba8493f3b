"""What a fitted vector fix does: subtract a mean that may depend on the length, then multiply by a matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from uncollapse.errors import FixError

Floats = npt.NDArray[np.float64]

Role = Literal["document", "query", "text"]
"""What a text is: an answer, a question, or neither (then it is treated as a document)."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A vector that changes with the length of the text, linear in the logarithm of its tokens and level outside.

    Args:
        log_tokens: rising, float64 [knots]; a single knot is a constant.
        values: float64 [knots, dim].
    """

    log_tokens: Floats
    values: Floats

    @classmethod
    def constant(cls, value: Floats) -> "Curve":
        """The same at every length.

        >>> Curve.constant(np.ones(2)).at(np.array([5, 500])).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
        """
        return cls(np.zeros(1), value[None])

    @property
    def is_constant(self) -> bool:
        """Whether the length makes no difference."""
        return len(self.log_tokens) == 1

    def at(self, n_tokens: npt.NDArray[np.integer] | Floats) -> Floats:
        """Values at some lengths: float64 [texts, dim]."""
        place = np.interp(np.log(np.maximum(n_tokens, 1)), self.log_tokens, np.arange(len(self.log_tokens)))
        low = np.minimum(place.astype(np.int64), max(0, len(self.log_tokens) - 2))
        share = (place - low)[:, None]
        high = np.minimum(low + 1, len(self.log_tokens) - 1)
        mixed: Floats = (1 - share) * self.values[low] + share * self.values[high]
        return mixed

    def through(self, matrix: Floats) -> "Curve":
        """Every value multiplied by a matrix, float64 [dim out, dim]."""
        return Curve(self.log_tokens, self.values @ matrix.T)


@dataclass(frozen=True, eq=False)
class Affine:
    """x -> matrix x + offset.

    Args:
        matrix: float64 [dim out, dim in].
        offset: float64 [dim out].
    """

    matrix: Floats
    offset: Floats

    def after(self, first: "Affine") -> "Affine":
        """This one applied to what `first` gives.

        >>> double, one = Affine(2 * np.eye(1), np.zeros(1)), Affine(np.eye(1), np.ones(1))
        >>> double.after(one).offset.tolist()
        [2.0]
        """
        return Affine(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)


@dataclass(frozen=True, eq=False)
class VectorMap:
    """x -> matrix (x - mean of its role at its length).

    Args:
        fix: notation of what was fitted.
        matrix: float64 [dim out, dim in].
        documents, queries: what is subtracted from them, [.., dim in].
        searches_only: whether texts that are neither, but compared as equals, stay as they are.
    """

    fix: str
    matrix: Floats
    documents: Curve
    queries: Curve
    searches_only: bool = False

    def apply(self, vectors: npt.NDArray[np.floating], n_tokens: npt.NDArray[np.int64], role: Role) -> Floats:
        """Mapped vectors, not scaled to norm 1: float64 [texts, dim out].

        Args:
            vectors: [texts, dim in].
            n_tokens: int64 [texts].
            role: of the texts.

        Raises:
            FixError: vectors of another dimension.
        """
        return collapse([self], role).apply(vectors, n_tokens)

    def spares(self, role: Role) -> bool:
        """Whether texts of a role stay as they are."""
        return self.searches_only and role == "text"

    def curve(self, role: Role) -> Curve:
        """What is subtracted from texts of a role."""
        return self.queries if role == "query" else self.documents

    def as_affine(self, role: Role) -> Affine:
        """The same as one matrix and one offset.

        Raises:
            FixError: where what is subtracted depends on the length.
        """
        if self.spares(role):
            return Affine(np.eye(self.matrix.shape[1]), np.zeros(self.matrix.shape[1]))
        curve = self.curve(role)
        if not curve.is_constant:
            raise FixError(
                f"`{self.fix}` subtracts another mean at every length, which no Dense module can. Ship one that "
                "subtracts the same mean everywhere, or keep the fix in code."
            )
        return Affine(self.matrix, -self.matrix @ curve.values[0])

    @property
    def arrays(self) -> Mapping[str, Floats]:
        """Everything `from_arrays` needs."""
        return {
            "matrix": self.matrix,
            "document_log_tokens": self.documents.log_tokens,
            "document_means": self.documents.values,
            "query_log_tokens": self.queries.log_tokens,
            "query_means": self.queries.values,
            "searches_only": np.array([float(self.searches_only)]),
        }

    @classmethod
    def from_arrays(cls, fix: str, arrays: Mapping[str, Floats]) -> "VectorMap":
        """What `arrays` gave."""
        documents = Curve(arrays["document_log_tokens"], arrays["document_means"])
        queries = Curve(arrays["query_log_tokens"], arrays["query_means"])
        return cls(fix, arrays["matrix"], documents, queries, bool(arrays["searches_only"][0]))


@dataclass(frozen=True, eq=False)
class Collapsed:
    """Several maps, one after the other, as one: x -> matrix x - the sum of some curves at its length.

    Args:
        first: notation of the fix that is applied first.
        matrix: float64 [dim out, dim in].
        curves: [.., dim out].
    """

    first: str
    matrix: Floats
    curves: tuple[Curve, ...]

    def apply(self, vectors: npt.NDArray[np.floating], n_tokens: npt.NDArray[np.int64]) -> Floats:
        """Mapped vectors, not scaled to norm 1: float64 [texts, dim out].

        Args:
            vectors: [texts, dim in].
            n_tokens: int64 [texts].

        Raises:
            FixError: vectors of another dimension.
        """
        if vectors.shape[1] != self.matrix.shape[1]:
            raise FixError(
                f"`{self.first}` was fitted to vectors of {self.matrix.shape[1]} dimensions, got {vectors.shape[1]}. "
                "Use it with the model that it was fitted with, or fit it anew."
            )
        mapped: Floats = vectors.astype(np.float64) @ self.matrix.T
        for curve in self.curves:
            mapped -= curve.values if curve.is_constant else curve.at(n_tokens)
        return mapped


def collapse(maps: Sequence[VectorMap], role: Role) -> Collapsed:
    """Maps as one for texts of a role: one product of matrices however many they are.

    Args:
        maps: at least one, in order.
        role: of the texts.
    """
    matrix = np.eye(maps[0].matrix.shape[1])
    curves: list[Curve] = []
    for one in (one for one in maps if not one.spares(role)):
        matrix = one.matrix @ matrix
        curves = [curve.through(one.matrix) for curve in (*curves, one.curve(role))]
    return Collapsed(maps[0].fix, matrix, tuple(curves))
