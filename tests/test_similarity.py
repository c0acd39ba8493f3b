"""Mean cosine, centroid distance and uniformity against loops over pairs; unit vectors, and what has no direction."""

import itertools
import math

import numpy as np
import pytest

from bin_states import make_raw, make_state, naive_vectors
from tolerances import FLOAT32, assert_close
from uncollapse.errors import ModelError
from uncollapse.measures import centroid_distance, mean_cosine, uniformity, unit
from uncollapse.moments import Moments
from uncollapse.resampling import poisson_weights


def test_replicates_are_loops_over_drawn_documents_without_pairs_of_one_document():
    state = make_state(make_raw(12), replicates=8)
    drawn = poisson_weights(state.sample.keys, 8).astype(int)
    vectors = naive_vectors(state)
    for b in range(8):
        multiset = [i for i in range(12) for _ in range(drawn[i, b])]
        pairs = [(i, j) for i, j in itertools.permutations(multiset, 2) if i != j]
        cosine = np.mean([vectors[i] @ vectors[j] for i, j in pairs])
        energy = np.mean([math.exp(-2 * ((vectors[i] - vectors[j]) ** 2).sum()) for i, j in pairs])
        assert_close(mean_cosine(state.moments).replicates[b], cosine, FLOAT32)
        assert_close(centroid_distance(state.moments).replicates[b], math.sqrt(1 - cosine), FLOAT32)
        assert_close(uniformity(*state.head(12)).replicates[b], math.log(energy), FLOAT32)


def test_replicates_of_the_mean_cosine_do_not_lie_above_it():
    n = 50
    estimate = mean_cosine(make_state(np.random.default_rng(9).standard_normal((n, 16)), replicates=256).moments)
    # counting a document drawn twice as a pair of cosine 1 would lift them by 1 / n
    assert abs(estimate.replicates.mean() - estimate.value) < 0.2 / n


def test_isotropic_vectors_have_no_mean_cosine():
    estimate = mean_cosine(make_state(np.random.default_rng(10).standard_normal((2000, 64))).moments)
    assert abs(estimate.value) < 4 * math.sqrt(2 / 64) / 2000
    assert estimate.low < 0 < estimate.high


def test_the_centroid_distance_is_the_mean_cosine_as_a_length():
    moments = make_state(make_raw()).moments
    vectors = np.array(naive_vectors(make_state(make_raw())))
    spread = np.square(vectors - vectors.mean(axis=0)).sum() / 59
    assert_close(centroid_distance(moments).value, math.sqrt(spread))
    assert_close(centroid_distance(moments).value ** 2, 1 - mean_cosine(moments).value)


def test_unit_keeps_directions():
    raw = make_raw(3000).astype(np.float32)
    units = unit(raw)
    assert units.dtype == np.float32
    assert_close(np.linalg.norm(units.astype(np.float64), axis=1), 1, 1e-7)
    assert_close(units * np.linalg.norm(raw, axis=1, keepdims=True), raw, FLOAT32)
    assert_close(unit(units), units, 1e-7)


@pytest.mark.parametrize(("dtype", "least", "most"), [(np.float32, 1e-45, 3e38), (np.float64, 1e-300, 1e300)])
def test_unit_takes_the_smallest_and_largest_vectors(dtype, least, most):
    extremes = np.array([[least, least], [most, most]], dtype)
    assert_close(unit(extremes), math.sqrt(0.5), FLOAT32)


@pytest.mark.parametrize(
    ("value", "what"), [(0, "is all zeros"), (np.nan, "holds NaN or inf"), (np.inf, "holds NaN or inf")]
)
def test_vectors_without_direction_are_refused_by_row(value, what):
    raw = np.ones((2000, 3))
    raw[1500] = value
    with pytest.raises(ModelError, match=rf"row 1500 \(counted from 0\) {what}.*zeros come from empty texts"):
        unit(raw)
    with pytest.raises(ModelError, match="row 11500"):
        unit(raw, first=10_000)


def test_unit_wants_a_matrix():
    with pytest.raises(ModelError, match=r"shape \[texts, dim\], got shape \[3\]"):
        unit(np.ones(3))


@pytest.mark.parametrize("measure", [mean_cosine, centroid_distance])
def test_one_document_makes_no_pair(measure):
    with pytest.raises(ModelError, match=r"2 documents, but the bin holds 0\. Widen"):
        measure(Moments(dim=2))


def test_tiny_bins_have_a_value_and_no_interval():
    estimate = mean_cosine(make_state(make_raw(2)).moments)
    assert estimate.low is None
    assert "bootstrap replicates are undefined" in estimate.note
