"""Vectors kept on disk, so that a text is encoded once for each model and fix."""

import errno
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt
import platformdirs
from filelock import FileLock, Timeout

from uncollapse.errors import OutputError
from uncollapse.records import chunks

FORMAT = 1
"""Grows when files of an older layout can no longer be read; they are then not found."""

_WAIT = 60.0  # seconds for another process to finish a write
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_POLL = 0.01  # seconds between two tries to get the lock
_AT_ONCE = 500  # keys a query; SQLite's oldest limit is 999
_TABLE = """
CREATE TABLE IF NOT EXISTS vectors (
    key BLOB PRIMARY KEY, n_tokens INTEGER NOT NULL, n_tokens_full INTEGER NOT NULL,
    vector BLOB NOT NULL, checksum BLOB NOT NULL
)
"""

T = TypeVar("T")
Stored = tuple[bytes, object, object, object, object]


def default_folder() -> Path:
    """Where vectors are kept unless told otherwise: the user's cache folder."""
    return platformdirs.user_cache_path("uncollapse", appauthor=False) / "vectors"


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Vectors of some texts and their token counts, a row a text.

    Args:
        vectors: float32 [texts, dim].
        n_tokens: int64 [texts], after truncation.
        n_tokens_full: int64 [texts], before truncation.
    """

    vectors: npt.NDArray[np.float32]
    n_tokens: npt.NDArray[np.int64]
    n_tokens_full: npt.NDArray[np.int64]

    @classmethod
    def blank(cls, n: int, dim: int) -> Self:
        """Room for `n` texts, to be filled."""
        return cls(np.empty((n, dim), np.float32), np.empty(n, np.int64), np.empty(n, np.int64))

    def fill(self, rows: Sequence[int], other: Self) -> None:
        """Write another block into some rows."""
        self.vectors[rows] = other.vectors
        self.n_tokens[rows], self.n_tokens_full[rows] = other.n_tokens, other.n_tokens_full

    def repeat(self, places: Sequence[int]) -> None:
        """Make row i a copy of row `places[i]`, which is a copy of itself."""
        wanted = np.array(places, dtype=np.int64)
        moved = np.flatnonzero(wanted != np.arange(len(wanted)))
        first = wanted[moved]
        self.vectors[moved] = self.vectors[first]
        self.n_tokens[moved], self.n_tokens_full[moved] = self.n_tokens[first], self.n_tokens_full[first]


class Shelf:
    """The cached vectors of one model under one fix: an SQLite file, which other processes may use at the same time.

    A write is a transaction under a lock: after a kill at any moment the file holds what was put before, whole. Every
    entry has a checksum; one that does not match, or has another size than the model's vectors, counts as missing. A
    file that SQLite finds damaged is started anew, under the same lock and after a second look, so that no process
    takes away the healthy file of another. `notes` says what was found damaged. A complete file can be read where
    nothing can be written.

    Args:
        folder: made if missing.
        description: everything that decides what a vector is; another description is another file.
        dim: length of a vector.

    Raises:
        OutputError: the file cannot be made, written (disk full, read-only) or is held by another process for a
            minute.
    """

    def __init__(self, folder: Path, description: Mapping[str, object], dim: int) -> None:
        self._said = json.dumps({"format": FORMAT, **description}, sort_keys=True)
        name = hashlib.blake2b(self._said.encode(), digest_size=16).hexdigest()
        self.path, self.dim, self.damaged = folder / f"{name}.sqlite", dim, 0
        self.rebuilt = False
        self._lock = FileLock(folder / f"{name}.lock", timeout=_WAIT, poll_interval=_POLL)
        self._connection: sqlite3.Connection | None = None
        with self._told():
            folder.mkdir(parents=True, exist_ok=True)
        self._mending(self._open)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know about this file."""
        said = [f"the cache {self.path} was damaged and is built anew"] if self.rebuilt else []
        if self.damaged:
            said.append(f"{self.damaged} damaged entries of the cache {self.path} were left out and made again")
        return tuple(said)

    def find(self, places: Mapping[str, int], block: Block) -> list[str]:
        """Fill in what is there, and name what is missing.

        Args:
            places: texts, with the row of each in the block.
            block: the rows of texts that are missing are left as they are.
        """
        missing: list[str] = []
        for few in chunks(places, _AT_ONCE):
            texts = {_key(text): text for text in few}
            rows = self._select(list(texts))
            sound = {row[0] for row in rows if _copy(row, block, places[texts[row[0]]])}
            self.damaged += len(rows) - len(sound)
            missing += [text for key, text in texts.items() if key not in sound]
        return missing

    def put(self, texts: Sequence[str], block: Block) -> None:
        """Keep the vectors of some texts, all or none."""
        rows = [_stored(text, block, row) for row, text in enumerate(texts)]
        self._mending(lambda: self._insert(rows))

    def _select(self, keys: list[bytes]) -> list[Stored]:
        query = f"SELECT * FROM vectors WHERE key IN ({','.join('?' * len(keys))})"
        return self._mending(lambda: self._open().execute(query, keys).fetchall())

    def _insert(self, rows: list[Stored]) -> None:
        with self._lock, self._open() as transaction:
            transaction.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?, ?)", rows)

    def _mending(self, act: Callable[[], T]) -> T:
        """Act; where the file turns out damaged or replaced, see to it and act once more."""
        with self._told():
            try:
                return act()
            except sqlite3.DatabaseError as error:
                if not (_is_damage(error) or _is_moved(error)):
                    raise
                self._mend()
                return act()

    def _mend(self) -> None:
        """Let go of the file, and remove it if it is damaged: another process may have built it anew by now."""
        with self._lock:
            self._close()
            if not _is_healthy(self.path):
                # The journal first: a new file must never find the old one's.
                self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
                self.path.unlink(missing_ok=True)
                self.rebuilt = True

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_WAIT)
        try:
            if not _is_begun(connection, self._said):
                with self._lock, connection:
                    connection.execute(_TABLE)
                    connection.execute("CREATE TABLE IF NOT EXISTS about (description TEXT PRIMARY KEY)")
                    connection.execute("INSERT OR IGNORE INTO about VALUES (?)", [self._said])
        except BaseException:
            connection.close()
            raise
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise OutputError(
                f"Could not keep vectors in the cache {str(self.path)!r}: {error}. {_advice(error)}"
            ) from error


