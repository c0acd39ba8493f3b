"""How a model makes one vector of the states of its tokens, so that any layer can be pooled the same way."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import nn

Pool = Callable[[torch.Tensor], torch.Tensor]
"""From states [texts, n, d] of texts without padding to one vector a text."""

POOLS: Mapping[str, Pool] = MappingProxyType(
    {
        "mean": lambda states: states.mean(-2),
        "cls": lambda states: states[..., 0, :],
        "lasttoken": lambda states: states[..., -1, :],
        "max": lambda states: states.amax(-2),
    }
)
"""By the name that sentence-transformers gives them."""


def pooling_mode(model: nn.Module) -> str:
    """The name of the model's pooling; "mean" where it has none of the table, such as a weighted one."""
    named = (getattr(module, "pooling_mode", None) for module in model.children())
    found = next((mode for mode in named if mode is not None), "mean")
    return found if isinstance(found, str) and found in POOLS else "mean"


def find_pooling(model: nn.Module) -> Pool:
    """The model's own pooling of token states."""
    return POOLS[pooling_mode(model)]
