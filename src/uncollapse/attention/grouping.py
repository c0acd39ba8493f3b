"""Compare near tokens at their distance and far ones at that of their groups, while a model runs (SelfExtend)."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from uncollapse.attention.batches import real_tokens, shape_of, watch
from uncollapse.attention.mixing import mix_attention
from uncollapse.attention.observing.interface import Call, whole_scores
from uncollapse.attention.positions import SelfExtend
from uncollapse.attention.rotations import LOCAL, find_rotary
from uncollapse.attention.sites import Site, class_key, find_sites
from uncollapse.errors import ArchitectureError

_CACHES = ("past_key_values", "past_key_value", "layer_past")
_NAME = "position_embeddings"

Turned = tuple[torch.Tensor, torch.Tensor]
"""Query and key, rotated."""


def put_self_extend(model: PreTrainedModel, fix: SelfExtend, undo: ExitStack) -> None:
    """Give far tokens the distances of their groups until `undo` closes.

    Every attention module is asked twice more for its query and key, rotated to the places of their groups and to
    those moved on by the shift; the model's own code rotates them. Each pair of tokens has one of three logits.

    Raises:
        ArchitectureError: no rotary positions, or attention that is not given them from outside, by name.
    """
    rotary = _find(model, fix)
    if fix.is_identity:
        return
    _refuse_sliding(model, fix)
    sites = find_sites(model)
    for site in sites:
        _refuse(site)
    groups = _Groups(fix)
    undo.enter_context(watch(model, groups.around))
    for module in rotary.values():
        undo.callback(module.register_forward_hook(groups.turn, with_kwargs=True).remove)
    mix_attention(model, groups.mix, undo, before=groups.look)
    for site in sites:
        _wrap(site.module, groups, undo)


@dataclass(eq=False)
class _Groups:
    """The batch that runs: where its tokens stand, the rotations of those places, and what attention was shown.

    Rotations are known by the tensor that the model made for tokens at their own places; those of layers with a
    sliding window have none of groups.
    """

    fix: SelfExtend
    places: torch.Tensor | None = None
    turned: dict[int, tuple[Any, list[Any]]] = field(default_factory=dict)
    seen: list[Turned] = field(default_factory=list)
    looking: bool = False

    @contextmanager
    def around(self, arguments: dict[str, Any]) -> Iterator[None]:
        """Know the places of the tokens of one forward pass; none where all texts lie within the window."""
        _, width = shape_of(arguments)
        real = real_tokens(arguments)
        if width > self.fix.window:
            self.places = _places(arguments, real, width)
        try:
            yield
        finally:
            self.places = None
            self.turned.clear()

    def turn(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        """Forward hook of what makes cos and sin: make them for the places of groups too."""
        given = inspect.signature(module.forward).bind(*args, **kwargs)
        if self.places is None:
            return
        made: list[Any] = []
        for shift in () if given.arguments.get("layer_type") in LOCAL else (0, self.fix.shift):
            given.arguments["position_ids"] = self.places // self.fix.group + shift
            made.append(module.forward(*given.args, **given.kwargs))
        self.turned[id(_first(output))] = (output, made)  # kept, or another tensor might get its id

    def ways(self, rotations: Any, module: str) -> list[Any]:
        """The rotations to the places of groups that belong to given ones.

        Raises:
            ArchitectureError: they are not those that the model's rotary module gave.
        """
        if self.places is None:
            return []
        if (key := id(_first(rotations))) not in self.turned:
            raise ArchitectureError(
                f"{module} was given other rotations than the model's rotary module makes, so that they cannot be "
                "exchanged for those of groups. Use rope(...) instead."
            )
        return self.turned[key][1]

    def look(self, call: Call) -> torch.Tensor | None:
        """While only query and key are wanted, keep them and give nothing [texts, width, heads, value_dim]."""
        if not self.looking:
            return None
        self.seen.append((call.query, call.key))
        texts, heads, width, _ = call.query.shape
        return call.query.new_zeros(texts, width, heads, call.value.shape[-1])

    def mix(self, call: Call, output: torch.Tensor, _layer: int, _real: torch.Tensor | None) -> torch.Tensor:
        """The heads' output with near logits and far ones; as it was where there are no far ones."""
        if not self.seen:
            return output
        assert self.places is not None
        (query, key), (query_on, key_on) = self.seen
        far = replace(call, query=query_on, key=key), replace(call, query=query, key=key_on)
        weights = torch.softmax(merged(call, *far, self.places, self.fix.window), -1)
        weights = nn.functional.dropout(weights, call.options.get("dropout", 0.0), call.module.training)
        value = call.repeated[1]
        return torch.matmul(weights.to(value.dtype), value).transpose(1, 2)


