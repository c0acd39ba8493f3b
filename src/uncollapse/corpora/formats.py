"""One reader for each kind of file or dataset, from its path to its records; each holds one record at a time."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from stat import S_ISREG
from typing import Any, TypeAlias

from uncollapse.corpora.arrow_tables import read_dataset, read_parquet
from uncollapse.corpora.fields import Fields, choose_fields
from uncollapse.corpora.lines import DataFile, Line, read_all, read_lines, unreadable
from uncollapse.corpora.texts import Bad, Found, Item, Items, Place, ReadingOptions, excerpt

Row: TypeAlias = tuple[int, list[str] | Bad]
"""The line a table's record begins at, and its fields."""


@dataclass(frozen=True, slots=True)
class Record:
    """Every field of a record, unchecked, and where it is."""

    place: Place
    values: Mapping[str, object]


def read_document(file: DataFile, options: ReadingOptions) -> Items:
    """One text: the whole file."""
    content = read_all(file, 4 * options.max_characters + 4)
    yield content if isinstance(content, Bad) else Found(file.at(), content, source=file.name)


def read_text_lines(file: DataFile, options: ReadingOptions) -> Items:
    """One text a line."""
    for line in read_lines(file, options.max_line_bytes):
        yield line.bad or Found(file.at(line.number), line.text.rstrip("\r\n"), source=file.name)


def read_json_lines(file: DataFile, options: ReadingOptions) -> Items:
    """One JSON object a line; the first usable one decides which field is the text of all."""
    for record in json_records(file, options.max_line_bytes):
        if isinstance(record, Bad):
            yield record
            continue
        fields = choose_fields(list(record.values), options, record.place)
        if isinstance(fields, Bad):
            yield fields
            continue
        options = options if options.text_field else replace(options, text_field=fields.text)
        yield fields.find(record.values, record.place)


def json_records(file: DataFile, max_line_bytes: int) -> Iterator[Record | Bad]:
    """One JSON object a line, with all its fields."""
    for line in read_lines(file, max_line_bytes):
        values = _json_object(line, file)
        yield values if isinstance(values, Bad) else Record(file.at(line.number), values)


def _json_object(line: Line, file: DataFile) -> dict[str, Any] | Bad:
    place = file.at(line.number)
    if line.bad:
        return line.bad
    if not line.text.strip():
        return Bad("blank line", place, "expected a JSON object, got a blank line.", tolerated=True)
    try:
        value = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        return Bad("broken JSON", place, _json_message(line, str(error)))
    return value if isinstance(value, dict) else Bad("no JSON object", place, _json_message(line, "no object"))


def _json_message(line: Line, said: str) -> str:
    text = line.text.strip()
    message = f"expected one JSON object a line, got {excerpt(text)} ({said})."
    if line.number == 1 and text[0] in "[{":
        message += " If the file is one JSON value over all its lines, convert it: jq -c '.[]' FILE > FILE.jsonl."
    return message


def read_tsv(file: DataFile, options: ReadingOptions) -> Items:
    """A header, then one record a line, fields parted by tabs; quotes are ordinary characters."""
    return _read_table(_tsv_rows(file, options.max_line_bytes), options, file)


def tsv_records(file: DataFile, max_line_bytes: int) -> Iterator[Record | Bad]:
    """What `read_tsv` reads, with all fields of each record."""
    return _table_records(_tsv_rows(file, max_line_bytes), file)


def _table_records(rows: Iterator[Row], file: DataFile) -> Iterator[Record | Bad]:
    _, header = next(rows, (1, []))
    if isinstance(header, Bad):
        yield header
        return
    for number, row in rows:
        values = row if isinstance(row, Bad) else _values(row, header, file.at(number))
        yield values if isinstance(values, Bad) else Record(file.at(number), values)


def _tsv_rows(file: DataFile, max_line_bytes: int) -> Iterator[Row]:
    lines = read_lines(file, max_line_bytes)
    return ((line.number, line.bad or line.text.rstrip("\r\n").split("\t")) for line in lines)


