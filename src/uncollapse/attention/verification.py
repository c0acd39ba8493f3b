"""Check a fix of the weights: a temperature against softmax(scores / tau), taken literally at the softmax."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.patching import patch
from uncollapse.attention.probes import probe_batch as probe_batch
from uncollapse.attention.probes import probe_states as probe_states
from uncollapse.attention.sites import Site, backbone, find_sites
from uncollapse.attention.temperature import Temperature
from uncollapse.errors import ArchitectureError

HALF = {torch.float16, torch.bfloat16}

SHARE_OF_EFFECT = 0.25
"""In half precision, where rounding could explain anything: how much of what the fix does may be missing."""

_SOFTMAX = {torch.softmax, torch.Tensor.softmax, nn.functional.softmax}


class DividedSoftmax(TorchFunctionMode):
    """Divide the input of every attention softmax by tau, whatever formed it.

    It knows nothing of projections, norms or biases, and so is independent of what patching and folding rely on.
    `enter` tells it which layer runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factor: torch.Tensor | None = None
        self.heads_axis = 1
        self.calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _SOFTMAX or self.factor is None or not self._over_keys(args, kwargs):
            return func(*args, **kwargs)
        self.calls += 1
        scores = args[0] * self._factor_for(args[0])
        # A mask is the lowest number there is; divided by tau < 1 it would overflow to -inf and make rows NaN.
        scores = scores.clamp(min=torch.finfo(scores.dtype).min)
        return func(scores, *args[1:], **kwargs)

    def _over_keys(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        return axis in {-1, args[0].ndim - 1}

    def _factor_for(self, scores: torch.Tensor) -> torch.Tensor:
        factor = self.factor
        assert factor is not None
        if bool((factor == factor[0]).all()):
            return factor[0].to(scores)
        shape = [1] * scores.ndim
        shape[self.heads_axis] = -1
        return factor.to(scores).reshape(shape)


@contextmanager
def divided_softmax(model: nn.Module, temperature: Temperature) -> Iterator[nn.Module]:
    """Run a model with every attention softmax taken of scores / tau: slow, literal, the definition itself.

    The model runs with eager attention inside the `with` and as before afterwards.
    """
    inner = backbone(model)
    sites = find_sites(inner)
    factors = temperature.factors(sites)
    mode = DividedSoftmax()
    with ExitStack() as undo:
        undo.enter_context(_eager(inner))
        counts = {site.name: 0 for site in sites}
        undo.callback(inner.get_input_embeddings().register_forward_pre_hook(partial(_restart, counts)).remove)
        for site in sites:
            enter = partial(_enter, mode, site, factors, counts)
            undo.callback(site.module.register_forward_pre_hook(enter).remove)
            undo.callback(site.module.register_forward_hook(partial(_leave, mode)).remove)
        undo.enter_context(mode)
        yield model


@contextmanager
def _eager(model: PreTrainedModel) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _restart(counts: dict[str, int], _module: nn.Module, _inputs: Any) -> None:
    for name in counts:
        counts[name] = 0


def _enter(
    mode: DividedSoftmax,
    site: Site,
    factors: dict[int, torch.Tensor],
    counts: dict[str, int],
    _module: nn.Module,
    _inputs: Any,
) -> None:
    mode.factor = factors[site.layers[counts[site.name] % len(site.layers)]]
    mode.heads_axis = site.spec.scores_head_axis
    counts[site.name] += 1


def _leave(mode: DividedSoftmax, _module: nn.Module, _inputs: Any, _output: Any) -> None:
    mode.factor = None


@dataclass(frozen=True)
class Verification:
    """What a check found, as largest absolute differences of hidden states over a padded probe batch.

    Args:
        effect: how far the fix moves the model; for a temperature, 0 only for tau = 1.
        patched: patched model against softmax(scores / tau); 0 for other fixes, which a patch defines.
        folded: folded model against softmax(scores / tau), or against the patched model; None if none was given.
        tolerance: what was allowed.
    """

    effect: float
    patched: float
    folded: float | None
    tolerance: float


def verify(model: nn.Module, fix: ModelFix, folded: nn.Module | None = None) -> Verification:
    """Compare a patched and a folded model on a padded probe batch, and refuse a mismatch.

    A temperature is compared with softmax(scores / tau), taken literally; any other fix with the patched model.

    Args:
        model: the model as it was, before any fold.
        fix: what was folded.
        folded: the folded model; None checks the patch alone.

    Raises:
        ArchitectureError: the two differ by more than rounding allows, or states are not finite.
    """
    before = backbone(model).training
    backbone(model).eval()
    try:
        batch = probe_batch(model)
        stock = probe_states(model, batch)
        with patch(model, fix):
            patched = probe_states(model, batch)
        wanted = patched
        if isinstance(fix, Temperature):
            with divided_softmax(model, fix):
                wanted = probe_states(model, batch)
        with _eval(folded):
            got = None if folded is None else probe_states(folded, batch)
    finally:
        backbone(model).train(before)
    return _judge(fix, stock, wanted, patched, got)


@contextmanager
def _eval(model: nn.Module | None) -> Iterator[None]:
    training = model is not None and model.training
    if model is not None:
        model.eval()
    yield
    if model is not None:
        model.train(training)


def _judge(
    fix: ModelFix,
    stock: torch.Tensor,
    wanted: torch.Tensor,
    patched: torch.Tensor,
    folded: torch.Tensor | None,
) -> Verification:
    def distance(a: torch.Tensor) -> float:
        return float((a.cpu().double() - wanted.cpu().double()).abs().max())  # mps knows no double precision

    given = [states for states in (stock, wanted, patched, folded) if states is not None]
    if not all(bool(torch.isfinite(states).all()) for states in given):
        raise ArchitectureError("The probe batch gave NaN or infinity. Check the weights, and use float32.")
    effect = distance(stock)
    tolerance = _tolerance(wanted, effect)
    found = Verification(effect, distance(patched), None if folded is None else distance(folded), tolerance)
    for name, value in (("patched", found.patched), ("folded", found.folded)):
        if value is not None and not value <= tolerance:
            meant, table = (
                ("softmax(scores / tau)", "sites") if isinstance(fix, Temperature) else ("the patched", "fixes")
            )
            raise ArchitectureError(
                f"The {name} model must equal {meant}, but differs by {value:.2g} on a probe batch "
                f"where {fix} moves it by {effect:.2g}. The table of {table} does not fit this model, so "
                f"nothing was saved.{_hint(wanted)}"
            )
    return found


def _tolerance(wanted: torch.Tensor, effect: float) -> float:
    """What rounding explains; in half precision never so much that a model without the fix would pass."""
    # Rounding grows through the layers. Model code takes norms and softmax in float32 whatever the weights are in.
    rounding = max(torch.finfo(wanted.dtype).eps, torch.finfo(torch.float32).eps)
    tolerance = 1000 * rounding * max(1.0, float(wanted.abs().max()))
    return min(tolerance, SHARE_OF_EFFECT * effect) if wanted.dtype in HALF and effect else tolerance


def _hint(wanted: torch.Tensor) -> str:
    return " In half precision it may be rounding alone: load the model in float32." if wanted.dtype in HALF else ""
