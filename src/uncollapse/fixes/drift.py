"""The drift of the mean: mu(n), the mean vector of windows of n tokens, as a smooth function of log n."""

import numpy as np

from uncollapse.fixes.maps import Curve, Floats
from uncollapse.fixes.statistics import Sums


def fit_drift(windows: Sums) -> Curve:
    """mu(n), every length's mean drawn towards a straight line in log n as far as it is uncertain.

    A mean of m windows is uncertain by v / m, with v the variance of a single window among those of its length. What
    the means differ from a line by beyond that is real. Each mean keeps the share real / (real + v / m) of its
    difference (empirical Bayes, one share a length for all dimensions), so with many windows the curve goes through
    the means and with few it is the line.

    Args:
        windows: sums over windows of several lengths.

    Source: Efron & Morris 1973 for the shrinkage; the drift itself: docs/log.md.
    """
    bins = [windows.bins[number] for number in sorted(windows.bins)]
    logs = np.log([one.tokens for one in bins])
    means = np.stack([one.mean for one in bins])
    noise = np.trace(windows.covariance_at_length) / np.array([one.count for one in bins], np.float64)
    if len(bins) < 3:
        return Curve(logs, means)
    line = _line(logs, means, 1 / np.maximum(noise, 1e-12))
    apart = np.square(means - line).sum(axis=1)
    real = max(0.0, float((apart - noise * (1 - 2 / len(bins))).mean()))
    share = np.array([real / (real + one) if real + one > 0 else 1.0 for one in noise])
    return Curve(logs, line + share[:, None] * (means - line))


def _line(logs: Floats, means: Floats, weights: Floats) -> Floats:
    """The weighted least-squares line through the means, at the same lengths: float64 [lengths, dim]."""
    design = np.stack([np.ones_like(logs), logs - logs.mean()], axis=1)
    root = np.sqrt(weights / weights.max())[:, None]
    coefficients = np.linalg.lstsq(root * design, root * means, rcond=None)[0]
    fitted: Floats = design @ coefficients
    return fitted
