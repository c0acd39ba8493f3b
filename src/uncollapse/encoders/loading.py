"""Load a model, and refuse one that would be measured wrongly."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import torch
import transformers
from sentence_transformers import SentenceTransformer

from uncollapse.corpora.shards import is_vector_file
from uncollapse.encoders.cache import default_folder
from uncollapse.encoders.endpoint.addresses import is_url
from uncollapse.encoders.endpoint.exchange import Sending
from uncollapse.encoders.endpoint.model import Endpoint
from uncollapse.encoders.exported import ExportedEncoder, Scorable, is_export, refuse_damaged
from uncollapse.encoders.limits import MaxTokens, set_limit
from uncollapse.encoders.protocol import TextEncoder
from uncollapse.encoders.sentence import NO_LIMIT, SentenceEncoder
from uncollapse.encoders.sources import find_source, precision, refuse_pickles, text_fix_notes
from uncollapse.encoders.vectors import VectorFile
from uncollapse.errors import ModelError, nearest

Dtype = Literal["float32", "bfloat16", "float16"]
"""What a model computes in."""


def load(
    name: str,
    *,
    max_tokens: MaxTokens = "model",
    device: str | None = None,
    batch_size: int | None = None,
    dtype: Dtype | None = None,
    trust_remote_code: bool = False,
    tokenizer: str | Path | None = None,
    cache: Path | None = None,
) -> TextEncoder:
    """Load whatever gives vectors: a model, an exported model, an endpoint, or a file of vectors.

    Args:
        name: of a model, as for `load_model`; of a folder written by `export`; a URL, `#` and a model, as for
            `Endpoint`; or a .parquet or .npy file or a folder written by `embed`, as for `VectorFile`.
        max_tokens: as for `load_model`; of an endpoint or a file only a number says anything, and "model" and "table"
            stand for no limit that is known.
        device: of a model only.
        batch_size: of a model or an endpoint: texts a forward pass, or a request.
        dtype: as for `load_model`; of a model only.
        trust_remote_code: of a model only.
        tokenizer: of an endpoint or a file only: a tokenizer.json or the folder of a model with one, to count tokens
            with; words are counted by default.
        cache: of an endpoint only: folder where its vectors are kept; the user's cache folder by default.

    Raises:
        ModelError: what cannot be loaded, or an option that would do nothing.
        CorpusError: a file of vectors that cannot be read.

    >>> load("minilm").dim  # doctest: +SKIP
    384
    """
    if is_url(name):
        _refuse("A model behind a URL", _ONLY_HERE, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        sending = Sending() if batch_size is None else Sending(texts=batch_size)
        kept = default_folder() if cache is None else cache
        return Endpoint(name, max_tokens=_number(max_tokens), tokenizer=tokenizer, cache=kept, sending=sending)
    if is_vector_file(name):
        running = {
            "device": device, "dtype": dtype, "trust_remote_code": trust_remote_code, "batch_size": batch_size,
        }  # fmt: skip
        _refuse("A file of vectors", _ONLY_HERE, **running)
        _refuse("A file of vectors", "it keeps them itself", cache=cache)
        return VectorFile(name, tokenizer=tokenizer, max_tokens=_number(max_tokens))
    if is_export(name):
        _refuse("An exported model", "it has a tokenizer, and keeps no vectors", tokenizer=tokenizer, cache=cache)
    else:
        _refuse("A model that runs here", "it has a tokenizer, and keeps no vectors", tokenizer=tokenizer, cache=cache)
    return load_scorable(
        name, max_tokens=max_tokens, device=device, batch_size=batch_size, dtype=dtype,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip


_ONLY_HERE = "only models that run here have"


def _refuse(what: str, why: str, **given: object) -> None:
    if named := [name for name, value in given.items() if value]:
        raise ModelError(f"{what} has no use for {' and '.join(named)}: {why}. Leave it out.")


def _number(max_tokens: MaxTokens) -> int | None:
    """A limit for what has no folder and no table to take one from."""
    if isinstance(max_tokens, int):
        return max_tokens
    if max_tokens in {"model", "table"}:
        return None
    raise ModelError(f"The token limit must be 'model', 'table' or a number, got {max_tokens!r}.")


def inside(encoder: TextEncoder, purpose: str) -> SentenceTransformer:
    """The model itself, for what acts inside it.

    Args:
        encoder: what gives vectors.
        purpose: what the inside is for, such as the notation of a fix.

    Raises:
        ModelError: only vectors can be seen.
    """
    model = getattr(encoder, "model", None)
    if model is None:
        raise ModelError(
            f"{purpose} acts inside a model, and of {encoder.name!r} only vectors can be seen. Load the model itself: "
            "its folder, or its name on the Hugging Face hub."
        )
    return model


def load_model(
    name: str,
    *,
    max_tokens: MaxTokens = "model",
    device: str | None = None,
    batch_size: int | None = None,
    dtype: Dtype | None = None,
    trust_remote_code: bool = False,
) -> SentenceEncoder:
    """Load a model by name.

    Args:
        name: `minilm` (bundled, offline), a folder, or a name on the Hugging Face hub.
        max_tokens: "model" keeps the limit of the model's folder; "table" raises it to what the position table holds,
            which a study of length needs; a number sets it.
        device: such as "cpu" or "cuda"; the best there is by default.
        batch_size: texts a forward pass; as many as are fast at their length by default.
        dtype: what it computes in, "float32" by default. "bfloat16" and "float16" halve memory and are faster on
            graphics cards; vectors keep two or three digits, and are float32 all the same.
        trust_remote_code: run code that comes with the model. Only if you have read it.

    Raises:
        ModelError: no such model, device or dtype, a limit beyond the position table, or weights only as pickles.
        MissingExtraError: the bundled model is not installed.

    >>> encoder = load_model("minilm", max_tokens="table")  # doctest: +SKIP
    >>> encoder.max_tokens, encoder.folder_max_tokens  # doctest: +SKIP
    (512, 256)
    """
    _refuse_black_boxes(name)
    _check_device(device)
    _check_dtype(dtype or "float32")
    source = find_source(name)
    refuse_pickles(source)
    with quiet(), _missing_weights(name):
        model = _load_model(name, source, device, dtype, trust_remote_code)
    _refuse_blank_tokenizer(model, name)
    own = model.max_seq_length
    own = None if own is None or own >= NO_LIMIT else own
    encoder = SentenceEncoder(model.eval(), name, source=source, folder_max_tokens=own, batch_size=batch_size)
    set_limit(encoder, max_tokens)
    if encoder.dtype != "float32" and model.device.type == "cpu":
        encoder.notes += (f"{name!r} runs in {dtype} on a processor; most are faster in float32, and more exact.",)
    if encoder.dtype == "float32" and (kept := precision(source)) in {"float16", "bfloat16"}:
        encoder.notes += (
            f"The weights of {name!r} are kept in {kept}; here they are taken to float32 and run in it.",
        )
    encoder.notes += text_fix_notes(name, encoder.text_fix)
    return encoder


def load_scorable(
    name: str,
    *,
    max_tokens: MaxTokens = "model",
    device: str | None = None,
    batch_size: int | None = None,
    dtype: Dtype | None = None,
    trust_remote_code: bool = False,
) -> Scorable:
    """Load what texts can be scored with: a model, or one that was exported.

    Args:
        name, max_tokens, device, batch_size, dtype, trust_remote_code: as for `load`.

    Raises:
        ModelError: what cannot be loaded, shows vectors only, or an option that would do nothing.
    """
    if not is_export(name):
        return load_model(
            name, max_tokens=max_tokens, device=device, batch_size=batch_size, dtype=dtype,
            trust_remote_code=trust_remote_code,
        )  # fmt: skip
    running = {"device": device, "dtype": dtype, "trust_remote_code": trust_remote_code}
    _refuse("An exported model", "it runs on the processor, in what it was exported in", **running)
    return ExportedEncoder(Path(name), name, max_tokens=max_tokens, batch_size=batch_size)


def _refuse_black_boxes(name: str) -> None:
    refuse_damaged(name)
    if is_export(name):
        raise ModelError(
            f"Expected a model of sentence-transformers, got {name!r}, which was exported: it can be diagnosed, "
            "evaluated and embedded with, but its inside is gone. Name the model that it was made from."
        )
    if is_url(name) or is_vector_file(name):
        raise ModelError(
            "Expected a model that can run here, its folder or its name on the Hugging Face hub, got "
            f"{'the URL of a server' if is_url(name) else 'a file of vectors'}, which only `diagnose` takes."
        )


def _check_device(device: str | None) -> None:
    there = _devices()
    if device is None or device in there:
        return
    cards = "" if len(there) > 1 else " It finds no graphics card: there is none, or this torch is not built for it."
    raise ModelError(
        f"Expected a device that torch finds here ({', '.join(there)}), got {device!r}.{cards} Leave it out for the "
        "fastest one."
    )


def _check_dtype(dtype: str) -> None:
    if dtype not in get_args(Dtype):
        raise ModelError(f"No number format {dtype!r}. {nearest(dtype, get_args(Dtype), 'Known formats')}")


def _devices() -> list[str]:
    """What a model can run on here, as torch calls it."""
    faster = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if faster is None:
        return ["cpu"]
    return ["cpu", faster.type, *(f"{faster.type}:{i}" for i in range(torch.accelerator.device_count()))]


def _load_model(
    name: str, source: Path, device: str | None, dtype: Dtype | None, trust_remote_code: bool
) -> SentenceTransformer:
    try:
        return SentenceTransformer(
            str(source),
            device=device,
            trust_remote_code=trust_remote_code,
            model_kwargs={"dtype": getattr(torch, dtype or "float32"), "use_safetensors": True},
        )
    except Exception as error:  # a foreign folder can fail anywhere in foreign code
        said = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
        hint = (
            "Give --trust-remote-code only if you have read that code."
            if "trust_remote_code" in str(error)
            else "Check that the folder is complete: config.json, *.safetensors, a tokenizer, modules.json."
        )
        raise ModelError(
            f"Expected a folder that sentence-transformers loads, got {name!r} ({source}): "
            f"{reason.rstrip('.')}. {hint}"
        ) from error


class _Report(logging.Handler):
    """Keeps what transformers says about weights it did not find."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.missing: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.missing += re.findall(r"^(\S+)\s*\|[^|\n]*MISSING", record.getMessage(), re.MULTILINE)


