"""How often each document is among the nearest of others, and whether a few turn up everywhere: hubness."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Int64, UInt64
from scipy.sparse import csr_array

from uncollapse.errors import UncollapseError
from uncollapse.measures.search import search
from uncollapse.moments import check_norms, check_rows
from uncollapse.records import IntArray
from uncollapse.resampling import REPLICATES, Estimate, Keys, poisson_weights, sampling_order

NEAREST = 10
"""How many nearest documents are looked at."""

HUB = 2
"""How many times its due a document must be found to be called a hub."""

ALL, FEWEST = 20_000, 2_000
"""Documents up to which every one is a query, and the fewest queries where a sample of them is."""

FEWEST_ASKING = 5
"""Documents that must ask: a skewness without each of them in turn takes four."""

_ROWS = 16_384

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest documents of each query, the queries being documents themselves.

    Args:
        lists: int64 [queries, k + 1], documents nearest to each query without itself, nearest first; the last would
            move up if one of the others went.
        queries: int64 [queries], which documents ask.
        keys: uint64 [documents], from `document_keys`.
    """

    lists: Int64[np.ndarray, "queries reach"]
    queries: Int64[np.ndarray, " queries"]
    keys: UInt64[np.ndarray, " documents"]

    @property
    def k(self) -> int:
        """How many nearest documents count."""
        return int(self.lists.shape[1]) - 1

    @property
    def all_ask(self) -> bool:
        """Whether every document is a query."""
        return len(self.queries) == len(self.keys)

    @property
    def counts(self) -> Int64[np.ndarray, " documents"]:
        """In how many lists each document is among the first k; its k-occurrence N_k where all documents ask."""
        return np.bincount(self.lists[:, : self.k].ravel(), minlength=len(self.keys))


def find_neighbours(
    vectors: npt.NDArray[np.float32],
    keys: Keys,
    *,
    k: int = NEAREST,
    queries: int | None = None,
    seed: int = 0,
) -> Neighbours:
    """The k + 1 nearest other documents of each document by cosine, exactly.

    Documents in blocks, scores in float32 and decided in float64, so that no block size or machine changes a list.
    Documents equally near are taken in a random order, another for every query: a text that is
    there many times shares what it is found, and a model that gives all texts one vector makes no hub.

    Args:
        vectors: float32 [documents, dim] of norm 1; may be a memory map, of which two blocks at a time are held.
        keys: uint64 [documents] from `document_keys`, each document once.
        k: how many nearest documents count; fewer where there are fewer than k + 2 documents.
        queries: how many documents ask, a random sample of them; if not given, all of at most 20,000, and of more
            documents 400 million over their number, at least 2,000.
        seed: of the sample and of the order.

    Raises:
        UncollapseError: fewer than 5 documents ask, k below 1, or vectors that are not of norm 1.

    >>> near = find_neighbours(np.eye(5, dtype=np.float32), np.arange(5, dtype=np.uint64), k=2)
    >>> int(near.counts.sum())
    10
    """
    n = len(vectors)
    _check(vectors, keys, k, queries)
    places = sampling_order(keys, seed=seed)
    asked = np.sort(np.argsort(places, kind="stable")[: _how_many(n) if queries is None else queries])
    distinct, reach = keys.view(np.int64), min(k + 1, n - 1)
    hits = search(vectors[asked], vectors, reach, order=distinct, excluded=asked, shuffle=places[asked])
    return Neighbours(hits.documents, asked, keys)


def _how_many(n: int) -> int:
    return n if n <= ALL else max(FEWEST, ALL**2 // n)


def _check(vectors: npt.NDArray[np.float32], keys: Keys, k: int, queries: int | None) -> None:
    check_rows(vectors, keys, dim=vectors.shape[-1])
    asking = len(vectors) if queries is None else queries
    if not FEWEST_ASKING <= asking <= len(vectors) or k < 1:
        raise UncollapseError(
            f"Who is near whom takes at least {FEWEST_ASKING} documents that ask, and k of at least 1, got {asking} "
            f"of {len(vectors)} documents and k={k}."
        )
    for first in range(0, len(vectors), _ROWS):
        rows = np.asarray(vectors[first : first + _ROWS])
        check_norms(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64)), first=first)


