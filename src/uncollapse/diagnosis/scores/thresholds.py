"""A small file of thresholds by length that any search can apply, and what reads it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from uncollapse.errors import UncollapseError
from uncollapse.records import LengthBins, Part, Result, Row
from uncollapse.writing import whole_file

SCHEMA = "uncollapse.thresholds/1"
"""Name and version of the JSON layout; the number grows when a reader would have to change."""

APPLY = (
    "Count the tokens of query and document as the model sees them, take the cell whose edges enclose both (edges[i] "
    "<= tokens < edges[i + 1]; what lies outside belongs to the nearest bin), and drop results whose cosine is not "
    "above its threshold. Expect the share `rate` of unrelated documents to pass; where a threshold is null, too few "
    "pairs were measured to tell it. The numbers hold for texts that the model cuts at `max_tokens` tokens, special "
    "tokens and prompt in (null: cut nowhere, or not known where): serve it with that limit, or measure again at "
    "yours."
)


@dataclass(frozen=True)
class Threshold:
    """The score that only the share `rate` of unrelated pairs exceeds.

    Args:
        threshold: the score; None where too few pairs could tell it.
        low, high: 95 % interval; None where there is none, and then `note` says why.
        n: documents it rests on, of the side that has fewer.
        n_pairs: pairs it was read from.
        note: anything to know before it is used.
    """

    threshold: float | None
    low: float | None
    high: float | None
    n: int
    n_pairs: int
    note: str = ""


@dataclass(frozen=True)
class Thresholds:
    """Thresholds for one model and one false-positive rate, by length of query and document.

    Args:
        model: that made the vectors.
        fix: notation of the fix that was on, "none" for the stock model.
        dataset: whose documents were measured.
        rate: share of unrelated pairs that a threshold lets through.
        queries: what the queries were.
        query_edges, document_edges: of the length bins, in tokens.
        cells: one row a query bin, one column a document bin.
        overall: all lengths together.
        max_tokens: the limit at which texts were cut, special tokens and prompt in; None where there was none, or
            where nobody knows.

    >>> cells = ((Threshold(0.31, 0.29, 0.33, 80, 6400), Threshold(0.47, 0.44, 0.5, 80, 6400)),)
    >>> overall = Threshold(0.42, 0.41, 0.44, 160, 25600)
    >>> found = Thresholds("minilm", "none", "notes", 0.01, "titles", (3, 20), (8, 100, 513), cells, overall)
    >>> found.threshold(query_tokens=7, document_tokens=300)
    0.47
    >>> Thresholds.from_json(found.to_json()) == found
    True
    """

    model: str
    fix: str
    dataset: str
    rate: float
    queries: str
    query_edges: tuple[int, ...]
    document_edges: tuple[int, ...]
    cells: tuple[tuple[Threshold, ...], ...]
    overall: Threshold
    max_tokens: int | None = None

    def threshold(self, query_tokens: int, document_tokens: int) -> float:
        """The threshold for a query and a document; what lies outside the measured lengths takes the nearest bin.

        Raises:
            UncollapseError: the threshold of that cell could not be told.
        """
        row, column = _bin(self.query_edges, query_tokens), _bin(self.document_edges, document_tokens)
        found = self.cells[row][column]
        if found.threshold is None:
            raise UncollapseError(
                f"There is no threshold for queries of {query_tokens} and documents of {document_tokens} tokens: "
                f"{found.note}. Measure more texts, or use `overall.threshold`, which does not know lengths."
            )
        return found.threshold

    def to_json(self) -> str:
        """Strict JSON (no NaN), two-space indented, keys in a fixed order."""
        data = {"schema": SCHEMA, "apply": APPLY, **asdict(self)}
        return json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; anything else is refused.

        Raises:
            UncollapseError: no JSON, another schema, a missing field, or cells that do not fit the edges.
        """
        data = _object(text)
        try:
            found = cls(
                **{name: data[name] for name in ("model", "fix", "dataset", "rate", "queries")},
                query_edges=LengthBins(tuple(data["query_edges"])).edges,
                document_edges=LengthBins(tuple(data["document_edges"])).edges,
                cells=tuple(tuple(_read(cell) for cell in row) for row in data["cells"]),
                overall=_read(data["overall"]),
                max_tokens=_limit(data.get("max_tokens")),
            )
        except (KeyError, TypeError) as error:
            raise UncollapseError(
                f"Expected a file of thresholds as `export_thresholds` writes it, got one with a field missing or of "
                f"another kind: {error}. Export it again."
            ) from error
        shape = (len(found.query_edges) - 1, len(found.document_edges) - 1)
        if len(found.cells) != shape[0] or any(len(row) != shape[1] for row in found.cells):
            raise UncollapseError(
                f"The edges make {shape[0]} x {shape[1]} cells, but the file has rows of "
                f"{[len(row) for row in found.cells]}. Export it again."
            )
        return found


