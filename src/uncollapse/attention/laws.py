"""Temperatures that follow the length of each text: 1 / tau as a function of its token count."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from uncollapse.attention.temperature import Temperature
from uncollapse.errors import NotationError, nearest

if TYPE_CHECKING:  # a notation is read, and refused, without waiting for torch
    import torch


@dataclass(frozen=True)
class TemperatureLaw:
    """Divide a text's attention logits by tau(n), n its own token count: the law that the table `LAWS` holds.

    Padding never counts; special tokens and a prompt do. A text of one token is taken as one of two, which changes
    nothing, since it attends to itself alone. For each text by itself this is `Temperature(tau(n))`, whatever
    texts are batched with it. It costs one multiplication of the query a layer and does not fold; `at` gives the
    temperature of one length, which does.

    Args:
        law: `log`, `sqrtlog`, `infoscale`, `ssmax` or `isofilter`.
        n0: token count at which the model stays as it is, from 2; for all laws but ssmax.
        above_only: only sharpen; texts for which the law would soften attention (those below n0) stay as they are.
        scale: s of ssmax, > 0.
        spread: s of isofilter, the standard deviation of a head's logits, > 0.

    Raises:
        NotationError: an unknown law, a number out of range, one that the law needs or does not know.

    >>> str(TemperatureLaw("log", n0=128))
    'temperature(law=log, n0=128)'
    >>> TemperatureLaw("log", n0=128).at(16384)
    Temperature(tau=0.5)
    >>> TemperatureLaw("log", n0=128, above_only=True).at(16)
    Temperature(tau=1.0)

    Source: of each law, in `LAWS`.
    """

    kind: ClassVar[str] = "model"
    is_identity: ClassVar[bool] = False
    law: str
    n0: int | None = None
    above_only: bool = False
    scale: float | None = None
    spread: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.law, str) or self.law not in LAWS:
            raise NotationError(f"`temperature(law={self.law})`: {nearest(str(self.law), LAWS, 'Known laws')}")
        for name in ("n0", "scale", "spread"):
            self._check_given(name)
        self._check_values()

    def __str__(self) -> str:
        return f"temperature({', '.join(f'{key}={value}' for key, value in self._given().items())})"

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types; `from_json` reads it back."""
        return {"fix": "temperature", **self._given()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave.

        >>> TemperatureLaw.from_json({"fix": "temperature", "law": "ssmax", "scale": 0.2})
        TemperatureLaw(law='ssmax', n0=None, above_only=False, scale=0.2, spread=None)
        """
        known = {"fix", "law", "n0", "above_only", "scale", "spread"}
        if data.get("fix") != "temperature" or "law" not in data or set(data) - known:
            raise NotationError(f'Expected {{"fix": "temperature", "law": ..., "n0": ...}}, got {data!r}.')
        return cls(**{key: value for key, value in data.items() if key != "fix"})

    def inverse(self, n: "torch.Tensor", head_dim: int) -> "torch.Tensor":
        """1 / tau of texts of n tokens, in the precision of n.

        Args:
            n: token counts, floating point.
            head_dim: width of a head; only infoscale depends on it.
        """
        factor = LAWS[self.law].inverse(self, n.clamp(min=2), head_dim)
        return factor.clamp(min=1) if self.above_only else factor

    def at(self, n: int, head_dim: int = 0) -> Temperature:
        """The temperature of texts of n tokens, which `fold` takes: one checkpoint for a bucket of lengths.

        Args:
            n: token count.
            head_dim: width of a head; infoscale depends on it, the other laws do not.

        Raises:
            NotationError: no token, or infoscale without the width of a head.
        """
        if n < 1 or (self.law == "infoscale" and head_dim < 1):
            raise NotationError(f"`{self}` at n={n}, head_dim={head_dim}: expected n > 0, and head_dim for infoscale.")
        import torch

        return Temperature(float(1 / self.inverse(torch.tensor(n, dtype=torch.float64), head_dim)))

    def _given(self) -> dict[str, Any]:
        values = {key: getattr(self, key) for key in ("law", "n0", "above_only", "scale", "spread")}
        return {key: value for key, value in values.items() if value is not None and value is not False}

    def _check_given(self, name: str) -> None:
        needed, given = name in LAWS[self.law].needs, getattr(self, name) is not None
        if needed and not given:
            raise NotationError(f"`temperature(law={self.law})` needs {name}. Write {_example(self.law)}.")
        if given and not needed:
            raise NotationError(f"`temperature(law={self.law})` knows no {name}. Write {_example(self.law)}.")

    def _check_values(self) -> None:
        if self.n0 is not None and (isinstance(self.n0, bool) or not isinstance(self.n0, int) or self.n0 < 2):
            raise NotationError(f"`temperature(law={self.law})`: n0 must be a whole number from 2, got {self.n0!r}.")
        if not isinstance(self.above_only, bool):
            raise NotationError(
                f"`temperature(law={self.law})`: above_only must be True or False, got {self.above_only!r}."
            )
        for name in ("scale", "spread"):
            value = getattr(self, name)
            if value is not None and not _is_positive(value):
                raise NotationError(
                    f"`temperature(law={self.law})`: {name} must be finite and > 0 (at most 1000), got {value!r}."
                )


@dataclass(frozen=True)
class Law:
    """One law of the family.

    Args:
        formula: 1 / tau in plain text.
        needs: which numbers it is made from.
        source: who found it.
        inverse: 1 / tau of token counts, for heads of a width.
    """

    formula: str
    needs: tuple[str, ...]
    source: str
    inverse: "Callable[[TemperatureLaw, torch.Tensor, int], torch.Tensor]"


def _is_positive(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, (int, float)) and 0 < value <= 1000


def _example(law: str) -> str:
    values = {"n0": 128, "scale": 0.2, "spread": 1.0}
    return f"temperature(law={law}, {', '.join(f'{name}={values[name]}' for name in LAWS[law].needs)})"


def _log_n0(law: TemperatureLaw) -> float:
    # A plain number: a tensor made on a graphics card, or asked for its value there, would make the processor wait.
    assert law.n0 is not None
    return math.log(law.n0)


def _log(law: TemperatureLaw, n: "torch.Tensor", _head_dim: int) -> "torch.Tensor":
    return n.log() / _log_n0(law)


def _sqrtlog(law: TemperatureLaw, n: "torch.Tensor", head_dim: int) -> "torch.Tensor":
    return _log(law, n, head_dim).sqrt()


def _infoscale(law: TemperatureLaw, n: "torch.Tensor", head_dim: int) -> "torch.Tensor":
    power = -2 / head_dim
    return ((n.log() * power).expm1() / math.expm1(_log_n0(law) * power)).sqrt()


def _ssmax(law: TemperatureLaw, n: "torch.Tensor", _head_dim: int) -> "torch.Tensor":
    assert law.scale is not None
    return law.scale * n.log()


def _isofilter(law: TemperatureLaw, n: "torch.Tensor", _head_dim: int) -> "torch.Tensor":
    assert law.spread is not None
    assert law.n0 is not None
    variance, ratio = law.spread**2, n / law.n0
    if variance < 1:
        kept = (ratio * math.expm1(variance)).log1p()
    else:  # the same, written so that a large spread cannot overflow
        kept = variance + ratio.log() + ((1 - ratio) / ratio * math.exp(-variance)).log1p()
    return (kept / variance).sqrt()


LAWS: dict[str, Law] = {
    "log": Law(
        "log n / log n0",
        ("n0",),
        "Su 2021 (kexue.fm/archives/8823); Chiang & Cholak, ACL 2022 (arXiv 2202.12172)",
        _log,
    ),
    "sqrtlog": Law(
        "sqrt(log n / log n0)",
        ("n0",),
        "the root-of-log case of gap counting, Hayase & Karakida 2026 (arXiv 2605.12697)",
        _sqrtlog,
    ),
    "infoscale": Law(
        "sqrt((1 - n^(-2/d)) / (1 - n0^(-2/d))), d the width of a head",
        ("n0",),
        "InfoScale: Li et al. 2025 (arXiv 2501.08570)",
        _infoscale,
    ),
    "ssmax": Law("s log n, s the scale", ("scale",), "Scalable-Softmax: Nakanishi 2025 (arXiv 2501.19399)", _ssmax),
    "isofilter": Law(
        "sqrt(log(1 + (n / n0) (e^(s^2) - 1))) / s, s the spread of the logits",
        ("n0", "spread"),
        "this package: keeps the filter rate 2 sqrt((e^(s^2) - 1) / n) of n0 tokens for Gaussian logits",
        _isofilter,
    ),
}
"""Name of a law to its formula."""
