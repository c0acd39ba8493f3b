"""Block Krylov search for the largest singular value of M = (I - J) A, of many attention maps at once."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from uncollapse.spectra.operators import AttentionMap, refuse_undefined

SMALL = 1e-3
"""Filter rates below this are certified to tolerance x SMALL, not to tolerance x themselves."""
CHANCE = 1e-6
"""How likely the random start may have hidden a singular value above the ceiling, at most, a map."""

_COLUMNS = _RANDOM = 4
_BLOCK = _COLUMNS + _RANDOM
_POWERS = 2
_MOST_BLOCKS = 16
_MOST_SAMPLED_ROWS = 16
_EXCESSES = torch.logspace(-5, 0.5, 45, dtype=torch.float64, device="cpu")


@dataclass(frozen=True)
class Statistics:
    """What the search needs to know of every map A first.

    Args:
        mean: its mean row.
        squares: |A|_F^2.
    """

    mean: Float[Tensor, "*maps n"]
    squares: Float64[Tensor, "*maps"]

    def flat(self) -> Self:
        """With all maps in one row."""
        return type(self)(self.mean.flatten(0, -2), self.squares.flatten())

    def of(self, maps: slice) -> Self:
        """Those of some maps."""
        return type(self)(self.mean[maps], self.squares[maps])

    @property
    def energy(self) -> Float64[Tensor, " maps"]:
        """|M|_F^2, rounded up."""
        common = self.mean.shape[-1] * self.mean.cpu().double().square().sum(-1)
        rounding = 10 * torch.finfo(self.mean.dtype).eps * self.squares
        return (self.squares - common).clamp(min=0) + rounding


def search(
    operator: AttentionMap,
    tolerance: float,
    seed: int,
    statistics: Statistics | None = None,
    most_blocks: int | None = None,
) -> Float64[Tensor, "numbers maps"]:
    """Value, residual and ceiling of every map, as `FilterRates` defines them; more than 48 tokens.

    The block that starts it goes twice through every map (power steps) before it spans a space: so the first three
    products with M'M need one look at each map in memory, which is what costs time.
    """
    maps = operator.shape.numel()
    generator = torch.Generator("cpu").manual_seed(seed)
    random = torch.randn(_RANDOM, operator.n, generator=generator, device="cpu")
    opening = _Opening.of(operator, random.to(operator.device, operator.dtype), statistics)
    refuse_undefined(opening.energy)
    chances = _chance_factors(float(random.square().sum()))
    found = torch.zeros(3, maps, dtype=torch.float64, device="cpu")
    active, mean, space = torch.arange(maps, device="cpu"), opening.mean, opening.space
    remaining: AttentionMap = operator.select(range(maps))
    for blocks in range(1, min(most_blocks or _MOST_BLOCKS, _MOST_BLOCKS, math.ceil(operator.n / _BLOCK)) + 1):
        if blocks > 1:
            outward = space.outward()
            space = space.extended(outward, _sweep(remaining, outward, mean))
        found[:, active], done = space.findings(opening.energy[active], chances[blocks - 1], tolerance)
        left = (~done).nonzero()[:, 0]
        if len(left) == 0:
            break
        if len(left) < len(active):
            active, remaining, mean = active[left], remaining.select(left.tolist()), mean[left.to(mean.device)]
            space = space.kept(left)
    return found


def _chance_factors(size: float) -> list[float]:
    """How far above the leading Ritz value a singular value may lie, but for a chance of `CHANCE`, by blocks.

    Let s be the leading Ritz value, x s a singular value with x > 1, and c the vector of inner products of its
    direction with the random vectors G. The space holds y^4 U(y) G, with y^2 standing for M'M / s^2 and U the
    Chebyshev polynomial of the second kind of degree 2 blocks - 2. Since sqrt(1 - y^2) |y^4 U(y)| <= 1 on [0, 1], a
    Ritz value as low as s needs x^4 sinh((2 blocks - 1) arcosh x) |c| <= |G|_F. But |c|^2 has a chi-square
    distribution with 4 degrees of freedom, which is below z with a chance under z^2 / 8. After Kuczynski &
    Wozniakowski (1992), SIAM J. Matrix Anal. Appl. 13.

    Args:
        size: |G|_F^2.
    """
    hidden = math.sqrt(size / math.sqrt(8 * CHANCE))
    return [_grown_to(hidden, 2 * blocks - 1) for blocks in range(1, _MOST_BLOCKS + 1)]


def _grown_to(size: float, degree: int) -> float:
    low, high = 1.0, math.cosh(math.asinh(size) / degree)
    for _ in range(40):
        middle = (low + high) / 2
        grown = middle ** (2 * _POWERS) * math.sinh(degree * math.acosh(middle))
        low, high = (middle, high) if grown <= size else (low, middle)
    return high


def _sweep(
    operator: AttentionMap, right: Float[Tensor, "maps vectors n"], mean: Float[Tensor, "maps n"]
) -> Float[Tensor, "maps vectors n"]:
    """M'M V, with each part of the maps read once for both products."""
    back = torch.zeros_like(right)
    common = right @ mean[..., None]
    rounding = torch.zeros_like(common)
    for part in operator.parts():
        left = right[part.maps] @ part.weights.mT
        left -= common[part.maps]
        rounding[part.maps] += left.sum(-1, keepdim=True)
        back[part.maps] += left @ part.weights
    # What MV has of its mean by rounding alone would grow by A', up to n times at a sink.
    return back.sub_(rounding * mean[:, None])


