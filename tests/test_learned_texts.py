"""Windows have the tokens they are asked for, sentences are from the texts, and both depend on ids and seed alone."""

import numpy as np
import pytest

from tiny import save_tiny
from uncollapse.encoders import SentenceEncoder, load
from uncollapse.pipelines import windows
from uncollapse.pipelines.windows import STRETCH, cut_windows, take_sentences, take_stretches

TEXTS = [" ".join(f"word{i}{'x' * (i % 5)} and" for i in range(start, start + 12)) for start in range(30)]
IDS = [f"text {i}" for i in range(30)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    loaded = load(str(save_tiny(tmp_path_factory.mktemp("model"), max_tokens=64)))
    assert isinstance(loaded, SentenceEncoder)
    return loaded


def test_windows_have_exactly_the_tokens_asked_for(encoder: SentenceEncoder) -> None:
    cut = cut_windows(encoder, IDS, TEXTS)
    counts = encoder.count(cut)
    assert np.unique(counts, return_counts=True)[1].tolist() == [30, 30, 30, 30]
    assert set(counts.tolist()) == {8, 16, 32, 64}
    assert all(any(window in text for text in TEXTS) for window in cut)


def test_windows_begin_at_words(encoder: SentenceEncoder) -> None:
    for window in cut_windows(encoder, IDS, TEXTS):
        assert any(f" {window}" in f" {text}" for text in TEXTS)


def test_where_no_word_begins_windows_begin_anywhere(encoder: SentenceEncoder) -> None:
    texts = ["abcdefghij" * 9] * 30
    cut = cut_windows(encoder, IDS, texts)
    assert set(encoder.count(cut).tolist()) == {8, 16, 32, 64}
    assert len({window[0] for window in cut}) > 3


def test_short_texts_have_short_windows_only(encoder: SentenceEncoder) -> None:
    assert cut_windows(encoder, ["a", "b"], ["tiny", ""]) == []
    assert encoder.count(cut_windows(encoder, ["a"], ["seven letters"])).tolist() == [8]


def test_windows_depend_on_ids_and_seed_alone(encoder: SentenceEncoder) -> None:
    turned = cut_windows(encoder, IDS[::-1], TEXTS[::-1])
    assert sorted(turned) == sorted(cut_windows(encoder, IDS, TEXTS))
    assert cut_windows(encoder, IDS, TEXTS, seed=1) != cut_windows(encoder, IDS, TEXTS)


def test_many_documents_are_sampled(encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "WINDOWED", 5)
    assert len(cut_windows(encoder, IDS, TEXTS)) == 20


def test_sentences_are_from_the_texts_and_one_a_document() -> None:
    texts = [
        f"Too short. This is sentence number {i} of the text! And here is another one, {i}. No." for i in range(9)
    ]
    taken = take_sentences([str(i) for i in range(9)], texts)
    assert len(taken) == 9
    for sentence in taken:
        (source,) = [text for text in texts if sentence in text]
        assert 5 <= len(sentence.split()) <= 40
        assert sentence in source.replace("Too short. ", "").replace(" No.", "")
    assert len({sentence.startswith("This") for sentence in taken}) == 2


def test_texts_without_sentences_give_none() -> None:
    assert take_sentences(["a", "b"], ["one two.", "word " * 50]) == ()


def test_sentences_end_where_lines_and_full_stops_of_any_script_do() -> None:
    assert take_sentences(["a"], ["# A\nthis line has five words\nx"]) == ("this line has five words",)
    assert take_sentences(["a"], ["a b c d e。 f"]) == ("a b c d e。",)


def test_so_many_sentences_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "ASKED", 3)
    texts = [f"this line has five words {i}" for i in range(9)]
    few = take_sentences([str(i) for i in range(9)], texts)
    assert len(few) == 3
    assert few == take_sentences([str(i) for i in range(8, -1, -1)], texts[::-1])


def test_texts_without_sentences_teach_by_words_in_a_row() -> None:
    texts = [" ".join(f"w{i}x{j}" for j in range(20 + 5 * i)) for i in range(9)]
    names = [str(i) for i in range(9)]
    taken = take_stretches(names, texts)
    assert len(taken) == sum(len(text.split()) >= 2 * STRETCH for text in texts)
    assert all(len(one.split()) == STRETCH and any(one in text for text in texts) for one in taken)
    assert sorted(taken) == sorted(take_stretches(names[::-1], texts[::-1]))
    assert take_stretches(names, texts, seed=1) != taken
