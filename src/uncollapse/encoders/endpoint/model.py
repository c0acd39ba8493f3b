"""A model behind a URL, in the place of one in memory."""

import hashlib
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.encoders.cache import Block, Shelf
from uncollapse.encoders.endpoint.addresses import read_address, read_key
from uncollapse.encoders.endpoint.answers import Answer
from uncollapse.encoders.endpoint.exchange import Sender, Sending, run_all
from uncollapse.encoders.sentence import NO_LIMIT, Prepared
from uncollapse.encoders.tokens import UNKNOWN_LIMIT, cut_text, open_counter
from uncollapse.errors import ModelError
from uncollapse.records import Embeddings

PROBE = "Is anybody there?"
"""Asked first, to learn the length of the vectors, and at every further run, to see whether it is still that model."""

SAME = 0.05
"""How far the probe's vector may be from what it was, as a share of its length: far above rounding in half precision,
far below another model. Judgement."""

_KEPT = "What was answered is kept: run again later to go on."
_LOST = "Nothing was kept: with a cache, a later run would go on from here."
_FIRST_TRIES = 4  # a wrong URL should not take minutes to be found out


class Endpoint:
    """A model behind a URL that speaks the `/v1/embeddings` protocol of OpenAI, of which only vectors can be seen.

    Texts are sent in batches, some at a time, and equal ones once. A request that fails in a way that may pass (status
    429 or 500 and more, no answer in time, a broken connection or answer) is tried again, later and later; any other
    failure is told at once. Every answer is checked before it is used, and with a `cache` it is kept on disk at once:
    a run that was stopped goes on where it was, and nothing that was answered is asked again.

    The key comes from the environment (UNCOLLAPSE_API_KEY, or OPENAI_API_KEY for OpenAI's own host), is sent to that
    host alone and stored nowhere.

    Args:
        name: URL, `#`, and what the server calls the model.
        max_tokens: texts are cut to so many tokens before they are sent; None sends them whole.
        tokenizer: a tokenizer.json or the folder of a model with one, to count tokens with; None counts words.
        cache: folder where vectors are kept, by URL, name of the model, and text; None keeps none.
        sending: how texts are sent.

    Attributes:
        served: what the server says the model is.
        encoded: texts whose vectors came from the server.
        reused: texts whose vectors were on disk.

    Raises:
        ModelError: no such endpoint, a key that would go unencrypted to another machine, or another model than the one
            whose vectors are kept.
        OutputError: a cache that cannot be written.

    >>> model = Endpoint("http://localhost:8080/v1#all-minilm")  # doctest: +SKIP
    >>> model.encode(["a text"]).vectors.shape  # doctest: +SKIP
    (1, 384)
    """

    architecture, folded_fix = "an embeddings endpoint", "none"
    folder_max_tokens: int | None = None
    can_cut = True

    def __init__(
        self,
        name: str,
        *,
        max_tokens: int | None = None,
        tokenizer: str | Path | None = None,
        cache: Path | None = None,
        sending: Sending | None = None,
    ) -> None:
        self.address, self.cache = read_address(name), cache
        self.name = self.address.model
        self._counter = open_counter(tokenizer)
        self._max_tokens = self._checked_limit(max_tokens)
        self._sending = sending or Sending()
        self._sender = Sender(self.address, read_key(self.address, os.environ), self._sending)
        weakref.finalize(self, self._sender.close)
        first = self._sender.send([PROBE], Event(), tries=min(_FIRST_TRIES, self._sending.tries))
        self.dim, self.served = first.vectors.shape[1], first.model
        self._sender.dim, self._sender.advice = self.dim, _KEPT if cache else _LOST
        self.encoded, self.reused = 0, 0
        self.notes: tuple[str, ...] = tuple(self._notes())
        self._recognise(first.vectors)

    def __repr__(self) -> str:
        return f"Endpoint({str(self.address)!r})"

    @property
    def max_tokens(self) -> int:
        """Tokens of a text that are sent, special tokens in."""
        return self._max_tokens

    @property
    def n_special_tokens(self) -> int:
        """Tokens added to every text."""
        return self._counter.n_special_tokens

    @property
    def unit(self) -> str:
        """What lengths are counted in: "tokens" or "words"."""
        return self._counter.unit

    @property
    def tokenizer_digest(self) -> str:
        """Tells the tokenizer that texts are counted and cut with from another; "" where words are counted."""
        return self._counter.digest

    @property
    def knows_limit(self) -> bool:
        """Whether it is known where texts are cut off; if not, they count with their full length."""
        return self.max_tokens < NO_LIMIT

    @property
    def about(self) -> dict[str, Any]:
        """What a report says of it; the fingerprint is of the address, since the weights cannot be seen."""
        said = f"{self.address} {self.served} {self.dim}"
        return {
            "name": self.name,
            "url": self.address.url,
            "served": self.served,
            "architecture": self.architecture,
            "dim": self.dim,
            "max_tokens": self.max_tokens,
            "folder_max_tokens": None,
            "unit": self.unit,
            "knows_limit": self.knows_limit,
            "folded_fix": self.folded_fix,
            "fingerprint": hashlib.sha256(said.encode()).hexdigest()[:32],
        }

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokens of each text before truncation: int64 [texts]; words, without a tokenizer."""
        return self._counter.count(texts)

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        """Where each token of a text begins and ends, in characters: int64 [tokens, 2]; words, without a tokenizer."""
        return self._counter.spans(text)

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Count the tokens of texts, and cut off what will not be sent."""
        full = self.count(texts)
        return Prepared(tuple(self._cut(texts)), np.minimum(full, self.max_tokens), full)

    def vectors(
        self,
        texts: Sequence[str],
        n_tokens: npt.NDArray[np.int64] | None = None,  # noqa: ARG002
        *,
        advance: Callable[[float], None] = lambda _: None,
    ) -> npt.NDArray[np.float32]:
        """One vector a text, float32 [texts, dim], as the server gives it, in the order of the texts.

        Args:
            texts: cut to `max_tokens` before they are sent; equal ones are sent once.
            n_tokens: not needed.
            advance: told how many texts are done, those on disk and equal ones at once.

        Raises:
            ModelError: the endpoint refuses, answers nonsense, or fails to the last try.
            OutputError: a cache that cannot be written.
        """
        cut = self._cut(texts)
        places = {text: row for row, text in enumerate(cut)}
        block = Block.blank(len(cut), self.dim)
        with self._shelf() as shelf:
            missing = shelf.find(places, block) if shelf else list(places)
            self.reused += len(places) - len(missing)
            advance(len(cut) - len(missing))

            def keep(few: list[str], answer: Answer) -> None:
                made = _block(self._of_the_same(answer))
                if shelf:
                    shelf.put(few, made)
                block.fill([places[text] for text in few], made)
                self.encoded += len(few)

            batches = self._sending.batches(sorted(missing, key=lambda text: (-len(text), text)))
            at_once = self._sending.at_once
            run_all(batches, self._sender.send, keep, at_once=at_once, advance=lambda few: advance(len(few)))
        block.repeat([places[text] for text in cut])
        return block.vectors

    def encode(
        self,
        texts: Sequence[str],
        ids: Sequence[str] | None = None,
        *,
        advance: Callable[[float], None] = lambda _: None,
    ) -> Embeddings:
        """Vectors with ids (their numbers, if none are given) and token counts; `advance` as for `vectors`."""
        prepared = self.prepare(texts)
        names = tuple(ids) if ids is not None else tuple(str(number) for number in range(len(texts)))
        vectors = self.vectors(prepared.texts, advance=advance)
        return Embeddings(vectors, names, prepared.n_tokens, prepared.n_tokens_full)

    @contextmanager
    def window(self, n_tokens: int) -> Iterator[None]:
        """Cut every text to at most `n_tokens` tokens inside the `with`, before it is sent.

        Raises:
            ModelError: less room than the special tokens take, or more than is sent anyway.
        """
        if not self.n_special_tokens < n_tokens <= self.max_tokens:
            raise ModelError(
                f"A window must be longer than the {self.n_special_tokens} special tokens of {self.name!r} and at "
                f"most {self.max_tokens} tokens, got {n_tokens}."
            )
        before, self._max_tokens = self._max_tokens, n_tokens
        try:
            yield
        finally:
            self._max_tokens = before

    def close(self) -> None:
        """Let go of the connections; they are let go of in any case when the model is no longer used."""
        self._sender.close()

    def _cut(self, texts: Sequence[str]) -> list[str]:
        room = self.max_tokens - self.n_special_tokens
        if not self.knows_limit:
            return list(texts)
        return [cut_text(text, self.spans(text), room) for text in texts]

    def _checked_limit(self, max_tokens: int | None) -> int:
        if max_tokens is None:
            return NO_LIMIT
        if not self.n_special_tokens < max_tokens <= NO_LIMIT:
            raise ModelError(
                f"The token limit must leave room for text beside the {self.n_special_tokens} special tokens of "
                f"{self.name!r}, got {max_tokens}."
            )
        return max_tokens

    def _of_the_same(self, answer: Answer) -> npt.NDArray[np.float32]:
        if answer.model != self.served:
            raise ModelError(
                f"{self.address} answered as {self.served!r} before and as {answer.model!r} now: vectors of two "
                "models must not be mixed. Wait until the server has one model behind this name."
            )
        return answer.vectors

    @contextmanager
    def _shelf(self) -> Iterator[Shelf | None]:
        if self.cache is None:
            yield None
            return
        said = {"url": self.address.url, "model": self.address.model, "served": self.served, "dim": self.dim}
        with Shelf(self.cache, said, self.dim) as shelf:
            yield shelf
            self.notes = tuple(dict.fromkeys((*self.notes, *shelf.notes)))

    def _recognise(self, vector: npt.NDArray[np.float32]) -> None:
        """Refuse to go on with the vectors of another model that had the same name."""
        with self._shelf() as shelf:
            if shelf is None:
                return
            before = Block.blank(1, self.dim)
            if shelf.find({PROBE: 0}, before):
                shelf.put([PROBE], _block(vector))
                return
            moved = float(np.linalg.norm(vector - before.vectors))
            if moved > SAME * float(np.linalg.norm(before.vectors)):
                raise ModelError(
                    f"{self.address} is not the model whose vectors are kept: its vector of a fixed text moved by "
                    f"{moved:.2g}. Remove {str(shelf.path)!r}, or give another cache."
                )

    def _notes(self) -> list[str]:
        said = [*self._counter.notes]
        if self.served and self.served != self.address.model:
            said.append(f"The server calls the model {self.address.model!r} {self.served!r}.")
        cut = (
            f"Texts are cut to {self.max_tokens} {self.unit} before they are sent; the server may still cut off more."
        )
        said.append(cut if self.knows_limit else UNKNOWN_LIMIT)
        if self.cache is not None:
            said.append(f"Vectors are kept in {self.cache} by URL, name of the model, and text.")
        return said


def _block(vectors: npt.NDArray[np.float32]) -> Block:
    """Vectors for the shelf, which counts no tokens: these are counted anew, by whatever counts them then."""
    none = np.zeros(len(vectors), np.int64)
    return Block(vectors, none, none)
