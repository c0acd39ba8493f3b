"""What is kept of a length bin while vectors stream by: sums with bootstrap replicates, and a random sample."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Float32, Float64, Int64, UInt64

from uncollapse.errors import ModelError, UncollapseError
from uncollapse.records import FloatArray, IntArray
from uncollapse.resampling import REPLICATES, Keys, check_replicates, poisson_weights, sampling_order

SAMPLE_SIZE = 1024
"""How many documents of a bin are kept for what sums cannot tell."""

UNIT_TOLERANCE = 1e-4
"""How far the norm of a unit vector may be from 1; far above float32 rounding, far below a forgotten normalisation."""

_ROWS = 2048
_SUMS = ("count", "total", "weights", "squared_weights", "weighted_total")


@dataclass(eq=False)
class Moments:
    """Count and sum of the unit vectors of one bin, as they are and under each bootstrap replicate.

    All fields are sums over documents i with unit vectors u_i and weights w_ib of replicate b, so parts of a stream
    add up: `merge` of any split in any order is one pass, exactly for whole numbers, to rounding for vectors.

    Args:
        dim: length of the vectors.
        replicates: bootstrap replicates, a multiple of 4.
        seed: of the bootstrap; states are comparable only under one seed.

    Attributes:
        count: n.
        total: sum of u_i, with every u_i scaled in float64 to norm 1 beyond float32 rounding.
        weights: sum of w_ib.
        squared_weights: sum of w_ib squared.
        weighted_total: sum of w_ib u_i, products in float32, sums in float64.

    >>> moments = Moments(dim=2, replicates=4)
    >>> moments.update(np.eye(2, dtype=np.float32), np.array([1, 2], np.uint64))
    >>> moments.count, moments.total.tolist()
    (2, [1.0, 1.0])
    """

    dim: int
    replicates: int = REPLICATES
    seed: int = 0
    count: int = field(default=0, init=False)
    total: Float64[np.ndarray, " dim"] = field(init=False)
    weights: Int64[np.ndarray, " replicates"] = field(init=False)
    squared_weights: Int64[np.ndarray, " replicates"] = field(init=False)
    weighted_total: Float64[np.ndarray, "replicates dim"] = field(init=False)

    def __post_init__(self) -> None:
        check_replicates(self.replicates)
        self.total = np.zeros(self.dim)
        self.weights = np.zeros(self.replicates, np.int64)
        self.squared_weights = np.zeros(self.replicates, np.int64)
        self.weighted_total = np.zeros((self.replicates, self.dim))

    def update(self, vectors: FloatArray, keys: Keys) -> None:
        """Add documents; a few thousand rows a call cost least. An error leaves the state as it was.

        Args:
            vectors: [texts, dim] of norm 1, float32 or float64.
            keys: uint64 [texts] from `document_keys`, each document once in a bin.

        Raises:
            ModelError: a vector is not finite or not of norm 1.
        """
        check_rows(vectors, keys, dim=self.dim)
        added = Moments(self.dim, self.replicates, self.seed)
        for first in range(0, len(keys), _ROWS):
            added._add(vectors[first : first + _ROWS], keys[first : first + _ROWS], first=first)
        self._absorb(added)

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both parts together; neither is changed."""
        check_same(self, other, ("dim", "replicates", "seed"))
        merged = Moments(self.dim, self.replicates, self.seed)
        merged._absorb(self)
        merged._absorb(other)
        return merged

    def _add(self, vectors: Float[np.ndarray, "texts dim"], keys: UInt64[np.ndarray, " texts"], *, first: int) -> None:
        exact = vectors.astype(np.float64)
        norms = np.sqrt(np.einsum("ij,ij->i", exact, exact))
        check_norms(norms, first=first)
        weights = poisson_weights(keys, self.replicates, seed=self.seed)
        self.count += len(keys)
        self.total += (1 / norms) @ exact
        self.weights += weights.sum(axis=0).astype(np.int64)
        self.squared_weights += np.einsum("ij,ij->j", weights, weights).astype(np.int64)
        self.weighted_total += weights.T @ vectors.astype(np.float32, copy=False)

    def _absorb(self, other: "Moments") -> None:
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(eq=False)
class Sample:
    """The documents of a bin that come first in a random order fixed by their keys: a uniform sample that merges.

    Whatever the order and split of the stream, exactly the same documents are kept, and two bins or two models that
    saw the same documents keep the same ones. Bottom-k sampling (Cohen & Kaplan 2007, Summarizing data using bottom-k
    sketches).

    Args:
        dim: length of the vectors.
        size: the most documents kept.
        seed: of the order, which is independent of the bootstrap weights under the same seed.

    Attributes:
        keys: uint64 [kept], in that order.
        vectors: float32 [kept, dim].

    >>> sample = Sample(dim=1, size=2)
    >>> sample.update(np.ones((3, 1), np.float32), np.array([1, 2, 3], np.uint64))
    >>> len(sample)
    2
    """

    dim: int
    size: int = SAMPLE_SIZE
    seed: int = 0
    keys: UInt64[np.ndarray, " kept"] = field(init=False)
    vectors: Float32[np.ndarray, "kept dim"] = field(init=False)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UncollapseError(f"A sample must hold at least 1 document, got size {self.size}.")
        self.keys = np.empty(0, np.uint64)
        self.vectors = np.empty((0, self.dim), np.float32)

    def __len__(self) -> int:
        return len(self.keys)

    def update(self, vectors: FloatArray, keys: Keys) -> None:
        """Add documents. An error leaves the sample as it was.

        Args:
            vectors: [texts, dim].
            keys: uint64 [texts] from `document_keys`, each document once in a bin.

        Raises:
            UncollapseError: a document that is or would be kept came twice.
        """
        check_rows(vectors, keys, dim=self.dim)
        self.keys, self.vectors = self._chosen(vectors, keys)

    def merge(self, other: "Sample") -> "Sample":
        """The sample of both parts together; neither is changed."""
        check_same(self, other, ("dim", "size", "seed"))
        merged = Sample(self.dim, self.size, self.seed)
        merged.keys, merged.vectors = self._chosen(other.vectors, other.keys)
        return merged

    def _chosen(self, vectors: FloatArray, keys: Keys) -> tuple[Keys, npt.NDArray[np.float32]]:
        kept, places = sampling_order(self.keys, seed=self.seed), sampling_order(keys, seed=self.seed)
        rows = np.flatnonzero(places <= kept[-1]) if len(kept) == self.size else np.arange(len(places))
        rows = rows[np.argsort(places[rows])][: self.size + 1]
        both = np.concatenate([self.keys, keys[rows]])
        places = np.concatenate([kept, places[rows]])
        line = np.argsort(places)
        check_distinct(places[line], both[line])
        line = line[: self.size]
        return both[line], np.concatenate([self.vectors, vectors[rows].astype(np.float32, copy=False)])[line]


