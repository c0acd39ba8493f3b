"""Figures of an evaluation: bars by length, before and after, gains, a grid of both lengths, and one dot an item."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from uncollapse.records import Item, Row
from uncollapse.reporting.drawing import (
    COLOURS,
    TINT,
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
    token_axis,
    translucent,
    whiskers,
)
from uncollapse.reporting.words import count, number, scale, sized, span


@dataclass(frozen=True)
class Bars:
    """One bar for every bin.

    Args:
        rows: by label of the bin.
        name: what the reader calls it.
        role: a key of COLOURS; a "faint" one has no whiskers.
    """

    rows: Mapping[str, Row]
    name: str
    role: str


@dataclass(frozen=True)
class Field:
    """One field of the grid, by the places of its two bins; `row` is None where there is nothing."""

    x: int
    y: int
    row: Row | None
    label: str
    proven: bool = False


def bars(
    series: Sequence[Bars], *, labels: Sequence[str], axis: str, y_range: Range | None, title: str, unit: str
) -> Figure:
    """Bars side by side in every length bin, with whiskers where there are intervals."""
    figure = go.Figure()
    for one in series:
        there = [place for place, label in enumerate(labels) if label in one.rows]
        rows = [one.rows[labels[place]] for place in there]
        figure.add_trace(
            go.Bar(
                x=there,
                y=[row.value for row in rows],
                error_y=whiskers(rows) if one.role != "faint" else None,
                marker={"color": translucent(COLOURS[one.role], 0.55 if one.role == "faint" else 0.86)},
                hovertext=[_bar_label(row, title, one.name, axis, unit) for row in rows],
                hoverinfo="text",
                name=plain(one.name),
            )
        )
    ticks = tick_words(labels)
    figure.update_layout(
        barmode="group",
        bargap=0.28,
        bargroupgap=0.06,
        xaxis=places(ticks, scale(axis, unit)),
        yaxis={"range": y_range, "nticks": 6, "tickformat": ",.0%" if title.startswith("share") else None},
        margin={"b": 66},
    )
    return finished(figure)


def grid(
    cells: Sequence[Field], *, xs: Sequence[str], ys: Sequence[str], axes: tuple[str, str], signed: bool, unit: str
) -> Figure:
    """Both lengths at once: a number in every field, its colour the stronger the larger it is; no number, hatched."""
    full = [cell for cell in cells if cell.row is not None and cell.row.low is not None]
    most = max((abs(cell.row.value) for cell in full if cell.row), default=1.0) or 1.0
    values: list[list[float | None]] = [[None] * len(xs) for _ in ys]
    for cell in full:
        values[cell.y][cell.x] = cell.row.value if cell.row else None
    figure = go.Figure(
        go.Heatmap(
            z=values,
            zmin=-most if signed else min((cell.row.value for cell in full if cell.row), default=0.0),
            zmax=most,
            colorscale=_diverging() if signed else tints(),
            showscale=False,
            hoverinfo="skip",
            xgap=3,
            ygap=3,
        )
    )
    figure.add_trace(_hatched([cell for cell in cells if cell not in full]))
    figure.add_trace(_fields(cells))
    figure.update_layout(
        xaxis=places(tick_words(xs), scale(axes[0], unit)),
        yaxis={
            **places([plain(clipped(span(label), 24)) for label in ys], scale(axes[1], unit)),
            "ticklabelstandoff": 6,
            "automargin": True,
        },
        barmode="overlay",
        margin={"b": 66},
    )
    return finished(figure)


def dots(
    items: Sequence[Item],
    *,
    fix: str | None,
    title: str,
    axis: str,
    lengths: tuple[str, str],
    names: tuple[str, str],
    unit: str,
) -> Figure:
    """One dot an item over the length of its document (log2 axis): what a fix changed, or the score without one."""
    heights = [height(item, fix) for item in items]
    figure = go.Figure()
    for role, wanted in (("faint", 0), ("before", -1), ("after", 1)) if fix else (("before", None),):
        chosen = [(i, y) for i, y in zip(items, heights, strict=True) if wanted is None or (y > 0) - (y < 0) == wanted]
        figure.add_trace(
            _cloud(chosen, role, [_item_label(item, fix, title, lengths, names, unit) for item, _ in chosen])
        )
    tokens = [max(item.n_tokens, 1) for item in items]
    across = token_axis(min(tokens), max(tokens))
    across["title"]["text"] = plain(scale(axis, unit))
    if fix:
        figure.add_hline(y=0, line={"width": 1.2, "color": COLOURS["reference"]}, layer="below")
    figure.update_layout(xaxis=across, yaxis={"nticks": 7, "range": roomy([*heights, 0.0], 0.08)})
    return finished(figure)


def _bar_label(row: Row, title: str, name: str, axis: str, unit: str) -> str:
    lines = [
        plain(name),
        plain(f"{axis} of {sized(span(row.bin), unit)}"),
        bold(f"{title} {number(row.value, row.measure)}"),
    ]
    return joined([*lines, *sure(row)])


def _hatched(cells: Sequence[Field]) -> go.Bar:
    return go.Bar(
        x=[cell.x for cell in cells],
        y=[0.96] * len(cells),
        base=[cell.y - 0.48 for cell in cells],
        width=[0.96] * len(cells),
        marker={
            "color": "rgba(0,0,0,0)",
            "line": {"width": 0},
            "pattern": {
                "shape": "/",
                "size": 7,
                "solidity": 0.12,
                "fgcolor": COLOURS["faint"],
                "bgcolor": "rgba(0,0,0,0)",
            },
        },
        hoverinfo="skip",
    )


def _fields(cells: Sequence[Field]) -> go.Scatter:
    """The words in the fields, and what the mouse finds there."""
    return go.Scatter(
        x=[cell.x for cell in cells],
        y=[cell.y for cell in cells],
        mode="text",
        text=[_field_words(cell) for cell in cells],
        hovertext=[cell.label for cell in cells],
        hoverinfo="text",
    )


def _field_words(cell: Field) -> str:
    row = cell.row
    if row is None:
        return ""
    if row.low is None:
        return f"n = {count(row.n)}"
    value = number(row.value, row.measure)
    return f"{bold(value) if cell.proven else plain(value)}<br>n = {count(row.n)}"


def field_label(row: Row | None, axes: tuple[str, str], places: tuple[str, str], title: str, unit: str) -> str:
    """What the mouse finds in a field of the grid."""
    where = [plain(f"{axis} of {sized(span(place), unit)}") for axis, place in zip(axes, places, strict=True)]
    if row is None:
        return joined([*where, "nothing here"])
    value = [bold(f"{title} {number(row.value, row.measure)}")] if row.low is not None else []
    return joined([*where, *value, *sure(row)])


def _item_label(
    item: Item, fix: str | None, title: str, whose: tuple[str, str], names: tuple[str, str], unit: str
) -> str:
    lengths = [plain(f"{whose[0]} {sized(count(item.n_tokens), unit)}")]
    if item.n_query_tokens is not None and whose[1]:
        lengths.append(plain(f"{whose[1]} {sized(count(item.n_query_tokens), unit)}"))
    scores = [f"{plain(title)} {plain(names[0])}: {number(item.values['none'])}"]
    if fix:
        change = number(height(item, fix), "_gain")
        scores.append(f"{plain(names[1], width=40)}: {number(item.values[fix])} ({change})")
    text = plain(clipped(item.snippet, 220) or clipped(item.id, 60), width=38)
    return joined([text, *scores, ", ".join(lengths)])


def height(item: Item, fix: str | None) -> float:
    """Rounded, so that two ways to the same score are no difference."""
    return round(item.values[fix] - item.values["none"] if fix else item.values["none"], 5)


def _cloud(dots: Sequence[tuple[Item, float]], role: str, labels: Sequence[str]) -> go.Scatter:
    return go.Scatter(
        x=[max(item.n_tokens, 1) for item, _ in dots],
        y=[height for _, height in dots],
        mode="markers",
        marker={
            "color": COLOURS[role],
            "size": 6 if role == "faint" else 8,
            "opacity": 0.45 if role == "faint" else 0.8,
            "line": {"width": 0.5, "color": "rgba(255,255,255,0.55)"},
        },
        hovertext=list(labels),
        hoverinfo="text",
    )


def _diverging() -> list[tuple[float, str]]:
    """Stock ahead, no difference, fix ahead; the middle is clear, so that it is the page's own colour."""
    return [
        (0.0, translucent(COLOURS["before"], TINT)),
        (0.5, translucent(COLOURS["before"], 0.0)),
        (0.5, translucent(COLOURS["after"], 0.0)),
        (1.0, translucent(COLOURS["after"], TINT)),
    ]
