"""Attention that shows its query, key and value, for the models whose attention can be exchanged."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from uncollapse.attention.observing.facts import MaskFacts
from uncollapse.attention.observing.heads import Heads, Logits, masked, upcast
from uncollapse.attention.observing.passes import ForwardPass
from uncollapse.attention.observing.spans import Span
from uncollapse.attention.sites import Site
from uncollapse.errors import ArchitectureError, ModelError

_NUMBERS = count()
_PREFIX = "uncollapse_attention_"


@dataclass(frozen=True)
class Call:
    """One call of an attention function, as transformers makes it.

    Args:
        module: the attention module.
        query: [texts, heads, width, head_dim].
        key, value: the same, with fewer heads where several query heads share one.
        mask: True where a token may look, or additive [texts or 1, 1 or heads, width, width].
        options: the other arguments.
        facts: what is known of the masks of this forward pass.
    """

    module: nn.Module
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    options: dict[str, Any]
    facts: MaskFacts = field(default_factory=MaskFacts)

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        return self.query.device

    @property
    def repeated(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Key and value for every query head."""
        groups = self.query.shape[1] // self.key.shape[1]
        return repeat_kv(self.key, groups), repeat_kv(self.value, groups)

    @property
    def scale(self) -> float:
        """What query times key is multiplied by."""
        scaling = self.options.get("scaling")
        return self.query.shape[-1] ** -0.5 if scaling is None else float(scaling)

    @property
    def is_causal(self) -> bool:
        """Whether a token may not look ahead where no mask says so; read as SDPA reads it."""
        given = self.options.get("is_causal")
        return bool(getattr(self.module, "is_causal", True) if given is None else given)


