"""mteb's tasks as ours, where their data are on this machine or can be fetched."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from uncollapse.errors import CorpusError, nearest
from uncollapse.evaluation.mteb.library import aside, find_tasks, loading, require_mteb
from uncollapse.evaluation.mteb.tasks import SCORES, copies
from uncollapse.evaluation.tasks import (
    Classification,
    Clustering,
    Judgements,
    PairClassification,
    Retrieval,
    Similarity,
    SummaryEvaluation,
    Task,
    Texts,
)


def from_mteb(task: Any, split: str | None = None) -> tuple[Task, ...]:
    """The data of a task of mteb's as tasks of ours: one a split, a subset (language) and a level of labels.

    Texts are those that mteb gives a model: title and text of a document joined, an instruction behind its query.

    Args:
        task: name of a task or benchmark, such as "SciFact" or "LongEmbed", or a task object.
        split: one of its splits; all that mteb evaluates, if not given.

    Raises:
        MissingExtraError: mteb is not installed.
        CorpusError: no such task or split, a kind that has no counterpart here, or data neither on this machine nor
            reachable.

    >>> from_mteb("LEMBNeedleRetrieval", "test_256")[0].main  # doctest: +SKIP
    'ndcg@1'
    """
    require_mteb()
    return tuple(ours for theirs in find_tasks(task) for ours in _convert(theirs, split))


@dataclass(frozen=True)
class _Part:
    """One split of one subset of a task of mteb's, loaded."""

    task: Any
    data: Any
    name: str
    split: str


def _convert(task: Any, split: str | None) -> tuple[Task, ...]:
    read = _reader(task)
    if split is not None and split not in task.eval_splits:
        raise CorpusError(
            f"Expected a split of mteb's task {task.metadata.name!r}, got {split!r}. "
            f"{nearest(split, task.eval_splits, 'Its splits')}"
        )
    was_loaded = task.data_loaded
    with aside():
        with loading(task):
            task.load_data()
        try:
            return tuple(
                replace(ours, notes=(*_notes(task), *ours.notes))
                for part in _parts(task, [split] if split else task.eval_splits)
                for ours in read(part)
            )
        finally:
            if not was_loaded:
                task.unload_data()


def _reader(task: Any) -> Callable[[_Part], Iterator[Task]]:
    kind = task.metadata.type
    if kind not in _READERS or list(task.modalities) != ["text"]:
        follower = f" mteb itself names {task.superseded_by!r} instead." if task.superseded_by else ""
        raise CorpusError(
            f"Expected a task of mteb's on texts, of the kinds {', '.join(_READERS)}, got {task.metadata.name!r}: "
            f"{type(task).__mro__[1].__name__}, {', '.join(task.modalities)}.{follower} Let mteb score it: run_mteb."
        )
    return _READERS[kind]


def _notes(task: Any) -> tuple[str, ...]:
    if task.superseded_by:
        return (f"mteb has superseded it by {task.superseded_by}",)
    return ()


def _parts(task: Any, splits: Sequence[str]) -> Iterator[_Part]:
    if task.metadata.type == "Retrieval":
        task.convert_v1_dataset_format_to_v2(num_proc=None)
    whole_name = getattr(task, "local_name", task.metadata.name)
    for subset in task.hf_subsets:
        whole = subset == "default" and subset not in task.dataset
        name = whole_name if subset == "default" else f"{whole_name}.{subset}"
        for split in splits:
            yield _Part(task, task.dataset if whole else task.dataset[subset], name, split)


def _read_search(part: _Part) -> Iterator[Retrieval]:
    data = part.data[part.split]
    if data.get("top_ranked"):
        raise CorpusError(
            f"Expected a search among all documents, got mteb's {part.name!r}, which ranks a list given with each "
            "query. Let mteb score it: run_mteb."
        )
    documents = Texts(tuple(map(str, data["corpus"]["id"])), tuple(map(_document, data["corpus"])))
    texts = {str(row["id"]): _query(row, part.name) for row in data["queries"]}
    judgements, notes = _judgements(data["relevant_docs"], set(documents.ids), texts)
    asked = Texts(tuple(judgements), tuple(texts[query] for query in judgements))
    main, said = _main_score(part.task)
    notes += said
    ours = Retrieval(part.name, part.split, documents, asked, judgements, main, notes)
    yield replace(ours, notes=notes + _about_ids(part.task, ours))


def _about_ids(task: Any, ours: Retrieval) -> tuple[str, ...]:
    """Where mteb's rule for queries that are documents, which goes by ids alone, differs from ours."""
    own = len(copies(ours))
    other = len(set(ours.queries.ids) & set(ours.documents.ids)) - own
    if own and not task.ignore_identical_ids:
        return (f"mteb lets {own} queries that are documents find themselves; here they do not",)
    if other and task.ignore_identical_ids:
        return (f"mteb hides from {other} queries a document that has their id but not their text; here it counts",)
    return ()


def _document(row: dict[str, Any]) -> str:
    return f"{row.get('title') or ''} {row['text']}".strip()


def _query(row: dict[str, Any], name: str) -> str:
    if not isinstance(row["text"], str):
        raise CorpusError(f"Expected queries that are texts, got conversations in mteb's {name!r}. Use run_mteb.")
    return f"{row['text']} {row['instruction']}" if row.get("instruction") else row["text"]


