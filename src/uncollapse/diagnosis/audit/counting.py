"""Tokens lost at every limit, counted while texts stream by."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from uncollapse.corpora import Text
from uncollapse.diagnosis.units import TOKENS, knows_limit, unit_of
from uncollapse.encoders import TextEncoder
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.errors import UncollapseError
from uncollapse.moments import check_same
from uncollapse.records import IntArray
from uncollapse.resampling import REPLICATES, Keys, check_replicates, document_keys, poisson_weights

MOST_SOURCES, MOST_TEXTS, MOST_LIMITS = 200, 20, 12
"""Most sources with numbers of their own, texts in the table of the greatest losses, and limits a user may name."""

BEGINNING = 120
"""Characters shown of what is cut off a text."""

EDGES = np.array([0, 1, *(2**k for k in range(3, 63))])  # of length bins: 0, 1-7, 8-15, 16-31, ...
"""Least length of every length bin."""

_ROWS = 2048


@dataclass(frozen=True)
class Limits:
    """The token limits that texts are held against; all count special tokens and prompt.

    Args:
        folder: that of the model's folder, which servers use; None for no limit.
        in_use: that of this study, which may have raised it; None for no limit.
        named: what the user asks about, within the model's reach or not.
        known: whether a limit of None says that there is none.
        unit: what limits and lengths are counted in.
        text_fix: notation of a fix on texts that the model's folder asks for; "" for none.

    >>> Limits(256, 512, (8192, 256)).every
    (256, 512, 8192)
    """

    folder: int | None
    in_use: int | None
    named: tuple[int, ...] = ()
    known: bool = True
    unit: str = TOKENS
    text_fix: str = ""

    @classmethod
    def of(cls, encoder: TextEncoder, named: Sequence[int] = ()) -> Self:
        """The limits of a model and those a user names, each of which must leave room for text.

        Raises:
            UncollapseError: a limit that is no whole number or not above the special tokens, or too many limits.
        """
        special = encoder.n_special_tokens
        for limit in named:
            if isinstance(limit, bool) or not isinstance(limit, int) or limit <= special:
                raise UncollapseError(
                    f"Every limit must be a whole number above the {special} special and prompt tokens of "
                    f"{encoder.name!r}, got {limit!r}. Name limits such as 256,512,8192."
                )
        if len(set(named)) > MOST_LIMITS:
            raise UncollapseError(f"At most {MOST_LIMITS} limits can be named, got {len(set(named))}. Name fewer.")
        in_use = encoder.max_tokens if encoder.max_tokens < NO_LIMIT else None
        return cls(
            encoder.folder_max_tokens,
            in_use,
            tuple(sorted(set(named))),
            knows_limit(encoder),
            unit_of(encoder),
            str(getattr(encoder, "text_fix", "")),
        )

    @property
    def every(self) -> tuple[int, ...]:
        """Each limit once, lowest first."""
        return tuple(sorted({limit for limit in (self.folder, self.in_use, *self.named) if limit is not None}))

    @property
    def main(self) -> int | None:
        """The limit that texts meet in service: the folder's, or else that of this study."""
        return self.in_use if self.folder is None else self.folder

    @property
    def reach(self) -> int | None:
        """The most tokens the model was or is run with; a limit beyond is about another model. None for any number."""
        return None if self.folder is None or self.in_use is None else max(self.folder, self.in_use)


@dataclass(frozen=True, eq=False)
class Sums:
    """What adds up over texts; tokens are those before truncation, special tokens and prompt in.

    Args:
        texts, tokens: how many.
        truncated: texts longer than each limit, int64 [limits].
        lost: tokens beyond each limit, int64 [limits].
        weighted: tokens, then tokens lost at each limit, in each resample: float64 [1 + limits, replicates]. All are
            whole numbers, so no order of adding changes them.
    """

    texts: int
    tokens: int
    truncated: npt.NDArray[np.int64]
    lost: npt.NDArray[np.int64]
    weighted: npt.NDArray[np.float64]

    @classmethod
    def of(cls, full: npt.NDArray[np.int64], limits: Sequence[int], weights: npt.NDArray[np.float32]) -> Self:
        """Sums over texts of `full` tokens, int64 [texts], with weights [texts, replicates]."""
        lost = np.maximum(full[:, None] - np.array(limits, np.int64), 0)
        columns = np.column_stack([full, lost]).astype(np.float64)
        weighted = columns.T @ weights.astype(np.float64)
        return cls(len(full), int(full.sum()), (lost > 0).sum(axis=0), lost.sum(axis=0), weighted)

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))


