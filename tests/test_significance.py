"""Groups are connected components; p-values are never 0, uniform under the null, and those of a naive enumeration."""

import itertools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tolerances import assert_close
from uncollapse.errors import UncollapseError
from uncollapse.evaluation.statistics.intervals import interval
from uncollapse.evaluation.statistics.significance import (
    bootstrap_p,
    detectable,
    effect_size,
    grouped,
    holm,
    numbered_groups,
    randomisation_test,
    standard_error,
    swap_test,
)
from uncollapse.resampling import Estimate


def names(n: int) -> list[str]:
    return [f"q{i}" for i in range(n)]


# --- groups


def naive_groups(links: list[list[int]]) -> set[frozenset[int]]:
    groups = [({i}, set(linked)) for i, linked in enumerate(links)]
    merged = True
    while merged:
        merged = False
        for one, other in itertools.combinations(groups, 2):
            if one[1] & other[1]:
                groups.remove(other)
                one[0].update(other[0])
                one[1].update(other[1])
                merged = True
                break
    return {frozenset(items) for items, _ in groups}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 12), max_size=3), max_size=14))
def test_groups_are_connected_components(links: list[list[int]]) -> None:
    ids = names(len(links))
    groups, note = grouped([[f"d{thing}" for thing in linked] for linked in links], ids)
    wanted = naive_groups(links)
    if max(map(len, wanted), default=0) > max(1, len(links) / 2):
        assert groups == tuple(ids)
        assert note.startswith(f"{max(map(len, wanted))} of {len(links)} queries are linked")
    else:
        found = {frozenset(i for i in range(len(ids)) if groups[i] == name) for name in groups}
        assert (found, note) == (wanted, "")
        for group in found:
            assert {groups[i] for i in group} == {min(ids[i] for i in group)}


def test_things_and_items_of_one_name_are_not_confused() -> None:
    assert grouped([["b"], ["x"], ["y"], ["z"]], ["a", "b", "c", "d"])[0] == ("a", "b", "c", "d")


def test_one_large_component_leaves_every_item_alone_and_says_so() -> None:
    links = [["all"]] * 310 + [[str(i)] for i in range(13)]
    groups, note = grouped(links, names(323), items="pairs", shared="texts")
    assert groups == tuple(names(323))
    assert note == (
        "310 of 323 pairs are linked through shared texts, so they cannot be grouped: "
        "n counts pairs, which are not independent"
    )


def test_half_of_the_items_may_still_be_one_group() -> None:
    assert grouped([["a"], ["a"], ["b"], ["c"]], names(4)) == (("q0", "q0", "q2", "q3"), "")
    assert grouped([["a"]], ["q"]) == (("q",), "")
    assert grouped([], []) == ((), "")


def test_every_item_needs_its_links() -> None:
    with pytest.raises(ValueError, match="shorter"):
        grouped([["a"]], ["q1", "q2"])


def test_numbers_of_groups_do_not_depend_on_order() -> None:
    ids = ["b\0", "\ud800", "b", "a"]
    order, number = numbered_groups(ids)
    assert [order[i] for i in number] == ids
    assert order == numbered_groups(ids[::-1])[0]


# --- flipping signs


def naive_p(differences: np.ndarray, groups: list[str]) -> float:
    labels = sorted(set(groups))
    observed, extreme = abs(differences.mean()), 0
    for signs in itertools.product((-1, 1), repeat=len(labels)):
        sign = dict(zip(labels, signs, strict=True))
        flipped = np.mean([sign[group] * value for group, value in zip(groups, differences, strict=True)])
        extreme += abs(flipped) >= observed - 1e-12
    return extreme / 2 ** len(labels)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 6)), min_size=1, max_size=12))
def test_few_groups_are_enumerated_exactly(lines: list[tuple[int, int]]) -> None:
    differences, groups = np.array([d / 10 for d, _ in lines]), [f"g{g}" for _, g in lines]
    assert_close(randomisation_test(differences, groups), [naive_p(differences, groups)])


def test_exact_p_values_are_those_of_scipy() -> None:
    differences = np.random.default_rng(3).normal(0.5, 1, 11)
    wanted = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert_close(randomisation_test(differences, names(11)), [wanted.pvalue])


