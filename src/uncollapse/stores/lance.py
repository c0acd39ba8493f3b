"""Vectors as a LanceDB database; only this file knows lancedb."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from uncollapse.corpora.batches import arrow_batch, arrow_schema
from uncollapse.errors import MissingExtraError
from uncollapse.stores.space import NAME, Batches, Space


def require_lancedb() -> Any:
    """The library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module("lancedb")
    except ImportError as error:
        raise MissingExtraError("lancedb", "lancedb", "A LanceDB database") from error


def write_lance(folder: Path, space: Space, batches: Batches) -> None:
    """Write a table `vectors`: id, vector, n_tokens, n_tokens_full. Its metric is chosen by who searches.

    Raises:
        OSError: it cannot be written.
    """
    database = require_lancedb().connect(folder)
    failures: list[BaseException] = []
    try:
        database.create_table(NAME, _rows(batches, failures), schema=arrow_schema(space.dim))
    except Exception as error:
        if failures:
            raise failures[0] from None  # of what was read; lancedb tells it as an error of its own
        if not isinstance(error, RuntimeError):
            raise
        raise OSError(f"LanceDB says: {str(error).partition(', /')[0]}") from error


def _rows(batches: Batches, failures: list[BaseException]) -> Iterator[Any]:
    try:
        for batch in batches:
            yield arrow_batch(batch)
    except (Exception, KeyboardInterrupt) as error:
        failures.append(error)
        raise
