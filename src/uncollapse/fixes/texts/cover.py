"""One vector for all of a text: the model's own where it reads everything, the mean of chunks for what it does not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from uncollapse.fixes.kinds import Kind, Piece, Reading, Vectors
from uncollapse.fixes.maps import Role
from uncollapse.fixes.notations import check_number, write
from uncollapse.fixes.texts.chunks import LONG, SIZE, cut_chunks, mean_of
from uncollapse.fixes.texts.cutting import Spans


@dataclass(frozen=True)
class Cover:
    """Leave texts that the model reads whole as they are, and read the others to their end.

    v = s^2 x + (1 - s^2) c / |c|, with x the model's own vector of the text, which stops at its limit, s the share of
    the text's tokens that it read, and c the mean of the vectors of chunks of the whole text. At s = 1 nothing
    changes and nothing is paid; of a text a little too long the model's own vector keeps most of the weight, which
    chunks alone would lose; of a text many times too long the chunks have nearly all of it. That the share is squared
    was chosen on eight public collections, see docs/log.md.

    Args:
        size: tokens of a chunk at most, special tokens and prompt not counted.

    Raises:
        NotationError: a size that is no whole number of at least 1.

    >>> str(Cover(128))
    'cover(128)'

    Source: this package; the mean of chunks: DICE (Lyu et al. 2026, arXiv 2606.18781).
    """

    kind: ClassVar[Kind] = Kind.TEXT
    roles: ClassVar[tuple[Role, ...]] = LONG
    reading: ClassVar[Reading] = "directed"
    is_identity: ClassVar[bool] = False
    keeps_all: ClassVar[bool] = False
    size: int = SIZE

    def __post_init__(self) -> None:
        check_number(self, "size", low=1, whole=True)

    def __str__(self) -> str:
        return write("cover", self.size)

    @property
    def largest(self) -> int:
        """See `TextFix`."""
        return self.size

    def split(self, text: str, spans: Spans, room: int) -> Sequence[Piece]:
        """See `TextFix`."""
        whole = Piece(text, ((0, len(spans)),))
        return [whole] if len(spans) <= room else [whole, *cut_chunks(text, spans, self.size)]

    def aggregate(self, vectors: Vectors, n_tokens: npt.NDArray[np.int64]) -> Vectors:
        """See `TextFix`."""
        share = float(min(1.0, n_tokens[0] / n_tokens[1:].sum()) ** 2)
        chunks = mean_of(vectors[1:]).astype(np.float64)
        norm = float(np.linalg.norm(chunks))
        mixed: Vectors = (share * vectors[0] + (1 - share) * chunks / (norm or 1.0)).astype(np.float32)
        return mixed
