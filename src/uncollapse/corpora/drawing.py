"""A random sample of a corpus of any size: texts are drawn by a hash of their ids, so that only numbers are kept."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from uncollapse.records import chunks
from uncollapse.resampling import document_keys, sampling_order

_AT_ONCE = 1024


@dataclass(frozen=True)
class Draw:
    """Texts that stand in a random line up to a place; which they are depends on their ids and the seed alone.

    Args:
        last: the place of the last of them; None for all texts.
        seed: of the line.
    """

    last: int | None
    seed: int

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
        heap: list[int] = []  # the places of the first so far, negative, so that the last of them is on top
        for few in chunks(ids, _AT_ONCE):
            for place in sampling_order(document_keys(few), seed=seed).tolist():
                if len(heap) < size:
                    heapq.heappush(heap, -place)
                elif place < -heap[0]:
                    heapq.heapreplace(heap, -place)
        return cls(-heap[0] if len(heap) == size else None, seed)

    def __contains__(self, text_id: str) -> bool:
        if self.last is None:
            return True
        return int(sampling_order(document_keys([text_id]), seed=self.seed)[0]) <= self.last
