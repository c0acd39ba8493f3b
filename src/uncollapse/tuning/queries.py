"""Queries made out of a document; the right answer is the document.

No made query is like people's: each way of making them has its own taste in corrections. Sixteen words in a row misled
a choice least where several ways were held against people's judgements (docs/log.md); a sentence is too much like its
document, key words have no grammar, rare words are too easy.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from uncollapse.diagnosis.costs.sentences import locate_words
from uncollapse.pipelines.windows import STRETCH
from uncollapse.resampling import draw

FEWEST_WORDS = 30
"""Words a document must have to be asked for."""

SHINGLE = 4
"""Words in a row that tell a document from others, where no other has them."""


@dataclass(frozen=True, eq=False)
class Source:
    """A document that a query is made out of.

    Args:
        text: of it.
        words: where each starts and stops, in characters.
        own: of each word, whether no other document has the four words that begin with it.
    """

    text: str
    words: tuple[tuple[int, int], ...]
    own: tuple[bool, ...]


def read_sources(texts: Sequence[str]) -> list[Source | None]:
    """The documents of a corpus with what a query is made of; None for one that cannot be asked for.

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


def make_query(source: Source, name: str, *, seed: int) -> str:
    """16 words in a row, four of which no other document has in a row: else there would be several right answers.

    Args:
        source: the document.
        name: of the document; with the seed it says which words.
        seed: of the draw.
    """
    reach = STRETCH - SHINGLE + 1
    starts = [start for start in range(len(source.words) - STRETCH + 1) if any(source.own[start : start + reach])]
    start = draw(starts, f"{name}\0stretch", seed=seed)
    return source.text[source.words[start][0] : source.words[start + STRETCH - 1][1]]
