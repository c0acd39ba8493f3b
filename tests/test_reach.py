"""How much a model really reads is found, whatever it says and however the texts are made."""

import numpy as np
import pytest
import torch

import planted
from uncollapse.diagnosis.causes.reach import PROBES, find_reach

N = 48


@pytest.mark.parametrize("really", [16, 61, 64, 100, 223])
def test_how_much_is_really_read_is_found_to_the_token(really: int) -> None:
    table, texts = planted.boilerplate(N)
    box = planted.BlackBox(table, max_tokens=256, really=really)
    assert find_reach(box, planted.kept(texts), 256, last=32).tokens == really


def test_texts_that_begin_alike_do_not_hide_it() -> None:
    table, texts = planted.boilerplate(N, title=0, header=96)
    box = planted.BlackBox(table, max_tokens=256, really=64)
    assert find_reach(box, planted.kept(texts), 256, last=32).tokens == 64


def test_asking_costs_a_few_encodings() -> None:
    table, texts = planted.boilerplate(N)
    honest, silent = planted.BlackBox(table, max_tokens=256), planted.BlackBox(table, max_tokens=256, really=64)
    for box in (honest, silent):
        find_reach(box, planted.kept(texts), 256, last=32)
    assert honest.encoded == 2 * PROBES
    assert silent.encoded <= 12 * PROBES


def test_a_slight_effect_of_the_end_is_not_called_truncation() -> None:
    """A model that weighs late words a thousandth of early ones still reads them."""
    table, texts = planted.unlike(N, 256)

    def faint(states: torch.Tensor, mask: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        weights = mask * torch.where(torch.arange(mask.shape[1]) < 64, 1.0, 0.02)
        return (states * weights[..., None]).sum(dim=1)

    assert not find_reach(planted.encoder(table, faint), planted.kept(texts), 256, last=32).is_short


def test_a_bag_of_words_reads_everything() -> None:
    """Texts of the same words in another order must not be what replaces them."""
    table, texts = planted.one_word_each(N, 128)
    assert not find_reach(planted.encoder(table, max_tokens=128), planted.kept(texts), 128, last=32).is_short


@pytest.mark.parametrize("same_vector", [True, False])
def test_where_nothing_changes_a_vector_the_model_is_believed(same_vector: bool) -> None:
    table, texts = planted.unlike(N, 128)
    if same_vector:
        table = np.ones_like(table)
    else:
        texts = [" ".join(["w1"] * 128)] * N
    box = planted.BlackBox(table, max_tokens=128, really=64)
    assert not find_reach(box, planted.kept(texts), 128, last=32).is_short
