"""Attention maps as linear operators: held as matrices, or streamed from queries and keys without holding one."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from uncollapse.errors import ModelError

PART_BYTES = {"cpu": 1 << 20}
"""How much of a map is looked at in one go: on a processor what stays in its second cache."""
PART_BYTES_ELSEWHERE = 256 << 20

_CHECKED_ROWS = 8
_SUM_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-3}
_SUM_TOLERANCE_HALF = 3e-2


@dataclass(frozen=True)
class Part:
    """Some rows of some maps: `weights` [maps, rows, n] belong to the maps and rows that the two slices say."""

    maps: slice
    rows: slice
    weights: Tensor


class AttentionMap(ABC):
    """Row-stochastic matrices A of any leading shape [...], known by what they do to vectors.

    Args:
        shape: the leading shape, such as [texts, heads].
        n: tokens.
        dtype: of the arithmetic, at least float32.
        device: where the arithmetic runs.
    """

    def __init__(self, shape: torch.Size, n: int, dtype: torch.dtype, device: torch.device) -> None:
        self.shape = shape
        self.n = n
        self.dtype = dtype
        self.device = device

    @abstractmethod
    def parts(self) -> Iterator[Part]:
        """All rows of all maps, a few at a time; the maps are counted along the flattened leading shape."""

    @abstractmethod
    def rows(self, positions: Tensor) -> Float[Tensor, "maps rows n"]:
        """A few rows of every map."""

    @abstractmethod
    def select(self, maps: Sequence[int]) -> Self:
        """Only these maps, counted along the flattened leading shape; nothing is copied."""

    def portions(self) -> Iterator[tuple[slice, "AttentionMap"]]:
        """The maps in groups that are looked at part by part together, with their places."""
        maps = self.shape.numel()
        size = max(1, _part_numbers(self) // self.n**2)
        for first in range(0, maps, size):
            which = slice(first, min(first + size, maps))
            yield which, self.select(range(which.start, which.stop))

    def apply(self, right: Float[Tensor, "*maps n vectors"]) -> Float[Tensor, "*maps n vectors"]:
        """A V for some vectors V."""
        flat = self._flat(right)
        product = torch.empty_like(flat)
        for part in self.parts():
            product[part.maps, :, part.rows] = flat[part.maps] @ part.weights.mT
        return product.mT.reshape(right.shape)

    def transpose_apply(self, left: Float[Tensor, "*maps n vectors"]) -> Float[Tensor, "*maps n vectors"]:
        """A'U for some vectors U."""
        flat = self._flat(left)
        product = torch.zeros_like(flat)
        for part in self.parts():
            product[part.maps] += flat[part.maps, :, part.rows] @ part.weights
        return product.mT.reshape(left.shape)

    def _flat(self, vectors: Tensor) -> Float[Tensor, "maps vectors n"]:
        if vectors.shape[:-1] != (*self.shape, self.n):
            raise ModelError(
                f"Expected vectors of shape {[*self.shape, self.n, 'vectors']} for these attention maps, "
                f"got {list(vectors.shape)}."
            )
        return vectors.mT.to(self.device, self.dtype).reshape(self.shape.numel(), vectors.shape[-1], self.n)


