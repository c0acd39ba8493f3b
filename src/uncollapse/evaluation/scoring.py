"""A task and an encoder become sheets: encode, rank or compare, one line an item."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from uncollapse.encoders import CachedEncoder, Role
from uncollapse.evaluation.rankings.ranked import Ranked
from uncollapse.evaluation.rankings.retrieval import Retrieved, rank_documents, ranking_sheets
from uncollapse.evaluation.rankings.words import rank_words
from uncollapse.evaluation.sheets import Sheet, beginnings
from uncollapse.evaluation.statistics.labelling import classify, cluster, summary_correlations
from uncollapse.evaluation.statistics.linked import overlaps
from uncollapse.evaluation.statistics.significance import grouped
from uncollapse.evaluation.tasks import (
    Classification,
    Clustering,
    PairClassification,
    Retrieval,
    Similarity,
    SummaryEvaluation,
    Task,
)
from uncollapse.fixes.composition import Composition
from uncollapse.fixes.statistics import FEWEST, Group
from uncollapse.measures import unit
from uncollapse.pipelines.encoder import FixedEncoder
from uncollapse.pipelines.fitting import Unlabelled, needed_by
from uncollapse.pipelines.several import Several
from uncollapse.records import Embeddings

TaskEncoder = CachedEncoder | FixedEncoder
"""What turns the texts of a task into vectors."""

Advance = Callable[[float], None]

Number = TypeVar("Number", np.float32, np.int64)


@dataclass(frozen=True, eq=False)
class Scored:
    """One task under one model and fix.

    Args:
        sheets: the first holds the score that counts.
        ranking: of a retrieval task.
        cut: by what was cut ("documents", "queries", "texts"), how many were longer than the model can see, and of how
            many.
        notes: what a reader must know.
    """

    sheets: tuple[Sheet, ...]
    ranking: Retrieved | None = None
    cut: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def ranked(self) -> Ranked | None:
        return self.ranking.ranked if self.ranking else None


def texts_of(task: Task) -> list[tuple[Role, tuple[str, ...]]]:
    """What a task has encoded, by role."""
    match task:
        case Retrieval():
            return [("document", task.documents.texts), ("query", task.queries.texts)]
        case Similarity() | PairClassification():
            return [("text", task.first), ("text", task.second)]
        case Classification():
            return [("text", task.train_texts), ("text", task.texts)]
        case Clustering():
            return [("text", task.texts)]
        case SummaryEvaluation():
            return [("text", _flat(task.references)), ("text", _flat(task.summaries))]


LearnFrom = Literal["task", "sentences"]
"""Which queries a pipeline learns from: those of the task, without their answers, as a log of searches would give; or
sentences of the documents in their stead."""


def unlabelled(task: Task, queries: LearnFrom = "task") -> Unlabelled:
    """The texts of a task that a pipeline may learn from: what is searched and what is asked, or all; no label.

    Args:
        task: any kind.
        queries: which stand for what is asked; sentences in any case where a task has fewer than a mean needs.
    """
    if isinstance(task, Retrieval):
        asked = () if queries == "sentences" or len(task.queries) < FEWEST else task.queries.texts
        return Unlabelled(task.documents.ids, task.documents.texts, asked)
    texts = tuple(dict.fromkeys(text for _, part in texts_of(task) for text in part))
    return Unlabelled(tuple(str(number) for number in range(len(texts))), texts)


def learned_note(fix: Composition, tasks: Sequence[Task], queries: LearnFrom) -> list[str]:
    """What a reader must know of the queries that a pipeline learned from; nothing where it needs none."""
    searches = [task for task in tasks if isinstance(task, Retrieval)]
    if Group.QUERIES not in needed_by(fix):
        return []
    equals = [f"`{fix}`: what tells queries from documents leaves texts that are compared as equals as they are"]
    equals = equals if len(searches) < len(tasks) else []
    if not searches:
        return equals
    if queries == "sentences":
        return [*equals, "what fixes learn of queries, they learned from sentences of the documents"]
    few = [f"{task.name}/{task.split}" for task in searches if len(task.queries) < FEWEST]
    instead = (
        f"; on {', '.join(few)}, with fewer than {FEWEST} queries, from sentences of the documents" if few else ""
    )
    return [
        *equals,
        "what fixes learn of queries, they learned from the queries of the task, all of them and without their "
        f"answers, as from a log of searches{instead}",
    ]


def score_task(
    task: Task, encoder: TaskEncoder, *, approximate: bool = False, seed: int = 0, advance: Advance = lambda _: None
) -> Scored:
    """Encode the texts of a task and score every item.

    Args:
        task: any kind.
        encoder: the model, with its fix and its cache.
        approximate: search with an index instead of exactly.
        seed: of the random documents that length is held against.
        advance: told about encoding, in the units of `CachedEncoder.work`.

    Raises:
        ModelError: a vector that is not finite or is zero.
        FixError: a fix that gives texts several vectors, on a task that is no search.
    """
    if isinstance(task, Retrieval):
        documents = _encode_documents(task, encoder, advance)
        queries = encoder.encode(task.queries.texts, role="query", advance=advance)
        return _score_retrieval(task, documents, queries, encoder=encoder, approximate=approximate, seed=seed)
    parts = [encoder.encode(texts, role=role, advance=advance) for role, texts in texts_of(task)]
    match task:
        case Similarity() | PairClassification():
            return _score_pairs(task, *parts)
        case Classification():
            return _score_classification(task, *parts)
        case Clustering():
            return _score_clustering(task, *parts)
        case SummaryEvaluation():
            return _score_summaries(task, *parts)


def score_words(task: Retrieval, language: str, *, seed: int = 0) -> Scored:
    """Score word matching, which reads every text to its end; lengths are in its words until `counted_like`.

    Args:
        task: its texts and judgements.
        language: of the stems; see `rank_words`.
        seed: of the random documents that length is held against.

    Raises:
        MissingExtraError: bm25s or PyStemmer is not installed.
        CorpusError: no query shares a word with any document.
    """
    ranking = rank_words(task, language, seed=seed)
    cut = {"documents": (0, len(task.documents)), "queries": (0, len(task.queries))}
    return Scored(ranking_sheets(ranking), ranking, cut, ranking.notes)


def counted_like(scored: Scored, first: Scored) -> Scored:
    """The same scores with the lengths that another model counted: a length bin then holds the same items for both.

    Args:
        scored: of one model.
        first: of the other, on the same task.
    """
    sheets = tuple(
        replace(mine, n_tokens=its.n_tokens, n_query_tokens=its.n_query_tokens)
        for mine, its in zip(scored.sheets, first.sheets, strict=True)
    )
    if not (scored.ranking and first.ranking):
        return replace(scored, sheets=sheets)
    ranked = replace(scored.ranking.ranked, lengths=first.ranking.ranked.lengths)
    ranking = replace(scored.ranking, ranked=ranked, query_lengths=first.ranking.query_lengths)
    return replace(scored, sheets=sheets, ranking=ranking)


def _encode_documents(task: Retrieval, encoder: TaskEncoder, advance: Advance) -> Several:
    if isinstance(encoder, FixedEncoder):
        return encoder.encode_several(task.documents.texts, role="document", advance=advance)
    return Several.of(encoder.encode(task.documents.texts, role="document", advance=advance))


def _score_retrieval(
    task: Retrieval,
    documents: Several,
    queries: Embeddings,
    *,
    encoder: TaskEncoder,
    approximate: bool,
    seed: int,
) -> Scored:
    directions = (lambda vectors: vectors) if encoder.inner_product else unit
    ranking = rank_documents(
        task,
        directions(queries.vectors),
        directions(documents.flat.vectors),
        query_lengths=queries.n_tokens_full,
        document_lengths=documents.n_tokens_full,
        owners=None if documents.is_single else documents.owners,
        approximate=approximate,
        seed=seed,
    )
    cut = {"documents": _cut(documents), "queries": _cut(queries)}
    notes = (*ranking.notes, *_another_similarity(encoder), *_all_alike(documents.flat.vectors))
    return Scored(ranking_sheets(ranking), ranking, cut, notes)


def _all_alike(vectors: npt.NDArray[np.float32]) -> tuple[str, ...]:
    """A word where documents cannot be told apart, so that a score is that of the order of ties."""
    if len(vectors) < 2 or np.ptp(vectors, axis=0).max() > 1e-6 * np.abs(vectors).max():
        return ()
    return (
        f"all {len(vectors):,} document vectors are the same, so documents are ranked by their ids and the score says "
        "nothing about the model: look at its weights",
    )


def _another_similarity(encoder: TaskEncoder) -> tuple[str, ...]:
    named = encoder.encoder.similarity
    if named in ("cosine", "dot"):
        return ()
    return (
        f"the model names {named} as its similarity; here documents are ranked by cosine, which compares the "
        "directions of vectors and not their distances",
    )


def _score_pairs(task: Similarity | PairClassification, first: Embeddings, second: Embeddings) -> Scored:
    ids = tuple(str(number) for number in range(1, len(task.first) + 1))
    links = list(zip(task.first, task.second, strict=True))
    groups, said = grouped(links, ids, items="pairs", shared="texts")
    cosine = np.einsum("ij,ij->i", unit(first.vectors), unit(second.vectors), dtype=np.float64)
    truth = {"gold": task.scores} if isinstance(task, Similarity) else {"label": task.labels.astype(np.float64)}
    sheet = Sheet(
        items="pairs",
        ids=ids,
        groups=groups,
        n_tokens=np.maximum(first.n_tokens_full, second.n_tokens_full),
        n_query_tokens=np.minimum(first.n_tokens_full, second.n_tokens_full),
        columns={"cosine": cosine, **truth},
        snippets=beginnings(f"{a} | {b}" for a, b in zip(task.first, task.second, strict=True)),
        notes=(said,) if said else (),
        shared=overlaps(links) if said else None,
    )
    return Scored((sheet,), cut={"texts": _cut(first, second)}, notes=sheet.notes)


def _score_classification(task: Classification, train: Embeddings, test: Embeddings) -> Scored:
    codes, truth = _codes(task.train_labels, task.labels)
    predicted = classify(train.vectors, codes, test.vectors)
    columns = {
        "correct": (predicted.codes == truth[:, None]).astype(np.float64),
        "prediction": predicted.codes.astype(np.float64),
        "label": truth.astype(np.float64),
    }
    given = f"intervals and tests are over test texts, given {predicted.codes.shape[1]} draws of texts to learn from"
    notes = (given, *predicted.notes)
    return Scored((_text_sheet(task.texts, test, columns),), cut={"texts": _cut(train, test)}, notes=notes)


def _score_clustering(task: Clustering, texts: Embeddings) -> Scored:
    (truth,) = _codes(task.labels)
    clusters = cluster(texts.vectors, len(set(task.labels)))
    columns = {"cluster": clusters.codes.astype(np.float64), "label": truth.astype(np.float64)}
    given = f"intervals are over texts, given these {clusters.codes.shape[1]} clusterings"
    notes = (given, *clusters.notes)
    return Scored((_text_sheet(task.texts, texts, columns),), cut={"texts": _cut(texts)}, notes=notes)


def _score_summaries(task: SummaryEvaluation, references: Embeddings, summaries: Embeddings) -> Scored:
    known = _split(unit(references.vectors), task.references)
    rated = _split(unit(summaries.vectors), task.summaries)
    values = summary_correlations(known, rated, task.ratings)
    lengths = [counts.max() for counts in _split(summaries.n_tokens_full, task.summaries)]
    sheet = Sheet(
        items="articles",
        ids=task.ids,
        groups=task.ids,
        n_tokens=np.array(lengths, np.int64),
        n_query_tokens=None,
        columns={"summary_spearman": values},
        snippets=beginnings(texts[0] for texts in task.references),
    )
    return Scored((sheet,), cut={"texts": _cut(references, summaries)})


def _text_sheet(texts: Sequence[str], found: Embeddings, columns: dict[str, npt.NDArray[np.float64]]) -> Sheet:
    return Sheet(
        items="texts",
        ids=tuple(str(number) for number in range(1, len(texts) + 1)),
        groups=tuple(texts),  # equal texts are one observation
        n_tokens=found.n_tokens_full,
        n_query_tokens=None,
        columns=columns,
        snippets=beginnings(texts),
    )


def _codes(*labels: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """Labels as numbers, in the order of their names."""
    number = {name: i for i, name in enumerate(sorted({name for part in labels for name in part}))}
    return [np.array([number[name] for name in part], np.int64) for part in labels]


def _cut(*parts: Embeddings | Several) -> tuple[int, int]:
    return sum(int((part.n_tokens_full > part.n_tokens).sum()) for part in parts), sum(len(part) for part in parts)


def _flat(parts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(text for part in parts for text in part)


def _split(values: npt.NDArray[Number], like: Sequence[Sequence[str]]) -> list[npt.NDArray[Number]]:
    """Consecutive rows, as many together as there are texts in each part."""
    return np.split(values, np.cumsum([len(part) for part in like])[:-1])
