"""Classifiers and clusters are scikit-learn's on the texts that mteb would draw; ratings agree as scipy says."""

import random
import warnings
from collections import defaultdict

import numpy as np
import pytest
from scipy import stats
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tolerances import assert_close
from uncollapse.errors import CorpusError, ModelError
from uncollapse.evaluation.statistics.labelling import classify, cluster, summary_correlations

CENTRES = np.random.default_rng(0).standard_normal((4, 8))


def texts(n: int, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, n)
    return (CENTRES[labels] + noise * generator.standard_normal((n, 8))).astype(np.float32), labels


# --- classifiers


def naive_predictions(
    train: np.ndarray, labels: list[int], test: np.ndarray, *, experiments: int, samples: int
) -> np.ndarray:
    """Written after mteb's undersampling: one list of places, shuffled further from the same seed each time."""
    places = list(range(len(labels)))
    columns = []
    for _ in range(experiments):
        np.random.RandomState(42).shuffle(places)
        seen: dict[int, int] = defaultdict(int)
        chosen = []
        for place in places:
            if seen[labels[place]] < samples:
                seen[labels[place]] += 1
                chosen.append(place)
        model = LogisticRegression(max_iter=100, random_state=42)
        columns.append(model.fit(train[chosen], [labels[place] for place in chosen]).predict(test))
    return np.stack(columns, axis=1)


def test_predictions_are_those_of_the_classifiers_written_out() -> None:
    (train, labels), (test, _) = texts(300, 1), texts(120, 2)
    found = classify(train, labels, test)
    assert np.array_equal(found.codes, naive_predictions(train, labels.tolist(), test, experiments=10, samples=8))
    assert found.codes.shape == (120, 10)
    assert found.notes == ()
    fewer = classify(train, labels, test, experiments=3, samples_per_label=2)
    assert np.array_equal(fewer.codes, naive_predictions(train, labels.tolist(), test, experiments=3, samples=2))


def test_experiments_learn_from_different_texts_and_the_seed_decides_which() -> None:
    (train, labels), (test, _) = texts(300, 3, noise=2.0), texts(120, 4, noise=2.0)
    found = classify(train, labels, test, experiments=4).codes
    assert len({column.tobytes() for column in found.T}) == 4
    assert np.array_equal(classify(train, labels, test, experiments=4).codes, found)
    assert not np.array_equal(classify(train, labels, test, experiments=4, seed=1).codes, found)


def test_labels_that_can_be_told_apart_are_learnt() -> None:
    (train, labels), (test, truth) = texts(300, 5, noise=0.1), texts(100, 6, noise=0.1)
    assert (classify(train, labels, test).codes == truth[:, None]).all()


def test_rare_labels_give_what_they_have_and_are_noted() -> None:
    train, labels = texts(200, 7)
    labels = np.where((labels == 3) & (np.arange(200) > 12), 2, labels)
    rare = int((labels == 3).sum())
    assert 0 < rare < 8
    found = classify(train, labels, train[:20])
    assert found.notes == (f"1 of 4 labels have fewer than 8 texts to learn from, the rarest {rare}",)
    naive = naive_predictions(train, labels.tolist(), train[:20], experiments=10, samples=8)
    assert np.array_equal(found.codes, naive)


def test_classifiers_that_did_not_converge_are_counted() -> None:
    train, labels = texts(64, 8, noise=3.0)
    train *= np.geomspace(1e-2, 1e4, 8, dtype=np.float32)
    found = classify(train, labels, train)
    assert found.notes == ("10 of 10 classifiers had not converged after 100 steps, mteb's limit",)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        stopped = naive_predictions(train, labels.tolist(), train, experiments=10, samples=8)
    assert np.array_equal(found.codes, stopped)


