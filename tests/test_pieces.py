"""Texts in pieces: nothing is lost, no word is cut that fits, and tokenizers of every kind agree."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uncollapse.diagnosis.pieces import Pieces, cut_pieces
from uncollapse.encoders.sentence import word_spans
from uncollapse.errors import UncollapseError

WORDS = st.lists(st.text("abcé", min_size=1, max_size=9), min_size=1, max_size=40)


def letters(text: str, size: int = 3) -> np.ndarray:
    """Spans of tokens of at most `size` letters, as word pieces have them."""
    return np.array(
        [
            (start, min(start + size, stop))
            for first, stop in word_spans(text).tolist()
            for start in range(first, stop, size)
        ]
    )


def with_space(spans: np.ndarray) -> np.ndarray:
    """The same spans where a tokenizer counts the space before a word to the word."""
    starts = spans[:, 0].copy()
    gap = np.flatnonzero(spans[1:, 0] > spans[:-1, 1]) + 1
    starts[gap] = spans[gap - 1, 1]
    return np.stack([starts, spans[:, 1]], axis=1)


@given(WORDS, st.integers(1, 12))
def test_nothing_is_lost_and_no_piece_is_too_long(words: list[str], size: int) -> None:
    text = " ".join(words)
    pieces = cut_pieces(text, letters(text), size)
    assert "".join(pieces.texts).replace(" ", "") == text.replace(" ", "")
    assert pieces.whole == text
    assert pieces.n_tokens.sum() == len(letters(text))
    assert 1 <= pieces.n_tokens.min() <= pieces.n_tokens.max() <= size


@given(WORDS, st.integers(3, 12))
def test_words_that_fit_are_never_cut(words: list[str], size: int) -> None:
    text = " ".join(words)  # a word has at most 3 tokens
    assert " ".join(cut_pieces(text, letters(text), size).texts) == text


@given(WORDS, st.integers(3, 12))
def test_pieces_are_as_long_as_whole_words_allow(words: list[str], size: int) -> None:
    text = " ".join(words)
    pieces = cut_pieces(text, letters(text), size)
    for piece, after in zip(pieces.texts, pieces.texts[1:], strict=False):
        assert len(letters(f"{piece} {after.split()[0]}")) > size


@given(WORDS, st.integers(1, 12))
def test_a_space_counted_to_the_word_behind_it_changes_nothing(words: list[str], size: int) -> None:
    text = "  ".join(words)
    plain, spaced = cut_pieces(text, letters(text), size), cut_pieces(text, with_space(letters(text)), size)
    assert (plain.texts, plain.whole) == (spaced.texts, spaced.whole)
    assert np.array_equal(plain.n_tokens, spaced.n_tokens)


def test_tokens_of_white_space_make_no_piece() -> None:
    text = "one\n\n\n\ntwo"
    spans = np.array([[0, 3], *([k, k + 1] for k in range(3, 7)), [7, 10]])
    pieces = cut_pieces(text, spans, 2)
    assert pieces.texts == ("one\n\n\n\ntwo",)
    assert pieces.n_tokens.tolist() == [2]


@given(WORDS, st.integers(1, 12), st.data())
def test_the_first_pieces_are_the_pieces_of_the_text_that_ends_there(
    words: list[str], size: int, data: st.DataObject
) -> None:
    text = " ".join(words)
    pieces = cut_pieces(text, letters(text), size)
    count = data.draw(st.integers(1, len(pieces)))
    first = pieces.first(count)
    assert len(first) == count
    assert re.sub(r"\s", "", first.whole) == re.sub(r"\s", "", "".join(first.texts))
    assert text.startswith(first.whole)
    again = cut_pieces(first.whole, letters(first.whole)[: first.n_tokens.sum()], size)
    assert again.texts == first.texts


def test_the_first_pieces_of_a_text_that_repeats_itself() -> None:
    text = "a b a b a b"
    pieces = cut_pieces(text, word_spans(text), 2)
    assert pieces.first(2).whole == "a b a b"


def test_a_word_longer_than_a_piece_is_cut_inside() -> None:
    text = "abcdefghijkl no"
    assert cut_pieces(text, letters(text), 2).texts == ("abcdef", "ghijkl", "no")


@pytest.mark.parametrize(("size", "spans"), [(0, [[0, 1]]), (3, [])])
def test_nothing_to_cut_is_refused(size: int, spans: list[list[int]]) -> None:
    with pytest.raises(UncollapseError, match=f"got {len(spans)} and size {size}"):
        cut_pieces("a", np.array(spans, np.int64).reshape(-1, 2), size)


@pytest.mark.parametrize("count", [0, 3])
def test_more_pieces_than_there_are_are_refused(count: int) -> None:
    pieces = Pieces(("a", "b"), np.array([1, 1]), "a b")
    with pytest.raises(UncollapseError, match=f"has 2 pieces, but the first {count} were asked for"):
        pieces.first(count)
