"""Mixing where numbers are at the edge of their precision: long texts, half precision, tiny shares of attention."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from architectures import build, stay_double
from test_attention import model_of
from uncollapse.attention.baskets import even_out
from uncollapse.attention.calibration import Calibration
from uncollapse.attention.features import token_mean
from uncollapse.attention.highpass import AttnScale
from uncollapse.attention.mixing import _within, low_pass
from uncollapse.attention.observing.facts import MaskFacts
from uncollapse.attention.observing.interface import Call
from uncollapse.attention.patching import patch
from uncollapse.attention.probes import probe_batch, probe_states


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_mean_over_a_long_text_does_not_overflow_in_half_precision(dtype: torch.dtype, autocast: bool) -> None:
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        check_means(dtype)


def check_means(dtype: torch.dtype) -> None:
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


@pytest.mark.parametrize("tiny", [0.0, 1e-45, 1e-41, 1e-39, 1e-35])
def test_a_basket_with_next_to_no_attention_is_left_as_it_is(tiny: float) -> None:
    """The ratio of its shares would be infinite, and infinity times the 0 of other baskets is NaN."""
    weights = torch.tensor([[[[0.75, 0.25, tiny]]]])
    evened = even_out(weights, torch.tensor([[0, 1, 2]]), 0.5)
    assert torch.allclose(evened, torch.tensor([0.5 * 0.75 + 0.5 / 3, 0.5 * 0.25 + 0.5 / 3, tiny]), atol=1e-7)


@pytest.mark.parametrize(("dtype", "little"), [(torch.float32, 1e-25), (torch.float64, 1e-60)])
def test_a_basket_with_little_attention_gets_its_share(dtype: torch.dtype, little: float) -> None:
    evened = even_out(torch.tensor([[[[0.75, 0.25, little]]]], dtype=dtype), torch.tensor([[0, 1, 2]]), 0.5)
    assert float(evened[0, 0, 0, 2]) == pytest.approx(0.5 / 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_baskets_are_evened_out_under_autocast_as_without(dtype: torch.dtype) -> None:
    weights = torch.softmax(torch.randn(1, 1, 3, 64, generator=torch.Generator().manual_seed(0)), -1)
    number = (torch.arange(64) // 4)[None]
    plain = even_out(weights, number, 0.5)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(even_out(weights, number, 0.5), plain)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 0.02), (torch.bfloat16, 0.2)])
def test_calibration_does_under_autocast_what_it_does_without(dtype: torch.dtype, error: float) -> None:
    """Up to rounding, as a share of what it changes."""
    model = build("bert", dtype=torch.float32)
    model.set_attn_implementation("sdpa")
    stock = probe_states(model)
    with patch(model, Calibration(2, 1, "all", "all")):
        plain = probe_states(model)
        with torch.autocast("cpu", dtype=dtype):
            found = probe_states(model)
    assert float((found - plain).norm()) < error * float((plain - stock).norm())


def test_the_number_of_baskets_may_be_given_larger_than_it_is() -> None:
    weights = torch.softmax(torch.randn(2, 3, 5, 5, dtype=torch.float64), -1)
    number = torch.tensor([[0, 0, 1, 1, 1], [0, 0, 0, 0, 0]])
    assert torch.allclose(even_out(weights, number, 0.7), even_out(weights, number, 0.7, count=9), rtol=0, atol=1e-15)


def test_an_answer_about_a_mask_is_found_once_a_pass() -> None:
    facts, mask, asked = MaskFacts(), torch.ones(2, 4, 4, dtype=torch.bool), []

    def ask(tensor: torch.Tensor, what: str = "all") -> bool:
        def find() -> bool:
            asked.append(what)
            return bool(tensor.all())

        return facts.ask(tensor, what, find)

    assert [ask(mask), ask(mask), ask(mask[:1]), ask(mask[:1])] == [True] * 4
    assert len(asked) == 2, "a view made anew is the same view"
    mask[1, 0, 0] = False
    assert ask(mask), "within a pass masks do not change"
    facts.forget()
    assert not ask(mask)
    assert not copy.deepcopy(facts)._known


def test_a_mask_written_over_between_passes_is_looked_at_anew() -> None:
    """As static caches do: the same tensor with other numbers in it."""
    model = model_of("bert")
    batch = probe_batch(model)
    mask = torch.ones_like(batch["attention_mask"])
    with stay_double(), patch(model, AttnScale(0.4)):
        wanted = probe_states(model, batch)
        probe_states(model, {**batch, "attention_mask": mask})
        mask.copy_(batch["attention_mask"])
        assert torch.equal(probe_states(model, {**batch, "attention_mask": mask}), wanted)


def test_a_window_is_made_of_truth_values_alone() -> None:
    """Distances as whole numbers take eight times the memory of a map of truth values, in every layer."""

    class Sizes(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and not out.is_floating_point():
                self.largest = max(self.largest, out.nbytes)
            return out

    width, query = 64, torch.randn(1, 1, 64, 4)
    for mask in (None, torch.ones(1, 1, width, width, dtype=torch.bool)):
        call = Call(nn.Identity(), query, query, query, mask, {"is_causal": False})
        with Sizes() as sizes:
            local = _within(call, 3).mask
        place = torch.arange(width)
        assert torch.equal(local[0, 0], (place[:, None] - place).abs() <= 3)
        assert sizes.largest == width**2
