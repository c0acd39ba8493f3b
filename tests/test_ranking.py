"""Scores of rankings are those of definitions written out, query by query."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tolerances import assert_close
from uncollapse.errors import CorpusError, UncollapseError
from uncollapse.evaluation.rankings.trec_eval import RANKING_METRICS, score_rankings
from uncollapse.evaluation.statistics.metrics import METRICS

Rankings = dict[str, list[str]]
Judgements = dict[str, dict[str, int]]


def naive(ranking: list[str], grades: dict[str, int]) -> dict[str, float]:
    gains = [max(0, grades.get(document, 0)) for document in ranking[:1000]]
    ideal = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    hits = [gain > 0 for gain in gains]

    def dcg(values: list[int], k: int) -> float:
        return sum(value / math.log2(rank + 2) for rank, value in enumerate(values[:k]))

    precisions = [sum(hits[: rank + 1]) / (rank + 1) for rank, hit in enumerate(hits) if hit]
    return {
        "ndcg@10": dcg(gains, 10) / dcg(ideal, 10),
        "ndcg@1": dcg(gains, 1) / dcg(ideal, 1),
        "rr@10": next((1 / (rank + 1) for rank, hit in enumerate(hits[:10]) if hit), 0.0),
        "recall@10": sum(hits[:10]) / len(ideal),
        "recall@100": sum(hits[:100]) / len(ideal),
        "ap": sum(precisions) / len(ideal),
    }


def check(rankings: Rankings, judgements: Judgements) -> None:
    found = score_rankings(rankings, judgements)
    for place, (query, grades) in enumerate(judgements.items()):
        for name, value in naive(rankings.get(query, []), grades).items():
            assert_close(found[name][place], value)


def test_every_score_is_a_metric_of_its_own_column() -> None:
    for name in RANKING_METRICS:
        assert METRICS[name].columns == (name,)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([3, 12, 150]))
def test_scores_are_their_definitions(seed: int, depth: int) -> None:
    generator = np.random.default_rng(seed)
    documents = [f"d{i}" for i in range(200)]
    judgements, rankings = {}, {}
    for query in ("q1", "q2", "q3"):
        judged = generator.choice(documents, generator.integers(1, 30), replace=False).tolist()
        judgements[query] = {document: int(generator.integers(0, 4)) for document in judged} | {judged[0]: 1}
        rankings[query] = generator.permutation(documents)[:depth].tolist()
    check(rankings, judgements)


def test_five_queries_by_hand() -> None:
    rankings = {
        "first": ["a", "b"],
        "second": ["b", "a"],
        "half": ["x", "a", "y", "b"],
        "none": ["x", "y"],
        "gone": [],
    }
    judgements: Judgements = {
        "first": {"a": 1},
        "second": {"a": 1},
        "half": {"a": 1, "b": 1},
        "none": {"a": 1},
        "gone": {"a": 1},
    }
    found = score_rankings(rankings, judgements)
    assert_close(found["rr@10"], [1, 1 / 2, 1 / 2, 0, 0])
    assert_close(found["ap"], [1, 1 / 2, (1 / 2 + 2 / 4) / 2, 0, 0])
    assert_close(found["recall@10"], [1, 1, 1, 0, 0])
    half = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    assert_close(found["ndcg@10"], [1, 1 / math.log2(3), half, 0, 0])
    assert_close(found["ndcg@1"], [1, 0, 0, 0, 0])


def test_gains_are_linear_in_the_grade_and_the_ideal_is_over_all_judged() -> None:
    [value] = score_rankings({"q": ["good", "best"]}, {"q": {"best": 3, "good": 1, "unranked": 2}}, ["ndcg@10"])[
        "ndcg@10"
    ]
    assert_close(value, (1 + 3 / math.log2(3)) / (3 + 2 / math.log2(3) + 1 / 2))


def test_grades_of_zero_and_below_are_not_relevant() -> None:
    check({"q": ["a", "b", "c", "d"]}, {"q": {"a": 0, "b": -1, "c": 2}})


@pytest.mark.parametrize("rank", [9, 10, 11, 100, 101, 1000, 1001])
def test_cuts_are_at_their_ranks(rank: int) -> None:
    ranking = [f"x{i}" for i in range(1200)]
    ranking[rank - 1] = "wanted"
    found = {name: value[0] for name, value in score_rankings({"q": ranking}, {"q": {"wanted": 2}}).items()}
    assert_close(found["rr@10"], 1 / rank if rank <= 10 else 0)
    assert_close(found["recall@10"], rank <= 10)
    assert_close(found["recall@100"], rank <= 100)
    assert_close(found["ap"], 1 / rank if rank <= 1000 else 0)


def test_the_order_given_is_kept_however_documents_are_called() -> None:
    for ranking in (["a", "b", "c"], ["c", "b", "a"], ["10", "9", "é"]):
        check({"q": ranking}, {"q": {ranking[1]: 1}})


def test_queries_come_in_the_order_of_the_judgements() -> None:
    judgements: Judgements = {query: {"a": 1} for query in ("z", "a", "m")}
    found = score_rankings({"a": ["a"], "unjudged": ["a"]}, judgements, ["rr@10"])
    assert list(found) == ["rr@10"]
    assert found["rr@10"].tolist() == [0, 1, 0]


def test_without_queries_there_are_no_scores() -> None:
    assert {name: len(values) for name, values in score_rankings({}, {}).items()} == dict.fromkeys(RANKING_METRICS, 0)


def test_numbers_of_numpy_serve_as_grades() -> None:
    assert score_rankings({"q": ["a"]}, {"q": {"a": np.int64(2)}}, ["ndcg@10"])["ndcg@10"] == [1]


def test_queries_without_relevant_documents_are_refused() -> None:
    with pytest.raises(
        CorpusError,
        match=r"Every judged query needs a relevant document .* 2 of 3 have none; the first is 'q2'. Leave",
    ):
        score_rankings({}, {"q1": {"a": 1}, "q2": {"a": 0}, "q3": {}})


def test_a_document_ranked_twice_is_refused() -> None:
    with pytest.raises(
        UncollapseError, match=r"each document once, but that of query 'q' holds 'b' more than once. Keep"
    ):
        score_rankings({"q": ["a", "b", "c", "b", "a"]}, {"q": {"a": 1}})


def test_unknown_measures_are_named() -> None:
    with pytest.raises(UncollapseError, match=r"No measure of rankings is called 'ndcg@5'\. Did you mean 'ndcg@1"):
        score_rankings({"q": ["a"]}, {"q": {"a": 1}}, ["ndcg@5"])


def test_ten_thousand_queries_take_seconds() -> None:
    documents = [f"document {i}" for i in range(300)]
    rankings = {f"q{i}": documents[i % 200 : i % 200 + 100] for i in range(10_000)}
    judgements: Judgements = {f"q{i}": {documents[i % 200 + 3]: 1} for i in range(10_000)}
    started = time.perf_counter()
    found = score_rankings(rankings, judgements)
    assert time.perf_counter() - started < 20
    assert set(found["rr@10"]) == {1 / 4}
