"""Rankings from vectors and from run files: order, ties, own documents, lengths, and that both ways agree."""

import ir_measures
import numpy as np
import pytest

from uncollapse.errors import CorpusError
from uncollapse.evaluation.rankings.retrieval import (
    as_run,
    judgements_of,
    rank_documents,
    ranking_sheets,
    read_ranking,
)
from uncollapse.evaluation.reading.trec import Ranking, Run
from uncollapse.evaluation.tasks import Retrieval, Texts
from uncollapse.measures import unit

DOCUMENTS, QUERIES = 60, 12


def task(judgements=None, queries=None, texts=None) -> Retrieval:
    rng = np.random.default_rng(5)
    names = tuple(f"d{i}" for i in range(DOCUMENTS))
    asked = queries or tuple(f"q{i}" for i in range(QUERIES))
    judged = judgements or {
        query: {names[j]: int(rng.integers(0, 3)) for j in rng.choice(DOCUMENTS, 6, replace=False)} | {names[0]: 1}
        for query in asked
    }
    return Retrieval(
        "set", "test", Texts(names, tuple(f"text {i}" for i in range(DOCUMENTS))),
        Texts(asked, texts or tuple(f"question {i}" for i in range(len(asked)))), judged,
    )  # fmt: skip


@pytest.fixture
def vectors():
    rng = np.random.default_rng(1)
    return unit(rng.standard_normal((QUERIES, 8))), unit(rng.standard_normal((DOCUMENTS, 8)))


def ranked(one, vectors):
    queries, documents = vectors
    lengths = np.arange(10, 10 + len(documents))
    return rank_documents(
        one, queries, documents, query_lengths=np.arange(3, 3 + len(queries)), document_lengths=lengths
    )


def test_scores_are_those_of_trec_eval_on_the_same_cosines(vectors):
    one = task()
    sheet, _ = ranking_sheets(ranked(one, vectors))
    cosines = vectors[0].astype(np.float64) @ vectors[1].T.astype(np.float64)
    run = {
        q: dict(zip(one.documents.ids, row.tolist(), strict=True))
        for q, row in zip(one.queries.ids, cosines, strict=True)
    }
    measures = {"ndcg@10": ir_measures.nDCG @ 10, "recall@10": ir_measures.R @ 10, "ap": ir_measures.AP}
    for name, measure in measures.items():
        found = {m.query_id: m.value for m in ir_measures.iter_calc([measure], one.judgements, run)}
        np.testing.assert_allclose(sheet.columns[name], [found[q] for q in one.queries.ids], atol=1e-12)


def test_of_equal_scores_the_larger_id_comes_first_as_in_trec_eval():
    one = task({"q0": {"d1": 1}}, ("q0",))
    vectors = np.ones((1, 4), np.float32), np.ones((DOCUMENTS, 4), np.float32)
    retrieved = ranked(one, vectors)
    found = [retrieved.document_ids[i] for i in retrieved.ranked.top[0]]
    assert found == sorted(one.documents.ids, reverse=True)


def test_a_query_that_is_a_document_does_not_find_itself(vectors):
    names = tuple(f"d{i}" for i in range(QUERIES))
    one = task({name: {"d20": 1} for name in names}, names, tuple(f"Text  {i}" for i in range(QUERIES)))
    retrieved = ranked(one, (vectors[1][:QUERIES], vectors[1]))
    assert all(i not in row for i, row in enumerate(retrieved.ranked.top))
    assert "12 queries are documents themselves" in retrieved.notes[-1]


def test_ids_that_coincide_by_counting_alone_change_nothing(vectors):
    """Cranfield counts queries and documents from 1; query 1 is no copy of document 1."""
    names = tuple(f"d{i}" for i in range(QUERIES))
    one = task({name: {"d20": 1} for name in names}, names)
    retrieved = ranked(one, (vectors[1][:QUERIES], vectors[1]))
    assert (retrieved.ranked.top[:, 0] == np.arange(QUERIES)).all()
    assert not [note for note in retrieved.notes if "themselves" in note]


def test_lengths_of_a_query_are_the_geometric_mean_of_its_relevant_documents(vectors):
    one = task({"q0": {"d10": 1, "d30": 2, "d5": 0}}, ("q0",))
    sheet, relevant = ranking_sheets(ranked(one, (vectors[0][:1], vectors[1])))
    assert sheet.n_tokens.tolist() == [round((20 * 40) ** 0.5)]
    assert sheet.n_query_tokens.tolist() == [3]
    assert sorted(zip(relevant.ids, relevant.n_tokens.tolist(), strict=True)) == [("q0 d10", 20), ("q0 d30", 40)]


def test_a_relevant_document_is_found_exactly_when_it_is_among_ten(vectors):
    one = task()
    retrieved = ranked(one, vectors)
    _, relevant = ranking_sheets(retrieved)
    top = {
        q: [retrieved.document_ids[i] for i in row[:10]]
        for q, row in zip(one.queries.ids, retrieved.ranked.top, strict=True)
    }
    for name, found in zip(relevant.ids, relevant.columns["found@10"], strict=True):
        query, document = name.split()
        assert found == (document in top[query])


def test_queries_that_share_an_answer_are_one_group(vectors):
    one = task({f"q{i}": {f"d{i // 2}": 1} for i in range(QUERIES)})
    assert len(set(ranked(one, vectors).ranked.groups)) == QUERIES // 2


