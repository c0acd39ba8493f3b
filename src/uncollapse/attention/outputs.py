"""Multiply what a layer gives, or the query's part of it, by factors of full precision."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from uncollapse.attention.sites import Layout, Site, Term


@dataclass(frozen=True)
class QueryPart:
    """The query's entries of a fused output, which lie first in each of some blocks along the last axis."""

    blocks: int
    kept: int

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """A view of these entries alone [..., blocks, kept].

        >>> QueryPart(2, 1).of(torch.arange(6)).tolist()
        [[0], [3]]
        """
        return torch.unflatten(tensor, -1, (self.blocks, -1))[..., : self.kept]


def query_part(site: Site, term: Term, entries: int) -> QueryPart | None:
    """Where the query lies in an output of so many entries; None where there is nothing else in it."""
    if term.layout is Layout.FIRST:
        return QueryPart(1, site.heads * site.head_dim)
    if term.layout is Layout.INTERLEAVED:
        return QueryPart(site.heads, entries // site.heads // 3)
    return None


def factor_dtype(dtype: torch.dtype) -> torch.dtype:
    """The precision of factors for a tensor: half precision would round 1 / tau itself, by up to 0.4 %."""
    return torch.float32 if dtype in {torch.float16, torch.bfloat16} else dtype


def placed(factor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A factor where a tensor is, in its precision; the factor itself if it is there already."""
    if factor.device == like.device and factor.dtype == factor_dtype(like.dtype):
        return factor
    # A factor made in inference mode could not be used in a training step later.
    with torch.inference_mode(False):
        return factor.to(device=like.device, dtype=factor_dtype(like.dtype))


def multiply(
    layer: nn.Module, inputs: Any, output: torch.Tensor, *, factor: torch.Tensor, part: QueryPart | None
) -> torch.Tensor:
    """A layer's output, its query multiplied by a factor: in place, unless somebody else may hold the tensor.

    Args:
        layer, inputs, output: what a forward hook is given.
        factor: for `part.of(output)`, of one axis at least, or a tensor would take its precision for that of a number.
        part: what is multiplied; None for everything.
    """
    # A compiler makes one of both by itself, and cannot follow a look at other modules and at memory.
    held = torch.compiler.is_compiling() or _is_watched(layer) or _is_given(output, inputs)
    if held or (torch.is_grad_enabled() and output.requires_grad):
        output = output.clone()
    (output if part is None else part.of(output)).mul_(factor)
    return output


def _is_watched(layer: nn.Module) -> bool:
    """Whether hooks beside the one that asks may have seen the tensor that a layer gives.

    Those are hooks on every module, the layer's own, and those on its children, whose output a wrapper passes on.
    """
    if _global_forward_hooks or _global_forward_pre_hooks or len(layer._forward_hooks) > 1:
        return True
    children = (module for module in layer.modules() if module is not layer)
    return any(child._forward_hooks or child._forward_pre_hooks for child in children)


def _is_given(output: torch.Tensor, inputs: Any) -> bool:
    """Whether a layer may give memory of what it was given, such as a view of it; what came by name is unknown."""
    given = [_memory(one) for one in inputs if isinstance(one, torch.Tensor)]
    return not given or not {None, _memory(output)}.isdisjoint(given)


def _memory(tensor: torch.Tensor) -> int | None:
    """Where the memory of a tensor begins; None where it has none that can be told."""
    try:
        return tensor.untyped_storage().data_ptr() or None
    except RuntimeError:  # wraps another tensor
        return None
