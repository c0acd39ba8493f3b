"""What the tokens of a text share and what tells them apart: DC and HC energy, and the mean cosine of its tokens."""

import torch
from jaxtyping import Float
from torch import Tensor

from uncollapse.errors import ModelError


def dc_energy(states: Float[Tensor, "*texts n dim"]) -> Float[Tensor, "*texts"]:
    """Energy of what all tokens of a text share.

    |JX|_F^2 = n |mean_i x_i|^2 (J = 11'/n).

    How to read it: with `hc_energy` it adds up to |X|_F^2; mean pooling reads nothing else.

    Args:
        states: token states [..., n, dim], padding cut off. Half precision is raised to float32.

    Raises:
        ModelError: no token, or no floating numbers.

    Example:
        >>> float(dc_energy(torch.tensor([[1.0, 0.0], [3.0, 0.0]])))
        8.0

    Reference:
        Wang et al. (2022), Anti-oversmoothing in deep vision transformers via the Fourier domain analysis, ICLR.
    """
    states = as_states(states)
    return states.shape[-2] * states.mean(-2).square().sum(-1)


def hc_energy(states: Float[Tensor, "*texts n dim"]) -> Float[Tensor, "*texts"]:
    """Energy of what tells the tokens of a text apart.

    |(I - J) X|_F^2 = sum_i |x_i - mean|^2.

    How to read it: 0 when all tokens are equal, and for a text of one token. Attention multiplies it by at most the
    square of its filter rate.

    Args:
        states: as in `dc_energy`, and its errors.

    Example:
        >>> float(hc_energy(torch.tensor([[1.0, 0.0], [3.0, 0.0]])))
        2.0
    """
    states = as_states(states)
    return (states - states.mean(-2, keepdim=True)).square().sum((-2, -1))


def hc_share(states: Float[Tensor, "*texts n dim"]) -> Float[Tensor, "*texts"]:
    """Share of the energy that tells tokens apart.

    HC / (DC + HC).

    How to read it: 0 when all tokens are equal, near 1 when they have nothing in common; n independent vectors have
    1 - 1/n. A norm that gives every token the same length keeps |X|_F^2, not this share. NaN where all states are 0.

    Args:
        states: as in `dc_energy`, and its errors.

    Example:
        >>> float(hc_share(torch.tensor([[1.0, 0.0], [3.0, 0.0]])))
        0.20000000298023224
    """
    high = hc_energy(states)
    return high / (high + dc_energy(states))


def token_cosine(states: Float[Tensor, "*texts n dim"]) -> Float[Tensor, "*texts"]:
    """Mean cosine of the distinct tokens of a text.

    (|sum_i u_i|^2 - n) / (n (n - 1)), u_i = x_i / |x_i|.

    How to read it: 1 when all tokens point the same way, about 0 when they point anywhere, never below -1 / (n - 1).
    It reads directions only, so no norm changes it by lengths alone. NaN for a text of one token, and where a state is
    0, which has no direction.

    Args:
        states: as in `dc_energy`, and its errors.

    Example:
        >>> float(token_cosine(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])))  # (1 + 0 + 0) / 3
        0.3333333432674408
    """
    states = as_states(states)
    n = states.shape[-2]
    if n == 1:
        return torch.full_like(states[..., 0, 0], torch.nan)
    units: Tensor = states / torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    return (units.sum(-2).square().sum(-1) - n) / (n * (n - 1))


def as_states(states: Float[Tensor, "*texts n dim"]) -> Float[Tensor, "*texts n dim"]:
    """Token states in float32 at least.

    Raises:
        ModelError: no token, or no floating numbers.
    """
    if not states.is_floating_point() or states.dim() < 2 or states.shape[-2] < 1:
        raise ModelError(
            f"Expected token states of floating numbers and shape [..., n, dim] with 1 token or more, "
            f"got {states.dtype} {list(states.shape)}."
        )
    return states.to(torch.promote_types(states.dtype, torch.float32))
