"""Dense and streamed attention maps: the same operator, adjoint products, bounded memory, bad input."""

import os
import subprocess
import sys

import pytest
import torch

from spectra_maps import gaussian_maps, seeded
from tolerances import FLOAT32, assert_close
from uncollapse.errors import ModelError
from uncollapse.spectra import DenseMap, StreamedMap, entropy, operators, score_spread, shares


def make_pair(n=37, *, shape=(2, 3), causal=False, seed=0):
    """A streamed map and the matrices it stands for."""
    query, key = torch.randn(2, *shape, n, 8, generator=seeded(seed))
    scores = 0.7 * query @ key.mT
    if causal:
        scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -torch.inf)
    return StreamedMap(query, key, 0.7, causal=causal), torch.softmax(scores, -1)


@pytest.fixture(params=[1 << 20, 37 * 37 * 4 * 2, 37 * 4 * 5, 4], ids=["all", "two maps", "five rows", "one row"])
def part_bytes(request, monkeypatch):
    monkeypatch.setitem(operators.PART_BYTES, "cpu", request.param)


@pytest.mark.usefixtures("part_bytes")
@pytest.mark.parametrize("kind", ["everywhere", "back only", "near only", "capped", "capped and back", "sharpened"])
def test_streamed_maps_are_the_softmax_of_what_is_left_of_the_scores(kind):
    query, key = torch.randn(2, 2, 3, 37, 8, generator=seeded(5))
    scores, tau = 0.7 * query @ key.mT, torch.linspace(0.3, 2, 6).reshape(2, 3)
    back, near = torch.ones(37, 37).tril().bool(), torch.ones(37, 37).tril(4).triu(-4).bool()
    capped = 2 * torch.tanh(scores / 2)
    wanted, options = {
        "everywhere": (scores, {}),
        "back only": (scores.masked_fill(~back, -torch.inf), {"causal": True}),
        "near only": (scores.masked_fill(~near, -torch.inf), {"allowed": near}),
        "capped": (capped, {"softcap": 2.0}),
        "capped and back": (capped.masked_fill(~back, -torch.inf), {"softcap": 2.0, "causal": True}),
        "sharpened": (
            (capped / tau[..., None, None]).masked_fill(~near, -torch.inf),
            {"softcap": 2.0, "allowed": near},
        ),
    }[kind]
    operator = StreamedMap(query, key, 0.7, **options)
    if kind == "sharpened":
        operator = operator.sharpened(1 / tau.sqrt()).sharpened(1 / tau.sqrt())
    maps = torch.softmax(wanted, -1)
    vectors = torch.randn(2, 3, 37, 5, generator=seeded(1))
    assert_close(operator.apply(vectors), maps @ vectors, FLOAT32)
    assert_close(
        operator.select([4, 1]).rows(torch.tensor([36, 0, 9])), maps.flatten(0, 1)[[4, 1]][:, [36, 0, 9]], FLOAT32
    )
    assert_close(entropy(operator), entropy(maps), FLOAT32)
    assert_close(score_spread(operator), score_spread(wanted), FLOAT32)


@pytest.mark.usefixtures("part_bytes")
@pytest.mark.parametrize("causal", [False, True])
def test_streamed_and_dense_maps_do_what_the_matrices_do(causal):
    streamed, matrices = make_pair(causal=causal)
    vectors = torch.randn(2, 3, 37, 5, generator=seeded(1))
    for operator in (streamed, DenseMap(matrices)):
        assert (operator.n, operator.shape) == (37, (2, 3))
        assert_close(operator.apply(vectors), matrices @ vectors, FLOAT32)
        assert_close(operator.transpose_apply(vectors), matrices.mT @ vectors, FLOAT32)
        assert_close(operator.rows(torch.tensor([0, 36, 7])), matrices.flatten(0, 1)[:, [0, 36, 7]], FLOAT32)


@pytest.mark.usefixtures("part_bytes")
def test_the_parts_are_the_maps():
    streamed, matrices = make_pair()
    for operator in (streamed, DenseMap(matrices)):
        rebuilt = torch.full((6, 37, 37), torch.nan)
        for part in operator.parts():
            rebuilt[part.maps, part.rows] = part.weights
        assert_close(rebuilt, matrices.flatten(0, 1), FLOAT32)


@pytest.mark.usefixtures("part_bytes")
@pytest.mark.parametrize("chosen", [[0], [1, 2, 3], [5, 0, 4], []])
def test_selected_maps_are_those_maps(chosen):
    streamed, matrices = make_pair()
    vectors = torch.randn(len(chosen), 37, 2, generator=seeded(2))
    for operator in (streamed, DenseMap(matrices)):
        assert_close(operator.select(chosen).apply(vectors), matrices.flatten(0, 1)[chosen] @ vectors, FLOAT32)
        again = operator.select([3, 1, 2, 0, 5, 4]).select(range(6)).select([1, 0])
        assert_close(again.rows(torch.tensor([4])), matrices.flatten(0, 1)[[1, 3]][:, [4]], FLOAT32)


