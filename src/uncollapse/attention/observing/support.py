"""What can be observed of a model, and why not."""

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from uncollapse.attention.compilation import is_compiled
from uncollapse.attention.sites import Site, backbone, class_key, find_sites
from uncollapse.errors import ArchitectureError

MARK = "_observed"
"""Attribute that a transformers model has only while it is observed."""

NO_MAP: dict[str, str] = {
    "longformer.LongformerSelfAttention": "its softmax is over a window and a few global tokens, not over the text",
    "big_bird.BigBirdBlockSparseAttention": (
        "its softmax is over a few blocks of the text; load it with attention_type='original_full'"
    ),
    "nystromformer.NystromformerSelfAttention": (
        "it has no map over the tokens but a product of three over landmarks, and adds a convolution to every head"
    ),
    "gpt_oss.GptOssAttention": "its softmax includes a sink, so that its weights on the tokens do not sum to 1",
}
"""Attention class, as in the table of sites, to why its heads have no map over the tokens of the text."""

NO_STREAM: dict[str, str] = {
    "longformer.LongformerSelfAttention": "it lengthens the texts to whole windows by itself",
    "big_bird.BigBirdBlockSparseAttention": (
        "it exchanges its own attention for good when a batch is short; load it with attention_type='original_full'"
    ),
}
"""Attention class to why its layers are not followed; for all others that is found out on a small batch."""


def observable_sites(holder: nn.Module) -> tuple[Site, ...]:
    """The attention modules of a model that can be looked into as it is.

    Raises:
        ArchitectureError: a model that is compiled, in training, observed already, or not in the table of sites.
    """
    if is_compiled(holder):
        raise ArchitectureError(
            "Expected a model that is not compiled, got a compiled one: its graph would show nothing. Observe the "
            "model as it was before torch.compile."
        )
    model = backbone(holder)
    if hasattr(model, MARK):
        raise ArchitectureError(f"{type(model).__name__} is observed already. Give both callbacks to one observe.")
    if any(module.training for module in model.modules()):
        raise ArchitectureError(
            f"Expected {type(model).__name__} in evaluation mode, got it in training, where dropout changes what is "
            "seen. Call model.eval() first."
        )
    return _known_sites(model)


def _known_sites(model: PreTrainedModel) -> tuple[Site, ...]:
    try:
        return find_sites(model)
    except ArchitectureError as error:
        raise ArchitectureError(f"Cannot observe {type(model).__name__}. {error}") from error


def refuse_listed(sites: Sequence[Site], table: dict[str, str], what: str) -> None:
    """Refuse a model that has an attention class of a table, by name and with the reason."""
    for site in sites:
        if reason := table.get(class_key(site.module)):
            raise ArchitectureError(f"Cannot observe the {what} of {class_key(site.module)}: {reason}.")
