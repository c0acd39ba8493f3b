"""Texts that change one thing only, and what each change does to the mean cosine."""

from collections.abc import Mapping

from uncollapse.records import Result, Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Cell, Chart, Section, Table, closed, remarks
from uncollapse.reporting.diagnosis import plots
from uncollapse.reporting.diagnosis.plots import Effect
from uncollapse.reporting.diagnosis.rows import asked, described, find_by_bin, titled

VIEW = "controls"


def make_control_section(result: Result) -> Section | None:
    """What each control does, and what it changes; None where nobody asked."""
    if not asked(result, "controls", VIEW):
        return None
    return Section(
        "controls", "What happens if one thing is changed?", (_chart(result),), look="diagnosis",
        notes=_left_out(result),
        lead="The same documents, with one thing changed at a time: where nothing happens, that thing is not what "
        "pulls long texts together.",
    )  # fmt: skip


def _chart(result: Result) -> Chart:
    title = "Change of the mean cosine, control by control"
    reading = (
        "A dot right of the upright line says that this change makes texts more alike, left of it less alike; it is "
        "filled where that is sure and hollow where it can be chance"
    )
    found = find_by_bin(result, VIEW, "control_effect")
    if not found:
        missing = "This result holds no controls: too few of these texts are long enough."
        return Chart("controls", title, f"{reading}.", missing=missing, wide=True)
    groups = _groups(result, found)
    figure = plots.effects(groups)
    said = "; ".join(
        f"{line.label}, {heading}: {words.number(line.row.value, line.row.measure)}"
        for heading, lines in groups.items()
        for line in lines
    )
    drawn = list(found.values())
    return Chart(
        "controls", title, closed(reading, drawn, mark="line through a dot"), figure, f"Effects. {said}.",
        remarks=remarks(drawn), table=_table(result, found), height=plots.height_of(len(found) + len(groups)),
        wide=True,
    )  # fmt: skip


def _left_out(result: Result) -> tuple[str, ...]:
    """Controls that could not be measured, each with why."""
    found = words.entry(result.about, "controls", "left_out")
    reasons = found.items() if isinstance(found, Mapping) else ()
    return tuple(f"Left out, {str(name).replace('_', ' ')}: {words.listing(why)}." for name, why in reasons)


def _groups(result: Result, found: Mapping[str, Row]) -> dict[str, list[Effect]]:
    """Effects under the control that they are held against."""
    groups: dict[str, list[Effect]] = {}
    for name, row in found.items():
        reference = str(described(result, VIEW, name).get("reference") or "")
        heading = f"against: {titled(result, VIEW, reference).lower()}" if reference else "against its reference"
        groups.setdefault(heading, []).append(Effect(titled(result, VIEW, name), row))
    return groups


def _table(result: Result, found: Mapping[str, Row]) -> Table:
    levels = find_by_bin(result, VIEW, "mean_cosine")
    lines = tuple(_line(result, name, row, levels.get(name)) for name, row in found.items())
    columns = ("control", "effect", "what is changed", "how to read it")
    return Table("What each control changes.", columns, (), lines, "Show what each control changes")


def _line(result: Result, name: str, row: Row, level: Row | None) -> tuple[Cell, ...]:
    entry = described(result, VIEW, name)
    changes, reading = (str(entry.get(key) or "") for key in ("changes", "reading"))
    mean = f"mean cosine {words.number(level.value, level.measure)}" if level else ""
    limits = str(entry.get("limits") or "")
    under = words.unbroken(words.interval(row), f"n = {words.count(row.n)}")
    amount = Cell(words.number(row.value, row.measure), under)
    return (
        Cell(titled(result, VIEW, name), mean),
        amount,
        Cell("", changes) if changes else Cell(words.UNKNOWN),
        Cell("", reading, marks=(("neutral", limits),) if limits else ()) if reading else Cell(words.UNKNOWN),
    )
