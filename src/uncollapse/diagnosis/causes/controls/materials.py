"""What controls are made of: the pieces of every document, and the pieces that other documents lend."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.pieces import Pieces
from uncollapse.errors import UncollapseError
from uncollapse.measures import unit
from uncollapse.records import FloatArray
from uncollapse.resampling import Keys

Deal = npt.NDArray[np.int64]
"""Which pieces each document is dealt, as numbers into `Materials.later`: int64 [documents, pieces - 1]."""

_PAYS = 1e-9  # rounding must not swap to and fro
_COMPARISONS = 4e8  # of swaps in all rounds together, but two rounds at least; seconds


@dataclass(frozen=True, eq=False)
class Materials:
    """What every control is made of.

    Args:
        pieces: the read pieces of each document, equally many of each, at least two.
        keys: uint64 [documents], from `document_keys`.
        room: tokens of a full text, special tokens not counted.
        seed: of every random choice; a document's own choices depend on its id and not on its place.
        cut: the beginning of a text, of at most so many tokens, special tokens not counted.
        vectors: of the pieces as the model gives them, [documents, pieces, dim]; of none where no control reads them.
    """

    pieces: tuple[Pieces, ...]
    keys: Keys
    room: int
    seed: int
    cut: Callable[[str, int], str]
    vectors: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pieces)

    def generator(self, document: int, purpose: str) -> np.random.Generator:
        """Random numbers of one document for one purpose."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode()), int(self.keys[document])])

    @cached_property
    def units(self) -> npt.NDArray[np.float32]:
        """Directions of the pieces: [documents, pieces, dim]."""
        return unit(self.vectors.reshape(-1, self.vectors.shape[2])).reshape(self.vectors.shape)

    @property
    def later(self) -> tuple[str, ...]:
        """All pieces but the first of each document, document after document."""
        return tuple(text for pieces in self.pieces for text in pieces.texts[1:])

    @cached_property
    def closeness(self) -> npt.NDArray[np.float64]:
        """Cosine of each document's first piece with every later piece: [documents, later pieces]."""
        first, later = self.units[:, 0], self.units[:, 1:].reshape(-1, self.units.shape[2])
        return (first @ later.T).astype(np.float64)

    @cached_property
    def nearest(self) -> Deal:
        """The pieces of other documents nearest to each document's first piece."""
        return deal(self.closeness)

    @cached_property
    def random(self) -> Deal:
        """Random pieces of other documents."""
        n_later = len(self.later)
        return deal(np.stack([self.generator(row, "random").random(n_later) for row in range(len(self))]))

    def mean_closeness(self, dealt: Deal) -> float:
        """Mean cosine between the first piece of a document and those it was dealt."""
        return float(np.take_along_axis(self.closeness, dealt, axis=1).mean())


def deal(wishes: FloatArray) -> Deal:
    """Deal the later pieces of all documents out again: each piece once, to no document its own.

    Documents swap pieces, two at a time and the best swap first, until no swap brings both together nearer to what
    they wish for, or, with very many pieces, for two rounds.

    Args:
        wishes: [documents, later pieces], higher is better; as many later pieces of each document, side by side.

    Returns:
        int64 [documents, later pieces of a document].

    Raises:
        UncollapseError: one document alone, which nobody can lend a piece.

    >>> deal(np.array([[9.0, 9.0, 1.0, 0.0], [3.0, 4.0, 9.0, 9.0]])).tolist()
    [[2, 3], [0, 1]]
    """
    documents, pieces = wishes.shape
    if documents < 2:
        raise UncollapseError(f"Pieces can be dealt among two documents or more, got {documents}. Use more documents.")
    holders = np.repeat(np.arange(documents), pieces // documents)
    wishes = np.where(holders == np.arange(documents)[:, None], -np.inf, wishes)  # a document owns what it held
    held = _rotated(documents, pieces // documents)
    for _ in range(max(2, int(_COMPARISONS / pieces**2))):
        swaps = [_swap(wishes, holders, held, place) for place in range(pieces)]
        if not any(swaps):
            break
    return held.reshape(documents, -1)


def _rotated(documents: int, later: int) -> npt.NDArray[np.int64]:
    """A deal to begin with: the k-th later piece of the document 1, 2, 3, ... places further on."""
    step = 1 + np.arange(later) % (documents - 1)
    lenders = (np.arange(documents)[:, None] + step) % documents
    return (lenders * later + np.arange(later)).ravel()


def _swap(wishes: FloatArray, holders: npt.NDArray[np.int64], held: npt.NDArray[np.int64], place: int) -> bool:
    """Make the best swap of the piece at a place, if there is one that pays."""
    document, piece = holders[place], held[place]
    gains = wishes[document, held] + wishes[holders, piece] - wishes[document, piece] - wishes[holders, held]
    best = int(np.argmax(gains))
    if gains[best] <= _PAYS:
        return False
    held[place], held[best] = held[best], piece
    return True
