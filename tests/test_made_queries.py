"""Queries made out of a document: of its words alone, the same on every machine, as long as they say."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uncollapse.diagnosis.costs.sentences import count_words, locate_words
from uncollapse.tuning.queries import FEWEST_WORDS, KINDS, STRETCH, Source, make_queries, read_sources

FILLER = "Every text says this about the weather, word for word, in one long sentence."
LATIN = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
SENTENCES = st.lists(st.lists(LATIN, min_size=6, max_size=20).map(" ".join), min_size=6, max_size=12, unique=True)


def source_of(text: str) -> Source:
    (source,) = read_sources([text])
    assert source is not None
    return source


@given(SENTENCES, st.integers(-5, 5))
def test_a_query_says_nothing_that_its_document_does_not(sentences: list[str], seed: int) -> None:
    text = ". ".join(sentences) + "."
    source = source_of(text)
    there = {text[start:stop] for start, stop in locate_words(text)}
    for query in make_queries(source, "d", seed=seed):
        assert query
        assert {query[start:stop] for start, stop in locate_words(query)} <= there


@given(SENTENCES)
def test_queries_are_as_long_as_their_kind_says(sentences: list[str]) -> None:
    source = source_of(". ".join(sentences) + ".")
    for seed in range(5):
        made = dict(zip(KINDS, make_queries(source, "d", seed=seed), strict=True))
        lengths = {kind: count_words(query) for kind, query in made.items()}
        assert 6 <= lengths["sentence"] <= 40
        assert 1 <= lengths["half"] <= 40
        assert 4 <= lengths["rare"] <= 12
        assert 1 <= lengths["keywords"] <= 6
        assert lengths["stretch"] == STRETCH
        assert made["rare"] in source.text
        assert made["stretch"] in source.text


def numbered(n: int) -> list[str]:
    """Texts of the same few words, with one word of their own each."""
    words = np.random.default_rng(0).choice(["red", "dog", "house", "tree", "old", "night"], (n, 60))
    parts = [[" ".join(row[at : at + 20]) for at in (0, 20, 40)] for row in words]
    return [f"{a}. {b} own{chr(97 + i)} today. {c}." for i, (a, b, c) in enumerate(parts)]


def test_what_every_document_says_is_not_asked_for() -> None:
    texts = [f"{FILLER} {FILLER} {FILLER} The {chr(97 + i) * 3} dog sleeps in the old house." for i in range(5)]
    for seed in range(20):
        for i, source in enumerate(read_sources(texts)):
            sentence = make_queries(source, f"d{i}", seed=seed)[list(KINDS).index("sentence")]
            assert sentence == f"The {chr(97 + i) * 3} dog sleeps in the old house."
    assert read_sources([FILLER * 4] * 3) == [None] * 3


def test_rare_and_telling_words_are_those_of_few_documents() -> None:
    own, words = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    for i, source in enumerate(read_sources(numbered(12))):
        for seed in range(40):
            for kind, query in zip(KINDS, make_queries(source, f"d{i}", seed=seed), strict=True):
                own[kind] += f"own{chr(97 + i)}" in query
                words[kind] += count_words(query)
    shares = {kind: own[kind] / words[kind] for kind in KINDS}
    assert shares["keywords"] > shares["rare"] > 2 * shares["stretch"] > 0


def test_names_and_seeds_draw_anew_and_the_same_ones_again() -> None:
    source = source_of(
        " ".join(f"Sentence {chr(97 + i)} says that the {chr(97 + i) * 4} dog sleeps." for i in range(26))
    )
    first = make_queries(source, "d", seed=0)
    assert make_queries(source, "d", seed=0) == first
    assert make_queries(source, "e", seed=0) != first
    assert make_queries(source, "d", seed=1) != first


@pytest.mark.parametrize("words", [FEWEST_WORDS - 1, FEWEST_WORDS])
def test_short_documents_are_not_asked_for(words: int) -> None:
    text = " ".join(f"w{i}" for i in range(words - 10)) + ". " + " ".join(f"v{i}" for i in range(10)) + "."
    assert (read_sources([text])[0] is None) == (words < FEWEST_WORDS)


def test_the_page_names_every_kind() -> None:
    page = (Path(__file__).parent.parent / "docs" / "compare.md").read_text(encoding="utf-8")
    told = {kind.name: kind.says for kind in KINDS.values()}
    assert dict(re.findall(r"(?m)^\| `(\w+)` \| ([^|]+) \|$", page)) == told


def test_what_documents_share_word_for_word_is_no_query_in_a_row() -> None:
    shared = " ".join(f"The parties agree on point {chr(97 + i) * 2} without any doubt." for i in range(12))
    own = "In {0} the {0} dog of {0} sleeps on the {0} hill."
    texts = [f"{shared} {own.format(chr(107 + i) * 3)} {shared}" for i in range(8)]
    for i, source in enumerate(read_sources(texts)):
        assert source is not None
        for seed in range(20):
            made = dict(zip(KINDS, make_queries(source, f"d{i}", seed=seed), strict=True))
            assert sum(made["stretch"] in text for text in texts) == 1 or chr(107 + i) * 3 not in made["stretch"]
        asked = [make_queries(source, f"d{i}", seed=seed)[list(KINDS).index("stretch")] for seed in range(20)]
        assert np.mean([chr(107 + i) * 3 in query for query in asked]) > 0.8
    assert read_sources([shared] * 3) == [None] * 3


def test_texts_without_punctuation_are_asked_for_by_words_in_a_row() -> None:
    words = np.random.default_rng(0).choice(list("abcdefghij"), (5, 60))
    texts = [" ".join(f"{word}{chr(97 + i)}" for word in row) for i, row in enumerate(words)]
    for text, source in zip(texts, read_sources(texts), strict=True):
        assert source is not None
        made = dict(zip(KINDS, make_queries(source, text[:9], seed=0), strict=True))
        assert made["sentence"] in text
        assert count_words(made["sentence"]) == STRETCH
        assert 1 <= count_words(made["half"]) <= STRETCH


def test_words_keep_the_marks_on_them() -> None:
    hindi = (
        "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902 \u090f\u0915 "
        "\u092a\u094d\u0930\u092f\u094b\u0917 \u0939\u0948 \u0914\u0930"
    )
    letter = "\u0915"
    text = ". ".join(f"{hindi} {letter * i}" for i in range(1, 8)) + "."
    whole = set(text.replace(".", "").split())
    for seed in range(10):
        made = dict(zip(KINDS, make_queries(source_of(text), "d", seed=seed), strict=True))
        assert set(made["half"].split()) <= whole
        assert set(made["keywords"].split()) <= whole


def test_chinese_is_asked_for_by_its_characters() -> None:
    text = (
        "\u6211\u4eec\u4eca\u5929\u53bb\u8001\u623f\u5b50\u770b\u72d7\u3002" * 1
        + "\u5b83\u591c\u91cc\u53eb\u5f88\u5927\u58f0\u7136\u540e\u7761\u89c9\u3002"
        + "\u6625\u590f\u79cb\u51ac\u90fd\u5728\u90a3\u91cc\u4f4f\u7740\u3002"
    )
    made = make_queries(source_of(text), "d", seed=0)
    assert all(made)
    assert count_words(made[list(KINDS).index("stretch")]) == STRETCH
