"""Long texts read to their end, with the model's own vector where that is enough."""

import numpy as np
import pytest

from text_fix_examples import fixed, naive, sentences, unit
from tiny import save_tiny
from uncollapse.encoders import CachedEncoder, load
from uncollapse.errors import NotationError
from uncollapse.fixes import parse

ROOM = 58  # the tiny model reads 60 tokens, two of them special


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return CachedEncoder(load(str(save_tiny(tmp_path_factory.mktemp("model")))))


def test_a_text_that_the_model_reads_whole_has_its_own_vector(base):
    texts = [" ".join("ab"[i % 2] for i in range(n)) for n in (1, 8, ROOM)]
    assert [len(base.encoder.spans(text)) for text in texts] == [1, 8, ROOM]
    np.testing.assert_array_equal(fixed(base, "cover(8)").encode(texts).vectors, base.encode(texts).vectors)


@pytest.mark.parametrize("factor", [1.1, 2, 6])
def test_weights_are_the_squared_share_that_was_read(base, factor):
    text = " ".join("ab"[i % 2] for i in range(round(ROOM * factor)))
    n = len(base.encoder.spans(text))
    share = (ROOM / n) ** 2
    whole, chunks = unit(base.encode([text]).vectors[0]), naive(base.encoder, text, 8, "plain")
    found = fixed(base, "cover(8)").encode([text])
    np.testing.assert_allclose(found.vectors[0], unit(share * whole + (1 - share) * chunks), atol=2e-6)
    assert found.n_tokens.tolist() == found.n_tokens_full.tolist() == [n + 2]


def test_more_of_a_text_comes_in_continuously(base):
    """One token more than the model reads changes the vector a little, not at once to the mean of chunks."""
    longer = " ".join("ab"[i % 2] for i in range(ROOM + 1))
    whole = unit(base.encode([longer]).vectors[0])
    covered = fixed(base, "cover(8)").encode([longer]).vectors[0]
    chunks = naive(base.encoder, longer, 8, "plain")
    assert 0 < np.linalg.norm(covered - whole) < 0.1 * np.linalg.norm(chunks - whole)


def test_what_only_the_end_says_counts(base):
    start = " ".join(sentences(1, 3, 40)) + " a man plays the flute" * 20
    texts = [start + " water " * 40, start + " dogs " * 40]
    plain = base.encode(texts).vectors
    np.testing.assert_array_equal(plain[0], plain[1])
    covered = fixed(base, "cover(8)").encode(texts).vectors
    assert np.linalg.norm(covered[0] - covered[1]) > 1e-3


def test_queries_stay_as_they_are(base):
    texts = list(sentences(2, 5, 200))
    found = fixed(base, "cover(8)").encode(texts, role="query")
    np.testing.assert_array_equal(found.vectors, base.encode(texts, role="query").vectors)


@pytest.mark.parametrize("size", ["0", "-1", "2.5", "half"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(NotationError, match="`cover`: size must be a whole number of at least 1"):
        parse(f"cover({size})")
