"""Hugging Face datasets on disk: what `save_to_disk` left in a folder, and which data files are its rows.

The format is small and open: state.json names the data files in the order of the rows, and these are Arrow streams. It
is read here without the library `datasets`, so that nothing is imported for it and nothing that a dataset names runs.
"""

import json
from pathlib import Path, PurePath
from typing import Any, TypeGuard

from uncollapse.errors import CorpusError

STATE, INFO = "state.json", "dataset_info.json"
"""The two files that make a folder a dataset."""

SPLITS = "dataset_dict.json"
"""The file of a DatasetDict, whose splits are folders beside it."""

END_MARK = b"\xff\xff\xff\xff\0\0\0\0"
"""What an Arrow stream ends with; without it, a stream cut off between two batches looks like a shorter one."""

SAVE_AGAIN = "Copy the folder again from where it is whole, or save the dataset anew with save_to_disk."


def is_dataset(folder: Path) -> bool:
    """Whether a folder is what `Dataset.save_to_disk` writes."""
    return all((folder / name).is_file() for name in (STATE, INFO))


def is_dataset_dict(folder: Path) -> bool:
    """Whether a folder is what `DatasetDict.save_to_disk` writes."""
    return not is_dataset(folder) and (folder / SPLITS).is_file()


def find_dataset(folder: Path) -> Path | None:
    """The dataset that a folder is, or whose only split it holds; None for a folder of another kind.

    Raises:
        CorpusError: several splits, none, or a damaged dataset_dict.json.
    """
    if is_dataset(folder):
        return folder
    return _only_split(folder) if is_dataset_dict(folder) else None


def dataset_name(folder: Path) -> str:
    """The name of the folder, and before it that of the DatasetDict that it is a split of."""
    whole = folder.resolve()
    return f"{whole.parent.name}/{whole.name}" if is_dataset_dict(whole.parent) else whole.name or str(folder)


def check_complete(folder: Path) -> None:
    """Raise if a folder is a part of a dataset: it has Arrow files, and not both of the files that name them."""
    if not any(folder.glob("*.arrow")):
        return
    there = [name for name in (STATE, INFO) if (folder / name).is_file()]
    raise CorpusError(
        f"{folder}: expected {STATE} and {INFO} beside the .arrow files, as Dataset.save_to_disk writes them, got "
        f"{'only ' + there[0] if there else 'neither'}. {SAVE_AGAIN}"
    )


def data_files(folder: Path) -> tuple[Path, ...]:
    """The data files of a dataset, in the order of its rows; each is there and whole to its end.

    Raises:
        CorpusError: a damaged state.json, a data file that is missing or cut off, or rows in an order of their own.
    """
    state = _read_object(folder / STATE)
    if any("indices" in key and value for key, value in state.items()):
        raise CorpusError(
            f"{folder / STATE}: expected data files that hold the rows in their order, got a list of rows beside "
            "them, as early releases of `datasets` saved a selection. Save it anew: flatten_indices(), save_to_disk."
        )
    files = tuple(folder / name for name in _names(state.get("_data_files"), folder / STATE))
    for file in files:
        _check_whole(file)
    return files


def _names(listed: object, place: Path) -> list[str]:
    if isinstance(listed, list):
        names = [entry.get("filename") if isinstance(entry, dict) else None for entry in listed]
        plain = [name for name in names if _is_plain(name)]
        if len(plain) == len(names):
            return plain
    raise CorpusError(
        f"{place}: expected _data_files, a list of names of files in the same folder, got {listed!r:.100}. "
        f"{SAVE_AGAIN}"
    )


def _is_plain(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and name not in ("", "..") and PurePath(name).name == name


def _check_whole(file: Path) -> None:
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - len(END_MARK)))
            whole = stream.read() == END_MARK
    except OSError as error:
        raise CorpusError(
            f"{file}: expected the data file that {STATE} names, got {error.strerror!r}. {SAVE_AGAIN}"
        ) from error
    if not whole:
        raise CorpusError(f"{file}: expected an Arrow stream to its end mark, got one that is cut off. {SAVE_AGAIN}")


def _only_split(folder: Path) -> Path:
    splits: object = _read_object(folder / SPLITS).get("splits")
    if not isinstance(splits, list) or not splits or not all(map(_is_plain, splits)):
        raise CorpusError(f"{folder / SPLITS}: expected the names of splits, got {splits!r:.100}. {SAVE_AGAIN}")
    there: list[Path] = [folder / name for name in splits if is_dataset(folder / name)]
    if len(splits) > 1 and there:
        raise CorpusError(
            f"{folder}: expected one dataset, got a DatasetDict of {len(splits)} splits: {', '.join(splits)}. Name "
            f"the folder of one, such as {there[0]}"
        )
    if not there:
        raise CorpusError(
            f"{folder}: expected a folder with {STATE} and {INFO} for each split of {SPLITS} ({', '.join(splits)}), "
            f"got none. {SAVE_AGAIN}"
        )
    return there[0]


def _read_object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise CorpusError(f"{file}: expected a file that can be read, got {error.strerror!r}. {SAVE_AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{file}: expected JSON, as save_to_disk writes it, got {error}. {SAVE_AGAIN}") from error
    if not isinstance(value, dict):
        raise CorpusError(f"{file}: expected a JSON object, got {value!r:.100}. {SAVE_AGAIN}")
    return value
