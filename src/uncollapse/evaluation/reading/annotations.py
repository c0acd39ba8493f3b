"""Tasks from records: pairs with scores or labels, texts with labels, rated summaries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from uncollapse.corpora.fields import ID_FIELDS
from uncollapse.corpora.formats import Record
from uncollapse.corpora.lines import DataFile
from uncollapse.corpora.texts import Bad, excerpt, readable_id
from uncollapse.errors import CorpusError, nearest
from uncollapse.evaluation.reading.files import (
    Asked,
    Sieve,
    UnusableError,
    as_number,
    label_at,
    load_records,
    many,
    number_at,
    numbers_at,
    text_at,
    texts_at,
)
from uncollapse.evaluation.tasks import (
    Classification,
    Clustering,
    PairClassification,
    Similarity,
    SummaryEvaluation,
)

LABEL_FIELDS = ("label", "labels")
RATING_FIELDS = ("overall", "relevance")
TRAIN = "train"
LEVEL = "level"
FIELDS_SHOWN = 12


@dataclass(frozen=True)
class Source:
    """Files of one layout.

    Args:
        name: of the set.
        files: by split, in order.
        first: the first record, which decides the fields.
    """

    name: str
    files: Mapping[str, DataFile]
    first: Record

    def field(self, *names: str) -> str:
        """The first of these fields that is there."""
        return next((name for name in names if name in self.first.values), names[0])


@dataclass(frozen=True)
class _Pair:
    first: str
    second: str
    value: float
    level: str


@dataclass(frozen=True)
class _Part:
    """The pairs of one task: those of a file, or of one level in it."""

    split: str
    file: str
    where: str
    pairs: list[_Pair]
    notes: tuple[str, ...]

    @property
    def texts(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return tuple(pair.first for pair in self.pairs), tuple(pair.second for pair in self.pairs)

    @property
    def values(self) -> list[float]:
        return [pair.value for pair in self.pairs]


def read_scored_pairs(source: Source, asked: Asked) -> tuple[Similarity, ...]:
    """Similarity of sentence1 and sentence2."""
    others = [name for name in source.first.values if name not in ("sentence1", "sentence2")]
    score = _choose_score(asked, others, source.first, usual=("score",))
    return _read_similarity(source, asked, ("sentence1", "sentence2", score))


def read_rated_texts(source: Source, asked: Asked) -> tuple[Similarity, ...]:
    """Similarity of a text and its summary, by a numeric field."""
    values = source.first.values
    numeric = [name for name, value in values.items() if name not in ID_FIELDS and as_number(value) is not None]
    score = _choose_score(asked, numeric, source.first, usual=())
    return _read_similarity(source, asked, ("text", "summary", score))


def _read_similarity(source: Source, asked: Asked, fields: tuple[str, str, str]) -> tuple[Similarity, ...]:
    tasks = []
    for part in _read_pairs(source, asked, fields, number_at):
        low, high = min(part.values), max(part.values)
        if low == high:
            raise CorpusError(
                f"{part.where}: expected scores that differ, got {low:g} for every pair. No correlation exists; "
                "check the column."
            )
        notes = (f"{part.file}: {many(len(part.pairs), 'pair')} with {fields[2]} {low:g} to {high:g}", *part.notes)
        tasks.append(Similarity(source.name, part.split, *part.texts, np.array(part.values, np.float64), notes))
    return tuple(tasks)


def read_labelled_pairs(source: Source, asked: Asked) -> tuple[PairClassification, ...]:
    """Pair classification of sentence1 and sentence2."""
    tasks = []
    for part in _read_pairs(source, asked, ("sentence1", "sentence2", source.field(*LABEL_FIELDS)), _zero_or_one):
        labels = np.array(part.values, np.int64)
        together = int(labels.sum())
        if together in (0, len(labels)):
            raise CorpusError(
                f"{part.where}: expected pairs with label 1 and pairs with label 0, got only {labels[0]}. "
                "With one label there is nothing to tell apart; check the column."
            )
        notes = (f"{part.file}: {many(len(labels), 'pair')}, {together:,} of them with label 1", *part.notes)
        tasks.append(PairClassification(source.name, part.split, *part.texts, labels, notes))
    return tuple(tasks)


def _zero_or_one(record: Record, name: str) -> float:
    value = record.values.get(name)
    number = float(value) if isinstance(value, bool) else as_number(value)
    if number not in (0.0, 1.0):
        message = f"expected 0 or 1 as label in field {name!r}, got {excerpt(value)}."
        raise UnusableError(Bad("label not 0 or 1", record.place, message))
    return number


def _read_pairs(
    source: Source, asked: Asked, fields: tuple[str, str, str], read_value: Callable[[Record, str], float]
) -> list[_Part]:
    """The pairs of each split asked for, each level apart: values of different levels cannot be compared."""

    def read(record: Record) -> _Pair:
        level = label_at(record, LEVEL) if LEVEL in source.first.values else ""
        return _Pair(text_at(record, fields[0]), text_at(record, fields[1]), read_value(record, fields[2]), level)

    parts = []
    for split in asked.choose(source.files):
        file, sieve = source.files[split], Sieve(asked.lenient)
        pairs = list(sieve.keep(load_records(file), read))
        names = {f"{split}:{pair.level}" if pair.level else split: pair.level for pair in pairs} or {split: ""}
        for name in asked.parts(split, list(names)):
            where = f"{file.path}, {LEVEL} {names[name]!r}" if names[name] else str(file.path)
            mine = [pair for pair in pairs if pair.level == names[name]]
            if len(mine) < 2:
                raise CorpusError(f"{where}: expected at least two pairs, got {len(mine)}. Add some.")
            notes = (*sieve.notes, *_about_fields(source.first, fields))
            parts.append(_Part(name, file.path.name, where, mine, notes))
    return parts


def _about_fields(first: Record, fields: Sequence[str]) -> tuple[str, ...]:
    notes = [f"one task for each value of the field {LEVEL!r}"] if LEVEL in first.values else []
    if unused := [name for name in first.values if name not in (*fields, LEVEL, *ID_FIELDS)]:
        notes.append(f"fields not used: {', '.join(unused[:FIELDS_SHOWN])}")
    return tuple(notes)


def _choose_score(asked: Asked, there: Sequence[str], record: Record, *, usual: Sequence[str]) -> str:
    """The score asked for; else a usual one; else the only one."""
    if asked.score_field is not None:
        if asked.score_field in there:
            return asked.score_field
        near = nearest(asked.score_field, there, "Scores there")
        raise CorpusError(f"{record.place}: expected a score in field {asked.score_field!r}, got none. {near}")
    choice = next((name for name in usual if name in there), there[0] if len(there) == 1 else None)
    if choice is None:
        got = f"{', '.join(there)}. Choose one: score_field= (--score-field)." if there else "none. Add one."
        raise CorpusError(f"{record.place}: expected one field with scores, got {got}")
    return choice


@dataclass(frozen=True)
class _Labelled:
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...]


def read_labelled_texts(source: Source, asked: Asked) -> tuple[Classification | Clustering, ...]:
    """Classification of each split after training on `train`, and clustering of it."""
    names = asked.choose(source.files)
    if asked.splits is None and len(names) > 1:
        names = [name for name in names if name != TRAIN]
    if asked.kind == Classification.kind and (TRAIN not in source.files or names == [TRAIN]):
        raise CorpusError(
            f"{asked.path}: expected texts to learn from in {TRAIN}.jsonl[.gz] and others to try on, got only "
            f"{', '.join(names)}. Add a file, or cluster the texts: kind='clustering' (--kind clustering)."
        )
    label = source.field(*LABEL_FIELDS)
    tasks: list[Classification | Clustering] = []
    train = None
    for name in names:
        texts = _read_labelled(source.files[name], label, asked.lenient)
        if TRAIN in source.files and name != TRAIN and asked.kind in (None, Classification.kind):
            train = train or _read_labelled(source.files[TRAIN], label, asked.lenient)
            tasks.append(_classification(source.name, name, train, texts))
        if asked.kind in (None, Clustering.kind):
            tasks.append(_clustering(source.files[name], source.name, name, texts))
    return tuple(tasks)


def _read_labelled(file: DataFile, label: str, lenient: bool) -> _Labelled:
    sieve = Sieve(lenient)
    read = sieve.keep(load_records(file), lambda record: (text_at(record, "text"), label_at(record, label)))
    pairs = list(read)
    labels = tuple(name for _, name in pairs)
    kinds = sorted(set(labels))
    if len(kinds) < 2:
        got = f"only {kinds[0]!r}, {len(labels):,} times" if kinds else "no text"
        raise CorpusError(f"{file.path}: expected texts of two labels or more, got {got}. Check {label!r}.")
    note = f"{file.path.name}: {many(len(labels), 'text')} of {len(kinds):,} labels"
    return _Labelled(tuple(text for text, _ in pairs), labels, (note, *sieve.notes))


def _classification(name: str, split: str, train: _Labelled, texts: _Labelled) -> Classification:
    known = set(train.labels)
    unseen = sum(label not in known for label in texts.labels)
    notes = (*train.notes, *texts.notes)
    if unseen:
        notes += (
            f"{many(unseen, 'text')} of {split} with a label that {TRAIN} does not have: no classifier finds it",
        )
    return Classification(name, split, train.texts, train.labels, texts.texts, texts.labels, notes)


def _clustering(file: DataFile, name: str, split: str, texts: _Labelled) -> Clustering:
    if len(set(texts.labels)) == len(texts.labels):
        raise CorpusError(
            f"{file.path}: expected labels that texts share, got another label for each of {len(texts.labels):,} "
            "texts. Such texts form no clusters; check the field with the label."
        )
    return Clustering(name, split, texts.texts, texts.labels, texts.notes)


@dataclass(frozen=True)
class _Article:
    id: str
    references: tuple[str, ...]
    summaries: tuple[str, ...]
    ratings: tuple[float, ...]


def read_summaries(source: Source, asked: Asked) -> tuple[SummaryEvaluation, ...]:
    """Summary evaluation, by a field that has one rating for each machine summary."""
    rating = _choose_score(asked, _rating_fields(source.first), source.first, usual=RATING_FIELDS)
    id_field = source.field(*ID_FIELDS)
    seen: dict[object, object] = {}

    def read(record: Record) -> _Article:
        summaries = texts_at(record, "machine_summaries")
        ratings = numbers_at(record, rating, len(summaries))
        name = readable_id(record.values.get(id_field)) or f"line {record.place.line}"
        if seen.setdefault((record.place.path, name), record.place.line) != record.place.line:
            message = f"expected an id of its own for each article, got {name!r} again."
            raise UnusableError(Bad("duplicate id", record.place, message))
        return _Article(name, texts_at(record, "human_summaries"), summaries, ratings)

    tasks = []
    for split in asked.choose(source.files):
        sieve = Sieve(asked.lenient)
        articles = list(sieve.keep(load_records(source.files[split]), read))
        others = [name for name in _rating_fields(source.first) if name != rating]
        more = (f"other ratings there: {', '.join(others)} (--score-field {others[0]})",) if others else ()
        notes = (*_about_articles(source.files[split], articles, rating), *more, *sieve.notes)
        tasks.append(_summary_task(source.name, split, articles, notes))
    return tuple(tasks)


def _rating_fields(record: Record) -> list[str]:
    summaries = record.values.get("machine_summaries")
    n = len(summaries) if isinstance(summaries, list) else -1
    return [
        name
        for name, values in record.values.items()
        if isinstance(values, list) and len(values) == n and all(as_number(value) is not None for value in values)
    ]


def _about_articles(file: DataFile, articles: list[_Article], rating: str) -> tuple[str, ...]:
    flat = sum(len(set(article.ratings)) < 2 for article in articles)
    if flat == len(articles):
        got = "none such" if articles else "no article"
        raise CorpusError(
            f"{file.path}: expected articles with summaries whose {rating!r} differs, got {got}. "
            "No correlation exists; choose another rating: score_field= (--score-field)."
        )
    n = sum(len(article.summaries) for article in articles)
    counts = f"{many(len(articles), 'article')} with {many(n, 'summary', 'summaries')}"
    notes = [f"{file.path.name}: {counts}, rated by {rating!r}"]
    if flat:
        notes.append(f"{many(flat, 'article')} whose ratings are all equal: no correlation exists there")
    return tuple(notes)


def _summary_task(name: str, split: str, articles: list[_Article], notes: tuple[str, ...]) -> SummaryEvaluation:
    return SummaryEvaluation(
        name,
        split,
        ids=tuple(article.id for article in articles),
        references=tuple(article.references for article in articles),
        summaries=tuple(article.summaries for article in articles),
        ratings=tuple(article.ratings for article in articles),
        notes=notes,
    )
