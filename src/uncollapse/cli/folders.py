"""Where a command writes: a folder of its own, gone again if nothing came of it, and what is left of a stop."""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from uncollapse.errors import OutputError


class Terminated(SystemExit):
    """Somebody asked the process to end (SIGTERM), as schedulers and containers do."""


STOPS: dict[type[BaseException], tuple[str, int]] = {
    KeyboardInterrupt: ("Interrupted", 130),
    Terminated: ("Terminated", 143),
}
"""How a command is stopped from outside, the word for it, and its exit code."""


def leave_in_order() -> None:
    """Let SIGTERM, which ends a process on the spot, go through all that is open first, as Ctrl-C does."""

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough, and what cleans up is not stopped
        raise Terminated(STOPS[Terminated][1])

    signal.signal(signal.SIGTERM, leave)


@contextmanager
def stopped(said: Callable[[], str]) -> Iterator[None]:
    """When the command is stopped, say what is there and how to go on, and leave.

    Args:
        said: the sentences after the word for the stop.
    """
    try:
        yield
    except tuple(STOPS) as stop:
        word, code = STOPS[type(stop)]
        Console(stderr=True).print(escape(f"{word}. {said()}"), soft_wrap=True, highlight=False)
        raise typer.Exit(code) from None


@contextmanager
def output_folder(out: Path | None, name: str, *, force: bool, kept: Path | None = None) -> Iterator[Path]:
    """The output folder, made, with no other command in it; one that holds anything is left alone unless forced.

    Args:
        out: what the user gave; None for `uncollapse-NAME`.
        name: of what is measured.
        force: write into a folder that is not empty.
        kept: where vectors are kept as they are made; None where none are.

    Raises:
        OutputError: a file, a folder that holds anything, one that another command writes into or that cannot be made.
    """
    from uncollapse.writing import made_folder, only_writer

    folder = _chosen_folder(out, name)
    with made_folder(folder), only_writer(folder):
        _check_empty(folder, force=force)
        with told_what_is_left(folder, kept):
            yield folder


def check_output(out: Path | None, name: str, *, force: bool) -> None:
    """Raise if `output_folder` would refuse what lies there now, before anybody waits for torch.

    Args:
        out, name, force: as for `output_folder`.

    Raises:
        OutputError: a file, or a folder that holds anything or that another command writes into.
    """
    from uncollapse.writing import only_writer

    folder = _chosen_folder(out, name)
    if folder.is_dir():
        with only_writer(folder):
            _check_empty(folder, force=force)


def check_named(out: Path | None, models: Iterable[str], *, force: bool) -> None:
    """Look at the output and the models that were named, before anybody waits for torch.

    Args:
        out, force: as for `check_output`; without a name, the default is looked at when it is known.
        models: as for `load`.

    Raises:
        OutputError: as `check_output`.
        ModelError: as `check_source`.
    """
    from uncollapse.encoders.sources import check_source

    if out is not None:
        check_output(out, "", force=force)
    for model in models:
        check_source(model)


def _chosen_folder(out: Path | None, name: str) -> Path:
    from uncollapse.writing import file_name

    folder = out or Path(f"uncollapse-{file_name(name)}")
    if folder.is_file():
        raise OutputError(f"The output {str(folder)!r} is a file. Give a folder with --out.")
    return folder


def check_place(out: Path, *, force: bool) -> None:
    """Raise if a folder that appears whole would be refused for what lies there now, before anybody waits for torch.

    What may be replaced with --force is known to those alone who write it.

    Args:
        out: what the user gave.
        force: it may be replaced.

    Raises:
        OutputError: a file, or a folder that holds anything or that another command writes.
    """
    from uncollapse.writing import check_target, only_writer

    if out.exists() and not force:
        with only_writer(out):
            check_target(out, force=False, what="", known=lambda _: False)


@contextmanager
def output_place(out: Path) -> Iterator[None]:
    """The place of a folder that appears whole: one that can be made, where no other command writes.

    Args:
        out: what the user gave.

    Raises:
        OutputError: another command writes there, or the folder above cannot be made.
    """
    from uncollapse.writing import made_folder, only_writer, place_of

    with made_folder(place_of(out).parent), only_writer(out), told_what_is_left(out):
        yield


@contextmanager
def told_what_is_left(folder: Path, kept: Path | None = None) -> Iterator[None]:
    """When the command is stopped, say what is there and how to go on, and leave.

    Args:
        folder: that is written into; it may be missing.
        kept: where vectors are kept as they are made; None where none are.
    """
    before = _entries(folder)

    def said() -> str:
        written = sorted(name for name, changed in _entries(folder).items() if before.get(name) != changed)
        return _what_is_left(folder, written, kept)

    with stopped(said):
        yield


def _what_is_left(folder: Path, written: list[str], kept: Path | None) -> str:
    said = f"Nothing was written into {str(folder)!r}."
    if written:
        said = f"Written into {str(folder)!r} before that: {', '.join(written)}."
    again = f"The same command{', with --force,' if written else ''}"
    if kept is None:
        return f"{said} {again} begins anew."
    return f"{said} Vectors are kept in {str(kept)!r} as they are made. {again} goes on from there."


def _check_empty(folder: Path, *, force: bool) -> None:
    from uncollapse.leftovers import is_leftover

    there = sorted(name for name in _entries(folder) if not is_leftover(folder / name))
    if there and not force:
        raise OutputError(
            f"The output folder {str(folder)!r} is not empty ({', '.join(there[:3])}). Give another with --out, or "
            "--force to write into it."
        )


def _entries(folder: Path) -> dict[str, int]:
    """What a folder holds but for the lock, and when each was changed."""
    from uncollapse.writing import LOCK

    try:
        there = [path for path in folder.iterdir() if path.name != LOCK] if folder.is_dir() else []
        return {path.name: path.lstat().st_mtime_ns for path in there}
    except OSError as error:
        raise OutputError(f"Could not look into the folder {str(folder)!r}: {error}. Give another.") from error
