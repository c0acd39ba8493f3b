"""Kills a process with SIGKILL while it writes a store, or lets it find the disk full, and looks at what is left.

    python tests/killed_stores.py VECTORS FOLDER

Engines are imported in forked children alone, since their threads do not survive a fork. Prints the forms that were
tried, as JSON; fails if anything but a whole store is ever seen under its name.
"""

import json
import os
import re
import resource
import signal
import sys
from pathlib import Path

import pytest

from forked import in_child
from uncollapse.errors import OutputError
from uncollapse.stores import folder as stores
from uncollapse.stores.folder import STORES, Plan, store

SMALL = 5_000
"""Bytes that no store fits into."""


def killed_at(place: int, source: Path, target: Path, to: str) -> bool:
    read = stores.read_batches

    def until(folder: Path):  # type: ignore[no-untyped-def]
        for number, batch in enumerate(read(folder, rows=50)):
            if number == place:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

    def run() -> None:
        stores.read_batches = until  # type: ignore[assignment]
        store(source, target, plan=Plan(to), force=True)

    return not in_child(run)


def refused_by_disk(source: Path, target: Path, to: str) -> bool:
    """Whether no file can be larger than some bytes, which stops the writing half-way as a full disk does."""

    def run() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, resource.RLIM_INFINITY))
        with pytest.raises(OutputError, match=f"Could not write '{re.escape(str(target))}'"):
            store(source, target, plan=Plan(to), force=True)

    return in_child(run)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main(source: Path, root: Path) -> list[str]:
    for to in STORES:
        target = root / to
        assert killed_at(2, source, target, to)
        assert not target.exists(), "nothing under the name before it is whole"
        assert in_child(lambda to=to, target=target: store(source, target, plan=Plan(to)))  # type: ignore[misc]
        assert [path.name for path in root.iterdir() if path.name.startswith(f".{to}.")] == [], "leftovers are gone"
        whole = contents(target)
        assert killed_at(2, source, target, to)
        assert contents(target) == whole, "what was there before stays"
        assert refused_by_disk(source, target, to)
        assert contents(target) == whole, "what was there before stays"
        assert [path.name for path in root.iterdir() if path.name.startswith(f".{to}.")] == [], "no half store either"
    return list(STORES)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
