"""Retrieval tasks from a BEIR folder: documents, queries, and judgements by split."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from uncollapse.corpora.fields import ID_FIELDS, TEXT_FIELDS
from uncollapse.corpora.formats import Record
from uncollapse.corpora.lines import DataFile
from uncollapse.corpora.sources import BEIR_FILES
from uncollapse.corpora.texts import Bad, Text, excerpt
from uncollapse.errors import CorpusError, nearest
from uncollapse.evaluation.reading.files import (
    NAMES_SHOWN,
    Asked,
    Sieve,
    UnusableError,
    data_file,
    item_at,
    load_records,
    many,
)
from uncollapse.evaluation.reading.judgements import Judgement, collect, judgements_in
from uncollapse.evaluation.tasks import Judgements, Retrieval, Texts

CONTEXT_LENGTH = "context_length"
"""Field of LongEmbed's synthetic sets: a query is asked among the documents of its own context length only."""


def is_beir(folder: Path) -> bool:
    """Whether a folder holds a BEIR corpus."""
    return any((folder / name).is_file() for name in BEIR_FILES)


def read_beir(folder: Path, asked: Asked) -> tuple[Retrieval, ...]:
    """The retrieval task of each split asked for; see `reading.open_tasks`."""
    source = _Source.find(folder, asked)
    return tuple(task for split in source.chosen_splits() for task in source.tasks(split))


@dataclass(frozen=True)
class _Loaded:
    """Texts of a file, and the context length of each where all have one."""

    texts: Texts
    context: Mapping[str, int] | None


@dataclass
class _Source:
    """The files of a folder; each is read once, when it is first needed."""

    asked: Asked
    name: str
    corpus: DataFile
    queries: dict[str, DataFile]
    qrels: dict[str, DataFile]
    sieve: Sieve
    loaded: dict[Path, _Loaded] = field(default_factory=dict)

    @classmethod
    def find(cls, folder: Path, asked: Asked) -> "_Source":
        corpus = next(folder / name for name in BEIR_FILES if (folder / name).is_file())
        files = {file.path.name: file for path in sorted(folder.iterdir()) if (file := data_file(path))}
        # `queries.jsonl` before `queries_all.jsonl`: the file that counts unless something speaks for another
        queries = {name: files[name] for name in sorted(files, key=lambda name: (files[name].name, name))}
        queries = {name: file for name, file in queries.items() if file.name.startswith("queries")}
        if not queries:
            raise CorpusError(f"{asked.path}: expected queries in queries.jsonl[.gz] beside {corpus.name}, got none.")
        if asked.queries is not None and asked.queries not in queries:
            near = nearest(asked.queries, queries, "Query files there")
            raise CorpusError(f"{asked.path}: expected the name of a query file, got {asked.queries!r}. {near}")
        document_file = DataFile(corpus, corpus.name, "json")
        return cls(asked, _name(folder), document_file, queries, _qrels(folder, asked), Sieve(asked.lenient))

    def load(self, file: DataFile) -> _Loaded:
        if file.path not in self.loaded:
            self.loaded[file.path] = _load_texts(file, self.sieve, titled=file is self.corpus)
        return self.loaded[file.path]

    def chosen_splits(self) -> list[str]:
        """The splits asked for; of a set with context lengths all by default, the shortest first."""
        if self.asked.splits is not None or self.load(self.corpus).context is None:
            return self.asked.choose(self.qrels)
        lengths = {split: self._shortest(split) for split in self.qrels}
        if any(length is None for length in lengths.values()):
            return self.asked.choose(self.qrels)
        return sorted(self.qrels, key=lambda split: (lengths[split] or 0, split))

    def _shortest(self, split: str) -> int | None:
        judged = list(judgements_in(self.qrels[split]))
        context = self.load(self.query_file(split, judged)).context
        return None if context is None else min((context.get(one.query, 0) for one in judged), default=0)

    def query_file(self, split: str, judged: Sequence[Judgement]) -> DataFile:
        """The file asked for; else one named after the split, else the first that holds the most of its queries."""
        if self.asked.queries is not None:
            return self.queries[self.asked.queries]
        wanted = {one.query for one in judged}
        held = {name: len(wanted.intersection(self.load(file).texts.ids)) for name, file in self.queries.items()}
        whole = [name for name in self.queries if held[name] == len(wanted)]
        named = next((name for name in whole if _is_named_after(self.queries[name].name, split)), None)
        return self.queries[named or max(held, key=lambda name: held[name])]

    def tasks(self, split: str) -> list[Retrieval]:
        """The task of a split, or one for each context length in it."""
        judged = list(judgements_in(self.qrels[split]))
        file = self.query_file(split, judged)
        documents, queries = self.load(self.corpus), self.load(file)
        reading = _Reading(self, split, file)
        known = reading.drop_unknown(judged, documents.texts, queries.texts)
        if documents.context is None or queries.context is None:
            self.asked.parts(split, [split])
            return [reading.task(split, known, documents=documents.texts, queries=queries.texts)]
        lengths = sorted({queries.context[one.query] for one in known})
        names = {f"{split}:{length}" if len(lengths) > 1 else split: length for length in lengths}
        return [
            reading.task_of_length(name, names[name], judged=known, documents=documents, queries=queries)
            for name in self.asked.parts(split, names)
        ]

    def other_forms(self, file: DataFile, wanted: Iterable[str]) -> list[str]:
        """Names of the other query files that hold all these queries."""
        ids = set(wanted)
        others = (name for name in self.queries if name != file.path.name and self.asked.queries is None)
        return [name for name in others if ids.issubset(self.load(self.queries[name]).texts.ids)]


