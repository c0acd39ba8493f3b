"""Laws of the observed residual stream, over every architecture of the table."""

from types import MethodType
from typing import Any

import pytest
import torch
from torch import nn

from architectures import CONFIGS, LAYERS, build, stay_double
from observing_examples import (
    FOLLOWED,
    PARALLEL,
    PRE_NORM,
    STAGES,
    STATES_REFUSED,
    Seen,
    alone,
    left_padded,
    look,
    look_at_all,
    one_thread,
    seen_of,
    support_of,
    whole_batch,
)
from test_attention import EXACT, READS_PADDING, distance, model_of
from uncollapse.attention.observing import States, observe
from uncollapse.attention.observing.flow import NOT_ADDED, NOT_HANDED_ON, Flow, Place, Sight, find_flow, sight
from uncollapse.attention.patching import patch
from uncollapse.attention.temperature import Temperature
from uncollapse.errors import ArchitectureError

WIDTH = 64
single = pytest.fixture(scope="module", autouse=True)(one_thread)


def test_every_architecture_is_followed_or_refused() -> None:
    assert sorted(CONFIGS) == sorted([*STAGES, *STATES_REFUSED])


@pytest.mark.parametrize("name", CONFIGS)
def test_states_are_followed_or_refused_by_name(name: str) -> None:
    reason = support_of(name).states
    assert (reason == "") == (name in FOLLOWED)
    assert STATES_REFUSED.get(name, "") in reason
    if reason:
        with pytest.raises(ArchitectureError, match="states of|residual stream of"), stay_double():
            with observe(model_of(name), on_states=print):
                pass


