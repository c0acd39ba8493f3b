"""SelfExtend: near tokens at their distance, far ones at that of their groups, whatever rotates them."""

from contextlib import ExitStack
from typing import Any

import pytest
import torch

from observing_examples import one_thread
from test_attention import EXACT, distance, model_of, same, snapshot
from test_positions import _ROPED, run, text
from uncollapse.attention.limits import token_limit
from uncollapse.attention.mixing import mix_attention
from uncollapse.attention.observing.interface import Call
from uncollapse.attention.patching import MARK, patch
from uncollapse.attention.positions import Rope, SelfExtend
from uncollapse.attention.verification import probe_batch
from uncollapse.errors import ArchitectureError, ModelError, NotationError
from uncollapse.fixes import parse

_quiet = pytest.fixture(autouse=True, scope="module")(one_thread)

FIX = SelfExtend(group=3, window=8)


def by_definition(model: Any, fix: SelfExtend, undo: ExitStack) -> None:
    """Attention of every pair turned to the distance that the definition gives it, by complex numbers."""
    frequencies = model.rotary_emb.inv_freq.double()

    def turned(states: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        half = states.shape[-1] // 2
        numbers = torch.complex(states[..., :half], states[..., half:]) * torch.polar(torch.ones_like(by), by)
        return torch.cat([numbers.real, numbers.imag], -1)

    def mix(call: Call, output: torch.Tensor, _layer: int, real: torch.Tensor | None) -> torch.Tensor:
        key, value = call.repeated
        place = torch.arange(output.shape[1])
        apart = place[:, None] - place
        groups = place[:, None] // fix.group - place // fix.group
        far = groups + apart.sign() * (fix.window - fix.window // fix.group)
        wanted = torch.where(apart.abs() < fix.window, apart, far)
        # The query stands at distance `apart` already; the rest is one rotation more.
        more = (wanted - apart).double()[..., None] * frequencies
        query = turned(call.query[:, :, :, None].expand(-1, -1, -1, len(place), -1), more)
        scores = (query * key[:, :, None]).sum(-1) * call.scale
        if call.is_causal:
            scores = scores.masked_fill(apart < 0, -torch.inf)
        if real is not None:
            scores = scores.masked_fill(~real[:, None, None], torch.finfo(scores.dtype).min)
        return torch.matmul(torch.softmax(scores, -1), value).transpose(1, 2)

    mix_attention(model, mix, undo)


@pytest.mark.parametrize("name", ["llama", "qwen3", "gte", "eurobert", "nomic_bert", "jina_embeddings_v3"])
@pytest.mark.parametrize("fix", [FIX, SelfExtend(4, 1), SelfExtend(2, 5)], ids=str)
def test_every_pair_is_compared_at_the_distance_of_the_definition(name: str, fix: SelfExtend) -> None:
    model = model_of(name)
    batch = probe_batch(model, [24, 17, 9])
    real = batch["attention_mask"].bool()
    with ExitStack() as undo:
        by_definition(model, fix, undo)
        wanted = run(model, **batch)
    with patch(model, fix):
        got = run(model, **batch)
    assert distance(got[real], wanted[real]) <= 1e-6, "frequencies are float32"
    assert distance(got[real], run(model, **batch)[real]) > 1e-3


@pytest.mark.parametrize("name", [*_ROPED.split(), "neomme"])
def test_laws_hold_for_every_family_with_rotations(name: str) -> None:
    """Texts within the window are stock, one token a group is stock, and all is taken off again."""
    model, fix = model_of(name), SelfExtend(3, 4) if name == "mistral" else FIX
    batch, short = text(model, 20), text(model, fix.window)
    before, stock, near = snapshot(model), run(model, **batch), run(model, **short)
    with patch(model, fix):
        moved = run(model, **batch)
        assert distance(run(model, **short), near) <= EXACT
    assert distance(moved, stock) > 1e-5
    assert same(before, snapshot(model))
    assert torch.equal(run(model, **batch), stock)
    with patch(model, SelfExtend(1, 8)):
        assert not hasattr(model, MARK)
        assert same(before, snapshot(model))


@pytest.mark.parametrize("name", ["llama", "eurobert", "gemma3"])
def test_a_text_does_not_depend_on_its_batch_or_on_the_side_of_padding(name: str) -> None:
    model = model_of(name)
    alone = text(model, 20)
    padding = {key: torch.zeros(1, 7, dtype=torch.long) for key in alone}
    longer = {key: torch.cat([torch.ones(1, 7, dtype=torch.long), value], 1) for key, value in alone.items()}
    with patch(model, FIX):
        wanted = run(model, **alone)[0]
        for left in (False, True):
            padded = {
                key: torch.cat([padding[key], value] if left else [value, padding[key]], 1)
                for key, value in alone.items()
            }
            batch = {key: torch.cat([padded[key], longer[key]]) for key in alone}
            got = run(model, **batch)[0]
            assert distance(got[7:] if left else got[:-7], wanted) <= 1e-6


def test_the_limit_is_that_of_distances_below_those_trained() -> None:
    llama = model_of("llama")  # 64 positions
    assert token_limit(llama, SelfExtend(4, 16)) == (64 - 16) * 4 + 16
    assert token_limit(llama, SelfExtend(4, 16), 32) == (32 - 16) * 4 + 16
    assert token_limit(llama, SelfExtend(4, 40), 32) == 32
    assert token_limit(llama, SelfExtend(1, 16)) is None


def test_no_distance_exceeds_those_trained() -> None:
    for fix in (SelfExtend(4, 16), SelfExtend(3, 16), SelfExtend(5, 7)):
        place = torch.arange((64 - fix.window) * fix.group + fix.window)
        far = place // fix.group + fix.shift
        assert int(far.max()) <= 64


@pytest.mark.parametrize(
    ("name", "fix", "said"),
    [
        ("bert", FIX, r"only rotary positions can, and 'bert' has none. A table .* takes positions\(mode=grouped"),
        ("t5", FIX, "and 't5' has none.*relative biases have no limit"),
        ("roformer", FIX, "and 'roformer' has none"),
        ("gpt_oss", FIX, r"of 'gpt_oss' are scaled already"),
        ("mistral", FIX, "no layer of 'mistral' looks farther than its sliding window of 8"),
        ("llama", SelfExtend(2, 64), "'llama' was trained on 64 positions, .* Choose a window below 64, such as 32"),
    ],
)
def test_what_cannot_group_is_refused_by_name(name: str, fix: SelfExtend, said: str) -> None:
    model = model_of(name)
    before = snapshot(model)
    with pytest.raises(ArchitectureError, match=said), patch(model, fix):
        pass
    assert same(before, snapshot(model))


def test_packed_texts_are_refused() -> None:
    model = model_of("llama")
    batch = {"input_ids": torch.ones(1, 20, dtype=torch.long), "position_ids": torch.arange(20)[None] % 10}
    with patch(model, FIX), pytest.raises(ModelError, match="got texts packed into one row"):
        run(model, **batch)


def test_foreign_rotations_are_noticed() -> None:
    model = model_of("llama")
    layer = model.layers[1]
    handle = layer.self_attn.register_forward_pre_hook(
        lambda _, args, kwargs: (
            args,
            {**kwargs, "position_embeddings": tuple(part.clone() for part in kwargs["position_embeddings"])},
        ),
        with_kwargs=True,
    )
    with patch(model, FIX), pytest.raises(ArchitectureError, match="was given other rotations than"):
        run(model, **text(model, 20))
    handle.remove()


def test_only_one_fix_may_change_rotations_and_attention() -> None:
    model = model_of("llama")
    with patch(model, Rope("ntk", 2)), patch(model, FIX):
        both = run(model, **text(model, 20))
    with patch(model, FIX):
        assert distance(run(model, **text(model, 20)), both) > 1e-5
    with patch(model, FIX), pytest.raises(ArchitectureError, match="is exchanged already"):
        with patch(model, parse("attnscale(0.5)")):
            pass


@pytest.mark.parametrize("written", ["self_extend(group=0, window=8)", "self_extend(group=2, window=1.5)"])
def test_impossible_dials_are_refused(written: str) -> None:
    with pytest.raises(NotationError, match="must be a whole number from 1"):
        parse(written)
