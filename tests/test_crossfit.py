"""Choosing on some queries and scoring on others: unbiased where nothing helps, and halving that loses nothing."""

import numpy as np
import pytest

from uncollapse.evaluation.statistics.significance import randomisation_test
from uncollapse.tuning.crossfit import crossfit, pick_best, pick_mildest, split_groups
from uncollapse.tuning.halving import halve, surely_below
from uncollapse.tuning.relabelling import judge_gains as worth_of

DIALS, QUERIES = 20, 100


def draws(seed: int, *, planted: float = 0.0) -> dict[str, np.ndarray]:
    """Twenty dials of noise, of which the last may be better."""
    rng = np.random.default_rng(seed)
    scores = {f"dial {i:02}": rng.normal(0, 0.2, QUERIES) for i in range(DIALS)}
    scores["dial 19"] = scores["dial 19"] + planted
    return scores


def singly(n: int) -> list[str]:
    return [f"q{i:03}" for i in range(n)]


def test_where_nothing_helps_the_best_of_twenty_dials_gains_nothing_on_other_queries() -> None:
    fitted, naive = [], []
    for seed in range(200):
        scores = draws(seed)
        found = crossfit(scores, singly(QUERIES), folds=5, repeats=4, seed=seed)
        fitted.append(found.scores.mean())
        naive.append(max(one.mean() for one in scores.values()))
    error = np.std(fitted) / np.sqrt(len(fitted))
    assert abs(np.mean(fitted)) < 3 * error
    assert np.mean(naive) > 0.03, "the largest of twenty means of noise"
    assert np.mean(naive) > 15 * error


def test_the_test_of_a_crossfitted_gain_keeps_its_level_and_the_plain_one_would_not() -> None:
    """Of 200 races of noise about 5 % are called significant: at most 11 %, four standard errors above."""
    names, every = singly(QUERIES), [np.ones(QUERIES, bool)]
    p, plain, covered = [], [], []
    for seed in range(200):
        scores = draws(1000 + seed)
        (found,) = worth_of(scores, names, every, splits=(5, 4), resamples=199, seed=seed)
        fitted = crossfit(scores, names, folds=5, repeats=4, seed=seed).scores
        p.append(found.p)
        plain.append(float(randomisation_test(fitted, names, resamples=199, seed=seed)[0]))
        covered.append(abs(fitted.mean()) < 1.96 * found.error)
    assert np.mean(np.array(p) <= 0.05) <= 0.11
    assert np.mean(np.array(plain) <= 0.05) > 0.11
    assert np.mean(covered) > 0.89


def test_the_test_sees_a_dial_that_helps() -> None:
    names, every = singly(QUERIES), [np.ones(QUERIES, bool)]
    (found,) = worth_of(draws(0, planted=0.2), names, every, splits=(5, 4), resamples=199, seed=0)
    assert found.p == 1 / 200


def test_a_dial_that_is_surely_bad_does_not_widen_the_error_of_the_others() -> None:
    rng = np.random.default_rng(0)
    good, awful = rng.normal(0.05, 0.1, QUERIES), rng.normal(-0.5, 1.0, QUERIES)
    names, every = singly(QUERIES), [np.ones(QUERIES, bool)]
    (alone,) = worth_of({"good": good}, names, every, splits=(5, 3), resamples=1000, seed=0)
    (beside,) = worth_of({"good": good, "awful": awful}, names, every, splits=(5, 3), resamples=1000, seed=0)
    assert beside.error == pytest.approx(alone.error, rel=0.05)


