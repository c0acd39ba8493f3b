"""Texts that carry their vectors: a file of vectors, read together with the texts they are of."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from uncollapse.corpora.fields import ID_FIELDS, TEXT_FIELDS
from uncollapse.corpora.formats import Record, json_records, tsv_records
from uncollapse.corpora.lines import DataFile
from uncollapse.corpora.matrices import Matrix, VectorRow, open_matrix, parquet_fields, parquet_values
from uncollapse.corpora.shards import ShardedMatrix, is_vector_folder
from uncollapse.corpora.texts import (
    MISSING_FIELD,
    Bad,
    Corpus,
    Found,
    Item,
    Items,
    Place,
    ReadingOptions,
    excerpt,
    readable_id,
)
from uncollapse.errors import CorpusError, nearest

TOKEN_FIELDS = ("n_tokens_full", "n_tokens", "num_tokens", "token_count")

BESIDE = (".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz", ".parquet")
"""What the texts of a .npy file may lie in, beside it and under its name."""

_KINDS = {".jsonl": "json", ".json": "json", ".tsv": "tsv", ".parquet": "parquet"}

Side = Generator[Record | Bad, None, None]


class EmbeddedText(str):
    """A text with the vector that its file holds for it; a slice that leaves nothing out is the text itself.

    Attributes:
        vector: float32 [dim].
        n_tokens: as the file counts them; None where it does not.
        owner: the texts it is one of.
    """

    __slots__ = ("n_tokens", "owner", "vector")

    vector: npt.NDArray[np.float32]
    n_tokens: int | None
    owner: object

    @classmethod
    def of(cls, text: str, *, vector: npt.NDArray[np.float32], n_tokens: int | None, owner: object) -> Self:
        """The text with what the file says of it."""
        made = cls(text)
        made.vector, made.n_tokens, made.owner = vector, n_tokens, owner
        return made

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        part = super().__getitem__(key)
        return self if part == self else part


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns of a file of vectors and of the texts beside it; None for the first usual name there is.

    Args:
        vector: lists of floats (vector, embedding, vectors, embeddings, emb, or the only such column).
        text: what was embedded (text, body, content, passage, document).
        id: of the text (_id, id, doc_id, docid); without one it is "<file>:<row>".
        n_tokens: tokens of the text as the model counts them, before it cuts any off (n_tokens_full, n_tokens,
            num_tokens, token_count).
    """

    vector: str | None = None
    text: str | None = None
    id: str | None = None
    n_tokens: str | None = None


