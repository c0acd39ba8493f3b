"""Scale each text's query by a factor of its own while a model runs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from uncollapse.attention.batches import token_counts, watch
from uncollapse.attention.factors import rows as entries_of
from uncollapse.attention.laws import TemperatureLaw
from uncollapse.attention.outputs import factor_dtype, multiply, query_part
from uncollapse.attention.sites import Layout, Site, Term, class_key, find_sites
from uncollapse.errors import ArchitectureError, ModelError


def scale_rows(model: PreTrainedModel, law: TemperatureLaw, undo: ExitStack) -> None:
    """Multiply each text's query by 1 / tau(n) of its own token count until `undo` closes.

    Token counts are read once a forward pass from what the model is given, so any attention kernel works, padded on
    either side or packed. Position biases that are added to the scores (T5, MPNet) are multiplied too.

    Raises:
        ArchitectureError: logits that are formed by something which knows no texts, by name.
    """
    sites = find_sites(model)
    for site in sites:
        _refuse_batched(site)
    scales = RowScales(law)
    undo.enter_context(watch(model, scales.around))
    for site in sites:
        for term in site.terms:
            _hook_term(site, term, scales, undo)
    _wrap_bias(model, sites[0], scales, undo)


class RowScales:
    """1 / tau of every text of the batch that runs."""

    def __init__(self, law: TemperatureLaw) -> None:
        self.law = law
        self.counts: torch.Tensor | None = None
        self.made: dict[tuple[int, torch.dtype, torch.device], torch.Tensor] = {}

    @contextmanager
    def around(self, arguments: dict[str, Any]) -> Iterator[None]:
        """Know the texts of one forward pass."""
        self.counts = token_counts(arguments)
        try:
            yield
        finally:
            self.counts = None
            self.made.clear()

    def of(self, head_dim: int, like: torch.Tensor) -> torch.Tensor:
        """The factors for heads of a width: [texts, 1], or [1, width] if packed, where a tensor is."""
        key = head_dim, factor_dtype(like.dtype), like.device
        if key not in self.made:
            if self.counts is None:
                raise ModelError("A part of a patched model was called by itself. Call the model, not its layers.")
            exact = torch.float32 if like.device.type == "mps" else torch.float64
            self.made[key] = self.law.inverse(self.counts.to(like.device, exact), head_dim).to(key[1])
        return self.made[key]


class ScaleRows:
    """Forward hook that multiplies a layer's output by a factor a text."""

    def __init__(self, scales: RowScales, site: Site, term: Term, layer: nn.Module) -> None:
        self.scales, self.head_dim, self.term = scales, site.head_dim, term
        shared = term.layout is Layout.SHARED
        self.part = None if shared else query_part(site, term, entries_of(layer))

    def __call__(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        factor = self._placed(self.scales.of(self.head_dim, output), output.ndim)
        if self.part is not None:
            factor = factor[..., None]
        return multiply(layer, inputs, output, factor=factor, part=self.part)

    def _placed(self, factor: torch.Tensor, axes: int) -> torch.Tensor:
        shape = [1] * axes
        shape[self.term.text_axis], shape[self.term.token_axis] = factor.shape
        return (factor if self.term.text_axis < self.term.token_axis else factor.mT).reshape(shape)


class ScaledBias:
    """A function that makes a position bias [1 or texts, heads, n, n], multiplied by a factor a text."""

    def __init__(self, make: Callable[..., torch.Tensor], scales: RowScales, head_dim: int) -> None:
        self.make, self.scales, self.head_dim = make, scales, head_dim

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        bias = self.make(*args, **kwargs)
        factor = self.scales.of(self.head_dim, bias)
        if factor.shape[1] > 1:
            raise ModelError("Expected one text a row where positions have a bias, got texts packed into one row.")
        return (bias * factor[:, :, None, None]).to(bias.dtype)


def _refuse_batched(site: Site) -> None:
    """Refuse what has no entry a text: numbers, parameters, and projections that serve all texts at once."""
    lone = [term.path for term in site.terms if term.layout is Layout.NUMBER]
    reason = site.spec.batched or (f"{lone[0]!r} is one number for every text" if lone else "")
    if reason:
        raise ArchitectureError(
            f"{class_key(site.module)} cannot take a temperature that follows each text's length: {reason}. "
            "Use a constant temperature, such as `TemperatureLaw.at(n)` gives."
        )


def _hook_term(site: Site, term: Term, scales: RowScales, undo: ExitStack) -> None:
    if term.method:
        _wrap(site.module, term.method, scales, site.head_dim, undo)
    else:
        layer = getattr(site.module, term.path)
        undo.callback(layer.register_forward_hook(ScaleRows(scales, site, term, layer)).remove)


def _wrap_bias(model: PreTrainedModel, site: Site, scales: RowScales, undo: ExitStack) -> None:
    if (bias := site.spec.bias) is None:
        return
    for module in model.modules():
        if class_key(module) == bias.owner and hasattr(module, bias.path):
            _wrap(module, bias.method, scales, site.head_dim, undo)


def _wrap(module: nn.Module, method: str, scales: RowScales, head_dim: int, undo: ExitStack) -> None:
    """Put a scaled function in place of one of a module's own, which may be wrapped already."""
    own, made = vars(module).get(method), getattr(module, method)
    vars(module)[method] = ScaledBias(made, scales, head_dim)
    undo.callback(_unwrap, module, method, own)


def _unwrap(module: nn.Module, method: str, own: Any) -> None:
    del vars(module)[method]
    if own is not None:
        vars(module)[method] = own
