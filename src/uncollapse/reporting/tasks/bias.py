"""Whether a ranking prefers short or long documents: what it finds by length, and the figures of that bias."""

from collections.abc import Mapping

from uncollapse.reporting import glossary, words
from uncollapse.reporting.charts import Cell, Chart, Table, closed, gaps
from uncollapse.reporting.drawing import from_zero
from uncollapse.reporting.tasks import plots
from uncollapse.reporting.tasks.plots import Bars
from uncollapse.reporting.tasks.rows import LONG, SHARES, Task

FIRST = ("length_ratio@R", "short_wins", "length_slope", "length_slope_sd")
"""The figures to read before the others."""


def make_bias_charts(task: Task) -> tuple[Chart, ...]:
    """Lengths of what is found, and the figures of length bias; of a ranking only."""
    return (_shares_chart(task), _figures_chart(task)) if task.kind == "retrieval" else ()


def _shares_chart(task: Task) -> Chart:
    key, heading = f"{task.key}-shares", "Does the ranking prefer a length?"
    lead = "How the documents of the corpus, the relevant ones and those in the first ten results spread over lengths."
    reading = (
        "Where the results stand above the relevant documents, that length is found more often than it deserves, and "
        "where they stand below, it is overlooked"
    )
    labels = list(dict.fromkeys(label for measure in SHARES for label in task.bins(measure, LONG)))
    wanted = [
        ("share_of_corpus", "none", "whole", "corpus"),
        ("share_of_relevant", "none", "relevant", "relevant"),
        *(("share_of_top10", fix, task.role(fix), f"first ten, {task.call(fix)}") for fix in task.drawn),
    ]
    series = [
        Bars({row.bin: row for row in rows}, name, role)
        for measure, fix, role, name in wanted
        if (rows := task.some(measure, view=LONG, fix=fix))
    ]
    if not any(one.role == "before" for one in series):
        said = "This result holds no lengths of what was found."
        return Chart(key, heading, f"{reading}.", missing=said, lead=lead)
    drawn = [row for one in series for row in one.rows.values()]
    figure = plots.bars(
        series, labels=labels, axis=task.said.long, y_range=from_zero(drawn), title="share", unit=task.unit
    )
    alt = f"Bar chart of lengths. {' '.join(_share_words(one, task.unit) for one in series)}"
    colours = tuple((one.role, one.name) for one in series)
    full = closed(reading, drawn, mark="thin line on a bar")
    return Chart(key, heading, full, figure, alt, lead=lead, colours=colours)


def _share_words(one: Bars, unit: str) -> str:
    rows = list(one.rows.values())
    ends = (
        f"{words.number(row.value, row.measure)} at {words.sized(words.span(row.bin), unit)}"
        for row in (rows[0], rows[-1])
    )
    return f"{one.name.capitalize()}: {', '.join(ends)}."


_FOR_WHAT = (
    "Intervals are for other queries on these very documents; those of the slope and of what length explains are for "
    "other documents, too. They are not corrected for being many."
)


def _figures_chart(task: Task) -> Chart:
    key, heading = f"{task.key}-bias", "Length bias in figures"
    lead = "How strongly the ranking follows length where relevance does not."
    reading = (
        "Hold each figure against the value that it would have without any bias: where its 95 % interval (the smaller "
        "figures) holds that value, there may be no bias."
    )
    measures = list(
        dict.fromkeys(row.measure for row in task.rows if row.view == "overall" and glossary.is_bias(row.measure))
    )
    if not measures:
        return Chart(key, heading, reading, missing="This result holds no figures of length bias.", lead=lead)
    settings = task.drawn
    changed = any(task.one(f"{measure}_change", task.chosen or "") for measure in measures)
    columns = ("figure", "without bias", *(task.call(fix) for fix in settings), *(["change"] if changed else []))
    first = tuple(_line(task, measure, settings, changed) for measure in FIRST if measure in measures)
    rest = tuple(_line(task, measure, settings, changed) for measure in measures if measure not in FIRST)
    table = Table(
        "Figures of length bias.", columns, first or rest, rest if first else (), f"Show {len(rest)} more figures"
    )
    drawn = [row for row in task.rows if row.measure in measures and row.fix in settings]
    return Chart(key, heading, reading, table=table, lead=lead, remarks=(_FOR_WHAT, *gaps(drawn), *_undefined(task)))


def _line(task: Task, measure: str, settings: tuple[str, ...], changed: bool) -> tuple[Cell, ...]:
    term = glossary.find_term(measure)
    name = Cell(term.title, term.reading) if term else Cell(measure)
    neutral = words.number(term.neutral, measure) if term and term.neutral is not None else words.UNKNOWN
    rows = [task.one(measure, fix) for fix in settings]
    if changed:
        rows.append(task.one(f"{measure}_change", settings[-1]))
    found = [
        Cell(words.number(row.value, row.measure), words.unbroken(words.interval(row))) if row else Cell(words.UNKNOWN)
        for row in rows
    ]
    return (name, Cell(neutral), *found)


def _undefined(task: Task) -> list[str]:
    """Why some figures have no number on these data."""
    undefined = task.entry.get("undefined")
    found = undefined.items() if isinstance(undefined, Mapping) else ()
    return [f"{glossary.title(str(name))} has no number here. {why}" for name, why in found]
