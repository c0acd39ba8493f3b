"""Finished folders of vectors made without a model, and how each engine reads a store of them back."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from qdrant_client import QdrantClient

from uncollapse.corpora.shards import FORMATS, MANIFEST, Manifest, Shard, sha256
from uncollapse.records import Embeddings
from uncollapse.stores.postgres import DATA, SQL

DIM, FIRST = 12, 10
Vectors = npt.NDArray[np.float32]
AWKWARD = [
    "tab\there",
    "line\nbreak",
    "back\\slash",
    "\\N",
    "return\r",
    "ünïcödé 文",
    "'; DROP TABLE vectors; --",
    "\\.",
]


def made_vectors(n: int, seed: int = 0, *, unit: bool = True) -> Vectors:
    """Vectors around a common mean, of norm 1 or of many norms."""
    vectors = np.random.default_rng(seed).standard_normal((n, DIM)) + 0.7
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / norms if unit else vectors * np.linspace(0.5, 2, n)[:, None]).astype(np.float32)


def made_embeddings(vectors: Vectors, first: str = "d") -> Embeddings:
    """With ids, of which the first are awkward, and token counts of all lengths."""
    n = len(vectors)
    ids = [f"{first}{number}" for number in range(n)]
    ids[: len(AWKWARD)] = AWKWARD[:n]
    full = np.random.default_rng(1).integers(3, 400, n)
    return Embeddings(vectors, tuple(ids), np.minimum(full, 256), full)


def write_folder(folder: Path, embeddings: Embeddings, form: str = "parquet", **made: Any) -> Path:
    """What `embed` leaves: shards of 70 vectors and their manifest."""
    folder.mkdir(parents=True)
    shards = [_write_shard(folder, form, number, part) for number, part in enumerate(_parts(embeddings, 70))]
    about = {"model": {"tensors": "m"}, "role": "document", "similarity": "cosine", "max_tokens": 256, **made}
    manifest = Manifest("f", about, form, embeddings.vectors.shape[1], complete=True, shards=tuple(shards))
    (folder / MANIFEST).write_text(manifest.to_json())
    return folder


def _parts(embeddings: Embeddings, size: int) -> list[Embeddings]:
    rows = [slice(start, start + size) for start in range(0, len(embeddings), size)]
    return [
        Embeddings(embeddings.vectors[r], embeddings.ids[r], embeddings.n_tokens[r], embeddings.n_tokens_full[r])
        for r in rows
    ]


def _write_shard(folder: Path, form: str, number: int, part: Embeddings) -> Shard:
    files = {}
    for suffix, write in FORMATS[form].items():
        place = folder / f"vectors-{number:05}{suffix}"
        write(place, part, "f")
        files[place.name] = sha256(place)
    return Shard(files, len(part), int(part.n_tokens.sum()), int(part.n_tokens_full.sum()), 0, None, "t")


@dataclass(frozen=True)
class Found:
    """What an engine gives back.

    Args:
        embeddings: everything in the store, in its order.
        first: ids of the best ten for each query, as the engine itself finds them.
    """

    embeddings: Embeddings
    first: list[list[str]]


def read_npy(folder: Path, queries: Vectors, metric: str) -> Found:
    matrix = np.load(folder / "vectors.npy", mmap_mode="r")
    table = pq.read_table(folder / "ids.parquet")
    assert table.column_names == ["id", "n_tokens", "n_tokens_full"]
    ids, *counts = (table[name].to_numpy() for name in table.column_names)
    embeddings = Embeddings(np.array(matrix), tuple(ids), *counts)
    return Found(embeddings, exact(embeddings, queries, metric))


def read_lancedb(folder: Path, queries: Vectors, metric: str) -> Found:
    table = lancedb.connect(folder).open_table("vectors")
    rows = table.to_arrow()
    ids, *counts = (rows[name].to_numpy() for name in ("id", "n_tokens", "n_tokens_full"))
    embeddings = Embeddings(np.stack(rows["vector"].to_numpy()).astype(np.float32), tuple(ids), *counts)
    asked = [table.search(query).distance_type(metric).limit(FIRST).to_list() for query in queries]
    return Found(embeddings, [[row["id"] for row in rows] for rows in asked])


def read_qdrant(folder: Path, queries: Vectors, metric: str) -> Found:
    with closing(QdrantClient(path=str(folder))) as client:
        asked = client.get_collection("vectors").config.params.vectors.distance.lower()
        assert asked == metric
        points, _ = client.scroll("vectors", limit=100_000, with_vectors=True)
        assert [point.id for point in points] == list(range(len(points)))
        ids, *counts = ([point.payload[name] for point in points] for name in ("id", "n_tokens", "n_tokens_full"))
        vectors = np.array([point.vector for point in points], np.float32)
        embeddings = Embeddings(vectors, tuple(ids), *map(np.array, counts))
        answers = [client.query_points("vectors", query=query, limit=FIRST).points for query in queries.tolist()]
    return Found(embeddings, [[point.payload["id"] for point in answer] for answer in answers])


def read_pgvector(folder: Path, queries: Vectors, metric: str) -> Found:
    """As PostgreSQL's documentation says that the text format is read; test_postgres.py asks a server."""
    assert ("<#>" if metric == "dot" else "<=>") in (folder / SQL).read_text()
    lines = (folder / DATA).read_bytes().decode().split("\n")
    assert lines.pop() == "", "the last line ends too"
    rows = [[_unescape(field) for field in line.split("\t")] for line in lines]
    vectors = np.array([[np.float32(number) for number in row[1][1:-1].split(",")] for row in rows])
    counts = np.array([[int(number) for number in row[2:]] for row in rows])
    embeddings = Embeddings(vectors, tuple(row[0] for row in rows), counts[:, 0], counts[:, 1])
    return Found(embeddings, exact(embeddings, queries, metric))


def _unescape(field: str) -> str:
    assert field != r"\N", "a null"
    said, letters = "", iter(field)
    for letter in letters:
        said += {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}[next(letters)] if letter == "\\" else letter
    return said


def exact(embeddings: Embeddings, queries: Vectors, metric: str) -> list[list[str]]:
    """The best ten by the metric, in float64."""
    documents, asked = embeddings.vectors.astype(np.float64), queries.astype(np.float64)
    scores = asked @ documents.T
    if metric == "cosine":
        scores /= np.linalg.norm(documents, axis=1)
    return [[embeddings.ids[row] for row in rows] for rows in np.argsort(-scores, axis=1, kind="stable")[:, :FIRST]]


READERS: dict[str, Callable[[Path, Vectors, str], Found]] = {
    "npy": read_npy,
    "lancedb": read_lancedb,
    "qdrant": read_qdrant,
    "pgvector": read_pgvector,
}
