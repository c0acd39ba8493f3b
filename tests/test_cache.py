"""Vectors on disk: encoded once, checked when read, whole after a kill, shared between processes."""

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from tiny import save_tiny
from uncollapse.encoders import CachedEncoder, cache, cached, load
from uncollapse.encoders.cache import Entry, Shelf
from uncollapse.errors import ModelError, OutputError
from uncollapse.fixes import parse

TEXTS = [f"text number {i} " + "about many things " * (i % 7) for i in range(40)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("model"))))


def entry(seed: int, dim: int = 4) -> Entry:
    return Entry(np.random.default_rng(seed).standard_normal(dim).astype(np.float32), seed, seed + 1)


def shelf(folder, **description) -> Shelf:
    return Shelf(folder, description, 4)


def test_what_is_put_is_found_bit_for_bit(tmp_path):
    with shelf(tmp_path) as there:
        there.put(["a", "b", ""], [entry(1), entry(2), entry(3)])
    with shelf(tmp_path) as there:
        found = there.find(["b", "c", "", "b"])
    assert set(found) == {"b", ""}
    assert found["b"].vector.tobytes() == entry(2).vector.tobytes()
    assert (found["b"].n_tokens, found["b"].n_tokens_full) == (2, 3)


def test_more_texts_than_one_query_holds(tmp_path):
    texts = [str(i) for i in range(1203)]
    with shelf(tmp_path) as there:
        there.put(texts, [entry(i) for i in range(1203)])
        assert len(there.find(texts)) == 1203


@pytest.mark.parametrize("change", [{"fix": "temperature(0.9)"}, {"prompt": "query: "}, {"max_tokens": 9}])
def test_another_description_is_another_shelf(tmp_path, change):
    with shelf(tmp_path, fix="none", prompt="", max_tokens=8) as there:
        there.put(["a"], [entry(1)])
    with shelf(tmp_path, **({"fix": "none", "prompt": "", "max_tokens": 8} | change)) as there:
        assert there.find(["a"]) == {}


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
        there.put(["a", "b"], [entry(1), entry(2)])
    with sqlite3.connect(there.path) as connection:
        assert connection.execute(damage).rowcount == 1
    connection.close()
    with shelf(tmp_path) as there:
        assert set(there.find(["a", "b"])) == {"b"}
        assert "1 damaged entries" in there.notes[0]


@pytest.mark.parametrize("where", ["start", "middle"])
def test_a_file_that_is_no_database_is_built_anew_and_told(tmp_path, where):
    with shelf(tmp_path) as there:
        there.put([str(i) for i in range(300)], [entry(i) for i in range(300)])
    content = bytearray(there.path.read_bytes())
    content[:64] = b"x" * 64 if where == "start" else content[:64]
    content[4096:] = os.urandom(len(content) - 4096) if where == "middle" else content[4096:]
    there.path.write_bytes(content)
    with shelf(tmp_path) as there:
        assert there.find(["1"]) == {}
        there.put(["1"], [entry(1)])
        assert set(there.find(["1"])) == {"1"}
        assert "was damaged and is built anew" in there.notes[0]


def test_a_full_disk_is_told_and_loses_nothing(tmp_path):
    with shelf(tmp_path) as there:
        there.put(["a"], [entry(1)])
        pages = there._connection.execute("PRAGMA page_count").fetchone()[0]
        there._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(OutputError, match="The disk is full: make room"):
            there.put([f"t{i}" for i in range(500)], [entry(i) for i in range(500)])
    with shelf(tmp_path) as there:
        assert set(there.find(["a", "t0", "t499"])) == {"a"}


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
            there.put(["a"], [entry(1)])
        other.close()


def _write(folder, start):
    with Shelf(folder, {}, 4) as there:
        for i in range(start, start + 30):
            there.put([f"{i}-{j}" for j in range(5)], [entry(i) for _ in range(5)])


