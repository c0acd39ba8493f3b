"""Several numbers of the same tensors at once: what costs time is reading them from memory, so each is read once."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from uncollapse.precision import in_full_precision
from uncollapse.spectra.energies import as_states
from uncollapse.spectra.filtering import FilterRates, filter_rate
from uncollapse.spectra.krylov import Statistics
from uncollapse.spectra.maps import Shares, diagonal_sums, entropy, score_spread, shares
from uncollapse.spectra.operators import PART_BYTES_ELSEWHERE, StreamedMap

TOLERANCE = 1e-2
"""To which filter rates are certified here; a value converges with the square of its residual, so it is far nearer."""

CACHED_BYTES = {"cpu": 1 << 20}
"""Bytes of maps that are made and looked at in one go: on a processor so many that they are still near it."""

SAFE = (1e-20, 1e30)
"""Sums of e^s over a row between which no score is lost to underflow or overflow."""

HELD_BYTES = {"cpu": 16 << 20}
"""Bytes of maps that are held at once; the memory is written over, since fresh memory costs more than arithmetic.

Elsewhere both are `PART_BYTES_ELSEWHERE`: a card has no use for small parts, each of which keeps it waiting."""

STREAMED_BYTES = 1 << 30
"""A single map of more bytes is not held either (some 16,000 tokens)."""


@dataclass(frozen=True)
class HeadNumbers:
    """What one attention layer does, a number a text and head; tensors [texts, heads].

    Args:
        rates: filter rates.
        entropy: mean over tokens, in nats.
        shares: on special, own and near tokens.
        spread: mean standard deviation of a token's scores.
    """

    rates: FilterRates
    entropy: Float[Tensor, "texts heads"]
    shares: Shares
    spread: Float[Tensor, "texts heads"]


@in_full_precision
def measure_heads(
    query: Float[Tensor, "texts heads n width"],
    key: Float[Tensor, "texts heads n width"],
    scale: float,
    *,
    special: Bool[Tensor, "texts n"] | None = None,
    window: int = 8,
    seed: int = 0,
    most_blocks: int | None = None,
) -> HeadNumbers:
    """Filter rate, entropy, shares and score spread of softmax(scale QK'), as the functions of those names give them.

    Each map is formed once, a few at a time, and what is made of it is made while it is near the processor.

    Args:
        query, key: without padding, keys repeated to the query heads; float32 or float64.
        scale: what QK' is multiplied by.
        special, window: as for `shares`.
        seed, most_blocks: as for `filter_rate`.

    Raises:
        ModelError: as the functions of those names.

    >>> numbers = measure_heads(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2), 1.0)
    >>> round(float(numbers.entropy), 4), float(numbers.spread), round(float(numbers.rates.value), 6) + 0
    (1.3863, 0.0, 0.0)
    """
    texts, heads, n, _ = query.shape
    if n * n * query.element_size() > STREAMED_BYTES:
        streamed = StreamedMap(query, key, scale)
        return measure_streamed(streamed, special=special, window=window, seed=seed, most_blocks=most_blocks)
    flat_query, flat_key = (query * scale).flatten(0, 1), key.flatten(0, 1)
    together = _maps_in(HELD_BYTES, query)
    held = query.new_empty(min(together, texts * heads), n, n)
    found = [
        _measure_some(
            flat_query[few],
            flat_key[few],
            held[: few.stop - few.start],
            window=window,
            seed=seed,
            most_blocks=most_blocks,
        )
        for few in (slice(first, min(first + together, texts * heads)) for first in range(0, texts * heads, together))
    ]
    parts = {
        name: _shaped(torch.cat([getattr(part, name) for part in found]), texts, heads)
        for name in _Some.__dataclass_fields__
    }
    looked_at = parts.pop("mean")
    on_special = torch.full_like(parts["own"], torch.nan)
    if special is not None:
        on_special = (looked_at * special[:, None].to(looked_at)).sum(-1)
    rates = FilterRates(parts["value"], parts["residual"], parts["ceiling"])
    return HeadNumbers(rates, parts["entropy"], Shares(on_special, parts["own"], parts["near"]), parts["spread"])


def _maps_in(part: dict[str, int], like: Tensor) -> int:
    """How many maps of tensors [..., n, anything] a part holds, at least one."""
    size = part.get(like.device.type, PART_BYTES_ELSEWHERE)
    return max(1, size // (like.shape[-2] ** 2 * like.element_size()))


def _shaped(numbers: Tensor, texts: int, heads: int) -> Tensor:
    return numbers.reshape(texts, heads, *numbers.shape[1:])


@in_full_precision
def measure_streamed(
    operator: StreamedMap,
    *,
    special: Bool[Tensor, "texts n"] | None = None,
    window: int = 8,
    seed: int = 0,
    most_blocks: int | None = None,
) -> HeadNumbers:
    """The same of maps so large that not even one is held: of texts of any length, in bounded memory.

    Args:
        operator: maps of shape [texts, heads].
        special, window: as for `shares`.
        seed, most_blocks: as for `filter_rate`.

    >>> numbers = measure_streamed(StreamedMap(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2), 1.0, causal=True))
    >>> round(float(numbers.entropy), 4), float(numbers.spread), round(float(numbers.shares.own), 4)
    (0.7945, 0.0, 0.5208)
    """
    rates = filter_rate(operator, tolerance=TOLERANCE, seed=seed, most_blocks=most_blocks)
    return HeadNumbers(rates, entropy(operator), shares(operator, special, window=window), score_spread(operator))


@dataclass(frozen=True)
class _Some:
    """Numbers of some maps: three of the filter rate, the mean row, shares, entropy, spread."""

    value: Tensor
    residual: Tensor
    ceiling: Tensor
    mean: Tensor
    own: Tensor
    near: Tensor
    entropy: Tensor
    spread: Tensor


def _measure_some(
    query: Tensor, key: Tensor, maps: Tensor, *, window: int, seed: int, most_blocks: int | None
) -> _Some:
    """Numbers of some maps, which are written over `maps`."""
    count, n, _ = maps.shape
    ones, mean = maps.new_full((1, n), 1 / n), maps.new_empty(count, n)
    # In double precision where every device has it; the search holds small numbers there too.
    squares, (entropy, own, near) = torch.empty(count, dtype=torch.float64, device="cpu"), maps.new_empty(3, count)
    size = _maps_in(CACHED_BYTES, maps)
    for which in (slice(first, min(first + size, count)) for first in range(0, count, size)):
        part = maps[which]
        entropy[which] = _form(query[which], key[which], part) / n
        squares[which] = _dots(part, part).cpu().double()
        mean[which] = (ones @ part)[:, 0]
        own[which], near[which] = diagonal_sums(part, 0, min(window, n - 1))
    own, near = own / n, near / n
    statistics = Statistics(mean, squares)
    rates = filter_rate(maps, tolerance=TOLERANCE, seed=seed, statistics=statistics, most_blocks=most_blocks)
    spread = score_spread_of(query, key, 1.0)
    return _Some(rates.value, rates.residual, rates.ceiling, mean, own, near, entropy, spread)


def _form(query: Tensor, key: Tensor, maps: Tensor) -> Tensor:
    """Write softmax(QK') over `maps`, and return the sum of the entropies of its rows.

    A row's entropy is the log of its sum of e^s, minus its mean score. Taking e^s without the largest score first is
    much faster; where it would not be exact, it is not done.
    """
    scores = torch.bmm(query, key.mT)
    sums = torch.exp(scores, out=maps).sum(-1, keepdim=True)
    if not bool(((sums > SAFE[0]) & (sums < SAFE[1])).all()):
        logs = torch.log_softmax(scores, -1)
        return -_dots(torch.exp(logs, out=maps), logs)
    maps.mul_(1 / sums)
    return sums.log().sum((-2, -1)) - _dots(maps, scores)


def _dots(one: Tensor, other: Tensor) -> Tensor:
    """The sum of products of every two matrices; one by one, which is many times faster than a product of batches."""
    pairs = zip(one.flatten(1), other.flatten(1), strict=True)
    return torch.stack([torch.dot(left, right) for left, right in pairs])


@in_full_precision
def measure_entropy(
    query: Float[Tensor, "texts heads n width"], key: Float[Tensor, "texts heads n width"], scale: float
) -> Float[Tensor, "texts heads"]:
    """`entropy` of softmax(scale QK'), a few maps at a time.

    >>> measure_entropy(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2), 1.0).round(decimals=4)
    tensor([[1.3863]])
    """
    texts, heads, n, _ = query.shape
    flat_query, flat_key = (query * scale).flatten(0, 1), key.flatten(0, 1)
    found = flat_query.new_empty(len(flat_query))
    size = _maps_in(CACHED_BYTES, query)
    maps = flat_query.new_empty(min(size, len(found)), n, n)
    for first in range(0, len(found), size):
        which = slice(first, min(first + size, len(found)))
        found[which] = _form(flat_query[which], flat_key[which], maps[: which.stop - first]) / n
    return found.view(texts, heads)


@in_full_precision
def measure_maps(
    scores: Float[Tensor, "texts heads n n"],
    *,
    special: Bool[Tensor, "texts n"] | None = None,
    window: int = 8,
    seed: int = 0,
    most_blocks: int | None = None,
) -> HeadNumbers:
    """The same of scores that are there, masked ones -infinity.

    >>> numbers = measure_maps(torch.zeros(1, 1, 4, 4))
    >>> round(float(numbers.entropy), 4), float(numbers.spread)
    (1.3863, 0.0)
    """
    attention = torch.softmax(scores, -1)
    rates = filter_rate(attention, tolerance=TOLERANCE, seed=seed, most_blocks=most_blocks)
    return HeadNumbers(rates, entropy(attention), shares(attention, special, window=window), score_spread(scores))


@in_full_precision
def score_spread_of(
    query: Float[Tensor, "*maps n width"], key: Float[Tensor, "*maps n width"], scale: float
) -> Float[Tensor, "*maps"]:
    """`score_spread` of scale QK' without forming it.

    The variance of row i is scale^2 q_i' C q_i, with C the covariance of the keys.

    >>> round(float(score_spread_of(torch.ones(2, 1), torch.tensor([[1.0], [3.0]]), 1.0)), 6)
    1.0
    """
    centred = key - key.mean(-2, keepdim=True)
    covariance = centred.mT @ centred / key.shape[-2]
    variance = ((query @ covariance) * query).sum(-1).clamp(min=0)
    return abs(scale) * variance.sqrt().mean(-1)


@dataclass(frozen=True)
class StateNumbers:
    """What tokens share, a number a text; tensors [...].

    Args:
        hc_share, token_cosine: as the functions of those names.
        energy: |X|_F^2 / n, that of a token on average: `dc_energy` / n is (1 - hc_share) energy, `hc_energy` / n the
            rest.
    """

    hc_share: Float[Tensor, "*texts"]
    token_cosine: Float[Tensor, "*texts"]
    energy: Float[Tensor, "*texts"]


@in_full_precision
def measure_states(states: Float[Tensor, "*texts n dim"]) -> StateNumbers:
    """`hc_share`, `token_cosine` and energy in two readings of the states.

    >>> numbers = measure_states(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
    >>> round(float(numbers.hc_share), 6), float(numbers.token_cosine), float(numbers.energy)
    (0.2, 1.0, 5.0)
    """
    states = as_states(states)
    n = states.shape[-2]
    norms = torch.linalg.vector_norm(states, dim=-1)
    energy = norms.square().sum(-1)
    weights = torch.stack([torch.full_like(norms, 1 / n), 1 / norms], -2)
    mean, units = (weights @ states).square().sum(-1).unbind(-1)
    high = (1 - n * mean / energy).clamp(0, 1)
    cosine = (units - n) / (n * (n - 1)) if n > 1 else torch.full_like(high, torch.nan)
    return StateNumbers(high, cosine, energy / n)
