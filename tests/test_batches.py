"""Batches by tokens: every text once, nothing beyond the budget, and the same vectors whatever the batch."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiny import save_tiny
from uncollapse.encoders import load
from uncollapse.encoders import sentence as encoding
from uncollapse.encoders.batches import batches

counts = st.lists(st.integers(0, 600), max_size=60).map(lambda numbers: np.array(numbers, dtype=np.int64))


@given(counts, st.integers(1, 2000))
def test_every_text_is_in_one_batch_and_no_batch_of_several_is_over_budget(n_tokens, most: int) -> None:
    made = list(batches(n_tokens, most))
    assert sorted(row for rows in made for row in rows) == list(range(len(n_tokens)))
    assert all(len(rows) == 1 or len(rows) * n_tokens[rows].max() <= most for rows in made)


@given(counts, st.integers(1, 2000))
def test_the_longest_come_first_and_no_batch_could_hold_the_next_text(n_tokens, most: int) -> None:
    made = list(batches(n_tokens, most))
    assert np.all(np.diff([n_tokens[row] for rows in made for row in rows]) <= 0)
    # An empty text counts as one token, or there would be no end of a batch of them.
    assert all((len(rows) + 1) * max(1, n_tokens[rows].max()) > most for rows in made[:-1])


@pytest.mark.parametrize("batch_size", [1, 3, 32, None])
def test_vectors_do_not_depend_on_the_batch(batch_size: int | None, tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny", max_tokens=40)
    texts = [f"text {'and more ' * (k % 7)}" for k in range(20)]
    alone = load(str(folder), device="cpu", batch_size=1).vectors(texts)
    assert np.abs(load(str(folder), device="cpu", batch_size=batch_size).vectors(texts) - alone).max() <= 1e-6


def test_a_batch_size_is_kept_to_and_without_one_batches_follow_the_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny(tmp_path / "tiny", max_tokens=40)
    sizes: list[int] = []
    forward = encoding.SentenceEncoder._forward

    def watched(self, texts, batch_size):
        sizes.append(len(texts))
        return forward(self, texts, batch_size)

    monkeypatch.setattr(encoding.SentenceEncoder, "_forward", watched)
    monkeypatch.setattr(encoding, "TOKENS_ON_CPU", 80)
    texts = ["long " * 60] * 5 + ["x"] * 10
    load(str(folder), device="cpu", batch_size=4).vectors(texts)
    load(str(folder), device="cpu").vectors(texts)
    assert sizes[:4] == [4, 4, 4, 3]
    assert sizes[4:] == [2, 2, 2, 9]
