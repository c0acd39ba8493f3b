"""Vectors in the form of a search engine: the same ids and numbers, the same ten first, whole or not there."""

import errno
import json
import sqlite3
import subprocess
import sys
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store_examples import DIM, READERS, exact, made_embeddings, made_vectors, write_folder
from uncollapse import store
from uncollapse.cli import run
from uncollapse.cli.storing import Kind, Metric
from uncollapse.corpora.batches import read_batches
from uncollapse.corpora.shards import FORMATS, MANIFEST, read_manifest
from uncollapse.errors import CorpusError, FixError, MissingExtraError, OutputError, UncollapseError
from uncollapse.fixes import parse
from uncollapse.fixes.kinds import Cohort
from uncollapse.records import Embeddings
from uncollapse.stores import folder as stores
from uncollapse.stores import postgres, qdrant
from uncollapse.stores.folder import STORES, Plan
from uncollapse.stores.space import METRICS, Space

HERE = Path(__file__).parent
N = 180
GIVEN = made_embeddings(made_vectors(N))
ASKED = made_embeddings(made_vectors(60, seed=5), "q")
SOME = made_vectors(7, seed=9)
FIX = "csls(10, 0.5)"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folders")
    write_folder(root / "documents", GIVEN)
    write_folder(root / "queries", ASKED, role="query")
    return root


def same(found: Embeddings, given: Embeddings) -> None:
    assert found.ids == given.ids
    assert found.n_tokens.tolist() == given.n_tokens.tolist()
    assert found.n_tokens_full.tolist() == given.n_tokens_full.tolist()


def corrected(fix: str) -> Embeddings:
    """Documents with the further dimension, by the fix itself."""
    one: Any = parse(fix)
    parts = (GIVEN.vectors, GIVEN.n_tokens_full, ASKED.vectors, ASKED.n_tokens_full)
    fitted = one.fit(Cohort(parts[0].astype(np.float64), parts[1], parts[2].astype(np.float64), parts[3]))
    return replace(GIVEN, vectors=fitted.extend(GIVEN.vectors, GIVEN.n_tokens_full, "document"))


def test_the_table_its_readers_and_the_command_name_the_same_forms() -> None:
    assert list(STORES) == list(READERS) == [str(kind) for kind in Kind]
    assert list(METRICS) == [str(metric) for metric in Metric]


@pytest.mark.parametrize("form", FORMATS)
def test_a_folder_is_read_in_batches_of_any_size(form: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "v", GIVEN, form)
    for rows in (1, 64, 1000):
        batches = list(read_batches(folder, rows))
        assert {len(batch) for batch in batches[:-1]} <= {rows}
        assert np.concatenate([batch.vectors for batch in batches]).tobytes() == GIVEN.vectors.tobytes()
        assert sum((batch.ids for batch in batches), ()) == GIVEN.ids


@pytest.mark.parametrize("to", STORES)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("unit", [True, False])
def test_the_engine_gives_back_what_was_put_in_and_finds_the_same_ten_first(
    to: str, metric: Any, unit: bool, tmp_path: Path
) -> None:
    given = made_embeddings(made_vectors(N, unit=unit))
    source = write_folder(tmp_path / "vectors", given)
    report = store(source, tmp_path / "out", plan=Plan(to, metric))
    found = READERS[to](tmp_path / "out", SOME, metric)
    same(found.embeddings, given)
    assert found.embeddings.vectors.tobytes() == given.vectors.tobytes()
    assert found.first == exact(given, SOME, metric)
    assert (report.n_texts, report.dim, report.added, report.metric) == (N, DIM, 0, metric)
    if not unit:
        other = "dot" if metric == "cosine" else "cosine"
        assert found.first != exact(given, SOME, other), "the metric matters here"


@pytest.mark.parametrize("to", STORES)
@pytest.mark.parametrize("fix", [FIX, "cohort(length, 0.5)"])
def test_a_fix_on_scores_is_one_more_number_that_the_engine_heeds(
    to: str, fix: str, folders: Path, tmp_path: Path
) -> None:
    plan = Plan(to, fix=fix, queries=folders / "queries")
    report = store(folders / "documents", tmp_path / "out", plan=plan)
    longer = np.concatenate([SOME, np.ones((len(SOME), 1), np.float32)], axis=1)
    found, wanted = READERS[to](tmp_path / "out", longer, "dot"), corrected(fix)
    same(found.embeddings, wanted)
    np.testing.assert_allclose(found.embeddings.vectors, wanted.vectors, rtol=1e-6)
    assert found.first == exact(wanted, longer, "dot")
    assert found.first != exact(GIVEN, SOME, "dot"), "the correction changes the ranking"
    assert (report.dim, report.added, report.metric, report.fix) == (DIM + 1, 1, "dot", fix)
    about = json.loads((tmp_path / "out/store.json").read_text())
    assert about["queries"] == "put a 1 behind every query's vector"
    assert about["fitted_to"] == {"documents": N, "queries": len(ASKED)}
    assert (about["metric"], about["dim"], about["n_texts"]) == ("dot", DIM + 1, N)