@dataclass(eq=False)
class BinState:
    """Everything the measures need of one length bin, in memory that does not grow with the corpus.

    Args:
        dim: length of the vectors.
        replicates, seed: of the bootstrap, as in `Moments`.
        sample_size: the most documents kept, as in `Sample`.

    Attributes:
        moments, sample: of the unit vectors.
        n_tokens: sum of the documents' token counts.
        truncated: how many documents lost tokens to the model's limit.

    >>> state = BinState(dim=2, replicates=4)
    >>> columns = {"keys": np.array([1, 2], np.uint64), "n_tokens": np.array([5, 7])}
    >>> state.update(np.eye(2, dtype=np.float32), truncated=np.array([False, True]), **columns)
    >>> state.count, state.mean_tokens, state.truncated
    (2, 6.0, 1)
    """

    dim: int
    replicates: int = REPLICATES
    seed: int = 0
    sample_size: int = SAMPLE_SIZE
    moments: Moments = field(init=False)
    sample: Sample = field(init=False)
    n_tokens: int = field(default=0, init=False)
    truncated: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.moments = Moments(self.dim, self.replicates, self.seed)
        self.sample = Sample(self.dim, self.sample_size, self.seed)

    @property
    def count(self) -> int:
        """How many documents the bin has seen."""
        return self.moments.count

    @property
    def mean_tokens(self) -> float:
        """Mean token count of the bin's documents, 0 for an empty bin."""
        return self.n_tokens / self.count if self.count else 0.0

    def update(self, vectors: FloatArray, *, keys: Keys, n_tokens: IntArray, truncated: npt.NDArray[np.bool_]) -> None:
        """Add documents; a few thousand rows a call cost least. An error leaves the state as it was.

        Args:
            vectors: [texts, dim] of norm 1, float32 or float64; see `measures.similarity.unit`.
            keys: uint64 [texts] from `document_keys`, each document once in a bin.
            n_tokens: int [texts].
            truncated: bool [texts], as in `Embeddings.truncated`.
        """
        check_rows(vectors, keys, n_tokens, truncated, dim=self.dim)
        keys_kept, vectors_kept = self.sample._chosen(vectors, keys)
        self.moments.update(vectors, keys)
        self.sample.keys, self.sample.vectors = keys_kept, vectors_kept
        self.n_tokens += int(np.sum(n_tokens))
        self.truncated += int(np.count_nonzero(truncated))

    def merge(self, other: "BinState") -> "BinState":
        """The state of both parts together; neither is changed."""
        merged = BinState(self.dim, self.replicates, self.seed, self.sample_size)
        merged.moments = self.moments.merge(other.moments)
        merged.sample = self.sample.merge(other.sample)
        merged.n_tokens = self.n_tokens + other.n_tokens
        merged.truncated = self.truncated + other.truncated
        return merged

    def head(self, n: int) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n replicates"]]:
        """Vectors and bootstrap weights of the first n documents of the sample, for comparing bins at equal n."""
        if not 0 <= n <= len(self.sample):
            raise UncollapseError(f"The sample holds {len(self.sample)} documents, but {n} were asked for.")
        return self.sample.vectors[:n], poisson_weights(self.sample.keys[:n], self.replicates, seed=self.seed)


