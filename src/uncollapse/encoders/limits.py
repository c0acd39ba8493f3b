"""How many tokens a model can read, and how many it shall."""

from dataclasses import dataclass

import transformers
from torch import nn

from uncollapse.encoders.sentence import NO_LIMIT, SentenceEncoder
from uncollapse.errors import ModelError

MaxTokens = int | str
"""A number of tokens, "model" for the limit of the model's folder, or "table" for the reach of its positions."""


@dataclass(frozen=True)
class Reach:
    """How many tokens the positions of a model reach, and whether a table ends there or only training did."""

    tokens: int
    is_table: bool


def position_reach(model: nn.Module) -> Reach | None:
    """Rows of the position table, or the window that rotations were made for; None where nothing says."""
    tables, windows = [], []
    for module in model.modules():
        if isinstance(table := getattr(module, "position_embeddings", None), nn.Embedding):
            # RoBERTa's family starts to count behind the padding position.
            tables.append(table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1))
        config = getattr(module, "config", None)
        if isinstance(config, transformers.PretrainedConfig):
            windows.append(getattr(config.get_text_config(), "max_position_embeddings", None))
    known = [window for window in windows if isinstance(window, int) and window > 0]
    if tables:
        return Reach(min([*tables, *known]), is_table=True)
    return Reach(min(known), is_table=False) if known else None


def set_limit(encoder: SentenceEncoder, max_tokens: MaxTokens) -> None:
    """Set a model's token limit, and note it where it is not the folder's own."""
    reach, own = position_reach(encoder.model), encoder.folder_max_tokens
    wanted = wanted_limit(max_tokens, reach, own, encoder.name)
    if wanted is None or wanted == own:
        return
    if wanted <= encoder.n_special_tokens:
        raise ModelError(
            f"The token limit must leave room for text beside the {encoder.n_special_tokens} special and prompt "
            f"tokens of {encoder.name!r}, got {wanted}."
        )
    if not encoder.can_cut:
        raise ModelError(f"{encoder.name!r} has no token limit to set, got {max_tokens!r}. Use --max-tokens model.")
    encoder.model.max_seq_length = wanted
    encoder.raised_to_study = max_tokens == "table"
    encoder.notes = (
        f"The folder of {encoder.name!r} cuts texts at {own or 'no number of'} tokens; its positions reach "
        f"{reach.tokens if reach else 'any length'}. Here the limit is {wanted}. Use --max-tokens model to keep the "
        "folder's.",
    )


def wanted_limit(max_tokens: MaxTokens, reach: Reach | None, own: int | None, name: str) -> int | None:
    """The limit to set; None for what the folder has.

    Args:
        max_tokens: as for `load_model`.
        reach: of the model's positions.
        own: the limit of its folder.
        name: of the model.

    Raises:
        ModelError: no limit, or one beyond the position table.
    """
    if max_tokens == "model":
        return None
    if max_tokens == "table":
        # Rotations go on beyond what they were trained for, so a folder that reads further is believed.
        return own if reach is None else reach.tokens if reach.is_table else max(reach.tokens, own or 0)
    last = reach.tokens if reach and reach.is_table else NO_LIMIT
    if not isinstance(max_tokens, int) or not 1 <= max_tokens <= last:
        raise ModelError(
            f"The token limit must be 'model', 'table' or a number from 1 to {last}, which {name!r} can read; got "
            f"{max_tokens!r}."
        )
    return max_tokens
