"""Replace single tensors in the safetensors files of a model, and leave every other byte of the weights alone."""

import json
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from uncollapse.encoders import quiet
from uncollapse.errors import ModelError

Tensors = dict[str, torch.Tensor]


def saved_tensors(model: PreTrainedModel, scratch: Path) -> Tensors:
    """The tensors a model would be saved with, under the names and in the layout of its files on disk."""
    tensors: Tensors = {}
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        with quiet():
            model.save_pretrained(folder)
        for file in Path(folder).glob("*.safetensors"):
            with safe_open(file, framework="pt") as stored:
                tensors.update({key: stored.get_tensor(key) for key in stored.keys()})  # noqa: SIM118
    return tensors


def grown_buffers(before: nn.Module, after: nn.Module) -> Tensors:
    """Buffers of a model that another one has in another shape, such as the numbers of more positions.

    Args:
        before, after: the model as it was and as it shall be.
    """
    old = dict(before.named_buffers())
    return {name: buffer for name, buffer in after.named_buffers() if buffer.shape != old[name].shape}


def replace_weights(folder: Path, before: Tensors, after: Tensors, beside: Tensors | None = None) -> torch.dtype:
    """Put what differs between two sets of tensors into the files of a folder, each in the precision it has there.

    Args:
        folder: holds the source's own safetensors files.
        before, after: as from `saved_tensors`, of the model as it was and as it shall be.
        beside: what is replaced where the files have it; other releases stored what this one makes anew.

    Returns:
        The precision of the changed tensors; of the first, if there are several.

    Raises:
        ModelError: a changed tensor has no counterpart in the files, or an index names files elsewhere.
    """
    changed = {name: tensor for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    dtypes, stored = [], _stored(folder)
    places = _places(folder, stored, set(changed))
    for file in sorted({place[0] for place in places.values()}):
        inside = {key: (before[name], changed[name]) for name, (where, key) in places.items() if where == file}
        dtypes.append(_rewrite(file, inside))
    for name, tensor in (beside or {}).items():
        for key in _matches(stored, name):
            _exchange(stored[key], {key: tensor})
    return dtypes[0] if dtypes else torch.float32


def _stored(folder: Path) -> dict[str, Path]:
    """The file of every stored tensor."""
    stored: dict[str, Path] = {}
    for file in _files(folder):
        with safe_open(file, framework="pt") as tensors:
            stored.update(dict.fromkeys(tensors.keys(), file))
    return stored


def _matches(stored: dict[str, Path], name: str) -> list[str]:
    """The stored names of a tensor; a checkpoint with heads puts its backbone's name before it."""
    return [key for key in stored if key == name] or [key for key in stored if key.endswith(f".{name}")]


def _places(folder: Path, stored: dict[str, Path], wanted: set[str]) -> dict[str, tuple[Path, str]]:
    """File and stored name of each wanted tensor."""
    found = {}
    for name in wanted:
        matches = _matches(stored, name)
        if len(matches) != 1:
            raise ModelError(
                f"Expected one tensor {name!r} in the weights of {str(folder)!r}, found {len(matches)}. The stored "
                "layout differs from what transformers would save; save the model once with save_pretrained, then fix."
            )
        found[name] = (stored[matches[0]], matches[0])
    return found


def _files(folder: Path) -> list[Path]:
    """The weight files in use: those of the index, or all."""
    index = folder / "model.safetensors.index.json"
    if index.exists() and not (folder / "model.safetensors").exists():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return [folder / _checked(name, index) for name in sorted(names, key=str)]
    return [folder / "model.safetensors"]


def _checked(name: object, index: Path) -> str:
    """A name in an index, which is written to: it must be of a file beside the index."""
    if isinstance(name, str) and name not in ("", "..") and Path(name).name == name:
        return name
    raise ModelError(
        f"Expected names of files beside it in the model's {index.name}, got {name!r}, which lies elsewhere. Save the "
        "model once with save_pretrained, then fix."
    )


def _rewrite(file: Path, new: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> torch.dtype:
    """Replace tensors, given as they were and as they shall be; returns the precision of the first in the file."""
    with safe_open(file, framework="pt") as stored:
        kept = {key: stored.get_tensor(key) for key in new}
    for key, (was, _) in new.items():
        if kept[key].shape != was.shape or not torch.is_floating_point(kept[key]):
            raise ModelError(
                f"Expected {key!r} in {str(file)!r} as floating point of shape {list(was.shape)}, got "
                f"{kept[key].dtype} of shape {list(kept[key].shape)}. Fold before quantising."
            )
    _exchange(file, {key: tensor for key, (_, tensor) in new.items()})
    dtype: torch.dtype = kept[next(iter(new))].dtype
    return dtype


def _exchange(file: Path, new: Tensors) -> None:
    """Put tensors of any shape in place of stored ones, in the precision that those have."""
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    for key, tensor in new.items():
        tensors[key] = tensor.to(tensors[key].dtype).contiguous()
    save_file(tensors, file, metadata)
