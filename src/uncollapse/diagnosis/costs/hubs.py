"""Hubs: documents that are near many others, and whether they are short or long."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from uncollapse.diagnosis.costs.frame import Binned, Frame, by_length, guarded, length_rows, make_bins
from uncollapse.diagnosis.costs.wording import decimal, percent, surely_above, surely_below
from uncollapse.diagnosis.rows import row_of
from uncollapse.measures import MINIMUM
from uncollapse.measures.hubness import (
    HUB,
    Neighbours,
    find_neighbours,
    hub_length_ratio,
    k_skewness,
    mean_occurrence,
    share_of_antihubs,
)
from uncollapse.records import Finding, Part, Row
from uncollapse.resampling import Estimate, difference

LOPSIDED = 1.0
"""Skewness from which on hubs are called a problem. Judgement, stated in the docs."""


@dataclass(frozen=True, eq=False)
class Hubs:
    """Who is near whom among the documents, and what follows.

    Args:
        near: the nearest neighbours of every document.
        skewness, antihubs: of the k-occurrence.
        ratio: length of hubs over length of all; None where there is no hub.
        occurrence: mean k-occurrence by length bin.
        unit: what lengths are counted in.
    """

    near: Neighbours
    skewness: Estimate
    antihubs: Estimate
    ratio: Estimate | None
    occurrence: tuple[Binned, ...]
    unit: str


def find_hubs(frame: Frame) -> Hubs:
    """The k-occurrence of all documents, all of them asking."""
    near = find_neighbours(frame.vectors, frame.keys, queries=len(frame), seed=frame.seed)
    drawn = {"replicates": frame.replicates, "seed": frame.seed}
    bins = make_bins(frame.n_tokens)
    ratio = hub_length_ratio(near, frame.n_tokens, **drawn)
    return Hubs(
        near,
        guarded(k_skewness(near, **drawn)),
        guarded(share_of_antihubs(near, **drawn)),
        None if ratio is None else guarded(ratio),
        by_length(bins, frame.n_tokens, lambda mask: guarded(mean_occurrence(near, mask, **drawn))),
        frame.unit,
    )


def report_hubs(found: Hubs) -> Part:
    """Skewness, anti-hubs, the length of hubs, and the mean k-occurrence by length."""
    n = len(found.near.keys)
    if n < MINIMUM:
        sentence = f"This needs at least {MINIMUM} documents, and there are {n}."
        unknown = Finding("Whether a few documents crowd the results cannot be told", sentence, "unknown")
        return Part(tuple(_rows(found)), (unknown,))
    return Part(tuple(_rows(found)), (_judge(found), _judge_lengths(found)))


def _rows(found: Hubs) -> Iterator[Row]:
    note = f"among the {found.near.k} nearest of {len(found.near.keys):,} documents"
    yield row_of("k_skewness", found.skewness, view="hubness", note=note)
    yield row_of("share_of_antihubs", found.antihubs, view="hubness", note=note)
    if found.ratio is not None:
        yield row_of("hub_length_ratio", found.ratio, view="hubness", note=note)
    yield from length_rows("occurrence", found.occurrence, view="hubness", note=note)


def _judge(found: Hubs) -> Finding:
    near, counts = found.near, found.near.counts
    hubs = counts >= HUB * near.k
    sentence = (
        f"For each of {len(counts):,} documents the {near.k} nearest others were listed. {hubs.sum()} documents stand "
        f"in {HUB * near.k} lists or more, twice their due, and fill {counts[hubs].sum() / counts.sum():.0%} of all "
        f"places (the most frequent stands in {counts.max()}); {percent(found.antihubs)} stand in none. The skewness "
        f"of these counts, about {1 / math.sqrt(near.k):.2f} where lists are drawn by lot, is "
        f"{decimal(found.skewness)} (n = {len(counts):,}; 95 % intervals); from {LOPSIDED:g} on, a few documents "
        "are called too frequent."
    )
    if surely_above(found.skewness, LOPSIDED):
        return Finding("A few documents crowd the results", sentence, "bad")
    if surely_below(found.skewness, LOPSIDED):
        return Finding("No documents crowd the results", sentence, "good")
    return Finding("Whether a few documents crowd the results cannot be told", sentence, "unknown")


def _judge_lengths(found: Hubs) -> Finding:
    """Whether short or long documents stand in more lists than their due."""
    full = [part for part in found.occurrence if part.estimate.low is not None]
    if len(full) < 2:
        sentence = "Too few documents are read at different lengths to compare short and long ones."
        return Finding("Whether length decides who is found too often cannot be told", sentence, "unknown")
    short, long = full[0], full[-1]
    change = difference(long.estimate, short.estimate)
    ends = (
        f"Documents of {short.label} {found.unit} stand in {decimal(short.estimate, digits=1)} lists each, those of "
        f"{long.label} in {decimal(long.estimate, digits=1)}; {found.near.k} is their due (n = "
        f"{short.estimate.n + long.estimate.n:,}, 95 % intervals){_ratio(found.ratio)}."
    )
    if surely_below(change):
        return Finding("Short documents are found more often than long ones", ends, "neutral")
    if surely_above(change):
        return Finding("Long documents are found more often than short ones", ends, "neutral")
    sentence = f"{ends} The difference may be chance."
    return Finding("Whether short or long documents are found more often cannot be told", sentence, "unknown")


def _ratio(ratio: Estimate | None) -> str:
    if ratio is None or ratio.low is None:
        return ""
    most = f"of those that stand in {HUB} times their due or more"
    return f". The median length {most} is {decimal(ratio, digits=1)} times that of all documents"
