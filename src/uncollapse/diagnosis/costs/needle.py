"""Needle sweep: a sentence from elsewhere, put into long texts at every depth, and searched for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.costs.encodings import Encodings
from uncollapse.diagnosis.costs.frame import Floats, Frame
from uncollapse.diagnosis.costs.readings import Reading, keys_of, lengths_of
from uncollapse.diagnosis.costs.sentences import count_words
from uncollapse.diagnosis.costs.wording import percent, points, surely_above, surely_below, surely_small, too_few
from uncollapse.diagnosis.rows import row_of
from uncollapse.encoders import TextEncoder
from uncollapse.measures import MINIMUM
from uncollapse.measures.retrieval import mid_ranks
from uncollapse.records import Finding, Part, Row
from uncollapse.resampling import Estimate, draw

DEPTHS = (0, 25, 50, 75, 100)
"""Where in a text the needle stands, in percent of the text before it."""

SHORTEST, LENGTHS = 64, 3
"""Tokens of the shortest texts, and how many lengths are tried: shortest, longest, and one between."""

HAYSTACKS = 32
"""Long documents that needles are put into, at most."""

TOKENS = 150_000
"""Tokens that may be encoded whatever the corpus; beyond, at most three quarters of the documents' own."""

NEEDLE_WORDS, NEEDLE_TOKENS = 15, 24
"""A needle must leave room in a text of 64 tokens."""

NEAR = 0.15
"""Change of a share within which a whole interval counts as no change: 32 documents tell no less. Judgement."""

EVERY = "all"
"""Label of all depths or lengths together."""


