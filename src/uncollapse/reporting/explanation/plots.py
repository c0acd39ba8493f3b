"""Figures of an explanation over length and over layers: curves, a curve a layer, the way through, and bars."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import plotly.graph_objects as go

from uncollapse.records import Row
from uncollapse.reporting import glossary
from uncollapse.reporting.drawing import (
    COLOURS,
    Figure,
    Range,
    bold,
    finished,
    joined,
    plain,
    roomy,
    sure,
    token_axis,
    translucent,
    whiskers,
)
from uncollapse.reporting.plots import Line
from uncollapse.reporting.words import count, is_share, number

STYLES = {
    "before": ("solid", "circle"), "after": ("dash", "square"), "relevant": ("dot", "diamond"),
    "limit-4": ("dashdot", "triangle-up"), "reference": ("dash", ""),
}  # fmt: skip
"""Dash and mark of the line of each role, so that lines can be told apart without their colours."""
DEPTH_SCALE = ["#c77a17", "#cf6a4a", "#c2527f", "#9a5cb4", "#6f5bc4"]
"""First layer to last; lightness falls all the way, and all of it shows on white as on black."""
FIGURES = 4
"""Digits of a number that is drawn: more cannot be seen and would make a heavy page."""
MANY = 16
"""Layers from which on lines do without marks: they would run into each other."""
SHADE = 0.2
"""How strong the colour behind attention's steps is."""


@dataclass(frozen=True)
class Stop:
    """A place on the way through the model.

    Args:
        place: counted from 0 along the way.
        layer: counted from 0.
        stage: what has happened there, in the words of the result.
        branch: which branch adds it, "" for the stream itself.
        attention: whether attention has just been added to the stream.
    """

    place: int
    layer: int
    stage: str
    branch: str = ""
    attention: bool = False


def curves(
    lines: Sequence[Line], *, y_range: Range | None = None, level: float | None = None, log: bool = False
) -> Figure:
    """Lines over the number of tokens (log2 axis), with bands; `level` is a line to hold them against."""
    rows = [row for line in lines for row in line.rows]
    tokens = [row.n_tokens for row in rows]
    across = token_axis(min(tokens), max(tokens))
    figure = go.Figure([] if level is None else [_level(level, across["range"])])
    figure.add_traces([_band(line) for line in lines if line.role != "reference"])
    figure.add_traces([_line(line) for line in lines])
    upright = log_axis(rows, level) if log else {"range": y_range, "nticks": 6, "tickformat": _format(rows)}
    figure.update_layout(xaxis=across, yaxis=upright)
    return finished(figure)


def ladder(layers: Mapping[int, Sequence[Row]], first: Line | None, *, y_range: Range | None) -> Figure:
    """A line a layer over the number of tokens, light to dark; `first` is what there is before any layer."""
    last = max(layers)
    figure = go.Figure([_rung(rows, layer, last) for layer, rows in layers.items()])
    if first is not None:
        figure.add_trace(_line(first))
    rows = [row for rows in layers.values() for row in rows]
    tokens = [row.n_tokens for row in rows]
    if last > 0:
        figure.add_trace(_layer_bar(last))
    figure.update_layout(
        xaxis=token_axis(min(tokens), max(tokens)),
        yaxis={"range": y_range, "nticks": 6, "tickformat": _format(rows)},
        margin={"r": 64 if last > 0 else 14},
    )
    return finished(figure)


