"""How much surer a mean looks than it is where its items share things, such as relevant documents."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array
from scipy.special import stdtr

from uncollapse.evaluation.statistics.significance import MIN_GROUPS
from uncollapse.evaluation.statistics.weighted import ROUNDING, Floats
from uncollapse.records import Row
from uncollapse.resampling import Estimate

TAKEN_SINGLY = "n counts {} taken singly, though most are linked through what they share"
"""Part of the note of every row whose n counts items that are not independent."""

BOTH_DRAWN = "queries and documents are both resampled"
"""Note of a number whose interval is one for other queries and other documents."""

_WIDER = "times as wide as for independent"


def is_linked(note: str) -> bool:
    """Whether the note of a row says that its n counts items that are not independent.

    >>> is_linked(TAKEN_SINGLY.format("queries")), is_linked("nothing changed")
    (True, False)
    """
    return TAKEN_SINGLY.split("{}")[1] in note


def noted_linked(row: Row, items: str) -> Row:
    """A row whose n counts items that are not independent, with a note that says so and what its interval does.

    >>> noted_linked(Row("spearman", 0.5, 0.4, 0.6, 99), "pairs").note.split("; ")[1]
    'the interval takes them as independent'
    """
    parts = [row.note, TAKEN_SINGLY.format(items)]
    told = any(said in row.note for said in (_WIDER, BOTH_DRAWN))
    parts += ["the interval takes them as independent"] if row.low is not None and not told else []
    return replace(row, note="; ".join(part for part in parts if part))


def overlaps(links: Sequence[Sequence[str]]) -> csr_array:
    """Unit rows, one an item, whose inner products say how much of what they are linked to two items share.

    The overlap of two items is (things they share) / sqrt(things of one x things of the other): 1 for the same things,
    0 for none in common.

    Args:
        links: what each item is linked to, such as the documents that are relevant for a query.

    Returns:
        float64 [items, things].

    >>> rows = overlaps([["d1"], ["d1", "d2"], []])
    >>> (rows @ rows.T).toarray().round(3).tolist()
    [[1.0, 0.707, 0.0], [0.707, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    things: dict[str, int] = {}
    pairs = [
        (item, things.setdefault(thing, len(things))) for item, linked in enumerate(links) for thing in set(linked)
    ]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    counts = np.bincount(rows, minlength=len(links))
    return csr_array((1 / np.sqrt(counts[rows]), (rows, columns)), shape=(len(links), len(things)))


@dataclass(frozen=True)
class Alikeness:
    """How alike items that share things are, and what that does to a mean.

    Args:
        rho: correlation of two items with the same things, as the data have it; NaN where they cannot tell.
        error: of rho, where it is 0.
        neighbours: mean over items of the overlaps with all others, summed.
    """

    rho: float
    error: float
    neighbours: float

    @property
    def wider(self) -> float:
        """How many times as wide as for independent items an interval must be: sqrt(1 + neighbours (rho + error)).

        rho + error is held between 0 and 1; it is 1 where rho is not known. The error is added because too small a rho
        makes intervals too narrow, and too large a one only too wide.
        """
        rho = min(max(self.rho + self.error, 0.0), 1.0) if math.isfinite(self.rho + self.error) else 1.0
        return math.sqrt(1 + max(self.neighbours, 0.0) * rho)


def alikeness(values: Floats, shared: csr_array) -> Alikeness:
    """How alike items are that share things, from all pairs that share some (a method of moments).

    Model: the values of two items correlate by rho times their overlap K, and each has variance v. With deviations r
    from the mean and the projection P that takes them, E[r'r] = v (n - 1) + rho v tr(PK) and E[r'K r] = v tr(PK) +
    rho v tr(PKPK), K without its diagonal; these are solved for rho. For equally many items of separate groups it is
    the intraclass correlation of the analysis of variance, and `wider` squared Kish's design effect.

    Args:
        values: [items], finite.
        shared: [items, things], from `overlaps`.

    >>> alikeness(np.array([1.0, 1.0, 5.0, 5.0, 3.0, 3.0]), overlaps([["a"], ["a"], ["b"], ["b"], ["c"], ["c"]])).rho
    1.0

    Reference:
        Kish (1965), Survey sampling, for the design effect; Haseman & Elston (1972), The investigation of linkage
        between a quantitative trait and a marker locus, Behavior Genetics 2, for regressing products on relatedness.
    """
    n = len(values)
    own = np.asarray(shared.multiply(shared).sum(axis=1)).ravel()
    lines = shared @ np.asarray(shared.sum(axis=0)).ravel() - own
    total = float(lines.sum())
    trace = -total / n
    squares = _gram_squares(shared) - float((own**2).sum()) - 2 * float(lines @ lines) / n + trace**2
    residuals = values - values.mean()
    spread = float(residuals @ residuals)
    product = float(((residuals @ shared) ** 2).sum() - own @ residuals**2)
    determinant = squares * (n - 1) - trace**2
    if n < 3 or spread <= n * (ROUNDING * max(1.0, float(abs(values).max()))) ** 2 or determinant <= ROUNDING * n**2:
        return Alikeness(math.nan, math.nan, total / n)
    covariance = (product * (n - 1) - spread * trace) / determinant
    variance = (spread * squares - product * trace) / determinant
    error = math.sqrt(2 / (squares - trace**2 / (n - 1)))
    return Alikeness(covariance / variance if variance > 0 else math.nan, error, total / n)


def _gram_squares(shared: csr_array) -> float:
    """The sum of the squares of all overlaps, from the smaller of the two matrices that have it."""
    by_item, by_thing = (np.diff(matrix.indptr).astype(np.float64) for matrix in (shared, shared.tocsc()))
    gram = shared.T @ shared if (by_item**2).sum() < (by_thing**2).sum() else shared @ shared.T
    return float((gram.data**2).sum())


def widened(found: Estimate, wider: float, *, what: str, bounds: tuple[float, float]) -> Estimate:
    """An estimate with an interval so many times as wide, within the bounds of the score, and a note that says so.

    Where the items are worth fewer than 10 independent ones there is no interval, as with fewer than 10 groups.

    >>> widened(Estimate(0.5, np.empty(0), 0.4, 0.7, 40), 1.5, what="queries", bounds=(0, 1))
    Estimate(0.5 [0.35, 0.8], n=40, note='interval 1.50 times as wide as for independent queries')
    """
    if found.low is None or found.high is None or found.low == found.high:
        return found
    worth = found.n / wider**2
    if worth < MIN_GROUPS:
        note = (
            f"no interval: {found.n} {what} that share so much may be worth {worth:.1f} independent ones, "
            f"{MIN_GROUPS} are needed"
        )
        return replace(found, low=None, high=None).noted(note)
    low, high = (found.value + wider * (end - found.value) for end in (found.low, found.high))
    said = f"interval {wider:.2f} {_WIDER} {what}"
    return replace(found, low=max(low, bounds[0]), high=min(high, bounds[1])).noted(said)


def p_linked(p: float, found: Estimate, error: float, wider: float) -> float:
    """The p-value of a mean difference of linked items: the larger of a test's and that of its widened standard error.

    The second is Student's, of value / (wider x error), with n / wider^2 - 1 degrees of freedom.
    Shrinking the first would not do: a randomisation test ends at 1 / (1 + resamples), however large the effect.

    Args:
        p: of a test that takes the items as independent.
        found: the mean difference and its n, worth at least 10 independent items.
        error: its standard error, items taken as independent.
        wider: as from `Alikeness`.

    >>> p_linked(0.0001, Estimate(0.5, np.empty(0), None, None, 100), 0.05, 1.0)
    0.0001
    >>> p_linked(0.0001, Estimate(0.1, np.empty(0), None, None, 100), 0.05, 2.0)
    0.327286881279785
    """
    if wider == 1:
        return p
    if not error:  # all differences are alike, and the test has seen whether they are 0
        return p
    return max(p, float(2 * stdtr(found.n / wider**2 - 1, -abs(found.value) / (wider * error))))
