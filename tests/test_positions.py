"""Longer tables of positions and slower rotations: exactly the stock model at other positions."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import PreTrainedModel

from architectures import CONFIGS, ENCODER_CLASSES, stay_double
from observing_examples import one_thread
from test_attention import EXACT, distance, model_of, same, snapshot
from uncollapse.attention.folding import fold
from uncollapse.attention.limits import token_limit
from uncollapse.attention.modelfixes import ModelFix
from uncollapse.attention.patching import MARK, patch
from uncollapse.attention.positions import MODES, ROPES, Positions, Rope
from uncollapse.attention.postables import TABLES
from uncollapse.attention.stamps import folded_fixes
from uncollapse.attention.temperature import Temperature
from uncollapse.attention.verification import probe_batch, verify
from uncollapse.errors import ArchitectureError, NotationError
from uncollapse.fixes import parse

_quiet = pytest.fixture(autouse=True, scope="module")(one_thread)

TABLED = [name for name, (kind, _) in CONFIGS.items() if kind in TABLES]
AFTER_PADDING = {
    "camembert",
    "longformer",
    "mpnet",
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
    "nystromformer",
}
NO_IDS = {"xlm"}
"""Drops what it is given as position_ids."""


def positions_of(name: str) -> int:
    """How many tokens the tiny model's table has."""
    return {"distilbert": 64, "gpt2": 64, "xlm": 64, "nystromformer": 66}.get(
        name, 64 if name in AFTER_PADDING else 66
    )


def run(model: PreTrainedModel, **batch: Any) -> torch.Tensor:
    with stay_double(), torch.no_grad():
        states: torch.Tensor = model(**batch)[0]
    return states


def text(model: PreTrainedModel, n: int) -> dict[str, torch.Tensor]:
    return probe_batch(model, [n])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", TABLED)
def test_a_stretched_table_is_the_stock_model_at_other_positions(name: str, mode: str) -> None:
    model, length = model_of(name), positions_of(name)
    longest, offset = 2 * length - 1, 2 if name in AFTER_PADDING else 0
    place = torch.arange(longest)
    batch = text(model, longest)
    with patch(model, Positions(mode, longest)):
        stretched = run(model, **batch)
        with pytest.raises((IndexError, RuntimeError, ValueError)):
            run(model, **text(model, longest + 20))
    if name in NO_IDS or mode == "interpolated":
        assert stretched.shape[1] >= longest
        return
    old = place // 2 if mode == "grouped" else place % length
    ids = {"position_ids": (old + offset)[None], "token_type_ids": torch.zeros_like(batch["input_ids"])}
    if name in {"distilbert", "gpt2", "mpnet"}:
        del ids["token_type_ids"]
    assert distance(stretched, run(model, **batch, **ids)) <= EXACT


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", TABLED)
def test_a_table_is_restored_bit_for_bit(name: str, mode: str) -> None:
    model, length = model_of(name), positions_of(name)
    rows = model.config.max_position_embeddings
    before, weights = snapshot(model), {key: id(value) for key, value in model.named_parameters()}
    buffers, stock = {key: id(value) for key, value in model.named_buffers()}, run(model, **text(model, 20))
    with patch(model, Positions(mode, length)):
        assert same({**before, "hooks": 0}, {**snapshot(model), "hooks": 0}), "a table that is long enough stays"
    with patch(model, Positions(mode, length + 7)):
        assert model.config.max_position_embeddings == rows + 7
        assert getattr(model, MARK) == (Positions(mode, length + 7),)
        if mode == "recurrent":
            assert torch.equal(run(model, **text(model, 20)), stock)
    assert same(before, snapshot(model))
    assert {key: id(value) for key, value in model.named_parameters()} == weights
    assert {key: id(value) for key, value in model.named_buffers()} == buffers


