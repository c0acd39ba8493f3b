"""How fast token states change along the text: power by layer and frequency, and the low part by length."""

import math
from collections.abc import Sequence
from itertools import pairwise

from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, Section
from uncollapse.reporting.diagnosis.bars import Frame
from uncollapse.reporting.drawing import Figure
from uncollapse.reporting.explanation.curves import ladder_chart
from uncollapse.reporting.explanation.heatmaps import Grid, decades
from uncollapse.reporting.explanation.maps import map_chart
from uncollapse.reporting.explanation.rows import SPECTRUM, Explanation, size_of

LABELS = 5
"""Frequencies that the axis names, at most, its beginning not counted."""


def make_frequency_section(explanation: Explanation) -> Section | None:
    """A spectrogram and the share of low frequencies; None where nobody asked."""
    if not any(explanation.find(measure, SPECTRUM) for measure in ("power", "low_share")):
        return None
    return Section(
        "frequencies", "Frequencies", (_spectrogram(explanation), _low(explanation)), look="explanation",
        lead="Read along a text, the states of its tokens are a signal. What all tokens share is its frequency 0, "
        "what changes slowly from token to token is low, and what differs between neighbours is high.",
    )  # fmt: skip


def _spectrogram(explanation: Explanation) -> Chart:
    frame = Frame(
        "frequencies-power", "Power by layer and frequency",
        "Each square is one band of frequencies after one layer, at the top what the first layer hands on and at the "
        "bottom the last: colour that drains from the right-hand side downwards says that the model smooths",
        "This result holds no power by frequency.",
        "The share of the power of what a layer hands on, on a log scale of colours; what is missing to 100 % is what "
        "all tokens share, frequency 0.",
    )  # fmt: skip
    rows = [row for row in explanation.find("power", SPECTRUM) if row.layer is not None and row.frequency is not None]
    longest = max((row.n_tokens for row in rows), default=0.0)
    shown = [row for row in rows if row.n_tokens == longest]
    bands = sorted({row.frequency or 0.0 for row in shown})
    squares = {(bands.index(row.frequency or 0.0), row.layer or 0): row for row in shown}
    if not squares:
        return map_chart(frame, {}, Grid((0, 0), {}, lambda _x, _y: "", {}), decades({}, ""))
    edges = _edges(explanation, bands)
    grid = Grid(
        size_of(squares),
        _axis(bands, edges),
        lambda band, layer: f"layer {layer}, {_band(bands[band], edges, band)}",
        {},
    )
    also = (f"At {words.count(longest)} tokens.",)
    return map_chart(frame, squares, grid, decades(squares, "share of power"), also=also)


def _edges(explanation: Explanation, bands: Sequence[float]) -> list[float]:
    """The ends of the bands, where the result names them and every band lies between its own; else empty."""
    named = [edge for edge in explanation.listed("bands") if isinstance(edge, int | float)]
    inside = all(low <= band <= high for band, (low, high) in zip(bands, pairwise(named), strict=False))
    return named if len(named) == len(bands) + 1 and inside else []


def _band(centre: float, edges: Sequence[float], place: int) -> str:
    if not edges:
        return f"about {centre:.3g} cycles a token"
    low, high = edges[place], edges[place + 1]
    period = (
        f", one in {1 / high:.3g} tokens or more" if not low else f", one in {1 / high:.3g} to {1 / low:.3g} tokens"
    )
    return f"{low:.3g} to {high:.3g} cycles a token{period}"


def _axis(bands: Sequence[float], edges: Sequence[float]) -> Figure:
    """Frequencies under the lines between the squares, or under the squares where only centres are known."""
    marks = edges or bands
    least = max(1, math.ceil((len(marks) - 1) / LABELS))
    step = next((size for size in range(least, least + 3) if (len(marks) - 1) % size == 0), least)
    places = range(0, len(marks), step)
    return {
        "tickvals": [place - 0.5 if edges else place for place in places],
        "ticktext": [f"{marks[place]:.3g}" for place in places],
        "title": {"text": "frequency, cycles a token", "standoff": 6, "font": {"size": 13}},
    }


def _low(explanation: Explanation) -> Chart:
    cut = explanation.number("cut")
    below = f"below {cut:g} cycles a token" if cut else "of low frequency"
    slow = f", such as what takes {1 / cut:.3g} tokens or more to come and go" if cut else ""
    frame = Frame(
        "frequencies-low", "Low frequencies by length",
        "Each line is one layer: a dark line above a light one says that later layers hold more of what is slow or "
        "the same for all tokens",
        "This result holds no share of low frequencies.",
        f"The share of power {below}{slow}; what all tokens share is in it.",
    )  # fmt: skip
    return ladder_chart(frame, explanation.layers("low_share", SPECTRUM))
