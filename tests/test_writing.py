"""Files and folders appear whole or not at all, whatever happens in between."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock, Timeout

from uncollapse import writing
from uncollapse.diagnosis.profiling import TextColumns
from uncollapse.errors import OutputError
from uncollapse.leftovers import is_leftover
from uncollapse.tables import TextTable
from uncollapse.writing import check_target, only_writer, whole_file, whole_folder

DEAD = "99999999"  # larger than any process number


def test_a_file_appears_when_the_with_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with whole_file(target) as part:
        part.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), whole_file(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_leftovers_of_the_dead_are_removed_and_of_the_living_left(tmp_path: Path) -> None:
    living = tmp_path / f".a.txt.partial-{os.getppid()}"
    dead = tmp_path / f".a.txt.partial-{DEAD}"
    for path in (living, dead):
        path.write_text("half")
    assert (is_leftover(living), is_leftover(dead)) == (False, True)
    with whole_file(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert sorted(os.listdir(tmp_path)) == [living.name, "a.txt"]


@pytest.mark.parametrize("name", ["model", "model[1]", "model*"])
def test_a_folder_moved_aside_by_a_killed_run_comes_back(name: str, tmp_path: Path) -> None:
    moved = tmp_path / f".{name}.replaced-{DEAD}"
    moved.mkdir()
    (moved / "weights").write_text("precious")
    with pytest.raises(RuntimeError), whole_folder(tmp_path / name):
        raise RuntimeError
    assert (tmp_path / name / "weights").read_text() == "precious"


@pytest.mark.parametrize("made_since", [False, True])
def test_a_folder_moved_aside_comes_back_before_it_is_looked_at(made_since: bool, tmp_path: Path) -> None:
    moved, target = tmp_path / f".model.replaced-{DEAD}-abc", tmp_path / "model"
    moved.mkdir()
    (moved / "weights").write_text("precious")
    if made_since:
        target.mkdir()
    with pytest.raises(OutputError, match="exists and is not empty"):
        check_target(target, force=False, what="model", known=lambda _: True)
    assert (target / "weights").read_text() == "precious"
    assert os.listdir(tmp_path) == ["model"]


def test_a_stop_at_any_step_of_a_swap_leaves_one_whole_folder(tmp_path: Path) -> None:
    command = [sys.executable, Path(__file__).parent / "killed_swaps.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    stops = json.loads(done.stdout)
    assert list(stops) == ["kill at once", "interrupt at once", "kill in steps", "interrupt in steps"]
    assert stops["kill in steps"] == stops["interrupt in steps"] == 2 * 6, "before and after each"


@pytest.mark.parametrize("ending", ["", "-0a1b2c3d"])
def test_what_a_process_of_the_same_number_left_does_not_stand_in_the_way(ending: str, tmp_path: Path) -> None:
    """In a container every run may be process 1."""
    for what in ("partial", "replaced"):
        left = tmp_path / f".out.{what}-{os.getpid()}{ending}"
        left.mkdir()
        (left / "half").write_text("half")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with whole_folder(tmp_path / "out") as part:
        (part / "new").write_text("new")
        assert not is_leftover(part)
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["new"]
    half = tmp_path / f".a.txt.partial-{os.getpid()}{ending}"
    half.write_text("half")
    assert is_leftover(half)
    with whole_file(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "out"]


def test_what_lands_at_the_target_meanwhile_is_left_as_it_is(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for there in (False, True):
        with pytest.raises(
            OutputError, match=r"Something else was put at .*out' while this command worked.*Give another"
        ):
            with whole_folder(target) as part:
                (part / "weights").write_text("new")
                target.mkdir(exist_ok=there)
                (target / "thesis.txt").write_text("years of work")
        assert os.listdir(target) == ["thesis.txt"]
        (target / "thesis.txt").unlink()
    target.rmdir()
    with pytest.raises(OutputError, match="Something else was put at"), whole_folder(target):
        target.write_text("years of work")
    assert target.read_text() == "years of work"
    assert os.listdir(tmp_path) == ["out"]


def test_whether_a_folder_may_be_replaced_is_asked_again_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "model").write_text("old")

    def check() -> None:
        check_target(target, force=True, what="model", known=lambda place: os.listdir(place) == ["model"])

    with pytest.raises(OutputError, match="is no model, so it is not replaced even with --force"):
        with whole_folder(target, check):
            (target / "thesis.txt").write_text("years of work")
    with whole_folder(target, check) as part:
        (target / "thesis.txt").unlink()
        (part / "model").write_text("new")
    with whole_folder(target, check) as part:
        (target / "model").unlink()
        target.rmdir()
        (part / "model").write_text("newer")
    assert (target / "model").read_text() == "newer"


def test_two_writers_of_one_process_do_not_take_each_others_parts(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as first:
        (first / "weights").write_text("hours of work")
        with pytest.raises(RuntimeError), whole_folder(tmp_path / "out"):
            raise RuntimeError
        assert (first / "weights").exists()
    assert os.listdir(tmp_path / "out") == ["weights"]


def test_what_another_name_left_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    other = tmp_path / f".model1.partial-{DEAD}"
    other.write_text("of another")
    with whole_file(tmp_path / "model[1]") as part:
        part.write_text("new")
    assert other.exists()


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "a.txt"
    with pytest.raises(OutputError, match=r"Could not write .*a.txt.*No such file.* Choose a place you can write to"):
        with whole_file(missing) as part:
            part.write_text("x")


def test_an_error_of_another_file_keeps_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        Path("/nowhere/at/all").read_text()


class Disk:
    """Notes what is flushed to the disk, by name, and which names change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes: list[tuple[str, str]] = []
        flush, rename, replace, remove = os.fsync, Path.rename, Path.replace, shutil.rmtree
        exchange = writing._exchange

        def fsync(handle: int) -> None:
            self.notes.append(("flushed", Path(f"/proc/self/fd/{handle}").readlink().name))
            flush(handle)

        def noted(word: str, step: Callable[..., Any]) -> Callable[..., Any]:
            def does(place: Path, *others: Any, **named: Any) -> Any:
                done = step(place, *others, **named)
                self.notes.append((word, Path(place).name))
                return done

            return does

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "rename", noted("renamed", rename))
        monkeypatch.setattr(Path, "replace", noted("renamed", replace))
        monkeypatch.setattr(shutil, "rmtree", noted("removed", remove))
        monkeypatch.setattr(writing, "_exchange", noted("renamed", exchange))

    def at(self, word: str, name: str) -> list[int]:
        return [number for number, (did, what) in enumerate(self.notes) if (did, what) == (word, name)]


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="tells names of open files by /proc")


