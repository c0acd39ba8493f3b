"""Attention that is changed after it is computed, against the same formulas written on the map A itself."""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from architectures import CONFIGS, stay_double
from observing_examples import alone, left_padded, one_thread
from test_attention import EXACT, READS_PADDING, distance, model_of, same, snapshot, states_of
from uncollapse.attention.baskets import even_out
from uncollapse.attention.calibration import Calibration
from uncollapse.attention.highpass import AttnScale, FeatScale, IdentityMix, LocalGlobal
from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.observing import observe
from uncollapse.attention.patching import MARK, patch
from uncollapse.attention.sites import find_sites
from uncollapse.attention.temperature import Temperature
from uncollapse.attention.verification import probe_batch, probe_states
from uncollapse.errors import ArchitectureError, ModelError, NotationError
from uncollapse.fixes import parse

Edit = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Makes a new map of the logits and the old map."""

_LEGACY = """roformer rembert megatron-bert nystromformer big_bird big_bird-sparse xlm squeezebert convbert longformer
xlnet mpnet deberta deberta-v2 deberta-v2-shared bloom mpt"""
LEGACY = _LEGACY.split()
EXCHANGED = [name for name in CONFIGS if name not in {*LEGACY, "gpt_oss"}]
VARIED = ["bert", "llama", "modernbert", "mistral", "gemma2", "gemma3", "t5"]
"""Full, causal, in windows, both, capped, with two kinds of layers, with a position bias."""

_quiet = pytest.fixture(autouse=True, scope="module")(one_thread)


def attnscale(w: float) -> Edit:
    def edit(_logits: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        seen = (maps > 0).to(maps)
        low = seen / seen.sum(-1, keepdim=True)
        return low + (1 + w) * (maps - low)

    return edit


def identity_mix(a: float) -> Edit:
    return lambda _logits, maps: (1 - a) * maps + a * torch.eye(maps.shape[-1], dtype=maps.dtype)


def local_global(window: int, a: float) -> Edit:
    def edit(logits: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        place = torch.arange(maps.shape[-1])
        far = (place[:, None] - place).abs() > window
        local = torch.softmax(logits.masked_fill(far, torch.finfo(logits.dtype).min), -1)
        return (1 - a) * maps + a * local

    return edit


def calibration(basket: int, strength: float) -> Edit:
    """Row by row and basket by basket, for texts that start at place 0."""

    def edit(_logits: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        evened = maps.clone()
        for row in evened.flatten(0, 2):
            seen, old = row > 0, row.clone()
            for start in range(0, len(row), basket):
                part = slice(start, start + basket)
                mass, even = old[part].sum(), seen[part].sum() / seen.sum()
                if mass > 0:
                    row[part] = old[part] / mass * ((1 - strength) * mass + strength * even)
        return evened

    return edit


LITERAL: dict[ModelFix, Edit] = {
    Calibration(7, 0.5, "all", "all"): calibration(7, 0.5),
    Calibration(5, 1, "all", "all"): calibration(5, 1),
    AttnScale(0.4): attnscale(0.4),
    AttnScale(-1): attnscale(-1),
    IdentityMix(0.3): identity_mix(0.3),
    IdentityMix(1): identity_mix(1),
    LocalGlobal(3, 0.4): local_global(3, 0.4),
    LocalGlobal(2, 1): local_global(2, 1),
}
"""A fix to what it does to the map."""


class EditedMaps(TorchFunctionMode):
    """Change the result of every softmax over keys while an attention module runs."""

    def __init__(self, edit: Edit) -> None:
        super().__init__()
        self.edit, self.inside, self.edited = edit, False, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        softmax = func in {torch.softmax, torch.Tensor.softmax, nn.functional.softmax}
        if self.inside and softmax and result.ndim == 4 and result.shape[-1] == result.shape[-2]:
            self.edited += 1
            self.inside = False  # its own softmax is none of the model's
            result = self.edit(args[0], result)
            self.inside = True
        return result


@contextmanager
def literal(model: PreTrainedModel, edit: Edit) -> Any:
    """Run a model with every attention map A replaced by a formula of it: eager, slow, the definition itself."""
    mode = EditedMaps(edit)
    with ExitStack() as undo:
        for site in find_sites(model):
            for hook, value in (("register_forward_pre_hook", True), ("register_forward_hook", False)):
                handle = getattr(site.module, hook)(lambda *_, to=value: setattr(mode, "inside", to))
                undo.callback(handle.remove)
        undo.enter_context(mode)
        yield
    assert mode.edited


@pytest.mark.parametrize("fix", LITERAL, ids=str)
@pytest.mark.parametrize("name", VARIED)
def test_a_mix_is_its_formula_on_the_map(name: str, fix: ModelFix) -> None:
    model = model_of(name)
    with stay_double(), literal(model, LITERAL[fix]):
        wanted = probe_states(model)
    with stay_double(), patch(model, fix):
        mixed = probe_states(model)
    assert distance(mixed, wanted) <= EXACT
    assert distance(mixed, states_of(model)) > 1e-3, "the fix must move the output, or nothing was tested"


@pytest.mark.parametrize("name", [name for name in EXCHANGED if name not in VARIED])
def test_every_architecture_whose_attention_can_be_exchanged_takes_a_mix(name: str) -> None:
    model, fix = model_of(name), AttnScale(0.4)
    with stay_double(), literal(model, LITERAL[fix]):
        wanted = probe_states(model)
    with stay_double(), patch(model, fix):
        assert distance(probe_states(model), wanted) <= EXACT


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_padding_on_the_left_never_enters(name: str) -> None:
    model = model_of(name)
    for fix, edit in LITERAL.items():
        if isinstance(fix, Calibration):
            continue  # its baskets start where the text does, see below
        with stay_double(), literal(model, edit):
            wanted = probe_states(model, left_padded(model))
        with stay_double(), patch(model, fix):
            assert distance(probe_states(model, left_padded(model)), wanted) <= EXACT


@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_baskets_start_where_the_text_does(name: str) -> None:
    model, fix = model_of(name), Calibration(5, 0.7, "all", "all")
    batch = left_padded(model)
    with stay_double(), patch(model, fix):
        together = probe_states(model, batch)
        apart = torch.cat([probe_states(model, text) for text in alone(batch)])
    assert distance(together, apart) <= EXACT


@pytest.mark.parametrize(("layers", "acting"), [("upper", [1, 2]), ("lower", [0, 1]), ("all", [0, 1, 2])])
@pytest.mark.parametrize(("rows", "place"), [("first", 0), ("last", -1)])
def test_calibration_changes_only_the_pooled_rows_of_its_layers(
    layers: str, acting: list[int], rows: str, place: int
) -> None:
    """A layer's attention is run on the same input with and without the fix."""
    model, fix = model_of("bert"), Calibration(5, 0.7, layers, rows)
    inputs: list[torch.Tensor] = []
    for layer in model.encoder.layer:
        layer.attention.self.register_forward_hook(lambda _m, given, out: inputs.append((given[0], out[0])))
    batch = probe_batch(model, [17, 17])
    with patch(model, fix):
        probe_states(model, batch)
    for number, (given, changed) in enumerate(inputs[:3]):
        whole = torch.ones(2, 1, 17, 17, dtype=torch.bool)
        stock = model.encoder.layer[number].attention.self(given, attention_mask=None if whole.all() else whole)[0]
        moved = (changed - stock).abs().amax((0, 2)) > 1e-9
        wanted = torch.zeros(17, dtype=torch.bool)
        wanted[place] = number in acting
        assert moved.tolist() == wanted.tolist()


