"""Vectors kept on disk, so that a text is encoded once for each model and fix."""

import errno
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import platformdirs

from uncollapse.errors import OutputError
from uncollapse.records import chunks

FORMAT = 1
"""Grows when files of an older layout can no longer be read; they are then not found."""

_WAIT = 60.0  # seconds for another process to finish a write
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_AT_ONCE = 500  # keys a query; SQLite's oldest limit is 999
_TABLE = """
CREATE TABLE IF NOT EXISTS vectors (
    key BLOB PRIMARY KEY, n_tokens INTEGER NOT NULL, n_tokens_full INTEGER NOT NULL,
    vector BLOB NOT NULL, checksum BLOB NOT NULL
)
"""


def default_folder() -> Path:
    """Where vectors are kept unless told otherwise: the user's cache folder."""
    return platformdirs.user_cache_path("uncollapse", appauthor=False) / "vectors"


@dataclass(frozen=True, slots=True)
class Entry:
    """One cached text: its vector (float32 [dim]) and its token counts after and before truncation."""

    vector: npt.NDArray[np.float32]
    n_tokens: int
    n_tokens_full: int


class Shelf:
    """The cached vectors of one model under one fix: an SQLite file, which other processes may use at the same time.

    A write is a transaction: after a kill at any moment the file holds what was put before, whole. Every entry has a
    checksum; one that does not match, or has another size than the model's vectors, counts as missing. A file that is
    no database any more is started anew. `notes` says what was found damaged.

    Args:
        folder: made if missing.
        description: everything that decides what a vector is; another description is another file.
        dim: length of a vector.

    Raises:
        OutputError: the file cannot be made, written (disk full) or is held by another process for a minute.
    """

    def __init__(self, folder: Path, description: Mapping[str, object], dim: int) -> None:
        said = json.dumps({"format": FORMAT, **description}, sort_keys=True)
        name = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
        self.path, self.dim, self.damaged = folder / f"{name}.sqlite", dim, 0
        self.rebuilt = False
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = self._open(said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about this file."""
        said = [f"the cache {self.path} was damaged and is built anew"] if self.rebuilt else []
        if self.damaged:
            said.append(f"{self.damaged} damaged entries of the cache {self.path} were left out and made again")
        return tuple(said)

    def find(self, texts: Iterable[str]) -> dict[str, Entry]:
        """The texts that are there, with their vectors."""
        found: dict[str, Entry] = {}
        for few in chunks(dict.fromkeys(texts), _AT_ONCE):
            names = {_key(text): text for text in few}
            for key, *stored in self._select(list(names)):
                entry = _entry(key, *stored, dim=self.dim)
                if entry is None:
                    self.damaged += 1
                else:
                    found[names[key]] = entry
        return found

    def put(self, texts: Sequence[str], entries: Sequence[Entry]) -> None:
        """Keep the vectors of some texts, all or none."""
        rows = [_row(_key(text), entry) for text, entry in zip(texts, entries, strict=True)]
        with self._told(), self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?)", rows)

    def _select(self, keys: list[bytes]) -> list[tuple[bytes, int, int, bytes, bytes]]:
        marks = ",".join("?" * len(keys))
        with self._told():
            try:
                return self._connection.execute(f"SELECT * FROM vectors WHERE key IN ({marks})", keys).fetchall()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._rebuild()
                return []

    def _open(self, said: str) -> sqlite3.Connection:
        self._said = said
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._remove()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_WAIT)
        try:
            with connection:
                connection.execute(_TABLE)
                connection.execute("CREATE TABLE IF NOT EXISTS about (description TEXT PRIMARY KEY)")
                connection.execute("INSERT OR IGNORE INTO about VALUES (?)", [self._said])
        except BaseException:
            connection.close()
            raise
        return connection

    def _rebuild(self) -> None:
        self._connection.close()
        self._remove()
        self._connection = self._connect()

    def _remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
        self.rebuilt = True

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise OutputError(
                f"Could not keep vectors in the cache {str(self.path)!r}: {error}. {_advice(error)}"
            ) from error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _advice(error: Exception) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == errno.ENOSPC:
        return "The disk is full: make room, give another folder with --cache, or --no-cache. What was kept is whole."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"Another process has held it for {_WAIT:.0f} s; wait for it, or give another folder with --cache."
    return "Give a folder you can write to with --cache, or --no-cache."


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _checksum(key: bytes, n_tokens: int, n_tokens_full: int, vector: bytes) -> bytes:
    counts = f"{n_tokens} {n_tokens_full} ".encode()
    return hashlib.blake2b(key + counts + vector, digest_size=8).digest()


def _row(key: bytes, entry: Entry) -> tuple[bytes, int, int, bytes, bytes]:
    vector = np.ascontiguousarray(entry.vector, dtype="<f4").tobytes()
    counts = int(entry.n_tokens), int(entry.n_tokens_full)
    return key, *counts, vector, _checksum(key, *counts, vector)


def _entry(
    key: bytes, n_tokens: object, n_tokens_full: object, vector: object, checksum: object, *, dim: int
) -> Entry | None:
    """The entry of a stored row, or None where anything about it is wrong."""
    if not (isinstance(n_tokens, int) and isinstance(n_tokens_full, int) and isinstance(vector, bytes)):
        return None
    if len(vector) != 4 * dim or checksum != _checksum(key, n_tokens, n_tokens_full, vector):
        return None
    return Entry(np.frombuffer(vector, "<f4").astype(np.float32), n_tokens, n_tokens_full)