def test_a_run_written_from_a_model_gives_the_same_sheets(vectors):
    one = task()
    retrieved = ranked(one, vectors)
    lengths = dict(zip(one.documents.ids, range(10, 10 + DOCUMENTS), strict=True))
    asked = dict(zip(one.queries.ids, range(3, 3 + QUERIES), strict=True))
    again = read_ranking(as_run(retrieved, "minilm"), judgements_of(retrieved), lengths, asked)
    for mine, theirs in zip(ranking_sheets(retrieved), ranking_sheets(again), strict=True):
        assert mine.ids == theirs.ids
        assert mine.groups == theirs.groups
        np.testing.assert_array_equal(mine.n_tokens, theirs.n_tokens)
        for name, column in mine.columns.items():
            np.testing.assert_array_equal(column, theirs.columns[name], err_msg=name)


def test_a_judged_query_that_a_run_lacks_scores_nothing_and_is_told():
    run = Run("lucene", {"q1": Ranking(("a", "b"), np.array([2.0, 1.0]))})
    retrieved = read_ranking(run, {"q1": {"a": 1}, "q2": {"b": 1}}, {"a": 5, "b": 7})
    sheet, _ = ranking_sheets(retrieved)
    assert sheet.columns["ndcg@10"].tolist() == [1.0, 0.0]
    assert retrieved.notes == ("1 of 2 judged queries are not in the run and count as having found nothing",)


def noted(lists, documents):
    """Notes about a run of these scores, by query."""
    names = [f"d{i:03}" for i in range(documents)]
    scored = {f"q{n}": dict(zip(names, scores, strict=False)) for n, scores in enumerate(lists)}
    judged = {query: {names[n]: 1} for n, query in enumerate(scored)}
    return read_ranking(Run.from_scores("a", scored), judged, dict.fromkeys(names, 5)).notes


def test_queries_whose_scores_are_all_equal_are_counted():
    said = "queries all scores are equal; ties are ordered by id, so this ranking says nothing about them"
    assert noted([[1.0] * 4, [1.0, 2.0, 2.0, 2.0], [0.0] * 4], 4) == (f"in 2 of 3 {said}",)
    assert noted([[0.1] * 4], 4) == (f"in 1 of 1 {said}",)
    assert noted([[1.0, 2.0, 2.0, 2.0]], 4) == ()


def test_one_document_alone_is_no_tie():
    assert noted([[1.0], [1.0, 2.0]], 2) == ()


@pytest.mark.parametrize(
    ("held", "documents", "deeper"),
    [(10, 300, "100"), (99, 300, "100"), (100, 300, ""), (5, 300, "10 and 100"), (12, 12, ""), (8, 9, "10 and 100")],
)
def test_scores_that_look_further_than_a_run_goes_are_named(held, documents, deeper):
    said = f"the run holds at most {held} documents a query, so scores at {deeper} count what it does not hold as"
    assert noted([range(held), range(2)], documents) == ((f"{said} not found",) if deeper else ())


@pytest.mark.parametrize(("lengths", "message"), [({"a": 5}, "retrieved document .* 1 have none; the first is 'b'")])
def test_a_document_without_a_length_is_refused(lengths, message):
    run = Run("lucene", {"q1": Ranking(("a", "b"), np.array([2.0, 1.0]))})
    with pytest.raises(CorpusError, match=message):
        read_ranking(run, {"q1": {"a": 1}}, lengths)
    with pytest.raises(CorpusError, match="Every judged document needs a length"):
        read_ranking(run, {"q1": {"c": 1}}, {"a": 5, "b": 6})


def test_lengths_of_queries_must_be_of_all_judged_ones():
    run = Run("lucene", {"q1": Ranking(("a",), np.array([2.0]))})
    judged, lengths = {"q1": {"a": 1}, "q2": {"a": 1}}, {"a": 5}
    with pytest.raises(CorpusError, match="Every judged query needs a length, but 1 have none; the first is 'q2'"):
        read_ranking(run, judged, lengths, {"q1": 3})
    assert read_ranking(run, judged, lengths, {"q2": 4, "q1": 3}).query_lengths.tolist() == [3, 4]


def test_a_length_of_zero_counts_as_one_and_is_told():
    run = Run("lucene", {"q1": Ranking(("a", "b", "c"), np.array([3.0, 2.0, 1.0]))})
    judged, ones = {"q1": {"a": 1}}, {"a": 1, "b": 1, "c": 8}
    counted, given = (
        read_ranking(run, judged, lengths, {"q1": own, "q2": 0})
        for lengths, own in ((ones, 1), (ones | {"a": 0, "b": 0}, 0))
    )
    assert counted.ranked.lengths.tolist() == given.ranked.lengths.tolist() == [1, 1, 8]
    assert counted.query_lengths.tolist() == given.query_lengths.tolist() == [1]
    assert counted.notes == ()
    assert given.notes == (
        "2 of 3 documents have length 0 and count as one token or word",
        "1 of 1 queries have length 0 and count as one token or word",
    )


def test_a_run_of_other_queries_is_refused_with_an_id_of_each_side():
    run = Run("lucene", {"t1": Ranking(("a",), np.array([2.0]))})
    with pytest.raises(CorpusError, match="'lucene' has, got none of the same id: its first query is 't1', .* 'q1'"):
        read_ranking(run, {"q1": {"a": 1}}, {"a": 5})


def test_queries_of_a_run_without_judgement_are_counted():
    found = Ranking(("a",), np.array([2.0]))
    retrieved = read_ranking(Run("lucene", {"q1": found, "q2": found, "q3": found}), {"q1": {"a": 1}}, {"a": 5})
    (note,) = retrieved.notes
    assert note.startswith("2 of 3 queries of the run have no relevant document")


def test_of_a_long_query_the_beginning_is_kept(vectors):
    one = task({"q0": {"d1": 1, "d2": 1}}, ("q0",), ("x" * 10_000,))
    for sheet in ranking_sheets(ranked(one, (vectors[0][:1], vectors[1]))):
        assert set(sheet.snippets) == {"x" * 300}
