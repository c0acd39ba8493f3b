"""Rows of texts and of scored items as parquet files that appear whole or not at all."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from uncollapse.diagnosis.profiling import TextColumns
from uncollapse.errors import OutputError
from uncollapse.evaluation.comparison import STOCK
from uncollapse.evaluation.rankings.retrieval import Retrieved, as_run, judgements_of
from uncollapse.evaluation.reading.judgements import write_lengths, write_qrels
from uncollapse.evaluation.reading.trec import check_ids, write_run
from uncollapse.evaluation.scoring import Scored
from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.tasks import Retrieval, Task
from uncollapse.evaluation.trial import label
from uncollapse.explanation.study import HeadColumns
from uncollapse.records import FloatArray
from uncollapse.writing import file_name, whole_file

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

    What cannot be written is told when the `with` ends, not where it happens: hours of scoring are not lost to it.

    Args:
        path: of the parquet file.
        runs: folder for `DATASET.FIX.trec`, `DATASET.qrels` and `DATASET.lengths.tsv`; None for no such files.
        model: its name, which is the tag of the runs, with the fix behind it where there is one.
        against: names of other models, whose runs have these for a tag.
    """

    schema = ITEMS

    def __init__(
        self, path: Path, runs: Path | None = None, *, model: str = "model", against: Sequence[str] = ()
    ) -> None:
        super().__init__(path)
        self.runs, self.model, self.against = runs, model, against
        self._broken: Exception | None = None
        self._runs_broken: Exception | None = None

    def write(self, dataset: str, fix: str, scored: Scored) -> None:
        """Append the rows of one task under one fix."""
        try:
            for sheet in () if self._broken else scored.sheets:
                self._append_sheet(dataset, fix, sheet)
        except Exception as error:  # raised when the `with` ends
            self._broken = error
        try:
            if self.runs and scored.ranking and not self._runs_broken:
                _write_runs(self.runs, dataset, fix, scored.ranking, tag=_tag(self.model, fix, self.against))
        except Exception as error:  # raised when the `with` ends
            self._runs_broken = error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        late = self._broken
        if error is None and late:
            super().__exit__(type(late), late, late.__traceback__)
        else:
            super().__exit__(kind, error, trace)
        late = late or self._runs_broken
        if error is None and late:
            raise late

    def _append_sheet(self, dataset: str, fix: str, sheet: Sheet) -> None:
        for measure, column in sheet.columns.items():
            for experiment, values in _experiments(column):
                self._append(dataset, fix, sheet, measure, experiment, values)

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


def check_runs(tasks: Sequence[Task], fixes: Sequence[str], *, model: str, against: Sequence[str] = ()) -> None:
    """Refuse before the work what could not be written as TREC files after it.

    Args:
        tasks: those that are no retrieval have no ranking and are passed over.
        fixes: notations, without the stock model.
        model: its name.
        against: names of other models.

    Raises:
        CorpusError: an id of a query or document that a TREC file cannot hold.
        OutputError: two rankings would have one file name.

    >>> from uncollapse.evaluation.tasks import Texts
    >>> one = Retrieval("docs", "test", Texts(("d 1",), ("a",)), Texts(("q1",), ("b",)), {"q1": {"d 1": 1}})
    >>> check_runs([one], [], model="minilm")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    uncollapse.errors.CorpusError: TREC files part columns by white space, so document ids (docs/test) must ...
    """
    ranked = [task for task in tasks if isinstance(task, Retrieval)]
    settings = (STOCK, *fixes, *against)
    check_ids((_tag(model, fix, against) for fix in settings), "the name of the model")
    taken: dict[str, str] = {}
    for task in ranked:
        check_ids(task.queries.ids, f"query ids ({label(task)})")
        check_ids(task.documents.ids, f"document ids ({label(task)})")
        for fix in settings:
            name, what = _run_file(label(task), fix), f"{label(task)} under {fix}"
            other = taken.setdefault(name.casefold(), what)  # some file systems hold "A" and "a" to be one name
            if other != what:
                raise OutputError(
                    f"Expected a file name of its own for every ranking, got {name!r} for both {other} and {what}. "
                    "Evaluate them one by one, or rename a folder."
                )


def _write_runs(folder: Path, dataset: str, fix: str, ranking: Retrieved, *, tag: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Could not make the folder {str(folder)!r}: {error}. Give another.") from error
    write_run(folder / _run_file(dataset, fix), as_run(ranking, tag))
    write_qrels(folder / f"{file_name(dataset)}.qrels", judgements_of(ranking))
    lengths = dict(zip(ranking.document_ids, ranking.ranked.lengths.tolist(), strict=True))
    write_lengths(folder / f"{file_name(dataset)}.lengths.tsv", lengths)


def _run_file(dataset: str, fix: str) -> str:
    return f"{file_name(dataset)}.{file_name(fix)}.trec"


def _tag(model: str, fix: str, against: Sequence[str] = ()) -> str:
    """The name of a run: of the model, and of the fix behind it; a tag holds no blanks."""
    name = "_".join((fix if fix in against else model).split())
    return name if fix in (STOCK, *against) else f"{name}+{''.join(fix.split())}"


HEADS = pa.schema(
    [
        ("id", pa.string()),
        ("n_tokens", pa.int64()),
        ("fix", pa.string()),
        ("layer", pa.int64()),
        ("head", pa.int64()),
        ("measure", pa.string()),
        ("value", pa.float64()),
    ]
)
"""Columns of the numbers inside a model: one row a document, length, fix, layer, head and measure."""


class HeadTable(_Table):
    """Writes what every head did with every document."""

    schema = HEADS

    def write(self, columns: HeadColumns) -> None:
        """Append rows; heads that a layer does not have are left out."""
        for measure, values in columns.values.items():
            documents, layers, heads = np.nonzero(np.isfinite(values))
            count = len(documents)
            data = {
                "id": pa.array([columns.ids[row] for row in documents.tolist()], pa.string()),
                "n_tokens": np.full(count, columns.n_tokens),
                "fix": pa.array([columns.fix] * count, pa.string()),
                "layer": layers,
                "head": heads,
                "measure": pa.array([measure] * count, pa.string()),
                "value": values[documents, layers, heads],
            }
            self._writer.write_table(pa.table(data, schema=HEADS))
