"""Fixes on texts: what is cut, what is embedded, what comes of it, and what it costs."""

import inspect
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from tiny import save_tiny, tokenizer
from uncollapse.encoders import CachedEncoder, load
from uncollapse.errors import ArchitectureError, FixError, ModelError, NotationError, UncollapseError
from uncollapse.evaluation.comparison import Plan
from uncollapse.evaluation.scoring import score_task, unlabelled
from uncollapse.evaluation.tasks import Classification, Retrieval, Similarity, Texts
from uncollapse.evaluation.trial import evaluate
from uncollapse.fixes import compose, parse
from uncollapse.fixes.texts import TEXT_FIXES
from uncollapse.fixes.texts.cutting import cut_ranges, piece_text
from uncollapse.measures.search import search
from uncollapse.pipelines.encoder import FixedEncoder, encoding_work
from uncollapse.pipelines.fitting import fit_pipeline

# One or more of every row, with pieces that texts of some ten words need several of.
WRITTEN = {
    "chunks": ("chunks(8)", "chunks(8, 3)", "chunks(8, 0, length)", "chunks(8, 0, norm)"),
    "head_tail": ("head_tail(8, 4)", "head_tail(8, 0)"),
    "sentence_mean": ("sentence_mean(4)",),
    "whole_and_chunks": ("whole_and_chunks(8, 1.0)", "whole_and_chunks(8, 0)"),
    "late_chunking": ("late_chunking(8)", "late_chunking(8, best)"),
    "best_chunk": ("best_chunk(8)", "best_chunk(8, 3)"),
}
ALL = [written for several in WRITTEN.values() for written in several]
ONE_VECTOR = [written for written in ALL if not parse(written).keeps_all]
READS_PART = ("head_tail(8, 4)", "head_tail(8, 0)", "whole_and_chunks(8, 0)")
SHORT = ["a dog", "x", "", " \n ", "\U0001f600"]
WORDS = ("a", "man", "plays", "the", "flute", "two", "dogs", "run", "over", "green", "grass.", "near", "old", "water!")


def sentences(n, seed, longest=40):
    rng = np.random.default_rng(seed)
    return tuple(" ".join(rng.choice(WORDS, rng.integers(2, longest))) for _ in range(n))


LONG = (
    *sentences(6, 0),
    " ".join(sentences(3, 1, 90)),
    "abc" * 30,  # one word
    "一二三 四五六。七八 九十 " * 5 + "a\U0001f600b " * 30,
    "\n\n".join("abcdefghijklmnop"),
)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def base(encoder):
    return CachedEncoder(encoder)


def fixed(base, written):
    return FixedEncoder(base, compose(parse(written)))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_every_row_is_tried():
    assert WRITTEN.keys() == TEXT_FIXES.keys()


@pytest.mark.parametrize("written", ALL)
def test_notation_reads_back(written):
    fix = parse(written)
    assert str(fix) == written
    assert parse(str(fix)) == fix
    assert parse(str(type(fix)())) == type(fix)()


@pytest.mark.parametrize("written", ALL)
def test_a_text_shorter_than_a_piece_has_exactly_its_plain_vector(base, written):
    plain = base.encode(SHORT)
    found = fixed(base, written).encode_several(SHORT)
    np.testing.assert_array_equal(found.flat.vectors, plain.vectors)
    np.testing.assert_array_equal(found.n_tokens, plain.n_tokens)
    np.testing.assert_array_equal(found.n_tokens_full, plain.n_tokens_full)


@pytest.mark.parametrize("written", ALL)
def test_lengths_are_those_of_the_plain_model_and_nothing_is_cut(base, written):
    fix = parse(written)
    found = fixed(base, written).encode_several(LONG)
    np.testing.assert_array_equal(found.n_tokens_full, base.encode(LONG).n_tokens_full)
    if written in READS_PART:
        assert (found.n_tokens < found.n_tokens_full).any()
    else:
        np.testing.assert_array_equal(found.n_tokens, found.n_tokens_full)
    assert fix.kind == "text"


