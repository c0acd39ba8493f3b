"""Every row of MEASURES obeys the same laws, agrees with a naive loop, and has an interval that covers."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bin_states import make_keys, make_raw, make_state, naive_vectors, population
from tolerances import FLOAT32, FLOAT64, assert_close
from uncollapse.errors import UncollapseError
from uncollapse.measures import MEASURES, Measure, effective_rank, equal_n, measure_bins, share_truncated, unit
from uncollapse.moments import BinState
from uncollapse.resampling import difference

every_measure = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
bootstrapped = pytest.mark.parametrize(
    "measure", [row for row in MEASURES.values() if row.name != "share_truncated"], ids=lambda row: row.name
)


def compute(measure, raw, **options):
    state = make_state(raw, **options)
    return measure.compute(state, len(state.sample))


def assert_same(a, b, tolerance):
    assert_close([a.value, a.low, a.high], [b.value, b.low, b.high], tolerance)
    assert (a.n, a.note) == (b.n, b.note)


# --- naive float64 loops


def naive_pairs(state, f):
    values = [f(u, v) for u, v in itertools.combinations(naive_vectors(state), 2)]
    return sum(values) / len(values)


def naive_effective_rank(state):
    spectrum = np.linalg.svd(np.cov(np.array(naive_vectors(state)).T), compute_uv=False)
    return math.exp(-sum(p * math.log(p) for p in spectrum / sum(spectrum) if p > 1e-15))


NAIVE = {
    "mean_cosine": lambda state: naive_pairs(state, lambda u, v: sum(u * v)),
    "centroid_distance": lambda state: math.sqrt(naive_pairs(state, lambda u, v: sum((u - v) ** 2) / 2)),
    "uniformity": lambda state: math.log(naive_pairs(state, lambda u, v: math.exp(-2 * sum((u - v) ** 2)))),
    "effective_rank": naive_effective_rank,
    "share_truncated": lambda state: sum(i % 3 == 0 for i in range(state.count)) / state.count,
}

RANGES = {
    "mean_cosine": lambda n, _: (-1 / (n - 1), 1),
    "centroid_distance": lambda n, _: (0, math.sqrt(n / (n - 1))),
    "uniformity": lambda n, _: (-4 * n / (n - 1), 0),
    "effective_rank": lambda n, dim: (1, min(n - 1, dim)),
    "share_truncated": lambda *_: (0, 1),
}

ONE_POINT = {"mean_cosine": 1, "centroid_distance": 0, "uniformity": 0, "effective_rank": 1}


# --- one battery for all


@every_measure
def test_the_row_tells_a_newcomer_what_it_is(measure):
    assert MEASURES[measure.name] is measure
    assert measure.better in ("lower", "higher", "neither")
    assert measure.needs in ("count", "pairs", "equal_n")
    assert all([measure.title, measure.formula, measure.range])
    assert measure.reading.endswith(".")


@every_measure
@pytest.mark.parametrize("n", [2, 3, 40])
def test_agrees_with_a_naive_loop(measure, n):
    state = make_state(make_raw(n, seed=n))
    # the sampled measures take float32 vectors as they are: their norms are good for 1e-7
    tolerance = FLOAT32 if measure.needs == "equal_n" else FLOAT64
    assert_close(measure.compute(state, n).value, NAIVE[measure.name](state), tolerance)


@pytest.mark.parametrize(
    "measure", [one for one in MEASURES.values() if one.needs == "pairs"], ids=lambda measure: measure.name
)
def test_what_is_called_unbiased_is_the_mean_of_itself_over_samples_one_smaller(measure):
    """A mean over pairs is; of a root only the square is, and the root itself is not."""
    raw, n = make_raw(12), 12
    values = np.array([measure.compute(make_state(np.delete(raw, i, axis=0)), n).value for i in range(n)])
    whole = measure.compute(make_state(raw), n).value
    power = 2 if measure.root else 1
    assert_close((values**power).mean(), whole**power, FLOAT64)
    assert not measure.root or abs(values.mean() - whole) > 1e-6


@every_measure
def test_rotation_changes_nothing(measure):
    raw = make_raw()
    rotation, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))
    assert_same(compute(measure, raw @ rotation), compute(measure, raw), FLOAT32)


@every_measure
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_scale_of_raw_vectors_changes_nothing(measure, dtype):
    raw = make_raw()
    scales = 10.0 ** np.random.default_rng(2).uniform(-30, 30, (60, 1))
    assert_same(compute(measure, (raw * scales).astype(dtype)), compute(measure, raw), FLOAT32)


@every_measure
def test_row_order_changes_nothing(measure):
    raw, order = make_raw(), np.random.default_rng(3).permutation(60)
    shuffled = compute(measure, raw[order], keys=make_keys(60)[order], truncated=(np.arange(60) % 3 == 0)[order])
    assert_close(shuffled.value, compute(measure, raw).value, FLOAT64)
    assert_same(shuffled, compute(measure, raw), FLOAT32)


@every_measure
def test_merging_parts_changes_nothing(measure):
    raw, keys, truncated = make_raw(), make_keys(60), np.arange(60) % 3 == 0
    parts = [
        make_state(raw[rows], keys=keys[rows], truncated=truncated[rows]) for rows in np.split(np.arange(60), [7, 50])
    ]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert_close(measure.compute(merged, 60).value, compute(measure, raw).value, FLOAT64)
    assert_same(measure.compute(merged, 60), compute(measure, raw), FLOAT32)


@every_measure
@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 12), st.floats(-3, 3), st.integers(0, 2**32))
def test_values_and_intervals_stay_in_range(measure, n, dim, drift, seed):
    estimate = compute(measure, make_raw(n, dim, drift, seed))
    least, most = RANGES[measure.name](n, dim)
    assert least - 1e-6 <= estimate.value <= most + 1e-6
    if estimate.low is not None:
        # a resample may hold as few as 2 documents
        bounds = np.array([RANGES[measure.name](size, dim) for size in (2, n)])
        assert bounds[:, 0].min() - 1e-6 <= estimate.low <= estimate.high <= bounds[:, 1].max() + 1e-6


@bootstrapped
def test_the_difference_of_a_bin_with_itself_is_exactly_nothing(measure):
    raw = make_raw()
    gap = difference(compute(measure, raw), compute(measure, raw))
    assert (gap.value, gap.low, gap.high) == (0, 0, 0)


@bootstrapped
def test_the_same_documents_are_paired(measure):
    raw = make_raw(150)
    longer = raw + 0.2 * np.random.default_rng(4).standard_normal(raw.shape)
    paired = difference(compute(measure, longer), compute(measure, raw))
    apart = difference(compute(measure, longer, keys=make_keys(150, "other")), compute(measure, raw))
    assert paired.value == pytest.approx(apart.value, abs=1e-9)
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


@bootstrapped
def test_another_seed_gives_another_interval_of_the_same_value(measure):
    a, b = compute(measure, make_raw()), compute(measure, make_raw(), seed=1)
    assert_close(a.value, b.value)
    assert a.low != b.low
    assert a.high - a.low == pytest.approx(b.high - b.low, rel=0.6)


@bootstrapped
@pytest.mark.parametrize("n", [2, 50])
def test_vectors_that_are_all_equal(measure, n):
    raw = np.random.default_rng(5).uniform(1, 9, (n, 1)) * make_raw(1, seed=5)
    estimate = compute(measure, raw)
    # the square root of float32 rounding is 3e-4
    tolerance = 1e-3 if measure.name == "centroid_distance" else FLOAT32
    assert_close(estimate.value, ONE_POINT[measure.name], tolerance)
    if estimate.low is not None:
        assert_close([estimate.low, estimate.high], [ONE_POINT[measure.name]] * 2, tolerance)


SIMULATIONS, DOCUMENTS = 200, 80


@pytest.fixture(scope="module")
def simulated():
    """Estimates of every bootstrapped measure on independent samples of one population."""
    generator = np.random.default_rng(7)
    rows = {name: [] for name in ONE_POINT}
    for i in range(SIMULATIONS):
        state = make_state(
            population(generator, DOCUMENTS), keys=make_keys(DOCUMENTS, f"simulation {i}"), replicates=256
        )
        for name, estimates in rows.items():
            estimates.append(MEASURES[name].compute(state, DOCUMENTS))
    return rows


def true_mean_cosine():
    vectors = unit(population(np.random.default_rng(8), 400_000)).astype(np.float64)
    return float(np.square(vectors.mean(axis=0)).sum())


@bootstrapped
def test_intervals_cover_and_are_no_wider_than_they_must_be(measure, simulated):
    estimates = simulated[measure.name]
    values = np.array([e.value for e in estimates])
    truth = true_mean_cosine() if measure.name == "mean_cosine" else values.mean()
    coverage = np.mean([e.low <= truth <= e.high for e in estimates])
    widths = np.mean([e.high - e.low for e in estimates]) / (2 * 1.96 * values.std(ddof=1))
    assert 0.90 <= coverage <= 0.99
    assert 0.85 <= widths <= 1.2


def test_mean_cosine_is_unbiased(simulated):
    values = np.array([e.value for e in simulated["mean_cosine"]])
    assert abs(values.mean() - true_mean_cosine()) < 3.5 * values.std() / math.sqrt(SIMULATIONS)


# --- truncation


def test_a_share_of_nothing_stays_open_above():
    estimate = share_truncated(make_state(make_raw(50), truncated=np.zeros(50, bool)))
    assert estimate.value == estimate.low == 0
    assert 0.05 < estimate.high < 0.1


def test_an_empty_bin_has_no_share():
    with pytest.raises(UncollapseError, match="at least 1 document, but the bin holds none"):
        share_truncated(BinState(dim=2))


# --- all bins


def make_bins(**sizes):
    return {label: make_state(make_raw(n, seed=n), keys=make_keys(n, label)) for label, n in sizes.items()}


def test_bins_are_compared_at_the_smallest_sample_that_is_large_enough():
    bins = make_bins(a=70, b=50, c=40, d=12)
    assert [equal_n(bins, minimum=minimum) for minimum in (30, 40, 41, 99)] == [40, 40, 50, 0]
    table = measure_bins(bins)
    for label in "abc":
        assert set(table[label]) == set(MEASURES)
        assert {name: table[label][name].n for name in MEASURES if MEASURES[name].needs == "equal_n"} == {
            "uniformity": 40,
            "effective_rank": 40,
        }
    assert table["a"]["mean_cosine"].n == 70
    assert_same(table["a"]["effective_rank"], effective_rank(*bins["a"].head(40)), FLOAT64)


def test_small_bins_have_fewer_measures_and_say_so():
    table = measure_bins(make_bins(full=30, few=12, two=2, one=1, none=0))
    assert set(table["full"]) == set(MEASURES)
    assert set(table["two"]) == set(table["few"])
    assert set(table["few"]) == {"mean_cosine", "centroid_distance", "share_truncated"}
    assert {e.note for e in table["few"].values()} == {"only 12 documents, fewer than 30"}
    assert set(table["one"]) == {"share_truncated"}
    assert table["none"] == {}
    assert all(e.note == "" for e in table["full"].values())


def test_a_full_sample_sets_the_equal_n():
    state = BinState(dim=8, sample_size=32)
    state.update(unit(make_raw(60)), keys=make_keys(60), n_tokens=np.ones(60, int), truncated=np.zeros(60, bool))
    assert measure_bins({"a": state})["a"]["effective_rank"].n == 32
    assert measure_bins({"a": state})["a"]["mean_cosine"].n == 60


def test_no_large_bin_means_no_equal_n_measure():
    table = measure_bins(make_bins(a=12, b=20))
    assert all("effective_rank" not in row for row in table.values())
    assert measure_bins({}) == {}


def test_some_measures_can_be_taken_and_new_ones_are_a_row():
    count = Measure(
        "count", "Count", "n", "0 or more", "neither", "How many.", "", "count", lambda s, _: share_truncated(s)
    )
    table = measure_bins(make_bins(a=40), measures={"count": count, "uniformity": MEASURES["uniformity"]})
    assert set(table["a"]) == {"count", "uniformity"}


def test_bins_of_two_bootstraps_are_refused():
    bins = {"a": make_state(make_raw()), "b": make_state(make_raw(), seed=1)}
    with pytest.raises(UncollapseError, match=r"one \(dim, replicates, seed\), got \[\(8, 64, 0\), \(8, 64, 1\)\]"):
        measure_bins(bins)


def test_a_minimum_below_two_is_refused():
    with pytest.raises(UncollapseError, match="`minimum` must be at least 2 documents, got 1"):
        measure_bins(make_bins(a=4), minimum=1)
