"""Vectors as one matrix in numpy's own format, with their ids beside it."""

from pathlib import Path

import numpy as np

from uncollapse.corpora.batches import ids_writer
from uncollapse.stores.space import Batches, Space

MATRIX, IDS = "vectors.npy", "ids.parquet"


def write_matrix(folder: Path, space: Space, batches: Batches) -> None:
    """Write `vectors.npy`, float32 [texts, dim], through a memory map, and `ids.parquet`, a row a vector."""
    shape = (space.n_texts, space.dim)
    matrix = np.lib.format.open_memmap(folder / MATRIX, mode="w+", dtype=np.float32, shape=shape)
    done = 0
    with ids_writer(folder / IDS) as write_ids:
        for batch in batches:
            matrix[done : done + len(batch)] = batch.vectors
            write_ids(batch)
            done += len(batch)
    matrix.flush()
