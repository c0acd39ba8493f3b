"""Slow down a model's rotary positions."""

import copy
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from uncollapse.attention.changes import Change
from uncollapse.attention.positions import Rope
from uncollapse.errors import ArchitectureError

LOCAL = {"sliding_attention"}
"""Layer types whose rotations reach no farther than a window."""


@dataclass(frozen=True)
class Slowed:
    """Slower rotations, not yet in place."""

    model: PreTrainedModel
    rotary: dict[str, nn.Module]
    rope_parameters: dict[str, Any]
    max_position_embeddings: int

    def put(self) -> None:
        """Put them into the model."""
        for path, module in self.rotary.items():
            _replace(self.model, path, module)
        self.model.config.rope_parameters = self.rope_parameters
        self.model.config.max_position_embeddings = self.max_position_embeddings

    def put_for_now(self, undo: ExitStack) -> None:
        """Put them into the model until `undo` closes."""
        config = self.model.config
        for path in self.rotary:
            undo.callback(_replace, self.model, path, self.model.get_submodule(path))
        for key in ("rope_parameters", "max_position_embeddings"):
            undo.callback(setattr, config, key, getattr(config, key))
        self.put()


def put_rope(model: PreTrainedModel, fix: Rope, undo: ExitStack) -> None:
    """Slow the rotations down until `undo` closes.

    Raises:
        ArchitectureError: no rotary positions that are known, or such as are scaled already.
    """
    slowed = slow(model, fix)
    if not fix.is_identity:
        slowed.put_for_now(undo)


def plan_rope(model: PreTrainedModel, fix: Rope) -> list[Change]:
    """What slows the rotations down for good."""
    slowed = slow(model, fix)
    return [] if fix.is_identity else [Change("config.rope_parameters", partial(slowed.put))]


def slow(model: PreTrainedModel, fix: Rope) -> Slowed:
    """The slower rotations.

    Raises:
        ArchitectureError: no rotary positions that are known, or such as are scaled already.
    """
    rotary = find_rotary(model)
    config = copy.deepcopy(model.config)
    config.rope_parameters = _slowed_parameters(model.config, fix, next(iter(rotary.values())))
    config.max_position_embeddings = round(fix.factor * model.config.max_position_embeddings)
    _refuse_invalid(config, fix)
    made = {path: _made_like(module, config) for path, module in rotary.items()}
    return Slowed(model, made, config.rope_parameters, config.max_position_embeddings)


def find_rotary(model: PreTrainedModel) -> dict[str, nn.Module]:
    """The modules that make cos and sin, by path.

    Raises:
        ArchitectureError: there are none, or they are not made of the config alone, or scaled already.
    """
    found = {
        name: module
        for name, module in model.named_modules()
        if type(module).__name__.endswith("RotaryEmbedding") and hasattr(module, "rope_type")
    }
    kind = str(model.config.model_type)
    known = all(getattr(model.config, key, None) for key in ("rope_parameters", "max_position_embeddings"))
    if not found or not known:
        raise ArchitectureError(
            f"Expected rotary positions whose parameters stand in the config, got {kind!r}, which has none. A table "
            "of absolute positions takes positions(...); relative biases have no limit."
        )
    for parameters in _by_layer_type(model.config).values():
        if parameters.get("rope_type", "default") != "default":
            raise ArchitectureError(
                f"The rotary positions of {kind!r} are scaled already ({parameters['rope_type']}), and scaling them "
                "twice was never trained. Start from a model whose rope_type is 'default'."
            )
    for module in found.values():
        _refuse_foreign(module, model.config)
    return found


def _refuse_invalid(config: PreTrainedConfig, fix: Rope) -> None:
    """Refuse what the architecture's own check of its config would refuse when it is saved."""
    try:
        config.validate()
    except Exception as error:  # the validators of each architecture raise what they like
        raise ArchitectureError(f"The config of {config.model_type!r} admits no {fix}: {error}") from error


def _refuse_foreign(module: nn.Module, config: PreTrainedConfig) -> None:
    own, made = dict(module.named_buffers()), dict(_made_like(module, config).named_buffers())
    if own.keys() != made.keys() or not all(torch.equal(own[name], made[name]) for name in own):
        raise ArchitectureError(
            f"The rotations in {type(module).__name__} are not those of the config, so they cannot be made anew. "
            "Start from the model as it was published."
        )


def _made_like(module: nn.Module, config: PreTrainedConfig) -> nn.Module:
    made: nn.Module = type(module)(config)
    buffer = next(module.buffers())
    return made.to(device=buffer.device, dtype=buffer.dtype).train(module.training)


def _by_layer_type(config: PreTrainedConfig) -> dict[str, dict[str, Any]]:
    """The rotary parameters of each kind of layer, "" where all have the same."""
    parameters = config.rope_parameters
    if any(isinstance(value, dict) for value in parameters.values()):
        return {name: value for name, value in parameters.items() if isinstance(value, dict)}
    return {"": parameters}


def _slowed_parameters(config: PreTrainedConfig, fix: Rope, rotary: nn.Module) -> dict[str, Any]:
    made = {
        name: parameters if name in LOCAL else _one_slowed(parameters, fix, config, _width(rotary, name))
        for name, parameters in _by_layer_type(config).items()
    }
    return made.get("", {**config.rope_parameters, **made})


def _width(rotary: nn.Module, layer_type: str) -> int:
    """Rotated width of a head."""
    buffers = dict(rotary.named_buffers())
    return 2 * len(buffers[f"{layer_type}_inv_freq" if layer_type else "inv_freq"])


def _one_slowed(parameters: dict[str, Any], fix: Rope, config: PreTrainedConfig, width: int) -> dict[str, Any]:
    if fix.type == "ntk":
        return {**parameters, "rope_theta": parameters["rope_theta"] * fix.factor ** (width / (width - 2))}
    slowed = {**parameters, "rope_type": fix.type, "factor": fix.factor}
    if fix.type == "yarn":
        slowed["original_max_position_embeddings"] = config.max_position_embeddings
    return slowed


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    model.get_submodule(parent)._modules[name] = module
