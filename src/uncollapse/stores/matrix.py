"""Vectors as one matrix in numpy's own format, with their ids beside it."""

from pathlib import Path

import numpy as np

from uncollapse.corpora.batches import ids_writer
from uncollapse.stores.space import Batches, Space

MATRIX, IDS = "vectors.npy", "ids.parquet"

_STORED = "<f4"


def write_matrix(folder: Path, space: Space, batches: Batches) -> None:
    """Write `vectors.npy`, float32 [texts, dim], and `ids.parquet`, a row a vector.

    Not through a memory map, since a full disk would end the process there, without a word.
    """
    about = {"descr": _STORED, "fortran_order": False, "shape": (space.n_texts, space.dim)}
    with (folder / MATRIX).open("wb") as stream, ids_writer(folder / IDS) as write_ids:
        np.lib.format.write_array_header_1_0(stream, about)
        for batch in batches:
            stream.write(batch.vectors.astype(_STORED).tobytes())
            write_ids(batch)
