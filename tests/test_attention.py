"""Laws of patching and folding, over every row of the table of sites."""

import copy
import importlib
from functools import cache

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from architectures import CONFIGS, HEADS, LAYERS, build, stay_double
from uncollapse.attention.folding import fold
from uncollapse.attention.patching import patch
from uncollapse.attention.sites import SPECS, class_key, find_sites
from uncollapse.attention.stamps import STAMP
from uncollapse.attention.temperature import Temperature
from uncollapse.attention.verification import divided_softmax, probe_batch, probe_states
from uncollapse.errors import ArchitectureError

TEMPERATURES = {
    "scalar": Temperature(0.7),
    "softer": Temperature(1.3),
    "layers": Temperature([0.7, 0.9, 1.3]),
    "heads": Temperature([[0.6, 0.7, 0.8, 0.9], [0.5, 1.0, 1.1, 1.2], [0.8, 0.9, 1.0, 1.1]]),
    "heads, equal layers": Temperature([[0.6, 0.7, 0.8, 0.9]] * LAYERS),
}
READS_PADDING = {
    "big_bird-sparse": "the stock model draws its random blocks from the padded length",
    "nystromformer": "the convolution of the stock model reads into the padding",
    "convbert": "the convolution of the stock model reads into the padding",
}
EXACT = 1e-12
"""Largest difference to eager softmax(scores / tau) in float64, relative to the largest state."""

NO_WEIGHT = {"neomme", "nanochat", "bloom", "mpt", "llama4-normed"}
ONE_TABLE = {"mpnet", "t5", "mt5"}
ONE_MODULE = {"albert"}
ONE_SOFTCAP = {"gemma2", "t5gemma"}
ONE_NORM = {"qwen3", "qwen3_moe", "lfm2", "gemma3", "embedding_gemma2", "phi-normed"}
ONE_NUMBER = {"bloom", "mpt", "llama4-normed"} | ONE_SOFTCAP


def fold_refuses(name: str, kind: str) -> str:
    """What the refusal of a fold must say, "" where the fold must work."""
    if name in NO_WEIGHT:
        return "cannot carry a temperature in its weights"
    if name in ONE_TABLE and kind in {"layers", "heads"}:
        return "one table .* of position biases"
    if name in ONE_MODULE and kind in {"layers", "heads"}:
        return "with the same weights"
    if name in ONE_SOFTCAP and kind == "layers":
        return "for all layers in its config"
    if name in ONE_SOFTCAP and kind.startswith("heads"):
        return "one number for all heads"
    if name in ONE_NORM and kind.startswith("heads"):
        return "normalises all heads with one weight"
    return ""


def patch_refuses(name: str, kind: str) -> str:
    return "one number for all heads" if name in ONE_NUMBER and kind.startswith("heads") else ""


@cache
def _stock(name: str) -> PreTrainedModel:
    return build(name)


def model_of(name: str) -> PreTrainedModel:
    return copy.deepcopy(_stock(name))


@cache
def defined(name: str, kind: str) -> torch.Tensor:
    """States of the model with softmax(scores / tau), taken literally."""
    model = model_of(name)
    with stay_double(), divided_softmax(model, TEMPERATURES[kind]):
        return probe_states(model)


def states_of(model: nn.Module) -> torch.Tensor:
    with stay_double():
        return probe_states(model)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / max(1.0, float(b.abs().max())))


def snapshot(model: PreTrainedModel) -> dict[str, object]:
    numbers = {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, (int, float))
    }
    hooks = {name: len(m._forward_hooks) + len(m._forward_pre_hooks) for name, m in model.named_modules()}
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    return {"numbers": numbers, "hooks": hooks, "weights": weights, "config": model.config.to_json_string()}


def same(a: dict[str, object], b: dict[str, object]) -> bool:
    equal_weights = all(torch.equal(value, b["weights"][key]) for key, value in a["weights"].items())
    return equal_weights and all(a[key] == b[key] for key in ("numbers", "hooks", "config"))


@pytest.mark.parametrize("key", SPECS)
def test_row_names_an_existing_class(key: str) -> None:
    package, name = key.split(".")
    module = importlib.import_module(f"transformers.models.{package}.modeling_{package}")
    assert issubclass(getattr(module, name), nn.Module)


def test_every_row_is_exercised_by_a_model() -> None:
    used = {class_key(site.module) for name in CONFIGS for site in find_sites(_stock(name))}
    assert used | {"big_bird.BigBirdBlockSparseAttention"} == set(SPECS)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_site_knows_the_width_of_its_heads(name: str) -> None:
    assert all(site.head_dim > 0 for site in find_sites(_stock(name)))


@pytest.mark.parametrize("name", CONFIGS)
def test_sites_cover_all_layers_and_heads(name: str) -> None:
    sites = find_sites(_stock(name))
    assert sorted(layer for site in sites for layer in site.layers) == list(range(LAYERS))
    assert {site.heads for site in sites} == {HEADS}


