"""Reciprocal ranks of a text found by its own query."""

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score

from uncollapse.errors import UncollapseError
from uncollapse.measures import unit
from uncollapse.measures.retrieval import mean_reciprocal_rank, reciprocal_ranks
from uncollapse.resampling import difference, document_keys


def pairs(n: int = 1500, noise: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    documents = generator.standard_normal((n, 16))
    return unit(documents + noise * generator.standard_normal((n, 16))), unit(documents)


def test_mean_agrees_with_scikit_learn() -> None:
    """With one relevant document a query, label ranking average precision is the mean reciprocal rank."""
    queries, documents = pairs(300)
    wanted = label_ranking_average_precision_score(np.eye(300), queries @ documents.T)
    assert reciprocal_ranks(queries, documents).mean() == pytest.approx(wanted, abs=1e-12)


def test_blocks_change_nothing() -> None:
    queries, documents = pairs()
    scores = queries @ documents.T
    ranks = 1 + (scores > np.diag(scores)[:, None]).sum(axis=1)
    assert np.abs(reciprocal_ranks(queries, documents) - 1 / ranks).mean() < 1e-4


def test_one_vector_for_all_gains_nothing() -> None:
    same = np.tile(unit(np.ones((1, 4))), (9, 1))
    assert reciprocal_ranks(same, same).tolist() == [1 / 5] * 9


def test_a_perfect_model_finds_everything() -> None:
    _, documents = pairs(50)
    assert reciprocal_ranks(documents, documents).tolist() == [1.0] * 50


def test_pairs_must_match() -> None:
    queries, documents = pairs(10)
    with pytest.raises(UncollapseError, match=r"Every query needs one document, got shapes \[10, 16\] and \[9, 16\]"):
        reciprocal_ranks(queries, documents[:9])


def test_the_mean_has_an_interval_that_narrows_and_is_paired() -> None:
    ranks = reciprocal_ranks(*pairs(400))
    keys = document_keys([str(i) for i in range(400)])
    whole, part = mean_reciprocal_rank(ranks, keys), mean_reciprocal_rank(ranks[:100], keys[:100])
    assert whole.low < ranks.mean() < whole.high
    assert whole.high - whole.low < 0.7 * (part.high - part.low)
    change = difference(mean_reciprocal_rank(ranks + 0.1, keys), whole)
    assert change.value == pytest.approx(0.1)
    assert change.high - change.low < 1e-12
