"""Positions shifted by a hook are the positions a model can be told, and shifting leaves nothing behind."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import planted
from architectures import CONFIGS, build
from tiny import save_tiny
from tolerances import FLOAT64, assert_close
from uncollapse import load
from uncollapse.diagnosis.causes.attribution import Positions
from uncollapse.diagnosis.causes.shifting import (
    find_positions,
    has_positions,
    leading_tokens,
    position_tables,
    shifted,
)
from uncollapse.encoders import SentenceEncoder
from uncollapse.errors import ModelError

# Those with a table of absolute positions; all others have relative or rotary ones.
TABLES = (
    *("bert", "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "xmod", "ernie", "electra", "roc_bert"),
    *("mobilebert", "rembert", "megatron-bert", "nystromformer", "big_bird", "albert", "albert-groups", "distilbert"),
    *("xlm", "squeezebert", "convbert", "longformer", "mpnet", "deberta", "deberta-v2", "deberta-v2-shared", "gpt2"),
    "big_bird-sparse",
)
ROTARY = ("nomic_bert", "gte", "modernbert", "llama", "qwen2", "qwen3", "gemma", "eurobert")
TOKENS, OFFSET = 12, 7


def states(model: nn.Module, **inputs: Any) -> torch.Tensor:
    ids = torch.arange(5, 5 + TOKENS)[None].repeat(2, 1)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids, attention_mask=mask, **inputs)[0]
    return found


def own_positions(model: nn.Module) -> torch.Tensor:
    """The rows a model looks up by itself."""
    seen: list[torch.Tensor] = []
    (table,) = position_tables(model)
    hook = table.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    states(model)
    hook.remove()
    return seen[0].expand(2, -1)[:, :TOKENS].clone()


def test_the_list_of_tables_is_complete() -> None:
    assert {name for name in CONFIGS if position_tables(build(name))} == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_shift_is_what_the_model_does_with_these_position_ids(name: str) -> None:
    model = build(name)
    assert "position_ids" in inspect.signature(model.forward).parameters
    positions = own_positions(model)
    positions[:, 1:] += OFFSET
    told = states(model, position_ids=positions)
    with shifted(model, OFFSET):
        found = states(model)
    assert_close(found, told, FLOAT64)
    assert not torch.allclose(found, states(model), atol=1e-4)


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet"])
def test_afterwards_and_without_an_offset_the_model_is_bit_for_bit_as_before(name: str) -> None:
    model = build(name)
    before = states(model)
    with shifted(model, 0):
        assert torch.equal(states(model), before)
    with pytest.raises(RuntimeError, match="inside"), shifted(model, OFFSET):
        states(model)
        raise RuntimeError("inside")
    assert torch.equal(states(model), before)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "distilbert"])
def test_padding_does_not_matter_under_a_shift(name: str) -> None:
    model = build(name)
    ids = torch.arange(5, 5 + TOKENS)[None]
    padding = model.config.pad_token_id
    padded = torch.cat([ids, torch.full((1, 4), padding)], dim=1)
    with shifted(model, OFFSET), torch.no_grad():
        alone = model(input_ids=ids, attention_mask=torch.ones_like(ids))[0]
        beside = model(input_ids=padded, attention_mask=(padded != padding).long())[0]
    assert_close(beside[:, :TOKENS], alone, FLOAT64)


@pytest.mark.parametrize("name", ROTARY)
def test_a_shift_of_rotary_positions_changes_nothing_by_construction(name: str) -> None:
    model = build(name)
    assert not position_tables(model)
    # Angles are computed in float32, whatever the model's own precision.
    assert_close(states(model, position_ids=torch.arange(TOKENS)[None] + OFFSET), states(model), 1e-3)


def test_how_many_first_tokens_stay_can_be_said() -> None:
    model = build("bert")
    positions = own_positions(model)
    positions[:, 3:] += OFFSET
    with shifted(model, OFFSET, leading=3):
        found = states(model)
    assert_close(found, states(model, position_ids=positions), FLOAT64)


def test_a_text_beyond_the_table_is_refused() -> None:
    model = build("bert")  # 66 positions
    with shifted(model, 66 - TOKENS):
        states(model)
    with (
        pytest.raises(ModelError, match="moved on by 55 would stand at row 66 of a table of 66"),
        shifted(model, 67 - TOKENS),
    ):
        states(model)


@pytest.mark.parametrize(("name", "offset"), [("modernbert", 1), ("bert", -1)])
def test_no_table_and_no_offset_are_refused(name: str, offset: int) -> None:
    with pytest.raises(ModelError, match="needs a table of absolute positions"), shifted(build(name), offset):
        pass


@pytest.mark.parametrize(
    ("name", "expected"), [("bert", True), ("roberta", True), ("modernbert", False), ("deberta-v2", True)]
)
def test_positions_of_loaded_models(tmp_path: Path, name: str, expected: bool) -> None:
    encoder = load(str(save_tiny(tmp_path / "model", name, max_tokens=40)))
    assert has_positions(encoder) is expected
    assert find_positions(encoder) is (Positions.SHIFTED if expected else Positions.NO_TABLE)
    assert not any(module._forward_pre_hooks for module in encoder.model.modules())


def test_a_table_that_is_never_looked_up_is_none(tmp_path: Path) -> None:
    encoder = load(str(save_tiny(tmp_path / "model", "modernbert", max_tokens=40)))
    encoder.model[0].model.position_embeddings = nn.Embedding(8, 8)
    assert not has_positions(encoder)


def test_what_cannot_be_known_counts_as_hidden() -> None:
    table, _ = planted.unlike(4, 8)
    assert find_positions(planted.BlackBox(table, max_tokens=8)) is Positions.HIDDEN
    encoder = planted.encoder(table)
    assert find_positions(encoder) is Positions.NO_TABLE
    encoder.model[0].pos_table = nn.Embedding(8, table.shape[1])  # code of its own may use it in any way
    assert find_positions(encoder) is Positions.HIDDEN


def test_a_compiled_model_counts_as_hidden() -> None:
    table, _ = planted.unlike(4, 8)
    encoder = planted.encoder(table, positions=np.zeros((256, table.shape[1])))
    assert has_positions(encoder)
    encoder.model[0].compile(backend="eager")
    assert find_positions(encoder) is Positions.HIDDEN
    encoder.model[0]._compiled_call_impl = None
    encoder.model[0].embedding = type("OptimizedModule", (nn.Embedding,), {})(len(table), table.shape[1])
    assert find_positions(encoder) is Positions.HIDDEN


def test_special_tokens_and_prompt_stay_in_front(tmp_path: Path) -> None:
    encoder = load(str(save_tiny(tmp_path / "model", max_tokens=40)))
    assert leading_tokens(encoder) == 1
    encoder.prompt = "abc "
    assert leading_tokens(encoder) == 4
    table, _ = planted.unlike(4, 8)
    assert leading_tokens(planted.encoder(table)) == 0


def test_a_shifted_text_is_embedded_as_if_it_stood_further_on(tmp_path: Path) -> None:
    """Through the whole way a piece goes: tokenizer, padding, pooling."""
    encoder: SentenceEncoder = load(str(save_tiny(tmp_path / "model", "roberta", max_tokens=40)))
    texts = ["abc def", "a", "hello there you"]
    before = encoder.vectors(texts)
    with shifted(encoder.model, OFFSET, leading=leading_tokens(encoder)):
        together, single = encoder.vectors(texts), encoder.vectors(texts[:1])
    assert_close(together[:1], single, 1e-5)
    assert np.abs(together - before).max() > 1e-3
    assert np.array_equal(encoder.vectors(texts), before)
