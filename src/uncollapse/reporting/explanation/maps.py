"""A chart of squares with the words around it."""

from collections.abc import Mapping, Sequence

from uncollapse.records import Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, remarks
from uncollapse.reporting.diagnosis.bars import Frame
from uncollapse.reporting.drawing import Figure
from uncollapse.reporting.explanation.heatmaps import Grid, Scale, Squares, heatmap, height_of
from uncollapse.reporting.explanation.plots import layer_ticks


def map_chart(frame: Frame, squares: Squares, grid: Grid, scale: Scale, *, also: Sequence[str] = ()) -> Chart:
    """A square for every number, or the reason why there are none.

    Args:
        frame: the words around it.
        squares: the numbers.
        grid: what the squares are.
        scale: their colours.
        also: what to mind besides what the rows say.
    """
    reading = f"{frame.reading}."
    if not squares:
        return Chart(frame.key, frame.title, reading, missing=frame.missing, lead=frame.lead, wide=frame.wide)
    return Chart(
        frame.key, frame.title, reading, heatmap(squares, grid, scale),
        f"Heat map. {frame.title}. {_tell(squares, grid)}",
        remarks=(*also, *remarks(list(squares.values()))), lead=frame.lead, height=height_of(grid.size[1]),
        wide=frame.wide,
    )  # fmt: skip


def head_grid(size: tuple[int, int], crossed: Mapping[tuple[int, int], str] | None = None) -> Grid:
    """Heads across, layers down."""
    return Grid(size, head_axis(size[0]), lambda head, layer: f"layer {layer}, head {head}", crossed or {})


def head_axis(heads: int) -> Figure:
    """The axis of the heads."""
    ticks = layer_ticks(heads)
    return {
        "tickvals": ticks, "ticktext": list(map(str, ticks)),
        "title": {"text": "head", "standoff": 6, "font": {"size": 13}},
    }  # fmt: skip


def _tell(squares: Squares, grid: Grid) -> str:
    """The least and the greatest number, and where they are."""
    ordered = sorted(squares, key=lambda place: squares[place].value)
    told = [("lowest", ordered[0]), ("highest", ordered[-1])] if len(ordered) > 1 else [("the only one", ordered[0])]
    said = "; ".join(f"{what} {_number(squares[place])} at {grid.where(*place)}" for what, place in told)
    return f"{words.count(len(ordered))} squares: {said}."


def _number(row: Row) -> str:
    return words.number(row.value, row.measure)
