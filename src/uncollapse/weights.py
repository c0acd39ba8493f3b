"""Replace single tensors in the safetensors files of a model, and leave every other byte of the weights alone."""

import json
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import PreTrainedModel

from uncollapse.encoders import quiet
from uncollapse.errors import ModelError

Tensors = dict[str, torch.Tensor]


def saved_tensors(model: PreTrainedModel, scratch: Path) -> Tensors:
    """The tensors a model would be saved with, under the names and in the layout of its files on disk."""
    folder = scratch / "scratch"
    with quiet():
        model.save_pretrained(folder)
    tensors: Tensors = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as stored:
            tensors.update({key: stored.get_tensor(key) for key in stored.keys()})  # noqa: SIM118
    shutil.rmtree(folder)
    return tensors


def replace_weights(folder: Path, before: Tensors, after: Tensors) -> torch.dtype:
    """Put what differs between two sets of tensors into the files of a folder, each in the precision it has there.

    Args:
        folder: holds the source's own safetensors files.
        before, after: as from `saved_tensors`, of the model as it was and as it shall be.

    Returns:
        The precision of the changed tensors; of the first, if there are several.

    Raises:
        ModelError: a changed tensor has no counterpart in the files.
    """
    changed = {name: tensor for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    dtypes, places = [], _places(folder, set(changed))
    for file in sorted({place[0] for place in places.values()}):
        inside = {stored: changed[name] for name, (where, stored) in places.items() if where == file}
        dtypes.append(_rewrite(file, inside))
    return dtypes[0] if dtypes else torch.float32


def _places(folder: Path, wanted: set[str]) -> dict[str, tuple[Path, str]]:
    """File and stored name of each wanted tensor; a checkpoint with heads puts its backbone's name before it."""
    stored: dict[str, Path] = {}
    for file in _files(folder):
        with safe_open(file, framework="pt") as tensors:
            stored.update(dict.fromkeys(tensors.keys(), file))
    found = {}
    for name in wanted:
        matches = [key for key in stored if key == name] or [key for key in stored if key.endswith(f".{name}")]
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
        return [folder / name for name in sorted(names)]
    return [folder / "model.safetensors"]


def _rewrite(file: Path, new: Tensors) -> torch.dtype:
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    dtype: torch.dtype = tensors[next(iter(new))].dtype
    for key, tensor in new.items():
        if tensors[key].shape != tensor.shape or not torch.is_floating_point(tensors[key]):
            raise ModelError(
                f"Expected {key!r} in {str(file)!r} as floating point of shape {list(tensor.shape)}, got "
                f"{tensors[key].dtype} of shape {list(tensors[key].shape)}. Fold before quantising."
            )
        tensors[key] = tensor.to(tensors[key].dtype).contiguous()
    save_file(tensors, file, metadata)
    return dtype
