"""Vectors as a COPY file for PostgreSQL with pgvector, and the SQL that loads it; writing needs no server."""

from collections.abc import Iterator
from pathlib import Path

from uncollapse.errors import CorpusError, OutputError
from uncollapse.records import Embeddings
from uncollapse.stores.space import NAME, Batches, Space

DATA, SQL = "vectors.copy", "load.sql"

MOST_DIMENSIONS = 16_000
"""Of pgvector's type `vector`."""

MOST_BYTES_OF_AN_ID = 2_600
"""What PostgreSQL's index of ids surely takes: an entry must be smaller than a third of a page, some 2,700 bytes."""

_INDEXED = {"vector": 2_000, "halfvec": 4_000}
_OPERATORS = {"dot": ("ip", "<#>"), "cosine": ("cosine", "<=>")}
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def write_copy(folder: Path, space: Space, batches: Batches) -> None:
    """Write `vectors.copy`, a line a vector in PostgreSQL's text format, and `load.sql`, which makes table and index.

    Raises:
        OutputError: vectors longer than pgvector holds.
        CorpusError: an id that PostgreSQL cannot hold: one with a zero character, or a long one.
    """
    if space.dim > MOST_DIMENSIONS:
        raise OutputError(f"pgvector holds vectors of at most {MOST_DIMENSIONS:,} dimensions, got {space.dim:,}.")
    with (folder / DATA).open("w", encoding="utf-8", newline="\n") as stream:
        for batch in batches:
            stream.writelines(_lines(batch))
    (folder / SQL).write_text(_load(space), encoding="utf-8", newline="\n")


def _lines(batch: Embeddings) -> Iterator[str]:
    written = batch.vectors.astype(str)  # as few digits as give the same float32 again
    counts = zip(batch.ids, batch.n_tokens.tolist(), batch.n_tokens_full.tolist(), strict=True)
    for numbers, (name, n_tokens, n_tokens_full) in zip(written, counts, strict=True):
        _check_id(name)
        yield f"{name.translate(_ESCAPES)}\t[{','.join(numbers)}]\t{n_tokens}\t{n_tokens_full}\n"


def _check_id(name: str) -> None:
    if "\0" in name:
        raise CorpusError(f"PostgreSQL holds no text with a zero character, got the id {name!r}. Give another id.")
    if (size := len(name.encode(errors="surrogatepass"))) > MOST_BYTES_OF_AN_ID:
        raise CorpusError(
            f"PostgreSQL indexes ids of at most {MOST_BYTES_OF_AN_ID:,} bytes, got one of {size:,}, which begins "
            f"{name[:60]!r}. Give shorter ids, or use another --format."
        )


def _load(space: Space) -> str:
    operator = _OPERATORS[space.metric][1]
    return f"""-- Load from this folder: psql YOUR_DATABASE -v ON_ERROR_STOP=1 -f {SQL}
CREATE EXTENSION IF NOT EXISTS vector;
BEGIN;
CREATE TABLE {NAME} (
    id text PRIMARY KEY,
    embedding vector({space.dim}) NOT NULL,
    n_tokens integer NOT NULL,
    n_tokens_full integer NOT NULL
);
\\copy {NAME} (id, embedding, n_tokens, n_tokens_full) FROM '{DATA}' WITH (FORMAT text, ENCODING 'UTF8')
COMMIT;
{_index(space)}
-- Search: SELECT id FROM {NAME} ORDER BY embedding {operator} '[...]' LIMIT 10;
"""


def _index(space: Space) -> str:
    short = _OPERATORS[space.metric][0]
    if space.dim <= _INDEXED["vector"]:
        return f"CREATE INDEX ON {NAME} USING hnsw (embedding vector_{short}_ops);"
    if space.dim <= _INDEXED["halfvec"]:
        half = f"(embedding::halfvec({space.dim})) halfvec_{short}_ops"
        return f"CREATE INDEX ON {NAME} USING hnsw ({half});  -- of 16 bits: search by embedding::halfvec({space.dim})"
    return (
        f"-- No index: pgvector has none for more than {_INDEXED['halfvec']:,} dimensions. A search reads every row."
    )
