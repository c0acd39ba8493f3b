"""Questions to a folder of vectors that `embed` wrote: exact search, shard by shard, with the model that made them."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from uncollapse.corpora.batches import embedded_manifest, read_batches
from uncollapse.corpora.shards import Manifest
from uncollapse.corpora.texts import is_blank
from uncollapse.encoders import Endpoint, Role, TextEncoder
from uncollapse.errors import ModelError, UncollapseError
from uncollapse.manifests import begin_manifest
from uncollapse.measures.search import BLOCK
from uncollapse.measures.search import search as search_vectors
from uncollapse.pipelines.encoder import encode
from uncollapse.progress import Advance, Reporter, Silent
from uncollapse.records import Embeddings

_COMPARED = ("cosine", "dot")
_MADE_BY = ("architecture", "dim", "fingerprint", "folded_fix")
_SHOWN = 60  # letters of a query in a message

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Args:
        id: of the document.
        score: cosine, or inner product where the model compares by that.
        n_tokens: that the model saw of it.
        n_tokens_full: before anything was cut off.
    """

    id: str
    score: float
    n_tokens: int
    n_tokens_full: int


@dataclass(frozen=True)
class Answer:
    """What a query found.

    Args:
        query: its text.
        hits: best first; of equal scores the one with the larger id, as trec_eval has it.
    """

    query: str
    hits: tuple[Hit, ...]


@dataclass(frozen=True)
class Answers:
    """What several queries found in one folder.

    Args:
        found: by query, in their order.
        n_texts: that were searched.
        median_tokens: of all of these, before anything was cut off.
        compared_by: "cosine" or "dot".
        unit: what tokens are: "tokens", or "words" where nobody can know those of a server.
    """

    found: tuple[Answer, ...]
    n_texts: int
    median_tokens: float
    compared_by: str
    unit: str = "tokens"

    @property
    def median_found(self) -> float:
        """Median tokens of the documents found, of all queries together, before anything was cut off."""
        return float(np.median([hit.n_tokens_full for answer in self.found for hit in answer.hits]))


