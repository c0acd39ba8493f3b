"""A stream of texts in portions that fit into memory."""

from collections.abc import Iterable, Iterator

from uncollapse.corpora.texts import Text

TEXTS, CHARACTERS = 1024, 16_000_000
"""The most a portion holds."""


def portions(corpus: Iterable[Text]) -> Iterator[list[Text]]:
    """Consecutive texts, few enough and together short enough to be held at once; a text alone may be longer."""
    batch: list[Text] = []
    characters = 0
    for text in corpus:
        if batch and (len(batch) == TEXTS or characters + len(text.text) > CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text.text)
    if batch:
        yield batch
