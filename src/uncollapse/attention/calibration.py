"""Even attention out over the parts of a text."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from uncollapse.attention import dials

HALVES = ("upper", "lower", "all")
ROWS = ("all", "first", "last")


@dataclass(frozen=True)
class Calibration:
    """Even out how much attention the baskets of a text get, so that no part of it is overlooked for its place.

    The tokens of a text, padding left out, go into baskets of `basket` in a row; the last may be smaller. Basket b
    gets the mass m_b = sum of A_ij over its tokens j of a row i of a head's map. Even would be e_b, the share of b's
    tokens among those that token i may look at. Inside each basket the weights keep their proportions, and each basket
    gets m'_b = (1 - strength) m_b + strength e_b, so that A'_ij = A_ij m'_b / m_b and rows still sum to 1. A text of
    one basket stays as it is. Which rows: with mean pooling every token is pooled, so `all`; with CLS pooling the
    `first` token, with last-token pooling the `last`. In the upper half of the layers (the middle one of an odd number
    too), the lower half, or all. It forms the maps of those layers, which costs time and memory as eager attention
    does.

    This was written from the paper's abstract and a summary alone; no code was looked at. The abstract gives baskets
    of 128, strength 0.5 and half of the layers; which half, what "even" means where baskets differ in size, and what
    is done for mean pooling are choices made here.

    Args:
        basket: tokens a basket.
        strength: from 0, which changes nothing, to 1, where all tokens' baskets weigh what they have tokens.
        layers: `upper`, `lower` or `all`.
        rows: `all`, `first` or `last`.

    Raises:
        NotationError: a number out of range or an unknown word.

    >>> str(Calibration())
    'calibration(basket=128, strength=0.5, layers=upper, rows=all)'

    Source: Michail et al. 2026, Attention Calibration for Position-Fair Dense Information Retrieval (arXiv
    2606.02737).
    """

    kind: ClassVar[str] = "model"
    basket: int = 128
    strength: float = 0.5
    layers: str = "upper"
    rows: str = "all"

    def __post_init__(self) -> None:
        dials.check_count(self, "calibration", "basket")
        dials.set_number(self, "calibration", "strength", 0, 1)
        dials.check_word(self, "calibration", "layers", HALVES)
        dials.check_word(self, "calibration", "rows", ROWS)

    def __str__(self) -> str:
        return dials.notation("calibration", self)

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types; `from_json` reads it back."""
        return dials.to_json("calibration", self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return dials.from_json("calibration", cls, data)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.strength == 0

    def acts_on(self, layer: int, layers: int) -> bool:
        """Whether one of so many layers is calibrated.

        >>> [layer for layer in range(5) if Calibration(layers="upper").acts_on(layer, 5)]
        [2, 3, 4]
        """
        return {"all": True, "upper": layer >= layers // 2, "lower": layer < (layers + 1) // 2}[self.layers]
