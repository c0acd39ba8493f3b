"""What decides a model's vectors, read from the model in memory: its folder may say something else by now."""

import hashlib
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from uncollapse.attention.patching import MARK
from uncollapse.errors import ModelError

_KNOWN: WeakKeyDictionary[nn.Module, tuple[list[object], str]] = WeakKeyDictionary()

# Attributes of modules that change no vector, though they differ between machines and runs.
_IDLE = ("training", "name_or_path", "trust_remote_code", "gradient_checkpointing")

# Their own hooks collect outputs and place weights; a hook from anywhere else may change what a vector is.
_TRUSTED = ("torch", "transformers", "sentence_transformers", "accelerate")


def tensor_digest(model: nn.Module) -> str:
    """A digest of all parameters and buffers: names, shapes, types and bytes.

    It is made once a model, and again when the tensors' versions, addresses or sums say that one was changed.
    """
    seen = [(name, *_watch(tensor)) for name, tensor in _tensors(model)]
    known = _KNOWN.get(model)
    if known is None or known[0] != seen:
        known = list(seen), _read_all(model)
        _KNOWN[model] = known
    return known[1]


def settings_digest(model: nn.Module) -> str:
    """A digest of the classes of all modules, the attributes that hold values, and the configs.

    Values are plain ones (`scaling`, `truncate_dim`), tensors, arrays, and number types, alone or in containers.
    """
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        settings = {key: value for key, value in vars(module).items() if _is_setting(key)}
        plain = {key: value for key, value in settings.items() if _is_plain(value)}
        digest.update(json.dumps([name, type(module).__qualname__, plain], sort_keys=True).encode())
        if numeric := {key: _spell(value) for key, value in settings.items() if _holds_numbers(value)}:
            digest.update(json.dumps(numeric, sort_keys=True).encode())
    for config in _configs(model):
        digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:32]


def refuse_hooks(model: nn.Module, *, kept: bool) -> None:
    """Raise if something else than the model and its fix would decide its vectors.

    Args:
        model: as the user gave it, before a fix is put on.
        kept: whether its vectors are to be kept on disk.

    Raises:
        ModelError: a patch of this package is on, or, where vectors are kept, a hook of unknown effect.
    """
    for name, hook in _hooks(model):
        owner = _owner(hook)
        if owner == "uncollapse":
            raise ModelError(
                f"Expected the model as it came, got one with a patch on its module {name!r}: its vectors would be "
                "taken for the stock model's. Leave the `with patch(...)` and pass the fix instead: "
                "evaluate(encoder, tasks, [fix])."
            )
        if kept and owner not in _TRUSTED:
            raise ModelError(
                f"Expected a model whose vectors its weights decide, got one with a hook of {owner or 'unknown'!r} on "
                f"its module {name!r}, and what that does to vectors cannot be told from outside. Remove the hook, or "
                "keep no vectors: cache=None, --no-cache."
            )


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return chain(model.named_parameters(), model.named_buffers())


def _read_all(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in _tensors(model):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(_bytes(tensor).data)
    return digest.hexdigest()[:32]


def _watch(tensor: torch.Tensor) -> tuple[object, ...]:
    """What changes when a tensor does: the version misses writes to `.data`, the sum values that swap places."""
    raw = _bytes(tensor)
    whole = len(raw) // 8 * 8
    version = -1 if tensor.is_inference() else tensor._version
    sums = int(raw[:whole].view(np.uint64).sum()), raw[whole:].tobytes()
    return tensor.dtype, tuple(tensor.shape), tensor.data_ptr(), version, sums


def _bytes(tensor: torch.Tensor) -> npt.NDArray[np.uint8]:
    raw: npt.NDArray[np.uint8] = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return raw


def _is_setting(key: str) -> bool:
    return not key.startswith("_") and key not in _IDLE


def _holds_numbers(value: object) -> bool:
    """Whether a value is or holds a tensor, an array, or a number or type of theirs."""
    if isinstance(value, list | tuple | dict):
        return any(map(_holds_numbers, value.values() if isinstance(value, dict) else value))
    return isinstance(value, torch.Tensor | np.ndarray | np.generic | torch.dtype | np.dtype) and not _is_plain(value)


def _spell(value: object) -> object:
    """A value as JSON can hold it: numbers by their types and bytes, other things by their class alone."""
    if isinstance(value, list | tuple | dict):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [type(value).__name__, [(repr(key), _spell(part)) for key, part in pairs]]
    if isinstance(value, torch.Tensor):
        return _spell_tensor(value)
    if isinstance(value, np.ndarray | np.generic):
        held = repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes()
        return ["numpy", str(value.dtype), list(value.shape), hashlib.sha256(held).hexdigest()]
    said = _is_plain(value) or isinstance(value, torch.dtype | np.dtype)
    return [repr(value) if said else type(value).__qualname__]


def _spell_tensor(tensor: torch.Tensor) -> object:
    held = b"" if tensor.is_meta else _bytes(tensor if tensor.layout == torch.strided else tensor.to_dense()).tobytes()
    return ["torch", str(tensor.dtype), list(tensor.shape), hashlib.sha256(held).hexdigest()]


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)


def _configs(model: nn.Module) -> Iterator[dict[str, Any]]:
    """The configs of the transformers inside, without the folder they came from."""
    found = {id(config): config for module in model.modules() if hasattr(config := _config(module), "to_dict")}
    for config in found.values():
        yield {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}


def _config(module: nn.Module) -> Any:
    return vars(module).get("config")


def _hooks(model: nn.Module) -> Iterator[tuple[str, object]]:
    """What acts on each module beside its own code: temperatures that are patched on, hooks, another `forward`."""
    for name, module in model.named_modules():
        replaced = [vars(module)["forward"]] if "forward" in vars(module) else []
        hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
        for hook in (*vars(module).get(MARK, ()), *hooks, *replaced):
            yield name, hook


def _owner(hook: Any) -> str:
    """The package a hook comes from."""
    return str(getattr(getattr(hook, "func", hook), "__module__", None) or "").partition(".")[0]
