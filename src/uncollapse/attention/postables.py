"""Stretch a model's table of absolute positions."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from transformers import PreTrainedModel

from uncollapse.attention.changes import Change
from uncollapse.attention.positions import Positions
from uncollapse.errors import ArchitectureError, nearest

_BY_PADDING = -1
_IN_EMBEDDINGS = "embeddings.position_embeddings"

_FROM_FIRST = """albert bert convbert distilbert electra ernie megatron-bert mobilebert rembert roc_bert squeezebert"""
_AFTER_PADDING = """camembert longformer mpnet roberta xlm-roberta xlm-roberta-xl xmod"""

TABLES: dict[str, tuple[str, int]] = {
    **dict.fromkeys(_FROM_FIRST.split(), (_IN_EMBEDDINGS, 0)),
    **dict.fromkeys(_AFTER_PADDING.split(), (_IN_EMBEDDINGS, _BY_PADDING)),
    "nystromformer": (_IN_EMBEDDINGS, 2),
    "gpt2": ("wpe", 0),
    "xlm": ("position_embeddings", 0),
}
"""Model type to where its table is and how many rows stand before the first position; those with `_BY_PADDING` count
from the row after padding's."""


@dataclass(frozen=True)
class Stretched:
    """A longer table and whatever must be as long, not yet in place."""

    model: PreTrainedModel
    path: str
    table: nn.Embedding
    owner: nn.Module
    weight: torch.Tensor
    buffers: dict[str, torch.Tensor]
    config_value: int

    def put(self) -> None:
        """Put it into the model."""
        self.table.weight = nn.Parameter(self.weight, requires_grad=self.table.weight.requires_grad)
        self.table.num_embeddings = len(self.weight)
        self.owner._buffers.update(self.buffers)
        self.model.config.max_position_embeddings = self.config_value

    def put_for_now(self, undo: ExitStack) -> None:
        """Put it into the model until `undo` closes."""
        undo.callback(setattr, self.model.config, "max_position_embeddings", self.model.config.max_position_embeddings)
        undo.callback(self.owner._buffers.update, {name: self.owner._buffers[name] for name in self.buffers})
        undo.callback(setattr, self.table, "num_embeddings", self.table.num_embeddings)
        undo.callback(setattr, self.table, "weight", self.table.weight)
        self.put()


def put_positions(model: PreTrainedModel, fix: Positions, undo: ExitStack) -> None:
    """Stretch the table until `undo` closes.

    Raises:
        ArchitectureError: no table of positions that is known, or fewer tokens than it has.
    """
    if stretched := stretch(model, fix):
        stretched.put_for_now(undo)


def plan_positions(model: PreTrainedModel, fix: Positions) -> list[Change]:
    """What stretches the table for good."""
    stretched = stretch(model, fix)
    return [] if stretched is None else [Change(f"{stretched.path}.weight", partial(stretched.put))]


def stretch(model: PreTrainedModel, fix: Positions) -> Stretched | None:
    """The longer table, None where it is as long as asked for.

    Raises:
        ArchitectureError: no table of positions that is known, or fewer tokens than it has.
    """
    path, offset = _find(model)
    table = model.get_submodule(path)
    assert isinstance(table, nn.Embedding)
    offset = (table.padding_idx or 0) + 1 if offset == _BY_PADDING else offset
    old = table.weight.detach()[offset:]
    if fix.max_tokens < len(old):
        raise ArchitectureError(
            f"{model.config.model_type!r} has {len(old)} positions, and {fix} would take some away. To cut texts "
            "earlier, lower max_seq_length."
        )
    if fix.max_tokens == len(old):
        return None
    weight = torch.cat([table.weight.detach()[:offset], stretched_rows(old, fix)])
    owner = model.get_submodule(path.rpartition(".")[0])
    more = len(weight) - table.num_embeddings
    return Stretched(
        model, path, table, owner, weight, _buffers(owner, more), model.config.max_position_embeddings + more
    )


def stretched_rows(old: torch.Tensor, fix: Positions) -> torch.Tensor:
    """The rows of a table of positions [L, features], made for more tokens: [max_tokens, features].

    >>> old = torch.tensor([[0.0], [1.0], [2.0]])
    >>> [stretched_rows(old, Positions(mode, 5)).flatten().tolist() for mode in ("grouped", "interpolated")]
    [[0.0, 0.0, 1.0, 1.0, 2.0], [0.0, 0.5, 1.0, 1.5, 2.0]]
    """
    length, place = len(old), torch.arange(fix.max_tokens, device=old.device)
    if fix.mode == "grouped":
        return old[place // -(-fix.max_tokens // length)]
    if fix.mode == "recurrent":
        return old[place % length]
    # On the processor, since not every card (mps) knows double precision.
    exact, table = place.cpu().double() * (length - 1) / (fix.max_tokens - 1), old.cpu().double()
    below = exact.floor().long().clamp(max=length - 2)
    share = (exact - below)[:, None]
    return ((1 - share) * table[below] + share * table[below + 1]).to(old.dtype).to(old.device)


def _find(model: PreTrainedModel) -> tuple[str, int]:
    kind = str(model.config.model_type)
    path, offset = TABLES.get(kind, ("", 0))
    found = [name for name, _ in model.named_modules() if path and f".{name}".endswith(f".{path}")]
    if len(found) != 1 or not isinstance(model.get_submodule(found[0]), nn.Embedding):
        turns = getattr(model.config, "rope_parameters", None) is not None
        hint = " Its positions are rotations: use rope(...)." if turns else ""
        raise ArchitectureError(
            f"No table of absolute positions is known for {kind!r}.{hint} {nearest(kind, TABLES, 'Known')}"
        )
    return found[0], offset


def _buffers(owner: nn.Module, more: int) -> dict[str, torch.Tensor]:
    """The buffers beside a table that have an entry a position, made longer."""
    longer = {}
    for name in ("position_ids", "token_type_ids"):
        if (buffer := owner._buffers.get(name)) is not None:
            new = torch.arange(1, more + 1, device=buffer.device)[None] * (name == "position_ids")
            longer[name] = torch.cat([buffer, buffer[:, -1:] + new], 1)
    return longer
