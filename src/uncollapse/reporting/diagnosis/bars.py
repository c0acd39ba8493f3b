"""A chart of bars in groups with the words around it."""

from collections.abc import Sequence
from dataclasses import dataclass

from uncollapse.records import Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Chart, closed, remarks
from uncollapse.reporting.diagnosis import plots
from uncollapse.reporting.drawing import from_zero
from uncollapse.reporting.tasks.plots import Bars

STANDING = 7
"""Groups of bars that stand side by side with their labels on a narrow page."""


@dataclass(frozen=True)
class Frame:
    """The words around a chart.

    Args:
        key: stable name.
        title: what is drawn.
        reading: one sentence on how to read it, without its full stop.
        missing: what is said where there is nothing to draw.
        lead: what the number is.
        wide: whether it takes the whole width.
    """

    key: str
    title: str
    reading: str
    missing: str
    lead: str = ""
    wide: bool = False


def bar_chart(
    frame: Frame,
    series: Sequence[Bars],
    *,
    labels: Sequence[str],
    axis: str = "",
    mark: tuple[float, str] | None = None,
    lying: bool = False,
    also: Sequence[str] = (),
) -> Chart:
    """Bars over every label, or the reason why there are none.

    Args:
        frame: the words around it.
        series: one bar of each stands over every label.
        labels: of the groups of bars, in order.
        axis: what the labels are.
        mark: a level to hold the bars against, and what it stands for.
        lying: one label under the other, for long ones; many are so anyway.
        also: what to mind besides what the rows say.
    """
    drawn = [row for one in series for row in one.rows.values()]
    if not drawn:
        return Chart(
            frame.key, frame.title, f"{frame.reading}.", missing=frame.missing, lead=frame.lead, wide=frame.wide
        )
    told = " ".join(_tell(one, labels) for one in series)
    if len(labels) == 1 and not lying:
        lonely = (
            f"There is one group only, so nothing to compare. {' '.join(_alone(one, labels[0]) for one in series)}"
        )
        return Chart(frame.key, frame.title, f"{frame.reading}.", missing=lonely, lead=frame.lead, wide=frame.wide)
    lying = lying or len(labels) > STANDING
    reach = from_zero([*drawn, *([_level(mark[0])] if mark else [])])
    figure = (
        plots.strips(series, labels=labels, axis=axis, x_range=reach, level=mark[0] if mark else None)
        if lying
        else plots.columns(series, labels=labels, axis=axis, y_range=reach, level=mark[0] if mark else None)
    )
    return Chart(
        frame.key, frame.title, closed(frame.reading, drawn, mark="thin line on a bar"), figure,
        f"Bar chart. {frame.title}. {told}",
        remarks=(*also, *remarks(drawn)), lead=frame.lead, wide=frame.wide,
        colours=_legend(series, mark),
        height=plots.height_of(len(labels)) if lying else 0,
    )  # fmt: skip


def _legend(series: Sequence[Bars], mark: tuple[float, str] | None) -> tuple[tuple[str, str], ...]:
    """What bars and line stand for, where there is more than one of them."""
    entries = [*((one.role, one.name) for one in series), *([("reference", mark[1])] if mark else [])]
    return tuple(entries) if len(entries) > 1 else ()


def _tell(one: Bars, labels: Sequence[str]) -> str:
    found = [(one.rows[label], label) for label in labels if label in one.rows]
    said = ", ".join(f"{words.number(row.value, row.measure)} at {words.span(label)}" for row, label in found)
    return f"{one.name[:1].upper()}{one.name[1:]}: {said}."


def _alone(one: Bars, label: str) -> str:
    row = one.rows[label]
    value, sure = words.number(row.value, row.measure), words.interval(row)
    between = f"95 % interval {sure}" if sure else words.reason(row.note)
    return (
        f"{one.name[:1].upper()}{one.name[1:]}: {value} at {words.span(label)} ({between}; n = {words.count(row.n)})."
    )


def _level(value: float) -> Row:
    """A level as a row without interval, for axes that must hold it."""
    return Row("", value, None, None, 0)
