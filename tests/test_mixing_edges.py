"""Mixing where numbers are at the edge of their precision: long texts, half precision, tiny shares of attention."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from uncollapse.attention.features import token_mean
from uncollapse.attention.mixing import low_pass
from uncollapse.attention.observing.interface import Call


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_mean_over_a_long_text_does_not_overflow_in_half_precision(dtype: torch.dtype) -> None:
    n, module = 8192, nn.Identity()
    states = torch.full((1, n, 4), 10.0, dtype=dtype)
    real = torch.arange(n)[None] < n - 5
    assert torch.equal(token_mean(states, real), states[:, :1])
    module.is_causal = False
    padded = Call(module, states[None], states[None], states[None], real[:, None, None].expand(1, 1, n, n), {})
    assert torch.equal(low_pass(padded), states[None, :, :1])
    causal = replace(padded, mask=None, options={"is_causal": True})
    assert torch.equal(low_pass(causal), states[None])


def test_padding_that_is_no_number_does_not_reach_the_mean() -> None:
    states = torch.tensor([[[1.0], [3.0], [torch.nan]]])
    assert token_mean(states, torch.tensor([[True, True, False]])).tolist() == [[[2.0]]]


def test_the_mean_of_all_earlier_tokens_needs_no_map() -> None:
    """Without a mask it is the same as under a mask that says so."""
    value = torch.randn(2, 3, 9, 4, dtype=torch.float64)
    causal = Call(nn.Identity(), value, value, value, None, {"is_causal": True})
    masked = replace(causal, mask=torch.ones(1, 1, 9, 9, dtype=torch.bool).tril())
    assert torch.allclose(low_pass(causal), low_pass(masked), rtol=0, atol=1e-15)
