"""Texts read as if they stood further on: a model's table of positions, looked up with an offset."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from uncollapse.attention.compilation import is_compiled
from uncollapse.diagnosis.causes.attribution import Positions
from uncollapse.encoders import SentenceEncoder, TextEncoder
from uncollapse.errors import ModelError

TABLES = ("position_embeddings", "position_embedding", "wpe")
"""What architectures call the table that they add to the embeddings of tokens, one row a position."""


def position_tables(model: nn.Module) -> tuple[nn.Embedding, ...]:
    """The tables of absolute positions inside a model, whether it uses them or not."""
    return tuple(
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in TABLES
    )


def has_positions(encoder: TextEncoder) -> bool:
    """Whether a model reads a table of absolute positions; relative and rotary positions have none.

    A short text is embedded to see whether the table is looked up at all.
    """
    return find_positions(encoder) is Positions.SHIFTED


def find_positions(encoder: TextEncoder) -> Positions:
    """Whether the positions of a model can be shifted, are no table, or cannot be known.

    A model that is compiled, whose weights are out of reach (ONNX), or whose own code has weights called after
    positions that are no known table, may do anything with positions: they count as hidden.
    """
    if not isinstance(encoder, SentenceEncoder) or _is_closed(encoder.model):
        return Positions.HIDDEN
    looked_up: list[bool] = []
    hooks = [
        table.register_forward_pre_hook(lambda *_: looked_up.append(True)) for table in position_tables(encoder.model)
    ]
    try:
        encoder.vectors(["a short text"])
    finally:
        for hook in hooks:
            hook.remove()
    if looked_up:
        return Positions.SHIFTED
    return Positions.HIDDEN if _may_hide_positions(encoder.model) else Positions.NO_TABLE


def _is_closed(model: nn.Module) -> bool:
    return is_compiled(model) or next(model.parameters(), None) is None


def _may_hide_positions(model: nn.Module) -> bool:
    """Whether code that this package does not know has weights or buffers called after positions."""
    modules = model.named_modules()
    known = tuple(f"{name}." for name, module in modules if type(module).__module__.startswith("transformers.models."))
    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers()) if not name.startswith(known)]
    return any(part.startswith("pos") or "position" in part for name in names for part in name.lower().split("."))


def leading_tokens(encoder: SentenceEncoder) -> int:
    """Tokens before a text that stay where they are when it moves: the first special tokens and the prompt."""
    tokenizer = encoder.model.tokenizer
    mask: list[int] = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    return mask.index(0) + encoder.n_special_tokens - sum(mask)


@contextmanager
def shifted(model: nn.Module, offset: int, *, leading: int = 1) -> Iterator[None]:
    """Let a model read every text `offset` positions further on, but for its first tokens.

    Inside the `with`, position p of a token is looked up as p + offset; afterwards the model is bit for bit as before.

    Args:
        model: holds a table of absolute positions, such as a SentenceTransformer around BERT.
        offset: how many positions, 0 or more.
        leading: tokens that keep their positions: the first special token.

    Raises:
        ModelError: no such table, or a text that would stand beyond its end.
    """
    tables = position_tables(model)
    if not tables or offset < 0:
        raise ModelError(
            f"Shifting positions needs a table of absolute positions and an offset of 0 or more, got {len(tables)} "
            f"tables in {type(model).__name__} and an offset of {offset}. Relative positions need no shift."
        )
    hooks = [table.register_forward_pre_hook(_Shift(offset, leading)) for table in tables] if offset else []
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class _Shift:
    """Forward pre-hook of a table that adds the offset to the positions it is asked for."""

    offset: int
    leading: int

    def __call__(self, table: nn.Embedding, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        positions: torch.Tensor = inputs[0].clone()
        positions[..., self.leading :] += self.offset
        last = int(positions.max())
        if last >= table.num_embeddings:
            raise ModelError(
                f"A text moved on by {self.offset} would stand at row {last} of a table of {table.num_embeddings} "
                "positions (counted from 0). Use a smaller offset or shorter texts."
            )
        return (positions, *inputs[1:])
