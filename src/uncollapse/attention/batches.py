"""Read a batch as a model is given it: how many tokens the text of each row has, and where they stand."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import update_wrapper
from typing import Any

import torch
from transformers import PreTrainedModel

from uncollapse.errors import ModelError

Around = Callable[[dict[str, Any]], AbstractContextManager[None]]


class WatchedForward:
    """A model's forward function that is entered through a context: `around` is given the arguments of each pass."""

    def __init__(self, forward: Callable[..., Any], around: Around) -> None:
        update_wrapper(self, forward)
        self.forward = forward
        self.around = around
        self.names = list(inspect.signature(forward).parameters)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.around({**dict(zip(self.names, args, strict=False)), **kwargs}):
            return self.forward(*args, **kwargs)


@contextmanager
def watch(model: PreTrainedModel, around: Around) -> Iterator[None]:
    """Know of every forward pass of a model inside the `with`.

    Its forward function itself is wrapped: sentence-transformers calls it past the hooks of the module.
    """
    own = vars(model).get("forward")
    vars(model)["forward"] = WatchedForward(model.forward, around)
    try:
        yield
    finally:
        del vars(model)["forward"]
        if own is not None:
            vars(model)["forward"] = own


def shape_of(arguments: dict[str, Any]) -> tuple[int, int]:
    """Rows and width of a batch.

    Raises:
        ModelError: neither ids nor embeddings.
    """
    ids = arguments.get("input_ids")
    batch = arguments.get("inputs_embeds") if ids is None else ids
    if not isinstance(batch, torch.Tensor):
        raise ModelError("Expected input_ids or inputs_embeds as a tensor, to know how many tokens each text has.")
    return batch.shape[0], batch.shape[1]


def token_counts(arguments: dict[str, Any]) -> torch.Tensor:
    """Tokens of the text that each place of a batch belongs to: int64 [rows, 1], or [1 or rows, width] if packed.

    Args:
        arguments: what a model's forward function is given. Read are the attention mask [rows, width]; without one,
            the ends of packed texts (`cu_seq_lens_q`), or position ids that start anew; else nothing is padding.

    Raises:
        ModelError: a batch whose texts cannot be told apart.

    >>> token_counts({"input_ids": torch.ones(2, 3), "attention_mask": torch.tensor([[1, 1, 0], [1, 1, 1]])}).tolist()
    [[2], [3]]
    >>> token_counts({"input_ids": torch.ones(1, 5), "position_ids": torch.tensor([[0, 1, 2, 0, 1]])}).tolist()
    [[3, 3, 3, 2, 2]]
    """
    rows, width = shape_of(arguments)
    mask, ends, positions = (arguments.get(key) for key in ("attention_mask", "cu_seq_lens_q", "position_ids"))
    if arguments.get("lengths") is not None:
        raise ModelError("Expected an attention_mask to know how many tokens each text has, got `lengths`.")
    if ends is not None:
        return _of_ends(ends, mask, rows, width)
    if mask is not None:
        return _real(mask, rows, width).sum(1, keepdim=True)
    if positions is not None:
        return _of_positions(positions, width)
    return torch.full((rows, 1), width, device=_device(arguments))


def real_tokens(arguments: dict[str, Any]) -> torch.Tensor | None:
    """Where a padded batch holds tokens: bool [rows, width], None for everywhere.

    Raises:
        ModelError: packed texts, or a mask of another shape.
    """
    rows, width = shape_of(arguments)
    packed = arguments.get("cu_seq_lens_q") is not None
    mask, positions = arguments.get("attention_mask"), arguments.get("position_ids")
    if not packed and mask is None and positions is not None:
        packed = bool((_of_positions(positions, width) != width).any())
    if packed:
        raise ModelError(
            "Expected a batch of texts, one a row, got texts packed into one row, which this fix cannot tell apart. "
            "Set `unpad_inputs = False` on the first module of the SentenceTransformer."
        )
    real = None if mask is None else _real(mask, rows, width)
    return None if real is None or bool(real.all()) else real


def _device(arguments: dict[str, Any]) -> torch.device:
    ids = arguments.get("input_ids")
    batch: torch.Tensor = arguments["inputs_embeds"] if ids is None else ids
    return batch.device


def _real(mask: Any, rows: int, width: int) -> torch.Tensor:
    if not isinstance(mask, torch.Tensor) or mask.shape != (rows, width):
        shape = list(mask.shape) if isinstance(mask, torch.Tensor) else type(mask).__name__
        raise ModelError(
            f"Expected attention_mask [rows, tokens] = {[rows, width]}, got {shape}. Give the model the mask of the "
            "tokenizer; a cache of earlier tokens cannot be read."
        )
    return mask != 0


def _of_ends(ends: torch.Tensor, mask: torch.Tensor | None, rows: int, width: int) -> torch.Tensor:
    lengths = ends.diff().long()
    whole = mask is None or bool((mask != 0).all())
    if rows != 1 or not whole or int(lengths.sum()) != width:
        raise ModelError(
            f"Expected packed texts in one row of {int(lengths.sum())} tokens without padding, as cu_seq_lens_q says, "
            f"got {rows} of {width} places."
        )
    return lengths.repeat_interleave(lengths, output_size=width)[None]


def _of_positions(positions: torch.Tensor, width: int) -> torch.Tensor:
    if positions.ndim != 2 or positions.shape[1] != width:
        raise ModelError(
            f"Expected position_ids [rows, tokens] with {width} tokens, got {list(positions.shape)}. Give an "
            "attention_mask to say how many tokens each text has."
        )
    first, jumps = positions[:, :1], positions.diff(dim=1) != 1
    if bool((jumps & (positions[:, 1:] != first)).any()):
        raise ModelError(
            "Expected position_ids that count up by one, and from the start again where packed texts begin, got "
            "others. Give an attention_mask to say how many tokens each text has."
        )
    number = torch.nn.functional.pad(jumps.long().cumsum(1), (1, 0))
    sizes = torch.zeros_like(positions, dtype=torch.long).scatter_add_(1, number, torch.ones_like(number))
    return sizes.gather(1, number)
