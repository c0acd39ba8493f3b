"""Per-text rows as a parquet file that appears whole or not at all."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from uncollapse.diagnosis import TextColumns
from uncollapse.writing import whole_file

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("n_characters", pa.int64()),
        ("n_tokens", pa.int64()),
        ("n_tokens_full", pa.int64()),
        ("truncated", pa.bool_()),
        ("bin", pa.string()),
        ("cosine_to_centroid", pa.float64()),
    ]
)
"""Columns of the file; `cosine_to_centroid` is null where vectors were not kept."""


class TextTable:
    """Writes per-text rows chunk by chunk; the file takes its name when the `with` ends without an error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._undo = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            part = opening.enter_context(whole_file(self.path))
            self._writer = opening.enter_context(pq.ParquetWriter(part, SCHEMA, compression="zstd"))
            self._undo = opening.pop_all()
        return self

    def write(self, columns: TextColumns) -> None:
        """Append rows."""
        rows = len(columns.ids)
        data = {
            "id": pa.array(columns.ids, pa.string()),
            "source": pa.array(columns.sources, pa.string()),
            "n_characters": columns.n_characters,
            "n_tokens": columns.n_tokens,
            "n_tokens_full": columns.n_tokens_full,
            "truncated": columns.n_tokens_full > columns.n_tokens,
            "bin": pa.array(columns.bins, pa.string()),
            "cosine_to_centroid": pa.nulls(rows, pa.float64())
            if columns.cosine is None
            else np.asarray(columns.cosine, dtype=np.float64),
        }
        self._writer.write_table(pa.table(data, schema=SCHEMA))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.__exit__(kind, error, trace)
