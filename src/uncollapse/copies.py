"""A model's folder copied into one that is made from it."""

import os
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from uncollapse.encoders.sources import WEIGHT_FILES

OTHER_RUNTIMES = ("onnx", "openvino", ".git", ".cache")
"""Folders that hold copies of the unfixed weights, or none of the model."""


def copy_model(source: Path, part: Path, *, weights: bool) -> Iterator[str]:
    """Copy a folder's contents without its permissions; yields what held unfixed weights or vectors and stays behind.

    Args:
        source, part: from where to where.
        weights: whether the weights change, so that copies in other formats would hold the old ones.
    """
    for parent, folders, files in os.walk(source, followlinks=True):
        here = part / Path(parent).relative_to(source)
        here.mkdir(exist_ok=True)
        for name in (*sorted(folders), *sorted(files)):
            path = Path(parent) / name
            old = weights and any(fnmatch(name, kind) for kind in WEIGHT_FILES)
            if name in OTHER_RUNTIMES if path.is_dir() else old:
                yield str(path.relative_to(source))
            elif path.is_file():
                shutil.copyfile(path, here / name)
        kept = (name for name in folders if name not in OTHER_RUNTIMES)
        folders[:] = [name for name in kept if not _holds_itself(Path(parent, name), part)]


def _holds_itself(folder: Path, part: Path) -> bool:
    """Whether a linked folder holds the link, or what is being written: following it would never end."""
    real = folder.resolve()
    return folder.is_symlink() and any(above.resolve().is_relative_to(real) for above in (*folder.parents, part))