@pytest.mark.parametrize("written", ALL)
def test_the_order_and_company_of_texts_do_not_matter(base, written):
    order = np.random.default_rng(1).permutation(len(LONG))
    one = fixed(base, written)
    there, back = one.encode_several(LONG), one.encode_several([LONG[i] for i in order])
    for row, i in enumerate(order):
        mine, its = there.flat.vectors[there.owners == i], back.flat.vectors[back.owners == row]
        alone = one.encode_several([LONG[i]]).flat.vectors
        np.testing.assert_allclose(mine, its, atol=2e-6)
        np.testing.assert_allclose(mine, alone, atol=2e-6)


@pytest.mark.parametrize("written", ALL)
def test_work_told_adds_up_to_what_was_announced(base, written):
    fix, told = compose(parse(written)), []
    FixedEncoder(base, fix).encode_several(LONG, advance=told.append)
    assert sum(told) == pytest.approx(encoding_work(base, fix, LONG))
    told.clear()
    FixedEncoder(base, fix).encode(LONG, role="query", advance=told.append)
    assert sum(told) == pytest.approx(encoding_work(base, fix, LONG, "query"))


@pytest.mark.parametrize("written", ALL)
def test_queries_stay_whole(base, written):
    plain = base.encode(LONG, role="query")
    found = fixed(base, written).encode(LONG, role="query")
    np.testing.assert_array_equal(found.vectors, plain.vectors)


@pytest.mark.parametrize("written", ALL)
def test_no_texts_have_no_vectors(base, written):
    assert len(fixed(base, written).encode_several([])) == 0


def naive(encoder, text, size, mean):
    """Chunks one by one with the model's own encode, put together by hand."""
    spans = encoder.spans(text)
    pieces, counts, vectors = [], [], []
    for start, stop in cut_ranges(text, spans, size):
        pieces.append(piece_text(text, spans, (start, stop)))
        counts.append(stop - start)
    model = encoder.model
    for piece in pieces:
        if mean == "norm":
            features = model[1](model[0](model.preprocess([piece])))
            vectors.append(features["sentence_embedding"][0].detach().numpy())
        else:
            vectors.append(model.encode([piece])[0])
    weights = counts if mean == "length" else np.ones(len(counts))
    return unit(sum(w * v.astype(float) for w, v in zip(weights, vectors, strict=True)))


@pytest.mark.parametrize("mean", ["plain", "length", "norm"])
def test_chunks_are_the_mean_of_chunks_embedded_one_by_one(base, encoder, mean):
    found = fixed(base, f"chunks(8, 0, {mean})").encode(LONG)
    expected = [naive(encoder, text, 8, mean) for text in LONG]
    np.testing.assert_allclose(found.vectors, expected, atol=2e-6)


def test_the_three_means_differ(base):
    vectors = [fixed(base, f"chunks(8, 0, {mean})").encode(LONG[:1]).vectors for mean in ("plain", "length", "norm")]
    assert all(np.abs(a - b).max() > 1e-6 for a, b in pairwise(vectors))


def test_a_model_that_norms_nothing_gives_directions_too(base, tmp_path_factory):
    bare = load(str(save_tiny(tmp_path_factory.mktemp("bare"))))
    bare.model._modules.popitem()
    assert not bare.normalises
    found = fixed(CachedEncoder(bare), "chunks(8, 0, norm)").encode(LONG).vectors
    np.testing.assert_allclose(found, fixed(base, "chunks(8, 0, norm)").encode(LONG).vectors, atol=2e-6)


def test_a_model_that_norms_before_its_last_step_has_no_raw_vectors(tmp_path_factory):
    from torch.nn import Identity

    odd = load(str(save_tiny(tmp_path_factory.mktemp("odd"))))
    odd.model.add_module("3", Identity())
    with pytest.raises(ModelError, match="makes vectors of norm 1 before its last steps"):
        odd.unnormalised()


