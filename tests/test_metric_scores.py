"""Scores of a sheet have intervals and say what is not defined; gains are paired, each with its metric's test."""

import numpy as np
import pytest

from sheets import LIBRARY, Columns, columns_of, example, sheet
from tolerances import assert_close
from uncollapse.errors import UncollapseError
from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.statistics.metrics import METRICS, Metric
from uncollapse.evaluation.statistics.scores import gain, score
from uncollapse.evaluation.statistics.significance import (
    bootstrap_p,
    detectable,
    effect_size,
    randomisation_test,
    standard_error,
    swap_test,
)

# --- scores


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_score_is_the_library_s_with_an_interval_around_it(metric: Metric) -> None:
    lines = example(metric)
    found = score(lines, metric.name, replicates=400)
    assert_close(found.value, LIBRARY.get(metric.name, np.mean)(*(lines.columns[name] for name in metric.columns)))
    assert metric.bounds[0] <= found.low < found.value < found.high <= metric.bounds[1]
    assert score(lines, metric, replicates=400).low == found.low
    assert score(lines, metric, replicates=400, seed=1).high != found.high


def test_n_counts_groups() -> None:
    lines = example(METRICS["ap"])
    grouped = sheet(dict(lines.columns), tuple(f"g{i % 20}" for i in range(60)))
    assert score(grouped, "ap").n == 20
    assert score(lines, "ap").n == 60


def test_average_precision_rests_on_the_rarer_kind() -> None:
    cosine = np.random.default_rng(6).random(200)
    for label in (np.arange(200) < 9, np.arange(200) >= 9):
        found = score(sheet({"cosine": cosine, "label": label.astype(float)}), "average_precision")
        assert found.n == 9
        assert found.low is None
    assert score(sheet({"cosine": cosine, "label": (np.arange(200) < 12).astype(float)}), "average_precision").n == 12


def test_the_interval_stays_within_the_range() -> None:
    label = np.repeat([0.0, 1.0, 2.0, 3.0], 10)
    clusters = np.array([*label[:-1], 0.0])
    found = score(sheet({"cluster": clusters, "label": label}), "v_measure")
    assert found.low < found.value < found.high <= 1
    generator = np.random.default_rng(11)
    found = score(
        sheet({"cluster": generator.integers(0, 3, 90) / 1, "label": generator.integers(0, 3, 90) / 1}), "v_measure"
    )
    assert found.low == 0 < found.value < found.high


def test_the_interval_of_a_biased_metric_holds_its_value() -> None:
    """Resamples repeat texts, and repeated texts raise a V-measure."""
    generator = np.random.default_rng(12)
    label = generator.integers(0, 8, 100).astype(float)
    clusters = np.where(generator.random((100, 2)) < 0.5, label[:, None], generator.integers(0, 8, (100, 2)))
    found = score(sheet({"cluster": clusters, "label": label}), "v_measure")
    assert_close(found.replicates.mean(), found.value)
    assert found.low < found.value < found.high


def test_perfect_and_equal_scores_have_honest_intervals() -> None:
    perfect = score(sheet({"ndcg@10": np.ones(50)}), "ndcg@10")
    assert (perfect.value, perfect.high) == (1, 1)
    assert 0.9 < perfect.low < 1
    assert perfect.note.startswith("all items score 1;")
    rank = np.arange(30.0)
    assert "every resample gives 1" in score(sheet({"cosine": rank, "gold": rank}), "spearman").note


def test_few_items_have_a_value_and_no_more() -> None:
    found = score(example(METRICS["spearman"], n=9), "spearman")
    assert np.isfinite(found.value)
    assert (found.low, found.n) == (None, 9)


