"""What is found out of the masks of a forward pass, once: the layers share them, and every look makes a card wait."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary


class MaskFacts:
    """Answers about tensors, kept while these live and until the next forward pass begins."""

    def __init__(self) -> None:
        self._known: Any = WeakTensorKeyDictionary()

    def __reduce__(self) -> tuple[type["MaskFacts"], tuple[()]]:
        return MaskFacts, ()  # a copy of a patched model has masks of its own

    def forget(self) -> None:
        """Know nothing, as before a forward pass: its masks may be the last one's with other numbers in them."""
        self._known = WeakTensorKeyDictionary()

    def ask(self, mask: torch.Tensor, what: Hashable, find: Callable[[], bool]) -> bool:
        """The answer to a question about a mask, found out where it is not known.

        Args:
            mask: the whole mask, of which every layer may be handed another view.
            what: names the question.
            find: answers it.
        """
        # In inference mode a view does not tell what it is a view of; then each is asked about by itself.
        owner = mask if mask._base is None else mask._base
        answers: dict[Hashable, bool] = self._known.setdefault(owner, {})
        question = what, mask.shape, mask.stride(), mask.storage_offset()
        if question not in answers:
            answers[question] = find()
        return answers[question]