@dataclass(frozen=True, eq=False)
class _Best:
    """The best documents so far of each query: matrices [queries, up to k], best first."""

    scores: npt.NDArray[np.float64]
    ids: npt.NDArray[np.object_]
    tokens: npt.NDArray[np.int64]
    full: npt.NDArray[np.int64]

    def merged(self, other: "_Best", k: int) -> "_Best":
        """With those of another batch."""
        scores = np.concatenate([self.scores, other.scores], axis=1)
        order = _ordered(scores, np.concatenate([self.ids, other.ids], axis=1))[:, :k]

        def pick(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.take_along_axis(np.concatenate([ours, theirs], axis=1), order, axis=1)

        ids, tokens, full = pick(self.ids, other.ids), pick(self.tokens, other.tokens), pick(self.full, other.full)
        return _Best(np.take_along_axis(scores, order, axis=1), ids, tokens, full)

    def hits(self, row: int) -> tuple[Hit, ...]:
        columns = (self.ids[row], self.scores[row], self.tokens[row], self.full[row])
        return tuple(Hit(str(name), float(s), int(n), int(full)) for name, s, n, full in zip(*columns, strict=True))


def search(
    encoder: TextEncoder,
    vectors: str | os.PathLike[str],
    queries: Sequence[str],
    *,
    k: int = 10,
    progress: Reporter | None = None,
) -> Answers:
    """The k documents of a folder of vectors that are most like each query, exactly.

    Queries are encoded as queries of the model, with its prompt and its map for them, and compared with every vector
    by what the model compares by; where the vectors are of texts that are compared as equals, so are the queries.
    Vectors are read a few at a time, so a folder may be larger than memory. Scores are those of float64, so they
    depend on no shard size.

    Args:
        encoder: from `load`; the model that made the vectors.
        vectors: a finished folder of `embed`.
        queries: texts.
        k: documents of each query, at least 1; all of them where there are fewer.
        progress: shows how far the work is.

    Raises:
        CorpusError: no such folder, one that is not finished, or a shard that is missing or was changed.
        ModelError: another model than the one that made the vectors, vectors of queries, or a model whose comparison
            is neither cosine nor inner product.
        UncollapseError: no query, one that is no text or a blank one, or k that is no whole number from 1 on.

    >>> from uncollapse import load, search
    >>> answers = search(load("my-model-fixed"), "vectors", ["how long may a chunk be?"])  # doctest: +SKIP
    >>> answers.found[0].hits[0].id  # doctest: +SKIP
    'guide-12'
    """
    folder, reporter = Path(vectors), progress or Silent()
    _check_queries(queries, k)
    manifest = embedded_manifest(folder)
    compared_by = _compared_by(manifest)
    check_maker(encoder, folder)
    asked = _ready(_encode_queries(encoder, queries, manifest), compared_by)
    with reporter.track("searching", manifest.n_texts, "vectors") as advance:
        best, lengths = _search_batches(asked, read_batches(folder, BLOCK), k, compared_by, advance)
    found = tuple(Answer(query, best.hits(row)) for row, query in enumerate(queries))
    unit = str(manifest.made["model"].get("unit") or "tokens")
    return Answers(found, manifest.n_texts, _median(lengths), compared_by, unit)


def shared(one: Answers, other: Answers) -> npt.NDArray[np.float64]:
    """The share of the documents found for each query that both found: float64 [queries], from 0 to 1.

    |A & B| / max(|A|, |B|), with A and B the ids found by one and by the other.

    Args:
        one, other: answers to the same queries in the same order.

    Raises:
        UncollapseError: other queries.

    >>> hit = Hit("d1", 0.5, 10, 10)
    >>> answers = Answers((Answer("q", (hit,)),), 1, 10.0, "cosine")
    >>> shared(answers, answers).tolist()
    [1.0]
    """
    if [answer.query for answer in one.found] != [answer.query for answer in other.found]:
        raise UncollapseError("Expected answers to the same queries in the same order, got others.")
    sets = [
        ({hit.id for hit in a.hits}, {hit.id for hit in b.hits}) for a, b in zip(one.found, other.found, strict=True)
    ]
    return np.array([len(a & b) / max(len(a), len(b)) for a, b in sets])


def _check_queries(queries: Sequence[str], k: int) -> None:
    if isinstance(queries, str) or not all(isinstance(query, str) for query in queries):
        raise UncollapseError(f"Expected a list of texts as queries, got {queries!r:.{_SHOWN}}.")
    if not queries:
        raise UncollapseError("Expected at least one query, got none.")
    for number, query in enumerate(queries, 1):
        if is_blank(query):
            raise UncollapseError(f"Expected text in every query, got query {number} of {len(queries)} without any.")
    if not isinstance(k, int) or k < 1:
        raise UncollapseError(f"A search returns at least one document a query, got k={k!r}.")


def check_maker(encoder: TextEncoder, folder: Path) -> None:
    """Refuse a model that did not make the vectors of a folder: its own would mean something else.

    Of a model that computes in another format than they were made in, the weights cannot be compared.

    Args:
        encoder: from `load`.
        folder: that `embed` wrote.

    Raises:
        ModelError: something of the model differs from what the manifest says, or the vectors are those of queries.
        CorpusError: no such folder, or one that is not finished.
    """
    manifest = embedded_manifest(folder)
    if manifest.made.get("role") == "query":
        raise ModelError(
            f"The vectors in {str(folder)!r} are those of queries (--role query), and a search goes through "
            "documents. Embed the documents, without --role."
        )
    now = begin_manifest(encoder, manifest.format, 1).made["model"]
    then = manifest.made["model"]
    weights = ("tensors",) if now.get("dtype") == then.get("dtype") else ()
    for part in (*_MADE_BY, *weights):
        if now.get(part) != then.get(part):
            raise ModelError(
                f"The vectors in {str(folder)!r} were made by a model whose {part} is {then.get(part)!r}; that of "
                f"{encoder.name!r} is {now.get(part)!r}. Name the model that made them, or embed the corpus with this "
                "one."
            )


def _compared_by(manifest: Manifest) -> str:
    named = str(manifest.made.get("similarity") or "cosine")
    if named not in _COMPARED:
        raise ModelError(
            f"The model compares vectors by {named}, and a search by {' or '.join(_COMPARED)} would find others. "
            "Search with the tool that you serve it with."
        )
    return named


def _encode_queries(encoder: TextEncoder, queries: Sequence[str], manifest: Manifest) -> Vectors:
    """A server takes all texts alike, and so does what stands behind it."""
    role: Role = "text" if manifest.made.get("role") == "text" else "query"
    given = encode(encoder, queries) if isinstance(encoder, Endpoint) else encode(encoder, queries, role=role)
    bad = np.flatnonzero(~np.isfinite(given.vectors).all(axis=1) | ~given.vectors.any(axis=1))
    if len(bad):
        raise ModelError(f"The model gives the query {queries[bad[0]][:_SHOWN]!r} no direction. Leave it out.")
    return given.vectors


def _ready(vectors: Vectors, compared_by: str) -> Vectors:
    """As inner products compare them."""
    if compared_by == "dot":
        return np.asarray(vectors, np.float32)
    wide = np.asarray(vectors, np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), np.float32)


def _search_batches(
    asked: Vectors, batches: Iterator[Embeddings], k: int, compared_by: str, advance: Advance
) -> tuple[_Best, Counter[int]]:
    """The best of all batches, and how many texts there are of every length."""
    best, lengths = None, Counter[int]()
    for batch in batches:
        found = _best_of(asked, batch, min(k, len(batch)), compared_by)
        best = found if best is None else best.merged(found, k)
        lengths.update(batch.n_tokens_full.tolist())
        advance(len(batch))
    if best is None:
        raise UncollapseError("Expected vectors, got none.")
    return best, lengths


def _median(lengths: Counter[int]) -> float:
    """Of as many numbers as were counted."""
    values = np.array(sorted(lengths))
    ends = np.cumsum([lengths[value] for value in values.tolist()])
    middle = np.searchsorted(ends, [(ends[-1] - 1) // 2, ends[-1] // 2], side="right")
    return float(values[middle].mean())


def _ordered(scores: npt.NDArray[np.float64], ids: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """By row the places of the largest scores first, and of equal ones that of the larger id."""
    order = np.argsort(-scores, axis=1, kind="stable")
    falling = np.take_along_axis(scores, order, axis=1)
    for row in np.flatnonzero((falling[:, 1:] == falling[:, :-1]).any(axis=1)).tolist():
        keys = list(zip(scores[row].tolist(), ids[row].tolist(), strict=True))
        order[row] = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
    return order


def _best_of(asked: Vectors, batch: Embeddings, k: int, compared_by: str) -> _Best:
    order = np.empty(len(batch), np.int64)
    order[sorted(range(len(batch)), key=batch.ids.__getitem__, reverse=True)] = np.arange(len(batch))
    hits = search_vectors(asked, _ready(batch.vectors, compared_by), k, order=order)
    ids = np.array(batch.ids, dtype=object)[hits.documents]
    return _Best(hits.scores, ids, batch.n_tokens[hits.documents], batch.n_tokens_full[hits.documents])
