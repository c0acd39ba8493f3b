"""Texts with several vectors, searched by the best of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text_fix_examples import LONG, PLAN, fixed, retrieval, unit
from tiny import save_tiny
from uncollapse.encoders import CachedEncoder, load
from uncollapse.errors import FixError, UncollapseError
from uncollapse.evaluation.scoring import score_task, unlabelled
from uncollapse.evaluation.tasks import Similarity
from uncollapse.evaluation.trial import evaluate
from uncollapse.fixes import compose, parse
from uncollapse.measures.search import search
from uncollapse.pipelines.fitting import fit_pipeline


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def base(encoder):
    return CachedEncoder(encoder)


def brute_force(queries, several):
    scores = queries.astype(float) @ several.flat.vectors.astype(float).T
    return np.stack([scores[:, several.owners == i].max(axis=1) for i in range(len(several))], axis=1)


@pytest.mark.parametrize("written", ["best_chunk(8)", "late_chunking(8, best)", "best_chunk(8) + centering(all)"])
def test_the_best_vector_ranks_as_brute_force_does(base, written):
    task = retrieval()
    pipeline = fit_pipeline(base, compose(parse(written)), unlabelled(task))
    several = pipeline.encode_several(task.documents.texts)
    assert not several.is_single
    queries = pipeline.encode(task.queries.texts, role="query").vectors
    scores = brute_force(unit(queries), several)
    scored = score_task(task, pipeline)
    order = sorted(range(len(task.documents)), key=lambda i: task.documents.ids[i], reverse=True)
    for row, found in enumerate(scored.ranked.top):
        expected = sorted(order, key=lambda i: -scores[row, i])
        np.testing.assert_allclose(scores[row, found], scores[row, expected], atol=1e-6)
    judged, drawn = scored.ranked.judged, scored.ranked.background
    np.testing.assert_allclose(judged.score, scores[judged.query, judged.document], atol=1e-6)
    np.testing.assert_allclose(drawn.scores, np.take_along_axis(scores, drawn.documents, axis=1), atol=1e-6)
    assert any("are ranked by the best one of each" in note for note in scored.notes)
    assert scored.cut["documents"] == (0, len(task.documents))


def test_a_trial_takes_several_vectors_of_documents(encoder):
    found = evaluate(encoder, [retrieval()], [parse("best_chunk(8)")], plan=PLAN)
    assert found.select(measure="ndcg@10_gain", view="overall")


@pytest.mark.parametrize("written", ["best_chunk(8)", "late_chunking(8, best)"])
def test_only_a_search_takes_several_vectors(base, written):
    sts = Similarity("sts", "test", LONG, LONG, np.arange(float(len(LONG))))
    with pytest.raises(FixError, match="gives a text several vectors, where one is needed"):
        score_task(sts, fixed(base, written))
    with pytest.raises(FixError, match="compares one vector a document, got .* vectors of 61 documents"):
        score_task(retrieval(), fixed(base, written), approximate=True)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_search_takes_the_best_of_several_vectors_whatever_the_block(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    counts = rng.integers(1, 5, rng.integers(1, 12))
    owners = np.repeat(np.arange(len(counts)), counts)
    documents = rng.integers(-2, 3, (len(owners), 3)).astype(np.float32)
    queries = rng.integers(-2, 3, (4, 3)).astype(np.float32)
    k, block = data.draw(st.integers(1, 14)), data.draw(st.integers(1, 9))
    excluded = rng.integers(-1, len(counts), 4)
    found = search(queries, documents, k, owners=owners, block=block, excluded=excluded)
    scores = np.stack([(queries @ documents.T)[:, owners == i].max(axis=1) for i in range(len(counts))], axis=1)
    for row in range(4):
        expected = [i for i in np.lexsort((np.arange(len(counts)), -scores[row])) if i != excluded[row]][:k]
        assert found.documents[row][found.documents[row] >= 0].tolist() == expected
        np.testing.assert_array_equal(found.scores[row][: len(expected)], scores[row][expected])


@pytest.mark.parametrize("owners", [[0, 2], [1, 1], [0, 0, 1], [1, 0], [-1, 0]])
def test_owners_that_leave_a_document_out_are_refused(owners):
    with pytest.raises(UncollapseError, match="needs the number of its document, from 0 on, rising"):
        search(np.ones((1, 2), np.float32), np.ones((2, 2), np.float32), 1, owners=np.array(owners))
