"""Means of items that share things: how alike they are, and intervals that hold the truth as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.statistics.linked import TAKEN_SINGLY, alikeness, noted_linked, overlaps, widened
from uncollapse.evaluation.statistics.scores import gain, score
from uncollapse.records import Row
from uncollapse.resampling import Estimate


def clusters(groups, size):
    return overlaps([[str(group)] for group in range(groups) for _ in range(size)])


def chain(n=120, each=4, width=60, seed=0):
    """Queries with a few documents each out of few, so that nearly all hang together."""
    rng = np.random.default_rng(seed)
    return [[str(d) for d in rng.choice(width, each, replace=False)] for _ in range(n)]


def sheet(values, shared, groups=None):
    n, names = len(values), tuple(f"q{i}" for i in range(len(values)))
    return Sheet("queries", names, groups or names, np.full(n, 9), None, {"ndcg@10": values}, shared=shared)


@given(st.integers(0, 10**6), st.integers(3, 12), st.integers(2, 5))
def test_of_equal_clusters_it_is_the_intraclass_correlation_of_the_analysis_of_variance(seed, groups, size):
    values = np.random.default_rng(seed).normal(size=(groups, size))
    between = size * values.mean(axis=1).var(ddof=1)
    within = values.var(axis=1, ddof=1).mean()
    found = alikeness(values.ravel(), clusters(groups, size))
    assert found.rho == pytest.approx((between - within) / (between + (size - 1) * within), abs=1e-9)
    assert found.neighbours == pytest.approx(size - 1)


@given(st.integers(0, 10**6))
def test_the_order_of_items_their_unit_and_their_origin_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    links, values = chain(20, 3, 15, seed), rng.normal(size=20)
    order = rng.permutation(20)
    found, moved = (
        alikeness(values, overlaps(links)), alikeness(3 - 7 * values[order], overlaps([links[i] for i in order])),
    )  # fmt: skip
    assert (moved.rho, moved.error, moved.neighbours) == pytest.approx((found.rho, found.error, found.neighbours))


def test_the_formula_is_that_of_the_full_matrices():
    links, values = chain(15, 2, 12, 3), np.random.default_rng(4).normal(size=15)
    rows = overlaps(links).toarray()
    kernel = rows @ rows.T - np.eye(15)
    shift = np.eye(15) - 1 / 15
    traces = np.array([[np.trace(shift), np.trace(shift @ kernel)],
                       [np.trace(shift @ kernel), np.trace(shift @ kernel @ shift @ kernel)]])  # fmt: skip
    rest = shift @ values
    variance, covariance = np.linalg.solve(traces, [rest @ rest, rest @ kernel @ rest])
    assert alikeness(values, overlaps(links)).rho == pytest.approx(covariance / variance)


def test_both_ways_to_sum_the_squares_of_overlaps_agree():
    many_things, many_items = chain(8, 40, 50), chain(200, 2, 6)
    for links in (many_things, many_items):
        rows, values = overlaps(links), np.random.default_rng(0).normal(size=len(links))
        kernel = (rows @ rows.T).toarray() - np.eye(len(links))
        n, one = len(links), kernel.sum(axis=1)
        trace = -one.sum() / n
        squares = (kernel**2).sum() - 2 * one @ one / n + trace**2
        assert alikeness(values, rows).error == pytest.approx(np.sqrt(2 / (squares - trace**2 / (n - 1))))


def test_items_that_share_nothing_are_independent_and_those_that_share_all_are_worth_one():
    values = np.random.default_rng(0).normal(size=30)
    assert alikeness(values, overlaps([[str(i)] for i in range(30)])).wider == 1
    same = alikeness(values, overlaps([["all"]] * 30))
    assert np.isnan(same.rho)
    assert same.wider == pytest.approx(np.sqrt(30))


def test_nothing_is_known_of_values_that_do_not_vary():
    assert np.isnan(alikeness(np.full(20, 0.3), clusters(10, 2)).rho)


def planted(seed, rho, links):
    """Differences with a part of its own and a part of the documents of each item."""
    rng = np.random.default_rng(seed)
    rows = overlaps(links)
    return np.sqrt(rho) * (rows @ rng.normal(size=rows.shape[1])) + np.sqrt(1 - rho) * rng.normal(size=len(links))


def test_intervals_hold_the_truth_where_items_are_alike_and_where_they_are_not():
    links = chain()
    rows, before = overlaps(links), np.zeros(120)
    held = {}
    for rho in (0.0, 0.5):
        for name, shared in (("singly", None), ("shared", rows)):
            found = [
                gain(
                    sheet(before, shared),
                    sheet(planted(seed, rho, links), shared),
                    "ndcg@10",
                    replicates=200,
                    resamples=20,
                )
                for seed in range(150)
            ]
            held[name, rho] = np.mean([one.estimate.low <= 0 <= one.estimate.high for one in found])
    assert held["singly", 0.5] < 0.85
    assert held["shared", 0.5] > 0.89
    assert held["shared", 0.0] >= held["singly", 0.0] > 0.89


def test_interval_p_and_what_is_detectable_are_widened_alike():
    links = chain()
    values, rows = planted(3, 0.6, links) + 0.3, overlaps(links)
    plain, wide = (gain(sheet(np.zeros(120), shared), sheet(values, shared), "ndcg@10") for shared in (None, rows))
    assert wide.wider == pytest.approx(alikeness(values, rows).wider)
    assert wide.wider > 1.2
    assert wide.estimate.high - wide.estimate.low == pytest.approx(
        wide.wider * (plain.estimate.high - plain.estimate.low)
    )
    assert wide.p >= plain.p
    assert wide.detectable == pytest.approx(wide.wider * plain.detectable)
    assert f"interval {wide.wider:.2f} times as wide as for independent queries" in wide.estimate.note
    assert (wide.effect, plain.wider) == (plain.effect, 1)


def test_the_p_of_linked_items_has_power_where_there_is_an_effect_and_its_size_where_there_is_none():
    """No effect is called one in some 5 % at most, `detectable` is found in some 80 %, a huge one always."""
    links, trials = chain(), 200
    rows, before = overlaps(links), np.zeros(120)

    def share(effect):
        found = [
            gain(sheet(before, rows), sheet(planted(seed, 0.3, links) + effect, rows), "ndcg@10", replicates=64)
            for seed in range(trials)
        ]
        return np.mean([one.p < 0.05 for one in found]), np.mean([one.detectable for one in found]), found

    none, least, _ = share(0.0)
    some, _, _ = share(least)
    _, _, huge = share(5.0)
    assert none < 0.09
    assert 0.7 < some < 0.95
    assert max(one.p for one in huge) < 0.001


def test_a_score_is_widened_within_its_bounds():
    values = np.random.default_rng(0).beta(0.2, 4, 120)
    found = score(sheet(values, overlaps(chain())), "ndcg@10")
    assert 0 <= found.low < found.value < found.high <= 1
    assert "times as wide" in found.note
    wide = widened(Estimate(0.9, np.empty(0), 0.8, 0.95, 90), 2.9, what="queries", bounds=(0, 1))
    assert (wide.low, wide.high) == (pytest.approx(0.61), 1)


def test_where_too_little_is_left_nothing_is_told():
    rows = overlaps([["all"]] * 40)
    rng = np.random.default_rng(0)
    found = gain(sheet(np.zeros(40), rows), sheet(rng.normal(size=40), rows), "ndcg@10")
    assert (found.estimate.low, found.p, found.detectable) == (None, None, None)
    assert "no interval: 40 queries that share so much may be worth" in found.estimate.note
    same = gain(sheet(np.zeros(40), rows), sheet(np.zeros(40), rows), "ndcg@10")
    assert (same.estimate.low, same.estimate.note) == (0, "nothing changed")


def test_lines_of_one_query_count_as_one():
    """A line for every relevant document: what its query shares is what counts, once."""
    links = chain(40, 3, 30)
    rows, values = overlaps(links), np.random.default_rng(0).random(40)
    names = tuple(f"g{i:02}" for i in range(40))
    twice = Sheet("lines", tuple(map(str, range(80))), names * 2, np.full(80, 9), None,
                  {"ndcg@10": np.tile(values, 2)}, shared=rows[np.tile(np.arange(40), 2)])  # fmt: skip
    once = replace_groups(sheet(values, rows), names)
    a, b = (score(one, "ndcg@10", replicates=200) for one in (once, twice))
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


def replace_groups(one, names):
    return Sheet(one.items, one.ids, names, one.n_tokens, None, one.columns, shared=one.shared)


def test_some_lines_of_a_sheet_keep_what_they_share():
    rows = overlaps(chain(12, 2, 9))
    some = sheet(np.arange(12.0), rows).take(np.array([3, 1]))
    assert (some.shared.toarray() == rows.toarray()[[3, 1]]).all()


def test_the_note_of_a_row_says_whether_its_interval_allows_for_it():
    plain = noted_linked(Row("spearman", 0.5, 0.4, 0.6, 99, note="odd"), "pairs").note
    assert plain == f"odd; {TAKEN_SINGLY.format('pairs')}; the interval takes them as independent"
    wide = widened(Estimate(0.5, np.empty(0), 0.4, 0.6, 99), 1.5, what="queries", bounds=(0, 1))
    assert "independent;" not in noted_linked(Row("a", 0.5, wide.low, wide.high, 99, note=wide.note), "queries").note
    assert noted_linked(Row("a", 0.5, None, None, 9), "pairs").note == TAKEN_SINGLY.format("pairs")
