"""Numbers that are taken together are those that each function gives alone."""

import pytest
import torch

from uncollapse.errors import ModelError
from uncollapse.spectra import (
    HeadNumbers,
    StreamedMap,
    bands,
    dc_energy,
    entropy,
    filter_rate,
    hc_energy,
    hc_share,
    joint,
    low_share,
    measure_entropy,
    measure_heads,
    measure_maps,
    measure_states,
    measure_streamed,
    power_spectrum,
    score_spread,
    score_spread_of,
    shares,
    token_cosine,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [1, 2, 17, 64, 130])
@pytest.mark.parametrize("strength", [0.0, 1.0, 4.0])
def test_heads_are_measured_together_as_alone(n: int, strength: float) -> None:
    query, key = strength * random(3, 5, n, 8), random(3, 5, n, 8, seed=1)
    special = torch.zeros(3, n, dtype=torch.bool)
    special[:, 0], special[1, -1] = True, True
    scores = 0.3 * query @ key.mT
    check(measure_heads(query, key, 0.3, special=special, window=2), scores, special)
    check(measure_maps(scores, special=special, window=2), scores, special)
    torch.testing.assert_close(measure_entropy(query, key, 0.3), entropy(scores.softmax(-1)), rtol=1e-4, atol=1e-5)


def check(together: HeadNumbers, scores: torch.Tensor, special: torch.Tensor) -> None:
    """Each number is that of its own function."""
    attention = scores.softmax(-1)
    alone = shares(attention, special, window=2)
    close = {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(together.entropy, entropy(attention), **close)
    torch.testing.assert_close(together.spread, score_spread(scores), **close)
    torch.testing.assert_close(together.rates.value, filter_rate(attention).value, rtol=2e-3, atol=1e-5)
    for name in ("special", "own", "window"):
        torch.testing.assert_close(getattr(together.shares, name), getattr(alone, name), **close)


def test_nobody_knows_the_special_tokens() -> None:
    assert bool(measure_heads(random(1, 2, 9, 4), random(1, 2, 9, 4), 1.0).shares.special.isnan().all())


def test_the_spread_needs_no_scores_even_far_from_zero() -> None:
    """Keys with a common part a thousand times their differences: no row knows of it."""
    query, key = random(2, 30, 8), random(2, 30, 8, seed=1)
    shifted = key.double() + 1000
    found = score_spread_of(query.double(), shifted, 0.5)
    torch.testing.assert_close(found, score_spread(0.5 * query.double() @ key.double().mT), rtol=1e-9, atol=0)


@pytest.mark.parametrize("n", [2, 9, 40])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_states_are_measured_together_as_alone(n: int, shift: float) -> None:
    states = random(4, n, 12) + shift
    together = measure_states(states)
    torch.testing.assert_close(together.hc_share, hc_share(states), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(together.token_cosine, token_cosine(states), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(n * together.energy, dc_energy(states) + hc_energy(states), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(n * together.energy * together.hc_share, hc_energy(states), rtol=1e-4, atol=1e-4)


def test_one_token_has_no_cosine_with_another() -> None:
    numbers = measure_states(random(1, 1, 4))
    assert bool(numbers.token_cosine.isnan().all())
    assert float(numbers.hc_share) == pytest.approx(0, abs=1e-6)


def test_half_precision_states_are_raised() -> None:
    states = random(2, 6, 8).to(torch.bfloat16)
    torch.testing.assert_close(measure_states(states).hc_share, hc_share(states.float()), rtol=1e-5, atol=1e-6)


def test_scores_that_are_no_numbers_are_refused() -> None:
    query = random(1, 1, 5, 4)
    query[0, 0, 2] = torch.nan
    with pytest.raises(ModelError, match="sum to 1, but row 2"):
        measure_heads(query, random(1, 1, 5, 4), 1.0)


@pytest.mark.parametrize("size", [60.0, 300.0])
def test_scores_too_large_for_their_exponentials_are_measured_all_the_same(size: float) -> None:
    query, key = size * random(1, 2, 70, 8), random(1, 2, 70, 8, seed=1)
    scores = query @ key.mT
    torch.testing.assert_close(measure_entropy(query, key, 1.0), entropy(scores.softmax(-1)), rtol=1e-4, atol=1e-5)
    rates = filter_rate(scores.softmax(-1)).value
    torch.testing.assert_close(measure_heads(query, key, 1.0).rates.value, rates, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("known", [False, True])
def test_texts_whose_maps_are_too_large_are_streamed(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = 2 * random(2, 3, 130, 8), random(2, 3, 130, 8, seed=1)
    special = torch.zeros(2, 130, dtype=torch.bool)
    special[:, 0] = True
    held = measure_heads(query, key, 0.4, special=special if known else None)
    monkeypatch.setattr(joint, "STREAMED_BYTES", 1000)
    streamed = measure_heads(query, key, 0.4, special=special if known else None)
    close = {"rtol": 1e-3, "atol": 1e-5, "equal_nan": True}
    torch.testing.assert_close(streamed.rates.value, held.rates.value, **close)
    torch.testing.assert_close(streamed.entropy, held.entropy, **close)
    torch.testing.assert_close(streamed.spread, held.spread, **close)
    for name in ("special", "own", "window"):
        torch.testing.assert_close(getattr(streamed.shares, name), getattr(held.shares, name), **close)


def test_how_many_maps_are_held_at_once_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = 2 * random(2, 5, 64, 8), random(2, 5, 64, 8, seed=1)
    together = measure_heads(query, key, 0.4)
    monkeypatch.setitem(joint.HELD_BYTES, "cpu", 3 * 64 * 64 * 4)
    apart = measure_heads(query, key, 0.4)
    torch.testing.assert_close(apart.rates.value, together.rates.value, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(apart.entropy, together.entropy, rtol=1e-5, atol=1e-6)


def numbers_of(query: torch.Tensor, key: torch.Tensor) -> list[torch.Tensor]:
    """All that is measured of heads, of their maps and of states."""
    streamed = StreamedMap(query, key, 0.4)
    scores = 0.4 * (query[..., None, :] * key[..., None, :, :]).sum(-1)  # no product that autocast would take
    heads = measure_heads(query, key, 0.4), measure_streamed(streamed), measure_maps(scores)
    found = [number for one in heads for number in (one.rates.value, one.entropy, one.shares.own, one.spread)]
    states = measure_states(query)
    power = power_spectrum(query)
    bare = [filter_rate(streamed).value, entropy(streamed), score_spread(streamed), score_spread_of(query, key, 0.4)]
    in_bands = [bands(power, query.shape[-2], [0, 0.1, 0.5]), low_share(power, query.shape[-2])]
    return [*found, *bare, *in_bands, states.hc_share, states.token_cosine, measure_entropy(query, key, 0.4)]


@pytest.mark.parametrize("n", [32, 130])
def test_autocast_changes_no_number(n: int) -> None:
    query, key = 2 * random(2, 2, n, 8), random(2, 2, n, 8, seed=1)
    plain = numbers_of(query, key)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = numbers_of(query, key)
    for one, other in zip(found, plain, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("n", [32, 130])
def test_the_default_device_has_no_part_in_it(n: int) -> None:
    query, key = 2 * random(2, 2, n, 8), random(2, 2, n, 8, seed=1)
    plain = numbers_of(query, key)
    with torch.device("meta"):
        found = numbers_of(query, key)
    for one, other in zip(found, plain, strict=True):
        assert torch.equal(one, other)


def test_a_card_is_given_larger_parts_than_a_processor() -> None:
    here, there = torch.empty(1, 512, 8), torch.empty(1, 512, 8, device="meta")
    assert joint._maps_in(joint.CACHED_BYTES, here) == 1
    assert joint._maps_in(joint.HELD_BYTES, here) == 16
    assert joint._maps_in(joint.CACHED_BYTES, there) == joint._maps_in(joint.HELD_BYTES, there) == 256
    assert joint._maps_in(joint.CACHED_BYTES, torch.empty(1, 5000, 8)) == 1