def test_a_fix_is_fitted_to_a_sample_that_batches_do_not_change(
    folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uncollapse.stores.correction.LEARNED_FROM", 50)
    plan = Plan(fix=FIX, queries=folders / "queries")
    store(folders / "documents", tmp_path / "one", plan=plan)
    monkeypatch.setattr("uncollapse.stores.correction.read_batches", lambda folder: read_batches(folder, 17))
    store(folders / "documents", tmp_path / "two", plan=plan)
    store(folders / "documents", tmp_path / "three", plan=replace(plan, seed=1))
    one, two, three = ((tmp_path / name / "vectors.npy").read_bytes() for name in ("one", "two", "three"))
    assert one == two != three
    about = json.loads((tmp_path / "one/store.json").read_text())
    assert about["fitted_to"] == {"documents": 50, "queries": 50}


def test_vectors_of_other_norms_are_directions_to_a_fix_on_scores(folders: Path, tmp_path: Path) -> None:
    scaled = replace(GIVEN, vectors=GIVEN.vectors * np.linspace(0.5, 2, N, dtype=np.float32)[:, None])
    write_folder(tmp_path / "scaled", scaled)
    plan = Plan(fix=FIX, queries=folders / "queries")
    for name, source in (("one", folders / "documents"), ("two", tmp_path / "scaled")):
        store(source, tmp_path / name, plan=plan)
    one, two = (np.load(tmp_path / name / "vectors.npy") for name in ("one", "two"))
    np.testing.assert_allclose(one, two, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(("named", "metric"), [("cosine", "cosine"), ("dot", "dot"), (None, "cosine"), ("", "cosine")])
def test_the_metric_is_what_the_model_names(named: str | None, metric: str, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "v", GIVEN, similarity=named)
    assert store(source, tmp_path / "out").metric == metric


@pytest.mark.parametrize("to", ["npy", "lancedb", "pgvector"])
def test_memory_holds_a_few_batches_however_many_there_are(to: str, tmp_path: Path) -> None:
    alive: set[int] = set()
    most = [0]

    def batches(n: int) -> Iterator[Embeddings]:
        for number in range(n):
            vectors = np.full((64, DIM), 1.0 + number, np.float32)
            alive.add(number)
            weakref.finalize(vectors, alive.discard, number)
            most[0] = max(most[0], len(alive))
            counts = np.ones(64, np.int64)
            yield Embeddings(vectors, tuple(f"{number}-{row}" for row in range(64)), counts, counts)
            del vectors

    for n in (20, 80):
        most[0] = 0
        (tmp_path / str(n)).mkdir()
        STORES[to].write(tmp_path / str(n), Space(DIM, 64 * n, "dot"), batches(n))
        assert most[0] <= 12, n
        assert len(READERS[to](tmp_path / str(n), SOME[:1], "dot").embeddings) == 64 * n


def test_a_kill_leaves_no_half_store_and_what_was_there_before(folders: Path, tmp_path: Path) -> None:
    command = [sys.executable, HERE / "killed_stores.py", folders / "documents", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == list(STORES)


@pytest.mark.parametrize("to", list(STORES))
@pytest.mark.parametrize("failure", [CorpusError("shard changed"), KeyboardInterrupt()])
def test_what_goes_wrong_in_reading_keeps_its_own_words(to: str, failure: BaseException, tmp_path: Path) -> None:
    def batches() -> Iterator[Embeddings]:
        yield GIVEN
        raise failure

    with pytest.raises(type(failure)) as told:
        STORES[to].write(tmp_path, Space(DIM, 2 * N, "dot"), batches())
    assert told.value is failure


def test_a_matrix_grows_as_it_is_written_and_is_what_numpy_saves(tmp_path: Path) -> None:
    """One that is as long as it will be at once, a memory map, ends the process where the disk turns out full."""
    vectors = np.random.default_rng(0).standard_normal((64, 2_000)).astype(np.float32)
    counts, sizes = np.ones(64, np.int64), []

    def batches() -> Iterator[Embeddings]:
        for number in range(4):
            sizes.append((tmp_path / "vectors.npy").stat().st_size)
            yield Embeddings(vectors, tuple(f"{number}-{row}" for row in range(64)), counts, counts)

    STORES["npy"].write(tmp_path, Space(2_000, 4 * 64, "dot"), batches())
    assert all(size <= number * vectors.nbytes + 200 for number, size in enumerate(sizes)), sizes
    np.save(tmp_path / "wanted.npy", np.concatenate([vectors] * 4))
    assert (tmp_path / "vectors.npy").read_bytes() == (tmp_path / "wanted.npy").read_bytes()


def test_a_full_database_is_a_full_disk() -> None:
    with pytest.raises(OSError, match="Qdrant's database says: database or disk is full") as told, qdrant._told():
        raise sqlite3.OperationalError("database or disk is full")
    assert told.value.errno == errno.ENOSPC


def test_a_full_disk_leaves_nothing(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(STORES, "npy", stores.Kind(full, lambda: None))
    with pytest.raises(OutputError, match="disk is full: make room"):
        store(folders / "documents", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_replaced_when_asked_and_nothing_else_is(folders: Path, tmp_path: Path) -> None:
    source, out = folders / "documents", tmp_path / "out"
    store(source, out)
    with pytest.raises(OutputError, match=r"exists and is not empty. Give another folder, or replace it with --force"):
        store(source, out)
    store(source, out, plan=Plan("pgvector"), force=True)
    assert sorted(path.name for path in out.iterdir()) == ["load.sql", "store.json", "vectors.copy"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("years of work")
    with pytest.raises(OutputError, match="is no store, so it is not replaced even with --force"):
        store(source, tmp_path / "thesis", force=True)
    for said in ('{"shop": 1}', "[1]", "{", '{"schema": "shop/1"}'):
        (tmp_path / "thesis/store.json").write_text(said)
        with pytest.raises(OutputError, match="is no store, so it is not replaced even with --force"):
            store(source, tmp_path / "thesis", force=True)
    assert (tmp_path / "thesis/chapter.txt").exists()
    with pytest.raises(OutputError, match="is a file. Give a folder"):
        store(source, tmp_path / "thesis/chapter.txt")
    with pytest.raises(OutputError, match="lie one in the other"):
        store(source, source / "inside")


def test_folders_that_are_not_finished_or_were_changed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="Expected a folder of vectors that `uncollapse embed` wrote, got "):
        store(tmp_path, tmp_path / "out")
    source = write_folder(tmp_path / "v", GIVEN)
    manifest = read_manifest(source)
    (source / MANIFEST).write_text(replace(manifest, complete=False).to_json())
    with pytest.raises(CorpusError, match="embedded to its end, got the first 180 texts"):
        store(source, tmp_path / "out")
    (source / MANIFEST).write_text(replace(manifest, shards=()).to_json())
    with pytest.raises(CorpusError, match="expected vectors, got a folder of none"):
        store(source, tmp_path / "out")
    (source / MANIFEST).write_text(manifest.to_json())
    (source / "vectors-00001.parquet").write_bytes((source / "vectors-00000.parquet").read_bytes())
    with pytest.raises(CorpusError, match=r"vectors-00001.parquet: expected the shard that was written, got another"):
        store(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_plans_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UncollapseError, match="No store 'lance'. Did you mean 'lancedb'.*Known stores: .*npy"):
        Plan("lance")
    with pytest.raises(UncollapseError, match="No metric 'euclid'. Known metrics: dot, cosine"):
        Plan(metric="euclid")  # type: ignore[arg-type]
    for plan in ({"fix": FIX}, {"queries": tmp_path}):
        with pytest.raises(FixError, match="A fix on scores is fitted to queries: give both"):
            Plan(**plan)  # type: ignore[arg-type]
    with pytest.raises(FixError, match=r"one more dimension, which cosine would divide out again"):
        Plan(metric="cosine", fix=FIX, queries=tmp_path)


@pytest.mark.parametrize(
    ("fix", "about", "message"),
    [
        ("whitening(0.3)", {}, r"corrected by a fix on scores alone, such as csls\(10, 0.5\), got 'whitening"),
        (f"temperature(0.8) + {FIX}", {}, "Other fixes belong into the model, before `uncollapse embed`"),
        (FIX, {"model": {"tensors": "other"}}, "needs documents and queries of one model, got folders of two"),
        (FIX, {"role": "document"}, "got the roles 'document' and 'document'. Embed queries with --role query"),
    ],
)
def test_fixes_that_do_not_belong_to_these_vectors_are_refused(
    fix: str, about: dict[str, Any], message: str, folders: Path, tmp_path: Path
) -> None:
    queries = write_folder(tmp_path / "q", ASKED, **{"role": "query", **about})
    with pytest.raises(FixError, match=message):
        store(folders / "documents", tmp_path / "out", plan=Plan(fix=fix, queries=queries))


def test_a_model_that_compares_otherwise_is_refused(folders: Path, tmp_path: Path) -> None:
    dot = write_folder(tmp_path / "dot", GIVEN, similarity="dot")
    with pytest.raises(
        FixError, match="this model compares vectors by inner product, so their lengths mean something"
    ):
        store(dot, tmp_path / "out", plan=Plan(fix=FIX, queries=folders / "queries"))
    other = write_folder(tmp_path / "other", GIVEN, similarity="euclidean")
    with pytest.raises(UncollapseError, match="compares vectors by euclidean, which is no metric of these stores"):
        store(other, tmp_path / "out")
    assert store(other, tmp_path / "out", plan=Plan(metric="dot")).metric == "dot"


@pytest.mark.parametrize(("to", "package"), [("lancedb", "lancedb"), ("qdrant", "qdrant_client")])
def test_a_missing_library_is_named_before_anything_is_read(
    to: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'uncollapse\[{to}\]'"):
        store(tmp_path / "nowhere", tmp_path / "out", plan=Plan(to))


def test_what_an_engine_cannot_hold_is_refused(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant, "MOST", 100)
    with pytest.raises(OutputError, match="is meant for at most 100, got 180. Use --format lancedb or pgvector"):
        store(folders / "documents", tmp_path / "out", plan=Plan("qdrant"))
    odd = replace(GIVEN, ids=("a\0b", *GIVEN.ids[1:]))
    with pytest.raises(CorpusError, match=r"no text with a zero character, got the id 'a\\x00b'"):
        postgres.write_copy(tmp_path, Space(DIM, N, "dot"), iter([odd]))
    long = replace(GIVEN, ids=("é" * 1_301, *GIVEN.ids[1:]))
    with pytest.raises(
        CorpusError, match=r"at most 2,600 bytes, got one of 2,602, which begins 'é{60}'. Give shorter"
    ):
        postgres.write_copy(tmp_path, Space(DIM, N, "dot"), iter([long]))
    with pytest.raises(OutputError, match="at most 16,000 dimensions, got 16,001"):
        postgres.write_copy(tmp_path, Space(16_001, 1, "dot"), iter([]))


@pytest.mark.parametrize(
    ("dim", "index"),
    [
        (384, "USING hnsw (embedding vector_cosine_ops);"),
        (2001, "USING hnsw ((embedding::halfvec(2001)) halfvec_cosine_ops);"),
        (4001, "-- No index: pgvector has none for more than 4,000 dimensions"),
    ],
)
def test_the_sql_makes_an_index_that_pgvector_has(dim: int, index: str, tmp_path: Path) -> None:
    postgres.write_copy(tmp_path, Space(dim, 0, "cosine"), iter([]))
    sql = (tmp_path / "load.sql").read_text()
    assert index in sql
    assert f"embedding vector({dim}) NOT NULL" in sql
    assert "\\copy vectors (id, embedding, n_tokens, n_tokens_full) FROM 'vectors.copy'" in sql


def test_the_command_says_what_it_wrote_and_how_to_search(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(folders / "documents"), "-o", str(tmp_path / "out"), "-f", "lancedb"]
    assert run(["store", *given]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "(lancedb), 180 vectors of 12 numbers. Search: by cosine." in said
    extended = ["--fix", FIX, "--queries", str(folders / "queries"), "--force"]
    assert run(["store", *given, *extended]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"Search: by inner product (dot). Fix: {FIX} is the last number of every vector. Put a 1 behind" in said
    assert run(["store", *given, "--force", "--json", "-q", "--metric", "dot"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == "dot"
    assert run(["store", *given, "--force", "--seed", "0"]) == 2
    assert "Without --fix nothing is fitted to a sample, so --seed would do nothing" in capsys.readouterr().err
    assert run(["store", *given, *extended, "--seed", "1", "-q"]) == 0
    assert run(["store", *given]) == 2
