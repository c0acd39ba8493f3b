"""Fold a fix into the weights for good."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from uncollapse.attention.changes import Change
from uncollapse.attention.factors import (
    bias_table,
    is_uniform,
    one_number,
    one_row,
    rows,
    scale_parameter,
    spread,
    weight_axis,
    weight_of,
)
from uncollapse.attention.modelfixes import FACTS, ModelFix
from uncollapse.attention.positions import Positions, Rope
from uncollapse.attention.postables import plan_positions
from uncollapse.attention.rotations import plan_rope
from uncollapse.attention.sites import Layout, Site, Term, backbone, class_key, find_sites
from uncollapse.attention.stamps import refuse_folded, stamp
from uncollapse.attention.temperature import Temperature
from uncollapse.errors import ArchitectureError, NotationError, UncollapseError


def fold(model: nn.Module, fix: ModelFix) -> tuple[str, ...]:
    """Put a fix into the weights: an ordinary checkpoint that computes what the patched model does, at no cost.

    In place, computed in float64, and all or nothing: a model that cannot fold is refused before anything changes.
    The config is stamped, and a model with a fix of the same name is refused.

    Args:
        model: as for `patch`.
        fix: as for `patch`; those that depend on the text that runs cannot fold.

    Returns:
        The names of the tensors and numbers that changed.

    Raises:
        ArchitectureError: weights cannot carry this fix (and why, and what would work), or it was folded before.
        NotationError: a fix of texts, vectors or scores.
    """
    inner = backbone(model)
    plan = FOLDS.get(type(fix))
    if plan is None:
        raise _no_fold(fix)
    refuse_folded(inner, fix)
    changes = plan(inner, fix)
    for change in changes:
        change.apply()
    stamp(inner.config, fix)
    return tuple(change.name for change in changes)


def _no_fold(fix: ModelFix) -> UncollapseError:
    if (facts := FACTS.get(type(fix))) is None:
        return NotationError(f"Expected a fix that acts on a model, got {fix!r}. `fold` takes none of the others.")
    return ArchitectureError(f"No weights can carry {fix}: {facts.unfoldable}.")


def _plan_temperature(model: PreTrainedModel, temperature: Temperature) -> list[Change]:
    sites = find_sites(model)
    return _plan(model, sites, temperature.factors(sites))


def _plan(model: PreTrainedModel, sites: Sequence[Site], factors: dict[int, torch.Tensor]) -> list[Change]:
    changes: dict[object, Change] = {}
    for site in sites:
        _refuse_fixed(model, site)
        row = one_row([factors[layer] for layer in site.layers], site)
        for term in site.terms:
            changes.update(_fold_term(model, site, term, row))
    _check_config(model, sites, factors)
    return [*changes.values(), *_fold_bias(model, sites, factors)]


def _fold_term(model: PreTrainedModel, site: Site, term: Term, row: torch.Tensor) -> Iterator[tuple[object, Change]]:
    name = f"{site.name}.{term.path}"
    target = getattr(site.module, term.path)
    if term.layout is Layout.NUMBER:
        factor = one_number([row], site, term)
        yield name, Change(name, partial(_set_number, model, site.module, term, target * factor))
        return
    if term.layout is Layout.SHARED and not is_uniform(row):
        raise ArchitectureError(
            f"{class_key(site.module)} normalises all heads with one weight {term.path!r}, so the weights cannot hold "
            "a tau a head. Use one a layer, or `patch`."
        )
    if isinstance(target, nn.Parameter):
        factor_row = spread(site, term, row, target.shape[term.axis])
        yield id(target), Change(name, partial(scale_parameter, target, factor_row, term.axis))
        return
    _refuse_foreign_layer(target, name)
    factor_row = row[:1] if term.layout is Layout.SHARED else spread(site, term, row, rows(target))
    yield (
        id(target.weight),
        Change(
            f"{name}.weight", partial(scale_parameter, target.weight, factor_row, weight_axis(target), term.plus_one)
        ),
    )
    if (bias := getattr(target, "bias", None)) is not None:
        yield id(bias), Change(f"{name}.bias", partial(scale_parameter, bias, factor_row, 0))


def _set_number(model: PreTrainedModel, module: nn.Module, term: Term, value: float) -> None:
    setattr(module, term.path, value)
    for config in {id(c): c for c in (model.config, getattr(module, "config", model.config))}.values():
        if hasattr(config, term.config_key):
            setattr(config, term.config_key, value)


def _refuse_fixed(model: PreTrainedModel, site: Site) -> None:
    """Refuse what no weight and no config entry can carry."""
    made_in_code = [t.path for t in site.terms if t.layout is Layout.NUMBER and not t.config_key]
    reason = site.spec.fixed or (f"{made_in_code[0]!r} is formed by its code" if made_in_code else "")
    if reason:
        raise ArchitectureError(
            f"{model.config.model_type!r} cannot carry a temperature in its weights: {reason}. "
            "`patch` works on it while a program runs."
        )


def _check_config(model: PreTrainedModel, sites: Sequence[Site], factors: dict[int, torch.Tensor]) -> None:
    """A number that config.json holds once must get one factor for all layers."""
    keys = {term.config_key for site in sites for term in site.terms if term.layout is Layout.NUMBER}
    if keys and any(not torch.equal(factors[0], row) for row in factors.values()):
        raise ArchitectureError(
            f"{model.config.model_type!r} has one {keys.pop()!r} for all layers in its config, so their "
            "temperatures must be equal in the weights. Use one tau for all layers, or `patch`."
        )


def _fold_bias(model: PreTrainedModel, sites: Sequence[Site], factors: dict[int, torch.Tensor]) -> Iterator[Change]:
    bias = sites[0].spec.bias
    if bias is None or (table := bias_table(model, bias)) is None:
        return
    if any(not torch.equal(factors[0], row) for row in factors.values()):
        raise ArchitectureError(
            f"{model.config.model_type!r} has one table {bias.path!r} of position biases for all its layers, so their "
            "temperatures must be equal in the weights. Use one tau for all layers, `patch`, or convert the model to "
            "an architecture with a table a layer (UMT5)."
        )
    yield Change(bias.path, partial(scale_parameter, weight_of(table), factors[0], 1))


def _refuse_foreign_layer(layer: nn.Module, name: str) -> None:
    """Refuse adapters and quantised layers: scaling their base weight alone would be wrong."""
    plain = type(layer) in {nn.Linear, nn.Conv1d, nn.Embedding, Conv1D} or type(layer).__name__.endswith("Norm")
    weight = getattr(layer, "weight", None)
    if not plain or not isinstance(weight, torch.Tensor) or not torch.is_floating_point(weight):
        raise ArchitectureError(
            f"Expected an ordinary layer at {name!r}, got {type(layer).__name__} with "
            f"{str(getattr(weight, 'dtype', 'no')).removeprefix('torch.')} weights. Merge adapters first "
            "(merge_and_unload), and fold before quantising."
        )


FOLDS: dict[type[ModelFix], Callable[[PreTrainedModel, Any], list[Change]]] = {
    Temperature: _plan_temperature,
    Positions: plan_positions,
    Rope: plan_rope,
}
"""Type of a fix to what plans its fold, or refuses the model."""
