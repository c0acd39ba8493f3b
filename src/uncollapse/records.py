"""The values everything passes on: embeddings with their token counts, length bins, and one long table of results."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from uncollapse.errors import ModelError, UncollapseError

SCHEMA = "uncollapse.result/1"
"""Name and version of the JSON layout; the number grows when a reader would have to change."""

T = TypeVar("T")

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Embeddings:
    """Vectors that never travel without their ids and token counts.

    Args:
        vectors: float32 [texts, dim], finite.
        ids: one id a text.
        n_tokens: int [texts], tokens the model saw: special tokens and prompt in, after truncation.
        n_tokens_full: int [texts], the same before truncation.
    """

    vectors: npt.NDArray[np.float32]
    ids: tuple[str, ...]
    n_tokens: npt.NDArray[np.int64]
    n_tokens_full: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        sizes = {len(self.vectors), len(self.ids), len(self.n_tokens), len(self.n_tokens_full)}
        if self.vectors.ndim != 2 or len(sizes) != 1:
            raise ModelError(
                "Embeddings need one vector, id and token count a text, got vectors of shape "
                f"{self.vectors.shape}, {len(self.ids)} ids, {len(self.n_tokens)} and "
                f"{len(self.n_tokens_full)} token counts."
            )
        bad = np.flatnonzero(~np.isfinite(self.vectors).all(axis=1))
        if len(bad):
            raise ModelError(
                f"Vectors must be finite, but {len(bad)} of {len(self.ids)} hold NaN or infinity; the first is "
                f"text {self.ids[bad[0]]!r} ({self.n_tokens[bad[0]]} tokens). Check the model's weights for NaN, "
                "and load it in float32: half precision can overflow."
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def truncated(self) -> npt.NDArray[np.bool_]:
        """Whether each text lost tokens to the model's limit."""
        return self.n_tokens_full > self.n_tokens


