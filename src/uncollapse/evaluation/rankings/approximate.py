"""Approximate search with an index, for corpora beyond exact search; only this file knows usearch."""

import importlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.errors import MissingExtraError
from uncollapse.measures.search import Hits, Vectors, search

CHECKED = 100
"""Queries whose approximate results are held against the exact ones."""


@dataclass(frozen=True, eq=False)
class Approximate:
    """What an index found, and how much of the exact result it is.

    Args:
        hits: as of `search`.
        recall: share of the exact first ten that is among the first ten, over the checked queries.
        checked: how many queries that was measured on.
    """

    hits: Hits
    recall: float
    checked: int


def require_usearch() -> None:
    """Say how to install usearch where it is not.

    Raises:
        MissingExtraError: usearch is not installed.
    """
    try:
        importlib.import_module("usearch.index")
    except ImportError as error:
        raise MissingExtraError("usearch", "index", "Approximate search") from error


def search_index(
    queries: Vectors,
    documents: Vectors,
    k: int,
    *,
    order: npt.NDArray[np.int64] | None = None,
    excluded: npt.NDArray[np.int64] | None = None,
    expansion: int = 256,
) -> Approximate:
    """The k documents with about the largest inner product with each query, by an HNSW graph.

    What the graph finds is scored again in float64 and ordered as `search` orders it, so only what it misses differs.
    How much that is, is measured on the first queries against exact search. The graph is built by one thread: threads
    that build it together leave some documents without a link, other ones each time, and the same vectors then score
    otherwise. Searching takes every core.

    Args:
        queries, documents, k, order, excluded: as of `search`.
        expansion: how widely the graph is searched; larger finds more, slower.

    Raises:
        MissingExtraError: usearch is not installed.

    Reference:
        Malkov & Yashunin (2020), Efficient and robust approximate nearest neighbor search using HNSW graphs, TPAMI 42.
    """
    require_usearch()
    from usearch.index import Index

    index = Index(ndim=documents.shape[1], metric="ip", dtype="f32", expansion_search=max(expansion, k + 1))
    index.add(np.arange(len(documents)), np.ascontiguousarray(documents, np.float32), threads=1)
    wanted = min(k + (excluded is not None), len(documents))
    found = index.search(np.ascontiguousarray(queries, np.float32), wanted)
    keys = np.asarray(found.keys).astype(np.int64).reshape(len(queries), -1)
    keys[np.arange(keys.shape[1]) >= np.asarray(found.counts).reshape(-1, 1)] = -1
    if excluded is not None:
        keys[keys == excluded[:, None]] = -1
    places = np.arange(len(documents)) if order is None else np.asarray(order)
    hits = _ordered(queries, documents, keys, places, k)
    checked = min(CHECKED, len(queries))
    own = None if excluded is None else excluded[:checked]
    exact = search(queries[:checked], documents, min(10, k), order=order, excluded=own)
    return Approximate(hits, _recall(hits.documents[:checked, :10], exact.documents), checked)


def _ordered(
    queries: Vectors, documents: Vectors, keys: npt.NDArray[np.int64], places: npt.NDArray[np.int64], k: int
) -> Hits:
    ranked, scores = np.full((len(keys), k), -1, np.int64), np.full((len(keys), k), np.nan)
    for row, found in enumerate(keys):
        there = found[found >= 0]
        exact = np.einsum("j,ij->i", queries[row], documents[there], dtype=np.float64)
        best = np.lexsort((places[there], -exact))[:k]
        ranked[row, : len(best)], scores[row, : len(best)] = there[best], exact[best]
    return Hits(ranked, scores)


def _recall(found: npt.NDArray[np.int64], exact: npt.NDArray[np.int64]) -> float:
    shared = ((found[:, :, None] == exact[:, None, :]) & (exact[:, None, :] >= 0)).any(axis=1)
    return float(shared.sum() / (exact >= 0).sum())