def way(lines: Mapping[str, Mapping[Stop, Row]], names: Mapping[str, str], *, y_range: Range | None) -> Figure:
    """What is left after every step through the model, attention's steps shaded; what a branch adds as lone marks.

    Args:
        lines: by role, the numbers at every stop.
        names: by role, what the reader calls a line.
        y_range: of the axis.
    """
    stops = sorted({stop for line in lines.values() for stop in line}, key=lambda stop: stop.place)
    busy = len({stop.layer for stop in stops}) > MANY
    figure = go.Figure()
    for role, line in lines.items():
        stream, branches = ([s for s in stops if s in line and bool(s.branch) is b] for b in (False, True))
        figure.add_trace(_stream(stream, line, role, names[role], busy=busy))
        figure.add_trace(_branches(branches, line, role, names[role], busy=busy))
    rows = [row for line in lines.values() for row in line.values()]
    figure.update_layout(
        xaxis=_way_axis(stops),
        yaxis={"range": y_range, "nticks": 6, "tickformat": _format(rows)},
        shapes=[*_shades(stops), *_walls(stops)],
        margin={"b": 60},
    )
    return finished(figure)


def bars(rows: Mapping[int, Row], together: Row | None) -> Figure:
    """A bar a layer with its interval, pale where it can be nothing; all layers together stand apart at the right."""
    beside = max(rows) + 2
    placed = {**rows, **({beside: together} if together else {})}
    labels = {**{layer: f"layer {layer}" for layer in rows}, beside: "all layers at once"}
    figure = go.Figure(
        go.Bar(
            x=list(placed),
            y=[shortened(row.value) for row in placed.values()],
            error_y=whiskers([_short(row) for row in placed.values()]),
            marker=_bar_marker(list(placed.values())),
            hovertext=[label(row, labels[place]) for place, row in placed.items()],
            hoverinfo="text",
        )
    )
    ticks = layer_ticks(max(rows) + 1)
    axis = {
        "tickvals": [*ticks, *([beside] if together else [])],
        "ticktext": [*map(str, ticks), *(["all"] if together else [])],
        "range": [min(rows) - 0.7, max(placed) + 0.7],
        "title": {"text": "layer", "standoff": 8, "font": {"size": 13}},
        "showgrid": False,
    }
    reach = [end for row in placed.values() for end in (row.value, row.low, row.high) if end is not None]
    figure.add_hline(y=0, line={"width": 1.4, "color": COLOURS["reference"]})
    figure.update_layout(xaxis=axis, yaxis={"range": roomy([0.0, *reach], 0.08), "nticks": 6}, bargap=0.3)
    return finished(figure)


def label(row: Row, *places: str) -> str:
    """What the mouse finds: where, the number, how sure it is."""
    tokens = f"{count(row.n_tokens)} tokens" if row.n_tokens else ""
    value = f"{glossary.title(row.measure)} {number(row.value, row.measure)}"
    return joined([*(plain(place, width=44) for place in places), tokens, bold(value), *sure(row)])


def shortened(value: float | None) -> float | None:
    """A number with as many digits as can be seen.

    >>> shortened(0.123456), shortened(None)
    (0.1235, None)
    """
    return None if value is None else float(f"{value:.{FIGURES}g}")


def layer_ticks(layers: int, most: int = 12) -> list[int]:
    """Layers that get a number on an axis: all of them, or every second, fourth, ... where they are many.

    >>> layer_ticks(6), layer_ticks(48)
    ([0, 1, 2, 3, 4, 5], [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44])
    """
    step = next(step for step in (1, 2, 4, 8, 16, 32, layers) if layers <= step * most or step == layers)
    return list(range(0, layers, step))


def _short(row: Row) -> Row:
    """The row with fewer digits, for the ends of its error bar."""
    value, low, high = (shortened(end) for end in (row.value, row.low, row.high))
    return Row(row.measure, value or 0.0, low, high, row.n)


def _level(level: float, powers: Range) -> go.Scatter:
    """A line across, from end to end of a log axis, above the grid and below all else."""
    line = {"width": 1.4, "color": COLOURS["reference"]}
    return go.Scatter(x=[10**power for power in powers], y=[level, level], mode="lines", line=line, hoverinfo="skip")


