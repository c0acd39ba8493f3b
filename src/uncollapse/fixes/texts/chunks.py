"""Texts in chunks that go through the model one by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from uncollapse.errors import NotationError
from uncollapse.fixes.kinds import Kind, Piece, Reading, Vectors
from uncollapse.fixes.maps import Role
from uncollapse.fixes.notations import check_choice, check_number, given, write
from uncollapse.fixes.texts.cutting import Spans, cut_ranges, piece_text

SIZE = 128
"""Tokens of a chunk unless told otherwise."""

LONG: tuple[Role, ...] = ("document", "text")
"""What can be long: everything but a query."""

Mean = Literal["plain", "length", "norm"]


@dataclass(frozen=True)
class Chunks:
    """Cut a text into about equal chunks, embed each alone, and take the mean.

    v = sum_i w_i x_i / |sum_i w_i x_i|, over chunks of at most `size` tokens. With "plain", x_i has norm 1 and
    w_i = 1; with "length", w_i is the number of tokens of the chunk; with "norm", w_i = 1 and x_i is what the model
    has before it makes norms 1, so that a chunk counts by its norm.

    Args:
        size: tokens of a chunk at most, special tokens and prompt not counted.
        overlap: tokens that a chunk shares with the one before.
        mean: "plain", "length" or "norm".

    Raises:
        NotationError: numbers out of range, an overlap of the whole chunk, or another mean.

    >>> str(Chunks(64)), str(Chunks(64, 16, "length"))
    ('chunks(64)', 'chunks(64, 16, length)')

    Source: the mean of separately encoded chunks of a frozen model is what DICE proposes (Lyu et al. 2026, arXiv
    2606.18781); the weights are this package's.
    """

    kind: ClassVar[Kind] = Kind.TEXT
    roles: ClassVar[tuple[Role, ...]] = LONG
    is_identity: ClassVar[bool] = False
    keeps_all: ClassVar[bool] = False
    size: int = SIZE
    overlap: int = 0
    mean: Mean = "plain"

    def __post_init__(self) -> None:
        check_number(self, "size", low=1, whole=True)
        check_number(self, "overlap", low=0, whole=True)
        check_choice(self, "mean", get_args(Mean))
        check_overlap(str(self), self.size, self.overlap)

    def __str__(self) -> str:
        return write("chunks", self.size, *given((self.overlap, self.mean), (0, "plain")))

    @property
    def largest(self) -> int:
        """See `TextFix`."""
        return self.size

    @property
    def reading(self) -> Reading:
        """See `TextFix`."""
        return "raw" if self.mean == "norm" else "directed"

    def split(self, text: str, spans: Spans, room: int) -> Sequence[Piece]:  # noqa: ARG002 - part of the protocol
        """See `TextFix`."""
        return cut_chunks(text, spans, self.size, overlap=self.overlap)

    def aggregate(self, vectors: Vectors, n_tokens: npt.NDArray[np.int64]) -> Vectors:
        """See `TextFix`."""
        return mean_of(vectors, n_tokens if self.mean == "length" else None)


@dataclass(frozen=True)
class WholeAndChunks:
    """Add the mean vector of the chunks to the vector of the whole text.

    v = w + weight * (mean of x_i), over its norm: w is the vector of the text as the model alone reads it, up to its
    limit, and x_i are those of chunks of at most `size` tokens, all of norm 1. The whole keeps what chunks cannot see
    of each other; the chunks keep what the whole dilutes or never reads.

    Args:
        size: tokens of a chunk at most, special tokens and prompt not counted.
        weight: of the chunks, 0 or more; 0 changes nothing.

    Raises:
        NotationError: numbers out of range.

    >>> str(WholeAndChunks(64, 0.5))
    'whole_and_chunks(64, 0.5)'

    Source: this package.
    """

    kind: ClassVar[Kind] = Kind.TEXT
    roles: ClassVar[tuple[Role, ...]] = LONG
    reading: ClassVar[Reading] = "directed"
    keeps_all: ClassVar[bool] = False
    size: int = SIZE
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "size", low=1, whole=True)
        check_number(self, "weight", low=0)

    def __str__(self) -> str:
        return write("whole_and_chunks", self.size, self.weight)

    @property
    def is_identity(self) -> bool:
        """Whether chunks weigh nothing."""
        return self.weight == 0

    @property
    def largest(self) -> int:
        """See `TextFix`; what the model cuts off the whole, the chunks hold."""
        return self.size

    def split(self, text: str, spans: Spans, room: int) -> Sequence[Piece]:  # noqa: ARG002 - part of the protocol
        """See `TextFix`."""
        chunks = cut_chunks(text, spans, self.size)
        if len(chunks) == 1:
            return chunks
        whole = Piece(text, ((0, len(spans)),))
        return [whole] if self.is_identity else [whole, *chunks]

    def aggregate(self, vectors: Vectors, n_tokens: npt.NDArray[np.int64]) -> Vectors:  # noqa: ARG002 - the protocol
        """See `TextFix`."""
        mixed: Vectors = (vectors[0] + self.weight * mean_of(vectors[1:])).astype(np.float32)
        return mixed


@dataclass(frozen=True)
class BestChunk:
    """Keep the vectors of all chunks of a text: a query's score is that of the best one.

    s(q, d) = max_i q . x_i, over chunks of at most `size` tokens. The expensive reference: as many vectors are stored
    and searched as there are chunks, and only a search can compare such texts.

    Args:
        size: tokens of a chunk at most, special tokens and prompt not counted.
        overlap: tokens that a chunk shares with the one before.

    Raises:
        NotationError: numbers out of range, or an overlap of the whole chunk.

    >>> str(BestChunk(64)), str(BestChunk(64, 16))
    ('best_chunk(64)', 'best_chunk(64, 16)')

    Source: MaxP of Dai & Callan 2019 (arXiv 1905.09217), with vectors of passages.
    """

    kind: ClassVar[Kind] = Kind.TEXT
    roles: ClassVar[tuple[Role, ...]] = LONG
    is_identity: ClassVar[bool] = False
    reading: ClassVar[Reading] = "directed"
    keeps_all: ClassVar[bool] = True
    size: int = SIZE
    overlap: int = 0

    def __post_init__(self) -> None:
        check_number(self, "size", low=1, whole=True)
        check_number(self, "overlap", low=0, whole=True)
        check_overlap(str(self), self.size, self.overlap)

    def __str__(self) -> str:
        return write("best_chunk", self.size, *given((self.overlap,), (0,)))

    @property
    def largest(self) -> int:
        """See `TextFix`."""
        return self.size

    def split(self, text: str, spans: Spans, room: int) -> Sequence[Piece]:  # noqa: ARG002 - part of the protocol
        """See `TextFix`."""
        return cut_chunks(text, spans, self.size, overlap=self.overlap)

    def aggregate(self, vectors: Vectors, n_tokens: npt.NDArray[np.int64]) -> Vectors:  # noqa: ARG002 - the protocol
        """Their mean, though nobody asks: all are kept."""
        return mean_of(vectors)


def check_overlap(fix: str, size: int, overlap: int) -> None:
    """Raise NotationError unless an overlap leaves something of a chunk."""
    if overlap >= size:
        raise NotationError(
            f"`{fix}`: overlap must be smaller than size, got an overlap of {overlap} tokens in chunks of {size}. A "
            "quarter of the size is much already."
        )


def cut_chunks(text: str, spans: Spans, size: int, *, overlap: int = 0) -> list[Piece]:
    """About equal pieces of at most `size` tokens; see `cut_ranges`."""
    ranges = cut_ranges(text, spans, size, overlap=overlap)
    return [Piece(piece_text(text, spans, of), (of,)) for of in ranges]


def mean_of(vectors: Vectors, weights: npt.NDArray[np.int64] | None = None) -> Vectors:
    """The mean of vectors, summed in float64: float32 [dim].

    >>> mean_of(np.array([[1, 0], [0, 1]], np.float32), np.array([3, 1])).tolist()
    [0.75, 0.25]
    """
    exact = vectors.astype(np.float64)
    mean: Vectors = np.average(exact, axis=0, weights=weights).astype(np.float32)
    return mean
