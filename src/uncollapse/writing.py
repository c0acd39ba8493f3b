"""Files and folders that appear whole under their name, or not at all."""

import errno
import glob
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from uncollapse.errors import OutputError

LONGEST_NAME_BYTES = 96
"""Two names, a dot, a suffix and what a temporary file adds stay below the 255 bytes that file systems allow."""


def file_name(text: str) -> str:
    """A text as part of a file's name: letters, digits and -_. stay; a long one is cut and ends in a digest of it.

    >>> file_name("docs/test"), file_name("temperature(0.9)"), file_name("???")
    ('docs-test', 'temperature-0.9', 'unnamed')
    >>> name = file_name("long " * 100)
    >>> name[:12], len(name), name == file_name("long " * 101)
    ('long-long-lo', 96, False)
    """
    name = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text).strip("-.") or "unnamed"
    if len(name.encode()) <= LONGEST_NAME_BYTES:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
    kept = name.encode()[: LONGEST_NAME_BYTES - len(digest) - 1].decode(errors="ignore")
    return f"{kept}-{digest}"


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """A folder, made with those above it that are missing; what was made goes again if it is empty after an error.

    Raises:
        OutputError: it cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Could not make the folder {str(folder)!r}: {error}. Give another.") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):  # of the first that holds anything; those above hold that one
            for place in missing:
                place.rmdir()
        raise


@contextmanager
def only_writer(lock: Path, target: Path) -> Iterator[None]:
    """Keep every other command that asks for the same lock from writing; one that was killed holds nothing.

    Args:
        lock: a file that is there during the `with`; its folder must exist.
        target: what is written.

    Raises:
        OutputError: another command is writing, or the lock cannot be made.
    """
    holding = FileLock(lock, timeout=0)
    with _told(target):
        try:
            holding.acquire()
        except Timeout:
            raise OutputError(
                f"Another command is writing to {str(target)!r} at this moment. Wait for it to end, or give another "
                "place with --out."
            ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file, and FileLock removes it there
            lock.unlink(missing_ok=True)  # before it is released: nobody else's is removed
        holding.release()


def check_target(target: Path, *, force: bool, what: str, known: Callable[[Path], bool]) -> None:
    """Raise unless a folder can be written at `target` without destroying anything but what may be replaced.

    Args:
        target: the new folder.
        force: replace one that is known.
        what: may be replaced, such as "model".
        known: tells it.
    """
    if target.exists() and not target.is_dir():
        raise OutputError(f"The output {str(target)!r} is a file. Give a folder.")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not force:
        raise OutputError(
            f"The output {str(target)!r} exists and is not empty. Give another folder, or replace it with --force "
            "(force=True)."
        )
    if not known(target):
        raise OutputError(
            f"The output {str(target)!r} is not empty and is no {what}, so it is not replaced even with --force."
        )


def check_apart(target: Path, source: Path, *, what: str = "source model") -> None:
    """Raise if what is written would destroy or swallow what it is made from.

    Args:
        target: what is written.
        source: what it is made from.
        what: that is.
    """
    new, old = target.resolve(), source.resolve()
    if new == old:
        raise OutputError(f"The output {str(target)!r} is the {what} itself. Choose another folder.")
    if new.is_relative_to(old) or old.is_relative_to(new):
        raise OutputError(
            f"The output {str(target)!r} and the {what} {str(source)!r} lie one in the other. Choose another folder."
        )


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A temporary file beside the target that takes its name when the `with` ends without an error.

    Raises:
        OutputError: the file cannot be written.
    """
    part = _part(target)
    with _told(target):
        clean_leftovers(target)
        try:
            yield part
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside the target that takes its name, and its place, at the end.

    Raises:
        OutputError: the folder cannot be written; what was at the target before is there again.
    """
    part = _part(target)
    with _told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        clean_leftovers(target)
        try:
            part.mkdir()
            yield part
            _swap(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _swap(part: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    if target.exists():
        target.rename(old)
    try:
        part.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _part(target: Path) -> Path:
    return target.with_name(f".{target.name}.partial-{os.getpid()}")


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Turn what an operating system says into our own error."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        places = [str(place) for name in ("filename", "filename2") if (place := getattr(error, name, None))]
        if places and not any(target.name in place for place in places):
            raise  # another file's fault, such as one that was being read
        full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)
        advice = (
            "The disk is full: make room, or choose another place." if full else "Choose a place you can write to."
        )
        raise OutputError(f"Could not write {str(target)!r}: {error}. {advice}") from error


def clean_leftovers(target: Path) -> None:
    """Remove what killed processes left beside a target; give back what one of them had moved aside."""
    name = glob.escape(target.name)
    for moved in target.parent.glob(f".{name}.replaced-*"):
        if _is_dead(moved) and not target.exists():
            moved.rename(target)
    for pattern in ("partial", "replaced"):
        for leftover in target.parent.glob(f".{name}.{pattern}-*"):
            if _is_dead(leftover):
                _remove(leftover)


def is_leftover(path: Path) -> bool:
    """Whether a path is what a killed process left."""
    return path.name.startswith(".") and ".partial-" in path.name and _is_dead(path)


def _is_dead(path: Path) -> bool:
    number = path.name.rpartition("-")[2]
    return number.isdigit() and not _is_running(int(number))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
