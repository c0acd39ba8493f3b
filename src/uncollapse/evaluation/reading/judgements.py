"""Judgements (qrels) in and out, of TREC and of BEIR, and the lengths of documents."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from uncollapse.corpora.batches import read_batches
from uncollapse.corpora.lines import DataFile, read_lines
from uncollapse.corpora.shards import is_vector_folder, read_manifest
from uncollapse.corpora.texts import TOO_LONG, excerpt
from uncollapse.errors import CorpusError
from uncollapse.evaluation.reading.files import as_number
from uncollapse.evaluation.reading.trec import (
    BLANKS,
    LENGTHS,
    MAX_LINE_BYTES,
    QRELS,
    check_ids,
    trec_file,
    writing,
    wrong_columns,
)
from uncollapse.records import Embeddings

QRELS_COLUMNS = "query 0 document grade (TREC) or query document grade (BEIR)"

UNITS = ("tokens", "words", "characters")
"""What lengths may be counted in."""

_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?")


@dataclass(frozen=True, slots=True)
class Judgement:
    """One line of a qrels file."""

    line: int
    query: str
    document: str
    grade: int


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read judgements: {query id: {document id: grade}}, in the order of the file.

    Four columns are TREC's `query 0 document grade`, three are BEIR's `query document grade`. Columns are parted by
    tabs, or else by white space; a header is passed over: a first line without any digit. Plain or .gz.

    Raises:
        CorpusError: no such file, no judgement in it, a line with other columns, a grade that is no whole number, or
            two grades for one pair.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_qrels(Path(folder, "a.qrels"), {"q1": {"d1": 2, "d2": 0}})
    ...     read_qrels(Path(folder, "a.qrels"))
    {'q1': {'d1': 2, 'd2': 0}}
    """
    file = trec_file(path, QRELS)
    return collect(judgements_in(file), file)


def collect(judgements: Iterable[Judgement], file: DataFile) -> dict[str, dict[str, int]]:
    """Grades by query and document; a judgement that is there twice counts once.

    Raises:
        CorpusError: two grades for one pair.
    """
    grades: dict[str, dict[str, int]] = {}
    for judged in judgements:
        grade = grades.setdefault(judged.query, {}).setdefault(judged.document, judged.grade)
        if grade != judged.grade:
            raise CorpusError(
                f"{file.path}:{judged.line}: expected one grade for document {judged.document!r} and query "
                f"{judged.query!r}, got {judged.grade} and, on an earlier line, {grade}. Keep one of the two."
            )
    return grades


def judgements_in(file: DataFile) -> Iterator[Judgement]:
    """The lines of a qrels file; see `read_qrels`."""
    n = 0
    for line, columns in _columns(file, (3, 4), QRELS_COLUMNS):
        n += 1
        query, document, grade = columns[0], columns[-2], columns[-1]
        if not _WHOLE.fullmatch(grade):
            raise CorpusError(
                f"{file.path}:{line}: expected a whole number as grade, got {excerpt(grade)}. "
                f"The columns are {QRELS_COLUMNS}."
            )
        yield Judgement(line, query, document, int(grade.partition(".")[0]))
    if not n:
        raise CorpusError(f"{file.path}: expected judgements ({QRELS_COLUMNS}), got none. Check the file.")


def read_lengths(path: str | Path) -> dict[str, int]:
    """Read the lengths of documents: `document<tab>length` a line, in tokens, words or characters, plain or .gz.

    A header is passed over: a first line without any digit; `read_unit` reads it. An empty document has length 0.
    A folder of vectors that `embed` wrote knows the lengths of its texts: its tokens before anything was cut off.

    Raises:
        CorpusError: no such file, no length in it, a line with other columns, a length that is no whole number of at
            least 0, or a document that is there twice.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "lengths.tsv")
    ...     _ = path.write_text("document\\ttokens\\nd1\\t120\\n")
    ...     read_lengths(path)
    {'d1': 120}
    """
    if is_vector_folder(Path(path)):
        return {name: n for few in read_batches(Path(path)) for name, n in _lengths_of(few)}
    file = trec_file(path, LENGTHS)
    lengths: dict[str, int] = {}
    for line, (document, length) in _columns(file, (2,), "document length"):
        if not _WHOLE.fullmatch(length) or (number := int(length.partition(".")[0])) < 0:
            raise CorpusError(
                f"{file.path}:{line}: expected a whole number of at least 0 as length, got {excerpt(length)}. "
                "The columns are document length; an empty document has length 0."
            )
        if document in lengths:
            raise CorpusError(
                f"{file.path}:{line}: expected each document once, got {document!r} again. Keep one of the two lines."
            )
        lengths[document] = number
    if not lengths:
        raise CorpusError(f"{file.path}: expected lengths (document, tab, length), got none. Check the file.")
    return lengths


