"""What all figures share: colours, axes, and text that plotly shows as it is written."""

import html
import json
import math
import re
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from uncollapse.records import Row
from uncollapse.reporting.words import chance, count, interval, reason, span

Figure = dict[str, Any]
Range = tuple[float, float]

COLOURS = {
    "before": "#d9711c",
    "after": "#2474b5",
    "faint": "#8fa3b5",
    "reference": "#85878c",
    "whole": "#93a3b3",
    "cut": "#b23b3b",
    "relevant": "#8e6bbf",
    "limit-1": "#d9711c",
    "limit-2": "#2474b5",
    "limit-3": "#8e6bbf",
    "limit-4": "#3f8f6b",
}
"""Orange and blue stay apart for every kind of colour vision, and on white as on black."""
LENGTH_SCALE = ["#f2bd4b", "#ea8a55", "#cf5574", "#983e93", "#5f35a0"]
"""Short to long; lightness falls all the way, so it also reads in grey."""

TINT = 0.7
"""How strong the strongest colour of a field is: words must stay readable on it."""

_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def plain(text: str, width: int = 0) -> str:
    """A text that plotly, which reads some HTML, shows as it is written; wrapped when `width` is given.

    Wide (East Asian) letters count double in `width`. Letters that turn the direction of what follows are left out: a
    text cannot turn the words around it.

    >>> plain("<b>a</b> & b"), plain("one two", width=4)
    ('&lt;b&gt;a&lt;/b&gt; &amp; b', 'one<br>two')
    """
    flat = " ".join(_TURNS.sub("", text).split())
    wide = any(unicodedata.east_asian_width(letter) in "WF" for letter in flat)
    lines = textwrap.wrap(flat, width // 2 if wide else width) if width else [flat]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def finished(figure: go.Figure) -> Figure:
    """The figure without plotly's own template, as plain lists and texts in a fixed order."""
    margin = {"l": 46, "r": 14, "t": 10, "b": 46} | figure.layout.margin.to_plotly_json()
    figure.update_layout(
        template={}, margin=margin, showlegend=False, hovermode="closest", dragmode=False, autosize=True
    )
    parsed: Figure = json.loads(figure.to_json(engine="json"))
    return parsed


def clipped(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def token_axis(low: float, high: float, *, pad: float = 1.12, unit: str = "tokens") -> Figure:
    """A log2 axis of lengths, counted in `unit`."""
    ticks = powers(low, high)
    return {
        "type": "log",
        "tickvals": ticks,
        "ticktext": [str(tick) for tick in ticks],
        "range": [math.log10(low / pad), math.log10(high * pad)],
        "title": {"text": plain(unit), "standoff": 8, "font": {"size": 13}},
        "showgrid": False,
    }


def powers(low: float, high: float, *, most: int = 9) -> list[int]:
    """Powers of two for the ticks between two token counts, every second or third one when they are many."""
    first, last = math.ceil(math.log2(low) - 0.1), math.floor(math.log2(high) + 0.1)
    step = 1 + max(last - first, 0) // most
    return [2**power for power in range(first, last + 1, step)] or [round(low)]


def places(ticks: Sequence[str], title: str) -> Figure:
    """An axis of places 0, 1, ... with a label each."""
    return {
        "tickvals": list(range(len(ticks))), "ticktext": list(ticks), "range": [-0.5, len(ticks) - 0.5],
        "title": {"text": plain(title), "standoff": 8, "font": {"size": 13}}, "showgrid": False, "zeroline": False,
        "tickangle": 0,
    }  # fmt: skip


def tick_words(labels: Sequence[str]) -> list[str]:
    """Labels of bins, all on two lines where one of them is too long for a narrow page."""
    said = [clipped(span(label), 24) for label in labels]
    if max(map(len, said), default=0) <= 7:
        return [plain(label) for label in said]
    parts = (label.partition("\N{EN DASH}") for label in said)
    return [
        f"{plain(first)}{dash}<br>{plain(last)}" if dash else plain(first, width=12) for first, dash, last in parts
    ]


def tints() -> list[tuple[float, str]]:
    """A colour scale from nearly the page's own colour to a strong one that words stay readable on."""
    return [(0.0, translucent(COLOURS["before"], 0.06)), (1.0, translucent(COLOURS["before"], TINT))]


def padded(values: Sequence[float]) -> Range:
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def translucent(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def roomy(values: Sequence[float], share: float = 0.12) -> Range | None:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    room = share * (high - low) or 0.05
    return low - room, high + room


def bold(text: str) -> str:
    return f"<b>{plain(text)}</b>"


def joined(lines: Sequence[str]) -> str:
    return "<br>".join(line for line in lines if line)


def sure(row: Row) -> list[str]:
    """How sure a number is: its interval or why it has none, its corrected p-value, and its n."""
    between = f"95 % interval {interval(row)}" if interval(row) else reason(row.note)
    corrected = f"Holm-corrected {chance(row.p_holm)}" if row.p_holm is not None else ""
    return [plain(between, width=44), plain(corrected), f"n = {count(row.n)}"]


def whiskers(rows: Sequence[Row]) -> Figure:
    """Error bars upwards and downwards; none where a row has no interval."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [row.high - row.value if row.high is not None else None for row in rows],
        "arrayminus": [row.value - row.low if row.low is not None else None for row in rows],
        "thickness": 1.8,
        "width": 0,
        "color": COLOURS["reference"],
    }


def from_zero(rows: Sequence[Row]) -> Range | None:
    """An axis that starts at 0 and holds every interval; below 0 only where the numbers are."""
    values = [value for row in rows for value in (row.value, row.low, row.high) if value is not None]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(0.0, *finite), max(0.0, *finite)
    room = 0.06 * (high - low) or 1.0
    return low - (room if low < 0 else 0), high + room
