"""Texts cut into pieces of so many tokens, at the ends of words."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from uncollapse.errors import UncollapseError

Spans = npt.NDArray[np.int64]
"""Where each token of a text begins and ends, in characters: int64 [tokens, 2]; from `TextEncoder.spans`."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """A text in consecutive pieces.

    Args:
        texts: the pieces; laid side by side they are `whole`, but for white space between words.
        n_tokens: tokens of each piece, special tokens and tokens of mere white space not counted, int64 [pieces].
        whole: the text from the first piece to the last.
    """

    texts: tuple[str, ...]
    n_tokens: npt.NDArray[np.int64]
    whole: str

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, count: int) -> "Pieces":
        """The first `count` pieces, as the pieces of a shorter text."""
        if not 1 <= count <= len(self):
            raise UncollapseError(f"This text has {len(self)} pieces, but the first {count} were asked for.")
        end = self.whole.index(self.texts[0])
        for text in self.texts[:count]:
            end = self.whole.index(text, end) + len(text)
        return Pieces(self.texts[:count], self.n_tokens[:count], self.whole[:end])


def cut_pieces(text: str, spans: Spans, size: int) -> Pieces:
    """Cut a text into pieces of at most `size` tokens, each as long as whole words allow.

    A word of more than `size` tokens is cut inside. The last piece is whatever is left.

    Args:
        text: not blank.
        spans: of its tokens, from `TextEncoder.spans(text)`.
        size: tokens of a piece, special tokens not counted.

    >>> spans = np.array([[0, 2], [2, 4], [5, 6], [7, 10]])
    >>> cut_pieces("abcd e fgh", spans, 3).texts
    ('abcd e', 'fgh')
    """
    spans = _solid(text, spans)
    if size < 1 or not len(spans):
        raise UncollapseError(f"Cutting needs tokens and pieces of at least one, got {len(spans)} and size {size}.")
    cuts = _cuts(spans, size)
    ranges = list(pairwise(cuts))
    texts = tuple(text[spans[start, 0] : spans[stop - 1, 1]] for start, stop in ranges)
    return Pieces(texts, np.diff(cuts), text[spans[0, 0] : spans[-1, 1]])


def _solid(text: str, spans: Spans) -> Spans:
    """The spans without white space at their ends, which some tokenizers count to the word that follows."""
    tokens = [(text[start:stop], start, stop) for start, stop in spans.tolist()]
    found = [
        (start + len(token) - len(token.lstrip()), stop - len(token) + len(token.rstrip()))
        for token, start, stop in tokens
        if token.strip()
    ]
    return np.array(found, np.int64).reshape(-1, 2)


def _cuts(spans: Spans, size: int) -> list[int]:
    """Token numbers at which pieces begin, and the number of tokens."""
    opens = np.concatenate([[True], spans[1:, 0] > spans[:-1, 1], [True]])  # the token begins a word
    cuts = [0]
    while cuts[-1] < len(spans):
        last = min(cuts[-1] + size, len(spans))
        words = np.flatnonzero(opens[cuts[-1] + 1 : last + 1])
        cuts.append(cuts[-1] + 1 + int(words[-1]) if len(words) else last)
    return cuts