def _band(line: Line) -> go.Scatter:
    rows = [row for row in line.rows if row.low is not None and row.high is not None]
    there, back = list(rows), list(reversed(rows))
    return go.Scatter(
        x=[row.n_tokens for row in there + back],
        y=[shortened(row.high) for row in there] + [shortened(row.low) for row in back],
        fill="toself",
        fillcolor=translucent(COLOURS[line.role], 0.14),
        line={"width": 0},
        hoverinfo="skip",
        mode="lines",
    )


def _line(line: Line) -> go.Scatter:
    dash, mark = STYLES[line.role]
    colour = COLOURS[line.role]
    return go.Scatter(
        x=[row.n_tokens for row in line.rows],
        y=[shortened(row.value) for row in line.rows],
        mode="lines+markers" if mark else "lines",
        line={"color": colour, "width": 2.4 if mark else 1.8, "dash": dash},
        marker={"size": 7, "color": colour, "symbol": mark or "circle"},
        hovertext=[label(row, line.name) for row in line.rows],
        hoverinfo="text",
        name=plain(line.name),
    )


def log_axis(rows: Sequence[Row], level: float | None = None) -> Figure:
    """An upright log axis that holds the values and their intervals."""
    found = [end for row in rows for end in (row.value, row.low, row.high) if end is not None and end > 0]
    low, high = min([*found, level or math.inf]), max([*found, level or 0.0])
    room = 0.05 * (math.log10(high / low) or 1.0)
    return {
        "type": "log", "range": [math.log10(low) - room, math.log10(high) + room],
        "tickvals": _log_ticks(low, high), "ticktext": [f"{tick:g}" for tick in _log_ticks(low, high)],
    }  # fmt: skip


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends: powers of ten where they are far apart, with 2 and 5 between them where not."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if high / low > 1e4 else (1, 3) if high / low > 60 else (1, 2, 5)
    ticks = [float(f"{step}e{power}") for power in powers for step in steps]
    return [tick for tick in ticks if low / 1.1 <= tick <= high * 1.1]


def _format(rows: Sequence[Row]) -> str | None:
    return ",.0%" if any(is_share(row.measure) for row in rows) else None


def _rung(rows: Sequence[Row], layer: int, last: int) -> go.Scatter:
    """The line of one layer; the last one is thicker, as it is what the model hands on."""
    colour = depth_colour(layer, last)
    name = f"layer {layer}{', the last' if layer == last and last else ''}"
    return go.Scatter(
        x=[row.n_tokens for row in rows],
        y=[shortened(row.value) for row in rows],
        mode="lines+markers" if layer == last or last < MANY else "lines",
        line={"color": colour, "width": 3.2 if layer == last else 1.6 if last < MANY else 1.0},
        marker={"size": 7 if layer == last else 4, "color": colour},
        hovertext=[label(row, name) for row in rows],
        hoverinfo="text",
        name=name,
    )