def merged(call: Call, behind: Call, ahead: Call, places: torch.Tensor, window: int) -> torch.Tensor:
    """Logits [texts, heads, width, width]: of `call` within the window, of `behind` for keys that stand before it.

    Args:
        call: query and key at their own places.
        behind: at those of groups, for keys before the query.
        ahead: the same for keys after it.
        places: of the tokens, int64 [1 or texts, width].
        window: distance from which on groups count.
    """
    apart = (places[:, :, None] - places[:, None])[:, None]
    scores = torch.where(apart >= window, whole_scores(behind), whole_scores(call))
    # Padding may look nowhere; -inf all along a row would give it NaN.
    scores = torch.where(apart <= -window, whole_scores(ahead), scores)
    return scores.clamp_(min=torch.finfo(scores.dtype).min)


class _Lookout:
    """An attention module's forward function that first looks at query and key at the places of groups."""

    def __init__(self, forward: Callable[..., Any], groups: _Groups, module: str) -> None:
        self.forward, self.groups, self.module = forward, groups, module
        self.signature = inspect.signature(forward)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        groups, given = self.groups, self.signature.bind(*args, **kwargs)
        arguments = {**given.arguments, **given.arguments.get("kwargs", {})}
        ways = groups.ways(arguments.get(_NAME), self.module)
        try:
            groups.looking = True
            for way in ways:
                self.forward(**_without_cache(self.signature.bind(*args, **kwargs), way))
            groups.looking = False
            return self.forward(*args, **kwargs)
        finally:
            groups.looking = False
            groups.seen.clear()


def _without_cache(given: inspect.BoundArguments, way: Any) -> dict[str, Any]:
    """The arguments with other rotations, and no cache, which would take in a key twice."""
    extra = given.arguments.pop("kwargs", {})
    arguments = {**given.arguments, **extra, _NAME: way}
    return {key: None if key in _CACHES else value for key, value in arguments.items()}


def _places(arguments: dict[str, Any], real: torch.Tensor | None, width: int) -> torch.Tensor:
    """Where in its text each token stands, wherever padding is: int64 [1 or texts, width]."""
    if (given := arguments.get("position_ids")) is not None:
        places: torch.Tensor = given
        return places
    if real is None:
        ids = arguments.get("input_ids")
        like = arguments["inputs_embeds"] if ids is None else ids
        return torch.arange(width, device=like.device)[None]
    return (real.long().cumsum(1) - 1).clamp(min=0)


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _find(model: PreTrainedModel, fix: SelfExtend) -> dict[str, nn.Module]:
    kind = str(model.config.model_type)
    if getattr(model.config, "rope_parameters", None) is None:
        raise ArchitectureError(
            f"`{fix}` compares tokens at two distances, which only rotary positions can, and {kind!r} has none. A "
            "table of absolute positions takes positions(mode=grouped, max_tokens=N) instead; relative biases have no "
            "limit."
        )
    rotary, trained = find_rotary(model), int(model.config.max_position_embeddings)
    if fix.window >= trained:
        raise ArchitectureError(
            f"`{fix}` keeps distances below {fix.window}, but {kind!r} was trained on {trained} positions, which "
            f"leaves none for groups. Choose a window below {trained}, such as {max(1, trained // 2)}."
        )
    return rotary


def _refuse_sliding(model: PreTrainedModel, fix: SelfExtend) -> None:
    """Refuse a model all of whose layers look no farther than the window: nothing would happen, in silence."""
    if getattr(model.config, "layer_types", None) is not None:
        return
    seen = getattr(model.config, "sliding_window", None)
    if seen is not None and seen <= fix.window:
        raise ArchitectureError(
            f"`{fix}` groups tokens from a distance of {fix.window} on, but no layer of "
            f"{model.config.model_type!r} looks farther than its sliding window of {seen}. Leave it out: such a "
            "model has no limit to extend."
        )


def _refuse(site: Site) -> None:
    if _NAME not in inspect.signature(site.module.forward).parameters:
        raise ArchitectureError(
            f"{class_key(site.module)} makes its rotations by itself, where they cannot be exchanged for those of "
            "groups. Use rope(...) instead."
        )


def _wrap(module: nn.Module, groups: _Groups, undo: ExitStack) -> None:
    own = vars(module).get("forward")
    vars(module)["forward"] = _Lookout(module.forward, groups, class_key(module))
    undo.callback(_unwrap, module, own)


def _unwrap(module: nn.Module, own: Any) -> None:
    del vars(module)["forward"]
    if own is not None:
        vars(module)["forward"] = own