def export_thresholds(found: Part | Result, path: Path | str, *, rate: float | None = None, model: str = "") -> None:
    """Write the thresholds by length as JSON, whole or not at all.

    Args:
        found: from `measure_scores`, or a diagnosis that holds it.
        path: of the file.
        rate: which of the measured false-positive rates; may be left out where there is one.
        model: name of the model, where the rows do not say it.

    Raises:
        UncollapseError: no scores were measured, not at this rate, or by no known model.
        OutputError: the file cannot be written.
    """
    thresholds = read_thresholds(found, rate=rate, model=model)
    with whole_file(Path(path)) as part:
        part.write_text(thresholds.to_json() + "\n", encoding="utf-8")


def read_thresholds(found: Part | Result, *, rate: float | None = None, model: str = "") -> Thresholds:
    """The thresholds of a diagnosis; arguments and errors are those of `export_thresholds`."""
    about = found.about.get("scores", {})
    if "cells" not in about:
        raise UncollapseError(
            "There are no thresholds to export: this result holds no scores by length. Measure them on enough texts."
        )
    chosen = _chosen(about["rates"], rate)
    rows = {(row.view, row.bin): row for row in found.rows if row.measure == f"threshold@{chosen:g}"}
    first = _one_setting(found, model)
    parts = {cell["bin"]: cell for cell in about["cells"]}
    queries, documents = LengthBins(tuple(about["query_edges"])), LengthBins(tuple(about["document_edges"]))
    cells = tuple(
        tuple(_threshold(rows.get(("scores", label)), parts.get(label)) for label in labels)
        for labels in ([f"{query} x {document}" for document in documents.labels] for query in queries.labels)
    )
    return Thresholds(
        model=first.model or model,
        fix=first.fix,
        dataset=first.dataset,
        rate=chosen,
        queries=about["queries"],
        query_edges=queries.edges,
        document_edges=documents.edges,
        cells=cells,
        overall=_threshold(rows.get(("scores_overall", "")), about["overall"]),
        max_tokens=about.get("max_tokens"),
    )


def _threshold(row: Row | None, cell: Mapping[str, Any] | None) -> Threshold:
    n, pairs = (cell["n"], cell["n_pairs"]) if cell else (0, 0)
    if row is None:
        return Threshold(None, None, None, n, pairs, f"{pairs:,} pairs are too few to tell it")
    return Threshold(row.value, row.low, row.high, row.n, pairs, row.note)


def _read(cell: Mapping[str, Any]) -> Threshold:
    found = Threshold(**cell)
    for score in (found.threshold, found.low, found.high):
        if score is not None and (isinstance(score, bool) or not isinstance(score, int | float)):
            raise TypeError(f"a score must be a number or null, got {score!r}")
    return found


def _limit(found: object) -> int | None:
    if found is None or (isinstance(found, int) and not isinstance(found, bool) and found > 0):
        return found
    raise TypeError(f"`max_tokens` must be a whole number above 0 or null, got {found!r}")


def _chosen(measured: Sequence[float], rate: float | None) -> float:
    chosen = measured[0] if rate is None and len(measured) == 1 else rate
    if chosen is None or chosen not in measured:
        raise UncollapseError(
            f"A file holds the thresholds of one rate that was measured, got `rate` {chosen}. "
            f"Measured: {', '.join(f'{one:g}' for one in measured)}."
        )
    return chosen


def _one_setting(found: Part | Result, model: str) -> Row:
    rows = [row for row in found.rows if row.view.startswith("scores")]
    settings = sorted({(row.model or model, row.fix, row.dataset) for row in rows})
    if len(settings) != 1:
        raise UncollapseError(
            f"A file holds the thresholds of one model, fix and corpus, but this result has {len(settings)}: "
            f"{settings}. Export each from its own result."
        )
    if not settings[0][0]:
        raise UncollapseError("Thresholds hold for one model only, but it is not named. Pass `model`, its name.")
    return rows[0]


def _bin(edges: Sequence[int], n_tokens: int) -> int:
    inside = min(max(n_tokens, edges[0]), edges[-1] - 1)
    return int(LengthBins(tuple(edges)).assign(np.array([inside]))[0])


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _object(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise UncollapseError(f"Expected the JSON of a file of thresholds, got something else: {error}.") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        came = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise UncollapseError(f"Expected thresholds of schema {SCHEMA!r}, got {came!r}. Export the file again.")
    return data
