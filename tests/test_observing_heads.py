"""Laws of observed attention, over every architecture of the table."""

import pytest
import torch
from torch import nn

from architectures import CONFIGS, HEADS, LAYERS, build, stay_double
from observing_examples import (
    HEADS_REFUSED,
    OBSERVED,
    alone,
    given_maps,
    left_padded,
    literal_maps,
    look,
    look_at_all,
    one_thread,
    seen_of,
    support_of,
    whole_batch,
)
from test_attention import EXACT, READS_PADDING, distance, model_of
from uncollapse.attention.observing import Heads, Logits, observe
from uncollapse.attention.observing.interface import Call, shown_logits, whole_scores
from uncollapse.attention.observing.spans import find_spans
from uncollapse.attention.patching import patch
from uncollapse.attention.probes import PROBE_LENGTHS, probe_batch
from uncollapse.attention.temperature import Temperature
from uncollapse.errors import ArchitectureError, ModelError

GIVES_SCORES = {"squeezebert"}
"""Architectures that give their scores where others give their attention weights."""

SEEN_AS_SCORES = {
    *("roformer", "rembert", "megatron-bert", "big_bird", "xlm", "squeezebert", "convbert", "xlnet", "mpnet"),
    *("deberta", "deberta-v2", "deberta-v2-shared", "bloom", "mpt"),
}
BIASED = {"t5", "mt5", "umt5"}
WINDOWED = {"modernbert", "mistral", "gemma3", "embedding_gemma2", "gemma2", "gemma2-uncapped", "t5gemma"}
CAPPED = {"gemma2", "t5gemma"}
_CAUSAL = """llama mistral ministral3 qwen2 gemma granite qwen3 qwen3_moe lfm2 olmo2 cohere cohere-plain phi phi-normed
phi3 gpt2 gpt_neox gemma2 gemma2-uncapped mistral4 llama4 llama4-normed nanochat bloom mpt"""
CAUSAL = set(_CAUSAL.split())
OWN_POSITIONS = {"lfm2", "bloom", "mpt"}
"""Causal models that take no position_ids to say where a text begins."""
LEFT = [*sorted(CAUSAL - OWN_POSITIONS), "gemma3"]


single = pytest.fixture(scope="module", autouse=True)(one_thread)


@pytest.mark.parametrize("name", CONFIGS)
def test_heads_are_observed_or_refused_by_name(name: str) -> None:
    reason = support_of(name).heads
    assert (reason == "") == (name in OBSERVED)
    if wanted := HEADS_REFUSED.get(name):
        model = model_of(name)
        assert wanted in reason
        with pytest.raises(ArchitectureError, match=type(model).__name__.replace("Model", "")):
            with observe(model, on_heads=print):
                pass


@pytest.mark.parametrize("name", OBSERVED)
def test_map_is_what_eager_attention_computes(name: str) -> None:
    model = model_of(name)
    batch = whole_batch(model)
    seen = seen_of(name, "heads")[0].heads
    literal, given = literal_maps(model, batch), given_maps(model, batch)
    assert [heads.layer for heads in seen] == list(range(LAYERS)) == list(range(len(literal)))
    for heads, wanted, own in zip(seen, literal, given, strict=True):
        maps = heads.logits.map()
        assert maps.shape == (2, HEADS, 17, 17)
        assert distance(maps, wanted) <= EXACT
        assert distance(maps, own.softmax(-1) if name in GIVES_SCORES else own) <= EXACT
        assert distance(heads.output, maps @ heads.value) <= EXACT


@pytest.mark.parametrize("name", OBSERVED)
def test_observing_changes_nothing_that_the_model_gives(name: str) -> None:
    model = model_of(name)
    batch = probe_batch(model)
    real = batch["attention_mask"].bool()
    with stay_double(), torch.no_grad():
        wanted = model(**batch)[0]
    assert distance(seen_of(name, "heads")[1].output[real], wanted[real]) <= EXACT


@pytest.mark.parametrize("name", OBSERVED)
def test_padding_never_enters(name: str) -> None:
    _, together, apart = seen_of(name, "heads")
    assert [heads.rows for heads in together.heads] == [(0, 3), (1,), (2,)] * LAYERS
    for row, (text, length) in enumerate(zip(apart, PROBE_LENGTHS, strict=True)):
        for (heads, place), own in zip(together.heads_of(row), text.heads, strict=True):
            assert (heads.layer, heads.n) == (own.layer, own.n) == (own.layer, length)
            assert heads.logits.streams == own.logits.streams
            if name not in READS_PADDING:
                assert distance(heads.logits.map()[place], own.logits.map()[0]) <= 1e-10
                assert distance(heads.output[place], own.output[0]) <= 1e-10


