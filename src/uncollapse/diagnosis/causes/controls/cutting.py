"""How long controls are, and documents cut into equally many pieces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.pieces import Pieces, cut_pieces
from uncollapse.encoders import TextEncoder
from uncollapse.errors import ModelError, UncollapseError
from uncollapse.reservoir import Kept

PIECE = 32
"""Tokens of a piece, special tokens in; twice the special tokens and prompt where that is more, and a quarter of the
full length where that is less."""

_LEAST_TEXT, _LEAST_PIECES = 4, 4


@dataclass(frozen=True)
class Lengths:
    """How many tokens controls have.

    Args:
        full: N, special tokens and prompt in.
        piece: of a piece, special tokens and prompt in.
        special: special tokens and prompt of every text.
    """

    full: int
    piece: int
    special: int

    @property
    def size(self) -> int:
        """Tokens of a piece, special tokens not counted."""
        return self.piece - self.special

    @property
    def room(self) -> int:
        """Tokens of a full text, special tokens not counted."""
        return self.full - self.special

    @property
    def count(self) -> int:
        """How many pieces fit into a full text."""
        return self.room // self.size


def fewest_tokens(encoder: TextEncoder) -> int:
    """Tokens that a document must have at least, special tokens and prompt in."""
    return _LEAST_PIECES * (encoder.n_special_tokens + _LEAST_TEXT)


def choose_lengths(encoder: TextEncoder, documents: Sequence[Kept], piece: int | None = None) -> Lengths:
    """The longest length that the model reads and all documents reach, and the length of a piece.

    N is the model's limit where all documents reach it, else the largest power of two that they all reach, as in the
    nested windows, or what four pieces take. A piece has `piece` tokens, or N / 4 where that is less.

    Raises:
        UncollapseError: a document too short for four pieces; pieces without room for text.
    """
    special, least = encoder.n_special_tokens, fewest_tokens(encoder)
    piece = max(PIECE, 2 * special) if piece is None else piece
    if piece < special + _LEAST_TEXT:
        raise UncollapseError(
            f"A piece needs room for {_LEAST_TEXT} tokens of text beside the {special} special and prompt tokens of "
            f"{encoder.name!r}, got {piece} tokens in all. Use pieces of {special + _LEAST_TEXT} or more."
        )
    for document in documents:
        if min(document.n_tokens, encoder.max_tokens) < least:
            raise UncollapseError(
                f"Controls need documents of which the model reads at least {least} tokens, special tokens and prompt "
                f"in, but {document.id!r} has {document.n_tokens} and {encoder.name!r} reads {encoder.max_tokens}. "
                "Leave out shorter documents, or raise the model's limit."
            )
    shortest = min(document.n_tokens for document in documents)
    full = encoder.max_tokens if shortest >= encoder.max_tokens else max(least, 1 << (shortest.bit_length() - 1))
    return Lengths(full, min(piece, full // _LEAST_PIECES), special)


def read_pieces(encoder: TextEncoder, document: Kept, lengths: Lengths) -> Pieces:
    """The pieces of a document that a full text holds, as many of every document."""
    pieces = cut_pieces(document.text, encoder.spans(document.text), lengths.size)
    if len(pieces) < lengths.count:
        raise UncollapseError(
            f"Controls need {lengths.count} pieces of {lengths.size} tokens of every document, but {document.id!r} "
            f"gives {len(pieces)}: its n_tokens is {document.n_tokens}, and {encoder.name!r} finds "
            f"{int(pieces.n_tokens.sum())} tokens in its text. Count tokens and cut texts with the same model."
        )
    return pieces.first(lengths.count)


def cutter(encoder: TextEncoder) -> Callable[[str, int], str]:
    """What cuts a text to at most so many tokens, special tokens not counted, at the end of a word."""
    return lambda text, size: cut_pieces(text, encoder.spans(text), size).texts[0]


@dataclass(frozen=True, eq=False)
class Made:
    """The texts of a control.

    Args:
        texts: one a document, each of at most the full length.
        n_tokens: of each, special tokens in, int64 [documents].
        cut: how many lost their last words to fit, because joined pieces can have more tokens than apart.
    """

    texts: tuple[str, ...]
    n_tokens: npt.NDArray[np.int64]
    cut: int


def fit(encoder: TextEncoder, texts: Sequence[str], lengths: Lengths, name: str) -> Made:
    """Count the tokens of made texts, and cut those that would be too long: the model must not do it in silence.

    Raises:
        ModelError: a text that stays too long, because the model's spans are not those of its tokens.
    """
    counts = encoder.count(texts)
    long = np.flatnonzero(counts > lengths.full).tolist()
    if not long:
        return Made(tuple(texts), counts, 0)
    shorter, cut = list(texts), cutter(encoder)
    for row in long:
        shorter[row] = cut(texts[row], lengths.room)
    counts = encoder.count(shorter)
    if counts.max() > lengths.full:
        worst = int(np.argmax(counts))
        raise ModelError(
            f"The texts of control {name!r} must have at most {lengths.full} tokens, or {encoder.name!r} would cut "
            f"them in silence, but text {worst} (counted from 0) has {counts[worst]} after it was cut by the model's "
            "own spans. The spans must be those of the tokens that are counted."
        )
    return Made(tuple(shorter), counts, len(long))