@dataclass
class _Reading:
    """One split on its way to tasks."""

    source: _Source
    split: str
    file: DataFile
    notes: list[str] = field(default_factory=list)

    @property
    def qrels(self) -> DataFile:
        return self.source.qrels[self.split]

    def drop_unknown(self, judged: list[Judgement], documents: Texts, queries: Texts) -> list[Judgement]:
        """The judgements whose query and document are there.

        Raises:
            CorpusError: some are not, and leniency was not asked for.
        """
        known_queries, known_documents = set(queries.ids), set(documents.ids)
        unknown = [j for j in judged if j.query not in known_queries or j.document not in known_documents]
        if not unknown:
            return judged
        lost_queries = {j.query for j in unknown} - known_queries
        lost_documents = {j.document for j in unknown} - known_documents
        count = (
            f"{many(len(lost_queries), 'query id')} and {many(len(lost_documents), 'document id')} unknown, "
            f"in {len(unknown):,} of {many(len(judged), 'judgement')}"
        )
        kept = [j for j in judged if j.query in known_queries and j.document in known_documents]
        if not kept or not self.source.asked.lenient:
            raise self._unknown_error(unknown[0], known_queries, count, some=bool(kept))
        self.notes.append(f"judgements left out: {count}")
        return kept

    def _unknown_error(self, first: Judgement, queries: set[str], count: str, *, some: bool) -> CorpusError:
        known = first.query in queries
        what, name = ("document", first.document) if known else ("query", first.query)
        file = self.source.corpus if known else self.file
        remedy = ", or drop such judgements: lenient=True (--lenient)." if some else "."
        return CorpusError(
            f"{self.qrels.path}:{first.line}: expected judgements of what is in the files, got {what} {name!r}, which "
            f"is not in {file.path.name}. In all {count}. Check that the files belong together{remedy}"
        )

    def task_of_length(
        self, split: str, length: int, *, judged: list[Judgement], documents: _Loaded, queries: _Loaded
    ) -> Retrieval:
        """The task of the queries of one context length, asked among the documents of that length."""
        of_documents, of_queries = documents.context or {}, queries.context or {}
        candidates = _take(documents.texts, {name for name, own in of_documents.items() if own == length})
        mine = [one for one in judged if of_queries[one.query] == length]
        outside = next((one for one in mine if of_documents[one.document] != length), None)
        if outside:
            raise CorpusError(
                f"{self.qrels.path}:{outside.line}: expected a query and a document of one {CONTEXT_LENGTH}, got "
                f"{length} for query {outside.query!r} and {of_documents[outside.document]} for document "
                f"{outside.document!r}. Mend the field or the judgement, or remove the field from both files."
            )
        note = (
            f"candidates are only the {len(candidates):,} documents whose {CONTEXT_LENGTH} is {length:,}, that of the "
            "queries, and nDCG@1 is the score that counts, as in LongEmbed"
        )
        return self.task(split, mine, documents=candidates, queries=queries.texts, main="ndcg@1", more=(note,))

    def task(
        self,
        split: str,
        judged: list[Judgement],
        *,
        documents: Texts,
        queries: Texts,
        main: str = "ndcg@10",
        more: tuple[str, ...] = (),
    ) -> Retrieval:
        """The task of these judgements; a query for which nothing is relevant cannot be scored and is left out."""
        grades = collect(judged, self.qrels)
        scored = {query: found for query, found in grades.items() if max(found.values()) > 0}
        if not scored:
            raise CorpusError(
                f"{self.qrels.path}: expected a relevant document (grade above 0) for at least one query, got none "
                f"for any of {len(grades):,}. Check that grades are in the last column, or name another split."
            )
        asked = _take(queries, set(scored))
        notes = (self._found(documents, scored), *self.source.sieve.notes, *self.notes, *more)
        notes += self._about_queries(grades, scored) + _about_ids(asked, documents)
        judgements = {query: scored[query] for query in asked.ids}
        return Retrieval(self.source.name, split, documents, asked, judgements, main, notes)

    def _found(self, documents: Texts, scored: Judgements) -> str:
        grades = [grade for found in scored.values() for grade in found.values()]
        return (
            f"BEIR folder: {many(len(documents), 'document')} of {self.source.corpus.path.name}, "
            f"{many(len(scored), 'query', 'queries')} of {self.file.path.name}, {many(len(grades), 'judgement')} of "
            f"qrels/{self.qrels.path.name}, {sum(grade > 0 for grade in grades):,} of them relevant"
        )

    def _about_queries(self, grades: Judgements, scored: Judgements) -> tuple[str, ...]:
        notes = []
        if lost := len(grades) - len(scored):
            notes.append(f"{many(lost, 'query', 'queries')} left out: nothing relevant was judged, so no score exists")
        if others := self.source.other_forms(self.file, grades):
            first = others[0]
            notes.append(f"the same query ids, perhaps in another form: {', '.join(others)} (--queries {first})")
        return tuple(notes)


