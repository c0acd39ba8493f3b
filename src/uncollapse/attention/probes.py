"""A small padded batch, and what a model makes of it."""

from collections.abc import Sequence

import torch
from torch import nn

from uncollapse.attention.sites import backbone

PROBE_LENGTHS = (24, 17, 9, 24)
"""Token counts of the padded probe batch."""


def probe_batch(model: nn.Module, lengths: Sequence[int] = PROBE_LENGTHS, seed: int = 0) -> dict[str, torch.Tensor]:
    """A padded batch of random tokens: input_ids and attention_mask, int64 [texts, tokens]."""
    inner = backbone(model)
    config = inner.config.get_text_config()
    generator = torch.Generator("cpu").manual_seed(seed)
    shape = (len(lengths), max(lengths))
    low = min(10, config.vocab_size // 2)
    ids = torch.randint(low, config.vocab_size, shape, generator=generator, device="cpu")
    mask = (torch.arange(shape[1], device="cpu") < torch.tensor(lengths, device="cpu")[:, None]).long()
    padding = getattr(config, "pad_token_id", None)
    ids = torch.where(mask.bool(), ids, 0 if padding is None else padding)
    return {"input_ids": ids.to(inner.device), "attention_mask": mask.to(inner.device)}


def probe_states(model: nn.Module, batch: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    """The last hidden states of the real tokens of a probe batch: [tokens, dim]."""
    inner = backbone(model)
    batch = batch or probe_batch(inner)
    with torch.no_grad():
        states: torch.Tensor = inner(**batch)[0]
    return states[batch["attention_mask"].bool()]
