"""Files and folders that appear whole under their name, or not at all."""

import ctypes
import errno
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from uncollapse.errors import OutputError
from uncollapse.leftovers import clean_leftovers, holds_any, passing_name

LONGEST_NAME_BYTES = 96
"""Two names, a dot, a suffix and what a temporary file adds stay below the 255 bytes that file systems allow."""


LOCK = ".uncollapse.lock"
"""The file in a folder that says that a command writes there, where there can be none beside it."""


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


def place_of(target: Path) -> Path:
    """Where a target lies: links are followed, so that what they lead to is written and they stay.

    Raises:
        OutputError: they lead in a circle.
    """
    try:
        return target.resolve()
    except (OSError, RuntimeError) as error:
        raise OutputError(f"Could not follow the links of {str(target)!r}: {error}. Give another place.") from error


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """A folder, made with those above it that are missing; what was made goes again if it is empty after an error.

    Raises:
        OutputError: it cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in missing:
            _flush(place.parent)
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
def only_writer(target: Path) -> Iterator[None]:
    """Keep every other command from writing to a target; one that was killed holds nothing.

    Args:
        target: what is written. A file beside it says so during the `with`, or in it where none can be beside.

    Raises:
        OutputError: another command is writing, or the file cannot be made.
    """
    lock = _lock(place_of(target))
    holding = FileLock(lock, timeout=0)
    with _told(target):
        try:
            holding.acquire()
        except Timeout:
            if not lock.exists():  # it could not even be made
                raise OutputError(f"Could not write {str(target)!r}. Choose a place you can write to.") from None
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


def _lock(target: Path) -> Path:
    """One place for every command, whether it writes into a folder or replaces it.

    What is mounted may be shared by machines that share nothing beside it, and is never replaced.
    """
    if os.path.ismount(target) or (target.is_dir() and not os.access(target.parent, os.W_OK)):
        return target / LOCK
    return target.with_name(f".{target.name}.lock")


def check_target(target: Path, *, force: bool, what: str, known: Callable[[Path], bool]) -> None:
    """Raise unless a folder can be written at `target` without destroying anything but what may be replaced.

    Args:
        target: the new folder.
        force: replace one that is known.
        what: may be replaced, such as "model".
        known: tells it.

    Raises:
        OutputError: not without destroying it.
    """
    with _told(target):
        clean_leftovers(place_of(target))  # may give back what would then be destroyed
    if os.path.ismount(place_of(target)):
        raise OutputError(
            f"The output {str(target)!r} is a mount point, which no folder can replace. Give a folder in it, such as "
            f"{str(target / 'out')!r}."
        )
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


def read_known(file: Path) -> Any:
    """What a JSON file says, by which a folder is known; None where there is none, or it is no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def is_written(file: Path, schema: str) -> bool:
    """Whether a file is one of this package's, of whatever version of its schema; other programs have the same names.

    Args:
        file: JSON, if it is there.
        schema: as "uncollapse.export/1".
    """
    found = read_known(file)
    named = found.get("schema") if isinstance(found, dict) else None
    return isinstance(named, str) and named.startswith(f"{schema.partition('/')[0]}/")


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
    place = place_of(target)
    with _told(target), passing_name(place) as part:
        clean_leftovers(place)
        try:
            yield part
            _flush(part)
            part.replace(place)
            _flush(place.parent)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(target: Path, check: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A temporary folder beside the target that takes its name, and its place, at the end.

    Args:
        target: the new folder.
        check: asked again at the end, whether what is at the target then may be replaced; it raises if not.

    Raises:
        OutputError: the folder cannot be written, or something was put at the target meanwhile; what was there is
            there.
    """
    place = place_of(target)
    with _told(target), passing_name(place) as part:
        place.parent.mkdir(parents=True, exist_ok=True)
        clean_leftovers(place)
        part.mkdir()
        try:
            replaces = holds_any(place)
            yield part
            _finish_tree(part)
            check()
            if replaces and holds_any(place):
                _swap(part, place)
            else:
                _settle(part, place)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _settle(part: Path, target: Path) -> None:
    """Give a folder a name that nothing has but an empty folder."""
    if holds_any(target):
        raise OutputError(
            f"Something else was put at {str(target)!r} while this command worked. It was left as it is, and nothing "
            "was written. Give another folder."
        )
    with suppress(FileNotFoundError):
        target.rmdir()
    part.rename(target)
    _flush(target.parent)


def _swap(part: Path, target: Path) -> None:
    """Put a folder in the place of another one, which is called `part` afterwards.

    Where that takes more than one step, the other one bears a name meanwhile under which it is given back.
    """
    if _exchange(part, target):
        _flush(target.parent)
        return
    with passing_name(target, "replaced") as old, passing_name(target) as done:
        try:
            target.rename(old)
            part.rename(target)
            _flush(target.parent)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
        finally:
            if old.exists() and target.exists():
                old.rename(done)  # half removed it must not come back
                shutil.rmtree(done, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change names in one step; False where the system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE, of the kernel's headers
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _finish_tree(folder: Path) -> None:
    """Have every file on the disk, and as readable as files are here: some libraries save for the owner alone."""
    mode = stat.S_IMODE(folder.stat().st_mode) & 0o666  # what the user's umask leaves of a new folder
    for parent, _, files in os.walk(folder):
        for name in files:
            if not (place := Path(parent, name)).is_symlink():
                if mode & ~place.stat().st_mode:
                    place.chmod(stat.S_IMODE(place.stat().st_mode) | mode)
                _flush(place)
        _flush(Path(parent))


def _flush(place: Path) -> None:
    """Have a file, or the names in a folder, on the disk before the next step: a power cut keeps no order of its own.

    Folders cannot be flushed everywhere; what goes wrong with the bytes of a file is an error.
    """
    is_folder = place.is_dir()
    try:
        handle = os.open(place, os.O_RDONLY if is_folder or os.name != "nt" else os.O_RDWR)
    except OSError:
        if is_folder:
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if not is_folder or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Turn what an operating system says into our own error."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        places = [str(place) for name in ("filename", "filename2") if (place := getattr(error, name, None))]
        if places and not any(place_of(target).name in place for place in places):
            raise  # another file's fault, such as one that was being read
        full = getattr(error, "errno", None) == errno.ENOSPC or "os error 28" in str(error)
        advice = (
            "The disk is full: make room, or choose another place." if full else "Choose a place you can write to."
        )
        raise OutputError(f"Could not write {str(target)!r}: {error}. {advice}") from error
