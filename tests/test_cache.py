"""Vectors on disk: encoded once, checked when read, whole after a kill, shared between processes."""

import copy
import multiprocessing
import os
import shutil
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
import torch

from tiny import save_tiny
from uncollapse.attention.folding import fold
from uncollapse.attention.patching import patch
from uncollapse.encoders import CachedEncoder, cache, cached, fingerprint, identity, load
from uncollapse.encoders.cache import Block, Shelf
from uncollapse.errors import ModelError, OutputError
from uncollapse.fixes import parse

TEXTS = [f"text number {i} " + "about many things " * (i % 7) for i in range(40)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load(str(save_tiny(tmp_path_factory.mktemp("model"))))


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


def own_copy(encoder):
    own = copy.copy(encoder)
    own.model = copy.deepcopy(encoder.model)
    return own


def inner(encoder):
    return encoder.model[0].model


def rotate_rows(encoder):
    weight = inner(encoder).embeddings.word_embeddings.weight
    with torch.no_grad():
        weight.copy_(weight.roll(1, 0))


def shorten(encoder):
    encoder.model.truncate_dim = 8
    encoder.dim = encoder.model.get_embedding_dimension()


def rescale_attention(encoder):
    for layer in inner(encoder).encoder.layer:
        layer.attention.self.scaling *= 2


CHANGES = {
    "folded": lambda encoder: fold(encoder.model, parse("temperature(0.5)")),
    "trained": lambda encoder: inner(encoder).embeddings.word_embeddings.weight.data.mul_(1.5),
    "rows moved": rotate_rows,
    "buffer": lambda encoder: inner(encoder).embeddings.position_ids.copy_(
        inner(encoder).embeddings.position_ids.flip(-1)
    ),
    "dtype": lambda encoder: encoder.model.bfloat16(),
    "dimension": shorten,
    "cut from the left": lambda encoder: setattr(encoder.model.tokenizer, "truncation_side", "left"),
    "plain number": rescale_attention,
    "pooling": lambda encoder: setattr(encoder.model[1], "pooling_mode", "cls"),
    "another layer": lambda encoder: setattr(
        inner(encoder).encoder.layer[0].intermediate, "intermediate_act_fn", torch.nn.Tanh()
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_changed_in_memory_has_vectors_of_its_own(encoder, tmp_path, change):
    own = own_copy(encoder)
    before = CachedEncoder(own, folder=tmp_path)
    texts = [text * 3 for text in TEXTS[:7]]
    stock = before.encode(texts)
    CHANGES[change](own)
    after = CachedEncoder(own, folder=tmp_path)
    found = after.encode(texts)
    assert after.reused == 0
    np.testing.assert_allclose(found.vectors, own.encode(texts).vectors, atol=1e-2 if change == "dtype" else 1e-6)
    assert found.vectors.shape != stock.vectors.shape or np.abs(found.vectors - stock.vectors).max() > 1e-5
    if change != "dimension":
        before.encode(texts)  # it looks anew at every call, and finds what the other kept
        assert before.reused == 7


def test_the_tensors_are_read_once_for_all_fixes(encoder, tmp_path, monkeypatch):
    own, reads, read = own_copy(encoder), [], identity._read_all
    monkeypatch.setattr(identity, "_read_all", lambda model: (reads.append(1), read(model))[1])
    for fix in (None, parse("temperature(0.5)"), parse("temperature(0.7)")):
        both = CachedEncoder(own, fix, folder=tmp_path)
        both.encode(["a"])
        both.encode(["b"])
    assert len(reads) == 1


def test_another_copy_of_the_same_model_finds_the_same_vectors(encoder, tmp_path):
    CachedEncoder(encoder, folder=tmp_path / "cache").encode(TEXTS)
    shutil.copytree(encoder.source, tmp_path / "copy")
    again = CachedEncoder(load(str(tmp_path / "copy"), batch_size=8), folder=tmp_path / "cache")
    again.encode(TEXTS)
    assert again.encoded == 0


def test_another_tokenizer_in_the_folder_is_another_model(tmp_path):
    encoder = load(str(save_tiny(tmp_path / "model")))
    CachedEncoder(encoder, folder=tmp_path / "cache").encode(["a"])
    file = tmp_path / "model" / "tokenizer.json"
    file.write_text(file.read_text().replace('"Lowercase"', '"NFC"'))
    again = CachedEncoder(load(str(tmp_path / "model")), folder=tmp_path / "cache")
    again.encode(["a"])
    assert again.reused == 0


def test_the_folders_fingerprint_can_leave_the_weights_out(tmp_path):
    source = save_tiny(tmp_path / "model")
    before = fingerprint(source), fingerprint(source, weights=False)
    file = source / "model.safetensors"
    file.write_bytes(file.read_bytes() + b" ")
    assert fingerprint(source) != before[0]
    assert fingerprint(source, weights=False) == before[1]


@pytest.mark.parametrize("library", ["torch", "tokenizers", "transformers", "sentence-transformers"])
def test_another_version_of_a_library_makes_vectors_anew(encoder, tmp_path, monkeypatch, library):
    CachedEncoder(encoder, folder=tmp_path).encode(["a"])
    version = cached.importlib.metadata.version
    monkeypatch.setattr(cached.importlib.metadata, "version", lambda name: "0.0" if name == library else version(name))
    again = CachedEncoder(encoder, folder=tmp_path)
    again.encode(["a"])
    assert again.reused == 0


def test_another_number_of_our_own_makes_vectors_anew(encoder, tmp_path, monkeypatch):
    CachedEncoder(encoder, folder=tmp_path).encode(["a"])
    monkeypatch.setattr(cached, "VECTORS", cached.VECTORS + 1)
    again = CachedEncoder(encoder, folder=tmp_path)
    again.encode(["a"])
    assert again.reused == 0


@pytest.mark.parametrize("kept", [True, False])
def test_a_model_patched_by_hand_is_refused(encoder, tmp_path, kept):
    folder = tmp_path if kept else None
    before = CachedEncoder(encoder, folder=folder)
    with patch(encoder.model, parse("temperature(0.5)")):
        for act in (lambda: CachedEncoder(encoder, folder=folder), lambda: before.encode(["a"])):
            with pytest.raises(ModelError, match=r"got one with a patch on its module .*pass the fix instead"):
                act()
    before.encode(["a"])
    assert before.encoded == 1


def test_a_hook_of_unknown_effect_is_refused_only_where_vectors_are_kept(encoder, tmp_path):
    own = own_copy(encoder)
    handle = inner(own).register_forward_hook(lambda *_: None)
    with pytest.raises(ModelError, match="got one with a hook of 'test_cache' on its module '0.model'.*--no-cache"):
        CachedEncoder(own, folder=tmp_path)
    CachedEncoder(own).encode(["a"])
    handle.remove()
    inner(own).forward = lambda *_, **__: None
    with pytest.raises(ModelError, match="a hook of 'test_cache'"):
        CachedEncoder(own, folder=tmp_path)


def test_hooks_of_the_libraries_themselves_are_let_through(encoder, tmp_path):
    own = own_copy(encoder)
    hook = lambda *_: None  # noqa: E731
    hook.__module__ = "transformers.utils.output_capturing"
    inner(own).register_forward_hook(hook)
    CachedEncoder(own, folder=tmp_path).encode(["a"])


def test_equal_texts_get_equal_rows_in_their_order(encoder, tmp_path):
    texts = ["b", "a", "b", "c c", "a", "b"]
    plain = encoder.encode(texts)
    for _ in range(2):
        found = CachedEncoder(encoder, folder=tmp_path).encode(texts)
        np.testing.assert_allclose(found.vectors, plain.vectors, atol=1e-6)
        np.testing.assert_array_equal(found.n_tokens, plain.n_tokens)
        np.testing.assert_array_equal(found.n_tokens_full, plain.n_tokens_full)


def test_no_text_gives_no_vector(encoder, tmp_path):
    assert CachedEncoder(encoder, folder=tmp_path).encode([]).vectors.shape == (0, encoder.dim)


def test_a_long_text_is_not_shown_whole(encoder, monkeypatch):
    monkeypatch.setattr(type(encoder), "vectors", lambda self, texts: np.full((len(texts), self.dim), np.nan, "f4"))
    with pytest.raises(ModelError, match="text 'my own words my own") as caught:
        CachedEncoder(encoder).encode(["my own words " * 10_000])
    assert len(str(caught.value)) < 400


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
