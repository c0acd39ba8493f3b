"""Is anything cut off: tokens lost at every limit, by length and by source, the greatest losses, and servers."""

from collections.abc import Mapping
from typing import Any

from uncollapse.records import Result, Row
from uncollapse.reporting import words
from uncollapse.reporting.charts import Cell, Chart, Section, Table, remarks
from uncollapse.reporting.diagnosis.bars import Frame, bar_chart
from uncollapse.reporting.diagnosis.rows import asked, by_length, find_by_cut, listed, noted
from uncollapse.reporting.drawing import clipped
from uncollapse.reporting.tasks.plots import Bars

LENGTH, SOURCE, TOTAL = "audit_by_length", "audit_by_source", "overall"
LOST, CUT = "tokens_lost", "share_truncated"
DRAWN = 4
"""How many limits have bars: more cannot be told apart."""
SOURCES = 12
"""How many sources have bars: the others are in the table of all numbers."""


def make_audit_section(result: Result) -> Section | None:
    """What never reaches the model; None where nobody asked."""
    if not asked(result, "audit", LENGTH, SOURCE):
        return None
    charts = [_totals(result), _lengths(result), _sources(result), *_texts(result), *_servers(result)]
    return Section(
        "audit", "Is anything cut off?", tuple(chart for chart in charts if chart is not None), look="diagnosis",
        lead="A model reads a text up to its limit and passes over the rest without a word: whatever stands "
        "there cannot be found, and no fix of the model brings it back.",
        notes=noted(result, "audit"),
    )  # fmt: skip


def is_audit(row: Row) -> bool:
    """Whether a row is a total of the audit, which shares its view with the totals of an evaluation."""
    return row.view == TOTAL and row.measure.startswith((f"{LOST}@", f"{CUT}@"))


def _totals(result: Result) -> Chart:
    lost, cut = (find_by_cut(result, TOTAL, name) for name in (LOST, CUT))
    title = "What each limit costs"
    unit = words.unit(result.about)
    reading = f"A text is cut off when it has more {unit} than the limit, and its {unit} beyond the limit are lost."
    limits = list(dict.fromkeys([*lost, *cut]))
    if not limits:
        missing = "This result holds no count of what is cut off: the model has no limit, and nobody named one."
        return Chart("audit-limits", title, reading, missing=missing, wide=True)
    lines = tuple(
        (Cell(_limit(limit, unit), _owner(result, limit)), _cell(cut, limit), _cell(lost, limit)) for limit in limits
    )
    columns = ("limit", "texts cut off", f"{unit} lost")
    table = Table(f"Texts cut off and {unit} lost at every limit.", columns, lines)
    drawn = [row for found in (lost, cut) for rows in found.values() for row in rows.values()]
    return Chart("audit-limits", title, reading, table=table, remarks=remarks(drawn), wide=True)


def _owner(result: Result, limit: str) -> str:
    """Whose limit it is."""
    limits = words.entry(result.about, "audit", "limits")
    whose = limits if isinstance(limits, Mapping) else {}
    said = {"folder": "set in the model's folder", "in_use": "used in this study"}
    found = [what for key, what in said.items() if str(whose.get(key)) == limit]
    return ", ".join(found) or "asked about"


def _cell(found: Mapping[str, Mapping[str, Row]], limit: str) -> Cell:
    row = next(iter(found.get(limit, {}).values()), None)
    if row is None:
        return Cell(words.UNKNOWN)
    under = words.unbroken(words.interval(row), f"n = {words.count(row.n)}")
    return Cell(words.number(row.value, row.measure), under)


def _lengths(result: Result) -> Chart:
    found, unit = find_by_cut(result, LENGTH, LOST), words.unit(result.about)
    frame = Frame(
        "audit-lengths",
        f"{_capital(unit)} lost, by length of the text",
        "Each group of bars holds the texts of one length before truncation, with one bar a limit: the longer the "
        "bar, the more of these texts is never read",
        f"This result holds no {unit} lost by length.",
    )
    labels = by_length([label for rows in found.values() for label in rows])
    also = _undrawn(found, unit)
    return bar_chart(frame, _series(found, unit), labels=labels, axis=f"{unit} of the text", also=also)