def test_random_flips_approach_the_exact_p_value() -> None:
    differences = np.random.default_rng(4).normal(0.4, 1, 13)
    exact = randomisation_test(differences, names(13), resamples=2**13)[0]
    drawn = np.array([randomisation_test(differences, names(13), resamples=4000, seed=seed)[0] for seed in range(8)])
    assert len(set(drawn)) > 1
    assert abs(drawn.mean() - exact) < 4 * np.sqrt(exact * (1 - exact) / 32_000)


def test_p_is_never_zero() -> None:
    assert randomisation_test(np.ones(200), names(200), resamples=99)[0] == 1 / 100
    assert randomisation_test(np.ones(10), names(10))[0] == 2 / 2**10


def test_no_difference_has_p_one() -> None:
    assert randomisation_test(np.zeros((50, 2)), names(50)).tolist() == [1, 1]
    assert randomisation_test(np.array([0.1, -0.1] * 30), names(60)).tolist() == [1]


def test_p_is_uniform_under_the_null() -> None:
    differences = np.random.default_rng(5).standard_normal((40, 1500))
    p_values = randomisation_test(differences, names(40), resamples=999)
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    assert np.mean(p_values <= 0.05) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 1500))


def test_columns_are_tested_alike_whatever_their_scale_sign_and_order() -> None:
    differences = np.random.default_rng(6).normal(0.2, 1, (30, 3)).round(1)
    p_values = randomisation_test(differences, names(30))
    for column in range(3):
        assert randomisation_test(differences[:, column], names(30)) == p_values[column]
    assert np.array_equal(randomisation_test(differences * -1e-9, names(30)), p_values)
    assert np.array_equal(randomisation_test(differences[::-1], names(30)[::-1]), p_values)


def test_groups_flip_together() -> None:
    """Copies of an item in its group tell nothing new; as items of their own they would."""
    differences = np.linspace(-0.6, 1.0, 25)
    once = randomisation_test(differences, names(25))
    assert np.array_equal(randomisation_test(np.repeat(differences, 3), np.repeat(names(25), 3).tolist()), once)
    assert randomisation_test(np.repeat(differences, 3), names(75)) < once / 2


