"""What the files of a model folder say of the model in words and numbers: its config, and where texts are cut."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Entries = dict[str, Any]

TOKENIZER = "tokenizer_config.json"

_LIMITS = "sentence_*_config.json"
"""Files of sentence-transformers with an entry `max_seq_length`; their name depends on the release that wrote them."""


def edit_config(path: Path, before: Entries, after: Entries) -> None:
    """Put into config.json what a fold changed, and leave every other entry as it was.

    Args:
        path: of the source's own config.json, copied.
        before, after: the config as transformers gives it, of the model as it was and as it is.
    """
    config = _read(path)
    turned = {"rope_parameters"} if _tell_rotations(config, before, after) else set()
    _apply_changes(config, before, {key: value for key, value in after.items() if key not in turned})
    _write(path, config)


def set_limit(folder: Path, max_tokens: int) -> None:
    """Let sentence-transformers cut texts at another number of tokens, and whoever reads the tokenizer alone.

    It stands in one file or two, and every one that has it is changed; where none has, it goes to the tokenizer's.

    Args:
        folder: of the transformer.
        max_tokens: special tokens in.
    """
    for path in folder.glob(_LIMITS):
        entries = _read(path)
        if entries.get("max_seq_length") is not None:
            _write(path, {**entries, "max_seq_length": max_tokens})
    path = folder / TOKENIZER
    _write(path, {**(_read(path) if path.exists() else {}), "model_max_length": max_tokens})


def _tell_rotations(config: Entries, before: Entries, after: Entries) -> bool:
    """Write changed rotary parameters whole, under the keys that the file has: those of transformers 5, or of before.

    Half a set of them would be filled up with defaults, and a reader of older releases knows the older keys alone.
    """
    old, new = before.get("rope_parameters"), after.get("rope_parameters")
    if old == new or not isinstance(new, dict):
        return False
    by_layer = any(isinstance(value, dict) for value in new.values())
    if "rope_parameters" in config or by_layer:
        config["rope_parameters"] = new
    else:
        config.update(_older(new))
    return True


def _older(parameters: Mapping[str, Any]) -> Entries:
    """Rotary parameters as releases before transformers 5 have them: the base for itself, what scales it beside it."""
    scaling = {key: value for key, value in parameters.items() if key not in ("rope_theta", "partial_rotary_factor")}
    scaled = scaling.get("rope_type", "default") != "default"
    return {"rope_theta": parameters["rope_theta"], **({"rope_scaling": scaling} if scaled else {})}


def _apply_changes(config: Entries, before: Entries, after: Entries) -> None:
    for key, value in after.items():
        if isinstance(value, dict) and isinstance(before.get(key), dict):
            nested = config.get(key, {})
            _apply_changes(nested, before[key], value)
            if nested:
                config[key] = nested
        elif before.get(key) != value:
            config[key] = value


def _read(path: Path) -> Entries:
    entries: Entries = json.loads(path.read_text(encoding="utf-8"))
    return entries


def _write(path: Path, entries: Entries) -> None:
    path.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
