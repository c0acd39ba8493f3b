"""What sections hand to the page: charts with the words around them, tables and tiles."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from uncollapse.records import Row
from uncollapse.reporting.drawing import Figure
from uncollapse.reporting.words import NO_INTERVAL


@dataclass(frozen=True)
class Cell:
    """One field of a table.

    Args:
        text: the number or name.
        under: smaller words below it, such as its interval.
        word: what it says in one word, shown first.
        tone: kind of that word: "good", "bad" or "neutral".
        marks: lines below all that, each with its tone.
        link: id of the part of the page it leads to.
    """

    text: str
    under: str = ""
    word: str = ""
    tone: str = ""
    marks: tuple[tuple[str, str], ...] = ()
    link: str = ""


@dataclass(frozen=True)
class Table:
    """A few numbers to read rather than to see.

    Args:
        caption: what it holds.
        columns: their headings.
        lines: the first cell of each is its heading.
        rest: lines that are folded away until asked for.
        fold: what to click on for them.
    """

    caption: str
    columns: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]
    rest: tuple[tuple[Cell, ...], ...] = ()
    fold: str = ""


@dataclass(frozen=True)
class Chart:
    """One figure or table with what a reader needs to read it, or the reason why there is none.

    Args:
        key: stable name, also the id of its element.
        title: what is drawn.
        reading: one sentence on how to read it.
        figure: what plotly.js draws; None when there is nothing to draw, and then `missing` says why.
        alt: the main numbers in words.
        remarks: what to mind, such as why there is no interval.
        lead: what the number is.
        table: in the place of a figure.
        colours: legend of this chart alone, as a section has one for all of its charts.
        height: in pixels, 0 for the usual one.
        wide: whether it takes the whole width.
    """

    key: str
    title: str
    reading: str
    figure: Figure | None = None
    alt: str = ""
    missing: str = ""
    remarks: tuple[str, ...] = ()
    lead: str = ""
    table: Table | None = None
    colours: tuple[tuple[str, str], ...] = ()
    height: int = 0
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """Charts under one heading.

    Args:
        key: its id.
        title: heading.
        charts: in reading order.
        colours: the legend: (role, what it stands for).
        lead: what it is about.
        look: name of its layout in the style sheet, its key where empty.
        notes: what a reader must know about what it shows.
    """

    key: str
    title: str
    charts: tuple[Chart, ...]
    colours: tuple[tuple[str, str], ...] = ()
    lead: str = ""
    look: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tile:
    """One number that sums up the verdict; `n` is what it rests on, 0 where nobody counted."""

    value: str
    label: str
    interval: str
    role: str
    n: int = 0


def closed(sentence: str, rows: Sequence[Row], *, mark: str) -> str:
    """The sentence, closed with what the mark of the interval is where one is drawn."""
    drawn = any(row.low is not None and row.high is not None for row in rows)
    return f"{sentence}; the {mark} is the 95 % interval." if drawn else f"{sentence}."


def gaps(rows: Sequence[Row]) -> tuple[str, ...]:
    """Why some of the drawn numbers have no interval."""
    bare = [row for row in rows if row.low is None or row.high is None]
    if not bare:
        return ()
    share = "These numbers have" if len(bare) == len(rows) else "Some of these numbers have"
    said = (part.replace(NO_INTERVAL, "") for row in bare for part in _parts(row.note))
    notes = _merged([part for part in dict.fromkeys(said) if part != NO_INTERVAL.removesuffix(": ")])
    return (f"{share} no interval{': ' + '; '.join(notes) if notes else '.'}",)


def remarks(rows: Sequence[Row], *, most: int = 3) -> tuple[str, ...]:
    """What to mind about drawn numbers: why some have no interval, and at most so much of what is said of the others.

    >>> remarks([Row("k_skewness", 2.4, 2.1, 2.7, 900, note="among 900 documents")])
    ('These numbers: among 900 documents.',)
    """
    sure = [row for row in rows if row.low is not None and row.high is not None]
    notes = list(dict.fromkeys(part for row in sure for part in _parts(row.note)))[:most]
    which = "These numbers" if all(row.note for row in rows) else "Some of these numbers"
    return (*([f"{which}: {'; '.join(notes)}."] if notes else []), *gaps(rows))


def _merged(notes: Sequence[str]) -> list[str]:
    """Notes that differ in how few there are alone as one.

    >>> _merged(["only 9 documents, fewer than 30", "odd", "only 2 documents, fewer than 30"])
    ['only 2 to 9 documents, fewer than 30', 'odd']
    """
    counts: dict[str, list[int]] = {}
    for note in notes:
        found = _COUNTED.fullmatch(note)
        form = f"{found[1]}{{}}{found[3]}" if found else note
        counts.setdefault(form, []).extend([int(found[2])] if found else [])
    return [
        form.format(" to ".join(map(str, sorted({min(few), max(few)})))) if few else form
        for form, few in counts.items()
    ]


_COUNTED = re.compile(
    r"(only |)(\d+)( documents, fewer than \d+| independent items are too few to tell, \d+ are needed)"
)


def _parts(note: str) -> list[str]:
    """What a note says, one thing after the other."""
    return [part for part in note.split("; ") if part]
