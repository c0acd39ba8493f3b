"""Late chunking: chunks from the states of the whole text."""

from itertools import pairwise

import numpy as np
import pytest

from text_fix_examples import LONG, PLAN, fixed, retrieval, split, unit
from tiny import save_tiny
from uncollapse.encoders import CachedEncoder, load
from uncollapse.errors import ArchitectureError
from uncollapse.evaluation.trial import evaluate
from uncollapse.fixes import compose, parse
from uncollapse.fixes.texts.cutting import cut_ranges, piece_text
from uncollapse.pipelines.encoder import FixedEncoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def base(encoder):
    return CachedEncoder(encoder)


def test_late_chunks_of_a_long_text_cost_its_windows(base, encoder):
    one = fixed(base, "late_chunking(8)")
    one.encode(LONG[6:7])
    windows = split(encoder, "late_chunking(8)")[6]
    assert len(windows) > 3
    assert one.tokens_encoded == encoder.count([window.text for window in windows]).sum()
    assert 1.2 < one.tokens_encoded / encoder.count(LONG[6:7])[0] < 1.7


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
