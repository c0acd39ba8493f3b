"""A chart of curves over length with the words around it."""

from collections.abc import Mapping, Sequence

from uncollapse.records import Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, closed, remarks
from uncollapse.reporting.diagnosis.bars import Frame
from uncollapse.reporting.drawing import from_zero
from uncollapse.reporting.explanation import plots
from uncollapse.reporting.plots import Line

Lines = Sequence[Line]
TOLD = 8
"""Lines whose numbers are told in words."""


def curve_chart(
    frame: Frame, lines: Lines, *, level: float | None = None, log: bool = False, also: Sequence[str] = ()
) -> Chart:
    """Lines over length, or the reason why there are none; with one length its numbers stand in that reason.

    Args:
        frame: the words around it.
        lines: those without rows are left out.
        level: a number to hold the lines against.
        log: whether the upright axis is a log axis.
        also: what to mind besides what the rows say.
    """
    there = [line for line in lines if line.rows]
    drawn = [row for line in there for row in line.rows]
    if len({row.n_tokens for row in drawn}) < 2:
        return _bare(frame, _alone(there))
    figure = plots.curves(there, y_range=reach(drawn, level), level=level, log=log)
    measured = [row for line in there if line.role != "reference" for row in line.rows]
    return Chart(
        frame.key, frame.title, closed(frame.reading, measured, mark="band"), figure,
        f"Line chart. {frame.title}. {' '.join(map(_tell, there))}",
        remarks=(*also, *remarks(measured)), lead=frame.lead, wide=frame.wide,
        colours=tuple((line.role, line.name) for line in there) if len(there) > 1 else (),
    )  # fmt: skip


def ladder_chart(frame: Frame, layers: Mapping[int, Sequence[Row]], first: Line | None = None) -> Chart:
    """A line a layer over length, and what there is before any layer; or the reason why there are none."""
    drawn = [row for rows in layers.values() for row in rows]
    named = [Line(rows, f"layer {layer}", "") for layer, rows in layers.items()]
    if len({row.n_tokens for row in drawn}) < 2:
        return _bare(frame, _alone(named))
    shown = first if first is not None and first.rows else None
    figure = plots.ladder(layers, shown, y_range=reach([*drawn, *(shown.rows if shown else ())]))
    told = [*([shown] if shown else []), *named[:1], *(named[-1:] if len(named) > 1 else [])]
    return Chart(
        frame.key, frame.title, f"{frame.reading}.", figure,
        f"Line chart. {frame.title}. {' '.join(map(_tell, told))}",
        remarks=remarks(drawn), lead=frame.lead, wide=frame.wide,
        colours=((shown.role, shown.name),) if shown else (),
    )  # fmt: skip


def reach(rows: Sequence[Row], level: float | None = None) -> tuple[float, float] | None:
    """An axis from 0 that holds the numbers, their intervals and the level."""
    return from_zero([*rows, *([Row("", level, None, None, 0)] if level is not None else [])])


def _bare(frame: Frame, said: str) -> Chart:
    missing = f"Only one length was measured, and a curve needs two: {said}" if said else frame.missing
    return Chart(frame.key, frame.title, f"{frame.reading}.", missing=missing, lead=frame.lead, wide=frame.wide)


def _alone(lines: Lines) -> str:
    """The numbers of one length in words, of the first and the last line where they are many."""
    told = lines if len(lines) <= TOLD else (lines[0], lines[-1])
    rest = [] if told is lines else [f"The numbers of {len(lines) - 2} more are in result.json."]
    return " ".join([*map(_tell, told), *rest])


def _tell(line: Line) -> str:
    return f"{line.name[:1].upper()}{line.name[1:]}: {words.ends(line.rows)}."
