"""Vectors over HTTP: nothing lost, nothing asked twice, and a stopped run goes on."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_server import (
    DIM,
    MODEL,
    TEXTS,
    EmbeddingServer,
    Fault,
    breaks_off,
    connect,
    drips,
    fails,
    half_json,
    hash_vectors,
    never,
    sending,
    serving,
    shuffled,
)
from synthetic import corpus
from tiny import tokenizer
from uncollapse.diagnosis.profiling import profile, survey
from uncollapse.diagnosis.settings import Settings
from uncollapse.diagnosis.windows import window_lengths
from uncollapse.encoders import Endpoint, TextEncoder, inside, load, load_model
from uncollapse.encoders.endpoint.exchange import run_all
from uncollapse.encoders.endpoint.model import PROBE
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.errors import ModelError, OutputError


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with serving() as there:
        yield there


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UNCOLLAPSE_API_KEY", "OPENAI_API_KEY", "UNCOLLAPSE_KEY_OVER_HTTP"):
        monkeypatch.delenv(name, raising=False)


def test_vectors_come_in_the_order_of_their_texts_and_each_text_is_sent_once(server: EmbeddingServer) -> None:
    endpoint = connect(server)
    found = endpoint.vectors(TEXTS)
    assert found.dtype == np.float32
    assert np.array_equal(found, hash_vectors(TEXTS))
    assert server.answered == dict.fromkeys(TEXTS, 1)
    assert (endpoint.dim, endpoint.encoded, endpoint.reused) == (DIM, 60, 0)


def test_half_a_character_is_refused_by_name(server: EmbeddingServer) -> None:
    with pytest.raises(ModelError, match="expected Unicode text, got half of a surrogate pair"):
        connect(server).vectors(["\ud83d"])
    assert server.seen == []


def test_equal_texts_are_sent_once(server: EmbeddingServer) -> None:
    endpoint, texts = connect(server), ["a b", "c", "a b", "c", "d"]
    assert np.array_equal(endpoint.vectors(texts), hash_vectors(texts))
    assert server.answered == {"a b": 1, "c": 1, "d": 1}
    assert endpoint.vectors([]).shape == (0, DIM)


PASSING: dict[str, Fault] = {
    "429": fails(429),
    "429 with a wait": fails(429, Retry_After="0"),
    "500": fails(500),
    "503 without JSON": fails(503, {"deep": ["message"]}),
    "connection breaks": breaks_off,
    "half of the JSON": half_json,
    "no answer in time": never,
    "an answer that drips": drips,
}


@pytest.mark.parametrize("what", PASSING)
def test_a_failure_that_passes_loses_nothing_and_asks_nothing_twice(what: str) -> None:
    how = sending(timeout=0.3) if "time" in what or "drips" in what else sending()
    with serving(plan={0: PASSING[what], 1: shuffled, 3: PASSING[what], 4: PASSING[what]}) as server:
        endpoint = connect(server, how=how)
        assert np.array_equal(endpoint.vectors(TEXTS), hash_vectors(TEXTS))
        assert server.answered == dict.fromkeys(TEXTS, 1)
        assert len(server.seen) == 12 + 3
        assert endpoint.encoded == 60


def test_all_failures_at_once_lose_nothing(tmp_path: Path) -> None:
    faults = [*PASSING.values(), shuffled]
    plan = {number: faults[number % len(faults)] for number in range(30) if number % 3}
    with serving(plan=plan) as server:
        endpoint = connect(server, cache=tmp_path, how=sending(texts=2, timeout=0.3))
        assert np.array_equal(endpoint.vectors(TEXTS), hash_vectors(TEXTS))
        assert server.answered == dict.fromkeys(TEXTS, 1)
        again = connect(server, cache=tmp_path)
        assert np.array_equal(again.vectors(TEXTS[::-1]), hash_vectors(TEXTS[::-1]))
        assert server.answered == dict.fromkeys(TEXTS, 1)
        assert (again.encoded, again.reused) == (0, 60)


def test_requests_are_bounded_in_texts_and_characters(server: EmbeddingServer) -> None:
    texts = [*TEXTS, "long " * 100]
    connect(server, how=sending(texts=4, characters=120)).vectors(texts)
    sizes = [(len(seen.texts), sum(map(len, seen.texts))) for seen in server.seen]
    assert max(n for n, _ in sizes) == 4
    assert all(characters <= 120 or n == 1 for n, characters in sizes)
    assert len(sizes) < len(texts)


@pytest.mark.parametrize("at_once", [1, 3])
def test_requests_under_way_are_bounded(server: EmbeddingServer, at_once: int) -> None:
    server.pause = 0.02
    connect(server, how=sending(texts=2, at_once=at_once)).vectors(TEXTS[:24])
    assert server.most_under_way == at_once


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_that_is_stopped_goes_on_without_asking_again(
    server: EmbeddingServer, tmp_path: Path, kept: bool
) -> None:
    cache, done = tmp_path if kept else None, 0.0

    def stop(texts: float) -> None:
        nonlocal done
        done += texts
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        connect(server, cache=cache).vectors(TEXTS, advance=stop)
    before = server.answered
    assert 20 <= len(before) < 60
    again = connect(server, cache=cache)
    assert np.array_equal(again.vectors(TEXTS), hash_vectors(TEXTS))
    if kept:
        assert again.reused == len(before), "requests that were under way when it was stopped are kept too"
        assert server.answered == dict.fromkeys(TEXTS, 1)
    else:
        assert again.reused == 0
        assert max(server.answered.values()) == 2


def test_a_run_whose_server_goes_down_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with serving() as server:
        endpoint = connect(server, cache=tmp_path, how=sending(at_once=1, tries=2))
        name = server.name
        with pytest.raises(ModelError, match=r"ConnectError.* \(2 tries.*What was answered is kept: run again later"):
            endpoint.vectors(TEXTS, advance=lambda _: server.stop() if len(server.answered) == 30 else None)
        assert endpoint.encoded == 30
    with serving() as back:
        endpoint.address = type(endpoint.address)(back.url, MODEL)
        again = Endpoint(back.name, cache=tmp_path)
        assert again.vectors(TEXTS[:1]).shape == (1, DIM)
        assert again.reused == 0, "another port is another server"
    with serving(port=int(name.split(":")[2].split("/")[0])) as back:
        again = connect(back, cache=tmp_path)
        assert np.array_equal(again.vectors(TEXTS), hash_vectors(TEXTS))
        assert again.reused == 30
        assert server.answered + back.answered == dict.fromkeys(TEXTS, 1)


def test_a_failure_of_one_batch_keeps_the_others_that_are_under_way(server: EmbeddingServer, tmp_path: Path) -> None:
    server.pause = 0.05
    server.plan = {1: fails(400, "bad batch")}
    with pytest.raises(ModelError, match="400 bad batch"):
        connect(server, cache=tmp_path, how=sending(at_once=3)).vectors(TEXTS)
    again = connect(server, cache=tmp_path)
    again.vectors(TEXTS)
    assert server.answered == dict.fromkeys(TEXTS, 1)
    assert again.reused >= 5


def test_a_stop_ends_the_waits_of_the_others_at_once() -> None:
    waiting, woken = threading.Event(), []

    def act(part: str, stopped: threading.Event) -> str:
        if part == "patient":
            waiting.set()
            woken.append(stopped.wait(60))
            raise ModelError("too late")
        waiting.wait(60)
        raise ModelError("the first")

    with pytest.raises(ModelError, match="the first"):
        run_all(["patient", "failing"], act, lambda *_: None, at_once=2, advance=lambda _: None)
    assert woken == [True]


def test_a_stopped_request_is_not_tried_again(server: EmbeddingServer) -> None:
    endpoint, stopped = connect(server), threading.Event()
    stopped.set()
    with pytest.raises(ModelError, match="stopped"):
        endpoint._sender.send(["a"], stopped)
    assert server.seen == []


def test_progress_is_told_text_by_text(server: EmbeddingServer, tmp_path: Path) -> None:
    texts = [*TEXTS, *TEXTS[:7]]
    for _ in range(2):
        done: list[float] = []
        connect(server, cache=tmp_path).encode(texts, advance=done.append)
        assert sum(done) == len(texts)


def test_what_is_kept_belongs_to_one_server_and_model(server: EmbeddingServer, tmp_path: Path) -> None:
    connect(server, cache=tmp_path).vectors(["a"])
    other = Endpoint(f"{server.url}#other", cache=tmp_path)
    other.vectors(["a"])
    server.model = "retrained"
    served = connect(server, cache=tmp_path)
    served.vectors(["a"])
    assert (other.reused, served.reused) == (0, 0)
    assert any("calls the model 'hashed' 'retrained'" in note for note in served.notes)


def test_another_model_under_the_same_name_is_found_out(tmp_path: Path) -> None:
    with serving() as server:
        connect(server, cache=tmp_path).vectors(TEXTS)
        server.embed = lambda texts: hash_vectors(texts) * (1 + 1e-3)
        assert np.array_equal(connect(server, cache=tmp_path).vectors(TEXTS), hash_vectors(TEXTS))
        server.embed = lambda texts: hash_vectors([f"{text}!" for text in texts])
        with pytest.raises(ModelError, match="is not the model whose vectors are kept.*Remove .*sqlite"):
            connect(server, cache=tmp_path)
        assert connect(server).dim == DIM


def test_a_cache_that_cannot_be_written_is_told(server: EmbeddingServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Could not keep vectors"):
        connect(server, cache=tmp_path / "file")


def test_tokens_are_words_unless_a_tokenizer_is_named(server: EmbeddingServer, tmp_path: Path) -> None:
    endpoint = connect(server)
    found = endpoint.encode(TEXTS, TEXTS)
    assert found.n_tokens.tolist() == found.n_tokens_full.tolist() == [len(text.split()) for text in TEXTS]
    assert endpoint.spans("two  words").tolist() == [[0, 3], [5, 10]]
    assert any("counted in words" in note for note in endpoint.notes)
    assert (endpoint.unit, endpoint.knows_limit) == ("words", False)
    assert any("not known, so every text counts with its full length" in note for note in endpoint.notes)
    own = tokenizer(12)
    limited = own.backend_tokenizer
    limited.enable_truncation(5)
    limited.enable_padding(length=40)
    limited.save(str(tmp_path / "tokenizer.json"))
    own = tokenizer(12)
    for place in (tmp_path, tmp_path / "tokenizer.json"):
        counted = connect(server, tokenizer=place, max_tokens=12)
        assert counted.count(TEXTS).tolist() == [len(ids) for ids in own(TEXTS, truncation=False)["input_ids"]]
        assert (counted.n_special_tokens, counted.unit, counted.knows_limit) == (2, "tokens", True)
        text = "Two  words."
        assert [text[a:b] for a, b in counted.spans(text)] == [*"Twowords."]
        assert len(counted.notes) == 1
        assert "Texts are cut to 12 tokens before they are sent" in counted.notes[0]


def test_a_limit_cuts_texts_before_they_are_sent(server: EmbeddingServer, tmp_path: Path) -> None:
    endpoint = connect(server, max_tokens=4)
    found = endpoint.encode(["one two three four five", "one two"])
    assert server.answered == {"one two three four": 1, "one two": 1}
    assert found.n_tokens.tolist() == [4, 2]
    assert found.n_tokens_full.tolist() == [5, 2]
    tokenizer().save_pretrained(tmp_path)
    connect(server, tokenizer=tmp_path, max_tokens=7).vectors(["abc def"])  # letters are tokens, two are special
    assert server.answered["abc de"] == 1
    for wrong in (0, 2):
        with pytest.raises(ModelError, match=f"must leave room for text beside the 2 special tokens .*, got {wrong}"):
            connect(server, tokenizer=tmp_path, max_tokens=wrong)


def test_windows_cut_texts_and_leave_the_limit_as_it_was(server: EmbeddingServer) -> None:
    endpoint = connect(server, max_tokens=20)
    assert window_lengths(endpoint) == (8, 16, 20)
    with endpoint.window(3):
        assert np.array_equal(endpoint.vectors(["a b c d e"]), hash_vectors(["a b c"]))
    assert endpoint.max_tokens == 20
    for n in (0, 21):
        with (
            pytest.raises(ModelError, match=f"longer than the 0 special tokens of 'hashed' and at most 20.*got {n}"),
            endpoint.window(n),
        ):
            pass


def test_a_whole_profile_comes_over_http(server: EmbeddingServer, tmp_path: Path) -> None:
    endpoint, texts = connect(server, cache=tmp_path, how=sending(texts=32)), corpus(120)
    assert isinstance(endpoint, TextEncoder)
    settings = Settings(windows=50, replicates=64)
    found = profile(endpoint, texts, settings, surveyed=survey(endpoint, texts, settings))
    assert set(found.views) == {"as_is", "windows"}
    assert max(server.answered.values()) == 1
    assert len(server.answered) > 120 + 50


def test_a_report_can_say_what_it_is(server: EmbeddingServer) -> None:
    about = connect(server).about
    assert (about["name"], about["url"], about["dim"], about["served"]) == (MODEL, server.url, DIM, MODEL)
    assert json.dumps(about)


def test_load_connects_keeps_vectors_and_refuses_what_would_do_nothing(
    server: EmbeddingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uncollapse.encoders import loading

    monkeypatch.setattr(loading, "default_folder", lambda: tmp_path)
    endpoint = load(server.name, max_tokens="table", batch_size=3)
    assert isinstance(endpoint, Endpoint)
    assert endpoint.max_tokens == NO_LIMIT
    endpoint.vectors(TEXTS)
    assert {len(seen.texts) for seen in server.seen} == {3}
    again = load(server.name, max_tokens=99)
    assert isinstance(again, Endpoint)
    again.vectors(TEXTS)
    assert (again.max_tokens, again.reused) == (99, 60)
    elsewhere = load(server.name, cache=tmp_path / "other")
    assert isinstance(elsewhere, Endpoint)
    elsewhere.vectors(TEXTS)
    assert (elsewhere.unit, elsewhere.reused) == ("words", 0)
    for given in ({"device": "cpu"}, {"dtype": "float32"}, {"trust_remote_code": True}):
        with pytest.raises(ModelError, match=f"A model behind a URL has no use for {next(iter(given))}: only models"):
            load(server.name, **given)
    with pytest.raises(ModelError, match="token limit must be 'model', 'table' or a number, got 'all'"):
        load(server.name, max_tokens="all")


def test_what_acts_inside_a_model_is_refused_by_name(server: EmbeddingServer) -> None:
    with pytest.raises(ModelError, match="Expected a model that can run here.*got the URL of a server, which only"):
        load_model(server.name)
    with pytest.raises(ModelError, match=r"temperature\(0.8\) acts inside a model, and of 'hashed' only vectors can"):
        inside(connect(server), "temperature(0.8)")


def test_the_first_question_is_no_text_of_the_user(server: EmbeddingServer, tmp_path: Path) -> None:
    for _ in range(3):
        connect(server, cache=tmp_path)
    assert server.probed == 3
    assert server.seen == []
    assert PROBE not in server.answered


@pytest.mark.real
def test_minilm_behind_a_url_is_minilm(tmp_path: Path) -> None:
    model = load_model("minilm", device="cpu", max_tokens="table")
    lock = threading.Lock()

    def embed(texts: list[str]) -> Any:
        with lock:
            return model.vectors(texts)

    texts = [text.text for text in corpus(40)]
    faults: dict[int, Fault | None] = {0: fails(429, Retry_After="0"), 2: breaks_off, 3: half_json, 5: fails(500)}
    with serving(embed, plan=faults) as server:
        folder = model.source
        endpoint = connect(server, cache=tmp_path, how=sending(timeout=60.0), tokenizer=folder, max_tokens=512)
        found, own = endpoint.encode(texts), model.encode(texts)
        assert server.answered == dict.fromkeys(texts, 1)
        assert inside(model, "x") is model.model
    assert np.abs(found.vectors - own.vectors).max() < 1e-5
    assert found.n_tokens.tolist() == own.n_tokens.tolist()
    assert endpoint.n_special_tokens == model.n_special_tokens == 2
