"""Exact search: the float64 ranking, whatever the blocks, with ties broken by place."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from uncollapse.errors import UncollapseError
from uncollapse.measures import search as module
from uncollapse.measures.search import search

FEW_VALUES = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])  # so that many scores are equal


def sorted_naively(queries, documents, k, order, excluded):
    rows = []
    for query, own in zip(queries.astype(np.float64), excluded, strict=True):
        scored = [
            (-float(query @ d.astype(np.float64)), int(order[i]), i) for i, d in enumerate(documents) if i != own
        ]
        best = [i for _, _, i in sorted(scored)[:k]]
        rows.append(best + [-1] * (k - len(best)))
    return np.array(rows)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), n=st.integers(1, 30), q=st.integers(1, 5), k=st.integers(1, 35), block=st.integers(1, 12))
def test_the_ranking_is_that_of_a_full_sort_in_float64(data, n, q, k, block):
    documents = data.draw(hnp.arrays(np.float32, (n, 3), elements=FEW_VALUES))
    queries = data.draw(hnp.arrays(np.float32, (q, 3), elements=FEW_VALUES))
    order = np.array(data.draw(st.permutations(range(n))))
    excluded = np.array(data.draw(st.lists(st.integers(-1, n - 1), min_size=q, max_size=q)))
    hits = search(queries, documents, k, order=order, excluded=excluded, block=block)
    np.testing.assert_array_equal(hits.documents, sorted_naively(queries, documents, k, order, excluded))
    assert (np.isnan(hits.scores) == (hits.documents < 0)).all()


@pytest.fixture(scope="module")
def close_vectors():
    """Documents so close together that float32 scores mix up their order."""
    rng = np.random.default_rng(3)
    centre = rng.standard_normal(384)
    documents = centre + 1e-4 * rng.standard_normal((3000, 384))
    documents = (documents / np.linalg.norm(documents, axis=1, keepdims=True)).astype(np.float32)
    queries = (centre + 0.1 * rng.standard_normal((7, 384))).astype(np.float32)
    return queries / np.linalg.norm(queries, axis=1, keepdims=True), documents


@pytest.mark.parametrize("block", [1, 64, 1000, 16384])
def test_float32_errors_change_no_rank(close_vectors, block):
    queries, documents = close_vectors
    expected = np.argsort(-(queries.astype(np.float64) @ documents.T.astype(np.float64)), axis=1, kind="stable")
    rounded = np.argsort(-(queries @ documents.T), axis=1, kind="stable")
    assert (expected[:, :50] != rounded[:, :50]).any(), "the example is too easy to show anything"
    if block > 1:
        np.testing.assert_array_equal(search(queries, documents, 50, block=block).documents, expected[:, :50])


def test_equal_vectors_tie_exactly_wherever_they_lie():
    rng = np.random.default_rng(0)
    vector = rng.standard_normal(200).astype(np.float32)
    documents = rng.standard_normal((500, 200)).astype(np.float32)
    copies = np.sort(rng.choice(500, 40, replace=False))
    documents[copies] = vector
    order = rng.permutation(500)
    hits = search(vector[None], documents, 40, order=order, block=37)
    assert hits.documents[0].tolist() == sorted(copies, key=lambda i: order[i])
    assert len(set(hits.scores[0])) == 1


def test_shuffled_ties_favour_no_document_and_depend_on_nothing_else(monkeypatch):
    """Every query takes 10 of 400 equal documents: each about 10 times, by a lottery of its own."""
    vectors = np.ones((400, 3), np.float32)
    order, shuffle = np.arange(400) * 7, np.arange(400, dtype=np.uint64) << np.uint64(40)
    hits = search(vectors, vectors, 10, order=order, excluded=np.arange(400), shuffle=shuffle, block=37).documents
    counts = np.bincount(hits.ravel(), minlength=400)
    assert 5 < counts.var() < 15, "counts of 10 fair tickets in 400 have a variance near 10"
    assert (hits != np.arange(400)[:, None]).all()
    monkeypatch.setattr(module, "QUERIES", 11)
    moved = np.random.default_rng(0).permutation(400)
    again = search(vectors, vectors, 10, order=order[moved], excluded=np.arange(400), shuffle=shuffle[moved]).documents
    np.testing.assert_array_equal(moved[again], hits[moved])


def test_shuffling_decides_between_equals_only():
    rng = np.random.default_rng(0)
    documents = rng.standard_normal((300, 5)).astype(np.float32)
    queries, shuffle = documents[:40], rng.integers(0, 2**63, 40).astype(np.uint64)
    np.testing.assert_array_equal(
        search(queries, documents, 9, shuffle=shuffle).documents, search(queries, documents, 9).documents
    )


def test_portions_of_queries_change_nothing(monkeypatch, close_vectors):
    queries, documents = close_vectors
    whole = search(queries, documents, 5, excluded=np.arange(7))
    monkeypatch.setattr(module, "QUERIES", 2)
    parts = search(queries, documents, 5, excluded=np.arange(7))
    np.testing.assert_array_equal(whole.documents, parts.documents)
    np.testing.assert_array_equal(whole.scores, parts.scores)


def test_progress_counts_every_block():
    done = []
    search(np.eye(3, dtype=np.float32), np.ones((10, 3), np.float32), 2, block=4, advance=done.append)
    assert done == [4, 4, 2]


@pytest.mark.parametrize(
    ("queries", "documents", "k", "message"),
    [
        (np.ones((1, 2)), np.ones((1, 2)), 0, "at least one document a query, got k=0"),
        (np.ones((1, 2)), np.ones((1, 3)), 1, r"shapes \(1, 2\) and \(1, 3\)"),
        (np.ones((0, 2)), np.ones((1, 2)), 1, "got 0 and 1"),
        (np.ones((1, 2)), np.array([[1.0, 1], [np.nan, 1]]), 1, "query 0 and document 1"),
        (np.ones((1, 2)), np.array([[1.0, 1], [np.inf, 1]]), 1, "query 0 and document 1"),
        (np.full((1, 2), 3e38), np.full((1, 2), -3e38), 1, "finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid:RuntimeWarning")
def test_what_cannot_be_searched_is_refused(queries, documents, k, message):
    with pytest.raises(UncollapseError, match=message):
        search(queries.astype(np.float32), documents.astype(np.float32), k)


@pytest.mark.parametrize("alike", [True, False])
def test_memory_is_bounded_also_where_all_documents_are_alike(alike):
    rng = np.random.default_rng(0)
    documents = rng.standard_normal((1 if alike else 4000, 64)).astype(np.float32)
    documents = np.ascontiguousarray(np.broadcast_to(documents, (4000, 64)))
    queries = rng.standard_normal((1000, 64)).astype(np.float32)
    tracemalloc.start()
    hits = search(queries, documents, 10 if alike else 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6  # all pairs of vectors would take 1 GB in float32 alone
    if alike:
        np.testing.assert_array_equal(hits.documents, np.tile(np.arange(10), (1000, 1)))


def test_candidates_in_small_portions_change_nothing(monkeypatch, close_vectors):
    queries, documents = close_vectors
    whole = search(queries, documents, 20)
    monkeypatch.setattr(module, "_CANDIDATES", 1)
    monkeypatch.setattr(module, "_HELD", 1)
    parts = search(queries, documents, 20)
    np.testing.assert_array_equal(whole.documents, parts.documents)
    np.testing.assert_array_equal(whole.scores, parts.scores)