def test_raw_vectors_have_a_cache_of_their_own_and_leave_the_model_alone(encoder, tmp_path):
    kept = CachedEncoder(encoder, folder=tmp_path)
    before = kept.encode(LONG[:2]).vectors
    raw = kept.encode(LONG[:2], raw=True).vectors
    assert np.abs(np.linalg.norm(raw, axis=1) - 1).min() > 1e-3
    assert encoder.normalises
    again = CachedEncoder(encoder, folder=tmp_path)
    np.testing.assert_array_equal(again.encode(LONG[:2], raw=True).vectors, raw)
    np.testing.assert_array_equal(again.encode(LONG[:2]).vectors, before)
    assert again.encoded == 0


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


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("chunks(0)", "`chunks`: size must be a whole number of at least 1, got 0."),
        (
            "chunks(8, 8)",
            "`chunks(8, 8)`: overlap must be smaller than size, got an overlap of 8 tokens in chunks of 8.",
        ),
        ("chunks(8, -1)", "`chunks`: overlap must be a whole number of at least 0, got -1."),
        ("best_chunk(8, 9)", "`best_chunk(8, 9)`: overlap must be smaller than size, got an overlap of 9 tokens"),
        ("head_tail(0, 4)", "`head_tail`: head must be a whole number of at least 1, got 0."),
        ("head_tail(4, -1)", "`head_tail`: tail must be a whole number of at least 0, got -1."),
        ("sentence_mean(0)", "`sentence_mean`: shortest must be a whole number of at least 1, got 0."),
        ("whole_and_chunks(8, -1)", "`whole_and_chunks`: weight must be a number of at least 0, got -1."),
        ("whole_and_chunks(1.5, 1)", "`whole_and_chunks`: size must be a whole number of at least 1, got 1.5."),
        ("late_chunking(8, worst)", "`late_chunking`: keep must be one of mean, best, got 'worst'."),
        ("chunks(8, 0, median)", "`chunks`: mean must be one of plain, length, norm, got 'median'."),
    ],
)
def test_dials_out_of_range_are_refused(written, said):
    with pytest.raises(NotationError) as caught:
        parse(written)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "written", ["chunks(59)", "best_chunk(59)", "late_chunking(59)", "whole_and_chunks(59, 1.0)", "head_tail(39, 20)"]
)
def test_pieces_beyond_the_models_room_are_refused_before_anything_is_encoded(encoder, written):
    said = "of 59 tokens, but .* reads 58 of a text at once"
    with pytest.raises(FixError, match=said):
        fixed(CachedEncoder(encoder), written)
    with pytest.raises(FixError, match=said):
        evaluate(encoder, [retrieval()], [parse(written)], plan=PLAN)


def test_each_piece_has_the_prompt_and_counts_are_those_of_the_model(tmp_path_factory):
    prompted = load(str(save_tiny(tmp_path_factory.mktemp("prompted"))))
    prompted.model.prompts = {"document": "the text: "}
    one = CachedEncoder(prompted)
    found = fixed(one, "chunks(8)").encode(LONG)
    encoder = prompted.as_role("document")
    expected = [naive_prompted(encoder, text, 8) for text in LONG]
    np.testing.assert_allclose(found.vectors, expected, atol=2e-6)
    np.testing.assert_array_equal(found.n_tokens, one.encode(LONG).n_tokens_full)


def naive_prompted(encoder, text, size):
    spans = encoder.spans(text)
    pieces = [piece_text(text, spans, of) for of in cut_ranges(text, spans, size)]
    return unit(encoder.model.encode(pieces, prompt=encoder.prompt).astype(float).mean(axis=0))


