"""The factors 1 / tau laid out over the entries of a tensor, for patching and folding alike."""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from uncollapse.attention.sites import BiasTable, Site, Term, class_key
from uncollapse.errors import ArchitectureError


def spread(site: Site, term: Term, row: torch.Tensor, entries: int) -> torch.Tensor:
    """The factor of every entry: its head's, or 1 for entries that stay."""
    heads = site.heads_of(term, entries).to(row.device)
    return torch.where(heads < 0, torch.ones_like(row[0]), row[heads.clamp(min=0)])


def rows(layer: nn.Module) -> int:
    """How many output entries a layer's weight has."""
    return weight_of(layer).shape[weight_axis(layer)]


def weight_of(layer: nn.Module) -> nn.Parameter:
    """The weight of a layer, typed."""
    weight = layer.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def weight_axis(layer: nn.Module) -> int:
    return 1 if isinstance(layer, (Conv1D, nn.Embedding)) else 0


def one_row(rows: list[torch.Tensor], site: Site) -> torch.Tensor:
    """The factors of a site whose layers must agree, since they share it."""
    if any(not torch.equal(rows[0], row) for row in rows):
        raise ArchitectureError(
            f"{class_key(site.module)} at {site.name!r} serves layers {site.layers[0]} to {site.layers[-1]} with the "
            "same weights, so their temperatures must be equal in the weights. Use one tau for all layers, or patch."
        )
    return rows[0]


def one_number(rows: list[torch.Tensor], site: Site, term: Term) -> float:
    row = one_row(rows, site)
    if not is_uniform(row):
        raise ArchitectureError(
            f"{class_key(site.module)} holds {term.path!r} as one number for all heads, so a tau a head cannot act. "
            "Use one tau for the model, or one a layer."
        )
    return float(row[0])


def is_uniform(row: torch.Tensor) -> bool:
    return bool((row == row[0]).all())


def bias_table(model: PreTrainedModel, bias: BiasTable) -> nn.Module | None:
    owners = (module for module in model.modules() if class_key(module) == bias.owner)
    tables = [getattr(owner, bias.path) for owner in owners if hasattr(owner, bias.path)]
    return tables[0] if tables else None


def scale_parameter(parameter: nn.Parameter, factor: torch.Tensor, axis: int, plus_one: bool = False) -> None:
    shape = [1] * parameter.ndim
    shape[axis] = -1
    # On the processor, since not every card (mps) knows double precision.
    factor, weight = factor.cpu().reshape(shape), parameter.data.cpu().double()
    scaled = (1 + weight) * factor - 1 if plus_one else weight * factor
    parameter.data.copy_(scaled.to(parameter.dtype))
