"""Temperatures by length: for each text alone, a law is the temperature it gives at the text's own token count."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from architectures import CONFIGS, LAYERS, stay_double
from observing_examples import alone, one_thread
from test_attention import EXACT, READS_PADDING, distance, model_of, same, snapshot, states_of
from uncollapse.attention.batches import token_counts
from uncollapse.attention.folding import fold
from uncollapse.attention.laws import LAWS, TemperatureLaw
from uncollapse.attention.patching import MARK, patch
from uncollapse.attention.sites import find_sites
from uncollapse.attention.temperature import Temperature
from uncollapse.attention.verification import divided_softmax, probe_batch, probe_states
from uncollapse.errors import ArchitectureError, ModelError, NotationError
from uncollapse.fixes import parse

EXAMPLES = {
    "log": TemperatureLaw("log", n0=12),
    "sqrtlog": TemperatureLaw("sqrtlog", n0=12),
    "infoscale": TemperatureLaw("infoscale", n0=12),
    "ssmax": TemperatureLaw("ssmax", scale=0.5),
    "isofilter": TemperatureLaw("isofilter", n0=12, spread=0.8),
}
LAW = EXAMPLES["log"]
REFUSED = {
    **dict.fromkeys(("deberta", "deberta-v2", "deberta-v2-shared"), "serve the relative positions too"),
    "xlnet": "query is made by parameters",
    **dict.fromkeys(("gemma2", "t5gemma"), "'attn_logit_softcapping' is one number for every text"),
    "gpt_oss": "sinks are the same for every text",
    "llama4-normed": "'scaling' is one number for every text",
    **dict.fromkeys(("bloom", "mpt"), "multiplied by one number for every text"),
}
"""Architecture to why its texts cannot each have their own temperature."""

TAKEN = [name for name in CONFIGS if name not in REFUSED]
DECODERS = ("qwen2", "qwen3", "gpt2", "gemma3", "modernbert")

_quiet = pytest.fixture(autouse=True, scope="module")(one_thread)


def at(law: TemperatureLaw, model: PreTrainedModel, n: int) -> Temperature:
    """The temperature that a law gives texts of n tokens, one a layer where heads differ in width."""
    widths = {layer: site.head_dim for site in find_sites(model) for layer in site.layers}
    return Temperature([law.at(n, widths[layer]).tau for layer in sorted(widths)])


def one_by_one(model: PreTrainedModel, law: TemperatureLaw, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """States of every text alone under a temperature of its own, taken literally."""
    states = []
    for text in alone(batch):
        with stay_double(), divided_softmax(model, at(law, model, text["input_ids"].shape[1])):
            states.append(probe_states(model, text))
    return states


def test_every_law_has_an_example() -> None:
    assert set(EXAMPLES) == set(LAWS)


@pytest.mark.parametrize("name", TAKEN)
def test_each_text_has_the_temperature_of_its_own_length(name: str) -> None:
    """Batched and padded, or alone where the stock model itself mixes its texts with their padding."""
    model = model_of(name)
    batch = probe_batch(model, [24] if name in READS_PADDING else [24, 9, 17])
    wanted = torch.cat(one_by_one(model, LAW, batch))
    with stay_double(), patch(model, LAW):
        assert distance(probe_states(model, batch), wanted) <= EXACT
    assert distance(wanted, states_alone(model, batch)) > 1e-3, "the law must move the output, or nothing was tested"


def states_alone(model: PreTrainedModel, text: dict[str, torch.Tensor]) -> torch.Tensor:
    with stay_double():
        return probe_states(model, text)


@pytest.mark.parametrize("law", EXAMPLES.values(), ids=str)
@pytest.mark.parametrize("name", ["bert", "embedding_gemma2", "mpnet", "t5"])
def test_every_law_is_its_own_temperature(name: str, law: TemperatureLaw) -> None:
    model = model_of(name)
    batch = probe_batch(model, [19, 5])
    with stay_double(), patch(model, law):
        together = probe_states(model, batch)
    assert distance(together, torch.cat(one_by_one(model, law, batch))) <= EXACT


@pytest.mark.parametrize("name", DECODERS)
def test_padding_may_stand_on_the_left(name: str) -> None:
    model = model_of(name)
    right = probe_batch(model)
    mask = right["attention_mask"].flip(1)
    ids = torch.zeros_like(right["input_ids"])
    ids[mask.bool()] = right["input_ids"][right["attention_mask"].bool()]
    left = {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    with stay_double(), patch(model, LAW):
        states = probe_states(model, left)
    assert distance(states, torch.cat(one_by_one(model, LAW, right))) <= EXACT


def packed(batch: dict[str, torch.Tensor], first: int = 0) -> dict[str, torch.Tensor]:
    """The texts of a padded batch in one row, with positions that start anew."""
    lengths = batch["attention_mask"].sum(1).tolist()
    ids = torch.cat([text["input_ids"] for text in alone(batch)], 1)
    positions = torch.cat([torch.arange(first, first + n) for n in lengths])[None]
    return {"input_ids": ids, "position_ids": positions}


def varlen_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What a flash kernel does with packed texts: each attends to itself."""
    number = torch.bucketize(torch.arange(query.shape[2]), cu_seq_lens_q[1:-1].long(), right=True)
    mask = number[:, None] == number
    mask = mask.tril() if getattr(module, "is_causal", False) else mask
    return sdpa_attention_forward(module, query, key, value, mask[None, None], **options)


