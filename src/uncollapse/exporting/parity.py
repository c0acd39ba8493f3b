"""Whether an exported model gives the vectors of the model it was made from, by length, alone and padded."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from uncollapse.encoders import SentenceEncoder
from uncollapse.encoders.exported import ExportedEncoder
from uncollapse.encoders.sentence import ROLES
from uncollapse.exporting.probes import make_probes
from uncollapse.records import LengthBins

SCHEMA = "uncollapse.parity/1"
"""Name and version of parity.json; the number grows when a reader would have to change."""

LIMITS = {"onnx": 1e-3, "onnx-int8": 0.3, "openvino": 1e-3}
"""Largest error that is allowed, by format, as a share of the spread of the vectors."""

ROUNDS = 3
"""Timed passes over all probes, in turns with the source."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """How near the exported vectors of one length bin come to those of the source.

    Args:
        bin: its label, in tokens.
        batching: "alone" for one text a pass, "padded" for a short text and a long one together.
        n: texts.
        mean_cosine, min_cosine: between the two vectors of a text; None where one is not finite or zero.
        largest_difference: of any number of any vector.
        largest_error: length of the difference of two vectors, over the spread.
        route: role that the texts were encoded in, where roles have graphs of their own; "" elsewhere.
    """

    bin: str
    batching: str
    n: int
    mean_cosine: float | None
    min_cosine: float | None
    largest_difference: float | None
    largest_error: float | None
    route: str = ""

    @property
    def how(self) -> str:
        """The way that texts went, for a reader."""
        return f"{self.route}, {self.batching}" if self.route else self.batching

    @property
    def distance(self) -> float:
        """The largest error; infinite where a vector is not finite."""
        return float("inf") if self.largest_error is None else self.largest_error


def worst_by_bin(rows: Iterable[Agreement]) -> tuple[Agreement, ...]:
    """Of each length bin the way that came least near, in the order of the bins: what a reader is shown of all rows.

    >>> near, far = (Agreement("8-15", way, 3, 1.0, 1.0, 0.1, e) for way, e in (("alone", 0.1), ("padded", 0.2)))
    >>> [row.how for row in worst_by_bin([near, far])]
    ['padded']
    """
    bins: dict[str, list[Agreement]] = {}
    for row in rows:
        bins.setdefault(row.bin, []).append(row)
    return tuple(max(ways, key=lambda row: row.distance) for ways in bins.values())


@dataclass(frozen=True)
class Speed:
    """Seconds for all probes, source against export, in the same process, in turns.

    Args:
        ratio: median seconds of the source over median seconds of the export; above 1, the export is faster.
        low, high: smallest and largest ratio of one round.
        rounds: how many.
        threads: that both computed with.
    """

    ratio: float
    low: float
    high: float
    rounds: int
    threads: int


@dataclass(frozen=True)
class Parity:
    """An exported model held against its source.

    Args:
        format: one of the formats.
        agrees: whether tokens are equal and every error is within the limit.
        limit: largest error that is allowed, as a share of the spread.
        tokens_equal: whether both cut every probe into the same tokens, with the prompt of every role.
        spread: root mean square distance of the source's vectors of the probes from their mean; the smallest, where
            roles have graphs of their own.
        n_texts: probes.
        longest: tokens of the longest probe, after truncation.
        rows: by role, batching and bin.
        speed: None where it was not measured, because the two disagree.
    """

    format: str
    agrees: bool
    limit: float
    tokens_equal: bool
    spread: float
    n_texts: int
    longest: int
    rows: tuple[Agreement, ...]
    speed: Speed | None

    @property
    def largest_error(self) -> float | None:
        """Of all rows; None where any vector is not finite."""
        return _worst([row.largest_error for row in self.rows], max)

    @property
    def min_cosine(self) -> float | None:
        """Of all rows; None where any has none."""
        return _worst([row.min_cosine for row in self.rows], min)

    @property
    def largest_difference(self) -> float | None:
        """Of all rows; None where any vector is not finite."""
        return _worst([row.largest_difference for row in self.rows], max)

    def as_json(self, **more: object) -> str:
        """Strict JSON, with whatever else a reader is told."""
        return json.dumps({"schema": SCHEMA, **asdict(self), **more}, indent=2, allow_nan=False, ensure_ascii=False)


def compare(source: SentenceEncoder, exported: ExportedEncoder, *, rounds: int = ROUNDS) -> Parity:
    """Hold an exported model against its source on probes of every length.

    The error of a text is |exported - source| over the spread of the source's vectors, their root mean square
    distance from their mean: where all vectors of a model lie close together, a cosine near 1 says little, and an
    error as large as the spread makes texts indistinguishable. 0 is equal.

    Args:
        source: on the processor.
        exported: with the same token limit.
        rounds: timed passes over all probes.
    """
    texts, bins = make_probes(source)
    counts = np.minimum(source.prepare(texts).n_tokens, bins.edges[-1] - 1)
    routes = exported.export.routes
    ways = [
        _compare_way(source.as_role(role), exported.as_role(role), texts=texts, bins=bins, counts=counts)
        for role in routes or (exported.role,)
    ]
    rows = tuple(replace(row, route=role) for role, way in zip(routes or ("",), ways, strict=True) for row in way.rows)
    limit = LIMITS[exported.export.format]
    equal = tokens_equal(source, exported, texts)
    agrees = equal and all(row.largest_error is not None and row.largest_error <= limit for row in rows)
    return Parity(
        exported.export.format,
        agrees,
        limit,
        equal,
        min(way.spread for way in ways),
        len(texts),
        int(counts.max()),
        rows,
        _race(source, exported, texts, rounds) if agrees else None,
    )


@dataclass(frozen=True)
class _Way:
    """How near the vectors of one role come, and the spread of the source's."""

    spread: float
    rows: tuple[Agreement, ...]


