"""Hubness: who is near whom, agreement with brute force, planted hubs, ties, and what a sample of queries can tell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import skew

from tolerances import FLOAT32, assert_close
from uncollapse.errors import ModelError, UncollapseError
from uncollapse.measures import unit
from uncollapse.measures.hubness import (
    find_neighbours,
    hub_length_ratio,
    k_skewness,
    mean_occurrence,
    share_of_antihubs,
)
from uncollapse.resampling import document_keys


def keys_of(n):
    return document_keys([f"d{i}" for i in range(n)])


def directions(n, dim, *, drift=0.0, seed=0):
    return unit(np.random.default_rng(seed).standard_normal((n, dim)) + drift)


def with_hubs(hubs=1, n=300, dim=64):
    """Directions around a common centre, the first few of which lie close to it and so are near all of them."""
    vectors = directions(n, dim, drift=0.35)
    noise = np.random.default_rng(5).standard_normal((hubs, dim)) * (0.05 if hubs > 1 else 0)
    vectors[:hubs] = unit(vectors.mean(axis=0) + noise)
    return vectors


def counted_naively(vectors, k):
    scores = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1)[:, :k]
    return np.bincount(nearest.ravel(), minlength=len(vectors))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(13, 60), dim=st.integers(2, 8), k=st.integers(1, 10), seed=st.integers(0, 99))
def test_counts_are_those_of_brute_force(n, dim, k, seed):
    vectors = directions(n, dim, seed=seed)
    near = find_neighbours(vectors, keys_of(n), k=k)
    np.testing.assert_array_equal(near.counts, counted_naively(vectors, k))
    assert near.counts.sum() == n * k
    assert_close(k_skewness(near, replicates=8).value, skew(counted_naively(vectors, k)))


def test_order_of_the_documents_changes_nothing():
    vectors = directions(200, 5)
    vectors[50:60] = vectors[50]  # with ties
    shuffled = np.random.default_rng(1).permutation(200)
    near = find_neighbours(vectors, keys_of(200))
    moved = find_neighbours(vectors[shuffled], keys_of(200)[shuffled])
    np.testing.assert_array_equal(near.counts[shuffled], moved.counts)
    first, second = k_skewness(near), k_skewness(moved)
    assert_close([first.value, first.low, first.high], [second.value, second.low, second.high])


def test_one_vector_for_all_makes_no_hub():
    """Each then has ten neighbours at random, so counts are about Poisson: variance 10, skewness 0.3."""
    near = find_neighbours(np.tile(unit(np.ones((1, 4))), (800, 1)), keys_of(800))
    assert 8 < near.counts.var() < 12
    assert near.counts.max() < 30
    found = k_skewness(near)
    assert found.low < 10**-0.5 < found.high
    assert share_of_antihubs(near).value < 0.005


def test_copies_of_a_document_share_what_it_is_found():
    """The centre of all, once and twenty times: the copies share the places of the one hub."""
    vectors = with_hubs()
    alone = find_neighbours(vectors, keys_of(300)).counts[0]
    copied = np.concatenate([vectors, np.tile(vectors[0], (19, 1))])
    counts = find_neighbours(copied, keys_of(319)).counts[[0, *range(300, 319)]]
    assert alone > 150
    assert counts.sum() > 5 * alone
    assert np.ptp(counts) < 0.5 * counts.mean(), "no copy may have more than its share"


def test_even_directions_have_no_hubs_and_a_planted_one_is_found():
    even = k_skewness(find_neighbours(directions(600, 3), keys_of(600)))
    assert even.low < 0 < even.high
    assert abs(even.value) < 0.5
    near = find_neighbours(with_hubs(12), keys_of(300))
    assert near.counts[:12].mean() > 3 * near.k
    assert k_skewness(near).low > max(1, even.high)


def test_skewness_has_the_sign_of_crowding():
    crowded = k_skewness(find_neighbours(directions(400, 50, drift=0.5), keys_of(400)))
    assert crowded.low > 1
    assert crowded.low < crowded.value < crowded.high


@pytest.mark.parametrize("measure", [k_skewness, share_of_antihubs])
def test_intervals_are_those_of_the_documents_left_out_one_by_one(measure):
    """The replicates are linear in weights around the brute-force jackknife, whose standard error they must have."""
    n = 80
    vectors, keys = directions(n, 6, drift=0.4), keys_of(n)
    found = measure(find_neighbours(vectors, keys, k=4), replicates=4096)
    without = [
        measure(find_neighbours(np.delete(vectors, i, 0), np.delete(keys, i), k=4), replicates=8).value
        for i in range(n)
    ]
    error = np.sqrt((n - 1) / n * np.sum((without - np.mean(without)) ** 2))
    assert 0.5 < error / np.std(without) / np.sqrt(n - 1) < 2
    spread = found.high - found.low
    bounded = measure is share_of_antihubs  # clipped at 0
    assert (0.5 if bounded else 0.9) * error < spread / 3.92 < 1.1 * error


def test_the_mean_occurrence_tells_who_crowds():
    """Documents near the common centre are found by all; these are the short ones here."""
    generator = np.random.default_rng(0)
    n_tokens = np.repeat([10, 1000], 200)
    vectors = unit(generator.standard_normal((400, 30)) * np.where(n_tokens == 10, 0.6, 1.6)[:, None] + 0.5)
    near = find_neighbours(vectors, keys_of(400))
    short, long = mean_occurrence(near, n_tokens == 10), mean_occurrence(near, n_tokens == 1000)
    assert short.low > 10 > long.high
    assert_close(short.value + long.value, 20)
    assert (short.n, long.n) == (200, 200)
    ratio = hub_length_ratio(near, n_tokens)
    assert ratio.value == pytest.approx(10 / 505)
    assert_close(mean_occurrence(near, np.ones(400, dtype=bool)).value, 10)


def test_antihubs_are_those_never_found():
    near = find_neighbours(with_hubs(), keys_of(300))
    assert share_of_antihubs(near).value == np.mean(counted_naively(with_hubs(), 10) == 0)
    never = share_of_antihubs(find_neighbours(directions(300, 2), keys_of(300)))
    assert never.value == 0
    assert never.high > 0.01, "300 documents cannot promise that none is"


def test_a_sample_of_queries_estimates_the_same_skewness():
    vectors, keys = directions(3000, 20, drift=0.3), keys_of(3000)
    truth = k_skewness(find_neighbours(vectors, keys)).value
    members = vectors[:, 0] > np.median(vectors[:, 0])
    occurrence = mean_occurrence(find_neighbours(vectors, keys), members).value
    sampled = [find_neighbours(vectors, keys, queries=1000, seed=seed) for seed in range(12)]
    found = [k_skewness(near, seed=seed) for seed, near in enumerate(sampled)]
    error = np.std([estimate.value for estimate in found]) / np.sqrt(12)
    assert abs(np.mean([estimate.value for estimate in found]) - truth) < 3.5 * error
    assert np.mean([estimate.low < truth < estimate.high for estimate in found]) > 0.7
    occurrences = [mean_occurrence(near, members).value for near in sampled]
    assert np.mean(occurrences) == pytest.approx(occurrence, rel=0.02)
    assert found[0].n == 1000


def test_large_collections_are_sampled(monkeypatch):
    from uncollapse.measures import hubness

    monkeypatch.setattr(hubness, "ALL", 40)
    monkeypatch.setattr(hubness, "FEWEST", 10)
    near = find_neighbours(directions(50, 4), keys_of(50))
    assert len(near.queries) == 32  # 40 * 40 / 50
    assert len(find_neighbours(directions(400, 4), keys_of(400)).queries) == 10
    for measure in (share_of_antihubs, lambda found: hub_length_ratio(found, np.arange(50))):
        with pytest.raises(UncollapseError, match="cannot be told from 32 of 50 documents asking"):
            measure(near)


def test_a_memory_map_is_read_in_blocks(tmp_path):
    vectors = directions(500, 8)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(
        find_neighbours(mapped, keys_of(500)).counts, find_neighbours(vectors, keys_of(500)).counts
    )


def test_the_same_seed_gives_the_same_numbers():
    near = find_neighbours(directions(100, 5), keys_of(100))
    first, again, other = (k_skewness(near, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.replicates, again.replicates)
    assert not np.array_equal(first.replicates, other.replicates)
    assert first.value == other.value


def test_rotation_changes_nothing():
    vectors = directions(200, 6)
    rotation, _ = np.linalg.qr(np.random.default_rng(4).standard_normal((6, 6)))
    turned = unit(vectors @ rotation)
    assert_close(
        k_skewness(find_neighbours(turned, keys_of(200))).value,
        k_skewness(find_neighbours(vectors, keys_of(200))).value,
        FLOAT32,
    )


def test_what_cannot_be_measured_is_refused():
    vectors = directions(20, 4)
    with pytest.raises(
        UncollapseError, match="at least 5 documents that ask, and k of at least 1, got 4 of 4 documents"
    ):
        find_neighbours(vectors[:4], keys_of(4))
    with pytest.raises(UncollapseError, match="got 20 of 20 documents and k=0"):
        find_neighbours(vectors, keys_of(20), k=0)
    with pytest.raises(UncollapseError, match="got 21 of 20 documents"):
        find_neighbours(vectors, keys_of(20), queries=21)
    with pytest.raises(ModelError, match="row 3 .* has norm 2"):
        longer = vectors.copy()
        longer[3] *= 2
        find_neighbours(longer, keys_of(20))
    with pytest.raises(ModelError, match="one key"):
        find_neighbours(vectors, keys_of(19))
    with pytest.raises(UncollapseError, match="at least 2 documents, got 1"):
        mean_occurrence(find_neighbours(vectors, keys_of(20)), np.arange(20) == 0)


def test_few_documents_have_fewer_neighbours():
    near = find_neighbours(directions(6, 3), keys_of(6))
    assert near.k == 4
    assert near.counts.sum() == 24
