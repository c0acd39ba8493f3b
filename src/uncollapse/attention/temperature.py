"""The temperature of attention: softmax(scores / tau), one number for the model, a layer, or a head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from uncollapse.errors import ArchitectureError, NotationError

if TYPE_CHECKING:  # a notation is read, and refused, without waiting for torch
    import torch

    from uncollapse.attention.sites import Site

Tau = float | tuple[float, ...] | tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Temperature:
    """Divide all attention logits by tau: softmax(QK' / (tau sqrt d)).

    tau < 1 sharpens attention, tau = 1 is the model as it was, tau > 1 softens it. Published for length collapse
    as TempScale with one tau for the whole model; a value a layer or a head is the same operator.

    Args:
        tau: a number; one number a layer; or for each layer one number a head. All finite and > 0.

    Raises:
        NotationError: a tau that is not finite or not > 0, or a ragged shape.

    >>> str(Temperature(0.8)), Temperature([1, 0.5]).tau
    ('temperature(0.8)', (1.0, 0.5))

    Source: Zhou et al., Length-Induced Embedding Collapse in PLM-based Models, ACL 2025 (arXiv 2410.24200).
    """

    kind: ClassVar[str] = "model"
    tau: Tau

    def __init__(self, tau: float | Sequence[float] | Sequence[Sequence[float]]) -> None:
        object.__setattr__(self, "tau", _read_tau(tau, tau))

    def __str__(self) -> str:
        return f"temperature({_print_tau(self.tau)})"

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types; `from_json` reads it back."""
        return {"fix": "temperature", "tau": self.tau}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read what `to_json` gave.

        >>> Temperature.from_json({"fix": "temperature", "tau": [0.9, 0.8]})
        Temperature(tau=(0.9, 0.8))
        """
        if set(data) != {"fix", "tau"} or data["fix"] != "temperature":
            raise NotationError(f'Expected {{"fix": "temperature", "tau": ...}}, got {data!r}.')
        return cls(data["tau"])

    @property
    def is_identity(self) -> bool:
        """Whether every tau is exactly 1."""
        return all(value == 1.0 for value in _flatten(self.tau))

    @property
    def softens(self) -> bool:
        """Whether any tau is above 1, the opposite of what the published remedy does."""
        return any(value > 1.0 for value in _flatten(self.tau))

    def factors(self, sites: "Sequence[Site]") -> "dict[int, torch.Tensor]":
        """1 / tau of every layer, float64 [heads], checked against the model's layers and heads.

        Raises:
            ArchitectureError: the number of layers or heads is not the model's.
        """
        import torch

        heads = {layer: site.heads for site in sites for layer in site.layers}
        if isinstance(self.tau, float):
            return {layer: torch.full((count,), 1 / self.tau, dtype=torch.float64) for layer, count in heads.items()}
        self._check_count("layers", len(heads), len(self.tau))
        return {layer: self._row(heads[layer], self.tau[layer], layer) for layer in sorted(heads)}

    def _row(self, heads: int, tau: float | tuple[float, ...], layer: int) -> "torch.Tensor":
        import torch

        if isinstance(tau, float):
            return torch.full((heads,), 1 / tau, dtype=torch.float64)
        self._check_count(f"heads in layer {layer}", heads, len(tau))
        return 1 / torch.tensor(tau, dtype=torch.float64)

    def _check_count(self, what: str, expected: int, got: int) -> None:
        if expected != got:
            shown = str(self) if len(str(self)) < 80 else f"{str(self)[:77]}..."
            raise ArchitectureError(
                f"The model has {expected} attention {what}, but {shown} gives {got}. "
                f"Give {expected} numbers, or one number for all."
            )


def _read_tau(tau: Any, whole: Any) -> Tau:
    if isinstance(tau, (list, tuple)):
        if not tau:
            raise NotationError(f"`temperature({whole!r})`: expected at least one number, got an empty list.")
        values = tuple(_read_tau(value, whole) for value in tau)
        depths = {_depth(value) for value in values}
        if len(depths) > 1 or max(depths) > 1:
            raise NotationError(
                f"`temperature({whole!r})`: expected a number, one number a layer, or one list of numbers a layer."
            )
        return values  # type: ignore[return-value]
    if isinstance(tau, bool) or not isinstance(tau, (int, float)):
        raise NotationError(f"`temperature({whole!r})`: tau must be a number > 0, got {tau!r}.")
    if not (-1e300 < tau < 1e300 and tau > 0):
        comma = " Decimals have a point: 0.9, not 0,9." if tau == 0 and isinstance(whole, (list, tuple)) else ""
        raise NotationError(
            f"`temperature({whole!r})`: tau must be finite and > 0, got {tau}. "
            f"Use `temperature(1.0)` for the unchanged model, less than 1 for sharper attention.{comma}"
        )
    return float(tau)


def _depth(tau: Tau) -> int:
    return 0 if isinstance(tau, float) else 1 + _depth(tau[0])


def _flatten(tau: Tau) -> list[float]:
    return [tau] if isinstance(tau, float) else [value for part in tau for value in _flatten(part)]


def _print_tau(tau: Tau) -> str:
    return repr(tau) if isinstance(tau, float) else f"[{', '.join(_print_tau(part) for part in tau)}]"
