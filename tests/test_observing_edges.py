"""Observing leaves no trace, keeps nothing, and refuses by name what it cannot show."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from transformers import AttentionInterface, AttentionMaskInterface, AutoConfig, AutoModel, T5Config, T5Model

from architectures import CONFIGS, LAYERS, build, stay_double
from observing_examples import FOLLOWED, OBSERVED, given_maps, look, one_thread, whole_batch
from test_attention import distance, model_of, same, snapshot
from tiny import save_tiny
from uncollapse.attention.observing import Heads, States, find_support, observe
from uncollapse.attention.observing.legacy import CaughtSoftmax
from uncollapse.attention.observing.support import MARK, NO_MAP, NO_STREAM
from uncollapse.attention.sites import SPECS, backbone
from uncollapse.attention.temperature import Temperature
from uncollapse.attention.verification import divided_softmax, probe_batch, probe_states
from uncollapse.encoders import load
from uncollapse.errors import ArchitectureError, ModelError

single = pytest.fixture(scope="module", autouse=True)(one_thread)
LEGACY = ["mpnet", "xlnet", "deberta-v2", "bloom"]


def ignore(_seen: Heads | States) -> None:
    """A callback that looks at nothing."""


def traces(model: nn.Module) -> dict[str, object]:
    """Everything that observing changes while it runs."""
    modules = dict(model.named_modules())
    return {
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "flags": {name: len(m._forward_hooks_always_called) for name, m in modules.items()},
        "keyword hooks": {name: len(m._forward_pre_hooks_with_kwargs) for name, m in modules.items()},
        "attention": [m.config._attn_implementation for m in modules.values() if hasattr(m, "config")],
        "functions": (AttentionInterface().valid_keys(), AttentionMaskInterface().valid_keys()),
        "modes": len(_get_current_function_mode_stack()),
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_is_left_behind(name: str) -> None:
    model = model_of(name)
    before, others = snapshot(model), traces(model)
    heads = ignore if name in OBSERVED else None
    states = ignore if name in FOLLOWED else None
    if heads is None and states is None:
        pytest.skip("nothing of it is observed")
    with stay_double():
        stock = probe_states(model)
        with observe(model, on_heads=heads, on_states=states):
            assert not same(before, snapshot(model)) or others != traces(model)
            probe_states(model)
        assert torch.equal(stock, probe_states(model))
    assert same(before, snapshot(model))
    assert others == traces(model)


@pytest.mark.parametrize("name", ["bert", "albert", "gemma2", *LEGACY])
@pytest.mark.parametrize("part", ["heads", "states"])
def test_nothing_is_left_behind_by_a_callback_that_fails(name: str, part: str) -> None:
    def fail(seen: Heads | States) -> None:
        if seen.layer == 1:
            raise RuntimeError("stopped")

    model = model_of(name)
    before, others = snapshot(model), traces(model)
    calls = []
    with stay_double():
        stock = probe_states(model)
        on_heads: Callable[[Heads], None] = fail if part == "heads" else calls.append
        on_states: Callable[[States], None] = fail if part == "states" else ignore
        with pytest.raises(RuntimeError, match="stopped"), observe(model, on_heads=on_heads, on_states=on_states):
            probe_states(model)
        assert torch.equal(stock, probe_states(model))
    assert same(before, snapshot(model))
    assert others == traces(model)


@pytest.mark.parametrize("name", ["albert", "mpnet", "bloom"])
def test_a_forward_pass_cut_short_leaves_the_next_one_whole(name: str) -> None:
    model = model_of(name)
    batch = whole_batch(model)
    wanted = look(model, batch, heads=True, states=True)
    seen_heads, seen_states, broken = [], [], []

    def stop(*_: object) -> None:
        if not broken:
            broken.append(True)
            raise RuntimeError("stopped")

    with stay_double(), torch.no_grad(), observe(model, on_heads=seen_heads.append, on_states=seen_states.append):
        last = [module for module in model.modules() if isinstance(module, nn.Linear)][3]
        handle = last.register_forward_hook(stop)
        with pytest.raises(RuntimeError, match="stopped"):
            model(**batch)
        handle.remove()
        assert len(_get_current_function_mode_stack()) == 1, "only the mode of this test may be left"
        seen_heads.clear()
        seen_states.clear()
        model(**batch)
    assert [heads.layer for heads in seen_heads] == [states.layer for states in seen_states] == [0, 1, 2]
    for heads, own in zip(seen_heads, wanted.heads, strict=True):
        assert torch.equal(heads.output, own.output)


def alive_activations() -> int:
    """How many tensors there are that hold something of every one of 23 tokens."""
    gc.collect()
    shapes = [tensor.shape for tensor in gc.get_objects() if type(tensor) is torch.Tensor]
    return sum(23 in shape and len(shape) > 2 for shape in shapes)


@pytest.mark.parametrize("name", ["bert", "qwen2", "gemma2", "t5", *LEGACY])
def test_no_tensor_outlives_its_layer(name: str) -> None:
    model = model_of(name)
    kept: list[tuple[int, weakref.ref[torch.Tensor]]] = []

    def check(layer: int) -> None:
        alive = [number for number, tensor in kept if tensor() is not None]
        assert all(number >= layer - 1 for number in alive), "a tensor of two layers ago is still held"

    def on_heads(heads: Heads) -> None:
        check(heads.layer)
        tensors = [heads.output, heads.value, heads.logits.query, heads.logits.formed]
        kept.extend((heads.layer, weakref.ref(tensor)) for tensor in tensors if tensor is not None)

    def on_states(states: States) -> None:
        check(states.layer)
        kept.extend((states.layer, weakref.ref(tensor)) for tensor in states.stages.values())

    model.float()
    with torch.no_grad(), observe(model, on_heads=on_heads, on_states=on_states):
        kept.clear()
        before = alive_activations()
        model(**whole_batch(model, n=23))
        assert len(kept) >= LAYERS * 7
        assert alive_activations() == before, "a batch has gone, but some of its tensors have not"


def test_gradients_are_none_of_the_callbacks_business() -> None:
    model = model_of("bert")
    seen = []
    with observe(model, on_heads=seen.append, on_states=seen.append):
        model(**probe_batch(model))[0].sum().backward()
    assert model.encoder.layer[0].attention.self.query.weight.grad is not None
    assert not any(heads.output.requires_grad for heads in seen if isinstance(heads, Heads))
    assert not any(states.stages["mlp"].requires_grad for states in seen if isinstance(states, States))


def test_a_sentence_transformer_is_observed_as_it_encodes(tmp_path: Path) -> None:
    model = SentenceTransformer(str(save_tiny(tmp_path / "m")), device="cpu")
    texts = ["abc", "a b c d e f", "abc", "0 1 2"]
    stock = model.encode(texts, show_progress_bar=False)
    lengths = sorted(len(model.tokenizer(text)["input_ids"]) for text in texts)
    heads: list[tuple[int, int]] = []
    states: list[tuple[int, int]] = []
    with observe(
        model,
        on_heads=lambda seen: heads.extend((seen.layer, seen.n) for _ in seen.rows),
        on_states=lambda seen: states.extend((seen.layer, len(seen.stages["input"][0])) for _ in seen.rows),
    ):
        vectors = model.encode(texts, show_progress_bar=False)
    assert abs(vectors - stock).max() < 1e-5
    assert sorted(heads) == sorted(states) == [(layer, n) for layer in range(LAYERS) for n in lengths]


def test_the_texts_may_come_by_place_or_as_embeddings() -> None:
    model = model_of("bert")
    batch = probe_batch(model)
    rows = []
    embeddings = model.embeddings.word_embeddings(batch["input_ids"])
    with torch.no_grad(), observe(model, on_heads=lambda heads: rows.append(heads.rows)):
        model(batch["input_ids"], batch["attention_mask"])
        model(inputs_embeds=embeddings, attention_mask=batch["attention_mask"])
        model(batch["input_ids"])
    assert rows == [(0, 3), (1,), (2,)] * LAYERS * 2 + [(0, 1, 2, 3)] * LAYERS


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([[1, 0, 1]], "text 0 of the batch .* has no token or padding between its tokens"),
        ([[0, 0, 0]], "text 0 of the batch .* has no token or padding between its tokens"),
        ([[1, 1, 1, 1]], r"Expected attention_mask \[texts, tokens\] = \[1, 3\], got \[1, 4\]"),
        ([[[[1, 1, 1]] * 3]], r"Expected attention_mask \[texts, tokens\] = \[1, 3\], got \[1, 1, 3, 3\]"),
    ],
)
def test_masks_that_are_no_padding_are_refused(mask: list[object], message: str) -> None:
    model = model_of("bert")
    with observe(model, on_heads=ignore), pytest.raises(ModelError, match=message):
        model(torch.tensor([[5, 6, 7]]), torch.tensor(mask))


def test_earlier_tokens_in_a_cache_are_refused() -> None:
    model = model_of("qwen2").float()
    with torch.no_grad():
        cache = model(torch.tensor([[5, 6, 7]]), use_cache=True).past_key_values
        with observe(model, on_heads=ignore):
            with pytest.raises(ModelError, match="Expected 1 queries and keys a text in .*got 1 and 4"):
                model(torch.tensor([[8]]), past_key_values=cache)


def test_packed_texts_are_refused() -> None:
    model = model_of("bert")
    with observe(model, on_heads=ignore), pytest.raises(ModelError, match="packed into one row"):
        model(torch.tensor([[5, 6, 7]]), cu_seq_lens_q=torch.tensor([0, 1, 3]))


def test_a_layer_called_by_itself_is_refused() -> None:
    model = model_of("bert")
    with observe(model, on_heads=ignore), pytest.raises(ModelError, match="Call the model, not its layers"):
        model.encoder.layer[0](torch.zeros(1, 3, 64, dtype=torch.float64))


def test_attention_that_runs_unseen_is_refused() -> None:
    """Something inside the `with` that exchanges the attention again must not make the callbacks silent."""
    model = model_of("bert")
    with observe(model, on_heads=ignore), divided_softmax(model, Temperature(0.7)):
        with pytest.raises(ArchitectureError, match="An attention layer of BertModel ran unseen"):
            model(**probe_batch(model))


def test_observing_twice_or_nothing_is_refused() -> None:
    model = model_of("bert")
    with pytest.raises(ModelError, match="Expected on_heads, on_states or both"), observe(model):
        pass
    with observe(model, on_heads=ignore):
        with pytest.raises(ArchitectureError, match="BertModel is observed already"), observe(model, on_states=ignore):
            pass
        assert hasattr(model, MARK)
    with observe(model, on_states=ignore):
        probe_states(model)


def test_two_models_may_be_observed_at_once() -> None:
    one, other = model_of("bert"), model_of("roberta")
    seen: list[str] = []
    with observe(one, on_heads=lambda _: seen.append("one")), observe(other, on_heads=lambda _: seen.append("other")):
        for model in (one, other):
            model(torch.tensor([[5, 6, 7]]))
    assert seen == ["one"] * LAYERS + ["other"] * LAYERS


def test_a_model_in_training_is_refused() -> None:
    model = model_of("bert").train()
    with pytest.raises(ArchitectureError, match=r"in evaluation mode.*Call model\.eval\(\) first"):
        with observe(model, on_heads=ignore):
            pass
    assert model.training


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # torch 2.13 meets its own advice on import
def test_a_compiled_model_is_refused() -> None:
    inside = model_of("bert")
    inside.encoder.layer[0].compile()
    forward = model_of("bert")
    forward.forward = torch.compile(forward.forward, backend="eager")
    for model in (torch.compile(model_of("bert")), inside, forward):
        with pytest.raises(ArchitectureError, match="its graph would show nothing"), observe(model, on_heads=ignore):
            pass


def test_a_static_model_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="A static or remote-code model has no attention"):
        with observe(nn.Sequential(nn.EmbeddingBag(9, 4)).eval(), on_heads=ignore):
            pass


def test_unknown_attention_is_refused_by_name() -> None:
    small = {"vocab_size": 99, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = AutoModel.from_config(AutoConfig.for_model("layoutlm", **small)).eval()
    with pytest.raises(ArchitectureError, match=r"Cannot observe LayoutLMModel\..*LayoutLMSelfAttention is not in"):
        with observe(model, on_heads=ignore):
            pass


def test_an_encoder_with_its_decoder_is_refused() -> None:
    model = T5Model(T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).eval()
    with pytest.raises(ArchitectureError, match=r"Cannot observe T5Model\..*Give the encoder"):
        with observe(model, on_heads=ignore):
            pass


def test_the_lists_of_refusals_name_rows_of_the_table() -> None:
    assert set(NO_MAP) | set(NO_STREAM) <= set(SPECS)


def test_the_states_of_a_model_with_sinks_are_observed_without_its_heads() -> None:
    assert len(look(model_of("gpt_oss"), whole_batch(model_of("gpt_oss")), states=True).states) == LAYERS


def test_maps_that_are_mixed_after_the_softmax_are_refused() -> None:
    """Talking heads of DeBERTa: what meets the values is no softmax any more."""
    model = build("deberta")
    for layer in model.encoder.layer:
        layer.attention.self.head_weights_proj = nn.Linear(4, 4, bias=False, dtype=torch.float64).eval()
    with pytest.raises(ArchitectureError, match="No softmax over keys followed by a product with the values"):
        with stay_double(), observe(model, on_heads=ignore):
            pass


@pytest.mark.parametrize("name", ["bert", "cohere", "mpnet"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    """Whether heads or states are wanted: the search for the stream must not be the first to meet them."""
    model = build(name)
    next(weight for path, weight in model.named_parameters() if "layer" in path and weight.ndim == 2).data[0] = bad
    for wanted in ({"on_heads": ignore}, {"on_states": ignore}):
        with pytest.raises(
            ArchitectureError, match="Model gives NaN or infinity for a few tokens.* load it in float32"
        ):
            with observe(model, **wanted):
                pass
    support = find_support(model)
    assert "NaN or infinity" in support.heads
    assert "NaN or infinity" in support.states


def test_attention_that_is_more_than_its_map_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument that only the model's own attention knows would be lost in silence: the probe must see it."""
    import transformers.models.bert.modeling_bert as code

    stock = code.eager_attention_forward

    def doubled(*args: object, **keys: object) -> tuple[torch.Tensor, torch.Tensor]:
        output, weights = stock(*args, **keys)
        return 2 * output, weights

    monkeypatch.setattr(code, "eager_attention_forward", doubled)
    with pytest.raises(ArchitectureError, match="BertModel must give the same states observed and unobserved"):
        with observe(model_of("bert"), on_heads=ignore):
            pass


