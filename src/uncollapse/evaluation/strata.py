"""Cuts of a sheet by length: along the documents, along the queries, and both."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.evaluation.sheets import Sheet
from uncollapse.records import LengthBins

VIEWS = ("overall", "by_document_length", "by_query_length", "grid")

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Stratum:
    """Some lines of a sheet.

    Args:
        view: one of VIEWS.
        bin: such as "120-233", for the grid "120-233 x 5-9" (documents x queries), "" for all lines.
        lines: bool [lines].
        n_tokens: mean length on the axis of the cut; of documents where there is no cut or two.
    """

    view: str
    bin: str
    lines: Mask
    n_tokens: float


def cut_by_length(sheet: Sheet, *, bins: int, cells: int) -> Iterator[Stratum]:
    """All lines, then equal-count bins of document length and of query length, then the grid of both.

    An axis on which all lines are equally long is not cut.

    Args:
        sheet: with token counts.
        bins: how many along one axis; fewer where many lines are equally long.
        cells: how many along each axis of the grid.
    """
    yield Stratum("overall", "", np.ones(len(sheet), np.bool_), _mean(sheet.n_tokens))
    yield from _cut("by_document_length", sheet.n_tokens, bins)
    if sheet.n_query_tokens is not None:
        yield from _cut("by_query_length", sheet.n_query_tokens, bins)
        yield from _grid(sheet.n_tokens, sheet.n_query_tokens, cells)


def _cut(view: str, lengths: npt.NDArray[np.int64], bins: int) -> Iterator[Stratum]:
    edges = LengthBins.equal_count(lengths, bins)
    if len(edges) < 2:
        return
    places = edges.assign(lengths)
    for number, label in enumerate(edges.labels):
        inside = places == number
        yield Stratum(view, label, inside, _mean(lengths[inside]))


def _grid(documents: npt.NDArray[np.int64], queries: npt.NDArray[np.int64], cells: int) -> Iterator[Stratum]:
    rows, columns = list(_cut("grid", documents, cells)), list(_cut("grid", queries, cells))
    for row in rows:
        for column in columns:
            inside = row.lines & column.lines
            if inside.any():
                yield Stratum("grid", f"{row.bin} x {column.bin}", inside, _mean(documents[inside]))


def _mean(lengths: npt.NDArray[np.int64]) -> float:
    return float(lengths.mean()) if len(lengths) else 0.0
