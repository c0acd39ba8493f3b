"""Energies, cosines and spectra of token states: identities, invariances, another implementation, and bad input."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra_maps import seeded
from tolerances import FLOAT32, HALF, assert_close
from uncollapse.errors import ModelError
from uncollapse.spectra import bands, dc_energy, hc_energy, hc_share, low_share, power_spectrum, token_cosine

LENGTHS = [1, 2, 3, 8, 9, 50]


def make_states(n, dim=5, *, shape=(2, 3), shift=0.0, seed=0):
    return torch.randn(*shape, n, dim, generator=seeded(seed), dtype=torch.float64) + shift


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 9), st.floats(-100, 100), st.integers(0, 2**32))
def test_dc_and_hc_energy_add_up(n, dim, shift, seed):
    states = make_states(n, dim, shift=shift, seed=seed)
    total = states.square().sum((-2, -1))
    assert_close((dc_energy(states) + hc_energy(states)) / total, torch.ones(2, 3))
    assert_close(hc_share(states), hc_energy(states) / total)


@pytest.mark.parametrize("n", LENGTHS)
def test_what_all_tokens_share_is_dc_alone(n):
    states = make_states(n)
    moved = states + make_states(1, seed=1)
    assert_close(hc_energy(moved), hc_energy(states))
    same = make_states(1).expand(2, 3, n, 5)
    assert_close(hc_energy(same), torch.zeros(2, 3))
    assert_close(dc_energy(same), same.square().sum((-2, -1)))


@pytest.mark.parametrize("number", [dc_energy, hc_energy, hc_share, token_cosine])
@pytest.mark.parametrize("n", LENGTHS)
def test_rotations_and_the_order_of_tokens_do_not_matter(number, n):
    states = make_states(n, shift=0.5)
    rotation = torch.linalg.qr(make_states(5, shape=())).Q
    assert_close(number(states @ rotation), number(states))
    assert_close(number(states[..., torch.randperm(n, generator=seeded(1)), :]), number(states))


@pytest.mark.parametrize("n", [2, 3, 9, 50])
def test_the_token_cosine_is_the_mean_over_distinct_pairs(n):
    states = make_states(n, shift=0.3, shape=())
    pairs = [torch.nn.functional.cosine_similarity(states[i], states[j], 0) for i in range(n) for j in range(i)]
    assert_close(token_cosine(states), torch.stack(pairs).mean())
    assert_close(token_cosine(states * torch.rand(n, 1, generator=seeded(2))), token_cosine(states))


def test_one_token_has_no_cosine_and_no_hc_energy():
    states = make_states(1)
    assert bool(token_cosine(states).isnan().all())
    assert hc_energy(states).tolist() == hc_share(states).tolist() == [[0] * 3] * 2


def test_states_of_zero_have_no_share_and_no_direction():
    states = make_states(4)
    states[0, 0] = 0
    states[0, 1, 2] = 0
    assert hc_share(states).isnan().tolist() == [[True, False, False], [False] * 3]
    assert token_cosine(states).isnan().tolist() == [[True, True, False], [False] * 3]
    assert low_share(power_spectrum(states), 4).isnan().tolist() == [[True, False, False], [False] * 3]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised(dtype):
    states = make_states(40, 16, shift=0.2)
    for number in (dc_energy, hc_energy, hc_share, token_cosine):
        assert number(states.to(dtype)).dtype == torch.float32
        assert_close(number(states.to(dtype)), number(states), HALF)
    assert power_spectrum(states.to(dtype)).dtype == torch.float32


@pytest.mark.parametrize("n", LENGTHS)
def test_the_spectrum_is_scipys_periodogram(n):
    states = make_states(n, shift=1.0)
    _, expected = scipy.signal.periodogram(states.numpy(), detrend=False, axis=-2)
    assert_close(power_spectrum(states), expected.sum(-1))


@pytest.mark.parametrize("n", LENGTHS)
def test_the_spectrum_adds_up_to_the_energy_and_starts_with_its_dc_part(n):
    states = make_states(n, shift=1.0)
    power = power_spectrum(states)
    assert power.shape == (2, 3, n // 2 + 1)
    assert_close(power.sum(-1), states.square().sum((-2, -1)))
    assert_close(power[..., 0], dc_energy(states))
    assert_close(power[..., 1:].sum(-1), hc_energy(states))


@pytest.mark.parametrize("n", [8, 9, 50])
def test_turning_a_text_round_does_not_change_its_spectrum(n):
    states = make_states(n)
    for turned in (states.roll(3, -2), states.flip(-2), -states):
        assert_close(power_spectrum(turned), power_spectrum(states))


@pytest.mark.parametrize(("n", "k"), [(16, 1), (16, 7), (16, 8), (15, 7)])
def test_a_wave_has_one_frequency(n, k):
    states = torch.cos(2 * math.pi * k * torch.arange(n, dtype=torch.float64) / n)[:, None]
    expected = torch.zeros(n // 2 + 1)
    expected[k] = states.square().sum()
    assert_close(power_spectrum(states), expected)


EDGES = np.linspace(0, 0.5, 6)


@pytest.mark.parametrize("n", [3, 8, 9, 50])
def test_bands_add_up_to_the_hc_energy_whatever_they_are(n):
    states = make_states(n, shift=1.0)
    power = power_spectrum(states)
    assert_close(bands(power, n, [0, 0.5])[..., 0], hc_energy(states))
    found = bands(power, n, EDGES)
    assert found.shape == (2, 3, 5)
    assert_close(found.nansum(-1), hc_energy(states))
    coarse = bands(power, n, EDGES[[0, 2, 5]])
    assert_close(coarse, torch.stack([found[..., :2].nansum(-1), found[..., 2:].sum(-1)], -1))


@pytest.mark.parametrize("n", [40, 41, 200])
def test_white_noise_fills_bands_by_their_width(n):
    states = make_states(n, 4000, shape=())
    found = bands(power_spectrum(states), n, EDGES) / hc_energy(states)
    width = torch.full((5,), 0.1)
    width[0] -= 0.5 / n
    assert_close(found, width / width.sum(), 0.02)


@pytest.mark.parametrize("n", [7, 40, 200])
def test_the_low_share_of_white_noise_and_of_all_frequencies(n):
    power = power_spectrum(make_states(n, 4000, shape=()))
    assert_close(low_share(power, n, 0.5), 1)
    assert float(low_share(power, n, 0.2)) == pytest.approx(0.4, rel=0.03)
    assert float(low_share(power, n, 0.1 / n)) == pytest.approx(1 / n, rel=0.1)


def test_a_band_below_the_first_frequency_holds_no_number():
    power = power_spectrum(make_states(8, shape=()))
    found = bands(power, 8, [0, 0.02, 0.0625, 0.1, 0.5])
    assert found.isnan().tolist() == [True, True, False, False]
    assert bool(bands(power_spectrum(make_states(1)), 1, [0, 0.5]).isnan().all())


def test_edges_may_be_a_tensor():
    power = power_spectrum(make_states(20))
    assert_close(bands(power, 20, torch.linspace(0, 0.5, 6)), bands(power, 20, EDGES), FLOAT32)


@pytest.mark.parametrize("edges", [[0.1], [0.2, 0.1], [0.1, 0.1], [-0.1, 0.2], [0, 0.6], [0, math.nan]])
def test_edges_that_are_none_are_refused(edges):
    with pytest.raises(ModelError, match="2 or more rising edges"):
        bands(torch.ones(5), 8, edges)


@pytest.mark.parametrize("cut", [0, -0.1, 0.6, math.nan])
def test_a_cut_that_is_none_is_refused(cut):
    with pytest.raises(ModelError, match="a cut above 0 and up to 0.5"):
        low_share(torch.ones(5), 8, cut)


def test_a_spectrum_of_another_length_is_refused():
    with pytest.raises(ModelError, match=r"5 frequencies for 9 tokens, got shape \[6\]"):
        bands(torch.ones(6), 9, EDGES)
    with pytest.raises(ModelError, match="1 frequencies for 0 tokens"):
        low_share(torch.ones(1), 0)


@pytest.mark.parametrize("number", [dc_energy, hc_energy, hc_share, token_cosine, power_spectrum])
def test_states_that_are_none_are_refused(number):
    for states in (torch.ones(3), torch.ones(2, 0, 3), torch.ones(2, 3, dtype=torch.long)):
        with pytest.raises(ModelError, match=r"shape \[..., n, dim\] with 1 token or more, got"):
            number(states)
