"""Where attention goes: entropy, shares and score spread against plain loops, limits, and bad input."""

import math

import pytest
import torch

from spectra_maps import gaussian_maps, kinds, seeded
from tolerances import FLOAT32, HALF, assert_close
from uncollapse.errors import ModelError
from uncollapse.spectra import entropy, identity_map, score_spread, shares, uniform_map

KINDS = kinds(30)


@pytest.mark.parametrize("kind", KINDS)
def test_entropy_is_the_mean_entropy_of_the_rows(kind):
    maps = KINDS[kind]
    expected = torch.distributions.Categorical(probs=maps.double()).entropy().mean(-1)
    assert_close(entropy(maps), expected, FLOAT32)


@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_entropy_is_zero_for_one_target_and_log_n_for_all(n):
    assert_close(entropy(torch.stack([identity_map(n), uniform_map(n)])), [0, math.log(n)], FLOAT32)


def test_a_temperature_moves_the_entropy_its_way():
    scores = torch.randn(40, 40, generator=seeded())
    found = [float(entropy(torch.softmax(scores / tau, -1))) for tau in (0.3, 0.7, 1.0, 2.0)]
    assert found == sorted(found)


@pytest.mark.parametrize("window", [0, 2, 8, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_what_loops_over_rows_and_columns_say(kind, window):
    maps = KINDS[kind]
    special = torch.zeros(30, dtype=torch.bool)
    special[[0, 4, 29]] = True
    found = shares(maps, special, window=window)
    places = torch.arange(30)
    near = (places[:, None] - places).abs() <= window
    assert_close(found.special, maps.double()[:, :, special].sum((-2, -1)) / 30, FLOAT32)
    assert_close(found.own, maps.double().diagonal(dim1=-2, dim2=-1).sum(-1) / 30, FLOAT32)
    assert_close(found.window, (maps.double() * near).sum((-2, -1)) / 30, FLOAT32)


def test_special_tokens_may_differ_by_text():
    maps = gaussian_maps(20, 1.0, count=6).reshape(2, 3, 20, 20)
    special = torch.zeros(2, 20, dtype=torch.bool)
    special[0, 3] = special[1, 5:7] = True
    found = shares(maps, special).special
    assert_close(found[0], shares(maps[0], special[0]).special, FLOAT32)
    assert_close(found[1], maps[1][:, :, 5:7].sum((-2, -1)) / 20, FLOAT32)


def test_unknown_special_tokens_have_no_share():
    found = shares(gaussian_maps(20, 1.0))
    assert bool(found.special.isnan().all())
    assert bool(found.own.isfinite().all())


def test_shares_of_one_token_are_whole():
    found = shares(torch.ones(1, 1), torch.tensor([True]))
    assert [float(found.special), float(found.own), float(found.window)] == [1, 1, 1]


def test_the_spread_of_scores_is_the_mean_deviation_of_the_rows():
    scores = torch.randn(2, 3, 25, 25, generator=seeded(1)) * torch.tensor([0.1, 1.0, 7.0])[:, None, None] + 3
    assert_close(score_spread(scores), scores.double().std(-1, correction=0).mean(-1), FLOAT32)


@pytest.mark.parametrize("masked", [-torch.inf, torch.finfo(torch.float32).min])
def test_masked_scores_do_not_count(masked):
    scores = torch.randn(25, 25, generator=seeded(2))
    later = torch.ones(25, 25, dtype=torch.bool).triu(1)
    expected = torch.stack([scores[i, : i + 1].double().std(correction=0) for i in range(25)]).mean()
    assert_close(score_spread(scores.masked_fill(later, masked)), expected, FLOAT32)


def test_scores_that_all_move_have_the_same_spread():
    scores = torch.randn(4, 25, 25, generator=seeded(3))
    moved = scores + 10 * torch.randn(4, 25, 1, generator=seeded(4))
    assert_close(score_spread(moved), score_spread(scores), FLOAT32)
    assert_close(score_spread(scores / 0.5), 2 * score_spread(scores), FLOAT32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_raised(dtype):
    maps, scores = gaussian_maps(40, 1.5), torch.randn(40, 40, generator=seeded(5))
    assert entropy(maps.to(dtype)).dtype == score_spread(scores.to(dtype)).dtype == torch.float32
    assert_close(entropy(maps.to(dtype)), entropy(maps), HALF)
    assert_close(score_spread(scores.to(dtype)), score_spread(scores), HALF)


def test_shapes_stay():
    maps = gaussian_maps(12, 1.0, count=6).reshape(3, 2, 12, 12)
    assert entropy(maps).shape == shares(maps).own.shape == score_spread(maps.log()).shape == (3, 2)
    assert entropy(maps[0, 0]).shape == ()


def test_nan_is_refused():
    maps = gaussian_maps(20, 1.0)
    maps[2, 4, 3] = torch.nan
    for number in (entropy, shares):
        with pytest.raises(ModelError, match="finite attention maps, but map 2 .counted from 0. gives NaN"):
            number(maps)
    with pytest.raises(ModelError, match=r"finite scores .*, but map 2"):
        score_spread(maps)


def test_a_token_that_sees_nothing_is_refused():
    with pytest.raises(ModelError, match="a token that sees nothing"):
        score_spread(torch.tensor([[1.0, 2.0], [-torch.inf, -torch.inf]]))


def test_masks_and_windows_that_do_not_fit_are_refused():
    maps = gaussian_maps(20, 1.0)
    with pytest.raises(ModelError, match=r"shape \[20\] or \[3, 20\], got torch.bool \[19\]"):
        shares(maps, torch.ones(19, dtype=torch.bool))
    with pytest.raises(ModelError, match=r"got torch.int64 \[20\]"):
        shares(maps, torch.ones(20, dtype=torch.long))
    with pytest.raises(ModelError, match="window of 0 tokens or more to each side, got -1"):
        shares(maps, window=-1)
    with pytest.raises(ModelError, match=r"shape \[..., n, n\], got torch.float32 \[3, 20\]"):
        score_spread(maps[:, 0])
