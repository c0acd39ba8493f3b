"""Questions to a folder of vectors: what is found is what a search of all vectors at once would find."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from served_folders import ROLES, fixed_folder
from text_fix_examples import sentences
from uncollapse import Layout, embed, encode, load, open_corpus, search, searching
from uncollapse.corpora.shards import MANIFEST
from uncollapse.errors import CorpusError, ModelError, UncollapseError
from uncollapse.records import Embeddings
from uncollapse.searching import Answer, Answers, Hit, shared

TEXTS = [*sentences(50, 3), *sentences(6, 5, 40), sentences(50, 3)[4]]
"""Of several lengths; the last is the fifth once more."""

QUESTIONS = sentences(7, 9, 6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with maps of their own for queries and documents, texts, and their vectors in shards of 20."""
    root = tmp_path_factory.mktemp("searched")
    fixed_folder(root, ROLES, "model")
    lines = [json.dumps({"id": f"t{number}", "text": text}) for number, text in enumerate(TEXTS)]
    (root / "docs.jsonl").write_text("\n".join(lines))
    embed(load(str(root / "model")), open_corpus(root / "docs.jsonl"), root / "vectors", layout=Layout(texts=20))
    return root


def asked(place: Path, k: int = 10) -> Answers:
    return search(load(str(place / "model")), place / "vectors", QUESTIONS, k=k)


def test_it_finds_what_stock_sentence_transformers_would(place: Path) -> None:
    model = SentenceTransformer(str(place / "model"), device="cpu")
    cosines = model.encode_query(QUESTIONS).astype(float) @ model.encode_document(TEXTS).astype(float).T
    for answer, row in zip(asked(place).found, cosines, strict=True):
        np.testing.assert_allclose([hit.score for hit in answer.hits], np.sort(row)[::-1][:10], atol=2e-6)
        for hit in answer.hits:
            assert hit.score == pytest.approx(row[int(hit.id[1:])], abs=2e-6)


@pytest.mark.parametrize("layout", [Layout("npy", 7), Layout("parquet", 1000)])
def test_format_and_size_of_shards_change_nothing(layout: Layout, place: Path, tmp_path: Path) -> None:
    model = load(str(place / "model"))
    embed(model, open_corpus(place / "docs.jsonl"), tmp_path / "other", layout=layout)
    found, other = asked(place), search(model, tmp_path / "other", QUESTIONS)
    for one, two in zip(found.found, other.found, strict=True):
        scores = [hit.score for hit in one.hits]
        np.testing.assert_allclose(scores, [hit.score for hit in two.hits], atol=1e-6)
    assert found.median_tokens == other.median_tokens


def test_batches_of_any_size_are_searched_as_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = asked(place)
    for size in (1, 3, 20):
        monkeypatch.setattr(searching, "BLOCK", size)
        assert asked(place) == whole, size


def test_a_longer_list_begins_with_the_shorter_and_ends_with_all_texts(place: Path) -> None:
    short, every = asked(place, 3), asked(place, 1000)
    for few, all_of_them in zip(short.found, every.found, strict=True):
        assert all_of_them.hits[:3] == few.hits
        assert {hit.id for hit in all_of_them.hits} == {f"t{number}" for number in range(len(TEXTS))}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_of_equal_vectors_the_larger_id_comes_first_whatever_is_asked_for(k: int, size: int) -> None:
    """As in trec_eval, so that the score of a run does not depend on how long it is."""
    ids = [f"d{number:02}" for number in (3, 0, 7, 11, 5, 9, 1)]
    vectors, counts = np.tile(np.float32([0.6, 0.8]), (len(ids), 1)), np.ones(len(ids), np.int64)
    parts = [slice(start, start + size) for start in range(0, len(ids), size)]
    batches = (Embeddings(vectors[some], tuple(ids[some]), counts[some], counts[some]) for some in parts)
    best, _ = searching._search_batches(np.float32([[1, 0]]), batches, k, "cosine", lambda _: None)
    assert [hit.id for hit in best.hits(0)] == ["d11", "d09", "d07", "d05", "d03", "d01", "d00"][:k]


def test_texts_that_are_compared_as_equals_are_asked_as_equals_and_queries_are_no_documents(
    place: Path, tmp_path: Path
) -> None:
    model = load(str(place / "model"))
    texts = model.as_role("text")
    embed(texts, open_corpus(place / "docs.jsonl"), tmp_path / "texts")
    (found,) = search(model, tmp_path / "texts", [TEXTS[7]], k=1).found
    assert (found.hits[0].id, found.hits[0].score) == ("t7", pytest.approx(1, abs=1e-6))
    embed(model.as_role("query"), open_corpus(place / "docs.jsonl"), tmp_path / "queries")
    with pytest.raises(
        ModelError, match=r"are those of queries \(--role query\), and a search goes through documents"
    ):
        search(model, tmp_path / "queries", QUESTIONS)


def test_lengths_are_those_of_the_texts(place: Path) -> None:
    found, counted = asked(place), load(str(place / "model")).count(TEXTS)
    assert found.median_tokens == np.median(counted)
    assert {hit.n_tokens_full == counted[int(hit.id[1:])] for answer in found.found for hit in answer.hits} == {True}
    assert found.median_found == np.median([hit.n_tokens_full for answer in found.found for hit in answer.hits])


