"""Find the layers of a model and the residual stream through each, on a small batch."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NoReturn

import torch
from torch import nn
from transformers import PreTrainedModel

from uncollapse.attention.observing.flow import Flow, Place, Sight, find_flow, sight
from uncollapse.attention.observing.states import LayerFlow, Parts, hook_module
from uncollapse.attention.probes import probe_batch, probe_states
from uncollapse.attention.sites import Site, class_key
from uncollapse.errors import ArchitectureError

_PROBE = (7, 7)
"""Token counts of the batch on which a stream is looked for: no padding, and not as many texts as tokens."""


class Tracer:
    """Hooks of one layer: see every tensor as wide as the stream, and find the flow when the layer is done.

    After a run: `found`, one flow or reason for every call; none if the layer was never called as a module.
    """

    def __init__(self, layer: nn.Module, site: str) -> None:
        self.layer = layer
        self.site = site
        self.kinds = {name: type(module).__name__ for name, module in layer.named_modules()}
        self.found: list[Flow | str] = []
        self.token_axis = 1
        self.shape: torch.Size | None = None
        self.sights: list[Sight] = []
        self.calls: Counter[tuple[str, str]] = Counter()

    def attach(self, undo: ExitStack) -> None:
        """Hook the layer and all modules in it until `undo` closes."""
        for name, module in self.layer.named_modules():
            hook_module(module, name, "input", self._collect, undo)
            hook_module(module, name, "output", self._collect, undo)

    def _collect(self, name: str, side: str, parts: Parts) -> None:
        if not name and side == "input":
            self._start(parts)
        call = self.calls[name, side]
        self.calls[name, side] += 1
        for key, tensor in parts.items():
            if self._is_wide(tensor):
                self.sights.append(sight(Place(name, side, key, call), self.kinds[name], tensor))
        if not name and side == "output":
            self.found.append(self._find())
            self.sights.clear()

    def _start(self, parts: Parts) -> None:
        self.sights.clear()
        self.calls.clear()
        texts, tokens = len(_PROBE), max(_PROBE)
        for tensor in parts.values():
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.ndim == 3:
                self.shape = tensor.shape
                self.token_axis = 0 if tuple(tensor.shape[:2]) == (tokens, texts) else 1
                return

    def _is_wide(self, tensor: Any) -> bool:
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or self.shape is None:
            return False
        return tensor.numel() == self.shape.numel() and tensor.shape[-1] == self.shape[-1]

    def _find(self) -> Flow | str:
        last = [seen for seen in self.sights if seen.place.module == "" and seen.place.side == "output"]
        first = [seen for seen in self.sights if seen.place.module == "" and seen.place.side == "input"]
        if not first or not last:
            return "it takes or gives no tensor that could be the stream"
        inner = [seen for seen in self.sights if seen.place.module]
        return find_flow([first[0], *inner, last[0]], self.site)


def find_layers(model: PreTrainedModel, sites: Sequence[Site]) -> tuple[LayerFlow, ...]:
    """The layers of a model and where the stages of their residual stream are seen.

    Raises:
        ArchitectureError: a stream that cannot be followed, with the reason.
    """
    tracers = {site.name: _tracer(model, site, sites) for site in sites}
    with ExitStack() as undo:
        for tracer in tracers.values():
            tracer.attach(undo)
        probe_states(model, probe_batch(model, _PROBE))
    return tuple(_judge(model, site, tracers[site.name]) for site in sites)


def _tracer(model: PreTrainedModel, site: Site, sites: Sequence[Site]) -> Tracer:
    name = _layer_name(model, site, sites)
    if name == site.name:
        _refuse(model, site, "the parts of its layers lie in separate lists, so that no module is a layer")
    return Tracer(model.get_submodule(name), site.name.removeprefix(f"{name}."))


def _layer_name(model: PreTrainedModel, site: Site, sites: Sequence[Site]) -> str:
    """The outermost entry of a list of modules that contains this attention and no other."""
    parts = site.name.split(".")
    for end in range(1, len(parts) + 1):
        name, parent = ".".join(parts[:end]), ".".join(parts[: end - 1])
        listed = isinstance(model.get_submodule(parent), (nn.ModuleList, nn.Sequential))
        if listed and sum(f"{other.name}.".startswith(f"{name}.") for other in sites) == 1:
            return name
    return site.name


def _judge(model: PreTrainedModel, site: Site, tracer: Tracer) -> LayerFlow:
    if not tracer.found:
        _refuse(model, site, f"{type(tracer.layer).__name__} is run past the hooks of a module")
    flows: list[Flow] = []
    for found in tracer.found:
        if isinstance(found, str):
            _refuse(model, site, found)
        flows.append(found)
    if not all(flow.is_as(flows[0]) for flow in flows):
        _refuse(model, site, "its layers share one module and differ in how they use it")
    return LayerFlow(site, tracer.layer, flows[0], tracer.token_axis)


def _refuse(model: PreTrainedModel, site: Site, reason: str) -> NoReturn:
    raise ArchitectureError(
        f"Cannot follow the residual stream of {type(model).__name__} through the layer of {site.name!r} "
        f"({class_key(site.module)}): {reason}. Its heads may be observed: use on_states=None."
    )