@pytest.fixture
def varlen() -> Iterator[str]:
    AttentionInterface.register("packed_in_tests", varlen_attention)
    yield "packed_in_tests"
    del AttentionInterface._global_mapping["packed_in_tests"]


@pytest.mark.parametrize("name", ["bert", "roberta", "gte", "nomic_bert", "eurobert", "qwen3", "llama", "gpt2"])
def test_packed_texts_keep_their_own_lengths(name: str, varlen: str) -> None:
    model = model_of(name)
    batch = probe_batch(model, [19, 5, 11])
    wanted = torch.cat(one_by_one(model, LAW, batch))
    model.set_attn_implementation(varlen)
    row = packed(batch, first=2 if name == "roberta" else 0)
    with stay_double(), torch.no_grad(), patch(model, LAW):
        states = model(**row, cu_seq_lens_q=torch.tensor([0, 19, 24, 35], dtype=torch.int32))[0][0]
    assert distance(states, wanted) <= EXACT


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3"])
def test_packed_texts_are_told_apart_by_their_positions(name: str) -> None:
    model = model_of(name)
    batch = probe_batch(model, [19, 5, 11])
    with stay_double(), torch.no_grad(), patch(model, LAW):
        states = model(**packed(batch), use_cache=False)[0][0]
    assert distance(states, torch.cat(one_by_one(model, LAW, batch))) <= EXACT


@pytest.mark.parametrize("name", ["bert", "modernbert", "qwen3", "gemma3"])
def test_sdpa_agrees_with_eager(name: str) -> None:
    model = model_of(name)
    with patch(model, LAW):
        eager = states_of(model)
        model.set_attn_implementation("sdpa")
        assert distance(states_of(model), eager) <= EXACT


def test_token_counts_of_packed_batches_are_read_from_their_ends() -> None:
    packed = {"input_ids": torch.ones(1, 6), "cu_seq_lens_q": torch.tensor([0, 2, 5, 6])}
    assert token_counts(packed).tolist() == [[2, 2, 3, 3, 3, 1]]
    shifted = {"input_ids": torch.ones(2, 3), "position_ids": torch.tensor([[2, 3, 2]])}
    assert token_counts(shifted).tolist() == [[2, 2, 1]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "Expected input_ids or inputs_embeds as a tensor"),
        ({"attention_mask": torch.ones(2, 4)}, r"attention_mask \[rows, tokens\] = \[2, 3\], got \[2, 4\]"),
        ({"attention_mask": {}}, "got dict"),
        ({"cu_seq_lens_q": torch.tensor([0, 6])}, "Expected packed texts in one row of 6 tokens .* got 2 of 3"),
        ({"position_ids": torch.tensor([[0, 0, 1]])}, None),
        ({"position_ids": torch.tensor([[0, 5, 6]])}, "position_ids that count up by one"),
        ({"position_ids": torch.ones(3, 2, 3)}, r"Expected position_ids \[rows, tokens\] with 3 tokens, got \[3, 2"),
        ({"lengths": torch.tensor([3, 3])}, "got `lengths`"),
    ],
)
def test_batches_whose_texts_cannot_be_told_apart_are_refused(arguments: dict[str, object], said: str | None) -> None:
    given = arguments if not arguments else {"input_ids": torch.ones(2, 3), **arguments}
    if said is None:
        assert token_counts(given).tolist() == [[1, 2, 2]]
        return
    with pytest.raises(ModelError, match=said):
        token_counts(given)


