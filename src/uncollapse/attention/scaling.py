"""Scale what forms the logits by 1 / tau while a model runs."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from uncollapse.attention.factors import bias_table, is_uniform, one_number, one_row, scale_parameter, spread
from uncollapse.attention.factors import rows as entries_of
from uncollapse.attention.outputs import QueryPart, multiply, placed, query_part
from uncollapse.attention.sites import Layout, Site, Term, find_sites
from uncollapse.attention.temperature import Temperature


def scale_logits(model: PreTrainedModel, temperature: Temperature, undo: ExitStack) -> None:
    """Multiply whatever forms the logits by 1 / tau until `undo` closes.

    The outputs of the layers that form the query are multiplied, so any attention kernel works (eager, SDPA, flash,
    flex), padded or packed. Parameters that are no layer's output (sinks, relative biases of XLNet) and plain numbers
    (soft-cap) are set and restored.

    Raises:
        ArchitectureError: wrong counts, or a per-head tau where only a plain number is reached.
    """
    sites = find_sites(model)
    factors = temperature.factors(sites)
    if temperature.is_identity:
        return
    for site in sites:
        for term in site.terms:
            _patch_term(site, term, factors, undo)
    _patch_bias(model, sites, factors, undo)
    _count_calls(model, sites, undo)


def _patch_term(site: Site, term: Term, factors: dict[int, torch.Tensor], undo: ExitStack) -> None:
    target = getattr(site.module, term.path)
    rows = [factors[layer] for layer in site.layers]
    if term.layout is Layout.NUMBER:
        undo.callback(setattr, site.module, term.path, target)
        setattr(site.module, term.path, target * one_number(rows, site, term))
    elif isinstance(target, nn.Module):
        part, scales = _output_factors(site, term, rows, target)
        undo.callback(target.register_forward_hook(ScaleOutput(scales, part)).remove)
    else:
        undo.callback(target.data.copy_, target.data.clone())
        scale_parameter(target, spread(site, term, one_row(rows, site), target.shape[term.axis]), term.axis)


class ScaleOutput:
    """Forward hook that multiplies a layer's output by a factor; a shared layer has one factor a call."""

    def __init__(self, factors: Sequence[torch.Tensor], part: QueryPart | None = None) -> None:
        self.factors = list(factors) if any(not torch.equal(factors[0], f) for f in factors) else [factors[0]]
        self.part = part
        self.calls = 0

    def __call__(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        number = self.calls % len(self.factors)
        if len(self.factors) > 1:  # a number that changes would have a compiled model compiled anew, call by call
            self.calls += 1
        factor = self.factors[number]
        if (moved := placed(factor, output)) is not factor:
            self.factors[number] = moved
        return multiply(layer, inputs, output, factor=moved, part=self.part)


class ScalePositionBias:
    """Forward pre-hook that multiplies the argument `position_bias` by a factor a head."""

    def __init__(self, factor: torch.Tensor, position: int) -> None:
        self.factor = factor[:, None, None]
        self.position = position

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        if kwargs.get("position_bias") is not None:
            return args, {**kwargs, "position_bias": self._scaled(kwargs["position_bias"])}
        if len(args) > self.position and args[self.position] is not None:
            scaled = self._scaled(args[self.position])
            return (*args[: self.position], scaled, *args[self.position + 1 :]), kwargs
        return args, kwargs

    def _scaled(self, bias: torch.Tensor) -> torch.Tensor:
        self.factor = placed(self.factor, bias)
        return (bias * self.factor).to(bias.dtype)


def _output_factors(
    site: Site, term: Term, rows: list[torch.Tensor], layer: nn.Module
) -> tuple[QueryPart | None, list[torch.Tensor]]:
    """Which part of a layer's output is the query, and its factors, one tensor of one axis at least a row."""
    if term.layout is Layout.SHARED:
        axes = [1] * (-term.head_axis - 1)
        return None, [row[:1] if is_uniform(row) else row.reshape(-1, *axes) for row in rows]
    entries = entries_of(layer)
    part, factors = query_part(site, term, entries), [spread(site, term, row, entries) for row in rows]
    if part is not None:
        return part, [part.of(factor) for factor in factors]
    return None, [factor.reshape(-1, *[1] * (-term.output_axis - 1)) for factor in factors]


def _patch_bias(
    model: PreTrainedModel, sites: Sequence[Site], factors: dict[int, torch.Tensor], undo: ExitStack
) -> None:
    """Scale the shared position bias at its source by the first layer's factor, then by what each layer differs."""
    bias = sites[0].spec.bias
    if bias is None:
        return
    base = torch.ones_like(factors[0])
    if table := bias_table(model, bias):
        base = factors[0]
        undo.callback(table.register_forward_hook(ScaleOutput([base])).remove)
    previous = base
    for site in sites:
        wanted = factors[site.layers[0]]
        ratio = wanted / previous
        if not bool((ratio == 1).all()):
            hook = ScalePositionBias(ratio, bias.position)
            undo.callback(site.module.register_forward_pre_hook(hook, with_kwargs=True).remove)
        previous = wanted if bias.chained else base


def _count_calls(model: PreTrainedModel, sites: Sequence[Site], undo: ExitStack) -> None:
    """Start counting calls anew with every forward pass, so that an interrupted one leaves no trace."""
    hooks = [
        hook
        for site in sites
        if len(site.layers) > 1
        for term in site.terms
        for hook in getattr(site.module, term.path)._forward_hooks.values()
        if isinstance(hook, ScaleOutput)
    ]
    if hooks:
        embeddings: nn.Module = model.get_input_embeddings()
        undo.callback(embeddings.register_forward_pre_hook(partial(_reset, hooks)).remove)


def _reset(hooks: list[ScaleOutput], _module: nn.Module, _inputs: Any) -> None:
    for hook in hooks:
        hook.calls = 0
