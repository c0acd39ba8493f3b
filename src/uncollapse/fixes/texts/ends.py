"""The first and the last tokens of a text alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from uncollapse.fixes.kinds import Kind, Piece, Reading, Vectors
from uncollapse.fixes.maps import Role
from uncollapse.fixes.notations import check_number, write
from uncollapse.fixes.texts.chunks import LONG, mean_of
from uncollapse.fixes.texts.cutting import Spans, join_ends


@dataclass(frozen=True)
class HeadTail:
    """Embed the first and the last tokens of a text as one text, and nothing between them.

    One pass over at most head + tail tokens, whatever the length. It pays where texts end with what they are about,
    and loses what stands in the middle; what is left out counts as cut off.

    Args:
        head: tokens from the beginning, at least 1.
        tail: tokens from the end; 0 for none.

    Raises:
        NotationError: numbers out of range.

    >>> str(HeadTail(96, 32))
    'head_tail(96, 32)'

    Source: Sun et al. 2019, How to Fine-Tune BERT for Text Classification (arXiv 1905.05583).
    """

    kind: ClassVar[Kind] = Kind.TEXT
    roles: ClassVar[tuple[Role, ...]] = LONG
    is_identity: ClassVar[bool] = False
    reading: ClassVar[Reading] = "directed"
    keeps_all: ClassVar[bool] = False
    head: int = 128
    tail: int = 64

    def __post_init__(self) -> None:
        check_number(self, "head", low=1, whole=True)
        check_number(self, "tail", low=0, whole=True)

    def __str__(self) -> str:
        return write("head_tail", self.head, self.tail)

    @property
    def largest(self) -> int:
        """See `TextFix`."""
        return self.head + self.tail

    def split(self, text: str, spans: Spans, room: int) -> Sequence[Piece]:  # noqa: ARG002 - part of the protocol
        """See `TextFix`: a single piece."""
        return [Piece(*join_ends(text, spans, self.head, self.tail))]

    def aggregate(self, vectors: Vectors, n_tokens: npt.NDArray[np.int64]) -> Vectors:  # noqa: ARG002 - the protocol
        """The mean, though a text has one piece."""
        return mean_of(vectors)
