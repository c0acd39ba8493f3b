"""Uniformity and effective rank: limits, exact leave-one-out, intervals, and the isotropic line."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bin_states import make_keys, make_raw, make_state, population
from tolerances import assert_close
from uncollapse.errors import ModelError
from uncollapse.measures import (
    effective_rank,
    isotropic_effective_rank,
    mean_cosine,
    uniformity,
    unit,
)
from uncollapse.measures.isotropy import spectral_entropies
from uncollapse.resampling import poisson_weights


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 30), st.integers(1, 10), st.floats(-2, 2), st.integers(0, 2**32))
def test_uniformity_is_bounded_by_the_mean_cosine(n, dim, drift, seed):
    state = make_state(make_raw(n, dim, drift, seed))
    assert uniformity(*state.head(n)).value >= -4 * (1 - mean_cosine(state.moments).value) - 1e-6


def test_uniformity_of_one_document_is_refused():
    with pytest.raises(ModelError, match="2 documents, but there are 1"):
        uniformity(np.ones((1, 1)), np.ones((1, 4)))


def ones_like_rows(vectors):
    return np.ones((len(vectors), 4))


def rank_of(raw):
    vectors = unit(raw)
    return effective_rank(vectors, ones_like_rows(vectors)).value


def test_one_direction_has_effective_rank_one():
    rows = np.random.default_rng(11).choice([-1.0, 1.0], (40, 1)) * make_raw(1, seed=11)
    assert_close(rank_of(rows), 1, 1e-8)


@pytest.mark.parametrize("dim", [2, 5, 9])
def test_equal_variances_have_as_many_ranks_as_dimensions(dim):
    assert_close(rank_of(np.vstack([np.eye(dim), -np.eye(dim)])), dim)
    assert rank_of(np.random.default_rng(12).standard_normal((4000, dim))) == pytest.approx(dim, rel=0.005)


def test_unequal_variances_have_the_exponential_of_their_entropy():
    shares = np.array([0.5, 0.25, 0.125, 0.125])
    rows = np.vstack([np.repeat(sign * np.eye(4), (8 * shares).astype(int), axis=0) for sign in (1, -1)])
    assert_close(rank_of(rows), 2 ** (0.5 * 1 + 0.25 * 2 + 2 * 0.125 * 3))


@pytest.mark.parametrize(("n", "dim"), [(2, 3), (5, 9), (9, 9), (10, 9), (11, 9), (40, 9)])
def test_leaving_out_each_document_is_exact(n, dim):
    vectors = unit(make_raw(n, dim, seed=n)).astype(np.float64)
    entropy, without = spectral_entropies(vectors)
    assert_close(entropy, spectral_entropies_by_svd(vectors))
    assert_close(without, [spectral_entropies_by_svd(np.delete(vectors, i, axis=0)) for i in range(n)])


def spectral_entropies_by_svd(vectors):
    spectrum = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    if spectrum.sum() < 1e-20:
        return 0.0
    return -sum(p * math.log(p) for p in spectrum / spectrum.sum() if p > 1e-25)


def test_leaving_out_the_only_other_document_leaves_one_point():
    vectors = unit(np.array([[1.0, 0, 0]] * 5 + [[0, 1.0, 0]])).astype(np.float64)
    _, without = spectral_entropies(vectors)
    assert_close(without, 0)


def test_doubled_documents_do_not_break_leaving_out():
    vectors = np.repeat(unit(make_raw(6, 9)).astype(np.float64), 2, axis=0)
    _, without = spectral_entropies(vectors)
    assert_close(without, [spectral_entropies_by_svd(np.delete(vectors, i, axis=0)) for i in range(12)])


@pytest.mark.parametrize(("n", "dim"), [(30, 64), (64, 64), (200, 16)])
def test_the_interval_of_the_effective_rank_is_right_below_and_above_the_dimension(n, dim):
    generator = np.random.default_rng(13)
    widths, ranks = [], []
    for i in range(60):
        vectors = unit(population(generator, n, dim))
        estimate = effective_rank(vectors, poisson_weights(make_keys(n, f"width {i}"), 256))
        widths.append(math.log(estimate.high / estimate.low) / (2 * 1.96))
        ranks.append(math.log(estimate.value))
    # the jackknife is conservative, most so where n < dim; 60 samples know the truth to 9 %
    assert 0.85 < np.mean(widths) / np.std(ranks, ddof=1) < 1.5


def test_influences_are_the_slopes_of_the_entropy_in_the_weight_of_each_document():
    n, step = 400, 1e-4
    vectors = unit(population(np.random.default_rng(15), n, 4)).astype(np.float64)
    heavier = effective_rank(vectors, 1 + np.eye(n))
    influences = np.log(heavier.replicates / heavier.value)

    def entropy(weights):
        covariance = np.cov(vectors.T, aweights=weights)
        shares = np.linalg.eigvalsh(covariance / np.trace(covariance))
        return -(shares @ np.log(shares))

    slopes = [(entropy(1 + step * row) - entropy(1 - step * row)) / (2 * step) for row in np.eye(n)]
    # leaving out one of 400 is a step, not a slope: they differ by 1 / n
    assert np.corrcoef(influences, slopes)[0, 1] > 0.999
    assert influences.std() == pytest.approx(np.std(slopes), rel=0.02)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_documents_have_effective_rank_one(n):
    estimate = effective_rank(np.ones((n, 3)) / math.sqrt(3), np.ones((n, 4)))
    assert (estimate.value, estimate.low, estimate.n) == (1, None, n)
    assert "1 by definition" in estimate.note


def test_rounding_noise_is_no_direction():
    rows = np.ones((50, 8)) + 1e-7 * np.random.default_rng(14).standard_normal((50, 8))
    assert rank_of(rows) == 1


@pytest.mark.parametrize(("n", "dim"), [(100, 384), (500, 384), (1024, 384), (1024, 32)])
def test_isotropic_directions_have_pages_effective_rank(n, dim):
    # Page (1993), Average entropy of a subsystem: log m - m / 2n for a random m x n matrix; centring costs one degree
    small, large = min(n - 1, dim), max(n - 1, dim)
    expected = small * math.exp(-small / (2 * large))
    assert isotropic_effective_rank(n, dim, draws=1) == pytest.approx(expected, rel=0.01)


def test_the_isotropic_line_is_what_effective_rank_says_of_isotropic_directions():
    ranks = [rank_of(np.random.default_rng(seed).standard_normal((60, 24))) for seed in range(8)]
    assert isotropic_effective_rank(60, 24, draws=8) == pytest.approx(np.mean(ranks), rel=0.01)
    assert isotropic_effective_rank(1, 24) == 1


def test_the_isotropic_line_is_the_same_every_time_and_takes_a_generator():
    assert isotropic_effective_rank(20, 5) == isotropic_effective_rank(20, 5)
    given_one = [isotropic_effective_rank(20, 5, generator=np.random.default_rng(seed)) for seed in (0, 1)]
    assert given_one[0] == isotropic_effective_rank(20, 5) != given_one[1]
