"""Folders of vectors in shards, as `embed` writes them: their manifest, one shard, and how all are read in a row."""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from uncollapse.corpora.matrices import Matrix, NpyMatrix, ParquetMatrix, VectorRow
from uncollapse.errors import CorpusError
from uncollapse.records import Embeddings

SCHEMA = "uncollapse.vectors/1"
"""Name and version of the manifest; the number grows when a reader would have to change."""

MANIFEST = "manifest.json"

VECTOR_SUFFIXES = (".parquet", ".npy")

FIELDS = ("id", "n_tokens", "n_tokens_full")
"""What a shard holds of a text beside its vector."""


@dataclass(frozen=True)
class Shard:
    """Consecutive texts of a corpus in files of their own.

    Args:
        files: name to sha256; the vectors first.
        n_texts: how many.
        n_tokens: of all texts, after truncation.
        n_tokens_full: the same before truncation.
        n_truncated: texts that were cut.
        n_padded: tokens computed, padding in; None where the encoder does not say.
        texts: digest of ids and texts.
    """

    files: Mapping[str, str]
    n_texts: int
    n_tokens: int
    n_tokens_full: int
    n_truncated: int
    n_padded: int | None
    texts: str


@dataclass(frozen=True)
class Manifest:
    """What a folder of vectors holds, and what made it.

    Args:
        fingerprint: of everything in `made` that decides a vector; another one is another folder.
        made: model, settings and versions.
        format: of the shards, "parquet" or "npy".
        dim: length of a vector.
        complete: whether the corpus was read to its end.
        shards: in the order of the corpus.
    """

    fingerprint: str
    made: Mapping[str, Any]
    format: str
    dim: int
    complete: bool = False
    shards: tuple[Shard, ...] = ()

    @property
    def n_texts(self) -> int:
        """Of all shards."""
        return sum(shard.n_texts for shard in self.shards)

    @property
    def padding_share(self) -> float | None:
        """Share of the tokens computed that were padding; None where the encoder does not say."""
        padded = [shard.n_padded for shard in self.shards]
        known = [count for count in padded if count is not None]
        if not known or len(known) < len(padded):
            return None
        return 1 - sum(shard.n_tokens for shard in self.shards) / sum(known)

    def to_json(self) -> str:
        """Strict JSON, two-space indented; no times, so that equal vectors have equal manifests."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote; another schema is refused by name."""
        data = json.loads(text)
        found = data.pop("schema", None)
        if found != SCHEMA:
            raise CorpusError(f"Expected a folder of vectors of schema {SCHEMA!r}, got {found!r}. Embed again.")
        return cls(**{**data, "shards": tuple(Shard(**shard) for shard in data["shards"])})


def is_vector_folder(path: Path) -> bool:
    """Whether a folder was written by `embed`."""
    try:
        return bool(json.loads((path / MANIFEST).read_text(encoding="utf-8")).get("schema") == SCHEMA)
    except (OSError, ValueError, AttributeError):
        return False


