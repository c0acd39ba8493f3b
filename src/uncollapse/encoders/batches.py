"""Which texts go through a model together."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

TOKENS_ON_CPU, TOKENS_ELSEWHERE = 2048, 32768
"""Tokens of one forward pass, padding in. A processor is fastest while the states of a pass stay in its cache, a
graphics card while it is full."""


def batches(
    n_tokens: npt.NDArray[np.int64], most: int, batch_size: int | None = None
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of texts that fit into one forward pass together, the longest texts first, at least one text each.

    Texts of like length go together, so that little of a pass is padding; rows times the longest of them is at most
    `most` tokens.

    Args:
        n_tokens: tokens of each text, int [texts].
        most: tokens of a pass, padding in.
        batch_size: texts of a pass, whatever their tokens; None for as many as `most` allows.

    >>> [rows.tolist() for rows in batches(np.array([4, 100, 3, 5]), 12)]
    [[1], [3, 0], [2]]
    >>> [rows.tolist() for rows in batches(np.array([4, 100, 3, 5]), 12, 3)]
    [[1, 3, 0], [2]]
    """
    order = np.argsort(-n_tokens, kind="stable")
    start = 0
    while start < len(order):
        longest = max(int(n_tokens[order[start]]), 1)
        stop = start + (batch_size or max(1, most // longest))
        yield order[start:stop]
        start = stop


def padded_tokens(n_tokens: npt.NDArray[np.int64], passes: Iterable[npt.NDArray[np.int64]]) -> int:
    """Tokens that a model computes for texts and their padding: rows times the longest of them, over all passes.

    >>> counts = np.array([4, 100, 3, 5])
    >>> padded_tokens(counts, batches(counts, 12))
    113
    """
    return sum(len(rows) * int(n_tokens[rows].max()) for rows in passes)


def by_characters(texts: Iterable[str], most: int) -> Iterator[list[str]]:
    """Consecutive lists of texts of about `most` characters together, at least one text each.

    >>> list(by_characters(["one", "two", "three", "four"], 6))
    [['one', 'two'], ['three'], ['four']]
    """
    few: list[str] = []
    characters = 0
    for text in texts:
        if few and characters + len(text) > most:
            yield few
            few, characters = [], 0
        few.append(text)
        characters += len(text)
    if few:
        yield few
