"""The mark in a model's config that says what is in its weights already."""

from transformers import PreTrainedModel

from uncollapse.attention.temperature import Temperature
from uncollapse.errors import ArchitectureError

STAMP = "uncollapse"
"""Key in config.json that says what was folded into the weights."""


def refuse_folded(model: PreTrainedModel) -> None:
    """Raise if a temperature is in the weights already."""
    if stamp := getattr(model.config, STAMP, None):
        raise ArchitectureError(
            f"This model has {Temperature.from_json(stamp)} in its weights already, and folding twice would multiply "
            "the two. Start from the original model."
        )