class DenseMap(AttentionMap):
    """Attention maps that are there as matrices.

    Args:
        attention: [..., n, n], each row a distribution over the tokens looked at; padding cut off. Half precision is
            raised to float32 part by part.

    Raises:
        ModelError: not square, no token, no floating numbers, or rows that do not sum to 1 (8 rows of each map are
            looked at, to 0.001, or 0.03 in half precision).

    Example:
        >>> DenseMap(torch.eye(3)).apply(torch.ones(3, 1)).flatten()
        tensor([1., 1., 1.])
    """

    def __init__(self, attention: Float[Tensor, "*maps n n"]) -> None:
        _check_square(attention)
        n = attention.shape[-1]
        dtype = torch.promote_types(attention.dtype, torch.float32)
        super().__init__(attention.shape[:-2], n, dtype, attention.device)
        self._maps = attention.reshape(self.shape.numel(), n, n)
        self._order: Sequence[int] = range(len(self._maps))
        self._check_sums(_SUM_TOLERANCE.get(attention.dtype, _SUM_TOLERANCE_HALF))

    def parts(self) -> Iterator[Part]:
        size = max(1, _part_numbers(self) // self.n**2)
        for first in range(0, len(self._order), size):
            chosen = self._order[first : first + size]
            low, high = chosen[0], chosen[-1] + 1
            weights = self._maps[low:high] if high - low == len(chosen) else self._maps[list(chosen)]
            yield Part(slice(first, first + len(chosen)), slice(0, self.n), weights.to(self.dtype))

    def rows(self, positions: Tensor) -> Float[Tensor, "maps rows n"]:
        maps = torch.tensor(self._order, dtype=torch.long, device=self.device)
        return self._maps[maps[:, None], positions.to(self.device)].to(self.dtype)

    def select(self, maps: Sequence[int]) -> Self:
        chosen = copy.copy(self)
        chosen.shape = torch.Size([len(maps)])
        chosen._order = [self._order[index] for index in maps]
        return chosen

    def _check_sums(self, tolerance: float) -> None:
        positions = torch.linspace(0, self.n - 1, min(self.n, _CHECKED_ROWS), device="cpu").round().long()
        sums = self.rows(positions).sum(-1)
        wrong = ~((sums - 1).abs() <= tolerance)
        if bool(wrong.any()):
            index, row = wrong.nonzero()[0].tolist()
            raise ModelError(
                f"Expected the rows of an attention map to sum to 1, but row {int(positions[row])} of map {index} "
                f"(counted from 0) sums to {float(sums[index, row]):.4g}. Give the map after the softmax, without "
                "padding and without dropout."
            )


class StreamedMap(AttentionMap):
    """Attention maps softmax(scale QK') that are never held: rows are made a few at a time and let go.

    With a soft-cap, softmax(softcap tanh(scale QK' / softcap)).

    Memory is the queries and keys, and a few MB whatever n is. Every look at the maps makes them again.

    Args:
        query: [..., n, head_dim]. Half precision is raised to float32.
        key: [..., n, head_dim], keys shared by several heads repeated to the heads.
        scale: what the products are multiplied by, such as head_dim ** -0.5; a temperature divides it.
        causal: whether a token sees only itself and those before it.
        allowed: where tokens may look, the same for all maps; None for everywhere.
        softcap: limit of the scores, None for none.

    Raises:
        ModelError: shapes that do not fit, no token, or numbers that are not finite.

    Example:
        >>> query, key = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).split(1)
        >>> StreamedMap(query, key, 0.5).apply(torch.ones(1, 6, 1)).flatten().round(decimals=4)
        tensor([1., 1., 1., 1., 1., 1.])
    """

    def __init__(
        self,
        query: Float[Tensor, "*maps n head_dim"],
        key: Float[Tensor, "*maps n head_dim"],
        scale: float,
        *,
        causal: bool = False,
        allowed: Bool[Tensor, "n n"] | None = None,
        softcap: float | None = None,
    ) -> None:
        _check_queries(query, key)
        if allowed is not None and (allowed.dtype != torch.bool or allowed.shape != (query.shape[-2],) * 2):
            raise ModelError(
                f"Expected truth values of shape {[query.shape[-2]] * 2} for where tokens may look, got "
                f"{allowed.dtype} {list(allowed.shape)}."
            )
        dtype = torch.promote_types(query.dtype, torch.float32)
        super().__init__(query.shape[:-2], query.shape[-2], dtype, query.device)
        self._query = (query.to(dtype) * scale).reshape(-1, *query.shape[-2:])
        self._key = key.to(dtype).reshape(-1, *key.shape[-2:])
        self._causal, self._allowed, self._softcap = causal, allowed, softcap
        self._sharpness: Tensor | None = None

    def parts(self) -> Iterator[Part]:
        for part in self.score_parts():
            yield Part(part.maps, part.rows, torch.softmax(part.weights, -1))

    def score_parts(self) -> Iterator[Part]:
        """The scores that `parts` takes the softmax of, -infinity where a token may not look."""
        numbers = _part_numbers(self)
        maps, rows = max(1, numbers // self.n**2), min(self.n, max(1, numbers // self.n))
        for first in range(0, len(self._query), maps):
            which = slice(first, min(first + maps, len(self._query)))
            for low in range(0, self.n, rows):
                tokens = torch.arange(low, min(low + rows, self.n), device=self.device)
                yield Part(which, slice(low, low + len(tokens)), self._scores(which, tokens))

    def rows(self, positions: Tensor) -> Float[Tensor, "maps rows n"]:
        return torch.softmax(self._scores(slice(None), positions.to(self.device)), -1)

    def sharpened(self, inverse_temperature: Float[Tensor, "*maps"]) -> Self:
        """The maps softmax(scores / tau), after a soft-cap, with 1 / tau for each map."""
        chosen = copy.copy(self)
        factors = inverse_temperature.to(self.device, self.dtype).expand(self.shape).reshape(-1, 1, 1)
        chosen._sharpness = factors if self._sharpness is None else self._sharpness * factors
        return chosen

    def select(self, maps: Sequence[int]) -> Self:
        chosen = copy.copy(self)
        chosen.shape = torch.Size([len(maps)])
        chosen._query, chosen._key = self._query[list(maps)], self._key[list(maps)]
        chosen._sharpness = None if self._sharpness is None else self._sharpness[list(maps)]
        return chosen

    def _scores(self, maps: slice, positions: Tensor) -> Float[Tensor, "maps rows n"]:
        scores = self._query[maps][:, positions] @ self._key[maps].mT
        if self._softcap is not None:
            scores.div_(self._softcap).tanh_().mul_(self._softcap)
        if self._sharpness is not None:
            scores.mul_(self._sharpness[maps])
        if self._allowed is not None:
            scores.masked_fill_(~self._allowed[positions], -torch.inf)
        if self._causal:
            later = torch.arange(self.n, device=self.device) > positions[:, None]
            scores.masked_fill_(later, -torch.inf)
        return scores


def as_map(attention: Float[Tensor, "*maps n n"] | AttentionMap) -> AttentionMap:
    """The operator itself, or the matrices as one."""
    return attention if isinstance(attention, AttentionMap) else DenseMap(attention)


def portions_of(maps: Float[Tensor, "maps n n"]) -> Iterator[slice]:
    """Which of many matrices to look at together, so that what is made of them stays near the processor."""
    size = max(1, _part_bytes(maps.device) // max(1, maps[:1].nbytes))
    for first in range(0, len(maps), size):
        yield slice(first, min(first + size, len(maps)))


def refuse_undefined(sums: Float[Tensor, " maps"]) -> None:
    """Refuse maps whose sum of something is not finite, by number.

    Raises:
        ModelError: NaN or infinity.
    """
    finite = sums.isfinite()
    if not bool(finite.all()):
        raise ModelError(
            f"Expected finite attention maps, but map {int((~finite).nonzero()[0, 0])} (counted from 0) holds NaN or "
            "infinity. Cut padding off before, and run the model in float32 or bfloat16 if its scores overflow."
        )


def _part_bytes(device: torch.device) -> int:
    return PART_BYTES.get(device.type, PART_BYTES_ELSEWHERE)


def _part_numbers(operator: AttentionMap) -> int:
    return _part_bytes(operator.device) // operator.dtype.itemsize


def _check_square(attention: Tensor) -> None:
    shape = list(attention.shape)
    if not attention.is_floating_point() or len(shape) < 2 or shape[-1] != shape[-2]:
        raise ModelError(
            f"Expected attention maps of floating numbers and shape [..., n, n], got {attention.dtype} {shape}. "
            "Rows and columns must be the same tokens, so cross attention has no filter rate."
        )
    if shape[-1] < 1:
        raise ModelError(f"Expected attention maps of 1 token or more, got shape {shape}.")


def _check_queries(query: Tensor, key: Tensor) -> None:
    shapes = list(query.shape), list(key.shape)
    if not query.is_floating_point() or query.dim() < 2 or shapes[0] != shapes[1] or query.dtype != key.dtype:
        raise ModelError(
            "Expected queries and keys of floating numbers and the same shape [..., n, head_dim], "
            f"got {query.dtype} {shapes[0]} and {key.dtype} {shapes[1]}. Repeat keys that heads share."
        )
    if query.shape[-2] < 1:
        raise ModelError(f"Expected queries of 1 token or more, got shape {shapes[0]}.")
    if not bool(query.isfinite().all() and key.isfinite().all()):
        raise ModelError("Expected finite queries and keys, got NaN or infinity.")
