"""How evenly vectors use the space around them, from equally many documents a bin."""

import math

import numpy as np
from jaxtyping import Float, Float64

from uncollapse.errors import ModelError
from uncollapse.measures.similarity import mean_over_pairs
from uncollapse.resampling import Estimate

ROUNDING = 1e-12
"""Variance below which unit vectors in float32 count as equal: what is left is rounding, not information."""

_LOG_STEP = 0.5
_NODES = np.exp(np.arange(-34, 34 + _LOG_STEP, _LOG_STEP))


def uniformity(vectors: Float[np.ndarray, "texts dim"], weights: Float[np.ndarray, "texts replicates"]) -> Estimate:
    """How unevenly the vectors cover the sphere.

    log mean_{i != j} exp(-2 |u_i - u_j|^2) over unit vectors u_i. Replicates weight every pair by w_i w_j and leave
    out the pairs of a document with itself.

    How to read it: about -4 for directions spread evenly in many dimensions, 0 for a single point; lower is more even.
    Close pairs dominate it, so clusters raise it where the mean cosine stays put. Its lowest value is -4 n / (n - 1),
    and it is never below -4 (1 - mean_cosine). Hardly biased by n, yet compared at equal n like everything here.

    Args:
        vectors: unit vectors, 2 texts or more.
        weights: from `poisson_weights`.

    Example:
        >>> round(uniformity(np.eye(3), np.ones((3, 4))).value, 12)
        -4.0

    Reference:
        Wang & Isola (2020), Understanding contrastive representation learning through alignment and uniformity on the
        hypersphere, ICML (there with all pairs of a batch, t = 2).
    """
    n = len(vectors)
    if n < 2:
        raise ModelError(f"A pair needs 2 documents, but there are {n}. Widen the length bins.")
    exact = vectors.astype(np.float64)
    squares = np.einsum("ij,ij->i", exact, exact)
    potential = np.exp(-2 * (squares[:, None] + squares - 2 * (exact @ exact.T)))
    np.fill_diagonal(potential, 0)
    drawn = weights.astype(np.float64)
    energy = np.einsum("ib,ib->b", drawn, potential @ drawn)
    replicates = np.log(mean_over_pairs(energy, drawn.sum(axis=0), (drawn**2).sum(axis=0)))
    return Estimate.of(math.log(potential.sum() / (n * (n - 1))), replicates, n=n)


def effective_rank(
    vectors: Float[np.ndarray, "texts dim"], weights: Float[np.ndarray, "texts replicates"]
) -> Estimate:
    """How many directions the vectors really use around their centre.

    exp(H), H = -sum_k p_k log p_k with p_k = lambda_k / sum lambda, the shares of variance along the eigenvectors of
    the covariance matrix (mean removed; the factor 1/n or 1/(n - 1) cancels). Eigenvalues are squares of singular
    values: the source and RankMe take the entropy of the singular values themselves, which is never smaller on the
    same matrix, and RankMe does not centre. So do not hold this number against theirs.

    How to read it: 1 when all texts lie on one line, d when all d dimensions carry the same variance; at most n - 1.
    It is biased low unless n is much larger than d, so compare it at equal n only, beside
    `isotropic_effective_rank(n, d)`. Vectors that are all equal (variance below 1e-12), or fewer than 2, have
    effective rank 1: the limit of a shrinking line.

    A percentile bootstrap is invalid here: a resample repeats documents, so its rank is too low every time. Each
    replicate is therefore the value plus a linear term, exp(H + sum_i (w_i - 1) J_i / n), with the jackknife influence
    J_i = (n - 1) (mean_j H_(j) - H_(i)) of every document, H_(i) being H without document i. It gives the jackknife
    variance, which is never too small on average (Efron & Stein 1981), and keeps differences paired.

    Args:
        vectors: unit vectors.
        weights: from `poisson_weights`.

    Example:
        >>> round(effective_rank(np.vstack([np.eye(3), -np.eye(3)]), np.ones((6, 4))).value, 12)
        3.0

    Reference:
        Roy & Vetterli (2007), The effective rank, EUSIPCO; RankMe: Garrido et al. (2023), arXiv 2210.02885.
    """
    n = len(vectors)
    if n < 2:
        estimate = Estimate(1.0, np.full(weights.shape[1], np.nan), None, None, n)
        return estimate.noted("no interval: effective rank of fewer than 2 documents is 1 by definition")
    entropy, without = spectral_entropies(vectors)
    influence = (n - 1) * (without.mean() - without)
    linear = entropy + (weights.astype(np.float64) - 1).T @ influence / n
    bound = min(n - 1, vectors.shape[1])
    return Estimate.of(math.exp(entropy), np.clip(np.exp(linear), 1, bound), n=n)


