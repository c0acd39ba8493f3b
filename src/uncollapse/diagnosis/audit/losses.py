"""What an audit holds, as numbers with intervals: all texts, length bins, sources."""

import math
from collections.abc import Iterator

import numpy as np
from scipy import stats

from uncollapse.diagnosis.audit.counting import EDGES, Audit, Sums
from uncollapse.measures import MINIMUM
from uncollapse.records import FloatArray
from uncollapse.resampling import Estimate

HELD = 0.99
"""Share of the texts that a limit worth naming holds whole."""

NO_SOURCE, OTHER_SOURCES = "(no source)", "(other sources)"


def groups(audit: Audit) -> Iterator[tuple[str, str, Sums, tuple[int, int] | None]]:
    """View, label, sums, and the least and greatest length where the group is a length bin."""
    yield "overall", "", audit.total, None
    for number, sums in sorted(audit.lengths.items()):
        ends = int(EDGES[number]), int(EDGES[number + 1]) - 1
        yield "audit_by_length", _span(*ends), sums, ends
    for label, sums in shown_sources(audit):
        yield "audit_by_source", label, sums, None


def shown_sources(audit: Audit) -> list[tuple[str, Sums]]:
    """Greatest loss first; none where there is one source, or one text in each."""
    if len(audit.sources) < 2 or all(sums.texts == 1 for name, sums in audit.sources.items() if name is not None):
        return []
    column = main_column(audit)
    named = [(name or NO_SOURCE, sums) for name, sums in audit.sources.items() if name is not None]
    named.sort(key=lambda pair: (0 if column is None else -pair[1].lost[column], -pair[1].tokens, pair[0]))
    return [*named, *((OTHER_SOURCES, sums) for name, sums in audit.sources.items() if name is None)]


def main_column(audit: Audit) -> int | None:
    """The place of the main limit among all; None where there is none."""
    return None if audit.limits.main is None else audit.limits.every.index(audit.limits.main)


def _span(low: int, high: int) -> str:
    return f"{low}-{high}" if high > low else str(low)


def share_truncated(sums: Sums, column: int, limit: int, ends: tuple[int, int] | None = None) -> Estimate:
    """Texts longer than a limit over texts; exact where the ends of a length bin tell."""
    if ends is not None and not ends[0] <= limit < ends[1]:
        return _certain(float(ends[0] > limit), sums.texts)
    share = Estimate.of_share(int(sums.truncated[column]), sums.texts)
    return share if sums.texts >= MINIMUM else share.noted(f"only {sums.texts} documents, fewer than {MINIMUM}")


def tokens_lost(sums: Sums, column: int, limit: int, ends: tuple[int, int] | None = None) -> Estimate:
    """Tokens beyond a limit over tokens; exact where the ends of a length bin tell."""
    if ends is not None and ends[1] <= limit:
        return _certain(0.0, sums.texts)
    parts = sums.weighted[1 + column], sums.weighted[0]
    return resampled_ratio(int(sums.lost[column]), sums.tokens, *parts, n=sums.texts)


def _certain(value: float, n: int) -> Estimate:
    return Estimate(value, np.empty(0), value, value, n, "exact, since it follows from the lengths of the bin")


def resampled_ratio(part: int, whole: int, parts: FloatArray, wholes: FloatArray, *, n: int) -> Estimate:
    """part / whole with the interval of its resamples, where these can show one."""
    value = part / whole if whole else 0.0
    if n < MINIMUM or not part:
        why = f"only {n} documents, fewer than {MINIMUM}" if n < MINIMUM else "no document here is cut off"
        return Estimate(value, np.empty(0), None, None, n, f"no interval: {why}")
    resampled = np.divide(parts, wholes, out=np.full(len(parts), np.nan), where=wholes > 0)
    return Estimate.of(value, resampled, n=n)


def limit_to_hold(audit: Audit, share: float = HELD) -> Estimate:
    """The least limit, up to 1.6 %, under which at least a share of the texts stays whole.

    The quantile of the lengths, with the interval of order statistics that needs no assumption: n texts hold the
    quantile between the l-th and the u-th longest with binomial probability.

    Args:
        audit: of at least one text.
        share: of the texts; 0.99 for all but one in a hundred.
    """
    lengths = sorted(audit.cells)
    upto, n = np.cumsum([audit.cells[length] for length in lengths]), audit.total.texts

    def at(rank: float) -> float:
        return float(min(lengths[int(np.searchsorted(upto, max(rank, 1)))], audit.longest))

    value = at(math.ceil(share * n - 1e-9))
    low, high = (float(stats.binom.ppf(tail, n, share)) for tail in (0.025, 0.975))
    if high + 1 > n:
        needed = math.ceil(math.log(0.025) / math.log(share))
        return Estimate(value, np.empty(0), None, None, n, f"no interval: it would take {needed} documents")
    return Estimate(value, np.empty(0), at(low), at(high + 1), n)
