"""Numbers and notes the way a finding prints them."""

from uncollapse.evaluation.statistics.linked import is_linked
from uncollapse.records import Row

MOST_PLACES = 6
"""Decimals of a small number that is read against 0."""


def signed(value: float, places: int = 3) -> str:
    """A number that is read against 0: with its sign, and with more places where fewer would print it as 0.

    >>> signed(0.02), signed(-0.0004), signed(0.001, 2), signed(1e-9)
    ('+0.020', '-0.0004', '+0.001', '0.000')
    """
    shown = (f"{value:+.{digits}f}" for digits in range(places, MOST_PLACES + 1))
    return next((text for text in shown if float(text)), f"{0:.{places}f}")


def change(row: Row) -> str:
    """A number that is read against 0, with its n, and its interval where it has one."""
    if row.low is None or row.high is None:
        return f"{signed(row.value)} ({counted(row)})"
    return f"{signed(row.value)} (95 % interval {signed(row.low)} to {signed(row.high)}, {counted(row)})"


def counted(row: Row) -> str:
    """What a number rests on, and whether that is not independent.

    >>> counted(Row("ndcg@10", 0.5, 0.4, 0.6, 99))
    'n = 99'
    """
    return f"n = {row.n}, not independent" if is_linked(row.note) else f"n = {row.n}"


def value(row: Row) -> str:
    """A score, with its interval where it has one."""
    return f"{row.value:.3f}" + ("" if row.low is None else f" [{row.low:.3f}, {row.high:.3f}]")


def sentence(note: str) -> str:
    """A note as a sentence, "" where there is none.

    >>> sentence("no interval: too few"), sentence("All are equal.")
    ('No interval: too few.', 'All are equal.')
    """
    return f"{note[:1].upper()}{note[1:].removesuffix('.')}." if note else ""