def test_relabelling_agrees_with_cross_fitting_one_by_one() -> None:
    """Groups of several queries, two strata: the observed gain and its p, from `crossfit` itself."""
    rng = np.random.default_rng(1)
    gains = {name: rng.normal(0.03, 0.2, 60) for name in "abc"}
    groups, half = [f"g{i // 3:02}" for i in range(60)], np.arange(60) < 25
    found = worth_of(gains, groups, [np.ones(60, bool), half], splits=(4, 2), resamples=300, seed=5)
    signs = 1 - 2 * np.random.default_rng(5).integers(0, 2, (300, 20))
    observed, moved = (
        [crossfit(flipped, groups, folds=4, repeats=2, seed=5).scores for flipped in some]
        for some in (
            [gains],
            [{name: one * sign[np.arange(60) // 3] for name, one in gains.items()} for sign in signs],
        )
    )
    for worth, stratum in zip(found, (slice(None), half), strict=True):
        reached = sum(abs(one[stratum].mean()) >= abs(observed[0][stratum].mean()) - 1e-12 for one in moved)
        assert worth.p == pytest.approx((1 + reached) / 301)


def test_with_one_dial_it_is_the_plain_test() -> None:
    differences = np.random.default_rng(0).normal(0.05, 0.2, QUERIES)
    names, half = singly(QUERIES), np.arange(QUERIES) < 50
    whole, part = worth_of(
        {"only": differences}, names, [np.ones(QUERIES, bool), half], splits=(5, 3), resamples=4000, seed=0
    )
    for found, some in ((whole, differences), (part, differences[half])):
        plain = float(randomisation_test(some, names[: len(some)], resamples=4000, seed=1)[0])
        assert found.p == pytest.approx(plain, abs=0.03)
        assert found.error == pytest.approx(some.std() / np.sqrt(len(some)), rel=0.06)


def test_a_dial_that_helps_is_found_and_its_gain_is_kept() -> None:
    found = crossfit(draws(0, planted=0.3), singly(QUERIES), folds=5, repeats=4, seed=0)
    assert found.chosen["dial 19"] == 1
    assert found.scores == pytest.approx(draws(0, planted=0.3)["dial 19"])


def test_groups_stay_in_one_part() -> None:
    groups = [f"g{i // 3}" for i in range(60)]
    parts = split_groups(groups, 5, seed=1)
    assert all(len({parts[i] for i in range(60) if groups[i] == name}) == 1 for name in set(groups))
    assert np.bincount(parts).tolist() == [12] * 5


def test_splits_follow_names_and_seed_and_not_the_order() -> None:
    names = singly(30)
    parts = dict(zip(names, split_groups(names, 5, seed=3), strict=True))
    again = dict(zip(names[::-1], split_groups(names[::-1], 5, seed=3), strict=True))
    assert parts == again
    assert parts != dict(zip(names, split_groups(names, 5, seed=4), strict=True))


def test_of_equal_dials_the_mildest_is_taken() -> None:
    same = np.linspace(0, 1, 50)
    assert pick_best({"mild": same, "strong": same.copy()}) == "mild"
    assert pick_mildest({"mild": same, "strong": same.copy()}) == "mild"
    assert pick_mildest({"mild": same, "strong": same + 0.1}) == "strong"
    found = crossfit({"mild": same, "strong": same.copy()}, singly(50), folds=5, repeats=2, seed=0)
    assert found.chosen == {"mild": 1.0, "strong": 0.0}


def test_fewer_groups_than_folds() -> None:
    found = crossfit({"a": np.array([0.0, 1.0]), "b": np.array([1.0, 1.0])}, ["x", "y"], folds=5, repeats=2, seed=0)
    assert found.scores.shape == (2,)


class Grid:
    """Twenty dials whose means rise to 0.3 at the one in the middle."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        shared, self.asked = rng.uniform(0, 0.5, 1000), 0
        self.scores = {
            f"dial {i:02}": shared + 0.3 - 0.04 * abs(i - 10) + rng.normal(0, 0.1, 1000) for i in range(DIALS)
        }

    def score(self, members, size: int):  # type: ignore[no-untyped-def]
        self.asked += size * len(members)
        return {member: self.scores[member][:size] for member in members}


@pytest.mark.parametrize("seed", range(5))
def test_halving_keeps_the_best_and_costs_less_than_the_full_grid(seed: int) -> None:
    grid = Grid(seed)
    found = halve({"family": list(grid.scores)}, (100, 200, 400, 1000), grid.score)
    full = pick_best(grid.scores)
    assert full in found.survivors
    assert pick_best({name: found.scores[name] for name in found.survivors}) == full
    assert found.cost < 0.5 * 1000 * DIALS


def test_each_family_keeps_a_member_even_where_another_family_is_far_better() -> None:
    rng = np.random.default_rng(0)
    table = {
        name: rng.uniform(0, 0.1, 100) + add for name, add in (("a1", 0.9), ("a2", 0.1), ("b1", 0.0), ("b2", 0.5))
    }
    found = halve({"a": ["a1", "a2"], "b": ["b1", "b2"]}, (50, 100), lambda some, n: {m: table[m][:n] for m in some})
    assert found.survivors == ("a1", "b2")
    assert found.tried == {"a1": 100, "a2": 50, "b1": 50, "b2": 100}


def test_what_a_scorer_leaves_out_is_not_kept() -> None:
    found = halve({"a": ["here", "gone"]}, (10,), lambda _, n: {"here": np.zeros(n)})
    assert found.survivors == ("here",)


def test_surely_below_needs_more_than_chance() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, 100)
    assert not surely_below(noise, rng.normal(0, 1, 100))
    assert surely_below(noise, noise + 0.01)
    assert not surely_below(noise, noise)
