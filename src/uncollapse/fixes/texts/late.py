"""Chunks whose vectors are taken after the model has read more of the text than the chunk."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from uncollapse.fixes.kinds import Kind, Part, Piece, Reading, Vectors
from uncollapse.fixes.maps import Role
from uncollapse.fixes.notations import check_choice, check_number, given, write
from uncollapse.fixes.texts.chunks import LONG, SIZE, mean_of
from uncollapse.fixes.texts.cutting import Range, Spans, characters, cut_ranges, first_place, piece_text

Keep = Literal["mean", "best"]

CONTEXT = 4
"""A window begins one part in so many of the model's room before its first new chunk."""


@dataclass(frozen=True)
class LateChunking:
    """Let the model read as much of a text as it can at once, then take the mean of the token states of each chunk.

    x_i = mean of the last states of the tokens of chunk i, through whatever the model does after pooling. Attention
    has gone over the whole window, so a chunk knows what "it" in it refers to. A text longer than the model reads goes
    through in windows, which begin a quarter of the model's room before their first new chunk; every chunk has its
    vector from one window. The chunk that begins a window takes the states of the tokens before it that are no text
    (special ones, prompt), the chunk that ends one those after it.

    Args:
        size: tokens of a chunk at most, special tokens and prompt not counted.
        keep: "mean": one vector, sum_i x_i over its norm, with x_i of norm 1; "best": all vectors, compared by the
            best of them, which only a search can do.

    Raises:
        NotationError: a number out of range, or another `keep`.

    >>> str(LateChunking(64)), str(LateChunking(64, "best"))
    ('late_chunking(64)', 'late_chunking(64, best)')

    Source: Guenther et al. 2024, Late Chunking (arXiv 2409.04701), with its "best"; their mean is this package's.
    """

    kind: ClassVar[Kind] = Kind.TEXT
    roles: ClassVar[tuple[Role, ...]] = LONG
    is_identity: ClassVar[bool] = False
    reading: ClassVar[Reading] = "states"
    size: int = SIZE
    keep: Keep = "mean"

    def __post_init__(self) -> None:
        check_number(self, "size", low=1, whole=True)
        check_choice(self, "keep", get_args(Keep))

    def __str__(self) -> str:
        return write("late_chunking", self.size, *given((self.keep,), ("mean",)))

    @property
    def largest(self) -> int:
        """See `TextFix`."""
        return self.size

    @property
    def keeps_all(self) -> bool:
        """Whether a text keeps a vector a chunk."""
        return self.keep == "best"

    def split(self, text: str, spans: Spans, room: int) -> Sequence[Piece]:
        """See `TextFix`: windows, with chunks for parts."""
        chunks = cut_ranges(text, spans, self.size)
        if len(chunks) == 1:
            return [Piece(piece_text(text, spans, chunks[0]), (chunks[0],))]
        context, windows, done = min(room // CONTEXT, room - self.size), [], 0
        while done < len(chunks):
            start = _window_start(text, spans, chunks[done][0], room, context)
            stop = done + 1
            while stop < len(chunks) and chunks[stop][1] - start <= room:
                stop += 1
            windows.append(_window(text, spans, start, chunks[done:stop]))
            done = stop
        return windows

    def aggregate(self, vectors: Vectors, n_tokens: npt.NDArray[np.int64]) -> Vectors:  # noqa: ARG002 - the protocol
        """See `TextFix`."""
        return mean_of(vectors)


def _window_start(text: str, spans: Spans, new: int, room: int, context: int) -> int:
    """Where the window of the next chunk begins: further back where it reaches the end, so that it is full."""
    wanted = min(new - context, len(spans) - room) if new else 0
    return first_place(text, spans, max(0, wanted), new)


def _window(text: str, spans: Spans, start: int, chunks: Sequence[Range]) -> Piece:
    of = (start, chunks[-1][1])
    begin, end = characters(text, spans, of)
    begin += len(text[begin:end]) - len(text[begin:end].lstrip())
    places = [characters(text, spans, chunk) for chunk in chunks]
    parts = [
        Part(max(0, first - begin), last - begin, chunk[1] - chunk[0])
        for (first, last), chunk in zip(places, chunks, strict=True)
    ]
    return Piece(text[begin:end].rstrip(), (of,), tuple(parts))
