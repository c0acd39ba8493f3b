"""Whether a text is still found by what belongs to it."""

import numpy as np
from jaxtyping import Float, Float64, UInt64

from uncollapse.errors import UncollapseError
from uncollapse.resampling import REPLICATES, Estimate, poisson_weights

_ROWS = 1024


def reciprocal_ranks(
    queries: Float[np.ndarray, "texts dim"], documents: Float[np.ndarray, "documents dim"]
) -> Float64[np.ndarray, " texts"]:
    """One over the rank at which each query finds its own document among all.

    1 / rank of document i in the order of q_i . d_j; tied documents share their mean rank, so a model that gives all
    texts one vector gains nothing by it.

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
    ranks = np.empty(len(queries))
    for first in range(0, len(queries), _ROWS):
        scores = queries[first : first + _ROWS] @ documents.T
        own = scores[np.arange(len(scores)), np.arange(first, first + len(scores))][:, None]
        ranks[first : first + _ROWS] = 0.5 + (scores > own).sum(axis=1) + (scores == own).sum(axis=1) / 2
    return 1 / ranks


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
    weights = poisson_weights(keys, replicates, seed=seed).astype(np.float64)
    drawn = weights.sum(axis=0)
    means = np.divide(ranks @ weights, drawn, out=np.full(replicates, np.nan), where=drawn > 0)
    return Estimate.of(float(ranks.mean()), means, n=len(ranks))
