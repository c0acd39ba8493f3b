"""Whether a text is still found by what belongs to it."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Float64, Int64, UInt64

from uncollapse.errors import UncollapseError
from uncollapse.resampling import REPLICATES, Estimate, poisson_weights

_ROWS = 1024

_EQUAL = 1e-9
"""Cosines this close are equal; sums of float64 in another order differ by less."""


def mid_ranks(
    queries: Float[np.ndarray, "texts dim"],
    documents: Float[np.ndarray, "documents dim"],
    own: Int64[np.ndarray, " texts"],
    *,
    instead: Float[np.ndarray, "texts dim"] | None = None,
) -> Float64[np.ndarray, " texts"]:
    """The rank at which each query finds its own document among all.

    1 + documents with a larger q . d + half of the others with an equal one, so that tied documents share their mean
    rank and a model that gives all texts one vector gains nothing by it.

    How to read it: 1 is first; chance gives (documents + 1) / 2 on average.

    Args:
        queries, documents: unit vectors.
        own: the document of each query.
        instead: a vector that takes the place of its own document for each query alone, such as that of the document
            changed; the others stay as they are.

    >>> mid_ranks(np.array([[1.0, 0.0]]), np.eye(2), np.array([1]), instead=np.array([[1.0, 0.0]])).tolist()
    [1.5]
    """
    ranks = np.empty(len(queries))
    exact = documents.astype(np.float64)
    for first in range(0, len(queries), _ROWS):
        rows = slice(first, first + _ROWS)
        asked, place = queries[rows].astype(np.float64), own[rows]
        scores = asked @ exact.T
        found = exact[place] if instead is None else instead[rows].astype(np.float64)
        ahead = scores - np.einsum("ij,ij->i", asked, found)[:, None]
        ahead[np.arange(len(ahead)), place] = -np.inf
        ranks[rows] = 1 + (ahead > _EQUAL).sum(axis=1) + (np.abs(ahead) <= _EQUAL).sum(axis=1) / 2
    return ranks


def bootstrap_mean(
    values: Float64[np.ndarray, " texts"],
    keys: UInt64[np.ndarray, " texts"],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Estimate:
    """The mean of one number a document, with a bootstrap over documents that is paired by their keys.

    sum w_i x_i / sum w_i. How to read it: as any mean; where all values are equal the interval has no width, which
    says nothing about what other documents would give.

    Args:
        values: one a document.
        keys: from `document_keys`.
        replicates, seed: of the bootstrap.

    >>> bootstrap_mean(np.array([1.0, 2.0]), np.array([1, 2], np.uint64), replicates=8).value
    1.5
    """
    weights = poisson_weights(keys, replicates, seed=seed).astype(np.float64)
    drawn = weights.sum(axis=0)
    means = np.divide(values @ weights, drawn, out=np.full(replicates, np.nan), where=drawn > 0)
    return Estimate.of(float(values.mean()), means, n=len(values))


def reciprocal_ranks(
    queries: Float[np.ndarray, "texts dim"], documents: Float[np.ndarray, "documents dim"]
) -> Float64[np.ndarray, " texts"]:
    """One over the rank at which each query finds its own document among all, from `mid_ranks`.

    1 / rank of document i in the order of q_i . d_j; tied documents share their mean rank.

    How to read it: 1 means first. The mean over queries (MRR) falls as the number of documents grows: compare only
    at equal n.

    Args:
        queries, documents: [texts, dim], unit vectors; row i of one belongs to row i of the other.

    >>> reciprocal_ranks(np.array([[1.0, 0.0], [0.9, 0.1]]), np.eye(2)).tolist()
    [1.0, 0.5]
    """
    if queries.shape != documents.shape:
        raise UncollapseError(
            f"Every query needs one document, got shapes {list(queries.shape)} and {list(documents.shape)}."
        )
    return 1 / mid_ranks(queries, documents, np.arange(len(queries)))


def mean_score(
    scores: Float64[np.ndarray, " texts"],
    keys: UInt64[np.ndarray, " texts"],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Estimate:
    """The mean of a bounded score, one a document, with an interval that stays honest where all score alike.

    sum x_i / n. Shares (all scores 0 or 1) have Wilson's interval. Where all documents have one score v, a share of up
    to p = z^2 / (n + z^2) may have others that these n did not show, so the interval is
    [v - p (v - least), v + p (greatest - v)]. All other scores have the bootstrap over documents, and all have its
    replicates, so that differences stay paired.

    Args:
        scores: one a document.
        keys: from `document_keys`.
        bounds: the least and the greatest possible score.
        replicates, seed: of the bootstrap.

    >>> from uncollapse.resampling import document_keys
    >>> mean_score(np.ones(50), document_keys([str(i) for i in range(50)]), replicates=8)
    Estimate(1 [0.9287, 1], n=50)

    Reference:
        Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    n = len(scores)
    found = bootstrap_mean(scores, keys, replicates=replicates, seed=seed)
    if bounds == (0.0, 1.0) and np.isin(scores, bounds).all():
        share = Estimate.of_share(round(float(scores.sum())), n)
        return replace(found, low=share.low, high=share.high)
    if np.ptp(scores) == 0:
        missed = Estimate.of_share(0, n).high or 0.0
        low, high = (found.value + missed * (bound - found.value) for bound in bounds)
        return replace(found, low=low, high=high)
    return found


def change_in_share(
    before: Float64[np.ndarray, " texts"],
    after: Float64[np.ndarray, " texts"],
    keys: UInt64[np.ndarray, " texts"],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Estimate:
    """How much larger a share is after than before, on the same documents.

    mean(after - before), with the interval of Agresti and Min: half a document is added to each of the four outcomes
    (found before and after, only before, only after, neither), and the interval of Wald taken. A bootstrap would call
    four changes among hundreds sure, and no change at all certain.

    Args:
        before, after: 0 or 1, one a document; row i of both is document i.
        keys: from `document_keys`.
        replicates, seed: of the bootstrap, whose replicates the estimate keeps.

    >>> from uncollapse.resampling import document_keys
    >>> change_in_share(np.zeros(50), np.ones(50), document_keys([str(i) for i in range(50)]), replicates=8)
    Estimate(1 [0.8971, 1], n=50)

    Reference:
        Agresti & Min (2005), Simple improved confidence intervals for comparing matched proportions, Statistics in
        Medicine 24.
    """
    found = bootstrap_mean(after - before, keys, replicates=replicates, seed=seed)
    n = len(before) + 2
    gained, lost = (after > before).sum() + 0.5, (before > after).sum() + 0.5
    middle = (gained - lost) / n
    half = NormalDist().inv_cdf(0.975) * math.sqrt((gained + lost - (gained - lost) ** 2 / n) / n**2)
    return replace(found, low=float(max(middle - half, -1)), high=float(min(middle + half, 1)))


def mean_reciprocal_rank(
    ranks: Float64[np.ndarray, " texts"],
    keys: UInt64[np.ndarray, " texts"],
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Estimate:
    """The mean of `reciprocal_ranks` with a bootstrap over queries, paired across models by the documents' keys.

    sum w_i r_i / sum w_i. How to read it: the usual MRR, from 0 to 1.

    >>> keys = np.arange(4, dtype=np.uint64)
    >>> mean_reciprocal_rank(np.ones(4), keys, replicates=8).value
    1.0

    Reference: Voorhees 1999, TREC-8 question answering track.
    """
    return bootstrap_mean(ranks, keys, replicates=replicates, seed=seed)