def is_vector_file(name: str) -> bool:
    """Whether a name is that of a file of vectors, or of a folder of them, and not of a model."""
    path = Path(name)
    return is_vector_folder(path) if path.is_dir() else path.suffix.lower() in VECTOR_SUFFIXES


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder of vectors.

    Raises:
        CorpusError: it cannot be read.
    """
    try:
        return Manifest.from_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(
            f"{folder / MANIFEST}: expected the manifest of a folder of vectors, got {error}."
        ) from error


def sha256(place: Path) -> str:
    """Digest of a file, as the manifest has it."""
    with place.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def faulty_shards(folder: Path, shards: Sequence[Shard]) -> Iterator[tuple[int, Path]]:
    """The number of each shard that is not what was written any more, and its file that is gone or changed."""
    for number, shard in enumerate(shards):
        for name, digest in shard.files.items():
            if not (folder / name).is_file() or sha256(folder / name) != digest:
                yield number, folder / name
                break


def faulty_shard(folder: Path, shards: Sequence[Shard]) -> Path | None:
    """The first file that is not what was written any more."""
    return next((place for _, place in faulty_shards(folder, shards)), None)


def parquet_shard(place: Path, embeddings: Embeddings, fingerprint: str) -> None:
    """Write vectors as a table: id, vector (float32, all of one length), n_tokens, n_tokens_full."""
    dim = embeddings.vectors.shape[1]
    flat = pa.array(np.ascontiguousarray(embeddings.vectors).reshape(-1), pa.float32())
    columns = {
        "id": pa.array(embeddings.ids, pa.string()),
        "vector": pa.FixedSizeListArray.from_arrays(flat, dim),
        "n_tokens": embeddings.n_tokens,
        "n_tokens_full": embeddings.n_tokens_full,
    }
    table = pa.table(columns).replace_schema_metadata({"uncollapse": fingerprint})
    pq.write_table(table, place, compression="zstd", use_dictionary=False, write_page_checksum=True)


def npy_shard(place: Path, embeddings: Embeddings, fingerprint: str) -> None:  # noqa: ARG001 - a matrix has no room
    """Write vectors as a float32 matrix, as `numpy.save` does, whose errors do not say that a disk is full."""
    vectors = np.ascontiguousarray(embeddings.vectors)
    with place.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(vectors))
        stream.write(vectors.data)


def lines_shard(place: Path, embeddings: Embeddings, fingerprint: str) -> None:  # noqa: ARG001
    """Write what a matrix does not hold, a line a text."""
    counts = zip(embeddings.ids, embeddings.n_tokens.tolist(), embeddings.n_tokens_full.tolist(), strict=True)
    lines = (json.dumps(dict(zip(FIELDS, row, strict=True)), ensure_ascii=False) for row in counts)
    place.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


Writer = Callable[[Path, Embeddings, str], None]

FORMATS: dict[str, Mapping[str, Writer]] = {
    "parquet": {".parquet": parquet_shard},
    "npy": {".npy": npy_shard, ".jsonl": lines_shard},
}
"""Name of a format to the files of a shard, by suffix, and what writes each; the vectors first."""


class ShardedMatrix:
    """The shards of a folder as one file of vectors.

    Attributes:
        manifest: of the folder.
        reads_on: whether all texts were read to their end, in pieces, of whatever length they are.
        max_tokens: where the model cut texts; None for nowhere, or not known.

    Raises:
        CorpusError: a folder that is not finished, or a shard that is missing.
    """

    fields: tuple[str, ...] = FIELDS

    def __init__(self, folder: Path) -> None:
        self.path, self.manifest = folder, read_manifest(folder)
        if not self.manifest.complete:
            raise CorpusError(
                f"{folder}: expected a folder whose corpus was embedded to its end, got the first "
                f"{self.manifest.n_texts:,} texts. Run the same `uncollapse embed` again: it goes on from there."
            )
        missing = [name for shard in self.manifest.shards for name in shard.files if not (folder / name).is_file()]
        if missing:
            raise CorpusError(f"{folder}: expected the shard {missing[0]}, got none. Embed again, with --force.")
        self.dim, self.n_rows = self.manifest.dim, self.manifest.n_texts

        limit = self.manifest.made["max_tokens"]
        cut = any(shard.n_truncated for shard in self.manifest.shards)
        self.reads_on = bool(self.manifest.made.get("text_fix")) and not cut
        self.max_tokens: int | None = None if limit is None or self.reads_on else int(limit)

    def rows(self, fields: Sequence[str] = ()) -> Generator[VectorRow, None, None]:
        """All rows in order."""
        for shard in self.manifest.shards:
            place, *_ = (self.path / name for name in shard.files)
            if place.suffix == ".npy":
                yield from _with_lines(NpyMatrix(place), place.with_suffix(".jsonl"), fields)
            else:
                matrix: Matrix = ParquetMatrix(place, "vector")
                yield from matrix.rows(fields)


def _with_lines(matrix: NpyMatrix, lines: Path, fields: Sequence[str]) -> Iterator[VectorRow]:
    with lines.open(encoding="utf-8") as stream:
        for row, line in zip(matrix.rows(), stream, strict=True):
            values = json.loads(line)
            yield VectorRow(row.vector, row.fault, {name: values[name] for name in fields})
