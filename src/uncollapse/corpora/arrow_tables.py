"""Tables that Arrow reads, a few rows at a time: parquet files, and Hugging Face datasets on disk."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from uncollapse.corpora.fields import Fields, choose_fields
from uncollapse.corpora.lines import DataFile, unreadable
from uncollapse.corpora.saved_datasets import data_files
from uncollapse.corpora.texts import Bad, Item, Items, Place, ReadingOptions, excerpt

PARQUET_BATCH = 64

AS_BYTES = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
"""Types of text, and those of the same layout that may hold any bytes."""


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
                    yield _record(batch, index, fields=fields, place=file.at(row))
    except (pa.ArrowException, OSError) as error:
        yield _error(file.at(), error, kind="parquet", whole="a parquet file")


def read_dataset(file: DataFile, options: ReadingOptions) -> Items:
    """One record a row of a dataset on disk, counted from 1 through all its data files; `file` is its folder.

    A damaged data file ends the dataset, since nobody knows how many rows it had and so the numbers of those after it.

    Raises:
        CorpusError: data files that are missing or cut off, before any row is read.
    """
    row = 0
    for shard in data_files(file.path):
        try:
            for batch, fields in _batches(shard, options, file.at()):
                if isinstance(fields, Bad):
                    yield fields
                    return
                for index in range(batch.num_rows):
                    row += 1
                    yield _record(batch, index, fields=fields, place=file.at(row))
                options = replace(options, text_field=fields.text)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            yield _error(Place(shard, file.name), error, kind="Arrow stream", whole="an Arrow stream")
            return


def _batches(shard: Path, options: ReadingOptions, place: Place) -> Iterator[tuple[Any, Fields | Bad]]:
    """The needed columns of an Arrow stream, checked; mapped into memory, so that no others are read."""
    with pa.memory_map(str(shard)) as stream, pa.ipc.open_stream(stream) as table:
        fields = choose_fields(table.schema.names, options, place)
        for batch in table:
            if isinstance(fields, Bad):
                yield batch, fields
                return
            needed = batch.select(fields.names)
            for column in needed.columns:
                _check(column)
            yield needed, fields
        if stream.tell() < stream.size():
            raise pa.ArrowInvalid(f"an end at byte {stream.tell()} of {stream.size()}")


def _check(column: Any) -> None:
    """Raise if offsets or lengths of a column are impossible: reading it would leave its memory.

    Whether texts are Unicode is asked of each by itself, later.
    """
    as_bytes = AS_BYTES.get(column.type)
    (column if as_bytes is None else column.view(as_bytes)).validate(full=True)


def _record(batch: Any, index: int, *, fields: Fields, place: Place) -> Item:
    try:
        record = {name: batch.column(name)[index].as_py() for name in fields.names}
    except UnicodeDecodeError as error:
        message = (
            f"expected UTF-8, got byte 0x{error.object[error.start]:02x} at byte offset {error.start} of a value."
        )
        return Bad("invalid UTF-8", place, message)
    return fields.find(record, place)


def _error(place: Place, error: Exception, *, kind: str, whole: str) -> Bad:
    if isinstance(error, OSError) and error.errno:
        return unreadable(place, error)
    return Bad(f"broken {kind}", place, f"expected {whole} that is whole, got {excerpt(str(error), 200)}.")
