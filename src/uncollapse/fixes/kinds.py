"""What a fix of each kind can do; they act in the order of `Kind`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from uncollapse.errors import FixError
from uncollapse.fixes.maps import Role, VectorMap
from uncollapse.fixes.statistics import Group, Statistics

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]


class Kind(StrEnum):
    """Where a fix acts. A pipeline applies its fixes in this order, whatever order they are written in."""

    MODEL = "model"
    TEXT = "text"
    VECTOR = "vector"
    SCORE = "score"


class AnyFix(Protocol):
    """What every fix has: a kind, and as `str` a notation that `parse` reads back."""

    @property
    def kind(self) -> str:
        """Name of a `Kind`."""
        ...

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing at all."""
        ...


@dataclass(frozen=True)
class Part:
    """A stretch of a piece with a vector of its own, made from the states of its tokens.

    Args:
        begin, end: its characters in the piece, from the first to before the second.
        n_tokens: of the whole text that it holds.
    """

    begin: int
    end: int
    n_tokens: int


@dataclass(frozen=True)
class Piece:
    """What goes through the model by itself.

    Args:
        text: part of the whole, or parts of it put together.
        ranges: which tokens of the whole it holds, special tokens not counted: from the first to before the second.
        parts: what has a vector; none for one vector of all of it.
    """

    text: str
    ranges: tuple[tuple[int, int], ...]
    parts: tuple[Part, ...] = ()

    @property
    def n_tokens(self) -> tuple[int, ...]:
        """Tokens of the whole that each of its vectors is of."""
        if self.parts:
            return tuple(part.n_tokens for part in self.parts)
        return (sum(stop - start for start, stop in self.ranges),)


Reading = Literal["directed", "raw", "states"]
"""How the vectors of pieces arrive: of norm 1 where the model compares by cosine or makes them so itself; as they are
before the model does that; or like the first, with vectors of parts, which need a model that takes the mean of token
states."""


@runtime_checkable
class TextFix(AnyFix, Protocol):
    """Cuts a text into pieces and makes one vector, or several, of theirs.

    A text with a single vector has that vector, whatever the fix.
    """

    roles: ClassVar[tuple[Role, ...]]
    """What it is applied to; other texts stay whole."""

    @property
    def largest(self) -> int:
        """Tokens of its largest piece; a model that reads fewer at once is refused."""
        ...

    @property
    def reading(self) -> Reading:
        """How it wants the vectors of pieces."""
        ...

    @property
    def keeps_all(self) -> bool:
        """Whether a text keeps all its vectors, compared by the best of them."""
        ...

    def split(self, text: str, spans: npt.NDArray[np.int64], room: int) -> Sequence[Piece]:
        """The pieces of a text, at least one.

        Args:
            text: whole.
            spans: where each token begins and ends, in characters: int64 [tokens, 2].
            room: tokens that the model reads at once, without special tokens.
        """
        ...

    def aggregate(self, vectors: Vectors, n_tokens: npt.NDArray[np.int64]) -> Vectors:
        """One vector for several, of any length: float32 [dim]. Not asked where all are kept.

        Args:
            vectors: of the pieces or their parts, in order: float32 [vectors, dim].
            n_tokens: that each is of, as far as the model read them: int64 [vectors].
        """
        ...


@runtime_checkable
class VectorFix(AnyFix, Protocol):
    """Fitted in closed form to unlabelled vectors, then a map from vectors to vectors."""

    @property
    def needs(self) -> tuple[Group, ...]:
        """Which vectors it is fitted to."""
        ...

    def fit(self, seen: Statistics) -> VectorMap:
        """The map for a corpus.

        Raises:
            FixError: too few texts, dimensions that never vary, or nothing of what it needs.
        """
        ...


@dataclass(frozen=True, eq=False)
class Cohort:
    """A sample of what is searched and of what is asked, with the vectors that go into an index.

    Args:
        documents, queries: float64 [texts, dim], as they are compared: of norm 1 where the model compares by cosine.
        document_tokens, query_tokens: int64 [texts].
    """

    documents: Floats
    document_tokens: npt.NDArray[np.int64]
    queries: Floats
    query_tokens: npt.NDArray[np.int64]

    def require(self, fix: str, *, documents: int = 0, queries: int = 0) -> None:
        """Raise FixError where there are fewer documents or queries than a fix needs."""
        for what, got, least in (
            ("documents", len(self.documents), documents),
            ("queries", len(self.queries), queries),
        ):
            if got < least:
                raise FixError(f"`{fix}` needs at least {least} {what} to be fitted, got {got}. Give more.")


class ScoreMap(Protocol):
    """A correction of scores as further dimensions of the vectors: their inner product is the corrected score."""

    @property
    def arrays(self) -> Mapping[str, Floats]:
        """What `from_arrays` of the fix makes it of again."""
        ...

    def extend(self, vectors: Vectors, n_tokens: npt.NDArray[np.int64], role: Role) -> Vectors:
        """Vectors with the further dimensions: float32 [texts, dim + extra]."""
        ...


@runtime_checkable
class ScoreFix(AnyFix, Protocol):
    """Fitted to unlabelled documents and queries, then a correction of scores."""

    def fit(self, seen: Cohort) -> ScoreMap:
        """The correction for a corpus.

        Raises:
            FixError: too few queries or documents.
        """
        ...

    def from_arrays(self, arrays: Mapping[str, Floats]) -> ScoreMap:
        """What `arrays` gave."""
        ...
