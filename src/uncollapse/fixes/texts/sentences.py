"""Texts in sentences that go through the model one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from uncollapse.corpora.sentences import split_sentences
from uncollapse.fixes.kinds import Kind, Piece, Reading, Vectors
from uncollapse.fixes.maps import Role
from uncollapse.fixes.notations import check_number, write
from uncollapse.fixes.texts.chunks import LONG, mean_of
from uncollapse.fixes.texts.cutting import Range, Spans, cut_ranges, piece_text


@dataclass(frozen=True)
class SentenceMean:
    """Embed every sentence alone, and take the mean.

    v = sum_i x_i / |sum_i x_i|, over sentences, with x_i of norm 1. Every sentence counts the same, so a vector leans
    to texts' short statements; many short passes take long. A sentence of fewer than `shortest` tokens is put to the
    one that follows; one that the model cannot read at once is cut as chunks are.

    Args:
        shortest: tokens of a sentence that stands by itself.

    Raises:
        NotationError: a number out of range.

    >>> str(SentenceMean(8))
    'sentence_mean(8)'

    Source: the centroid of sentences, after Radev et al. 2004 (centroid-based summarisation); the rules for short and
    long sentences are this package's.
    """

    kind: ClassVar[Kind] = Kind.TEXT
    roles: ClassVar[tuple[Role, ...]] = LONG
    is_identity: ClassVar[bool] = False
    reading: ClassVar[Reading] = "directed"
    keeps_all: ClassVar[bool] = False
    shortest: int = 8

    def __post_init__(self) -> None:
        check_number(self, "shortest", low=1, whole=True)

    def __str__(self) -> str:
        return write("sentence_mean", self.shortest)

    @property
    def largest(self) -> int:
        """See `TextFix`; longer sentences are cut to what the model reads."""
        return 1

    def split(self, text: str, spans: Spans, room: int) -> Sequence[Piece]:
        """See `TextFix`."""
        ranges = list(
            chain.from_iterable(_cut(text, spans, of, room) for of in _sentences(text, spans, self.shortest))
        )
        return [Piece(piece_text(text, spans, of), (of,)) for of in ranges]

    def aggregate(self, vectors: Vectors, n_tokens: npt.NDArray[np.int64]) -> Vectors:  # noqa: ARG002 - the protocol
        """See `TextFix`."""
        return mean_of(vectors)


def _sentences(text: str, spans: Spans, shortest: int) -> list[Range]:
    """Tokens of each sentence, short ones with what follows them; a short last one with what comes before."""
    ends = np.maximum.accumulate(spans[:, 1])
    starts = [0]
    for begin in _begins(text):
        token = int(np.searchsorted(spans[:, 0], begin))
        inside = token < len(spans) and token > 0 and ends[token - 1] > spans[token, 0]
        if token - starts[-1] >= shortest and len(spans) - token >= shortest and not inside:
            starts.append(token)
    return list(pairwise([*starts, len(spans)]))


def _begins(text: str) -> Iterator[int]:
    """Where sentences begin, in characters, but for the first."""
    sentences, gaps = split_sentences(text)
    lengths = [len(sentence) + len(gap) for sentence, gap in zip(sentences, gaps, strict=False)]
    before = len(text) - len(text.lstrip())
    return (before + length for length in accumulate(lengths))


def _cut(text: str, spans: Spans, of: Range, room: int) -> list[Range]:
    start, stop = of
    if stop - start <= room:
        return [of]
    return [(start + a, start + b) for a, b in cut_ranges(text, spans[start:stop], room)]
