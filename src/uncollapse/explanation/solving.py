"""The temperature at which a head filters, or spreads its attention, as it does at another length."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from uncollapse.attention.observing import Logits
from uncollapse.spectra import entropy, filter_rate

KEPT: tuple[str, ...] = ("filter_rate", "entropy")
"""What a temperature can keep."""

LOWEST, HIGHEST = 0.125, 8.0
"""Temperatures looked at."""

STEPS = 8
"""Steps of the search: a tau is then known to about 1 %."""


@dataclass(frozen=True, eq=False)
class Targets:
    """Values of the heads at the length where they are to stay.

    Args:
        n0: that length, in tokens.
        values: by measure of KEPT, float64 [layers, heads], mean over documents.
    """

    n0: int
    values: Mapping[str, npt.NDArray[np.float64]]


def solve(logits: Logits, targets: Targets, layer: int, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """For every text and head, the tau at which softmax(scores / tau) has the value of n0: [texts, heads] a measure.

    Regula falsi on log tau between LOWEST and HIGHEST (Illinois: an end that stays counts half the next time). NaN
    where the two ends do not enclose the target: then no temperature keeps it. The entropy rises with tau; the filter
    rate mostly falls, and where it does not, what is found is one of several solutions. The scores are those of the
    model as it is: the temperatures of the layers below are not in them.
    """
    wanted = {name: torch.as_tensor(targets.values[name][layer]) for name in targets.values}
    return {name: _cross(MEASURED[name](logits, seed), values) for name, values in wanted.items()}


def _cross(measure: Callable[[torch.Tensor], torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """The tau where measure(log tau) meets the target; both are [..., heads]."""
    left, right = torch.tensor(np.log(LOWEST)), torch.tensor(np.log(HIGHEST))
    at_left = measure(left)
    goal = target[: at_left.shape[-1]].to(at_left)
    at_left, at_right = at_left - goal, measure(right) - goal
    enclosed = torch.sign(at_left) * torch.sign(at_right) <= 0
    left, right = left.expand_as(at_left).to(at_left), right.expand_as(at_left).to(at_left)
    for _ in range(STEPS):
        middle = _between(left, right, at_left, at_right)
        at_middle = measure(middle) - goal
        same = torch.sign(at_middle) == torch.sign(at_left)
        at_right = torch.where(same, at_right / 2, at_middle)
        right = torch.where(same, right, middle)
        at_left = torch.where(same, at_middle, at_left / 2)
        left = torch.where(same, middle, left)
    found = torch.where(at_left.abs() < at_right.abs(), left, right)
    return torch.where(enclosed, found.exp(), torch.full_like(found, torch.nan))


def _between(left: torch.Tensor, right: torch.Tensor, at_left: torch.Tensor, at_right: torch.Tensor) -> torch.Tensor:
    """Where the line through both ends is 0; the middle where it has no slope."""
    slope = at_right - at_left
    share: torch.Tensor = torch.where(slope == 0, 0.5, -at_left / torch.where(slope == 0, 1.0, slope))
    return left + share.clamp(0.02, 0.98) * (right - left)


def _filter_rates(logits: Logits, seed: int) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda log_tau: filter_rate(_map(logits, log_tau), tolerance=1e-2, seed=seed).value


def _entropies(logits: Logits, _seed: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """As a share of log n, so that lengths compare."""

    def measure(log_tau: torch.Tensor) -> torch.Tensor:
        attention = _map(logits, log_tau)
        return entropy(attention) / math.log(attention.shape[-1])

    return measure


MEASURED: Mapping[str, Callable[[Logits, int], Callable[[torch.Tensor], torch.Tensor]]] = {
    "filter_rate": _filter_rates,
    "entropy": _entropies,
}
"""How each of KEPT follows from a temperature."""


def _map(logits: Logits, log_tau: torch.Tensor) -> torch.Tensor:
    inverse = (-log_tau).exp()
    return logits.map(inverse[..., None, None] if inverse.ndim else inverse)
