"""Filter rates of real heads: certified, and those of all singular values."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from spectra_maps import one_thread
from uncollapse.encoders import find_source
from uncollapse.spectra import StreamedMap, entropy, filter_rate

TEXT = f"{np.einsum.__doc__} {np.percentile.__doc__}"

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def maps_of():
    folder = str(find_source("minilm"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

    def run(n):
        batch = tokenizer([TEXT], truncation=True, max_length=n, return_tensors="pt")
        assert batch["input_ids"].shape[1] == n
        with torch.inference_mode():
            return torch.stack(model(**batch, output_attentions=True).attentions)[:, 0]

    return run


@pytest.fixture(autouse=True)
def quiet():
    with one_thread():
        yield


def largest(maps):
    """The filter rate by the definition, in float32: many maps."""
    return torch.linalg.svdvals(maps - maps.mean(-2, keepdim=True))[..., 0]


@pytest.mark.parametrize("n", [32, 64, 128, 256])
def test_real_heads_are_certified_and_right(maps_of, n):
    maps = maps_of(n)
    rates, expected = filter_rate(maps), largest(maps)
    assert rates.value.shape == (6, 12)
    assert bool(rates.certified().all())
    assert float(((rates.value - expected).abs() / expected).max()) <= 1e-3
    assert bool((rates.ceiling >= expected * (1 - 1e-5)).all())
    assert float(entropy(maps).min()) > 0


def test_real_heads_at_512_tokens(maps_of):
    maps = maps_of(512)[:, ::4]
    rates, expected = filter_rate(maps), largest(maps)
    assert bool(rates.certified().all())
    assert float(((rates.value - expected).abs() / expected).max()) <= 1e-3


def test_real_heads_stream(maps_of):
    # any attention map is one of scores: its logarithm, with as many directions as it takes
    maps = maps_of(128)[2].double()
    scores = maps.clamp_min(1e-12).log()
    streamed = filter_rate(StreamedMap(scores, torch.eye(128, dtype=torch.float64).expand_as(scores), 1.0))
    expected = largest(torch.softmax(scores, -1))
    assert bool(streamed.certified().all())
    assert float(((streamed.value - expected).abs() / expected).max()) <= 1e-3
