"""Scale the mean of a text's tokens and the rest after every layer while a model runs."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from uncollapse.attention.batches import real_tokens, watch
from uncollapse.attention.highpass import FeatScale
from uncollapse.attention.observing.layers import find_layers
from uncollapse.attention.observing.support import NO_STREAM, refuse_listed
from uncollapse.attention.outputs import factor_dtype
from uncollapse.attention.sites import find_sites


def put_featscale(model: PreTrainedModel, fix: FeatScale, undo: ExitStack) -> None:
    """(1 + s) DC + (1 + t) (X - DC) after every layer until `undo` closes.

    Raises:
        ArchitectureError: a model whose layers cannot be told, by name and with the reason.
    """
    sites = find_sites(model)
    refuse_listed(sites, NO_STREAM, "states")
    if fix.is_identity:
        return
    scaling = FeatureScaling(fix)
    for layer in find_layers(model, sites):
        hook = ScaleFeatures(scaling, layer.token_axis)
        undo.callback(layer.layer.register_forward_hook(hook).remove)
    undo.enter_context(watch(model, scaling.around))


class FeatureScaling:
    """Where the tokens of the batch that runs are, and how strongly to scale."""

    def __init__(self, fix: FeatScale) -> None:
        self.fix = fix
        self.real: torch.Tensor | None = None

    @contextmanager
    def around(self, arguments: dict[str, Any]) -> Iterator[None]:
        """Know the texts of one forward pass."""
        self.real = real_tokens(arguments)
        try:
            yield
        finally:
            self.real = None

    def scale(self, states: torch.Tensor) -> torch.Tensor:
        """The scaled states [texts, width, features]."""
        mean = token_mean(states, self.real)
        return (1 + self.fix.t) * states + (self.fix.s - self.fix.t) * mean


class ScaleFeatures:
    """Forward hook that scales what a layer hands on."""

    def __init__(self, scaling: FeatureScaling, token_axis: int) -> None:
        self.scaling, self.token_axis = scaling, token_axis

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        states = output if isinstance(output, torch.Tensor) else output[0]
        texts_first = states if self.token_axis == 1 else states.transpose(0, 1)
        scaled = self.scaling.scale(texts_first)
        scaled = scaled if self.token_axis == 1 else scaled.transpose(0, 1)
        return scaled if isinstance(output, torch.Tensor) else (scaled, *output[1:])


def token_mean(states: torch.Tensor, real: torch.Tensor | None) -> torch.Tensor:
    """Mean over each text's tokens, padding never: [texts, 1, features].

    Half precision is summed in float32, since the sum of a long text overflows float16.

    >>> token_mean(torch.tensor([[[1.0], [3.0], [50.0]]]), torch.tensor([[True, True, False]])).tolist()
    [[[2.0]]]
    """
    if real is None:
        return states.mean(1, keepdim=True)
    real = real.to(states.device)[:, :, None]
    total = states.masked_fill(~real, 0).sum(1, keepdim=True, dtype=factor_dtype(states.dtype))
    return (total / real.sum(1, keepdim=True).clamp(min=1)).to(states.dtype)
