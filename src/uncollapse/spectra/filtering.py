"""The filter rate of an attention head: how much of what tells tokens apart one attention step can keep."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from uncollapse.precision import in_full_precision
from uncollapse.spectra.krylov import SMALL, Statistics, search
from uncollapse.spectra.operators import AttentionMap, as_map, refuse_undefined

EXACT = 48
"""Up to so many tokens all singular values are computed."""


@dataclass(frozen=True)
class FilterRates:
    """Filter rates of attention maps, each with what is certain about it; tensors of the maps' leading shape.

    Args:
        value: sigma_a, from below: the filter rate is not under it, up to rounding (in float32 1e-5 of it, and
            5e-7 |A|_F, which is at most 5e-7 sqrt(n)).
        residual: how far above `value`, as a share of it (of 0.001 where it is smaller), a singular value can lie that
            the search has come near: max_i sqrt(l_i + c_i |M'M v_i - l_i v_i|) / value - 1 over all its Ritz pairs
            (l_i, v_i), c = 1 for the leading pair and 2 for the others. For the leading pair that is half of
            |M'u - s v| / s, and some singular value does lie within it.
        ceiling: no singular value lies above it. The smaller of two bounds: one from what the search has left of
            |M|_F (certain; near `value` where few directions carry the map, as in most heads of real models), one
            from its random start (wrong with a chance below 1e-6 a map; 1.05 to 4 times `value`).
    """

    value: Float[Tensor, "*maps"]
    residual: Float[Tensor, "*maps"]
    ceiling: Float[Tensor, "*maps"]

    def certified(self, tolerance: float = 1e-3) -> Bool[Tensor, "*maps"]:
        """Whether the residual or the ceiling puts the filter rate within this share of `value`."""
        above = (self.ceiling - self.value) / self.value.clamp(min=SMALL)
        # A thousandth more: a map that was done in float64 must not fall out again by rounding.
        return torch.minimum(self.residual, above) <= 1.001 * tolerance

    def _like(self, operator: AttentionMap) -> Self:
        parts = (self.value, self.residual, self.ceiling)
        return type(self)(*(part.to(operator.device, operator.dtype).reshape(operator.shape) for part in parts))


@in_full_precision
def filter_rate(
    attention: Float[Tensor, "*maps n n"] | AttentionMap,
    *,
    tolerance: float = 1e-3,
    seed: int = 0,
    statistics: Statistics | None = None,
    most_blocks: int | None = None,
) -> FilterRates:
    """The largest share of high-frequency energy that an attention map can let through, as an amplitude.

    sigma_a = |(I - J) A|_2, the largest singular value of the map A with the mean of each column taken out
    (J = 11'/n). Because A1 = 1, (I - J) A X = (I - J) A (I - J) X: what tells tokens apart after attention comes only
    from what told them apart before, and |HC[AX]|_F <= sigma_a |HC[X]|_F.

    How to read it: 0 when all rows are equal (uniform attention, or all tokens looking at the same one), 1 for A = I,
    above 1 when rows take sides: of n tokens m that stare at one and n - m that look everywhere give about
    sqrt(m (n - m) / n). Below 1 every step pulls tokens together. It is the largest gain, not the usual one: real
    states need not lie along that direction. 0 for a text of one token.

    Up to 48 tokens all singular values are computed in float64. Beyond, a block Krylov search on M'M, M = (I - J) A,
    with 8 vectors: the 4 columns that differ most between up to 16 rows, where real heads have their sinks, and 4
    random ones. It goes on with the maps that are not certified yet, to 16 blocks at most. A map is done as soon as no
    Ritz pair of its space reaches beyond (1 + tolerance) value, or the ceiling lies below that; a map that is not done
    at the end keeps its residual, and `FilterRates.certified` tells. What no such search excludes is a larger singular
    value whose direction the start hardly contains: `FilterRates.ceiling` says how large it could be.

    Args:
        attention: [..., n, n] or an operator. Padding cut off; half precision is raised to float32.
        tolerance: relative accuracy; absolute, times 0.001, for filter rates below 0.001.
        seed: of the random start. A map has the same filter rate in any batch, up to rounding.
        statistics: mean row and energy of every map, where somebody has them already.
        most_blocks: where the search ends at the latest, 16 unless fewer are asked for; with few the value is a lower
            bound that is mostly near, and its residual says how near.

    Returns:
        Three tensors of the leading shape, float32, or float64 for maps in float64.

    Raises:
        ModelError: from `DenseMap`, or a map that holds NaN or infinity.

    Example:
        >>> rates = filter_rate(torch.stack([torch.eye(100), torch.full((100, 100), 0.01)]))
        >>> rates.value.round(decimals=4), rates.certified()
        (tensor([1., 0.]), tensor([True, True]))

    Reference:
        Wang et al. (2022), Anti-oversmoothing in deep vision transformers via the Fourier domain analysis, ICLR; Zhou
        et al., arXiv 2410.24200 (filter rate). Musco & Musco (2015), Randomized block Krylov methods, NeurIPS (there
        from random vectors only).
    """
    operator = as_map(attention)
    with torch.no_grad(), _without_denormals():
        if operator.n <= EXACT:
            found = _all_values(operator)
        else:
            known = None if statistics is None else statistics.flat()
            found = search(operator, tolerance, seed, known, most_blocks)
    return FilterRates(*found)._like(operator)


def _all_values(operator: AttentionMap) -> Float[Tensor, "numbers maps"]:
    maps = operator.rows(torch.arange(operator.n, device="cpu")).cpu().double()
    refuse_undefined(maps.sum((-2, -1)))
    maps -= maps.mean(-2, keepdim=True)
    value = torch.linalg.eigvalsh(maps @ maps.mT)[:, -1].clamp(min=0).sqrt()
    return torch.stack([value, torch.zeros_like(value), value])


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Take weights below 1e-38 for 0 in this thread: a processor multiplies them a hundred times slower."""
    before = float(torch.tensor(1e-39, device="cpu") * 1) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