def reload(model: PreTrainedModel, name: str, folder: Path) -> PreTrainedModel:
    model.save_pretrained(folder)
    kind = getattr(transformers, ENCODER_CLASSES.get(name, "AutoModel"))
    loaded: PreTrainedModel = kind.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    return loaded.eval()


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "distilbert", "albert", "gpt2", "nystromformer"])
@pytest.mark.parametrize("mode", MODES)
def test_a_folded_table_is_an_ordinary_checkpoint(name: str, mode: str, tmp_path: Path) -> None:
    model, fix = model_of(name), Positions(mode, 2 * positions_of(name))
    batch = text(model, fix.max_tokens)
    with patch(model, fix):
        wanted = run(model, **batch)
    assert len(fold(model, fix)) == 1
    assert torch.equal(run(model, **batch), wanted)
    loaded = reload(model, name, tmp_path)
    assert distance(run(loaded, **batch), wanted) <= EXACT
    assert folded_fixes(loaded.config) == (fix,)
    with pytest.raises(ArchitectureError, match=r"has positions\(.*in its weights already"):
        fold(loaded, fix)
    with patch(loaded, Temperature(0.5)):
        patched = run(loaded, **batch)
    fold(loaded, Temperature(0.5))
    assert folded_fixes(loaded.config) == (fix, Temperature(0.5))
    assert distance(run(loaded, **batch), patched) <= EXACT


def test_interpolation_is_a_line_between_old_positions() -> None:
    model = model_of("roberta")
    old = model.embeddings.position_embeddings.weight.detach()[2:].clone()
    with patch(model, Positions("interpolated", 127)):
        new = model.embeddings.position_embeddings.weight.detach()[2:]
        assert torch.equal(new[::2], old)
        assert distance(new[1::2], (old[1:] + old[:-1]) / 2) <= EXACT


@pytest.mark.parametrize(
    ("name", "fix", "said"),
    [
        ("bert", Positions("grouped", 20), "'bert' has 66 positions, and .* would take some away"),
        ("llama", Positions("grouped", 99), r"No table .* known for 'llama'. Its positions are rotations: use rope"),
        ("t5", Positions("grouped", 99), "No table of absolute positions is known for 't5'"),
        ("bert", Rope("ntk", 2), "Expected rotary positions .* got 'bert', which has none. A table"),
        ("roformer", Rope("ntk", 2), "got 'roformer', which has none"),
        ("t5gemma", Rope("ntk", 2), "got 't5gemma', which has none"),
        ("phi3", Rope("yarn", 2), r"The config of 'phi3' admits no rope\(type=yarn, factor=2.0\)"),
        ("gpt_oss", Rope("ntk", 2), r"of 'gpt_oss' are scaled already \(yarn\)"),
    ],
)
def test_what_cannot_be_stretched_is_refused_by_name(name: str, fix: ModelFix, said: str) -> None:
    model = model_of(name)
    before = snapshot(model)
    with pytest.raises(ArchitectureError, match=said), patch(model, fix):
        pass
    with pytest.raises(ArchitectureError, match=said):
        fold(model, fix)
    assert same(before, snapshot(model))


_ROPED = """nomic_bert gte jina_embeddings_v3 modernbert eurobert ultrabert llama mistral qwen2 gemma granite qwen3
lfm2 gemma3 embedding_gemma2 olmo2 esmc cohere phi gpt_neox gemma2 nanochat"""


@pytest.mark.parametrize("kind", ROPES)
@pytest.mark.parametrize("name", _ROPED.split())
def test_slower_rotations_are_a_model_made_so(name: str, kind: str, tmp_path: Path) -> None:
    """Patched, folded, and saved and loaded through transformers: one and the same model, and the config says so."""
    model, fix = model_of(name), Rope(kind, 2)
    before, batch = snapshot(model), text(model, 20)
    stock, limit = run(model, **batch), model.config.max_position_embeddings
    assert token_limit(model, fix) == 2 * limit
    with patch(model, fix):
        slowed = run(model, **batch)
    assert same(before, snapshot(model))
    assert torch.equal(run(model, **batch), stock)
    assert distance(slowed, stock) > 1e-4
    fold(model, fix)
    assert torch.equal(run(model, **batch), slowed)
    assert model.config.max_position_embeddings == 2 * limit
    # Frequencies are float32 in a loaded model, whatever its precision.
    assert distance(run(reload(model, name, tmp_path), **batch), slowed) <= 1e-5


