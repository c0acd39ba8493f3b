"""Attention that is changed after it is computed, without forming its map, while a model runs."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from uncollapse.attention.batches import real_tokens, watch
from uncollapse.attention.highpass import AttnScale, IdentityMix, LocalGlobal
from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.observing.facts import MaskFacts
from uncollapse.attention.observing.interface import Call, capped_attention, exchanged_attention
from uncollapse.attention.outputs import factor_dtype
from uncollapse.attention.sites import Site, class_key, find_sites
from uncollapse.errors import ArchitectureError, ModelError
from uncollapse.precision import in_full_precision

Mix = Callable[[Call, torch.Tensor, int, torch.Tensor | None], torch.Tensor]
"""Makes the heads' new output [texts, width, heads, value_dim] of a call, the old output, the layer, and where tokens
are [texts, width] (None for everywhere)."""


Before = Callable[[Call], torch.Tensor | None]
"""Gives an output in place of attention, [texts, width, heads, value_dim], or None to let it be computed and mixed."""


def mix_attention(model: PreTrainedModel, mix: Mix, undo: ExitStack, before: Before = lambda _: None) -> None:
    """Let every attention layer give what `mix` makes of it, until `undo` closes.

    Args:
        model: the model.
        mix: is given every output.
        undo: takes it off again.
        before: is asked first.

    Raises:
        ArchitectureError: attention that cannot be exchanged or shares its softmax with sinks, by name.
    """
    sites = find_sites(model)
    for site in sites:
        _refuse(model, site)
    mixing = MixingAttention(sites, mix, before)
    undo.enter_context(exchanged_attention(model, mixing))
    undo.enter_context(watch(model, mixing.around))


def put_attnscale(model: PreTrainedModel, fix: AttnScale, undo: ExitStack) -> None:
    """(1 + w) A V - w LP(V) until `undo` closes."""

    def mix(call: Call, output: torch.Tensor, _layer: int, _real: torch.Tensor | None) -> torch.Tensor:
        return (1 + fix.w) * output - fix.w * low_pass(call).transpose(1, 2)

    _mix_unless_identity(model, fix, mix, undo)


def put_identity_mix(model: PreTrainedModel, fix: IdentityMix, undo: ExitStack) -> None:
    """(1 - a) A V + a V until `undo` closes."""

    def mix(call: Call, output: torch.Tensor, _layer: int, _real: torch.Tensor | None) -> torch.Tensor:
        return (1 - fix.a) * output + fix.a * call.repeated[1].transpose(1, 2)

    _mix_unless_identity(model, fix, mix, undo)


def put_local_global(model: PreTrainedModel, fix: LocalGlobal, undo: ExitStack) -> None:
    """(1 - a) A V + a A_local V until `undo` closes."""

    def mix(call: Call, output: torch.Tensor, _layer: int, _real: torch.Tensor | None) -> torch.Tensor:
        return (1 - fix.a) * output + fix.a * attend(_within(call, fix.window))

    _mix_unless_identity(model, fix, mix, undo)


def _mix_unless_identity(model: PreTrainedModel, fix: ModelFix, mix: Mix, undo: ExitStack) -> None:
    if not fix.is_identity:
        mix_attention(model, mix, undo)


class MixingAttention:
    """An attention function of transformers: SDPA, and what a mix makes of its output."""

    def __init__(self, sites: tuple[Site, ...], mix: Mix, before: Before = lambda _: None) -> None:
        self.sites = {id(site.module): site for site in sites}
        self.expected = Counter({site.name: len(site.layers) for site in sites})
        self.mix, self.before = mix, before
        self.calls: Counter[str] = Counter()
        self.real: torch.Tensor | None = None
        self.facts = MaskFacts()

    @contextmanager
    def around(self, arguments: dict[str, Any]) -> Iterator[None]:
        """Know the texts of one forward pass, and refuse one whose attention ran past this function."""
        self.real = real_tokens(arguments)
        self.calls.clear()
        self.facts.forget()
        try:
            yield
        finally:
            self.real = None
        if self.calls != self.expected:
            raise ArchitectureError(
                "An attention layer ran past the fix that is patched on: something else changed the model's "
                "attention inside the `with`. Run it without that."
            )

    def __call__(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        if query.shape[2] != key.shape[2]:
            raise ModelError("Expected whole texts, got a cache of earlier tokens, which this fix cannot see.")
        call = Call(module, query, key, value, attention_mask, kwargs, self.facts)
        if (instead := self.before(call)) is not None:
            return instead, None
        output = attend(call)
        if site := self.sites.get(id(module)):
            layer = site.layers[self.calls[site.name] % len(site.layers)]
            self.calls[site.name] += 1
            output = self.mix(call, output, layer, self.real)
        return output, None


def attend(call: Call) -> torch.Tensor:
    """What the heads of a call give: A V [texts, width, heads, value_dim]."""
    if call.options.get("softcap") is not None:
        return capped_attention(call)
    output: torch.Tensor
    output, _ = sdpa_attention_forward(call.module, call.query, call.key, call.value, call.mask, **call.options)
    return output


def allowed(call: Call) -> torch.Tensor | None:
    """Where each token may look: bool [1 or texts, 1 or heads, width, width], None for everywhere."""
    if call.mask is not None:
        return looking(call.mask)
    if not looks_back(call):
        return None
    width = call.query.shape[2]
    return torch.ones(1, 1, width, width, dtype=torch.bool, device=call.query.device).tril()


def looking(mask: torch.Tensor) -> torch.Tensor:
    """Where a mask lets tokens look, as bool."""
    return mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2


def looks_back(call: Call) -> bool:
    """Whether a token looks at itself and those before it only, where no mask says so."""
    return call.mask is None and call.is_causal and call.query.shape[2] > 1


@in_full_precision
def low_pass(call: Call) -> torch.Tensor:
    """Mean of the values of all tokens that each token may look at: [texts, heads, 1 or width, value_dim].

    Half precision is summed in float32, also under autocast, since the sum of a long text overflows float16.
    """
    value = call.repeated[1]
    if call.mask is None:
        return _mean_so_far(value) if looks_back(call) else value.mean(2, keepdim=True)
    places = looking(call.mask)
    first = places[:, :, :1]
    if call.facts.ask(call.mask, "rows alike", lambda: bool((places == first).all())):
        places = first
    weights = places.to(factor_dtype(value.dtype))
    return (torch.matmul(weights, value.to(weights.dtype)) / weights.sum(-1, keepdim=True).clamp(min=1)).to(
        value.dtype
    )


def _mean_so_far(value: torch.Tensor) -> torch.Tensor:
    counts = torch.arange(1, value.shape[2] + 1, device=value.device)[:, None]
    return (value.cumsum(2, dtype=factor_dtype(value.dtype)) / counts).to(value.dtype)


def _within(call: Call, window: int) -> Call:
    """The same call inside a window; what may look nowhere (padding) looks at itself, so that no row is empty."""
    width, places = call.query.shape[2], allowed(call)
    # As truth values alone: distances as whole numbers would take eight times the memory.
    everywhere = torch.ones(1, 1, width, width, dtype=torch.bool, device=call.query.device)
    local = everywhere.triu(-window).tril_(window)
    if places is not None:
        local = (local & places) | everywhere.triu_().tril_()
    if call.mask is not None and call.mask.dtype != torch.bool:
        lowest = torch.finfo(call.mask.dtype).min
        local = torch.where(local, call.mask, lowest)
    return replace(call, mask=local)


def _refuse(model: PreTrainedModel, site: Site) -> None:
    reason = ""
    if not model._can_set_attn_implementation():
        reason = "it computes its attention by itself, where no other attention can take its place"
    elif any(term.path == "sinks" for term in site.terms):
        reason = "its softmax includes a sink, so that its weights on the tokens do not sum to 1"
    if reason:
        raise ArchitectureError(f"{class_key(site.module)} cannot take a fix that changes attention's map: {reason}.")
