"""Figures of a race: gain against cost, and gain by length of the documents."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from uncollapse.records import Row
from uncollapse.reporting.drawing import (
    COLOURS,
    TINT,
    Figure,
    bold,
    finished,
    joined,
    places,
    plain,
    sure,
    tick_words,
    translucent,
    whiskers,
)
from uncollapse.reporting.tasks.rows import PROVEN, outcome
from uncollapse.reporting.words import count, number, scale, sized, span

LINE, AROUND = 46, 92
"""Height in pixels of a family in the map, and of what stands around all of them."""

FIELD = 3
"""Decimals in a field of the map, which is narrow."""

APART = 0.035
"""Between two families of the same cost, as a share of it, so that none hides another."""


@dataclass(frozen=True)
class Priced:
    """A family and what it costs, against the model as it is."""

    name: str
    gain: Row
    encode: float
    storage: float


def cost_chart(families: Sequence[Priced], *, title: str) -> Figure:
    """Gain over the tokens to encode; the larger a dot, the more there is to store."""
    figure = go.Figure()
    across = _spread(families)
    for role, drawn in (("faint", False), ("after", True)):
        some = [(x, one) for x, one in zip(across, families, strict=True) if (outcome(one.gain) in PROVEN) is drawn]
        figure.add_trace(
            go.Scatter(
                x=[x for x, _ in some],
                y=[one.gain.value for _, one in some],
                mode="markers",
                marker={"size": [10 + 6 * min(one.storage, 4) for _, one in some], "color": COLOURS[role]},
                error_y=whiskers([one.gain for _, one in some]),
                hovertext=[_label(one, title) for _, one in some],
                hoverinfo="text",
            )
        )
    figure.add_hline(y=0, line={"width": 1.4, "color": COLOURS["before"]}, layer="below")
    figure.update_layout(
        xaxis={
            "title": {"text": "tokens to encode, times those of the model as it is", "font": {"size": 13}},
            "nticks": 6,
        },
        yaxis={"nticks": 6, "zeroline": False},
        margin={"b": 56},
    )
    return finished(figure)


def _spread(families: Sequence[Priced]) -> list[float]:
    """Where each stands: at its cost, those of one cost side by side in the order they are given."""
    seen: dict[float, int] = {}
    alike = [round(one.encode, 2) for one in families]
    across = []
    for cost in alike:
        number_of = seen[cost] = seen.get(cost, 0) + 1
        middle = (alike.count(cost) + 1) / 2
        across.append(cost * (1 + APART * (number_of - middle)))
    return across


def _label(one: Priced, title: str) -> str:
    cost = f"encodes {number(one.encode)} times the tokens, stores {number(one.storage)} times the numbers"
    gain = bold(f"gain of {title} {number(one.gain.value, one.gain.measure)}")
    return joined([plain(one.name, width=40), gain, *sure(one.gain), plain(cost, width=44)])


def length_map(
    rows: Sequence[Sequence[Row | None]], *, names: Sequence[str], bins: Sequence[str], title: str, unit: str
) -> Figure:
    """A number in every field, a line a family and a column a length bin; bold where it is proven."""
    values = [[None if row is None else row.value for row in line] for line in rows]
    most = max((abs(row.value) for line in rows for row in line if row is not None), default=1.0) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=values, zmin=-most, zmax=most, colorscale=_diverging(), showscale=False, hoverinfo="skip", xgap=3, ygap=3
        )
    )
    fields = [(x, y, row) for y, line in enumerate(rows) for x, row in enumerate(line) if row is not None]
    figure.add_trace(
        go.Scatter(
            x=[x for x, _, _ in fields],
            y=[y for _, y, _ in fields],
            mode="text",
            text=[_words(row) for _, _, row in fields],
            hovertext=[_field(row, names[y], bins[x], title, unit) for x, y, row in fields],
            hoverinfo="text",
        )
    )
    figure.update_layout(
        xaxis=places(tick_words(bins), scale("document", unit)),
        yaxis={
            **places([plain(name, width=22) for name in names], ""),
            "range": [len(names) - 0.5, -0.5],
            "automargin": True,
            "ticklabelstandoff": 6,
        },
        margin={"b": 66},
    )
    return finished(figure)


def _words(row: Row) -> str:
    value = number(round(row.value, FIELD), row.measure)
    return bold(value) if outcome(row) in PROVEN else plain(value)


def _field(row: Row, name: str, label: str, title: str, unit: str) -> str:
    where = plain(f"documents of {sized(span(label), unit)}")
    gain = bold(f"gain of {title} {number(row.value, row.measure)}")
    return joined([plain(name, width=40), where, gain, *sure(row), plain(f"n = {count(row.n)}")][:-1])


def _diverging() -> list[tuple[float, str]]:
    """Worse, no difference, better; the middle is clear, so that it is the page's own colour."""
    return [
        (0.0, translucent(COLOURS["before"], TINT)),
        (0.5, translucent(COLOURS["before"], 0.0)),
        (0.5, translucent(COLOURS["after"], 0.0)),
        (1.0, translucent(COLOURS["after"], TINT)),
    ]
