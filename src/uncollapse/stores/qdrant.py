"""Vectors as a collection of Qdrant's local mode; only this file knows qdrant_client."""

import errno
import importlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from uncollapse.errors import MissingExtraError, OutputError
from uncollapse.records import Embeddings
from uncollapse.stores.space import NAME, Batches, Space

MOST = 20_000
"""Points that Qdrant's local mode is meant for: it holds all of them in memory and compares every one."""


def require_qdrant() -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("qdrant_client")
    except ImportError as error:
        raise MissingExtraError("qdrant-client", "qdrant", "A Qdrant collection") from error


def write_qdrant(folder: Path, space: Space, batches: Batches) -> None:
    """Write a collection `vectors`: points numbered from 0, with id, n_tokens and n_tokens_full as payload.

    Raises:
        OutputError: more vectors than the local mode is meant for.
        OSError: it cannot be written.
    """
    if space.n_texts > MOST:
        raise OutputError(
            f"Qdrant's local mode holds every vector in memory and is meant for at most {MOST:,}, got "
            f"{space.n_texts:,}. Use --format lancedb or pgvector, or send the vectors to a Qdrant server: "
            "docs/stores.md has the lines."
        )
    library = require_qdrant()
    distance = {"dot": library.models.Distance.DOT, "cosine": library.models.Distance.COSINE}[space.metric]
    with _told(), closing(library.QdrantClient(path=str(folder))) as client:
        client.create_collection(NAME, library.models.VectorParams(size=space.dim, distance=distance))
        done = 0
        for batch in batches:
            client.upsert(NAME, list(_points(library.models.PointStruct, batch, done)))
            done += len(batch)


@contextmanager
def _told() -> Iterator[None]:
    """Qdrant's local mode keeps its points in SQLite, whose errors it lets through."""
    try:
        yield
    except sqlite3.Error as error:
        number = errno.ENOSPC if "full" in str(error) else errno.EIO
        raise OSError(number, f"Qdrant's database says: {error}") from error


def _points(point: Any, batch: Embeddings, first: int) -> Iterator[Any]:
    counts = zip(batch.ids, batch.n_tokens.tolist(), batch.n_tokens_full.tolist(), strict=True)
    for row, (name, n_tokens, n_tokens_full) in enumerate(counts):
        payload = {"id": name, "n_tokens": n_tokens, "n_tokens_full": n_tokens_full}
        yield point(id=first + row, vector=batch.vectors[row].tolist(), payload=payload)