@dataclass(frozen=True)
class Hidden:
    """A long document with a needle in it.

    Args:
        reading: the document.
        needle: the sentence put into it.
        plain: by length, the beginning of the document, without the needle.
        pierced: by length and depth, the beginning with the needle, of that length in all.
    """

    reading: Reading
    needle: str
    plain: dict[int, str]
    pierced: dict[tuple[int, int], str]

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts to encode as documents."""
        return (*self.plain.values(), *self.pierced.values())


def hide_needles(encoder: TextEncoder, readings: Sequence[Reading], *, tokens: int, seed: int) -> tuple[Hidden, ...]:
    """Put a short sentence of another document into each of the first long documents, at every depth and length.

    Args:
        encoder: counts the tokens of needles.
        readings: in random order.
        tokens: of all documents together.
        seed: of the choice of sentences.

    Returns:
        Nothing where fewer than 2 documents are long enough or no other has a sentence short enough.
    """
    special = readings[0].special if readings else 0
    lengths = choose_lengths(lengths_of(readings), special=special, budget=max(TOKENS, 3 * tokens // 4))
    if not lengths:
        return ()
    most = min(HAYSTACKS, len(readings) // 2)
    hay = [reading for reading in readings if reading.n_tokens >= lengths[-1]][:most]
    chosen = {reading.row for reading in hay}
    needles = _needles(encoder, [reading for reading in readings if reading.row not in chosen], seed)
    pairs = list(zip(hay, needles, strict=False))
    return tuple(_hide(reading, text, size, lengths) for reading, (text, size) in pairs) if len(pairs) > 1 else ()


def choose_lengths(n_tokens: npt.NDArray[np.int64], *, special: int = 2, budget: int = TOKENS) -> tuple[int, ...]:
    """Up to three lengths from 64 tokens to the longest that 30 documents reach and the budget allows.

    Args:
        n_tokens: of the documents, special tokens in.
        special: how many special and prompt tokens every text has; a needle must leave as much room again.
        budget: tokens to encode at most.

    >>> choose_lengths(np.full(100, 512)), choose_lengths(np.full(100, 60))
    ((64, 128, 512), ())
    """
    longest = int(n_tokens.max(initial=0))
    ladder = sorted({longest, *(2**k for k in range(6, 40) if 2**k <= longest)})
    shortest = max(SHORTEST, special + 2 * NEEDLE_TOKENS)
    reached = [n for n in ladder if n >= shortest and (n_tokens >= n).sum() >= MINIMUM]
    while reached:
        middle = reached[(len(reached) - 1) // 2]
        lengths = tuple(sorted({reached[0], middle, reached[-1]}))[-LENGTHS:]
        if sum(lengths) * HAYSTACKS * (len(DEPTHS) + 1) <= budget:
            return lengths
        reached.pop()
    return ()


def _needles(encoder: TextEncoder, readings: Sequence[Reading], seed: int) -> Iterator[tuple[str, int]]:
    """A short sentence of each document that has one, with its tokens."""
    for reading in readings:
        short = [s.text for s in reading.sentences if count_words(s.text) <= NEEDLE_WORDS]
        if not short:
            continue
        needle = draw(short, f"{reading.id}\0needle", seed=seed)
        size = int(encoder.count([needle])[0]) - reading.special
        if size <= NEEDLE_TOKENS:
            yield needle, size


def _hide(reading: Reading, needle: str, size: int, lengths: Sequence[int]) -> Hidden:
    plain = {length: reading.first(length) for length in lengths}
    pierced = {
        (length, depth): pierce(reading, needle, depth=depth, n_tokens=length - size)
        for length in lengths
        for depth in DEPTHS
    }
    return Hidden(reading, needle, plain, pierced)


def pierce(reading: Reading, needle: str, *, depth: int, n_tokens: int) -> str:
    """The beginning of a document with a needle in it, between two words.

    Args:
        reading: the document.
        needle: put in.
        depth: percent of the beginning before the needle.
        n_tokens: of the beginning, special tokens in.
    """
    text, before = reading.first(n_tokens).strip(), round((n_tokens - reading.special) * depth / 100)
    head = reading.first(before + reading.special).strip() if before else ""
    return " ".join(part for part in (head, needle, text[len(head) :].strip()) if part)


@dataclass(frozen=True, eq=False)
class Swept:
    """Which needles find the text that they were put into first: 0 or 1 by length and depth, float64 [documents]."""

    readings: tuple[Reading, ...]
    found: dict[tuple[int, int], Floats]

    @property
    def lengths(self) -> tuple[int, ...]:
        """Every length, shortest first."""
        return tuple(sorted({length for length, _ in self.found}))

    def mean(self, length: int | None = None) -> Floats:
        """The mean over all depths of a length, or over all cells, one a document."""
        return np.asarray(np.mean([cell for (at, _), cell in self.found.items() if length in (None, at)], axis=0))


def search_needles(hidden: Sequence[Hidden], queries: Encodings, encodings: Encodings) -> Swept:
    """Search for every needle among the texts without needles, and the one text with it."""
    if not hidden:
        return Swept((), {})
    asked, own = queries.of([one.needle for one in hidden]), np.arange(len(hidden))
    found = {}
    for length, depth in hidden[0].pierced:
        plain = encodings.of([one.plain[length] for one in hidden])
        instead = encodings.of([one.pierced[length, depth] for one in hidden])
        found[length, depth] = (mid_ranks(asked, plain, own, instead=instead) <= 1).astype(np.float64)
    return Swept(tuple(one.reading for one in hidden), found)


def report_needles(swept: Swept, frame: Frame) -> Part:
    """Recall at rank 1 by depth and length."""
    n = len(swept.readings)
    rows = tuple(_rows(swept, frame)) if n else ()
    if n < MINIMUM:
        what = f"documents of {SHORTEST} {frame.unit} or more, and as many others with a short sentence"
        title = "Whether one sentence in a long text is found cannot be told"
        return Part(rows, (Finding(title, too_few(n, what), "unknown"),))
    return Part(rows, (_judge(swept, frame),))


def _rows(swept: Swept, frame: Frame) -> Iterator[Row]:
    measure, keys = "needle_recall@1", keys_of(swept.readings)
    note = f"search among {len(keys)} documents"
    yield row_of(measure, frame.share(swept.mean(), keys), view="cost_overall", note=note)
    margins = {(length, EVERY): swept.mean(length) for length in swept.lengths}
    for (length, depth), values in (swept.found | margins).items():
        label = f"{depth} x {length}"
        yield row_of(measure, frame.share(values, keys), view="cost_grid", label=label, n_tokens=length, note=note)


def _judge(swept: Swept, frame: Frame) -> Finding:
    keys, short, long = keys_of(swept.readings), swept.lengths[0], swept.lengths[-1]
    shares = [frame.share(swept.mean(length), keys) for length in (short, long)]
    ends = [swept.found[long, depth] for depth in (DEPTHS[0], DEPTHS[-1])]
    figures = (
        f"A short sentence from another document, put into texts cut to {long} {frame.unit}, finds the text it is in "
        f"first among {len(keys)} in {percent(shares[1])} of the searches"
    )
    if short == long:
        return Finding("One foreign sentence in a text", f"{figures} ({len(keys)} documents).", "neutral")
    loss = frame.shift(swept.mean(long) - swept.mean(short), keys)
    deep = frame.change(ends[0], ends[1], keys)
    sentence = (
        f"{figures}; in texts of {short} {frame.unit} in {percent(shares[0])}. From short to long it is "
        f"{points(loss)} ({len(keys)} documents, each compared with itself, mean over five depths, 95 % intervals). "
        f"At {long} {frame.unit} a sentence at the very end instead of the very beginning makes it "
        f"{points(deep)}{_depth(deep)}."
    )
    return Finding(*_name(loss, f"texts of {long} {frame.unit}", sentence))


def _depth(deep: Estimate) -> str:
    return "" if surely_above(deep) or surely_below(deep) else ", which may be chance"


def _name(loss: Estimate, long: str, sentence: str) -> tuple[str, str, str]:
    if surely_below(loss):
        advice = "A fact that the rest of a long text is not about is easily missed: search chunks instead."
        return f"One sentence gets lost in {long}", f"{sentence} {advice}", "bad"
    if surely_small(loss, NEAR):
        return f"One sentence is found in {long} as in short ones", sentence, "good"
    return "Whether one sentence gets lost in long texts cannot be told", sentence, "unknown"
