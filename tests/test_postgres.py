"""A real PostgreSQL with pgvector loads what is written for it, and gives it back."""

import json
import string
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store_examples import exact, made_embeddings, made_vectors, write_folder
from uncollapse import store
from uncollapse.records import Embeddings
from uncollapse.stores.folder import Plan
from uncollapse.stores.postgres import MOST_BYTES_OF_AN_ID, SQL

LONGEST = "".join(np.random.default_rng(0).choice(list(string.ascii_letters + string.digits), MOST_BYTES_OF_AN_ID))
GIVEN = made_embeddings(made_vectors(180, unit=False))
GIVEN = replace(GIVEN, ids=(*GIVEN.ids[:-1], LONGEST))  # which no index can hold shorter than it is
QUERIES = made_vectors(7, seed=9)
ASKED = made_embeddings(made_vectors(60, seed=5), "q")
OPERATORS = {"cosine": "<=>", "dot": "<#>"}


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """PostgreSQL from a package, in a folder that its own user may enter."""
    with tempfile.TemporaryDirectory(prefix="pg") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        pgserver = pytest.importorskip("pgserver", reason="no package of PostgreSQL for this Python")
        Path(folder).chmod(0o755)
        running = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield running
        running.cleanup()


def psql(server: Any, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    import pgserver

    program = Path(pgserver.__file__).parent / "pginstall" / "bin" / "psql"
    command = [str(program), server.get_uri(), "-v", "ON_ERROR_STOP=1", "-qAt", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def load(server: Any, folder: Path) -> None:
    """As the page says: from the folder, with the file that was written."""
    assert psql(server, "-c", "DROP TABLE IF EXISTS vectors").returncode == 0
    done = psql(server, "-f", SQL, cwd=folder)
    assert done.returncode == 0, done.stderr


def ask(server: Any, select: str) -> list[Any]:
    done = psql(server, "-c", f"SELECT coalesce(json_agg(row), '[]') FROM ({select}) row")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def literal(vector: np.ndarray) -> str:
    return "'[" + ",".join(map(str, vector.tolist())) + "]'"


@pytest.mark.parametrize("metric", OPERATORS)
def test_it_is_loaded_whole_and_the_same_ten_come_first(metric: Any, server: Any, tmp_path: Path) -> None:
    store(write_folder(tmp_path / "v", GIVEN), tmp_path / "out", plan=Plan("pgvector", metric=metric))
    load(server, tmp_path / "out")
    rows = ask(server, "SELECT id, embedding::text AS vector, n_tokens, n_tokens_full FROM vectors")
    found = {row["id"]: row for row in rows}
    assert set(found) == set(GIVEN.ids)
    kept = np.array([json.loads(found[name]["vector"]) for name in GIVEN.ids], np.float32)
    assert kept.tobytes() == GIVEN.vectors.tobytes()
    assert [found[name]["n_tokens"] for name in GIVEN.ids] == GIVEN.n_tokens.tolist()
    assert [found[name]["n_tokens_full"] for name in GIVEN.ids] == GIVEN.n_tokens_full.tolist()
    assert nearest(server, QUERIES, metric) == exact(GIVEN, QUERIES, metric)


def nearest(server: Any, queries: np.ndarray, metric: str) -> list[list[str]]:
    near = f"SELECT id FROM vectors ORDER BY embedding {OPERATORS[metric]} {{}} LIMIT 10"
    return [[row["id"] for row in ask(server, near.format(literal(query)))] for query in queries]


def test_the_index_of_the_file_is_used_by_the_search_of_the_file(server: Any, tmp_path: Path) -> None:
    many = made_embeddings(made_vectors(3000))
    store(write_folder(tmp_path / "v", many), tmp_path / "out", plan=Plan("pgvector"))
    load(server, tmp_path / "out")
    plan = psql(server, "-c", f"EXPLAIN SELECT id FROM vectors ORDER BY embedding <=> {literal(QUERIES[0])} LIMIT 10")
    assert "Index Scan using vectors_embedding_idx" in plan.stdout
    found, best = nearest(server, QUERIES, "cosine"), exact(many, QUERIES, "cosine")
    shared = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(found, best, strict=True)])
    assert shared >= 0.9  # HNSW as pgvector sets it, which may miss some


def test_the_number_of_a_fix_on_scores_ranks_as_the_fix_does(server: Any, tmp_path: Path) -> None:
    documents = made_embeddings(made_vectors(180))
    asked = write_folder(tmp_path / "q", ASKED, role="query")
    plan = Plan("pgvector", fix="csls(10, 0.5)", queries=asked)
    store(write_folder(tmp_path / "v", documents), tmp_path / "out", plan=plan)
    load(server, tmp_path / "out")
    rows = ask(server, "SELECT id, embedding::text AS vector FROM vectors")
    vectors = {row["id"]: json.loads(row["vector"]) for row in rows}
    longer = Embeddings(
        np.array([vectors[name] for name in documents.ids], np.float32), documents.ids, documents.n_tokens,
        documents.n_tokens_full,
    )  # fmt: skip
    with_one = np.hstack([QUERIES, np.ones((len(QUERIES), 1), np.float32)])
    assert longer.vectors.shape[1] == QUERIES.shape[1] + 1
    assert nearest(server, with_one, "dot") == exact(longer, with_one, "dot")
    assert nearest(server, with_one, "dot") != exact(documents, QUERIES, "dot")


def test_a_second_load_into_the_same_table_leaves_it_as_it_was(server: Any, tmp_path: Path) -> None:
    store(write_folder(tmp_path / "v", GIVEN), tmp_path / "out", plan=Plan("pgvector"))
    load(server, tmp_path / "out")
    again = psql(server, "-f", SQL, cwd=tmp_path / "out")
    assert again.returncode != 0
    assert 'relation "vectors" already exists' in again.stderr
    assert len(ask(server, "SELECT id FROM vectors")) == len(GIVEN.ids)
