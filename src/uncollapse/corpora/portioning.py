"""A stream of texts in portions that fit into memory."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from uncollapse.corpora.texts import Text

TEXTS, CHARACTERS = 1024, 16_000_000
"""The most a portion holds."""


def portions(corpus: Iterable[Text], texts: int = TEXTS) -> Iterator[list[Text]]:
    """Consecutive texts, few enough and together short enough to be held at once; a text alone may be longer.

    Args:
        corpus: read once.
        texts: the most a portion holds.
    """
    batch: list[Text] = []
    characters = 0
    for text in corpus:
        if batch and (len(batch) == texts or characters + len(text.text) > CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text.text)
    if batch:
        yield batch


class Fingerprint:
    """Tells a corpus from another by the ids and texts of its portions, in their order."""

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=16)

    def add(self, batch: Sequence[Text]) -> None:
        """Read one more portion.

        A zero character parts ids and texts. Where they hold some themselves, their lengths go before them, after a
        byte that is in no text: other corpora keep the digest that they had before lengths were told.
        """
        parts = [part.encode() for text in batch for part in (text.id, text.text)]
        if any(b"\0" in part for part in parts):
            parts = [b"\xff%d:%b" % (len(part), part) for part in parts]
        self._digest.update(b"\0".join(parts))

    def __str__(self) -> str:
        return self._digest.hexdigest()