@pytest.mark.usefixtures("part_bytes")
def test_the_portions_are_all_maps_in_order():
    for operator in (make_pair()[0], DenseMap(make_pair()[1])):
        places = [place for which, _ in operator.portions() for place in range(which.start, which.stop)]
        assert places == list(range(6))
        for which, portion in operator.portions():
            assert_close(portion.rows(torch.arange(3)), operator.rows(torch.arange(3))[which], FLOAT32)


def test_products_are_adjoint():
    streamed, matrices = make_pair()
    left, right = torch.randn(2, 2, 3, 37, 4, generator=seeded(3))
    for operator in (streamed, DenseMap(matrices)):
        forth = (left * operator.apply(right)).sum((-2, -1))
        back = (operator.transpose_apply(left) * right).sum((-2, -1))
        assert_close(forth, back, 1e-4)  # sums of 148 products that cancel


def test_rows_are_distributions():
    streamed, _ = make_pair(causal=True)
    assert_close(streamed.apply(torch.ones(2, 3, 37, 1)), torch.ones(2, 3, 37, 1), FLOAT32)


@pytest.mark.usefixtures("part_bytes")
def test_other_numbers_stream_as_well():
    streamed, matrices = make_pair()
    special = torch.arange(37) % 9 == 0
    assert_close(entropy(streamed), entropy(matrices), FLOAT32)
    one, other = shares(streamed, special, window=3), shares(matrices, special, window=3)
    for name in ("special", "own", "window"):
        assert_close(getattr(one, name), getattr(other, name), FLOAT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised_and_float64_kept(dtype):
    query, key = torch.randn(2, 20, 8, generator=seeded(4)).to(dtype)
    raised = StreamedMap(query, key, 0.5)
    assert_close(raised.rows(torch.arange(20))[0], torch.softmax(0.5 * query.float() @ key.float().mT, -1), FLOAT32)
    assert DenseMap(gaussian_maps(20, 1.0).to(dtype)).dtype == torch.float32
    assert StreamedMap(query.double(), key.double(), 0.5).dtype == torch.float64


MEMORY = """
import resource, torch
from uncollapse.spectra import StreamedMap, filter_rate
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
torch.set_num_threads(1)
query, key = torch.randn(2, 1, {n}, 32, generator=torch.Generator().manual_seed(0))
filter_rate(StreamedMap(query[:, :100], key[:, :100], 0.2))
before = peak()
filter_rate(StreamedMap(query, key, 0.2), tolerance=0.1)
print(peak() - before)
"""


def test_8192_tokens_stay_far_below_one_map():
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEMORY.format(n=8192)]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(found.stdout) < 128  # MB; one map of 8,192 tokens has 256


def test_vectors_that_do_not_fit_are_refused():
    streamed, matrices = make_pair()
    for operator in (streamed, DenseMap(matrices)):
        with pytest.raises(ModelError, match=r"shape \[2, 3, 37, 'vectors'\] .* got \[37, 2\]"):
            operator.apply(torch.ones(37, 2))
        with pytest.raises(ModelError, match=r"got \[2, 3, 36, 2\]"):
            operator.transpose_apply(torch.ones(2, 3, 36, 2))


def test_queries_and_keys_that_do_not_fit_are_refused():
    with pytest.raises(ModelError, match=r"same shape .* \[2, 5, 4\] and torch.float32 \[1, 5, 4\]. Repeat keys"):
        StreamedMap(torch.ones(2, 5, 4), torch.ones(1, 5, 4), 1.0)
    with pytest.raises(ModelError, match="floating numbers"):
        StreamedMap(torch.ones(5, 4, dtype=torch.long), torch.ones(5, 4, dtype=torch.long), 1.0)
    with pytest.raises(ModelError, match="1 token or more"):
        StreamedMap(torch.ones(0, 4), torch.ones(0, 4), 1.0)
    for allowed in (torch.ones(5, 4).bool(), torch.ones(5, 5)):
        with pytest.raises(ModelError, match=r"truth values of shape \[5, 5\] for where tokens may look, got torch"):
            StreamedMap(torch.ones(5, 4), torch.ones(5, 4), 1.0, allowed=allowed)
    with pytest.raises(ModelError, match="finite queries and keys"):
        StreamedMap(torch.ones(5, 4), torch.full((5, 4), torch.inf), 1.0)
