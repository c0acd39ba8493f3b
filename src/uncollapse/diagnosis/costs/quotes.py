"""Tail quotes: does a sentence of the beginning, the end, or beyond the model's limit find the text it stands in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from uncollapse.diagnosis.costs.encodings import Encodings
from uncollapse.diagnosis.costs.frame import Binned, Floats, Frame, by_length, length_rows
from uncollapse.diagnosis.costs.readings import Reading, keys_of, lengths_of, rows_of
from uncollapse.diagnosis.costs.wording import percent, points, surely_above, surely_below, surely_small, too_few
from uncollapse.diagnosis.rows import row_of
from uncollapse.measures import MINIMUM
from uncollapse.measures.retrieval import mid_ranks
from uncollapse.records import Finding, Part, Row
from uncollapse.resampling import Estimate, draw

CUT_OFF = "cut off"
"""Label of sentences that the model does not read."""


@dataclass(frozen=True)
class Quotes:
    """Sentences of one document: from the first third, the last third, and beyond what is read; None for none."""

    reading: Reading
    beginning: str | None
    end: str | None
    cut_off: str | None

    @property
    def texts(self) -> tuple[str, ...]:
        """All there are."""
        return tuple(text for text in (self.beginning, self.end, self.cut_off) if text is not None)


def choose_quotes(readings: Sequence[Reading], *, seed: int) -> tuple[Quotes, ...]:
    """One sentence at random from each part of each document; both thirds or neither."""
    return tuple(_choose(reading, seed) for reading in readings)


def _choose(reading: Reading, seed: int) -> Quotes:
    places = {
        "beginning": reading.within(0, 1 / 3),
        "end": reading.within(2 / 3, 1),
        "cut_off": reading.cut_off,
    }
    if not (places["beginning"] and places["end"]):
        places["beginning"] = places["end"] = ()
    chosen = {
        name: draw(options, f"{reading.id}\0{name}", seed=seed).text if options else None
        for name, options in places.items()
    }
    return Quotes(reading, **chosen)


@dataclass(frozen=True, eq=False)
class Found:
    """Which quotes find their document first.

    Args:
        readings: documents with a quote from both thirds.
        beginning, end: 0 or 1 [readings].
        truncated: documents with a quote from beyond what is read.
        cut_off: 0 or 1 [truncated].
    """

    readings: tuple[Reading, ...]
    beginning: Floats
    end: Floats
    truncated: tuple[Reading, ...]
    cut_off: Floats


def search_quotes(quotes: Sequence[Quotes], frame: Frame, queries: Encodings) -> Found:
    """Rank all documents, unchanged, for every quote."""

    def first(asked: Sequence[tuple[Reading, str]]) -> Floats:
        own = rows_of([reading for reading, _ in asked])
        return (mid_ranks(queries.of([text for _, text in asked]), frame.vectors, own) <= 1).astype(np.float64)

    beginnings = [(q.reading, q.beginning) for q in quotes if q.beginning is not None]
    ends = [(q.reading, q.end) for q in quotes if q.end is not None]
    beyond = [(q.reading, q.cut_off) for q in quotes if q.cut_off is not None]
    readings, truncated = (tuple(reading for reading, _ in asked) for asked in (ends, beyond))
    return Found(readings, first(beginnings), first(ends), truncated, first(beyond))


def report_quotes(found: Found, frame: Frame) -> Part:
    """Recall at rank 1 of quotes from the beginning, the end and beyond, and what is lost from beginning to end."""
    return Part(tuple(_rows(found, frame)), tuple(_judge(found, frame)))


def _rows(found: Found, frame: Frame) -> Iterator[Row]:
    note = f"search among {len(frame):,} documents"
    measure, view = "quote_recall@1", "cost_by_position"
    if found.readings:
        keys = keys_of(found.readings)
        yield row_of(measure, frame.share(found.end, keys), view="cost_overall", note=note)
        yield row_of(f"{measure}_loss", _loss(found, frame), view="cost_overall", note=note)
        yield from length_rows(measure, _by_length(found, frame), note=note)
        yield from length_rows(f"{measure}_loss", _loss_by_length(found, frame), note=note)
        for label, scores in (("beginning", found.beginning), ("end", found.end)):
            yield row_of(measure, frame.share(scores, keys), view=view, label=label, note=note)
    if found.truncated:
        share = frame.share(found.cut_off, keys_of(found.truncated))
        yield row_of(measure, share, view=view, label=CUT_OFF, note=note)


def _loss(found: Found, frame: Frame, mask: npt.NDArray[np.bool_] | slice = slice(None)) -> Estimate:
    """How many more beginnings than ends find their document."""
    return frame.change(found.end[mask], found.beginning[mask], keys_of(found.readings)[mask])


def _loss_by_length(found: Found, frame: Frame) -> tuple[Binned, ...]:
    return by_length(frame.bins, lengths_of(found.readings), lambda mask: _loss(found, frame, mask))


def _by_length(found: Found, frame: Frame) -> tuple[Binned, ...]:
    keys = keys_of(found.readings)
    return by_length(frame.bins, lengths_of(found.readings), lambda mask: frame.share(found.end[mask], keys[mask]))


def _judge(found: Found, frame: Frame) -> Iterator[Finding]:
    if len(found.readings) < MINIMUM:
        what = "documents with a sentence of 6 to 40 words in both the first and the last third"
        yield Finding(
            "Whether the ends of texts get lost cannot be told", too_few(len(found.readings), what), "unknown"
        )
    else:
        yield _judge_ends(found, frame)
    if len(found.truncated) >= MINIMUM:
        yield _judge_cut_off(found, frame)


def _judge_ends(found: Found, frame: Frame) -> Finding:
    keys, loss = keys_of(found.readings), _loss(found, frame)
    figures = (
        f"Asked with one of its sentences word for word, a document comes first among {len(frame):,} in "
        f"{percent(frame.share(found.beginning, keys))} of searches with a sentence from its first third, and in "
        f"{percent(frame.share(found.end, keys))} with one from the last third that the model reads. Beginnings "
        f"minus ends: {points(loss)} ({len(keys)} documents, each compared with itself; 95 % intervals)."
    )
    full = [part for part in _loss_by_length(found, frame) if part.estimate.low is not None]
    if len(full) > 1:
        figures += f" Among documents of {full[-1].label} {frame.unit} alone: {points(full[-1].estimate)}."
    if surely_above(loss):
        advice = "What stands late in a text is found less well: use shorter chunks, and put what matters first."
        return Finding("The ends of texts get lost", f"{figures} {advice}", "bad")
    if surely_below(loss):
        return Finding("The ends of texts are found better than their beginnings", figures, "neutral")
    if surely_small(loss):
        return Finding("The ends of texts are found as well as their beginnings", figures, "good")
    return Finding(
        "Whether the ends of texts get lost cannot be told", f"{figures} The interval holds zero and more.", "unknown"
    )


def _judge_cut_off(found: Found, frame: Frame) -> Finding:
    share = frame.share(found.cut_off, keys_of(found.truncated))
    return Finding(
        "Sentences that are cut off",
        f"A sentence from the part that the model never reads still finds its document first in {percent(share)} of "
        f"{len(found.truncated)} searches among {len(frame):,} documents, by its subject alone.",
        "neutral",
    )
