"""Vectors on disk: encoded once, checked when read, whole after a kill, shared between processes."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from uncollapse.encoders import cache
from uncollapse.encoders.cache import Block, Shelf
from uncollapse.errors import OutputError


def block(*seeds: int, dim: int = 4) -> Block:
    vectors = [np.random.default_rng(seed).standard_normal(dim).astype(np.float32) for seed in seeds]
    return Block(np.stack(vectors), np.array(seeds), np.array(seeds) + 1)


def shelf(folder, **description) -> Shelf:
    return Shelf(folder, description, 4)


def find(there: Shelf, texts) -> dict[str, tuple[bytes, int, int]]:
    places = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    found = Block.blank(len(places), there.dim)
    missing = there.find(places, found)
    assert len(missing) == len(set(missing))
    return {
        text: (found.vectors[row].tobytes(), int(found.n_tokens[row]), int(found.n_tokens_full[row]))
        for text, row in places.items()
        if text not in missing
    }


def test_what_is_put_is_found_bit_for_bit(tmp_path):
    with shelf(tmp_path) as there:
        there.put(["a", "b", ""], block(1, 2, 3))
    with shelf(tmp_path) as there:
        found = find(there, ["b", "c", "", "b"])
    assert found == {"b": (block(2).vectors.tobytes(), 2, 3), "": (block(3).vectors.tobytes(), 3, 4)}


def test_more_texts_than_one_query_holds(tmp_path):
    texts = [str(i) for i in range(1203)]
    with shelf(tmp_path) as there:
        there.put(texts, block(*range(1203)))
        assert len(find(there, texts)) == 1203


@pytest.mark.parametrize("change", [{"fix": "temperature(0.9)"}, {"prompt": "query: "}, {"max_tokens": 9}])
def test_another_description_is_another_shelf(tmp_path, change):
    with shelf(tmp_path, fix="none", prompt="", max_tokens=8) as there:
        there.put(["a"], block(1))
    with shelf(tmp_path, **({"fix": "none", "prompt": "", "max_tokens": 8} | change)) as there:
        assert find(there, ["a"]) == {}


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE vectors SET n_tokens = n_tokens + 1 WHERE n_tokens = 1",
        "UPDATE vectors SET vector = zeroblob(16) WHERE n_tokens = 1",
        "UPDATE vectors SET vector = x'00' WHERE n_tokens = 1",
        "UPDATE vectors SET vector = 'text' WHERE n_tokens = 1",
        "UPDATE vectors SET checksum = x'' WHERE n_tokens = 1",
    ],
)
def test_a_changed_entry_counts_as_missing_and_is_told(tmp_path, damage):
    with shelf(tmp_path) as there:
        there.put(["a", "b"], block(1, 2))
    with sqlite3.connect(there.path) as connection:
        assert connection.execute(damage).rowcount == 1
    connection.close()
    with shelf(tmp_path) as there:
        assert set(find(there, ["a", "b"])) == {"b"}
        assert "1 damaged entries" in there.notes[0]


@pytest.mark.parametrize("where", ["start", "middle"])
def test_a_file_that_is_no_database_is_built_anew_and_told(tmp_path, where):
    with shelf(tmp_path) as there:
        there.put([str(i) for i in range(300)], block(*range(300)))
    content = bytearray(there.path.read_bytes())
    content[:64] = b"x" * 64 if where == "start" else content[:64]
    content[4096:] = os.urandom(len(content) - 4096) if where == "middle" else content[4096:]
    there.path.write_bytes(content)
    with shelf(tmp_path) as there:
        assert find(there, ["1"]) == {}
        there.put(["1"], block(1))
        assert set(find(there, ["1"])) == {"1"}
        assert "was damaged and is built anew" in there.notes[0]


def test_a_full_disk_is_told_and_loses_nothing(tmp_path):
    with shelf(tmp_path) as there:
        there.put(["a"], block(1))
        pages = there._connection.execute("PRAGMA page_count").fetchone()[0]
        there._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutputError, match="The disk is full: make room"):
            there.put([f"t{i}" for i in range(500)], block(*range(500)))
    with shelf(tmp_path) as there:
        assert set(find(there, ["a", "t0", "t499"])) == {"a"}


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Give a folder you can write to"):
        shelf(tmp_path / "file" / "cache")


def test_a_file_held_by_another_process_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_WAIT", 0.05)
    with shelf(tmp_path) as there:
        other = sqlite3.connect(there.path)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OutputError, match="Another process has held it"):
            there.put(["a"], block(1))
        other.close()


def _write(folder, start):
    with Shelf(folder, {}, 4) as there:
        for i in range(start, start + 30):
            there.put([f"{i}-{j}" for j in range(5)], block(*[i] * 5))


def test_two_processes_write_at_the_same_time(tmp_path):
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    processes = [context.Process(target=_write, args=(tmp_path, start)) for start in (0, 15)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with shelf(tmp_path) as there:
        found = find(there, [f"{i}-{j}" for i in range(45) for j in range(5)])
        assert len(found) == 225
        assert there.notes == ()


KILLED = """
import sys
from pathlib import Path
import numpy as np
from uncollapse.encoders.cache import Block, Shelf
with Shelf(Path(sys.argv[1]), {}, 4) as shelf:
    for i in range(100000):
        shelf.put([f"{i}-a", f"{i}-b"], Block(np.ones((2, 4), np.float32), np.array([i, i]), np.array([i, i])))
        print(i, flush=True)
