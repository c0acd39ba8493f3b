"""A model's folder copied into one that is made from it."""

import os
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from uncollapse.encoders.sources import WEIGHT_FILES
from uncollapse.errors import ModelError

OTHER_RUNTIMES = ("onnx", "openvino", ".git", ".cache")
"""Folders that hold copies of the unfixed weights, or none of the model."""


def copy_model(source: Path, part: Path, *, weights: bool, home: Path | None = None) -> Iterator[str]:
    """Copy a folder's contents without its permissions; yields what held unfixed weights or vectors and stays behind.

    Args:
        source, part: from where to where.
        weights: whether the weights change, so that copies in other formats would hold the old ones.
        home: the model's folder, where `source` is a part of it.

    Raises:
        ModelError: what would be copied is a link that leads out of the model's folder.
    """
    home = home or source
    check_link(source, home)
    for parent, folders, files in os.walk(source, followlinks=True):
        here = part / Path(parent).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        for name in (*sorted(folders), *sorted(files)):
            path = Path(parent) / name
            old = weights and any(fnmatch(name, kind) for kind in WEIGHT_FILES)
            if name in OTHER_RUNTIMES if path.is_dir() else old:
                yield str(path.relative_to(source))
            elif path.is_file():
                copy_file(path, here / name, home)
        kept = (name for name in folders if name not in OTHER_RUNTIMES)
        folders[:] = [name for name in kept if not _holds_itself(Path(parent, name), part)]
        for name in folders:
            check_link(Path(parent, name), home)


def copy_file(path: Path, place: Path, source: Path) -> None:
    """Copy what a file of a model holds, without its permissions.

    Args:
        path, place: from where to where.
        source: the model's folder.

    Raises:
        ModelError: as `check_link`.
    """
    check_link(path, source)
    shutil.copyfile(path, place)


def check_link(path: Path, source: Path) -> None:
    """Refuse a link out of a model's folder: what it leads to is not the model's, and may be nobody's to publish.

    The files of a snapshot in the hub's cache are links to the `blobs` beside it; these are the model's own.

    Args:
        path: in the folder, or said to be.
        source: the model's folder.

    Raises:
        ModelError: the path leads out of the folder.
    """
    root, real = source.resolve(), path.resolve()
    if any(real.is_relative_to(home) for home in (root, *_blobs(root))):
        return
    name = os.path.relpath(path, source)
    raise ModelError(
        f"Expected all of the model in its folder, but {name!r} in {str(source)!r} leads out of it, to {str(real)!r}, "
        "which would be copied into the new model. If it belongs to the model, put a copy of it in the place of the "
        "link; if not, remove the link."
    )


def _blobs(root: Path) -> Iterator[Path]:
    """Where the hub's cache keeps the files of a snapshot: models--X/blobs, of models--X/snapshots/REVISION."""
    for folder in (root, *root.parents):
        snapshots = folder.parent
        if snapshots.name == "snapshots" and snapshots.parent.name.startswith("models--"):
            yield (snapshots.parent / "blobs").resolve()


def _holds_itself(folder: Path, part: Path) -> bool:
    """Whether a linked folder holds the link, or what is being written: following it would never end."""
    real = folder.resolve()
    return folder.is_symlink() and any(above.resolve().is_relative_to(real) for above in (*folder.parents, part))
