"""Numbers in the words of the findings."""

from uncollapse.measures import MINIMUM
from uncollapse.resampling import Estimate

SMALL_CHANGE = 0.05
"""Change of a share within which a whole interval counts as no change. Judgement, stated in the docs."""


def percent(found: Estimate) -> str:
    """A share with its interval.

    >>> percent(Estimate.of_share(3, 4))
    '75% [30%, 95%]'
    """
    if found.low is None or found.high is None:
        return f"{found.value:.0%} (no interval)"
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}]"


def points(found: Estimate) -> str:
    """A change of a share in percentage points with its interval.

    >>> points(Estimate(0.1, Estimate.of_share(1, 2).replicates, 0.001, 0.25, 40))
    '+10 points [0, +25]'
    """
    value = _signed(100 * found.value)
    if found.low is None or found.high is None:
        return f"{value} points (no interval)"
    return f"{value} points [{_signed(100 * found.low)}, {_signed(100 * found.high)}]"


def _signed(number: float) -> str:
    whole = round(number)
    return f"{whole:+d}" if whole else "0"


def decimal(found: Estimate, *, digits: int = 2) -> str:
    """Any number with its interval."""
    if found.low is None or found.high is None:
        return f"{found.value:.{digits}f} (no interval)"
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def surely_above(found: Estimate, bound: float = 0.0) -> bool:
    """Whether the whole interval lies above a bound; False without one."""
    return found.low is not None and found.low > bound


def surely_below(found: Estimate, bound: float = 0.0) -> bool:
    """Whether the whole interval lies below a bound; False without one."""
    return found.high is not None and found.high < bound


def surely_small(found: Estimate, bound: float = SMALL_CHANGE) -> bool:
    """Whether the whole interval lies between a bound and its negative."""
    return surely_above(found, -bound) and surely_below(found, bound)


def too_few(n: int, what: str) -> str:
    """What is missing for a finding."""
    return f"This needs at least {MINIMUM} {what}, and there are {n}. Use more or longer documents."