"""


def test_a_kill_leaves_whole_transactions(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    for _ in range(20):
        last = int(process.stdout.readline())
    time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with shelf(tmp_path) as there:
        found = find(there, [f"{i}-{j}" for i in range(last + 200) for j in "ab"])
        assert there.notes == ()
    assert {f"{i}-a" for i in range(last + 1)} <= set(found)
    assert all((f"{i}-a" in found) == (f"{i}-b" in found) for i in range(last + 200))


def test_finding_takes_little_more_room_than_the_vectors(tmp_path):
    n, dim = 4000, 384
    texts = [f"text {i}" for i in range(n)]
    with Shelf(tmp_path, {}, dim) as there:
        there.put(texts, Block(np.ones((n, dim), np.float32), np.ones(n, np.int64), np.ones(n, np.int64)))
        places = {text: row for row, text in enumerate(texts)}
        tracemalloc.start()
        there.find(places, Block.blank(n, dim))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1.3 * n * dim * 4


def spoil(path: Path, where: str) -> None:
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(0 if where == "start" else 4096)
        file.write(os.urandom(64 if where == "start" else size - 4096))


def test_damage_met_while_writing_is_mended_and_told(tmp_path):
    with shelf(tmp_path) as there:
        there.put(["a"], block(1))
        spoil(there.path, "start")
        there.put(["b"], block(2))
        assert set(find(there, ["a", "b"])) == {"b"}
        assert "was damaged and is built anew" in there.notes[0]


@pytest.mark.parametrize("act", ["find", "put"])
def test_what_another_process_built_anew_is_left_alone(tmp_path, act):
    numbers = [str(i) for i in range(300)]
    with shelf(tmp_path) as there:
        there.put(numbers, block(*range(300)))
    with shelf(tmp_path) as late, shelf(tmp_path) as early:
        spoil(late.path, "middle")
        assert find(early, numbers) == {}
        early.put(["new"], block(7))
        if act == "put":
            late.put(["mine"], block(8))
        assert set(find(late, ["new", "mine", *numbers])) == ({"new", "mine"} if act == "put" else {"new"})
        early.put(["newer"], block(9))
        assert "newer" in find(late, ["newer"])
        assert len(early.notes) == 1
        assert late.notes == ()


def test_a_file_removed_while_it_is_open_is_begun_again(tmp_path):
    with shelf(tmp_path) as there:
        there.put(["a"], block(1))
        there.path.unlink()
        there.put(["b"], block(2))
    with shelf(tmp_path) as there:
        assert set(find(there, ["a", "b"])) == {"b"}


def _mend_and_write(folder, number):
    with Shelf(folder, {}, 4) as there:
        for i in range(10):
            there.put([f"{number}-{i}"], block(i))


def test_processes_that_meet_the_same_damage_lose_nothing_of_each_other(tmp_path):
    with shelf(tmp_path) as there:
        there.put([str(i) for i in range(300)], block(*range(300)))
    spoil(there.path, "start")
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    processes = [context.Process(target=_mend_and_write, args=(tmp_path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    with shelf(tmp_path) as there:
        assert len(find(there, [f"{number}-{i}" for number in range(4) for i in range(10)])) == 40


def test_a_lock_held_by_another_process_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_WAIT", 0.05)
    with shelf(tmp_path) as there, cache.FileLock(there.path.with_suffix(".lock")):
        with pytest.raises(OutputError, match="Another process has held it"):
            there.put(["a"], block(1))


class NoLock:
    """A lock in a folder where nothing can be written."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        raise PermissionError(13, "Permission denied")

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_complete_cache_can_be_read_where_nothing_can_be_written(tmp_path, monkeypatch, what):
    with shelf(tmp_path) as there:
        there.put(["a"], block(1))
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, **how: connect(f"file:{path}?mode=ro", uri=True, **how))
    if what == "folder":
        monkeypatch.setattr(cache, "FileLock", NoLock)
    with shelf(tmp_path) as there:
        assert find(there, ["a"]) == {"a": (block(1).vectors.tobytes(), 1, 2)}
        with pytest.raises(OutputError, match="It is read-only.*give a folder you can write to"):
            there.put(["b"], block(2))


def test_a_file_without_its_description_gets_it(tmp_path):
    with shelf(tmp_path, fix="none") as there:
        pass
    with closing(sqlite3.connect(there.path)) as connection, connection:
        connection.execute("DELETE FROM about")
    with shelf(tmp_path, fix="none"):
        pass
    with closing(sqlite3.connect(there.path)) as connection:
        assert '"fix": "none"' in connection.execute("SELECT description FROM about").fetchone()[0]
