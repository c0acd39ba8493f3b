"""Numbers, dates and names the way the report prints them."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from uncollapse.records import Row

STOCK = "model as it is"
VIEWS = {
    "windows": "cut to one length", "as_is": "own length", "retrieval": "retrieval", "overall": "all",
    "by_document_length": "by document length", "by_query_length": "by query length", "grid": "by both lengths",
    "audit_by_length": "by length", "audit_by_source": "by source", "causes": "causes", "controls": "controls",
    "cost_overall": "all", "cost_by_length": "by document length", "cost_by_position": "by place in the text",
    "cost_by_window": "by length read", "cost_grid": "by depth and length", "hubness": "search results",
    "scores": "by both lengths", "scores_overall": "all", "scores_by_document": "by document length",
    "scores_by_query": "by query length",
    "heads": "each head", "all heads": "median over heads", "spectrum": "by frequency", "layers": "after a layer",
    "one layer": "temperature in one layer", "race": "families", "race_by_length": "families by document length",
    "race_dials": "each dial", "race_costs": "cost", "race_blind": "probe without labels",
    "tune_check": "queries without a say", "tune_criterion": "matched number",
}  # fmt: skip
MOST_PLACES = 4
"""Decimals of a small number that is read against 0."""
MINUS = "\N{MINUS SIGN}"
UNKNOWN = "\N{EN DASH}"
SIGNED = (
    "mean_cosine_rise", "mean_cosine_per_doubling", "mean_reciprocal_rank_change", "short_surplus", "long_surplus",
    "length_slope", "beaten_by_shorter", "cause", "rise", "control_effect",
)  # fmt: skip
"""Beginnings of the names of measures that can be below 0 and are read against it."""
SHARES = (
    "share_", "tokens_lost", "cloze_recall", "quote_recall", "needle_recall", "anywhere_recall", "beginning_recall",
    "false_positive_rate", "entropy", "output_hc_share", "hc_share", "low_share", "power",
)  # fmt: skip
"""Beginnings of the names of measures that are shares of a whole, printed in percent."""
NO_INTERVAL = "no interval: "
"""How a note begins that says why there is none."""
FINE = ("share_truncated@", "tokens_lost", "false_positive_rate")
"""Those of them that matter when they are small."""


def number(value: float, measure: str = "") -> str:
    """A value with as many digits as its measure deserves and a true minus sign.

    What is read against 0 gets up to four decimals where fewer would print it as 0: an interval that excludes 0 must
    not look as if it ended there.

    >>> number(0.4621, "mean_cosine"), number(0.151, "share_recovered"), number(0.0042, "mean_reciprocal_rank_change")
    ('0.462', '15 %', '+0.004')
    >>> number(-0.0002, "ndcg@10_gain"), number(-0.0002, "length_slope")
    ('\N{MINUS SIGN}0.0002', '\N{MINUS SIGN}0.0002')
    """
    if not math.isfinite(value):
        return UNKNOWN
    if is_share(measure):
        text = f"{100 * value:.{_percent_places(value, measure)}f} %"
    else:
        signed = measure.startswith(SIGNED) or measure.endswith(("_gain", "_change"))
        text = f"{value:+.{_signed_places(value, measure)}f}" if signed else f"{value:.{_places(measure)}f}"
    nought = text.startswith(("+0.", "-0.")) and not text.strip("+-0. %")
    return text[1:] if nought else text.replace("-", MINUS)


def is_share(measure: str) -> bool:
    """Whether a measure is a share of a whole.

    >>> is_share("tokens_lost@512"), is_share("mean_cosine")
    (True, False)
    """
    return measure.startswith(SHARES)


def _percent_places(value: float, measure: str) -> int:
    """Decimals of a share in percent: small ones are told apart, and none is printed as 0 that is not."""
    if measure == "power" and value:
        return min(max(1 - math.floor(math.log10(100 * abs(value))), 0), 6)
    if measure.endswith("_change") and 0 < abs(value) < 0.0005:
        return 2
    fine = 0.1 if measure.startswith(FINE) else 0.01
    return 1 if 0 < abs(value) < fine else 0


def _signed_places(value: float, measure: str) -> int:
    usual = _places(measure)
    return next((places for places in range(usual, MOST_PLACES + 1) if round(value, places)), usual)


def _places(measure: str) -> int:
    """Decimals: a rank is large, and a slope of cosines by length is small."""
    if measure.startswith(("effective_rank", "occurrence", "k_occurrence")):
        return 1
    if measure in ("k_skewness", "hub_length_ratio", "solved_tau", "encode_cost", "storage_cost"):
        return 2
    if measure.startswith(("dimensions", "fitted_")):
        return 0
    return 4 if measure in ("length_slope", "length_slope_change") else 3


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


def brief(fix: str) -> str:
    """The notation of a fix; a temperature of one layer, which lists all layers, in words.

    >>> brief("temperature([1.0, 1.0, 0.8, 1.0])"), brief("temperature(0.8)"), brief("temperature([0.9, 0.8])")
    ('temperature(0.8) in layer 2 alone', 'temperature(0.8)', 'temperature([0.9, 0.8])')
    """
    listed = re.fullmatch(r"temperature\(\[([^\[\]]*)\]\)", fix)
    taus = [tau.strip() for tau in listed[1].split(",")] if listed else []
    changed = [(layer, tau) for layer, tau in enumerate(taus) if tau not in ("1", "1.0")]
    if len(taus) < 2 or len(changed) != 1:
        return fix
    ((layer, tau),) = changed
    return f"temperature({tau}) in layer {layer} alone"


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


def rivals(about: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the models that the first one is held against.

    >>> rivals({"against": [{"name": "after"}, "odd"]}), rivals({})
    (('after',), ())
    """
    against = about.get("against")
    entries = against if isinstance(against, list | tuple) else ()
    return tuple(str(entry["name"]) for entry in entries if isinstance(entry, Mapping) and entry.get("name"))