class EmbeddedTexts:
    """The rows of a file of vectors as texts that carry them.

    Args:
        path: a .parquet or .npy file, or a folder that `embed` wrote.
        texts: a .jsonl, .json, .tsv (also .gz) or .parquet file whose n-th record is the n-th vector's text; None for
            columns of the .parquet file itself, or a file beside a .npy one.
        columns: their names.

    Raises:
        CorpusError: a file or column that is not there, or neither texts nor token counts.
    """

    def __init__(self, path: Path, *, texts: Path | None = None, columns: Columns | None = None) -> None:
        asked = columns or Columns()
        self.matrix: Matrix = ShardedMatrix(path) if is_vector_folder(path) else open_matrix(path, asked.vector)
        self.beside = _side(path, texts)
        there = self.matrix.fields if self.beside is None else _side_fields(self.beside)
        place = path if self.beside is None else self.beside.path
        self.text_field = _choose(asked.text, TEXT_FIELDS, there, place, "texts")
        self.id_field = _choose(asked.id, ID_FIELDS, there, place, "ids")
        own = self.matrix.fields if self.beside else ()
        self._own_id = _choose(None, ID_FIELDS, own, path, "ids")
        counted = asked.n_tokens if asked.n_tokens in there else None
        usual = _choose(counted, TOKEN_FIELDS, there, place, "token counts")
        self._own_tokens = None if usual else _choose(asked.n_tokens, TOKEN_FIELDS, own or there, path, "token counts")
        self.tokens_field = usual or self._own_tokens
        if self.text_field is None and self.tokens_field is None:
            raise CorpusError(
                f"{place}: expected texts ({', '.join(TEXT_FIELDS)}) or token counts ({', '.join(TOKEN_FIELDS)}) with "
                f"the vectors, got neither. {nearest(TEXT_FIELDS[0], there, 'Columns')} Name them: "
                "--text-field (Columns(text=..., n_tokens=...))."
            )

    @property
    def max_tokens(self) -> int | None:
        """At how many tokens the model cut texts off, where the vectors say so themselves."""
        return self.matrix.max_tokens if isinstance(self.matrix, ShardedMatrix) else None

    @property
    def reads_on(self) -> bool:
        """Whether the vectors say themselves that all texts were read to their end, in pieces."""
        return isinstance(self.matrix, ShardedMatrix) and self.matrix.reads_on

    def corpus(
        self, *, limit: int | None = None, skip_bad: bool = False, sample: int | None = None, seed: int = 0
    ) -> Corpus:
        """The texts, read anew at every pass; each is an `EmbeddedText`.

        Args:
            limit: stop after this many texts.
            skip_bad: count rows that cannot be used in `corpus.skipped` and go on, instead of an error at the first.
            sample, seed: read this many drawn at random.
        """
        matrix, options = self.matrix, ReadingOptions(skip_bad=skip_bad, limit=limit, sample=sample, seed=seed)
        where = f", texts in {self.beside.path.name}" if self.beside else ""
        what = f"{matrix.path.name}: {matrix.n_rows:,} vectors of {matrix.dim} dimensions{where}"
        return Corpus(matrix.path.name, what, records=self._items, options=options)

    def _items(self) -> Items:
        own = [name for name in (self._own_id, self._own_tokens) if name] if self.beside else self._fields
        with closing(self.matrix.rows(own)) as rows:
            if self.beside is None:
                for number, row in enumerate(rows, 1):
                    yield self._item(row, Record(self._place(number), row.values), number)
                return
            with closing(_side_records(self.beside, self._fields)) as records:
                for number, (found, record) in enumerate(zip_longest(rows, records), 1):
                    yield self._paired(found, record, number)

    @property
    def _fields(self) -> list[str]:
        """Of the records with the texts."""
        counted = None if self._own_tokens else self.tokens_field
        return [name for name in dict.fromkeys((self.text_field, self.id_field, counted)) if name]

    def _place(self, number: int) -> Place:
        return Place(self.matrix.path, self.matrix.path.name, number)

    def _paired(self, row: VectorRow | None, record: Record | Bad | None, number: int) -> Item:
        if self.beside is None or row is None or record is None:
            raise self._unequal(number)
        if isinstance(record, Bad):
            return record
        needed = [name for name in (self.text_field, None if self._own_tokens else self.tokens_field) if name]
        if missing := [name for name in needed if name not in record.values]:
            message = f"expected a field {missing[0]!r} as in the first record, got none."
            return Bad(MISSING_FIELD, record.place, message)
        own, other = row.values.get(self._own_id or ""), record.values.get(self.id_field or "")
        if own is not None and other is not None and readable_id(own) != readable_id(other):
            raise CorpusError(
                f"{record.place}: expected the id {own!r} of row {number} of {self.matrix.path.name}, got {other!r}. "
                "Texts must come in the order of their vectors."
            )
        return self._item(row, record, number)

    def _unequal(self, number: int) -> CorpusError:
        beside, n_rows = self.beside.path.name if self.beside else "", self.matrix.n_rows
        return CorpusError(
            f"{self.matrix.path}: expected as many vectors as records in {beside}, got {n_rows:,} vectors and "
            f"{'fewer' if number <= n_rows else 'more'} records. The n-th record must be the n-th vector's."
        )

    def _item(self, row: VectorRow, record: Record, number: int) -> Item:
        if row.vector is None:
            message = f"expected a vector of {self.matrix.dim} finite numbers, got {row.fault}."
            return Bad("unusable vector", self._place(number), message)
        counts = row.values if self._own_tokens else record.values
        n_tokens = _count(counts[self.tokens_field]) if self.tokens_field else None
        if self.tokens_field and n_tokens is None:
            came = excerpt(counts[self.tokens_field])
            message = f"expected a whole number from 1 up in {self.tokens_field!r}, got {came}."
            return Bad("unusable token count", record.place, message)
        given = record.values.get(self.id_field or "")
        given = None if given == "" else given
        text = record.values[self.text_field] if self.text_field else readable_id(given) or record.place.id
        if isinstance(text, str):
            text = EmbeddedText.of(text, vector=row.vector, n_tokens=n_tokens, owner=self)
        return Found(record.place, text, given, source=record.place.name)


def _count(value: object) -> int | None:
    """A whole number from 1 up, also as the digits of a .tsv file; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else None


def _choose(asked: str | None, usual: Sequence[str], there: Sequence[str], path: Path, what: str) -> str | None:
    if asked is not None and asked not in there:
        raise CorpusError(
            f"{path}: expected {what} in a column {asked!r}, got none. {nearest(asked, there, 'Columns')}"
        )
    return asked or next((name for name in usual if name in there), None)


def _side(path: Path, texts: Path | None) -> DataFile | None:
    """The file with the texts; None where they are in the file of the vectors."""
    if texts is None and path.suffix.lower() == ".npy":
        texts = next((file for suffix in BESIDE if (file := path.with_suffix(suffix)).is_file()), None)
        if texts is None:
            raise CorpusError(
                f"{path}: expected the texts or token counts of these vectors in a file beside it "
                f"({path.stem}.jsonl, .tsv or .parquet), got none. Name another: VectorFile(path, texts=...)."
            )
    if texts is None or texts == path:
        return None
    suffixes = [suffix.lower() for suffix in texts.suffixes if suffix.lower() != ".gz"] or [""]
    if suffixes[-1] not in _KINDS or not texts.is_file():
        there = "a folder" if texts.is_dir() else "nothing there"
        there = f"a {suffixes[-1] or 'nameless'} file" if texts.is_file() else there
        raise CorpusError(
            f"Expected texts in a .jsonl, .json, .tsv (also .gz) or .parquet file, got {str(texts)!r}: {there}."
        )
    return DataFile(texts, texts.name, _KINDS[suffixes[-1]])


def _side_fields(file: DataFile) -> tuple[str, ...]:
    if file.kind == "parquet":
        return parquet_fields(file.path)
    with closing(_side_records(file, ())) as records:
        first = next(records, None)
    if first is None:
        raise CorpusError(f"{file.path}: expected a record for every vector, got an empty file.")
    if isinstance(first, Bad):
        raise first.error()
    return tuple(first.values)


def _side_records(file: DataFile, fields: Sequence[str]) -> Side:
    """One record a vector; a blank line is none."""
    if file.kind == "parquet":
        for number, values in enumerate(parquet_values(file.path, fields), 1):
            yield Record(file.at(number), values)
        return
    read = json_records if file.kind == "json" else tsv_records
    for record in read(file, ReadingOptions().max_line_bytes):
        if isinstance(record, Record) or not record.tolerated:
            yield record