@dataclass(frozen=True)
class CutText:
    """A text that loses tokens: how many it has, how many of them it loses, and how the lost part begins."""

    id: str
    source: str
    n_tokens: int
    lost: int
    beginning: str = ""


@dataclass(eq=False)
class Audit:
    """Tokens lost to truncation, counted while texts stream by.

    Everything is a sum or a first, so parts of a stream add up: `merge` of any split in any order is exactly one pass.
    Where sources are many, those whose names come first by a hash have numbers of their own, and the others are
    counted together.

    Args:
        limits: that texts are held against.
        replicates, seed: of the bootstrap over texts.
        most_sources: with numbers of their own.

    Attributes:
        lengths: sums by number of the length bin.
        sources: sums by source; None for all others.
        cells: texts by length in tokens; lengths above 128 rounded up to seven binary digits.
        longest: tokens of the longest text.
        worst: the texts that lose most at the main limit, greatest loss first, then by id.

    >>> audit = Audit(Limits(4, 4), replicates=4)
    >>> audit.add(["a", "b"], ["", ""], np.array([3, 9]))
    >>> audit.total.lost.tolist(), [text.id for text in audit.worst]
    ([5], ['b'])
    """

    limits: Limits
    replicates: int = REPLICATES
    seed: int = 0
    most_sources: int = MOST_SOURCES
    lengths: dict[int, Sums] = field(default_factory=dict, init=False)
    sources: dict[str | None, Sums] = field(default_factory=dict, init=False)
    cells: dict[int, int] = field(default_factory=dict, init=False)
    longest: int = field(default=0, init=False)
    worst: tuple[CutText, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        check_replicates(self.replicates)

    @property
    def total(self) -> Sums:
        """Sums over all texts."""
        nothing = Sums.of(np.empty(0, np.int64), self.limits.every, np.empty((0, self.replicates), np.float32))
        return sum(self.lengths.values(), nothing)

    def add(
        self,
        ids: Sequence[str],
        sources: Sequence[str],
        n_tokens_full: IntArray,
        *,
        beginning: Callable[[int], str] | None = None,
    ) -> None:
        """Add texts. An error leaves the audit as it was.

        Args:
            ids: one of its own for each text.
            sources: where each comes from; "" where nobody knows.
            n_tokens_full: int [texts], tokens before truncation, special tokens and prompt in.
            beginning: of what the main limit cuts off text number `row`, as from `lost_beginning`; asked for only
                where a text enters the table of the greatest losses.
        """
        full = np.asarray(n_tokens_full).astype(np.int64)
        if not len(ids) == len(sources) == len(full) or np.any(full < 0):
            raise UncollapseError(
                "An audit needs one id, one source and one token count of 0 or more a text, got "
                f"{len(ids)} ids, {len(sources)} sources and {len(full)} counts from {full.min(initial=0)} on."
            )
        self.worst = self._greatest(ids, sources, full, beginning)
        for first in range(0, len(full), _ROWS):
            rows = slice(first, first + _ROWS)
            self._count(document_keys(ids[rows]), sources[rows], full[rows])

    def add_texts(self, encoder: TextEncoder, texts: Sequence[Text], n_tokens_full: IntArray) -> None:
        """Add texts of a corpus, with how the lost part of the greatest losses begins.

        Args:
            encoder: tells where the tokens of a text lie.
            texts: as the model gets them.
            n_tokens_full: int [texts], from `encoder.prepare` or `encoder.count`.
        """

        def beginning(row: int) -> str:
            return lost_beginning(encoder, texts[row].text, self.limits.main or 0, int(n_tokens_full[row]))

        ids, sources = [text.id for text in texts], [text.source for text in texts]
        self.add(ids, sources, n_tokens_full, beginning=beginning)

    def merge(self, other: "Audit") -> "Audit":
        """The audit of both parts together; neither is changed."""
        names = ("limits", "replicates", "seed", "most_sources")
        check_same(self, other, names)
        merged = Audit(*(getattr(self, name) for name in names))
        for part in (self, other):
            _add_all(merged.lengths, part.lengths)
            _add_all(merged.sources, part.sources)
            _add_all(merged.cells, part.cells)
        merged._fold(merged._first_names(merged.sources))
        merged.longest = max(self.longest, other.longest)
        merged.worst = tuple(heapq.nsmallest(MOST_TEXTS, (*self.worst, *other.worst), key=_place))
        return merged

    def _count(self, keys: Keys, sources: Sequence[str], full: npt.NDArray[np.int64]) -> None:
        def grouped(labels: Sequence[Any]) -> dict[Any, Sums]:
            return {label: Sums.of(full[rows], every, weights[rows]) for label, rows in _rows_of(labels).items()}

        weights, every = poisson_weights(keys, self.replicates, seed=self.seed), self.limits.every
        kept = self._first_names([*self.sources, *sources])
        _add_all(self.lengths, grouped((np.searchsorted(EDGES, full, side="right") - 1).tolist()))
        _add_all(self.sources, grouped([name if name in kept else None for name in sources]))
        self._fold(kept)
        _add_all(self.cells, {cell: len(rows) for cell, rows in _rows_of(_rounded_up(full).tolist()).items()})
        self.longest = max(self.longest, int(full.max(initial=0)))

    def _first_names(self, names: Iterable[str | None]) -> set[str]:
        """The sources that have numbers of their own, the same in whatever order they come."""
        known = sorted({name for name in names if name is not None})
        if len(known) <= self.most_sources:
            return set(known)
        places = zip(document_keys(known).tolist(), known, strict=True)
        return {name for _, name in heapq.nsmallest(self.most_sources, places)}

    def _fold(self, kept: set[str]) -> None:
        for name in [name for name in self.sources if name is not None and name not in kept]:
            _add_all(self.sources, {None: self.sources.pop(name)})

    def _greatest(
        self,
        ids: Sequence[str],
        sources: Sequence[str],
        full: npt.NDArray[np.int64],
        beginning: Callable[[int], str] | None,
    ) -> tuple[CutText, ...]:
        """The greatest losses so far and of these texts; how the lost part begins is asked of those that stay."""
        if (limit := self.limits.main) is None:
            return ()
        cut = np.flatnonzero(full > limit).tolist()
        new = {CutText(ids[row], sources[row], int(full[row]), int(full[row]) - limit): row for row in cut}
        texts = heapq.nsmallest(MOST_TEXTS, [*self.worst, *new], key=_place)
        return tuple(
            replace(text, beginning=beginning(new[text])) if beginning and text in new else text for text in texts
        )


def lost_beginning(encoder: TextEncoder, text: str, limit: int, n_tokens_full: int) -> str:
    """The first characters of what a limit cuts off a text; "" where it cuts nothing off.

    Args:
        encoder: tells where the tokens of a text lie. Where its tokenizer does not, the place is taken in proportion,
            among words.
        text: as the model gets it.
        limit: tokens that are kept, special tokens and prompt in.
        n_tokens_full: tokens of the text, special tokens and prompt in.
    """
    if n_tokens_full <= limit:
        return ""
    spans, special = encoder.spans(text), encoder.n_special_tokens
    first = len(spans) * max(limit - special, 0) // max(n_tokens_full - special, 1)
    lost = " ".join(text[spans[first, 0] :][: 4 * BEGINNING].split()) if first < len(spans) else ""
    return lost if len(lost) <= BEGINNING else f"{lost[:BEGINNING]} ..."


def _place(text: CutText) -> tuple[int, str]:
    return -text.lost, text.id


def _rows_of(labels: Sequence[Any]) -> dict[Any, list[int]]:
    rows: dict[Any, list[int]] = {}
    for row, label in enumerate(labels):
        rows.setdefault(label, []).append(row)
    return rows


def _add_all(totals: dict[Any, Any], more: Mapping[Any, Any]) -> None:
    for label, amount in more.items():
        totals[label] = totals[label] + amount if label in totals else amount


def _rounded_up(full: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """To seven binary digits: at most 1.6 % too long, and few enough different lengths to keep count of."""
    digits = np.frexp(np.maximum(full - 1, 1))[1].astype(np.int64)
    step = np.left_shift(1, np.maximum(digits - 7, 0))
    return np.asarray(-(-full // step) * step, np.int64)
