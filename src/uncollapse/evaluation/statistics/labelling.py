"""What vectors say about labels and ratings: classifiers, clusters, agreement. Only this file knows scikit-learn."""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.errors import CorpusError, ModelError
from uncollapse.evaluation.statistics.weighted import weighted_spearman
from uncollapse.records import FloatArray, IntArray

MAX_ITERATIONS = 100
CLUSTER_BATCH = 500


@dataclass(frozen=True, eq=False)
class Assigned:
    """What each text was taken for, once an experiment.

    Args:
        codes: int64 [texts, experiments], labels or clusters as numbers.
        notes: what a reader must know.
    """

    codes: npt.NDArray[np.int64]
    notes: tuple[str, ...] = ()


def classify(
    train_vectors: FloatArray,
    train_labels: IntArray,
    test_vectors: FloatArray,
    *,
    experiments: int = 10,
    samples_per_label: int = 8,
    seed: int = 42,
) -> Assigned:
    """Labels that logistic regression learns from a few texts of each, several times, just as mteb does it.

    Every experiment takes the first `samples_per_label` texts of each label in a new shuffle, fits scikit-learn's
    LogisticRegression(max_iter=100) on their vectors as they are, and predicts. Labels with fewer texts give what they
    have, as in mteb; a note says so, and another says how many fits had not converged.

    Args:
        train_vectors: [train texts, dim]; in float32, mteb's own figures come out.
        train_labels: [train texts], numbers from 0.
        test_vectors: [texts, dim].
        experiments: how many; mteb's figure is the mean score of 10.
        samples_per_label: how many texts of each label are learnt from.
        seed: mteb's is 42.

    Raises:
        CorpusError: fewer than two labels.
        ModelError: vectors that are not finite, or all the same.

    >>> vectors = np.array([[0.0, 1.0], [1.0, 0.0]], np.float32)
    >>> classify(vectors, np.array([1, 0]), vectors, experiments=2).codes.tolist()
    [[1, 1], [0, 0]]

    Reference:
        Muennighoff et al. (2023), MTEB: Massive text embedding benchmark, EACL; AbsTaskClassification of mteb 2.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    _check_labels(train_labels, "classifier")
    _check_vectors(train_vectors)
    _check_vectors(test_vectors, may_be_constant=True)
    codes = np.empty((len(test_vectors), experiments), np.int64)
    unfinished = 0
    for experiment, chosen in enumerate(_few_of_each(train_labels, experiments, samples_per_label, seed)):
        model = LogisticRegression(max_iter=MAX_ITERATIONS, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # counted, and said in a note
            model.fit(train_vectors[chosen], train_labels[chosen])
        unfinished += int(model.n_iter_.max() >= MAX_ITERATIONS)
        codes[:, experiment] = model.predict(test_vectors)
    return Assigned(codes, (*_scarce(train_labels, samples_per_label), *_unfinished(unfinished, experiments)))


def cluster(vectors: FloatArray, n_clusters: int, *, experiments: int = 10, seed: int = 42) -> Assigned:
    """Groups that k-means finds among all the texts, several times from different starts.

    scikit-learn's MiniBatchKMeans with batches of 500, seeds `seed`, `seed` + 1, ... The first experiment is what
    mteb's AbsTaskClusteringLegacy computes for one set of texts; a mean of ten hangs less on one random start. mteb's
    newer AbsTaskClustering is not followed: it clusters ten times 16,384 texts drawn with replacement (by default out
    of 4 % of the set), which counts some texts often and others never.

    Args:
        vectors: [texts, dim]; in float32, mteb's own figures come out.
        n_clusters: how many, usually that of the labels.
        experiments: how many starts.
        seed: of the first.

    Raises:
        CorpusError: fewer than two clusters are asked for, or more than there are texts.
        ModelError: vectors that are not finite, or all the same.

    >>> codes = cluster(np.eye(2, dtype=np.float32)[[0, 1, 0]], 2, experiments=1).codes[:, 0]
    >>> bool(codes[0] == codes[2] != codes[1])
    True

    Reference:
        Sculley (2010), Web-scale k-means clustering, WWW; Muennighoff et al. (2023), MTEB, EACL.
    """
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    if not 2 <= n_clusters <= len(vectors):
        raise CorpusError(
            f"Clustering needs at least 2 labels and a text for each, got {n_clusters} labels and {len(vectors)} "
            "texts. Add texts of other labels, or leave this task out."
        )
    _check_vectors(vectors)
    codes = []
    for experiment in range(experiments):
        model = MiniBatchKMeans(n_clusters, batch_size=CLUSTER_BATCH, n_init="auto", random_state=seed + experiment)
        with threadpool_limits(1):  # a batch of 500 is two chunks; on a busy machine threads wait ten times as long
            codes.append(model.fit(vectors).labels_)
    return Assigned(np.stack(codes, axis=1).astype(np.int64))


def summary_correlations(
    references: Sequence[FloatArray], summaries: Sequence[FloatArray], ratings: Sequence[Sequence[float]]
) -> npt.NDArray[np.float64]:
    """Whether an article's better summaries lie nearer to the summaries that people wrote, article by article.

    Spearman's correlation of a summary's rating with its highest cosine to a reference of its article. How to read it:
    1 where the order agrees, 0 by chance. Not defined, and NaN, where all ratings or all cosines of the article are
    equal; mteb leaves such articles out of its mean.

    Args:
        references: by article, [its references, dim].
        summaries: by article, [its summaries, dim].
        ratings: by article, one a summary.

    Returns:
        float64 [articles].

    >>> summary_correlations([np.eye(2)], [np.array([[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]])], [[3.0, 2.0, 1.0]])
    array([1.])

    Reference:
        Fabbri et al. (2021), SummEval: Re-evaluating summarization evaluation, TACL; AbsTaskSummarization of mteb 2.
    """
    values = []
    for known, rated, rating in zip(references, summaries, ratings, strict=True):
        _check_vectors(known, may_be_constant=True)
        _check_vectors(rated, may_be_constant=True)
        nearest = np.array([np.einsum("d,kd->k", one, _directions(known)).max() for one in _directions(rated)])
        values.append(weighted_spearman(nearest, np.array(rating, np.float64), np.ones((len(rating), 1)))[0])
    return np.array(values)


def _few_of_each(labels: IntArray, experiments: int, samples: int, seed: int) -> list[list[int]]:
    """The texts each experiment learns from: mteb shuffles the shuffled order anew, from the same seed each time."""
    order = np.arange(len(labels))
    chosen = []
    for _ in range(experiments):
        np.random.RandomState(seed).shuffle(order)  # the generator that mteb's figures come from
        taken: Counter[int] = Counter()
        few = []
        for place in order.tolist():
            label = int(labels[place])
            if taken[label] < samples:
                taken[label] += 1
                few.append(place)
        chosen.append(few)
    return chosen


def _scarce(labels: IntArray, samples: int) -> tuple[str, ...]:
    counts = np.unique(labels, return_counts=True)[1]
    few = int((counts < samples).sum())
    if not few:
        return ()
    return (f"{few} of {len(counts)} labels have fewer than {samples} texts to learn from, the rarest {counts.min()}",)


def _unfinished(fits: int, experiments: int) -> tuple[str, ...]:
    if not fits:
        return ()
    return (f"{fits} of {experiments} classifiers had not converged after {MAX_ITERATIONS} steps, mteb's limit",)


def _directions(vectors: FloatArray) -> npt.NDArray[np.float64]:
    exact = np.asarray(vectors, np.float64)
    return np.asarray(exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-12))


def _check_labels(labels: IntArray, what: str) -> None:
    distinct = len(np.unique(labels))
    if distinct < 2:
        raise CorpusError(
            f"A {what} needs texts of at least 2 labels to learn from, got {len(labels)} texts of {distinct}. "
            "Add texts of other labels to the training split."
        )


def _check_vectors(vectors: FloatArray, *, may_be_constant: bool = False) -> None:
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ModelError(
            f"Vectors must be finite, but {len(bad)} of {len(vectors)} hold NaN or infinity; the first is that of "
            f"text {bad[0]} (counted from 0). Check the model's weights for NaN, and load it in float32."
        )
    if not may_be_constant and len(vectors) > 1 and not np.ptp(vectors, axis=0).any():
        raise ModelError(
            f"Vectors must tell texts apart, but all {len(vectors)} are the same. Check that the texts differ, and "
            "that the model and the fix are those you meant."
        )
