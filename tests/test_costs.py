"""What length costs in search: planted encoders whose answers are known, and laws of the whole measurement."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from costs_corpora import (
    BagEncoder,
    ConstantEncoder,
    RandomEncoder,
    first_half,
    keep,
    make_documents,
    sentence,
    text,
)
from tiny import save_tiny
from uncollapse.diagnosis.costs import measure_costs
from uncollapse.diagnosis.costs.needle import TOKENS
from uncollapse.diagnosis.costs.readings import read_documents
from uncollapse.encoders import load
from uncollapse.errors import UncollapseError
from uncollapse.measures import unit
from uncollapse.records import Part
from uncollapse.reservoir import Kept

N = 120
REPLICATES = 64


def measure(encoder, documents, **keywords):
    return measure_costs(encoder, documents, **{"replicates": REPLICATES, **keywords})


def select(part: Part, measure: str, view: str = "cost_overall"):
    return {row.bin: row for row in part.rows if row.measure == measure and row.view == view}


def only(part: Part, measure: str, view: str = "cost_overall"):
    (row,) = select(part, measure, view).values()
    return row


def kinds(part: Part):
    return {finding.title: finding.kind for finding in part.verdict}


def finding(part: Part, word: str):
    (found,) = [finding for finding in part.verdict if word in finding.title]
    return found


@pytest.fixture(scope="module")
def perfect():
    """Every sentence names the topic of its document; vectors of words are orthogonal."""
    return measure(encoder := BagEncoder(), make_documents(encoder, N, topic=True))


@pytest.fixture(scope="module")
def orthogonal():
    """Sentences of a document share nothing: each is found by itself alone, and by a mean of all the less."""
    return measure(encoder := BagEncoder(), make_documents(encoder, N))


@pytest.fixture(scope="module")
def halved():
    """Only the first half of every text is read."""
    return measure(encoder := BagEncoder(first_half), make_documents(encoder, N))


@pytest.fixture(scope="module")
def constant():
    return measure(encoder := ConstantEncoder(), make_documents(encoder, N))


@pytest.mark.parametrize("measure", ["cloze_recall@1", "cloze_recall@10", "cloze_ndcg@10", "quote_recall@1"])
def test_a_model_that_knows_topics_finds_everything(perfect, measure):
    row = only(perfect, measure)
    assert (row.value, row.n, row.high) == (1, N, 1)
    assert 0.9 < row.low < 1, "even 120 of 120 are no promise"
    assert all(part.value == 1 for part in select(perfect, measure, "cost_by_length").values())
    assert all(part.value == 1 for part in select(perfect, measure, "cost_by_position").values())


def test_every_number_names_the_documents_searched(perfect):
    for row in perfect.rows:
        if "recall" in row.measure or "ndcg" in row.measure:
            assert "search among " in row.note
    cloze = perfect.verdict[0]
    assert "searched for among 120" in cloze.sentence
    assert cloze.title.startswith("100% of sentences find their own document")


def test_a_sentence_that_shares_nothing_with_the_rest_does_not_find_it(orthogonal):
    """What is left of its document has no word of it, so its rank is chance: the probe takes the sentence out."""
    recall = only(orthogonal, "cloze_recall@10")
    assert recall.low < 10 / N < recall.high
    assert only(orthogonal, "quote_recall@1").value == 1, "while the whole document has it"


def test_chance_finds_one_in_so_many():
    encoder = RandomEncoder()
    part = measure(encoder, make_documents(encoder, 300))
    for k in (1, 10):
        row = only(part, f"cloze_recall@{k}")
        assert row.low <= k / 300 <= row.high
        assert row.value < 0.1
    expected = sum(1 / np.log2(1 + rank) for rank in range(1, 11)) / 300
    gain = only(part, "cloze_ndcg@10")
    assert gain.low <= expected <= gain.high
    assert only(part, "needle_recall@1").value < 0.2


def test_one_vector_for_all_gains_nothing_by_ties(constant):
    for name in ("cloze_recall@1", "cloze_recall@10", "cloze_ndcg@10", "quote_recall@1", "needle_recall@1"):
        assert only(constant, name).value == 0
    assert all(row.value == 0 for row in select(constant, "anywhere_recall@10", "cost_by_window").values())
    skewness = only(constant, "k_skewness", "hubness")
    assert skewness.value < 1
    assert only(constant, "evidence_dilution").value == 0
    assert "no variation" in only(constant, "evidence_dilution").note


def test_a_model_that_reads_the_first_half_loses_the_ends(halved):
    places = select(halved, "quote_recall@1", "cost_by_position")
    assert places["beginning"].value == 1
    assert places["end"].value < 0.1
    loss = only(halved, "quote_recall@1_loss")
    assert loss.low > 0.8
    found = finding(halved, "ends of texts get lost")
    assert found.kind == "bad"
    assert "100% [97%, 100%] of searches with a sentence from its first third" in found.sentence


def test_a_model_that_reads_everything_does_not_lose_the_ends(orthogonal):
    loss = only(orthogonal, "quote_recall@1_loss")
    assert loss.value == 0
    assert -0.05 < loss.low < 0 < loss.high < 0.05, "no change seen is no certainty"
    assert finding(orthogonal, "ends of texts").kind == "good"


def test_averaging_dilutes_more_the_longer_a_text_is(orthogonal):
    """A sentence of 8 words has cosine sqrt(8 / n) with a mean of n orthogonal words."""
    parts = list(select(orthogonal, "evidence_dilution", "cost_by_length").values())
    assert [part.value for part in parts] == sorted(part.value for part in parts)
    whole = {98: np.sqrt(8 / 96), 194: np.sqrt(8 / 192)}
    piece = {98: np.sqrt(8 / 48), 194: np.sqrt(8 / 48)}
    seen = select(orthogonal, "evidence_dilution", "cost_by_length")
    for label, row in seen.items():
        if row.n_tokens in whole:
            assert row.value == pytest.approx(piece[row.n_tokens] - whole[row.n_tokens], abs=0.05), label
    row = only(orthogonal, "evidence_dilution")
    assert row.value == pytest.approx(
        only(orthogonal, "evidence_cosine_piece").value - only(orthogonal, "evidence_cosine_whole").value
    )
    assert row.low > 0.1
    assert finding(orthogonal, "dilute").kind == "bad"


def test_needles_are_found_only_where_the_model_reads(halved, orthogonal):
    grid = select(halved, "needle_recall@1", "cost_grid")
    assert all(grid[f"0 x {length}"].value == 1 for length in (64, 128, 194))
    assert all(grid[f"100 x {length}"].value < 0.2 for length in (64, 128, 194))
    assert grid["all x 194"].value == pytest.approx(
        np.mean([grid[f"{depth} x 194"].value for depth in (0, 25, 50, 75, 100)])
    )
    assert all(row.value == 1 for row in select(orthogonal, "needle_recall@1", "cost_grid").values())
    assert finding(orthogonal, "One sentence").kind == "good"
    assert {row.n for row in grid.values()} == {32}


def test_more_context_pays_where_only_what_is_read_is_found(orthogonal):
    """Orthogonal sentences are found exactly where the window holds some of them."""
    windows = select(orthogonal, "anywhere_recall@1", "cost_by_window")
    anywhere = {int(label): row.value for label, row in windows.items()}
    assert list(anywhere) == [32, 64, 128, 194]
    assert list(anywhere.values()) == sorted(anywhere.values())
    assert anywhere[194] == 1
    beginning = select(orthogonal, "beginning_recall@1", "cost_by_window")
    assert {row.value for row in beginning.values()} == {1}
    gains = select(orthogonal, "anywhere_recall@1_gain", "cost_by_window")
    assert gains["64"].value == pytest.approx(anywhere[64] - anywhere[32])
    assert gains["64"].low > 0
    assert "32" not in gains
    found = finding(orthogonal, "context")
    assert found.title == "More context pays up to the longest texts (194 tokens)"
    assert found.kind == "good"
    assert "the same 120 documents were indexed" in found.sentence.lower()


def test_more_context_hurts_a_model_that_long_texts_confuse():
    """It keeps in mind only the last 30 words."""
    encoder = BagEncoder(lambda words: words[-30:])
    part = measure(encoder, make_documents(encoder, N, sentences=(24,)))
    change = select(part, "beginning_recall@1", "cost_by_window")
    assert change["32"].value == 1
    assert change["194"].value < 0.1
    assert "hides what is said at the beginning" in finding(part, "context").sentence


def test_order_of_the_documents_changes_nothing():
    encoder = BagEncoder()
    documents = make_documents(encoder, 60)
    shuffled = [documents[i] for i in np.random.default_rng(0).permutation(60)]
    assert measure(encoder, documents) == measure(encoder, shuffled)


def test_the_same_seed_gives_the_same_numbers_and_another_asks_other_sentences():
    encoder = BagEncoder()
    documents = make_documents(encoder, 60, topic=True)
    first, again = measure(encoder, documents, seed=3), measure(encoder, documents, seed=3)
    assert first == again
    before = set(encoder.encoded)
    encoder.encoded.clear()
    measure(encoder, documents, seed=4)
    assert len(before & set(encoder.encoded)) < len(before) / 2


def test_no_text_is_encoded_twice():
    encoder = BagEncoder()
    documents = make_documents(encoder, 60)
    part = measure(encoder, documents)
    assert len(encoder.encoded) == len(set(encoder.encoded)) == part.about["costs"]["encoded_texts"]
    assert not set(encoder.encoded) & {document.text for document in documents}, "whole documents have vectors already"
    assert part.about["costs"]["encoded_tokens"] == encoder.count(encoder.encoded).sum()


def test_the_cost_is_bounded_by_the_documents_asked_for(orthogonal):
    encoder = BagEncoder()
    part = measure(encoder, make_documents(encoder, 400, sentences=(4,)))
    assert part.about["costs"]["asked"] == 300
    assert only(part, "cloze_recall@1").n == 300
    assert "searched for among 400" in part.verdict[0].sentence
    for about in (part.about["costs"], orthogonal.about["costs"]):
        assert about["encoded_tokens"] < 1.5 * about["tokens"] + TOKENS


def test_queries_are_encoded_as_queries():
    encoder, queries = BagEncoder(), BagEncoder()
    documents = make_documents(encoder, 60, topic=True)
    part = measure(encoder, documents, query_encoder=queries)
    assert part.rows == measure(BagEncoder(), documents).rows
    assert all(len(text.split()) == 8 for text in queries.encoded), "sentences alone"
    assert not set(queries.encoded) & set(encoder.encoded)
    blind = measure(BagEncoder(), documents, query_encoder=ConstantEncoder())
    assert only(blind, "cloze_recall@10").value < 0.5


def test_what_the_model_does_not_read_is_asked_for_apart():
    encoder = BagEncoder(max_tokens=100)
    part = measure(encoder, make_documents(encoder, N, sentences=(24,)))
    places = select(part, "quote_recall@1", "cost_by_position")
    assert places["end"].value == 1, "the last third is that of what is read"
    assert places["cut off"].value < 0.1
    assert places["cut off"].n == N
    assert finding(part, "cut off").kind == "neutral"
    knowing = measure(encoder := BagEncoder(max_tokens=100), make_documents(encoder, N, sentences=(24,), topic=True))
    assert select(knowing, "quote_recall@1", "cost_by_position")["cut off"].value == 1, "found by its topic"


def test_short_documents_that_crowd_the_results_are_told():
    """Short texts are about one subject that all share; long ones add words of their own."""
    encoder = BagEncoder()
    shared = " ".join(f"shared{i}" for i in range(10))
    texts = [f"{shared}. {text(i, 1)}" if i % 2 else f"{shared}. {text(i, 8)}" for i in range(200)]
    part = measure(encoder, keep(encoder, texts))
    bins = list(select(part, "occurrence", "hubness").values())
    assert bins[0].low > 10 > bins[-1].high
    assert part.verdict[-1].title == "Short documents are found more often than long ones"
    assert "10 is their due (n = " in part.verdict[-1].sentence


def test_how_often_documents_are_found_is_told_apart_from_whether_length_decides_it():
    encoder = BagEncoder()
    crowded, by_length = measure(encoder, make_documents(encoder, 60)).verdict[-2:]
    assert "stand in none. The skewness of these counts, about 0.32 where" in crowded.sentence
    assert "crowd out" not in crowded.sentence
    assert by_length.title.startswith(("Whether", "Short", "Long"))


def test_documents_without_sentences_are_left_out_and_counted():
    encoder = BagEncoder()
    texts = [text(i, 6) for i in range(40)] + [text(i, 2) for i in range(40, 50)]
    texts += ["Too short. " * 5 + str(i) for i in range(50, 57)]
    part = measure(encoder, keep(encoder, texts))
    assert part.about["costs"]["left_out"] == {
        "fewer than 4 sentences are read": 10,
        "no sentence of 6 to 40 words that occurs only once": 7,
    }
    assert only(part, "cloze_recall@1").n == 40
    assert "searched for among 57" in part.verdict[0].sentence


def test_a_sentence_that_occurs_twice_is_never_asked_for():
    encoder = BagEncoder()
    boilerplate = "All of these rights are reserved by us."
    texts = [f"{boilerplate} {text(i, 3)} {boilerplate.upper()}" for i in range(40)]
    measure(encoder, keep(encoder, texts))
    assert not any(asked.lower() == boilerplate.lower() for asked in encoder.encoded)


@pytest.mark.parametrize("n", [5, 12, 29])
def test_too_few_documents_give_numbers_without_intervals_and_say_what_is_missing(n):
    encoder = BagEncoder()
    part = measure(encoder, make_documents(encoder, n, topic=True))
    assert {finding.kind for finding in part.verdict} == {"unknown"}
    assert all("at least 30" in finding.sentence for finding in part.verdict)
    for row in part.rows:
        assert row.low is None
        assert row.high is None
        assert "no interval" in row.note


def test_documents_without_any_sentence_are_no_error():
    encoder = BagEncoder()
    texts = [" ".join(f"word{i}x{j}" for j in range(20)) for i in range(40)]
    part = measure(encoder, keep(encoder, texts))
    assert part.about["costs"]["asked"] == 0
    assert [row.view for row in part.rows if row.view != "hubness"] == []
    assert [finding.kind for finding in part.verdict].count("unknown") >= 5


def test_text_that_needs_no_spaces_is_asked_for_too():
    encoder = RandomEncoder()
    common = "\u5b57\u6211\u4eec\u662f\u4e2a\u3002"
    texts = ["".join(chr(0x4E00 + 8 * i + j) + common for j in range(8)) for i in range(40)]
    part = measure(encoder, keep(encoder, texts))
    assert only(part, "cloze_recall@1").n == 40


def test_what_cannot_be_measured_is_refused():
    encoder = BagEncoder()
    documents = make_documents(encoder, 40)
    with pytest.raises(UncollapseError, match="at least 5 documents, got 4"):
        measure(encoder, documents[:4])
    with pytest.raises(UncollapseError, match="'id3' has none. Encode it first"):
        measure(encoder, [replace(d, vector=None) if d.id == "id3" else d for d in documents])
    with pytest.raises(UncollapseError, match="41 documents have only 40 different ids"):
        measure(encoder, [*documents, documents[0]])


def test_progress_counts_every_token():
    class Counting:
        total, done = 0.0, 0.0

        @contextmanager
        def track(self, what, total, unit):  # noqa: ARG002
            self.total += total
            yield self.count

        def count(self, done):
            self.done += done

    counting, encoder = Counting(), BagEncoder()
    part = measure(encoder, make_documents(encoder, 40), progress=counting)
    assert counting.done == counting.total == part.about["costs"]["encoded_tokens"]


def test_the_rows_are_those_of_the_contract(orthogonal):
    views = {row.view for row in orthogonal.rows}
    assert views == {"cost_overall", "cost_by_length", "cost_by_position", "cost_by_window", "cost_grid", "hubness"}
    keys = [(row.view, row.measure, row.bin) for row in orthogonal.rows]
    assert len(keys) == len(set(keys))
    for row in orthogonal.rows:
        assert np.isfinite(row.value)
        assert row.low is None or row.low <= row.value + 1e-12
        assert row.high is None or row.value <= row.high + 1e-12
        assert row.n > 0
        assert row.low is not None or "no interval" in row.note


def test_a_document_as_a_kept_one_needs_no_full_text():
    encoder = BagEncoder()
    documents = [replace(document, full="") for document in make_documents(encoder, 40)]
    assert isinstance(documents[0], Kept)
    assert only(measure(encoder, documents), "quote_recall@1").value == 1
    assert sentence(0, 0) in documents[0].text


def test_a_transformer_is_measured_by_its_own_tokens(tmp_path):
    """Letters are tokens; 60 are read, special ones in."""
    encoder = load(str(save_tiny(tmp_path / "tiny")))
    letters = np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz"), (40, 12, 6))
    texts = [" ".join(" ".join(words) + "." for words in sentences) for sentences in letters]
    prepared = encoder.prepare(texts)
    vectors = unit(encoder.vectors(prepared.texts, prepared.n_tokens))
    documents = [
        Kept(str(i), prepared.texts[i], int(prepared.n_tokens[i]), vectors[i], full=texts[i]) for i in range(40)
    ]
    part = measure(encoder, documents)
    assert part.about["costs"]["windows"] == [32, 60]
    assert only(part, "cloze_recall@1").n == 40
    assert select(part, "quote_recall@1", "cost_by_position")["cut off"].n == 40
    (reading, *_), _ = read_documents(encoder, documents)
    assert encoder.count([reading.text])[0] == 60
    assert encoder.count([reading.first(32)])[0] == 32
    assert len(reading.sentences) == 8, "58 tokens hold eight sentences of seven"
