"""Stretches of a corpus that stand for texts it does not have: windows of every length, and sentences for queries."""

import re
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from uncollapse.encoders import Scorable
from uncollapse.resampling import document_keys, draw, sampling_order

WINDOWED = 200
"""Documents that windows are cut from at most."""

ASKED = 1000
"""Sentences that stand for queries at most, one a document."""

NEAR = 16
"""Tokens within which a word begins, in languages that put spaces between words."""

SHORTEST_WORDS, LONGEST_WORDS = 5, 40

STRETCH = 16
"""Words in a row that stand for a query."""

_SENTENCE_END = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+|\n+")


def cut_windows(encoder: Scorable, ids: Sequence[str], texts: Sequence[str], *, seed: int = 0) -> list[str]:
    """Stretches of 8, 16, 32, ... tokens (special tokens in) from random places of random documents.

    They begin at a word where one begins near, since the rest of a word is often cut into other tokens than it had.

    Args:
        encoder: counts tokens.
        ids: one a document; which documents and places are drawn depends on them and the seed alone.
        texts: the documents.
        seed: of the draw.
    """
    order = np.argsort(sampling_order(document_keys(ids), seed=seed), kind="stable")[:WINDOWED].tolist()
    special, windows = encoder.n_special_tokens, []
    for row in order:
        spans = encoder.spans(texts[row])
        for n in _lengths(len(spans), special, encoder.max_tokens):
            drawn = draw(range(len(spans) - n + 1), f"{ids[row]}\0{n}", seed=seed)
            start = _word_begin(texts[row], spans[:, 0], drawn)
            windows.append(texts[row][spans[start, 0] : spans[start + n - 1, 1]])
    return [window for window in windows if window.strip()]


def _word_begin(text: str, begins: npt.NDArray[np.int64], place: int) -> int:
    """The token that begins the word of a token; that token itself where no word begins near before it."""
    for candidate in range(place, max(-1, place - NEAR), -1):
        at = int(begins[candidate])
        if at == 0 or text[at - 1].isspace() or text[at].isspace():
            return candidate
    return place


def _lengths(tokens: int, special: int, most: int) -> list[int]:
    """Tokens of windows without special ones, 8 with them and doubling, as far as a text and the model go."""
    longest = min(tokens, most - special)
    return [2**k - special for k in range(3, 21) if 1 <= 2**k - special <= longest]


def take_sentences(ids: Sequence[str], texts: Sequence[str], *, seed: int = 0) -> tuple[str, ...]:
    """One sentence of each of at most 1,000 random documents, of 5 to 40 words.

    Args:
        ids: one a document.
        texts: the documents.
        seed: of the draw.
    """
    return _one_each(_one_sentence, ids, texts, seed)


def take_stretches(ids: Sequence[str], texts: Sequence[str], *, seed: int = 0) -> tuple[str, ...]:
    """16 words in a row of each of at most 1,000 random documents of twice as many: for texts without punctuation.

    Args:
        ids: one a document.
        texts: the documents.
        seed: of the draw.

    >>> take_stretches(["a"], [" ".join("abcdefghijklmnopqrstuvwxyz" * 2)])[0].count(" ")
    15
    """
    return _one_each(_one_stretch, ids, texts, seed)


def _one_each(
    found_in: Callable[[str, str, int], str], ids: Sequence[str], texts: Sequence[str], seed: int
) -> tuple[str, ...]:
    """What is drawn from random documents, without those that have nothing to draw."""
    order = np.argsort(sampling_order(document_keys(ids), seed=seed), kind="stable").tolist()
    drawn = (found_in(texts[row], ids[row], seed) for row in order)
    return tuple(islice(filter(None, drawn), ASKED))


def _one_stretch(text: str, name: str, seed: int) -> str:
    words = text.split()
    if len(words) < 2 * STRETCH:
        return ""
    start = draw(range(len(words) - STRETCH + 1), f"{name}\0stretch", seed=seed)
    return " ".join(words[start : start + STRETCH])


def _one_sentence(text: str, name: str, seed: int) -> str:
    options = [
        part.strip() for part in _SENTENCE_END.split(text) if SHORTEST_WORDS <= len(part.split()) <= LONGEST_WORDS
    ]
    if not options:
        return ""
    return draw(options, f"{name}\0sentence", seed=seed)
