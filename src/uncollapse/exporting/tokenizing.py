"""The files by which other programs cut texts into tokens for an exported graph, and know what it is."""

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from uncollapse.encoders import SentenceEncoder
from uncollapse.encoders.exported import TOKENIZER
from uncollapse.encoders.sentence import NO_LIMIT
from uncollapse.errors import ModelError

TOKENIZER_CONFIG, CONFIG = "tokenizer_config.json", "config.json"

_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

_OF_THE_SOURCE = ("auto_map", "_name_or_path", "quantization_config")
"""What a configuration says of code, places and weights that an exported folder does not have."""


def write_tokenizer(stock: SentenceEncoder, part: Path) -> None:
    """Write tokenizer.json, which also cuts and pads as the model's own module does, and what it says by its side.

    Args:
        stock: the model; its tokenizer is a fast one.
        part: the new folder.
    """
    given: Any = stock.model.tokenizer
    tokenizer = Tokenizer.from_str(given.backend_tokenizer.to_str())
    tokenizer.enable_padding(
        direction=given.padding_side,
        pad_id=given.pad_token_id,
        pad_type_id=given.pad_token_type_id,
        pad_token=given.pad_token,
    )
    tokenizer.no_truncation()
    if stock.max_tokens < NO_LIMIT:
        tokenizer.enable_truncation(stock.max_tokens, direction=given.truncation_side)
    # its own `save` says nothing of what was wrong with the disk
    (part / TOKENIZER).write_text(tokenizer.to_str(pretty=True), encoding="utf-8", newline="\n")
    _write_json(part / TOKENIZER_CONFIG, _describe(given, stock.max_tokens))


def _describe(given: Any, max_tokens: int) -> dict[str, Any]:
    """What transformers, fastembed and transformers.js ask of a tokenizer beside its tokenizer.json.

    The class is the general one, which takes tokenizer.json as it is, where a program does not choose another by
    itself.
    """
    limit = {"model_max_length": max_tokens} if max_tokens < NO_LIMIT else {}
    special = {name: str(token) for name in _SPECIAL if (token := getattr(given, name, None)) is not None}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **limit,
        **special,
        "padding_side": given.padding_side,
        "truncation_side": given.truncation_side,
        "clean_up_tokenization_spaces": False,
    }


def write_config(stock: SentenceEncoder, part: Path) -> None:
    """Write config.json, the transformer's own, without what names code or places that are not in the folder.

    Args:
        stock: the model.
        part: the new folder.

    Raises:
        ModelError: a config that JSON cannot hold.
    """
    told = _without(stock.model[0].model.config.to_diff_dict())
    _write_json(part / CONFIG, {**told, "pad_token_id": stock.model.tokenizer.pad_token_id})


def _without(told: Any) -> Any:
    """The same, inner configs too, without the entries that speak of the source."""
    if isinstance(told, dict):
        return {name: _without(value) for name, value in told.items() if name not in _OF_THE_SOURCE}
    return [_without(value) for value in told] if isinstance(told, list | tuple) else told


def _write_json(file: Path, data: dict[str, Any]) -> None:
    try:
        text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelError(f"Expected what JSON can hold in the {file.name} of the model, got {error}.") from error
    file.write_text(text + "\n", encoding="utf-8", newline="\n")
