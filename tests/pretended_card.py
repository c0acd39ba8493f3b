"""A graphics card that is only pretended: tensors say `card:0`, and their numbers lie on the processor.

Mixing devices raises, as on a real one; whatever makes the processor wait is counted; and double precision may be
refused, as by mps. It names itself the accelerator of the whole process, so it is for processes of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

WAITS: list[str] = []
"""Operations for which the processor waits for the card, or copies to it, which waits too."""

_ASKING = {"aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::masked_select"}
_COPYING = {"aten::_to_copy", "aten::copy_"}


class Card(torch.Tensor):
    """A tensor that says it is on the card."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    double = True

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "Card":
        if not cls.double and raw.dtype == torch.float64:
            raise TypeError("This card knows no float64.")
        keys = {"strides": raw.stride(), "storage_offset": raw.storage_offset(), "dtype": raw.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, raw.shape, device="card:0", **keys)
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """What makes tensors from nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What is decided by the device before a dispatch sees it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is nn.functional.scaled_dot_product_attention and isinstance(args[0], Card):
            assert all(isinstance(x, Card) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor))
            return Card(func(*tree_map(_raw, args), **tree_map(_raw, kwargs)))
        if func is torch.tensor and _is_card(kwargs.get("device")):
            WAITS.append("torch.tensor on the card")
            return Card(func(*args, **{**kwargs, "device": "cpu"}))
        if func in {torch.Tensor.__getitem__, torch.Tensor.__setitem__} and isinstance(args[0], Card):
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            places = tuple(torch.tensor(place) if isinstance(place, list) else place for place in places)
            args = (args[0], places, *args[2:])
        return func(*args, **kwargs)


def can_pretend() -> bool:
    """Whether this torch has the private function that makes a backend of Python code."""
    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


def set_up() -> None:
    """Let torch know of the card, in this process and for good."""
    backend_registration._setup_privateuseone_for_python_backend("card")


@contextmanager
def card(*, double: bool = True) -> Iterator[None]:
    """Run with the card; without `double` it refuses double precision."""
    Card.double = double
    with torch.no_grad(), _Functions(), _Factories():  # wrapped tensors cannot be inference tensors
        yield
    Card.double = True


def to_card(model: nn.Module) -> nn.Module:
    """Put a model's weights and buffers there."""
    for module in model.modules():
        for key, held in module._parameters.items():
            if held is not None:
                module._parameters[key] = nn.Parameter(Card(held.detach().clone()), requires_grad=False)
        for key, held in module._buffers.items():
            if held is not None:
                module._buffers[key] = Card(held.detach().clone())
    return model


def _raw(x: Any) -> Any:
    return x.raw if isinstance(x, Card) else x


def _is_card(device: Any) -> bool:
    return device is not None and torch.device(device).type == "card"


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name, tensors = func._schema.name, [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    here = any(isinstance(x, Card) for x in tensors)
    _refuse_mixed(name, args, tensors)
    there = _is_card(kwargs["device"]) if kwargs.get("device") is not None else here
    there = isinstance(args[0], Card) if name == "aten::copy_" else there
    given = isinstance(args[1], Card) if name == "aten::copy_" else here
    if (name in _ASKING and here) or (name in _COPYING and given != there):
        WAITS.append(name)
    kwargs = {key: "cpu" if key == "device" and _is_card(value) else value for key, value in kwargs.items()}
    out = func(*tree_map(_raw, args), **tree_map(_raw, kwargs))
    written = _written(func, args, kwargs)

    def wrapped(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        return written[id(x)] if id(x) in written else Card(x) if there else x

    return tree_map(wrapped, out)


def _refuse_mixed(name: str, args: Any, tensors: list[torch.Tensor]) -> None:
    there = [isinstance(x, Card) for x in tensors]
    others = any(x.ndim and not on_card for x, on_card in zip(tensors, there, strict=True))
    indexing = name.startswith(("aten::index", "aten::_index_put")) and isinstance(args[0], Card)
    if any(there) and others and name not in _COPYING and not indexing:
        raise RuntimeError(f"Expected all tensors on one device, but {name} got card:0 and cpu.")


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> dict[int, Any]:
    """What an operation writes over and must give back as the same object."""
    written = {}
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            written[id(_raw(given))] = given
    return written