@pytest.mark.parametrize(("n", "resamples", "tolerance"), [(30, 5000, 0.03), (10, 2000, 0)])
def test_blocks_change_nothing_but_the_draw(
    n: int, resamples: int, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    differences = np.random.default_rng(8).normal(0.1, 1, n)
    whole = randomisation_test(differences, names(n), resamples=resamples)
    monkeypatch.setattr("uncollapse.evaluation.statistics.significance.HELD", 64 * n + 1)
    assert abs(randomisation_test(differences, names(n), resamples=resamples) - whole) <= tolerance


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    differences = np.array([0.1, 0.2, bad, bad])
    with pytest.raises(
        UncollapseError, match=r"must be finite, but 2 of 4 are NaN or infinite; the first is item 2 .* leave them out"
    ):
        randomisation_test(differences, names(4))
    with pytest.raises(UncollapseError, match=r"Values of the gold scores must be finite, but 2 of 4"):
        swap_test(np.arange(4.0), np.arange(4.0), gold=differences, groups=names(4))


def test_a_test_needs_resamples() -> None:
    with pytest.raises(UncollapseError, match=r"at least one resample, got 0\. 10,000 serve most"):
        randomisation_test(np.ones(3), names(3), resamples=0)


def test_ten_thousand_flips_of_ten_thousand_items_are_quick_and_small() -> None:
    differences = np.random.default_rng(9).normal(0.01, 1, 10_000)
    started = time.perf_counter()
    tracemalloc.start()
    randomisation_test(differences, names(10_000), resamples=10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - started < 30
    assert peak < 200e6


# --- swapping ranks


def naive_swap_p(a: np.ndarray, b: np.ndarray, gold: np.ndarray, groups: list[str]) -> float:
    ranks_a, ranks_b, truth = stats.rankdata(a), stats.rankdata(b), stats.rankdata(gold)
    labels, extreme = sorted(set(groups)), 0
    observed = abs(stats.spearmanr(a, gold).statistic - stats.spearmanr(b, gold).statistic)
    for swaps in itertools.product((False, True), repeat=len(labels)):
        swap = np.array([dict(zip(labels, swaps, strict=True))[group] for group in groups])
        one, other = np.where(swap, ranks_b, ranks_a), np.where(swap, ranks_a, ranks_b)
        gap = np.corrcoef(one, truth)[0, 1] - np.corrcoef(other, truth)[0, 1]
        extreme += abs(gap) >= observed - 1e-10
    return extreme / 2 ** len(labels)


@pytest.mark.parametrize("seed", range(6))
def test_swaps_are_enumerated_exactly(seed: int) -> None:
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, 5, 10).astype(float)
    a, b = gold + generator.normal(0, 1, 10), (gold + generator.normal(0, 3, 10)).round()
    groups = [f"g{min(i, 7)}" for i in range(10)]
    assert_close(swap_test(a, b, gold=gold, groups=groups), naive_swap_p(a, b, gold, groups))


def test_only_ranks_count() -> None:
    generator = np.random.default_rng(1)
    gold, a, b = generator.standard_normal((3, 60))
    p = swap_test(a + gold, b + gold, gold=gold, groups=names(60))
    assert swap_test(np.exp(a + gold), 5 * (b + gold) - 3, gold=gold**3, groups=names(60)) == p
    assert swap_test(b + gold, a + gold, gold=gold, groups=names(60)) == p
    assert swap_test(np.exp(a), a, gold=gold, groups=names(60)) == 1


def test_a_much_better_system_is_seen() -> None:
    generator = np.random.default_rng(2)
    gold, noise = generator.standard_normal((2, 80))
    assert swap_test(gold + noise / 9, noise, gold=gold, groups=names(80), resamples=999) == 1 / 1000


def test_swaps_of_equal_systems_give_uniform_p_values() -> None:
    generator = np.random.default_rng(3)
    p_values = []
    for _ in range(300):
        gold, a, b = generator.standard_normal((3, 25))
        p_values.append(swap_test(a + gold, b + gold, gold=gold, groups=names(25), resamples=199))
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("place", range(3))
def test_ranks_of_a_constant_are_refused(place: int) -> None:
    columns = [np.arange(5.0), np.arange(5.0) ** 2, np.arange(5.0)]
    columns[place] = np.ones(5)
    which = ("the first scores", "the second scores", "the gold scores")[place]
    with pytest.raises(UncollapseError, match=f"needs values that differ, but {which} are all equal. Drop it."):
        swap_test(columns[0], columns[1], gold=columns[2], groups=names(5))


# --- the bootstrap's own p-value


@settings(max_examples=60, deadline=None)
@given(st.floats(-3, 3), st.integers(10, 200), st.integers(0, 10_000))
def test_p_agrees_with_the_interval(shift: float, n: int, seed: int) -> None:
    draws = np.random.default_rng(seed).standard_normal(999) + shift
    found = interval(shift, draws, n=n)
    p = bootstrap_p(found)
    assert found.low is not None
    assert p is not None
    assert 0 < p <= 1
    if min(abs(found.low), abs(found.high)) > 0.05:  # not so near that one draw decides
        assert (p <= 0.05) == (found.low > 0 or found.high < 0)


def test_p_is_twice_the_smaller_share_for_many_groups() -> None:
    draws = np.arange(-30.0, 970.0) + 0.5
    p = bootstrap_p(Estimate.of(450.0, draws, n=10**8))
    assert_close(p, 2 * 31 / 1001, 1e-6)
    assert_close(bootstrap_p(Estimate.of(-450.0, -draws, n=10**8)), 2 * 31 / 1001, 1e-6)
    assert_close(bootstrap_p(Estimate.of(0.0, draws - 470, n=10**8)), 1, 1e-6)


def test_p_follows_t_at_small_n() -> None:
    draws = stats.norm.ppf((np.arange(9999) + 0.5) / 9999) + 2.0
    wanted = 2 * stats.t.sf(2.0 * np.sqrt(11 / 12), 11)
    assert bootstrap_p(Estimate.of(2.0, draws, n=12)) == pytest.approx(wanted, rel=0.01)


def test_without_an_interval_there_is_no_p() -> None:
    assert bootstrap_p(Estimate.of(1.0, np.full(100, np.nan), n=50)) is None
    assert bootstrap_p(interval(1.0, np.empty(0), n=9)) is None


# --- many comparisons


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12), st.randoms())
def test_holm_is_its_definition(p_values: list[float], random: object) -> None:
    m, wanted, so_far = len(p_values), {}, 0.0
    for k, place in enumerate(sorted(range(m), key=p_values.__getitem__)):
        so_far = max(so_far, (m - k) * p_values[place])
        wanted[place] = min(1.0, so_far)
    adjusted = holm(p_values)
    assert adjusted.tolist() == [wanted[place] for place in range(m)]
    assert (adjusted >= p_values).all()
    order = list(range(m))
    random.shuffle(order)
    assert np.array_equal(holm([p_values[i] for i in order]), adjusted[order])


