"""Laws of filter rates and temperatures: identities among them, limits, published numbers, and bad input."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectra_maps import seeded
from tolerances import FLOAT32, assert_close
from uncollapse.errors import ModelError
from uncollapse.spectra import (
    LAWS,
    block_map,
    freezing_length,
    gaussian_law,
    gaussian_map,
    identity_map,
    inverse_temperature,
    quoted_bound,
    score_spread,
    sink_map,
    uniform_map,
)

NEEDS = {"log": {}, "sqrtlog": {}, "infoscale": {"dim": 32}, "isofilter": {"spread": 1.2}}
lengths = st.integers(2, 100_000)


@pytest.mark.parametrize(
    ("spread", "laws", "bounds"),
    [
        (0.5, (0.188, 0.094, 0.047), (0.270, 0.188, 0.132)),
        (1.0, (0.463, 0.232, 0.116), (0.295, 0.205, 0.144)),
        (1.5, (1.030, 0.515, 0.258), (0.303, 0.211, 0.149)),
        (2.0, (2.590, 1.290, 0.647), (0.304, 0.211, 0.149)),
    ],
)
def test_law_and_bound_at_32_128_and_512_tokens(spread, laws, bounds):
    for n, law, bound in zip((32, 128, 512), laws, bounds, strict=True):
        assert gaussian_law(spread, n) == pytest.approx(law, abs=6e-3 * law)
        assert quoted_bound(spread, n) == pytest.approx(bound, abs=6e-4)


@given(lengths, lengths, st.floats(0.05, 20))
def test_isofilter_keeps_the_gaussian_law(n, n0, spread):
    inverse = inverse_temperature("isofilter", n, n0, spread=spread)
    assert_close(math.log(gaussian_law(spread * inverse, n)), math.log(gaussian_law(spread, n0)), 1e-9)


@pytest.mark.parametrize("law", LAWS)
@given(lengths, lengths)
def test_every_law_leaves_n0_and_sharpens_longer_texts(law, n, n0):
    inverse = inverse_temperature(law, n, n0, **NEEDS[law])
    assert (inverse > 1, inverse < 1) == (n > n0, n < n0)
    assert inverse_temperature(law, n0, n0, **NEEDS[law]) == pytest.approx(1, abs=1e-12)
    assert inverse * inverse_temperature(law, n0, n, **NEEDS[law] | scaled(law, inverse)) == pytest.approx(1, rel=1e-9)


def scaled(law, inverse):
    """There and back: what "isofilter" starts from on the way back is the spread it arrived at."""
    return {"spread": NEEDS[law]["spread"] * inverse} if law == "isofilter" else {}


def test_isofilter_tends_to_sqrtlog():
    far = inverse_temperature("isofilter", 1e12, 1e3, spread=math.sqrt(math.log(1e3)))
    assert far == pytest.approx(inverse_temperature("sqrtlog", 1e12, 1e3), rel=0.02)


def test_infoscale_tends_to_the_root_of_log_in_wide_heads():
    wide = inverse_temperature("infoscale", 4096, 64, dim=10**6)
    assert wide == pytest.approx(inverse_temperature("sqrtlog", 4096, 64), rel=1e-4)


def test_numbers_that_overflow_stay_in_order():
    assert gaussian_law(30.0, 100) == math.inf
    assert freezing_length(100.0) == math.inf
    assert quoted_bound(1e9, 100) == pytest.approx(quoted_bound(6.0, 100))
    assert inverse_temperature("isofilter", 1000, 100, spread=30.0) == pytest.approx(1 + math.log(10) / 1800, rel=1e-5)


@pytest.mark.parametrize("n", [10, 128, 5000])
def test_the_freezing_length_is_where_the_squared_spread_is_twice_log_n(n):
    assert freezing_length(math.sqrt(2 * math.log(n))) == pytest.approx(n)


def test_no_spread_filters_everything():
    assert gaussian_law(0, 100) == 0
    assert freezing_length(0) == 1


@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_planted_maps_are_distributions(n):
    maps = [gaussian_map(n, 1.0), uniform_map(n), identity_map(n), sink_map(n, n // 2), block_map(n, 2)]
    for attention in maps:
        assert attention.shape == (n, n)
        assert bool((attention >= 0).all())
        assert_close(attention.sum(-1), torch.ones(n), FLOAT32)


def test_gaussian_maps_have_the_spread_they_are_made_with():
    assert float(score_spread(gaussian_map(2000, 1.5).log())) == pytest.approx(1.5, rel=0.01)


def test_gaussian_maps_are_the_same_every_time_and_take_a_generator():
    assert torch.equal(gaussian_map(9, 1.0), gaussian_map(9, 1.0))
    assert torch.equal(gaussian_map(9, 1.0), gaussian_map(9, 1.0, seeded(0)))
    assert not torch.equal(gaussian_map(9, 1.0), gaussian_map(9, 1.0, seeded(1)))


@pytest.mark.parametrize("spread", [-0.1, math.nan])
def test_a_spread_below_zero_is_refused(spread):
    for use in (
        freezing_length,
        lambda s: gaussian_law(s, 9),
        lambda s: quoted_bound(s, 9),
        lambda s: gaussian_map(9, s),
    ):
        with pytest.raises(ModelError, match="a spread of scores of 0 or more"):
            use(spread)


def test_texts_without_tokens_are_refused():
    for use in (
        lambda: gaussian_law(1.0, 0),
        lambda: quoted_bound(1.0, 0.5),
        lambda: gaussian_map(0, 1.0),
        lambda: uniform_map(0),
        lambda: identity_map(0),
        lambda: sink_map(0, 0),
        lambda: block_map(0, 1),
    ):
        with pytest.raises(ModelError, match="1 token or more"):
            use()


def test_sinks_and_blocks_that_are_none_are_refused():
    with pytest.raises(ModelError, match="from 0 to 5 rows .* got 6"):
        sink_map(5, 6)
    with pytest.raises(ModelError, match="blocks of 1 token or more, got 0"):
        block_map(5, 0)


def test_laws_that_are_none_or_lack_a_number_are_refused():
    with pytest.raises(ModelError, match="Unknown law of temperature 'sqrt'. Did you mean 'sqrtlog'.*Laws: sqrtlog,"):
        inverse_temperature("sqrt", 128, 64)
    with pytest.raises(ModelError, match="'infoscale' needs the width of a head, 1 or more, got dim=None"):
        inverse_temperature("infoscale", 128, 64)
    with pytest.raises(ModelError, match="'isofilter' needs the spread .* got spread=0"):
        inverse_temperature("isofilter", 128, 64, spread=0)
    for n, n0 in ((1, 64), (64, 1), (math.nan, 64)):
        with pytest.raises(ModelError, match="lengths above 1 token"):
            inverse_temperature("log", n, n0)
