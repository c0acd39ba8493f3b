"""Sentences of a corpus as search queries whose right answer is known: the document they come from."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import regex

from uncollapse.corpora.sentences import split_sentences

SHORTEST, LONGEST = 6, 40
"""Words of a sentence that is used as a query; Chinese and Japanese characters count as words."""

# One ideograph or kana (CJK without and with extensions, compatibility forms), or a run of other letters and digits
# with the marks on them: decomposed accents, vowel signs of Indian scripts, which `re` takes for no part of a word.
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = regex.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+(?:['\u2019-][^\W{_IDEOGRAPHS}]+)*")


@dataclass(frozen=True)
class Sentence:
    """A sentence and where it stands in its text, in characters."""

    text: str
    start: int
    stop: int


def locate_sentences(text: str) -> tuple[Sentence, ...]:
    """The sentences of a text with their places.

    >>> locate_sentences("Is it? It is.")[1]
    Sentence(text='It is.', start=7, stop=13)
    """
    parts, gaps = split_sentences(text)
    sentences, start = [], len(text) - len(text.lstrip())
    for part, gap in zip(parts, [*gaps, ""], strict=True):
        sentences.append(Sentence(part, start, start + len(part)))
        start += len(part) + len(gap)
    return tuple(sentence for sentence in sentences if sentence.text)


def count_words(text: str) -> int:
    """Words of a text, with a Chinese or Japanese character for a word.

    >>> count_words("It's 3 words-or-so"), count_words("\u6211\u4eec"), count_words("re\u0301sume\u0301")
    (3, 2, 1)
    """
    return len(_WORD.findall(text))


def locate_words(text: str) -> tuple[tuple[int, int], ...]:
    """Where each word of a text starts and stops, in characters.

    >>> locate_words("It's red.")
    ((0, 4), (5, 8))
    """
    return tuple(match.span() for match in _WORD.finditer(text))


def normalised(sentence: str) -> str:
    """A sentence without case and line breaks, to tell whether two say the same.

    >>> normalised("So  IT\\nis")
    'so it is'
    """
    return " ".join(sentence.casefold().split())


def once_only(sentences: Iterable[Sentence]) -> frozenset[str]:
    """What is said only once, in normal form.

    >>> sorted(once_only([Sentence("A b", 0, 3), Sentence("a B", 4, 7), Sentence("c", 8, 9)]))
    ['c']
    """
    counts = Counter(normalised(sentence.text) for sentence in sentences)
    return frozenset(text for text, count in counts.items() if count == 1)


def quotable(sentences: Iterable[Sentence], once: frozenset[str]) -> tuple[Sentence, ...]:
    """Sentences of 6 to 40 words that are said only once."""
    return tuple(
        sentence
        for sentence in sentences
        if SHORTEST <= count_words(sentence.text) <= LONGEST and normalised(sentence.text) in once
    )
