"""The rows of a diagnosis as its sections read them."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from uncollapse.records import Result, Row
from uncollapse.reporting import words
from uncollapse.reporting.tasks.rows import start


def find_rows(result: Result, view: str, measure: str) -> list[Row]:
    """The rows of a measure in a view that hold a number: of the unchanged model, or of the first setting there."""
    found = [row for row in result.select(view=view, measure=measure) if math.isfinite(row.value)]
    fix = "none" if any(row.fix == "none" for row in found) else found[0].fix if found else ""
    return [row for row in found if row.fix == fix]


def find_by_bin(result: Result, view: str, measure: str) -> dict[str, Row]:
    """The same by label of the bin, in the order of the rows."""
    return {row.bin: row for row in find_rows(result, view, measure)}


def find_by_cut(result: Result, view: str, name: str) -> dict[str, dict[str, Row]]:
    """Rows of measures such as `tokens_lost@512`: by the number behind the @, least first, then by bin."""
    pattern = re.compile(re.escape(name) + "@(.+)")
    measures = dict.fromkeys(row.measure for row in result.rows if row.view == view)
    cuts = {match[1]: measure for measure in measures if (match := pattern.fullmatch(measure))}
    found = {cut: find_by_bin(result, view, cuts[cut]) for cut in sorted(cuts, key=_size)}
    return {cut: rows for cut, rows in found.items() if rows}


def find_fields(result: Result, view: str, measure: str) -> dict[tuple[str, str], Row]:
    """Rows of a grid by the two parts of their bin, such as "8-15 x 64-127"."""
    found = find_by_bin(result, view, measure)
    return {(first, second): row for (first, cross, second), row in _parted(found) if cross}


def by_length(labels: Sequence[str]) -> list[str]:
    """Labels of length bins, each once, shortest first.

    >>> by_length(["16-31", "8-15", "16-31"])
    ['8-15', '16-31']
    """
    return sorted(dict.fromkeys(labels), key=start)


def asked(result: Result, room: str, *views: str) -> bool:
    """Whether a result was asked for what a room of the diagnosis measures, with or without numbers."""
    return bool(words.entry(result.about, room)) or any(row.view in views for row in result.rows)


def listed(about: Mapping[str, Any], *path: str) -> list[Mapping[str, Any]]:
    """The records of a list in `about`, none where there is no such list.

    >>> listed({"audit": {"texts": [{"id": "a"}, "b"]}}, "audit", "texts"), listed({}, "audit")
    ([{'id': 'a'}], [])
    """
    entries = words.entry(about, *path)
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list | tuple) else []


def described(result: Result, room: str, name: str) -> Mapping[str, Any]:
    """What a result says in its table of causes or of controls about one of them, nothing where it says nothing."""
    entry = words.entry(result.about, room, "table", name)
    return entry if isinstance(entry, Mapping) else {}


def titled(result: Result, room: str, name: str) -> str:
    """What a reader calls a cause or a control; one that the table does not have keeps its name.

    >>> about = {"causes": {"table": {"beginnings": {"title": "How texts begin"}}}}
    >>> titled(Result(about=about), "causes", "beginnings"), titled(Result(), "causes", "topic_mix")
    ('How texts begin', 'topic mix')
    """
    return str(described(result, room, name).get("title") or name.replace("_", " "))


def noted(result: Result, room: str) -> tuple[str, ...]:
    """What a room says about how it measured."""
    notes = words.entry(result.about, room, "notes")
    items = notes if isinstance(notes, list | tuple) else [notes]
    return tuple(said for said in map(words.listing, items) if said)


def cut_at(result: Result, room: str) -> tuple[str, ...]:
    """At which limit a room measured, where it says so.

    >>> cut_at(Result(about={"model": {"max_tokens": 512}, "scores": {"max_tokens": 256}}), "scores")
    ('Measured on texts cut at 256 tokens, not at the 512 of lengths and causes.',)
    """
    limit, study = words.entry(result.about, room, "max_tokens"), words.limit(result.about)
    if not isinstance(limit, int) or isinstance(limit, bool):
        return ()
    other = f", not at the {words.count(study)} of lengths and causes" if study and study != limit else ""
    return (f"Measured on texts cut at {words.count(limit)} {words.unit(result.about)}{other}.",)


def _parted(found: Mapping[str, Row]) -> list[tuple[tuple[str, str, str], Row]]:
    return [(label.partition(" x "), row) for label, row in found.items()]


def _size(cut: str) -> tuple[float, str]:
    try:
        return float(cut), cut
    except ValueError:
        return math.inf, cut