@pytest.mark.parametrize("name", ["llama", "gte", "eurobert", "qwen3"])
def test_linear_is_the_stock_model_at_fractions_of_its_positions(name: str) -> None:
    model = model_of(name)
    batch = text(model, 20)
    wanted = run(model, **batch, position_ids=torch.arange(20)[None] / 2, use_cache=False)
    with patch(model, Rope("linear", 2)):
        assert distance(run(model, **batch), wanted) <= EXACT


def test_ntk_keeps_fast_rotations_and_divides_the_slowest() -> None:
    model = model_of("llama")
    old = model.rotary_emb.inv_freq.clone()
    with patch(model, Rope("ntk", 4)):
        ratio = old / model.rotary_emb.inv_freq
    assert float(ratio[0]) == 1
    assert float(ratio[-1]) == pytest.approx(4, rel=1e-5)
    assert bool((ratio.diff() > 0).all())


def test_yarn_keeps_fast_rotations_and_sharpens() -> None:
    model = model_of("llama")
    old = model.rotary_emb.inv_freq.clone()
    with patch(model, Rope("yarn", 4)):
        ratio, scaling = old / model.rotary_emb.inv_freq, model.rotary_emb.attention_scaling
    assert float(ratio[-1]) == pytest.approx(4, rel=1e-5)
    assert bool((ratio >= 1 - 1e-6).all())
    assert scaling == pytest.approx(0.1 * torch.tensor(4.0).log().item() + 1)


def test_layers_with_a_window_keep_their_rotations() -> None:
    model = model_of("gemma3")
    rotary = model.rotary_emb
    with patch(model, Rope("linear", 4)):
        slowed = model.rotary_emb
    assert torch.equal(slowed.sliding_attention_inv_freq, rotary.sliding_attention_inv_freq)
    assert distance(4 * slowed.full_attention_inv_freq, rotary.full_attention_inv_freq) <= 1e-7


def test_rotations_of_another_making_are_refused() -> None:
    model = model_of("llama")
    model.rotary_emb.inv_freq = model.rotary_emb.inv_freq * 1.01
    with pytest.raises(ArchitectureError, match="are not those of the config"), patch(model, Rope("ntk", 2)):
        pass


def test_a_factor_of_one_touches_nothing() -> None:
    model = model_of("llama")
    rotary, before = model.rotary_emb, snapshot(model)
    with patch(model, Rope("yarn", 1)):
        assert model.rotary_emb is rotary
        assert not hasattr(model, MARK)
        assert same(before, snapshot(model))


def test_the_new_limit_is_told() -> None:
    model = model_of("bert")
    assert token_limit(model, Positions("grouped", 512)) == 512
    assert token_limit(model, Temperature(0.8)) is None
    assert token_limit(model_of("llama"), Rope("ntk", 4)) == 256
    assert token_limit(model_of("llama"), Rope("ntk", 1)) is None


def test_verify_compares_a_folded_table_with_the_patched_one() -> None:
    stock, folded = model_of("bert").float(), model_of("bert").float()
    fix = Positions("grouped", 132)
    fold(folded, fix)
    assert verify(stock, fix, folded).effect > 0.01
    other = model_of("bert").float()
    fold(other, Positions("interpolated", 132))
    with pytest.raises(ArchitectureError, match="The folded model must equal the patched"):
        verify(stock, fix, other)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("positions(mode=groups, max_tokens=99)", "no mode 'groups'. Did you mean 'grouped'"),
        ("positions(mode=grouped, max_tokens=1.5)", "max_tokens must be a whole number from 2"),
        ("positions(grouped)", r"Expected positions\(mode, max_tokens\)"),
        ("rope(type=dynamic, factor=2)", "would depend on what it is batched with. Use ntk"),
        ("rope(type=su, factor=2)", "no type 'su'"),
        ("rope(type=ntk, factor=0.5)", "factor must be a number from 1 to 1000, got 0.5"),
    ],
)
def test_impossible_positions_are_refused(text: str, said: str) -> None:
    with pytest.raises(NotationError, match=said):
        parse(text)
