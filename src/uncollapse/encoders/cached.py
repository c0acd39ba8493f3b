"""An encoder that encodes every text once: what it knows is on disk, and what is new goes there."""

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.encoders.cache import Entry, Shelf
from uncollapse.encoders.sentence import Role, SentenceEncoder
from uncollapse.encoders.sources import fingerprint
from uncollapse.records import Embeddings, chunks

_KEPT_AT_ONCE = 256
"""Texts between two writes: what a kill may cost."""

_LIBRARIES = ("sentence-transformers", "transformers")


class CachedEncoder:
    """A model under one fix, with its vectors on disk.

    The model is patched only while it encodes, and is left as it came. Texts are encoded longest first, so that the
    time left is never promised too short.

    Args:
        encoder: the model.
        fix: put on while encoding; None for the model as it is.
        folder: where vectors are kept; None keeps none.
    """

    def __init__(
        self, encoder: SentenceEncoder, fix: Temperature | None = None, *, folder: Path | None = None
    ) -> None:
        self.encoder, self.fix, self.folder = encoder, fix, folder
        self.name, self.dim, self.max_tokens = encoder.name, encoder.dim, encoder.max_tokens
        self.encoded, self.reused = 0, 0
        self.notes: tuple[str, ...] = ()
        self._weights = fingerprint(encoder.source) if folder else ""

    @property
    def inner_product(self) -> bool:
        """Whether the model's vectors are meant to be compared as they are, and not by their directions alone."""
        return str(self.encoder.model.similarity_fn_name) == "dot"

    def work(self, texts: Sequence[str]) -> int:
        """About how much texts cost to encode: characters up to where truncation is sure."""
        return sum(self._work(text) for text in texts)

    def encode(
        self,
        texts: Sequence[str],
        ids: Sequence[str] | None = None,
        *,
        role: Role = "document",
        advance: Callable[[float], None] = lambda _: None,
    ) -> Embeddings:
        """Vectors with ids (their numbers, if none are given) and token counts.

        Args:
            texts: equal ones are encoded once.
            ids: one a text.
            role: which prompt goes before them.
            advance: told about work done, in the units of `work`.
        """
        encoder = self.encoder.as_role(role)
        with self._shelf(encoder) as shelf:
            known = shelf.find(texts) if shelf else {}
            self.reused += len(known)
            missing = sorted({text for text in texts if text not in known}, key=lambda text: (-len(text), text))
            advance(self.work(texts) - self.work(missing))
            with self._patched() if missing else nullcontext():
                for few in chunks(missing, _KEPT_AT_ONCE):
                    known.update(_encoded(encoder, few, shelf))
                    advance(self.work(few))
        self.encoded += len(missing)
        return _gathered(texts, ids, known, self.dim)

    def _work(self, text: str) -> int:
        return min(len(text), 8 * self.max_tokens)

    def _patched(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.fix is None else patch(self.encoder.model, self.fix)

    @contextmanager
    def _shelf(self, encoder: SentenceEncoder) -> Iterator[Shelf | None]:
        if self.folder is None:
            yield None
            return
        with ExitStack() as closing:
            shelf = closing.enter_context(Shelf(self.folder, self._description(encoder), self.dim))
            yield shelf
            self.notes = tuple(dict.fromkeys((*self.notes, *shelf.notes)))

    def _description(self, encoder: SentenceEncoder) -> dict[str, object]:
        return {
            "weights": self._weights,
            "fix": str(self.fix or "none"),
            "tower": encoder.tower,
            "prompt": encoder.prompt,
            "max_tokens": encoder.max_tokens,
            **{library: importlib.metadata.version(library) for library in _LIBRARIES},
        }


def _encoded(encoder: SentenceEncoder, texts: Sequence[str], shelf: Shelf | None) -> dict[str, Entry]:
    prepared = encoder.prepare(texts)
    vectors = encoder.vectors(prepared.texts)
    counts = zip(prepared.n_tokens.tolist(), prepared.n_tokens_full.tolist(), strict=True)
    entries = [Entry(vector, seen, full) for vector, (seen, full) in zip(vectors, counts, strict=True)]
    Embeddings(vectors, tuple(texts), prepared.n_tokens, prepared.n_tokens_full)  # nothing that is not finite is kept
    if shelf:
        shelf.put(texts, entries)
    return dict(zip(texts, entries, strict=True))


def _gathered(texts: Sequence[str], ids: Sequence[str] | None, known: dict[str, Entry], dim: int) -> Embeddings:
    entries = [known[text] for text in texts]
    return Embeddings(
        np.stack([entry.vector for entry in entries]) if entries else np.empty((0, dim), np.float32),
        tuple(ids) if ids is not None else tuple(str(number) for number in range(len(texts))),
        np.array([entry.n_tokens for entry in entries], dtype=np.int64),
        np.array([entry.n_tokens_full for entry in entries], dtype=np.int64),
    )
