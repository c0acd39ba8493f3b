"""A corrected score is the inner product of vectors with one more dimension, by hand and in any index."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from cohort_examples import DIM, made, units
from fix_examples import notations
from tolerances import FLOAT32, FLOAT64, assert_close
from uncollapse.errors import FixError
from uncollapse.fixes import parse
from uncollapse.fixes.kinds import Cohort, Kind, ScoreFix
from uncollapse.fixes.scores import LEAST_SPREAD

ALL = notations(Kind.SCORE)
SEEN = made()
SCORES = SEEN.documents @ SEEN.queries.T


def corrected(text: str, seen: Cohort = SEEN) -> npt.NDArray[np.float64]:
    """Inner products of extended vectors: float64 [documents, queries]."""
    fix: Any = parse(text)
    fitted = fix.fit(seen)
    documents = fitted.extend(seen.documents.astype(np.float32), seen.document_tokens, "document")
    queries = fitted.extend(seen.queries.astype(np.float32), seen.query_tokens, "query")
    assert documents.dtype == queries.dtype == np.float32
    assert documents.shape[1] == queries.shape[1] == seen.documents.shape[1] + 1
    product: npt.NDArray[np.float64] = documents.astype(np.float64) @ queries.T.astype(np.float64)
    return product


def test_every_score_fix_keeps_the_contract() -> None:
    for text in ALL:
        assert isinstance(parse(text), ScoreFix)
        assert not parse(text).is_identity


@pytest.mark.parametrize("text", ["cohort(document, 0)", "cohort(length, 0)", "csls(3, 0)", "length_regression(0)"])
def test_a_strength_of_nothing_changes_no_bit(text: str) -> None:
    assert parse(text).is_identity
    fix: Any = parse(text)
    vectors = SEEN.documents.astype(np.float32)
    extended = fix.fit(SEEN).extend(vectors, SEEN.document_tokens, "document")
    assert extended[:, :DIM].tobytes() == vectors.tobytes()
    assert not extended[:, DIM].any()


def test_by_document_it_is_the_z_score() -> None:
    expected = (SCORES - SCORES.mean(axis=1, keepdims=True)) / SCORES.std(axis=1, keepdims=True)
    typical = np.sqrt(SCORES.var(axis=1).mean())
    assert SCORES.std(axis=1).min() > LEAST_SPREAD * typical
    assert_close(corrected("cohort(document)"), typical * expected, FLOAT32)


def test_a_strength_between_takes_a_share_of_the_mean_and_a_root_of_the_spread() -> None:
    spread = SCORES.std(axis=1, keepdims=True) / np.sqrt(SCORES.var(axis=1).mean())
    half = SCORES - SCORES.mean(axis=1, keepdims=True) / 2
    assert_close(corrected("cohort(document, 0.5)"), half / np.sqrt(spread), FLOAT32)
    assert_close(corrected("cohort(document, 0.5, none)"), half, FLOAT32)


def test_by_length_the_level_and_spread_are_those_of_the_length() -> None:
    seen = made(documents=4000)
    seen = Cohort(seen.documents, np.repeat([16, 64, 256], [1000, 1000, 2000]), seen.queries, seen.query_tokens)
    scores, found = seen.documents @ seen.queries.T, corrected("cohort(length)", seen)
    level = np.zeros((4000, 1))
    for n in (16, 64, 256):
        here = seen.document_tokens == n
        level[here] = scores[here].mean()
    typical = np.sqrt(np.square(scores - level).mean())
    for n in (16, 64, 256):
        here = seen.document_tokens == n
        np.testing.assert_allclose(found[here], typical * (scores - level)[here] / scores[here].std(), atol=0.02)


def test_after_it_no_length_scores_higher_with_everything() -> None:
    for text in ("cohort(length)", "cohort(length, 1.0, none)"):
        found = corrected(text).mean(axis=1)
        for low, high in ((16, 32), (32, 64), (64, 128), (128, 513)):
            here = (SEEN.document_tokens >= low) & (SEEN.document_tokens < high)
            error = found[here].std() / np.sqrt(here.sum())
            assert abs(found[here].mean()) < 3 * error
            assert abs(SCORES[here].mean()) > 3 * error


@pytest.mark.parametrize("k", [1, 5, 100])
def test_csls_is_its_formula(k: int) -> None:
    near = np.sort(SCORES, axis=1)[:, -k:].mean(axis=1, keepdims=True)
    assert_close(2 * corrected(f"csls({k})"), 2 * SCORES - near, FLOAT32)
    assert_close(corrected(f"csls({k}, 0.5)"), SCORES - near / 4, FLOAT32)


def test_csls_in_portions_is_csls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = corrected("csls(5)")
    monkeypatch.setattr("uncollapse.fixes.scores._ROWS", 7)
    assert_close(corrected("csls(5)"), whole, FLOAT64)


def test_a_hub_loses_its_first_places() -> None:
    """A document near to all queries wins where nothing corrects it."""
    rng, wide = np.random.default_rng(1), 16
    asked = units(3 * np.eye(wide)[0] + rng.standard_normal((400, wide)))
    answers = units(asked[:200] + rng.standard_normal((200, wide)) / np.sqrt(wide))
    hub = units(asked.mean(axis=0)[None])
    seen = Cohort(np.concatenate([hub, answers]), np.full(201, 50), asked, np.full(400, 9))

    def share(scores: npt.NDArray[np.float64]) -> float:
        return float((scores.argmax(axis=0) == 0).mean())

    assert share(seen.documents @ asked.T) > 2 * share(corrected("csls(5)", seen))


def test_regression_leaves_no_slope_and_the_same_mean() -> None:
    logs = np.log(SEEN.document_tokens)
    left = corrected("length_regression(1)").mean(axis=1)
    assert abs(np.polyfit(logs, SCORES.mean(axis=1), 1)[0]) > 0.01
    assert abs(np.polyfit(logs, left, 1)[0]) < 1e-7
    assert abs(left.mean() - SCORES.mean()) < 1e-7
    half = np.polyfit(logs, corrected("length_regression(0.5)").mean(axis=1), 1)[0]
    assert half == pytest.approx(np.polyfit(logs, SCORES.mean(axis=1), 1)[0] / 2, rel=1e-4)


@pytest.mark.parametrize("text", ALL)
def test_texts_compared_as_equals_keep_their_scores(text: str) -> None:
    fix: Any = parse(text)
    vectors = SEEN.documents[:20].astype(np.float32)
    extended = fix.fit(SEEN).extend(vectors, SEEN.document_tokens[:20], "text")
    assert (extended @ extended.T).tobytes() == (vectors @ vectors.T).tobytes()


@pytest.mark.parametrize("text", ALL)
def test_arrays_are_the_whole_correction(text: str) -> None:
    fix: Any = parse(text)
    fitted = fix.fit(SEEN)
    again = fix.from_arrays({name: array.copy() for name, array in fitted.arrays.items()})
    assert all(array.dtype == np.float64 for array in fitted.arrays.values())
    for role in ("document", "query", "text"):
        one, other = (
            correction.extend(SEEN.documents.astype(np.float32), SEEN.document_tokens, role)
            for correction in (fitted, again)
        )
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("text", ALL)
def test_turned_vectors_have_the_same_scores(text: str) -> None:
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((DIM, DIM)))[0]
    turned = Cohort(SEEN.documents @ turn.T, SEEN.document_tokens, SEEN.queries @ turn.T, SEEN.query_tokens)
    assert_close(corrected(text, turned), corrected(text), FLOAT32)


@pytest.mark.parametrize("text", ALL)
def test_documents_far_from_every_query_do_not_blow_up(text: str) -> None:
    fix: Any = parse(text)
    flat = SEEN.queries.copy()
    flat[:, -1] = 0
    fitted = fix.fit(Cohort(SEEN.documents, SEEN.document_tokens, units(flat), SEEN.query_tokens))
    lonely = np.eye(DIM, dtype=np.float32)[-1:]
    extended = fitted.extend(lonely, np.array([100]), "document")
    assert np.isfinite(extended).all()
    assert np.abs(extended[0, :DIM]).max() <= 1 / LEAST_SPREAD * (1 + 1e-6)


@pytest.mark.parametrize("text", ALL)
def test_too_few_queries_are_refused(text: str) -> None:
    fix: Any = parse(text)
    few = Cohort(SEEN.documents, SEEN.document_tokens, SEEN.queries[:5], SEEN.query_tokens[:5])
    with pytest.raises(FixError, match=r"needs at least 20 queries to be fitted, got 5. Give more."):
        fix.fit(few)


def test_too_few_documents_are_refused() -> None:
    few = Cohort(SEEN.documents[:5], SEEN.document_tokens[:5], SEEN.queries, SEEN.query_tokens)
    for text in ("cohort(document)", "cohort(length)", "length_regression(1)"):
        fix: Any = parse(text)
        with pytest.raises(FixError, match="needs at least 20 documents to be fitted, got 5"):
            fix.fit(few)


def test_more_neighbours_need_more_queries() -> None:
    fix: Any = parse("csls(101)")
    with pytest.raises(FixError, match=r"`csls\(101\)` needs at least 202 queries to be fitted, got 200"):
        fix.fit(SEEN)


def test_queries_that_do_not_differ_are_refused() -> None:
    same = Cohort(SEEN.documents, SEEN.document_tokens, np.tile(SEEN.queries[:1], (50, 1)), np.full(50, 9))
    fix: Any = parse("cohort(document)")
    with pytest.raises(FixError, match=r"`cohort\(document\)` needs queries that differ, got 50 with the same scores"):
        fix.fit(same)


def test_documents_of_one_length_have_no_slope() -> None:
    level = Cohort(SEEN.documents, np.full(300, 77), SEEN.queries, SEEN.query_tokens)
    fix: Any = parse("length_regression(1)")
    with pytest.raises(FixError, match="needs documents of several lengths, got 300 of 77 tokens"):
        fix.fit(level)
    corrected("cohort(length)", level)


@pytest.mark.parametrize("text", ALL)
def test_vectors_of_another_model_are_refused(text: str) -> None:
    fix: Any = parse(text)
    with pytest.raises(FixError, match="was fitted to vectors of 8 dimensions, got 3. Use it with the model"):
        fix.fit(SEEN).extend(np.ones((1, 3), np.float32), np.ones(1, np.int64), "document")
