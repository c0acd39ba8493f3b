"""Documents, their pieces and the vectors of both: what a split of the rise is computed from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.causes.attribution import PieceVectors, Positions
from uncollapse.diagnosis.causes.reach import Reach, find_reach
from uncollapse.diagnosis.causes.shifting import find_positions, leading_tokens, shifted
from uncollapse.diagnosis.memory import Memory
from uncollapse.diagnosis.pieces import Pieces, cut_pieces
from uncollapse.diagnosis.units import knows_limit, unit_of
from uncollapse.encoders import SentenceEncoder, TextEncoder
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.measures import unit
from uncollapse.progress import Advance, Reporter, Silent
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept

PIECE_TOKENS = 32
"""Tokens of a short piece, special tokens in, where the model reads at least four times as many."""

LIMITS = 4
"""How much of a text is looked at, in limits of the model: enough to tell what truncation does."""

FEWEST_TOKENS = 4
"""Fewest tokens of text in a piece."""

OFFSET_STEP = 8
"""Positions are shifted by the nearest multiple of this, so that many pieces go through the model together."""


@dataclass(frozen=True, eq=False)
class Observed:
    """Documents with their pieces and the vectors of both.

    Args:
        model: name of the model.
        unit: what its texts are counted in.
        claimed: tokens it says it reads; None for no limit, or where it says nothing.
        says: whether it says how much it reads.
        reach: tokens it was given and how many of them it reads.
        size: tokens of a piece at most, special tokens in.
        cuts: the pieces of each document; of the longest that the model cannot read, LIMITS limits.
        n_tokens: mean tokens of the first pieces and of the whole texts as read, special tokens in.
        positions: whether the positions of pieces could be shifted.
        vectors: of all pieces, and of the whole texts.
    """

    model: str
    unit: str
    claimed: int | None
    says: bool
    reach: Reach
    size: int
    cuts: tuple[Pieces, ...]
    n_tokens: tuple[float, float]
    positions: Positions
    vectors: PieceVectors


def observe(
    encoder: TextEncoder,
    documents: Sequence[Kept],
    *,
    seed: int = 0,
    piece: int = PIECE_TOKENS,
    memory: Memory | None = None,
    progress: Reporter | None = None,
) -> Observed:
    """Find out how much the model reads, cut the documents into pieces, and embed pieces and wholes.

    Args:
        encoder, documents, seed, piece, memory, progress: as for `measure_causes`; at least 2 documents of 16 tokens
            of text.
    """
    order = np.argsort(sampling_order(document_keys([document.id for document in documents]), seed=seed))
    documents = [documents[row] for row in order.tolist()]  # so that no sum depends on the order they come in
    window, special = common_window(encoder, documents), encoder.n_special_tokens
    reporter = progress or Silent()
    with reporter.track("how much is read", None, "texts") as advance:
        last = _text_tokens(window, special, piece)
        reach = find_reach(encoder, documents, window, last=last, seed=seed, advance=advance)
    size = _text_tokens(reach.tokens, special, piece)
    cuts = tuple(_cut(encoder, document, window, size) for document in documents)
    plan = _plan(cuts, _count_read(encoder, cuts, reach.tokens))
    positions = find_positions(encoder)
    ids = tuple(document.id for document in documents)
    vectors = _embed(encoder, ids, plan, positions, memory or Memory(), reporter)
    return Observed(
        encoder.name,
        unit_of(encoder),
        None if encoder.max_tokens >= NO_LIMIT else encoder.max_tokens,
        knows_limit(encoder),
        reach,
        size + special,
        cuts,
        (float(plan.n_tokens[plan.numbers == 0].mean()) + special, float(plan.whole_tokens.mean()) + special),
        positions,
        vectors,
    )


def common_window(encoder: TextEncoder, documents: Sequence[Kept]) -> int:
    """The longest window that every document fills."""
    return int(min([encoder.max_tokens, *(document.n_tokens for document in documents)]))


def _text_tokens(tokens: int, special: int, piece: int) -> int:
    """Tokens of text in a piece: a quarter of what is read at most, and not mostly special tokens and prompt."""
    whole = min(piece, tokens // 4)
    return max(whole - special, whole // 2, FEWEST_TOKENS)


def _cut(encoder: TextEncoder, document: Kept, window: int, size: int) -> Pieces:
    """The pieces of a document; a rest of less than half a piece is left out.

    Where the model's own limit ends the window, the text beyond it belongs to what is explained; where only the
    shortest document does, every text ends there.
    """
    text = document.full or document.text
    most = LIMITS * window if window >= encoder.max_tokens else window - encoder.n_special_tokens
    pieces = cut_pieces(text, encoder.spans(text)[:most], size)
    return pieces.first(len(pieces) - 1) if len(pieces) > 1 and 2 * pieces.n_tokens[-1] < size else pieces


def _count_read(encoder: TextEncoder, cuts: Sequence[Pieces], most: int) -> npt.NDArray[np.int64]:
    """How many pieces of each document fit into `most` tokens together, at least one."""
    room = most - encoder.n_special_tokens
    read = np.array([max(1, np.searchsorted(np.cumsum(cut.n_tokens), room, side="right")) for cut in cuts])
    over = np.arange(len(cuts))
    while len(over):  # pieces are counted by spans, which may miss tokens of mere white space
        counts = encoder.count([cuts[row].first(int(read[row])).whole for row in over.tolist()])
        over = over[(counts > most) & (read[over] > 1)]
        read[over] -= 1
    return read


@dataclass(frozen=True, eq=False)
class _Plan:
    """What to embed.

    Args:
        texts: all pieces, document by document.
        n_tokens: int64 [pieces], of text.
        documents, numbers: int64 [pieces], the row of its document, and which of its pieces it is.
        before: int64 [pieces], tokens of text before it.
        read: bool [pieces].
        wholes: the read pieces of each document as one text.
        whole_tokens: int64 [documents], of text.
    """

    texts: tuple[str, ...]
    n_tokens: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    before: npt.NDArray[np.int64]
    read: npt.NDArray[np.bool_]
    wholes: tuple[str, ...]
    whole_tokens: npt.NDArray[np.int64]


def _plan(cuts: Sequence[Pieces], n_read: npt.NDArray[np.int64]) -> _Plan:
    documents = np.repeat(np.arange(len(cuts)), [len(cut) for cut in cuts])
    numbers = np.concatenate([np.arange(len(cut)) for cut in cuts])
    parts = [cut.first(int(count)) for cut, count in zip(cuts, n_read, strict=True)]
    return _Plan(
        tuple(text for cut in cuts for text in cut.texts),
        np.concatenate([cut.n_tokens for cut in cuts]),
        documents,
        numbers,
        np.concatenate([np.cumsum(cut.n_tokens) - cut.n_tokens for cut in cuts]),
        numbers < n_read[documents],
        tuple(part.whole for part in parts),
        np.array([part.n_tokens.sum() for part in parts], dtype=np.int64),
    )


def _embed(
    encoder: TextEncoder,
    ids: tuple[str, ...],
    plan: _Plan,
    positions: Positions,
    memory: Memory,
    reporter: Reporter,
) -> PieceVectors:
    moved = plan.read & (plan.numbers > 0) & (positions is Positions.SHIFTED)
    special = encoder.n_special_tokens
    pieces, wholes = plan.n_tokens + special, plan.whole_tokens + special
    total = pieces.sum() + pieces[moved].sum() + wholes.sum()
    with reporter.track("causes of the rise", float(total), "tokens") as advance:
        alone = unit(memory.vectors(encoder, plan.texts, pieces, advance=advance))
        placed = _place(encoder, plan, alone, moved, advance) if isinstance(encoder, SentenceEncoder) else alone
        whole = unit(memory.vectors(encoder, plan.wholes, wholes, advance=advance))
    return PieceVectors(
        ids, plan.documents, plan.read, alone, placed if positions is Positions.SHIFTED else None, whole
    )


def _place(
    encoder: SentenceEncoder,
    plan: _Plan,
    alone: npt.NDArray[np.float32],
    moved: npt.NDArray[np.bool_],
    advance: Advance,
) -> npt.NDArray[np.float32]:
    """The vectors of pieces, of those that move at the positions they have in their documents."""
    placed, counts = alone.copy(), plan.n_tokens + encoder.n_special_tokens
    offsets = _offsets(plan, encoder.max_tokens - encoder.n_special_tokens)
    for offset in np.unique(offsets[moved]).tolist():
        rows = np.flatnonzero(moved & (offsets == offset))
        with shifted(encoder.model, offset, leading=leading_tokens(encoder)):
            placed[rows] = unit(encoder.vectors([plan.texts[row] for row in rows], counts[rows]))
        advance(float(counts[rows].sum()))
    return placed


def _offsets(plan: _Plan, room: int) -> npt.NDArray[np.int64]:
    """Tokens before each piece to the nearest multiple of OFFSET_STEP, or the one below where the model ends."""
    below = plan.before // OFFSET_STEP * OFFSET_STEP
    nearest = (plan.before + OFFSET_STEP // 2) // OFFSET_STEP * OFFSET_STEP
    return np.where(nearest + plan.n_tokens <= room, nearest, below)
