"""Attention maps of many kinds, and the plain way to their singular values."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from uncollapse.spectra import block_map, gaussian_map, identity_map, sink_map, uniform_map


@contextmanager
def one_thread() -> Iterator[None]:
    """Two threads of LAPACK on a busy machine wait for each other many times longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def centred(attention: Tensor) -> Tensor:
    """(I - J) A in float64."""
    exact = attention.double()
    return exact - exact.mean(-2, keepdim=True)


def largest(attention: Tensor) -> Tensor:
    """The filter rate by the definition."""
    return torch.linalg.svdvals(centred(attention))[..., 0]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian_maps(n: int, spread: float, count: int = 3, seed: int = 0) -> Tensor:
    generator = seeded(seed)
    return torch.stack([gaussian_map(n, spread, generator) for _ in range(count)])


def kinds(n: int) -> dict[str, Tensor]:
    """Maps [count, n, n] by what they are like."""
    return {
        **{f"gaussian {spread}": gaussian_maps(n, spread) for spread in (0.01, 0.3, 1.0, 1.5, 2.0, 3.0, 6.0, 40.0)},
        "uniform": uniform_map(n)[None],
        "identity": identity_map(n)[None],
        "next token": identity_map(n).roll(1, 0)[None],
        "one sink": torch.softmax(gaussian_maps(n, 1.0) + 20 * (torch.arange(n) == 0), -1),
        "sinks": torch.stack([sink_map(n, rows) for rows in (1, n // 2, n - 1)]),
        "equal sinks": equal_sinks(n)[None],
        "blocks": torch.stack([block_map(n, block) for block in (1, 3, n // 2 + 1)]),
        "near tokens": near_tokens(n),
        "causal": causal(n),
        "few directions": few_directions(n),
        "two sectors": torch.stack([two_sectors(n, ratio) for ratio in (0.98, 1.003, 1.02)]),
        "behind sinks": behind_sinks(n)[None],
        "close leaders": torch.stack([close_leaders(n, ratio) for ratio in (0.98, 1.0, 1.02)]),
    }


def equal_sinks(n: int) -> Tensor:
    """Two quarters of the tokens stare at one token each: the two leading singular values are nearly the same."""
    attention = sink_map(n, n // 4)
    attention[n // 4 : n // 2] = 0
    attention[n // 4 : n // 2, 1] = 1
    return attention


def near_tokens(n: int) -> Tensor:
    places = torch.arange(n)
    distance = (places[:, None] - places).abs()
    noise = torch.randn(3, n, n, generator=seeded(1))
    return torch.softmax(0.3 * noise - distance / torch.tensor([1.0, 4.0, 16.0])[:, None, None], -1)


def causal(n: int) -> Tensor:
    later = torch.ones(n, n, dtype=torch.bool).triu(1)
    scores = torch.randn(3, n, n, generator=seeded(2)).masked_fill(later, -torch.inf)
    return torch.softmax(scores, -1)


def few_directions(n: int) -> Tensor:
    query, key = torch.randn(2, 3, n, 8, generator=seeded(3))
    return torch.softmax(query @ key.mT * torch.tensor([0.2, 0.7, 2.0])[:, None, None], -1)


def close_leaders(n: int, ratio: float) -> Tensor:
    """Two halves that do not see each other: one sink, found at once, and many Gaussian directions near its size."""
    first = n // 2
    attention = torch.zeros(n, n)
    attention[first:, first:] = gaussian_map(n - first, 2.0, seeded(4))
    goal = float(largest(attention)) / ratio
    attention[:first, :first] = 1 / first
    low, high = 0.0, 1.0
    for _ in range(30):
        strength = (low + high) / 2
        rows = torch.full((first // 2, first), (1 - strength) / first)
        rows[:, 0] += strength
        attention[: first // 2, :first] = rows
        low, high = (strength, high) if float(largest(attention[:first, :first])) < goal else (low, strength)
    return attention


def two_sectors(n: int, ratio: float) -> Tensor:
    """What two halves have in common never meets what tells them apart: one sink, and random signs near its size.

    The sink is found at once and exactly, while the leading direction of the signs, `ratio` times as large, is not.
    """
    half = n // 2
    signs = torch.randint(0, 2, (half, half), generator=seeded(5)) * 2.0 - 1
    apart = 0.5 / half * signs
    goal = float(torch.linalg.svdvals(apart)[0]) / ratio
    low, high = 0.0, 0.5
    for _ in range(30):
        strength = (low + high) / 2
        common = torch.full((half, half), 1 / half)
        common[: half // 2] *= 1 - strength
        common[: half // 2, 0] += strength
        low, high = (strength, high) if float(largest(common)) < goal else (low, strength)
    same, other = (common + apart) / 2, (common - apart) / 2
    attention = torch.cat([torch.cat([same, other], 1), torch.cat([other, same], 1)])
    return attention if n % 2 == 0 else torch.nn.functional.pad(attention, (0, 1, 0, 1)) + _last(n)


def _last(n: int) -> Tensor:
    """One more token that looks everywhere alike."""
    row = torch.zeros(n, n)
    row[-1] = 1 / n
    return row


def behind_sinks(n: int) -> Tensor:
    """Strong columns that some tokens stare at, and a larger singular value spread over many weak ones."""
    attention = uniform_map(n).clone()
    stare = max(1, n // 16)
    for sink in range(4):
        rows = slice(sink * stare, (sink + 1) * stare)
        attention[rows] = 0
        attention[rows, sink] = 1
    weak = n // 4
    sides = torch.full((2, n), 0.0)
    sides[0, n - 2 * weak : n - weak] = sides[1, n - weak :] = 1 / weak
    attention[4 * stare :] = sides[torch.arange(n - 4 * stare) % 2]
    return attention
