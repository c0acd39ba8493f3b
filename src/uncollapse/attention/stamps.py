"""The mark in a model's config that says what is in its weights already."""

from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from uncollapse.attention.modelfixes import ModelFix, class_of
from uncollapse.errors import ArchitectureError, NotationError

STAMP = "uncollapse"
"""Key in config.json that says what was folded into the weights: one fix as JSON, or a list of several."""


def folded_fixes(config: PreTrainedConfig) -> tuple[ModelFix, ...]:
    """What was folded into the weights, in the order it was.

    Raises:
        NotationError: a mark that says no fix.
    """
    mark = getattr(config, STAMP, None) or []
    return tuple(_read(one) for one in (mark if isinstance(mark, list) else [mark]))


def stamp(config: PreTrainedConfig, fix: ModelFix) -> None:
    """Mark a config with one more fix."""
    folded = [one.to_json() for one in (*folded_fixes(config), fix)]
    setattr(config, STAMP, folded[0] if len(folded) == 1 else folded)


def refuse_folded(model: PreTrainedModel, fix: ModelFix) -> None:
    """Raise if a fix of the same name is in the weights already."""
    name = fix.to_json()["fix"]
    for folded in folded_fixes(model.config):
        if folded.to_json()["fix"] == name:
            raise ArchitectureError(
                f"This model has {folded} in its weights already, and folding twice would multiply "
                "the two. Start from the original model."
            )


def _read(data: Any) -> ModelFix:
    try:
        return class_of(data["fix"], data).from_json(data)
    except (KeyError, TypeError) as error:
        raise NotationError(f"Expected a fix as JSON under {STAMP!r} in the model's config, got {data!r}.") from error
