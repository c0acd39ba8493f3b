"""How alike the vectors of unrelated texts are, from sums alone."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Float32, Float64

from uncollapse.errors import ModelError
from uncollapse.moments import Moments
from uncollapse.records import FloatArray
from uncollapse.resampling import Estimate

_ROWS = 1024


def unit(vectors: FloatArray, *, first: int = 0) -> Float32[np.ndarray, "texts dim"]:
    """The same directions with norm 1; every measure is about directions only.

    u = v / |v|, computed in float64, so that no float32 vector overflows or underflows.

    Args:
        vectors: [texts, dim], finite, none of them zero.
        first: number of the first row in the user's own count, for the error.

    Raises:
        ModelError: a vector that is zero or not finite has no direction.

    Example:
        >>> unit(np.array([[3.0, 4.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    if vectors.ndim != 2:
        raise ModelError(f"Expected vectors of shape [texts, dim], got shape {list(vectors.shape)}. Pass a matrix.")
    units = np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _ROWS):
        rows = vectors[start : start + _ROWS].astype(np.float64)
        peaks = np.abs(rows).max(axis=1, initial=0.0)
        _refuse_directionless(peaks, first=first + start)
        rows /= peaks[:, None]
        rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
        units[start : start + _ROWS] = rows
    return units


def mean_cosine(moments: Moments) -> Estimate:
    """The mean cosine of two different documents of the bin.

    (|sum_i u_i|^2 - n) / (n (n - 1)) over unit vectors u_i: exactly the mean of u_i . u_j over all pairs i != j, in
    one pass. Replicates weight the documents by w_i and leave out the pairs of a document with itself:
    (|sum w_i u_i|^2 - sum w_i^2) / ((sum w_i)^2 - sum w_i^2). An ordinary bootstrap would count a document drawn twice
    as a pair of cosine 1 and rise above the value by about (1 - value) / n.

    How to read it: 0 means that texts point in unrelated directions, 1 that all vectors are the same; the rise with
    length is the collapse. It is unbiased at every n. It is the squared length of the mean vector, so one common shift
    of all vectors raises it although rankings may not change. For isotropic vectors the interval is up to 1.7 times
    too wide, never too narrow.

    Args:
        moments: of a bin with n >= 2.

    Example:
        >>> moments = Moments(dim=2, replicates=4)
        >>> moments.update(np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([1, 2], np.uint64))
        >>> round(mean_cosine(moments).value, 12)
        0.6

    Reference:
        Ethayarajh (2019), How contextual are contextualized word representations?, EMNLP (there over sampled pairs).
    """
    value, replicates = _cosines(moments)
    return Estimate.of(value, replicates, n=moments.count)


def centroid_distance(moments: Moments) -> Estimate:
    """How far the vectors of the bin lie from their centre, root mean square.

    sqrt(sum_i |u_i - m|^2 / (n - 1)) with the centroid m = sum_i u_i / n. For unit vectors this is exactly
    sqrt(1 - mean_cosine): the same fact as a length, for readers who think in distances.

    How to read it: 1 is the spread of unrelated directions, 0 a single point; it may reach sqrt(n / (n - 1)) when
    vectors oppose each other. Its square is unbiased at every n.

    Args:
        moments: of a bin with n >= 2.

    Example:
        >>> moments = Moments(dim=2, replicates=4)
        >>> moments.update(np.eye(2), np.array([1, 2], np.uint64))
        >>> centroid_distance(moments).value
        1.0
    """
    value, replicates = _cosines(moments)
    return Estimate.of(np.sqrt(1 - value), np.sqrt(1 - replicates), n=moments.count)


def _cosines(moments: Moments) -> tuple[float, Float64[np.ndarray, " replicates"]]:
    """The mean cosine and its replicates, at most 1 whatever the rounding; NaN where there is no pair."""
    if moments.count < 2:
        raise ModelError(f"A pair needs 2 documents, but the bin holds {moments.count}. Widen the length bins.")
    n = moments.count
    value = (moments.total @ moments.total - n) / (n * (n - 1))
    drawn, squared = moments.weights.astype(np.float64), moments.squared_weights.astype(np.float64)
    sums = np.einsum("ij,ij->i", moments.weighted_total, moments.weighted_total) - squared
    replicates = np.minimum(mean_over_pairs(sums, drawn, squared), 1.0)
    return min(float(value), 1.0), replicates


def mean_over_pairs(
    sums: Float[np.ndarray, " replicates"],
    drawn: Float[np.ndarray, " replicates"],
    squared: Float[np.ndarray, " replicates"],
) -> Float64[np.ndarray, " replicates"]:
    """Weighted sums over ordered pairs of different documents, divided by the weight of those pairs; NaN without any.

    Args:
        sums: sum over i != j of w_i w_j f(i, j).
        drawn: sum of w_i.
        squared: sum of w_i^2.
    """
    pairs = drawn**2 - squared
    means = np.full(len(pairs), np.nan)
    np.divide(sums, pairs, out=means, where=pairs > 0)
    return means


def _refuse_directionless(peaks: npt.NDArray[np.float64], *, first: int) -> None:
    bad = np.flatnonzero(~((peaks > 0) & (peaks < np.inf)))
    if len(bad):
        what = "is all zeros" if peaks[bad[0]] == 0 else "holds NaN or infinity"
        raise ModelError(
            f"Every vector must have a direction, but row {first + bad[0]} (counted from 0) {what}. Leave out the "
            "text that made it, or check the model: zeros come from empty texts, NaN from half precision."
        )
