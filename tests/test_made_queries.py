"""Queries made out of a document: words of its own in a row, the same again, and none that others share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uncollapse.diagnosis.costs.sentences import count_words
from uncollapse.tuning.queries import FEWEST_WORDS, STRETCH, Source, make_query, read_sources

LATIN = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
SENTENCES = st.lists(st.lists(LATIN, min_size=6, max_size=20).map(" ".join), min_size=6, max_size=12, unique=True)


def source_of(text: str) -> Source:
    (source,) = read_sources([text])
    assert source is not None
    return source


@given(SENTENCES, st.integers(-5, 5))
def test_a_stretch_stands_in_its_document_and_has_sixteen_words(sentences: list[str], seed: int) -> None:
    text = ". ".join(sentences) + "."
    query = make_query(source_of(text), "d", seed=seed)
    assert query in text
    assert count_words(query) == STRETCH


def test_stretches_are_from_everywhere_in_a_document() -> None:
    source = source_of(" ".join(f"w{i}" for i in range(200)))
    starts = [int(make_query(source, "d", seed=seed).split()[0][1:]) for seed in range(300)]
    assert min(starts) < 10
    assert max(starts) > 200 - STRETCH - 10
    assert np.mean(starts) == pytest.approx((200 - STRETCH) / 2, rel=0.1)


def test_names_and_seeds_draw_anew_and_the_same_ones_again() -> None:
    source = source_of(" ".join(f"w{i}" for i in range(200)))
    first = make_query(source, "d", seed=0)
    assert make_query(source, "d", seed=0) == first
    assert make_query(source, "e", seed=0) != first
    assert make_query(source, "d", seed=1) != first


@pytest.mark.parametrize("words", [FEWEST_WORDS - 1, FEWEST_WORDS])
def test_short_documents_are_not_asked_for(words: int) -> None:
    text = " ".join(f"w{i}" for i in range(words))
    assert (read_sources([text])[0] is None) == (words < FEWEST_WORDS)


def test_what_documents_share_word_for_word_is_not_asked_for() -> None:
    shared = " ".join(f"The parties agree on point {chr(97 + i) * 2} without any doubt." for i in range(12))
    own = "In {0} the {0} dog of {0} sleeps on the {0} hill."
    texts = [f"{shared} {own.format(chr(107 + i) * 3)} {shared}" for i in range(8)]
    for i, source in enumerate(read_sources(texts)):
        assert source is not None
        asked = [make_query(source, f"d{i}", seed=seed) for seed in range(20)]
        assert all(chr(107 + i) * 3 in query for query in asked)
    assert read_sources([shared] * 3) == [None] * 3


def test_words_keep_the_marks_on_them() -> None:
    hindi = (
        "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902 \u090f\u0915 "
        "\u092a\u094d\u0930\u092f\u094b\u0917 \u0939\u0948 \u0914\u0930"
    )
    letter = "\u0915"
    text = " ".join(f"{hindi} {letter * i}" for i in range(1, 8))
    for seed in range(10):
        assert set(make_query(source_of(text), "d", seed=seed).split()) <= set(text.split())


def test_chinese_is_asked_for_by_its_characters() -> None:
    text = (
        "\u6211\u4eec\u4eca\u5929\u53bb\u8001\u623f\u5b50\u770b\u72d7\u3002\u5b83\u591c\u91cc\u53eb\u5f88\u5927"
        "\u58f0\u7136\u540e\u7761\u89c9\u3002\u6625\u590f\u79cb\u51ac\u90fd\u5728\u90a3\u91cc\u4f4f\u7740\u3002"
    )
    assert count_words(make_query(source_of(text), "d", seed=0)) == STRETCH