def test_what_it_costs_can_be_read(base, encoder):
    pieces = [piece_text(t, encoder.spans(t), of) for t in LONG for of in cut_ranges(t, encoder.spans(t), 8)]
    plain, chunks = int(np.minimum(encoder.count(LONG), 60).sum()), int(encoder.count(pieces).sum())
    costs = {
        "temperature(1)": (1, plain),
        "chunks(8)": (1, chunks),
        "best_chunk(8)": (len(pieces) / len(LONG), chunks),
        "whole_and_chunks(8, 1.0)": (1, plain + chunks),
        "whole_and_chunks(8, 0)": (1, plain),
        "head_tail(8, 4)": (1, int(encoder.count([ends[0].text for ends in split(encoder, "head_tail(8, 4)")]).sum())),
    }
    for written, (vectors, tokens) in costs.items():
        one = fixed(base, written)
        assert one.vectors_per_text == 1
        one.encode_several(LONG)
        one.encode(LONG, role="query")
        assert (one.vectors_per_text, one.tokens_plain, one.texts) == (vectors, plain, len(LONG)), written
        assert one.tokens_encoded == tokens, written


def split(encoder, written):
    return [parse(written).split(text, encoder.spans(text), 58) for text in LONG]


def test_late_chunks_of_a_long_text_cost_its_windows(base, encoder):
    one = fixed(base, "late_chunking(8)")
    one.encode(LONG[6:7])
    windows = split(encoder, "late_chunking(8)")[6]
    assert len(windows) > 3
    assert one.tokens_encoded == encoder.count([window.text for window in windows]).sum()
    assert 1.2 < one.tokens_encoded / encoder.count(LONG[6:7])[0] < 1.7


PLAN = Plan(bins=3, cells=2, replicates=200, resamples=400)


def retrieval() -> Retrieval:
    documents = (*sentences(60, 0, 60), "")
    asked = tuple(" ".join(text.split()[-4:]) + f" {i}" for i, text in enumerate(documents[:30]))
    judged = {f"q{i}": {f"d{i}": 2, f"d{(i + 31) % 61}": i % 2} for i in range(30)}
    names = tuple(f"d{i}" for i in range(61))
    return Retrieval("docs", "test", Texts(names, documents), Texts(tuple(judged), asked), judged)


def test_a_trial_compares_text_fixes_in_the_bins_of_the_stock_model(encoder):
    fixes = [parse(written) for written in ("chunks(8)", "late_chunking(8)", "sentence_mean(4)")]
    texts = sentences(40, 5, 60)
    tasks = [
        retrieval(),
        Similarity("sts", "test", texts[:20], texts[20:], np.arange(20.0) % 6),
        Classification("news", "test", texts, tuple("ab" * 20), texts[:20], tuple("ab" * 10)),
    ]
    found = evaluate(encoder, tasks, fixes, plan=PLAN)
    for task in found.about["tasks"]:
        bins = {
            fix: [
                (row.bin, row.n_tokens, row.n)
                for row in found.select(measure=task["main"], dataset=task["dataset"], fix=fix)
            ]
            for fix in ("none", *map(str, fixes))
        }
        assert all(those == bins["none"] for those in bins.values())
    cut = {row.fix: row.value for row in found.select(measure="share_truncated", bin="documents")}
    assert cut["none"] > 0.2
    assert all(cut[str(fix)] == 0 for fix in fixes)


def test_vector_fixes_are_fitted_to_what_text_fixes_leave(base):
    task = retrieval()
    fix = compose(parse("chunks(8) + centering(all) + temperature(0.9)"))
    bare = fixed(base, "chunks(8)").encode(task.documents.texts).vectors.astype(float)
    pipeline = fit_pipeline(base, fix, unlabelled(task))
    np.testing.assert_allclose(pipeline.fitted.maps[0].documents.values[0], bare.mean(axis=0), atol=1e-6)
    found = pipeline.encode(task.documents.texts).vectors
    np.testing.assert_allclose(found, unit(bare - bare.mean(axis=0)), atol=1e-5)
    assert score_task(task, pipeline).sheets[0].columns["ndcg@10"].shape == (30,)