def test_holm_of_the_textbook() -> None:
    assert_close(holm([0.01, 0.02, 0.03, 0.005]), [0.03, 0.04, 0.04, 0.02])


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_impossible_p_values_are_refused(bad: float) -> None:
    with pytest.raises(UncollapseError, match=r"P-values must lie in \[0, 1\], got .* Leave out what was not tested"):
        holm([0.5, bad])


# --- size and sensitivity


def test_single_items_have_the_ordinary_standard_error() -> None:
    differences = np.random.default_rng(0).normal(0.3, 2, 50)
    assert_close(standard_error(differences, names(50)), differences.std(ddof=1) / np.sqrt(50))
    assert_close(effect_size(differences, names(50)), differences.mean() / differences.std(ddof=1))


def test_the_standard_error_of_groups_is_that_of_repeated_draws() -> None:
    generator = np.random.default_rng(1)
    sizes = generator.integers(1, 6, 60)
    group = np.repeat(np.arange(60), sizes)
    means, errors = [], []
    for _ in range(600):
        differences = generator.standard_normal(60)[group] + 0.5 * generator.standard_normal(len(group))
        means.append(differences.mean())
        errors.append(standard_error(differences, [f"g{g}" for g in group]))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)


def test_copies_of_an_item_change_neither_error_nor_effect() -> None:
    differences = np.random.default_rng(2).normal(0.3, 1, 30)
    copies, groups = np.repeat(differences, 4), np.repeat(names(30), 4).tolist()
    assert_close(standard_error(copies, groups), standard_error(differences, names(30)))
    assert_close(effect_size(copies, groups), effect_size(differences, names(30)))


@pytest.mark.parametrize("differences", [np.zeros(5), np.full(5, 0.1), np.array([0.7])])
def test_what_does_not_vary_has_no_effect_size(differences: np.ndarray) -> None:
    groups = names(len(differences))
    assert standard_error(differences, groups) == 0
    assert effect_size(differences, groups) is None
    assert detectable(0.0, n=5) is None
    assert detectable(0.1, n=1) is None


@pytest.mark.parametrize("n", [12, 40, 200])
def test_the_detectable_difference_is_seen_four_times_in_five(n: int) -> None:
    true = detectable(1 / np.sqrt(n), n=n)
    draws = np.random.default_rng(n).standard_normal((4000, n)) + true
    assert np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05) == pytest.approx(0.8, abs=0.03)
    assert true * np.sqrt(n) == pytest.approx(2.8, abs=0.4)


def test_a_bootstrap_p_value_can_survive_a_correction_for_many() -> None:
    """A floor of 2 / (replicates + 1) would say "nothing is sure" of any data once enough is compared."""
    draws = np.random.default_rng(0).normal(1.0, 0.1, 1000)
    p = bootstrap_p(Estimate.of(1.0, draws, n=500))
    assert 0 < p < 1e-10
    assert holm([p] + [0.5] * 34)[0] < 0.05


def test_beyond_the_replicates_a_larger_difference_never_has_a_larger_p_value() -> None:
    draws = np.random.default_rng(1).normal(0.0, 0.1, 1000)
    ps = [bootstrap_p(Estimate.of(shift, draws + shift, n=200)) for shift in np.linspace(0.2, 6.0, 30)]
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(ps))
    assert ps[-1] > 0
