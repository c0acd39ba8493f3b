"""Give the baskets of a text evener shares of attention while a model runs."""

from contextlib import ExitStack

import torch
from transformers import PreTrainedModel

from uncollapse.attention.calibration import Calibration
from uncollapse.attention.mixing import allowed, mix_attention
from uncollapse.attention.observing.interface import Call, whole_map
from uncollapse.attention.sites import find_sites
from uncollapse.precision import in_full_precision


def put_calibration(model: PreTrainedModel, fix: Calibration, undo: ExitStack) -> None:
    """Even out the baskets' shares until `undo` closes.

    Raises:
        ArchitectureError: attention that cannot be exchanged or shares its softmax with sinks, by name.
    """
    layers = sum(len(site.layers) for site in find_sites(model))

    def mix(call: Call, output: torch.Tensor, layer: int, real: torch.Tensor | None) -> torch.Tensor:
        texts, width = output.shape[:2]
        # No text has more baskets than one as wide as the batch, whatever its padding.
        if not fix.acts_on(layer, layers) or width <= fix.basket:
            return output
        # A model spread over several cards has layers that do not lie where its mask does.
        everywhere = torch.ones(texts, width, dtype=torch.bool, device=output.device)
        whole = everywhere if real is None else real.to(output.device)
        number = (whole.long().cumsum(1) - 1).clamp(min=0) // fix.basket
        count = -(-width // fix.basket)
        evened = even_out(whole_map(call), number, fix.strength, seen=allowed(call), count=count)
        made = torch.matmul(evened.to(output.dtype), call.repeated[1]).transpose(1, 2)
        return torch.where(_pooled(whole, fix.rows)[:, :, None, None], made, output)

    if not fix.is_identity:
        mix_attention(model, mix, undo)


@in_full_precision
def even_out(
    weights: torch.Tensor,
    number: torch.Tensor,
    strength: float,
    *,
    seen: torch.Tensor | None = None,
    count: int | None = None,
) -> torch.Tensor:
    """Weights of which each basket has (1 - strength) of its share and strength of its tokens' share among those seen.

    Args:
        weights: attention maps, rows sum to 1 [texts, heads, rows, width].
        number: which basket each token is in [texts, width].
        strength: from 0 to 1.
        seen: where a token may look, bool [1 or texts, 1 or heads, rows, width]; None for everywhere.
        count: how many baskets to reckon with, from the largest number + 1; None reads that from the numbers.

    >>> even_out(torch.tensor([[[[0.6, 0.3, 0.1]]]]), torch.tensor([[0, 0, 1]]), 1.0).flatten().tolist()
    [0.4444444477558136, 0.2222222238779068, 0.3333333432674408]
    """
    baskets = torch.arange(int(number.max()) + 1 if count is None else count, device=number.device)
    inside = (number[:, :, None] == baskets).to(weights.device, weights.dtype)[:, None]
    mass = torch.matmul(weights, inside)
    counts = inside.sum(-2, keepdim=True) if seen is None else torch.matmul(seen.to(weights.dtype), inside)
    even = counts / counts.sum(-1, keepdim=True).clamp(min=1)
    # What is next to nothing stays so: divided by it, a share would be infinite, and infinity times 0 is NaN.
    least = torch.finfo(mass.dtype).tiny / torch.finfo(mass.dtype).eps
    ratio = (1 - strength) + strength * even / mass.clamp(min=least)
    ratio = torch.where(mass > least, ratio, torch.ones_like(ratio))
    return weights * torch.matmul(ratio, inside.mT)


def _pooled(real: torch.Tensor, rows: str) -> torch.Tensor:
    """Which tokens' rows are changed: bool [texts, width]."""
    count = real.long().cumsum(1)
    if rows == "first":
        return real & (count == 1)
    return real & (count == count[:, -1:]) if rows == "last" else real
