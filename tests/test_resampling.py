"""Bootstrap weights are Poisson, independent and fixed by the document; estimates stay paired or say why not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tolerances import assert_close
from uncollapse.errors import UncollapseError
from uncollapse.resampling import (
    Estimate,
    difference,
    document_keys,
    poisson_weights,
    ratio,
    sampling_order,
)

KEYS = document_keys([f"doc {i}" for i in range(20_000)])


@pytest.fixture(scope="module")
def weights():
    return poisson_weights(KEYS, 64)


def chi_square_p(counts, probabilities):
    return stats.chisquare(counts, probabilities * counts.sum()).pvalue


def independence_p(a, b):
    """Of the joint table of two columns of counts, large counts pooled."""
    table = np.zeros((5, 5))
    np.add.at(table, (np.minimum(a, 4).astype(int), np.minimum(b, 4).astype(int)), 1)
    return stats.chi2_contingency(table).pvalue


# --- keys


def test_keys_are_blake2b_of_the_id():
    # printf a | b2sum -l 64
    digests = {"": "e4a6a0577479b2b4", "a": "40f89e395b66422f", "Ünïcødé 🙂": "ec21f6d2f276f557"}
    expected = [int.from_bytes(bytes.fromhex(digest), "little") for digest in digests.values()]
    assert document_keys(list(digests)).tolist() == expected


def test_keys_take_lone_surrogates_and_no_ids():
    assert len(set(document_keys(["\ud800", "\udfff", "a"]).tolist())) == 3
    assert document_keys([]).shape == (0,)


# --- weights


def test_every_lane_value_has_its_poisson_share_with_mean_and_variance_exactly_one():
    from uncollapse import resampling

    table = resampling._COUNTS
    assert len(table) == 65536
    assert table.sum() == 65536
    assert (table**2).sum() == 2 * 65536
    shares = np.bincount(table.astype(int)) / 65536
    # 16-bit lanes are good for 1/65536, and exact moments cost a few of those
    assert abs(shares - stats.poisson(1).pmf(np.arange(9))).max() < 1.5 / 65536


def test_weights_follow_the_poisson_distribution(weights):
    counts = np.bincount(weights.astype(int).ravel(), minlength=9)
    pooled = np.append(counts[:6], counts[6:].sum())
    probabilities = np.append(stats.poisson(1).pmf(np.arange(6)), stats.poisson(1).sf(5))
    assert chi_square_p(pooled, probabilities) > 1e-3
    assert abs(weights.mean() - 1) < 4 / math.sqrt(weights.size)
    assert abs(weights.var() - 1) < 4 * math.sqrt(3 / weights.size)


def test_replicates_are_independent(weights):
    correlations = np.corrcoef(weights.T)[np.triu_indices(64, 1)]
    assert abs(correlations).max() < 5 / math.sqrt(len(weights))
    assert stats.kstest(correlations * math.sqrt(len(weights)), "norm").pvalue > 1e-3
    # lanes of one 64-bit word, and the same lane of neighbouring words
    p_values = [independence_p(weights[:, i], weights[:, j]) for i in range(8) for j in range(i)]
    assert min(p_values) > 1e-3 / len(p_values)


def test_documents_are_independent(weights):
    sums = weights.sum(axis=1)
    assert stats.kstest(stats.poisson(64).cdf(sums) - stats.poisson(64).pmf(sums) / 2, "uniform").statistic < 0.04
    assert independence_p(weights[:-1].ravel(), weights[1:].ravel()) > 1e-3


def test_keys_that_are_near_each_other_get_unrelated_weights():
    near = poisson_weights(np.arange(20_000, dtype=np.uint64), 8)
    assert independence_p(near[:-1].ravel(), near[1:].ravel()) > 1e-3
    assert abs(near.mean() - 1) < 4 / math.sqrt(near.size)


def test_seeds_are_independent(weights):
    for seed in (1, 2**63, -1):
        other = poisson_weights(KEYS, 64, seed=seed)
        assert independence_p(weights.ravel(), other.ravel()) > 1e-3


def test_weights_do_not_depend_on_the_place_in_line(weights):
    order = np.argsort(sampling_order(KEYS))
    first = weights[order[:2000]]
    assert abs(first.mean() - 1) < 4 / math.sqrt(first.size)
    assert abs(first.var() - 1) < 4 * math.sqrt(3 / first.size)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 1500))
def test_order_and_chunks_change_nothing(shuffle, cut):
    order = np.random.default_rng(shuffle).permutation(1500)
    whole = poisson_weights(KEYS[:1500], 8, seed=3)
    parts = [poisson_weights(KEYS[order[:cut]], 8, seed=3), poisson_weights(KEYS[order[cut:]], 8, seed=3)]
    assert np.array_equal(np.concatenate(parts), whole[order])


def test_more_replicates_begin_with_the_fewer():
    assert np.array_equal(poisson_weights(KEYS[:100], 64)[:, :12], poisson_weights(KEYS[:100], 12))


@pytest.mark.parametrize("replicates", [0, -4, 6])
def test_replicates_must_be_a_multiple_of_four(replicates):
    with pytest.raises(UncollapseError, match=rf"positive multiple of 4, got {replicates}\. 256 serve most reports"):
        poisson_weights(KEYS[:1], replicates)


def test_every_bit_of_a_key_moves_half_of_the_bits_of_its_place():
    keys = KEYS[:4000]
    for bit in range(64):
        flipped = sampling_order(keys) ^ sampling_order(keys ^ np.uint64(1 << bit))
        moved = np.unpackbits(flipped.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
        assert abs(moved - 0.5).max() < 6 * 0.5 / math.sqrt(4000)


def test_the_place_in_line_is_uniform_and_one_to_one():
    places = sampling_order(np.arange(100_000, dtype=np.uint64))
    assert len(np.unique(places)) == len(places)
    assert stats.kstest(places / 2**64, "uniform").pvalue > 1e-3
    assert not np.array_equal(places, sampling_order(np.arange(100_000, dtype=np.uint64), seed=1))


def test_the_standard_error_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).exponential(size=400)
    weights = poisson_weights(KEYS[:400], 2048).astype(float)
    means = weights.T @ values / weights.sum(axis=0)
    assert means.std() == pytest.approx(values.std() / 20, rel=0.06)  # 2048 replicates: about 1.6 % noise


# --- estimates


def test_the_interval_of_exchangeable_replicates_has_its_level():
    draws = np.random.default_rng(1).standard_normal((4000, 65))
    held = [e.low <= row[0] <= e.high for row in draws for e in [Estimate.of(row[0], row[1:], n=9, level=0.9)]]
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)


def test_few_undefined_replicates_are_left_out():
    replicates = np.arange(100.0)
    replicates[[3, 50]] = np.nan, np.inf
    estimate = Estimate.of(1.0, replicates, n=4)
    rest = Estimate.of(1.0, replicates[np.isfinite(replicates)], n=4)
    assert (estimate.low, estimate.high, estimate.note) == (rest.low, rest.high, "")
    assert len(estimate.replicates) == 100


def test_many_undefined_replicates_leave_no_interval():
    replicates = np.append(np.arange(94.0), [np.nan] * 6)
    estimate = Estimate.of(1.0, replicates, n=4)
    assert (estimate.low, estimate.high) == (None, None)
    assert estimate.note == "no interval: 6 of 100 bootstrap replicates are undefined"
    assert Estimate.of(1.0, np.empty(0), n=4).low is None


@pytest.mark.parametrize(("count", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (3, 7), (999, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_shares_have_wilsons_interval(count, n, level):
    estimate = Estimate.of_share(count, n, level=level)
    expected = stats.binomtest(count, n).proportion_ci(level, method="wilson")
    assert_close([estimate.low, estimate.high], [expected.low, expected.high])
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_shares_of_nothing_and_all_touch_the_ends():
    assert {Estimate.of_share(0, n).low for n in range(1, 300)} == {0}
    assert {Estimate.of_share(n, n).high for n in range(1, 300)} == {1}


@pytest.mark.parametrize(("count", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_impossible_shares_are_refused(count, n):
    with pytest.raises(UncollapseError, match=f"0 <= count <= n and n >= 1, got count={count}, n={n}"):
        Estimate.of_share(count, n)


def estimate_of(seed, shift=0.0, n=9):
    draws = np.random.default_rng(seed).standard_normal(64) + shift
    return Estimate.of(shift, draws, n=n)


def test_difference_and_ratio_are_taken_replicate_by_replicate():
    a, b = estimate_of(0, 10, n=7), estimate_of(1, 20)
    assert np.array_equal(difference(a, b).replicates, a.replicates - b.replicates)
    assert np.array_equal(ratio(a, b).replicates, a.replicates / b.replicates)
    assert (difference(a, b).value, ratio(a, b).value) == (-10, 0.5)
    assert difference(a, b).n == ratio(b, a).n == 7
    assert ratio(a, b).low < 0.5 < ratio(a, b).high


def test_an_estimate_differs_from_itself_by_exactly_nothing():
    a = estimate_of(0, 10)
    assert (difference(a, a).value, difference(a, a).low, difference(a, a).high) == (0, 0, 0)
    assert (ratio(a, a).value, ratio(a, a).low, ratio(a, a).high) == (1, 1, 1)


def test_a_level_can_be_asked_for():
    a, b = estimate_of(0, 10), estimate_of(1, 20)
    for combine in (difference, ratio):
        assert combine(a, b, level=0.5).low > combine(a, b).low


def test_a_ratio_to_what_may_be_zero_has_no_interval():
    unsure, zero = estimate_of(1, 0.1), Estimate.of(0.0, np.zeros(64), n=9)
    quotient = ratio(estimate_of(0, 10), unsure)
    assert quotient.value == pytest.approx(100)
    assert (quotient.low, quotient.high, quotient.note) == (
        None,
        None,
        "no interval: the denominator may be zero",
    )
    assert math.isnan(ratio(unsure, zero).value)
    assert "the denominator may be zero" in ratio(unsure, zero).note


def test_a_ratio_to_a_negative_number_has_an_interval():
    assert ratio(estimate_of(0, 10), estimate_of(1, -20)).high < 0


def test_without_replicates_on_one_side_there_is_no_interval():
    share = Estimate.of_share(5, 9)
    gap = difference(share, estimate_of(0))
    assert (gap.low, gap.high, gap.note) == (None, None, "no interval: one side has no bootstrap replicates")
    without = Estimate.of(1.0, np.full(64, np.nan), n=2)
    assert ratio(estimate_of(0), without).note.endswith("the denominator has no interval")


def test_notes_of_both_sides_are_kept_once():
    a, b = estimate_of(0).noted("few"), estimate_of(1).noted("few").noted("old")
    assert difference(a, b).note == "few; old"


def test_unequal_replicates_are_refused():
    with pytest.raises(UncollapseError, match=r"equally many, got 64 and 3\. Compute both with the same `replicates`"):
        difference(estimate_of(0), Estimate.of(0.0, np.zeros(3), n=3))


def test_an_estimate_prints_what_it_is():
    assert repr(Estimate.of(1.0, np.empty(0), n=2)).startswith("Estimate(1 [no interval], n=2, note='no interval")
