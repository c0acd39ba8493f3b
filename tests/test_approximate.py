"""The index finds nearly what exact search finds, in the same order, and says how nearly."""

import sys

import numpy as np
import pytest

from uncollapse.errors import MissingExtraError
from uncollapse.evaluation.rankings.approximate import search_index
from uncollapse.measures import unit
from uncollapse.measures.search import search


@pytest.fixture(scope="module")
def vectors():
    pytest.importorskip("usearch")
    rng = np.random.default_rng(0)
    return unit(rng.standard_normal((20, 16))), unit(rng.standard_normal((3000, 16)))


def test_wide_enough_it_finds_what_exact_search_finds(vectors):
    queries, documents = vectors
    order = np.random.default_rng(1).permutation(len(documents))
    found = search_index(queries, documents, 10, order=order, expansion=3000)
    exact = search(queries, documents, 10, order=order)
    assert found.recall == 1
    np.testing.assert_array_equal(found.hits.documents, exact.documents)
    np.testing.assert_array_equal(found.hits.scores, exact.scores)


def test_the_same_vectors_are_searched_alike_each_time(vectors):
    queries, documents = vectors
    first, *again = [search_index(queries, documents, 10, expansion=11).hits.documents for _ in range(3)]
    assert all((found == first).all() for found in again)
    assert (first != search(queries, documents, 10).documents).any(), "so narrow a search misses some"


def test_recall_is_the_share_of_the_exact_first_ten(vectors):
    queries, documents = vectors
    found = search_index(queries, documents, 10, expansion=11)
    exact = search(queries, documents, 10).documents
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(found.hits.documents.tolist(), exact.tolist(), strict=True)]
    assert found.recall == pytest.approx(np.mean(shared))
    assert found.checked == 20


def test_what_is_excluded_is_not_found(vectors):
    _, documents = vectors
    found = search_index(documents[:5], documents, 3, excluded=np.arange(5), expansion=500)
    assert (found.hits.documents != np.arange(5)[:, None]).all()
    assert (found.hits.documents >= 0).all()


def test_a_small_corpus_is_filled_up(vectors):
    queries, documents = vectors
    found = search_index(queries, documents[:4], 6)
    assert (np.sort(found.hits.documents, axis=1) == [-1, -1, 0, 1, 2, 3]).all()


def test_without_usearch_it_says_what_to_install(vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(MissingExtraError, match=r"uncollapse\[index\]"):
        search_index(*vectors, 3)
