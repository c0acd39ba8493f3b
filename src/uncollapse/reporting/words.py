"""Numbers, dates and names the way the report prints them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from uncollapse.records import Row

STOCK = "model as it is"
VIEWS = {"windows": "cut to n tokens", "as_is": "own length", "retrieval": "retrieval"}
MINUS = "\N{MINUS SIGN}"
UNKNOWN = "\N{EN DASH}"
SIGNED = ("mean_cosine_rise", "mean_cosine_per_doubling", "mean_reciprocal_rank_change")


def number(value: float, measure: str = "") -> str:
    """A value with as many digits as its measure deserves and a true minus sign.

    >>> number(0.4621, "mean_cosine"), number(0.151, "share_recovered"), number(0.0042, "mean_reciprocal_rank_change")
    ('0.462', '15 %', '+0.004')
    """
    if not math.isfinite(value):
        return UNKNOWN
    if measure.startswith("share_"):
        text = f"{100 * value:.0f} %"
    elif measure.startswith("effective_rank"):
        text = f"{value:.1f}"
    else:
        text = f"{value:+.3f}" if measure in SIGNED else f"{value:.3f}"
    return text.replace("-", MINUS)


def interval(row: Row) -> str:
    """The 95 % interval of a row, "" when it has none.

    >>> interval(Row("mean_cosine", 0.2, 0.1, 0.3, 9))
    '0.100 to 0.300'
    """
    if row.low is None or row.high is None:
        return ""
    return f"{number(row.low, row.measure)} to {number(row.high, row.measure)}"


def count(value: float) -> str:
    """A count with thousands set apart.

    >>> count(12345.0), count(63.2)
    ('12,345', '63')
    """
    return f"{value:,.0f}" if math.isfinite(value) else UNKNOWN


def setting(fix: str) -> str:
    """What the reader calls a fix; the unchanged model has words instead of a notation.

    >>> setting("none"), setting("temperature(0.8)")
    ('model as it is', 'with temperature(0.8)')
    """
    return STOCK if fix == "none" else f"with {fix}"


def date(created: object) -> str:
    """A time stamp in ISO form as a date in words; anything else stays as it is written.

    >>> date("2026-03-01T10:20:30+00:00"), date("last week"), date(None)
    ('1 March 2026', 'last week', '')
    """
    text = "" if created is None else str(created)
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{day.day} {day:%B %Y}"


def listing(value: object) -> str:
    """Any entry of `about` on one line.

    >>> listing({"torch": "2.13.0", "numpy": "2.4"}), listing(["a", 2]), listing(1200), listing(None)
    ('torch 2.13.0, numpy 2.4', 'a, 2', '1,200', '')
    """
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {listing(item)}" for key, item in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(listing(item) for item in value)
    return str(value)


def entry(about: Mapping[str, Any], *path: str) -> object:
    """What `about` holds at a path of keys, None where it holds nothing.

    >>> entry({"model": {"name": "minilm"}}, "model", "name"), entry({"model": "minilm"}, "model", "dim")
    ('minilm', None)
    """
    value: object = about
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def name(about: Mapping[str, Any], what: str) -> str:
    """The name of the model or corpus, "" when unknown; a bare text in the place of the record is the name."""
    value = about.get(what)
    return value if isinstance(value, str) else listing(entry(about, what, "name"))


def limit(about: Mapping[str, Any], key: str = "max_tokens") -> int | None:
    """A token limit of the model, None when unknown."""
    value = entry(about, "model", key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def ends(rows: Sequence[Row]) -> str:
    """The first and the last number of a curve.

    >>> short = Row("mean_cosine", 0.15, None, None, 9, n_tokens=8)
    >>> ends([short, Row("mean_cosine", 0.46, None, None, 9, n_tokens=512)])
    '0.150 at 8 tokens, 0.460 at 512 tokens'
    """
    shown = [rows[0], rows[-1]] if len(rows) > 1 else rows
    return ", ".join(f"{number(row.value, row.measure)} at {count(row.n_tokens)} tokens" for row in shown)
