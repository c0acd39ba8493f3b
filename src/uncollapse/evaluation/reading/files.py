"""Files of tasks: where they are, the records in them, and what becomes of a record that cannot be used."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import TypeVar

from uncollapse.corpora.formats import Record, csv_records, json_records, tsv_records
from uncollapse.corpora.lines import DataFile
from uncollapse.corpora.texts import (
    MISSING_FIELD,
    TOO_LONG,
    Bad,
    Found,
    ReadingOptions,
    Skipped,
    Text,
    check,
    excerpt,
    readable_id,
)
from uncollapse.errors import CorpusError, nearest

MAX_CHARACTERS = 10_000_000
MAX_LINE_BYTES = ReadingOptions(max_characters=MAX_CHARACTERS).max_line_bytes

SUFFIXES = {
    ".jsonl": "json", ".jsonl.gz": "json", ".tsv": "tsv", ".tsv.gz": "tsv", ".csv": "csv", ".csv.gz": "csv",
}  # fmt: skip
READERS = {"json": json_records, "tsv": tsv_records, "csv": csv_records}

SAY_WHAT_TO_DO = ("invalid UTF-8", "broken gzip", "unreadable file")
"""Reasons for which the message of the reader is complete."""

NAMES_SHOWN = 12
LENIENT = "Mend it, or leave such records out and count them: lenient=True (--lenient)."

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """What the user asked for, in the user's words; see `reading.open_tasks`."""

    path: str
    splits: tuple[str, ...] | None = None
    kind: str | None = None
    queries: str | None = None
    lenient: bool = False
    score_field: str | None = None

    def choose(self, there: Iterable[str]) -> list[str]:
        """The splits asked for among those there; by default `test`, or all where there is none of that name."""
        known = list(there)
        if self.splits is None:
            return ["test"] if "test" in known else known
        chosen = list(dict.fromkeys(name if name in known else part_of(name) for name in self.splits))
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise self.no_split(unknown[0] if unknown else "", known)
        return chosen

    def parts(self, split: str, names: Iterable[str]) -> list[str]:
        """Of the tasks that a split falls into, such as `test:256` and `test:512`, those asked for."""
        known = list(names)
        if self.splits is None or split in self.splits:
            return known
        wanted = [name for name in self.splits if part_of(name) == split]
        unknown = next((name for name in wanted if name not in known), None)
        if unknown is not None:
            raise self.no_split(unknown, known)
        return [name for name in known if name in wanted]

    def no_split(self, name: str, known: Iterable[str]) -> CorpusError:
        """The error of a split that does not exist."""
        near = nearest(name, known, "Splits there")
        return CorpusError(f"{self.path}: expected the name of a split that is there, got {name!r}. {near}")


class UnusableError(Exception):
    """Raised by what reads a record, and caught by `Sieve.keep`: a value that cannot be used."""

    def __init__(self, bad: Bad) -> None:
        super().__init__(bad.message)
        self.bad = bad


@dataclass
class Sieve:
    """Refuses the first record that cannot be used, or, where leniency was asked for, leaves such records out."""

    lenient: bool = False
    skipped: Skipped = field(default_factory=Skipped)

    def keep(self, records: Iterable[Record], read: Callable[[Record], T]) -> Iterator[T]:
        """What is read from every record that can be used.

        Raises:
            CorpusError: a record cannot be used, and leniency was not asked for.
        """
        for record in records:
            try:
                value = read(record)
            except UnusableError as error:
                bad = error.bad
                if not self.lenient:
                    raise CorpusError(f"{bad.place}: {bad.message} {LENIENT}") from None
                self.skipped.add(bad.reason, str(bad.place))
            else:
                yield value

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"left out: {self.skipped}",) if self.skipped.total else ()


def part_of(split: str) -> str:
    """The split as files name it: of "test:256", one part of it, "test"."""
    return split.partition(":")[0]