def update_bins(
    states: Sequence[BinState],
    bins: IntArray,
    *,
    vectors: FloatArray,
    keys: Keys,
    n_tokens: IntArray,
    truncated: npt.NDArray[np.bool_],
) -> None:
    """Send each document to the state of its bin, one `BinState.update` a bin.

    Args:
        states: one a bin.
        bins: int [texts], the bin of each document, as from `LengthBins.assign`.
        vectors, keys, n_tokens, truncated: as in `BinState.update`.

    Raises:
        UncollapseError: a bin that has no state; nothing is added then.
    """
    if len(bins) and (bins.min() < 0 or bins.max() >= len(states)):
        raise UncollapseError(
            f"Bins must be numbers from 0 to {len(states) - 1}, one for each state, got {bins.min()} to {bins.max()}. "
            "Make one BinState a length bin."
        )
    order = np.argsort(bins, kind="stable")
    cuts = np.searchsorted(bins[order], np.arange(len(states) + 1))
    for state, first, last in zip(states, cuts, cuts[1:], strict=False):
        rows = order[first:last]
        if len(rows):
            state.update(vectors[rows], keys=keys[rows], n_tokens=n_tokens[rows], truncated=truncated[rows])


def check_rows(vectors: FloatArray, *columns: npt.NDArray[np.generic], dim: int) -> None:
    """Refuse vectors of another shape than [texts, dim], and columns of another length than texts."""
    if vectors.ndim != 2 or vectors.shape[1] != dim or any(column.shape != vectors.shape[:1] for column in columns):
        raise ModelError(
            f"Expected vectors of shape [texts, {dim}] with one key (and token count) a text, got vectors of shape "
            f"{list(vectors.shape)} and columns of shapes {[list(column.shape) for column in columns]}. "
            "Use one state a model, and give every text its row."
        )


def check_norms(norms: Float64[np.ndarray, " texts"], *, first: int) -> None:
    """Refuse rows that are not finite or not of norm 1, naming the first; `first` is the number of row 0."""
    bad = np.flatnonzero(~(np.abs(norms - 1) <= UNIT_TOLERANCE))
    if len(bad):
        raise ModelError(
            f"Moments need finite vectors of norm 1, but row {first + bad[0]} (counted from 0) has norm "
            f"{norms[bad[0]]:.6g}. Pass the vectors through `uncollapse.measures.similarity.unit` first."
        )


def check_distinct(places: Keys, keys: Keys) -> None:
    """Refuse a document that came twice; `places` are sorted."""
    twice = np.flatnonzero(places[1:] == places[:-1])
    if len(twice):
        raise UncollapseError(
            f"A length bin counts each document once, but the document with key {keys[twice[0]]:#018x} came twice. "
            "Give every text its own id, and merge each part of a stream once."
        )


def check_same(a: object, b: object, names: Sequence[str]) -> None:
    """Refuse to merge states built with different arguments."""
    for name in names:
        if getattr(a, name) != getattr(b, name):
            raise UncollapseError(
                f"States can be merged only if they were built alike, got {name}={getattr(a, name)} and "
                f"{name}={getattr(b, name)}. Build every part with the same {', '.join(names)}."
            )
