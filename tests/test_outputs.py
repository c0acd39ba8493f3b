"""What a fix multiplies of a layer's output: the query alone, by an exact factor, in place where nobody looks."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from architectures import LAYERS, build
from uncollapse.attention.laws import LAWS, TemperatureLaw
from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.patching import patch
from uncollapse.attention.probes import probe_batch, probe_states
from uncollapse.attention.scaling import ScaleOutput
from uncollapse.attention.sites import find_sites
from uncollapse.attention.temperature import Temperature

FIXES: list[ModelFix] = [Temperature(0.9), Temperature([[0.6, 0.7, 0.8, 0.9]] * LAYERS), TemperatureLaw("log", n0=23)]
FUSED = ["modernbert", "gpt2", "phi3", "gpt_neox"]


class Multiplied(TorchDispatchMode):
    """Counts the entries of products, apart those written in place."""

    def __init__(self) -> None:
        super().__init__()
        self.in_place, self.fresh = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.mul_.Tensor:
            self.in_place += out.numel()
        elif func is torch.ops.aten.mul.Tensor:
            self.fresh += out.numel()
        return out


def query_layer(model: nn.Module) -> nn.Module:
    site = find_sites(model)[0]
    return getattr(site.module, site.terms[0].path)


def seen_of(layer: nn.Module, model: nn.Module) -> torch.Tensor:
    """What a layer gives in a pass of the model, after the hooks that were there before."""
    found: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: found.append(output.clone()))
    probe_states(model)
    handle.remove()
    return found[0]


@pytest.mark.parametrize("name", ["bert", *FUSED])
@pytest.mark.parametrize("fix", FIXES, ids=str)
def test_the_query_alone_is_multiplied_and_in_place(name: str, fix: ModelFix) -> None:
    model = build(name, dtype=torch.float32)
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        with Multiplied() as stock:
            probe_states(model)
        with patch(model, fix):
            probe_states(model)  # factors are made and moved
            with Multiplied() as fixed:
                probe_states(model)
    query = probe_batch(model)["input_ids"].numel() * 64
    assert fixed.in_place - stock.in_place == LAYERS * query
    assert fixed.fresh - stock.fresh < query / 8, "the factors of a law, one a text"


@pytest.mark.parametrize("name", FUSED)
def test_with_gradients_nothing_is_written_over(name: str) -> None:
    """The same gradients as of a layer whose query is multiplied by hand."""
    model = build(name)
    layer = query_layer(model)
    x = torch.randn(2, 3, 64, dtype=torch.float64, requires_grad=True)
    entry = torch.arange(layer(x).shape[-1])
    query = entry % 48 < 16 if name == "gpt_neox" else entry < 64
    by_hand = torch.autograd.grad((layer(x) * (1.0 + query)).square().sum(), x)[0]
    with patch(model, Temperature(0.5)):
        assert torch.equal(torch.autograd.grad(layer(x).square().sum(), x)[0], by_hand)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["bert", "modernbert"])
@pytest.mark.parametrize("fix", [Temperature(0.97), TemperatureLaw("log", n0=22)], ids=str)
def test_in_half_precision_the_product_is_rounded_and_the_factor_is_not(name: str, dtype, fix: ModelFix) -> None:
    model = build(name, dtype=dtype)
    model.set_attn_implementation("sdpa")
    layer = query_layer(model)
    stock = seen_of(layer, model).float()[..., :64]
    counts = probe_batch(model)["attention_mask"].sum(1)
    taus = [fix.tau if isinstance(fix, Temperature) else fix.at(int(n)).tau for n in counts]
    factor = torch.tensor([1 / tau for tau in taus], dtype=torch.float64).float()[:, None, None]
    with patch(model, fix):
        assert torch.equal(seen_of(layer, model)[..., :64], (stock * factor).to(dtype))


def test_a_tensor_that_somebody_else_may_hold_is_left_as_it_is() -> None:
    x, layer, held = torch.ones(1, 4), nn.Identity(), list[torch.Tensor]()
    layer.register_forward_hook(ScaleOutput([torch.tensor([2.0])]))
    assert layer(x).tolist() == [[2.0] * 4]
    assert x.tolist() == [[1.0] * 4]
    watched = nn.Linear(4, 4).requires_grad_(False)
    watched.register_forward_hook(lambda _module, _inputs, output: held.append(output))
    watched.register_forward_hook(ScaleOutput([torch.tensor([2.0])]))
    assert torch.equal(watched(x), 2 * held[0])


class Wrapper(nn.Module):
    """Gives what another layer gives, as adapters do that change nothing."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.last = layer, nn.Dropout().eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.layer(x))


HOLDERS: dict[str, Callable[[Wrapper, Callable[..., None]], RemovableHandle]] = {
    "every module": lambda _, hold: register_module_forward_hook(hold),
    "every module, before": lambda _, hold: register_module_forward_pre_hook(hold),
    "a child": lambda layer, hold: layer.layer.register_forward_hook(hold),
    "the next child": lambda layer, hold: layer.last.register_forward_pre_hook(hold),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_what_a_hook_elsewhere_holds_is_left_as_it_is(holder: str) -> None:
    layer, held = Wrapper(nn.Linear(4, 4).requires_grad_(False)), list[tuple[torch.Tensor, torch.Tensor]]()
    x = torch.ones(1, 4)
    wanted = 2 * layer(x)

    def hold(_module: nn.Module, *seen: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        (tensor,) = seen[-1] if isinstance(seen[-1], tuple) else (seen[-1],)
        held.append((tensor, tensor.clone()))

    layer.register_forward_hook(ScaleOutput([torch.tensor([2.0])]))
    handle = HOLDERS[holder](layer, hold)
    try:
        assert torch.equal(layer(x), wanted)
    finally:
        handle.remove()
    assert any(torch.equal(tensor, wanted / 2) for tensor, _ in held)
    assert all(torch.equal(tensor, before) for tensor, before in held)


class Viewed(nn.Module):
    """Gives a view of a part of what it is given."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[..., :2]


def test_an_input_is_left_as_it_is_where_a_view_of_it_is_given_or_it_comes_by_name() -> None:
    x, layer = torch.ones(1, 4), Viewed()
    layer.register_forward_hook(ScaleOutput([torch.tensor([2.0])]))
    assert layer(x).tolist() == layer(x=x).tolist() == [[2.0] * 2]
    assert x.tolist() == [[1.0] * 4]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch 2.13 meets its own advice on import
def test_a_patched_layer_is_compiled_once() -> None:
    torch._dynamo.reset()
    layer, counter = nn.Linear(4, 4), CompileCounter()
    layer.register_forward_hook(ScaleOutput([torch.full((4,), 2.0)]))
    compiled = torch.compile(layer, backend=counter)
    with torch.no_grad():
        for _ in range(4):
            assert torch.equal(compiled(torch.ones(1, 4)), layer(torch.ones(1, 4)))
    assert counter.frame_count == 1


@pytest.mark.parametrize("law", ["log", "sqrtlog", "infoscale", "isofilter"])
@pytest.mark.parametrize("spread", [0.3, 1.0, 5.0, 30.0])
def test_a_law_is_one_at_n0_and_grows(law: str, spread: float) -> None:
    fix = TemperatureLaw(law, n0=128, spread=spread if "spread" in LAWS[law].needs else None)
    factors = fix.inverse(torch.arange(2, 40_000, dtype=torch.float64), 64)
    assert float(factors[126]) == pytest.approx(1, abs=1e-12)
    assert bool((factors.diff() > 0).all())
