"""Controls: each text changes what it says and nothing else."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

import vector_examples
from planted_words import (
    COUNT,
    LIMIT,
    PIECE,
    D,
    Words,
    bag,
    documents,
    effect,
    made_texts,
    numbers_of,
    rows_of,
    text_of,
)
from tolerances import FLOAT64, assert_close
from uncollapse.corpora.sentences import split_sentences
from uncollapse.diagnosis.causes.controls import CONTROLS, measure_controls
from uncollapse.diagnosis.causes.controls.cutting import choose_lengths
from uncollapse.diagnosis.causes.controls.materials import deal
from uncollapse.diagnosis.causes.controls.words import STOP_WORDS, shuffle_sentences, stop_word_text
from uncollapse.encoders import VectorFile
from uncollapse.errors import ModelError, UncollapseError
from uncollapse.reservoir import Kept

TEXTS = [control.name for control in CONTROLS.values() if control.embedding == "model"]
ROOT = Path(__file__).parents[1]


# The battery: every row of the table


@pytest.mark.parametrize("name", TEXTS)
def test_every_control_is_measured_on_all_documents_at_the_length_it_claims(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Words(max_tokens=130)
    docs = documents(make=lambda i: text_of(i, 130))
    lengths = choose_lengths(encoder, docs)
    assert (lengths.full, lengths.piece, lengths.count) == (130, 32, 4)
    encoder = Words(max_tokens=290)
    docs = documents(make=lambda i: text_of(i, 230))
    lengths = choose_lengths(encoder, docs)
    assert (lengths.full, lengths.piece, lengths.count) == (290, 32, 9)
    claimed = {"start": 32, "deep": 32, "repeat_2": 62, "repeat_4": 122}.get(name, 290)
    made = made_texts(monkeypatch, encoder, documents=docs, names=[name])[name]
    assert len(made.texts) == D
    assert made.n_tokens.tolist() == encoder.count(made.texts).tolist()
    assert made.n_tokens.max() <= claimed
    assert made.n_tokens.min() > claimed - 32
    part = measure_controls(encoder, docs, names=[name])
    assert {row.n for row in part.rows} == {D}
    row = rows_of(part)["mean_cosine", name]
    assert (row.view, row.n_tokens, row.note) == ("controls", round(float(made.n_tokens.mean()), 2), "")
    assert row.low is not None
    assert row.low < row.value < (row.high or 0)


def test_every_effect_is_the_difference_to_its_reference_with_a_paired_interval() -> None:
    found = rows_of(measure_controls(Words(late=0.3), documents()))
    for name, control in CONTROLS.items():
        if ("mean_cosine", name) not in found:
            assert control.embedding in ("shifted", "static") or name == "repeat_4"
        elif not control.reference:
            assert ("control_effect", name) not in found
        else:
            row = found["control_effect", name]
            own, other = found["mean_cosine", name], found["mean_cosine", control.reference]
            assert_close(row.value, own.value - other.value, FLOAT64)
            assert row.low is not None
            # Unpaired, the interval of a difference would be about as wide as that of either side.
            assert row.low <= row.value <= (row.high or 0)


def test_the_same_seed_gives_the_same_numbers_and_another_seed_other_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure_controls(Words(), documents(), seed=3) == measure_controls(Words(), documents(), seed=3)
    one, other = made_texts(monkeypatch, seed=3), made_texts(monkeypatch, seed=4)
    changed = {name for name in one if one[name].texts != other[name].texts}
    assert changed == {"filler", "shuffle", "same_topic", "mixed_topic"}  # of same_topic the order of pieces alone
    assert bag(one["same_topic"].texts[:1]) == bag(other["same_topic"].texts[:1])


def test_the_order_of_documents_changes_nothing_that_is_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in TEXTS if not CONTROLS[name].by_vectors]
    forwards = made_texts(monkeypatch, names=names)
    backwards = made_texts(monkeypatch, names=names, documents=documents()[::-1])
    for name, made in forwards.items():
        assert made.texts == backwards[name].texts[::-1]


def test_every_distinct_text_is_embedded_once_and_its_tokens_are_told() -> None:
    encoder = Words()
    part = measure_controls(encoder, documents())
    assert len(encoder.seen) == len(set(encoder.seen)) == D * (COUNT + 7)  # start and deep are among the pieces
    assert part.about["controls"]["tokens_embedded"] == encoder.count(encoder.seen).sum()


# Each changes what it says and nothing else


def test_repetition_changes_no_word_and_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_texts(monkeypatch)
    assert "repeat_4" not in made
    for name, times in (("repeat_2", 2), ("repeat_full", COUNT)):
        for start, text in zip(made["start"].texts, made[name].texts, strict=True):
            assert text.split() == start.split() * times


def test_the_whole_is_the_text_itself_and_the_deep_piece_stands_in_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_texts(monkeypatch)
    for document, start, deep, whole in zip(
        documents(), *(made[name].texts for name in ("start", "deep", "whole")), strict=True
    ):
        assert document.text.startswith(whole)
        assert whole.startswith(start)
        before, found, after = whole.partition(deep)
        assert found
        assert min(len(before), len(after)) > len(whole) / 8


def test_filler_keeps_the_piece_and_adds_stop_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_texts(monkeypatch)
    orders = set()
    for start, text in zip(made["start"].texts, made["filler"].texts, strict=True):
        assert text.startswith(f"{start} ")
        added = text.removeprefix(start).split()
        assert set(added) <= set(STOP_WORDS)
        orders.add(tuple(added))
    assert len(orders) == D
    assert (made["filler"].n_tokens == LIMIT).all()


def test_shuffling_keeps_the_sentences_and_changes_their_order_in_every_text(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_texts(monkeypatch)
    for whole, text in zip(made["whole"].texts, made["shuffle"].texts, strict=True):
        assert text != whole
        assert Counter(text.split()) == Counter(whole.split())
        assert all(sentence in text for sentence in split_sentences(whole)[0])


def test_made_documents_share_no_piece_and_use_every_piece_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_texts(monkeypatch)
    everything = bag(made["whole"].texts)
    assert max(everything.values()) == 1
    for name in ("same_topic", "mixed_topic"):
        assert bag(made[name].texts) == everything
        for row, (start, text) in enumerate(zip(made["start"].texts, made[name].texts, strict=True)):
            assert text.startswith(f"{start} ")
            assert f"d{row}w" not in text.removeprefix(start)
    assert made["same_topic"].texts != made["mixed_topic"].texts


def subject_of(word: str) -> npt.NDArray[np.float64]:
    """Documents 0, 1, 2 are on one subject, 3, 4, 5 on the next, ..."""
    subject = int(re.findall(r"\d+", word)[0]) // 3
    return 3 * numbers_of(f"subject {subject}") + numbers_of(word)


def test_the_same_topic_is_found_and_mixing_topics_pulls_texts_together(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["mixed_topic"]
    made = made_texts(monkeypatch, Words(subject_of), names=names)
    right = [
        int(word[1:].partition("w")[0]) // 3 == row // 3
        for row, text in enumerate(made["same_topic"].texts)
        for word in text.split()
    ]
    assert np.mean(right) > 0.95
    part = measure_controls(Words(subject_of), documents(), names=names)
    row = effect(part, "mixed_topic")
    assert row.low is not None
    assert row.low > 0.05
    near, mixed = (part.about["controls"]["mean_closeness"][name] for name in ("same_topic", "mixed_topic"))
    assert near > mixed + 0.5
    assert [finding.title for finding in part.verdict] == ["Mixed subjects pull texts together"]


@given(st.integers(2, 7), st.integers(1, 5), st.integers(0, 2**32), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_deal_gives_each_piece_once_and_nobody_their_own(documents: int, rounds: int, seed: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    wishes = generator.integers(0, 3, (documents, documents * rounds)) if ties else None
    wishes = generator.random((documents, documents * rounds)) if wishes is None else wishes.astype(float)
    dealt = deal(wishes)
    assert sorted(dealt.ravel().tolist()) == list(range(documents * rounds))
    assert (dealt // rounds != np.arange(documents)[:, None]).all()


@given(st.integers(12, 20), st.integers(2, 4), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_a_deal_is_nearly_as_good_as_the_best_there_is(documents: int, rounds: int, seed: int) -> None:
    wishes = np.random.default_rng(seed).random((documents, documents * rounds))
    allowed = np.where(np.arange(documents)[:, None] == np.arange(documents * rounds) // rounds, -9.0, wishes)
    rows, columns = linear_sum_assignment(np.repeat(allowed, rounds, axis=0), maximize=True)
    best = allowed[rows // rounds, columns].mean()
    assert best - 0.1 <= np.take_along_axis(wishes, deal(wishes), axis=1).mean() <= best + FLOAT64


def test_one_document_alone_has_nobody_to_deal_with() -> None:
    with pytest.raises(UncollapseError, match="two documents or more, got 1"):
        deal(np.ones((1, 3)))


# Sentences and stop words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One sentence", ["One sentence"]),
        ('He said "no." She left! Why?', ['He said "no."', "She left!", "Why?"]),
        ("A title\n\nA line that\nis wrapped. The end.", ["A title", "A line that\nis wrapped.", "The end."]),
        ("first item\nsecond item\nthird", ["first item", "second item", "third"]),
        ("Version 3.11 is out. Yes", ["Version 3.11 is out.", "Yes"]),
        ("\u4f60\u597d\u3002\u518d\u89c1\u3002", ["\u4f60\u597d\u3002", "\u518d\u89c1\u3002"]),
        ("\u4f60\u597d\u3002\n\u518d\u89c1", ["\u4f60\u597d\u3002", "\u518d\u89c1"]),
    ],
)
def test_sentences_are_split_by_the_stated_rule(text: str, sentences: list[str]) -> None:
    found, gaps = split_sentences(text)
    assert found == sentences
    assert len(gaps) == len(found) - 1
    assert "".join(one + gap for one, gap in zip(found, [*gaps, ""], strict=True)) == text


@given(st.text(alphabet="ab.! \n\u3002", max_size=40), st.integers(0, 99))
def test_shuffling_any_text_loses_no_character(text: str, seed: int) -> None:
    shuffled = shuffle_sentences(text, np.random.default_rng(seed))
    assert Counter(shuffled) == Counter(text.strip())


@pytest.mark.parametrize("seed", range(8))
def test_two_sentences_always_change_places_and_paragraphs_stay(seed: int) -> None:
    generator = np.random.default_rng(seed)
    assert shuffle_sentences("One. Two.", generator) == "Two. One."
    gaps = split_sentences(shuffle_sentences("Title.\n\nOne. Two.  Three.", generator))[1]
    assert gaps == ["\n\n", " ", "  "]


def test_stop_words_come_once_each_before_any_comes_again() -> None:
    assert len(STOP_WORDS) == len(set(STOP_WORDS)) > 100
    words = stop_word_text(2 * len(STOP_WORDS), np.random.default_rng(0)).split()
    first, second = words[: len(STOP_WORDS)], words[len(STOP_WORDS) :]
    assert sorted(first) == sorted(second) == sorted(STOP_WORDS)
    assert first != second


# What cannot be measured


def test_a_black_box_goes_without_what_needs_its_inside() -> None:
    part = measure_controls(Words(), documents())
    assert set(part.about["controls"]["left_out"]) == {"shifted", "static_short", "static_long", "repeat_4"}
    assert "input embeddings cannot be seen" in part.about["controls"]["left_out"]["static_long"]
    assert {row.bin for row in part.rows} == set(TEXTS) - {"repeat_4"} | {"chunk_mean"}
    assert "repeat_full" in part.about["controls"]["left_out"]["repeat_4"]


def test_named_controls_bring_their_references_and_only_those_are_measured() -> None:
    encoder = Words()
    part = measure_controls(encoder, documents(), names=["repeat_2"])
    assert [(row.measure, row.bin) for row in part.rows] == [
        ("mean_cosine", "start"),
        ("mean_cosine", "repeat_2"),
        ("control_effect", "repeat_2"),
    ]
    assert len(encoder.seen) == 2 * D
    with pytest.raises(UncollapseError, match=r"no control 'repeat2'. Did you mean 'repeat_2'"):
        measure_controls(encoder, documents(), names=["repeat2"])
    with pytest.raises(UncollapseError, match="Name at least one control"):
        measure_controls(encoder, documents(), names=[])


def test_few_documents_have_no_interval_and_a_finding_that_says_how_many_are_needed() -> None:
    part = measure_controls(Words(), documents(29))
    assert {(row.low, row.high) for row in part.rows} == {(None, None)}
    assert all(row.note.startswith("no interval: 29 documents, fewer than 30") for row in part.rows)
    (finding,) = part.verdict
    assert finding.kind == "unknown"
    assert "at least 30 documents of full length, got 29" in finding.sentence
    one = measure_controls(Words(), documents(1))
    assert one.rows == ()
    assert "got 1." in one.verdict[0].sentence


def test_short_documents_are_refused_by_name() -> None:
    docs = [*documents(), Kept("short", "a b c", 5), Kept("shorter", "a", 3)]
    with pytest.raises(UncollapseError, match=r"at least 24 tokens.*'short' has 5 and 'planted' reads 66"):
        measure_controls(Words(), docs)
    lying = [*documents(), Kept("liar", "a b c", 70)]
    with pytest.raises(UncollapseError, match=r"4 pieces of 14 tokens.*'liar' gives 1: its n_tokens is 70.*finds 3"):
        measure_controls(Words(), lying)
    with pytest.raises(UncollapseError, match=r"room for 4 tokens of text beside the 2 special.*got 5 tokens in all"):
        measure_controls(Words(), documents(), piece=5)


def test_texts_are_cut_by_their_tokens_whether_or_not_a_limit_can_be_set() -> None:
    assert measure_controls(Words(can_cut=False), documents()) == measure_controls(Words(), documents())


def test_a_file_of_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'v.parquet' holds vectors of its own texts only. Use the model itself"):
        measure_controls(VectorFile(vector_examples.whole(tmp_path / "v.parquet")), documents())


def test_texts_that_grow_when_joined_are_cut_to_fit_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    class Growing(Words):
        """A word that ends a sentence costs one token more in front of another of its kind, as when words fuse."""

        def parts(self, text: str) -> list[str]:
            return super().parts(text.replace("END END", "END ~more~evenmore~still END"))

        def spans(self, text: str) -> npt.NDArray[np.int64]:
            spans = super().spans(text).tolist()
            places = [i for i, ((a, b), (c, d)) in enumerate(pairwise(spans)) if text[a:b] == text[c:d] == "END"]
            for place in reversed(places):
                spans[place:place] = [spans[place]] * 3
            return np.array(spans, np.int64).reshape(-1, 2)

    docs = documents(make=lambda i: "END " + " ".join(f"d{i}w{j}" for j in range(12)) + " END" + f" d{i}x y z" * 40)
    made = made_texts(monkeypatch, Growing(), documents=docs, names=["repeat_full"])["repeat_full"]
    assert made.cut == D
    assert made.n_tokens.max() <= LIMIT
    part = measure_controls(Growing(), docs, names=["repeat_full"])
    assert effect(part, "repeat_full").note == f"{D} of {D} texts lost their last words to fit"


def test_spans_that_are_not_those_of_the_tokens_are_refused() -> None:
    class Doubling(Words):
        def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
            return 2 * super().count(texts)

    with pytest.raises(ModelError, match=r"'whole' must have at most 66 tokens.*cut them in silence.*has 1\d\d after"):
        measure_controls(Doubling(), documents(), names=["whole"])


# The documents


def test_the_page_has_every_control_as_the_table_says_it() -> None:
    page = (ROOT / "docs/controls.md").read_text()
    for control in CONTROLS.values():
        against = f"`{control.reference}`" if control.reference else "-"
        assert f"\n| `{control.name}` | {control.changes} | {against} |\n" in page
        assert f"\n**{control.title}** (`{control.name}`). {control.reading} *{control.limits}*\n" in page
    names = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert names == list(CONTROLS)


def test_about_tells_a_report_what_each_control_is() -> None:
    about = measure_controls(Words(), documents()).about["controls"]
    assert about["table"]["shuffle"]["reference"] == "whole"
    assert set(about["table"]) | set(about["left_out"]) == set(CONTROLS)
    assert (about["documents"], about["n_tokens"], about["piece_tokens"], about["pieces"]) == (D, LIMIT, PIECE, COUNT)
