"""What every fix of a model has in common, through sentence-transformers as users run it."""

from pathlib import Path

import numpy as np
import pytest

from observing_examples import one_thread
from test_attention import model_of
from tiny import save_tiny
from uncollapse.attention.folding import FOLDS, fold
from uncollapse.attention.modelfixes import FACTS, ModelFix
from uncollapse.attention.patching import PATCHES, patch
from uncollapse.attention.positions import Rope, SelfExtend
from uncollapse.encoders import CachedEncoder, SentenceEncoder, load
from uncollapse.encoders.identity import refuse_hooks
from uncollapse.errors import ArchitectureError, ModelError
from uncollapse.fixes import FIXES, parse

_quiet = pytest.fixture(autouse=True, scope="module")(one_thread)

TEXTS = ["a", "some letters in a row", "many more letters, which take tokens " * 3, "b c d"]
STRONG = [
    "temperature(0.5)",
    "temperature(law=log, n0=8)",
    "temperature(law=infoscale, n0=8, above_only=True)",
    "attnscale(0.5)",
    "identity_mix(0.4)",
    "local_global(window=4, a=0.6)",
    "featscale(s=-0.2, t=0.3)",
    "calibration(basket=8, strength=0.8, layers=all)",
    "positions(mode=grouped, max_tokens=200)",
]
"""Fixes that move the vectors of short texts by a tiny BERT visibly."""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    loaded = load(str(save_tiny(tmp_path_factory.mktemp("tiny") / "model")), device="cpu")
    assert isinstance(loaded, SentenceEncoder)
    return loaded


def test_every_fix_can_be_patched_named_and_told_why_it_does_not_fold() -> None:
    assert set(PATCHES) == set(FACTS)
    assert {kind for kind, facts in FACTS.items() if not facts.unfoldable} == set(FOLDS)
    assert {facts.name for facts in FACTS.values()} <= set(FIXES)


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_a_model_that_is_patched_by_hand_is_told_from_the_stock_one(kind: type[ModelFix]) -> None:
    model = model_of("llama" if kind in {Rope, SelfExtend} else "bert").float()
    fix = SelfExtend(4, 32) if kind is SelfExtend else parse(FACTS[kind].example)
    with patch(model, fix):
        with pytest.raises(ModelError, match="got one with a patch on its module"):
            refuse_hooks(model, kept=False)
    refuse_hooks(model, kept=True)


@pytest.mark.parametrize("kind", [kind for kind, facts in FACTS.items() if facts.unfoldable], ids=str)
def test_what_cannot_fold_says_why(kind: type[ModelFix]) -> None:
    with pytest.raises(ArchitectureError, match="No weights can carry") as refused:
        fold(model_of("bert"), parse(FACTS[kind].example))
    assert FACTS[kind].unfoldable in str(refused.value)


@pytest.mark.parametrize("text", STRONG)
def test_vectors_do_not_depend_on_the_batch(text: str, encoder: SentenceEncoder) -> None:
    stock = encoder.model.encode(TEXTS)
    with patch(encoder.model, parse(text)):
        together = encoder.model.encode(TEXTS, batch_size=4)
        apart = encoder.model.encode(TEXTS, batch_size=1)
    assert np.abs(together - apart).max() < 1e-5
    assert np.abs(together - stock).max() > 1e-3, "the fix must move the vectors, or nothing was tested"
    assert np.array_equal(encoder.model.encode(TEXTS), stock)


def test_a_cached_encoder_keeps_the_vectors_of_each_fix_apart(encoder: SentenceEncoder, tmp_path: Path) -> None:
    seen = []
    for text in [*STRONG, *STRONG]:
        cached = CachedEncoder(encoder, [parse(text)], folder=tmp_path)
        seen.append(cached.encode(TEXTS).vectors)
        assert cached.encoded == (len(TEXTS) if len(seen) <= len(STRONG) else 0)
    for first, second in zip(seen[: len(STRONG)], seen[len(STRONG) :], strict=True):
        assert np.array_equal(first, second)
    assert len({vectors.tobytes() for vectors in seen}) == len(STRONG)
