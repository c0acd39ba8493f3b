"""Fixes that keep more of what tells tokens apart: attention mixed with its mean, with itself, or with its window."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from uncollapse.attention import dials

MOST = 100.0
"""Largest strength; beyond it nothing is left of the model."""


@dataclass(frozen=True)
class AttnScale:
    """Amplify the part of attention that is not the plain mean: A_LP + (1 + w)(A - A_LP).

    A_LP gives equal weight to every token that a token may look at, padding never; all heads and layers alike.
    w = 0 is the model as it was, w > 0 amplifies, w = -1 leaves the plain mean. Computed as (1 + w) A V - w LP(V),
    LP(V) the means of the values, without forming A.

    Args:
        w: strength, from -1.

    Raises:
        NotationError: a strength out of range.

    >>> str(AttnScale(0.2)), AttnScale(0).is_identity
    ('attnscale(0.2)', True)

    Source: AttnScale, Wang et al., ICLR 2022 (arXiv 2203.05962), which trains one w a head.
    """

    kind: ClassVar[str] = "model"
    w: float

    def __post_init__(self) -> None:
        dials.set_number(self, "attnscale", "w", -1, MOST)

    def __str__(self) -> str:
        return dials.notation("attnscale", self)

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types; `from_json` reads it back."""
        return dials.to_json("attnscale", self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return dials.from_json("attnscale", cls, data)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.w == 0


@dataclass(frozen=True)
class IdentityMix:
    """Mix attention with looking at oneself: (1 - a) A + a I.

    a = 0 is the model as it was, a = 1 lets no token see another. Computed as (1 - a) A V + a V, all heads and
    layers alike.

    Args:
        a: share of the identity, from 0 to 1.

    Raises:
        NotationError: a share out of range.

    >>> str(IdentityMix(0.1))
    'identity_mix(0.1)'

    Source: the shortcut of He et al., ICLR 2023 (arXiv 2302.10322), put onto trained models here.
    """

    kind: ClassVar[str] = "model"
    a: float

    def __post_init__(self) -> None:
        dials.set_number(self, "identity_mix", "a", 0, 1)

    def __str__(self) -> str:
        return dials.notation("identity_mix", self)

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types; `from_json` reads it back."""
        return dials.to_json("identity_mix", self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return dials.from_json("identity_mix", cls, data)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.a == 0


@dataclass(frozen=True)
class LocalGlobal:
    """Mix attention with attention inside a window: (1 - a) A + a A_local.

    A_local is the softmax of the same logits over the tokens at most `window` places away that the model lets a token
    see. a = 0 is the model as it was, a = 1 sees the window alone. Two attention calls a layer.

    Args:
        window: places on either side, from 1.
        a: share of the window, from 0 to 1.

    Raises:
        NotationError: a number out of range.

    >>> str(LocalGlobal(64, 0.3))
    'local_global(window=64, a=0.3)'

    Source: this package's own combination of Longformer's windows (Beltagy et al. 2020, arXiv 2004.05150) with full
    attention.
    """

    kind: ClassVar[str] = "model"
    window: int
    a: float

    def __post_init__(self) -> None:
        dials.check_count(self, "local_global", "window")
        dials.set_number(self, "local_global", "a", 0, 1)

    def __str__(self) -> str:
        return dials.notation("local_global", self)

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types; `from_json` reads it back."""
        return dials.to_json("local_global", self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return dials.from_json("local_global", cls, data)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.a == 0


@dataclass(frozen=True)
class FeatScale:
    """Scale what all tokens of a text share and what tells them apart: (1 + s) DC + (1 + t) (X - DC).

    X is what each layer hands on, DC the mean of its tokens, padding never; all layers alike. s = t = 0 is the model
    as it was, t > s amplifies differences. A mean over the last layer's tokens is only multiplied by 1 + s, so with
    mean pooling all layers but the last act.

    Args:
        s: strength on the mean, from -1.
        t: strength on the rest, from -1.

    Raises:
        NotationError: a strength out of range.

    >>> str(FeatScale(s=0, t=0.1))
    'featscale(s=0.0, t=0.1)'

    Source: FeatScale, Wang et al., ICLR 2022 (arXiv 2203.05962), which trains s and t a feature on attention's output.
    """

    kind: ClassVar[str] = "model"
    s: float
    t: float

    def __post_init__(self) -> None:
        dials.set_number(self, "featscale", "s", -1, MOST)
        dials.set_number(self, "featscale", "t", -1, MOST)

    def __str__(self) -> str:
        return dials.notation("featscale", self)

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types; `from_json` reads it back."""
        return dials.to_json("featscale", self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        return dials.from_json("featscale", cls, data)

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return self.s == 0 and self.t == 0
