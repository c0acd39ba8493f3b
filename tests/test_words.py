"""Word matching against its formula, and under what must not change it."""

import math
import re
import sys
from collections import Counter
from dataclasses import replace

import bm25s
import numpy as np
import pytest
import Stemmer
from hypothesis import given, settings
from hypothesis import strategies as st

from uncollapse.errors import CorpusError, MissingExtraError, UncollapseError
from uncollapse.evaluation.rankings.languages import CODES, read_language
from uncollapse.evaluation.rankings.retrieval import as_run, rank_documents
from uncollapse.evaluation.rankings.trec_eval import DEPTH
from uncollapse.evaluation.rankings.words import PLAIN, STOP_WORDS, check_words, describe_words, rank_words
from uncollapse.evaluation.scoring import score_words
from uncollapse.evaluation.tasks import Retrieval, Similarity, Texts

VOCABULARY = ("red", "blue", "green", "dog", "cat", "house", "tree", "river")


def search(documents, queries, judgements=None) -> Retrieval:
    judged = judgements or {name: {next(iter(documents)): 1} for name in queries}
    of_documents, of_queries = (Texts(tuple(part), tuple(part.values())) for part in (documents, queries))
    return Retrieval("docs", "test", of_documents, of_queries, judged)


def found(task: Retrieval, language: str = PLAIN) -> dict[str, dict[str, float]]:
    rankings = as_run(rank_words(task, language), "bm25").rankings
    return {query: dict(zip(one.documents, one.scores.tolist(), strict=True)) for query, one in rankings.items()}


def by_hand(documents: dict[str, str], query: str) -> dict[str, float]:
    """BM25 in Lucene's variant, from the words of texts that hold nothing but words and blanks."""
    words = {name: text.split() for name, text in documents.items()}
    mean = sum(map(len, words.values())) / len(words)
    scores: dict[str, float] = {}
    for name, of_document in words.items():
        counts = Counter(of_document)
        for word in query.split():
            if word in counts:
                n = sum(word in others for others in words.values())
                idf = math.log(1 + (len(words) - n + 0.5) / (n + 0.5))
                tf = counts[word]
                part = idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * len(of_document) / mean))
                scores[name] = scores.get(name, 0.0) + part
    return scores


def made(seed: int, documents: int = 30, queries: int = 8) -> Retrieval:
    rng = np.random.default_rng(seed)
    texts = {f"d{i:02}": " ".join(rng.choice(VOCABULARY, rng.integers(1, 15))) for i in range(documents)}
    asked = {f"q{i}": " ".join(rng.choice(VOCABULARY, 3)) for i in range(queries)}
    return search(texts, asked, {name: {f"d{i:02}": 1, "d20": 0} for i, name in enumerate(asked)})


