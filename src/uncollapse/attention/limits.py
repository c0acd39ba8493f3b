"""How many tokens a model takes under a fix."""

from torch import nn

from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.positions import Positions, Rope, SelfExtend
from uncollapse.attention.sites import backbone


def token_limit(model: nn.Module, fix: ModelFix, limit: int | None = None) -> int | None:
    """Tokens of a text that a model takes under a fix, special tokens in; None where the fix leaves that as it was.

    `patch` and `fold` change the model alone. Whoever cuts texts (`max_seq_length` of a SentenceTransformer,
    `model_max_length` of its tokenizer) must be given this number, or texts end where they did; the encoders and
    commands of this package do so. A table of positions is made for a number of tokens, which is the limit, whatever
    it was before. What slows rotations or groups them multiplies the limit that there is.

    Args:
        model: as it was, before the fix.
        fix: what will be put on.
        limit: tokens that are read without it; as many as the positions reach, if not given.

    >>> from transformers import BertConfig, BertModel
    >>> bert = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2))
    >>> token_limit(bert, Positions("grouped", 1024))
    1024
    """
    if isinstance(fix, Positions):
        return fix.max_tokens
    if not isinstance(fix, Rope | SelfExtend) or fix.is_identity:
        return None
    before = int(backbone(model).config.max_position_embeddings) if limit is None else limit
    if isinstance(fix, Rope):
        return round(fix.factor * before)
    return before + max(0, before - fix.window) * (fix.group - 1)
