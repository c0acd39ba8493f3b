"""What theory says of filter rates and temperatures, and attention maps whose filter rate is known."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

from uncollapse.errors import ModelError, nearest

_LARGEST_EXPONENT = 600.0


def gaussian_law(spread: float, n: float) -> float:
    """The filter rate of softmax attention over independent Gaussian scores, for many tokens.

    2 sqrt((e^(s^2) - 1) / n): the entries of A have mean 1/n and variance (e^(s^2) - 1) / n^2, and a matrix of n x n
    independent entries of that variance has its largest singular value at 2 sqrt(n) standard deviations.

    How to read it: right to 5 % for s up to 0.75. From s = 1 on the single largest entry of a map counts by itself,
    and the law is too low for long texts (by 17 % at s = 1, n = 512; to less than half at s = 1.5, n = 2,048) and far
    too high for short ones, which look at few tokens each (`freezing_length`). Scores of real heads are neither
    Gaussian nor independent.

    Args:
        spread: s, standard deviation of the scores of a token.
        n: tokens.

    Raises:
        ModelError: a negative spread, or fewer than 1 token.

    Example:
        >>> round(gaussian_law(1.0, 128), 3)
        0.232
    """
    _check(spread, n)
    return 2 * math.sqrt(_expm1(spread**2) / n)


def quoted_bound(spread: float, n: float) -> float:
    """A formula quoted second-hand as the TempScale paper's bound on the filter rate of Gaussian scores.

    sqrt(n / (2 sqrt(1 + e^(-2 s^2)) (n - 1)^(3/2) + 1)).

    How to read it: shown beside measurements, never relied on. Independent Gaussian scores have mean filter rates
    above it: at s = 1 in texts shorter than about 200 tokens, at s = 1.5 shorter than some thousands. The theorem
    itself, with what it supposes, was not seen, so this says something of the formula and not of the paper.

    Args:
        spread: s, standard deviation of the scores of a token.
        n: tokens.

    Raises:
        ModelError: a negative spread, or fewer than 1 token.

    Example:
        >>> round(quoted_bound(1.0, 128), 3)
        0.205

    Reference:
        Quoted for Zhou et al. (2025), arXiv 2410.24200; not checked against the paper.
    """
    _check(spread, n)
    return math.sqrt(n / (2 * math.sqrt(1 + math.exp(-2 * spread**2)) * (n - 1) ** 1.5 + 1))


def freezing_length(spread: float) -> float:
    """Up to how many tokens Gaussian scores of this spread freeze attention on its top entries.

    e^(s^2 / 2), from s^2 = 2 log n, where the largest of n Gaussian scores takes over the sum of the softmax.

    How to read it: where n is below it, every token looks at hardly more than one other, and the filter rate does not
    depend on n. It stops falling much before: at s = 2 it is level from 32 to 512 tokens, although e^(s^2 / 2) is 7.

    Args:
        spread: s, standard deviation of the scores of a token.

    Raises:
        ModelError: a negative spread.

    Example:
        >>> round(freezing_length(3.0))
        90
    """
    _check(spread, 1)
    return _expm1(spread**2 / 2) + 1


def _log(n: float, n0: float, _spread: float | None, _dim: int | None) -> float:
    return math.log(n) / math.log(n0)


def _sqrtlog(n: float, n0: float, _spread: float | None, _dim: int | None) -> float:
    return math.sqrt(math.log(n) / math.log(n0))


def _infoscale(n: float, n0: float, _spread: float | None, dim: int | None) -> float:
    if dim is None or dim < 1:
        raise ModelError(f"The law 'infoscale' needs the width of a head, 1 or more, got dim={dim}.")
    return math.sqrt(math.expm1(-2 / dim * math.log(n)) / math.expm1(-2 / dim * math.log(n0)))


def _isofilter(n: float, n0: float, spread: float | None, _dim: int | None) -> float:
    if spread is None or spread <= 0:
        raise ModelError(f"The law 'isofilter' needs the spread of the scores at n0, above 0, got spread={spread}.")
    if spread**2 > _LARGEST_EXPONENT:
        return math.sqrt(1 + math.log(n / n0) / spread**2)
    return math.sqrt(math.log1p(n / n0 * math.expm1(spread**2))) / spread


LAWS: Mapping[str, Callable[[float, float, float | None, int | None], float]] = MappingProxyType(
    {"log": _log, "sqrtlog": _sqrtlog, "infoscale": _infoscale, "isofilter": _isofilter}
)
"""1 / tau of n tokens by the name of the law: of n, n0, the spread of the scores at n0, and the width of a head."""


def inverse_temperature(
    law: str, n: float, n0: float, *, spread: float | None = None, dim: int | None = None
) -> float:
    """1 / tau for a text of n tokens by a published law, 1 at n = n0.

    - "log": log n / log n0 (Su 2021; Chiang & Cholak 2022; Scalable-Softmax 2025).
    - "sqrtlog": sqrt(log n / log n0), what "isofilter" tends to for large spreads or lengths.
    - "infoscale": sqrt((1 - n^(-2/d)) / (1 - n0^(-2/d))), d the width of a head (Li et al. 2025, arXiv 2501.08570).
    - "isofilter": sqrt(log(1 + (n / n0) (e^(s^2) - 1))) / s, which keeps `gaussian_law` at its value for n0 tokens;
      the filter rate of Gaussian scores itself then rises with n, since they leave the range of that law.

    How to read it: scores are multiplied by it. Above 1 attention gets sharper, as it should for longer texts; below
    n0 all laws make it softer.

    Args:
        law: its name, a key of `LAWS`.
        n: tokens, above 1 for the laws in log n and "infoscale".
        n0: tokens of the length that stays as it is, above 1.
        spread: s, standard deviation of the scores of a token at n0; for "isofilter".
        dim: width of a head; for "infoscale".

    Raises:
        ModelError: an unknown law, a length of 1 or less, or a number the law needs that is missing or out of range.

    Example:
        >>> inverse_temperature("log", 4096, 64)
        2.0
    """
    if law not in LAWS:
        raise ModelError(f"Unknown law of temperature {law!r}. {nearest(law, LAWS, 'Laws')}")
    if not (n > 1 and n0 > 1):
        raise ModelError(f"The law {law!r} needs lengths above 1 token, got n={n} and n0={n0}.")
    return LAWS[law](n, n0, spread, dim)


def gaussian_map(n: int, spread: float, generator: torch.Generator | None = None) -> Float[Tensor, "n n"]:
    """Softmax attention over independent Gaussian scores of this spread; filter rate near `gaussian_law` for s <= 1.

    Args:
        n: tokens.
        spread: standard deviation of the scores.
        generator: of the scores; one of seed 0 unless given.

    Example:
        >>> gaussian_map(3, 0.0)[0]
        tensor([0.3333, 0.3333, 0.3333])
    """
    _check(spread, n)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    return torch.softmax(spread * torch.randn(n, n, generator=generator, device=generator.device), -1)


def uniform_map(n: int) -> Float[Tensor, "n n"]:
    """Every token looks everywhere alike: filter rate 0."""
    _check(0, n)
    return torch.full((n, n), 1 / n)


def identity_map(n: int) -> Float[Tensor, "n n"]:
    """Every token looks at itself only: filter rate 1, or 0 for one token."""
    _check(0, n)
    return torch.eye(n)


def sink_map(n: int, rows: int) -> Float[Tensor, "n n"]:
    """The first m rows look at token 0, the others everywhere alike: filter rate sqrt(m (n - m) / n) sqrt(1 - 1/n).

    It is largest for m = n / 2: sqrt(n - 1) / 2.

    Example:
        >>> sink_map(4, 1)[:2]
        tensor([[1.0000, 0.0000, 0.0000, 0.0000],
                [0.2500, 0.2500, 0.2500, 0.2500]])
    """
    _check(0, n)
    if not 0 <= rows <= n:
        raise ModelError(f"Expected from 0 to {n} rows that look at one token, got {rows}.")
    attention = uniform_map(n)
    attention[:rows] = 0
    attention[:rows, 0] = 1
    return attention


def block_map(n: int, block: int) -> Float[Tensor, "n n"]:
    """Blocks of tokens that look at their own block alike: filter rate 1, or 0 where there is one block only.

    Example:
        >>> block_map(3, 2)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    _check(0, n)
    if block < 1:
        raise ModelError(f"Expected blocks of 1 token or more, got {block}.")
    places = torch.arange(n) // block
    same = (places[:, None] == places).float()
    return same / same.sum(-1, keepdim=True)


def _check(spread: float, n: float) -> None:
    if not spread >= 0:
        raise ModelError(f"Expected a spread of scores of 0 or more, got {spread}.")
    if not n >= 1:
        raise ModelError(f"Expected 1 token or more, got {n}.")


def _expm1(exponent: float) -> float:
    return math.expm1(exponent) if exponent < _LARGEST_EXPONENT else math.inf