def _about_ids(queries: Texts, documents: Texts) -> tuple[str, ...]:
    shared = len(set(queries.ids).intersection(documents.ids))
    return (f"{many(shared, 'query has an id', 'queries have ids')} that a document has, too",) if shared else ()


def _qrels(folder: Path, asked: Asked) -> dict[str, DataFile]:
    found: dict[str, DataFile] = {}
    for path in sorted((folder / "qrels").glob("*")):
        file = data_file(path)
        if file is None or file.kind != "tsv":
            continue
        if file.name in found:
            raise CorpusError(
                f"{asked.path}: expected one file a split, got {found[file.name].path.name} and {path.name} in qrels. "
                "Remove one."
            )
        found[file.name] = file
    if not found:
        raise _no_judgements(folder, asked)
    return found


def _no_judgements(folder: Path, asked: Asked) -> CorpusError:
    """Which folder was looked for, and what is there in its place."""
    place, expected = folder / "qrels", f"{asked.path}: expected judgements in qrels/<split>.tsv[.gz]"
    if not place.is_dir():
        what, near = f"but there is no folder {str(place)!r}", _names_in(folder, "qrels")
        return CorpusError(f"{expected}, {what}. {near} Rename the folder that holds them to qrels, or add it.")
    return CorpusError(f"{expected}, got none. {_names_in(place, 'test.tsv')} Add such a file.")


def _names_in(folder: Path, wanted: str) -> str:
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    near = get_close_matches(wanted, names, n=NAMES_SHOWN, cutoff=0.5)
    shown = [*near, *(name for name in names if name not in near)][:NAMES_SHOWN]
    return nearest(wanted, shown, f"Some names in {folder}" if len(names) > NAMES_SHOWN else f"Names in {folder}")


def _is_named_after(stem: str, split: str) -> bool:
    """Whether `queries_summaries` is meant for a split such as `test_summaries` or `summaries`."""
    form = stem.removeprefix("queries").lstrip("_-.")
    return bool(form) and (split == form or split.endswith(f"_{form}"))


def _load_texts(file: DataFile, sieve: Sieve, *, titled: bool) -> _Loaded:
    texts: dict[str, str] = {}
    context: dict[str, int] = {}

    def read(record: Record) -> None:
        text = _text_of(record, titled=titled)
        if text.id in texts:
            message = f"expected an id of its own for each text, got {text.id!r} again."
            raise UnusableError(Bad("duplicate id", record.place, message))
        texts[text.id] = text.text
        length = record.values.get(CONTEXT_LENGTH)
        if isinstance(length, int) and not isinstance(length, bool):
            context[text.id] = length

    for _ in sieve.keep(load_records(file), read):
        pass
    if not texts:
        raise CorpusError(f"{file.path}: expected texts, got none. Check that this is the file meant.")
    return _Loaded(Texts(tuple(texts), tuple(texts.values())), context if len(context) == len(texts) else None)


def _text_of(record: Record, *, titled: bool) -> Text:
    """A record's text and id; a title comes before the text with a blank between, as mteb has it."""
    values = record.values
    name = next((field for field in TEXT_FIELDS if field in values), TEXT_FIELDS[0])
    id_field = next((field for field in ID_FIELDS if field in values), None)
    if id_field is None or values[id_field] in (None, ""):
        message = f"expected an id ({', '.join(ID_FIELDS)}) that judgements can name, got {excerpt(dict(values))}."
        raise UnusableError(Bad("no id", record.place, message))
    if titled and isinstance(values.get(name), str | None):
        title = text if isinstance(text := values.get("title"), str) else ""
        record = Record(record.place, {**values, name: f"{title} {values.get(name) or ''}".strip()})
    return item_at(record, name, id_field)


def _take(texts: Texts, names: set[str]) -> Texts:
    pairs = [(name, text) for name, text in zip(texts.ids, texts.texts, strict=True) if name in names]
    return Texts(tuple(name for name, _ in pairs), tuple(text for _, text in pairs))


def _name(folder: Path) -> str:
    return folder.resolve().name or str(folder)
