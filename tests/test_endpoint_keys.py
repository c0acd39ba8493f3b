"""Where texts go, and the key: to its own host, and shown to nobody else."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import RedirectResponse, Response

from embedding_server import (
    DIM,
    TEXTS,
    EmbeddingServer,
    Fault,
    body_of,
    connect,
    fails,
    redirects,
    sending,
    serving,
    spoil,
)
from uncollapse.encoders import Endpoint
from uncollapse.encoders.endpoint.addresses import read_address, read_key
from uncollapse.errors import ModelError

SECRET = "sk-5ecret/K3y+that=nobody.sees"


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with serving() as there:
        yield there


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UNCOLLAPSE_API_KEY", "OPENAI_API_KEY", "UNCOLLAPSE_KEY_OVER_HTTP"):
        monkeypatch.delenv(name, raising=False)


def test_the_key_is_sent_and_shown_nowhere(
    server: EmbeddingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UNCOLLAPSE_API_KEY", f" {SECRET}\n")
    caplog.set_level(logging.DEBUG)
    endpoint = connect(server, cache=tmp_path, how=sending(tries=2))
    embeddings = endpoint.encode(TEXTS)
    shown = [repr(endpoint), repr(vars(endpoint)), repr(embeddings), *endpoint.notes, json.dumps(endpoint.about)]
    shown += [repr(vars(endpoint._sender)), repr(endpoint._sender._client.headers)]
    assert {seen.headers["authorization"] for seen in server.seen} == {f"Bearer {SECRET}"}
    padded = "x" * 290 + SECRET
    echoes = [
        fails(401, f"bad key {SECRET}"),
        fails(401, padded),
        fails(500, {"said": [SECRET]}),
        body_of(lambda _: {"data": SECRET}),
        body_of(lambda content: content | {"model": SECRET}),
        spoil(0, embedding=SECRET),
        spoil(0, index=SECRET),
        half_of(SECRET),
    ]
    for fault in echoes:
        server.always = fault
        with pytest.raises(ModelError) as caught:
            endpoint.vectors(["new"])
        shown += [str(caught.value), repr(caught.value), str(caught.value.__cause__)]
    assert caplog.records
    shown += [record.getMessage() for record in caplog.records]
    server.always = redirects_to(f"http://elsewhere/{SECRET}")  # a header, which the HTTP library notes for itself
    with pytest.raises(ModelError, match="http://elsewhere/.key.") as caught:
        endpoint.vectors(["new"])
    shown.append(str(caught.value))
    shown += [file.read_bytes().decode("latin-1") for file in tmp_path.rglob("*") if file.is_file()]
    parts = {SECRET[start : start + 8] for start in range(len(SECRET) - 8)}
    assert not [text[:300] for text in shown if any(part in text for part in parts)]
    assert any("bad key [key]" in text for text in shown)


def redirects_to(url: str) -> Fault:
    async def fault(_: EmbeddingServer, __: list[str]) -> Any:
        return RedirectResponse(url, 301)

    return fault


def half_of(said: str) -> Fault:
    async def fault(_: EmbeddingServer, __: list[str]) -> Any:
        return Response('{"data": "' + said)

    return fault


def test_redirects_are_not_followed(server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNCOLLAPSE_API_KEY", SECRET)
    endpoint = connect(server)
    server.always = redirects
    with pytest.raises(ModelError, match=r"it points to another URL \(307: http://localhost:\d+/v1/embeddings\)"):
        endpoint.vectors(["a"])
    assert len(server.seen) == 1


NAMES = {
    "http://localhost:8080/v1#m": ("http://localhost:8080/v1", "m"),
    "HTTPS://API.OpenAI.com/v1/#text-embedding-3-small": ("https://api.openai.com/v1", "text-embedding-3-small"),
    "http://localhost:8080/v1/embeddings#BAAI/bge-m3": ("http://localhost:8080/v1", "BAAI/bge-m3"),
    "http://[::1]:11434/v1#nomic-embed-text:latest": ("http://[::1]:11434/v1", "nomic-embed-text:latest"),
    "http://localhost:7997#a#b": ("http://localhost:7997", "a#b"),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_endpoints_have_one_spelling(name: str) -> None:
    url, model = NAMES[name]
    address = read_address(name)
    assert (address.url, address.model) == (url, model)
    assert address.route == f"{url}/embeddings"
    assert read_address(str(address)) == address


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("http://localhost:8080/v1", "Expected the name of a model behind the URL, got 'http.*Write it as URL#MODEL"),
        ("http://localhost:8080/v1# ", "Expected the name of a model behind the URL"),
        ("http://#m", "Expected the URL of an endpoint, got 'http://'"),
        ("http://localhost:99999/v1#m", "Expected the URL of an endpoint"),
        ("http://local host/v1#m", "Expected the URL of an endpoint"),
        ("http://[::1/v1#m", "Expected the URL of an endpoint"),
        ("ftp://localhost/v1#m", "Expected the URL of an endpoint"),
    ],
)
def test_what_is_no_endpoint_is_refused(name: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        Endpoint(name)


@pytest.mark.parametrize("name", ["http://me:hunter2@host/v1#m", "https://h/v1?key=hunter2#m", "http://hunter2@h#m"])
def test_secrets_in_a_url_are_refused_and_not_shown(name: str) -> None:
    with pytest.raises(ModelError, match="without a user, password or query.*UNCOLLAPSE_API_KEY") as caught:
        Endpoint(name)
    assert "hunter2" not in str(caught.value)


KEYS = [
    ("https://h/v1", {"UNCOLLAPSE_API_KEY": "k"}, "k"),
    ("http://localhost:1/v1", {"UNCOLLAPSE_API_KEY": "k"}, "k"),
    ("http://127.1.2.3:1/v1", {"UNCOLLAPSE_API_KEY": "k"}, "k"),
    ("http://[::1]:1/v1", {"UNCOLLAPSE_API_KEY": "k"}, "k"),
    ("http://h/v1", {"UNCOLLAPSE_API_KEY": "k", "UNCOLLAPSE_KEY_OVER_HTTP": "yes"}, "k"),
    ("http://h/v1", {"UNCOLLAPSE_API_KEY": " "}, None),
    ("https://h/v1", {}, None),
    ("https://api.openai.com/v1", {"OPENAI_API_KEY": "o"}, "o"),
    ("https://api.openai.com/v1", {"OPENAI_API_KEY": "o", "UNCOLLAPSE_API_KEY": "k"}, "k"),
    ("https://eu.api.openai.com/v1", {"OPENAI_API_KEY": "o"}, "o"),
    ("https://h/v1", {"OPENAI_API_KEY": "o"}, None),
    ("https://api.openai.com.evil.org/v1", {"OPENAI_API_KEY": "o"}, None),
    ("https://notopenai.com/v1", {"OPENAI_API_KEY": "o"}, None),
]


@pytest.mark.parametrize(("url", "environment", "key"), KEYS)
def test_a_key_goes_where_it_belongs(url: str, environment: dict[str, str], key: str | None) -> None:
    found = read_key(read_address(f"{url}#m"), environment)
    assert (found.header() if found else None) == ({"Authorization": f"Bearer {key}"} if key else None)


@pytest.mark.parametrize(
    "url", ["http://h/v1", "http://192.168.0.7:80/v1", "http://localhost.evil.org/v1", "http://0.0.0.0/v1"]
)
def test_a_key_does_not_go_unencrypted_to_another_machine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNCOLLAPSE_API_KEY", SECRET)
    with pytest.raises(ModelError, match=r"would go unencrypted to .*UNCOLLAPSE_KEY_OVER_HTTP=yes") as caught:
        Endpoint(f"{url}#m")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel", 'quo"ted', "back\\slash"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNCOLLAPSE_API_KEY", key)
    with pytest.raises(ModelError, match="The key in UNCOLLAPSE_API_KEY holds characters that no key has") as caught:
        Endpoint("https://h/v1#m")
    assert key not in str(caught.value)


def test_no_proxy_stands_between_a_server_on_this_machine(
    server: EmbeddingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert connect(server).dim == DIM
