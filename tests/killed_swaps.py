"""Kills a process with SIGKILL, or interrupts it, at every step of putting a folder in the place of another.

    python tests/killed_swaps.py FOLDER

Prints how many stops there were, as JSON; fails if what is under the name afterwards is neither the old folder nor the
new one, whole, if the next command takes it away without being asked to, or if anything is left beside it.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from forked import in_child
from uncollapse import writing
from uncollapse.errors import OutputError

OLD, NEW, LATER = (dict.fromkeys(("a", "b"), word) for word in ("old", "new", "later"))
STEPS = ((Path, "rename"), (shutil, "rmtree"), (writing, "_exchange"))


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def write(target: Path, said: dict[str, str], *, force: bool) -> None:
    writing.check_target(target, force=force, what="test", known=lambda _: True)
    with writing.whole_folder(target) as part:
        for name, word in said.items():
            (part / name).write_text(word)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    raise KeyboardInterrupt


def stop_at(number: int, stop: Callable[[], None], *, after: bool) -> None:
    """Stop this process before or after its step of this number; half-way into a removal, before the rest of it."""
    seen = [0]

    def stopping(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def stopped(path: Path, *others: Any, **named: Any) -> Any:
            seen[0] += 1
            if seen[0] == number and not after:
                if name == "rmtree" and (path / "a").exists():
                    (path / "a").unlink()
                stop()
            done = step(path, *others, **named)
            if seen[0] == number:
                stop()
            return done

        return stopped

    for place, name in STEPS:
        setattr(place, name, stopping(name, getattr(place, name)))


def stopped_swap(target: Path, number: int, stop: Callable[[], None], *, after: bool, at_once: bool) -> bool:
    """Whether a swap was stopped at that step; checks what is left."""
    shutil.rmtree(target.parent, ignore_errors=True)
    write(target, OLD, force=False)

    def swap() -> None:
        if not at_once:
            writing._exchange = lambda *_: False
        stop_at(number, stop, after=after)
        write(target, NEW, force=True)

    if in_child(swap):
        assert contents(target) == NEW
        return False
    with suppress(OutputError):
        write(target, LATER, force=False)
    assert contents(target) in (OLD, NEW), f"step {number}: {contents(target)}"
    assert os.listdir(target.parent) == [target.name], f"step {number}: {os.listdir(target.parent)}"
    shutil.rmtree(target)
    write(target, LATER, force=False)
    assert contents(target) == LATER
    return True


def main(root: Path) -> dict[str, int]:
    stops = {}
    for at_once in (True, False):
        for stop in (kill, interrupt):
            number = 0
            for after in (False, True):
                first = number
                while stopped_swap(root / "here" / "out", number - first + 1, stop, after=after, at_once=at_once):
                    number += 1
            stops[f"{stop.__name__} {'at once' if at_once else 'in steps'}"] = number
    return stops


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