def test_the_whole_and_its_chunks_by_hand(base):
    whole, chunks = base.encode(LONG).vectors, fixed(base, "best_chunk(8)").encode_several(LONG)
    found = fixed(base, "whole_and_chunks(8, 0.5)").encode(LONG).vectors
    for i in range(len(LONG)):
        expected = unit(whole[i] + 0.5 * chunks.flat.vectors[chunks.owners == i].astype(float).mean(axis=0))
        np.testing.assert_allclose(found[i], expected, atol=2e-6)


def test_chunks_of_no_weight_change_nothing(base):
    assert parse("whole_and_chunks(8, 0)").is_identity
    found = fixed(base, "whole_and_chunks(8, 0)").encode(LONG)
    np.testing.assert_array_equal(found.vectors, base.encode(LONG).vectors)


def test_ends_by_hand(base, encoder):
    text = " ".join("abcdefghijklmnopqrst")
    found = fixed(base, "head_tail(8, 4)").encode([text])
    np.testing.assert_allclose(found.vectors[0], encoder.model.encode(["a b c d e f g h q r s t"])[0], atol=2e-6)
    assert (found.n_tokens[0], found.n_tokens_full[0]) == (14, 22)


def test_sentences_by_hand(base, encoder):
    text = " abc def. Yes! ghi jkl mno.  pqr stu vwx? no "
    pieces = ["abc def.", "Yes! ghi jkl mno.", "pqr stu vwx? no"]
    found = fixed(base, "sentence_mean(5)").encode([text]).vectors[0]
    np.testing.assert_allclose(found, unit(encoder.model.encode(pieces).astype(float).mean(axis=0)), atol=2e-6)


def test_a_sentence_beyond_the_models_room_is_cut(base, encoder):
    found = fixed(base, "sentence_mean(5)").encode([LONG[7]])
    np.testing.assert_allclose(found.vectors[0], naive(encoder, LONG[7], 58, "plain"), atol=2e-6)
    assert found.n_tokens[0] == found.n_tokens_full[0] > 60


def token_states(encoder, text):
    """The last states of the tokens of a text, special ones in, straight from the library."""
    return encoder.model.encode([text], output_value="token_embeddings")[0].numpy().astype(float)


def test_late_chunks_are_means_of_the_states_of_the_whole_text(base, encoder):
    text = " ".join("abcdefghijklmnopqrst")
    states = token_states(encoder, text)
    assert len(states) == 22
    cuts = cut_ranges(text, encoder.spans(text), 8)
    rows = [(start + 1, stop + 1) for start, stop in cuts]
    rows = [(0, rows[0][1]), *rows[1:-1], (rows[-1][0], 22)]  # the first takes [CLS], the last [SEP]
    expected = unit(np.array([states[start:stop].mean(axis=0) for start, stop in rows]))
    several = fixed(base, "late_chunking(8, best)").encode_several([text])
    np.testing.assert_allclose(several.flat.vectors, expected, atol=2e-6)
    found = fixed(base, "late_chunking(8)").encode([text]).vectors[0]
    np.testing.assert_allclose(found, unit(expected.mean(axis=0)), atol=2e-6)


def test_late_chunks_that_are_one_are_the_plain_vector(base, encoder):
    """The states of all tokens as one part: the model's own pooling, by another way."""
    found = base.encode_parts(LONG, [[(0, len(text))] for text in LONG])
    np.testing.assert_allclose(found.vectors, base.encode(LONG).vectors, atol=2e-6)
    np.testing.assert_array_equal(found.n_tokens_full, encoder.count(LONG))


def test_windows_hold_every_chunk_once_with_context_before(encoder):
    text = LONG[6]
    spans, fix = encoder.spans(text), parse("late_chunking(8)")
    windows = fix.split(text, spans, 58)
    assert len(windows) > 3
    ranges = [window.ranges[0] for window in windows]
    assert ranges[-1][1] == len(spans)
    assert all(stop - start <= 58 for start, stop in ranges)
    assert ranges[-1][1] - ranges[-1][0] == 58
    for before, after in pairwise(ranges):
        assert before[1] - after[0] >= 58 // 4 * 3 // 4  # a quarter of the room, less what a whole word takes
    parts = [window.text[part.begin : part.end].strip() for window in windows for part in window.parts]
    assert parts == [piece_text(text, spans, of) for of in cut_ranges(text, spans, 8)]