def limit(about: Mapping[str, Any], key: str = "max_tokens") -> int | None:
    """A token limit of the model, None when unknown."""
    value = entry(about, "model", key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def unit(about: Mapping[str, Any]) -> str:
    """What the lengths of a result are counted in, in the plural: words, for a black box that nobody knows tokens of.

    >>> unit({"model": {"name": "vectors", "unit": "words"}}), unit({"model": {"name": "minilm"}})
    ('words', 'tokens')
    """
    return str(entry(about, "model", "unit") or "tokens")


def ends(rows: Sequence[Row], unit: str = "tokens") -> str:
    """The first and the last number of a curve.

    >>> short = Row("mean_cosine", 0.15, None, None, 9, n_tokens=8)
    >>> ends([short, Row("mean_cosine", 0.46, None, None, 9, n_tokens=512)])
    '0.150 at 8 tokens, 0.460 at 512 tokens'
    """
    shown = [rows[0], rows[-1]] if len(rows) > 1 else rows
    return ", ".join(f"{number(row.value, row.measure)} at {count(row.n_tokens)} {unit}" for row in shown)


def span(label: str) -> str:
    """A bin's label the way a reader writes it.

    >>> span("1204-3511"), span("64")
    ('1,204\N{EN DASH}3,511', '64')
    """
    parts = label.split("-")
    if not all(part.isdecimal() for part in parts):
        return label
    return "\N{EN DASH}".join(count(float(part)) for part in parts)


def sized(size: str, unit: str) -> str:
    """How long a text is, in what lengths are counted in; nobody may know in what, and then `unit` is empty.

    >>> sized("340", "words"), sized("340", "")
    ('340 words', 'length 340')
    """
    return f"{size} {unit}" if unit else f"length {size}"


def scale(axis: str, unit: str) -> str:
    """The title of an axis of lengths.

    >>> scale("document", "words"), scale("document", "")
    ('document words', 'document length')
    """
    return f"{axis} {unit or 'length'}"


def chance(p: float | None) -> str:
    """A p-value; one that would print as nought says what it is below, "" where there is none.

    >>> chance(0.0312), chance(0.00009), chance(None)
    ('p = 0.031', 'p < 0.001', '')
    """
    if p is None:
        return ""
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def decimals(value: float | None, places: int) -> str:
    """A number with so many decimals and a true minus sign, "" where there is none.

    >>> decimals(0.03125, 4), decimals(None, 2)
    ('0.0312', '')
    """
    return "" if value is None else f"{value:.{places}f}".replace("-", MINUS)


def plural(noun: str) -> str:
    """More than one of it.

    >>> plural("query"), plural("longer text")
    ('queries', 'longer texts')
    """
    return f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"


def phrases(text: str) -> list[tuple[str, bool]]:
    """A sentence in parts, each with whether it is a command to type, which stands between grave accents.

    >>> phrases("Try `uncollapse demo`, or `not`.")
    [('Try ', False), ('uncollapse demo', True), (', or `not`.', False)]
    """
    parts = re.split(r"`(uncollapse [^`]*)`", text)
    return [(part, bool(place % 2)) for place, part in enumerate(parts) if part]


def reason(note: str) -> str:
    """A note that says once that there is no interval, and then why, each reason once.

    >>> reason("no interval: no interval: too few; no interval: too few; a count")
    'a count; no interval: too few'
    >>> reason("no interval: too few; no interval: no variation"), reason("")
    ('no interval: too few; no variation', '')
    """
    parts = [part for part in note.split("; ") if part]
    why = dict.fromkeys(part.replace(NO_INTERVAL, "") for part in parts if part.startswith(NO_INTERVAL))
    rest = dict.fromkeys(part for part in parts if not part.startswith(NO_INTERVAL))
    return "; ".join([*rest, *([NO_INTERVAL + "; ".join(why)] if why else [])])


def unbroken(*parts: str) -> str:
    """Short parts in a row, none of which may break at the end of a line; empty ones are left out.

    >>> unbroken("0.1 to 0.3", "", "p = 0.04")
    '0.1\xa0to\xa00.3; p\xa0=\xa00.04'
    """
    return "; ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts if part)
