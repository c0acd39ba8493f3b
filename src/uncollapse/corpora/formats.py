"""One reader for each kind of file, from its path to the records in it; each holds one record at a time."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from uncollapse.corpora.lines import DataFile, Line, read_all, read_lines, unreadable
from uncollapse.corpora.texts import MISSING_FIELD, Bad, Found, Item, Items, Place, ReadingOptions, excerpt
from uncollapse.errors import nearest

TEXT_FIELDS = ("text", "body", "content", "passage", "document")
ID_FIELDS = ("_id", "id", "doc_id", "docid")

COLUMNS_SHOWN = 30
CHARACTERS_SHOWN = 40
PARQUET_BATCH = 64


Row: TypeAlias = tuple[int, list[str] | Bad]
"""The line a table's record begins at, and its fields."""


@dataclass(frozen=True, slots=True)
class Record:
    """Every field of a record, unchecked, and where it is."""

    place: Place
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Fields:
    """Which fields of a record hold its text, its id and a title to put before the text."""

    text: str
    id: str | None = None
    title: str | None = None

    @property
    def names(self) -> list[str]:
        return [name for name in dict.fromkeys((self.text, self.id, self.title)) if name is not None]

    def find(self, record: Mapping[str, object], place: Place) -> Found:
        """The record's values, unchecked; a title comes before the text, with a line feed between."""
        text, title = record[self.text], record.get(self.title) if self.title else None
        if isinstance(title, str) and title.strip() and (text is None or isinstance(text, str)):
            text = f"{title}\n{text}" if text and text.strip() else title
        given = record.get(self.id) if self.id else None
        return Found(place, text, None if given == "" else given, source=place.name)


def choose_fields(columns: Sequence[str], options: ReadingOptions, place: Place) -> Fields | Bad:
    """The fields asked for, else the first usual names among the columns there are."""
    for asked in (options.text_field, options.id_field):
        if asked is not None and asked not in columns:
            return missing_field(asked, columns, place)
    text = options.text_field or next((name for name in TEXT_FIELDS if name in columns), None)
    if text is None:
        return missing_field(None, columns, place)
    usual_id = next((name for name in ID_FIELDS if name in columns), None)
    return Fields(text, options.id_field or usual_id, options.title_field)


def missing_field(asked: str | None, columns: Sequence[str], place: Place) -> Bad:
    """A record or a table without the field that is needed; says which fields it has, nearest first."""
    wanted = f"a field {asked!r}" if asked else f"a field with the text ({', '.join(TEXT_FIELDS)})"
    hint = "" if asked else " Name the right one with --text-field (text_field=)."
    if not asked and {"sentence1", "sentence2"} <= set(columns):
        hint = " Pairs of sentences are for `uncollapse evaluate`; --text-field takes the texts of one field."
    shown = [column[:CHARACTERS_SHOWN] for column in columns[:COLUMNS_SHOWN]]
    there = nearest(asked or TEXT_FIELDS[0], shown, "Fields there")
    return Bad(MISSING_FIELD, place, f"expected {wanted}, got none. {there}{hint}")


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


def read_parquet(file: DataFile, options: ReadingOptions) -> Items:
    """One record a row, counted from 1; only the needed columns are read."""
    try:
        with pq.ParquetFile(file.path, page_checksum_verification=True) as table:
            fields = choose_fields(table.schema_arrow.names, options, file.at())
            if isinstance(fields, Bad):
                yield fields
                return
            row = 0
            for batch in table.iter_batches(PARQUET_BATCH, columns=fields.names):
                for index in range(batch.num_rows):
                    row += 1
                    yield _parquet_record(batch, index, fields=fields, place=file.at(row))
    except (pa.ArrowException, OSError) as error:
        yield _parquet_error(file.at(), error)


def _parquet_record(batch: Any, index: int, *, fields: Fields, place: Place) -> Item:
    try:
        record = {name: batch.column(name)[index].as_py() for name in fields.names}
    except UnicodeDecodeError as error:
        message = (
            f"expected UTF-8, got byte 0x{error.object[error.start]:02x} at byte offset {error.start} of a value."
        )
        return Bad("invalid UTF-8", place, message)
    return fields.find(record, place)


def _parquet_error(place: Place, error: Exception) -> Bad:
    if isinstance(error, OSError) and error.errno:
        return unreadable(place, error)
    return Bad("broken parquet", place, f"expected a parquet file that is whole, got {excerpt(str(error), 200)}.")


READERS: dict[str, Callable[[DataFile, ReadingOptions], Items]] = {
    "document": read_document,
    "lines": read_text_lines,
    "json": read_json_lines,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
}


def read_file(file: DataFile, options: ReadingOptions) -> Items:
    """The records of one file, by its kind."""
    try:
        empty = file.path.stat().st_size == 0
    except OSError as error:
        yield unreadable(file.at(), error)
        return
    if empty:
        yield Bad("empty file", file.at(), "expected texts, got an empty file.", tolerated=True)
    else:
        yield from READERS[file.kind](file, options)
