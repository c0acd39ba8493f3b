"""Folders that vectors are written into: what may be gone on with, what is refused, and what is taken away."""

import re
from pathlib import Path

from uncollapse.corpora.shards import FORMATS, MANIFEST, Manifest, faulty_shard, is_vector_folder, read_manifest
from uncollapse.errors import OutputError
from uncollapse.leftovers import is_leftover
from uncollapse.writing import LOCK, whole_file

_SUFFIXES = tuple(suffix for writers in FORMATS.values() for suffix in writers)
_SHARD = re.compile(rf"vectors-\d{{5,}}({'|'.join(map(re.escape, _SUFFIXES))})")


def shard_file(folder: Path, number: int, suffix: str) -> Path:
    """A file of a shard."""
    return folder / f"vectors-{number:05}{suffix}"


def check_folder(folder: Path) -> None:
    """Raise if something lies there that is no folder.

    Raises:
        OutputError: a file.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"The output {str(folder)!r} is a file. Give a folder.")


def check_outside(folder: Path, source: Path | None, what: str) -> None:
    """Refuse to write vectors where they would be taken for a part of what they are made from.

    Args:
        folder: of the vectors.
        source: every file below it counts; None where there is none.
        what: that is.

    Raises:
        OutputError: the one is in the other.
    """
    if source is not None and folder.resolve().is_relative_to(source.resolve()):
        raise OutputError(
            f"The output {str(folder)!r} lies in the {what} {str(source)!r}, so vectors would change what they are "
            "made from, and no run could go on with them. Give a folder outside."
        )


def find_vectors(folder: Path, begun: Manifest, *, force: bool, repair: bool = False) -> Manifest:
    """The manifest to go on with: what is in the folder, or an empty one.

    Args:
        folder: that vectors are to be written into.
        begun: an empty manifest of what is to be written.
        force: begin anew, whatever is there.
        repair: whether shards may be other than they were written.

    Raises:
        OutputError: vectors that were made otherwise, a shard that was changed, or anything else.
    """
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK and not is_leftover(path))
    if force or not others:
        return begun
    if not is_vector_folder(folder):
        lost = f"vectors of which no {MANIFEST} that can be read says what made them"
        raise OutputError(
            f"The output folder {str(folder)!r} is not empty ({', '.join(others[:3])}) and holds "
            f"{lost if holds_vectors(folder) else 'no vectors'}. Give "
            "another, or --force (force=True) to write into it."
        )
    there = read_manifest(folder)
    if there.fingerprint != begun.fingerprint:
        raise OutputError(
            f"The folder {str(folder)!r} holds vectors that were made otherwise: {_differences(there, begun)}. "
            "Vectors of two kinds are not mixed. Give another folder, or begin anew with --force (force=True)."
        )
    if not repair and (place := faulty_shard(folder, there.shards)):
        raise OutputError(
            f"The shard {str(place)!r} is {'changed' if place.is_file() else 'gone'} since it was written. "
            "Put it back, make it anew with --repair (repair=True), or begin anew with --force (force=True)."
        )
    return there


def _differences(there: Manifest, begun: Manifest) -> str:
    """Names of what differs between two ways to make vectors."""
    pairs = {**{key: (there.made.get(key), value) for key, value in begun.made.items()}}
    pairs["format"] = (there.format, begun.format)
    said = []
    for key, (old, new) in pairs.items():
        if isinstance(new, dict) and isinstance(old, dict):
            said += [f"{key} {part} {old.get(part)} and now {new[part]}" for part in new if old.get(part) != new[part]]
        elif old != new:
            said.append(f"{key} {old} and now {new}")
    return "; ".join(said) or "by another version of this package"


def holds_vectors(folder: Path) -> bool:
    """Whether there is a manifest or a file with the name of a shard, whatever they hold."""
    return bool(_vectors(folder)) or (folder / MANIFEST).exists()


def _vectors(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _SHARD.fullmatch(path.name))


def remove_vectors(folder: Path) -> None:
    """Take away the vectors of another run: the shards first, so that what a kill leaves is still told as theirs.

    Raises:
        OutputError: they cannot be removed.
    """
    try:
        for place in (*_vectors(folder), folder / MANIFEST):
            place.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Could not remove the vectors in {str(folder)!r}: {error}. Give another folder.") from error


def remove_leftovers(folder: Path) -> None:
    """Take away what killed runs had begun to write, in whatever format."""
    for path in folder.iterdir():
        if path.name.startswith((".vectors-", f".{MANIFEST}.")) and is_leftover(path):
            path.unlink(missing_ok=True)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write a manifest, whole or not at all."""
    with whole_file(folder / MANIFEST) as part:
        part.write_text(manifest.to_json() + "\n", encoding="utf-8", newline="\n")