@pytest.mark.parametrize("name", LEFT)
def test_padding_on_the_left_never_enters(name: str) -> None:
    model = model_of(name)
    batch = left_padded(model)
    together, *apart = look_at_all(model, [batch, *alone(batch)], heads=True)
    for row, text in enumerate(apart):
        for (heads, place), own in zip(together.heads_of(row), text.heads, strict=True):
            assert distance(heads.logits.map()[place], own.logits.map()[0]) <= 1e-10
            assert distance(heads.output[place], own.output[0]) <= 1e-10


@pytest.mark.parametrize("name", OBSERVED)
def test_logits_under_a_temperature_are_the_divided_ones(name: str) -> None:
    model, temperature = model_of(name), Temperature(0.7)
    batch = whole_batch(model)
    stock = seen_of(name, "heads")[0].heads[0].logits
    with patch(model, temperature):
        seen = look(model, batch, heads=True).heads
        literal = literal_maps(model, batch)
    assert distance(seen[0].logits.scores().exp(), (stock.scores() / 0.7).exp()) <= EXACT
    assert distance(seen[0].logits.map(), stock.map(1 / 0.7)) <= EXACT
    assert distance(seen[0].logits.map(), stock.map()) > 1e-3
    for heads, wanted in zip(seen, literal, strict=True):
        assert distance(heads.logits.map(), wanted) <= EXACT


@pytest.mark.parametrize("name", ["albert", "modernbert", "t5", "gemma2", "mpnet", "llama4-normed", "xlnet", "bloom"])
def test_a_temperature_may_come_and_go_inside(name: str) -> None:
    """Patched after observing began, the model shows what it shows patched before; afterwards what it showed first."""
    model, temperature = model_of(name), Temperature(0.7)
    batch = whole_batch(model)
    with patch(model, temperature):
        wanted = look(model, batch, heads=True).heads
    seen = []
    with stay_double(), torch.no_grad(), observe(model, on_heads=seen.append):
        model(**batch)
        with patch(model, temperature):
            model(**batch)
        model(**batch)
    for layer in range(LAYERS):
        before, inside, after = (seen[layer + LAYERS * part].logits.map() for part in range(3))
        assert torch.equal(before, after)
        assert torch.equal(inside, wanted[layer].logits.map())
        assert distance(before, inside) > 1e-3


@pytest.mark.parametrize("name", OBSERVED)
def test_logits_stream_only_where_they_are_query_times_key(name: str) -> None:
    for heads in seen_of(name, "heads")[0].heads:
        logits = heads.logits
        unmasked = bool(torch.isfinite(logits.scores()).all())
        assert logits.streams == (name not in SEEN_AS_SCORES | BIASED)
        assert logits.plain == (unmasked and name not in SEEN_AS_SCORES | BIASED | CAPPED)
        assert (logits.query is None) == (logits.key is None) == (name in SEEN_AS_SCORES)
        assert logits.softcap == (5.0 if name in CAPPED else None)
        assert unmasked or name in CAUSAL | WINDOWED


@pytest.mark.parametrize("name", sorted(CAUSAL - WINDOWED))
def test_a_causal_model_looks_back_only(name: str) -> None:
    for heads in seen_of(name, "heads")[1].heads:
        open_to = torch.isfinite(heads.logits.scores())
        assert torch.equal(open_to, torch.ones_like(open_to).tril())


@pytest.mark.parametrize("name", sorted(WINDOWED))
def test_windows_are_seen_where_they_are(name: str) -> None:
    far = torch.ones(17, 17).tril(-9).bool()
    config = model_of(name).config.get_text_config()
    windowed = ["sliding_attention"] * LAYERS if name == "mistral" else config.layer_types
    assert "sliding_attention" in windowed
    for heads, kind in zip(seen_of(name, "heads")[0].heads, windowed, strict=True):
        assert bool(heads.logits.map()[..., far].any()) == (kind == "full_attention")


