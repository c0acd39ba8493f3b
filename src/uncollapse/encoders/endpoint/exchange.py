"""Texts out and vectors back: some requests at a time, each tried again where the failure may pass."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from threading import Event
from time import monotonic
from typing import TypeVar

import httpx2
import tenacity

from uncollapse.encoders.endpoint.addresses import Address, Secret
from uncollapse.encoders.endpoint.answers import (
    Answer,
    Hide,
    PassingError,
    explain,
    plain,
    read_answer,
    seconds_to_wait,
)
from uncollapse.errors import ModelError, UncollapseError

MOST_BYTES = 1 << 28
"""The longest answer that is read."""

_EXCERPT = 40  # characters of a text that an error shows
_TOO_MANY, _SERVER_ERRORS = 429, 500
_LONGEST_WAIT = 60.0

_TOO_LONG = "Texts may be longer than the model takes: cut them (--max-tokens); or too many: --batch-size."
_ADVICE = {
    400: _TOO_LONG,
    401: "Check the key in UNCOLLAPSE_API_KEY.",
    403: "Check the key in UNCOLLAPSE_API_KEY, and what it may be used for.",
    404: "Check the URL (most servers want /v1 at its end) and the name of the model.",
    413: _TOO_LONG,
    422: _TOO_LONG,
}

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Sending:
    """How texts are sent.

    Args:
        texts: the most texts a request.
        characters: the most characters of these texts together; a longer text goes alone.
        at_once: the most requests under way.
        timeout: seconds an answer may take.
        tries: how often a request is sent before giving up.
        seconds: how long it is tried, waits included.
        first_wait: seconds within which the second try is made; the time doubles from try to try, up to a minute,
            and a wait the server asks for is kept.
        sleep: called with the seconds to wait; None really waits.
    """

    texts: int = 32
    characters: int = 250_000
    at_once: int = 4
    timeout: float = 60.0
    tries: int = 8
    seconds: float = 300.0
    first_wait: float = 1.0
    sleep: Callable[[float], None] | None = None

    def __post_init__(self) -> None:
        for name in ("texts", "characters", "at_once", "tries"):
            if getattr(self, name) < 1:
                raise UncollapseError(f"{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("timeout", "seconds"):
            if not getattr(self, name) > 0:
                raise UncollapseError(f"{name} must be more than 0 seconds, got {getattr(self, name)}.")
        if not self.first_wait >= 0:
            raise UncollapseError(f"first_wait must be 0 seconds or more, got {self.first_wait}.")

    def batches(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """Consecutive texts that fit into one request.

        >>> list(Sending(texts=2, characters=5).batches(["abcdefg", "ab", "cd", "e", "f"]))
        [['abcdefg'], ['ab', 'cd'], ['e', 'f']]
        """
        few: list[str] = []
        room = self.characters
        for text in texts:
            if few and (len(few) == self.texts or len(text) > room):
                yield few
                few, room = [], self.characters
            few.append(text)
            room -= len(text)
        if few:
            yield few


class Sender:
    """Sends texts to one endpoint and gives back vectors that are checked.

    The key goes to the endpoint's own host only: a redirect is refused, and no proxy of the environment is used for an
    endpoint on this machine.

    Args:
        address: of the endpoint.
        key: shown to it; None for none.
        sending: how.

    Attributes:
        dim: length the vectors must have; None until it is known.
        advice: what to do when it fails to the last try.
    """

    def __init__(self, address: Address, key: Secret | None, sending: Sending) -> None:
        self.address, self.sending = address, sending
        self.dim: int | None = None
        self.advice = "Check the URL, and that the server is up."
        self._hide: Hide = key.hide if key else str
        self._client = httpx2.Client(
            headers=key.header() if key else {},
            timeout=sending.timeout,
            limits=httpx2.Limits(max_connections=sending.at_once),
            follow_redirects=False,
            trust_env=not address.is_here,
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def send(self, texts: Sequence[str], stopped: Event, *, tries: int | None = None) -> Answer:
        """The vectors of some texts, after as many tries as it takes and is allowed.

        Args:
            texts: of one request.
            stopped: set when the answer is no longer wanted: no further try is made.
            tries: other than usual.

        Raises:
            ModelError: the endpoint refuses, answers nonsense, or fails to the last try.
        """
        start, most = monotonic(), tries or self.sending.tries
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(PassingError),
            wait=_backoff(self.sending.first_wait),
            stop=tenacity.stop_any(
                tenacity.stop_after_attempt(most),
                tenacity.stop_before_delay(self.sending.seconds),
                tenacity.stop_when_event_set(stopped),
            ),
            sleep=self.sending.sleep or (lambda seconds: _pause(stopped, seconds)),
            reraise=True,
        )
        try:
            return retrying(self._try, texts, stopped)
        except PassingError as error:
            tried = retrying.statistics["attempt_number"]
            asked = f", and it asks to wait {error.wait:,.0f} s" if error.wait else ""
            patience = f"{tried} {'try' if tried == 1 else 'tries'} in {monotonic() - start:,.0f} s{asked}"
            raise ModelError(f"{self._about(texts)}: {error} ({patience}). {self.advice}") from None
        except ModelError as error:
            raise ModelError(f"{self._about(texts)}: {error}.") from None

    def _about(self, texts: Sequence[str]) -> str:
        first = plain(texts[0][: 4 * _EXCERPT])[:_EXCERPT]
        return f"{self.address}, sent a batch of {len(texts)} beginning with {first!r}"

    def _try(self, texts: Sequence[str], stopped: Event) -> Answer:
        if stopped.is_set():
            raise PassingError("stopped")
        content = {"model": self.address.model, "input": list(texts), "encoding_format": "float"}
        try:
            with self._client.stream("POST", self.address.route, json=content) as response:
                body = _read(response, monotonic() + self.sending.timeout)
        except UnicodeEncodeError:
            raise ModelError("expected Unicode text, got half of a surrogate pair, which is no character") from None
        except httpx2.InvalidURL as error:
            raise ModelError(f"expected a URL that can be asked: {error}") from None
        except httpx2.RequestError as error:
            said = plain(str(error), self._hide)
            raise PassingError(f"{type(error).__name__}{f': {said}' if said else ''}") from None
        self._check_status(response, body)
        return read_answer(body, len(texts), self.dim, hide=self._hide)

    def _check_status(self, response: httpx2.Response, body: bytes) -> None:
        code = response.status_code
        if response.is_success:
            return
        if response.is_redirect:
            there = plain(response.headers.get("location", ""), self._hide)
            raise ModelError(
                f"it points to another URL ({code}: {there}), which is not followed. Give it if it is right"
            )
        said = f"{code} {explain(body, self._hide) or response.reason_phrase}"
        if code == _TOO_MANY or code >= _SERVER_ERRORS:
            raise PassingError(said, seconds_to_wait(response.headers.get("retry-after")))
        raise ModelError(f"{said.rstrip('.')}. {_ADVICE.get(code, 'Check what the server takes')}".rstrip("."))


def _pause(stopped: Event, seconds: float) -> None:
    stopped.wait(seconds)


def _read(response: httpx2.Response, deadline: float) -> bytes:
    """The whole body; one that drips in for longer than an answer may take is given up."""
    body = bytearray()
    for part in response.iter_bytes():
        body += part
        if len(body) > MOST_BYTES:
            raise ModelError(f"expected an answer of at most {MOST_BYTES:,} bytes, got more")
        if monotonic() > deadline:
            raise PassingError("the answer took too long")
    return bytes(body)


def _backoff(first: float) -> Callable[[tenacity.RetryCallState], float]:
    """At random within a time that doubles from try to try, but never before the server wants to be asked again."""
    spread = tenacity.wait_random_exponential(multiplier=first, max=_LONGEST_WAIT)

    def seconds(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.wait if isinstance(error, PassingError) else 0.0
        return max(asked, spread(state))

    return seconds


def run_all(
    parts: Iterable[T],
    act: Callable[[T, Event], R],
    keep: Callable[[T, R], None],
    *,
    at_once: int,
    advance: Callable[[T], None],
) -> None:
    """Act on every part, some at a time in threads, and keep what comes back, in the order it comes.

    When anything fails, here or there, no further part is begun; those under way are waited for and kept too.

    Args:
        parts: consumed as room is made.
        act: called in a thread with a part, and an event that is set when its result is hardly wanted any more.
        keep: called in this thread.
        at_once: the most threads.
        advance: called in this thread after a part was kept.
    """
    stopped = Event()
    running: dict[Future[R], T] = {}
    with ThreadPoolExecutor(at_once, thread_name_prefix="endpoint") as pool:
        try:
            for part in parts:
                running[pool.submit(act, part, stopped)] = part
                if len(running) == at_once:
                    _keep_done(running, keep, advance)
            while running:
                _keep_done(running, keep, advance)
        except BaseException:
            stopped.set()
            _keep_rest(running, keep)
            raise


def _keep_done(running: dict[Future[R], T], keep: Callable[[T, R], None], advance: Callable[[T], None]) -> None:
    """Wait until one is done, or more."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        result = future.result()
        part = running.pop(future)
        keep(part, result)
        advance(part)


def _keep_rest(running: dict[Future[R], T], keep: Callable[[T, R], None]) -> None:
    for future, part in running.items():
        with suppress(Exception):  # the first failure is the one that is told
            keep(part, future.result())