def spectral_entropies(vectors: Float[np.ndarray, "texts dim"]) -> tuple[float, Float64[np.ndarray, " texts"]]:
    """The entropy H of the covariance spectrum, and H without each single document, from one eigendecomposition.

    Leaving out document i takes rho y_i y_i' off the scatter matrix S = sum_i y_i y_i', with y_i = x_i - mean and
    rho = n / (n - 1). Scale S to trace 1 and let delta_i = rho |y_i|^2. With G(S) = -sum lambda log lambda, the
    integral of log det(S + t) from t = 0 to infinity gives

        G(S - rho y y') - G(S) = delta + integral [log(1 - rho y' (S + t)^-1 y) + delta / (1 + t)] dt,

    whose integrand is smooth in log t, so that the trapezoid rule converges to machine precision. Then
    H_(i) = log(1 - delta_i) + G(S - rho y_i y_i') / (1 - delta_i). All texts cost one matrix product with the nodes t.

    Args:
        vectors: 2 texts or more.

    Returns:
        H, and H_(i) [texts]; 0 where all (remaining) vectors are equal.
    """
    n = len(vectors)
    spectrum, squares = _scatter(vectors.astype(np.float64))
    trace = float(spectrum.sum())
    if trace <= ROUNDING * n:
        return 0.0, np.zeros(n)
    spectrum, squares = spectrum / trace, squares / trace
    present = spectrum[spectrum > 0]
    entropy = max(0.0, -float(present @ np.log(present)))
    rho = n / (n - 1)
    removed = rho * squares.sum(axis=1)
    leverages = rho * (squares @ (1 / (spectrum[:, None] + _NODES)))
    change = np.log1p(-np.minimum(leverages, 1 - 1e-15)) + removed[:, None] / (1 + _NODES)
    gained = removed + _LOG_STEP * (change @ _NODES)
    left = 1 - removed
    spread = left > ROUNDING
    left = np.where(spread, left, 1.0)
    without = np.where(spread, np.log(left) + (entropy + gained) / left, 0.0)
    return entropy, np.maximum(without, 0.0)


def isotropic_effective_rank(
    n: int, dim: int, *, draws: int = 4, generator: np.random.Generator | None = None
) -> float:
    """The effective rank that n directions drawn evenly from the sphere in `dim` dimensions would have.

    The mean over `draws` sets of normalised Gaussian vectors. The reference line for `effective_rank` at the same n: a
    value near it means that nothing is left to gain.

    Args:
        n: documents; dim: length of the vectors.
        draws: sets of n vectors to average over.
        generator: of the directions; `np.random.default_rng(0)` unless given.

    Example:
        >>> round(isotropic_effective_rank(100, 2), 1)
        2.0
    """
    if n < 2:
        return 1.0
    generator = np.random.default_rng(0) if generator is None else generator
    ranks = []
    for _ in range(draws):
        directions = generator.standard_normal((n, dim))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        spectrum, _ = _scatter(directions)
        shares = spectrum[spectrum > 0] / spectrum.sum()
        ranks.append(math.exp(-float(shares @ np.log(shares))))
    return float(np.mean(ranks))


def _scatter(
    vectors: Float64[np.ndarray, "texts dim"],
) -> tuple[Float64[np.ndarray, " rank"], Float64[np.ndarray, "texts rank"]]:
    """Eigenvalues of the scatter matrix, and each centred text's squared coordinate along each eigenvector."""
    centred = vectors - vectors.mean(axis=0)
    n, dim = centred.shape
    if n > dim:
        spectrum, axes = np.linalg.eigh(centred.T @ centred)
        return np.maximum(spectrum, 0), (centred @ axes) ** 2
    spectrum, axes = np.linalg.eigh(centred @ centred.T)
    spectrum = np.maximum(spectrum[1:], 0)
    return spectrum, axes[:, 1:] ** 2 * spectrum
