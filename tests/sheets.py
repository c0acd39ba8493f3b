"""Sheets with the columns of every metric, and what libraries make of them."""

from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from uncollapse.evaluation.sheets import Sheet
from uncollapse.evaluation.statistics.metrics import Metric

Columns = dict[str, np.ndarray]


def by_experiment(value: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda columns, label: float(np.mean([value(label, column) for column in columns.T]))


def macro_f1(label: np.ndarray, prediction: np.ndarray) -> float:
    return float(sklearn_metrics.f1_score(label, prediction, average="macro"))


LIBRARY: dict[str, Callable[..., float]] = {
    "f1": by_experiment(macro_f1),
    "v_measure": by_experiment(sklearn_metrics.v_measure_score),
    "average_precision": lambda cosine, label: sklearn_metrics.average_precision_score(label, cosine),
    "spearman": lambda cosine, gold: stats.spearmanr(cosine, gold).statistic,
}


def columns_of(metric: Metric, generator: np.random.Generator, n: int) -> Columns:
    """Columns with ties, rare labels, labels never predicted and predictions that are no label."""
    label = generator.choice([0.0, 1.0, 1.0, 4.0], n)
    experiments = np.where(generator.random((n, 3)) < 0.6, label[:, None], generator.choice([0.0, 4.0, 7.0], (n, 3)))
    known = {
        "correct": (experiments == label[:, None]).astype(float),
        "prediction": experiments,
        "cluster": np.where(generator.random((n, 3)) < 0.5, label[:, None] + 3, generator.integers(0, 4, (n, 3))),
        "label": label if metric.name != "average_precision" else (label == 1).astype(float),
        "cosine": generator.integers(-3, 4, n) / 7,
        "gold": generator.integers(0, 6, n).astype(float),
    }
    return {name: known[name] if name in known else generator.integers(0, 5, n) / 4 for name in metric.columns}


def sheet(columns: Columns, groups: tuple[str, ...] = (), items: str = "pairs") -> Sheet:
    n = len(next(iter(columns.values())))
    ids = tuple(f"i{i}" for i in range(n))
    return Sheet(items, ids, groups or ids, np.full(n, 9), None, columns)


def example(metric: Metric, seed: int = 0, n: int = 60) -> Sheet:
    return sheet(columns_of(metric, np.random.default_rng(seed), n))