def test_late_chunks_are_kept_on_disk_apart_and_windows_run_once(encoder, tmp_path):
    first = FixedEncoder(CachedEncoder(encoder, folder=tmp_path), compose(parse("late_chunking(8)")))
    vectors = first.encode(LONG).vectors
    again = FixedEncoder(CachedEncoder(encoder, folder=tmp_path), compose(parse("late_chunking(8)")))
    np.testing.assert_array_equal(again.encode(LONG).vectors, vectors)
    assert again.encoded == 0
    assert again.tokens_encoded == first.tokens_encoded
    plain = FixedEncoder(CachedEncoder(encoder, folder=tmp_path), compose(parse("chunks(8)")))
    assert np.abs(plain.encode(LONG).vectors - vectors).max() > 1e-4
    assert plain.encoded > 0


def test_late_chunks_see_the_fix_inside_the_model(encoder):
    sharp = CachedEncoder(encoder, compose(parse("temperature(0.5)")).model)
    found = FixedEncoder(sharp, compose(parse("temperature(0.5) + late_chunking(8)"))).encode(LONG).vectors
    assert np.abs(found - fixed(CachedEncoder(encoder), "late_chunking(8)").encode(LONG).vectors).max() > 1e-5


@pytest.mark.parametrize("include", [True, False])
def test_late_chunks_of_a_prompted_model(tmp_path_factory, include):
    prompted = load(str(save_tiny(tmp_path_factory.mktemp("prompted"))))
    prompted.model.prompts = {"document": "the text: "}
    prompted.model[1].include_prompt = include
    one = CachedEncoder(prompted)
    found = one.encode_parts(LONG, [[(0, len(text))] for text in LONG])
    np.testing.assert_allclose(found.vectors, one.encode(LONG).vectors, atol=2e-6)


def test_late_chunking_is_refused_by_name(tmp_path_factory):
    first = load(str(save_tiny(tmp_path_factory.mktemp("first"))))
    first.model[1].pooling_mode = "cls"
    with pytest.raises(ArchitectureError, match="needs a transformer that pools by the mean; .* BertModel .* by cls"):
        fixed(CachedEncoder(first), "late_chunking(8)")
    with pytest.raises(ArchitectureError, match="pools by the mean"):
        evaluate(first, [retrieval()], [parse("late_chunking(8)")], plan=PLAN)
    other = load(str(save_tiny(tmp_path_factory.mktemp("other"))))
    other.model.tokenizer.truncation_side = "left"
    with pytest.raises(ArchitectureError, match="cuts texts off at their beginning"):
        fixed(CachedEncoder(other), "late_chunking(8)")


def brute_force(queries, several):
    scores = queries.astype(float) @ several.flat.vectors.astype(float).T
    return np.stack([scores[:, several.owners == i].max(axis=1) for i in range(len(several))], axis=1)


@pytest.mark.parametrize("written", ["best_chunk(8)", "late_chunking(8, best)", "best_chunk(8) + centering(all)"])
def test_the_best_vector_ranks_as_brute_force_does(base, written):
    task = retrieval()
    pipeline = fit_pipeline(base, compose(parse(written)), unlabelled(task))
    several = pipeline.encode_several(task.documents.texts)
    assert not several.is_single
    queries = pipeline.encode(task.queries.texts, role="query").vectors
    scores = brute_force(unit(queries), several)
    scored = score_task(task, pipeline)
    order = sorted(range(len(task.documents)), key=lambda i: task.documents.ids[i], reverse=True)
    for row, found in enumerate(scored.ranked.top):
        expected = sorted(order, key=lambda i: -scores[row, i])
        np.testing.assert_allclose(scores[row, found], scores[row, expected], atol=1e-6)
    judged, drawn = scored.ranked.judged, scored.ranked.background
    np.testing.assert_allclose(judged.score, scores[judged.query, judged.document], atol=1e-6)
    np.testing.assert_allclose(drawn.scores, np.take_along_axis(scores, drawn.documents, axis=1), atol=1e-6)
    assert any("are ranked by the best one of each" in note for note in scored.notes)
    assert scored.cut["documents"] == (0, len(task.documents))


