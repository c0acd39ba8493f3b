"""English words without a subject, and texts put together from parts."""

from collections.abc import Sequence

import numpy as np

from uncollapse.corpora.sentences import split_sentences

_WORDS = """
a about above after again all also although among an and another any are as at away back be because been before being
below between both but by can could did do does down during each either enough even ever every few for from further
had has have having he her here hers him his how however i if in indeed instead into is it its itself just less many
may me might more most much must my neither no nor not now of off often on once one only or other our out over own
perhaps quite rather same several she should since so some still such than that the their them then there these they
this those though through thus to together too toward under until up upon us very was we well were what when where
whether which while who whose why will with within without would yet you your
"""

STOP_WORDS = tuple(_WORDS.split())
"""Common English function words; in a text of another language they are neutral noise."""


def shuffle_sentences(text: str, generator: np.random.Generator) -> str:
    """The sentences of a text in another order; a text of one sentence as it is.

    What stands between sentences stays in its place, so that the text keeps its paragraphs.

    >>> shuffle_sentences("One. Two.", np.random.default_rng(0))
    'Two. One.'
    """
    sentences, gaps = split_sentences(text)
    order = generator.permutation(len(sentences))
    if np.array_equal(order, np.arange(len(order))):
        order = np.roll(order, 1)
    return "".join(sentences[place] + gap for place, gap in zip(order, [*gaps, ""], strict=True))


def stop_word_text(length: int, generator: np.random.Generator) -> str:
    """So many stop words, each of them once in random order before any comes again.

    >>> len(stop_word_text(500, np.random.default_rng(0)).split())
    500
    """
    words: list[str] = []
    while len(words) < length:
        words += generator.permutation(STOP_WORDS).tolist()
    return " ".join(words[:length])


def joined(texts: Sequence[str]) -> str:
    """Texts one after the other, with a blank between.

    >>> joined([" one", "two "])
    'one two'
    """
    return " ".join(text.strip() for text in texts)
