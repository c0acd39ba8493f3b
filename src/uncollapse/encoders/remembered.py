"""Vectors held in memory, for many pipelines in a row that share a model."""

from collections.abc import Mapping

import numpy as np

from uncollapse.encoders.cache import Block


class Remembered:
    """Vectors of texts that one model was asked for in one way."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[Block, int]] = {}

    def find(self, places: Mapping[str, int], block: Block) -> dict[str, int]:
        """Fill in what is known; returns the others with their places."""
        for text, place in places.items():
            if text in self._rows:
                held, row = self._rows[text]
                block.vectors[place] = held.vectors[row]
                block.n_tokens[place], block.n_tokens_full[place] = held.n_tokens[row], held.n_tokens_full[row]
        return {text: place for text, place in places.items() if text not in self._rows}

    def put(self, places: Mapping[str, int], block: Block) -> None:
        """Keep some rows of a block."""
        rows = np.array(list(places.values()), np.int64)
        held = Block(block.vectors[rows], block.n_tokens[rows], block.n_tokens_full[rows])
        self._rows.update({text: (held, row) for row, text in enumerate(places)})


class Memory:
    """What a model was asked for, by the part of it and the prompt that were used.

    >>> memory = Memory()
    >>> memory.of("", "") is memory.of("", ""), memory.of("", "") is memory.of("", "query: ")
    (True, False)
    """

    def __init__(self) -> None:
        self._ways: dict[tuple[str, str], Remembered] = {}

    def of(self, tower: str, prompt: str) -> Remembered:
        """The vectors of one way to ask."""
        return self._ways.setdefault((tower, prompt), Remembered())

    def clear(self) -> None:
        """Hold nothing."""
        self._ways.clear()
