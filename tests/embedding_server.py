"""A real server on loopback that speaks the protocol of `/v1/embeddings`, with faults that are planted."""

import asyncio
import json
import socket
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from uncollapse.encoders import Endpoint, Sending

DIM = 8
MODEL = "hashed"
TEXTS = [f"text {i} " + "and more " * (i % 9) for i in range(60)]

Send = Callable[[dict[str, Any]], Awaitable[None]]


def hash_vectors(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """Vectors that a text alone decides."""
    rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(DIM) for text in texts]
    return np.array(rows, np.float32).reshape(-1, DIM)


def answer(vectors: np.ndarray[Any, Any], model: str = MODEL) -> dict[str, Any]:
    """The JSON of an answer."""
    data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(vectors.tolist())]
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": 1, "total_tokens": 1}}


@dataclass(frozen=True)
class Seen:
    """A request, and whether it was answered in full and in time."""

    texts: tuple[str, ...]
    answered: bool
    headers: dict[str, str] = field(repr=False, default_factory=dict)


Fault = Callable[["EmbeddingServer", list[str]], Awaitable[Response]]


class EmbeddingServer:
    """Answers with `embed` unless a fault is planned for the request.

    Args:
        embed: texts to vectors.
        plan: fault of the n-th request, counted from 0 and without the client's first one; None or missing for none.
        port: 0 for any that is free.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[str]], Any] = hash_vectors,
        plan: dict[int, Fault | None] | None = None,
        port: int = 0,
    ) -> None:
        self.embed, self.plan = embed, plan or {}
        self.always: Fault | None = None
        self.model, self.probed = MODEL, 0
        self.seen: list[Seen] = []
        self.under_way = self.most_under_way = 0
        self.hold = asyncio.Event()
        self.pause = 0.0
        app = Starlette(routes=[Route("/v1/embeddings", self._embeddings, methods=["POST"])])
        quiet: dict[str, Any] = {"log_config": None, "log_level": "critical", "lifespan": "off", "ws": "none"}
        config = uvicorn.Config(app, http="h11", loop="asyncio", timeout_graceful_shutdown=1, **quiet)
        self._server = uvicorn.Server(config)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._socket.listen()
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def name(self) -> str:
        return f"{self.url}#{MODEL}"

    @property
    def answered(self) -> Counter[str]:
        """How often each text was answered in full and in time."""
        return Counter(text for seen in self.seen if seen.answered for text in seen.texts)

    async def _embeddings(self, request: Request) -> Response:
        content = await request.json()
        texts, headers = list(content["input"]), dict(request.headers)
        assert content["encoding_format"] == "float"
        if texts == ["Is anybody there?"]:
            self.probed += 1
            if self.always is None:
                return JSONResponse(answer(self.embed(texts), self.model))
        number = len(self.seen)
        fault = self.always or self.plan.get(number)
        self.seen.append(Seen(tuple(texts), fault is None or fault in HARMLESS, headers))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.pause:
                await asyncio.sleep(self.pause)
            return await fault(self, texts) if fault else JSONResponse(answer(self.embed(texts), self.model))
        finally:
            self.under_way -= 1

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let held requests go, and end."""
        self._server.should_exit = True
        self.hold.set()  # read by polling, as it belongs to no loop
        self._thread.join()
        self._socket.close()


@contextmanager
def serving(*arguments: Any, **keywords: Any) -> Iterator[EmbeddingServer]:
    """A server for the duration of a `with`."""
    server = EmbeddingServer(*arguments, **keywords)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def sending(**how: Any) -> Sending:
    """Small requests, and no waits between tries."""
    return Sending(**({"texts": 5, "first_wait": 0.0, "timeout": 5.0} | how))


def connect(server: EmbeddingServer, *, how: Sending | None = None, **settings: Any) -> Endpoint:
    """The client of a server."""
    return Endpoint(server.name, sending=how or sending(), **settings)


class Broken(Response):
    """An answer whose connection ends in the middle of the body."""

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:  # noqa: ARG002
        length = str(len(self.body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        raise ConnectionError("planned")  # the server then closes the connection


def fails(status: int, message: Any = "planned", **headers: str) -> Fault:
    """An error status with a message, and headers whose names have underscores for hyphens."""

    async def fault(_: EmbeddingServer, __: list[str]) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return JSONResponse({"error": {"message": message}}, status, headers=named)

    return fault


def body_of(change: Callable[[dict[str, Any]], Any]) -> Fault:
    """A whole answer, changed."""

    async def fault(server: EmbeddingServer, texts: list[str]) -> Response:
        content = answer(server.embed(texts), server.model)
        return Response(json.dumps(change(content) or content), media_type="application/json")

    return fault


def spoil(row: int, **values: Any) -> Fault:
    """An answer with other values in one of its items."""
    return body_of(lambda content: content["data"][row].update(values))


async def breaks_off(server: EmbeddingServer, texts: list[str]) -> Response:
    """The connection ends in the middle of the body."""
    return Broken(json.dumps(answer(server.embed(texts))))


async def half_json(server: EmbeddingServer, texts: list[str]) -> Response:
    """A whole body that holds half of the JSON."""
    said = json.dumps(answer(server.embed(texts)))
    return Response(said[: len(said) // 2], media_type="application/json")


async def never(server: EmbeddingServer, _: list[str]) -> Response:
    """No answer until the server ends."""
    while not server.hold.is_set():
        await asyncio.sleep(0.01)
    return Response(status_code=503)


async def drips(server: EmbeddingServer, texts: list[str]) -> Response:
    """A right answer that comes in slowly: two seconds of blanks first."""
    return Dripping(server, json.dumps(answer(server.embed(texts), server.model)))


class Dripping(Response):
    """Blanks, one at a time, and then the body, unless the server ends."""

    def __init__(self, server: EmbeddingServer, body: str) -> None:
        super().__init__(body)
        self.server = server

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            if self.server.hold.is_set():
                break
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": self.body})


async def redirects(server: EmbeddingServer, _: list[str]) -> Response:
    """Another host to go to."""
    return RedirectResponse(server.url.replace("127.0.0.1", "localhost") + "/embeddings", 307)


def _shuffle(content: dict[str, Any]) -> None:
    content["data"] = content["data"][::-1]


shuffled = body_of(_shuffle)
HARMLESS = (shuffled,)
