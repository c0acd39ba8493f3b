"""A random sample of a corpus of any size: texts are drawn by a hash of their ids, and no text is kept."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from uncollapse.records import chunks
from uncollapse.resampling import document_keys, sampling_order

_AT_ONCE = 1024


@dataclass(frozen=True)
class Draw:
    """The first texts of a random line; which they are depends on the ids of all texts and the seed alone.

    Args:
        ids: of the texts that were drawn.
        n_all: texts that there were to draw from.
    """

    ids: frozenset[str]
    n_all: int

    @classmethod
    def first(cls, ids: Iterable[str], size: int, *, seed: int) -> "Draw":
        """The first so many of a corpus in the line; the same whatever its order.

        Args:
            ids: of all texts.
            size: how many, 1 or more.
            seed: another gives another sample.

        >>> draw = Draw.first("abcdef", 2, seed=0)
        >>> [name for name in "abcdef" if name in draw]
        ['d', 'e']
        """
        n_all = 0
        heap: list[tuple[int, str]] = []  # places of the first so far, negative, so that the last of them is on top
        for few in chunks(ids, _AT_ONCE):
            places = sampling_order(document_keys(few), seed=seed).tolist()
            n_all += len(few)
            for place, text_id in zip(places, few, strict=True):
                if len(heap) < size:
                    heapq.heappush(heap, (-place, text_id))
                elif place < -heap[0][0]:
                    heapq.heapreplace(heap, (-place, text_id))
        return cls(frozenset(text_id for _, text_id in heap), n_all)

    def __contains__(self, text_id: str) -> bool:
        return text_id in self.ids
