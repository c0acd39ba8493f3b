"""From what the user names (file, folder, glob, BEIR folder, dataset, `docstrings`) to the corpus it stands for."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from uncollapse.corpora.docstrings import read_docstrings
from uncollapse.corpora.formats import read_file
from uncollapse.corpora.lines import DataFile
from uncollapse.corpora.saved_datasets import (
    check_complete,
    data_files,
    dataset_name,
    find_dataset,
    is_dataset,
    is_dataset_dict,
)
from uncollapse.corpora.texts import Corpus, Items, ReadingOptions
from uncollapse.errors import CorpusError, nearest

DOCSTRINGS = "docstrings"

KINDS = {
    ".txt": "document",
    ".md": "document",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
SUPPORTED = ".txt, .md, .jsonl, .json (one object a line), .csv, .tsv (all of these also as .gz) and .parquet"
FORMS = (
    "A corpus is a file, a folder, a quoted glob, a BEIR folder, a Hugging Face dataset on disk or the word "
    f"{DOCSTRINGS!r}."
)

BEIR_FILES = ("corpus.jsonl", "corpus.jsonl.gz")
BEIR_QUERIES = ("queries.jsonl", "queries.jsonl.gz")
ABOUT_FILES = ("readme", "license", "licence")

NAMES_SHOWN = 10


@dataclass(frozen=True)
class _Source:
    """What is read: the files, and how to speak of them."""

    name: str
    description: str
    files: tuple[DataFile, ...]
    notes: tuple[str, ...] = ()
    title_field: str | None = None
    root: Path | None = None


def open_corpus(
    source: str | Path,
    *,
    text_field: str | None = None,
    id_field: str | None = None,
    skip_bad: bool = False,
    limit: int | None = None,
    max_characters: int = 10_000_000,
    sample: int | None = None,
    seed: int = 0,
) -> Corpus:
    """Open a corpus for reading; texts stream, and every `iter()` reads them anew.

    What `source` may be:

    * a file: .txt (one text a line that is not blank), .md (one text), .jsonl or .json (one JSON object a line),
      .csv (standard dialect) or .tsv (quotes are ordinary characters), both with a header, .parquet; all but
      parquet also with .gz;
    * a folder or a quoted glob (`**` crosses folders) of such files, in sorted order; here a .txt file is one
      text. A folder that also holds records (jsonl, csv, tsv, parquet) leaves its README and LICENSE files out;
    * a BEIR folder, told by its corpus.jsonl[.gz]: a title comes before the text, with a line feed between, unless
      `text_field` names what to read;
    * a Hugging Face dataset on disk: a folder that `Dataset.save_to_disk` wrote, told by its state.json and
      dataset_info.json. Of a DatasetDict name one split, FOLDER/train; the only split is taken by itself. The library
      `datasets` is not needed;
    * the word `docstrings`: documentation strings of the installed packages, the first sentence as the query.
      They come in an order that mixes the packages, so that a `limit` takes some of each.

    Ids are kept; a record without one gets "<file>:<line>" ("<file>:<row>" in parquet, "<folder>:<row>" in a saved
    dataset), a file that is one text its name. Blank texts (white space, control characters and characters without
    width alone) are always left out and counted in `corpus.skipped`.

    Args:
        source: file, folder, glob or `docstrings` (write ./docstrings for a folder of that name).
        text_field: field with the text; by default the first of text, body, content, passage, document.
        id_field: field with the id; by default the first of _id, id, doc_id, docid, if there is one.
        skip_bad: count bad records in `corpus.skipped` and go on, instead of an error at the first.
        limit: stop after this many texts, which are then the first in the order of the corpus.
        max_characters: a longer text is a bad record.
        sample: read this many texts drawn at random, by a hash of their ids; takes one more pass over the corpus.
        seed: of the sample.

    Raises:
        CorpusError: nothing there, nothing readable, no text field, no text, or a bad record (while reading).

    >>> corpus = open_corpus("docstrings", limit=2)
    >>> [text.query is not None and len(text.text.split()) >= 5 for text in corpus]
    [True, True]
    """
    options = ReadingOptions(text_field, id_field, skip_bad, limit, max_characters, sample=sample, seed=seed)
    if str(source) == DOCSTRINGS:
        return _docstrings(options)
    corpus = _files(str(source), options)
    corpus.check_first()
    return corpus


def find_corpus(source: str | Path) -> None:
    """Raise if nothing is there that `open_corpus` could open; no text is read.

    Args:
        source: as for `open_corpus`.

    Raises:
        CorpusError: nothing there, or nothing of a known kind.
    """
    if str(source) != DOCSTRINGS:
        _find(str(source))


def _docstrings(options: ReadingOptions) -> Corpus:
    if options.text_field or options.id_field:
        raise CorpusError(f"{DOCSTRINGS!r} has no fields to choose, but a text_field or id_field came. Leave it out.")
    return Corpus(
        DOCSTRINGS,
        "documentation strings of the installed packages and the standard library, without their first sentence",
        records=read_docstrings,
        options=options,
        notes=("the first sentence of each documentation string is its query; equal texts are read once",),
    )


def _files(source: str, options: ReadingOptions) -> Corpus:
    found = _find(source)
    field = options.text_field or options.id_field
    if field and all(file.kind in ("document", "lines") for file in found.files):
        raise CorpusError(
            f"{source}: expected records with a field {field!r}, got plain text. Do not name a field here."
        )
    title = None if options.text_field else found.title_field
    reading = replace(options, title_field=title)
    description = f"{found.description}{', titles before the texts' if title else ''}"

    def records() -> Items:
        for file in found.files:
            yield from read_file(file, reading)

    return Corpus(found.name, description, records=records, options=reading, notes=found.notes, root=found.root)


def _find(source: str) -> _Source:
    path = Path(source).expanduser()
    if source.strip() and path.is_dir():
        if saved := find_dataset(path):
            return _saved(saved, path)
        beir = next((path / name for name in BEIR_FILES if (path / name).is_file()), None)
        return _beir(path, beir) if beir else _folder(path)
    if path.is_file():
        return _single(path)
    if glob.has_magic(source):
        return _glob(source)
    if source.strip() and path.exists():
        raise CorpusError(f"{source}: expected a regular file or a folder, got a device or pipe. Save it to a file.")
    raise _not_there(source, path)


def _single(path: Path) -> _Source:
    suffix = _suffix(path)
    if suffix not in KINDS:
        if is_dataset(path.parent):
            raise CorpusError(
                f"{path}: expected a corpus, got a file of a dataset on disk. Name {path.parent} instead."
            )
        raise CorpusError(f"{path}: expected a file of a known kind, got {path.name!r}. Supported: {SUPPORTED}.")
    kind = "lines" if suffix == ".txt" else KINDS[suffix]
    how = {"lines": "one text a line", "document": "one text", "json": "JSON lines"}.get(kind, f"{kind} table")
    notes = ("titles are not read; open the folder to put them before the texts",) if path.name in BEIR_FILES else ()
    return _Source(path.name, f"{path.name}: {how}", (DataFile(path, path.name, kind),), notes)


def _saved(dataset: Path, named: Path) -> _Source:
    name, n_files = dataset_name(dataset), len(data_files(dataset))
    how = f"Hugging Face dataset {name}: {n_files} data {'file' if n_files == 1 else 'files'}"
    notes = () if dataset == named else (f"read is {dataset.name}, the only split of {_name(named)}",)
    return _Source(name, how, (DataFile(dataset, name, "dataset"),), notes)


def _beir(folder: Path, file: Path) -> _Source:
    name = _name(folder)
    files = (DataFile(file, file.name, "json"),)
    return _Source(name, f"BEIR folder {name}: {file.name}", files, title_field="title")


def _folder(folder: Path) -> _Source:
    check_complete(folder)
    name = _name(folder)
    found = _many(name, f"folder {name}", root=folder, paths=_walk(folder), chosen=False)
    return replace(found, root=folder)


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if is_dataset(Path(parent)) or is_dataset_dict(Path(parent)):
            raise CorpusError(
                f"{folder}: expected files, got a folder with a dataset on disk in it. A dataset is read alone: name "
                f"{parent}, or move it elsewhere."
            )
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _glob(pattern: str) -> _Source:
    pattern = str(Path(pattern).expanduser())
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    found = glob.iglob(pattern, recursive=True)  # noqa: PTH207 - Path.glob has no shell rules for ** and hidden files
    paths = {path for path in map(Path, found) if path.is_file()}
    if not paths:
        raise CorpusError(
            f"Expected files that match {pattern!r}, got none under {root.absolute()}. "
            "Quote the pattern so that the shell leaves it alone, and write ** to cross folders."
        )
    name = Path(root.name, *parts[fixed:]).as_posix()
    many = _many(name, f"glob {name}", root=root, paths=paths, chosen=True)
    return replace(many, root=root if len(parts) > fixed + 1 else None)  # else it names files of one folder alone


def _many(name: str, where: str, *, root: Path, paths: Iterable[Path], chosen: bool) -> _Source:
    """Sorted files of known kinds; `chosen` ones were named by the user, so README files are texts, too."""
    ordered = sorted(paths, key=lambda path: path.parts)
    known = [path for path in ordered if _suffix(path) in KINDS]
    others = Counter(path.suffix or path.name for path in ordered if _suffix(path) not in KINDS)
    if not known:
        there = f"only {_list(others.elements())}" if others else "no file at all"
        raise CorpusError(f"{where}: expected files of a known kind, got {there}. Supported: {SUPPORTED}.")
    about = [] if chosen or all(map(_is_document, known)) else list(filter(_is_about, known))
    kept = sorted(set(known).difference(about), key=lambda path: path.parts)
    notes = [f"left out, being about the corpus: {_list(path.name for path in about)}"] if about else []
    notes += [f"left out, being of another kind: {_list(others.elements())}"] if others else []
    files = (DataFile(path, path.relative_to(root).as_posix(), KINDS[_suffix(path)]) for path in kept)
    return _Source(name, f"{where}: {_count(kept)}", tuple(files), tuple(notes))


def _suffix(path: Path) -> str:
    """The suffix that tells the kind of a file, in small letters; a final .gz is looked through."""
    suffixes = [suffix.lower() for suffix in path.suffixes] or [""]
    packed = suffixes[-1] == ".gz" and len(suffixes) > 1 and suffixes[-2] != ".parquet"
    return suffixes[-2] if packed else suffixes[-1]


def _is_document(path: Path) -> bool:
    return KINDS[_suffix(path)] == "document"


def _is_about(path: Path) -> bool:
    return _is_document(path) and path.name.lower().startswith(ABOUT_FILES)


def _count(paths: list[Path]) -> str:
    how = "; a .txt or .md file is one text" if any(map(_is_document, paths)) else ""
    return f"{len(paths)} {'file' if len(paths) == 1 else 'files'} ({_list(map(_suffix, paths))}){how}"


def _list(names: Iterable[str]) -> str:
    """
    >>> _list([".md", ".txt", ".md"])
    '2 x .md, .txt'
    """
    counts = Counter(names).most_common()
    shown = ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts[:NAMES_SHOWN])
    return shown + (", ..." if len(counts) > NAMES_SHOWN else "")


def _name(folder: Path) -> str:
    return folder.resolve().name or str(folder)


def _not_there(source: str, path: Path) -> CorpusError:
    missing, parent = path.name, path.parent
    while not parent.is_dir():
        missing, parent = parent.name, parent.parent
    names = sorted(entry.name for entry in parent.iterdir() if not entry.name.startswith("."))
    names += [DOCSTRINGS] if path.name == source else []
    near = get_close_matches(missing, names, n=NAMES_SHOWN, cutoff=0.5) or names[:NAMES_SHOWN]
    there = nearest(missing, near, f"Some names in {parent.absolute()}")
    return CorpusError(f"Expected a file or folder, got {source!r}, of which there is none. {there} {FORMS}")