def read_csv(file: DataFile, options: ReadingOptions) -> Items:
    """A header, then records in the standard dialect: commas, double quotes, line feeds inside quotes."""
    return _read_table(iter(_CsvRows(file, options.max_line_bytes)), options, file)


def csv_records(file: DataFile, max_line_bytes: int) -> Iterator[Record | Bad]:
    """What `read_csv` reads, with all fields of each record."""
    return _table_records(iter(_CsvRows(file, max_line_bytes)), file)


def _read_table(rows: Iterator[Row], options: ReadingOptions, file: DataFile) -> Items:
    number, header = next(rows, (1, []))
    if isinstance(header, Bad):
        yield header
        return
    fields = choose_fields(header, options, file.at(number))
    if isinstance(fields, Bad):
        yield fields
        return
    for number, row in rows:
        yield row if isinstance(row, Bad) else _record(row, header, fields=fields, place=file.at(number))


def _record(row: list[str], header: list[str], *, fields: Fields, place: Place) -> Item:
    values = _values(row, header, place)
    return values if isinstance(values, Bad) else fields.find(values, place)


def _values(row: list[str], header: list[str], place: Place) -> dict[str, str] | Bad:
    if row in ([], [""]):
        return Bad("blank line", place, "expected a record, got a blank line.", tolerated=True)
    if len(row) != len(header):
        message = f"expected {len(header)} fields as in the header, got {len(row)}, beginning with {excerpt(row[0])}."
        return Bad("wrong number of fields", place, message)
    return dict(zip(header, row, strict=True))


class _CsvRows:
    """Rows of a csv file with the line each begins at, and what was wrong with the lines it spans."""

    def __init__(self, file: DataFile, max_line_bytes: int) -> None:
        self._file = file
        self._lines = read_lines(file, max_line_bytes)
        self._reader = csv.reader(self._text_lines(), strict=True)
        self._limit = max_line_bytes
        self._bad: Bad | None = None

    def _text_lines(self) -> Iterator[str]:
        for line in self._lines:
            self._bad = self._bad or line.bad
            yield line.text

    def __iter__(self) -> Iterator[Row]:
        while True:
            line, self._bad = self._reader.line_num + 1, None
            row = self._next(line)
            if row is None:
                return
            yield line, self._bad or row
            if isinstance(row, Bad) and row.reason == _OVERLONG:
                return

    def _next(self, line: int) -> list[str] | Bad | None:
        # the limit belongs to the whole process, so it is raised for the moment of reading only
        limit = csv.field_size_limit(self._limit)
        try:
            return next(self._reader, None)
        except csv.Error as error:
            return _csv_error(self._file.at(line), error)
        finally:
            csv.field_size_limit(limit)


_OVERLONG = "overlong csv field"


def _csv_error(place: Place, error: csv.Error) -> Bad:
    if "field larger" in str(error):
        message = f"expected fields within max_characters, got a longer one ({error}): a quote may never be closed."
        return Bad(_OVERLONG, place, f"{message} The rest of the file cannot be told apart from it.")
    message = f"expected a csv record (comma, fields with commas, quotes or line feeds in double quotes), got {error}."
    return Bad("broken csv", place, message)


READERS: dict[str, Callable[[DataFile, ReadingOptions], Items]] = {
    "document": read_document,
    "lines": read_text_lines,
    "json": read_json_lines,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
    "dataset": read_dataset,
}


def read_file(file: DataFile, options: ReadingOptions) -> Items:
    """The records of one file, or of the folder of a dataset, by its kind."""
    try:
        found = file.path.stat()
    except OSError as error:
        yield unreadable(file.at(), error)
        return
    if S_ISREG(found.st_mode) and found.st_size == 0:
        yield Bad("empty file", file.at(), "expected texts, got an empty file.", tolerated=True)
    else:
        yield from READERS[file.kind](file, options)
