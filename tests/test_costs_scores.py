"""Ranks with ties, and intervals of shares and of their changes that stay honest where data are few."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from tolerances import assert_close
from uncollapse.measures import unit
from uncollapse.measures.retrieval import (
    bootstrap_mean,
    change_in_share,
    mean_reciprocal_rank,
    mean_score,
    mid_ranks,
    reciprocal_ranks,
)
from uncollapse.resampling import document_keys


def keys_of(n):
    return document_keys([f"d{i}" for i in range(n)])


@settings(max_examples=100, deadline=None)
@given(n=st.integers(2, 20), q=st.integers(1, 8), few=st.booleans(), seed=st.integers(0, 10**6))
def test_ranks_are_those_of_scipy(n, q, few, seed):
    rng = np.random.default_rng(seed)
    documents, queries = (
        unit(rng.choice([-1.0, 1.0], (rows, 3)) if few else rng.standard_normal((rows, 3))) for rows in (n, q)
    )
    own = rng.integers(0, n, q)
    scores = np.round(queries.astype(np.float64) @ documents.T.astype(np.float64), 12)
    expected = [rankdata(-row, method="average")[place] for row, place in zip(scores, own, strict=True)]
    assert_close(mid_ranks(queries, documents, own), expected)


def test_a_vector_in_its_place_changes_its_own_rank_only():
    rng = np.random.default_rng(0)
    documents, queries = unit(rng.standard_normal((30, 6))), unit(rng.standard_normal((30, 6)))
    instead, own = unit(rng.standard_normal((30, 6))), np.arange(30)
    ranks = mid_ranks(queries, documents, own, instead=instead)
    for i in range(30):
        changed = documents.copy()
        changed[i] = instead[i]
        assert ranks[i] == mid_ranks(queries[i : i + 1], changed, own[i : i + 1])[0]
    np.testing.assert_array_equal(
        mid_ranks(queries, documents, own, instead=documents), mid_ranks(queries, documents, own)
    )


def test_ranks_of_many_queries_are_those_of_few():
    rng = np.random.default_rng(1)
    documents, queries = unit(rng.standard_normal((50, 6))), unit(rng.standard_normal((3000, 6)))
    own = rng.integers(0, 50, 3000)
    one_by_one = [mid_ranks(queries[i : i + 1], documents, own[i : i + 1])[0] for i in range(1000, 1100)]
    np.testing.assert_array_equal(mid_ranks(queries, documents, own)[1000:1100], one_by_one)


def test_one_vector_for_all_has_the_middle_rank():
    same = np.tile(unit(np.ones((1, 7))), (9, 1))
    assert mid_ranks(same, same, np.arange(9), instead=same).tolist() == [5.0] * 9
    assert (1 / reciprocal_ranks(same, same)).tolist() == [5.0] * 9


@pytest.mark.parametrize(("found", "low", "high"), [(0, 0, 0.0713), (50, 0.9287, 1), (25, 0.3664, 0.6336)])
def test_shares_have_wilsons_interval_and_paired_replicates(found, low, high):
    scores = (np.arange(50) < found).astype(float)
    share = mean_score(scores, keys_of(50), replicates=64)
    assert share.value == found / 50
    assert_close([share.low, share.high], [low, high], 1e-3)
    np.testing.assert_array_equal(share.replicates, bootstrap_mean(scores, keys_of(50), replicates=64).replicates)


def test_equal_scores_do_not_promise_that_others_are_equal():
    found = mean_score(np.full(40, 0.5), keys_of(40), replicates=64)
    assert found.low < 0.5 < found.high
    lost = mean_score(np.full(40, -1.0), keys_of(40), bounds=(-1.0, 1.0), replicates=64)
    assert lost.low == -1 < lost.high < -0.8
    mixed = mean_score(np.linspace(0, 1, 40), keys_of(40))
    usual = mean_reciprocal_rank(np.linspace(0, 1, 40), keys_of(40))
    assert (mixed.low, mixed.high) == (usual.low, usual.high)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 10**6))
def test_a_change_in_share_turned_round_is_its_negative(n, seed):
    before, after = np.random.default_rng(seed).integers(0, 2, (2, n)).astype(float)
    there, back = (change_in_share(*pair, keys_of(n), replicates=8) for pair in ((before, after), (after, before)))
    assert_close([there.value, there.low, there.high], [-back.value, -back.high, -back.low])
    assert there.low <= there.value <= there.high
    assert_close(there.value, (after - before).mean())


def test_no_change_seen_is_no_certainty_and_a_few_changes_are_none():
    same = change_in_share(np.ones(300), np.ones(300), keys_of(300), replicates=8)
    assert same.low < 0 < same.high
    few = np.ones(300)
    few[:4] = 0
    assert change_in_share(few, np.ones(300), keys_of(300), replicates=8).low < 0, "four of four is p = 0.125"
    few[:12] = 0
    assert change_in_share(few, np.ones(300), keys_of(300), replicates=8).low > 0


def test_the_interval_of_a_change_covers_the_truth():
    """1,000 samples of 60 pairs from known probabilities of the four outcomes."""
    rng = np.random.default_rng(2)
    outcomes = rng.choice(4, (1000, 60), p=[0.6, 0.04, 0.16, 0.2])
    before, after = np.isin(outcomes, (0, 1)).astype(float), np.isin(outcomes, (0, 2)).astype(float)
    keys = keys_of(60)
    covered = 0
    for b, a in zip(before, after, strict=True):
        found = change_in_share(b, a, keys, replicates=4)
        covered += found.low <= 0.12 <= found.high
    assert 0.93 < covered / 1000 < 0.985
