"""Where attention goes: its entropy, its shares on special, own and near tokens, and the spread of its scores."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from uncollapse.errors import ModelError
from uncollapse.precision import in_full_precision
from uncollapse.spectra.operators import AttentionMap, StreamedMap, as_map, portions_of

_TINY = 1e-38


@in_full_precision
def entropy(attention: Float[Tensor, "*maps n n"] | AttentionMap) -> Float[Tensor, "*maps"]:
    """How widely a token looks around, on average.

    -1/n sum_i sum_j a_ij log a_ij, in nats.

    How to read it: 0 when every token looks at exactly one, log n when all look everywhere alike; exp of it is the
    number of tokens looked at. It grows with n by itself, so compare its share of log n across lengths. A text of one
    token has 0.

    Args:
        attention: [..., n, n] or an operator, padding cut off.

    Returns:
        A tensor of the leading shape.

    Raises:
        ModelError: from `DenseMap`, or NaN.

    Example:
        >>> entropy(torch.stack([torch.eye(4), torch.full((4, 4), 0.25)])).round(decimals=4).abs()
        tensor([0.0000, 1.3863])
    """
    operator = as_map(attention)
    total = torch.zeros(operator.shape.numel(), dtype=operator.dtype, device=operator.device)
    for part in operator.parts():
        terms = part.weights.clamp_min(_TINY).log_().mul_(part.weights)
        total[part.maps] -= terms.sum((-2, -1))
    _refuse_nan(total, "attention maps")
    return (total / operator.n).reshape(operator.shape)


@dataclass(frozen=True)
class Shares:
    """Shares of attention, means over the tokens that look; tensors of the maps' leading shape.

    The three overlap: a special token may be near, and the own token is near.

    Args:
        special: on special tokens; NaN where nobody says which they are.
        own: on the token itself.
        window: on tokens at most so many away, the token itself included.
    """

    special: Float[Tensor, "*maps"]
    own: Float[Tensor, "*maps"]
    window: Float[Tensor, "*maps"]


@in_full_precision
def shares(
    attention: Float[Tensor, "*maps n n"] | AttentionMap,
    special: Bool[Tensor, "*texts n"] | None = None,
    *,
    window: int = 8,
) -> Shares:
    """How much of the attention stays on special tokens, on the token itself, and close by.

    1/n sum_i sum_{j in S} a_ij with S the special tokens, {i}, or {j: |i - j| <= window}.

    How to read it: compare with uniform attention, which has |S|/n, 1/n and about (2 window + 1)/n. A share on special
    tokens far above that is a sink: attention put where it does little.

    Args:
        attention: [..., n, n] or an operator, padding cut off.
        special: which tokens are special ones, such as [CLS] and [SEP]: [n], or [texts, n] where texts is the first
            of the leading dimensions; None if nobody knows.
        window: tokens to each side.

    Raises:
        ModelError: from `DenseMap`, a mask that does not fit, a negative window, or NaN.

    Example:
        >>> found = shares(torch.full((10, 10), 0.1), torch.arange(10) == 0, window=1)
        >>> round(float(found.special), 4), round(float(found.own), 4), round(float(found.window), 4)
        (0.1, 0.1, 0.28)
    """
    operator = as_map(attention)
    if window < 0:
        raise ModelError(f"Expected a window of 0 tokens or more to each side, got {window}.")
    n, maps = operator.n, operator.shape.numel()
    chosen = _mask(operator, special)
    on_special, own, near = torch.zeros(3, maps, dtype=operator.dtype, device=operator.device)
    for part in operator.parts():
        on_special[part.maps] += (part.weights @ chosen[part.maps, :, None]).sum((-2, -1))
        of_part = diagonal_sums(part.weights, part.rows.start, min(window, n - 1))
        own[part.maps] += of_part[0]
        near[part.maps] += of_part[1]
    _refuse_nan(on_special, "attention maps")
    if special is None:
        on_special.fill_(torch.nan)
    return Shares(*(total.reshape(operator.shape) / n for total in (on_special, own, near)))


def _mask(operator: AttentionMap, special: Tensor | None) -> Float[Tensor, "maps n"]:
    """1 at special tokens, for every map."""
    n, leading = operator.n, operator.shape
    if special is None:
        special = torch.zeros(n, dtype=torch.bool, device="cpu")
    if special.dtype != torch.bool or special.shape not in {(n,), (*leading[:1], n)}:
        raise ModelError(
            f"Expected a mask of special tokens, truth values of shape [{n}] or {[*leading[:1], n]}, got "
            f"{special.dtype} {list(special.shape)}."
        )
    if special.dim() > 1:
        special = special.reshape(leading[0], *[1] * (len(leading) - 1), n)
    return special.to(operator.device, operator.dtype).expand(*leading, n).reshape(leading.numel(), n)


def diagonal_sums(
    weights: Float[Tensor, "maps rows n"], first: int, window: int
) -> tuple[Float[Tensor, " maps"], Float[Tensor, " maps"]]:
    """The weights on the diagonal, and those at most `window` from it, summed over some rows of each map.

    Args:
        weights: rows of maps, the first of them row `first`.
        first: counted from 0.
        window: tokens to each side.
    """
    own = weights.diagonal(first, -2, -1).sum(-1)
    near = own.clone()
    for offset in (*range(-window, 0), *range(1, window + 1)):
        if -weights.shape[-2] < first + offset < weights.shape[-1]:
            near += weights.diagonal(first + offset, -2, -1).sum(-1)
    return own, near


@in_full_precision
def score_spread(scores: Float[Tensor, "*maps n n"] | StreamedMap) -> Float[Tensor, "*maps"]:
    """How far apart the attention scores of a token are, on average: the s of the Gaussian laws.

    1/n sum_i sd_j(s_ij), the standard deviation (divided by the count) over the finite scores of a row.

    How to read it: 0 is uniform attention; with Gaussian scores `gaussian_law` holds for s up to 0.75, and attention
    is frozen on its top entries from s = sqrt(2 log n) on (3.1 at n = 128). A temperature tau divides it.

    Args:
        scores: what the softmax is taken of, [..., n, n], masked ones -infinity or near the lowest number; or maps
            that are made of their scores as they are looked at.

    Raises:
        ModelError: not square, NaN or +infinity, or a token whose scores are all masked.

    Example:
        >>> float(score_spread(torch.tensor([[1.0, 3.0], [5.0, -torch.inf]])))
        0.5
    """
    if isinstance(scores, StreamedMap):
        return _streamed_spread(scores)
    if not scores.is_floating_point() or scores.dim() < 2 or scores.shape[-1] != scores.shape[-2]:
        raise ModelError(
            f"Expected scores of floating numbers and shape [..., n, n], got {scores.dtype} {list(scores.shape)}."
        )
    maps = scores.reshape(-1, *scores.shape[-2:])
    dtype = torch.promote_types(scores.dtype, torch.float32)
    spread = torch.zeros(len(maps), dtype=dtype, device=scores.device)
    for which in portions_of(maps):
        spread[which] = _row_spread(maps[which]).mean(-1)
    _refuse_nan(spread, "scores (NaN, +infinity, or a token that sees nothing)")
    return spread.reshape(scores.shape[:-2])


def _streamed_spread(operator: StreamedMap) -> Float[Tensor, "*maps"]:
    spread = torch.zeros(operator.shape.numel(), dtype=operator.dtype, device=operator.device)
    for part in operator.score_parts():
        spread[part.maps] += _row_spread(part.weights).sum(-1)
    _refuse_nan(spread, "scores (NaN, +infinity, or a token that sees nothing)")
    return (spread / operator.n).reshape(operator.shape)


def _row_spread(scores: Float[Tensor, "maps rows n"]) -> Float[Tensor, "maps rows"]:
    seen = ~(scores <= torch.finfo(scores.dtype).min / 2)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if bool(seen.all()):
        return (scores - scores.mean(-1, keepdim=True)).square_().mean(-1).sqrt()
    count = seen.sum(-1, keepdim=True)
    mean = scores.masked_fill(~seen, 0).sum(-1, keepdim=True) / count
    return ((scores - mean).masked_fill_(~seen, 0).square_().sum(-1) / count[..., 0]).sqrt()


def _refuse_nan(numbers: Tensor, what: str) -> None:
    if bool(numbers.isnan().any()):
        index = int(numbers.isnan().nonzero()[0, 0])
        raise ModelError(
            f"Expected finite {what}, but map {index} (counted from 0) gives NaN. Cut padding off before."
        )