@contextmanager
def _missing_weights(name: str) -> Iterator[None]:
    """Raise if a model was loaded with weights that are in no file: transformers fills them with random numbers."""
    logger, report = logging.getLogger("transformers.modeling_utils"), _Report()
    level, up = logger.level, logger.propagate
    logger.addHandler(report)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(report)
        logger.setLevel(level)
        logger.propagate = up
    # No embedding reads the pooler's own dense layer.
    missing = sorted(key for key in report.missing if not key.startswith("pooler."))
    if missing:
        raise ModelError(
            f"The weights of {name!r} lack {len(missing)} tensors that its config asks for, such as {missing[0]!r}; "
            "they would be random. Check that all weight files are there and belong to this config.json."
        )


def _refuse_blank_tokenizer(model: SentenceTransformer, name: str) -> None:
    tokenizer = model.tokenizer
    if hasattr(tokenizer, "all_special_ids") and len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ModelError(
            f"The tokenizer of {name!r} knows no word, only {len(tokenizer)} special tokens. Its vocabulary "
            "(tokenizer.json, vocab.txt, *.model) is missing from the folder."
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the loading bar and the advice of transformers off the screen."""
    level = transformers.logging.get_verbosity()
    shown = transformers.utils.logging.is_progress_bar_enabled()
    logger = logging.getLogger("sentence_transformers")
    before = logger.level
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        logger.setLevel(before)
        if shown:
            transformers.logging.enable_progress_bar()
