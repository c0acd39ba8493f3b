"""Names that are not there for long: of what is being written, and of what killed processes left of it."""

import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OURS: set[str] = set()
"""What ends the names of what this process is writing; another may have had its number before, as in containers."""

_PASSING = re.compile(r"\..+\.(?:partial|replaced)-(\d+)(?:-([0-9a-f]+))?", re.DOTALL)
"""Names that are not there for long, with the number of who made them."""


@contextmanager
def passing_name(target: Path, what: str = "partial") -> Iterator[Path]:
    """A name beside a target that no other process takes for what a killed one left, and only this one uses."""
    token = secrets.token_hex(4)
    _OURS.add(token)
    try:
        yield target.with_name(f".{target.name}.{what}-{os.getpid()}-{token}")
    finally:
        _OURS.discard(token)


def clean_leftovers(target: Path) -> None:
    """Remove what killed processes left beside a target; give back what one of them had moved aside."""
    name = glob.escape(target.name)
    for moved in target.parent.glob(f".{name}.replaced-*"):
        if _is_dead(moved) and not holds_any(target):
            with suppress(FileNotFoundError):
                target.rmdir()  # an empty one, made since
            moved.rename(target)
    for pattern in ("partial", "replaced"):
        for leftover in target.parent.glob(f".{name}.{pattern}-*"):
            if _is_dead(leftover):
                _remove(leftover)


def is_leftover(path: Path) -> bool:
    """Whether a path is what a killed process left."""
    return ".partial-" in path.name and _is_dead(path)


def holds_any(target: Path) -> bool:
    """Whether there is a file, or a folder with anything in it."""
    return target.exists() and not (target.is_dir() and not any(target.iterdir()))


def _is_dead(path: Path) -> bool:
    found = _PASSING.fullmatch(path.name)
    if not found:
        return False
    process, token = int(found[1]), found[2]
    return token not in _OURS if process == os.getpid() else not _is_running(process)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
