"""What a model is evaluated on: texts, and what people said about them, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

Judgements = Mapping[str, Mapping[str, int]]
"""Grades, {query id: {document id: grade}}; a document is relevant to a query when its grade is above 0."""


@dataclass(frozen=True)
class Texts:
    """Texts with their ids, in order."""

    ids: tuple[str, ...]
    texts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Retrieval:
    """Queries, the documents among which their answers lie, and which answer which.

    Args:
        name: of the folder.
        split: of the judgements.
        documents: the candidates of every query.
        queries: those judged in this split, in order.
        judgements: grades by query and document; every id is among the queries and documents.
        main: name in METRICS of the score that counts.
        notes: what a reader must know.
    """

    kind: ClassVar[str] = "retrieval"
    name: str
    split: str
    documents: Texts
    queries: Texts
    judgements: Judgements
    main: str = "ndcg@10"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Similarity:
    """Pairs of texts and how similar people found them (STS), or how good they found a summary of a text."""

    kind: ClassVar[str] = "similarity"
    main: ClassVar[str] = "spearman"
    name: str
    split: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: npt.NDArray[np.float64]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairClassification:
    """Pairs of texts that belong together (1) or do not (0)."""

    kind: ClassVar[str] = "pair classification"
    main: ClassVar[str] = "average_precision"
    name: str
    split: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Classification:
    """Texts with labels to learn from, and others to try on."""

    kind: ClassVar[str] = "classification"
    main: ClassVar[str] = "accuracy"
    name: str
    split: str
    train_texts: tuple[str, ...]
    train_labels: tuple[str, ...]
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clustering:
    """Texts whose groups are known."""

    kind: ClassVar[str] = "clustering"
    main: ClassVar[str] = "v_measure"
    name: str
    split: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SummaryEvaluation:
    """Summaries by machines, the references they are held against, and how people rated them.

    One entry an article: `references[i]` are its human summaries, `summaries[i]` the rated ones, `ratings[i]` their
    ratings, in order.
    """

    kind: ClassVar[str] = "summary evaluation"
    main: ClassVar[str] = "summary_spearman"
    name: str
    split: str
    ids: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    summaries: tuple[tuple[str, ...], ...]
    ratings: tuple[tuple[float, ...], ...]
    notes: tuple[str, ...] = ()


Task = Retrieval | Similarity | PairClassification | Classification | Clustering | SummaryEvaluation
