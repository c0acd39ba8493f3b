"""Observe a model for the length of a `with`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from uncollapse.attention.observing.heads import Heads
from uncollapse.attention.observing.interface import ShowingAttention, exchanged_attention
from uncollapse.attention.observing.layers import find_layers
from uncollapse.attention.observing.legacy import catch
from uncollapse.attention.observing.passes import ForwardPass
from uncollapse.attention.observing.states import LayerFlow, States, follow
from uncollapse.attention.observing.support import MARK, NO_MAP, NO_STREAM, observable_sites, refuse_listed
from uncollapse.attention.probes import probe_states
from uncollapse.attention.sites import Site, backbone
from uncollapse.errors import ArchitectureError, ModelError

OnHeads = Callable[[Heads], None]
OnStates = Callable[[States], None]


@dataclass(frozen=True)
class Support:
    """What can be observed of a model.

    Args:
        heads, states: why not, "" where they can be observed.
    """

    heads: str
    states: str


def find_support(model: nn.Module) -> Support:
    """Find out what `observe` would accept, by trying it on a few tokens.

    Args:
        model: what would be observed.

    >>> from transformers import BertConfig, BertModel
    >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
    >>> find_support(BertModel(tiny).eval())
    Support(heads='', states='')
    """
    reasons = []
    for heads in (True, False):
        try:
            _prepare(backbone(model), observable_sites(model), heads=heads, states=not heads)
            reasons.append("")
        except ArchitectureError as error:
            reasons.append(str(error))
    return Support(*reasons)


@contextmanager
def observe(
    model: nn.Module, *, on_heads: OnHeads | None = None, on_states: OnStates | None = None
) -> Iterator[nn.Module]:
    """Hand every layer's attention and residual stream to your functions whenever the model runs inside the `with`.

    Each call is about one layer and texts of equal length, with padding cut off: a padded batch gives several calls a
    layer. Nothing is kept once your function returns, so keep numbers, not tensors. The model computes what it
    computed before (with SDPA, where it can: to rounding, and without attention weights among its own outputs);
    afterwards it is bit for bit as it was. It may be patched with a temperature, before or inside: the logits seen
    are the divided ones. Before anything runs, a small batch shows that what is seen adds up: map times values is the
    heads' output, stream plus branch is the next stream, and the model gives the same states as unobserved.

    Args:
        model: a transformers model, or one that holds it, such as a SentenceTransformer, in evaluation mode.
        on_heads: is given `Heads`; None leaves attention alone.
        on_states: is given `States`; None leaves the stream alone.

    Raises:
        ArchitectureError: a model that cannot be observed, by name and with the reason.
        ModelError: no function, or a batch that is no batch of whole texts.

    >>> from transformers import BertConfig, BertModel
    >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
    >>> bert = BertModel(tiny).eval()
    >>> with observe(bert, on_heads=lambda heads: print(heads.layer, list(heads.logits.map().shape))):
    ...     _ = bert(torch.tensor([[1, 2, 3]]))
    0 [1, 2, 3, 3]
    1 [1, 2, 3, 3]
    """
    if on_heads is None and on_states is None:
        raise ModelError("Expected on_heads, on_states or both, got neither: there is nothing to observe.")
    sites = observable_sites(model)
    inner = backbone(model)
    layers = _prepare(inner, sites, heads=on_heads is not None, states=on_states is not None)
    with _attached(inner, sites, layers, on_heads, on_states):
        yield model


def _prepare(model: PreTrainedModel, sites: Sequence[Site], *, heads: bool, states: bool) -> tuple[LayerFlow, ...]:
    """Refuse what cannot be observed, and return the layers to follow."""
    if heads:
        refuse_listed(sites, NO_MAP, "heads")
    if states:
        refuse_listed(sites, NO_STREAM, "states")
    stock = _finite_states(model)
    layers = find_layers(model, sites) if states else ()
    _check(model, sites, layers, stock, heads=heads)
    return layers


def _finite_states(model: PreTrainedModel) -> torch.Tensor:
    """What the model gives for a padded batch of a few tokens; a model that gives no numbers is refused."""
    stock = probe_states(model)
    if not bool(torch.isfinite(stock).all()):
        raise ArchitectureError(
            f"{type(model).__name__} gives NaN or infinity for a few tokens, so there is nothing to observe. Check "
            "its weights for NaN, and load it in float32: half precision can overflow."
        )
    return stock


@contextmanager
def _attached(
    model: PreTrainedModel,
    sites: Sequence[Site],
    layers: Sequence[LayerFlow],
    on_heads: OnHeads | None,
    on_states: OnStates | None,
) -> Iterator[None]:
    running = ForwardPass(sites if on_heads else ())
    with ExitStack() as undo:
        setattr(model, MARK, True)
        undo.callback(delattr, model, MARK)
        undo.enter_context(running.watch(model))
        if on_heads and model._can_set_attn_implementation():
            undo.enter_context(exchanged_attention(model, ShowingAttention(sites, running, on_heads)))
        elif on_heads:
            catch(sites, running, on_heads, undo)
        if on_states:
            follow(layers, running, on_states, undo)
        yield


def _check(
    model: PreTrainedModel, sites: Sequence[Site], layers: Sequence[LayerFlow], stock: torch.Tensor, *, heads: bool
) -> None:
    """Run the same batch observed, and refuse the model if what is seen does not add up."""
    with _attached(model, sites, layers, _check_heads if heads else None, _check_states if layers else None):
        observed = probe_states(model)
    _compare(observed, stock, f"{type(model).__name__} must give the same states observed and unobserved")


def _check_heads(heads: Heads) -> None:
    maps = heads.logits.map()
    wanted = torch.matmul(maps, heads.value.to(maps.dtype))
    _compare(heads.output, wanted, f"In layer {heads.layer}, the output of the heads must be the map times the values")


def _check_states(states: States) -> None:
    stages = states.stages
    attended = stages["input"] + stages["attention"]
    stream = stages.get("attention norm", stages.get("after attention", attended))
    what = f"In layer {states.layer}, the stream after adding a branch must be the stream before plus the branch"
    if "after attention" in stages:
        _compare(stages["after attention"], attended, what)
    _compare(stages["after mlp"], stream + stages["mlp"], what)


def _compare(seen: torch.Tensor, wanted: torch.Tensor, what: str) -> None:
    # Model code takes norms and softmax in float32 whatever the weights are in.
    rounding = max(torch.finfo(seen.dtype).eps, torch.finfo(torch.float32).eps)
    # On the processor, since not every card (mps) knows double precision.
    exact = wanted.cpu().double()
    difference = float((seen.cpu().double() - exact).abs().max())
    allowed = min(0.2, 1000 * rounding) * max(1.0, float(exact.abs().max()))
    if not difference <= allowed:
        raise ArchitectureError(
            f"{what}, but they differ by {difference:.2g} on a probe batch where rounding explains {allowed:.2g}. "
            "This model computes its attention or its layers in a way that cannot be observed."
        )
