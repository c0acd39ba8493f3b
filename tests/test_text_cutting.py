"""Where texts are cut: nothing is lost, whatever the tokens are."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text_fix_examples import ALL
from tiny import save_tiny
from uncollapse.encoders import load
from uncollapse.fixes import parse
from uncollapse.fixes.texts.cutting import cut_ranges, piece_text


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("model"))))


TEXT = st.text(
    st.one_of(st.sampled_from("ab c.\n\t"), st.sampled_from("一二。\U0001f600\u200d"), st.characters(codec="utf-8")),
    max_size=120,
)


def solid(text, spans):
    """Tokens that are not white space."""
    return sum(bool(text[start:stop].strip()) for start, stop in spans)


SPANS = {
    "words and letters": lambda encoder, text: encoder.spans(text),
    "characters": lambda _, text: np.array([[i, i + 1] for i in range(len(text))], np.int64).reshape(-1, 2),
    "bytes": lambda _, text: np.array(
        [[i, i + 1] for i, letter in enumerate(text) for _ in letter.encode()], np.int64
    ).reshape(-1, 2),
}


@settings(max_examples=60, deadline=None)
@given(text=TEXT, size=st.integers(1, 12), tokens=st.sampled_from(sorted(SPANS)))
def test_pieces_cover_a_text_without_loss_or_overlap(encoder, text, size, tokens):
    spans = SPANS[tokens](encoder, text)
    ranges = cut_ranges(text, spans, size)
    assert [start for start, _ in ranges] == [0, *(stop for _, stop in ranges[:-1])]
    assert ranges[-1][1] == len(spans)
    most = max(size, 4) if tokens == "bytes" else size
    assert all(solid(text, spans[start:stop]) <= most for start, stop in ranges)
    assert len(ranges) == 1 or all(piece_text(text, spans, of) for of in ranges)
    found = "".join("".join(piece_text(text, spans, of).split()) for of in ranges)
    assert found == "".join(text.split())
    if len(ranges) == 1:
        assert piece_text(text, spans, ranges[0]) == text


@settings(max_examples=60, deadline=None)
@given(text=TEXT, tokens=st.sampled_from(sorted(SPANS)), written=st.sampled_from(ALL))
def test_every_fix_splits_any_text(encoder, text, tokens, written):
    """All tokens are in a piece, unless the fix leaves some out; parts hold the chunks, whatever the tokens are."""
    spans = SPANS[tokens](encoder, text)
    pieces = parse(written).split(text, spans, 12)
    read = {number for piece in pieces for of in piece.ranges for number in range(*of)}
    if written.startswith("head_tail"):
        assert len(pieces) == 1
    else:
        assert read == set(range(len(spans)))
    if written.startswith("late_chunking"):
        parts = [piece.text[part.begin : part.end].strip() for piece in pieces for part in piece.parts]
        assert not parts or parts == [piece_text(text, spans, of) for of in cut_ranges(text, spans, 8)]


@settings(max_examples=60, deadline=None)
@given(text=TEXT, size=st.integers(2, 12), data=st.data())
def test_overlapping_pieces_cover_a_text_and_share_what_was_asked_for(encoder, text, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    spans = encoder.spans(text)
    ranges = cut_ranges(text, spans, size, overlap=overlap)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == len(spans)
    for (start, stop), (following, end) in pairwise(ranges):
        assert start < following <= stop < end
    for start, stop in ranges:
        assert solid(text, spans[start:stop]) <= size


def test_tokens_of_one_character_stay_together():
    text = "\U0001f600\U0001f601ab"
    spans = np.array([[0, 1], [0, 1], [0, 1], [1, 2], [1, 2], [1, 2], [2, 3], [3, 4]])
    ranges = cut_ranges(text, spans, 2)
    assert ranges == [(0, 3), (3, 6), (6, 8)]
    assert [piece_text(text, spans, of) for of in ranges] == ["\U0001f600", "\U0001f601", "ab"]


def test_white_space_tokens_are_no_piece_of_their_own():
    text = "ab" + "\n" * 6 + "cd"
    spans = np.array([[i, i + 1] for i in range(len(text))])
    ranges = cut_ranges(text, spans, 2)
    assert all(piece_text(text, spans, of) for of in ranges)
    assert ranges[-1][1] == len(spans)


def test_words_are_left_whole_where_that_costs_little():
    text = " ".join(["abc"] * 11)
    spans = np.array([[i, i + 1] for i in range(len(text)) if text[i] != " "])
    assert [stop - start for start, stop in cut_ranges(text, spans, 18)] == [18, 15]
    assert [stop - start for start, stop in cut_ranges(text, spans, 17)] == [17, 16]  # no room for whole words
    assert [stop - start for start, stop in cut_ranges(text, spans, 12)] == [12, 12, 9]


def test_equal_shares_rather_than_a_rest():
    text = "a" * 21
    spans = np.array([[i, i + 1] for i in range(21)])
    assert [stop - start for start, stop in cut_ranges(text, spans, 10)] == [7, 7, 7]
