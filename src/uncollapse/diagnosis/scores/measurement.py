"""Measure the scores of random pairs by length of query and document."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from uncollapse.diagnosis.rows import row_of
from uncollapse.diagnosis.scores.cells import Cell, Grid, Rates, by_length, make_grid, measure_cells
from uncollapse.diagnosis.scores.pairs import make_pairs, make_side
from uncollapse.diagnosis.scores.verdict import judge, too_few
from uncollapse.diagnosis.units import TOKENS
from uncollapse.errors import UncollapseError
from uncollapse.progress import Reporter, Silent
from uncollapse.records import Part, Row
from uncollapse.resampling import REPLICATES, document_keys, sampling_order
from uncollapse.reservoir import Kept

RATE = 0.01
"""Share of unrelated pairs a threshold lets through unless told otherwise."""

MOST = 2000
"""Texts of each side that are paired: pairs grow with the square, intervals hardly narrow beyond."""


def measure_scores(
    documents: Sequence[Kept],
    queries: Sequence[Kept],
    *,
    query_source: str,
    unit: str = TOKENS,
    rates: Sequence[float] = (RATE,),
    replicates: int = REPLICATES,
    seed: int = 0,
    progress: Reporter | None = None,
) -> Part:
    """Tell what a score means at each length: how high a query scores with documents that are not its own.

    Scores are cosines of every query with every document but its own. For each bin of query length and document
    length: `score_mean`, `score_sd` and `score_quantile@SHARE`; `threshold@RATE`, the score that only this share of
    the pairs exceeds; and `false_positive_rate@RATE`, the share of the bin's pairs above the one threshold of all
    pairs together. Without any effect of length that share is RATE in every bin.

    How to read it: thresholds of 0.31 for short documents and 0.47 for long ones mean that a score of 0.4 is a rare
    match with a short text and an everyday one with a long text. Random pairs are taken as unrelated: where more than
    RATE of them are related, as in a corpus of near-duplicates, thresholds are too high. A row's n is the number of
    documents on the side that has fewer; intervals resample the documents of both sides.

    Args:
        documents: a uniform sample, with vectors; no id twice.
        queries: with vectors, and with the id of the document each is made from or made for, if any.
        query_source: what the queries are, in words, such as "first sentences of other documents".
        unit: what lengths are counted in.
        rates: false-positive rates, each above 0 and below 1; the verdict speaks of the first.
        replicates: bootstrap replicates, a multiple of 4.
        seed: of the bootstrap, and of the sample where there are more than 2,000 texts.
        progress: told about every bin.

    Returns:
        Rows of the views "scores" (bin "QUERYBIN x DOCUMENTBIN"), "scores_by_document" and "scores_by_query" (all
        lengths of the other side), "scores_overall". A threshold that too few pairs could tell has no row, and the
        verdict says so.

    Raises:
        UncollapseError: a rate out of range, a document given twice, or a text without a vector.

    Example:
        >>> import numpy as np
        >>> vectors = np.random.default_rng(0).standard_normal((120, 16)).astype(np.float32)
        >>> texts = [Kept(str(i), "", 5 + i, vector) for i, vector in enumerate(vectors)]
        >>> part = measure_scores(texts, texts, query_source="the documents themselves", replicates=64)
        >>> [(row.measure, row.n) for row in part.rows if row.view == "scores_overall"]
        [('threshold@0.01', 120)]

    Reference:
        Owen and Eckles (2012), Bootstrapping data arrays of arbitrary order, Annals of Applied Statistics 6
        (resampling both sides).
    """
    named = _named(rates)
    _check(documents, queries)
    about = {
        "queries": query_source,
        "rates": list(named.values()),
        "n_given": {"queries": len(queries), "documents": len(documents)},
    }
    kept = [_first_in_line(texts, seed) for texts in (queries, documents)]
    if len({text.id for side in kept for text in side}) < 2 or not all(kept):
        return Part(verdict=(too_few(len(queries), len(documents)),), about={"scores": about})
    pairs = make_pairs(*(make_side(side, replicates=replicates, seed=seed) for side in kept))
    grid = make_grid(pairs, named, unit=unit)
    with (progress or Silent()).track("scores of random pairs", pairs.count, "pairs") as advance:
        measured = measure_cells(grid, advance)
    by_query, by_document = (by_length(grid, measured, side=side) for side in (0, 1))
    cells = [cell for cell, _ in measured.values()]
    views = {
        "scores_overall": [grid.whole],
        "scores_by_document": by_document,
        "scores_by_query": by_query,
        "scores": cells,
    }
    return Part(
        tuple(_rows(views)),
        judge(grid, by_query, by_document, cells, query_source),
        {"scores": about | _describe(grid, cells)},
    )


def _rows(views: Mapping[str, Sequence[Cell]]) -> Iterator[Row]:
    for view, parts in views.items():
        for cell in parts:
            for measure, found in cell.figures.items():
                yield row_of(measure, found, view=view, label=cell.label, n_tokens=cell.n_tokens)


def _describe(grid: Grid, cells: Sequence[Cell]) -> dict[str, Any]:
    return {
        "query_edges": list(grid.queries.edges),
        "document_edges": list(grid.documents.edges),
        "overall": grid.whole.describe(),
        "cells": [cell.describe() for cell in cells],
    }


def _named(rates: Sequence[float]) -> Rates:
    named = {f"{rate:g}": float(rate) for rate in rates}
    bad = [rate for rate in rates if not (math.isfinite(rate) and 0 < rate < 1)]
    if bad or not named or len(named) < len(rates):
        raise UncollapseError(
            "False-positive rates must be different numbers above 0 and below 1, at least one of them, got "
            f"{', '.join(str(rate) for rate in rates) or 'none'}. 0.01 lets through one unrelated pair in a hundred."
        )
    return named


def _check(documents: Sequence[Kept], queries: Sequence[Kept]) -> None:
    for what, texts in (("document", documents), ("query", queries)):
        bare = next((text.id for text in texts if text.vector is None), None)
        if bare is not None:
            raise UncollapseError(
                f"Scores need the vector of every text, but {what} {bare!r} has none. Encode it first."
            )
    sizes = {text.vector.shape for text in (*documents, *queries) if text.vector is not None}
    if len(sizes) > 1:
        raise UncollapseError(
            f"Queries and documents must have vectors of one length, got shapes {sorted(sizes)}. Encode both with "
            "the same model."
        )
    if len({document.id for document in documents}) < len(documents):
        raise UncollapseError(
            f"Every document counts once, but {len(documents)} documents have only "
            f"{len({document.id for document in documents})} different ids. Give each its own."
        )


def _first_in_line(texts: Sequence[Kept], seed: int) -> list[Kept]:
    """At most 2,000, in an order that depends on ids and texts alone."""
    places = sampling_order(document_keys([text.id for text in texts]), seed=seed).tolist()
    line = sorted(zip(places, texts, strict=True), key=lambda pair: (pair[0], pair[1].text))
    return [text for _, text in line[:MOST]]