def test_scores_are_those_of_the_formula():
    documents = {"a": "red dog red house", "b": "dog tree", "c": "river river river tree cat green blue"}
    queries = {"one": "red dog", "twice": "dog dog tree", "rare": "river purple"}
    for query, scores in found(search(documents, queries)).items():
        assert scores == pytest.approx(by_hand(documents, queries[query]), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_whatever_the_texts_scores_are_those_of_the_formula_and_ordered(seed):
    task = made(seed)
    documents = dict(zip(task.documents.ids, task.documents.texts, strict=True))
    rankings = as_run(rank_words(task, PLAIN), "bm25").rankings
    for query, text in zip(task.queries.ids, task.queries.texts, strict=True):
        one = rankings[query]
        scores = dict(zip(one.documents, one.scores.tolist(), strict=True))
        assert scores == pytest.approx(by_hand(documents, text), rel=1e-12)
        assert list(one.documents) == sorted(scores, key=lambda name: (scores[name], name), reverse=True)


def test_the_order_of_documents_and_of_queries_changes_nothing():
    task = made(1)
    places, asked = (np.random.default_rng(2).permutation(len(part)) for part in (task.documents, task.queries))
    shuffled = replace(
        task,
        documents=Texts(
            *(tuple(np.array(part)[places].tolist()) for part in (task.documents.ids, task.documents.texts))
        ),
        queries=Texts(*(tuple(np.array(part)[asked].tolist()) for part in (task.queries.ids, task.queries.texts))),
    )
    mine, theirs = found(task, "english"), found(shuffled, "english")
    assert mine == theirs
    assert {query: list(scores) for query, scores in mine.items()} == {query: list(theirs[query]) for query in mine}


def test_a_word_of_one_document_alone_finds_it_first():
    task = made(3)
    texts = [f"{text} unique{i}" for i, text in enumerate(task.documents.texts)]
    asked = Texts(("q",), ("red dog cat unique17",))
    one = replace(
        task, documents=replace(task.documents, texts=tuple(texts)), queries=asked, judgements={"q": {"d17": 1}}
    )
    assert next(iter(found(one)["q"])) == "d17"


def test_equal_scores_are_ordered_by_id_the_larger_first_also_where_the_ranking_ends():
    width = DEPTH + 5
    documents = {f"d{i:04}": "red dog" for i in np.random.default_rng(0).permutation(width)} | {"other": "blue cat"}
    (scores,) = found(search(documents, {"q": "red"})).values()
    assert list(scores) == [f"d{i:04}" for i in reversed(range(5, width))]
    assert len(set(scores.values())) == 1


def test_a_document_that_is_the_query_does_not_find_itself():
    documents = {"a": "red dog", "b": "red cat", "c": "red dog house"}
    ranking = rank_words(search(documents, {"a": "red dog"}, {"a": {"a": 1, "c": 1}}), PLAIN)
    assert as_run(ranking, "bm25").rankings["a"].documents == ("c", "b")
    assert ranking.ranked.judged.document.tolist() == [2], "nor is it judged"
    assert "1 queries are documents themselves and were not allowed to find themselves" in ranking.notes


def test_queries_without_a_known_word_find_nothing_count_as_0_and_are_told():
    documents = {"a": "red dog", "b": "blue cat"}
    queries = {"q1": "red", "empty": "", "stops": "the of a", "unknown": "violin"}
    scored = score_words(search(documents, queries), "english")
    assert {name: len(one) for name, one in found(search(documents, queries), "english").items()} == {
        "q1": 1, "empty": 0, "stops": 0, "unknown": 0,
    }  # fmt: skip
    assert scored.sheets[0].columns["ndcg@10"].tolist() == [1, 0, 0, 0]
    assert "3 of 4 queries share no word with a document that they may find, and count as 0" in scored.notes
    assert scored.ranking is not None
    assert scored.ranking.ranked.judged.score[1:].tolist() == [0, 0, 0], "what shares no word has a score, and it is 0"


@pytest.mark.parametrize("documents", [{"a": "", "b": ""}, {"a": "the of", "b": "!"}, {"a": "blue", "b": "green"}])
def test_where_no_query_finds_anything_it_is_refused(documents):
    with pytest.raises(
        CorpusError, match=r"got 1 of docs/test that share none: word matching \(--bm25\) finds nothing"
    ):
        rank_words(search(documents, {"q": "red dogs"}), "english")


def test_an_empty_document_among_others_is_only_never_found():
    documents = {"empty": "", "a": "red dog", "b": "dog"}
    assert found(search(documents, {"q": "dog"}))["q"] == pytest.approx(by_hand(documents, "dog"))


def test_stems_and_stop_words_are_those_of_the_language_and_plain_has_neither():
    documents = {"a": "The dogs and running.", "b": "Die Hunde liefen.", "c": "red"}
    queries = {"stem": "dog run", "stop": "the and red", "german": "hund die", "form": "DOGS"}
    english, german, plain = (found(search(documents, queries), name) for name in ("english", "german", PLAIN))
    assert english["stem"].keys() == {"a"}
    assert english["stop"].keys() == {"c"}
    assert german["german"].keys() == {"b"}
    assert plain["stem"] == {}
    assert plain["stop"].keys() == {"a", "c"}
    assert plain["form"].keys() == {"a"}, "case is left out of it"
    assert plain["german"].keys() == {"b"}


def test_words_are_those_of_bm25s_and_do_not_break_at_marks():
    text = "Don't stop: part_no. A-17, x 2.5 kg Käse"
    (theirs,) = bm25s.tokenize([text], stopwords=None, return_ids=False, show_progress=False)
    ranking = rank_words(search({"a": text, "b": "other"}, {"q": " ".join(theirs)}), PLAIN)
    assert ranking.ranked.lengths.tolist() == [len(theirs), 1]
    for word, others in (("हिन्दी", "भाषा नेपाली"), ("தமிழ்", "மொழி"), ("cafe\u0301s", "cafe")):
        documents = {"a": f"{word} {others}", "b": others}
        ranking = rank_words(search(documents, {"q": word}), PLAIN)
        assert ranking.query_lengths.tolist() == [1]
        assert as_run(ranking, "bm25").rankings["q"].documents == ("a",)


@pytest.mark.parametrize("language", [*Stemmer.algorithms(), PLAIN])
def test_stop_words_are_left_out_in_every_language_that_bm25s_has_them_for(language):
    try:
        theirs = bm25s.tokenize(["word"], stopwords=language, show_progress=False) is not None
    except ValueError:
        theirs = False
    assert (language in STOP_WORDS) == (theirs or language in ("porter", "dutch_porter"))
    assert found(search({"a": "word 123", "b": "456"}, {"q": "word"}), language)["q"].keys() == {"a"}
    described = describe_words(language)
    assert described["stop_words"] == STOP_WORDS.get(language)
    assert described["stems"] == (language != PLAIN)
    assert described["versions"]["bm25s"] == bm25s.__version__


def test_it_searches_as_deep_as_vectors_do_and_draws_the_same_background():
    task = made(4)
    ones = np.ones(len(task.queries), np.int64), np.ones(len(task.documents), np.int64)
    vectors = np.eye(2, dtype=np.float32)
    dense = rank_documents(
        task, vectors[ones[0]], vectors[ones[1]], query_lengths=ones[0], document_lengths=ones[1], seed=3
    ).ranked  # fmt: skip
    words = rank_words(task, PLAIN, seed=3).ranked
    assert words.top.shape == dense.top.shape
    np.testing.assert_array_equal(words.background.documents, dense.background.documents)
    np.testing.assert_array_equal(words.judged.document, dense.judged.document)
    scores = found(task)
    for row, query in enumerate(task.queries.ids):
        drawn = [scores[query].get(task.documents.ids[i], 0.0) for i in words.background.documents[row]]
        assert words.background.scores[row].tolist() == drawn
    judged = words.judged
    for row, document, score in zip(judged.query, judged.document, judged.score, strict=True):
        assert score == scores[task.queries.ids[row]].get(task.documents.ids[document], 0.0)


def test_lengths_are_counted_in_its_words():
    task = search({"a": "the red dog", "b": "a red"}, {"q": "the red"})
    ranking = rank_words(task, "english")
    assert ranking.ranked.lengths.tolist() == [2, 1]
    assert ranking.query_lengths.tolist() == [1]


@pytest.mark.parametrize(("module", "package"), [("bm25s", "bm25s"), ("Stemmer", "PyStemmer")])
def test_without_its_packages_it_says_what_to_install(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    said = f"needs the package '{package}', which is not installed. Install it with: pip install 'uncollapse[bm25]'"
    with pytest.raises(MissingExtraError, match=re.escape(said)):
        rank_words(made(5), "english")
    with pytest.raises(MissingExtraError, match=re.escape(said)):
        check_words("english", [made(5)])


PAIRS = Similarity("sts", "dev", ("a",), ("b",), np.array([1.0]))


@pytest.mark.parametrize(
    ("language", "tasks", "names", "message"),
    [
        ("englisch", [made(0)], [], "got 'englisch'. Did you mean 'english'"),
        ("Englisch", [made(0)], [], "got 'Englisch'. Did you mean 'english'"),
        (
            "zh",
            [made(0)],
            [],
            r"as Snowball calls it or by its ISO 639-1 code \(en, de, ...\), or 'plain' for words as",
        ),
        ("", [made(0)], [], "got ''"),
        ("english", [PAIRS], [], r"what was given is similarity, so bm25 \(--bm25\) would do nothing"),
        ("english", [made(0)], ["minilm", "bm25"], "a model has that name too"),
    ],
)
def test_what_it_cannot_do_is_refused_before_the_work(language, tasks, names, message):
    with pytest.raises(UncollapseError, match=message):
        check_words(language, tasks, names)


@pytest.mark.parametrize("language", [*Stemmer.algorithms(), PLAIN])
def test_a_language_goes_by_its_name_in_letters_of_any_size(language):
    for name in (language, language.upper(), language.title(), f" {language} "):
        assert read_language(name) == language


def test_every_language_has_a_code_and_every_code_a_language():
    assert set(CODES.values()) == {*Stemmer.algorithms()} - {"porter", "dutch_porter"}
    assert not CODES.keys() & {*Stemmer.algorithms(), PLAIN}
    for code, language in CODES.items():
        assert read_language(code) == read_language(code.upper()) == language


def test_a_search_beside_other_tasks_is_enough():
    check_words("english", [PAIRS, made(0)], ["minilm"])
