"""A model's own input embeddings, averaged: what it would be without any layer."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import nn

from uncollapse.encoders import SentenceEncoder, TextEncoder
from uncollapse.errors import ModelError


def input_embeddings(encoder: TextEncoder) -> nn.Embedding | nn.EmbeddingBag | None:
    """The table of a model's input embeddings; None where the inside cannot be seen or has no such table."""
    if not isinstance(encoder, SentenceEncoder):
        return None
    first = encoder.model[0]
    find = getattr(getattr(first, "model", None), "get_input_embeddings", None)
    table = first.embedding if isinstance(first, StaticEmbedding) else find() if callable(find) else None
    return table if isinstance(table, nn.Embedding | nn.EmbeddingBag) else None


def static_vectors(encoder: TextEncoder, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """The mean of the input embeddings of each text's tokens, special tokens and prompt left out.

    v = sum_t E[token_t] / n: no position, no attention, no layer. It does not depend on the order of the tokens, nor
    on how often the whole text is repeated.

    Args:
        encoder: a `SentenceEncoder` with a table of input embeddings.
        texts: each of at least one token.

    Returns:
        float32 [texts, width of the table].

    Raises:
        ModelError: a model without such a table; a text without tokens.
    """
    table = input_embeddings(encoder)
    if table is None or not isinstance(encoder, SentenceEncoder):
        raise ModelError(f"{encoder.name!r} shows no table of input embeddings. Leave the static controls out.")
    weights = table.weight.detach()
    return np.stack([_mean(weights, tokens) for tokens in _tokens(encoder, texts)])


def _mean(weights: torch.Tensor, tokens: list[int]) -> npt.NDArray[np.float32]:
    if not tokens:
        raise ModelError("A text without tokens has no input embeddings. Leave out texts that are blank.")
    rows = weights[torch.tensor(tokens, device=weights.device)].cpu().double().mean(dim=0)
    return rows.float().numpy()


def _tokens(encoder: SentenceEncoder, texts: Sequence[str]) -> list[list[int]]:
    """Numbers of the tokens of each text, without special tokens."""
    tokenizer = encoder.model.tokenizer
    if not hasattr(tokenizer, "is_fast"):
        return [item.ids for item in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, truncation=False, verbose=False)[
        "input_ids"
    ]
    return found