class ShowingAttention:
    """An attention function of transformers: SDPA, which also tells of every call.

    Args:
        sites: the attention modules to tell of.
        running: the forward pass.
        tell: is given the heads of one layer, for texts of one length at a time.
    """

    def __init__(self, sites: Sequence[Site], running: ForwardPass, tell: Callable[[Heads], None]) -> None:
        self.sites = {id(site.module): site for site in sites}
        self.running = running
        self.tell = tell
        self.facts = MaskFacts()
        self.spans: Sequence[Span] = ()

    def __call__(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        call = Call(module, query, key, value, attention_mask, kwargs, self.facts)
        if kwargs.get("softcap") is None:
            output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        else:
            output = capped_attention(call)
        if site := self.sites.get(id(module)):
            self._tell(site, call, output.transpose(1, 2))
        return output, None

    def _tell(self, site: Site, call: Call, output: torch.Tensor) -> None:
        layer, spans = self.running.layer(site, site.name), self.running.spans
        if spans is not self.spans:  # another forward pass
            self.spans = spans
            self.facts.forget()
        _refuse(site, call, spans[0].width)
        key, value = call.repeated
        for span in spans:
            seen = (span.cut(tensor.detach(), 2) for tensor in (call.query, key, value, output))
            shown_query, shown_key, shown_value, shown_output = seen
            logits = shown_logits(call, span, shown_query, shown_key)
            ids = self.running.ids(span)
            self.tell(Heads(layer, span.rows, span.n, logits, shown_value, shown_output, ids))


def _refuse(site: Site, call: Call, width: int) -> None:
    if call.options.get("s_aux") is not None:
        raise ArchitectureError(f"{site.name!r} shares its softmax with sinks, so its weights on tokens are no map.")
    if not call.query.shape[2] == call.key.shape[2] == width:
        raise ModelError(
            f"Expected {width} queries and keys a text in {site.name!r}, got {call.query.shape[2]} and "
            f"{call.key.shape[2]}. Earlier tokens in a cache cannot be observed: give whole texts."
        )


def shown_logits(call: Call, span: Span, query: torch.Tensor, key: torch.Tensor) -> Logits:
    """The logits of some texts, with what is added to their scores and where their tokens may look.

    Args:
        call: of the attention function.
        span: the texts.
        query, key: of these texts alone, keys repeated to the query heads.
    """
    softcap, causal = call.options.get("softcap"), call.mask is None and call.is_causal and span.n > 1
    bias, allowed = _bias(call, span), _allowed(call, span)
    return Logits(query, key, call.scale, bias, softcap, allowed=allowed, causal=causal)


def _bias(call: Call, span: Span) -> torch.Tensor | None:
    """What is added to the scores of some texts, None for nothing."""
    position: torch.Tensor | None = call.options.get("position_bias")
    position = None if position is None else upcast(span.cut(position.detach(), 2, 3))
    if call.mask is None or call.mask.dtype == torch.bool:
        return position
    cut = span.cut(call.mask.detach(), 2, 3)
    barred = masked(cut, call.mask.dtype)
    some = call.facts.ask(call.mask, ("barred", span), lambda: bool(barred.any()))
    added = upcast(cut.masked_fill(barred, -torch.inf) if some else cut)
    return added if position is None else position + added


def _allowed(call: Call, span: Span) -> torch.Tensor | None:
    """Where each token may look as a mask says, None for everywhere or where none says so."""
    if call.mask is None or call.mask.dtype != torch.bool:
        return None
    allowed = span.cut(call.mask, 2, 3)
    # Texts of one length nearly always share their mask.
    if len(allowed) > 1 and call.facts.ask(call.mask, ("shared", span), lambda: bool((allowed == allowed[:1]).all())):
        allowed = allowed[:1]
    return None if call.facts.ask(call.mask, ("everywhere", span), lambda: bool(allowed.all())) else allowed


def capped_attention(call: Call) -> torch.Tensor:
    """Attention with a soft-cap on its scores, which SDPA does not know: [texts, width, heads, value_dim]."""
    value = call.repeated[1]
    weights = whole_map(call).to(value.dtype)
    weights = nn.functional.dropout(weights, call.options.get("dropout", 0.0), call.module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous()


def whole_scores(call: Call) -> torch.Tensor:
    """The logits of a call, padding in, -inf where a token may not look: [texts, heads, width, width]."""
    texts, _, width, _ = call.query.shape
    span = Span(tuple(range(texts)), 0, width, texts, width)
    return shown_logits(call, span, call.query, call.repeated[0]).scores()


def whole_map(call: Call) -> torch.Tensor:
    """The attention map of a call, padding in: [texts, heads, width, width]."""
    scores = whole_scores(call)
    # Padding may look nowhere; -inf all along a row would give it NaN.
    return torch.softmax(scores.clamp_(min=torch.finfo(scores.dtype).min), -1)


@contextmanager
def exchanged_attention(model: PreTrainedModel, function: Callable[..., tuple[torch.Tensor, None]]) -> Iterator[None]:
    """Run a model with another attention function, and leave its configs and the registries as they were.

    Raises:
        ArchitectureError: a model whose attention function is exchanged already.
    """
    if str(model.config._attn_implementation).startswith(_PREFIX):
        raise ArchitectureError(
            f"The attention function of {type(model).__name__} is exchanged already, by a fix that is patched on or "
            "by an observation, and only one of them can stand in its place. Leave that `with` first."
        )
    # Words such as "sdpa" or "flash" in the name would have effects of their own.
    name = f"{_PREFIX}{next(_NUMBERS)}"
    before = [(config, config._attn_implementation_internal) for config in _configs(model)]
    AttentionInterface.register(name, function)
    # Without a mask function under the same name, padding would be attended to, in silence.
    AttentionMaskInterface.register(name, sdpa_mask)
    try:
        model.set_attn_implementation(name)
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation
        del AttentionInterface._global_mapping[name], AttentionMaskInterface._global_mapping[name]


def _configs(model: PreTrainedModel) -> list[PreTrainedConfig]:
    """The configs of a model and of all its parts, each once."""
    found: dict[int, PreTrainedConfig] = {}
    waiting = [module.config for module in model.modules() if isinstance(module, PreTrainedModel)]
    while waiting:
        config = waiting.pop()
        if config is not None and id(config) not in found:
            found[id(config)] = config
            waiting += [getattr(config, key, None) for key in config.sub_configs]
    return list(found.values())
