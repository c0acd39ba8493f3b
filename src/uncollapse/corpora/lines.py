"""Lines of a file, plain or gzip, of bounded length, with what is wrong with each."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from uncollapse.corpora.texts import TOO_LONG, Bad, Place

BOM = b"\xef\xbb\xbf"
UTF_16 = b"\xff\xfe"
"""The two bytes that a file in UTF-16 begins with, in the one order or the other; neither is ever part of UTF-8."""

READ_ERRORS = (OSError, EOFError, zlib.error)
"""What opening and reading a plain or gzip file may raise."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a corpus: where it is, how ids name it, and what it holds (a key of `formats.READERS`)."""

    path: Path
    name: str
    kind: str

    def open(self) -> BinaryIO:
        """The bytes, decompressed where the name ends in .gz."""
        if self.path.suffix.lower() == ".gz":
            return cast("BinaryIO", gzip.open(self.path, "rb"))
        return self.path.open("rb")

    def at(self, line: int | None = None) -> Place:
        return Place(self.path, self.name, line)


@dataclass(frozen=True, slots=True)
class Line:
    """One line with its end. Where `bad` is set, `text` holds what could be read of it."""

    number: int
    text: str
    bad: Bad | None = None


def read_lines(file: DataFile, max_bytes: int) -> Iterator[Line]:
    """Lines of a file, split at line feeds only; a file that breaks off ends in a bad line."""
    number = offset = 0
    try:
        with file.open() as stream:
            while raw := stream.readline(max_bytes + 1):
                number += 1
                size = len(raw)
                if size > max_bytes and not raw.endswith(b"\n"):
                    size += _drain(stream)
                    yield Line(number, "", _too_long(file.at(number), size))
                else:
                    yield _decode(file.at(number), number, raw, offset)
                offset += size
    except READ_ERRORS as error:
        yield Line(number + 1, "", unreadable(file.at(number + 1), error))


def read_all(file: DataFile, max_bytes: int) -> str | Bad:
    """The whole file as one text."""
    try:
        with file.open() as stream:
            raw = stream.read(max_bytes)
            if stream.read(1):
                return _too_long(file.at(), max_bytes + 1)
    except READ_ERRORS as error:
        return unreadable(file.at(), error)
    bom = len(BOM) if raw.startswith(BOM) else 0
    try:
        return raw[bom:].decode()
    except UnicodeDecodeError as error:
        start = bom + error.start
        return invalid_utf8(file.at(raw.count(b"\n", 0, start) + 1), raw[start], start)


def unreadable(place: Place, error: Exception) -> Bad:
    """A file that cannot be opened or breaks off."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, EOFError | zlib.error | gzip.BadGzipFile):
        message = f"expected gzip data that is whole, got {said!r}. The file is cut off or damaged: fetch it again."
        return Bad("broken gzip", place, message)
    return Bad("unreadable file", place, f"expected a file that can be read, got {said!r}.")


def _decode(place: Place, number: int, raw: bytes, offset: int) -> Line:
    bom = len(BOM) if offset == 0 and raw.startswith(BOM) else 0
    try:
        return Line(number, raw[bom:].decode())
    except UnicodeDecodeError as error:
        start = bom + error.start
        # a csv reader still needs the line to see where the record ends; the record itself is left out
        return Line(number, raw[bom:].decode(errors="replace"), invalid_utf8(place, raw[start], offset + start))


def invalid_utf8(place: Place, byte: int, offset: int) -> Bad:
    """Bytes that are no UTF-8; `offset` counts from 0 in the (decompressed) file."""
    found = f"expected UTF-8, got byte 0x{byte:02x} at byte offset {offset}"
    message = (
        f"{found}, as UTF-16 begins. Save the file as UTF-8, for instance with: iconv -f UTF-16 -t UTF-8 FILE."
        if offset == 0 and place.line in (None, 1) and byte in UTF_16
        else f"{found}. Convert the file, for instance with: iconv -f LATIN1 -t UTF-8 FILE."
    )
    return Bad("invalid UTF-8", place, message)


def _drain(stream: BinaryIO) -> int:
    size = 0
    while piece := stream.readline(2**20):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


def _too_long(place: Place, size: int) -> Bad:
    what = "file" if place.line is None else "line"
    message = f"expected a text within max_characters, got a {what} of {size:,} bytes. Raise max_characters if meant."
    return Bad(TOO_LONG, place, message)
