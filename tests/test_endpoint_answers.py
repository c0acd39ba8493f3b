"""What a server says: believed only when it fits, shown in words when not, and waited for, but not for ever."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_server import (
    DIM,
    EmbeddingServer,
    Fault,
    answer,
    body_of,
    connect,
    fails,
    hash_vectors,
    sending,
    serving,
    spoil,
)
from uncollapse.encoders import Endpoint, Sending
from uncollapse.encoders.endpoint.answers import explain
from uncollapse.errors import ModelError, UncollapseError


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with serving() as there:
        yield there


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UNCOLLAPSE_API_KEY", "OPENAI_API_KEY", "UNCOLLAPSE_KEY_OVER_HTTP"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 424])
def test_a_refusal_is_told_at_once_with_the_servers_words(server: EmbeddingServer, status: int) -> None:
    endpoint = connect(server)
    server.always = fails(status, "no such thing " * 100)
    with pytest.raises(ModelError, match=rf"sent a batch of 1 beginning with 'a': {status} no such thing") as caught:
        endpoint.vectors(["a"])
    assert len(server.seen) == 1
    assert str(caught.value).count("no such thing") == 300 // 14
    assert caught.value.__cause__ is None


ERRORS: dict[str, tuple[bytes, str]] = {
    "OpenAI": (b'{"error": {"message": "too long", "type": "x"}}', "too long"),
    "TEI": (b'{"error": "too long", "error_type": "Validation"}', "too long"),
    "vLLM": (b'{"object": "error", "message": "too long", "code": 400}', "too long"),
    "FastAPI": (b'{"detail": [{"msg": "too long"}]}', '[{"msg": "too long"}]'),
    "page": (b"<h1>Bad\n\tGateway</h1>\x1b[31m", "<h1>Bad Gateway</h1> [31m"),
    "nothing": (b"", ""),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_what_servers_say_is_shown_in_words(kind: str) -> None:
    body, said = ERRORS[kind]
    assert explain(body) == said


def too_few(content: dict[str, Any]) -> None:
    content["data"].pop()


def too_many(content: dict[str, Any]) -> None:
    content["data"].append(content["data"][0])


def short(content: dict[str, Any]) -> None:
    content["data"][1]["embedding"].pop()


WRONG: dict[str, tuple[Fault, str]] = {
    "too few": (body_of(too_few), "one vector for each of 3 texts, indices 0 to 2, got 2"),
    "too many": (body_of(too_many), "got 4 with the indices 0, 1, 2, 0"),
    "twice the same index": (spoil(2, index=1), "got 3 with the indices 0, 1, 1"),
    "index that is none": (spoil(2, index=True), "got 3 with the indices 0, 1, True"),
    "no index": (spoil(2, index=None), "got 3 with the indices 0, 1, None"),
    "one shorter": (body_of(short), "expected vectors of 8 dimensions as before, got one of 7"),
    "another dimension": (
        body_of(lambda _: answer(np.ones((3, 9), np.float32))),
        "expected vectors of 8 dimensions as before, got one of 9",
    ),
    "NaN": (spoil(1, embedding=[float("nan")] * DIM), "got NaN, null or infinity in the vector of text 1 of 3"),
    "null": (spoil(1, embedding=[None] * DIM), "got NaN, null or infinity in the vector of text 1 of 3"),
    "too large": (spoil(1, embedding=[1e39] * DIM), "got NaN, null or infinity in the vector of text 1 of 3"),
    "text": (spoil(1, embedding="AAAA"), "expected a list of numbers as 'embedding', got 'AAAA'"),
    "texts": (spoil(1, embedding=["1"] * DIM), "expected a list of numbers as 'embedding', got"),
    "nested": (spoil(1, embedding=[[1.0]] * DIM), "expected a list of numbers as 'embedding', got"),
    "empty": (spoil(1, embedding=[]), r"expected a list of numbers as 'embedding', got '\[\]'"),
    "no list": (body_of(lambda _: {"data": 3}), "expected JSON with a list of vectors under 'data', got"),
    "a list": (body_of(lambda _: [1]), "expected JSON with a list of vectors under 'data', got"),
    "an error with status 200": (body_of(lambda _: {"error": "no"}), "under 'data', got {.error.: .no.}"),
    "another model": (
        body_of(lambda content: content | {"model": "other"}),
        "answered as 'hashed' before and as 'other' now",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_answer_that_cannot_be_believed_is_refused_by_its_batch(
    server: EmbeddingServer, tmp_path: Path, what: str
) -> None:
    endpoint = connect(server, cache=tmp_path)
    server.always, said = WRONG[what]
    with pytest.raises(ModelError, match=said) as caught:
        endpoint.vectors(["a", "bb", "ccc"])
    assert len(server.seen) == 1, "it would be no better the next time"
    assert "sent a batch of 3 beginning with 'ccc'" in str(caught.value) or what == "another model"
    server.always = None
    assert np.array_equal(endpoint.vectors(["a", "bb", "ccc"]), hash_vectors(["a", "bb", "ccc"]))
    assert endpoint.reused == 0, "nothing of a refused answer is kept"


def test_waits_grow_at_random_and_are_as_long_as_the_server_asks() -> None:
    waits: list[float] = []
    plan = {0: fails(429, Retry_After="7"), 1: fails(503, Retry_After="soon"), **{n: fails(500) for n in range(2, 6)}}
    with serving(plan=plan) as server:
        how = sending(first_wait=0.5, sleep=waits.append)
        connect(server, how=how).vectors(["a"])
    assert len(waits) == 6
    assert waits[0] == 7
    assert all(0 <= wait <= 0.5 * 2**tried for tried, wait in enumerate(waits) if tried)
    assert len(set(waits)) == 6


def test_a_wait_until_a_date_is_kept() -> None:
    waits: list[float] = []
    with serving(plan={0: fails(429, Retry_After="Fri, 31 Dec 2100 23:59:59 GMT")}) as server:
        how = sending(seconds=1e12, sleep=waits.append)
        connect(server, how=how).vectors(["a"])
    assert waits[0] > 1e9


def test_patience_ends(server: EmbeddingServer) -> None:
    waits: list[float] = []
    endpoint = connect(server, how=sending(tries=3, sleep=waits.append))
    server.always = fails(503, "busy")
    with pytest.raises(ModelError, match=r"#hashed, sent a batch of 1 beginning with 'a': 503 busy \(3 tries in"):
        endpoint.vectors(["a"])
    assert len(server.seen) == 3
    assert len(waits) == 2
    server.always = fails(429, "slow down", Retry_After="3600")
    with pytest.raises(ModelError, match=r"429 slow down \(1 try in 0 s, and it asks to wait 3,600 s\). Nothing was"):
        endpoint.vectors(["a"])
    assert len(waits) == 2, "a wait longer than the patience is not begun"


def test_a_server_that_is_not_there_is_told_soon() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    waits: list[float] = []
    with pytest.raises(ModelError, match=r"ConnectError.*\(4 tries.*Check the URL, and that the server is up"):
        Endpoint(f"http://127.0.0.1:{port}/v1#m", sending=sending(sleep=waits.append, first_wait=1.0))
    assert sum(waits) < 10


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong in ({"texts": 0}, {"characters": 0}, {"at_once": 0}, {"tries": 0}, {"timeout": 0}, {"seconds": -1}):
        with pytest.raises(UncollapseError, match=f"{next(iter(wrong))} must be"):
            Sending(**wrong)
    with pytest.raises(UncollapseError, match="first_wait must be 0 seconds or more, got -1"):
        Sending(first_wait=-1)
