"""Where the texts of a padded batch lie, so that each is seen as if it had run alone."""

from dataclasses import dataclass

import torch

from uncollapse.errors import ModelError


@dataclass(frozen=True)
class Span:
    """Texts of one batch whose tokens lie at the same places.

    Args:
        rows: which texts of the batch.
        start, stop: the places of their tokens.
        texts, width: shape of the batch, padding included.
    """

    rows: tuple[int, ...]
    start: int
    stop: int
    texts: int
    width: int

    @property
    def n(self) -> int:
        """Tokens of each of these texts."""
        return self.stop - self.start

    def cut(self, tensor: torch.Tensor, *axes: int) -> torch.Tensor:
        """The part of a tensor [texts or 1, ...] that belongs to these texts; the tensor itself without padding.

        Args:
            tensor: the whole batch.
            axes: its axes that count tokens.
        """
        if len(self.rows) < self.texts == tensor.shape[0]:
            first, last = self.rows[0], self.rows[-1]
            # Texts side by side, as a batch sorted by length has them, are seen without a copy.
            together = last - first + 1 == len(self.rows)
            tensor = tensor[first : last + 1] if together else tensor[list(self.rows)]
        for axis in axes if self.n < self.width else ():
            tensor = tensor.narrow(axis, self.start, self.n)
        return tensor


def find_spans(mask: torch.Tensor | None, texts: int, width: int) -> tuple[Span, ...]:
    """Group the texts of a batch by where their tokens lie.

    Args:
        mask: attention mask, 0 at padding [texts, width]; None where nothing is padding.
        texts, width: shape of the batch.

    Raises:
        ModelError: a mask of another shape, a text without tokens or one with padding inside it.

    >>> mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 0]])
    >>> [(span.rows, span.start, span.stop) for span in find_spans(mask, 3, 3)]
    [((0, 2), 0, 2), ((1,), 0, 3)]
    """
    if mask is None:
        return (Span(tuple(range(texts)), 0, width, texts, width),)
    if mask.shape != (texts, width):
        raise ModelError(
            f"Expected attention_mask [texts, tokens] = {[texts, width]}, got {list(mask.shape)}. Give the model the "
            "mask of the tokenizer to observe it; a cache of earlier tokens cannot be observed."
        )
    real = (mask != 0).cpu()
    rows: dict[tuple[int, int], list[int]] = {}
    for row, (start, stop) in enumerate(_ends(real)):
        rows.setdefault((start, stop), []).append(row)
    return tuple(Span(tuple(found), *ends, texts, width) for ends, found in rows.items())


def _ends(real: torch.Tensor) -> list[tuple[int, int]]:
    """Start and stop of every text; `real` is bool [texts, width]."""
    starts = real.int().argmax(1)
    stops = real.shape[1] - real.flip(1).int().argmax(1)
    broken = (real.sum(1) != stops - starts).nonzero().flatten().tolist()
    if broken:
        raise ModelError(
            f"Expected every text in one piece, but text {broken[0]} of the batch (counted from 0) has no token or "
            "padding between its tokens. Pad on the left or on the right to observe it."
        )
    return list(zip(starts.tolist(), stops.tolist(), strict=True))