def _lengths_of(few: Embeddings) -> Iterator[tuple[str, int]]:
    return zip(few.ids, few.n_tokens_full.tolist(), strict=True)


def read_unit(path: str | Path) -> str:
    """What the lengths in a file are counted in, if the last column of its header says so: one of UNITS, else "".

    A folder of vectors says it of its model.

    Raises:
        CorpusError: no such file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "lengths.tsv")
    ...     _ = path.write_text("id\\tn_words\\nd1\\t120\\n")
    ...     read_unit(path)
    'words'
    """
    if is_vector_folder(Path(path)):
        return str(read_manifest(Path(path)).made["model"].get("unit") or "tokens")
    lines = (line.text for line in read_lines(trec_file(path, LENGTHS), MAX_LINE_BYTES))
    fields = next((line for line in lines if line.strip()), "").split()
    header = fields[-1].lower() if fields and _is_header(fields) else ""
    return next((unit for unit in UNITS if unit.removesuffix("s") in header), "")


def write_lengths(path: str | Path, lengths: Mapping[str, int], unit: str = "tokens") -> None:
    """Write the lengths of documents, `document<tab>length` a line under a header, gzip where the name ends in .gz.

    Args:
        path: of the file.
        lengths: by document.
        unit: what they are counted in, for the header.

    Raises:
        CorpusError: an id is empty or holds white space.
        OutputError: the file cannot be written.
    """
    check_ids(lengths, "document ids")
    with writing(Path(path)) as stream:
        stream.write(f"document\t{unit}\n".encode())
        stream.writelines(f"{document}\t{int(length)}\n".encode() for document, length in lengths.items())


def _columns(file: DataFile, allowed: tuple[int, ...], columns: str) -> Iterator[tuple[int, list[str]]]:
    """The columns of every line but blank ones and the header; the first line decides how they are parted."""
    part = number = None
    for line in read_lines(file, MAX_LINE_BYTES):
        if line.bad and line.bad.reason == TOO_LONG:
            raise wrong_columns(file, line.number, columns, f"a line of more than {MAX_LINE_BYTES:,} bytes")
        if line.bad:
            raise CorpusError(f"{line.bad.place}: {line.bad.message}")
        text = line.text.strip(" \t\r\n\v\f")
        if not text:
            continue
        first = part is None
        if part is None:
            part = _by_tabs if len(_by_tabs(text)) in allowed else _by_blanks
        fields = part(text)
        if len(fields) not in (allowed if number is None else (number,)) or not all(fields):
            raise wrong_columns(file, line.number, columns, text)
        number = len(fields)
        if not (first and _is_header(fields)):
            yield line.number, fields


def _by_tabs(text: str) -> list[str]:
    return [piece.strip(" \r\n\v\f") for piece in text.split("\t")]


def _by_blanks(text: str) -> list[str]:
    return BLANKS.split(text)


def _is_header(fields: list[str]) -> bool:
    return as_number(fields[-1]) is None and not any(character.isdigit() for piece in fields for character in piece)


def write_qrels(path: str | Path, judgements: Mapping[str, Mapping[str, int]]) -> None:
    """Write TREC judgements, `query 0 document grade` a line, gzip where the name ends in .gz.

    Raises:
        CorpusError: an id is empty or holds white space, or there is no judgement.
        OutputError: the file cannot be written.
    """
    check_ids(judgements, "query ids")
    for query, grades in judgements.items():
        check_ids(grades, f"document ids (query {query!r})")
    if not any(judgements.values()):
        raise CorpusError("Expected at least one judgement, got none. Judge a document first.")
    with writing(Path(path)) as stream:
        for query, grades in judgements.items():
            stream.writelines(f"{query} 0 {document} {int(grade)}\n".encode() for document, grade in grades.items())