@pytest.mark.parametrize(
    ("columns", "name", "note"),
    [
        ({"cosine": np.ones(20), "gold": np.arange(20.0)}, "spearman", "all cosines or all human scores are equal"),
        ({"cosine": np.arange(20.0), "gold": np.ones(20)}, "spearman", "all cosines or all human scores are equal"),
        ({"cosine": np.arange(20.0), "label": np.zeros(20)}, "average_precision", "no pair belongs together"),
        ({"ap": np.empty(0)}, "ap", "no queries"),
        ({"cosine": np.empty(0), "gold": np.empty(0)}, "spearman", "no queries"),
        ({"prediction": np.empty((0, 3)), "label": np.empty(0)}, "f1", "no queries"),
    ],
)
def test_what_is_not_defined_says_why(columns: Columns, name: str, note: str) -> None:
    lines = sheet(columns, items="queries")
    found = score(lines, name)
    assert np.isnan(found.value)
    assert (found.low, found.high, found.note) == (None, None, f"undefined: {note}")
    change = gain(lines, lines, name)
    assert np.isnan(change.estimate.value)
    assert (change.estimate.low, change.p, change.effect, change.detectable) == (None, None, None, None)
    assert change.estimate.note == f"undefined: {note}"


def test_articles_without_a_correlation_are_left_out_and_counted() -> None:
    values = np.random.default_rng(7).uniform(-1, 1, 30)
    values[[2, 5]] = np.nan
    lines = sheet({"summary_spearman": values}, items="articles")
    found = score(lines, "summary_spearman")
    assert_close(found.value, np.nanmean(values))
    assert found.n == 28
    assert found.note == "2 of 30 articles left out: all their ratings or all their cosines are equal"
    after = np.append(np.zeros(6), values[6:] + 0.1)
    after[[5, 7]] = 0.1, np.nan
    after[:5] = values[:5] + 0.1
    change = gain(lines, sheet({"summary_spearman": after}, items="articles"), "summary_spearman").estimate
    assert_close(change.value, 0.1)
    assert change.n == 27
    assert "3 of 30 articles left out" in change.note


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["ndcg@10", "spearman", "f1"])
def test_numbers_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    lines = example(METRICS[name])
    column = METRICS[name].columns[0]
    broken = lines.columns[column].copy()
    broken[[3, 8]] = bad
    with pytest.raises(
        UncollapseError,
        match=rf"finite numbers, but column '{column}' is NaN or infinite for 2 of 60 pairs; the first is 'i3'. Check",
    ):
        score(sheet({**lines.columns, column: broken}), name)


def test_a_sheet_without_the_column_is_refused() -> None:
    with pytest.raises(
        UncollapseError,
        match=r"Spearman needs the column 'gold', but this sheet of pairs has none\. .*Columns: cosine",
    ):
        score(sheet({"cosine": np.arange(20.0)}), "spearman")


def test_one_experiment_may_be_flat() -> None:
    for name in ("f1", "v_measure", "accuracy"):
        columns = columns_of(METRICS[name], np.random.default_rng(4), 50)
        (first, flat), *rest = columns.items()
        one = sheet({first: flat[:, :1], **dict(rest)})
        assert score(one, name).value == score(sheet({first: flat[:, 0], **dict(rest)}), name).value


# --- gains


def worse(metric: Metric, lines: Sheet) -> Sheet:
    """The same lines, the first 25 of them scored at random."""
    other = columns_of(metric, np.random.default_rng(99), len(lines))
    name = metric.columns[0]
    return sheet({**lines.columns, name: np.concatenate([other[name][:25], lines.columns[name][25:]])})


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_gain_is_the_difference_of_scores_and_turns_round(metric: Metric) -> None:
    before = example(metric)
    after = worse(metric, before)
    there, back = (
        gain(*pair, metric.name, replicates=400, resamples=999) for pair in ((before, after), (after, before))
    )
    assert_close(there.estimate.value, score(after, metric).value - score(before, metric).value)
    assert there.estimate.low < there.estimate.value < there.estimate.high
    assert_close([-there.estimate.high, -there.estimate.low], [back.estimate.low, back.estimate.high])
    assert there.p == pytest.approx(back.p)
    assert 0 < there.p <= 1
    assert there.detectable == pytest.approx(back.detectable)
    assert (there.effect is None) == (metric.test != "sign")


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_sheet_gains_nothing_over_itself(metric: Metric) -> None:
    lines = example(metric)
    found = gain(lines, lines, metric, replicates=100, resamples=99)
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == (0, 0, 0)
    assert found.estimate.note == "nothing changed"
    assert (found.p, found.effect, found.detectable) == (1, None, None)