@pytest.mark.parametrize("kind", TEMPERATURES)
@pytest.mark.parametrize("name", CONFIGS)
def test_patch_is_softmax_of_scores_over_tau(name: str, kind: str) -> None:
    model, temperature = model_of(name), TEMPERATURES[kind]
    if refusal := patch_refuses(name, kind):
        with pytest.raises(ArchitectureError, match=refusal), patch(model, temperature):
            pass
        return
    with patch(model, temperature):
        patched = states_of(model)
    assert distance(patched, defined(name, kind)) <= EXACT
    assert distance(patched, states_of(model)) > 1e-3, "the temperature must move the output, or nothing was tested"


@pytest.mark.parametrize("kind", TEMPERATURES)
@pytest.mark.parametrize("name", CONFIGS)
def test_fold_is_softmax_of_scores_over_tau(name: str, kind: str) -> None:
    model, temperature = model_of(name), TEMPERATURES[kind]
    if refusal := fold_refuses(name, kind):
        before = snapshot(model)
        with pytest.raises(ArchitectureError, match=refusal):
            fold(model, temperature)
        assert same(before, snapshot(model)), "a refused fold must change nothing"
        return
    fold(model, temperature)
    assert distance(states_of(model), defined(name, kind)) <= EXACT


@pytest.mark.parametrize("name", CONFIGS)
def test_patch_restores_bit_for_bit(name: str) -> None:
    model = model_of(name)
    before = snapshot(model)
    kind = "scalar" if name in ONE_NUMBER else "heads"
    with patch(model, TEMPERATURES[kind]):
        assert not same(before, snapshot(model))
        states_of(model)
    assert same(before, snapshot(model))


def test_patch_restores_after_an_error_inside_and_in_the_middle_of_a_forward() -> None:
    model = model_of("albert")
    before, stock = snapshot(model), states_of(model)

    def stop(*_: object) -> None:
        raise RuntimeError("stopped")

    with patch(model, TEMPERATURES["layers"]):
        handle = model.encoder.albert_layer_groups[0].albert_layers[0].ffn.register_forward_hook(stop)
        with pytest.raises(RuntimeError, match="stopped"):
            probe_states(model)
        handle.remove()
        again = states_of(model)
    assert distance(again, defined("albert", "layers")) <= EXACT
    assert same(before, snapshot(model))
    assert torch.equal(stock, states_of(model))


@pytest.mark.parametrize("name", CONFIGS)
def test_temperature_one_is_the_exact_identity(name: str) -> None:
    model = model_of(name)
    stock, before = states_of(model), snapshot(model)
    with patch(model, Temperature(1.0)):
        assert torch.equal(stock, states_of(model))
    if not fold_refuses(name, "scalar"):
        fold(model, Temperature([1.0] * LAYERS))
        assert torch.equal(stock, states_of(model))
        delattr(model.config, STAMP)
        assert same(before, snapshot(model))


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_and_batching_change_nothing(name: str) -> None:
    if reason := READS_PADDING.get(name):
        pytest.skip(reason)
    model = model_of(name)
    batch = probe_batch(model)
    with patch(model, TEMPERATURES["scalar"]), stay_double():
        together = probe_states(model, batch)
        start = 0
        for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
            alone = {key: value[row : row + 1, :length] for key, value in batch.items()}
            assert distance(probe_states(model, alone), together[start : start + length]) <= 1e-10
            start += length


@pytest.mark.parametrize("name", CONFIGS)
def test_sdpa_agrees_with_eager_patched_and_folded(name: str) -> None:
    model = model_of(name)
    if not getattr(model, "_supports_sdpa", False) or name in {"gemma2", "gemma2-uncapped", "t5gemma", "gpt_oss"}:
        pytest.skip("transformers offers no SDPA for this architecture")
    model.set_attn_implementation("sdpa")
    with patch(model, TEMPERATURES["scalar"]):
        assert distance(states_of(model), defined(name, "scalar")) <= EXACT
    if not fold_refuses(name, "scalar"):
        fold(model, TEMPERATURES["scalar"])
        assert distance(states_of(model), defined(name, "scalar")) <= EXACT


def test_divided_softmax_agrees_with_attention_written_by_hand() -> None:
    """The definition that everything is tested against is itself tested, on one BERT layer in plain tensor algebra."""
    model = model_of("bert")
    layer, temperature = model.encoder.layer[0], torch.tensor([0.6, 0.7, 0.8, 0.9], dtype=torch.float64)
    attention = layer.attention.self
    batch = {key: value[:1] for key, value in probe_batch(model).items()}
    with torch.no_grad():
        states = model.embeddings(batch["input_ids"])
        query, key, value = (
            projection(states).view(1, -1, HEADS, 16).transpose(1, 2)
            for projection in (attention.query, attention.key, attention.value)
        )
        weights = torch.softmax(query @ key.transpose(-1, -2) / 4 / temperature[:, None, None], -1)
        wanted = layer.attention.output((weights @ value).transpose(1, 2).flatten(2), states)
    seen = []
    layer.attention.output.register_forward_hook(lambda *call: seen.append(call[2]))
    with stay_double(), divided_softmax(model, TEMPERATURES["heads"]):
        probe_states(model, batch)
    assert distance(seen[0], wanted) <= EXACT
