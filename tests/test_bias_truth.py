"""Figures of length bias find what was planted, and their intervals hold the truth as often as they say."""

import numpy as np
import pytest

from rankings import NEUTRAL, make, make_lengths, rank, values
from uncollapse.evaluation.bias.figures import length_bias
from uncollapse.resampling import difference


def test_where_length_plays_no_part_intervals_hold_the_neutral_value_about_nineteen_times_in_twenty() -> None:
    held: dict[str, list[bool]] = {name: [] for name in NEUTRAL}
    gaps = []
    for seed in range(120):
        bias = length_bias(make(seed, queries=50, documents=400, background=15), replicates=100)
        for name, truth in NEUTRAL.items():
            estimate = bias.estimates[name, ""]
            held[name].append(estimate.low <= truth <= estimate.high)
        gap = difference(bias.estimates["short_wins_wrongly", ""], bias.estimates["long_wins_wrongly", ""])
        gaps.append(gap.low <= 0 <= gap.high)
    held["equal errors"] = gaps
    shares = {name: np.mean(flags) for name, flags in held.items()}
    assert all(0.88 <= share <= 1 for share in shares.values()), shares  # 0.95 less 3.5 standard errors
    assert np.mean(list(shares.values())) == pytest.approx(0.95, abs=0.025)


def test_a_planted_slope_is_found_and_held_by_its_interval() -> None:
    slope, noise, found, held = -0.4, 1.5, [], []
    for seed in range(100):
        ranked = make(seed, queries=40, documents=60, slope=slope, noise=noise, width=5)
        estimate = length_bias(ranked, replicates=100).estimates["length_slope", ""]
        found.append(estimate.value)
        held.append(estimate.low <= slope <= estimate.high)
    assert np.mean(found) == pytest.approx(slope, abs=4 * np.std(found) / 10)
    assert 0.88 <= np.mean(held) <= 1


def test_the_slope_in_standard_deviations_and_what_length_explains_are_those_of_theory() -> None:
    ranked = make(9, queries=200, documents=300, slope=-0.5, noise=2.0, background=100)
    figures = values(length_bias(ranked, replicates=4))
    spread = 0.25 * np.log2(ranked.lengths).var() + 4
    assert figures["length_slope_sd"] == pytest.approx(-0.5 / np.sqrt(spread), rel=0.05)
    assert figures["length_explained"] == pytest.approx(1 - 4 / spread, rel=0.1)


@pytest.mark.parametrize("run", [False, True])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_planted_preference_shows_in_every_figure(sign: int, run: bool) -> None:
    bias = length_bias(make(10, queries=120, slope=sign, width=120 if run else 60, run=run), replicates=200)
    below = {name for name, truth in NEUTRAL.items() if bias.estimates[name, ""].high < truth}
    above = {name for name, truth in NEUTRAL.items() if bias.estimates[name, ""].low > truth}
    lower = {"length_ratio@10", "length_ratio@R", "long_surplus@10", "long_surplus@R"}
    lower |= {"length_slope", "length_slope_sd"}
    higher = {"short_surplus@10", "short_surplus@R", "short_wins", "beaten_by_shorter"}
    assert (below, above - {"length_explained"}) == ((lower, higher) if sign < 0 else (higher, lower))
    assert "length_explained" in above
    gap = difference(bias.estimates["short_wins_wrongly", ""], bias.estimates["long_wins_wrongly", ""])
    assert gap.low > 0 if sign < 0 else gap.high < 0


def test_texts_judged_bad_are_not_mixed_with_texts_that_nobody_judged() -> None:
    rng = np.random.default_rng(11)
    lengths = make_lengths(rng, 200)
    long = np.argsort(lengths)[-50:]
    query, document = np.repeat(np.arange(40), 10), np.concatenate([rng.choice(long, 10, False) for _ in range(40)])
    scores = rng.normal(size=(40, 200))
    scores[query, document] += 5  # as a pool of searches that like long texts would choose
    bias = length_bias(rank(scores, lengths, (query, document, np.zeros(400, np.int64)), background=200))
    assert bias.estimates["length_slope", ""].low < 0 < bias.estimates["length_slope", ""].high


def test_an_interval_of_what_length_explains_reaches_zero_when_the_slope_may_be_zero() -> None:
    zeros = []
    for seed in range(10):
        bias = length_bias(make(seed), replicates=100)
        slope, explained = (bias.estimates[name, ""] for name in ("length_slope", "length_explained"))
        assert 0 < explained.value < explained.high
        assert explained.replicates.min() > 0
        assert (explained.low == 0) == (slope.low <= 0 <= slope.high)
        zeros.append(explained.low == 0)
    assert sum(zeros) >= 7


def test_differences_are_paired() -> None:
    before, after = (length_bias(make(13, slope=slope)).estimates for slope in (-0.6, -0.5))
    gain = difference(after["length_slope", ""], before["length_slope", ""])
    width = before["length_slope", ""].high - before["length_slope", ""].low
    assert gain.high - gain.low < width / 2
    assert gain.low <= 0.1 <= gain.high
