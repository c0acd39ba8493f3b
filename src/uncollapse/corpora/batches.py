"""Finished folders of vectors read a few rows at a time, and the same rows as Arrow tables."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from uncollapse.corpora.shards import FIELDS, Manifest, ShardedMatrix, faulty_shard, is_vector_folder
from uncollapse.errors import CorpusError
from uncollapse.records import Embeddings, chunks

ROWS = 1024
"""Vectors that are in memory at once."""


def finished_manifest(folder: Path) -> Manifest:
    """The manifest of a folder whose corpus was embedded to its end.

    Raises:
        CorpusError: a folder that is not finished, holds nothing, or lacks a shard.
    """
    matrix = ShardedMatrix(folder)
    if not matrix.n_rows:
        raise CorpusError(f"{folder}: expected vectors, got a folder of none. Embed a corpus that has texts.")
    return matrix.manifest


def embedded_manifest(folder: Path) -> Manifest:
    """The same of what a user says is such a folder.

    Raises:
        CorpusError: it is none, or not a finished one.
    """
    if not is_vector_folder(folder):
        raise CorpusError(
            f"Expected a folder of vectors that `uncollapse embed` wrote, got {str(folder)!r}. Embed a corpus first."
        )
    return finished_manifest(folder)


def same_texts(one: Path, other: Path) -> bool | None:
    """Whether two folders of vectors are of the same texts with the same ids; None where nothing says.

    Args:
        one, other: finished folders of `embed`.

    Raises:
        CorpusError: as `embedded_manifest`.
    """
    here, there = embedded_manifest(one), embedded_manifest(other)
    if here.n_texts != there.n_texts:
        return False
    if [shard.n_texts for shard in here.shards] != [shard.n_texts for shard in there.shards]:
        return None
    return [shard.texts for shard in here.shards] == [shard.texts for shard in there.shards]


def read_batches(folder: Path, rows: int = ROWS) -> Iterator[Embeddings]:
    """All vectors of a finished folder, in order, with their ids and token counts.

    Every shard is compared with its digest before it is read.

    Args:
        folder: that `embed` wrote.
        rows: of a batch.

    Raises:
        CorpusError: a folder that is not finished, or a shard that is missing or was changed.
    """
    if place := faulty_shard(folder, finished_manifest(folder).shards):
        raise CorpusError(
            f"{place}: expected the shard that was written, got another file of that name. Put it back, or embed "
            "again with --repair."
        )
    matrix = ShardedMatrix(folder)
    for few in chunks(matrix.rows(FIELDS), rows):
        faulty = next((row.fault for row in few if row.vector is None), None)
        if faulty is not None:
            raise CorpusError(f"{folder}: expected vectors of {matrix.dim} finite numbers, got {faulty}. Embed again.")
        ids, n_tokens, n_tokens_full = (tuple(row.values[name] for row in few) for name in FIELDS)
        counts = (np.array(counted, np.int64) for counted in (n_tokens, n_tokens_full))
        vectors = np.stack([row.vector for row in few if row.vector is not None])
        yield Embeddings(vectors, tuple(map(str, ids)), *counts)


def arrow_batch(embeddings: Embeddings) -> Any:
    """Vectors as an Arrow record batch: id, vector (float32, all of one length), n_tokens, n_tokens_full."""
    columns = [
        pa.array(embeddings.ids, pa.string()),
        _lists(embeddings),
        pa.array(embeddings.n_tokens),
        pa.array(embeddings.n_tokens_full),
    ]
    return pa.record_batch(columns, schema=arrow_schema(embeddings.vectors.shape[1]))


def arrow_schema(dim: int) -> Any:
    """The schema of such a batch."""
    vector = ("vector", pa.list_(pa.float32(), dim))
    return pa.schema([("id", pa.string()), vector, ("n_tokens", pa.int64()), ("n_tokens_full", pa.int64())])


def _lists(embeddings: Embeddings) -> Any:
    flat = pa.array(np.ascontiguousarray(embeddings.vectors).reshape(-1), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, embeddings.vectors.shape[1])


@contextmanager
def ids_writer(place: Path) -> Iterator[Callable[[Embeddings], None]]:
    """What takes batches and writes their ids and token counts, without vectors, into a parquet file."""
    with pq.ParquetWriter(place, arrow_schema(1).remove(1), compression="zstd") as writer:
        yield lambda embeddings: writer.write_batch(arrow_batch(embeddings).drop_columns(["vector"]))
