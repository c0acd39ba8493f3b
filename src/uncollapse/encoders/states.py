"""Vectors of parts of a text, from the states of their tokens: only for models that take the mean of those."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.util import batch_to_device

from uncollapse.encoders.exported import ExportedEncoder, Scorable
from uncollapse.encoders.sentence import NO_LIMIT, SentenceEncoder
from uncollapse.errors import ArchitectureError, ModelError

Stretch = tuple[int, int]
"""Characters of a text, from the first to before the second."""

Offsets = npt.NDArray[np.int64]


def require_states(encoder: Scorable) -> None:
    """Say why a model has no vectors of parts, if it has none.

    Raises:
        ArchitectureError: a model that is no transformer with the mean of its token states, or whose tokenizer does
            not tell where in a text its tokens are; or one that was exported.
    """
    if isinstance(encoder, ExportedEncoder):
        raise ArchitectureError(
            f"Late chunking takes the mean of token states, and the graph of {encoder.name!r}, which was exported, "
            "gives none. Use chunks(128) instead, or name the model that it was made from."
        )
    modules = list(encoder.model.children())
    first, second = [*modules, None, None][:2]
    pooled = second.pooling_mode if isinstance(second, Pooling) else "nothing that Pooling does"
    if not isinstance(first, Transformer) or pooled != "mean":
        raise ArchitectureError(
            f"Late chunking takes the mean of token states, so it needs a transformer that pools by the mean; "
            f"{encoder.name!r} is a {encoder.architecture} that pools by {pooled}. Use chunks(128) instead."
        )
    tokenizer = encoder.model.tokenizer
    if not getattr(tokenizer, "is_fast", False) or tokenizer.truncation_side != "right":
        raise ArchitectureError(
            f"Late chunking must know where in a text each token is, which the tokenizer of {encoder.name!r} does not "
            "tell: it is a slow one, or cuts texts off at their beginning. Use chunks(128) instead."
        )


@torch.inference_mode()
def part_vectors(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    parts: Sequence[Sequence[Stretch]],
    n_tokens: npt.NDArray[np.int64],
) -> list[npt.NDArray[np.float32]]:
    """Of each text, the vectors of its parts: float32 [parts, dim].

    A part has the tokens that begin in it. Tokens that are no text go to the part with the first or the last token of
    text. A part of which the model read nothing has the state of the last token read.

    Args:
        encoder: see `require_states`.
        texts: read up to the model's limit.
        parts: of each text, at least one.
        n_tokens: of the texts, after truncation.

    Raises:
        ArchitectureError: see `require_states`.
        ModelError: a model that reads other tokens than its tokenizer gives, or packs texts into one row.
    """
    require_states(encoder)
    vectors: list[npt.NDArray[np.float32]] = [np.empty((0, encoder.dim), np.float32)] * len(texts)
    for rows in encoder.passes(n_tokens):
        few = [texts[row] for row in rows]
        states, masks = _states(encoder, few)
        for row, text, of, mask in zip(rows, few, states, masks, strict=True):
            vectors[row] = _pool(encoder, of[mask], _owners(encoder, text), parts[row])
    return vectors


def _states(encoder: SentenceEncoder, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Last token states [texts, tokens, dim], and which tokens are there [texts, tokens]."""
    task = {"task": encoder.tower} if encoder.tower else {}
    features: dict[str, Any] = encoder.model.preprocess(texts, prompt=encoder.prompt, **task)
    if "cu_seq_lens_q" in features:
        raise ModelError(
            f"Expected a batch of texts, one a row, but {encoder.name!r} packs them into one. Set `unpad_inputs = "
            "False` on its first module."
        )
    mask = features["attention_mask"].bool()
    for text, ids, there in zip(texts, features["input_ids"], mask, strict=True):
        _check_tokens(encoder, text, ids[there].tolist())
    transformer = next(iter(encoder.model.children()))
    return transformer(batch_to_device(features, encoder.model.device))["token_embeddings"], mask


def _check_tokens(encoder: SentenceEncoder, text: str, ids: list[int]) -> None:
    if ids != _tokenize(encoder, text)["input_ids"]:
        raise ModelError(
            f"{encoder.name!r} reads other tokens than its tokenizer gives, as for {text[:40]!r}, so that it is not "
            "known where they are in the text. Use chunks(128) instead of late chunking."
        )


def _tokenize(encoder: SentenceEncoder, text: str) -> Any:
    limit = {} if encoder.max_tokens == NO_LIMIT else {"truncation": True, "max_length": encoder.max_tokens}
    return encoder.model.tokenizer(encoder.prompt + text, return_offsets_mapping=True, verbose=False, **limit)


def _owners(encoder: SentenceEncoder, text: str) -> Offsets:
    """Of each token, the character that decides to which part it belongs: int64 [tokens]; -1 for a prompt left out."""
    offsets = np.array(_tokenize(encoder, text)["offset_mapping"], np.int64).reshape(-1, 2)
    begins, ends = (offsets - len(encoder.prompt)).T
    of_text = (ends > 0) & (offsets[:, 1] > offsets[:, 0])
    if not of_text.any():
        return np.zeros(len(offsets), np.int64)
    first = max(0, int(begins[of_text][0]))
    owners: Offsets = np.maximum.accumulate(np.where(of_text, np.maximum(begins, 0), first))
    pooling = list(encoder.model.children())[1]
    if not pooling.include_prompt and encoder.prompt:
        owners[: np.flatnonzero(of_text)[0]] = -1
    return owners


def _pool(
    encoder: SentenceEncoder, states: torch.Tensor, owners: Offsets, parts: Sequence[Stretch]
) -> npt.NDArray[np.float32]:
    """The mean state of each part, through what the model does after pooling: float32 [parts, dim]."""
    chosen = np.stack([(owners >= begin) & (owners < end) for begin, end in parts])
    chosen[~chosen.any(axis=1), -1] = True
    weights = torch.from_numpy(chosen).to(states.device, torch.float32)
    means = (weights @ states.float()) / weights.sum(dim=1, keepdim=True)
    features: dict[str, Any] = {"sentence_embedding": means.to(states.dtype)}
    for module in list(encoder.model.children())[2:]:
        features = module(features)
    made = features["sentence_embedding"][:, : encoder.model.truncate_dim]
    return np.asarray(made.float().cpu().numpy(), np.float32)
