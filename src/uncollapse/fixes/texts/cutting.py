"""Where a text is cut: into ranges of its tokens that are about equal, at words where that costs little."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Spans = npt.NDArray[np.int64]
"""Where each token of a text begins and ends, in characters: int64 [tokens, 2]."""

Range = tuple[int, int]
"""Tokens of a text from the first to before the second."""

SLACK = 4
"""A cut moves to the start of a word by at most one part in so many of a piece."""


def cut_ranges(text: str, spans: Spans, size: int, *, overlap: int = 0) -> list[Range]:
    """Ranges of at most `size` tokens that cover all tokens, as few and as equal as words allow.

    With n tokens, k = ceil((n - overlap) / (size - overlap)) ranges are enough. Each takes its share of what is left,
    and then ends at the nearest end of a word, if that is off by at most a quarter and needs no more ranges. A
    character is never cut, so a single one of more than `size` tokens makes a longer range; so do tokens of white
    space, which are no range of their own.

    Args:
        text: what the spans are of.
        spans: int64 [tokens, 2]; none for an empty text, which is one empty range.
        size: tokens of a range at most.
        overlap: tokens that a range shares with the one before, about; less than `size`.

    >>> cut_ranges("a bc def", np.array([[0, 1], [2, 4], [5, 8]]), 2)
    [(0, 2), (2, 3)]
    """
    if len(spans) <= size:
        return [(0, len(spans))]
    ranges: list[Range] = []
    for of in _equal_ranges(_Places(text, spans), len(spans), size, overlap):
        if ranges and not (piece_text(text, spans, of) and piece_text(text, spans, ranges[-1])):
            ranges[-1] = (ranges[-1][0], of[1])  # white space alone is no piece
        else:
            ranges.append(of)
    return ranges


def _equal_ranges(places: "_Places", n: int, size: int, overlap: int) -> Iterator[Range]:
    start = 0
    while n - start > size:
        left = n - start
        pieces = -(-(left - overlap) // (size - overlap))
        share = -(-(left + (pieces - 1) * overlap) // pieces)
        fewest = n - (pieces - 1) * (size - overlap)  # what is left then fits into the other pieces
        stop = places.cut(start + overlap, start + share, max(fewest, start + overlap + 1), start + size)
        yield start, stop
        if stop == n:
            return
        start = places.begin(start, stop - overlap)
    yield start, n


def piece_text(text: str, spans: Spans, of: Range) -> str:
    """What a range of tokens is of, without white space at its ends; the whole text, as it stands, where it is all.

    Characters before the first token go to the first piece, and those after any token to the piece it ends.

    >>> piece_text("a  bc def", np.array([[0, 1], [3, 5], [6, 9]]), (0, 2))
    'a  bc'
    """
    begin, end = characters(text, spans, of)
    return text if (begin, end) == (0, len(text)) else text[begin:end].strip()


def characters(text: str, spans: Spans, of: Range) -> Range:
    """The characters that a range of tokens takes up, up to where the next range begins."""
    start, stop = of
    begin = 0 if start == 0 else int(spans[start, 0])
    return begin, len(text) if stop >= len(spans) else int(spans[stop, 0])


def join_ends(text: str, spans: Spans, head: int, tail: int) -> tuple[str, tuple[Range, ...]]:
    """The first and the last tokens of a text as one text, and which they are; all of it where they are all.

    The end of the head and the start of the tail move to the start of a word, if that leaves out at most a quarter of
    either.

    >>> join_ends("a bc def g", np.array([[0, 1], [2, 4], [5, 8], [9, 10]]), 2, 1)
    ('a bc g', ((0, 2), (3, 4)))
    """
    n = len(spans)
    if n <= head + tail:
        return text, ((0, n),)
    places = _Places(text, spans)
    ends = ((0, places.cut(0, head, 1, head)), (places.start(n - tail, n - tail + tail // SLACK), n))
    ranges = tuple(of for of in ends if of[1] > of[0])
    return " ".join(piece_text(text, spans, of) for of in ranges), ranges


def first_place(text: str, spans: Spans, low: int, high: int) -> int:
    """The first token from `low` on that begins a word, if one is near, or else a character; `high` at most."""
    if low == 0:
        return 0
    places = _Places(text, spans[low - 1 : high + 1])
    return min(high, low - 1 + places.start(1, 1 + (high - low) // SLACK))


class _Places:
    """Where a text can be cut: before a token that begins a character, best before one that begins a word."""

    def __init__(self, text: str, spans: Spans) -> None:
        ends = np.maximum.accumulate(spans[:, 1])
        whole = spans[1:, 0] >= ends[:-1]
        blank = np.array([text[start : start + 1].isspace() for start in spans[1:, 0].tolist()], bool)
        self._any = np.append(np.flatnonzero(whole) + 1, len(spans))
        self._words = np.append(np.flatnonzero(whole & ((spans[1:, 0] > ends[:-1]) | blank)) + 1, len(spans))

    def cut(self, after: int, wanted: int, low: int, high: int) -> int:
        """The best place to end a range.

        Args:
            after: the end is beyond it.
            wanted: where it ends best, if no word is near.
            low, high: between which it may end for the sake of a word, ends in.
        """
        near = self._words[np.searchsorted(self._words, low) : np.searchsorted(self._words, high, side="right")]
        if len(near):
            word = int(near[np.argmin(np.abs(near - wanted))])
            if abs(wanted - word) * SLACK <= wanted - after:
                return word
        place = _last(self._any, wanted)
        return place if place > after else _next(self._any, after)

    def start(self, low: int, high: int) -> int:
        """The first word that begins between two tokens, ends in, or else whatever can be cut from the first on."""
        word = _next(self._words, low - 1)
        return word if word <= high else _next(self._any, low - 1)

    def begin(self, after: int, wanted: int) -> int:
        """The best place to begin a range that shares tokens with the one before: more than `after`."""
        place = _last(self._any, wanted)
        return place if place > after else _next(self._any, after)


def _last(places: npt.NDArray[np.int64], most: int) -> int:
    """The last place up to one; 0 where there is none."""
    found = int(np.searchsorted(places, most, side="right"))
    return int(places[found - 1]) if found else 0


def _next(places: npt.NDArray[np.int64], after: int) -> int:
    """The first place after one, which is there: the end is a place."""
    return int(places[int(np.searchsorted(places, after, side="right"))])
