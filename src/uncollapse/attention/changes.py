"""One change of a model's weights or config, ready to be made."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    """One tensor or number that a fold changes, ready to be applied."""

    name: str
    apply: Callable[[], None]
