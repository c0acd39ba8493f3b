"""The texts that the probes make: sentences, what is read, pieces, windows and needles."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from costs_corpora import BagEncoder, keep, make_documents, sentence, text
from uncollapse.diagnosis.costs.cloze import take_out
from uncollapse.diagnosis.costs.context import _name_paying, choose_windows, cut_windows
from uncollapse.diagnosis.costs.dilution import DOCUMENTS, PIECE, cut_into_pieces
from uncollapse.diagnosis.costs.encodings import encode_once
from uncollapse.diagnosis.costs.needle import DEPTHS, HAYSTACKS, choose_lengths, hide_needles
from uncollapse.diagnosis.costs.quotes import choose_quotes
from uncollapse.diagnosis.costs.readings import read_documents
from uncollapse.diagnosis.costs.sentences import count_words, locate_sentences, once_only, quotable
from uncollapse.resampling import Estimate, draw

LETTERS = st.text(alphabet="ab .!?\n\u3002\t", max_size=60)


def readings_of(encoder, documents):
    return read_documents(encoder, documents)[0]


@given(LETTERS)
def test_sentences_stand_where_they_say(written):
    sentences = locate_sentences(written)
    for found in sentences:
        assert written[found.start : found.stop] == found.text
        assert found.text == found.text.strip() != ""
    assert "".join("".join(found.text for found in sentences).split()) == "".join(written.split())
    starts = [found.start for found in sentences]
    assert starts == sorted(starts)


def test_words_are_counted_in_scripts_with_and_without_spaces():
    assert count_words("Don't count re-entry twice, 3 times!") == 6
    assert count_words("\u6211\u4eec\u662f\u4e00\u4e2a\u3002") == 5
    assert count_words("...") == 0


@pytest.mark.parametrize(("words", "kept"), [(5, False), (6, True), (40, True), (41, False)])
def test_sentences_of_six_to_forty_words_are_asked_for(words, kept):
    written = " ".join(f"w{i}" for i in range(words)) + "."
    found = locate_sentences(written)
    assert (len(quotable(found, once_only(found))) == 1) == kept


def test_drawing_is_fair_and_depends_on_name_and_seed_alone():
    drawn = [draw(range(7), f"document {i}", seed=0) for i in range(7000)]
    assert chisquare(np.bincount(drawn, minlength=7)).pvalue > 0.001
    assert drawn == [draw(range(7), f"document {i}", seed=0) for i in range(7000)]
    other = [draw(range(7), f"document {i}", seed=1) for i in range(7000)]
    assert np.mean(np.equal(drawn, other)) == pytest.approx(1 / 7, abs=0.02)


def test_the_sentence_taken_out_is_gone_and_nothing_else():
    encoder = BagEncoder()
    for cloze in take_out(readings_of(encoder, make_documents(encoder, 30)), seed=0):
        assert cloze.sentence.text not in cloze.rest
        assert sorted((cloze.rest + " " + cloze.sentence.text).split()) == sorted(cloze.reading.text.split())
        assert "  " not in cloze.rest


def test_what_is_read_ends_with_the_last_token_that_is():
    encoder = BagEncoder(max_tokens=42)
    (reading,) = readings_of(encoder, keep(encoder, [text(0, 20)]))
    assert len(reading.text.split()) == 40
    assert [found.text for found in reading.sentences] == [sentence(0, number) for number in range(5)]
    assert [found.text for found in reading.cut_off] == [sentence(0, number) for number in range(5, 20)]


def test_without_tokens_places_the_end_is_found_from_words():
    """A tokenizer that does not tell places: spans are words, of two tokens each."""

    class Doubling(BagEncoder):
        def count(self, texts):
            return np.array([2 * len(text.split()) + 2 for text in texts])

    encoder = Doubling(max_tokens=82)
    (document,) = keep(encoder, [text(0, 20)])
    (reading,) = readings_of(encoder, [document])
    assert len(reading.text.split()) == 40
    assert len(reading.first(42).split()) == 20


def test_a_quote_of_each_third_or_none():
    encoder = BagEncoder()
    readings = readings_of(encoder, make_documents(encoder, 30))
    for quotes in choose_quotes(readings, seed=0):
        size = len(quotes.reading.text)
        assert quotes.reading.text.index(quotes.beginning) + len(quotes.beginning) <= size / 3
        assert quotes.reading.text.index(quotes.end) >= 2 * size / 3
        assert quotes.cut_off is None
    one_sided = f"{text(0, 3)} Too short. Too short a one. And so on. So it goes. That is all. No more of it. The end."
    (alone,) = choose_quotes(readings_of(encoder, keep(encoder, [one_sided])), seed=0)
    assert (alone.beginning, alone.end, alone.texts) == (None, None, ())


def test_pieces_are_the_whole_text_and_of_like_size():
    encoder = BagEncoder()
    documents = make_documents(encoder, 240, sentences=(8, 9, 13, 17, 30))
    cut = cut_into_pieces(take_out(readings_of(encoder, documents), seed=0))
    assert len(cut) == DOCUMENTS
    for pieced in cut:
        assert " ".join(pieced.pieces) == pieced.reading.text
        sizes = [len(piece.split()) for piece in pieced.pieces]
        assert min(sizes) >= PIECE // 2
        assert max(sizes) <= PIECE
    assert not cut_into_pieces(take_out(readings_of(encoder, make_documents(encoder, 5, sentences=(8,))), seed=0))


def test_long_words_make_no_tiny_piece():
    """Spans of two tokens a word: what words leave over joins the last piece."""
    encoder = BagEncoder()
    (reading,) = readings_of(encoder, keep(encoder, [text(0, 13)]))
    halves = np.sort(np.concatenate([reading.spans, reading.spans]).ravel()).reshape(-1, 2)
    halves[1::2, 0] = halves[::2, 0] + 1
    halves[::2, 1] = halves[1::2, 0]
    odd = replace(reading, spans=halves[:-1], n_tokens=len(halves) + 1)
    (pieced,) = cut_into_pieces(take_out([odd], seed=0))
    assert len(pieced.pieces) == -(-(odd.n_tokens - 2) // PIECE)
    assert " ".join(pieced.pieces) + odd.text[odd.spans[-1, 1] :] == odd.text


def test_windows_cut_what_is_longer_and_nothing_else():
    encoder = BagEncoder()
    readings = readings_of(encoder, make_documents(encoder, 120))
    assert choose_windows(readings) == (32, 64, 128, 194)
    windowed = cut_windows(take_out(readings, seed=0), seed=0)
    for window, cut in windowed.cuts.items():
        assert {i for i, reading in enumerate(readings) if reading.n_tokens > window} == set(cut)
        for i, beginning in cut.items():
            assert encoder.count([beginning])[0] == window
            assert readings[i].text.startswith(beginning)
    for i, asked in windowed.asked["beginning"].items():
        assert asked in readings[i].first(32)
    assert len(windowed.asked["anywhere"]) == 120
    assert choose_windows(readings_of(encoder, make_documents(encoder, 40, sentences=(4,)))) == (32, 34)
    assert choose_windows(readings[:29]) == ()


def test_a_needle_stands_at_its_depth_in_a_text_of_its_length():
    encoder = BagEncoder()
    readings = readings_of(encoder, make_documents(encoder, 120))
    hidden = hide_needles(encoder, readings, tokens=0, seed=0)
    assert len(hidden) == HAYSTACKS
    for one in hidden:
        assert not any(word in one.reading.text for word in one.needle.split())
        for (length, depth), pierced in one.pierced.items():
            assert encoder.count([pierced])[0] == length
            before, after = pierced.split(one.needle)
            assert f"{before.strip()} {after.strip()}".strip() == one.reading.first(length - 8)
            assert len(before.split()) == round((length - 10) * depth / 100)
        for length, plain in one.plain.items():
            assert plain == one.reading.first(length)
        assert {depth for _, depth in one.pierced} == set(DEPTHS)
    needles = {one.needle for one in hidden}
    assert len(needles) == HAYSTACKS
    hay = {one.reading.id for one in hidden}
    assert all(any(n in r.text for r in readings if r.id not in hay) for n in needles)


def test_lengths_stay_within_what_documents_and_budget_allow():
    assert choose_lengths(np.full(100, 512), budget=10**6) == (64, 128, 512)
    assert choose_lengths(np.full(100, 510), budget=10**6) == (64, 128, 510)
    assert choose_lengths(np.full(100, 8192), budget=10**9) == (64, 512, 8192)
    assert choose_lengths(np.r_[np.full(29, 8192), np.full(100, 300)], budget=10**9) == (64, 128, 256)
    assert choose_lengths(np.full(100, 64), budget=10**6) == (64,)
    assert choose_lengths(np.full(29, 512), budget=10**6) == ()
    assert choose_lengths(np.full(100, 512), special=30, budget=10**6) == (128, 256, 512), "a prompt takes room"
    for budget in (20_000, 60_000, 200_000):
        lengths = choose_lengths(np.full(100, 8192), budget=budget)
        assert sum(lengths) * HAYSTACKS * 6 <= budget


def test_every_different_text_is_encoded_once():
    encoder = BagEncoder()
    texts = [text(i, 4) for i in range(150)]
    encodings = encode_once(encoder, [*texts, *texts[::-1]], what="test")
    assert sorted(encoder.encoded) == sorted(texts)
    for i in (0, 77, 149):
        expected = encoder.vector(texts[i])
        assert encodings.of([texts[i]])[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-6)
    assert encode_once(encoder, [], what="nothing").of([]).shape == (0, encoder.dim)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.005, 0.005, "From 64 to 512 no more is found"),
        (-0.2, 0.2, "Whether windows of more than 64 tokens find more cannot be told."),
        (-0.2, -0.1, "From 64 to 512 it is"),
    ],
)
def test_what_lies_beyond_the_window_that_pays_is_told_as_surely_as_it_is_known(
    low: float, high: float, said: str
) -> None:
    beyond = Estimate((low + high) / 2, np.empty(0), low, high, 50)
    assert said in _name_paying(64, 512, beyond, "", "tokens")[1]
