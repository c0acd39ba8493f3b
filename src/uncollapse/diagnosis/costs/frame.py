"""What all probes share: the documents searched, length bins, and how a number gets its interval and its row."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.rows import row_of
from uncollapse.diagnosis.units import TOKENS
from uncollapse.measures import MINIMUM
from uncollapse.measures.retrieval import bootstrap_mean, change_in_share, mean_score
from uncollapse.records import LengthBins, Row
from uncollapse.resampling import Estimate, Keys, difference

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

IN_A_BIN = 50
"""Documents of a length bin, about; fewer bins where there are fewer documents."""

MOST_BINS = 5


@dataclass(frozen=True, eq=False)
class Frame:
    """The documents that are searched, and how numbers about them are made.

    Args:
        vectors: float32 [documents, dim], of norm 1.
        keys: uint64 [documents].
        n_tokens: int64 [documents].
        bins: of the length of documents that are asked for.
        replicates, seed: of the bootstrap.
        unit: what lengths are counted in.
    """

    vectors: Vectors
    keys: Keys
    n_tokens: Ints
    bins: LengthBins
    replicates: int
    seed: int
    unit: str = TOKENS

    def __len__(self) -> int:
        return len(self.keys)

    def share(self, scores: Floats, keys: Keys) -> Estimate:
        """The mean of scores from 0 to 1."""
        return guarded(mean_score(scores, keys, replicates=self.replicates, seed=self.seed))

    def change(self, before: Floats, after: Floats, keys: Keys) -> Estimate:
        """How much larger a share is after, on the same documents."""
        return guarded(change_in_share(before, after, keys, replicates=self.replicates, seed=self.seed))

    def shift(self, changes: Floats, keys: Keys) -> Estimate:
        """The mean of changes from -1 to 1."""
        drawn = {"replicates": self.replicates, "seed": self.seed}
        return guarded(mean_score(changes, keys, bounds=(-1.0, 1.0), **drawn))

    def mean(self, values: Floats, keys: Keys) -> Estimate:
        """The mean of any number."""
        found = bootstrap_mean(values, keys, replicates=self.replicates, seed=self.seed)
        if np.ptp(values) == 0 and found.n >= MINIMUM:
            return withheld(found, f"every document gives {found.value:.4g}, which shows no variation to judge by")
        return guarded(found)


def guarded(found: Estimate) -> Estimate:
    """The estimate, without an interval where it rests on too few documents."""
    if found.n >= MINIMUM:
        return found
    return withheld(found, f"only {found.n} documents, fewer than {MINIMUM}")


def withheld(found: Estimate, why: str) -> Estimate:
    """The estimate without its interval."""
    return replace(found, low=None, high=None).noted(f"no interval: {why}")


def apart(a: Estimate, b: Estimate) -> Estimate:
    """How much larger a is than b, a and b being about different documents.

    a - b, with the interval of Newcombe: [a - b - sqrt((a - a_low)^2 + (b_high - b)^2), and alike]. Where a and b are
    shares of 1, a bootstrap would call the difference of 0 certain.

    >>> apart(*(Estimate(1.0, np.ones(8), 0.9, 1.0, 50) for _ in range(2)))
    Estimate(0 [-0.1, 0.1], n=50)

    Reference:
        Newcombe (1998), Interval estimation for the difference between independent proportions, Statistics in
        Medicine 17, method 10.
    """
    found = difference(a, b)
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return replace(found, low=None, high=None)
    below, above = (math.hypot(a.value - a.low, b.high - b.value), math.hypot(a.high - a.value, b.value - b.low))
    return replace(found, low=found.value - below, high=found.value + above)


@dataclass(frozen=True)
class Binned:
    """A number in one length bin; `n_tokens` is the mean of its documents."""

    label: str
    n_tokens: float
    estimate: Estimate


def by_length(
    bins: LengthBins, n_tokens: Ints, estimate: Callable[[npt.NDArray[np.bool_]], Estimate]
) -> tuple[Binned, ...]:
    """A number in every length bin that holds documents.

    Args:
        bins: of length.
        n_tokens: int64 [documents].
        estimate: the number of the documents that a mask names.
    """
    places = bins.assign(n_tokens)
    masks = [(label, places == place) for place, label in enumerate(bins.labels)]
    return tuple(Binned(label, float(n_tokens[mask].mean()), estimate(mask)) for label, mask in masks if mask.any())


def make_bins(n_tokens: Ints) -> LengthBins:
    """Bins of about equally many documents.

    >>> make_bins(np.arange(1, 121)).labels
    ('1-60', '61-120')
    """
    return LengthBins.equal_count(n_tokens, int(np.clip(len(n_tokens) // IN_A_BIN, 1, MOST_BINS)))


def length_rows(measure: str, binned: Sequence[Binned], *, view: str = "cost_by_length", note: str) -> Iterator[Row]:
    """A row for each length bin."""
    for part in binned:
        yield row_of(measure, part.estimate, view=view, label=part.label, n_tokens=part.n_tokens, note=note)
