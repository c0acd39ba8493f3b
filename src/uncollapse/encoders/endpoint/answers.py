"""What an endpoint answers: vectors that are checked before anyone sees them, or what went wrong in a few words."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.errors import ModelError

SHOWN = 300
"""Characters of a server's message that an error shows."""

Hide = Callable[[str], str]
"""Takes the key out of a text; a server may say it back."""


class PassingError(Exception):
    """A failure that may be gone at the next try.

    Args:
        said: what happened.
        wait: seconds the server asked to wait.
    """

    def __init__(self, said: str, wait: float = 0.0) -> None:
        super().__init__(said)
        self.wait = wait


@dataclass(frozen=True, eq=False)
class Answer:
    """The vectors of one request.

    Args:
        vectors: float32 [texts, dim], in the order of the texts.
        model: what the server says the model is; "" where it says nothing.
    """

    vectors: npt.NDArray[np.float32]
    model: str


def read_answer(body: bytes, n: int, dim: int | None = None, *, hide: Hide = str) -> Answer:
    """Take the vectors of `n` texts from the body of an answer.

    Args:
        body: JSON of the protocol.
        n: texts that were sent.
        dim: length the vectors must have; None for any, as long as it is the same.
        hide: put on whatever of the body is shown.

    Raises:
        PassingError: no JSON, as of an answer that broke off.
        ModelError: JSON that does not hold one finite vector of the right length for each text.

    >>> read_answer(b'{"data": [{"index": 1, "embedding": [3]}, {"index": 0, "embedding": [2]}]}', 2).vectors.tolist()
    [[2.0], [3.0]]
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        said = plain(body, hide) or "nothing"
        raise PassingError(f"expected JSON that is whole, got {len(body):,} bytes: {said}") from None
    items = content.get("data") if isinstance(content, dict) else None
    if not isinstance(items, list):
        raise ModelError(f"expected JSON with a list of vectors under 'data', got {plain(body, hide)}")
    vectors = [_numbers(item, hide) for item in _in_order(items, n, hide)]
    _check_lengths([len(vector) for vector in vectors], dim)
    matrix = np.stack(vectors)
    if len(bad := np.flatnonzero(~np.isfinite(matrix).all(axis=1))):
        raise ModelError(f"expected finite numbers, got NaN, null or infinity in the vector of text {bad[0]} of {n}")
    model = content.get("model")
    return Answer(matrix, plain(model, hide) if isinstance(model, str) else "")


def _in_order(items: list[Any], n: int, hide: Hide) -> list[Any]:
    places = [item.get("index") if isinstance(item, dict) else None for item in items]
    if sorted(place for place in places if type(place) is int) != list(range(n)) or len(items) != n:
        raise ModelError(
            f"expected one vector for each of {n} texts, indices 0 to {n - 1}, got {_several(places, hide)}"
        )
    return [item for _, item in sorted(zip(places, items, strict=True), key=lambda pair: pair[0] or 0)]


def _several(places: list[Any], hide: Hide) -> str:
    shown = ", ".join(plain(str(place), hide)[:20] for place in places[:8])
    return f"{len(places)} with the indices {shown or '(none)'}{', ...' if len(places) > 8 else ''}"


def _numbers(item: dict[str, Any], hide: Hide) -> npt.NDArray[np.float32]:
    found = item.get("embedding")
    if not isinstance(found, list) or not found or not {type(number) for number in found} <= {float, int, type(None)}:
        raise ModelError(f"expected a list of numbers as 'embedding', got {plain(str(found), hide)[:60]!r}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        return np.array(found, np.float64).astype(np.float32)


def _check_lengths(lengths: list[int], dim: int | None) -> None:
    wanted = lengths[0] if dim is None else dim
    if wrong := next((length for length in lengths if length != wanted), 0):
        raise ModelError(f"expected vectors of {wanted} dimensions as before, got one of {wrong}")


def explain(body: bytes, hide: Hide = str) -> str:
    """What a server says went wrong, in at most 300 characters that can be printed.

    >>> explain(b'{"error": {"message": "too long", "code": 400}}'), explain(b"<h1>Bad gateway</h1>")
    ('too long', '<h1>Bad gateway</h1>')
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return plain(body, hide)
    for name in ("error", "message", "detail"):
        if isinstance(content, dict) and name in content:
            content = content[name]
    return plain(content if isinstance(content, str) else json.dumps(content), hide)


def plain(said: str | bytes, hide: Hide = str) -> str:
    """The beginning of what a server said, on one line, without control characters and without the key."""
    text = hide(said.decode(errors="replace") if isinstance(said, bytes) else said)[: 4 * SHOWN]
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:SHOWN].rstrip()


def seconds_to_wait(retry_after: str | None) -> float:
    """Seconds that a Retry-After header asks for, as a number or a date; 0 where it says nothing that can be read.

    >>> seconds_to_wait("7"), seconds_to_wait("soon"), seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT")
    (7.0, 0.0, 0.0)
    """
    if not retry_after:
        return 0.0
    try:
        wait = float(retry_after)
    except ValueError:
        try:
            wait = parsedate_to_datetime(retry_after).timestamp() - time()
        except ValueError:
            return 0.0
    return wait if 0 < wait < float("inf") else 0.0