def k_skewness(near: Neighbours, *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """How lopsided the k-occurrences are: whether a few documents are found far more often than all others.

    E[(N_k - k)^3] / sd(N_k)^3 over documents, N_k = how often a document is among the k nearest of others.

    How to read it: lists drawn by lot have about 1 / sqrt(k), .32 at k = 10 (N_k is then binomial); up to that, and
    not only at 0, there are no hubs. From about 1 on a few documents are found by far too many. Directions spread
    evenly have no hubs in any dimension; a direction that all vectors share makes them, the more so the more
    dimensions there are: what lies near the common centre is near everything. 0 by definition where all N_k are
    equal. The interval is up to 1.4 times too wide.

    The interval is that of the linear bootstrap around the exact delete-one jackknife: without a document, it neither
    asks nor is found, and in each list that it was in the next one moves up. Where only a sample of q of n documents
    asks, the moments of N_k are unbiased estimates from the factorial moments of the counts c in the sample,
    E[N (N-1) (N-2)] = n (n-1) (n-2) / (q (q-1) (q-2)) mean[c (c-1) (c-2)] and alike, and the interval is over queries.

    Args:
        near: from `find_neighbours`.
        replicates, seed: of the bootstrap.

    >>> around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    >>> circle = np.column_stack([np.cos(around), np.sin(around)]).astype(np.float32)
    >>> k_skewness(find_neighbours(circle, np.arange(12, dtype=np.uint64), k=2), replicates=8).value
    0.0

    Reference:
        Radovanovic, Nanopoulos & Ivanovic (2010), Hubs in space, JMLR 11.
    """
    counts = near.counts
    whole = _skewness(_powers(counts).sum(axis=0)[None], *_sizes(near, removed=0))
    without = _skewness(_leave_one_out(near, _powers), *_sizes(near, removed=1))
    return _linear(near, float(whole[0]), without, replicates=replicates, seed=seed)


def share_of_antihubs(near: Neighbours, *, replicates: int = REPLICATES, seed: int = 0) -> Estimate:
    """The share of documents that are among the k nearest of no other.

    #{N_k = 0} / n. How to read it: a search that starts from another document never finds these; 0 is best. Interval
    as of `k_skewness`, no less wide than Wilson's where no document, or every one, is such.

    Args:
        near: from `find_neighbours`, where every document asks.

    Raises:
        UncollapseError: only a sample of the documents asked, which cannot tell who is never found.

    Reference:
        Radovanovic et al. (2010), as for `k_skewness`.
    """
    _check_all_ask(near, "Which documents are never found")
    share = float(np.mean(near.counts == 0))
    n = len(near.keys)
    without = _leave_one_out(near, lambda counts: np.equal(counts, 0)[:, None].astype(float))[:, 0] / (n - 1)
    found = _linear(near, share, without, replicates=replicates, seed=seed, bounds=(0.0, 1.0))
    if 0 < share < 1:
        return found
    wilson = Estimate.of_share(round(share * n), n)
    return replace(found, low=wilson.low, high=wilson.high)


def mean_occurrence(
    near: Neighbours, members: Bool[np.ndarray, " documents"], *, replicates: int = REPLICATES, seed: int = 0
) -> Estimate:
    """How often a document of a group is among the k nearest of others, on average.

    mean of N_k over the group; where a sample of q of n documents asks, n / q times their mean count.

    How to read it: k (but for rounding) is its due; a group above it crowds the results, one below it is crowded out.
    Interval as of `k_skewness`.

    Args:
        near: from `find_neighbours`.
        members: which documents are in the group, such as a length bin; at least 2.

    >>> near = find_neighbours(np.eye(5, dtype=np.float32), np.arange(5, dtype=np.uint64), k=2)
    >>> mean_occurrence(near, np.ones(5, dtype=bool), replicates=8).value
    2.0
    """
    size = int(members.sum())
    if size < 2:
        raise UncollapseError(f"A group needs at least 2 documents, got {size}. Widen the length bins.")
    scale = len(near.keys) / len(near.queries)
    inside = np.zeros(len(members))
    inside[members] = 1
    value = float(near.counts @ inside) / size * scale
    without = _leave_one_out(near, lambda counts: counts[:, None].astype(float), inside)[:, 0]
    left = (size - inside) if near.all_ask else size * (len(near.queries) - 1) / len(near.keys)
    found = _linear(near, value, without / left, replicates=replicates, seed=seed, bounds=(0.0, float("inf")))
    return replace(found, n=size)


def hub_length_ratio(
    near: Neighbours, n_tokens: IntArray, *, replicates: int = REPLICATES, seed: int = 0
) -> Estimate | None:
    """How long hubs are: their median length over the median length of all documents.

    Hubs are found at least twice as often as their due, N_k >= 2 k. The interval resamples documents with their N_k.

    How to read it: below 1 short texts are the hubs, above 1 long ones. None where there is no hub.

    Args:
        near: from `find_neighbours`, where every document asks.
        n_tokens: int [documents].

    Raises:
        UncollapseError: only a sample of the documents asked, which cannot tell who is a hub.
    """
    _check_all_ask(near, "Which documents are hubs")
    hubs = near.counts >= HUB * near.k
    if not hubs.any():
        return None
    weights = poisson_weights(near.keys, replicates, seed=seed).astype(np.float64)
    drawn = _weighted_median(n_tokens[hubs], weights[hubs]) / _weighted_median(n_tokens, weights)
    value = float(np.median(n_tokens[hubs]) / np.median(n_tokens))
    return Estimate.of(value, drawn, n=int(hubs.sum()))


def _check_all_ask(near: Neighbours, what: str) -> None:
    if not near.all_ask:
        raise UncollapseError(
            f"{what} cannot be told from {len(near.queries):,} of {len(near.keys):,} documents asking. Let all of "
            "them ask, or take a sample of the documents."
        )


def _powers(counts: Counts) -> Floats:
    """c, c (c - 1) and c (c - 1) (c - 2)."""
    c = counts.astype(np.float64)
    return np.column_stack([c, c * (c - 1), c * (c - 1) * (c - 2)])


def _sizes(near: Neighbours, *, removed: int) -> tuple[int, int]:
    """Documents and queries, as they are or with one of them removed."""
    n, q = len(near.keys), len(near.queries)
    return (n - removed if near.all_ask else n), q - removed


def _skewness(sums: Floats, n: int, q: int) -> Floats:
    """Skewness of N_k from sums of factorial powers of the counts of q queries among n documents."""
    each = sums / n * np.cumprod([n / q, (n - 1) / (q - 1), (n - 2) / (q - 2)])
    mean, second = each[:, 0], each[:, 1] + each[:, 0]
    third = each[:, 2] + 3 * each[:, 1] + each[:, 0]
    variance = second - mean**2
    spread = variance > 1e-9 * np.maximum(second, 1)
    about = third - 3 * mean * second + 2 * mean**3
    return np.where(spread, about / np.where(spread, variance, 1) ** 1.5, 0.0)


def _changes(near: Neighbours) -> csr_array:
    """What leaving out each query takes from and adds to the counts: int [queries, documents].

    Without a document its own list is gone. Where all documents ask, it is no longer found either, and the next one
    moves up in each list it was in; its own count, which goes too, is not in the table.
    """
    q, k = len(near.queries), near.k
    first, own = near.lists[:, :k].ravel(), np.repeat(np.arange(q), k)
    shape = q, len(near.keys)
    gone = csr_array((np.full(q * k, -1), (own, first)), shape=shape)
    if not near.all_ask:
        return gone
    up = csr_array((np.ones(q * k, int), (first, np.repeat(near.lists[:, k], k))), shape=shape)
    return csr_array(gone + up)


def _leave_one_out(near: Neighbours, of: Callable[[Counts], Floats], weights: Floats | None = None) -> Floats:
    """Weighted sums over documents of columns of their counts, without each single query: [queries, columns]."""
    counts = near.counts
    each = np.ones((len(counts), 1)) if weights is None else weights[:, None]
    values = of(counts) * each
    changes = _changes(near).tocoo()
    query, document = changes.coords
    moved = of(counts[document] + changes.data) * each[document] - values[document]
    sums = np.tile(values.sum(axis=0), (len(near.queries), 1))
    np.add.at(sums, query, moved)
    return sums - values if near.all_ask else sums


def _linear(
    near: Neighbours,
    value: float,
    without: Floats,
    *,
    replicates: int,
    seed: int,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """A number with the bootstrap of its jackknife influences: value + sum_i (w_i - 1) J_i / n.

    J_i = (n - 1) (mean_j T_(j) - T_(i)), T_(i) being the number without query i.
    """
    n = len(without)
    influence = (n - 1) * (without.mean() - without)
    weights = poisson_weights(near.keys[near.queries], replicates, seed=seed).astype(np.float64)
    return Estimate.of(value, np.clip(value + (weights - 1).T @ influence / n, *bounds), n=n)


def _weighted_median(values: IntArray, weights: Floats) -> Floats:
    """The median of values drawn so many times, the mean of the middle two if two are: [replicates]; NaN of none."""
    order = np.argsort(values, kind="stable")
    drawn = np.cumsum(weights[order], axis=0)
    middle = drawn[-1] / 2
    lower, upper = (drawn < middle).sum(axis=0), (drawn <= middle).sum(axis=0)
    last = len(values) - 1
    medians = (values[order][np.minimum(lower, last)] + values[order][np.minimum(upper, last)]) / 2
    return np.where(middle > 0, medians, np.nan)