def sums(states: States) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs that must be equal: the stream after adding a branch, and the stream before plus the branch."""
    stages = states.stages
    first = stages["input"] + stages["attention"]
    if "after attention" not in stages:
        return [(stages["after mlp"], first + stages["mlp"])]
    stream = stages.get("attention norm", stages["after attention"])
    return [(stages["after attention"], first), (stages["after mlp"], stream + stages["mlp"])]


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_stream_plus_a_branch_is_the_next_stream(name: str) -> None:
    seen = seen_of(name, "states")[1].states
    assert [states.layer for states in seen] == [layer for layer in range(LAYERS) for _ in range(3)]
    for states in seen:
        assert tuple(states.stages) == STAGES[name]
        for stream, wanted in sums(states):
            assert distance(stream, wanted) <= EXACT
        for stage in states.stages.values():
            assert stage.shape == (len(states.rows), states.n, WIDTH)
        assert min(distance(states.stages[branch], torch.zeros(())) for branch in ("attention", "mlp")) > 1e-3


@pytest.mark.parametrize("name", FOLLOWED)
def test_the_stream_is_the_models_own_hidden_states(name: str) -> None:
    """What enters each layer is what the model gives as its hidden states, which no hook of ours makes."""
    model = model_of(name)
    batch = whole_batch(model)
    seen = seen_of(name, "states")[0]
    with stay_double(), torch.no_grad():
        given = model(**batch, output_hidden_states=True).hidden_states
        wanted = model(**batch)[0]
    if name == "xlnet":
        given = [states if states.shape[0] == 2 else states.transpose(0, 1) for states in given]
    convolutions = 1 if name == "lfm2" else 0
    for states in seen.states:
        assert distance(states.stages["input"], given[states.layer + convolutions]) <= EXACT
    for earlier, later in zip(seen.states, seen.states[1:], strict=False):
        assert torch.equal(list(earlier.stages.values())[-1], later.stages["input"])
    assert torch.equal(seen.output, wanted), "following the stream must not touch it"


@pytest.mark.parametrize("name", FOLLOWED)
def test_padding_never_enters(name: str) -> None:
    if reason := READS_PADDING.get(name):
        pytest.skip(reason)
    _, together, apart = seen_of(name, "states")
    compare(together, apart)


@pytest.mark.parametrize("name", ["qwen2", "gpt2", "gemma2", "phi"])
def test_padding_on_the_left_never_enters(name: str) -> None:
    model = model_of(name)
    batch = left_padded(model)
    together, *apart = look_at_all(model, [batch, *alone(batch)], states=True)
    compare(together, apart)


def compare(together: Seen, apart: list[Seen]) -> None:
    for row, text in enumerate(apart):
        for (states, place), own in zip(together.states_of(row), text.states, strict=True):
            assert (states.layer, states.n) == (own.layer, own.n)
            for name, stage in states.stages.items():
                assert distance(stage[place], own.stages[name][0]) <= 1e-10


_ALBERT = "encoder.albert_layer_groups.1.albert_layers.0"
BRANCHES = {
    "bert": ("encoder.layer.1.attention.output.dense", "encoder.layer.1.output.dense"),
    "albert-groups": tuple(f"{_ALBERT}.{path}" for path in ("attention.dense", "ffn_output")),
    "mpnet": ("encoder.layer.1.attention.attn.o", "encoder.layer.1.output.dense"),
    "deberta-v2": ("encoder.layer.1.attention.output.dense", "encoder.layer.1.output.dense"),
    "modernbert": ("layers.1.attn.Wo", "layers.1.mlp.Wo"),
    "t5": ("encoder.block.1.layer.0.SelfAttention.o", "encoder.block.1.layer.1.DenseReluDense.wo"),
    "qwen3": ("layers.1.self_attn.o_proj", "layers.1.mlp.down_proj"),
    "qwen3_moe": ("layers.1.self_attn.o_proj", "layers.1.mlp"),
    "gemma3": ("layers.1.post_attention_layernorm", "layers.1.post_feedforward_layernorm"),
    "olmo2": ("layers.1.post_attention_layernorm", "layers.1.post_feedforward_layernorm"),
    "phi": ("layers.1.self_attn.dense", "layers.1.mlp.fc2"),
    "gpt_neox": ("layers.1.attention.dense", "layers.1.mlp.dense_4h_to_h"),
    "cohere": ("layers.1.self_attn.o_proj", "layers.1.mlp.down_proj"),
    "bloom": ("h.1.self_attention.dense", "h.1.mlp.dense_4h_to_h"),
}
"""Where the two branches of the second layer end, read from the code of each architecture."""


@pytest.mark.parametrize("name", BRANCHES)
def test_branches_are_what_attention_and_mlp_give(name: str) -> None:
    model = model_of(name)
    given: dict[str, torch.Tensor] = {}
    for branch, path in zip(("attention", "mlp"), BRANCHES[name], strict=True):
        model.get_submodule(path).register_forward_hook(
            lambda *call, to=branch: given.__setitem__(to, call[2].detach().clone())
        )
    stages = look(model, whole_batch(model), states=True).states[1].stages
    for branch, wanted in given.items():
        assert distance(stages[branch], wanted.reshape(stages[branch].shape)) <= EXACT


def test_a_stage_after_a_norm_is_that_norm_of_the_stage_before() -> None:
    model = model_of("bert")
    for states in look(model, whole_batch(model), states=True).states:
        layer, stages = model.encoder.layer[states.layer], states.stages
        norms = (layer.attention.output.LayerNorm, layer.output.LayerNorm)
        for branch, norm in zip(("attention", "mlp"), norms, strict=True):
            with torch.no_grad():
                assert distance(stages[f"{branch} norm"], norm(stages[f"after {branch}"])) <= EXACT


@pytest.mark.parametrize(("name", "factor"), [("granite", 0.22), ("esmc", (3 / 36) ** -0.5), ("neomme", 0.5)])
def test_a_scaled_branch_is_shown_as_it_is_added(name: str, factor: float) -> None:
    model = model_of(name)
    for layer in model.layers:
        layer.residual_multiplier = factor  # ESMC makes its own from its depth
    given = []
    model.layers[0].self_attn.register_forward_hook(lambda *call: given.append(call[2][0].clone()))
    stages = look(model, whole_batch(model), states=True).states[0].stages
    assert distance(stages["attention"], given[-1] * factor) <= EXACT
    assert distance(stages["after attention"], stages["input"] + given[-1] * factor) <= EXACT


def test_a_scaled_stream_is_refused() -> None:
    """DeepNorm: the stream itself is multiplied before attention is added."""

    def forward(self: nn.Module, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        return self.LayerNorm(self.dense(hidden_states) + 2 * input_tensor)

    model = model_of("bert")
    model.encoder.layer[1].attention.output.forward = MethodType(forward, model.encoder.layer[1].attention.output)
    with pytest.raises(ArchitectureError, match="'encoder.layer.1.attention.self' .*nowhere added to what enters"):
        with observe(model, on_states=print):
            pass


def test_an_adapter_of_a_branch_is_followed_and_one_of_the_stream_refused() -> None:
    class Adapter(nn.Linear):
        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return states + super().forward(states)

    model, adapter = model_of("llama"), Adapter(WIDTH, WIDTH, dtype=torch.float64).eval()
    layer = model.layers[2]
    layer.mlp, mlp = nn.Sequential(layer.mlp, adapter).eval(), layer.mlp
    states = look(model, whole_batch(model), states=True).states[2]
    assert distance(*sums(states)[1]) <= EXACT
    layer.mlp, stock = mlp, layer.forward
    layer.forward = lambda *args, **keys: adapter(stock(*args, **keys))
    with pytest.raises(ArchitectureError, match="'layers.2.self_attn' .*not the stream plus attention plus one MLP"):
        look(model, whole_batch(model), states=True)


def test_a_stream_changed_in_place_is_refused() -> None:
    """Adding the MLP to the very tensor seen as the stream after attention would change what was seen."""

    def forward(self: nn.Module, hidden_states: torch.Tensor, **keys: Any) -> torch.Tensor:
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **keys)
        stream = hidden_states + attended
        stream += self.mlp(self.post_attention_layernorm(stream))
        return stream

    model = model_of("llama")
    model.layers[0].forward = MethodType(forward, model.layers[0])
    with pytest.raises(ArchitectureError, match="In layer 0, the stream after adding a branch"):
        look(model, whole_batch(model), states=True)


def test_a_branch_of_zeros_is_refused_and_not_guessed() -> None:
    model = model_of("llama")
    model.layers[0].self_attn.o_proj.weight.data.zero_()
    with pytest.raises(ArchitectureError, match="Cannot follow the residual stream of LlamaModel through"):
        look(model, whole_batch(model), states=True)


@pytest.mark.parametrize("name", ["bert", "qwen2", "gemma3", "phi", "t5", "mpnet", "gpt2", "granite"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_flow_found_is_the_same_in_any_precision(name: str, dtype: torch.dtype) -> None:
    model = build(name, dtype=dtype)
    seen: list[States] = []
    with torch.no_grad(), observe(model, on_states=seen.append):
        model(**whole_batch(model))
    for states in seen:
        assert tuple(states.stages) == STAGES[name]
        for stream, wanted in sums(states):
            assert distance(stream.double(), wanted.double()) <= 2 * torch.finfo(dtype).eps


def test_a_temperature_reaches_the_stream() -> None:
    model = model_of("bert")
    batch = whole_batch(model)
    stock = look(model, batch, states=True).states[0].stages
    with patch(model, Temperature(0.7)):
        patched = look(model, batch, states=True).states[0].stages
    assert torch.equal(stock["input"], patched["input"])
    assert distance(stock["attention"], patched["attention"]) > 1e-3


def seen(*steps: tuple[str, str, torch.Tensor]) -> list[Sight]:
    """Sights in order, from module, side and tensor; a module is a norm if its name ends so."""
    return [sight(Place(name, side, None, 0), name or "Layer", tensor) for name, side, tensor in steps]


def normals(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 7, 5, generator=generator, dtype=torch.float64) for _ in range(count)]


def test_flow_of_a_parallel_block_with_factors() -> None:
    x, a, m = normals(3)
    whole = x + 0.5 * a - 2 * m
    start, end = ("", "input", x), ("", "output", whole)
    found = find_flow(seen(start, ("attn", "input", x), ("attn", "output", a), ("mlp", "output", m), end), "attn")
    assert isinstance(found, Flow)
    assert {name: round(factor, 12) for name, _, factor in found.stages} == {
        "input": 1.0,
        "attention": 0.5,
        "mlp": -2.0,
        "after mlp": 1.0,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_flow_is_found_under_entries_that_drown_the_branches(dtype: torch.dtype) -> None:
    """Some entries of a stream are thousands of times the others; rounding them may exceed all that is added."""
    x, a, m, other = (tensor.to(dtype) for tensor in normals(4))
    x[..., 0] *= 4000
    after, whole = x + a, x + a + m
    steps = [("", "input", x), ("attn", "input", x), ("attn", "output", a), ("mlp", "output", m)]
    parallel = find_flow(seen(*steps, ("", "output", x + (a + m))), "attn")
    serial = find_flow(seen(*steps[:3], ("norm", "input", after), ("mlp", "output", m), ("", "output", whole)), "attn")
    assert isinstance(parallel, Flow)
    assert isinstance(serial, Flow)
    assert [name for name, _, _ in serial.stages] == [*PRE_NORM]
    assert [name for name, _, _ in parallel.stages] == [*PARALLEL]
    assert {factor for _, _, factor in (*parallel.stages, *serial.stages)} == {1.0}
    assert find_flow(seen(*steps[:3], ("", "output", x + other)), "attn") == NOT_ADDED


def test_flow_says_where_it_was_lost() -> None:
    x, a, m, other = normals(4)
    begin = [("", "input", x), ("attn", "input", x), ("attn", "output", a)]
    middle = [("norm", "input", x + a), ("norm", "output", other), ("mlp", "output", m)]
    assert find_flow(seen(*begin, ("", "output", 2 * x + a)), "attn") == NOT_ADDED
    assert find_flow(seen(*begin, *middle, ("", "output", x + a + 2 * m + other)), "attn") == NOT_HANDED_ON
    assert isinstance(find_flow(seen(*begin, *middle, ("", "output", x + a + 2 * m)), "attn"), Flow)
    assert find_flow(seen(("", "input", x), ("", "output", x + a)), "attn") == NOT_ADDED, "attention of another width"
