"""What is seen of one attention layer: its logits, its values and what each head gives."""

from dataclasses import dataclass

import torch

from uncollapse.errors import ModelError
from uncollapse.precision import in_full_precision


@dataclass(frozen=True, eq=False)
class Logits:
    """The attention logits of one layer, as query and key where they are seen, else as the model formed them.

    logits = softcap * tanh(scale * QK' / softcap) + bias; without a soft-cap, scale * QK' + bias. Where a token may
    not look they are -inf.

    Args:
        query, key: [texts, heads, n, head_dim], keys repeated to the query heads; None where only scores are seen.
        scale: what QK' is multiplied by.
        bias: added to the scores [1 or texts, 1 or heads, n, n]; None for none.
        softcap: limit of the scores before the bias, None for none.
        formed: the scores themselves [texts, heads, n, n], where query and key are not seen.
        allowed: where a token may look, bool [1 or texts, 1, n, n]; None for everywhere.
        causal: whether a token looks at itself and those before it only; nobody has made a mask of that.
    """

    query: torch.Tensor | None = None
    key: torch.Tensor | None = None
    scale: float = 1.0
    bias: torch.Tensor | None = None
    softcap: float | None = None
    formed: torch.Tensor | None = None
    allowed: torch.Tensor | None = None
    causal: bool = False

    @property
    def plain(self) -> bool:
        """Whether the map is softmax(scale * QK') and no more."""
        return self.streams and self.softcap is None and self.allowed is None and not self.causal

    @property
    def streams(self) -> bool:
        """Whether a few rows of the map can be made from query and key alone, so that it need never be formed.

        Where tokens may look must be the same for all texts and heads then.
        """
        shared = self.allowed is None or self.allowed.shape[:2] == (1, 1)
        return self.query is not None and self.bias is None and shared

    @property
    def entries(self) -> int:
        """Entries of all maps together."""
        texts, heads, n = self._seen.shape[:3]
        return texts * heads * n**2

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self._seen.device

    @property
    def _seen(self) -> torch.Tensor:
        seen = self.formed if self.query is None else self.query
        assert seen is not None
        return seen

    @in_full_precision
    def scores(self) -> torch.Tensor:
        """The logits, float32 or float64 also under autocast [texts, heads, n, n].

        >>> Logits(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4), scale=0.5).scores().tolist()
        [[[[2.0, 2.0], [2.0, 2.0]]]]
        """
        if self.query is None or self.key is None:
            assert self.formed is not None
            return upcast(self.formed)
        # The product is new and nobody else's, so that what follows can reuse its memory.
        scores = torch.matmul(upcast(self.query), upcast(self.key).mT).mul_(self.scale)
        if self.softcap is not None:
            scores.div_(self.softcap).tanh_().mul_(self.softcap)
        if self.bias is not None:
            scores.add_(self.bias)
        if self.allowed is not None:
            scores.masked_fill_(~self.allowed, -torch.inf)
        if self.causal:
            scores.masked_fill_(scores.new_ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
        return scores

    def map(self, inverse_temperature: float | torch.Tensor = 1.0) -> torch.Tensor:
        """The attention map A = softmax(logits / tau): rows are queries and sum to 1 [texts, heads, n, n].

        Half precision is taken to float32 first.

        Args:
            inverse_temperature: 1 / tau, a number or a tensor such as one a head [heads, 1, 1].

        Raises:
            ModelError: an inverse temperature that is not finite and positive.

        >>> logits = Logits(formed=torch.tensor([[[[0.0, 1.0], [2.0, 2.0]]]]))
        >>> [[round(a, 3) for a in row] for row in logits.map(2.0)[0, 0].tolist()]
        [[0.119, 0.881], [0.5, 0.5]]
        """
        factor = torch.as_tensor(inverse_temperature)
        if not bool((torch.isfinite(factor) & (factor > 0)).all()):
            raise ModelError(f"Expected a finite inverse temperature > 0, got {inverse_temperature}.")
        scores = self.scores()
        if isinstance(inverse_temperature, torch.Tensor):
            scores = scores * inverse_temperature.to(scores)
        elif inverse_temperature != 1:
            scores = scores * inverse_temperature
        return torch.softmax(scores, -1)


@dataclass(frozen=True, eq=False)
class Heads:
    """One attention layer for texts of equal length, without padding.

    Only softmax attention is shown: of ConvBERT's layers, not the half that is a convolution.

    Args:
        layer: which attention layer, from 0; layers without attention (the convolutions of LFM2) are not counted.
        rows: which texts of the batch.
        n: tokens of each text.
        logits: what the softmax is taken of.
        value: [texts, heads, n, value_dim], repeated to the query heads.
        output: A V as the model computed it, before the output projection [texts, heads, n, value_dim].
        ids: which token stands where, int64 [texts, n]; None where the model was given embeddings.
    """

    layer: int
    rows: tuple[int, ...]
    n: int
    logits: Logits
    value: torch.Tensor
    output: torch.Tensor
    ids: torch.Tensor | None = None


def upcast(tensor: torch.Tensor) -> torch.Tensor:
    """Half precision as float32; anything wider as it is."""
    return tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor


def without_masked(scores: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """-inf where a model added its lowest number instead.

    Args:
        scores: logits or an additive mask.
        dtype: precision of the model, which says what its lowest number is.
    """
    barred = masked(scores, dtype)
    return scores.masked_fill(barred, -torch.inf) if bool(barred.any()) else scores


def masked(scores: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Where a model added its lowest number, so that a token may not look there."""
    return scores < torch.finfo(dtype).min / 2
