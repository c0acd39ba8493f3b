"""What is known of the forward pass that runs."""

import inspect
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from transformers import PreTrainedModel

from uncollapse.attention.observing.spans import Span, find_spans
from uncollapse.attention.sites import Site
from uncollapse.errors import ArchitectureError, ModelError


class ForwardPass:
    """The texts of the batch that runs, and which layer each call of a shared module is.

    Args:
        sites: the attention modules that must be seen in every pass; none if heads are not observed.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        self.expected = Counter({site.name: len(site.layers) for site in sites})
        self.calls: Counter[str] = Counter()
        self._spans: tuple[Span, ...] | None = None
        self._ids: torch.Tensor | None = None

    @contextmanager
    def watch(self, model: PreTrainedModel) -> Iterator[None]:
        """Know of every forward pass of a model.

        Its forward function itself is wrapped: sentence-transformers calls it past the hooks of the module.
        """
        own, forward = vars(model).get("forward"), model.forward
        names = list(inspect.signature(forward).parameters)

        @wraps(forward)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._start({**dict(zip(names, args, strict=False)), **kwargs})
            try:
                output = forward(*args, **kwargs)
            finally:
                self._spans = self._ids = None
            self._refuse_unseen(type(model).__name__)
            return output

        vars(model)["forward"] = watched
        try:
            yield
        finally:
            del vars(model)["forward"]
            if own is not None:
                vars(model)["forward"] = own

    def _start(self, arguments: dict[str, Any]) -> None:
        """Read the batch that begins, and count anew."""
        if arguments.get("cu_seq_lens_q") is not None:
            raise ModelError(
                "Expected a batch of texts, one a row, got texts packed into one row. To observe it, set "
                "`unpad_inputs = False` on the first module of the SentenceTransformer."
            )
        ids = arguments.get("input_ids")
        batch = arguments.get("inputs_embeds") if ids is None else ids
        if not isinstance(batch, torch.Tensor):
            raise ModelError("Expected input_ids or inputs_embeds as a tensor, to know which texts are observed.")
        self.calls.clear()
        self._ids = ids
        self._spans = find_spans(arguments.get("attention_mask"), batch.shape[0], batch.shape[1])

    def _refuse_unseen(self, model: str) -> None:
        if any(self.calls[name] != count for name, count in self.expected.items()):
            raise ArchitectureError(
                f"An attention layer of {model} ran unseen: something else changed its attention inside the `with`. "
                "Observe without it."
            )

    @property
    def spans(self) -> tuple[Span, ...]:
        """The texts that run, by length."""
        if self._spans is None:
            raise ModelError("A part of an observed model was called by itself. Call the model, not its layers.")
        return self._spans

    def ids(self, span: Span) -> torch.Tensor | None:
        """The tokens of some texts, where the model was given them."""
        return None if self._ids is None else span.cut(self._ids, 1)

    def layer(self, site: Site, key: str) -> int:
        """Which layer this call of a site's module is; each `key` counts by itself."""
        number = self.calls[key]
        self.calls[key] += 1
        return site.layers[number % len(site.layers)]