@pytest.mark.parametrize(("name", "said"), REFUSED.items())
def test_logits_without_an_entry_a_text_are_refused_by_name(name: str, said: str) -> None:
    model = model_of(name)
    before = snapshot(model)
    with pytest.raises(ArchitectureError, match=f"{said}.*Use a constant temperature"), patch(model, LAW):
        pass
    assert same(before, snapshot(model))


@pytest.mark.parametrize("name", ["bert", "albert", "t5", "umt5", "mpnet", "longformer", "qwen3"])
def test_a_law_restores_bit_for_bit(name: str) -> None:
    model = model_of(name)
    before, stock, own = snapshot(model), states_of(model), [set(vars(module)) for module in model.modules()]
    with patch(model, LAW), patch(model, EXAMPLES["ssmax"]):
        assert getattr(model, MARK) == (LAW, EXAMPLES["ssmax"])
        assert distance(states_of(model), stock) > 1e-3
    assert same(before, snapshot(model))
    assert [set(vars(module)) for module in model.modules()] == own
    assert torch.equal(states_of(model), stock)


def test_an_interrupted_pass_leaves_no_counts() -> None:
    model = model_of("bert")
    with patch(model, LAW):
        wanted = states_of(model)
        with pytest.raises(IndexError):
            model(input_ids=torch.full((1, 4), 10**6), attention_mask=torch.ones(1, 4))
        with pytest.raises(ModelError, match="Call the model, not its layers"):
            model.encoder.layer[0](torch.zeros(1, 4, 64, dtype=torch.float64))
        assert torch.equal(states_of(model), wanted)


def test_a_law_does_not_fold_but_its_temperature_does() -> None:
    model = model_of("bert")
    with pytest.raises(ArchitectureError, match=r"can carry temperature\(law=log, n0=12\).*Export buckets instead"):
        fold(model, LAW)
    text = alone(probe_batch(model))[0]
    with patch(model, LAW):
        wanted = states_alone(model, text)
    fold(model, LAW.at(text["input_ids"].shape[1]))
    assert distance(states_alone(model, text), wanted) <= EXACT


@given(st.integers(1, 10**6), st.integers(2, 10**6))
def test_laws_follow_their_formulas(n: int, n0: int) -> None:
    count, d, s = max(n, 2), 32, 1.3
    wanted = {
        TemperatureLaw("log", n0=n0): math.log(count) / math.log(n0),
        TemperatureLaw("sqrtlog", n0=n0): math.sqrt(math.log(count) / math.log(n0)),
        TemperatureLaw("infoscale", n0=n0): math.sqrt((1 - count ** (-2 / d)) / (1 - n0 ** (-2 / d))),
        TemperatureLaw("ssmax", scale=0.2): 0.2 * math.log(count),
        TemperatureLaw("isofilter", n0=n0, spread=s): math.sqrt(
            math.log(1 + count / n0 * (math.exp(s * s) - 1)) / s**2
        ),
    }
    for law, inverse in wanted.items():
        assert 1 / law.at(n, d).tau == pytest.approx(inverse, rel=1e-9)


