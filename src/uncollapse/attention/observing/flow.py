"""Find the residual stream of a layer by what its modules hand to each other, not by their names.

A layer adds two branches to a stream: attention and an MLP. Every sum is looked for in numbers, among all tensors
that go into or come out of the layer's modules on a small batch: stream + factor * branch = stream.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

NOT_ADDED = "what its attention gives is nowhere added to what enters the layer; that stream is scaled or bypassed"
NOT_HANDED_ON = (
    "what it hands on is not the stream plus attention plus one MLP, each normed or not; it has a bottleneck, "
    "adapters, several MLPs or inputs beside the stream"
)
_ENTRIES = 4096
"""Entries of a tensor that are compared in the search; what is found is then checked on all of them."""


@dataclass(frozen=True)
class Place:
    """Where a tensor is seen in a layer.

    Args:
        module: path of the module in the layer, "" for the layer itself.
        side: "input" or "output".
        key: which argument or which part of the output; None for an output that is the tensor itself.
        call: which call of the module within one run of the layer, from 0.
    """

    module: str
    side: str
    key: int | str | None
    call: int


@dataclass(frozen=True, eq=False)
class Sight:
    """A tensor as wide as the stream, seen at a place; its module's class; some of its entries."""

    place: Place
    kind: str
    entries: torch.Tensor

    @property
    def is_norm(self) -> bool:
        """Whether the module normalises."""
        return "norm" in self.kind.lower()


@dataclass(frozen=True)
class Flow:
    """The stages of a layer's residual stream, in order: name, where it is seen, what it is multiplied by."""

    stages: tuple[tuple[str, Place, float], ...]

    def is_as(self, other: "Flow") -> bool:
        """Whether another flow is the same, its factors to rounding."""
        pairs = zip(self.stages, other.stages, strict=False)
        same = all(a[:2] == b[:2] and math.isclose(a[2], b[2], rel_tol=1e-3) for a, b in pairs)
        return same and len(self.stages) == len(other.stages)


@dataclass(frozen=True, eq=False)
class _Sum:
    """stream + factor * branch = total, and how far it is from that, as a share of what is added."""

    branch: Sight
    factor: float
    total: Sight
    error: float


