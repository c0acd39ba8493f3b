"""Random samples of documents that no order, chunk size or machine can change."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Kept:
    """A sampled document.

    Args:
        id: unique in the corpus.
        text: cut to what the model can see.
        n_tokens: tokens the model sees, special tokens and prompt in.
        vector: unit vector [dim], where it was kept.
        full: the text beyond the model's limit too, but not without end; "" where it was not kept.
        source: file or package it comes from.
        query: a natural query for it, where the corpus has one.
    """

    id: str
    text: str
    n_tokens: int
    vector: npt.NDArray[np.float32] | None = None
    full: str = ""
    source: str = ""
    query: str | None = None


class Reservoir:
    """The documents first in a random line that depends on their ids alone: the same whatever the order or chunks."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._heap: list[tuple[int, str, Kept]] = []

    def offer(self, place: int, document: Kept) -> None:
        """Keep the document if it is among the first."""
        item = (-place, document.id, document)
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, item)
        elif self.size and item > self._heap[0]:
            heapq.heapreplace(self._heap, item)

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def last_place(self) -> int | None:
        """The place from which on nothing is kept; None while there is room."""
        return -self._heap[0][0] if len(self._heap) == self.size else None

    def documents(self) -> tuple[Kept, ...]:
        """The kept documents, first in line first."""
        return tuple(item[2] for item in sorted(self._heap, reverse=True))


class Levels:
    """A random sample of the documents that reach each of several lengths, and how many do.

    Args:
        lengths: in tokens, shortest first.
        size: the most documents kept of each.
        seed: of the order they stand in line.
    """

    def __init__(self, lengths: Iterable[int], size: int, seed: int) -> None:
        self._kept = {n: Reservoir(size, seed) for n in lengths}
        self.reached = dict.fromkeys(self._kept, 0)

    def offer(self, place: int, document: Kept) -> None:
        """Keep a document for every length it reaches, where it is among the first."""
        for n, reservoir in self._kept.items():
            if document.n_tokens >= n:
                self.reached[n] += 1
                reservoir.offer(place, document)

    def longest(self, fewest: int) -> int:
        """The longest length that so many documents reach; 0 if they reach one length only, or none."""
        enough = [n for n, reservoir in self._kept.items() if len(reservoir) >= fewest]
        return max(enough) if len(enough) > 1 else 0

    def documents(self, length: int) -> tuple[Kept, ...]:
        """The kept documents of a length, first in line first; none of length 0."""
        return self._kept[length].documents() if length else ()
