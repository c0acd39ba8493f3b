"""An encoder that encodes every text once: what it knows is on disk, and what is new goes there."""

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from uncollapse.attention.modelfixes import ModelFix
from uncollapse.encoders.cache import Block, Shelf
from uncollapse.encoders.exported import ExportedEncoder, Scorable
from uncollapse.encoders.identity import refuse_hooks, settings_digest, tensor_digest
from uncollapse.encoders.reading import applied, limit_note, reading_under
from uncollapse.encoders.remembered import Memory
from uncollapse.encoders.runtimes import FORMATS
from uncollapse.encoders.sentence import Role, SentenceEncoder
from uncollapse.encoders.sources import fingerprint
from uncollapse.encoders.states import Stretch, part_vectors, require_states
from uncollapse.records import Embeddings, chunks

VECTORS = 2
"""Grows when the way texts are cut or a fix is put on changes what a vector is; vectors of before are not found."""

_KEPT_AT_ONCE = 256
"""Texts between two writes: what a kill may cost."""

_EXCERPT = 60
"""Characters of a text that an error shows."""

_LIBRARIES = ("sentence-transformers", "transformers", "tokenizers", "torch")


@dataclass(frozen=True, eq=False)
class _Order:
    """What is to be found or made.

    Args:
        keys: one a vector; equal ones are made once.
        work: of one.
        make: the vectors of a few.
        about: what beside the model decides the vectors.
    """

    keys: list[str]
    work: Callable[[str], float]
    make: Callable[[Sequence[str]], Block]
    about: Mapping[str, object] = field(default_factory=dict)

    def total(self, keys: Sequence[str]) -> float:
        """Work of several."""
        return sum(self.work(key) for key in keys)


