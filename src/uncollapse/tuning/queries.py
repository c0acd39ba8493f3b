"""Queries made out of a document, in several ways; the right answer is the document.

No made query is like people's. One that is a sentence shares words and style with its document, so it likes strong
corrections; one of key words has no grammar; one around a rare word is too easy. What all of them say together is not
the fault of one way of making them.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from uncollapse.diagnosis.costs.sentences import Sentence, locate_sentences, locate_words, once_only, quotable
from uncollapse.resampling import document_keys

FEWEST_WORDS = 30
"""Words a document must have to be asked for."""

STRETCH = 16
"""Words in a row."""

SHINGLE = 4
"""Words in a row that tell a document from others, where no other has them."""

_TRIES, _REACH = 20, 100
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, eq=False)
class Source:
    """A document that queries are made out of.

    Args:
        text: of it.
        words: where each starts and stops, in characters.
        sentences: those that can be asked for; none in a text without punctuation.
        rarity: of each word, log((documents + 1) / (those that have it + 1/2)).
        own: of each word, whether no other document has the four words that begin with it.
    """

    text: str
    words: tuple[tuple[int, int], ...]
    sentences: tuple[Sentence, ...]
    rarity: tuple[float, ...]
    own: tuple[bool, ...]

    def stretch(self, start: int, length: int) -> str:
        """Words in a row, with what stands between them."""
        last = min(start + length, len(self.words)) - 1
        return self.text[self.words[start][0] : self.words[last][1]]

    def word(self, place: int) -> str:
        """One word, in lower case."""
        start, stop = self.words[place]
        return self.text[start:stop].casefold()


Draws = np.random.Generator


def _sentence(source: Source, draws: Draws) -> str:
    if not source.sentences:
        return _in_a_row(_anywhere, source, draws)
    return source.sentences[draws.integers(len(source.sentences))].text


def _half(source: Source, draws: Draws) -> str:
    sentence = _sentence(source, draws)
    words = [sentence[start:stop] for start, stop in locate_words(sentence)]
    kept = [word for word, keep in zip(words, draws.random(len(words)) < 0.5, strict=True) if keep]
    return " ".join(kept or words[:3])


def _around_rare(source: Source, draws: Draws) -> tuple[int, int]:
    centre = max(draws.integers(len(source.words), size=_TRIES).tolist(), key=lambda place: source.rarity[place])
    length = int(draws.integers(SHINGLE, 13))
    return min(max(centre - length // 2, 0), len(source.words) - length), length


def _anywhere(source: Source, draws: Draws) -> tuple[int, int]:
    return int(draws.integers(len(source.words) - STRETCH + 1)), STRETCH


def _in_a_row(drawn: Callable[[Source, Draws], tuple[int, int]], source: Source, draws: Draws) -> str:
    """Words in a row, four of which no other document has in a row: else there would be several right answers."""
    for _ in range(_TRIES):
        start, length = drawn(source, draws)
        if any(source.own[start : start + length - SHINGLE + 1]):
            break
    return source.stretch(start, length)


def _keywords(source: Source, draws: Draws) -> str:
    start = int(draws.integers(max(1, len(source.words) - _REACH)))
    places = range(start, min(start + _REACH, len(source.words)))
    counts = Counter(source.word(place) for place in places)
    rarity = {source.word(place): source.rarity[place] for place in places}
    telling = [word for word in counts if not _DIGITS.fullmatch(word) and (len(word) > 2 or not word.isascii())]
    telling.sort(key=lambda word: -counts[word] * rarity[word])
    return " ".join((telling or list(counts))[: int(draws.integers(3, 7))])


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


KINDS: Mapping[str, Kind] = {
    row.name: row
    for row in (
        Kind(
            "sentence",
            "a sentence of 6 to 40 words that is said only once; 16 words in a row of a text that has none",
            _sentence,
        ),
        Kind("half", "about every second word of such a sentence", _half),
        Kind("rare", "4 to 12 words in a row around a rare one", partial(_in_a_row, _around_rare)),
        Kind("keywords", "the 3 to 6 most telling words of a stretch of 100 (often there, rare elsewhere)", _keywords),
        Kind("stretch", f"{STRETCH} words in a row", partial(_in_a_row, _anywhere)),
    )
}
"""Ways to make a query: one row each."""


def read_sources(texts: Sequence[str]) -> list[Source | None]:
    """The documents of a corpus with what queries are made of; None for one that cannot be asked for.

    Asked for are documents of 30 words or more with four words in a row that no other has.

    >>> text = "The red dog of the old smith sleeps all day. " + "It barks at night and eats what others leave. " * 4
    >>> [source is not None for source in read_sources([text, "Too short a text."])]
    [True, False]
    """
    words = [locate_words(text) for text in texts]
    located = [locate_sentences(text) for text in texts]
    once = once_only(sentence for sentences in located for sentence in sentences)
    said = [[text[start:stop].casefold() for start, stop in places] for text, places in zip(texts, words, strict=True)]
    having, sharing = Counter[str](), Counter[int]()
    for spoken in said:
        having.update(set(spoken))
        sharing.update(set(_shingles(spoken)))
    rarity = {word: float(np.log((len(texts) + 1) / (count + 0.5))) for word, count in having.items()}
    sources: list[Source | None] = []
    for text, places, sentences, spoken in zip(texts, words, located, said, strict=True):
        own = tuple(sharing[one] == 1 for one in _shingles(spoken))
        source = Source(text, places, quotable(sentences, once), tuple(rarity[word] for word in spoken), own)
        sources.append(source if len(places) >= FEWEST_WORDS and any(own) else None)
    return sources


def _shingles(words: Sequence[str]) -> list[int]:
    """A hash of every four words in a row."""
    return [hash(tuple(words[place : place + SHINGLE])) for place in range(len(words) - SHINGLE + 1)]


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
