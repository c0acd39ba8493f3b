"""Does more context pay: the same documents indexed by their first 32, 64, 128, ... tokens."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from uncollapse.diagnosis.costs.cloze import Cloze
from uncollapse.diagnosis.costs.encodings import Encodings
from uncollapse.diagnosis.costs.frame import Floats, Frame, Vectors
from uncollapse.diagnosis.costs.readings import Reading, keys_of, lengths_of, rows_of
from uncollapse.diagnosis.costs.wording import percent, points, surely_above, surely_below, surely_small, too_few
from uncollapse.diagnosis.rows import row_of
from uncollapse.measures import MINIMUM
from uncollapse.measures.retrieval import mid_ranks
from uncollapse.records import Finding, Part, Row
from uncollapse.resampling import Estimate, draw

SHORTEST = 32
"""Tokens of the shortest window."""

DOCUMENTS = 150
"""Documents in the index at most."""

DEPTHS = (1, 10)
"""Ranks up to which a document counts as found."""

CURVES = ("anywhere", "beginning")
"""What is asked for: a sentence of anywhere in the text that is read, or of what every window holds."""


@dataclass(frozen=True)
class Windowed:
    """Documents cut to windows, and the sentences asked for.

    Args:
        readings: documents of the index.
        windows: tokens of each window, shortest first; the last holds every text whole.
        cuts: by window, the texts of the index that it shortens, by number of the reading.
        asked: by curve, sentences by number of the reading.
    """

    readings: tuple[Reading, ...]
    windows: tuple[int, ...]
    cuts: Mapping[int, Mapping[int, str]]
    asked: Mapping[str, Mapping[int, str]]

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts to encode as documents."""
        return tuple(text for cut in self.cuts.values() for text in cut.values())

    @property
    def queries(self) -> tuple[str, ...]:
        """All texts to encode as queries."""
        return tuple(text for asked in self.asked.values() for text in asked.values())


def cut_windows(clozes: Sequence[Cloze], *, seed: int) -> Windowed:
    """Cut the first documents to every window that shortens at least 30 of them."""
    few = clozes[:DOCUMENTS]
    readings = tuple(cloze.reading for cloze in few)
    windows = choose_windows(readings)
    cuts = {n: {i: r.first(n) for i, r in enumerate(readings) if r.n_tokens > n} for n in windows[:-1]}
    anywhere = {i: cloze.sentence.text for i, cloze in enumerate(few)} if windows else {}
    asked = dict(zip(CURVES, (anywhere, _beginnings(readings, windows, seed)), strict=True))
    return Windowed(readings, windows, cuts, asked)


def choose_windows(readings: Sequence[Reading]) -> tuple[int, ...]:
    """Powers of two from 32 tokens up that shorten at least 30 documents, then the longest document."""
    n_tokens = lengths_of(readings)
    special = max((reading.special for reading in readings), default=0)
    powers = [2**k for k in range(5, 40) if (n_tokens > 2**k).sum() >= MINIMUM and 2**k >= 2 * special]
    return (*powers, int(n_tokens.max())) if powers else ()


def _beginnings(readings: Sequence[Reading], windows: Sequence[int], seed: int) -> dict[int, str]:
    """A sentence of each document that lies whole within the shortest window, where there is one."""
    found = {}
    for number, reading in enumerate(readings if windows else ()):
        beginning = reading.first(windows[0])
        end = reading.text.index(beginning) + len(beginning)
        options = [sentence.text for sentence in reading.sentences if sentence.stop <= end]
        if options:
            found[number] = draw(options, f"{reading.id}\0window", seed=seed)
    return found


@dataclass(frozen=True, eq=False)
class Curve:
    """At which rank sentences find their document, by window: float64 [documents]."""

    readings: tuple[Reading, ...]
    ranks: Mapping[int, Floats]

    @property
    def windows(self) -> tuple[int, ...]:
        """Every window, shortest first."""
        return tuple(self.ranks)

    def found(self, window: int, depth: int = 1) -> Floats:
        """Which sentences find their document among the first so many: 0 or 1, float64 [documents]."""
        return (self.ranks[window] <= depth).astype(np.float64)


def search_windows(windowed: Windowed, frame: Frame, queries: Encodings, encodings: Encodings) -> Mapping[str, Curve]:
    """Search every window's index for every sentence."""
    curves = {}
    for name, asked in windowed.asked.items():
        own = np.array(list(asked), np.int64)
        vectors = queries.of(list(asked.values()))
        ranks = {
            window: mid_ranks(vectors, _index(windowed, window, frame, encodings), own)
            for window in (windowed.windows if asked else ())
        }
        curves[name] = Curve(tuple(windowed.readings[number] for number in asked), ranks)
    return curves


def _index(windowed: Windowed, window: int, frame: Frame, encodings: Encodings) -> Vectors:
    """Vectors of all documents at a window; those that it does not shorten have the vector of the whole."""
    vectors = frame.vectors[rows_of(windowed.readings)].copy()
    if cut := windowed.cuts.get(window):
        vectors[list(cut)] = encodings.of(list(cut.values()))
    return vectors


