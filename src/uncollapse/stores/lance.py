"""Vectors as a LanceDB database; only this file knows lancedb."""

import importlib
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
    """Write a table `vectors`: id, vector, n_tokens, n_tokens_full. Its metric is chosen by who searches."""
    database = require_lancedb().connect(folder)
    rows = (arrow_batch(batch) for batch in batches)
    database.create_table(NAME, rows, schema=arrow_schema(space.dim))