def depth_colour(layer: int, last: int) -> str:
    """The colour of a layer on DEPTH_SCALE."""
    where = (layer / last if last else 1.0) * (len(DEPTH_SCALE) - 1)
    first = min(int(where), len(DEPTH_SCALE) - 2)
    one, other = DEPTH_SCALE[first], DEPTH_SCALE[first + 1]
    share = where - first
    mixed = (round((1 - share) * int(one[at : at + 2], 16) + share * int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _layer_bar(last: int) -> go.Scatter:
    """Nothing but the colour bar of the layers."""
    ticks = layer_ticks(last + 1, most=8)
    scale = [(place / (len(DEPTH_SCALE) - 1), colour) for place, colour in enumerate(DEPTH_SCALE)]
    bar = {
        "thickness": 8, "outlinewidth": 0, "len": 0.9, "x": 1.02, "tickvals": ticks, "ticktext": list(map(str, ticks)),
        "title": {"text": "layer", "side": "right", "font": {"size": 13}},
    }  # fmt: skip
    marker = {"color": [0], "cmin": 0, "cmax": last, "colorscale": scale, "colorbar": bar, "opacity": 0}
    return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, hoverinfo="skip")


def _stream(stops: Sequence[Stop], line: Mapping[Stop, Row], role: str, name: str, *, busy: bool) -> go.Scatter:
    dash, _ = STYLES[role]
    return go.Scatter(
        x=[stop.place for stop in stops],
        y=[shortened(line[stop].value) for stop in stops],
        mode="lines" if busy else "lines+markers",
        line={"color": COLOURS[role], "width": 2.2, "dash": dash},
        marker={"size": 6, "color": COLOURS[role]},
        hovertext=[label(line[stop], f"layer {stop.layer}, {stop.stage}", name) for stop in stops],
        hoverinfo="text",
        name=plain(name),
    )


def _branches(stops: Sequence[Stop], line: Mapping[Stop, Row], role: str, name: str, *, busy: bool) -> go.Scatter:
    marks = {"attention": "diamond-open", "mlp": "square-open"}
    return go.Scatter(
        x=[stop.place for stop in stops],
        y=[shortened(line[stop].value) for stop in stops],
        mode="markers",
        marker={
            "size": 4 if busy else 8,
            "color": COLOURS[role],
            "symbol": [marks[stop.branch] for stop in stops],
            "line": {"width": 1.2 if busy else 1.6, "color": COLOURS[role]},
        },
        hovertext=[label(line[stop], f"layer {stop.layer}, what {_branch(stop)} adds", name) for stop in stops],
        hoverinfo="text",
        name=plain(name),
    )


def _branch(stop: Stop) -> str:
    return "attention" if stop.branch == "attention" else "the MLP"


def _way_axis(stops: Sequence[Stop]) -> Figure:
    """A number in the middle of every layer."""
    ends = {stop.layer: stop.place for stop in stops}
    starts = dict(zip(ends, [stops[0].place, *ends.values()], strict=False))
    ticks = [layer for layer in layer_ticks(max(ends) + 1) if layer in ends]
    return {
        "tickvals": [(starts[layer] + ends[layer]) / 2 for layer in ticks], "ticktext": list(map(str, ticks)),
        "showgrid": False, "ticklen": 0, "range": [stops[0].place - 0.7, stops[-1].place + 0.7],
        "title": {"text": "layer, stage by stage", "standoff": 8, "font": {"size": 13}},
    }  # fmt: skip


def _shades(stops: Sequence[Stop]) -> list[Figure]:
    """A pale field behind every step of attention, from the stream before it to the stream after it."""
    stream = [stop for stop in stops if not stop.branch]
    steps = [(one, other) for one, other in pairwise(stream) if other.attention]
    colour = translucent(COLOURS["faint"], SHADE)
    return [
        {
            "type": "rect", "yref": "paper", "y0": 0, "y1": 1, "x0": one.place, "x1": other.place,
            "fillcolor": colour, "line": {"width": 0}, "layer": "below",
        }
        for one, other in steps
    ]  # fmt: skip


def _walls(stops: Sequence[Stop]) -> list[Figure]:
    """A thin line where one layer hands on to the next, as long as the layers are few enough to be told apart."""
    if len({stop.layer for stop in stops}) > MANY:
        return []
    places = [one.place for one, other in pairwise(stops) if other.layer != one.layer]
    line = {"width": 1, "color": translucent(COLOURS["reference"], 0.5)}
    return [
        {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": place, "x1": place, "line": line, "layer": "below"}
        for place in places
    ]


def _bar_marker(rows: Sequence[Row]) -> Figure:
    """Filled where the interval lies on one side of zero; orange adds to the rise, blue takes from it."""
    colours = [COLOURS["before" if row.value > 0 else "after"] for row in rows]
    fills = [translucent(colour, 0.86 if _proven(row) else 0.18) for colour, row in zip(colours, rows, strict=True)]
    return {"color": fills, "line": {"width": 1.4, "color": colours}}


def _proven(row: Row) -> bool:
    return (row.low is not None and row.low > 0) or (row.high is not None and row.high < 0)
