"""As many texts of every length as a number needs, from a corpus of any size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from uncollapse.corpora import Text
from uncollapse.diagnosis.units import TOKENS
from uncollapse.encoders import TextEncoder
from uncollapse.measures import mean_cosine
from uncollapse.moments import BinState
from uncollapse.records import LengthBins
from uncollapse.resampling import document_keys, sampling_order
from uncollapse.reservoir import Kept, Reservoir

STRATUM = 4096
"""Texts kept of every doubling of the length in characters: no interval rests on more."""

FIRST = 256
"""Texts of every length bin that are encoded before anyone looks how many it takes."""

_MORE = 1.1  # a little more than the square root law asks for, so that one further look is mostly enough
_LAST_PLACE = np.iinfo(np.uint64).max


class Strata:
    """The first texts in a random line, apart for every doubling of their length in characters.

    Memory does not grow with the corpus, and neither order nor portions of the stream change what is kept.

    Args:
        encoder: counts the tokens of the texts that are kept, and of those only.
        size: texts kept of each stratum.
        most: characters kept of each text.
        seed: of the line.
    """

    def __init__(self, encoder: TextEncoder, *, size: int = STRATUM, most: int, seed: int = 0) -> None:
        self.encoder, self.size, self.most, self.seed = encoder, size, most, seed
        self.counts: dict[int, int] = {}
        self._kept: dict[int, Reservoir] = {}

    def add(self, batch: Sequence[Text]) -> None:
        """Offer texts to their strata."""
        places = sampling_order(document_keys([text.id for text in batch]), seed=self.seed).tolist()
        self._count(batch)
        wanted = [row for row, text in enumerate(batch) if self._enters(text, places[row])]
        full = self.encoder.count([batch[row].text for row in wanted]).tolist() if wanted else []
        for row, n_tokens in zip(wanted, full, strict=True):
            text = batch[row]
            held = text.text[: self.most] if self.encoder.can_cut else text.text  # a text may carry its vector
            kept = Kept(text.id, held, n_tokens, source=text.source, query=text.query)
            self._kept[_stratum(text)].offer(places[row], kept)

    def _count(self, batch: Sequence[Text]) -> None:
        for text in batch:
            stratum = _stratum(text)
            self.counts[stratum] = self.counts.get(stratum, 0) + 1
            self._kept.setdefault(stratum, Reservoir(self.size, self.seed))

    def _enters(self, text: Text, place: int) -> bool:
        last = self._kept[_stratum(text)].last_place
        return last is None or place < last

    def drawn(self, bins: LengthBins) -> "Drawn":
        """What is kept, with what may be used of it: of every bin a sample in which each of its texts was as likely.

        A bin holds texts of several strata. Where one of them is only kept up to some place in the line, texts of the
        others beyond that place would be too many, and are left out.
        """
        kept = [(stratum, document) for stratum, held in self._kept.items() for document in held.documents()]
        tokens = np.minimum([document.n_tokens for _, document in kept], self.encoder.max_tokens)
        places = sampling_order(document_keys([document.id for _, document in kept]), seed=self.seed)
        of_bin = bins.assign(tokens)
        reach = np.full(len(bins), _LAST_PLACE, np.uint64)
        for (stratum, _), place in zip(kept, of_bin, strict=True):
            reach[place] = min(reach[place], self._reach(stratum))
        rows = np.flatnonzero(places <= reach[of_bin])
        rows = rows[np.argsort(places[rows])]
        everywhere = min(map(self._reach, self._kept), default=_LAST_PLACE)
        return Drawn(tuple(kept[row][1] for row in rows), of_bin[rows], int(np.sum(places[rows] <= everywhere)))

    def _reach(self, stratum: int) -> np.uint64:
        """Up to which place of the line nothing of a stratum is missing."""
        held = self._kept[stratum]
        last = held.last_place if self.counts[stratum] > self.size else None
        return np.uint64(_LAST_PLACE if last is None else last)


def _stratum(text: Text) -> int:
    return len(text.text).bit_length()


@dataclass(frozen=True, eq=False)
class Drawn:
    """Texts to choose from, in a random line.

    Args:
        texts: with their tokens before truncation.
        bins: the length bin of each, int [texts].
        uniform: the first so many are a uniform sample of the whole corpus; those after them are of rare lengths.
    """

    texts: tuple[Kept, ...]
    bins: npt.NDArray[np.int64]
    uniform: int


class Rounds:
    """Encodes texts of every length bin until the mean cosine of each is as sure as was asked.

    Args:
        drawn: what there is to choose from.
        precision: half the width that the 95 % interval of a bin may have.
        whole: so many texts of the uniform sample are encoded in any case.
    """

    def __init__(self, drawn: Drawn, *, precision: float, whole: int) -> None:
        self.drawn, self.precision = drawn, precision
        self._left = np.ones(len(drawn.texts), bool)
        self._always = np.arange(len(drawn.texts)) < min(whole, drawn.uniform)
        self._rank = _ranks(drawn.bins)

    def run(self, states: Sequence[BinState], encode: Callable[[list[Kept]], None]) -> None:
        """Encode what it takes, a first look at every bin, then as many more as the square root law asks for.

        Args:
            states: of the bins; `encode` must add to them.
            encode: called with texts that were not encoded before.
        """
        wanted = np.full(len(states), FIRST)
        while len(rows := np.flatnonzero(self._left & (self._always | (self._rank < wanted[self.drawn.bins])))):
            self._left[rows] = False
            encode([self.drawn.texts[row] for row in rows])
            wanted = np.array([self._needed(state, asked) for state, asked in zip(states, wanted, strict=True)])

    def _needed(self, state: BinState, asked: int) -> int:
        width = half_width(state)
        if width is None or width <= self.precision:
            return asked
        return max(asked, ceil(_MORE * state.count * (width / self.precision) ** 2))

    def unsure(self, states: Sequence[BinState], labels: Sequence[str], counted: str = TOKENS) -> tuple[str, ...]:
        """A note for every bin that stayed less sure than was asked."""
        widths = [(label, state, half_width(state)) for label, state in zip(labels, states, strict=True)]
        return tuple(
            f"texts of {label} {counted}: the mean cosine is known to {width:.3g} and not to {self.precision:g}, "
            f"since the corpus, or the {STRATUM:,} texts kept of every length, has no more of them (n = {state.count})"
            for label, state, width in widths
            if width is not None and width > self.precision
        )


def _ranks(bins: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many texts of the same bin stand before each."""
    order = np.argsort(bins, kind="stable")
    starts = np.searchsorted(bins[order], bins[order], side="left")
    ranks = np.empty(len(bins), np.int64)
    ranks[order] = np.arange(len(bins)) - starts
    return ranks


def half_width(state: BinState) -> float | None:
    """Half the width of the interval of a bin's mean cosine; None where there is none."""
    if state.count < 2:
        return None
    found = mean_cosine(state.moments)
    return None if found.low is None or found.high is None else (found.high - found.low) / 2
