"""The temperature at which a head filters, or spreads its attention, as it does at another length."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from uncollapse.attention.observing import Logits, upcast
from uncollapse.explanation.maps import as_operator
from uncollapse.spectra import entropy, filter_rate, measure_entropy, measure_heads

KEPT: tuple[str, ...] = ("filter_rate", "entropy")
"""What a temperature can keep."""

LOWEST, HIGHEST = 0.125, 8.0
"""Temperatures looked at."""

STEPS = 7
"""Steps of the search: what is kept is then kept to about 2 %."""

BLOCKS = 1
"""Of the search for a filter rate: very sharp and very flat maps take many to certify, and few to come near."""

_TINY = 1e-12


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

    Regula falsi on logs, tau between LOWEST and HIGHEST (Illinois: an end that stays counts half the next time). NaN
    where the two ends do not enclose the target: then no temperature keeps it. The entropy rises with tau; the filter
    rate mostly falls, and where it does not, what is found is one of several solutions. The scores are those of the
    model as it is: the temperatures of the layers below are not in them.
    """
    wanted = {name: torch.as_tensor(targets.values[name][layer]) for name in targets.values}
    return {name: _cross(partial(_at, MEASURED[name], logits, seed), values) for name, values in wanted.items()}


def _at(
    measure: Callable[[Logits, torch.Tensor, int], torch.Tensor], logits: Logits, seed: int, log_tau: torch.Tensor
) -> torch.Tensor:
    return measure(logits, log_tau, seed)


def _cross(measure: Callable[[torch.Tensor], torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """The tau where measure(log tau) meets the target; both are [..., heads] and positive, and compared by logs."""
    left, right = torch.tensor(np.log(LOWEST)), torch.tensor(np.log(HIGHEST))
    at_left, at_right = (measure(end).clamp(min=_TINY).log() for end in (left, right))
    goal = target[: at_left.shape[-1]].to(at_left).clamp(min=_TINY).log()
    at_left, at_right = at_left - goal, at_right - goal
    enclosed = torch.sign(at_left) * torch.sign(at_right) <= 0
    left, right = left.expand_as(at_left).to(at_left), right.expand_as(at_left).to(at_left)
    for _ in range(STEPS):
        middle = _between(left, right, at_left, at_right)
        at_middle = measure(middle).clamp(min=_TINY).log() - goal
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


def _filter_rates(logits: Logits, log_tau: torch.Tensor, seed: int) -> torch.Tensor:
    if logits.plain:
        return measure_heads(*_sharpened(logits, log_tau), logits.scale, seed=seed, most_blocks=BLOCKS).rates.value
    maps = as_operator(logits, (-log_tau).exp())
    return filter_rate(maps, tolerance=1e-2, seed=seed, most_blocks=BLOCKS).value


def _entropies(logits: Logits, log_tau: torch.Tensor, _seed: int) -> torch.Tensor:
    """As a share of log n, so that lengths compare."""
    if logits.plain:
        found = measure_entropy(*_sharpened(logits, log_tau), logits.scale)
    else:
        found = entropy(as_operator(logits, (-log_tau).exp()))
    return found / math.log(max(_tokens(logits), 2))


MEASURED: Mapping[str, Callable[[Logits, torch.Tensor, int], torch.Tensor]] = {
    "filter_rate": _filter_rates,
    "entropy": _entropies,
}
"""How each of KEPT follows from a temperature."""


def _sharpened(logits: Logits, log_tau: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Query over tau, and key."""
    assert logits.query is not None
    assert logits.key is not None
    return upcast(logits.query) * _inverse(log_tau), upcast(logits.key)


def _inverse(log_tau: torch.Tensor) -> torch.Tensor:
    """1 / tau, a number or one a text and head."""
    inverse = (-log_tau).exp()
    return inverse[..., None, None] if inverse.ndim else inverse


def _tokens(logits: Logits) -> int:
    seen = logits.formed if logits.query is None else logits.query
    assert seen is not None
    return seen.shape[-2]