def test_by_inner_product_a_long_vector_comes_before_a_near_one(tmp_path: Path) -> None:
    fixed_folder(tmp_path, "temperature(0.8)")
    plain = SentenceTransformer(str(tmp_path / "fixed"), device="cpu")
    model = SentenceTransformer(modules=[plain[0], plain[1]], device="cpu", similarity_fn_name="dot")
    model.save_pretrained(str(tmp_path / "dot"))
    (tmp_path / "docs.txt").write_text("\n".join(TEXTS))
    embed(load(str(tmp_path / "dot")), open_corpus(tmp_path / "docs.txt"), tmp_path / "vectors")
    found = search(load(str(tmp_path / "dot")), tmp_path / "vectors", QUESTIONS)
    products = model.encode(QUESTIONS).astype(float) @ model.encode(TEXTS).astype(float).T
    assert found.compared_by == "dot"
    for answer, row in zip(found.found, products, strict=True):
        np.testing.assert_allclose([hit.score for hit in answer.hits], np.sort(row)[::-1][:10], rtol=1e-5)


def test_queries_are_encoded_as_queries(place: Path) -> None:
    model = load(str(place / "model"))
    found = asked(place, 1).found[0].hits[0]
    number = int(found.id[1:])
    document = encode(model, [TEXTS[number]]).vectors[0]
    assert found.score == pytest.approx(
        float(encode(model, QUESTIONS[:1], role="query").vectors[0] @ document), abs=1e-6
    )
    assert found.score != pytest.approx(float(encode(model, QUESTIONS[:1]).vectors[0] @ document), abs=1e-3)


@given(st.lists(st.integers(0, 50), min_size=1))
def test_the_median_of_counted_lengths_is_that_of_the_lengths(lengths: list[int]) -> None:
    assert searching._median(Counter(lengths)) == np.median(lengths)


def some(*ids: str, query: str = "q") -> Answers:
    return Answers((Answer(query, tuple(Hit(name, 0.5, 3, 3) for name in ids)),), 9, 3.0, "cosine")


def test_what_is_shared_is_a_share_of_the_longer_list_and_has_no_order() -> None:
    assert shared(some("a", "b"), some("b", "a")) == 1
    assert shared(some("a", "b"), some("c")) == 0
    assert shared(some("a", "b", "c", "d"), some("a")) == shared(some("a"), some("a", "b", "c", "d")) == 0.25
    with pytest.raises(UncollapseError, match="Expected answers to the same queries in the same order, got others"):
        shared(some("a"), some("a", query="another"))


@pytest.mark.parametrize(
    ("queries", "k", "said"),
    [
        ("a dog", 10, "Expected a list of texts as queries, got 'a dog'"),
        ([5], 10, r"Expected a list of texts as queries, got \[5\]"),
        (["a dog"], 2.5, "at least one document a query, got k=2.5"),
        ([], 10, "Expected at least one query, got none"),
        (["a dog", " \u200b"], 10, "Expected text in every query, got query 2 of 2 without any"),
        (["a dog"], 0, "at least one document a query, got k=0"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(queries: Any, k: Any, said: str, place: Path) -> None:
    with pytest.raises(UncollapseError, match=said):
        search(load(str(place / "model")), place / "vectors", queries, k=k)


def test_another_model_is_refused_by_what_differs(place: Path, tmp_path: Path) -> None:
    fixed_folder(tmp_path, "temperature(0.5)", "other")
    with pytest.raises(ModelError, match="made by a model whose fingerprint is .* Name the model that made them"):
        search(load(str(tmp_path / "other")), place / "vectors", QUESTIONS)
    changed = load(str(place / "model"))
    next(changed.model.parameters()).data[0] += 1
    with pytest.raises(ModelError, match="made by a model whose tensors is"):
        search(changed, place / "vectors", QUESTIONS)


def test_vectors_are_no_model(place: Path) -> None:
    with pytest.raises(ModelError, match="holds vectors and no model"):
        search(load(str(place / "vectors")), place / "vectors", QUESTIONS)


def rewritten(place: Path, copy: Path, **changes: object) -> Path:
    copy.mkdir()
    for file in (place / "vectors").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    said = json.loads((copy / MANIFEST).read_text())
    said["made"] |= {key: value for key, value in changes.items() if key in said["made"]}
    said |= {key: value for key, value in changes.items() if key in said}
    (copy / MANIFEST).write_text(json.dumps(said))
    return copy


def test_other_comparisons_and_unfinished_folders_are_refused(place: Path, tmp_path: Path) -> None:
    model = load(str(place / "model"))
    with pytest.raises(
        ModelError, match="compares vectors by euclidean, and a search by cosine or dot would find others"
    ):
        search(model, rewritten(place, tmp_path / "euclidean", similarity="euclidean"), QUESTIONS)
    with pytest.raises(CorpusError, match="expected a folder whose corpus was embedded to its end"):
        search(model, rewritten(place, tmp_path / "half", complete=False), QUESTIONS)
    with pytest.raises(CorpusError, match="Expected a folder of vectors that `uncollapse embed` wrote"):
        search(model, tmp_path, QUESTIONS)