def _statistics(operator: AttentionMap) -> Statistics:
    maps, n = operator.shape.numel(), operator.n
    mean = torch.zeros(maps, n, dtype=operator.dtype, device=operator.device)
    squares = torch.zeros(maps, dtype=torch.float64, device="cpu")
    for part in operator.parts():
        norms = torch.linalg.vector_norm(part.weights, dim=(-2, -1))
        squares[part.maps] += norms.cpu().double().square()
        ones = part.weights.new_full((len(part.weights), 1, part.weights.shape[1]), 1 / n)
        mean[part.maps] += (ones @ part.weights)[:, 0]
    return Statistics(mean, squares)


def _start(operator: AttentionMap, random: Float[Tensor, "random n"]) -> Float[Tensor, "maps vectors n"]:
    """One-hot vectors at the columns that differ most between some rows, and the random vectors."""
    n = operator.n
    sample = operator.rows(torch.linspace(0, n - 1, min(_MOST_SAMPLED_ROWS, n // 8), device="cpu").round().long())
    sample -= sample.mean(-2, keepdim=True)
    start = sample.new_zeros(len(sample), _BLOCK, n)
    columns = sample.square_().sum(-2).topk(_COLUMNS).indices
    start[:, :_COLUMNS].scatter_(-1, columns[..., None], 1.0)
    start[:, _COLUMNS:] = random
    return start


@dataclass(frozen=True)
class _Space:
    """A Krylov space of every map: an orthonormal basis V, T = V'M'MV, and what M'M V has outside of it.

    Only the newest 8 directions of V have such a rest; `gram` is its Gram matrix. Small matrices are float64 on the
    processor.
    """

    basis: Float[Tensor, "maps size n"]
    small: Float64[Tensor, "maps size size"]
    rest: Float[Tensor, "maps vectors n"]
    gram: Float64[Tensor, "maps vectors vectors"]

    @classmethod
    def of(cls, block: Float[Tensor, "maps vectors n"], image: Float[Tensor, "maps vectors n"]) -> Self:
        """The span of an orthonormal block, given M'M times it."""
        return cls._of(block, torch.zeros(len(block), 0, 0, dtype=torch.float64, device="cpu"), image)

    @classmethod
    def _of(cls, basis: Tensor, known: Tensor, image: Tensor) -> Self:
        """From a basis, T without its newest directions, and their image, split into what is inside and the rest."""
        inside = image @ basis.mT
        rest = image - inside @ basis
        columns = inside.cpu().double()
        size = basis.shape[1]
        small = columns.new_zeros(len(columns), size, size)
        small[:, : size - _BLOCK, : size - _BLOCK] = known
        small[:, -_BLOCK:], small[:, :, -_BLOCK:] = columns, columns.mT
        small[:, -_BLOCK:, -_BLOCK:] = (columns[:, :, -_BLOCK:] + columns[:, :, -_BLOCK:].mT) / 2
        return cls(basis, small, rest, _gram(rest))

    def extended(self, block: Float[Tensor, "maps vectors n"], image: Float[Tensor, "maps vectors n"]) -> Self:
        """With 8 more directions, given M'M times them."""
        return self._of(torch.cat([self.basis, block], 1), self.small, image)

    def outward(self) -> Float[Tensor, "maps vectors n"]:
        """The rest as 8 more directions, orthonormal as far as they are independent."""
        block = self.rest
        for rounding in (100, 10):
            block = _orthonormal(block, rounding * torch.finfo(block.dtype).eps)
            block = block - (block @ self.basis.mT) @ self.basis
        return block

    def kept(self, maps: Tensor) -> Self:
        there = maps.to(self.basis.device)
        return type(self)(self.basis[there], self.small[maps], self.rest[there], self.gram[maps])

    def findings(
        self, energy: Float64[Tensor, " maps"], chance_factor: float, tolerance: float
    ) -> tuple[Float64[Tensor, "numbers maps"], Tensor]:
        """Value, residual and ceiling, and whether a map is done."""
        squares, vectors = torch.linalg.eigh(self.small)
        squares = squares.clamp(min=0)
        newest = vectors[:, -_BLOCK:]
        outside = (newest * (self.gram @ newest)).sum(1).clamp(min=0).sqrt()
        value = squares[:, -1].sqrt()
        size = value.clamp(min=SMALL)
        reach = squares + outside * _reaching(squares.shape[-1])
        residual = (reach.amax(-1).sqrt() - value) / size
        left_over = (energy - squares.sum(-1)).clamp(min=0)
        ceiling = value * (1 + _certain_excess(squares, outside, left_over).clamp(max=chance_factor - 1))
        done = (residual <= tolerance) | (ceiling - value <= tolerance * size)
        return torch.stack([value, residual, ceiling]), done


def _reaching(size: int) -> Float64[Tensor, " size"]:
    """How many times its distance each Ritz pair is taken to reach: the leading one once, the others twice.

    A leading pair may be found exactly while a larger singular value is still on its way, under a smaller Ritz value.
    """
    return torch.tensor([2.0] * (size - 1) + [1.0], dtype=torch.float64, device="cpu")


def _certain_excess(
    squares: Float64[Tensor, "maps size"], outside: Float64[Tensor, "maps size"], left_over: Float64[Tensor, " maps"]
) -> Float64[Tensor, " maps"]:
    """How far above the leading Ritz value, as a share of it, no singular value lies; infinity where nobody knows.

    In the basis of the Ritz vectors M'M = [[L, B'], [B, C]]: L holds the l_i, the columns of B have the lengths b_i,
    and C is at most its trace c. No eigenvalue lies beyond an x > c, x > l_i with sum_i b_i^2 / (x - l_i) <= x - c.
    The smallest such x on a grid is taken.
    """
    beyond = squares[:, -1:] * (1 + _EXCESSES) ** 2
    coupling = (outside[:, :, None] ** 2 / (beyond[:, None] - squares[:, :, None]).clamp(min=1e-300)).sum(1)
    enough = coupling < beyond - left_over[:, None]
    return torch.where(enough.any(-1), _EXCESSES[enough.int().argmax(-1)], torch.inf)


@dataclass(frozen=True)
class _Opening:
    """What the first look at every map gives: its mean row, |M|_F^2, and the space that the start leads to."""

    mean: Float[Tensor, "maps n"]
    energy: Float64[Tensor, " maps"]
    space: _Space

    @classmethod
    def of(cls, operator: AttentionMap, random: Float[Tensor, "random n"], known: Statistics | None) -> Self:
        maps, n = operator.shape.numel(), operator.n
        mean, energy = random.new_empty(maps, n), torch.empty(maps, dtype=torch.float64, device="cpu")
        block, image = random.new_empty(maps, _BLOCK, n), random.new_empty(maps, _BLOCK, n)
        for which, portion in operator.portions():
            statistics = _statistics(portion) if known is None else known.of(which)
            mean[which], energy[which] = statistics.mean, statistics.energy
            vectors = _start(portion, random)
            for _ in range(_POWERS):
                vectors = torch.linalg.qr(_sweep(portion, vectors, mean[which]).mT).Q.mT
            block[which], image[which] = vectors, _sweep(portion, vectors, mean[which])
        return cls(mean, energy, _Space.of(block, image))


def _gram(block: Float[Tensor, "maps vectors n"]) -> Float64[Tensor, "maps vectors vectors"]:
    return (block @ block.mT).cpu().double()


def _orthonormal(block: Float[Tensor, "maps vectors n"], shift: float) -> Float[Tensor, "maps vectors n"]:
    """Rows made orthonormal by a shifted Cholesky factor of their Gram matrix; dependent ones come out short.

    Short rows only lower Ritz values, which stay lower bounds. Fukaya et al. (2020), SIAM J. Sci. Comput. 42.
    """
    gram = _gram(block)
    norms = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    norms = norms.clamp(min=1e-30).maximum(1e-6 * norms.amax(-1, keepdim=True))
    eye = torch.eye(_BLOCK, dtype=torch.float64, device="cpu")
    factor, failed = torch.linalg.cholesky_ex(gram / (norms[:, :, None] * norms[:, None]) + shift * eye)
    weights: Tensor = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False) / norms[:, None]
    weights = weights.masked_fill_((failed > 0)[:, None, None], 0)
    return weights.to(block) @ block