@on_linux
def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with whole_file(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert disk.notes == [("flushed", part.name), ("renamed", part.name), ("flushed", tmp_path.name)]


@on_linux
@pytest.mark.parametrize("at_once", [False, True])
def test_a_folder_is_on_the_disk_before_the_old_one_goes(
    at_once: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not at_once:
        monkeypatch.setattr(writing, "_exchange", lambda *_: False)
    for replaced in (False, True):
        with monkeypatch.context() as patching:
            disk = Disk(patching)
            with whole_folder(tmp_path / "out") as part:
                (part / "inner").mkdir()
                for name in ("a", "inner/b"):
                    (part / name).write_text("new")
        named = disk.at("renamed", part.name)[-1]
        assert all(disk.at("flushed", name)[0] < named for name in ("a", "b", "inner", part.name))
        kept = disk.at("flushed", tmp_path.name)[0]
        assert named < kept
        gone = [number for number, (word, _) in enumerate(disk.notes) if word == "removed"]
        assert all(kept < number for number in gone)
        assert bool(gone) or not replaced


@pytest.mark.parametrize("fails", [errno.EIO, errno.ENOSPC])
def test_bytes_that_do_not_reach_the_disk_are_told(
    fails: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(fails, os.strerror(fails))

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match="Could not write .*out': "), whole_folder(tmp_path / "out") as part:
        (part / "new").write_text("new")
    with pytest.raises(OutputError, match="Could not write .*a.txt': "), whole_file(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["old"]


def test_a_folder_that_cannot_be_flushed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush = os.fsync

    def unknown(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(handle)

    monkeypatch.setattr(os, "fsync", unknown)
    with whole_folder(tmp_path / "out") as part:
        (part / "new").write_text("new")
    assert os.listdir(tmp_path / "out") == ["new"]


@pytest.mark.parametrize("there", [False, True])
def test_a_link_leads_to_what_is_written_and_stays(there: bool, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    real, link = tmp_path / "far" / "real", tmp_path / "out"
    link.symlink_to(real)
    if there:
        real.mkdir()
        (real / "old").write_text("old")
    check_target(link, force=True, what="model", known=lambda _: True)
    with whole_folder(link) as part:
        (part / "new").write_text("new")
    assert link.is_symlink()
    assert os.listdir(real) == os.listdir(link) == ["new"]
    file, name = tmp_path / "far" / "file", tmp_path / "name"
    name.symlink_to(file)
    with whole_file(name) as part:
        part.write_text("new")
    assert name.is_symlink()
    assert file.read_text() == "new"
    with only_writer(link), pytest.raises(OutputError, match="Another command is writing"), only_writer(real):
        pytest.fail("two at once")
    assert sorted(os.listdir(tmp_path / "far")) == ["file", "real"]
    assert sorted(os.listdir(tmp_path)) == ["far", "name", "out"]


def test_links_that_lead_in_a_circle_are_told(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "out")
    with pytest.raises(OutputError, match="Could not (follow the links of|write) .*out': "):
        with whole_folder(tmp_path / "out"):
            pytest.fail("written")


def test_the_folder_one_is_in_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    check_target(Path(), force=False, what="model", known=lambda _: True)
    with only_writer(Path()), whole_folder(Path()) as part:
        (part / "new").write_text("new")
    assert os.listdir(tmp_path / "here") == ["new"]
    assert os.listdir(tmp_path) == ["here"]


def test_a_mount_point_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda place: Path(place) == tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for name in ("out", "link"):
        told = f"{name}' is a mount point, which no folder can replace. Give a folder in it, such as .*{name}/out'"
        with pytest.raises(OutputError, match=told):
            check_target(tmp_path / name, force=True, what="model", known=lambda _: True)
    check_target(tmp_path / "out" / "new", force=False, what="model", known=lambda _: False)


TABLE = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from uncollapse import writing
from uncollapse.diagnosis.profiling import TextColumns
from uncollapse.errors import OutputError
from uncollapse.tables import TextTable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
n = np.arange(20_000)
ids = tuple(str(np.random.default_rng(i).integers(2**62)) for i in n)
try:
    with TextTable(Path("t.parquet")) as table:
        table.write(TextColumns(ids, ids, n, n, n, ids))
except OutputError as error:
    print(error)
"""


def test_a_table_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TABLE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Could not write 't.parquet'" in done.stdout
    assert os.listdir(tmp_path) == []


def test_a_table_of_an_interrupted_run_is_not_there(tmp_path: Path) -> None:
    ones = np.ones(1, dtype=np.int64)
    with pytest.raises(KeyboardInterrupt), TextTable(tmp_path / "t.parquet") as table:
        table.write(TextColumns(("a",), ("s",), ones, ones, ones, ("1-7",)))
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_files_of_a_folder_are_as_readable_as_files_are_here(tmp_path: Path) -> None:
    """Weights that a library saves for their owner alone could not be served by a container of another user."""
    before = os.umask(0o022)
    try:
        with whole_folder(tmp_path / "out") as part:
            (part / "inner").mkdir()
            (part / "inner/weights").write_bytes(b"1")
            (part / "inner/weights").chmod(0o600)
            (part / "script").write_text("#!")
            (part / "script").chmod(0o755)
    finally:
        os.umask(before)
    modes = [(tmp_path / "out" / name).stat().st_mode & 0o777 for name in ("inner/weights", "script")]
    assert modes == [0o644, 0o755]


def test_a_place_where_nothing_can_be_made_is_not_taken_for_one_that_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for another command to end would take for ever."""

    def held(*_: object, **__: object) -> None:
        raise Timeout("lock")

    monkeypatch.setattr(FileLock, "acquire", held)
    with pytest.raises(OutputError, match="Choose a place you can write to"), only_writer(tmp_path / "out"):
        pass
    (tmp_path / ".out.lock").touch()
    with pytest.raises(OutputError, match="Another command is writing"), only_writer(tmp_path / "out"):
        pass
