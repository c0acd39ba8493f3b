"""Figures of a diagnosis with causes: bars in groups, bars across, a waterfall, effects on a line, and fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import plotly.graph_objects as go

from uncollapse.records import Row
from uncollapse.reporting import glossary
from uncollapse.reporting.drawing import (
    COLOURS,
    Figure,
    Range,
    bold,
    clipped,
    finished,
    joined,
    places,
    plain,
    roomy,
    sure,
    tick_words,
    tints,
    translucent,
    whiskers,
)
from uncollapse.reporting.tasks.plots import Bars
from uncollapse.reporting.words import FINE, is_share, number, span

PATTERNS = {"limit-2": "/", "limit-3": ".", "limit-4": "x", "faint": "/"}
"""Hatching of the bars of some roles, so that they can be told apart without their colours."""
HOLLOW = "rgba(0,0,0,0)"
CONTRAST = 0.2
"""Difference of cosines that is drawn in the palest and the strongest colour, where there is no larger one."""
_LEVEL = {"width": 1.6, "dash": "dash", "color": COLOURS["reference"]}
STEP = 46
"""Height of a line of bars or dots one under the other, in pixels."""


@dataclass(frozen=True)
class Effect:
    """What one thing adds.

    Args:
        label: what the reader calls it.
        row: how much.
    """

    label: str
    row: Row

    @property
    def proven(self) -> bool:
        """Whether its interval lies on one side of zero."""
        return (self.row.low is not None and self.row.low > 0) or (self.row.high is not None and self.row.high < 0)


def height_of(lines: int) -> int:
    """How many pixels so many lines one under the other need, their axis included."""
    return 64 + STEP * lines


def columns(
    series: Sequence[Bars],
    *,
    labels: Sequence[str],
    axis: str,
    y_range: Range | None,
    level: float | None = None,
) -> Figure:
    """Bars side by side over every label, with whiskers; `level` is a line to hold them against."""
    figure = go.Figure([_columns(one, labels) for one in series])
    if level is not None:
        figure.add_hline(y=level, line=_LEVEL)
    figure.update_layout(
        barmode="group",
        bargap=0.28,
        bargroupgap=0.06,
        xaxis=places(tick_words(labels), axis),
        yaxis={"range": y_range, "nticks": 6, "tickformat": _tick_format(series)},
        margin={"b": 66},
    )
    return finished(figure)


def strips(
    series: Sequence[Bars],
    *,
    labels: Sequence[str],
    axis: str,
    x_range: Range | None,
    level: float | None = None,
) -> Figure:
    """The same lying down, one label under the other: for labels that are long or many."""
    figure = go.Figure([_columns(one, labels, lying=True) for one in series])
    if level is not None:
        figure.add_vline(x=level, line=_LEVEL)
    across = {"range": x_range, "nticks": 5, "tickformat": _tick_format(series), "automargin": True}
    title = {"text": plain(axis), "standoff": 10, "font": {"size": 13}}
    down = _downwards([span(label) for label in labels]) | {"title": title}
    figure.update_layout(barmode="group", bargap=0.3, bargroupgap=0.06, xaxis=across, yaxis=down)
    return finished(figure)


def waterfall(first: tuple[str, Row], causes: Sequence[Effect], last: tuple[str, Row] | None) -> Figure:
    """From one number over what adds to it, or takes from it, to another: each bar begins where the one above ends.

    Where all of it lies far from 0, the axis does without 0 and the two numbers at the ends are dots, not bars.
    """
    bases = list(accumulate((cause.row.value for cause in causes), initial=first[1].value))
    lines = [first, *((cause.label, cause.row) for cause in causes), *([last] if last else [])]
    reach = [base + end for cause, base in zip(causes, bases, strict=False) for end in _ends(cause.row)]
    across = _across([*bases, *reach, *_ends(first[1]), *(_ends(last[1]) if last else [])])
    figure = go.Figure([_end(*first, place=0, bar=across[0] <= 0)])
    for place, (cause, base) in enumerate(zip(causes, bases, strict=False), start=1):
        figure.add_trace(_flow(cause, base, place=place))
    if last is not None:
        figure.add_trace(_end(*last, place=len(causes) + 1, bar=across[0] <= 0))
    figure.update_layout(
        xaxis={"range": across, "nticks": 5, "zeroline": False},
        yaxis=_downwards([label for label, _ in lines]),
        annotations=_beside([(place, row) for place, (_, row) in enumerate(lines)]),
        shapes=[_joint(base, place) for place, base in enumerate(bases[: len(lines) - 1])],
        margin={"r": 64, "t": 4},
        bargap=0.32,
        barmode="overlay",
    )
    return finished(figure)


def effects(groups: Mapping[str, Sequence[Effect]]) -> Figure:
    """One dot and interval a line around the upright line of no effect; filled where the interval excludes it.

    `groups` are lines under a heading each.
    """
    lines: list[str | Effect] = []
    for heading, some in groups.items():
        lines += [heading, *some]
    placed = [(place, line) for place, line in enumerate(lines) if isinstance(line, Effect)]
    figure = go.Figure(_dots(placed))
    headings = [_heading(place, line) for place, line in enumerate(lines) if isinstance(line, str)]
    ends = [end for _, line in placed for end in _ends(line.row)]
    figure.update_layout(
        xaxis={"nticks": 5, "range": roomy([0.0, *ends])},
        yaxis=_downwards(["" if isinstance(line, str) else line.label for line in lines]),
        annotations=[*headings, *_beside([(place, line.row) for place, line in placed])],
        shapes=[_upright(place) for place, _ in placed],
        margin={"r": 64, "t": 4},
    )
    return finished(figure)


def fields(
    rows: Mapping[tuple[str, str], Row],
    *,
    xs: Sequence[str],
    ys: Sequence[str],
    axes: tuple[str, str],
    downwards: bool = False,
) -> Figure:
    """A number in every field, its colour the stronger the larger it is; a dash where there is none."""
    values = [[rows[x, y].value if (x, y) in rows else None for x in xs] for y in ys]
    low, high = _tinted(list(rows.values()))
    figure = go.Figure(
        go.Heatmap(
            z=values, zmin=low, zmax=high,
            colorscale=tints(), showscale=False, hoverinfo="skip", xgap=3, ygap=3,
        )
    )  # fmt: skip
    figure.add_trace(_field_words(rows, xs, ys, axes))
    below = places([plain(clipped(span(label), 24)) for label in ys], axes[1])
    turned = {"range": list(reversed(below["range"]))} if downwards else {}
    figure.update_layout(
        xaxis=places(tick_words(xs), axes[0]),
        yaxis={**below, **turned, "ticklabelstandoff": 6, "automargin": True},
        margin={"b": 66},
    )
    return finished(figure)


def _columns(one: Bars, labels: Sequence[str], *, lying: bool = False) -> go.Bar:
    there = [place for place, label in enumerate(labels) if label in one.rows]
    rows = [one.rows[labels[place]] for place in there]
    values, across = [row.value for row in rows], whiskers(rows)
    pattern = {"shape": PATTERNS.get(one.role, ""), "size": 6, "solidity": 0.35, "fillmode": "overlay"}
    return go.Bar(
        x=values if lying else there,
        y=there if lying else values,
        orientation="h" if lying else "v",
        error_x=across if lying else None,
        error_y=None if lying else across,
        marker={"color": translucent(COLOURS[one.role], 0.86), "pattern": pattern},
        hovertext=[_label(row, span(labels[place]), one.name) for place, row in zip(there, rows, strict=True)],
        hoverinfo="text",
        name=plain(one.name),
    )


def _across(points: Sequence[float]) -> Range:
    """An axis that holds 0 where that leaves the differences a third of it, and is no narrower than a small rise."""
    low, high = min(points), max(points)
    if 3 * (high - low) >= max(abs(low), abs(high)):
        low, high = min(low, 0.0), max(high, 0.0)
    room = max(0.12 * (high - low), (CONTRAST / 2 - (high - low)) / 2)
    return low - room, high + room


def _end(label: str, row: Row, *, place: int, bar: bool) -> go.Bar | go.Scatter:
    shared = {"x": [row.value], "y": [place], "hovertext": [_label(row, label, "")], "hoverinfo": "text"}
    colour, across = translucent(COLOURS["whole"], 0.86), whiskers([row])
    if bar:
        return go.Bar(**shared, orientation="h", marker={"color": colour}, error_x=across)
    return go.Scatter(**shared, mode="markers", marker={"color": colour, "size": 13}, error_x=across)


def _flow(cause: Effect, base: float, *, place: int) -> go.Bar:
    """A bar from where the last one ended: outlined only where it may be nothing."""
    colour = COLOURS["before" if cause.row.value > 0 else "after"]
    fill = translucent(colour, 0.86) if cause.proven else translucent(colour, 0.18)
    return go.Bar(
        x=[cause.row.value], base=[base], y=[place], orientation="h",
        marker={"color": fill, "line": {"width": 1.6, "color": colour}},
        error_x=whiskers([cause.row]), hovertext=[_label(cause.row, cause.label, "")], hoverinfo="text",
    )  # fmt: skip


def _joint(x: float, place: int) -> Figure:
    """A thin line from the end of a bar to the beginning of the next."""
    line = {"width": 1, "color": COLOURS["reference"]}
    return {"type": "line", "x0": x, "x1": x, "y0": place - 0.34, "y1": place + 1.34, "line": line, "layer": "below"}


def _upright(place: int) -> Figure:
    """The line of no effect beside one line of the chart; headings between them are left free."""
    line = {"width": 1.6, "color": COLOURS["reference"]}
    return {"type": "line", "x0": 0, "x1": 0, "y0": place - 0.5, "y1": place + 0.5, "line": line, "layer": "between"}


def _heading(place: int, said: str) -> Figure:
    common = {"x": 0, "xref": "paper", "xanchor": "left", "align": "left", "showarrow": False}
    return common | {"y": place + 0.08, "text": f"<b>{plain(clipped(said, 60), width=30)}</b>"}


def _dots(placed: Sequence[tuple[int, Effect]]) -> go.Scatter:
    rows = [line.row for _, line in placed]
    return go.Scatter(
        x=[row.value for row in rows],
        y=[place for place, _ in placed],
        mode="markers",
        marker={
            "size": 12,
            "color": [COLOURS["before"] if line.proven else HOLLOW for _, line in placed],
            "line": {"width": 2.2, "color": COLOURS["before"]},
        },
        error_x=whiskers(rows) | {"thickness": 2.2, "color": COLOURS["before"]},
        hovertext=[_label(line.row, line.label, "") for _, line in placed],
        hoverinfo="text",
    )


def _field_words(
    rows: Mapping[tuple[str, str], Row], xs: Sequence[str], ys: Sequence[str], axes: tuple[str, str]
) -> go.Scatter:
    at = [(x, y) for y in range(len(ys)) for x in range(len(xs))]
    found = [rows.get((xs[x], ys[y])) for x, y in at]
    where = [f"{axes[0]}: {span(xs[x])}; {axes[1]}: {span(ys[y])}" for x, y in at]
    return go.Scatter(
        x=[x for x, _ in at],
        y=[y for _, y in at],
        mode="text",
        text=["\N{EN DASH}" if row is None else plain(number(row.value, row.measure)) for row in found],
        textfont={"size": 12 if len(xs) > 5 else 13},
        hovertext=[
            plain(f"{place}: nothing here") if row is None else _label(row, place, "")
            for row, place in zip(found, where, strict=True)
        ],
        hoverinfo="text",
    )


def _tinted(rows: Sequence[Row]) -> Range:
    """The values of the palest and the strongest colour: so far apart that a small difference looks small."""
    values = [row.value for row in rows]
    if all(row.measure.startswith(FINE) for row in rows):
        return 0.0, max(values) or 1.0
    if all(is_share(row.measure) for row in rows):
        return 0.0, 1.0
    return min(values), max(*values, min(values) + CONTRAST)


def _label(row: Row, place: str, name: str) -> str:
    """What the mouse finds."""
    value = f"{glossary.title(row.measure)} {number(row.value, row.measure)}"
    return joined([plain(name), plain(clipped(place, 120), width=40), bold(value), *sure(row)])


def _beside(placed: Sequence[tuple[int, Row]]) -> list[Figure]:
    """The numbers in words, in the margin at the right of their lines."""
    common = {"xref": "paper", "x": 1, "xanchor": "left", "xshift": 10, "yanchor": "middle", "showarrow": False}
    return [
        common | {"y": place, "text": bold(number(row.value, row.measure)), "font": {"size": 13}}
        for place, row in placed
    ]


def _downwards(labels: Sequence[str]) -> Figure:
    """An upright axis of places 0, 1, ... from the top, with a label each."""
    return {
        "tickvals": list(range(len(labels))), "ticktext": [plain(clipped(label, 60), width=17) for label in labels],
        "range": [len(labels) - 0.5, -0.5], "automargin": True, "showgrid": False, "zeroline": False,
        "ticklabelstandoff": 6,
    }  # fmt: skip


def _tick_format(series: Sequence[Bars]) -> str | None:
    return ",.0%" if any(is_share(row.measure) for one in series for row in one.rows.values()) else None


def _ends(row: Row) -> list[float]:
    return [value for value in (row.value, row.low, row.high) if value is not None]