def test_gains_are_paired() -> None:
    """What both sheets share cancels: the interval of the gain is far narrower than that of either score."""
    values = np.random.default_rng(8).random(100) * 0.9
    after = values + 0.05 + 0.01 * np.random.default_rng(9).standard_normal(100)
    found = gain(sheet({"ap": values}), sheet({"ap": after}), "ap").estimate
    alone = score(sheet({"ap": values}), "ap")
    assert found.high - found.low < (alone.high - alone.low) / 10
    assert found.low > 0


def test_each_metric_has_its_own_test() -> None:
    means, ranks, other = (example(METRICS[name]) for name in ("accuracy", "spearman", "f1"))
    after = worse(METRICS["accuracy"], means)
    differences = after.columns["correct"].mean(axis=1) - means.columns["correct"].mean(axis=1)
    found = gain(means, after, "accuracy", resamples=999, seed=3)
    assert found.p == randomisation_test(differences, means.groups, resamples=999, seed=3)[0]
    assert found.effect == effect_size(differences, means.groups)
    assert found.detectable == detectable(standard_error(differences, means.groups), n=60)
    after = worse(METRICS["spearman"], ranks)
    found = gain(ranks, after, "spearman", resamples=999, seed=3)
    cosines = (ranks.columns["cosine"], after.columns["cosine"])
    assert found.p == swap_test(*cosines, gold=ranks.columns["gold"], groups=ranks.groups, resamples=999, seed=3)
    found = gain(other, worse(METRICS["f1"], other), "f1")
    assert found.p == bootstrap_p(found.estimate)
    assert found.detectable == detectable(found.estimate.replicates.std(), n=60)


def test_few_items_gain_nothing_that_can_be_told() -> None:
    before, after = (example(METRICS["ap"], seed=seed, n=9) for seed in (0, 1))
    found = gain(before, after, "ap")
    assert np.isfinite(found.estimate.value)
    assert (found.estimate.low, found.p, found.effect, found.detectable) == (None, None, None, None)
    assert "9 independent items are too few to tell" in found.estimate.note


def test_an_equal_gain_everywhere_has_a_small_p_and_no_interval() -> None:
    values = np.random.default_rng(10).integers(0, 5, 40) / 8
    found = gain(sheet({"ap": values}), sheet({"ap": values + 0.25}), "ap")
    assert (found.estimate.low, found.p, found.effect) == (None, 1 / 10_001, None)
    assert "every resample gives 0.25" in found.estimate.note


def test_gains_of_different_items_are_refused() -> None:
    lines = example(METRICS["ap"])
    with pytest.raises(UncollapseError, match=r"got 60 and 60; .* \('i0', 'i0'\) and \('i59', 'i59'\) in line 0"):
        gain(lines, lines.take(np.arange(60)[::-1]), "ap")
    with pytest.raises(UncollapseError, match=r"\('i0', 'i0'\) and \('i0', 'g'\) in line 0"):
        gain(lines, sheet(dict(lines.columns), ("g",) * 60), "ap")
    with pytest.raises(
        UncollapseError,
        match=r"paired: .* the same pairs and groups in the same order, got 60 and 59; the first that differ are "
        r"\('i4', 'i4'\) and \('i5', 'i5'\) in line 4 .* Score both",
    ):
        gain(lines, lines.take(np.arange(60) != 4), "ap")
    with pytest.raises(UncollapseError, match=r"got 60 and 59; .* \('i59', 'i59'\) and None in line 59"):
        gain(lines, lines.take(np.arange(59)), "ap")


def test_what_is_detectable_grows_with_the_number_of_comparisons() -> None:
    rng = np.random.default_rng(0)
    before = sheet({"ap": rng.uniform(size=60)})
    after = sheet({"ap": rng.uniform(size=60)})
    alone, among = (gain(before, after, "ap", comparisons=number).detectable for number in (1, 6))
    assert 1.1 < among / alone < 1.5


def test_a_gain_from_known_scores_is_the_gain() -> None:
    rng = np.random.default_rng(0)
    before, after = (sheet({"ap": rng.uniform(size=60)}) for _ in range(2))
    known = (score(before, "ap"), score(after, "ap"))
    one, other = gain(before, after, "ap"), gain(before, after, "ap", scores=known)
    assert repr(one.estimate) == repr(other.estimate)
    assert (one.p, one.effect, one.detectable) == (other.p, other.effect, other.detectable)