def _judgements(found: Any, documents: set[str], queries: Mapping[str, str]) -> tuple[Judgements, tuple[str, ...]]:
    """Those whose query and document are there, of queries for which something is relevant."""
    known = {
        str(query): {str(document): int(grade) for document, grade in grades.items() if str(document) in documents}
        for query, grades in found.items()
        if str(query) in queries
    }
    lost = sum(map(len, found.values())) - sum(map(len, known.values()))
    notes = [f"{lost} of mteb's judgements left out: no such query or document"] if lost else []
    scored = {query: known[query] for query in queries if max(known.get(query, {}).values(), default=0) > 0}
    if bare := len(known) - len(scored):
        notes.append(f"{bare} queries left out: nothing relevant was judged, and mteb counts them as 0")
    return scored, tuple(notes)


def _main_score(task: Any) -> tuple[str, tuple[str, ...]]:
    theirs = task.metadata.main_score
    ours = next((name for name, same in SCORES.items() if same == theirs), "")
    if ours:
        return ours, ()
    return "ndcg@10", (f"mteb's main score is {theirs}; here it is ndcg@10",)


_ANOTHER_CLUSTERING = (
    "mteb clusters ten samples of 16,384 texts drawn with replacement, here all texts are clustered ten times: "
    "another figure"
)


def _read_similarity(part: _Part) -> Iterator[Similarity]:
    data = part.data[part.split]
    first, second = part.task.column_names
    yield Similarity(
        part.name, part.split, tuple(data[first]), tuple(data[second]), np.array(data["score"], dtype=np.float64)
    )


def _read_pairs(part: _Part) -> Iterator[PairClassification]:
    task, data = part.task, part.data[part.split]
    columns = [data[name] for name in (task.input1_column_name, task.input2_column_name, task.label_column_name)]
    if len(data) == 1 and isinstance(columns[0][0], list):  # mteb's older layout, all in one row
        columns = [column[0] for column in columns]
    yield PairClassification(
        part.name, part.split, tuple(columns[0]), tuple(columns[1]), np.array(columns[2], dtype=np.int64)
    )


def _read_classes(part: _Part) -> Iterator[Classification]:
    task = part.task
    if task.is_cross_validation:
        raise CorpusError(f"Expected texts to train on and others to try, got only one set in mteb's {part.name!r}.")
    train, test = part.data[task.train_split], part.data[part.split]
    few = task.samples_per_label
    notes = () if few == 8 else (f"mteb learns from {few} texts a label, here from 8: another figure",)
    yield Classification(
        part.name,
        part.split,
        tuple(train[task.input_column_name]),
        tuple(_labels(train, task.label_column_name)),
        tuple(test[task.input_column_name]),
        tuple(_labels(test, task.label_column_name)),
        notes,
    )


def _labels(data: Any, column: str) -> list[str]:
    feature = data.features[column]
    return [feature.int2str(label) if hasattr(feature, "int2str") else str(label) for label in data[column]]


def _read_groups(part: _Part) -> Iterator[Clustering]:
    task, data = part.task, part.data[part.split]
    if hasattr(task, "max_depth"):
        yield from _read_levels(part)
        return
    for place, row in enumerate(data):
        name = part.name if len(data) == 1 else f"{part.name}.set{place}"
        labels = tuple(map(str, row[task.label_column_name]))
        yield Clustering(name, part.split, tuple(row[task.input_column_name]), labels)


def _read_levels(part: _Part) -> Iterator[Clustering]:
    """mteb's newer kind of clustering: one set, labels on several levels."""
    task, data = part.task, part.data[part.split]
    chosen = _sample(task, len(data))
    kept = data.select(chosen)
    texts, labels = list(kept[task.input_column_name]), _label_levels(kept, task.label_column_name)
    notes = (_ANOTHER_CLUSTERING, f"the {len(chosen):,} of {len(data):,} texts that mteb samples")
    depth = max(map(len, labels))
    for level in range(min(depth, task.max_depth or depth)):
        name = part.name if depth == 1 else f"{part.name}.level{level}"
        known = zip(texts, labels, strict=True)
        pairs = [(text, own[level]) for text, own in known if len(own) > level and own[level]]
        yield Clustering(name, part.split, tuple(text for text, _ in pairs), tuple(label for _, label in pairs), notes)


def _sample(task: Any, n: int) -> list[int]:
    """Which texts mteb clusters, drawn as it draws them."""
    share, most = task.max_fraction_of_documents_to_embed, task.max_document_to_embed
    if share is None and most is None:
        return list(range(n))
    size = most if share is None else int(share * n)
    return random.Random(task.seed).sample(range(n), k=min(n, size))


def _label_levels(data: Any, column: str) -> list[list[str]]:
    """The labels of each text from the most general on; -1 stands for none in mteb, and "" here."""
    if not isinstance(data[column][0], list):
        return [[label if label != "-1" else ""] for label in _labels(data, column)]
    return [[str(label) if label != -1 else "" for label in labels] for labels in data[column]]


def _read_summaries(part: _Part) -> Iterator[SummaryEvaluation]:
    task, data = part.task, part.data[part.split]
    ids = data["id"] if "id" in data.column_names else range(1, len(data) + 1)
    yield SummaryEvaluation(
        part.name,
        part.split,
        tuple(map(str, ids)),
        tuple(map(tuple, data[task.human_summaries_column_name])),
        tuple(map(tuple, data[task.machine_summaries_column_name])),
        tuple(tuple(map(float, ratings)) for ratings in data[task.relevancy_column_name]),
    )


_READERS: dict[str, Callable[[_Part], Iterator[Task]]] = {
    "Retrieval": _read_search,
    "STS": _read_similarity,
    "PairClassification": _read_pairs,
    "Classification": _read_classes,
    "Clustering": _read_groups,
    "Summarization": _read_summaries,
}
