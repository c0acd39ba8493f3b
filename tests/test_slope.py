"""The regression of the score on length resamples queries and documents."""

import dataclasses

import numpy as np
import pytest

from rankings import make
from uncollapse.errors import UncollapseError
from uncollapse.evaluation.bias.figures import length_bias
from uncollapse.evaluation.bias.slope import draw_both, slope_texts
from uncollapse.evaluation.rankings.ranked import Background, Judged, Ranked, draw_background
from uncollapse.evaluation.statistics.intervals import estimate
from uncollapse.evaluation.statistics.linked import BOTH_DRAWN
from uncollapse.resampling import difference, document_keys, poisson_weights


def level_ranked(seed, queries=40, documents=25, effect=1.0, slope=0.0):
    """Scores of all documents; every document has a level of its own, apart from its length."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.normal(5, 1, documents)).astype(np.int64) + 1
    scores = effect * rng.normal(size=documents) + slope * np.log2(lengths) + rng.normal(size=(queries, documents))
    drawn = draw_background(queries, documents)
    ids, none = tuple(f"q{i}" for i in range(queries)), np.zeros(0, np.int64)
    judged = Judged(none, none, none, none, np.zeros(0))
    background = Background(drawn, np.take_along_axis(scores, drawn, axis=1))
    return Ranked(ids, ids, lengths, np.zeros((queries, 0), np.int64), judged, background)


def test_texts_add_up_to_the_sums_of_their_queries():
    ranked = make(3, slope=-0.3)
    texts = slope_texts(ranked)
    np.testing.assert_allclose(texts.by_query(len(ranked)).sum(axis=0), texts.values.sum(axis=0))
    sums = texts.values.sum(axis=0)
    assert length_bias(ranked, replicates=4).estimates["length_slope", ""].value == pytest.approx(sums[0] / sums[3])


def test_a_text_counts_as_often_as_its_group_times_as_often_as_its_document():
    groups = tuple(f"g{i // 2}" for i in range(40))
    texts = slope_texts(make(3, groups=groups))
    names = [f"d{i}" for i in range(120)]
    drawn = draw_both(texts, groups, names, replicates=8, seed=5)
    of_query = poisson_weights(document_keys(groups), 8, seed=5)[texts.query]
    of_document = poisson_weights(document_keys([f"document {name}" for name in names]), 8, seed=5)[texts.document]
    np.testing.assert_allclose(drawn, (of_query * of_document).astype(float).T @ texts.values)


def test_blocks_change_nothing(monkeypatch):
    ranked = make(3)
    texts, names = slope_texts(ranked), ranked.document_names
    whole = draw_both(texts, ranked.groups, names, replicates=8, seed=0)
    monkeypatch.setattr("uncollapse.evaluation.bias.slope._BLOCK", 7)
    np.testing.assert_allclose(draw_both(texts, ranked.groups, names, replicates=8, seed=0), whole)


def test_intervals_hold_the_truth_where_documents_are_few_and_have_levels_of_their_own():
    alone, both = [], []
    for seed in range(100):
        ranked = level_ranked(seed)
        columns = list(slope_texts(ranked).by_query(len(ranked))[:, [0, 3]].T)
        old = estimate(lambda a, b, w: (a @ w) / (b @ w), columns, groups=ranked.groups, replicates=200)
        new = length_bias(ranked, replicates=200).estimates["length_slope", ""]
        assert new.value == pytest.approx(old.value)
        alone.append(old.low <= 0 <= old.high)
        both.append(new.low <= 0 <= new.high)
    assert np.mean(alone) < 0.5
    assert np.mean(both) >= 0.88


def test_a_change_is_paired_by_documents_too():
    """What both models have of a document cancels."""
    before, after = (length_bias(level_ranked(1, effect=3, slope=slope)).estimates for slope in (0.0, -0.5))
    one, two = before["length_slope", ""], after["length_slope", ""]
    change = difference(two, one)
    assert change.high - change.low < (one.high - one.low) / 20
    assert change.value == pytest.approx(-0.5)


def test_n_is_the_smaller_side_and_few_documents_have_no_interval():
    found = length_bias(level_ranked(0, queries=40, documents=25)).estimates["length_slope", ""]
    assert (found.n, found.note) == (25, BOTH_DRAWN)
    few = length_bias(level_ranked(0, queries=40, documents=9)).estimates["length_slope", ""]
    assert (few.n, few.low) == (9, None)
    assert length_bias(level_ranked(0, queries=12, documents=25)).estimates["length_slope", ""].n == 12


def test_documents_are_resampled_by_name():
    ranked = level_ranked(0)
    named = dataclasses.replace(ranked, document_ids=tuple(f"x{i}" for i in range(25)))
    one, other = (length_bias(r, replicates=64).estimates["length_slope", ""] for r in (ranked, named))
    assert one.value == other.value
    assert (one.replicates != other.replicates).any()
    with pytest.raises(UncollapseError, match="document_ids"):
        dataclasses.replace(ranked, document_ids=("x",))