def sight(place: Place, kind: str, tensor: torch.Tensor) -> Sight:
    """Keep some entries of a tensor, the same ones for every tensor of its size."""
    flat = tensor.detach().reshape(-1)
    # An odd step meets every dimension of the stream, whose number is even.
    step = (flat.numel() // _ENTRIES) | 1
    return Sight(place, kind, flat[::step].cpu().clone())


def find_flow(sights: Sequence[Sight], site: str) -> Flow | str:
    """The residual stream of one layer, or why it was not found.

    Args:
        sights: all tensors as wide as the stream, in the order they were seen: the layer's input first, its output
            last.
        site: path of the attention module in the layer, "" if it is the layer.
    """
    started = next((i for i, seen in enumerate(sights) if seen.place.module == site), None)
    first = None if started is None else _first_sum(sights, started)
    if first is None:
        return _parallel(sights, site) or NOT_ADDED
    return _serial(sights, first) or NOT_HANDED_ON


def _first_sum(sights: Sequence[Sight], started: int) -> _Sum | None:
    """The first tensor that is the layer's input plus something that came out of a module before it."""
    for place in range(started + 1, len(sights)):
        branches = [seen for seen in sights[started:place] if seen.place.side == "output"]
        if found := _best_sum(sights[0], branches, [sights[place]]):
            return found
    return None


def _serial(sights: Sequence[Sight], first: _Sum) -> Flow | None:
    """Attention, then an MLP on the stream after it; norms before, after or on both sides of the branches."""
    added = sights.index(first.total)
    branches = [seen for seen in sights[added:] if seen.place.side == "output"]
    for norm in (None, *_norms_of(first.total, sights[added:])):
        for last in (None, *_normed_last(sights)):
            total = sights[-1] if last is None else last
            if second := _best_sum(first.total if norm is None else norm, branches, [total]):
                return _flow(
                    ("input", sights[0], 1.0),
                    ("attention", first.branch, first.factor),
                    ("after attention", first.total, 1.0),
                    ("attention norm", norm, 1.0),
                    ("mlp", second.branch, second.factor),
                    ("after mlp", total, 1.0),
                    ("mlp norm", None if last is None else sights[-1], 1.0),
                )
    return None


def _parallel(sights: Sequence[Sight], site: str) -> Flow | None:
    """Attention and MLP both read the layer's input, and both are added at once."""
    outputs = [seen for seen in sights[1:-1] if seen.place.side == "output"]
    attention = [seen for seen in outputs if seen.place.module == site]
    others = [seen for seen in outputs if seen.place.module.split(".")[0] != site.split(".")[0]]
    for branch in attention:
        for other in others:
            if factors := _two_factors(sights[0], sights[-1], branch, other):
                return _flow(
                    ("input", sights[0], 1.0),
                    ("attention", branch, factors[0]),
                    ("mlp", other, factors[1]),
                    ("after mlp", sights[-1], 1.0),
                )
    return None


def _flow(*stages: tuple[str, Sight | None, float]) -> Flow:
    return Flow(tuple((name, seen.place, factor) for name, seen, factor in stages if seen is not None))


def _norms_of(total: Sight, later: Sequence[Sight]) -> Iterator[Sight]:
    """What comes out of the norms that take exactly this tensor."""
    for seen in later:
        if seen.place.side == "input" and seen.is_norm and torch.equal(seen.entries, total.entries):
            yield from _outputs_of(seen, later)


def _normed_last(sights: Sequence[Sight]) -> Iterator[Sight]:
    """What goes into the norms whose output is what the layer hands on."""
    for seen in sights[1:-1]:
        results = _outputs_of(seen, sights) if seen.place.side == "input" and seen.is_norm else ()
        if any(torch.equal(result.entries, sights[-1].entries) for result in results):
            yield seen


def _outputs_of(entered: Sight, sights: Iterable[Sight]) -> Iterator[Sight]:
    for seen in sights:
        same = (seen.place.module, seen.place.call) == (entered.place.module, entered.place.call)
        if same and seen.place.side == "output":
            yield seen


def _best_sum(stream: Sight, branches: Sequence[Sight], totals: Sequence[Sight]) -> _Sum | None:
    """The pair that fits best among those that fit as well as rounding allows."""
    sums = [found for total in totals for branch in branches if (found := _sum(stream, branch, total))]
    return min(sums, key=lambda found: found.error, default=None)


def _sum(stream: Sight, branch: Sight, total: Sight) -> _Sum | None:
    # Added in the model's own precision, a sum without factors comes out bit for bit, however coarse it is.
    if torch.equal(total.entries, stream.entries):
        return None
    if torch.equal(total.entries, stream.entries + branch.entries):
        return _Sum(branch, 1.0, total, 0.0)
    added, size = _added(stream, total), float(branch.entries.double().norm()) ** 2
    factor = float(added @ branch.entries.double()) / size if size else 0.0
    error = float((added - factor * branch.entries.double()).norm() / added.norm())
    return _Sum(branch, factor, total, error) if error <= _rounding(stream, total) else None


def _two_factors(stream: Sight, total: Sight, one: Sight, other: Sight) -> tuple[float, float] | None:
    x, a, b = stream.entries, one.entries, other.entries
    if any(torch.equal(total.entries, both) for both in ((a + b) + x, (x + a) + b, (x + b) + a)):
        return 1.0, 1.0
    branches, added = torch.stack([a, b], 1).double(), _added(stream, total)
    if not bool(added.any()) or int(torch.linalg.matrix_rank(branches)) < 2:
        return None
    factors = torch.linalg.lstsq(branches, added[:, None]).solution[:, 0]
    fits = float((added - branches @ factors).norm() / added.norm()) <= _rounding(stream, total)
    return (float(factors[0]), float(factors[1])) if fits else None


def _added(stream: Sight, total: Sight) -> torch.Tensor:
    return total.entries.double() - stream.entries.double()


def _rounding(stream: Sight, total: Sight) -> float:
    """The error that rounding of a sum explains, as a share of what is added; never so much that anything fits."""
    size = float(stream.entries.double().norm() + total.entries.double().norm())
    precision = max(torch.finfo(seen.entries.dtype).eps for seen in (stream, total))
    return min(0.05, 4 * precision * size / float(_added(stream, total).norm()))