@runtime_checkable
class Encoder(Protocol):
    """Anything that turns texts into vectors and counts tokens."""

    name: str
    dim: int
    max_tokens: int

    def encode(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> Embeddings: ...


@dataclass(frozen=True)
class LengthBins:
    """Half-open bins of token counts: bin i holds texts with edges[i] <= n_tokens < edges[i + 1].

    >>> bins = LengthBins.powers_of_two(64)
    >>> bins.labels
    ('1-7', '8-15', '16-31', '32-63', '64')
    >>> bins.assign(np.array([3, 8, 64])).tolist()
    [0, 1, 4]
    """

    edges: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or any(b <= a for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise UncollapseError(f"Length bins need at least two rising edges, got {list(self.edges)}.")

    @classmethod
    def powers_of_two(cls, max_tokens: int) -> Self:
        """Bins 1-7, 8-15, 16-31, ... the last of which ends with `max_tokens`."""
        edges = [1, min(8, max_tokens + 1)]
        while edges[-1] <= max_tokens:
            edges.append(min(2 * edges[-1], max_tokens + 1))
        return cls(tuple(edges))

    @classmethod
    def equal_count(cls, n_tokens: IntArray, bins: int) -> Self:
        """About equally many texts in each of at most `bins` bins; texts of one length stay together."""
        cuts = np.quantile(n_tokens, np.linspace(0, 1, bins + 1)[1:-1], method="higher")
        edges = np.unique(np.concatenate([[n_tokens.min()], cuts, [n_tokens.max() + 1]]))
        return cls(tuple(int(edge) for edge in edges))

    @property
    def labels(self) -> tuple[str, ...]:
        pairs = zip(self.edges, self.edges[1:], strict=False)
        return tuple(f"{low}-{high - 1}" if high - 1 > low else str(low) for low, high in pairs)

    def __len__(self) -> int:
        return len(self.edges) - 1

    def assign(self, n_tokens: IntArray) -> npt.NDArray[np.int64]:
        """The bin of each text; every count must lie within the outer edges."""
        n_tokens = np.asarray(n_tokens)
        if len(n_tokens) and (n_tokens.min() < self.edges[0] or n_tokens.max() >= self.edges[-1]):
            raise UncollapseError(
                f"Token counts must lie in [{self.edges[0]}, {self.edges[-1]}), got "
                f"{n_tokens.min()} to {n_tokens.max()}. Make the bins from the largest count."
            )
        return np.searchsorted(self.edges, n_tokens, side="right") - 1


@dataclass(frozen=True)
class Row:
    """One number with its n, its interval and the keys that say what it is about.

    Args:
        measure: name in MEASURES, or a comparison such as `mean_cosine_rise`.
        value: the estimate.
        low, high: 95 % interval; None where there is none, and then `note` says why.
        n: how many documents it rests on.
        view: of a diagnosis, "as_is" (every text at its own length) or "windows" (the same documents cut to n tokens);
            of an evaluation, "overall", "by_document_length", "by_query_length" or "grid" (both); of an explanation,
            the place inside a layer.
        bin: label of the length bin, "" for a number about all bins.
        n_tokens: mean token count in the bin, 0 for a number about all bins.
        fix: notation of the fix that was on, "none" for the stock model.
        p: of a comparison, the p-value of the paired test; None where there is no test.
        p_holm: the same after Holm's correction for all comparisons of its family.
        effect: of a comparison, the mean difference over the standard deviation of the differences.
        layer, head: of the inside of a model, counted from 0; None for a number about all of them.
        frequency: over token positions, in cycles per token from 0 to 0.5; None where there is none.
    """

    measure: str
    value: float
    low: float | None
    high: float | None
    n: int
    view: str = ""
    bin: str = ""
    n_tokens: float = 0.0
    model: str = ""
    fix: str = "none"
    dataset: str = ""
    note: str = ""
    p: float | None = None
    p_holm: float | None = None
    effect: float | None = None
    layer: int | None = None
    head: int | None = None
    frequency: float | None = None


@dataclass(frozen=True)
class Point:
    """One text in the two-dimensional projection."""

    id: str
    x: float
    y: float
    n_tokens: int
    snippet: str
    fix: str = "none"


@dataclass(frozen=True)
class Item:
    """One scored item of a task, such as a query, under every fix.

    Args:
        id: of the query, pair or text.
        snippet: the beginning of its text.
        n_tokens: length of its document, in tokens before truncation.
        n_query_tokens: length of the query; None where there is none.
        measure: what `values` are.
        values: by notation of the fix, "none" for the stock model.
        dataset: name and split.
    """

    id: str
    snippet: str
    n_tokens: int
    n_query_tokens: int | None
    measure: str
    values: Mapping[str, float]
    dataset: str = ""


@dataclass(frozen=True)
class LengthCount:
    """How many texts have low <= tokens (before truncation) < high, and how many of them were truncated."""

    low: int
    high: int
    texts: int
    truncated: int


@dataclass(frozen=True)
class Finding:
    """One plain sentence of the verdict. `kind` is "bad", "good", "neutral" or "unknown"."""

    title: str
    sentence: str
    kind: str = "neutral"


@dataclass(frozen=True)
class Part:
    """What one room of a diagnosis adds to its result.

    Args:
        rows: every number.
        verdict: the findings in plain words, most important first.
        about: what a reader needs to judge them, under the room's name.
    """

    rows: tuple[Row, ...] = ()
    verdict: tuple[Finding, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One long table of rows, and what a reader needs beside it to judge them.

    Args:
        rows: every number.
        verdict: the findings in plain words, most important first.
        points: projected texts.
        lengths: histogram of token counts before truncation.
        items: scored items of an evaluation, a sample where there are very many.
        about: model, corpus, seed, versions, command, notes, time stamp.
    """

    rows: tuple[Row, ...] = ()
    verdict: tuple[Finding, ...] = ()
    points: tuple[Point, ...] = ()
    lengths: tuple[LengthCount, ...] = ()
    items: tuple[Item, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def select(self, **keys: object) -> tuple[Row, ...]:
        """The rows whose fields equal `keys`, in order.

        >>> Result(rows=(Row("mean_cosine", 0.1, 0.0, 0.2, 9),)).select(measure="mean_cosine")[0].n
        9
        """
        names = {f.name for f in fields(Row)}
        if unknown := set(keys) - names:
            raise UncollapseError(f"Rows have no field {sorted(unknown)}; they have {sorted(names)}.")
        return tuple(row for row in self.rows if all(getattr(row, key) == keys[key] for key in keys))

    def to_json(self) -> str:
        """Strict JSON (no NaN), two-space indented, keys in a fixed order."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; another schema is refused by name."""
        data = json.loads(text)
        if data.get("schema") != SCHEMA:
            raise UncollapseError(f"Expected a result of schema {SCHEMA!r}, got {data.get('schema')!r}.")
        return cls(
            rows=tuple(Row(**row) for row in data["rows"]),
            verdict=tuple(Finding(**finding) for finding in data["verdict"]),
            points=tuple(Point(**point) for point in data["points"]),
            lengths=tuple(LengthCount(**count) for count in data["lengths"]),
            items=tuple(Item(**item) for item in data.get("items", ())),
            about=data["about"],
        )


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` items."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
