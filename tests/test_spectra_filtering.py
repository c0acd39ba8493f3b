"""Filter rates: against all singular values on many kinds of maps, what is certified, and bad input."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from spectra_maps import centred, gaussian_maps, kinds, largest, one_thread, seeded
from tolerances import FLOAT32, HALF, assert_close
from uncollapse.errors import ModelError
from uncollapse.spectra import (
    DenseMap,
    StreamedMap,
    block_map,
    filter_rate,
    gaussian_law,
    gaussian_map,
    hc_energy,
    identity_map,
    krylov,
    sink_map,
    uniform_map,
)

TOLERANCE = 1e-3
LENGTHS = [2, 9, 48, 49, 64, 150]
with one_thread():
    SMALL = {n: kinds(n) for n in LENGTHS if n >= 9}


@pytest.fixture(autouse=True)
def quiet():
    with one_thread():
        yield


@pytest.mark.parametrize("n", SMALL)
@pytest.mark.parametrize("kind", SMALL[9])
def test_filter_rates_are_the_largest_singular_values(n, kind):
    maps = SMALL[n][kind]
    expected = largest(maps)
    rates = filter_rate(maps)
    assert bool(rates.certified().all())
    assert bool(((rates.value - expected).abs() <= TOLERANCE * expected.clamp(min=1e-3) + rounding(maps)).all())


def rounding(maps):
    """What float32 leaves of a map whose filter rate is 0, with room."""
    return 1e-6 * math.sqrt(maps.shape[-1]) + FLOAT32 * largest(maps)


@pytest.mark.parametrize("n", SMALL)
@pytest.mark.parametrize("kind", SMALL[9])
def test_the_truth_lies_between_value_and_ceiling(n, kind):
    maps = SMALL[n][kind]
    rates = filter_rate(maps)
    expected = largest(maps)
    assert bool((rates.value <= expected + rounding(maps)).all())
    assert bool((rates.ceiling >= expected - rounding(maps)).all())


@pytest.mark.parametrize("kind", SMALL[150])
def test_a_finer_tolerance_gives_a_finer_value(kind):
    maps = SMALL[150][kind].double()
    rates = filter_rate(maps, tolerance=1e-7)
    assert rates.value.dtype == torch.float64
    assert bool(rates.certified(1e-7).all())
    assert_close(rates.value, largest(maps), 1e-7)


@pytest.mark.parametrize("seed", range(20))
def test_the_random_ceiling_holds_where_many_directions_carry_the_map(seed):
    maps = gaussian_maps(130, 0.5, count=4, seed=seed)
    rates = filter_rate(maps, tolerance=0.3, seed=seed)
    assert bool((rates.ceiling >= largest(maps)).all())
    assert bool((rates.ceiling <= 4 * rates.value).all())


@pytest.mark.parametrize("blocks", [1, 2, 5, 16])
def test_the_random_ceiling_follows_from_a_polynomial_and_a_chance(blocks):
    size = 700.0
    factor = krylov._chance_factors(size)[blocks - 1]

    def grown(y):
        return y**4 * scipy.special.eval_chebyu(2 * blocks - 2, y)

    inside = np.linspace(0, 1, 2001)
    assert np.abs(np.sqrt(1 - inside**2) * grown(inside)).max() <= 1 + 1e-12
    hidden = size / (math.sqrt(factor**2 - 1) * grown(factor)) ** 2
    assert 0.99 * krylov.CHANCE < scipy.stats.chi2(4).cdf(hidden) < krylov.CHANCE


@pytest.mark.parametrize("kind", SMALL[64])
def test_no_direction_of_the_space_counts_twice(kind):
    operator = DenseMap(SMALL[64][kind])
    random = torch.randn(4, 64, generator=seeded(8))
    opening = krylov._Opening.of(operator, random, None)
    space = opening.space
    for _ in range(8):
        outward = space.outward()
        space = space.extended(outward, krylov._sweep(operator, outward, opening.mean))
    assert float(torch.linalg.eigvalsh(space.basis @ space.basis.mT).max()) <= 1 + 1e-4
    image = centred(operator.rows(torch.arange(64))) @ space.basis.double().mT
    squares = image.mT @ image
    assert_close(
        space.small / squares.abs().amax().clamp(min=1e-9), squares / squares.abs().amax().clamp(min=1e-9), 1e-4
    )


def test_the_start_is_the_sinks_and_chance():
    random = torch.randn(4, 64, generator=seeded(9))
    start = krylov._start(DenseMap(sink_map(64, 20).roll(9, -1)[None]), random)
    assert torch.equal(start[0, 4:], random)
    assert start[0, :4].argmax(-1).tolist()[0] == 9
    assert torch.equal(start[0, :4].sum(-1), torch.ones(4))


def test_few_directions_leave_a_ceiling_next_to_the_value():
    rates = filter_rate(sink_map(200, 150) * 0.9 + 0.1 / 200)
    assert float(rates.ceiling / rates.value) - 1 <= 2e-5


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_search_cut_short_says_so_and_stays_a_lower_bound(monkeypatch, blocks):
    monkeypatch.setattr(krylov, "_MOST_BLOCKS", blocks)
    maps = gaussian_maps(150, 1.0)
    rates = filter_rate(maps)
    assert not bool(rates.certified().any())
    assert bool((rates.residual > TOLERANCE).all())
    assert bool((rates.value < largest(maps)).all())
    assert bool((largest(maps) < rates.ceiling).all())


def test_some_singular_value_lies_within_the_residual_of_the_value(monkeypatch):
    monkeypatch.setattr(krylov, "_MOST_BLOCKS", 2)
    for kind, maps in kinds(100).items():
        rates = filter_rate(maps)
        distance = (torch.linalg.svdvals(centred(maps)) - rates.value[:, None]).abs().amin(-1)
        assert bool((distance <= rates.residual * rates.value.clamp(min=1e-3) + rounding(maps)).all()), kind


def test_maps_that_are_done_are_left_alone(monkeypatch):
    seen = []
    sweep = krylov._sweep

    def counted(operator, right, mean):
        seen.append(len(right))
        return sweep(operator, right, mean)

    monkeypatch.setattr(krylov, "_sweep", counted)
    filter_rate(torch.stack([sink_map(64, 20), gaussian_map(64, 1.0), identity_map(64)]))
    assert seen[:3] == [3, 3, 3]
    assert set(seen[3:]) == {1}


def test_maps_of_equal_rows_take_one_look(monkeypatch):
    seen = []
    sweep = krylov._sweep
    monkeypatch.setattr(krylov, "_sweep", lambda *asked: seen.append(len(asked[1])) or sweep(*asked))
    filter_rate(torch.cat([torch.stack([uniform_map(64), sink_map(64, 64)]), SMALL[64]["one sink"]]))
    assert seen == [5, 5, 5]


@pytest.mark.parametrize("n", LENGTHS)
def test_planted_maps_have_the_filter_rates_they_promise(n):
    assert_close(filter_rate(uniform_map(n)).value, 0, 1e-5)
    assert_close(filter_rate(identity_map(n)).value, 1, FLOAT32)
    for rows in (0, 1, n // 2, n):
        expected = math.sqrt(rows * (n - rows) / n * (1 - 1 / n))
        assert_close(filter_rate(sink_map(n, rows)).value, expected, FLOAT32)
    assert_close(filter_rate(block_map(n, 1)).value, 1, FLOAT32)
    assert_close(filter_rate(block_map(n, n)).value, 0, 1e-5)


def test_one_token_has_nothing_to_filter():
    rates = filter_rate(torch.ones(2, 1, 1))
    assert rates.value.tolist() == rates.residual.tolist() == rates.ceiling.tolist() == [0, 0]


@pytest.mark.parametrize("n", [5, 80])
def test_attention_keeps_at_most_the_filter_rate_and_reaches_it(n):
    for kind, maps in kinds(n if n > 8 else 9).items():
        states = torch.randn(*maps.shape[:-1], 7, generator=seeded(5), dtype=torch.float64)
        allowed = largest(maps) ** 2 * hc_energy(states)
        assert bool((hc_energy(maps.double() @ states) <= allowed * (1 + 1e-9) + 1e-12).all()), kind
        best = torch.linalg.svd(centred(maps)).Vh[..., :1, :].mT
        assert_close(hc_energy(maps.double() @ best).sqrt(), filter_rate(maps).value, 2 * TOLERANCE)


@pytest.mark.parametrize("n", [30, 90])
def test_the_order_of_tokens_does_not_matter(n):
    maps = gaussian_maps(n, 1.5)
    order = torch.randperm(n, generator=seeded(6))
    assert_close(filter_rate(maps[:, order][:, :, order]).value, filter_rate(maps).value, TOLERANCE)


@pytest.mark.parametrize("n", [30, 90])
def test_a_map_has_the_same_filter_rate_in_any_batch_and_any_shape(n):
    maps = torch.cat([gaussian_maps(n, spread, count=2) for spread in (0.5, 1.0, 3.0)])
    together = filter_rate(maps).value
    assert_close(torch.stack([filter_rate(one).value for one in maps]), together, FLOAT32)
    shaped = filter_rate(maps.reshape(3, 2, n, n))
    assert shaped.value.shape == shaped.residual.shape == shaped.ceiling.shape == (3, 2)
    assert_close(shaped.value.flatten(), together, FLOAT32)


def test_more_maps_than_fit_in_one_part(monkeypatch):
    maps = torch.cat([gaussian_maps(64, spread, count=3) for spread in (0.5, 3.0)])
    expected = filter_rate(maps).value
    monkeypatch.setitem(krylov.AttentionMap.__init__.__globals__["PART_BYTES"], "cpu", 2 * 64 * 64 * 4)
    assert_close(filter_rate(maps).value, expected, FLOAT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised(dtype):
    maps = gaussian_maps(70, 2.0)
    rates = filter_rate(maps.to(dtype))
    assert rates.value.dtype == torch.float32
    assert_close(rates.value, largest(maps.to(dtype)), 1e-5)
    assert_close(rates.value, largest(maps), HALF)


def test_another_seed_finds_the_same():
    maps = gaussian_maps(120, 1.0)
    assert_close(filter_rate(maps, seed=1).value, filter_rate(maps, seed=2).value, FLOAT32)
    assert torch.equal(filter_rate(maps, seed=1).value, filter_rate(maps, seed=1).value)


def test_the_law_holds_for_gaussian_scores_of_little_spread():
    found = filter_rate(gaussian_maps(600, 0.5, count=2)).value
    assert_close(found, [gaussian_law(0.5, 600)] * 2, 0.03)


def test_no_maps_have_no_filter_rates():
    assert filter_rate(torch.zeros(0, 4, 60, 60)).value.shape == (0, 4)


@pytest.mark.parametrize("before", [False, True])
def test_the_way_this_thread_treats_tiny_numbers_stays_as_it_was(before):
    def flushed():
        return float(torch.tensor(1e-39) * 1) == 0

    torch.set_flush_denormal(before)
    try:
        filter_rate(gaussian_map(64, 3.0))
        assert flushed() is before
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("row", [0, 4])  # one whose sum is looked at first, and one whose is not
@pytest.mark.parametrize("n", [20, 100])
def test_nan_is_refused_wherever_it_is(n, row):
    maps = gaussian_maps(n, 1.0)
    maps[1, row, 3] = torch.nan
    with pytest.raises(ModelError, match="row 0 of map 1 .* sums to nan" if row == 0 else "map 1 .* holds NaN"):
        filter_rate(maps)


def test_rows_that_do_not_sum_to_one_are_refused():
    maps = gaussian_maps(20, 1.0)
    with pytest.raises(ModelError, match="row 0 of map 0 .* sums to 2"):
        filter_rate(2 * maps)
    maps[2, -1] = 0
    with pytest.raises(ModelError, match="row 19 of map 2 .* sums to 0"):
        filter_rate(maps)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4), (7,)])
def test_maps_that_are_not_square_are_refused(shape):
    with pytest.raises(ModelError, match=r"shape \[..., n, n\], got torch.float32 \[.*cross attention"):
        filter_rate(torch.ones(shape))


def test_maps_without_tokens_or_without_floating_numbers_are_refused():
    with pytest.raises(ModelError, match="1 token or more"):
        filter_rate(torch.ones(2, 0, 0))
    with pytest.raises(ModelError, match="floating numbers .* torch.int64"):
        filter_rate(torch.ones(2, 2, dtype=torch.long))


def test_streamed_maps_have_the_filter_rates_of_the_maps_they_stand_for():
    query, key = torch.randn(2, 2, 3, 100, 16, generator=seeded(7))
    dense = torch.softmax(0.6 * query @ key.mT, -1)
    streamed = filter_rate(StreamedMap(query, key, 0.6))
    assert streamed.value.shape == (2, 3)
    assert bool(streamed.certified().all())
    assert_close(streamed.value, largest(dense), TOLERANCE)