def test_a_trial_takes_several_vectors_of_documents(encoder):
    found = evaluate(encoder, [retrieval()], [parse("best_chunk(8)")], plan=PLAN)
    assert found.select(measure="ndcg@10_gain", view="overall")


@pytest.mark.parametrize("written", ["best_chunk(8)", "late_chunking(8, best)"])
def test_only_a_search_takes_several_vectors(base, written):
    sts = Similarity("sts", "test", LONG, LONG, np.arange(float(len(LONG))))
    with pytest.raises(FixError, match="gives a text several vectors, where one is needed"):
        score_task(sts, fixed(base, written))
    with pytest.raises(FixError, match="compares one vector a document, got .* vectors of 61 documents"):
        score_task(retrieval(), fixed(base, written), approximate=True)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_search_takes_the_best_of_several_vectors_whatever_the_block(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    counts = rng.integers(1, 5, rng.integers(1, 12))
    owners = np.repeat(np.arange(len(counts)), counts)
    documents = rng.integers(-2, 3, (len(owners), 3)).astype(np.float32)
    queries = rng.integers(-2, 3, (4, 3)).astype(np.float32)
    k, block = data.draw(st.integers(1, 14)), data.draw(st.integers(1, 9))
    excluded = rng.integers(-1, len(counts), 4)
    found = search(queries, documents, k, owners=owners, block=block, excluded=excluded)
    scores = np.stack([(queries @ documents.T)[:, owners == i].max(axis=1) for i in range(len(counts))], axis=1)
    for row in range(4):
        expected = [i for i in np.lexsort((np.arange(len(counts)), -scores[row])) if i != excluded[row]][:k]
        assert found.documents[row][found.documents[row] >= 0].tolist() == expected
        np.testing.assert_array_equal(found.scores[row][: len(expected)], scores[row][expected])


@pytest.mark.parametrize("owners", [[0, 2], [1, 1], [0, 0, 1], [1, 0], [-1, 0]])
def test_owners_that_leave_a_document_out_are_refused(owners):
    with pytest.raises(UncollapseError, match="needs the number of its document, from 0 on, rising"):
        search(np.ones((1, 2), np.float32), np.ones((2, 2), np.float32), 1, owners=np.array(owners))


def test_a_static_model_has_no_limit_and_takes_text_fixes(tmp_path):
    words = StaticEmbedding(tokenizer()._tokenizer, embedding_weights=np.random.default_rng(0).normal(size=(99, 8)))
    SentenceTransformer(modules=[words], device="cpu").save(str(tmp_path))
    base = CachedEncoder(load(str(tmp_path)))
    for written in ("chunks(8)", "chunks(100000)", "sentence_mean(4)", "whole_and_chunks(8, 1.0)", "best_chunk(8)"):
        found = fixed(base, written).encode_several(LONG)
        np.testing.assert_array_equal(found.n_tokens, found.n_tokens_full)
    with pytest.raises(ArchitectureError, match="pools by nothing that Pooling does"):
        fixed(base, "late_chunking(8)")


def test_the_page_has_every_fix_with_its_dials():
    page = (Path(__file__).parents[1] / "docs/fixes-text.md").read_text()
    table = re.findall(r"^\| `(\w+)\(([^)]*)\)` \|", page, re.MULTILINE)
    dials = {name: ", ".join(inspect.signature(fix).parameters) for name, fix in TEXT_FIXES.items()}
    assert dict(table) == dials
    assert [name for name, _ in table] == list(TEXT_FIXES)
    assert set(re.findall(r"^\*\*[^*]+\*\* \(`(\w+)`\)", page, re.MULTILINE)) == set(TEXT_FIXES)
