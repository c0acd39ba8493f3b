"""Numbers about vectors: pure functions, and MEASURES, the one table of what can be measured in a length bin."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from uncollapse.errors import UncollapseError
from uncollapse.measures.isotropy import effective_rank, isotropic_effective_rank, uniformity
from uncollapse.measures.similarity import centroid_distance, mean_cosine, unit
from uncollapse.measures.truncation import share_truncated
from uncollapse.moments import BinState
from uncollapse.resampling import Estimate

__all__ = [
    "MEASURES",
    "MINIMUM",
    "Measure",
    "centroid_distance",
    "effective_rank",
    "equal_n",
    "isotropic_effective_rank",
    "mean_cosine",
    "measure_bins",
    "share_truncated",
    "uniformity",
    "unit",
]

MINIMUM = 30
"""Fewest documents a bin needs for a number that must not be noise."""


@dataclass(frozen=True)
class Measure:
    """One row of the table: what a number is, and how to get it.

    Args:
        name: the key, as in results and on the command line.
        title: for headings.
        formula: plain text.
        range: least and greatest value, plain text.
        better: which way is better for telling texts apart; "neither" where it depends.
        reading: one sentence for someone who meets it for the first time.
        reference: where it comes from, "" for elementary ones.
        needs: "count" (1 document), "pairs" (2 documents, unbiased at every n) or "equal_n" (depends on n, so every
            bin is cut to the same number of documents).
        compute: from a bin's state and that equal number, which only "equal_n" measures read.
        root: whether it is the square root of such a number, so that its square is what is unbiased.
    """

    name: str
    title: str
    formula: str
    range: str
    better: Literal["lower", "higher", "neither"]
    reading: str
    reference: str
    needs: Literal["count", "pairs", "equal_n"]
    compute: Callable[[BinState, int], Estimate]
    root: bool = False


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        measure.name: measure
        for measure in (
            Measure(
                name="mean_cosine",
                title="Mean cosine",
                formula="mean of u_i . u_j over documents i != j",
                range="-1/(n-1) to 1",
                better="lower",
                reading="How alike two unrelated texts look to the model: 0 not at all, 1 the same.",
                reference="Ethayarajh 2019",
                needs="pairs",
                compute=lambda state, _: mean_cosine(state.moments),
            ),
            Measure(
                name="centroid_distance",
                title="Distance to the centroid",
                formula="sqrt(sum |u_i - mean|^2 / (n - 1)) = sqrt(1 - mean cosine)",
                range="0 to sqrt(n/(n-1))",
                better="higher",
                reading="How far texts lie from their common centre: 1 spread out, 0 all in one point.",
                reference="",
                needs="pairs",
                compute=lambda state, _: centroid_distance(state.moments),
                root=True,
            ),
            Measure(
                name="uniformity",
                title="Uniformity",
                formula="log of the mean of exp(-2 |u_i - u_j|^2) over documents i != j",
                range="-4n/(n-1) to 0",
                better="lower",
                reading="How unevenly texts cover the sphere: -4 evenly, 0 all in one point.",
                reference="Wang & Isola 2020",
                needs="equal_n",
                compute=lambda state, n: uniformity(*state.head(n)),
            ),
            Measure(
                name="effective_rank",
                title="Effective rank",
                formula="exp(-sum p_k log p_k), p_k = share of covariance eigenvalue k (a squared singular value)",
                range="1 to min(n-1, dim)",
                better="higher",
                reading="How many directions the model really uses to tell the texts apart.",
                reference="Roy & Vetterli 2007, there on singular values, as is RankMe (Garrido et al. 2023)",
                needs="equal_n",
                compute=lambda state, n: effective_rank(*state.head(n)),
            ),
            Measure(
                name="share_truncated",
                title="Share truncated",
                formula="texts longer than the model's limit / texts",
                range="0 to 1",
                better="lower",
                reading="How many of the texts the model did not read to their end.",
                reference="Wilson 1927 (interval)",
                needs="count",
                compute=lambda state, _: share_truncated(state),
            ),
        )
    }
)
"""Every measure by name. A new one is a function and a row."""


def equal_n(bins: Mapping[str, BinState], *, minimum: int = MINIMUM) -> int:
    """The number of documents at which bins are compared: the smallest sample among bins of at least `minimum`.

    Returns:
        0 where no bin is large enough.
    """
    if minimum < 2:
        raise UncollapseError(f"`minimum` must be at least 2 documents, got {minimum}.")
    return min((len(state.sample) for state in bins.values() if state.count >= minimum), default=0)


def measure_bins(
    bins: Mapping[str, BinState],
    *,
    measures: Mapping[str, Measure] = MEASURES,
    minimum: int = MINIMUM,
) -> dict[str, dict[str, Estimate]]:
    """Every measure in every bin that holds enough documents for it.

    Measures that depend on n are taken on equally many documents in every bin, `equal_n(bins)`, which is their
    estimate's n. A bin of 2 to `minimum` - 1 documents has none of them, and a note on the others; a bin of one
    document has only its share of truncated texts; an empty bin has nothing.

    Args:
        bins: state by label; all of one dim, seed and number of replicates, or the bins could not be compared.
        measures: rows of MEASURES to take.
        minimum: fewest documents of a bin that sets or meets the equal n.

    Returns:
        By label, by name of measure.

    Example:
        >>> measure_bins({"8-15": BinState(dim=2)})
        {'8-15': {}}
    """
    kinds = {(state.dim, state.replicates, state.seed) for state in bins.values()}
    if len(kinds) > 1:
        raise UncollapseError(
            f"Bins can be compared only under one (dim, replicates, seed), got {sorted(kinds)}. "
            "Build every BinState alike."
        )
    n = equal_n(bins, minimum=minimum)
    return {
        label: {
            name: _noted(measure.compute(state, n), state.count, minimum)
            for name, measure in measures.items()
            if state.count >= {"count": 1, "pairs": 2, "equal_n": minimum}[measure.needs]
        }
        for label, state in bins.items()
    }


def _noted(estimate: Estimate, count: int, minimum: int) -> Estimate:
    return estimate if count >= minimum else estimate.noted(f"only {count} documents, fewer than {minimum}")
