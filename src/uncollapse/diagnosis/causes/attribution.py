"""The rise of the mean cosine with length, split into causes that add up exactly: pure functions of vectors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from uncollapse.errors import UncollapseError
from uncollapse.measures import MINIMUM
from uncollapse.measures.similarity import mean_over_pairs
from uncollapse.records import FloatArray
from uncollapse.resampling import REPLICATES, Estimate, difference, document_keys, poisson_weights

STEPS = ("start", "pieces", "one_topic", "all_pieces", "read_pieces", "placed_pieces", "whole")
"""What is embedded, from the first piece alone to the whole text at once; each step changes one thing."""


class Positions(StrEnum):
    """What is known of the positions at which a model reads a text."""

    SHIFTED = "shifted"
    NO_TABLE = "no table"
    HIDDEN = "hidden"


@dataclass(frozen=True)
class Cause:
    """One row of the table: a part of the rise, and what it means.

    Args:
        name: the key, as in results.
        before, after: the steps whose difference it is.
        title: for headings.
        phrase: what the rise comes from.
        meaning: what it does where it adds to the rise.
        against: what it does where it works against the rise.
        remedy: what could help where it adds to the rise.
        note: what a reader must know before trusting the number, else "".
    """

    name: str
    before: str
    after: str
    title: str
    phrase: str
    meaning: str
    against: str
    remedy: str
    note: str = ""


_MORE_ALIKE = "Read at once, a text looks more like other texts than the mean of its pieces does."
_LESS_ALIKE = "Read at once, a text looks less like other texts than the mean of its pieces does."
_TEMPERATURE = 'Try a sharper attention: uncollapse evaluate DATA --fix "temperature(0.9)".'
_NO_TABLE = "no table of positions was found to shift, so what positions do is part of attention"
_HIDDEN = "the inside of this model cannot be reached, so positions and attention are one number"

CAUSES: Mapping[str, Cause] = MappingProxyType(
    {
        cause.name: cause
        for cause in (
            Cause(
                "beginnings",
                "start",
                "pieces",
                "How texts begin",
                "what follows the beginnings of the texts",
                "The beginnings of the texts differ more from each other than what follows them.",
                "The beginnings of the texts are more alike than what follows them.",
                "Look for what the bodies of your texts share, such as licences or navigation, and leave it out.",
            ),
            Cause(
                "content_averaging",
                "pieces",
                "one_topic",
                "Longer texts say more",
                "longer texts saying more things",
                "The vector of a long text is about the mean of what it says, and the mean of more things lies nearer "
                "to what all texts have in common. Any model does this, with or without attention.",
                "The mean of more pieces lies further from what all texts have in common.",
                "Embed smaller chunks.",
            ),
            Cause(
                "topic_mix",
                "one_topic",
                "all_pieces",
                "Texts change their subject",
                "texts that change their subject",
                "Neighbouring pieces of a text are more alike than distant ones: its subject shifts, and the mixture "
                "lies nearer to the middle of all subjects.",
                "Distant pieces of a text are more alike than neighbouring ones.",
                "Embed smaller chunks, cut where the subject changes.",
            ),
            Cause(
                "truncation",
                "all_pieces",
                "read_pieces",
                "Text that is never read",
                "text that the model never reads",
                "What is cut off would tell the texts apart better than what is read.",
                "What is cut off would make the texts more alike still.",
                "Cut long texts into chunks that fit, or raise the limit if the model can read further.",
            ),
            Cause(
                "position",
                "read_pieces",
                "placed_pieces",
                "Late positions",
                "the late positions of a text",
                "The same words look more alike to the model when they stand late in a text.",
                "The same words look less alike to the model when they stand late in a text.",
                "Keep texts within the length that the model was trained on, often less than it accepts; its card may "
                "say it.",
            ),
            Cause(
                "attention",
                "placed_pieces",
                "whole",
                "Attention over the whole text",
                "attention over the whole text",
                _MORE_ALIKE,
                _LESS_ALIKE,
                _TEMPERATURE,
            ),
            Cause(
                "inseparable",
                "read_pieces",
                "whole",
                "Reading the whole text at once",
                "reading the whole text at once",
                f"{_MORE_ALIKE} Whether attention or late positions do it cannot be told from outside the model.",
                f"{_LESS_ALIKE} Whether attention or late positions do it cannot be told from outside the model.",
                "Embed smaller chunks; where you have the model itself, diagnose that, which tells the two apart.",
                note=_HIDDEN,
            ),
        )
    }
)
"""Every cause by name."""


@dataclass(frozen=True, eq=False)
class PieceVectors:
    """Unit vectors of documents and of their pieces.

    Args:
        ids: of the documents, all different.
        documents: int64 [pieces], the row of each piece's document: 0, 0, 0, 1, 1, ...
        read: bool [pieces], whether the piece is part of the whole; the first ones of every document are.
        alone: float32 [pieces, dim], each piece embedded alone.
        placed: float32 [pieces, dim], the same at the positions it has in the text, where it is read; None where
            positions could not be shifted.
        whole: float32 [documents, dim], all read pieces of a document embedded at once.
    """

    ids: tuple[str, ...]
    documents: npt.NDArray[np.int64]
    read: npt.NDArray[np.bool_]
    alone: npt.NDArray[np.float32]
    placed: npt.NDArray[np.float32] | None
    whole: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if len(set(self.ids)) != len(self.ids):
            raise UncollapseError("Every document must have an id of its own, since documents are resampled by id.")
        first = np.searchsorted(self.documents, np.arange(len(self.ids)))
        steps, last = np.unique(np.diff(self.documents)), self.documents[-1:]
        if not set(steps.tolist()) <= {0, 1} or last.tolist() != [len(self.ids) - 1] or not self.read[first].all():
            raise UncollapseError(
                "Pieces must follow each other document by document, and the first of each must be read."
            )


@dataclass(frozen=True, eq=False)
class Split:
    """A rise and what it is made of.

    Args:
        steps: the mean cosine at each of STEPS.
        causes: the rise from one step to the next, by name in CAUSES; they add up to `rise`.
        rise: `whole` minus `start`.
    """

    steps: Mapping[str, Estimate]
    causes: Mapping[str, Estimate]
    rise: Estimate


def split_rise(found: PieceVectors, positions: Positions, *, replicates: int = REPLICATES, seed: int = 0) -> Split:
    """Split the rise of the mean cosine from a first piece to the whole text over its causes.

    Each cause is the difference of two neighbouring steps, on the same documents and the same resamples, so the
    causes add up to the rise in the value and in every replicate. See `step_vectors` for the steps.

    How to read it: a cause of +0.10 lifts the mean cosine of two texts by 0.10, one of -0.10 works against the rise.
    The order of the steps matters: a cause is what its step adds after those before it.

    Args:
        found: at least 2 documents.
        positions: whether `found.placed` says what positions do; decides between the causes `position`, `attention`
            and `inseparable`.
        replicates, seed: of the bootstrap over documents.
    """
    weights = poisson_weights(document_keys(found.ids), replicates, seed=seed)
    steps = {name: mean_product(vectors, weights) for name, vectors in step_vectors(found).items()}
    causes = {cause.name: difference(steps[cause.after], steps[cause.before]) for cause in causes_of(positions)}
    rise = difference(steps["whole"], steps["start"])
    if positions is not Positions.SHIFTED:
        steps["placed_pieces"] = steps["placed_pieces"].noted("positions were not shifted: the same as read_pieces")
    for name, estimate in causes.items():
        note = _NO_TABLE if (name, positions) == ("attention", Positions.NO_TABLE) else CAUSES[name].note
        causes[name] = estimate.noted(note)
    if len(found.ids) >= MINIMUM:
        return Split(steps, causes, rise)
    return Split({k: _bare(v) for k, v in steps.items()}, {k: _bare(v) for k, v in causes.items()}, _bare(rise))


def causes_of(positions: Positions) -> tuple[Cause, ...]:
    """The causes that can be told apart, in the order of their steps.

    >>> [cause.name for cause in causes_of(Positions.HIDDEN)][-2:]
    ['truncation', 'inseparable']
    """
    left_out = {
        Positions.SHIFTED: {"inseparable"},
        Positions.NO_TABLE: {"inseparable", "position"},
        Positions.HIDDEN: {"attention", "position"},
    }[positions]
    return tuple(cause for cause in CAUSES.values() if cause.name not in left_out)


def step_vectors(found: PieceVectors) -> dict[str, npt.NDArray[np.float64]]:
    """One vector a document at each of STEPS: float64 [documents, dim], not all of length 1.

    With c_ij the unit vector of piece j of document i, k_i its number of pieces and m_i = mean_j c_ij:

    - start: c_i1.
    - pieces: m_i, so that the mean over pairs is the mean cosine of any piece of one document with any of another.
    - one_topic: m_i / r_i with r_i^2 = |m_i|^2 + (1 - 1/k_i) (a_i - w_i), a_i the mean cosine of neighbouring pieces
      and w_i of all pairs of pieces: as long as the mean of the pieces would be if all were as alike as neighbours.
    - all_pieces: m_i / |m_i|.
    - read_pieces, placed_pieces: the same of the pieces that are read, alone and at their positions.
    - whole: the text of the read pieces embedded at once.

    Pieces that cancel each other to nothing have no direction; such a text counts as unlike every other.
    """
    rows = np.arange(len(found.ids))
    means, read = _means(found.alone, found.documents), _means(found.alone[found.read], found.documents[found.read])
    placed = read if found.placed is None else _means(found.placed[found.read], found.documents[found.read])
    return {
        "start": found.alone[np.searchsorted(found.documents, rows)].astype(np.float64),
        "pieces": means,
        "one_topic": _divided(means, _one_topic_length(found.alone, found.documents, means)),
        "all_pieces": _divided(means, _lengths(means)),
        "read_pieces": _divided(read, _lengths(read)),
        "placed_pieces": _divided(placed, _lengths(placed)),
        "whole": found.whole.astype(np.float64),
    }


def mean_product(vectors: FloatArray, weights: npt.NDArray[np.float32]) -> Estimate:
    """The mean inner product of the vectors of two different documents: of unit vectors, their mean cosine.

    (|sum x|^2 - sum |x|^2) / (n (n - 1)); in a replicate, where document i is drawn w_i times,
    (|sum w x|^2 - sum w^2 |x|^2) / ((sum w)^2 - sum w^2): a document drawn twice is no pair with itself.

    Args:
        vectors: float64 [documents, dim] of any length; at least 2 documents.
        weights: float32 [documents, replicates], from `poisson_weights`.

    >>> mean_product(np.array([[2.0, 0.0], [3.0, 4.0]]), np.ones((2, 4), np.float32))
    Estimate(6 [6, 6], n=2)
    """
    n = len(vectors)
    if n < 2:
        raise UncollapseError(f"A pair needs 2 documents, got {n}.")
    every = np.concatenate([np.ones((n, 1)), weights], axis=1, dtype=np.float64)
    sums = vectors.T @ every
    own = np.einsum("ij,ij->i", vectors, vectors) @ every**2
    totals = np.einsum("ij,ij->j", sums, sums)
    means = mean_over_pairs(totals - own, every.sum(axis=0), (every**2).sum(axis=0))
    return Estimate.of(float(means[0]), means[1:], n=n)


def _bare(estimate: Estimate) -> Estimate:
    """The estimate without an interval, which so few documents could not bear."""
    few = f"no interval: {estimate.n} documents, fewer than {MINIMUM}"
    return replace(estimate, low=None, high=None).noted(few)


def _means(vectors: FloatArray, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Mean vector of each document; every document has a piece."""
    starts = np.flatnonzero(np.diff(documents, prepend=-1))
    sums = np.add.reduceat(vectors, starts, axis=0, dtype=np.float64)
    return np.asarray(sums / np.bincount(documents)[:, None], dtype=np.float64)


def _one_topic_length(
    vectors: FloatArray, documents: npt.NDArray[np.int64], means: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """r_i of each document: |m_i|^2 is 1/k + (1 - 1/k) w, so r_i^2 is 1/k + (1 - 1/k) a, and at least 1/k.

    One or two pieces have no other pairs than neighbours, so there r_i is |m_i|.
    """
    same = documents[1:] == documents[:-1]
    cosines = np.einsum("ij,ij->i", vectors[:-1], vectors[1:], dtype=np.float64)[same]
    count = np.bincount(documents)
    neighbours = np.bincount(documents[1:][same], cosines, len(count)) / np.maximum(count - 1, 1)
    squared = (1 + (count - 1) * np.maximum(neighbours, 0)) / count
    return np.where(count > 2, np.sqrt(squared), _lengths(means))


def _lengths(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.linalg.norm(vectors, axis=1), dtype=np.float64)


def _divided(vectors: npt.NDArray[np.float64], lengths: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    zeros = np.zeros_like(vectors)
    return np.divide(vectors, lengths[:, None], out=zeros, where=lengths[:, None] > 0)
