"""Intervals that stream: bootstrap weights that depend only on the document, and estimates that stay paired."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from uncollapse.errors import UncollapseError
from uncollapse.records import FloatArray

REPLICATES = 256
"""How many bootstrap replicates an interval rests on unless told otherwise."""

MAX_LOST = 0.05
"""Share of replicates that may be undefined before an interval is withheld."""

Keys = npt.NDArray[np.uint64]
T = TypeVar("T")

_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 0xFFFFFFFFFFFFFFFF
_WEIGHTS, _SAMPLE = 1, 2
_ROWS = 512


@dataclass(frozen=True, eq=False)
class Estimate:
    """One number, its interval, and the bootstrap replicates that keep comparisons paired.

    Args:
        value: the estimate on the documents as they are; NaN only for a ratio to zero.
        replicates: float64 [replicates], the same number on each resampled corpus; NaN where a resample held too few
            documents. Empty where the interval has a closed form.
        low, high: the interval, both None where there is none; then `note` says why.
        n: how many documents the number rests on.
        note: anything a reader must know before trusting the number, else "".

    >>> Estimate.of(2.0, np.array([1.0, 2.0, 3.0]), n=5, level=0.5)
    Estimate(2 [1, 3], n=5)
    """

    value: float
    replicates: npt.NDArray[np.float64]
    low: float | None
    high: float | None
    n: int
    note: str = ""

    @classmethod
    def of(cls, value: float, replicates: FloatArray, *, n: int, level: float = 0.95) -> Self:
        """An estimate with the percentile interval of its replicates.

        Undefined replicates (NaN, infinite) are left out; when more than 5 % are undefined there is no interval.
        The i-th of B sorted replicates is taken as the quantile i / (B + 1), which makes the nominal level exact
        when value and replicates are exchangeable.
        """
        values = replicates.astype(np.float64)
        finite = values[np.isfinite(values)]
        lost = len(values) - len(finite)
        if not len(finite) or lost > MAX_LOST * len(values):
            note = f"no interval: {lost} of {len(values)} bootstrap replicates are undefined"
            return cls(float(value), values, None, None, n, note)
        tail = (1 - level) / 2
        low, high = np.quantile(finite, [tail, 1 - tail], method="weibull")
        return cls(float(value), values, float(low), float(high), n)

    @classmethod
    def of_share(cls, count: int, n: int, *, level: float = 0.95) -> Self:
        """The share count / n with Wilson's interval, which stays honest at 0 % and 100 %.

        A bootstrap of a share of zero gives zero every time and would claim certainty. Wilson (1927), JASA 22.

        >>> Estimate.of_share(0, 10)
        Estimate(0 [0, 0.2775], n=10)
        """
        if not 0 <= count <= n or n < 1:
            raise UncollapseError(f"A share needs 0 <= count <= n and n >= 1, got count={count}, n={n}.")
        z2 = NormalDist().inv_cdf((1 + level) / 2) ** 2
        share = count / n
        middle = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = math.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n) / (1 + z2 / n)
        low = 0.0 if count == 0 else middle - half
        high = 1.0 if count == n else middle + half
        return cls(share, np.empty(0), low, high, n)

    def noted(self, note: str) -> Self:
        """The same estimate with one more note."""
        return replace(self, note=_joined(self.note, note))

    def __repr__(self) -> str:
        interval = "[no interval]" if self.low is None or self.high is None else f"[{self.low:.4g}, {self.high:.4g}]"
        note = f", note={self.note!r}" if self.note else ""
        return f"Estimate({self.value:.4g} {interval}, n={self.n}{note})"


def difference(a: Estimate, b: Estimate, *, level: float = 0.95) -> Estimate:
    """How much larger a is than b, replicate by replicate, so that what both share cancels.

    a - b of every replicate. Estimates of one seed on overlapping documents (two length bins of the same corpus, two
    models on the same texts) are paired by it; on separate documents it is the ordinary two-sample interval.

    Returns:
        n is the smaller of the two; notes of both are kept; no interval where either has no replicates.

    >>> a = Estimate.of(2.0, np.array([1.0, 2.0, 3.0]), n=9)
    >>> difference(a, a)
    Estimate(0 [0, 0], n=9)
    """
    from_a, from_b = _paired(a, b)
    return _combined(a, b, a.value - b.value, from_a - from_b, level)


def ratio(a: Estimate, b: Estimate, *, level: float = 0.95) -> Estimate:
    """How many times b goes into a, replicate by replicate, where b is surely not zero.

    a / b of every replicate. Where the interval of b holds 0 (or b has none), the ratio may have either sign and any
    size, so it gets no interval and a note. Its value is NaN when b is exactly 0.

    >>> a = Estimate.of(2.0, np.array([1.0, 2.0, 3.0]), n=9)
    >>> ratio(a, a)
    Estimate(1 [1, 1], n=9)
    """
    value = a.value / b.value if b.value else math.nan
    top, bottom = _paired(a, b)
    quotients = np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom != 0)
    quotient = _combined(a, b, value, quotients, level)
    if b.low is not None and b.high is not None and (b.low > 0 or b.high < 0):
        return quotient
    why = "has no interval" if b.low is None else "may be zero"
    return replace(quotient, low=None, high=None).noted(f"no interval: the denominator {why}")


def document_keys(ids: Sequence[str]) -> Keys:
    """The 64-bit key of each document: blake2b of its id. Equal ids have equal keys on every machine.

    Args:
        ids: any text, lone surrogates included.

    Returns:
        uint64 [texts].

    >>> document_keys(["a", "b", "a"])
    array([3405396810240292928, 8453121595177857668, 3405396810240292928],
          dtype=uint64)
    """
    digests = (hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in ids)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def poisson_weights(keys: Keys, replicates: int = REPLICATES, *, seed: int = 0) -> npt.NDArray[np.float32]:
    """How often each document is drawn in each replicate: Poisson(1) counts fixed by (seed, key, replicate).

    A bootstrap draws n documents with replacement, so a document appears about Poisson(1) times. Drawing the counts
    from a hash of the document's key instead of a running generator means that order, chunks and machines do not
    matter, and that a document keeps its weights in every length bin and under every model: differences are paired.
    Each count reads 16 bits of a splitmix64 stream started at the key (Steele et al. 2014, Fast splittable
    pseudorandom number generators); the counts are quantised to 1/65536 with mean and variance exactly 1, and never
    exceed 8. The first B of more replicates are the B replicates.

    Args:
        keys: uint64 [texts], from `document_keys`.
        replicates: how many, a multiple of 4.
        seed: another seed gives an independent bootstrap.

    Returns:
        float32 [texts, replicates] of whole numbers.

    >>> poisson_weights(document_keys(["a", "b"]), 8)
    array([[0., 1., 1., 1., 2., 0., 1., 0.],
           [1., 0., 3., 1., 0., 3., 1., 1.]], dtype=float32)
    """
    check_replicates(replicates)
    starts = keys ^ _salt(seed, _WEIGHTS)
    steps = np.arange(1, replicates // 4 + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    weights = np.empty((len(keys), replicates), np.float32)
    for first in range(0, len(keys), _ROWS):
        bits = _scrambled(starts[first : first + _ROWS, None] + steps)
        lanes = bits.astype("<u8", copy=False).view("<u2")
        np.take(_COUNTS, lanes, out=weights[first : first + _ROWS], mode="clip")
    return weights


def sampling_order(keys: Keys, *, seed: int = 0) -> Keys:
    """A random place in line for each document, independent of its weights: the first k of it are a random sample.

    The places of two documents are equal only if their keys are, because the hash is one to one.

    >>> keys = document_keys(["a", "b"])
    >>> bool((sampling_order(keys) == sampling_order(keys[::-1])[::-1]).all())
    True
    """
    return _scrambled(keys ^ _salt(seed, _SAMPLE))


def draw(options: Sequence[T], name: str, *, seed: int) -> T:
    """One of the options at random, the same for the same name and seed on every machine.

    >>> draw("abc", "cloze of document 7", seed=0)
    'a'
    """
    place = int(sampling_order(document_keys([name]), seed=seed)[0])
    return options[place % len(options)]


def check_replicates(replicates: int) -> None:
    """Refuse a number of replicates the weights cannot be drawn for."""
    if replicates < 4 or replicates % 4:
        raise UncollapseError(
            f"Bootstrap replicates must be a positive multiple of 4, got {replicates}. "
            f"{REPLICATES} serve most reports."
        )


def _paired(a: Estimate, b: Estimate) -> tuple[FloatArray, FloatArray]:
    if not len(a.replicates) or not len(b.replicates):
        return np.empty(0), np.empty(0)
    if len(a.replicates) != len(b.replicates):
        raise UncollapseError(
            "Estimates can be compared replicate by replicate only when both have equally many, got "
            f"{len(a.replicates)} and {len(b.replicates)}. Compute both with the same `replicates` and seed."
        )
    return a.replicates, b.replicates


def _combined(a: Estimate, b: Estimate, value: float, replicates: FloatArray, level: float) -> Estimate:
    estimate = Estimate.of(value, replicates, n=min(a.n, b.n), level=level)
    if not len(replicates):
        estimate = replace(estimate, note="no interval: one side has no bootstrap replicates")
    return replace(estimate, note=_joined(a.note, b.note, estimate.note))


def _joined(*notes: str) -> str:
    return "; ".join(dict.fromkeys(part for note in notes if note for part in note.split("; ")))


def _salt(seed: int, stream: int) -> Keys:
    return _scrambled(_scrambled(np.array([seed * _GOLDEN & _WORD], np.uint64)) ^ np.uint64(stream))


def _scrambled(values: Keys) -> Keys:
    """Stafford's mix 13, the finaliser of splitmix64: one to one, every output bit depends on every input bit."""
    values = values ^ (values >> np.uint64(30))
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def _counts() -> npt.NDArray[np.float32]:
    """The Poisson(1) quantile of each 16-bit number.

    From the top down, each count k gets its share of E[k (k - 1)], and passes what rounding left on to the next; how
    many 0, 1 and 2 there are then follows from size, mean and variance being exact.
    """
    size = 1 << 16
    owed = size * (1 - math.exp(-1) * sum(1 / math.factorial(k) for k in range(7)))  # E[k (k - 1)] above 8
    shares = []
    for k in range(8, 1, -1):
        owed += size * math.exp(-1) / math.factorial(k - 2)
        shares.append(round(owed / (k * (k - 1))))
        owed -= shares[-1] * k * (k - 1)
    upper = shares[::-1]
    ones = size - sum(k * share for k, share in enumerate(upper, start=2))
    return np.repeat(np.arange(9, dtype=np.float32), [size - ones - sum(upper), ones, *upper])


_COUNTS = _counts()