def test_a_text_of_one_basket_stays() -> None:
    model = model_of("bert")
    model.set_attn_implementation("sdpa")
    stock = states_of(model)
    with patch(model, Calibration(24, 1, "all", "all")):
        assert torch.equal(states_of(model), stock)


def test_full_strength_gives_every_token_s_basket_its_share() -> None:
    weights = torch.rand(2, 3, 4, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    number = (torch.arange(11) // 4).expand(2, 11)
    evened = even_out(weights, number, 1.0)
    assert torch.allclose(evened.sum(-1), torch.ones(2, 3, 4, dtype=torch.float64))
    assert torch.allclose(evened[..., :4].sum(-1), torch.full((2, 3, 4), 4 / 11, dtype=torch.float64))
    assert torch.allclose(even_out(weights, number, 0.0), weights)


def shared_and_rest(fix: FeatScale, hidden: torch.Tensor) -> torch.Tensor:
    n = hidden.shape[1]
    mean = torch.full((n, n), 1 / n, dtype=hidden.dtype)
    return (1 + fix.s) * mean @ hidden + (1 + fix.t) * (torch.eye(n, dtype=hidden.dtype) - mean) @ hidden


FEATURES = {"bert": "encoder.layer", "distilbert": "transformer.layer", "modernbert": "layers", "qwen3": "layers"}


@pytest.mark.parametrize(("name", "path"), FEATURES.items())
def test_featscale_is_its_formula_after_every_layer(name: str, path: str) -> None:
    model, fix = model_of(name), FeatScale(s=-0.2, t=0.3)
    wanted, batch = [], probe_batch(model, [19, 5])

    def edit(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        tensor = isinstance(output, torch.Tensor)
        scaled = shared_and_rest(fix, output if tensor else output[0])
        return scaled if tensor else (scaled, *output[1:])

    handles = [layer.register_forward_hook(edit) for layer in model.get_submodule(path)]
    for text in alone(batch):
        with stay_double():
            wanted.append(probe_states(model, text))
    for handle in handles:
        handle.remove()
    with stay_double(), patch(model, fix):
        scaled = probe_states(model, batch)
    assert distance(scaled, torch.cat(wanted)) <= EXACT
    with stay_double():
        assert distance(scaled, probe_states(model, batch)) > 1e-3


def test_mean_pooling_does_not_see_featscale_after_the_last_layer() -> None:
    hidden = torch.randn(1, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scaled = shared_and_rest(FeatScale(s=0, t=0.7), hidden)
    assert torch.allclose(scaled.mean(1), hidden.mean(1), atol=1e-15)


@pytest.mark.parametrize("fix", [*LITERAL, FeatScale(s=0.1, t=0.3)], ids=str)
@pytest.mark.parametrize("name", ["bert", "albert", "qwen3", "modernbert"])
def test_padding_and_batching_change_nothing(name: str, fix: ModelFix) -> None:
    assert name not in READS_PADDING
    model = model_of(name)
    batch = probe_batch(model, [19, 5, 11])
    with stay_double(), patch(model, fix):
        together = probe_states(model, batch)
        apart = torch.cat([probe_states(model, text) for text in alone(batch)])
    assert distance(together, apart) <= EXACT


IDENTITIES = [AttnScale(0), Calibration(4, 0), IdentityMix(0), LocalGlobal(3, 0), FeatScale(0, 0)]


@pytest.mark.parametrize("fix", IDENTITIES, ids=str)
@pytest.mark.parametrize("name", ["bert", "qwen3"])
def test_the_identity_touches_nothing(name: str, fix: ModelFix) -> None:
    model = model_of(name)
    before, stock = snapshot(model), states_of(model)
    assert fix.is_identity
    with patch(model, fix):
        assert not hasattr(model, MARK)
        assert same(before, snapshot(model))
        assert torch.equal(states_of(model), stock)


@pytest.mark.parametrize("fix", [*LITERAL, FeatScale(s=0.1, t=0.3)], ids=str)
def test_a_mix_restores_bit_for_bit(fix: ModelFix) -> None:
    model = model_of("bert")
    model.set_attn_implementation("sdpa")
    before, stock, own = snapshot(model), states_of(model), [set(vars(module)) for module in model.modules()]
    with pytest.raises(RuntimeError, match="stopped"), patch(model, fix):
        assert getattr(model, MARK) == (fix,)
        states_of(model)
        raise RuntimeError("stopped")
    assert model.config._attn_implementation == "sdpa"
    assert same(before, snapshot(model))
    assert [set(vars(module)) for module in model.modules()] == own
    assert torch.equal(states_of(model), stock)


def test_a_whole_window_is_global() -> None:
    model = model_of("bert")
    model.set_attn_implementation("sdpa")
    with patch(model, LocalGlobal(100, 1)):
        assert distance(states_of(model), states_of(model_of("bert"))) <= EXACT


def test_a_temperature_and_a_mix_act_together() -> None:
    model = model_of("bert")
    with patch(model, Temperature(0.7)):
        with stay_double(), literal(model, attnscale(0.4)):
            wanted = probe_states(model)
        with patch(model, AttnScale(0.4)):
            assert distance(states_of(model), wanted) <= EXACT


@pytest.mark.parametrize("name", LEGACY)
def test_attention_that_cannot_be_exchanged_is_refused_by_name(name: str) -> None:
    model = model_of(name)
    before = snapshot(model)
    refused = pytest.raises(ArchitectureError, match=r"\w+\.\w+ cannot take .* computes its attention by itself")
    with refused, patch(model, AttnScale(0.1)):
        pass
    assert same(before, snapshot(model))


def test_sinks_are_refused_by_name() -> None:
    refused = pytest.raises(ArchitectureError, match=r"gpt_oss\.GptOssAttention .* includes a sink")
    with refused, patch(model_of("gpt_oss"), IdentityMix(0.1)):
        pass


@pytest.mark.parametrize("name", ["xlm", "squeezebert", "longformer", "xmod"])
def test_layers_that_cannot_be_told_are_refused_by_name(name: str) -> None:
    with pytest.raises(ArchitectureError, match="Cannot"), patch(model_of(name), FeatScale(0, 0.1)):
        pass


def test_attention_is_exchanged_once() -> None:
    model = model_of("bert")
    twice = pytest.raises(ArchitectureError, match="attention function of BertModel is exchanged already")
    with patch(model, AttnScale(0.1)):
        with twice, patch(model, IdentityMix(0.1)):
            pass
        with twice, observe(model, on_heads=lambda _: None):
            pass
        assert getattr(model, MARK) == (AttnScale(0.1),)


def test_attention_that_runs_past_the_fix_is_seen() -> None:
    model = model_of("bert")
    with patch(model, AttnScale(0.1)):
        model.set_attn_implementation("eager")
        with pytest.raises(ArchitectureError, match="ran past the fix"):
            states_of(model)


@pytest.mark.parametrize("fix", [AttnScale(0.1), FeatScale(0, 0.1)], ids=str)
@pytest.mark.parametrize(
    "arguments",
    [{"cu_seq_lens_q": torch.tensor([0, 4, 9])}, {"position_ids": torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]])}],
    ids=["ends", "positions"],
)
def test_packed_texts_are_refused(fix: ModelFix, arguments: dict[str, torch.Tensor]) -> None:
    model = model_of("qwen3")
    with patch(model, fix), pytest.raises(ModelError, match=r"got texts packed into one row.*unpad_inputs = False"):
        model(input_ids=torch.ones(1, 9, dtype=torch.long), **arguments)


def test_a_cache_of_earlier_tokens_is_refused() -> None:
    model = model_of("qwen3")
    with nullcontext(model(input_ids=torch.ones(1, 9, dtype=torch.long), use_cache=True)) as before:
        with patch(model, AttnScale(0.1)), pytest.raises(ModelError, match="got a cache of earlier tokens"):
            model(input_ids=torch.ones(1, 1, dtype=torch.long), past_key_values=before.past_key_values)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("attnscale(-1.1)", "w must be a number from -1 to 100, got -1.1"),
        ("attnscale(nan)", "w must be a number from -1 to 100, got nan"),
        ("attnscale(big)", "got 'big'"),
        ("identity_mix(1.5)", "a must be a number from 0 to 1, got 1.5"),
        ("local_global(window=0, a=0.5)", "window must be a whole number from 1, got 0"),
        ("local_global(window=2.5, a=0.5)", "window must be a whole number from 1, got 2.5"),
        ("local_global(64)", r"Expected local_global\(window, a\), got 'local_global\(64\)'"),
        ("calibration(basket=0)", "basket must be a whole number from 1"),
        ("calibration(strength=2)", "strength must be a number from 0 to 1"),
        ("calibration(layers=middle)", "no layers 'middle'"),
        ("calibration(rows=cls)", "no rows 'cls'"),
        ("featscale(s=-2, t=0)", "s must be a number from -1"),
        ("featscale(s=True, t=0)", "s must be a number from -1"),
    ],
)
def test_dials_out_of_range_are_refused(text: str, said: str) -> None:
    with pytest.raises(NotationError, match=said):
        parse(text)


def test_wrong_json_is_refused() -> None:
    for kind, name in ((AttnScale, "attnscale"), (LocalGlobal, "local_global"), (FeatScale, "featscale")):
        with pytest.raises(NotationError, match=f'Expected {{"fix": "{name}", "'):
            kind.from_json({"fix": name, "b": 1})
    assert AttnScale(1) == parse("attnscale(1)")
    assert str(AttnScale(1)) == "attnscale(1.0)"
