"""Rows of texts and of scored items as parquet files that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from uncollapse.diagnosis import TextColumns
from uncollapse.errors import OutputError
from uncollapse.evaluation.rankings.retrieval import Retrieved, as_run, judgements_of
from uncollapse.evaluation.reading.judgements import write_qrels
from uncollapse.evaluation.reading.trec import write_run
from uncollapse.evaluation.scoring import Scored
from uncollapse.evaluation.sheets import Sheet
from uncollapse.records import FloatArray
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


class _Table:
    """A parquet file that takes its name when the `with` ends without an error."""

    schema: ClassVar[Any]

    def __init__(self, path: Path) -> None:
        self.path = path
        self._undo = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            part = opening.enter_context(whole_file(self.path))
            self._writer = opening.enter_context(pq.ParquetWriter(part, self.schema, compression="zstd"))
            self._undo = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.__exit__(kind, error, trace)


class TextTable(_Table):
    """Writes per-text rows chunk by chunk."""

    schema = SCHEMA

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


ITEMS = pa.schema(
    [
        ("dataset", pa.string()),
        ("items", pa.string()),
        ("fix", pa.string()),
        ("id", pa.string()),
        ("group", pa.string()),
        ("n_tokens", pa.int64()),
        ("n_query_tokens", pa.int64()),
        ("measure", pa.string()),
        ("experiment", pa.int64()),
        ("value", pa.float64()),
        ("text", pa.string()),
    ]
)
"""Columns of per-item scores: one row an item, measure and fix; `experiment` numbers repetitions, else it is null."""


class ItemTable(_Table):
    """Writes the scores of every item of a trial, and, where asked, its rankings as TREC files.

    Args:
        path: of the parquet file.
        runs: folder for `DATASET.FIX.trec` and `DATASET.qrels`; None for no such files.
    """

    schema = ITEMS

    def __init__(self, path: Path, runs: Path | None = None) -> None:
        super().__init__(path)
        self.runs = runs

    def write(self, dataset: str, fix: str, scored: Scored) -> None:
        """Append the rows of one task under one fix."""
        for sheet in scored.sheets:
            for measure, column in sheet.columns.items():
                for experiment, values in _experiments(column):
                    self._append(dataset, fix, sheet, measure, experiment, values)
        if self.runs and scored.ranking:
            _write_runs(self.runs, dataset, fix, scored.ranking)

    def _append(
        self, dataset: str, fix: str, sheet: Sheet, measure: str, experiment: int | None, values: FloatArray
    ) -> None:
        n = len(sheet)
        data = {
            "dataset": pa.array([dataset] * n, pa.string()),
            "items": pa.array([sheet.items] * n, pa.string()),
            "fix": pa.array([fix] * n, pa.string()),
            "id": pa.array(sheet.ids, pa.string()),
            "group": pa.array(sheet.groups, pa.string()),
            "n_tokens": sheet.n_tokens,
            "n_query_tokens": pa.nulls(n, pa.int64()) if sheet.n_query_tokens is None else sheet.n_query_tokens,
            "measure": pa.array([measure] * n, pa.string()),
            "experiment": pa.array([experiment] * n, pa.int64()),
            "value": np.asarray(values, np.float64),
            "text": pa.array(sheet.snippets or [""] * n, pa.string()),
        }
        self._writer.write_table(pa.table(data, schema=ITEMS))


def _experiments(column: FloatArray) -> Iterator[tuple[int | None, FloatArray]]:
    if column.ndim == 1:
        yield None, column
    else:
        yield from enumerate(column.T)


def _write_runs(folder: Path, dataset: str, fix: str, ranking: Retrieved) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Could not make the folder {str(folder)!r}: {error}. Give another.") from error
    name = _file_name(dataset)
    write_run(folder / f"{name}.{_file_name(fix)}.trec", as_run(ranking, _file_name(fix)))
    write_qrels(folder / f"{name}.qrels", judgements_of(ranking))


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text).strip("-.") or "run"
