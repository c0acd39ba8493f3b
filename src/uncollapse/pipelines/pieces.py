"""Texts encoded in pieces: cut, embedded piece by piece, and one vector or several a text."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from uncollapse.encoders import CachedEncoder, Role, SentenceEncoder
from uncollapse.errors import FixError
from uncollapse.fixes.kinds import Piece, TextFix
from uncollapse.pipelines.several import Several, Vectors, direct
from uncollapse.records import Embeddings

Advance = Callable[[float], None]
Ints = npt.NDArray[np.int64]

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


def room_of(encoder: SentenceEncoder) -> int:
    """Tokens of a text that a model reads, beside special tokens and the prompt of its role."""
    return max(1, encoder.max_tokens - encoder.n_special_tokens)


def check_room(fix: TextFix, encoder: SentenceEncoder) -> None:
    """Raise FixError where a model cannot read the pieces of a fix at once."""
    room = min(room_of(encoder.as_role(role)) for role in fix.roles)
    if fix.largest > room:
        raise FixError(
            f"`{fix}` makes pieces of {fix.largest} tokens, but {encoder.name!r} reads {room} of a text at once, "
            f"beside special tokens and prompt. Choose at most {room}, or raise the limit of the model (--max-tokens) "
            "if it can read more."
        )


def encode_pieces(
    base: CachedEncoder,
    fix: TextFix,
    texts: Sequence[str],
    ids: Sequence[str],
    *,
    role: Role,
    advance: Advance = lambda _: None,
) -> Encoded:
    """The vectors that a fix on texts makes.

    A text in a single piece has the vector that the model gives that piece. Vectors have norm 1 where the model
    compares by cosine or makes its own of norm 1.

    Args:
        base: the model, with the fixes of its inside.
        fix: cuts, and puts together.
        texts: as many as there are; a portion of them is held in pieces at once.
        ids: one a text.
        role: of the texts, one of the fix's.
        advance: told about work done, as many units as the texts have characters.

    Raises:
        ModelError: a vector that is not finite or has no direction.
    """
    done, start, tokens = [], 0, 0
    for few in _portions(texts):
        names = tuple(ids[start : start + len(few)])
        several, read = _encode_portion(_Work(base, fix, role, advance), few, names)
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
    found = _embed(work, texts, cut)
    owners = np.repeat(np.arange(len(cut)), [len(one.pieces) for one in cut])
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    lost = np.split(found.n_tokens_full - found.n_tokens, starts[1:])
    unread = np.array([_unread(one, few) for one, few in zip(cut, lost, strict=True)], np.int64)
    full = np.array([one.n_tokens for one in cut], np.int64)
    kept = (names, full - unread, full)
    tokens = int(found.n_tokens.sum())
    if fix.keeps_all:
        return _all_kept(found, cut, owners, kept), tokens
    rows = np.split(found.vectors, starts[1:])
    made = np.stack([_one(fix, one.pieces, *of) for one, *of in zip(cut, rows, lost, strict=True)])
    whole = direct(made, names, fix) if _by_direction(work.base) else made
    return Several.of(Embeddings(whole, *kept)), tokens


def _embed(work: _Work, texts: Sequence[str], cut: Sequence[_Cut]) -> Embeddings:
    """Vectors of all pieces; of a text in a single piece, the model's own, however the others are read."""
    base, flat = work.base, [piece.text for one in cut for piece in one.pieces]
    advance = work.scaled(texts, flat)
    if work.fix.reading == "directed":
        found = base.encode(flat, role=work.role, advance=advance)
        return _directed(found, work.fix) if _by_direction(base) else found
    alone = np.repeat([len(one.pieces) == 1 for one in cut], [len(one.pieces) for one in cut])
    vectors, counts = np.empty((len(flat), base.dim), np.float32), np.empty((2, len(flat)), np.int64)
    for rows, raw in ((np.flatnonzero(alone), False), (np.flatnonzero(~alone), True)):
        found = base.encode([flat[row] for row in rows], role=work.role, raw=raw, advance=advance)
        vectors[rows], counts[:, rows] = found.vectors, (found.n_tokens, found.n_tokens_full)
    return Embeddings(vectors, tuple(str(number) for number in range(len(flat))), *counts)


def _one(fix: TextFix, pieces: Sequence[Piece], vectors: Vectors, lost: Ints) -> Vectors:
    if len(pieces) == 1:
        only: Vectors = vectors[0]
        return only
    return fix.aggregate(vectors, np.array([piece.n_tokens for piece in pieces], np.int64) - lost)


def _all_kept(
    found: Embeddings, cut: Sequence[_Cut], owners: Ints, kept: tuple[tuple[str, ...], Ints, Ints]
) -> Several:
    """Every piece with its own vector; one of a text that stays whole counts as that text."""
    names = kept[0]
    numbers = chain.from_iterable(range(len(one.pieces)) for one in cut)
    ids = tuple(
        f"{names[owner]}#{number}" if len(cut[owner].pieces) > 1 else names[owner]
        for owner, number in zip(owners.tolist(), numbers, strict=True)
    )
    return Several(Embeddings(found.vectors, ids, found.n_tokens, found.n_tokens_full), owners, *kept)


def _unread(cut: _Cut, lost: Ints) -> int:
    """Tokens of a text that are in no piece, or in the end of one that the model cut off."""
    read = np.zeros(cut.n_own, bool)
    for piece, without in zip(cut.pieces, lost.tolist(), strict=True):
        numbers = np.concatenate([np.arange(*of) for of in piece.ranges])
        read[numbers[: len(numbers) - without]] = True
    return cut.n_own - int(read.sum())


def _directed(found: Embeddings, fix: TextFix) -> Embeddings:
    return Embeddings(direct(found.vectors, found.ids, fix), found.ids, found.n_tokens, found.n_tokens_full)


def _by_direction(base: CachedEncoder) -> bool:
    return base.encoder.normalises or not base.inner_product


def _portions(texts: Sequence[str]) -> Iterator[list[str]]:
    few: list[str] = []
    characters = 0
    for text in texts:
        if few and characters + len(text) > CHARACTERS:
            yield few
            few, characters = [], 0
        few.append(text)
        characters += len(text)
    if few:
        yield few


def _nothing(dim: int) -> Embeddings:
    return Embeddings(np.empty((0, dim), np.float32), (), np.empty(0, np.int64), np.empty(0, np.int64))
