"""Figures of an explanation with a number in every square: layer by head, and layer by band of frequencies."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from uncollapse.records import Row
from uncollapse.reporting.drawing import COLOURS, Figure, finished, plain, translucent
from uncollapse.reporting.explanation.plots import label, layer_ticks, shortened

Squares = Mapping[tuple[int, int], Row]
"""Numbers by place across and layer."""

TALLEST, LOWEST = 42, 12
"""Height of a layer in pixels, where they are few and where they are many."""
ROOM = 420
"""Height of all layers in pixels, as far as TALLEST and LOWEST allow."""
AROUND = 122
"""Height in pixels of what stands above and below the squares: axis, colour bar and their words."""
DOUBLINGS = (1.0, 3.0)
"""Doublings from 1 to the strongest colour: at least, so that small differences look small, and at most."""
DECADES = 4.0
"""Powers of ten from the palest to the strongest colour at most."""


@dataclass(frozen=True)
class Scale:
    """How a positive number becomes a colour, on a log scale.

    Args:
        low, high: numbers of the palest and the strongest colour; what lies beyond them has the same colour.
        colours: of plotly, from 0 to 1.
        ticks: numbers that the colour bar names.
        names: of the ticks.
        title: of the colour bar.
    """

    low: float
    high: float
    colours: Sequence[tuple[float, str]]
    ticks: Sequence[float]
    names: Sequence[str]
    title: str

    def place(self, value: float) -> float:
        """Where a number lies on the scale, as a power of ten."""
        return math.log10(min(max(value, self.low), self.high))


@dataclass(frozen=True)
class Grid:
    """What the squares stand for.

    Args:
        size: squares across and down.
        axis: ticks, their names and the title of the axis below.
        where: what a square is, by its place.
        crossed: why a square has no number, by its place; those not named have nothing to show.
    """

    size: tuple[int, int]
    axis: Figure
    where: Callable[[int, int], str]
    crossed: Mapping[tuple[int, int], str]


def height_of(layers: int) -> int:
    """How many pixels a map of so many layers needs.

    >>> height_of(6), height_of(48)
    (374, 698)
    """
    return AROUND + layers * max(LOWEST, min(TALLEST, ROOM // layers))


def heatmap(squares: Squares, grid: Grid, scale: Scale) -> Figure:
    """A colour in every square, first layer on top, and a cross where there is no number."""
    across, down = grid.size
    rows = [[squares.get((x, y)) for x in range(across)] for y in range(down)]
    figure = go.Figure(
        go.Heatmap(
            z=[[None if row is None else shortened(scale.place(row.value)) for row in line] for line in rows],
            hovertext=[
                ["" if row is None else label(row, grid.where(x, y)) for x, row in enumerate(line)]
                for y, line in enumerate(rows)
            ],
            hoverinfo="text",
            zmin=math.log10(scale.low),
            zmax=math.log10(scale.high),
            colorscale=list(scale.colours),
            colorbar=_colour_bar(scale),
            xgap=1,
            ygap=1,
        )
    )
    empty = [(x, y) for y in range(down) for x in range(across) if (x, y) not in squares]
    if empty:
        figure.add_trace(_crosses(empty, grid))
    ticks = layer_ticks(down)
    figure.update_layout(
        xaxis={"range": [-0.5, across - 0.5], "showgrid": False, "zeroline": False, "showline": False, **grid.axis},
        yaxis={
            "range": [down - 0.5, -0.5], "tickvals": ticks, "ticktext": list(map(str, ticks)), "showgrid": False,
            "zeroline": False, "title": {"text": "layer", "standoff": 6, "font": {"size": 13}},
        },
        margin={"b": AROUND - 14, "l": 46},
    )  # fmt: skip
    return finished(figure)


def around_one(maps: Sequence[Squares], title: str) -> Scale:
    """Two colours that meet at 1: the further from it, in doublings, the stronger; clear, so the page's own, at 1."""
    values = [row.value for squares in maps for row in squares.values() if row.value > 0]
    reach = max((abs(math.log2(value)) for value in values), default=0.0)
    doublings = min(max(reach, DOUBLINGS[0]), DOUBLINGS[1])
    ticks = [2.0**power for power in range(-math.floor(doublings), math.floor(doublings) + 1)]
    names = [f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks]
    below, above = COLOURS["after"], COLOURS["before"]
    colours = [
        (0.0, below), (0.5, translucent(below, 0.05)), (0.5, translucent(above, 0.05)), (1.0, above),
    ]  # fmt: skip
    return Scale(2.0**-doublings, 2.0**doublings, colours, ticks, names, title)


def decades(squares: Squares, title: str) -> Scale:
    """From the page's own colour to a strong one, the same step of colour for every factor of ten."""
    values = [row.value for row in squares.values() if row.value > 0] or [1.0]
    high = max(values)
    low = max(min(*values, high / 10), high / 10**DECADES)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if high / low > 3000 else (1, 3) if high / low > 30 else (1, 2, 5)
    ticks = [float(f"{step}e{power}") for power in powers for step in steps]
    kept = [tick for tick in ticks if low <= tick <= high]
    colours = [(0.0, translucent(COLOURS["after"], 0.04)), (1.0, COLOURS["after"])]
    return Scale(low, high, colours, kept, [f"{100 * tick:g} %" for tick in kept], title)


def _crosses(empty: Sequence[tuple[int, int]], grid: Grid) -> go.Scatter:
    words = [[grid.where(x, y), grid.crossed.get((x, y), "nothing here")] for x, y in empty]
    return go.Scatter(
        x=[x for x, _ in empty],
        y=[y for _, y in empty],
        mode="markers",
        marker={
            "symbol": "x-thin",
            "size": max(5, min(9, 240 // grid.size[1])),
            "line": {"width": 1.4, "color": COLOURS["reference"]},
        },
        hovertext=["<br>".join(plain(part, width=44) for part in parts) for parts in words],
        hoverinfo="text",
    )


def _colour_bar(scale: Scale) -> Figure:
    return {
        "orientation": "h", "thickness": 8, "outlinewidth": 0, "len": 0.96, "x": 0.5,
        "y": 0, "yref": "container", "yanchor": "bottom", "ypad": 0,
        "tickvals": [math.log10(tick) for tick in scale.ticks], "ticktext": list(scale.names),
        "title": {"text": plain(scale.title), "side": "bottom", "font": {"size": 13}},
    }  # fmt: skip
