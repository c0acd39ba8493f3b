"""Any index that searches by inner product serves a fix on scores unchanged: usearch, Qdrant and LanceDB are asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cohort_examples import made
from fix_examples import notations
from tolerances import FLOAT32
from uncollapse.evaluation.rankings.approximate import search_index
from uncollapse.fixes import parse
from uncollapse.fixes.kinds import Kind

Found = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]
Index = Callable[[Vectors, Vectors, Path], Found]

FIRST = 10
SEEN = made(documents=500, queries=200)
ASKED = 30


def with_usearch(documents: Vectors, queries: Vectors, _: Path) -> Found:
    pytest.importorskip("usearch")
    return search_index(queries, documents, FIRST, expansion=2000).hits.documents


def with_qdrant(documents: Vectors, queries: Vectors, _: Path) -> Found:
    client_of = pytest.importorskip("qdrant_client")
    models = client_of.models
    client = client_of.QdrantClient(":memory:")
    space = models.VectorParams(size=documents.shape[1], distance=models.Distance.DOT)
    client.create_collection("documents", vectors_config=space)
    points = [models.PointStruct(id=row, vector=vector) for row, vector in enumerate(documents.tolist())]
    client.upsert("documents", points)
    answers = [client.query_points("documents", query=query, limit=FIRST).points for query in queries.tolist()]
    client.close()
    return np.array([[point.id for point in answer] for answer in answers])


def with_lancedb(documents: Vectors, queries: Vectors, folder: Path) -> Found:
    lancedb = pytest.importorskip("lancedb", reason="LanceDB is heavy, so the development tools leave it out")
    rows = [{"row": row, "vector": vector} for row, vector in enumerate(documents)]
    table = lancedb.connect(folder).create_table("documents", rows)
    answers = [table.search(query).distance_type("dot").limit(FIRST).to_list() for query in queries]
    return np.array([[found["row"] for found in answer] for answer in answers])


@pytest.mark.parametrize("index", [with_usearch, with_qdrant, with_lancedb])
@pytest.mark.parametrize("text", notations(Kind.SCORE))
def test_an_index_finds_what_the_corrected_score_ranks_first(text: str, index: Index, tmp_path: Path) -> None:
    fix: Any = parse(text)
    fitted = fix.fit(SEEN)
    documents = fitted.extend(SEEN.documents.astype(np.float32), SEEN.document_tokens, "document")
    queries = fitted.extend(SEEN.queries[:ASKED].astype(np.float32), SEEN.query_tokens[:ASKED], "query")
    found = index(documents, queries, tmp_path)
    scores = queries.astype(np.float64) @ documents.T.astype(np.float64)
    assert found.shape == (ASKED, FIRST)
    assert all(len(set(row)) == FIRST for row in found.tolist())
    best = -np.sort(-scores, axis=1)[:, :FIRST]
    np.testing.assert_allclose(np.take_along_axis(scores, found, axis=1), best, rtol=FLOAT32, atol=FLOAT32)
    plain = np.argsort(-(SEEN.queries[:ASKED] @ SEEN.documents.T), axis=1)[:, :FIRST]
    assert (plain != found).any(), "the correction changes the ranking"
