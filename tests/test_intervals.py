"""Bootstrap intervals: those of a naive loop, covering at small n, paired, and withheld where they would mislead."""

import time
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from tolerances import assert_close
from uncollapse.errors import UncollapseError
from uncollapse.evaluation.statistics.intervals import estimate, estimate_mean, interval, resampled
from uncollapse.evaluation.statistics.weighted import weighted_mean, weighted_v_measure
from uncollapse.resampling import document_keys, poisson_weights


def names(n: int) -> list[str]:
    return [f"q{i}" for i in range(n)]


def test_replicates_are_those_of_repeated_rows() -> None:
    values = np.random.default_rng(0).random(40)
    groups = [f"g{i // 2}" for i in range(40)]
    drawn = resampled(weighted_mean, [values], groups=groups, replicates=16, seed=5)
    weights = poisson_weights(document_keys(groups), 16, seed=5).astype(int)
    assert_close(drawn, [np.repeat(values, weights[:, b]).mean() for b in range(16)])


def test_the_value_is_that_of_the_items_as_they_are() -> None:
    values = np.random.default_rng(1).random((30, 4))
    found = estimate(weighted_mean, [values], groups=names(30))
    assert_close(found.value, values.mean())
    assert (found.n, len(found.replicates)) == (30, 1000)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.random.default_rng(2).random(50), [f"g{i // 3}" for i in range(50)]
    whole = resampled(weighted_mean, [values], groups=groups, replicates=100, seed=1)
    monkeypatch.setattr("uncollapse.evaluation.statistics.intervals.HELD", 350)
    parts = resampled(weighted_mean, [values], groups=groups, replicates=100, seed=1)
    again = resampled(weighted_mean, [values], groups=[*groups, "new"][:50], replicates=104, seed=1)
    assert_close(parts, whole)
    assert_close(again[:100], whole)


def test_order_changes_nothing_and_a_bin_is_paired_with_the_whole() -> None:
    values, groups = np.random.default_rng(3).random(60), names(60)
    whole = resampled(weighted_mean, [values], groups=groups)
    assert_close(resampled(weighted_mean, [values[::-1]], groups=groups[::-1]), whole)
    halves = [resampled(weighted_mean, [values[part]], groups=groups[part]) for part in (slice(30), slice(30, 60))]
    weights = [poisson_weights(document_keys(groups[part]), 1000).sum(axis=0) for part in (slice(30), slice(30, 60))]
    assert_close(sum(h * w for h, w in zip(halves, weights, strict=True)) / sum(weights), whole)


@pytest.mark.parametrize("n", [10, 15, 100, 10_000])
def test_tails_are_hesterbergs(n: int) -> None:
    draws = np.sort(np.random.default_rng(n).standard_normal(99_999))
    found = interval(0.0, draws, n=n)
    tail = stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [tail, 1 - tail], method="weibull")))
    wider = interval(0.0, draws, n=n, level=0.99)
    assert wider.low < found.low < found.high < wider.high


@pytest.mark.parametrize(
    ("draw", "mean", "least"),
    [
        (lambda generator, size: generator.standard_normal(size), 0.0, 0.94),
        (lambda generator, size: generator.beta(0.3, 0.2, size), 0.6, 0.94),
        (lambda generator, size: generator.exponential(size=size), 1.0, 0.915),
    ],
    ids=["normal", "like nDCG", "skewed"],
)
@pytest.mark.parametrize("n", [15, 30])
def test_few_items_are_covered(draw, mean: float, least: float, n: int) -> None:
    """2000 samples: 0.94 is two standard errors below 0.95. A skewed mean is known to be covered less."""
    samples = draw(np.random.default_rng(n), (2000, n))
    weights = poisson_weights(document_keys(names(n)), 1000).astype(float)
    assert_close(resampled(weighted_mean, [samples[0]], groups=names(n)), samples[0] @ weights / weights.sum(axis=0))
    found = [interval(0.0, drawn, n=n) for drawn in samples @ weights / weights.sum(axis=0)]
    covered = np.mean([one.low <= mean <= one.high for one in found])
    assert least <= covered <= 0.98


def test_groups_widen_the_interval() -> None:
    """Ten copies of each of forty items say no more than the forty."""
    values = np.random.default_rng(4).random(40)
    copies, groups = np.repeat(values, 10), np.repeat(names(40), 10).tolist()
    once, grouped = (estimate(weighted_mean, [v], groups=g) for v, g in ((values, names(40)), (copies, groups)))
    assert_close([grouped.low, grouped.high], [once.low, once.high])
    assert grouped.n == 40
    alone = estimate(weighted_mean, [copies], groups=names(400))
    assert alone.high - alone.low < (once.high - once.low) / 2


def test_too_few_groups_have_no_interval() -> None:
    found = estimate(weighted_mean, [np.random.default_rng(5).random(90)], groups=[f"g{i % 9}" for i in range(90)])
    assert (found.low, found.high, found.n, len(found.replicates)) == (None, None, 9, 0)
    assert found.note == "no interval: 9 independent items are too few to tell, 10 are needed"
    assert estimate(weighted_mean, [np.arange(10.0)], groups=names(10)).low is not None


def test_nothing_at_all_has_no_value() -> None:
    found = estimate(weighted_mean, [np.empty(0)], groups=[])
    assert np.isnan(found.value)
    assert found.n == 0


def test_a_width_of_zero_is_not_shown() -> None:
    found = estimate(weighted_mean, [np.full(30, 0.1)], groups=names(30))
    assert (found.low, found.high) == (None, None)
    assert found.note == "no interval: every resample gives 0.1, so the data show no variation to judge by"


