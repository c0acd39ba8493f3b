"""What the check before a fold sees, and what patching and folding refuse."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, BertConfig, BertModel, T5Config, T5Model

from architectures import LAYERS, build, stay_double
from test_attention import EXACT, distance, model_of
from uncollapse.attention.folding import fold
from uncollapse.attention.patching import patch
from uncollapse.attention.sites import SPECS, Spec, Term, backbone, class_key, find_sites
from uncollapse.attention.temperature import Temperature
from uncollapse.attention.verification import divided_softmax, probe_batch, probe_states, verify
from uncollapse.errors import ArchitectureError


def test_verify_reports_the_effect_and_the_differences() -> None:
    stock, folded = model_of("bert").float(), model_of("bert").float()
    fold(folded, Temperature(0.8))
    found = verify(stock, Temperature(0.8), folded)
    assert found.effect > 0.1
    assert max(found.patched, found.folded or 0) < found.tolerance < 0.1 * found.effect


def test_verify_refuses_a_fold_at_the_wrong_site() -> None:
    """Under a query norm, folding the projection is a silent no-op: the check must see it."""
    stock, folded = model_of("qwen3").float(), model_of("qwen3").float()
    for layer in folded.layers:
        layer.self_attn.q_proj.weight.data /= 0.8
    with pytest.raises(ArchitectureError, match="The folded model must equal softmax"):
        verify(stock, Temperature(0.8), folded)


def test_verify_refuses_a_patch_at_the_wrong_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPECS, "qwen3.Qwen3Attention", Spec((Term("q_proj"),)))
    with pytest.raises(ArchitectureError, match="The patched model must equal softmax"):
        verify(model_of("qwen3").float(), Temperature(0.8))


def test_verify_refuses_weights_that_are_not_finite() -> None:
    model = model_of("bert").float()
    model.encoder.layer[0].attention.self.query.weight.data[0, 0] = float("nan")
    with pytest.raises(ArchitectureError, match="NaN or infinity"):
        verify(model, Temperature(0.8))
    with pytest.raises(ArchitectureError, match="NaN or infinity"):
        verify(model_of("bert").float(), Temperature(0.8), model)


def test_verify_holds_for_the_identity_too() -> None:
    folded = model_of("bert").float()
    fold(folded, Temperature(0.5))
    with pytest.raises(ArchitectureError, match="The folded model must equal softmax"):
        verify(model_of("bert").float(), Temperature(1.0), folded)


def test_verify_sees_a_forgotten_term_at_a_mild_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPECS, "gpt_oss.GptOssAttention", Spec((Term("q_proj"),)))
    folded = model_of("gpt_oss").float()
    fold(folded, Temperature(0.95))
    with pytest.raises(ArchitectureError, match="must equal softmax"):
        verify(model_of("gpt_oss").float(), Temperature(0.95), folded)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_verify_tells_a_fold_from_none_in_half_precision_too(dtype: torch.dtype) -> None:
    stock = build("bert", dtype=dtype)
    folded = copy.deepcopy(stock)
    fold(folded, Temperature(0.5))
    found = verify(stock, Temperature(0.5), folded)
    assert max(found.patched, found.folded or 0) <= found.tolerance <= 0.25 * found.effect
    with pytest.raises(ArchitectureError, match="folded model must equal .* may be rounding alone: load the model in"):
        verify(stock, Temperature(0.5), copy.deepcopy(stock))


def test_double_fold_is_refused() -> None:
    model = model_of("bert")
    fold(model, Temperature(0.8))
    with pytest.raises(ArchitectureError, match=r"temperature\(0.8\) in its weights already"):
        fold(model, Temperature(0.9))


@pytest.mark.parametrize(
    ("temperature", "message"),
    [
        (Temperature([0.8, 0.9]), r"has 3 attention layers, but temperature\(\[0.8, 0.9\]\) gives 2"),
        (Temperature([[0.8] * 3] * 3), "has 4 attention heads in layer 0, but .* gives 3"),
    ],
)
def test_wrong_counts_are_refused(temperature: Temperature, message: str) -> None:
    for act in (lambda model: patch(model, temperature).__enter__(), lambda model: fold(model, temperature)):
        with pytest.raises(ArchitectureError, match=message):
            act(model_of("bert"))


def test_unknown_attention_is_refused_by_name() -> None:
    small = {"vocab_size": 99, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = AutoModel.from_config(AutoConfig.for_model("layoutlm", **small))
    with pytest.raises(ArchitectureError, match=r"No temperature for 'layoutlm'.*LayoutLMSelfAttention is not in"):
        find_sites(model)


def test_a_model_without_attention_is_refused() -> None:
    model = AutoModel.from_config(
        AutoConfig.for_model("fnet", vocab_size=99, hidden_size=64, num_hidden_layers=1, intermediate_size=96)
    )
    with pytest.raises(ArchitectureError, match="which has no attention module"):
        find_sites(model)


def test_a_holder_of_no_or_two_models_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="found none"):
        backbone(nn.Linear(2, 2))
    two = nn.ModuleList([model_of("bert"), model_of("roberta")])
    with pytest.raises(ArchitectureError, match="found BertModel, RobertaModel"):
        backbone(two)
    assert backbone(nn.Sequential(model_of("bert"))).config.model_type == "bert"


def test_the_backbone_is_found_in_one_walk_over_the_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    model, walked = nn.Sequential(model_of("bert")), []
    walk = nn.Module.named_modules

    def counted(self, *args, **kwargs):
        walked.append(self)
        return walk(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "named_modules", counted)
    assert backbone(model) is model[0]
    # A walk calls itself for every module, so a walk a module would be their square.
    assert len(walked) < 3 * len(list(walk(model)))


def test_adapters_and_quantised_layers_are_refused() -> None:
    class LoraLinear(nn.Linear):
        pass

    model = model_of("bert")
    model.encoder.layer[0].attention.self.query = LoraLinear(64, 64)
    with pytest.raises(ArchitectureError, match=r"got LoraLinear.*Merge adapters first"):
        fold(model, Temperature(0.8))
    model = model_of("bert")
    query = model.encoder.layer[0].attention.self.query
    query.weight = nn.Parameter(query.weight.data.to(torch.int8), requires_grad=False)
    with pytest.raises(ArchitectureError, match=r"int8 weights.*fold before quantising"):
        fold(model, Temperature(0.8))


def test_tied_weights_are_scaled_once() -> None:
    model = model_of("albert-groups")
    groups = model.encoder.albert_layer_groups
    for group in groups[1:]:
        group.albert_layers[0].attention.query = groups[0].albert_layers[0].attention.query
    tied = copy.deepcopy(model)
    fold(model, Temperature(0.7))
    with stay_double(), divided_softmax(tied, Temperature(0.7)):
        assert distance(probe_states(model), probe_states(tied)) <= EXACT


@pytest.mark.parametrize("tau", [0.5, 0.7])
def test_fold_in_half_precision_rounds_once(tau: float) -> None:
    """The folded weight is the exact product, rounded to the nearest the precision has."""
    model = build("bert", dtype=torch.bfloat16)
    query = model.encoder.layer[0].attention.self.query.weight
    exact = query.double() / tau
    fold(model, Temperature(tau))
    spacing = torch.finfo(torch.bfloat16).eps * exact.abs()
    assert bool(((query.double() - exact).abs() <= spacing / 2).all())


def test_decoders_may_be_padded_on_the_left() -> None:
    for name in ("qwen2", "qwen3", "gpt2", "gemma3"):
        model = model_of(name)
        batch = {key: value.flip(1) for key, value in probe_batch(model).items()}
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
        with stay_double(), divided_softmax(model, Temperature(0.7)):
            wanted = probe_states(model, batch)
        with stay_double(), patch(model, Temperature(0.7)):
            assert distance(probe_states(model, batch), wanted) <= EXACT
        fold(model, Temperature(0.7))
        with stay_double():
            assert distance(probe_states(model, batch), wanted) <= EXACT


def test_a_patch_serves_inference_and_then_training() -> None:
    model = model_of("bert").float()
    with patch(model, Temperature([[0.6, 0.7, 0.8, 0.9]] * LAYERS)):
        with torch.inference_mode():
            model(**probe_batch(model))
        model(**probe_batch(model))[0].sum().backward()
    assert model.encoder.layer[0].attention.self.query.weight.grad is not None


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch 2.13 meets its own advice on import
@pytest.mark.parametrize("how", ["wrapped", "holder wrapped", "in place", "holder in place", "layer", "forward"])
def test_a_compiled_model_is_refused_by_patch(how: str) -> None:
    inner = model_of("bert")
    holder: nn.Module = nn.Sequential(inner)
    if how == "wrapped":
        holder = nn.Sequential(torch.compile(inner, backend="eager"))
    elif how == "holder wrapped":
        holder = torch.compile(holder, backend="eager")
    elif how == "forward":
        inner.forward = torch.compile(inner.forward, backend="eager")
    else:
        place = {"in place": inner, "holder in place": holder, "layer": inner.encoder.layer[1]}[how]
        place.compile(backend="eager")
    with pytest.raises(ArchitectureError, match="its graph would ignore the patch"), patch(holder, Temperature(0.7)):
        pass


def test_a_folded_model_is_refused_by_patch() -> None:
    model = model_of("bert")
    fold(model, Temperature(0.8))
    with pytest.raises(ArchitectureError, match="in its weights already"), patch(model, Temperature(0.8)):
        pass


def test_an_encoder_with_its_decoder_is_refused() -> None:
    model = T5Model(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    with pytest.raises(ArchitectureError, match="got T5Model with both. Give the encoder"):
        find_sites(model)


def test_gradients_flow_through_a_patch() -> None:
    model = model_of("bert")
    with patch(model, Temperature(0.8)):
        model(**probe_batch(model))[0].sum().backward()
    assert model.encoder.layer[0].attention.self.query.weight.grad.abs().sum() > 0


def test_remote_code_is_served_by_a_spec_of_the_users_own() -> None:
    class HomeAttention(nn.Module):
        pass

    model = BertModel(BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2))
    model.add_module("extra", HomeAttention())
    with pytest.raises(ArchitectureError, match="HomeAttention is not in the table"):
        find_sites(model)
    home = model.extra
    home.query, home.num_attention_heads = nn.Linear(8, 8), 2
    assert len(find_sites(model, {**SPECS, class_key(home): Spec((Term("query"),))})) == 2
