"""All pairs cut into cells, queries of one length bin with documents of another, and the figures of each cell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.scores.pairs import Pairs, Reading, Side, mean_and_spread, read, share_above, thresholds
from uncollapse.diagnosis.units import TOKENS
from uncollapse.records import IntArray, LengthBins
from uncollapse.resampling import Estimate

QUERY_BINS, DOCUMENT_BINS = 4, 5
"""Most length bins of each side."""

TEXTS_OF_A_BIN = 50
"""Texts that each length bin needs, where there is more than one; with fewer, intervals of a tail are too narrow."""

PAIRS_ABOVE = 10
"""Pairs that must exceed a threshold for it to be told: one of a rate needs this many over the rate."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

Rates = Mapping[str, float]
"""False-positive rates by how names of measures write them."""


@dataclass(frozen=True)
class Cell:
    """Pairs of one length bin and their figures.

    Args:
        label: "QUERYBIN x DOCUMENTBIN"; a bin of one side with all lengths of the other; "" for all pairs.
        n_tokens: mean length of its documents, of its queries where it is a bin of queries; 0 for all pairs.
        n_queries, n_documents, n_pairs: how many there are.
        n: documents it rests on, of the side that has fewer.
        figures: by name of measure; a threshold that too few pairs could tell is not among them.
    """

    label: str
    n_tokens: float
    n_queries: int
    n_documents: int
    n_pairs: int
    n: int
    figures: Mapping[str, Estimate]

    def describe(self) -> dict[str, Any]:
        """Its label and what it rests on."""
        return {
            "bin": self.label,
            "n_queries": self.n_queries,
            "n_documents": self.n_documents,
            "n_pairs": self.n_pairs,
            "n": self.n,
        }


Measured = Mapping[tuple[int, int], tuple[Cell, Reading]]
"""Cells by the numbers of their query bin and document bin, and what their pairs were counted against."""


@dataclass(frozen=True, eq=False)
class Grid:
    """All pairs and how they are cut.

    Args:
        pairs: at least one.
        rates: whose thresholds are asked for.
        queries, documents: length bins of both sides.
        cutoffs: the threshold of all pairs together, of each rate for which it can be told.
        unit: what lengths are counted in.
    """

    pairs: Pairs
    rates: Rates
    queries: LengthBins
    documents: LengthBins
    cutoffs: Mapping[str, Estimate]
    unit: str = TOKENS

    @property
    def whole(self) -> Cell:
        """All pairs together."""
        return _cell(self.pairs, "", {f"threshold@{name}": cutoff for name, cutoff in self.cutoffs.items()})


def make_grid(pairs: Pairs, rates: Rates, *, unit: str = TOKENS) -> Grid:
    """Cut pairs into length bins of about equally many texts, and find the thresholds of all pairs together.

    At most 4 bins of queries and 5 of documents, of at least 50 texts each unless there is but one.
    """
    queries, documents = _bins(pairs.queries, QUERY_BINS), _bins(pairs.documents, DOCUMENT_BINS)
    return Grid(pairs, rates, queries, documents, _thresholds(pairs, rates), unit)


def tells(pairs: int, rate: float) -> bool:
    """Whether so many pairs can tell the threshold of a rate: at least 10 of them must exceed it."""
    return pairs * rate >= PAIRS_ABOVE * (1 - 1e-9)


def measure_cells(grid: Grid, advance: Callable[[float], None]) -> Measured:
    """Every cell that holds pairs, by the numbers of its query bin and its document bin.

    Args:
        grid: from `make_grid`.
        advance: told how many pairs are done.
    """
    found: dict[tuple[int, int], tuple[Cell, Reading]] = {}
    for i, queries in enumerate(_members(grid.queries, grid.pairs.queries)):
        for j, documents in enumerate(_members(grid.documents, grid.pairs.documents)):
            pairs = grid.pairs.take(queries, documents)
            if pairs.count:
                found[i, j] = _measure(pairs, f"{grid.queries.labels[i]} x {grid.documents.labels[j]}", grid)
            advance(pairs.count)
    return found


def by_length(grid: Grid, measured: Measured, *, side: int) -> tuple[Cell, ...]:
    """Pairs by the length of one side, with all lengths of the other.

    Args:
        grid, measured: from `make_grid` and `measure_cells`.
        side: 0 for queries, 1 for documents.
    """
    sides, bins = (grid.pairs.queries, grid.pairs.documents), (grid.queries, grid.documents)[side]
    found = []
    for place, members in enumerate(_members(bins, sides[side])):
        readings = [reading for key, (_, reading) in measured.items() if key[side] == place]
        if readings:
            chosen = [np.arange(len(texts)) for texts in sides]
            chosen[side] = members
            n_tokens = sides[side].n_tokens[members]
            found.append(_margin(grid, grid.pairs.take(*chosen), bins.labels[place], n_tokens, readings))
    return tuple(found)


def _measure(pairs: Pairs, label: str, grid: Grid) -> tuple[Cell, Reading]:
    rates = {name: rate for name, rate in grid.rates.items() if tells(pairs.count, rate)}
    reading = read(pairs, [*(1 - q for q in QUANTILES), *rates.values()], list(grid.cutoffs.values()))
    names = [*(f"score_quantile@{q:g}" for q in QUANTILES), *(f"threshold@{name}" for name in rates)]
    figures = {
        **dict(zip(("score_mean", "score_sd"), mean_and_spread(pairs), strict=True)),
        **dict(zip(names, reading.quantiles, strict=True)),
        **_shares(grid, [reading], pairs.n),
    }
    return _cell(pairs, label, figures, pairs.documents.n_tokens), reading


def _margin(grid: Grid, pairs: Pairs, label: str, n_tokens: IntArray, readings: Sequence[Reading]) -> Cell:
    found = {f"threshold@{name}": threshold for name, threshold in _thresholds(pairs, grid.rates).items()}
    return _cell(pairs, label, found | _shares(grid, readings, pairs.n), n_tokens)


def _thresholds(pairs: Pairs, rates: Rates) -> dict[str, Estimate]:
    told = {name: rate for name, rate in rates.items() if tells(pairs.count, rate)}
    return dict(zip(told, thresholds(pairs, list(told.values())), strict=True)) if told else {}


def _shares(grid: Grid, readings: Sequence[Reading], n: int) -> dict[str, Estimate]:
    return {f"false_positive_rate@{name}": share_above(readings, i, n=n) for i, name in enumerate(grid.cutoffs)}


def _cell(pairs: Pairs, label: str, figures: Mapping[str, Estimate], n_tokens: IntArray | None = None) -> Cell:
    mean = 0.0 if n_tokens is None else float(n_tokens.mean())
    return Cell(label, mean, len(pairs.queries), len(pairs.documents), pairs.count, pairs.n, figures)


def _bins(side: Side, most: int) -> LengthBins:
    documents = len(np.unique(side.keys))
    return LengthBins.equal_count(side.n_tokens, max(1, min(most, documents // TEXTS_OF_A_BIN)))


def _members(bins: LengthBins, side: Side) -> list[npt.NDArray[np.intp]]:
    places = bins.assign(side.n_tokens)
    return [np.flatnonzero(places == place) for place in range(len(bins))]
