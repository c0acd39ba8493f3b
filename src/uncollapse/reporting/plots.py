"""Plotly figures, as the JSON that plotly.js draws. Colours of text and grid are the page's and set there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from uncollapse.records import LengthCount, Point, Row
from uncollapse.reporting.drawing import (
    COLOURS,
    LENGTH_SCALE,
    Figure,
    Range,
    clipped,
    finished,
    padded,
    plain,
    powers,
    token_axis,
    translucent,
)
from uncollapse.reporting.words import STOCK, count, interval, number, setting


@dataclass(frozen=True)
class Line:
    """One curve over length.

    Args:
        rows: its points, shortest first.
        name: what the reader calls it.
        role: a key of COLOURS; "before" and "after" also get a band, "reference" is dashed.
    """

    rows: Sequence[Row]
    name: str
    role: str


def plotly_source() -> str:
    """The plotly.js that draws these figures."""
    return str(get_plotlyjs())


def curve(lines: Sequence[Line], *, y_range: Range | None = None, y_title: str, unit: str = "tokens") -> Figure:
    """Lines over length (log2 axis, counted in `unit`), with a band where there are intervals."""
    figure = go.Figure()
    for line in lines:
        if line.role in ("before", "after"):
            figure.add_traces(_band(line))
    for line in lines:
        figure.add_trace(_line(line, y_title, unit))
    tokens = [row.n_tokens for line in lines for row in line.rows]
    figure.update_layout(xaxis=token_axis(min(tokens), max(tokens), unit=unit), yaxis={"range": y_range})
    return finished(figure)


def forest(rows: Sequence[Row], *, order: Sequence[str], chosen: str | None, stock_at: float | None = None) -> Figure:
    """One dot and interval for every setting, one under the other; `stock_at` marks where the unchanged model is."""
    figure = go.Figure()
    for row in rows:
        figure.add_trace(_dot(row, _forest_role(row.fix, chosen), place=order.index(row.fix)))
    if stock_at is not None:
        figure.add_vline(x=stock_at, line={"width": 1.6, "color": COLOURS["before"]}, layer="below")
    labels = [plain(STOCK if fix == "none" else fix, width=20) for fix in order]
    figure.update_layout(
        xaxis={"nticks": 6, "automargin": True},
        yaxis={
            "tickvals": list(range(len(order))),
            "ticktext": labels,
            "range": [len(order) - 0.5, -0.5],
            "automargin": True,
            "showgrid": False,
            "zeroline": False,
        },
    )
    return finished(figure)


def cloud(points: Sequence[Point], *, around: Sequence[Point], unit: str = "tokens") -> Figure:
    """Projected texts coloured by length; `around` are all points that share its axes and colours."""
    low, high = _extent([point.n_tokens for point in around])
    ticks = powers(low, high)
    figure = go.Figure(
        go.Scatter(
            x=[round(point.x, 5) for point in points],
            y=[round(point.y, 5) for point in points],
            mode="markers",
            hovertext=[_point_label(point, unit) for point in points],
            hoverinfo="text",
            marker={
                "color": [round(math.log2(max(point.n_tokens, 1)), 3) for point in points],
                "cmin": math.log2(min(low, *ticks)),
                "cmax": math.log2(max(high, *ticks)),
                "colorscale": _steps(LENGTH_SCALE),
                "size": 7,
                "opacity": 0.82,
                "line": {"width": 0.5, "color": "rgba(255,255,255,0.55)"},
                "colorbar": _length_bar(ticks, unit),
            },
        )
    )
    bare = {"showticklabels": False, "ticks": "", "zeroline": False, "showline": False, "nticks": 8}
    x_range, y_range = (padded([getattr(point, axis) for point in around]) for axis in "xy")
    figure.update_layout(
        xaxis={**bare, "range": x_range},
        yaxis={**bare, "range": y_range, "scaleanchor": "x", "scaleratio": 1},
        margin={"l": 4, "r": 4, "t": 8, "b": 60},
    )
    return finished(figure)


def histogram(lengths: Sequence[LengthCount], *, limits: Sequence[tuple[int, str]], unit: str = "tokens") -> Figure:
    """Texts by length before truncation (log2 axis), those that are cut off on top; limits as vertical lines."""
    figure = go.Figure()
    figure.add_trace(_bars(lengths, "whole", unit))
    figure.add_trace(_bars(lengths, "cut", unit))
    edges = [max(item.low, 1) for item in lengths] + [item.high for item in lengths]
    shown = [*edges, *(tokens for tokens, _ in limits)]
    axis = token_axis(min(shown), max(shown), pad=1.03, unit=unit)
    figure.update_layout(barmode="stack", bargap=0, xaxis=axis, yaxis={"rangemode": "tozero", "nticks": 6})
    for index, (tokens, text) in enumerate(limits):
        _mark_limit(figure, tokens, text, step=index, leftwards=math.log10(tokens) > sum(axis["range"]) / 2)
    figure.update_layout(margin={"t": 20 + 22 * len(limits)})
    return finished(figure)


def _band(line: Line) -> list[go.Scatter]:
    rows = [row for row in line.rows if row.low is not None and row.high is not None]
    if len(rows) < 2:
        return []
    there, back = list(rows), list(reversed(rows))
    return [
        go.Scatter(
            x=[row.n_tokens for row in there + back],
            y=[row.high for row in there] + [row.low for row in back],
            fill="toself",
            fillcolor=translucent(COLOURS[line.role], 0.16),
            line={"width": 0},
            hoverinfo="skip",
            mode="lines",
        )
    ]


def _line(line: Line, y_title: str, unit: str) -> go.Scatter:
    strong = line.role in ("before", "after")
    colour = COLOURS[line.role] if line.role != "faint" else translucent(COLOURS["faint"], 0.65)
    return go.Scatter(
        x=[row.n_tokens for row in line.rows],
        y=[row.value for row in line.rows],
        mode="lines+markers" if strong else "lines",
        line={"color": colour, "width": 2.6 if strong else 1.4, "dash": "dash" if line.role == "reference" else None},
        marker={"size": 7, "color": colour},
        hovertext=[_row_label(row, y_title, line.name, unit) for row in line.rows],
        hoverinfo="text",
        name=plain(line.name),
    )


def _dot(row: Row, role: str, *, place: int) -> go.Scatter:
    whiskers = None
    if row.low is not None and row.high is not None:
        whiskers = {"array": [row.high - row.value], "arrayminus": [row.value - row.low], "thickness": 2.2, "width": 0}
    return go.Scatter(
        x=[row.value],
        y=[place],
        mode="markers",
        marker={"size": 11, "color": COLOURS[role]},
        error_x=whiskers,
        hovertext=[_row_label(row, "", setting(row.fix), "")],
        hoverinfo="text",
    )


def _forest_role(fix: str, chosen: str | None) -> str:
    return "before" if fix == "none" else "after" if fix == chosen else "faint"


def _bars(lengths: Sequence[LengthCount], role: str, unit: str) -> go.Bar:
    return go.Bar(
        x=[(max(item.low, 1) + item.high) / 2 for item in lengths],
        width=[0.96 * (item.high - max(item.low, 1)) for item in lengths],
        y=[item.truncated if role == "cut" else item.texts - item.truncated for item in lengths],
        marker={"color": COLOURS[role], "line": {"width": 0}},
        hovertext=[_length_label(item, unit) for item in lengths],
        hoverinfo="text",
    )


def _mark_limit(figure: go.Figure, tokens: int, text: str, *, step: int, leftwards: bool) -> None:
    figure.add_vline(x=tokens, line={"width": 1.4, "dash": "dot" if step else "solid", "color": COLOURS["reference"]})
    figure.add_annotation(
        x=math.log10(tokens), y=1, yref="paper", yanchor="bottom", yshift=2 + 20 * step,
        xanchor="right" if leftwards else "left", xshift=4 if leftwards else -4,
        text=plain(text), showarrow=False,
    )  # fmt: skip


def _row_label(row: Row, title: str, name: str, unit: str) -> str:
    where = f"{count(row.n_tokens)} {unit}" if row.n_tokens and unit else ""
    value = " ".join(part for part in (title, number(row.value, row.measure)) if part)
    between = f"95 % interval {interval(row)}" if interval(row) else row.note
    parts = [plain(name), plain(where), f"<b>{plain(value)}</b>", plain(between, width=44), f"n = {count(row.n)}"]
    return "<br>".join(part for part in parts if part)


def _point_label(point: Point, unit: str) -> str:
    parts = [plain(clipped(point.id, 60), width=38), plain(clipped(point.snippet, 220), width=38)]
    return "<br>".join([f"<b>{count(point.n_tokens)} {plain(unit)}</b>", *(part for part in parts if part)])


def _length_label(item: LengthCount, unit: str) -> str:
    span = f"{count(item.low)} to {count(item.high - 1)} {plain(unit)}"
    return f"<b>{span}</b><br>{count(item.texts)} texts<br>{count(item.truncated)} truncated"


def _length_bar(ticks: Sequence[int], unit: str) -> Figure:
    return {
        "orientation": "h", "thickness": 8, "outlinewidth": 0, "len": 0.94, "x": 0.5, "y": -0.03, "yanchor": "top",
        "tickvals": [math.log2(tick) for tick in ticks], "ticktext": [str(tick) for tick in ticks],
        "title": {"text": plain(unit), "side": "bottom", "font": {"size": 13}},
    }  # fmt: skip


def _extent(values: Sequence[int]) -> Range:
    low, high = max(min(values), 1), max(*values, 1)
    return (low, high) if high > low else (low, 2 * low)


def _steps(colours: Sequence[str]) -> list[tuple[float, str]]:
    return [(index / (len(colours) - 1), colour) for index, colour in enumerate(colours)]