def data_file(path: Path) -> DataFile | None:
    """A file of a kind that tasks are read from; its name is the split."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is None or len(path.name) == len(suffix) or path.name.startswith(".") or not path.is_file():
        return None
    return DataFile(path, path.name[: -len(suffix)], SUFFIXES[suffix])


TASKS = "a folder or a file with tasks"
"""What `open_tasks` expects to find."""


def find(path: str | Path, what: str) -> Path:
    """The path, which must be there.

    Raises:
        CorpusError: it is not; names near to it are said.
    """
    found = Path(path).expanduser()
    if str(path).strip() and found.exists():
        return found
    missing, parent = found.name, found.parent
    while not parent.is_dir():
        missing, parent = parent.name, parent.parent
    names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    near = get_close_matches(missing, names, n=NAMES_SHOWN, cutoff=0.5) or names[:NAMES_SHOWN]
    there = nearest(missing, near, f"Some names in {parent.absolute()}")
    raise CorpusError(f"Expected {what}, got {str(path)!r}, of which there is none. {there}")


def load_records(file: DataFile) -> Iterator[Record]:
    """The records of a file; blank lines are passed over.

    Raises:
        CorpusError: something in the file is no record.
    """
    for record in READERS[file.kind](file, MAX_LINE_BYTES):
        if isinstance(record, Record):
            yield record
        elif not record.tolerated:
            advice = "" if record.reason in SAY_WHAT_TO_DO else " Mend the line or take it out."
            raise CorpusError(f"{record.place}: {_message(record)}{advice}")


def _message(bad: Bad) -> str:
    if bad.reason == TOO_LONG:  # the message speaks of an option that tasks do not have
        return f"expected texts of at most {MAX_CHARACTERS:,} characters, got a longer one."
    return bad.message


def item_at(record: Record, name: str, id_field: str | None = None) -> Text:
    """The text in a field, never blank, with the id in another."""
    given = record.values.get(id_field) if id_field else None
    found = check(Found(record.place, _value(record, name), None if given == "" else given), MAX_CHARACTERS)
    if isinstance(found, Bad):
        raise UnusableError(replace(found, message=f"field {name!r}: {_message(found)}"))
    return found


def text_at(record: Record, name: str) -> str:
    """The text in a field, never blank."""
    return item_at(record, name).text


def texts_at(record: Record, name: str) -> tuple[str, ...]:
    """The list of texts in a field, at least one."""
    values = _value(record, name)
    if not isinstance(values, list) or not values:
        raise _unusable(record, "no texts", f"a list of texts in field {name!r}", values)
    return tuple(text_at(replace(record, values={name: value}), name) for value in values)


def number_at(record: Record, name: str) -> float:
    """The finite number in a field; text that is a number will do."""
    value = _value(record, name)
    number = as_number(value)
    if number is None or not isfinite(number):
        raise _unusable(record, "no finite number", f"a finite number in field {name!r}", value)
    return number


def numbers_at(record: Record, name: str, n: int) -> tuple[float, ...]:
    """The list of n finite numbers in a field."""
    values = _value(record, name)
    if not isinstance(values, list) or len(values) != n:
        raise _unusable(record, "no ratings", f"a list of {n} numbers in field {name!r}", values)
    return tuple(number_at(replace(record, values={name: value}), name) for value in values)


def label_at(record: Record, name: str) -> str:
    """The label in a field, as text: a string, a number, true or false."""
    value = _value(record, name)
    label = str(value) if isinstance(value, bool) else readable_id(value)
    if label is None or not label.strip():
        raise _unusable(record, "no label", f"a text or a number as label in field {name!r}", value)
    return label


def _value(record: Record, name: str) -> object:
    if name not in record.values:
        near = nearest(name, list(record.values), "Fields there")
        message = f"expected a field {name!r}, got none of that name. {near}"
        raise UnusableError(Bad(MISSING_FIELD, record.place, message))
    return record.values[name]


def _unusable(record: Record, reason: str, expected: str, got: object) -> UnusableError:
    return UnusableError(Bad(reason, record.place, f"expected {expected}, got {excerpt(got)}."))


def as_number(value: object) -> float | None:
    """A number, or a text that is one, as float; None for anything else.

    >>> as_number("0.5"), as_number(2), as_number("1_0"), as_number(True)
    (0.5, 2.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str) or "_" in str(value):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def many(n: int, one: str, several: str = "") -> str:
    """A number of things.

    >>> many(1, "query", "queries"), many(1200, "pair")
    ('1 query', '1,200 pairs')
    """
    return f"{n:,} {one if n == 1 else several or one + 's'}"
