"""Vectors that lie in a file, row by row: .parquet and .npy, never more of them in memory than a few rows."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from uncollapse.corpora.arrow_tables import PARQUET_BATCH
from uncollapse.corpora.texts import excerpt
from uncollapse.errors import CorpusError, nearest

VECTOR_FIELDS = ("vector", "embedding", "vectors", "embeddings", "emb")

_NPY_ROWS = 256
_BUFFER = 1 << 20  # with it, and no reading ahead, a row group comes in pieces: a whole file may be one


@dataclass(frozen=True, slots=True)
class VectorRow:
    """One row: its vector, or what is wrong with it.

    Args:
        vector: float32 [dim], finite and not zero; None where `fault` says what came instead.
        fault: "" for a sound row.
        values: the other columns that were asked for.
    """

    vector: npt.NDArray[np.float32] | None
    fault: str = ""
    values: Mapping[str, object] = field(default_factory=dict)


class Matrix(Protocol):
    """A file of vectors.

    Attributes:
        path: where it is.
        dim: numbers in a vector.
        n_rows: how many.
        fields: the other columns; none in a .npy file.
    """

    path: Path
    dim: int
    n_rows: int
    fields: tuple[str, ...]

    def rows(self, fields: Sequence[str] = ()) -> Generator[VectorRow, None, None]:
        """All rows in order, with some of the other columns."""
        ...


def open_matrix(path: Path, vector_field: str | None = None) -> Matrix:
    """Open a file of vectors.

    Args:
        path: a .parquet or .npy file.
        vector_field: column of a .parquet file; by default the first of vector, embedding, vectors, embeddings, emb,
            else the only one that holds lists of floats.

    Raises:
        CorpusError: no such file, another kind of file, or no vectors in it.
    """
    if not path.is_file():
        raise CorpusError(f"Expected a file of vectors, got {str(path)!r}, which is not there. Check the name.")
    kind = path.suffix.lower()
    if kind == ".parquet":
        return ParquetMatrix(path, vector_field)
    if kind != ".npy":
        raise CorpusError(f"{path}: expected vectors as .parquet or .npy, got {path.name!r}. Convert the file.")
    if vector_field is not None:
        raise CorpusError(f"{path}: a .npy file has no columns, but a column {vector_field!r} came. Leave it out.")
    return NpyMatrix(path)


class NpyMatrix:
    """A float matrix as numpy saves it, mapped into memory and never unpickled."""

    fields: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._matrix = _map_matrix(path)
        self.n_rows, self.dim = self._matrix.shape

    def rows(self, fields: Sequence[str] = ()) -> Generator[VectorRow, None, None]:
        """All rows in order; there are no other columns."""
        if fields:
            raise CorpusError(f"{self.path}: a .npy file has no columns, but {', '.join(fields)} came. Leave it out.")
        for start in range(0, self.n_rows, _NPY_ROWS):
            vectors = _as_float32(self._matrix[start : start + _NPY_ROWS])
            for vector, fault in _judged(vectors, np.full(len(vectors), self.dim)):
                yield VectorRow(vector, fault)


def _map_matrix(path: Path) -> npt.NDArray[Any]:
    try:
        matrix: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise CorpusError(
            f"{path}: expected a matrix as numpy.save writes it, whole and without pickled objects, got: {error}. "
            "Write it anew: numpy.save(path, vectors.astype('float32'))."
        ) from error
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or not matrix.size:
        raise CorpusError(
            f"{path}: expected a matrix of floats, one row a text, got shape {list(matrix.shape)} of {matrix.dtype}. "
            "Quantised vectors must be made floats first."
        )
    return matrix


class ParquetMatrix:
    """A column of lists of floats in a parquet file."""

    def __init__(self, path: Path, vector_field: str | None = None) -> None:
        self.path = path
        with _opened(path) as table:
            schema = table.schema_arrow
            self._column = _vector_column(schema, vector_field, path)
            self.fields = tuple(name for name in schema.names if name != self._column)
            self.n_rows = table.metadata.num_rows
        if not self.n_rows:
            raise CorpusError(
                f"{path}: expected vectors, got a table without rows. Check that this is the file meant."
            )
        self.dim = self._first_length()

    def rows(self, fields: Sequence[str] = ()) -> Generator[VectorRow, None, None]:
        """All rows in order; only the columns asked for are read."""
        for batch in _batches(self.path, [self._column, *fields]):
            lists = _lists(batch.column(self._column))
            lengths = _lengths(lists)
            vectors = np.full((len(lengths), self.dim), np.nan, np.float32)
            sound = lengths == self.dim
            flat = lists.filter(pa.array(sound)).flatten().to_numpy(zero_copy_only=False)
            vectors[sound] = _as_float32(flat).reshape(-1, self.dim)
            for row, (vector, fault) in enumerate(_judged(vectors, lengths)):
                yield VectorRow(vector, fault, _values(batch, row, fields))

    def _first_length(self) -> int:
        for batch in _batches(self.path, [self._column]):
            lengths = _lengths(_lists(batch.column(self._column)))
            if len(found := lengths[lengths > 0]):
                return int(found[0])
        raise CorpusError(f"{self.path}: expected vectors in the column {self._column!r}, got none in any row.")


def parquet_fields(path: Path) -> tuple[str, ...]:
    """Names of the columns of a parquet file."""
    with _opened(path) as table:
        return tuple(table.schema_arrow.names)


def parquet_values(path: Path, fields: Sequence[str]) -> Iterator[Mapping[str, object]]:
    """Some columns of a parquet file, row by row."""
    for batch in _batches(path, list(fields)):
        for row in range(batch.num_rows):
            yield _values(batch, row, fields)


def _opened(path: Path) -> Any:
    try:
        return pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False, buffer_size=_BUFFER)
    except (pa.ArrowException, OSError) as error:
        raise _broken(path, error) from error


def _batches(path: Path, fields: list[str]) -> Iterator[Any]:
    with _opened(path) as table:
        batches = table.iter_batches(PARQUET_BATCH, columns=fields)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise _broken(path, error) from error
            if batch is None:
                return
            yield batch


def _broken(path: Path, error: Exception) -> CorpusError:
    said = excerpt(str(error), 200)
    return CorpusError(f"{path}: expected a parquet file that is whole, got {said}. Fetch or write it again.")


def _vector_column(schema: Any, asked: str | None, path: Path) -> str:
    names = [str(name) for name in schema.names]
    if asked is not None and asked not in names:
        raise CorpusError(
            f"{path}: expected vectors in a column {asked!r}, got none. {nearest(asked, names, 'Columns')}"
        )
    of_floats = [name for name in names if _holds_floats(schema.field(name).type)]
    chosen = asked or next((name for name in VECTOR_FIELDS if name in names), None)
    if chosen is None and len(of_floats) == 1:
        chosen = of_floats[0]
    if chosen is None:
        raise CorpusError(
            f"{path}: expected a column of vectors ({', '.join(VECTOR_FIELDS)}), got none of these names. "
            f"{nearest(VECTOR_FIELDS[0], names, 'Columns')} Name the right one: Columns(vector=...)."
        )
    if chosen not in of_floats:
        raise CorpusError(
            f"{path}: expected lists of floats in the column {chosen!r}, got {schema.field(chosen).type}. "
            f"{nearest(chosen, of_floats, 'Columns of such lists')} Quantised vectors must be made floats first."
        )
    return chosen


def _holds_floats(kind: Any) -> bool:
    kind = getattr(kind, "storage_type", kind)
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(listed and pa.types.is_floating(kind.value_type))


def _lists(column: Any) -> Any:
    return getattr(column, "storage", column)


def _lengths(lists: Any) -> npt.NDArray[np.int64]:
    """Numbers in each row's list, -1 for a row without one."""
    found: npt.NDArray[Any] = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    return found.astype(np.int64)


def _as_float32(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is told by row
        return values.astype(np.float32)


def _values(batch: Any, row: int, fields: Sequence[str]) -> Mapping[str, object]:
    return {name: _value(batch.column(name)[row]) for name in fields}


def _value(scalar: Any) -> object:
    try:
        return scalar.as_py()
    except UnicodeDecodeError as error:
        return error.object  # bytes, which are no string and are told by row


def _judged(
    vectors: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.float32] | None, str]]:
    """Each vector, a copy of its own so that a kept one holds no other, or what came instead."""
    dim = vectors.shape[1]
    finite = np.logical_and.reduce(np.isfinite(vectors), axis=1)
    zero = np.logical_and.reduce(vectors == 0, axis=1)
    for row, length in enumerate(lengths.tolist()):
        if length < 0:
            yield None, "none"
        elif length != dim:
            yield None, f"{length}"
        elif not finite[row]:
            yield None, "NaN, infinity, a missing number, or one too large for float32"
        elif zero[row]:
            yield None, "only zeros, which have no direction"
        else:
            yield vectors[row].copy(), ""