def test_two_processes_write_at_the_same_time(tmp_path):
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    processes = [context.Process(target=_write, args=(tmp_path, start)) for start in (0, 15)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    with shelf(tmp_path) as there:
        found = there.find([f"{i}-{j}" for i in range(45) for j in range(5)])
        assert len(found) == 225
        assert there.notes == ()


KILLED = """
import sys
from pathlib import Path
import numpy as np
from uncollapse.encoders.cache import Entry, Shelf
with Shelf(Path(sys.argv[1]), {}, 4) as shelf:
    for i in range(100000):
        shelf.put([f"{i}-a", f"{i}-b"], [Entry(np.ones(4, np.float32), i, i)] * 2)
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
        found = there.find([f"{i}-{j}" for i in range(last + 200) for j in "ab"])
        assert there.notes == ()
    assert {f"{i}-a" for i in range(last + 1)} <= set(found)
    assert all((f"{i}-a" in found) == (f"{i}-b" in found) for i in range(last + 200))


def test_cached_vectors_are_the_encoders_own(encoder, tmp_path):
    plain = encoder.encode(TEXTS, ids=TEXTS)
    first = CachedEncoder(encoder, folder=tmp_path)
    again = CachedEncoder(encoder, folder=tmp_path)
    for found in (first.encode(TEXTS, TEXTS), again.encode(TEXTS, TEXTS)):
        np.testing.assert_allclose(found.vectors, plain.vectors, atol=1e-6)
        np.testing.assert_array_equal(found.n_tokens, plain.n_tokens)
        np.testing.assert_array_equal(found.n_tokens_full, plain.n_tokens_full)
        assert found.ids == plain.ids
    assert (first.encoded, first.reused, again.encoded, again.reused) == (len(set(TEXTS)), 0, 0, len(set(TEXTS)))
    assert first.encode(TEXTS).vectors.tobytes() == again.encode(TEXTS).vectors.tobytes()


def test_equal_texts_are_encoded_once(encoder, monkeypatch):
    seen = []
    vectors = type(encoder).vectors
    monkeypatch.setattr(type(encoder), "vectors", lambda self, texts: seen.extend(texts) or vectors(self, texts))
    found = CachedEncoder(encoder).encode(["a b", "c", "a b"])
    assert sorted(seen) == ["a b", "c"]
    np.testing.assert_array_equal(found.vectors[0], found.vectors[2])


def test_a_stopped_run_goes_on_where_it_was(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(cached, "_KEPT_AT_ONCE", 10)
    stopped = CachedEncoder(encoder, folder=tmp_path)
    done = []

    def stop(work):
        done.append(work)
        if len(done) == 3:  # what is known, then two portions
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.encode(TEXTS, advance=stop)
    going_on = CachedEncoder(encoder, folder=tmp_path)
    going_on.encode(TEXTS)
    assert (going_on.reused, going_on.encoded) == (20, 20)


def test_a_fix_is_on_only_while_it_encodes(encoder, tmp_path):
    before = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    stock = CachedEncoder(encoder, folder=tmp_path).encode(TEXTS)
    fixed = CachedEncoder(encoder, parse("temperature(0.5)"), folder=tmp_path).encode(TEXTS)
    again = CachedEncoder(encoder, folder=tmp_path).encode(TEXTS)
    assert np.abs(stock.vectors - fixed.vectors).max() > 1e-4
    assert stock.vectors.tobytes() == again.vectors.tobytes()
    assert all((tensor == before[name]).all() for name, tensor in encoder.model.state_dict().items())


def test_roles_with_other_prompts_are_kept_apart(encoder, tmp_path, monkeypatch):
    monkeypatch.setitem(encoder.model.prompts, "query", "find: ")
    both = CachedEncoder(encoder, folder=tmp_path)
    query, document = (both.encode(["things"], role=role) for role in ("query", "document"))
    assert np.abs(query.vectors - document.vectors).max() > 1e-4
    assert query.n_tokens[0] > document.n_tokens[0]
    plain = encoder.encode(["find: things"])
    np.testing.assert_allclose(query.vectors, plain.vectors, atol=1e-6)


def test_progress_sums_to_the_work(encoder, tmp_path):
    encoder = CachedEncoder(encoder, folder=tmp_path)
    texts = [*TEXTS, *TEXTS[:5]]
    for _ in range(2):
        done = []
        encoder.encode(texts, advance=done.append)
        assert sum(done) == encoder.work(texts)


def test_vectors_that_are_not_finite_are_never_kept(encoder, tmp_path, monkeypatch):
    broken = CachedEncoder(encoder, folder=tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(type(encoder), "vectors", lambda self, texts: np.full((len(texts), self.dim), np.nan, "f4"))
        with pytest.raises(ModelError, match="must be finite"):
            broken.encode(TEXTS)
    assert np.isfinite(broken.encode(TEXTS).vectors).all()
    assert broken.reused == 0
