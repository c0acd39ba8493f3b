"""TREC runs in and out: what any search engine found."""

import gzip
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import BinaryIO, Self, cast

import numpy as np
import numpy.typing as npt

from uncollapse.corpora.lines import BOM, READ_ERRORS, DataFile, invalid_utf8, unreadable
from uncollapse.corpora.texts import excerpt, is_unicode
from uncollapse.errors import CorpusError
from uncollapse.evaluation.reading.files import find
from uncollapse.writing import whole_file

MAX_LINE_BYTES = 65_536
"""No line of three to six columns is longer."""

RUN, QRELS, LENGTHS = "a TREC run", "a file of judgements (qrels)", "a file of document lengths"
"""What is expected to be found, in the words of a message."""

RUN_COLUMNS = "query Q0 document rank score tag"

BLANKS = re.compile(r"[ \t\r\n\v\f]+")
"""What parts columns: the white space of ASCII, as in C."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """The documents found for one query, best first.

    Args:
        documents: ids, each once, by falling score; of equal scores the larger id (by code points) first, as
            trec_eval has it.
        scores: float64 [documents], finite.
    """

    documents: tuple[str, ...]
    scores: npt.NDArray[np.float64]

    @classmethod
    def from_scores(cls, scores: Mapping[str, float]) -> Self:
        """Ranked by score.

        >>> Ranking.from_scores({"a": 1.0, "b": 2.0, "c": 2.0}).documents
        ('c', 'b', 'a')
        """
        pairs = sorted(((float(score), document) for document, score in scores.items()), reverse=True)
        return cls(tuple(document for _, document in pairs), np.array([score for score, _ in pairs], np.float64))


@dataclass(frozen=True, eq=False)
class Run:
    """What a search engine found.

    Args:
        name: the tag of the run, without white space.
        rankings: by query, in the order of the file.
        notes: what a reader must know.
    """

    name: str
    rankings: Mapping[str, Ranking]
    notes: tuple[str, ...] = ()

    @classmethod
    def from_scores(cls, name: str, scores: Mapping[str, Mapping[str, float]]) -> Self:
        """A run from the scores of documents by query."""
        return cls(name, {query: Ranking.from_scores(found) for query, found in scores.items()})


@dataclass(slots=True)
class _Found:
    """What a run says of one query, line by line."""

    query: str
    documents: list[str] = field(default_factory=list)
    scores: "array[float]" = field(default_factory=lambda: array("d"))
    ranks: "array[int]" = field(default_factory=lambda: array("q"))

    def rank(self) -> tuple[Ranking, bool]:
        """The ranking by score, and whether the ranks contradict it."""
        ordered = sorted(zip(self.scores, self.documents, self.ranks, strict=True), reverse=True)
        scores, documents, ranks = zip(*ordered, strict=True)
        ranking = Ranking(documents, np.array(scores, np.float64))
        return ranking, _contradict(ranking.scores, np.array(ranks, np.int64))


def _contradict(scores: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64]) -> bool:
    """Whether, scores falling, a larger score anywhere has a larger rank than a smaller score."""
    before = np.maximum.accumulate(ranks)
    after = np.minimum.accumulate(ranks[::-1])[::-1]
    return bool(((scores[:-1] > scores[1:]) & (before[:-1] > after[1:])).any())


def read_run(path: str | Path) -> Run:
    """Read a TREC run: `query Q0 document rank score tag` a line, parted by white space, plain or .gz.

    As in trec_eval the scores alone decide the order, and of equal scores the larger document id comes first; a note
    says in how many queries the ranks contradict the scores.

    Raises:
        CorpusError: no such file, no line in it, or a line with another number of columns, a rank that is no whole
            number, a score that is no finite number, or a document that the query already has.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_run(Path(folder, "a.trec"), Run.from_scores("bm25", {"q1": {"d1": 0.5, "d2": 1.5}}))
    ...     run = read_run(Path(folder, "a.trec"))
    >>> run.name, run.rankings["q1"].documents, run.rankings["q1"].scores.tolist()
    ('bm25', ('d2', 'd1'), [1.5, 0.5])
    """
    file = trec_file(path, RUN)
    found, tags = _read_run_lines(file)
    rankings, contradicted = {}, 0
    for lines in found:
        if len(set(lines.documents)) < len(lines.documents):
            raise _twice(file, lines.query.encode())
        rankings[lines.query], wrong = lines.rank()
        contradicted += wrong
    if not rankings:
        raise CorpusError(f"{file.path}: expected a TREC run ({RUN_COLUMNS}), got no line. Check the file.")
    return Run(tags[0], rankings, _run_notes(tags, contradicted, len(rankings)))


def _read_run_lines(file: DataFile) -> tuple[list[_Found], list[str]]:
    queries: dict[bytes, _Found] = {}
    names: dict[bytes, str] = {}  # one string an id, however many queries find the document
    tags: dict[bytes, str] = {}
    for number, raw in _raw_lines(file):
        try:
            query, _, document, rank, score, tag = raw.split()
        except ValueError:
            if raw.strip():
                raise wrong_columns(file, number, RUN_COLUMNS, raw) from None
            continue
        lines = queries.get(query)
        if lines is None:
            lines = queries[query] = _Found(_decode(query, file, number))
        name = names.get(document)
        if name is None:
            name = names[document] = _decode(document, file, number)
        try:
            value = float(score)
            lines.ranks.append(int(rank))
        except (ValueError, OverflowError):
            raise _wrong_number(file, number, rank, score) from None
        if not isfinite(value):
            raise _wrong_number(file, number, rank, score)
        lines.documents.append(name)
        lines.scores.append(value)
        if tag not in tags:
            tags[tag] = _decode(tag, file, number)
    return list(queries.values()), list(tags.values())


def _run_notes(tags: list[str], contradicted: int, n: int) -> tuple[str, ...]:
    notes = []
    if len(tags) > 1:
        notes.append(f"the file holds {len(tags):,} tags, of which {tags[0]!r} comes first; they are read as one run")
    if contradicted:
        notes.append(
            f"in {contradicted:,} of {n:,} queries the ranks contradict the scores; "
            "documents are ordered by score, as trec_eval does"
        )
    return tuple(notes)


def wrong_columns(file: DataFile, number: int, columns: str, got: str | bytes) -> CorpusError:
    """The error of a line with other columns than expected."""
    text = got.decode(errors="replace") if isinstance(got, bytes) else got
    return CorpusError(
        f"{file.path}:{number}: expected the columns {columns}, got {excerpt(text.strip())}. "
        "Check that this is the file meant; ids in TREC files hold no white space."
    )


def _wrong_number(file: DataFile, number: int, rank: bytes, score: bytes) -> CorpusError:
    got = f"rank {excerpt(rank.decode(errors='replace'))} and score {excerpt(score.decode(errors='replace'))}"
    return CorpusError(
        f"{file.path}:{number}: expected a whole number as rank and a finite number as score, got {got}. "
        f"The columns are {RUN_COLUMNS}."
    )


def _twice(file: DataFile, query: bytes) -> CorpusError:
    """Which line names a document again; the file is read once more to find it."""
    seen: dict[bytes, int] = {}
    rows = ((number, raw.split()) for number, raw in _raw_lines(file))
    pairs = ((number, columns[2]) for number, columns in rows if columns[:1] == [query])
    number, document = next(pair for pair in pairs if seen.setdefault(pair[1], pair[0]) != pair[0])
    return CorpusError(
        f"{file.path}:{number}: expected each document once a query, got document {document.decode()!r} again for "
        f"query {query.decode()!r}, which has it at line {seen[document]}. Keep one of the two; cut a file of several "
        "runs into one file a run."
    )


def _decode(raw: bytes, file: DataFile, number: int) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        bad = invalid_utf8(file.at(number), raw[error.start], error.start)
        raise CorpusError(f"{bad.place}: {bad.message}") from None


def _raw_lines(file: DataFile) -> Iterator[tuple[int, bytes]]:
    """Lines as bytes: runs are long, and most of what they hold is the same ids again."""
    number = 0
    try:
        with file.open() as stream:
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > MAX_LINE_BYTES:
                    raise wrong_columns(file, number, RUN_COLUMNS, raw[:MAX_LINE_BYTES])
                yield number, raw.removeprefix(BOM) if number == 1 else raw
    except READ_ERRORS as error:
        bad = unreadable(file.at(number + 1), error)
        raise CorpusError(f"{bad.place}: {bad.message}") from error


def trec_file(path: str | Path, what: str) -> DataFile:
    """A file that must be there.

    Raises:
        CorpusError: it is not, or is a folder.
    """
    found = find(path, what)
    if not found.is_file():
        raise CorpusError(f"{path}: expected {what}, got something that is no regular file. Name the file itself.")
    return DataFile(found, found.name, "trec")


def write_run(path: str | Path, run: Run) -> None:
    """Write a TREC run, gzip where the name ends in .gz.

    Scores keep every bit, so that `read_run` gives back the same; a query without documents has no line.

    Raises:
        CorpusError: an id or the name is empty or holds white space, a score is not finite, a query has a document
            twice, or there is no document at all.
        OutputError: the file cannot be written.
    """
    check_ids([run.name], "the name of the run")
    check_ids(run.rankings, "query ids")
    ordered = {query: _checked(query, ranking) for query, ranking in run.rankings.items()}
    if not any(ranking.documents for ranking in ordered.values()):
        raise CorpusError(f"Expected a run with at least one document, got none in {run.name!r}. Search first.")
    with writing(Path(path)) as stream:
        for query, ranking in ordered.items():
            pairs = enumerate(zip(ranking.documents, ranking.scores.tolist(), strict=True), 1)
            stream.writelines(f"{query} Q0 {d} {rank} {score!r} {run.name}\n".encode() for rank, (d, score) in pairs)


def _checked(query: str, ranking: Ranking) -> Ranking:
    check_ids(ranking.documents, f"document ids (query {query!r})")
    if not np.isfinite(ranking.scores).all():
        raise CorpusError(f"A TREC run holds finite scores, but query {query!r} has others. Check the vectors.")
    ordered = Ranking.from_scores(dict(zip(ranking.documents, ranking.scores.tolist(), strict=True)))
    if len(ordered.documents) < len(ranking.documents):
        raise CorpusError(f"A TREC run holds each document once a query, but query {query!r} has one twice. Drop one.")
    return ordered


def check_ids(ids: Iterable[str], what: str) -> None:
    """Refuse what a TREC file cannot hold.

    Raises:
        CorpusError: an id is empty, holds white space or begins with a byte order mark.
    """
    bad = next((name for name in ids if not _can_be_written(name)), None)
    if bad is not None:
        raise CorpusError(
            f"TREC files part columns by white space, so {what} must be Unicode text without any, got {bad!r}. "
            "Rename it, for instance with _ in place of blanks."
        )


def _can_be_written(name: str) -> bool:
    return bool(name) and not BLANKS.search(name) and is_unicode(name) and not name.startswith(BOM.decode())


@contextmanager
def writing(target: Path) -> Iterator[BinaryIO]:
    """A file that appears whole, gzip where its name ends in .gz."""
    with whole_file(target) as part, part.open("wb") as plain:
        if target.suffix.lower() != ".gz":
            yield plain
            return
        with gzip.GzipFile("", "wb", fileobj=plain, mtime=0) as packed:
            yield cast("BinaryIO", packed)