def test_a_softmax_over_something_else_is_not_caught() -> None:
    with CaughtSoftmax() as caught:
        torch.softmax(torch.zeros(2, 4, 5, 5), 1)
        torch.softmax(torch.zeros(2, 4, 5, 6), -1)
        torch.softmax(torch.zeros(5, 5), -1)
    assert caught.scores is None
    values = torch.arange(10.0).reshape(1, 1, 5, 2)
    with CaughtSoftmax() as caught:
        torch.matmul(torch.softmax(torch.zeros(1, 1, 5, 5).double(), -1).float().double(), values.double())
    assert caught.value is not None
    assert torch.equal(caught.value, values.double())
    assert distance(caught.output, values.mean(2, keepdim=True).expand(1, 1, 5, 2).double()) <= 1e-6


@pytest.fixture(scope="module")
def bundled() -> SentenceTransformer:
    return load("minilm", device="cpu", max_tokens="table").model


TEXTS = ["Long texts drift together. " * 30, "A short one.", "Frequencies over token positions, by head. " * 8]


@pytest.mark.real
def test_the_bundled_models_maps_are_its_own(bundled: SentenceTransformer) -> None:
    inner = backbone(bundled)
    for text in TEXTS:
        tokens = bundled.tokenize([text])
        batch = {key: tokens[key] for key in ("input_ids", "attention_mask")}
        maps: list[torch.Tensor] = []
        with torch.no_grad(), observe(bundled, on_heads=lambda heads, to=maps: to.append(heads.logits.map())):
            inner(**batch)
        inner.set_attn_implementation("eager")
        wanted = given_maps(inner, batch)
        inner.set_attn_implementation("sdpa")
        assert len(maps) == len(wanted) == 6
        assert max(distance(seen, own) for seen, own in zip(maps, wanted, strict=True)) <= 1e-5


@pytest.mark.real
def test_the_bundled_model_encodes_as_before(bundled: SentenceTransformer) -> None:
    """What observing costs is measured by benchmarks/probe.py."""
    texts, stages = TEXTS * 4, list[int]()
    stock = bundled.encode(texts, show_progress_bar=False)
    with observe(bundled, on_heads=ignore, on_states=lambda states: stages.append(len(states.stages))):
        vectors = bundled.encode(texts, show_progress_bar=False)
    assert abs(vectors - stock).max() <= 1e-5
    assert set(stages) == {7}
