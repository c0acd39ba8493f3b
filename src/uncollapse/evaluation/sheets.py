"""One line an item: what was scored, how long it is, what was found. Means are taken last."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from uncollapse.errors import UncollapseError

SNIPPET = 300
"""Characters of a text that a line keeps of it."""


def beginnings(texts: Iterable[str]) -> tuple[str, ...]:
    """The first characters of each text, for people.

    >>> [len(text) for text in beginnings(["short", "long" * 1000])]
    [5, 300]
    """
    return tuple(text[:SNIPPET] for text in texts)


@dataclass(frozen=True, eq=False)
class Sheet:
    """Per-item numbers of one task under one model and fix.

    Args:
        items: what a line is, in the plural: "queries", "judged documents", "pairs", "texts", "articles".
        ids: one a line.
        groups: lines of one group are not independent and are resampled together.
        n_tokens: int64 [lines], length of the line's document before truncation; for a query the geometric mean of its
            relevant documents, for a pair its longer text.
        n_query_tokens: int64 [lines], length of the query, or of a pair's shorter text; None where there is only one
            text.
        columns: float64 [lines] or [lines, experiments] each, such as `ndcg@10`, or `cosine` beside `gold`.
        snippets: the beginning of each line's text, for people.
        notes: what a reader must know.
        shared: [lines, things] of `linked.overlaps`, where what lines share links so many of them that every line, or
            query, is a group of its own; n then counts what is not independent. None where groups are independent.
    """

    items: str
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    n_tokens: npt.NDArray[np.int64]
    n_query_tokens: npt.NDArray[np.int64] | None
    columns: Mapping[str, npt.NDArray[np.float64]]
    snippets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shared: csr_array | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        lengths |= {"groups": len(self.groups), "n_tokens": len(self.n_tokens)}
        if self.n_query_tokens is not None:
            lengths["n_query_tokens"] = len(self.n_query_tokens)
        wrong = {name: length for name, length in lengths.items() if length != len(self.ids)}
        if wrong:
            raise UncollapseError(f"A sheet of {len(self.ids)} {self.items} got columns of other lengths: {wrong}.")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, lines: npt.NDArray[Any]) -> Self:
        """The sheet of some lines only, given as their numbers or as a mask."""
        chosen = np.arange(len(self))[lines]
        return replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            groups=tuple(self.groups[i] for i in chosen),
            n_tokens=self.n_tokens[chosen],
            n_query_tokens=None if self.n_query_tokens is None else self.n_query_tokens[chosen],
            columns={name: column[chosen] for name, column in self.columns.items()},
            snippets=tuple(self.snippets[i] for i in chosen) if self.snippets else (),
            shared=None if self.shared is None else self.shared[chosen],
        )
