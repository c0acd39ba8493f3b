"""Means over documents with intervals, for whole arrays at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.measures.similarity import mean_cosine
from uncollapse.moments import Moments
from uncollapse.records import FloatArray
from uncollapse.resampling import Estimate, document_keys, poisson_weights

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Resampled:
    """A mean over documents of every entry of an array, and the same on every resampled corpus.

    Args:
        value: float64 [...].
        replicates: float64 [replicates, ...].
        n: int [...], documents that have the entry.
    """

    value: Array
    replicates: Array
    n: npt.NDArray[np.int64]

    def at(self, *place: int) -> Estimate:
        """One entry as an estimate."""
        number = int(np.ravel_multi_index(place, self.value.shape))
        replicates = self.replicates.reshape(len(self.replicates), -1)[:, number]
        return Estimate.of(float(self.value[place]), replicates, n=int(self.n[place]))

    def median(self) -> Estimate:
        """The median over all entries that are there, taken anew on every resampled corpus."""
        flat = self.replicates.reshape(len(self.replicates), -1)
        return Estimate.of(float(np.nanmedian(self.value)), np.nanmedian(flat, axis=1), n=int(self.n.max(initial=0)))

    def places(self) -> Iterator[tuple[int, ...]]:
        """Every entry that any document has."""
        yield from (place for place in np.ndindex(*self.value.shape) if self.n[place])


def resample(values: Array, ids: Sequence[str], *, replicates: int, seed: int) -> Resampled:
    """The mean over documents, of the first axis, where each document counts once or as often as it is drawn.

    Args:
        values: float64 [documents, ...]; NaN where a document has no value.
        ids: of the documents; the same ids are drawn together for every array, so that arrays stay paired.
        replicates, seed: of the bootstrap.
    """
    drawn = poisson_weights(document_keys(ids), replicates, seed=seed).astype(np.float64)
    there = np.isfinite(values)
    flat, counted = np.where(there, values, 0.0).reshape(len(ids), -1), there.reshape(len(ids), -1).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (drawn.T @ flat) / (drawn.T @ counted)
        value = flat.sum(0) / counted.sum(0)
    shape = values.shape[1:]
    return Resampled(value.reshape(shape), means.reshape(replicates, *shape), there.sum(0))


def cosine_of(vectors: FloatArray, ids: Sequence[str], *, replicates: int, seed: int) -> Estimate:
    """The mean cosine of pairs of different documents.

    Args:
        vectors: unit vectors [documents, dim].
    """
    moments = Moments(vectors.shape[1], replicates, seed)
    moments.update(vectors, document_keys(ids))
    return mean_cosine(moments)
