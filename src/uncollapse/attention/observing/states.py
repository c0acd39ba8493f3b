"""What is seen of one layer's residual stream, stage by stage."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from uncollapse.attention.observing.flow import Flow
from uncollapse.attention.observing.passes import ForwardPass
from uncollapse.attention.sites import Site

Parts = dict[Any, Any]
"""Arguments or outputs of a module, by place or name; None is an output that is one tensor."""


@dataclass(frozen=True, eq=False)
class States:
    """The residual stream through one layer, for texts of equal length, without padding.

    The stages, in the order of the flow; each kind of layer has those that it really forms:

    - "input": the stream that enters the layer
    - "attention": what the attention branch adds (after its own norm, where it has one, and its factor)
    - "after attention": the stream after adding it; absent where attention and MLP are added at once
    - "attention norm": only where the sum is normalised (post-norm)
    - "mlp": what the MLP branch adds
    - "after mlp": the stream after adding it
    - "mlp norm": only where the sum is normalised (post-norm)

    The last stage is what the layer hands on.

    Args:
        layer: which attention layer, counted as in `Heads`.
        rows: which texts of the batch.
        n: tokens of each text.
        stages: name of a stage to the states [texts, n, dim].
    """

    layer: int
    rows: tuple[int, ...]
    n: int
    stages: dict[str, torch.Tensor]


@dataclass(frozen=True)
class LayerFlow:
    """One layer and its flow.

    Args:
        site: the attention it contains.
        layer: the layer module.
        flow: where its stages are seen.
        token_axis: axis of the stream that counts tokens, 0 or 1; the other one counts texts.
    """

    site: Site
    layer: nn.Module
    flow: Flow
    token_axis: int


class Follower:
    """Hooks of one layer: collect the stages while it runs, then tell.

    Args:
        layer: the layer and where its stages are seen.
        running: the forward pass.
        tell: is given the states of the layer, for texts of one length at a time.
    """

    def __init__(self, layer: LayerFlow, running: ForwardPass, tell: Callable[[States], None]) -> None:
        self.layer = layer
        self.running = running
        self.tell = tell
        self.calls: Counter[tuple[str, str]] = Counter()
        self.seen: dict[str, torch.Tensor] = {}

    def attach(self, undo: ExitStack) -> None:
        """Hook the layer and the modules where a stage is seen until `undo` closes."""
        undo.callback(self.seen.clear)
        undo.callback(self.layer.layer.register_forward_pre_hook(self._start).remove)
        for name, side in dict.fromkeys((place.module, place.side) for _, place, _ in self.layer.flow.stages):
            hook_module(self.layer.layer.get_submodule(name), name, side, self._collect, undo)
        undo.callback(self.layer.layer.register_forward_hook(self._finish).remove)

    def _start(self, _module: nn.Module, _inputs: Any) -> None:
        self.seen.clear()
        self.calls.clear()

    def _collect(self, name: str, side: str, parts: Parts) -> None:
        call = self.calls[name, side]
        self.calls[name, side] += 1
        for stage, place, factor in self.layer.flow.stages:
            if (place.module, place.side, place.call) == (name, side, call):
                tensor = parts[place.key].detach()
                self.seen[stage] = tensor if factor == 1.0 else tensor * factor

    def _finish(self, _module: nn.Module, _inputs: Any, _output: Any) -> None:
        layer = self.running.layer(self.layer.site, f"states of {self.layer.site.name}")
        stages = {name: self._texts_first(self.seen[name]) for name, _, _ in self.layer.flow.stages}
        self.seen.clear()
        for span in self.running.spans:
            cut = {name: span.cut(states, 1) for name, states in stages.items()}
            self.tell(States(layer, span.rows, span.n, cut))

    def _texts_first(self, states: torch.Tensor) -> torch.Tensor:
        # Layers of experts hand on tokens without their texts.
        states = states.reshape(self.seen["input"].shape)
        return states.transpose(0, 1) if self.layer.token_axis == 0 else states


def hook_module(
    module: nn.Module,
    name: str,
    side: str,
    collect: Callable[[str, str, Parts], None],
    undo: ExitStack,
) -> None:
    """Give the arguments or the outputs of a module to `collect`, as place to value, until `undo` closes."""
    if side == "input":
        before = partial(_collect_input, name, collect)
        undo.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    else:
        undo.callback(module.register_forward_hook(partial(_collect_output, name, collect)).remove)


def _collect_input(name: str, collect: Any, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    parts: Parts = {**dict(enumerate(args)), **kwargs}
    collect(name, "input", parts)


def _collect_output(name: str, collect: Any, _module: nn.Module, _inputs: Any, output: Any) -> None:
    collect(name, "output", parts_of(output))


def parts_of(output: Any) -> Parts:
    """The parts of what a module gives, by place or name; None is the whole."""
    if isinstance(output, dict):
        return dict(output)
    return dict(enumerate(output)) if isinstance(output, (tuple, list)) else {None: output}


def follow(layers: Sequence[LayerFlow], running: ForwardPass, tell: Callable[[States], None], undo: ExitStack) -> None:
    """Follow the residual stream of every layer until `undo` closes."""
    for layer in layers:
        Follower(layer, running, tell).attach(undo)
