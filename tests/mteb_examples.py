"""One small task of every kind, of words that a tiny model can tell apart."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from uncollapse.evaluation.tasks import (
    Classification,
    Clustering,
    PairClassification,
    Retrieval,
    Similarity,
    SummaryEvaluation,
    Task,
    Texts,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def make_texts(n: int, *, seed: int, shortest: int = 2, longest: int = 14) -> tuple[str, ...]:
    """Distinct texts of random words; word number n has its own letters."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 6))) for _ in range(80)]
    texts: dict[str, None] = {}
    while len(texts) < n:
        texts[" ".join(rng.choice(words, rng.integers(shortest, longest)))] = None
    return tuple(texts)


def parts_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Each text but its last word, so that it is the answer to the rest."""
    return tuple(text.rsplit(" ", 1)[0] for text in texts)


def retrieval(split: str = "test", *, n_documents: int = 200, n_queries: int = 40, seed: int = 1) -> Retrieval:
    """Grades 0 to 3; the document a query was taken from has the highest."""
    rng = np.random.default_rng(seed)
    documents = make_texts(n_documents, seed=seed)
    sources = rng.choice(n_documents, n_queries, replace=False)
    judgements = {}
    for query, source in enumerate(sources):
        others = rng.choice([i for i in range(n_documents) if i != source], 5, replace=False)
        grades = {f"d{source}": 3} | {f"d{other}": int(rng.integers(0, 3)) for other in others}
        judgements[f"q{query}"] = grades
    queries = parts_of([documents[source] for source in sources])
    return Retrieval(
        "toys",
        split,
        Texts(tuple(f"d{i}" for i in range(n_documents)), documents),
        Texts(tuple(judgements), queries),
        judgements,
    )


def similarity(split: str = "test", *, n: int = 30, seed: int = 2) -> Similarity:
    first = make_texts(n, seed=seed)
    second = tuple(
        part if i % 3 else other
        for i, (part, other) in enumerate(zip(parts_of(first), make_texts(n, seed=seed + 1), strict=True))
    )
    shared = [len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in zip(first, second, strict=True)]
    return Similarity("toys", split, first, second, np.round(5 * np.array(shared), 1))


def labelled_pairs(n: int = 60) -> PairClassification:
    found = similarity(n=n, seed=4)
    labels = np.arange(n, dtype=np.int64) % 2
    return PairClassification("toys", "test", found.first, found.second, labels)


def labelled_texts(n: int, *, seed: int, labels: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts of a label begin with the same words."""
    texts = make_texts(n, seed=seed, longest=8)
    names = tuple(labels[i % len(labels)] for i in range(n))
    return tuple(f"{name} {name} {text}" for name, text in zip(names, texts, strict=True)), names


def classification(split: str = "test", labels: Sequence[str] = ("no", "yes")) -> Classification:
    train = labelled_texts(60, seed=6, labels=labels)
    return Classification("toys", split, *train, *labelled_texts(50, seed=7, labels=labels))


def clustering(split: str = "test", n: int = 150) -> Clustering:
    return Clustering("toys", split, *labelled_texts(n, seed=8, labels=("aaa", "mmm", "zzz")))


def summaries(n: int = 12) -> SummaryEvaluation:
    references = tuple(make_texts(3, seed=100 + i, shortest=6) for i in range(n))
    rated = tuple((*parts_of(group), *make_texts(4, seed=200 + i)) for i, group in enumerate(references))
    rng = np.random.default_rng(9)
    ratings = tuple(tuple(float(x) for x in np.round(rng.uniform(1, 5, len(group)), 1)) for group in rated)
    return SummaryEvaluation("toys", "test", tuple(f"a{i}" for i in range(n)), references, rated, ratings)


def one_of_each() -> tuple[Task, ...]:
    return retrieval(), similarity(), labelled_pairs(), classification(), clustering(), summaries()


def plain(task: Any) -> Any:
    """A task as lists and numbers, without notes, to compare."""
    fields = dataclasses.asdict(dataclasses.replace(task, notes=()))
    return type(task), {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()
    }
