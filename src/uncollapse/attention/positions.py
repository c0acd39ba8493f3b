"""Fixes that let a model read more tokens than it was trained on: longer tables of positions, slower rotations."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from uncollapse.attention import dials
from uncollapse.errors import NotationError

MODES = ("grouped", "recurrent", "interpolated")
ROPES = ("linear", "ntk", "yarn")


@dataclass(frozen=True)
class Positions:
    """Stretch a table of absolute positions from its L tokens to `max_tokens`, N.

    `grouped`: token i has the old position i // g, g = N / L rounded up. `recurrent`: i mod L. `interpolated`: a line
    between the two old positions nearest to i (L - 1) / (N - 1), so that the first and the last stay in place.
    Texts of up to L tokens keep their vectors under `recurrent` alone. N = L changes nothing. Padding's and other
    rows before the first position (RoBERTa) stay as they are. It folds: an ordinary checkpoint with a longer table.
    Whoever cuts texts must be told of the new limit, see `token_limit`; the commands of this package are.

    Args:
        mode: how.
        max_tokens: N, at least as many as the table has; also the limit at which texts are cut.

    Raises:
        NotationError: an unknown mode, or no whole number.

    >>> str(Positions("grouped", 1024))
    'positions(mode=grouped, max_tokens=1024)'

    Source: grouped, recurrent and interpolated positions of LongEmbed, Zhu et al., EMNLP 2024 (arXiv 2404.12096).
    """

    kind: ClassVar[str] = "model"
    is_identity: ClassVar[bool] = False
    mode: str
    max_tokens: int

    def __post_init__(self) -> None:
        dials.check_word(self, "positions", "mode", MODES)
        dials.check_count(self, "positions", "max_tokens", least=2)

    def __str__(self) -> str:
        return dials.notation("positions", self)

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types; `from_json` reads it back."""
        return dials.to_json("positions", self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return dials.from_json("positions", cls, data)


@dataclass(frozen=True)
class Rope:
    """Slow the rotations of positions (RoPE), so that `factor` times as many tokens keep angles that were trained.

    `linear`: all angles divided by the factor (position interpolation). `ntk`: the base b becomes
    b factor^(d / (d - 2)), d the rotated width: slow rotations are divided by the factor, fast ones stay. `yarn`: slow
    ones divided, fast ones kept, a ramp between (1 and 32 turns over the trained length), and cos and sin multiplied
    by 0.1 ln(factor) + 1, which sharpens attention. Layers with a sliding window keep their rotations. It folds: an
    ordinary checkpoint with another config. Texts are read up to `factor` times the limit that was, see `token_limit`.

    Args:
        type: how.
        factor: from 1, which changes nothing, to 1000.

    Raises:
        NotationError: an unknown type, `dynamic`, or a factor out of range.

    >>> str(Rope("yarn", 4))
    'rope(type=yarn, factor=4.0)'

    Source: Chen et al. (arXiv 2306.15595) for linear; Peng et al., ICLR 2024 (arXiv 2309.00071) for ntk and yarn.
    """

    kind: ClassVar[str] = "model"
    type: str
    factor: float

    def __post_init__(self) -> None:
        if self.type == "dynamic":
            raise NotationError(
                "`rope(type=dynamic)`: its rotations follow the longest text of a batch, so that a text's vector "
                "would depend on what it is batched with. Use ntk with a fixed factor."
            )
        dials.check_word(self, "rope", "type", ROPES)
        dials.set_number(self, "rope", "factor", 1, 1000)

    def __str__(self) -> str:
        return dials.notation("rope", self)

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types; `from_json` reads it back."""
        return dials.to_json("rope", self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return dials.from_json("rope", cls, data)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.factor == 1


@dataclass(frozen=True)
class SelfExtend:
    """Let near tokens keep their distances and far ones share theirs, so that none exceeds what was trained.

    Two tokens less than w = `window` places apart are compared at their distance, as ever. Farther ones are compared
    as if they stood at the places of their groups of G = `group` tokens, at distance i // G - j // G + w - w // G of
    token i from an earlier j, and the same with the other sign for a later one. So (L - w) G + w tokens have distances
    below L. Texts of up to `window` tokens keep their vectors, and G = 1 changes nothing. Only rotations can be
    compared at two distances; layers with a sliding window keep theirs. It does not fold.

    Args:
        group: G, tokens that share a place, from 1.
        window: w, from 1, less than the positions that were trained.

    Raises:
        NotationError: no whole numbers.

    >>> str(SelfExtend(4, 512))
    'self_extend(group=4, window=512)'

    Source: Jin et al., ICML 2024 (arXiv 2401.01325), for decoders; used on embeddings by LongEmbed (arXiv 2404.12096).
    That later tokens are treated as earlier ones are, which encoders need, is this package's own.
    """

    kind: ClassVar[str] = "model"
    group: int
    window: int

    def __post_init__(self) -> None:
        dials.check_count(self, "self_extend", "group")
        dials.check_count(self, "self_extend", "window")

    def __str__(self) -> str:
        return dials.notation("self_extend", self)

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types; `from_json` reads it back."""
        return dials.to_json("self_extend", self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return dials.from_json("self_extend", cls, data)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.group == 1

    @property
    def shift(self) -> int:
        """What the distance of groups is too short by at the end of the window: w - w // G."""
        return self.window - self.window // self.group
