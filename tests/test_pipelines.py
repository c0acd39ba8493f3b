"""A pipeline applied in an evaluation is the one written out by hand, and shares what it can."""

from pathlib import Path

import numpy as np
import pytest

from fix_examples import as_composition, notations
from pipeline_examples import made_corpus
from test_evaluate import tasks
from tiny import save_tiny
from tolerances import FLOAT32, assert_close
from uncollapse.attention.patching import patch
from uncollapse.encoders import CachedEncoder, SentenceEncoder, load
from uncollapse.errors import FixError, ModelError
from uncollapse.evaluation.scoring import score_task, unlabelled
from uncollapse.evaluation.tasks import Retrieval
from uncollapse.fixes import Composition, parse
from uncollapse.fixes.kinds import Cohort, Kind
from uncollapse.fixes.statistics import Group
from uncollapse.pipelines.encoder import Fitted, FixedEncoder
from uncollapse.pipelines.fitting import Unlabelled, fit_pipeline, gather, needed_by, sample


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    loaded = load(str(save_tiny(tmp_path_factory.mktemp("model"), max_tokens=64)))
    assert isinstance(loaded, SentenceEncoder)
    return loaded


@pytest.fixture(scope="module")
def corpus() -> Unlabelled:
    return made_corpus()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def units(encoder: SentenceEncoder, texts: tuple[str, ...]) -> np.ndarray:
    vectors = encoder.vectors(texts).astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_pipeline_is_what_numpy_makes_of_the_vectors(encoder, corpus, cache) -> None:
    base = CachedEncoder(encoder, folder=cache)
    fixed = fit_pipeline(base, as_composition("centering(role) + whitening(0.5, mean, 0.1)"), corpus)
    documents, queries = units(encoder, corpus.documents), units(encoder, corpus.queries)
    centred = documents - documents.mean(axis=0)
    covariance = centred.T @ centred / len(centred)
    variance = np.trace(covariance) / encoder.dim
    values, directions = np.linalg.eigh(0.9 * covariance + 0.1 * variance * np.eye(encoder.dim))
    matrix = (directions * (np.maximum(values / values.mean(), 1e-3) ** -0.25)) @ directions.T
    for role, texts, vectors in (("document", corpus.documents, documents), ("query", corpus.queries, queries)):
        expected = (vectors - vectors.mean(axis=0)) @ matrix
        found = fixed.encode(texts, role=role)
        assert found.vectors.dtype == np.float32
        assert_close(found.vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), FLOAT32)
    assert not fixed.inner_product


def test_a_text_as_a_query_is_not_what_it_is_as_a_document(encoder, corpus, cache) -> None:
    fixed = fit_pipeline(CachedEncoder(encoder, folder=cache), as_composition("centering(role)"), corpus)
    one, other, neither = (fixed.encode(corpus.queries, role=role).vectors for role in ("query", "document", "text"))
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(other - neither).max() > 1e-3
    plain = CachedEncoder(encoder, folder=cache).encode(corpus.queries, role="text").vectors.astype(np.float64)
    assert_close(neither, plain / np.linalg.norm(plain, axis=1, keepdims=True), FLOAT32)


@pytest.mark.parametrize("text", ["whitening(0)", "length_subspace(0)", "whitening(0) + temperature(1.0)"])
def test_what_changes_nothing_changes_no_bit_and_needs_no_corpus(text, encoder, corpus, cache) -> None:
    base = CachedEncoder(encoder, folder=cache)
    plain = base.encode(corpus.documents).vectors
    for fixed in (FixedEncoder(base, as_composition(text)), fit_pipeline(base, as_composition(text), corpus)):
        assert fixed.encode(corpus.documents).vectors.tobytes() == plain.tobytes()


def test_no_fix_at_all_is_the_model_itself(encoder, corpus, cache) -> None:
    base = CachedEncoder(encoder, folder=cache)
    fixed = fit_pipeline(base, Composition(()), corpus)
    assert fixed.encode(corpus.documents).vectors.tobytes() == base.encode(corpus.documents).vectors.tobytes()


