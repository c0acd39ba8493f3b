"""Attention caught at its softmax, for the models whose attention cannot be exchanged."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from uncollapse.attention.observing.heads import Heads, Logits, without_masked
from uncollapse.attention.observing.passes import ForwardPass
from uncollapse.attention.sites import Site
from uncollapse.errors import ArchitectureError

_SOFTMAX = {torch.softmax, torch.Tensor.softmax, nn.functional.softmax}
_PRODUCTS = {torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.Tensor.bmm}


class CaughtSoftmax(TorchFunctionMode):
    """Catch the softmax over keys and the product with the values that follows it.

    From the softmax on, whatever keeps the number of entries and of keys (a cast, a view, dropout) is the same map.

    After a run: `scores` [texts, heads, n, n], `value` and `output` [texts, heads, n, value_dim].
    """

    def __init__(self) -> None:
        super().__init__()
        self.scores: torch.Tensor | None = None
        self.value: torch.Tensor | None = None
        self.output: torch.Tensor | None = None
        self.maps: list[torch.Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in _SOFTMAX and self._is_attention(args, kwargs):
            self.scores, self.maps = args[0], [result]
        elif self.maps and self.output is None:
            self._follow(func, args, result)
        return result

    def _is_attention(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        scores = args[0]
        return scores.ndim == 4 and axis in {-1, 3} and scores.shape[-1] == scores.shape[-2]

    def _follow(self, func: Callable[..., Any], args: tuple[Any, ...], result: Any) -> None:
        if func is torch.einsum and self._is_map(args[1]):
            self.value, self.output = _by_letters(args[0], args[2], result)
        elif func in _PRODUCTS and self._is_map(args[0]):
            heads = self.maps[0].shape[:2]
            self.value, self.output = (part.reshape(*heads, *part.shape[-2:]) for part in (args[1], result))
        elif args and self._is_map(args[0]) and isinstance(result, torch.Tensor):
            known = self.maps[0]
            if result.numel() == known.numel() and result.shape[-1] == known.shape[-1]:
                self.maps.append(result)

    def _is_map(self, tensor: Any) -> bool:
        return any(tensor is known for known in self.maps)


def _by_letters(equation: str, value: torch.Tensor, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and output of a product in letters, as [texts, heads, n, value_dim].

    >>> value, output = _by_letters("bnij,jbnd->ibnd", torch.zeros(5, 2, 3, 4), torch.zeros(5, 2, 3, 4))
    >>> tuple(value.shape), tuple(output.shape)
    ((2, 3, 5, 4), (2, 3, 5, 4))
    """
    inputs, result = equation.replace(" ", "").split("->")
    weights, values = inputs.split(",")
    texts, heads, query, key = tuple(weights)
    width = (set(result) - set(weights)).pop()
    value_axes = [values.index(letter) for letter in (texts, heads, key, width)]
    return value.permute(value_axes), output.permute([result.index(letter) for letter in (texts, heads, query, width)])


class Catcher:
    """Hooks of one attention module: catch its softmax while it runs, then tell.

    Args:
        site: the attention module.
        running: the forward pass.
        tell: is given the heads of one layer, for texts of one length at a time.
    """

    def __init__(self, site: Site, running: ForwardPass, tell: Callable[[Heads], None]) -> None:
        self.site = site
        self.running = running
        self.tell = tell
        self.caught: CaughtSoftmax | None = None
        self.catching = ExitStack()

    def attach(self, undo: ExitStack) -> None:
        """Hook the module until `undo` closes."""
        module = self.site.module
        undo.callback(module.register_forward_pre_hook(self._enter).remove)
        # Also after an error inside the module, or the softmax of whoever runs next would be caught.
        undo.callback(module.register_forward_hook(self._leave, always_call=True).remove)

    def _enter(self, _module: nn.Module, _inputs: Any) -> None:
        self.caught = self.catching.enter_context(CaughtSoftmax())

    def _leave(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        caught, self.caught = self.caught, None
        self.catching.close()
        if caught is not None and output is not None:
            self._tell(caught)

    def _tell(self, caught: CaughtSoftmax) -> None:
        scores, value, output = caught.scores, caught.value, caught.output
        if scores is None or value is None or output is None:
            raise ArchitectureError(
                f"No softmax over keys followed by a product with the values was seen in {self.site.name!r} "
                f"({type(self.site.module).__name__}), so its heads cannot be observed; its states may be: "
                "observe with on_heads=None."
            )
        layer = self.running.layer(self.site, self.site.name)
        for span in self.running.spans:
            formed = without_masked(span.cut(scores.detach(), 2, 3), value.dtype)
            seen, put_out = (span.cut(part.detach(), 2) for part in (value, output))
            ids = self.running.ids(span)
            self.tell(Heads(layer, span.rows, span.n, Logits(formed=formed), seen, put_out, ids))


def catch(sites: Sequence[Site], running: ForwardPass, tell: Callable[[Heads], None], undo: ExitStack) -> None:
    """Catch the softmax of every site until `undo` closes."""
    for site in sites:
        Catcher(site, running, tell).attach(undo)