class CachedEncoder:
    """A model under some fixes of its inside, with its vectors on disk.

    The model is patched only while it encodes, and is left as it came. Texts are encoded longest first, so that the
    time left is never promised too short. What is on disk is found by the model in memory, not by its name: its
    tensors and settings are looked at anew at every `encode`, so a model that was trained or folded has its own.
    Fixes that let a model read on (positions, rope) raise its token limit as long as they are on, and `encoder` counts
    and cuts texts up to that; `notes` says so.

    Args:
        encoder: the model, which may be an exported one.
        fixes: put on while encoding, one inside the other; none for the model as it is, or one that was exported.
        folder: where vectors are kept; None keeps none.
        remember: also keep them in memory until `forget`, and do not look at the model again for texts that are there;
            for many pipelines in a row that share a model.

    Attributes:
        encoded, reused: texts that went through the model, and texts that were known.
        tokens: of all texts that were asked for, which is what they would cost without any cache.
        fresh: of those that were not in memory, which is what they would cost without files of an earlier run.

    Raises:
        ModelError: a model that is patched already, or that a hook changes; fixes of the inside of an exported one.
    """

    def __init__(
        self,
        encoder: Scorable,
        fixes: Sequence[ModelFix] = (),
        *,
        folder: Path | None = None,
        remember: bool = False,
    ) -> None:
        self.encoder, self.fixes, self.folder = reading_under(encoder, fixes), tuple(fixes), folder
        self.name, self.dim, self.max_tokens = encoder.name, encoder.dim, self.encoder.max_tokens
        self.encoded, self.reused, self.tokens, self.fresh = 0, 0, 0, 0
        self._memory = Memory() if remember else None
        self.notes: tuple[str, ...] = limit_note(encoder, self.fixes)
        self._refuse_hooks()
        self._raw: Scorable | None = None
        self._files = _files_of(encoder) if folder else ""

    @property
    def inner_product(self) -> bool:
        """Whether the model's vectors are meant to be compared as they are, and not by their directions alone."""
        return self.encoder.similarity == "dot"

    def work(self, texts: Sequence[str]) -> int:
        """About how much texts cost to encode: characters up to where truncation is sure."""
        return sum(self._work(text) for text in texts)

    def encode(
        self,
        texts: Sequence[str],
        ids: Sequence[str] | None = None,
        *,
        role: Role = "document",
        raw: bool = False,
        advance: Callable[[float], None] = lambda _: None,
    ) -> Embeddings:
        """Vectors with ids (their numbers, if none are given) and token counts.

        Args:
            texts: equal ones are encoded once.
            ids: one a text.
            role: which prompt goes before them.
            raw: whether vectors are taken before the model makes their norms 1.
            advance: told about work done, in the units of `work`.

        Raises:
            ModelError: a model that was patched by hand, one without raw vectors, or a vector that is not finite.
            OutputError: a cache that cannot be read or written.
        """
        encoder = (self._unnormalised() if raw else self.encoder).as_role(role)
        order = _Order(list(texts), self._work, lambda few: _encoded(encoder, few))
        return self._recall(encoder, order, ids, advance)

    def encode_parts(
        self,
        texts: Sequence[str],
        parts: Sequence[Sequence[Stretch]],
        *,
        role: Role = "document",
        advance: Callable[[float], None] = lambda _: None,
    ) -> Embeddings:
        """Vectors of parts of texts, from the states of their tokens, those of a text one after another.

        Args:
            texts: each goes through the model once, as far as it reads.
            parts: of each text, some characters; see `part_vectors`.
            role: which prompt goes before the texts.
            advance: told about work done, in the units of `work`.

        Returns:
            Vectors with numbers for ids and, for each, the token counts of its whole text.

        Raises:
            ArchitectureError: a model without vectors of parts; see `require_states`.
            ModelError: a model that was patched by hand, or a vector that is not finite.
            OutputError: a cache that cannot be read or written.
        """
        require_states(self.encoder)
        assert isinstance(self.encoder, SentenceEncoder)  # or it would have been refused
        encoder = self.encoder.as_role(role)
        known = {_part_key(text, part): (text, part) for text, few in zip(texts, parts, strict=True) for part in few}
        shares = {text: self._work(text) / len(few) for text, few in zip(texts, parts, strict=True)}
        order = _Order(
            [_part_key(text, part) for text, few in zip(texts, parts, strict=True) for part in few],
            lambda key: shares[known[key][0]],
            lambda keys: _encoded_parts(encoder, [known[key] for key in keys]),
            {"vectors of": "parts"},
        )
        return self._recall(encoder, order, None, advance)

    def _recall(
        self, encoder: Scorable, order: "_Order", ids: Sequence[str] | None, advance: Callable[[float], None]
    ) -> Embeddings:
        """What is known from disk, and the rest made, a few at a time."""
        keys, places = order.keys, _first_places(order.keys)
        block = Block.blank(len(keys), self.dim)
        whole = getattr(encoder, "model", None) is getattr(self.encoder, "model", None) and not order.about
        remembered = self._memory.of(encoder.tower, encoder.prompt) if self._memory and whole else None
        unknown = remembered.find(places, block) if remembered else dict(places)
        if unknown:
            self._refuse_hooks()
        with self._shelf(encoder, order.about) if unknown else nullcontext() as shelf:
            missing = shelf.find(unknown, block) if shelf else list(unknown)
            self.reused += len(places) - len(missing)
            advance(order.total(keys) - order.total(missing))
            missing.sort(key=lambda key: (-len(key), key))
            with applied(self.encoder, self.fixes) if missing else nullcontext():
                for few in chunks(missing, _KEPT_AT_ONCE):
                    made = order.make(few)
                    if shelf:
                        shelf.put(few, made)
                    block.fill([places[key] for key in few], made)
                    advance(order.total(few))
        self.encoded += len(missing)
        if remembered:
            remembered.put(unknown, block)
        self.fresh += int(block.n_tokens[list(unknown.values())].sum())
        block.repeat([places[key] for key in keys])
        self.tokens += int(block.n_tokens.sum())
        names = tuple(ids) if ids is not None else tuple(str(number) for number in range(len(keys)))
        return Embeddings(block.vectors, names, block.n_tokens, block.n_tokens_full)

    def forget(self) -> None:
        """Drop what is in memory; what is on disk stays."""
        if self._memory:
            self._memory.clear()

    def _refuse_hooks(self) -> None:
        if isinstance(self.encoder, SentenceEncoder):
            refuse_hooks(self.encoder.model, kept=self.folder is not None)

    def _unnormalised(self) -> Scorable:
        if self._raw is None:
            self._raw = self.encoder.unnormalised()
        return self._raw

    def _work(self, text: str) -> int:
        return min(len(text), 8 * self.max_tokens)

    @contextmanager
    def _shelf(self, encoder: Scorable, about: Mapping[str, object]) -> Iterator[Shelf | None]:
        if self.folder is None:
            yield None
            return
        with ExitStack() as closing:
            shelf = closing.enter_context(Shelf(self.folder, {**self._description(encoder), **about}, self.dim))
            yield shelf
            self.notes = tuple(dict.fromkeys((*self.notes, *shelf.notes)))

    def _description(self, encoder: Scorable) -> dict[str, object]:
        return {
            "vectors": VECTORS,
            "files": self._files,
            **_identity(encoder),
            "dim": encoder.dim,
            "fix": " + ".join(str(fix) for fix in self.fixes) or "none",
            "tower": encoder.tower,
            "prompt": encoder.prompt,
            "max_tokens": encoder.max_tokens,
        }