def test_pipelines_that_differ_after_the_model_share_its_work(encoder, corpus, tmp_path) -> None:
    base = CachedEncoder(encoder, folder=tmp_path)
    fit_pipeline(base, as_composition("whitening(0.25)"), corpus).encode(corpus.documents)
    assert base.encoded == len(set(corpus.documents))
    for text in ("whitening(0.5)", "all_but_the_top(1)", "centering(all)"):
        fixed = fit_pipeline(base, as_composition(text), corpus)
        fixed.encode(corpus.documents)
        assert fixed.encoded == len(set(corpus.documents)), "fixed pipelines count what their model did"
    fit_pipeline(base, as_composition("centering(role)"), corpus)
    assert base.encoded == len({*corpus.documents, *corpus.queries})
    assert base.reused >= 7 * len(set(corpus.documents))


def test_fixes_inside_the_model_come_first(encoder, corpus, cache) -> None:
    fix = as_composition("centering(all) + temperature(0.5)")
    fixed = fit_pipeline(CachedEncoder(encoder, fix.model, folder=cache), fix, corpus)
    with patch(encoder.model, parse("temperature(0.5)")):
        vectors = units(encoder, corpus.documents)
    expected = vectors - vectors.mean(axis=0)
    found = fixed.encode(corpus.documents).vectors
    assert_close(found, expected / np.linalg.norm(expected, axis=1, keepdims=True), FLOAT32)


def test_token_counts_and_ids_go_through(encoder, corpus, cache) -> None:
    base = CachedEncoder(encoder, folder=cache)
    fixed = fit_pipeline(base, as_composition("centering(length)"), corpus)
    plain, found = base.encode(corpus.documents, corpus.ids), fixed.encode(corpus.documents, corpus.ids)
    assert found.ids == plain.ids == corpus.ids
    np.testing.assert_array_equal(found.n_tokens, plain.n_tokens)
    np.testing.assert_array_equal(found.n_tokens_full, plain.n_tokens_full)
    assert fixed.work(corpus.documents) == base.work(corpus.documents)


@pytest.mark.parametrize("text", notations(Kind.VECTOR))
def test_every_vector_fix_goes_through_an_evaluation(text, encoder, corpus, cache) -> None:
    fixed = fit_pipeline(CachedEncoder(encoder, folder=cache), as_composition(text), corpus)
    again = fit_pipeline(CachedEncoder(encoder, folder=cache), as_composition(text), corpus)
    for role in ("document", "query", "text"):
        found = fixed.encode(corpus.queries, role=role)
        np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
        assert found.vectors.tobytes() == again.encode(corpus.queries, role=role).vectors.tobytes()


def test_a_pipeline_needs_only_what_its_fixes_need() -> None:
    assert needed_by(as_composition("centering(role)")) == {Group.DOCUMENTS, Group.QUERIES}
    assert needed_by(as_composition("centering(length)")) == {Group.WINDOWS}
    assert needed_by(as_composition("centering(length) + whitening(0.5)")) == {Group.WINDOWS, Group.DOCUMENTS}
    assert needed_by(as_composition("whitening(0)")) == set()
    assert needed_by(as_composition("csls(3)")) == {Group.DOCUMENTS, Group.QUERIES}


def test_without_queries_sentences_of_the_corpus_stand_for_them(encoder, corpus, cache) -> None:
    bare = FixedEncoder(CachedEncoder(encoder, folder=cache), Composition(()))
    seen = gather(bare, Unlabelled(corpus.ids, corpus.documents), frozenset(Group))
    assert seen.queries.count == 50  # one a document
    assert seen.documents.count == 50
    assert not (set(seen.windows.bins) - {6, 8, 10, 12})  # 8, 16, 32 and 64 tokens


def test_a_corpus_beyond_what_is_learned_from_is_sampled(encoder, corpus, cache, monkeypatch) -> None:
    monkeypatch.setattr("uncollapse.pipelines.fitting.LEARNED_FROM", 25)
    bare = FixedEncoder(CachedEncoder(encoder, folder=cache), Composition(()))
    first, same, other = (gather(bare, corpus, frozenset({Group.DOCUMENTS}), seed=seed) for seed in (0, 0, 1))
    assert first.documents.count == 25
    assert_close(first.documents.mean, same.documents.mean)
    assert np.abs(first.documents.mean - other.documents.mean).max() > 1e-6
    few = sample(corpus, 0).queries
    assert len(few) == 25
    assert few != corpus.queries[:25]  # random ones, in their order
    assert [corpus.queries.index(text) for text in few] == sorted(corpus.queries.index(text) for text in few)


