"""Evidence dilution: how much weaker a sentence is in its whole document than in the best piece of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from uncollapse.diagnosis.costs.cloze import Cloze
from uncollapse.diagnosis.costs.encodings import Encodings
from uncollapse.diagnosis.costs.frame import Binned, Floats, Frame, by_length, length_rows
from uncollapse.diagnosis.costs.readings import Reading, keys_of, lengths_of, rows_of
from uncollapse.diagnosis.costs.wording import decimal, surely_above, too_few
from uncollapse.diagnosis.pieces import cut_pieces
from uncollapse.diagnosis.rows import row_of
from uncollapse.measures import MINIMUM
from uncollapse.records import Finding, Part, Row
from uncollapse.resampling import difference

PIECE = 64
"""Tokens of a piece at most, but for a word; pieces are as equal as words allow, so that none is much below 32."""

DOCUMENTS = 100
"""Documents cut into pieces at most."""

LARGE = 0.1
"""Loss of cosine called bad. Judgement, stated in the docs."""


@dataclass(frozen=True)
class Pieced:
    """A document in pieces, and a sentence of it."""

    reading: Reading
    sentence: str
    pieces: tuple[str, ...]


def cut_into_pieces(clozes: Sequence[Cloze]) -> tuple[Pieced, ...]:
    """The first documents that have two pieces or more, each with its sentence."""
    long = [cloze for cloze in clozes if cloze.reading.n_tokens - cloze.reading.special > PIECE][:DOCUMENTS]
    return tuple(Pieced(cloze.reading, cloze.sentence.text, _pieces(cloze.reading)) for cloze in long)


def _pieces(reading: Reading) -> tuple[str, ...]:
    count = -(-(reading.n_tokens - reading.special) // PIECE)
    pieces = cut_pieces(reading.text, reading.spans, -(-len(reading.spans) // count))
    if len(pieces) <= count:
        return pieces.texts
    most = pieces.first(count - 1)  # words that did not fit add up to a short piece more: it joins the last
    return (*most.texts, pieces.whole[len(most.whole) :].strip())


@dataclass(frozen=True, eq=False)
class Diluted:
    """Cosines of each sentence.

    Args:
        whole: with its document, float64 [sentences].
        best: with the nearest piece of its document, float64 [sentences].
    """

    readings: tuple[Reading, ...]
    whole: Floats
    best: Floats

    @property
    def dilution(self) -> Floats:
        """Best piece minus whole document."""
        return self.best - self.whole


def compare_pieces(cut: Sequence[Pieced], frame: Frame, queries: Encodings, encodings: Encodings) -> Diluted:
    """Hold each sentence against its document and against the pieces of it."""
    readings = tuple(one.reading for one in cut)
    asked = queries.of([one.sentence for one in cut]).astype(np.float64)
    whole = np.einsum("ij,ij->i", asked, frame.vectors[rows_of(readings)])
    best = [float((encodings.of(one.pieces) @ query).max()) for one, query in zip(cut, asked, strict=True)]
    return Diluted(readings, whole, np.array(best, np.float64))


def report_dilution(found: Diluted, frame: Frame) -> Part:
    """The loss of cosine from best piece to whole document, overall and by length."""
    if not found.readings:
        return Part(verdict=(_unknown(0, frame.unit),))
    return Part(tuple(_rows(found, frame)), (_judge(found, frame),))


def _rows(found: Diluted, frame: Frame) -> Iterator[Row]:
    keys = keys_of(found.readings)
    for measure, values in (
        ("evidence_dilution", found.dilution),
        ("evidence_cosine_whole", found.whole),
        ("evidence_cosine_piece", found.best),
    ):
        yield row_of(measure, frame.mean(values, keys), view="cost_overall")
    yield from length_rows("evidence_dilution", _by_length(found, frame), note="")


def _by_length(found: Diluted, frame: Frame) -> tuple[Binned, ...]:
    keys = keys_of(found.readings)
    return by_length(frame.bins, lengths_of(found.readings), lambda mask: frame.mean(found.dilution[mask], keys[mask]))


def _unknown(n: int, unit: str) -> Finding:
    return Finding(
        "How far texts dilute what they say cannot be told",
        too_few(n, f"documents of more than {PIECE} {unit} with four sentences or more"),
        "unknown",
    )


def _judge(found: Diluted, frame: Frame) -> Finding:
    keys = keys_of(found.readings)
    if len(keys) < MINIMUM:
        return _unknown(len(keys), frame.unit)
    loss, whole, best = (frame.mean(values, keys) for values in (found.dilution, found.whole, found.best))
    sentence = (
        f"A sentence scores {decimal(best)} with the best piece of its document (32 to {PIECE} {frame.unit}) but "
        f"{decimal(whole)} with the whole document: {decimal(loss)} of its score is lost ({len(keys)} documents, "
        "cosines, 95 % intervals)."
    )
    ends = [part for part in _by_length(found, frame) if part.estimate.low is not None]
    if len(ends) > 1:
        grown = difference(ends[-1].estimate, ends[0].estimate)
        sentence += (
            f" Documents of {ends[0].label} {frame.unit} lose {decimal(ends[0].estimate)}, those of {ends[-1].label} "
            f"{decimal(ends[-1].estimate)}, {decimal(grown)} more."
        )
    if surely_above(loss, LARGE):
        advice = "Vectors of chunks instead of whole documents would keep more of it."
        return Finding("Long texts dilute what they say", f"{sentence} {advice}", "bad")
    if surely_above(loss):
        return Finding("Long texts dilute what they say a little", sentence, "neutral")
    if loss.value == 0:
        return Finding("Whole texts score as their pieces do", sentence, "good")
    return Finding("How far texts dilute what they say cannot be told", sentence, "unknown")
