"""Queries made out of a document; the right answer is the document.

No made query is like people's: each way of making them has its own taste in corrections. Sixteen words in a row misled
a choice least where several ways were held against people's judgements (docs/log.md); a sentence is too much like its
document, key words have no grammar, rare words are too easy.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uncollapse.diagnosis.costs.sentences import locate_words
from uncollapse.resampling import document_keys

FEWEST_WORDS = 30
"""Words a document must have to be asked for."""

STRETCH = 16
"""Words in a row."""

SHINGLE = 4
"""Words in a row that tell a document from others, where no other has them."""

_TRIES = 20


@dataclass(frozen=True, eq=False)
class Source:
    """A document that queries are made out of.

    Args:
        text: of it.
        words: where each starts and stops, in characters.
        own: of each word, whether no other document has the four words that begin with it.
    """

    text: str
    words: tuple[tuple[int, int], ...]
    own: tuple[bool, ...]

    def stretch(self, start: int, length: int) -> str:
        """Words in a row, with what stands between them."""
        last = min(start + length, len(self.words)) - 1
        return self.text[self.words[start][0] : self.words[last][1]]


Draws = np.random.Generator


def _stretch(source: Source, draws: Draws) -> str:
    """Words in a row, four of which no other document has in a row: else there would be several right answers."""
    for _ in range(_TRIES):
        start = int(draws.integers(len(source.words) - STRETCH + 1))
        if any(source.own[start : start + STRETCH - SHINGLE + 1]):
            break
    return source.stretch(start, STRETCH)


@dataclass(frozen=True)
class Kind:
    """One way to make a query out of a document.

    Args:
        name: a word.
        says: what it is.
        make: the query, from a document and draws.
    """

    name: str
    says: str
    make: Callable[[Source, Draws], str]


KINDS: Mapping[str, Kind] = {row.name: row for row in (Kind("stretch", f"{STRETCH} words in a row", _stretch),)}
"""Ways to make a query: one row each. Where there are several, a dial is proven only by all of them."""


def read_sources(texts: Sequence[str]) -> list[Source | None]:
    """The documents of a corpus with what queries are made of; None for one that cannot be asked for.

    Asked for are documents of 30 words or more with four words in a row that no other has.

    >>> text = "The red dog of the old smith sleeps all day. " + "It barks at night and eats what others leave. " * 4
    >>> [source is not None for source in read_sources([text, "Too short a text."])]
    [True, False]
    """
    words = [locate_words(text) for text in texts]
    shingles = [_shingles(text, places) for text, places in zip(texts, words, strict=True)]
    having = Counter[int]()
    for some in shingles:
        having.update(set(some))
    sources: list[Source | None] = []
    for text, places, some in zip(texts, words, shingles, strict=True):
        own = tuple(having[one] == 1 for one in some)
        sources.append(Source(text, places, own) if len(places) >= FEWEST_WORDS and any(own) else None)
    return sources


def _shingles(text: str, places: Sequence[tuple[int, int]]) -> list[int]:
    """A hash of every four words in a row, in lower case."""
    said = [text[start:stop].casefold() for start, stop in places]
    return [hash(tuple(said[place : place + SHINGLE])) for place in range(len(said) - SHINGLE + 1)]


def make_queries(source: Source, name: str, *, seed: int) -> tuple[str, ...]:
    """One query of every kind, in the order of KINDS, the same for the same name and seed.

    Args:
        source: the document.
        name: of the document.
        seed: of the draws.
    """
    return tuple(kind.make(source, _draws(f"{name}\0{kind.name}", seed)) for kind in KINDS.values())


def _draws(name: str, seed: int) -> Draws:
    return np.random.default_rng([seed % 2**63, int(document_keys([name])[0])])
