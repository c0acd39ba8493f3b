"""A sample of a corpus in which every length is present."""

from collections.abc import Callable, Iterator

from uncollapse.corpora.texts import Corpus, Skipped, Text


class Balanced:
    """About equally many texts of every doubling of the length, in the order they come.

    Most corpora hold few long texts, and a study of length needs them. What such a sample says about length holds for
    the corpus; shares of the corpus (how many texts are long, how many are truncated) it cannot tell.

    Args:
        corpus: read until every class is full, or to its end.
        size: texts in all; each class of word counts (under 16, 16-31, ..., 512 and more) gets an equal part.
        advance: called with 1 for every text read.

    >>> from uncollapse.corpora import open_corpus
    >>> len(list(Balanced(open_corpus("docstrings", limit=1000), 14)))
    14
    """

    CLASSES = 7

    def __init__(self, corpus: Corpus, size: int, *, advance: Callable[[float], None] = lambda _: None) -> None:
        self._texts = _choose(corpus, max(1, size // self.CLASSES), self.CLASSES, advance)
        self.name = corpus.name
        self.description = f"{corpus.description}; {len(self._texts)} of them, about equally many of every length"
        self.notes = (*corpus.notes, "texts were chosen so that every length is present; shares of the corpus differ")
        self.skipped: Skipped = corpus.skipped

    def __iter__(self) -> Iterator[Text]:
        return iter(self._texts)


def _choose(corpus: Corpus, room: int, classes: int, advance: Callable[[float], None]) -> list[Text]:
    counts = [0] * classes
    chosen = []
    for text in corpus:
        advance(1)
        words = len(text.text.split())
        place = min(max(words.bit_length() - 4, 0), classes - 1)
        if counts[place] < room:
            counts[place] += 1
            chosen.append(text)
        if min(counts) == room:
            break
    return chosen
