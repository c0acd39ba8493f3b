"""Files of vectors with their texts, for tests."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from uncollapse.corpora import Text
from uncollapse.encoders import VectorFile

N = 150
Vectors = npt.NDArray[np.float32]
MADE: Vectors = np.random.default_rng(0).standard_normal((N, 6)).astype(np.float32)
TEXTS = [f"text {i} " + "and more " * (i % 5) for i in range(N)]
IDS = [f"id{i}" for i in range(N)]
COUNTS = [3 + 2 * (i % 5) for i in range(N)]


def lists(vectors: Sequence[Any], kind: Any = None) -> Any:
    rows = [vector if vector is None or isinstance(vector, list) else list(vector) for vector in vectors]
    return pa.array(rows, kind or pa.list_(pa.float32()))


def write_parquet(path: Path, vectors: Any = None, *, size: int | None = None, **columns: Any) -> Path:
    table = pa.table({"vector": lists(MADE) if vectors is None else vectors, **columns})
    pq.write_table(table, path, row_group_size=size)
    return path


def whole(path: Path, **columns: Any) -> Path:
    return write_parquet(path, **({"id": IDS, "text": TEXTS, "n_tokens": COUNTS} | columns))


def write_lines(path: Path, records: Sequence[Any]) -> Path:
    said = "".join(json.dumps(record) + "\n" for record in records)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(said.encode()))
    else:
        path.write_text(said)
    return path


RECORDS = [{"id": i, "text": t, "n_tokens": n} for i, t, n in zip(IDS, TEXTS, COUNTS, strict=True)]


def read(vectors: VectorFile, **how: Any) -> tuple[list[Text], Vectors]:
    texts = list(vectors.read(**how))
    return texts, vectors.vectors([text.text for text in texts])


def write_tsv(path: Path) -> Path:
    rows = [("id", "text", "n_tokens"), *zip(IDS, TEXTS, map(str, COUNTS), strict=True)]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path