def _files_of(encoder: Scorable) -> str:
    return encoder.fingerprint if isinstance(encoder, ExportedEncoder) else fingerprint(encoder.source, weights=False)


def _identity(encoder: Scorable) -> dict[str, object]:
    """What says that a model, and what runs it, are the same: of one in torch, as it is in memory."""
    if isinstance(encoder, ExportedEncoder):
        return {one: importlib.metadata.version(one) for one in (FORMATS[encoder.export.format].runtime, "tokenizers")}
    model = encoder.model
    return {
        "tensors": tensor_digest(model),
        "settings": settings_digest(model),
        "tokenizer": [getattr(model.tokenizer, side, None) for side in ("truncation_side", "padding_side")],
        **{library: importlib.metadata.version(library) for library in _LIBRARIES},
    }


def _first_places(texts: Sequence[str]) -> dict[str, int]:
    """Where each text is first."""
    places: dict[str, int] = {}
    for place, text in enumerate(texts):
        places.setdefault(text, place)
    return places


def _encoded(encoder: Scorable, texts: Sequence[str]) -> Block:
    prepared = encoder.prepare(texts)
    block = Block(encoder.vectors(prepared.texts, prepared.n_tokens), prepared.n_tokens, prepared.n_tokens_full)
    return _checked(block, texts)


def _checked(block: Block, texts: Sequence[str]) -> Block:
    """The block, if all of it is finite: nothing else is kept."""
    Embeddings(block.vectors, tuple(text[:_EXCERPT] for text in texts), block.n_tokens, block.n_tokens_full)
    return block


def _part_key(text: str, part: Stretch) -> str:
    """Of one length for all parts of a text, so that they stay together when keys are sorted by length."""
    return f"{text}\0{part[0]:010d}:{part[1]:010d}"


def _encoded_parts(encoder: SentenceEncoder, wanted: Sequence[tuple[str, Stretch]]) -> Block:
    """The vectors of parts, with the token counts of their texts; neighbours of one text share a pass."""
    grouped = [(text, [part for _, part in few]) for text, few in groupby(wanted, key=lambda one: one[0])]
    texts, parts = [text for text, _ in grouped], [few for _, few in grouped]
    prepared, sizes = encoder.prepare(texts), [len(few) for few in parts]
    vectors = np.concatenate(part_vectors(encoder, prepared.texts, parts, prepared.n_tokens))
    return _checked(
        Block(vectors, np.repeat(prepared.n_tokens, sizes), np.repeat(prepared.n_tokens_full, sizes)),
        [text for text, _ in wanted],
    )