def test_scores_are_query_times_key_under_a_cap_plus_a_bias() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    bias = torch.randn(1, 3, 5, 5, generator=generator, dtype=torch.float64)
    wanted = torch.tanh(torch.einsum("bhid,bhjd->bhij", query, key) * 0.3 / 2) * 2 + bias
    logits = Logits(query, key, 0.3, bias, 2.0)
    assert distance(logits.scores(), wanted) <= EXACT
    factors = torch.tensor([0.5, 1.0, 2.0])[:, None, None]
    assert distance(logits.map(factors), torch.softmax(wanted * factors, -1)) <= EXACT
    assert distance(logits.map(3.0), Logits(formed=wanted).map(3.0)) <= EXACT


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("place", ["left", "right"])
def test_bias_is_the_position_bias_where_a_token_may_look(place: str, additive: bool) -> None:
    """A causal model with a position bias and padding, which no encoder of the table is, against plain loops."""
    generator = torch.Generator().manual_seed(0)
    query, position = (torch.randn(shape, generator=generator) for shape in ((2, 3, 6, 4), (1, 3, 6, 6)))
    real = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6]).bool()
    real = real.flip(1) if place == "left" else real
    allowed = real[:, None, None, :] & torch.ones(6, 6).tril().bool()
    mask = torch.where(allowed, 0.0, torch.finfo(torch.float32).min) if additive else allowed
    call = Call(nn.Identity(), query, query, query, mask, {"position_bias": position})
    short, whole = find_spans(real, 2, 6)
    for span in (short, whole):
        nothing = torch.zeros(len(span.rows), 3, span.n, 4)
        bias = shown_logits(call, span, nothing, nothing).scores()
        for i in range(span.n):
            for j in range(span.n):
                wanted = position[0, :, span.start + i, span.start + j] if j <= i else torch.full((3,), -torch.inf)
                assert torch.equal(bias[0, :, i, j], wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_are_under_autocast_what_they_are_without(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 3, 9, 4, generator=generator) for _ in range(2))
    logits, call = Logits(query, key, 0.3), Call(nn.Identity(), query, key, key, None, {"is_causal": True})
    scores, seen, whole = logits.scores(), logits.map(2.0), whole_scores(call)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(logits.scores(), scores)
        assert torch.equal(logits.map(2.0), seen)
        assert torch.equal(whole_scores(call), whole)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_an_inverse_temperature_must_be_positive(factor: float) -> None:
    with pytest.raises(ModelError, match="finite inverse temperature > 0, got"):
        Logits(formed=torch.zeros(1, 1, 2, 2)).map(factor)


@pytest.mark.parametrize("name", ["bert", "qwen2", "gemma2", "t5", "mpnet", "bloom", "mpt"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_taken_to_float32(name: str, dtype: torch.dtype) -> None:
    model = build(name, dtype=dtype)
    seen: list[torch.Tensor] = []

    def on_heads(heads: Heads) -> None:
        scores = heads.logits.scores()
        assert scores.dtype == heads.logits.map().dtype == torch.float32
        assert heads.output.dtype == dtype
        # A mask of the model's lowest number would be a score like any other.
        assert float(scores[torch.isfinite(scores)].abs().max()) < 1e4
        seen.append(heads.logits.map().sum(-1))

    with torch.no_grad(), observe(model, on_heads=on_heads):
        model(**probe_batch(model))
    assert distance(torch.cat([rows.flatten() for rows in seen]), torch.ones(())) <= 1e-5


def test_shared_layers_are_counted_by_their_calls() -> None:
    """ALBERT runs one module three times: three different maps, once for each layer, in every pass."""
    model = model_of("albert")
    seen = []
    with stay_double(), torch.no_grad(), observe(model, on_heads=seen.append):
        for _ in range(2):
            model(**whole_batch(model))
    assert [heads.layer for heads in seen] == [0, 1, 2, 0, 1, 2]
    assert distance(seen[0].logits.map(), seen[3].logits.map()) == 0
    assert distance(seen[0].logits.map(), seen[1].logits.map()) > 1e-3


def test_spans_group_texts_by_where_they_lie() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]])
    spans = find_spans(mask, 4, 4)
    assert [(span.rows, span.start, span.n) for span in spans] == [((0, 2), 0, 2), ((1,), 2, 2), ((3,), 0, 4)]
    tokens = torch.arange(16).reshape(4, 4)
    assert [span.cut(tokens, 1).tolist() for span in spans] == [[[0, 1], [8, 9]], [[6, 7]], [[12, 13, 14, 15]]]


def test_without_padding_nothing_is_copied() -> None:
    model = model_of("bert")
    stored = []
    model.encoder.layer[0].attention.self.query.register_forward_hook(
        lambda *call: stored.append(call[2].untyped_storage().data_ptr())
    )
    seen = look(model, whole_batch(model), heads=True)
    assert seen.heads[0].logits.query.untyped_storage().data_ptr() == stored[-1]
