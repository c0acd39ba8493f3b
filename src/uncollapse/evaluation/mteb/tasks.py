"""Our tasks as mteb's, built in memory."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np

from uncollapse.errors import CorpusError
from uncollapse.evaluation.mteb.library import aside, require_mteb
from uncollapse.evaluation.rankings.retrieval import own_documents
from uncollapse.evaluation.tasks import (
    Classification,
    Clustering,
    PairClassification,
    Retrieval,
    Similarity,
    SummaryEvaluation,
    Task,
)

SCORES = {
    "ndcg@10": "ndcg_at_10",
    "ndcg@1": "ndcg_at_1",
    "rr@10": "mrr_at_10",
    "recall@10": "recall_at_10",
    "recall@100": "recall_at_100",
    "ap": "map_at_1000",
}
"""What we and mteb call the same score of a ranking."""

_LANGUAGE = "und-Zyyy"  # ISO for undetermined: nothing says which language local files are in


@dataclass(frozen=True)
class _Kind:
    """How one kind of our tasks is laid out in mteb: base class and its type, main score, data, settings."""

    base: str
    type: str
    main: str
    data: Callable[[Sequence[Any]], Any]
    settings: Callable[[Sequence[Any]], dict[str, Any]]


def as_mteb_task(task: Task, *splits: Task) -> Any:
    """Our task as a task object of mteb's, built in memory; nothing is downloaded.

    Settings are mteb's defaults. Clustering is mteb's older kind, which clusters the whole set once
    (AbsTaskClusteringLegacy); a query's own document, which has its id and holds its text, is no answer to it.

    Args:
        task: any of ours.
        splits: more splits of the same data. Give them together, since mteb keeps one file of results a data set, and
            files of other data replace it.

    Raises:
        MissingExtraError: mteb is not installed.
        CorpusError: tasks of different data sets or kinds, or one split twice.

    >>> task = as_mteb_task(Clustering("notes", "test", ("a", "b"), ("x", "y")))  # doctest: +SKIP
    >>> task.metadata.main_score  # doctest: +SKIP
    'v_measure'
    """
    tasks = (task, *splits)
    if len({(type(other), other.name) for other in tasks}) > 1 or len({other.split for other in tasks}) < len(tasks):
        raise CorpusError(
            "Expected different splits of one data set, got "
            f"{', '.join(f'{other.name}/{other.split} ({other.kind})' for other in tasks)}. Make a task of each alone."
        )
    require_mteb()
    from mteb import abstasks

    kind = _KINDS[type(task)]
    own = {"metadata": _describe(tasks, kind), "load_data": _loader(tasks, kind), "local_name": task.name}
    with aside():
        made: Any = type(task.name, (getattr(abstasks, kind.base),), own | kind.settings(tasks))()
        made.load_data()
    return made


def _describe(tasks: Sequence[Task], kind: _Kind) -> Any:
    from mteb import TaskMetadata

    first = tasks[0]
    return TaskMetadata(
        name=_name(first),
        description=f"{first.kind.capitalize()} on local files.",
        type=kind.type,
        category="t2c" if kind.type in ("Classification", "Clustering") else "t2t",
        dataset={"path": f"local/{first.name}", "revision": _digest(tasks)},
        eval_splits=[task.split for task in tasks],
        eval_langs=[_LANGUAGE],
        main_score=SCORES[first.main] if isinstance(first, Retrieval) else kind.main,
    )


def _name(task: Task) -> str:
    """Apart for kinds that share a folder with another, since mteb files results by name."""
    kind = f"-{task.kind.replace(' ', '-')}" if isinstance(task, Clustering | SummaryEvaluation) else ""
    return task.name.replace("/", "-") + kind


def _digest(value: Any) -> str:
    """A digest of everything the tasks hold, so that mteb keeps no result of other data."""
    digest = hashlib.blake2b(digest_size=16)
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if is_dataclass(value):
        names = [field.name for field in fields(value) if field.name != "notes"]
        value = [type(value).__name__, *(getattr(value, name) for name in names)]
    elif isinstance(value, Mapping):
        value = [list(value), *value.values()]
    elif isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        digest.update(f"[{len(value)}]".encode())
        for part in value:
            _feed(digest, part)
    else:
        digest.update(f"{value!r}\n".encode())


def _loader(tasks: Sequence[Any], kind: _Kind) -> Callable[..., None]:
    """The method by which mteb loads the data of a task, again and again if it wants."""

    def load_data(self: Any, **_: Any) -> None:
        self.dataset, self.data_loaded = kind.data(tasks), True

    return load_data


def _search(tasks: Sequence[Retrieval]) -> Any:
    hides = _hides_own(tasks)
    return {"default": {task.split: _search_split(task, hides) for task in tasks}}


def copies(task: Retrieval) -> dict[str, str]:
    """The document that a query itself is, by query."""
    found = zip(task.queries.ids, own_documents(task), strict=True)
    return {query: task.documents.ids[number] for query, number in found if number >= 0}


def _hides_own(tasks: Sequence[Retrieval]) -> bool:
    return any(copies(task) for task in tasks)


def _search_split(task: Retrieval, hides: bool) -> dict[str, Any]:
    documents = set(task.documents.ids)
    itself = copies(task)

    def theirs(query: str) -> str:
        # mteb goes by ids alone: where it hides own documents, no other query may have a document's id.
        return f"query {query}" if hides and query in documents and query not in itself else query

    return {
        "corpus": _table(id=task.documents.ids, text=task.documents.texts),
        "queries": _table(id=[theirs(query) for query in task.queries.ids], text=task.queries.texts),
        "relevant_docs": {
            theirs(query): {name: grade for name, grade in grades.items() if name != itself.get(query)}
            for query, grades in task.judgements.items()
        },
        "top_ranked": None,
    }


def _pairs(tasks: Sequence[Similarity]) -> Any:
    return _splits({t.split: _table(sentence1=t.first, sentence2=t.second, score=t.scores.tolist()) for t in tasks})


def _rating_settings(scores: Sequence[float]) -> dict[str, Any]:
    """The range that mteb maps to 0 to 1, which changes no rank."""
    low, high = float(np.floor(min(scores))), float(np.ceil(max(scores)))
    return {"min_score": low, "max_score": max(high, low + 1)}


def _labelled_pairs(tasks: Sequence[PairClassification]) -> Any:
    return _splits({t.split: _table(sentence1=t.first, sentence2=t.second, labels=t.labels.tolist()) for t in tasks})


def _train_split(tasks: Sequence[Classification]) -> str:
    return "train" if all(task.split != "train" for task in tasks) else "train_texts"


def _classes(tasks: Sequence[Classification]) -> Any:
    first = tasks[0]
    if any((task.train_texts, task.train_labels) != (first.train_texts, first.train_labels) for task in tasks):
        raise CorpusError(
            f"Expected splits of {first.name!r} with the same training texts, got others. Make a task of each alone."
        )
    names = sorted({label for task in tasks for label in (*task.train_labels, *task.labels)})
    found = {task.split: _labelled(task.texts, task.labels, names) for task in tasks}
    return _splits({_train_split(tasks): _labelled(first.train_texts, first.train_labels, names), **found})


def _labelled(texts: Sequence[str], labels: Sequence[str], names: list[str]) -> Any:
    from datasets import ClassLabel, Dataset, Features, Value

    # Numbers, because scikit-learn's average precision, which mteb adds for two classes, takes no words.
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"text": list(texts), "label": list(labels)}, features=features)


def _groups(tasks: Sequence[Clustering]) -> Any:
    """One row, since each row is a set to be clustered alone."""
    return _splits({t.split: _table(sentences=[list(t.texts)], labels=[list(t.labels)]) for t in tasks})


def _summaries(tasks: Sequence[SummaryEvaluation]) -> Any:
    return _splits(
        {
            task.split: _table(
                id=task.ids,
                text=[""] * len(task.ids),  # mteb asks for the articles, and reads none
                human_summaries=[list(group) for group in task.references],
                machine_summaries=[list(group) for group in task.summaries],
                relevance=[list(group) for group in task.ratings],
            )
            for task in tasks
        }
    )


def _table(**columns: Sequence[Any]) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({name: list(column) for name, column in columns.items()})


def _splits(tables: dict[str, Any]) -> Any:
    from datasets import DatasetDict

    return DatasetDict(tables)


_KINDS: dict[type, _Kind] = {
    Retrieval: _Kind(
        "AbsTaskRetrieval",
        "Retrieval",
        "ndcg_at_10",
        _search,
        lambda tasks: {"ignore_identical_ids": _hides_own(tasks)},
    ),
    Similarity: _Kind(
        "AbsTaskSTS",
        "STS",
        "cosine_spearman",
        _pairs,
        lambda tasks: _rating_settings([score for task in tasks for score in task.scores]),
    ),
    PairClassification: _Kind(
        "AbsTaskPairClassification", "PairClassification", "cosine_ap", _labelled_pairs, lambda _: {}
    ),
    Classification: _Kind(
        "AbsTaskClassification",
        "Classification",
        "accuracy",
        _classes,
        lambda tasks: {"train_split": _train_split(tasks)},
    ),
    Clustering: _Kind("AbsTaskClusteringLegacy", "Clustering", "v_measure", _groups, lambda _: {}),
    SummaryEvaluation: _Kind(
        "AbsTaskSummarization",
        "Summarization",
        "cosine_spearman",
        _summaries,
        lambda tasks: _rating_settings([rating for task in tasks for group in task.ratings for rating in group]),
    ),
}
