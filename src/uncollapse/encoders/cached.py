"""An encoder that encodes every text once: what it knows is on disk, and what is new goes there."""

import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.patching import patch
from uncollapse.encoders.cache import Block, Shelf
from uncollapse.encoders.identity import refuse_hooks, settings_digest, tensor_digest
from uncollapse.encoders.remembered import Memory
from uncollapse.encoders.sentence import Role, SentenceEncoder
from uncollapse.encoders.sources import fingerprint
from uncollapse.records import Embeddings, chunks

VECTORS = 2
"""Grows when the way texts are cut or a fix is put on changes what a vector is; vectors of before are not found."""

_KEPT_AT_ONCE = 256
"""Texts between two writes: what a kill may cost."""

_EXCERPT = 60
"""Characters of a text that an error shows."""

_LIBRARIES = ("sentence-transformers", "transformers", "tokenizers", "torch")


class CachedEncoder:
    """A model under some fixes of its inside, with its vectors on disk.

    The model is patched only while it encodes, and is left as it came. Texts are encoded longest first, so that the
    time left is never promised too short. What is on disk is found by the model in memory, not by its name: its
    tensors and settings are looked at anew at every `encode`, so a model that was trained or folded has its own.

    Args:
        encoder: the model.
        fixes: put on while encoding, one inside the other; none for the model as it is.
        folder: where vectors are kept; None keeps none.
        remember: also keep them in memory until `forget`, and do not look at the model again for texts that are there;
            for many pipelines in a row that share a model.

    Attributes:
        encoded, reused: texts that went through the model, and texts that were known.
        tokens: of all texts that were asked for, which is what they would cost without any cache.

    Raises:
        ModelError: a model that is patched already, or that a hook changes.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        fixes: Sequence[ModelFix] = (),
        *,
        folder: Path | None = None,
        remember: bool = False,
    ) -> None:
        self.encoder, self.fixes, self.folder = encoder, tuple(fixes), folder
        self.name, self.dim, self.max_tokens = encoder.name, encoder.dim, encoder.max_tokens
        self.encoded, self.reused, self.tokens = 0, 0, 0
        self._memory = Memory() if remember else None
        self.notes: tuple[str, ...] = ()
        refuse_hooks(encoder.model, kept=folder is not None)
        self._files = fingerprint(encoder.source, weights=False) if folder else ""

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

        Raises:
            ModelError: a model that was patched by hand, or a vector that is not finite.
            OutputError: a cache that cannot be read or written.
        """
        refuse_hooks(self.encoder.model, kept=self.folder is not None)
        encoder = self.encoder.as_role(role)
        places = _first_places(texts)
        block = Block.blank(len(texts), self.dim)
        remembered = self._memory.of(encoder.tower, encoder.prompt) if self._memory else None
        unknown = remembered.find(places, block) if remembered else dict(places)
        with self._shelf(encoder) if unknown else nullcontext() as shelf:
            missing = shelf.find(unknown, block) if shelf else list(unknown)
            self.reused += len(places) - len(missing)
            advance(self.work(texts) - self.work(missing))
            missing.sort(key=lambda text: (-len(text), text))
            with self._patched() if missing else nullcontext():
                for few in chunks(missing, _KEPT_AT_ONCE):
                    made = _encoded(encoder, few)
                    if shelf:
                        shelf.put(few, made)
                    block.fill([places[text] for text in few], made)
                    advance(self.work(few))
        self.encoded += len(missing)
        if remembered:
            remembered.put(unknown, block)
        block.repeat([places[text] for text in texts])
        self.tokens += int(block.n_tokens.sum())
        names = tuple(ids) if ids is not None else tuple(str(number) for number in range(len(texts)))
        return Embeddings(block.vectors, names, block.n_tokens, block.n_tokens_full)

    def forget(self) -> None:
        """Drop what is in memory; what is on disk stays."""
        if self._memory:
            self._memory.clear()

    def _work(self, text: str) -> int:
        return min(len(text), 8 * self.max_tokens)

    @contextmanager
    def _patched(self) -> Iterator[None]:
        with ExitStack() as undo:
            for fix in self.fixes:
                undo.enter_context(patch(self.encoder.model, fix))
            yield

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
            "vectors": VECTORS,
            "files": self._files,
            "tensors": tensor_digest(encoder.model),
            "settings": settings_digest(encoder.model),
            "tokenizer": [
                getattr(encoder.model.tokenizer, side, None) for side in ("truncation_side", "padding_side")
            ],
            "dim": encoder.dim,
            "fix": " + ".join(str(fix) for fix in self.fixes) or "none",
            "tower": encoder.tower,
            "prompt": encoder.prompt,
            "max_tokens": encoder.max_tokens,
            **{library: importlib.metadata.version(library) for library in _LIBRARIES},
        }


def _first_places(texts: Sequence[str]) -> dict[str, int]:
    """Where each text is first."""
    places: dict[str, int] = {}
    for place, text in enumerate(texts):
        places.setdefault(text, place)
    return places


def _encoded(encoder: SentenceEncoder, texts: Sequence[str]) -> Block:
    prepared = encoder.prepare(texts)
    block = Block(encoder.vectors(prepared.texts, prepared.n_tokens), prepared.n_tokens, prepared.n_tokens_full)
    Embeddings(
        block.vectors, tuple(text[:_EXCERPT] for text in texts), block.n_tokens, block.n_tokens_full
    )  # nothing that is not finite is kept
    return block
