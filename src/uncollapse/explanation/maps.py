"""Attention maps as they were observed, in the form in which they are measured."""

from typing import Any

import torch

from uncollapse.attention.observing import Logits, upcast
from uncollapse.spectra import (
    AttentionMap,
    DenseMap,
    HeadNumbers,
    StreamedMap,
    measure_heads,
    measure_maps,
    measure_streamed,
)

MOST_ENTRIES = 1 << 26
"""Entries of attention maps that are formed at once: 256 MB in float32."""


def measure_logits(logits: Logits, **keys: Any) -> HeadNumbers:
    """Filter rate, entropy, shares and score spread of every text and head, in the fastest way there is.

    Maps of many entries are never formed, unless the model itself forms them: those with a bias by position, and of
    models whose attention is caught at its softmax.

    Args:
        logits: of one layer.
        keys: as for `measure_maps`.
    """
    if logits.plain:
        query, key = _query_and_key(logits)
        return measure_heads(query, key, logits.scale, **keys)
    if must_stream(logits):
        return measure_streamed(streamed(logits), **keys)
    return measure_maps(logits.scores(), **keys)


def as_operator(logits: Logits, inverse_temperature: torch.Tensor) -> AttentionMap:
    """The maps softmax(logits / tau), formed where they are few.

    Args:
        logits: of one layer.
        inverse_temperature: 1 / tau, a number or one a text and head.
    """
    if must_stream(logits):
        return streamed(logits).sharpened(inverse_temperature)
    inverse = inverse_temperature[..., None, None] if inverse_temperature.ndim else inverse_temperature
    return DenseMap(logits.map(inverse))


def must_stream(logits: Logits) -> bool:
    """Whether the maps are too many entries to be formed, and need not be."""
    return logits.streams and logits.entries > MOST_ENTRIES


def streamed(logits: Logits) -> StreamedMap:
    """The maps, a few rows at a time."""
    query, key = _query_and_key(logits)
    allowed = None if logits.allowed is None else logits.allowed[0, 0]
    return StreamedMap(query, key, logits.scale, causal=logits.causal, allowed=allowed, softcap=logits.softcap)


def _query_and_key(logits: Logits) -> tuple[torch.Tensor, torch.Tensor]:
    assert logits.query is not None
    assert logits.key is not None
    return upcast(logits.query), upcast(logits.key)
