"""How the energy of token states is spread over frequencies along the text."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from uncollapse.errors import ModelError
from uncollapse.precision import in_full_precision
from uncollapse.spectra.energies import as_states

HIGHEST = 0.5
"""The highest frequency there is, in cycles a token: states that change sign from token to token."""


def power_spectrum(states: Float[Tensor, "*texts n dim"]) -> Float[Tensor, "*texts frequencies"]:
    """Energy of the token states at each frequency along the text.

    P_k = c_k / n sum_d |sum_i x_id exp(-2 pi i k / n)|^2 at frequency k / n cycles a token, k = 0 ... floor(n / 2);
    c_k = 2 for the frequencies that stand for two (k and n - k), else 1.

    How to read it: it sums to |X|_F^2 (Parseval); P_0 is the DC energy, the others add up to the HC energy. White
    noise has the same expected P_k at all k but the ends.

    Args:
        states: token states [..., n, dim], padding cut off.

    Raises:
        ModelError: no token, or no floating numbers.

    Example:
        >>> power_spectrum(torch.tensor([[2.0], [0.0], [2.0], [0.0]]))  # a mean of 1 and a wave of period 2
        tensor([4., 0., 4.])

    Reference:
        Wang et al. (2022), Anti-oversmoothing in deep vision transformers via the Fourier domain analysis, ICLR.
    """
    states = as_states(states)
    n = states.shape[-2]
    waves = torch.fft.rfft(states, dim=-2)
    power: Tensor = (waves.real.square() + waves.imag.square()).sum(-1) / n
    power[..., 1 : (n + 1) // 2] *= 2
    return power


@in_full_precision
def bands(
    power: Float[Tensor, "*texts frequencies"], n: int, edges: Sequence[float] | Tensor
) -> Float[Tensor, "*texts bands"]:
    """Energy in bands of frequency that are the same for every length, without the DC energy.

    Each P_k, k > 0, is spread evenly over its cell, the frequencies nearer to k / n than to any other, up to 0.5.

    How to read it: white noise fills bands in proportion to their width, whatever n is. Bands from 0 to 0.5 add up to
    the HC energy; the DC energy is `power[..., 0]`. A band below 1 / (2 n) lies between 0 and the first frequency such
    a text has: NaN.

    Args:
        power: from `power_spectrum`.
        n: tokens.
        edges: of the bands in cycles a token, rising, within 0 ... 0.5; one more than bands.

    Raises:
        ModelError: a spectrum of another length, or edges that are not so.

    Example:
        >>> bands(torch.tensor([4.0, 0.0, 4.0]), 4, [0.0, 0.25, 0.5])
        tensor([0., 4.])
    """
    _check_spectrum(power, n)
    bounds = [float(edge) for edge in edges]
    rising = all(low < high for low, high in pairwise(bounds))
    if len(bounds) < 2 or not (rising and bounds[0] >= 0 and bounds[-1] <= HIGHEST):
        raise ModelError(f"Expected 2 or more rising edges of frequency bands within 0 ... 0.5, got {bounds}.")
    share, reached = _overlap(n, bounds)
    energy = power[..., 1:] @ share.to(power).mT
    return energy.masked_fill(~reached.to(power.device), torch.nan)


@in_full_precision
def low_share(power: Float[Tensor, "*texts frequencies"], n: int, cut: float = 0.1) -> Float[Tensor, "*texts"]:
    """Share of the energy at low frequencies, the DC energy included.

    (P_0 + energy of the cells of `bands` below the cut) / sum_k P_k.

    How to read it: 1 when nothing changes faster than every 1 / cut tokens. White noise has 2 cut, whatever n is
    (1 / n where that is more). NaN where all states are 0.

    Args:
        power: from `power_spectrum`.
        n: tokens.
        cut: cycles a token, between 0 and 0.5.

    Raises:
        ModelError: a spectrum of another length, or a cut that is not so.

    Example:
        >>> float(low_share(torch.tensor([4.0, 0.0, 4.0]), 4))
        0.5
    """
    _check_spectrum(power, n)
    if not 0 < cut <= HIGHEST:
        raise ModelError(f"Expected a cut above 0 and up to 0.5 cycles a token, got {cut}.")
    share, _ = _overlap(n, [0, cut])
    low = power[..., 0] + power[..., 1:] @ share[0].to(power)
    return low / power.sum(-1)


def _check_spectrum(power: Tensor, n: int) -> None:
    if power.dim() < 1 or power.shape[-1] != n // 2 + 1 or n < 1:
        raise ModelError(
            f"Expected a spectrum of {max(n, 0) // 2 + 1} frequencies for {n} tokens, got shape {list(power.shape)}."
        )


def _overlap(n: int, edges: Sequence[float]) -> tuple[Float[Tensor, "bands frequencies"], Tensor]:
    """Which share of each cell (k > 0) lies in each band, and which bands hold any of a cell."""
    k = torch.arange(1, n // 2 + 1, dtype=torch.float64, device="cpu")
    low, high = (k - 0.5) / n, ((k + 0.5) / n).clamp(max=HIGHEST)
    bounds = torch.tensor(edges, dtype=torch.float64, device="cpu")
    width = torch.minimum(high, bounds[1:, None]) - torch.maximum(low, bounds[:-1, None])
    share = width.clamp(min=0) / (high - low)
    return share, (share > 0).any(-1)