@pytest.mark.parametrize("law", EXAMPLES.values(), ids=str)
def test_laws_rise_and_are_neutral_at_their_reference(law: TemperatureLaw) -> None:
    taus = [law.at(n, 32).tau for n in (2, 5, 12, 13, 100, 10_000)]
    assert taus == sorted(taus, reverse=True)
    neutral = 12 if law.n0 else round(math.exp(1 / law.scale))
    assert law.at(neutral, 32).tau == pytest.approx(1, rel=0.1 if law.scale else 1e-12)
    sharper = TemperatureLaw(law.law, law.n0, above_only=True, scale=law.scale, spread=law.spread)
    assert [sharper.at(n, 32).tau for n in (2, 5, 100)] == [1.0, 1.0, law.at(100, 32).tau]


@pytest.mark.parametrize(("spread", "tau"), [(0.01, 0.1), (0.9999, 0.4388), (1.0001, 0.4388), (30.0, 1.0), (1e3, 1.0)])
def test_isofilter_is_stable_at_any_spread(spread: float, tau: float) -> None:
    law = TemperatureLaw("isofilter", n0=100, spread=spread)
    assert law.at(100).tau == pytest.approx(1, rel=1e-12)
    assert law.at(10_000).tau == pytest.approx(tau, rel=0.01)


@pytest.mark.parametrize("law", [*EXAMPLES.values(), TemperatureLaw("log", n0=64, above_only=True)], ids=str)
def test_notation_and_json_read_back_what_they_print(law: TemperatureLaw) -> None:
    assert parse(str(law)) == law
    assert TemperatureLaw.from_json(json.loads(json.dumps(law.to_json()))) == law
    assert parse("temperature(0.8)") == Temperature(0.8)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("temperature(law=logg, n0=9)", r"temperature\(law=logg\).*Did you mean 'log'"),
        ("temperature(law=3, n0=9)", "Known laws: log, sqrtlog"),
        ("temperature(law=log)", r"temperature\(law=log\)` needs n0. Write temperature\(law=log, n0=128\)"),
        ("temperature(law=ssmax, n0=9, scale=1)", r"law=ssmax\)` knows no n0. Write .*scale=0.2\)"),
        ("temperature(law=isofilter, n0=9)", "needs spread"),
        ("temperature(law=log, n0=9, spread=1)", "knows no spread"),
        ("temperature(law=log, n0=1)", "n0 must be a whole number from 2, got 1"),
        ("temperature(law=log, n0=64.5)", "n0 must be a whole number from 2, got 64.5"),
        ("temperature(law=log, n0=9, above_only=yes)", "above_only must be True or False, got 'yes'"),
        ("temperature(law=ssmax, scale=0)", "scale must be finite and > 0"),
        ("temperature(law=ssmax, scale=nan)", "scale must be finite and > 0"),
        ("temperature(law=isofilter, n0=9, spread=1e9)", "spread must be finite and > 0"),
        ("temperature(law=log, n0=9, tau=1)", r"Expected temperature\(law, n0, above_only, scale, spread\)"),
        ("temperature(0.8, law=log)", r"Expected temperature\(law, n0"),
    ],
)
def test_impossible_laws_are_refused(text: str, said: str) -> None:
    with pytest.raises(NotationError, match=said):
        parse(text)


def test_impossible_uses_of_a_law_are_refused() -> None:
    with pytest.raises(NotationError, match="head_dim for infoscale"):
        EXAMPLES["infoscale"].at(12)
    with pytest.raises(NotationError, match="expected n > 0"):
        LAW.at(0)
    with pytest.raises(NotationError, match=r'Expected {"fix": "temperature", "law"'):
        TemperatureLaw.from_json({"fix": "temperature", "law": "log", "n": 3})
    with (
        pytest.raises(NotationError, match="Expected a fix that acts on a model, got 'x'"),
        patch(model_of("bert"), "x"),
    ):
        pass
    with pytest.raises(NotationError, match="Expected a fix that acts on a model, got 'x'"):
        fold(model_of("bert"), "x")


def test_a_law_composes_with_a_temperature() -> None:
    model = model_of("bert")
    text = alone(probe_batch(model))[0]
    both = 1 / (LAW.at(text["input_ids"].shape[1]).tau * 0.8)
    with patch(model, LAW), patch(model, Temperature([0.8] * LAYERS)):
        states = states_alone(model, text)
    with patch(model, Temperature(1 / both)):
        assert distance(states_alone(model, text), states) <= EXACT