def test_an_unfitted_pipeline_is_refused(encoder, cache) -> None:
    with pytest.raises(FixError, match=r"`whitening\(0.25\)` must be fitted to a corpus before texts are encoded"):
        FixedEncoder(CachedEncoder(encoder, folder=cache), as_composition("whitening(0.25)"))


def test_a_corpus_without_documents_is_refused(encoder, cache) -> None:
    with pytest.raises(FixError, match="fitted to documents, got none. Give a corpus"):
        fit_pipeline(CachedEncoder(encoder, folder=cache), as_composition("whitening(0.25)"), Unlabelled((), ()))


def test_a_corpus_that_is_too_small_is_refused(encoder, corpus, cache) -> None:
    few = Unlabelled(corpus.ids[:7], corpus.documents[:7])
    with pytest.raises(FixError, match=r"`whitening\(0.25\)` needs at least 20 documents to be fitted, got 7"):
        fit_pipeline(CachedEncoder(encoder, folder=cache), as_composition("whitening(0.25)"), few)


def test_models_that_compare_by_inner_product_are_refused(encoder, corpus, cache, monkeypatch) -> None:
    monkeypatch.setattr(CachedEncoder, "inner_product", property(lambda _: True))
    with pytest.raises(FixError, match="compares vectors by inner product, so their lengths mean something"):
        fit_pipeline(CachedEncoder(encoder, folder=cache), as_composition("whitening(0.25)"), corpus)
    FixedEncoder(CachedEncoder(encoder, folder=cache), as_composition("temperature(0.9)"))


def test_a_text_of_which_nothing_is_left_is_named(encoder, corpus, cache) -> None:
    base = CachedEncoder(encoder, folder=cache)
    same = Unlabelled(corpus.ids, (corpus.documents[0],) * 50)
    fixed = fit_pipeline(base, as_composition("centering(all)"), same)
    with pytest.raises(ModelError, match=r"`centering\(all\)` leaves 1 of 2 vectors without a direction.*text 'b'"):
        fixed.encode([corpus.documents[1], corpus.documents[0]], ["a", "b"])


def test_a_fit_belongs_to_its_pipeline(encoder, corpus, cache) -> None:
    base = CachedEncoder(encoder, folder=cache)
    maps = fit_pipeline(base, as_composition("whitening(0.25)"), corpus).fitted.maps
    with pytest.raises(FixError, match="must be fitted"):
        FixedEncoder(base, as_composition("whitening(0.25) + centering(all)"), Fitted(maps))


@pytest.mark.parametrize("text", notations(Kind.SCORE))
def test_a_fix_on_scores_is_fitted_last_and_to_vectors_as_they_are_compared(text, encoder, corpus, cache) -> None:
    base = CachedEncoder(encoder, folder=cache)
    before = fit_pipeline(base, as_composition("centering(role)"), corpus)
    fixed = fit_pipeline(base, as_composition(f"centering(role) + {text}"), corpus)
    documents, queries = before.encode(corpus.documents), before.encode(corpus.queries, role="query")
    exact = [found.vectors.astype(np.float64) for found in (documents, queries)]
    correction = parse(text).fit(Cohort(exact[0], documents.n_tokens_full, exact[1], queries.n_tokens_full))
    expected = [
        correction.extend(found.vectors, found.n_tokens_full, role)
        for found, role in ((documents, "document"), (queries, "query"))
    ]
    assert fixed.inner_product
    assert fixed.dim == expected[0].shape[1] == before.dim + 1
    found = fixed.encode(corpus.documents).vectors @ fixed.encode(corpus.queries, role="query").vectors.T
    assert_close(found, expected[0] @ expected[1].T, 1e-4)  # of gains up to 10


def test_a_fix_on_scores_moves_searches_and_leaves_texts_compared_as_equals_alone(encoder, cache) -> None:
    """As an evaluation scores them."""
    base = CachedEncoder(encoder, folder=cache)
    for task in tasks():
        before, after = (
            score_task(task, fit_pipeline(base, as_composition(fix), unlabelled(task)))
            for fix in ("centering(all)", "centering(all) + csls(5)")
        )
        for one, other in zip(before.sheets, after.sheets, strict=True):
            for name, column in one.columns.items():
                if not isinstance(task, Retrieval):
                    np.testing.assert_allclose(other.columns[name], column, atol=1e-6)
        if isinstance(task, Retrieval):
            assert any((one.columns[name] != other.columns[name]).any() for name in one.columns)
