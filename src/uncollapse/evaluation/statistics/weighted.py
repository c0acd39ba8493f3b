"""What libraries compute when items are repeated, for many columns of weights at once: the bootstrap's inner loop.

Every function takes columns [items] or [items, experiments] and weights [items, replicates], and returns
[replicates]: with whole weights exactly the library's value on the data in which each item is repeated as often as
its weight says, NaN where that is not defined.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.special import xlogy

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]
Scalar = TypeVar("Scalar", bound=np.generic)

HELD = 1 << 21
"""Numbers of one temporary array: 16 MB of float64."""

ROUNDING = 1e-12
"""Differences of float64 up to this, relative to the largest number they are made of, are rounding."""


def weighted_mean(values: Floats, weights: Floats) -> Floats:
    """The mean over items; items with several values count with their mean.

    sum w_i x_i / sum w_i.

    >>> weighted_mean(np.array([1.0, 3.0]), np.array([[1.0, 3.0], [1.0, 1.0]])).tolist()
    [2.0, 1.5]
    """
    return _quotient(as_table(values).mean(axis=1) @ weights, weights.sum(axis=0))


def weighted_spearman(x: Floats, y: Floats, weights: Floats) -> Floats:
    """Spearman's rank correlation with mid-ranks for ties, as `scipy.stats.spearmanr`.

    >>> weighted_spearman(np.array([1.0, 2.0, 5.0]), np.array([0.1, 0.2, 0.3]), np.ones((3, 2))).tolist()
    [1.0, 1.0]
    """
    ranks_x, ranks_y = weighted_ranks(x, weights), weighted_ranks(y, weights)
    across = ranks_x * weights
    covariance, variance_x = (across * ranks_y).sum(axis=0), (across * ranks_x).sum(axis=0)
    variance_y = (ranks_y * ranks_y * weights).sum(axis=0)
    return _quotient(covariance, np.sqrt(variance_x * variance_y))


def weighted_ranks(values: Floats, weights: Floats) -> Floats:
    """Mid-ranks of the repeated values, less their mean.

    The rank of a value is the weight below it and half of that at it; the mean of all is half of the total.

    Returns:
        float64 [items, replicates].

    >>> weighted_ranks(np.array([5.0, 7.0, 7.0]), np.array([[1.0], [1.0], [2.0]])).T.tolist()
    [[-1.5, 0.5, 0.5]]
    """
    distinct, place = np.unique(values, return_inverse=True)
    sums = sums_by_code(place, weights, n_codes=len(distinct))
    ranks = np.cumsum(sums, axis=0) - (sums + weights.sum(axis=0)) / 2
    return np.asarray(ranks[place])


def weighted_average_precision(scores: Floats, labels: Floats, weights: Floats) -> Floats:
    """Average precision of scores for labels 0 and 1, as `sklearn.metrics.average_precision_score`.

    sum over falling thresholds of precision times the gain in recall; equal scores share one threshold.

    >>> weighted_average_precision(np.array([0.9, 0.8, 0.7]), np.array([1.0, 0.0, 1.0]), np.ones((3, 1))).round(4)
    array([0.8333])
    """
    distinct, place = np.unique(-scores, return_inverse=True)
    found = sums_by_code(place, weights * labels[:, None], n_codes=len(distinct))
    above = np.cumsum(sums_by_code(place, weights, n_codes=len(distinct)), axis=0)
    precision = np.divide(np.cumsum(found, axis=0), above, out=np.zeros_like(above), where=above > 0)
    return _quotient((precision * found).sum(axis=0), found.sum(axis=0))


def weighted_f1(predictions: Floats, labels: Floats, weights: Floats) -> Floats:
    """F1 averaged over labels, then over experiments, as `sklearn.metrics.f1_score(average="macro")`.

    Of a label: 2 hits / (items that have it + items predicted to). Labels that neither occur nor are predicted do not
    count.

    >>> weighted_f1(np.array([0.0, 1.0, 1.0]), np.array([0.0, 1.0, 0.0]), np.ones((3, 1))).round(4)
    array([0.6667])
    """
    codes, n_codes = _coded(labels, predictions)
    truth, guesses = codes[:, 0], codes[:, 1:]
    true = sums_by_code(truth, weights, n_codes=n_codes)
    return np.asarray(np.mean([_macro_f1(truth, guess, true, weights) for guess in guesses.T], axis=0))


def weighted_v_measure(clusters: Floats, labels: Floats, weights: Floats) -> Floats:
    """Harmonic mean of homogeneity and completeness, averaged over experiments, as `sklearn.metrics.v_measure_score`.

    2 I / (H(labels) + H(clusters)), I the information that clusters and labels share; 1 where both have one value
    only, 0 where one of them has.

    >>> weighted_v_measure(np.array([0.0, 0.0, 1.0]), np.array([7.0, 7.0, 3.0]), np.ones((3, 1)))
    array([1.])
    """
    codes, n_codes = _coded(labels, clusters)
    label_entropy = _entropy(codes[:, 0], weights)
    values = []
    for experiment in codes[:, 1:].T:
        entropy = label_entropy + _entropy(experiment, weights)
        shared = entropy - _entropy(codes[:, 0] * n_codes + experiment, weights)
        ratio = np.divide(2 * np.maximum(shared, 0), entropy, out=np.ones_like(entropy), where=entropy > 0)
        values.append(np.where(weights.any(axis=0), ratio, np.nan))
    return np.asarray(np.mean(values, axis=0))


def as_table(column: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """A column as [items, experiments], one experiment where it has but [items].

    >>> as_table(np.array([1.0, 2.0])).shape
    (2, 1)
    """
    return column[:, None] if column.ndim == 1 else column


def sums_by_code(codes: Codes, weights: Floats, *, n_codes: int) -> Floats:
    """The weights of the items of each code, summed: [codes, replicates].

    >>> sums_by_code(np.array([0, 1, 0]), np.array([[1.0], [2.0], [3.0]]), n_codes=2).tolist()
    [[4.0], [2.0]]
    """
    indicator = csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), shape=(n_codes, len(codes)))
    return np.asarray(indicator @ weights)


def _macro_f1(truth: Codes, guess: Codes, true: Floats, weights: Floats) -> Floats:
    hits = sums_by_code(truth, weights * (truth == guess)[:, None], n_codes=len(true))
    present = true + sums_by_code(guess, weights, n_codes=len(true))
    f1 = np.divide(2 * hits, present, out=np.zeros_like(hits), where=present > 0)
    return _quotient(f1.sum(axis=0), (present > 0).sum(axis=0))


def _entropy(codes: Codes, weights: Floats) -> Floats:
    distinct, place = np.unique(codes, return_inverse=True)
    total = weights.sum(axis=0)
    shares = sums_by_code(place, weights, n_codes=len(distinct)) / np.where(total > 0, total, 1)
    return np.asarray(-xlogy(shares, shares).sum(axis=0))


def _coded(labels: Floats, others: Floats) -> tuple[Codes, int]:
    """Labels and the columns of others as codes of one numbering: [items, 1 + experiments], and how many there are."""
    columns = np.column_stack([labels, others])
    distinct, codes = np.unique(columns, return_inverse=True)
    return codes.reshape(columns.shape), len(distinct)


def _quotient(top: Floats, bottom: npt.NDArray[np.number]) -> Floats:
    return np.asarray(np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0))