def _sources(result: Result) -> Chart | None:
    found, unit = find_by_cut(result, SOURCE, LOST), words.unit(result.about)
    if not found:
        return None
    frame = Frame(
        "audit-sources",
        f"{_capital(unit)} lost, by source",
        "Each bar is a file, field or package that texts come from, those that lose most at the top: the longer it "
        "is, the more of that source is never read",
        "",
    )
    first = found[next(iter(found))]
    labels = sorted(first, key=lambda label: (-first[label].value, label))
    shown, more = labels[:SOURCES], len(labels) - SOURCES
    also = [*([f"{more} more sources are in the table of all numbers."] if more > 0 else []), *_undrawn(found, unit)]
    series = [
        Bars({label: rows[label] for label in shown if label in rows}, *rest) for rows, rest in _named(found, unit)
    ]
    return bar_chart(frame, series, labels=shown, lying=True, also=also)


def _series(found: Mapping[str, dict[str, Row]], unit: str) -> list[Bars]:
    return [Bars(rows, *rest) for rows, rest in _named(found, unit)]


def _named(found: Mapping[str, dict[str, Row]], unit: str) -> list[tuple[dict[str, Row], tuple[str, str]]]:
    """The first limits with their names and colours."""
    kept = list(found.items())[:DRAWN]
    return [(rows, (_limit(limit, unit), f"limit-{place}")) for place, (limit, rows) in enumerate(kept, start=1)]


def _undrawn(found: Mapping[str, object], unit: str) -> list[str]:
    rest = ", ".join(_limit(limit, unit) for limit in list(found)[DRAWN:])
    return [f"Not drawn, but in the table of all numbers: {rest}."] if rest else []


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]


def _limit(limit: str, unit: str) -> str:
    return f"limit of {words.count(float(limit))} {unit}" if limit.isdecimal() else limit


def _texts(result: Result) -> list[Chart]:
    entries = listed(result.about, "audit", "texts")
    if not entries:
        return []
    lines = tuple(_text_line(entry) for entry in entries)
    unit = words.unit(result.about)
    columns = ("text", unit, f"{unit} lost", "what is cut off begins with")
    table = Table("Texts that lose most.", columns, lines[:5], lines[5:], f"Show {len(lines) - 5} more texts")
    reading = "Look at the first of them: if what is cut off matters to your users, cut such texts into chunks."
    return [Chart("audit-texts", "The texts that lose most", reading, table=table, wide=True)]


def _text_line(entry: Mapping[str, Any]) -> tuple[Cell, ...]:
    source = str(entry.get("source") or "")
    tokens, lost = (words.listing(entry.get(key)) or words.UNKNOWN for key in ("n_tokens", "lost"))
    name = Cell(clipped(str(entry.get("id", "")), 80), clipped(source, 80))
    beginning = clipped(str(entry.get("beginning") or ""), 200)
    return (name, Cell(tokens), Cell(lost), Cell("", beginning) if beginning else Cell(words.UNKNOWN))


def _servers(result: Result) -> list[Chart]:
    entries = listed(result.about, "audit", "servers")
    if not entries:
        return []
    lines = tuple(_server_line(entry) for entry in sorted(entries, key=lambda entry: not entry.get("cuts")))
    columns = ("server", "too long a text", "texts cut off in silence", "what to do")
    table = Table("What servers do with texts that are too long.", columns, lines[:0], lines, "Show the servers")
    reading = "One that cuts off in silence answers with the vector of a beginning, and nothing in the answer says so."
    return [Chart("audit-servers", "What servers do unless told otherwise", reading, table=table, wide=True)]


def _server_line(entry: Mapping[str, Any]) -> tuple[Cell, ...]:
    keys = ("server", "default", "texts", "advice", "address")
    name, default, texts, advice, address = (clipped(words.listing(entry.get(key)), 160) for key in keys)
    said = Cell("", default, "cuts off" if entry.get("cuts") else "refuses", "bad" if entry.get("cuts") else "neutral")
    marks = (("neutral", address),) if address else ()
    return (Cell(name), said, Cell(texts or words.UNKNOWN), Cell("", advice, marks=marks))