def _is_begun(connection: sqlite3.Connection, said: str) -> bool:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"vectors", "about"} <= tables:
        return False
    return connection.execute("SELECT 1 FROM about WHERE description = ?", [said]).fetchone() is not None


def _is_healthy(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=_WAIT)) as connection:
            return bool(connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",))
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
        return False


def _is_damage(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def _is_moved(error: Exception) -> bool:
    """Whether the file at this path is no longer the one that was opened."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_READONLY_DBMOVED


def _advice(error: Exception) -> str:
    code, number = getattr(error, "sqlite_errorcode", 0) & 0xFF, getattr(error, "errno", None)
    if code == sqlite3.SQLITE_FULL or number == errno.ENOSPC:
        return "The disk is full: make room, give another folder with --cache, or --no-cache. What was kept is whole."
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or isinstance(error, Timeout):
        return f"Another process has held it for {_WAIT:.0f} s; wait for it, or give another folder with --cache."
    if code == sqlite3.SQLITE_READONLY or number in (errno.EACCES, errno.EROFS, errno.EPERM):
        return (
            "It is read-only, which is enough only where every vector is there: give a folder you can write to with "
            "--cache, or --no-cache."
        )
    return "Give a folder you can write to with --cache, or --no-cache."


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _checksum(key: bytes, n_tokens: int, n_tokens_full: int, vector: bytes) -> bytes:
    counts = f"{n_tokens} {n_tokens_full} ".encode()
    return hashlib.blake2b(key + counts + vector, digest_size=8).digest()


def _stored(text: str, block: Block, row: int) -> Stored:
    key, vector = _key(text), block.vectors[row].astype("<f4").tobytes()
    counts = int(block.n_tokens[row]), int(block.n_tokens_full[row])
    return key, *counts, vector, _checksum(key, *counts, vector)


def _copy(stored: Stored, block: Block, row: int) -> bool:
    """Copy a stored row into a block; False, and nothing is copied, where anything about it is wrong."""
    key, n_tokens, n_tokens_full, vector, checksum = stored
    if not (isinstance(n_tokens, int) and isinstance(n_tokens_full, int) and isinstance(vector, bytes)):
        return False
    if len(vector) != 4 * block.vectors.shape[1] or checksum != _checksum(key, n_tokens, n_tokens_full, vector):
        return False
    block.vectors[row] = np.frombuffer(vector, "<f4")
    block.n_tokens[row], block.n_tokens_full[row] = n_tokens, n_tokens_full
    return True