def test_undefined_replicates_have_their_note() -> None:
    assert interval(1.0, np.full(100, np.nan), n=30).note.startswith("no interval: 100 of 100")


def test_replicates_must_be_a_multiple_of_four() -> None:
    with pytest.raises(UncollapseError, match=r"positive multiple of 4, got 10\."):
        estimate(weighted_mean, [np.arange(20.0)], groups=names(20), replicates=10)


def test_a_biased_number_is_centred() -> None:
    generator = np.random.default_rng(6)
    labels, clusters = generator.integers(0, 8, 100).astype(float), generator.integers(0, 8, 100).astype(float)
    plain, centred = (
        estimate(weighted_v_measure, [clusters, labels], groups=names(100), centred=centred)
        for centred in (False, True)
    )
    assert plain.value == centred.value
    assert plain.low > plain.value  # why it is needed
    assert centred.low < centred.value < centred.high
    assert_close(centred.replicates.mean(), centred.value)
    assert_close(centred.high - centred.low, plain.high - plain.low)


def test_v_measures_at_their_n_are_covered() -> None:
    generator = np.random.default_rng(7)
    found = []
    for _ in range(200):
        labels = generator.integers(0, 5, 50).astype(float)
        clusters = np.where(generator.random(50) < 0.7, labels, generator.integers(0, 5, 50))
        columns = [clusters, labels]
        found.append(estimate(weighted_v_measure, columns, groups=names(50), replicates=400, centred=True))
    mean = np.mean([one.value for one in found])
    assert np.mean([one.low <= mean <= one.high for one in found]) >= 0.88


def test_luckier_starts_are_no_better_clusters() -> None:
    """Two fixes whose ten starts are of the same quality on average: their difference is 0 about 19 times in 20."""
    generator = np.random.default_rng(11)
    labels = np.repeat(np.arange(4.0), 50)

    def starts() -> np.ndarray:
        quality = generator.uniform(0.3, 0.9, 10)  # a start lands well or badly, for all texts at once
        right = generator.random((200, 10)) < quality
        return np.where(right, labels[:, None], generator.integers(0, 4, (200, 10)))

    held = []
    for _ in range(100):
        before, after = (
            estimate(weighted_v_measure, [starts(), labels], groups=names(200), replicates=400, centred=True)
            for _ in range(2)
        )
        gap = interval(after.value - before.value, after.replicates - before.replicates, n=200)
        held.append(gap.low <= 0 <= gap.high)
    assert np.mean(held) >= 0.88


def test_sheets_of_one_seed_draw_the_same_experiments() -> None:
    values = np.random.default_rng(0).random((30, 10))
    shifted = resampled(weighted_mean, [values + 0.1], groups=names(30)) - resampled(
        weighted_mean, [values], groups=names(30)
    )
    assert_close(shifted, np.full(len(shifted), 0.1))
    spread = resampled(weighted_mean, [np.tile(np.arange(10.0), (30, 1))], groups=names(30))
    assert np.std(spread) == pytest.approx(np.std(np.arange(10.0), ddof=1) / np.sqrt(10), rel=0.05)


# --- means of bounded scores


@pytest.mark.parametrize("n", [10, 50, 1000])
@pytest.mark.parametrize(("value", "bounds"), [(1.0, (0, 1)), (0.0, (0, 1)), (0.3, (0, 1)), (0.5, (-1, 1))])
def test_equal_scores_leave_room_for_what_was_not_seen(n: int, value: float, bounds: tuple[float, float]) -> None:
    found = estimate_mean(np.full(n, value), names(n), bounds=bounds)
    missed = stats.binomtest(0, n).proportion_ci(0.95, method="wilson").high
    assert_close(found.low, (1 - missed) * value + missed * bounds[0])
    assert_close(found.high, (1 - missed) * value + missed * bounds[1])
    assert found.note == f"all items score {value:.4g}; the interval allows for what {n} could not show"
    assert np.ptp(found.replicates) < 1e-12


def test_hits_and_misses_of_independent_items_are_a_share() -> None:
    values = np.array([1.0] * 37 + [0.0] * 3)
    found = estimate_mean(values, names(40))
    wilson = stats.binomtest(37, 40).proportion_ci(0.95, method="wilson")
    assert_close([found.low, found.high], [wilson.low, wilson.high])
    assert_close(found.replicates, resampled(weighted_mean, [values], groups=names(40)))


def test_other_scores_have_the_bootstraps_interval() -> None:
    values = np.array([1.0] * 37 + [0.0] * 3)
    for scores, groups in (
        (values, [f"g{i // 2}" for i in range(40)]),
        (np.stack([values, values], axis=1), names(40)),
        (np.append(values[1:], 0.5), names(40)),
    ):
        found, plain = estimate_mean(scores, groups), estimate(weighted_mean, [scores], groups=groups)
        assert (found.low, found.high, found.note) == (plain.low, plain.high, "")


def test_few_equal_scores_tell_nothing() -> None:
    assert estimate_mean(np.ones(9), names(9)).low is None


def test_ten_thousand_replicates_of_ten_thousand_items_are_quick_and_small() -> None:
    values, groups = np.random.default_rng(8).random(10_000), names(10_000)
    started = time.perf_counter()
    tracemalloc.start()
    found = estimate(weighted_mean, [values], groups=groups, replicates=10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - started < 30
    assert peak < 400e6
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 100, rel=0.05)
