"""Fixes on texts: what is cut, what is embedded, what comes of it, and what it costs."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny import save_tiny
from uncollapse.encoders import CachedEncoder, load
from uncollapse.errors import FixError, NotationError
from uncollapse.evaluation.comparison import Plan
from uncollapse.evaluation.scoring import score_task
from uncollapse.evaluation.tasks import Classification, Retrieval, Similarity, Texts
from uncollapse.evaluation.trial import evaluate
from uncollapse.fixes import compose, parse
from uncollapse.fixes.texts import TEXT_FIXES
from uncollapse.fixes.texts.cutting import cut_ranges, piece_text
from uncollapse.pipelines.encoder import FixedEncoder, encoding_work
from uncollapse.pipelines.fitting import fit_pipeline

# One or more of every row, with pieces that texts of some ten words need several of.
WRITTEN = {
    "chunks": ("chunks(8)", "chunks(8, 3)", "chunks(8, 0, length)", "chunks(8, 0, norm)"),
}
ALL = [written for several in WRITTEN.values() for written in several]
ONE_VECTOR = [written for written in ALL if not parse(written).keeps_all]
SHORT = ["a dog", "x", "", " \n ", "\U0001f600"]
WORDS = ("a", "man", "plays", "the", "flute", "two", "dogs", "run", "over", "green", "grass.", "near", "old", "water!")


def sentences(n, seed, longest=40):
    rng = np.random.default_rng(seed)
    return tuple(" ".join(rng.choice(WORDS, rng.integers(2, longest))) for _ in range(n))


LONG = (
    *sentences(6, 0),
    "一二三四五六七八九十" * 5,
    "a\U0001f600b" * 30,
    "word" * 40,
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


READS_PART: tuple[str, ...] = ()


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
    with pytest.raises(Exception, match="makes vectors of norm 1 before its last steps"):
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


@settings(max_examples=60, deadline=None)
@given(text=TEXT, size=st.integers(1, 12))
def test_pieces_cover_a_text_without_loss_or_overlap(encoder, text, size):
    spans = encoder.spans(text)
    ranges = cut_ranges(text, spans, size)
    assert [start for start, _ in ranges] == [0, *(stop for _, stop in ranges[:-1])]
    assert ranges[-1][1] == len(spans)
    assert all(solid(text, spans[start:stop]) <= size for start, stop in ranges)
    assert len(ranges) == 1 or all(piece_text(text, spans, of) for of in ranges)
    found = "".join("".join(piece_text(text, spans, of).split()) for of in ranges)
    assert found == "".join(text.split())
    if len(ranges) == 1:
        assert piece_text(text, spans, ranges[0]) == text


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
        ("chunks(8, 8)", "`chunks`: overlap must be smaller than size, got an overlap of 8 tokens in chunks of 8."),
        ("chunks(8, -1)", "`chunks`: overlap must be a whole number of at least 0, got -1."),
        ("chunks(8, 0, median)", "`chunks`: mean must be one of plain, length, norm, got 'median'."),
    ],
)
def test_dials_out_of_range_are_refused(written, said):
    with pytest.raises(NotationError) as caught:
        parse(written)
    assert said in str(caught.value)


@pytest.mark.parametrize("written", ["chunks(59)"])
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


@pytest.mark.parametrize(("tokens", "vectors"), [("chunks(8)", 1.0)])
def test_what_it_costs_can_be_read(base, encoder, tokens, vectors):
    one = fixed(base, tokens)
    one.encode(LONG)
    pieces = [piece_text(t, encoder.spans(t), of) for t in LONG for of in cut_ranges(t, encoder.spans(t), 8)]
    assert one.tokens_encoded == encoder.count(pieces).sum()
    assert one.tokens_plain == np.minimum(encoder.count(LONG), 60).sum()
    assert one.vectors_per_text == vectors
    one.encode(LONG, role="query")
    assert one.texts == len(LONG)


PLAN = Plan(bins=3, cells=2, replicates=200, resamples=400)


def retrieval() -> Retrieval:
    documents = (*sentences(60, 0, 60), "")
    asked = tuple(" ".join(text.split()[-4:]) + f" {i}" for i, text in enumerate(documents[:30]))
    judged = {f"q{i}": {f"d{i}": 2, f"d{(i + 31) % 61}": i % 2} for i in range(30)}
    names = tuple(f"d{i}" for i in range(61))
    return Retrieval("docs", "test", Texts(names, documents), Texts(tuple(judged), asked), judged)


def test_a_trial_compares_text_fixes_in_the_bins_of_the_stock_model(encoder):
    fixes = [parse(written) for written in ONE_VECTOR[:3]]
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
    from uncollapse.evaluation.scoring import unlabelled

    bare = fixed(base, "chunks(8)").encode(task.documents.texts).vectors.astype(float)
    pipeline = fit_pipeline(base, fix, unlabelled(task))
    np.testing.assert_allclose(pipeline.fitted.maps[0].documents.values[0], bare.mean(axis=0), atol=1e-6)
    found = pipeline.encode(task.documents.texts).vectors
    np.testing.assert_allclose(found, unit(bare - bare.mean(axis=0)), atol=1e-5)
    assert score_task(task, pipeline).sheets[0].columns["ndcg@10"].shape == (30,)