def report_context(windowed: Windowed, curves: Mapping[str, Curve], frame: Frame) -> Part:
    """Recall by window for both kinds of sentences, and what each window adds to the one before."""
    documents = len(windowed.readings)
    each = product(curves.items(), DEPTHS)
    rows = tuple(row for (name, curve), depth in each for row in _rows(name, curve, depth, frame, documents))
    if not windowed.windows:
        what = f"documents of more than {SHORTEST} {frame.unit} with four sentences or more"
        missing = too_few(int((lengths_of(windowed.readings) > SHORTEST).sum()), what)
        return Part(rows, (Finding("Whether more context pays cannot be told", missing, "unknown"),))
    return Part(rows, (_judge(curves, frame, documents),))


def _rows(name: str, curve: Curve, depth: int, frame: Frame, documents: int) -> Iterator[Row]:
    measure, keys = f"{name}_recall@{depth}", keys_of(curve.readings)
    note = f"search among {documents} documents"
    for before, window in zip((None, *curve.windows), curve.windows, strict=False):
        found = curve.found(window, depth)
        numbers = {measure: frame.share(found, keys)}
        if before is not None:
            numbers[f"{measure}_gain"] = frame.change(curve.found(before, depth), found, keys)
        for key, number in numbers.items():
            yield row_of(key, number, view="cost_by_window", label=str(window), n_tokens=window, note=note)


def _change(curve: Curve, before: int, after: int, frame: Frame) -> Estimate:
    """What a window finds first more than another."""
    return frame.change(curve.found(before), curve.found(after), keys_of(curve.readings))


def enough(curve: Curve, frame: Frame) -> int:
    """The smallest window that no larger one surely beats, counting what is found first."""
    for place, window in enumerate(curve.windows):
        if not any(surely_above(_change(curve, window, more, frame)) for more in curve.windows[place + 1 :]):
            return window
    return curve.windows[-1]


def _judge(curves: Mapping[str, Curve], frame: Frame, documents: int) -> Finding:
    curve = curves["anywhere"]
    shortest, longest, keys = curve.windows[0], curve.windows[-1], keys_of(curve.readings)
    window, gain = enough(curve, frame), _change(curve, shortest, longest, frame)
    steps = ", ".join(f"{percent(frame.share(curve.found(n), keys))} at {n}" for n in curve.windows)
    sentence = (
        f"The same {documents} documents were indexed by their first {shortest} to {longest} {frame.unit}. A sentence "
        f"from anywhere in the text finds its document first in {steps} {frame.unit}: {points(gain)} from the "
        f"shortest to the longest ({len(keys)} documents, 95 % intervals). {_beginning(curves['beginning'], frame)}"
    )
    if window > shortest:
        beyond = _change(curve, window, longest, frame)
        return Finding(*_name_paying(window, longest, beyond, sentence, frame.unit))
    return Finding(*_name_idle(gain, sentence))


def _beginning(curve: Curve, frame: Frame) -> str:
    """What a longer window does to what the shortest one already holds."""
    n = len(curve.readings)
    if n < MINIMUM:
        return (
            f"Only {n} documents begin with a sentence short enough to tell whether longer windows hurt what is said "
            "at the beginning."
        )
    change = _change(curve, curve.windows[0], curve.windows[-1], frame)
    return (
        f"For a sentence of the first {curve.windows[0]} {frame.unit}, which every window holds, it is "
        f"{points(change)} ({n} documents){_reading(change)}."
    )


def _reading(change: Estimate) -> str:
    if surely_below(change):
        return ": more context hides what is said at the beginning"
    if surely_above(change):
        return ": more context helps even there"
    return ": no harm is done there" if surely_small(change) else ", which may be chance"


def _name_paying(window: int, longest: int, beyond: Estimate, sentence: str, unit: str) -> tuple[str, str, str]:
    if window == longest:
        return f"More context pays up to the longest texts ({longest} {unit})", sentence, "good"
    title = f"More context pays up to {window} {unit}"
    if surely_below(beyond):
        return f"{title} and hurts beyond", f"{sentence} From {window} to {longest} it is {points(beyond)}.", "bad"
    if surely_small(beyond):
        return title, f"{sentence} From {window} to {longest} no more is found: {points(beyond)}.", "neutral"
    return title, f"{sentence} Whether windows of more than {window} {unit} find more cannot be told.", "neutral"


def _name_idle(gain: Estimate, sentence: str) -> tuple[str, str, str]:
    """Where no longer window surely finds more than the shortest."""
    if surely_below(gain):
        advice = "Index the beginnings only, or cut the documents into chunks."
        return "More context hurts", f"{sentence} {advice}", "bad"
    if surely_small(gain):
        return "More context does not pay", sentence, "neutral"
    return "Whether more context pays cannot be told", f"{sentence} The interval holds zero and more.", "unknown"