def test_nothing_global_is_drawn_from() -> None:
    train, labels = texts(60, 9)
    before = (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002  what must stay as it is
    classify(train, labels, train[:5], experiments=1)
    cluster(train, 4, experiments=1)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before  # noqa: NPY002


def test_one_label_teaches_nothing() -> None:
    train, labels = texts(30, 10)
    with pytest.raises(
        CorpusError,
        match=r"needs texts of at least 2 labels to learn from, got 30 texts of 1\. Add texts of other labels",
    ):
        classify(train, np.zeros_like(labels), train)


# --- clusters


def test_clusters_are_scikit_learns_from_rising_seeds() -> None:
    vectors, _ = texts(700, 11)
    found = cluster(vectors, 4, experiments=3, seed=7)
    for experiment in range(3):
        model = MiniBatchKMeans(4, batch_size=500, n_init="auto", random_state=7 + experiment)
        with threadpool_limits(1):
            assert np.array_equal(found.codes[:, experiment], model.fit(vectors).labels_)
    assert found.codes.shape == (700, 3)


def test_clusters_that_lie_apart_are_found() -> None:
    vectors, labels = texts(300, 12, noise=0.01)
    codes = cluster(vectors, 4, experiments=10).codes
    exact = [len({*zip(labels.tolist(), column.tolist(), strict=True)}) == 4 for column in codes.T]
    assert any(exact)  # a start may put two centres into one cloud, which is why there are ten


@pytest.mark.parametrize(("n_clusters", "n"), [(1, 30), (31, 30), (0, 30)])
def test_as_many_clusters_as_labels_must_be_possible(n_clusters: int, n: int) -> None:
    vectors, _ = texts(n, 13)
    with pytest.raises(
        CorpusError, match=rf"at least 2 labels and a text for each, got {n_clusters} labels and {n} texts. Add texts"
    ):
        cluster(vectors, n_clusters)


# --- vectors nothing can be learnt from


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(bad: float) -> None:
    vectors, labels = texts(40, 14)
    broken = vectors.copy()
    broken[[4, 9], 2] = bad
    message = r"Vectors must be finite, but 2 of 40 hold NaN or infinity; the first is that of text 4 .* Check"
    for refuse in (
        lambda: classify(broken, labels, vectors),
        lambda: classify(vectors, labels, broken),
        lambda: cluster(broken, 4),
        lambda: summary_correlations([broken], [vectors], [list(range(40))]),
        lambda: summary_correlations([vectors], [broken], [list(range(40))]),
    ):
        with pytest.raises(ModelError, match=message):
            refuse()


def test_one_vector_for_all_texts_is_refused() -> None:
    vectors, labels = texts(40, 15)
    same = np.tile(vectors[:1], (40, 1))
    for refuse in (lambda: classify(same, labels, vectors), lambda: cluster(same, 4)):
        with pytest.raises(ModelError, match=r"must tell texts apart, but all 40 are the same\. Check that the texts"):
            refuse()
    assert classify(vectors, labels, same).codes.shape == (40, 10)


# --- summaries


def naive_correlation(references: np.ndarray, summaries: np.ndarray, ratings: list[float]) -> float:
    cosines = [
        max(float(one @ known) / np.linalg.norm(one) / np.linalg.norm(known) for known in references)
        for one in summaries.astype(float)
    ]
    return float(stats.spearmanr(cosines, ratings).statistic)


def test_articles_have_the_correlation_of_ratings_and_nearest_reference() -> None:
    generator = np.random.default_rng(16)
    sizes = [(11, 16), (1, 5), (4, 8), (2, 12)]
    references = [generator.standard_normal((k, 8)).astype(np.float32) for k, _ in sizes]
    summaries = [3 * generator.standard_normal((k, 8)).astype(np.float32) for _, k in sizes]
    ratings = [generator.integers(1, 6, k).astype(float).tolist() for _, k in sizes]
    wanted = [naive_correlation(*article) for article in zip(references, summaries, ratings, strict=True)]
    assert_close(summary_correlations(references, summaries, ratings), wanted)


def test_articles_that_cannot_be_ordered_have_none() -> None:
    vectors, _ = texts(6, 17)
    same = np.tile(vectors[:1], (6, 1))
    found = summary_correlations(
        [vectors] * 3, [vectors[::-1] + 1, same, vectors - 1], [[3.0] * 6, range(6), range(6)]
    )
    assert np.isnan(found).tolist() == [True, True, False]


def test_equal_summaries_have_equal_cosines_wherever_they_stand() -> None:
    """Rows of a matrix product may be rounded differently, which would tear ties apart."""
    generator = np.random.default_rng(18)
    for n in range(3, 40):
        references = generator.standard_normal((3, 384)).astype(np.float32)
        one, other = generator.standard_normal((2, 384)).astype(np.float32)
        summaries = np.stack([one] * n + [other])
        [value] = summary_correlations([references], [summaries], [[*range(n), n]])
        assert abs(value) == pytest.approx(
            naive_correlation(references, summaries[-2:], [0, 1])
            and abs(stats.spearmanr([0.0] * n + [1.0], range(n + 1)).statistic)
        )


def test_every_article_needs_all_three() -> None:
    with pytest.raises(ValueError, match="shorter"):
        summary_correlations([np.eye(2)], [np.eye(2)], [])
