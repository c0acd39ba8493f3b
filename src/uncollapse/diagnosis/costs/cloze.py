"""Inverse cloze: a sentence is the query, and the document it was taken out of is what should be found."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from uncollapse.diagnosis.costs.encodings import Encodings
from uncollapse.diagnosis.costs.frame import Binned, Floats, Frame, apart, by_length, length_rows
from uncollapse.diagnosis.costs.readings import Reading, keys_of, lengths_of, rows_of
from uncollapse.diagnosis.costs.sentences import Sentence
from uncollapse.diagnosis.costs.wording import percent, points, surely_above, surely_below, surely_small, too_few
from uncollapse.diagnosis.rows import row_of
from uncollapse.measures import MINIMUM
from uncollapse.measures.retrieval import mid_ranks
from uncollapse.records import Finding, Part, Row
from uncollapse.resampling import draw

THIRDS = ("beginning", "middle", "end")
"""Where in a text a sentence stands, by its middle."""


@dataclass(frozen=True)
class Cloze:
    """A document, a sentence of it, and the document without the sentence."""

    reading: Reading
    sentence: Sentence
    rest: str


def take_out(readings: Sequence[Reading], *, seed: int) -> tuple[Cloze, ...]:
    """One sentence at random out of each document."""
    return tuple(_take_one(reading, seed) for reading in readings)


def _take_one(reading: Reading, seed: int) -> Cloze:
    sentence = draw(reading.sentences, f"{reading.id}\0cloze", seed=seed)
    before, after = reading.text[: sentence.start].rstrip(), reading.text[sentence.stop :].lstrip()
    return Cloze(reading, sentence, f"{before} {after}".strip())


@dataclass(frozen=True, eq=False)
class Found:
    """At which rank each sentence finds its document.

    Args:
        ranks: float64 [sentences]; tied documents share their mean rank.
    """

    clozes: tuple[Cloze, ...]
    ranks: Floats

    @property
    def scores(self) -> dict[str, Floats]:
        """The scores of every sentence, one relevant document each."""
        gain = np.where(self.ranks <= 10, 1 / np.log2(1 + self.ranks), 0.0)
        return {
            "cloze_recall@1": (self.ranks <= 1).astype(np.float64),
            "cloze_recall@10": (self.ranks <= 10).astype(np.float64),
            "cloze_ndcg@10": gain,
        }


def search_own(clozes: Sequence[Cloze], frame: Frame, queries: Encodings, encodings: Encodings) -> Found:
    """Rank all documents for every sentence, its own without the sentence in it."""
    asked = queries.of([cloze.sentence.text for cloze in clozes])
    own = rows_of([cloze.reading for cloze in clozes])
    instead = encodings.of([cloze.rest for cloze in clozes])
    return Found(tuple(clozes), mid_ranks(asked, frame.vectors, own, instead=instead))


def report_cloze(found: Found, frame: Frame) -> Part:
    """Recall and nDCG of inverse cloze: overall, by length of the document, and by place of the sentence."""
    if not found.clozes:
        return Part(verdict=(_unknown(0),))
    return Part(tuple(_rows(found, frame)), (_judge(found, frame),))


def _rows(found: Found, frame: Frame) -> Iterator[Row]:
    note = f"search among {len(frame):,} documents"
    readings = [cloze.reading for cloze in found.clozes]
    keys, thirds = keys_of(readings), _thirds(found)
    for measure, scores in found.scores.items():
        yield row_of(measure, frame.share(scores, keys), view="cost_overall", note=note)
        yield from length_rows(measure, _by_length(found, frame, measure), note=note)
        for place, third in enumerate(THIRDS):
            there = thirds == place
            if there.any():
                share = frame.share(scores[there], keys[there])
                yield row_of(measure, share, view="cost_by_position", label=third, note=note)


def _thirds(found: Found) -> Floats:
    middles = [(c.sentence.start + c.sentence.stop) / 2 / len(c.reading.text) for c in found.clozes]
    return np.floor(3 * np.array(middles, np.float64))


def _by_length(found: Found, frame: Frame, measure: str) -> tuple[Binned, ...]:
    readings = [cloze.reading for cloze in found.clozes]
    scores, keys = found.scores[measure], keys_of(readings)
    return by_length(frame.bins, lengths_of(readings), lambda mask: frame.share(scores[mask], keys[mask]))


def _unknown(n: int) -> Finding:
    return Finding(
        "Whether sentences find their documents cannot be told",
        too_few(n, "documents with four sentences or more"),
        "unknown",
    )


def _judge(found: Found, frame: Frame) -> Finding:
    keys = keys_of([cloze.reading for cloze in found.clozes])
    if len(keys) < MINIMUM:
        return _unknown(len(keys))
    first, ten = (frame.share(found.scores[f"cloze_recall@{k}"], keys) for k in (1, 10))
    figures = (
        f"One sentence was taken out of each of {len(keys)} documents and searched for among {len(frame):,}: the rest "
        f"of its document comes first in {percent(first)} of the searches, and among the first ten in {percent(ten)} "
        "(95 % intervals; no judgements by people needed)."
    )
    return Finding(*_compare(_by_length(found, frame, "cloze_recall@10"), figures, f"{ten.value:.0%}", frame.unit))


def _compare(binned: Sequence[Binned], figures: str, share: str, unit: str) -> tuple[str, str, str]:
    """What the shortest and the longest documents differ by."""
    full = [part for part in binned if part.estimate.low is not None]
    title = f"{share} of sentences find their own document among the first ten"
    if len(full) < 2:
        return (
            title,
            f"{figures} Too few documents are read at different lengths to compare short and long ones.",
            "neutral",
        )
    short, long = full[0], full[-1]
    change = apart(long.estimate, short.estimate)
    ends = (
        f"Among the first ten are {percent(short.estimate)} of documents of {short.label} {unit} and "
        f"{percent(long.estimate)} of those of {long.label}: {points(change)}."
    )
    if surely_below(change):
        advice = "Long documents are harder to find: try cutting them into chunks."
        return f"{title}, long documents less often", f"{figures} {ends} {advice}", "bad"
    if surely_above(change):
        return f"{title}, long documents more often", f"{figures} {ends}", "good"
    if surely_small(change):
        return f"{title}, long and short alike", f"{figures} {ends}", "good"
    return title, f"{figures} {ends} The interval holds zero: whether length matters cannot be told.", "neutral"
