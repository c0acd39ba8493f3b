"""Numbers about all texts together, one line each with what it is."""

from collections.abc import Sequence

from uncollapse.records import Row
from uncollapse.reporting import glossary, words
from uncollapse.reporting.charts import Cell, Chart, Table, remarks

READING = "The smaller figures are the 95 % interval, the range that other texts of the same kind leave open."


def summary_chart(key: str, title: str, rows: Sequence[Row], *, missing: str) -> Chart:
    """A table of numbers with what each of them is."""
    if not rows:
        return Chart(key, title, READING, missing=missing, wide=True)
    table = Table(f"{title}.", ("number", "value", "what it is"), tuple(map(_line, rows)))
    return Chart(key, title, READING, table=table, remarks=remarks(rows), wide=True)


def _line(row: Row) -> tuple[Cell, ...]:
    term = glossary.find_term(row.measure)
    value = Cell(
        words.number(row.value, row.measure), words.unbroken(words.interval(row), f"n = {words.count(row.n)}")
    )
    return (Cell(term.title if term else row.measure), value, Cell("", term.reading if term else ""))
