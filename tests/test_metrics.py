"""Every row of METRICS says what it is, and its value under weights is the library's on repeated rows."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sheets import LIBRARY, columns_of
from tolerances import assert_close
from uncollapse.errors import UncollapseError
from uncollapse.evaluation.statistics.metrics import METRICS, Metric, find_metric
from uncollapse.evaluation.statistics.weighted import weighted_ranks


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_every_metric_says_what_it_is(metric: Metric) -> None:
    assert METRICS[metric.name] is metric
    assert metric.range == {0.0: "0 to 1", -1.0: "-1 to 1"}[metric.bounds[0]]
    assert metric.better == "higher"
    assert metric.reading.endswith((".", "n."))
    assert metric.title
    assert metric.formula
    assert metric.columns
    assert (metric.test == "sign") == (len(metric.columns) == 1)


def test_the_gain_of_ndcg_is_said() -> None:
    assert "linear gain" in METRICS["ndcg@10"].formula
    assert "linear gain" in METRICS["ndcg@1"].formula


def test_an_unknown_metric_is_named_with_its_neighbours() -> None:
    with pytest.raises(
        UncollapseError, match=r"No metric is called 'ndcg'. Did you mean 'ndcg@1.*Metrics: .*spearman"
    ):
        find_metric("ndcg")


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_weights_repeat_rows(metric: Metric, seed: int) -> None:
    generator = np.random.default_rng(seed)
    columns = list(columns_of(metric, generator, 30).values())
    weights = generator.poisson(generator.choice([0.3, 1.0]), (30, 6))
    weights[:, :2] = 1, 0
    values = metric.value(*columns, weights.astype(float))
    for weight, value in zip(weights.T, values, strict=True):
        repeated = [np.repeat(column, weight, axis=0) for column in columns]
        if is_defined(metric, repeated):
            assert_close(value, LIBRARY.get(metric.name, np.mean)(*repeated))
        else:
            assert np.isnan(value)


def is_defined(metric: Metric, columns: list[np.ndarray]) -> bool:
    if not len(columns[0]):
        return False
    if metric.name == "spearman":
        return all(np.ptp(column) > 0 for column in columns)
    return metric.name != "average_precision" or columns[1].any()


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_fractions_scale_and_order_of_weights(metric: Metric) -> None:
    generator = np.random.default_rng(1)
    columns = list(columns_of(metric, generator, 40).values())
    weights = generator.random((40, 5)) * (generator.random((40, 5)) < 0.7)
    values = metric.value(*columns, weights)
    order = generator.permutation(40)
    if metric.name != "v_measure":
        assert_close(metric.value(*[column[order] for column in columns], weights[order]), values)
    assert_close(metric.value(*columns, weights * 8), values)
    assert ((values >= metric.bounds[0] - 1e-12) & (values <= metric.bounds[1] + 1e-12)).all()


@pytest.mark.parametrize("name", ["f1", "v_measure"])
def test_names_of_labels_do_not_matter(name: str) -> None:
    found, label = columns_of(METRICS[name], np.random.default_rng(2), 50).values()
    weights = np.random.default_rng(3).poisson(1, (50, 8)).astype(float)
    value = METRICS[name].value
    assert_close(value(found * 3 + 1, label * 3 + 1, weights), value(found, label, weights))
    if name == "v_measure":
        assert_close(value(-found, label + 100, weights), value(found, label, weights))


@pytest.mark.parametrize(
    ("name", "columns", "value"),
    [
        ("v_measure", {"cluster": [3, 3, 3], "label": [1, 1, 1]}, 1),
        ("v_measure", {"cluster": [3, 3, 3], "label": [1, 1, 2]}, 0),
        ("v_measure", {"cluster": [3, 4, 5], "label": [1, 1, 1]}, 0),
        ("f1", {"prediction": [0, 0, 0, 0], "label": [0, 0, 0, 1]}, (6 / 7 + 0) / 2),
        ("average_precision", {"cosine": [0.5, 0.5, 0.5, 0.5], "label": [0, 1, 0, 0]}, 1 / 4),
        ("average_precision", {"cosine": [0.9, 0.8, 0.7, 0.6], "label": [0, 1, 0, 1]}, 1 / 2),
        ("spearman", {"cosine": [0.1, 0.2, 0.9, 0.3], "gold": [1, 2, 4, 3]}, 1),
    ],
)
def test_values_by_hand(name: str, columns: dict[str, list[float]], value: float) -> None:
    lines = [np.array(column, float) for column in columns.values()]
    assert_close(METRICS[name].value(*lines, np.ones((len(lines[0]), 1))), [value])


def test_what_is_independent_shares_no_information_and_not_less_than_none() -> None:
    for rows, columns in itertools.product(range(2, 12), repeat=2):
        label, clusters = np.divmod(np.arange(rows * columns), columns)
        [value] = METRICS["v_measure"].value(clusters / 1, label / 1, np.ones((len(label), 1)))
        assert 0 <= value < 1e-12


def test_ranks_are_midranks() -> None:
    values = np.random.default_rng(5).integers(0, 9, 50).astype(float)
    assert_close(weighted_ranks(values, np.ones((50, 1)))[:, 0], stats.rankdata(values) - 51 / 2)
