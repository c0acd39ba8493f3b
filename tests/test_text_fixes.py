"""Fixes on texts: what is embedded, what comes of it, and what it costs."""

import inspect
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from text_fix_examples import (
    ALL,
    LONG,
    PLAN,
    READS_PART,
    SHORT,
    WRITTEN,
    fixed,
    naive,
    retrieval,
    sentences,
    split,
    unit,
)
from tiny import save_tiny, tokenizer
from uncollapse.encoders import CachedEncoder, load
from uncollapse.errors import ArchitectureError, FixError, ModelError, NotationError
from uncollapse.evaluation.scoring import score_task, unlabelled
from uncollapse.evaluation.tasks import Classification, Similarity
from uncollapse.evaluation.trial import evaluate
from uncollapse.fixes import compose, parse
from uncollapse.fixes.texts import TEXT_FIXES
from uncollapse.fixes.texts.cutting import cut_ranges, piece_text
from uncollapse.pipelines.encoder import FixedEncoder, encoding_work
from uncollapse.pipelines.fitting import fit_pipeline


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def base(encoder):
    return CachedEncoder(encoder)


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
        ("late_chunking(8, worst)", "`late_chunking`: keep cannot be 'worst'. Choices: mean, best."),
        ("chunks(8, 0, median)", "`chunks`: mean cannot be 'median'. Choices: plain, length, norm."),
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


def test_vector_fixes_act_on_pieces_and_text_fixes_put_together_what_they_leave(base):
    task = retrieval()
    fix = compose(parse("chunks(8) + centering(all) + temperature(0.9)"))
    pieces = fixed(base, "best_chunk(8)").encode_several(task.documents.texts)
    bare, owners = unit(pieces.flat.vectors.astype(float)), pieces.owners
    pipeline = fit_pipeline(base, fix, unlabelled(task))
    np.testing.assert_allclose(pipeline.fitted.maps[0].documents.values[0], bare.mean(axis=0), atol=1e-6)
    left = unit(bare - bare.mean(axis=0))
    expected = unit(np.stack([left[owners == i].mean(axis=0) for i in range(owners.max() + 1)]))
    np.testing.assert_allclose(pipeline.encode(task.documents.texts).vectors, expected, atol=1e-5)
    assert score_task(task, pipeline).sheets[0].columns["ndcg@10"].shape == (30,)


def test_norms_as_weights_do_not_go_with_fixes_on_vectors(base):
    with pytest.raises(FixError, match=r"`chunks\(8, 0, norm\)` weighs pieces by the norms of their vectors, which"):
        fit_pipeline(base, compose(parse("chunks(8, 0, norm) + centering(all)")), unlabelled(retrieval()))


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
