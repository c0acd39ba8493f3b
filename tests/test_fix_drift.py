"""mu(n): through the means where they are certain, near a line where they are not."""

import numpy as np
import numpy.typing as npt
import pytest

from tolerances import assert_close
from uncollapse.fixes.drift import fit_drift
from uncollapse.fixes.maps import Curve
from uncollapse.fixes.statistics import Sums

LENGTHS = 2 ** np.arange(3, 10)
DIM = 12


def bent() -> npt.NDArray[np.float64]:
    """A mean that bends with log n: [lengths, dim]."""
    logs = np.log(LENGTHS)
    return np.stack([np.sin((d + 1) * logs / 3) * 0.3 for d in range(DIM)], axis=1)


def straight() -> npt.NDArray[np.float64]:
    """A mean that moves along a line in log n."""
    return np.outer(np.log(LENGTHS) - 4, np.linspace(-0.2, 0.2, DIM)) + 0.5


def drawn(means: npt.NDArray[np.float64], each: int, noise: float, seed: int) -> Sums:
    """So many windows of each length around the means."""
    rng, sums = np.random.default_rng(seed), Sums(DIM)
    for n, mean in zip(LENGTHS.tolist(), means, strict=True):
        sums.update(mean + noise * rng.standard_normal((each, DIM)), np.full(each, n))
    return sums


def errors(means: npt.NDArray[np.float64], each: int, noise: float) -> tuple[float, float]:
    """Mean squared error of the fitted curve and of the plain means, over 30 draws."""
    fitted, plain = [], []
    for seed in range(30):
        sums = drawn(means, each, noise, seed)
        fitted.append(np.square(fit_drift(sums).at(LENGTHS) - means).sum())
        plain.append(np.square(np.stack([sums.bins[number].mean for number in sorted(sums.bins)]) - means).sum())
    return float(np.mean(fitted)), float(np.mean(plain))


def test_with_many_windows_the_curve_goes_through_the_means() -> None:
    sums = drawn(bent(), 4000, 0.1, seed=0)
    means = np.stack([sums.bins[number].mean for number in sorted(sums.bins)])
    np.testing.assert_allclose(fit_drift(sums).at(LENGTHS), means, atol=1e-4)
    np.testing.assert_allclose(fit_drift(sums).at(LENGTHS), bent(), atol=0.01)


def test_with_few_windows_of_a_straight_drift_the_curve_is_nearer_the_truth_than_the_means() -> None:
    fitted, plain = errors(straight(), each=12, noise=1.0)
    assert fitted < 0.6 * plain  # the line has 2 of 7 degrees of freedom


def test_a_bend_is_never_paid_for_dearly() -> None:
    for each in (12, 50, 200):
        fitted, plain = errors(bent(), each, noise=0.5)
        assert fitted < 1.05 * plain


def test_without_noise_the_means_are_the_curve() -> None:
    assert_close(fit_drift(drawn(bent(), 12, 0.0, seed=0)).at(LENGTHS), bent())


def test_it_is_linear_in_log_n_between_lengths_and_level_outside() -> None:
    curve = fit_drift(drawn(bent(), 12, 0.0, seed=0))
    middle = np.exp((np.log(16) + np.log(32)) / 2)
    assert_close(curve.at(np.array([middle]))[0], (bent()[1] + bent()[2]) / 2)
    assert_close(curve.at(np.array([1, 10**6])), bent()[[0, -1]])


@pytest.mark.parametrize("kept", [1, 2])
def test_one_or_two_lengths_keep_their_means(kept: int) -> None:
    sums = Sums(DIM)
    for n, mean in zip(LENGTHS[:kept].tolist(), bent(), strict=False):
        sums.update(mean + np.random.default_rng(n).standard_normal((30, DIM)), np.full(30, n))
    curve = fit_drift(sums)
    assert curve.is_constant == (kept == 1)
    assert_close(curve.at(LENGTHS[:kept]), np.stack([sums.bins[number].mean for number in sorted(sums.bins)]))


def test_turned_vectors_have_the_turned_curve() -> None:
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))[0]
    rng, plain, turned = np.random.default_rng(1), Sums(DIM), Sums(DIM)
    for n, mean in zip(LENGTHS.tolist(), bent(), strict=True):
        vectors = mean + rng.standard_normal((20, DIM))
        plain.update(vectors, np.full(20, n))
        turned.update(vectors @ turn.T, np.full(20, n))
    assert_close(fit_drift(turned).values, fit_drift(plain).values @ turn.T)


def test_a_constant_is_the_same_at_every_length() -> None:
    assert_close(Curve.constant(np.arange(3.0)).at(np.array([1, 7, 10**9])), np.tile(np.arange(3.0), (3, 1)))
