"""Multiply what a layer gives, or the query's part of it, by factors of full precision."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

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
    held = len(layer._forward_hooks) > 1 or any(output is given for given in inputs)
    if held or (torch.is_grad_enabled() and output.requires_grad):
        output = output.clone()
    (output if part is None else part.of(output)).mul_(factor)
    return output
