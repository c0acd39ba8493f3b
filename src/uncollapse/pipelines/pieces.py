"""Texts encoded in pieces: cut, embedded piece by piece, and one vector or several a text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.encoders import CachedEncoder, ExportedEncoder, Role, Scorable, require_states
from uncollapse.encoders.batches import by_characters
from uncollapse.errors import FixError
from uncollapse.fixes.kinds import Piece, TextFix
from uncollapse.pipelines.several import Several, Vectors, direct
from uncollapse.records import Embeddings

Advance = Callable[[float], None]
Ints = npt.NDArray[np.int64]

Then = Callable[[Embeddings], Embeddings]
"""What vectors go through."""

CHARACTERS = 4_000_000
"""Characters of texts that are cut and encoded together: some ten thousand pieces."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Texts encoded in pieces, and what that took.

    Args:
        several: their vectors.
        tokens: that went through the model, or would have without a cache; special tokens and prompts in.
    """

    several: Several
    tokens: int


@dataclass(frozen=True, eq=False)
class _Cut:
    """A text in pieces, with its tokens before truncation: special ones in, and without them."""

    pieces: Sequence[Piece]
    n_tokens: int
    n_own: int

    @property
    def sizes(self) -> list[int]:
        """Tokens that each vector is of."""
        return [size for piece in self.pieces for size in piece.n_tokens]


def room_of(encoder: Scorable) -> int:
    """Tokens of a text that a model reads, beside special tokens and the prompt of its role."""
    return max(1, encoder.max_tokens - encoder.n_special_tokens)


def check_text_fix(fix: TextFix, encoder: Scorable) -> None:
    """Say why a model cannot take a fix on texts, if it cannot.

    Raises:
        FixError: pieces of more tokens than it reads at once.
        ArchitectureError: vectors of parts of a model that has none.
        ModelError: norms of the vectors of a model that was exported.
    """
    room = min(room_of(encoder.as_role(role)) for role in fix.roles)
    if fix.largest > room:
        raise FixError(
            f"`{fix}` makes pieces of {fix.largest} tokens, but {encoder.name!r} reads {room} of a text at once, "
            f"beside special tokens and prompt. Choose at most {room}, or raise the limit of the model (its "
            "max_seq_length; --max-tokens, where a command has that) if it can read more."
        )
    if fix.reading == "states":
        require_states(encoder)
    if fix.reading == "raw" and isinstance(encoder, ExportedEncoder):
        encoder.unnormalised()


def encode_pieces(
    base: CachedEncoder,
    fix: TextFix,
    texts: Sequence[str],
    ids: Sequence[str],
    *,
    role: Role,
    advance: Advance = lambda _: None,
    then: Then | None = None,
    keep_all: bool = False,
) -> Encoded:
    """The vectors that a fix on texts makes.

    A text with a single vector has the one that the model gives its piece. Vectors have norm 1 where the model
    compares by cosine or makes its own of norm 1.

    Args:
        base: the model, with the fixes of its inside.
        fix: cuts, and puts together.
        texts: as many as there are; a portion of them is held in pieces at once.
        ids: one a text.
        role: of the texts, one of the fix's.
        advance: told about work done, as many units as the texts have characters.
        then: what the vectors of pieces go through before they are put together; None for nothing.
        keep_all: whether to leave the pieces apart, whatever the fix does.

    Raises:
        ModelError: a vector that is not finite or has no direction.
    """
    done, start, tokens = [], 0, 0
    work = _Work(base, fix, role, advance, then or (lambda found: found), keep_all or fix.keeps_all)
    for few in by_characters(texts, CHARACTERS):
        names = tuple(ids[start : start + len(few)])
        several, read = _encode_portion(work, few, names)
        done.append(several)
        start, tokens = start + len(few), tokens + read
    return Encoded(Several.join(done) if done else Several.of(_nothing(base.dim)), tokens)


@dataclass(frozen=True, eq=False)
class _Work:
    """What the portions of one call share."""

    base: CachedEncoder
    fix: TextFix
    role: Role
    advance: Advance
    then: Then
    keep_all: bool

    def scaled(self, texts: Sequence[str], pieces: Sequence[str]) -> Advance:
        """Work on pieces told in characters of their texts, so that it adds up to those."""
        share = sum(len(text) for text in texts) / max(1, self.base.work(pieces))
        return lambda done: self.advance(done * share)


def _encode_portion(work: _Work, texts: Sequence[str], names: tuple[str, ...]) -> tuple[Several, int]:
    fix, encoder = work.fix, work.base.encoder.as_role(work.role)
    room = room_of(encoder)
    cut = [
        _Cut(fix.split(text, marked.spans, room), marked.n_tokens, len(marked.spans))
        for text, marked in zip(texts, encoder.mark(texts), strict=True)
    ]
    layout = _Layout(cut)
    found = _embed(work, texts, layout)
    lost = layout.by_text((found.n_tokens_full - found.n_tokens)[layout.firsts], layout.pieces)
    unread = np.array([_unread(one, few) for one, few in zip(cut, lost, strict=True)], np.int64)
    full = np.array([one.n_tokens for one in cut], np.int64)
    kept = (names, full - unread, full)
    tokens = int(found.n_tokens[layout.firsts].sum())
    if work.keep_all:
        return _all_kept(found, layout, kept, encoder.n_special_tokens), tokens
    rows = layout.by_text(found.vectors, layout.vectors)
    made = np.stack([_one(fix, one, *of) for one, *of in zip(cut, rows, lost, strict=True)])
    whole = direct(made, names, fix) if _by_direction(work.base) else made
    return Several.of(Embeddings(whole, *kept)), tokens


class _Layout:
    """How the vectors of texts follow one another: text by text, piece by piece, part by part.

    Attributes:
        flat: the pieces.
        pieces, vectors: how many each text has, int64 [texts].
        firsts: the first vector of each piece, int64 [pieces].
        owners: the text of each vector, int64 [vectors].
    """

    def __init__(self, cut: Sequence[_Cut]) -> None:
        self.cut, self.flat = cut, [piece for one in cut for piece in one.pieces]
        self.pieces = np.array([len(one.pieces) for one in cut], np.int64)
        self.vectors = np.array([len(one.sizes) for one in cut], np.int64)
        of_pieces = np.array([len(piece.n_tokens) for piece in self.flat], np.int64)
        self.firsts = np.cumsum(of_pieces) - of_pieces
        self.owners = np.repeat(np.arange(len(cut)), self.vectors)
        self._of_pieces = of_pieces

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Ints:
        """The vectors of some pieces."""
        return np.flatnonzero(np.repeat(chosen, self._of_pieces))

    @staticmethod
    def by_text(values: npt.NDArray[Any], counts: Ints) -> list[npt.NDArray[Any]]:
        """Values one after another, apart by text."""
        return np.split(values, np.cumsum(counts)[:-1])


def _embed(work: _Work, texts: Sequence[str], layout: _Layout) -> Embeddings:
    """All vectors of all pieces, with the token counts of their piece."""
    base, flat = work.base, layout.flat
    advance = work.scaled(texts, [piece.text for piece in flat])
    inside = np.array([bool(piece.parts) for piece in flat], bool)
    raw = np.repeat(layout.pieces > 1, layout.pieces) if work.fix.reading == "raw" else np.zeros(len(flat), bool)
    size = len(layout.owners)
    vectors, counts = np.empty((size, base.dim), np.float32), np.empty((2, size), np.int64)
    for chosen in (~inside & ~raw, raw, inside):
        some = [flat[number] for number in np.flatnonzero(chosen)]
        if not some:
            continue
        found = _encode(work, some, is_raw=bool(raw[chosen].any()), advance=advance)
        rows = layout.rows(chosen)
        vectors[rows], counts[:, rows] = found.vectors, (found.n_tokens, found.n_tokens_full)
    if work.fix.reading != "raw" and _by_direction(base):
        vectors = direct(vectors, [piece.text for piece in flat for _ in piece.n_tokens], work.fix)
    return work.then(Embeddings(vectors, tuple(str(number) for number in range(size)), *counts))


def _encode(work: _Work, pieces: Sequence[Piece], *, is_raw: bool, advance: Advance) -> Embeddings:
    texts = [piece.text for piece in pieces]
    if not pieces[0].parts:
        return work.base.encode(texts, role=work.role, raw=is_raw, advance=advance)
    parts = [[(part.begin, part.end) for part in piece.parts] for piece in pieces]
    return work.base.encode_parts(texts, parts, role=work.role, advance=advance)


def _one(fix: TextFix, cut: _Cut, vectors: Vectors, lost: Ints) -> Vectors:
    if len(cut.sizes) == 1:
        only: Vectors = vectors[0]
        return only
    whole = len(cut.sizes) == len(cut.pieces)  # parts of pieces are never cut off
    return fix.aggregate(vectors, np.array(cut.sizes, np.int64) - (lost if whole else 0))


def _all_kept(found: Embeddings, layout: _Layout, kept: tuple[tuple[str, ...], Ints, Ints], special: int) -> Several:
    """Every vector with an id and a length of its own; the only one of a text has those of the text."""
    names, n_tokens, n_tokens_full = kept
    ids: list[str] = []
    lengths: list[tuple[int, int]] = []
    for one, name, read, full in zip(layout.cut, names, n_tokens.tolist(), n_tokens_full.tolist(), strict=True):
        alone = len(one.sizes) == 1
        ids += [name] if alone else [f"{name}#{number}" for number in range(len(one.sizes))]
        lengths += [(read, full)] if alone else [(size + special,) * 2 for size in one.sizes]
    flat = Embeddings(found.vectors, tuple(ids), *np.array(lengths, np.int64).reshape(-1, 2).T)
    return Several(flat, layout.owners, *kept)


def _unread(cut: _Cut, lost: Ints) -> int:
    """Tokens of a text that are in no piece, or in the end of one that the model cut off."""
    read = np.zeros(cut.n_own, bool)
    for piece, without in zip(cut.pieces, lost.tolist(), strict=True):
        numbers = np.concatenate([np.arange(*of) for of in piece.ranges])
        read[numbers[: len(numbers) - without]] = True
    return cut.n_own - int(read.sum())


def _by_direction(base: CachedEncoder) -> bool:
    return base.encoder.normalises or not base.inner_product


def _nothing(dim: int) -> Embeddings:
    return Embeddings(np.empty((0, dim), np.float32), (), np.empty(0, np.int64), np.empty(0, np.int64))
