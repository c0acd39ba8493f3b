"""From files of a known layout to tasks: what a folder holds is found from the files themselves."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from uncollapse.corpora.formats import Record
from uncollapse.corpora.lines import DataFile
from uncollapse.errors import CorpusError, nearest
from uncollapse.evaluation.reading.annotations import (
    LABEL_FIELDS,
    Source,
    read_labelled_pairs,
    read_labelled_texts,
    read_rated_texts,
    read_scored_pairs,
    read_summaries,
)
from uncollapse.evaluation.reading.beir import is_beir, read_beir
from uncollapse.evaluation.reading.files import SUFFIXES, TASKS, Asked, data_file, find, load_records
from uncollapse.evaluation.tasks import (
    Classification,
    Clustering,
    PairClassification,
    Retrieval,
    Similarity,
    SummaryEvaluation,
    Task,
)

KINDS = tuple(
    task.kind for task in (Retrieval, Similarity, PairClassification, Classification, Clustering, SummaryEvaluation)
)

NAMES_SHOWN = 12


@dataclass(frozen=True)
class Layout:
    """One way in which records make tasks.

    Args:
        shape: how such files look, for people.
        kinds: of the tasks they make.
        fits: whether a record with these fields is one of them.
        read: makes the tasks.
        scored: whether `score_field` chooses among its fields.
    """

    shape: str
    kinds: tuple[str, ...]
    fits: Callable[[frozenset[str], Asked], bool]
    read: Callable[[Source, Asked], tuple[Task, ...]]
    scored: bool = False


BEIR = "a folder with corpus.jsonl, queries.jsonl and qrels/<split>.tsv"

LAYOUTS = (
    Layout(
        "sentence1, sentence2, score",
        (Similarity.kind,),
        lambda fields, asked: {"sentence1", "sentence2"} <= fields and ("score" in fields or bool(asked.score_field)),
        read_scored_pairs,
        scored=True,
    ),
    Layout(
        "sentence1, sentence2, label (0 or 1)",
        (PairClassification.kind,),
        lambda fields, _: {"sentence1", "sentence2"} <= fields and not fields.isdisjoint(LABEL_FIELDS),
        read_labelled_pairs,
    ),
    Layout(
        "human_summaries, machine_summaries and lists of ratings (jsonl)",
        (SummaryEvaluation.kind,),
        lambda fields, _: {"human_summaries", "machine_summaries"} <= fields,
        read_summaries,
        scored=True,
    ),
    Layout(
        "text, summary and a numeric field",
        (Similarity.kind,),
        lambda fields, _: {"text", "summary"} <= fields,
        read_rated_texts,
        scored=True,
    ),
    Layout(
        "text, label, in train.jsonl and test.jsonl or one file alone",
        (Classification.kind, Clustering.kind),
        lambda fields, _: "text" in fields and not fields.isdisjoint(LABEL_FIELDS),
        read_labelled_texts,
    ),
)


def open_tasks(
    path: str | Path,
    *,
    split: Sequence[str] | str | None = None,
    kind: str | None = None,
    queries: str | None = None,
    lenient: bool = False,
    score_field: str | None = None,
) -> tuple[Task, ...]:
    """Read the tasks in a folder or a file; their kind is found from the files, and their `notes` say what was found.

    What is read (jsonl, tsv and csv, all also with .gz; in tsv quotes are ordinary characters):

    * a BEIR folder: one `Retrieval` a split. Title and text are joined with a blank. Judgements are BEIR's or TREC's
      four columns; grades of 0 and below mean not relevant. Where documents and queries all have a `context_length`
      (LongEmbed's needle and passkey), the candidates are the documents of the queries' length only;
    * `<split>` files with sentence1, sentence2 and score: `Similarity`; with label (0 or 1): `PairClassification`.
      A field `level` makes one task a level, `<split>:<level>`;
    * train and test files with text and label: `Classification`, and `Clustering` of the test texts; one file alone:
      `Clustering`;
    * text, summary and a numeric field: `Similarity` of the two;
    * human_summaries, machine_summaries and lists of ratings: `SummaryEvaluation`.

    Args:
        path: folder or file.
        split: names of splits; by default `test` if it is there, else all. Of a set with context lengths: all.
        kind: keep tasks of this kind only, such as "clustering".
        queries: name of the query file in a BEIR folder. By default the one named after the split
            (`queries_summaries.jsonl` for `test_summaries`), else queries.jsonl, if it holds the split's queries.
        lenient: leave out judgements of unknown ids and records without a usable text, score or label, and count them
            in `notes`, instead of an error at the first.
        score_field: the field with the score, where it has another name or there are several.

    Raises:
        CorpusError: nothing there, no known layout, a split or field that does not exist, something that cannot be
            used, or an option that does not belong to this kind of task.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "test.tsv")
    ...     _ = path.write_text("sentence1\\tsentence2\\tscore\\nA cat.\\tA dog.\\t2\\nA cat.\\tOne cat.\\t5\\n")
    ...     (task,) = open_tasks(folder)
    >>> task.kind, task.split, task.notes
    ('similarity', 'test', ('test.tsv: 2 pairs with score 2 to 5',))
    """
    asked = Asked(
        str(path), (split,) if isinstance(split, str) else None if split is None else tuple(split),
        _checked_kind(kind), queries, lenient, score_field,
    )  # fmt: skip
    found = find(path, TASKS)
    if found.is_dir() and is_beir(found):
        _check_options(asked, BEIR, (Retrieval.kind,), queries=True)
        return read_beir(found, asked)
    return _read_records(found, asked)


def _checked_kind(kind: str | None) -> str | None:
    if kind is None:
        return None
    name = kind.replace("-", " ").replace("_", " ")
    if name not in KINDS:
        raise CorpusError(f"kind: expected a kind of task, got {kind!r}. {nearest(name, KINDS)}")
    return name


def _check_options(
    asked: Asked, shape: str, kinds: tuple[str, ...], *, scored: bool = False, queries: bool = False
) -> None:
    if asked.kind is not None and asked.kind not in kinds:
        raise CorpusError(
            f"{asked.path}: expected files for {asked.kind}, got {shape}, which makes: {' and '.join(kinds)}. "
            "Leave kind (--kind) out, or name other files."
        )
    if asked.score_field is not None and not scored:
        raise CorpusError(
            f"{asked.path}: score_field (--score-field) chooses among scores, got {asked.score_field!r} for {shape}, "
            "which has none to choose from. Leave it out."
        )
    if asked.queries is not None and not queries:
        raise CorpusError(
            f"{asked.path}: queries (--queries) chooses among the query files of a BEIR folder, got {asked.queries!r} "
            f"for {shape}. Leave it out."
        )


@dataclass
class _Peeked:
    """Files by the layout their first record fits, and those that fit none, for people."""

    files: dict[str, dict[str, DataFile]] = field(default_factory=dict)
    first: dict[str, Record] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def _read_records(path: Path, asked: Asked) -> tuple[Task, ...]:
    peeked = _peek([path] if path.is_file() else sorted(path.iterdir()), asked)
    if not peeked.files:
        raise _unrecognised(path, asked, peeked.others)
    if len(peeked.files) > 1:
        shapes = (f"{shape} ({_names(files.values())})" for shape, files in peeked.files.items())
        raise CorpusError(
            f"{asked.path}: expected files of one layout, got several: {'; '.join(shapes)}. "
            "Name one file, or the kind: kind= (--kind)."
        )
    layout = next(layout for layout in LAYOUTS if layout.shape in peeked.files)
    _check_options(asked, layout.shape, layout.kinds, scored=layout.scored)
    folder = (path.parent if path.is_file() else path).resolve()
    source = Source(folder.name or str(folder), peeked.files[layout.shape], peeked.first[layout.shape])
    more = (f"not read: {'; '.join(peeked.others[:NAMES_SHOWN])}",) if peeked.others else ()
    return tuple(replace(task, notes=(*task.notes, *more)) for task in layout.read(source, asked))


def _peek(paths: Sequence[Path], asked: Asked) -> _Peeked:
    peeked = _Peeked()
    for file in filter(None, map(data_file, paths)):
        record = next(load_records(file), None)
        layout = None if record is None else _layout_of(frozenset(record.values), asked)
        if record is None or layout is None:
            peeked.others.append(_describe(file, record))
            continue
        files = peeked.files.setdefault(layout.shape, {})
        peeked.first.setdefault(layout.shape, record)
        if file.name in files:
            got = _names([files[file.name], file])
            raise CorpusError(f"{asked.path}: expected one file a split, got {got}. Remove one, or name one of them.")
        files[file.name] = file
    return peeked


def _layout_of(fields: frozenset[str], asked: Asked) -> Layout | None:
    """The first layout that fits, one of the kind asked for if there is one."""
    fitting = [layout for layout in LAYOUTS if layout.fits(fields, asked)]
    return next((layout for layout in fitting if asked.kind in layout.kinds), fitting[0] if fitting else None)


def _describe(file: DataFile, record: Record | None) -> str:
    if record is None:
        return f"{file.path.name} (no record)"
    fields = list(record.values)
    return f"{file.path.name} ({', '.join(fields[:NAMES_SHOWN])}{', ...' if len(fields) > NAMES_SHOWN else ''})"


def _names(files: Iterable[DataFile]) -> str:
    return ", ".join(file.path.name for file in files)


def _unrecognised(path: Path, asked: Asked, peeked: list[str]) -> CorpusError:
    there = peeked[:NAMES_SHOWN]
    if path.is_dir() and not there:
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
        there = names[:NAMES_SHOWN] + (["..."] if len(names) > NAMES_SHOWN else [])
    beir = next((parent for parent in path.resolve().parents[:2] if is_beir(parent)), None)
    hint = f" It belongs to the BEIR folder {beir}: open that." if beir else ""
    shapes = "; ".join(f"files with the fields {layout.shape}" for layout in LAYOUTS)
    return CorpusError(
        f"{asked.path}: expected a known layout, got {'; '.join(there) or path.name}.{hint} "
        f"Known: {BEIR}; {shapes}. Files end in {', '.join(SUFFIXES)}; rename fields to fit."
    )