def _compare_way(
    source: SentenceEncoder,
    exported: ExportedEncoder,
    *,
    texts: Sequence[str],
    bins: LengthBins,
    counts: npt.NDArray[np.int64],
) -> _Way:
    """The texts alone and padded, both encoders in the same role; `counts` are those that bins go by."""
    wanted = {name: _run(source.run_once, texts, list(pairs(counts, name))) for name in ("alone", "padded")}
    spread = float(np.sqrt(np.square(wanted["alone"] - wanted["alone"].mean(axis=0)).sum(axis=1).mean()))
    rows: list[Agreement] = []
    for name, reference in wanted.items():
        found = _run(exported.run_once, texts, list(pairs(counts, name)))
        rows += _agreements(found, reference, bins, counts, batching=name, spread=spread)
    return _Way(spread, tuple(rows))


def pairs(n_tokens: npt.NDArray[np.int64], batching: str) -> Iterator[list[int]]:
    """Which texts go through together: each alone, or the shortest with the longest, and so on.

    >>> list(pairs(np.array([9, 2, 5]), "padded"))
    [[1, 0], [2]]
    """
    order = np.argsort(n_tokens, kind="stable").tolist()
    if batching == "alone":
        yield from ([row] for row in order)
        return
    while order:
        yield [order.pop(0), order.pop()] if len(order) > 1 else [order.pop()]


def tokens_equal(source: SentenceEncoder, exported: ExportedEncoder, texts: Sequence[str]) -> bool:
    """Whether both make the same matrices of tokens, padding and all, with the prompt of every role."""
    for role in ROLES:
        ours, theirs = exported.as_role(role).features(texts), source.as_role(role)
        given = theirs.model.preprocess(list(texts), prompt=theirs.prompt)
        if not all(np.array_equal(ours[name], given[name].numpy()) for name in ours):
            return False
    return True


def _run(encode: Callable[[Sequence[str]], Vectors], texts: Sequence[str], together: list[list[int]]) -> Vectors:
    made = np.concatenate([encode([texts[row] for row in rows]) for rows in together])
    vectors = np.empty_like(made)
    vectors[[row for rows in together for row in rows]] = made
    return vectors


def _agreements(
    found: Vectors,
    wanted: Vectors,
    bins: LengthBins,
    n_tokens: npt.NDArray[np.int64],
    *,
    batching: str,
    spread: float,
) -> Iterator[Agreement]:
    assigned = bins.assign(n_tokens)
    for place, label in enumerate(bins.labels):
        rows = np.flatnonzero(assigned == place)
        if len(rows):
            yield agreement(found[rows], wanted[rows], label=label, batching=batching, spread=spread)


def agreement(found: Vectors, wanted: Vectors, *, label: str, batching: str, spread: float) -> Agreement:
    """How near some vectors come to those they shall be; `spread` is what errors are told in."""
    ours, theirs = found.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(all="ignore"):  # what is not finite becomes None below
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosines = np.clip((ours * theirs).sum(axis=1) / lengths, -1, 1)
        errors = np.linalg.norm(ours - theirs, axis=1) / spread
        difference = np.abs(ours - theirs).max()
    mean, least, furthest, worst = (
        float(one) if np.isfinite(one) else None for one in (cosines.mean(), cosines.min(), difference, errors.max())
    )
    return Agreement(label, batching, len(found), mean, least, furthest, worst)


def _race(source: SentenceEncoder, exported: ExportedEncoder, texts: Sequence[str], rounds: int) -> Speed:
    """Both encode all probes as they would in use, in turns; the comparison before was the warm-up."""
    taken = [(_seconds(source.vectors, texts), _seconds(exported.vectors, texts)) for _ in range(rounds)]
    ratios = [slow / fast for slow, fast in taken]
    middle = np.median([slow for slow, _ in taken]) / np.median([fast for _, fast in taken])
    return Speed(float(middle), min(ratios), max(ratios), rounds, torch.get_num_threads())


def _seconds(encode: Callable[[Sequence[str]], Vectors], texts: Sequence[str]) -> float:
    start = time.perf_counter()
    encode(texts)
    return time.perf_counter() - start


def _worst(values: list[float | None], pick: Callable[[list[float]], float]) -> float | None:
    known = [value for value in values if value is not None]
    return pick(known) if len(known) == len(values) else None
